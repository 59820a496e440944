"""Facts about one layer, from its factors alone: thin QR factorizations and one r x r SVD, never an m x n matrix."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from .._support.text import for_json
from .._support.validate import Array, as_instance, as_number
from ..low_rank import RANK_TOL, factor_svd, numerical_rank
from .layers import LayerFactors

# A smallest singular value above this share of the largest means that the rank is used up (networks in practice).
FULL_RANK = 1e-3
ENERGY_LEVELS = (0.90, 0.95, 0.99)
# A layer has vanished if its penalty, r/6 at PEFT's start, is below this times r.
VANISHED = 1e-8


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """Numbers about one update ``X = s A B^T``.

    Attributes
    ----------
    module, family : str
        The module, and its name with the numbers that count layers replaced by ``*``.
    kind : str
        As in :class:`~lorasolve.peft_files.LayerFactors`.
    dora : bool
        Whether the update gives only the direction of the weight.
    shape : tuple of int
        ``(m, n)``.
    r : int
        Columns of the factors.
    scale : float
        ``s``; the penalty ``(lam/2)(||A||^2 + ||B||^2)`` stands for ``(lam/|s|) ||X||_*``.
    sigma : ndarray, shape (min(m, n, r),)
        Singular values of ``X``.
    norm_A, norm_B : float
        Frobenius norms of the factors.
    start_range : float
        Largest entry of ``B`` times ``sqrt(n)``: at most 1 at PEFT's default start.
    dead_columns : int
        Columns that are zero in both factors, which gradient descent cannot revive.
    gram_distance : float
        ``||A^T A - B^T B||_F``.
    rank_tol : float
        What counts as zero relative to ``sigma[0]``: 1e-6, or the rounding of the stored numbers where that is coarser.
    both_trained : bool
        Whether no factor is known to have been frozen.
    rounding : float
        What the rounding of the stored factors may make of ``||X||_2``.
    """

    module: str
    family: str
    kind: str
    dora: bool
    shape: tuple[int, int]
    r: int
    scale: float
    sigma: Array = field(repr=False)
    norm_A: float
    norm_B: float
    start_range: float
    dead_columns: int
    gram_distance: float
    rank_tol: float
    both_trained: bool = True
    rounding: float = 0.0

    # ------------------------------------------------------------------ magnitude and rank
    @property
    def spectral(self) -> float:
        """``||X||_2``."""
        return float(self.sigma[0])

    @property
    def frobenius(self) -> float:
        """``||X||_F``."""
        return float(np.linalg.norm(self.sigma))

    @property
    def nuclear(self) -> float:
        """``||X||_*``."""
        return float(self.sigma.sum())

    @property
    def rank(self) -> int:
        """Number of singular values above ``rank_tol`` times the largest; 0 for what has vanished or is null."""
        return 0 if self.vanished or self.null else numerical_rank(self.sigma, self.rank_tol)

    @property
    def effective_rank(self) -> float:
        """``exp`` of the entropy of ``sigma/sum(sigma)``; 0 for ``X = 0`` up to rounding."""
        share = np.zeros(0) if self.null else self.sigma[self.sigma > 0] / self.nuclear
        return math.exp(-float(share @ np.log(share))) if share.size else 0.0

    @property
    def stable_rank(self) -> float:
        """``||X||_F^2/||X||_2^2``; 0 for ``X = 0``."""
        return float(np.sum((self.sigma / self.spectral) ** 2)) if self.spectral else 0.0

    @property
    def tail(self) -> float:
        """``sigma_k/sigma_1`` with ``k = min(m, n, r)``; 0 for ``X = 0``."""
        return float(self.sigma[-1]) / self.spectral if self.spectral else 0.0

    @property
    def spike(self) -> float:
        """``sigma_1/sigma_2``; infinite if there is no second."""
        return self.spectral / float(self.sigma[1]) if len(self.sigma) > 1 and self.sigma[1] > 0 else math.inf

    @property
    def full_rank(self) -> bool:
        """Whether the rank is used up: ``sigma_r/sigma_1 > 1e-3``, or the rounding where that is coarser."""
        return not (self.vanished or self.null) and self.tail > max(FULL_RANK, self.rank_tol)

    def energy_rank(self, share: float) -> int:
        """Return how many singular values hold a share of ``||X||_F^2``."""
        share = as_number(share, "share", 0.0, 1.0)
        if not self.spectral:
            return 0
        energy = np.cumsum((self.sigma / self.spectral) ** 2)
        return min(int(np.searchsorted(energy, share * energy[-1])) + 1, len(self.sigma))

    # ------------------------------------------------------------------ state and balance
    @property
    def null(self) -> bool:
        """Whether the update is zero, up to rounding where columns cancel, as at PEFT's start ``"orthogonal"``."""
        return self.spectral <= self.rounding

    @property
    def untrained(self) -> bool:
        """Whether the update is zero up to rounding and the factors are not both, as at the start of a run."""
        return self.null and not self.empty

    @property
    def empty(self) -> bool:
        """Whether both factors are zero: a stationary point of every loss."""
        return self.dead_columns == self.r

    @property
    def vanished(self) -> bool:
        """Whether both factors are next to nothing: what a finished run under l2 decay leaves of a layer of rank 0.

        Ratios of such remains say nothing about the run.
        """
        return self.penalty <= VANISHED * self.r

    @property
    def penalty(self) -> float:
        """``(||A||_F^2 + ||B||_F^2)/2``, what ``lam`` multiplies in ``L``."""
        return (self.norm_A**2 + self.norm_B**2) / 2

    @property
    def imbalance(self) -> float | None:
        """``||A^T A - B^T B||_F/(||A||_F^2 + ||B||_F^2)``, 0 at every stationary point with l2 decay.

        None where it says nothing: for AdaLoRA, whose third factor changes the condition, beside a frozen factor, for
        ``X = 0`` up to rounding, and for layers that have vanished.
        """
        nothing = self.kind == "adalora" or not self.both_trained or self.null or self.vanished
        return None if nothing else self.gram_distance / (2 * self.penalty)

    @property
    def wasted(self) -> float | None:
        """``(||A||^2 + ||B||^2)/2 - ||X||_*/|s| >= 0``: what balanced factors of the same ``X`` would save.

        With an l2 decay ``lam`` of the factors, ``L`` is at least ``lam`` times this above its minimum, whatever the
        data are: see ``proofs/wasted_penalty.py``. None for AdaLoRA, and beside a frozen factor.
        """
        if self.kind == "adalora" or not self.both_trained:
            return None
        return max(self.penalty - self.nuclear / abs(self.scale), 0.0)

    def to_dict(self) -> dict[str, object]:
        """Return all numbers as plain values."""
        found = {
            "module": self.module,
            "family": self.family,
            "kind": self.kind,
            "dora": self.dora,
            "shape": self.shape,
            "r": self.r,
            "scale": self.scale,
            "spectral_norm": self.spectral,
            "frobenius_norm": self.frobenius,
            "nuclear_norm": self.nuclear,
            "rank": self.rank,
            "rank_tol": self.rank_tol,
            "rounding": self.rounding,
            "full_rank": self.full_rank,
            "effective_rank": self.effective_rank,
            "stable_rank": self.stable_rank,
            "sigma_r_over_sigma_1": self.tail,
            "sigma_1_over_sigma_2": self.spike,
            "energy_ranks": {f"{level:.2f}": self.energy_rank(level) for level in ENERGY_LEVELS},
            "norm_A": self.norm_A,
            "norm_B": self.norm_B,
            "start_range": self.start_range,
            "dead_columns": self.dead_columns,
            "both_trained": self.both_trained,
            "untrained": self.untrained,
            "empty": self.empty,
            "vanished": self.vanished,
            "imbalance": self.imbalance,
            "penalty": self.penalty,
            "wasted_penalty": self.wasted,
            "lam_factor": 1 / abs(self.scale),
            "singular_values": self.sigma,
        }
        return dict(for_json(found))


