"""Why training probably does not fail: the minimizer is small, and SGD with weight decay keeps the rank low."""

from __future__ import annotations

import math

import numpy as np

from .._support.validate import MOST_ROWS, Array, as_float_array, as_instance, as_integer, as_number
from ..problem import Problem


def magnitude_bound(problem: Problem) -> float:
    """Return ``(f(0) - inf f)/lam``, an upper bound on ``||X*||_*`` for every minimizer ``X*`` of ``F``.

    CERTIFIED: ``F(X*) <= F(0)`` and ``f(X*) >= inf f``. Infinite for ``lam = 0``.

    Parameters
    ----------
    problem : Problem or MultiProblem
        With an objective that states a lower bound (``lower_bound``); a lower one only weakens the result.

    Raises
    ------
    ValueError
        If the objective states no lower bound, and for an adapter whose update is not ``s A B^T``: what that minimises
        has no ``F``.

    Notes
    -----
    Source: main paper, section 7 (proofs/magnitude_bound).
    """
    as_instance(problem, "problem", Problem).require_low_rank("magnitude_bound")
    low = problem.objective.facts.lower_bound
    if low is None:
        raise ValueError(
            f"problem: {problem.objective.label} states no lower bound; accepted: an objective whose "
            "`lower_bound` is a number below every value of f"
        )
    if problem.lam == 0.0:
        return math.inf
    return (problem.value_at_zero - low) / problem.lam_effective


def sgd_rank_bound(eps: float, batch: int, step: float, lam: float) -> float:
    """Return ``batch log(eps/4)/log(1 - step lam)``: the rank within relative distance ``eps`` of the limit of SGD.

    If SGD with mini-batches of ``batch`` samples (each with a rank-one gradient), step size ``step`` and weight decay
    ``lam`` converges to ``X``, some ``W`` of at most this rank has ``||X/||X|| - W|| < eps``, provided that
    ``eps/4 <= 1 - step lam``. With more decay the number is below ``batch`` and no bound; the rank of ``X`` is then at
    most ``batch``, as it is always.

    Parameters
    ----------
    eps : float
        Relative accuracy, in (0, 1).
    batch : int
        Mini-batch size.
    step, lam : float
        Step size and weight decay, ``0 < step * lam < 1``.

    Raises
    ------
    ValueError, TypeError
        For numbers out of range.

    Notes
    -----
    Source: main paper, Lemma 1 (proofs/lemma1), proved where the factors converge, and there with the quotient of
    logarithms rounded down. The bound is vacuous where it exceeds ``min(m, n)``.
    """
    eps = as_number(eps, "eps", 0.0, 1.0, open_low=True, open_high=True)
    batch = as_integer(batch, "batch", 1, MOST_ROWS)
    product = as_number(step, "step", 0.0, open_low=True) * as_number(lam, "lam", 0.0, open_low=True)
    if product >= 1.0:
        raise ValueError(f"step, lam: expected step * lam < 1, got {product:.3g}")
    return batch * (math.log(eps) - math.log(4.0)) / math.log1p(-product) if product > 0.0 else math.inf


def effective_rank(singular_values: Array, eps: float) -> int:
    """Return the least rank of a ``W`` with ``||X/||X||_F - W||_F < eps``, from the singular values of ``X``.

    Parameters
    ----------
    singular_values : ndarray
        In any order; all zero gives rank 0.
    eps : float
        Relative accuracy, in (0, 1).

    Raises
    ------
    ValueError, TypeError
        For ``eps`` out of range, and singular values that are no finite numbers ``>= 0`` in one row.
    """
    eps = as_number(eps, "eps", 0.0, 1.0, open_low=True, open_high=True)
    values = np.sort(as_float_array(singular_values, "singular_values", 1, np.float64))
    if values[0] < 0.0:
        raise ValueError(f"singular_values: expected numbers >= 0, got {values[0]:g}")
    if values[-1] == 0.0:
        return 0
    tail = np.sqrt(np.cumsum((values / values[-1]) ** 2)[::-1])
    return int(np.count_nonzero(tail >= eps * tail[0]))
