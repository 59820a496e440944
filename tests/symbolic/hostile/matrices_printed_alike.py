"""Two matrices of different symmetry share a printed name."""

from lorasolve.symbolic import Identity, dims, matrix, mutant

REFUSED = r"printed A|called A"

m = dims("m")
A, S = matrix("A", m, m), matrix("A", m, m, symmetric=True)
CHECKS = (
    Identity(
        "transpose",
        "A^T S = A^T S.",
        A.T @ S,
        A.T @ S.T,
        mutants=(mutant("constant", "2", rhs=2 * A.T @ S), mutant("sign", "-", rhs=-1 * A.T @ S)),
    ),
)
