"""A process that runs one peer of one item: a sample for each line on stdin, answers as JSON lines on stdout."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable

import catalogue
import usage
from peers import Sample, threads

Sampler = Callable[[], Sample]


def measured(sample: Sampler) -> dict[str, float]:
    """Take a sample and say how many cores were busy with other things meanwhile."""
    children = usage.ChildrenWatch()
    children.start()
    usage.forget_peak()
    began, busy, own = time.perf_counter(), usage.busy_seconds(), usage.own_seconds()
    seconds, check = sample()
    elapsed = time.perf_counter() - began
    foreign = max(usage.busy_seconds() - busy - (usage.own_seconds() - own), 0.0) / elapsed
    peak = usage.peak_mib() + children.stop()
    if not (math.isfinite(seconds) and math.isfinite(check)):
        raise ValueError(f"a sample gave {seconds} seconds and the value {check}")
    return {"seconds": seconds, "check": check, "foreign": foreign, "peak": peak}


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
    began = time.perf_counter()
    if peer.needs == "torch":
        import torch

        torch.set_num_threads(threads())
    try:
        sample = peer.prepare(quick)
        warm = measured(sample)
    except (ImportError, FileNotFoundError, MemoryError) as reason:
        answer(skipped=str(reason))
        return
    first = time.perf_counter() - began
    jit = sys.modules.get("lorasolve.kernels.jit")
    answer(first=first, compiled=jit.compile_seconds() if jit and peer.name.startswith("lorasolve") else None)
    for _ in sys.stdin:
        # A peer that is sampled once is too slow to be warmed up first.
        answer(**(warm if peer.repeats == 1 else measured(sample)))


if __name__ == "__main__":
    main()
