"""Dense measurements: an array (N, m, n), read in one pass by compiled kernels."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from .._support.validate import Array
from ..linear_map import LinearMap
from ._description import Matrix
from ._kernels import Kernels
from ._measurements import GRAM_LIMIT, Measurements, gram_norm, squared_norm
from ._sketch import Sketch

# Largest m n for which batched runs use the dense Hessian; beyond, it no longer fits the caches.
BATCH_LIMIT = 1200
# Numbers of the measurements from which float32 increments pay: 80 of 10 x 10 take 2.9 in place of 3.5 us, 20 of 5 x 5
# 1.9 in place of 1.5.
SINGLE_FROM = 5_000
# Numbers from which passes over 16-bit integers pay: a core's own cache holds fewer in float32.
QUANTIZED_FROM = 500_000
# Largest relative error of measurements in 16-bit integers that is worth a pass over them; 5e-5 if they are Gaussian.
COARSEST = 1e-3
# Numbers from which a descent by increments saves more than it compiles: 30 ms of 100 at 320 of 40 x 40.
DESCENT_FROM = 500_000
# Entries that no cache holds, so that passes in float64 wait for memory; below, float32 is not worth its compilation.
LARGE = 5_000_000
# Matrices whose products are added up at once.
PIECE = 16
# Sizes of measurements and observations whose gradients have squares within the range of float32.
SMALLEST, LARGEST = 1e-4, 1e4


class DenseMeasurements(Measurements):
    """An array of N matrices, which may be the caller's: it is not copied."""

    kind = "dense"
    # Follows from the rest (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("_sketch",)
    _sketch: Sketch | None = None

    def __init__(self, M: Array) -> None:
        self.M = M
        self.count = M.shape[0]
        self.shape = (M.shape[1], M.shape[2])
        self.dtype = M.dtype
        self.flat = M.reshape(self.count, -1)

    def _keep_sketch(self) -> None:
        """Keep by what to tell whether what is formed of the measurements now, once, is still of these."""
        if self._sketch is None:
            self._sketch = Sketch(self.flat)

    @property
    def is_unchanged(self) -> bool:
        return self._sketch is None or self._sketch.is_of(self.flat)

    def astype(self, dtype: Any) -> DenseMeasurements:
        return DenseMeasurements(self.M.astype(dtype))

    def in_float32(self) -> DenseMeasurements | None:
        if self.dtype == np.float32:
            return self
        fits = self.flat.size >= LARGE and self.fits_float32
        return DenseMeasurements(self.single.reshape(self.M.shape)) if fits else None

    @cached_property
    def fits_float32(self) -> bool:
        single = self.single
        fits = SMALLEST <= max(single.max(), -single.min()) <= LARGEST
        if not fits:
            del self.single
        return bool(fits)

    @property
    def read_in_descents(self) -> DenseMeasurements:
        """The measurements, or the copy in float32 that descents mostly read."""
        many = self.flat.size >= DESCENT_FROM and self.dtype == np.float64
        return DenseMeasurements(self.single.reshape(self.M.shape)) if many and self.fits_float32 else self

    @cached_property
    def single(self) -> Array:
        """The measurements in float32, one a row, kept for further runs; infinite beyond its range."""
        from ..kernels.simd import in_single

        self._keep_sketch()
        with np.errstate(over="ignore"):
            return in_single(self.flat)

    @cached_property
    def quantized(self) -> tuple[Array, float, float] | None:
        """The measurements in 16-bit integers, their unit and relative error, kept for further runs.

        None where they are few or the error is not small, so that float32 is better.
        """
        from ..kernels import sensing

        found = sensing.quantized(self.flat) if self.flat.size >= QUANTIZED_FROM else None
        return found if found is not None and found[-1] <= COARSEST else None

    def take(self, index: Array) -> DenseMeasurements:
        return DenseMeasurements(self.M[index])

    def apply(self, X: Array) -> Array:
        return self.flat @ X.ravel()

    def adjoint(self, w: Array) -> Array:
        return (w @ self.flat).reshape(self.shape)

    def combination(self, w: Array) -> LinearMap:
        return LinearMap.from_dense(self.adjoint(w))

    def design_A(self, B: Array) -> Array:
        return (self.M @ B).reshape(self.count, -1)

    def design_B(self, A: Array) -> Array:
        return (self.M.transpose(0, 2, 1) @ A).reshape(self.count, -1)

    def squared_norm(self) -> float:
        self._keep_sketch()
        if min(self.flat.shape) <= GRAM_LIMIT:
            M = self.flat.astype(np.float64, copy=False)
            found = gram_norm(M @ M.T if M.shape[0] <= M.shape[1] else M.T @ M)
            if found is not None:
                return found
        return squared_norm(LinearMap.from_dense(self.flat), self.flat)

    def rank_one_squared_norm(self) -> float | None:
        """``||sum_i M_i^T M_i||_2``, or that of the transposes if these are wider: a 30th of the work at 50 x 50.

        Where descents read float32, a bound from that, in half the time: the sum over ``k`` rows of a piece is off by
        ``k u |M|^T |M|`` at most, whose norm the trace bounds (Higham 2002, section 3.5), and by two roundings of the
        measurements.
        """
        self._keep_sketch()
        read = self.read_in_descents
        single = read is not self
        M = read.M if self.shape[0] <= self.shape[1] else read.M.transpose(0, 2, 1)
        total = np.zeros((M.shape[2], M.shape[2]))
        for first in range(0, self.count, PIECE):
            rows = M[first : first + PIECE].reshape(-1, M.shape[2])
            if not single:
                rows = rows.astype(np.float64, copy=False)
            total += rows.T @ rows
        found = gram_norm(total)
        if found is None or not single:
            return found
        # Twice the bound, for the terms of higher order and the trace as computed.
        return found + (PIECE * M.shape[1] + 2) * float(np.finfo(np.float32).eps) * float(np.trace(total))

    def mean_square(self) -> float:
        flat = self.read_in_descents.flat.ravel()
        return float(np.vdot(flat, flat)) / flat.size

    def description(self) -> Matrix:
        return Matrix(self.flat.T)

    def cvxpy_apply(self, X: Any) -> Any:
        import cvxpy

        return self.flat @ cvxpy.vec(X, order="C")

    def kernels(self, y: Array) -> Kernels:
        return _DenseKernels(self, y)


