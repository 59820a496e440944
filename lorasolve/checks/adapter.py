"""Tests of everything an adapter states: derivatives, start, scaling, penalty, frozen parameters, types, purity."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_generator, require
from ..adapters import registry
from ..adapters.base import Adapter, split
from ..objectives import as_objective
from ..objectives.base import Objective
from ..objectives.softmax import Softmax
from ..problem import Problem
from .base import EPS, BareLoss, Checked, CheckReport, difference, refusal_text, relative, run_checks

# Random points at each rank.
POINTS = 2
# Between numbers that are equal but for rounding, relative to their size.
TOL = 1e-10
# Of the differences that are extrapolated: near eps^(1/5), where rounding is about as large as what is left out.
SPACING = 2e-3
MOST_COORDINATES = 60  # of a block, where differences in all of them would take long
LAM = 0.3


@dataclass
class _Bench:
    """The adapter under test, a float64 objective, and the generator of the test points."""

    adapter: Adapter
    objective: Objective
    rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, int]:
        return self.objective.shape

    @property
    def ranks(self) -> list[int]:
        return sorted({1, min(2, *self.shape), min(self.shape)})

    def factors(self, rank: int) -> tuple[Array, Array]:
        m, n = self.shape
        return self.rng.standard_normal((m, rank)) / rank**0.25, self.rng.standard_normal((n, rank)) / rank**0.25

    def theta(self, rank: int) -> Array:
        """Return random parameters; those beyond the factors lie around their start."""
        A, B = self.factors(rank)
        extra = np.asarray(self.adapter.initial_extra(self.objective, A, B), dtype=float)
        return np.concatenate([A.ravel(), B.ravel(), extra + 0.5 * self.rng.standard_normal(extra.shape)])

    def start(self, rank: int) -> Array:
        """Return the parameters of a start at ``B = 0``."""
        A, B = self.factors(rank)
        B[:] = 0.0
        return np.concatenate([A.ravel(), B.ravel(), self.adapter.initial_extra(self.objective, A, B)])

    def answer(self, theta: Array, rank: int) -> tuple[float, Array]:
        """Return value and gradient; what is not written is NaN."""
        grad = np.full_like(theta, np.nan)
        return self.adapter.value_and_grad(self.objective, theta, rank, grad), grad

    def reference(self, theta: Array, rank: int) -> float:
        """Return ``f(update(theta))``, from the objective's dense level."""
        return self.objective.value_and_grad(self.adapter.update(self.objective, theta, rank))[0]

    def mask(self, rank: int, size: int) -> Array:
        mask = self.adapter.trainable(self.shape, rank)
        return np.ones(size, dtype=bool) if mask is None else mask

    def blocks(self, rank: int, size: int) -> dict[str, Array]:
        """Return the positions of the factors and of the further parameters in ``theta``."""
        parts = split(np.arange(size), self.shape, rank)
        return {name: part.ravel() for name, part in zip(("A", "B", "extra"), parts) if part.size}


