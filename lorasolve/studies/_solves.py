"""The cells of a study: each a run of a solver, those that fit together solved in blocks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.digest import SIZE
from .._support.files import PathLike
from .._support.text import for_json
from .._support.threads import blas_threads
from .._support.validate import Array
from ..engine import method_and_start, solve
from ..method import Method
from ..monitor import StoppingRule
from ..problem import Problem
from ..result import Result
from ..status import Status
from ..sweep import Run, fits, prepared, run_blocks, run_prepared
from ._cells import canonical
from ._work import BLOCK, ERRORS, Cell, Worker, asked_to_stop, in_words, summary
from .descriptions import init_text, method_text, problem_facts, rule_text
from .store import Entry, json_text

if TYPE_CHECKING:
    from .study import Study

# Objectives and problems that are kept for the runs to come.
KEPT = 16
# Hexadecimal digits of a seed: what every program that reads JSON holds exactly.
SEED_DIGITS = 13


@dataclass
class RunCell(Cell):
    """A run of a solver on its way."""

    seed: int = 0
    problem: Problem | None = None
    method: Any = None
    given: Any = None
    stop: StoppingRule = field(default_factory=StoppingRule)
    prepared: Run | None = field(default=None, repr=False)


class Solver(Worker):
    """Runs a study's cells.

    Parameters
    ----------
    study : Study
        What the cells mean.
    store : path
        Where the runs go.
    threads : int
        Threads of every kernel and BLAS call.
    describe : Describe, optional
        One that knows some of the cells already.
    """

    describe: Describe

    def __init__(self, study: Study, store: PathLike, threads: int, describe: Describe | None = None) -> None:
        super().__init__(describe or Describe(study), store, threads)
        self.study = study
        self._quadratics: dict[int, Any] = {}

    def _block(self, indices: Array, seconds: float, done: Set[str]) -> tuple[list[Entry], Array]:
        """Return the runs of cells that were finished in the time, and the cells that were not."""
        began = time.perf_counter()
        cells = [cell for cell in map(self.describe, indices.tolist()) if cell.key not in done]
        entries: dict[int, Entry] = {}
        groups: dict[Any, list[RunCell]] = {}
        for cell in cells:
            if self._fits(cell):
                assert cell.problem is not None
                kind = (cell.problem.shape, cell.problem.rank, cell.problem.dtype, cell.stop)
                groups.setdefault(kind, []).append(cell)
        for group in groups.values():
            entries |= self._solve_blocks(group)
        for cell in cells:
            # At least one run is done, however short the time, so that every chunk makes progress.
            if entries and (asked_to_stop() or time.perf_counter() - began > seconds):
                break
            if cell.index not in entries:
                entries[cell.index] = self._solve_single(cell)
        unfinished = [cell.index for cell in cells if cell.index not in entries]
        return list(entries.values()), np.array(unfinished, np.int64)

    def _fits(self, cell: RunCell) -> bool:
        """Whether the run goes through blocks; then it is prepared."""
        if cell.error is not None:
            return False
        try:
            run = batched(cell)
        except ERRORS as error:
            cell.error = in_words(error)
            return False
        if run is None or self._quadratic(run) is None:
            return False
        cell.prepared = run
        return True

    def _quadratic(self, run: Run) -> Any:
        objective = run.problem.objective
        if id(objective) not in self._quadratics:
            if len(self._quadratics) >= KEPT:
                self._quadratics.clear()
            # The objective itself is kept too, so that no other one can get its identity.
            self._quadratics[id(objective)] = objective.kernels.quadratic()
            self._quadratics[-id(objective)] = objective
        return self._quadratics[id(objective)]

    def _solve_blocks(self, group: list[RunCell]) -> dict[int, Entry]:
        runs = [cell.prepared for cell in group if cell.prepared is not None]
        made = run_blocks(runs, group[0].stop, self._quadratics)
        entries = {}
        m, n = runs[0].problem.shape
        shapes = [[m, n, runs[0].problem.rank]]
        for k, cell in enumerate(group):
            if not made.compiled[k]:
                continue  # to be solved by itself, which may fail
            result: dict[str, Any] = {
                "status": made.status[k].label,
                "fun": for_json(float(made.fun[k])),
                "grad_norm": for_json(float(made.grad_norm[k])),
                "nit": int(made.nit[k]),
                "nfev": made.result(k).nfev if made.status[k] is Status.DIVERGED else int(made.nit[k]) + 1,
                "shapes": shapes,
            }
            vector = np.concatenate([made.A[k].ravel(), made.B[k].ravel()])
            error = self._measure(cell, made.result(k), result) if self.study.measures else None
            facts = {"seconds": made.seconds / len(group), "threads": self.threads, "batched": True}
            entries[cell.index] = self._entry(cell, result, error, facts, vector)
        return entries

    def _solve_single(self, cell: RunCell) -> Entry:
        began = time.perf_counter()
        result: dict[str, Any] = {}
        vector = None
        error = cell.error
        if error is None:
            try:
                assert cell.problem is not None
                end = solve(cell.problem, cell.method, cell.given, cell.seed, stop=cell.stop)
                if end.status is Status.INTERRUPTED:
                    # The solver has kept half a run, which is none.
                    raise KeyboardInterrupt
            except ERRORS as problem:
                error = in_words(problem)
            else:
                result = _summary(end)
                parts = [end.theta] if end.merged is None else [end.theta, end.merged.ravel()]
                vector = np.concatenate(parts)
                error = self._measure(cell, end, result)
        facts = {"seconds": time.perf_counter() - began, "threads": self.threads, "batched": False}
        return self._entry(cell, result, error, facts, vector)

    def _measure(self, cell: RunCell, end: Result, result: dict[str, Any]) -> str | None:
        """Add what the measures say to a result; return the error of the first that fails, if one does.

        The others say what they do without it: what is known of a run must not depend on what else is asked of it.
        """
        found = result["measures"] = {}
        first = None
        for name, measure in self.study.measures.items():
            try:
                assert cell.problem is not None
                found[name] = summary(measure(cell.problem, _with_own_arrays(end)))
            except ERRORS as error:
                first = first or f"measure {name!r}: {in_words(error)}"
        return first

    def _entry(
        self, cell: RunCell, result: dict[str, Any], error: str | None, facts: dict[str, Any], vector: Array | None
    ) -> Entry:
        if error is not None:
            result["error"] = error
        if vector is not None:
            vector = np.ascontiguousarray(vector, np.float64)
            result["parameters"] = hashlib.blake2b(vector.tobytes(), digest_size=8).hexdigest()
        keep = vector if self.study.keep_parameters else None
        return Entry(cell.key, cell.run, error is None, result, facts, keep)


def _with_own_arrays(end: Result) -> Result:
    """Return a result whose arrays may be written to: what the next measure is given is what the run has reached."""
    A, B, _ = end.problem.split(end.theta.copy())
    merged = None if end.merged is None else end.merged.copy()
    return replace(end, A=A, B=B, theta=end.theta.copy(), merged=merged)


def batched(cell: RunCell) -> Run | None:
    """Return the prepared run of a cell if it goes through blocks where its objective is quadratic, else None."""
    problem, method = cell.problem, cell.method
    if problem is None or problem.several or method.schedules:
        return None
    if method.optimizer.batched_step(method.problem(problem)) is None:
        return None
    run = prepared(Run(problem, method, cell.given, cell.seed))
    return run if fits(run, cell.stop) else None


def repeated(cell: RunCell) -> Result:
    """Return the run of a cell, by the route that a study takes: blocks round otherwise than single runs."""
    assert cell.problem is not None
    run = batched(cell)
    if run is None:
        return solve(cell.problem, cell.method, cell.given, cell.seed, stop=cell.stop)
    return run_prepared([run], cell.stop).result(0)


class Describe:
    """Says what each cell of a study is; problems and methods that several cells share are made once."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._problems: dict[Any, Any] = {}
        self._methods: dict[Any, Any] = {}
        self._inits: dict[Any, Any] = {}
        self._objectives: dict[str, Any] = {}
        self._fixed = json_text(study.fixed())
        self._rules: dict[StoppingRule, str] = {}

    def __call__(self, index: int) -> RunCell:
        """Return the description of cell ``index``, its key and its seed."""
        study = self.study
        positions = study.axes.positions(index)
        labels = study.axes.cell(positions)
        number = labels.get("seed", 0)
        problem, problem_text, error = self._kept(self._problems, study.problem_axes, positions, self._problem)
        method, method_text, wrong = self._kept(self._methods, study.method_axes, positions, self._method)
        init, init_text, unfit = self._kept(self._inits, study.init_axes, positions, self._init)
        stop = study.stop_of() if method is None else study.stop_of(method.optimizer)
        if stop not in self._rules:
            self._rules[stop] = rule_text(stop)
        what = f'"problem":{problem_text},"init":{init_text},"seed":{number}'
        seed = int(hashlib.blake2b(what.encode(), digest_size=SIZE).hexdigest()[:SEED_DIGITS], 16)
        rest = f'{what},"random":{seed},"method":{method_text},"stop":{self._rules[stop]},"study":{self._fixed}'
        run = f'{{"cell":{json_text(labels)},{rest}}}'
        described = f'{{"cell":{json_text(canonical(labels))},{rest}}}'
        key = hashlib.blake2b(described.encode(), digest_size=SIZE).hexdigest()
        cell = RunCell(index, key, run, error or wrong or unfit, seed=seed, problem=problem, stop=stop)
        if cell.error is None:
            try:
                cell.method, cell.given = method_and_start(method, init)
            except ERRORS as problem_error:
                cell.error = in_words(problem_error)
        return cell

    def _kept(
        self,
        known: dict[Any, Any],
        axes: tuple[int, ...],
        positions: tuple[int, ...],
        make: Callable[[tuple[int, ...]], tuple[Any, str]],
    ) -> tuple[Any, str, str | None]:
        """Return what is made of a cell's values on some axes, its text, and the error if it could not be made."""
        key = tuple(positions[axis] for axis in axes)
        if key not in known:
            if len(known) >= BLOCK:
                known.clear()
            try:
                known[key] = (*make(positions), None)
            except ERRORS as error:
                known[key] = (None, "null", in_words(error))
        found: tuple[Any, str, str | None] = known[key]
        return found

    def _problem(self, positions: tuple[int, ...]) -> tuple[Problem, str]:
        # Data that are computed here have the same bits, and so the same digest, whatever the threads of the worker.
        with blas_threads(1):
            problem = self.study.problem_of(self.study.axes.values(positions))
        loss: Any = problem.loss if problem.several else problem.objective
        loss = getattr(loss, "user", loss)
        mark = self.study.digest_of(loss)
        if not problem.several:
            if mark not in self._objectives and len(self._objectives) >= KEPT:
                self._objectives.clear()
                self._problems.clear()
            # Equal data are one object, so that its runs share blocks.
            problem = problem.replace(objective=self._objectives.setdefault(mark, problem.objective))
        return problem, json_text(problem_facts(problem, mark))

    def _method(self, positions: tuple[int, ...]) -> tuple[Method, str]:
        method = Method.of(self.study.method_of(self.study.axes.values(positions)))
        return method, json_text(method_text(method))

    def _init(self, positions: tuple[int, ...]) -> tuple[Any, str]:
        init = self.study.init_of(self.study.axes.values(positions))
        return init, init_text(init)


def _summary(end: Result) -> dict[str, Any]:
    problem = end.problem
    return {
        "status": end.status.label,
        "fun": for_json(float(end.fun)),
        "grad_norm": for_json(float(end.grad_norm)),
        "nit": end.nit,
        "nfev": end.nfev,
        "shapes": [[*shape, rank] for shape, rank in zip(problem.shapes, problem.ranks)],
    }
