"""L-BFGS in its compact form, for smooth functions of one flat vector; it raises them by their rounding at most."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _pair_passes
from ._pair_passes import parts
from ._support.validate import Array

Function = Callable[[Array, Array], float]
Done = Callable[[Array], bool]

ARMIJO = 1e-4
WOLFE = 0.9
# Trials of a line search.
TRIALS = 30
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

    def __init__(self, size: int, n: int, compiled: bool = True) -> None:
        # Every s, then every y: one product with a vector takes both.
        self.kept = np.zeros((2 * size, n), np.float32)
        # Which rows hold the pairs, from the oldest to the newest; what follows is in that order.
        self.order: list[int] = []
        self.free = list(range(size))
        # ||y|| / ||s|| of each pair, up to how both were scaled, so that a curvature of any size fits into 32 bits.
        self.stretch = np.zeros(size)
        self.SY = np.zeros((size, size))
        self.YY = np.zeros((size, size))
        self.passes: Any = _pair_passes
        if n >= COMPILED and compiled:
            from .kernels import pairs

            self.passes = pairs

    def forget(self) -> None:
        """Drop all pairs."""
        self.free += self.order
        self.order = []

    def add(self, x: Array, new_x: Array, g: Array, new_g: Array, s_size: float, y_size: float) -> None:
        """Store the pair of two points unless its curvature ``<s, y>`` is not safely positive.

        ``s_size`` and ``y_size`` are about the lengths of ``s`` and ``y``, or above them.
        """
        size = self.stretch.size
        if len(self.order) == size:
            self.free.append(self.order.pop(0))
            self.stretch[:-1] = self.stretch[1:]
            for matrix in (self.SY, self.YY):
                matrix[:-1, :-1] = matrix[1:, 1:]
        slot = self.free[-1]
        products, squares = np.zeros(2 * size), np.zeros(3)
        self.passes.keep_pair(self.kept, slot, x, new_x, g, new_g, np.array([s_size, y_size]), products, squares)
        sy, _, yy = (squares / s_size / s_size).tolist()
        if not (sy > 0.0 and yy > 0.0 and squares[0] > SAFE * math.sqrt(squares[1]) * math.sqrt(squares[2])):
            return
        self.order.append(self.free.pop())
        rows, k = np.array(self.order), len(self.order) - 1
        self.stretch[k] = y_size / s_size
        # A pair is only ever multiplied with later ones: the other half of SY is not used.
        self.SY[: k + 1, k] = products[rows] * self.stretch[k]
        self.YY[: k + 1, k] = self.YY[k, : k + 1] = products[size + rows] * self.stretch[: k + 1] * self.stretch[k]
        # What directions divide by is never lost in float32.
        self.SY[k, k], self.YY[k, k] = sy, yy

    def direction(self, g: Array, length: float, d: Array) -> tuple[float, float]:
        """Write minus the inverse-Hessian approximation times ``g`` into ``d`` (minus ``g`` without pairs).

        ``length`` is that of ``g``. Return ``<g, d>`` and the length of ``d``.
        """
        if not self.order:
            np.negative(g, out=d)
            return -length * length, length
        from scipy.linalg.lapack import dtrtrs  # a third of what the module would take to import

        size, rows = self.stretch.size, np.array(self.order)
        products = np.zeros(2 * size)
        self.passes.add_products(self.kept, g, length, products)
        products *= length
        k = rows.size
        SY, YY, stretch = self.SY[:k, :k], self.YY[:k, :k], self.stretch[:k]
        gamma = float(SY[-1, -1] / YY[-1, -1])
        Sg, Yg = products[rows], stretch * products[size + rows]
        # R^-1 S^T g, and R^-T of what follows from it, where R is the upper triangle of S^T Y.
        u = dtrtrs(SY, Sg)[0]
        shares = dtrtrs(SY, SY.diagonal() * u + gamma * (YY @ u - Yg), trans=1)[0]
        weights = np.zeros(2 * size)
        weights[rows] = shares
        weights[size + rows] = -gamma * u * stretch
        largest = float(np.abs(weights).max()) or 1.0
        slope, square = self.passes.combine(self.kept, (weights / largest).astype(np.float32), largest, g, gamma, d)
        return float(slope), math.sqrt(square)


def lbfgs(
    function: Function,
    x: Array,
    max_iter: int,
    done: Done,
    noise: float,
    memory: int,
    compiled: bool = True,
    share: float = 0.0,
    of_fall: float = 0.0,
    longest: float = math.inf,
    falling: int = TRIALS,
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
        The start, in variables scaled to a curvature of about 1 if ``longest`` is infinite; modified, and used as
        memory.
    max_iter : int
        Limit on iterations.
    done : callable
        Asked about the start and each accepted point, which is written over later; True ends the run.
    noise : float
        Size of the rounding errors in the values.
    memory : int
        Number of stored pairs.
    compiled : bool
        Whether passes over many variables are worth their compilation.
    share, of_fall : float
        Of a value, and of how far it has fallen since the start if that is less, within which steps are judged by
        slopes too.
    longest : float
        The length of steps along the gradient itself where nothing is known of the curvature.
    falling : int
        After how many trials a step is taken along which the function has only fallen; with the default none is.

    Returns
    -------
    x, evaluations
        The last accepted point and the number of calls of ``function``.
    """
    g, new_g, new_x, d = (np.empty_like(x) for _ in range(4))
    value = function(x, g)
    first_value = value if math.isfinite(value) else -math.inf
    evaluations = 1
    pairs = Memory(memory, x.size, compiled)
    grad_norm = math.sqrt(float(g @ g))
    if done(x):
        return x, evaluations
    for _ in range(max_iter):
        if grad_norm == 0.0:
            break
        slope, d_norm = pairs.direction(g, grad_norm, d)
        if not slope < 0.0:
            pairs.forget()
            slope, d_norm = pairs.direction(g, grad_norm, d)
        first = 1.0 if pairs.order else min(1.0, longest / d_norm)
        near = noise + share * abs(value) + of_fall * min(abs(value), max(first_value - value, 0.0))
        step, new_value, tried = _search(function, x, value, slope, d, first, new_x, new_g, near, falling)
        evaluations += tried
        if step is None:
            if not pairs.order:
                break
            pairs.forget()
            continue
        old_norm, grad_norm = grad_norm, math.sqrt(float(new_g @ new_g))
        pairs.add(x, new_x, g, new_g, step * d_norm, old_norm + grad_norm)
        # Where the function bends down everywhere steps may grow with the gradient.
        longest = longest if pairs.order else max(longest, step * d_norm)
        x, new_x = new_x, x
        g, new_g = new_g, g
        value = new_value
        if done(x):
            break
    return x, evaluations


