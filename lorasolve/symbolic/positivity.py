"""When a SymPy coefficient is provably non-negative."""

from __future__ import annotations

from functools import cache
from typing import Any

import sympy


def provably_nonnegative(value: Any) -> bool:
    """Whether `value` is non-negative for all admissible values of its symbols.

    Only SymPy's sign rules are used, on the expression as given, factored, and expanded over its denominator: True is
    a proof, False means "not shown".
    """
    return _nonnegative(sympy.sympify(value))


@cache
def _nonnegative(value: Any) -> bool:
    if value.is_nonnegative or sympy.factor(value).is_nonnegative or sympy.cancel(value).is_nonnegative:
        return True
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(value)))
    if sympy.expand(denominator).is_positive is not True:
        return False
    return bool(sympy.expand(numerator).is_nonnegative)
