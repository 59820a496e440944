"""When a SymPy coefficient is provably non-negative."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import sympy

# Functions in one value, each of which has one of its bounds put in its place.
MANY = 3
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


@dataclass(frozen=True)
class Bounded:
    """A value in numbers that are not negative, and what these are: a bound in words, and of what."""

    value: Any
    gaps: tuple[tuple[Any, str, tuple[Any, ...]], ...] = ()


def provably_nonnegative(value: Any) -> bool:
    """Whether `value` is non-negative for all admissible values of its symbols.

    Only SymPy's sign rules are used, on the expression as given, factored, and expanded over its denominator, also with
    each size counted from 1, and with bounds of functions in their place: True is a proof, False means "not shown".
    """
    value = sympy.sympify(value)
    return _by_signs(value) or by_bounds(value) is not None


def _by_signs(value: Any) -> bool:
    return _nonnegative(value) or _nonnegative(from_one(value))


def from_one(value: Any) -> Any:
    """Return a value with 1 plus a non-negative number in the place of each size."""
    sizes = [symbol for symbol in value.free_symbols if symbol.is_integer and symbol.is_positive]
    return value.xreplace({size: 1 + sympy.Symbol(f"{size} - 1", nonnegative=True) for size in sizes})


@cache
def by_bounds(value: Any) -> Bounded | None:
    """Return a value with bounds of its functions in their place, if these show that it is not negative."""
    if value.atoms(sympy.Derivative, sympy.Integral, sympy.Subs):
        return None  # a function of what is integrated over is no number
    functions = sorted(value.atoms(*BOUNDS), key=lambda f: (-f.count_ops(), sympy.default_sort_key(f)))
    if not 1 <= len(functions) <= MANY or any(len(f.args) != len(_names(f)) for f in functions):
        return None
    return next((found for found in _with_bounds(Bounded(value), functions) if _by_signs(found.value)), None)


def _with_bounds(given: Bounded, functions: list[Any]) -> Iterator[Bounded]:
    """Yield a value with each choice of bounds, of functions of functions first."""
    if not functions:
        yield given
        return
    function, *others = functions
    args = arguments(function)
    for words, in_terms in BOUNDS[type(function)].items():
        gap = sympy.Dummy("s", nonnegative=True)
        bound = in_terms.xreplace({_s: gap, **dict(zip((_u, _v), args))})
        value = given.value.xreplace({function: bound})
        yield from _with_bounds(replace(given, value=value, gaps=(*given.gaps, (gap, words, args))), others)


def arguments(function: Any) -> tuple[Any, ...]:
    """Return what a function is of, in one order: SymPy keeps none for the larger of two numbers."""
    return tuple(sorted(function.args, key=sympy.default_sort_key))


def _names(function: Any) -> tuple[Any, ...]:
    return (_u, _v) if isinstance(function, sympy.Max | sympy.Min) else (_u,)


@cache
def _nonnegative(value: Any) -> bool:
    if value.is_nonnegative or sympy.factor(value).is_nonnegative or sympy.cancel(value).is_nonnegative:
        return True
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(value)))
    if sympy.expand(denominator).is_positive is not True:
        return False
    return bool(sympy.expand(numerator).is_nonnegative)
