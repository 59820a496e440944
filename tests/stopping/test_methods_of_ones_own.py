"""Every run ends: methods that accept nothing, that lie, or that give back what is no point."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose
from stopped_runs import OBJECTIVES, NaNAfter, Wrong

import lorasolve as ls
from lorasolve.loop import REJECTED_LIMIT
from lorasolve.optimizers import GD
from lorasolve.optimizers.base import DrivenOptimizer, Optimizer


@dataclass(frozen=True)
class Rejects(Optimizer):
    """A search that accepts its start and nothing else, without ever giving up."""

    name = "rejects"

    def update(self, problem, state, value, grad):
        state.accepted = np.array_equal(state.trial, state.theta)
        state.trial = state.theta + 1.0


@pytest.mark.parametrize(("finite", "status"), [(True, ls.Status.STALLED), (False, ls.Status.DIVERGED)])
def test_a_search_that_accepts_nothing_more_is_ended_and_it_is_said_what_it_met(finite, status):
    problem = ls.Problem(NaNAfter(10**6 if finite else 2), 2, 0.1)
    result = ls.solve(problem, Rejects(), "gaussian", stop=ls.StoppingRule(max_iter=1000))
    assert (result.status, result.nit) == (status, 0) and result.nfev == 1 + REJECTED_LIMIT + 1


@dataclass(frozen=True)
class Ends(Rejects):
    """It accepts its start, and says that there is nothing beyond."""

    name = "ends"

    def update(self, problem, state, value, grad):
        state.ended = ls.Status.STALLED


def test_a_method_that_has_no_further_trial_ends_at_the_point_that_it_accepts():
    result = ls.solve(ls.Problem(Wrong(lambda R: R), 2, 0.1), Ends(), "gaussian", stop=ls.StoppingRule(max_iter=9))
    assert (result.status, result.nit, result.nfev) == (ls.Status.STALLED, 0, 1)


@dataclass(frozen=True)
class Averages(Optimizer):
    """It evaluates the points of gradient descent, and accepts their average."""

    name = "averages"

    def update(self, problem, state, value, grad):
        state.theta = 0.99 * state.theta + 0.01 * state.trial
        state.trial = state.trial - 0.05 * grad


def test_an_accepted_point_that_was_not_evaluated_is_judged_itself():
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    start = ls.solve(problem, "gd", "gaussian", stop=ls.StoppingRule(max_iter=1)).trace.value[0]
    best = ls.solve(problem, "lbfgs", "gaussian").fun
    target = 0.5 * (start + best)
    reached = ls.solve(problem, Averages(), "gaussian", stop=ls.StoppingRule(target=target))
    assert reached.status is ls.Status.TARGET_REACHED and reached.fun <= target
    found = ls.solve(problem, Averages(), "gaussian", stop=ls.StoppingRule(grad_tol=1e-6))
    theta_size = float(np.linalg.norm(found.theta))
    assert found.status is ls.Status.CONVERGED and found.grad_norm <= 1.01e-6 * problem.units.slope * theta_size
    # Value and gradient norm of the last point, as the trace has them.
    assert_allclose([found.trace.value[-1], found.trace.grad_norm[-1]], [found.fun, found.grad_norm], rtol=1e-9)


@dataclass(frozen=True)
class HalfTheGradient(Optimizer):
    """It answers with the gradient in ``A`` alone, and does not say that this is a part of ``L``."""

    name = "half_the_gradient"

    def evaluate(self, problem, state, grad):
        value = problem.value_and_grad(state.trial, grad)
        problem.split(grad)[1][:] = 0.0
        return value

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - 0.1 * grad


def test_a_gradient_that_a_method_makes_vanish_is_no_convergence():
    """The least squares problem in ``A`` alone is solved; the gradient in ``B`` is as large as it was."""
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), HalfTheGradient(), "gaussian")
    assert result.status is ls.Status.INCONSISTENT and "check_optimizer" in result.message
    assert result.grad_norm > 0.1


@dataclass(frozen=True)
class SaysThatItHasConverged(Optimizer):
    name = "says_so"
    word: object = None

    def update(self, problem, state, value, grad):
        state.ended = self.word


@pytest.mark.parametrize("word", [ls.Status.CONVERGED, ls.Status.TARGET_REACHED, "converged", True])
def test_whether_a_run_has_converged_is_not_for_the_method_to_say(word):
    with pytest.raises(ValueError, match=r"says_so has set state\.ended to .*expected Status\.STALLED"):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), SaysThatItHasConverged(word), "gaussian")


@dataclass(frozen=True)
class OneFactorOnly(Optimizer):
    """It takes the first factor for all parameters."""

    name = "one_factor"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = (problem.split(state.theta)[0] - problem.split(grad)[0]).ravel()


def test_a_trial_of_another_size_is_named():
    with pytest.raises(
        ValueError, match=r"method: one_factor has set state\.trial .*12.*expected a vector of 22 param"
    ):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), OneFactorOnly(), "gaussian")


@dataclass(frozen=True)
class Casts(Optimizer):
    """It sets trial or point to numbers of another kind or size."""

    attribute: str = "trial"
    kind: type = int

    name = "casts"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - 0.1 * grad
        kept = getattr(state, self.attribute)
        setattr(state, self.attribute, kept[:3] if self.kind is float else kept.astype(self.kind))


@pytest.mark.parametrize("attribute", ["trial", "theta"])
@pytest.mark.parametrize("kind", [int, complex, float])
def test_parameters_of_another_kind_are_named(attribute, kind):
    """Cut to integers they ended in NumPy's words about casting, or were taken for a point."""
    with pytest.raises(ValueError, match=rf"method: casts has set state\.{attribute} to .*expected a vector of 22 "):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), Casts(attribute, kind), "gaussian")


