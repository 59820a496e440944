"""Losses that contradict their own gradient bound nothing. Skipped without torch."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Net, data, last_with  # noqa: E402

from lorasolve.networks import CrossEntropy, Network, SquareLoss, _wrong_gradients, fine_tune, judge  # noqa: E402

torch.set_num_threads(1)


def test_a_loss_that_contradicts_its_own_gradient_is_inconclusive():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            return 2.0 * z

        @staticmethod
        def backward(ctx, grad):
            return grad

    verdict = judge(
        last_with(Wrong.apply), CrossEntropy(), data(60, 6), 5.0, factors=[(np.zeros((6, 6)), np.zeros((8, 6)))]
    )
    assert verdict.kind == "inconclusive" and "contradicts its own gradient" in verdict.reason


class HalfLost(Net):
    """The same values as of the network, and half of their gradient."""

    def forward(self, x):
        z = super().forward(x)
        return 0.5 * z + 0.5 * z.detach()


def test_a_gradient_of_which_a_part_is_lost_bounds_nothing():
    """Where ``f`` with twice the decay is stationary, half of its gradient balances the decay itself."""
    end = fine_tune(Net(), CrossEntropy(), data(), 2 * LAM, max_calls=600)
    assert end.verdict.kind == "tangent_optimal"
    assert judge(Net(), CrossEntropy(), data(), LAM, factors=end.factors).kind == "not_converged"
    settings = {"factors": end.factors, "tangent_solve": True, "second": True}
    verdict = judge(HalfLost(), CrossEntropy(), data(), LAM, **settings)
    assert verdict.kind == "inconclusive" and "contradicts its own gradient" in verdict.reason
    assert "(a part that is detached, rounded or differentiated by hand?)" in verdict.reason
    assert verdict.relative_gap == math.inf and verdict.level is None
    better = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=100).factors
    refuted = judge(HalfLost(), CrossEntropy(), data(), LAM, factors=end.factors, others=[better])
    assert refuted.kind == "refuted"


def test_a_gradient_at_a_kink_is_told_from_one_that_is_wrong():
    """All inputs of the ReLU are 0: its mean has other slopes ahead and behind, and torch says 0."""
    layer = LoRALinear(6, 4)
    for part in layer.linear.parameters():
        part.data.zero_()
    model = torch.nn.Sequential(layer, torch.nn.ReLU())

    def loss(model, batch):
        return model(batch).mean(1)

    verdict = judge(model, loss, [torch.randn(5, 6)], LAM)
    assert verdict.kind == "inconclusive" and "contradicts its own gradient" in verdict.reason
    found = re.search(r"at the rate (\S+),.*the gradient says 0 \((\S+) ahead and (\S+) behind: a kink", verdict.reason)
    mean, ahead, behind = map(float, found.groups())
    assert ahead > 0.0 > behind and mean == pytest.approx((ahead + behind) / 2.0, rel=0.05, abs=0.05)


class Normalized(torch.nn.Module):
    """``W x / ||W x||``."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layer = LoRALinear(5, 3, 2, 1.0).double()
        torch.nn.init.zeros_(self.layer.linear.bias)

    def forward(self, x):
        return torch.nn.functional.normalize(self.layer(x), dim=1)


def test_a_curvature_for_which_steps_are_long_contradicts_no_gradient():
    """Where ``v = (W + X) x`` nearly vanishes, as before a LayerNorm: it was called a kink, and products wrong.

    With the mean ``y`` of the labels the loss is a constant less ``<y, v>/||v||``.
    """
    model, rng = Normalized(), np.random.default_rng(0)
    W, x, labels = model.layer.linear.weight.detach().numpy(), rng.standard_normal(5), rng.standard_normal((4, 3))
    v, y = 1e-5 * rng.standard_normal(3), labels.mean(0)
    pair = (v - W @ x)[:, None], (x / (x @ x))[:, None]
    batches = [(np.tile(x, (4, 1)), labels)]
    verdict = judge(model, SquareLoss(), batches, LAM, factors=[pair])
    assert "contradicts" not in str(verdict) and math.isfinite(verdict.relative_gap)
    size, inner = np.linalg.norm(v), y @ v
    G = np.outer(v * inner / size**3 - y / size, x)
    np.testing.assert_allclose(verdict.certificate.gradients[0], G, atol=1e-9 * np.linalg.norm(G))
    network = Network(model, SquareLoss(), batches)
    D = rng.standard_normal((3, 5))
    (found,) = network.gradients_and_products([pair], [D])[1]
    assert network.differences is None
    d = D @ x
    along = (y * (v @ d) + d * inner + v * (y @ d)) / size**3 - 3.0 * v * inner * (v @ d) / size**5
    np.testing.assert_allclose(found, np.outer(along, x), atol=1e-9 * np.linalg.norm(along) * np.linalg.norm(x))


