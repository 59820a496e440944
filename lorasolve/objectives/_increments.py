"""An oracle at one matrix that is exact where asked, and adds increments elsewhere."""

from __future__ import annotations

import math
from typing import Any

from .._support.threads import kernel_threads
from .._support.validate import Array


class Increments:
    """An oracle at one matrix that is exact where asked, and elsewhere adds increments in float32 to what it had last.

    Its errors are some 1e-7 of the way from the last exact point, so they vanish as points converge to one.

    Parameters
    ----------
    data : NamedTuple
        Kernel data with ``exactly`` and ``G`` (:class:`~lorasolve.kernels.sensing.MixedSensingData`), of one run.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def exact(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``, exactly; later answers go on from here."""
        kernel_threads()
        f: float = self.data.exactly(A, B, GB, GtA)
        return f

    def gradient(self) -> Array:
        """Return ``G`` at the last point asked for."""
        G: Array = self.data.G.copy()
        return G

    def __call__(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``."""
        from ..kernels.evaluate import evaluate

        kernel_threads()
        f = evaluate(self.data, A, B, GB, GtA)
        # A step beyond the range of float32 would stay in all increments after it.
        return f if math.isfinite(f) else self.exact(A, B, GB, GtA)
