"""The formula of the gap against losses of one number, whose minimum is known in fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from lorasolve.certificates import formula
from lorasolve.certificates.balls import Ball, BallOracle


def tilted(x, y, tilt, slope):
    """What ``f(Y) = (Y - y)^2/2 - tilt Y`` states at ``x``, if all that it knows of the tilt is ``|tilt| <= slope``."""
    f = float((x - y) ** 2 / 2 - tilt * x)
    return BallOracle(f, f, Ball(np.array([[float(x - y - tilt)]])), 0.0, "y", True, lower_slope=float(slope))


def gap(x, y, tilt, lam):
    """``F(x) - min F`` of ``F(Y) = f(Y) + lam |Y|``: the minimum is at the soft threshold of ``y + tilt``."""
    best = max(abs(y + tilt) - lam, Fraction(0)) * (1 if y + tilt > 0 else -1)
    at, least = ((t - y) ** 2 / 2 - tilt * t + lam * abs(t) for t in (x, best))
    return at - least


@pytest.mark.parametrize("share", [-1, 0, Fraction(1, 2), 1])
def test_the_formula_bounds_the_gap_of_a_tilted_parabola(share):
    """A slope that is not known in full, as of Gram matrices whose lower bound is a line and no number."""
    eighths = [Fraction(k, 8) for k in (-31, -8, 0, 11, 25)]
    slack, without = [], []
    for x, y, slope, lam in itertools.product(eighths, eighths, (Fraction(1, 4), Fraction(19, 8)), (1, 4)):
        oracle = tilted(x, y, share * slope, slope)
        G = Fraction(float(oracle.gradient.mid[0, 0]))
        most = formula.scaling(Fraction(lam), oracle, float(abs(G)), 1.0)
        assert (most is None) == (slope > lam and abs(G) > lam)
        for c in () if most is None else map(Fraction, (most, most / 2, most / 16)):
            allowed = c * abs(G) + (1 - c) * slope <= lam
            assert allowed or c < most
            if allowed:
                bound = Fraction(formula.gap_at(float(c), Fraction(lam), oracle, float(abs(x)), float(G * x)))
                slack.append(bound - gap(x, y, share * slope, Fraction(lam)))
                without.append(slack[-1] - (1 - c) * slope * abs(x))
    assert 0 <= min(slack) < 1e-15
    # Without what the tilt may add it would be false.
    assert share != 1 or min(without) < -0.01


def test_a_slope_above_the_weight_bounds_nothing():
    """f(Y) = Y^2/2 - 2 Y with lam = 1: F(0) = 0 is half above the minimum, though f(0) is all that is stated."""
    oracle = tilted(Fraction(0), Fraction(0), Fraction(2), Fraction(2))
    norm = formula.ScaledNorm(2.0, formula.scaling(Fraction(1), oracle, 2.0, 1.0))
    bound = formula.bound_of(Fraction(1), oracle, (0.0, 0.0), 0.0, norm, ())
    assert gap(Fraction(0), Fraction(0), Fraction(2), Fraction(1)) == Fraction(1, 2)
    assert bound.gap == math.inf and bound.optimum_low == -math.inf
