"""Worker processes on this machine, by loky, which comes with joblib; a worker that dies is replaced."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from .._support.interruptions import not_for_children, undisturbed
from .base import Executor, Outcome, Pool, Start, packed, unpacked

# How often a worker looks whether the process that started it is still there.
_WATCH_SECONDS = 0.2
# What to do at these signals is the parent's affair.
_PARENTS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Loky(Executor):
    """Worker processes on this machine. They start afresh, so that nothing of the caller's state matters."""

    name = "loky"
    summary = "worker processes on this machine (joblib's loky)"

    def open(self, start: Start, n_workers: int, threads: int, results: pathlib.Path | None = None) -> Pool:
        """Start the processes, each with its share of threads."""
        return _Processes(packed(start), n_workers, threads)


class _Processes(Pool):
    def __init__(self, payload: bytes, n_workers: int, threads: int) -> None:
        self._settings = (payload, n_workers, threads)
        self._tasks: dict[Future[Any], int] = {}
        with undisturbed(*_PARENTS):
            self._executor = self._started()

    def _started(self) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        payload, n_workers, threads = self._settings
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        return ProcessPoolExecutor(
            max_workers=n_workers,
            initializer=_begin,
            initargs=(payload, os.getpid()),
            env={name: str(threads) for name in names},
        )

    def submit(self, task: int, chunk: Any) -> None:
        # The first tasks start the workers. Loky waits without end for one that ends before it has read its work, and
        # an executor whose own thread has not quite begun cannot be shut down.
        with undisturbed(*_PARENTS), not_for_children(*_PARENTS):
            try:
                future = self._executor.submit(_call, chunk)
            except BrokenProcessPool:
                self._executor = self._started()
                future = self._executor.submit(_call, chunk)
        self._tasks[future] = task

    def wait(self, seconds: float) -> list[Outcome]:
        finished, _ = wait(self._tasks, timeout=seconds, return_when=FIRST_COMPLETED)
        outcomes = []
        for future in finished:
            task = self._tasks.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                outcomes.append(Outcome(task, lost=True))
            elif error is not None:
                raise error
            else:
                outcomes.append(Outcome(task, future.result()))
        return outcomes

    def close(self) -> None:
        # Where tasks are left, nobody will ask for their answers.
        self._executor.shutdown(wait=True, kill_workers=bool(self._tasks))


_payload: bytes = b""
_work: Any = None


def _begin(payload: bytes, parent: int) -> None:
    """Prepare a worker: to stop it is the parent's affair, and without a parent there is nothing to do."""
    global _payload
    _payload = payload
    for asked in _PARENTS:
        signal.signal(asked, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _call(chunk: Any) -> Any:
    global _work
    if _work is None:
        _work = unpacked(_payload)
    return _work(chunk)
