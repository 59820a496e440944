"""The runs of a comparison as cells of a store: what a method's cell does, and a result as numbers and back."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.digest import digest
from .._support.files import PathLike
from .._support.text import component_text
from .._support.validate import Array
from ..adapters import registry as adapter_registry
from ..engine import GivenStart, solve
from ..inits import Init
from ..method import Method
from ..monitor import StoppingRule
from ..objectives.base import Objective
from ..problem import Problem
from ..result import Result, Trace
from ..status import Status
from ..studies import Calls, CellError, Kept
from ..studies.descriptions import init_text, problem_facts, rule_text
from ..studies.store import json_text
from .tuning import Chosen, choose_step

# Numbers of a result that are kept bit for bit, infinite and undefined ones too; a trace has as many columns.
_NUMBERS = ("fun", "grad_norm", "seconds", "compile_seconds")
_COLUMNS = tuple(Trace().to_dict())


@dataclass(frozen=True)
class Cells:
    """What the cells of a comparison do.

    Attributes
    ----------
    problem, init, stop, held_out
        As :func:`lorasolve.compare` takes them.
    methods : dict of str to Method
        The methods by what :func:`~lorasolve.studies.descriptions.method_text` calls them, or by any name where
        nothing is kept.
    """

    problem: Problem
    init: str | Init | GivenStart | None
    stop: StoppingRule
    held_out: Objective | None
    methods: dict[str, Method]

    def mark(self) -> str:
        """Return what all cells are about, for their keys."""
        f = self.problem.objective
        held_out = None if self.held_out is None else digest(self.held_out)
        facts = problem_facts(self.problem, digest(getattr(f, "user", f)))
        texts = f'"init":{init_text(self.init)},"stop":{rule_text(self.stop)},"held_out":{json_text(held_out)}'
        return f'{{"problem":{json_text(facts)},{texts}}}'

    def tune(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """Choose the step size of a method on a start."""
        seed = cell["seed"]
        method = self.methods[cell["method"]]
        chosen = choose_step(method, self.problem, self._runs(seed), np.random.default_rng(seed), self.held_out)
        return {"step_size": chosen.step_size, "by": chosen.by, "calls": chosen.calls}

    def chosen(self, text: str, found: Mapping[str, Any]) -> Chosen:
        """Return a method with the step size that :meth:`tune` has found."""
        method, step = self.methods[text], found["step_size"]
        return Chosen(method, method if step is None else method.with_step(step), step, found["by"], found["calls"])

    def run(self, cell: Mapping[str, Any]) -> Kept:
        """Run a method with its step size from a start."""
        result = self._runs(cell["seed"])(self._method(cell))
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return kept(result)

    def result(self, cell: Mapping[str, Any], found: Mapping[str, Any], vector: Array) -> Result:
        """Return the result that :meth:`run` has kept."""
        return restored(self.problem, self._method(cell), found, vector)

    def _method(self, cell: Mapping[str, Any]) -> Method:
        method, step = self.methods[cell["method"]], cell["step_size"]
        return method if step is None else method.with_step(step)

    def _runs(self, seed: int) -> Callable[[Method], Result]:
        return lambda method: solve(self.problem, method, self.init, seed, stop=self.stop)


class StoredRuns:
    """The cells of a comparison, done by whatever executor, in one store that may outlast it.

    Attributes
    ----------
    interrupted : bool
        Whether it was asked to stop before all was done.
    """

    def __init__(self, cells: Cells, folder: PathLike, outlasts: bool, workers: dict[str, Any]) -> None:
        self.interrupted = False
        self._cells = cells
        self._folder = folder
        self._outlasts = outlasts
        self._mark = cells.mark() if outlasts else "nothing is kept"
        self._workers = workers

    def ends(self, methods: Sequence[str], seeds: Sequence[int], tune: bool) -> list[tuple[Chosen, list[Result]]]:
        """Return the methods whose runs are all done, with the results of each from all starts.

        Raises
        ------
        CellError
            If a run fails.
        """
        if tune:
            found = self._do("choice of a step", self._cells.tune, [{"method": m, "seed": seeds[0]} for m in methods])
            chosen = [None if line is None else self._cells.chosen(m, line.found) for m, line in zip(methods, found)]
        else:
            chosen = [self._cells.chosen(m, {"step_size": None, "by": "", "calls": 0}) for m in methods]
        ready = [(m, one) for m, one in zip(methods, chosen) if one is not None]
        asked = [{"method": m, "step_size": one.step_size, "seed": seed} for m, one in ready for seed in seeds]
        lines = [] if self.interrupted or not asked else self._do("run", self._cells.run, asked)
        results = [None if line is None else self._cells.result(c, *line) for c, line in zip(asked, lines)]
        blocks = [results[k : k + len(seeds)] for k in range(0, len(results), len(seeds))]
        return [(one, [r for r in block if r is not None]) for (_, one), block in zip(ready, blocks) if all(block)]

    def _do(self, label: str, function: Callable[..., Any], cells: list[dict[str, Any]]) -> list[Kept | None]:
        """Return what a function finds for each cell; None for what was not done, as it was asked to stop."""
        calls = Calls(label, function, cells, self._mark)
        calls.goes_on = self._outlasts
        try:
            runs = calls.run(self._folder, retry_failed=True, **self._workers)
            self.interrupted = runs.interrupted
        except KeyboardInterrupt:
            runs = calls.runs(self._folder)
            self.interrupted = True
        found: list[Kept | None] = []
        for cell, line in zip(cells, calls.records(runs)):
            if line is not None and "error" in line["result"]:
                method = self._cells.methods[cell["method"]]
                raise CellError(f"{method}, seed {cell['seed']}: {line['result']['error']}")
            if line is None:
                found.append(None)
            else:
                known = line["made"].get("parameters") is not None
                vector = runs.store.factors(line) if known else np.empty(0)
                found.append(Kept(line["result"]["found"], vector))
        return found


@contextlib.contextmanager
def folder_of(store: PathLike | None) -> Iterator[PathLike]:
    """Return a folder for runs: the one that is given, or one that goes with what is in it."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="lorasolve-") as folder:
        yield pathlib.Path(folder) / "runs"


