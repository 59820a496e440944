"""A better point: what refutes the optimality of a given one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._support.validate import Array
from ..linear_map import LinearMap, outside
from ..low_rank import Svd, balanced
from ..objectives import NoCurvatureError
from ..problem.blocks import MultiObjective
from ..problem.natural_units import with_needed
from ..problem.pairs import Pairs
from ..singular_triplets import top_above

# The longest step, over the curvature, and how many are tried.
LONGEST, STEPS = 8.0, 16
# The share of lam ||X||_* from which on it is not paid for by <G, X>: at a stationary point all of it is.
UNPAID = 1e-2
# Entries up to which the top pair comes from a full SVD: it only steers.
DENSE = 10_000


class _Span(NamedTuple):
    """Bases of what steps from an update are restricted to, and the update and its gradient between them."""

    left: Array
    right: Array
    X: Array
    core: Array


def better_point(
    loss: MultiObjective, lam: float, factors: Pairs, spectra: Sequence[Svd]
) -> tuple[float, float, Pairs]:
    """Return ``f``, ``||X||_*`` and the factors of the best point that is found by a few steps.

    Proximal gradient steps ``prox(X - t G)`` are restricted to the singular spaces of ``X = P diag(s) Q^T``, their
    images under ``G`` and the top singular pair of ``G`` outside of these spaces: at a point that is not optimal ``F``
    falls along one of these. Where ``G`` does not pay for ``lam ||X||_*``, as far out in a loss that levels off, they
    are short beside ``X``, and shares of it are tried.
    """
    spans = [_span(G, svd, lam) for G, svd in zip(loss.gradient_operators(factors), spectra)]
    try:
        found = _by_steps(loss, lam, factors, spans)
    except NoCurvatureError:  # of a loss that overflows beside this point, as where a route ran that has no optimum
        found = (math.inf, 0.0, factors)
    cost = lam * sum(float(s.sum()) for _, s, _ in spectra)
    if sum(float(np.vdot(span.core, span.X)) for span in spans) + cost > UNPAID * cost:
        found = min(found, _by_shares(loss, lam, spectra), key=lambda point: point[0] + lam * point[1])
    return found


def _span(G: LinearMap, svd: Svd, lam: float) -> _Span:
    P, s, Q = svd
    GQ, GtP = G.matmat(Q), G.rmatmat(P)
    top = top_above(outside(G, P, Q, (GQ, GtP)), 1, 1, lam, np.random.default_rng(), DENSE)
    left = np.linalg.qr(np.hstack([P, GQ, top.U]))[0]
    right = np.linalg.qr(np.hstack([Q, GtP, top.V]))[0]
    return _Span(left, right, (left.T @ P * s) @ (Q.T @ right), left.T @ G.matmat(right))


def _by_shares(loss: MultiObjective, lam: float, spectra: Sequence[Svd]) -> tuple[float, float, Pairs]:
    """Return the best of the points ``(1 - 2^-k) X``, from ``X = 0`` on as long as ``F`` falls."""
    best: tuple[float, float, Pairs] = (math.inf, 0.0, [])
    lowest = math.inf
    for k in range(STEPS):
        kept = 1.0 - 0.5**k
        tried = [balanced(P, kept * s, Q) for P, s, Q in spectra]
        f, nuclear = float(loss.factor_value(tried)), kept * sum(float(s.sum()) for _, s, _ in spectra)
        if not f + lam * nuclear <= lowest:
            break
        lowest, best = f + lam * nuclear, (f, nuclear, tried)
    return best


def _by_steps(loss: MultiObjective, lam: float, factors: Pairs, spans: Sequence[_Span]) -> tuple[float, float, Pairs]:
    """Return the best point of proximal gradient steps.

    ``t`` falls from ``8/beta`` until ``F`` rises; where ``beta`` is a curvature near ``X``, and a much larger one is
    met on a step, from that. Each of several matrices has a ``beta`` of its own.
    """
    lowest, best = math.inf, (math.inf, 0.0, factors)
    here = float(loss.factor_value(factors))
    betas = _curvatures(loss, factors, spans, here)
    share = LONGEST
    for _ in range(STEPS):
        moved = [X - share / beta * core for (_, _, X, core), beta in zip(spans, betas)]
        if not all(np.isfinite(M).all() for M in moved):  # far out where f hardly bends
            share *= 0.5
            continue
        tried, nuclear, slope, square = [], 0.0, 0.0, 0.0
        for (left, right, X, core), M, beta in zip(spans, moved, betas):
            t = share / beta
            p, sigma, qt = np.linalg.svd(M, full_matrices=False)
            shrunk = np.maximum(sigma - t * lam, 0.0)
            nuclear += float(shrunk.sum())
            D = (p * shrunk) @ qt - X
            slope += float(np.vdot(core, D))
            square += beta * float(np.vdot(D, D))
            tried.append(balanced(left @ p, shrunk, right @ qt.T))
        f = float(loss.factor_value(tried))
        if not f + lam * nuclear <= lowest:
            break
        lowest, best = f + lam * nuclear, (f, nuclear, tried)
        met = 2.0 * (f - here - slope)
        share = min(0.5 * share, LONGEST * square / met) if 0.0 < met < math.inf and square > 0.0 else 0.5 * share
    return best


def _curvatures(loss: MultiObjective, factors: Pairs, spans: Sequence[_Span], value: float) -> list[float]:
    """Return a curvature of ``f`` for each update, of several that along its own slope."""
    found = _own_curvatures(loss, factors, spans)
    squares = (float(np.vdot(span.core, span.core)) for span in spans)
    return [with_needed(own, loss, square, value) for own, square in zip(found, squares)]


def _own_curvatures(loss: MultiObjective, factors: Pairs, spans: Sequence[_Span]) -> list[float]:
    """Return the curvature that is stated or sampled at the point, of several matrices that along each slope.

    One matrix may be less curved than another by any factor, as data of other units make it: at the other's steps it
    would stand still.
    """
    largest = loss.facts.smoothness or loss.sampled_smoothness(factors)
    if len(factors) == 1:
        return [largest]
    # Columns for V on the right, so that the derivative of G_l B_l holds that of G_l V; the updates stay what they are.
    moves = [span.left @ span.core for span in spans]
    wide = [(np.hstack([A, 0.0 * D]), np.hstack([B, span.right])) for (A, B), D, span in zip(factors, moves, spans)]
    still = [(np.zeros_like(A), np.zeros_like(B)) for A, B in wide]
    product = loss.hessian_at(wide)
    found = []
    for k, D in enumerate(moves):
        (A, B), columns, square = still[k], D.shape[1], float(np.vdot(D, D))
        moved = np.hstack([A[:, columns:], D]), B
        HV = product([*still[:k], moved, *still[k + 1 :]])[k][0][:, -columns:]
        along = float(np.vdot(D, HV)) / square if square > 0.0 else 0.0
        found.append(along if 0.0 < along < largest else largest)
    return found
