"""Proximal gradient descent: a gradient step on the smooth part, then the adapter's proximal map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ..status import Status
from ._steps import SearchState
from .base import ROUNDING, Optimizer, inexact_gradient_refusal


@dataclass
class ProximalState(SearchState):
    """State of the search, with the gradient of the smooth part at ``theta`` and the factor of the step from there."""

    grad: Array = field(default_factory=lambda: np.empty(0))
    factor: float = 1.0


@dataclass(frozen=True)
class ProximalGD(Optimizer):
    """``theta <- prox_step(theta - step * grad)``; plain gradient descent where the adapter has no penalty.

    Parameters
    ----------
    step_size : float, optional
        A constant step, never changed. By default the step is searched: it is halved until ``L`` falls by
        ``||change||^2/(4 step)`` and grows by a half after each accepted step. Where the change of ``L`` drowns
        in rounding, the curvature read from the two gradients must be below ``1/step`` instead.

    Notes
    -----
    Fixed points: the stationary points of ``L``, its nonsmooth penalty included. Adapters whose threshold is not
    the proximal map of their penalty (``SoRA(variant="released")``) need a given step.
    """

    step_size: float | None = None

    name = "proximal_gd"
    summary = "proximal gradient descent for adapters with a nonsmooth penalty (sora)"
    takes_step_factor = True
    takes_prox = True

    @classmethod
    def showcase(cls, problem: Problem) -> str | None:
        """Return None: adapters with a nonsmooth penalty show it; elsewhere it is gradient descent."""
        return None

    def __post_init__(self) -> None:
        if self.step_size is not None:
            as_number(self.step_size, "step_size", 0.0, open_low=True)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason not to search a step where the adapter has no gradient or no proximal map, or None."""
        if self.step_size is not None:
            return None
        if not problem.adapter.exact_prox:
            return (
                f"the threshold of this {problem.adapter.name!r} adapter is not the proximal map of its penalty, so no "
                "step can be found by descent; give a constant step_size"
            )
        return inexact_gradient_refusal(problem)

    def is_monotone(self, problem: Problem) -> bool:
        """Return whether the step is searched."""
        return self.step_size is None

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> ProximalState:
        """Return the state that evaluates ``theta`` first."""
        step = self.default_step(problem, theta) if self.step_size is None else self.step_size
        return ProximalState(theta.copy(), theta.copy(), step=step)

    def update(self, problem: Problem, state: ProximalState, value: float, grad: Array) -> None:
        """Accept the trial and step on, or halve a searched step that did not lower ``L`` enough."""
        change = state.trial - state.theta
        moved = float(np.vdot(change, change))
        state.accepted = self.step_size is not None or self._suffices(state, value, grad, change, moved)
        if state.accepted:
            if self.step_size is None and state.value != np.inf:
                state.step *= 1.5
            state.note_accepted(value)
            state.grad = grad.copy()
            state.factor = state.step_factor
            state.theta, state.trial = state.trial, state.theta
        else:
            state.ended = Status.STALLED if moved == 0.0 else None
            state.step *= 0.5
        step = state.step * state.factor
        np.multiply(state.grad, -step, out=state.trial)
        state.trial += state.theta
        problem.prox(state.trial, step)

    def _suffices(self, state: ProximalState, value: float, grad: Array, change: Array, moved: float) -> bool:
        if state.value == np.inf:
            return True
        step = state.step * state.factor
        drop = state.value - value
        if abs(drop) > ROUNDING * state.scale:
            return 4.0 * step * drop >= moved
        return step * float(np.vdot(grad - state.grad, change)) <= moved
