"""Explicit vector lanes for the loops that Numba leaves scalar: short rank loops and loops over a few runs.

Numba runs LLVM without its superword vectoriser, and unrolls loops of constant length before the loop vectoriser
sees them, so an inner loop over a rank of ten comes out scalar. A value of type ``Lanes`` (``simd_llvm.py``) is an
LLVM vector held in registers. Inside ordinary kernels the functions below are one instruction on it each, and those of
``simd_sums.py`` whole loops. LLVM splits vectors that are wider than the registers, so they are correct on every
processor; they pay where registers of 256 or 512 bits and fused multiply-adds exist: :func:`available` says so, and
every kernel written with them has a plain twin that computes the same and is used elsewhere.

Rank vectors have ``WIDTH`` lanes; a lane beyond the rank holds zero. A line fills one cache line, all
others one register.

With registers of 256 bits, one thread, the lanes against their plain twins: gradient of completion, 200,000 entries,
rank 10, 1.8 against 4.8 ms; an epoch of alternating least squares 7.3 against 26.6 ms; an iteration of linear
fine-tuning, 768 x 768, 0.8 against 1.3 ms (float32 increments).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import register_jitable

from .simd_llvm import (
    CACHE_LINE,
    FEATURES,
    Lanes,
    broadcast,
    call,
    emit_load,
    emit_masked_load,
    emit_masked_store,
    emit_prefetch,
    emit_store,
    emit_sum,
    first_mask,
    intrinsic,
    line,
    pointer,
    register,
)

WIDTH = 16


@cache
def available() -> bool:
    """Return whether this processor has registers of 256 bits at least, and fused multiply-adds."""
    return "avx512f" in FEATURES or {"avx2", "fma"} <= FEATURES


@register_jitable
def aligned(count, dtype):
    """Return an uninitialised array whose registers straddle no cache lines, which halves what a load costs.

    Callable from Python and from kernels.
    """
    longer = np.empty(count + CACHE_LINE, dtype)
    first = (CACHE_LINE - np.int64(longer.ctypes.data) % CACHE_LINE) // longer.itemsize
    return longer[first : first + count]


def in_single(M: Any) -> Any:
    """Return a matrix in float32, in memory from :func:`aligned`."""
    copy = aligned(M.size, np.float32).reshape(M.shape)
    copy[:] = M
    return copy


@intrinsic
def load(typingctx, array, offset):
    """Return the ``WIDTH`` numbers of a contiguous array from ``offset`` on."""
    lanes = Lanes(array.dtype, WIDTH)

    def generate(context, builder, signature, args):
        return emit_load(builder, pointer(context, builder, signature.args[0], *args), lanes)

    return lanes(array, types.intp), generate


@intrinsic
def load_register(typingctx, array, offset):
    """Return as many numbers of a contiguous array from ``offset`` on as one register holds."""
    lanes = register(array.dtype)

    def generate(context, builder, signature, args):
        return emit_load(builder, pointer(context, builder, signature.args[0], *args), lanes)

    return lanes(array, types.intp), generate


@intrinsic
def load_line(typingctx, array, offset):
    """Return as many numbers of a contiguous array from ``offset`` on as a cache line holds."""
    lanes = line(array.dtype)

    def generate(context, builder, signature, args):
        return emit_load(builder, pointer(context, builder, signature.args[0], *args), lanes)

    return lanes(array, types.intp), generate


@intrinsic
def per_line(typingctx, array):
    """Return how many numbers of an array a cache line holds, as a constant."""
    count = line(array.dtype).count
    return types.intp(array), lambda context, builder, signature, args: ir.Constant(ir.IntType(64), count)


@intrinsic
def load_line_first(typingctx, array, offset, count):
    """Return a cache line of numbers whose first ``count`` are those from ``offset`` on, zeros in the other lanes.

    Nothing else is read.
    """
    lanes = line(array.dtype)

    def generate(context, builder, signature, args):
        address = pointer(context, builder, signature.args[0], *args[:2])
        return emit_masked_load(builder, address, first_mask(builder, args[2], lanes.count), lanes)

    return lanes(array, types.intp, types.intp), generate


@intrinsic
def splat_line(typingctx, number):
    """Return one cache line of numbers with ``number`` in every lane."""
    lanes = line(number)
    return lanes(number), lambda context, builder, signature, args: broadcast(builder, args[0], lanes.count)


@intrinsic
def splat_register(typingctx, number):
    """Return one register with ``number`` in every lane."""
    lanes = register(number)
    return lanes(number), lambda context, builder, signature, args: broadcast(builder, args[0], lanes.count)


@intrinsic
def store(typingctx, array, offset, vector):
    """Write the numbers of ``vector`` from ``offset`` on."""

    def generate(context, builder, signature, args):
        emit_store(builder, args[2], pointer(context, builder, signature.args[0], *args[:2]), vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask for the cache line of a number of a contiguous array, which may lie beyond its end."""

    def generate(context, builder, signature, args):
        emit_prefetch(builder, pointer(context, builder, signature.args[0], *args))
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def load_first(typingctx, array, offset, count):
    """Return the ``count`` numbers from ``offset`` on, zeros in the other lanes; nothing else is read."""
    lanes = Lanes(array.dtype, WIDTH)

    def generate(context, builder, signature, args):
        address = pointer(context, builder, signature.args[0], *args[:2])
        return emit_masked_load(builder, address, first_mask(builder, args[2], WIDTH), lanes)

    return lanes(array, types.intp, types.intp), generate


@intrinsic
def store_first(typingctx, array, offset, count, vector):
    """Write the first ``count`` numbers of ``vector`` from ``offset`` on."""

    def generate(context, builder, signature, args):
        address = pointer(context, builder, signature.args[0], *args[:2])
        emit_masked_store(builder, args[3], address, first_mask(builder, args[2], WIDTH), vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), generate


@intrinsic
def splat(typingctx, number):
    """Return a vector with ``number`` in every lane."""
    lanes = Lanes(number, WIDTH)
    return lanes(number), lambda context, builder, signature, args: broadcast(builder, args[0], WIDTH)


@intrinsic
def fma(typingctx, a, b, c):
    """Return ``a b + c``."""

    def generate(context, builder, signature, args):
        return call(builder, f"llvm.fma.{a.suffix}", a.llvm, list(args))

    return a(a, a, a), generate


@intrinsic
def mul(typingctx, a, b):
    """Return ``a b``."""
    return a(a, a), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def fnma(typingctx, a, b, c):
    """Return ``c - a b``."""

    def generate(context, builder, signature, args):
        return call(builder, f"llvm.fma.{a.suffix}", a.llvm, [builder.fneg(args[0]), args[1], args[2]])

    return a(a, a, a), generate


@intrinsic
def add(typingctx, a, b):
    """Return ``a + b``."""
    return a(a, a), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def sub(typingctx, a, b):
    """Return ``a - b``."""
    return a(a, a), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def div(typingctx, a, b):
    """Return ``a / b``."""
    return a(a, a), lambda context, builder, signature, args: builder.fdiv(*args)


@intrinsic
def sqrt(typingctx, a):
    """Return the square roots."""

    def generate(context, builder, signature, args):
        return call(builder, f"llvm.sqrt.{a.suffix}", a.llvm, list(args))

    return a(a), generate


@intrinsic
def total(typingctx, a):
    """Return the sum of the lanes."""
    return a.scalar(a), lambda context, builder, signature, args: emit_sum(builder, args[0], a)
