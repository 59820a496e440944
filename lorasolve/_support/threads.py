"""One thread setting for Numba and for every BLAS in the process.

NumPy and SciPy bring a BLAS each, Numba a pool of its own; idle workers of one spin against the others. The
setting is ``set_threads(n)`` or the environment variable ``LORASOLVE_NUM_THREADS`` (default: all cores).
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .memory import keep_freed_memory
from .validate import as_integer

# Far beyond any machine's cores, and still a number of threads that every library takes.
MOST_THREADS = 4096

# The control groups of this process, and the folder of all.
PROCESS_GROUPS, GROUPS = pathlib.Path("/proc/self/cgroup"), pathlib.Path("/sys/fs/cgroup")

# Rows per task of a product that is divided among threads.
BLOCK = 192

# Order of a matrix from which a factorisation by SciPy on all threads is worth more than what its idle workers cost.
LARGE = 2500

# Least seconds between two looks at whether other programs want the cores, and most after which one means anything.
LOOK_SECONDS, STALE_SECONDS = 0.02, 0.5
# Share of its time that a thread waits for a core: 0.01 alone, 0.25 and more beside one busy program on two cores.
CROWDED = 0.1
# Seconds on one thread until all are tried again.
SHORTEST_WAIT, LONGEST_WAIT = 0.1, 2.0

_setting: int | None = None
# Controllers of the libraries that were loaded when they were made, with and without SciPy's BLAS.
_controllers: dict[bool, tuple[Any, Any]] = {}
# Of each BLAS that is limited, by its file: its threads before, and what each open block asks for, the latest last.
_blocks: dict[str, tuple[int, dict[object, int]]] = {}
_blocks_lock = threading.Lock()


def available_threads() -> int:
    """Return the number of cores this process may use: those it may run on, as far as its control groups let it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _quota())


