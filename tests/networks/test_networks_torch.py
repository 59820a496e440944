"""Networks in torch: what is adapted, gradients, the token form, verdicts and training. Skipped without torch."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import sys
import types
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from lora_layers import LoRALinear  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.multi import MultiProblem  # noqa: E402
from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LinearizedNetwork,
    LoRAMonitor,
    Network,
    SquareLoss,
    adapted_layers,
    features,
    fine_tune,
    judge,
    linearity,
    linearize,
    read_optimizer_state,
    solve_tangent,
    two_points,
)
from lorasolve.networks._affine import is_affine  # noqa: E402

torch.set_num_threads(1)
LAM = 0.02


class Net(torch.nn.Module):
    """Two adapted layers over tokens that are then averaged, and a frozen head; dropout that has to be off."""

    def __init__(self, rank=4, seed=0, classes=3, dropout=0.3, weight=1.0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = LoRALinear(6, 7, rank, 2.0)
        self.second = LoRALinear(7, 5, rank, 0.5)
        self.drop = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(5, classes).requires_grad_(False)
        for layer in (self.first, self.second):
            layer.linear.weight *= weight

    def forward(self, x):
        return self.head(torch.tanh(self.second(self.drop(torch.tanh(self.first(x))))).mean(1))


def data(n=24, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, 6, generator=generator)
    y = torch.randint(0, classes, (n,), generator=generator)
    return [(x[:10], y[:10]), (x[10:], y[10:])]


def factors(network, rank=4, seed=1, size=0.5):
    rng = np.random.default_rng(seed)
    return [(size * rng.standard_normal((m, rank)), size * rng.standard_normal((n, rank))) for m, n in network.shapes]


@pytest.fixture(scope="module")
def trained():
    """A network at a stationary point."""
    model = Net()
    return model, fine_tune(model, CrossEntropy(), data(), LAM, max_calls=600, tangent_solve=True, second=True)


# ---------------------------------------------------------------------- what is adapted
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


# ---------------------------------------------------------------------- a model's own loss
class Causal(torch.nn.Module):
    """A language model that compares the logits of each token with the label of the next, and says so by its loss."""

    def __init__(self, rank=3, head=1.0, own="next"):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(9, 6).requires_grad_(False)
        self.inner = LoRALinear(6, 6, rank)
        self.head = torch.nn.Linear(6, 9, bias=False).requires_grad_(False)
        self.head.weight *= head
        self.own = own

    def forward(self, input_ids, attention_mask=None, labels=None):
        h = torch.tanh(self.inner(self.embed(input_ids))).cumsum(1)
        logits = self.head(h)
        loss = None
        if labels is not None:
            z, y = (logits[:, :-1], labels[:, 1:]) if self.own == "next" else (logits, labels)
            smoothing = 0.1 if self.own == "smoothed" else 0.0
            z, y = z.reshape(-1, 9).float(), y.reshape(-1)
            loss = torch.nn.functional.cross_entropy(z, y, label_smoothing=smoothing)
        return types.SimpleNamespace(loss=loss, logits=logits)


def sentences(n=8, length=6, seed=0):
    """Two batches with padding that has no label, and a prompt without labels in the first sentence."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 9, (n, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 4:] = 0
    labels = ids.where(mask == 1, torch.tensor(-100))
    labels[0, :3] = -100
    whole = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return [{key: value[k : k + 4] for key, value in whole.items()} for k in range(0, n, 4)]


@pytest.mark.parametrize("head", [1.0, 0.0])
@pytest.mark.parametrize("own", ["next", "same"])
def test_a_language_model_is_judged_by_its_own_loss(own, head):
    """Also where all logits are alike and so both losses."""
    model, batches = Causal(own=own, head=head), sentences()
    network = Network(model, CrossEntropy(), batches)
    at = factors(network, rank=3)
    with torch.no_grad():
        model.inner.lora_B.copy_(torch.as_tensor(at[0][0]))
        model.inner.lora_A.copy_(torch.as_tensor(at[0][1].T))
        counts = [int((b["labels"][:, 1:] if own == "next" else b["labels"]).ne(-100).sum()) for b in batches]
        losses = [float(model.double()(**b).loss) for b in batches]
    assert network.value(at) == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    assert network.n_samples == sum(counts)
    (premise, *_) = judge(model, CrossEntropy(), batches, LAM).premises
    assert (f"of {sum(counts)} samples, the logits of each token with the label of the next" in premise) == (
        own == "next"
    )
    # A pair has no loss of its own, and outputs of one's own are what is meant.
    unshifted = sum(int(b["labels"].ne(-100).sum()) for b in batches)
    pairs = [(b["input_ids"], b["labels"]) for b in batches]
    own_outputs = CrossEntropy(lambda model, batch: model(batch["input_ids"]).logits)
    for loss, given in ((CrossEntropy(), pairs), (own_outputs, batches)):
        plain = Network(model, loss, given)
        plain.value(at)
        assert plain.n_samples == unshifted


def test_a_loss_within_a_tuple_is_the_models_own_too():
    class Pair(Causal):
        def forward(self, input_ids, attention_mask=None, labels=None):
            answer = super().forward(input_ids, attention_mask, labels)
            return answer.logits if labels is None else (answer.logits, answer.loss)

    found, expected = (Network(model, CrossEntropy(), sentences()) for model in (Pair(), Causal()))
    at = factors(found, rank=3)
    assert found.value(at) == expected.value(at)
    assert found.n_samples == expected.n_samples == sum(int(b["labels"][:, 1:].ne(-100).sum()) for b in sentences())


def test_training_a_language_model_lowers_its_own_loss():
    model, (batch, _) = Causal(), sentences()
    before = float(model(**batch).loss.detach())
    end = fine_tune(model, CrossEntropy(), [batch], LAM, max_calls=300)
    assert float(model(**batch).loss.detach()) == pytest.approx(end.verdict.certificate.f, rel=1e-4)
    assert end.verdict.certificate.f < 0.9 * before
    network = Network(model, CrossEntropy(), [batch])
    with pytest.raises(ValueError, match=r"outputs \(n, K\), got shape \(4, 5, 9\); LinearizedNetwork"):
        linearize(network, end.factors)
    verdict = judge(model, CrossEntropy(), [batch], LAM, tangent_solve=True)
    # What a step of any rank gains in the tangent problem is bounded by the one gradient too.
    assert 0.0 <= verdict.solved.gap <= verdict.certificate.gap + 1e-7


def test_the_head_of_a_language_model_is_global_for_the_models_own_loss():
    """The optimum is that of softmax regression on the hidden states of all tokens that have a next one."""
    model = Causal()
    (batch, _) = sentences()
    with torch.no_grad():
        h = torch.tanh(model.inner.linear(model.embed(batch["input_ids"]))).cumsum(1).double()
    model.inner = model.inner.linear
    kept = batch["labels"][:, 1:] != -100
    head = ls.objectives.Softmax(
        model.head.weight.double().numpy(), h[:, :-1][kept].numpy().T, batch["labels"][:, 1:][kept].numpy()
    )
    optimum = ls.solve_convex(ls.Problem(head, 6, LAM)).fun
    end = fine_tune(model, CrossEntropy(), [batch], LAM, layers="head", rank=6, max_calls=500)
    assert end.verdict.kind == "global"
    assert pytest.approx(optimum, rel=1e-5) == end.verdict.F


def test_a_loss_that_is_not_the_models_own_is_refused_with_both_numbers():
    batches = sentences()
    model = Causal(own="smoothed")
    model.inner.lora_A.data.zero_()
    own = float(model(**batches[0]).loss.detach())
    numbers = rf"the model's own loss, {own:.7f}".rstrip("0")[:-2] + r"\d* on .*, got \d\.\d+ \(with .*: \d\.\d+\)"
    with pytest.raises(ValueError, match=numbers):
        judge(model, CrossEntropy(), batches, LAM)
    for stated in (lambda m, b: CrossEntropy()(m, b), CrossEntropy(lambda m, b: m(b["input_ids"]).logits)):
        assert judge(model, stated, batches, LAM).certificate is not None


def test_the_first_batch_with_a_label_tells():
    first, second = sentences()
    first["labels"] = torch.full_like(first["labels"], -100)
    network = Network(Causal(), CrossEntropy(), [first, second])
    network.value(network.zeros())
    assert network.n_samples == int(second["labels"][:, 1:].ne(-100).sum())


def test_data_without_a_single_label_are_refused():
    batches = [batch | {"labels": torch.full_like(batch["labels"], -100)} for batch in sentences()]
    with pytest.raises(ValueError, match="batches: expected samples with labels, got none that has one"):
        judge(Causal(), CrossEntropy(), batches, LAM)


def test_arrays_of_numpy_serve_as_batches():
    arrays = [(x.numpy(), y.numpy()) for x, y in data()]
    found, expected = (judge(Net(), CrossEntropy(), batches, LAM) for batches in (arrays, data()))
    assert pytest.approx(expected.F, rel=1e-14) == found.F


def test_each_scaling_has_its_own_share_of_the_decay_among_the_premises():
    assert f"(scaling 0.5, 2: lam/s = {LAM / 0.5:g}, {LAM / 2.0:g} on" in str(judge(Net(), CrossEntropy(), data(), LAM))
    model = Net()
    model.second.scaling = -0.5  # the weight of the nuclear norm goes by its size
    assert f"lam/|s| = {LAM / 0.5:g}, {LAM / 2.0:g} on" in str(judge(model, CrossEntropy(), data(), LAM))


def test_batches_without_labels_are_refused():
    batches = [{key: value for key, value in batch.items() if key != "labels"} for batch in sentences()]
    with pytest.raises(ValueError, match="batches: expected dictionaries with 'labels', got one with input_ids, att"):
        judge(Causal(), CrossEntropy(), batches, LAM)


def test_the_samples_of_a_dataset_are_no_batches():
    """Lists of numbers, as a tokenizer leaves them: what a layer of the model made of them was a traceback of torch."""
    batches = [{key: value[0].tolist() for key, value in batch.items()} for batch in sentences()]
    with pytest.raises(TypeError, match=r"batches: expected tensors or arrays in each batch, got input_ids: \[\d+, "):
        judge(Causal(), CrossEntropy(), batches, LAM)
    (x, y), _ = data()
    loss = CrossEntropy(targets=lambda _: y)
    nested = {"text": ["one"], "inputs": {"x": x}}
    assert len(loss(lambda text, inputs: Net()(inputs["x"]), nested)) == len(x)


class Regression(torch.nn.Module):
    """A model whose own loss is the mean of squares."""

    def __init__(self, outputs):
        super().__init__()
        torch.manual_seed(0)
        self.layer = LoRALinear(5, outputs, 1, 1.0)

    def forward(self, x, labels=None):
        logits = self.layer(x)
        loss = None if labels is None else torch.nn.functional.mse_loss(logits.squeeze(), labels.squeeze())
        return types.SimpleNamespace(loss=loss, logits=logits)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_regression_is_judged_by_the_mean_of_squares_of_the_model(outputs):
    model = Regression(outputs)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator), torch.randn(12, outputs, generator=generator)
    network = Network(model, SquareLoss(), [{"x": x, "labels": y}])
    at = factors(network, rank=1)
    residual = x.double() @ network.weights(at)[0].T + model.layer.linear.bias.double() - y.double()
    assert network.value(at) == pytest.approx(float(residual.square().mean().detach()), rel=1e-12)
    ntk = linearize(network, at)
    assert ntk.factor_value(at) == pytest.approx(network.value(at), rel=1e-12)
    pairs = Network(model, SquareLoss(), [(x, y)])
    assert pairs.value(at) == pytest.approx(float(residual.square().sum().detach()) / 24, rel=1e-12)


# ---------------------------------------------------------------------- gradients
def test_integers_as_labels_of_a_regression_are_exact():
    class Counts(Regression):
        def forward(self, x, labels=None):
            return super().forward(x, None if labels is None else labels.to(x.dtype))

    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    labels = 1_000_003 + torch.arange(20)
    values = [
        (network := Network(Counts(1), SquareLoss(), [{"x": x, "labels": y}])).value(network.zeros())
        for y in (labels, labels.double())
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-13)


def test_gradients_are_those_of_finite_differences():
    network = Network(Net(), CrossEntropy(), data())
    at = factors(network)
    X = [A @ B.T for A, B in at]
    f, G = network.value_and_grad(X)
    assert f == pytest.approx(network.value(at), rel=1e-12)
    rng = np.random.default_rng(0)
    D = [rng.standard_normal(shape) for shape in network.shapes]
    h = 1e-5
    ends = [network.value_and_grad([x + sign * h * d for x, d in zip(X, D)])[0] for sign in (1, -1)]
    slope = sum(float(np.vdot(g, d)) for g, d in zip(G, D))
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_a_certificate_of_a_network_in_float32_counts_the_rounding_of_float32():
    layer = LoRALinear(6, 5, 3, 1.0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6))
    batches = [(x, x @ rng.standard_normal((6, 5)) + 0.3 * rng.standard_normal((40, 5)))]

    def squares(model, batch):
        return (model(batch[0]) - batch[1]).square().sum(1)

    exact, single = (
        MultiProblem(Network(torch.nn.Sequential(layer), squares, batches, dtype=dtype, convex=True), [5], 0.5)
        for dtype in ("float64", "float32")
    )
    optimum = ls.solve_convex(exact, "factored", 1e-9)
    off = abs(single.factored_convex_value(optimum.A, optimum.B) - exact.factored_convex_value(optimum.A, optimum.B))
    found = ls.certify(single, optimum, 1e-3)
    assert off < found.gap < 1e4 * off
    assert found.is_global is True


def test_the_network_at_its_own_factors_is_the_model_itself():
    model = Net().double().eval()
    for layer in (model.first, model.second):
        torch.nn.init.normal_(layer.lora_B)
    network = Network(model, CrossEntropy(), data())
    f, G = network.value_and_gradients(network.point)
    batches = [(x.double(), y) for x, y in data()]
    loss = sum(torch.nn.functional.cross_entropy(model(x), y, reduction="sum") for x, y in batches) / 24
    assert f == pytest.approx(float(loss.detach()), rel=1e-12)
    loss.backward()
    for layer, g, (A, B) in zip((model.first, model.second), G, network.point):
        np.testing.assert_allclose(g @ B, layer.lora_B.grad.numpy(), atol=1e-12)
        np.testing.assert_allclose(g.T @ A, layer.lora_A.grad.numpy().T, atol=1e-12)


