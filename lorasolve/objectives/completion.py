"""Matrix completion: ``f(X) = ||mask o (X - M)||_F^2 / 2`` over the observed entries."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.threads import kernel_threads
from .._support.validate import Array, as_float_array, as_index_array, as_matrix_shape, as_partial_matrix, shown
from ..linear_map import LinearMap
from ..low_rank import product_entries
from ._description import Description, Entries
from ._kernels import Kernels
from .base import Objective, ObservedPart, PairProduct

# Largest m n for which X is formed: in batched runs, where beyond it the sparse oracle is faster, and outside the runs,
# where products of arrays take no longer than loops and need no compilation.
FORMED = 16_384
# Entries from which compiled products outside of runs are worth their compilation: 2 s, for 0.8 ms at 30,000.
COMPILED = 50_000
# Share of the rows and columns up to which those with entries are looked at alone.
SUPPORT = 0.9
# The largest value observed is within these where float32 is offered.
SMALLEST, LARGEST = 1e-4, 1e4


class MatrixCompletion(Objective):
    """Squared error on observed entries: ``f(X) = sum (X[i, j] - value)^2 / 2``.

    An oracle call costs ``O(nnz r)``. The entries are kept in a row-ordered and a column-ordered copy.

    Parameters
    ----------
    rows, cols : array_like of int, shape (nnz,)
        Positions of the observed entries, each at most once.
    values : array_like of shape (nnz,)
        The observed values.
    shape : (int, int)
        ``(m, n)``.

    Raises
    ------
    ValueError
        For positions outside ``shape``, an entry given twice, non-finite values or empty data.

    Notes
    -----
    All entries weigh alike. With weights of their own they are sparse measurements of :class:`MatrixSensing`.
    """

    name = "completion"
    dtypes = ("float64", "float32")
    summary = "||mask o (X - M)||_F^2 / 2, O(nnz r) per oracle call"
    convex = True
    least_squares = True
    minimizes_factors = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, rows: ArrayLike, cols: ArrayLike, values: ArrayLike, shape: tuple[int, int]) -> None:
        m, n = as_matrix_shape(shape, "shape")
        values = as_float_array(values, "values", 1)
        rows = as_index_array(rows, "rows", m, values.size)
        cols = as_index_array(cols, "cols", n, values.size)
        place = rows * n + cols
        if (place[1:] > place[:-1]).all():
            # The arrays are the caller's, who may write to them.
            cols, values = cols.copy(), values.copy()
        else:
            by_row = _order(cols, n)
            by_row = by_row[_order(rows[by_row], m)]
            cols, values, place = cols[by_row], values[by_row], place[by_row]
            twice = np.flatnonzero(place[1:] == place[:-1])
            if twice.size:
                i, j = divmod(int(place[twice[0]]), n)
                raise ValueError(
                    f"rows, cols: each entry may be given once; [{i}, {j}] is given more than once "
                    f"({twice.size} duplicates in total)"
                )
        del place
        # Positions take half the memory of values where products of them cannot overflow.
        kind = np.int32 if m * n <= np.iinfo(np.int32).max else np.int64
        self._set(_starts(rows, m), cols.astype(kind, copy=False), values, n)

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> MatrixCompletion:
        """Return half of the entries of a 6 x 4 Gaussian matrix."""
        rows, cols = np.divmod(rng.choice(24, 12, replace=False), 4)
        return cls(rows, cols, rng.standard_normal(12).astype(dtype), (6, 4))

    @classmethod
    def from_dense(cls, M: ArrayLike) -> MatrixCompletion:
        """Return completion of a matrix in which NaN stands for what was not observed.

        Parameters
        ----------
        M : array_like of shape (m, n)
            An array or a data frame; None and a masked array's masked entries are not observed either.

        Raises
        ------
        ValueError
            Without any observed entry, or for infinite ones and ragged lists.
        TypeError
            For complex ones, texts and dates, and for a sparse matrix (see :meth:`from_sparse`).
        """
        if hasattr(M, "tocoo"):
            raise TypeError(
                "M: expected an array in which NaN stands for what was not observed, got a sparse matrix; "
                "MatrixCompletion.from_sparse takes the entries that one stores"
            )
        array = as_partial_matrix(M, "M")
        rows, cols = np.nonzero(~np.isnan(array))
        if rows.size == 0:
            raise ValueError("M: has no observed entry, all are NaN")
        return cls(rows, cols, array[rows, cols], array.shape)

    @classmethod
    def from_sparse(cls, M: Any) -> MatrixCompletion:
        """Return completion of a SciPy sparse matrix whose stored entries are the observed ones, zeros among them too.

        Parameters
        ----------
        M : sparse array or matrix of shape (m, n)
            In any format; the dense matrix is not formed.

        Raises
        ------
        ValueError
            For entries stored twice or not finite, and without any.
        TypeError
            For what is no sparse matrix, and for complex entries.
        """
        if not hasattr(M, "tocoo"):
            raise TypeError(f"M: expected a SciPy sparse matrix, got {shown(M)}; from_dense takes an array with NaN")
        stored = M.tocoo()
        if stored.ndim != 2:
            raise ValueError(f"M: expected a matrix, got a sparse array of shape {stored.shape}")
        return cls(stored.row, stored.col, stored.data, stored.shape)

    def _set(self, row_start: Array, cols: Array, values: Array, n: int) -> None:
        self.shape = (row_start.size - 1, n)
        self.dtype = values.dtype
        self.row_start, self.cols, self.values = row_start, cols, values

    @property
    def nnz(self) -> int:
        """Number of observed entries."""
        return self.values.size

    @property
    def _is_formed(self) -> bool:
        return self.shape[0] * self.shape[1] <= FORMED

    # What only some methods need is made when they ask: it is as large as the data.
    @cached_property
    def rows(self) -> Array:
        """The row of each entry."""
        return _rows(self.row_start, self.cols.dtype)

    @cached_property
    def _by_col(self) -> Array:
        """The entries in the order of columns, then rows."""
        return _order(self.cols, self.shape[1]).astype(self.cols.dtype, copy=False)

    @cached_property
    def col_start(self) -> Array:
        """Where each column starts in that order."""
        return _starts(self.cols, self.shape[1])

    @cached_property
    def rows_by_col(self) -> Array:
        """The row of each entry in that order."""
        return self.rows[self._by_col]

    @cached_property
    def values_by_col(self) -> Array:
        """The observed values in that order."""
        return self.values[self._by_col]

    @cached_property
    def support(self) -> tuple[Array, Array] | None:
        """The numbers of the rows and columns that have entries, None where that is nearly all of them."""
        rows = np.flatnonzero(np.diff(self.row_start))
        cols = np.flatnonzero(np.bincount(self.cols, minlength=self.shape[1]))
        return None if rows.size + cols.size > SUPPORT * sum(self.shape) else (rows, cols)

    def observed_part(self) -> ObservedPart | None:
        """Return the same entries in a matrix of the rows and columns of the support."""
        # A subclass may see more than its entries.
        return self._observed_part if type(self) is MatrixCompletion else None

    @cached_property
    def _observed_part(self) -> ObservedPart | None:
        if self.support is None:
            return None
        rows, cols = self.support
        number = np.zeros(self.shape[1], self.cols.dtype)
        number[cols] = np.arange(cols.size)
        made = MatrixCompletion.__new__(MatrixCompletion)
        made._set(np.append(self.row_start[rows], self.nnz), number[self.cols], self.values, cols.size)
        return ObservedPart(made, rows, cols)

    # ------------------------------------------------------------------ dense level
    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``mask o (X - M)``."""
        residual = X[self.rows, self.cols] - self.values
        G = np.zeros(self.shape, dtype=residual.dtype)
        G[self.rows, self.cols] = residual
        return 0.5 * float(np.vdot(residual, residual)), G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``mask o D``."""
        H = np.zeros_like(D)
        H[self.rows, self.cols] = D[self.rows, self.cols]
        return H

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A``; return ``f``."""
        from ..kernels.evaluate import evaluate

        rank = A.shape[1]
        if A.dtype != self.dtype:
            return evaluate(self.kernels.entries(rank, kernel_threads(), A.dtype), A, B, GB, GtA)
        taken = self.kernels.take(rank)
        f = evaluate(taken[1], A, B, GB, GtA)
        self.kernels.put_back(taken)
        return f

    def factor_value(self, A: Array, B: Array) -> float:
        """Return ``f``, a third of the work of the oracle."""
        residual = self._residual(A, B)
        return 0.5 * float(np.vdot(residual, residual))

    def hessian_at(self, A: Array, B: Array) -> PairProduct:
        """Return ``H B + G V`` and ``H^T A + G^T U`` with ``H = mask o (U B^T + A V^T)``."""
        G = self.sparse(self.at_entries(A, B) - self.values)

        def product(U: Array, V: Array) -> tuple[Array, Array]:
            H = self.sparse(self.at_entries(np.hstack([U, A]), np.hstack([B, V])))
            return H.matmat(B) + G.matmat(V), H.rmatmat(A) + G.rmatmat(U)

        return product

    def factor_diagonal(self, A: Array, B: Array) -> tuple[Array, Array]:
        """Return the diagonal: for row i the sum of ``b_j^2`` over its entries, and likewise for columns."""
        mask = self.sparse(np.ones(self.nnz, A.dtype))
        return mask.matmat(B * B), mask.rmatmat(A * A)

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return the sparse residual ``mask o (A B^T - M)``."""
        return self.sparse(self._residual(A, B))

    def oracle_and_operator(self, A: Array, B: Array) -> tuple[float, Array, Array, LinearMap]:
        """Return ``f``, ``G B``, ``G^T A`` and ``G`` from one residual."""
        residual = self._residual(A, B)
        G = self.sparse(residual)
        return 0.5 * float(np.vdot(residual, residual)), G.matmat(B), G.rmatmat(A), G

    def _residual(self, A: Array, B: Array) -> Array:
        """Return ``A B^T - M`` at the observed entries, in float64."""
        residual = self.at_entries(A.astype(np.float64, copy=False), B.astype(np.float64, copy=False))
        residual -= self.values
        return residual

    def at_entries(self, A: Array, B: Array) -> Array:
        """Return ``(A B^T)[i, j]`` at the observed entries, row by row."""
        if self._is_formed:
            return (A @ B.T)[self.rows, self.cols]
        if self.nnz < COMPILED:
            return product_entries(A, B, self.rows, self.cols)
        from ..kernels import completion

        cut = completion.blocks(self.row_start, kernel_threads())
        A, B = (np.require(factor, np.result_type(A, B), ["C", "W"]) for factor in (A, B))
        return _compiled().entries(self.row_start, self.cols, cut, A, B)

    def sparse(self, data: Array) -> LinearMap:
        """Return the matrix with these numbers at the observed entries."""
        if self._is_formed:
            full = np.zeros(self.shape, data.dtype)
            full[self.rows, self.cols] = data
            return LinearMap.from_dense(full)
        if self.nnz < COMPILED:
            matrix = self.sparse_array(data)
            return LinearMap(
                self.shape,
                lambda V: matrix @ V.astype(data.dtype, copy=False),
                lambda U: matrix.T @ U.astype(data.dtype, copy=False),
                support=self.support,
            )
        from ..kernels import completion

        cut = completion.blocks(self.row_start, kernel_threads())

        def product(V: Array) -> Array:
            V = np.require(V, data.dtype, ["C", "W"])
            return _compiled().product(self.row_start, self.cols, data, cut, V)

        def transposed_product(U: Array) -> Array:
            U = np.require(U, data.dtype, ["C", "W"])
            return _compiled().transposed_product(self.row_start, self.cols, data, cut, U, self.shape[1])

        return LinearMap(self.shape, product, transposed_product, support=self.support)

    def sparse_array(self, data: Array) -> Any:
        """Return the same as a sparse array of SciPy."""
        from scipy.sparse import csr_array

        return csr_array((data, self.cols, self.row_start), shape=self.shape)

    @cached_property
    def kernels(self) -> _Kernels:
        """The compiled oracle over the observed entries, and batches."""
        return _Kernels(self.row_start, self.cols, self.values, self.shape)

    # ------------------------------------------------------------------ what some methods need
    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return the row-wise ridge solutions; a row without entries is zero (one half of an ALS epoch)."""
        return _half_epoch(self.row_start, self.cols, self.values, B, lam)

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return the column-wise ridge solutions; a column without entries is zero."""
        return _half_epoch(self.col_start, self.rows_by_col, self.values_by_col, A, lam)

    def merged(self, update: Array) -> Objective:
        """Return completion of ``M - update``."""
        return self._with((self.values - update[self.rows, self.cols]).astype(self.dtype))

    def in_float64(self) -> MatrixCompletion:
        """Return completion of the same entries in float64."""
        return self if self.dtype == np.float64 else self._with(self.values.astype(np.float64))

    def in_float32(self) -> MatrixCompletion | None:
        """Return completion of the same entries in float32, whose oracle moves half the bytes.

        None where squares of gradients might leave the range of float32.
        """
        if self.dtype == np.float32:
            return self
        fits = SMALLEST <= float(np.abs(self.values).max()) <= LARGEST
        return self._with(self.values.astype(np.float32)) if fits else None

    def _with(self, values: Array) -> MatrixCompletion:
        """Return completion of other values at the same positions, whose arrays the two share."""
        made = MatrixCompletion.__new__(MatrixCompletion)
        made._set(self.row_start, self.cols, values, self.shape[1])
        return made

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum_squares(X[rows, cols] - values) / 2``."""
        import cvxpy

        return 0.5 * cvxpy.sum_squares(X[self.rows, self.cols] - self.values)

    def description(self) -> Description:
        """Return the squares of the observed entries of ``X - M``."""
        observed = Entries(self.nnz, np.arange(self.nnz), self.rows * self.shape[1] + self.cols, np.ones(self.nnz))
        return Description(observed, "square", shifts=(self.values.astype(np.float64),))

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the root mean squared error on the observed entries."""
        return {"rmse": float(np.sqrt(2.0 * self.value_and_grad(X)[0] / self.nnz))}

    def factor_metrics(self, A: Array, B: Array) -> dict[str, float]:
        """Return the same from the factors at the entries alone."""
        return {"rmse": float(np.sqrt(2.0 * self.factor_value(A, B) / self.nnz))}


class _Kernels(Kernels):
    threaded = True

    def __init__(self, row_start: Array, cols: Array, values: Array, shape: tuple[int, int]) -> None:
        self.row_start, self.cols, self.values, self.shape = row_start, cols, values, shape

    def data(self, rank: int, threads: int) -> Any:
        """Return the data of the compiled oracle."""
        return self.entries(rank, threads, self.values.dtype)

    def entries(self, rank: int, threads: int, dtype: Any) -> Any:
        """Return kernel data in a type."""
        values = self.values.astype(dtype, copy=False)
        return _compiled().data(self.row_start, self.cols, values, self.shape[1], rank, threads)

    def quadratic(self) -> Any:
        """Return the coefficients for batched runs up to ``FORMED`` entries of ``X``; the Hessian is the mask."""
        m, n = self.shape
        if m * n > FORMED:
            return None
        from ..kernels import batch

        mask, target = np.zeros((2, m * n), self.values.dtype)
        place = _rows(self.row_start, np.int64) * n + self.cols
        mask[place], target[place] = 1.0, self.values
        return batch.Quadratic(batch.ENTRYWISE, mask, target, 0.5 * float(np.vdot(target, target)))


def _compiled() -> Any:
    """Return the kernels, with vector lanes where the processor has them."""
    from ..kernels import completion, completion_lanes, simd

    return completion_lanes if simd.available() else completion


def _half_epoch(start: Array, index: Array, values: Array, other: Array, lam: float) -> Array:
    """Solve one ridge regression per row; rows whose normal matrix is singular by the pseudo-inverse."""
    from ..kernels import completion, completion_lanes, simd

    other = np.require(other, requirements=["C", "W"])
    values = values.astype(other.dtype, copy=False)
    kind = completion_lanes if other.shape[1] <= simd.WIDTH and simd.available() else completion
    solution = np.empty((start.size - 1, other.shape[1]), dtype=other.dtype)
    threads = 1 if completion.one_thread(values.size, other.shape[1]) else kernel_threads()
    cut = completion.blocks(start, threads)
    singular = kind.half_epoch(start, index, values, other, other.dtype.type(lam), solution, cut)
    for i in np.flatnonzero(singular):
        entries = slice(start[i], start[i + 1])
        chosen = other[index[entries]]
        solution[i] = np.linalg.lstsq(chosen, values[entries], rcond=None)[0] if chosen.size else 0.0
    return solution


def _rows(row_start: Array, kind: Any) -> Array:
    """Return the row of each entry."""
    return np.repeat(np.arange(row_start.size - 1, dtype=kind), np.diff(row_start))


def _order(positions: Array, count: int) -> Array:
    """Return the stable order of numbers from 0 to below ``count``.

    NumPy sorts numbers of 16 bits by counting, in a fifth of the time that larger ones take it.
    """
    order = np.argsort((positions & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in range(16, (count - 1).bit_length(), 16):
        order = order[np.argsort((positions[order] >> shift & 0xFFFF).astype(np.uint16), kind="stable")]
    return order


def _starts(positions: Array, count: int) -> Array:
    """Return where each row of sorted or unsorted ``positions`` starts once they are in order."""
    starts = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(positions, minlength=count), out=starts[1:])
    return starts
