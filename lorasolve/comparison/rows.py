"""A line of a comparison: the run of median objective of one method, held against the optimum of what it minimises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .._known import weakest
from ..certificates import Certificate, certify
from ..certificates.answers import DENIED
from ..certificates.duality import scale_of
from ..convex import ConvexResult
from ..low_rank import factor_singular_values, numerical_rank
from ..method import Method
from ..objectives.base import Objective
from ..problem import Problem
from ..result import Result, metrics_of
from ..status import Status
from ._rates import rates
from .targets import Target, target_of
from .tuning import Chosen


@dataclass(frozen=True)
class Row:
    """One method's line: its run of median objective, and the range over all starts.

    None where a number does not exist (no certificate, no known optimum, no step size).

    Attributes
    ----------
    method : str
        The method as text, a chosen step size left out; :meth:`lorasolve.Method.parse` reads it back.
    minimises : str
        What it minimises; only rows that agree here are compared with one another.
    objective : float
        ``L(A, B)`` at the end.
    reference : float or None
        The least value of what the method minimises.
    suboptimality : float or None
        ``(objective - reference) / |reference|``, the difference itself where the reference is 0; below 0 only by the
        reference's own gap.
    missing : list of float or None
        Per start, the share of the decrease from the frozen weight, where ``L`` is ``f(0)`` but for the penalty of what
        was merged, to ``reference`` that is missing: 0 at the optimum, 1 at the frozen weight, infinite for a diverged
        run. Where the frozen weight is within ``tol`` of the optimum, what is missing relative to ``reference``.
    gap : float or None
        Bound on ``(F(X) - min F) / |F(X)|`` for the problem's own ``F``, by the run's own certificate, or where that
        leaves the answer open by the number below the optimum that the reference's knows; without decay relative to
        ``|f(0)|`` where that is larger. The largest of all starts, None where one has none.
    level : str
        How the gap is known: the weakest level of all starts; empty where there is no gap.
    is_global : bool or None
        The answer for all starts: True if each is global, False if one is refuted. An update is not
        enough where ``L`` is minimised: False too where balanced factors of it are better by more than the tolerance.
    denied : str
        What was seen to contradict what the loss states, where one of the runs ended; empty where nothing was.
    rank, sigma_r, nuclear_norm : int, float and float, or None
        Of the whole update ``X``; None for a diverged run.
    step_size : float or None
        The step chosen, where steps were chosen.
    step_by : str
        What it was chosen by; empty where none was.
    predicted_rate, measured_rate : float or None
        Of gradient descent with constant steps ``eta``, near a certified optimum of known rank: the bound
        ``1 - eta mu`` on the factor by which a step shrinks the distance to it (proofs/local_rate), and the factor by
        which the gradient norm shrank in a step of the second half of the run, on average, between a first stay beside
        a saddle and the end that rounding makes. None where a premise is not known to hold: ``lam > 0``, bounds on the
        curvature of ``f``, ``||S||_2 < lam``, ``eta <= 2/(mu + M)``.
    oracle_calls, search_calls : int
        Evaluations of value and gradient in the run, as its result counts them, and in the whole search for the step.
    seconds, compile_seconds : float
        Mean time of a run without compilation, and time spent compiling in all of them.
    status : str
        Why the run stopped.
    quality : dict
        Named measures of quality of the update.
    quality_on : str
        The data of ``quality``: ``"test"`` where held-out data are given, else ``"training"``.
    """

    method: str
    minimises: str
    objective: float
    reference: float | None
    suboptimality: float | None
    missing: list[float] | None
    gap: float | None
    level: str
    is_global: bool | None
    denied: str
    rank: int | None
    sigma_r: float | None
    nuclear_norm: float | None
    step_size: float | None
    step_by: str
    predicted_rate: float | None
    measured_rate: float | None
    oracle_calls: int
    search_calls: int
    seconds: float
    compile_seconds: float
    status: str
    quality: dict[str, float]
    quality_on: str

    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds", "compile_seconds")

    @property
    def diverged(self) -> bool:
        """Whether the run shown did."""
        return self.status == Status.DIVERGED.label


def singular_values(result: Result) -> list[float]:
    """Return the singular values of the update in descending order: ``r`` of them if it is ``s A B^T``, else all."""
    factors = result.factors
    if factors is None:
        values = np.linalg.svd(result.X.astype(np.float64), compute_uv=False)
    else:
        values = factor_singular_values(*factors)
    return [float(v) for v in values]


def median_run(ended: list[Result]) -> int:
    """Return the index of the run of median objective, the lower one of two; diverged runs count as highest."""
    return sorted(range(len(ended)), key=lambda k: objective_of(ended[k]))[(len(ended) - 1) // 2]


def objective_of(result: Result) -> float:
    """Return ``L`` at the end of a run, infinite where it diverged."""
    return math.inf if result.status is Status.DIVERGED or not math.isfinite(result.fun) else result.fun


def row_of(
    problem: Problem,
    chosen: Chosen,
    ended: list[Result],
    target: Target,
    optimum: float | None,
    tol: float,
    held_out: Objective | None,
    below: Certificate | None = None,
) -> Row:
    """Return the line of a method from its runs, one a start; ``optimum`` is the least value of its target.

    ``below`` is a certificate of another point of the problem, whose number below the optimum holds for all.
    """
    middle = median_run(ended)
    shown = ended[middle]
    finite = shown.status is not Status.DIVERGED
    certificates = [informed(own, below) for own in _certificates(problem, ended, tol)]
    certificate = certificates[middle] if certificates else None
    gap, level = _worst(certificates)
    values = np.asarray(singular_values(shown)) if finite else None
    predicted, measured = rates(chosen.method, shown, certificate) or (None, None)
    of_factors = bool(target.weight) and target == target_of(Method(), problem)
    return Row(
        method=str(chosen.given),
        minimises=target.text,
        objective=shown.fun,
        reference=optimum,
        suboptimality=None if optimum is None or not finite else (shown.fun - optimum) / (abs(optimum) or 1.0),
        missing=None if optimum is None else _missing(_at_frozen_weight(problem, target, ended), ended, optimum, tol),
        gap=gap,
        level=level,
        is_global=_all_global([_answer(c, r, of_factors, tol) for c, r in zip(certificates, ended)]),
        denied=next((c.reason for c in certificates if c is not None and c.reason.startswith(DENIED)), ""),
        rank=None if values is None else numerical_rank(values),
        sigma_r=None if values is None else float(values[problem.rank - 1]),
        nuclear_norm=None if values is None else float(values.sum()),
        step_size=chosen.step_size,
        step_by=chosen.by,
        predicted_rate=predicted,
        measured_rate=measured,
        oracle_calls=shown.nfev,
        search_calls=chosen.calls,
        seconds=float(np.mean([result.seconds for result in ended])),
        compile_seconds=float(sum(result.compile_seconds for result in ended)),
        status=shown.status.label,
        quality=metrics_of(problem.objective if held_out is None else held_out, shown) if finite else {},
        quality_on="training" if held_out is None else "test",
    )


def denial(rows: Sequence[Row], reference: ConvexResult | None) -> str:
    """Return what was seen to contradict what the loss states, at any of the points, or an empty text."""
    if reference is not None and reference.certificate.reason.startswith(DENIED):
        return reference.certificate.reason
    return next((row.denied for row in rows if row.denied), "")


def believed(rows: list[Row], reference: ConvexResult | None) -> list[Row]:
    """Return the rows without what certificates say that rest on what another one has seen contradicted.

    Each looks at other points, and may miss it.
    """
    if not denial(rows, reference):
        return rows
    nothing: dict[str, Any] = dict(gap=None, level="", predicted_rate=None, measured_rate=None)
    return [replace(row, is_global=False if row.is_global is False else None, **nothing) for row in rows]


def _certificates(problem: Problem, ended: list[Result], tol: float) -> list[Certificate | None]:
    """Return a certificate of the problem's own ``F`` for each run that has one."""
    if not problem.adapter.low_rank:
        return []
    return [None if r.status is Status.DIVERGED else certify(problem, r, tol=tol) for r in ended]


