"""Values and gradients of a network over all of its data. Skipped without torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Net, Regression, data, factors, mean_of_a_batch  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.multi import MultiProblem  # noqa: E402
from lorasolve.networks import CrossEntropy, Network, SquareLoss, fine_tune, judge, linearize  # noqa: E402

torch.set_num_threads(1)


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


class Once(torch.utils.data.IterableDataset):
    """Samples from one iterator, which is gone after a pass."""

    def __init__(self):
        self.rest = iter([(x, y) for batch in data() for x, y in zip(*batch)])

    def __iter__(self):
        return self.rest


class Shrinking:
    """Data that lose a batch with every pass."""

    def __init__(self):
        self.left = 5

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
    with pytest.raises(ValueError, match=r"expected 24 samples in each pass as in the first, got 34 .*list\(batches\)"):
        network.value(network.zeros())
