"""Leaving a saddle
================

Padding a finished run with zero columns gives a saddle that gradient descent cannot leave: find it, leave it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lorasolve as ls
from lorasolve import landscape


def run(quick: bool = False) -> dict[str, Any]:
    """Solve at rank 1, pad to rank 3, show that gradient descent is stuck, escape."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 10))
    f = ls.objectives.Denoising(M)
    small = ls.solve(ls.Problem(f, rank=1, lam=0.5), "lbfgs", stop=ls.StoppingRule(grad_tol=1e-10))

    problem = ls.Problem(f, rank=3, lam=0.5)
    A, B = (np.hstack([factor, np.zeros((len(factor), 2))]) for factor in (small.A, small.B))
    stuck = ls.solve(problem, "gd", init=(A, B))
    first, second = landscape.stationarity(problem, A, B), landscape.second_order(problem, A, B)
    print(f"gradient descent from the padded factors: {stuck.nit} iterations, rank {first.rank}, L = {stuck.fun:.6f}")
    print(f"||grad L|| = {first.grad_norm:.1e}, ||S||_2 = {first.S_norm:.3f} > lam = {problem.lam}")
    print(f"smallest curvature {second.smallest:.3f}: {landscape.verdict(problem, stuck).kind}")

    free = landscape.escape(problem, stuck)
    judged = landscape.verdict(problem, free)
    print(f"after escape: L = {free.fun:.6f}, rank {judged.stationarity.rank}, {judged.kind}")
    return {"stuck": landscape.verdict(problem, stuck), "free": judged}


if __name__ == "__main__":
    run()
