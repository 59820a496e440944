"""Enclosures of mean losses of a model's outputs (one column per sample) and of their derivatives."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .._support.validate import Array
from ._functions import EXP_ERROR, LOG_ERROR, TINY, exp_nonpositive, log1p_nonnegative
from ._rounding import INFLATE, U, add_up, fraction_down, fraction_up, frobenius, mul_up, nonnegative_sum, sqrt_up
from .balls import Ball, unknown


class Loss(NamedTuple):
    """Bounds of a mean loss and a ball that contains its derivative in the outputs (K, N)."""

    low: float
    high: float
    derivative: Ball


def softmax(outputs: Ball, labels: Array) -> Loss:
    """Enclose the mean cross-entropy of logits ``s`` (K, N) with labels (N,): ``(P - Y) / N`` and its value.

    Each sample: ``log(1 + sum_(c != top) exp(t_c)) - t_label`` with ``t = s - s_top <= 0``, and
    ``p_label - 1 = -sum_(c != label) p_c``, so that nothing cancels. ``P`` is 1/2-Lipschitz in ``s`` (its Jacobian is
    ``diag(p) - p p^T <= I/2``), and a change of ``s`` by at most ``r`` multiplies each ``p_c`` by at most ``e^(2r)``.
    """
    if not outputs.radius < math.inf:
        return Loss(0.0, math.inf, unknown(outputs.mid.shape))
    K, N = outputs.mid.shape
    column = np.arange(N)
    top = outputs.mid.argmax(axis=0)
    t = outputs.mid - outputs.mid[top, column]
    e = exp_nonpositive(t)
    e[top, column] = 0.0
    # A rounding of t by U |t| changes exp(t) by that share.
    share = EXP_ERROR + 1.01 * U * np.minimum(-t, 800.0)
    others = e.sum(axis=0)
    error = (e * share).sum(axis=0) + (K + 1) * U * others + K * TINY
    logs, behind = log1p_nonnegative(others), -t[labels, column]
    bounds = _mean(logs + behind, error + LOG_ERROR * logs + 2.0 * U * (logs + behind) + TINY, N)
    P = e / (1.0 + others)
    P[top, column] = 1.0 / (1.0 + others)
    share[top, column] = 0.0
    wrong = P * (share + error / (1.0 + others) + 4.0 * U) + TINY
    P[labels, column] = 0.0
    wrong[labels, column] = 0.0
    P[labels, column] = -P.sum(axis=0)
    wrong[labels, column] = wrong.sum(axis=0) - (K + 1) * U * P[labels, column]
    return _loss(bounds, P, wrong, outputs.radius, N, 0.5, 2.0)


def logistic(outputs: Ball, labels: Array) -> Loss:
    """Enclose ``(1/N) sum log(1 + exp(-y s))`` for outputs ``s`` (K, N) and labels ``y`` in {-1, 1}.

    With ``e = exp(-|s|)``: ``log(1 + e) + max(-y s, 0)``, and ``sigmoid(-y s)`` is ``e / (1 + e)`` or
    ``1 / (1 + e)``; its derivative is at most 1/4, and a change of ``s`` by at most ``r`` multiplies it by at most
    ``e^r``.
    """
    if not outputs.radius < math.inf:
        return Loss(0.0, math.inf, unknown(outputs.mid.shape))
    N = outputs.mid.shape[1]
    margin = labels * outputs.mid
    e = exp_nonpositive(-np.abs(margin))
    logs, behind = log1p_nonnegative(e), np.maximum(-margin, 0.0)
    bounds = _mean(logs + behind, (EXP_ERROR + LOG_ERROR) * 1.01 * logs + 2.0 * U * (logs + behind) + 2.0 * TINY, N)
    sigmoid = np.where(margin > 0.0, e, 1.0) / (1.0 + e)
    return _loss(bounds, -labels * sigmoid, sigmoid * (EXP_ERROR + 4.0 * U) + TINY, outputs.radius, N, 0.25, 1.0)


def _mean(values: Array, errors: Array, N: int) -> tuple[Fraction, Fraction]:
    """Return bounds of the sum of values with errors, all ``>= 0``, divided by ``N``."""
    total, error = nonnegative_sum(values)
    error = mul_up(add_up(error, *nonnegative_sum(errors)), INFLATE)
    return (Fraction(total) - Fraction(error)) / N, (Fraction(total) + Fraction(error)) / N


def _loss(
    bounds: tuple[Fraction, Fraction], D: Array, errors: Array, radius: float, N: int, lipschitz: float, growth: float
) -> Loss:
    """Join the rounding errors of a loss at the middle of a ball of outputs with what changes over the ball.

    ``D`` is ``N`` times the derivative, within ``errors`` entry by entry; ``lipschitz`` belongs to ``D``, which
    within ``radius`` changes by at most ``(e^(growth radius) - 1) |D|`` too (and ``e^x - 1 <= x + x^2`` for
    ``x <= 1``). The value changes by at most ``||D||_F radius / N + lipschitz radius^2 / (2N)``.
    """
    rounding = mul_up(frobenius(errors), INFLATE)
    norm = add_up(frobenius(D), rounding)
    change = mul_up(lipschitz, radius)
    x = mul_up(growth, radius)
    if x <= 1.0:
        change = min(change, mul_up(add_up(x, mul_up(x, x)), norm))
    scaled = D / N
    whole = add_up(rounding, change, mul_up(2.0 * U, norm), mul_up(sqrt_up(float(D.size)), TINY))
    moved = Fraction(add_up(mul_up(norm, radius), mul_up(lipschitz, radius, radius))) / N
    derivative = Ball(scaled, fraction_up(Fraction(whole) / N))
    low, high = max(bounds[0] - moved, Fraction(0)), bounds[1] + moved
    return Loss(fraction_down(low), fraction_up(high), derivative)
