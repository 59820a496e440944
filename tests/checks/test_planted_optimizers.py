"""``check_optimizer`` catches each planted error, by the check that is about it, and accepts the clean twin."""

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.checks import check_optimizer
from lorasolve.optimizers import SGD, Adam, AdamW, HeavyBall, ProximalGD, WeightNoise
from lorasolve.optimizers.base import Optimizer


def failures(optimizer):
    return [check.name for check in check_optimizer(optimizer).failures]


@dataclass(frozen=True)
class Plain(Optimizer):
    """``theta <- theta - step_size * grad``, the clean twin of most of the errors below."""

    step_size: float = 0.01
    name = "plain"
    takes_step_factor = True

    def default_step(self, problem, theta):
        return self.step_size

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - self.step_size * state.step_factor * grad


@dataclass(frozen=True)
class IgnoresTheStepFactor(Plain):
    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - self.step_size * grad


@dataclass(frozen=True)
class StepFactorOnOneFactor(Plain):
    def update(self, problem, state, value, grad):
        super().update(problem, state, value, grad)
        moved = problem.split(state.trial)[1]
        moved[:] = problem.split(state.theta)[1] - self.step_size * problem.split(grad)[1]


@dataclass(frozen=True)
class StepFactorSquared(Plain):
    def update(self, problem, state, value, grad):
        state.step_factor = state.step_factor**2
        super().update(problem, state, value, grad)


@dataclass(frozen=True)
class UnstatedStepFactor(Plain):
    takes_step_factor = False


@dataclass(frozen=True)
class Unseeded(Plain):
    def update(self, problem, state, value, grad):
        super().update(problem, state, value, grad)
        state.trial += 1e-9 * np.random.default_rng().standard_normal(grad.size)


@dataclass(frozen=True)
class GlobalGenerator(Plain):
    def update(self, problem, state, value, grad):
        super().update(problem, state, value, grad)
        state.trial *= 1.0 + 1e-9 * random.random()


@dataclass(frozen=True)
class UnstatedNoise(WeightNoise):
    stochastic = False


@dataclass(frozen=True)
class StateOnTheClass(HeavyBall):
    """One velocity for all runs."""

    shared: ClassVar[dict] = {}

    def advance(self, problem, state, grad):
        kept = self.shared.setdefault(grad.size, np.zeros_like(grad))
        kept *= self.momentum
        kept -= state.step * state.step_factor * grad
        state.trial[:] = state.theta + kept


@dataclass(frozen=True)
class KeepsTheGradient(Plain):
    """Remembers the array of the gradient, which the loop overwrites."""

    last: ClassVar[dict] = {}

    def update(self, problem, state, value, grad):
        last = getattr(state, "last", grad)
        state.last = grad
        super().update(problem, state, value, 0.5 * (grad + last))


@dataclass(frozen=True)
class StartsElsewhere(Plain):
    def init(self, problem, theta, rng):
        return super().init(problem, 1.01 * theta, rng)


@dataclass(frozen=True)
class MovesTheGivenStart(Plain):
    def init(self, problem, theta, rng):
        state = super().init(problem, theta, rng)
        theta *= 0.5
        return state


@dataclass(frozen=True)
class WrongSign(Plain):
    def update(self, problem, state, value, grad):
        super().update(problem, state, value, -grad)


@dataclass(frozen=True)
class DecayTwice(Plain):
    """Decays the weights beside ``L``, which has its decay already."""

    def update(self, problem, state, value, grad):
        super().update(problem, state, value, grad + 0.01 * state.trial)


@dataclass(frozen=True)
class DecoupledDecayUnstated(AdamW):
    keeps_stationary_points = True


@dataclass(frozen=True)
class MovesTheFrozenFactor(Plain):
    """Regularises all entries, the frozen ones too."""

    def update(self, problem, state, value, grad):
        super().update(problem, state, value, grad)
        state.trial *= 1.0 - 1e-6


@dataclass(frozen=True)
class Float64Leak(Plain):
    def update(self, problem, state, value, grad):
        super().update(problem, state, value, np.asarray(grad, dtype=np.float64))


@dataclass(frozen=True)
class NeverAccepts(Plain):
    def update(self, problem, state, value, grad):
        state.accepted = False


@dataclass(frozen=True)
class MonotoneUnproved(Adam):
    """Adam with a long step rises now and then."""

    step_size: float = 0.5

    def is_monotone(self, problem):
        return True


@dataclass(frozen=True)
class WrongValue(Plain):
    """Reports the loss without the weight decay."""

    def evaluate(self, problem, state, grad):
        value = super().evaluate(problem, state, grad)
        return value - 0.5 * problem.lam * float(state.trial @ state.trial)


@dataclass(frozen=True)
class RefusesTooLittle(SGD):
    def refusal(self, problem):
        return None


