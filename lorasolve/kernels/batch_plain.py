"""The parts of an iteration of ``batch.py`` as plain loops: the twin of ``batch_lanes.py``.

Arrays are flat: number ``k`` of lane ``c`` is at ``k width + c``.
"""

from __future__ import annotations

from .jit import FAST, kernel
from .simd_sums import PANEL_ROWS


@kernel(fastmath=FAST)
def symmetric_gradient(P, b, X, position, length, G, width):
    """Write ``G = H X - b`` for the panels ``P`` of ``H``, whose squares on the diagonal are whole."""
    for k in range(position, position + length):
        G[k * width : (k + 1) * width] = -b[k]
    at = 0
    for first in range(0, length, PANEL_ROWS):
        for column in range(first, max(length, first + PANEL_ROWS)):
            for row in range(first, first + PANEL_ROWS):
                if row < length and column < length:
                    here, there = (position + row) * width, (position + column) * width
                    for c in range(width):
                        G[here + c] += P[at] * X[there + c]
                        if column >= first + PANEL_ROWS:
                            G[there + c] += P[at] * X[here + c]
                at += 1


@kernel(fastmath=FAST)
def entrywise_gradient(h, b, X, G, width):
    """Write ``G = h X - b`` entry by entry for every lane."""
    for k in range(h.size):
        for c in range(width):
            G[k * width + c] = h[k] * X[k * width + c] - b[k]


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
                g = G[k * width + c]
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
