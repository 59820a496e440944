"""Pruning ranks
=============

Few measurements: any optimum can be moved, at no cost, to one whose rank r has r (r + 1)/2 <= KN.
"""

import numpy as np

from lorasolve.papers import lora_ntk


def run(quick=True):
    lam, ranks = 0.3, {}
    for count in (1, 3, 6, 10):
        objective, X = lora_ntk.degenerate_optimum((14, 12), 8, count, lam, np.random.default_rng(count))
        reduced = lora_ntk.reduce_rank(X, objective.scalar_features())
        values = [np.linalg.svd(M, compute_uv=False) for M in (X, reduced)]
        before, after = (objective.value_and_grad(M)[0] + lam * s.sum() for M, s in zip((X, reduced), values))
        ranks[count] = int(np.sum(values[1] > 1e-8 * values[1][0]))
        bound = lora_ntk.rank_bound(count)
        print(f"KN = {count:2d}: rank 8 -> {ranks[count]} (bound {bound}), change {after - before:+.0e}")
    return ranks


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/lora_ntk.png"
