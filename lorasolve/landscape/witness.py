"""Refute a point by a better one of rank at most ``r``: the only way where no bound on the optimum applies.

For ``lam = 0`` and for non-convex ``f`` no certificate says that a second-order point is not global. A point whose
``F`` is lower does, whoever found it: it is kept as the witness, so that anybody can evaluate it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.text import for_json
from .._support.validate import Array
from ..certificates.contradictions import contradicted_factors
from ..engine import StoppingRule, solve
from ..linear_map import LinearMap
from ..low_rank import truncated_svd
from ..objectives.base import allowance
from ..problem import Problem, nuclear_norm
from ..problem.natural_units import curvature_at_zero
from ..singular_triplets import top_singular
from .canonical import Point, padded
from .escapes import lowest_on_line
from .first_order import complement

Pairs = tuple[tuple[Array, Array], ...]

# Random restarts where none are counted out, and the size of their updates relative to the largest one seen.
STARTS = 10
SIZES = (1.0, 0.1, 3.0, 0.3, 10.0)
# Steps of rank-limited descent before L-BFGS takes over.
DESCENT_STEPS = 30


@dataclass(frozen=True, eq=False)
class Witness:
    """A point of rank at most ``r`` that is better than the one judged.

    Attributes
    ----------
    A, B : ndarray of shapes (m, r), (n, r)
        Its factors, in the problem that was judged; for several matrices tuples of them.
    value : float
        ``F`` there, in float64; ``L`` too, up to rounding, because the factors are balanced.
    better_by : float
        By how much ``F`` is lower, at least: the rounding noise of both values is subtracted.
    rank : int
        Numerical rank of its update, summed over several matrices.
    found_by : str
        How it was found.
    """

    A: Any = field(repr=False)
    B: Any = field(repr=False)
    value: float
    better_by: float
    rank: int
    found_by: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON-ready values, the factors as nested lists."""
        numbers = {"value": self.value, "better_by": self.better_by, "rank": self.rank, "found_by": self.found_by}
        return dict(for_json(numbers | {"A": self.A, "B": self.B}))


def value_and_noise(problem: Problem, factors: Pairs) -> tuple[float, float]:
    """Return ``F`` at the update of the factors in float64, and the size of its rounding errors."""
    loss = problem.loss.in_float64()
    f, decay = loss.factor_value(factors), problem.lam * nuclear_norm(factors)
    return f + decay, allowance(loss.precision) * (abs(f) + decay) + loss.rounding_noise(factors).value


def find_better(point: Point, least: float, starts: int, direction: Array, scale: float = 1.0) -> Witness | None:
    """Return a point of rank at most ``r`` that is better by more than ``least``, or None if none was found.

    Each start is followed by L-BFGS, and the first end that is good enough is returned. The starts: the lowest point on
    the line along ``direction``, that of the smallest curvature; the weakest component of ``X`` exchanged for the top
    singular pair of the gradient; rank-limited descent (gradient steps, each cut to rank ``r``) from zero and, for
    convex ``f``, from the global optimum of ``F`` cut to rank ``r``; then ``starts`` Gaussian ones.

    Parameters
    ----------
    point : Point
        The point to refute.
    least : float
        What counts as better, in ``F``.
    starts : int
        Number of Gaussian starts.
    direction : ndarray of shape (size,)
        A flat direction.
    scale : float
        The scaling of the problem that the witness is stated for.

    Notes
    -----
    The starts are the same in every call. That is safe here, other than in a search for curvature: who prepares a point
    against them gets no verdict, and never a false one.
    """
    value, noise = value_and_noise(point.problem, point.factors)
    problem = point.problem
    for found_by, factors in _starts(point, starts, direction):
        end = Point(problem, _descend(problem, factors)).balanced().factors
        better, its_noise = value_and_noise(problem, end)
        lower = value - better - noise - its_noise
        if lower > least and contradicted_factors(problem.loss.in_float64(), end) is None:
            A, B = problem.unpaired([(A / math.sqrt(scale), B / math.sqrt(scale)) for A, B in end])
            rank = sum(truncated_svd(*pair)[1].size for pair in end)
            return Witness(A, B, better, lower, rank, found_by)
    return None


def _descend(problem: Problem, factors: Pairs) -> Pairs:
    """Return the end of L-BFGS from given factors, or these themselves where both are zero or the run ends higher."""
    if not any(np.any(A) or np.any(B) for A, B in factors):
        return factors
    stop = StoppingRule(max_iter=20_000, grad_tol=1e-9)
    end = solve(problem, "lbfgs", init=problem.unpaired(factors), stop=stop)
    ended = problem.checked_factors(end.A, end.B, np.float64)
    finite = all(np.all(np.isfinite(A)) and np.all(np.isfinite(B)) for A, B in ended)
    if not finite or value_and_noise(problem, ended)[0] > value_and_noise(problem, factors)[0]:
        return factors
    return ended


