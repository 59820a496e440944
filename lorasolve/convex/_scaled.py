"""``L`` at fixed ranks in variables scaled by the estimated diagonal of its Hessian, one flat vector, for L-BFGS.

Singular values that span decades and rows with few data are what makes the plain variables ill-conditioned (on
MovieLens-100k 217 oracle calls in place of 523, on Gaussian sensing at 60 x 60 304 in place of 583).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._pair_passes import parts
from .._support.validate import Array
from ..certificates.duality import SMALLEST
from ..dense import frobenius_norm
from ..problem import flat
from ..problem.pairs import Pairs

Oracle = Callable[[Pairs, Pairs], float]


class Scaled:
    """``L(A, B) = f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` as a function of ``z``, the factors over their units.

    Parameters
    ----------
    oracle : callable
        ``oracle(factors, grads)`` returns ``f`` and writes its gradients in the factors.
    lam : float
        Weight decay.
    factors : sequence of (A_l, B_l)
        Their shapes and precision are those of the variables.
    diagonal : sequence of pairs
        The estimated diagonal of the Hessian of ``f`` there, shaped like them.

    Attributes
    ----------
    grad_norm, first : float
        The length of the gradient of ``L`` in the factors at the last and at the first point.
    """

    def __init__(self, oracle: Oracle, lam: float, factors: Pairs, diagonal: Pairs) -> None:
        self._oracle, self._lam = oracle, lam
        self._shapes = [(A.shape, B.shape) for A, B in factors]
        unit = flat(diagonal)
        unit += lam
        # What no datum sees has no scale of its own, nor a slope.
        unit[unit == 0.0] = unit.max() or 1.0
        np.sqrt(unit, out=unit)
        np.reciprocal(unit, out=unit)
        self._unit, self._x = unit, np.empty_like(unit)
        self.grad_norm = self.first = math.inf

    def variables(self, factors: Pairs) -> Array:
        """Return ``z``."""
        z = flat(factors)
        z /= self._unit
        return z

    def factors(self, z: Array) -> Pairs:
        """Return the factors, in float64; ``z`` is lost."""
        z *= self._unit
        return self._split(z.astype(np.float64, copy=False))

    def __call__(self, z: Array, grad: Array) -> float:
        """Return the value, and write the gradient."""
        unit, x, lam = self._unit, self._x, self._lam
        size = square = 0.0
        for part in parts(z.size):
            piece = np.multiply(z[part], unit[part], out=x[part])
            size += float(piece @ piece)
        f = self._oracle(self._split(x), self._split(grad))
        for part in parts(z.size):
            piece, decay = grad[part], x[part]
            decay *= lam
            piece += decay
            square += float(piece @ piece)
            piece *= unit[part]
        # It is cubic in the data, so its square leaves the range of binary64 long before their squares do.
        self.grad_norm = math.sqrt(square) if SMALLEST < square < math.inf else frobenius_norm(grad / unit)
        if self.first == math.inf:
            self.first = self.grad_norm
        return f + 0.5 * lam * size

    def _split(self, x: Array) -> Pairs:
        pairs, begin = [], 0
        for A, B in self._shapes:
            middle = begin + math.prod(A)
            end = middle + math.prod(B)
            pairs.append((x[begin:middle].reshape(A), x[middle:end].reshape(B)))
            begin = end
        return pairs
