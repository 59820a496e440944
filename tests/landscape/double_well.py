"""A loss of one number with two minima."""

import numpy as np

import lorasolve as ls


class DoubleWell(ls.objectives.Objective):
    """``offset + size ((x^2 - 1)^2 + tilt x)`` of one number: two minima, the better one at ``-sign(tilt)``."""

    shape = (1, 1)

    def __init__(self, tilt=0.3, size=1.0, offset=0.0):
        self.tilt, self.size, self.offset = tilt, size, offset

    def value_and_grad(self, X):
        x = float(X[0, 0])
        f = self.offset + self.size * ((x * x - 1.0) ** 2 + self.tilt * x)
        return f, np.array([[self.size * (4.0 * x * (x * x - 1.0) + self.tilt)]])

    def hessian_product(self, X, D):
        return self.size * (12.0 * float(X[0, 0]) ** 2 - 4.0) * D

    def minimum(self, side, lam=0.0):
        """The minimizer of ``F`` on one side of 0, from the roots of ``f'(x) + lam sign(x)``."""
        roots = np.roots([4.0, 0.0, -4.0, self.tilt + lam * side])
        return side * max(side * root.real for root in roots if abs(root.imag) < 1e-12)


def factors_of(x):
    return np.array([[np.sqrt(abs(x))]]), np.array([[np.sign(x) * np.sqrt(abs(x))]])
