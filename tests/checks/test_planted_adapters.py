"""``check_adapter`` catches each planted error, by the check that is about it, and accepts the clean twin."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from lorasolve.adapters import DoRA, LoRA, SoftmaxGates, SoRA
from lorasolve.adapters.base import split
from lorasolve.adapters.sora import soft_threshold
from lorasolve.checks import check_adapter


def failures(adapter):
    return [check.name for check in check_adapter(adapter).failures]


@dataclass(frozen=True)
class HalvedBlock(LoRA):
    """The error that a sum of directions hides: one block of the gradient halved."""

    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        split(grad, objective.shape, rank)[0][:] *= 0.5
        return value


@dataclass(frozen=True)
class WrongSignInB(LoRA):
    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        split(grad, objective.shape, rank)[1][:] *= -1.0
        return value


@dataclass(frozen=True)
class OneEntryOff(DoRA):
    """A relative error of one in a thousand, in one magnitude."""

    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        split(grad, objective.shape, rank)[2][1] *= 1.001
        return value


@dataclass(frozen=True)
class GateGradientWithoutScale(SoRA):
    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        split(grad, objective.shape, rank)[2][:] /= self.scale_at(rank)
        return value


@dataclass(frozen=True)
class GatesCoupledWrongly(SoftmaxGates):
    """Without the mean over the gates: right only where all gates agree."""

    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        A, B, z = split(theta, objective.shape, rank)
        G = objective.value_and_grad(self.update(objective, theta, rank))[1]
        w = self.weights(z)
        split(grad, objective.shape, rank)[2][:] = (w / self.tau) * np.einsum("mk,mn,nk->k", A, G, B)
        return value


@dataclass(frozen=True)
class LostScalingInUpdate(LoRA):
    def update(self, objective, theta, rank):
        return super().update(objective, theta, rank) / self.scale_at(rank)


@dataclass(frozen=True)
class LostScalingEverywhere(LoRA):
    """Consistent in itself, but ``scale_at`` and with it the convex counterpart speak of another update."""

    def value_and_grad(self, objective, theta, rank, grad):
        return LoRA().value_and_grad(objective, theta, rank, grad)

    def update(self, objective, theta, rank):
        return LoRA().update(objective, theta, rank)


@dataclass(frozen=True)
class StaleCache(LoRA):
    """The update of the first call for a shape, whatever theta."""

    seen: ClassVar[dict] = {}

    def update(self, objective, theta, rank):
        key = (theta.size, rank)
        if key not in self.seen:
            self.seen[key] = super().update(objective, theta, rank)
        return self.seen[key]


@dataclass(frozen=True)
class CacheByIdentity(LoRA):
    """Remembers answers by the array's identity; optimizers move theta in place."""

    seen: ClassVar[dict] = {}

    def value_and_grad(self, objective, theta, rank, grad):
        known = self.seen.get(id(theta))
        if known is None or known[0] is not theta or known[1] is not objective:
            value = super().value_and_grad(objective, theta, rank, grad)
            self.seen[id(theta)] = (theta, objective, value, grad.copy())
            return value
        grad[:] = known[3]
        return known[2]


@dataclass(frozen=True)
class CacheOfTheFrozenWeight(DoRA):
    """Keeps the first objective it sees; merging changes the frozen weight."""

    first: ClassVar[dict] = {}

    def value_and_grad(self, objective, theta, rank, grad):
        kept = self.first.setdefault((objective.shape, objective.dtype), objective)
        return super().value_and_grad(kept, theta, rank, grad)


@dataclass(frozen=True)
class WrongProx(SoRA):
    """The threshold does not carry the step, and says that it does."""

    def prox(self, theta, shape, rank, step):
        g = split(theta, shape, rank)[2]
        g[:] = soft_threshold(g, self.gate_penalty)


@dataclass(frozen=True)
class HardThreshold(SoRA):
    def prox(self, theta, shape, rank, step):
        g = split(theta, shape, rank)[2]
        g[np.abs(g) < step * self.gate_penalty] = 0.0


