"""Chunks through pools of workers, whoever asks."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lorasolve.executors.base import Outcome, Pool, outcomes
from lorasolve.executors.loky import Loky
from lorasolve.executors.serial import Serial


class Recorder(Pool):
    """Brings back the chunk given last, now and then nothing, and knows how many it has held at a time."""

    def __init__(self) -> None:
        self.held: list[tuple[int, Any]] = []
        self.most = self.waits = 0

    def submit(self, task: int, chunk: Any) -> None:
        self.held.append((task, chunk))
        self.most = max(self.most, len(self.held))

    def wait(self, seconds: float) -> list[Outcome]:
        self.waits += 1
        if self.waits % 3 == 0:
            return []
        task, chunk = self.held.pop()
        return [Outcome(task, chunk, lost=chunk == "d")]


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_every_chunk_comes_back_and_few_are_held(at_once: int) -> None:
    pool = Recorder()
    coming = outcomes(pool, "abcdef", at_once)
    assert len(pool.held) == min(at_once, 6)  # before the first is asked for
    found = list(coming)
    assert sorted((outcome.task, outcome.report) for outcome in found) == list(enumerate("abcdef"))
    assert [outcome.report for outcome in found if outcome.lost] == ["d"]
    assert pool.most == min(at_once, 6)
    assert list(outcomes(Pool(), [], 4)) == []


@pytest.mark.parametrize("executor", [Serial(), Loky()])
def test_workers_answer_by_number(executor: Serial | Loky) -> None:
    with executor.open(lambda: abs, 2 if isinstance(executor, Loky) else 1, 1) as pool:
        found = {outcome.task: outcome.report for outcome in outcomes(pool, range(-5, 5), 4)}
    assert found == {task: abs(task - 5) for task in range(10)}


def test_work_that_cannot_go_to_other_processes_is_refused_in_words() -> None:
    lock = threading.Lock()

    def work() -> Any:
        with lock:
            return abs

    with pytest.raises(TypeError, match=r"backend: the work cannot go .*\(cannot pickle .*lock.*, or take 'serial'"):
        Loky().open(work, 1, 1)
    with Serial().open(work, 1, 1) as pool:
        assert [outcome.report for outcome in outcomes(pool, [-1], 1)] == [1]
