"""Descent on the factors at a fixed rank: L-BFGS in its compact form.

It works on ``L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` stacked as one flat vector and never raises it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from .._validate import Array

Function = Callable[[Array, Array], float]
Done = Callable[[], bool]

ARMIJO = 1e-4
WOLFE = 0.9
# Entries of a vector that are worked on at a time: in differences, and in products with all pairs.
PIECE, LONG_PIECE = 1 << 14, 1 << 20


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

    def add(self, x: Array, new_x: Array, g: Array, new_g: Array) -> None:
        """Store the pair of two points unless its curvature is not safely positive."""
        curvature, s_length, y_length = _products(x, new_x, g, new_g)
        if not curvature > 1e-14 * s_length * y_length:
            return
        size = self.S.shape[0]
        slot = len(self.order) if len(self.order) < size else self.order.pop(0)
        for new, old, length, kept in ((new_x, x, s_length, self.S[slot]), (new_g, g, y_length, self.Y[slot])):
            for part in _parts(x.size):
                np.divide(new[part] - old[part], length, out=kept[part], casting="same_kind")
        y = self.Y[slot]
        self.order.append(slot)
        used = len(self.order)
        self.stretch[slot] = y_length / s_length
        # A pair is only ever multiplied with later ones: the other half of SY is not used.
        self.SY[:used, slot] = (self.S[:used] @ y) * self.stretch[slot]
        products = (self.Y[:used] @ y) * self.stretch[:used] * self.stretch[slot]
        self.YY[:used, slot] = self.YY[slot, :used] = products

    def direction(self, g: Array, d: Array) -> None:
        """Write minus the inverse-Hessian approximation times ``g`` into ``d`` (minus ``g`` without pairs)."""
        if not self.order:
            np.negative(g, out=d)
            return
        used = len(self.order)
        order = np.array(self.order)
        S, Y = self.S[:used], self.Y[:used]
        SY = self.SY[np.ix_(order, order)]
        newest = order[-1]
        gamma = self.SY[newest, newest] / self.YY[newest, newest]
        length = math.sqrt(float(g @ g)) or 1.0
        Sg, Yg = np.zeros(used), np.zeros(used)
        for part in _parts(g.size, LONG_PIECE):
            piece = g[part]
            unit = np.divide(piece, length, out=np.empty(piece.size, np.float32), casting="same_kind")
            Sg += S[:, part] @ unit
            Yg += Y[:, part] @ unit
        Sg, Yg = length * Sg[order], length * self.stretch[order] * Yg[order]
        R = np.triu(SY)
        u = np.linalg.solve(R, Sg)
        inner = np.diag(SY) * u + gamma * (self.YY[np.ix_(order, order)] @ u) - gamma * Yg
        on_s, on_y = np.empty(used), np.empty(used)
        on_s[order] = np.linalg.solve(R.T, inner)
        on_y[order] = -gamma * u * self.stretch[order]
        np.multiply(g, -gamma, out=d)
        for weights, kept in ((on_s, S), (on_y, Y)):
            size = math.sqrt(float(weights @ weights)) or 1.0
            shares = (weights / size).astype(np.float32)
            for part in _parts(g.size, LONG_PIECE):
                d[part] -= size * (shares @ kept[:, part]).astype(d.dtype, copy=False)


def _parts(size: int, piece: int = PIECE) -> Iterator[slice]:
    """Yield pieces of a vector, so that what is made of it needs no vector of its own; short ones stay in cache."""
    return (slice(first, first + piece) for first in range(0, size, piece))


def _products(x: Array, new_x: Array, g: Array, new_g: Array) -> tuple[float, float, float]:
    """Return ``<s, y>``, ``||s||`` and ``||y||`` of ``s = new_x - x``, ``y = new_g - g``."""
    sums = np.zeros(3)
    for part in _parts(x.size):
        s, y = new_x[part] - x[part], new_g[part] - g[part]
        sums += s @ y, s @ s, y @ y
    return float(sums[0]), math.sqrt(sums[1]), math.sqrt(sums[2])


def lbfgs(function: Function, x: Array, max_iter: int, done: Done, noise: float, memory: int) -> tuple[Array, int]:
    """Minimise by L-BFGS with a bracketing line search for the weak Wolfe conditions.

    Where two values differ by no more than their rounding errors, a step is judged by its slope alone (the
    approximate Wolfe conditions of Hager and Zhang 2005): the minimum is then found to the accuracy of the gradient,
    the square of that of the values.

    Parameters
    ----------
    function : callable
        ``function(x, grad) -> value``, writing the gradient.
    x : ndarray
        The start; modified, and used as memory.
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
    g, new_g, new_x, d = (np.empty_like(x) for _ in range(4))
    value = function(x, g)
    evaluations = 1
    pairs = Memory(memory, x.size)
    for _ in range(max_iter):
        grad_norm = math.sqrt(float(g @ g))
        if grad_norm == 0.0 or done():
            break
        pairs.direction(g, d)
        slope = float(g @ d)
        if not slope < 0.0:
            pairs.forget()
            np.negative(g, out=d)
            slope = -grad_norm * grad_norm
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
        pairs.add(x, new_x, g, new_g)
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
