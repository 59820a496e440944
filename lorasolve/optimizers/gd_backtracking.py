"""Gradient descent with Armijo backtracking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ._descent import Descent
from ._steps import Armijo, StepRule
from .base import inexact_gradient_refusal


@dataclass(frozen=True)
class GDBacktracking(Descent):
    """Gradient descent whose step is found by backtracking; a rejected trial is an oracle call.

    A trial ``theta - t grad`` is accepted when ``L`` fell by at least ``decrease * t * ||grad||^2`` (Armijo), to full
    accuracy (``lorasolve/optimizers/_steps.py``).

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

    decrease: float = 0.3
    shrink: float = 0.5
    grow: float = 1.5

    name = "gd_backtracking"
    summary = "gradient descent, step found by Armijo backtracking"
    takes_step_factor: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.decrease, "decrease", 0.0, 0.5, open_low=True, open_high=True)
        as_number(self.shrink, "shrink", 0.0, 1.0, open_low=True, open_high=True)
        as_number(self.grow, "grow", 1.0)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose answer is not the gradient of their value, or None."""
        return inexact_gradient_refusal(problem)

    def step_rule(self, problem: Problem) -> StepRule:
        """Return the search."""
        return Armijo(self.step_size, self.decrease, self.shrink, self.grow)

    def retreat(self, problem: Problem, state: Any) -> None:
        """Take the gradient of the accepted point again with a smaller step."""
        state.rule.shrink(state)
        self.advance(problem, state, state.grad)

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Set the next trial; the step is searched, so that no schedule scales it."""
        np.multiply(grad, -state.step, out=state.trial)
        state.trial += state.theta
