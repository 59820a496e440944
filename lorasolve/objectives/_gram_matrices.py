"""Gram matrices of a linear layer: formed of samples with small rounding errors, or given, and then checked."""

from __future__ import annotations

import math

import numpy as np

from .._support.threads import in_blocks
from .._support.validate import Array

# Rows of C that are solved for at a time, where given Gram matrices are checked.
ROWS = 256
# The size of a row of Y - W0 Z, relative to the norms of the row of W0 and of Z, below which its product is split.
CANCELLED = 1e-5


def gram_matrices(W0: Array, Z: Array, Y: Array) -> tuple[Array, Array, float, float]:
    """Return ``S = Z Z^T / N``, ``C = (Y - W0 Z) Z^T / N``, ``f(0)`` and the norm of the frozen weight.

    Of that, which rounding errors of ``W0 Z`` are relative to, rows whose product was taken with more precision count
    for as little as is left of them.
    """
    (m, n), N, dtype = W0.shape, Z.shape[1], W0.dtype
    S, C, squares = np.empty((n, n), dtype), np.empty((m, n), dtype), np.empty(m)
    frozen = np.einsum("ij,ij->i", W0, W0, dtype=np.float64)

    @np.errstate(over="ignore", invalid="ignore")
    def rows_of_S(first: int, last: int) -> None:
        np.matmul(Z[first:last], Z[:last].T, out=S[first:last, :last])
        S[first:last, :last] /= N
        # Exactly symmetric, whatever the rounding errors of the product.
        corner = S[first:last, first:last]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
        S[:first, first:last] = S[first:last, :first].T

    @np.errstate(over="ignore", invalid="ignore")
    def rows_of_C(first: int, last: int) -> None:
        rows = slice(first, last)
        R = Y[rows] - W0[rows] @ Z
        squares[rows] = np.einsum("ij,ij->i", R, R, dtype=np.float64)
        fits = first + np.flatnonzero(squares[rows] < CANCELLED**2 * frozen[rows] * inputs)
        if fits.size:
            R[fits - first], lost = _accurate_residual(W0[fits], Z, Y[fits])
            squares[fits] = np.einsum("ij,ij->i", R[fits - first], R[fits - first], dtype=np.float64)
            frozen[fits] *= lost**2
        np.matmul(R, Z.T, out=C[rows])
        C[rows] /= N

    in_blocks(n, rows_of_S)
    inputs = N * float(np.trace(S, dtype=np.float64))
    in_blocks(m, rows_of_C)
    with np.errstate(over="ignore"):
        f0 = 0.5 * float(squares.sum()) / N
    if not (np.isfinite(S).all() and np.isfinite(C).all() and np.isfinite(f0)):
        raise ValueError(f"W0, Z, Y: are so large that products of them overflow in {dtype}; give them other units")
    return S, C, f0, math.sqrt(float(frozen.sum()))


def _accurate_residual(W0: Array, Z: Array, Y: Array) -> tuple[Array, float]:
    """Return ``Y - W0 Z`` with small rounding errors where it cancels, and of which share of ``W0`` they are made.

    Leading parts of so many bits that their product is exact are subtracted first; what is left of ``W0`` and ``Z`` is
    at most ``2^-bits`` of the largest entry of its row or column.
    """
    n = len(Z)
    bits = (53 - (n - 1).bit_length()) // 2
    W0, Z, wide = W0.astype(np.float64), Z.astype(np.float64), Y.astype(np.float64)
    first, second = _leading(W0, bits, 1), _leading(Z, bits, 0)
    R = (wide - first @ second) - (first @ (Z - second) + (W0 - first) @ Z)
    return R.astype(Y.dtype), 4.0 * math.sqrt(n) * 2.0**-bits


def _leading(M: Array, bits: int, axis: int) -> Array:
    """Return ``M`` rounded to so many bits below the largest entry along an axis."""
    exponent = np.frexp(np.abs(M).max(axis=axis, keepdims=True))[1]
    sigma = np.ldexp(0.75, exponent + (53 - bits))
    return (M + sigma) - sigma


def check_gram(S: Array, C: Array, f0: float) -> None:
    """Refuse Gram matrices that belong to no samples: with half a sum of squares ``f >= 0`` everywhere.

    ``S + e I`` must have a Cholesky factor, with ``e`` of the size of rounding errors. ``tr(C (S + e I)^-1 C^T) / 2``
    is then by how much ``f`` can fall below ``f(0)``; it explodes if rows of ``C`` have a part outside the range of
    ``S``.
    """
    from scipy.linalg import LinAlgError, cholesky, solve_triangular

    n, eps = len(S), float(np.finfo(S.dtype).eps)
    e = 4.0 * n * eps * float(np.linalg.norm(S)) or float(np.finfo(np.float64).tiny)
    # As LAPACK wants it, so that one copy is all there is.
    shifted = np.array(S, np.float64, order="F")
    shifted[np.diag_indices(n)] += e
    try:
        L = cholesky(shifted, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        smallest = float(np.linalg.eigvalsh(S.astype(np.float64))[0])
        raise ValueError(
            f"S: expected a positive semidefinite matrix, got one with smallest eigenvalue {smallest:.3g}"
        ) from None
    falls = 0.0
    for first in range(0, len(C), ROWS):
        half = solve_triangular(L, C[first : first + ROWS].T.astype(np.float64), lower=True, check_finite=False)
        falls += 0.5 * float(np.vdot(half, half))
    if falls * (1.0 - 1e4 * eps) <= f0:
        return
    S, C = S.astype(np.float64), C.astype(np.float64)
    s, Q = np.linalg.eigh(S)
    outside, size = float(np.linalg.norm(C @ Q[:, s <= e])), float(np.linalg.norm(C))
    if outside > 1e4 * eps * size:
        raise ValueError(f"C: expected rows in the range of S, got {outside:.3g} of their norm {size:.3g} outside it")
    raise ValueError(f"f0: expected at least tr(C S^+ C^T)/2 = {falls:.6g}, the most that f can fall, got {f0:.6g}")
