"""Gradient descent with Armijo backtracking."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._validate import Array, as_number
from ..problem import Problem
from .base import Optimizer, State, inexact_gradient_refusal

# Changes of L below this share of its scale are rounding errors: there the gradients decide.
NOISE = 1e-12


@dataclass
class BacktrackingState(State):
    """State of the line search: value, gradient and squared gradient norm at the accepted point."""

    value: float = np.inf
    scale: float = 0.0
    grad: Array = field(default_factory=lambda: np.empty(0))
    grad_square: float = 0.0


@dataclass(frozen=True)
class GDBacktracking(Optimizer):
    """Gradient descent whose step is found by backtracking; a rejected trial is an oracle call.

    A trial ``theta - t grad`` is accepted when ``L`` fell by at least ``decrease * t * ||grad||^2`` (Armijo).
    Where the change of ``L`` drowns in rounding, the same condition is read from the two gradients by the
    trapezoidal rule (the approximate Wolfe condition of Hager and Zhang, 2005), so that full accuracy is reached.

    Parameters
    ----------
    step_size : float, optional
        The first trial step; by default derived from the curvature at the start.
    decrease : float
        Share of the linear decrease that is asked for, in (0, 1/2).
    shrink, grow : float
        Factors on the step after a rejected trial, in (0, 1), and before the next search, >= 1.

    Notes
    -----
    Source: L. Armijo, Pacific J. Math. 16 (1966). Fixed points: the stationary points of ``L``.
    """

    step_size: float | None = None
    decrease: float = 0.3
    shrink: float = 0.5
    grow: float = 1.5

    name = "gd_backtracking"
    summary = "gradient descent, step found by Armijo backtracking"
    takes_step_factor = False

    def __post_init__(self) -> None:
        if self.step_size is not None:
            as_number(self.step_size, "step_size", 0.0, open_low=True)
        as_number(self.decrease, "decrease", 0.0, 0.5, open_low=True, open_high=True)
        as_number(self.shrink, "shrink", 0.0, 1.0, open_low=True, open_high=True)
        as_number(self.grow, "grow", 1.0)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose answer is not the gradient of their value, or None."""
        return inexact_gradient_refusal(problem)

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> BacktrackingState:
        """Return the state that evaluates ``theta`` first."""
        step = self.default_step(problem, theta) if self.step_size is None else self.step_size
        return BacktrackingState(theta.copy(), theta.copy(), step=step / self.grow)

    def update(self, problem: Problem, state: BacktrackingState, value: float, grad: Array) -> None:
        """Accept the trial and start the next search, or shrink the step."""
        state.accepted = self._suffices(state, value, grad)
        if state.accepted:
            state.value = value
            state.scale = max(state.scale, abs(value))
            state.grad = grad.copy()
            state.grad_square = float(np.vdot(grad, grad))
            state.theta, state.trial = state.trial, state.theta
            state.step *= self.grow
        else:
            state.step *= self.shrink
            state.exhausted = np.array_equal(state.trial, state.theta)
        np.multiply(state.grad, -state.step, out=state.trial)
        state.trial += state.theta

    def _suffices(self, state: BacktrackingState, value: float, grad: Array) -> bool:
        if state.value == np.inf:
            return True
        change = value - state.value
        if abs(change) > NOISE * state.scale:
            return change <= -self.decrease * state.step * state.grad_square
        return float(np.vdot(grad, state.grad)) >= (2.0 * self.decrease - 1.0) * state.grad_square
