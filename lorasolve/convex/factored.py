"""The convex optimum through factors whose rank finds itself, certified. The route that scales.

One outer round, on ``X = A B^T`` of rank k, for ``F(X) = f(X) + lam ||X||_*``:

1. an estimate of the gap; where it is small enough a certificate is asked, and stops the rounds or refutes it;
2. a proximal gradient step ``X <- prox(X - G/beta)`` restricted to the singular spaces of ``X`` and the top singular
   directions of ``-G`` outside them that exceed ``lam`` (the escape directions): the rank grows or shrinks, ``F``
   never rises;
3. descent on the factors at this rank (L-BFGS on ``L``), where each iteration costs one factor oracle, not one SVD.

Steps 1 and 2 alone are a proximal gradient method for the convex problem, so no point of the factored landscape traps
the rounds, whatever step 3 does (it only lowers ``F``); step 3 makes them few. At a second-order point of the factors
with surplus rank the gap is zero (main paper, section 2 and 11; proofs/certificate). Where twelve rounds are not enough
by far, as at little decay, optima at larger ``lam`` lead to the one that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from .._quasi_newton import lbfgs
from .._support.time_limit import is_over
from .._support.validate import Array, as_instance, as_integer
from ..certificates.duality import Bound, best_gap, is_formed
from ..certificates.evidence import Estimates, evidence
from ..linear_map import LinearMap, outside
from ..low_rank import Svd, factor_svd, numerical_rank
from ..problem import Problem
from ..problem.blocks import MultiObjective
from ..problem.natural_units import curvature_at_zero
from ..problem.nearby import Nearby
from ..problem.pairs import Pairs
from ..singular_triplets import TopSingular, top_above
from ._points import GROWTH, Block, Point, View, factors_of
from ._scaled import Scaled
from .base import DROPPED, ConvexRoute, NotFinite, Report, Solution

# Entries up to which they come from a full SVD: they only steer, and at 400 x 400 a search takes half the time.
DENSE = 100_000
# Iterations of one descent: from time to time what vanishes is to be dropped, and variables are to be scaled anew.
# Tokens of MiniLM at six lam take 497 oracle calls, as many with 300 for 100, with 50 482; 36 layers of its shapes 412,
# 420 and 713.
MAX_DESCENT = 100
# Every so many rounds a descent may be twice as long, up to 2^3 times: little decay and weights that span decades make
# problems so ill-conditioned that the pairs of a short one are lost before they serve. Ratings with weights from 1 to
# 1e4 take 4985 oracle calls to 1e-6 for 9050 at lam = 1e-4 of the critical one. What is done within ten rounds is not
# touched.
ROUNDS_TO_DOUBLE, MOST_DOUBLINGS = 10, 3
# Rounds after which a run whose gap is still such a share begins again at larger lam, and comes down by such a factor:
# at little decay most of what grows from nothing has to vanish again. Integer ratings 30 x 20 at 1e-6 of the critical
# lam take 10,007 oracle calls to 1e-6 for 116,162; at 1e-8 of it 11,205, where 200 rounds from nothing left 0.66.
ALONE, FAR, DOWN = 12, 0.5, 10.0
# What these optima are solved to, at best: with 1e-9 the one at 1e-8 takes twice as long and is no better.
LEADING = 1e-6
# What a descent leaves of the gap, about: on a trail with new directions, of which half vanish at the next step, which
# takes a descent much longer; from nothing with new directions, most of which stay; without any. With three hundredths
# for all, ratings at 20 lam in a row to 1e-4 take 435 oracle calls for 371, at 14 lam from nothing 1162 for 1006.
TRIED_NEARBY, TRIED, REFINED = 0.1, 0.06, 0.03
# What the last one leaves, relative to the gap that is asked for (at 0.3 the same 15 problems take 835 calls for 797,
# at 0.8 more rounds).
ENOUGH = 0.6
# Share of the gap at the look before below which nothing new can have come up that matters: three paths of sensing take
# 36 searches for 53 and as many oracle calls, two of 20 and 10 lam on ratings 36 for 41.
FALLING = 0.1
# Shortenings of a step, how much one of them may shorten it, and how much longer one that was right could have been:
# along a path the curvature met grows by a hundredth from one lam to the next.
MAX_SHORTENINGS, MOST_STEEPER, MARGIN = 60, 8.0, 1.1
# Relative difference of two curvatures that is rounding. Where that decided, 120 sensing problems took a tenth more
# oracle calls.
SAME = 1e-6
# How much longer than a bound of the curvature allows the first step is tried: what it meets is far below such bounds,
# and a step that was too long costs one value. 13 problems to 1e-4 to 1e-7: 2993 oracle calls at 1, 2672 at 64.
FIRST_LONGER = 64.0
# Pairs that L-BFGS keeps, and how many beyond so many variables, where they no longer stay in cache: three take a
# third off the time on ratings, call the oracle as often as eight (943 x 1682 at three lam: 543 and 534 calls), and are
# most of the memory. Eight in place of 20: 24 small problems take 1491 oracle calls for 1178, tokens of MiniLM at six
# lam 647 for 497. Three for all beyond MANY, zeros counted: 36 layers of its shapes, most without update, 617 for 412.
PAIRS, FEW_PAIRS, MANY = 20, 3, 20_000
# Rounding errors in differences of values, in units of what certificates allow for one value: where the descent has to
# go by slopes alone. At 1 steps that only rounding refused made 338 calls 511 (ratings, gap 1e-6), and 611 1565 (1e-9).
NOISE = 8.0
# Rounds without a smaller gap or value, or a third of those before if that is more, after which the precision is
# reached: gaps of ill-conditioned losses go up and down as they fall. With 5 alone 8 of 36 were given up before 1e-9.
PATIENCE = 5


@dataclass
class Trail:
    """What runs on one loss, at one ``lam`` after the other, leave for each other; it holds what the last one saw."""

    last: _Run | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Factored(ConvexRoute):
    """Factored solver with proximal rank adaptation (see the module docstring).

    Parameters
    ----------
    max_rounds : int
        Limit on outer rounds at one ``lam``: a run that is far from the optimum after twelve comes down to it from
        those at larger ``lam``.
    start : sequence of (A_l, B_l), optional
        Factors of the updates to start from, of any rank (see :func:`~lorasolve.solve_convex`); by default, and where
        ``F`` is larger there than at zero, zero.
    trail : Trail, optional
        Shared by runs on one objective at falling ``lam``: a run begins where the one before ended, with the
        curvature, the gradient and its large directions that that one met, and what its proof has factorised. A run
        on another objective begins a new trail.
    """

    max_rounds: int = 200
    start: Pairs | None = field(default=None, repr=False, compare=False)
    trail: Trail | None = field(default=None, repr=False, compare=False)

    name = "factored"
    takes_several = True
    summary = "factors whose rank grows and shrinks by proximal steps until the certificate closes; scales"

    def __post_init__(self) -> None:
        as_integer(self.max_rounds, "max_rounds", 1)
        if self.trail is not None:
            as_instance(self.trail, "trail", Trail)

    def refusal(self, problem: Problem) -> str | None:
        """Return why this route cannot solve the problem.

        For ``lam = 0`` only the lower bound of ``f`` can end the rounds, so it must be known to be tight enough: least
        squares are accepted, and ``min f`` is computed over all ranks.
        """
        objective = problem.objective
        if problem.lam == 0.0 and objective.facts.convex is True and objective.facts.least_squares:
            return None
        return super().refusal(problem)

    def started(self, factors: Pairs) -> Factored:
        """Return this route with a start."""
        return replace(self, start=factors)

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the point of smallest certified gap."""
        run = _Run(problem, tol, self.trail)

        def report_of_first(*point: *Reported) -> None:
            report(*point)
            solution, _, bound = point
            if solution.nit == ALONE and FAR < bound.relative < math.inf and _larger(problem):
                raise _Far(point)

        try:
            return run.solve(self.start, self.max_rounds, report_of_first)
        except _Far as far:
            return self._from_above(run, far.point, report)

    def _from_above(self, first: _Run, reached: Reported, report: Report) -> Solution:
        """Come down to the optimum from those at larger ``lam``, on whose way the point of a first run is reported."""
        run, trail = first, Trail()
        for lam in _larger(first.problem):
            run = _Run(first.problem.replace(lam=lam), max(first.tol, LEADING), trail, run)
            run.solve(None, self.max_rounds, lambda *_: report(*reached))
        run = _Run(first.problem, first.tol, trail, run)
        if self.trail is not None:
            self.trail.last = run
        return run.solve(None, self.max_rounds, report)


