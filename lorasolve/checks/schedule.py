"""Tests of everything a schedule states: step factors, stage boundaries, what a transition leaves alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .._support.validate import Array, as_generator, as_instance, require
from ..adapters import registry as adapter_registry
from ..objectives.linear import LinearFineTuning
from ..problem import Problem
from ..schedules import registry
from ..schedules.base import Schedule, Stage
from .base import Checked, CheckReport, difference, global_state, refusal_text, run_checks

BUDGETS = (1, 7, 100, 1000)  # max_iter
# In a row, from one start.
TRANSITIONS = 6
# What is merged, and taken from the update, is rounded at each of them; relative to the weight.
TOL = 1e-9


class Passage(NamedTuple):
    """The end of a stage, the start of the next one, and whether the transition left the given end alone."""

    end: Stage
    start: Stage
    left_alone: bool


@dataclass
class _Bench:
    """The schedule under test and a problem that it accepts."""

    schedule: Schedule
    problem: Problem
    seed: int

    def first(self, problem: Problem | None = None) -> Stage:
        """Return a stage at random parameters, as an init would make it."""
        problem = self.problem if problem is None else problem
        rng = np.random.default_rng(self.seed)
        return Stage(problem, problem.join(*(rng.standard_normal((k, problem.rank)) for k in problem.shape)))

    def passages(self, problem: Problem | None = None) -> Iterator[Passage]:
        """Yield transitions of one run; parameters move at random in between."""
        rng = np.random.default_rng(self.seed + 1)
        moves = np.random.default_rng(self.seed + 2)
        stage = self.schedule.start(self.first(problem), rng)
        for _ in range(TRANSITIONS):
            theta = stage.theta + 0.1 * moves.standard_normal(stage.theta.size).astype(stage.theta.dtype)
            if stage.problem.trainable is not None:
                theta = np.where(stage.problem.trainable, theta, stage.theta)
            end = Stage(stage.problem, theta, stage.merged, stage.memory)
            given = replace(end, theta=theta.copy())
            stage = self.schedule.transition(given, rng)
            yield Passage(end, stage, np.array_equal(given.theta, theta))


def check_schedule(
    schedule: str | Schedule, problem: Problem | None = None, rng: int | np.random.Generator = 0
) -> CheckReport:
    """Test what a schedule states about itself.

    Parameters
    ----------
    schedule : str or Schedule
        The schedule, with its settings: itself, or its text as everywhere.
    problem : Problem, optional
        A problem that it accepts, by default a small linear fine-tuning job with the first adapter that it accepts.
    rng : int or numpy.random.Generator
        Seed or source of the default problem's data and of the transitions.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError
        If ``schedule`` is no schedule, or another argument of another type than stated.
    ValueError
        For an unknown name; if the schedule refuses the problem, or the default one with every adapter; for a problem
        of several matrices.

    Notes
    -----
    Checked: ``step_factor`` is finite, >= 0, repeatable and always 1 unless ``scales_steps``; ``is_boundary`` ends
    stages exactly where there are stages; a transition keeps the whole weight ``W0 + merged + update`` (unless
    ``keeps_weight`` is False), its problem is the original one with ``merged`` merged, it merges exactly where
    ``merges`` says so, leaves the stage that it is given alone, keeps the type, and draws from the given generator
    only; ``unseen_gradient`` is a number and ``unfinished`` a text; ``refusal`` answers with None or words.

    Examples
    --------
    >>> from lorasolve.schedules import Cosine
    >>> class Turning(Cosine):
    ...     def step_factor(self, iteration, stage_iteration, max_iter):
    ...         return 1 - 2 * iteration / max_iter
    >>> [check.name for check in check_schedule(Turning()).failures]
    ['step_factor is finite and >= 0']
    """
    schedule = registry.make(schedule, "schedule")
    # A seed, as one draw is repeated.
    seed = int(as_generator(rng, "rng").integers(2**63))
    problem = default_problem(schedule, seed) if problem is None else as_instance(problem, "problem", Problem)
    problem.require_one_matrix("check_schedule")
    require(schedule.name, "schedule", schedule.refusal(problem))
    return run_checks(type(schedule).__name__, _Bench(schedule, problem, seed), _CHECKS)


def default_problem(schedule: Schedule, seed: int) -> Problem:
    """Return a small problem with the first adapter that a schedule accepts, "lora" before others."""
    objective = LinearFineTuning.example(np.random.default_rng(seed))
    reasons = []
    for name in ("lora", *adapter_registry.classes()):
        problem = Problem(objective, 2, 0.0, name)
        reason = schedule.refusal(problem)
        if reason is None:
            return problem
        reasons.append(reason)
    raise ValueError(f"problem: give one that {schedule.name!r} accepts; it refuses the default ones: {reasons[0]}")


def _factors(bench: _Bench) -> Iterator[Checked]:
    factors, again = [], []
    for total in BUDGETS:
        for step in sorted({0, 1, 2, total // 3, total // 2, total - 1, total} - set(range(total + 1, 3))):
            for stage in sorted({0, step // 2, step}):
                factors.append(bench.schedule.step_factor(step, stage, total))
                again.append(bench.schedule.step_factor(step, stage, total))
    good = all(isinstance(value, (int, float)) and math.isfinite(value) and value >= 0.0 for value in factors)
    yield Checked("step_factor is finite and >= 0", good, f"from {min(factors):.4g} to {max(factors):.4g}")
    yield Checked("step_factor is repeatable", factors == again, f"{len(factors)} arguments, twice")
    varies = any(value != 1.0 for value in factors)
    stated = bench.schedule.scales_steps
    shown = f"scales_steps is {stated}, and the factor is {'not always' if varies else 'always'} 1"
    yield Checked("scales_steps", stated == varies, shown)


def _boundaries(bench: _Bench) -> Iterator[Checked]:
    total = max(BUDGETS)
    ends = [bench.schedule.is_boundary(step, total) for step in range(1, total + 1)]
    good = all(isinstance(end, (bool, np.bool_)) for end in ends)
    if bench.schedule.has_stages:
        yield Checked("stages end", good and any(ends), f"{sum(ends)} boundaries in {total} steps of one stage")
    else:
        yield Checked("no stages", good and not any(ends), "there is no transition, so is_boundary answers False")


def _whole(stage: Stage) -> Array:
    """Return ``W - W0``: what was merged and the update on top."""
    update = stage.problem.update(stage.theta).astype(np.float64)
    return update if stage.merged is None else stage.merged + update


def _transitions(bench: _Bench) -> Iterator[Checked]:
    if not bench.schedule.has_stages:
        yield Checked("transition", None, "not stated: there are no stages")
        return
    X = np.random.default_rng(bench.seed).standard_normal(bench.problem.shape)
    jump = wrong_objective = 0.0
    merges, untouched, sizes, decays = False, True, True, set()
    for end, start, left_alone in bench.passages():
        unit = 1.0 + float(np.linalg.norm(_whole(end)))
        sizes &= start.theta.shape == (start.problem.size,) and bool(np.isfinite(start.theta).all())
        jump = max(jump, float(np.linalg.norm(_whole(start) - _whole(end))) / unit)
        offset = 0.0 if start.merged is None else start.merged
        value, G = start.problem.objective.value_and_grad(X)
        expected, expected_G = bench.problem.objective.value_and_grad(X + offset)
        wrong_objective = max(wrong_objective, abs(value - expected) / (1.0 + abs(expected)), difference(G, expected_G))
        merges |= start.merged is not None and bool(np.any(start.merged))
        untouched &= left_alone
        decays.add(start.problem.lam)
    yield Checked(
        "a transition keeps lam", decays == {bench.problem.lam}, f"lam = {', '.join(f'{lam:g}' for lam in decays)}"
    )
    yield Checked("parameters fit the problem", sizes, f"{TRANSITIONS} transitions")
    if bench.schedule.keeps_weight:
        yield Checked("a transition keeps W0 + merged + update", jump <= TOL, f"relative jump {jump:.1e}")
    else:
        yield Checked(
            "a transition keeps W0 + merged + update", None, f"not stated: keeps_weight is False (jump {jump:.1e})"
        )
    yield Checked("the problem has merged what the stage says", wrong_objective <= TOL, f"off by {wrong_objective:.1e}")
    stated = bench.schedule.merges
    yield Checked(
        "merges", stated == merges, f"merges is {stated}, and {'something' if merges else 'nothing'} was merged"
    )
    yield Checked("the given stage is left alone", untouched, "its parameters")


def _seeds(bench: _Bench) -> Iterator[Checked]:
    if not bench.schedule.has_stages:
        return
    before = global_state()
    first = [start.theta for _, start, _ in bench.passages()]
    same = global_state() == before
    again = [start.theta for _, start, _ in bench.passages()]
    same &= all(np.array_equal(a, b) for a, b in zip(first, again))
    yield Checked("transitions depend on the given generator alone", same, "bit for bit, twice")


def _ends(bench: _Bench) -> Iterator[Checked]:
    """Ask what a run that ends in a stage is told, at the first one and at the starts that transitions make."""
    first = bench.schedule.start(bench.first(), np.random.default_rng(bench.seed))
    stages = [first, *(start for _, start, _ in (bench.passages() if bench.schedule.has_stages else ()))]
    sizes = [bench.schedule.unseen_gradient(stage) for stage in stages]
    texts = [bench.schedule.unfinished(stage) for stage in stages]
    numbers = all(isinstance(size, (int, float)) and size >= 0.0 for size in sizes)
    yield Checked("unseen_gradient is a number >= 0, or infinite", numbers, f"{sizes[0]!r} at the first stage")
    words = all(isinstance(text, str) for text in texts)
    yield Checked("unfinished is a text", words, f"{texts[0]!r} at the first stage")


def _types(bench: _Bench) -> Iterator[Checked]:
    objective = LinearFineTuning.example(np.random.default_rng(bench.seed), np.float32)
    problem = Problem(objective, bench.problem.rank, bench.problem.lam, bench.problem.adapter)
    types = {start.theta.dtype.name for _, start, _ in bench.passages(problem)}
    if bench.schedule.has_stages:
        yield Checked("float32 stays float32", types == {"float32"}, f"parameters in {', '.join(sorted(types))}")


def _refusals(bench: _Bench) -> Iterator[Checked]:
    wrong, refused = [], 0
    for name in adapter_registry.classes():
        for lam in (0.0, 0.1):
            problem = Problem(LinearFineTuning.example(np.random.default_rng(bench.seed)), 2, lam, name)
            reason = bench.schedule.refusal(problem)
            refused += reason is not None
            unclear = refusal_text(reason)
            if unclear:
                wrong.append(f"{name}, lam = {lam}: {unclear}")
            if reason is None and bench.schedule.has_stages:
                try:
                    list(_Bench(bench.schedule, problem, bench.seed).passages())
                except Exception as error:
                    wrong.append(f"{name}, lam = {lam}: not refused, but raises {type(error).__name__}: {error}")
    yield Checked("refusal agrees with what runs", not wrong, "; ".join(wrong) or f"{refused} refused with a reason")


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "step_factor": _factors,
    "is_boundary": _boundaries,
    "transition": _transitions,
    "ends": _ends,
    "seeds": _seeds,
    "float32": _types,
    "refusal agrees with what runs": _refusals,
}
