"""LoRA-Pro
========

LoRA-Pro with AdamW: both released modes beside AdamW on the factors, on an ill-conditioned target.
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.objectives import Denoising


def run(quick: bool = False) -> dict[str, float]:
    """Learn a target of rank 4 with condition number 30; return the relative losses of the best of some steps."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((rows, 4)))[0] for rows in (20, 16))
    target = U * np.geomspace(1.0, 1.0 / 30.0, 4) @ V.T
    problem = ls.Problem(Denoising(target), rank=4)
    stop = ls.StoppingRule(max_iter=60, grad_tol=0.0)
    losses = {}
    for name in ("adamw", "lora_pro_adamw", "lora_pro_adamw_full"):
        ends = {}
        for step in (0.03, 0.1, 0.3) if quick else (0.003, 0.01, 0.03, 0.1, 0.3):
            method = ls.Method.parse(f"{name}+cosine").with_step(step)
            ends[step] = ls.solve(problem, method, seed=0, stop=stop).fun
        best = min(ends, key=ends.get)
        losses[name] = ends[best] / (0.5 * np.vdot(target, target))
        print(f"{name:20} relative loss {losses[name]:.1e} with the step {best}")
    return losses


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/lora_pro.png"