class Tasks(torch.nn.Module):
    """A body below two heads, of which a batch uses one, and a layer that nothing uses."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.unused = LoRALinear(6, 5, 3), LoRALinear(5, 5, 3)
        self.heads = torch.nn.ModuleList([LoRALinear(5, 3, 3), LoRALinear(5, 3, 3)])

    def forward(self, x, task):
        return self.heads[task](torch.tanh(self.body(x))).mean(1)


def tasks():
    return [{"x": x, "task": task, "labels": y} for task, (x, y) in enumerate(data())]


def test_a_layer_that_some_batches_or_all_do_not_use_has_no_gradient_there():
    network = Network(Tasks(), CrossEntropy(), tasks())
    at = factors(network, rank=3)
    weights = [torch.as_tensor(W).double().requires_grad_() for W in network.weights(at)]
    body, unused, one, two = weights
    biases = [layer.module.bias.detach().double() for layer in network.layers]
    total = 0.0
    for batch, head, bias in zip(tasks(), (one, two), biases[2:]):
        h = torch.tanh(batch["x"].double() @ body.T + biases[0])
        total = total + torch.nn.functional.cross_entropy((h @ head.T + bias).mean(1), batch["labels"], reduction="sum")
    f, G = network.value_and_gradients(at)
    assert f == pytest.approx(float(total.detach()) / 24, rel=1e-12)
    expected = torch.autograd.grad(total / 24, [body, one, two])
    for k, W in zip((0, 2, 3), expected):
        np.testing.assert_allclose(G[k], 2.0 * W.numpy(), atol=1e-14)
    assert not G[1].any() and unused.shape == G[1].shape
    D = [np.ones(shape) for shape in network.shapes]
    H = network.gradients_and_products(at, D)[1]
    assert network.differences is None
    for h, e in zip(H, network._difference(at, D)):
        np.testing.assert_allclose(h, e, atol=1e-6)
    ntk = linearize(network, at)
    assert ntk.factor_value(at) == pytest.approx(f, rel=1e-12)
    end = fine_tune(Tasks(), CrossEntropy(), tasks(), 0.05, max_calls=500, second=True, tangent_solve=True)
    assert end.verdict.kind == "tangent_optimal"
    assert end.verdict.certificate.layers[1].rank == 0


@pytest.mark.parametrize("lost", ["detached", "without a gradient"])
def test_a_gradient_that_is_lost_on_the_way_is_refused_by_name(lost):
    class Lost(Tasks):
        def forward(self, x, task):
            h = torch.tanh(self.body(x))
            return self.heads[task](h.detach()).mean(1) if lost == "detached" else super().forward(x, task)

    def loss(model, batch):
        with torch.no_grad():
            return CrossEntropy()(model, batch)

    given, names = (CrossEntropy(), "body") if lost == "detached" else (loss, "body, heads.0")
    with pytest.raises(ValueError, match=rf"model: the loss depends on the weight of {names}, and no gradient comes"):
        judge(Lost(), given, tasks(), LAM)


def test_a_model_is_left_as_it_was():
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    judge(model, CrossEntropy(), data(), LAM)
    assert model.training and model.drop.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert isinstance(model.first.linear.weight, torch.nn.Parameter)


def test_bad_losses_and_data_are_refused():
    model = Net()
    with pytest.raises(ValueError, match="one loss a sample"):
        judge(model, lambda net, b: torch.nn.functional.cross_entropy(net(b[0]), b[1]), data(), LAM)
    with pytest.raises(TypeError, match="gone through more than once"):
        judge(model, CrossEntropy(), iter(data()), LAM)
    samples = torch.utils.data.TensorDataset(*data()[0])  # has numbers, and no iterator
    with pytest.raises(TypeError, match=r"batches: expected .* \(a list, a DataLoader\), got TensorDataset"):
        judge(model, CrossEntropy(), samples, LAM)
    with pytest.raises(ValueError, match=r"updates .* of the plain layers that are named, got None; leave layers out"):
        judge(model, CrossEntropy(), data(), LAM, layers="head")
    with pytest.raises(ValueError, match="there are none"):
        judge(model, CrossEntropy(), [], LAM)
    with pytest.raises(ValueError, match="two evaluations of the first batch differ"):
        judge(model, lambda net, b: CrossEntropy()(net, b) + torch.rand(len(b[1])), data(), LAM)
    with pytest.raises(ValueError, match="dtype"):
        judge(model, CrossEntropy(), data(), LAM, dtype="bfloat16")
    with pytest.raises(ValueError, match="lam_kind"):
        judge(model, CrossEntropy(), data(), LAM, lam_kind="l1")
    with pytest.raises(ValueError, match="needs the outputs"):
        fine_tune(model, lambda net, b: CrossEntropy()(net, b), data(), LAM, tangent_solve=True)
    with pytest.raises(TypeError, match="model: expected"):
        judge(None, CrossEntropy(), data(), LAM)


def mean_of_a_batch(model, batch):
    """What training code returns, in the shape of one sample's loss."""
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])[None]


def test_one_number_for_each_batch_is_the_mean_over_samples_where_batches_are_alike():
    x, y = (torch.cat(parts) for parts in zip(*data(24)))
    alike = list(zip(x.split(8), y.split(8)))
    network, plain = (Network(Net(), loss, alike) for loss in (mean_of_a_batch, CrossEntropy()))
    point = factors(network)
    (f, G), (expected, H) = (each.value_and_gradients(point) for each in (network, plain))
    assert f == pytest.approx(expected, rel=1e-14)
    for g, h in zip(G, H):
        np.testing.assert_allclose(g, h, atol=1e-15)
    premises = judge(Net(), mean_of_a_batch, alike, LAM, factors=point).premises
    assert any("of 3 batches of 8 rows, one number each" in line for line in premises)


@pytest.mark.parametrize("sizes", [[10, 14], [23, 1]])
def test_one_number_for_each_batch_is_refused_where_batches_are_unlike(sizes):
    x, y = (torch.cat(parts) for parts in zip(*data(24)))
    unlike = list(zip(x.split(sizes), y.split(sizes)))
    words = f"one loss a sample, got one number for each batch, of {min(sizes)} to {max(sizes)} rows"
    for call in (judge, fine_tune):
        with pytest.raises(ValueError, match=words):
            call(Net(), mean_of_a_batch, unlike, LAM)

    # Samples one by one, and samples whose parts have lengths of their own, are what they seem.
    one_by_one = Network(Net(), mean_of_a_batch, list(zip(x.split(1), y.split(1))))
    sets = Network(Net(), mean_of_a_batch, [(*batch, torch.zeros(3)) for batch in unlike])
    masked = [y.clone().index_fill_(0, torch.arange(1, len(y)), -100) for _, y in unlike]
    one_label = Network(Net(), CrossEntropy(), [(x, y) for (x, _), y in zip(unlike, masked)])
    without_rows = Network(Net(), lambda model, batch: model(x[:1].double()).square().sum(1), [torch.zeros(0)])
    for network, samples in ((one_by_one, 24), (sets, 2), (one_label, 2), (without_rows, 1)):
        network.value(network.zeros())
        assert network.n_samples == samples and network.rows_a_number is None


def share_means(rank, size, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    torch.set_num_threads(1)
    x, y = (torch.cat(parts) for parts in zip(*data(24)))
    told = {}
    for name, sizes in (("alike", [12, 12]), ("unlike", [10, 14]), ("one a process", [[1] * 12, [1] * 12])):
        own = np.split(np.arange(24), [12 if name == "one a process" else sizes[0]])[rank]
        parts = np.split(own, len(own)) if name == "one a process" else [own]
        network = Network(Net(), mean_of_a_batch, [(x[part], y[part]) for part in parts])
        try:
            told[name] = network.value(network.zeros()), network.rows_a_number
        except ValueError as error:
            told[name] = str(error)
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(told, file)
    leave()


def leave():
    """End a process whose work is done: threads that torch still has when Python ends abort it now and then."""
    torch.distributed.destroy_process_group()
    os._exit(0)


def test_one_number_for_each_batch_is_held_against_the_batches_of_other_processes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2]))
    torch.multiprocessing.spawn(share_means, (2, str(tmp_path)), nprocs=2)
    network = Network(Net(), CrossEntropy(), data(24))
    expected = network.value(network.zeros())
    for rank in (0, 1):
        told = json.loads((tmp_path / f"{rank}.json").read_text())
        assert told["alike"] == [pytest.approx(expected, rel=1e-12), [12, 12]]
        assert told["one a process"] == [pytest.approx(expected, rel=1e-12), None]
        assert "got one number for each batch, of 10 to 14 rows" in told["unlike"]


class Once(torch.utils.data.IterableDataset):
    """Samples from one iterator, which is gone after a pass."""

    def __init__(self):
        self.rest = iter([(x, y) for batch in data() for x, y in zip(*batch)])

    def __iter__(self):
        return self.rest


class Shrinking:
    """Data that lose a batch with every pass."""

    def __init__(self):
        self.left = 4

    def __iter__(self):
        self.left -= 1
        return iter(data()[:1] * self.left)


def test_data_that_are_not_the_same_in_each_pass_are_refused():
    with pytest.raises(ValueError, match="gone through more than once, got none in a second pass"):
        judge(Net(), CrossEntropy(), torch.utils.data.DataLoader(Once(), batch_size=5), LAM)
    network = Network(Net(), CrossEntropy(), Shrinking())
    network.value(network.zeros())
    with pytest.raises(ValueError, match="expected 20 samples in each pass as in the first, got 0"):
        network.value(network.zeros())
    batches = data()
    network = Network(Net(), CrossEntropy(), batches)
    network.value(network.zeros())
    batches.append(batches[0])
    with pytest.raises(ValueError, match="expected 24 samples in each pass as in the first, got 34"):
        network.value(network.zeros())


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


@pytest.mark.parametrize("penalty", [0.0, 1e-5])
def test_rounding_in_bfloat16_is_not_taken_for_a_penalty(penalty):
    """It breaks the identity of the two inner products as well, in some layer by just what the penalty would."""
    torch.manual_seed(0)
    layers = [LoRALinear(16, 16, 4, 2.0) for _ in range(8)]
    model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Tanh())))
    factors = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(factors, lr=3e-3, weight_decay=0.0)
    x, y = torch.randn(64, 16), torch.randint(0, 16, (64,))
    monitors = {lam: LoRAMonitor(lam=lam) for lam in (1e-6, 1e-5, 1e-4)}
    chances = dict.fromkeys(monitors, 0)
    for _ in range(60):
        optimizer.zero_grad()
        chosen = torch.randint(0, 64, (16,))
        with torch.autocast("cpu", torch.bfloat16, enabled=not penalty):
            loss = torch.nn.functional.cross_entropy(model(x[chosen]).float(), y[chosen])
        (loss + 0.5 * penalty * sum(part.square().sum() for part in factors)).backward()
        for lam, monitor in monitors.items():
            monitor.step(model)
            for layer in layers:
                (A, dA), (B, dB) = ((p.detach().double(), p.grad.double()) for p in (layer.lora_B, layer.lora_A))
                difference = float((A * dA).sum() - (B * dB).sum())
                of_penalty = lam * float((A * A).sum() - (B * B).sum())
                chances[lam] += abs(difference - of_penalty) < 0.01 * abs(difference)
        optimizer.step()
    if penalty:
        assert {lam for lam, monitor in monitors.items() if monitor.warnings} == {penalty}
    else:
        assert sum(chances.values()) > 0 and not any(monitor.warnings for monitor in monitors.values())


def test_layers_over_quantised_and_tied_weights_are_watched():
    """Factors and gradients are all that a monitor reads; the numbers are those of the layer over a plain weight."""
    model, monitors = Net(), [LoRAMonitor(lam=LAM) for _ in range(2)]
    with torch.no_grad():
        model.second.lora_B.normal_()
    CrossEntropy()(model, data()[0]).mean().backward()
    monitors[0].step(model)
    # As bitsandbytes packs a weight, and a second owner of the other.
    packed = torch.zeros(18, 1, dtype=torch.uint8)
    model.second.linear.weight = torch.nn.Parameter(packed, requires_grad=False)
    model.other = torch.nn.Linear(6, 7)
    model.other.weight = model.first.linear.weight
    with pytest.raises(ValueError, match="second has a quantised weight"):
        adapted_layers(model)
    with pytest.raises(ValueError, match=r"the weight of other is tied .*: the update has no layer"):
        adapted_layers(model, "other")
    assert monitors[1].step(model) is None
    assert monitors[0].history == monitors[1].history
    model.second.lora_A = torch.nn.Parameter(torch.ones(3, 7))
    with pytest.raises(ValueError, match=r"second: expected lora_A \(r, in\) and lora_B \(out, r\), got \(3, 7\) and"):
        monitors[1].step(model)
    assert monitors[1].steps == 1


def test_a_gradient_that_is_nan_is_seen_beside_a_frozen_factor():
    model = Net()
    model.first.lora_A.requires_grad_(False)
    monitor = LoRAMonitor(LAM)
    CrossEntropy()(model, data()[0]).mean().backward()
    assert monitor.step(model) is None
    model.first.lora_B.grad[0, 0] = math.nan
    assert "first has non-finite factors or gradients" in monitor.step(model)


@pytest.mark.parametrize("broken", [False, True])
def test_a_step_that_a_scaler_leaves_out_is_said_and_does_not_end_the_run(broken):
    """Losses of 1e36 overflow at scales above 256; one that is infinite does at every scale."""
    model, batch = Net(), data()[0]
    factors = [part for layer in (model.first, model.second) for part in (layer.lora_A, layer.lora_B)]
    optimizer = torch.optim.SGD(factors, lr=1e-40)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    monitor = LoRAMonitor()
    skipped = []
    for step in range(1, 20):
        optimizer.zero_grad()
        scaler.scale(CrossEntropy()(model, batch).mean() * (math.inf if broken else 1e36)).backward()
        scaler.unscale_(optimizer)
        before = scaler.get_scale()
        reason = monitor.step(model, scaler)
        if reason is not None:
            break
        scaler.step(optimizer)
        scaler.update()
        skipped += [step] * (scaler.get_scale() < before)
    assert (len(skipped) == 12 and "step 13: first has non-finite" in reason) if broken else 2 < len(skipped) < 12
    assert monitor.skipped == skipped == monitor.to_dict()["skipped"] and len(monitor.warnings) == 1
    assert [step for step, read in monitor.history if read["first"].finite] == [
        step for step in range(1, monitor.steps + 1) if step not in skipped and not broken
    ]


def test_factors_that_are_not_finite_end_the_run_whatever_scales_the_loss():
    model = Net()
    CrossEntropy()(model, data()[0]).mean().backward()
    with torch.no_grad():
        model.first.lora_B[0, 0] = math.nan
    monitor = LoRAMonitor()
    assert "first has non-finite factors" in monitor.step(model, torch.amp.GradScaler("cpu", init_scale=2.0**12))
    assert monitor.skipped == []


def test_the_decay_of_two_layers_is_their_median():
    """Layers with one decay each: a gradient of -lam times a factor is stationary for that lam."""
    model = Net()
    for layer, lam in ((model.first, 0.0119), (model.second, -0.0024)):
        for part in (layer.lora_A, layer.lora_B):
            part.grad = -lam * part.detach()
    monitor = LoRAMonitor()
    assert monitor.lam_hat is None
    monitor.step(model)
    assert monitor.lam_hat == pytest.approx((0.0119 - 0.0024) / 2, rel=1e-6)


