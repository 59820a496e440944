"""S15: kernels on two threads while other programs are busy on the same cores."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import numpy as np
from peers import Item

CALLS, SETTLE_SECONDS = 400, 0.5


@contextlib.contextmanager
def busy(programs):
    """Keep so many cores busy, or parts of them."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    time.sleep(SETTLE_SECONDS)
    try:
        yield
    finally:
        for program in started:
            program.kill()
            program.wait()


def entries():
    rng = np.random.default_rng(15)
    rows, cols = np.divmod(np.unique(rng.integers(0, 10_000 * 2000, 200_000)), 2000)
    return (
        rows,
        cols,
        rng.standard_normal(rows.size),
        rng.standard_normal((10_000, 10)),
        rng.standard_normal((2000, 10)),
    )


def _ours(quick):
    import lorasolve as ls

    rows, cols, values, A, B = entries()
    objective = ls.objectives.MatrixCompletion(rows, cols, values, (10_000, 2000))
    GB, GtA = np.empty_like(A), np.empty_like(B)
    return lambda: objective.factor_oracle(A, B, GB, GtA)


def _numpy(quick):
    import scipy.sparse

    rows, cols, values, A, B = entries()

    def work():
        e = np.einsum("ij,ij->i", A[rows], B[cols]) - values
        G = scipy.sparse.csr_array((e, (rows, cols)), shape=(10_000, 2000))
        G @ B, G.T @ A
        return 0.5 * float(e @ e)

    return work


def calls_beside(work, programs):
    """Return seconds for each of the calls of ``work`` beside so many busy programs, and its value."""
    with busy(programs):
        began = time.perf_counter()
        for _ in range(CALLS):
            value = work()
        return (time.perf_counter() - began) / CALLS, value


def _slowdown(programs):
    """Return an item: what busy programs cost each row, beside its own time without them."""
    ours, one = (threads + programs for threads in (2, 1))
    item = Item(
        f"S15 {programs}",
        f"The gradient of S3 beside {programs} busy programs on two cores: seconds for what takes a second alone",
        rtol=1e-9,
        remark="Asked for: a slowdown of at most that of one thread plus 30 %. Each sample measures its row alone and "
        f"then beside the busy programs. If two cores are shared evenly, two threads are slowed down {ours / 2:g} "
        f"times and one thread {max(one, 2) / 2:g} times: a ratio of {max(one, 2) / ours:.3g}. Times at equal load are "
        "in S15a.",
    )

    def sampler(prepare):
        def prepared(quick):
            work = prepare(quick)

            def sample():
                alone, _ = calls_beside(work, 0)
                beside, value = calls_beside(work, programs)
                return beside / alone, value

            return sample

        return prepared

    item.peer("lorasolve", ours=True, needs="numba", threads=2, repeats=3)(sampler(_ours))
    item.peer("lorasolve, one thread", needs="numba", threads=1, repeats=3, goal=(1 / 1.3, 1.0))(sampler(_ours))
    item.peer("NumPy and scipy.sparse, one thread", needs="scipy", threads=1, repeats=3)(sampler(_numpy))
    return item


def _time(programs):
    """Return an item: the times themselves at equal load."""
    item = Item(f"S15a {programs}", f"The gradient of S3 beside {programs} busy programs on two cores: time", rtol=1e-9)

    def sampler(prepare):
        def prepared(quick):
            work = prepare(quick)
            return lambda: calls_beside(work, programs)

        return prepared

    item.peer("lorasolve", ours=True, needs="numba", threads=2, repeats=3)(sampler(_ours))
    item.peer("lorasolve, one thread", needs="numba", threads=1, repeats=3)(sampler(_ours))
    item.peer("NumPy and scipy.sparse, one thread", needs="scipy", threads=1, repeats=3)(sampler(_numpy))
    return item


ITEMS = [*(_slowdown(programs) for programs in (1, 2, 3)), *(_time(programs) for programs in (0, 1, 2, 3))]
