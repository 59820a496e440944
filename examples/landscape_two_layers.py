"""Two layers
==========

Both layers of a network adapted at once: the joint second-order verdict of Theorem 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lorasolve as ls
from lorasolve import landscape
from lorasolve.low_rank import numerical_rank
from lorasolve.multi import TwoLayerPair


def run(quick: bool = False) -> dict[str, Any]:
    """Adapt both layers from several starts and judge every end against the best."""
    rng = np.random.default_rng(0)
    W, V, Z = rng.standard_normal((8, 6)) / 2.0, rng.standard_normal((3, 8)) / 2.0, rng.standard_normal((6, 40))
    Y = np.tanh(rng.standard_normal((3, 6)) @ Z)
    problem = ls.MultiProblem(TwoLayerPair(W, V, Z, Y), ranks=(4, 3), lam=0.05)
    stop = ls.StoppingRule(max_iter=5000, grad_tol=1e-9)
    start = ls.inits.Gaussian(std=2.0)
    ends = [ls.solve(problem, "lbfgs", init=start, seed=k, stop=stop) for k in range(4 if quick else 12)]
    best = min(ends, key=lambda end: end.fun)
    verdicts = [landscape.verdict(problem, end, X_star=best.X) for end in ends]
    print(f"{problem}: X* is the best of {len(ends)} ends, not certified")
    for end, judged in zip(ends, verdicts):
        ranks = [numerical_rank(np.linalg.svd(X, compute_uv=False)) for X in end.X]
        print(f"  L = {end.fun:.6f}, ranks {ranks}, {judged.kind}: {judged.reason}")
    return {"verdicts": verdicts, "best": best}


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/many_matrices.png"
