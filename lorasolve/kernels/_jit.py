"""The one ``njit`` of the project: cached on disk under a key made of all kernel sources, compile time counted.

Numba's own cache does not notice an edit in another file that a kernel calls into; keying the folder by a digest
of every kernel source, the Numba version and the processor makes a stale cache impossible. The folder is
``$LORASOLVE_CACHE_DIR``, else ``$XDG_CACHE_HOME/lorasolve``, else ``~/.cache/lorasolve``.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numba
from numba.core import config as numba_config
from numba.core import event

config: Any = numba_config


def cache_directory() -> pathlib.Path:
    """Return the folder that holds the compiled kernels of exactly these sources."""
    here = pathlib.Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    base = os.environ.get("LORASOLVE_CACHE_DIR")
    if base:
        root = pathlib.Path(base)
    else:
        root = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "lorasolve"
    return root / f"kernels-{digest.hexdigest()[:16]}"


_CACHE = str(cache_directory())

# Reordering of sums and fused multiply-add, which vectorised sums need; NaN and infinity keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp"}


class _CompileClock(event.Listener):
    """Adds up the time spent in compilation, nested compilations counted once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._since = 0.0

    def on_start(self, event: Any) -> None:
        if self._depth == 0:
            self._since = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._since


_CLOCK = _CompileClock()
event.register("numba:compile", _CLOCK)


def compile_seconds() -> float:
    """Return the seconds this process has spent compiling kernels so far (loading from the cache excluded)."""
    return _CLOCK.seconds


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function lazily with ``numba.njit``, cached in the project's own folder.

    Every caller of a kernel optimises it again, so glue without loops is inlined (``inline="always"``) to keep
    the chain of callers short: that alone decides whether a driver compiles in 3 or in 15 seconds.

    Parameters
    ----------
    **options
        Passed to ``numba.njit`` (``parallel=True``, ``fastmath=FAST``).
    """

    def decorate(function: Callable[..., Any]) -> Any:
        before = config.CACHE_DIR
        config.CACHE_DIR = _CACHE
        try:
            return numba.njit(cache=True, error_model="numpy", **options)(function)
        finally:
            config.CACHE_DIR = before

    return decorate
