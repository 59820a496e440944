"""Nesterov's accelerated gradient with restart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .._support.validate import Array, as_choice, as_number
from ..problem import Problem
from ._descent import Descent
from ._steps import StepState


@dataclass
class NesterovState(StepState):
    """State with the last gradient step ``x``, the sequence ``t``, and whether the trial carries momentum."""

    x: Array = field(default_factory=lambda: np.empty(0))
    t: float = 1.0
    carried: bool = False
    last_value: float = np.inf


@dataclass(frozen=True)
class Nesterov(Descent):
    """Nesterov's method: ``x+ = y - step * grad L(y)``, ``y+ = x+ + beta (x+ - x)``.

    The iterates reported are the points ``y`` where the oracle is called; both sequences have the same limit.
    With the derived step a trial that raises ``L`` is first repeated without momentum, then with half the step.

    Parameters
    ----------
    step_size : float, optional
        As for :class:`~lorasolve.optimizers.GD`.
    momentum : float, optional
        A constant ``beta`` in [0, 1); 0 is gradient descent. By default ``beta = (t - 1)/t+`` with
        ``t+ = (1 + sqrt(1 + 4 t^2))/2``.
    restart : {"gradient", "function"} or None
        Sets the momentum back to zero when the last step points uphill (``<grad, x+ - x> > 0``), when ``L`` rose,
        or never.

    Notes
    -----
    Source: Y. Nesterov, Soviet Math. Dokl. 27 (1983); restarts: B. O'Donoghue, E. Candes, Found. Comput. Math. 15
    (2015). Fixed points: the stationary points of ``L``.
    """

    momentum: float | None = None
    restart: Literal["gradient", "function"] | None = "gradient"

    name = "nesterov"
    summary = "accelerated gradient with adaptive restart"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum is not None:
            as_number(self.momentum, "momentum", 0.0, 1.0, open_high=True)
        as_choice(self.restart, "restart", ("gradient", "function", None))

    def constant_step(self, problem: Problem, theta: Array) -> float:
        """Return that of gradient descent times ``1 - momentum``, or a tenth of it where the momentum varies."""
        return (0.1 if self.momentum is None else 1.0 - self.momentum) * super().constant_step(problem, theta)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> NesterovState:
        """Return the state without momentum."""
        return NesterovState(theta.copy(), theta.copy(), x=theta.copy())

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Take the gradient step and extrapolate along it."""
        x = state.theta - state.step * state.step_factor * grad
        change = x - state.x
        uphill = float(np.vdot(grad, change)) > 0.0
        if (self.restart == "gradient" and uphill) or (self.restart == "function" and state.value > state.last_value):
            state.t = 1.0
            beta = 0.0
        else:
            following = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * state.t**2))
            beta = (state.t - 1.0) / following if self.momentum is None else self.momentum
            state.t = following
        state.last_value = state.value
        state.x = x
        state.carried = beta > 0.0
        np.multiply(change, beta, out=state.trial)
        state.trial += x

    def retreat(self, problem: Problem, state: Any) -> None:
        """Drop the momentum; if there is none, halve the step."""
        state.t = 1.0
        if state.carried:
            state.carried = False
        else:
            state.rule.shrink(state)
            state.x += state.theta
            state.x *= 0.5
        state.trial[:] = state.x
