"""Adam on the gradient of the regularised objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from .base import Optimizer, State


@dataclass
class AdamState(State):
    """State with the two moment estimates and the step count of the bias correction."""

    first: Array = field(default_factory=lambda: np.empty(0))
    second: Array = field(default_factory=lambda: np.empty(0))
    count: int = 0


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam with bias correction; the weight decay enters through the gradient of ``L``.

    Parameters
    ----------
    step_size : float
        Length of a step in every entry, about. The default 0.01 suits factors with entries of order 0.1 to 1; it
        is not derived from the problem, so data in other units need another one. At a constant step the iterates
        hover around the optimum at a distance that grows with the step: add the schedule ``"cosine"``.
    beta1, beta2 : float
        Memories of the moment estimates, in [0, 1).
    eps : float
        Added to the root of the second moment: a gradient, in its units.

    Notes
    -----
    Source: D. Kingma, J. Ba, ICLR 2015 (arXiv:1412.6980). Fixed points: the stationary points of ``L`` (a
    decaying step makes the iterates settle there).
    """

    step_size: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    name = "adam"
    summary = "Adam, weight decay in the gradient (same stationary points as gd)"
    takes_step_factor = True
    stall_hint = "; a constant step hovers around the optimum, try 'adam+cosine'"

    def __post_init__(self) -> None:
        check_moments(self)

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the step in use: there is no curvature bound for this method."""
        return self.step_size

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> AdamState:
        """Return the state that evaluates ``theta`` first."""
        zeros = np.zeros_like(theta)
        return AdamState(theta.copy(), theta.copy(), step=self.step_size, first=zeros, second=zeros.copy())

    def update(self, problem: Problem, state: AdamState, value: float, grad: Array) -> None:
        """Accept the trial, update the moments and take the scaled step."""
        state.theta, state.trial = state.trial, state.theta
        self.step(state, grad)

    def step(self, state: AdamState, grad: Array) -> None:
        """Write the point one step from ``state.theta`` into ``state.trial``."""
        state.count += 1
        state.first *= self.beta1
        state.first += (1.0 - self.beta1) * grad
        state.second *= self.beta2
        state.second += (1.0 - self.beta2) * grad**2
        np.divide(state.second, 1.0 - self.beta2**state.count, out=state.trial)
        np.sqrt(state.trial, out=state.trial)
        state.trial += self.eps
        np.divide(state.first, state.trial, out=state.trial)
        state.trial *= -state.step * state.step_factor / (1.0 - self.beta1**state.count)
        state.trial += state.theta


def check_moments(settings: Any) -> None:
    """Check the settings that every method with two moments has."""
    as_number(settings.step_size, "step_size", 0.0, open_low=True)
    as_number(settings.beta1, "beta1", 0.0, 1.0, open_high=True)
    as_number(settings.beta2, "beta2", 0.0, 1.0, open_high=True)
    as_number(settings.eps, "eps", 0.0, open_low=True)
