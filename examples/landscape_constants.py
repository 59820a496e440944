"""Restricted constants
====================

Restricted constants as intervals, the regime they give, and the size of the minimizer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lorasolve as ls
from lorasolve import landscape


def run(quick: bool = False) -> dict[str, Any]:
    """Compute intervals for a random sensing problem and samples for a network."""
    rng = np.random.default_rng(0)
    m, n, N = 8, 7, 400
    M = rng.standard_normal((N, m, n))
    target = np.outer(rng.standard_normal(m), rng.standard_normal(n))
    f = ls.objectives.MatrixSensing(M, np.einsum("kij,ij->k", M, target) + 0.05 * rng.standard_normal(N))
    problem = ls.Problem(f, rank=4, lam=0.1)
    optimum = ls.solve_convex(problem)
    constants = landscape.restricted_constants(f, optimum.X, r=4, D=5.0)
    regime = landscape.regime(constants.rsc_low, constants.rsm_high, 4, optimum.rank, curvature=constants.curvature)
    print(f"sensing: {constants}\n  {regime.kind}: {regime.reason}")
    print(f"  ||X*||_* = {optimum.nuclear_norm:.3f} <= {landscape.magnitude_bound(problem):.3f} = f(0)/lam")

    network = ls.objectives.TwoLayer.example(rng)
    sampled = landscape.restricted_constants(network, np.zeros(network.shape), r=2, D=1.0, samples=50 if quick else 500)
    print(f"network: {sampled}\n  {sampled.how['rsc_high']}")
    return {"constants": constants, "regime": regime, "sampled": sampled}


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/table2.png"
