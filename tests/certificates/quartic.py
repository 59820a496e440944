"""A convex loss as a user writes it, of which nothing else is stated, for tests of several files."""

import numpy as np


class Quartic:
    """``sum (X - M)^4 / 4`` with random ``M``: its gradient is not Lipschitz."""

    convex = True

    def __init__(self, shape):
        self.shape, self.M = shape, np.random.default_rng(8).standard_normal(shape)

    def value_and_grad(self, X):
        E = X - self.M
        return 0.25 * float(np.sum(E**4)), E**3