@functools.cache
def _quota() -> int:
    """Return to how many cores the control groups of this process are limited, rounded up.

    As by ``docker run --cpus``: of more threads all are stopped for the rest of each period, those that wait included.
    """
    allowed = MOST_THREADS
    with contextlib.suppress(OSError):
        for line in PROCESS_GROUPS.read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number != "0":  # of another hierarchy than the unified one
                continue
            group = GROUPS / path.lstrip("/")
            for folder in (group, *group.parents):
                # "max" where there is no limit, no file at the root and outside of Linux.
                with contextlib.suppress(OSError, ValueError):
                    quota, period = map(int, (folder / "cpu.max").read_text().split())
                    allowed = min(allowed, max(-(-quota // period), 1))
    return allowed


def get_threads() -> int:
    """Return the number of threads that solvers use."""
    if _setting is not None:
        return _setting
    given = os.environ.get("LORASOLVE_NUM_THREADS")
    if given is None:
        return available_threads()
    if not re.fullmatch("[0-9]{1,9}", given):
        raise ValueError(f"LORASOLVE_NUM_THREADS: expected an integer from 1 to {MOST_THREADS}, got {given[:80]!r}")
    return as_integer(int(given), "LORASOLVE_NUM_THREADS", 1, MOST_THREADS)


def set_threads(n: int) -> None:
    """Use ``n`` threads in every kernel, and in BLAS while solvers run and points are judged.

    Results do not depend on the setting beyond rounding (1e-10 relative in the tests).

    Parameters
    ----------
    n : int
        From 1 to 4096; kernels take no more than the machine has cores.

    Raises
    ------
    ValueError, TypeError
        For anything else.
    """
    global _setting
    _setting = as_integer(n, "n", 1, MOST_THREADS)


@contextlib.contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Limit the BLAS libraries that are loaded so far to ``n`` threads inside the block."""
    with _limited(_loaded()[0], n, raising=True):
        yield


@contextlib.contextmanager
def solver_pools(compiled: bool) -> Iterator[None]:
    """Limit BLAS while a solver runs: one thread where its loop runs on Numba's threads, else the setting.

    Idle workers of one pool spin against the other; with both, L-BFGS on completion and gradient descent on linear
    fine-tuning were ten times slower. So a BLAS of SciPy's own, of which solvers ask little, keeps to one thread beside
    NumPy's: with two in each, SciPy's L-BFGS-B on a Huber loss of 600 x 500 took three times as long.
    """
    keep_freed_memory()
    with blas_threads(1 if compiled else get_threads()), _limited(_loaded()[1], 1):
        yield


@contextlib.contextmanager
def judge_pools(shapes: Iterable[tuple[int, int]]) -> Iterator[None]:
    """Limit BLAS to the setting while points are judged, and SciPy's own to one thread unless all sides are large.

    NumPy multiplies and SciPy factorises, in turns: with two threads in each a certificate took twice as long for a
    dense gradient of 500 x 500 and ten times as long for a completion of 400 x 300. Limits of the caller stay.
    """
    import scipy.linalg  # noqa: F401  its BLAS is limited below only once it is loaded

    keep_freed_memory()
    every, own = _loaded()
    large = max(min(shape) for shape in shapes) >= LARGE
    with _limited(every, get_threads()), contextlib.nullcontext() if large else _limited(own, 1):
        yield


@contextlib.contextmanager
def _limited(controller: Any, n: int, raising: bool = False) -> Iterator[None]:
    """Let each BLAS of a controller use at most ``n`` threads inside the block, or just as many where ``raising``.

    Blocks may overlap in several threads of Python, and end in any order: what a BLAS had before all of them comes back
    with the end of the last, and until then it has what the latest that is open asks for.
    """
    block = object()
    blas = [library for library in controller.lib_controllers if library.user_api == "blas"]
    entered = []
    try:
        for library in blas:
            with _blocks_lock:
                before, asked = _blocks.setdefault(library.filepath, (library.num_threads, {}))
                entered.append((library, before, asked))
                asked[block] = n if raising else min(library.num_threads, n)
                _set_threads_of(library, asked[block])
        yield
    finally:
        for library, before, asked in entered:
            with _blocks_lock:
                asked.pop(block, None)
                _set_threads_of(library, [before, *asked.values()][-1])
                if not asked:
                    _blocks.pop(library.filepath, None)


def _set_threads_of(library: Any, n: int) -> None:
    if library.num_threads != n:  # to ask takes less time than to set
        library.set_num_threads(n)


def _unlock_blocks() -> None:
    """Forget a lock that another thread held while this process was forked."""
    global _blocks_lock
    _blocks_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_blocks)


def _loaded() -> tuple[Any, Any]:
    """Return a controller of the libraries that are loaded so far, and one of the BLAS that SciPy alone uses."""
    from threadpoolctl import ThreadpoolController

    with_scipy = "scipy.linalg" in sys.modules
    if with_scipy not in _controllers:
        loaded = ThreadpoolController()
        # As wheels have it, in `scipy.libs` or `scipy/.dylibs`; where both share one it is NumPy's.
        places = [library["filepath"] for library in loaded.info() if library["user_api"] == "blas"]
        own = [place for place in places if {"scipy", "scipy.libs"} & set(pathlib.Path(place).parts)]
        _controllers[with_scipy] = loaded, loaded.select(filepath=own)
    return _controllers[with_scipy]


def in_blocks(count: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, last)`` for blocks of ``range(count)`` on as many threads as set, one BLAS thread each.

    For large products that a compiled loop follows: workers of BLAS itself would go on spinning for a tenth of a
    second and slow that loop down several times. The blocks do not depend on the number of threads.
    """
    firsts = range(0, count, BLOCK)[::-1]  # of a triangle, the long rows first
    if len(firsts) == 1:
        work(0, count)
        return
    with blas_threads(1), ThreadPoolExecutor(get_threads()) as pool:
        list(pool.map(lambda first: work(first, min(count, first + BLOCK)), firsts))


class _Company:
    """Whether other programs want the cores of this process, seen from how long its threads wait for one.

    A loop divided among threads ends with its last part. Where one thread has to wait for a core, others spin and all
    wait for it: each loop takes milliseconds instead of a fraction of one. On one thread it takes its share of the work
    longer, no more.
    """

    def __init__(self) -> None:
        self.found = False
        self._next = self._until = 0.0
        self._wait = SHORTEST_WAIT
        self._since, self._waited = 0.0, 0.0

    def look(self, threads: int) -> bool:
        """Return whether to keep to one thread for now, instead of so many."""
        now = time.perf_counter()
        if now < self._next:
            return self.found
        waited = _waited()
        # A look costs a read per thread of the process: a hundredth of the time at most.
        self._next = now + max(LOOK_SECONDS, 100.0 * (time.perf_counter() - now))
        elapsed, share = now - self._since, (waited - self._waited) / (now - self._since)
        self._since, self._waited = now, waited
        if self.found:
            self.found = now < self._until
        elif elapsed < STALE_SECONDS and share > CROWDED * threads:
            self.found = True
            # Tried again soon at first, and ever later while that fails.
            again = now - self._until < 4.0 * LOOK_SECONDS
            self._wait = min(2.0 * self._wait, LONGEST_WAIT) if again else SHORTEST_WAIT
            self._until = now + self._wait
        return self.found


def _waited() -> float:
    """Return the seconds that the threads of this process have waited for a core; 0 where the kernel does not say."""
    total = 0
    try:
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/schedstat", "rb", buffering=0) as file:
                total += int(file.read().split()[1])
    except OSError:
        return 0.0
    return 1e-9 * total


_company = _Company()


def kernel_threads() -> int:
    """Set the size of Numba's pool for the kernels called next; return in how many parts they divide their work.

    While other programs take the cores away the parts are done one after the other on one thread, with the same results
    bit by bit: sums over parts are taken in their order.
    """
    import numba

    threads = min(get_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    numba.set_num_threads(1 if threads > 1 and _company.look(threads) else threads)
    return threads


def reserve_blas_buffers() -> None:
    """Have NumPy's BLAS take its buffers, which it keeps: OpenBLAS ends the process where there is no memory for them.

    Called before data are read that may fill the memory; too little of it is then an exception of NumPy.
    """
    square = np.ones((256, 256))
    np.matmul(square, square)
