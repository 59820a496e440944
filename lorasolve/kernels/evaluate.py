"""One call of a compiled oracle from Python, for any kind of kernel data."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import completion, completion_lanes, denoising, gram, sensing  # noqa: F401  (they register their oracles)
from ._jit import kernel
from .oracle import oracle


@kernel()
def _evaluate(data, A, B, GB, GtA):
    return oracle(data, A, B, GB, GtA)


def evaluate(data: Any, A: Any, B: Any, GB: Any, GtA: Any) -> float:
    """Write ``G B`` and ``G^T A`` and return ``f``; arrays of any layout, so that one compilation serves all."""
    A, B = (np.require(factor, requirements=["C", "W"]) for factor in (A, B))
    out = [part if part.flags.c_contiguous else np.empty_like(part, order="C") for part in (GB, GtA)]
    f = float(_evaluate(data, A, B, *out))
    for part, written in zip((GB, GtA), out):
        if written is not part:
            part[:] = written
    return f
