"""Phase diagram of gradient descent on the instance on which Theorem B holds with equality."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._phase import AboveBoundary

if TYPE_CHECKING:
    from ..landscape.instances import TwoConstantInstance


class TwoConstants(AboveBoundary):
    """How often gradient descent from Gaussian factors ends at the spurious point of Theorem B, ``lam = 0``."""

    name = "two_constants"
    summary = "two constants (Theorem B with equality): where gradient descent ends, over scale, beta and r/r*"
    boundary = "1 + 2 sqrt(r/r*)"

    def least(self, r: int, r_star: int) -> float:
        """Return ``1 + 2 sqrt(r/r*)``, where ``beta2 = beta``; above it ``beta2`` is on the boundary of Theorem B."""
        return 1.0 + 2.0 * math.sqrt(r / r_star)

    def instance(self, r: int, r_star: int, beta: float) -> TwoConstantInstance:
        """Return the instance of the least size."""
        from ..landscape.instances import two_constants

        return two_constants(r, r_star, r + r_star, r + r_star, beta)
