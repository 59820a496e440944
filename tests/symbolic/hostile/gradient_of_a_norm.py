"""A derivative that holds the spectral norm of what moves fixed: its gradient is u v^T, and ||G||_F = g at rank one."""

from lorasolve.symbolic import Inequality, dims, gradient, matrix, mutant, scalar, scalars, square
from proofs.facts import FROBENIUS, OPERATOR_NORM, SPECTRAL_IS

REFUSED = r"(?s)still.*NOT SHOWN.*along G would hold g fixed"

m, n = dims("m n")
G = matrix("G", m, n)
g, g_F = scalars("g g_F", nonnegative=True)
BELOW = OPERATOR_NORM.instance("frobenius", SPECTRAL_IS(G, g), FROBENIUS(G, g_F))
CHECKS = (
    Inequality(
        "still",
        "The squared gradient of ||G||_2 is at most ||G||_F^2 - ||G||_2^2.",
        square(gradient(scalar(g), G)),
        g_F**2 - g**2,
        proof=[1 * BELOW],
        mutants=(mutant("constant", "1", lhs=1), mutant("sign", "g^2 - g_F^2 - 1", rhs=g**2 - g_F**2 - 1)),
    ),
)
