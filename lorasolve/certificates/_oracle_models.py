"""Ball oracles of losses of a linear model's outputs: softmax and logistic regression."""

from __future__ import annotations

import numpy as np

from .._validate import Array
from ..objectives._linear_model import LinearModel
from ..objectives.logistic import Logistic
from ..objectives.softmax import Softmax
from . import _losses
from ._rounding import frobenius, mul_up
from .balls import Ball, BallOracle, moved, product, residual
from .norms import factor_norm


def outputs(objective: LinearModel, A: Array, B: Array) -> Ball:
    """Enclose ``(W0 + A B^T) Z``, the weight in twice the working precision."""
    high, low, radius = moved(objective.W0, A, B)
    Z = objective.Z
    z = residual(Z.T, high.T, None, low.T).wider(mul_up(frobenius(Z), radius))
    return Ball(np.ascontiguousarray(z.mid.T), z.radius)


def through_samples(loss: _losses.Loss, Z: Array) -> BallOracle:
    """Return the oracle of a loss with ``G = D Z^T``, ``D`` the derivative in the outputs."""
    D = loss.derivative
    G = product(Ball(D.mid), Z.T).wider(mul_up(D.radius, factor_norm(Z.T)))
    return BallOracle(loss.low, loss.high, G, 0.0, "the samples")


def softmax(objective: Softmax, A: Array, B: Array) -> BallOracle:
    """``D = (P - Y) / N``."""
    return through_samples(_losses.softmax(outputs(objective, A, B), objective.targets), objective.Z)


def logistic(objective: Logistic, A: Array, B: Array) -> BallOracle:
    """``D = -y sigmoid(-y s) / N``."""
    return through_samples(_losses.logistic(outputs(objective, A, B), objective.targets), objective.Z)


ORACLES = {Softmax: softmax, Logistic: logistic}
