"""All methods on one problem: same start, same budget of oracle calls, step sizes chosen by one rule.

The methods are read from the folders of optimizers, adapters and schedules, so a new one takes part without being
listed anywhere. Each is held against the convex optimum of its own penalty, or against a lower bound where its
penalty is not convex.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from .._validate import Array, as_integer
from ..adapters import registry as adapter_registry
from ..adapters.base import Adapter
from ..adapters.lora import LoRA
from ..adapters.sora import SoRA
from ..convex import solve_convex
from ..engine import solve
from ..inits import registry as init_registry
from ..monitor import Intermediate, StoppingRule
from ..objectives.base import Objective
from ..optimizers import registry as optimizer_registry
from ..optimizers.base import DrivenOptimizer, Optimizer
from ..problem import Problem
from ..result import Result, Status
from ..schedules import registry as schedule_registry
from ..schedules.base import Schedule
from .learn_forget import full_fine_tuning

# The step-size search multiplies by this until neither neighbour is better, at most so often in each direction.
STEP_RATIO = 4.0
SEARCH_LIMIT = 6


@dataclass(frozen=True)
class Method:
    """A way to run: an optimizer, an adapter, a schedule and an init, on the problem with or without decay."""

    label: str
    problem: Problem
    optimizer: Optimizer
    schedule: Schedule | None = None
    init: str = "lora"

    @property
    def weight(self) -> float:
        """The weight of the nuclear norm in the convex problem that bounds this method's objective from below."""
        return self.problem.adapter.nuclear_weight(self.problem.lam, self.problem.rank)

    @property
    def has_step(self) -> bool:
        """Whether there is a step size to choose."""
        return not isinstance(self.optimizer, DrivenOptimizer) and any(
            entry.name == "step_size" for entry in fields(self.optimizer)
        )


def all_methods(problem: Problem) -> list[Method]:
    """List every optimizer, every adapter and every schedule with stages that can run on a problem.

    Parameters
    ----------
    problem : Problem
        With the ``lora`` adapter.

    Returns
    -------
    list of Method
        Optimizers on LoRA; adapters with ``gd``, or ``proximal_gd`` where they need it; schedules with ``gd`` on the
        first adapter that they accept. Schedules that merge run with ``lam = 0``. SoRA has unit columns and the
        decay's weight as its gate penalty, so that its convex optimum is LoRA's. What refuses the problem is left
        out.
    """
    methods = [
        Method(name, problem, cls()) for name, cls in optimizer_registry.classes().items() if name != "proximal_gd"
    ]
    for name, adapter in _adapters(problem).items():
        if name == "lora":
            methods.append(Method("asymmetric lora", problem.replace(adapter=LoRA(frozen="A")), _partner(adapter)))
            continue
        methods += _candidates(name, partial(_with_adapter, problem, adapter))
    for name, cls in schedule_registry.classes().items():
        if cls().has_stages:
            methods += _candidates(name, partial(_with_schedule, problem, cls()))
    return [method for method in methods if _accepts(method)]


def _adapters(problem: Problem) -> dict[str, Adapter]:
    made = {name: cls() for name, cls in adapter_registry.classes().items()}
    if "sora" in made:
        made["sora"] = SoRA(problem.lam, "unit_columns")
    return made


def _candidates(label: str, make: Callable[[], Method]) -> Iterator[Method]:
    try:
        yield replace(make(), label=label)
    except ValueError:
        return


def _with_adapter(problem: Problem, adapter: Adapter) -> Method:
    if isinstance(adapter, SoRA):
        schedule = schedule_registry.make("revive", "schedule")
        return Method("", problem.replace(adapter=adapter, lam=0.0), _partner(adapter), schedule, "gaussian")
    return Method("", problem.replace(adapter=adapter), _partner(adapter))


