"""A pass over measurements with explicit vector lanes; plain twin: ``sensing.whole_pass``.

With registers of 512 bits the two take the same time within a tenth, from 80 measurements of 10 x 10 to 600 of
200 x 200. It takes half as long to compile, because there is nothing left to vectorise.
"""

from __future__ import annotations

from numba import prange

from ._jit import kernel
from .simd import fma, load_line_first, per_line, splat_line, store_line_first, total


@kernel(inner=True)
def _add(M, p, v, g, k, count):
    """Add ``count`` numbers of four rows of measurements, times a number each, to ``g``."""
    low = fma(v[0], load_line_first(M, p[0] + k, count), load_line_first(g, k, count))
    low = fma(v[1], load_line_first(M, p[1] + k, count), low)
    low = fma(v[2], load_line_first(M, p[2] + k, count), low)
    store_line_first(g, k, count, fma(v[3], load_line_first(M, p[3] + k, count), low))


@kernel(inner=True)
def _dots(M, p, x, s, k, count):
    """Return ``s`` and the products of ``count`` numbers of ``x`` with four rows of measurements."""
    xk = load_line_first(x, k, count)
    return (
        fma(load_line_first(M, p[0] + k, count), xk, s[0]),
        fma(load_line_first(M, p[1] + k, count), xk, s[1]),
        fma(load_line_first(M, p[2] + k, count), xk, s[2]),
        fma(load_line_first(M, p[3] + k, count), xk, s[3]),
    )


@kernel(inner=True, symbol=True)
def _pass(M, x, y, lo, hi, backward, w, g):
    """Write ``w = M x - y`` on rows ``lo..hi`` and ``g = sum of w_i M_i`` over them, as the plain pass."""
    d = x.size
    width = per_line(x)
    whole = d // width * width
    zero = x.dtype.type(0)
    nothing = splat_line(zero)
    for k in range(d):
        g[k] = zero
    blocks = (hi - lo + 3) // 4
    for block in range(blocks):
        i = lo + 4 * (blocks - 1 - block if backward else block)
        # Behind the last row it is taken once more, with weight zero.
        i1, i2, i3 = min(i + 1, hi - 1), min(i + 2, hi - 1), min(i + 3, hi - 1)
        p = i * d, i1 * d, i2 * d, i3 * d
        s = nothing, nothing, nothing, nothing
        for k in range(0, whole, width):
            s = _dots(M, p, x, s, k, width)
        s = _dots(M, p, x, s, whole, d - whole)
        w0, w1, w2, w3 = total(s[0]) - y[i], total(s[1]) - y[i1], total(s[2]) - y[i2], total(s[3]) - y[i3]
        w[i], w[i1], w[i2], w[i3] = w0, w1, w2, w3
        v = (
            splat_line(w0),
            splat_line(w1 if i + 1 < hi else zero),
            splat_line(w2 if i + 2 < hi else zero),
            splat_line(w3 if i + 3 < hi else zero),
        )
        _add(M, p, v, g, whole, d - whole)
        for k in range(0, whole, width):
            _add(M, p, v, g, whole - width - k, width)


@kernel(inner=True, symbol=True, parallel=True)
def _parallel_pass(M, x, y, backward, w, g):
    """Run :func:`_pass` on equal blocks of rows, one per row of ``g``."""
    threads = g.shape[0]
    N = y.size
    for t in prange(threads):
        _pass(M, x, y, N * t // threads, N * (t + 1) // threads, backward, w, g[t])


@kernel(inner=True)
def whole_pass(M, x, y, backward, w, g):
    """Write ``w = M x - y``, and ``M^T w`` as ``g`` or as the sum over its rows."""
    if g.ndim == 1:
        _pass(M, x, y, 0, y.size, backward, w, g)
    else:
        _parallel_pass(M, x, y, backward, w, g)
