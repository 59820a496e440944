"""Adapters
========

Adapters, optimizers and schedules combine freely: DoRA with AdamW and a cosine, LoRA merged and restarted.
"""

from __future__ import annotations

import numpy as np

import lorasolve as ls
from lorasolve.adapters import LoRA
from lorasolve.objectives import LinearFineTuning
from lorasolve.schedules import Periodic


def run(quick: bool = False) -> dict[str, float]:
    """Fine-tune a linear layer towards a target of rank 6 with adapters of rank 2; return the final losses."""
    rng = np.random.default_rng(0)
    m, n, N = 16, 12, 200
    W0, Z = rng.standard_normal((m, n)), rng.standard_normal((n, N))
    shift = rng.standard_normal((m, 6)) @ rng.standard_normal((6, n)) / 4
    objective = LinearFineTuning(W0, Z, (W0 + shift) @ Z)
    iterations = 400 if quick else 4_000
    stop = ls.StoppingRule(max_iter=iterations, grad_tol=0.0)

    # A method is a value, or the text that stands for it.
    runs: dict[str, str | ls.Method] = {
        "LoRA, alpha = 2": "gd@lora:alpha=2.0",
        "rsLoRA, alpha = 2": "gd@lora:alpha=2.0,rslora=True",
        "LoRA-FA: B trained, A frozen": ls.Method(adapter=LoRA(frozen="A")),
        "DoRA, AdamW, cosine": "adamw+cosine@dora",
        "LoRA, merged every quarter": ls.Method("gd", Periodic(period=iterations // 4)),
    }
    losses = {}
    print(f"{'':30}  loss before {objective.value_and_grad(np.zeros((m, n)))[0]:.4f}")
    for name, method in runs.items():
        result = ls.solve(ls.Problem(objective, rank=2), method, stop=stop)
        losses[name] = result.fun
        print(f"{name:30}  loss {result.fun:z.4f}, rank of the update {np.linalg.matrix_rank(result.X, tol=1e-6)}")
    # The best that any update of rank 2 can do, in closed form: merging beats it, because the ranks add up.
    best = ls.solve_convex(ls.Problem(objective, rank=2), route="closed_form").fun
    losses["best of rank 2"] = best
    print(f"{'best of rank 2, closed form':30}  loss {best:.4f}")
    return losses


if __name__ == "__main__":
    run()
