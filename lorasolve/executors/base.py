"""What an executor is: it carries chunks of work to workers and brings back what they report."""

from __future__ import annotations

import functools
import io
import itertools
import pathlib
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .._support.digest import digest_of_code
from .._support.origin import REMEMBERS, installed
from .._support.threads import available_threads
from .._support.validate import as_integer, shown
from .._version import __version__

# Makes, in a worker, the function that chunks are given to.
Start = Callable[[], Callable[[Any], Any]]
# How long chunks of a few seconds to a minute are waited for at a time.
SECONDS = 600.0


class WorkersError(OSError):
    """Raised when there are no workers, or none that can begin; what is finished is kept, the same call goes on."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    task : int
        The number it was submitted under.
    report : object
        What the worker returned; None if it was lost.
    lost : bool
        Whether the worker ended before it could answer.
    suspect : bool
        Whether the task may be what ended the worker.
    """

    task: int
    report: Any = None
    lost: bool = False
    suspect: bool = True


class Pool:
    """Workers that are there; a context manager, which ends them."""

    def submit(self, task: int, chunk: Any) -> None:
        """Give a chunk to some worker, under a number."""
        raise TypeError(f"{type(self).__name__} does not define submit(task, chunk)")

    def wait(self, seconds: float) -> list[Outcome]:
        """Return what has become of tasks, within the time; an error of the function itself is raised."""
        raise TypeError(f"{type(self).__name__} does not define wait(seconds)")

    def close(self) -> None:
        """End the workers."""

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class Executor:
    """Base class of the executors; settings only.

    ``whole_shares`` says that workers are too far away for chunks of seconds: each gets its share of everything.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    whole_shares: ClassVar[bool] = False

    def workers(self, n_jobs: int | None) -> int:
        """Return the number of workers, by default one a core."""
        return available_threads() if n_jobs is None else as_integer(n_jobs, "n_jobs", 1)

    def require(self) -> None:
        """Refuse to begin where something is lacking, such as a library; asked before anything is made or run."""

    def open(self, start: Start, n_workers: int, threads: int, results: pathlib.Path | None = None) -> Pool:
        """Start workers, each of which makes its function by ``start()`` and uses a number of threads.

        ``results`` is the folder that they write to, by which those are known that have outlived an earlier caller.
        """
        raise TypeError(f"{type(self).__name__} does not define open(start, n_workers, threads, results)")


@dataclass(frozen=True)
class _Numbered:
    """Makes, in a worker, the function that answers with the number of the task beside the report."""

    start: Start

    def __call__(self) -> Callable[[tuple[int, Any]], tuple[int, Any]]:
        work = self.start()
        return lambda numbered: (numbered[0], work(numbered[1]))


class Watched(Pool):
    """The pool of an executor, held to what it says: each task comes back once, lost or with its own report."""

    def __init__(
        self, executor: Executor, start: Start, n_workers: int, threads: int, results: pathlib.Path | None = None
    ) -> None:
        self._name = f"backend: {executor.name or type(executor).__name__!r}"
        self._pool = executor.open(_Numbered(start), n_workers, threads, results)
        lacking = [name for name in ("submit", "wait", "close") if not callable(getattr(self._pool, name, None))]
        if lacking:
            raise TypeError(
                f"{self._name}: open() returned {shown(self._pool)}, which is no Pool: it has no {lacking[0]}()"
            )
        self._out: set[int] = set()

    def submit(self, task: int, chunk: Any) -> None:
        """Give a chunk to the pool together with its number, which comes back with the report."""
        self._out.add(task)
        self._pool.submit(task, (task, chunk))

    def wait(self, seconds: float) -> list[Outcome]:
        """Return what the pool does, without the numbers; refuse what is no answer to what it was given."""
        outcomes = self._pool.wait(seconds)
        if not isinstance(outcomes, (list, tuple)) or not all(isinstance(each, Outcome) for each in outcomes):
            raise TypeError(f"{self._name}: wait() has to return a list of Outcome, got {shown(outcomes)}")
        return [self._own(outcome) for outcome in outcomes]

    def _own(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the report alone, if it is the answer to its task and the first one."""
        task, report = outcome.task, outcome.report
        if task not in self._out:
            raise ValueError(
                f"{self._name}: wait() returned task {task!r}, which was not submitted or has come back before"
            )
        self._out.remove(task)
        if outcome.lost:
            return outcome
        if not (isinstance(report, tuple) and len(report) == 2):
            raise TypeError(
                f"{self._name}: as the report of task {task} expected what the worker's function returned, got "
                f"{shown(report)}; where it raised, wait() has to raise"
            )
        if report[0] != task:
            raise ValueError(f"{self._name}: as the report of task {task} wait() returned that of task {report[0]}")
        return replace(outcome, report=report[1])

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()


