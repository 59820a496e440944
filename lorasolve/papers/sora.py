"""SoRA in closed form: what its penalty is for the update, and the exact optima to hold a run against.

Source: the structure of arXiv 2311.11696 worked out for matrix objectives (derived, not stated in the paper).
Everything is for the scale ``s = 1``. Proof module: proofs/sora.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .._validate import Array, as_float_array, as_number
from ..result import Result


def gate_hessian(A: Array, B: Array) -> Array:
    """Return the Hessian ``(A^T A) o (B^T B)`` (r, r) of ``||A diag(g) B^T - T||_F^2 / 2`` in the gates."""
    return (A.T @ A) * (B.T @ B)


def lasso_gates(A: Array, B: Array, T: Array, gate_penalty: float, sweeps: int = 10_000) -> Array:
    """Return the gates (r,) that minimise ``||A diag(g) B^T - T||_F^2/2 + gate_penalty ||g||_1``.

    For fixed factors the gate problem is a LASSO; it is solved by coordinate descent, until no gate moves by more
    than rounding. Columns of length zero get a closed gate.
    """
    H = gate_hessian(A, B)
    correlation = np.einsum("ik,ij,jk->k", A, T, B)
    g = np.zeros(A.shape[1])
    for _ in range(sweeps):
        largest = 0.0
        for k in np.flatnonzero(np.diag(H) > 0.0):
            partial = correlation[k] - H[k] @ g + H[k, k] * g[k]
            new = np.sign(partial) * max(abs(partial) - gate_penalty, 0.0) / H[k, k]
            largest = max(largest, abs(new - g[k]))
            g[k] = new
        if largest <= 1e-15 * (1.0 + float(np.abs(g).max())):
            break
    return g


def schatten_half_penalty(X: Array, gate_penalty: float, lam: float) -> float:
    """Return ``2 sqrt(gate_penalty lam) sum sqrt(sigma_i(X))``.

    This is the least of ``gate_penalty ||g||_1 + (lam/2)(||A||_F^2 + ||B||_F^2)`` over ``A diag(g) B^T = X``
    (with at least ``rank X`` gates).
    """
    return 2.0 * float(np.sqrt(gate_penalty * lam) * np.sum(np.sqrt(compact_svd(X)[1])))


def least_factorization(X: Array, gate_penalty: float, lam: float) -> tuple[Array, Array, Array]:
    """Return ``A = U t``, ``B = V t``, ``g = sigma/t^2`` with ``t_i^2 = sqrt(gate_penalty sigma_i/lam)``.

    It attains :func:`schatten_half_penalty`.
    """
    U, sigma, V = compact_svd(X)
    square = np.sqrt(gate_penalty * sigma / lam)
    return U * np.sqrt(square), V * np.sqrt(square), sigma / square


def compact_svd(X: Array) -> tuple[Array, Array, Array]:
    """Return the SVD without the singular values that are rounding errors (their roots would not be small)."""
    U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
    kept = sigma > np.finfo(float).eps * max(X.shape) * sigma[0]
    return U[:, kept], sigma[kept], Vt[kept].T


def half_threshold(sigma: ArrayLike, weight: float) -> Array:
    """Return the minimisers over ``x >= 0`` of ``(x - sigma)^2/2 + weight sqrt(x)``, entry by entry.

    Zero for ``sigma <= (3/2) weight^(2/3)``, where the value jumps to ``weight^(2/3)``.
    """
    sigma = np.asarray(sigma, dtype=float)
    x = np.zeros_like(sigma)
    large = sigma > 1.5 * weight ** (2.0 / 3.0)
    s = sigma[large]
    angle = np.arccos(0.25 * weight * (s / 3.0) ** -1.5)
    x[large] = (2.0 / 3.0) * s * (1.0 + np.cos(2.0 * np.pi / 3.0 - 2.0 * angle / 3.0))
    return x


@dataclass(frozen=True)
class GateOptimum:
    """The global optimum of a gate problem: the update (m, n), the objective and the number of open gates."""

    X: Array
    fun: float
    gates: int


def half_threshold_optimum(T: ArrayLike, gate_penalty: float, lam: float, rank: int | None = None) -> GateOptimum:
    """Return the global optimum of ``||A diag(g) B^T - T||_F^2/2 + gate_penalty ||g||_1 + (lam/2)(||A||^2 + ||B||^2)``.

    Half-thresholding of the singular values of ``T``, at most ``rank`` of them kept.
    """
    T = as_float_array(T, "T", 2)
    as_number(gate_penalty, "gate_penalty", 0.0, open_low=True)
    as_number(lam, "lam", 0.0, open_low=True)
    U, sigma, Vt = np.linalg.svd(T, full_matrices=False)
    weight = 2.0 * np.sqrt(gate_penalty * lam)
    x = half_threshold(sigma, weight)
    x[len(x) if rank is None else rank :] = 0.0
    fun = float(np.sum(0.5 * (x - sigma) ** 2 + weight * np.sqrt(x)))
    return GateOptimum((U * x) @ Vt, fun, int(np.count_nonzero(x)))


def open_gates(result: Result) -> int:
    """Return the number of nonzero gates of a SoRA run: the rank it chose."""
    return int(np.count_nonzero(result.problem.split(result.theta)[2]))


def retained_parameters(result: Result) -> int:
    """Return ``m + n`` per open gate: what is left once the gates are folded into a factor."""
    return open_gates(result) * sum(result.problem.shape)
