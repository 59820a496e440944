"""Expressive power
================

Turn a frozen linear network into a target: the error is a singular value, and the ranks of the layers add up.
"""

import numpy as np

from lorasolve.papers.expressive_power import adapt_linear


def run(quick=True):
    rng = np.random.default_rng(0)
    target, first, second = (np.eye(16) + 0.1 * rng.standard_normal((16, 16)) / 4.0 for _ in range(3))
    values = np.linalg.svd(target - second @ first, compute_uv=False)
    errors = {}
    for ranks in ([2, 2], [4, 4], [5, 3], [8, 8]):
        errors[sum(ranks)] = adapt_linear(target, [first, second], ranks).error
        bound = values[sum(ranks)] if sum(ranks) < 16 else 0.0
        print(f"ranks {ranks}: spectral error {errors[sum(ranks)]:.2e}, sigma_{sum(ranks) + 1} = {bound:.2e}")
    return {"errors": errors, "values": values}


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/expressive_power.png"
