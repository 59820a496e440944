"""What every kind of linear measurements answers (``sensing.py``)."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .._support.validate import Array
from ..dense import top_eigenvalue
from ..linear_map import LinearMap
from ..singular_triplets import top_singular
from ._description import Entries, Matrix, Outer
from ._kernels import Kernels

# Numbers of measurements (or of entries, if these are fewer) up to which their Gram matrix is formed.
GRAM_LIMIT = 4096


class Measurements:
    """The linear map ``X -> (<M_i, X>)_i`` in one kind of storage."""

    kind: str
    count: int
    shape: tuple[int, int]
    dtype: Any

    @property
    def is_unchanged(self) -> bool:
        """Whether nobody has written to the measurements since a constant was formed of them; so where they are own."""
        return True

    def astype(self, dtype: Any) -> Measurements:
        raise NotImplementedError

    def in_float32(self) -> Measurements | None:
        """Return the measurements in float32 if passes over those are faster; None by default."""
        return None

    @property
    def fits_float32(self) -> bool:
        """Whether gradients in float32 have squares within its range; False where nothing is evaluated in it."""
        return False

    def take(self, index: Array) -> Measurements:
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

    def minimize_over_A(self, B: Array, y: Array, lam: float) -> Array:
        """Return the ridge solution over ``A`` for observations ``y``: N equations in m r unknowns."""
        return ridge(self.design_A(B), y, lam).reshape(self.shape[0], -1)

    def minimize_over_B(self, A: Array, y: Array, lam: float) -> Array:
        """Return the ridge solution over ``B`` for observations ``y``: N equations in n r unknowns."""
        return ridge(self.design_B(A), y, lam).reshape(self.shape[1], -1)

    def squared_norm(self) -> float:
        """Return ``||M||_2^2`` of the N x (m n) matrix, or a bound on it."""
        raise NotImplementedError

    def rank_one_squared_norm(self) -> float | None:
        """Return a bound on ``sum_i (u^T M_i v)^2`` for unit ``u``, ``v``; None where :meth:`squared_norm` is cheap."""
        return None

    def mean_square(self) -> float | None:
        """Return the mean of the squares of all numbers, about; None where products with the map are cheap."""
        return None

    def description(self) -> Entries | Matrix | Outer:
        """Return the map as plain data."""
        raise NotImplementedError

    def cvxpy_apply(self, X: Any) -> Any:
        """Return ``<M_i, X>`` as a cvxpy expression."""
        raise NotImplementedError

    def kernels(self, y: Array) -> Kernels:
        """Return the compiled answers of the loss with observations ``y``, none by default."""
        return Kernels()


def gram_norm(gram: Array) -> float | None:
    """Return the largest eigenvalue of a Gram matrix; None if its squares may have left the range of floats."""
    return top_eigenvalue(gram) if 1e-200 < np.trace(gram) < 1e200 else None


def squared_norm(M: LinearMap, data: Array) -> float:
    """Return ``||M||_2^2`` by an iteration.

    Its start is drawn from the data: the top of a matrix that is orthogonal to the start is not seen, and nobody can
    have made the data so that it is.
    """
    seed = hashlib.blake2b(np.ascontiguousarray(data).data, digest_size=16).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    return float(top_singular(M, rng=rng).values[0]) ** 2


def ridge(D: Array, y: Array, lam: float) -> Array:
    """Return the least-norm minimiser of ``||D x - y||^2 / (2N) + (lam/2) ||x||^2``.

    Gram matrices, which square the condition of ``D``, are formed in float64.
    """
    N, size = D.shape
    if lam == 0.0:
        return np.linalg.lstsq(D, y, rcond=None)[0]
    D = D.astype(np.float64, copy=False)
    if size <= N:
        gram = D.T @ D
        gram[np.diag_indices(size)] += N * lam
        return np.linalg.solve(gram, D.T @ y)
    gram = D @ D.T
    gram[np.diag_indices(N)] += N * lam
    return D.T @ np.linalg.solve(gram, y)
