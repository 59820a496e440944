"""All work in this process, one chunk after the other."""

from __future__ import annotations

import pathlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from .._support.validate import as_integer, shown
from .base import Executor, Outcome, Pool, Start


@dataclass(frozen=True)
class Serial(Executor):
    """This process; it uses the threads of the package's setting.

    A run that ends the process (``os._exit``, a crash of compiled code) ends the caller with it, in every call again:
    the other executors find such a run and make it an error.
    """

    name = "serial"
    summary = "this process, one chunk after the other"

    def workers(self, n_jobs: int | None) -> int:
        """Return 1."""
        if n_jobs is not None and as_integer(n_jobs, "n_jobs", 1) > 1:
            raise ValueError(f"n_jobs: expected 1, as 'serial' is this process alone, got {shown(n_jobs)}")
        return 1

    def open(self, start: Start, n_workers: int, threads: int, results: pathlib.Path | None = None) -> Pool:
        """Return a pool that works while it is waited for."""
        return _Here(start)


class _Here(Pool):
    def __init__(self, start: Start) -> None:
        self._work = start()
        self._tasks: deque[tuple[int, Any]] = deque()

    def submit(self, task: int, chunk: Any) -> None:
        self._tasks.append((task, chunk))

    def wait(self, seconds: float) -> list[Outcome]:
        task, chunk = self._tasks.popleft()
        return [Outcome(task, self._work(chunk))]
