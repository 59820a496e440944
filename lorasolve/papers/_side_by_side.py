"""All methods on one problem: same start, same budget of oracle calls, step sizes chosen by one rule.

The methods are read from the folders of optimizers, adapters and schedules, so a new one takes part without being
listed anywhere. Each is held against the convex optimum of its own penalty, or against a lower bound where its
penalty is not convex.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .._validate import Array, as_integer
from ..adapters import registry as adapter_registry
from ..adapters.lora import LoRA
from ..adapters.sora import SoRA
from ..convex import solve_convex
from ..engine import solve
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.base import Objective
from ..optimizers import registry as optimizer_registry
from ..problem import Problem, full_fine_tuning
from ..result import Result
from ..schedules import registry as schedule_registry
from ..status import Status

# The step-size search multiplies by this until neither neighbour is better, at most so often in each direction.
STEP_RATIO = 4.0
SEARCH_LIMIT = 6


def reference_weight(method: Method, problem: Problem) -> float:
    """Return the weight of the nuclear norm in the convex problem that bounds a method's objective from below."""
    own = method.problem(problem)
    return own.adapter.nuclear_weight(own.lam, own.rank)


def all_methods(problem: Problem) -> dict[str, Method]:
    """List every optimizer, every adapter and every schedule with stages that can run on a problem.

    Parameters
    ----------
    problem : Problem
        With the ``lora`` adapter.

    Returns
    -------
    dict of str to Method
        By label. Optimizers on LoRA; adapters with ``gd``, or ``proximal_gd`` where they need it; schedules with
        ``gd`` on LoRA, or on the first adapter that they accept. Schedules that merge run with ``lam = 0``. SoRA has
        unit columns and the decay's weight as its gate penalty, so that its convex optimum is LoRA's. What refuses
        the problem is left out.
    """
    methods = {name: Method(name) for name in optimizer_registry.classes() if name != "proximal_gd"}
    for name in adapter_registry.classes():
        if name == "lora":
            methods["asymmetric lora"] = Method(adapter=LoRA(frozen="A"))
        else:
            methods[name] = _adapter_method(name, problem)
    for name, cls in schedule_registry.classes().items():
        if cls().has_stages:
            fitting = (method for method in _schedule_methods(name) if method.refusal(problem) is None)
            methods[name] = next(fitting, Method(schedules=name))
    return {label: method for label, method in methods.items() if method.refusal(problem) is None}


def _adapter_method(name: str, problem: Problem) -> Method:
    if name == "sora":
        return Method("proximal_gd", "revive", SoRA(problem.lam, "unit_columns"), "gaussian", lam=0.0)
    adapter = adapter_registry.make(name, "adapter")
    return Method("proximal_gd" if adapter.proximal else "gd", adapter=adapter)


def _schedule_methods(name: str) -> Iterator[Method]:
    """Yield a schedule on the problem's own adapter, then on each other one but SoRA."""
    lam = 0.0 if schedule_registry.classes()[name].merges else None
    yield Method("gd", name, lam=lam)
    for adapter, cls in adapter_registry.classes().items():
        if adapter not in ("lora", "sora"):
            yield Method("proximal_gd" if cls.proximal else "gd", name, adapter, lam=lam)


# ---------------------------------------------------------------------- references
def convex_reference(objective: Objective, weight: float) -> float:
    """Return ``min f(X) + weight ||X||_*`` over all ``X``; for weight 0 by L-BFGS on the whole update."""
    if weight > 0.0:
        return solve_convex(Problem(objective, min(objective.shape), weight)).fun
    problem, start = full_fine_tuning(objective)
    return solve(problem, "lbfgs", start, stop=StoppingRule(max_iter=5000, grad_tol=1e-10)).fun


# ---------------------------------------------------------------------- runs
@dataclass(frozen=True)
class Line:
    """One method's outcome over the seeds.

    Attributes
    ----------
    label : str
        The method.
    step_size : float or None
        The step chosen by the rule; None where there is none.
    weight : float
        Of the nuclear norm in its reference.
    reference : float
        The optimum of that convex problem.
    missing : ndarray
        ``(objective - reference)/(f(0) - reference)`` of each seed: the share of the possible decrease that is
        missing, 0 at the optimum and 1 at the frozen weight; inf where the run diverged, an upper bound where the
        penalty is not convex.
    oracle_calls, search_calls : int
        Of the last seed's run, and of the whole step-size search.
    seconds, compile_seconds : float
        Mean time of a run without compilation, and compilation in all runs.
    rank : int
        Of the whole update, last seed.
    metrics : dict
        Quality of the update at the last seed, if it did not diverge.
    curve : list of (int, float)
        Iteration and objective of the first seed.
    """

    label: str
    step_size: float | None
    weight: float
    reference: float
    missing: Array
    oracle_calls: int
    search_calls: int
    seconds: float
    compile_seconds: float
    rank: int
    metrics: dict[str, float]
    curve: list[tuple[int, float]] = field(repr=False)


