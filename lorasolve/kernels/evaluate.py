"""One call of a compiled oracle from Python, for any kind of kernel data."""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import kernel
from .oracle import by_rows, oracle


@kernel()
def _evaluate(data, A, Bt, GB, GtAt):
    return oracle(data, A, Bt, GB, GtAt)


def evaluate(data: Any, A: Any, B: Any, GB: Any, GtA: Any) -> float:
    """Write ``G B`` and ``G^T A`` and return ``f``; arrays of any layout, so that one compilation serves all."""
    rows = by_rows.get(type(data))
    if rows is None:
        GtAt = np.empty(B.shape[::-1], B.dtype)
        f = _call(_evaluate, data, A, B.T, GB, GtAt)
        GtA[:] = GtAt.T
        return f
    fits = _fits(GtA, B.dtype)
    GtA_out = GtA if fits else np.empty(B.shape, B.dtype)
    f = _call(rows, data, A, B, GB, GtA_out)
    if not fits:
        GtA[:] = GtA_out
    return f


def _call(oracle: Any, data: Any, A: Any, B: Any, GB: Any, GtA: Any) -> float:
    """Call a compiled oracle with factors and ``GB`` of any layout."""
    A, B = (np.require(factor, requirements=["C", "W"]) for factor in (A, B))
    fits = _fits(GB, A.dtype)
    GB_out = GB if fits else np.empty(A.shape, A.dtype)
    f = float(oracle(data, A, B, GB_out, GtA))
    if not fits:
        GB[:] = GB_out
    return f


def _fits(out: Any, dtype: Any) -> bool:
    return bool(out.flags.c_contiguous and out.dtype == dtype)
