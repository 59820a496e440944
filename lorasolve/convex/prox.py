"""Accelerated proximal gradient: soft-thresholded SVDs, restarted, stopped by the certified gap."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._support.time_limit import is_over
from .._support.validate import Array, as_integer
from ..certificates import Bound
from ..certificates.duality import duality_gap
from ..certificates.evidence import evidence
from ..dense import DENSE_LIMIT
from ..linear_map import LinearMap
from ..low_rank import Svd, balanced
from ..problem import Problem
from ..problem.blocks import MultiObjective
from ..problem.natural_units import curvature_at_zero
from ..problem.pairs import Matrices, joint_inner
from ..singular_triplets import top_singular
from .base import ConvexRoute, Report, Solution

# Iterations without a smaller gap or value, and as many again as there were before, after which the precision is
# reached: in as many the gap of an accelerated method falls to a quarter.
IDLE = 500


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
    takes_several = True
    summary = "accelerated proximal gradient with (truncated) SVDs, stopped by the gap"

    def __post_init__(self) -> None:
        as_integer(self.max_iter, "max_iter", 1)

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the last iterate; the gap is estimated every 10 iterations.

        Where the estimate is small enough a certificate decides, and where that says no the next one is asked a tenth
        of the iterations later; from then on truncated SVDs have fresh starts.
        """
        # What is reached here is proved of other factors, after rounding.
        tol *= 0.5
        loss, lam = problem.loss, problem.lam_effective
        zeros = loss.zeros()
        X = Y = [np.zeros(shape) for shape in loss.shapes]
        stated = loss.facts.smoothness
        beta = curvature_at_zero(problem)
        t, ranks, noise = 1.0, [1] * len(X), loss.rounding_noise(zeros).value
        rng: np.random.Generator | None = None
        next_certificate = 0
        more = f"route='prox:max_iter={10 * self.max_iter}' allows more"
        gap, value, progress = math.inf, math.inf, 0
        remark = f"the limit of {self.max_iter} iterations was reached, {more}"
        for k in range(1, self.max_iter + 1):
            f, G = loss.checked_value_and_grad(Y)
            while True:
                parts = [_shrink(y - g / beta, lam / beta, rank, rng) for y, g, rank in zip(Y, G, ranks)]
                new = [(P * s) @ Q.T for P, s, Q in parts]
                D = [x - y for x, y in zip(new, Y)]
                f_new, G_new = loss.checked_value_and_grad(new)
                model = f + joint_inner(G, D) + 0.5 * beta * joint_inner(D, D)
                # Of what is no number no inequality holds.
                if stated is not None or f_new <= model + noise or not beta < math.inf:
                    break
                beta *= 2.0
            ranks = [s.size for _, s, _ in parts]
            change = [x - old for x, old in zip(new, X)]
            if joint_inner(D, change) < 0.0:
                t = 1.0  # adaptive restart: the momentum points against the step
            next_t = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * t * t))
            X, Y, t = new, [x + ((t - 1.0) / next_t) * d for x, d in zip(new, change)], next_t
            if k % 10 == 0 or is_over():
                nuclear = sum(float(s.sum()) for _, s, _ in parts)
                bound = _estimate(loss, lam, X, f_new, G_new, nuclear, noise, rng)
                point = Solution(*problem.unpaired([balanced(*part) for part in parts]), k, "gap reached")
                found = f_new + lam * nuclear
                report(point, found, bound)
                if bound.relative <= tol and k >= next_certificate:
                    if evidence(problem, point.blocks, parts).bound.relative <= tol:
                        return point
                    rng, next_certificate = np.random.default_rng(), k + k // 10
                if bound.gap < 0.9 * gap or found < value - 1e-14 * bound.scale:
                    progress = k
                elif k - progress >= max(IDLE, progress):
                    remark = f"no further progress in {k - progress} iterations, the limit of the precision of f"
                    break
                gap, value = min(gap, bound.gap), min(value, found)
        factors = problem.unpaired([balanced(*part) for part in parts])
        return Solution(*factors, k, remark)


def _shrink(Y: Array, threshold: float, rank: int, rng: np.random.Generator | None) -> Svd:
    """Return the soft-thresholded SVD of ``Y`` as thin factors; a truncated one starts from ``rank + 5`` triplets.

    At least one triplet is returned, with the value 0 if nothing exceeds the threshold.
    """
    small = min(Y.shape)
    # A full SVD has all triplets at once.
    k = small if Y.size <= DENSE_LIMIT else rank + 5
    while True:
        top = top_singular(LinearMap.from_dense(Y), min(k, small), rng=rng)
        if top.values[-1] <= threshold or k >= small:
            break
        k *= 2
    keep = max(int(np.count_nonzero(top.values > threshold)), 1)
    return top.U[:, :keep], np.maximum(top.values[:keep] - threshold, 0.0), top.V[:, :keep]


def _estimate(
    loss: MultiObjective,
    lam: float,
    X: Matrices,
    f: float,
    G: Matrices,
    nuclear: float,
    noise: float,
    rng: np.random.Generator | None,
) -> Bound:
    tops = [top_singular(LinearMap.from_dense(g), rng=rng) for g in G]
    norm = max(float(top.values[0]) + top.residual for top in tops)
    return duality_gap(loss, lam, f, nuclear, joint_inner(G, X), norm, noise)
