"""Descent on the factors at a fixed rank: L-BFGS, and Newton-CG for the last digits.

Both work on ``L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` stacked as one flat vector and never raise it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._validate import Array

Function = Callable[[Array, Array], float]
Product = Callable[[Array, Array], Array]


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
            elif new_slope < 0.9 * slope:
                accepted = True
                break
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


def newton_cg(
    function: Function,
    hessian: Product,
    x: Array,
    max_iter: int,
    done: Callable[[int, float, float], bool],
    max_cg: int = 200,
) -> tuple[Array, float, int]:
    """Minimise by truncated Newton steps with Armijo backtracking.

    Conjugate gradients stop at a residual of ``min(0.1, sqrt(||g||)) ||g||`` or at negative curvature, which is then
    followed. The null directions of the factored problem (rotations) are orthogonal to the gradient, so the
    iteration never meets them.

    Parameters
    ----------
    function, x, max_iter, done
        As in :func:`lbfgs`.
    hessian : callable
        ``hessian(x, v) -> H v``.
    max_cg : int
        Limit on Hessian products per step.

    Returns
    -------
    x, value, evaluations
        Hessian products count as evaluations.
    """
    x = x.copy()
    g = np.empty(x.size)
    new_g = np.empty(x.size)
    value = function(x, g)
    evaluations = 1
    first = math.sqrt(float(g @ g))
    for iteration in range(max_iter):
        grad_norm = math.sqrt(float(g @ g))
        if grad_norm == 0.0 or done(iteration, value, grad_norm):
            break
        forcing = min(0.1, math.sqrt(grad_norm / first)) if first else 0.1
        d = np.zeros(x.size)
        r = -g
        p = r.copy()
        rr = grad_norm * grad_norm
        for _ in range(max_cg):
            Hp = hessian(x, p)
            evaluations += 1
            curvature = float(p @ Hp)
            if curvature <= 0.0:
                if not d.any():
                    d = p
                break
            alpha = rr / curvature
            d += alpha * p
            r -= alpha * Hp
            new_rr = float(r @ r)
            if math.sqrt(new_rr) <= forcing * grad_norm:
                break
            p *= new_rr / rr
            p += r
            rr = new_rr
        slope = float(g @ d)
        step = 1.0
        for _ in range(25):
            new_x = x + step * d
            new_value = function(new_x, new_g)
            evaluations += 1
            if new_value <= value + 1e-4 * step * slope + 1e-15 * abs(value):
                break
            step *= 0.5
        else:
            break
        x = new_x
        g, new_g = new_g, g
        value = new_value
    return x, value, evaluations
