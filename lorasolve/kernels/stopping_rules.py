"""The stopping rules as arithmetic: one function, called by the interpreted loop and compiled into the kernels.

Plain Python without Numba, so that a run without kernels does not load it; :mod:`lorasolve.monitor` says what the
rules mean and why they stand in this order.
"""

from __future__ import annotations

from math import inf

RUNNING, CONVERGED, TARGET, LIMIT, STALLED, DIVERGED = range(6)


def decide(value, norm, size, nit, best, best_at, rules):
    """Decide about the iterate number ``nit``, whose value and gradient norm are finite.

    Parameters
    ----------
    value, norm, size : float
        ``L``, ``||grad L||_2`` and ``||theta||_2`` there; the last is infinite where squares overflow, which ends the
        run as diverged.
    nit : int
        Accepted iterations, 0 at the start.
    best, best_at : float, int
        Least value of the earlier iterates (infinity before the first) and the iteration it belongs to.
    rules : (float, float, float, int, int)
        Target (minus infinity: none); largest ``norm / size`` at which the run has converged (negative: none), and
        the size below which this one is put in its place; most iterations, and how many of them may pass without
        a new best value.

    Returns
    -------
    (int, float, int)
        ``RUNNING`` or what ends the run, and the best value with its iteration, this iterate included.
    """
    target, slope, floor, max_iter, window = rules
    if value < best:
        best = value
        best_at = nit
    if not size < inf:
        # Every gradient would be small beside factors whose squares overflow.
        code = DIVERGED
    elif value <= target:
        code = TARGET
    elif norm <= slope * max(size, floor):
        code = CONVERGED
    elif nit - best_at > window:
        code = STALLED
    elif nit >= max_iter:
        code = LIMIT
    else:
        code = RUNNING
    return code, best, best_at


def slope_at_start(slope, norm, size):
    """Return the slope of a problem, or ``norm / size`` at the start of a run where that is zero to rounding."""
    return norm / size if size > 0.0 and slope * size <= 1e-15 * norm else slope
