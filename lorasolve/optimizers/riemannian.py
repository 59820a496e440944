"""Riemannian gradient descent on the matrices of fixed rank, with retraction by the truncated SVD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import Array
from ..low_rank import balanced, factor_svd
from ._balanced import BalancedDescent
from .lora_pro import projected_step


@dataclass(frozen=True)
class Riemannian(BalancedDescent):
    """``X <- [X - step * (P_A G + G P_B - P_A G P_B)]_r``: the best rank-r matrix to a step in the tangent space.

    LoRA-Pro takes the same step in the factors; the two differ by terms of second order. Only matrices with ``2r``
    columns are formed. ``G`` is the gradient of ``f + (lam/s) ||.||_*`` on the rank-r matrices, as for
    :class:`~lorasolve.optimizers.LoRAPro`, so that **stationary points of L stay stationary**.

    **At r > r* the tangent space is singular**; damping weighs down the directions of small singular values.

    Parameters
    ----------
    step_size : float, optional
        A step of the weight. By default the inverse of the curvature bound
        ``beta + (s ||G||_2 + lam)/(s^2 (sigma_r + damping))``, derived anew after 1, 3, 7, 15, ... iterations; a step
        that raises ``L`` is taken back and halved.
    damping : float, optional
        By default ``(s ||G||_2 + lam)/(s^2 beta)``, derived together with the step; 0 is the textbook method.

    Notes
    -----
    Source: B. Vandereycken, SIAM J. Optim. 23 (2013), whose retraction this is. With an orthogonalised
    momentum: :class:`~lorasolve.optimizers.Riemannion`.
    """

    damping: float | None = None

    name = "riemannian"
    summary = "Riemannian gradient descent on rank-r matrices, retraction by truncated SVD (damped at r > r*)"

    def direction(self, A: Array, B: Array, GA: Array, GB: Array, damping: float) -> tuple[Array, Array]:
        """Return the tangent step in the factors; how its doubly projected part is split does not matter."""
        return projected_step(A, B, GA, GB, "sylvester", damping)

    def follow(self, A: Array, B: Array, dA: Array, dB: Array) -> tuple[Array, Array]:
        """Return balanced factors of the best rank-r matrix to ``A B^T - dA B^T - A dB^T``."""
        U, s, V = factor_svd(np.hstack([A - dA, A]), np.hstack([B, -dB]))
        r = A.shape[1]
        return balanced(U[:, :r], s[:r], V[:, :r])
