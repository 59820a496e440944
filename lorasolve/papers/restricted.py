"""Phase diagram of gradient descent on the instance of Theorem C."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._phase import AboveBoundary

if TYPE_CHECKING:
    from ..landscape.instances import RestrictedInstance


class Restricted(AboveBoundary):
    """How often gradient descent from Gaussian factors ends at the spurious point of Theorem C, ``lam = 0``."""

    name = "restricted"
    summary = "restricted strong convexity (Theorem C): where gradient descent ends, over scale, beta and r/r*"
    boundary = "2 sqrt(r/r*)"

    def least(self, r: int, r_star: int) -> float:
        """Return ``2 sqrt(r/r*)``, below which Theorem A excludes spurious points."""
        return 2.0 * math.sqrt(r / r_star)

    def instance(self, r: int, r_star: int, beta: float) -> RestrictedInstance:
        """Return the instance of the least size."""
        from ..landscape.instances import restricted

        return restricted(r, r_star, r + r_star, r + r_star, beta)
