"""LoRA-GGPO and LoRA-MGPO as numbers: what a random weight perturbation does on average, and how sharp a point is.

Source: arXiv 2502.14538, its claims worked out (derived). Proof module: proofs/lora_ggpo.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._validate import Array, as_integer, as_number
from ..problem import Problem


def expected_rise(second_moment: Array, scales: Array) -> float:
    """Return ``E f(W + E) - f(W) = (tr C / 2) sum_i s_i^2`` for ``f = (1/2N) sum ||W x - y||^2``, ``C = X^T X/N``.

    With the paper's scales it is ``(sigma^2 tr C/(2n)) (||W||_F^2 + beta ||G||_F^2)``: ridge on the merged weight
    and a penalty on the gradient, but only if the scales were differentiated, which no implementation does.
    """
    return 0.5 * float(np.trace(second_moment)) * float(np.sum(scales**2))


def activation_variance(row: Array, scale: float, mean: float, variance: float) -> float:
    """Return the variance of ``(W_i + E_i) x`` for independent inputs of the given mean and variance.

    ``||W_i||^2 v + n s_i^2 (v + mean^2)``.
    """
    return float(row @ row) * variance + row.size * scale**2 * (variance + mean**2)


def smoothed(function: Callable[[Array], Array], z: Array, deviation: float, nodes: int = 60) -> Array:
    """Return ``E function(z + deviation * N(0, 1))`` by Gauss-Hermite quadrature, entry by entry."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return np.sum(w * function(z[..., None] + deviation * x), axis=-1) / np.sqrt(2.0 * np.pi)


# ---------------------------------------------------------------------- sharpness
def largest_curvature(problem: Problem, A: Array, B: Array) -> float:
    """Return the largest eigenvalue of the Hessian of ``L`` in ``(A, B)``, from Hessian products (Lanczos)."""
    import scipy.sparse.linalg as sla

    m, n, r = *problem.shape, problem.rank
    size = (m + n) * r

    def product(direction: Array) -> Array:
        U, V = direction[: m * r].reshape(m, r), direction[m * r :].reshape(n, r)
        return np.concatenate([part.ravel() for part in problem.hvp(A, B, U, V)])

    if size <= 24:
        H = np.stack([product(e) for e in np.eye(size)])
        return float(np.linalg.eigvalsh(0.5 * (H + H.T))[-1])
    operator = sla.LinearOperator((size, size), matvec=lambda v: product(v.ravel()), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    return float(sla.eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def curvature_at_zero_residual(A: Array, B: Array, scale: float = 1.0) -> float:
    """Return ``s^2 (sigma_1(A)^2 + sigma_1(B)^2)``.

    The largest Hessian eigenvalue of ``||s A B^T - T||_F^2/2`` at a point with zero residual; ``2 s sigma_1(X)``
    where the factors are balanced. It grows along training, so that a constant step can cross ``2/lambda_max`` in
    mid-run: a fall, a rise and a fall of the training loss (proofs/lora_ggpo).
    """
    return scale**2 * (float(np.linalg.norm(A, 2)) ** 2 + float(np.linalg.norm(B, 2)) ** 2)


def noise_sharpness(
    problem: Problem, A: Array, B: Array, deviations: Array, draws: int, seed: int
) -> tuple[float, float]:
    """Return the mean of ``f(W + E) - f(W)`` and its standard error (SAMPLED, antithetic pairs).

    ``E_ij ~ N(0, deviations_i^2)``; the same seed gives the same noise for every point, so that points compare.
    """
    as_integer(draws, "draws", 2)
    rng = np.random.default_rng(seed)
    X = problem.scale * (A @ B.T)
    value = problem.objective.value_and_grad(X)[0]
    rises = np.empty(draws)
    for k in range(draws):
        E = deviations[:, None] * rng.standard_normal(problem.shape)
        both = problem.objective.value_and_grad(X + E)[0] + problem.objective.value_and_grad(X - E)[0]
        rises[k] = 0.5 * both - value
    return float(rises.mean()), float(rises.std(ddof=1) / np.sqrt(draws))


def ascent_sharpness(problem: Problem, A: Array, B: Array, rho: float, steps: int = 50) -> float:
    """Return ``max L(theta + e) - L(theta)`` over ``||e|| <= rho`` as found by projected ascent (a lower bound)."""
    as_number(rho, "rho", 0.0, open_low=True)
    theta = problem.join(A, B)
    grad = np.empty_like(theta)
    value = problem.value_and_grad(theta, grad)
    if not np.any(grad):
        grad = np.random.default_rng(0).standard_normal(theta.size)
    best = 0.0
    e = rho * grad / np.linalg.norm(grad)
    for _ in range(steps):
        best = max(best, problem.value_and_grad(theta + e, grad) - value)
        e = e + rho * grad / (float(np.linalg.norm(grad)) or 1.0)
        e *= rho / np.linalg.norm(e)
    return max(best, problem.value_and_grad(theta + e, grad) - value)
