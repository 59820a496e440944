"""Tests of everything an objective states: derivatives, factor-level answers, facts, batches, merging.

All of it is SAMPLED: what fails is wrong, what passes was not refuted. Facts are attacked where a plain sample would
be weak: extreme Hessian eigenvalues instead of random directions, descent instead of random
values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .._support.validate import Array, as_generator, as_number
from ..certificates.spot_checks import note_passed
from ..objectives import as_objective, difference_product, natural_length, roughest
from ..objectives.base import Objective
from ..problem.blocks import MultiObjective
from .base import EPS, Checked, CheckReport, difference, relative, run_checks

# Random points that most statements are tested at.
POINTS = 3
# Where a loss has a domain: so many directions are tried, so much farther than a test point. The farthest points of the
# checks lie about 10 times as far.
DOMAIN_DRAWS, FARTHEST = 30, 16.0
# Products with the Hessian for one pair of extreme curvatures: the examples are small enough to be exact.
LANCZOS_STEPS = 40
# Directions of rank one that are tried from a point.
RANK_ONE_STEPS = 10
# Points from which rounding errors are measured, their spacing, and how much larger the errors elsewhere may be.
NEIGHBOURS, SPACING, SPREAD = 8, 2e-5, 30.0
# Columns of the widest factors that are tried: some minimisers over one factor take their cube for every row.
MOST_COLUMNS = 64
# A wrong gradient is compared with differences of values in so many entries at most.
ENTRIES = 400


@dataclass
class _Bench:
    """The objective under test, its generator of randomness, and the rounding level of its type."""

    f: Objective
    rng: np.random.Generator
    scale: float
    eps: float = field(init=False)

    def __post_init__(self) -> None:
        self.eps = float(np.finfo(self.f.dtype).eps)
        self.scale *= self._share_in_domain()

    def _share_in_domain(self) -> float:
        """Return by how much points are drawn towards 0 so that all that the checks evaluate are in the domain."""
        rng = np.random.default_rng(0)
        directions = [rng.standard_normal(self.f.shape) for _ in range(DOMAIN_DRAWS)]
        for k in range(40):
            share = 0.5**k
            farthest = FARTHEST * share * self.scale
            if all(self.f.domain(sign * farthest * D) for D in directions for sign in (1.0, -1.0)):
                return share
        raise ValueError(
            f"objective: {self.f.label}.domain is False at points near X = 0, the frozen weight, which it must contain"
        )

    @property
    def tol(self) -> float:
        """Relative difference allowed between two routes to the same number."""
        return 2e3 * self.eps

    @property
    def curvature_tol(self) -> float:
        """The same where one route may be a difference of gradients."""
        return 100.0 * self.eps ** (2 / 3)

    def matrix(self) -> Array:
        """Return a random m x n matrix."""
        return self.scale * self.rng.standard_normal(self.f.shape)

    def factors(self, rank: int) -> tuple[Array, Array, Array, Array]:
        """Return random ``A, B, U, V`` of the objective's type, with products of the size of :meth:`matrix`."""
        m, n = self.f.shape
        root = math.sqrt(self.scale) / rank**0.25
        draws = (root * self.rng.standard_normal((k, rank)) for k in (m, n, m, n))
        A, B, U, V = (draw.astype(self.f.dtype) for draw in draws)
        return A, B, U, V

    def rounding(self, X: Array, D: Array) -> _Rounding:
        """Return the rounding errors of what the objective answers near ``X``, and of its slope along ``D``.

        Measured, not derived from ``dtype``: an objective of float32 data may compute in float64 or not.
        """
        answers = [self.f.value_and_grad(X + SPACING * k * D) for k in range(NEIGHBOURS)]
        gradients = np.array([G for _, G in answers], dtype=np.float64)
        return _Rounding(
            _noise(np.array([f for f, _ in answers])), _noise(gradients), _noise(np.tensordot(gradients, D, 2))
        )

    def product_noise(self, X: Array, D: Array, H: Array) -> float:
        """Return the error of a Hessian product that is a difference of gradients: how another step changes it."""
        if not self.f.differenced:
            return 0.0
        length = max(natural_length(self.f), float(np.linalg.norm(X))) or 1.0
        return 10.0 * float(np.linalg.norm(difference_product(self.f, X, D, 2.0 * length) - H))


class _Rounding(NamedTuple):
    """Bounds of rounding errors: of a value, of a gradient (its length), and of a slope."""

    value: float
    gradient: float
    slope: float


def _noise(answers: Array) -> float:
    """Return a bound of the rounding errors in answers at equally spaced points that are close together.

    Their third differences hold little else. The median is neither that of a kink nor zero by chance.
    """
    third = np.diff(answers, 3, axis=0).reshape(NEIGHBOURS - 3, -1)
    lengths = np.linalg.norm(third, axis=1)
    return SPREAD * float(np.median(lengths[np.isfinite(lengths)])) if np.isfinite(lengths).any() else 0.0


