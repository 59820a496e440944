"""A derivative that holds a number fixed, which two inequalities make that of what moves."""

from lorasolve.symbolic import Inequality, Square, dims, dropped, gradient, hypothesis, matrix, mutant, scalar, scalars
from lorasolve.symbolic import square as squared

REFUSED = r"(?s)still.*NOT SHOWN.*along A would hold c fixed"

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
c = scalars("c", real=True)
UP, DOWN = hypothesis("c <= ||A||^2", c, squared(A)), hypothesis("||A||^2 <= c", squared(A), c)
CHECKS = (
    Inequality(
        "still",
        "For c = ||A||^2 the gradient of c is smaller than any B.",
        squared(gradient(scalar(c), A)),
        squared(B),
        proof=[1 * Square(B), 1 * UP, 1 * DOWN],
        mutants=(mutant("constant", "1", lhs=1), dropped(UP)),
    ),
)
