"""What a worker does: turn cells into results, some at a time, and commit what is finished."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._support.files import PathLike
from .._support.interruptions import ENDING, as_part
from .._support.text import for_json
from .._support.threads import blas_threads, get_threads, set_threads
from .._support.validate import Array
from .store import Entry, Shard, Store, json_text

# Cells that are prepared together: enough to fill the lanes of many blocks, few enough to see the time pass.
BLOCK = 512

# What is a result of a cell where code of the user raises it; programs end by SystemExit, and a cell may call one.
ERRORS = (Exception, SystemExit)

# Set where a call is asked to stop; the run in progress is finished and everything committed. A call in that run has an
# event of its own, and workers in other processes have none.
STOP: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


def asked_to_stop() -> bool:
    """Return whether the call that does the work is asked to stop."""
    event = STOP.get()
    return event is not None and event.is_set()


class Chunk(NamedTuple):
    """Work for one call of a worker.

    ``name`` is that of its file of parameters, by which a second attempt knows of the first and writes another one. A
    worker stops when ``seconds`` are over and hands back the rest; an endless one commits every ``commit_seconds``.
    What failed before ``since`` is done again.
    """

    name: str
    indices: Array
    seconds: float
    commit_seconds: float = math.inf
    since: float = 0.0


class Report(NamedTuple):
    """What a worker has done of a chunk; ``rest`` are the cells that it has not, ``shard`` is the file of its lines."""

    done: int
    failed: int
    seconds: float
    rest: Array
    shard: str = ""


@dataclass
class Cell:
    """A cell on its way: its key and description, and why nothing can be made of it, if so."""

    index: int
    key: str
    run: str
    error: str | None = None


class Work:
    """Cells that are counted from 0 and do not depend on one another, and what becomes of each.

    Attributes
    ----------
    label : str
        What it is called where its progress is shown.
    tells_end : bool
        Whether the end is worth a line, as nothing else says what was done.
    goes_on : bool
        Whether what is in the store is there for a later call, which goes on with it.
    """

    label = "study"
    tells_end = False
    goes_on = True

    def __len__(self) -> int:
        """Return the number of cells."""
        raise NotImplementedError

    def describer(self) -> Callable[[int], Cell]:
        """Return the function that says what a cell is."""
        raise NotImplementedError

    def worker(self, store: PathLike, threads: int, describe: Any = None) -> Worker:
        """Return what does the cells, in the process that asks; ``describe`` is a describer that knows some already."""
        raise NotImplementedError

    def refuse_changing(self, describe: Callable[[int], Cell]) -> None:
        """Refuse work whose cells are others each time that they are described; ``describe`` has known them once.

        Raises
        ------
        ValueError
            If they change: no store would have what it holds again.
        """

    def asked_of(self) -> list[Any]:
        """Return what stands in the keys of all processes as the one that asks has found it."""
        return []

    def first(self) -> Sequence[int]:
        """Return the cells that show how long others take, and compile what they need."""
        return [0]

    def axes_asked(self) -> dict[str, int]:
        """Return the number of values on each axis, for those who read the store."""
        raise NotImplementedError

    def keys(self) -> frozenset[bytes]:
        """Return the keys of all cells."""
        describe = self.describer()
        return frozenset(bytes.fromhex(describe(index).key) for index in range(len(self)))


class Worker:
    """Makes results of chunks of cells and puts them into a store.

    Parameters
    ----------
    describe : callable
        Says what a cell is.
    store : path
        Where the results go.
    threads : int
        Threads of every kernel and BLAS call.
    """

    def __init__(self, describe: Callable[[int], Cell], store: PathLike, threads: int) -> None:
        self.describe = describe
        self.store = Store(store)
        self.shard = Shard(self.store)
        self.threads = threads
        # Cells that are prepared together: those of about a second, so that few problems are held at once.
        self._size = 16

    def __call__(self, chunk: Chunk) -> Report:
        """Run cells until all are done, time is over or the process is asked to stop."""
        import scipy.linalg  # noqa: F401  its BLAS is limited below only once it is loaded

        before = get_threads()
        set_threads(self.threads)
        try:
            with blas_threads(self.threads), as_part():
                return self._run(chunk)
        finally:
            set_threads(before)

    def _run(self, chunk: Chunk) -> Report:
        began = committed = time.perf_counter()
        endless = math.isinf(chunk.seconds)
        # What is there of a share that was begun before, by a job that was stopped or by one whose caller is gone.
        seen: dict[str, int] = {}
        again = endless or self.store.has_parameters(chunk.name)
        done = set(self.store.new_keys(chunk.since, seen)) if again else set()
        entries: list[Entry] = []
        rest: list[Array] = []
        count = failed = 0
        waiting = chunk.indices
        while len(waiting):
            started = time.perf_counter()
            left = chunk.seconds - (started - began)
            if asked_to_stop() or left <= 0.0:
                rest.append(waiting)
                break
            size = self._size
            finished, others = self._block(waiting[:size], left, done)
            waiting = waiting[size:]
            self._size = max(1, min(BLOCK, int(size / (time.perf_counter() - started))))
            entries += finished
            rest.append(others)
            count += len(finished)
            failed += sum(not entry.ok for entry in finished)
            if endless and entries and time.perf_counter() - committed > chunk.commit_seconds:
                self.shard.commit(entries)
                done.update(self.store.new_keys(chunk.since, seen))
                entries, committed = [], time.perf_counter()
        if entries:
            self.shard.commit(entries, None if endless else chunk.name)
        unfinished = np.concatenate([np.empty(0, np.int64), *rest])
        return Report(count, failed, time.perf_counter() - began, unfinished, self.shard.path.name)

    def _block(self, indices: Array, seconds: float, done: Set[str]) -> tuple[list[Entry], Array]:
        """Return what was made of cells in the time, of one at least, and the cells of which nothing was."""
        raise NotImplementedError


def lost(cell: Cell) -> Entry:
    """Return the run of a cell that has ended every process that tried it."""
    error = "the process that ran it was ended each time, by the system or by a fault in compiled code (out of memory?)"
    return Entry(cell.key, cell.run, False, {"error": error}, {"seconds": 0.0, "batched": False})


def summary(value: Any) -> Any:
    """Return what a measure says as plain data: of a report its numbers, truth values and short texts."""
    if hasattr(value, "to_dict"):
        document = for_json(value.to_dict()).items()
        kept = {key: entry for key, entry in document if entry is None or isinstance(entry, (bool, int, float, str))}
        if document and not kept:
            raise TypeError(f"expected a report of numbers, truth values or texts, got {type(value).__name__} without")
        return kept
    value = for_json(value)
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        # Refuses what is inside and cannot be written.
        json_text(value)
        return value
    raise TypeError(f"expected a number, truth value, text, list or dict of them, got {type(value).__name__}")


def in_words(error: BaseException) -> str:
    """Return what an error says, or that it fails to say anything; one that ends the process goes on."""
    if ENDING.is_set():
        raise error
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__} (its message cannot be made)"
