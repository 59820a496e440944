"""Step-size schedules: their formulas, and that the loop applies them."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD, ScaledGD, registry
from lorasolve.schedules import Cosine, Periodic, Schedule, WarmUp
from lorasolve.schedules import registry as schedule_registry


def problem(lam=0.1):
    return ls.Problem(Denoising(np.random.default_rng(0).standard_normal((6, 5))), 2, lam)


def applied(schedule, steps, optimizer=None):
    """Return step size times factor of every step, read from the iterates of gradient descent."""
    record = []
    ls.solve(
        problem(),
        ls.Method(optimizer or GD(step_size=0.01), schedule),
        stop=ls.StoppingRule(max_iter=steps),
        callback=lambda state: record.append((state.problem, state.theta.copy())),
    )
    sizes = []
    for (now, theta), (_, following) in itertools.pairwise(record):
        g = np.concatenate([part.ravel() for part in now.grad(*now.split(theta)[:2])])
        change = theta - following
        size = np.vdot(change, g) / np.vdot(g, g)
        # Across a merge the two points belong to different stages.
        sizes.append(size if np.allclose(change, size * g, atol=1e-12) else np.nan)
    return np.array(sizes)


def test_cosine():
    t = np.arange(40)
    assert_allclose(applied(Cosine(), 40), 0.01 * 0.5 * (1 + np.cos(np.pi * t / 40)), rtol=1e-9)
    expected = 0.01 * (0.2 + 0.8 * 0.5 * (1 + np.cos(np.pi * t / 40)))
    assert_allclose(applied(Cosine(floor=0.2), 40), expected, rtol=1e-9)


def test_warmup_and_product():
    t = np.arange(30)
    ramp = np.minimum(1.0, (t + 1) / 10)
    assert_allclose(applied(WarmUp(10), 30), 0.01 * ramp, rtol=1e-9)
    decay = 0.5 * (1 + np.cos(np.pi * t / 30))
    assert_allclose(applied([WarmUp(10), Cosine()], 30), 0.01 * ramp * decay, rtol=1e-9)


def test_warmup_starts_anew_in_each_stage_and_cosine_does_not():
    sizes = applied([Periodic(period=12), WarmUp(5)], 36)
    ramp = 0.01 * np.minimum(1.0, (np.arange(12) + 1) / 5)
    # The first step of a later stage starts at the merged point, which is no iterate.
    assert_allclose(sizes[:12], ramp, rtol=1e-9)
    assert_allclose(sizes[13:24], ramp[1:], rtol=1e-9)
    assert_allclose(sizes[25:36], ramp[1:], rtol=1e-9)
    t = np.arange(36)
    both = applied([Periodic(period=12), Cosine()], 36)
    expected = 0.01 * 0.5 * (1 + np.cos(np.pi * t / 36))
    inner = t % 12 != 0
    assert_allclose(both[inner], expected[inner], rtol=1e-9)


def test_the_step_that_leaves_the_start_of_a_stage_is_step_0_of_it_and_no_later_one_of_the_run():
    steps = []

    @dataclass(frozen=True)
    class Recorder(Schedule):
        name, summary, scales_steps = "recorder", "asks for nothing", True

        def step_factor(self, iteration, stage_iteration, max_iter):
            steps.append((iteration, stage_iteration))
            return 1.0

    method = ls.Method(GD(step_size=0.01), (Periodic(period=3), Recorder()))
    ls.solve(problem(), method, stop=ls.StoppingRule(max_iter=7, grad_tol=0.0))
    # Iterates 3 and 6 end a stage; what leaves them within it is not taken.
    assert steps == [(0, 0), (1, 1), (2, 2), (3, 3), (3, 0), (4, 1), (5, 2), (6, 3), (6, 0), (7, 1)]


def test_a_stage_begins_where_a_schedule_puts_the_factors_also_where_it_leaves_the_problem_alone():
    @dataclass(frozen=True)
    class Halves(Schedule):
        name, summary, has_stages = "halves", "halves the factors every second iteration", True

        def is_boundary(self, stage_iteration, max_iter):
            return stage_iteration == 2

        def transition(self, stage, rng):
            return replace(stage, theta=0.5 * stage.theta)

    seen = []
    method, start = ls.Method(GD(step_size=1e-12), Halves()), tuple(np.ones((k, 2)) for k in problem().shape)
    rule = ls.StoppingRule(max_iter=5, grad_tol=0.0)
    result = ls.solve(problem(), method, start, stop=rule, callback=lambda point: seen.append(point.theta.copy()))
    sizes = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]
    assert_allclose(seen, np.multiply.outer(sizes, np.ones(seen[0].size))[: len(seen)], rtol=1e-9)
    assert_allclose(result.theta, seen[-1])


def test_a_run_under_a_schedule_is_not_taken_for_stalled():
    rule = ls.StoppingRule(max_iter=6000)
    alone = ls.solve(problem(), ls.optimizers.Adam(step_size=0.3, beta2=0.9), stop=rule)
    decayed = ls.solve(problem(), "adam:step_size=0.3,beta2=0.9+cosine", stop=rule)
    assert alone.status is ls.Status.STALLED
    assert "'adam+cosine'" in alone.message
    assert decayed.status is not ls.Status.STALLED
    assert decayed.grad_norm < 1e-5 < 1e-3 < alone.grad_norm


@pytest.mark.parametrize("name", [name for name, cls in registry.classes().items() if not cls.takes_step_factor])
def test_methods_without_a_step_size_refuse_them(name):
    with pytest.raises(ValueError, match=r"schedule 'cosine': .*(owns its loop|has none to scale)"):
        ls.solve(problem(), f"{name}+cosine")


def test_preconditioned_steps_scale_too():
    record = {}
    for label, schedule in (("full", ()), ("first of ten", WarmUp(10))):
        seen = []
        ls.solve(
            problem(),
            ls.Method(ScaledGD(step_size=0.1, damping=1.0), schedule),
            stop=ls.StoppingRule(max_iter=1),
            callback=lambda state, seen=seen: seen.append(state.theta.copy()),
        )
        record[label] = seen[1] - seen[0]
    assert_allclose(record["first of ten"], 0.1 * record["full"], atol=1e-14)


@pytest.mark.parametrize("schedule", [(), WarmUp(40), Cosine(), Cosine(floor=0.01)], ids=str)
def test_a_searched_proximal_step_lowers_the_loss_by_what_it_promises_for_the_step_that_was_taken(schedule):
    """``||change||^2/(4 step)``; without a penalty ``step`` is the length of the change over that of the gradient."""
    seen = []
    ls.solve(
        problem(),
        ls.Method("proximal_gd", schedule, init="gaussian"),
        stop=ls.StoppingRule(max_iter=60, grad_tol=0.0),
        callback=lambda state: seen.append((state.theta.copy(), state.value, state.grad_norm)),
    )
    compared = 0
    for (theta, value, slope), (following, lower, _) in itertools.pairwise(seen):
        if value - lower > 1e-10 * value:
            compared += 1
            assert value - lower >= 0.25 * np.linalg.norm(theta - following) * slope * (1.0 - 1e-4)
    assert compared > 20


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="floor"):
        Cosine(floor=1.0)
    with pytest.raises(ValueError, match="steps"):
        WarmUp(0)
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        ls.solve(problem(), "gd+cosin")


@pytest.mark.parametrize("cls", schedule_registry.classes().values(), ids=list(schedule_registry.classes()))
def test_a_schedule_declares_what_it_does(cls):
    """What is not declared is not asked for, so a forgotten fact would silence the schedule."""
    assert cls.has_stages == (cls.transition is not Schedule.transition)
    assert cls.scales_steps == (cls.step_factor is not Schedule.step_factor)


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf"), None, "1", 1j, True, np.ones(3)], ids=repr)
def test_a_factor_that_is_no_share_of_a_step_is_refused_by_the_name_of_its_schedule(factor):
    """A negative one went uphill to the iteration limit, others ended in operators of Python."""

    @dataclass(frozen=True)
    class Own(Schedule):
        name, summary, scales_steps = "own", "planted", True

        def step_factor(self, iteration, stage_iteration, max_iter):
            return factor

    with pytest.raises((TypeError, ValueError), match=r"^schedule: step_factor of 'own': expected a finite number in"):
        ls.solve(problem(), ls.Method(GD(), Own()), stop=ls.StoppingRule(max_iter=5))


@pytest.mark.parametrize("ends", [None, "no", "", 0, 1, 0.5, np.zeros(2), [False]], ids=repr)
def test_an_end_of_a_stage_that_is_no_truth_value_is_refused_by_the_name_of_its_schedule(ends):
    """A text ended every stage, whatever it said, and what returned nothing ended none."""

    @dataclass(frozen=True)
    class Own(Schedule):
        name, summary, has_stages = "own", "planted", True

        def is_boundary(self, stage_iteration, max_iter):
            return ends

        def transition(self, stage, rng):
            return stage

    with pytest.raises(TypeError, match=r"^schedule: is_boundary of 'own': expected True or False, got "):
        ls.solve(problem(), ls.Method(GD(), Own()), stop=ls.StoppingRule(max_iter=5))


@pytest.mark.parametrize("factor", [0.0, 1, np.float32(0.5), np.float64(2.0)], ids=repr)
def test_factors_are_numbers_of_any_kind(factor):
    @dataclass(frozen=True)
    class Own(Schedule):
        name, summary, scales_steps = "own", "planted", True

        def step_factor(self, iteration, stage_iteration, max_iter):
            return factor

    assert ls.solve(problem(), ls.Method(GD(), Own()), stop=ls.StoppingRule(max_iter=5)).nit == 5
