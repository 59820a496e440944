"""Accelerated proximal gradient: soft-thresholded SVDs, restarted, stopped by the certified gap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validate import Array, as_integer
from ..certificate import duality_gap
from ..linear_map import LinearMap, balanced, top_singular
from ..objectives.base import estimate_smoothness
from ..problem import Problem
from .base import ConvexRoute, Solution


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

    def run(self, problem: Problem, tol: float, show: Any) -> Solution:
        """Return the last iterate; the gap is evaluated every 10 iterations."""
        objective, lam = problem.objective, problem.lam_effective
        X = np.zeros(problem.shape)
        beta = objective.smoothness
        if beta is None:
            zeros = np.zeros((problem.shape[0], 1)), np.zeros((problem.shape[1], 1))
            beta = estimate_smoothness(objective, *zeros) or 1.0
        Y, t, rank = X, 1.0, 1
        for k in range(self.max_iter):
            f, G = objective.value_and_grad(Y)
            while True:
                P, s, Q = _shrink(Y - G / beta, lam / beta, rank)
                new = (P * s) @ Q.T
                D = new - Y
                f_new = objective.value_and_grad(new)[0]
                if objective.smoothness is not None:
                    break
                if f_new <= f + float(np.vdot(G, D)) + 0.5 * beta * float(np.vdot(D, D)) + 1e-12 * abs(f):
                    break
                beta *= 2.0
            rank = max(s.size, 1)
            value = f_new + lam * float(s.sum())
            if float(np.vdot(Y - new, new - X)) > 0.0:
                t = 1.0  # adaptive restart: the momentum points against the step
            next_t = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * t * t))
            X, Y, t = new, new + ((t - 1.0) / next_t) * (new - X), next_t
            if k % 10 == 9:
                gap = _gap(problem, X, f_new, float(s.sum()))
                show(0.0, f"F = {value:.9g}  relative gap {gap / (abs(value) or 1.0):.1e}  rank {rank}")
                if gap <= tol * (abs(value) or 1.0):
                    return _solution(X, k + 1, "gap reached")
        return _solution(X, self.max_iter, "iteration limit")


def _shrink(Y: Array, threshold: float, rank: int) -> tuple[Array, Array, Array]:
    """Return the soft-thresholded SVD of ``Y`` as thin factors, starting from ``rank + 5`` triplets."""
    k = rank + 5
    small = min(Y.shape)
    while True:
        top = top_singular(LinearMap.from_dense(Y), min(k, small))
        if top.values[-1] <= threshold or k >= small:
            break
        k *= 2
    keep = int(np.count_nonzero(top.values > threshold))
    return top.U[:, :keep], top.values[:keep] - threshold, top.V[:, :keep]


def _gap(problem: Problem, X: Array, f: float, nuclear: float) -> float:
    G = problem.objective.value_and_grad(X)[1]
    top = top_singular(LinearMap.from_dense(G), 1)
    norm = float(top.values[0]) + top.residual
    return duality_gap(problem.objective, problem.lam_effective, f, nuclear, float(np.vdot(G, X)), norm).gap


def _solution(X: Array, nit: int, remark: str) -> Solution:
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    A, B = balanced(P, s, Qt.T)
    return Solution(A, B, nit, remark)