class HalfLostOnSome(Net):
    """The same where a batch has ``n`` samples."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, x):
        z = super().forward(x)
        return 0.5 * z + 0.5 * z.detach() if len(x) == self.n else z


@pytest.mark.parametrize(("sizes", "n"), [([4, 5] + [4] * 11 + [3], 5), ([5] * 11 + [1], 1)])
def test_a_gradient_that_is_wrong_on_one_batch_of_many_bounds_nothing(sizes, n):
    """On the second of them, or on the last, which has another size."""
    x, y = (torch.cat(parts) for parts in zip(*data(56)))
    splits = list(zip(x.split(sizes), y.split(sizes)))
    nothing = [(np.zeros((7, 1)), np.zeros((6, 1))), (np.zeros((5, 1)), np.zeros((7, 1)))]
    judged = [judge(model, CrossEntropy(), splits, 5.0, factors=nothing) for model in (Net(), HalfLostOnSome(n))]
    assert [verdict.kind for verdict in judged] == ["tangent_optimal", "inconclusive"]
    assert "contradicts its own gradient" in judged[1].reason and judged[1].certificate.gap == math.inf


class Longer(torch.autograd.Function):
    """The same values, and a gradient that is longer by half a percent."""

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, grad):
        return 1.005 * grad


class Small(Net):
    """Weights so small that their gradient is lost beside what rounding may make of values."""

    def __init__(self, size, bend):
        super().__init__(weight=size)
        self.bend = bend

    def forward(self, x):
        return self.bend(super().forward(x))


@pytest.mark.parametrize("size", [1.0, 1e-1, 1e-2, 1e-3])
def test_a_gradient_that_is_wrong_by_half_a_percent_is_found_at_weights_of_any_size(size):
    nothing = [(np.zeros((7, 1)), np.zeros((6, 1))), (np.zeros((5, 1)), np.zeros((7, 1)))]
    for bend, kind in ((torch.clone, "tangent_optimal"), (Longer.apply, "inconclusive")):
        assert judge(Small(size, bend), CrossEntropy(), data(), 5.0, factors=nothing).kind == kind


@pytest.mark.parametrize("margin", [100.0, 200.0, 300.0, 1000.0])
@pytest.mark.parametrize("size", [1.0, 1e-2])
def test_samples_that_are_fitted_contradict_no_gradient(size, margin):
    """Their losses are 0, or few units of the last digit of 1, and stay that where the gradient does not vanish yet.

    That ``1 - p`` and ``-log p`` lose their digits there is a matter of rounding.
    """
    model = Net(weight=size).eval()
    model.head.weight *= margin
    model.head.bias *= margin
    with torch.no_grad():
        fitted = [(x, model(x).argmax(1)) for x, _ in data()]
    network = Network(model, CrossEntropy(), fitted)
    assert network.tested_value_and_gradients(network.zeros())[2] is None


# Which of the directions agree, on two batches.
FAULTY, SOUND = ("0000", "0100", "1000", "110000"), ("111", "1011", "00111", "110001")


@pytest.mark.parametrize("agreeing", FAULTY + SOUND)
def test_one_direction_that_agrees_by_chance_hides_no_fault(monkeypatch, agreeing):
    """A wrong gradient agrees with values along some of all directions, a right one not across kinks."""
    network = Network(Net(), CrossEntropy(), data())
    draws = iter(agreeing)
    monkeypatch.setattr(_wrong_gradients, "_slopes", lambda *_: (1.0, 1.0, 1.0 if next(draws) == "1" else 2.0, 0.5))
    assert (network.tested_value_and_gradients(network.zeros())[2] is not None) == (agreeing in FAULTY)
    assert next(draws, None) is None


def test_of_many_batches_a_few_of_the_later_ones_are_tried(monkeypatch):
    x, y = (torch.cat(parts) for parts in zip(*data(600)))
    network = Network(Net(), CrossEntropy(), list(zip(x.split(1), y.split(1))))
    tried = []
    monkeypatch.setattr(_wrong_gradients, "_slopes", lambda *_: tried.append(1) or (1.0, 1.0, 1.0, 1.0))
    f, G, fault = network.tested_value_and_gradients(network.zeros())
    again = network.value_and_gradients(network.zeros())
    assert fault is None and f == again[0] and all(np.array_equal(g, h) for g, h in zip(G, again[1]))
    # 32 and the first twice; 32 (log(600/32)) = 94 expected later, with a standard deviation below 10.
    assert 33 + 94 - 60 < len(tried) < 33 + 94 + 60


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_noise_on_a_later_batch_alone_is_told(dtype):
    """In float32 each verdict was another, and told to train on."""

    class Noisy(Net):
        def forward(self, x):
            z = super().forward(x)
            return torch.nn.functional.dropout(z, 0.5) if len(x) > 10 else z

    verdict = judge(Noisy(), CrossEntropy(), data(), LAM, dtype=dtype)
    assert verdict.kind == "inconclusive" and "two evaluations of a batch differ by" in verdict.reason
    assert math.isinf(verdict.relative_gap)
