"""Run several methods on one problem and hold each against the optimum of what it minimises."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.digest import digest
from .._support.files import PathLike
from .._support.interruptions import patience
from .._support.keywords import names_keywords
from .._support.validate import as_flag, as_instance, as_integer, as_iterable, as_number, as_path, require
from ..certificates import Certificate, certify
from ..convex import ConvexResult, solve_convex
from ..engine import method_and_start, own_problem, refuse_other_parameters
from ..executors import Executor
from ..executors import registry as executors
from ..inits import Init
from ..method import Method
from ..monitor import StoppingRule, rule_of
from ..objectives import as_held_out
from ..objectives.base import Objective
from ..optimizers import Optimizer
from ..problem import Problem
from ..result import Result
from ..studies.descriptions import method_text
from ..studies.store import Store
from ._kept import Cells, StoredRuns, folder_of
from .outcome import Comparison
from .rows import Row, believed, median_run, objective_of, row_of
from .showcase import all_methods
from .targets import Optima, Target, target_of

MOST_STARTS = 10**6


# What stands for every method there is.
EVERYTHING = "all"


@names_keywords
def compare(
    problem: Problem,
    methods: str | Method | Optimizer | Iterable[str | Method | Optimizer],
    seeds: int | Iterable[int] = 1,
    budget: int | None = None,
    tune: bool = False,
    *,
    reference: ConvexResult | None = None,
    init: str | Init | tuple[Any, Any] | Result | None = None,
    stop: StoppingRule | None = None,
    tol: float = 1e-6,
    held_out: Objective | None = None,
    store: PathLike | None = None,
    backend: str | Executor = "serial",
    n_jobs: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Run several methods from the same starts and hold each against the optimum of what it minimises.

    Parameters
    ----------
    problem : Problem
        What to solve.
    methods : str, Method, Optimizer or iterable of them
        The methods, as :func:`lorasolve.solve` takes them; ``"all"`` is every optimizer, adapter and schedule that
        can run here, as each wants to be shown.
    seeds : int or iterable of int
        Number of starts (seeds 0, 1, ..), or the seeds themselves. A row shows the run of median objective.
    budget : int, optional
        Most oracle calls of a run (a line search under way may exceed it by a few), and so most iterations, over which
        schedules run.
    tune : bool
        Choose each step size on the first seed, by one rule (``lorasolve.comparison.tuning.choose_step``).
    reference : ConvexResult, optional
        The convex optimum; computed here by default, where the problem has one.
    init : str, Init, (A, B) or Result, optional
        The start of every method, as in :func:`lorasolve.solve`; by default each method's own.
    stop : StoppingRule, optional
        When a run stops.
    tol : float
        Certified relative gap up to which a point counts as the global optimum, below 1.
    held_out : Objective, optional
        The loss on held-out data: its metrics are shown, and steps of methods that do not minimise ``L`` are chosen
        by it. Without it the metrics are those of the training data.
    store : path, optional
        A folder that keeps every finished run and chosen step, as that of a :class:`lorasolve.Study`: the same call
        goes on where it stopped. By default nothing is kept.
    backend : str or Executor
        Who does the runs, each of a method from a start: an executor of ``lorasolve list executors``. Step sizes are
        chosen method by method.
    n_jobs : int, optional
        Number of workers; by default one a core.
    progress : bool
        Show progress on stderr: a line rewritten in place on a terminal, one every 30 s in logs.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, TypeError
        For an empty list, a method or seed given twice, unknown names, held-out data of another shape, the reference
        of another problem and combinations that make no sense, before anything is run.
    CellError
        If a run fails; with a ``store`` the others are kept.

    Notes
    -----
    Ctrl-C ends it once the run in progress is finished, a second Ctrl-C at once; after SIGTERM that run has a few
    seconds. The rows are those of the methods whose runs are all finished.
    """
    as_instance(problem, "problem", Problem)
    problem.require_one_matrix("compare")
    chosen = _methods(problem, methods)
    _refuse_twice(chosen)
    _refuse_start(problem, chosen, init)
    numbers = _seeds(seeds)
    budget = None if budget is None else as_integer(budget, "budget", 2)
    rule = _within(budget, rule_of(stop))
    tol = as_number(tol, "tol", 0.0, 1.0, open_high=True)
    as_flag(tune, "tune")
    as_flag(progress, "progress")
    executor = executors.make(backend, "backend")
    executor.workers(n_jobs)
    if reference is not None:
        _refuse_other(problem, as_instance(reference, "reference", ConvexResult))
    if held_out is not None:
        held_out = as_held_out(held_out, problem.shape)
    if store is None:
        executor.require()
    else:
        Store.begun(as_path(store, "store"), executor.require)
    optima = Optima(problem)
    below: Certificate | None = None
    runs: list[list[Result]] = []
    rows: list[Row] = []
    try:
        with patience():
            if reference is None and has_convex_counterpart(problem):
                reference = solve_convex(problem, progress=progress)
                below = reference.certificate
            elif reference is not None:
                # One that is given may be about data that differ by rounding.
                below = certify(problem, reference, tol=tol)
            interrupted = reference is not None and reference.interrupted
            if reference is not None:
                _learn(optima, problem, reference)
            if not interrupted:
                # Where nothing is kept, two methods need no more than two names.
                names = [str(k) if store is None else method_text(method) for k, method in enumerate(chosen)]
                cells = Cells(problem, init, rule, held_out, dict(zip(names, chosen)))
                with folder_of(store) as folder:
                    workers = {"backend": executor, "n_jobs": n_jobs, "progress": progress}
                    kept = StoredRuns(cells, folder, store is not None, workers)
                    ended = kept.ends(names, numbers, tune)
                for tuned, results in ended:
                    target = _target(tuned.method, problem, init)
                    least = optima.of(target, results)
                    rows.append(row_of(problem, tuned, results, target, least, tol, held_out, below))
                    runs.append(results)
                interrupted = kept.interrupted
    except KeyboardInterrupt:
        interrupted = True
    if _is_everything(methods):
        order = sorted(range(len(rows)), key=lambda k: objective_of(runs[k][median_run(runs[k])]))
        rows, runs = [rows[k] for k in order], [runs[k] for k in order]
    results = [ended[median_run(ended)] for ended in runs]
    return Comparison(problem, reference, believed(rows, reference), results, runs, numbers, budget, interrupted)


