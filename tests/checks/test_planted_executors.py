"""Planted errors in executors, each caught by the check that is about it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import pytest

from lorasolve.checks import check_executor
from lorasolve.executors import Executor, Outcome, Pool
from lorasolve.executors.base import packed, unpacked

ANSWERS = "every chunk comes back once"
ERRORS = "an error of the function is raised"
LOST = "a worker that ends is lost, and others go on"


class Here(Pool):
    """One that is right."""

    def __init__(self, start: Any) -> None:
        self.work = start()
        self.tasks: list[tuple[int, Any]] = []

    def submit(self, task: int, chunk: Any) -> None:
        self.tasks.append((task, chunk))

    def wait(self, seconds: float) -> Any:
        return [self.do(*self.tasks.pop(0))] if self.tasks else []

    def do(self, task: int, chunk: Any) -> Outcome:
        return Outcome(task, self.work(chunk))


class Loses(Here):
    def wait(self, seconds: float) -> Any:
        return [each for each in super().wait(seconds) if each.task != 3]


class Repeats(Here):
    def wait(self, seconds: float) -> Any:
        return 2 * super().wait(seconds)


class Mixes(Here):
    """Does the chunk given first, as a function in a loop does that takes the loop's variable."""

    def submit(self, task: int, chunk: Any) -> None:
        super().submit(task, self.tasks[0][1] if self.tasks else chunk)


class Swallows(Here):
    def do(self, task: int, chunk: Any) -> Outcome:
        try:
            return super().do(task, chunk)
        except ValueError:
            return Outcome(task)


class CallsErrorsLosses(Here):
    def do(self, task: int, chunk: Any) -> Outcome:
        try:
            return super().do(task, chunk)
        except ValueError:
            return Outcome(task, lost=True)


class InThreads(Pool):
    def __init__(self, start: Any) -> None:
        self.work = start()
        self.pool: Any = ThreadPoolExecutor(2)
        self.tasks: dict[Future[Any], int] = {}

    def submit(self, task: int, chunk: Any) -> None:
        self.tasks[self.pool.submit(self.work, chunk)] = task

    def wait(self, seconds: float) -> list[Outcome]:
        done, _ = wait(self.tasks, timeout=seconds, return_when=FIRST_COMPLETED)
        return [Outcome(self.tasks.pop(each), each.result()) for each in done]

    def close(self) -> None:
        self.pool.shutdown()


class InThreadsInTurn(InThreads):
    """The same with a lock."""

    def __init__(self, start: Any) -> None:
        super().__init__(start)
        work, lock = self.work, threading.Lock()

        def in_turn(chunk: Any) -> Any:
            with lock:
                return work(chunk)

        self.work = in_turn


class InProcesses(InThreads):
    """Says nothing of a worker that ends."""

    def __init__(self, start: Any) -> None:
        self.start = start
        self.pool = ProcessPoolExecutor(2, get_context("forkserver"))
        self.tasks = {}

    def submit(self, task: int, chunk: Any) -> None:
        start = self.start
        # What is made here goes to a process by its content: none there knows this file by its name.
        self.tasks[self.pool.submit(unpacked, packed(lambda: start()(chunk)))] = task


class Unpacked(InThreads):
    """Gives processes what Python's own pickle cannot write."""

    def __init__(self, start: Any) -> None:
        super().__init__(start)
        self.pool = ProcessPoolExecutor(2, get_context("forkserver"))


class StaysOpen(InProcesses):
    def close(self) -> None:
        pass


def executor(pool: Callable[[Any], Pool], number: Any = 1) -> Executor:
    @dataclass(frozen=True)
    class Own(Executor):
        name = "own"
        summary = "planted"

        def workers(self, n_jobs: int | None) -> Any:
            return number

        def open(self, start: Any, n_workers: int, threads: int, results: Any = None) -> Pool:
            return pool(start)

    return Own()


@pytest.mark.parametrize(
    ("pool", "wrong"),
    [
        (Here, set()),
        (Loses, {ANSWERS}),
        (Repeats, {ANSWERS, LOST, "closing ends the workers"}),
        (Mixes, {ANSWERS}),
        (Swallows, {ERRORS}),
        (CallsErrorsLosses, {ERRORS}),
        (InThreads, {"one chunk at a time in a process"}),
        (InThreadsInTurn, set()),
        (lambda start: None, {ANSWERS, ERRORS, LOST, "closing ends the workers"}),
    ],
)
def test_each_fault_is_caught_by_its_check(pool: Any, wrong: set[str]) -> None:
    report = check_executor(executor(pool), 3.0)
    assert {check.name for check in report.failures} == wrong, str(report)


def test_processes_of_which_one_ends_all_are_caught() -> None:
    """They take seconds to begin on a busy machine, and nothing here waits for what never comes."""
    assert [check.name for check in check_executor(executor(InProcesses)).failures] == [LOST]


def test_work_of_scripts_and_processes_that_stay_are_checked() -> None:
    assert ANSWERS in {check.name for check in check_executor(executor(Unpacked), 3.0).failures}
    assert "closing ends the workers" in {check.name for check in check_executor(executor(StaysOpen), 3.0).failures}


@pytest.mark.parametrize("number", [0, None, 2.0])
def test_a_number_of_workers_that_is_none_is_caught(number: Any) -> None:
    assert "workers" in {check.name for check in check_executor(executor(Here, number), 3.0).failures}


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^executor: "):
        check_executor(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^seconds: "):
        check_executor(executor(Here), 0.0)
