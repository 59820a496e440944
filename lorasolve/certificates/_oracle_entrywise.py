"""Ball oracles of losses of single entries: denoising, the Huber loss, matrix completion."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .._validate import Array
from ..objectives.completion import MatrixCompletion
from ..objectives.denoising import Denoising
from ..objectives.huber import Huber
from ._rounding import INFLATE, U, add_up, exact_sum, fraction_down, fraction_up, mul_up
from .balls import Ball, BallOracle, entries, half_square, residual, unknown


def denoising(objective: Denoising, A: Array, B: Array) -> BallOracle:
    """``G = A B^T - M``, ``f = ||G||_F^2 / 2``."""
    G = residual(A, B.T, objective.M)
    return BallOracle(*half_square(G), G, 0.0, "M", least_squares=True)


def completion(objective: MatrixCompletion, A: Array, B: Array) -> BallOracle:
    """``G`` is the residual at the observed entries, ``f = ||G||_F^2 / 2``."""
    error = entries(A, B, objective.rows, objective.cols, objective.values)
    G = np.zeros(objective.shape)
    G[objective.rows, objective.cols] = error.mid
    return BallOracle(*half_square(error), Ball(G, error.radius), 0.0, "the observed entries", least_squares=True)


def huber(objective: Huber, A: Array, B: Array) -> BallOracle:
    """``G`` is the clipped residual: clipping is 1-Lipschitz, and ``f`` changes by at most ``||G|| r + r^2/2``."""
    E = residual(A, B.T, objective.M)
    if not E.radius < math.inf:
        return BallOracle(0.0, math.inf, unknown(objective.shape), 0.0, "M")
    g = np.clip(E.mid, -objective.delta, objective.delta)
    G = Ball(g, E.radius)
    # g (e - g/2): e^2/2 inside, delta |e| - delta^2/2 outside; three roundings of a number >= 0.
    values = g * (E.mid - 0.5 * g)
    total = exact_sum(values)
    error = add_up(mul_up(8.0 * U, total, INFLATE), values.size * 2.0**-1073, mul_up(G.norm, E.radius))
    error = add_up(error, mul_up(E.radius, E.radius))
    low = fraction_down(max(Fraction(total) - Fraction(error), Fraction(0)))
    return BallOracle(low, fraction_up(Fraction(total) + Fraction(error)), G, 0.0, "M")


ORACLES = {Denoising: denoising, MatrixCompletion: completion, Huber: huber}
