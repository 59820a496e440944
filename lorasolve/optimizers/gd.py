"""Gradient descent with a constant step, given or derived from the smoothness constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._validate import Array, as_number
from ..problem import Problem
from .base import Optimizer, State, safe_step


@dataclass
class GDState(State):
    """State of gradient descent: the last accepted value, and when the step is derived anew."""

    value: float = np.inf
    accepted_steps: int = 0
    refresh_at: int = 0


@dataclass(frozen=True)
class GD(Optimizer):
    """Gradient descent ``theta <- theta - step * grad L(theta)``.

    Parameters
    ----------
    step_size : float, optional
        A constant step. By default the inverse of the curvature bound ``beta (||A||^2 + ||B||^2) + ||G|| + lam``
        (proofs/descent_lemma), derived anew after 1, 2, 4, 8, ... iterations, because the factors grow from
        their start; a step that raises ``L`` is taken back and halved. A given step is never changed: if it is
        too large the run ends as diverged.
    """

    step_size: float | None = None

    name = "gd"
    summary = "gradient descent, constant step (from the smoothness constant, or given)"

    def __post_init__(self) -> None:
        if self.step_size is not None:
            as_number(self.step_size, "step_size", 0.0, open_low=True)

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> GDState:
        """Return the state that evaluates ``theta`` first."""
        return GDState(theta.copy(), theta.copy(), step=self.step_size or safe_step(problem, theta))

    def update(self, problem: Problem, state: GDState, value: float, grad: Array) -> None:
        """Accept the trial and step along the negative gradient, or halve a derived step that raised ``L``."""
        rounding = 1e-14 * abs(value)
        if self.step_size is None and value > state.value + rounding:
            state.accepted = False
            state.step *= 0.5
            state.trial += state.theta
            state.trial *= 0.5
            state.refresh_at = 2 * state.accepted_steps + 1
            return
        state.accepted = True
        state.value = value
        state.theta, state.trial = state.trial, state.theta
        if self.step_size is None and state.accepted_steps >= state.refresh_at:
            state.step = safe_step(problem, state.theta)
            state.refresh_at = 2 * state.accepted_steps + 1
        state.accepted_steps += 1
        np.multiply(grad, -state.step * state.step_factor, out=state.trial)
        state.trial += state.theta
