"""Matrix sensing: ``f(X) = sum_i (<M_i, X> - y_i)^2 / (2N)`` with dense, rank-one or sparse measurements."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.threads import kernel_threads
from .._support.validate import Array, as_float_array, as_index_array, as_own_array, as_shape, shown
from ..linear_map import LinearMap
from ._dense_measurements import LARGEST, SMALLEST, DenseMeasurements
from ._description import Description
from ._increments import Increments
from ._kernels import Kernels
from ._measurements import Measurements
from ._rank_one_measurements import as_rank_one
from ._sketch import changed_data
from ._sparse_measurements import as_sparse
from .base import Objective, PairProduct


class MatrixSensing(Objective):
    """Least squares from linear measurements: ``f(X) = sum_i (<M_i, X> - y_i)^2 / (2N)``.

    Parameters
    ----------
    measurements : array_like of shape (N, m, n), or pair of array_like, or scipy.sparse matrix
        Dense measurements ``M_i``; or a tuple ``(a, b)`` of shapes (N, m), (N, n) for ``M_i = a_i b_i^T``, never
        multiplied out (``O(N r (m + n))`` per oracle call); or a sparse N x (m n) matrix whose row i is ``M_i``
        row by row (needs ``shape``; ``O(nnz r)`` per oracle call, no m x n matrix).
    y : array_like of shape (N,)
        Observations.
    shape : (int, int), optional
        ``(m, n)``, for sparse measurements only.

    Attributes
    ----------
    kind : {"dense", "rank-one", "sparse"}
        How the measurements are stored.

    Notes
    -----
    With Gaussian measurements this is the model of the main paper, section 12. ``lower_bound`` is 0, which is
    attained whenever the measurements are independent. One factor is minimised row by row where each measurement is
    sparse and of one entry, as weighted ratings are; otherwise the N x (m r) matrix of its equations is formed.
    """

    name = "sensing"
    dtypes = ("float64", "float32")
    summary = "sum (<M_i, X> - y_i)^2 / (2N), dense, rank-one or sparse measurements"
    convex = True
    least_squares = True
    minimizes_factors = True
    lower_bound = 0.0

    def __init__(self, measurements: Any, y: ArrayLike, shape: tuple[int, int] | None = None) -> None:
        self._map = _as_measurements(measurements, shape)
        self.kind = self._map.kind
        self.shape = self._map.shape
        self.y = as_shape(as_own_array(y, "y", 1), "y", (self._map.count,))
        self.dtype = np.result_type(self._map.dtype, self.y)
        if self._map.dtype != self.dtype:
            self._map = self._map.astype(self.dtype)
        self.y = np.require(self.y.astype(self.dtype, copy=False), requirements=["C", "W"])
        self.n_samples = self._map.count

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> MatrixSensing:
        """Return 20 dense Gaussian measurements of a 6 x 4 matrix."""
        return cls(rng.standard_normal((20, 6, 4)).astype(dtype), rng.standard_normal(20).astype(dtype))

    @cached_property
    def smoothness(self) -> float:
        """``||M||_2^2 / N`` of the N x (m n) measurement matrix (rank-one beyond ``GRAM_LIMIT``: a bound)."""
        return self._map.squared_norm() / self._map.count

    @cached_property
    def rank_one_smoothness(self) -> float | None:
        """A bound from the m x m or n x n matrices that the measurements add up to, if that is the cheaper one."""
        found = self._map.rank_one_squared_norm()
        return None if found is None else found / self._map.count

    # ------------------------------------------------------------------ dense level
    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``G = sum_i (<M_i, X> - y_i) M_i / N``."""
        residual = self._map.apply(X) - self.y
        N = self._map.count
        return 0.5 * float(np.vdot(residual, residual)) / N, self._map.adjoint(residual / N)

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``sum_i <M_i, D> M_i / N``."""
        return self._map.adjoint(self._map.apply(D) / self._map.count)

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A``; return ``f``. One pass over the measurements."""
        if not self._takes(A):
            return self._map.factor_oracle(A, B, self.y, GB, GtA)
        from ..kernels.evaluate import evaluate

        taken = self.kernels.take(A.shape[1])
        f = evaluate(taken[1], A, B, GB, GtA)
        self.kernels.put_back(taken)
        return f

    def factor_value(self, A: Array, B: Array) -> float:
        """Return ``f(A B^T)``; at zero from the observations alone."""
        if A.any() and B.any():
            return super().factor_value(A, B)
        return 0.5 * float(np.vdot(self.y, self.y)) / self._map.count

    def hessian_at(self, A: Array, B: Array) -> PairProduct:
        """Return ``H B + G V`` and ``H^T A + G^T U``."""
        N, measured = self._map.count, self._map.apply_factors
        G = self._gradient_at(A, B)

        def product(U: Array, V: Array) -> tuple[Array, Array]:
            if self._takes(A):
                D = U @ B.T + A @ V.T
                H = LinearMap.from_dense(self._half_square_and_gradient(D, np.zeros_like(self.y))[1])
            else:
                H = self._map.combination((measured(U, B) + measured(A, V)) / N)
            return H.matmat(B) + G.matmat(V), H.rmatmat(A) + G.rmatmat(U)

        return product

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``sum_i residual_i M_i / N``: dense, a product of three, or a sparse matrix."""
        return self._gradient_at(A.astype(np.float64, copy=False), B.astype(np.float64, copy=False))

    def _gradient_at(self, A: Array, B: Array) -> LinearMap:
        if self._takes(A):
            return LinearMap.from_dense(self._half_square_and_gradient(A @ B.T, self.y)[1])
        return self._map.combination((self._map.apply_factors(A, B) - self.y) / self._map.count)

    def oracle_and_operator(self, A: Array, B: Array) -> tuple[float, Array, Array, LinearMap]:
        """Return ``f``, ``G B``, ``G^T A`` and ``G``, from one pass over dense measurements."""
        if not self._takes(A):
            return super().oracle_and_operator(A, B)
        f, G = self._half_square_and_gradient(A @ B.T, self.y)
        return f, G @ B, G.T @ A, LinearMap.from_dense(G.astype(np.float64, copy=False))

    def curvature_along(self, A: Array, B: Array, U: Array) -> float:
        """Return ``||(<M_i, U B^T>)_i||^2 / N``."""
        w = self._map.apply_factors(U, B)
        return float(np.vdot(w, w)) / self._map.count

    def factor_diagonal(self, A: Array, B: Array) -> tuple[Array, Array]:
        """As by default, but for dense measurements with the mean curvature over all directions: one number for all."""
        c = self._mean_curvature
        if c is None:
            return super().factor_diagonal(A, B)
        on_A = np.broadcast_to(c * np.sum(B * B, axis=0), A.shape)
        return on_A, np.broadcast_to(c * np.sum(A * A, axis=0), B.shape)

    @cached_property
    def _mean_curvature(self) -> float | None:
        """``||M||_F^2 / (N m n)``."""
        return self._map.mean_square()

    def _takes(self, A: Array) -> bool:
        """Return whether there are kernels for these measurements in the type of the factor."""
        return self.kernels.threaded and A.dtype == self.dtype

    def _half_square_and_gradient(self, X: Array, y: Array) -> tuple[float, Array]:
        """Return ``sum_i (<M_i, X> - y_i)^2 / (2 N)`` and its gradient, from one pass over dense measurements."""
        from ..kernels import sensing

        G, taken = np.empty(X.size, self.dtype), self.kernels.take(1)
        data = taken[1]
        sensing.gradient(data.M, X.ravel(), y, data.w, data.g, G)
        f = 0.5 * float(np.vdot(data.w, data.w)) / y.size
        self.kernels.put_back(taken)
        return f, G.reshape(self.shape)

    @cached_property
    def kernels(self) -> Kernels:
        """A compiled oracle, its float32 increments and batches, for dense measurements only."""
        return self._map.kernels(self.y)

    # ------------------------------------------------------------------ what some methods need
    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return the ridge solution over ``A``, row by row where each measurement is one of an entry."""
        return self._map.minimize_over_A(B, self.y, lam)

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return the ridge solution over ``B``, in the same way."""
        return self._map.minimize_over_B(A, self.y, lam)

    def sample_batch(self, index: Array) -> Objective:
        """Return the objective on the measurements ``index``."""
        index = as_index_array(index, "index", self.n_samples)
        return self._with(self._map.take(index), self.y[index])

    def merged(self, update: Array) -> Objective:
        """Return the objective with observations ``y_i - <M_i, update>``."""
        return self._with(self._map, (self.y - self._map.apply(update)).astype(self.dtype))

    def refuse_changed_samples(self) -> None:
        """Refuse dense measurements that were written to since constants, or float32 copies, were formed of them."""
        if not self._map.is_unchanged:
            raise ValueError(changed_data(self.label))

    def _with(self, measurements: Measurements, y: Array) -> MatrixSensing:
        made = MatrixSensing.__new__(MatrixSensing)
        made._map, made.kind, made.shape, made.dtype = measurements, self.kind, self.shape, self.dtype
        made.y, made.n_samples = y, measurements.count
        return made

    def in_float64(self) -> MatrixSensing:
        """Return the same measurements in float64."""
        if self.dtype == np.float64:
            return self
        made = self._with(self._map.astype(np.float64), self.y.astype(np.float64))
        made.dtype = made._map.dtype
        return made

    def in_float32(self) -> MatrixSensing | None:
        """Return large dense measurements in float32, half the memory again: passes over them are as fast as memory.

        None for others, and where squares of gradients might leave the range of float32.
        """
        if self.dtype == np.float32:
            return self
        single = self._map.in_float32() if self._fits_float32 else None
        if single is None:
            return None
        made = self._with(single, self.y.astype(np.float32))
        made.dtype = single.dtype
        return made

    @property
    def _fits_float32(self) -> bool:
        return SMALLEST <= float(np.abs(self.y).max()) <= LARGEST

    def increments(self) -> Increments | None:
        """Return the oracle by float32 increments for dense measurements of some size."""
        data = self.kernels.increments(kernel_threads()) if self._fits_float32 else None
        return None if data is None else Increments(data)

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum_squares(M(X) - y) / (2N)``."""
        import cvxpy

        return cvxpy.sum_squares(self._map.cvxpy_apply(X) - self.y) / (2.0 * self._map.count)

    def description(self) -> Description:
        """Return the squares of ``<M_i, X> - y_i``."""
        wide = self.in_float64()
        return Description(wide._map.description(), "square", wide._map.count, (wide.y,))

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the residual norm relative to that of the observations."""
        return self._relative(self._map.apply(X))

    def factor_metrics(self, A: Array, B: Array) -> dict[str, float]:
        """Return the same from the measurements of the factors."""
        return self._relative(self._map.apply_factors(A, B))

    def _relative(self, measured: Array) -> dict[str, float]:
        norm = float(np.linalg.norm(self.y))
        residual = float(np.linalg.norm(measured - self.y))
        return {"relative_residual": residual / norm if norm else residual}


def _as_measurements(given: Any, shape: tuple[int, int] | None) -> Measurements:
    """Recognise and check the kind of measurements."""
    if hasattr(given, "tocsr"):
        return as_sparse(given, shape)
    if shape is not None:
        raise ValueError(f"shape: needed for sparse measurements only, got {shown(shape)} with {type(given).__name__}")
    if isinstance(given, tuple):
        return as_rank_one(given)
    if isinstance(given, list) and given and all(hasattr(each, "tocsr") for each in given):
        raise TypeError(
            "measurements: expected one sparse matrix whose row i is M_i row by row, got a list of sparse matrices; "
            "stack them: scipy.sparse.vstack([M.reshape(1, -1) for M in measurements])"
        )
    if isinstance(given, list) and len({each.shape for each in given if isinstance(each, np.ndarray)}) > 1:
        raise TypeError(
            "measurements: expected matrices M_i of one shape, or a tuple (a, b) of vectors in rows, got a list of "
            f"{len(given)} arrays of other shapes"
        )
    M = as_float_array(given, "measurements", 3)
    return DenseMeasurements(np.require(M, requirements=["C", "W"]))