@dataclass(frozen=True)
class TakesItsOwnIterations(GD):
    """Gradient descent whose ``fast_forward`` answers what ``answer`` makes of the loop's limits."""

    answer: Callable[[object], object] = lambda limits: None

    name = "own_iterations"

    def fast_forward(self, problem, state, limits):
        return self.answer(limits)


def few(limits, kind=float):
    return np.ones(min(limits.steps, 2), kind)


@pytest.mark.parametrize(
    "answer",
    [
        few,
        lambda limits: (few(limits), few(limits)),
        lambda limits: [few(limits), few(limits), True],
        lambda limits: (few(limits), few(limits)[:1], True),
        lambda limits: (few(limits, int), few(limits), True),
        lambda limits: (1.0, 1.0, True),
        lambda limits: (few(limits), few(limits), None),
    ],
)
def test_iterations_of_a_method_that_are_none_are_named(answer):
    """They ended in Python's words about unpacking, in the trace, or never."""
    with pytest.raises(TypeError, match=r"method: what own_iterations\.fast_forward returns: expected None or a tuple"):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), TakesItsOwnIterations(answer=answer), "gaussian")


@pytest.mark.parametrize("step", ["0.1", -1.0, True, math.nan, 0.0])
def test_a_step_for_many_runs_that_is_none_is_named(step):
    """A text was taken for its number, and with -1 all runs diverged, where those by ``solve`` did not."""
    method = type("Own", (GD,), {"name": "own_step", "batched_step": lambda self, problem: step})()
    problem = ls.Problem(OBJECTIVES["denoising"], 2, 0.1)
    with pytest.raises(
        (TypeError, ValueError), match=r"^method: what own_step\.batched_step returns: expected a finite"
    ):
        ls.solve_batch(problem, method, "gaussian", seed=[0, 1])
    study = ls.Study(problem, {"seed": [0, 1]}, method, init="gaussian")
    with pytest.raises((TypeError, ValueError), match=r"what own_step\.batched_step returns: expected a finite"):
        study.repeat(seed=0)


@pytest.mark.parametrize("word", ["no", None, np.array([1, 2])])
def test_whether_a_method_runs_compiled_is_true_or_false(word):
    method = type("Own", (GD,), {"name": "own", "runs_compiled": lambda self, problem: word})()
    with pytest.raises(TypeError, match=r"^method: what own\.runs_compiled returns: expected True or False"):
        ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), method, "gaussian")


@pytest.mark.parametrize("given", [None, "x"])
def test_what_a_loop_of_its_own_asks_for_at_no_point_is_named(given):
    descend = {"accept": lambda self, f, z, product, accept: accept(given), "f": lambda self, f, z, *rest: f(given)}
    for name, function in descend.items():
        method = type("Own", (DrivenOptimizer,), {"name": name, "descend": function})()
        with pytest.raises(TypeError, match=r"^z: expected a vector of 22 numbers, got (None|'x')"):
            ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), method, "gaussian")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda limits: (np.ones(limits.steps + 1), np.ones(limits.steps + 1), True), "at most limits.steps"),
        (lambda limits: (np.empty(0), np.empty(0), False), "to_decide = True where it took no iteration"),
    ],
)
def test_more_iterations_than_are_left_and_a_call_without_end_are_named(answer, words):
    """A run was longer than ``max_iter``, or never ended."""
    method = TakesItsOwnIterations(answer=answer)
    with pytest.raises(ValueError, match=rf"own_iterations\.fast_forward returns: expected {words}"):
        ls.solve(
            ls.Problem(OBJECTIVES["denoising"], 2, 0.1),
            method,
            "gaussian",
            stop=ls.StoppingRule(max_iter=50, time_limit=20),
        )


@pytest.mark.parametrize("name", ["lbfgs", "trust_ncg"])
def test_a_loop_of_its_own_that_gives_up_has_not_converged(name):
    """No gradient is below a tolerance of 1e-300, and at the limit of rounding nothing more is gained."""
    stop = ls.StoppingRule(grad_tol=1e-300)
    result = ls.solve(ls.Problem(OBJECTIVES["denoising"], 2, 0.1), name, "gaussian", stop=stop)
    assert result.status is ls.Status.STALLED and not result.success
    assert 0.0 < result.grad_norm < 1e-7
