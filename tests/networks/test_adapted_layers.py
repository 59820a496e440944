"""Which layers of a network are adapted, and which are refused by name. Skipped without torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear, MovedLoRALinear  # noqa: E402
from torch_networks import LAM, Net, data  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, adapted_layers, fine_tune, judge  # noqa: E402

torch.set_num_threads(1)


def test_modules_of_ones_own_are_found_with_their_scaling():
    found = adapted_layers(Net())
    assert [(layer.name, layer.shape, layer.scale) for layer in found] == [
        ("first", (7, 6), 2.0),
        ("second", (5, 7), 0.5),
    ]


def test_plain_layers_are_found_by_name_and_others_refused():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    assert [layer.weight for layer in adapted_layers(model, "2")] == ["2.weight"]
    with pytest.raises(ValueError, match="no linear layer, embedding or convolution is called query; there are 0, 2"):
        adapted_layers(model, ("query",))
    # A monitor has no argument layers, which it was told to give.
    for ask in (adapted_layers, LoRAMonitor().step):
        with pytest.raises(ValueError, match=r"has no LoRA layers.*judge and fine_tune also take .* layers="):
            ask(model)
    model[2].weight = torch.nn.Parameter(torch.ones(4, 3))
    model[0].weight = model[2].weight
    with pytest.raises(ValueError, match="tied"):
        adapted_layers(model, "0")


class Block(torch.nn.Module):
    """A layer and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.layer = LoRALinear(6, 6, 2, 0.5)
        self.register_buffer("shift", torch.full((6,), 0.1))

    def forward(self, x):
        return torch.tanh(self.layer(x) + self.shift)


class Deep(torch.nn.Module):
    """One block that is passed three times: it stands in three places of a list, or is called so often."""

    def __init__(self, listed):
        super().__init__()
        torch.manual_seed(0)
        block = Block()
        torch.nn.init.normal_(block.layer.lora_B)
        self.blocks = torch.nn.ModuleList([block] * 3 if listed else [block])
        self.passes = 1 if listed else 3
        self.head = torch.nn.Linear(6, 3).requires_grad_(False)

    def forward(self, x):
        for block in [*self.blocks] * self.passes:
            x = block(x)
        return self.head(x.mean(1))


def test_a_block_that_stands_in_several_places_is_one_and_no_tie():
    listed, called = (judge(Deep(listed), CrossEntropy(), data(), LAM) for listed in (True, False))
    assert len(listed.certificate.layers) == 1 and pytest.approx(called.F, rel=1e-12) == listed.F
    assert listed.certificate.grad_norm == pytest.approx(called.certificate.grad_norm, rel=1e-10)
    # The objective itself, and its gradient in the factors, by torch alone.
    model = Deep(True).double()
    factors = [model.blocks[0].layer.lora_A, model.blocks[0].layer.lora_B]
    losses = torch.cat([torch.nn.functional.cross_entropy(model(x.double()), y, reduction="none") for x, y in data()])
    L = losses.mean() + 0.5 * LAM * sum(factor.square().sum() for factor in factors)
    slopes = torch.autograd.grad(L, factors, retain_graph=True)
    assert pytest.approx(float(L.detach()), rel=1e-12) == listed.certificate.L
    lengths = sum(float(slope.square().sum()) for slope in slopes)
    assert listed.certificate.grad_norm == pytest.approx(lengths**0.5, rel=1e-9)
    L.backward()
    monitor = LoRAMonitor()
    monitor.step(model)
    assert list(monitor.history[0][1]) == ["blocks.0.layer"]


