"""Explicit vector lanes for the loops that Numba leaves scalar: short rank loops and loops over a few runs.

Numba runs LLVM without its superword vectoriser, and unrolls loops of constant length before the loop vectoriser
sees them, so an inner loop over a rank of ten comes out scalar. A value of type :class:`Lanes` is an LLVM vector
held in registers; the functions below work on it inside ordinary kernels. LLVM splits vectors that are wider than
the registers, so they are correct on every processor; they pay where registers of 256 or 512 bits and fused
multiply-adds exist: :func:`available` says so, and every kernel written with them has a plain twin that computes the
same and is used elsewhere.

Rank vectors have ``WIDTH`` lanes; a lane beyond the rank holds zero. A line fills one cache line, all
others one register.

With registers of 256 bits, one thread, the lanes against their plain twins: gradient of completion, 200,000 entries,
rank 10, 1.8 against 4.8 ms; an epoch of alternating least squares 7.3 against 26.6 ms; an iteration of linear
fine-tuning, 768 x 768, 0.8 against 1.3 ms (float32 increments).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, register_jitable, register_model

_FEATURES = binding.get_host_cpu_features()
WIDTH = 16
CACHE_LINE = 64
REGISTER_BYTES = 64 if _FEATURES.get("avx512f", False) else 32
# Of 32 or 16 registers, those that a panel product sums in.
PANEL_ROWS = 20 if REGISTER_BYTES == 64 else 12
# Steps of a panel product per turn of its loop.
UNROLLED = 4
# Rows and columns of a tile (``tiles.py``).
SIDE = 4
# Columns of a tile whose sums fit into the registers beside their factors.
TILE_COLUMNS = SIDE if REGISTER_BYTES == 64 else SIDE // 2
_I32 = ir.IntType(32)

# The decorated functions take one argument less than they are written with.
intrinsic: Any = numba_intrinsic


@cache
def available() -> bool:
    """Return whether this processor has registers of 256 bits at least, and fused multiply-adds."""
    return bool(_FEATURES.get("avx512f", False) or (_FEATURES.get("avx2", False) and _FEATURES.get("fma", False)))


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


class Lanes(types.Type):
    """The Numba type of a vector of ``count`` numbers in registers."""

    def __init__(self, scalar: Any, count: int) -> None:
        self.scalar = scalar
        self.count = count
        super().__init__(name=f"Lanes({scalar}, {count})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(_element(self.scalar), self.count)

    @property
    def suffix(self) -> str:
        """The suffix of LLVM's intrinsic functions on this type."""
        return f"v{self.count}f{self.scalar.bitwidth}"


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def register(scalar: Any) -> Lanes:
    """Return the type of as many numbers as one register holds."""
    return Lanes(scalar, 8 * REGISTER_BYTES // scalar.bitwidth)


def _line(scalar: Any) -> Lanes:
    return Lanes(scalar, 8 * CACHE_LINE // scalar.bitwidth)


def _element(scalar: Any) -> Any:
    if scalar in (types.int16, types.int32):
        return ir.IntType(scalar.bitwidth)
    return ir.DoubleType() if scalar == types.float64 else ir.FloatType()


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    """Return the address of element ``offset`` of a contiguous array."""
    if array_type.layout != "C":
        raise TypeError(f"vector lanes need contiguous arrays, got layout {array_type.layout!r}")
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call an LLVM intrinsic function."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def _load(builder: Any, address: Any, lanes: Lanes) -> Any:
    vector = builder.load(builder.bitcast(address, lanes.llvm.as_pointer()))
    vector.align = lanes.scalar.bitwidth // 8
    return vector


def _store(builder: Any, vector: Any, address: Any, lanes: Lanes) -> None:
    done = builder.store(vector, builder.bitcast(address, lanes.llvm.as_pointer()))
    done.align = lanes.scalar.bitwidth // 8


def _load_masked(builder: Any, address: Any, mask: Any, lanes: Lanes) -> Any:
    """Load the lanes in ``mask``, zeros elsewhere; nothing else is read."""
    address = builder.bitcast(address, lanes.llvm.as_pointer())
    align, zero = ir.Constant(_I32, lanes.scalar.bitwidth // 8), ir.Constant(lanes.llvm, [0.0] * lanes.count)
    return call(builder, f"llvm.masked.load.{lanes.suffix}.p0", lanes.llvm, [address, align, mask, zero])


def _store_masked(builder: Any, vector: Any, address: Any, mask: Any, lanes: Lanes) -> None:
    """Write the lanes in ``mask`` only."""
    address = builder.bitcast(address, lanes.llvm.as_pointer())
    align = ir.Constant(_I32, lanes.scalar.bitwidth // 8)
    call(builder, f"llvm.masked.store.{lanes.suffix}.p0", ir.VoidType(), [vector, address, align, mask])


def _unrolled(builder: Any, count: Any, body: Callable[[Any], None]) -> None:
    """Emit ``body(index)`` for ``range(count)``, ``UNROLLED`` times per turn of the loop, then one by one.

    LLVM leaves loops alone whose sums fill the registers.
    """
    factor = ir.Constant(count.type, UNROLLED)
    turns = builder.sdiv(count, factor)
    with cgutils.for_range(builder, turns) as loop:
        first = builder.mul(loop.index, factor)
        for k in range(UNROLLED):
            body(builder.add(first, ir.Constant(count.type, k)))
    with cgutils.for_range(builder, count, start=builder.mul(turns, factor)) as loop:
        body(loop.index)


def _sweep(builder: Any, lanes: Lanes, length: Any, body: Any) -> None:
    """Emit ``body(offset, load, store)`` for the whole registers of ``length`` numbers, then masked for the rest."""
    width = ir.Constant(length.type, lanes.count)
    whole = builder.sdiv(length, width)
    with cgutils.for_range(builder, whole) as loop:
        body(
            builder.mul(loop.index, width),
            lambda address: _load(builder, address, lanes),
            lambda vector, address: _store(builder, vector, address, lanes),
        )
    done = builder.mul(whole, width)
    rest = builder.sub(length, done)
    with builder.if_then(builder.icmp_signed(">", rest, ir.Constant(length.type, 0))):
        mask = _first(builder, rest, lanes.count)
        body(
            done,
            lambda address: _load_masked(builder, address, mask, lanes),
            lambda vector, address: _store_masked(builder, vector, address, mask, lanes),
        )


def _prefetch(builder: Any, address: Any) -> None:
    """Ask for a number to be brought into the first cache level; any address is allowed."""
    address = builder.bitcast(address, ir.IntType(8).as_pointer())
    signature = ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    builder.call(function, [address, *(ir.Constant(_I32, k) for k in (0, 3, 1))])


def _rows(context: Any, builder: Any, array_type: Any, operand: Sequence[Any]) -> list[Any]:
    """Return the addresses of the four rows of an array, the position of the first and the distance between them."""
    array, start, stride = operand
    numbers = [ir.Constant(start.type, k) for k in range(SIDE)]
    return [_pointer(context, builder, array_type, array, builder.add(start, builder.mul(stride, k))) for k in numbers]


def _sum(builder: Any, vector: Any, lanes: Lanes) -> Any:
    """Return the sum of all lanes, in any order."""
    element = _element(lanes.scalar)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(element, [element, lanes.llvm]), f"llvm.vector.reduce.fadd.{lanes.suffix}"
    )
    return builder.call(function, [ir.Constant(element, 0.0), vector], fastmath=("reassoc", "nsz"))


def _sums(builder: Any, vectors: list[Any], lanes: Lanes) -> Any:
    """Return one vector whose lane ``k`` is the sum of vector ``k``, of as many vectors as lanes.

    Each level adds halves: two vectors of groups become one with twice as many groups of half the length.
    """
    group = lanes.count
    while group > 1:
        low = [k for k in range(2 * lanes.count) if k % group < group // 2]
        high = [k + group // 2 for k in low]
        masks = [ir.Constant(ir.VectorType(_I32, lanes.count), half) for half in (low, high)]
        vectors = [
            builder.fadd(*(builder.shuffle_vector(x, y, mask) for mask in masks))
            for x, y in zip(vectors[::2], vectors[1::2])
        ]
        group //= 2
    return vectors[0]


def broadcast(builder: Any, number: Any, count: int) -> Any:
    """Return ``count`` lanes with ``number`` in each."""
    undefined = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, count), [0] * count))


def _first(builder: Any, number: Any, count: int) -> Any:
    """Return the mask of the first ``number`` lanes."""
    positions = ir.Constant(ir.VectorType(number.type, count), list(range(count)))
    return builder.icmp_signed("<", positions, broadcast(builder, number, count))


@intrinsic
def load(typingctx, array, offset):
    """Return the ``WIDTH`` numbers of a contiguous array from ``offset`` on."""
    lanes = Lanes(array.dtype, WIDTH)

    def generate(context, builder, signature, args):
        return _load(builder, _pointer(context, builder, signature.args[0], *args), lanes)

    return lanes(array, types.intp), generate


@intrinsic
def load_register(typingctx, array, offset):
    """Return as many numbers of a contiguous array from ``offset`` on as one register holds."""
    lanes = register(array.dtype)

    def generate(context, builder, signature, args):
        return _load(builder, _pointer(context, builder, signature.args[0], *args), lanes)

    return lanes(array, types.intp), generate


@intrinsic
def load_line(typingctx, array, offset):
    """Return as many numbers of a contiguous array from ``offset`` on as a cache line holds."""
    lanes = _line(array.dtype)

    def generate(context, builder, signature, args):
        return _load(builder, _pointer(context, builder, signature.args[0], *args), lanes)

    return lanes(array, types.intp), generate


@intrinsic
def per_line(typingctx, array):
    """Return how many numbers of an array a cache line holds, as a constant."""
    count = _line(array.dtype).count
    return types.intp(array), lambda context, builder, signature, args: ir.Constant(ir.IntType(64), count)


@intrinsic
def load_line_first(typingctx, array, offset, count):
    """Return a cache line of numbers whose first ``count`` are those from ``offset`` on, zeros in the other lanes.

    Nothing else is read.
    """
    lanes = _line(array.dtype)

    def generate(context, builder, signature, args):
        address = _pointer(context, builder, signature.args[0], *args[:2])
        return _load_masked(builder, address, _first(builder, args[2], lanes.count), lanes)

    return lanes(array, types.intp, types.intp), generate


@intrinsic
def splat_line(typingctx, number):
    """Return one cache line of numbers with ``number`` in every lane."""
    lanes = _line(number)
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
        _store(builder, args[2], _pointer(context, builder, signature.args[0], *args[:2]), vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask for the cache line of a number of a contiguous array, which may lie beyond its end."""

    def generate(context, builder, signature, args):
        _prefetch(builder, _pointer(context, builder, signature.args[0], *args))
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def load_first(typingctx, array, offset, count):
    """Return the ``count`` numbers from ``offset`` on, zeros in the other lanes; nothing else is read."""
    lanes = Lanes(array.dtype, WIDTH)

    def generate(context, builder, signature, args):
        address = _pointer(context, builder, signature.args[0], *args[:2])
        return _load_masked(builder, address, _first(builder, args[2], WIDTH), lanes)

    return lanes(array, types.intp, types.intp), generate


@intrinsic
def store_first(typingctx, array, offset, count, vector):
    """Write the first ``count`` numbers of ``vector`` from ``offset`` on."""

    def generate(context, builder, signature, args):
        address = _pointer(context, builder, signature.args[0], *args[:2])
        _store_masked(builder, args[3], address, _first(builder, args[2], WIDTH), vector)
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
    return a.scalar(a), lambda context, builder, signature, args: _sum(builder, args[0], a)


@intrinsic
def panel(typingctx, P, start, X, position, length, G, target):
    """Write ``PANEL_ROWS`` registers of ``G`` from ``target`` on: ``sum_k P[start + k rows + i] X[position + k]``.

    The rows accumulate in registers: per ``k`` one load of ``X`` and ``PANEL_ROWS`` multiply-adds with a number of
    ``P`` that is broadcast from memory.
    """
    lanes = register(X.dtype)

    def generate(context, builder, signature, args):
        array_types = signature.args
        integer = args[1].type
        rows, count = ir.Constant(integer, PANEL_ROWS), ir.Constant(integer, lanes.count)
        zero = ir.Constant(lanes.llvm, [0.0] * lanes.count)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(PANEL_ROWS)]

        def step(index: Any) -> None:
            at = builder.add(args[3], builder.mul(index, count))
            x = _load(builder, _pointer(context, builder, array_types[2], args[2], at), lanes)
            first = builder.add(args[1], builder.mul(index, rows))
            column = _pointer(context, builder, array_types[0], args[0], first)
            for i, accumulator in enumerate(sums):
                number = builder.load(builder.gep(column, [ir.Constant(integer, i)]))
                product = [broadcast(builder, number, lanes.count), x, builder.load(accumulator)]
                builder.store(call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm, product), accumulator)

        _unrolled(builder, args[4], step)
        for i, accumulator in enumerate(sums):
            at = builder.add(args[6], ir.Constant(integer, i * lanes.count))
            _store(builder, builder.load(accumulator), _pointer(context, builder, array_types[5], args[5], at), lanes)
        return context.get_dummy_value()

    return types.void(P, types.intp, X, types.intp, types.intp, G, types.intp), generate


@intrinsic
def normal_equations(typingctx, index, values, first, last, B, H, rank):
    """Write ``sum b b^T`` and ``sum v b`` over the entries ``first..last``, ``b`` a row of ``B``, into ``H``.

    ``B`` and ``H`` have rows of ``WIDTH`` numbers, ``rank`` is a tuple of that length (a number known at compile
    time). Rows of ``H`` that fit into one register hold the lower triangle only; row ``rank`` is the right-hand
    side. All sums stay in registers over the entries.
    """
    lanes = register(B.dtype)
    registers = WIDTH // lanes.count
    # Row p of the triangle needs its first p + 1 numbers, the right-hand side all of them.
    needed = [1 + p // lanes.count for p in range(rank.count)] + [registers]

    def generate(context, builder, signature, args):
        index_type, values_type, _, _, B_type, H_type, _ = signature.args
        integer = args[2].type
        zero = ir.Constant(lanes.llvm, [0.0] * lanes.count)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(count)] for count in needed]
        with cgutils.for_range(builder, builder.sub(args[3], args[2])) as loop:
            k = builder.add(args[2], loop.index)
            j = builder.load(_pointer(context, builder, index_type, args[0], k))
            start = builder.mul(j, ir.Constant(j.type, WIDTH))
            at = _pointer(context, builder, B_type, args[4], start)
            parts = [
                _load(builder, builder.gep(at, [ir.Constant(integer, part * lanes.count)]), lanes)
                for part in range(registers)
            ]
            numbers = [builder.load(builder.gep(at, [ir.Constant(integer, p)])) for p in range(rank.count)]
            numbers.append(builder.load(_pointer(context, builder, values_type, args[1], k)))
            for number, row in zip(numbers, sums):
                spread = broadcast(builder, number, lanes.count)
                for part, accumulator in zip(parts, row):
                    product = [spread, part, builder.load(accumulator)]
                    builder.store(call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm, product), accumulator)
        for p, row in enumerate(sums):
            for part, accumulator in enumerate(row):
                at = ir.Constant(integer, p * WIDTH + part * lanes.count)
                _store(builder, builder.load(accumulator), _pointer(context, builder, H_type, args[5], at), lanes)
        return context.get_dummy_value()

    return types.void(index, values, types.intp, types.intp, B, H, rank), generate


@intrinsic
def dots(typingctx, U, u, du, V, v, dv, length, P, p, dp):
    """Add ``<U[a], V[b]>`` to ``P[b, a]``; see ``tiles.plain_dots``, its twin."""
    lanes = register(U.dtype)

    def generate(context, builder, signature, args):
        U_rows = _rows(context, builder, signature.args[0], args[0:3])
        V_rows = _rows(context, builder, signature.args[3], args[3:6])
        P_rows = _rows(context, builder, signature.args[7], args[7:10])
        zero = ir.Constant(lanes.llvm, [0.0] * lanes.count)
        ahead = builder.mul(args[2], ir.Constant(args[2].type, SIDE))
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in V_rows] for _ in U_rows]

        def sweep(columns: range) -> None:
            def body(offset, load, store):
                left = [load(builder.gep(row, [offset])) for row in U_rows]
                if columns[0] == 0:
                    for row in U_rows:
                        _prefetch(builder, builder.gep(row, [builder.add(offset, ahead)]))
                for b in columns:
                    y = load(builder.gep(V_rows[b], [offset]))
                    for x, across in zip(left, sums):
                        product = [x, y, builder.load(across[b])]
                        builder.store(call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm, product), across[b])

            _sweep(builder, lanes, args[6], body)

        for first in range(0, SIDE, TILE_COLUMNS):
            sweep(range(first, first + TILE_COLUMNS))
        vectors = [builder.load(across[b]) for b in range(SIDE) for across in sums]
        tile = [_sums(builder, vectors[k : k + lanes.count], lanes) for k in range(0, SIDE**2, lanes.count)]
        part = Lanes(U.dtype, SIDE)
        for b, row in enumerate(P_rows):
            source, first = tile[SIDE * b // lanes.count], SIDE * b % lanes.count
            places = ir.Constant(ir.VectorType(_I32, SIDE), list(range(first, first + SIDE)))
            added = builder.shuffle_vector(source, source, places)
            _store(builder, builder.fadd(_load(builder, row, part), added), row, part)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(U, integer, integer, V, integer, integer, integer, P, integer, integer), generate


@intrinsic
def axpys(typingctx, U, u, du, X, x, dx, length, T, t, dt):
    """Add ``sum_a X[b, a] U[a]`` to each ``T[b]``; see ``tiles.plain_axpys``, its twin."""
    lanes = register(U.dtype)

    def generate(context, builder, signature, args):
        U_rows = _rows(context, builder, signature.args[0], args[0:3])
        X_rows = _rows(context, builder, signature.args[3], args[3:6])
        T_rows = _rows(context, builder, signature.args[7], args[7:10])
        places = [ir.Constant(args[1].type, a) for a in range(SIDE)]
        factors = [
            [broadcast(builder, builder.load(builder.gep(row, [a])), lanes.count) for a in places] for row in X_rows
        ]

        def body(offset, load, store):
            left = [load(builder.gep(row, [offset])) for row in U_rows]
            for row, across in zip(T_rows, factors):
                at = builder.gep(row, [offset])
                value = load(at)
                for x, y in zip(across, left):
                    value = call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm, [x, y, value])
                store(value, at)

        _sweep(builder, lanes, args[6], body)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(U, integer, integer, X, integer, integer, integer, T, integer, integer), generate
