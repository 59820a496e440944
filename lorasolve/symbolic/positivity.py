"""When a SymPy coefficient is provably non-negative."""

from __future__ import annotations

from typing import Any

import sympy


def provably_nonnegative(value: Any) -> bool:
    """Whether `value` is non-negative for all admissible values of its symbols.

    Only SymPy's sign rules are used, on the expression as given, factored, and expanded over its denominator: True is
    a proof, False means "not shown".
    """
    value = sympy.sympify(value)
    if any(form.is_nonnegative for form in (value, sympy.factor(value), sympy.cancel(value))):
        return True
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(value)))
    if sympy.expand(denominator).is_positive is not True:
        return False
    return bool(sympy.expand(numerator).is_nonnegative)