def run_method(
    label: str,
    method: Method,
    problem: Problem,
    budget: int,
    seeds: Iterable[int],
    reference: float,
    metrics: Callable[[Array], dict[str, float]] | None = None,
) -> Line:
    """Choose the step size on the first seed, then run every seed with it.

    Parameters
    ----------
    label : str
        Name in tables.
    method : Method
        What is run.
    problem : Problem
        What it is run on.
    budget : int
        Oracle calls of each run (a line search under way may exceed it by a few).
    seeds : iterable of int
        One run each.
    reference : float
        What the objective is held against.
    metrics : callable, optional
        Measures of quality of the whole update (m, n).
    """
    numbers = list(seeds)
    step, search_calls = choose_step(method, problem, budget, numbers[0])
    method = method if step is None else method.with_step(step)
    results = [_run(method, problem, budget, seed) for seed in numbers]
    last = results[-1]
    finite = np.isfinite(last.fun)
    X = last.X if finite else np.zeros(problem.shape)
    values = np.linalg.svd(X, compute_uv=False)
    trace = results[0].trace
    zero = problem.objective.value_and_grad(np.zeros(problem.shape, problem.dtype))[0]
    return Line(
        label,
        step,
        reference_weight(method, problem),
        reference,
        np.array([_value(result) - reference for result in results]) / (zero - reference),
        last.nfev,
        search_calls,
        float(np.mean([result.seconds for result in results])),
        float(sum(result.compile_seconds for result in results)),
        int(np.sum(values > 1e-6 * values[0])) if values[0] > 0.0 else 0,
        metrics(X) if finite and metrics is not None else {},
        list(zip(trace.iteration, trace.value)),
    )


def choose_step(method: Method, problem: Problem, budget: int, seed: int) -> tuple[float | None, int]:
    """Return the step size with the least final objective, and the oracle calls that the search took.

    From the method's own default step (the inverse curvature bound at the start, or Adam's) in factors of 4, upward
    and downward until it gets worse. None for methods without a step size.
    """
    if not method.has_step:
        return None, 0
    first = method.default_step(problem, np.random.default_rng(seed))
    calls = 0
    known: dict[int, float] = {}

    def value(power: int) -> float:
        nonlocal calls
        if power not in known:
            result = _run(method.with_step(first * STEP_RATIO**power), problem, budget, seed)
            calls += result.nfev
            known[power] = _value(result)
        return known[power]

    best = 0
    while value(best) == math.inf and best > -SEARCH_LIMIT:
        best -= 1
    for direction in (1, -1):
        while abs(best) < SEARCH_LIMIT and value(best + direction) < value(best):
            best += direction
    return first * STEP_RATIO**best, calls


def _run(method: Method, problem: Problem, budget: int, seed: int) -> Result:
    def spent(now: Intermediate) -> bool:
        return now.nfev >= budget

    return solve(problem, method, seed=seed, stop=StoppingRule(max_iter=budget, grad_tol=1e-12), callback=spent)


def _value(result: Result) -> float:
    return math.inf if result.status is Status.DIVERGED or not math.isfinite(result.fun) else result.fun


@dataclass(frozen=True)
class SideBySide:
    """The outcome of :func:`side_by_side`."""

    problem: Problem
    budget: int
    lines: list[Line]

    def table(self) -> str:
        """Return the lines as text, best median first."""
        header = (
            f"{'method':<18} {'missing to own optimum (median, range of seeds)':>48} {'weight':>8} {'step':>9} "
            f"{'rank':>4} {'calls':>6} {'s':>7} {'compile s':>9}  quality"
        )
        rows = [header]
        for line in sorted(self.lines, key=lambda line: float(np.median(line.missing))):
            values = line.missing
            spread = f"{np.median(values):12.3e}  ({values.min():.1e} to {values.max():.1e})"
            step = "-" if line.step_size is None else f"{line.step_size:.2e}"
            quality = ", ".join(f"{name} {value:.3f}" for name, value in line.metrics.items())
            rows.append(
                f"{line.label:<18} {spread:>48} {line.weight:8.3g} {step:>9} {line.rank:4d} {line.oracle_calls:6d} "
                f"{line.seconds:7.3f} {line.compile_seconds:9.3f}  {quality}".rstrip()
            )
        return "\n".join(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        rows = []
        for line in self.lines:
            row = {entry.name: getattr(line, entry.name) for entry in fields(line)}
            row["missing"] = [float(value) for value in line.missing]
            rows.append(row)
        return {"budget": self.budget, "lines": rows}


def side_by_side(
    problem: Problem,
    budget: int = 1000,
    seeds: Iterable[int] = (0, 1, 2),
    metrics: Callable[[Array], dict[str, float]] | None = None,
    names: Iterable[str] | None = None,
) -> SideBySide:
    """Run every method of :func:`all_methods` (or those named) on a problem.

    Parameters
    ----------
    problem : Problem
        Convex ``f``, ``lora`` adapter.
    budget : int
        Oracle calls of each run.
    seeds : iterable of int
        Starts; the step size is chosen on the first.
    metrics : callable, optional
        Measures of quality of the whole update.
    names : iterable of str, optional
        Labels to run, all by default.
    """
    as_integer(budget, "budget", 2)
    methods = all_methods(problem)
    if names is not None:
        wanted = set(names)
        missing = wanted - set(methods)
        if missing:
            accepted = ", ".join(methods)
            raise ValueError(f"names: {', '.join(sorted(missing))} cannot run here. Accepted: {accepted}.")
        methods = {label: method for label, method in methods.items() if label in wanted}
    numbers = list(seeds)
    references: dict[float, float] = {}
    lines = []
    for label, method in methods.items():
        weight = reference_weight(method, problem)
        if weight not in references:
            references[weight] = convex_reference(problem.objective, weight)
        lines.append(run_method(label, method, problem, budget, numbers, references[weight], metrics))
    return SideBySide(problem, budget, lines)
