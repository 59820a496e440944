"""Quick start
===========

Fine-tune a real model head with LoRA, compute the true optimum, and say whether LoRA reached it.
"""

from __future__ import annotations

import lorasolve as ls
from lorasolve.tasks import digits_task


def run(quick: bool = False) -> dict[str, object]:
    """Solve the digits job by gradient descent from the LoRA start and certify the end point."""
    task = digits_task()
    problem = ls.Problem(task.objective, rank=task.rank, lam=task.lam)
    stop = ls.StoppingRule(max_iter=2_000 if quick else 20_000, grad_tol=1e-9)
    result = ls.solve(problem, "nesterov" if quick else "gd", seed=0, stop=stop)
    certificate = ls.certify(problem, result)
    optimum = ls.solve_convex(problem)
    print(result.message)
    print(certificate)
    print(f"LoRA {result.fun:.12f}, convex optimum {optimum.fun:.12f} of rank {optimum.rank}")
    print(f"test accuracy {task.metrics()['accuracy']:.3f} -> {task.metrics(result.X)['accuracy']:.3f}")
    return {"result": result, "certificate": certificate, "optimum": optimum}


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "compare.png"
