"""Runs of a method on problems about which enough is known, and what they refute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine import solve
from ..method import Method
from ..monitor import StoppingRule
from ..objectives.base import Objective
from ..optimizers.base import Optimizer
from ..problem import Problem
from ..status import Status
from .base import Failures, Instance

CONVERGED = "a run that has converged is at a stationary point of what it minimises"
MONOTONE = "L never rises"
BOUNDED = "a derived step does not diverge"
SETTLES = "where a run settles, L is stationary"
STAYS = "a global minimum of L is not left"
ENDS = "a run ends by a rule, not by its limit of oracle calls or as inconsistent"
FALLS = "L ends below its start"

# How far from stationary is not stationary: ||grad L|| relative to (||grad f(0)|| + lam) times the size of the factors.
FAR = 1e-3

# A rise of L beyond rounding, relative to the largest |L|.
RISE = 1e-10

# A run whose last moves are all shorter than this, relative to the parameters, has settled.
STILL, LAST = 1e-12, 20


class Entrywise(Objective):
    """``sum W o (X - M)^2 / 2`` with all that may be stated of it."""

    convex = True
    least_squares = True
    minimizes_factors = True
    lower_bound = 0.0

    def __init__(self, W: list[list[float]], M: list[list[float]]) -> None:
        self.W, self.M = np.array(W), np.array(M)
        self.shape = (self.M.shape[0], self.M.shape[1])
        self.smoothness = float(self.W.max())

    def value_and_grad(self, X: Any) -> tuple[float, Any]:
        """Return value and gradient."""
        E = X - self.M
        return 0.5 * float(np.sum(self.W * E * E)), self.W * E

    def hessian_product(self, X: Any, D: Any) -> Any:
        """Return ``W o D``."""
        return self.W * D

    def minimize_over_A(self, B: Any, lam: float) -> Any:
        """Return the ridge regression of each row of ``M`` on ``B``."""
        ridge = lam * np.eye(B.shape[1])
        rows = [np.linalg.pinv((B.T * w) @ B + ridge, hermitian=True) @ (B.T @ (w * x)) for w, x in zip(self.W, self.M)]
        return np.array(rows)

    def minimize_over_B(self, A: Any, lam: float) -> Any:
        """Return the ridge regression of each column of ``M`` on ``A``."""
        return Entrywise(self.W.T.tolist(), self.M.T.tolist()).minimize_over_A(A, lam)


class Quartic(Objective):
    """``sum (X - M)^4 / 4``: convex, flat near ``M``, steep away from it, and not smooth with any constant."""

    convex = True
    lower_bound = 0.0

    def __init__(self, M: list[list[float]]) -> None:
        self.M = np.array(M)
        self.shape = (self.M.shape[0], self.M.shape[1])

    def value_and_grad(self, X: Any) -> tuple[float, Any]:
        """Return value and gradient."""
        E = X - self.M
        return 0.25 * float(np.sum(E**4)), E**3


def refuted(problem: Problem, text: str, A: Any, B: Any, max_iter: int) -> Failures:
    """Run a method from given factors, and return which claims about the run are false."""
    method = Method.parse(text)
    if method.refusal(problem, draws_start=False) is not None or not (np.any(A) or np.any(B)):
        return None
    own = method.problem(problem)
    exact = own.plain()
    values: list[float] = []
    points: list[Any] = []

    def watch(now: Any) -> None:
        points.append(np.array(now.theta))
        values.append(exact.value_and_grad(points[-1], np.empty_like(points[-1])))

    with np.errstate(all="ignore"):
        result = solve(problem, method, (A, B), stop=StoppingRule(max_iter=max_iter), callback=watch)
    if not values or not math.isfinite(values[0]):
        return None
    seen = f"{result.status.label} after {result.nit} iterations"
    failures: dict[str, str] = {}
    far = remoteness(own, method.optimizer, points[0], result.theta)
    if result.status is Status.CONVERGED and far > FAR:
        failures[CONVERGED] = f"{seen}, relative distance from stationarity {far:.3g}"
    size = max(map(abs, values))
    rises = np.diff(values).max(initial=0.0)
    if method.optimizer.is_monotone(own) and rises > RISE * size:
        failures[MONOTONE] = f"a rise by {rises:.3g}, largest |L| {size:.3g}"
    derived = getattr(method.optimizer, "step_size", None) is None
    if derived and result.status is Status.DIVERGED:
        failures[BOUNDED] = f"{seen}, L from {values[0]:.3g} to {values[-1]:.3g}"
    moves = [float(np.linalg.norm(b - a)) for a, b in zip(points[-LAST:], points[-LAST + 1 :])]
    still = len(moves) == LAST - 1 and max(moves) <= STILL * float(np.linalg.norm(result.theta))
    gradient = remoteness(own, Optimizer(), points[0], result.theta)
    if still and not result.status.success and gradient > FAR:
        failures[SETTLES] = f"{seen}, last moves below {max(moves):.1e}, relative gradient {gradient:.3g}"
    if derived and result.status in (Status.CALL_LIMIT, Status.INCONSISTENT):
        failures[ENDS] = f"{seen}, {result.nfev} oracle calls"
    if derived and result.fun > values[0] + RISE * size:
        failures[FALLS] = f"{seen}, L from {values[0]!r} to {result.fun!r}"
    return failures


def remoteness(problem: Problem, optimizer: Optimizer, start: Any, theta: Any) -> float:
    """Return how far a point is from the fixed points of a method, in units of the problem; 0 exactly there.

    A method is asked only for what it minimises itself: what has converged on ``L`` is not for it to say.
    """
    residual = (optimizer if optimizer.own_aim else Optimizer()).residual(problem, theta)
    if not optimizer.own_aim:
        slope = float(np.linalg.norm(problem.objective.value_and_grad(np.zeros(problem.shape))[1])) + problem.lam
        unit = slope * max(float(np.linalg.norm(start)), float(np.linalg.norm(theta)))
    else:
        unit = optimizer.residual(problem, start)
    return residual / unit if unit > 0.0 else 0.0


# ---------------------------------------------------------------------- instances
def judge_quadratic(
    text: str, W: list[list[float]], M: list[list[float]], A: list[list[float]], B: list[list[float]], lam: float
) -> Failures:
    """Judge a run on ``sum W o (X - M)^2 / 2``."""
    if lam < 0.0 or np.min(W) < 0.0 or not np.max(W) > 0.0:
        return None
    return refuted(Problem(Entrywise(W, M), len(A[0]), lam), text, np.array(A), np.array(B), 1500)


def draw_quadratic(rng: np.random.Generator, text: str) -> Instance:
    """Draw weights of up to four orders of magnitude, a start of any size and balance, a weight decay."""
    m, n = (int(k) for k in rng.integers(1, 5, 2))
    rank = int(rng.integers(1, min(m, n) + 1))
    W = 10.0 ** rng.uniform(-rng.choice([0.0, 2.0, 4.0]), 0.0, (m, n))
    M = rng.standard_normal((m, n))
    size, balance = 10.0 ** rng.uniform(-2, 1), 10.0 ** rng.uniform(-1, 1)
    A, B = (part * rng.standard_normal((k, rank)) for part, k in ((size * balance, m), (size / balance, n)))
    lam = float(rng.choice([0.0, 0.01, 0.3]) * np.linalg.norm(W * M, 2))
    return dict(W=W.tolist(), M=M.tolist(), A=A.tolist(), B=B.tolist(), lam=lam)


def judge_units(
    text: str, M: list[list[float]], A: list[list[float]], B: list[list[float]], lam: float, exponent: int
) -> Failures:
    """Judge a run on ``||X - M||^2/2`` in other units: data and decay times a power of ten, factors times its root."""
    unit = 10.0**exponent
    root = math.sqrt(unit)
    M, A, B = (np.multiply(part, scale).tolist() for part, scale in ((M, unit), (A, root), (B, root)))
    return judge_quadratic(text, np.ones_like(M).tolist(), M, A, B, lam * unit)


def draw_units(rng: np.random.Generator, text: str) -> Instance:
    """Draw a well-conditioned problem, and units from 1e-9 to 1e9."""
    drawn = draw_quadratic(rng, text)
    del drawn["W"]
    return {**drawn, "lam": float(rng.choice([0.0, 0.1])), "exponent": int(rng.integers(-9, 10))}


def judge_quartic(text: str, M: list[list[float]], A: list[list[float]], B: list[list[float]], lam: float) -> Failures:
    """Judge a run on ``sum (X - M)^4 / 4``, of which no smoothness is known."""
    if lam < 0.0:
        return None
    return refuted(Problem(Quartic(M), len(A[0]), lam), text, np.array(A), np.array(B), 1000)


def draw_quartic(rng: np.random.Generator, text: str) -> Instance:
    """Draw data and a start; close to the data the curvature says nothing about what lies further out."""
    drawn = draw_quadratic(rng, text)
    del drawn["W"]
    if rng.random() < 0.5:
        A, B = np.array(drawn["A"]), np.array(drawn["B"])
        drawn["M"] = (A @ B.T + 10.0 ** rng.uniform(-4, 0) * rng.standard_normal(np.shape(drawn["M"]))).tolist()
    return drawn


def judge_minimum(text: str, roots: list[float], lam: float) -> Failures:
    """Start at the global minimum of ``L`` for ``M = diag(roots^2 + lam)``, and see whether the run stays."""
    if lam <= 0.0 or min(roots) <= 0.0:
        return None
    a = np.array(roots)
    method, A = Method.parse(text), np.diag(a)
    M = np.diag(a * a + lam)
    problem = Problem(Entrywise(np.ones_like(M).tolist(), M.tolist()), len(a), lam)
    if method.refusal(problem, draws_start=False) is not None:
        return None
    lowest = 0.5 * lam * lam * len(a) + lam * float(np.sum(a * a))
    result = solve(problem, method, (A, A), stop=StoppingRule(max_iter=1000, grad_tol=0.0))
    if result.fun <= (1.0 + FAR) * lowest:
        return {}
    return {STAYS: f"L = {result.fun:.6g} after {result.nit} iterations, {lowest:.6g} at the minimum that it began at"}


def draw_minimum(rng: np.random.Generator, text: str) -> Instance:
    """Draw the singular values of the minimum, as squares, and a weight decay."""
    roots = 0.5 + rng.random(int(rng.integers(1, 4)))
    return dict(roots=roots.tolist(), lam=float(rng.uniform(0.1, 2.0)))


MATRICES = {"W": ("m", "n"), "M": ("m", "n"), "A": ("m", "r"), "B": ("n", "r")}
