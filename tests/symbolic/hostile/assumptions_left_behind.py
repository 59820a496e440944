"""The first check assumes ||A|| = 1, the second uses its conclusion without assuming that."""

from lorasolve.symbolic import Inequality, assume, dims, matrix, mutant, scalars, square

REFUSED = r"check first assumes A is a matrix"

m, n = dims("m n")
A = matrix("A", m, n)
x = scalars("x")


def _unit(values, rng):
    """Choose a single entry."""
    values["A"] = [[int(i == j == 0) for j in range(len(row))] for i, row in enumerate(values["A"])]


UNIT = assume("A is a matrix", (square(A), 1), impose=_unit)
first = Inequality(
    "first",
    "||A||^2 <= 1 + x.",
    square(A),
    1 + x,
    proof=[x],
    given=(UNIT,),
    mutants=(mutant("constant", "2", {A: [[1]], x: "1/2"}, lhs=2), mutant("sign", "1 - x", rhs=1 - x)),
)
second = Inequality(
    "second",
    "||A||^2 <= 1 + 2 x for every A.",
    square(A),
    1 + 2 * x,
    proof=[first.conclusion(), x],
    mutants=(
        mutant("constant", "2 ||A||^2", {A: [[1]], x: "1/4"}, lhs=2 * square(A)),
        mutant("sign", "1 - x", {A: [[1]], x: 1}, rhs=1 - x),
    ),
)
CHECKS = (first, second)
