"""RAC-LoRA as numbers: rates and bounds of the randomized asymmetric chain, and the paper's example.

Source: Malinovsky et al., arXiv 2410.08305 (its Theorems 5.3 and 5.5 for gradient descent; the constants with
noise are derived, not quoted). ``L`` is the smoothness constant, ``mu`` the Polyak-Lojasiewicz constant
(``||grad f||_F^2 >= 2 mu (f - f*)``) and ``gamma`` the step size, called ``step`` below. Proof module:
proofs/rac_lora.
"""

from __future__ import annotations

import numpy as np

from .._validate import Array, as_number
from ..objectives.base import Objective


def sketch_eigenvalue(shape: tuple[int, int], rank: int, side: str = "auto", probability: float = 0.5) -> float:
    """Return ``lambda_min(E[H])`` of orthonormal sketches: ``r/m`` on the left, ``r/n`` on the right.

    Mixed sides give ``p r/m + (1 - p) r/n`` with ``p`` the probability of the left one, so that always sketching
    the smaller side (auto) is best. Gaussian sketches without normalisation have a smaller value.
    """
    m, n = shape
    values = {
        "left": rank / m,
        "right": rank / n,
        "auto": rank / min(m, n),
        "mixed": probability * rank / m + (1.0 - probability) * rank / n,
    }
    if side not in values:
        raise ValueError(f"side: expected one of {', '.join(values)}, got {side!r}")
    return values[side]


def isotropic_factor(eigenvalue: float, step: float, smoothness: float) -> float:
    """Return the exact mean contraction of the gap of ``(L/2)||W - M||_F^2`` in one block of one step.

    ``1 - gamma L (2 - gamma L) lambda``, with ``lambda`` from :func:`sketch_eigenvalue`; at ``gamma = 1/L`` it
    is ``1 - lambda``.
    """
    product = step * smoothness
    return 1.0 - product * (2.0 - product) * eigenvalue


def stationarity_bound(
    gap: float, eigenvalue: float, step: float, blocks: int, smoothness: float, noise: float = 0.0
) -> float:
    """Bound the mean over the blocks of ``E ||grad f||_F^2`` for smooth ``f``, convex or not.

    Parameters
    ----------
    gap : float
        ``f(W_0) - inf f``.
    eigenvalue : float
        From :func:`sketch_eigenvalue` (isotropic sketches).
    step : float
        ``gamma`` in ``(0, 1/L]``.
    blocks : int
        Number of blocks ``T``.
    smoothness : float
        ``L``.
    noise : float
        ``sigma^2``, the variance of unbiased gradient noise independent of the sketch.

    Returns
    -------
    float
        ``2 gap/(lambda gamma T) + gamma L sigma^2``: Theorem 5.3 for ``sigma = 0``. The noise floor does not
        depend on the rank.
    """
    _check_step(step, smoothness)
    return 2.0 * gap / (eigenvalue * step * blocks) + step * smoothness * noise


def gap_bound(
    gap: float, eigenvalue: float, step: float, blocks: int, smoothness: float, pl: float, noise: float = 0.0
) -> float:
    """Bound ``E f(W_T) - inf f`` under the Polyak-Lojasiewicz condition with constant ``pl``.

    ``(1 - gamma mu lambda)^T gap + gamma L sigma^2/(2 mu)``: Theorem 5.5 for ``sigma = 0``. The same bounds
    hold for blocks of several inner steps of size ``1/L``, which never increase ``f``.
    """
    _check_step(step, smoothness)
    return (1.0 - step * pl * eigenvalue) ** blocks * gap + step * smoothness * noise / (2.0 * pl)


def noisy_isotropic_step(gap: float, eigenvalue: float, step: float, smoothness: float, noise: float) -> float:
    """Return the exact mean gap after one noisy step on ``(L/2)||W - M||_F^2``.

    The isotropic factor times the gap, plus ``(L gamma^2/2) lambda sigma^2``.
    """
    return isotropic_factor(eigenvalue, step, smoothness) * gap + 0.5 * smoothness * step * step * eigenvalue * noise


def _check_step(step: float, smoothness: float) -> None:
    as_number(step, "step", 0.0, 1.0 / smoothness, open_low=True)


class PaperExample(Objective):
    """The paper's example ``f(X) = w^T M w + b^T w``, ``w = vec X`` in R^9, ``M = diag(10, 1, .., 1)``, ``b = 1``.

    Its minimiser has singular values 1.377, 0.327 and 0 (rank two, although it is announced as full rank), its
    minimum is -2.025, and the best matrix of rank one is 0.28889 above it.
    """

    shape = (3, 3)
    convex = True
    smoothness = 20.0
    lower_bound = -2.025
    pl = 2.0
    X_star = -0.5 * np.array([[0.1, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])

    def __init__(self) -> None:
        self.weights = np.ones((3, 3))
        self.weights[0, 0] = 10.0

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``2 M o X + 1``."""
        return float(np.sum(self.weights * X * X + X)), 2.0 * self.weights * X + 1.0

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``2 M o D``."""
        return 2.0 * self.weights * D
