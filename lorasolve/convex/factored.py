"""The convex optimum through factors whose rank finds itself, certified. The route that scales.

One outer round, on ``X = A B^T`` of rank k, for ``F(X) = f(X) + lam ||X||_*``:

1. the certified gap; stop if it is small enough;
2. a proximal gradient step ``X <- prox(X - G/beta)`` restricted to the singular spaces of ``X`` and the top singular
   directions of ``-G`` outside them that exceed ``lam`` (the escape directions): the rank grows or shrinks, ``F``
   never rises;
3. descent on the factors at this rank (L-BFGS on ``L``), where each iteration costs one factor oracle, not one SVD.

Steps 1 and 2 alone are a proximal gradient method for the convex problem, so no point of the factored landscape traps
the rounds, whatever step 3 does (it only lowers ``F``); step 3 makes them few. At a second-order point of the factors
with surplus rank the gap is zero (main paper, section 2 and 11; proofs/certificate).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._validate import Array, as_integer
from ..certificate import Bound, duality_gap
from ..linear_map import LinearMap, TopSingular, balanced, factor_svd, numerical_rank, split_spectrum
from ..objectives.base import Objective, estimate_smoothness, rounding_noise
from ..problem import Problem
from ._descent import lbfgs
from .base import DROPPED, ConvexRoute, Report, Solution

# Escape directions offered per round: this many and, if all of them escape, half the present rank more, so that the
# rank grows geometrically.
GROWTH = 8
MAX_DESCENT = 300
MAX_HALVINGS = 60
# Rounds without a smaller gap or value after which the precision of float64 is reached.
PATIENCE = 5


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

    def refusal(self, problem: Problem) -> str | None:
        """Return why this route cannot solve the problem.

        For ``lam = 0`` only the lower bound of ``f`` can end the rounds, so it must be known to be tight enough: least
        squares are accepted, and ``min f`` is computed over all ranks.
        """
        objective = problem.objective
        if problem.lam == 0.0 and objective.facts.convex is True and objective.facts.least_squares:
            return None
        return super().refusal(problem)

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the point of smallest certified gap."""
        return _Run(problem.objective, problem.lam_effective).solve(tol, self.max_rounds, report)


@dataclass(frozen=True)
class _Point:
    """``X = A B^T = P diag(s) Q^T`` with all that a round needs to know there; at ``X = 0`` ``P`` has no columns."""

    A: Array
    B: Array
    P: Array
    s: Array
    Q: Array
    f: float
    value: float
    G: LinearMap
    escapes: TopSingular
    bound: Bound

    @property
    def merit(self) -> tuple[float, float]:
        """What makes one point better than another: the gap, or the value where there is no bound."""
        return self.bound.gap, self.value


