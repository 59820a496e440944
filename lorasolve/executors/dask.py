"""Workers of dask.distributed: a cluster that is there already, or processes on this machine."""

from __future__ import annotations

import ast
import importlib.util
import pathlib
import secrets
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from .._support.interruptions import not_for_children
from .base import Executor, Outcome, Pool, Start, WorkersError, needs, packed, unpacked

# A cluster may be without workers for so long: one that grows on request starts them when there is work.
_PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Dask(Executor):
    """Workers of a dask cluster. Dask gives the work of a worker that dies to another one.

    A worker process does one chunk at a time, however many threads it has: ``dask worker --nworkers N --nthreads 1``
    uses ``N`` cores.

    Parameters
    ----------
    address : str, optional
        Of the scheduler, for example ``"tcp://host:8786"``; by default a cluster of processes is started here. All
        workers must see the folder of the store.
    """

    address: str | None = None

    name = "dask"
    summary = "workers of dask.distributed, here or where address says"

    def require(self) -> None:
        """Refuse to begin without dask, and to start processes of a script that they would run again."""
        if importlib.util.find_spec("distributed") is None:
            raise ValueError(needs("dask.distributed", self.name, "dask"))
        if self.address is None:
            _refuse_to_run_twice()

    def open(self, start: Start, n_workers: int, threads: int, results: pathlib.Path | None = None) -> Pool:
        """Connect to the scheduler, or start one with workers."""
        self.require()
        return _Cluster(self.address, packed(start), n_workers)


class _Cluster(Pool):
    def __init__(self, address: str | None, payload: bytes, n_workers: int) -> None:
        import dask
        import distributed

        self._cluster = None
        if address is None:
            # Also those that replace a dead worker: they are started by a thread that is started here.
            # What ends a worker is found sooner by who gives the work out than by trying the same again.
            once = dask.config.set({"distributed.scheduler.allowed-failures": 0})
            with not_for_children(signal.SIGINT), once:
                self._cluster = distributed.LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
                )
        self._client = distributed.Client(self._cluster) if address is None else _client(address)
        self._token = secrets.token_hex(8)
        # New workers get it too, those that replace a dead one included.
        self._client.register_plugin(_plugin(self._token, payload))
        self._tasks: dict[Any, int] = {}
        # When it was first seen that there are no workers.
        self._without: float | None = None

    def submit(self, task: int, chunk: Any) -> None:
        self._refuse_closed()
        self._tasks[self._client.submit(_call, self._token, chunk, pure=False)] = task

    def wait(self, seconds: float) -> list[Outcome]:
        import distributed

        self._refuse_closed()
        try:
            distributed.wait(list(self._tasks), timeout=seconds, return_when="FIRST_COMPLETED")
        except (TimeoutError, distributed.TimeoutError):
            self._ask_for_workers()
            return []
        except CancelledError:
            pass  # Of some of them, by the scheduler; which is in their states.
        outcomes = []
        for future in [future for future in self._tasks if future.status != "pending"]:
            task = self._tasks.pop(future)
            if future.status == "finished":
                report = future.result()
                if isinstance(report, KeyboardInterrupt):
                    raise report
                outcomes.append(Outcome(task, report))
            elif future.status in ("cancelled", "lost"):
                outcomes.append(Outcome(task, lost=True, suspect=False))
            elif isinstance(future.exception(), distributed.KilledWorker):
                outcomes.append(Outcome(task, lost=True))
            else:
                future.result()  # raises what the function raised
        return outcomes

    @property
    def _is_closed(self) -> bool:
        return self._client.status in ("closing", "closed")

    def _refuse_closed(self) -> None:
        """Refuse to go on with a client that has given its scheduler up, after dask's own time for that."""
        if self._is_closed:
            raise WorkersError(
                "backend: the scheduler of dask is gone; what is finished is kept, the same call goes on"
            )

    def _ask_for_workers(self) -> None:
        """Refuse to wait without end for workers that nobody starts."""
        try:
            there = bool(self._client.scheduler_info().get("workers"))
        except OSError:
            there = False
        now = time.monotonic()
        self._without = None if there else self._without or now
        if self._without is not None and now - self._without > _PATIENCE_SECONDS:
            raise WorkersError(
                f"backend: the cluster of dask has had no workers for {_PATIENCE_SECONDS:g} s; what is finished is "
                "kept, the same call goes on"
            )

    def close(self) -> None:
        if not self._is_closed:
            self._client.cancel(list(self._tasks))
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def _client(address: str) -> Any:
    """Return a client of the scheduler at an address."""
    import distributed

    try:
        return distributed.Client(address)
    except OSError as error:
        raise WorkersError(f"backend: no scheduler of dask answers at {address}: {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"backend: dask: address: expected that of a scheduler, as tcp://host:8786, got {address!r}: {error}"
        ) from error


def _refuse_to_run_twice() -> None:
    """Refuse a script that its workers, which read it when they start, would run again, and one that they cannot."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None:
        return
    try:
        statements = ast.parse(pathlib.Path(path).read_bytes()).body
    except FileNotFoundError:
        raise ValueError(
            f"backend: workers of 'dask' that are started here read the program, and {path} is no file; save it as "
            "one, or give an address"
        ) from None
    except (OSError, SyntaxError, ValueError):
        return
    if not any(isinstance(one, ast.If) and "'__name__'" in ast.dump(one.test) for one in statements):
        raise ValueError(
            f"backend: workers of 'dask' that are started here would run {path} again; put what it does under "
            'if __name__ == "__main__":, or give an address'
        )


# In a worker: what each study has sent, and the functions made of it.
_payloads: dict[str, bytes] = {}
_works: dict[str, Any] = {}
# A worker may have several threads, and the functions set the number of threads of the whole process.
_one_at_a_time = threading.Lock()


def _plugin(token: str, payload: bytes) -> Any:
    from distributed import WorkerPlugin

    class Sent(WorkerPlugin):
        """Leaves a study with a worker."""

        name = f"lorasolve-{token}"

        def setup(self, worker: Any) -> None:
            from lorasolve.executors import dask

            dask._payloads[token] = payload

        def teardown(self, worker: Any) -> None:
            from lorasolve.executors import dask

            dask._payloads.pop(token, None)
            dask._works.pop(token, None)

    return Sent()


def _call(token: str, chunk: Any) -> Any:
    with _one_at_a_time:
        if token not in _works:
            _works[token] = unpacked(_payloads[token])
        try:
            return _works[token](chunk)
        except KeyboardInterrupt as error:
            return error  # Raised here it would end the worker, and others would try the same.