def has_convex_counterpart(problem: Problem) -> bool:
    """Whether ``min f(X) + (lam/s) ||X||_*`` is a convex problem that this problem factors."""
    return problem.objective.facts.convex is True and problem.lam > 0.0 and problem.adapter.low_rank


# Rounding of a value whose terms cancel, as a share of them.
_SAME_VALUE = 1e-8


def _refuse_other(problem: Problem, reference: ConvexResult) -> None:
    """Refuse the optimum of another problem: of other data, another ``lam/s``, or for ``lam = 0`` another rank."""
    other = reference.certificate.problem
    if other.several or other.shape != problem.shape:
        raise ValueError(f"reference: expected an optimum of shape {problem.shape}, got that of {other!r}")
    if not problem.adapter.low_rank:
        raise ValueError(f"reference: adapter {problem.adapter.name!r} has no convex counterpart, got {reference!r}")
    same = math.isclose(other.lam_effective, problem.lam_effective, rel_tol=1e-12)
    if not same or (problem.lam == 0.0 and other.rank != problem.rank):
        raise ValueError(f"reference: expected the optimum of {problem!r}, got that of {other!r}")
    own = problem.replace(objective=problem.objective.in_float64())
    value = own.factored_convex_value(reference.A / own.scale, reference.B)
    if not abs(value - reference.fun) <= _SAME_VALUE * (abs(reference.fun) + abs(own.value_at_zero)):
        raise ValueError(
            f"reference: expected the optimum of this problem, got one with F = {reference.fun:.10g} where this "
            f"problem has F = {value:.10g}"
        )


