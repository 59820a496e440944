"""The derivative of x y along x is y; with x in the place of y it is not that of x^2: 2 x = x would make x <= 0."""

import sympy

from lorasolve.symbolic import Inequality, ScalarCheck, mutant, scalars

REFUSED = r"nothing is put into Derivative\(x\*y, x\)"

x, y = scalars("x y", positive=True)
SQUARE = sympy.Derivative(x**2, x)
slope = ScalarCheck(
    "slope",
    "The derivative of x y along x is y.",
    sympy.Derivative(x * y, x),
    y,
    mutants=(mutant("constant", "2 y", rhs=2 * y), mutant("sign", "-y", rhs=-y)),
)
CHECKS = (
    slope,
    Inequality(
        "false",
        "x <= 0 for x > 0.",
        x,
        0,
        proof=[1 * slope.conclusion(SQUARE, x, put={y: x})],
        mutants=(mutant("constant", "2 x", lhs=2 * x), mutant("sign", "-x", lhs=-x, rhs=-2 * x)),
    ),
)
