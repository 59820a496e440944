"""Descent on the factors at a fixed rank: L-BFGS.

It works on ``L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` stacked as one flat vector and never raises it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._validate import Array

Function = Callable[[Array, Array], float]


def lbfgs(
    function: Function, x: Array, max_iter: int, done: Callable[[int, float, float], bool], memory: int = 20
) -> tuple[Array, float, int]:
    """Minimise by L-BFGS with a backtracking line search that enforces a Wolfe condition by interpolation.

    Parameters
    ----------
    function : callable
        ``function(x, grad) -> value``, writing the gradient.
    x : ndarray
        The start; not modified.
    max_iter : int
        Limit on iterations.
    done : callable
        ``done(iteration, value, grad_norm)`` ends the run.
    memory : int
        Number of stored pairs.

    Returns
    -------
    x, value, evaluations
    """
    n = x.size
    S = np.empty((memory, n))
    Y = np.empty((memory, n))
    rho = np.empty(memory)
    stored = 0
    newest = -1
    x = x.copy()
    g = np.empty(n)
    value = function(x, g)
    evaluations = 1
    new_x, new_g = np.empty(n), np.empty(n)
    for iteration in range(max_iter):
        grad_norm = math.sqrt(float(g @ g))
        if grad_norm == 0.0 or done(iteration, value, grad_norm):
            break
        d = -_two_loop(g, S, Y, rho, stored, newest)
        slope = float(g @ d)
        if not slope < 0.0:
            stored = 0
            d = -g
            slope = -grad_norm * grad_norm
        step = 1.0 if stored else min(1.0, 1.0 / grad_norm)
        accepted = False
        low, high = 0.0, math.inf
        for _ in range(30):
            np.multiply(d, step, out=new_x)
            new_x += x
            new_value = function(new_x, new_g)
            evaluations += 1
            new_slope = float(new_g @ d)
            if not math.isfinite(new_value) or new_value > value + 1e-4 * step * slope + 1e-15 * abs(value):
                high = step
                step = _interpolate(low, high, step, value, slope, new_value)
            elif new_slope < 0.9 * slope and high == math.inf:
                low = step
                step *= 4.0
            else:
                accepted = True
                break
        if not accepted:
            if stored:
                stored = 0
                continue
            break
        newest = (newest + 1) % memory
        np.subtract(new_x, x, out=S[newest])
        np.subtract(new_g, g, out=Y[newest])
        curvature = float(S[newest] @ Y[newest])
        if curvature > 1e-16 * float(Y[newest] @ Y[newest]):
            rho[newest] = 1.0 / curvature
            stored = min(stored + 1, memory)
        else:
            newest = (newest - 1) % memory
        x, new_x = new_x, x
        g, new_g = new_g, g
        value = new_value
    return x, value, evaluations


def _interpolate(low: float, high: float, step: float, value: float, slope: float, new_value: float) -> float:
    """Return the minimiser of the parabola through the last trial, kept inside the bracket."""
    if math.isfinite(new_value):
        denominator = 2.0 * (new_value - value - slope * step)
        guess = -slope * step * step / denominator if denominator > 0.0 else 0.5 * (low + high)
    else:
        guess = 0.1 * high
    return min(max(guess, low + 0.1 * (high - low)), low + 0.7 * (high - low))


def _two_loop(g: Array, S: Array, Y: Array, rho: Array, stored: int, newest: int) -> Array:
    """Return the quasi-Newton inverse Hessian times ``g`` (Nocedal and Wright 2006, algorithm 7.4)."""
    q = g.copy()
    memory = S.shape[0]
    order = [(newest - k) % memory for k in range(stored)]
    alpha = np.empty(memory)
    for k in order:
        alpha[k] = rho[k] * float(S[k] @ q)
        q -= alpha[k] * Y[k]
    if stored:
        q /= rho[newest] * float(Y[newest] @ Y[newest])
    for k in reversed(order):
        q += (alpha[k] - rho[k] * float(Y[k] @ q)) * S[k]
    return q
