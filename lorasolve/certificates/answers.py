"""What follows from the evidence about a point: global, refuted by a better one, or not known, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .._known import Known
from .._support.hints import SAYS_OF_RANKS
from .._support.text import at_least, at_most
from ..low_rank import balanced, factor_svd, numerical_rank
from ..objectives import Facts
from ..objectives.base import allowance
from ..problem import Problem
from ..problem.blocks import MultiObjective, is_of_a_user
from ..problem.pairs import Pairs
from . import ranks, spot_checks
from .contradictions import contradicted_factors
from .duality import SMALLEST
from .evidence import Evidence, cut
from .formula import difference_down
from .refute import better_point
from .rigorous import value_high, weight_down
from .stated_bounds import exceeds_curvature, falls_below

# What is taken to be left of a distance with the smoothness in place of a bound along matrices of rank one: 0.3 to 0.5
# with Gaussian measurements, 8 to 30 for each row.
CLOSER = 1.0 / 3.0
CLOSED_FORM = "the closed form of the optimum"
# How a reason begins where a loss contradicts what it states.
DENIED = "your f "


def out_of_range(problem: Problem, size: float) -> str | None:
    """Return why values of ``f`` of this size say nothing in binary64, if so."""
    if math.isnan(size):
        return "f is no number at this point or at X = 0, or overflows on the way: run check_objective, or change units"
    if not math.isfinite(size):
        return "f overflows at this point or at X = 0: give the data other units"
    if not size < SMALLEST or not problem.critical_lam() > 0.0:
        return None
    least = problem.loss.facts.lower_bound
    if least is not None and abs(least) >= SMALLEST:
        return None
    if size == 0.0 and least is None:
        return "f is 0 at this point and no gap can be compared with it: state f's lower_bound"
    return "f underflows at this point and at X = 0: give the data other units"


def as_zero_is(loss: MultiObjective, value: float, limit: float) -> str:
    """Return that ``X = 0`` is within ``limit`` of the optimum too, where ``f`` is a constant and little else.

    ``value`` is ``F`` at a point that is. Only where that is next to the lower bound of ``f`` is ``f(0)`` asked for.
    """
    least = loss.facts.lower_bound
    if not least or not value - least <= 2.0 * limit:
        return ""
    above = float(loss.factor_value(loss.zeros())) - least
    if not 4.0 * allowance(loss.precision) * abs(least) < above <= limit:
        return ""
    there = f"as X = 0 is, where f is its lower_bound {least:.6g} and {above:.2g}"
    return f", {there}: give a smaller tol, or take that out of f"


class Answer(NamedTuple):
    """Global, refuted or unknown; the gap that says so, a lower bound on it, and how all that is known."""

    is_global: bool | None
    gap: float
    gap_at_least: float
    reason: str
    level: Known
    formula: str


@dataclass(frozen=True)
class Case:
    """A point, the evidence about it, and what follows."""

    problem: Problem
    factors: Pairs
    found: Evidence
    size: float
    scale: float
    tol: float

    @cached_property
    def facts(self) -> Facts:
        """What is stated of the loss."""
        return self.problem.loss.facts

    def answer(self) -> Answer:
        """Turn the bound into an answer; a contradiction to what is stated of ``f`` voids it."""
        loss, bound = self.problem.loss, self.found.bound
        adapter = self.problem.adapter
        if not adapter.low_rank:
            other = f"an update of {adapter.name!r} is not s A B^T, and {self._minimised()}"
            return Answer(None, math.inf, 0.0, other, bound.level, f"none: the adapter is {adapter.name!r}")
        parts, finite = self.found.parts, math.isfinite(self.size)
        if self.found.proof is None and parts is not None and finite and not parts.norm_high < math.inf:
            missing = "the gradient of f is not finite at this point"
            return Answer(None, math.inf, 0.0, missing, bound.level, f"none: {missing}")
        reason = None if self._is_optimal_zero() else out_of_range(self.problem, self.size)
        if reason is not None:
            return Answer(None, math.inf, 0.0, reason, bound.level, "none: beyond the range of binary64")
        if self.problem.lam == 0.0:
            answer, better = self._without_decay(), None
        elif self.facts.convex is not True:
            return self._unknown("f is not known to be convex: see the second-order verdict instead")
        else:
            answer, better = self._with_decay()
        convex = self.facts.convex is True
        # A closed form, which needs no convexity, is compared with the value at factors too.
        if not spot_checks.needed(loss) or not (convex or answer.is_global is not None):
            return answer
        X = [A @ B.T for A, B in self.factors]
        # Where columns cancel the two have rounding errors of their own.
        text, amount = contradicted_factors(loss, [balanced(*svd) for svd in self.found.svds]), 0.0
        if text is None and better is not None:
            text = contradicted_factors(loss, better)
        if text is None and convex:
            text = spot_checks.violation(loss, X, None if better is None else [A @ B.T for A, B in better])
            amount = answer.gap_at_least
        if text is None:
            return answer
        reason = f"{DENIED}{text}: run {spot_checks.test_of(loss)}"
        return Answer(None, math.inf, amount, reason, bound.level, f"none: f {text}")

    def _is_optimal_zero(self) -> bool:
        """Whether ``f`` is 0 at the point ``X = 0`` and ``||G||_2 <= lam`` there: no gap is compared with it then."""
        parts = self.found.parts
        if self.problem.lam == 0.0 or parts is None or any(A.any() and B.any() for A, B in self.factors):
            return False
        return self.size == 0.0 and parts.norm_high <= weight_down(self.problem)

    def _minimised(self) -> str:
        """Return what an adapter whose update is not ``s A B^T`` minimises, and where to ask for its optimum."""
        problem = self.problem
        weight = problem.adapter.nuclear_weight(problem.lam, problem.rank)
        if not (problem.adapter.has_nuclear_penalty and weight > 0.0):
            return "what it minimises has no convex counterpart"
        asked = f"ls.certify(ls.Problem(objective, {problem.rank}, {weight!r}), result)"
        return f"what it minimises is f + {weight:g} ||X||_*: ask for {asked}"

    def _unknown(self, reason: str, better: float = 0.0) -> Answer:
        bound = self.found.bound
        return Answer(None, bound.gap, better, reason, bound.level, bound.formula)

    def _with_decay(self) -> tuple[Answer, Pairs | None]:
        bound, scale = self.found.bound, self.scale
        known = self._how()
        if bound.relative <= self.tol:
            reason = f"within {at_most(bound.relative, '.1e')} (relative) of the convex optimum, {known}"
            reason += as_zero_is(self.problem.loss, self.found.value, self.tol * scale)
            return Answer(True, bound.gap, 0.0, reason, bound.level, bound.formula), None
        amount, better = self._better()
        if amount > self.tol * scale:
            reason = f"a point better by {at_least(amount, '.3g')} is known{self._beyond_the_ranks(better)}"
            return Answer(False, bound.gap, amount, reason, bound.level, bound.formula), better
        if math.isinf(bound.gap):
            hint = "; state f's lower_bound, or its conjugate" if self.facts.lower_bound is None else ""
            return self._unknown(f"no bound on the gap ({bound.formula}){hint}", amount), better
        reason = f"the gap of {at_most(bound.relative, '.1e')} (relative), {known}, is above the tolerance"
        return self._unknown(reason, amount), better

    def _beyond_the_ranks(self, better: Pairs) -> str:
        """Return the rank of a better point where the problem's factors do not reach it, as the end of a sentence.

        A point that they do not reach itself, on the way of a convex route for one, is compared with all others.
        """
        ends = zip(self.found.svds, self.problem.ranks)
        if any(numerical_rank(values) > most for (_, values, _), most in ends):
            return ""
        for k, ((A, B), most) in enumerate(zip(better, self.problem.ranks)):
            rank = numerical_rank(factor_svd(A, B)[1])
            if rank > most:
                where = f" in matrix {k + 1}" if self.problem.several else ""
                return f", of rank {rank}{where}; whether one of rank <= {most} is better, {SAYS_OF_RANKS.python}"
        return ""

    def _how(self) -> str:
        """Return the level, with the probability of failure if there is one."""
        bound = self.found.bound
        if bound.level is not Known.SAMPLED:
            return str(bound.level)
        return f"{bound.level} with failure probability {bound.failure_probability:.0e}"

    def _better(self) -> tuple[float, Pairs]:
        """Return by how much the best point found is better, at least, and that point."""
        problem, loss, lam = self.problem, self.problem.loss, self.problem.lam_effective
        # In data of other units a matrix may be large that is nothing beside another.
        spectra = [own for svd in self.found.svds for own in cut([svd])]
        f, nuclear, factors = better_point(loss, lam, self.factors, spectra)
        if self.found.proof is not None:
            low, high = self.found.proof.bound.value_low, value_high(problem, *factors[0])
            return max(difference_down(low, high), 0.0), factors
        value, parts = self.found.value, self.found.parts
        assert parts is not None
        # Each of the two values has the errors of numbers of its own size and of the size of what it is made of.
        eps = allowance(loss.precision)
        noise = 0.5 * (parts.f_high - parts.f_low) + loss.rounding_noise(factors).value
        noise += eps * (self.scale + abs(f) + lam * nuclear)
        return max(value - (f + lam * nuclear) - noise, 0.0), factors

    def _without_decay(self) -> Answer:
        """Compare with the least value of ``f``, or with the closed form of the optimum of rank <= r."""
        problem, bound, scale = self.problem, self.found.bound, self.scale
        for k, ((_, s, _), most) in enumerate(zip(cut(self.found.svds), problem.ranks)):
            if s.size > most:
                which = f" of matrix {k + 1}" if problem.several else ""
                return self._unknown(f"lam = 0: X{which} has rank {s.size}, the problem is about rank <= {most}")
        if bound.gap <= self.tol * scale:
            reason = f"within {at_most(bound.gap / scale, '.1e')} (relative) of the least value of f, {self._how()}"
            reason += as_zero_is(problem.loss, self.found.value, self.tol * scale)
            return Answer(True, bound.gap, 0.0, reason, bound.level, bound.formula)
        least = None if problem.several else problem.objective.least_values(problem.rank)
        if least is None:
            return self._unknown("lam = 0: the problem of rank <= r is not convex and has no certificate")
        parts = self.found.parts
        assert parts is not None
        noise = allowance(problem.loss.precision) * scale
        gap = max(parts.f_high - least[0], 0.0) + noise
        better = max(parts.f_low - least[1] - noise, 0.0)
        form = f"{CLOSED_FORM} of rank <= {problem.rank}"
        if parts.f_high < least[0] - noise:
            reason = f"f(X) is below {form}, which is no optimum then: run {spot_checks.test_of(problem.loss)}"
            return Answer(None, math.inf, 0.0, reason, Known.CERTIFIED, f"none: f(X) is below {form}")
        lower = self._below_closed_form(least[1]) if gap <= self.tol * scale else None
        if lower is not None:
            reason = f"a point of that rank is below {form} by {at_least(least[1] - lower, '.3g')}, which is no optimum"
            reason += f" then: run {spot_checks.test_of(problem.loss)}"
            amount = max(parts.f_low - lower - noise, 0.0)
            answer = False if amount > self.tol * scale else None
            return Answer(answer, math.inf, amount, reason, Known.CERTIFIED, f"none: f falls below {form}")
        if gap <= self.tol * scale:
            reason = f"equals {form} to {at_most(gap / scale, '.1e')}, {Known.CERTIFIED}"
            return Answer(True, gap, 0.0, reason, Known.CERTIFIED, form)
        if better > self.tol * scale:
            reason = f"above {form} by {at_least(better, '.3g')}"
            return Answer(False, gap, better, reason, Known.CERTIFIED, form)
        hint = "; where features nearly follow from others, drop these or let lam > 0"
        if bound.gap <= gap:
            reason = f"the gap of {at_most(bound.gap / scale, '.1e')} (relative), {self._how()}, is above the tolerance"
            return self._unknown(reason + hint)
        reason = f"{form} is known to {at_most(gap / scale, '.1e')} (relative) only, above the tolerance"
        return Answer(None, gap, better, reason, Known.CERTIFIED, form)

    def _below_closed_form(self, stated: float) -> float | None:
        """Return a value below the least one that a user's formula states, if descents from this point find one."""
        loss = self.problem.loss
        if not is_of_a_user(loss):
            return None
        ((A, B),) = self.factors
        return falls_below(loss, A @ B.T, self.problem.rank, stated)

    def ranks(self) -> tuple[int | None, int | None, list[str]]:
        """Return bounds on the rank of the optimum, None for what is not known, and what that from above assumes."""
        problem, gap, proof = self.problem, self.found.bound.gap, self.found.proof
        if problem.several or problem.lam == 0.0:
            return None, None, []
        A, B = self.factors[0] if proof is None or proof.factors is None else proof.factors
        low = ranks.at_least(problem.objective, A, B, self.found.svds[0], gap) or None
        # No matrix has a larger rank: a bound only together with one from below.
        full = min(problem.shape)
        if low == full:
            return full, full, []
        high, beta, claim = self._highest_rank(gap)
        if high is None or high >= full:
            return low, None, []
        if spot_checks.needed(problem.loss) and exceeds_curvature(problem.loss, A @ B.T, beta):
            return low, None, []
        return low, high, [f"for the rank: {claim} {beta:.6g}"]

    def _highest_rank(self, gap: float) -> tuple[int | None, float, str]:
        """Return a bound of the rank from above, the constant that it rests on, and what is assumed of that.

        The curvature along matrices of rank one may be known sooner than the smoothness, and by a larger number: the
        smoothness is asked for where a distance several times smaller would count fewer singular values.
        """
        found, beta = None, self.facts.rank_one_smoothness
        claim = "the curvature of f along matrices of rank one is at most"
        if beta is not None:
            distance = ranks.reach(gap, beta)
            found = self._rank_at_most(distance)
            if found is not None and found == self._rank_at_most(CLOSER * distance):
                return found, beta, claim
        closer = self._rank_at_most(ranks.reach(gap, self.facts.smoothness))
        if closer is not None and (found is None or closer < found):
            found, beta, claim = closer, self.facts.smoothness, "the gradient of f has the Lipschitz constant"
        return found, math.inf if beta is None else beta, claim

    def _rank_at_most(self, distance: float) -> int | None:
        """Return how many singular values of the gradient may be within ``distance`` of ``lam``, None if unknown."""
        proof, norms = self.found.proof, self.found.norms
        lam = weight_down(self.problem)
        _, _, Q = cut(self.found.svds)[0]
        if not distance < lam:
            return None
        if norms and norms[0].failure:
            return len(Q.T) if norms[0].outside < lam - distance else None
        gram = norms[0].gram if proof is None else proof.gram
        if proof is not None and proof.apart is not None:
            found = proof.apart.taken if proof.apart.rest < lam - distance else None
        else:
            found = None if gram is None else ranks.most(gram, Q, lam, distance)
        if found is None and gram is not None and max(self.problem.shape) <= ranks.WHOLE:
            # As many directions outside of the space of X as it takes.
            found = ranks.most(gram, np.eye(self.problem.shape[1]), lam, distance)
        return found
