"""Gradient descent with a constant step, given or derived from the smoothness constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._threads import get_threads, kernel_threads
from .._validate import Array, as_number
from ..problem import Problem
from .base import Limits, Optimizer, State

# A rise below this share of the largest |L| is no rise. Losses through Gram matrices cancel, which costs two or
# three digits beyond the type's own rounding.
ROUNDING = 1e-12


@dataclass
class GDState(State):
    """State of gradient descent.

    Attributes
    ----------
    value : float
        The last accepted value.
    scale : float
        The largest accepted ``|L|``, the scale of rounding errors.
    accepted_steps, refresh_at : int
        Steps so far, and the count at which a derived step is derived anew.
    kernel_data : NamedTuple or None
        Data of the compiled oracle, where there is one.
    """

    value: float = np.inf
    scale: float = 0.0
    accepted_steps: int = 0
    refresh_at: int = 0
    kernel_data: Any = None


@dataclass(frozen=True)
class GD(Optimizer):
    """Gradient descent ``theta <- theta - step * grad L(theta)``.

    Methods that differ from it in the direction only derive from this class and replace :meth:`advance`.

    Parameters
    ----------
    step_size : float, optional
        A constant step. By default the inverse of the curvature bound ``beta (||A||^2 + ||B||^2) + ||G|| + lam``
        (proofs/descent_lemma), derived anew after 1, 2, 4, 8, ... iterations, because the factors grow from
        their start; a step that raises ``L`` is taken back and halved (not where the adapter's gradient is not
        that of ``L``, as in detached DoRA). A given step is never changed: if it is too large the run ends as
        diverged.

    Notes
    -----
    Fixed points: the stationary points of ``L``.
    """

    step_size: float | None = None

    name = "gd"
    summary = "gradient descent, constant step (from the smoothness constant, or given)"
    rounding: ClassVar[float] = ROUNDING

    def __post_init__(self) -> None:
        if self.step_size is not None:
            as_number(self.step_size, "step_size", 0.0, open_low=True)

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> GDState:
        """Return the state that evaluates ``theta`` first."""
        step = self.first_step(problem, theta)
        return GDState(theta.copy(), theta.copy(), step=step, kernel_data=self.kernel_data(problem))

    def first_step(self, problem: Problem, theta: Array) -> float:
        """Return the given step, or the derived one at the start."""
        return self.default_step(problem, theta) if self.step_size is None else self.step_size

    def update(self, problem: Problem, state: Any, value: float, grad: Array) -> None:
        """Accept the trial and step on, or take back a derived step that raised ``L``."""
        if self.is_monotone(problem) and value > state.value + self.rounding * state.scale:
            state.accepted = False
            self.retreat(problem, state)
            return
        state.accepted = True
        state.value = value
        state.scale = max(state.scale, abs(value))
        state.theta, state.trial = state.trial, state.theta
        if state.accepted_steps >= state.refresh_at:
            self.refresh(problem, state)
            state.refresh_at = 2 * state.accepted_steps + 1
        state.accepted_steps += 1
        self.advance(problem, state, grad)

    def kernel_data(self, problem: Problem) -> Any:
        """Return the data of the compiled oracle, or None."""
        return problem.objective.kernels.data(problem.rank, get_threads()) if self.is_plain(problem) else None

    def runs_compiled(self, problem: Problem) -> bool:
        """Return whether there is a compiled oracle for plain steps."""
        return GD.kernel_data(self, problem) is not None

    def is_plain(self, problem: Problem) -> bool:
        """Return whether this is gradient descent itself on ``X = A B^T`` with both factors trained."""
        adapter = problem.adapter
        plain = type(self).advance is GD.advance and adapter.low_rank and not adapter.proximal
        return plain and problem.scale == 1.0 and problem.trainable is None

    def fast_forward(self, problem: Problem, state: Any, limits: Limits) -> tuple[Array, Array] | None:
        """Take plain steps in one compiled call, up to the next derivation of the step."""
        if state.kernel_data is None:
            return None
        from ..kernels import gd

        steps = limits.steps
        if self.step_size is None:
            steps = min(steps, state.refresh_at - state.accepted_steps)
        values, norms = np.empty((2, max(steps, 0)))
        kernel_threads()
        number = problem.dtype.type
        count = gd.advance(
            state.kernel_data,
            state.theta,
            state.trial,
            (*problem.shape, problem.rank),
            number(problem.lam),
            number(state.step),
            float(state.value) if self.is_monotone(problem) else np.inf,
            (self.rounding, float(state.scale)),
            tuple(limits[1:]),
            values,
            norms,
        )
        if count:
            state.value = float(values[count - 1])
            state.scale = max(state.scale, float(np.abs(values[:count]).max()))
            state.accepted_steps += count
        return values[:count], norms[:count]

    def is_monotone(self, problem: Problem) -> bool:
        """Return whether steps that raise ``L`` are taken back."""
        return self.step_size is None and problem.adapter.exact_gradient

    def refresh(self, problem: Problem, state: Any) -> None:
        """Derive the step anew at the accepted point, unless it is given."""
        state.step = self.first_step(problem, state.theta)

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Set the next trial from the accepted point and its gradient."""
        np.multiply(grad, -state.step * state.step_factor, out=state.trial)
        state.trial += state.theta

    def retreat(self, problem: Problem, state: Any) -> None:
        """Set the next trial after a rejected one: half the step."""
        state.step *= 0.5
        state.trial += state.theta
        state.trial *= 0.5
        state.refresh_at = 2 * state.accepted_steps + 1
