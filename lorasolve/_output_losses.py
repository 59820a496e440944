"""Losses of the outputs ``z`` (N, K) of a model, one row a sample: sum, gradient and curvature; all convex and >= 0.

``square``: ``||z - y||^2/2`` with targets (N, K); ``logistic``: ``sum log(1 + exp(-y z))`` with labels -1 or 1 (N, K);
``softmax``: the cross-entropy, with classes (N,).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ._validate import Array

Loss = Literal["square", "logistic", "softmax"]
LOSSES: tuple[Loss, ...] = ("square", "logistic", "softmax")


def sum_and_slope(loss: Loss, z: Array, targets: Array) -> tuple[float, Array]:
    """Return the sum of the losses and its gradient in the outputs (N, K)."""
    if loss == "square":
        slope = z - targets
        return 0.5 * float(np.vdot(slope, slope)), slope
    if loss == "logistic":
        margin = targets * z
        return float(np.logaddexp(0.0, -margin).sum()), -targets * _sigmoid(-margin)
    rows = np.arange(len(z))
    top = z.max(axis=1, keepdims=True)
    exponentials = np.exp(z - top)
    total = exponentials.sum(axis=1, keepdims=True)
    value = float((top[:, 0] + np.log(total[:, 0]) - z[rows, targets]).sum())
    slope = exponentials / total
    slope[rows, targets] -= 1.0
    return value, slope


def curvature(loss: Loss, z: Array, dz: Array) -> Array:
    """Return the Hessian of the sum in the outputs times ``dz`` (N, K)."""
    if loss == "square":
        return dz
    if loss == "logistic":
        s = _sigmoid(z)
        return s * (1.0 - s) * dz
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p * (dz - np.sum(p * dz, axis=1, keepdims=True))


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * z))