def _with_schedule(problem: Problem, schedule: Schedule) -> Method:
    if schedule.merges:
        problem = problem.replace(lam=0.0)
    for name, adapter in _adapters(problem).items():
        candidate = problem if name == problem.adapter.name else problem.replace(adapter=adapter)
        if isinstance(adapter, SoRA):
            continue
        if schedule.refusal(candidate) is not None:
            continue
        return Method("", candidate, _partner(candidate.adapter), schedule)
    raise ValueError(f"schedule: no adapter suits {schedule.name!r}")


def _partner(adapter: Adapter) -> Optimizer:
    return optimizer_registry.make("proximal_gd" if adapter.proximal else "gd", "optimizer")


def _accepts(method: Method) -> bool:
    try:
        solve(
            method.problem,
            method.optimizer,
            method.init,
            schedule=method.schedule,
            stop=StoppingRule(max_iter=1),
            callback=lambda _: True,
        )
    except (ValueError, NotImplementedError):
        return False
    return True


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
    method: Method,
    budget: int,
    seeds: Iterable[int],
    reference: float,
    metrics: Callable[[Array], dict[str, float]] | None = None,
) -> Line:
    """Choose the step size on the first seed, then run every seed with it.

    Parameters
    ----------
    method : Method
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
    step, search_calls = choose_step(method, budget, numbers[0])
    results = [_run(method, step, budget, seed) for seed in numbers]
    last = results[-1]
    finite = np.isfinite(last.fun)
    X = last.X if finite else np.zeros(method.problem.shape)
    values = np.linalg.svd(X, compute_uv=False)
    trace = results[0].trace
    zero = method.problem.objective.value_and_grad(np.zeros(method.problem.shape, method.problem.dtype))[0]
    return Line(
        method.label,
        step,
        method.weight,
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


def choose_step(method: Method, budget: int, seed: int) -> tuple[float | None, int]:
    """Return the step size with the least final objective, and the oracle calls that the search took.

    From the method's own default step (the inverse curvature bound at the start, or Adam's) in factors of 4, upward
    and downward until it gets worse. None for methods without a step size.
    """
    if not method.has_step:
        return None, 0
    first: float | None = getattr(method.optimizer, "step_size", None)
    if first is None:
        problem, theta = _start(method, seed)
        first = method.optimizer.default_step(problem, theta)
    calls = 0
    known: dict[int, float] = {}

    def value(power: int) -> float:
        nonlocal calls
        if power not in known:
            result = _run(method, first * STEP_RATIO**power, budget, seed)
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


def _start(method: Method, seed: int) -> tuple[Problem, Array]:
    """Return the problem and parameters of the first stage, for the default step."""
    from ..schedules.base import Stage

    rng = np.random.default_rng(seed)
    start = init_registry.make(method.init, "init").start(method.problem, rng)
    stage = Stage(method.problem, method.problem.join(start.A, start.B))
    if method.schedule is not None:
        stage = method.schedule.start(stage, rng)
    return stage.problem, stage.theta


def _run(method: Method, step: float | None, budget: int, seed: int) -> Result:
    optimizer = method.optimizer if step is None else replace(method.optimizer, **{"step_size": step})

    def spent(now: Intermediate) -> bool:
        return now.nfev >= budget

    stop = StoppingRule(max_iter=budget, grad_tol=1e-12)
    arguments: dict[str, Any] = {"schedule": method.schedule, "stop": stop, "callback": spent}
    return solve(method.problem, optimizer, method.init, seed, **arguments)


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
        missing = wanted - {method.label for method in methods}
        if missing:
            accepted = ", ".join(method.label for method in methods)
            raise ValueError(f"names: {', '.join(sorted(missing))} cannot run here. Accepted: {accepted}.")
        methods = [method for method in methods if method.label in wanted]
    numbers = list(seeds)
    references: dict[float, float] = {}
    lines = []
    for method in methods:
        if method.weight not in references:
            references[method.weight] = convex_reference(problem.objective, method.weight)
        lines.append(run_method(method, budget, numbers, references[method.weight], metrics))
    return SideBySide(problem, budget, lines)
