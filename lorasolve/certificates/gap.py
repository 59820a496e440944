"""How far is a point from the global optimum of ``F(X) = f(X) + lam ||X||_*``, and how is that known?

Where the loss has a ball oracle the answer is a proof in which rounding is counted (``rigorous``); elsewhere the same
formula is evaluated in floating point with an allowance for rounding (``duality``), by a norm that is proved or, for
large gradients, SAMPLED with a stated probability of failure (``_lanczos``); what a user states about the loss is
tested on the way (``spot_checks``). A point is refuted by a better one (``refute``).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .._known import Known
from .._support.files import PathLike
from .._support.hints import SAYS_OF_RANKS
from .._support.keywords import names_keywords
from .._support.text import at_least, at_most, for_json, number
from .._support.truth import MoreThanYesOrNo
from .._support.validate import Array, as_choice, as_instance, as_number, shown
from ..dense import frobenius_norm
from ..low_rank import RANK_TOL, balanced, factor_svd, numerical_rank
from ..objectives import Facts, LinearModel, changed_data
from ..objectives.base import allowance
from ..problem import Problem
from ..problem.blocks import Pairs, is_of_a_user
from ..result import Result, seen_from
from . import ranks, spot_checks
from .documents import BITS, Arithmetic, write
from .duality import SMALLEST, Parts, factor_answer, product_errors, scale_of
from .evidence import FLOATING, Evidence, cut, evidence
from .formula import difference_down
from .norms import Trust
from .observed import observed
from .refute import better_point
from .rigorous import value_high, weight_down

# What is taken to be left of a distance with the smoothness in place of a bound along matrices of rank one: 0.3 to 0.5
# with Gaussian measurements, 8 to 30 for each row.
CLOSER = 1.0 / 3.0
CLOSED_FORM = "the closed form of the optimum"
# By how much a value is off the bounds of a proof, as a share of it, where it is one of other data.
CHANGED = 1e-6


@dataclass(frozen=True, repr=False)
class Certificate(MoreThanYesOrNo):
    """What is known about the global optimality of a point.

    Attributes
    ----------
    value : float
        ``F(X) = f(X) + lam ||X||_*`` at the point.
    gap : float
        Upper bound on ``F(X) - min F``, known as ``level`` says (infinite if there is none). By a closed form, for
        ``lam = 0``, and then like ``dual_value`` about the least value at the problem's rank.
    gap_at_least : float
        Lower bound on ``F(X) - min F``, from a better point that was found (0 if none was looked for): proved if
        ``level`` is RIGOROUS, otherwise less the rounding errors of both values.
    relative_gap : float
        ``gap / (|f(X)| + lam ||X||_*)``, which is ``gap / F(X)`` where ``f >= 0``; for ``lam = 0``, where the optimum
        may be 0, ``gap / max(|f(X)|, |f(0)|)``. Where these are 0, relative to the lower bound of ``f``.
    dual_value : float
        A number below the optimum, ``F(X) - gap`` rounded down: proved if ``level`` is RIGOROUS, otherwise less the
        allowance for rounding.
    dual_norm : float
        An upper bound of ``||G||_2 / lam``, as sharp as the certificate needs it: at a stationary point, at most 1
        exactly if the point is globally optimal.
    stationarity : float
        ``||grad L||_2`` at the factors (at balanced factors if only ``X`` was given).
    balance : float
        ``||A^T A - B^T B||_F``; zero at every stationary point with ``lam > 0``.
    factor_gap : float
        ``L(A, B) - F(X)``, the part of the penalty that balancing would remove. Like the two before NaN where the
        adapter's update is not ``s A B^T``.
    rank, nuclear_norm, sigma_r, singular_values
        Of the update, for several matrices of all together (``rank`` is then the sum of theirs, each counted above
        ``rank_tol`` times the largest of all); ``sigma_r`` is the smallest singular value that the given factors allow
        for. Plain floating-point numbers.
    rank_at_least, rank_at_most : int or None
        Bounds on the rank of every minimizer, known like ``gap`` and from the stated smoothness (``ranks``); None if
        nothing is known.
    is_global : bool or None
        True: within ``tol`` of the optimum. False: a point better by more than ``tol`` is known. None: unknown.
    reason : str
        Why, in one sentence.
    level : Known
        How ``gap`` and ``is_global`` are known. RIGOROUS: a proof about the stored numbers with every rounding error
        counted. CERTIFIED: the formula in floating point with an allowance for rounding. SAMPLED: the same with a norm
        that random starts may have missed, with probability ``failure_probability`` at most.
    refers_to : str
        Which data the statement is about.
    assumptions : tuple of str
        What it rests on.
    failure_probability : float
        Over the certificate's own random numbers; 0 unless SAMPLED.
    formula : str
        Which bound was used, or why there is none.
    parts : Parts or None
        The numbers in the formula; None where none was used.
    tol : float
        The relative accuracy that ``is_global`` refers to.
    rank_tol : float
        Singular values above this fraction of the largest are counted in ``rank``.
    problem, point
        What the certificate is about, as it was given but in float64.
    """

    _condition = "is_global"

    value: float
    gap: float
    gap_at_least: float
    relative_gap: float
    dual_value: float
    dual_norm: float
    stationarity: float
    balance: float
    factor_gap: float
    rank: int
    nuclear_norm: float
    sigma_r: float
    singular_values: list[float]
    rank_at_least: int | None
    rank_at_most: int | None
    is_global: bool | None
    reason: str
    level: Known
    refers_to: str
    assumptions: tuple[str, ...]
    failure_probability: float
    formula: str
    parts: Parts | None
    tol: float
    problem: Problem = field(compare=False)
    point: Any = field(compare=False)
    rank_tol: float = RANK_TOL

    def to_dict(self) -> dict[str, Any]:
        """Return the fields but the problem and the point as plain JSON-ready values."""
        found = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del found["problem"], found["point"]
        found |= {"level": str(self.level), "parts": None if self.parts is None else asdict(self.parts)}
        return dict(for_json(found))

    def save(self, path: PathLike, *, arithmetic: Arithmetic = "auto", bits: int = BITS) -> dict[str, Any]:
        """Write a proof with its data, for ``check_certificate.py``, which accepts or refuses it without lorasolve.

        Parameters
        ----------
        path : path
            The file, written whole or not at all; the suffix ``.json`` is not added.
        arithmetic, bits
            As for :func:`lorasolve.certificates.document`.

        Returns
        -------
        dict
            The document written. Its point are balanced factors of this one, rounded, and its gap the one proved for
            them: least squares up to 30 x 30 in exact arithmetic, others with rounding counted.

        Raises
        ------
        NotImplementedError
            If the objective states no description of ``f`` as data.
        ValueError
            If nothing can be proved at the point.
        """
        return write(path, self.problem, self.point, arithmetic=arithmetic, bits=bits)

    def _answer(self) -> str:
        return {True: "yes", False: "no", None: "unknown"}[self.is_global]

    def __repr__(self) -> str:
        known = f"relative gap <= {at_most(self.relative_gap, '.3g')}, {self.level}"
        gap = known if self.relative_gap < math.inf else "no gap known"
        return (
            f"Certificate(global optimum: {self._answer()}, F = {number(self.value, '.10g')}, {gap}, rank {self.rank})"
        )

    def __str__(self) -> str:
        answer = f"global optimum: {self._answer()} ({self.reason})\n"
        rank = f"  rank {self.rank} (above {self.rank_tol:.0e} of the largest{self._ranks()})"
        if not self.problem.adapter.low_rank:
            return f"{answer}{rank}, ||X||_* = {self.nuclear_norm:.6g}"
        dual = f"||G||_2/lam <= {at_most(self.dual_norm, '.12g')}, " if self.problem.lam > 0.0 else ""
        return (
            f"{answer}  F(X) = {number(self.value, '.12g')}, gap <= {at_most(self.gap, '.3g')} "
            f"(relative {at_most(self.relative_gap, '.3g')}), {self.level}: {self.formula}\n"
            f"  {dual}||grad L|| = {self.stationarity:.3g}, "
            f"balance {self.balance:.3g}, L - F = {number(self.factor_gap, '.3g')}\n"
            f"{rank}, ||X||_* = {self.nuclear_norm:.6g}, sigma_r = {self.sigma_r:.3g}"
            + "".join(f"\n  assuming {text}" for text in self.assumptions)
        )

    def _ranks(self) -> str:
        """Return what is known about the rank of the optimum, as the end of a parenthesis."""
        low, high = self.rank_at_least, self.rank_at_most
        if low is None and high is None:
            return ""
        if low == high or high == 0:
            return f"; the optimum has rank {high}"
        ends = [f">= {low}" if low is not None else "", f"<= {high}" if high is not None else ""]
        return f"; the optimum has rank {' and '.join(end for end in ends if end)}"


# Overflow is met where the answer is made, and said there.
@names_keywords
@np.errstate(over="ignore", invalid="ignore")
def certify(
    problem: Problem,
    point: Result | tuple[Any, Any] | Any,
    tol: float = 1e-6,
    *,
    rigorous: bool | str = "auto",
    trust: Trust = "lapack",
) -> Certificate:
    """Say how far a point is from the global optimum of ``F(X) = f(X) + (lam/s) ||X||_*``.

    Parameters
    ----------
    problem : Problem or MultiProblem
        The problem whose convex counterpart is meant (the original one, also for merged stages). For several matrices
        ``||X||_*`` is the sum over them, ``||G||_2`` the largest, and what follows from these two holds as for one.
    point : Result, ConvexResult, (A, B) or ndarray of shape (m, n)
        The point: an object with factors, explicit factors of any common number of columns, or an update ``X``. For
        several matrices ``A``, ``B`` are sequences of arrays, and an update is a list of them.
    tol : float
        Relative accuracy of ``is_global``; below 1, since where ``f >= 0`` any point is within all of ``F``.
    rigorous : bool or "auto"
        Whether the bound is proved with every rounding error counted. ``"auto"``: where the loss has a ball oracle and
        the gradient can be formed and factorised at about the cost of evaluating the bound in floating point.
    trust : {"lapack", "gemm"}
        For a rigorous bound: whether LAPACK's Cholesky factorisation is assumed to be accurate, or its factor is
        multiplied out again, at up to twice the cost.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        For ``rigorous=True`` where nothing rigorous can be said, with the reason, for a loss of your own whose
        ``in_float64`` is another one, and for samples that were changed in place after the objective was made.

    Notes
    -----
    ``"auto"`` is RIGOROUS up to 1000 on the shorter side and 4,000,000 entries, of a completion in the rows and columns
    that have an entry. Everything is evaluated in
    float64, float32 objectives included. Beyond, and for losses without a ball oracle, the bound is CERTIFIED, unless
    the gradient is so large that its norm is SAMPLED; up to 2000 on the shorter side it is factorised where its
    singular values crowd. No random number that a bound rests on has a fixed seed.

    Where the problem's own adapter does not have ``X = s A B^T``, as DoRA, nothing is certified; a run of such an
    adapter is judged by its update where ``problem`` has another one.

    For ``lam = 0`` or an ``f`` not known to be convex ``is_global`` is None, except where the optimum has a closed
    form that is known accurately enough, or ``f`` is at its lower bound. Without a known lower bound of ``f`` the gap
    is infinite unless ``||G||_2 <= lam`` is known, for which it should be less than ``lam`` by 1e-10 of it. Source:
    main paper, section 2, and the Fenchel duality of ``f`` and the nuclear norm (proofs/certificate,
    proofs/stationary_structure, proofs/rank_certificate).
    """
    as_instance(problem, "problem", Problem)
    tol = as_number(tol, "tol", 0.0, 1.0, open_high=True)
    as_choice(trust, "trust", ("lapack", "gemm"))
    point = seen_from(problem, point)
    factors = as_factors(problem, point)
    loss, problem = problem.loss, problem.replace(objective=problem.objective.in_float64())
    spot_checks.refuse_another_loss(loss, problem.loss, factors)
    part = observed(problem)
    if part is None or not part.holds(point, factors):
        return _judged(problem, point, factors, tol, rigorous, trust)
    found = _judged(part.problem, part.point(point), part.factors(factors), tol, rigorous, trust)
    return replace(found, problem=problem, point=point)


def _judged(
    problem: Problem, point: Any, factors: Pairs, tol: float, rigorous: bool | str, trust: Trust
) -> Certificate:
    svds = [factor_svd(A, B) for A, B in factors]
    found = evidence(problem, factors, svds, rigorous, trust, point)
    refuse_changed_data(problem, factors, found)
    return conclude(problem, point, factors, found, tol)


def conclude(
    problem: Problem,
    point: Any,
    factors: Pairs,
    found: Evidence,
    tol: float,
) -> Certificate:
    """Return what follows from the evidence about a point, which is ``factors`` in the units of the updates."""
    values = np.sort(np.concatenate([s for _, s, _ in found.svds]))[::-1]
    nuclear = float(values.sum())
    size = _size(problem, found, nuclear)
    scale = found.bound.scale if problem.lam > 0.0 else scale_of(size, problem.loss.facts.lower_bound)
    case = _Case(problem, factors, found, size, scale, tol)
    answer = case.answer()
    own = [(A / problem.scale, B) for A, B in factors]
    balance = math.hypot(*(float(np.linalg.norm(A.T @ A - B.T @ B)) for A, B in own))
    squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in own)
    lam = problem.lam_effective
    low, high, constant = case.ranks() if answer.is_global else (None, None, [])
    norm = math.nan if found.parts is None else found.parts.norm_high
    f, stationarity = _stationarity(problem, factors, found)
    closed = [FLOATING] if answer.level is Known.CERTIFIED and FLOATING not in found.assumptions else []
    if answer.formula.startswith(CLOSED_FORM) and is_of_a_user(problem.loss):
        closed.append(f"{CLOSED_FORM} that your f states is right")
    value = _within(f + lam * nuclear, found)
    # The factors of an update that is no s A B^T are made up for the bound: nobody minimises anything over them.
    of_factors = 1.0 if problem.adapter.low_rank else math.nan
    return Certificate(
        value=value,
        gap=answer.gap,
        gap_at_least=answer.gap_at_least,
        relative_gap=answer.gap / case.scale,
        dual_value=_optimum_low(found, lam, answer.gap),
        dual_norm=norm / lam if lam else math.inf,
        stationarity=of_factors * stationarity,
        balance=of_factors * balance,
        factor_gap=of_factors * (0.5 * problem.lam * squares - lam * nuclear),
        rank=numerical_rank(values),
        nuclear_norm=nuclear,
        sigma_r=float(values[-1]),
        singular_values=[float(v) for v in values],
        rank_at_least=low,
        rank_at_most=high,
        is_global=answer.is_global,
        reason=answer.reason,
        level=answer.level,
        refers_to=found.refers_to,
        assumptions=(*found.assumptions, *closed, *constant),
        failure_probability=found.bound.failure_probability,
        formula=answer.formula,
        parts=found.parts,
        tol=tol,
        problem=problem,
        point=point,
    )


def _size(problem: Problem, found: Evidence, nuclear: float) -> float:
    """Return the size of the values: without weight decay the optimum may be 0, and ``f(0)`` counts."""
    if problem.lam > 0.0:
        return abs(found.value) + problem.lam_effective * nuclear
    return max(abs(found.value), abs(problem.loss.factor_value(problem.loss.zeros())))


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


def refuse_changed_data(problem: Problem, factors: Pairs, found: Evidence) -> None:
    """Refuse a loss of the package whose samples are no longer those that it was made of.

    The arrays are their owner's, who may write to them. What was formed from them once (Gram matrices, frozen outputs)
    goes on answering a run, while a proof reads the samples. Where columns cancel values differ anyway.
    """
    if isinstance(problem.objective, LinearModel):
        problem.objective.refuse_changed_samples()
    if found.proof is None or problem.loss.facts.n_samples is None or is_of_a_user(problem.loss):
        return
    nuclear = sum(float(s.sum()) for _, s, _ in found.svds)
    if product_errors(factors, nuclear) > allowance(np.float64) * nuclear:
        return
    bound = found.proof.bound
    value = float(problem.loss.factor_value(factors)) + problem.lam_effective * nuclear
    off = max(bound.value_low - value, value - bound.value_high)
    if CHANGED * abs(value) < off < math.inf and off > problem.loss.rounding_noise(factors).value:
        raise ValueError(changed_data(problem.loss.label, f", whose value at this point has changed by {off:.3g}"))


def _within(value: float, found: Evidence) -> float:
    """Return the value of ``F`` as evaluated, moved into the bounds that a proof gives for it."""
    if found.proof is None:
        return value
    bound = found.proof.bound
    return min(max(value, bound.value_low), bound.value_high)


def _optimum_low(found: Evidence, lam: float, gap: float) -> float:
    """Return the least that ``F(X)`` may be less the gap, rounded down."""
    if found.proof is not None and gap == found.proof.bound.gap:
        return found.proof.bound.optimum_low
    if found.parts is None or not math.isfinite(gap):
        return -math.inf
    terms = (found.parts.f_low, lam * found.parts.nuclear_low, -gap)
    return sum(terms) - 4.0 * float(np.finfo(np.float64).eps) * sum(map(abs, terms))


def _stationarity(problem: Problem, factors: Pairs, found: Evidence) -> tuple[float, float]:
    """Return ``f`` and ``||grad L||``, with ``grad_A L = s G B + lam A`` and ``grad_B L = s G^T A + lam B``."""
    f, products = found.oracle if found.oracle is not None else factor_answer(problem.loss, factors)
    s, lam = problem.scale, problem.lam
    # The given factors are A' = s A: G^T A' is what the second block needs.
    parts = ((s * GB + lam / s * A, GtA + lam * B) for (GB, GtA), (A, B) in zip(products, factors))
    return f, math.hypot(*(frobenius_norm(part) for pair in parts for part in pair))


def as_factors(problem: Problem, point: Any, name: str = "point") -> Pairs:
    """Return float64 factors ``(s A_l, B_l)`` whose products are the updates ``X_l`` of the point."""
    if isinstance(point, Result) and (point.merged is not None or not point.problem.adapter.low_rank):
        point = point.X
    # Two arrays are the factors of one matrix, or the updates of two.
    pair = isinstance(point, tuple) and len(point) == 2
    if pair and not (problem.several and isinstance(point[0], np.ndarray)):
        (A, B), scale, names = point, problem.scale, ("A", "B")
    elif hasattr(point, "A") and hasattr(point, "B"):
        scale = point.problem.scale if isinstance(point, Result) else 1.0
        A, B, names = point.A, point.B, (f"{name}.A", f"{name}.B")
    elif isinstance(point, list) and not problem.several and any(getattr(part, "ndim", 0) == 2 for part in point):
        raise TypeError(f"{name}: expected a Result, a pair (A, B) or X, got a list of matrices; a pair is a tuple")
    elif point is None or (isinstance(point, tuple) and not problem.several):
        raise TypeError(f"{name}: expected a Result, a pair (A, B) or X, got {shown(point)}")
    else:
        return [_balanced(X) for X in problem.checked_updates(point, name)]
    return [(scale * A, B) for A, B in problem.checked_factors(A, B, np.float64, names, any_rank=True)]


def _balanced(X: Array) -> tuple[Array, Array]:
    P, values, Qt = np.linalg.svd(X, full_matrices=False)
    return balanced(P, values, Qt.T)


class _Answer(NamedTuple):
    """Global, refuted or unknown; the gap that says so, a lower bound on it, and how all that is known."""

    is_global: bool | None
    gap: float
    gap_at_least: float
    reason: str
    level: Known
    formula: str


@dataclass(frozen=True)
class _Case:
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

    def answer(self) -> _Answer:
        """Turn the bound into an answer; a contradiction to what is stated of ``f`` voids it."""
        loss, bound = self.problem.loss, self.found.bound
        adapter = self.problem.adapter
        if not adapter.low_rank:
            other = f"an update of {adapter.name!r} is not s A B^T, and {self._minimised()}"
            return _Answer(None, math.inf, 0.0, other, bound.level, f"none: the adapter is {adapter.name!r}")
        parts, finite = self.found.parts, math.isfinite(self.size)
        if self.found.proof is None and parts is not None and finite and not parts.norm_high < math.inf:
            missing = "the gradient of f is not finite at this point"
            return _Answer(None, math.inf, 0.0, missing, bound.level, f"none: {missing}")
        reason = out_of_range(self.problem, self.size)
        if reason is not None:
            return _Answer(None, math.inf, 0.0, reason, bound.level, "none: beyond the range of binary64")
        if self.problem.lam == 0.0:
            answer, better = self._without_decay(), None
        elif self.facts.convex is not True:
            return self._unknown("f is not known to be convex: see the second-order verdict instead")
        else:
            answer, better = self._with_decay()
        if self.facts.convex is not True or not spot_checks.needed(loss):
            return answer
        X = [A @ B.T for A, B in self.factors]
        # Where columns cancel the two have rounding errors of their own.
        text, amount = spot_checks.contradicted_factors(loss, [balanced(*svd) for svd in self.found.svds]), 0.0
        if text is None:
            text = spot_checks.violation(loss, X, None if better is None else [A @ B.T for A, B in better])
            amount = answer.gap_at_least
        if text is None:
            return answer
        reason = f"your f {text}: run {spot_checks.test_of(loss)}"
        return _Answer(None, math.inf, amount, reason, bound.level, f"none: f {text}")

    def _minimised(self) -> str:
        """Return what an adapter whose update is not ``s A B^T`` minimises, and where to ask for its optimum."""
        problem = self.problem
        weight = problem.adapter.nuclear_weight(problem.lam, problem.rank)
        if not (problem.adapter.has_nuclear_penalty and weight > 0.0):
            return "what it minimises has no convex counterpart"
        asked = f"ls.certify(ls.Problem(objective, {problem.rank}, {weight!r}), result)"
        return f"what it minimises is f + {weight:g} ||X||_*: ask for {asked}"

    def _unknown(self, reason: str, better: float = 0.0) -> _Answer:
        bound = self.found.bound
        return _Answer(None, bound.gap, better, reason, bound.level, bound.formula)

    def _with_decay(self) -> tuple[_Answer, Pairs | None]:
        bound, scale = self.found.bound, self.scale
        known = self._how()
        if bound.relative <= self.tol:
            reason = f"within {at_most(bound.relative, '.1e')} (relative) of the convex optimum, {known}"
            return _Answer(True, bound.gap, 0.0, reason, bound.level, bound.formula), None
        amount, better = self._better()
        if amount > self.tol * scale:
            reason = f"a point better by {at_least(amount, '.3g')} is known{self._beyond_the_ranks(better)}"
            return _Answer(False, bound.gap, amount, reason, bound.level, bound.formula), better
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

    def _without_decay(self) -> _Answer:
        """Compare with the least value of ``f``, or with the closed form of the optimum of rank <= r."""
        problem, bound, scale = self.problem, self.found.bound, self.scale
        for k, ((_, s, _), most) in enumerate(zip(cut(self.found.svds), problem.ranks)):
            if s.size > most:
                which = f" of matrix {k + 1}" if problem.several else ""
                return self._unknown(f"lam = 0: X{which} has rank {s.size}, the problem is about rank <= {most}")
        if bound.gap <= self.tol * scale:
            reason = f"within {at_most(bound.gap / scale, '.1e')} (relative) of the least value of f, {self._how()}"
            return _Answer(True, bound.gap, 0.0, reason, bound.level, bound.formula)
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
            return _Answer(None, math.inf, 0.0, reason, Known.CERTIFIED, f"none: f(X) is below {form}")
        lower = self._below_closed_form(least[1]) if gap <= self.tol * scale else None
        if lower is not None:
            reason = f"a point of that rank is below {form} by {at_least(least[1] - lower, '.3g')}, which is no optimum"
            reason += f" then: run {spot_checks.test_of(problem.loss)}"
            amount = max(parts.f_low - lower - noise, 0.0)
            answer = False if amount > self.tol * scale else None
            return _Answer(answer, math.inf, amount, reason, Known.CERTIFIED, f"none: f falls below {form}")
        if gap <= self.tol * scale:
            reason = f"equals {form} to {at_most(gap / scale, '.1e')}, {Known.CERTIFIED}"
            return _Answer(True, gap, 0.0, reason, Known.CERTIFIED, form)
        if better > self.tol * scale:
            reason = f"above {form} by {at_least(better, '.3g')}"
            return _Answer(False, gap, better, reason, Known.CERTIFIED, form)
        hint = "; where features nearly follow from others, drop these or let lam > 0"
        if bound.gap <= gap:
            reason = f"the gap of {at_most(bound.gap / scale, '.1e')} (relative), {self._how()}, is above the tolerance"
            return self._unknown(reason + hint)
        reason = f"{form} is known to {at_most(gap / scale, '.1e')} (relative) only, above the tolerance"
        return _Answer(None, gap, better, reason, Known.CERTIFIED, form)

    def _below_closed_form(self, stated: float) -> float | None:
        """Return a value below the least one that a user's formula states, if descents from this point find one."""
        loss = self.problem.loss
        if not is_of_a_user(loss):
            return None
        ((A, B),) = self.factors
        return spot_checks.falls_below(loss, A @ B.T, self.problem.rank, stated)

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
        if spot_checks.needed(problem.loss) and spot_checks.exceeds_curvature(problem.loss, A @ B.T, beta):
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
