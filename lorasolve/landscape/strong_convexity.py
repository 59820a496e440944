"""The constants of convexity that a verdict rests on, given or known, and the gaps that they bound."""

from __future__ import annotations

import math

import numpy as np

from .._known import Known
from .._support.validate import Array
from ..certificates import Certificate
from ..linear_map import LinearMap
from ..problem import flat, nuclear_norm
from ..singular_triplets import spectral_norm_estimate, top_singular
from .canonical import Point
from .constants import Constants
from .first_order import Stationarity
from .known_constants import contradicted_constants, joint_inequality, known_block_constants
from .minimizer import Minimizer
from .rank_bound import gap_of_rank
from .report import Premise
from .theorems import NEAR, TheoremFinding, approximate_point, contradicted_by_distance

# Rounding errors of a gradient, in units of the type that the loss computes in.
UNITS = 32.0


class StrongConvexity:
    """Constants of each matrix about a point, and what follows from them there.

    Parameters
    ----------
    point : Point
        The point that is judged.
    given : tuple of Constants, optional
        Constants about ``X*``. Without them, those of the whole space that cost nothing, where there are any.
    stated : bool
        Whether the joint inequality of several matrices is stated with them.
    denied : bool
        Whether the loss was seen to contradict the convexity that it states: then none are known.

    Attributes
    ----------
    contradiction : str or None
        How the loss contradicts constants that it states of itself: then none of these are known either.
    """

    def __init__(self, point: Point, given: tuple[Constants, ...] | None, stated: bool, denied: bool) -> None:
        self.point, self.problem, self.denied = point, point.problem, denied
        loss, self.contradiction = self.problem.loss, None
        if not denied:
            self.contradiction = contradicted_constants(loss, point.factors)
        unknown = denied or self.contradiction is not None
        self.constants = given or (None if unknown else known_block_constants(loss, self.problem.ranks))
        self.given = given is not None
        self.joint = self._joint_inequality(stated)

    def _joint_inequality(self, stated: bool) -> Premise | None:
        """Return the premise that couples the constants of several matrices, if there are any."""
        if self.constants is None or not self.problem.several:
            return None
        if self.contradiction is not None:
            return Premise("joint_inequality", None, self.contradiction)
        if stated:
            return Premise("joint_inequality", True, "stated with the constants")
        return Premise("joint_inequality", *joint_inequality(self.problem.loss, self.constants))

    def gap_without_decay(self, certificate: Certificate, star: Minimizer) -> float:
        """Return a certified gap for ``lam = 0``, where ``F = f``: from the lower bound, or from the constants."""
        facts = self.problem.objective.facts
        if self.problem.lam > 0.0 or not facts.convex or self.denied:
            return math.inf
        gap = certificate.gap
        constants = self.constants
        if constants is None or not all(c.whole_space and c.rsc_low > 0.0 for c in constants):
            return gap
        if (self.joint is not None and not self.joint.holds) or (self.given and star.refutation is not None):
            return gap
        # Given constants are about X* alone: f(X) - f* <= <G, X - X*> <= ||G||^2/alpha. Others are of strong convexity.
        share = 1.0 if self.given else 2.0
        lengths = (float(np.linalg.norm(G)) + error for G, error in self._gradients())
        return min(gap, sum(length**2 / (share * c.rsc_low) for length, c in zip(lengths, constants)))

    def gap_of_ranks(self) -> float:
        """Return a certified gap to the least value of ``F`` over the ranks ``r``, from strong convexity."""
        constants, problem = self.constants, self.problem
        # Given constants are about X* alone.
        if constants is None or self.given or not all(c.whole_space and c.rsc_low > 0.0 for c in constants):
            return math.inf
        if self.joint is not None and not self.joint.holds:
            return math.inf
        gap = 0.0
        gradients, unit = self._gradients(), self._unit()
        for (A, B), (G, error), c, r in zip(self.point.factors, gradients, constants, problem.ranks):
            error += unit * c.rsm_high * float(np.linalg.norm(A @ B.T))
            gap += gap_of_rank(A, B, G, c.rsc_low, problem.lam, r, error)
        return gap

    def _unit(self) -> float:
        """Return the rounding errors of a gradient relative to its terms; a loss shows its type when it is asked."""
        return UNITS * float(np.finfo(self.problem.loss.in_float64().precision).eps)

    def _gradients(self) -> list[tuple[Array, float]]:
        """Return the gradient in each matrix, and the size of its rounding errors.

        They are those of terms that cancel, about as large as the gradient at 0, and what the loss says beyond that.
        """
        loss, factors = self.problem.loss.in_float64(), self.point.factors
        here, at_zero = loss.gradient_operators(factors), loss.gradient_operators(loss.zeros())
        unit, more = self._unit(), loss.rounding_noise(factors).gradient
        dense = [(G.to_dense(), G_0.to_dense()) for G, G_0 in zip(here, at_zero)]
        return [(G, unit * float(np.linalg.norm(G) + np.linalg.norm(G_0)) + more) for G, G_0 in dense]

    def approximate_point(self, first: Stationarity, star: Minimizer, tolerance: float) -> TheoremFinding | None:
        """Return the gap that restricted strong convexity gives at any point, where its premises hold."""
        constants, nuclear = self.constants, star.nuclear_norm()
        if constants is None or nuclear is None or (self.joint is not None and not self.joint.holds):
            return None
        certified = all(c.rsc_low > 0.0 for c in constants)
        rsc = min(c.rsc_low if certified else c.rsc_high for c in constants)
        if rsc <= 0.0 or not all(self._admits(c, k, star) for k, c in enumerate(constants)):
            return None
        loss, lam, theta = self.problem.loss.in_float64(), self.problem.lam, self.point.theta
        tops = [_norm_above(G) for G in loss.gradient_operators(self.point.factors)]
        at_zero = [spectral_norm_estimate(G) for G in loss.gradient_operators(loss.zeros())]
        # Rounding of the gradient, of the norm and of the product, so that nothing is claimed below it.
        unit, more = self._unit(), loss.rounding_noise(self.point.factors).gradient
        errors = [unit * (norm + norm_at_zero) + more for (norm, _), norm_at_zero in zip(tops, at_zero)]
        excess = max(max(norm + error for (norm, _), error in zip(tops, errors)) - lam, 0.0)
        length = float(np.linalg.norm(theta))
        slope = 0.5 * abs(float(theta @ flat(self.point.value_and_grad()[1])))
        slope += unit * length * (first.grad_norm + lam * length)
        slope += sum(error * nuclear_norm([pair]) for error, pair in zip(errors, self.point.factors))
        known = Known.CERTIFIED if certified and all(exact for _, exact in tops) else Known.SAMPLED
        curvature = self._curvature()
        if curvature is None and known is Known.SAMPLED:
            curvature = self.problem.loss.sampled_smoothness(self.point.factors)
        found = approximate_point(slope, excess, nuclear, rsc, curvature, known, tolerance)
        apart, length = star.distance()
        return contradicted_by_distance(found, apart) if apart > found.numbers["distance"] + NEAR * length else found

    def _admits(self, constants: Constants, k: int, star: Minimizer) -> bool:
        """Whether constants of restricted convexity are about this point (and ``X*``)."""
        # Given constants are about X*: of one that is refuted they say nothing about the minimizer.
        if self.given and star.refutation is not None:
            return False
        if constants.whole_space:
            return True
        distance = math.inf if star.X is None else float(np.linalg.norm(self.point.updates[k] - star.X[k]))
        return constants.r >= self.problem.ranks[k] and constants.reaches(distance)

    def _curvature(self) -> float | None:
        """Return a bound on the curvature of ``f`` in all directions: those between X and X* have rank up to 2r."""
        smoothness = self.problem.objective.facts.smoothness
        if smoothness is not None or self.problem.several or not self.constants:
            return smoothness
        (only,) = self.constants
        return only.curvature[1] if only.whole_space and only.curvature is not None else None


def _norm_above(G: LinearMap) -> tuple[float, bool]:
    """Return ``||G||_2`` from above, and whether that is exact to rounding."""
    top = top_singular(G, 1, 1e-8, np.random.default_rng())
    return float(top.values[0]) + top.residual, top.exact
