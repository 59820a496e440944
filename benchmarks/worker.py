"""A process that runs one peer of one item: a sample for each line on stdin, answers as JSON lines on stdout."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import sys
import time
from collections.abc import Callable

import catalogue
from peers import Sample

Sampler = Callable[[], Sample]


def busy_seconds() -> float:
    """Return the CPU time that all processes of the machine have used (0 where the kernel does not say)."""
    try:
        with open("/proc/stat") as file:
            ticks = [int(part) for part in file.readline().split()[1:]]
    except OSError:
        return 0.0
    # user, nice, system, irq, softirq, steal
    return sum(ticks[k] for k in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the CPU time of this process and its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def forget_peak() -> None:
    """Let the peak of the memory in use start from what is in use now, where the kernel can (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_megabytes() -> float:
    """Return the peak of the memory in use since :func:`forget_peak`, in MiB."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(sample: Sampler) -> dict[str, float]:
    """Take a sample and say how many cores were busy with other things meanwhile."""
    forget_peak()
    began, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    seconds, check = sample()
    elapsed = time.perf_counter() - began
    foreign = max(busy_seconds() - busy - (own_seconds() - own), 0.0) / elapsed
    return {"seconds": seconds, "check": check, "foreign": foreign, "peak": peak_megabytes()}


def main() -> None:
    """Prepare the peer named by the arguments and take samples until stdin ends."""
    key, name, quick = sys.argv[1], sys.argv[2], sys.argv[3] == "quick"
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    peer = next(peer for peer in catalogue.items()[key].peers if peer.name == name)
    if importlib.util.find_spec(peer.needs) is None:
        answer(skipped=f"{peer.needs} is not installed")
        return
    if peer.needs == "torch":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    began = time.perf_counter()
    try:
        sample = peer.prepare(quick)
        warm = measured(sample)
    except (ImportError, FileNotFoundError, MemoryError) as reason:
        answer(skipped=str(reason))
        return
    first = time.perf_counter() - began
    jit = sys.modules.get("lorasolve.kernels._jit")
    answer(first=first, compiled=jit.compile_seconds() if jit and peer.name.startswith("lorasolve") else None)
    for _ in sys.stdin:
        # A peer that is sampled once is too slow to be warmed up first.
        answer(**(warm if peer.repeats == 1 else measured(sample)))


if __name__ == "__main__":
    main()
