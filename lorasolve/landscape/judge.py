"""The verdict on a point: global, spurious, saddle, not converged or inconclusive, with the reasons as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._advice import rise
from .._known import Known
from .._slopes import contradiction
from .._support.keywords import names_keywords
from .._support.validate import Array, as_flag, as_integer, as_iterable, as_number, shown
from ..certificates import certify, spot_checks
from ..certificates.duality import product_errors, scale_of
from ..certificates.gap import CLOSED_FORM, out_of_range
from ..certificates.refute import better_point
from ..convex import ConvexResult
from ..linear_map import LinearMap, balanced, frobenius_norm, numerical_rank, spectral_norm_estimate, top_singular
from ..problem import Problem, flat, nuclear_norm
from ..problem.blocks import Pairs
from ..problem.natural_units import beside_saddle_at_zero, factor_lengths, gradient_at_zero
from ..result import Result
from ..status import Status
from ._krylov import MISSED
from .canonical import Point, begin_again, canonical_result
from .constants import STATED, STATED_JOINTLY, Constants, joint_curvature, joint_inequality, known_block_constants
from .curvature import SecondOrder, second_order_at
from .escapes import ESCAPE_TOL, lowest_on_line
from .first_order import stationarity_at
from .rank_bound import gap_of_rank
from .report import Kind, Premise, Verdict
from .theorems import (
    NEAR,
    Spectra,
    TheoremFinding,
    applicable,
    approximate_point,
    contradicted_by_distance,
    joint_theorem_a,
    joint_theorem_b,
    theorem_2,
    theorem_3,
    theorem_b,
)
from .witness import STARTS, Witness, find_better, value_and_noise

ROUNDING = 32.0 * float(np.finfo(np.float64).eps)
# Updates are not asked to be known to more than this.
LEAST_TOL = 1e-12


@names_keywords
@np.errstate(over="ignore", invalid="ignore")
def verdict(
    problem: Problem,
    result: Result | ConvexResult | tuple[Any, Any] | Any,
    X_star: ArrayLike | Sequence[ArrayLike] | None = None,
    constants: Constants | Sequence[Constants] | None = None,
    r_star: int | None = None,
    eps: float | None = None,
    tol: float = 1e-6,
    joint: bool = False,
    search: bool | int | None = None,
) -> Verdict:
    """Say what a point is: global minimum, spurious minimum, saddle, not converged, or inconclusive.

    Parameters
    ----------
    problem : Problem or MultiProblem
        The problem that was solved.
    result : Result, ConvexResult or (A, B)
        The end of a run, judged at the update that it reached also where the method brought a scaling of its own, a
        convex optimum of rank at most ``r``, or factors of shapes (m, r), (n, r); for several matrices sequences of
        factors.
    X_star : array_like of shape (m, n), or a sequence of them, optional
        A global minimizer of ``F``. Without one, it is computed where ``f`` is convex, ``lam > 0`` and the point is not
        certified anyway. One that is refuted, because ``F`` is lower by more than ``tol`` at the point or after a
        proximal gradient step from ``X_star``, is not used.
    constants : Constants, or a sequence of them, optional
        RSC and RSM constants about ``X_star`` (:func:`~lorasolve.landscape.restricted_constants`), for each matrix.
        Without them, whole-space constants are used where they cost nothing (small quadratics).
    r_star : int, optional
        Rank to attribute to ``X_star``; by default its numerical rank. A smaller one asks for Theorem 3 (approximately
        low-rank minimizers), with ``delta`` the distance of ``X_star`` from its best approximation of that rank. For
        one matrix only.
    eps : float, optional
        The radius that Theorem 3 is asked about. For one matrix only.
    tol : float
        Relative accuracy, below 1: of objective values (relative to the larger of ``|F(X)|`` and ``|f(0)|``) and of
        the gradient (relative to the size of its terms, see :func:`~lorasolve.landscape.stationarity`).
    joint : bool
        States that the given constants of several matrices satisfy the joint inequality that Theorem 2 rests on,
        ``<grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||_F^2``. Constants of each matrix alone do not
        imply it (Notes), so it counts as unknown unless it is stated here or certified: for a sum of losses of one
        matrix each (``decoupled``), for a jointly strongly convex ``f`` that states ``rsc``, and for small least
        squares.
    search : bool or int, optional
        Whether to look for a better point of rank at most ``r`` where nothing else decides, which is the rule for
        ``lam = 0`` without a closed form and for non-convex ``f``: along the direction of the smallest curvature, by
        exchanging a component, by rank-limited descent and from so many Gaussian starts, at least 1 (True: 10), each
        followed by L-BFGS. What is found is kept as ``witness``; finding nothing proves nothing.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError, TypeError
        For adapters, shapes and numbers out of range, and results that merged updates into the frozen weight or whose
        update is not ``s A B^T``. A :class:`~lorasolve.landscape.DivergedError`, which is a ValueError, for a run that
        diverged so far that its factors cannot be judged.

    Notes
    -----
    The order of decision: a certificate of optimality; stationarity; curvature (negative beyond ``0.1 tol`` of the
    largest, or worth more than the tolerance in values on the line along its direction, where the value is lower by
    as much); the comparison with ``X*``; the search
    for a better point, whose value must be lower by more than the tolerance and the rounding noise of both values.
    Where a user's Hessian products contradict the gradients, nothing is concluded from curvature. A
    point is not converged, instead of spurious, where ``||grad L|| ||theta||`` is as much as it is above the better
    one, and instead of global where ``L - F`` at its factors is above the tolerance. The
    theorems are evaluated beside it with the certified ends of the constants, and a contradiction is reported as such.
    Source: main paper, Theorems 1, 2 and 3, Corollary 1 (proofs/theorem1, proofs/theorem2, proofs/theorem3,
    proofs/corollary1); Theorems A and B (proofs/theorem_a, proofs/theorem_b), for several matrices with joint constants
    (proofs/theorem2_joint). All are statements about second-order points, degenerate ones included: where a condition
    holds with equality, a spurious one need not be a local minimum.

    With the constants of each diagonal block alone Theorem 2 is false: ``f(X1, x2) = ||X1 - E11||^2/2 + (x2 - 3)^2/2 +
    g <N, X1 - E11> (x2 - 3)`` with ``N = (E11 - E22)/sqrt 2`` and ``g^2 = 3/4`` is strongly convex with
    ``alpha_l = beta_l = 1`` in each block, and has a spurious second-order point at rank 1 for ``lam = 0``.
    """
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)
    if eps is not None:
        eps = as_number(eps, "eps", 0.0, open_low=True)
    as_flag(joint, "joint")
    if r_star is not None:
        r_star = as_integer(r_star, "r_star", 0)
    if search is None or isinstance(search, (bool, np.bool_)):
        starts = STARTS if search else 0
    else:
        # Not 0: some of what is tried needs no random start, so that it would not say that nothing is.
        starts = as_integer(search, "search", 1)
    point = canonical_result(problem, result)
    if problem.several and not (r_star is None and eps is None):
        raise ValueError(f"{'eps' if r_star is None else 'r_star'}: Theorem 3 {problem.one_matrix_refusal()}")
    stars = None if X_star is None else point.problem.checked_updates(X_star, "X_star")
    given = _one_each(constants, problem)
    return _Judge(point, stars, given, joint, r_star, eps, tol, starts, problem.scale, onward(result)).judge()


def onward(result: Any) -> str:
    """Return what is to be done where more of a run might settle it."""
    if not isinstance(result, Result):
        return "continue the run"
    if result.status is Status.DIVERGED:
        return begin_again(result)
    # Values of mini-batches say nothing about one of the whole.
    comparable = result.trace.value and not (result.method and result.method.optimizer.stochastic)
    risen = rise(result.problem, result.trace.value[0], result.fun) if comparable else ""
    if risen:
        return risen
    if result.status is Status.STALLED:
        loss, other = result.problem.loss, "by another method"
        if result.theta.dtype == np.float32:
            other = "in float64"
        elif loss.precision != loss.dtype:
            other = f"with a loss that computes in {np.dtype(loss.dtype)}: {loss.label} does so in {loss.precision}"
        return f"the run found no further decrease, so continue it {other}"
    return "continue the run"


def _one_each(constants: Constants | Sequence[Constants] | None, problem: Problem) -> tuple[Constants, ...] | None:
    """Return given constants as a tuple with one entry for each matrix."""
    if constants is None:
        return None
    given = (constants,) if isinstance(constants, Constants) else tuple(as_iterable(constants, "constants"))
    if len(given) != len(problem.shapes) or not all(isinstance(c, Constants) for c in given):
        accepted = f"{len(problem.shapes)} Constants, one for each matrix"
        raise ValueError(f"constants: expected {accepted}, got {shown(constants)}")
    return given


class _StarRanks(NamedTuple):
    """The ranks of ``X*``, and whether they count values that are small beside the largest."""

    ranks: list[int]
    small: bool


class _Judge:
    """The steps of one verdict, on a point in the normal form."""

    def __init__(
        self,
        point: Point,
        stars: tuple[Array, ...] | None,
        constants: tuple[Constants, ...] | None,
        joint: bool,
        r_star: int | None,
        eps: float | None,
        tol: float,
        starts: int,
        adapter_scale: float,
        onward: str,
    ) -> None:
        self.problem = problem = point.problem
        given, unknown = point.factors, None
        self.as_given = point
        if point.lam == 0.0:
            # Only X matters: at unbalanced factors the same landscape is merely stretched.
            unknown = _unknown_product(given, tol)
            point = point.balanced()
        self.point = point
        self.stars = stars
        self.star_source = "given" if stars is not None else "not given"
        self._counted: _StarRanks | None = None
        self.constants = constants or self._known_constants()
        self.given = constants is not None
        self.stated = joint
        self.joint = self._joint_inequality()
        self.r_star = r_star
        self.eps = eps
        self.tol = tol
        self.starts = starts
        self.adapter_scale = adapter_scale
        self.onward = onward
        self.witness: Witness | None = None
        self.approximate: TheoremFinding | None = None
        self.first = stationarity_at(point, tol)
        self.certificate = certify(problem, problem.unpaired(given), tol=tol)
        self.value = self.certificate.value
        size = max(abs(self.value), abs(problem.value_at_zero))
        terms = size + problem.lam * self.certificate.nuclear_norm
        self.out_of_range = unknown or out_of_range(problem, terms)
        # Where values are 0 and no bound is known there is none to compare another one with; curvature needs none.
        bare = unknown is None and terms == 0.0 and problem.loss.facts.lower_bound is None
        self.undecided = self.out_of_range if bare else None
        # Where f is 0 here and at X = 0 nothing else says what is small.
        self.scale = scale_of(size or self.certificate.factor_gap, problem.loss.facts.lower_bound)
        self.second: SecondOrder | None = None
        self.contradiction: str | None = None
        self.escapes = False
        self.star_refuted = self._refutation_of_star()
        if self.star_refuted is not None:
            self.stars = None
        if problem.objective.facts.convex is not True:
            self.approximate = self._approximate_point()

    def judge(self) -> Verdict:
        kind, reason, basis = self._kind()
        spectra = self._spectra()
        premises = self._premises(spectra)
        findings = self._findings(spectra, premises)
        if self.approximate:
            findings += (self.approximate,)
        certified = [f for f in findings if f.known is Known.CERTIFIED]
        global_by = [f for f in certified if f.conclusion == "global"]
        contradictions: tuple[str, ...] = ()
        if kind == "spurious":
            says = {"global": "says global", "inconclusive": "says global or no second-order point"}
            denied = (f for f in certified if f.conclusion in says)
            contradictions = tuple(f"{f.theorem} {says[f.conclusion]} ({f.text})" for f in denied)
        elif kind == "inconclusive" and global_by and self.out_of_range is None:
            kind, basis = "global", global_by[0].theorem
            reason = f"second-order stationary, and {basis} applies: {global_by[0].text}"
        return Verdict(
            kind=kind,
            reason=reason,
            basis=basis,
            premises=premises,
            findings=findings,
            contradictions=contradictions,
            stationarity=self.first,
            second_order=self.second,
            certificate=self.certificate,
            constants=self.constants,
            spectra=spectra,
            tol=self.tol,
            witness=self.witness,
        )

    def _known_constants(self) -> tuple[Constants, ...] | None:
        """Return constants that cost nothing, none of a loss that contradicts the convexity that it states."""
        loss = self.problem.loss
        found = known_block_constants(loss, self.problem.ranks)
        if found is None or loss.facts.convex is not True or not spot_checks.needed(loss):
            return found
        return None if spot_checks.violation(loss.in_float64(), self.point.updates, None) else found

    def _joint_inequality(self) -> Premise | None:
        """Return the premise that couples the constants of several matrices, if there are any."""
        if self.constants is None or not self.problem.several:
            return None
        if self.stated:
            return Premise("joint_inequality", True, "stated with the constants")
        return Premise("joint_inequality", *joint_inequality(self.problem.loss, self.constants))

    # ------------------------------------------------------------------ the decision
    def _kind(self) -> tuple[Kind, str, str]:
        if self.out_of_range is not None and self.undecided is None:
            return "inconclusive", self.out_of_range, "nothing"
        gap = min(self.certificate.gap, self._gap_without_decay())
        excess = max(self.certificate.factor_gap, 0.0)
        if gap + excess <= self.tol * self.scale:
            known = self.certificate.level if gap == self.certificate.gap else Known.CERTIFIED
            # Without decay what is known may be the least value of the rank, which is no optimum of F = f.
            closed = gap == self.certificate.gap and self.certificate.formula.startswith(CLOSED_FORM)
            optimum = self.certificate.formula if closed else "the optimum of F"
            return "global", f"{known}: within {gap + excess:.2e} of {optimum}", "certificate"
        near = self.approximate
        if near and near.known is Known.CERTIFIED and near.conclusion == "global" and not self._above_star():
            return "global", f"{near.known}: {near.text}", near.theorem
        denied = contradiction(self.problem, self.point.theta)
        if denied is not None:
            return "inconclusive", f"{self.problem.loss.label}: {denied}", "nothing"
        if not self.first.is_fosp:
            return "not_converged", self._unsettled(), "gradient"
        self.second = second_order_at(self.point, 0.1 * self.tol)
        self.contradiction = self._contradicted_hessian()
        if self.contradiction is not None:
            return "inconclusive", self.contradiction, "nothing"
        self.escapes = not self.second.is_sosp or self._leads_lower(self.second)
        if self.escapes and not self._is_felt(self.second):
            self.escapes = False
            further = "" if self._is_negative(self.second) else f", or {self.onward}"
            reason = (
                f"differences of gradients show the curvature {self.second.smallest:.2e}, and no value along "
                f"second_order.direction is lower: give {self.problem.loss.label} a hessian_product{further}"
            )
            return "inconclusive", reason, "nothing"
        if self.escapes:
            return self._negative_curvature(self.second)
        kind, reason, basis = self._second_order_point()
        if kind == "inconclusive" and self.starts:
            kind, reason, basis = self._searched(self.second, reason)
        if kind == "spurious" and self._is_negative(self.second):
            reason += f", but a curvature is {self.second.smallest:.2e}, more than rounding explains"
            return "inconclusive", reason, "nothing"
        return kind, reason, basis

    def _gap_without_decay(self) -> float:
        """Return a certified gap for ``lam = 0``, where ``F = f``: from the lower bound, or from the constants."""
        facts = self.problem.objective.facts
        if self.problem.lam > 0.0 or not facts.convex:
            return math.inf
        gap = self.certificate.gap
        constants = self.constants
        if constants is None or not all(c.whole_space and c.rsc_low > 0.0 for c in constants):
            return gap
        if (self.joint is not None and not self.joint.holds) or (self.given and self.star_refuted is not None):
            return gap
        # Given constants are about X* alone: f(X) - f* <= <G, X - X*> <= ||G||^2/alpha. Others are of strong convexity.
        share = 1.0 if self.given else 2.0
        gradients = ((float(np.linalg.norm(G)), terms) for G, terms in self._gradients())
        lengths = (length + ROUNDING * (length + terms) for length, terms in gradients)
        return min(gap, sum(length**2 / (share * c.rsc_low) for length, c in zip(lengths, constants)))

    def _gradients(self) -> list[tuple[Array, float]]:
        """Return the gradient in each matrix, and the length of that at 0.

        Its rounding errors are those of terms that cancel, about as large as the latter.
        """
        loss = self.problem.loss.in_float64()
        here, at_zero = loss.gradient_operators(self.point.factors), loss.gradient_operators(loss.zeros())
        return [(G.to_dense(), float(np.linalg.norm(G_0.to_dense()))) for G, G_0 in zip(here, at_zero)]

    def _gap_of_ranks(self) -> float:
        """Return a certified gap to the least value of ``F`` over the ranks ``r``, from strong convexity."""
        constants, problem = self.constants, self.problem
        # Given constants are about X* alone.
        if constants is None or self.given or not all(c.whole_space and c.rsc_low > 0.0 for c in constants):
            return math.inf
        if self.joint is not None and not self.joint.holds:
            return math.inf
        stated = any(c.how["rsc_low"].source in (STATED, STATED_JOINTLY) for c in constants)
        if stated and spot_checks.is_of_a_user(problem.loss):
            return math.inf  # nobody has looked at what it states
        gap = 0.0
        for (A, B), (G, terms), c, r in zip(self.point.factors, self._gradients(), constants, problem.ranks):
            lengths = (terms, float(np.linalg.norm(G)), c.rsm_high * float(np.linalg.norm(A @ B.T)))
            gap += gap_of_rank(A, B, G, c.rsc_low, problem.lam, r, ROUNDING * sum(lengths))
        return gap

    def _approximate_point(self) -> TheoremFinding | None:
        """Return the gap that restricted strong convexity gives at any point, where its premises hold."""
        constants, nuclear = self.constants, self._nuclear_of_star()
        if constants is None or nuclear is None or (self.joint is not None and not self.joint.holds):
            return None
        certified = all(c.rsc_low > 0.0 for c in constants)
        rsc = min(c.rsc_low if certified else c.rsc_high for c in constants)
        if rsc <= 0.0 or not all(self._admits(c, k) for k, c in enumerate(constants)):
            return None
        tops = [_norm_above(G) for G in self.problem.loss.in_float64().gradient_operators(self.point.factors)]
        theta, (_, grads) = self.point.theta, self.point.value_and_grad()
        slope = 0.5 * abs(float(theta @ flat(grads)))
        # Rounding of the product and of the norm, so that nothing is claimed below it.
        excess = max(max(norm for norm, _ in tops) * (1.0 + ROUNDING) - self.problem.lam, 0.0)
        slope += ROUNDING * float(np.linalg.norm(theta)) * self.first.grad_norm
        known = Known.CERTIFIED if certified and all(exact for _, exact in tops) else Known.SAMPLED
        curvature = self._curvature()
        if curvature is None and known is Known.SAMPLED:
            curvature = self.problem.loss.sampled_smoothness(self.point.factors)
        found = approximate_point(slope, excess, nuclear, rsc, curvature, known, self.tol * self.scale)
        apart, length = self._from_star()
        return contradicted_by_distance(found, apart) if apart > found.numbers["distance"] + NEAR * length else found

    def _from_star(self) -> tuple[float, float]:
        """Return the distance of the point from a given ``X*``, 0 without one, and the longer of their lengths."""
        stars, updates = self.stars or (), self.point.updates if self.stars else ()
        apart, *lengths = (
            math.hypot(*(float(np.linalg.norm(X)) for X in parts))
            for parts in ([X - star for X, star in zip(updates, stars)], updates, stars)
        )
        return apart, max(lengths)

    def _nuclear_of_star(self) -> float | None:
        """Return an upper bound on ``||X*||_*``: of the given ``X*``, or ``(F(X) - f_low)/lam``."""
        if self.stars is not None:
            return sum(float(np.linalg.svd(X, compute_uv=False).sum()) for X in self.stars)
        low, lam = self.problem.objective.facts.lower_bound, self.problem.lam
        return max(self.value - low, 0.0) / lam if low is not None and lam > 0.0 else None

    def _admits(self, constants: Constants, k: int) -> bool:
        """Whether constants of restricted convexity are about this point (and ``X*``)."""
        # Given constants are about X*: of one that is refuted they say nothing about the minimizer.
        if self.given and self.star_refuted is not None:
            return False
        if constants.whole_space:
            return True
        distance = math.inf if self.stars is None else float(np.linalg.norm(self.point.updates[k] - self.stars[k]))
        return constants.r >= self.problem.ranks[k] and (constants.radius == math.inf or distance <= constants.radius)

    def _unsettled(self) -> str:
        first, convex = self.first, self.problem.objective.facts.convex is True
        if convex and self.problem.units.slope <= self.point.lam:
            return (
                f"||grad L|| = {first.grad_norm:.2e}, but the gradient of f at X = 0 is 0, so nothing says what is "
                "small; X = 0 is optimal: ask there, at factors of 0"
            )
        if self._tends_to_zero():
            return (
                f"||grad L|| = {first.grad_norm:.2e} at factors of length {frobenius_norm(self.point.theta):.2e}, "
                f"which tend to 0; X = 0 is {'optimal' if convex else 'a local minimum'}: ask there, at factors of 0"
            )
        if first.grad_norm > first.limit:
            there = self._of_factors_of_zero()
            exceeds = f"||grad L|| = {first.grad_norm:.2e} exceeds {first.limit:.2e}"
            if self.point is not self.as_given and stationarity_at(self.as_given, self.tol).is_fosp:
                return f"{exceeds} at balanced factors of the same X, not at these; continue the run from those{there}"
            return f"{exceeds}; {self.onward}{there}"
        if self.problem.several:
            return (
                f"||grad L|| = {first.grad_norm:.2e} is small beside the terms of the largest matrix only: another "
                f"one, or a factor of it, is not at a stationary point of its own problem; {self.onward}"
            )
        A, B = factor_lengths(self.problem, self.point.theta)
        return (
            f"||grad L|| = {first.grad_norm:.2e} is small beside the longer factor only, ||A|| = {A:.2e} and ||B|| = "
            f"{B:.2e}; continue the run from balanced factors of the same X"
        )

    def _tends_to_zero(self) -> bool:
        """Whether factors of 0 are a minimum of ``L``, no length says what is small, and ``f`` is linear up to here."""
        problem, units = self.problem, self.problem.units
        if not units.vanishes or units.floor > 0.0 or problem.lam == 0.0:
            return False
        # As the slope is measured: nothing of the size of X is formed where f offers products.
        pairs = zip(self.point.gradients(), gradient_at_zero(problem))
        return max(spectral_norm_estimate(_difference(*pair)) for pair in pairs) <= self.tol * units.slope

    def _of_factors_of_zero(self) -> str:
        """Return what is to be said of a run that ends beside factors of 0, if this point may be its end."""
        if not self.problem.units.slope:
            return "; where the factors tend to 0, ask at factors of 0"
        if not beside_saddle_at_zero(self.problem, self.point.theta, self.tol):
            return ""
        length = frobenius_norm(self.point.theta)
        return (
            f"; at a length of {length:.2e} the factors are beside X = 0, which is a strict saddle: where a run tends "
            "to it, begin again from others, or ask for escape(problem, result) at factors of 0"
        )

    def _curvature(self) -> float | None:
        """Return a bound on the curvature of ``f`` in all directions: those between X and X* have rank up to 2r."""
        smoothness = self.problem.objective.facts.smoothness
        if smoothness is not None or self.problem.several or not self.constants:
            return smoothness
        (only,) = self.constants
        return only.curvature[1] if only.whole_space and only.curvature is not None else None

    def _leads_lower(self, second: SecondOrder) -> bool:
        """Whether a curvature within the tolerance of the largest leads to a value that is lower by more than ``tol``.

        The largest one says nothing about small ones where features have different sizes. Along a direction of zero
        curvature terms of third order may lead lower too; what counts is what the curvature itself is worth.
        """
        if second.smallest >= -self._rounding(second):
            return False
        lowest = lowest_on_line(self.point, self._direction(second))
        worth = -0.5 * second.smallest * float(np.sum((lowest.theta - self.point.theta) ** 2))
        value, noise = value_and_noise(self.problem, self.point.factors)
        lower, its_noise = value_and_noise(self.problem, lowest.factors)
        return min(worth, value - lower - noise - its_noise) > self.tol * self.scale

    def _is_second_order(self, second: SecondOrder) -> bool | None:
        """Whether the point is second-order stationary, None where that is not known."""
        if self.contradiction is not None:
            return None
        if self.escapes:
            return False
        # A search too short to exclude negative curvature establishes nothing, nor do differences that see some.
        known = second.failure_probability <= MISSED and second.is_sosp
        return True if known and not self._is_negative(second) else None

    def _is_negative(self, second: SecondOrder) -> bool:
        """Whether neither rounding nor the remaining gradient explain a negative curvature."""
        return second.smallest < 0.0 and second.smallest <= -self._explained(second)

    def _is_felt(self, second: SecondOrder) -> bool:
        """Whether a negative curvature shows in values, where it was found by differences of gradients.

        Their step suits one unit of ``X``; features or matrices in others may seem curved in any way.
        """
        if not self.problem.loss.differenced:
            return True
        lowest = lowest_on_line(self.point, self._direction(second))
        value, noise = value_and_noise(self.problem, self.point.factors)
        lower, its_noise = value_and_noise(self.problem, lowest.factors)
        return value - lower > noise + its_noise

    def _contradicted_hessian(self) -> str | None:
        """Return how a user's Hessian products contradict the gradients, along the lowest curvature too."""
        assert self.second is not None
        loss, directions = self.problem.loss, self.problem.split_blocks(self._direction(self.second))
        text = spot_checks.contradicted_hessian(loss, self.point.factors, directions)
        return None if text is None else f"{loss.label} {text}: run {spot_checks.test_of(loss)}"

    def _direction(self, second: SecondOrder) -> Array:
        return flat(self.problem.checked_factors(*second.direction))

    def _rounding(self, second: SecondOrder) -> float:
        """Return the size of rounding errors in curvatures."""
        loss = self.problem.loss
        eps = float(np.finfo(loss.precision).eps)
        # A difference of gradients loses a third of the digits.
        return 32.0 * (eps ** (2 / 3) if loss.differenced else eps) * max(0.0, second.largest)

    def _explained(self, second: SecondOrder) -> float:
        """Return the size of a negative curvature that rounding or the remaining gradient may explain."""
        # At distance d from a stationary point the curvature is off by O(d) and the gradient by O(d) or, where the
        # curvature vanishes, c d^2 with c the change of the curvature, about its size over that of the factors. Then
        # the curvature is off by c d, the root of c times the gradient: so much may be an artefact of stopping early.
        # Of several matrices those count that the direction is in: others may be measured in other units.
        point, floor = self.point, self.problem.units.floor
        moved = [frobenius_norm(flat([pair])) for pair in self.problem.split_blocks(self._direction(second))]
        rate = 0.0
        for pair, gradient, share in zip(point.factors, point.value_and_grad()[1], moved):
            if share >= 0.1 * max(moved):
                rate = max(rate, frobenius_norm(flat([gradient])) / (max(frobenius_norm(flat([pair])), floor) or 1.0))
        return max(math.sqrt(rate * max(0.0, second.largest)), self._rounding(second))

    def _negative_curvature(self, second: SecondOrder) -> tuple[Kind, str, str]:
        if not self._is_negative(second):
            return (
                "not_converged",
                f"the smallest curvature {second.smallest:.2e} is within what rounding and the remaining gradient "
                f"{self.first.grad_norm:.2e} explain; {self.onward}",
                "curvature",
            )
        share = -second.smallest / second.largest if second.largest > 0.0 else 1.0
        tol = "" if share > ESCAPE_TOL else f", tol={0.1 * share:.0e}"
        return (
            "saddle",
            f"strict saddle: the curvature is {second.smallest:.3g} along second_order.direction; "
            f"escape(problem, result{tol}) continues from here",
            "curvature",
        )

    def _second_order_point(self) -> tuple[Kind, str, str]:
        problem = self.problem
        if self.undecided is not None:
            return "inconclusive", self.undecided, "nothing"
        if self.star_refuted is not None:
            return "inconclusive", self.star_refuted, "nothing"
        if self.stars is None and problem.objective.facts.convex and problem.lam > 0.0:
            self._compute_reference()
        if self.stars is None:
            unknown = "second-order stationary; no certificate applies and X* is not known"
            return self._best_of_ranks() or ("inconclusive", unknown, "nothing")
        difference, excess = self._above(self.stars), max(self.certificate.factor_gap, 0.0)
        if difference <= self.tol * self.scale:
            text = f"F(X) - F(X*) = {difference:.2e}, X* {self.star_source}"
            if difference + excess <= self.tol * self.scale:
                return "global", text, "comparison"
            return "not_converged", f"{text}, and L(A, B) - F(X) = {excess:.2e}; {self.onward}", "comparison"
        beyond = [(rank, r) for rank, r in zip(self._ranks_of_star(), problem.ranks) if rank > r]
        if beyond:
            rank, r = beyond[0]
            text = (
                f"above F(X*) by {difference:.3g}, but X* has rank {rank} > r = {r}: whether a better point "
                "of rank <= r exists is not decided"
            )
            return self._best_of_ranks() or ("inconclusive", text, "nothing")
        if self._falls_by(difference):
            return "not_converged", self._falling(difference), "gradient"
        text = f"second-order stationary, and F(X) - F(X*) = {difference:.6g} (X* {self.star_source})"
        return "spurious", text, "comparison"

    def _best_of_ranks(self) -> tuple[Kind, str, str] | None:
        """Return that no point of these ranks is better, where strong convexity shows it."""
        gap = self._gap_of_ranks() + max(self.certificate.factor_gap, 0.0)
        if gap > self.tol * self.scale:
            return None
        most = ", ".join(str(r) for r in self.problem.ranks)
        text = f"within {gap:.2e} of the least value of F of rank <= {most}, as f is strongly convex"
        return "global", f"{Known.CERTIFIED}: {text}; larger ranks may reach lower ones", "certificate"

    def _falls_by(self, amount: float) -> bool:
        """Whether what is left of the gradient may be worth as much on a way as long as the factors."""
        return self.first.grad_norm * frobenius_norm(self.point.theta) >= amount

    def _falling(self, amount: float) -> str:
        return (
            f"a point better by {amount:.6g} is known, and ||grad L|| = {self.first.grad_norm:.2e} at factors of "
            f"length {frobenius_norm(self.point.theta):.2e} may be worth as much; {self.onward}"
        )

    def _above(self, stars: tuple[Array, ...]) -> float:
        """Return ``F(X) - F(X*)``."""
        return self.value - self.problem.convex_value(stars if self.problem.several else stars[0])

    def _refutation_of_star(self) -> str | None:
        """Return what shows that a given ``X*`` is no minimizer of ``F``, or None."""
        if self.stars is None or self.out_of_range is not None:
            return None
        below = -self._above(self.stars)
        if below > self.tol * self.scale:
            return f"X_star is not a minimizer: this point is better by {below:.3g}"
        spectra, factors = [], []
        for X in self.stars:
            P, s, Qt = np.linalg.svd(X, full_matrices=False)
            k = max(numerical_rank(s, max(X.shape) * float(np.finfo(np.float64).eps)), 1)
            spectra.append((P[:, :k], s[:k], Qt[:k].T))
            factors.append(balanced(*spectra[-1]))
        f, nuclear, _ = better_point(self.problem.loss.in_float64(), self.problem.lam, factors, spectra)
        below += self.value - f - self.problem.lam * nuclear
        if below > self.tol * self.scale:
            return f"X_star is not a minimizer: a proximal gradient step from it is better by {below:.3g}"
        return None

    def _above_star(self) -> bool:
        """Whether a given ``X*`` shows that the point is not global."""
        return self.stars is not None and self._above(self.stars) > self.tol * self.scale

    def _searched(self, second: SecondOrder, undecided: str) -> tuple[Kind, str, str]:
        self.witness = found = find_better(
            self.point, self.tol * self.scale, self.starts, self._direction(second), self.adapter_scale
        )
        if found is None:
            text = f"{undecided}; the search from {self.starts} Gaussian and other starts found no better point"
            return "inconclusive", text, "nothing"
        if self._falls_by(found.better_by):
            return "not_converged", self._falling(found.better_by), "gradient"
        text = f"second-order stationary, and a point better by {found.better_by:.6g} of rank {found.rank} is known"
        return "spurious", f"{text} (found by: {found.found_by})", "witness"

    def _compute_reference(self) -> None:
        self._take_reference(0.01 * self.tol)
        if self.stars and any(rank > r for rank, r in zip(self._ranks_of_star(), self.problem.ranks)):
            # Directions on their way out have a rank too: what is left of them falls with the gap.
            self._take_reference(1e-4 * self.tol)

    def _take_reference(self, tol: float) -> None:
        from ..convex import solve_convex

        reference = solve_convex(self.problem, route="factored", tol=tol)
        if reference.gap <= self.tol * self.scale:
            self.stars = reference.X if self.problem.several else (reference.X,)
            self.star_source = f"computed ({reference.route}), certified gap {reference.gap:.1e}"
            self._counted = None

    # ------------------------------------------------------------------ the theorems
    def _ranks_of_star(self) -> list[int]:
        return self._star_counted().ranks

    def _star_counted(self) -> _StarRanks:
        if self._counted is None:
            self._counted = self._count_star()
        return self._counted

    def _count_star(self) -> _StarRanks:
        """Count the singular values of ``X*``, small ones too where ``F`` is larger without them."""
        assert self.stars is not None
        svds = [np.linalg.svd(X, full_matrices=False) for X in self.stars]
        ranks = [numerical_rank(s) for _, s, _ in svds]
        if all(k == np.count_nonzero(s) for k, (_, s, _) in zip(ranks, svds)):
            return _StarRanks(ranks, False)
        cut = tuple((P[:, :k] * s[:k]) @ Qt[:k] for k, (P, s, Qt) in zip(ranks, svds))
        if self._above(self.stars) - self._above(cut) <= 0.01 * self.tol * self.scale:
            return _StarRanks(ranks, False)
        eps = float(np.finfo(np.float64).eps)
        return _StarRanks([numerical_rank(s, max(X.shape) * eps) for X, (_, s, _) in zip(self.stars, svds)], True)

    def _spectra(self) -> tuple[Spectra, ...] | None:
        # The numbers of the theorems leave small singular values out.
        if self.stars is None or self._star_counted().small:
            return None
        found = []
        for (A, B), X_star, rank, r in zip(self.point.factors, self.stars, self._ranks_of_star(), self.problem.ranks):
            r_star = rank if self.r_star is None else as_integer(self.r_star, "r_star", 0, rank)
            if r_star > r:
                return None
            if r_star == rank:
                P, s, Qt = np.linalg.svd(X_star, full_matrices=False)
                X_star = (P[:, :rank] * s[:rank]) @ Qt[:rank]
            found.append(Spectra.of(A, B, X_star, r_star))
        return tuple(found)

    def _premises(self, spectra: tuple[Spectra, ...] | None) -> tuple[Premise, ...]:
        second, curvature, is_sosp = self.second, "not computed", None
        if second:
            curvature = f"smallest curvature {second.smallest:.2e}, {second.evidence}"
            is_sosp = self._is_second_order(second)
        premises = [
            Premise("first_order", self.first.is_fosp, f"||grad L|| = {self.first.grad_norm:.2e}"),
            Premise("second_order", is_sosp, curvature),
            *self._premises_on_star(spectra),
        ]
        if self.constants is None:
            return *premises, Premise("constants", None, "constants not given")
        for k, c in enumerate(self.constants):
            certified = c.rsc_low > 0.0 and c.rsm_high < math.inf
            holds = True if certified else (False if c.rsc_high <= 0.0 else None)
            premises.append(Premise("constants", holds, str(c), self._block(k)))
        if self.joint is not None:
            premises.append(self.joint)
        if spectra is None:
            return tuple(premises)
        for k, (c, s) in enumerate(zip(self.constants, spectra)):
            text = f"||X - X*||_F = {s.distance:.6g}, D = {c.radius:g}"
            premises.append(Premise("radius", c.whole_space or s.distance <= c.radius, text, self._block(k)))
            text = f"for rank <= {c.r}, r = {s.r}"
            premises.append(Premise("rank_of_constants", c.whole_space or c.r >= s.r, text, self._block(k)))
        return tuple(premises)

    def _premises_on_star(self, spectra: tuple[Spectra, ...] | None) -> list[Premise]:
        if self.star_refuted is not None:
            return [Premise("star_known", False, self.star_refuted)]
        if self.stars is None:
            return [Premise("star_known", None, f"X* {self.star_source}")]
        found = []
        for k, (rank, r) in enumerate(zip(self._ranks_of_star(), self.problem.ranks)):
            text = f"X* {self.star_source}, rank {rank}, r = {r}"
            if spectra is not None and spectra[k].delta > 0.0:
                text += f"; of rank {spectra[k].r_star} up to delta = {spectra[k].delta:.3g} (Theorem 3)"
            found.append(Premise("star_known", spectra is not None or rank <= r, text, self._block(k)))
        return found

    def _block(self, k: int) -> int | None:
        return k if self.problem.several else None

    def _findings(
        self, spectra: tuple[Spectra, ...] | None, premises: tuple[Premise, ...]
    ) -> tuple[TheoremFinding, ...]:
        if spectra is None or self.constants is None:
            return ()
        # The curvature of a point that its certificate already calls global is not computed; the theorems are
        # statements about second-order points, so they are not evaluated there. Constants that are only sampled give
        # findings that are marked as such.
        if any(not premise.holds for premise in premises if premise.id != "constants"):
            return ()
        used = [_usable(c) for c in self.constants]
        blocks = [(s, *ends) for s, ends in zip(spectra, used) if ends is not None]
        if len(blocks) < len(spectra):
            return ()
        if self.problem.several:
            return *theorem_2(blocks), joint_theorem_a(blocks), *self._joint_two_constants(blocks)
        ((single, rsc, rsm, known),) = blocks
        if single.delta > 0.0:
            return (theorem_3(single, rsc, rsm, known, self.eps),)
        found = [statement(single, rsc, rsm, known) for statement in applicable(single)]
        curvature = self.constants[0].curvature
        if curvature is not None and known is Known.CERTIFIED:
            found.append(theorem_b(single, curvature, rsm, known))
        return tuple(found)

    def _joint_two_constants(self, blocks: list[tuple[Spectra, float, float, Known]]) -> tuple[TheoremFinding, ...]:
        """Return what Theorem B says of several matrices, where bounds on the joint curvature are known."""
        curvature = joint_curvature(self.problem.loss)
        return () if curvature is None else (joint_theorem_b(blocks, curvature, Known.CERTIFIED),)