class _DenseKernels(Kernels):
    threaded = True

    def __init__(self, measurements: DenseMeasurements, y: Array) -> None:
        self.measurements, self.flat, self.y = measurements, measurements.flat, y

    def data(self, rank: int, threads: int) -> Any:
        """Return the data of the compiled oracle."""
        from ..kernels import sensing

        return sensing.data(self.flat, self.y, self.measurements.shape, threads)

    def increments(self, threads: int) -> Any:
        """Return the data for float32 increments where they are worth their compilation."""
        if self.measurements.read_in_descents is self.measurements:
            return None
        return self._increments_from(threads)

    def mixed(self, rank: int, threads: int) -> Any:
        """Return the data for increments of a float64 problem by float32 and, if there are many, by 16-bit integers."""
        made = self._by_float32(threads)
        quantized = None if made is None else self.measurements.quantized
        if quantized is None:
            return made
        from ..kernels import sensing

        return sensing.quantized_data(made, *quantized)

    def _by_float32(self, threads: int) -> Any:
        """Return the data for float32 increments of a float64 problem, None where they do not fit or pay."""
        pays = self.flat.size >= SINGLE_FROM and self.flat.dtype == np.float64
        return self._increments_from(threads) if pays and self.measurements.fits_float32 else None

    def _increments_from(self, threads: int) -> Any:
        from ..kernels import sensing

        return sensing.mixed_data(self.flat, self.y, self.measurements.single, self.measurements.shape, threads)

    def quadratic(self) -> Any:
        """Return the coefficients for batched runs: the dense Hessian ``M^T M / N``."""
        N, size = self.flat.shape
        if size > BATCH_LIMIT:
            return None
        from ..kernels import batch

        H = self.flat.T @ self.flat
        H /= N
        half_square = 0.5 * float(np.vdot(self.y, self.y)) / N
        return batch.Quadratic(batch.DENSE, batch.panels(H), (self.y @ self.flat) / N, half_square)
