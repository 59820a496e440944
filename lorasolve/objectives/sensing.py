"""Matrix sensing: ``f(X) = sum_i (<M_i, X> - y_i)^2 / (2N)`` with dense, rank-one or sparse measurements."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._validate import Array, as_float_array, as_shape
from ..linear_map import LinearMap, top_singular
from .base import Objective

# Up to this many rank-one measurements the N x N Gram matrix of the measurements is formed for the smoothness.
GRAM_LIMIT = 4096

# Largest m n for which batched runs use the dense Hessian; beyond, it no longer fits the caches.
BATCH_LIMIT = 1200


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
    attained whenever the measurements are independent.
    """

    name = "sensing"
    summary = "sum (<M_i, X> - y_i)^2 / (2N), dense, rank-one or sparse measurements"
    convex = True
    least_squares = True
    minimizes_factors = True
    lower_bound = 0.0

    def __init__(self, measurements: Any, y: ArrayLike, shape: tuple[int, int] | None = None) -> None:
        self._map = _as_measurements(measurements, shape)
        self.kind = self._map.kind
        self.shape = self._map.shape
        self.y = as_shape(as_float_array(y, "y", 1), "y", (self._map.count,))
        self.dtype = np.result_type(self._map.dtype, self.y)
        if self._map.dtype != self.dtype:
            self._map = self._map.astype(self.dtype)
        self.y = np.require(self.y.astype(self.dtype, copy=False), requirements=["C", "W"])
        self.n_samples = self._map.count
        self.compiled_oracle = self.kind == "dense"

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> MatrixSensing:
        """Return 20 dense Gaussian measurements of a 6 x 4 matrix."""
        return cls(rng.standard_normal((20, 6, 4)).astype(dtype), rng.standard_normal(20).astype(dtype))

    @cached_property
    def smoothness(self) -> float:  # type: ignore[override]
        """``||M||_2^2 / N`` of the N x (m n) measurement matrix (rank-one beyond ``GRAM_LIMIT``: a bound)."""
        return self._map.squared_norm() / self._map.count

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

        return evaluate(self.oracle_data(A.shape[1]), A, B, GB, GtA)

    def factor_hvp(self, A: Array, B: Array, U: Array, V: Array) -> tuple[Array, Array]:
        """Return ``H B + G V`` and ``H^T A + G^T U``."""
        if self._takes(A):
            G, H = self._gradient(A @ B.T, self.y), self._gradient(U @ B.T + A @ V.T, np.zeros_like(self.y))
            return H @ B + G @ V, H.T @ A + G.T @ U
        N = self._map.count
        left = self._map.combination((self._map.apply_factors(A, B) - self.y) / N)
        right = self._map.combination((self._map.apply_factors(U, B) + self._map.apply_factors(A, V)) / N)
        return right.matmat(B) + left.matmat(V), right.rmatmat(A) + left.rmatmat(U)

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``sum_i residual_i M_i / N``: dense, a product of three, or a sparse matrix."""
        A, B = A.astype(np.float64, copy=False), B.astype(np.float64, copy=False)
        if self._takes(A):
            return LinearMap.from_dense(self._gradient(A @ B.T, self.y))
        return self._map.combination((self._map.apply_factors(A, B) - self.y) / self._map.count)

    def _takes(self, A: Array) -> bool:
        """Return whether there are kernels for these measurements in the type of the factor."""
        return self.compiled_oracle and A.dtype == self.dtype

    def _gradient(self, X: Array, y: Array) -> Array:
        """Return ``sum_i (<M_i, X> - y_i) M_i / N`` from one pass over dense measurements."""
        from ..kernels import sensing

        G = np.empty(self.shape, self.dtype)
        sensing.gradient(self.oracle_data(1), np.ascontiguousarray(X), y, G)
        return G

    def kernel_data(self, rank: int, threads: int) -> Any:
        """Return the data of the compiled oracle (dense measurements only)."""
        if not isinstance(self._map, _Dense):
            return None
        from ..kernels import sensing

        return sensing.data(self._map.flat, self.y, self.shape, threads)

    def mixed_kernel_data(self, rank: int, threads: int) -> Any:
        """Return the data for float32 increments of a float64 problem (dense measurements only)."""
        exact = self.kernel_data(rank, threads)
        if exact is None or self.dtype != np.float64:
            return None
        from ..kernels import sensing

        return sensing.mixed_data(exact, self._single, rank)

    @cached_property
    def _single(self) -> Array:
        """The dense measurements in float32, kept for further runs."""
        from ..kernels.simd import in_single

        return in_single(self._map.flat)  # type: ignore[attr-defined]

    def quadratic(self) -> Any:
        """Return the coefficients for batched runs: the dense Hessian ``M^T M / N`` (dense measurements only)."""
        m, n = self.shape
        if not isinstance(self._map, _Dense) or m * n > BATCH_LIMIT:
            return None
        from ..kernels import batch

        M, N = self._map.flat, self._map.count
        H = M.T @ M
        H /= N
        return batch.Quadratic(batch.DENSE, batch.panels(H), (self.y @ M) / N, 0.5 * float(np.vdot(self.y, self.y)) / N)

    # ------------------------------------------------------------------ what some methods need
    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return the ridge solution over ``A``: N equations in m r unknowns."""
        return _ridge(self._map.design_A(B), self.y, lam).reshape(self.shape[0], -1)

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return the ridge solution over ``B``: N equations in n r unknowns."""
        return _ridge(self._map.design_B(A), self.y, lam).reshape(self.shape[1], -1)

    def sample_batch(self, index: Array) -> Objective:
        """Return the objective on the measurements ``index``."""
        return self._with(self._map.take(index), self.y[index])

    def merged(self, update: Array) -> Objective:
        """Return the objective with observations ``y_i - <M_i, update>``."""
        return self._with(self._map, (self.y - self._map.apply(update)).astype(self.dtype))

    def _with(self, measurements: _Measurements, y: Array) -> MatrixSensing:
        made = MatrixSensing.__new__(MatrixSensing)
        made._map, made.kind, made.shape, made.dtype = measurements, self.kind, self.shape, self.dtype
        made.y, made.n_samples, made.compiled_oracle = y, measurements.count, self.compiled_oracle
        return made

    def in_float64(self) -> MatrixSensing:
        """Return the same measurements in float64."""
        if self.dtype == np.float64:
            return self
        made = self._with(self._map.astype(np.float64), self.y.astype(np.float64))
        made.dtype = made._map.dtype
        return made

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum_squares(M(X) - y) / (2N)``."""
        import cvxpy

        return cvxpy.sum_squares(self._map.cvxpy_apply(X) - self.y) / (2.0 * self._map.count)

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the residual norm relative to that of the observations."""
        norm = float(np.linalg.norm(self.y))
        residual = float(np.linalg.norm(self._map.apply(X) - self.y))
        return {"relative_residual": residual / norm if norm else residual}


class _Measurements:
    """The linear map ``X -> (<M_i, X>)_i`` in one kind of storage."""

    kind: str
    count: int
    shape: tuple[int, int]
    dtype: Any

    def astype(self, dtype: Any) -> _Measurements:
        raise NotImplementedError

    def take(self, index: Array) -> _Measurements:
        """Return the measurements ``index``."""
        raise NotImplementedError

    def apply(self, X: Array) -> Array:
        """Return ``<M_i, X>`` (N,)."""
        raise NotImplementedError

    def adjoint(self, w: Array) -> Array:
        """Return ``sum_i w_i M_i`` (m, n)."""
        raise NotImplementedError

    def apply_factors(self, A: Array, B: Array) -> Array:
        """Return ``<M_i, A B^T>`` (N,)."""
        return self.apply(A @ B.T)

    def combination(self, w: Array) -> LinearMap:
        """Return ``sum_i w_i M_i`` through its products, in the precision of ``w``."""
        raise NotImplementedError

    def factor_oracle(self, A: Array, B: Array, y: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A`` for ``G = sum_i (<M_i, A B^T> - y_i) M_i / N``; return the mean loss."""
        residual = self.apply_factors(A, B) - y
        G = self.combination(residual / self.count)
        GB[:] = G.matmat(B)
        GtA[:] = G.rmatmat(A)
        return 0.5 * float(np.vdot(residual, residual)) / self.count

    def design_A(self, B: Array) -> Array:
        """Return the N x (m r) matrix of ``A -> <M_i, A B^T>``."""
        raise NotImplementedError

    def design_B(self, A: Array) -> Array:
        """Return the N x (n r) matrix of ``B -> <M_i, A B^T>``."""
        raise NotImplementedError

    def squared_norm(self) -> float:
        """Return ``||M||_2^2`` of the N x (m n) matrix, or a bound on it."""
        raise NotImplementedError

    def cvxpy_apply(self, X: Any) -> Any:
        """Return ``<M_i, X>`` as a cvxpy expression."""
        raise NotImplementedError


