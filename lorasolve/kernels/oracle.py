"""The compiled factor oracle: one name, one implementation per kind of kernel data.

``oracle(data, A, Bt, GB, GtAt)`` writes ``G B`` and ``(G^T A)^T`` and returns ``f``, like the objective's method
``factor_oracle`` except that what belongs to ``B`` is transposed, (r, n): inner loops then run over ``n``, which
Numba vectorises, and drivers convert once per call instead of once per iteration. ``data`` is a NamedTuple of
arrays and numbers (``data()`` of the objective's kernels, scratch memory included); its class selects the
implementation when a driver is compiled. A driver such as ``gd.advance`` is written once, and Numba caches one
specialisation per class of data on disk; passing compiled functions instead would make every process compile anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import overload


def oracle(data, A, Bt, GB, GtAt):
    """Write ``G B`` (m, r) and ``(G^T A)^T`` (r, n) at ``X = A B^T``; return ``f``. Compiled code only."""
    raise NotImplementedError(f"no compiled oracle for {type(data).__name__}")


def implements(data_class: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of the signature of :func:`oracle` for one class of kernel data."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        @overload(oracle, inline="always", jit_options={"error_model": "numpy"})
        def choose(data, A, Bt, GB, GtAt):
            if isinstance(data, types.NamedTuple) and data.instance_class is data_class:
                return function
            return None

        return function

    return register
