"""Denoising for small matrices: ``G = A B^T - M`` is made row by row and used at once (6 m n r flops)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .jit import FAST, kernel
from .oracle import implements
from .simd import aligned


class DenoisingData(NamedTuple):
    """The matrix (m, n) and scratch for one row of the gradient (n,)."""

    M: Any
    row: Any


def data(M: Any) -> DenoisingData:
    """Return kernel data with fresh scratch."""
    return DenoisingData(np.require(M, requirements=["C", "W"]), aligned(M.shape[1], M.dtype))


@implements(DenoisingData)
@kernel(inner=True, fastmath=FAST)
def _denoising_oracle(data, A, Bt, GB, GtAt):
    M, g = data
    m, r = A.shape
    n = Bt.shape[1]
    for q in range(r):
        for j in range(n):
            GtAt[q, j] = 0.0
    total = 0.0
    for i in range(m):
        a = A[i, 0]
        for j in range(n):
            g[j] = a * Bt[0, j] - M[i, j]
        for q in range(1, r):
            a = A[i, q]
            for j in range(n):
                g[j] += a * Bt[q, j]
        squares = M.dtype.type(0)
        for j in range(n):
            squares += g[j] * g[j]
        total += squares
        for q in range(r):
            a = A[i, q]
            s = M.dtype.type(0)
            for j in range(n):
                s += g[j] * Bt[q, j]
                GtAt[q, j] += a * g[j]
            GB[i, q] = s
    return 0.5 * total
