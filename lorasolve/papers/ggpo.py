"""LoRA-GGPO and LoRA-MGPO as numbers: what a random weight perturbation does on average.

Source: arXiv 2502.14538, its claims worked out (derived). Proof module: proofs/lora_ggpo.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._validate import Array


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
