"""One call of a compiled oracle from Python, for any kind of kernel data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._jit import kernel
from .oracle import oracle


@kernel()
def _evaluate(data, A, Bt, GB, GtAt):
    return oracle(data, A, Bt, GB, GtAt)


def evaluate(data: Any, A: Any, B: Any, GB: Any, GtA: Any) -> float:
    """Write ``G B`` and ``G^T A`` and return ``f``; arrays of any layout, so that one compilation serves all."""
    A, Bt = (np.require(factor, requirements=["C", "W"]) for factor in (A, B.T))
    fits = GB.flags.c_contiguous and GB.dtype == A.dtype
    GB_out, GtAt = GB if fits else np.empty(A.shape, A.dtype), np.empty(Bt.shape, Bt.dtype)
    f = float(_evaluate(data, A, Bt, GB_out, GtAt))
    if not fits:
        GB[:] = GB_out
    GtA[:] = GtAt.T
    return f
