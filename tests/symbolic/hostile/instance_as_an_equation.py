"""|<G, X>| <= 1 * 1 used as an equation, of which any multiple may be taken."""

from dataclasses import replace

from lorasolve.symbolic import Inequality, dims, dropped, inner, matrix, mutant
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

REFUSED = r"is no instance of norm duality alone"

m, n = dims("m n")
G, X = matrix("G", m, n), matrix("X", m, n)
EQUAL = replace(DUAL_NORM.instance("pairing", SPECTRAL(G, 1), NUCLEAR(X, 1)), equal=True)
CHECKS = (
    Inequality(
        "below",
        "1 <= <G, X>.",
        2,
        2 * inner(G, X),
        proof=[-2 * EQUAL],
        mutants=(mutant("constant", "3", {G: [[1]], X: [[1]]}, lhs=3), dropped(EQUAL, {G: [[0]], X: [[0]]})),
    ),
)
