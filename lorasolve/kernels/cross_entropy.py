"""The cross-entropy of many samples with what its evaluation may be wrong by, a few samples at a time in cache.

The plain twin is ``softmax`` in ``certificates/_losses.py``, with the functions of ``certificates/_functions.py``: the
formulas are explained there, and the steps are the same. No fast mathematics: their errors are proved.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .jit import kernel

# Samples that are taken together: all arrays of a block stay in the first cache level.
BLOCK = 64


class Functions(NamedTuple):
    """Coefficients, constants and errors of the exponential and the logarithm."""

    exp: Any
    atanh: Any
    lowest: float
    log2_e: float
    shift: float
    ln2_high: float
    ln2_low: float
    exp_error: float
    log_error: float
    tiny: float
    u: float


@kernel(allocates=True)
def softmax(z: Any, labels: Any, given: Functions, values: Any, errors: Any, wrong: Any) -> None:
    """Overwrite logits ``z`` (S, K, N) by the derivatives of the sum of the losses of their columns.

    ``values``, ``errors`` (S, N): losses, and bounds of their errors; ``wrong`` (S, N): sums of squares of bounds of
    the errors of a column of the derivatives.
    """
    S, K, N = z.shape
    t, e, share = np.empty((K, BLOCK)), np.empty((K, BLOCK)), np.empty((K, BLOCK))
    scratch, place = np.empty((9, BLOCK)), np.empty(BLOCK, np.int64)
    for s in range(S):
        for first in range(0, N, BLOCK):
            n = min(BLOCK, N - first)
            for c in range(K):
                row, to = z[s, c], t[c]
                for j in range(n):
                    to[j] = row[first + j]
            _block(t, n, first, labels, given, values[s], errors[s], wrong[s], e, share, scratch, place)
            for c in range(K):
                row, to = z[s, c], t[c]
                for j in range(n):
                    row[first + j] = to[j]


@kernel(inline="always")
def _block(z, n, first, labels, given, values, errors, wrong, e, share, scratch, place):
    """Do what :func:`softmax` does for ``n`` samples from ``first``, the first columns of ``z`` (K, BLOCK).

    Loops over few arrays each, which the compiler turns into operations on whole registers.
    """
    K, u = len(z), given.u
    top, others, error, r = scratch[0], scratch[1], scratch[2], scratch[3]
    k, part, sums, squares, logs = scratch[4], scratch[5], scratch[6], scratch[7], scratch[8]
    for j in range(n):
        place[j], top[j] = 0, z[0, j]
        others[j] = error[j] = part[j] = sums[j] = squares[j] = 0.0
    for c in range(1, K):
        for j in range(n):
            place[j] = c if z[c, j] > top[j] else place[j]
        for j in range(n):
            top[j] = z[c, j] if z[c, j] > top[j] else top[j]
    for c in range(K):
        t, ec, sc = z[c], e[c], share[c]
        for j in range(n):
            t[j] -= top[j]
        _exp(t, n, given, ec, r, k)
        # A rounding of t by u |t| changes exp(t) by that share.
        for j in range(n):
            sc[j] = given.exp_error + 1.01 * u * (-t[j] if t[j] > -800.0 else 800.0)
    # The largest logit has no error, and is not in the sum over the others.
    for j in range(n):
        e[place[j], j] = share[place[j], j] = 0.0
    for c in range(K):
        ec, sc = e[c], share[c]
        for j in range(n):
            others[j] += ec[j]
        for j in range(n):
            error[j] += ec[j] * sc[j]
    _log1p(others, n, given, logs, r, k, top)
    for j in range(n):
        error[j] += (K + 1) * u * others[j] + K * given.tiny
        value = logs[j] - z[labels[first + j], j]
        values[first + j] = value
        errors[first + j] = error[j] + given.log_error * logs[j] + 2.0 * u * value + given.tiny
        others[j] += 1.0
        error[j] = error[j] / others[j] + 4.0 * u
        e[place[j], j] = 1.0
    for c in range(K):
        ec, sc, p = e[c], share[c], z[c]
        for j in range(n):
            p[j] = ec[j] / others[j]
        for j in range(n):
            sc[j] = p[j] * (sc[j] + error[j]) + given.tiny
    # Of the sample's own label: minus the sum of the others, so that nothing cancels.
    for j in range(n):
        z[labels[first + j], j] = share[labels[first + j], j] = 0.0
    for c in range(K):
        p, sc = z[c], share[c]
        for j in range(n):
            part[j] += p[j]
        for j in range(n):
            sums[j] += sc[j]
        for j in range(n):
            squares[j] += sc[j] * sc[j]
    for j in range(n):
        z[labels[first + j], j] = -part[j]
        off = sums[j] + (K + 1) * u * part[j]
        wrong[first + j] = squares[j] + off * off


@kernel(inline="always")
def _exp(x, n, given, out, r, k):
    """Write ``exp(x)`` for ``x <= 0`` as ``exp_nonpositive`` does."""
    for j in range(n):
        r[j] = x[j] if x[j] > given.lowest else given.lowest
        k[j] = r[j] * given.log2_e + given.shift
        whole = k[j] - given.shift
        r[j] = (r[j] - whole * given.ln2_high) - whole * given.ln2_low
        out[j] = given.exp[0]
    for i in range(1, given.exp.size):
        coefficient = given.exp[i]
        for j in range(n):
            out[j] = out[j] * r[j] + coefficient
    power = k.view(np.int64)
    for j in range(n):
        power[j] = (power[j] << 52) + (1023 << 52)
    for j in range(n):
        out[j] *= k[j]


@kernel(inline="always")
def _log1p(x, n, given, out, s, k, w):
    """Write ``log(1 + x)`` for ``x >= 0`` as ``log1p_nonnegative`` does."""
    for j in range(n):
        if x[j] <= 0.5:
            s[j], k[j] = x[j] / (2.0 + x[j]), 0.0
        else:
            z, exponent = math.frexp(1.0 + x[j])
            if z < 0.7071067811865476:
                z, exponent = 2.0 * z, exponent - 1
            s[j], k[j] = (z - 1.0) / (z + 1.0), float(exponent)
        w[j] = s[j] * s[j]
        out[j] = given.atanh[0]
    for i in range(1, given.atanh.size):
        coefficient = given.atanh[i]
        for j in range(n):
            out[j] = out[j] * w[j] + coefficient
    for j in range(n):
        out[j] = k[j] * given.ln2_high + (k[j] * given.ln2_low + 2.0 * s[j] * out[j])
