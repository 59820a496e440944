"""Small pieces shared by the kernels: products of skinny factors, the long axis always innermost.

Numba vectorises long unit-stride loops and leaves short ones (a rank) scalar, so ``B`` is held transposed,
``Bt (r, n)``, wherever an inner loop can then run over ``n``.
"""

from __future__ import annotations

from .jit import FAST, kernel


@kernel(inner=True, fastmath=FAST)
def transpose(B, Bt):
    """Write ``Bt[q, j] = B[j, q]``; rows of ``Bt`` beyond the rank are left alone."""
    n, r = B.shape
    for j in range(n):
        for q in range(r):
            Bt[q, j] = B[j, q]


@kernel(fastmath=FAST)
def add_decay(lam, theta, grad):
    """Add ``lam theta`` to ``grad``; return the sums of squares of ``theta`` and of the new ``grad``."""
    square = theta.dtype.type(0)
    length = theta.dtype.type(0)
    for k in range(theta.size):
        x = theta[k]
        g = grad[k] + lam * x
        grad[k] = g
        square += x * x
        length += g * g
    return square, length


@kernel(inner=True, symbol=True, fastmath=FAST)
def outer(A, Bt, X):
    """Write ``X = A B^T`` (2 m n r flops)."""
    m, r = A.shape
    n = Bt.shape[1]
    for i in range(m):
        x = X[i]
        a = A[i, 0]
        for j in range(n):
            x[j] = a * Bt[0, j]
        for q in range(1, r):
            a = A[i, q]
            for j in range(n):
                x[j] += a * Bt[q, j]


@kernel(inner=True, symbol=True, fastmath=FAST)
def factor_gradients(G, A, Bt, GB, GtAt):
    """Write ``G B`` (m, r) and the transpose (r, n) of ``G^T A`` (4 m n r flops)."""
    m, r = A.shape
    n = Bt.shape[1]
    for q in range(r):
        for j in range(n):
            GtAt[q, j] = 0.0
    for i in range(m):
        g = G[i]
        for q in range(r):
            a = A[i, q]
            s = G.dtype.type(0)
            for j in range(n):
                s += g[j] * Bt[q, j]
                GtAt[q, j] += a * g[j]
            GB[i, q] = s


@kernel(inner=True, fastmath=FAST)
def summed(g, k):
    """Return number ``k`` of a vector, or of the sum of a matrix's rows: the scratch of one thread or of several."""
    if g.ndim == 1:
        return g[k]
    s = g[0, k]
    for t in range(1, g.shape[0]):
        s += g[t, k]
    return s
