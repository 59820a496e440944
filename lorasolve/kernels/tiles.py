"""Tiles: products of four rows with four rows, the building stones of products with skinny factors.

All operands are flat arrays with the position of the first row, the distance between rows, and a length. Sixteen
sums (or sixteen coefficients) stay in registers, so that eight loads serve sixteen multiply-adds; where registers are
few, half of the sums at a time. The plain loops are what Numba vectorises itself; where :func:`simd.available` says so
the lanes of ``simd_sums.py`` take over (linear fine-tuning, 768 x 768, registers of 256 bits: 0.55 against 1.06 ms).
"""

from __future__ import annotations

from . import simd, simd_sums
from .jit import FAST, kernel
from .simd_sums import SIDE


@kernel(fastmath=FAST)
def plain_dots(U, u, du, V, v, dv, length, P, p, dp):
    """Add ``<U[a], V[b]>`` to ``P[b, a]`` for four rows of ``U`` and four of ``V``."""
    zero = U.dtype.type(0)
    u0, u1, u2, u3 = U[u:], U[u + du :], U[u + 2 * du :], U[u + 3 * du :]
    v0, v1, v2, v3 = V[v:], V[v + dv :], V[v + 2 * dv :], V[v + 3 * dv :]
    c00 = c01 = c02 = c03 = c10 = c11 = c12 = c13 = zero
    c20 = c21 = c22 = c23 = c30 = c31 = c32 = c33 = zero
    for k in range(length):
        x0, x1, x2, x3 = u0[k], u1[k], u2[k], u3[k]
        y0, y1, y2, y3 = v0[k], v1[k], v2[k], v3[k]
        c00 += x0 * y0
        c01 += x0 * y1
        c02 += x0 * y2
        c03 += x0 * y3
        c10 += x1 * y0
        c11 += x1 * y1
        c12 += x1 * y2
        c13 += x1 * y3
        c20 += x2 * y0
        c21 += x2 * y1
        c22 += x2 * y2
        c23 += x2 * y3
        c30 += x3 * y0
        c31 += x3 * y1
        c32 += x3 * y2
        c33 += x3 * y3
    sums = (c00, c10, c20, c30, c01, c11, c21, c31, c02, c12, c22, c32, c03, c13, c23, c33)
    for k in range(SIDE * SIDE):
        P[p + k // SIDE * dp + k % SIDE] += sums[k]


@kernel(fastmath=FAST)
def plain_axpys(U, u, du, X, x, dx, length, T, t, dt):
    """Add ``sum_a X[b, a] U[a]`` to each of four rows ``T[b]``."""
    u0, u1, u2, u3 = U[u:], U[u + du :], U[u + 2 * du :], U[u + 3 * du :]
    for b in range(SIDE):
        row = T[t + b * dt :]
        x0, x1, x2, x3 = X[x + b * dx], X[x + b * dx + 1], X[x + b * dx + 2], X[x + b * dx + 3]
        for k in range(length):
            row[k] += x0 * u0[k] + x1 * u1[k] + x2 * u2[k] + x3 * u3[k]


dots, axpys = (simd_sums.dots, simd_sums.axpys) if simd.available() else (plain_dots, plain_axpys)