def check_adapter(adapter: str | Adapter, objective: Any = None, rng: int | np.random.Generator = 0) -> CheckReport:
    """Test what an adapter states about itself.

    Parameters
    ----------
    adapter : str or Adapter
        The adapter, with its settings: itself, or its text as everywhere.
    objective : Objective or object, optional
        A loss that it accepts, by default a small softmax regression with a frozen weight. Used in float64.
    rng : int or numpy.random.Generator
        Seed or source of the test points.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError
        If ``adapter`` is no adapter, or another argument of another type than stated.
    ValueError
        For an unknown name; if the adapter refuses the objective.

    Notes
    -----
    Checked, at ranks 1, 2 and ``min(m, n)``: ``value_and_grad`` returns ``f(update(theta))`` and writes its
    derivative in every parameter (differences at random points and at ``B = 0``); ``initial_extra`` gives the frozen
    model at ``B = 0``; ``scale_at`` is the scaling of a low-rank update; parameters that ``trainable`` leaves out have
    no gradient; weight decay acts on the factors; ``prox`` is the proximal map of a convex ``penalty`` (variational
    inequality, firmly nonexpansive); ``nuclear_weight`` is a lower bound (descent on the ratio); ``refusal`` agrees
    with what runs; float32 stays float32; answers depend on the arguments alone.

    Examples
    --------
    >>> from lorasolve.adapters import LoRA
    >>> class Halved(LoRA):
    ...     def value_and_grad(self, objective, theta, rank, grad):
    ...         value = super().value_and_grad(objective, theta, rank, grad)
    ...         grad[: objective.shape[0] * rank] *= 0.5
    ...         return value
    >>> [check.name for check in check_adapter(Halved()).failures]
    ['derivative in A']
    """
    adapter = registry.make(adapter, "adapter")
    generator = as_generator(rng, "rng")
    given = Softmax.example(generator) if objective is None else as_objective(objective)
    require(adapter.name, "adapter", adapter.refusal(given))
    return run_checks(type(adapter).__name__, _Bench(adapter, given.in_float64(), generator), _CHECKS)


# ---------------------------------------------------------------------- derivatives
def _value(bench: _Bench) -> Iterator[Checked]:
    worst = 0.0
    unit = abs(bench.objective.value_and_grad(np.zeros(bench.shape))[0])
    written = True
    for rank in bench.ranks:
        theta = bench.theta(rank)
        value, grad = bench.answer(theta, rank)
        expected = bench.reference(theta, rank)
        worst = max(worst, relative(abs(value - expected), abs(expected) + unit))
        written &= bool(np.isfinite(grad).all())
    yield Checked("value is f(update)", worst <= TOL, f"relative difference {worst:.1e}, ranks {bench.ranks}")
    yield Checked(
        "gradient is written whole", written, "every entry is set" if written else "entries are left as given"
    )


def _slopes(function: Callable[[Array], float], theta: Array, where: Array) -> tuple[Array, Array]:
    """Return extrapolated central differences in some coordinates, and how far they can be trusted."""
    slopes = np.empty((2, where.size))
    for row, h in enumerate((SPACING, 0.5 * SPACING)):
        for k, i in enumerate(where):
            ahead, back = theta.copy(), theta.copy()
            ahead[i] += h
            back[i] -= h
            slopes[row, k] = (function(ahead) - function(back)) / (ahead[i] - back[i])
    return (4.0 * slopes[1] - slopes[0]) / 3.0, np.abs(slopes[1] - slopes[0])


def _derivative(bench: _Bench) -> Iterator[Checked]:
    if not bench.adapter.exact_gradient:
        yield Checked("derivative", None, "not stated: exact_gradient is False")
        return
    points = [(rank, bench.theta(rank), "") for rank in bench.ranks for _ in range(POINTS)]
    try:
        points += [(rank, bench.start(rank), " at B = 0") for rank in bench.ranks]
    except ValueError as reason:
        yield Checked("derivative at B = 0", None, f"such a start is refused: {reason}")
    worst: dict[str, tuple[float, str]] = {}
    for rank, theta, where in points:
        unit = abs(bench.reference(theta, rank))
        grad = bench.answer(theta, rank)[1]
        mask = bench.mask(rank, theta.size)
        for block, positions in bench.blocks(rank, theta.size).items():
            coordinates = positions[mask[positions]]
            if coordinates.size > MOST_COORDINATES:
                coordinates = bench.rng.choice(coordinates, MOST_COORDINATES, replace=False)
            if not coordinates.size:
                continue
            slope, doubt = _slopes(lambda point, rank=rank: bench.reference(point, rank), theta, coordinates)  # type: ignore[misc]
            # Relative to the block itself: a small block is not judged by a large one.
            allowed = 1e-7 * float(np.abs(slope).max()) + doubt + 1e3 * EPS * unit / SPACING
            excess = np.abs(grad[coordinates] - slope) / allowed
            k = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
            text = (
                f"entry {coordinates[k] - positions[0]} at rank {rank}: {grad[coordinates[k]]:.6g}, {slope[k]:.6g} true"
            )
            name = f"derivative in {block}{where}"
            worst[name] = max(worst.get(name, (0.0, text)), (float(np.nan_to_num(excess[k], nan=np.inf)), text))
    for name, (excess, text) in worst.items():
        yield Checked(name, excess <= 1.0, text)


