"""The formula of ``rigorous`` in exact rationals, the scaling ``c`` that it is taken at, and what comes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from .._known import Known
from .._support.text import at_least, at_most
from ._rounding import fraction_down, fraction_up
from .balls import BallOracle
from .duality import NO_BOUND, Parts, scale_of

# Which formula a bound is by, or why there is none.
FENCHEL = {True: "Fenchel, least squares", False: "Fenchel, convex f"}
ABOVE_BOUND = "F above a lower bound of f"
CONTRADICTION = "none: f(X) is below the lower bound that the ball oracle states"


@dataclass(frozen=True)
class RigorousBound:
    """A proved statement about a point: ``F(X) - inf F <= gap``.

    Attributes
    ----------
    value : float
        The middle of ``value_low <= F(X) <= value_high``.
    value_low, value_high : float
        Bounds of ``F(X)``.
    gap : float
        Upper bound of ``F(X) - inf F``; infinite if there is none.
    scale : float
        The largest number that ``|f(X)| + lam ||X||_*`` may be (``duality.scale_of``).
    optimum_low : float
        Lower bound of ``inf F``.
    level : Known
        RIGOROUS.
    formula : str
        Which formula was used, or why there is no bound.
    refers_to : str
        Which data the statement is about.
    assumptions : tuple of str
        What it rests on.
    parts : Parts or None
        The numbers of the formula; None where no ball oracle was asked.
    """

    value: float
    value_low: float
    value_high: float
    gap: float
    scale: float
    optimum_low: float
    level: Known
    formula: str
    refers_to: str
    assumptions: tuple[str, ...]
    parts: Parts | None

    @property
    def relative_gap(self) -> float:
        """``gap / scale``."""
        return self.gap / self.scale

    def __str__(self) -> str:
        return (
            f"F(X) - inf F <= {at_most(self.gap, '.3g')} (relative {at_most(self.relative_gap, '.3g')}), "
            f"{self.level}: {self.formula}\n  F(X) in [{at_least(self.value_low, '.15g')}, "
            f"{at_most(self.value_high, '.15g')}], about {self.refers_to}\n"
            + "".join(f"  assuming {assumption}\n" for assumption in self.assumptions)
        )


class ScaledNorm(NamedTuple):
    """An upper bound of ``||G||_2``, and the ``c`` that goes with it."""

    most: float
    c: float | None


def bound_of(
    lam: Fraction,
    oracle: BallOracle,
    nuclear: tuple[float, float],
    inner: float,
    norm: ScaledNorm,
    assumptions: tuple[str, ...],
) -> RigorousBound:
    """Return the bound that follows from the oracle's answer and from bounds of the other numbers."""
    value = value_bounds(lam, oracle, nuclear)
    c = norm.c
    gap, formula = math.inf, NO_BOUND
    if c is not None:
        gap = gap_at(c, lam, oracle, nuclear[1], inner)
        formula = FENCHEL[oracle.least_squares]
    least = oracle.lower_bound
    if least is not None and _contradicts(oracle, least, nuclear[1]):
        gap, c, formula = math.inf, None, CONTRADICTION
    elif least is not None and oracle.lower_slope <= lam and math.isfinite(value[1]):
        # c = 0: lam = 0, or a bound on F itself.
        above = fraction_up(max(Fraction(value[1]) - Fraction(least), Fraction(0)))
        if above <= gap:
            gap, c, formula = above, 0.0, ABOVE_BOUND
    elif not gap < math.inf and lam == 0:
        formula = "none: lam = 0 and f has no known lower bound"
    optimum_low = difference_down(value[0], gap)
    c = math.nan if c is None else c
    return as_bound(float(lam), oracle, nuclear, inner, norm.most, value, gap, c, optimum_low, formula, assumptions)


def as_bound(
    lam: float,
    oracle: BallOracle,
    nuclear: tuple[float, float],
    inner: float,
    norm: float,
    value: tuple[float, float],
    gap: float,
    c: float,
    optimum_low: float,
    formula: str,
    assumptions: tuple[str, ...],
) -> RigorousBound:
    """Return proved numbers as a bound; ``c`` is NaN where the formula was not used."""
    low, high = value
    size = max(abs(oracle.low), abs(oracle.high)) + lam * nuclear[1]
    return RigorousBound(
        value=0.5 * low + 0.5 * high,
        value_low=low,
        value_high=high,
        gap=gap,
        scale=scale_of(size, oracle.lower_bound),
        optimum_low=optimum_low,
        level=Known.RIGOROUS,
        formula=formula,
        refers_to=oracle.refers_to,
        assumptions=assumptions,
        parts=Parts(
            f_low=oracle.low,
            f_high=oracle.high,
            lower_bound=-math.inf if oracle.lower_bound is None else oracle.lower_bound,
            lower_slope=oracle.lower_slope,
            nuclear_low=nuclear[0],
            nuclear_high=nuclear[1],
            inner_high=inner,
            norm_high=norm,
            radius=oracle.gradient.radius,
            scaling=c,
        ),
    )


