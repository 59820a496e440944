"""How far is a point from the global optimum of ``F(X) = f(X) + lam ||X||_*``, and how is that known?

Where the loss has a ball oracle the answer is a proof in which rounding is counted (``rigorous``); elsewhere the same
formula is evaluated in floating point with an allowance for rounding (``duality``), by a norm that is proved or, for
large gradients, SAMPLED with a stated probability of failure (``_lanczos``); what a user states about the loss is
tested on the way (``spot_checks``). A point is refuted by a better one (``refute``).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .._known import Known
from .._support.keywords import names_keywords
from .._support.threads import judge_pools
from .._support.validate import Array, as_choice, as_instance, as_number, shown
from ..dense import frobenius_norm
from ..low_rank import balanced, factor_svd, numerical_rank
from ..objectives import changed_data
from ..objectives.base import allowance
from ..problem import Problem
from ..problem.blocks import is_of_a_user
from ..problem.pairs import Pairs
from ..result import Result, seen_from
from .answers import CLOSED_FORM, Case
from .certificate import Certificate
from .contradictions import refuse_another_loss
from .duality import factor_answer, product_errors, rounding_of_outputs, scale_of
from .evidence import FLOATING, Evidence, evidence
from .norms import Trust
from .observed import observed

# By how much a value is off the bounds of a proof, as a share of it, where it is one of other data.
CHANGED = 1e-6


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
        several matrices ``A``, ``B`` are sequences of arrays, and an update is a list of them; pairs ``(A_l, B_l)`` are
        given in a list, as a tuple of two is ``(A, B)``.
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
    refuse_another_loss(loss, problem.loss, factors)
    part = observed(problem)
    with judge_pools(problem.shapes):
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
    case = Case(problem, factors, found, size, scale, tol)
    answer = case.answer()
    share = _share_of_scale(problem, point)
    own = [(A / share, B * (share / problem.scale)) for A, B in factors]
    balance = math.hypot(*(float(np.linalg.norm(A.T @ A - B.T @ B)) for A, B in own))
    squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in own)
    lam = problem.lam_effective
    low, high, constant = case.ranks() if answer.is_global else (None, None, [])
    norm = math.nan if found.parts is None else found.parts.norm_high
    f, stationarity = _stationarity(problem, factors, share, found)
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


def refuse_changed_data(problem: Problem, factors: Pairs, found: Evidence) -> None:
    """Refuse a loss of the package whose samples are no longer those that it was made of.

    The arrays are their owner's, who may write to them. What was formed from them once (Gram matrices, frozen outputs)
    goes on answering a run, while a proof reads the samples. Where columns cancel values differ anyway.
    """
    problem.loss.refuse_changed_samples()
    if found.proof is None or problem.loss.facts.n_samples is None or is_of_a_user(problem.loss):
        return
    nuclear = sum(float(s.sum()) for _, s, _ in found.svds)
    if product_errors(factors, nuclear) > allowance(np.float64) * nuclear:
        return
    bound = found.proof.bound
    f = float(problem.loss.factor_value(factors))
    value = f + problem.lam_effective * nuclear
    off = max(bound.value_low - value, value - bound.value_high)
    if not CHANGED * abs(value) < off < math.inf:
        return
    if off > problem.loss.rounding_noise(factors).value + rounding_of_outputs(problem.loss, f, factors):
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


def _share_of_scale(problem: Problem, point: Any) -> float:
    """Return the part ``c`` of the scaling ``s`` that is in the ``A' = c A`` of the updates; the rest is in ``B'``.

    Of factors that were given it is all. Those of an update are ours, and balanced ones of ``s A B^T`` share it.
    """
    of_result = isinstance(point, Result) and point.merged is None and point.problem.adapter.low_rank
    return problem.scale if of_result or isinstance(point, tuple) else math.sqrt(problem.scale)


def _stationarity(problem: Problem, factors: Pairs, share: float, found: Evidence) -> tuple[float, float]:
    """Return ``f`` and ``||grad L||``, with ``grad_A L = s G B + lam A`` and ``grad_B L = s G^T A + lam B``."""
    f, products = found.oracle if found.oracle is not None else factor_answer(problem.loss, factors)
    c, rest, lam = share, problem.scale / share, problem.lam
    parts = ((c * GB + lam / c * A, rest * GtA + lam / rest * B) for (GB, GtA), (A, B) in zip(products, factors))
    return f, math.hypot(*(frobenius_norm(part) for pair in parts for part in pair))


def as_factors(problem: Problem, point: Any, name: str = "point") -> Pairs:
    """Return float64 factors ``(s A_l, B_l)`` whose products are the updates ``X_l`` of the point."""
    if isinstance(point, Result) and (point.merged is not None or not point.problem.adapter.low_rank):
        point = point.X
    # Two arrays are the factors of one matrix, or the updates of two; the factors of two come in sequences.
    pair = isinstance(point, tuple) and len(point) == 2
    if pair and (not problem.several or isinstance(point[0], (list, tuple))):
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
