"""LoRA-Pro: the factor step whose first-order effect on the weight is nearest to the full gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .._validate import Array, as_choice
from ..linear_map import balanced, factor_svd
from ..problem import Problem
from ..status import Status
from ._descent import DampedDescent
from ._steps import StepState
from .base import frozen_refusal
from .scaled_gd import inverse_gram

Mode = Literal["sylvester", "symmetric", "zero"]


@dataclass
class LoRAProState(StepState):
    """State with the damping, the direction of the last step, and whether the accepted point is balanced."""

    damping: float = 0.0
    direction: Array = field(default_factory=lambda: np.empty(0))
    is_balanced: bool = False


@dataclass(frozen=True)
class LoRAPro(DampedDescent):
    """First-order LoRA-Pro, in balanced factors ``A = U S^{1/2}``, ``B = V S^{1/2}``.

    The step ``(dA, dB)`` minimises ``||s (dA B^T + A dB^T) - G||_F``. Its effect ``P_A G + G P_B - P_A G P_B``
    is the projection of ``G`` on the tangent space of the rank-r matrices, so this is Riemannian gradient
    descent whatever the mode; modes differ in how the doubly projected part is split between the factors. Here
    ``G`` is the gradient of ``f + (lam/s) ||.||_*`` on the rank-r matrices, which in balanced factors is what the
    gradients of ``L`` stand for: **stationary points of L stay stationary**, with weight decay too (a decay
    applied next to the projected step would move them).

    After each step the factors are balanced by two QR factorisations and one r x r SVD, which leaves ``A B^T``
    alone and never raises ``L``. From ``B = 0`` the first step is ``dA = 0``, ``dB = (1/s) G^T A (A^T A)^{-1}``;
    from other unbalanced factors it is the balancing itself.

    **At r > r* the step is singular** (``S`` has zeros at the optimum); the damped form minimises
    ``||s (dA B^T + A dB^T) - G||^2 + s^2 damping (||dA||^2 + ||dB||^2)`` instead.

    Parameters
    ----------
    step_size : float, optional
        In units of ``1/beta``, ``beta`` the smoothness of ``f``. By default the inverse of the curvature bound
        ``beta + (s ||G||_2 + lam)/(s^2 (sigma_r + damping))``, derived anew after 1, 2, 4, 8, ... iterations; a
        step that raises ``L`` is taken back and halved.
    mode : {"sylvester", "symmetric", "zero"}
        Split of the doubly projected part: the least-norm one (nearest to the LoRA gradients), half and half, or
        all of it in ``B``.
    damping : float, optional
        By default ``(s ||G||_2 + lam)/(s^2 beta)``, derived together with the step. 0 is the method of the paper;
        directions in which ``S`` is 0 are then left out.

    Notes
    -----
    Source: Z. Wang et al., LoRA-Pro, ICLR 2025 (arXiv:2407.18242). With singular values ``s_i`` the Sylvester
    choice is entrywise: ``U^T dA = (U^T grad_A L)_ij / (s_i + s_j + damping)`` and
    ``(I - U U^T) grad_A L (S + damping)^{-1}`` beyond the range of ``U`` (proofs/lora_pro_projection).
    """

    mode: Mode = "sylvester"
    damping: float | None = None

    name = "lora_pro"
    summary = "projected full gradient in the factors, first order (damped at r > r*)"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_choice(self.mode, "mode", ("sylvester", "symmetric", "zero"))

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T`` with both factors trained, or None."""
        return problem.one_matrix_refusal() or problem.low_rank_refusal() or frozen_refusal(problem)

    def start(self, problem: Problem, theta: Array, rng: np.random.Generator) -> LoRAProState:
        """Return the state whose damping is still to be derived."""
        A, B, _ = problem.split(theta)
        return LoRAProState(theta.copy(), theta.copy(), is_balanced=_is_balanced(A, B))

    def smallest(self, A: Array, B: Array) -> float:
        """Return the smallest singular value of ``A B^T``, which is that of both Gram matrices when balanced."""
        return float(factor_svd(A, B)[1][-1])

    def advance(self, problem: Problem, state: Any, grad: Array) -> None:
        """Find the direction at the accepted point and step along it."""
        A, B, _ = problem.split(state.theta)
        state.direction = np.zeros_like(state.theta)
        dA, dB, _ = problem.split(state.direction)
        GA, GB, _ = problem.split(grad)
        if state.is_balanced:
            dA[:], dB[:] = projected_step(A, B, GA, GB, self.mode, state.damping)
        elif not B.any():
            dB[:] = GB @ inverse_gram(A, 0.0)
        elif not A.any():
            dA[:] = GA @ inverse_gram(B, 0.0)
        state.direction *= state.step_factor
        state.direction /= problem.scale**2
        state.is_balanced = True
        self._move(problem, state)

    def retreat(self, problem: Problem, state: Any) -> None:
        """Take the last direction with half the step."""
        state.rule.shrink(state)
        self._move(problem, state)

    def _move(self, problem: Problem, state: LoRAProState) -> None:
        """Set the trial to the balanced factors one step along the direction."""
        moved = state.theta - state.step * state.direction
        if not state.accepted and np.array_equal(moved, state.theta):
            state.ended = Status.STALLED
        state.trial[:] = moved
        if not np.isfinite(moved).all():
            return
        A, B, _ = problem.split(moved)
        trial_A, trial_B, _ = problem.split(state.trial)
        trial_A[:], trial_B[:] = balanced(*factor_svd(A, B))


def projected_step(
    A: Array, B: Array, GA: Array, GB: Array, mode: Mode, damping: float
) -> tuple[Array, Array]:
    """Return ``(dA, dB)`` at balanced factors with orthogonal columns, for ``s = 1``.

    Parameters
    ----------
    A, B : ndarray of shape (m, r), (n, r)
        ``A = U S^{1/2}``, ``B = V S^{1/2}``.
    GA, GB : ndarray of shape (m, r), (n, r)
        ``G B`` and ``G^T A``; ``G`` itself is not needed.
    mode, damping
        As for :class:`LoRAPro`.
    """
    root = np.sqrt(np.sqrt(np.sum(A * A, axis=0) * np.sum(B * B, axis=0)))
    s = root * root
    floor = np.finfo(A.dtype).eps * s.size * s.max(initial=0.0)
    unit = _inverse(root, float(np.sqrt(floor)))
    U, V = A * unit, B * unit
    NA, NB = U.T @ GA, V.T @ GB
    single = _inverse(s + damping, floor)
    if mode == "sylvester":
        pair = _inverse(s[:, None] + s + damping, floor)
        inner_A, inner_B = pair * NA, pair * NB
    elif mode == "symmetric":
        inner_A, inner_B = 0.5 * NA * single, 0.5 * NB * single
    else:
        inner_A, inner_B = np.zeros_like(NA), NB * single
    return (GA - U @ NA) * single + U @ inner_A, (GB - V @ NB) * single + V @ inner_B


def _inverse(values: Array, floor: float) -> Array:
    """Return ``1/values``, and 0 where a value is at most ``floor``."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > floor)


def _is_balanced(A: Array, B: Array) -> bool:
    """Whether ``A^T A`` and ``B^T B`` are the same diagonal matrix up to rounding."""
    gram = A.T @ A
    tolerance = 100.0 * np.finfo(A.dtype).eps * float(np.trace(gram))
    return bool(
        np.abs(gram - B.T @ B).max() <= tolerance and np.abs(gram - np.diag(np.diag(gram))).max() <= tolerance
    )
