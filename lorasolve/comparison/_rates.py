"""The linear rate of gradient descent near the optimum: what the theory predicts of a run, and what it shows."""

from __future__ import annotations

import math

import numpy as np

from ..certificates import Certificate
from ..landscape.canonical import canonical
from ..landscape.first_order import complement
from ..landscape.known_constants import known_constants
from ..low_rank import truncated_svd
from ..method import Method
from ..optimizers.gd import GD
from ..problem import Problem
from ..result import Result, Trace
from ..singular_triplets import top_singular

# Fewer recorded iterations than this say nothing about a rate.
FEWEST = 10
# Gradient norms within this factor of the least of a run may be no more than rounding errors.
ROUNDED = 4.0


def rates(method: Method, ended: Result, certificate: Certificate | None) -> tuple[float, float] | None:
    """Return the predicted bound on the factor of one step near the optimum, and the measured factor.

    None where a premise of proofs/local_rate is not known to hold: constant steps of plain gradient descent that end at
    a certified optimum of known rank, ``lam > 0``, bounds on the curvature of ``f``, strict complementarity, and steps
    that are short enough.
    """
    problem = ended.problem
    plain = type(method.optimizer) is GD and not method.schedules
    if not plain or problem.adapter.name != "lora" or problem.trainable is not None:
        return None
    if certificate is None or not certificate.is_global:
        return None
    if certificate.rank_at_least != certificate.rank_at_most or not certificate.rank_at_least:
        return None
    tail = _tail(ended.trace)
    if tail is None:
        return None
    shortest, longest, measured = tail
    predicted = predicted_rate(problem, ended, certificate.rank_at_least, shortest, longest)
    return None if predicted is None else (predicted, measured)


def predicted_rate(problem: Problem, at: Result, rank: int, shortest: float, longest: float) -> float | None:
    """Return ``1 - shortest mu``, ``mu`` below every curvature of ``L`` at the optimum off its symmetries, or None.

    Parameters
    ----------
    problem : Problem
        With ``X = s A B^T``.
    at : Result
        A run that ended at the optimum.
    rank : int
        That of the optimum.
    shortest, longest : float
        The steps taken lie between them; the longest is at most ``2/(mu + M)`` for a bound ``M`` on all curvatures.
    """
    constants = known_constants(problem.objective, problem.rank)
    if constants is None:
        return None
    point = canonical(problem, at.A, at.B)
    ((A, B),), (G,), lam, alpha = point.factors, point.gradients(), point.lam, constants.rsc_low
    P, sigma, Q = truncated_svd(A, B)
    if sigma.size < rank:
        return None
    S = complement(G, P[:, :rank], Q[:, :rank])
    free = lam - float(top_singular(S, rng=np.random.default_rng(0)).values[0])
    least = float(sigma[rank - 1])
    if problem.rank > rank:
        mu = min(2.0 * alpha * least, free)
    else:
        mu = min(2.0 * alpha * least, 2.0 * lam, alpha * least + free)
    # proofs/descent_lemma.local_curvature: at the optimum ||G||_2 = lam and ||A||_2^2 = ||B||_2^2 = sigma_1.
    largest = 2.0 * lam + 2.0 * constants.rsm_high * float(sigma[0])
    # Without lam or strong convexity mu is 0. The canonical factors are sqrt(s) times those of the problem.
    if mu <= 0.0 or longest * problem.scale * (mu + largest) > 2.0:
        return None
    return 1.0 - shortest * problem.scale * mu


def _tail(trace: Trace) -> tuple[float, float, float] | None:
    """Return the shortest and longest step of a run, and the factor of its gradient norm a step, on average.

    They are those of its second half, once the norm has fallen through half of its decades, as a run may first have
    stayed beside a saddle, and up to where rounding may have stopped it, from where on steps are shortened in vain.
    """
    iterations, norms, steps = (np.asarray(column) for column in (trace.iteration, trace.grad_norm, trace.step))
    end = int(np.argmax(norms <= ROUNDED * norms.min()))
    before = norms[: end + 1]
    largest = float(before.max())
    middle = min(math.sqrt(largest) * math.sqrt(norms[end]), largest)
    start = max(np.searchsorted(iterations, iterations[end] / 2.0), np.flatnonzero(before >= middle)[-1])
    count = int(iterations[end] - iterations[start])
    taken = steps[start : end + 1]
    if count < FEWEST or not np.all(taken > 0.0) or not norms[end] > 0.0:
        return None
    factor = float(norms[end] / norms[start]) ** (1.0 / count)
    return float(taken.min()), float(taken.max()), factor
