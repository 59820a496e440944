"""How far is a point from the global optimum of ``F(X) = f(X) + lam ||X||_*``, and how is that known?

For convex ``f`` with ``f >= f_low`` and any ``c`` in ``[0, min(1, lam/||G||_2)]``, ``G = grad f(X)``,

    F(X) - F* <= (1 - c) (f(X) - f_low) + lam ||X||_* + c <G, X>,

and for least squares the first factor may be squared and ``c`` run up to ``lam/||G||_2`` (proofs/certificate).
At ``c = min(1, lam/||G||_2)`` this is never worse than the bound of the main paper's notes,
``<G, X> + lam ||X||_* + R max(0, ||G||_2 - lam)`` with ``R = (F(X) - f_low)/lam``. It needs one gradient, as an
operator, and one largest singular value. A point is refuted by a better one: a proximal gradient step gives a lower
bound on its suboptimality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ._known import Known
from ._validate import Array, as_number
from .linear_map import (
    DENSE_LIMIT,
    RANK_TOL,
    LinearMap,
    TopSingular,
    balanced,
    factor_svd,
    numerical_rank,
    split_spectrum,
    top_singular,
)
from .objectives._blocks import MultiObjective, Pairs
from .objectives.base import Objective
from .problem import Problem
from .result import Result

EPS = float(np.finfo(np.float64).eps)
# Far from stationarity the block bound on ||G||_2 is loose and plain Lanczos is used instead.
COUPLING_LIMIT = 1e-2
LANCZOS_TOL = 1e-10


@dataclass(frozen=True)
class Certificate:
    """What is known about the global optimality of a point.

    Attributes
    ----------
    value : float
        ``F(X) = f(X) + lam ||X||_*`` at the point.
    gap : float
        CERTIFIED upper bound on ``F(X) - min F`` (infinite if there is none); an allowance for rounding, relative to
        ``|f(0)|`` where that is larger than ``f(X)``, is included.
    gap_at_least : float
        CERTIFIED lower bound on ``F(X) - min F``, from a better point that was found (0 if none was looked for).
    relative_gap : float
        ``gap / (|f(X)| + lam ||X||_*)``, which is ``gap / F(X)`` where ``f >= 0``; for ``lam = 0``, where the optimum
        may be 0, ``gap / max(|f(X)|, |f(0)|)``.
    dual_value : float
        ``F(X) - gap``: a number below the optimum.
    dual_norm : float
        ``||G||_2 / lam``: at a stationary point, at most 1 exactly if the point is globally optimal.
    stationarity : float
        ``||grad L||_2`` at the factors (at balanced factors if only ``X`` was given).
    balance : float
        ``||A^T A - B^T B||_F``; zero at every stationary point with ``lam > 0``.
    factor_gap : float
        ``L(A, B) - F(X)``, the part of the penalty that balancing would remove.
    rank, nuclear_norm, sigma_r, singular_values
        Of the update, for several matrices of all together (``rank`` is then the sum of theirs); ``sigma_r`` is the
        smallest singular value that the given factors allow for.
    is_global : bool or None
        True: within ``tol`` of the optimum. False: a point better by more than ``tol`` is known. None: unknown.
    reason : str
        Why, in one sentence.
    method : str
        Which bound was used.
    tol : float
        The relative accuracy that ``is_global`` refers to.
    rank_tol : float
        Singular values above this fraction of the largest are counted in ``rank``.
    """

    value: float
    gap: float
    gap_at_least: float
    relative_gap: float
    dual_value: float
    dual_norm: float
    stationarity: float
    balance: float
    factor_gap: float
    rank: int
    nuclear_norm: float
    sigma_r: float
    singular_values: list[float] = field(repr=False)
    is_global: bool | None
    reason: str
    method: str
    tol: float
    rank_tol: float = RANK_TOL

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        return {key: (None if value in (math.inf, -math.inf) else value) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        answer = {True: "yes", False: "no", None: "unknown"}[self.is_global]
        return (
            f"global optimum: {answer} ({self.reason})\n"
            f"  F(X) = {self.value:.12g}, certified gap {self.gap:.3g} (relative {self.relative_gap:.3g}), "
            f"{self.method}\n"
            f"  ||G||_2/lam = {self.dual_norm:.12g}, ||grad L|| = {self.stationarity:.3g}, "
            f"balance {self.balance:.3g}, L - F = {self.factor_gap:.3g}\n"
            f"  rank {self.rank} (above {self.rank_tol:.0e} of the largest), "
            f"||X||_* = {self.nuclear_norm:.6g}, sigma_r = {self.sigma_r:.3g}"
        )


@dataclass(frozen=True)
class Bound:
    """A certified upper bound on ``F(X) - min F``, the name of its formula, and what it is relative to."""

    gap: float
    method: str
    scale: float

    @property
    def relative(self) -> float:
        """``gap / (|f(X)| + lam ||X||_*)``; ``gap`` itself where both are 0."""
        return self.gap / self.scale


def duality_gap(
    objective: Objective | MultiObjective,
    lam: float,
    f: float,
    nuclear: float,
    inner: float,
    norm: float,
    noise: float = 0.0,
) -> Bound:
    """Return the best certified gap from five numbers (module docstring; proofs/certificate).

    Parameters
    ----------
    objective : Objective or MultiObjective
        Only its ``dtype`` and its facts ``convex``, ``least_squares`` and ``lower_bound`` are used.
    lam : float
        The weight of the nuclear norm, > 0.
    f, nuclear, inner, norm : float
        ``f(X)``, ``||X||_*``, ``<G, X>`` and (an upper bound of) ``||G||_2``.
    noise : float
        Size of the rounding errors in ``f`` and ``<G, X>`` beyond those of their own size.
    """
    eps = 8.0 * float(np.finfo(objective.dtype).eps)
    scale = (abs(f) + lam * nuclear) or 1.0
    facts = objective.facts
    if facts.convex is not True:
        return Bound(math.inf, "none: f is not known to be convex", scale)
    noise += eps * abs(f)
    if lam <= 0.0:
        if facts.lower_bound is None:
            return Bound(math.inf, "none: lam = 0 and f has no known lower bound", scale)
        return Bound(max(f - facts.lower_bound, 0.0) + noise, "f above its lower bound", scale)
    most = lam / norm if norm > 0.0 else math.inf
    low = facts.lower_bound
    above = 0.0 if low is None else max(f - low, 0.0) + noise
    if low is None:
        if most < 1.0:
            return Bound(math.inf, "none: ||G||_2 > lam and f has no known lower bound", scale)
        c, lost, method = 1.0, 0.0, "Fenchel, c = 1"
    elif facts.least_squares:
        c = 0.0 if above == 0.0 else min(max(1.0 - inner / (2.0 * above), 0.0), most)
        lost, method = (1.0 - c) ** 2, "Fenchel, least squares"
    else:
        c = min(1.0, most) if inner < above else 0.0
        lost, method = 1.0 - c, "Fenchel, convex f with a lower bound"
    gap = max(lost * above + lam * nuclear + c * inner, 0.0)
    return Bound(gap + (1.0 + c) * noise + eps * (lam * nuclear + c * abs(inner)), method, scale)


def certify(problem: Problem, point: Result | tuple[Any, Any] | Any, tol: float = 1e-6) -> Certificate:
    """Say how far a point is from the global optimum of ``F(X) = f(X) + (lam/s) ||X||_*``.

    Parameters
    ----------
    problem : Problem or MultiProblem
        The problem whose convex counterpart is meant (the original one, also for merged stages). For several matrices
        ``||X||_*`` is the sum over them, ``||G||_2`` the largest, and what follows from these two holds as for one.
    point : Result, ConvexResult, (A, B) or ndarray of shape (m, n)
        The point: an object with factors, explicit factors of any common number of columns, or an update ``X``. For
        several matrices ``A``, ``B`` are sequences of arrays, and an update is a list of them.
    tol : float
        Relative accuracy of ``is_global``.

    Returns
    -------
    Certificate

    Notes
    -----
    Everything is evaluated in float64, float32 objectives included. ``||G||_2`` comes from a full SVD up to 250,000
    entries. Beyond that the spaces of ``X`` are taken out exactly and the rest is bounded by its largest Ritz value
    plus the residual (Lanczos), which could only be wrong if the iteration, started from a random vector, missed the
    top of the spectrum altogether.

    For ``lam = 0`` or an ``f`` not known to be convex ``is_global`` is None, except where the optimum has a closed
    form. Without a known lower bound of ``f`` the gap is infinite unless ``||G||_2 <= lam`` to the last digit. Source:
    main paper, section 2, and the Fenchel duality of ``f`` and the nuclear norm (proofs/certificate,
    proofs/stationary_structure).
    """
    as_number(tol, "tol", 0.0)
    factors = _factors(problem, point)
    problem = problem.replace(objective=problem.objective.in_float64())
    loss, s, lam = problem.loss, problem.scale, problem.lam_effective
    products = [(np.empty_like(A), np.empty_like(B)) for A, B in factors]
    f = float(loss.factor_oracle(factors, products))
    spectra, values, rank = _truncated(factors)
    nuclear = float(values.sum())
    gradients = loss.gradient_operators(factors)
    norms = [_gradient_norm(G, P, Q, lam) for G, (P, _, Q) in zip(gradients, spectra)]
    norm = max(norm for norm, _ in norms)
    tops = [top for _, top in norms]
    inner = sum(float(np.vdot(GB, A)) for (GB, _), (A, _) in zip(products, factors))
    bound = duality_gap(loss, lam, f, nuclear, inner, norm, loss.rounding_noise())
    value = f + lam * nuclear
    if lam == 0.0:
        at_zero = abs(loss.factor_value([(0.0 * A, B) for A, B in factors]))
        bound = replace(bound, scale=max(abs(f), at_zero) or 1.0)

    def improvement() -> float:
        return value - _better_value(loss, lam, gradients, spectra, tops)

    answer = _answer(problem, bound, value, rank, tol, improvement)
    # Back from A' = s A to the factors of the problem: grad_A L = s G B + lam A, grad_B L = s G^T A + lam B.
    own = [(A / s, B) for A, B in factors]
    grads = [
        (s * GB + problem.lam * A, GtA + problem.lam * B) for (GB, GtA), (A, B) in zip(products, own)
    ]
    exact = all(top.exact for top in tops)
    residual = max(top.residual for top in tops)
    return Certificate(
        value=value,
        gap=answer.gap,
        gap_at_least=answer.gap_at_least,
        relative_gap=answer.gap / bound.scale,
        dual_value=value - answer.gap,
        dual_norm=norm / lam if lam else math.inf,
        stationarity=math.hypot(*(float(np.linalg.norm(part)) for pair in grads for part in pair)),
        balance=math.hypot(*(float(np.linalg.norm(A.T @ A - B.T @ B)) for A, B in own)),
        factor_gap=0.5 * problem.lam * sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in own) - lam * nuclear,
        rank=rank,
        nuclear_norm=nuclear,
        sigma_r=float(values[-1]),
        singular_values=[float(v) for v in values],
        is_global=answer.is_global,
        reason=answer.reason,
        method=bound.method if exact else f"{bound.method}; ||G||_2 by Lanczos, residual {residual:.1e}",
        tol=tol,
    )


Svd = tuple[Array, Array, Array]


def _truncated(factors: Pairs) -> tuple[list[Svd], Array, int]:
    """Return the numerically non-zero part of the SVD of each block; all singular values, descending; their rank.

    Zero is relative to the largest singular value of all blocks, as it would be in one block-diagonal matrix.
    """
    whole = [factor_svd(A, B) for A, B in factors]
    values = np.sort(np.concatenate([s for _, s, _ in whole]))[::-1]
    threshold = RANK_TOL * values.max(initial=0.0)
    counts = [int(np.count_nonzero(s > threshold)) for _, s, _ in whole]
    return [(P[:, :k], s[:k], Q[:, :k]) for (P, s, Q), k in zip(whole, counts)], values, numerical_rank(values)


def _gradient_norm(G: LinearMap, P: Array, Q: Array, lam: float) -> tuple[float, TopSingular]:
    """Return an upper bound on ``||G||_2`` and a triplet of ``G`` outside (or, for small ``G``, at) the spaces of X."""
    m, n = G.shape
    if m * n <= DENSE_LIMIT:
        top = top_singular(G)
        return float(top.values[0]), top
    spectrum = split_spectrum(G, P, Q, 1, lam)
    if spectrum.coupling <= COUPLING_LIMIT * lam:
        return spectrum.norm, spectrum.rest
    top = top_singular(G, 1, LANCZOS_TOL)
    return float(top.values[0]) + top.residual, top


def _factors(problem: Problem, point: Any) -> Pairs:
    """Return float64 factors ``(s A_l, B_l)`` whose products are the updates ``X_l`` of the point."""
    if isinstance(point, Result) and (point.merged is not None or not point.problem.adapter.low_rank):
        point = point.X
    # Two arrays are the factors of one matrix, or the updates of two.
    pair = isinstance(point, tuple) and len(point) == 2
    if pair and not (problem.several and isinstance(point[0], np.ndarray)):
        (A, B), scale, names = point, problem.scale, ("A", "B")
    elif hasattr(point, "A") and hasattr(point, "B"):
        scale = point.problem.scale if isinstance(point, Result) else 1.0
        A, B, names = point.A, point.B, ("point.A", "point.B")
    else:
        return [_balanced(X) for X in problem.checked_updates(point, "point")]
    return [(scale * A, B) for A, B in problem.checked_factors(A, B, np.float64, names, any_rank=True)]


def _balanced(X: Array) -> tuple[Array, Array]:
    P, values, Qt = np.linalg.svd(X, full_matrices=False)
    return balanced(P, values, Qt.T)


class _Answer(NamedTuple):
    """Global, refuted or unknown; the gap that says so, a lower bound on it, and the reason."""

    is_global: bool | None
    gap: float
    gap_at_least: float
    reason: str


def _answer(
    problem: Problem, bound: Bound, value: float, rank: int, tol: float, improvement: Callable[[], float]
) -> _Answer:
    """Turn a bound into an answer; ``improvement()`` looks for a better point and returns the difference."""
    rounding = 8.0 * EPS * bound.scale
    if problem.lam == 0.0:
        return _answer_without_decay(problem, bound, value, rank, tol)
    if problem.objective.facts.convex is not True:
        return _Answer(None, bound.gap, 0.0, "f is not known to be convex: see the second-order verdict instead")
    if bound.relative <= tol:
        reason = f"within {bound.relative:.1e} (relative) of the convex optimum, {Known.CERTIFIED}"
        return _Answer(True, bound.gap, 0.0, reason)
    better = max(improvement() - rounding, 0.0)
    if better > tol * bound.scale:
        return _Answer(False, bound.gap, better, f"a point better by {better:.3g} is known")
    if math.isinf(bound.gap):
        return _Answer(None, bound.gap, better, f"no bound on the gap ({bound.method}); state f's lower_bound")
    reason = f"the certified gap {bound.relative:.1e} (relative) is above the tolerance"
    return _Answer(None, bound.gap, better, reason)


def _answer_without_decay(problem: Problem, bound: Bound, value: float, rank: int, tol: float) -> _Answer:
    """Compare with the closed form of the optimum of rank <= r, the only yardstick for ``lam = 0``."""
    minimizer = None if problem.several else problem.objective.minimizer(0.0, problem.rank)
    if minimizer is None:
        return _Answer(None, bound.gap, 0.0, "lam = 0: the problem of rank <= r is not convex and has no certificate")
    optimum = problem.objective.factor_value(*minimizer)
    if rank > problem.rank:
        return _Answer(None, bound.gap, 0.0, f"X has rank {rank}; the closed form is that of rank <= {problem.rank}")
    above, rounding = max(value - optimum, 0.0), 8.0 * EPS * bound.scale
    form = f"the closed form of the optimum of rank <= {problem.rank}"
    if above + rounding <= tol * bound.scale:
        return _Answer(True, above + rounding, 0.0, f"equals {form} to {(above + rounding) / bound.scale:.1e}")
    return _Answer(False, above + rounding, max(above - rounding, 0.0), f"above {form} by {above:.3g}")


def _better_value(
    loss: MultiObjective,
    lam: float,
    gradients: Sequence[LinearMap],
    spectra: Sequence[Svd],
    tops: Sequence[TopSingular],
) -> float:
    """Return the lowest ``F`` found by proximal gradient steps ``prox(X - t G)``, ``X = P diag(s) Q^T``.

    The steps are restricted to the singular spaces of ``X``, their images under ``G`` and the top singular pair of
    ``G``: at a point that is not optimal ``F`` falls along one of these. ``t`` falls from ``8/beta`` until ``F`` rises.
    """
    spans = []
    for G, (P, s, Q), top in zip(gradients, spectra, tops):
        left = np.linalg.qr(np.hstack([P, G.matmat(Q), top.U]))[0]
        right = np.linalg.qr(np.hstack([Q, G.rmatmat(P), top.V]))[0]
        spans.append((left, right, (left.T @ P * s) @ (Q.T @ right), left.T @ G.matmat(right)))
    lowest = math.inf
    for t in 8.0 / (loss.facts.smoothness or 1.0) * 0.5 ** np.arange(16):
        factors, nuclear = [], 0.0
        for left, right, X, core in spans:
            p, sigma, qt = np.linalg.svd(X - t * core, full_matrices=False)
            shrunk = np.maximum(sigma - t * lam, 0.0)
            nuclear += float(shrunk.sum())
            factors.append(balanced(left @ p, shrunk, right @ qt.T))
        value = loss.factor_value(factors) + lam * nuclear
        if value > lowest:
            break
        lowest = min(lowest, value)
    return lowest
