"""When a SymPy coefficient is provably non-negative, and how that is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import sympy

# The most functions in a value for which one bound of each is sought, and of which the cases are.
MANY, SPLIT = 3, 4
_u, _v, _s = sympy.symbols("u v s", real=True)
# For functions of u (and v) numbers s >= 0, in words that `proofs/verify.py` knows, and the functions in terms of them.
BOUNDS: dict[Any, dict[str, Any]] = {
    sympy.exp: {"exp(u)": _s, "exp(u)-1-u": 1 + _u + _s},
    sympy.log: {"u-1-log(u)": _u - 1 - _s, "log(u)-1+1/u": 1 - 1 / _u + _s},
    sympy.Abs: {"Abs(u)": _s, "Abs(u)-u": _u + _s, "Abs(u)+u": _s - _u},
    sympy.Max: {"Max(u,v)-u": _u + _s, "Max(u,v)-v": _v + _s},
    sympy.Min: {"u-Min(u,v)": _u - _s, "v-Min(u,v)": _v - _s},
    sympy.cos: {"1-cos(u)": 1 - _s, "1+cos(u)": _s - 1, "cos(u)-1+u^2/2": 1 - _u**2 / 2 + _s},
    sympy.sin: {"1-sin(u)": 1 - _s, "1+sin(u)": _s - 1},
}
# Functions whose value is one of two, which `proofs/verify.py` knows too.
CASES: dict[Any, tuple[Any, Any]] = {sympy.Abs: (_u, -_u), sympy.Max: (_u, _v), sympy.Min: (_u, _v)}
# Where a value is looked at before its sign is sought: what is negative there, not by rounding alone, needs no search.
TRIED = [sympy.Rational(number) for number in ("1", "-2", "1/3", "5/2", "-1/4", "-3", "2", "-1", "1/5")]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Bounded:
    """A value in numbers that are not negative, and what these are: a bound in words, and of what."""

    value: Any
    gaps: tuple[tuple[Any, str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Cases:
    """A function whose value is one of two, and how either case is seen."""

    function: Any
    parts: tuple[Seen, ...]


Seen: TypeAlias = Bounded | Cases


def provably_nonnegative(value: Any) -> bool:
    """Whether `value` is non-negative for all admissible values of its symbols.

    Only SymPy's sign rules are used, on the expression as given, factored, and expanded over its denominator, also with
    each size counted from 1, with bounds of functions in their place, and in each case of an absolute value and of the
    larger or the smaller of two: True is a proof, False means "not shown".
    """
    value = sympy.sympify(value)
    return _by_signs(value) or seen(value) is not None


def _by_signs(value: Any) -> bool:
    return _nonnegative(value) or _nonnegative(from_one(value))


def from_one(value: Any) -> Any:
    """Return a value with 1 plus a non-negative number in the place of each size."""
    sizes = [symbol for symbol in value.free_symbols if symbol.is_integer and symbol.is_positive]
    return value.xreplace({size: 1 + sympy.Symbol(f"{size} - 1", nonnegative=True) for size in sizes})


@cache
def seen(value: Any) -> Seen | None:
    """Return how a value is seen not to be negative by bounds and cases of its functions, if it is."""
    if value.atoms(sympy.Derivative, sympy.Integral, sympy.Subs):
        return None  # a function of what is integrated over is no number
    return _by_bounds(value) or _by_factors(value) or _by_cases(value)


def _by_bounds(value: Any) -> Bounded | None:
    if not 1 <= len(_functions(value)) <= MANY:
        return None
    choices = _with_bounds(Bounded(value))
    return next((found for found in choices if not _fails(found.value) and _by_signs(found.value)), None)


def _functions(value: Any) -> list[Any]:
    """Return the functions in a value, those of others before these."""
    return sorted(value.atoms(*BOUNDS), key=lambda f: (-f.count_ops(), sympy.default_sort_key(f)))


def _with_bounds(given: Bounded) -> Iterator[Bounded]:
    """Yield a value with each choice of bounds, of functions of functions first."""
    functions = _functions(given.value)
    if not functions:
        yield given
        return
    if len(given.gaps) == MANY:
        return
    args = arguments(functions[0])
    for words, in_terms in BOUNDS[type(functions[0])].items():
        gap = sympy.Dummy("s", nonnegative=True)
        bound = in_terms.xreplace({_s: gap, **dict(zip((_u, _v), args))})
        yield from _with_bounds(Bounded(given.value.xreplace({functions[0]: bound}), (*given.gaps, (gap, words, args))))


def arguments(function: Any) -> tuple[Any, ...]:
    """Return what a function is of, in one order: SymPy keeps none for the larger of two numbers, or of more."""
    first, *others = sorted(function.args, key=sympy.default_sort_key)
    return (first, function.func(*others)) if others else (first,)


def _by_factors(value: Any) -> Bounded | None:
    """Return a product of which each factor is seen to have its sign by bounds of its own: ``1 - cos(u)^2``."""
    functions = _functions(value)
    if not 1 <= len(functions) <= MANY:
        return None
    hidden = {function: sympy.Dummy(f"f{k}", real=True) for k, function in enumerate(functions)}
    factors = sympy.Mul.make_args(sympy.factor(value.xreplace(hidden)))
    parts = [factor.xreplace({name: function for function, name in hidden.items()}) for factor in factors]
    if any(part.xreplace(hidden) != factor for part, factor in zip(parts, factors)):
        return None  # SymPy takes x^2 for |x|^2, which the second checker does not
    found = [shown for part in parts if (shown := _with_sign(part))]
    if len(found) < len(factors):
        return None
    product = Bounded(sympy.Mul(*(part.value for part in found)), sum((part.gaps for part in found), ()))
    return product if _by_signs(product.value) else None


def _with_sign(value: Any) -> Bounded | None:
    """Return a value that is seen to have one sign, or None."""
    for sign in (1, -1):
        shown = _by_bounds(sign * value) or (Bounded(sign * value) if _by_signs(sign * value) else None)
        if shown is not None:
            return Bounded(sign * shown.value, shown.gaps)
    return None


def _by_cases(value: Any) -> Cases | None:
    """Return a function of which both cases are seen; one inside another waits for the cases of that."""
    functions = _functions(value)
    if len(functions) > SPLIT or not value.atoms(*CASES) or _fails(value):
        return None
    inner = {part for function in functions for arg in function.args for part in arg.atoms(*BOUNDS)}
    for function in functions:
        if type(function) in CASES and function not in inner:
            values = [case.xreplace(dict(zip((_u, _v), arguments(function)))) for case in CASES[type(function)]]
            first, second = (value.xreplace({function: by}) for by in values)
            if (one := _case(first)) and (other := _case(second)):
                return Cases(function, (one, other))
    return None


def _case(value: Any) -> Seen | None:
    return seen(value) or (Bounded(value) if _by_signs(value) else None)


def _fails(value: Any) -> bool:
    """Whether a value is negative at one of a few points."""
    symbols = sorted(value.free_symbols, key=str)
    for k in range(len(TRIED)):
        point = {}
        for i, symbol in enumerate(symbols):
            number = TRIED[(k + i * (k + 1)) % len(TRIED)]
            point[symbol] = 1 + k if symbol.is_integer else abs(number) if symbol.is_nonnegative else number
        found = sympy.N(value.xreplace(point))
        if found.is_real and found < -ROUNDING:
            return True
    return False


@cache
def _nonnegative(value: Any) -> bool:
    if any(form.is_nonnegative for form in forms(value)):
        return True
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(value)))
    if sympy.expand(denominator).is_positive is not True:
        return False
    return bool(sympy.expand(numerator).is_nonnegative)


def forms(value: Any) -> Iterator[Any]:
    """Yield a SymPy expression in forms in which its sign may be visible: as it is, factored, cancelled, in roots."""
    yield value
    yield sympy.factor(value)
    yield sympy.cancel(sympy.together(value))
    rooted = {part.base for part in value.atoms(sympy.Pow) if part.exp.is_Rational and part.exp.q == 2}
    roots = {
        base: sympy.Dummy(str(base), positive=base.is_positive, nonnegative=base.is_nonnegative)
        for base in rooted
        if base.is_Symbol and base.is_nonnegative
    }
    if roots:
        whole = sympy.factor(value.xreplace({base: root**2 for base, root in roots.items()}))
        yield whole.xreplace({root: sympy.sqrt(base) for base, root in roots.items()})
