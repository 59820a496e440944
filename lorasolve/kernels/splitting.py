"""Products of the rows of a large matrix with a vector in nearly twice the working precision, in one pass over it.

Each row ``a`` is split into ``a1 + a2`` as ``split`` in ``certificates/_rounding.py`` does, so that ``<a1, x1>`` is
exact in every order; nothing is written but four numbers a row. No fast mathematics: each sum and difference of the
splitting must round as it is written. The plain twin is ``measured`` in ``certificates/_oracle_measurements.py``.
"""

from __future__ import annotations

import math
from typing import Any

from ._jit import kernel
from .simd import add, fma, load_line, splat_line, sub, total

# Numbers of a cache line.
LINE = 8


@kernel()
def split_products(M: Any, x: Any, x1: Any, x2: Any, bits: int, out: Any) -> None:
    """Write for each row of ``M``, flat, ``<a1, x1>``, ``<a1, x2> + <a2, x>``, ``||a||^2`` and ``||a2||^2``.

    ``a1`` is a multiple of ``2^(t - bits)`` where ``2^t`` exceeds the length of ``a``.
    """
    n = x.size
    whole = n // LINE * LINE
    for i in range(out.shape[0]):
        row = i * n
        s = r = splat_line(0.0)
        for j in range(0, whole, LINE):
            a = load_line(M, row + j)
            s = fma(a, a, s)
        square = total(s)
        for j in range(whole, n):
            square += M[row + j] * M[row + j]
        # One more power of two than the length, which is evaluated, has.
        sigma = math.ldexp(0.75, math.frexp(math.sqrt(square))[1] + 1 + 53 - bits)
        line = splat_line(sigma)
        c = d = e = splat_line(0.0)
        for j in range(0, whole, LINE):
            a = load_line(M, row + j)
            a1 = sub(add(a, line), line)
            a2 = sub(a, a1)
            c = fma(a1, load_line(x1, j), c)
            d = fma(a1, load_line(x2, j), d)
            e = fma(a2, load_line(x, j), e)
            r = fma(a2, a2, r)
        exact, rest, small = total(c), total(add(d, e)), total(r)
        for j in range(whole, n):
            high = (M[row + j] + sigma) - sigma
            low = M[row + j] - high
            exact += high * x1[j]
            rest += high * x2[j] + low * x[j]
            small += low * low
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = exact, rest, square, small