def kept(result: Result) -> Kept:
    """Return a result as what a store holds: its words, and all its numbers in one vector."""
    last, trace = result.problem, result.trace.to_dict()
    found = {
        "status": result.status.name,
        "message": result.message,
        "nit": result.nit,
        "nfev": result.nfev,
        "seed": result.seed,
        "started_from": result.started_from,
        "lam": float(last.lam),
        "adapter": component_text(last.adapter),
        "size": int(result.theta.size),
        "merged": result.merged is not None,
    }
    merged = [] if result.merged is None else [result.merged.ravel()]
    numbers = [getattr(result, name) for name in _NUMBERS]
    return Kept(found, np.concatenate([result.theta, *merged, numbers, *trace.values()]).astype(np.float64))


def restored(problem: Problem, method: Method, found: Mapping[str, Any], vector: Array) -> Result:
    """Undo :func:`kept`, for a method on a problem."""
    own = method.problem(problem)
    adapter = own.adapter
    if component_text(adapter) != found["adapter"]:
        adapter = adapter_registry.make(found["adapter"], "adapter")
    theta, rest = np.split(vector, [found["size"]])
    theta, objective, merged = theta.astype(own.dtype), own.objective, None
    if found["merged"]:
        m, n = own.shape
        flat, rest = np.split(rest, [m * n])
        merged = flat.reshape(m, n).astype(own.dtype)
        objective = objective.merged(merged)
    last = own.replace(objective=objective, lam=found["lam"], adapter=adapter)
    numbers, columns = rest[: len(_NUMBERS)], rest[len(_NUMBERS) :].reshape(len(_COLUMNS), -1)
    trace = Trace(**dict(zip(_COLUMNS, columns.tolist())))
    trace.iteration = [int(k) for k in trace.iteration]
    A, B, _ = last.split(theta)
    fields = {name: found[name] for name in ("message", "nit", "nfev", "seed", "started_from")}
    return Result(
        A=A,
        B=B,
        theta=theta,
        status=Status[found["status"]],
        trace=trace,
        method=method,
        problem=last,
        merged=merged,
        **dict(zip(_NUMBERS, numbers.tolist())),
        **fields,
    )
