"""The square of the imaginary unit is -1."""

import sympy

from lorasolve.symbolic import Square, SumOfSquares, mutant, scalars

REFUSED = r"not real"

x = scalars("x")
CHECKS = (
    SumOfSquares(
        "square",
        "0 <= -x^2.",
        0,
        -(x**2),
        proof=[1 * Square(sympy.I * x)],
        mutants=(mutant("constant", "1", {x: 1}, lhs=1), mutant("sign", "-x", {x: 1}, rhs=-x)),
    ),
)