class _Dense(_Measurements):
    kind = "dense"

    def __init__(self, M: Array) -> None:
        self.M = M
        self.count = M.shape[0]
        self.shape = (M.shape[1], M.shape[2])
        self.dtype = M.dtype
        self.flat = M.reshape(self.count, -1)

    def astype(self, dtype: Any) -> _Dense:
        return _Dense(self.M.astype(dtype))

    def take(self, index: Array) -> _Dense:
        return _Dense(self.M[index])

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
        return _top(LinearMap.from_dense(self.flat)) ** 2

    def cvxpy_apply(self, X: Any) -> Any:
        import cvxpy

        return self.flat @ cvxpy.vec(X, order="C")


class _RankOne(_Measurements):
    """``M_i = a_i b_i^T``: ``<M_i, A B^T> = <A^T a_i, B^T b_i>``."""

    kind = "rank-one"

    def __init__(self, a: Array, b: Array) -> None:
        self.a, self.b = a, b
        self.count = a.shape[0]
        self.shape = (a.shape[1], b.shape[1])
        self.dtype = a.dtype

    def astype(self, dtype: Any) -> _RankOne:
        return _RankOne(self.a.astype(dtype), self.b.astype(dtype))

    def take(self, index: Array) -> _RankOne:
        return _RankOne(self.a[index], self.b[index])

    def apply(self, X: Array) -> Array:
        return np.einsum("ij,ij->i", self.a @ X, self.b)

    def adjoint(self, w: Array) -> Array:
        return (self.a * w[:, None]).T @ self.b

    def apply_factors(self, A: Array, B: Array) -> Array:
        return np.einsum("ij,ij->i", self.a @ A, self.b @ B)

    def combination(self, w: Array) -> LinearMap:
        column = w[:, None]
        return LinearMap(
            self.shape,
            lambda V: self.a.T @ (column * (self.b @ V)),
            lambda U: self.b.T @ (column * (self.a @ U)),
        )

    def factor_oracle(self, A: Array, B: Array, y: Array, GB: Array, GtA: Array) -> float:
        aA, bB = self.a @ A, self.b @ B
        residual = np.einsum("ij,ij->i", aA, bB) - y
        weight = (residual / self.count)[:, None]
        np.matmul(self.a.T, weight * bB, out=GB)
        np.matmul(self.b.T, weight * aA, out=GtA)
        return 0.5 * float(np.vdot(residual, residual)) / self.count

    def design_A(self, B: Array) -> Array:
        return (self.a[:, :, None] * (self.b @ B)[:, None, :]).reshape(self.count, -1)

    def design_B(self, A: Array) -> Array:
        return (self.b[:, :, None] * (self.a @ A)[:, None, :]).reshape(self.count, -1)

    def squared_norm(self) -> float:
        """The largest eigenvalue of ``(a a^T) * (b b^T)``, or Schur's bound ``max_i ||a_i||^2 ||b||_2^2``."""
        a, b = self.a.astype(np.float64, copy=False), self.b.astype(np.float64, copy=False)
        if self.count <= GRAM_LIMIT:
            gram = a @ a.T
            gram *= b @ b.T
            return _top(LinearMap.from_dense(gram))
        lengths_a, lengths_b = (float(np.einsum("ij,ij->i", c, c).max()) for c in (a, b))
        norm_a, norm_b = (float(np.linalg.norm(c.T @ c, 2)) for c in (a, b))
        return min(lengths_a * norm_b, lengths_b * norm_a)

    def cvxpy_apply(self, X: Any) -> Any:
        import cvxpy

        return cvxpy.sum(cvxpy.multiply(self.a @ X, self.b), axis=1)


