"""The engine of studies: cells out to the workers of an executor, results into a store, until all are there."""

from __future__ import annotations

import _thread
import math
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .._support.digest import digest_of_imports
from .._support.files import PathLike
from .._support.interruptions import TERMINATED, handled, is_part, patient
from .._support.origin import code_by_name, of_package
from .._support.progress import Progress
from .._support.threads import MOST_THREADS, get_threads
from .._support.validate import Array, as_flag, as_integer, as_path
from ..executors import Executor, Outcome, Pool, registry
from ..executors.base import Watched
from ._pace import Pace, duration
from ._work import STOP, Chunk, Report, Work, Worker, asked_to_stop, lost
from .store import Store, StoreError

# What the first runs may take, which show the time of a run and compile the kernels for all workers.
FIRST_SECONDS = 2.0
# What a chunk takes: all that is lost with a worker, and the time between two looks at a stop.
CHUNK_SECONDS = 2.0
# Chunks on their way for each worker, so that none waits.
AHEAD = 2
# A share of everything is committed this often.
COMMIT_SECONDS = 10.0
LARGEST_CHUNK = 20_000
# After which silence of an executor of the user's own it is said that it may have lost what it was given.
SILENCE_SECONDS = 60.0
# Parts of what is left, for each worker, that are done in an order of their own where several calls share the work.
PARTS = 64
# Cells of which a worker has to make the same runs; it makes their problems for that.
COMPARED = 2
# Shown before there is a rate; with a million runs it takes a minute.
_READING = "reading the runs that are there"
# What is in progress at SIGTERM may take this long; schedulers kill 30 s after it.
GRACE_SECONDS = 20.0


class Done(NamedTuple):
    """What became of a call.

    Attributes
    ----------
    store : Store
        Where the runs are.
    keys : frozenset of bytes or None
        Those of all cells; None if the store held nothing before and no other call has shared the work.
    shards : frozenset of str or None
        The files that the call has written, where there are no keys.
    interrupted : bool
        Whether it was asked to stop.
    """

    store: Store
    keys: frozenset[bytes] | None
    shards: frozenset[str] | None
    interrupted: bool


