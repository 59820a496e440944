"""Descent on the factors at a fixed rank: L-BFGS in its compact form.

It works on ``L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` stacked as one flat vector and never raises it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.validate import Array
from . import _passes
from ._passes import parts

Function = Callable[[Array, Array], float]
Done = Callable[[], bool]

ARMIJO = 1e-4
WOLFE = 0.9
# A pair is kept if its curvature <s, y> is above this share of their lengths.
SAFE = 1e-14
# Variables from which compiled passes over the pairs, in half the time, are worth their compilation (half a second).
COMPILED = 20_000


class Memory:
    """The last pairs ``s = x_new - x``, ``y = g_new - g``, and the quasi-Newton direction they define.

    Compact representation (Byrd, Nocedal and Schnabel 1994): a direction costs two passes over the pairs in matrix
    products and an r x r triangular solve, instead of 4 r vector operations.

    The pairs are kept in float32, scaled to lengths of at most about 1: directions need no more (577 oracle calls
    became 581 on the way to a gap of 1e-9), and they are most of the memory and of the traffic.
    """

    def __init__(self, size: int, n: int, brief: bool = False) -> None:
        # Every s, then every y: one product with a vector takes both.
        self.kept = np.zeros((2 * size, n), np.float32)
        # ||y|| / ||s|| of each pair, up to how both were scaled, so that a curvature of any size fits into 32 bits.
        self.stretch = np.zeros(size)
        self.SY = np.zeros((size, size))
        self.YY = np.zeros((size, size))
        self.order: list[int] = []
        self.passes: Any = _passes
        if n >= COMPILED and not brief:
            from ..kernels import pairs

            self.passes = pairs

    def forget(self) -> None:
        """Drop all pairs."""
        self.order = []

    def add(self, x: Array, new_x: Array, g: Array, new_g: Array, s_size: float, y_size: float) -> None:
        """Store the pair of two points unless its curvature ``<s, y>`` is not safely positive.

        ``s_size`` and ``y_size`` are about the lengths of ``s`` and ``y``, or above them.
        """
        size = self.stretch.size
        slot = len(self.order) if len(self.order) < size else self.order.pop(0)
        products, squares = np.zeros(2 * size), np.zeros(3)
        self.passes.keep_pair(self.kept, slot, x, new_x, g, new_g, np.array([s_size, y_size]), products, squares)
        sy, _, yy = (squares / s_size / s_size).tolist()
        if not (sy > 0.0 and yy > 0.0 and squares[0] > SAFE * math.sqrt(squares[1]) * math.sqrt(squares[2])):
            return
        self.order.append(slot)
        self.stretch[slot] = y_size / s_size
        # A pair is only ever multiplied with later ones: the other half of SY is not used.
        self.SY[:, slot] = products[:size] * self.stretch[slot]
        self.YY[:, slot] = self.YY[slot, :] = products[size:] * self.stretch * self.stretch[slot]
        # What directions divide by is never lost in float32.
        self.SY[slot, slot], self.YY[slot, slot] = sy, yy

    def direction(self, g: Array, length: float, d: Array) -> tuple[float, float]:
        """Write minus the inverse-Hessian approximation times ``g`` into ``d`` (minus ``g`` without pairs).

        ``length`` is that of ``g``. Return ``<g, d>`` and the length of ``d``.
        """
        if not self.order:
            np.negative(g, out=d)
            return -length * length, length
        from scipy.linalg.lapack import dtrtrs  # a third of what the module would take to import

        size, order = self.stretch.size, np.array(self.order)
        products = np.zeros(2 * size)
        self.passes.add_products(self.kept, g, length, products)
        products *= length
        SY, YY = (matrix[np.ix_(order, order)] for matrix in (self.SY, self.YY))
        gamma = float(SY[-1, -1] / YY[-1, -1])
        Sg, Yg = products[order], self.stretch[order] * products[size + order]
        # R^-1 S^T g, and R^-T of what follows from it, where R is the upper triangle of S^T Y.
        u = dtrtrs(SY, Sg)[0]
        shares = dtrtrs(SY, SY.diagonal() * u + gamma * (YY @ u - Yg), trans=1)[0]
        weights = np.zeros(2 * size)
        weights[order] = shares
        weights[size + order] = -gamma * u * self.stretch[order]
        largest = float(np.abs(weights).max()) or 1.0
        slope, square = self.passes.combine(self.kept, (weights / largest).astype(np.float32), largest, g, gamma, d)
        return float(slope), math.sqrt(square)


def lbfgs(
    function: Function, x: Array, max_iter: int, done: Done, noise: float, memory: int, brief: bool = False
) -> tuple[Array, int]:
    """Minimise by L-BFGS with a bracketing line search for the weak Wolfe conditions.

    Where two values differ by no more than their rounding errors, a step is judged by its slope alone (the
    approximate Wolfe conditions of Hager and Zhang 2005): the minimum is then found to the accuracy of the gradient,
    the square of that of the values.

    Parameters
    ----------
    function : callable
        ``function(x, grad) -> value``, writing the gradient.
    x : ndarray
        The start, in variables scaled to a curvature of about 1; modified, and used as memory.
    max_iter : int
        Limit on iterations.
    done : callable
        Asked after each accepted point; True ends the run.
    noise : float
        Size of the rounding errors in the values.
    memory : int
        Number of stored pairs.
    brief : bool
        Whether so few steps are expected that passes over the pairs need not be compiled.

    Returns
    -------
    x, evaluations
        The last accepted point and the number of calls of ``function``.
    """
    g, new_g, new_x, d = (np.empty_like(x) for _ in range(4))
    value = function(x, g)
    evaluations = 1
    pairs = Memory(memory, x.size, brief)
    grad_norm = math.sqrt(float(g @ g))
    for _ in range(max_iter):
        if grad_norm == 0.0 or done():
            break
        slope, d_norm = pairs.direction(g, grad_norm, d)
        if not slope < 0.0:
            pairs.forget()
            slope, d_norm = pairs.direction(g, grad_norm, d)
        # Without pairs as well: variables have a curvature of about 1 in each.
        step = 1.0
        low, high = 0.0, math.inf
        for _trial in range(30):
            for part in parts(x.size):
                np.multiply(d[part], step, out=new_x[part])
                new_x[part] += x[part]
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
        old_norm, grad_norm = grad_norm, math.sqrt(float(new_g @ new_g))
        pairs.add(x, new_x, g, new_g, step * d_norm, old_norm + grad_norm)
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
