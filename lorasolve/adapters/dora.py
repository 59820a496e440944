"""DoRA: the adapted weight as a direction times a magnitude per row or column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .._support.validate import Array, as_choice, as_flag, as_number
from ..objectives.base import Objective
from ._scaling import check_alpha, scaling
from .base import Adapter, split


@dataclass(frozen=True)
class DoRA(Adapter):
    """Weight-decomposed low-rank adapter ``W = V * (w / ||V||)``, ``V = W0 + s A B^T``, ``X = W - W0``.

    The norms are those of the rows or columns of ``V``, and the magnitudes ``w`` (one each, after the factors in
    ``theta``) start at the norms, so that the start is that of LoRA. ``X`` has full rank in general, so the
    nuclear-norm counterpart of LoRA is no bound for it. A magnitude may turn negative (the direction flips). The
    weight decay acts on the factors, never on the magnitudes.

    Parameters
    ----------
    alpha : float, optional
        Without it ``s = 1``; with it ``s = alpha/r``.
    axis : {1, 0}
        1: a magnitude for each row, that is for each output of ``h = W x``, as in the official code; 0: for each
        column, as in the paper's text.
    detach : bool
        Leave the norm out of the derivative, as in the published experiments. **The direction is then not the
        gradient and can be an ascent direction**, so line searches are refused. Points stationary in factors and
        magnitudes together are the same either way.
    freeze_magnitude : bool
        Train the factors only. Detached and exact stationary points then differ.
    eps : float
        Norms below it count as ``eps``, and the factor gradient of such a row or column is 0. A length, in the
        units of the weight.

    Notes
    -----
    Source: S. Liu et al., ICML 2024 (arXiv:2402.09353; proofs/dora_gradient). For a column ``v`` with norm ``c``,
    magnitude ``w`` and gradient ``g`` of ``f(W)``: ``dL/dw = q = <g, v>/c`` and ``dL/dv = (w/c) g - (q w/c^2) v``;
    detached, without the second term. (The paper prints the projector as one matrix for all of ``V``; it acts
    column by column.)
    """

    alpha: float | None = None
    axis: Literal[0, 1] = 1
    detach: bool = False
    freeze_magnitude: bool = False
    eps: float = 1e-12

    name = "dora"
    summary = "direction W0 + s A B^T times a trained magnitude per row or column (needs W0)"
    requires = ("W0",)

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        as_choice(self.axis, "axis", (0, 1))
        as_number(self.eps, "eps", 0.0, open_low=True)
        as_flag(self.detach, "detach")
        as_flag(self.freeze_magnitude, "freeze_magnitude")

    @property
    def exact_gradient(self) -> bool:
        """False with a detached norm."""
        return not self.detach

    def scale_at(self, rank: int) -> float:
        """Return ``s`` for factors of the given rank."""
        return scaling(self.alpha, rank)

    def n_extra(self, shape: tuple[int, int], rank: int) -> int:
        """Return the number of magnitudes."""
        return shape[1 - self.axis]

    def initial_extra(self, objective: Objective, A: Array, B: Array) -> Array:
        """Return the norms of ``V``, so that ``W = W0 + s A B^T`` at the start."""
        scale = self.scale_at(A.shape[1])
        return direction_norms(_frozen_weight(objective), scale * A, B, self.axis)

    def trainable(self, shape: tuple[int, int], rank: int) -> Array | None:
        """Return the mask that leaves the magnitudes out, if they are frozen."""
        if not self.freeze_magnitude:
            return None
        factors = sum(shape) * rank
        return np.arange(factors + self.n_extra(shape, rank)) < factors

    def value_and_grad(self, objective: Objective, theta: Array, rank: int, grad: Array) -> float:
        """Write the gradient in factors and magnitudes and return ``f(W - W0)``."""
        A, B, w = split(theta, objective.shape, rank)
        GA, GB, Gw = split(grad, objective.shape, rank)
        s = self.scale_at(rank)
        V, c, alive = self._direction(objective, A, B, s)
        ratio = self._spread(w / c)
        f, G = objective.value_and_grad(V * ratio - _frozen_weight(objective))
        q = np.sum(G * V, axis=self.axis) / c
        F = G * ratio
        if not self.detach:
            F -= V * self._spread(q * w / c**2)
        F *= self._spread(alive)
        np.matmul(F, s * B, out=GA)
        np.matmul(F.T, s * A, out=GB)
        Gw[:] = 0.0 if self.freeze_magnitude else q
        return f

    def update(self, objective: Objective, theta: Array, rank: int) -> Array:
        """Return ``W - W0``."""
        A, B, w = split(theta, objective.shape, rank)
        V, c, _ = self._direction(objective, A, B, self.scale_at(rank))
        return V * self._spread(w / c) - _frozen_weight(objective)

    def _direction(self, objective: Objective, A: Array, B: Array, s: float) -> tuple[Array, Array, Array]:
        """Return ``V``, its guarded norms and which of them are above the guard."""
        V = _frozen_weight(objective) + (s * A) @ B.T
        norms = np.linalg.norm(V, axis=self.axis)
        return V, np.maximum(norms, self.eps), norms > self.eps

    def _spread(self, values: Array) -> Array:
        """Return one value per row or column in a shape that broadcasts over the matrix."""
        return np.expand_dims(values, self.axis)


def direction_norms(W0: Array, A: Array, B: Array, axis: int) -> Array:
    """Return the column (``axis=0``) or row (1) norms of ``W0 + A B^T`` without forming that matrix.

    ``c_j^2 = ||W0_j||^2 + 2 <(W0^T A)_j, B_j> + B_j (A^T A) B_j^T`` for columns; rows exchange the factors.
    """
    if axis == 1:
        return direction_norms(W0.T, B, A, 0)
    squares = np.sum(W0 * W0, axis=0) + 2.0 * np.sum((W0.T @ A) * B, axis=1) + np.sum((B @ (A.T @ A)) * B, axis=1)
    return np.sqrt(np.maximum(squares, 0.0))


def _frozen_weight(objective: Objective) -> Array:
    """Return ``W0``, which a problem makes sure of, and who calls the adapter directly may not have."""
    if objective.W0 is None:
        raise ValueError("adapter: dora needs an objective with a frozen weight (W0)")
    return objective.W0
