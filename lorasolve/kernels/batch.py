"""Many gradient descent runs on one quadratic objective, a register lane per run.

``f(X) = <X, H X> / 2 - <b, X> + c`` with a Hessian that is a dense matrix on ``vec(X)`` (sensing), acts from the
right (linear fine-tuning), or entry by entry (denoising, completion). A block holds as many runs as one register
has lanes (8 in float64, 16 in float32); apart from the Hessian, of which one half is kept, everything it needs stays in
the first two cache levels. Per run and iteration the dense product costs ``2 (m n)^2`` flops, all else ``8 m n r``. The
parts of an iteration are in ``batch_lanes.py``, and as plain loops for other processors in ``batch_plain.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import batch_lanes, batch_plain, simd
from .jit import FAST, kernel
from .parts import each_part
from .simd_llvm import REGISTER_BYTES
from .simd_sums import PANEL_ROWS
from .stopping import decide, slope_at_start
from .stopping_rules import DIVERGED, RUNNING

_parts: Any = batch_lanes if simd.available() else batch_plain
_symmetric_gradient, _entrywise_gradient = _parts.symmetric_gradient, _parts.entrywise_gradient
_outer, _gradients, _step = _parts.outer, _parts.gradients, _parts.step

DENSE, RIGHT, ENTRYWISE = 0, 1, 2


class Quadratic(NamedTuple):
    """A quadratic objective for batched runs.

    ``kind`` says how the Hessian acts; ``operator`` holds it in panels (:func:`panels`), or its entries (m n,).
    """

    kind: int
    operator: Any
    b: Any
    c: float


def lanes(dtype: Any) -> int:
    """Return the number of runs in a block."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


def panels(H: Any) -> Any:
    """Return a symmetric (k, k) matrix as panels of ``PANEL_ROWS`` rows, flat, column by column from the diagonal on.

    The square on the diagonal is whole, that of the last panel padded with zeros.
    """
    k = len(H)
    size = -(-k // PANEL_ROWS) * PANEL_ROWS
    padded = np.zeros((size, size), H.dtype)
    padded[:k, :k] = H
    starts = range(0, k, PANEL_ROWS)
    return np.concatenate(
        [padded[first : max(k, first + PANEL_ROWS), first : first + PANEL_ROWS].ravel() for first in starts]
    )


@kernel(inner=True, fastmath=FAST)
def _gradient(kind, operator, b, X, G, m, n, width):
    """Write ``G = H X - b`` for every lane."""
    if kind == DENSE:
        _symmetric_gradient(operator, b, X, 0, m * n, G, width)
    elif kind == RIGHT:
        for i in range(m):
            _symmetric_gradient(operator, b, X, i * n, n, G, width)
    else:
        _entrywise_gradient(operator, b, X, G, width)


@kernel(inner=True)
def _copy_lane(source, c, width, target):
    for k in range(source.size // width):
        target[k * width + c] = source[k * width + c]


@kernel(inner=True, symbol=True, allocates=True)
def _run_block(kind, operator, b, c0, A0, B0, lam, step, shape, slope, floor, rules, A, B, status, nit):
    """Run one block to the end of every lane; ``A``, ``B`` get the last accepted points."""
    m, n, r = shape
    target, grad_tol, max_iter, window = rules
    width = lam.size
    d = m * n
    here_A, here_B = A0.copy(), B0.copy()
    last_A, last_B = np.empty_like(here_A), np.empty_like(here_B)
    GA, GB = np.empty_like(here_A), np.empty_like(here_B)
    # The last panel reads beyond the numbers.
    X = np.zeros((d + PANEL_ROWS) * width, A0.dtype)
    G = np.empty((d + PANEL_ROWS) * width, A0.dtype)
    value, square, sizes = np.empty(width, A0.dtype), np.empty(width, A0.dtype), np.empty(width, A0.dtype)
    best = np.full(width, np.inf)
    best_at = np.zeros(width, np.int64)
    running = 0
    for c in range(width):
        running += status[c] == RUNNING
    for k in range(max_iter + 1):
        _outer(here_A, here_B, X, m, n, r, width)
        _gradient(kind, operator, b, X, G, m, n, width)
        _gradients(X, G, b, here_A, here_B, lam, GA, GB, value, square, sizes, m, n, r, width)
        for c in range(width):
            if status[c] != RUNNING:
                continue
            L = float(value[c]) + c0
            norm = np.sqrt(float(square[c]))
            if not (np.isfinite(L) and np.isfinite(norm)):
                status[c] = DIVERGED
                if k > 0:
                    _copy_lane(last_A, c, width, A)
                    _copy_lane(last_B, c, width, B)
            else:
                nit[c] = k
                size = np.sqrt(float(sizes[c]))
                if k == 0:
                    slope[c] = slope_at_start(slope[c], norm, size)
                own = (target, grad_tol * slope[c], floor[c], max_iter, window)
                status[c], best[c], best_at[c] = decide(L, norm, size, k, best[c], best_at[c], own)
                if status[c] != RUNNING:
                    _copy_lane(here_A, c, width, A)
                    _copy_lane(here_B, c, width, B)
            if status[c] != RUNNING:
                step[c] = 0
                running -= 1
        if running == 0:
            break
        _step(here_A, GA, step, last_A, width)
        _step(here_B, GB, step, last_B, width)
        here_A, last_A = last_A, here_A
        here_B, last_B = last_B, here_B


@kernel(inner=True, symbol=True)
def _run_part(kind, operators, b, c, which, A0, B0, lam, step, shape, slope, floor, rules, A, B, status, nit, t):
    w = which[t]
    _run_block(
        kind,
        operators[w],
        b[w],
        c[w],
        A0[t],
        B0[t],
        lam[t],
        step[t],
        shape,
        slope[t],
        floor[t],
        rules,
        A[t],
        B[t],
        status[t],
        nit[t],
    )


@kernel()
def run_blocks(kind, operators, b, c, which, A0, B0, lam, step, shape, slope, floor, rules, A, B, status, nit):
    """Run blocks in parallel; the first axis of the arrays from ``A0`` on is the block, the last one the lane.

    Block ``t`` belongs to the quadratic ``which[t]``; ``slope`` and ``floor`` are the units of each lane's problem,
    ``rules`` are those of :meth:`~lorasolve.StoppingRule.numbers`. Lanes whose ``status`` is ``RUNNING`` are run, and
    get the code of what ended them; the others are along for the ride.
    """
    given = (kind, operators, b, c, which, A0, B0, lam, step, shape, slope, floor, rules, A, B, status, nit)
    each_part(_run_part, which.size, given)