def _search(
    function: Function,
    x: Array,
    value: float,
    slope: float,
    d: Array,
    step: float,
    new_x: Array,
    new_g: Array,
    noise: float,
    falling: int,
) -> tuple[float | None, float, int]:
    """Return a step along ``d``, the value there and the number of trials; None where none moves ``x`` to a lower one.

    The point and the gradient of the last trial are left in ``new_x`` and ``new_g``.
    """
    low, high = 0.0, math.inf
    for trial in range(TRIALS):
        for part in parts(x.size):
            np.multiply(d[part], step, out=new_x[part])
            new_x[part] += x[part]
        new_value = function(new_x, new_g)
        new_slope = float(new_g @ d)
        decreases = new_value <= value + ARMIJO * step * slope
        if not decreases and abs(new_value - value) <= noise:
            decreases = new_slope <= (2.0 * ARMIJO - 1.0) * slope
        if not (decreases and math.isfinite(new_slope)):
            high = step
            step = _interpolate(low, high, value, slope, new_value)
        elif high == math.inf and new_slope < WOLFE * slope and trial < falling:
            low = step
            step *= 4.0
        elif new_value == value and np.array_equal(new_x, x):
            return None, value, trial + 1
        else:
            return step, new_value, trial + 1
    return None, value, TRIALS


def _interpolate(low: float, high: float, value: float, slope: float, new_value: float) -> float:
    """Return the minimiser of the parabola through the trial at ``high``, kept inside the bracket."""
    guess = 0.5 * (low + high)
    if math.isfinite(new_value):
        bend = new_value - value - slope * high
        if bend > 0.0:
            guess = -0.5 * slope * high * high / bend
    return min(max(guess, low + 0.1 * (high - low)), low + 0.7 * (high - low))
