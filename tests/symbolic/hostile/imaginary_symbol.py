"""The square of an imaginary symbol is negative."""

from lorasolve.symbolic import Square, SumOfSquares, mutant, scalars

REFUSED = r"not declared real"

z = scalars("z", imaginary=True)
CHECKS = (
    SumOfSquares(
        "square",
        "0 <= z^2.",
        0,
        z**2,
        proof=[1 * Square(z)],
        mutants=(mutant("constant", "1", {z: 0}, lhs=1), mutant("sign", "-z^2 - 1", {z: 0}, rhs=-(z**2) - 1)),
    ),
)
