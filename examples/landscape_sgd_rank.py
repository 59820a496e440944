"""The rank of SGD
===============

SGD with weight decay keeps the rank low: the bound of Lemma 1 beside what runs do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lorasolve as ls
from lorasolve import landscape

EPS = 0.1


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Compare effective rank and bound on linear fine-tuning with a target of full rank."""
    rng = np.random.default_rng(0)
    m, n, N = 60, 50, 80
    Z = rng.standard_normal((n, N))
    Z /= np.linalg.norm(Z, axis=0)
    f = ls.objectives.LinearFineTuning(np.zeros((m, n)), Z, rng.standard_normal((m, n)) @ Z)
    rows = []
    for batch in (1, 4):
        for step, lam in [(0.05, 0.2), (0.2, 0.5)]:
            problem = ls.Problem(f, rank=40, lam=lam)
            sgd = ls.optimizers.SGD(step_size=step, batch_size=batch)
            result = ls.solve(problem, sgd, init="gaussian", stop=ls.StoppingRule(max_iter=500 if quick else 3000))
            rank = landscape.effective_rank(np.linalg.svd(result.X, compute_uv=False), EPS)
            bound = landscape.sgd_rank_bound(EPS, batch, step, lam)
            note = "vacuous" if bound >= min(m, n) else ""
            print(f"batch {batch}, step {step}, lam {lam}: rank within {EPS} is {rank}, bound {bound:.1f} {note}")
            rows.append({"rank": rank, "bound": bound})
    return rows


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/lemma1.png"
