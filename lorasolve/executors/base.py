"""What an executor is: it carries chunks of work to workers and brings back what they report."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .._threads import available_threads
from .._validate import as_integer

# Makes, in a worker, the function that chunks are given to.
Start = Callable[[], Callable[[Any], Any]]


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
    """

    task: int
    report: Any = None
    lost: bool = False


class Pool:
    """Workers that are there; a context manager, which ends them."""

    def submit(self, task: int, chunk: Any) -> None:
        """Give a chunk to some worker, under a number."""
        raise NotImplementedError

    def wait(self, seconds: float) -> list[Outcome]:
        """Return what has become of tasks, within the time; an error of the function itself is raised."""
        raise NotImplementedError

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

    def open(self, start: Start, n_workers: int, threads: int) -> Pool:
        """Start workers, each of which makes its function by ``start()`` and uses a number of threads."""
        raise NotImplementedError


def packed(start: Start) -> bytes:
    """Return what a worker makes its function of, with the folders that modules are imported from here."""
    import cloudpickle

    return pickle.dumps((sys.path, cloudpickle.dumps(start)))


def unpacked(payload: bytes) -> Callable[[Any], Any]:
    """Return the function, in a worker of the same user; what others sent is never read this way."""
    path, start = pickle.loads(payload)
    sys.path.extend(folder for folder in path if folder not in sys.path)
    made: Callable[[Any], Any] = pickle.loads(start)()
    return made


def needs(library: str, name: str, extra: str) -> str:
    """Return how to get what an executor needs."""
    return f"backend: {name!r} needs {library}, which is not installed; pip install 'lorasolve[{extra}]'"
