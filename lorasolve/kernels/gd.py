"""Gradient descent with a constant step: many iterations in one compiled call."""

from __future__ import annotations

import numpy as np

from . import evaluate  # noqa: F401  (registers all oracles)
from ._jit import FAST, kernel
from .oracle import oracle


@kernel(fastmath=FAST)
def _with_decay(lam, theta, grad):
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


@kernel(fastmath=FAST)
def _step(theta, grad, step, trial):
    for k in range(theta.size):
        trial[k] = theta[k] - step * grad[k]


@kernel()
def _pack(source, a, rows, columns, target):
    """Copy ``source``, the rows x columns matrix behind its first ``a`` numbers transposed."""
    for k in range(a):
        target[k] = source[k]
    for i in range(rows):
        for j in range(columns):
            target[a + j * rows + i] = source[a + i * columns + j]


@kernel()
def advance(data, theta, trial, grad, shape, lam, step, ceiling, rounding, limits, values, norms):
    """Accept trial points of ``theta <- theta - step grad L(theta)`` while nothing has to be decided.

    Parameters
    ----------
    data : NamedTuple
        Kernel data of the objective.
    theta, trial, grad : ndarray
        Last accepted point, the pending one, scratch. On return ``theta`` and ``trial`` are up to date.
    shape : (int, int, int)
        ``m, n, r``.
    ceiling : float
        A trial above it (plus rounding) is left to the caller: the last value for a derived step, else infinity.
    rounding : (float, float)
        Relative rounding error of ``L``, and the largest ``|L|`` so far.
    limits : (float, float, float, float, int, int)
        Target, gradient tolerance, ``|L|`` at the start, best value, iterations since, and how many are allowed.
    values, norms : ndarray
        ``L`` and ``||grad L||`` at the accepted points; their length is the most that are accepted.

    Returns
    -------
    int
        Number of accepted points. The pending trial has not been accepted and will be evaluated again.
    """
    m, n, r = shape
    target, grad_tol, first, best, since_best, window = limits
    unit, scale = rounding
    monotone = np.isfinite(ceiling)
    # Within this call the part of B is transposed, as the oracle wants it; sums over all entries do not care.
    a = m * r
    theta_t, trial_t = np.empty_like(theta), np.empty_like(trial)
    _pack(theta, a, n, r, theta_t)
    _pack(trial, a, n, r, trial_t)
    here, there = theta_t, trial_t
    count = 0
    while count < values.size:
        A, Bt = there[:a].reshape(m, r), there[a:].reshape(r, n)
        f = oracle(data, A, Bt, grad[:a].reshape(m, r), grad[a:].reshape(r, n))
        square, length = _with_decay(lam, there, grad)
        value = float(f) + 0.5 * float(lam) * float(square)
        norm = np.sqrt(float(length))
        if not (np.isfinite(value) and np.isfinite(norm)) or value > ceiling + unit * scale or value <= target:
            break
        if norm <= grad_tol * (1.0 + min(abs(value), first)):
            break
        since_best = 0 if value < best else since_best + 1
        if since_best > window:
            break
        best = min(best, value)
        if monotone:
            ceiling = value
        scale = max(scale, abs(value))
        values[count] = value
        norms[count] = norm
        count += 1
        here, there = there, here
        _step(here, grad, step, there)
    _pack(here, a, r, n, theta)
    _pack(there, a, r, n, trial)
    return count
