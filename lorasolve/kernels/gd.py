"""Gradient descent with a constant step: many iterations in one compiled call."""

from __future__ import annotations

import numpy as np

from .factors import add_decay
from .jit import FAST, kernel
from .oracle import oracle
from .simd import aligned
from .stopping import decide
from .stopping_rules import RUNNING


@kernel(inner=True, fastmath=FAST)
def _step(trial, grad, step, theta):
    """Make the trial the last accepted point, and set the next one."""
    for k in range(theta.size):
        x = trial[k]
        theta[k] = x
        trial[k] = x - step * grad[k]


@kernel(inner=True)
def _pack(source, a, rows, columns, target):
    """Copy ``source``, the rows x columns matrix behind its first ``a`` numbers transposed."""
    for k in range(a):
        target[k] = source[k]
    for i in range(rows):
        for j in range(columns):
            target[a + j * rows + i] = source[a + i * columns + j]


@kernel()
def advance(data, theta, trial, shape, lam, step, ceiling, rounding, history, rules, values, norms):
    """Accept trial points of ``theta <- theta - step grad L(theta)`` while nothing has to be decided.

    Parameters
    ----------
    data : NamedTuple
        Kernel data of the objective.
    theta, trial : ndarray
        Last accepted point and the pending one. On return both are up to date.
    shape : (int, int, int)
        ``m, n, r``.
    ceiling : float
        A trial above it (plus rounding) is left to the caller: the last value for a derived step, else infinity.
    rounding : (float, float)
        Relative rounding error of ``L``, and the largest ``|L|`` so far.
    history : (int, float, int)
        Iterations so far, best value and its iteration.
    rules : (float, float, float, int, int)
        As for :func:`~lorasolve.kernels.stopping_rules.decide`; a trial that ends the run is left to the caller.
    values, norms : ndarray
        ``L`` and ``||grad L||`` at the accepted points; their length is the most that are accepted.

    Returns
    -------
    int
        Number of accepted points. The pending trial has not been accepted and will be evaluated again.
    """
    m, n, r = shape
    nit, best, best_at = history
    unit, scale = rounding
    monotone = np.isfinite(ceiling)
    # Within this call the part of B is transposed, as the oracle wants it; sums over all entries do not care.
    a = m * r
    theta_t, trial_t, grad = (
        aligned(theta.size, theta.dtype),
        aligned(theta.size, theta.dtype),
        aligned(theta.size, theta.dtype),
    )
    _pack(theta, a, n, r, theta_t)
    _pack(trial, a, n, r, trial_t)
    A, Bt = trial_t[:a].reshape(m, r), trial_t[a:].reshape(r, n)
    GB, GtAt = grad[:a].reshape(m, r), grad[a:].reshape(r, n)
    count = 0
    while count < values.size:
        f = oracle(data, A, Bt, GB, GtAt)
        square, length = add_decay(lam, trial_t, grad)
        value = float(f) + 0.5 * float(lam) * float(square)
        norm = np.sqrt(float(length))
        if not (np.isfinite(value) and np.isfinite(norm)) or value > ceiling + unit * scale:
            break
        code, best, best_at = decide(value, norm, np.sqrt(float(square)), nit + 1, best, best_at, rules)
        if code != RUNNING:
            break
        nit += 1
        if monotone:
            ceiling = value
        scale = max(scale, abs(value))
        values[count] = value
        norms[count] = norm
        count += 1
        _step(trial_t, grad, step, theta_t)
    _pack(theta_t, a, r, n, theta)
    _pack(trial_t, a, r, n, trial)
    return count
