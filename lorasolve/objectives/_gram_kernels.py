"""Kernels of losses that are quadratic in their update, given by Gram matrices ``S`` and ``C``."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from .._support.validate import Array
from ._kernels import Kernels, Rotated

# Largest m n for which batched runs form X; beyond, the products with skinny factors are cheaper.
BATCH_LIMIT = 4096
# Numbers of the Gram matrices from which float32 increments pay: 128 x 128 takes 24.6 in place of 26.8 us, 256 x 256 50
# in place of 69, 32 x 32 6.0 in place of 5.4.
SINGLE_FROM = 30_000
# Other bases take as long as ROTATION * (longer side) / (rank, in fours) iterations save, by a factor of two either
# way (180 x 180 to 768 x 768, ranks 2 to 32), and are worked out up to this side.
ROTATION = 16
LARGEST_ROTATED = 2048


class GramKernels(Kernels):
    """A compiled oracle over the Gram matrices, its float32 increments, and batches."""

    def __init__(self, S: Array, C: Array, f0: float) -> None:
        self.S, self.C, self.f0 = S, C, f0

    def data(self, rank: int, threads: int) -> Any:
        """Return the data of the compiled oracle."""
        from ..kernels import gram

        return gram.data(self.S, self.C, self._outline, self.f0, rank, threads)

    @cached_property
    def _outline(self) -> Any:
        from ..kernels import gram

        return gram.outline_of(self.S, self.C)

    def mixed(self, rank: int, threads: int) -> Any:
        """Return the data for float32 increments of a float64 problem."""
        if not self._is_large:
            return None
        from ..kernels import gram

        return gram.mixed_data(self.data(rank, threads), *self._single)

    @cached_property
    def _is_large(self) -> bool:
        numbers = np.count_nonzero(self.S) + np.count_nonzero(self.C)
        return self.S.dtype == np.float64 and bool(numbers >= SINGLE_FROM)

    @cached_property
    def _single(self) -> tuple[Array, Array]:
        """The Gram matrices ``S``, ``C`` in float32, kept for further runs."""
        from ..kernels.simd import in_single

        return in_single(self.S), in_single(self.C)

    def rotates_after(self, rank: int) -> float:
        """Return about the iterations that take as long as working out the bases, in float64 alone."""
        from ..kernels.tiles import SIDE

        side = max(self.C.shape)
        return ROTATION * side / (SIDE * -(-rank // SIDE)) if self._is_large and side <= LARGEST_ROTATED else math.inf

    @cached_property
    def rotated(self) -> Rotated:
        """The kernels in the eigenbasis of ``S``, and the basis in which ``C`` is upper triangular then."""
        from scipy.linalg import qr

        s, V = np.linalg.eigh(self.S)
        U, C = qr(self.C @ V, check_finite=False)
        return Rotated(GramKernels(np.diag(s), C, self.f0), U, V)

    def quadratic(self) -> Any:
        """Return the coefficients for batched runs up to ``BATCH_LIMIT`` entries; ``S`` acts from the right."""
        if self.C.size > BATCH_LIMIT:
            return None
        from ..kernels import batch

        return batch.Quadratic(batch.RIGHT, batch.panels(self.S), self.C.ravel(), self.f0)