def check_objective(objective: Any, rng: int | np.random.Generator = 0, scale: float = 1.0) -> CheckReport:
    """Test everything that an objective states about itself.

    Parameters
    ----------
    objective : Objective or object
        Any object with ``shape`` and ``value_and_grad(X) -> (float, G)``; what else it states is tested too.
    rng : int or numpy.random.Generator
        Seed or source of the test points.
    scale : float
        Standard deviation of the entries of the test points, in the unit of ``X``; less where the ``domain`` of the
        loss is smaller.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them. Certificates of an objective that
        has passed say so.

    Raises
    ------
    TypeError
        If the object has no ``shape`` or no ``value_and_grad``, or is a loss of several updates, whose blocks
        (``loss.block(k, X)``) are tested instead.
    ValueError
        If points near ``X = 0`` are outside its ``domain``.

    Notes
    -----
    Checked: ``value_and_grad`` is pure and its gradient has Taylor slope 2; Hessian products are symmetric and
    have slope 2 against gradients (3 against values, shown); the factor level agrees with the dense one; the
    cvxpy expression has the same value and is convex; ``convex``, ``smoothness``, ``rank_one_smoothness`` and
    ``lower_bound``; ``conjugate`` (Fenchel's inequality, with equality at gradients);
    ``least_squares`` (constant Hessian, a quadratic along lines); ``merged``; ``sample_batch`` (weighted means over a
    partition give ``f``); ``minimize_over_A`` and ``minimize_over_B`` are stationary; so is ``minimizer``, which
    descent does not beat.

    Examples
    --------
    >>> import numpy as np
    >>> class Sum:
    ...     shape = (3, 2)
    ...     smoothness = 0.5
    ...     def value_and_grad(self, X):
    ...         return 0.5 * float(np.sum(X * X)), X.copy()
    >>> [check.name for check in check_objective(Sum()).failures]
    ['smoothness']
    """
    scale = as_number(scale, "scale", 0.0, open_low=True)
    if isinstance(objective, MultiObjective):
        raise TypeError(
            f"objective: expected a loss of one update, got {objective.label}, a loss of several; test its blocks: "
            "check_objective(loss.block(k, X))"
        )
    bench = _Bench(as_objective(objective), as_generator(rng, "rng"), scale)
    report = run_checks(bench.f.label, bench, _CHECKS)
    if report.ok:
        note_passed(objective)
    return report


# ---------------------------------------------------------------------- derivatives
def _pure(bench: _Bench) -> Iterator[Checked]:
    """The oracle returns a finite (float, G), leaves X alone, and a later call leaves the first answer alone."""
    X = bench.matrix()
    X.flags.writeable = False
    value, G = bench.f.value_and_grad(X)
    first = G.copy()
    bench.f.value_and_grad(X + bench.matrix())
    kept = np.array_equal(first, G)
    again = bench.f.value_and_grad(X)
    precision = roughest(np.dtype(bench.f.precision), [X], value, [first])
    fine = {
        "finite": bool(np.isfinite(value) and np.isfinite(first).all()),
        "shape of G": G.shape == bench.f.shape,
        "repeatable": value == again[0] and np.array_equal(first, again[1]),
        "G kept by later calls": kept,
        # Certificates would count too small rounding errors, and differences of gradients take too short a step.
        "dtype": np.finfo(precision).eps <= bench.eps,
    }
    wrong = [name for name, good in fine.items() if not good]
    detail = f"violated: {', '.join(wrong)}" if wrong else "read-only X, 3 calls"
    if not fine["finite"]:
        detail += "; if f is not finite everywhere, state domain(X)"
    if not fine["dtype"]:
        computed = f"G is {precision}" if first.dtype == precision else f"f computes in {precision}"
        detail += f"; {computed}, so state dtype = np.float32"
    yield Checked("value_and_grad is pure", not wrong, detail)


def _arguments(bench: _Bench) -> Iterator[Checked]:
    """Solvers and certificates go on with the arrays that they ask about."""
    f, wrong = bench.f, []
    methods: dict[str, Callable[[Array], Any]]
    methods = {"domain": f.domain, "conjugate": f.conjugate, "metrics": f.metrics, "merged": f.merged}
    if f.facts.has_hessian:
        methods["hessian_product"] = lambda X: f.hessian_product(X, X)
    for name, method in methods.items():
        X = bench.matrix()
        given = X.copy()
        method(given)
        if not np.array_equal(given, X):
            wrong.append(name)
    yield Checked("arguments are left alone", not wrong, ", ".join(wrong or methods))


