"""Several solvers on one problem, beside its convex optimum, in one table with a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from ._validate import require
from .certificate import Certificate, certify, numerical_rank
from .convex import ConvexResult, solve_convex
from .engine import StoppingRule, solve
from .inits import Init
from .linear_map import factor_singular_values
from .optimizers import Optimizer
from .optimizers import registry as optimizer_registry
from .problem import Problem
from .result import Result, Status

Method = str | Optimizer | Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One solver's line. None where a number does not exist (no certificate, no reference).

    Attributes
    ----------
    solver : str
        Name, settings that differ from the defaults, schedule.
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
            entry["init"] = result.init
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
    methods: Iterable[Method],
    reference: ConvexResult | None = None,
    *,
    init: str | Init | tuple[Any, Any] | Result = "lora",
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
    methods : iterable of str, Optimizer or mapping
        Optimizers by name or instance; a mapping gives arguments of :func:`lorasolve.solve`, for example
        ``{"optimizer": "adam", "schedule": "cosine"}``.
    reference : ConvexResult, optional
        The convex optimum; computed here by default, where the problem has one.
    init, seed, stop, progress
        As in :func:`lorasolve.solve`, for every method that does not set its own.
    tol : float
        Certified relative gap up to which a point counts as the global optimum.

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
    common = {"init": init, "seed": seed, "stop": stop, "progress": progress}
    runs = [common | _arguments(method, problem) for method in _as_list(methods)]
    results: list[Result] = []
    rows: list[Row] = []
    interrupted = False
    try:
        if reference is None and has_convex_counterpart(problem):
            reference = solve_convex(problem, progress=progress)
            interrupted = reference.interrupted
        for arguments in [] if interrupted else runs:
            result = solve(problem, **arguments)
            results.append(result)
            rows.append(_row(problem, _label(arguments), result, reference, tol))
            if result.status is Status.INTERRUPTED:
                interrupted = True
                break
    except KeyboardInterrupt:
        interrupted = True
        del results[len(rows) :]
    return Comparison(problem, reference, rows, results, interrupted)


def has_convex_counterpart(problem: Problem) -> bool:
    """Whether ``min f(X) + (lam/s) ||X||_*`` is a convex problem that this problem factors."""
    return problem.objective.convex is True and problem.lam > 0.0 and problem.adapter.low_rank


def singular_values(result: Result) -> list[float]:
    """Return the singular values of the update in descending order: ``r`` of them if it is ``s A B^T``, else all."""
    problem = result.problem
    if result.merged is None and problem.adapter.low_rank:
        values = factor_singular_values(problem.scale * result.A, result.B)
    else:
        values = np.linalg.svd(result.X.astype(np.float64), compute_uv=False)
    return [float(v) for v in values]


def _as_list(methods: Iterable[Method]) -> list[Method]:
    given: list[Method] = [methods] if isinstance(methods, (str, Optimizer, Mapping)) else list(methods)
    if not given:
        raise ValueError("methods: is empty; give at least one optimizer")
    return given


def _arguments(method: Method, problem: Problem) -> dict[str, Any]:
    """Return the arguments of ``solve`` that a method stands for, with its optimizer made and checked."""
    arguments = dict(method) if isinstance(method, Mapping) else {"optimizer": method}
    optimizer = optimizer_registry.make(arguments.get("optimizer", "gd"), "methods")
    require(optimizer, "methods", optimizer.refusal(problem))
    return arguments | {"optimizer": optimizer}


def _row(problem: Problem, label: str, result: Result, reference: ConvexResult | None, tol: float) -> Row:
    certificate: Certificate | None = None
    above = None
    if result.status is not Status.DIVERGED:
        if problem.adapter.low_rank:
            certificate = certify(problem, result, tol=tol)
        if reference is not None:
            above = (result.fun - reference.fun) / (abs(reference.fun) or 1.0)
    values = np.asarray(singular_values(result))
    return Row(
        solver=label,
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


def _label(arguments: dict[str, Any]) -> str:
    """Return ``name(setting=value)`` of the optimizer, with ``+ schedule`` where there is one."""
    parts = [describe(arguments["optimizer"])]
    schedule = arguments.get("schedule")
    if schedule is not None:
        schedules = [schedule] if isinstance(schedule, str) or is_dataclass(schedule) else schedule
        parts += [part if isinstance(part, str) else describe(part) for part in schedules]
    return "+".join(parts)


def describe(component: Any) -> str:
    """Return a component's name with the settings that differ from their defaults."""
    settings = [
        f"{entry.name}={getattr(component, entry.name)!r}"
        for entry in fields(component)
        if getattr(component, entry.name) != entry.default
    ]
    return f"{component.name}({', '.join(settings)})" if settings else component.name


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
