"""A convex loss without a lower bound, along which runs end where numbers do."""

import numpy as np


class Falling:
    """The soft maximum of five slopes: it falls for ever where all entries do, faster than a small decay rises."""

    shape, convex = (3, 2), True
    slopes = np.abs(np.random.default_rng(0).standard_normal((5, 6)))

    def value_and_grad(self, X):
        each = self.slopes @ X.ravel()
        top = float(each.max())
        shares = np.exp(each - top)
        return top + float(np.log(shares.sum())), (self.slopes.T @ (shares / shares.sum())).reshape(3, 2)
