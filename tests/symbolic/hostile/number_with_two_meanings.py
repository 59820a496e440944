"""|A|^2 <= |A|^2 + |B|^2 and |B|^2 <= |A|^2 + |B|^2, with one number for both left sides."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, matrix, mutant, scalars, square

REFUSED = r"x is tr\(A\^T\*A\) and tr\(B\^T\*B\)"

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
x = scalars("x", nonnegative=True)
first, second = (
    SumOfSquares(
        name,
        "One of the squares is at most their sum.",
        square(part),
        square(A) + square(B),
        proof=[1 * Square(other)],
        mutants=(
            mutant("constant", "half", rhs=(square(A) + square(B)) / 2),
            mutant("sign", "the difference", rhs=square(part) - square(other)),
        ),
    )
    for name, part, other in (("first", A, B), ("second", B, A))
)
CHECKS = (
    first,
    second,
    Inequality(
        "false",
        "2 x <= 2 (|A|^2 + |B|^2).",
        2 * x,
        2 * (square(A) + square(B)),
        proof=[
            first.conclusion(lhs=x, where={x: square(A)}),
            second.conclusion(lhs=x, where={x: square(B)}),
        ],
        under=(first, second),
        mutants=(
            mutant("constant", "3 x", {A: [[1]], B: [[0]], x: 1}, lhs=3 * x),
            mutant("sign", "-2", {A: [[1]], B: [[0]], x: 1}, rhs=-2 * (square(A) + square(B))),
        ),
    ),
)
