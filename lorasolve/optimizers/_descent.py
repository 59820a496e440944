"""Descent methods: a direction, beside the rule for the step along it (``_steps.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ..singular_triplets import spectral_norm_estimate
from ._steps import Derived, Given, StepRule, StepState
from .base import ROUNDING, Optimizer, inverse_curvature, smoothness_near


@dataclass(frozen=True)
class Descent(Optimizer):
    """Base class: ``theta <- theta + step * direction``, the direction that of the negative gradient.

    A method with another direction replaces :meth:`advance`, and :meth:`retreat` where half the way back is not what
    a smaller step leads to; one that derives its step otherwise replaces ``default_step``; one with a memory has its
    own state, made by :meth:`start`.

    Parameters
    ----------
    step_size : float, optional
        A constant step, never changed. By default the step is derived at the start and anew after 1, 3, 7, 15, ...
        iterations; one that raises ``L`` is taken back and halved (not where the adapter's gradient is not that of
        ``L``).

    Notes
    -----
    Fixed points: the stationary points of ``L``, unless a method says otherwise.
    """

    step_size: float | None = None

    takes_step_factor: ClassVar[bool] = True
    rounding: ClassVar[float] = ROUNDING

    def __post_init__(self) -> None:
        if self.step_size is not None:
            as_number(self.step_size, "step_size", 0.0, open_low=True)

    def step_rule(self, problem: Problem) -> StepRule:
        """Return the rule for the step."""
        if self.step_size is not None:
            return Given(self.step_size)
        return Derived(monotone=problem.adapter.exact_gradient, rounding=self.rounding)

    def is_monotone(self, problem: Problem) -> bool:
        """Return whether the rule rejects what raises ``L``."""
        return self.step_rule(problem).never_rises

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> StepState:
        """Return the state with what the direction remembers; the step is still to be chosen."""
        return StepState(theta.copy(), theta.copy())

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> StepState:
        """Return the state that evaluates ``theta`` first."""
        state = self.start(problem, theta, rng)
        state.rule = self.step_rule(problem)
        self.refresh(problem, state)
        return state

    def update(self, problem: Problem, state: Any, value: float, grad: Array) -> None:
        """Accept the trial and step on, or take it back, as the rule says."""
        rule = state.rule
        state.accepted = rule.accepts(state, value, grad)
        if not state.accepted:
            state.note_rejected(value, grad, problem)
            self.retreat(problem, state)
            return
        state.note_accepted(value)
        state.theta, state.trial = state.trial, state.theta
        if state.accepted_steps >= state.refresh_at:
            self.refresh(problem, state)
            state.refresh_at = 2 * state.accepted_steps + 1
        state.accepted_steps += 1
        rule.follow(state, grad)
        self.advance(problem, state, grad)

    def refresh(self, problem: Problem, state: Any) -> None:
        """Let the rule choose the step at the accepted point."""
        state.step = state.rule.choose(state, lambda: self.default_step(problem, state.theta))

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Set the next trial from the accepted point and its gradient."""
        np.multiply(grad, -state.step * state.step_factor, out=state.trial)
        state.trial += state.theta

    def retreat(self, problem: Problem, state: Any) -> None:
        """Set the next trial after a rejected one: half the step (rules that reject halve it)."""
        state.rule.shrink(state)
        state.trial += state.theta
        state.trial *= 0.5


# Not a dataclass: ``damping`` is a field of the methods, each at its own place.
class DampedDescent(Descent):
    """Base class of descent in a metric that undoes the factors' own scale, with a damping.

    Step and damping are derived together. In this metric the second derivative of ``f`` is of order ``beta``, and the
    rest of the Hessian of ``L`` (the gradient term and the decay) is at most ``(s ||G||_2 + lam)/s^2`` over the
    smallest eigenvalue of the metric.
    """

    damping: float | None
    # Multiple of beta in the curvature bound of the method.
    curvature: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.damping is not None:
            as_number(self.damping, "damping", 0.0)

    def smallest(self, A: Array, B: Array) -> float:
        """Return the smallest eigenvalue of the undamped metric: that of the Gram matrices of both factors."""
        return min(float(np.linalg.eigvalsh(F.T @ F)[0]) for F in (A, B))

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the inverse of the curvature bound in the damped metric."""
        return self.derive(problem, theta)[0]

    def refresh(self, problem: Problem, state: Any) -> None:
        """Derive step and damping at the accepted point, each unless it is given."""
        step, state.damping = self.derive(problem, state.theta)
        state.step = state.rule.choose(state, lambda: step)

    def derive(self, problem: Problem, theta: Array) -> tuple[float, float]:
        """Return step and damping at a point."""
        A, B, _ = problem.split(theta)
        s = problem.scale
        beta = smoothness_near(problem, theta)
        size = float(np.vdot(theta, theta))
        rest = (s * spectral_norm_estimate(problem.objective.gradient_operator(s * A, B)) + problem.lam) / s**2
        if self.damping is not None:
            damping = self.damping
        else:
            # For a linear f the factors themselves are the only length there is.
            damping = rest / beta if beta > 0.0 else size
        # The metric is at most ||theta||^2; below rounding of that its smallest eigenvalue is 0.
        metric = max(damping + self.smallest(A, B), ROUNDING * size)
        return inverse_curvature(self.curvature * beta + (rest / metric if rest > 0.0 < metric else 0.0)), damping
