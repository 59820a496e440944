"""Losses of the outputs ``z`` (N, K) of a model, one row a sample: sum, gradient and curvature; all convex and >= 0.

``square``: ``||z - y||^2/2`` with targets (N, K); ``logistic``: ``sum log(1 + exp(-y z))`` with labels -1 or 1 (N, K);
``softmax``: the cross-entropy, with classes (N,).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from .._support.validate import Array

Loss = Literal["square", "logistic", "softmax"]
LOSSES: tuple[Loss, ...] = ("square", "logistic", "softmax")
# The largest curvature of each in the outputs of a sample.
MOST_CURVED = {"square": 1.0, "logistic": 0.25, "softmax": 0.5}


def sum_and_slope(loss: Loss, z: Array, targets: Array) -> tuple[float, Array]:
    """Return the sum of the losses and its gradient in the outputs (N, K).

    Small losses and slopes keep their digits: none is a difference of what is about 1.
    """
    if loss == "square":
        slope = z - targets
        return 0.5 * float(np.vdot(slope, slope)), slope
    if loss == "logistic":
        margin = targets * z
        decay = np.exp(-np.abs(margin))
        value = float((np.maximum(-margin, 0.0) + np.log1p(decay)).sum())
        return value, -targets * np.where(margin > 0.0, decay, 1.0) / (1.0 + decay)
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    behind = z - z[rows, top][:, None]
    slope = np.exp(behind)
    slope[rows, top] = 0.0
    others = slope.sum(axis=1)
    value = float((np.log1p(others) - behind[rows, targets]).sum())
    slope[rows, top] = 1.0
    slope /= 1.0 + others[:, None]
    slope[rows, targets] = 0.0
    slope[rows, targets] = -slope.sum(axis=1)
    return value, slope


def curvature(loss: Loss, z: Array, dz: Array) -> Array:
    """Return the Hessian of the sum in the outputs times ``dz`` (N, K)."""
    if loss == "square":
        return dz
    if loss == "logistic":
        decay = np.exp(-np.abs(z))
        return decay / (1.0 + decay) ** 2 * dz
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p * (dz - np.sum(p * dz, axis=1, keepdims=True))