def with_spectra(layer, a, b, rng):
    """Set factors ``P diag(a) R`` and ``Q diag(b) R``, whose product has the singular values ``a b``."""
    m, n = layer.linear.weight.shape
    P, Q, R = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((m, len(a)), (n, len(b)), (len(a), len(a))))
    layer.lora_B.data = torch.tensor(P * a @ R)
    layer.lora_A.data = torch.tensor((Q * b @ R).T)


def test_a_reading_is_that_of_the_dense_matrices():
    """Also for a negative scaling; the second layer is small beside the first, and in units of its own as large."""
    rng, model = np.random.default_rng(0), Net(rank=3).double()
    model.first.scaling = -1.5
    spectra = {"first": ([2.0, 1.0, 0.5], [3.0, 2.0, 4e-3]), "second": ([1e-2, 2e-2, 3e-2], [4e-3, 1e-3, 1e-3])}
    for name, (a, b) in spectra.items():
        with_spectra(getattr(model, name), np.array(a), np.array(b), rng)
    monitor, (x, y) = LoRAMonitor(LAM, full_batch=True), data()[0]
    CrossEntropy()(model, (x.double(), y)).mean().backward()
    # A part of the gradient that is not that of a function of the product alone.
    model.first.lora_A.grad += 0.01 * torch.tensor(rng.standard_normal((3, 6)))
    assert monitor.step(model) is None
    for name, rank in (("first", 2), ("second", 3)):
        a, b = map(np.array, spectra[name])
        layer, reading = getattr(model, name), monitor.history[0][1][name]
        values, size = abs(layer.scaling) * a * b, float(a @ a + b @ b)
        assert (reading.spectral, reading.nuclear) == pytest.approx((values.max(), values.sum()), rel=1e-9)
        assert reading.rank == rank
        assert reading.balance == pytest.approx(np.linalg.norm(a**2 - b**2) / size, rel=1e-9)
        assert reading.wasted == pytest.approx(0.5 * size - float(a @ b), rel=1e-9)
        A, B, dA, dB = (
            part.detach().numpy() for part in (layer.lora_B, layer.lora_A, layer.lora_B.grad, layer.lora_A.grad)
        )
        on_A, on_B = float((A * dA).sum()), float((B * dB).sum())
        assert reading.grad == pytest.approx((np.sum(dA**2) + np.sum(dB**2)) ** 0.5, rel=1e-9)
        rest = (np.sum((dA + LAM * A) ** 2) + np.sum((dB + LAM * B) ** 2)) ** 0.5
        assert reading.stationarity == pytest.approx(rest / (LAM * size**0.5), rel=1e-9)
        assert reading.lam_hat == pytest.approx(-(on_A + on_B) / size, rel=1e-9)
        assert reading.mismatch == pytest.approx(abs(on_A - on_B) / max(abs(on_A), abs(on_B)), abs=1e-9)
    assert monitor.to_dict()["gradients"] == "full batch"
    # What makes the inner products differ here is not the penalty.
    assert monitor.history[0][1]["first"].mismatch > 1e-3 and monitor.warnings == []


def test_every_third_step_is_read_from_the_first_on_and_a_reason_stays():
    model = loud()
    monitor = LoRAMonitor(every=3, base=model)
    reason = monitor.step(model)
    assert reason is not None
    with torch.no_grad():
        model.first.lora_B.zero_()
    assert [monitor.step(model) for _ in range(6)] == [reason] * 6
    assert [step for step, _ in monitor.history] == [1, 4, 7]


def loud():
    """Return a network with a gradient and a far too large update."""
    model = Net()
    with torch.no_grad():
        model.first.lora_B.normal_(std=30.0)
    CrossEntropy()(model, data()[0]).mean().backward()
    return model


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compiled": compiled,
    "DataParallel": torch.nn.DataParallel,
    "both": lambda model: compiled(torch.nn.DataParallel(compiled(model))),
}


@pytest.mark.parametrize("case", ["in order", "never", "too late", "zero", "one factor", "not trained"])
def test_a_reading_without_any_gradient_is_noticed(case):
    model, monitor = Net(), LoRAMonitor()
    if case == "not trained":
        model.requires_grad_(False)
    if case not in ("never", "not trained"):
        CrossEntropy()(model, data()[0]).mean().backward()
    if case in ("too late", "zero"):
        model.zero_grad(set_to_none=case == "too late")
    if case == "one factor":  # at the start, where lora_B is zero, lora_A has none but zero
        for layer in (model.first, model.second):
            layer.lora_A.requires_grad_(False).grad = None
    assert monitor.step(model) is None
    silent = case in ("never", "too late", "zero")
    assert [text.startswith("no gradient but zero had come to any of the 2 layers") for text in monitor.warnings] == (
        [True] * silent
    )
    monitor.step(model)
    assert len(monitor.warnings) == silent


@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_does_not_hide_a_loud_layer(wrapped):
    model = loud()
    reason = LoRAMonitor(base=model).step(model)
    assert "loud: first has" in reason
    assert LoRAMonitor(base=model).step(wrapped(model)) == reason
    assert LoRAMonitor(base=wrapped(model)).step(model) == reason
    plain = judge(model, CrossEntropy(), data(), LAM)
    assert judge(wrapped(model), CrossEntropy(), data(), LAM).to_dict() == plain.to_dict()


def test_a_base_without_the_layers_is_refused():
    model = loud()
    outer = torch.nn.Sequential(model)
    for base, given in ((model, outer), (outer, model)):
        with pytest.raises(ValueError, match=r"base: expected the model that step is given, .* 2 of its 2 LoRA layers"):
            LoRAMonitor(base=base).step(given)


# ---------------------------------------------------------------------- the token form
@pytest.mark.parametrize("loss", [CrossEntropy(), SquareLoss()])
def test_the_linearisation_has_the_value_and_gradient_of_the_network(loss):
    batches = data() if loss.kind == "softmax" else [(x, torch.randn(len(x), 3)) for x, _ in data()]
    network = Network(Net(), loss, batches)
    at = factors(network)
    ntk = linearize(network, at)
    f, G = network.value_and_gradients(at)
    ours, H = ntk.value_and_grad([A @ B.T for A, B in at])
    assert ours == pytest.approx(f, rel=1e-12)
    for g, h in zip(G, H):
        np.testing.assert_allclose(g, h, atol=1e-12)
    # To second order in a small step the two differ.
    steps = [1e-3, 1e-4]
    errors = []
    for step in steps:
        moved = [(np.hstack([A, step * A[:, ::-1]]), np.hstack([B, B])) for A, B in at]
        errors.append(abs(network.value(moved) - ntk.factor_value(moved)))
    assert errors[1] < 0.02 * errors[0]


def test_samples_without_a_label_are_left_out_of_the_linearisation():
    hidden = [(x, y.clone()) for x, y in data()]
    for _, y in hidden:
        y[::3] = -100
    # A batch that has no label at all.
    hidden.append((data()[0][0], torch.full((10,), -100)))
    rest = [(x[y >= 0], y[y >= 0]) for x, y in hidden[:2]]
    network, without = (Network(Net(), CrossEntropy(), batches) for batches in (hidden, rest))
    at = factors(network)
    ntk, expected = linearize(network, at), linearize(without, at)
    np.testing.assert_array_equal(ntk.targets, expected.targets)
    np.testing.assert_allclose(ntk.offset, expected.offset, atol=1e-12)
    for ours, theirs in zip(ntk.layers, expected.layers):
        np.testing.assert_array_equal(ours.owner, theirs.owner)
        np.testing.assert_allclose(ours.signals, theirs.signals, atol=1e-12)
        np.testing.assert_allclose(ours.inputs, theirs.inputs, atol=1e-12)
    model = Net()
    verdict = fine_tune(model, CrossEntropy(), hidden, LAM, max_calls=600, tangent_solve=True).verdict
    assert verdict.solved.relative_gap < 1e-3, str(verdict)


def test_below_a_head_of_zeros_the_linearisation_is_that_of_the_head_alone():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4, bias=False))
    torch.nn.init.zeros_(model[2].weight)
    x, y = torch.randn(40, 6), torch.randint(0, 4, (40,))
    network = Network(model, CrossEntropy(), [(x, y)], layers=("0", "2"))
    alone = ls.solve_convex(ls.Problem(features(model, [(x, y)]), 4, LAM), tol=1e-9)
    found = linearity(network, LAM)
    np.testing.assert_allclose(found.F, alone.fun, rtol=1e-6)
    assert found.ranks[0] == 0
    # With the head as it is no update changes the outputs.
    below = Network(model, CrossEntropy(), [(x, y)], layers="0")
    found = linearity(below, LAM)
    assert (found.F, found.ranks, found.index) == (pytest.approx(np.log(4)), (0,), 0.0)


def test_what_has_no_token_form_is_refused():
    class Normed(Net):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(5)
            self.norm.eval = lambda: self.norm  # stays in training mode: samples interact
            self.norm.train = lambda mode=True: self.norm

        def forward(self, x):
            hidden = self.second(torch.tanh(self.first(x))).mean(1)
            mean, std = hidden.mean(0), hidden.std(0)
            return self.head((hidden - mean) / std)

    network = Network(Normed(), CrossEntropy(), data())
    with pytest.raises(ValueError, match="samples of a batch interact"):
        linearize(network, factors(network))
    network = Network(Net(), CrossEntropy(), data())
    with pytest.raises(ValueError, match="memory"):
        linearize(network, factors(network), memory=1e3)
    # All batches together count: each takes less than 0.6 of what both do.
    both = linearize(network, factors(network)).nbytes
    assert linearize(network, factors(network), memory=both).nbytes == both
    with pytest.raises(ValueError, match="memory"):
        linearize(network, factors(network), memory=0.9 * both)
    plain = Network(Net(), lambda net, b: CrossEntropy()(net, b), data())
    with pytest.raises(ValueError, match="needs the outputs"):
        linearize(plain, factors(plain))


def test_what_the_judgement_refuses_is_refused_before_the_training():
    class Sequences(Net):
        def forward(self, x):
            return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))

    model = Sequences()
    held = [parameter.detach().clone() for parameter in model.parameters()]
    batches = [(x, y[:, None].expand(-1, 4)) for x, y in data()]
    with pytest.raises(ValueError, match=r"loss: the tangent problem needs the outputs: use networks\.CrossEntropy"):
        fine_tune(model, lambda net, b: CrossEntropy()(net, b), batches, LAM, max_calls=3, tangent_solve=True)
    wrong = [(np.zeros((2, 1)), np.zeros((2, 1)))]
    with pytest.raises(ValueError, match=r"others\[0\]: expected"):
        fine_tune(model, CrossEntropy(), batches, LAM, max_calls=3, others=[wrong])
    casting = Casting("a tensor type")
    for refused, dtype in ((model, "float32"), (casting, "float64")):
        with pytest.raises(ValueError, match="second: expected a network that is evaluated in float64 throughout"):
            fine_tune(refused, CrossEntropy(), data() if refused is casting else batches, LAM, dtype=dtype, second=True)
        with pytest.raises(ValueError, match="second: expected a network that is evaluated in float64 throughout"):
            judge(refused, CrossEntropy(), data() if refused is casting else batches, LAM, dtype=dtype, second=True)
    assert not casting.first.lora_B.any()
    assert all(torch.equal(before, now) for before, now in zip(held, model.parameters()))
    fine_tune(model, CrossEntropy(), batches, LAM, max_calls=3)
    assert not all(torch.equal(before, now) for before, now in zip(held, model.parameters()))


class FirstOnly(torch.autograd.Function):
    """The hyperbolic tangent, whose derivative has none."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(y := x.tanh())
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * (1.0 - ctx.saved_tensors[0] ** 2)


def test_what_only_the_trained_point_shows_to_be_refused_does_not_lose_the_training():
    class Together(torch.nn.Module):
        """Samples of a batch interact, so that there are no tokens, and there are no derivatives along a direction."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner = torch.nn.Linear(6, 5)
            self.head = torch.nn.Linear(5, 3)

        def forward(self, x):
            hidden = FirstOnly.apply(self.inner(x)).mean(1)
            return self.head(hidden - hidden.mean(0))

    model, settings = Together(), {"layers": "inner", "rank": 3, "max_calls": 300}
    network, at = Network(model, CrossEntropy(), data(), layers="inner"), [(np.ones((5, 1)), np.ones((6, 1)))]
    with pytest.raises(ValueError, match="samples of a batch interact"):
        linearize(network, at)
    told = "the derivatives of its outputs forwards and backwards differ by"
    with pytest.raises(ValueError, match=told):
        LinearizedNetwork(network, at)
    end = fine_tune(model, CrossEntropy(), data(), LAM, tangent_solve=True, **settings)
    assert end.verdict.solved is None
    assert end.verdict.premises[-1].startswith("left out of the judgement") and told in end.verdict.premises[-1]
    plain = fine_tune(model, CrossEntropy(), data(), LAM, **settings)
    assert end.verdict.kind == plain.verdict.kind == "tangent_optimal"
    np.testing.assert_array_equal(end.factors[0][0], plain.factors[0][0])


def test_a_layer_that_runs_twice_is_the_sum_of_both():
    class Twice(Net):
        def forward(self, x):
            hidden = torch.tanh(self.second(torch.tanh(self.first(x))))
            return self.head(torch.tanh(self.second(torch.nn.functional.pad(hidden, (0, 2)))).mean(1))

    network = Network(Twice(), CrossEntropy(), data())
    point, direction = factors(network), factors(network, seed=2)
    tangent = linearize(network, point)
    assert tangent.factor_value(point) == pytest.approx(network.value(point), rel=1e-12)

    def slope(value, step=1e-5):
        ahead, behind = ([(A + s * U, B + s * V) for (A, B), (U, V) in zip(point, direction)] for s in (step, -step))
        return (value(ahead) - value(behind)) / (2 * step)

    assert slope(tangent.factor_value) == pytest.approx(slope(network.value), rel=1e-6)


# ---------------------------------------------------------------------- verdicts
def test_training_ends_tangent_optimal_and_says_what_that_is_not(trained):
    _, best = trained
    verdict = best.verdict
    assert verdict.kind == "tangent_optimal"
    assert verdict.certificate.relative_gap < 1e-4
    assert verdict.solved.relative_gap < 1e-6
    assert verdict.second.is_sosp
    text = str(verdict)
    assert text.index("premises:") < text.index("within")
    assert "linearised at its own trained weights" in verdict.reason
    assert "bounds neither the network's global optimum nor its error on new data" in verdict.reason
    assert json.loads(json.dumps(verdict.to_dict()))["kind"] == "tangent_optimal"


