"""Tests of what an executor is: that every chunk comes back once, and what becomes of errors and of lost workers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .._support.files import is_alive
from .._support.validate import as_integer, as_number
from ..executors import registry
from ..executors.base import Executor, Outcome, Pool, Watched
from .base import Checked, CheckReport, run_checks

CHUNKS = 12
# What a chunk takes, so that those that are done at once overlap.
CHUNK_SECONDS = 0.05
WORKERS = 2
# What processes have to be gone in once their pool is closed.
ENDING_SECONDS = 10.0
# Its words come back with an error.
ASKED_FOR = "an error that was asked for"


class _Answer(NamedTuple):
    """What a worker says of a chunk: its number, and the machine, process and times that did it."""

    number: int
    host: str
    process: int
    began: float
    ended: float


@dataclass
class _Bench:
    """The executor under test, and how long each of its pools is waited for."""

    executor: Executor
    seconds: float

    def workers(self) -> int:
        """Return a small number of workers that it has."""
        try:
            return as_integer(self.executor.workers(WORKERS), "workers(2)", 1)
        except ValueError:  # it may have one only
            return as_integer(self.executor.workers(1), "workers(1)", 1)

    def pool(self) -> Pool:
        """Return a pool, whose work no module has by name: so is that of scripts."""
        work = _do

        def start() -> Callable[[tuple[str, int]], _Answer]:
            return lambda chunk: work(*chunk)

        return Watched(self.executor, start, self.workers(), 1)

    def outcomes(self, pool: Pool, count: int) -> list[Outcome]:
        """Return what comes back of some tasks within the time."""
        until = time.monotonic() + self.seconds
        found: list[Outcome] = []
        while len(found) < count and time.monotonic() < until:
            found += pool.wait(min(1.0, self.seconds))
        return found


def check_executor(executor: str | Executor, seconds: float = 60.0) -> CheckReport:
    """Test what an executor does with chunks.

    Parameters
    ----------
    executor : str or Executor
        The executor, with its settings: itself, or its text as everywhere.
    seconds : float
        How long what a pool was given is waited for.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError, ValueError
        If ``executor`` is no executor, or the time no positive number.

    Notes
    -----
    Checked: every chunk comes back once with its own answer; work that no module has by name, as of a script, goes to
    the workers; no process does two chunks at a time; an error of a worker's function is raised; a worker that ends is
    lost and others go on, where workers are processes of their own; to close a pool ends them. A ``wait`` that never
    returns is waited for: it takes a time for that.

    Examples
    --------
    >>> from lorasolve.executors import Serial
    >>> check_executor(Serial()).ok
    True
    """
    executor = registry.make(executor, "executor")
    seconds = as_number(seconds, "seconds", 0.0, open_low=True)
    return run_checks(type(executor).__name__, _Bench(executor, seconds), _CHECKS)


def _do(kind: str, number: int) -> _Answer:
    """Do a chunk in a worker: sleep, raise, or end the process."""
    began = time.perf_counter()
    if kind == "raise":
        raise ValueError(ASKED_FOR)
    if kind == "end":
        os._exit(1)
    time.sleep(CHUNK_SECONDS)
    return _Answer(number, socket.gethostname(), os.getpid(), began, time.perf_counter())


def _workers(bench: _Bench) -> Iterator[Checked]:
    wrong = []
    for asked in (None, 1):
        try:
            as_integer(bench.executor.workers(asked), f"workers({asked})", 1, asked)
        except (TypeError, ValueError) as error:
            wrong.append(str(error))
    yield Checked("workers", not wrong, "; ".join(wrong) or "one at least, and one where one is asked for")


def _answers(bench: _Bench) -> Iterator[Checked]:
    with bench.pool() as pool:
        for task in range(CHUNKS):
            pool.submit(task, ("sleep", task))
        found = bench.outcomes(pool, CHUNKS)
    missing = sorted(set(range(CHUNKS)) - {outcome.task for outcome in found})
    lost = [outcome.task for outcome in found if outcome.lost]
    wrong = [f"tasks {missing} did not come back within {bench.seconds:g} s"] if missing else []
    wrong += [f"tasks {lost} came back as lost, and ended no worker"] if lost else []
    yield Checked("every chunk comes back once", not wrong, "; ".join(wrong) or f"{CHUNKS} chunks, each its own answer")
    answers = [outcome.report for outcome in found if not outcome.lost]
    both = [
        one.process
        for one in answers
        for other in answers
        if one[:3] != other[:3] and one[1:3] == other[1:3] and one.began <= other.began < one.ended
    ]
    shown = f"{len({one[1:3] for one in answers})} processes"
    if both:
        shown = (
            f"process {both[0]} did two at once, and what losses remember and threads are the process's: start one "
            "for each worker, or hold a lock"
        )
    yield Checked("one chunk at a time in a process", not both, shown)


def _errors(bench: _Bench) -> Iterator[Checked]:
    name = "an error of the function is raised"
    with bench.pool() as pool:
        pool.submit(0, ("raise", 0))
        try:
            found = bench.outcomes(pool, 1)
        except Exception as error:
            yield Checked(name, ASKED_FOR in str(error), f"{type(error).__name__}: {error}")
            return
    became = f"came back as {found[0]}" if found else f"is not said within {bench.seconds:g} s"
    yield Checked(name, False, f"it {became}; wait() has to raise it")


def _lost(bench: _Bench) -> Iterator[Checked]:
    name = "a worker that ends is lost, and others go on"
    with bench.pool() as pool:
        pool.submit(0, ("sleep", 0))
        first = bench.outcomes(pool, 1)
        if not first or first[0].lost:
            yield Checked(name, None, "not tested: no chunk comes back")
            return
        if first[0].report[1:3] == (socket.gethostname(), os.getpid()):
            yield Checked(name, None, "not tested: it works in this process")
            return
        pool.submit(1, ("end", 1))
        ended = bench.outcomes(pool, 1)
        lost = bool(ended) and ended[0].lost
        pool.submit(2, ("sleep", 2))
        after = bench.outcomes(pool, 1)
    goes_on = bool(after) and not after[0].lost
    yield Checked(name, lost and goes_on, f"an Outcome with lost=True: {lost}; the next chunk comes back: {goes_on}")


def _closes(bench: _Bench) -> Iterator[Checked]:
    with bench.pool() as pool:
        pool.submit(0, ("sleep", 0))
        found = bench.outcomes(pool, 1)
        pool.submit(1, ("sleep", 1))
        time.sleep(0.5 * CHUNK_SECONDS)  # until it is begun
    here = [outcome.report for outcome in found if not outcome.lost and outcome.report.host == socket.gethostname()]
    others = {answer.process for answer in here} - {os.getpid()}
    seconds = min(bench.seconds, ENDING_SECONDS)
    until = time.monotonic() + seconds
    while any(map(is_alive, others)) and time.monotonic() < until:
        time.sleep(CHUNK_SECONDS)
    left = [process for process in others if is_alive(process)]
    shown = f"processes {left} are there {seconds:g} s later" if left else "with a chunk in progress too"
    yield Checked("closing ends the workers", not left, shown)


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "workers": _workers,
    "every chunk comes back once": _answers,
    "an error of the function is raised": _errors,
    "a worker that ends is lost, and others go on": _lost,
    "closing ends the workers": _closes,
}