def _order(steps: Array, remainders: Array, noise: Array, term: Array, tol: float) -> float:
    """Return the order in which a Taylor remainder vanishes; inf if it is lost in rounding or in ``tol`` of a term.

    The largest of the last three local slopes clear of rounding, because a remainder that changes sign between two
    steps has a local slope of its own. Where the last term (the one with the derivative under test) is confirmed
    to ``tol`` at some step no slope is needed; a piecewise smooth loss has none.
    """
    usable = np.flatnonzero(remainders > noise)
    confirmed = bool(np.any(remainders + noise <= tol * term))
    if confirmed or len(usable) == 0 or usable[-1] == 0:
        return math.inf
    last = slice(max(usable[-1] - 3, 0), usable[-1] + 1)
    local = np.diff(np.log(remainders[last] + 1e-300)) / np.diff(np.log(steps[last]))
    return float(local.max())


def _shown(order: float) -> str:
    return "exact to tolerance" if order == math.inf else f"Taylor slope {order:.3f}"


def _taylor(bench: _Bench) -> Iterator[Checked]:
    steps = 0.5 ** np.arange(1, 26)
    with_hessian = bench.f.facts.has_hessian
    orders: dict[str, list[float]] = {"gradient": [], "hessian": [], "hessian in gradients": []}
    asymmetry = 0.0
    for _ in range(POINTS):
        X, D, E = bench.matrix(), bench.matrix(), bench.matrix()
        f, G = bench.f.value_and_grad(X)
        H = bench.f.hessian_product(X, D) if with_hessian else np.zeros_like(G)
        GD, HDD = float(np.vdot(G, D)), float(np.vdot(H, D))
        rounding, off = bench.rounding(X, D), bench.product_noise(X, D, H) if with_hessian else 0.0
        moved = [bench.f.value_and_grad(X + t * D) for t in steps]
        values = np.array([value for value, _ in moved])
        linear, quadratic = steps * GD, 0.5 * steps**2 * HDD
        remainders = values - f - linear
        noise = rounding.value + steps * rounding.slope + 1e3 * EPS * (np.abs(values) + abs(f) + np.abs(linear))
        tol = bench.curvature_tol
        orders["gradient"].append(_order(steps, np.abs(remainders), noise, np.abs(linear), tol))
        if with_hessian:
            beyond = np.abs(remainders - quadratic)
            orders["hessian"].append(_order(steps, beyond, noise, np.abs(quadratic), tol))
            change = np.array([float(np.linalg.norm(near - G - t * H)) for t, (_, near) in zip(steps, moved)])
            length_H = float(np.linalg.norm(H))
            gradient_noise = rounding.gradient + 1e3 * EPS * (float(np.linalg.norm(G)) + steps * length_H) + steps * off
            orders["hessian in gradients"].append(_order(steps, change, gradient_noise, steps * length_H, tol))
            HE = bench.f.hessian_product(X, E)
            other, length_E = float(np.vdot(HE, D)), float(np.linalg.norm(E))
            noise_here = off * length_E + bench.product_noise(X, E, HE) * float(np.linalg.norm(D))
            apart = max(abs(float(np.vdot(H, E)) - other) - noise_here, 0.0)
            asymmetry = max(asymmetry, relative(apart, max(length_H * length_E, abs(other))))
    worst = {name: min(found, default=math.inf) for name, found in orders.items()}
    # A wrong derivative lowers the order by a whole unit.
    right = worst["gradient"] > 1.5
    detail = f"{_shown(worst['gradient'])} (expected 2)"
    yield Checked("gradient", right, detail if right else f"{detail}; {_entry_farthest_off(bench)}")
    if not with_hessian:
        yield Checked("hessian", None, "not stated: has_hessian is False")
        return
    # Where kinks of the gradient lie dense (Huber, many entries), its remainder is of order 3/2 and that of the
    # values erratic; a wrong Hessian gives order 1. So the gradients decide and the values are only shown.
    detail = f"gradients: {_shown(worst['hessian in gradients'])} (expected 2), values: {_shown(worst['hessian'])} (3)"
    yield Checked("hessian", worst["hessian in gradients"] > 1.25, detail)
    yield Checked(
        "hessian is symmetric", asymmetry <= bench.curvature_tol, f"relative asymmetry {asymmetry:.1e} beyond rounding"
    )


def _entry_farthest_off(bench: _Bench) -> str:
    """Return the entry of a wrong gradient that is farthest from a central difference of values, and both numbers."""
    X = bench.matrix()
    G = bench.f.value_and_grad(X)[1]
    size = min(G.size, ENTRIES)
    step = bench.scale * bench.eps ** (1 / 3)
    found = []
    for flat in bench.rng.choice(G.size, size, replace=False):
        entry = np.unravel_index(flat, G.shape)
        ahead, behind = X.copy(), X.copy()
        ahead[entry] += step
        behind[entry] -= step
        slope = (bench.f.value_and_grad(ahead)[0] - bench.f.value_and_grad(behind)[0]) / (ahead[entry] - behind[entry])
        found.append((abs(slope - G[entry]), tuple(map(int, entry)), G[entry], slope))
    _, entry, stated, slope = max(found)
    return f"farthest off of {size} entries: G{list(entry)} = {stated:.6g}, a difference of values says {slope:.6g}"