class _Sparse(_Measurements):
    """A sparse matrix restricted to the entries of ``X`` that any measurement touches."""

    kind = "sparse"

    def __init__(self, M: Any, rows: Array, cols: Array, shape: tuple[int, int]) -> None:
        self.M = M
        self.Mt = M.T.tocsr()
        self.rows, self.cols = rows, cols
        self.count = M.shape[0]
        self.shape = shape
        self.dtype = M.dtype

    def astype(self, dtype: Any) -> _Sparse:
        return _Sparse(self.M.astype(dtype), self.rows, self.cols, self.shape)

    def take(self, index: Array) -> _Sparse:
        return _Sparse(self.M[index], self.rows, self.cols, self.shape)

    def apply(self, X: Array) -> Array:
        return self.M @ X[self.rows, self.cols]

    def adjoint(self, w: Array) -> Array:
        return self._matrix(w).toarray()

    def apply_factors(self, A: Array, B: Array) -> Array:
        return self.M @ np.einsum("ij,ij->i", A[self.rows], B[self.cols])

    def _matrix(self, w: Array) -> Any:
        import scipy.sparse

        return scipy.sparse.csr_array((self.Mt @ w, (self.rows, self.cols)), shape=self.shape)

    def combination(self, w: Array) -> LinearMap:
        G = self._matrix(w)
        Gt = G.T.tocsr()
        return LinearMap(self.shape, lambda V: G @ V, lambda U: Gt @ U)

    def design_A(self, B: Array) -> Array:
        return self._design(self.rows, self.shape[0], B[self.cols])

    def design_B(self, A: Array) -> Array:
        return self._design(self.cols, self.shape[1], A[self.rows])

    def _design(self, position: Array, length: int, other: Array) -> Array:
        import scipy.sparse

        touched, r = other.shape
        spread = scipy.sparse.csr_array(
            (
                other.ravel(),
                (position[:, None] * r + np.arange(r)).ravel(),
                np.arange(0, touched * r + 1, r),
            ),
            shape=(touched, length * r),
        )
        return (self.M @ spread).toarray()

    def squared_norm(self) -> float:
        return _top(LinearMap(self.M.shape, lambda V: self.M @ V, lambda U: self.Mt @ U)) ** 2

    def cvxpy_apply(self, X: Any) -> Any:
        import cvxpy
        import scipy.sparse

        m, n = self.shape
        place = self.rows * n + self.cols
        pick = scipy.sparse.csr_array((np.ones(place.size), (np.arange(place.size), place)), (place.size, m * n))
        return (self.M @ pick) @ cvxpy.vec(X, order="C")


