"""Tests of everything an optimizer states: start, seeds, fixed points, descent, steps, frozen parameters, refusals."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .._support.validate import Array, as_generator, as_instance, require
from ..adapters import registry as adapter_registry
from ..adapters.lora import LoRA
from ..adapters.sora import SoRA
from ..engine import solve
from ..monitor import StoppingRule
from ..objectives.linear import LinearFineTuning
from ..objectives.softmax import Softmax
from ..optimizers import registry
from ..optimizers.base import DrivenOptimizer, Optimizer
from ..problem import Problem
from .base import BareLoss, Checked, CheckReport, difference, global_state, refusal_text, run_checks

SHORT, LONG = 8, 60  # iterations
# An optimizer that accepts fewer points than one in so many calls is called stuck: searches along a line take tens.
CALLS_PER_ITERATION = 100
LAM = 0.1
GATE_PENALTY = 100.0  # closes gates within a few steps


class NeverAccepts(Exception):
    """An optimizer rejects one trial after the other."""


@dataclass
class _Bench:
    """The optimizer under test, a problem that it accepts, and a start."""

    optimizer: Optimizer
    problem: Problem
    rng: np.random.Generator

    def start(self, problem: Problem) -> Array:
        """Return a random start: the same for the same problem."""
        rng = np.random.default_rng(problem.size)
        return problem.join(*(rng.standard_normal((k, problem.rank)) for k in problem.shape))

    def points(self, problem: Problem | None = None, seed: int = 3, count: int = SHORT, **options: Any) -> list[Array]:
        """Return the accepted points of a run from the start of a problem."""
        problem = self.problem if problem is None else problem
        return _points(self.optimizer, problem, self.start(problem), seed, count, **options)


def refusal_of(optimizer: Optimizer, problem: Problem) -> str | None:
    """Return why an optimizer cannot run on a problem, its proximal step included, or None if it can."""
    if problem.adapter.proximal and not optimizer.takes_prox:
        return f"the penalty of {problem.adapter.name!r} needs a proximal step"
    return optimizer.refusal(problem)


def check_optimizer(
    optimizer: str | Optimizer, problem: Problem | None = None, rng: int | np.random.Generator = 0
) -> CheckReport:
    """Test what an optimizer states about itself.

    Parameters
    ----------
    optimizer : str or Optimizer
        The optimizer, with its settings: itself, or its text as everywhere.
    problem : Problem, optional
        A problem that it accepts, by default a small linear fine-tuning job (or the first of a few others).
    rng : int or numpy.random.Generator
        Seed or source of the default problem's data.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError
        If ``optimizer`` is no optimizer, or another argument of another type than stated.
    ValueError
        For an unknown name; if the optimizer refuses the problem, or all of the default ones; for a problem of several
        matrices.

    Notes
    -----
    Checked through ``init``, ``evaluate`` and ``update``, as the loop calls them: a run starts where it is told and
    leaves the caller's arrays alone; the seed decides, and nothing else does (no global generator, no state shared by
    two runs); ``evaluate`` answers with ``L`` and its gradient; stationary points stay (unless
    ``keeps_stationary_points`` is False); ``L`` falls, and never rises where ``is_monotone`` says so; the step factor
    is applied exactly where ``takes_step_factor`` says so, and half the factor is half the step; ``residual`` is a
    number above 0 at a start, the size of the gradient where no ``own_aim`` is stated; frozen parameters do not move;
    float32 stays float32; rank 1 and ``lam = 0`` run; the proximal step is taken; a run ends within its budget;
    ``refusal`` agrees with what runs, over all adapters.

    Examples
    --------
    >>> from lorasolve.optimizers import GD
    >>> class Deaf(GD):
    ...     def advance(self, problem, state, grad):
    ...         state.trial[:] = state.theta - state.step * grad
    >>> [check.name for check in check_optimizer(Deaf()).failures]
    ['step factor', 'half the factor is half the step']
    """
    optimizer = registry.make(optimizer, "optimizer")
    generator = as_generator(rng, "rng")
    problem = default_problem(optimizer, generator) if problem is None else as_instance(problem, "problem", Problem)
    problem.require_one_matrix("check_optimizer")
    require(optimizer.name, "optimizer", refusal_of(optimizer, problem))
    return run_checks(type(optimizer).__name__, _Bench(optimizer, problem, generator), _CHECKS)


def default_problem(optimizer: Optimizer, rng: np.random.Generator) -> Problem:
    """Return the first of a few small problems that an optimizer accepts."""
    linear, softmax = LinearFineTuning.example(rng), Softmax.example(rng)
    candidates = [(linear, "lora"), (softmax, "lora")]
    candidates += [(linear, name) for name in adapter_registry.classes()]
    reason: str | None = None
    for objective, adapter in candidates:
        problem = Problem(objective, 2, LAM, adapter)
        refused = refusal_of(optimizer, problem)
        if refused is None:
            return problem
        reason = reason or refused
    raise ValueError(f"problem: give one that {optimizer.name!r} accepts; it refuses the default ones: {reason}")


# ---------------------------------------------------------------------- runs
def _points(
    optimizer: Optimizer,
    problem: Problem,
    theta: Array,
    seed: int,
    count: int,
    *,
    factor: float = 1.0,
    fresh: bool = False,
    meanwhile: Callable[[], object] | None = None,
    trials: list[str] | None = None,
) -> list[Array]:
    """Return the start and at most ``count`` accepted points after it.

    ``fresh`` hands out a new gradient array each time instead of one for all; ``meanwhile`` is called in mid-run;
    ``trials`` collects the types of the trial points.
    """
    if isinstance(optimizer, DrivenOptimizer):
        return _driven_points(optimizer, problem, theta, seed, count, meanwhile)
    state = optimizer.init(problem, theta, np.random.default_rng(seed))
    grad = np.empty_like(theta)
    points: list[Array] = []
    for call in range(CALLS_PER_ITERATION * (count + 1)):
        if fresh:
            grad = np.empty_like(theta)
        value = optimizer.evaluate(problem, state, grad)
        state.step_factor = factor
        if not (math.isfinite(value) and np.isfinite(grad).all()):
            return points
        optimizer.update(problem, state, value, grad)
        if trials is not None:
            trials.append(state.trial.dtype.name)
        if state.accepted:
            points.append(np.array(state.theta))
        if state.ended is not None or len(points) > count:
            return points
        if meanwhile is not None and call == 3:
            meanwhile()
    raise NeverAccepts(f"{len(points)} points accepted in {CALLS_PER_ITERATION * (count + 1)} oracle calls")


def _driven_points(
    optimizer: Optimizer, problem: Problem, theta: Array, seed: int, count: int, meanwhile: Callable[[], object] | None
) -> list[Array]:
    """Return the same for a method that owns its loop."""
    points: list[Array] = []

    def record(state: Any) -> None:
        points.append(state.theta.copy())
        if meanwhile is not None and len(points) == 3:
            meanwhile()

    A, B, _ = problem.split(theta)
    solve(problem, optimizer, (A, B), seed, stop=StoppingRule(max_iter=count), callback=record)
    return points


def _loss(problem: Problem, theta: Array) -> float:
    return problem.value_and_grad(theta, np.empty_like(theta))


def _same(first: list[Array], second: list[Array]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second))


def _apart(first: list[Array], second: list[Array]) -> float:
    """Return the largest relative difference of two runs, infinite where one ends earlier."""
    if len(first) != len(second):
        return math.inf
    return max(difference(a, b) for a, b in zip(first, second))


# ---------------------------------------------------------------------- start, seeds, memory
def _start(bench: _Bench) -> Iterator[Checked]:
    theta = bench.start(bench.problem)
    kept = theta.copy()
    points = _points(bench.optimizer, bench.problem, theta, 3, SHORT)
    if not points:
        yield Checked("runs", False, "value or gradient at the start is not finite")
        return
    yield Checked("the first point is the start", np.array_equal(points[0], kept), "bit for bit")
    yield Checked("the given start is left alone", np.array_equal(theta, kept), f"after {len(points) - 1} iterations")
    finite = all(np.isfinite(point).all() for point in points)
    yield Checked("iterates are finite", finite and len(points) > 1, f"{len(points) - 1} iterations")


def _seeds(bench: _Bench) -> Iterator[Checked]:
    kept = np.random.get_state(), random.getstate()  # noqa: NPY002  (the global generators are what is watched here)
    try:
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        before = global_state()
        first = bench.points()
        untouched = global_state() == before
        np.random.seed(2)  # noqa: NPY002
        random.seed(2)
        again, other = bench.points(), bench.points(seed=4)
    finally:
        np.random.set_state(kept[0])  # noqa: NPY002
        random.setstate(kept[1])
    yield Checked("the same seed gives the same run", _same(first, again), "bit for bit")
    yield Checked("no global generator is used", untouched, "numpy.random and random are as before")
    if bench.optimizer.stochastic:
        differs = not _same(first, other)
        shown = "stochastic is True" + ("" if differs else ", and the seed made no difference here")
        yield Checked("another seed gives another run", differs or None, shown)
    else:
        yield Checked("the seed plays no part", _same(first, other), "stochastic is False")


def _memory(bench: _Bench) -> Iterator[Checked]:
    alone = bench.points()
    other = Problem(bench.problem.objective, 1, 2.0 * LAM, bench.problem.adapter)
    between = bench.points(meanwhile=lambda: (bench.points(other), bench.points(seed=7)))
    yield Checked("two runs do not disturb each other", _same(alone, between), "another run in the middle of a run")
    if isinstance(bench.optimizer, DrivenOptimizer):
        return
    yield Checked(
        "the gradient is copied if it is kept", _same(alone, bench.points(fresh=True)), "one array for all calls"
    )


def _evaluate(bench: _Bench) -> Iterator[Checked]:
    if bench.optimizer.stochastic or isinstance(bench.optimizer, DrivenOptimizer):
        yield Checked("evaluate", None, "not stated: stochastic, or a loop of its own")
        return
    problem, theta = bench.problem, bench.start(bench.problem)
    state = bench.optimizer.init(problem, theta, np.random.default_rng(3))
    worst = 0.0
    for _ in range(SHORT):
        grad, expected = np.full((2, theta.size), np.nan)
        trial = state.trial.copy()
        value = bench.optimizer.evaluate(problem, state, grad)
        loss = problem.value_and_grad(trial, expected)
        worst = max(worst, abs(value - loss) / (abs(loss) or 1.0), difference(grad, expected))
        bench.optimizer.update(problem, state, value, grad)
    yield Checked("evaluate answers with L", worst <= 1e-10, f"value and gradient at the trial, off by {worst:.1e}")


# ---------------------------------------------------------------------- what it converges to
def _stationary_problem() -> tuple[Problem, Array, Array]:
    """Return a problem with a stationary point at which the gradient is zero to the last bit.

    Whole numbers throughout: ``S = I``, so ``f`` is ``||X - M||^2/2`` plus a constant, with ``M = diag(5, 10)``; for
    ``lam = 1`` the factors of ``diag(4, 9)`` are stationary.
    """
    W0 = np.arange(20.0).reshape(5, 4) % 3.0
    M, A, B = np.zeros((5, 4)), np.zeros((5, 2)), np.zeros((4, 2))
    M[0, 0], M[1, 1] = 5.0, 10.0
    A[0, 0] = B[0, 0] = 2.0
    A[1, 1] = B[1, 1] = 3.0
    Z = 2.0 * np.eye(4)
    return Problem(LinearFineTuning(W0, Z, W0 @ Z + 2.0 * M), 2, 1.0), A, B


def _fixed_points(bench: _Bench) -> Iterator[Checked]:
    problem, A, B = _stationary_problem()
    if not bench.optimizer.keeps_stationary_points:
        yield Checked("stationary points stay", None, "not stated: keeps_stationary_points is False")
        return
    reason = refusal_of(bench.optimizer, problem)
    if reason is not None:
        yield Checked("stationary points stay", None, f"not tested: {reason}")
        return
    points = _points(bench.optimizer, problem, problem.join(A, B), 3, 4)
    moved = max(difference(problem.update(point), A @ B.T) for point in points)
    rise = max(_loss(problem, point) for point in points) - _loss(problem, problem.join(A, B))
    yield Checked(
        "stationary points stay",
        moved <= 1e-9 and rise <= 1e-9,
        f"X moves by {moved:.1e} in {len(points) - 1} iterations",
    )


def _descent(bench: _Bench) -> Iterator[Checked]:
    cases = {
        "L falls": bench.problem,
        "L falls at rank 1": bench.problem.replace(rank=1),
        "L falls at lam = 0": bench.problem.replace(lam=0.0),
    }
    for name, problem in cases.items():
        reason = refusal_of(bench.optimizer, problem)
        if reason is not None:
            yield Checked(name, None, f"refused: {reason}")
            continue
        values = [_loss(problem, point) for point in bench.points(problem, count=LONG)]
        fell = len(values) > 1 and values[-1] < values[0]
        yield Checked(name, fell, f"from {values[0]:.6g} to {values[-1]:.6g} in {len(values) - 1} iterations")
        if problem is bench.problem:
            rises = max(np.diff(values).max(initial=0.0), 0.0)
            if not bench.optimizer.is_monotone(problem):
                yield Checked("L never rises", None, f"not stated: is_monotone is False (largest rise {rises:.1e})")
            else:
                yield Checked("L never rises", rises <= 1e-10 * max(map(abs, values)), f"largest rise {rises:.1e}")


# ---------------------------------------------------------------------- steps
def _step_factor(bench: _Bench) -> Iterator[Checked]:
    if isinstance(bench.optimizer, DrivenOptimizer):
        yield Checked("step factor", not bench.optimizer.takes_step_factor, "a method with its own loop takes none")
        return
    whole, half = bench.points(), bench.points(factor=0.5)
    if not bench.optimizer.takes_step_factor:
        yield Checked("step factor", _same(whole, half), "takes_step_factor is False, and the factor changes nothing")
        return
    yield Checked("step factor", not _same(whole, half), "takes_step_factor is True: half the factor is another run")
    if "step_size" not in {entry.name for entry in fields(bench.optimizer)}:
        yield Checked("half the factor is half the step", None, "not tested: it has no setting step_size")
        return
    theta = bench.start(bench.problem)
    step = 0.25 * bench.optimizer.default_step(bench.problem, theta)
    full, halved = (replace(bench.optimizer, step_size=s) for s in (step, 0.5 * step))  # type: ignore[call-arg]
    apart = _apart(
        _points(full, bench.problem, theta, 3, SHORT, factor=0.5), _points(halved, bench.problem, theta, 3, SHORT)
    )
    yield Checked("half the factor is half the step", apart <= 1e-8, f"iterates differ by {apart:.1e}")


def _default_step(bench: _Bench) -> Iterator[Checked]:
    if isinstance(bench.optimizer, DrivenOptimizer):
        return
    step = bench.optimizer.default_step(bench.problem, bench.start(bench.problem))
    yield Checked("default_step", math.isfinite(step) and step > 0.0, f"{step:.6g}")


def _residual(bench: _Bench) -> Iterator[Checked]:
    problem, theta = bench.problem, bench.start(bench.problem)
    found = bench.optimizer.residual(problem, theta)
    stated = isinstance(found, (int, float)) and 0.0 < found < math.inf
    if bench.optimizer.own_aim:
        yield Checked("residual", stated, f"{found!r} at a start that it leaves, expected a finite number > 0")
        return
    exact = Optimizer.residual(bench.optimizer, problem, theta)
    good = stated and abs(found - exact) <= 1e-8 * exact
    yield Checked("residual", good, f"{found!r} where ||grad L|| = {exact:.6g}, and own_aim is not stated")


def _frozen(bench: _Bench) -> Iterator[Checked]:
    for factor, side in (("A", 0), ("B", 1)):
        problem = Problem(LinearFineTuning.example(np.random.default_rng(1)), 2, LAM, LoRA(frozen=factor))  # type: ignore[arg-type]
        reason = refusal_of(bench.optimizer, problem)
        name = f"a frozen {factor} does not move"
        if reason is not None:
            yield Checked(name, None, f"refused: {reason}")
            continue
        points = bench.points(problem)
        parts = [problem.split(point)[:2] for point in points]
        still = all(np.array_equal(part[side], parts[0][side]) for part in parts)
        moves = not np.array_equal(parts[0][1 - side], parts[-1][1 - side])
        yield Checked(name, still and moves, "bit for bit" if moves else "the other factor does not move either")


def _prox(bench: _Bench) -> Iterator[Checked]:
    if not bench.optimizer.takes_prox:
        yield Checked("proximal step", None, "not stated: takes_prox is False")
        return
    problem = Problem(LinearFineTuning.example(np.random.default_rng(1)), 2, LAM, SoRA(gate_penalty=GATE_PENALTY))
    require(bench.optimizer.name, "optimizer", bench.optimizer.refusal(problem))
    points = bench.points(problem, count=LONG)
    gates = problem.split(points[-1])[2]
    fell = _loss(problem, points[-1]) < _loss(problem, points[0])
    yield Checked(
        "proximal step", fell and bool(np.any(gates == 0.0)), f"L falls: {fell}; gates {gates.round(4).tolist()}"
    )


def _float32(bench: _Bench) -> Iterator[Checked]:
    problem = Problem(LinearFineTuning.example(np.random.default_rng(1), np.float32), 2, LAM)
    reason = refusal_of(bench.optimizer, problem)
    if reason is not None:
        yield Checked("float32 stays float32", None, f"refused: {reason}")
        return
    trials: list[str] = []
    points = bench.points(problem, count=LONG, trials=trials)
    types = {point.dtype.name for point in points} | set(trials)
    yield Checked("float32 stays float32", types == {"float32"}, f"points and trials in {', '.join(sorted(types))}")
    values = [_loss(problem, point.astype(np.float32)) for point in (points[0], points[-1])]
    yield Checked("L falls in float32", values[1] < values[0], f"from {values[0]:.6g} to {values[1]:.6g}")


# ---------------------------------------------------------------------- interface
def _budget(bench: _Bench) -> Iterator[Checked]:
    A, B, _ = bench.problem.split(bench.start(bench.problem))
    result = solve(bench.problem, bench.optimizer, (A, B), 3, stop=StoppingRule(max_iter=SHORT))
    fine = 1 <= result.nit <= SHORT and result.nfev <= CALLS_PER_ITERATION * (SHORT + 1)
    yield Checked(
        "ends within the budget",
        fine,
        f"{result.nit} of {SHORT} iterations, {result.nfev} calls, {result.status.label}",
    )


def _refusals(bench: _Bench) -> Iterator[Checked]:
    wrong, runs, refused = [], 0, 0
    for objective in (LinearFineTuning.example(np.random.default_rng(1)), BareLoss()):
        for name, cls in adapter_registry.classes().items():
            try:
                problem = Problem(objective, 2, LAM, cls())
            except ValueError:
                continue  # the adapter refuses the objective
            where = f"{type(objective).__name__} with {name}"
            unclear = refusal_text(bench.optimizer.refusal(problem))
            if unclear:
                wrong.append(f"{where}: {unclear}")
            if refusal_of(bench.optimizer, problem) is not None:
                refused += 1
                continue
            try:
                points = bench.points(problem, count=3)
            except Exception as error:
                wrong.append(f"{where}: not refused, but raises {type(error).__name__}: {error}")
                continue
            runs += 1
            if len(points) < 2 or not all(np.isfinite(point).all() for point in points):
                wrong.append(f"{where}: not refused, but makes no finite step")
    yield Checked(
        "refusal agrees with what runs", not wrong, "; ".join(wrong) or f"{runs} run, {refused} refused with a reason"
    )


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "start": _start,
    "seeds": _seeds,
    "memory": _memory,
    "evaluate": _evaluate,
    "stationary points stay": _fixed_points,
    "L falls": _descent,
    "step factor": _step_factor,
    "default_step": _default_step,
    "residual": _residual,
    "frozen parameters": _frozen,
    "proximal step": _prox,
    "float32": _float32,
    "ends within the budget": _budget,
    "refusal agrees with what runs": _refusals,
}