def test_trained_factors_are_in_the_model_and_a_checkpoint_goes_on(trained, tmp_path):
    model, best = trained
    again = judge(model, CrossEntropy(), data(), LAM)
    assert pytest.approx(best.verdict.F, rel=1e-5) == again.F  # float32 parameters
    path = tmp_path / "run.npz"
    first = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=30, checkpoint=path)
    second = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=30, checkpoint=path)
    went_on = f"the run went on from the factors in {path}"
    assert went_on in str(second) and went_on not in str(first)
    assert second.result.fun < first.result.fun
    with pytest.raises(ValueError, match="another problem"):
        fine_tune(Net(), CrossEntropy(), data(), 0.1, checkpoint=path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="cannot be read"):
        fine_tune(Net(), CrossEntropy(), data(), LAM, checkpoint=path)


def test_a_full_disk_does_not_undo_the_training(tmp_path, monkeypatch):
    module = sys.modules[fine_tune.__module__]

    def full(path, write):
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    model, same = Net(), Net()
    with pytest.raises(OSError, match="No space left"):
        fine_tune(model, CrossEntropy(), data(), LAM, max_calls=30, checkpoint=tmp_path / "run.npz")
    fine_tune(same, CrossEntropy(), data(), LAM, max_calls=30)
    for (name, got), (_, expected) in zip(model.named_parameters(), same.named_parameters()):
        assert torch.equal(got, expected), name


def test_shared_and_frozen_factors_are_refused_by_name_before_anything_is_trained():
    model = Net()
    model.second.lora_A.requires_grad_(False)
    before = model.first.lora_B.clone()
    with pytest.raises(ValueError, match=r"model: second: expected factors that are trained"):
        fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5)
    assert torch.equal(model.first.lora_B, before)
    assert judge(model, CrossEntropy(), data(), LAM).certificate is not None
    twin = torch.nn.Sequential(LoRALinear(3, 3, 2), torch.nn.Tanh(), LoRALinear(3, 3, 2))
    twin[2].lora_A = twin[0].lora_A
    with pytest.raises(ValueError, match=r"lora_A of 0 is tied \(0.lora_A, 2.lora_A\)"):
        adapted_layers(twin)


def test_what_is_judged_is_what_the_layers_hold_in_their_precision():
    model = Net().to(torch.bfloat16)
    best = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=200)
    held = [(layer.lora_B, layer.lora_A.T) for layer in (model.first, model.second)]
    for pair, own in zip(best.factors, held):
        for part, tensor in zip(pair, own):
            np.testing.assert_array_equal(part, tensor.detach().double().numpy())
    again = judge(model, CrossEntropy(), data(), LAM)
    assert (best.verdict.kind, best.verdict.F) == (again.kind, pytest.approx(again.F, rel=1e-14))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_in_eight_bits_are_judged_as_the_numbers_they_are(dtype):
    """torch has few operations on them; the verdict is that of the same numbers in float32."""
    stored, plain = Net(), Net()
    for layer, like in ((stored.first, plain.first), (stored.second, plain.second)):
        layer.linear.weight.data = layer.linear.weight.to(dtype)
        like.linear.weight.data = layer.linear.weight.float()
    verdict, expected = (judge(model, CrossEntropy(), data(), LAM) for model in (stored, plain))
    assert (verdict.kind, verdict.F, verdict.base_norms) == (expected.kind, expected.F, expected.base_norms)
    norms = [
        np.linalg.norm(layer.linear.weight.double().numpy(), 2) / layer.scaling for layer in (plain.first, plain.second)
    ]
    np.testing.assert_allclose(verdict.base_norms, norms, rtol=1e-6)
    assert LoRAMonitor(base=stored).base_norms == LoRAMonitor(base=plain).base_norms
    assert any(f"stored in {str(dtype).removeprefix('torch.')}" in text for text in verdict.premises)
    stored.second.linear.weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="second: expected a weight of finite numbers"):
        LoRAMonitor(base=stored)


class Packed(torch.Tensor):
    """A tensor of its own kind, as torchao quantises weights: of a floating type, with few operations."""

    @staticmethod
    def __new__(cls, like):
        return torch.Tensor._make_wrapper_subclass(cls, like.shape, dtype=like.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return cls(args[0])
        raise NotImplementedError(f"Packed dispatch: attempting to run {func}")


def test_a_weight_of_a_quantised_type_of_its_own_is_refused_by_name_and_watched():
    model = Net()
    CrossEntropy()(model, data()[0]).mean().backward()
    model.second.linear.weight = torch.nn.Parameter(Packed(model.second.linear.weight), requires_grad=False)
    for ask in (lambda: judge(model, CrossEntropy(), data(), LAM), lambda: LoRAMonitor(base=model)):
        with pytest.raises(ValueError, match=r"model: second has a weight that is no plain tensor \(Packed; quantised"):
            ask()
    monitor = LoRAMonitor(LAM)
    assert monitor.step(model) is None and monitor.warnings == []


class Scaled(torch.nn.Linear):
    """A weight of eight bits times a scale, as FP8Linear of transformers: in another type it is taken as it is."""

    def __init__(self, like, scale):
        super().__init__(like.in_features, like.out_features)
        self.load_state_dict(like.state_dict())
        self.requires_grad_(False)
        self.weight = torch.nn.Parameter((like.weight / scale).to(torch.float8_e4m3fn), requires_grad=False)
        self.weight_scale_inv = torch.nn.Parameter(torch.tensor(scale), requires_grad=False)

    def forward(self, x):
        scale = 1.0 if self.weight.element_size() > 1 else self.weight_scale_inv
        return torch.nn.functional.linear(x, scale * self.weight.to(x.dtype), self.bias)


@pytest.mark.parametrize("name", ["head", "first.linear"])
def test_a_weight_that_means_something_with_its_scale_alone_is_refused_wherever_it_is(name):
    """In float64 the network would be another: its loss was judged as that of the model, without a word."""
    model = Net(dropout=0.0)
    owner = model.get_submodule(name.rpartition(".")[0])
    setattr(owner, name.rpartition(".")[2], Scaled(model.get_submodule(name), 0.01))
    (x, y), _ = data()
    own = float(CrossEntropy()(model, (x, y)).mean().detach())
    twin = Net(dropout=0.0)
    twin.get_submodule(name).weight.data = 0.01 * model.get_submodule(name).weight.float()
    assert judge(twin, CrossEntropy(), [(x, y)], LAM).certificate.f == pytest.approx(own, rel=1e-5)
    words = r"has a quantised weight \(torch.float8_e4m3fn times its weight_scale_inv\)"
    for ask in (
        lambda: judge(model, CrossEntropy(), [(x, y)], LAM),
        lambda: features(model, [(x, y)], embed=lambda model, batch: model(batch[0])),
    ):
        with pytest.raises(ValueError, match=words):
            ask()
    assert LoRAMonitor(LAM).step(model) is None  # factors and gradients alone
    if name != "head":
        with pytest.raises(ValueError, match=f"model: first {words}"):
            LoRAMonitor(base=model)


class Wide(torch.nn.Module):
    """A head of two classes whose factors have eight columns, over frozen features or over another such layer."""

    def __init__(self, hidden=False):
        super().__init__()
        torch.manual_seed(3)
        self.first = LoRALinear(5, 4, 9, 1.0) if hidden else torch.nn.Linear(5, 4).requires_grad_(False)
        self.head = LoRALinear(4, 2, 8, 0.5)
        self.head.linear.bias.data.zero_()

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


def halves(n=40):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 5, generator=generator)
    return [(x, (x[:, 0] + 0.3 * torch.randn(n, generator=generator) > 0).long())]


def test_with_more_columns_than_a_layer_has_rows_the_head_trains_to_the_optimum_of_the_convex_problem():
    model, batches = Wide(), halves()
    Z = torch.tanh(model.first(batches[0][0])).detach().double().numpy()
    head = ls.objectives.Softmax(model.head.linear.weight.double().numpy(), Z.T, batches[0][1].numpy())
    # In the scaled update the decay is lam over the scaling.
    optimum = ls.solve_convex(ls.Problem(head, 2, LAM / 0.5)).fun
    end = fine_tune(model, CrossEntropy(), batches, LAM, max_calls=500)
    assert end.verdict.kind == "global"
    assert pytest.approx(optimum, rel=1e-6) == end.verdict.F
    assert [(A.shape, B.shape) for A, B in end.factors] == [((2, 8), (4, 8))]
    assert not model.head.lora_B[:, 2:].any() and not model.head.lora_A[2:].any()
    other = Wide()
    torch.nn.init.ones_(other.head.lora_B)
    fine_tune(other, CrossEntropy(), batches, LAM, max_calls=500)
    assert not other.head.lora_B[:, 2:].any() and judge(other, CrossEntropy(), batches, LAM).kind == "global"
    assert judge(model, CrossEntropy(), batches, LAM).kind == "global"
    given = ([np.ones((2, 8))], [np.ones((4, 8))])
    again = fine_tune(model, CrossEntropy(), batches, LAM, init=given, max_calls=1)
    start = judge(model, CrossEntropy(), batches, LAM, factors=[(np.ones((2, 8)), np.ones((4, 8)))])
    assert again.result.trace.value[0] == pytest.approx(start.certificate.L, rel=1e-12)


def test_a_point_with_more_columns_than_a_layer_has_rows_is_judged_as_the_same_with_fewer():
    model, batches = Wide(hidden=True), halves()
    end = fine_tune(model, CrossEntropy(), batches, 0.05, max_calls=800)
    few = [(A[:, : min(len(A), len(B))], B[:, : min(len(A), len(B))]) for A, B in end.factors]
    rng = np.random.default_rng(0)
    turned = []
    for (A, B), columns in zip(few, (9, 8)):
        turn = np.linalg.qr(rng.standard_normal((columns, A.shape[1])))[0].T
        turned.append((A @ turn, B @ turn))
    settings = {"second": True, "others": [[(0.0 * A, 0.0 * B) for A, B in few]]}
    one, many = (judge(model, CrossEntropy(), batches, 0.05, factors=at, **settings) for at in (few, turned))
    assert (many.kind, many.better) == (one.kind, one.better)
    assert pytest.approx(one.certificate.L, rel=1e-12) == many.certificate.L
    assert many.second.smallest == pytest.approx(one.second.smallest, rel=1e-6)
    assert [layer.max_rank for layer in many.certificate.layers] == [9, 8]


def test_an_unfinished_run_is_not_converged():
    end = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=8)
    assert end.verdict.kind == "not_converged"
    # The worst layer, and its gradient of the objective in units of lam times the length of all factors.
    G = Network(Net(), CrossEntropy(), data()).value_and_gradients(end.factors)[1]
    slopes = [(g @ B + LAM * A, g.T @ A + LAM * B) for g, (A, B) in zip(G, end.factors)]
    lengths = [np.hypot(*map(np.linalg.norm, pair)) for pair in slopes]
    size = LAM * np.sqrt(sum(np.sum(A**2) + np.sum(B**2) for A, B in end.factors))
    name, share = re.search(r"in (\w+) the gradient of the objective is (\S+) of lam", end.verdict.reason).groups()
    assert name == ("first", "second")[int(np.argmax(lengths))]
    assert float(share) == pytest.approx(max(lengths) / size, rel=0.05)


def test_a_run_that_left_the_model_worse_is_not_told_to_go_on():
    """At PEFT's start, where the factors are not balanced and the update is zero, it is told to, and a little later."""
    model, words = Net(), ("More steps of full-batch training remain", "Begin again with a smaller learning rate")
    empty = [(np.zeros((7, 1)), np.zeros((6, 1))), (np.zeros((5, 1)), np.zeros((7, 1)))]
    base = Network(model, CrossEntropy(), data()).value(empty)
    for size, diverged in ((0.0, False), (0.01, False), (100.0, True)):
        with torch.no_grad():
            for layer in (model.first, model.second):
                layer.lora_A.normal_(std=0.5)
                layer.lora_B.zero_()[:, 0].fill_(size)  # of rank 1, which is not loud
        verdict = judge(model, CrossEntropy(), data(), LAM)
        assert verdict.kind == "not_converged" and (2.0 * base < verdict.F) == diverged
        assert [word in verdict.reason for word in words] == [not diverged, diverged]
        assert (f"above the f = {base:.6g} of the model without any update" in verdict.reason) == diverged


@pytest.mark.parametrize("frozen", [("lora_A",), ("lora_B",), ("lora_A", "lora_B"), ()])
def test_a_factor_that_is_frozen_beside_another_is_said_to_count(frozen):
    """A model that is loaded to be used has both frozen, which says nothing about its training."""
    model = Net()
    with torch.no_grad():
        model.second.lora_B.normal_(std=0.1)
    for key in frozen:
        getattr(model.second, key).requires_grad_(False)
    verdict = judge(model, CrossEntropy(), data(), LAM)
    half = len(frozen) == 1
    said = [text for text in verdict.premises if text.endswith(f"though frozen: {frozen[0] if half else ''} of second")]
    assert len(said) == half and verdict.kind == "not_converged"
    assert ("With one factor frozen, more steps need not end that" in verdict.reason) == half


def test_factors_that_are_not_balanced_are_not_converged_however_good_their_product_is(trained):
    _, best = trained
    turned = [(4.0 * A, B / 4.0) for A, B in best.factors]
    verdict = judge(Net(), CrossEntropy(), data(), LAM, factors=turned)
    assert pytest.approx(best.verdict.F, rel=1e-9) == verdict.F and verdict.relative_gap < 1e-3
    assert verdict.kind == "not_converged"


def test_the_solved_gap_is_the_one_that_is_quoted(trained):
    _, best = trained
    shrunk = [((1.0 - 1e-3) * A, B) for A, B in best.factors]
    rough = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk)
    assert rough.kind == "inconclusive" and rough.relative_gap > 1e-3 and "by one gradient" in rough.reason
    sharp = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk, tangent_solve=True)
    assert sharp.kind == "tangent_optimal" and "by the solved tangent problem" in sharp.reason
    assert sharp.relative_gap == sharp.solved.relative_gap < 1e-4
    (percent,) = re.findall(r"within (\S+) % of the optimum", sharp.reason)
    assert float(percent) / 100.0 == pytest.approx(sharp.solved.relative_gap, rel=0.05)


def test_printed_gaps_are_bounds(trained):
    _, best = trained
    for share in (1e-3, 1.7e-3, 2.9e-3, 3.7e-3, 4.3e-3, 5.3e-3):
        shrunk = [((1.0 - share) * A, B) for A, B in best.factors]
        verdict = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk, tol=0.1)
        assert verdict.kind == "tangent_optimal"
        (percent,) = re.findall(r"within (\S+) % of the optimum", verdict.reason)
        (gap,) = re.findall(r"tangent gap from one gradient: (\S+) of F", str(verdict))
        true = Fraction(verdict.relative_gap)
        assert true <= Fraction(percent) / 100 < 1.1 * true and true <= Fraction(gap) < 1.01 * true


