"""PeriodicLoRA
============

PeriodicLoRA: ranks add up over stages, and a partial unload keeps the function only if the factors take roots.
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.objectives import Denoising
from lorasolve.papers.periodic_lora import unload_jumps


def run(quick: bool = False) -> dict[str, float]:
    """Learn a target of full rank with rank 2; return the losses and the jumps of a partial unload."""
    target = np.random.default_rng(0).standard_normal((12, 10))
    problem = ls.Problem(Denoising(target), rank=2)
    stop = ls.StoppingRule(max_iter=1500, grad_tol=0.0)
    shown = {name: ls.solve(problem, name, stop=stop).fun for name in ("nesterov", "nesterov+periodic:period=100")}
    values = np.linalg.svd(target, compute_uv=False)
    shown["best of rank 2"] = 0.5 * float(np.sum(values[2:] ** 2))
    for name, loss in shown.items():
        print(f"{name:30} loss {loss:.2e}")
    for name, jump in unload_jumps(0.1).items():
        shown[name] = jump
        print(f"unloading a tenth, factors scaled by the {name:6} share: the update jumps by {jump:.0e}")
    return shown


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/periodic_lora.png"
