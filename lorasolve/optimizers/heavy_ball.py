"""Heavy-ball momentum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ._descent import Descent
from ._steps import StepState


@dataclass
class HeavyBallState(StepState):
    """State with the last step (``velocity``), the plain gradient step in it, and whether they differ."""

    velocity: Array = field(default_factory=lambda: np.empty(0))
    plain: Array = field(default_factory=lambda: np.empty(0))
    carried: bool = False


@dataclass(frozen=True)
class HeavyBall(Descent):
    """Heavy ball: ``v <- momentum * v - step * grad L(theta)``, ``theta <- theta + v``.

    With the derived step a trial that raises ``L`` is first repeated without momentum, then with half the step,
    so that ``L`` never rises. With a given step the method runs as written.

    Parameters
    ----------
    step_size : float, optional
        As for :class:`~lorasolve.optimizers.GD`.
    momentum : float
        In [0, 1); 0 is gradient descent.

    Notes
    -----
    Source: B. T. Polyak, USSR Comput. Math. Math. Phys. 4 (1964). Fixed points: the stationary points of ``L``.
    """

    momentum: float = 0.9

    name = "heavy_ball"
    summary = "gradient descent with heavy-ball momentum"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.momentum, "momentum", 0.0, 1.0, open_high=True)

    def constant_step(self, problem: Problem, theta: Array) -> float:
        """Return that of gradient descent times ``1 - momentum``: the velocity is as many steps."""
        return (1.0 - self.momentum) * super().constant_step(problem, theta)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> HeavyBallState:
        """Return the state at rest."""
        return HeavyBallState(theta.copy(), theta.copy(), velocity=np.zeros_like(theta))

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Add the gradient step to what is left of the last step."""
        state.plain = -state.step * state.step_factor * grad
        state.velocity *= self.momentum
        state.carried = bool(np.any(state.velocity))
        state.velocity += state.plain
        np.add(state.theta, state.velocity, out=state.trial)

    def retreat(self, problem: Problem, state: Any) -> None:
        """Drop the momentum; if there is none, halve the step."""
        if state.carried:
            state.carried = False
        else:
            state.rule.shrink(state)
            state.plain *= 0.5
        state.velocity[:] = state.plain
        np.add(state.theta, state.velocity, out=state.trial)