def no_bound(reason: str, assumptions: list[str]) -> RigorousBound:
    """Return what is said where nothing can be proved."""
    return RigorousBound(
        value=math.nan,
        value_low=-math.inf,
        value_high=math.inf,
        gap=math.inf,
        scale=1.0,
        optimum_low=-math.inf,
        level=Known.RIGOROUS,
        formula=f"none: {reason}",
        refers_to="nothing",
        assumptions=tuple(assumptions),
        parts=None,
    )


def _contradicts(oracle: BallOracle, least: float, nuclear: float) -> bool:
    """Return whether ``f(X)`` is proved to be below what its own oracle states."""
    if not (math.isfinite(oracle.high) and math.isfinite(nuclear)):
        return False
    return Fraction(oracle.high) < Fraction(least) - Fraction(oracle.lower_slope) * Fraction(nuclear)


def value_bounds(lam: Fraction, oracle: BallOracle, nuclear: tuple[float, float]) -> tuple[float, float]:
    """Return bounds of ``F(X)``."""
    low = fraction_down(Fraction(oracle.low) + lam * Fraction(nuclear[0])) if math.isfinite(oracle.low) else -math.inf
    if not (math.isfinite(oracle.high) and math.isfinite(nuclear[1])):
        return low, math.inf
    return low, fraction_up(Fraction(oracle.high) + lam * Fraction(nuclear[1]))


def difference_down(low: float, high: float) -> float:
    """Return ``low - high`` rounded down, minus infinity unless both are numbers."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return -math.inf
    return fraction_down(Fraction(low) - Fraction(high))


def gap_for(norm: float, lam: Fraction, oracle: BallOracle, nuclear: float, inner: float) -> float:
    """Return the right side of the formula where ``||G||_2`` is this, infinite where that says nothing."""
    c = scaling(lam, oracle, norm, wanted_scaling(oracle, inner))
    return math.inf if c is None else gap_at(c, lam, oracle, nuclear, inner)


def wanted_scaling(oracle: BallOracle, inner: float) -> float:
    """Return where the formula is smallest, not exactly: any ``c`` that satisfies its condition is right."""
    if not oracle.least_squares or oracle.lower_bound is None or oracle.lower_slope > 0.0:
        return 1.0
    above = oracle.high - oracle.lower_bound
    if not (0.0 < above < math.inf and abs(inner) < math.inf):
        return 1.0
    return max(1.0 - inner / (2.0 * above), 0.0)


def scaling(lam: Fraction, oracle: BallOracle, norm: float, wanted: float) -> float | None:
    """Return a number ``c`` near ``wanted`` that satisfies the formula's condition exactly, or None if none does."""
    if not norm < math.inf:
        return None
    slope = Fraction(oracle.lower_slope)
    if oracle.lower_bound is None:
        return 1.0 if Fraction(norm) <= lam else None
    if slope > 0 and Fraction(norm) <= lam:
        return 1.0
    if slope > lam:
        return None
    # c norm + (1 - c) slope <= lam.
    room, per_unit = lam - slope, Fraction(norm) - slope
    c = wanted
    if Fraction(c) * per_unit > room:
        c = fraction_down(room / per_unit)
    return c if Fraction(c) * per_unit <= room and c >= 0.0 else None


def gap_at(c: float, lam: Fraction, oracle: BallOracle, nuclear: float, inner: float) -> float:
    """Return the right side of the formula at ``c``, in exact rationals, rounded up."""
    numbers = (nuclear, inner, *(() if c == 1.0 else (oracle.high,)))
    if not all(math.isfinite(number) for number in numbers):
        return math.inf
    gap = lam * Fraction(nuclear) + Fraction(c) * Fraction(inner)
    if c != 1.0:
        assert oracle.lower_bound is not None
        above = max(Fraction(oracle.high) - Fraction(oracle.lower_bound), Fraction(0))
        left = 1 - Fraction(c)
        if oracle.least_squares:
            tilt = Fraction(oracle.lower_slope) * Fraction(nuclear)
            gap += left * left * (above + tilt) + left * tilt
        else:
            gap += left * above
    return fraction_up(max(gap, Fraction(0)))
