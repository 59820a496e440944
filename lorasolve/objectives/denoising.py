"""Denoising: ``f(X) = ||X - M||_F^2 / 2``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_own_array
from ..dense import gram_inverse
from ..linear_map import LinearMap
from ..low_rank import balanced
from ._description import Description, every_entry
from ._kernels import Kernels
from .base import Objective

# Largest matrix for which the fused compiled loop beats matrix products (about 128 x 128).
COMPILED_LIMIT = 16_384


class Denoising(Objective):
    """Squared distance to a given matrix: ``f(X) = ||X - M||_F^2 / 2``.

    The minimiser of ``f + lam ||.||_*`` is the soft-thresholded SVD of ``M``; every stationary point of the
    factored problem is known (main paper, section 12; proofs/denoising_landscape).

    Parameters
    ----------
    M : array_like of shape (m, n)
        The matrix to approximate.
    """

    name = "denoising"
    dtypes = ("float64", "float32")
    summary = "||X - M||_F^2 / 2, all stationary points known in closed form"
    convex = True
    least_squares = True
    minimizes_factors = True
    smoothness = rsc = rsm = 1.0
    lower_bound = 0.0

    def __init__(self, M: ArrayLike) -> None:
        self.M = as_own_array(M, "M", 2)
        self.shape = (self.M.shape[0], self.M.shape[1])
        self.dtype = self.M.dtype

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> Denoising:
        """Return denoising of a 6 x 4 Gaussian matrix."""
        return cls(rng.standard_normal((6, 4)).astype(dtype))

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``X - M``."""
        G = X - self.M
        return 0.5 * float(np.vdot(G, G)), G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``D``: the Hessian is the identity."""
        return D.copy()

    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return ``M B (B^T B + lam I)^+``."""
        return self.M @ _ridge(B, lam)

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return ``M^T A (A^T A + lam I)^+``."""
        return self.M.T @ _ridge(A, lam)

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``A B^T - M``."""
        return LinearMap.from_dense((A @ B.T - self.M).astype(np.float64, copy=False))

    def minimizer(self, lam: float, rank: int) -> tuple[Array, Array]:
        """Return the soft-thresholded SVD of ``M``, or for ``lam = 0`` the truncated one."""
        P, s, Qt = self._svd
        kept = np.maximum(s - lam, 0.0)
        if lam == 0.0:
            kept = kept[:rank]
        r = max(int(np.count_nonzero(kept)), 1)
        return balanced(P[:, :r], kept[:r], Qt[:r].T)

    @cached_property
    def _svd(self) -> Any:
        """The singular value decomposition of ``M``, which every ``lam`` takes."""
        return np.linalg.svd(self.M.astype(np.float64, copy=False), full_matrices=False)

    @cached_property
    def kernels(self) -> Kernels:
        """A compiled oracle for small matrices, and batches."""
        return _Kernels(self.M)

    def merged(self, update: Array) -> Objective:
        """Return denoising of ``M - update``."""
        return Denoising((self.M - update).astype(self.dtype, copy=False))

    def in_float64(self) -> Denoising:
        """Return denoising of ``M`` in float64."""
        if self.dtype == np.float64:
            return self
        return Denoising(self.M.astype(np.float64))

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum_squares(X - M) / 2``."""
        import cvxpy

        return 0.5 * cvxpy.sum_squares(X - self.M)

    def description(self) -> Description:
        """Return the squares of the entries of ``X - M``."""
        return Description(every_entry(self.shape), "square", shifts=(self.M.astype(np.float64).ravel(),))


class _Kernels(Kernels):
    def __init__(self, M: Array) -> None:
        self.M = M

    def data(self, rank: int, threads: int) -> Any:
        """Return the data of the compiled oracle up to ``COMPILED_LIMIT`` entries; beyond, BLAS is as fast."""
        if self.M.size > COMPILED_LIMIT:
            return None
        from ..kernels import denoising

        return denoising.data(self.M)

    def quadratic(self) -> Any:
        """Return the coefficients for batched runs; the Hessian is the identity."""
        from ..kernels import batch

        M = self.M.ravel()
        return batch.Quadratic(batch.ENTRYWISE, np.ones_like(M), M, 0.5 * float(np.vdot(M, M)))


def _ridge(B: Array, lam: float) -> Array:
    """Return ``B (B^T B + lam I)^+`` (n, r); in float64, because the Gram matrix squares the condition number."""
    wide = B.astype(np.float64, copy=False)
    gram = wide.T @ wide
    gram[np.diag_indices_from(gram)] += lam
    return (wide @ gram_inverse(gram, B.dtype, len(B))).astype(B.dtype, copy=False)