def _frozen(bench: _Bench) -> Iterator[Checked]:
    wrong = []
    stated = False
    for rank in bench.ranks:
        theta = bench.theta(rank)
        mask = bench.adapter.trainable(bench.shape, rank)
        if mask is None:
            continue
        stated = True
        if not (isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == theta.shape):
            wrong.append(f"rank {rank}: expected a boolean array of shape {theta.shape}")
            continue
        if not mask.any():
            wrong.append(f"rank {rank}: nothing is trained")
        if bench.answer(theta, rank)[1][~mask].any():
            wrong.append(f"rank {rank}: a parameter that is not trained has a gradient")
        moved = theta.copy()
        bench.adapter.prox(moved, bench.shape, rank, 1.0)
        if not np.array_equal(moved[~mask], theta[~mask]):
            wrong.append(f"rank {rank}: prox moves a parameter that is not trained")
    if not stated:
        yield Checked("trainable", None, "not stated: all parameters are trained")
    else:
        yield Checked("trainable", not wrong, "; ".join(wrong) or "what is left out has no gradient")


def _decay(bench: _Bench) -> Iterator[Checked]:
    off_value = off_grad = 0.0
    for rank in bench.ranks:
        theta = bench.theta(rank)
        grads = np.full((2, theta.size), np.nan)
        problems = [Problem(bench.objective, rank, lam, bench.adapter) for lam in (0.0, LAM)]
        if problems[0].size != theta.size:
            yield Checked("decay", False, f"n_extra makes {problems[0].size} parameters, initial_extra {theta.size}")
            return
        values = [problem.value_and_grad(theta, grad) for problem, grad in zip(problems, grads)]
        factors = theta[: problems[0].n_factor_parameters]
        expected = np.zeros_like(theta)
        expected[: factors.size] = LAM * factors
        expected[~bench.mask(rank, theta.size)] = 0.0
        own = bench.reference(theta, rank)
        own += bench.adapter.penalty(theta, bench.shape, rank) if bench.adapter.proximal else 0.0
        square = 0.5 * LAM * float(factors @ factors)
        for value, decay in zip(values, (0.0, square)):
            off_value = max(off_value, relative(abs(value - own - decay), abs(own)))
        off_grad = max(
            off_grad, difference(grads[1] - grads[0], expected), difference(grads[0], bench.answer(theta, rank)[1])
        )
    shown = f"(lam/2)(||A||^2 + ||B||^2) and the penalty, once each; off by {off_value:.1e}, gradient {off_grad:.1e}"
    yield Checked("decay", off_value <= TOL and off_grad <= 1e-8, shown)


# ---------------------------------------------------------------------- start and scale
def _start(bench: _Bench) -> Iterator[Checked]:
    worst = 0.0
    unit = 1.0 if bench.objective.W0 is None else 1.0 + float(np.linalg.norm(bench.objective.W0))
    for rank in bench.ranks:
        A, B = bench.factors(rank)
        extra = np.asarray(bench.adapter.initial_extra(bench.objective, A, B))
        count = bench.adapter.n_extra(bench.shape, rank)
        if extra.shape != (count,) or not np.isfinite(extra).all():
            yield Checked("initial_extra", False, f"expected {count} finite numbers, got shape {extra.shape}")
            return
        try:
            theta = bench.start(rank)
        except ValueError as reason:
            yield Checked("frozen model at B = 0", None, f"such a start is refused: {reason}")
            return
        worst = max(worst, float(np.linalg.norm(bench.adapter.update(bench.objective, theta, rank))) / unit)
    yield Checked("frozen model at B = 0", worst <= TOL, f"||X|| = {worst:.1e} relative to 1 + ||W0||")


