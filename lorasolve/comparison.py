"""Several solvers on one problem, beside its convex optimum, in one table with a verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from ._validate import require
from .certificate import Certificate, certify, numerical_rank
from .convex import ConvexResult, solve_convex
from .engine import StoppingRule, solve
from .inits import Init
from .linear_map import factor_singular_values
from .method import Method
from .optimizers import Optimizer
from .problem import Problem
from .result import Result
from .status import Status


@dataclass(frozen=True)
class Row:
    """One solver's line. None where a number does not exist (no certificate, no reference).

    Attributes
    ----------
    solver : str
        The method's text form.
    objective : float
        ``L(A, B)`` at the last point.
    suboptimality : float or None
        ``(L - F*) / |F*|`` with ``F*`` the objective of the reference; below 0 only by the reference's own gap.
    gap : float or None
        CERTIFIED bound on ``(F(X) - min F) / |F(X)|``.
    is_global : bool or None
        The certificate's answer.
    rank, sigma_r, nuclear_norm
        Of the update ``X``.
    oracle_calls : int
        Evaluations of value and gradient.
    seconds, compile_seconds : float
        Time of the run, and time spent compiling.
    status : str
        Why the run stopped.
    """

    solver: str
    objective: float
    suboptimality: float | None
    gap: float | None
    is_global: bool | None
    rank: int
    sigma_r: float
    nuclear_norm: float
    oracle_calls: int
    seconds: float
    compile_seconds: float
    status: str


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` returns.

    Attributes
    ----------
    problem : Problem
        What was solved.
    reference : ConvexResult or None
        The convex optimum; None where the problem has no convex counterpart.
    rows : list of Row
        One line per solver, in the order given.
    results : list of Result
        The runs themselves, in the same order.
    interrupted : bool
        Whether the comparison was stopped from the keyboard; the rows are those finished by then.
    """

    problem: Problem
    reference: ConvexResult | None
    rows: list[Row]
    results: list[Result] = field(repr=False)
    interrupted: bool = False

    def best(self) -> int | None:
        """Return the index of the row with the lowest objective, None if every run diverged."""
        candidates = [k for k, row in enumerate(self.rows) if row.status != _DIVERGED]
        return min(candidates, key=lambda k: self.rows[k].objective, default=None)

    def table(self) -> str:
        """Return the rows as text, the reference first."""
        lines = [[_title(column.name) for column in _COLUMNS]]
        if self.reference is not None:
            reference = _reference_line(self.reference, self.problem.rank)
            lines.append([_cell(name, value) for name, value in reference.items()])
        for row in self.rows:
            lines.append([_cell(column.name, getattr(row, column.name)) for column in _COLUMNS])
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        # Text to the left, numbers to the right.
        left = (0, len(widths) - 1)
        aligned = [
            [cell.ljust(widths[k]) if k in left else cell.rjust(widths[k]) for k, cell in enumerate(line)]
            for line in lines
        ]
        return "\n".join("  ".join(line).rstrip() for line in aligned)

    def verdict(self) -> str:
        """Return the outcome in one sentence."""
        good = [row for row in self.rows if row.is_global]
        other = [row for row in self.rows if not row.is_global]
        if not self.rows:
            return "No run was finished."
        best = self.best()
        if best is None:
            return "Every run diverged: try a smaller step size, or 'gd_backtracking'."
        if self.reference is None or not self.problem.adapter.low_rank:
            row = self.rows[best]
            return (
                f"Inconclusive: without a convex counterpart there is no certificate; the lowest objective is "
                f"{row.objective:.8g}, by {row.solver}."
            )
        if not good:
            nearest = min(other, key=lambda row: row.gap if row.gap is not None else np.inf)
            return (
                f"No solver reached the global optimum (rank {self.reference.rank}); the nearest is {nearest.solver}, "
                f"{_shortfall(nearest)}."
            )
        names = ", ".join(row.solver for row in good)
        worst = max(row.gap for row in good if row.gap is not None)
        text = (
            f"Global optimum reached by {len(good)} of {len(self.rows)} solvers ({names}), CERTIFIED to a relative gap "
            f"of {worst:.1e}; it has rank {self.reference.rank}, found with factors of rank {self.problem.rank}."
        )
        return " ".join([text, *(f"{row.solver} did not reach it: {_shortfall(row)}." for row in other)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the factors as plain values, traces and spectra included."""
        m, n = self.problem.shape
        rows = []
        for row, result in zip(self.rows, self.results):
            entry: dict[str, Any] = asdict(row)
            entry["message"] = result.message
            entry["seed"] = result.seed
            entry["started_from"] = result.started_from
            entry["singular_values"] = singular_values(result)
            entry["trace"] = result.trace.to_dict()
            rows.append(entry)
        return {
            "problem": {
                "objective": type(self.problem.objective).__name__,
                "shape": [m, n],
                "rank": self.problem.rank,
                "lam": self.problem.lam,
                "adapter": self.problem.adapter.name,
            },
            "reference": None if self.reference is None else self.reference.to_dict(),
            "rows": rows,
            "verdict": self.verdict(),
            "interrupted": self.interrupted,
        }

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.verdict()}"


_DIVERGED = Status.DIVERGED.label
_COLUMNS = fields(Row)
_TITLES = {
    "suboptimality": "above optimum",
    "gap": "certified gap",
    "is_global": "global",
    "sigma_r": "sigma_r",
    "nuclear_norm": "||X||_*",
    "oracle_calls": "calls",
    "seconds": "s",
    "compile_seconds": "compile s",
}


def compare(
    problem: Problem,
    methods: Iterable[str | Optimizer | Method],
    reference: ConvexResult | None = None,
    *,
    init: str | Init | tuple[Any, Any] | Result | None = None,
    seed: int | None = 0,
    stop: StoppingRule | None = None,
    tol: float = 1e-6,
    progress: bool = False,
) -> Comparison:
    """Run several solvers from the same start and hold them against the convex optimum.

    Parameters
    ----------
    problem : Problem
        What to solve.
    methods : iterable of str, Optimizer or Method
        The ways to run, each as in :func:`lorasolve.solve`, for example ``["gd", "adam+cosine"]``.
    reference : ConvexResult, optional
        The convex optimum; computed here by default, where the problem has one.
    init, seed, stop
        As in :func:`lorasolve.solve`, for every method.
    tol : float
        Certified relative gap up to which a point counts as the global optimum.
    progress : bool
        As in :func:`lorasolve.solve`.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, TypeError
        For an empty list, unknown names and combinations that make no sense, before anything is run.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem: expected a Problem, got {type(problem).__name__}")
    runs = _checked(methods, problem, draws_start=not isinstance(init, (tuple, Result)))
    results: list[Result] = []
    rows: list[Row] = []
    interrupted = False
    try:
        if reference is None and has_convex_counterpart(problem):
            reference = solve_convex(problem, progress=progress)
            interrupted = reference.interrupted
        for method in [] if interrupted else runs:
            result = solve(problem, method, init, seed, stop=stop, progress=progress)
            results.append(result)
            rows.append(_row(problem, method, result, reference, tol))
            if result.status is Status.INTERRUPTED:
                interrupted = True
                break
    except KeyboardInterrupt:
        interrupted = True
        del results[len(rows) :]
    return Comparison(problem, reference, rows, results, interrupted)


def has_convex_counterpart(problem: Problem) -> bool:
    """Whether ``min f(X) + (lam/s) ||X||_*`` is a convex problem that this problem factors."""
    return problem.objective.facts.convex is True and problem.lam > 0.0 and problem.adapter.low_rank


def singular_values(result: Result) -> list[float]:
    """Return the singular values of the update in descending order: ``r`` of them if it is ``s A B^T``, else all."""
    problem = result.problem
    if result.merged is None and problem.adapter.low_rank:
        values = factor_singular_values(problem.scale * result.A, result.B)
    else:
        values = np.linalg.svd(result.X.astype(np.float64), compute_uv=False)
    return [float(v) for v in values]


def _checked(methods: Iterable[str | Optimizer | Method], problem: Problem, draws_start: bool) -> list[Method]:
    """Return the methods, or refuse those that cannot run on the problem."""
    given = [methods] if isinstance(methods, (str, Optimizer, Method)) else list(methods)
    if not given:
        raise ValueError("methods: is empty; give at least one, for example 'gd'")
    made = [Method.of(method, "methods") for method in given]
    for method in made:
        require(str(method), "methods", method.refusal(problem, draws_start=draws_start))
    return made


def _row(problem: Problem, method: Method, result: Result, reference: ConvexResult | None, tol: float) -> Row:
    certificate: Certificate | None = None
    above = None
    own = method.problem(problem)
    if result.status is not Status.DIVERGED:
        if own.adapter.low_rank:
            certificate = certify(own, result, tol=tol)
        # Another penalty has another optimum.
        if reference is not None and own.adapter.low_rank and own.lam_effective == problem.lam_effective:
            above = (result.fun - reference.fun) / (abs(reference.fun) or 1.0)
    values = np.asarray(singular_values(result))
    return Row(
        solver=str(method),
        objective=result.fun,
        suboptimality=above,
        gap=certificate.relative_gap if certificate is not None and np.isfinite(certificate.gap) else None,
        is_global=certificate.is_global if certificate is not None else None,
        rank=numerical_rank(values),
        sigma_r=float(values[problem.rank - 1]),
        nuclear_norm=float(values.sum()),
        oracle_calls=result.nfev,
        seconds=result.seconds,
        compile_seconds=result.compile_seconds,
        status=result.status.label,
    )


# ---------------------------------------------------------------------- text
def _title(column: str) -> str:
    return _TITLES.get(column, column)


def _reference_line(reference: ConvexResult, rank: int) -> dict[str, Any]:
    """Return the reference as a row; ``sigma_r`` is that of the factors' rank, like in the rows."""
    values = reference.certificate.singular_values
    return {
        "solver": f"convex: {reference.method}",
        "objective": reference.fun,
        "suboptimality": 0.0,
        "gap": reference.relative_gap,
        "is_global": reference.certificate.is_global,
        "rank": reference.rank,
        "sigma_r": values[rank - 1] if rank <= len(values) else 0.0,
        "nuclear_norm": reference.nuclear_norm,
        "oracle_calls": None,
        "seconds": reference.seconds,
        "compile_seconds": reference.compile_seconds,
        "status": reference.status,
    }


def _cell(column: str, value: Any) -> str:
    if column == "is_global":
        return {True: "yes", False: "no", None: "unknown"}[value]
    if value is None:
        return "-"
    if isinstance(value, float):
        if column == "objective":
            return f"{value:.10g}"
        if column in ("suboptimality", "gap", "sigma_r"):
            return _number(value)
        return f"{value:.2f}" if column in ("seconds", "compile_seconds") else f"{value:.6g}"
    return str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}" if value else "0"


def _shortfall(row: Row) -> str:
    """Say in a few words why a row is not certified."""
    if row.status == _DIVERGED:
        return row.status
    if row.is_global is False:
        return f"{_number(row.suboptimality)} above it (relative), {row.status}"
    return f"certified only to a relative gap of {_number(row.gap)}, {row.status}"
