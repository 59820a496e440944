"""A progress line on stderr: rewritten in place on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
import time


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
        self.enabled = enabled and sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def show(self, fraction: float, text: str) -> None:
        """Rewrite the line."""
        if not self.enabled or time.perf_counter() < self._next:
            return
        self._next = time.perf_counter() + 0.1
        done = int(20 * min(max(fraction, 0.0), 1.0))
        line = f"{self.label:<16} [{'#' * done}{'.' * (20 - done)}] {text}"
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def close(self) -> None:
        """Erase the line."""
        if self.enabled and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
