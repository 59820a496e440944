"""Ball oracles of losses of single entries: denoising, the Huber loss, matrix completion."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from .._support.validate import Array
from ..objectives.completion import MatrixCompletion
from ..objectives.denoising import Denoising
from ..objectives.huber import Huber
from ._rounding import INFLATE, U, add_up, exact_sum, fraction_down, fraction_up, mul_up, up
from .balls import Ball, BallOracle, SparseBall, entries, half_square, paired, residual, rough_entries, unknown

# Observed entries from which the compiled products of the loss are worth their compilation.
COMPILED = 20_000


def denoising(objective: Denoising, A: Array, B: Array) -> BallOracle:
    """``G = A B^T - M``, ``f = ||G||_F^2 / 2``."""
    G = residual(A, B.T, objective.M)
    f, inner = _value_and_inner(Ball(G.mid.ravel(), G.radius), objective.M.ravel())
    return BallOracle(*f, G, 0.0, "M", least_squares=True, inner=inner)


def completion(objective: MatrixCompletion, A: Array, B: Array) -> BallOracle:
    """``G`` is the residual at the observed entries."""
    products = objective.at_entries if objective.nnz >= COMPILED else None
    return _from_residual(objective, entries(A, B, objective.rows, objective.cols, objective.values, products))


def rough_completion(objective: MatrixCompletion, A: Array, B: Array) -> BallOracle:
    """Return the same with the errors of a plain evaluation."""
    return _from_residual(objective, rough_entries(A, B, objective.values, objective.at_entries))


def _from_residual(objective: MatrixCompletion, error: Ball) -> BallOracle:
    """Return what follows from the residual ``e`` at the observed entries: ``f = ||e||^2 / 2``."""
    many = objective.nnz >= COMPILED or objective.support is not None
    rows, cols, values = objective.rows, objective.cols, objective.values
    G: Ball
    if many:
        G = SparseBall(objective.sparse_array(error.mid), error.radius)
    else:
        G = Ball(np.zeros(objective.shape), error.radius)
        G.mid[rows, cols] = error.mid
    f, inner = _value_and_inner(error, values)
    return BallOracle(
        *f,
        G,
        0.0,
        "the observed entries",
        least_squares=True,
        inner=inner,
        products=objective.sparse(error.mid) if many else None,
    )


def _value_and_inner(error: Ball, values: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return bounds of ``f = ||e||^2 / 2`` and of ``<G, X> = <e, e + v> = 2 f + <e, v>`` with observed values ``v``."""
    f, pair = half_square(error), paired(error, values)
    return f, (math.nextafter(2.0 * f[0] + pair[0], -math.inf), up(2.0 * f[1] + pair[1]))


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
ROUGH_ORACLES = {MatrixCompletion: rough_completion}