@dataclass(frozen=True)
class PenaltyTwice(SoRA):
    """The nonsmooth penalty in the smooth part as well."""

    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        gates = split(theta, objective.shape, rank)[2]
        split(grad, objective.shape, rank)[2][:] += self.gate_penalty * np.sign(gates)
        return value + self.penalty(theta, objective.shape, rank)


@dataclass(frozen=True)
class DecayTwice(LoRA):
    """Adds a weight decay of its own, which the problem adds too."""

    def value_and_grad(self, objective, theta, rank, grad):
        value = super().value_and_grad(objective, theta, rank, grad)
        grad += 0.3 * theta
        return value + 0.15 * float(theta @ theta)


@dataclass(frozen=True)
class UnstatedPenalty(SoRA):
    proximal = False


@dataclass(frozen=True)
class WrongMask(LoRA):
    """Says that the other factor is frozen."""

    def trainable(self, shape, rank):
        return LoRA(frozen="B" if self.frozen == "A" else "A").trainable(shape, rank)


@dataclass(frozen=True)
class MaskOfTheFactorsOnly(DoRA):
    def trainable(self, shape, rank):
        mask = super().trainable(shape, rank)
        return None if mask is None else mask[: sum(shape) * rank]


@dataclass(frozen=True)
class WrongUpdate(DoRA):
    """The adapted weight in place of its change."""

    def update(self, objective, theta, rank):
        return super().update(objective, theta, rank) + objective.W0


@dataclass(frozen=True)
class WrongStart(DoRA):
    """Magnitudes 1 in place of the norms: the model changes before training."""

    def initial_extra(self, objective, A, B):
        return np.ones(self.n_extra(objective.shape, A.shape[1]))


@dataclass(frozen=True)
class Float64Leak(LoRA):
    def value_and_grad(self, objective, theta, rank, grad):
        wide = np.empty(grad.shape)
        value = super().value_and_grad(objective, theta.astype(np.float64), rank, wide)
        grad[:] = wide
        return value


@dataclass(frozen=True)
class UpdateInFloat64(LoRA):
    def update(self, objective, theta, rank):
        return super().update(objective, theta.astype(np.float64), rank)


@dataclass(frozen=True)
class MovesTheta(SoftmaxGates):
    """Centres the logits in place."""

    def value_and_grad(self, objective, theta, rank, grad):
        split(theta, objective.shape, rank)[2][:] -= 0.1
        return super().value_and_grad(objective, theta, rank, grad)


@dataclass(frozen=True)
class UnwrittenGradient(SoftmaxGates):
    def value_and_grad(self, objective, theta, rank, grad):
        gates = split(grad, objective.shape, rank)[2]
        kept = gates.copy()
        value = super().value_and_grad(objective, theta, rank, grad)
        gates[:] = kept
        return value


@dataclass(frozen=True)
class FalseNuclearWeight(SoftmaxGates):
    """That of plain LoRA: a gate of weight ``r`` does with less decay."""

    def nuclear_weight(self, lam, rank):
        return lam / self.scale_at(rank)


@dataclass(frozen=True)
class FalseNuclearWeightAtRankOne(LoRA):
    """Of the ranks that are tried the first alone has twice the weight."""

    def nuclear_weight(self, lam, rank):
        return (2.0 if rank == 1 else 1.0) * super().nuclear_weight(lam, rank)


@dataclass(frozen=True)
class StartThatIsNoNumber(SoftmaxGates):
    def initial_extra(self, objective, A, B):
        return np.full(A.shape[1], np.nan)


@dataclass(frozen=True)
class ShortStart(SoftmaxGates):
    def initial_extra(self, objective, A, B):
        return np.zeros(A.shape[1] - 1)


@dataclass(frozen=True)
class NoRefusal(DoRA):
    def refusal(self, objective):
        return None


@dataclass(frozen=True)
class MemoryReused(LoRA):
    buffers: ClassVar[dict] = {}

    def update(self, objective, theta, rank):
        X = super().update(objective, theta, rank)
        buffer = self.buffers.setdefault((X.shape, X.dtype), np.empty_like(X))
        buffer[:] = X
        return buffer