def test_layers_within_an_encoder_of_torch_are_called_as_in_training():
    """In evaluation mode it asked them for a weight, which layers of one's own need not have."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, dtype=torch.float64)
    layer.requires_grad_(False)
    layer.linear1, layer.linear2 = MovedLoRALinear(8, 16).double(), MovedLoRALinear(16, 8).double()
    head = torch.nn.Linear(8, 3, dtype=torch.float64).requires_grad_(False)
    model = torch.nn.Sequential(layer, head)
    x, y = torch.randn(6, 4, 8, dtype=torch.float64), torch.arange(24).reshape(6, 4) % 3
    expected = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    expected.backward()
    verdict = judge(model, CrossEntropy(), [(x, y)], LAM)
    assert verdict.certificate.f == pytest.approx(expected.item(), rel=1e-12)
    for found, name in zip(verdict.certificate.layers, ("linear1", "linear2")):
        parts = [getattr(layer, name).lora_A, getattr(layer, name).lora_B]
        length = sum((part.grad + LAM * part.detach()).square().sum().item() for part in parts) ** 0.5
        assert found.stationarity == pytest.approx(length, rel=1e-9)
    assert torch.backends.mha.get_fastpath_enabled()


class Merging(torch.nn.Linear):
    """A layer as loralib has it: evaluation mode merges the update into the weight."""

    def __init__(self, n, m, rank):
        super().__init__(n, m)
        self.weight.requires_grad_(False)
        self.lora_A = torch.nn.Parameter(torch.randn(rank, n))
        self.lora_B = torch.nn.Parameter(torch.randn(m, rank))
        self.scaling, self.merged = 2.0, False

    def train(self, mode=True):
        super().train(mode)
        if self.merged == mode:
            self.weight.data += (-1.0 if mode else 1.0) * self.scaling * self.lora_B @ self.lora_A
            self.merged = not mode
        return self

    def forward(self, x):
        update = 0.0 if self.merged else self.scaling * x @ self.lora_A.T @ self.lora_B.T
        return torch.nn.functional.linear(x, self.weight, self.bias) + update


def test_a_layer_that_merges_in_evaluation_mode_is_judged_unmerged_and_left_alone():
    torch.manual_seed(0)
    model = torch.nn.Sequential(Merging(6, 7, 2), torch.nn.Tanh(), torch.nn.Linear(7, 3)).double().train()
    x, y = torch.randn(20, 6, dtype=torch.float64), torch.randint(0, 3, (20,))
    weight = model[0].weight.detach().clone()
    direct = torch.nn.functional.cross_entropy(model(x), y)
    assert judge(model, CrossEntropy(), [(x, y)], LAM).certificate.f == pytest.approx(float(direct.detach()), rel=1e-12)
    assert torch.equal(model[0].weight, weight) and not model[0].merged and model[0].training
    model.eval()
    with pytest.raises(ValueError, match="0 is merged into its weight"):
        judge(model, CrossEntropy(), [(x, y)], LAM)


@pytest.mark.parametrize("kind", ["another name", "an operation between"])
def test_layers_that_compute_something_else_of_their_factors_are_refused_by_name(kind):
    class Other(LoRALinear):
        def forward(self, x):
            inner = x @ self.lora_A.T
            if kind == "another name":
                return self.linear(x) + 8.0 * inner @ self.lora_B.T
            return self.linear(x) + self.scaling * torch.relu(inner) @ self.lora_B.T

    model = Net()
    model.second = Other(7, 5, 4)
    with pytest.raises(ValueError, match=r"model: second: expected W x \+ scaling \* lora_B lora_A x"):
        judge(model, CrossEntropy(), data(), LAM)


class OfFewRows(LoRALinear):
    """Leaves its update out of batches of more than ten samples."""

    def forward(self, x):
        return super().forward(x) if len(x) <= 10 else self.linear(x)


@pytest.mark.parametrize("do", [judge, fine_tune])
def test_an_update_that_later_inputs_do_without_is_refused(do):
    """At the start of training, where updates are zero, the values of both are the same, and gradients are not."""
    model = Net()
    model.second = OfFewRows(7, 5, 4)
    (x, y), later = data()
    with pytest.raises(ValueError, match=r"model: second: expected W x .* got something else on batch 2 "):
        do(model, CrossEntropy(), [(x, y), later], LAM)
    assert do(model, CrossEntropy(), [(x, y), (x, y)], LAM) is not None


def test_an_update_that_is_cut_off_where_it_is_large_is_refused_there():
    class Bounded(LoRALinear):
        def forward(self, x):
            return self.linear(x) + self.scaling * x @ (self.lora_B @ self.lora_A).clamp(-10.0, 10.0).T

    model = Net()
    model.second = Bounded(7, 5, 4)
    assert judge(model, CrossEntropy(), data(), LAM) is not None
    model.second.lora_B.data[:] = 30.0
    with pytest.raises(ValueError, match=r"second: expected W x .* on the first batch with the factors that it holds"):
        judge(model, CrossEntropy(), data(), LAM)


@pytest.mark.parametrize("trained", [True, False])
def test_factors_that_are_computed_of_others_are_refused(trained):
    for normalize in (torch.nn.utils.parametrizations.orthogonal, torch.nn.utils.parametrizations.weight_norm):
        model = Net()
        normalize(model.first, "lora_A")
        model.requires_grad_(trained)
        for ask in (adapted_layers, LoRAMonitor().step):
            with pytest.raises(ValueError, match=r"first: expected a lora_A that is a parameter, got one .* computed"):
                ask(model)
    model = Net()
    held = model.first.lora_A.detach()
    del model.first.lora_A
    model.first.register_buffer("lora_A", held)
    assert [layer.name for layer in adapted_layers(model)] == ["first", "second"]


def test_layers_without_a_weight_or_a_scaling_of_their_own_are_refused():
    model = Net()
    model.second.scaling = 0.0
    with pytest.raises(ValueError, match="second: expected a scaling that is finite and not 0, got 0"):
        adapted_layers(model)
    for scaling in (True, torch.tensor(2.0), {"default": 2.0}):
        model.second.scaling = scaling
        with pytest.raises(ValueError, match=r"second has a scaling that is no number"):
            adapted_layers(model)
    model = Net()
    model.second.lora_A = torch.nn.Parameter(torch.ones(4, 9))
    with pytest.raises(ValueError, match=r"second is 5 x 7, but lora_A is \(4, 9\) and lora_B is \(5, 4\)"):
        adapted_layers(model)
    model = Net()
    model.second.linear.weight = torch.nn.Parameter(torch.ones(5, 7, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"second has a quantised weight \(torch.int8\)"):
        adapted_layers(model)
    model = Net()
    model.first.linear = torch.nn.utils.parametrizations.weight_norm(model.first.linear)
    with pytest.raises(ValueError, match=r"first: expected a weight of its own, got one that is computed"):
        judge(model, CrossEntropy(), data(), LAM)


class ModuleLoRA(torch.nn.Module):
    """A layer whose factors are linear layers, so that others can hold them too."""

    def __init__(self, linear, lora_A, lora_B):
        super().__init__()
        self.linear, self.lora_A, self.lora_B, self.scaling = linear.requires_grad_(False), lora_A, lora_B, 1.0

    def forward(self, x):
        return self.linear(x) + self.lora_B(self.lora_A(x))


@pytest.mark.parametrize("shared", ["lora_A", "lora_B", "both", "linear"])
def test_layers_that_share_a_module_are_refused_by_name(shared):
    """Their gradient is that of a sum over both; a monitor does without the frozen weights, which may be shared."""

    def layer():
        factors = torch.nn.Linear(5, 2, bias=False), torch.nn.Linear(2, 5, bias=False)
        return ModuleLoRA(torch.nn.Linear(5, 5), *factors)

    model = torch.nn.Sequential(layer(), torch.nn.Tanh(), layer())
    for part in ("lora_A", "lora_B") if shared == "both" else (shared,):
        setattr(model[2], part, getattr(model[0], part))
    x, y = torch.randn(6, 5), torch.randint(0, 5, (6,))
    torch.nn.functional.cross_entropy(model(x), y).backward()
    name = {"linear": "frozen module", "both": "lora_A"}.get(shared, shared)
    message = f"model: the {name} of 2 is the {name} of 0: expected layers that share none"
    for ask in (adapted_layers, lambda model: judge(model, CrossEntropy(), [(x, y)], LAM)):
        with pytest.raises(ValueError, match=message):
            ask(model)
    if shared == "linear":
        assert LoRAMonitor(lam=LAM, every=1).step(model) is None
    else:
        with pytest.raises(ValueError, match=message):
            LoRAMonitor(lam=LAM, every=1).step(model)
    # A layer that stands in two places is one layer.
    twice = torch.nn.Sequential(model[0], torch.nn.Tanh(), model[0])
    assert [each.name for each in adapted_layers(twice)] == ["0"]
