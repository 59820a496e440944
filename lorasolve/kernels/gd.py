"""Gradient descent with a constant step: many iterations in one compiled call."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .factors import add_decay
from .jit import FAST, kernel
from .oracle import oracle
from .simd import CACHE_LINE, aligned
from .stopping import decide
from .stopping_rules import RUNNING


@kernel(inner=True, fastmath=FAST)
def _step(trial, grad, step, theta):
    """Make the trial the last accepted point, and set the next one."""
    for k in range(theta.size):
        x = trial[k]
        theta[k] = x
        trial[k] = x - step * grad[k]


class Arrays(NamedTuple):
    """The last accepted point, the trial and its gradient, flat with the part of ``B`` transposed, as oracles want it.

    ``A`` (m, r) and ``Bt`` (r, n) are the parts of the trial, ``GB`` and ``GtAt`` those of the gradient.
    """

    theta: Any
    trial: Any
    grad: Any
    A: Any
    Bt: Any
    GB: Any
    GtAt: Any


class Packed:
    """The arrays of :func:`advance` for factors of ``shape`` ``m, n, r``, and the order of their numbers in ``(A, B)``.

    They are made here, since arrays and views that kernels make are compiled, for 25 ms each.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: Any) -> None:
        m, n, r = shape
        a, size = m * r, (m + n) * r
        self._order = np.arange(size)
        self._order[a:] = self._order[a:].reshape(n, r).T.ravel()
        line = CACHE_LINE // np.dtype(dtype).itemsize
        theta, trial, grad = aligned(3 * (size + -size % line), dtype).reshape(3, -1)[:, :size]
        A, GB = (flat[:a].reshape(m, r) for flat in (trial, grad))
        Bt, GtAt = (flat[a:].reshape(r, n) for flat in (trial, grad))
        self.arrays = Arrays(theta, trial, grad, A, Bt, GB, GtAt)

    def read(self, theta: Any, trial: Any) -> None:
        """Copy both points from where they lie as ``(A, B)``."""
        np.take(theta, self._order, out=self.arrays.theta, mode="clip")
        np.take(trial, self._order, out=self.arrays.trial, mode="clip")

    def write(self, theta: Any, trial: Any) -> None:
        """Copy both points back."""
        theta[self._order] = self.arrays.theta
        trial[self._order] = self.arrays.trial


class RotatedPacked(Packed):
    """The same for a loop in other orthonormal bases, in which ``A`` is ``U^T A`` and ``B`` is ``V^T B``.

    A point that was written last is here as it was, without the rounding of two rotations.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: Any, U: Any, V: Any) -> None:
        super().__init__(shape, dtype)
        self._shape, self._U, self._V = shape, U, V
        self._written = np.empty(0)

    def read(self, theta: Any, trial: Any) -> None:
        """Rotate both points from where they lie as ``(A, B)``."""
        if not np.array_equal(trial, self._written):
            super().read(*self._rotated(self._U.T, self._V.T, theta, trial))

    def write(self, theta: Any, trial: Any) -> None:
        """Rotate both points back."""
        super().write(theta, trial)
        theta[:], trial[:] = self._rotated(self._U, self._V, theta, trial)
        self._written = trial.copy()

    def _rotated(self, P: Any, Q: Any, theta: Any, trial: Any) -> Any:
        """Return both points with ``P A`` and ``Q B``, in one product each: it takes as long as to read ``P``."""
        m, n, r = self._shape
        both = np.stack([theta, trial])
        with np.errstate(over="ignore", invalid="ignore"):
            for M, part in ((P, both[:, : m * r].reshape(2, m, r)), (Q, both[:, m * r :].reshape(2, n, r))):
                part[:] = np.hsplit(M @ np.hstack(tuple(part)), 2)
        return both


@kernel()
def advance(data, arrays, lam, step, ceiling, rounding, history, rules, values, norms):
    """Accept trial points of ``theta <- theta - step grad L(theta)`` while nothing has to be decided.

    Parameters
    ----------
    data : NamedTuple
        Kernel data of the objective.
    arrays : Arrays
        Last accepted point and the pending one, both up to date on return, and scratch.
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
    nit, best, best_at = history
    unit, scale = rounding
    monotone = np.isfinite(ceiling)
    count = 0
    theta, trial, grad, A, Bt, GB, GtAt = arrays
    while count < values.size:
        f = oracle(data, A, Bt, GB, GtAt)
        square, length = add_decay(lam, trial, grad)
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
        _step(trial, grad, step, theta)
    return count
