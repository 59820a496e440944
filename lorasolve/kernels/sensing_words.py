"""A pass over measurements in 16-bit integers, whose products are added up as integers; plain twin: ``whole_pass`` of
``sensing.py``, with the same integers in float32.

With registers of 512 bits, one thread, 1500 measurements of 50 x 50: 0.18 ms, where a pass that makes float32 of each
number takes 0.26.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .parts import each_part
from .simd import add, fma, load_register, splat_register, store, total
from .simd_words import (
    FLOATS,
    WORDS,
    add_pair_sums,
    alternate_high,
    alternate_low,
    as_float,
    in_order_high,
    in_order_low,
    pair,
    pair_sums,
)

# Largest integer of the measurements, and of what they are multiplied with: two products fit into 32 bits.
LARGEST = 2**15 - 1
# Largest integer of a weight: four products with measurements fit into 32 bits.
_LARGEST_WEIGHT = np.float32(2**14 - 1)
# Rows of measurements, and what they are multiplied with, end behind the last number with zeros up to here.
LINE = 32
_WIDTH, _HALF = WORDS.count, FLOATS.count


@kernel(inner=True)
def _dots(M, p, x, s, k):
    """Return ``s`` and the products of numbers of ``x`` from ``k`` on with four rows of measurements."""
    xk = load_register(x, k)
    return (
        add(s[0], as_float(pair_sums(load_register(M, p[0] + k), xk))),
        add(s[1], as_float(pair_sums(load_register(M, p[1] + k), xk))),
        add(s[2], as_float(pair_sums(load_register(M, p[2] + k), xk))),
        add(s[3], as_float(pair_sums(load_register(M, p[3] + k), xk))),
    )


@kernel(inner=True)
def _add(M, p, v, unit, g, k):
    """Add numbers of four rows from ``k`` on, times a weight each, to ``g``, where they stand out of order."""
    m0, m1 = load_register(M, p[0] + k), load_register(M, p[1] + k)
    m2, m3 = load_register(M, p[2] + k), load_register(M, p[3] + k)
    low = add_pair_sums(alternate_low(m2, m3), v[1], pair_sums(alternate_low(m0, m1), v[0]))
    high = add_pair_sums(alternate_high(m2, m3), v[1], pair_sums(alternate_high(m0, m1), v[0]))
    store(g, k, fma(as_float(low), unit, load_register(g, k)))
    store(g, k + _HALF, fma(as_float(high), unit, load_register(g, k + _HALF)))


@kernel(inner=True)
def _integer(weight, unit):
    return np.int16(np.rint(weight / unit))


@kernel(inner=True, symbol=True)
def _pass(M, x, y, lo, hi, backward, w, g):
    """Write ``w = M x - y`` on rows ``lo..hi`` and ``g = sum of w_i M_i`` over them, up to rounding of the ``w_i``.

    Of four ``w_i`` at a time the largest becomes the largest integer, the others are rounded to the same unit.
    """
    d = x.size
    flat = M.reshape(M.size)
    zero = np.float32(0)
    nothing = splat_register(zero)
    for k in range(d):
        g[k] = zero
    blocks = (hi - lo + 3) // 4
    for block in range(blocks):
        i = lo + 4 * (blocks - 1 - block if backward else block)
        # Behind the last row it is taken once more, with weight zero.
        i1, i2, i3 = min(i + 1, hi - 1), min(i + 2, hi - 1), min(i + 3, hi - 1)
        p = i * d, i1 * d, i2 * d, i3 * d
        s = nothing, nothing, nothing, nothing
        for k in range(0, d, _WIDTH):
            s = _dots(flat, p, x, s, k)
        w0, w1, w2, w3 = total(s[0]) - y[i], total(s[1]) - y[i1], total(s[2]) - y[i2], total(s[3]) - y[i3]
        w[i], w[i1], w[i2], w[i3] = w0, w1, w2, w3
        largest = zero
        for weight in (w0, w1, w2, w3):
            if abs(weight) > largest:
                largest = abs(weight)
        unit = largest / _LARGEST_WEIGHT if largest > zero else np.float32(1)
        w1, w2, w3 = w1 if i + 1 < hi else zero, w2 if i + 2 < hi else zero, w3 if i + 3 < hi else zero
        v = pair(_integer(w0, unit), _integer(w1, unit)), pair(_integer(w2, unit), _integer(w3, unit))
        for k in range(0, d, _WIDTH):
            _add(flat, p, v, splat_register(unit), g, d - _WIDTH - k)
    for k in range(0, d, _WIDTH):
        low, high = load_register(g, k), load_register(g, k + _HALF)
        store(g, k, in_order_low(low, high))
        store(g, k + _HALF, in_order_high(low, high))


@kernel(inner=True, symbol=True)
def _pass_part(M, x, y, backward, w, g, t):
    """Run :func:`_pass` on one of as many equal blocks of rows as ``g`` has rows."""
    N, threads = y.size, g.shape[0]
    _pass(M, x, y, N * t // threads, N * (t + 1) // threads, backward, w, g[t])


@kernel(inner=True)
def whole_pass(M, x, y, backward, w, g):
    """Write ``w = M x - y``, and ``M^T w`` as ``g`` or as the sum over its rows."""
    if g.ndim == 1:
        _pass(M, x, y, 0, y.size, backward, w, g)
    else:
        each_part(_pass_part, g.shape[0], (M, x, y, backward, w, g))
