"""Restricted strong convexity and smoothness: intervals for ``alpha`` and ``beta``, and how each end is known."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .._known import Known
from .._support.text import at_least, at_most, for_json
from .._support.validate import as_flag, as_integer, as_number, as_text
from .regimes import ROUNDING, curvature_bounds, require_ordered


@dataclass(frozen=True)
class Provenance:
    """How a bound is known (None: it is not), and from what."""

    known: Known | None
    source: str

    def __str__(self) -> str:
        return f"{self.known}: {self.source}" if self.known else self.source


UNKNOWN = Provenance(None, "unknown")


@dataclass(frozen=True)
class Constants:
    """Intervals that contain the RSC constant ``alpha`` and the RSM constant ``beta``.

    ``alpha`` is an infimum and ``beta`` a supremum, so every value attained at an admissible matrix bounds ``alpha``
    from above and ``beta`` from below; the other two ends need a bound over all matrices.

    Attributes
    ----------
    rsc_low, rsc_high, rsm_low, rsm_high : float
        ``rsc_low <= alpha <= rsc_high`` and ``rsm_low <= beta <= rsm_high``. ``rsc_low`` may be ``-inf`` and
        ``rsm_high`` ``inf``: then nothing is known on that side, and no theorem can be applied.
    how : dict of Provenance
        For each end ``known`` and ``source``: CERTIFIED (a bound valid for all matrices), ATTAINED (the value at a
        matrix that optimisation found), SAMPLED (the extreme of random matrices; one-sided), or None.
    r : int
        The rank of the admissible matrices.
    radius : float
        ``D``: admissible matrices lie within this Frobenius distance of ``X*`` (``inf``: everywhere).
    whole_space : bool
        Whether the certified ends hold without any restriction of rank or distance.
    curvature : (float, float) or None
        Certified bounds ``0 < alpha <= beta`` on the curvature of ``f`` along matrices of rank up to ``r + r*``, for
        Theorem B: more than the restricted constants.
    """

    rsc_low: float
    rsc_high: float
    rsm_low: float
    rsm_high: float
    how: dict[str, Provenance]
    r: int
    radius: float
    whole_space: bool
    curvature: tuple[float, float] | None = None

    @classmethod
    def exact(
        cls,
        rsc: float,
        rsm: float,
        r: int,
        radius: float = math.inf,
        whole_space: bool = False,
        source: str = "given",
        curvature: tuple[float, float] | None = None,
    ) -> Constants:
        """Return constants known exactly, for matrices of rank <= ``r`` within ``radius`` of ``X*``.

        With ``whole_space`` they hold for every matrix, whatever ``r`` and ``radius``. They compare a matrix with
        ``X*`` only, so they bound no curvature between two others: the constants of Theorem B, such as the extreme
        eigenvalues of all Hessians, are ``curvature``, and the theorem is not applied where they are not given.

        Raises
        ------
        ValueError, TypeError
            For constants that are no numbers (one that is not known is infinite: ``rsc`` below, ``rsm`` above), ``rsc``
            above ``rsm``, a rank below 1, and a negative radius.
        """
        rsc, rsm = _number_or(-math.inf, rsc, "rsc"), _number_or(math.inf, rsm, "rsm")
        require_ordered(rsc, rsm)
        r, radius = as_integer(r, "r", 1), _number_or(math.inf, radius, "radius", low=0.0)
        as_flag(whole_space, "whole_space")
        as_text(source, "source")
        if curvature is not None:
            curvature = curvature_bounds(curvature)
        how = dict.fromkeys(("rsc_low", "rsc_high", "rsm_low", "rsm_high"), Provenance(Known.CERTIFIED, source))
        return cls(rsc, rsc, rsm, rsm, how, r, radius, whole_space, curvature)

    def reaches(self, distance: float) -> bool:
        """Return whether a distance from ``X*`` is at most the radius, up to rounding (``inf``: not known)."""
        return distance <= self.radius * (1.0 + ROUNDING)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values (infinite ends as None)."""
        how = {end: {"known": e.known and str(e.known), "source": e.source} for end, e in self.how.items()}
        return dict(for_json(asdict(self) | {"how": how}))

    def __str__(self) -> str:
        ends = [("alpha", self.rsc_low, self.rsc_high), ("beta", self.rsm_low, self.rsm_high)]
        lines = [f"{name} in [{_low_text(low)}, {_high_text(high)}]" for name, low, high in ends]
        return ", ".join(lines) + f" for rank <= {self.r} within distance {self.radius:g} of X*"


def _low_text(end: float) -> str:
    """Return a lower end, rounded down but for what quotients of constants are not compared to."""
    return at_least(end * (1.0 + math.copysign(ROUNDING, end)), ".6g")


def _high_text(end: float) -> str:
    """Return an upper end, rounded up in the same way."""
    return at_most(end * (1.0 - math.copysign(ROUNDING, end)), ".6g")


def of_curvature(low: float, high: float, r: int, source: str) -> Constants:
    """Return constants from bounds of the curvature at all matrices and in all directions."""
    everywhere = curvature_everywhere(low, high)
    return Constants.exact(low, high, r, whole_space=True, source=source, curvature=everywhere)


def curvature_everywhere(low: float, high: float) -> tuple[float, float] | None:
    """Return the ends that hold on the whole space as the constants of Theorem B, None where one says nothing."""
    return (low, high) if low > 0.0 and high < math.inf else None


def _number_or(unknown: float, value: float, argument: str, low: float = -math.inf) -> float:
    """Return a finite number from ``low`` on, or the infinite one that stands for what is not known."""
    return unknown if isinstance(value, float) and value == unknown else as_number(value, argument, low)
