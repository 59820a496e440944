"""What the machine and this process have used: CPU time, and memory with that of its children."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import threading
from collections.abc import Iterator

# How often the memory of children is looked at while a sample is taken.
LOOK_SECONDS = 0.1


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
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Return the peak of the memory of this process since :func:`forget_peak`."""
    return _peak_of("self") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _peak_of(process: str) -> float:
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _descendants(process: str) -> Iterator[str]:
    for path in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
        # Processes and threads end while they are looked at.
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                yield child
                yield from _descendants(child)


class ChildrenWatch(threading.Thread):
    """Looks at all children of this process until told to stop; ``peak`` is the most that they had at one time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look now and then."""
        while not self._ended.wait(LOOK_SECONDS):
            self.peak = max(self.peak, sum(map(_peak_of, _descendants("self"))))

    def stop(self) -> float:
        """End the watch and return what it saw, in MiB."""
        self._ended.set()
        self.join()
        return self.peak
