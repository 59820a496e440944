"""Alternating least squares: each factor in turn minimised exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._validate import Array
from ..problem import Problem
from .base import Optimizer, State


@dataclass(frozen=True)
class ALS(Optimizer):
    """Alternating exact minimisation over ``B`` and ``A``; an iteration is one sweep over both.

    ``B`` comes first (unless ``A`` starts at zero), because at ``B = 0`` the best ``A`` is 0. A frozen factor is
    left alone. ``L`` never rises.

    Notes
    -----
    Source: classical; for the regularised problem see T. Hastie et al., JMLR 16 (2015). Fixed points: the points
    where each factor is optimal given the other, which for convex ``f`` are the stationary points of ``L``.
    """

    name = "als"
    summary = "alternating exact minimisation over the factors (least squares)"
    takes_step_factor = False

    def check(self, problem: Problem) -> None:
        """Refuse adapters other than ``s A B^T`` and objectives without a closed form for one factor."""
        problem.require_low_rank(f"optimizer {self.name}")
        m, n = problem.shape
        try:
            problem.objective.minimize_over_A(np.ones((n, 1), problem.dtype), 1.0)
            problem.objective.minimize_over_B(np.ones((m, 1), problem.dtype), 1.0)
        except NotImplementedError as reason:
            raise ValueError(
                f"optimizer: {self.name} minimises one factor at a time in closed form, and {reason}; use 'lbfgs' "
                "or 'gd'"
            ) from None

    def update(self, problem: Problem, state: State, value: float, grad: Array) -> None:
        """Accept the trial and sweep over both factors."""
        state.theta, state.trial = state.trial, state.theta
        state.trial[:] = state.theta
        A, B, _ = problem.split(state.trial)
        trains_A, trains_B = True, True
        if problem.trainable is not None:
            trains_A, trains_B = (bool(mask.all()) for mask in problem.split(problem.trainable)[:2])
        if trains_B and A.any():
            B[:] = problem.objective.minimize_over_B(problem.scale * A, problem.lam)
        if trains_A:
            # f sees A' = s A, whose decay is lam/s^2.
            A[:] = problem.objective.minimize_over_A(B, problem.lam / problem.scale**2) / problem.scale
