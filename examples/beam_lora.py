"""BeamLoRA
========

BeamLoRA on noisy data: what its gates, its pruning and its expansions are worth beside LoRA and pruning alone.
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.adapters import SoftmaxGates
from lorasolve.optimizers import Adam
from lorasolve.papers.beam_lora import noisy_change
from lorasolve.schedules import Beam


def run(quick: bool = False) -> dict[str, float]:
    """Learn a change of rank 4 with rank 8 from 60 noisy samples; return the mean distances from the change."""
    gates, step = SoftmaxGates(tau=0.5), Adam(0.02)
    methods = {
        "LoRA": ls.Method(step, "cosine"),
        "gates alone": ls.Method(step, "cosine", gates),
        "BeamLoRA": ls.Method(step, ["cosine", Beam(kept=0.8)], gates),
        "BeamLoRA, split exact": ls.Method(step, ["cosine", Beam(kept=0.8, expand="preserving")], gates),
        "pruning alone": ls.Method(step, ["cosine", Beam(kept=0.8, expand="none")], gates),
    }
    distances = {name: [] for name in methods}
    for seed in range(3 if quick else 10):
        change, objective = noisy_change(samples=60, rank=4, noise=1.0, seed=seed)
        for name, method in methods.items():
            problem = ls.Problem(objective, rank=8)
            result = ls.solve(problem, method, seed=seed, stop=ls.StoppingRule(max_iter=1000, grad_tol=0.0))
            distances[name].append(float(np.linalg.norm(result.X - change)))
    means = {name: float(np.mean(values)) for name, values in distances.items()}
    for name, values in distances.items():
        print(f"{name:22} distance from the change {means[name]:.3f}, from {min(values):.3f} to {max(values):.3f}")
    return means


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/beam_lora.png"
