"""A symbol that is not declared real."""

import sympy

from lorasolve.symbolic import Square, SumOfSquares, mutant

REFUSED = r"not declared real"

z = sympy.Symbol("z")
CHECKS = (
    SumOfSquares(
        "square",
        "0 <= z^2 for every complex z.",
        0,
        z**2,
        proof=[1 * Square(z)],
        mutants=(mutant("constant", "1", {z: 0}, lhs=1), mutant("sign", "-z^2 - 1", {z: 0}, rhs=-(z**2) - 1)),
    ),
)
