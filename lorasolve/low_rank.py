"""Products ``A B^T`` of factors with few columns: singular values, numerical ranks, balanced factors."""

from __future__ import annotations

import numpy as np

from ._support.validate import Array

# P (m, k), s (k,) and Q (n, k) of a matrix P diag(s) Q^T.
Svd = tuple[Array, Array, Array]

# Numbers of a factor that are gathered at once: as many as stay in cache.
PIECE = 24_576

# Entries of a factor from which Cholesky factorisations orthonormalise its columns sooner than QR (an SVD of a product
# of 943 x 90 and 90 x 1682 in 3.6 ms for 12), how many times the usual rounding errors may be left, and beyond how many
# a second factorisation would not take them out.
CHOLESKY, ACCURATE, SINGULAR = 8000, 100.0, 1e8

# The one tolerance of numerical ranks: see numerical_rank.
RANK_TOL = 1e-6


def product_entries(A: Array, B: Array, rows: Array, cols: Array) -> Array:
    """Return ``(A B^T)[rows, cols]``; rows are gathered piece by piece."""
    found = np.empty(len(rows), A.dtype)
    length = max(PIECE // max(A.shape[1], 1), 1)
    for begin in range(0, len(rows), length):
        piece = slice(begin, begin + length)
        # Of rows ``take`` costs half as much as an index.
        np.einsum("ij,ij->i", A.take(rows[piece], axis=0), B.take(cols[piece], axis=0), out=found[piece])
    return found


def factor_singular_values(A: Array, B: Array) -> Array:
    """Return the ``min(m, n, r)`` singular values of ``A B^T`` from the factors alone, in descending order."""
    return factor_svd(A, B)[1]


def factor_svd(A: Array, B: Array) -> Svd:
    """Return ``P (m, k), s (k,), Q (n, k)`` with ``A B^T = P diag(s) Q^T``, ``k = min(m, n, r)``.

    Two thin QR factorisations and one r x r SVD; no m x n matrix is formed.
    """
    (CA, TA, RA), (CB, TB, RB) = (_thin(factor.astype(np.float64, copy=False)) for factor in (A, B))
    U, s, Vt = np.linalg.svd(RA @ RB.T, full_matrices=False)
    return CA @ (TA @ U), s, CB @ (TB @ Vt.T)


def truncated_svd(A: Array, B: Array, tol: float = RANK_TOL) -> Svd:
    """Return ``P (m, k), s (k,), Q (n, k)`` of ``A B^T`` with ``k`` its :func:`numerical_rank`."""
    P, s, Q = factor_svd(A, B)
    k = numerical_rank(s, tol)
    return P[:, :k], s[:k], Q[:, :k]


def _thin(A: Array) -> tuple[Array, Array, Array]:
    """Return ``C, T, R`` with ``A = C T R`` where ``C T`` has orthonormal columns.

    By Cholesky factorisations of Gram matrices, products of matrices all of them, where the columns allow it: those of
    factors after a descent are nearly orthogonal. A second one takes out what a first one that is less accurate leaves.
    """
    found = _by_cholesky(A) if A.size >= CHOLESKY and A.shape[0] >= A.shape[1] else None
    if found is None:
        Q, R = np.linalg.qr(A)
        return Q, np.eye(Q.shape[1]), R
    T, R, loss = found
    if loss <= ACCURATE:
        return A, T, R
    C, T, rest = _thin(A @ T)
    return C, T, rest @ R


def _by_cholesky(A: Array) -> tuple[Array, Array, float] | None:
    """Return ``T, R`` with ``A = (A T) R``, and by how many rounding errors ``A T`` is off orthonormal columns."""
    from scipy.linalg import lapack

    lengths = np.linalg.norm(A, axis=0)
    if not (lengths.all() and np.isfinite(lengths).all()):
        return None
    N = A / lengths
    R, info = lapack.dpotrf((N.T @ N).T, lower=0, clean=1)
    if info != 0:
        return None
    inverse, info = lapack.dtrtri(R, lower=0)
    # The trace of the inverse of the Gram matrix, as large as its order where that is the identity.
    loss = float(np.vdot(inverse, inverse)) - len(R)
    if info != 0 or not loss <= SINGULAR:
        return None
    return inverse / lengths[:, None], R * lengths, loss


def numerical_rank(values: Array, tol: float = RANK_TOL) -> int:
    """Return how many singular values exceed ``tol`` times the largest.

    Parameters
    ----------
    values : ndarray
        Singular values, in any order.
    tol : float
        The default 1e-6 was measured on 80 runs of gradient descent and L-BFGS with surplus rank (denoising, linear
        fine-tuning, softmax, Huber; weight decay from 1e-3 to 1e-1 of the largest useful one). At ``grad_tol = 1e-6``
        what should be zero is at most 8e-8 of the largest singular value (4e-12 in the median, because it falls with
        the square of the gradient), at ``grad_tol = 1e-4`` at most 5e-4; the smallest genuine singular value of all
        optima was 6e-5. So 1e-9 counts 9 of 54 nearly converged points too high, 1e-6 none, and 1e-4 loses genuine
        values. Where truncation at this level would show (a gap certified to 1e-9) or where runs are too short for it,
        callers pass another and print it.
    """
    return int(np.count_nonzero(values > tol * values.max(initial=0.0)))


def balanced(P: Array, s: Array, Q: Array) -> tuple[Array, Array]:
    """Return ``A = P diag(sqrt s)``, ``B = Q diag(sqrt s)``: the factors of least norm for ``P diag(s) Q^T``."""
    root = np.sqrt(s)
    return P * root, Q * root
