"""Ball oracles of losses of a linear model's outputs: softmax and logistic regression."""

from __future__ import annotations

import numpy as np

from .._validate import Array
from ..objectives._linear_model import LinearModel
from ..objectives.logistic import Logistic
from ..objectives.softmax import Softmax
from . import _losses
from ._rounding import frobenius, mul_up
from .balls import Ball, BallOracle, product, residual, two_product
from .norms import factor_norm


def outputs(objective: LinearModel, A: Array, B: Array) -> Ball:
    """Enclose ``(W0 + A B^T) Z = [W0, A] [Z; B^T Z]``."""
    W0, Z = objective.W0, objective.Z
    high, low, radius = two_product(B.T, Z)
    below = np.vstack([np.zeros_like(Z), low])
    return residual(np.hstack([W0, A]), np.vstack([Z, high]), None, below).wider(mul_up(frobenius(A), radius))


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
