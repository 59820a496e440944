"""What a network computes in training mode alone is told. Skipped without torch."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Net, data  # noqa: E402

from lorasolve.networks import CrossEntropy, Network, judge  # noqa: E402

torch.set_num_threads(1)

TOLD = "in training mode the model computes something else"


class Halved(LoRALinear):
    """Trains at half the scale that it is evaluated at."""

    def forward(self, x):
        scale = self.scaling / 2.0 if self.training else self.scaling
        return self.linear(x) + scale * (x @ self.lora_A.T) @ self.lora_B.T


class Noisy(LoRALinear):
    """Adds noise to a factor as it trains, as MonteCLoRA does."""

    def forward(self, x):
        A = self.lora_A + 0.1 * torch.randn_like(self.lora_A) if self.training else self.lora_A
        return self.linear(x) + self.scaling * (x @ A.T) @ self.lora_B.T


class Dropping(LoRALinear):
    """Drops entries by a function, whose share no layer of dropout holds, as the attention of T5 does."""

    def forward(self, x):
        return super().forward(torch.nn.functional.dropout(x, 0.2, self.training))


class Counting(LoRALinear):
    """Changes its base by how often it ran in training mode."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += self.training
        return super().forward(x) + self.count


@pytest.mark.parametrize("kind", [Halved, Noisy, Dropping, Counting])
def test_what_training_mode_computes_otherwise_is_told(kind):
    """At the start of training too, where all updates are zero."""
    model = Net(dropout=0.0)
    model.second = kind(7, 5, 4)
    before, state = {key: part.clone() for key, part in model.state_dict().items()}, torch.get_rng_state()
    verdict = judge(model, CrossEntropy(), data(), LAM)
    assert sum(TOLD in premise for premise in verdict.premises) == 1
    assert "in evaluation mode: in training mode the model computes something else" in verdict.reason
    assert torch.equal(torch.get_rng_state(), state) and model.training and model.drop.p == 0.0
    assert all(torch.equal(part, before[key]) for key, part in model.state_dict().items())
    # The objective is that of evaluation mode.
    with torch.no_grad():
        losses = torch.cat([CrossEntropy()(model.eval(), batch) for batch in data()])
    assert verdict.certificate.f == pytest.approx(float(losses.mean()), rel=1e-6)


def test_half_the_scale_is_told_by_the_losses_it_makes():
    model = Net(dropout=0.0)
    model.second = Halved(7, 5, 4)
    model.second.lora_B.data.normal_()
    network = Network(model, CrossEntropy(), data()[:1])
    assert 1e-3 < network.off_in_training < 1.0


def test_layers_of_dropout_and_averages_of_batches_are_told_by_themselves():
    for model in (Net(), torch.nn.Sequential(Net(), torch.nn.BatchNorm1d(3))):
        verdict = judge(model, CrossEntropy(), data(), LAM)
        assert math.isfinite(verdict.certificate.f) and not any(TOLD in premise for premise in verdict.premises)


def test_of_a_model_that_trains_otherwise_nothing_is_known():
    class Other(Net):
        def forward(self, x):
            if self.training:
                raise KeyError("targets, in training mode")
            return super().forward(x)

    assert Network(Other(), CrossEntropy(), data()).off_in_training == 0.0
