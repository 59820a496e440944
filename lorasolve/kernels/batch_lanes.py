"""The parts of an iteration of ``batch.py`` with explicit vector lanes; ``batch_plain.py`` has the same as plain loops.

Arrays are flat: number ``k`` of lane ``c`` is at ``k width + c``.
"""

from __future__ import annotations

from .jit import FAST, kernel
from .simd import add, fma, load_register, mul, splat_register, store, sub
from .simd_sums import PANEL_ROWS, symmetric_panel


@kernel(fastmath=FAST)
def symmetric_gradient(P, b, X, position, length, G, width):
    """Write ``G = H X - b`` for the panels ``P`` of ``H``: ``length`` registers, and ``G`` to the end of a panel.

    What ``X`` has there is read too, and must be finite where the rest of its lane is.
    """
    for k in range(position, position + length):
        store(G, k * width, splat_register(-b[k]))
    start = 0
    for first in range(0, length, PANEL_ROWS):
        beyond = max(length - first - PANEL_ROWS, 0)
        symmetric_panel(P, start, X, G, (position + first) * width, beyond)
        start += (PANEL_ROWS + beyond) * PANEL_ROWS


@kernel(fastmath=FAST)
def entrywise_gradient(h, b, X, G, width):
    """Write ``G = h X - b`` entry by entry for every lane."""
    for k in range(h.size):
        store(G, k * width, fma(splat_register(h[k]), load_register(X, k * width), splat_register(-b[k])))


@kernel(fastmath=FAST)
def outer(A, B, X, m, n, r, width):
    """Write ``X = A B^T`` for every lane, two rows and columns at a time; the last of an odd number twice."""
    for i in range(0, m, 2):
        i1 = min(i + 1, m - 1)
        for j in range(0, n, 2):
            j1 = min(j + 1, n - 1)
            a, a1 = load_register(A, i * r * width), load_register(A, i1 * r * width)
            b, b1 = load_register(B, j * r * width), load_register(B, j1 * r * width)
            x, x1, y, y1 = mul(a, b), mul(a, b1), mul(a1, b), mul(a1, b1)
            for q in range(1, r):
                a, a1 = load_register(A, (i * r + q) * width), load_register(A, (i1 * r + q) * width)
                b, b1 = load_register(B, (j * r + q) * width), load_register(B, (j1 * r + q) * width)
                x, x1, y, y1 = fma(a, b, x), fma(a, b1, x1), fma(a1, b, y), fma(a1, b1, y1)
            store(X, (i * n + j) * width, x)
            store(X, (i * n + j1) * width, x1)
            store(X, (i1 * n + j) * width, y)
            store(X, (i1 * n + j1) * width, y1)


@kernel(fastmath=FAST)
def gradients(X, G, b, A, B, lam, GA, GB, value, square, sizes, m, n, r, width):
    """Write both gradients of ``L`` (decay included), ``L - c`` and the squared norms of gradient and factors.

    ``G = H X - b`` is the gradient of ``f``. A pair of its rows is multiplied with one column of the factors after the
    other: what is added up for ``GA`` stays in registers, ``GB`` is read and written half as often.
    """
    zero = splat_register(b.dtype.type(0))
    half = splat_register(b.dtype.type(0.5))
    decay = load_register(lam, 0)
    factors = zero
    for k in range(0, m * r * width, width):
        a = load_register(A, k)
        factors = fma(a, a, factors)
    for k in range(0, n * r * width, width):
        a = load_register(B, k)
        store(GB, k, mul(decay, a))
        factors = fma(a, a, factors)
    store(sizes, 0, factors)
    total = mul(decay, factors)
    for i in range(0, m * n, n):
        # A sum for each row: none waits for the one before.
        row = zero
        for k in range(i, i + n):
            row = fma(load_register(X, k * width), sub(load_register(G, k * width), splat_register(b[k])), row)
        total = add(total, row)
    store(value, 0, mul(half, total))
    length = zero
    for i in range(0, m, 2):
        # The last of an odd number of rows is taken once more, and adds nothing.
        i1 = min(i + 1, m - 1)
        for q in range(r):
            ka, ka1 = (i * r + q) * width, (i1 * r + q) * width
            a, a1 = load_register(A, ka), load_register(A, ka1)
            s, s1 = mul(decay, a), mul(decay, a1)
            if i1 == i:
                a1 = zero
            for j in range(n):
                kb = (j * r + q) * width
                y = load_register(B, kb)
                g, g1 = load_register(G, (i * n + j) * width), load_register(G, (i1 * n + j) * width)
                s, s1 = fma(g, y, s), fma(g1, y, s1)
                store(GB, kb, fma(g, a, fma(g1, a1, load_register(GB, kb))))
            store(GA, ka, s)
            store(GA, ka1, s1)
            length = fma(s, s, length)
            if i1 > i:
                length = fma(s1, s1, length)
    for k in range(0, n * r * width, width):
        g = load_register(GB, k)
        length = fma(g, g, length)
    store(square, 0, length)


@kernel(fastmath=FAST)
def step(old, gradient, size, new, width):
    """Write ``new = old - size gradient`` for every lane."""
    s = load_register(size, 0)
    for k in range(0, old.size, width):
        store(new, k, sub(load_register(old, k), mul(s, load_register(gradient, k))))