def _as_measurements(given: Any, shape: tuple[int, int] | None) -> _Measurements:
    """Recognise and check the kind of measurements."""
    if hasattr(given, "tocsr"):
        return _sparse(given, shape)
    if shape is not None:
        raise ValueError(f"shape: needed for sparse measurements only, got {shape!r} with {type(given).__name__}")
    if isinstance(given, tuple):
        if len(given) != 2:
            raise ValueError(f"measurements: a tuple must be the pair (a, b), got {len(given)} parts")
        a, b = as_float_array(given[0], "measurements[0]", 2), as_float_array(given[1], "measurements[1]", 2)
        if a.shape[0] != b.shape[0]:
            raise ValueError(
                f"measurements: the vectors of a pair must be equally many, got {a.shape[0]} and {b.shape[0]}"
            )
        dtype = np.result_type(a, b)
        return _RankOne(a.astype(dtype, copy=False), b.astype(dtype, copy=False))
    M = as_float_array(given, "measurements", 3)
    return _Dense(np.require(M, requirements=["C", "W"]))


def _sparse(given: Any, shape: tuple[int, int] | None) -> _Sparse:
    """Check a sparse N x (m n) matrix and drop the columns that no measurement touches."""
    if shape is None or len(shape) != 2:
        raise ValueError(f"shape: sparse measurements need shape=(m, n), got {shape!r}")
    m, n = int(shape[0]), int(shape[1])
    M = given.tocsr()
    if m < 1 or n < 1 or M.shape[1] != m * n:
        raise ValueError(f"shape: (m, n) = {shape!r} does not fit sparse measurements of {M.shape[1]} columns")
    M.sum_duplicates()
    if M.shape[0] == 0 or M.nnz == 0:
        raise ValueError(f"measurements: is empty ({M.shape[0]} rows, {M.nnz} stored entries)")
    M.data = as_float_array(M.data, "measurements", 1)
    touched, local = np.unique(M.indices, return_inverse=True)
    M = type(M)((M.data, local.reshape(-1), M.indptr), shape=(M.shape[0], touched.size))
    rows, cols = np.divmod(touched.astype(np.int64), n)
    return _Sparse(M, rows, cols, (m, n))


def _ridge(D: Array, y: Array, lam: float) -> Array:
    """Return the least-norm minimiser of ``||D x - y||^2 / (2N) + (lam/2) ||x||^2``."""
    N, size = D.shape
    if lam == 0.0:
        return np.linalg.lstsq(D, y, rcond=None)[0]
    if size <= N:
        gram = D.T @ D
        gram[np.diag_indices(size)] += N * lam
        return np.linalg.solve(gram, D.T @ y)
    gram = D @ D.T
    gram[np.diag_indices(N)] += N * lam
    return D.T @ np.linalg.solve(gram, y)


def _top(operator: LinearMap) -> float:
    """Return the largest singular value."""
    return float(top_singular(operator).values[0])
