"""The derivative of (-1)^k along the whole number k is i pi (-1)^k for SymPy, whose square is negative."""

import sympy

from lorasolve.symbolic import ScalarCheck, mutant, scalars

REFUSED = r"is one along the whole number k, between whose values nothing is declared"

k = scalars("k", integer=True)
CHECKS = (
    ScalarCheck(
        "negative_square",
        "The square of the derivative of (-1)^k is -pi^2.",
        sympy.Derivative((-1) ** k, k) ** 2,
        -(sympy.pi**2),
        mutants=(mutant("constant", "-2 pi^2", rhs=-2 * sympy.pi**2), mutant("sign", "pi^2", rhs=sympy.pi**2)),
    ),
)