PLANTED = [
    (HalvedBlock(), LoRA(), "derivative in A"),
    (WrongSignInB(), LoRA(), "derivative in B"),
    (WrongSignInB(), LoRA(), "derivative in B at B = 0"),
    (OneEntryOff(), DoRA(), "derivative in extra"),
    (GateGradientWithoutScale(alpha=3.0), SoRA(alpha=3.0), "derivative in extra"),
    (GatesCoupledWrongly(), SoftmaxGates(), "derivative in extra"),
    (LostScalingInUpdate(alpha=3.0), LoRA(alpha=3.0), "value is f(update)"),
    (LostScalingEverywhere(alpha=3.0), LoRA(alpha=3.0), "X = s A B^T"),
    (StaleCache(), LoRA(), "answers depend on the arguments alone"),
    (CacheByIdentity(), LoRA(), "answers depend on the arguments alone"),
    (CacheOfTheFrozenWeight(), DoRA(), "answers depend on the arguments alone"),
    (WrongProx(), SoRA(), "prox is the proximal map"),
    (HardThreshold(), SoRA(), "prox is the proximal map"),
    (HardThreshold(), SoRA(), "prox is firmly nonexpansive"),
    (PenaltyTwice(), SoRA(), "value is f(update)"),
    (PenaltyTwice(gate_penalty=0.1), SoRA(gate_penalty=0.1), "derivative in extra"),
    (DecayTwice(), LoRA(), "decay"),
    (UnstatedPenalty(), SoRA(), "no penalty of its own"),
    (WrongMask(frozen="A"), LoRA(frozen="A"), "trainable"),
    (MaskOfTheFactorsOnly(freeze_magnitude=True), DoRA(freeze_magnitude=True), "trainable"),
    (WrongUpdate(), DoRA(), "value is f(update)"),
    (WrongUpdate(), DoRA(), "frozen model at B = 0"),
    (WrongStart(), DoRA(), "frozen model at B = 0"),
    (Float64Leak(), LoRA(), "float32 stays float32"),
    (UpdateInFloat64(), LoRA(), "float32 stays float32"),
    (MovesTheta(), SoftmaxGates(), "answers depend on the arguments alone"),
    (UnwrittenGradient(), SoftmaxGates(), "gradient is written whole"),
    (FalseNuclearWeight(), SoftmaxGates(), "nuclear_weight"),
    (FalseNuclearWeightAtRankOne(), LoRA(), "nuclear_weight"),
    (StartThatIsNoNumber(), SoftmaxGates(), "initial_extra"),
    (ShortStart(), SoftmaxGates(), "initial_extra"),
    (NoRefusal(), DoRA(), "refusal"),
    (MemoryReused(), LoRA(), "answers depend on the arguments alone"),
]


@pytest.mark.parametrize(
    ("planted", "check"),
    [(planted, check) for planted, _, check in PLANTED],
    ids=lambda x: getattr(x, "name", x) and str(x),
)
def test_a_planted_error_is_caught_by_its_check(planted, check):
    assert check in failures(planted)


@pytest.mark.parametrize("clean", {repr(clean): clean for _, clean, _ in PLANTED}.values(), ids=repr)
def test_the_clean_twin_passes(clean):
    assert failures(clean) == []


@pytest.mark.parametrize(
    ("planted", "checks"),
    [
        (HalvedBlock(), ["derivative in A"]),
        (OneEntryOff(), ["derivative in extra", "derivative in extra at B = 0"]),
        (FalseNuclearWeight(), ["nuclear_weight"]),
        (HardThreshold(), ["prox is the proximal map", "prox is firmly nonexpansive"]),
        (UpdateInFloat64(), ["float32 stays float32"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_error_does_not_spoil_the_other_checks(planted, checks):
    assert failures(planted) == checks


def test_the_wrong_entry_is_named_with_both_numbers():
    (check,) = [c for c in check_adapter(OneEntryOff()).failures if c.name == "derivative in extra"]
    words = check.detail.replace(",", "").split()
    assert words[:3] == ["entry", "1", "at"]
    assert float(words[5]) == pytest.approx(1.001 * float(words[6]), rel=1e-4)
