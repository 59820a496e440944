"""The rank of the optimum, from a point that is only nearly optimal (proofs/rank_certificate).

Let ``f`` be convex with ``beta``-Lipschitz gradient, ``X*`` any minimizer of ``F = f + lam ||.||_*`` and
``gap >= F(X) - F(X*)``. All minimizers have one gradient ``G*``, with ``||G*||_2 <= lam`` and
``rank X* <= #{sigma_i(G*) = lam}``, and ``||G - G*||_F <= sqrt(2 beta gap)``. Singular values move by no more:

    rank X* <= #{sigma_i(G) >= lam - sqrt(2 beta gap)}.

A ``beta`` that bounds the curvature of ``f`` along matrices of rank one does as well, for ``||G - G*||_2``.

If ``f`` is strongly convex with ``alpha``, then ``||X - X*||_F <= sqrt(2 gap / alpha)`` and

    rank X* >= #{sigma_i(X) > sqrt(2 gap / alpha)}.
"""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import numpy as np

from .._support.validate import Array
from ..low_rank import Svd
from ..objectives.base import Objective
from ..objectives.denoising import Denoising
from ..objectives.linear import LinearFineTuning
from ._oracle_linear import margin
from ._rounding import ETA, U, add_up, column_norms, frobenius, mul_up, sqrt_up, up
from .norms import Gram

# A stated constant is a number that was computed in floating point.
SLACK = 1.0 + 1e-9
# What a threshold for singular values gives away to rounding errors.
ROUNDED = 1e-9
# Rows of a matrix that is compared with its decomposition at a time.
ROWS = 1024
# Rows and columns up to which all directions are looked at where those within the space of X do not do.
WHOLE = 256
# Order up to which LAPACK finds an eigenvalue sooner than a factorisation and Lanczos.
SMALL = 200
# Eigenvalues proved before, for the points of one problem share theirs.
_PROVED: WeakKeyDictionary[LinearFineTuning, float] = WeakKeyDictionary()


def reach(gap: float, beta: float | None) -> float:
    """Return ``sqrt(2 beta gap)``, rounded up: how far ``G`` may be from the gradient at the optimum."""
    return math.inf if beta is None else sqrt_up(mul_up(2.0 * SLACK, beta, gap))


def most(gram: Gram, Q: Array, lam: float, distance: float) -> int | None:
    """Bound the rank of every minimizer from above.

    Parameters
    ----------
    gram : Gram
        Of the ball that contains the gradient ``G`` (m, n).
    Q : ndarray of shape (n, r)
        Orthonormal columns, up to rounding; nothing rests on them. The directions taken out are those within their
        space in which ``G`` is large: that of the rows of ``X`` holds all of them but for ties and wide gaps.
    lam, distance : float
        The weight of the nuclear norm and :func:`reach`.

    Returns
    -------
    int or None
        None if these directions do not say anything.
    """
    least = lam - distance
    if not least > 0.0:
        return None
    values, vectors = gram.within(Q)
    V = vectors[:, values >= least]
    # How large the gradient is in their space does not matter.
    _, rest = gram.parted(V, least * (1.0 - ROUNDED), 2.0 * float(values.max(initial=least)), ROUNDED)
    return V.shape[1] if rest < least else None


def at_least(objective: Objective, A: Array, B: Array, svd: Svd, gap: float) -> int:
    """Bound the rank of the minimizer from below; 0 if no constant of strong convexity is known.

    Parameters
    ----------
    objective : Objective
        The loss.
    A, B : ndarray
        Factors of the point that the gap is about.
    svd : (P, s, Q)
        Its singular value decomposition in floating point; nothing rests on it.
    gap : float
        Upper bound of ``F(X) - min F``.
    """
    alpha = strong_convexity(objective)
    if not alpha > 0.0:
        return 0
    distance = mul_up(sqrt_up(up(mul_up(2.0 * SLACK, gap) / alpha)), SLACK)
    if not svd[1].max(initial=0.0) > distance:
        return 0
    share, off = _singular_values_off(A, B, *svd)
    return int(np.count_nonzero(share * svd[1] > add_up(distance, off)))


def _singular_values_off(A: Array, B: Array, P: Array, s: Array, Q: Array) -> tuple[float, float]:
    """Return ``share`` and ``off`` with ``sigma_i(A B^T) >= share s_i - off``, every rounding error counted.

    The singular values of ``P diag(s) Q^T`` are at least ``s_i sqrt(1 - ||P^T P - I||) sqrt(1 - ||Q^T Q - I||)``
    (Ostrowski), and ``off`` is at least the distance of that matrix from ``A B^T``. ``SLACK`` covers what the few
    operations on the bounds themselves lose.
    """
    defects = _defect(P) + _defect(Q)
    m, r = A.shape
    Ps = P * s
    squares = [
        frobenius(A[first : first + ROWS] @ B.T - Ps[first : first + ROWS] @ Q.T) ** 2 for first in range(0, m, ROWS)
    ]
    # Sums of products, the products with s and the difference: at each position |a||b|^T, and likewise for P s and Q.
    sizes = (r + 3) * float(column_norms(A) @ column_norms(B)) + (s.size + 5) * float(s.sum()) * (1.0 + defects)
    underflow = 2.0 * ETA * m * len(B) * (r + s.size + 2)
    return max(1.0 - defects * SLACK - 4.0 * U, 0.0), (math.sqrt(sum(squares)) + U * sizes + underflow) * SLACK


def _defect(P: Array) -> float:
    """Return an upper bound of ``||P^T P - I||_F``; each entry has the error of a sum of as many products as rows."""
    m, k = P.shape
    off = frobenius(P.T @ P - np.eye(k))
    return (off + (m + 2) * U * (k + k * off)) * SLACK


def strong_convexity(objective: Objective) -> float:
    """Return a number ``alpha`` with which ``f`` is strongly convex; 0 if none is known."""
    if type(objective) is Denoising:
        return 1.0
    return _smallest_eigenvalue(objective) if type(objective) is LinearFineTuning else 0.0


def _smallest_eigenvalue(objective: LinearFineTuning) -> float:
    """Return a proved lower bound of the smallest eigenvalue of ``S``, about a tenth below it.

    Where it is below 1e-8 of the trace, the rounding errors that make ``S`` differ from the samples' may matter.
    """
    if objective not in _PROVED:
        S = objective.S.astype(np.float64, copy=False)
        guess, defect = _guess(S), None
        if guess > 1e-8 * float(np.trace(S)):
            defect = margin(S, -0.9 * guess, ROUNDED * guess)
        _PROVED[objective] = 0.0 if defect is None else max(0.9 * guess - 2.0 * defect, 0.0)
    return _PROVED[objective]


def _guess(S: Array) -> float:
    """Return the smallest eigenvalue of a positive definite matrix, not below it but for rounding; 0 of any other."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    n = len(S)
    if n <= SMALL:
        return float(np.linalg.eigvalsh(S)[0])
    try:
        factor = cho_factor(S, check_finite=False)
    except LinAlgError:
        return 0.0
    inverse = LinearOperator((n, n), matvec=lambda x: cho_solve(factor, x, check_finite=False), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    try:
        return 1.0 / float(eigsh(inverse, k=1, v0=start, tol=1e-3, return_eigenvectors=False)[0])
    except ArpackError:
        return float(np.linalg.eigvalsh(S)[0])
