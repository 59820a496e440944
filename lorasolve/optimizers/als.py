"""Alternating least squares: each factor in turn minimised exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array, as_integer
from ..dense import frobenius_norm
from ..problem import Problem
from ..status import Status
from .base import Optimizer, State, factors_refusal

# Rounding errors of a value, in units of those of f(0).
VALUES = 64.0
# A run has reached the precision of its type if for so many sweeps its lowest value has not changed, and the least
# norm of its gradient has not fallen to this share.
IDLE_SWEEPS, FALLEN = 50, 0.9
# More sweeps than this are remembered by mistake.
MOST_SWEEPS = 10_000


@dataclass
class ALSState(State):
    """State of accelerated sweeps.

    Attributes
    ----------
    value : float
        The lowest accepted value.
    noise : float
        The size of rounding errors in values.
    image : ndarray of shape (n, r)
        The best ``B`` given the last accepted ``A``.
    last : (ndarray, ndarray) or None
        The last image, and how far it lies from the ``B`` it was made from.
    changes : ndarray of shape (2, memory, n r)
        How both of those changed in the last sweeps, in any order.
    gram : ndarray of shape (memory, memory)
        The products of the changes of residuals with each other.
    count : int
        How many changes there have been.
    extrapolated : bool
        Whether the trial is anything but a plain sweep.
    swept : bool
        Whether the last accepted ``A`` is the best given its ``B``, as all are but the start.
    slope : float
        The least norm of the gradient, as of the last time that it fell visibly.
    idle : int
        For how many sweeps neither that nor ``value`` has fallen.
    """

    value: float = np.inf
    noise: float = 0.0
    image: Array = field(default_factory=lambda: np.empty(0))
    last: tuple[Array, Array] | None = None
    changes: Array = field(default_factory=lambda: np.empty((2, 0, 0)))
    gram: Array = field(default_factory=lambda: np.empty((0, 0)))
    count: int = 0
    extrapolated: bool = False
    swept: bool = False
    slope: float = np.inf
    idle: int = 0


@dataclass(frozen=True)
class ALS(Optimizer):
    """Alternating exact minimisation over ``B`` and ``A``; an iteration is one sweep over both.

    ``B`` comes first (unless ``A`` starts at zero), because at ``B = 0`` the best ``A`` is 0. A frozen factor is
    left alone. ``L`` never rises by more than its rounding errors; a sweep whose errors are larger ends the run.

    Parameters
    ----------
    memory : int
        Anderson acceleration with this many earlier sweeps: between the two halves of a sweep ``B`` is replaced by
        the combination of the last ones whose combined change is least. Where that raises ``L`` the plain sweep is
        taken and the memory cleared. 0 is plain ALS, which often needs several times more sweeps.

    Notes
    -----
    Sources: classical; for the regularised problem T. Hastie et al., JMLR 16 (2015); for the acceleration
    D. G. Anderson, J. ACM 12 (1965), and H. F. Walker and P. Ni, SIAM J. Numer. Anal. 49 (2011). Fixed points: the
    points where each factor is optimal given the other, which for convex ``f`` are the stationary points of ``L``.
    """

    memory: int = 8

    name = "als"
    # A sweep is worth many gradient steps and may take a second.
    default_max_iter = 500
    default_grad_tol = 1e-6
    summary = "alternating exact minimisation over the factors (least squares)"

    def __post_init__(self) -> None:
        as_integer(self.memory, "memory", 0, MOST_SWEEPS)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse other adapters than ``s A B^T`` and other losses than least squares, or None."""
        if not problem.objective.facts.minimizes_factors:
            return (
                "it minimises one factor at a time in closed form, and "
                f"{problem.objective.label} has no closed form for one factor; use 'lbfgs' or 'gd'"
            )
        return factors_refusal(problem)

    def is_monotone(self, problem: Problem) -> bool:
        """Return True: an extrapolation that raises ``L`` is taken back."""
        return True

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> ALSState:
        """Return the state that evaluates ``theta`` first."""
        changes = np.empty((2, self.memory, problem.split(theta)[1].size), theta.dtype)
        noise = VALUES * float(np.finfo(theta.dtype).eps) * abs(problem.value_at_zero)
        gram = np.empty((self.memory, self.memory))
        return ALSState(theta.copy(), theta.copy(), noise=noise, changes=changes, gram=gram)

    def update(self, problem: Problem, state: Any, value: float, grad: Array) -> None:
        """Accept the trial and sweep over both factors, or fall back to the plain sweep from the last point."""
        if state.extrapolated and not value <= state.value:
            state.accepted = state.extrapolated = False
            state.last, state.count = None, 0
            self.finish(problem, state, state.image)
            return
        if value > state.value + state.noise:
            # Rounding errors of the solutions; a point whose value is not finite may not be factorised either.
            state.accepted = False
            state.ended = Status.STALLED if math.isfinite(value) else Status.DIVERGED
            return
        slope = frobenius_norm(grad)
        falls = slope <= FALLEN * state.slope
        state.slope = slope if falls else state.slope
        state.idle = 0 if falls or value < state.value else state.idle + 1
        if state.idle > IDLE_SWEEPS:
            state.accepted, state.ended = False, Status.STALLED
            return
        state.accepted = True
        state.value = min(value, state.value)
        state.theta, state.trial = state.trial, state.theta
        trains_A, trains_B = _trained(problem)
        A, B, _ = problem.split(state.theta)
        state.image = problem.objective.minimize_over_B(problem.scale * A, problem.lam) if trains_B and A.any() else B
        accelerates = self.memory > 0 and state.swept and trains_A and state.image is not B
        self.finish(problem, state, self.extrapolate(state, B) if accelerates else state.image)

    def extrapolate(self, state: ALSState, B: Array) -> Array:
        """Return the combination of the last images whose combined residual is least."""
        image, residual = state.image.ravel(), (state.image - B).ravel()
        if state.last is not None:
            place = state.count % self.memory
            oldest = state.changes[:, place]
            np.subtract(image, state.last[0], out=oldest[0])
            np.subtract(residual, state.last[1], out=oldest[1])
            state.count += 1
            products = state.changes[1, : state.count] @ oldest[1]
            state.gram[place, : state.count] = state.gram[: state.count, place] = products
        state.last = image, residual
        state.extrapolated = state.count > 0
        if not state.extrapolated:
            return state.image
        images, residuals = state.changes[:, : state.count]
        gram = state.gram[: state.count, : state.count]
        gram = gram + 1e-14 * np.trace(gram) * np.eye(len(gram))
        weights = np.linalg.lstsq(gram, residuals @ residual, rcond=None)[0]
        return state.image - (weights @ images).reshape(B.shape)

    def finish(self, problem: Problem, state: ALSState, new_B: Array) -> None:
        """Set the trial to ``new_B`` and the best ``A`` given it."""
        A, B, _ = problem.split(state.trial)
        B[:] = new_B
        state.swept = True
        if _trained(problem)[0]:
            # f sees A' = s A, whose decay is lam/s^2.
            np.divide(problem.objective.minimize_over_A(B, problem.lam / problem.scale**2), problem.scale, out=A)
        else:
            A[:] = problem.split(state.theta)[0]


def _trained(problem: Problem) -> tuple[bool, bool]:
    """Return whether ``A`` and ``B`` are trained."""
    if problem.trainable is None:
        return True, True
    trains_A, trains_B = (bool(mask.all()) for mask in problem.split(problem.trainable)[:2])
    return trains_A, trains_B