def test_a_gradient_that_is_no_number_is_not_finite():
    """A square root at 0: its slope is infinite, and 0 times that is no number, though the loss is finite."""
    model = torch.nn.Sequential(LoRALinear(3, 2, 2, 1.0))
    loss = CrossEntropy(outputs=lambda model, batch: (model(batch[0]) - model(batch[0]).detach()).sqrt())
    verdict = judge(model, loss, [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))], LAM)
    assert verdict.kind == "non_finite" and "the loss or its gradient" in verdict.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_not_finite_whatever_its_gradient(bad):
    class Spoilt(SquareLoss):
        def of_outputs(self, z, targets):
            return super().of_outputs(z, targets) + torch.tensor([bad] + [0.0] * (len(z) - 1))

    model, batches = torch.nn.Sequential(torch.nn.Linear(3, 2)), [(torch.ones(4, 3), torch.zeros(4, 2))]
    point = [(np.ones((2, 1)), np.ones((3, 1)))]
    f, (G,) = Network(model, Spoilt(), batches, layers="0").value_and_gradients(point)
    assert not math.isfinite(f) and np.isfinite(G).all()
    plain, verdict = (judge(model, loss, batches, 1e-3, layers="0", factors=point) for loss in (SquareLoss(), Spoilt()))
    assert plain.kind != "non_finite" and plain.certificate is not None
    assert verdict.kind == "non_finite" and verdict.certificate is None
    assert "the loss or its gradient is not finite" in verdict.reason


def test_the_optimality_of_a_large_layer_is_as_sampled_as_the_norm_of_its_gradient():
    """Beyond a thousand rows and columns the spectral norm is bounded by products from a random start."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1001, 1001), torch.nn.Tanh(), torch.nn.Linear(1001, 2))
    batches = [(torch.randn(4, 1001), torch.arange(4) % 2)]
    nothing = [(np.zeros((1001, 1)), np.zeros((1001, 1)))]
    verdict = judge(model, CrossEntropy(), batches, 10.0, layers="0", factors=nothing)
    assert verdict.kind == "tangent_optimal" and str(verdict.level) == "SAMPLED"
    assert 0.0 < verdict.certificate.failure_probability <= 1e-10
    top = np.linalg.norm(verdict.certificate.gradients[0], 2) / 10.0
    assert verdict.certificate.dual_norm == pytest.approx(top, rel=1e-3)


@pytest.mark.parametrize(
    ("dtype", "share", "low", "high"), [("float64", 1e-4, 1e-10, 1e-6), ("float32", 1e-2, 2e-6, 1e-4)]
)
def test_a_value_that_is_lower_by_no_more_than_rounding_refutes_nothing(trained, dtype, share, low, high):
    _, best = trained
    shrunk = [((1.0 - share) * A, B) for A, B in best.factors]
    settings = {"others": [best.factors], "dtype": dtype, "tol": 0.1}
    found = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk, **settings)
    assert low < (found.F - found.better) / found.F < high
    assert found.kind == "tangent_optimal"


def test_the_start_is_a_saddle_and_too_small_a_rank_is_named():
    nothing = [(np.zeros((7, 2)), np.zeros((6, 2))), (np.zeros((5, 2)), np.zeros((7, 2)))]
    at_zero = judge(Net(), CrossEntropy(), data(), LAM, factors=nothing)
    assert at_zero.kind == "saddle" and "empty column" in at_zero.reason
    G = Network(Net(), CrossEntropy(), data()).value_and_gradients(nothing)[1]
    (rate,) = re.findall(r"lowers F at the rate \|\|G\|\| - lam = (\S+) to first order", at_zero.reason)
    assert float(rate) == pytest.approx(max(np.linalg.norm(g, 2) for g in G) - LAM, rel=1e-2)
    lam = 0.02

    def small():
        return Net(rank=1, classes=5, weight=3.0)

    found = fine_tune(small(), CrossEntropy(), data(40, 5), lam, max_calls=1500, grad_tol=1e-9)
    assert found.verdict.kind == "rank_too_small", str(found.verdict)
    layer = max(found.verdict.certificate.layers, key=lambda layer: layer.outside)
    index = [each.name for each in found.verdict.certificate.layers].index(layer.name)
    u, v = layer.direction
    rate = (layer.outside - 1.0) * lam
    network = Network(small(), CrossEntropy(), data(40, 5))
    G = network.value_and_gradients(found.factors)[1][index]
    assert float(u @ G @ v) - lam == pytest.approx(rate, rel=1e-6)
    # The direction is downhill: a small step along -u v^T lowers F at that rate.
    step = 1e-5
    moved = [
        (np.hstack([A, -step * u[:, None]]), np.hstack([B, v[:, None]])) if k == index else (A, B)
        for k, (A, B) in enumerate(found.factors)
    ]
    before = found.verdict.F
    problem = MultiProblem(network, 1, lam)
    after = problem.factored_convex_value(*zip(*moved))
    assert (before - after) / step == pytest.approx(rate, rel=1e-2)


class Beside(torch.nn.Module):
    """Two layers side by side, one of them of inputs of another size."""

    def __init__(self, size):
        super().__init__()
        self.size, self.large, self.small = size, LoRALinear(2, 2, 2, 1.0), LoRALinear(2, 2, 1, 1.0)
        for layer in (self.large, self.small):
            layer.linear.weight.zero_()
            layer.linear.bias.zero_()

    def forward(self, x):
        return torch.cat([self.large(self.size * x), self.small(x)], 1)


def test_a_layer_is_full_or_empty_by_its_own_values_however_large_another_is():
    """Two layers side by side, of inputs x/10^4 and x: each approximates a matrix, by shrinking its singular values."""
    lam, x = 1e-4, 2.0**0.5 * torch.eye(2, dtype=torch.float64)
    labels = 2.0**0.5 * torch.tensor([[200.0, 0.0, 3.0, 0.0], [0.0, 100.0, 0.0, 2.0]], dtype=torch.float64)
    large = np.diag(np.sqrt([(200e-4 - lam) / 1e-8, (100e-4 - lam) / 1e-8]))
    for kept, empty in ((3.0, False), (0.0, True)):
        small = np.array([[max(kept - lam, 0.0) ** 0.5], [0.0]])
        verdict = judge(Beside(1e-4), SquareLoss(), [(x, labels)], lam, factors=[(large, large), (small, small)])
        found = verdict.certificate.layers[1]
        # Off the space of X the residual is the next singular value of the label.
        assert found.outside == pytest.approx((3.0 if empty else 2.0) / lam, rel=1e-9)
        assert found.rank == (0 if empty else 1)
        assert verdict.kind == ("saddle" if empty else "rank_too_small"), str(verdict)
        assert ("empty column" in verdict.reason) == empty


def test_ranks_of_the_tangent_solution_are_counted_layer_by_layer():
    """Side by side again, the first of inputs x/10^5: the optimum shrinks the singular values of the labels."""
    labels = 2.0**0.5 * torch.tensor([[200.0, 0.0, 3.0, 0.0], [0.0, 100.0, 0.0, 2.0]], dtype=torch.float64)
    lam, x, point = 1e-4, 2.0**0.5 * torch.eye(2, dtype=torch.float64), [(np.zeros((2, 2)), np.zeros((2, 2)))] * 2
    network = Network(Beside(1e-5), SquareLoss(), [(x, labels)])
    found = solve_tangent(linearize(network, point), point, lam, tol=1e-10)
    large, small = (np.linalg.svd(A @ B.T)[1] for A, B in zip(found.A, found.B))
    np.testing.assert_allclose(large, [(200e-5 - lam) / 1e-10, (100e-5 - lam) / 1e-10], rtol=1e-4)
    np.testing.assert_allclose(small, [3.0 - lam, 2.0 - lam], rtol=1e-2)
    assert found.ranks == (2, 2)


def test_without_a_penalty_there_is_no_statement(trained):
    model, _ = trained
    without = judge(model, CrossEntropy(), data(), 0.0)
    assert without.kind == "no_premise" and json.dumps(without.to_dict(), allow_nan=False)
    verdict = judge(model, CrossEntropy(), data(), LAM, lam_kind="decoupled")
    assert verdict.kind == "no_premise" and "decoupled" in verdict.reason


def test_adamw_is_never_called_optimal_however_small_its_gradient():
    model = Net(dropout=0.0)
    model.head.weight *= 10.0
    batches = [(torch.randn(6, 4, 6, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 3)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-2, weight_decay=LAM)
    for _ in range(250):
        optimizer.zero_grad()
        CrossEntropy()(model, batches[0]).mean().backward()
        optimizer.step()
    verdict = judge(model, CrossEntropy(), batches, LAM)
    assert verdict.certificate.dual_norm < 0.5  # the data are interpolated ...
    assert verdict.kind in ("not_converged", "loud")
    assert verdict.relative_gap > 0.5
    assert judge(model, CrossEntropy(), batches, LAM, lam_kind="decoupled").kind in ("no_premise", "loud")


def test_non_finite_and_loud_points_are_named():
    model = Net()
    with torch.no_grad():
        model.first.lora_B[0, 0] = math.nan
    broken = judge(model, CrossEntropy(), data(), LAM)
    assert broken.kind == "non_finite" and json.dumps(broken.to_dict(), allow_nan=False)
    assert math.isnan(broken.F) and "not finite" in str(broken)
    with pytest.raises(ValueError, match="not finite"):
        broken.factors  # noqa: B018
    model = Net()
    with torch.no_grad():
        model.first.lora_B.normal_(std=30.0)
        model.second.lora_B.normal_(std=30.0)
    verdict = judge(model, CrossEntropy(), data(), LAM)
    assert verdict.kind == "loud" and "||W||_2" in verdict.reason
    zero = [(np.zeros((m, 1)), np.zeros((n, 1))) for m, n in ((7, 6), (5, 7))]
    base = Network(Net(), CrossEntropy(), data()).value(zero)
    assert "failed loudly" in verdict.reason and f"above the f = {base:.6g} of the model without" in verdict.reason


def test_a_run_that_is_on_its_way_down_has_not_failed():
    """Half way to a stationary point the updates are larger than these small weights, and better than none."""
    model = Net(weight=0.1)
    zero = [(np.zeros((m, 1)), np.zeros((n, 1))) for m, n in ((7, 6), (5, 7))]
    base = Network(model, CrossEntropy(), data()).value(zero)
    early = fine_tune(model, CrossEntropy(), data(), 0.1 * LAM, max_calls=30).verdict
    assert early.kind == "loud" and base > early.F
    assert early.reason.startswith("loud so far: ") and early.reason.endswith("full-batch training remain")
    facts = judge(model, CrossEntropy(), data(), LAM, lam_kind="decoupled")
    assert facts.kind == "loud" and f"and {base:.6g} without any update; whether it failed only new" in facts.reason
    late = fine_tune(model, CrossEntropy(), data(), 0.1 * LAM, max_calls=600).verdict
    assert late.kind != "loud" and late.F < early.F


def test_a_bound_of_the_gap_is_not_told_as_the_gap():
    """One gradient bounds what is left to gain, here at many times what the solved tangent problem leaves of it."""
    model = Net(weight=0.1)
    early = fine_tune(model, CrossEntropy(), data(), 0.1 * LAM, max_calls=30).verdict
    solved = judge(model, CrossEntropy(), data(), 0.1 * LAM, tangent_solve=True)
    assert solved.solved.relative_gap < 0.5 * early.relative_gap
    (told,) = re.findall(r"a tangent gap of at most (\S+) % of F", early.reason)
    assert early.relative_gap <= float(told) / 100.0 < 1.1 * early.relative_gap
    with torch.no_grad():
        model.first.lora_B.normal_(std=1e3)
    far = judge(model, CrossEntropy(), data(), 1.0)
    assert far.relative_gap > 0.995 and "a tangent gap of at most 100 % of F" in far.reason


class InPeftsLayout(torch.nn.Module):
    """A layer as PEFT has it, with an update larger than its weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.base_layer = torch.nn.Linear(6, 3).requires_grad_(False)
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(6, 2, bias=False)})
        self.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(2, 3, bias=False)})
        self.scaling = {"default": 30.0}

    def get_base_layer(self):
        return self.base_layer

    def forward(self, x):
        return self.base_layer(x) + 30.0 * self.lora_B["default"](self.lora_A["default"](x))


def test_a_layer_that_is_compiled_is_one_layer():
    """The wrapper of torch.compile passes on the attributes of the layer inside."""
    plain, model = Net(dropout=0.0), Net(dropout=0.0)
    for each in (plain, model):
        with torch.no_grad():
            torch.manual_seed(3)
            each.first.lora_B.normal_(std=0.1)
    model.first = torch.compile(model.first, backend="eager")
    assert [layer.name for layer in adapted_layers(model)] == ["first._orig_mod", "second"]
    readings = []
    for each in (plain, model):
        each.zero_grad()
        CrossEntropy()(each, data()[0]).mean().backward()
        monitor = LoRAMonitor()
        monitor.step(each)
        readings.append(list(monitor.history[0][1].values()))
    assert [reading.spectral for reading in readings[0]] == [reading.spectral for reading in readings[1]]
    F = [judge(each, CrossEntropy(), data(), LAM).F for each in (plain, model)]
    assert F[0] == pytest.approx(F[1], rel=1e-12)


@pytest.mark.parametrize(
    ("start", "moved"),
    [(True, False), (False, False), ("gaussian", False), ("pissa_niter_4", True), ("OLoRA", True), ("loftq", True)],
)
def test_beside_a_weight_that_the_start_changed_nothing_is_loud(start, moved):
    model = torch.nn.Sequential(InPeftsLayout(), torch.nn.Flatten(), torch.nn.Linear(12, 3).requires_grad_(False))
    model.peft_config = {"default": types.SimpleNamespace(init_lora_weights=start)}
    monitor = LoRAMonitor(base=model)
    verdict = judge(model, CrossEntropy(), data(), LAM)
    assert (verdict.kind == "loud") == (not moved)
    # At such a start the update is large by design, and no sign of a run that diverged.
    assert ("Begin again" in verdict.reason) == (not moved)
    said = [text for text in verdict.premises if "in 1 of 1 layers" in text and str(start) in text]
    assert len(said) == moved == len(monitor.warnings)
    norm = float(np.linalg.norm(model[0].base_layer.weight.numpy(), 2)) / 30.0
    assert verdict.to_dict()["base_norms"] == [None if moved else pytest.approx(norm)]
    assert (str(verdict).splitlines()[-1].split()[3] == "-") == moved
    CrossEntropy()(model, data()[0]).mean().backward()
    assert (monitor.step(model) is None) == moved
    assert json.dumps(monitor.to_dict(), allow_nan=False)


def test_beside_a_weight_of_zeros_nothing_is_loud():
    """A layer that begins at zero, as the last of a block often does: any update is larger than its weight."""
    model = torch.nn.Sequential(LoRALinear(6, 5), torch.nn.Tanh(), LoRALinear(5, 3), torch.nn.Flatten(1))
    for layer in (model[0], model[2]):
        torch.nn.init.normal_(layer.lora_B, std=0.1)
    torch.nn.init.zeros_(model[2].linear.weight)
    (x, y), _ = data()
    batches = [(x[:, 0], y)]
    CrossEntropy()(model, batches[0]).mean().backward()
    monitor = LoRAMonitor(base=model)
    assert monitor.step(model) is None
    verdict = judge(model, CrossEntropy(), batches, 1e-3)
    assert verdict.kind == "not_converged" and verdict.relative_gap > 0.1
    assert verdict.base_norms[0] > verdict.certificate.layers[0].spectral and verdict.base_norms[1] is None
    why = "no ratio to ||W||_2, so nothing is called loud, in 1 of 2 layers: the base weight is zero"
    assert why in verdict.premises and monitor.warnings == [why]


