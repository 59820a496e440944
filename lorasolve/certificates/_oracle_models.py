"""Ball oracles of losses of a linear model's outputs: softmax and logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._validate import Array
from ..objectives._linear_model import LinearModel
from ..objectives.logistic import Logistic
from ..objectives.softmax import Softmax
from . import _losses
from ._rounding import add_up, frobenius, mul_up
from .balls import Ball, BallOracle, moved, product, residual
from .norms import factor_norm

# What a loss may be uncertain by, relative to its size, for one product to be accurate enough.
_SHARP = 2.0**-42


def enclosed(loss: Callable[[Ball, Array], _losses.Loss], objective: LinearModel, A: Array, B: Array) -> _losses.Loss:
    """Enclose a loss of the outputs ``(W0 + A B^T) Z``, the weight in twice the working precision.

    One product is tried first. Where its rounding shows in the loss, as of samples that are fitted almost exactly, the
    product is done in twice the precision too, at several times the cost.
    """
    high, low, radius = moved(objective.W0, A, B)
    Z = objective.Z
    size = frobenius(Z)
    found = loss(product(high, Z).wider(mul_up(size, add_up(radius, frobenius(low)))), objective.targets)
    D = found.derivative
    if found.high - found.low <= _SHARP * found.low and D.radius <= _SHARP * D.mid_norm:
        return found
    z = residual(Z.T, high.T, None, low.T).wider(mul_up(size, radius))
    return loss(Ball(np.ascontiguousarray(z.mid.T), z.radius), objective.targets)


def through_samples(loss: _losses.Loss, Z: Array) -> BallOracle:
    """Return the oracle of a loss with ``G = D Z^T``, ``D`` the derivative in the outputs."""
    D = loss.derivative
    G = product(Ball(D.mid), Z.T).wider(mul_up(D.radius, factor_norm(Z.T)))
    return BallOracle(loss.low, loss.high, G, 0.0, "the samples")


def softmax(objective: Softmax, A: Array, B: Array) -> BallOracle:
    """``D = (P - Y) / N``."""
    return through_samples(enclosed(_losses.softmax, objective, A, B), objective.Z)


def logistic(objective: Logistic, A: Array, B: Array) -> BallOracle:
    """``D = -y sigmoid(-y s) / N``."""
    return through_samples(enclosed(_losses.logistic, objective, A, B), objective.Z)


ORACLES = {Softmax: softmax, Logistic: logistic}
