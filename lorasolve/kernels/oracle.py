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
from numba.core.typing.templates import AbstractTemplate, infer_global

_implementations: dict[type, Any] = {}
by_rows: dict[type, Any] = {}


def oracle(data, A, Bt, GB, GtAt):
    """Write ``G B`` (m, r) and ``(G^T A)^T`` (r, n) at ``X = A B^T``; return ``f``. Compiled code only."""
    raise NotImplementedError(f"no compiled oracle for {type(data).__name__}")


def implements(data_class: type) -> Callable[[Any], Any]:
    """Register a kernel of the signature of :func:`oracle` for one class of kernel data."""

    def register(kernel: Any) -> Any:
        _implementations[data_class] = kernel
        return kernel

    return register


def implements_rows(data_class: type) -> Callable[[Any], Any]:
    """Register a kernel ``(data, A, B, GB, GtA)`` for one class of kernel data that wants factors row by row.

    :func:`~lorasolve.kernels.evaluate.evaluate` calls it, which is not called in compiled loops.
    """

    def register(kernel: Any) -> Any:
        by_rows[data_class] = kernel
        return kernel

    return register


class _Oracle(AbstractTemplate):
    """What Numba puts in place of :func:`oracle`; an overload would be compiled once alone and once in each caller."""

    key = oracle

    def generic(self, args: Any, kws: Any) -> Any:
        """Return the signature of the kernel for the data, which is compiled for it."""
        if not isinstance(args[0], types.NamedTuple) or args[0].instance_class not in _implementations:
            return None
        kernel = _implementations[args[0].instance_class]
        template, _, args, kws = kernel.get_call_template(args, kws)
        return template(self.context).apply(args, kws)

    def get_impl_key(self, sig: Any) -> Any:
        """Return the key under which Numba finds the kernel."""
        return _implementations[sig.args[0].instance_class].get_overload(sig.args)


infer_global(oracle, types.Function(_Oracle))