class _Run:
    """One run of the factored solver."""

    def __init__(self, objective: Objective, lam: float) -> None:
        self.objective = objective
        self.lam = lam
        self.evaluations = 0
        m, n = objective.shape
        zero = np.zeros((m, 1)), np.zeros((n, 1))
        self.noise = rounding_noise(objective)
        self.beta = objective.facts.smoothness or estimate_smoothness(objective, *zero) or 1.0

    def solve(self, tol: float, max_rounds: int, report: Report) -> Solution:
        """Alternate rank adaptation and descent at fixed rank until the gap closes."""
        m, n = self.objective.shape
        point = best = self._look(np.zeros((m, 1)), np.zeros((n, 1)))
        idle = 0
        for k in range(max_rounds):
            report(_solution(best, k), best.value, best.bound)
            if best.bound.relative <= tol:
                return _solution(best, k, f"gap reached after {self.evaluations} oracle calls")
            if idle == PATIENCE:
                return _solution(best, k, f"no further progress in {PATIENCE} rounds, the limit of double precision")
            accuracy = max(0.03 * point.bound.gap, 0.3 * tol * point.bound.scale)
            point = self._look(*self._descend(*self._adapt_rank(point), accuracy))
            idle = 0 if _improves(point, best) else idle + 1
            best = min(point, best, key=lambda p: p.merit)
        return _solution(best, max_rounds, f"the limit of {max_rounds} rounds was reached")

    def _look(self, A: Array, B: Array) -> _Point:
        """Return the point ``A B^T`` with its bound and escape directions."""
        P, s, Q = factor_svd(A, B)
        rank = numerical_rank(s, DROPPED)
        width = max(rank, 1)
        A, B = balanced(P[:, :width], s[:width], Q[:, :width])
        P, s, Q = P[:, :rank], s[:rank], Q[:, :rank]
        GB, GtA = np.empty_like(A), np.empty_like(B)
        f = self.objective.factor_oracle(A, B, GB, GtA)
        G = self.objective.gradient_operator(A, B)
        spectrum = split_spectrum(G, P, Q, GROWTH, self.lam)
        if spectrum.rest.values[-1] > self.lam:
            spectrum = split_spectrum(G, P, Q, GROWTH + rank // 2, self.lam)
        nuclear = float(s.sum())
        bound = duality_gap(self.objective, self.lam, f, nuclear, float(np.vdot(GB, A)), spectrum.norm, self.noise)
        return _Point(A, B, P, s, Q, f, f + self.lam * nuclear, G, spectrum.rest, bound)

    def _adapt_rank(self, point: _Point) -> tuple[Array, Array]:
        """Take a proximal gradient step restricted to the span of ``X`` and of the escape directions.

        The step ``1/beta`` is halved until the quadratic model is an upper bound of ``f`` at the new point, which
        holds at once if ``beta`` is a true smoothness constant (but for rounding: hence the limit).
        """
        escaping = point.escapes.values > self.lam
        if not (point.s.size or escaping.any()):
            return point.A, point.B
        left = np.hstack([point.P, point.escapes.U[:, escaping]])
        right = np.hstack([point.Q, point.escapes.V[:, escaping]])
        X = np.zeros((left.shape[1], right.shape[1]))
        X[np.diag_indices(point.s.size)] = point.s
        G = left.T @ point.G.matmat(right)
        for _ in range(MAX_HALVINGS):
            p, sigma, qt = np.linalg.svd(X - G / self.beta)
            shrunk = np.maximum(sigma - self.lam / self.beta, 0.0)
            r = max(int(np.count_nonzero(shrunk)), 1)
            A, B = balanced(left @ p[:, :r], shrunk[:r], right @ qt[:r].T)
            D = (p * shrunk) @ qt - X
            model = point.f + float(np.vdot(G, D)) + 0.5 * self.beta * float(np.vdot(D, D))
            if self.objective.factor_value(A, B) <= model + self.noise:
                break
            self.beta *= 2.0
        return A, B

    def _descend(self, A: Array, B: Array, accuracy: float) -> tuple[Array, Array]:
        """Lower ``L`` at this rank until the first-order part of the gap is about ``accuracy``.

        The gradient must at least shrink to 0.3 of what it was: else a loose bound on the gap, from which
        ``accuracy`` comes, would end the descent before it began. L-BFGS runs in variables scaled by the estimated
        diagonal of the Hessian: singular values that span decades and rows with few data are what makes the plain
        variables ill-conditioned (on MovieLens-100k 217 oracle calls in place of 523, on Gaussian sensing at 60 x 60
        304 in place of 583).
        """
        (m, r), n = A.shape, B.shape[0]
        objective, lam = self.objective, self.lam
        cut = m * r

        on_A, on_B = objective.factor_diagonal(A, B)
        root = np.sqrt(np.concatenate([on_A.ravel(), on_B.ravel()]) + lam)
        length = math.sqrt(2.0 * float(np.vdot(A, A)))
        first: float | None = None
        grad_norm = math.inf

        def function(z: Array, grad: Array) -> float:
            nonlocal first, grad_norm
            x = z / root
            f = objective.factor_oracle(
                x[:cut].reshape(m, r), x[cut:].reshape(n, r), grad[:cut].reshape(m, r), grad[cut:].reshape(n, r)
            )
            grad += lam * x
            grad_norm = math.sqrt(float(grad @ grad))
            first = grad_norm if first is None else first
            grad /= root
            return f + 0.5 * lam * float(x @ x)

        def done() -> bool:
            assert first is not None
            return grad_norm * length <= min(accuracy, 0.3 * first * length)

        z = np.concatenate([A.ravel(), B.ravel()]) * root
        z, evaluations = lbfgs(function, z, MAX_DESCENT, done, self.noise)
        self.evaluations += evaluations
        x = z / root
        return x[:cut].reshape(m, r), x[cut:].reshape(n, r)


def _improves(point: _Point, best: _Point) -> bool:
    """Whether the gap or the value has got smaller by more than rounding."""
    return point.bound.gap < 0.9 * best.bound.gap or point.value < best.value - 1e-14 * best.bound.scale


def _solution(point: _Point, nit: int, remark: str = "") -> Solution:
    return Solution(point.A, point.B, nit, remark)
