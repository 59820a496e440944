"""Weights, casts and losses in other precisions than float64. Skipped without torch."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_networks import CASTS, LAM, Casting, Coarse, CoarseOfMany, Net, data, factors  # noqa: E402

from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LoRAMonitor,
    Network,
    features,
    fine_tune,
    judge,
    linearize,
    solve_tangent,
)

torch.set_num_threads(1)


def test_what_is_judged_is_what_the_layers_hold_in_their_precision():
    model = Net().to(torch.bfloat16)
    best = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=200)
    held = [(layer.lora_B, layer.lora_A.T) for layer in (model.first, model.second)]
    for pair, own in zip(best.factors, held):
        for part, tensor in zip(pair, own):
            np.testing.assert_array_equal(part, tensor.detach().double().numpy())
    again = judge(model, CrossEntropy(), data(), LAM)
    assert (best.verdict.kind, best.verdict.F) == (again.kind, pytest.approx(again.F, rel=1e-14))


def test_more_steps_are_not_advised_where_the_rounding_of_stored_factors_stands_in_their_way():
    """They end as far from stationary again, though the run itself came to rest; in float32 they do not."""
    told = "The factors are stored in bfloat16, whose rounding alone makes gradients of"
    model = Net(weight=3.0).to(torch.bfloat16)
    early = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=8).verdict
    assert early.kind == "not_converged" and "More steps of" in early.reason and told not in early.reason
    once, again = (fine_tune(model, CrossEntropy(), data(), LAM, max_calls=300) for _ in range(2))
    for best in (once, again):
        assert best.verdict.kind == "not_converged" and best.result.grad_norm < 1e-8
        assert told in best.verdict.reason and "More steps of" not in best.verdict.reason
    assert again.verdict.certificate.grad_norm > 0.5 * once.verdict.certificate.grad_norm > 1e-4
    # Other factors than those that the model holds are not stored.
    elsewhere = judge(model, CrossEntropy(), data(), LAM, factors=[(1.001 * A, B) for A, B in again.factors])
    assert elsewhere.kind == "not_converged" and told not in elsewhere.reason
    assert fine_tune(model.float(), CrossEntropy(), data(), LAM, max_calls=300).verdict.certificate.grad_norm < 1e-6


def test_a_gradient_beyond_that_of_rounding_is_not_put_down_to_it():
    """Stored factors that are a hundredth too long leave a gradient several times as long as rounding makes."""
    told = r"whose rounding alone makes gradients of (\S+), and this one is"
    model = Net(weight=3.0).to(torch.bfloat16)
    reason = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=300).verdict.reason
    rounding = float(re.search(told, reason)[1])
    with torch.no_grad():
        for layer in (model.first, model.second):
            layer.lora_A *= 1.01
            layer.lora_B *= 1.01
    found = judge(model, CrossEntropy(), data(), LAM)
    assert 5.0 * rounding < found.certificate.grad_norm < 25.0 * rounding
    assert found.kind == "not_converged" and not re.search(told, found.reason)
    assert "More steps of full-batch training remain" in found.reason


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
    asked = {"model": lambda: judge(model, CrossEntropy(), data(), LAM), "base": lambda: LoRAMonitor(base=model)}
    for argument, ask in asked.items():
        words = rf"{argument}: second has a weight that is no plain tensor \(Packed; quantised"
        with pytest.raises(ValueError, match=words):
            ask()
    monitor = LoRAMonitor(LAM)
    assert monitor.step(model) is None and monitor.warnings == []


class Codes(torch.nn.Parameter):
    """Numbers of four bits or eight as bitsandbytes has them: the parameter itself holds what they mean."""

    def __new__(cls, codes, table):
        made = torch.Tensor._make_subclass(cls, codes, False)
        made.table = table
        return made


class Coded(torch.nn.Module):
    def __init__(self, like):
        super().__init__()
        table = torch.linspace(-1.0, 1.0, 256)
        self.weight = Codes((torch.bucketize(like.weight.detach(), table)).to(torch.uint8), table)

    def forward(self, x):
        return x @ self.weight.table[self.weight.int()].to(x.dtype).T


def test_a_frozen_layer_whose_parameter_holds_codes_is_refused_by_name_and_watched():
    """In the place of the parameter its bare codes had stood: that ended in an AttributeError of its layer."""
    model = Net()
    model.head = Coded(model.head)
    CrossEntropy()(model, data()[0]).mean().backward()
    with pytest.raises(ValueError, match=r"model: head\.weight is quantised \(Codes of torch\.uint8\)"):
        judge(model, CrossEntropy(), data(), LAM)
    monitor = LoRAMonitor(LAM, base=model)
    monitor.step(model)
    assert monitor.warnings == []


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
        with pytest.raises(ValueError, match=f"base: first {words}"):
            LoRAMonitor(base=model)


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


@pytest.mark.parametrize("kind", ["BFloat16", "Half"])
def test_what_half_precision_rounds_off_is_not_certified(kind):
    """Its values were told to be within 1e-5 of an optimum, and were off from the network's own by more."""
    model = Coarse()
    best = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=400)
    assert best.verdict.kind == "tangent_optimal"
    model = Coarse(kind)
    start = Network(Coarse(), CrossEntropy(), data()).point
    worse = [(2.0 * A, 2.0 * B) for A, B in best.factors]
    for point, others in ((best.factors, []), (start, []), (worse, [best.factors])):
        verdict = judge(model, CrossEntropy(), data(), LAM, factors=point, others=others)
        assert verdict.kind == "inconclusive" and verdict.level is None and math.isinf(verdict.relative_gap)
        assert {"BFloat16": "bfloat16", "Half": "float16"}[kind] in verdict.reason
    off = abs(judge(model, CrossEntropy(), data(), LAM, factors=best.factors).F - best.verdict.F)
    assert off > 1e-5 * best.verdict.F


@pytest.mark.parametrize(("kind", "name"), [("BFloat16", "bfloat16"), ("Half", "float16"), ("", "float32")])
def test_casts_on_later_batches_count_as_those_on_the_first(kind, name):
    """They were not seen, and what they round off was told to be a gradient that the loss contradicts."""
    best = fine_tune(Coarse(), CrossEntropy(), data(), LAM, max_calls=400)
    verdicts = []
    for model, batches in ((Coarse, data()), (CoarseOfMany, data()), (CoarseOfMany, [data()[0]])):
        model = model(kind)
        network = Network(model, CrossEntropy(), batches)
        assert network.below == ((name,) if len(batches) == 2 else ())
        verdicts.append(judge(model, CrossEntropy(), batches, LAM, factors=best.factors))
    first, later, without = verdicts
    assert later.kind == first.kind and later.level == first.level
    assert later.premises == first.premises != without.premises
    assert later.kind == ("inconclusive" if kind else "tangent_optimal")
    assert not kind or name in later.reason


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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lam", [0.05, 0.01])
def test_the_solved_gap_of_a_network_in_float32_counts_its_rounding(seed, lam):
    """Any value of the same tangent problem in float64 is one that the point is above; it was by more than the gap."""
    model = moved_net(seed)
    rough, exact = (Network(model, CrossEntropy(), data(seed=seed), dtype=dtype) for dtype in ("float32", "float64"))
    point = exact.point
    claimed, better = (solve_tangent(linearize(network, point), point, lam) for network in (rough, exact))
    assert better.F - better.value <= claimed.gap <= better.gap + 1e-4 * better.F


def moved_net(seed):
    """Return the small network with factors as after some training."""
    model = Net(seed=seed)
    with torch.no_grad():
        model.first.lora_B.normal_()
        model.second.lora_B.normal_()
    return model
