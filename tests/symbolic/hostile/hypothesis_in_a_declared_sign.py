"""The name of <A, B> is declared positive, so every two matrices would have a positive product."""

from lorasolve.symbolic import Inequality, dims, inner, matrix, mutant, named, scalars

REFUSED = r"the sign that s declares"

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
s = scalars("s")
CHECKS = (
    Inequality(
        "positive",
        "0 <= <A, B>.",
        0,
        inner(A, B),
        proof=[s],
        given=(named(s, inner(A, B)),),
        mutants=(mutant("constant", "1", lhs=1), mutant("sign", "-<A, B>", rhs=-1 * inner(A, B))),
    ),
)
