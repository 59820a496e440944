"""How far is a point from the global optimum of ``F(X) = f(X) + lam ||X||_*``, and how is that known?

For convex ``f`` with ``f >= f_low`` and any ``c`` in ``[0, min(1, lam/||G||_2)]``, ``G = grad f(X)``,

    F(X) - F* <= (1 - c) (f(X) - f_low) + lam ||X||_* + c <G, X>,

and for least squares the first factor may be squared and ``c`` run up to ``lam/||G||_2`` (proofs/certificate).
At ``c = min(1, lam/||G||_2)`` this is never worse than the bound of the main paper's notes,
``<G, X> + lam ||X||_* + R max(0, ||G||_2 - lam)`` with ``R = (F(X) - f_low)/lam``. It needs one gradient, as an
operator, and one largest singular value. A point is refuted by a better one: a descent step on the factors or along
the top singular pair of ``-G`` gives a lower bound on its suboptimality.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ._validate import Array, as_float_array, as_number, as_shape
from .linear_map import (
    DENSE_LIMIT,
    LinearMap,
    TopSingular,
    balanced,
    factor_singular_values,
    factor_svd,
    split_spectrum,
    top_singular,
)
from .objectives.base import Objective
from .problem import Problem
from .result import Result

EPS = float(np.finfo(np.float64).eps)
RANK_TOL = 1e-9
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
        CERTIFIED upper bound on ``F(X) - min F`` (infinite if there is none); a rounding allowance is included.
    gap_at_least : float
        CERTIFIED lower bound on ``F(X) - min F``, from a better point that was found (0 if none was looked for).
    relative_gap : float
        ``gap / |F(X)|``.
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
        Of the update; ``sigma_r`` is the smallest singular value that the given factors allow for.
    is_global : bool or None
        True: within ``tol`` of the optimum. False: a point better by more than ``tol`` is known. None: unknown.
    reason : str
        Why, in one sentence.
    method : str
        Which bound was used.
    tol : float
        The relative accuracy that ``is_global`` refers to.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        return {key: (None if value in (math.inf, -math.inf) else value) for key, value in asdict(self).items()}

    def __str__(self) -> str:
        answer = {True: "yes", False: "no", None: "unknown"}[self.is_global]
        return (
            f"global optimum: {answer} ({self.reason})\n"
            f"  F(X) = {self.value:.12g}, certified gap {self.gap:.3g} (relative {self.relative_gap:.3g}), {self.method}\n"
            f"  ||G||_2/lam = {self.dual_norm:.12g}, ||grad L|| = {self.stationarity:.3g}, "
            f"balance {self.balance:.3g}, L - F = {self.factor_gap:.3g}\n"
            f"  rank {self.rank}, ||X||_* = {self.nuclear_norm:.6g}, sigma_r = {self.sigma_r:.3g}"
        )


@dataclass(frozen=True)
class Bound:
    """A certified upper bound on ``F(X) - min F`` and the name of its formula."""

    gap: float
    method: str


def duality_gap(objective: Objective, lam: float, f: float, nuclear: float, inner: float, norm: float) -> Bound:
    """Return the best certified gap from five numbers (module docstring; proofs/certificate).

    Parameters
    ----------
    objective : Objective
        Only its facts ``convex``, ``least_squares`` and ``lower_bound`` are used.
    lam : float
        The weight of the nuclear norm, > 0.
    f, nuclear, inner, norm : float
        ``f(X)``, ``||X||_*``, ``<G, X>`` and (an upper bound of) ``||G||_2``.
    """
    if objective.convex is not True:
        return Bound(math.inf, "none: f is not known to be convex")
    if lam <= 0.0:
        return Bound(math.inf, "none: lam = 0")
    rounding = 8.0 * EPS * (abs(f) + lam * nuclear + abs(inner))
    most = lam / norm if norm > 0.0 else math.inf
    low = objective.lower_bound
    if low is None:
        if most < 1.0:
            return Bound(math.inf, "none: ||G||_2 > lam and f has no known lower bound")
        return Bound(max(lam * nuclear + inner, 0.0) + rounding, "Fenchel, c = 1")
    above = max(f - low, 0.0)
    if objective.least_squares:
        c = 0.0 if above == 0.0 else min(max(1.0 - inner / (2.0 * above), 0.0), most)
        gap = (1.0 - c) ** 2 * above + lam * nuclear + c * inner
        return Bound(max(gap, 0.0) + rounding, "Fenchel, least squares")
    c = min(1.0, most) if inner < above else 0.0
    gap = (1.0 - c) * above + lam * nuclear + c * inner
    return Bound(max(gap, 0.0) + rounding, "Fenchel, convex f with a lower bound")


def certify(problem: Problem, point: Result | tuple[Any, Any] | Any, tol: float = 1e-6) -> Certificate:
    """Say how far a point is from the global optimum of ``F(X) = f(X) + (lam/s) ||X||_*``.

    Parameters
    ----------
    problem : Problem
        The problem whose convex counterpart is meant (the original one, also for merged stages).
    point : Result, ConvexResult, (A, B) or ndarray of shape (m, n)
        The point: an object with factors, explicit factors of any common number of columns, or an update ``X``.
    tol : float
        Relative accuracy of ``is_global``.

    Returns
    -------
    Certificate

    Notes
    -----
    ``||G||_2`` comes from a full SVD up to 250,000 entries. Beyond that the spaces of ``X`` are taken out exactly and
    the rest is bounded by its largest Ritz value plus the residual (Lanczos), which could only be wrong if the
    iteration, started from a random vector, missed the top of the spectrum altogether.

    For ``lam = 0`` or an ``f`` not known to be convex ``is_global`` is None, except where the optimum has a closed
    form. Source: main paper, section 2, and the Fenchel duality of ``f`` and the nuclear norm (proofs/certificate,
    proofs/stationary_structure).
    """
    as_number(tol, "tol", 0.0)
    s, lam = problem.scale, problem.lam_effective
    A, B = _factors(problem, point)
    objective = problem.objective
    GB, GtA = np.empty_like(A), np.empty_like(B)
    f = float(objective.factor_oracle(A, B, GB, GtA))
    P, values, Q = factor_svd(A, B)
    nuclear = float(values.sum())
    norm, top = _gradient_norm(objective.gradient_operator(A, B), P, Q, lam)
    bound = duality_gap(objective, lam, f, nuclear, float(np.vdot(GB, A)), norm)
    # Back from A' = s A to the factors of the problem: grad_A L = s G B + lam A, grad_B L = s G^T A + lam B.
    own = A / s
    stationarity = math.hypot(
        float(np.linalg.norm(s * GB + problem.lam * own)), float(np.linalg.norm(GtA + problem.lam * B))
    )
    value = f + lam * nuclear
    method = bound.method if top.exact else f"{bound.method}; ||G||_2 by Lanczos, residual {top.residual:.1e}"
    known = _Knowledge(problem, A, B, value, bound.gap, tol)
    is_global, at_least, reason, gap = known.decide(top, GB, GtA)
    scale = abs(value) or 1.0
    return Certificate(
        value=value,
        gap=gap,
        gap_at_least=at_least,
        relative_gap=gap / scale,
        dual_value=value - gap,
        dual_norm=norm / lam if lam else math.inf,
        stationarity=stationarity,
        balance=float(np.linalg.norm(own.T @ own - B.T @ B)),
        factor_gap=0.5 * problem.lam * float(np.vdot(own, own) + np.vdot(B, B)) - lam * nuclear,
        rank=numerical_rank(values),
        nuclear_norm=nuclear,
        sigma_r=float(values[-1]) if values.size else 0.0,
        singular_values=[float(v) for v in values],
        is_global=is_global,
        reason=reason,
        method=method,
        tol=tol,
    )


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


def numerical_rank(values: Array, tol: float = RANK_TOL) -> int:
    """Return how many singular values exceed ``tol`` times the largest."""
    return int(np.count_nonzero(values > tol * values.max(initial=0.0)))


def _factors(problem: Problem, point: Any) -> tuple[Array, Array]:
    """Return float64 factors ``(s A, B)`` whose product is the update ``X`` of the point."""
    m, n = problem.shape
    if isinstance(point, tuple) and len(point) == 2:
        A, B = as_float_array(point[0], "A", 2, np.float64), as_float_array(point[1], "B", 2, np.float64)
        as_shape(A, "A", (m, A.shape[1]))
        as_shape(B, "B", (n, A.shape[1]))
        return problem.scale * A, B
    if isinstance(point, Result):
        if point.merged is None and point.problem.adapter.low_rank:
            return point.problem.scale * point.A.astype(np.float64), point.B.astype(np.float64)
        return _split_dense(point.X)
    if hasattr(point, "A") and hasattr(point, "B"):
        return point.A, point.B
    return _split_dense(as_shape(as_float_array(point, "point", 2, np.float64), "point", problem.shape))


def _split_dense(X: Array) -> tuple[Array, Array]:
    P, s, Qt = np.linalg.svd(X.astype(np.float64), full_matrices=False)
    return balanced(P, s, Qt.T)


@dataclass(frozen=True)
class _Knowledge:
    """Turns a bound into an answer: global, refuted by a better point, or unknown."""

    problem: Problem
    A: Array
    B: Array
    value: float
    gap: float
    tol: float

    def decide(self, top: TopSingular, GB: Array, GtA: Array) -> tuple[bool | None, float, str, float]:
        """Return the answer, the lower bound on the suboptimality, the reason and the gap."""
        scale = abs(self.value) or 1.0
        closed = self._closed_form()
        if closed is not None:
            gap = max(self.value - closed, 0.0) + 8.0 * EPS * scale
            rank = self.problem.rank
            if gap <= self.tol * scale:
                return True, 0.0, f"equals the closed form of the optimum of rank <= {rank} to {gap / scale:.1e}", gap
            return False, gap, f"above the closed form of the optimum of rank <= {rank} by {gap:.3g}", gap
        if self.problem.lam == 0.0:
            return None, 0.0, "lam = 0: the problem of rank <= r is not convex and has no certificate", self.gap
        if self.problem.objective.convex is not True:
            return None, 0.0, "f is not known to be convex: see the second-order verdict instead", self.gap
        if self.gap <= self.tol * scale:
            return True, 0.0, f"within {self.gap / scale:.1e} (relative) of the convex optimum, CERTIFIED", self.gap
        better = self._decrease(top, GB, GtA)
        if better > self.tol * scale:
            return False, better, f"a point better by {better:.3g} is known", self.gap
        return None, better, f"the certified gap {self.gap / scale:.1e} (relative) is above the tolerance", self.gap

    def _closed_form(self) -> float | None:
        from .convex.closed_form import optimal_value

        if self.problem.lam > 0.0:
            return None
        return optimal_value(self.problem)

    def _decrease(self, top: TopSingular, GB: Array, GtA: Array) -> float:
        """Return how much better the best of a few trial points is (0 if none is)."""
        lam = self.problem.lam_effective
        smoothness = self.problem.objective.smoothness or 1.0
        values = []
        excess = float(top.values[0]) - lam
        if excess > 0.0:
            for k in range(8):
                A = np.hstack([self.A, -top.U * (0.5**k * excess / smoothness)])
                values.append(self._value(A, np.hstack([self.B, top.V])))
        dA, dB = GB + lam * self.A, GtA + lam * self.B
        step = 1.0 / (smoothness * float(np.vdot(self.A, self.A) + np.vdot(self.B, self.B)) + lam)
        for k in range(8):
            t = 2.0 ** (3 - k) * step
            values.append(self._value(self.A - t * dA, self.B - t * dB))
        finite = [value for value in values if math.isfinite(value)]
        return max(self.value - min(finite, default=self.value), 0.0)

    def _value(self, A: Array, B: Array) -> float:
        nuclear = float(factor_singular_values(A, B).sum())
        return self.problem.objective.factor_value(A, B) + self.problem.lam_effective * nuclear
