"""When a SymPy coefficient is provably non-negative, and how that is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import sympy

# The most functions in a value for which one bound of each is sought, and of which the cases are.
MANY, SPLIT = 3, 4
_u, _v, _s = sympy.symbols("u v s", real=True)
# Functions whose value is one of two, without what SymPy makes of them: it takes x^2 for |x|^2.
Abs, Max, Min = (sympy.Function(name, real=True) for name in ("Abs", "Max", "Min"))
PLAIN: dict[Any, Any] = {sympy.Abs: Abs, sympy.Max: Max, sympy.Min: Min}
# For functions of u (and v) numbers s >= 0, in words that `proofs/verify.py` knows, and the functions in terms of them.
BOUNDS: dict[Any, dict[str, Any]] = {
    sympy.exp: {"exp(u)": _s, "exp(u)-1-u": 1 + _u + _s},
    sympy.log: {"u-1-log(u)": _u - 1 - _s, "log(u)-1+1/u": 1 - 1 / _u + _s},
    Abs: {"Abs(u)": _s, "Abs(u)-u": _u + _s, "Abs(u)+u": _s - _u},
    Max: {"Max(u,v)-u": _u + _s, "Max(u,v)-v": _v + _s},
    Min: {"u-Min(u,v)": _u - _s, "v-Min(u,v)": _v - _s},
    sympy.cos: {"1-cos(u)": 1 - _s, "1+cos(u)": _s - 1, "cos(u)-1+u^2/2": 1 - _u**2 / 2 + _s},
    sympy.sin: {"1-sin(u)": 1 - _s, "1+sin(u)": _s - 1},
}
# The two values, which `proofs/verify.py` knows too, and for each a bound whose number says when it is the value.
CASES: dict[Any, tuple[tuple[Any, str], ...]] = {
    Abs: ((_u, "Abs(u)"), (-_u, "Abs(u)")),
    Max: ((_u, "Max(u,v)-v"), (_v, "Max(u,v)-u")),
    Min: ((_u, "v-Min(u,v)"), (_v, "u-Min(u,v)")),
}
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


@dataclass(frozen=True)
class Known:
    """What is not negative in a case: a number, the bound and of what it is, and its value in the case."""

    gap: Any
    words: str
    args: tuple[Any, ...]
    value: Any

    def put(self, by: dict[Any, Any]) -> Known:
        """Return the same with other values in the place of symbols or functions."""
        return Known(self.gap, self.words, self.args, self.value.xreplace(by))


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
    value = plain(value) if value.has(*PLAIN) else value
    return _by_bounds(value) or _by_factors(value) or _by_cases(value)


def plain(value: Any) -> Any:
    """Return a value with plain functions for those of two cases, of two numbers each and these in one order."""
    if type(value) in PLAIN:
        first, *others = sorted(value.args, key=sympy.default_sort_key)
        return PLAIN[type(value)](*map(plain, (first, value.func(*others)) if others else (first,)))
    return value.func(*map(plain, value.args)) if value.args else value


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
    args = functions[0].args
    for words, in_terms in BOUNDS[type(functions[0])].items():
        gap = sympy.Dummy("s", nonnegative=True)
        bound = in_terms.xreplace({_s: gap, **dict(zip((_u, _v), args))})
        yield from _with_bounds(Bounded(given.value.xreplace({functions[0]: bound}), (*given.gaps, (gap, words, args))))


def _by_factors(value: Any) -> Bounded | None:
    """Return a product of which each factor is seen to have its sign by bounds of its own: ``1 - cos(u)^2``."""
    functions = _functions(value)
    if not 1 <= len(functions) <= MANY:
        return None
    hidden = {function: sympy.Dummy(f"f{k}", real=True) for k, function in enumerate(functions)}
    factors = sympy.Mul.make_args(sympy.factor(value.xreplace(hidden)))
    parts = [factor.xreplace({name: function for function, name in hidden.items()}) for factor in factors]
    if any(part.xreplace(hidden) != factor for part, factor in zip(parts, factors)):
        return None  # SymPy takes 1 for exp(x) exp(-x), which the second checker does not
    return _product(parts, lambda part: _by_bounds(part) or (Bounded(part) if _by_signs(part) else None))


def _product(factors: Iterable[Any], shown: Callable[[Any], Bounded | None]) -> Bounded | None:
    """Return a product of factors of which each is seen to have one sign, if that is not negative."""
    found = []
    for factor in factors:
        part, sign = shown(factor), 1
        if part is None:
            part, sign = shown(-factor), -1
        if part is None:
            return None
        found.append(Bounded(sign * part.value, part.gaps))
    product = Bounded(sympy.Mul(*(part.value for part in found)), sum((part.gaps for part in found), ()))
    return product if _by_signs(product.value) else None


def _by_cases(value: Any, known: tuple[Known, ...] = ()) -> Cases | None:
    """Return a function of which both cases are seen; one inside another waits for the cases of that."""
    functions = sorted({f for part in _parts(value, known) for f in _functions(part)}, key=sympy.default_sort_key)
    if len(functions) > SPLIT or not _has_cases(value, known) or _fails(value, known):
        return None
    of_two = [function for function in functions if type(function) in CASES]
    inner = {part for function in of_two for arg in function.args for part in arg.atoms(*CASES)}
    function = next(each for each in of_two if each not in inner)
    first, second = (_in_case(value, function, *case, known) for case in CASES[type(function)])
    return Cases(function, (one, other)) if (one := _case(*first)) and (other := _case(*second)) else None


def _parts(value: Any, known: tuple[Known, ...]) -> list[Any]:
    return [value, *(each.value for each in known)]


def _has_cases(value: Any, known: tuple[Known, ...]) -> bool:
    return any(part.atoms(*CASES) for part in _parts(value, known))


def _in_case(
    value: Any, function: Any, case: Any, words: str, known: tuple[Known, ...]
) -> tuple[Any, tuple[Known, ...]]:
    """Return what a value is in a case of a function, and what is known there."""
    at = dict(zip((_u, _v), function.args))
    bound = BOUNDS[type(function)][words]
    # The bound says that the function is this, plus or minus the number, as which a symbol of the value may be called.
    here, without = case.xreplace(at), bound.xreplace({_s: sympy.Integer(0)}).xreplace(at)
    new = Known(_gap(words, function.args), words, function.args, bound.coeff(_s) * (here - without))
    return value.xreplace({function: here}), (*(other.put({function: here}) for other in known), new)


@cache
def _gap(words: str, args: tuple[Any, ...]) -> Any:
    """Return the number of a bound, the same in all cases."""
    return sympy.Dummy("s", nonnegative=True)


def _case(value: Any, known: tuple[Known, ...]) -> Seen | None:
    found = _by_bounds(value) or _by_factors(value) or (Bounded(value) if _by_signs(value) else None)
    if found is None and _has_cases(value, known):
        return _by_cases(value, known)
    ordered = tuple(sorted(known, key=lambda each: each.gap.dummy_index))
    return found or _with_bounds_and_known(value, ordered) or _product_by_known(value, ordered)


def _with_bounds_and_known(value: Any, known: tuple[Known, ...]) -> Bounded | None:
    for choice in _with_bounds(Bounded(value)):
        found = _by_known(choice.value, known)
        if found is not None:
            return Bounded(found.value, (*choice.gaps, *found.gaps))
    return None


@cache
def _by_known(value: Any, known: tuple[Known, ...]) -> Bounded | None:
    """Return a value with what is known not to be negative in the place of symbols, as y + s for x where x - y >= 0."""
    if not known:
        return Bounded(value) if _by_signs(value) else None
    first, *others = known
    found = _by_known(value, tuple(others))
    for symbol in sorted(first.value.free_symbols, key=str):
        slope = first.value.diff(symbol)
        if found is None and (slope.is_positive or slope.is_negative) and symbol not in slope.free_symbols:
            by = {symbol: sympy.expand(symbol + (first.gap - first.value) / slope)}
            there = _by_known(sympy.expand(value.xreplace(by)), tuple(other.put(by) for other in others))
            found = there and Bounded(there.value, ((first.gap, first.words, first.args), *there.gaps))
    return found


def _product_by_known(value: Any, known: tuple[Known, ...]) -> Bounded | None:
    """Return a product of which each factor is seen to have its sign by what is known: ``x (2 - x)``."""
    factors = sympy.Mul.make_args(sympy.factor(value))
    return _product(factors, lambda part: _by_known(part, known)) if len(factors) > 1 else None


def _fails(value: Any, known: tuple[Known, ...] = ()) -> bool:
    """Whether a value is negative at one of a few points, at which what is known holds."""
    parts = [_evaluated(part) for part in _parts(value, known)]
    symbols = sorted(set().union(*(part.free_symbols for part in parts)), key=str)
    for k in range(len(TRIED)):
        point = {}
        for i, symbol in enumerate(symbols):
            number = TRIED[(k + i * (k + 1)) % len(TRIED)]
            point[symbol] = 1 + k if symbol.is_integer else abs(number) if symbol.is_nonnegative else number
        found, *others = (sympy.N(part.xreplace(point)) for part in parts)
        if found.is_real and found < -ROUNDING and all(other > ROUNDING for other in others):
            return True
    return False


def _evaluated(value: Any) -> Any:
    """Return a value with the functions of SymPy again."""
    for function, name in PLAIN.items():
        value = value.replace(name, function) if value.has(name) else value
    return value


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
    bare = (base for base in rooted if base.is_Symbol and base.is_nonnegative)
    roots = {base: sympy.Dummy(str(base), nonnegative=True) for base in bare}
    if roots:
        whole = sympy.factor(value.xreplace({base: root**2 for base, root in roots.items()}))
        yield whole.xreplace({root: sympy.sqrt(base) for base, root in roots.items()})
