"""All work in this process, the chunk given last before the others."""

from dataclasses import dataclass

from lorasolve.executors import Executor, Outcome, Pool


@dataclass(frozen=True)
class LastFirst(Executor):
    """This process, without settings."""

    name = "last_first"
    summary = "this process, the chunk given last before the others"

    def workers(self, n_jobs):
        """Return 1, whatever is asked for."""
        return 1

    def open(self, start, n_workers, threads, results=None):
        """Return a pool that works while it is waited for."""
        return _Stack(start())


class _Stack(Pool):
    def __init__(self, work):
        self.work = work
        self.tasks = []

    def submit(self, task, chunk):
        self.tasks.append((task, chunk))

    def wait(self, seconds):
        task, chunk = self.tasks.pop()
        return [Outcome(task, self.work(chunk))]