def facts_of(layer: LayerFactors) -> LayerFacts:
    """Return the facts about a layer."""
    as_instance(layer, "layer", LayerFactors)
    A, B = layer.A, layer.B
    sigma = abs(layer.scale) * factor_svd(A, B)[1]
    AtA, BtB = A.T @ A, B.T @ B
    norm_A, norm_B = float(np.linalg.norm(A)), float(np.linalg.norm(B))
    # An entry is off by a share of itself, and a factor by that share of its Frobenius norm at most.
    largest_A, largest_B = (float(np.linalg.norm(gram, 2)) ** 0.5 for gram in (AtA, BtB))
    columns_A, columns_B = np.abs(A).max(axis=0), np.abs(B).max(axis=0)
    return LayerFacts(
        module=layer.module,
        family=family_of(layer.module),
        kind=layer.kind,
        dora=layer.dora,
        shape=layer.shape,
        r=A.shape[1],
        scale=layer.scale,
        sigma=sigma,
        norm_A=norm_A,
        norm_B=norm_B,
        start_range=float(columns_B.max()) * math.sqrt(B.shape[0]),
        dead_columns=int(np.count_nonzero((columns_A == 0) & (columns_B == 0))),
        gram_distance=float(np.linalg.norm(AtA - BtB)),
        rank_tol=max(RANK_TOL, 2 * layer.roundoff),
        both_trained=layer.both_trained,
        rounding=abs(layer.scale) * layer.roundoff * (norm_A * largest_B + largest_A * norm_B),
    )


def family_of(module: str) -> str:
    """Return a module's name with its counts replaced: layers of one family do the same work at different depths.

    A number that belongs to a word (``attn1`` and ``attn2``, ``fc1`` and ``fc2``) tells work apart, and stays.
    """
    return re.sub(r"(?<![^\W_])\d+(?![^\W_])", "*", module)