@dataclass(frozen=True)
class RefusesWithoutAReason(Plain):
    def refusal(self, problem):
        return None if problem.adapter.low_rank else ""


@dataclass(frozen=True)
class ForgetsTheProx(ProximalGD):
    """A constant step without the proximal map."""

    step_size: float | None = 1e-3

    def update(self, problem, state, value, grad):
        state.theta, state.trial = state.trial, state.trial - 1e-3 * state.step_factor * grad


@dataclass(frozen=True)
class AlwaysThere(Plain):
    def residual(self, problem, theta):
        return 0.0


@dataclass(frozen=True)
class ThereByItsOwnWord(AlwaysThere):
    own_aim = "nothing"


@dataclass(frozen=True)
class HalfTheWay(Plain):
    def residual(self, problem, theta):
        return 0.5 * super().residual(problem, theta)


@dataclass(frozen=True)
class NoResidual(AdamW):
    def residual(self, problem, theta):
        return None


PLANTED = [
    (IgnoresTheStepFactor(), Plain(), "step factor"),
    (StepFactorOnOneFactor(), Plain(), "half the factor is half the step"),
    (StepFactorSquared(), Plain(), "half the factor is half the step"),
    (UnstatedStepFactor(), Plain(), "step factor"),
    (Unseeded(), Plain(), "the same seed gives the same run"),
    (GlobalGenerator(), Plain(), "no global generator is used"),
    (UnstatedNoise(), WeightNoise(), "the seed plays no part"),
    (StateOnTheClass(step_size=0.01), HeavyBall(step_size=0.01), "two runs do not disturb each other"),
    (KeepsTheGradient(), Plain(), "the gradient is copied if it is kept"),
    (StartsElsewhere(), Plain(), "the first point is the start"),
    (MovesTheGivenStart(), Plain(), "the given start is left alone"),
    (WrongSign(), Plain(), "L falls"),
    (DecayTwice(), Plain(), "stationary points stay"),
    (DecoupledDecayUnstated(), AdamW(), "stationary points stay"),
    (MovesTheFrozenFactor(), Plain(), "a frozen A does not move"),
    (MovesTheFrozenFactor(), Plain(), "a frozen B does not move"),
    (Float64Leak(), Plain(), "float32 stays float32"),
    (NeverAccepts(), Plain(), "ends within the budget"),
    (MonotoneUnproved(), Adam(0.5), "L never rises"),
    (WrongValue(), Plain(), "evaluate answers with L"),
    (RefusesTooLittle(), SGD(), "refusal agrees with what runs"),
    (RefusesWithoutAReason(), Plain(), "refusal agrees with what runs"),
    (ForgetsTheProx(), ProximalGD(1e-3), "proximal step"),
    (AlwaysThere(), Plain(), "residual"),
    (ThereByItsOwnWord(), Plain(), "residual"),
    (HalfTheWay(), Plain(), "residual"),
    (NoResidual(), AdamW(), "residual"),
]


@pytest.mark.parametrize(("planted", "check"), [(planted, check) for planted, _, check in PLANTED], ids=str)
def test_a_planted_error_is_caught_by_its_check(planted, check):
    assert check in failures(planted)


@pytest.mark.parametrize("clean", {repr(clean): clean for _, clean, _ in PLANTED}.values(), ids=repr)
def test_the_clean_twin_passes(clean):
    assert failures(clean) == []


@pytest.mark.parametrize(
    ("planted", "checks"),
    [
        (IgnoresTheStepFactor(), ["step factor", "half the factor is half the step"]),
        (DecayTwice(), ["stationary points stay", "a frozen A does not move", "a frozen B does not move"]),
        (WrongValue(), ["evaluate answers with L"]),
        (MonotoneUnproved(), ["L never rises"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_error_does_not_spoil_the_other_checks(planted, checks):
    assert failures(planted) == checks


class WrongOnSoftmax(Plain):
    def update(self, problem, state, value, grad):
        chosen = IgnoresTheStepFactor if problem.objective.label == "Softmax" else Plain
        chosen.update(self, problem, state, value, grad)


def test_a_given_problem_is_used():
    problem = ls.Problem(ls.objectives.Softmax.example(np.random.default_rng(0)), 2, 0.01, "dora")
    assert check_optimizer(Plain(0.05), problem).ok
    assert check_optimizer(WrongOnSoftmax(0.05)).ok
    assert "step factor" in [check.name for check in check_optimizer(WrongOnSoftmax(0.05), problem).failures]


class Raises(Plain):
    def update(self, problem, state, value, grad):
        raise ZeroDivisionError("no step")


@pytest.mark.parametrize("optimizer", [ls.optimizers.GD(), Raises()], ids=repr)
def test_the_callers_global_generators_are_left_as_they_were(optimizer):
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = np.random.random(3).tolist(), random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    check_optimizer(optimizer)
    assert (np.random.random(3).tolist(), random.random()) == expected  # noqa: NPY002
