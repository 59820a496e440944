"""How a statement or a number is known: one vocabulary for all reports."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Known(enum.Enum):
    """How something is known, from the strongest to the weakest.

    PROVED: by a proof that covers all dimensions (under the named facts, if any are named with it).
    VERIFIED: by exact arithmetic at the listed cases.
    RIGOROUS: by a bound in which every rounding error is accounted for.
    CERTIFIED: by a bound with its formula, evaluated in floating point.
    ATTAINED: by a point at which the value is taken, found by optimisation.
    SAMPLED: by random draws; never a proof.
    """

    PROVED = "PROVED"
    VERIFIED = "VERIFIED"
    RIGOROUS = "RIGOROUS"
    CERTIFIED = "CERTIFIED"
    ATTAINED = "ATTAINED"
    SAMPLED = "SAMPLED"

    def __str__(self) -> str:
        return str(self.value)


def weakest(levels: Iterable[Known]) -> Known:
    """Return the weakest of some levels: as which all together are known."""
    return max(levels, key=list(Known).index)