def _scale(bench: _Bench) -> Iterator[Checked]:
    scales = {rank: bench.adapter.scale_at(rank) for rank in bench.ranks}
    good = all(isinstance(s, (int, float)) and math.isfinite(s) and s > 0.0 for s in scales.values())
    yield Checked("scale_at is positive", good, ", ".join(f"{s:.6g} at rank {rank}" for rank, s in scales.items()))
    if not bench.adapter.low_rank:
        yield Checked("X = s A B^T", None, "not stated: low_rank is False")
        return
    worst = 0.0
    for rank, s in scales.items():
        theta = bench.theta(rank)
        A, B, _ = split(theta, bench.shape, rank)
        worst = max(worst, difference(bench.adapter.update(bench.objective, theta, rank), s * (A @ B.T)))
    yield Checked("X = s A B^T", worst <= TOL, f"relative difference {worst:.1e}, s = scale_at(rank)")


# ---------------------------------------------------------------------- penalty
def _prox(bench: _Bench) -> Iterator[Checked]:
    adapter, shape = bench.adapter, bench.shape
    if not adapter.proximal:
        theta = bench.theta(1)
        moved = theta.copy()
        adapter.prox(moved, shape, 1, 1.0)
        idle = adapter.penalty(theta, shape, 1) == 0.0 and np.array_equal(moved, theta)
        yield Checked(
            "no penalty of its own", idle, "penalty 0, prox leaves theta" if idle else "state proximal = True"
        )
        return
    if not adapter.exact_prox:
        yield Checked("prox", None, "not stated: exact_prox is False")
        return
    inequality = expansion = 0.0
    for rank in bench.ranks:
        for exponent in (-4, -3, -2, -1, 0, 1):
            for step in (0.1, 1.0, 3.0):
                z = 10.0**exponent * bench.theta(rank)
                p = _proximal(bench, z, rank, step)
                at_p = adapter.penalty(p, shape, rank)
                for y in _rivals(bench, z, p):
                    # p is the proximal point of z: (z - p)/step is a subgradient of the penalty at p.
                    gain = float((z - p) @ (y - p)) / step
                    at_y = adapter.penalty(y, shape, rank)
                    noise = EPS * float(np.linalg.norm(z) * np.linalg.norm(y - p)) / step
                    slack = at_p + gain - at_y
                    inequality = max(inequality, slack / (TOL * (at_p + at_y + abs(gain)) + 100.0 * noise + 1e-300))
                other = z + 10.0**exponent * bench.rng.standard_normal(z.size)
                change, moved = other - z, _proximal(bench, other, rank, step) - p
                excess = float(moved @ moved - moved @ change)
                expansion = max(expansion, relative(excess, float(change @ change)))
    yield Checked(
        "prox is the proximal map", inequality <= 1.0, f"variational inequality, excess {inequality:.1e} of noise"
    )
    yield Checked("prox is firmly nonexpansive", expansion <= TOL, f"relative excess {expansion:.1e}")


def _proximal(bench: _Bench, z: Array, rank: int, step: float) -> Array:
    p = z.copy()
    bench.adapter.prox(p, bench.shape, rank, step)
    return p


def _rivals(bench: _Bench, z: Array, p: Array) -> Iterator[Array]:
    """Yield points to hold against a proximal point: near and far, and changed in one coordinate."""
    yield z
    yield np.zeros_like(z)
    size = float(np.abs(z).max())
    for scale in (1e-3, 1.0, 100.0):
        yield p + scale * size * bench.rng.standard_normal(z.size)
    for i in np.unique(np.append(bench.rng.integers(z.size, size=4), np.arange(z.size - 3, z.size))):
        for change in (-size, -1e-3 * size, 1e-3 * size, size):
            y = p.copy()
            y[i] += change
            yield y


