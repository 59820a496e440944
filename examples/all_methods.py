"""Every method on one problem
===========================

Every method of the package on one anisotropic regression: same starts, same budget, each against its own optimum.
"""

from __future__ import annotations

import argparse

import numpy as np

import lorasolve as ls
from lorasolve.objectives import LinearFineTuning


def anisotropic_problem(seed: int = 0) -> ls.Problem:
    """Return a 20 x 16 regression with input variances from 1 to 1/50 and a change of rank 3; factors of rank 5."""
    rng = np.random.default_rng(seed)
    m, n, samples = 20, 16, 200
    Z = np.sqrt(np.geomspace(1.0, 0.02, n))[:, None] * rng.standard_normal((n, samples))
    W0 = rng.standard_normal((m, n)) / 4.0
    change = rng.standard_normal((m, 3)) @ rng.standard_normal((3, n)) / 2.0
    Y = (W0 + change) @ Z + 0.1 * rng.standard_normal((m, samples))
    return ls.Problem(LinearFineTuning(W0, Z, Y), 5, lam=0.02)


def run(quick: bool = True) -> ls.Comparison:
    """Print the table and return the comparison."""
    budget, seeds = (100, 2) if quick else (1000, 5)
    outcome = ls.compare(anisotropic_problem(), "all", seeds, budget, tune=True)
    print(outcome)
    return outcome


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="1000 oracle calls and five starts")
    run(quick=not parser.parse_args().full)

# sphinx_gallery_thumbnail_path = "methods_anisotropic.png"
