"""When a SymPy coefficient is provably non-negative."""

from __future__ import annotations

from functools import cache
from typing import Any

import sympy


def provably_nonnegative(value: Any) -> bool:
    """Whether `value` is non-negative for all admissible values of its symbols.

    Only SymPy's sign rules are used, on the expression as given, factored, and expanded over its denominator, also with
    each size counted from 1: True is a proof, False means "not shown".
    """
    value = sympy.sympify(value)
    return _nonnegative(value) or _nonnegative(from_one(value))


def from_one(value: Any) -> Any:
    """Return a value with 1 plus a non-negative number in the place of each size."""
    sizes = [symbol for symbol in value.free_symbols if symbol.is_integer and symbol.is_positive]
    return value.xreplace({size: 1 + sympy.Symbol(f"{size} - 1", nonnegative=True) for size in sizes})


@cache
def _nonnegative(value: Any) -> bool:
    if value.is_nonnegative or sympy.factor(value).is_nonnegative or sympy.cancel(value).is_nonnegative:
        return True
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(value)))
    if sympy.expand(denominator).is_positive is not True:
        return False
    return bool(sympy.expand(numerator).is_nonnegative)
