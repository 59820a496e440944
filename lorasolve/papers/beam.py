"""BeamLoRA as numbers: importance and its gauge, the mass lost by averaging logits, the decay of gated factors.

Source: arXiv 2502.13604, its claims worked out for matrix objectives (derived). Proof module: proofs/beam_lora.
"""

from __future__ import annotations

import numpy as np

from .._validate import Array, as_integer
from ..linear_map import balanced, factor_svd
from .sora import compact_svd


def term_norms(A: Array, B: Array) -> Array:
    """Return ``||a_k b_k^T||_F = ||a_k|| ||b_k||`` (r,), the paper's importance, at cost O(r (m + n))."""
    return np.linalg.norm(A, axis=0) * np.linalg.norm(B, axis=0)


def dispersion(importances: Array) -> float:
    """Return the coefficient of variation: standard deviation over mean."""
    return float(np.std(importances) / np.mean(importances))


def in_gauge(X: Array, Q: Array) -> tuple[Array, Array]:
    """Return the balanced factors ``U S^(1/2) Q``, ``V S^(1/2) Q`` of ``X`` for an orthogonal ``Q`` (r, r).

    Their importances are ``diag(Q^T S Q)``: majorised by the singular values, with the sum ``||X||_*``. ``Q = I``
    has the largest dispersion; a normalised Hadamard matrix makes all importances equal. So the dispersion of
    ranks measures the gauge that the optimizer ended in, not the update.
    """
    r = Q.shape[0]
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    A, B = balanced(U[:, :r], s[:r], Vt[:r].T)
    return A @ Q, B @ Q


def hadamard(r: int) -> Array:
    """Return the orthogonal matrix (r, r) with entries ``+-1/sqrt(r)``, for ``r`` a power of two."""
    as_integer(r, "r", 1)
    if r & (r - 1):
        raise ValueError(f"r: expected a power of two, got {r}")
    H = np.ones((1, 1))
    while H.shape[0] < r:
        H = np.block([[H, H], [H, -H]])
    return H / np.sqrt(r)


def pruning_error(A: Array, B: Array, removed: int, highest_first: bool = False) -> float:
    """Return ``||X - X_pruned||_F / ||X||_F`` when the ``removed`` terms of least (or most) importance go."""
    order = np.argsort(term_norms(A, B))
    gone = order[len(order) - removed :] if highest_first else order[:removed]
    return float(np.linalg.norm(A[:, gone] @ B[:, gone].T) / np.linalg.norm(A @ B.T))


def marginal_importance(A: Array, B: Array, G: Array, smoothness: float = 1.0) -> Array:
    """Return ``f(X - a_k b_k^T) - f(X)`` (r,), exactly for ``f = (smoothness/2)||X - T||_F^2``.

    ``-a_k^T G b_k + (smoothness/2) ||a_k||^2 ||b_k||^2`` with ``G`` the gradient at ``X``: what the loss really
    rises by when a term is removed.
    """
    return -np.einsum("ik,ij,jk->k", A, G, B) + 0.5 * smoothness * term_norms(A, B) ** 2


def averaged_mass(z_i: float, z_j: float, tau: float) -> float:
    """Return the pair's unnormalised weight after averaging the logits over that before: ``1/cosh((z_i-z_j)/2tau)``.

    The mean of logits is the geometric mean of weights: at most 1, and the smaller the more the two differ.
    """
    return float(1.0 / np.cosh((z_i - z_j) / (2.0 * tau)))


def gated_decay(X: Array, lam: float, gates: int) -> float:
    """Return ``(lam/r)(sum sqrt(sigma_i(X)))^2``: the weight decay that softmax-gated factors of ``X`` need.

    The least of ``(lam/2)(||A||_F^2 + ||B||_F^2)`` over ``A diag(w) B^T = X``, ``w > 0`` with sum ``r`` (a limit
    where ``rank X < r``). By Cauchy-Schwarz over the weights and the bound on ``sum sqrt(||a_k|| ||b_k||)``.
    """
    return lam / gates * float(np.sum(np.sqrt(compact_svd(X)[1]))) ** 2


def svd_gauge(A: Array, B: Array) -> tuple[Array, Array]:
    """Return the balanced factors of the same ``X`` whose importances are its singular values."""
    return balanced(*factor_svd(A, B))
