"""What this machine allows: the rate of a large matrix product and the bandwidth of reading 30 MB.

A process that measures both for each line on stdin, and answers with a JSON line on stdout.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def best_rate(work, amount: float, seconds: float = 1.0) -> float:
    """Return the best of many rates, in 1e9 units per second."""
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        work()
        best = max(best, amount / (time.perf_counter() - began) / 1e9)
    return best


def main() -> None:
    """Measure as often as asked."""
    import numba

    @numba.njit(fastmath=True)
    def total(a):
        result = 0.0
        for i in range(a.size):
            result += a[i]
        return result

    @numba.njit(parallel=True)
    def read(a):
        threads = numba.get_num_threads()
        result = 0.0
        for t in numba.prange(threads):
            result += total(a[a.size * t // threads : a.size * (t + 1) // threads])
        return result

    k = 1536
    A, out = np.random.default_rng(0).standard_normal((k, k)), np.empty((k, k))
    numbers = np.ones(3_750_000)
    read(numbers)
    for _ in sys.stdin:
        gemm = best_rate(lambda: np.matmul(A, A, out=out), 2.0 * k**3)
        bandwidth = best_rate(lambda: read(numbers), 8.0 * numbers.size)
        print(json.dumps({"gemm GFLOP/s": gemm, "read 30 MB GB/s": bandwidth}), flush=True)


if __name__ == "__main__":
    main()
