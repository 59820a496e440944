"""What losses state at many points at once: values and gradients in balls (``stacked_balls.py``)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives.base import Objective
from ..objectives.completion import MatrixCompletion
from ..objectives.denoising import Denoising
from ..objectives.huber import Huber
from ..objectives.linear import LinearFineTuning
from ..objectives.sensing import MatrixSensing
from ..objectives.softmax import Softmax
from . import _oracle_measurements, _oracle_models, _oracles, _rounding
from ._functions import (
    ATANH_COEFFICIENTS,
    EXP_COEFFICIENTS,
    EXP_ERROR,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOG_ERROR,
    LOWEST,
    SHIFT,
    TINY,
)
from ._oracle_models import SHARP as SHARP_LOSS
from ._rounding import BLOCK, ETA, INFLATE, U, blocked, sum_error, terms, two_sum
from .balls import Ball, BallOracle
from .norms import factor_norm
from .stacked_balls import (
    Balls,
    add_up,
    down,
    frobenius,
    half_square,
    mul_up,
    numbers,
    product,
    residual,
    scaled,
    sqrt_up,
    two_product,
    up,
)

# What the rounding of a single product may add to a gap, relative to f, where one in twice the precision costs more.
SHARP = 2.0**-37
# Outputs of models from which on a compiled kernel is worth loading it, and those that are evaluated at a time.
COMPILED, CACHED = 2**20, 2**17


def _denoising(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls]:
    G = residual(A, B.mT, objective.M)
    return *half_square(G), G


def _huber(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls]:
    E = residual(A, B.mT, objective.M)
    g = np.clip(E.mid, -objective.delta, objective.delta)
    G = Balls(g, E.radius)
    # Three roundings of each number >= 0, and sums of n and of m of them.
    m, n = objective.shape
    total = (g * (E.mid - 0.5 * g)).sum(axis=2).sum(axis=1)
    error = add_up(mul_up((m + n + 8) * U, total, INFLATE), m * n * 2.0**-1073, mul_up(G.norm, E.radius))
    error = add_up(error, mul_up(E.radius, E.radius))
    return np.maximum(down(total - error), 0.0), up(total + error), G


def _completion(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls]:
    # The matrices are small: all entries are as cheap as the observed ones.
    mask, M = np.zeros((2, *objective.shape))
    mask[objective.rows, objective.cols] = 1.0
    M[objective.rows, objective.cols] = objective.values
    error = residual(A, B.mT, M)
    G = Balls(error.mid * mask, error.radius)
    return *half_square(G), G


def _linear(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls] | None:
    if objective._samples is None or objective.W0 is None:
        return None
    Z, Y = objective._samples
    N = Z.shape[1]
    high, rest = two_product(A, B.mT)
    high, low = two_sum(objective.W0, high)
    low += rest.mid
    radius = add_up(rest.radius, mul_up(U, frobenius(low)))
    Rt = residual(Z.T[None], high.mT, Y.T, low.mT)
    R = Balls(np.ascontiguousarray(Rt.mid.mT), add_up(Rt.radius, mul_up(frobenius(Z[None]), radius)))
    return *half_square(R, N), scaled(product(R, numbers(Z.T[None])), float(N))


def _sensing(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls] | None:
    """Form the residuals by one product each, and again in twice the precision where its rounding would show."""
    if objective.kind != "dense":
        return None
    M, y, N = objective._map.flat, objective.y, len(objective.y)
    size = _rounding.frobenius(M)
    r = _plain_residuals(M, y, size, A, B)
    # What that moves <G, X> by, and c ||X||_* in the bound, at most; a guess of what is worth it.
    moved = 2.0 * size / N * r.radius * np.sqrt(np.square(A).sum(axis=(1, 2)) * np.square(B).sum(axis=(1, 2)))
    if not (moved <= SHARP * np.square(r.mid).sum(axis=(1, 2)) / (2.0 * N)).all():
        r = _sharp_residuals(M, y, A, B)
    G = _rows_times(r, M, size)
    return *half_square(r, N), scaled(Balls(G.mid.reshape(len(A), *objective.shape), G.radius), float(N))


def _rows_times(rows: Balls, M: Array, size: float, norm: float | None = None) -> Balls:
    """Enclose ``R_k M`` for a stack of balls (K, q, n) and one matrix, ``||M||_F <= size``, by one product.

    ``||M||_2 <= norm``, by default ``size``.
    """
    n = len(M)
    mid = blocked(rows.mid.reshape(-1, n), M).reshape(*rows.mid.shape[:2], -1)
    rounding = mul_up(sum_error(n), rows.mid_norm, size)
    tiny = mid[0].size * terms(n) * ETA
    return Balls(mid, add_up(rounding, mul_up(rows.radius, size if norm is None else norm), tiny))


def _plain_residuals(M: Array, y: Array, size: float, A: Array, B: Array) -> Balls:
    """Enclose ``M vec(A_k B_k^T) - y`` as rows (K, 1, N), ``||M||_F <= size``."""
    X = product(numbers(A), numbers(B.mT))
    r = _rows_times(Balls(X.mid.reshape(len(A), 1, -1), X.radius), M.T, size)
    r = Balls(r.mid - y, r.radius)
    return r.wider(mul_up(U, r.mid_norm))


def _sharp_residuals(M: Array, y: Array, A: Array, B: Array) -> Balls:
    """Enclose ``M vec(A_k B_k^T) - y`` as rows (K, 1, N), accurate relative to the result."""
    high, low = two_product(A, B.mT)
    first, second = (np.ascontiguousarray(part.reshape(len(A), -1).T) for part in (high, low.mid))
    # One ball holds the residuals of all points, so its radius serves each of them.
    r = _oracle_measurements.measured(Ball(M), y, first, second, float(low.radius.max()))
    return Balls(np.ascontiguousarray(r.mid.T)[:, None], np.full(len(A), r.radius))


def _softmax(objective: Any, A: Array, B: Array) -> tuple[Array, Array, Balls] | None:
    """Evaluate few points at a time; those for which one product is not accurate enough alone, as everywhere else."""
    Z, K, N = Ball(objective.Z), objective.shape[0], len(objective.targets)
    if len(A) * K * N < COMPILED:
        return None
    high, rest = two_product(A, B.mT)
    high, low = two_sum(objective.W0, high)
    low += rest.mid
    radius = add_up(rest.radius, mul_up(U, frobenius(low)), frobenius(low))
    weights, norm = Balls(high, radius), factor_norm(Z.T)
    lows, highs, radii, mid = *np.empty((3, len(A))), np.empty(high.shape)
    few = max(1, CACHED // (K * N))
    for first in range(0, len(A), few):
        part = slice(first, first + few)
        logits = _rows_times(Balls(weights.mid[part], weights.radius[part]), Z.mid, Z.mid_norm)
        lows[part], highs[part], D = softmax_losses(logits, objective.targets)
        G = _rows_times(D, Z.mid.T, Z.mid_norm, norm)
        mid[part], radii[part] = G.mid, G.radius
        sharp = (highs[part] - lows[part] <= SHARP_LOSS * lows[part]) & (D.radius <= SHARP_LOSS * D.mid_norm)
        for k in (first + np.flatnonzero(~sharp)).tolist():
            found = _oracle_models.softmax(objective, A[k], B[k])
            lows[k], highs[k], mid[k], radii[k] = found.low, found.high, found.gradient.mid, found.gradient.radius
    return lows, highs, Balls(mid, radii)


def softmax_losses(logits: Balls, labels: Array) -> tuple[Array, Array, Balls]:
    """Return what ``_losses.softmax`` does at each of a stack of balls, whose middle (S, K, N) is overwritten."""
    from ..kernels import cross_entropy

    D, radius = logits.mid, logits.radius
    S, K, N = D.shape
    values, errors, wrong = np.empty((3, S, N))
    cross_entropy.softmax(
        D, labels, cross_entropy.Functions(
            np.array(EXP_COEFFICIENTS), np.array(ATANH_COEFFICIENTS), LOWEST, LOG2_E, SHIFT, LN2_HIGH, LN2_LOW,
            EXP_ERROR, LOG_ERROR, TINY, U,
        ), values, errors, wrong,
    )  # fmt: skip
    total = np.add.reduceat(values, np.arange(0, N, BLOCK), axis=1).sum(axis=1)
    error = mul_up(add_up(mul_up(terms(N) * U, total), errors.sum(axis=1)), INFLATE)
    rounding = mul_up(sqrt_up(add_up(wrong.sum(axis=1), K * N * ETA)), INFLATE)
    # As in _losses._loss, with the constants of softmax.
    norm = add_up(frobenius(D), rounding)
    x = mul_up(2.0, radius)
    change = np.minimum(mul_up(0.5, radius), np.where(x <= 1.0, mul_up(add_up(x, mul_up(x, x)), norm), math.inf))
    whole = add_up(rounding, change, mul_up(2.0 * U, norm), math.sqrt(K * N) * 2.0 * TINY)
    moved = add_up(error, mul_up(norm, radius), mul_up(0.5, radius, radius))
    D /= N
    low, high = np.maximum(down(down(total - moved) / N), 0.0), up(up(total + moved) / N)
    return low, high, Balls(D, up(whole / N))


_Oracle = Callable[[Any, Array, Array], tuple[Array, Array, Balls] | None]
# Beside the class: which data its statement is about, and whether it is least squares.
_STACKED: dict[type, tuple[_Oracle, str, bool]] = {
    Denoising: (_denoising, "M", True),
    Huber: (_huber, "M", False),
    LinearFineTuning: (_linear, "the samples", True),
    MatrixCompletion: (_completion, "the observed entries", True),
    MatrixSensing: (_sensing, "the measurements", True),
    Softmax: (_softmax, "the samples", False),
}


def ball_oracles(objective: Objective, A: Array, B: Array) -> tuple[list[BallOracle], Balls]:
    """Return what an objective states at each point, and the gradients together."""
    known = _STACKED.get(type(objective))
    found = None if known is None else known[0](objective, A, B)
    if known is None or found is None:
        single = [_oracles.ball_oracle(objective, a, b) for a, b in zip(A, B)]
        gradients = [oracle.gradient for oracle in single]
        return single, Balls(np.stack([G.mid for G in gradients]), np.array([G.radius for G in gradients]))
    low, high, G = found
    lows, highs, radii = (np.where(np.isnan(x), math.inf, x).tolist() for x in (low, high, G.radius))
    # What is not known from below is 0, which all of these losses are at least.
    return [
        BallOracle(a if a < math.inf else 0.0, b, Ball(mid, radius), 0.0, *known[1:])
        for a, b, mid, radius in zip(lows, highs, G.mid, radii)
    ], G
