"""LoRA-Pro: the factor step whose first-order effect on the weight is nearest to the full gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .._support.validate import Array, as_choice
from ._balanced import BalancedDescent

Mode = Literal["sylvester", "symmetric", "zero"]


@dataclass(frozen=True)
class LoRAPro(BalancedDescent):
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

    **The released SGD does not balance.** The effect of a step on the weight is the same to first order; to second
    order ``sylvester`` depends on how the factors of ``X`` are chosen, so that its path leaves the released one from
    unbalanced factors (``zero`` and ``symmetric`` depend on ``X`` alone and stay on it).
    :class:`~lorasolve.optimizers.LoRAProAdamW` keeps the factors as the release does.

    **At r > r* the step is singular** (``S`` has zeros at the optimum); the damped form minimises
    ``||s (dA B^T + A dB^T) - G||^2 + s^2 damping (||dA||^2 + ||dB||^2)`` instead.

    Parameters
    ----------
    step_size : float, optional
        A step of the weight: to first order ``X`` moves by ``step_size`` times the projected gradient, whatever the
        length of the factors. By default the inverse of the curvature bound
        ``beta + (s ||G||_2 + lam)/(s^2 (sigma_r + damping))``, derived anew after 1, 3, 7, 15, ... iterations; a
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
        check_mode(self.mode)

    def direction(self, A: Array, B: Array, GA: Array, GB: Array, damping: float) -> tuple[Array, Array]:
        """Return the projected step with its doubly projected part split as the mode says."""
        return projected_step(A, B, GA, GB, self.mode, damping)


def check_mode(mode: str) -> None:
    """Refuse what is no mode of LoRA-Pro."""
    as_choice(mode, "mode", get_args(Mode))


def projected_step(A: Array, B: Array, GA: Array, GB: Array, mode: Mode, damping: float) -> tuple[Array, Array]:
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
