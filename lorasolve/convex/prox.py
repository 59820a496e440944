"""Accelerated proximal gradient: soft-thresholded SVDs, restarted, stopped by the certified gap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._validate import Array, as_integer
from ..certificate import Bound, duality_gap
from ..linear_map import LinearMap, balanced, top_singular
from ..objectives.base import Objective, estimate_smoothness, rounding_noise
from ..problem import Problem
from .base import ConvexRoute, Report, Solution


@dataclass(frozen=True)
class Prox(ConvexRoute):
    """FISTA on ``f(X) + lam ||X||_*`` with adaptive restart (Beck and Teboulle 2009; O'Donoghue and Candes 2015).

    The step is ``1/beta`` with the objective's smoothness constant, and found by backtracking where it states none.
    Small matrices take full SVDs, larger ones truncated SVDs of the rank of the last iterate plus a margin, raised
    until the threshold cuts.

    Parameters
    ----------
    max_iter : int
        Limit on iterations.
    """

    max_iter: int = 20_000

    name = "prox"
    summary = "accelerated proximal gradient with (truncated) SVDs, stopped by the gap"

    def __post_init__(self) -> None:
        as_integer(self.max_iter, "max_iter", 1)

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the last iterate; the gap is evaluated every 10 iterations."""
        objective, lam = problem.objective, problem.lam_effective
        m, n = problem.shape
        X = Y = np.zeros((m, n))
        stated = objective.facts.smoothness
        beta = stated or estimate_smoothness(objective, np.zeros((m, 1)), np.zeros((n, 1))) or 1.0
        t, rank, noise = 1.0, 1, rounding_noise(objective)
        for k in range(1, self.max_iter + 1):
            f, G = objective.value_and_grad(Y)
            while True:
                P, s, Q = _shrink(Y - G / beta, lam / beta, rank)
                new = (P * s) @ Q.T
                D = new - Y
                f_new, G_new = objective.value_and_grad(new)
                model = f + float(np.vdot(G, D)) + 0.5 * beta * float(np.vdot(D, D))
                if stated is not None or f_new <= model + noise:
                    break
                beta *= 2.0
            rank = s.size
            if float(np.vdot(Y - new, new - X)) > 0.0:
                t = 1.0  # adaptive restart: the momentum points against the step
            next_t = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * t * t))
            X, Y, t = new, new + ((t - 1.0) / next_t) * (new - X), next_t
            if k % 10 == 0:
                bound = _bound(objective, lam, X, f_new, G_new, float(s.sum()), noise)
                point = Solution(*balanced(P, s, Q), k, "gap reached")
                report(point, f_new + lam * float(s.sum()), bound)
                if bound.relative <= tol:
                    return point
        return Solution(*balanced(P, s, Q), k, f"the limit of {k} iterations was reached")


def _shrink(Y: Array, threshold: float, rank: int) -> tuple[Array, Array, Array]:
    """Return the soft-thresholded SVD of ``Y`` as thin factors, starting from ``rank + 5`` triplets.

    At least one triplet is returned, with the value 0 if nothing exceeds the threshold.
    """
    k = rank + 5
    small = min(Y.shape)
    while True:
        top = top_singular(LinearMap.from_dense(Y), min(k, small))
        if top.values[-1] <= threshold or k >= small:
            break
        k *= 2
    keep = max(int(np.count_nonzero(top.values > threshold)), 1)
    return top.U[:, :keep], np.maximum(top.values[:keep] - threshold, 0.0), top.V[:, :keep]


def _bound(objective: Objective, lam: float, X: Array, f: float, G: Array, nuclear: float, noise: float) -> Bound:
    top = top_singular(LinearMap.from_dense(G))
    norm = float(top.values[0]) + top.residual
    return duality_gap(objective, lam, f, nuclear, float(np.vdot(G, X)), norm, noise)
