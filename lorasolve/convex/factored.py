"""The convex optimum through factors whose rank finds itself, certified. The route that scales.

One outer round, on ``X = A B^T`` of rank k, for ``F(X) = f(X) + lam ||X||_*``:

1. a truncated proximal gradient step ``X <- prox(X - G/beta)``: it adds the singular directions of ``-G`` that exceed
   ``lam`` (the escape directions) and removes those that die, and it never raises ``F``;
2. descent on the factors at this rank (L-BFGS on ``L``), where each iteration costs one factor oracle, not one SVD;
3. the certified gap; stop if it is small enough.

Step 1 alone is proximal gradient, so the rounds converge to the global optimum of every convex ``f`` with a
smoothness constant, whatever step 2 does (it only lowers ``F``); step 2 makes them few. At a second-order point of
the factors with surplus rank the gap is zero (main paper, section 2 and 11; proofs/certificate).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validate import Array, as_integer
from ..certificate import duality_gap
from ..linear_map import LinearMap, TopSingular, balanced, factor_svd, split_spectrum
from ..objectives.base import Objective, estimate_smoothness
from ..problem import Problem
from .base import ConvexRoute, Solution
from .descent import lbfgs

# Escape directions offered per round: this many plus half the present rank, so that the rank grows geometrically.
GROWTH = 8
MAX_DESCENT = 300


@dataclass(frozen=True)
class Factored(ConvexRoute):
    """Factored solver with proximal rank adaptation (see the module docstring).

    Parameters
    ----------
    max_rounds : int
        Limit on outer rounds.
    """

    max_rounds: int = 200

    name = "factored"
    summary = "factors whose rank grows and shrinks by proximal steps until the certificate closes; scales"

    def __post_init__(self) -> None:
        as_integer(self.max_rounds, "max_rounds", 1)

    def run(self, problem: Problem, tol: float, show: Any) -> Solution:
        """Return the point of smallest certified gap."""
        return _Run(problem.objective, problem.lam_effective, tol, show, self.max_rounds).solve()


class _Run:
    """One run of the factored solver."""

    def __init__(
        self, objective: Objective, lam: float, tol: float, show: Callable[[float, str], None], max_rounds: int
    ) -> None:
        self.objective = objective
        self.lam = lam
        self.tol = tol
        self.show = show
        self.max_rounds = max_rounds
        self.evaluations = 0
        m, n = objective.shape
        zero = np.zeros((m, 1)), np.zeros((n, 1))
        self.beta = objective.smoothness or estimate_smoothness(objective, *zero) or 1.0

    def solve(self) -> Solution:
        """Alternate descent at fixed rank and rank adaptation until the gap closes."""
        m, n = self.objective.shape
        A, B = np.zeros((m, 1)), np.zeros((n, 1))
        best = (math.inf, A, B)
        for k in range(self.max_rounds):
            P, s, Q = factor_svd(A, B)
            A, B = balanced(P, s, Q)
            GB, GtA = np.empty_like(A), np.empty_like(B)
            f = self.objective.factor_oracle(A, B, GB, GtA)
            value = f + self.lam * float(s.sum())
            G = self.objective.gradient_operator(A, B)
            spectrum = split_spectrum(G, P, Q, GROWTH + s.size // 2, self.lam)
            bound = duality_gap(self.objective, self.lam, f, float(s.sum()), float(np.vdot(GB, A)), spectrum.norm)
            if bound.gap < best[0]:
                best = (bound.gap, A, B)
            scale = abs(value) or 1.0
            self.show(0.0, f"F = {value:.9g}  relative gap {bound.gap / scale:.1e}  rank {s.size}")
            if bound.gap <= self.tol * scale:
                return Solution(A, B, k, f"gap reached after {self.evaluations} oracle calls")
            A, B = self._adapt_rank(P, s, Q, G, spectrum.rest)
            if not A.shape[1]:
                return Solution(np.zeros((m, 1)), np.zeros((n, 1)), k, "the optimum is 0")
            A, B = self._descend(A, B, max(0.03 * bound.gap, 0.3 * self.tol * scale))
        return Solution(best[1], best[2], self.max_rounds, "round limit")

    def _adapt_rank(self, P: Array, s: Array, Q: Array, G: LinearMap, rest: TopSingular) -> tuple[Array, Array]:
        """Take a proximal gradient step restricted to the span of ``X`` and of the escape directions."""
        escaping = rest.values > self.lam
        left = np.hstack([P, rest.U[:, escaping]])
        right = np.hstack([Q, rest.V[:, escaping]])
        core = (left.T @ P * s) @ (Q.T @ right) - left.T @ G.matmat(right) / self.beta
        p, sigma, qt = np.linalg.svd(core)
        kept = np.maximum(sigma - self.lam / self.beta, 0.0)
        r = int(np.count_nonzero(kept))
        return balanced(left @ p[:, :r], kept[:r], right @ qt[:r].T)

    def _descend(self, A: Array, B: Array, accuracy: float) -> tuple[Array, Array]:
        """Lower ``L`` at this rank until the first-order part of the gap is about ``accuracy``.

        L-BFGS runs in variables scaled by the estimated diagonal of the Hessian: singular values that span decades
        and rows with few data are what makes the plain variables ill-conditioned (on MovieLens-100k 217 oracle calls
        in place of 523, on Gaussian sensing at 60 x 60 304 in place of 583).
        """
        (m, r), n = A.shape, B.shape[0]
        objective, lam = self.objective, self.lam
        cut = m * r

        on_A, on_B = objective.factor_diagonal(A, B)
        root = np.sqrt(np.concatenate([on_A.ravel(), on_B.ravel()]) + lam)
        length = math.sqrt(2.0 * float(np.vdot(A, A)))
        grad_norm = math.inf

        def function(z: Array, grad: Array) -> float:
            nonlocal grad_norm
            x = z / root
            f = objective.factor_oracle(
                x[:cut].reshape(m, r), x[cut:].reshape(n, r), grad[:cut].reshape(m, r), grad[cut:].reshape(n, r)
            )
            grad += lam * x
            grad_norm = math.sqrt(float(grad @ grad))
            grad /= root
            return f + 0.5 * lam * float(x @ x)

        z = np.concatenate([A.ravel(), B.ravel()]) * root
        z, evaluations = lbfgs(function, z, MAX_DESCENT, lambda: grad_norm * length <= accuracy)
        self.evaluations += evaluations
        x = z / root
        return x[:cut].reshape(m, r), x[cut:].reshape(n, r)
