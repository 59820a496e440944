"""A derivative that holds a number fixed, which stands for what moves."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, gradient, matrix, mutant, scalar, scalars, square

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*along A would hold c fixed"

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
c = scalars("c", real=True)
first = SumOfSquares(
    "first",
    "||A||^2 <= ||A||^2 + ||B||^2.",
    square(A),
    square(A) + square(B),
    proof=[1 * Square(B)],
    mutants=(mutant("constant", "2 ||A||^2", lhs=2 * square(A)), mutant("sign", "-", rhs=square(A) - square(B))),
)
MEANT = first.conclusion(c, c + square(B), where={c: square(A)})
second = Inequality(
    "second",
    "The gradient of c = ||A||^2 is 2 A.",
    square(gradient(scalar(c), A)),
    square(B),
    proof=[1 * MEANT],
    mutants=(mutant("constant", "1", lhs=1), mutant("sign", "-||B||^2 - 1", rhs=-square(B) - 1)),
)
CHECKS = (first, second)
