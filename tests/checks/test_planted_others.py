"""Planted errors in schedules, inits and convex routes, each caught by the check that is about it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.checks import check_convex, check_init, check_optimizer, check_schedule
from lorasolve.convex import Solution
from lorasolve.convex.prox import Prox
from lorasolve.inits import Gaussian, LoRAStart, PiSSA
from lorasolve.inits.base import Start
from lorasolve.multi import MultiProblem, Separable
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD
from lorasolve.schedules import Cosine, Periodic, WarmUp


def failures(report):
    return [check.name for check in report.failures]


@dataclass(frozen=True)
class NegativeFactor(Cosine):
    def step_factor(self, iteration, stage_iteration, max_iter):
        return super().step_factor(iteration, stage_iteration, max_iter) - 0.1


@dataclass(frozen=True)
class UnstatedScaling(WarmUp):
    scales_steps = False


@dataclass(frozen=True)
class ScalesNothing(Periodic):
    scales_steps = True


@dataclass(frozen=True)
class LosesTheUpdate(Periodic):
    """Restarts without merging."""

    def transition(self, stage, rng):
        return replace(super().transition(stage, rng), problem=stage.problem, merged=stage.merged)


@dataclass(frozen=True)
class LessDecay(Periodic):
    """Halves the decay from stage to stage, which is a path and no run of one problem."""

    def transition(self, stage, rng):
        return replace(stage, problem=stage.problem.replace(lam=0.5 * stage.problem.lam + 0.1))


@dataclass(frozen=True)
class NoStage(Periodic):
    def transition(self, stage, rng):
        super().transition(stage, rng)


@dataclass(frozen=True)
class WrongFactorOfMomentum(Periodic):
    """Scales both factors by ``1 - mu`` in place of its root."""

    unload_fraction: float = 0.4

    def transition(self, stage, rng):
        following = super().transition(stage, rng)
        return replace(following, theta=following.theta * np.sqrt(1.0 - self.unload_fraction))


@dataclass(frozen=True)
class SaysOtherThanItMerges(Periodic):
    def transition(self, stage, rng):
        following = super().transition(stage, rng)
        return replace(following, merged=2.0 * following.merged)


@dataclass(frozen=True)
class GlobalGenerator(Periodic):
    def transition(self, stage, rng):
        return super().transition(stage, np.random.default_rng(np.random.randint(2**31)))  # noqa: NPY002


@dataclass(frozen=True)
class DrawsInPassing(Gaussian):
    """Its own answer does not depend on the global generator, the numbers of others do."""

    def start(self, problem, rng):
        np.random.random()  # noqa: NPY002
        return super().start(problem, rng)


@dataclass(frozen=True)
class MovesTheGivenStage(Periodic):
    def transition(self, stage, rng):
        following = super().transition(stage, rng)
        stage.theta[:] = 0.0
        return following


@dataclass(frozen=True)
class NeverEnds(Periodic):
    def is_boundary(self, stage_iteration, max_iter):
        return False


@dataclass(frozen=True)
class BelowZeroUnseen(Cosine):
    def unseen_gradient(self, stage):
        return -1.0


@dataclass(frozen=True)
class UnseenIsNone(Periodic):
    def unseen_gradient(self, stage):
        return float("nan") if stage.merged is None else 0.0


@dataclass(frozen=True)
class NothingLeft(Periodic):
    def unfinished(self, stage):
        return "" if stage.merged is None else None


@dataclass(frozen=True)
class ZeroStart(Gaussian):
    def start(self, problem, rng):
        start = super().start(problem, rng)
        return Start(0.0 * start.A, 0.0 * start.B)


@dataclass(frozen=True)
class Swapped(Gaussian):
    def start(self, problem, rng):
        start = super().start(problem, rng)
        return Start(start.B, start.A)


@dataclass(frozen=True)
class Unseeded(Gaussian):
    def start(self, problem, rng):
        return super().start(problem, np.random.default_rng())


@dataclass(frozen=True)
class UnseededMerge(PiSSA):
    """Factors of the given generator, and a merged weight of its own."""

    def start(self, problem, rng):
        start = super().start(problem, rng)
        return Start(start.A, start.B, start.merged + np.random.default_rng().standard_normal(problem.shape))


@dataclass(frozen=True)
class SmallNotZero(LoRAStart):
    def start(self, problem, rng):
        start = super().start(problem, rng)
        return Start(start.A, start.B + 1e-8)


@dataclass(frozen=True)
class ForgetsTheScale(PiSSA):
    def start(self, problem, rng):
        start = super().start(problem, rng)
        return Start(problem.scale * start.A, start.B, start.merged)


@dataclass(frozen=True)
class UnstatedMerge(PiSSA):
    merges = False


@dataclass(frozen=True)
class NoRefusal(PiSSA):
    def refusal(self, problem):
        return None


class Halfway(Prox):
    """Stops at half the optimum, and says nothing."""

    def run(self, problem, tol, report):
        found = super().run(problem, tol, report)
        return Solution(0.5 * found.A, found.B, found.nit)


class TakesAnything(Prox):
    def refusal(self, problem):
        return None


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        (NegativeFactor(), "step_factor is finite and >= 0"),
        (UnstatedScaling(), "scales_steps"),
        (ScalesNothing(), "scales_steps"),
        (LosesTheUpdate(), "a transition keeps W0 + merged + update"),
        (LosesTheUpdate(), "merges"),
        (LessDecay(), "a transition keeps lam"),
        (WrongFactorOfMomentum(), "a transition keeps W0 + merged + update"),
        (SaysOtherThanItMerges(), "the problem has merged what the stage says"),
        (GlobalGenerator(), "transitions depend on the given generator alone"),
        (MovesTheGivenStage(), "the given stage is left alone"),
        (NeverEnds(), "stages end"),
        (BelowZeroUnseen(), "unseen_gradient is a number >= 0, or infinite"),
        (UnseenIsNone(), "unseen_gradient is a number >= 0, or infinite"),
        (NothingLeft(), "unfinished is a text"),
    ],
    ids=str,
)
def test_schedules(planted, check):
    assert check in failures(check_schedule(planted))


@dataclass(frozen=True)
class OtherParameters(Periodic):
    """Its transitions end in parameters that are none: once SVD did not converge, once NumPy could not reshape."""

    def transition(self, stage, rng):
        other = {"short": stage.theta[:3], "nan": np.full_like(stage.theta, np.nan), "whole": stage.theta.astype(int)}
        return replace(stage, theta=other[self.own])

    own: str = "short"


@pytest.mark.parametrize("own", ["short", "nan", "whole"])
@pytest.mark.parametrize("method", ["gd", "adam", "nesterov"])
def test_parameters_that_a_transition_cannot_end_in_are_named(own, method):
    problem = ls.Problem(ls.objectives.Denoising(np.eye(4)), 2)
    words = r"^(schedule: the transition of 'periodic' .*|stage\.theta: expected) a vector of 16 "
    with pytest.raises(ValueError, match=words):
        ls.solve(problem, ls.Method(method, OtherParameters(own=own)), stop=ls.StoppingRule(max_iter=1000))


@pytest.mark.parametrize(
    ("planted", "error", "words"),
    [
        (LessDecay(), ValueError, r"transition of 'periodic' has changed lam from 0\.4 to 0\.3"),
        (NoStage(), TypeError, "transition of 'periodic': expected a Stage, got None"),
    ],
    ids=str,
)
def test_a_stage_of_another_problem_ends_no_run_as_converged(planted, error, words):
    problem = ls.Problem(ls.objectives.Denoising(np.eye(4)), 2, 0.4)
    with pytest.raises(error, match=words):
        ls.solve(problem, ls.Method("gd", planted), stop=ls.StoppingRule(max_iter=1000))


class LosesTheUpdateOfDenoising(LosesTheUpdate):
    def transition(self, stage, rng):
        wrong = isinstance(stage.problem.objective, Denoising)
        return super().transition(stage, rng) if wrong else Periodic.transition(self, stage, rng)


class ZeroStartOfDenoising(ZeroStart):
    def start(self, problem, rng):
        wrong = isinstance(problem.objective, Denoising)
        return super().start(problem, rng) if wrong else Gaussian.start(self, problem, rng)


@pytest.mark.parametrize(
    ("check", "planted", "clean", "found"),
    [
        (check_schedule, LosesTheUpdateOfDenoising(), Periodic(), "a transition keeps W0 + merged + update"),
        (check_init, ZeroStartOfDenoising(), Gaussian(), "factors"),
    ],
    ids=["schedule", "init"],
)
def test_a_given_problem_is_used(check, planted, clean, found):
    problem = ls.Problem(Denoising(np.random.default_rng(0).standard_normal((5, 4))), 2)
    assert not failures(check(clean, problem)) and not failures(check(planted))
    assert found in failures(check(planted, problem))


def test_a_single_draw_from_the_global_generator_is_seen():
    np.random.seed(0)  # noqa: NPY002
    np.random.random()  # noqa: NPY002  (the next words are there: only the place among them moves)
    assert "the given generator decides" in failures(check_init(DrawsInPassing()))


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        (ZeroStart(), "factors"),
        (Swapped(), "factors"),
        (Unseeded(), "the given generator decides"),
        (UnseededMerge(), "the given generator decides"),
        (SmallNotZero(), "W = W0 at the start"),
        (UnstatedMerge(), "merges"),
        (ForgetsTheScale(), "W = W0 at the start"),
        (NoRefusal(), "refusal agrees with what starts"),
    ],
    ids=str,
)
def test_inits(planted, check):
    assert check in failures(check_init(planted))


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        (Halfway(), "denoising, small lam"),
        (Halfway(), "linear fine-tuning is certified"),
        (TakesAnything(), "an unknown loss is refused"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_convex_routes(planted, check):
    assert check in failures(check_convex(planted))


@pytest.mark.parametrize(
    ("check", "component"),
    [(check_init, Gaussian()), (check_optimizer, GD()), (check_schedule, Cosine())],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_problem_of_several_matrices_is_refused(check, component):
    problem = MultiProblem(Separable([Denoising(np.eye(3, 2)), Denoising(np.eye(4))]), ranks=1, lam=0.1)
    with pytest.raises(ValueError, match=f"{check.__name__}: works on one matrix, and this problem has 2"):
        check(component, problem)


@pytest.mark.parametrize(
    ("check", "component"),
    [(check_init, Gaussian()), (check_schedule, Periodic()), (check_convex, Prox())],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_generator_is_taken_for_a_seed(check, component):
    assert str(check(component, rng=5)) == str(check(component, rng=np.random.default_rng(5)))
    with pytest.raises(TypeError, match="rng: expected a seed"):
        check(component, rng=-1)
