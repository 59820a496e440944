"""How fast runs are done, how long the rest will take, and saying so."""

from __future__ import annotations

import time

from .._support.progress import Progress, complain
from ._work import Report
from .store import Store

# Between two lines where stderr is no terminal.
LOG_SECONDS = 60.0
# What the newest report counts in the rate of a worker.
_NEWEST = 0.5


class Pace:
    """Counts what is done, and shows it.

    Parameters
    ----------
    label : str
        What it is of.
    total, pending : int
        Runs of the study, and those that are to be done now.
    enabled : bool
        Whether to show anything.
    """

    def __init__(self, label: str, total: int, pending: int, enabled: bool) -> None:
        self.label = label
        self.total = total
        self.pending = pending
        self.done = self.failed = 0
        self.rate_of_a_worker = 1.0
        self._known = False
        self._line = Progress(label, enabled, LOG_SECONDS)
        self._began = time.perf_counter()

    def begin(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def tell(self, text: str) -> None:
        """Write a line of its own, whether progress is shown or not."""
        self._line.close()
        complain(f"{self.label}: {text}")

    def add(self, report: Report) -> None:
        """Count what a worker has done."""
        self.done += report.done
        self.failed += report.failed
        if report.done and report.seconds > 0.0:
            found = report.done / report.seconds
            # The first cells are few and compile; they say too little, never too much.
            old = self.rate_of_a_worker if self._known else found
            self.rate_of_a_worker = (1.0 - _NEWEST) * old + _NEWEST * found
            self._known = True

    def show(self, store: Store | None = None) -> None:
        """Show the state; where workers report only at their end, the ``store`` is asked what is there."""
        if not self._line.due():
            return
        if store is not None:
            self.done = max(self.done, sum(1 for _ in store.lines()) - (self.total - self.pending))
        self._line.show(self._there / max(self.total, 1), self.text())

    @property
    def _there(self) -> int:
        return self.total - self.pending + self.done

    def text(self) -> str:
        """Return counts, rate and remaining time."""
        seconds = time.perf_counter() - self._began
        rate = self.done / seconds if seconds > 0.0 else 0.0
        left = (self.pending - self.done) / rate if rate > 0.0 else 0.0
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self._there} of {self.total} runs{failed}, {rate:.3g} a second, {duration(left)} left"

    def close(self) -> None:
        """End the line, whatever is said after it."""
        self._line.close()

    def tell_stopped(self, goes_on: bool) -> None:
        """Say where it was stopped, and whether the same call ``goes_on`` from there."""
        saved = " and saved, the same call goes on" if goes_on else ""
        complain(f"{self.label}: stopped; {self._there} of {self.total} runs are finished{saved}")

    def tell_end(self) -> None:
        """Say what there is at the end, where progress is shown."""
        if self._line.enabled:
            seconds = time.perf_counter() - self._began
            failed = f", {self.failed} of them failed" if self.failed else ""
            complain(
                f"{self.label}: {self._there} of {self.total} runs are there, {self.done} of them done now{failed}, in "
                f"{duration(seconds)}"
            )


def duration(seconds: float) -> str:
    """Return a time as ``42 s``, ``3 min 10 s`` or ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