def test_a_better_point_refutes(trained):
    _, best = trained
    for seed in range(5):
        network = Network(Net(), CrossEntropy(), data())
        start = MultiProblem(network, 4, LAM).unpaired(factors(network, seed=seed, size=1.0))
        other = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=600, init=start)
        low, high = sorted([best.verdict, other.verdict], key=lambda verdict: verdict.F)
        if high.kind == "tangent_optimal" and high.F - low.F > 1e-4 * low.F:
            break
    else:
        pytest.skip("all starts ended at one value")
    again = judge(Net(), CrossEntropy(), data(), LAM, factors=high.factors, others=[low])
    assert again.kind == "refuted" and again.better == pytest.approx(low.F)
    assert judge(Net(), CrossEntropy(), data(), LAM, factors=low.factors, others=[high]).kind == "tangent_optimal"
    found = two_points(low.certificate, high.certificate)
    assert found.refutes_convexity and found.stationarity < 1e-4


def test_points_of_another_network_are_refused_and_those_that_are_not_finite_are_no_better(trained):
    _, best = trained
    other = judge(Last(2), CrossEntropy(), data(classes=6), LAM)
    for given in (other, other.factors):
        with pytest.raises(ValueError, match=r"others\[1\]: expected factors of updates of shapes .*7, 6"):
            judge(Net(), CrossEntropy(), data(), LAM, factors=best.factors, others=[best.verdict, given])
    lost = [(np.full_like(A, np.nan), B) for A, B in best.factors]
    broken = judge(Net(), CrossEntropy(), data(), LAM, factors=lost)
    assert broken.kind == "non_finite"
    found = judge(Net(), CrossEntropy(), data(), LAM, factors=best.factors, others=[broken])
    assert (found.kind, found.better) == (best.verdict.kind, None)


def test_updates_that_are_not_worth_their_penalty_are_said_to_shrink():
    """Along ``-X`` the slope of F is ``-<G, X> - lam ||X||_*``, at most ``(||G||_2 - lam) ||X||_*``."""
    model = Net()

    def at(size):
        factors = [(size * np.eye(m, 1), size * np.eye(n, 1)) for m, n in Network(model, CrossEntropy(), data()).shapes]
        return judge(model, CrossEntropy(), data(), 5.0, factors=factors)

    found = at(1e-3)
    assert found.kind == "tangent_optimal" and found.certificate.dual_norm < 0.5
    assert "not worth their penalty here, and F falls as they shrink" in found.reason
    assert at(0.9e-3).F < found.F
    assert "shrink" not in at(0.0).reason


def test_without_anything_to_gain_the_empty_update_is_optimal():
    verdict = fine_tune(Net(), CrossEntropy(), data(), 1.0, max_calls=100).verdict
    assert verdict.kind == "tangent_optimal"
    assert all(layer.spectral < 1e-6 and layer.dual_norm < 1.0 for layer in verdict.certificate.layers)
    # The least lam for which no update helps to first order is the largest norm of a gradient at none.
    network = Network(Net(), CrossEntropy(), data())
    G = network.value_and_gradients([(np.zeros((m, 1)), np.zeros((n, 1))) for m, n in network.shapes])[1]
    critical = max(np.linalg.norm(g, 2) for g in G)
    assert verdict.reason.endswith(f"nothing is worth its penalty for a lam above {critical:.3g}")


# ---------------------------------------------------------------------- convex: the last layer
class Last(torch.nn.Module):
    """A network whose last layer alone is adapted."""

    def __init__(self, rank, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = torch.nn.Linear(6, 8).requires_grad_(False)
        self.out = LoRALinear(8, 6, rank, 1.0)

    def forward(self, x):
        return self.out(torch.tanh(self.body(x).mean(1)))


def test_the_last_layer_is_global_and_agrees_with_the_convex_objective():
    batches = data(60, 6)
    model = Last(6)
    lam = 0.02
    best = fine_tune(model, CrossEntropy(), batches, lam, max_calls=800, tol=1e-6)
    assert best.verdict.kind == "global", str(best.verdict)
    (layer,) = best.verdict.certificate.layers
    assert 1 < layer.rank < 6
    rows = features(model, batches, embed=lambda net, b: torch.tanh(net.body(b[0]).mean(1)))
    W0, shift = (part.detach().double().numpy() for part in (model.out.linear.weight, model.out.linear.bias))
    labels = np.concatenate([y.numpy() for _, y in batches])
    objective = ls.objectives.Softmax(np.c_[W0, shift], np.vstack([rows.Z, np.ones(60)]), labels)
    A, B = best.factors[0]
    f, G = objective.value_and_grad(A @ np.vstack([B, np.zeros((1, 6))]).T)
    assert f == pytest.approx(best.verdict.certificate.f, rel=1e-12)
    np.testing.assert_allclose(G[:, :-1], best.verdict.certificate.gradients[0], atol=1e-12)
    small = fine_tune(Last(1), CrossEntropy(), batches, lam, max_calls=800)
    assert small.verdict.kind == "rank_too_small", str(small.verdict)


@pytest.mark.parametrize("seed", range(4))
def test_in_float32_a_linear_model_is_global_within_what_is_said(seed):
    torch.manual_seed(seed)
    model = torch.nn.Linear(6, 4, bias=False)
    x, y = torch.randn(40, 6), torch.randint(0, 4, (40,))
    tuned = fine_tune(torch.nn.Sequential(model), CrossEntropy(), [(x, y)], LAM, rank=4, layers="0", max_calls=400)
    verdict = judge(
        torch.nn.Sequential(model), CrossEntropy(), [(x, y)], LAM, layers="0", factors=tuned.factors, dtype="float32"
    )
    assert verdict.kind == "global", str(verdict)
    # The same problem without torch, in float64.
    W0 = model.weight.detach().double().numpy()
    problem = ls.Problem(ls.objectives.Softmax(W0, x.double().numpy().T, y.numpy()), 4, LAM)
    (A, B), best = tuned.factors[0], ls.solve_convex(problem, tol=1e-10)
    assert problem.convex_value(A @ B.T) - best.fun <= verdict.convex.gap <= 1e-3 * best.fun
    # Eight units in the last place of the value are allowed for, in both certificates.
    least = 8.0 * float(np.finfo(np.float32).eps) * verdict.certificate.f
    assert min(verdict.convex.gap, verdict.certificate.gap) >= least


def test_features_make_the_head_of_a_plain_network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    x, y = torch.randn(30, 6), torch.randint(0, 4, (30,))
    head = features(model, [(x[:20], y[:20]), (x[20:], y[20:])])
    logits = model.double()(x.double())
    f, _ = head.value_and_grad(np.zeros(head.shape))
    assert f == pytest.approx(float(torch.nn.functional.cross_entropy(logits, y).detach()), rel=1e-6)
    solved = ls.solve_convex(ls.Problem(head, 3, 0.05))
    assert solved.certificate.is_global
    with pytest.raises(ValueError, match="one row a sample"):
        features(model, [(x, y)], embed=lambda net, b: b[0][None])


def test_features_refuse_a_network_whose_own_loss_is_another():
    class Weighted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = torch.nn.Linear(5, 2)

        def forward(self, x, labels=None):
            logits = self.out(x)
            weight = torch.tensor([1.0, 3.0], dtype=logits.dtype)
            loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels, weight)
            return types.SimpleNamespace(loss=loss, logits=logits)

    batch = {"x": torch.randn(8, 5), "labels": torch.arange(8) % 2}
    with pytest.raises(ValueError, match="expected the mean of CrossEntropy to be the model's own loss"):
        features(Weighted(), [batch])
    assert features(Weighted(), [batch], labels=lambda b: b["labels"]).shape == (2, 6)


def test_features_refuse_a_network_that_does_not_end_in_its_last_linear_layer():
    class Scaled(torch.nn.Sequential):
        def forward(self, x):
            return 10.0 * super().forward(x)

    class Beside(torch.nn.Module):
        """LoRA of linear layers, as PEFT has it: what runs last is the factor, not the head."""

        def __init__(self):
            super().__init__()
            self.base_layer = torch.nn.Linear(8, 4)
            self.lora_A, self.lora_B = torch.nn.Linear(8, 2, bias=False), torch.nn.Linear(2, 4, bias=False)

        def forward(self, x):
            return self.base_layer(x) + self.lora_B(self.lora_A(x))

    class Unnamed(torch.nn.Module):
        """A head that is a matrix, after a linear layer of as many outputs."""

        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(6, 4), torch.nn.Parameter(torch.eye(4))

        def forward(self, x):
            return torch.relu(self.body(x)) @ self.head

    torch.manual_seed(0)
    x, y = torch.randn(30, 6), torch.randint(0, 4, (30,))
    body = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh())
    pooler = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8))
    for model in (Scaled(body, torch.nn.Linear(8, 4)), torch.nn.Sequential(body, Beside()), Unnamed(), pooler):
        with pytest.raises(ValueError, match="its outputs are not those of its last linear layer"):
            features(model, [(x, y)])
    # A softmax after the layer changes the loss too; without a bias, in float32, the head is found.
    plain = torch.nn.Sequential(body, torch.nn.Linear(8, 4, bias=False))
    with pytest.raises(ValueError, match="last linear layer"):
        features(torch.nn.Sequential(plain, torch.nn.Softmax(1)), [(x, y)])
    found = features(plain, [(x, y)], dtype="float32").value_and_grad(np.zeros((4, 8)))[0]
    assert found == pytest.approx(float(torch.nn.functional.cross_entropy(plain(x), y).detach()), rel=1e-5)


def test_two_adapted_layers_in_a_row_are_never_called_global():
    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = LoRALinear(6, 5, 2), LoRALinear(5, 3, 2)

        def forward(self, x):
            return self.second(self.first(x.mean(1)))

    verdict = fine_tune(Deep(), CrossEntropy(), data(), 0.05, max_calls=600).verdict
    assert verdict.convex is None and verdict.kind != "global"


@pytest.mark.parametrize("bend", [torch.tanh, lambda z: z * z, lambda z: z * z.detach(), lambda z: z / z.norm()])
def test_outputs_that_bend_are_never_called_global(bend):
    """Also where the graph cannot show it: a detached factor is left to the certificate's spot checks."""

    class Bent(Last):
        def forward(self, x):
            return bend(super().forward(x))

    model = Bent(6)
    torch.nn.init.normal_(model.out.lora_B, std=0.3)
    start = fine_tune(model, CrossEntropy(), data(60, 6), 0.02, max_calls=150)
    assert start.verdict.kind != "global", str(start.verdict)
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    assert judge(model, CrossEntropy(), data(60, 6), 5.0, factors=nothing).kind != "global"


def last_with(bend):
    """A last layer whose outputs are bent by what the graph of gradients does not show."""

    class Masked(Last):
        def forward(self, x):
            return bend(super().forward(x))

    return Masked(6)


MASKS = {
    "a ReLU by hand": lambda z: z * (z > 0),
    "a gathered maximum": lambda z: z[torch.arange(len(z))[:, None], z.argsort(1)],
    "a detached factor": lambda z: z * z.detach(),
    "a clamped scale": lambda z: z * float(z.detach().abs().max().clamp(1.0, 2.0)),
    "indices that are outputs": lambda z: z + torch.arange(6.0, dtype=z.dtype)[z.detach().argmax(1)][:, None],
}


@pytest.mark.parametrize("name", MASKS)
def test_what_is_chosen_by_the_weights_is_not_affine_in_them(name):
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    verdict = judge(last_with(MASKS[name]), CrossEntropy(), data(60, 6), 5.0, factors=nothing)
    assert verdict.convex is None and verdict.kind != "global"


def test_fixed_masks_and_indices_leave_the_outputs_affine():
    mask, order = torch.linspace(0.5, 2.0, 6, dtype=torch.float64), torch.tensor([3, 1, 0, 2, 5, 4])
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    for bend in (lambda z: z, lambda z: z * mask, lambda z: z[:, order], lambda z: -2.0 * z[:, :6] + mask):
        assert judge(last_with(bend), CrossEntropy(), data(60, 6), 5.0, factors=nothing).kind == "global"


class Dead(torch.nn.Module):
    """A ReLU by hand that is off for all positive inputs without an update."""

    def __init__(self):
        super().__init__()
        self.layer = LoRALinear(3, 1, 1, 1.0).double()
        self.layer.linear.weight.fill_(-1.0)
        self.layer.linear.bias.fill_(-1.0)

    def forward(self, x):
        hidden = self.layer(x)
        return hidden * (hidden > 0)


def test_a_dead_hand_written_relu_is_not_global():
    """At X = 0 no gradient is left, and a point that fits all labels is found by hand."""

    x = torch.ones(20, 3, dtype=torch.float64)
    batches = [(x, torch.ones(20, 1, dtype=torch.float64))]

    class DeadInTorch(Dead):
        def forward(self, x):
            return torch.relu(self.layer(x))

    for dead in (Dead(), DeadInTorch()):
        verdict = judge(dead, SquareLoss(), batches, 1e-3, factors=[(np.zeros((1, 1)), np.zeros((3, 1)))])
        assert verdict.kind != "global" and verdict.convex is None
    # With X = 5/3 in each entry the output is -1 + 3 (5/3 - 1) = 1, the label, and F = lam ||X||.
    better = [(np.ones((1, 1)), np.full((3, 1), 5.0 / 3.0))]
    refuted = judge(
        Dead(), SquareLoss(), batches, 1e-3, factors=[(np.zeros((1, 1)), np.zeros((3, 1)))], others=[better]
    )
    assert refuted.kind == "refuted" and refuted.better == pytest.approx(1e-3 * 5.0 / 3.0**0.5, rel=1e-12)


def test_what_the_judgement_is_asked_for_reaches_it_from_the_training():
    x, y = torch.ones(20, 3, dtype=torch.float64), torch.ones(20, 1, dtype=torch.float64)
    better = [(np.ones((1, 1)), np.full((3, 1), 5.0 / 3.0))]
    end = fine_tune(Dead(), SquareLoss(), [(x, y)], 1e-3, max_calls=50, others=[better])
    assert end.verdict.kind == "refuted" and end.verdict.better == pytest.approx(1e-3 * 5.0 / 3.0**0.5)
    # Rounding alone leaves more than this, and no run goes on for longer than it may.
    strict = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=200, tol=1e-15)
    assert strict.verdict.kind in ("inconclusive", "not_converged")
    for calls in (1, 2, 7):
        assert fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=calls).result.nfev <= calls


