"""``Study``: a grid of runs, done by whatever executor, kept in a store, gone on with where it stopped."""

from __future__ import annotations

import inspect
import json
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

from .._support.digest import code_mark, digest
from .._support.files import PathLike
from .._support.keywords import names_settings, suggest
from .._support.text import counted
from .._support.validate import as_flag, as_integer, as_path, shown
from .._version import __version__
from ..executors import Executor
from ..inits import Init
from ..inits import registry as init_registry
from ..method import Method
from ..monitor import StoppingRule, rule_of
from ..optimizers import Optimizer
from ..problem import Problem
from ..result import Result
from ._cells import Axes
from ._engine import do
from ._solves import Describe, Solver, repeated
from ._work import Work
from .records import RESERVED
from .runs import Runs
from .store import SCHEMA_VERSION, Store

Measure = Callable[[Problem, Result], Any]
# How long a call looks for cells that are others each time, beside two of them.
_COMPARING_SECONDS = 0.5


@names_settings
class Study(Work):
    """A grid of independent runs.

    Parameters
    ----------
    problem : Problem or callable
        The problem of a cell: a function whose arguments are names of axes, or a problem whose ``rank``, ``lam`` and
        ``adapter`` (of several matrices: ``ranks`` and ``lam``) the axes of these names replace.
    axes : mapping of str to sequence or mapping
        The values of each axis: numbers, texts, truth values or None; or a mapping of such labels to anything. The
        axis ``seed`` (integers) sets the randomness; ``method`` and ``init`` are what they say.
    method : str, Method, Optimizer or callable
        The way to run, or a function of axes that returns one.
    measure : callable, name or a sequence or mapping of them
        What is asked of every end: functions of ``(problem, result)`` that return a number, truth value, text, dict of
        them, or a report with ``to_dict()`` (its numbers and short texts are kept); ``"certify"`` and ``"verdict"``
        are these functions of the package. The problem is the study's, also where the method has another adapter.
    init : str, Init, (A, B) or callable, optional
        The start in place of the method's own, or a function of axes that returns one.
    stop : StoppingRule or mapping, optional
        When a run ends; by default as its method says, which is when :func:`~lorasolve.solve` ends it. A mapping of
        some limits, such as ``{"time_limit": 60}``, leaves the others as the method says.
    keep_parameters : bool
        Keep the factors of every run beside its numbers.

    Attributes
    ----------
    axes : Axes
        The grid.
    problem_axes, method_axes, init_axes : tuple of int
        Places of the axes that make the problem, the method and the start.

    Raises
    ------
    ValueError, TypeError
        For axes that nothing uses, arguments of functions that are no axes, unknown names, and axes and measures that
        are called what a column of results is, or one another.

    Notes
    -----
    Every run has a description: the cell, the problem with a digest of its data, start, seed, method, stopping rule,
    measures and the version of the package. Its digest is the key of the run in a store, so that other settings are
    other runs. The random numbers of a run are those of ``SeedSequence`` of a digest of problem, start and seed: they
    do not depend on the order of runs or on where they are done, and all methods start at the same points.
    """

    tells_end = True

    def __init__(
        self,
        problem: Problem | Callable[..., Problem],
        axes: Mapping[str, Any],
        method: str | Method | Optimizer | Callable[..., Any] = "gd",
        measure: Any = (),
        *,
        init: Any = None,
        stop: StoppingRule | Mapping[str, Any] | None = None,
        keep_parameters: bool = True,
    ) -> None:
        self.axes = Axes(axes)
        for seed in self.axes.labels.get("seed", []):
            as_integer(seed, "axes: seed", 0)
        self.problem = problem
        self.method = method
        self.init = init
        if not isinstance(stop, (StoppingRule, Mapping, type(None))):
            accepted = "a StoppingRule or a mapping of limits, such as {'max_iter': 100}"
            raise TypeError(f"stop: expected {accepted}, got {shown(stop)}")
        self.stop = _limits(stop) if isinstance(stop, Mapping) else stop
        self.keep_parameters = as_flag(keep_parameters, "keep_parameters")
        self.measures = _measures(measure)
        _refuse_columns(self.axes, self.measures)
        self._digests = _Digests()
        self._uses = {
            "problem": self._replaced(problem)
            if isinstance(problem, Problem)
            else self._arguments(problem, "problem", "a Problem"),
            "method": self._setting(method, "method", "a text, a Method, an Optimizer", (str, Method, Optimizer)),
            "init": self._setting(
                init, "init", "a text, an Init, (A, B), a Result", (str, Init, tuple, Result, type(None))
            ),
        }
        self.problem_axes, self.method_axes, self.init_axes = (
            tuple(k for k, axis in enumerate(self.axes.labels) if axis in names) for names in self._uses.values()
        )
        direct = self._replaced(problem) if isinstance(problem, Problem) else []
        direct += [name for name, given in (("method", method), ("init", init)) if not callable(given)]
        self._refuse_classes([name for name in direct if name in self.axes.labels])
        used = {name for names in self._uses.values() for name in names} | {"seed"}
        unused = [name for name in self.axes.labels if name not in used]
        if unused:
            accepted = _settings(problem) if isinstance(problem, Problem) else _parameters(problem)
            for name, given in (("method", method), ("init", init)):
                accepted += _parameters(given) if callable(given) else [name]
            meant = suggest(unused[0], list(dict.fromkeys([*accepted, "seed"])))
            raise ValueError(
                f"axes: {unused[0]!r} is no argument of problem, method or init; it changes nothing.{meant}"
            )
        if not callable(method):
            Method.of(method)
        if isinstance(init, (str, Init)):
            init_registry.make(init, "init")

    def __len__(self) -> int:
        return len(self.axes)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(labels)}" for name, labels in self.axes.labels.items())
        return f"Study({counted(len(self), 'run')}: {sizes}; measures: {', '.join(self.measures) or 'none'})"

    # ------------------------------------------------------------------ what cells mean
    def _replaced(self, problem: Problem) -> list[str]:
        """Return the axes that replace settings of a problem."""
        return [name for name in _settings(problem) if name in self.axes.labels]

    def _arguments(self, function: Any, argument: str, accepted: str) -> list[str]:
        """Return the axes that a function takes; what else is ``accepted`` is said where it is none."""
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"{argument}: expected {accepted} or a function of axes, got {shown(function)}")
        parameters = inspect.signature(function).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return list(self.axes.labels)
        for p in parameters:
            if p.name not in self.axes.labels and p.default is p.empty:
                raise ValueError(
                    f"{argument}: its argument {p.name!r} is no axis.{suggest(p.name, list(self.axes.labels))}"
                )
        return [p.name for p in parameters if p.name in self.axes.labels]

    def _setting(self, given: Any, name: str, accepted: str, kinds: tuple[type, ...]) -> list[str]:
        """Return the axes that make a setting: those of a function, or the axis of its name."""
        if not isinstance(given, kinds):
            return self._arguments(given, name, accepted)
        return [name] if name in self.axes.labels else []

    def _refuse_classes(self, names: Iterable[str]) -> None:
        """Refuse axes of values that are used as they are and hold a class, of which no run could be made."""
        for name in names:
            for value in self.axes.along(name):
                if isinstance(value, type):
                    raise TypeError(f"axes: {name}: expected objects, as {value.__name__}(...), got {shown(value)}")

    def problem_of(self, values: Mapping[str, Any]) -> Problem:
        """Return the problem at the values of a cell."""
        given = {name: values[name] for name in self._uses["problem"]}
        found = self.problem.replace(**given) if isinstance(self.problem, Problem) else self.problem(**given)
        if not isinstance(found, Problem):
            raise TypeError(f"problem: expected a function that returns a Problem, got {type(found).__name__}")
        return found

    def method_of(self, values: Mapping[str, Any]) -> Any:
        """Return the method at the values of a cell."""
        return self._made(self.method, "method", values)

    def init_of(self, values: Mapping[str, Any]) -> Any:
        """Return the start at the values of a cell."""
        return self._made(self.init, "init", values)

    def stop_of(self, optimizer: type[Optimizer] | Optimizer = Optimizer) -> StoppingRule:
        """Return when runs of an optimizer end."""
        if isinstance(self.stop, dict):
            return replace(rule_of(None, optimizer), **self.stop)
        return rule_of(self.stop, optimizer)

    def _made(self, given: Any, name: str, values: Mapping[str, Any]) -> Any:
        if self._uses[name] == [name] and not callable(given):
            return values[name]
        return given(**{axis: values[axis] for axis in self._uses[name]}) if callable(given) else given

    def fixed(self) -> dict[str, Any]:
        """Return what all runs share, as plain data."""
        measures = {
            name: self._mark(measure, partial(code_mark, name=f"measure: {name}"))
            for name, measure in sorted(self.measures.items())
        }
        return {"lorasolve": __version__, "schema": SCHEMA_VERSION, "measures": measures}

    def digest_of(self, loss: Any) -> str:
        """Return the digest of a loss."""
        return self._mark(loss, digest)

    def _mark(self, thing: Any, mark: Callable[[Any], str]) -> str:
        """Return the mark of a loss or measure as it was when it was first seen: they may remember what they did."""
        if thing not in self._digests:
            self._digests[thing] = mark(thing)
        return self._digests[thing]

    def __getstate__(self) -> dict[str, Any]:
        # Measures are marked here, not by each worker after what it has done.
        self.fixed()
        return self.__dict__ | {"_digests": list(self._digests.items())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_digests": _Digests(state["_digests"])}

    def repeat(self, **cell: Any) -> Result:
        """Do one run again, at equal threads bit for bit, and return it.

        Of a run that goes through the batched kernel the trace has its two ends only.

        Parameters
        ----------
        **cell
            The value (or label) on each axis; an axis of one value may be left out.

        Raises
        ------
        ValueError
            If there is no such cell, or whatever the run itself raises.
        """
        found = Describe(self)(self.axes.find(cell))
        if found.error is not None or found.problem is None:
            raise ValueError(f"cell: {found.error}")
        return repeated(found)

    # ------------------------------------------------------------------ running
    def run(
        self,
        store: PathLike,
        backend: str | Executor = "loky",
        n_jobs: int | None = None,
        *,
        threads: int | None = None,
        retry_failed: bool = False,
        progress: bool = False,
    ) -> Runs:
        """Do all runs that the store does not hold yet.

        Ctrl-C and SIGTERM end it once the chunks in progress are finished and saved (a second Ctrl-C at once, and what
        is not finished some seconds after SIGTERM is left); the same call goes on. What a measure runs, comparisons and
        searches too, is part of its run: it is finished or left as a whole.

        Parameters
        ----------
        store : path
            A folder, made if there is none. Where workers are on other machines, one that they all see.
        backend : str or Executor
            Who does the work: an executor of ``lorasolve list executors``, settings as in
            ``"dask:address=tcp://host:8786"``.
        n_jobs : int, optional
            Number of workers; by default one a core.
        threads : int, optional
            Threads of each worker; by default its share of the cores. At equal threads all backends give equal bits.
        retry_failed : bool
            Do those again that ended with an error.
        progress : bool
            Show the rate and the remaining time on stderr: a line that is rewritten on a terminal, a line a minute
            elsewhere.

        Returns
        -------
        Runs
            Those of this study in the store.

        Raises
        ------
        ValueError, TypeError
            For a folder that is something else, unknown backends, numbers out of range, and a problem, method or start
            that is another one each time that it is made, as with random numbers that have no seed.
        StoreError
            If the store cannot be written, for example because the disk is full; what was written is safe.
        """
        done = do(self, store, backend, n_jobs, threads=threads, retry_failed=retry_failed, progress=progress)
        return Runs(done.store, done.keys, study=self, interrupted=done.interrupted, shards=done.shards)

    def runs(self, store: PathLike) -> Runs:
        """Return those runs of this study that a store holds; nothing is run."""
        return Runs(Store(as_path(store, "store")), self.keys(), study=self)

    # ------------------------------------------------------------------ for the workers
    def describer(self) -> Describe:
        """Return the function that says what a cell is."""
        return Describe(self)

    def refuse_changing(self, describe: Callable[[int], Any]) -> None:
        """Refuse functions that make something else each time, by cells that differ as much as cells do.

        These are the first and the last of them, and others as long as that takes no time to speak of.
        """
        first, *others = self.axes.cross()
        describe_again = self.describer()
        began = time.perf_counter()
        for count, index in enumerate([first, *reversed(others)]):
            if count > 1 and time.perf_counter() - began > _COMPARING_SECONDS:
                return
            self._refuse_changed(describe(index), describe_again(index))

    def _refuse_changed(self, first: Any, again: Any) -> None:
        """Refuse a cell that was described twice and is another one the second time."""
        if first.key == again.key or first.error is not None or again.error is not None:
            return
        one, other = json.loads(first.run), json.loads(again.run)
        changed = next(name for name in ("problem", "method", "init", "stop", "study") if one[name] != other[name])
        raise ValueError(
            f"{changed}: expected the same each time that it is made for a cell, got another one the second time, so "
            "that no run would be found again; give its random numbers a seed, as in numpy.random.default_rng(0)"
        )

    def worker(self, store: PathLike, threads: int, describe: Describe | None = None) -> Solver:
        """Return what does the cells, in the process that asks."""
        return Solver(self, store, threads, describe)

    def asked_of(self) -> list[Any]:
        """Return the losses and measures that are marked."""
        return [thing for thing, _ in self._digests.items()]

    def first(self) -> list[int]:
        """Return cells that differ as much as cells do."""
        return self.axes.cross()

    def axes_asked(self) -> dict[str, int]:
        """Return the number of values on each axis."""
        return {name: len(labels) for name, labels in self.axes.labels.items()}


class _Digests:
    """Digests of objects that are there, by identity; those of objects that nobody holds are forgotten.

    Objects that no weak reference can be made to, as those with ``__slots__``, are held.
    """

    def __init__(self, items: Iterable[tuple[Any, str]] = ()) -> None:
        self._known: dict[int, tuple[Callable[[], Any], str]] = {}
        for thing, mark in items:
            self[thing] = mark

    def __contains__(self, thing: Any) -> bool:
        return id(thing) in self._known

    def __getitem__(self, thing: Any) -> str:
        return self._known[id(thing)][1]

    def __setitem__(self, thing: Any, mark: str) -> None:
        name = id(thing)
        try:
            self._known[name] = (weakref.ref(thing, lambda _: self._known.pop(name, None)), mark)
        except TypeError:
            self._known[name] = (lambda: thing, mark)

    def items(self) -> list[tuple[Any, str]]:
        """Return the objects that are there with their digests."""
        found = [(reference(), mark) for reference, mark in self._known.values()]
        return [(thing, mark) for thing, mark in found if thing is not None]


def _parameters(function: Any) -> list[str]:
    """Return the names of a function's arguments."""
    return list(inspect.signature(function).parameters)


def _limits(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return some limits of a stopping rule, checked."""
    known = [entry.name for entry in fields(StoppingRule)]
    for name in given:
        if name not in known:
            raise ValueError(f"stop: unknown limit {name!r}.{suggest(str(name), known)}")
    replace(StoppingRule(), **given)
    return dict(given)


def _settings(problem: Problem) -> list[str]:
    """Return the settings of a problem that axes of their names replace."""
    return ["ranks", "lam"] if problem.several else ["rank", "lam", "adapter"]


def _measures(given: Any) -> dict[str, Measure]:
    """Return measures by name."""
    if isinstance(given, Mapping):
        listed = [(str(name), one) for name, one in given.items()]
    else:
        several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        listed = [("", one) for one in several]
    found: dict[str, Measure] = {}
    for name, one in listed:
        measure = _named(one) if isinstance(one, str) else one
        if not callable(measure) or isinstance(measure, type):
            raise TypeError(f"measure: expected functions of (problem, result) or names, got {type(one).__name__}")
        name = name or str(getattr(measure, "__name__", type(measure).__name__))
        if name in found:
            raise ValueError(f"measure: two are called {name!r}; give a mapping of names to functions")
        found[name] = measure
    return found


def _refuse_columns(axes: Axes, measures: Mapping[str, Measure]) -> None:
    """Refuse names that would hide a column of the results, or one another."""
    for kind, names, taken in (("axes", axes.labels, RESERVED), ("measure", measures, (*RESERVED, *axes.labels))):
        for name in names:
            if name in taken:
                what = "an axis" if name in axes.labels and kind == "measure" else "a column of every table of runs"
                raise ValueError(f"{kind}: expected a name of its own, got {name!r}, which is {what}")
    for name in measures:
        owner = next((other for other in measures if name.startswith(f"{other}.")), None)
        if owner is not None:
            raise ValueError(f"measure: expected a name of its own, got {name!r}, which an entry of {owner!r} may have")


def _named(name: str) -> Measure:
    from ..certificates import certify
    from ..landscape import verdict

    known: dict[str, Measure] = {"certify": certify, "verdict": verdict}
    if name not in known:
        raise ValueError(f"measure: unknown measure {name!r}.{suggest(name, list(known))}")
    return known[name]