def _starts(point: Point, starts: int, direction: Array) -> Iterator[tuple[str, Pairs]]:
    problem = point.problem
    yield "the direction of the smallest curvature", lowest_on_line(point, direction).factors
    yield "exchanging the weakest component", _exchanged(point)
    zeros = tuple((np.zeros_like(A), np.zeros_like(B)) for A, B in point.factors)
    from_zero = _rank_limited(problem, zeros)
    yield "rank-limited descent from zero", from_zero
    if problem.objective.facts.convex:
        cut = _cut_optimum(problem)
        yield "rank-limited descent from the optimum of F cut to rank r", _rank_limited(problem, cut)
    reach = max(_size(point.factors), _size(from_zero)) or 1.0
    rng = np.random.default_rng(0)
    for k in range(starts):
        yield f"Gaussian start {k + 1}", _gaussian(point, SIZES[k % len(SIZES)] * reach, rng)


def _size(factors: Pairs) -> float:
    """Return ``||X||_F`` over all matrices."""
    return math.hypot(*(float(np.linalg.norm(truncated_svd(*pair)[1])) for pair in factors))


def _gaussian(point: Point, size: float, rng: np.random.Generator) -> Pairs:
    """Return Gaussian factors whose updates have about a given Frobenius norm together."""
    share = size / math.sqrt(len(point.factors))
    found = []
    for A, B in point.factors:
        std = math.sqrt(share / math.sqrt(A.shape[0] * A.shape[1] * B.shape[0]))
        found.append((std * rng.standard_normal(A.shape), std * rng.standard_normal(B.shape)))
    return tuple(found)


def _exchanged(point: Point) -> Pairs:
    """Return the point with its weakest component exchanged for the top pair of ``G`` outside the spans of ``X``.

    Of all matrices that one is changed whose gradient outside is largest; the new component has the lowest value among
    geometrically spaced sizes.
    """
    found = []
    for k, (G, pair) in enumerate(zip(point.gradients(), point.factors)):
        P, s, Q = truncated_svd(*pair)
        top = top_singular(complement(G, P, Q), 1, 1e-4)
        found.append((float(top.values[0]), k, top.U[:, 0], top.V[:, 0]))
    _, k, u, v = max(found, key=lambda entry: entry[0])
    P, s, Q = truncated_svd(*point.factors[k])
    r = point.factors[k][0].shape[1]
    kept = min(s.size, r - 1)
    size = float(s[0]) if s.size else 1.0

    def exchanged(t: float) -> Pairs:
        left, right = np.column_stack([P[:, :kept], -u]), np.column_stack([Q[:, :kept], v])
        pair = padded(left, np.append(s[:kept], t), right, r)
        return (*point.factors[:k], pair, *point.factors[k + 1 :])

    candidates = [exchanged(size * 2.0**power) for power in range(-6, 5)]
    return min(candidates, key=lambda factors: value_and_noise(point.problem, factors)[0])


def _cut_optimum(problem: Problem) -> Pairs:
    """Return the best factors of rank ``r`` of a minimizer of ``F`` over all ranks."""
    from ..convex import solve_convex

    if problem.lam > 0.0:
        X = solve_convex(problem, route="factored", tol=1e-6).X
    else:
        full = [min(shape) for shape in problem.shapes]
        whole = problem.replace(**({"ranks": full} if problem.several else {"rank": full[0]}))
        X = solve(whole, "lbfgs", "gaussian", stop=StoppingRule(grad_tol=1e-6)).X
    found = []
    for part, r in zip(X if problem.several else (X,), problem.ranks):
        P, s, Qt = np.linalg.svd(part, full_matrices=False)
        found.append(padded(P[:, :r], s[:r], Qt[:r].T, r))
    return tuple(found)


def _rank_limited(problem: Problem, factors: Pairs) -> Pairs:
    """Descend by proximal gradient steps that are cut to rank ``r``, as long as ``F`` falls."""
    beta = curvature_at_zero(problem)
    value, step = value_and_noise(problem, factors)[0], 2.0 / beta
    for _ in range(DESCENT_STEPS):
        gradients = problem.loss.gradient_operators(factors)
        for _ in range(20):
            moved = tuple(_step(G, pair, step, problem.lam) for G, pair in zip(gradients, factors))
            new = value_and_noise(problem, moved)[0]
            if new < value:
                break
            step *= 0.5
        else:
            return factors
        factors, value, step = moved, new, 1.5 * step
    return factors


def _step(G: LinearMap, pair: tuple[Array, Array], step: float, lam: float) -> tuple[Array, Array]:
    """Return the best factors of rank ``r`` of ``X - step G``, its singular values reduced by ``step lam``."""
    A, B = pair
    moved = LinearMap(
        G.shape,
        lambda V: A @ (B.T @ V) - step * G.matmat(V),
        lambda U: B @ (A.T @ U) - step * G.rmatmat(U),
    )
    top = top_singular(moved, A.shape[1], 1e-6)
    return padded(top.U, np.maximum(top.values - step * lam, 0.0), top.V, A.shape[1])
