"""Sums that stay in registers over a whole loop: panels of a symmetric matrix, normal equations, and tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .simd import WIDTH
from .simd_llvm import (
    I32,
    REGISTER_BYTES,
    Lanes,
    broadcast,
    call,
    emit_load,
    emit_masked_load,
    emit_masked_store,
    emit_prefetch,
    emit_store,
    first_mask,
    intrinsic,
    pointer,
    register,
)

# Rows of a panel of a symmetric matrix: of 32 or 16 registers that many hold sums, and as many what the numbers of a
# column are multiplied with for it.
PANEL_ROWS = 12 if REGISTER_BYTES == 64 else 6
# Rows and columns of a tile (``tiles.py``).
SIDE = 4
# Columns of a tile whose sums fit into the registers beside their factors.
TILE_COLUMNS = SIDE if REGISTER_BYTES == 64 else SIDE // 2


def _sweep(builder: Any, lanes: Lanes, length: Any, body: Any) -> None:
    """Emit ``body(offset, load, store)`` for the whole registers of ``length`` numbers, then masked for the rest."""
    width = ir.Constant(length.type, lanes.count)
    whole = builder.sdiv(length, width)
    with cgutils.for_range(builder, whole) as loop:
        body(
            builder.mul(loop.index, width),
            lambda address: emit_load(builder, address, lanes),
            lambda vector, address: emit_store(builder, vector, address, lanes),
        )
    done = builder.mul(whole, width)
    rest = builder.sub(length, done)
    with builder.if_then(builder.icmp_signed(">", rest, ir.Constant(length.type, 0))):
        mask = first_mask(builder, rest, lanes.count)
        body(
            done,
            lambda address: emit_masked_load(builder, address, mask, lanes),
            lambda vector, address: emit_masked_store(builder, vector, address, mask, lanes),
        )


def _rows(context: Any, builder: Any, array_type: Any, operand: Sequence[Any]) -> list[Any]:
    """Return the addresses of the four rows of an array, the position of the first and the distance between them."""
    array, start, stride = operand
    numbers = [ir.Constant(start.type, k) for k in range(SIDE)]
    return [pointer(context, builder, array_type, array, builder.add(start, builder.mul(stride, k))) for k in numbers]


def _sums(builder: Any, vectors: list[Any], lanes: Lanes) -> Any:
    """Return one vector whose lane ``k`` is the sum of vector ``k``, of as many vectors as lanes.

    Each level adds halves: two vectors of groups become one with twice as many groups of half the length.
    """
    group = lanes.count
    while group > 1:
        low = [k for k in range(2 * lanes.count) if k % group < group // 2]
        high = [k + group // 2 for k in low]
        masks = [ir.Constant(ir.VectorType(I32, lanes.count), half) for half in (low, high)]
        vectors = [
            builder.fadd(*(builder.shuffle_vector(x, y, mask) for mask in masks))
            for x, y in zip(vectors[::2], vectors[1::2])
        ]
        group //= 2
    return vectors[0]


@intrinsic
def symmetric_panel(typingctx, P, start, X, G, position, beyond):
    """Add to ``G`` what a panel of a symmetric ``H`` has of ``H X``: its rows from the diagonal on, and their mirror.

    ``P`` holds the panel from ``start`` on, column by column: the square of ``PANEL_ROWS`` rows and columns on the
    diagonal, whole, then ``beyond`` columns. ``X`` and ``G`` hold a register per row of ``H``, from the panel's first
    one at ``position`` on, and at least as many as the panel has rows.

    A number beyond the diagonal is read once for its row and for its column; the rows sum in registers.
    """
    lanes = register(X.dtype)

    def generate(context, builder, signature, args):
        array_types = signature.args
        integer = args[1].type
        rows, count = ir.Constant(integer, PANEL_ROWS), ir.Constant(integer, lanes.count)
        own = [ir.Constant(integer, i) for i in range(PANEL_ROWS)]

        def place(array: int, row: Any) -> Any:
            at = builder.add(args[4], builder.mul(row, count))
            return pointer(context, builder, array_types[array], args[array], at)

        def numbers(column: Any) -> list[Any]:
            at = builder.add(args[1], builder.mul(column, rows))
            first = pointer(context, builder, array_types[0], args[0], at)
            return [broadcast(builder, builder.load(builder.gep(first, [row])), lanes.count) for row in own]

        def fma(x: Any, y: Any, z: Any) -> Any:
            return call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm, [x, y, z])

        x = [emit_load(builder, place(2, row), lanes) for row in own]
        sums = [emit_load(builder, place(3, row), lanes) for row in own]
        for column, across in zip(own, x):
            sums = [fma(h, across, total) for h, total in zip(numbers(column), sums)]
        kept = [cgutils.alloca_once_value(builder, total) for total in sums]
        with cgutils.for_range(builder, args[5]) as loop:
            column = builder.add(loop.index, rows)
            across, down = (emit_load(builder, place(array, column), lanes) for array in (2, 3))
            for h, mine, total in zip(numbers(column), x, kept):
                builder.store(fma(h, across, builder.load(total)), total)
                down = fma(h, mine, down)
            emit_store(builder, down, place(3, column), lanes)
        for row, total in zip(own, kept):
            emit_store(builder, builder.load(total), place(3, row), lanes)
        return context.get_dummy_value()

    return types.void(P, types.intp, X, G, types.intp, types.intp), generate


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
            j = builder.load(pointer(context, builder, index_type, args[0], k))
            start = builder.mul(j, ir.Constant(j.type, WIDTH))
            at = pointer(context, builder, B_type, args[4], start)
            parts = [
                emit_load(builder, builder.gep(at, [ir.Constant(integer, part * lanes.count)]), lanes)
                for part in range(registers)
            ]
            numbers = [builder.load(builder.gep(at, [ir.Constant(integer, p)])) for p in range(rank.count)]
            numbers.append(builder.load(pointer(context, builder, values_type, args[1], k)))
            for number, row in zip(numbers, sums):
                spread = broadcast(builder, number, lanes.count)
                for part, accumulator in zip(parts, row):
                    product = [spread, part, builder.load(accumulator)]
                    builder.store(call(builder, f"llvm.fma.{lanes.suffix}", lanes.llvm, product), accumulator)
        for p, row in enumerate(sums):
            for part, accumulator in enumerate(row):
                at = ir.Constant(integer, p * WIDTH + part * lanes.count)
                emit_store(builder, builder.load(accumulator), pointer(context, builder, H_type, args[5], at), lanes)
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
                        emit_prefetch(builder, builder.gep(row, [builder.add(offset, ahead)]))
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
            places = ir.Constant(ir.VectorType(I32, SIDE), list(range(first, first + SIDE)))
            added = builder.shuffle_vector(source, source, places)
            emit_store(builder, builder.fadd(emit_load(builder, row, part), added), row, part)
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
