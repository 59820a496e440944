"""BeamLoRA's gates: ``X = s A diag(w) B^T`` with ``w = r softmax(z/tau)``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import Array, as_number
from ..objectives.base import Objective
from ._gates import gated_oracle
from ._scaling import check_alpha, scaling
from .base import Adapter, split


@dataclass(frozen=True)
class SoftmaxGates(Adapter):
    """LoRA whose rank-one terms share a budget of weights: ``X = s A diag(w) B^T``, ``w = r softmax(z/tau)``.

    The logits ``z`` (r,) follow the factors in ``theta`` and start at 0, where all weights are 1. With
    ``c_k = s a_k^T G b_k`` their gradient is ``(w_k/tau)(c_k - mean(w c))``: it sums to zero, so gradient descent
    keeps the sum of the logits.

    Parameters
    ----------
    tau : float
        Temperature. The gate gradients carry ``1/tau``: with gradient descent a small ``tau`` needs a smaller step
        (about ``tau^2``), with Adam the scale cancels and the gates saturate instead.
    alpha : float, optional
        Without it ``s = 1``; with it ``s = alpha/r``.

    Notes
    -----
    Source: Gu et al., "BeamLoRA", arXiv 2502.13604, and its released code (``tau`` 0.05, or 0.03 for small learning
    rates). The pruning and expansion is the schedule ``beam``.

    The gates add nothing to what can be represented: rank at most r. With weight decay they change the penalty:
    the least of ``(lam/2)(||A||^2 + ||B||^2)`` over all gated factors of ``X`` is
    ``(lam/r)(sum sqrt(sigma_i(X)))^2`` for ``s = 1`` (derived; ``lorasolve.papers.beam_lora.gated_decay``), which
    is not convex. So the convex optimum of LoRA is not that of this adapter unless ``lam = 0``.

    Fixed points: those of ``L`` in all three blocks. Proof module: proofs/beam_lora.
    """

    tau: float = 1.0
    alpha: float | None = None

    name = "softmax_gates"
    summary = "X = s A diag(r softmax(z/tau)) B^T, the gates of BeamLoRA"

    def __post_init__(self) -> None:
        as_number(self.tau, "tau", 0.0, open_low=True)
        check_alpha(self.alpha)

    def scale_at(self, rank: int) -> float:
        """Return ``s`` for ``rank`` terms."""
        return scaling(self.alpha, rank)

    def nuclear_weight(self, lam: float, rank: int) -> float:
        """Return ``lam/(r s)``, from ``(sum sqrt(sigma_i))^2 >= sum sigma_i``."""
        return lam / (rank * self.scale_at(rank))

    def n_extra(self, shape: tuple[int, int], rank: int) -> int:
        """Return the number of logits."""
        return rank

    def weights(self, z: Array) -> Array:
        """Return ``r softmax(z/tau)`` (r,), which sums to ``r``."""
        w = np.exp((z - z.max()) / self.tau)
        return w * (w.size / w.sum())

    def value_and_grad(self, objective: Objective, theta: Array, rank: int, grad: Array) -> float:
        """Write the gradients in ``A``, ``B`` and the logits into ``grad`` and return ``f(X)``."""
        A, B, z = split(theta, objective.shape, rank)
        dA, dB, dz = split(grad, objective.shape, rank)
        w = self.weights(z)
        f = gated_oracle(objective, A, B, w, self.scale_at(rank), dA, dB, dz)
        dz -= float(w @ dz) / rank
        dz *= w / self.tau
        return f

    def update(self, objective: Objective, theta: Array, rank: int) -> Array:
        """Return ``s A diag(w) B^T``."""
        A, B, z = split(theta, objective.shape, rank)
        return (A * (self.scale_at(rank) * self.weights(z))) @ B.T
