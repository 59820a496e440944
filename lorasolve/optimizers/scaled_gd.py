"""Scaled gradient descent: each factor's gradient preconditioned by the other factor's Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.validate import Array
from ..problem import Problem
from ._descent import DampedDescent
from ._steps import StepState
from .base import factors_refusal


@dataclass
class ScaledState(StepState):
    """State with the damping in use."""

    damping: float = 0.0


@dataclass(frozen=True)
class ScaledGD(DampedDescent):
    """Scaled gradient descent: ``A <- A - step * grad_A L (s^2 (B^T B + damping I))^{-1}``, ``B`` likewise.

    Without damping and with ``lam = 0`` the path of ``A B^T`` depends on ``A B^T`` alone and its rate not on the
    condition number of the optimum. **At r > r* the Gram matrices become singular, as they are at the start**
    ``B = 0``: there the method needs its damping, and keeps its advantage only for singular values above it.

    Parameters
    ----------
    step_size : float, optional
        A step of the weight, about ``1/beta`` with ``beta`` the smoothness of ``f``: the metric undoes the length of
        the factors. By default the inverse of the curvature bound
        ``2 beta + (s ||G||_2 + lam)/(s^2 (mu + damping))``, ``mu`` the smallest eigenvalue of the Gram matrices,
        derived anew after 1, 3, 7, 15, ... iterations; a step that raises ``L`` is taken back and halved.
    damping : float, optional
        By default ``(s ||G||_2 + lam)/(s^2 beta)``, derived together with the step, which bounds the curvature
        by ``3 beta``. 0 is the undamped method; directions in which a Gram matrix is 0 are then left out.

    Notes
    -----
    Source: T. Tong, C. Ma, Y. Chi, JMLR 22 (2021), arXiv:2005.08898; damping that vanishes with the residual:
    J. Zhang, S. Fattahi, R. Y. Zhang, NeurIPS 2021. The preconditioner is positive definite and acts on the whole
    gradient of ``L``, so with damping the fixed points are the stationary points of ``L``.
    """

    damping: float | None = None

    name = "scaled_gd"
    summary = "gradient descent preconditioned by the Gram matrices of the factors (damped at r > r*)"
    curvature: ClassVar[float] = 2.0

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T``, or None."""
        return factors_refusal(problem)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> ScaledState:
        """Return the state whose damping is still to be derived."""
        return ScaledState(theta.copy(), theta.copy())

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Step along the preconditioned gradient."""
        A, B, _ = problem.split(state.theta)
        np.multiply(grad, -state.step * state.step_factor / problem.scale**2, out=state.trial)
        DA, DB, _ = problem.split(state.trial)
        DA[:] = DA @ inverse_gram(B, state.damping)
        DB[:] = DB @ inverse_gram(A, state.damping)
        state.trial += state.theta


def inverse_gram(F: Array, damping: float) -> Array:
    """Return ``(F^T F + damping I)^+`` (r, r)."""
    values, vectors = np.linalg.eigh(F.T @ F)
    values = np.maximum(values, 0.0) + damping
    kept = values > np.finfo(values.dtype).eps * F.shape[1] * values[-1]
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return (vectors * inverse) @ vectors.T