def _is_everything(methods: Any) -> bool:
    return isinstance(methods, str) and methods == EVERYTHING


def _methods(problem: Problem, given: Any) -> list[Method]:
    """Return the methods, each known to run on the problem."""
    if _is_everything(given):
        return all_methods(problem)
    listed = [given] if isinstance(given, (str, Method, Optimizer)) else list(as_iterable(given, "methods"))
    if not listed:
        raise ValueError("methods: is empty; give at least one, for example 'gd'")
    if any(_is_everything(one) for one in listed):
        raise ValueError(f"methods: {EVERYTHING!r} is every method, and is given alone and in no list")
    methods = [Method.of(one, "methods") for one in listed]
    for method in methods:
        require(method, "methods", method.refusal(problem))
    return methods


def _refuse_twice(methods: list[Method]) -> None:
    """Refuse a method that is given twice, however it is written: its rows would be the same runs.

    So are classes of one name, as one that is made from another has: nobody could tell their rows apart.
    """
    for k, method in enumerate(methods):
        for other in methods[:k]:
            if str(method) != str(other):
                continue
            if _same(method, other):
                raise ValueError(f"methods: expected different methods, got {str(method)!r} twice")
            for one, another in zip(_parts(other), _parts(method)):
                if type(one) is not type(another):
                    raise ValueError(
                        f"methods: expected names that tell methods apart, got {one.name!r} of the classes "
                        f"{type(one).__name__} and {type(another).__name__}; give yours a name"
                    )


def _parts(method: Method) -> list[Any]:
    return [method.optimizer, *method.schedules, *([] if method.adapter is None else [method.adapter]), method.init]


def _same(method: Method, other: Method) -> bool:
    try:
        return digest(method) == digest(other)
    except TypeError:  # of what a setting holds nothing can be said
        return method is other


def _refuse_start(problem: Problem, methods: list[Method], init: str | Init | tuple[Any, Any] | Result | None) -> None:
    """Refuse what is no start, before the optimum is computed; a result has to be one for every method's adapter."""
    _, given = method_and_start(methods[0], init)
    if isinstance(given, tuple):
        problem.checked_factors(*given)
    if isinstance(given, Result):
        for method in methods:
            refuse_other_parameters(own_problem(problem, method, given), given)


def _within(budget: int | None, rule: StoppingRule) -> StoppingRule:
    """Return a stopping rule with a limit of calls in place of its own."""
    if budget is None:
        return rule
    # An iteration is at least one call: schedules over more iterations would be at their beginning at the end.
    return replace(rule, max_calls=budget, max_iter=min(rule.max_iter, budget))


def _learn(optima: Optima, problem: Problem, reference: ConvexResult) -> None:
    """Note the optimum of the problem itself, where its own target has one."""
    own = target_of(Method(), problem)
    if own.weight is not None or own.rank is not None:
        optima.learn(own, reference.fun)


def _seeds(given: int | Iterable[int]) -> list[int]:
    if isinstance(given, (int, np.integer)):
        return list(range(as_integer(given, "seeds", 1, MOST_STARTS)))
    # What goes on for ever is not listed.
    listed = itertools.islice(as_iterable(given, "seeds"), MOST_STARTS + 1)
    seeds = [as_integer(seed, "seeds", 0) for seed in listed]
    if not seeds:
        raise ValueError("seeds: is empty; give a number of starts or at least one seed")
    if len(seeds) > MOST_STARTS:
        raise ValueError(f"seeds: expected at most {MOST_STARTS} seeds, got more")
    ((seed, count),) = Counter(seeds).most_common(1)
    if count > 1:
        raise ValueError(f"seeds: expected different seeds, got {seed} twice")
    return seeds


def _target(method: Method, problem: Problem, init: str | Init | tuple[Any, Any] | Result | None) -> Target:
    """Return what a method minimises from a start that replaces its own, if there is one."""
    method, given = method_and_start(method, init)
    return target_of(method, problem, given)
