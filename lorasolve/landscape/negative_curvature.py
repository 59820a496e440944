"""Is a curvature below zero one of ``L``, or of rounding, of the remaining gradient, of a user's Hessian products?"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from .._support.validate import Array
from ..certificates.contradictions import contradicted_hessian
from ..certificates.spot_checks import test_of
from ..dense import frobenius_norm
from ..problem import flat
from .canonical import Point
from .curvature import SecondOrder
from .escapes import lowest_on_line
from .witness import value_and_noise


class LowestCurvature:
    """The smallest curvature that was found at a point, held against what else may have made it.

    ``tolerance`` is the difference of values that counts.
    """

    def __init__(self, point: Point, second: SecondOrder, tolerance: float) -> None:
        self.point, self.problem, self.second, self.tolerance = point, point.problem, second, tolerance

    @cached_property
    def direction(self) -> Array:
        """The direction of the smallest curvature, as one vector."""
        return flat(self.problem.checked_factors(*self.second.direction))

    def contradiction(self) -> str | None:
        """Return how a user's Hessian products contradict the gradients, along the lowest curvature too."""
        loss, directions = self.problem.loss, self.problem.split_blocks(self.direction)
        text = contradicted_hessian(loss, self.point.factors, directions)
        return None if text is None else f"{loss.label} {text}: run {test_of(loss)}"

    def leads_lower(self) -> bool:
        """Whether a curvature within the tolerance of the largest leads to a value that is lower by more than ``tol``.

        The largest one says nothing about small ones where features have different sizes. Along a direction of zero
        curvature terms of third order may lead lower too; what counts is what the curvature itself is worth.
        """
        if self.second.smallest >= -self._rounding():
            return False
        moved = self._lowest.theta - self.point.theta
        worth = -0.5 * self.second.smallest * float(np.sum(moved**2))
        return min(worth, self._fall) > self.tolerance

    def is_felt(self) -> bool:
        """Whether a negative curvature shows in values, where it was found by differences of gradients.

        Their step suits one unit of ``X``; features or matrices in others may seem curved in any way.
        """
        return not self.problem.loss.differenced or self._fall > 0.0

    @cached_property
    def _lowest(self) -> Point:
        """The point of the lowest value on the line along the direction."""
        return lowest_on_line(self.point, self.direction)

    @cached_property
    def _fall(self) -> float:
        """By how much more than rounding the value is lower there."""
        value, noise = value_and_noise(self.problem, self.point.factors)
        lower, its_noise = value_and_noise(self.problem, self._lowest.factors)
        return value - lower - noise - its_noise

    def is_negative(self) -> bool:
        """Whether neither rounding nor the remaining gradient explain a negative curvature."""
        return self.second.smallest < 0.0 and self.second.smallest <= -self._explained()

    def _rounding(self) -> float:
        """Return the size of rounding errors in curvatures."""
        loss = self.problem.loss
        eps = float(np.finfo(loss.precision).eps)
        # A difference of gradients loses a third of the digits.
        return 32.0 * (eps ** (2 / 3) if loss.differenced else eps) * max(0.0, self.second.largest)

    def _explained(self) -> float:
        """Return the size of a negative curvature that rounding or the remaining gradient may explain."""
        # At distance d from a stationary point the curvature is off by O(d) and the gradient by O(d) or, where the
        # curvature vanishes, c d^2 with c the change of the curvature, about its size over that of the factors. Then
        # the curvature is off by c d, the root of c times the gradient: so much may be an artefact of stopping early.
        # Of several matrices those count that the direction is in: others may be measured in other units.
        point, floor = self.point, self.problem.units.floor
        moved = [frobenius_norm(flat([pair])) for pair in self.problem.split_blocks(self.direction)]
        rate = 0.0
        for pair, gradient, share in zip(point.factors, point.value_and_grad()[1], moved):
            if share >= 0.1 * max(moved):
                rate = max(rate, frobenius_norm(flat([gradient])) / (max(frobenius_norm(flat([pair])), floor) or 1.0))
        return max(math.sqrt(rate * max(0.0, self.second.largest)), self._rounding())
