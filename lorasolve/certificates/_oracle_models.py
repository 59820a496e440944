"""Ball oracles of losses of a linear model's outputs: softmax and logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._support.validate import Array
from ..objectives.logistic import Logistic
from ..objectives.softmax import Softmax
from . import _losses
from ._rounding import add_up, frobenius, mul_up
from .balls import Ball, BallOracle, moved, product, residual
from .norms import factor_norm

# What a loss may be uncertain by, relative to its size, for one product to be accurate enough.
SHARP = 2.0**-42


def enclosed(
    loss: Callable[[Ball, Array], _losses.Loss], objective: Softmax | Logistic, Z: Ball, A: Array, B: Array
) -> _losses.Loss:
    """Enclose a loss of the outputs ``(W0 + A B^T) Z``, the weight in twice the working precision.

    One product is tried first. Where its rounding shows in the loss, as of samples that are fitted almost exactly, the
    product is done in twice the precision too, at several times the cost.
    """
    high, low, radius = moved(objective.W0, A, B)
    size = Z.mid_norm
    found = loss(product(high, Z).wider(mul_up(size, add_up(radius, frobenius(low)))), objective.targets)
    D = found.derivative
    if found.high - found.low <= SHARP * found.low and D.radius <= SHARP * D.mid_norm:
        return found
    z = residual(Z.mid.T, high.T, None, low.T).wider(mul_up(size, radius))
    return loss(Ball(np.ascontiguousarray(z.mid.T), z.radius), objective.targets)


def through_samples(
    loss: Callable[[Ball, Array], _losses.Loss], objective: Softmax | Logistic, A: Array, B: Array
) -> BallOracle:
    """Return the oracle of a loss of the outputs, with ``G = D Z^T``, ``D`` the derivative in them."""
    Z = Ball(objective.Z)
    found = enclosed(loss, objective, Z, A, B)
    D = found.derivative
    G = product(Ball(D.mid), Z.T).wider(mul_up(D.radius, factor_norm(Z.T)))
    return BallOracle(found.low, found.high, G, 0.0, "the samples")


def softmax(objective: Softmax, A: Array, B: Array) -> BallOracle:
    """``D = (P - Y) / N``."""
    return through_samples(_losses.softmax, objective, A, B)


def logistic(objective: Logistic, A: Array, B: Array) -> BallOracle:
    """``D = -y sigmoid(-y s) / N``."""
    return through_samples(_losses.logistic, objective, A, B)


ORACLES = {Softmax: softmax, Logistic: logistic}