def do(
    work: Work,
    path: PathLike,
    backend: str | Executor = "loky",
    n_jobs: int | None = None,
    *,
    threads: int | None = None,
    retry_failed: bool = False,
    progress: bool = False,
) -> Done:
    """Do all cells that the store does not hold yet; the settings are those of :meth:`Study.run`."""
    as_flag(retry_failed, "retry_failed")
    as_flag(progress, "progress")
    executor = registry.make(backend, "backend")
    workers = as_integer(executor.workers(n_jobs), f"backend: {executor.name!r}: workers({n_jobs})", 1)
    share = max(1, get_threads() // workers) if threads is None else as_integer(threads, "threads", 1, MOST_THREADS)
    path = as_path(path, "store")
    describe = work.describer()
    work.refuse_changing(describe)
    store = Store.begun(path, executor.require)
    reading = Progress(work.label, progress)
    if store.shards():
        reading.show(0.0, _READING)
    store.tidy()
    worker = work.worker(store.path, share, describe)
    # Made before anything runs: objectives may remember what they were asked.
    results = store.path.resolve()
    start = _Start.of(work, worker, results, share)
    pending, keys = _pending(work, store, worker, retry_failed, reading)
    reading.close()
    if len(pending):  # where all is there nobody is needed, as for a store that was copied from a cluster
        executor.require()
    # A folder that can only be read is enough where all is there.
    with nullcontext() if len(pending) else suppress(StoreError):
        store.describe(asked=len(work), axes=work.axes_asked())
    at_work = worker.shard.calling() if len(pending) else nullcontext()
    try:
        with _stoppable(work.label) as asked, at_work:
            run = _Run(work, store, executor, worker, Pace(work.label, len(work), len(pending), progress))
            run.do(pending, partial(Watched, executor, start, workers, share, results), workers)
    except (OSError, ValueError):
        store.require_there()  # else whatever met that first says so in its own words
        raise
    except _AtOnce:
        if is_part():
            raise
        raise KeyboardInterrupt from None
    if keys is None and run.shared:
        keys = frozenset(bytes.fromhex(worker.describe(index).key) for index in range(len(work)))
    # Not all that are there now: another call may have begun on the same new store.
    return Done(store, keys, frozenset(run.shards) if keys is None else None, asked.is_set())


@dataclass(frozen=True)
class _Start:
    """Makes what does the cells in a worker, and refuses one on this machine whose modules hold other data.

    Attributes
    ----------
    work, store, threads
        What a worker is made of.
    keys : dict of int to str
        The keys of some cells.
    code : list of (class or function, str)
        What workers import, with its digest.
    caller : (str, int)
        The machine and the process that ask; other machines may round data that are computed otherwise.
    """

    work: Work
    store: PathLike
    threads: int
    keys: dict[int, str]
    code: list[tuple[Any, str]]
    caller: tuple[str, int]

    @classmethod
    def of(cls, work: Work, worker: Worker, store: PathLike, threads: int) -> _Start:
        """Return it for work as it is in this process, whose own worker says what the cells are."""
        first = work.first()
        keys = {index: worker.describe(index).key for index in first[:: -(-len(first) // COMPARED)]}
        names = {id(code): code for thing in work.asked_of() if (code := code_by_name(thing)) is not None}
        code = [(thing, digest_of_imports(thing)) for thing in names.values()]
        return cls(work, store, threads, keys, code, (socket.gethostname(), os.getpid()))

    def __call__(self) -> Worker:
        worker = self.work.worker(self.store, self.threads)
        host, process = self.caller
        if host == socket.gethostname() and process != os.getpid():
            names = {f"{thing.__module__}.{thing.__qualname__}": (thing, mark) for thing, mark in self.code}
            changed = [name for name, (thing, mark) in names.items() if digest_of_imports(thing) != mark]
            cells = [worker.describe(index) for index in self.keys]
            changed += [f"cell {cell.index}" for cell in cells if cell.key != self.keys[cell.index]]
            if changed:
                raise ValueError(
                    f"backend: {changed[0]} is made of other data in a worker than here, as where a module is changed "
                    "after its import, which workers import afresh; keep what changes in the problem, name what only "
                    "remembers in not_data, or take 'serial'"
                )
        return worker


def _pending(
    work: Work, store: Store, worker: Worker, retry_failed: bool, reading: Progress
) -> tuple[Array, frozenset[bytes] | None]:
    """Return the cells that the store does not hold, and the keys of all, None if it holds nothing at all."""
    done = set()
    for line in store.lines():
        reading.show(0.0, _READING)
        if line.ok or not retry_failed:
            done.add(bytes.fromhex(line.key))
    if not done and not store.shards():
        return np.arange(len(work)), None
    keys = []
    for index in range(len(work)):
        reading.show(index / len(work), _READING)
        keys.append(bytes.fromhex(worker.describe(index).key))
    return np.array([index for index, key in enumerate(keys) if key not in done], np.int64), frozenset(keys)


class _AtOnce(BaseException):
    """A second Ctrl-C, or the end of grace.

    Solvers would keep what they have at a KeyboardInterrupt, and half a run is no run.
    """


@dataclass
class _Run:
    """One call of :func:`do`: chunks out, reports in, lost chunks again."""

    work: Work
    store: Store
    executor: Executor
    worker: Worker
    pace: Pace
    # What failed before is asked for because it is to be done again.
    began: float = field(default_factory=time.time)
    waiting: deque[Array] = field(default_factory=deque)
    # Chunks of which one has ended a worker: done in halves, until the run that does it is found; where workers do
    # chunks of seconds alone, lest others are lost with them.
    suspects: deque[Array] = field(default_factory=deque)
    out: dict[int, Array] = field(default_factory=dict)
    tasks: int = 0
    # The tasks that suspects were given out as.
    doubted: set[int] = field(default_factory=set)
    # Files of the workers that have done runs.
    shards: set[str] = field(default_factory=set)
    # When something came back last; infinite once it is said that nothing does.
    heard: float = math.inf
    # Whether another call was seen at work on the same store.
    shared: bool = False
    # The keys of what is done, and how far the files of lines were read for them.
    known: set[str] = field(default_factory=set)
    read: dict[str, int] = field(default_factory=dict)

    def do(self, pending: Array, open_pool: Callable[[], Pool], workers: int) -> None:
        """Do the pending cells."""
        self.pace.begin()
        asked = pending
        pending = self._first(pending)
        if len(pending) + len(self.suspects) and not asked_to_stop():
            self.waiting = self._shares(pending, workers) if self.executor.whole_shares else deque([pending])
            with open_pool() as pool:
                self.heard = time.monotonic()
                while self._goes_on():
                    self._submit(pool, workers)
                    if self.out:
                        self._collect(pool)
        self.store.require_there(self.shards)
        if not asked_to_stop():
            self.store.forget_tried({self.work.label: self.work.axes_asked()})
        elif self.executor.whole_shares:
            # Nobody has reported the shares that are not waited for.
            self.pace.done = len(asked) - len(self._left(asked))
        self.pace.close()
        if asked_to_stop():
            self.pace.tell_stopped(self.work.goes_on)
        elif self.work.tells_end:
            self.pace.tell_end()

    def _goes_on(self) -> bool:
        """Whether there is something to wait for; where it is asked to stop, chunks of seconds and not whole shares."""
        if asked_to_stop():
            return bool(self.out) and not self.executor.whole_shares
        return bool(self.out or self.waiting or self.suspects)

    def _first(self, pending: Array) -> Array:
        """Do a few cells here, which differ as much as cells do; return the others.

        Those in which an earlier caller was ended are left to the workers, as suspects.
        """
        cells = np.intersect1d(self.work.first(), pending)
        if not len(cells):
            cells = pending[:1]
        if not len(cells):
            return pending
        asked = {self.work.label: self.work.axes_asked()}
        suspects = np.intersect1d(self.store.tried(asked), pending).astype(np.int64)
        if len(suspects):
            # Marks of what the cells are made of are those of this process, before it goes elsewhere.
            for index in cells.tolist():
                self.worker.describe(index)
            self.suspects.append(suspects)
            self.pace.tell(
                f"an earlier call was ended while it did {len(suspects)} of these runs; workers do them apart, and one "
                "that ends every worker becomes an error (with 'serial', which has none, it ends the call)"
            )
            return pending[~np.isin(pending, suspects)]
        with self.worker.shard.trying(asked, cells.tolist()):
            report = self.worker(self._chunk(cells, FIRST_SECONDS))
        self._add(report)
        started = np.setdiff1d(cells, report.rest)
        return pending[~np.isin(pending, started)]

    def _shares(self, pending: Array, workers: int) -> deque[Array]:
        """Return a share for each worker; neighbours are alike, so that each gets of everything."""
        return deque(pending[k::workers] for k in range(min(workers, len(pending))))

    def _submit(self, pool: Pool, workers: int) -> None:
        whole = self.executor.whole_shares
        while not asked_to_stop() and (whole or self.doubted.isdisjoint(self.out)):
            if self.suspects:
                if self.out and not whole:
                    return
                cells = self.suspects.popleft()
                self.doubted.add(self.tasks + 1)
            elif self.waiting and (whole or len(self.out) < AHEAD * workers):
                cells = self._not_done_elsewhere(self._next(workers))
                if not len(cells):
                    continue
            else:
                return
            self.tasks += 1
            self.out[self.tasks] = cells
            seconds = np.inf if whole else CHUNK_SECONDS
            pool.submit(self.tasks, self._chunk(cells, seconds))

    def _next(self, workers: int) -> Array:
        """Return cells for about the time of a chunk, or a worker's share of the last ones."""
        if self.executor.whole_shares:
            return self.waiting.popleft()
        self._look_for_others(workers)
        cells = self.waiting.popleft()
        left = len(cells) + sum(map(len, self.waiting))
        size = int(self.pace.rate_of_a_worker * CHUNK_SECONDS)
        size = max(1, min(size, -(-left // workers), LARGEST_CHUNK))
        if len(cells) > size:
            self.waiting.appendleft(cells[size:])
        return cells[:size]

    def _look_for_others(self, workers: int) -> None:
        """Go on in an order of one's own where another call is at work on the store, as both would do the same runs.

        Nothing is locked: at worst what both have in hand is done twice.
        """
        if self.shared or self.store.callers() <= {self.worker.shard.name}:
            return
        self.shared = True
        self.pace.tell("another call seems to be at work on the same store: the runs that are left are shared with it")
        cells = np.concatenate(list(self.waiting))
        parts = np.array_split(cells, min(len(cells), PARTS * workers))
        self.waiting = deque(parts[k] for k in np.random.default_rng().permutation(len(parts)))

    def _not_done_elsewhere(self, cells: Array) -> Array:
        """Return those of a chunk's cells that no other call has done."""
        if not self.shared:
            return cells
        left = self._left(cells)
        self.pace.add(Report(len(cells) - len(left), 0, 0.0, left))
        return left

    def _chunk(self, cells: Array, seconds: float) -> Chunk:
        return Chunk(f"{self.worker.shard.name}-{self.tasks}", cells, seconds, COMMIT_SECONDS, self.began)

    def _collect(self, pool: Pool) -> None:
        outcomes = pool.wait(0.5)
        self._listen(outcomes)
        for outcome in outcomes:
            cells = self.out.pop(outcome.task)
            if outcome.lost:
                self._lost(cells, outcome.suspect, outcome.task in self.doubted)
                continue
            report: Report = outcome.report
            self._add(report)
            rest = report.rest
            if report.done + len(rest) < len(cells):
                # An earlier attempt has done the others, if they are in the store.
                rest = self._left(cells)
                self.pace.add(Report(len(cells) - report.done - len(rest), 0, 0.0, rest))
            if len(rest):
                self.waiting.appendleft(rest)
        self.pace.show(self.store if self.executor.whole_shares else None)

    def _listen(self, outcomes: Sequence[Outcome]) -> None:
        """Say of a silent executor of the user's own that it may have lost a chunk, which looks like a long run."""
        now = time.monotonic()
        if outcomes:
            self.heard = now
        elif now - self.heard > SILENCE_SECONDS and not (self.executor.whole_shares or of_package(type(self.executor))):
            self.pace.tell(
                f"backend: {self.executor.name!r} has brought nothing back for {duration(now - self.heard)}, and holds "
                f"{len(self.out)} chunks, of which each takes {CHUNK_SECONDS:g} s or one run; where its workers are "
                "idle it has lost them, which lorasolve.check_executor looks for (Ctrl-C twice ends the call)"
            )
            self.heard = math.inf

    def _add(self, report: Report) -> None:
        self.pace.add(report)
        if report.done:
            self.shards.add(report.shard)

    def _left(self, cells: Array) -> Array:
        """Return those of a chunk's cells that the store does not hold."""
        self.known.update(self.store.new_keys(self.began, self.read))
        left = [index for index in cells.tolist() if self.worker.describe(index).key not in self.known]
        return np.array(left, np.int64)

    def _lost(self, cells: Array, suspect: bool, doubted: bool) -> None:
        """Do again what a lost worker had not committed; a run that ends every process is an error."""
        left = self._left(cells)
        self.pace.add(Report(len(cells) - len(left), 0, 0.0, left))
        if suspect and doubted and len(cells) == len(left) == 1:
            entry = lost(self.worker.describe(int(left[0])))
            self.worker.shard.commit([entry])
            self.pace.add(Report(1, 1, 0.0, np.empty(0, np.int64)))
        elif not suspect or (self.executor.whole_shares and len(left) < len(cells)):
            # Machines end too: a worker that got on is no reason to doubt what it had.
            self.waiting.extend([left] if len(left) else [])
        else:
            middle = (len(left) + 1) // 2
            self.suspects.extend(part for part in (left[:middle], left[middle:]) if len(part))


@contextmanager
def _stoppable(label: str) -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM ask for a stop; a second one ends at once. In the main thread only.

    After SIGTERM the second one comes by itself, at the end of grace. A call in a run of another one is not asked: half
    of what that run does is no run.
    """
    asked, over = threading.Event(), threading.Event()

    def end(number: int, frame: Any) -> NoReturn:
        raise _AtOnce

    interrupt = patient(end)

    def end_of_grace() -> None:
        if not over.wait(GRACE_SECONDS):
            _thread.interrupt_main(signal.SIGTERM)

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            interrupt(number, frame)
            return
        asked.set()
        limit = "Ctrl-C again ends at once"
        if number == signal.SIGTERM:
            TERMINATED.set()
            limit = f"in {GRACE_SECONDS:g} s it ends"
            _thread.start_new_thread(end_of_grace, ())
        # Not by print, which a signal may have interrupted.
        with suppress(OSError):
            os.write(2, f"{label}: what is in progress is finished first; {limit}\n".encode())

    before = STOP.set(asked)
    try:
        with handled({} if is_part() else {signal.SIGINT: ask, signal.SIGTERM: ask}):
            yield asked
    finally:
        STOP.reset(before)
        over.set()
