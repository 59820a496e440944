"""What a worker does: turn cells into runs, solve those that fit together in blocks, commit what is finished."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._text import component_text
from .._threads import blas_threads, get_threads, set_threads
from .._validate import Array
from ..engine import method_and_start, solve
from ..io import _plain as plain
from ..method import Method
from ..monitor import StoppingRule
from ..problem import Problem
from ..result import Result
from ..sweep import Run, fits, prepared, run_prepared
from ._digest import SIZE, digest, of_package
from .store import Entry, Shard, Store, json_text

if TYPE_CHECKING:
    from .study import Study

# Runs that are prepared together: enough to fill the lanes of many blocks, few enough to see the time pass.
BLOCK = 512
# Objectives and problems that are kept for the runs to come.
KEPT = 16
# Hexadecimal digits of a seed: what every program that reads JSON holds exactly.
SEED_DIGITS = 13

# Set where the process is asked to stop; the run in progress is finished and everything committed.
STOP = threading.Event()


class Chunk(NamedTuple):
    """Work for one call of a worker.

    ``name`` is that of its file of parameters, by which a second attempt knows of the first. A worker stops when
    ``seconds`` are over and hands back the rest; an endless one commits every ``commit_seconds``.
    """

    name: str
    indices: Array
    seconds: float
    commit_seconds: float = math.inf


class Report(NamedTuple):
    """What a worker has done of a chunk; ``rest`` are the cells that it has not."""

    done: int
    failed: int
    seconds: float
    rest: Array


@dataclass
class Cell:
    """A cell on its way: its key and description, and what is to be run, or why it cannot be."""

    index: int
    key: str
    run: str
    seed: int
    problem: Problem | None = None
    method: Any = None
    given: Any = None
    error: str | None = None
    prepared: Run | None = field(default=None, repr=False)


class Worker:
    """Runs chunks of a study's cells into a store.

    Parameters
    ----------
    study : Study
        What the cells mean.
    store : path
        Where the runs go.
    threads : int
        Threads of every kernel and BLAS call.
    """

    def __init__(self, study: Study, store: os.PathLike[str] | str, threads: int) -> None:
        self.describe = Describe(study)
        self.study = study
        self.store = Store(store)
        self.shard = Shard(self.store)
        self.threads = threads
        self._quadratics: dict[int, Any] = {}
        # Cells that are prepared together: those of about a second, so that few problems are held at once.
        self._size = 16

    def __call__(self, chunk: Chunk) -> Report:
        """Run cells until all are done, time is over or the process is asked to stop."""
        import scipy.linalg  # noqa: F401  its BLAS is limited below only once it is loaded

        before = get_threads()
        set_threads(self.threads)
        try:
            with blas_threads(self.threads):
                return self._run(chunk)
        finally:
            set_threads(before)

    def _run(self, chunk: Chunk) -> Report:
        began = committed = time.perf_counter()
        endless = math.isinf(chunk.seconds)
        done = self._done() if endless or self._attempted(chunk.name) else frozenset()
        entries: list[Entry] = []
        rest: list[Array] = []
        count = failed = 0
        waiting = chunk.indices
        while len(waiting):
            started = time.perf_counter()
            left = chunk.seconds - (started - began)
            if STOP.is_set() or left <= 0.0:
                rest.append(waiting)
                break
            finished, unfinished = self._block(waiting[: self._size], left, done)
            waiting = waiting[self._size :]
            self._size = max(1, min(BLOCK, int(self._size / (time.perf_counter() - started))))
            entries += finished
            rest.append(unfinished)
            count += len(finished)
            failed += sum(not entry.ok for entry in finished)
            if time.perf_counter() - committed > chunk.commit_seconds and entries:
                self.shard.commit(entries)
                entries, committed = [], time.perf_counter()
        if entries:
            self.shard.commit(entries, None if endless else chunk.name)
        return Report(count, failed, time.perf_counter() - began, np.concatenate([np.empty(0, np.int64), *rest]))

    def _attempted(self, name: str) -> bool:
        return (self.store.path / "factors" / f"{name}.npy").exists()

    def _done(self) -> frozenset[str]:
        return frozenset(line.key for line in self.store.lines())

    def _block(self, indices: Array, seconds: float, done: frozenset[str]) -> tuple[list[Entry], Array]:
        """Return the runs of cells that were finished in the time, and the cells that were not."""
        began = time.perf_counter()
        cells = [cell for cell in map(self.describe, indices.tolist()) if cell.key not in done]
        entries: dict[int, Entry] = {}
        groups: dict[Any, list[Cell]] = {}
        for cell in cells:
            if self._fits(cell):
                assert cell.problem is not None
                kind = (cell.problem.shape, cell.problem.rank, cell.problem.dtype)
                groups.setdefault(kind, []).append(cell)
        for group in groups.values():
            entries |= self._solve_blocks(group)
        for cell in cells:
            # At least one run is done, however short the time, so that every chunk makes progress.
            if entries and (STOP.is_set() or time.perf_counter() - began > seconds):
                break
            if cell.index not in entries:
                entries[cell.index] = self._solve_single(cell)
        unfinished = [cell.index for cell in cells if cell.index not in entries]
        return list(entries.values()), np.array(unfinished, np.int64)

    def _fits(self, cell: Cell) -> bool:
        """Whether the run goes through blocks; then it is prepared."""
        if cell.error is not None or cell.problem is None or cell.problem.several:
            return False
        try:
            own = cell.method.problem(cell.problem)
            if cell.method.schedules or cell.method.optimizer.batched_step(own) is None:
                return False
            run = prepared(Run(cell.problem, cell.method, cell.given, cell.seed))
        except Exception as error:
            cell.error = _words(error)
            return False
        if not fits(run, self.study.stop) or self._quadratic(run) is None:
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

    def _solve_blocks(self, group: list[Cell]) -> dict[int, Entry]:
        runs = [cell.prepared for cell in group if cell.prepared is not None]
        made = run_prepared(runs, self.study.stop, quadratics=self._quadratics)
        entries = {}
        m, n = runs[0].problem.shape
        shapes = [[m, n, runs[0].problem.rank]]
        for k, cell in enumerate(group):
            result: dict[str, Any] = {
                "status": made.status[k].label,
                "fun": plain(float(made.fun[k])),
                "grad_norm": plain(float(made.grad_norm[k])),
                "nit": int(made.nit[k]),
                "nfev": int(made.nit[k]) + 1,
                "shapes": shapes,
            }
            vector = np.concatenate([made.A[k].ravel(), made.B[k].ravel()])
            error = self._measure(cell, made.result(k), result) if self.study.measures else None
            facts = {"seconds": made.seconds / len(group), "threads": self.threads, "batched": True}
            entries[cell.index] = self._entry(cell, result, error, facts, vector)
        return entries

    def _solve_single(self, cell: Cell) -> Entry:
        began = time.perf_counter()
        result: dict[str, Any] = {}
        vector = None
        error = cell.error
        if error is None:
            try:
                assert cell.problem is not None
                end = solve(cell.problem, cell.method, cell.given, cell.seed, stop=self.study.stop)
            except Exception as problem:
                error = _words(problem)
            else:
                result = _summary(end)
                parts = [end.theta] if end.merged is None else [end.theta, end.merged.ravel()]
                vector = np.concatenate(parts)
                error = self._measure(cell, end, result)
        facts = {"seconds": time.perf_counter() - began, "threads": self.threads, "batched": False}
        return self._entry(cell, result, error, facts, vector)

    def _measure(self, cell: Cell, end: Result, result: dict[str, Any]) -> str | None:
        """Add what the measures say to a result; return the error of the first that fails."""
        found = result["measures"] = {}
        for name, measure in self.study.measures.items():
            try:
                assert cell.problem is not None
                found[name] = summary(measure(cell.problem, end))
            except Exception as error:
                return f"measure {name!r}: {_words(error)}"
        return None

    def _entry(
        self, cell: Cell, result: dict[str, Any], error: str | None, facts: dict[str, Any], vector: Array | None
    ) -> Entry:
        if error is not None:
            result["error"] = error
        if vector is not None:
            vector = np.ascontiguousarray(vector, np.float64)
            result["parameters"] = hashlib.blake2b(vector.tobytes(), digest_size=8).hexdigest()
        keep = vector if self.study.keep_parameters else None
        return Entry(cell.key, cell.run, error is None, result, facts, keep)


def lost(cell: Cell) -> Entry:
    """Return the run of a cell that has ended every process that tried it."""
    error = "the process that ran it was ended each time, by the system or by a fault in compiled code (out of memory?)"
    return Entry(cell.key, cell.run, False, {"error": error}, {"seconds": 0.0, "batched": False})


class Describe:
    """Says what each cell of a study is; problems and methods that several cells share are made once."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._problems: dict[Any, Any] = {}
        self._methods: dict[Any, Any] = {}
        self._inits: dict[Any, Any] = {}
        self._objectives: dict[str, Any] = {}
        self._fixed = json_text(study.fixed())
        self._stop = json_text({entry.name: getattr(study.stop, entry.name) for entry in fields(StoppingRule)})

    def __call__(self, index: int) -> Cell:
        """Return the description of cell ``index``, its key and its seed."""
        study = self.study
        positions = study.axes.positions(index)
        labels = study.axes.cell(positions)
        number = labels.get("seed", 0)
        problem, problem_text, error = self._kept(self._problems, study.problem_axes, positions, self._problem)
        method, method_text, wrong = self._kept(self._methods, study.method_axes, positions, self._method)
        init, init_text, unfit = self._kept(self._inits, study.init_axes, positions, self._init)
        what = f'"problem":{problem_text},"init":{init_text},"seed":{number}'
        seed = int(hashlib.blake2b(what.encode(), digest_size=SIZE).hexdigest()[:SEED_DIGITS], 16)
        run = (
            f'{{"cell":{json_text(labels)},{what},"random":{seed},"method":{method_text},"stop":{self._stop},'
            f'"study":{self._fixed}}}'
        )
        key = hashlib.blake2b(run.encode(), digest_size=SIZE).hexdigest()
        cell = Cell(index, key, run, seed, problem, error=error or wrong or unfit)
        if cell.error is None:
            try:
                cell.method, cell.given = method_and_start(method, init)
            except Exception as problem_error:
                cell.error = _words(problem_error)
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
            except Exception as error:
                known[key] = (None, "null", _words(error))
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
        facts = {
            "objective": type(loss).__name__,
            "digest": mark,
            "shapes": [list(shape) for shape in problem.shapes],
            "ranks": list(problem.ranks),
            "lam": float(problem.lam),
            "adapter": component_text(problem.adapter) + _code((problem.adapter,)),
        }
        return problem, json_text(facts)

    def _method(self, positions: tuple[int, ...]) -> tuple[Method, str]:
        method = Method.of(self.study.method_of(self.study.axes.values(positions)))
        parts = (method.optimizer, *method.schedules, method.adapter, method.init)
        return method, json_text(str(method) + _code(parts))

    def _init(self, positions: tuple[int, ...]) -> tuple[Any, str]:
        init = self.study.init_of(self.study.axes.values(positions))
        if init is None or isinstance(init, str):
            return init, json_text(init)
        return init, json_text(f"{type(init).__name__} {digest(init)}")


def _code(parts: tuple[Any, ...]) -> str:
    """Return a mark of the code of components that are not of this package."""
    own = [type(part) for part in parts if part is not None and not of_package(type(part))]
    return f" {digest(own)}" if own else ""


def summary(value: Any) -> Any:
    """Return what a measure says as plain data: of a report its numbers, truth values and short texts."""
    if hasattr(value, "to_dict"):
        document = plain(value.to_dict()).items()
        return {key: entry for key, entry in document if entry is None or isinstance(entry, (bool, int, float, str))}
    value = plain(value)
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        # Refuses what is inside and cannot be written.
        json_text(value)
        return value
    raise TypeError(f"expected a number, truth value, text, list or dict of them, got {type(value).__name__}")


def _summary(end: Result) -> dict[str, Any]:
    problem = end.problem
    return {
        "status": end.status.label,
        "fun": plain(float(end.fun)),
        "grad_norm": plain(float(end.grad_norm)),
        "nit": end.nit,
        "nfev": end.nfev,
        "shapes": [[*shape, rank] for shape, rank in zip(problem.shapes, problem.ranks)],
    }


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
