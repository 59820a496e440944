"""A number declared positive that stands for what may be negative."""

from lorasolve.symbolic import Inequality, Square, SumOfSquares, dims, dropped, inner, matrix, mutant, scalars, square

REFUSED = r"is not shown to have the sign that p declares"

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
p, s = scalars("p"), scalars("s", nonnegative=True)
first = SumOfSquares(
    "first",
    "2 <A, B> <= ||A||^2 + ||B||^2.",
    2 * inner(A, B),
    square(A) + square(B),
    proof=[1 * Square(A - B)],
    mutants=(
        mutant("constant", "4 <A, B>", lhs=4 * inner(A, B)),
        mutant("sign", "minus", rhs=-square(A) - square(B)),
    ),
)
RESTATED = first.conclusion(2 * p, s, where={p: inner(A, B), s: square(A) + square(B)})
second = Inequality(
    "second",
    "p <= s.",
    p,
    s,
    proof=[RESTATED, p],
    under=(first,),
    mutants=(mutant("constant", "3 p", {p: 1, s: 2}, lhs=3 * p), dropped(RESTATED)),
)
CHECKS = (first, second)
