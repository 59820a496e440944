"""A method: what its status, its monotonicity and its fixed points claim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..engine import solve
from ..method import Method
from ..monitor import StoppingRule
from ..optimizers import Perturbed
from ..problem import Problem
from ..status import Status
from ._runs import (
    FALLS,
    MATRICES,
    SETTLES,
    STAYS,
    Entrywise,
    draw_minimum,
    draw_quadratic,
    draw_units,
    judge_minimum,
    judge_quadratic,
    judge_units,
)
from .base import Attack, Failures, Family, Instance

CHAIN = "blocks with the step 1/L, L the smoothness constant of f, do not raise f"
UPHILL = "gradients are taken uphill of the point, where L is larger"


def judge_chain(text: str, W: list[list[float]], M: list[list[float]], rank: int, seed: int) -> Failures:
    """Run a chain of merged blocks with the step 1/L on ``sum W o (X - M)^2 / 2``, where it starts at ``X = 0``."""
    if np.min(W) <= 0.0 or rank > min(np.shape(M)):
        return None
    objective = Entrywise(W, M)
    problem = Problem(objective, rank)
    method = Method.parse(text).with_step(1.0 / objective.smoothness)
    if method.refusal(problem) is not None:
        return None
    with np.errstate(all="ignore"):
        result = solve(problem, method, seed=seed, stop=StoppingRule(max_iter=1000, grad_tol=0.0))
    start = objective.value_and_grad(np.zeros(objective.shape))[0]
    if result.status is not Status.DIVERGED and result.fun <= start:
        return {}
    return {CHAIN: f"{result.status.label} after {result.nit} iterations, f from {start:.3g} to {result.fun:.3g}"}


def draw_chain(rng: np.random.Generator, text: str) -> Instance:
    """Draw a quadratic whose largest singular value may exceed 1, above which 1/L is too long for the factors."""
    m, n = (int(k) for k in rng.integers(1, 5, 2))
    W = 10.0 ** rng.uniform(-1, 0, (m, n))
    M = rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-1, 1)
    rank = int(rng.integers(1, min(m, n) + 1))
    return dict(W=W.tolist(), M=M.tolist(), rank=rank, seed=int(rng.integers(100)))


def judge_uphill(text: str, M: list[list[float]], A: list[list[float]], B: list[list[float]], lam: float) -> Failures:
    """Compare ``L`` where a perturbing method takes its gradients with ``L`` at its points, in 30 steps."""
    method = Method.parse(text)
    optimizer = method.optimizer
    problem = Problem(Entrywise(np.ones_like(M).tolist(), M), len(A[0]), lam)
    if lam < 0.0 or method.refusal(problem, draws_start=False) is not None:
        return None
    theta = problem.join(A, B)
    grad, own = np.empty_like(theta), np.empty_like(theta)
    state = optimizer.init(problem, theta, np.random.default_rng(0))
    rises = []
    for _ in range(30):
        at = np.array(state.trial)
        value = optimizer.evaluate(problem, state, grad)
        if not np.isfinite(value):
            return None
        rises.append(value - problem.value_and_grad(at, own))
        optimizer.update(problem, state, value, grad)
    # The first steps may have nothing to go by yet.
    if max(rises[2:]) >= 0.0 or max(np.abs(rises)) == 0.0:
        return {}
    return {UPHILL: f"L is lower there in all of 28 steps, by {-min(rises):.3g} to {-max(rises[2:]):.3g}"}


def draw_uphill(rng: np.random.Generator, text: str) -> Instance:
    """Draw a well-conditioned problem and a start of its size."""
    m, n = (int(k) for k in rng.integers(1, 5, 2))
    A, B = rng.standard_normal((m, 1)), rng.standard_normal((n, 1))
    M = 10.0 * rng.standard_normal((m, n))
    return dict(M=M.tolist(), A=A.tolist(), B=B.tolist(), lam=float(rng.choice([0.0, 0.1])))


@dataclass(frozen=True)
class OptimizerAttack(Attack):
    """Runs of a method: converged means stationary, monotone means that L never rises, minima are not left.

    Also: a derived step does not diverge, where a run settles L is stationary, and for chains of merged blocks that the
    step 1/L of their papers does not raise f; for methods that perturb, that they look uphill. What a method itself
    says that it does not keep is found too, and marked.

    Parameters
    ----------
    subject : str
        A method as text, for example ``gd``, ``mgpo:base=gd,sign=-1`` or ``gd+cola:period=50``.
    """

    name = "optimizer"
    summary = "optimizer:METHOD, for example optimizer:gd+cola: status, monotonicity, fixed points, stability"

    def target(self) -> str:
        """Return the method as text, after a look whether it makes sense."""
        return str(self.method)

    @property
    def method(self) -> Method:
        """The method that the subject stands for."""
        if not self.subject:
            raise ValueError("target: expected optimizer:METHOD, got no method")
        return Method.parse(self.subject)

    def families(self) -> tuple[Family, ...]:
        """Return the families for a chain of blocks, or for a method that minimises L itself."""
        method = self.method
        if any(schedule.has_stages for schedule in method.schedules):
            return (Family("chain", draw_chain, judge_chain, MATRICES, least={"rank": 1, "seed": 0}),)
        families = [
            Family("quadratic", draw_quadratic, judge_quadratic, MATRICES),
            Family("minimum", draw_minimum, judge_minimum, {"roots": ("k",)}),
            Family("units", draw_units, judge_units, MATRICES),
        ]
        if isinstance(method.optimizer, Perturbed):
            families.append(Family("uphill", draw_uphill, judge_uphill, MATRICES))
        return tuple(families)

    def stated(self, claim: str) -> str:
        """Return which class attribute says that the claim is not kept, if one does."""
        optimizer = self.method.optimizer
        if claim in (STAYS, SETTLES, FALLS) and optimizer.own_aim:
            return f"it minimises {optimizer.own_aim}"
        if claim == STAYS and not optimizer.keeps_stationary_points:
            return "keeps_stationary_points is False"
        return ""
