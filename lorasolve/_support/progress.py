"""What goes to stderr: remarks, and progress: a line rewritten in place on a terminal, one now and then in logs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TextIO


def complain(text: str) -> None:
    """Write a line to stderr, if anybody is there to read it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


# Between two lines where stderr is no terminal: a short run says nothing.
LOG_SECONDS = 30.0


class Progress:
    """One line such as ``gd  41%  L = 0.12345  |grad| = 1.2e-05``, at most ten times a second.

    On a terminal it stays within its width, if need be without the bar. Where the line cannot be rewritten, in a log,
    another line is written every ``log_seconds``.

    Parameters
    ----------
    label : str
        What is running.
    enabled : bool
        Asked for by the caller.
    log_seconds : float
        Between two lines of a log.
    """

    def __init__(self, label: str, enabled: bool, log_seconds: float = LOG_SECONDS) -> None:
        self.label = label
        self.enabled = enabled and sys.stderr is not None
        self._in_place = self.enabled and _can_rewrite()
        self._every = 0.1 if self._in_place else log_seconds
        self._next = time.perf_counter() + (0.0 if self._in_place else log_seconds)
        self._width = 0

    def due(self) -> bool:
        """Return whether it is time for a line."""
        return self.enabled and time.perf_counter() >= self._next

    def show(self, fraction: float, text: str) -> None:
        """Show the state, if it is time for that."""
        if not self.due():
            return
        self._next = time.perf_counter() + self._every
        share = min(max(fraction, 0.0), 1.0)
        short = f"{self.label}: {100.0 * share:.0f} %, {text}"
        if not self._in_place:
            complain(short)
            return
        done = int(20 * share)
        line = f"{self.label:<16} [{'#' * done}{'.' * (20 - done)}] {text}"
        room = _room()
        if room is not None and len(line) > room:
            line = short[:room]
        _rewrite(line.ljust(self._width))
        self._width = len(line)

    def close(self) -> None:
        """Erase the line."""
        if self._width:
            _rewrite(" " * self._width + "\r")


def is_obeying_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that obeys control characters, as one whose ``TERM`` is ``dumb`` does not."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _can_rewrite() -> bool:
    """Whether stderr obeys carriage returns: on a terminal, or in a notebook."""
    return is_obeying_terminal(sys.stderr) or type(sys.stderr).__module__.startswith("ipykernel")


def _room() -> int | None:
    """Return how many characters of a line a terminal does not break, None where it is none or does not say.

    A carriage return goes back to the last piece of a broken line only, and the others would stay.
    """
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0
    except (OSError, ValueError):  # of a stream without a file
        return None
    return columns - 1 if columns > 1 else None


def _rewrite(line: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write("\r" + line)
        sys.stderr.flush()
