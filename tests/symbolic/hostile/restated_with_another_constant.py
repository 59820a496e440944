"""A conclusion in numbers that says more than the check."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, dropped, matrix, mutant, scalars, square

REFUSED = r"is not what check first concludes"

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
a, b = scalars("a b", nonnegative=True)
first = SumOfSquares(
    "first",
    "||A + B||^2 <= 2 ||A||^2 + 2 ||B||^2.",
    square(A + B),
    2 * square(A) + 2 * square(B),
    proof=[1 * Square(A - B)],
    mutants=(
        mutant("constant", "once", rhs=square(A) + square(B)),
        mutant("sign", "minus", rhs=-2 * square(A) - 2 * square(B)),
    ),
)
RESTATED = first.conclusion(b, a, where={b: square(A + B), a: square(A) + square(B)})
second = Inequality(
    "second",
    "2 b <= 2 a.",
    2 * b,
    2 * a,
    proof=[2 * RESTATED],
    under=(first,),
    mutants=(mutant("constant", "3 b", {a: 1, b: 1}, lhs=3 * b), dropped(RESTATED)),
)
CHECKS = (first, second)