def outcomes(pool: Pool, chunks: Sequence[Any], at_once: int) -> Iterator[Outcome]:
    """Give all chunks to a pool, numbered in their order, and return what becomes of them, as it comes.

    The first are given at once. Few are in the pool at a time: one that is closed while many wait in it does not end
    quietly.
    """
    waiting = iter(enumerate(chunks))

    def submit(count: int) -> None:
        for number, chunk in itertools.islice(waiting, count):
            pool.submit(number, chunk)

    def come() -> Iterator[Outcome]:
        left = len(chunks)
        while left > 0:
            for outcome in pool.wait(SECONDS):
                left -= 1
                submit(1)
                yield outcome

    submit(at_once)
    return come()


def packed(start: Start) -> bytes:
    """Return what a worker makes its function of, with the folders that modules are imported from here.

    Code of modules goes there by name; a digest of it goes with it.

    Raises
    ------
    TypeError
        If something in it cannot go to another process, such as a lock.
    """
    import cloudpickle

    pickler = _pickler()
    try:
        pickler.dump(start)
    except (TypeError, pickle.PicklingError) as error:
        raise TypeError(
            f"backend: the work cannot go to other processes ({error}); leave out what cannot, as "
            "by __getstate__, or take 'serial', which has none"
        ) from error
    named = [(thing, digest_of_code(thing)) for thing in pickler.named.values()]
    return pickle.dumps((sys.path, __version__, cloudpickle.dumps(named), pickler.file.getvalue()))


def _pickler() -> Any:
    import cloudpickle

    by_value = {"__main__", *cloudpickle.list_registry_pickle_by_value()}

    class Pickler(cloudpickle.Pickler):
        """Collects the user's modules, and their classes and functions, that it writes by name."""

        def __init__(self) -> None:
            self.file = io.BytesIO()
            self.named: dict[int, Any] = {}
            super().__init__(self.file)

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, REMEMBERS) and thing.__module__ in by_value:
                # Which Python writes by name alone, and no worker has what a script or notebook calls so.
                return _remembering, (thing.__wrapped__, thing.cache_parameters())
            if isinstance(thing, functools.cached_property):  # which holds a lock before Python 3.12
                return _cached, (thing.func, thing.attrname)
            reduced = super().reducer_override(thing)
            by_name = reduced is NotImplemented and isinstance(thing, (type, types.FunctionType, types.ModuleType))
            if by_name and not installed(thing):
                self.named[id(thing)] = thing
            return reduced

    return Pickler()


def _remembering(function: Callable[..., Any], settings: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that remembers, in a worker, where it has nothing to remember yet."""
    return functools.lru_cache(**settings)(function)


def _cached(function: Callable[[Any], Any], name: str) -> functools.cached_property[Any]:
    """Return a cached property of a name."""
    made = functools.cached_property(function)
    made.attrname = name
    return made


def unpacked(payload: bytes) -> Callable[[Any], Any]:
    """Return the function, in a worker of the same user; what others sent is never read this way.

    Raises
    ------
    ValueError
        If the worker has other code than the caller, so that its results would be those of something else.
    """
    path, version, named, start = pickle.loads(payload)
    if version != __version__:
        raise ValueError(f"backend: the worker has lorasolve {__version__}, and the caller {version}")
    sys.path.extend(folder for folder in path if folder not in sys.path)
    for thing, digest in pickle.loads(named):
        if digest_of_code(thing) != digest:
            name = thing.__name__ if isinstance(thing, types.ModuleType) else f"{thing.__module__}.{thing.__qualname__}"
            raise ValueError(
                f"backend: {name} is other code in the worker than in the caller, or something that it calls is; that "
                "was edited after one of them had read it: start both anew"
            )
    made: Callable[[Any], Any] = pickle.loads(start)()
    return made


def needs(library: str, name: str, extra: str) -> str:
    """Return how to get what an executor needs."""
    return f"backend: {name!r} needs {library}, which is not installed; pip install 'lorasolve[{extra}]'"
