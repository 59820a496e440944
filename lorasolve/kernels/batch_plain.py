"""The parts of an iteration of ``batch.py`` as plain loops: the twin of ``batch_lanes.py``.

Arrays are flat: number ``k`` of lane ``c`` is at ``k width + c``.
"""

from __future__ import annotations

from .jit import FAST, kernel
from .simd_sums import PANEL_ROWS


@kernel(fastmath=FAST)
def panel_product(P, X, position, length, G, target, width):
    """Write ``G = X P``: ``length`` rows of ``X``, as many of ``G`` rounded up to whole panels."""
    for row in range((length + PANEL_ROWS - 1) // PANEL_ROWS * PANEL_ROWS):
        first = row // PANEL_ROWS * PANEL_ROWS * length + row % PANEL_ROWS
        g = G[target + row * width : target + (row + 1) * width]
        g[:] = 0
        for k in range(length):
            x = X[position + k * width : position + (k + 1) * width]
            for c in range(width):
                g[c] += P[first + k * PANEL_ROWS] * x[c]


@kernel(fastmath=FAST)
def entrywise(h, X, G, width):
    """Write ``G = h X`` entry by entry for every lane."""
    for k in range(h.size):
        for c in range(width):
            G[k * width + c] = h[k] * X[k * width + c]


@kernel(fastmath=FAST)
def outer(A, B, X, m, n, r, width):
    """Write ``X = A B^T`` for every lane."""
    for i in range(m):
        for j in range(n):
            x = X[(i * n + j) * width : (i * n + j + 1) * width]
            x[:] = 0
            for q in range(r):
                for c in range(width):
                    x[c] += A[(i * r + q) * width + c] * B[(j * r + q) * width + c]


@kernel(fastmath=FAST)
def gradients(X, G, b, A, B, lam, GA, GB, value, square, sizes, m, n, r, width):
    """Write both gradients of ``L`` (decay included), ``L - c`` and the squared norms of gradient and factors."""
    value[:], square[:], sizes[:] = 0, 0, 0
    for factor, gradient in ((A, GA), (B, GB)):
        for k in range(0, factor.size, width):
            for c in range(width):
                gradient[k + c] = lam[c] * factor[k + c]
                sizes[c] += factor[k + c] * factor[k + c]
    for i in range(m):
        for j in range(n):
            k = i * n + j
            for c in range(width):
                g = G[k * width + c] - b[k]
                value[c] += X[k * width + c] * (g - b[k])
                for q in range(r):
                    ka, kb = (i * r + q) * width + c, (j * r + q) * width + c
                    GA[ka] += g * B[kb]
                    GB[kb] += g * A[ka]
    for c in range(width):
        value[c] = 0.5 * (value[c] + lam[c] * sizes[c])
    for gradient in (GA, GB):
        for k in range(0, gradient.size, width):
            for c in range(width):
                square[c] += gradient[k + c] * gradient[k + c]


@kernel(fastmath=FAST)
def step(old, gradient, size, new, width):
    """Write ``new = old - size gradient`` for every lane."""
    for k in range(0, old.size, width):
        for c in range(width):
            new[k + c] = old[k + c] - size[c] * gradient[k + c]
