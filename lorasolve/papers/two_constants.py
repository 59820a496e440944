"""Phase diagram of gradient descent on the instance on which Theorem B holds with equality."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._phase import AtBoundary

if TYPE_CHECKING:
    from ..landscape.instances import TwoConstantInstance


class TwoConstants(AtBoundary):
    """How often gradient descent from Gaussian factors ends at the spurious point of Theorem B, ``lam = 0``.

    ``beta`` is twice its least value ``1 + 2 sqrt(r/r*)``, so that ``beta2`` alone decides.
    """

    name = "two_constants"
    summary = "two constants (Theorem B): where gradient descent ends, over scale, beta2 and r/r*"
    boundary = "2 beta sqrt(r/r*)/(beta - 1)"
    statement = "no spurious points below beta2 = 2 beta sqrt(r/r*)/(beta - 1) (Theorem B), and some beyond it"
    multiples = [0.8, 1.0, 1.2, 1.5, 2.0, 5.0]

    def instance(self, r: int, r_star: int, times: float) -> TwoConstantInstance:
        """Return the instance of the least size."""
        from ..landscape.instances import two_constants

        t = math.sqrt(r / r_star)
        beta = 2.0 * (1.0 + 2.0 * t)
        return two_constants(r, r_star, r + r_star, r + r_star, beta, beta2=times * 2.0 * beta * t / (beta - 1.0))
