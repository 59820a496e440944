"""Descent on the factors at a fixed rank: L-BFGS in its compact form.

It works on ``L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` stacked as one flat vector and never raises it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._validate import Array

Function = Callable[[Array, Array], float]
Done = Callable[[], bool]

ARMIJO = 1e-4
WOLFE = 0.9


class Memory:
    """The last pairs ``s = x_new - x``, ``y = g_new - g``, and the quasi-Newton direction they define.

    Compact representation (Byrd, Nocedal and Schnabel 1994): a direction costs two passes over the pairs in matrix
    products and an r x r triangular solve, instead of 4 r vector operations.

    The pairs are kept in float32, as unit vectors: directions need no more (577 oracle calls became 581 on the
    way to a gap of 1e-9), and they are most of the memory and of the traffic.
    """

    def __init__(self, size: int, n: int) -> None:
        self.S = np.empty((size, n), np.float32)
        self.Y = np.empty((size, n), np.float32)
        # ||y|| / ||s|| of each pair: Y holds unit vectors too, so that a curvature of any size fits into 32 bits.
        self.stretch = np.zeros(size)
        self.SY = np.zeros((size, size))
        self.YY = np.zeros((size, size))
        self.order: list[int] = []

    def forget(self) -> None:
        """Drop all pairs."""
        self.order = []

    def add(self, s: Array, y: Array) -> None:
        """Store a pair unless its curvature is not safely positive."""
        s_length, y_length = math.sqrt(float(s @ s)), math.sqrt(float(y @ y))
        if not float(s @ y) > 1e-14 * s_length * y_length:
            return
        size = self.S.shape[0]
        slot = len(self.order) if len(self.order) < size else self.order.pop(0)
        np.divide(s, s_length, out=self.S[slot], casting="same_kind")
        y = np.divide(y, y_length, out=self.Y[slot], casting="same_kind")
        self.order.append(slot)
        used = len(self.order)
        self.stretch[slot] = y_length / s_length
        # A pair is only ever multiplied with later ones: the other half of SY is not used.
        self.SY[:used, slot] = (self.S[:used] @ y) * self.stretch[slot]
        products = (self.Y[:used] @ y) * self.stretch[:used] * self.stretch[slot]
        self.YY[:used, slot] = self.YY[slot, :used] = products

    def direction(self, g: Array) -> Array:
        """Return minus the inverse-Hessian approximation times ``g`` (minus ``g`` without pairs)."""
        if not self.order:
            return -g
        used = len(self.order)
        order = np.array(self.order)
        S, Y = self.S[:used], self.Y[:used]
        SY = self.SY[np.ix_(order, order)]
        newest = order[-1]
        gamma = self.SY[newest, newest] / self.YY[newest, newest]
        length = math.sqrt(float(g @ g)) or 1.0
        unit = (g / length).astype(np.float32)
        Sg = length * (S @ unit)[order].astype(np.float64)
        Yg = length * self.stretch[order] * (Y @ unit)[order]
        R = np.triu(SY)
        u = np.linalg.solve(R, Sg)
        inner = np.diag(SY) * u + gamma * (self.YY[np.ix_(order, order)] @ u) - gamma * Yg
        on_s, on_y = np.empty(used), np.empty(used)
        on_s[order] = np.linalg.solve(R.T, inner)
        on_y[order] = -gamma * u * self.stretch[order]
        d = -gamma * g
        for weights, kept in ((on_s, S), (on_y, Y)):
            # A NumPy number: the product with a float of Python would be in float32.
            size = np.float64(math.sqrt(float(weights @ weights)) or 1.0)
            d -= size * ((weights / size).astype(np.float32) @ kept)
        return d


def lbfgs(function: Function, x: Array, max_iter: int, done: Done, noise: float, memory: int = 8) -> tuple[Array, int]:
    """Minimise by L-BFGS with a bracketing line search for the weak Wolfe conditions.

    Where two values differ by no more than their rounding errors, a step is judged by its slope alone (the
    approximate Wolfe conditions of Hager and Zhang 2005): the minimum is then found to the accuracy of the gradient,
    the square of that of the values.

    Parameters
    ----------
    function : callable
        ``function(x, grad) -> value``, writing the gradient.
    x : ndarray
        The start; not modified.
    max_iter : int
        Limit on iterations.
    done : callable
        Asked after each accepted point; True ends the run.
    noise : float
        Size of the rounding errors in the values.
    memory : int
        Number of stored pairs.

    Returns
    -------
    x, evaluations
        The last accepted point and the number of calls of ``function``.
    """
    x = x.copy()
    g, new_g, new_x = np.empty(x.size), np.empty(x.size), np.empty(x.size)
    value = function(x, g)
    evaluations = 1
    pairs = Memory(memory, x.size)
    for _ in range(max_iter):
        grad_norm = math.sqrt(float(g @ g))
        if grad_norm == 0.0 or done():
            break
        d = pairs.direction(g)
        slope = float(g @ d)
        if not slope < 0.0:
            pairs.forget()
            d, slope = -g, -grad_norm * grad_norm
        # Without pairs nothing is known about the right length; the search below finds it from any guess.
        step = 1.0 if pairs.order else min(1.0, 1.0 / grad_norm)
        low, high = 0.0, math.inf
        for _trial in range(30):
            np.multiply(d, step, out=new_x)
            new_x += x
            new_value = function(new_x, new_g)
            evaluations += 1
            new_slope = float(new_g @ d)
            decreases = new_value <= value + ARMIJO * step * slope
            if not decreases and abs(new_value - value) <= noise:
                decreases = new_slope <= (2.0 * ARMIJO - 1.0) * slope
            if not decreases:
                high = step
                step = _interpolate(low, high, value, slope, new_value)
            elif high == math.inf and new_slope < WOLFE * slope:
                low = step
                step *= 4.0
            else:
                break
        else:
            if not pairs.order:
                break
            pairs.forget()
            continue
        pairs.add(new_x - x, new_g - g)
        x, new_x = new_x, x
        g, new_g = new_g, g
        value = new_value
    return x, evaluations


def _interpolate(low: float, high: float, value: float, slope: float, new_value: float) -> float:
    """Return the minimiser of the parabola through the trial at ``high``, kept inside the bracket."""
    guess = 0.5 * (low + high)
    if math.isfinite(new_value):
        bend = new_value - value - slope * high
        if bend > 0.0:
            guess = -0.5 * slope * high * high / bend
    return min(max(guess, low + 0.1 * (high - low)), low + 0.7 * (high - low))
