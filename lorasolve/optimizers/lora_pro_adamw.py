"""LoRA-Pro with AdamW, the released "efficient" mode: Adam's moments of the projected factor steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from .adamw import AdamW
from .base import both_factors_refusal
from .lora_pro import Mode, check_mode
from .scaled_gd import inverse_gram


@dataclass(frozen=True)
class LoRAProAdamW(AdamW):
    """AdamW on LoRA-Pro's factor steps ``(dA, dB)`` instead of the gradients of ``f``, at the factors as they are.

    ``dA = (I - A K_A A^T) grad_A f K_B/s^2 - A X``, ``dB = grad_B f K_A/s^2 + B X^T`` with ``K_A = (A^T A + damping
    I)^{-1}`` and the free matrix ``X`` of the mode. Both factors shrink by ``1 - step * weight_decay``, ``A B^T`` so by
    its square. Adam's entrywise scaling undoes what the projection is for: the step's effect on the weight is no longer
    the one nearest to the full gradient.

    Parameters
    ----------
    step_size, beta1, beta2, eps, weight_decay
        As for :class:`~lorasolve.optimizers.AdamW`.
    mode : {"sylvester", "symmetric", "zero"}
        The free matrix ``X``, as for :class:`~lorasolve.optimizers.LoRAPro`.
    damping : float
        Added to the Gram matrices, 1e-8 in the release.

    Notes
    -----
    Source: Z. Wang et al., LoRA-Pro, ICLR 2025 (arXiv:2407.18242), and its released code. Erratum of the release: its
    symmetric mode multiplies by ``A A^T`` (there) where the inverse is needed; here is the inverse.

    **Its fixed points are not the stationary points of** ``L``: where the step settles, ``d/(|d| + eps) =
    -weight_decay * theta`` in every entry, with ``d`` the projected step in the place of AdamW's gradient.
    """

    mode: Mode = "sylvester"
    damping: float = 1e-8

    name = "lora_pro_adamw"
    summary = "LoRA-Pro, AdamW on the projected factor steps (the released efficient mode; does not minimise L)"
    own_aim = "f in the box of lora_pro_adamw's decay"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mode(self.mode)
        as_number(self.damping, "damping", 0.0)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T`` with both factors trained, or None."""
        return both_factors_refusal(problem)

    def direction(self, problem: Problem, theta: Array, loss_grad: Array) -> Array:
        """Return the projected step at the factors."""
        moved = np.empty_like(loss_grad)
        dA, dB, _ = problem.split(moved)
        A, B, _ = problem.split(theta)
        GA, GB, _ = problem.split(loss_grad)
        dA[:], dB[:] = equivalent_step(A, B, GA / problem.scale**2, GB / problem.scale**2, self.mode, self.damping)
        return moved


def equivalent_step(A: Array, B: Array, GA: Array, GB: Array, mode: Mode, damping: float) -> tuple[Array, Array]:
    """Return LoRA-Pro's ``(dA, dB)`` at any factors, from ``GA = G B`` and ``GB = G^T A`` (for ``s = 1``).

    Source: theorems 2.1 and 2.3; ``X`` solves ``A^T A X + X B^T B = -K_A GB^T B`` in the mode ``sylvester``.
    """
    K_A, K_B = inverse_gram(A, damping), inverse_gram(B, damping)
    whole = K_A @ (GB.T @ B)
    if mode == "sylvester":
        X = _sylvester(A.T @ A, B.T @ B, -whole)
    elif mode == "symmetric":
        X = -0.5 * whole @ K_B
    else:
        X = np.zeros_like(whole)
    return (GA - A @ (K_A @ (A.T @ GA))) @ K_B - A @ X, GB @ K_A + B @ X.T


def _sylvester(P: Array, Q: Array, C: Array) -> Array:
    """Return the ``X`` of least norm with ``P X + X Q = C`` for positive semidefinite ``P``, ``Q``."""
    p, U = np.linalg.eigh(P)
    q, V = np.linalg.eigh(Q)
    sums = np.maximum(p, 0.0)[:, None] + np.maximum(q, 0.0)
    floor = np.finfo(C.dtype).eps * C.shape[0] * sums.max()
    return U @ np.divide(U.T @ C @ V, sums, out=np.zeros_like(C), where=sums > floor) @ V.T
