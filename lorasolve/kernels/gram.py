"""Linear fine-tuning through Gram matrices: ``G B = A (B^T S B) - C B`` and ``G^T A = (S B)(A^T A) - C^T A``.

Three products of an n-wide matrix with a skinny one, ``2 r (n^2 + 2 m n)`` flops. Each number of ``C`` is read once
for its two products, and of the symmetric ``S`` only the upper triangle is read, each number for two products as
well: ``m n + n^2 / 2`` numbers of traffic. Zeros at the end of rows of ``S`` and at the start of rows of ``C`` are not
read: a third of the flops are left in bases in which ``S`` is diagonal and ``C`` upper triangular. All factors are held
transposed and flat, ranks padded with zero rows to whole tiles (``tiles.py``). ``MixedGramData`` advances the three
products, which are linear in the factors, by float32 increments between exact products by BLAS, and those of a change
that lies along earlier ones without the matrices (``directions.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import directions
from .jit import FAST, kernel
from .oracle import implements
from .parts import each_part
from .simd import aligned
from .simd_sums import SIDE
from .tiles import axpys, dots

# Columns of the matrices that are worked on at a time, so that the factors' parts stay in the first cache level.
COLUMNS = 256
# Exact products are this many calls apart: after 3000 iterations on 180 x 180 and 512 x 512 points are then off by
# 6e-9 to 3e-8 relative, with 100 by 3e-9 to 3e-8, without any by 5e-7.
REFRESH = 200
# Directions that have saved fewer products than this are followed by so many calls without any: looking for them in
# vain takes a tenth longer on 256 x 256 at rank 32.
WORTH, CALLS_OF_PAUSE = 2, 100
# Places in the counts of directions.
HELD, SAVED, PAUSE = 0, 1, 2
# The diagonal of S is left to dot products in blocks of this many rows, so that the rest starts at whole registers; so
# does what is left of rows that begin with zeros.
DIAGONAL = 16


class Outline(NamedTuple):
    """For each four rows, where their numbers end in ``S`` and start in ``C``, rounded to whole registers."""

    S_ends: Any
    C_starts: Any


def outline_of(S: Any, C: Any) -> Outline:
    """Return where the zeros are that need not be read."""
    n = len(S)
    used = S[:, ::-1] != 0, C != 0
    before = [np.where(part.any(axis=1), part.argmax(axis=1), n) for part in used]
    before = [np.minimum.reduceat(part, np.arange(0, part.size, SIDE)) // DIAGONAL * DIAGONAL for part in before]
    return Outline(n - before[0], before[1])


class Products(NamedTuple):
    """The sizes, the matrices, the three products in one type, and how threads divide the work.

    All are flat: ``S`` (n n), ``C`` (m n), ``At``, ``CBt`` (r' m), ``Bt``, ``SBt``, ``CtAt`` (r' n); ``share``
    (threads, 2, r' n) holds what each thread has of the last two, and is (2, r' n) for one, for which no parallel loop
    is compiled then; ``S_cut``, ``C_cut`` are the bounds of each thread's rows; ``S_ends`` and ``C_starts`` those of
    :class:`Outline`.
    """

    m: Any
    n: Any
    S: Any
    C: Any
    At: Any
    Bt: Any
    SBt: Any
    CBt: Any
    CtAt: Any
    share: Any
    S_cut: Any
    C_cut: Any
    S_ends: Any
    C_starts: Any


class GramData(NamedTuple):
    """The products, the loss at zero, and scratch.

    ``K``, ``L`` (r' r') for ``B^T S B`` and ``A^T A``, ``GBt`` (r' m) and ``GtAt`` (r' n).
    """

    products: Products
    f0: Any
    K: Any
    L: Any
    GBt: Any
    GtAt: Any


class MixedGramData(NamedTuple):
    """Data in float64, the products of the float32 increments, and the number of calls since exact products.

    Increments along the directions of earlier ones have combinations of their products ``SB`` and ``CA`` (4, r' n) and
    ``CB`` (4, r' m); ``counts`` says how many directions are held, how many products they have saved, and for how many
    calls there are to be none.
    """

    exact: GramData
    increments: Products
    along_A: Any
    along_B: Any
    SB: Any
    CB: Any
    CA: Any
    counts: Any
    calls: Any

    def exactly(self, A: Any, B: Any, GB: Any, GtA: Any) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``, exactly; increments go on from there."""
        self.refresh(A, B)
        self.calls[0] = 1
        given, rank = self.exact.products, A.shape[1]
        CB = given.CBt.reshape(-1, given.m)[:rank].T
        SB, CtA = (flat.reshape(-1, given.n)[:rank].T for flat in (given.SBt, given.CtAt))
        K, L = B.T @ SB, A.T @ A
        np.subtract(A @ K, CB, out=GB)
        np.subtract(SB @ L, CtA, out=GtA)
        return float(self.exact.f0 + 0.5 * np.vdot(K, L) - np.vdot(A, CB))

    def refresh(self, A: Any, B: Any) -> None:
        """Make the next call, at this point, exact; increments go on from there.

        The products are made by BLAS: kernels in float64 would be compiled for more than a second, and serve few
        iterations.
        """
        given = self.exact.products
        m, n, rank = given.m, given.n, A.shape[1]
        S, C = given.S.reshape(n, n), given.C.reshape(m, n)
        At, CBt = (flat.reshape(-1, m) for flat in (given.At, given.CBt))
        Bt, SBt, CtAt = (flat.reshape(-1, n) for flat in (given.Bt, given.SBt, given.CtAt))
        for padded in (CBt, SBt, CtAt):
            padded[rank:] = 0
        At[:rank], Bt[:rank] = A.T, B.T
        # BLAS takes half as long with the large matrix on the left.
        SBt[:rank], CBt[:rank], CtAt[:rank] = (S @ B).T, (C @ B).T, (C.T @ A).T
        # Directions met where a step went too far may be no numbers.
        self.along_A.squares[:] = self.along_B.squares[:] = 0
        self.counts[[HELD, SAVED]] = 0
        self.calls[0] = 0

    @property
    def ahead(self) -> int:
        """How many calls may follow before products are refreshed from outside."""
        return REFRESH - int(self.calls[0])


def _products(S: Any, C: Any, outline: Outline, padded: int, threads: int) -> Products:
    m, n = C.shape
    S, C = (np.require(part, requirements=["C", "W"]) for part in (S, C))
    share = aligned(threads * 2 * padded * n, C.dtype).reshape(*([threads] if threads > 1 else []), 2, padded * n)
    At, Bt, SBt, CBt, CtAt = (aligned(padded * k, C.dtype) for k in (m, n, n, m, n))
    for factor in (At, Bt):
        factor[:] = 0
    S_cut = _equal_parts(outline.S_ends - np.arange(0, n, SIDE), threads, DIAGONAL, n)
    C_cut = _equal_parts(n - outline.C_starts, threads, SIDE, m)
    return Products(m, n, S.ravel(), C.ravel(), At, Bt, SBt, CBt, CtAt, share, S_cut, C_cut, *outline)


def _equal_parts(lengths: Any, threads: int, unit: int, rows: int) -> Any:
    """Return the bounds, multiples of ``unit``, of as many parts of the rows that are as long, four at a time."""
    if threads == 1:
        return np.array([0, rows])
    done = np.cumsum(np.maximum(lengths, 1))
    cut = SIDE * np.searchsorted(done, done[-1] * np.arange(threads + 1) / threads) // unit * unit
    cut[0], cut[-1] = 0, rows
    return cut


def data(S: Any, C: Any, outline: Outline, f0: float, rank: int, threads: int) -> GramData:
    """Return kernel data with fresh scratch; small problems get one thread."""
    m, n = C.shape
    if n * (n + 2 * m) * rank < 200_000:
        threads = 1
    padded = SIDE * -(-rank // SIDE)
    K, L, GBt, GtAt = (aligned(padded * k, C.dtype) for k in (padded, padded, m, n))
    return GramData(_products(S, C, outline, padded, threads), C.dtype.type(f0), K, L, GBt, GtAt)


def mixed_data(exact: GramData, S32: Any, C32: Any) -> MixedGramData:
    """Return kernel data for float32 increments of a float64 problem, from its Gram matrices in float32."""
    given = exact.products
    threads, length = len(given.C_cut) - 1, given.share.shape[-1]
    outline = Outline(given.S_ends, given.C_starts)
    increments = _products(S32, C32, outline, length // S32.shape[0], threads)
    along_A, along_B = (directions.directions(part.size) for part in (increments.At, increments.Bt))
    SB, CB, CA = (directions.room(part.size) for part in (given.SBt, given.CBt, given.CtAt))
    counts = np.zeros(3, np.int64)
    return MixedGramData(exact, increments, along_A, along_B, SB, CB, CA, counts, np.full(1, REFRESH))


@kernel(inner=True, symbol=True, fastmath=FAST)
def _symmetric_rows(S, ends, n, Bt, rank, lo, hi, P):
    """Add to ``P`` what rows ``lo..hi`` of the upper triangle of ``S`` contribute to ``(S B)^T``."""
    for left in range(0, n, COLUMNS):
        for i in range(lo, hi - SIDE + 1, SIDE):
            right = min(ends[i // SIDE], left + COLUMNS)
            block = i // DIAGONAL * DIAGONAL
            first = max(block, left)
            if first >= right:
                continue
            beyond = max(block + DIAGONAL, left)
            for q in range(0, rank, SIDE):
                dots(S, i * n + first, n, Bt, q * n + first, n, right - first, P, q * n + i, n)
                if beyond < right:
                    axpys(S, i * n + beyond, n, Bt, q * n + i, n, right - beyond, P, q * n + beyond, n)
    # Rows that fill no tile lie in the last block of the diagonal.
    for i in range(lo + (hi - lo) // SIDE * SIDE, hi):
        block = i // DIAGONAL * DIAGONAL
        for q in range(rank):
            s = S.dtype.type(0)
            for j in range(block, n):
                s += S[i * n + j] * Bt[q * n + j]
            P[q * n + i] += s


@kernel(inner=True, symbol=True, fastmath=FAST)
def _rows(C, starts, m, n, At, Bt, rank, lo, hi, CBt, P):
    """Write columns ``lo..hi`` of ``(C B)^T``; add to ``P`` what rows ``lo..hi`` contribute to ``(C^T A)^T``."""
    for q in range(rank):
        CBt[q * m + lo : q * m + hi] = 0
    for left in range(0, n, COLUMNS):
        right = min(n, left + COLUMNS)
        for i in range(lo, hi - SIDE + 1, SIDE):
            first = max(left, starts[i // SIDE])
            if first >= right:
                continue
            at, length = i * n + first, right - first
            for q in range(0, rank, SIDE):
                dots(C, at, n, Bt, q * n + first, n, length, CBt, q * m + i, m)
                axpys(C, at, n, At, q * m + i, m, length, P, q * n + first, n)
    for i in range(lo + (hi - lo) // SIDE * SIDE, hi):
        for q in range(rank):
            a = At[q * m + i]
            s = C.dtype.type(0)
            for j in range(n):
                s += C[i * n + j] * Bt[q * n + j]
                P[q * n + j] += a * C[i * n + j]
            CBt[q * m + i] = s


@kernel(inner=True, symbol=True)
def _part(products, share, t):
    """Do the part of thread ``t``, whose share (2, r' n) is given."""
    m, n = products.m, products.n
    At, Bt, CBt = products.At, products.Bt, products.CBt
    S_cut, C_cut = products.S_cut, products.C_cut
    share[:] = 0
    rank = Bt.size // n
    _symmetric_rows(products.S, products.S_ends, n, Bt, rank, S_cut[t], S_cut[t + 1], share[0])
    _rows(products.C, products.C_starts, m, n, At, Bt, rank, C_cut[t], C_cut[t + 1], CBt, share[1])


@kernel(inner=True, symbol=True)
def _shared_part(products, t):
    _part(products, products.share[t], t)


@kernel(inner=True, fastmath=FAST)
def _add(change, product):
    for k in range(product.size):
        product[k] += change[k]


@kernel(inner=True, symbol=True)
def _multiply(products, share, SBt, CtAt):
    """Write ``CBt`` of ``products``, and add the two products that threads share to ``SBt``, ``CtAt``."""
    if share.ndim == 2:
        _part(products, share, 0)
        _add(share[0], SBt)
        _add(share[1], CtAt)
    else:
        each_part(_shared_part, share.shape[0], (products,))
        for t in range(share.shape[0]):
            _add(share[t, 0], SBt)
            _add(share[t, 1], CtAt)


@kernel(inner=True, symbol=True, fastmath=FAST)
def _inner_products(P, Q, length, rank, K):
    """Write ``K[p, q] = <P[p], Q[q]>``, symmetric."""
    K[:] = 0
    for p in range(0, rank, SIDE):
        for q in range(0, rank, SIDE):
            dots(P, p * length, length, Q, q * length, length, length, K, q * rank + p, rank)


@kernel(inner=True, symbol=True, fastmath=FAST)
def _combine(K, P, C, length, rank, out):
    """Write ``out[q] = sum_p K[q, p] P[p] - C[q]``."""
    for k in range(out.size):
        out[k] = -C[k]
    for q in range(0, rank, SIDE):
        for p in range(0, rank, SIDE):
            axpys(P, p * length, length, K, q * rank + p, rank, length, out, q * length, length)


@kernel(inner=True, symbol=True, fastmath=FAST)
def _finish(data, GB, GtAt):
    """Write ``G B`` and ``(G^T A)^T`` from the three products; return ``f``."""
    At, Bt, SBt, CBt = data.products.At, data.products.Bt, data.products.SBt, data.products.CBt
    m, n = data.products.m, data.products.n
    rank = Bt.size // n
    _inner_products(Bt, SBt, n, rank, data.K)
    _inner_products(At, At, m, rank, data.L)
    quadratic = linear = At.dtype.type(0)
    for k in range(data.K.size):
        quadratic += data.K[k] * data.L[k]
    for k in range(At.size):
        linear += At[k] * CBt[k]
    _combine(data.K, At, CBt, m, rank, data.GBt)
    _combine(data.L, SBt, data.products.CtAt, n, rank, data.GtAt)
    for i in range(m):
        for q in range(GB.shape[1]):
            GB[i, q] = data.GBt[q * m + i]
    for q in range(GtAt.shape[0]):
        for j in range(n):
            GtAt[q, j] = data.GtAt[q * n + j]
    return data.f0 + 0.5 * quadratic - linear


@kernel(inner=True, fastmath=FAST)
def _take(products, A, Bt):
    """Copy the factors into those of the products, whose ranks may be padded, and set the sums to zero."""
    At, own_Bt = products.At, products.Bt
    m, r = A.shape
    n = Bt.shape[1]
    for i in range(m):
        for q in range(r):
            At[q * m + i] = A[i, q]
    for q in range(r):
        for j in range(n):
            own_Bt[q * n + j] = Bt[q, j]
    for k in range(products.SBt.size):
        products.SBt[k] = 0
        products.CtAt[k] = 0


@kernel(inner=True, symbol=True, fastmath=FAST)
def _increments(A, Bt, At, own_Bt, dAt, dBt, new_At):
    """Write in float32 how the factors differ from those of the products, and ``A`` transposed."""
    m, r = A.shape
    n = Bt.shape[1]
    # Transposed by itself: in one loop with the rest it takes twice as long.
    for i in range(m):
        for q in range(r):
            new_At[q * m + i] = A[i, q]
    for k in range(m * r):
        dAt[k] = np.float32(new_At[k] - At[k])
    for q in range(r):
        for j in range(n):
            dBt[q * n + j] = np.float32(Bt[q, j] - own_Bt[q * n + j])


@kernel(inner=True, symbol=True, fastmath=FAST)
def _move(new_At, Bt, rest_A, rest_B, At, own_Bt):
    """Make the factors of the products the new ones, but for what is left of the increments."""
    r, n = Bt.shape
    for k in range(At.size // (own_Bt.size // n) * r):
        At[k] = new_At[k] - rest_A[k]
    for q in range(r):
        for j in range(n):
            own_Bt[q * n + j] = Bt[q, j] - rest_B[q * n + j]


@kernel(inner=True)
def _advance(data):
    """Advance the products by combinations of earlier ones, up to what may be left out, or else of what is new too."""
    exact, increments, along_A, along_B = data.exact.products, data.increments, data.along_A, data.along_B
    counts = data.counts
    if counts[PAUSE] > 0:
        counts[PAUSE] -= 1
        counts[HELD] = 0
        along_A.squares[:] = 0
        along_B.squares[:] = 0
    known_A = directions.reduce(along_A, increments.At)
    known_B = directions.reduce(along_B, increments.Bt)
    if known_A and known_B:
        counts[SAVED] += 1
    else:
        if counts[HELD] == directions.KEPT:
            directions.restore(along_A, increments.At)
            directions.restore(along_B, increments.Bt)
            if counts[SAVED] < WORTH:
                counts[PAUSE] = CALLS_OF_PAUSE
            counts[HELD] = counts[SAVED] = 0
        slot = counts[HELD]
        counts[HELD] += 1
        SB, CB, CA = data.SB[slot], data.CB[slot], data.CA[slot]
        SB[:] = 0
        CB[:] = 0
        CA[:] = 0
        _multiply(increments, increments.share, SB, CA)
        _add(increments.CBt, CB)
        directions.keep(along_A, slot, increments.At)
        directions.keep(along_B, slot, increments.Bt)
    directions.combine(along_B.shares, data.SB, exact.SBt)
    directions.combine(along_B.shares, data.CB, exact.CBt)
    directions.combine(along_A.shares, data.CA, exact.CtAt)


@implements(GramData)
@kernel(inner=True, symbol=True)
def _gram_oracle(data, A, Bt, GB, GtAt):
    products = data.products
    _take(products, A, Bt)
    _multiply(products, products.share, products.SBt, products.CtAt)
    return _finish(data, GB, GtAt)


@implements(MixedGramData)
@kernel(inner=True, symbol=True)
def _mixed_gram_oracle(data, A, Bt, GB, GtAt):
    exact, increments = data.exact.products, data.increments
    if data.calls[0] > 0:
        _increments(A, Bt, exact.At, exact.Bt, increments.At, increments.Bt, data.exact.GBt)
        _advance(data)
        _move(data.exact.GBt, Bt, increments.At, increments.Bt, exact.At, exact.Bt)
    data.calls[0] += 1
    return _finish(data.exact, GB, GtAt)
