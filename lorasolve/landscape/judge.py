"""The verdict on a point: global, spurious, saddle, not converged or inconclusive, with the reasons as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._known import Known
from .._slopes import contradiction, falls_nowhere
from .._support.keywords import names_keywords
from .._support.text import at_least, at_most
from .._support.threads import judge_pools
from .._support.validate import Array, as_flag, as_integer, as_iterable, as_number, shown
from ..certificates import certify
from ..certificates.answers import CLOSED_FORM, DENIED, as_zero_is, out_of_range
from ..certificates.contradictions import contradicted_factors
from ..certificates.duality import product_errors, scale_of
from ..certificates.spot_checks import test_of
from ..convex import ConvexResult
from ..dense import frobenius_norm
from ..problem import Problem, nuclear_norm
from ..problem.pairs import Pairs
from ..result import Result
from ._krylov import MISSED
from .canonical import Point, canonical_result
from .constants import Constants
from .curvature import SecondOrder, second_order_at
from .escapes import ESCAPE_TOL
from .first_order import stationarity_at
from .minimizer import Minimizer, Optima
from .negative_curvature import LowestCurvature
from .premises import findings, premises
from .report import Kind, Verdict
from .strong_convexity import StrongConvexity
from .theorems import TheoremFinding
from .unsettled import onward, unsettled
from .witness import STARTS, Witness, find_better

# Updates are not asked to be known to more than this.
LEAST_TOL = 1e-12


@names_keywords
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
        factors, or a list of pairs ``(A_l, B_l)`` (a tuple of two is ``(A, B)``).
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
    The order of decision: a certificate of optimality, unless relative to ``F(X)`` it refutes a point that is not
    stationary; stationarity; curvature (negative beyond ``0.1 tol`` of the largest, or worth more than the tolerance in
    values on the line along its direction, where the value is lower by as much); the comparison with ``X*``, if its
    rank is above ``r`` with the matrix of rank ``r`` nearest to it; the search for a better point, whose value must be
    lower by more than the tolerance and the rounding noise of both values. Where a user's Hessian products contradict
    the gradients, nothing is concluded from curvature. A point is not converged, instead of spurious, where ``||grad
    L||`` times the length of the way to the better one is as much as it is above that, and instead of global where ``L
    - F`` at its factors is above the tolerance. The theorems are evaluated beside it with the certified ends of the
    constants, and a contradiction is reported as such.
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
    return judged(problem, result, X_star, constants, tol, Optima(), r_star, eps, joint, starts)


@np.errstate(over="ignore", invalid="ignore")
def judged(
    problem: Problem,
    result: Result | ConvexResult | tuple[Any, Any] | Any,
    X_star: ArrayLike | Sequence[ArrayLike] | None,
    constants: Constants | Sequence[Constants] | None,
    tol: float,
    optima: Optima,
    r_star: int | None = None,
    eps: float | None = None,
    joint: bool = False,
    starts: int = 0,
) -> Verdict:
    """Return the verdict on a point, of checked numbers; the optima of the problem may be those of other points."""
    point = canonical_result(problem, result)
    if problem.several and not (r_star is None and eps is None):
        raise ValueError(f"{'eps' if r_star is None else 'r_star'}: Theorem 3 {problem.one_matrix_refusal()}")
    stars = None if X_star is None else point.problem.checked_updates(X_star, "X_star")
    given = _one_each(constants, problem)
    with judge_pools(problem.shapes):
        judge = _Judge(point, stars, given, joint, r_star, eps, tol, starts, problem.scale, onward(result), optima)
        return judge.judge()


def _one_each(constants: Constants | Sequence[Constants] | None, problem: Problem) -> tuple[Constants, ...] | None:
    """Return given constants as a tuple with one entry for each matrix."""
    if constants is None:
        return None
    given = (constants,) if isinstance(constants, Constants) else tuple(as_iterable(constants, "constants"))
    if len(given) != len(problem.shapes) or not all(isinstance(c, Constants) for c in given):
        accepted = f"{len(problem.shapes)} Constants, one for each matrix"
        raise ValueError(f"constants: expected {accepted}, got {shown(constants)}")
    return given


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
        optima: Optima,
    ) -> None:
        self.problem = problem = point.problem
        given, unknown = point.factors, None
        self.as_given = point
        if point.lam == 0.0:
            # Only X matters: at unbalanced factors the same landscape is merely stretched.
            unknown = _unknown_product(given, tol)
            point = point.balanced()
        self.point = point
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
        # Another look may miss what one has found: nothing rests on a convexity that is denied.
        self.denied = self.certificate.reason if self.certificate.reason.startswith(DENIED) else None
        self.convexity = StrongConvexity(point, constants, joint, denied=self.denied is not None)
        self.value = self.certificate.value
        size = max(abs(self.value), abs(problem.value_at_zero))
        terms = size + problem.lam * self.certificate.nuclear_norm
        self.out_of_range = unknown or (None if self.certificate.is_global else out_of_range(problem, terms))
        # Where values are 0 and no bound is known there is none to compare another one with; curvature needs none.
        bare = unknown is None and terms == 0.0 and problem.loss.facts.lower_bound is None
        self.undecided = self.out_of_range if bare else None
        # Where f is 0 here and at X = 0 nothing else says what is small.
        self.tolerance = tol * scale_of(size or self.certificate.factor_gap, problem.loss.facts.lower_bound)
        self.second: SecondOrder | None = None
        self.contradiction: str | None = None
        self.escapes = False
        self.star = Minimizer(point, stars, self.value, self.tolerance, self.out_of_range is None, optima)
        if problem.objective.facts.convex is not True:
            self.approximate = self.convexity.approximate_point(self.first, self.star, self.tolerance)

    def judge(self) -> Verdict:
        kind, reason, basis = self._kind()
        spectra = self.star.spectra(self.r_star)
        held = premises(self.first, self.second, self._is_second_order(), self.star, spectra, self.convexity)
        said = findings(self.problem, spectra, self.convexity.constants, held, self.eps)
        if self.approximate:
            said += (self.approximate,)
        certified = [f for f in said if f.known is Known.CERTIFIED]
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
            premises=held,
            findings=said,
            contradictions=contradictions,
            stationarity=self.first,
            second_order=self.second,
            certificate=self.certificate,
            constants=self.convexity.constants,
            spectra=spectra,
            tol=self.tol,
            witness=self.witness,
        )

    def _kind(self) -> tuple[Kind, str, str]:
        if self.out_of_range is not None and self.undecided is None:
            return "inconclusive", self.out_of_range, "nothing"
        gap = min(self.certificate.gap, self.convexity.gap_without_decay(self.certificate, self.star))
        excess = max(self.certificate.factor_gap, 0.0)
        # Beside f(0) a small F(X) is nothing, and much worse points than this one are within the tolerance.
        refuted = self.certificate.is_global is False
        if gap + excess <= self.tolerance and not (refuted and not self.first.is_fosp):
            known = self.certificate.level if gap == self.certificate.gap else Known.CERTIFIED
            # Without decay what is known may be the least value of the rank, which is no optimum of F = f.
            closed = gap == self.certificate.gap and self.certificate.formula.startswith(CLOSED_FORM)
            optimum = self.certificate.formula if closed else "the optimum of F"
            text = f"{known}: {self._within(gap + excess)} of {optimum}"
            if refuted:
                text += f", though relative to F(X) {self.certificate.reason}"
            return "global", text + as_zero_is(self.problem.loss, self.value, self.tolerance), "certificate"
        near = self.approximate
        if near and near.known is Known.CERTIFIED and near.conclusion == "global" and not self.star.is_lower:
            return self._denied_at_factors() or ("global", f"{near.known}: {near.text}", near.theorem)
        denied = contradiction(self.problem, self.point.theta)
        if denied is not None:
            return "inconclusive", f"{self.problem.loss.label}: {denied}", "nothing"
        if not self.first.is_fosp and falls_nowhere(self.problem, self.point.theta):
            kink = f"{self.problem.loss.label} has a kink here: L does not fall along the gradient that it states"
            return "inconclusive", f"{kink}, so that no gradient says whether the point is stationary", "nothing"
        if not self.first.is_fosp:
            return "not_converged", unsettled(self.point, self.as_given, self.first, self.tol, self.onward), "gradient"
        self.second = second_order_at(self.point, 0.1 * self.tol)
        lowest = LowestCurvature(self.point, self.second, self.tolerance)
        self.contradiction = lowest.contradiction()
        if self.contradiction is not None:
            return "inconclusive", self.contradiction, "nothing"
        self.escapes = not self.second.is_sosp or lowest.leads_lower()
        if self.escapes and not lowest.is_felt():
            self.escapes = False
            further = "" if lowest.is_negative() else f", or {self.onward}"
            reason = (
                f"differences of gradients show the curvature {self.second.smallest:.2e}, and no value along "
                f"second_order.direction is lower: give {self.problem.loss.label} a hessian_product{further}"
            )
            return "inconclusive", reason, "nothing"
        if self.escapes:
            return self._negative_curvature(lowest)
        kind, reason, basis = self._second_order_point()
        if kind == "inconclusive" and self.starts:
            kind, reason, basis = self._searched(lowest.direction, reason)
        if kind == "spurious" and lowest.is_negative():
            reason += f", but a curvature is {self.second.smallest:.2e}, more than rounding explains"
            return "inconclusive", reason, "nothing"
        return kind, reason, basis

    def _is_second_order(self) -> bool | None:
        """Whether the point is second-order stationary, None where that is not known."""
        second = self.second
        if second is None or self.contradiction is not None:
            return None
        negative = LowestCurvature(self.point, second, self.tolerance).is_negative()
        if self.escapes:
            return False if negative else None
        # A search too short to exclude negative curvature establishes nothing, nor do differences that see some.
        known = second.failure_probability <= MISSED and second.is_sosp
        return True if known and not negative else None

    def _negative_curvature(self, lowest: LowestCurvature) -> tuple[Kind, str, str]:
        second = lowest.second
        if not lowest.is_negative():
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
        if self.star.refutation is not None:
            return "inconclusive", self.star.refutation, "nothing"
        if self.star.X is None and problem.objective.facts.convex and problem.lam > 0.0:
            self.star.compute(self.tol)
        if self.star.X is None:
            unknown = self.denied or "second-order stationary; no certificate applies and X* is not known"
            if self.convexity.contradiction is not None:
                unknown = f"{problem.loss.label} {self.convexity.contradiction}"
            return self._best_of_ranks() or ("inconclusive", unknown, "nothing")
        denied = self._denied_at_factors()
        if denied is not None:
            return denied
        difference, excess = self.star.above(self.star.X), max(self.certificate.factor_gap, 0.0)
        rounding = self.star.rounding(self.star.X)
        if difference <= self.tolerance + rounding:
            if max(difference, rounding) > self.tolerance:
                return "inconclusive", self._too_rough(difference, rounding), "nothing"
            if self.denied is not None and not self.star.is_given:
                return "inconclusive", self.denied, "nothing"
            text = f"F(X) - F(X*) = {difference:.2e}, X* {self.star.source}"
            if difference + excess <= self.tolerance:
                return "global", text, "comparison"
            return "not_converged", f"{text}, and L(A, B) - F(X) = {excess:.2e}; {self.onward}", "comparison"
        known = f"F(X) - F(X*) = {difference:.6g} (X* {self.star.source})"
        beyond = [(rank, r) for rank, r in zip(self.star.ranks, problem.ranks) if rank > r]
        if beyond:
            rank, r = beyond[0]
            text = (
                f"above F(X*) by {difference:.3g}, but X* has rank {rank} > r = {r}: whether a better point "
                "of rank <= r exists is not decided"
            )
            difference = self.star.above(self.star.within_ranks())
            if difference <= self.tolerance + rounding:
                return self._best_of_ranks() or ("inconclusive", text, "nothing")
            known = f"F(X) - F(Y) = {difference:.6g} (Y: of rank <= r, nearest to X* {self.star.source})"
        way = self._way_to(self.star.nuclear_norm() or 0.0)
        if self._falls_by(difference, way):
            return "not_converged", self._falling(difference, way), "gradient"
        return "spurious", f"second-order stationary, and {known}", "comparison"

    def _too_rough(self, difference: float, rounding: float) -> str:
        """Return why two values do not say which is lower by more than the tolerance."""
        return (
            f"F(X) - F(X*) = {difference:.2e} (X* {self.star.source}), where rounding may be "
            f"{at_most(rounding, '.1e')} (tolerance {self.tolerance:.1e}): give a larger tol"
        )

    def _denied_at_factors(self) -> tuple[Kind, str, str] | None:
        """Return that nothing is decided where the answers at factors, on which all rests here, are other ones."""
        problem = self.problem
        denied = contradicted_factors(problem.loss.in_float64(), self.point.balanced().factors)
        if denied is None:
            return None
        self.contradiction = f"{problem.loss.label} {denied}: run {test_of(problem.loss)}"
        self.approximate = None
        return "inconclusive", self.contradiction, "nothing"

    def _best_of_ranks(self) -> tuple[Kind, str, str] | None:
        """Return that no point of these ranks is better, where strong convexity shows it."""
        gap = self.convexity.gap_of_ranks() + max(self.certificate.factor_gap, 0.0)
        if gap > self.tolerance:
            return None
        denied = self._denied_at_factors()
        if denied is not None:
            return denied
        most = ", ".join(str(r) for r in self.problem.ranks)
        text = f"{self._within(gap)} of the least value of F of rank <= {most}, as f is strongly convex"
        lower = self.certificate.gap_at_least
        larger = f"reach one lower by {at_least(lower, '.3g')}" if lower > self.tolerance else "may reach lower ones"
        return "global", f"{Known.CERTIFIED}: {text}; larger ranks {larger}", "certificate"

    def _within(self, gap: float) -> str:
        return f"within {at_most(gap, '.2e')} (tolerance {self.tolerance:.1e})"

    def _way_to(self, nuclear: float) -> float:
        """Return how long the way to balanced factors of another point may be, of which the nuclear norm is given."""
        return frobenius_norm(self.point.theta) + math.sqrt(2.0 * nuclear)

    def _falls_by(self, amount: float, way: float) -> bool:
        """Whether what is left of the gradient may be worth as much on a way of this length.

        Where a loss only tends to its least value, points far down the same slope are better.
        """
        return self.first.grad_norm * way >= amount

    def _falling(self, amount: float, way: float) -> str:
        return (
            f"a point better by {amount:.6g} is known, and ||grad L|| = {self.first.grad_norm:.2e} may be worth as "
            f"much on a way there of length {way:.2e}; {self.onward}"
        )

    def _searched(self, direction: Array, undecided: str) -> tuple[Kind, str, str]:
        denied = self._denied_at_factors()
        if denied is not None:
            return denied
        self.witness = found = find_better(self.point, self.tolerance, self.starts, direction, self.adapter_scale)
        if found is None:
            text = f"{undecided}; the search from {self.starts} Gaussian and other starts found no better point"
            return "inconclusive", text, "nothing"
        way = self._way_to(self.adapter_scale * nuclear_norm(self.problem.checked_factors(found.A, found.B)))
        if self._falls_by(found.better_by, way):
            return "not_converged", self._falling(found.better_by, way), "gradient"
        text = f"second-order stationary, and a point better by {found.better_by:.6g} of rank {found.rank} is known"
        return "spurious", f"{text} (found by: {found.found_by})", "witness"


def _unknown_product(factors: Pairs, tol: float) -> str | None:
    """Return why the updates of given factors are not known well enough to be judged, if so."""
    nuclear = nuclear_norm(factors)
    errors = product_errors(factors, nuclear)
    if errors <= max(tol, LEAST_TOL) * nuclear:
        return None
    return f"columns cancel in A B^T, whose norm of {nuclear:.2e} is known to {errors:.2e} only: give balanced factors"
