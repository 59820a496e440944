"""A bound on the least value of ``F`` over a rank, where the optimum of ``F`` itself has a larger one."""

from __future__ import annotations

import numpy as np

from .._support.validate import Array
from ..problem import nuclear_norm


def gap_of_rank(A: Array, B: Array, G: Array, alpha: float, lam: float, r: int, error: float) -> float:
    """Return an upper bound on ``F(X) - min F(Y)`` over ``rank Y <= r``, ``X = A B^T``.

    Strong convexity, ``f(Y) >= f(X) + <G, Y - X> + (alpha/2) ||Y - X||_F^2``, bounds ``F`` from below by denoising of
    ``T = X - G/alpha``, whose least value over a rank is a formula: the ``r`` largest singular values of ``T``, less
    ``lam/alpha`` each (Eckart and Young for ``lam = 0``). At a stationary point with ``G = -lam P Q^T + S`` the gap is
    0 if ``||S||_2 <= lam + alpha sigma_r(X)``: of denoising that is so at the best point of the rank.

    Parameters
    ----------
    A, B : ndarray of shape (m, k), (n, k)
        The point.
    G : ndarray of shape (m, n)
        The gradient of ``f`` there.
    alpha : float
        Constant of strong convexity of ``f``, > 0.
    lam : float
        Weight of the nuclear norm.
    r : int
        The rank.
    error : float
        Size of the rounding errors in ``G`` and ``alpha X``.

    Notes
    -----
    Source: proofs/denoising_landscape (lower_bound_by_values, kept_value, dropped_value).
    """
    # In units where alpha = 1.
    X, threshold, length = A @ B.T, lam / alpha, float(np.linalg.norm(G)) / alpha
    s = np.linalg.svd(X - G / alpha, compute_uv=False)
    kept = s[:r][s[:r] > threshold]
    least = float(np.sum(threshold * (kept - 0.5 * threshold))) + 0.5 * float(np.sum(s[kept.size :] ** 2))
    here = threshold * nuclear_norm([(A, B)]) + 0.5 * length**2
    return alpha * (here - least) + error * (float(np.linalg.norm(X)) + length + threshold)
