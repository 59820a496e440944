"""Phase diagram of gradient descent on the instance of Theorem C."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._phase import AtBoundary

if TYPE_CHECKING:
    from ..landscape.instances import RestrictedInstance


class Restricted(AtBoundary):
    """How often gradient descent from Gaussian factors ends at the spurious point of Theorem C, ``lam = 0``.

    Below the boundary Theorem A excludes such points, and the instance does not exist.
    """

    name = "restricted"
    summary = "restricted strong convexity (Theorem C): where gradient descent ends, over scale, beta and r/r*"
    boundary = "2 sqrt(r/r*)"
    statement = "under restricted strong convexity spurious points exist from beta2 = 2 sqrt(r/r*) alpha on (Theorem C)"
    multiples = [1.0, 1.2, 1.5, 2.0, 5.0, 10.0]

    def instance(self, r: int, r_star: int, times: float) -> RestrictedInstance:
        """Return the instance of the least size."""
        from ..landscape.instances import restricted

        return restricted(r, r_star, r + r_star, r + r_star, times * 2.0 * math.sqrt(r / r_star))
