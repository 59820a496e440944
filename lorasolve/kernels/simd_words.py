"""Vector lanes of 16-bit integers, whose products a processor adds in pairs: twice as many a register as of float32.

See ``simd.py``. :func:`available` says whether this processor has the instruction, at the width of its registers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import types

from .simd_llvm import FEATURES, REGISTER_BYTES, Lanes, broadcast, call, intrinsic, register

WORDS = register(types.int16)
SUMS = register(types.int32)
FLOATS = register(types.float32)
# Products are added up by pairs of neighbours; the halves of two registers alternate in groups of 128 bits.
_GROUP = 8
_PRODUCTS, _FEATURE = (
    ("llvm.x86.avx512.pmaddw.d.512", "avx512bw") if REGISTER_BYTES == 64 else ("llvm.x86.avx2.pmadd.wd", "avx2")
)


@cache
def available() -> bool:
    """Return whether this processor adds products of 16-bit integers in pairs."""
    return _FEATURE in FEATURES


def _gathering(lanes: Lanes, places: list[int]) -> tuple[Any, Any]:
    """Return the type and code of a function that gathers lanes of two registers, numbered through."""
    index = ir.IntType(32)
    chosen = ir.Constant(ir.VectorType(index, len(places)), places)
    return lanes(lanes, lanes), lambda context, builder, signature, args: builder.shuffle_vector(*args, chosen)


def _alternating(half: int) -> list[int]:
    """Return the places of a half of each group of the first register, each number followed by one of the second."""
    first = [k for k in range(WORDS.count) if k % _GROUP // (_GROUP // 2) == half]
    return [place for k in first for place in (k, k + WORDS.count)]


def _in_order(half: int) -> list[int]:
    """Return the places of half of the groups of 128 bits, of both registers in turn."""
    groups, size = FLOATS.count // (_GROUP // 2), _GROUP // 2
    chosen = range(half * groups // 2, (half + 1) * groups // 2)
    starts = [start for k in chosen for start in (k * size, FLOATS.count + k * size)]
    return [start + k for start in starts for k in range(size)]


@intrinsic
def pair_sums(typingctx, a, b):
    """Return the sums of two neighbouring products of ``a`` and ``b``, in 32 bits."""
    return SUMS(WORDS, WORDS), lambda context, builder, signature, args: call(builder, _PRODUCTS, SUMS.llvm, args)


@intrinsic
def add_pair_sums(typingctx, a, b, c):
    """Return ``c`` plus the sums of two neighbouring products of ``a`` and ``b``, in 32 bits."""

    def generate(context, builder, signature, args):
        return builder.add(args[2], call(builder, _PRODUCTS, SUMS.llvm, args[:2]))

    return SUMS(WORDS, WORDS, SUMS), generate


@intrinsic
def pair(typingctx, u, v):
    """Return one register with two integers in turn."""

    def generate(context, builder, signature, args):
        wide = ir.IntType(32)
        low, high = (builder.zext(number, wide) for number in args)
        both = builder.or_(low, builder.shl(high, ir.Constant(wide, 16)))
        return builder.bitcast(broadcast(builder, both, SUMS.count), WORDS.llvm)

    return WORDS(types.int16, types.int16), generate


@intrinsic
def alternate_low(typingctx, a, b):
    """Return the first half of each group of ``a``, with the numbers of ``b`` between."""
    return _gathering(WORDS, _alternating(0))


@intrinsic
def alternate_high(typingctx, a, b):
    """Return the second half of each group of ``a``, with the numbers of ``b`` between."""
    return _gathering(WORDS, _alternating(1))


@intrinsic
def in_order_low(typingctx, a, b):
    """Return the first half of what :func:`alternate_low` and :func:`alternate_high` took apart."""
    return _gathering(FLOATS, _in_order(0))


@intrinsic
def in_order_high(typingctx, a, b):
    """Return the second half of what :func:`alternate_low` and :func:`alternate_high` took apart."""
    return _gathering(FLOATS, _in_order(1))


@intrinsic
def as_float(typingctx, a):
    """Return sums in float32."""
    return FLOATS(SUMS), lambda context, builder, signature, args: builder.sitofp(args[0], FLOATS.llvm)
