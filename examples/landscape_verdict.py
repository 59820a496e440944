"""A verdict
=========

Global minimum or not? The verdict on three runs: a good one, a trapped one, an unfinished one.
"""

from __future__ import annotations

from typing import Any

import lorasolve as ls
from lorasolve import landscape


def run(quick: bool = False) -> dict[str, Any]:
    """Judge three points of an instance that has a spurious minimum."""
    instance = landscape.instances.sharp(r=2, r_star=1, m=6, n=5, kappa=5.0, lam=0.1)
    problem = ls.Problem(instance, rank=2, lam=0.1)

    good = ls.solve(problem, "lbfgs", init="lora", stop=ls.StoppingRule(grad_tol=1e-9))
    short = ls.solve(problem, "gd", init="lora", stop=ls.StoppingRule(max_iter=5))
    verdicts = {
        "from the LoRA start": landscape.verdict(problem, good),
        "at the closed-form spurious point": landscape.verdict(
            problem, instance.stationary_factors(), X_star=instance.X_star
        ),
        "after five steps": landscape.verdict(problem, short),
    }
    for name, verdict in verdicts.items():
        print(f"{name}\n{verdict}\n")
    return verdicts


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/sharp.png"