def test_a_start_is_that_of_its_seed_and_a_rank_that_of_the_layers():
    first, again, other = (
        fine_tune(Net(), CrossEntropy(), data(), LAM, init="gaussian", seed=seed, max_calls=1).factors[0][0]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.allclose(first, other)
    with pytest.raises(ValueError, match=r"rank: the LoRA layers of the model have rank \[4\], got 3"):
        fine_tune(Net(), CrossEntropy(), data(), LAM, rank=3)


def test_a_checkpoint_of_other_ranks_is_refused_also_where_the_numbers_are_as_many(tmp_path):
    def net(*ranks):
        torch.manual_seed(0)
        return torch.nn.Sequential(LoRALinear(6, 6, ranks[0]), torch.nn.Tanh(), LoRALinear(6, 6, ranks[1]))

    batches = [(x.mean(1), y) for x, y in data()]
    settings = {"max_calls": 3, "checkpoint": tmp_path / "run.npz"}
    fine_tune(net(1, 2), CrossEntropy(), batches, LAM, **settings)
    with pytest.raises(ValueError, match=r"checkpoint: .* is of another problem"):
        fine_tune(net(2, 1), CrossEntropy(), batches, LAM, **settings)
    fine_tune(net(1, 2), CrossEntropy(), batches, LAM, **settings)


def test_a_run_is_kept_while_it_lasts(tmp_path, monkeypatch):
    module, path, seen = sys.modules[fine_tune.__module__], tmp_path / "run.npz", []
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)

    def watched(model, batch):
        seen.append(path.exists())
        return CrossEntropy()(model, batch)

    fine_tune(Net(), watched, data(), LAM, max_calls=20, checkpoint=path)
    # From the first iterates on, in 40 looks at a batch, there is what an interrupted run would go on from.
    assert not seen[0] and all(seen[20:])


@pytest.mark.parametrize("order", [1, -1])
def test_a_point_whose_loss_overflows_does_not_hide_a_better_one(order):
    """An output of minus infinity times 0 is no number."""
    x, y = torch.full((20, 3), 1e9, dtype=torch.float64), torch.ones(20, 1, dtype=torch.float64)
    nothing = [(np.zeros((1, 1)), np.zeros((3, 1)))]
    # With X = 1 + 2e-9/3 in each entry the output is -1 + 3e9 (X - 1) = 1, the label.
    better = [(np.ones((1, 1)), np.full((3, 1), 1.0 + 2e-9 / 3.0))]
    overflown = [(np.full((1, 1), 1e150), np.full((3, 1), -1e150))]
    assert math.isnan(Network(Dead(), SquareLoss(), [(x, y)]).value(overflown))
    found = judge(Dead(), SquareLoss(), [(x, y)], 1e-3, factors=nothing, others=[overflown, better][::order])
    assert found.kind == "refuted" and found.better == pytest.approx(1e-3 * 3.0**0.5, rel=1e-6)
    alone = judge(Dead(), SquareLoss(), [(x, y)], 1e-3, factors=nothing, others=[overflown])
    assert (alone.kind, alone.better) == ("tangent_optimal", None)


AFFINE = {
    "a product": (lambda W, x: x @ W.T, True),
    "a sum with what is fixed": (lambda W, x: x @ W.T + 1.0 - x.sum(), True),
    "chosen entries": (lambda W, x: W[torch.tensor([1, 0])][:, 1:].sum(), True),
    "a fixed mask": (lambda W, x: W * (x[:2] > 0), True),
    "a mean": (lambda W, x: (W / 3.0).mean(1), True),
    "rows put together": (lambda W, x: torch.cat([W, x, W + x[:2]]), True),
    "rows by number": (lambda W, x: torch.nn.functional.embedding(torch.tensor([1, 0, 1]), W), True),
    "a convolution": (lambda W, x: torch.nn.functional.conv1d(x[None, :2], W[None]), True),
    "a convolution of itself": (lambda W, x: torch.nn.functional.conv1d(W[None], W[None]), False),
    "a division that rounds": (lambda W, x: torch.div(W, 3.0, rounding_mode="floor"), False),
    "what it divides": (lambda W, x: x[:2] / W, False),
    "a square": (lambda W, x: W * W, False),
    "a product of two parts": (lambda W, x: W[0] * W[1], False),
    "a kink that is far away": (lambda W, x: torch.relu(W + 1e6), False),
    "a mask of its own": (lambda W, x: W * (W > -1e6), False),
    "rounding": (lambda W, x: W.to(torch.int64).to(W.dtype) * x[:2], False),
    "a choice by it": (lambda W, x: x[W[:, 0].to(torch.int64)], False),
    "out of sight": (lambda W, x: torch.tensor(W.tolist()) ** 2, False),
}


@pytest.mark.parametrize("name", AFFINE)
def test_operations_alone_show_what_is_affine(name):
    """As algebra has it; what is affine where one looks, and not elsewhere, is not affine."""
    outputs, true = AFFINE[name]
    x = torch.linspace(-1.0, 2.0, 12, dtype=torch.float64).reshape(4, 3)
    W = torch.linspace(0.5, 1.5, 6, dtype=torch.float64).reshape(2, 3)
    assert is_affine(lambda weights: outputs(weights[0], x), [W]) is true


def test_every_batch_has_to_be_affine():
    class TwoTasks(Last):
        def forward(self, x, bent=False):
            z = super().forward(x)
            return torch.tanh(z) if bent else z

    (first, labels), (second, others) = data(60, 6)
    loss = CrossEntropy(outputs=lambda model, batch: model(batch["x"], batch["bent"]))
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    kinds = []
    for bent in (False, True):
        batches = [{"x": first, "bent": False, "labels": labels}, {"x": second, "bent": bent, "labels": others}]
        kinds.append(judge(TwoTasks(6), loss, batches, 5.0, factors=nothing).kind)
    assert kinds == ["global", "tangent_optimal"]


def test_what_leaves_torch_is_caught_far_away():
    def bend(z):
        return z + torch.as_tensor(np.array(z.detach().sum(1, keepdim=True).tolist()) ** 2)

    def unseen(z):
        return z + torch.tensor([[max(0.0, sum(row))] for row in z.tolist()])

    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    for hidden in (bend, unseen):
        assert judge(last_with(hidden), CrossEntropy(), data(60, 6), 5.0, factors=nothing).kind != "global"


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


def layers_alone():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 3)).requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (Net, {}, "call again with the same model"),
        (Net, {"checkpoint": "run.npz"}, "call again with the same checkpoint"),
        (layers_alone, {"layers": ("1",), "rank": 2}, r"call again with init=\(result.A, result.B\)"),
    ],
)
def test_the_advice_at_the_limit_of_calls_is_about_fine_tune_and_leads_on(tmp_path, monkeypatch, make, settings, words):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = make()
    first = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5, **settings)
    assert first.result.status is ls.Status.CALL_LIMIT
    assert re.search(rf"5 evaluations of the data was reached; raise max_calls, or {words}", str(first))
    assert "another method" not in str(first) and "max_iter" not in str(first)
    start = {"init": (first.result.A, first.result.B)} if make is layers_alone else {}
    second = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5, **settings, **start)
    assert second.result.trace.value[0] == pytest.approx(first.result.fun, rel=1e-5)
    assert second.result.fun < first.result.fun


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


# Which of the directions agree, on two batches.
FAULTY, SOUND = ("0000", "0100", "1000", "110000"), ("111", "1011", "00111", "110001")


@pytest.mark.parametrize("agreeing", FAULTY + SOUND)
def test_one_direction_that_agrees_by_chance_hides_no_fault(monkeypatch, agreeing):
    """A wrong gradient agrees with values along some of all directions, a right one not across kinks."""
    network = Network(Net(), CrossEntropy(), data())
    draws = iter(agreeing)
    monkeypatch.setattr(network, "_slopes", lambda *_: (1.0, 1.0, 1.0 if next(draws) == "1" else 2.0, 1.0))
    assert (network.tested_value_and_gradients(network.zeros())[2] is not None) == (agreeing in FAULTY)
    assert next(draws, None) is None


def test_of_many_batches_a_few_of_the_later_ones_are_tried(monkeypatch):
    x, y = (torch.cat(parts) for parts in zip(*data(600)))
    network = Network(Net(), CrossEntropy(), list(zip(x.split(1), y.split(1))))
    tried = []
    monkeypatch.setattr(network, "_slopes", lambda batch, *_: tried.append(batch) or (1.0, 1.0, 1.0, 1.0))
    f, G, fault = network.tested_value_and_gradients(network.zeros())
    again = network.value_and_gradients(network.zeros())
    assert fault is None and f == again[0] and all(np.array_equal(g, h) for g, h in zip(G, again[1]))
    # 32 and the first twice; 32 (log(600/32)) = 94 expected later, with a standard deviation below 10.
    assert 33 + 94 - 60 < len(tried) < 33 + 94 + 60


class Capped(SquareLoss):
    """``1 - exp(-||z - y||^2 / 2)``, which is not convex: flat far from the label."""

    def of_outputs(self, z, targets):
        return 1.0 - torch.exp(-super().of_outputs(z, targets))