def _nuclear_weight(bench: _Bench) -> Iterator[Checked]:
    least, stated = math.inf, False
    detail = ""
    for rank in bench.ranks[:2]:
        for lam in (LAM, 0.0):
            w = bench.adapter.nuclear_weight(lam, rank)
            if w == 0.0:
                continue
            stated = True
            reached = _least_ratio(bench, rank, lam)
            if reached / w < least:
                least, detail = reached / w, f"stated {w:.6g}, reached {reached:.6g} (rank {rank}, lam = {lam:g})"
    if not stated:
        yield Checked("nuclear_weight", None, "not stated: 0")
    else:
        yield Checked("nuclear_weight", least >= 1.0 - 1e-6, detail)


def _least_ratio(bench: _Bench, rank: int, lam: float) -> float:
    """Return the least ratio of the whole penalty to ``||X||_*`` that descent from several points finds."""
    from scipy.optimize import minimize

    def ratio(theta: Array) -> float:
        A, B, _ = split(theta, bench.shape, rank)
        whole = 0.5 * lam * float(np.sum(A * A) + np.sum(B * B)) + bench.adapter.penalty(theta, bench.shape, rank)
        X = bench.adapter.update(bench.objective, theta, rank)
        nuclear = float(np.linalg.svd(X, compute_uv=False).sum()) if np.isfinite(X).all() else math.inf
        return whole / nuclear if 1e-8 < nuclear < math.inf else math.inf

    starts = [scale * bench.theta(rank) for scale in (1e-3, 1.0, 10.0)]
    A, B = bench.factors(rank)
    P, s, Qt = np.linalg.svd(A @ B.T, full_matrices=False)
    root = np.sqrt(s[:rank])
    A, B = P[:, :rank] * root, Qt[:rank].T * root  # balanced: least decay for its product
    extra = np.asarray(bench.adapter.initial_extra(bench.objective, A, B), dtype=float)
    for scale in (0.0, 1.0, 5.0):
        drawn = extra + scale * bench.rng.standard_normal(extra.size)
        starts.append(np.concatenate([A.ravel(), B.ravel(), drawn]))
    least = math.inf
    for start in starts:
        least = min(least, ratio(start))
        if start.size <= 100:
            least = min(least, float(minimize(ratio, start, method="L-BFGS-B", options={"maxiter": 60}).fun))
    return least


# ---------------------------------------------------------------------- interface
def _refusal(bench: _Bench) -> Iterator[Checked]:
    objective = as_objective(BareLoss())
    reason = bench.adapter.refusal(objective)
    unclear = refusal_text(reason)
    if unclear or reason is not None:
        yield Checked("refusal", not unclear, unclear or f"a bare loss is refused: {reason}")
        return
    problem = Problem(objective, 2, LAM, bench.adapter)
    theta = problem.join(*(bench.rng.standard_normal((k, 2)) for k in problem.shape))
    value = problem.value_and_grad(theta, np.empty_like(theta))
    yield Checked("refusal", math.isfinite(value), "a bare loss is accepted, and runs")


class _InFloat32(Objective):
    """The same loss answering in float32, which remembers the types it was asked in."""

    def __init__(self, inner: Objective, requires: tuple[str, ...]) -> None:
        self.inner = inner
        self.shape = inner.shape
        self.dtype = np.dtype(np.float32)
        self.asked: set[str] = set()
        for attribute in {"W0", *requires}:
            value = getattr(inner, attribute)
            setattr(self, attribute, value.astype(np.float32) if isinstance(value, np.ndarray) else value)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        self.asked.add(X.dtype.name)
        value, G = self.inner.value_and_grad(X.astype(np.float64))
        return value, G.astype(np.float32)

    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        self.asked |= {A.dtype.name, B.dtype.name}
        return super().factor_oracle(A, B, GB, GtA)


