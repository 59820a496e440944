"""SoRA: gates between the factors, ``X = s A diag(g) B^T``, made sparse by an l1 penalty and its proximal step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._support.validate import Array, as_choice, as_integer, as_number
from ..objectives.base import Objective
from ._gates import gated_oracle
from ._scaling import check_alpha, scaling
from .base import Adapter, split

if TYPE_CHECKING:
    from ..problem import Problem

Variant = Literal["paper", "unit_columns", "fixed_threshold", "released"]


@dataclass(frozen=True)
class SoRA(Adapter):
    """Sparse low-rank adaptation: ``X = s A diag(g) B^T`` with the penalty ``gate_penalty ||g||_1``.

    The gates follow the factors in ``theta``. They are moved by ``g <- S_{eta gate_penalty}(g - eta grad_g)``, with
    ``S`` the soft threshold, so the adapter needs an optimizer that takes the proximal step
    (``proximal_gd``). ``grad_g`` is free: ``s a_k^T (G b_k)`` re-uses ``G B``.

    What the penalty means for ``X`` depends on how the size of the columns is controlled:

    - not at all (``lam = 0``): nothing, since ``(cA, cB, g/c^2)`` keeps ``X`` and shrinks the penalty by ``c^2``;
    - by weight decay ``lam``: ``2 sqrt(gate_penalty lam) sum sqrt(sigma_i(X))`` (for ``s = 1``), a non-convex
      Schatten-1/2 penalty (closed forms in :mod:`lorasolve.papers.sora`);
    - by unit columns: ``(gate_penalty/s) ||X||_*``, the nuclear norm, so that the convex baseline applies.

    Parameters
    ----------
    gate_penalty : float
        Weight of ``||g||_1``; in the last two variants the threshold itself (called ``xi`` in the release).
    variant : {"paper", "unit_columns", "fixed_threshold", "released"}
        ``paper``: as above. ``unit_columns``: the factors enter through their directions ``a_k/||a_k||`` only, and
        the gates start at 0. ``fixed_threshold``: soft threshold by ``gate_penalty`` whatever the step size.
        ``released``: the three in-place updates of the released optimizer, whose net effect is
        ``released_threshold``; for comparison only.
    alpha : float, optional
        Without it ``s = 1``; with it ``s = alpha/r``.
    gate_seed : int, optional
        Without it the gates start at 1; with it at standard Gaussian draws, as in the paper.

    Notes
    -----
    Source: Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", arXiv 2311.11696, its
    abstract and released code. Our ``A`` is the release's ``B_p`` and our ``B`` its ``A_p^T``; there ``A`` starts at
    zero, here the init decides (the ``lora`` init is the mirror image).

    Errata of the release: the threshold is not a soft threshold (dead zone doubled, a jump at its end); it does
    not carry the step size, so that it outlives a decaying step; the l1 term is applied a second time inside
    Adam, divided by the number of gates; the parameter count uses ``2 hidden_size`` per gate instead of ``m + n``.

    Fixed points: those of ``f + gate_penalty ||g||_1`` over all three blocks. A gate at zero stops the gradients
    of its columns; under weight decay these die, and once they have the component cannot return (gate death; the
    schedule ``revive`` re-seeds it). Before that the gate may reopen, as the loss's gradient moves. From the ``lora``
    start the final rank is therefore a heuristic: compare with ``lorasolve.papers.sora.half_threshold_optimum``.
    Proof module: proofs/sora.
    """

    gate_penalty: float = 1e-3
    variant: Variant = "paper"
    alpha: float | None = None
    gate_seed: int | None = None

    name = "sora"
    summary = "X = s A diag(g) B^T with an l1 penalty on the gates g (needs a proximal optimizer)"
    proximal = True

    @property
    def has_nuclear_penalty(self) -> bool:
        """Whether the columns are units."""
        return self.variant == "unit_columns"

    @classmethod
    def showcase(cls, problem: Problem) -> str:
        """Return unit columns with the problem's decay as gate penalty, whose convex optimum is that of LoRA."""
        return f"proximal_gd+revive@{unit_columns(problem)}"

    def __post_init__(self) -> None:
        as_number(self.gate_penalty, "gate_penalty", 0.0)
        as_choice(self.variant, "variant", ("paper", "unit_columns", "fixed_threshold", "released"))
        check_alpha(self.alpha)
        if self.gate_seed is not None:
            as_integer(self.gate_seed, "gate_seed", 0)

    @property
    def exact_prox(self) -> bool:
        """False for the two variants whose threshold does not carry the step size."""
        return self.variant in ("paper", "unit_columns")

    @property
    def needs_nonzero_columns(self) -> bool:
        """True for unit columns: a zero column has no direction."""
        return self.variant == "unit_columns"

    def scale_at(self, rank: int) -> float:
        """Return ``s`` for ``rank`` gates."""
        return scaling(self.alpha, rank)

    def nuclear_weight(self, lam: float, rank: int) -> float:
        """Return ``gate_penalty/s`` for unit columns, where it is exact, and 0 else."""
        return self.gate_penalty / self.scale_at(rank) if self.variant == "unit_columns" else 0.0

    def n_extra(self, shape: tuple[int, int], rank: int) -> int:
        """Return the number of gates."""
        return rank

    def initial_extra(self, objective: Objective, A: Array, B: Array) -> Array:
        """Return the gates at the start: 1, Gaussian draws, or 0 for unit columns."""
        rank = A.shape[1]
        if self.variant == "unit_columns":
            if not (np.any(A, axis=0).all() and np.any(B, axis=0).all()):
                raise ValueError("init: unit columns need nonzero columns in A and B; use init='gaussian'")
            return np.zeros(rank)
        if self.gate_seed is None:
            return np.ones(rank)
        return np.asarray(np.random.default_rng(self.gate_seed).standard_normal(rank))

    def value_and_grad(self, objective: Objective, theta: Array, rank: int, grad: Array) -> float:
        """Write the gradients in ``A``, ``B`` and the gates into ``grad`` and return ``f(X)``."""
        A, B, g = split(theta, objective.shape, rank)
        dA, dB, dg = split(grad, objective.shape, rank)
        if self.variant != "unit_columns":
            return gated_oracle(objective, A, B, g, self.scale_at(rank), dA, dB, dg)
        unit_A, length_A = _directions(A)
        unit_B, length_B = _directions(B)
        f = gated_oracle(objective, unit_A, unit_B, g, self.scale_at(rank), dA, dB, dg)
        dA -= unit_A * np.sum(unit_A * dA, axis=0)
        dB -= unit_B * np.sum(unit_B * dB, axis=0)
        dA /= length_A
        dB /= length_B
        return f

    def penalty(self, theta: Array, shape: tuple[int, int], rank: int) -> float:
        """Return ``gate_penalty ||g||_1``."""
        return self.gate_penalty * float(np.abs(split(theta, shape, rank)[2]).sum())

    def prox(self, theta: Array, shape: tuple[int, int], rank: int, step: float) -> None:
        """Threshold the gates in place."""
        g = split(theta, shape, rank)[2]
        if self.variant == "released":
            g[:] = released_threshold(g, self.gate_penalty)
        elif self.variant == "fixed_threshold":
            g[:] = soft_threshold(g, self.gate_penalty)
        else:
            g[:] = soft_threshold(g, step * self.gate_penalty)

    def update(self, objective: Objective, theta: Array, rank: int) -> Array:
        """Return ``s A diag(g) B^T``."""
        A, B = self.folded(theta, objective.shape, rank)
        return A @ B.T

    def folded(self, theta: Array, shape: tuple[int, int], rank: int) -> tuple[Array, Array]:
        """Return factors of ``X`` with the open gates only: ``A`` (m, k) carries ``s g``, ``B`` (n, k)."""
        A, B, g = split(theta, shape, rank)
        if self.variant == "unit_columns":
            A, B = _directions(A)[0], _directions(B)[0]
        kept = g != 0.0
        return A[:, kept] * (self.scale_at(rank) * g[kept]), B[:, kept].copy()


def unit_columns(problem: Problem) -> str:
    """Return the end of a method's text: unit columns with the problem's decay as gate penalty, and no other decay."""
    penalty = repr(problem.lam).replace("e+", "e")
    return f"{SoRA.name}:gate_penalty={penalty},variant=unit_columns~gaussian/lam=0"


def soft_threshold(z: Array, threshold: float) -> Array:
    """Return ``sign(z) max(|z| - threshold, 0)``."""
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0.0)


def released_threshold(z: Array, threshold: float) -> Array:
    """Return the map that the released optimizer applies in place of the soft threshold.

    It shrinks entries above ``xi``, then those below ``-xi``, then zeroes everything below ``xi`` in magnitude,
    the shrunken values included. The dead zone is therefore ``2 xi`` wide on each side, with a jump of height
    ``xi`` at its end; an entry of magnitude exactly ``xi`` is kept.
    """
    z = z.copy()
    z[z > threshold] -= threshold
    z[z < -threshold] += threshold
    z[np.abs(z) < threshold] = 0.0
    return z


def _directions(A: Array) -> tuple[Array, Array]:
    length = np.sqrt(np.einsum("ik,ik->k", A, A))
    length[length == 0.0] = math.inf
    return A / length, length