# ---------------------------------------------------------------------- factor level
def _ranks(bench: _Bench) -> list[int]:
    return sorted({1, min(2, *bench.f.shape), min(MOST_COLUMNS, *bench.f.shape)})


def _factor_oracle(bench: _Bench) -> Iterator[Checked]:
    worst_f = worst_G = worst_value = 0.0
    unit = abs(bench.f.value_and_grad(np.zeros(bench.f.shape))[0])
    untouched = True
    for rank in _ranks(bench):
        A, B, _, _ = bench.factors(rank)
        kept = A.copy(), B.copy()
        GB, GtA = np.full_like(A, np.nan), np.full_like(B, np.nan)
        f = bench.f.factor_oracle(A, B, GB, GtA)
        untouched &= np.array_equal(A, kept[0]) and np.array_equal(B, kept[1])
        expected, G = bench.f.value_and_grad(A.astype(float) @ B.astype(float).T)
        size = abs(expected) + unit
        worst_f = max(worst_f, relative(abs(f - expected), size))
        worst_value = max(worst_value, relative(abs(bench.f.factor_value(A, B) - expected), size))
        worst_G = max(worst_G, difference(GB, G @ B), difference(GtA, G.T @ A))
    for name, worst in (("factor_oracle value", worst_f), ("factor_value", worst_value), ("G B and G^T A", worst_G)):
        yield Checked(name, worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")
    yield Checked("factor_oracle leaves A, B alone", untouched, f"ranks {_ranks(bench)}")


def _factor_hvp(bench: _Bench) -> Iterator[Checked]:
    if not bench.f.facts.has_hessian:
        yield Checked("factor_hvp", None, "not stated: has_hessian is False")
        return
    worst = 0.0
    for rank in _ranks(bench):
        factors = bench.factors(rank)
        given = bench.f.factor_hvp(*factors)
        A, B, U, V = (part.astype(np.float64) for part in factors)
        expected = Objective.factor_hvp(bench.f, A, B, U, V)
        worst = max(worst, *(difference(g, e) for g, e in zip(given, expected)))
    yield Checked("factor_hvp", worst <= bench.curvature_tol, f"relative difference {worst:.1e} to the dense level")


def _curvature_along(bench: _Bench) -> Iterator[Checked]:
    if type(bench.f).curvature_along is Objective.curvature_along:
        return  # it follows from factor_hvp
    worst = 0.0
    for rank in _ranks(bench):
        A, B, U, _ = bench.factors(rank)
        D = U.astype(float) @ B.astype(float).T
        expected = float(np.vdot(D, bench.f.hessian_product(A.astype(float) @ B.astype(float).T, D)))
        worst = max(worst, relative(abs(bench.f.curvature_along(A, B, U) - expected), abs(expected)))
    yield Checked(
        "curvature_along", worst <= bench.curvature_tol, f"relative difference {worst:.1e} to the dense level"
    )


def _gradient_operator(bench: _Bench) -> Iterator[Checked]:
    worst = 0.0
    for rank in _ranks(bench):
        A, B, U, V = bench.factors(rank)
        operator = bench.f.gradient_operator(A, B)
        G = bench.f.value_and_grad(A.astype(float) @ B.astype(float).T)[1]
        U, V = U.astype(float), V.astype(float)
        worst = max(worst, difference(operator.matmat(V), G @ V), difference(operator.rmatmat(U), G.T @ U))
        worst = max(worst, difference(operator.to_dense(), G))
    yield Checked("gradient_operator", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


def _oracle_and_operator(bench: _Bench) -> Iterator[Checked]:
    if type(bench.f).oracle_and_operator is Objective.oracle_and_operator:
        return  # it follows from the others
    worst = 0.0
    unit = abs(bench.f.value_and_grad(np.zeros(bench.f.shape))[0])
    for rank in _ranks(bench):
        A, B, _, _ = bench.factors(rank)
        f, GB, GtA, operator = bench.f.oracle_and_operator(A, B)
        expected, G = bench.f.value_and_grad(A.astype(float) @ B.astype(float).T)
        worst = max(worst, relative(abs(f - expected), abs(expected) + unit), difference(operator.to_dense(), G))
        worst = max(worst, difference(GB, G @ B), difference(GtA, G.T @ A))
    yield Checked("oracle_and_operator", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


# ---------------------------------------------------------------------- facts
def _description(bench: _Bench) -> Iterator[Checked]:
    """Test the form in which the loss travels: certificates that are written down are about it."""
    described = bench.f.description()
    worst = 0.0
    for _ in range(POINTS):
        X = bench.matrix()
        (value, G), (expected, H) = described.value_and_grad(X), bench.f.value_and_grad(X)
        worst = max(worst, relative(abs(value - expected), abs(expected)), difference(G, H))
    yield Checked("description", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


def _expression(bench: _Bench) -> Iterator[Checked]:
    import cvxpy

    X = cvxpy.Variable(bench.f.shape)
    expression = bench.f.cvxpy_expression(X)
    worst = 0.0
    for _ in range(POINTS):
        X.value = bench.matrix()
        expected = bench.f.value_and_grad(X.value)[0]
        worst = max(worst, relative(abs(float(expression.value) - expected), abs(expected)))
    yield Checked("cvxpy expression, value", worst <= max(bench.tol, 1e-9), f"relative difference {worst:.1e}")
    yield Checked("cvxpy expression, convex", bool(expression.is_convex()), f"curvature {expression.curvature.lower()}")


def _extreme_curvature(bench: _Bench, X: Array) -> tuple[float, float, float]:
    """Return the smallest and the largest Ritz value of the Hessian at ``X`` after some Lanczos steps, and their noise.

    Both lie between the extreme eigenvalues, and reach them long before random directions come near.
    """
    direction = bench.rng.standard_normal(X.size)
    basis = np.empty((0, X.size))
    products = np.empty((0, X.size))
    for _ in range(min(X.size, LANCZOS_STEPS)):
        length = float(np.linalg.norm(direction))
        direction = direction / length
        basis = np.vstack([basis, direction])
        products = np.vstack([products, bench.f.hessian_product(X, direction.reshape(X.shape)).ravel()])
        direction = products[-1].copy()
        for _ in range(2):  # once more, against the loss of orthogonality
            direction -= basis.T @ (basis @ direction)
        if np.linalg.norm(direction) <= 1e-10 * np.linalg.norm(products[-1]):
            break
    ritz = np.linalg.eigvalsh(basis @ products.T)
    noise = bench.product_noise(X, basis[0].reshape(X.shape), products[0].reshape(X.shape))
    return float(ritz[0]), float(ritz[-1]), noise


def _sampled_pairs(bench: _Bench) -> Iterator[tuple[Array, Array, _Rounding]]:
    """Yield pairs of points, near and far apart, and the rounding errors of a difference of answers at the two."""
    for distance in (1e-2, 1.0, 10.0):
        rounding = None
        for _ in range(10):
            X, move = bench.matrix(), distance * bench.matrix()
            if rounding is None:
                here, there = bench.rounding(X, move), bench.rounding(X + move, move)
                rounding = _Rounding(here.value + there.value, here.gradient + there.gradient, here.slope)
            yield X, X + move, rounding


def _curvature_facts(bench: _Bench) -> Iterator[Checked]:
    ends = [_extreme_curvature(bench, bench.matrix()) for _ in range(POINTS)] if bench.f.facts.has_hessian else []
    low = min((end[0] for end in ends), default=math.inf)
    high = max((max(abs(end[0]), abs(end[1])) for end in ends), default=0.0)
    noise = max((end[2] for end in ends), default=0.0)
    below_tangent = 0.0
    for X, Y, rounding in _sampled_pairs(bench):
        (fX, GX), (fY, GY) = bench.f.value_and_grad(X), bench.f.value_and_grad(Y)
        tangent = float(np.vdot(GX, Y - X))
        short = fX + tangent - fY - rounding.value - rounding.slope
        below_tangent = max(below_tangent, relative(short, abs(fX) + abs(fY) + abs(tangent)))
        high = max(high, float((np.linalg.norm(GY - GX) - rounding.gradient) / np.linalg.norm(Y - X)))
    bent_down = low < -bench.curvature_tol * high - noise or below_tangent > bench.tol
    seen = f"smallest Hessian eigenvalue {low:.2e}, " if ends else ""
    seen += f"value below a tangent by {below_tangent:.1e} (relative)"
    if bench.f.facts.convex is True:
        yield Checked("convex", not bent_down, seen)
    elif bench.f.facts.convex is False:
        yield Checked("not convex", True if bent_down else None, seen)
    else:
        witness = "a witness of non-convexity was found: " if bent_down else ""
        yield Checked("convex", None, f"not stated ({witness}{seen})")
    beta = bench.f.facts.smoothness
    if beta is None:
        yield Checked("smoothness", None, f"not stated (largest curvature seen {high:.4g})")
    else:
        most = beta * (1.0 + bench.curvature_tol) + noise
        yield Checked("smoothness", high <= most, f"stated {beta:.6g}, seen {high:.6g}")


def _rank_one_smoothness(bench: _Bench) -> Iterator[Checked]:
    beta = bench.f.facts.rank_one_smoothness
    if beta is None:
        return
    high = max(_curvature_of_rank_one(bench) for _ in range(POINTS))
    yield Checked("rank-one smoothness", high <= beta * (1.0 + bench.tol), f"stated {beta:.6g}, seen {high:.6g}")


def _curvature_of_rank_one(bench: _Bench) -> float:
    """Return the largest curvature of ``f`` met from a point along unit matrices of rank one, less rounding errors.

    Each is made of the top singular pair of the change of the gradient along the one before: a power iteration.
    """
    X, change = bench.matrix(), bench.matrix()
    length = float(np.linalg.norm(change))
    gradient, high = bench.f.value_and_grad(X)[1], 0.0
    for _ in range(RANK_ONE_STEPS):
        U, _, Vt = np.linalg.svd(change)
        D = np.outer(U[:, 0], Vt[0])
        change = bench.f.value_and_grad(X + length * D)[1] - gradient
        noise = sum(bench.rounding(Y, D).slope for Y in (X, X + length * D))
        high = max(high, (float(np.vdot(change, D)) - noise) / length)
    return high


def _lower_bound(bench: _Bench) -> Iterator[Checked]:
    bound = bench.f.facts.lower_bound
    if bound is None:
        yield Checked("lower bound", None, "not stated")
        return
    from scipy.optimize import minimize

    shape = bench.f.shape

    def oracle(x: Array) -> tuple[float, Array]:
        f, G = bench.f.value_and_grad(x.reshape(shape))
        return f, G.ravel().astype(np.float64)

    start = bench.matrix()
    least = float(minimize(oracle, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200}).fun)
    unit = abs(bench.f.value_and_grad(start)[0]) + abs(bound)
    yield Checked(
        "lower bound", least >= bound - bench.tol * unit, f"stated {bound:.6g}, reached {least:.6g} by descent"
    )


def _conjugate(bench: _Bench) -> Iterator[Checked]:
    pairs = [(X, *bench.f.value_and_grad(X)) for X in (bench.matrix() for _ in range(POINTS))]
    duals = [bench.f.conjugate(G) for _, _, G in pairs]
    if any(dual is None for dual in duals):
        yield Checked("conjugate", None, "not stated")
        return
    noises = [_conjugate_noise(bench, X) for X, _, _ in pairs]
    off = below = 0.0
    for i, (_, _, G) in enumerate(pairs):
        for j, (X, f, _) in enumerate(pairs):
            dual, inner = float(duals[i] or 0.0), float(np.vdot(X, G))
            size, short = abs(f) + abs(dual) + abs(inner), inner - f - dual
            if i == j:
                off = max(off, relative(max(abs(short) - noises[i], 0.0), size))
            else:
                below = max(below, relative(short - noises[i] - noises[j], size))
    detail = f"f(X) + f*(G) = <G, X> to {off:.1e}, below <G, Y> elsewhere by {below:.1e} (relative, beyond rounding)"
    yield Checked("conjugate", max(off, below) <= bench.tol, detail)


def _conjugate_noise(bench: _Bench, X: Array) -> float:
    """Return the rounding errors of ``<G, X> - f(X) - f*(G)``, which is large where ``f*`` is steep or cancels."""
    D = bench.matrix()
    found = []
    for Y in (X + SPACING * k * D for k in range(NEIGHBOURS)):
        f, G = bench.f.value_and_grad(Y)
        dual = bench.f.conjugate(G)
        found.append(math.nan if dual is None else float(np.vdot(Y, G)) - f - dual)
    return _noise(np.array(found))


def _least_squares(bench: _Bench) -> Iterator[Checked]:
    if not bench.f.facts.least_squares:
        yield Checked("least squares", None, "not stated")
        return
    if bench.f.facts.lower_bound is None or bench.f.facts.convex is not True:
        yield Checked("least squares", False, "needs convex = True and a lower bound, which are not both stated")
        return
    X, Y, D = bench.matrix(), 10.0 * bench.matrix(), bench.matrix()
    drift = difference(bench.f.hessian_product(Y, D), bench.f.hessian_product(X, D))
    yield Checked("least squares, constant Hessian", drift <= bench.curvature_tol, f"relative change {drift:.1e}")
    # A quadratic has vanishing third differences along every line.
    q = np.array([bench.f.value_and_grad(X + t * D)[0] for t in (0.0, 1.0, 2.0, 3.0)])
    third = relative(abs(float(q @ [-1.0, 3.0, -3.0, 1.0])), float(np.abs(q).max()))
    yield Checked("least squares, quadratic", third <= bench.tol, f"relative third difference {third:.1e}")


# ---------------------------------------------------------------------- merging, batches, closed forms
def _same_function(bench: _Bench, given: Objective, expected: Callable[[Array], tuple[float, Array]]) -> float:
    """Return the largest relative difference of value, gradient and factor oracle at one random point."""
    A, B, _, _ = bench.factors(1)
    X = A.astype(float) @ B.astype(float).T
    f, G = expected(X)
    unit = abs(f) + abs(bench.f.value_and_grad(np.zeros(bench.f.shape))[0])
    GB, GtA = np.empty_like(A), np.empty_like(B)
    dense, factored = given.value_and_grad(X), given.factor_oracle(A, B, GB, GtA)
    return max(
        relative(abs(dense[0] - f), unit),
        relative(abs(factored - f), unit),
        difference(dense[1], G),
        difference(GB, G @ B),
        difference(GtA, G.T @ A),
    )


def _merged(bench: _Bench) -> Iterator[Checked]:
    update, X = bench.matrix(), bench.matrix()
    before = bench.f.value_and_grad(X)
    merged = bench.f.merged(update)
    worst = _same_function(bench, merged, lambda X: bench.f.value_and_grad(update + X))
    yield Checked("merged, function", worst <= bench.tol, f"relative difference {worst:.1e} to f(update + X)")
    after = bench.f.value_and_grad(X)
    kept = before[0] == after[0] and np.array_equal(before[1], after[1])
    facts = [
        fact
        for fact in ("convex", "least_squares", "n_samples", "has_hessian")
        if getattr(merged.facts, fact) != getattr(bench.f.facts, fact)
    ]
    facts += [name for name in ("shape", "dtype") if getattr(merged, name) != getattr(bench.f, name)]
    if bench.f.W0 is not None:
        weight = merged.W0
        if weight is None or difference(weight, bench.f.W0 + update) > bench.tol:
            facts.append("W0")
    wrong = ([] if kept else ["the original changed"]) + [f"{fact} differs" for fact in facts]
    yield Checked("merged, facts", not wrong, ", ".join(wrong) or "original kept, facts carried over")


def _batches(bench: _Bench) -> Iterator[Checked]:
    n, reason = bench.f.facts.n_samples, bench.f.batch_refusal()
    if n is None or reason is not None:
        yield Checked("sample_batch", None, f"not stated: {reason}")
        return
    order = bench.rng.permutation(n)
    # Unequal parts, so that a batch that forgets to divide by its own size is noticed.
    ends = np.unique(np.linspace(0.0, 1.0, min(n, 8) + 1) ** 2 * n).astype(int)
    parts = [order[a:b] for a, b in pairwise(ends) if b > a]
    X = bench.matrix()
    before = bench.f.value_and_grad(X)
    bench.f.sample_batch(parts[0])
    after = bench.f.value_and_grad(X)
    kept = before[0] == after[0] and np.array_equal(before[1], after[1])
    yield Checked("sample_batch leaves the loss alone", kept, "value and gradient at one point, bit for bit")
    batches = [(len(part) / n, bench.f.sample_batch(part)) for part in parts]

    def mean(X: Array) -> tuple[float, Array]:
        answers = [(weight, *batch.value_and_grad(X)) for weight, batch in batches]
        return sum(w * f for w, f, _ in answers), np.sum([w * G for w, _, G in answers], axis=0)

    worst = _same_function(bench, bench.f, mean)
    detail = f"relative difference {worst:.1e} over {len(parts)} parts"
    yield Checked("sample_batch, unbiased", worst <= bench.tol, detail)
    i, j = order[0], order[-1]
    single, other = bench.f.sample_batch(np.array([i])), bench.f.sample_batch(np.array([j]))
    repeated = bench.f.sample_batch(np.array([i, j, i]))

    def expected(X: Array) -> tuple[float, Array]:
        (f1, G1), (f2, G2) = single.value_and_grad(X), other.value_and_grad(X)
        return (2.0 * f1 + f2) / 3.0, (2.0 * G1 + G2) / 3.0

    worst = _same_function(bench, repeated, expected)
    yield Checked("sample_batch, repetitions", worst <= bench.tol, f"relative difference {worst:.1e}")


def _one_factor(bench: _Bench) -> Iterator[Checked]:
    for name, side in (("minimize_over_A", 0), ("minimize_over_B", 1)):
        try:
            worst = max(_gradient_left(bench, side, rank, lam) for rank in _ranks(bench) for lam in (0.3, 0.0))
        except NotImplementedError as reason:
            yield Checked(name, None, f"not stated: {reason}")
            continue
        yield Checked(name, worst <= bench.curvature_tol, f"gradient left {worst:.1e}, relative to its parts")


def _gradient_left(bench: _Bench, side: int, rank: int, lam: float) -> float:
    """Return the gradient at the minimiser of one factor, relative to the terms that cancel in it.

    The terms are bounded by their lengths, so that rounding of an ill-conditioned minimiser is not counted.
    """
    A, B, _, _ = bench.factors(rank)
    if side == 0:
        A = bench.f.minimize_over_A(B, lam)
    else:
        B = bench.f.minimize_over_B(A, lam)
    A, B = A.astype(np.float64), B.astype(np.float64)
    G0 = bench.f.value_and_grad(np.zeros(bench.f.shape))[1]
    G = bench.f.value_and_grad(A @ B.T)[1]
    left = G @ B + lam * A if side == 0 else G.T @ A + lam * B
    solved, given = (A, B) if side == 0 else (B, A)
    curvature = relative(float(np.linalg.norm(G - G0)), float(np.linalg.norm(A @ B.T)))
    parts = float(np.linalg.norm(G0 @ B if side == 0 else G0.T @ A))
    parts += (curvature * float(np.linalg.norm(given)) ** 2 + lam) * float(np.linalg.norm(solved))
    return relative(float(np.linalg.norm(left)), parts)


def _minimizer(bench: _Bench) -> Iterator[Checked]:
    unit = float(np.linalg.norm(bench.f.value_and_grad(np.zeros(bench.f.shape))[1], 2))
    for name, lam, ranks in (("lam = 0", 0.0, _ranks(bench)), ("lam > 0", 0.3 * unit, [min(bench.f.shape)])):
        found = [(rank, bench.f.minimizer(lam, rank)) for rank in ranks]
        tried = [(rank, *_minimality(bench, lam, rank, factors)) for rank, factors in found if factors is not None]
        if not tried:
            yield Checked(f"minimizer, {name}", None, "not stated")
            continue
        fits = all(columns <= rank for rank, columns, _, _ in tried)
        left, beaten = max(row[2] for row in tried), max(row[3] for row in tried)
        detail = f"gradient left {left:.1e}, beaten by descent by {max(beaten, 0.0):.1e}, relative"
        yield Checked(
            f"minimizer, {name}",
            fits and left <= bench.curvature_tol and beaten <= bench.tol,
            detail if fits else f"has more columns than the rank allows; {detail}",
        )


def _minimality(bench: _Bench, lam: float, rank: int, factors: tuple[Array, Array]) -> tuple[int, float, float]:
    """Return the columns of given factors, the gradient of ``L`` there, and by how much descent goes below them."""
    from scipy.optimize import minimize

    cut = bench.f.shape[0] * rank

    def oracle(theta: Array) -> tuple[float, Array]:
        A, B = theta[:cut].reshape(-1, rank), theta[cut:].reshape(-1, rank)
        f, G = bench.f.value_and_grad(A @ B.T)
        grad = np.concatenate([(G @ B + lam * A).ravel(), (G.T @ A + lam * B).ravel()])
        return f + 0.5 * lam * float(theta @ theta), grad

    A, B = factors
    f0, G0 = bench.f.value_and_grad(np.zeros(bench.f.shape))
    f, G = bench.f.value_and_grad(A @ B.T)
    sizes = float(np.linalg.norm(A)), float(np.linalg.norm(B))
    left = math.hypot(float(np.linalg.norm(G @ B + lam * A)), float(np.linalg.norm(G.T @ A + lam * B)))
    value = f + lam * float(np.linalg.svd(A @ B.T, compute_uv=False).sum())
    start = np.concatenate([part.ravel() for part in bench.factors(rank)[:2]]).astype(np.float64)
    least = float(minimize(oracle, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).fun)
    size = float(np.linalg.norm(G0)) * math.hypot(*sizes)
    return A.shape[1], relative(left, size), relative(value - least, abs(f0) + abs(value))


def _metrics(bench: _Bench) -> Iterator[Checked]:
    metrics = bench.f.metrics(bench.matrix())
    wrong = [name for name, value in metrics.items() if not (isinstance(value, float) and math.isfinite(value))]
    yield Checked("metrics are finite floats", not wrong, ", ".join(wrong or metrics) or "none offered")
    if wrong or not metrics:
        return
    A, B, _, _ = bench.factors(1)
    expected, found = bench.f.metrics(A @ B.T), bench.f.factor_metrics(A, B)
    worst = math.inf
    if found.keys() == expected.keys():
        worst = max(relative(abs(found[name] - expected[name]), abs(expected[name])) for name in expected)
    yield Checked("factor_metrics", worst <= bench.tol, f"relative difference {worst:.1e} to the dense level")


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "value_and_grad": _pure,
    "arguments are left alone": _arguments,
    "gradient and hessian": _taylor,
    "factor_oracle": _factor_oracle,
    "factor_hvp": _factor_hvp,
    "curvature_along": _curvature_along,
    "gradient_operator": _gradient_operator,
    "oracle_and_operator": _oracle_and_operator,
    "description": _description,
    "cvxpy expression": _expression,
    "convexity and smoothness": _curvature_facts,
    "rank-one smoothness": _rank_one_smoothness,
    "lower bound": _lower_bound,
    "conjugate": _conjugate,
    "least squares": _least_squares,
    "merged": _merged,
    "sample_batch": _batches,
    "one factor in closed form": _one_factor,
    "minimizer": _minimizer,
    "metrics": _metrics,
}
