"""Stages, and what the accounting is told of a method."""

import math

import numpy as np
from stopped_runs import OBJECTIVES

import lorasolve as ls
from lorasolve._support.progress import Progress
from lorasolve.monitor import STALL_WINDOW, Monitor, Stop


def accounted(stop, points, staged=False, **options):
    """Return the answers to points that are accepted, each a value and a gradient length, and what ended the run."""
    problem, theta = ls.Problem(OBJECTIVES["denoising"], 2, 0.1), np.ones(22)
    monitor = Monitor(stop, None, Progress("none", False), **options)
    answers = []
    try:
        for value, grad_norm in points:
            monitor.call()
            answers.append(monitor.accept(problem, theta, value, grad_norm, 0.1, staged=staged))
    except Stop as stopped:
        return answers, stopped.status
    return answers, None


def test_a_part_of_the_loss_whose_gradient_vanishes_or_whose_value_stays_ends_nothing():
    """Neither says anything of ``L``: only the limits are left."""
    limit = 2 * STALL_WINDOW
    for grad_norm, nit, status in ((0.0, 0, ls.Status.CONVERGED), (1.0, STALL_WINDOW + 1, ls.Status.STALLED)):
        stop, points = ls.StoppingRule(max_iter=limit), [(1.0, grad_norm)] * (limit + 1)
        assert accounted(stop, points, stochastic=True) == ([None] * limit, ls.Status.ITERATION_LIMIT)
        # Of a method that sees all of L both say something.
        assert accounted(stop, points) == ([None] * nit, status)


def test_a_method_whose_values_may_stay_does_not_stall():
    limit = 2 * STALL_WINDOW
    found = accounted(ls.StoppingRule(max_iter=limit), [(1.0, 1.0)] * (limit + 1), may_stall=False)
    assert found == ([None] * limit, ls.Status.ITERATION_LIMIT)


def test_between_stages_a_point_that_ends_its_own_does_not_end_the_run_and_a_target_or_the_limit_does():
    converged, stalled = ls.Status.CONVERGED, ls.Status.STALLED
    falling = [(1.0, 1.0), (0.9, 0.0), (0.8, 0.0), (0.7, 0.0)]
    found = accounted(ls.StoppingRule(max_iter=3), falling, staged=True)
    assert found == ([None, converged, converged], ls.Status.ITERATION_LIMIT)
    found = accounted(ls.StoppingRule(max_iter=3, target=0.85), falling, staged=True)
    assert found == ([None, converged], ls.Status.TARGET_REACHED)
    answers, ended = accounted(ls.StoppingRule(), [(1.0, 1.0)] * (STALL_WINDOW + 2), staged=True)
    assert ended is None and answers == [None] * (STALL_WINDOW + 1) + [stalled]


def test_iterations_that_were_not_attended_count_like_others():
    """What is best, since when, and what was last; a value that is met again is no new best one."""
    _, monitor = staged_at(np.ones(22), [3.0])
    monitor.nfev = 1
    for values, history in (([4.0, 2.0, 2.5], (3, 2.0, 2)), ([2.0, 2.0], (5, 2.0, 2)), ([1.0, 1.5], (7, 1.0, 6))):
        norms = np.arange(1.0, len(values) + 1.0)
        monitor.absorb(np.array(values), norms, 0.2, 0.0)
        assert monitor.limits().history == history and monitor.nfev == monitor.nit + 1
    monitor.finish()
    assert monitor.trace.iteration == list(range(8))
    assert monitor.trace.value == [3.0, 4.0, 2.0, 2.5, 2.0, 2.0, 1.0, 1.5]
    assert monitor.trace.grad_norm[-1] == 2.0 and monitor.trace.step[-1] == 0.2
    # Of a long run not every point is kept; where a limit ends it in the middle the last one is all the same.
    monitor.absorb(np.arange(5000.0), np.ones(5000), 0.2, 0.0)
    monitor.absorb(np.array([5.0, 6.0, 7.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0]), 0.2, 0.0)
    assert monitor.trace.iteration[-1] < monitor.nit == 5011
    monitor.finish()
    assert (monitor.trace.iteration[-1], monitor.trace.value[-1], monitor.trace.grad_norm[-1]) == (5011, 8.0, 4.0)


def staged_at(theta, values, **rules):
    """Return the accounting of a run with stages after some points that are not stationary."""
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    monitor = Monitor(ls.StoppingRule(**rules), None, Progress("none", False))
    for value in values:
        assert monitor.accept(problem, theta, value, 1.0, 0.1, staged=True) is None
    return problem, monitor


def test_a_stage_stalls_by_its_own_values_and_iterations():
    """It starts above where the one before it ended, as after a merge with decay."""
    theta = np.ones(22)
    problem, monitor = staged_at(theta, [1.0] * (STALL_WINDOW - 100))
    assert monitor.new_stage(theta, 2.0, 1.0) is None
    answers = [monitor.accept(problem, theta, 2.0, 1.0, 0.1, staged=True) for _ in range(STALL_WINDOW + 1)]
    assert answers == [None] * STALL_WINDOW + [ls.Status.STALLED]


def test_a_stage_that_starts_stationary_ends_the_run_unless_its_start_made_the_loss_fall():
    """By more than such a gradient may still lower it by, ``tol g ||theta||^2``, and than rounding."""
    theta, tol = np.ones(22), 1e-3
    within = tol * ls.Problem(OBJECTIVES["denoising"], 2, 0.1).units.slope * 22.0
    small = 0.5 * within / math.sqrt(22.0)

    def starts(*values, grad_norm=small, **rules):
        """Return what stages that start at these values one after the other, without an iterate, come to."""
        _, monitor = staged_at(theta, [1.0], **rules)
        try:
            return [monitor.new_stage(theta, value, grad_norm) for value in values]
        except Stop as stopped:
            return stopped.status.label

    ended, goes_on = "converged", [ls.Status.CONVERGED]
    assert [starts(value, grad_tol=tol) for value in (2.0, 1.0, 1.0 - 0.9 * within)] == [ended] * 3
    assert starts(1.0 - 1.1 * within, grad_tol=tol) == goes_on
    # The second has to lie below the first, and reaching the target is left to iterates.
    assert starts(0.5, 0.4, grad_tol=tol) == 2 * goes_on and starts(0.5, 0.5, grad_tol=tol) == ended
    assert starts(0.5, grad_tol=tol, target=0.6) == goes_on
    # However small the tolerance, rounding is no fall.
    assert starts(1.0 - 1e-14, grad_norm=0.0, grad_tol=1e-300) == ended
    assert starts(0.5, grad_norm=2.0, grad_tol=tol) == [None]
