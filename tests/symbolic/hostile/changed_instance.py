"""An instance of a fact with half of its right side, made by hand."""

from dataclasses import replace

from lorasolve.symbolic import Inequality, dims, dropped, inner, matrix, mutant, scalars
from proofs.facts import DUAL_NORM, NUCLEAR, SPECTRAL

REFUSED = r"is not what norm duality, pairing, says"

m, n = dims("m n")
G, X, s, nu = matrix("G", m, n), matrix("X", m, n), *scalars("s nu")
HALVED = replace(DUAL_NORM.instance("pairing", SPECTRAL(G, s), NUCLEAR(X, nu)), rhs=s * nu / 2)
CHECKS = (
    Inequality(
        "first",
        "<G, X> <= s nu/2.",
        inner(G, X),
        s * nu / 2,
        proof=[HALVED],
        mutants=(mutant("constant", "s nu/4", {G: [[1]], X: [[1]], s: 1, nu: 2}, rhs=s * nu / 4), dropped(HALVED)),
    ),
)