def test_a_subclass_that_is_said_not_to_be_convex_has_no_bound():
    x = torch.linspace(1.0, 2.0, 30, dtype=torch.float64)[:, None]
    batches = [(x, 100.0 * x)]
    model = torch.nn.Sequential(LoRALinear(1, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    where = {"factors": [(np.zeros((1, 1)), np.zeros((1, 1)))], "lam": 1e-3}
    # At X = 0 the loss is 1 and flat; X = 100 fits every label and has F = 100 lam.
    better = [(np.full((1, 1), 10.0), np.full((1, 1), 10.0))]
    verdict = judge(model, Capped(), batches, convex_loss=False, **where)
    assert verdict.kind == "inconclusive" and verdict.relative_gap == math.inf and verdict.convex is None
    assert "the loss is not convex" in str(verdict) and "CERTIFIED" not in str(verdict)
    refuted = judge(model, Capped(), batches, convex_loss=False, others=[better], **where)
    assert refuted.kind == "refuted" and refuted.better == pytest.approx(0.1, rel=1e-12)
    with pytest.raises(ValueError, match="tangent_solve: expected a loss that is convex"):
        judge(model, Capped(), batches, convex_loss=False, tangent_solve=True, **where)
    assert "stated by the caller: the loss is convex" in str(judge(model, Capped(), batches, **where))
    assert "SquareLoss is convex" in str(judge(model, SquareLoss(), batches, **where))


def test_a_lower_bound_that_the_caller_states_is_among_the_premises():
    """It is what the gap rests on: labels that are drawn at random cost at least their entropy."""
    for bound in (-1.0, 0.0, 0.25):
        verdict = judge(Net(), CrossEntropy(), data(), LAM, lower_bound=bound)
        said = [text for text in verdict.premises if "every loss is >= 0.25" in text and "caller" in text]
        assert len(said) == (bound > 0.0) and "CrossEntropy is convex in the outputs and >= 0" in str(verdict)
        found = verdict.certificate
        top = max(np.linalg.norm(G, 2) for G in found.gradients)
        inner = sum(float(np.vdot(G, X)) for G, X in zip(found.gradients, found.updates))
        nuclear = sum(float(np.linalg.norm(X, "nuc")) for X in found.updates)
        c = min(1.0, LAM / top)
        assert found.gap == pytest.approx((1.0 - c) * (found.f - bound) + LAM * nuclear + c * inner, rel=1e-9)


def test_the_linearity_index_is_zero_for_a_linear_network():
    network = Network(Last(2), CrossEntropy(), data(60, 6))
    found = linearity(network, 0.05)
    assert abs(found.index) < 1e-6
    bent = linearity(Network(Net(), CrossEntropy(), data()), LAM)
    assert bent.index > 1e-3 and "linearity index" in str(bent)
    # In shares of what the linearised network gains; the optimum is known far better than that.
    assert bent.index == pytest.approx((bent.f_network - bent.f_linear) / (bent.f_base - bent.f_linear), rel=1e-12)
    network = Network(Net(), CrossEntropy(), data())
    assert bent.f_base == pytest.approx(network.value(network.zeros()), rel=1e-12)
    assert bent.f_linear < bent.F < bent.f_base and bent.relative_gap <= 1e-7


def test_the_linearisation_runs_in_one_process(monkeypatch):
    network = Network(Net(), CrossEntropy(), data())
    monkeypatch.setattr(sys.modules[linearize.__module__], "processes", lambda: 2)
    with pytest.raises(ValueError, match="tangent_solve: runs in one process"):
        linearize(network, factors(network))


def test_the_solved_tangent_gap_is_below_that_of_one_gradient(trained):
    model, best = trained
    network = Network(model, CrossEntropy(), data())
    rough = [(1.05 * A, B) for A, B in best.factors]
    verdict = judge(model, CrossEntropy(), data(), LAM, factors=rough)
    solved = solve_tangent(linearize(network, rough), rough, LAM)
    assert 0.0 < solved.gap <= verdict.certificate.gap


# ---------------------------------------------------------------------- precision
CASTS = {
    "none": lambda x: x,
    "float": lambda x: x.float(),
    "half": lambda x: x.half(),
    "to": lambda x: x.to(torch.float32),
    "to dtype": lambda x: x.to(dtype=torch.bfloat16),
    "to other": lambda x: x.to(torch.zeros(1)),
    "type": lambda x: x.type(torch.float32),
    "type_as": lambda x: x.type_as(torch.zeros(1)),
    "mask": lambda x: (x.abs() < 1e9).float() * x,
    "a tensor type": lambda x: x.type("torch.FloatTensor"),
}


class Normed(torch.autograd.Function):
    """A norm with a derivative of its own, in float32."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        z, d = x.float(), g.float()
        scale = torch.rsqrt(z.pow(2).mean(-1, keepdim=True))
        return (scale * d - z * scale**3 * (z * d).mean(-1, keepdim=True)).to(x.dtype)


def recomputed(x):
    """A norm in float32 that is computed again in the backward pass."""

    def norm(x):
        z = x.float()
        return (z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True))).to(x.dtype)

    return torch.utils.checkpoint.checkpoint(norm, x, use_reentrant=False)


class Casting(torch.nn.Module):
    """A norm and a softmax as language models have them, computed in float32 whatever they are given."""

    def __init__(self, cast, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.first = LoRALinear(6, 7, 4, 2.0)
        self.second = LoRALinear(7, classes, 3, 0.5)
        self.cast = cast

    def forward(self, x):
        h = self.first(x)
        inner = CASTS[self.cast](h)
        h = (inner * torch.rsqrt(inner.pow(2).mean(-1, keepdim=True) + 1e-6)).to(h.dtype)
        scores = h @ h.transpose(1, 2)
        kind = None if self.cast == "none" else torch.float32
        weights = torch.nn.functional.softmax(scores, dim=-1, dtype=kind).to(h.dtype)
        return self.second(torch.tanh(weights @ h)).mean(1)


@pytest.mark.parametrize("cast", sorted(set(CASTS) - {"none"}))
def test_casts_within_a_model_do_not_lower_the_precision_or_are_told(cast):
    exact, network = (Network(Casting(kind), CrossEntropy(), data()) for kind in ("none", cast))
    at = [(A[:, :3], B[:, :3]) for A, B in factors(network)]
    stored = {id(tensor): tensor.dtype for tensor in network.model.parameters()}
    f, G = network.value_and_gradients(at)
    assert {id(tensor): tensor.dtype for tensor in network.model.parameters()} == stored
    expected, H = exact.value_and_gradients(at)
    values = [network.value([(A * (1 + k * 1e-12), B) for A, B in at]) for k in range(6)]
    premise = judge(network.model, CrossEntropy(), data(), LAM, factors=at).premises[-1]
    if cast == "a tensor type":
        assert f == pytest.approx(expected, rel=1e-5)
        assert network.below == ("float32",) and network.precision == "float32"
        assert "evaluated in float64 but in parts in float32" in premise
        return
    assert f == pytest.approx(expected, rel=1e-14)
    for g, h in zip(G, H):
        np.testing.assert_allclose(g, h, atol=1e-14)
    assert max(abs(np.diff(values))) < 1e-11 * f
    assert network.below == () and "network evaluated in float64, sums" in premise
    linearize(network, at)
    network.gradients_and_products(at, [np.ones(shape) for shape in network.shapes])
    assert network.differences is None


def test_casts_in_the_backward_pass_do_not_lower_the_precision():
    class Net(Casting):
        def __init__(self, norm):
            super().__init__("none")
            self.norm = norm

        def forward(self, x):
            return self.second(torch.tanh(self.norm(self.first(x)))).mean(1)

    def plain(x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))

    found = []
    for norm in (plain, Normed.apply, recomputed):
        network = Network(Net(norm), CrossEntropy(), data())
        at = [(A[:, :3], B[:, :3]) for A, B in factors(network)]
        D = [np.random.default_rng(2).standard_normal(shape) for shape in network.shapes]
        found.append((*network.value_and_gradients(at)[1], *network.gradients_and_products(at, D)[1]))
        assert network.differences is None
    for others in found[1:]:
        for part, expected in zip(others, found[0]):
            np.testing.assert_allclose(part, expected, rtol=0.0, atol=1e-13 * np.abs(expected).max())


def test_half_precision_weights_are_judged_in_float32_and_said_so():
    model = Net().to(torch.bfloat16)
    verdict = judge(model, CrossEntropy(), data(), LAM, dtype="float32")
    assert "stored in bfloat16, network evaluated in float32" in str(verdict)


# ---------------------------------------------------------------------- several processes
def share(rank, size, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    torch.set_num_threads(1)
    verdict = judge(Net(), CrossEntropy(), [data()[rank]], LAM)
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(verdict.to_dict(), file)
    leave()


def test_processes_that_share_the_data_give_the_verdict_of_all(tmp_path, monkeypatch):
    # The processes import this module by its name.
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2]))
    torch.multiprocessing.spawn(share, (2, str(tmp_path)), nprocs=2)
    whole = judge(Net(), CrossEntropy(), data(), LAM).to_dict()
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert "gathered over 2 processes" in found["premises"][0]
        assert found["kind"] == whole["kind"]
        assert found["certificate"]["F"] == pytest.approx(whole["certificate"]["F"], rel=1e-12)
        assert found["relative_gap"] == pytest.approx(whole["relative_gap"], rel=1e-9)


def watch_shards(rank, size, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    torch.set_num_threads(1)
    from torch.distributed.fsdp import fully_shard

    model = watched()
    fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (size,)))
    CrossEntropy()(model, data()[0]).mean().backward()
    monitor = LoRAMonitor(LAM, base=model, ratio=100.0)
    found = {"reason": monitor.step(model), **monitor.to_dict()}
    try:
        judge(model, CrossEntropy(), data(), LAM)
    except ValueError as error:
        found["refused"] = str(error)
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(found, file)
    leave()


def watched():
    model = Net(dropout=0.0)
    for layer in (model.first, model.second):
        torch.nn.init.normal_(layer.lora_B)
    return model


def test_a_reading_of_a_model_in_shards_is_that_of_the_whole(tmp_path, monkeypatch):
    """Sums over the parts of one process had been taken for those of all: half of a gradient, and no identity in it."""
    if not hasattr(pytest.importorskip("torch.distributed.fsdp"), "fully_shard"):
        pytest.skip("this torch shards in another way")
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parents[2]))
    torch.multiprocessing.spawn(watch_shards, (2, str(tmp_path)), nprocs=2)
    model = watched()
    CrossEntropy()(model, data()[0]).mean().backward()
    monitor = LoRAMonitor(LAM, base=model, ratio=100.0)
    assert monitor.step(model) is None
    expected = monitor.to_dict()
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["reason"] is None and found["warnings"] == []
        assert found["base_norms"] == pytest.approx(expected["base_norms"], rel=1e-6)
        for name, reading in expected["history"][0]["layers"].items():
            got = found["history"][0]["layers"][name]
            assert got.pop("mismatch") < 1e-6
            assert got == pytest.approx({key: value for key, value in reading.items() if key != "mismatch"}, rel=1e-5)
        assert "model: first is sharded over processes" in found["refused"]


# ---------------------------------------------------------------------- optimizer.pt
def test_the_optimizers_state_tells_its_decay(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=2e-4, weight_decay=0.01)
    for _ in range(5):
        parameter.grad = torch.full((3,), 2.0)
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.horizon == pytest.approx(500_000)
    assert (found.steps, found.adaptive, len(found.smoothed_gradients)) == (5, True, 1)
    assert found.smoothed_gradients[0] == pytest.approx(2.0 * (1 - 0.9**5) * 3**0.5, rel=1e-6)
    assert "decoupled" in str(found) and json.dumps(found.to_dict())
    torch.save(torch.optim.SGD([parameter], lr=0.1).state_dict(), tmp_path / "plain.pt")
    assert "no decay" in str(read_optimizer_state(tmp_path / "plain.pt"))


def test_at_the_end_of_a_schedule_the_decay_is_still_told(tmp_path):
    # The Trainer's last checkpoint has a learning rate of 0.
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / 5)
    for _ in range(5):
        parameter.grad = torch.ones(3)
        optimizer.step()
        schedule.step()
    state = optimizer.state_dict()
    torch.save(state, tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.groups[0].lr, found.groups[0].full_lr) == (0.0, 1e-3)
    assert found.horizon == pytest.approx(100_000) and "no decay" not in str(found)
    del state["param_groups"][0]["initial_lr"]
    torch.save(state, tmp_path / "unknown.pt")
    assert "not known" in str(read_optimizer_state(tmp_path / "unknown.pt"))


@pytest.mark.parametrize(
    ("optimizer", "decays", "kind", "lam"),
    [
        ("Adam", (0.05, 0.05), "l2", 0.05),
        ("Adam", (0.05, 0.0), "unknown", None),
        ("SGD", (0.05, 0.1), "unknown", None),
        ("AdamW", (0.05, 0.05), "decoupled", 0.05),
        ("AdamW", (0.05, 0.0), "decoupled", None),
        ("Adam", (0.0, 0.0), "none", None),
    ],
)
def test_one_lam_is_read_only_where_all_tensors_have_it(tmp_path, optimizer, decays, kind, lam):
    """A penalty on one factor alone is stationary at unbalanced factors, whose imbalance then proves nothing."""
    folder = pathlib.Path(tmp_path)
    parts = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(4, 3))]
    groups = [{"params": [part], "weight_decay": decay} for part, decay in zip(parts, decays)]
    state = getattr(torch.optim, optimizer)(groups, lr=1e-3).state_dict()
    # The Trainer of transformers writes a group for biases even where there are none.
    state["param_groups"].append(state["param_groups"][0] | {"params": [], "weight_decay": 0.7})
    torch.save(state, folder / "optimizer.pt")
    found = read_optimizer_state(folder)
    assert (found.decay_kind, found.weight_decay) == (kind, lam)
    assert ("AdamW" in str(found)) == (kind == "decoupled")
    # The decay of no tensor is not told as one of the run.
    assert "0.7" not in str(found) and ("no decay was applied" in str(found)) == (kind == "none")
    assert found.horizon == pytest.approx(1.0 / (1e-3 * max(decays)) if max(decays) else math.inf)
    del state["param_groups"][0]["params"], state["param_groups"][1]["params"]
    torch.save(state, folder / "optimizer.pt")
    assert read_optimizer_state(folder).decay_kind == "unknown"


@pytest.mark.parametrize(
    ("optimizer", "settings", "kind"),
    [("Adam", {}, "l2"), ("SGD", {"momentum": 0.9}, "l2"), ("AdamW", {}, "decoupled")],
)
def test_vectors_without_a_decay_leave_that_of_the_factors(tmp_path, optimizer, settings, kind):
    """The Trainer of transformers decays neither biases nor norms, and a classifier that is trained beside has one."""
    matrices = [torch.nn.Parameter(torch.ones(*shape)) for shape in ((3, 2), (4, 3))]
    bias = torch.nn.Parameter(torch.ones(4))
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}]
    made = getattr(torch.optim, optimizer)(groups, lr=1e-3, **settings)
    state = made.state_dict()
    torch.save(state, tmp_path / "before.pt")  # nothing is kept of any gradient: it is not known what is a bias
    assert read_optimizer_state(tmp_path / "before.pt").weight_decay is None
    for part in (*matrices, bias):
        part.grad = torch.ones_like(part)
    made.step()
    torch.save(made.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay) == (kind, 0.05)
    assert [group.of_vectors for group in found.groups] == [False, True]
    assert "weight decay 0.05 (0 on vectors, as biases are); steps" in str(found)
    # A matrix without a decay may be a factor.
    state = made.state_dict()
    state["param_groups"][1]["params"].append(state["param_groups"][0]["params"].pop())
    torch.save(state, tmp_path / "optimizer.pt")
    assert read_optimizer_state(tmp_path).weight_decay is None


@pytest.mark.parametrize("name", ["AdamW", "Adafactor", "Muon"])
def test_a_decay_that_shrinks_where_there_is_no_gradient_is_decoupled(tmp_path, name):
    """A penalty of 0.05 would be divided by the size that these give a gradient, and make a step of about lr."""
    if not hasattr(torch.optim, name):
        pytest.skip(f"this torch has no {name}")
    parameter = torch.nn.Parameter(torch.full((3, 2), 2.0))
    optimizer = getattr(torch.optim, name)([parameter], lr=1e-2, weight_decay=0.05)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert float(parameter.max()) == pytest.approx(2.0 * (1.0 - 1e-2 * 0.05), rel=1e-6)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.horizon) == ("decoupled", pytest.approx(1.0 / (1e-2 * 0.05)))


def test_what_groups_differ_in_is_not_told_of_all(tmp_path):
    parts = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [parts[0]], "lr": 1e-3}, {"params": [parts[1]], "lr": 1e-2}]
    optimizer = torch.optim.Adam(groups, weight_decay=0.05)
    for step in range(5):
        for part in parts[step > 2 :]:
            part.grad = torch.ones(2)
        optimizer.step()
        optimizer.zero_grad()
    state = optimizer.state_dict()
    state["param_groups"][1]["decoupled_weight_decay"] = True
    torch.save(state, tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    # The shortest horizon is that of the larger learning rate, and the most steps are those of the second tensor.
    assert (found.steps, found.decay_kind) == (5, "unknown")
    assert found.horizon == pytest.approx(1.0 / (1e-2 * 0.05)) == 2000.0


def test_a_gradient_descent_that_decouples_its_decay_is_not_taken_for_that_of_torch(tmp_path):
    """With momentum mu it rests at ``g + (1 - mu) weight_decay theta = 0``, which is another lam."""
    parameter = torch.nn.Parameter(torch.ones(3))
    state = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.05).state_dict()
    torch.save(state, tmp_path / "optimizer.pt")
    assert read_optimizer_state(tmp_path).decay_kind == "l2"
    keys = state["param_groups"][0]
    fused = keys.pop("fused")
    others = (
        {"fused": fused, "weight_decouple": True},
        {"caution": False, "corrected_weight_decay": False},  # the SGDW of timm, which names its decay nowhere
    )
    for added in others:
        torch.save(state | {"param_groups": [keys | added]}, tmp_path / "optimizer.pt")
        assert read_optimizer_state(tmp_path).decay_kind == "unknown"


@pytest.mark.parametrize(
    ("momentum", "dampening", "expected"), [(0.0, 0.0, 5000.0), (0.9, 0.0, 500.0), (0.9, 0.5, 1000.0)]
)
def test_the_horizon_of_gradient_descent_is_that_of_its_momentum(tmp_path, momentum, dampening, expected):
    """With 0.9 a weight shrinks ten times as fast as ``lr wd`` says: that many steps shrink it by ``e``."""
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    settings = {"lr": 0.02, "weight_decay": 0.01, "momentum": momentum, "dampening": dampening}
    optimizer = torch.optim.SGD([parameter], **settings)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.horizon == pytest.approx(expected) and found.groups[0].momentum == momentum
    assert f"{'(1 - momentum)' if momentum else '1'}/(lr wd) = {expected:.3g} steps" in str(found)
    sizes = []
    for _ in range(2):
        for _ in range(int(expected)):
            parameter.grad = torch.zeros(2, dtype=torch.float64)
            optimizer.step()
        sizes.append(float(parameter[0].detach()))
    assert sizes[1] / sizes[0] == pytest.approx(math.exp(-1.0), rel=0.03)


def test_of_a_decay_that_an_optimizer_divides_no_horizon_is_told(tmp_path):
    """Adam's steps are of size ``lr`` whatever the decay: where a thousandth was told a weight has shrunk by ``e``."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1, weight_decay=1e-3)
    for _ in range(8):
        parameter.grad = torch.zeros(2)
        optimizer.step()
    assert float(parameter[0].detach()) < math.exp(-1.0)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.decay_kind == "l2" and "of it done" not in str(found) and "it has no horizon" in str(found)
    rms = torch.optim.RMSprop([parameter], lr=0.1, weight_decay=1e-3)
    torch.save(rms.state_dict(), tmp_path / "optimizer.pt")
    told = str(read_optimizer_state(tmp_path))
    assert told.endswith("decay horizon 1/(lr wd) = 1e+04 steps at the full lr if it is decoupled")


def test_files_that_are_no_optimizers_state_are_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    with pytest.raises(FileNotFoundError):
        read_optimizer_state(tmp_path)
    torch.save({"param_groups": [{"lr": Hostile()}]}, tmp_path / "hostile.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"param_groups": [{}]}, tmp_path / "empty.pt")
    (tmp_path / "noise.pt").write_bytes(b"\x80\x04noise")
    hints = {"hostile": "readable", "list": "param_groups", "empty": "learning rate", "noise": "readable"}
    for name, hint in hints.items():
        with pytest.raises(ValueError, match=hint):
            read_optimizer_state(tmp_path / f"{name}.pt")
