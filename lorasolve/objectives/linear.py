"""Linear fine-tuning: ``f(X) = ||(W0 + X) Z - Y||_F^2 / (2N)`` through Gram matrices."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.threads import in_blocks
from .._support.validate import Array, as_float_array, as_frozen_weight, as_index_array, as_number, as_shape
from ..dense import gram_errors, gram_inverse, top_eigenvalue
from ..linear_map import LinearMap
from ..low_rank import Svd, balanced, factor_svd
from ._description import Description, Matrix
from ._gram_kernels import GramKernels
from ._gram_matrices import check_gram, gram_matrices
from ._kernels import Kernels
from ._relations import rank_at_most
from .base import Objective, PairProduct, Rounding, allowance


class LinearFineTuning(Objective):
    """Mean squared error of a linear layer: ``f(X) = ||(W0 + X) Z - Y||_F^2 / (2N)``.

    With ``S = Z Z^T / N`` (n, n) and ``C = (Y - W0 Z) Z^T / N`` (m, n) the loss is
    ``f(0) - <C, X> + <X S, X> / 2``, so a step costs ``O(n^2 r + m n r)`` whatever the number of samples. The
    Gram matrices cost one symmetric product ``Z Z^T`` and two general ones, once. ``C`` and ``f(0)`` are formed from
    the residual ``W0 Z - Y``, in more than the working precision where the frozen weight nearly fits already, so that
    little is lost by cancellation; what is lost all the same, and in the Gram form where ``X`` is large, certificates
    count (:meth:`rounding_noise`).

    Parameters
    ----------
    W0 : array_like of shape (m, n)
        The frozen weight.
    Z : array_like of shape (n, N)
        Inputs, one sample per column.
    Y : array_like of shape (m, N)
        Targets, one sample per column.

    Attributes
    ----------
    S, C : ndarray of shape (n, n), (m, n)
        The Gram matrices above.
    f0 : float
        The loss at ``X = 0``.
    """

    name = "linear"
    dtypes = ("float64", "float32")
    summary = "||(W0 + X) Z - Y||_F^2 / (2N), cost per step independent of N"
    convex = True
    least_squares = True
    minimizes_factors = True

    def __init__(self, W0: ArrayLike, Z: ArrayLike, Y: ArrayLike) -> None:
        W0, Z, Y = as_float_array(W0, "W0", 2), as_float_array(Z, "Z", 2), as_float_array(Y, "Y", 2)
        dtype = np.result_type(W0, Z, Y)
        W0, Z, Y = (part.astype(dtype, copy=False) for part in (W0, Z, Y))
        as_shape(Z, "Z", (W0.shape[1], Z.shape[1]))
        as_shape(Y, "Y", (W0.shape[0], Z.shape[1]))
        S, C, f0, frozen_size = gram_matrices(W0, Z, Y)
        self._set(W0, S, C, f0, (Z, Y.copy()), frozen_size)

    @property
    def Z(self) -> Array | None:
        """The inputs (n, N); None where only their second moments are known."""
        return None if self._samples is None else self._samples[0]

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> LinearFineTuning:
        """Return a 6 x 4 layer with 20 samples."""
        return cls(*(rng.standard_normal(size).astype(dtype) for size in ((6, 4), (4, 20), (6, 20))))

    @classmethod
    def from_gram(cls, W0: ArrayLike, S: ArrayLike, C: ArrayLike, f0: float) -> LinearFineTuning:
        """Return the objective given by its Gram matrices (it has no samples, hence no mini-batches).

        Parameters
        ----------
        W0 : array_like of shape (m, n)
            The frozen weight.
        S : array_like of shape (n, n)
            ``Z Z^T / N``, symmetric positive semidefinite.
        C : array_like of shape (m, n)
            ``(Y - W0 Z) Z^T / N``; its rows must lie in the range of ``S``.
        f0 : float
            The loss at ``X = 0``, at least ``tr(C S^+ C^T) / 2``: half of a sum of squares is nowhere negative.

        Raises
        ------
        ValueError
            If no samples have these Gram matrices, up to rounding.
        """
        W0, S, C = as_float_array(W0, "W0", 2), as_float_array(S, "S", 2), as_float_array(C, "C", 2)
        dtype = np.result_type(W0, S, C)
        as_shape(S, "S", (W0.shape[1], W0.shape[1]))
        as_shape(C, "C", W0.shape)
        asymmetry = float(np.abs(S - S.T).max())
        if asymmetry > 1e3 * np.finfo(dtype).eps * float(np.abs(S).max()):
            raise ValueError(f"S: expected a symmetric matrix, got one with max |S - S^T| = {asymmetry:.3g}")
        W0, S, C = (part.astype(dtype, copy=False) for part in (W0, S, C))
        f0 = as_number(f0, "f0", 0.0)
        check_gram(S, C, f0)
        made = cls.__new__(cls)
        made._set(W0, S, C, f0)
        return made

    def _set(
        self,
        W0: Array,
        S: Array,
        C: Array,
        f0: float,
        samples: tuple[Array, Array] | None = None,
        frozen_size: float = 0.0,
    ) -> None:
        self.W0 = as_frozen_weight(W0, W0.dtype)
        self.S = S
        self.C = C
        self.f0 = f0
        self.shape = (C.shape[0], C.shape[1])
        self.dtype = C.dtype
        self._samples = samples
        self.n_samples = None if samples is None else samples[0].shape[1]
        # What rounding errors of the data are relative to: the norm of the frozen weight, less where W0 Z was taken off
        # with more precision, and the sizes of what f(0) and C were made of when an update was merged.
        self._frozen_size = frozen_size
        self._merged_sizes = 0.0, 0.0

    # ------------------------------------------------------------------ facts
    @cached_property
    def smoothness(self) -> float:
        """``||S||_2``."""
        return top_eigenvalue(self.S.astype(np.float64, copy=False))

    @cached_property
    def lower_bound(self) -> float:
        """``min f``, less what rounding may have added to it: ``f(0) - tr(C S^-1 C^T) / 2``, or 0 for singular ``S``.

        Directions that the samples hardly see can lower ``f`` all the way to 0, so none may be dropped.
        """
        from scipy.linalg import LinAlgError, cholesky, lapack, solve_triangular

        S, C = self.S.astype(np.float64, copy=False), self.C.astype(np.float64, copy=False)
        n, tiny = len(S), np.finfo(np.float64)
        if S.diagonal().min(initial=1.0) < tiny.tiny / tiny.eps:
            return 0.0  # digits of S are lost to underflow
        try:
            L = cholesky(S, lower=True, check_finite=False)
        except LinAlgError:
            return 0.0
        inverse, singular = lapack.dtrtri(L, lower=1)
        if singular:
            return 0.0
        largest = float(np.abs(S).max(initial=0.0)) or 1.0
        with np.errstate(over="ignore"):
            condition = largest * float(np.linalg.norm(S / largest)) * float(np.vdot(inverse, inverse))
        # Errors of the factorisation and of S itself, relative to tr(C S^-1 C^T): a multiple of the condition.
        error = allowance(self.dtype) * n * condition
        if not error < 1.0:
            return 0.0
        squares = np.empty(len(C))

        @np.errstate(over="ignore", invalid="ignore")
        def rows_of_C(first: int, last: int) -> None:
            half = solve_triangular(L, C[first:last].T, lower=True, check_finite=False)
            squares[first] = np.vdot(half, half)
            squares[first + 1 : last] = 0.0

        in_blocks(len(C), rows_of_C)
        # Those of f(0) and C, as in least_values.
        error_of_data = 2.0 * allowance(self.dtype) * self._sizes[0] + error * self._merged_sizes[0]
        return max(self.f0 - 0.5 * float(squares.sum()) * (1.0 + error) - error_of_data, 0.0)

    @cached_property
    def _eigen(self) -> tuple[Array, Array]:
        """Eigenvalues and eigenvectors of ``S``."""
        return np.linalg.eigh(self.S.astype(np.float64, copy=False))

    # ------------------------------------------------------------------ rounding
    def rounding_noise(self, A: Array, B: Array) -> Rounding:
        """Return the sizes of the rounding errors: in the Gram form ``f`` is a difference of terms that may be larger.

        Those of ``W0 Z``, which cancels against ``Y``, are in the Gram matrices.
        """
        squares = (np.einsum("ij,ij->j", factor, factor, dtype=np.float64) for factor in (A, B))
        value, gradient = self._sizes_at(math.sqrt(float(np.dot(*squares))))
        unit = allowance(self.dtype)
        return Rounding(unit * value, unit * gradient)

    def _sizes_at(self, length: float) -> tuple[float, float]:
        """Return the sizes of what ``f`` and its gradient are made of at an update of this length."""
        value, gradient, curvature = self._sizes
        return value + length * (gradient + length * curvature), gradient + length * curvature

    @cached_property
    def _sizes(self) -> tuple[float, float, float]:
        """The sizes of what ``f(0)``, the gradient there and ``S`` are made of: rounding errors are relative to them.

        An error ``E`` of the residual, of the size ``e ||W0||_F ||Z||_F``, moves ``f`` by at most
        ``||R||_F ||E||_F / N + ||E||_F^2 / (2N)`` and ``C`` by ``||E||_F ||Z||_2 / N``.
        """
        unit = allowance(self.dtype)
        curvature, residual = float(np.linalg.norm(self.S)), math.sqrt(2.0 * self.f0)
        outputs = self._frozen_size * math.sqrt(float(np.trace(self.S)))
        value, gradient = self._merged_sizes
        value += self.f0 + outputs * (residual + 0.5 * unit * outputs)
        return value, gradient + math.sqrt(curvature) * (residual + outputs), curvature

    # ------------------------------------------------------------------ dense level
    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``G = X S - C``."""
        XS = X @ self.S
        G = XS - self.C
        return self.f0 + 0.5 * _inner(G - self.C, X), G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``D S``."""
        return D @ self.S

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``A (B^T S B) - C B`` and ``(S B)(A^T A) - C^T A``; return ``f``."""
        SB = self.S @ B
        AK = A @ (B.T @ SB)
        CB = self.C @ B
        np.subtract(AK, CB, out=GB)
        np.subtract(SB @ (A.T @ A), self.C.T @ A, out=GtA)
        return self.f0 + 0.5 * _inner(AK, A) - _inner(CB, A)

    def hessian_at(self, A: Array, B: Array) -> PairProduct:
        """Return ``H B + G V`` and ``H^T A + G^T U`` with ``H = (U B^T + A V^T) S``."""
        SB = self.S @ B
        BSB, AtA = B.T @ SB, A.T @ A

        def product(U: Array, V: Array) -> tuple[Array, Array]:
            SV, AtU = self.S @ V, A.T @ U
            left = U @ BSB + A @ (V.T @ SB + B.T @ SV) - self.C @ V
            return left, SB @ (AtU.T + AtU) + SV @ AtA - self.C.T @ U

        return product

    def factor_diagonal(self, A: Array, B: Array) -> tuple[Array, Array]:
        """Return the diagonal: ``b_p^T S b_p`` in column p of ``A``, ``S_jj ||a_p||^2`` in ``B``."""
        on_A = np.broadcast_to(np.sum(B * (self.S @ B), axis=0), A.shape)
        return on_A, np.outer(np.diag(self.S), np.sum(A * A, axis=0))

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``A B^T S - C`` through its products; no m x n matrix is formed."""
        A, B = A.astype(np.float64, copy=False), B.astype(np.float64, copy=False)
        SB = self.S @ B
        return LinearMap(
            self.shape,
            lambda V: A @ (SB.T @ V) - self.C @ V,
            lambda U: SB @ (A.T @ U) - self.C.T @ U,
        )

    @cached_property
    def kernels(self) -> Kernels:
        """A compiled oracle over the Gram matrices, its float32 increments, and batches."""
        return GramKernels(self.S, self.C, self.f0)

    # ------------------------------------------------------------------ what some methods need
    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return ``C B (B^T S B + lam I)^+``, worked out in float64, because ``K`` squares the condition of ``B``."""
        S, C, wide = (part.astype(np.float64, copy=False) for part in (self.S, self.C, B))
        K = wide.T @ (S @ wide)
        K[np.diag_indices_from(K)] += lam
        return ((C @ wide) @ gram_inverse(K, self.dtype, len(B))).astype(self.dtype, copy=False)

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return the least-norm solution of ``S B (A^T A) + lam B = C^T A``.

        In the eigenbases of ``S`` and ``A^T A`` the equation is diagonal; the former is computed once.
        """
        s, Q = self._eigen
        wide = A.astype(np.float64, copy=False)
        d, V = np.linalg.eigh(wide.T @ wide)
        scale = np.maximum(s, 0.0)[:, None] * np.maximum(d, 0.0) + lam
        right = Q.T @ (self.C.T @ wide) @ V
        kept = scale > scale.max() * gram_errors(self.dtype, max(self.shape))
        B = Q @ (np.divide(right, scale, out=np.zeros_like(right), where=kept)) @ V.T
        return B.astype(self.dtype, copy=False)

    def minimizer(self, lam: float, rank: int) -> tuple[Array, Array] | None:
        """Return the reduced-rank regression for ``lam = 0``: the truncated SVD of ``C S^{-1/2}``, times ``S^{-1/2}``.

        It minimises ``||X S^{1/2} - C S^{-1/2}||_F^2`` over ``rank X <= rank``. Where ``S`` is singular its
        pseudo-inverse gives the minimiser of least norm (``C`` vanishes on its kernel). The features are first brought
        to one size, so that none is taken for an empty one because of its unit.
        """
        if lam != 0.0:
            return None
        P, s, V = self._regression
        d, w, Q = self._features
        if w.size == 0:
            return np.zeros((self.shape[0], 1)), np.zeros((self.shape[1], 1))
        V = V[:, :rank] / np.sqrt(w)[:, None]
        if w.size == np.count_nonzero(Q.any(axis=1)):
            B = Q @ V / d[:, None]
        else:
            E, R = np.linalg.qr(d[:, None] * Q)
            B = E @ np.linalg.solve(R.T, V)
        return balanced(*factor_svd(P[:, :rank] * s[:rank], B))

    def least_values(self, rank: int) -> tuple[float, float] | None:
        """Return the value of the reduced-rank regression, less and plus what rounding may have made of it.

        That grows with the condition of ``S`` for features of one size. Directions that the samples see, but not above
        the rounding errors of ``S``, may lower ``f`` by all that no direction explains; there are none where features
        follow from others exactly.
        """
        _, s, _ = self._regression
        d, w, _ = self._features
        explained, missed = 0.5 * float(np.sum(s[:rank] ** 2)), 0.5 * float(np.sum(s[rank:] ** 2))
        condition = float(w[-1] / w[0]) if w.size else 1.0
        unit = allowance(self.dtype)
        # An error of the residual moves the least value as it moves f; one that merging left in C is divided by S.
        error = unit * (len(d) * condition * (self.f0 + self._merged_sizes[0]) + self._sizes[0])
        low = self.f0 - explained if w.size >= self._rank_of_inputs else missed
        return max(low - error, self.lower_bound), max(self.f0 - explained, 0.0) + error

    @cached_property
    def _features(self) -> tuple[Array, Array, Array]:
        """``d``, ``w``, ``Q`` with ``S = D Q diag(w) Q^T D`` and ``D^-1 S D^-1`` of a diagonal near 1.

        ``D = diag(d)`` holds powers of two; eigenvalues ``w`` within rounding errors of 0 are left out.
        """
        S = self.S.astype(np.float64, copy=False)
        n, tiny = len(S), np.finfo(np.float64)
        used = np.flatnonzero(S.diagonal() > tiny.tiny / tiny.eps)
        power = np.zeros(n, int)
        power[used] = np.frexp(np.sqrt(S.diagonal()[used]))[1]
        w, vectors = np.linalg.eigh(np.ldexp(S[np.ix_(used, used)], -power[used, None] - power[used]))
        kept = w > w.max(initial=0.0) * n * tiny.eps
        Q = np.zeros((n, np.count_nonzero(kept)))
        Q[used] = vectors[:, kept]
        return np.ldexp(1.0, power), w[kept], Q

    @cached_property
    def _rank_of_inputs(self) -> int:
        """An upper bound of the rank of ``Z``, not worked out further than to the number of directions kept."""
        seen = np.flatnonzero(self.S.any(axis=0) | self.C.any(axis=0))
        d, w, _ = self._features
        if self.Z is None or w.size >= min(seen.size, self.Z.shape[1]):
            return min(seen.size, self.n_samples or seen.size)
        S, Z = (part.astype(np.float64, copy=False) for part in (self.S, self.Z))
        return rank_at_most(Z[seen] / d[seen, None], S[np.ix_(seen, seen)] / np.outer(d[seen], d[seen]))

    @cached_property
    def _regression(self) -> Svd:
        """The SVD ``P``, ``s``, ``V`` of what the kept directions explain, ``C D^-1 Q diag(w)^(-1/2)``."""
        d, w, Q = self._features
        P, s, Vt = np.linalg.svd((self.C / d) @ (Q / np.sqrt(w)), full_matrices=False)
        return P, s, Vt.T

    def sample_batch(self, index: Array) -> Objective:
        """Return the objective on the samples (columns of ``Z``, ``Y``) ``index``."""
        if self._samples is None:
            raise NotImplementedError("LinearFineTuning given by Gram matrices has no samples")
        Z, Y = self._samples
        index = as_index_array(index, "index", Z.shape[1])
        return LinearFineTuning(self.W0, Z[:, index], Y[:, index])  # type: ignore[arg-type]

    def merged(self, update: Array) -> Objective:
        """Return the objective with ``W0 + update``; only ``C`` and ``f(0)`` change."""
        f0, G = self.value_and_grad(update)
        made = LinearFineTuning.__new__(LinearFineTuning)
        W0, C = (part.astype(self.dtype, copy=False) for part in (self.W0 + update, -G))
        # W0 + update is rounded.
        frozen_size = 0.0 if self._samples is None else float(np.linalg.norm(W0))
        made._set(W0, self.S, C, max(f0, 0.0), self._samples, frozen_size)
        made._merged_sizes = self._sizes_at(float(np.linalg.norm(update)))
        return made

    def in_float64(self) -> LinearFineTuning:
        """Return the objective of the same samples in float64 (of the same Gram matrices if there are none)."""
        if self.dtype == np.float64:
            return self
        W0 = np.asarray(self.W0, dtype=np.float64)
        if self._samples is not None:
            return LinearFineTuning(W0, *self._samples)
        S = self.S.astype(np.float64)
        made = LinearFineTuning.__new__(LinearFineTuning)
        made._set(W0, 0.5 * (S + S.T), self.C.astype(np.float64), self.f0)
        return made

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``sum_squares((X - X*) S^(1/2)) / 2 + min f`` with a minimiser ``X* = C S^+``."""
        import cvxpy

        s, Q = self._eigen
        kept = s > _rank_tolerance(s, self.dtype)
        root = Q[:, kept] * np.sqrt(s[kept])
        target = (self.C @ Q[:, kept]) / np.sqrt(s[kept])
        least = max(self.f0 - 0.5 * float(np.vdot(target, target)), 0.0)
        return 0.5 * cvxpy.sum_squares(X @ root - target) + least

    def description(self) -> Description:
        """Return the squares of ``(W0 + X) Z - Y``, which needs the samples."""
        if self._samples is None:
            raise NotImplementedError("LinearFineTuning given by Gram matrices has no samples to describe f by")
        W0, Z, Y = (part.astype(np.float64) for part in (self.W0, *self._samples))  # type: ignore[union-attr]
        return Description(Matrix(Z), "square", Z.shape[1], (Y.ravel(),), X0=W0)

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the loss relative to the frozen model, ``f(X) / f(0)``."""
        return {"relative_loss": self.value_and_grad(X)[0] / self.f0 if self.f0 else 0.0}


def _inner(X: Array, Y: Array) -> float:
    """Return ``<X, Y>`` accumulated in float64."""
    if X.dtype == Y.dtype == np.float64:
        return float(np.vdot(X, Y))
    return float(np.einsum("ij,ij->", X, Y, dtype=np.float64))


def _rank_tolerance(s: Array, dtype: Any) -> float:
    """Return the eigenvalue of ``S`` below which a direction counts as unseen by the data."""
    return float(s.max()) * s.size * float(np.finfo(dtype).eps)
