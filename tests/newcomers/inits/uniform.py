"""``A`` uniform, ``B = 0``."""

from dataclasses import dataclass

import numpy as np

from lorasolve.inits import Init, Start


@dataclass(frozen=True)
class Uniform(Init):
    """``A`` with independent entries uniform in ``[-bound, bound]``, ``B = 0``: the update starts at zero.

    Parameters
    ----------
    bound : float
        Largest magnitude.
    """

    bound: float = 0.5

    name = "uniform"
    summary = "A uniform, B = 0"
    keeps_weight = True

    def start(self, problem, rng):
        """Return ``A`` (m, r) uniform and ``B`` (n, r) zero."""
        m, n = problem.shape
        return Start(rng.uniform(-self.bound, self.bound, (m, problem.rank)), np.zeros((n, problem.rank)))
