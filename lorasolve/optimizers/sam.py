"""Sharpness-aware minimization on the factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from ._perturbed import Perturbed, PerturbedState


@dataclass(frozen=True)
class SAM(Perturbed):
    """Steps with the gradient at ``theta + rho g/||g||``, ``g`` the gradient at ``theta``: two gradients each step.

    The second evaluation is an oracle call that is not an iterate, so the trace shows unperturbed values.

    Parameters
    ----------
    step_size : float
        Step of the method underneath.
    base : {"adam", "gd"}
        The method underneath.
    rho : float
        Radius of the ascent step, in the joint norm of ``(A, B)``.

    Notes
    -----
    Source: Foret et al., arXiv 2010.01412. Fixed points: points whose neighbour at distance ``rho`` uphill is
    stationary; at a constant ``rho`` these are not the stationary points of ``L``.
    """

    rho: float = 0.05

    name = "sam"
    summary = "sharpness-aware minimization on (A, B): two gradients each step"
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.rho, "rho", 0.0)

    def update(self, problem: Problem, state: PerturbedState, value: float, grad: Array) -> None:
        """Accept an unperturbed trial and go uphill, or step from there with the gradient uphill."""
        if "value" not in state.memory:
            state.accepted = True
            state.theta = state.trial.copy()
            state.memory["value"] = value
            # The schedule counts iterates, and the second evaluation is none: the step is the one that leaves this one.
            state.inner.step_factor = state.step_factor
            state.trial = state.theta + self.rho / (float(np.linalg.norm(grad)) or 1.0) * grad
            return
        state.accepted = False
        state.inner.trial[:] = state.theta
        self.method().update(problem, state.inner, state.memory.pop("value"), grad)
        state.trial = state.inner.trial.copy()
