"""Sparse measurements: one sparse row of m n entries each."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.validate import Array, as_matrix_shape, as_own_array
from ..linear_map import LinearMap
from ._description import Entries
from ._measurements import Measurements, ridge, squared_norm


class SparseMeasurements(Measurements):
    """A sparse matrix restricted to the entries of ``X`` that any measurement touches."""

    kind = "sparse"

    def __init__(self, M: Any, rows: Array, cols: Array, shape: tuple[int, int]) -> None:
        self.M = M
        self.Mt = M.T.tocsr()
        self.rows, self.cols = rows, cols
        self.count = M.shape[0]
        self.shape = shape
        self.dtype = M.dtype

    def astype(self, dtype: Any) -> SparseMeasurements:
        return SparseMeasurements(self.M.astype(dtype), self.rows, self.cols, self.shape)

    def take(self, index: Array) -> SparseMeasurements:
        return SparseMeasurements(self.M[index], self.rows, self.cols, self.shape)

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

    @property
    def _measures_entries(self) -> bool:
        """Whether each measures one entry at most, as weighted ratings do."""
        return bool(np.diff(self.M.indptr).max() <= 1)

    def minimize_over_A(self, B: Array, y: Array, lam: float) -> Array:
        if not self._measures_entries:
            return super().minimize_over_A(B, y, lam)
        return self._minimize_by_lines(self.rows, self.shape[0], B[self.cols], y, lam)

    def minimize_over_B(self, A: Array, y: Array, lam: float) -> Array:
        if not self._measures_entries:
            return super().minimize_over_B(A, y, lam)
        return self._minimize_by_lines(self.cols, self.shape[1], A[self.rows], y, lam)

    def _minimize_by_lines(self, position: Array, length: int, other: Array, y: Array, lam: float) -> Array:
        """Return a factor whose rows have no measurement in common: each is a ridge solution by itself."""
        place = self.M.indices
        design = self.M.data[:, None] * other[place]
        y = y[np.diff(self.M.indptr) == 1]
        order = np.argsort(position[place], kind="stable")
        ends = np.cumsum(np.bincount(position[place], minlength=length))
        found = np.zeros((length, other.shape[1]))
        for row, part in zip(found, np.split(order, ends[:-1])):
            if part.size:
                row[:] = ridge(design[part], y[part], lam * self.count / part.size)
        return found

    def squared_norm(self) -> float:
        squares = self.M.astype(np.float64, copy=False).power(2)
        # Where each measures one entry, or no two the same, the singular values are the lengths of columns or rows,
        # often so close to each other that an iteration takes minutes.
        if self._measures_entries:
            return float(squares.sum(axis=0).max())
        if np.bincount(self.M.indices).max() <= 1:
            return float(squares.sum(axis=1).max())
        return squared_norm(LinearMap(self.M.shape, lambda V: self.M @ V, lambda U: self.Mt @ U), self.M.data)

    def description(self) -> Entries:
        output = np.repeat(np.arange(self.count), np.diff(self.M.indptr))
        touched = self.rows * self.shape[1] + self.cols
        return Entries(self.count, output, touched[self.M.indices], self.M.data)

    def cvxpy_apply(self, X: Any) -> Any:
        import cvxpy
        import scipy.sparse

        m, n = self.shape
        place = self.rows * n + self.cols
        pick = scipy.sparse.csr_array((np.ones(place.size), (np.arange(place.size), place)), (place.size, m * n))
        return (self.M @ pick) @ cvxpy.vec(X, order="C")


def as_sparse(given: Any, shape: tuple[int, int] | None) -> SparseMeasurements:
    """Check a sparse N x (m n) matrix and drop the columns that no measurement touches."""
    if shape is None:
        raise ValueError("shape: sparse measurements need shape=(m, n), got None")
    m, n = as_matrix_shape(shape, "shape")
    if len(given.shape) != 2:
        raise ValueError(f"measurements: expected 2 dimensions, got shape {given.shape}")
    if hasattr(given, "check_format"):
        try:
            given.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"measurements: is no valid sparse matrix ({error})") from error
    if given.dtype.kind in "iu":
        given = given.astype(np.float64)  # before entries given twice are added up, which small types do not hold
    M = given.tocsr()
    if M.shape[1] != m * n:
        raise ValueError(f"shape: (m, n) = {shape!r} does not fit sparse measurements of {M.shape[1]} columns")
    if not M.has_canonical_format:
        # Summed in place; the matrix of the caller, which tocsr() may return, stays as it is.
        M = M.copy()
        M.sum_duplicates()
    if M.shape[0] == 0 or M.nnz == 0:
        raise ValueError(f"measurements: is empty ({M.shape[0]} rows, {M.nnz} stored entries)")
    data = as_own_array(M.data, "measurements", 1)
    touched, local = np.unique(M.indices, return_inverse=True)
    M = type(M)((data, local.reshape(-1), M.indptr), shape=(M.shape[0], touched.size))
    rows, cols = np.divmod(touched.astype(np.int64), n)
    return SparseMeasurements(M, rows, cols, (m, n))