def informed(own: Certificate | None, below: Certificate | None) -> Certificate | None:
    """Return a certificate that leaves the answer open with the gap above another point's number below the optimum.

    Near an optimum the gap of a point falls with its distance, while its value is above the optimum by the square.
    """
    if own is None or own.is_global is not None or below is None or own.parts is None or not own.problem.lam > 0.0:
        return own
    if own.reason.startswith(DENIED):
        return own
    lam = own.problem.lam_effective
    terms = (own.parts.f_high, lam * own.parts.nuclear_high, -below.dual_value)
    gap = max(sum(terms), 0.0) + 4.0 * float(np.finfo(np.float64).eps) * sum(map(abs, terms))
    if not gap < own.gap:
        return own
    penalty = lam * own.nuclear_norm
    relative = gap / scale_of(abs(own.value - penalty) + penalty, own.problem.loss.facts.lower_bound)
    answer = True if relative <= own.tol else None
    level = weakest((own.level, below.level))
    return replace(own, gap=gap, relative_gap=relative, dual_value=below.dual_value, level=level, is_global=answer)


def _worst(certificates: list[Certificate | None]) -> tuple[float | None, str]:
    """Return the gap that holds for all starts, and how that is known; None where there is none for some."""
    known = [c for c in certificates if c is not None and math.isfinite(c.gap)]
    if not known or len(known) < len(certificates):
        return None, ""
    return max(c.relative_gap for c in known), str(weakest(c.level for c in known))


def _answer(certificate: Certificate | None, ended: Result, of_factors: bool, tol: float) -> bool | None:
    """Return what a certificate says of the update, or of its factors where ``L`` is minimised.

    Where ``F`` is 0 nothing but ``L`` at the start says what is small.
    """
    if certificate is None:
        return None
    unit = abs(certificate.value) or abs(ended.trace.value[0])
    return False if of_factors and certificate.factor_gap > tol * unit else certificate.is_global


def _all_global(answers: list[bool | None]) -> bool | None:
    if any(answer is False for answer in answers):
        return False
    return True if answers and all(answers) else None


def _at_frozen_weight(problem: Problem, target: Target, ended: list[Result]) -> float:
    """Return what the target is at ``X = 0``: ``f(0)``, and the penalty of ``-M`` where ``M`` was merged."""
    merged = target.merged(ended)
    if merged is None or target.weight is None:
        return problem.value_at_zero
    return problem.value_at_zero + target.weight * float(np.linalg.svd(merged, compute_uv=False).sum())


def _missing(at_frozen_weight: float, ended: list[Result], optimum: float, tol: float) -> list[float]:
    decrease = at_frozen_weight - optimum
    # Where X = 0 counts as the optimum too, shares of what is left are mostly rounding.
    unit = decrease if decrease > tol * abs(optimum) else abs(optimum) or 1.0
    return [(objective_of(result) - optimum) / unit for result in ended]
