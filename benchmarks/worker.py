"""A process that runs one peer of one item: a sample for each line on stdin, answers as JSON lines on stdout."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time

import catalogue


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

        torch.set_num_threads(peer.threads)
    began = time.perf_counter()
    try:
        sample = peer.prepare(quick)
        warm = sample()
    except (ImportError, FileNotFoundError, MemoryError) as reason:
        answer(skipped=str(reason))
        return
    first = time.perf_counter() - began
    jit = sys.modules.get("lorasolve.kernels._jit")
    answer(first=first, compiled=jit.compile_seconds() if jit and peer.name.startswith("lorasolve") else None)
    for _ in sys.stdin:
        # A peer that is sampled once is too slow to be warmed up first.
        seconds, check = warm if peer.repeats == 1 else sample()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer(seconds=seconds, check=check, peak=peak)


if __name__ == "__main__":
    main()
