"""The token form of the linearised problem, and how linear a network is. Skipped without torch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch_networks import LAM, Casting, Last, Net, data, factors  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LinearizedNetwork,
    Network,
    SquareLoss,
    features,
    fine_tune,
    judge,
    linearity,
    linearize,
)

torch.set_num_threads(1)


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


def fitted(net, rounding=0.0):
    """Return a network, data that it fits at a point up to rounding, and the point; the gradient is rounding too."""
    x = torch.cat([inputs for inputs, _ in data()]).double()
    network = Network(net, SquareLoss(), [(x, torch.zeros(len(x), 3))])
    at = factors(network)
    with torch.no_grad(), network.evaluating(network.tensors(at)):
        y = net(x)
    y += rounding * torch.randn_like(y)
    return Network(net, SquareLoss(), [(x, y)]), at, x


@pytest.mark.parametrize("rounding", [0.0, 1e-16])
def test_the_outputs_of_a_network_that_fits_its_data_are_linearised(rounding):
    """Against central differences of the outputs, of which every entry is seen."""
    network, at, x = fitted(Net(), rounding)
    ntk = linearize(network, at)
    rng = np.random.default_rng(2)
    direction = [(rng.standard_normal(A.shape), rng.standard_normal(B.shape)) for A, B in at]

    def moved(t):
        return [(np.hstack([A, t * U]), np.hstack([B, V])) for (A, B), (U, V) in zip(at, direction)]

    def outputs(t):
        with torch.no_grad(), network.evaluating(network.tensors(moved(t))):
            return network.model(x).numpy()

    slope = (outputs(1e-5) - outputs(-1e-5)) / 2e-5
    np.testing.assert_allclose(ntk.outputs(moved(1.0)) - ntk.outputs(at), slope, atol=1e-8)


class Together(Net):
    """Outputs of which the mean of the batch is taken."""

    def forward(self, x):
        z = super().forward(x)
        return z - z.mean(0)


def test_samples_that_interact_show_where_the_data_are_fitted_too():
    network, at, _ = fitted(Together())
    with pytest.raises(ValueError, match=r"its outputs and those of its token form differ by .* samples of a"):
        linearize(network, at)


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


@pytest.mark.parametrize("reentrant", [False, True])
def test_parts_that_are_computed_again_have_the_tangent_problem_or_are_refused_in_words(reentrant):
    """torch's reentrant checkpointing has no derivatives but those of leaves, which ended a judgement in its error."""

    class Again(Net):
        def forward(self, x):
            hidden = torch.tanh(self.first(x))
            again = checkpoint(lambda h: torch.tanh(self.second(h)), hidden, use_reentrant=reentrant)
            return self.head(again.mean(1))

    at = factors(Network(Net(), CrossEntropy(), data()))
    expected = judge(Net(), CrossEntropy(), data(), LAM, factors=at, tangent_solve=True)
    if not reentrant:
        found = judge(Again(), CrossEntropy(), data(), LAM, factors=at, tangent_solve=True)
        assert found.solved.gap == pytest.approx(expected.solved.gap, rel=1e-3)
        return
    with pytest.raises(ValueError, match="model: its outputs have no derivatives in those of its layers: "):
        linearize(Network(Again(), CrossEntropy(), data()), at)
    with pytest.raises(
        ValueError, match=r"its outputs have no derivative along a step of the weights: .*use_reentrant"
    ):
        judge(Again(), CrossEntropy(), data(), LAM, factors=at, tangent_solve=True)
    end = fine_tune(Again(), CrossEntropy(), data(), LAM, max_calls=3, tangent_solve=True).verdict
    assert end.premises[-1].startswith("left out of the judgement") and "use_reentrant" in end.premises[-1]
    plain = judge(Again(), CrossEntropy(), data(), LAM, factors=at)
    assert plain.certificate.gap == pytest.approx(expected.certificate.gap, rel=1e-9)


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


@pytest.mark.parametrize("seed", range(6))
def test_where_no_update_is_worth_its_penalty_the_index_compares_nothing(seed):
    """The values of the network in float32 and of its linearisation differ by rounding, of either sign."""
    network = Network(Net(seed=seed), CrossEntropy(), data(seed=seed), dtype="float32")
    top = max(np.linalg.norm(G, 2) for G in network.value_and_gradients(network.zeros())[1])
    found = linearity(network, 1.5 * top)
    assert (found.index, found.ranks) == (0.0, (0, 0)) and "nothing to compare" in str(found)


def test_the_linearisation_runs_in_one_process(monkeypatch):
    network = Network(Net(), CrossEntropy(), data())
    monkeypatch.setattr(sys.modules[linearize.__module__], "processes", lambda: 2)
    with pytest.raises(ValueError, match="tangent_solve: runs in one process"):
        linearize(network, factors(network))