def _float32(bench: _Bench) -> Iterator[Checked]:
    objective = _InFloat32(bench.objective, bench.adapter.requires)
    wrong, worst = set(), 0.0
    for rank in bench.ranks:
        theta = bench.theta(rank).astype(np.float32)
        value, grad = bench.answer(theta.astype(np.float64), rank)
        grad32 = np.empty_like(theta)
        value32 = bench.adapter.value_and_grad(objective, theta, rank, grad32)
        X = bench.adapter.update(objective, theta, rank)
        if X.dtype != np.float32:
            wrong.add(f"update returns {X.dtype}")
        worst = max(worst, relative(abs(value32 - value), abs(value)), difference(grad32, grad))
        bench.adapter.prox(theta, bench.shape, rank, 0.1)
    wrong |= {f"the objective is asked in {name}" for name in objective.asked - {"float32"}}
    yield Checked(
        "float32 stays float32", not wrong, "; ".join(sorted(wrong)) or "objective and update see float32 only"
    )
    yield Checked("float32 agrees with float64", worst <= 1e-3, f"relative difference {worst:.1e}")


def _pure(bench: _Bench) -> Iterator[Checked]:
    """The answers depend on the arguments alone, in whatever order and memory they come."""
    rank = bench.ranks[min(1, len(bench.ranks) - 1)]
    first, second = bench.theta(rank), bench.theta(rank)
    kept = first.copy()
    other = _Bench(bench.adapter, bench.objective.merged(bench.rng.standard_normal(bench.shape)), bench.rng)
    fresh = _Bench(copy.deepcopy(bench.adapter), bench.objective, bench.rng)

    def answers(of: _Bench, theta: Array) -> list[Array]:
        value, grad = of.answer(theta, rank)
        return [np.array(value), grad, of.adapter.update(of.objective, theta, rank).copy()]

    expected = answers(fresh, second)
    update = bench.adapter.update(bench.objective, first, rank)
    shown = update.copy()
    once = answers(bench, first)
    other_once = answers(other, first)
    in_place = first.copy()
    answers(bench, in_place)
    in_place[:] = second
    wrong = []
    if not np.array_equal(first, kept):
        wrong.append("theta is changed")
    for what, of, theta, wanted in (
        ("a second call", bench, first, once),
        ("another objective with the same theta", other, first, other_once),
        ("the first objective again", bench, first, once),
        ("theta overwritten in place", bench, in_place, expected),
        ("another theta", bench, second, expected),
    ):
        if any(difference(given, value) > TOL for given, value in zip(answers(of, theta), wanted)):
            wrong.append(f"{what} gets another answer than a fresh call")
    if not np.array_equal(update, shown):
        wrong.append("an update changes after it was returned")
    consistent = abs(other_once[0] - other.reference(first, rank)) <= TOL * (1.0 + abs(float(other_once[0])))
    if not consistent:
        wrong.append("the answer is that of an objective seen before")
    memory = np.full(2 * second.size + 2, np.nan)
    view, grad = memory[1 : 1 + second.size], memory[1 + second.size : -1]
    view[:] = second
    bench.adapter.value_and_grad(bench.objective, view, rank, grad)
    if difference(grad, expected[1]) > TOL or not (np.isnan(memory[0]) and np.isnan(memory[-1])):
        wrong.append("views of a larger array get another answer")
    yield Checked("answers depend on the arguments alone", not wrong, "; ".join(wrong) or "two objectives, alternating")


def _settings(bench: _Bench) -> Iterator[Checked]:
    same = copy.deepcopy(bench.adapter) == bench.adapter
    yield Checked("settings compare", same, f"a copy {'equals' if same else 'differs from'} {bench.adapter!r}")
    rank = bench.ranks[0]
    shape = bench.adapter.update(bench.objective, bench.theta(rank), rank).shape
    yield Checked("update has shape (m, n)", shape == bench.shape, f"{shape}")


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "value": _value,
    "derivative": _derivative,
    "trainable": _frozen,
    "decay": _decay,
    "frozen model at B = 0": _start,
    "scale": _scale,
    "prox": _prox,
    "nuclear_weight": _nuclear_weight,
    "refusal": _refusal,
    "float32": _float32,
    "answers depend on the arguments alone": _pure,
    "settings": _settings,
}