def _unknown_product(factors: Pairs, tol: float) -> str | None:
    """Return why the updates of given factors are not known well enough to be judged, if so."""
    nuclear = nuclear_norm(factors)
    errors = product_errors(factors, nuclear)
    if errors <= max(tol, LEAST_TOL) * nuclear:
        return None
    return f"columns cancel in A B^T, whose norm of {nuclear:.2e} is known to {errors:.2e} only: give balanced factors"


def _difference(G: LinearMap, H: LinearMap) -> LinearMap:
    """Return ``G - H``."""
    return LinearMap(G.shape, lambda V: G.matmat(V) - H.matmat(V), lambda U: G.rmatmat(U) - H.rmatmat(U))


def _norm_above(G: LinearMap) -> tuple[float, bool]:
    """Return ``||G||_2`` from above, and whether that is exact to rounding."""
    top = top_singular(G, 1, 1e-8, np.random.default_rng())
    return float(top.values[0]) + top.residual, top.exact


def _usable(constants: Constants) -> tuple[float, float, Known] | None:
    """Return the certified ends, or the sampled ones where those say nothing, or None."""
    if constants.rsc_low > 0.0 and constants.rsm_high < math.inf:
        return constants.rsc_low, constants.rsm_high, Known.CERTIFIED
    if constants.rsc_high > 0.0:
        return constants.rsc_high, constants.rsm_low, Known.SAMPLED
    return None
