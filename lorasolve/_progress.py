"""What goes to stderr: remarks, and a progress line, rewritten in place on a terminal and silent elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time


def complain(text: str) -> None:
    """Write a line to stderr, if anybody is there to read it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


class Progress:
    """One line such as ``gd  41%  L = 0.12345  |grad| = 1.2e-05``, at most ten times a second.

    Parameters
    ----------
    label : str
        What is running.
    enabled : bool
        Asked for by the caller; nothing is printed when stderr is not a terminal.
    """

    def __init__(self, label: str, enabled: bool) -> None:
        self.label = label
        self.enabled = enabled and sys.stderr is not None and sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, fraction: float, text: str) -> None:
        """Rewrite the line."""
        if not self.enabled or time.perf_counter() < self._next:
            return
        self._next = time.perf_counter() + 0.1
        done = int(20 * min(max(fraction, 0.0), 1.0))
        line = f"{self.label:<16} [{'#' * done}{'.' * (20 - done)}] {text}"
        _rewrite(line.ljust(self._width))
        self._width = len(line)

    def close(self) -> None:
        """Erase the line."""
        if self.enabled and self._width:
            _rewrite(" " * self._width + "\r")


def _rewrite(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write("\r" + line)
        sys.stderr.flush()