# What a run reports: a point, the value F there and its bound.
Reported: TypeAlias = tuple[Solution, float, Bound]


class _Far(Exception):
    """A run is far from the optimum after as many rounds as others take in all."""

    def __init__(self, point: Reported) -> None:
        super().__init__()
        self.point = point


def _larger(problem: Problem) -> list[float]:
    """Return larger ``lam`` to come down from, below that at which the optimum leaves zero, the largest first."""
    top, found = problem.critical_lam(), []
    lam = DOWN * problem.lam
    while 0.0 < lam < top:
        found.append(lam)
        lam *= DOWN
    return found[::-1]


class _Losses(NamedTuple):
    """A loss, the same in float32 where it speaks that, the size of rounding errors in values of both, and answers."""

    exact: MultiObjective
    rough: MultiObjective
    noise: float
    rough_noise: float
    nearby: Nearby

    @classmethod
    def of(cls, loss: MultiObjective) -> _Losses:
        """Return what belongs to a loss."""
        rough, noise = loss.in_float32() or loss, loss.rounding_noise(loss.zeros()).value
        rough_noise = noise * float(np.finfo(rough.dtype).eps / np.finfo(loss.dtype).eps)
        return cls(loss, rough, noise, rough_noise, loss.nearby())


class _Run:
    """One run of the factored solver.

    On a trail it begins where the run before has ended, if that was on the same objective, and keeps what a next one
    begins with. It goes on counting from one that it comes after.
    """

    def __init__(self, problem: Problem, tol: float, trail: Trail | None = None, after: _Run | None = None) -> None:
        self.problem, self.tol = problem, tol
        self.lam = problem.lam_effective
        self.rounds: int = 0 if after is None else after.rounds
        self.evaluations: int = 0 if after is None else after.evaluations
        self.exact = False
        # Whether a certificate has found no bound where an estimate had one.
        self.unbounded = self.problem.loss.facts.lower_bound is None
        # Equal runs look into equal directions, into others each time that a certificate has refuted what they saw.
        self.refuted = 0
        self.rng: np.random.Generator | None = None
        # What the last search has found outside the spaces of X and what escapes, and whether a look has done with it.
        self.seen: list[TopSingular | None] = [None] * len(problem.shapes)
        self.used = False
        # The gap at the last look, before a search.
        self.looked = 0.0
        # On a trail, what a proof at the last point looked at leaves to search with.
        self.inverse: LinearMap | None = None
        # On a trail: f, <G, X> and the gradient at the last point looked at, until a descent leaves it.
        self.trailing = trail is not None
        self.views: tuple[float, float, list[View]] | None = None
        # The curvature met by the last proximal step without and with escape directions.
        self.beta: list[float]
        # What the curvature is at most, or about, before any was met.
        self.most: float
        self.losses: _Losses
        last = None if trail is None else trail.last
        if last is not None and last.problem.objective is problem.objective:
            self.losses, self.beta, self.most, self.seen = last.losses, last.beta, last.most, last.seen
            self.views, self.inverse = last.views, last.inverse
            last.views = last.inverse = None
        else:
            self.losses = _Losses.of(problem.loss)
            self.most = self.loss.facts.rank_one_curvature or curvature_at_zero(problem)
            self.beta = [self.most / FIRST_LONGER, self.most / FIRST_LONGER]
        if trail is not None:
            trail.last = self

    @property
    def loss(self) -> MultiObjective:
        """The loss as the problem has it."""
        return self.losses.exact

    @property
    def nearby(self) -> Nearby:
        """What answers at points near one another: exactly, once a round was of no use."""
        return self.loss.exactly() if self.exact else self.losses.nearby

    @property
    def noise(self) -> float:
        """The size of rounding errors in its values."""
        return self.losses.noise

    def solve(self, start: Pairs | None, max_rounds: int, report: Report) -> Solution:
        """Alternate rank adaptation and descent at fixed rank until the gap closes."""
        point = self._judged(self._first(start))
        best = point.settled()
        # Records, which may be of two points: against the best one alone, a loss whose values are rounded more than it
        # says has points of lower value without end.
        gap, value, progress, idle = best.bound.gap, best.value, 0, False
        for k in range(max_rounds):
            report(self._solution(best), best.value, best.bound)
            if best.bound.relative <= self.tol:
                return self._solution(best, f"gap reached after {self.evaluations} oracle calls")
            if k - progress >= max(PATIENCE, progress // 3):
                remark = f"no further progress in {k - progress} rounds, the limit of double precision or of that of f"
                return self._solution(best, remark)
            # What is left after a descent is a few times its accuracy.
            tried = TRIED_NEARBY if self.trailing else TRIED
            share = tried if point.escapes else REFINED
            accuracy = max(share * point.bound.gap, ENOUGH * self.tol * point.bound.scale)
            # Descents that are asked for no more than float32 can tell run there, unless one was of no use.
            self.exact = k > progress or idle
            loss = self.losses.rough if accuracy >= self.losses.rough_noise and not self.exact else self.loss
            # Neither the point left nor the factors begun with are held while a descent needs the memory.
            moved, point, self.views, self.inverse = [self._adapt_rank(point)], best, None, None
            begun = self.evaluations
            limit = MAX_DESCENT * 2 ** min(k // ROUNDS_TO_DOUBLE, MOST_DOUBLINGS)
            descended = self._descend(factors_of(moved.pop()), accuracy, loss, limit)
            point = self._judged(self._cleaned(self._look(descended)))
            # A descent that ended where it began has only evaluated that.
            idle = self.evaluations == begun + 1
            if point.bound.gap < 0.9 * gap or point.value < value - 1e-14 * best.bound.scale:
                progress = k + 1
            gap, value = min(gap, point.bound.gap), min(value, point.value)
            best = min(point, best, key=self._merit).settled()
            self.rounds += 1
        more = f"route='factored:max_rounds={10 * max_rounds}' allows more"
        return self._solution(best, f"the limit of {max_rounds} rounds was reached, {more}")

    def _first(self, start: Pairs | None) -> Point:
        """Look at where the run before has ended, at the start, or at zero where that is better."""
        if self.views is not None:
            return self._search(*self.views)
        zeros = self.loss.zeros()
        if start is not None:
            value = self.loss.factor_value(zeros)
            if self.loss.factor_value(start) <= value:
                point = self._look(start)
                if point.value <= value:
                    return point
        return self._look(zeros)

    def _cleaned(self, point: Point) -> Point:
        """Take the step that makes what is left of vanishing directions vanish, where the rounds seem to be over.

        They may end before it, because directions with small singular values hardly show in the gap.
        """
        if point.bound.relative > self.tol or not any(block.vanishes(self.lam, self.beta[0]) for block in point.blocks):
            return point
        cleaned = self._look_from(self._adapt_rank(point))
        return cleaned if cleaned.bound.relative <= self.tol else point

    def _judged(self, point: Point) -> Point:
        """Replace an estimate that would end the rounds by the certificate; look again where that refutes it."""
        if point.bound.relative > self.tol:
            return point
        svds = [block.svd() for block in point.blocks]
        proved = evidence(self.problem, point.factors, svds, estimates=point.estimates)
        if self.trailing and proved.proof is not None and proved.proof.gram is not None:
            self.inverse = proved.proof.gram.inverse()
        bound = max(point.bound, proved.bound, key=lambda found: found.gap)
        if bound.relative <= self.tol:
            return replace(point, bound=bound, evidence=proved)
        self.unbounded = self.unbounded or math.isinf(bound.gap)
        self.refuted += 1
        self.rng = np.random.default_rng(self.refuted)
        self.seen = [None] * len(self.seen)
        return replace(self._look(point.factors), bound=bound)

    def _merit(self, point: Point) -> tuple[float, float]:
        """Return what makes one point better than another: the gap, or the value where bounds are a matter of luck."""
        return (point.value, point.bound.gap) if self.unbounded else (point.bound.gap, point.value)

    def _solution(self, point: Point, remark: str = "") -> Solution:
        return Solution(*self.problem.unpaired(point.factors), self.rounds, remark, point.evidence)

    def _look(self, factors: Pairs) -> Point:
        """Return the point with its bound and escape directions."""
        try:
            spectra = [factor_svd(A, B) for A, B in factors]
        except np.linalg.LinAlgError:
            raise NotFinite from None
        return self._look_from(spectra)

    def _look_from(self, spectra: Sequence[Svd]) -> Point:
        """Return the same, given the singular value decompositions of the matrices.

        What the last search saw and what did not escape is enough once, and again while the gap falls: if it is not
        closed by then, the next look searches. Where it is closed, and a certificate is one factorisation, that costs
        no more than a search and does not rest on one; beyond, the search comes first.
        """
        f, inner, views = self._views(spectra)
        if self.trailing:
            self.views = f, inner, views
        seen = [near for near in self.seen if near is not None]
        if len(seen) == len(views):
            blocks = [view.block(near.part(slice(0))) for view, near in zip(views, seen)]
            outside = [view.outside(near) for view, near in zip(views, seen)]
            norms = [view.norm(near, most, 0.0, self.lam) for view, near, most in zip(views, seen, outside)]
            point = self._point(f, inner, views, blocks, norms, max(outside))
            closed = point.bound.relative <= self.tol
            falls, self.looked = point.bound.gap < FALLING * self.looked < math.inf, point.bound.gap
            enough = all(is_formed(view.G.shape) for view in views) if closed else not self.used or falls
            if enough:
                self.used = True
                return point
        return self._search(f, inner, views)

    def _search(self, f: float, inner: float, views: list[View]) -> Point:
        """Return the point after a search for what escapes."""
        self.used = False
        blocks, norms, outside = [], [], 0.0
        for k, view in enumerate(views):
            more = GROWTH + view.s.size // 2
            rest = top_above(view.gradient, GROWTH, more, self.lam, self.rng, DENSE, self.seen[k], self.inverse)
            escaping = rest.values > self.lam
            self.seen[k] = None if escaping.all() else rest.part(~escaping)
            blocks.append(view.block(rest.part(escaping)))
            most = float(rest.values[0])
            norms.append(view.norm(rest, most, rest.residual, self.lam))
            outside = max(outside, most)
        return self._point(f, inner, views, blocks, norms, outside)

    def _views(self, spectra: Sequence[Svd]) -> tuple[float, float, list[View]]:
        """Return ``f``, ``<G, X>`` and each gradient from the singular spaces of its matrix."""
        ranks = [numerical_rank(s, DROPPED) for _, s, _ in spectra]
        factors = factors_of(
            [(P[:, : max(r, 1)], s[: max(r, 1)], Q[:, : max(r, 1)]) for (P, s, Q), r in zip(spectra, ranks)]
        )
        f, products, operators = self.nearby.look(factors)
        inner = sum(float(np.vdot(GB, A)) for (GB, _), (A, _) in zip(products, factors))
        views = []
        for (A, B), (P, s, Q), (GB, GtA), r, G in zip(factors, spectra, products, ranks, operators):
            P, s, Q, root = P[:, :r], s[:r], Q[:, :r], np.sqrt(s[:r])
            GQ, GtP = GB[:, :r], GtA[:, :r]
            GQ /= root
            GtP /= root
            views.append(View(A, B, P, s, G, GQ, GtP, outside(G, P, Q, (GQ, GtP))))
        return f, inner, views

    def _point(
        self,
        f: float,
        inner: float,
        views: list[View],
        blocks: list[Block],
        norms: list[float],
        outside: float,
    ) -> Point:
        nuclear = sum(float(block.s.sum()) for block in blocks)
        operators = [view.G for view in views]
        bound = best_gap(self.loss, self.lam, f, nuclear, inner, max(norms), operators, self.noise)
        products = [view.products() for view in views] if bound.relative <= self.tol else None
        estimates = Estimates(max(norms), outside, products)
        return Point(tuple(blocks), f, f + self.lam * nuclear, bound, estimates)

    def _adapt_rank(self, point: Point) -> list[Svd]:
        """Take a proximal gradient step restricted to the span of ``X`` and of the escape directions.

        The step ``1/beta`` is shortened until the quadratic model is an upper bound of ``f`` at the new point, which
        holds at once if ``beta`` is a true smoothness constant (but for rounding: hence the limit). The next step of
        its kind starts from the curvature met on this one, which may be far below that constant: where a twentieth of
        the entries is observed, what escapes and what is to vanish would take several rounds more (on ratings, gap
        1e-6, 345 oracle calls instead of 210). Steps with escape directions meet about twice the curvature there.
        """
        beta = self.beta[point.escapes]
        parts = []
        for block in point.blocks:
            X = np.zeros(block.G.shape)
            X[np.diag_indices(block.s.size)] = block.s
            parts.append((block, X, *block.spaces()))
        moved = [block.svd() for block in point.blocks]
        if all(X.size == 0 for _, X, _, _ in parts):
            return moved
        for _ in range(MAX_SHORTENINGS):
            linear, square = point.f, 0.0
            for place, (block, X, left, right) in enumerate(parts):
                if X.size == 0:
                    continue
                p, sigma, qt = np.linalg.svd(X - block.G / beta)
                shrunk = np.maximum(sigma - self.lam / beta, 0.0)
                r = max(int(np.count_nonzero(shrunk)), 1)
                moved[place] = left @ p[:, :r], shrunk[:r], right @ qt[:r].T
                D = (p * shrunk) @ qt - X
                linear += float(np.vdot(block.G, D))
                square += float(np.vdot(D, D))
            above = self.nearby.value(factors_of(moved)) - linear
            # The curvature met is at most this; where rounding hides it the constant stays.
            curvature = 2.0 * (above + self.noise) / square if square > 0.0 else math.inf
            # A second step along the same direction, as from zero, meets the curvature that the first one did.
            if above <= 0.5 * (1.0 + SAME) * beta * square + self.noise:
                if (1.0 + SAME) * curvature <= beta:
                    beta = max(MARGIN * curvature, 0.5 * beta)
                elif beta * FIRST_LONGER == self.most and 0.5 * beta * square <= self.noise:
                    # Beside an optimum rounding hides the curvature from the first step on, which is not to be longer.
                    beta = self.most
                    continue
                break
            beta = max(2.0 * beta, min(curvature, MOST_STEEPER * beta))
        self.beta[point.escapes] = beta
        return moved

    def _descend(self, factors: Pairs, accuracy: float, loss: MultiObjective, limit: int = MAX_DESCENT) -> Pairs:
        """Lower ``L`` at these ranks until the first-order part of the gap is about ``accuracy``.

        It runs in the precision of ``loss``, which is the problem's or that in float32.

        The gradient must at least shrink to 0.3 of what it was: else a loose bound on the gap, from which
        ``accuracy`` comes, would end the descent before it began.
        """
        noise = self.noise if loss is self.loss else self.losses.rough_noise
        factors = [(A.astype(loss.dtype, copy=False), B.astype(loss.dtype, copy=False)) for A, B in factors]
        length = math.sqrt(2.0 * sum(float(np.vdot(A, A)) for A, _ in factors))
        oracle = self.nearby.oracle if loss is self.loss else loss.factor_oracle
        function = Scaled(oracle, self.lam, factors, loss.factor_diagonal(factors))
        z = function.variables(factors)
        del factors  # vectors of this size are what memory is needed for

        def done(_: Array) -> bool:
            # Below the noise of values the precision of the loss says no more.
            small = function.grad_norm * length <= max(min(accuracy, 0.3 * function.first * length), noise)
            return small or is_over()

        # What is zero, as of layers without update, stays zero.
        pairs = PAIRS if np.count_nonzero(z) <= MANY else FEW_PAIRS
        # After a descent in float32 one in float64 takes a few steps.
        compiled = loss is self.losses.rough
        z, evaluations = lbfgs(function, z, limit, done, NOISE * noise, pairs, compiled)
        self.evaluations += evaluations
        return function.factors(z)
