"""The parts of an iteration of ``batch.py`` with explicit vector lanes; ``batch_plain.py`` has the same as plain loops.

Arrays are flat: number ``k`` of lane ``c`` is at ``k width + c``.
"""

from __future__ import annotations

from ._jit import FAST, kernel
from .simd import PANEL_ROWS, fma, load_register, mul, panel, splat_register, store, sub


@kernel(fastmath=FAST)
def panel_product(P, X, position, length, G, target, width):
    """Write ``G = X P``: ``length`` registers of ``X``, as many of ``G`` rounded up to whole panels."""
    for block in range((length + PANEL_ROWS - 1) // PANEL_ROWS):
        rows = block * PANEL_ROWS
        panel(P, rows * length, X, position, length, G, target + rows * width)


@kernel(fastmath=FAST)
def entrywise(h, X, G, width):
    """Write ``G = h X`` entry by entry for every lane."""
    for k in range(h.size):
        store(G, k * width, mul(splat_register(h[k]), load_register(X, k * width)))


@kernel(fastmath=FAST)
def outer(A, B, X, m, n, r, width):
    """Write ``X = A B^T`` for every lane."""
    for i in range(m):
        for j in range(n):
            x = mul(load_register(A, i * r * width), load_register(B, j * r * width))
            for q in range(1, r):
                a = load_register(A, (i * r + q) * width)
                x = fma(a, load_register(B, (j * r + q) * width), x)
            store(X, (i * n + j) * width, x)


@kernel(fastmath=FAST)
def gradients(X, G, b, A, B, lam, GA, GB, value, square, sizes, m, n, r, width):
    """Write both gradients of ``L`` (decay included), ``L - c`` and the squared norms of gradient and factors."""
    zero = splat_register(b.dtype.type(0))
    half = splat_register(b.dtype.type(0.5))
    decay = load_register(lam, 0)
    factors = zero
    for k in range(0, m * r * width, width):
        a = load_register(A, k)
        store(GA, k, mul(decay, a))
        factors = fma(a, a, factors)
    for k in range(0, n * r * width, width):
        a = load_register(B, k)
        store(GB, k, mul(decay, a))
        factors = fma(a, a, factors)
    store(sizes, 0, factors)
    total = mul(decay, factors)
    for i in range(m):
        for j in range(n):
            k = i * n + j
            x = load_register(X, k * width)
            bk = splat_register(b[k])
            g = sub(load_register(G, k * width), bk)
            total = fma(x, sub(g, bk), total)
            for q in range(r):
                ka = (i * r + q) * width
                kb = (j * r + q) * width
                store(GA, ka, fma(g, load_register(B, kb), load_register(GA, ka)))
                store(GB, kb, fma(g, load_register(A, ka), load_register(GB, kb)))
    store(value, 0, mul(half, total))
    length = zero
    for k in range(0, m * r * width, width):
        g = load_register(GA, k)
        length = fma(g, g, length)
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
