"""A true identity whose premise has no part in it: what is printed as assumed is not what the proof is worth."""

from lorasolve.symbolic import Identity, dims, matrix, mutant, orthonormal, square

REFUSED = r"no step of its proof needs P orthonormal: leave it out"

m, n, k = dims("m n k")
A, P = matrix("A", m, n), matrix("P", m, k)
CHECKS = (
    Identity(
        "double",
        "||A||^2 + ||P^T A||^2 twice.",
        square(A) + square(A) + 2 * square(P.T @ A),
        2 * square(A) + 2 * square(P.T @ A),
        given=(orthonormal(P),),
        mutants=(
            mutant("constant", "3 ||A||^2", rhs=3 * square(A) + 2 * square(P.T @ A)),
            mutant("sign", "-2 ||A||^2", rhs=-2 * square(A) + 2 * square(P.T @ A)),
        ),
    ),
)
