"""Products of the rows of a large matrix with a vector in nearly twice the working precision, in one pass over it.

Each row ``a`` is split into ``a1 + a2`` as ``split`` in ``certificates/_rounding.py`` does, so that ``<a1, x1>`` is
exact in every order; nothing is written but four numbers a row. Where rows are split follows from their lengths, which
are summed on the way: a row is split as the last ones were, and again where it turns out to be much longer or shorter.
No fast mathematics: each sum and difference of the splitting must round as it is written. The plain twins are
``measured`` and ``_combine`` in ``certificates/_oracle_measurements.py``.
"""

from __future__ import annotations

import math
from typing import Any

from .jit import kernel
from .simd import add, fma, load_register, prefetch, splat_register, store, sub, total
from .simd_llvm import REGISTER_BYTES

# Numbers of a register, and rows that are added to the sum of all together: those are in cache.
STEP, ROWS = REGISTER_BYTES // 8, 4
# Rows whose entries have smaller squares are split as if they had these.
SMALL = 2.0**-1000


@kernel()
def split_products(M: Any, x1: Any, x2: Any, bits: int, out: Any) -> None:
    """Write of each row of ``M``, flat, ``<a1, x1>``, ``<a1, x2> + <a2, x1 + x2>``, ``||a||^2`` and
    a bound of ``||a2||^2``.

    ``a1`` is a multiple of ``2^(t - bits)`` where ``2^t`` exceeds the length of ``a``; ``x1 + x2`` is rounded.
    """
    t = 0
    for first in range(0, out.shape[0], 2):
        t = _split_pair(M, first, t, x1, x2, bits, out)


@kernel()
def split_residual(
    M: Any, y: Any, x1: Any, x2: Any, bits: int, block: int, out: Any, w: Any, part: Any, G: Any
) -> None:
    """Write what :func:`split_products` does, ``w = (out[:, 0] - y) + out[:, 1]``, and ``M^T w`` to ``G``.

    The products ``w_i a_i`` of ``block`` rows, a multiple of ``ROWS``, are summed in ``part``, and these in ``G``.
    """
    N, t = y.size, 0
    G[:] = 0.0
    part[:] = 0.0
    for first in range(0, N, ROWS):
        end = min(first + ROWS, N)
        for i in range(first, end, 2):
            t = _split_pair(M, i, t, x1, x2, bits, out)
        for i in range(first, end):
            w[i] = (out[i, 0] - y[i]) + out[i, 1]
        _add_rows(M, first, end, w, part)
        if end % block == 0 or end == N:
            for j in range(G.size):
                G[j] += part[j]
                part[j] = 0.0


@kernel(inner=True)
def _split_pair(M: Any, first: int, t: int, x1: Any, x2: Any, bits: int, out: Any) -> int:
    """Split a row and the next, if there is one, at ``t`` or where their lengths want it; return where."""
    second = min(first + 1, out.shape[0] - 1)
    _split_pair_at(M, first, second, t, x1, x2, bits, out)
    # One more power of two than the longer length, which is evaluated, has; what underflows in it is far below SMALL.
    least = math.frexp(math.sqrt(max(out[first, 2], out[second, 2]) + x1.size * SMALL))[1] + 1
    if least <= t <= least + 1:
        return t
    _split_pair_at(M, first, second, least, x1, x2, bits, out)
    return least


@kernel(inner=True)
def _split_pair_at(M: Any, i: int, j: int, t: int, x1: Any, x2: Any, bits: int, out: Any) -> None:
    n = x1.size
    a, b, whole = i * n, j * n, n // STEP * STEP
    sigma = math.ldexp(0.75, t + 53 - bits)
    line = splat_register(sigma)
    ca = da = ea = sa = cb = db = eb = sb = splat_register(0.0)
    for p in range(0, whole, STEP):
        u1, u2 = load_register(x1, p), load_register(x2, p)
        u = add(u1, u2)
        prefetch(M, b + n + p)
        prefetch(M, b + n + n + p)
        v = load_register(M, a + p)
        v1 = sub(add(v, line), line)
        ca, da, ea, sa = fma(v1, u1, ca), fma(v1, u2, da), fma(sub(v, v1), u, ea), fma(v, v, sa)
        v = load_register(M, b + p)
        v1 = sub(add(v, line), line)
        cb, db, eb, sb = fma(v1, u1, cb), fma(v1, u2, db), fma(sub(v, v1), u, eb), fma(v, v, sb)
    small = n * math.ldexp(1.0, 2 * (t - bits - 1))
    _write(M, a, whole, x1, x2, sigma, total(ca), total(add(da, ea)), total(sa), small, out[i])
    _write(M, b, whole, x1, x2, sigma, total(cb), total(add(db, eb)), total(sb), small, out[j])


@kernel(inner=True)
def _write(M, row, whole, x1, x2, sigma, exact, rest, square, small, out):
    """Write the numbers of a row, with what lies beyond its whole registers."""
    for p in range(whole, x1.size):
        a = M[row + p]
        high = (a + sigma) - sigma
        exact += high * x1[p]
        rest += high * x2[p] + (a - high) * (x1[p] + x2[p])
        square += a * a
    out[0], out[1], out[2], out[3] = exact, rest, square, small


@kernel(inner=True)
def _add_rows(M: Any, first: int, end: int, w: Any, part: Any) -> None:
    """Add ``w_i`` times row ``i`` for rows from ``first`` to before ``end``, at most ``ROWS``."""
    n = part.size
    if end - first < ROWS:
        for i in range(first, end):
            for p in range(n):
                part[p] += w[i] * M[i * n + p]
        return
    whole = n // STEP * STEP
    a, b, c, d = first * n, (first + 1) * n, (first + 2) * n, (first + 3) * n
    wa, wb, wc, wd = w[first], w[first + 1], w[first + 2], w[first + 3]
    ra, rb, rc, rd = splat_register(wa), splat_register(wb), splat_register(wc), splat_register(wd)
    for p in range(0, whole, STEP):
        g = fma(rb, load_register(M, b + p), fma(ra, load_register(M, a + p), load_register(part, p)))
        store(part, p, fma(rd, load_register(M, d + p), fma(rc, load_register(M, c + p), g)))
    for p in range(whole, n):
        part[p] += wa * M[a + p] + wb * M[b + p] + wc * M[c + p] + wd * M[d + p]
