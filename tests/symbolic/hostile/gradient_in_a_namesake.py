"""A gradient in a symbol that has the name of a symmetric one and is not symmetric."""

from lorasolve.symbolic import Identity, dims, gradient, matrix, mutant, tr

REFUSED = r"two different symbols are printed S"

m = dims("m")
A, S = matrix("A", m, m), matrix("S", m, m, symmetric=True)
NAMESAKE = matrix("S", m, m)
CHECKS = (
    Identity(
        "first",
        "grad tr(A S) = A^T, as if the entries of S were free.",
        gradient(tr(A @ S), NAMESAKE),
        A.T,
        mutants=(mutant("constant", "2 A^T", rhs=2 * A.T), mutant("sign", "-A^T", rhs=-A.T)),
    ),
)
