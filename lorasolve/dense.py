"""Norms, eigenvalues and polar factors of matrices that are there as arrays."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np

from ._support.validate import Array

# Entries up to which matrices are formed: 500 x 500, whose SVD takes 0.1 to 0.2 s.
DENSE_LIMIT = 250_000

# Accuracy of an eigenvector whose eigenvalue is to be confirmed, and by how much that is raised for it, relatively: it
# is off by the square of the former.
NEAR, RAISED = 1e-6, 1e-10

# Lengths from which on squares keep all their digits.
SQUARED = {np.dtype(np.float32): 1e-15, np.dtype(np.float64): 1e-140}


def frobenius_norm(M: Array) -> float:
    """Return the Frobenius norm of a matrix or vector, also where its square overflows or underflows."""
    flat = M.ravel(order="K")
    plain = math.sqrt(float(np.vdot(flat, flat)))  # which warns of no overflow
    if SQUARED[np.result_type(M, np.float32)] < plain < math.inf:
        return plain
    largest = float(np.abs(M).max(initial=0.0))
    return largest * float(np.linalg.norm(M / largest)) if 0.0 < largest < math.inf else largest


def gram_errors(dtype: np.dtype | type, n: int) -> float:
    """Return the share of the largest eigenvalue below which those of a float64 Gram matrix are made by rounding.

    Its vectors have length ``n`` and were rounded to ``dtype``: these are errors of the matrix, and squares of lengths
    of the size of the errors of the vectors.
    """
    return max(n * float(np.finfo(np.float64).eps), (n * float(np.finfo(dtype).eps)) ** 2)


def gram_inverse(K: Array, dtype: np.dtype | type, n: int) -> Array:
    """Return the pseudo-inverse of a Gram matrix, without what rounding has made (see :func:`gram_errors`)."""
    return np.linalg.pinv(K, rcond=gram_errors(dtype, n), hermitian=True)


def refuse_non_finite(M: Array) -> None:
    """Refuse a matrix without singular values or eigenvalues, which every matrix here owes to the loss."""
    if not np.isfinite(M).all():
        raise ValueError("objective: a derivative of f has entries that are not finite; ls.check_objective says more")


def largest_singular_value(M: Array) -> float:
    """Return ``||M||_2``, 0 for a matrix without entries; by the Gram matrix of its short side where squares allow."""
    if M.size == 0:
        return 0.0
    refuse_non_finite(M)
    with np.errstate(over="ignore", invalid="ignore"):
        gram = M.T @ M if M.shape[0] >= M.shape[1] else M @ M.T
    if not 1e-200 < np.trace(gram) < 1e200:
        return float(np.linalg.norm(M, 2))
    return math.sqrt(float(np.linalg.eigvalsh(gram)[-1]))


def top_eigenvalue(S: Array) -> float:
    """Return the largest eigenvalue of a positive semidefinite matrix in float64.

    For a large one it is that of an iteration, raised by ``RAISED``, if a Cholesky factorisation confirms that none is
    larger: the iteration alone may have missed the top.
    """
    if S.size > DENSE_LIMIT and np.any(S):
        import scipy.linalg as la
        import scipy.sparse.linalg as sla

        start = np.random.default_rng(0).standard_normal(len(S))
        with suppress(la.LinAlgError, sla.ArpackError):
            found = float(sla.eigsh(S, 1, which="LA", tol=NEAR, v0=start, return_eigenvectors=False)[0])
            guess = found * (1.0 + RAISED)
            rest = np.negative(S)
            np.einsum("ii->i", rest)[:] += guess
            la.cholesky(rest.T, lower=True, overwrite_a=True, check_finite=False)  # in place where columns are stored
            return guess
    return float(np.linalg.eigvalsh(S)[-1])


def polar(M: Array) -> Array:
    """Return the partial isometry ``U V^T`` of ``M = U S V^T``; directions that are zero to rounding are left out.

    NaN where ``M`` is not finite.
    """
    if not np.isfinite(M).all():
        return np.full_like(M, np.nan)
    U, s, Vt = np.linalg.svd(M, full_matrices=False)
    kept = s > np.finfo(M.dtype).eps * max(M.shape) * s[0]
    return U[:, kept] @ Vt[kept]
