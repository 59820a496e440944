"""Alternating least squares: each factor in turn minimised exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._validate import Array, as_integer
from ..problem import Problem
from .base import Optimizer, State


@dataclass
class ALSState(State):
    """State of accelerated sweeps.

    Attributes
    ----------
    value : float
        The last accepted value.
    image : ndarray
        The sweep of the last accepted point.
    images, residuals : list of ndarray
        The last images, and how far each lies from the point it was made from.
    extrapolated : bool
        Whether the trial is anything but a plain image.
    """

    value: float = np.inf
    image: Array = field(default_factory=lambda: np.empty(0))
    images: list[Array] = field(default_factory=list)
    residuals: list[Array] = field(default_factory=list)
    extrapolated: bool = False


@dataclass(frozen=True)
class ALS(Optimizer):
    """Alternating exact minimisation over ``B`` and ``A``; an iteration is one sweep over both.

    ``B`` comes first (unless ``A`` starts at zero), because at ``B = 0`` the best ``A`` is 0. A frozen factor is
    left alone. ``L`` never rises.

    Parameters
    ----------
    memory : int
        Anderson acceleration with this many earlier sweeps: the next point is the combination of the last images
        whose combined residual is least. Where that raises ``L`` the plain image is taken and the memory cleared.
        0 is plain ALS; 6 often needs several times fewer sweeps.

    Notes
    -----
    Sources: classical; for the regularised problem T. Hastie et al., JMLR 16 (2015); for the acceleration
    D. G. Anderson, J. ACM 12 (1965), and H. F. Walker and P. Ni, SIAM J. Numer. Anal. 49 (2011). Fixed points: the
    points where each factor is optimal given the other, which for convex ``f`` are the stationary points of ``L``.
    """

    memory: int = 0

    name = "als"
    summary = "alternating exact minimisation over the factors (least squares)"
    takes_step_factor = False

    def __post_init__(self) -> None:
        as_integer(self.memory, "memory", 0)

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

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> ALSState:
        """Return the state that evaluates ``theta`` first."""
        return ALSState(theta.copy(), theta.copy(), image=theta.copy())

    def update(self, problem: Problem, state: Any, value: float, grad: Array) -> None:
        """Accept the trial and sweep over both factors, or fall back to the plain image of the last point."""
        if state.extrapolated and not value <= state.value:
            state.accepted = state.extrapolated = False
            state.images.clear()
            state.residuals.clear()
            state.trial[:] = state.image
            return
        state.accepted = True
        state.value = value
        state.theta, state.trial = state.trial, state.theta
        state.image[:] = state.theta
        self.sweep(problem, state.image)
        state.trial[:] = state.image
        if self.memory:
            self.extrapolate(state)

    def extrapolate(self, state: ALSState) -> None:
        """Combine the last images so that their combined residual is least."""
        residual = state.image - state.theta
        state.images.append(state.image.copy())
        state.residuals.append(residual)
        if len(state.images) > self.memory + 1:
            del state.images[0], state.residuals[0]
        state.extrapolated = len(state.images) > 1
        if state.extrapolated:
            changes = np.diff(np.stack(state.residuals), axis=0)
            gram = changes @ changes.T
            gram[np.diag_indices_from(gram)] += 1e-14 * np.trace(gram)
            weights = np.linalg.lstsq(gram, changes @ residual, rcond=None)[0]
            state.trial -= weights @ np.diff(np.stack(state.images), axis=0)

    def sweep(self, problem: Problem, theta: Array) -> None:
        """Minimise over ``B``, then over ``A``, in place."""
        A, B, _ = problem.split(theta)
        trains_A, trains_B = True, True
        if problem.trainable is not None:
            trains_A, trains_B = (bool(mask.all()) for mask in problem.split(problem.trainable)[:2])
        if trains_B and A.any():
            B[:] = problem.objective.minimize_over_B(problem.scale * A, problem.lam)
        if trains_A:
            # f sees A' = s A, whose decay is lam/s^2.
            A[:] = problem.objective.minimize_over_A(B, problem.lam / problem.scale**2) / problem.scale
