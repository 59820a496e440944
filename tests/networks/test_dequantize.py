"""Networks over quantised weights become networks over the numbers that these stand for. Skipped without torch."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_networks import LAM, Net, data  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, dequantize, judge  # noqa: E402

torch.set_num_threads(1)

TABLE = torch.linspace(-1.0, 1.0, 16)


class Codes(torch.nn.Parameter):
    """Numbers of four bits as bitsandbytes has them."""


class Coded(torch.nn.Module):
    """A layer over codes in a parameter, which computes in a dtype of its own."""

    def __init__(self, like, dtype=torch.float32):
        super().__init__()
        self.in_features, self.out_features, self.dtype = like.in_features, like.out_features, dtype
        codes = torch.bucketize(like.weight.detach(), TABLE[:-1]).to(torch.uint8)
        self.weight = torch.Tensor._make_subclass(Codes, codes, False)
        self.bias = None if like.bias is None else torch.nn.Parameter(like.bias.detach().clone(), requires_grad=False)

    def numbers(self):
        return TABLE[self.weight.int()]

    def forward(self, x):
        y = x.to(self.dtype) @ self.numbers().to(self.dtype).T
        return y.to(x.dtype) if self.bias is None else y.to(x.dtype) + self.bias.to(x.dtype)


class Packed(Coded):
    """Two codes a byte in a buffer, and no weight, as GPTQ and AWQ have them."""

    def __init__(self, like):
        super().__init__(like)
        codes = torch.nn.functional.pad(self.weight.data.flatten(), (0, self.weight.numel() % 2))
        del self.weight
        self.register_buffer("qweight", codes[::2] + 16 * codes[1::2])

    def numbers(self):
        codes = torch.stack([self.qweight % 16, self.qweight // 16], 1).flatten().int()
        return TABLE[codes[: self.out_features * self.in_features]].reshape(self.out_features, self.in_features)


class Rounding(Coded):
    """Its inputs are rounded too: to eight bits relative to the largest, or to floats of eight bits."""

    def __init__(self, like, to):
        super().__init__(like)
        self.to_dtype = to

    def forward(self, x):
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / (127.0 if self.to_dtype == torch.int8 else 448.0)
        x = x / scale
        return super().forward((x.round() if self.to_dtype == torch.int8 else x.to(self.to_dtype).float()) * scale)


def coded(kind=Coded, **options):
    """Return a network over codes, and the same over their numbers."""
    model = Net()
    model.head = torch.nn.Linear(5, 3).requires_grad_(False)
    plain = copy.deepcopy(model)
    for name in ("first", "second"):
        layer = kind(getattr(model, name).linear, **options)
        getattr(model, name).linear = layer
        getattr(plain, name).linear.weight = torch.nn.Parameter(layer.numbers().clone(), requires_grad=False)
    model.head = kind(model.head, **options)
    plain.head.weight = torch.nn.Parameter(model.head.numbers().clone(), requires_grad=False)
    return model, plain


@pytest.mark.parametrize("kind", [Coded, Packed])
def test_the_verdict_is_that_of_the_network_over_the_numbers(kind):
    model, plain = coded(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"networks\.dequantize"):
        judge(model, CrossEntropy(), data(), LAM)
    made = dequantize(model)
    for name in ("first", "second"):
        own, true = getattr(made, name).linear, getattr(plain, name).linear
        assert type(own) is torch.nn.Linear and not own.weight.requires_grad
        torch.testing.assert_close(own.weight, true.weight, rtol=0.0, atol=1e-7)
    torch.testing.assert_close(made.head.bias, plain.head.bias, rtol=0.0, atol=1e-7)
    verdict, expected = (judge(each, CrossEntropy(), data(), LAM) for each in (made, plain))
    assert verdict.kind == expected.kind
    assert pytest.approx(expected.F, rel=1e-6) == verdict.F
    assert type(model.head) is kind
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert made.first.lora_A is not model.first.lora_A


def test_layers_without_a_weight_are_watched():
    """The factors and their gradients are those of the network over the numbers."""
    readings = []
    for model in (each.eval() for each in coded(Packed)):  # without dropout
        rng = torch.Generator().manual_seed(0)
        for layer in (model.first, model.second):
            layer.lora_B.data.normal_(generator=rng)
        monitor = LoRAMonitor(LAM)
        torch.stack([CrossEntropy()(model, batch).mean() for batch in data()]).mean().backward()
        assert monitor.step(model) is None
        readings.append(monitor.history[0][1])
    assert list(readings[0]) == list(readings[1]) == ["first", "second"]
    for packed, plain in zip(*(each.values() for each in readings)):
        assert packed.spectral == plain.spectral > 0.0
        assert packed.grad == pytest.approx(plain.grad, rel=1e-5) and packed.grad > 0.0
        assert packed.mismatch < 1e-5
    with pytest.raises(ValueError, match=r"first adapts a Packed; only .* and be a monitor's base"):
        LoRAMonitor(LAM, base=coded(Packed)[0])


def test_a_layer_that_computes_in_half_precision_gives_the_numbers_that_it_multiplies():
    layer = Coded(torch.nn.Linear(40, 30), dtype=torch.bfloat16).eval()
    made = dequantize(layer)
    assert not made.training
    torch.testing.assert_close(made.weight, layer.numbers().to(torch.bfloat16).float(), rtol=0.0, atol=1e-7)


def test_a_large_bias_in_half_precision_does_not_hide_the_weight():
    """As those of Qwen: what a layer answers is rounded with its bias, by more than the weight here."""

    class Half(Coded):
        def forward(self, x):
            return super().forward(x).to(torch.bfloat16).to(x.dtype)

    layer = Half(torch.nn.Linear(64, 8))
    layer.bias.fill_(300.0)
    made = dequantize(layer)
    torch.testing.assert_close(made.weight, layer.numbers(), rtol=2.0**-8, atol=0.0)
    assert torch.equal(made.bias, layer.bias)


def test_a_weight_of_zeros_is_one():
    layer = Coded(torch.nn.Linear(4, 3, bias=False))
    layer.numbers = lambda: torch.zeros(3, 4)
    assert not dequantize(layer).weight.any()


def test_a_constant_that_is_no_bias_is_refused():
    layer = Coded(torch.nn.Linear(4, 3))
    layer.forward = lambda x: x @ torch.ones(4, 3) + 1.0
    with pytest.raises(ValueError, match=r"model: the model \(Coded\) is no product with a weight: it answers 0 with"):
        dequantize(layer)


def test_more_inputs_than_are_asked_at_a_time(monkeypatch):
    monkeypatch.setattr(sys.modules["lorasolve.networks.dequantize"], "CHUNK", 16)
    layer = Coded(torch.nn.Linear(40, 3))
    torch.testing.assert_close(dequantize(layer).weight, layer.numbers(), rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("to", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_layers_that_round_their_inputs_too_are_refused_by_name(to):
    model = torch.nn.Sequential(torch.nn.ReLU(), Rounding(torch.nn.Linear(64, 8), to))
    with pytest.raises(ValueError, match=r"model: 1 \(Rounding\) is no product with a weight"):
        dequantize(model)


def test_a_layer_that_cannot_be_asked_is_named():
    layer = Coded(torch.nn.Linear(4, 3))
    layer.forward = lambda x: x @ torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"model: 0 \(Coded\) cannot be asked for its weight: RuntimeError"):
        dequantize(torch.nn.Sequential(layer))
    layer.forward = lambda x: x
    with pytest.raises(ValueError, match=r"model: 0 \(Coded\): expected outputs of shape \(1, 3\), got \(1, 4\)"):
        dequantize(torch.nn.Sequential(layer))
    with pytest.raises(TypeError, match="model"):
        dequantize(np.eye(3))


def test_a_model_that_torch_does_not_copy_is_refused():
    """It holds a tensor with a history, as layers of HQQ do."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    model.scale = torch.ones(1, requires_grad=True) * 2.0
    with pytest.raises(ValueError, match="model: cannot be copied: Only Tensors"):
        dequantize(model)


def test_a_layer_in_two_places_is_one_in_the_copy():
    layer = Coded(torch.nn.Linear(4, 4))
    made = dequantize(torch.nn.Sequential(layer, torch.nn.Tanh(), layer))
    assert made[0] is made[2] and type(made[0]) is torch.nn.Linear


def test_other_networks_are_copied():
    """Plain weights of eight bits are numbers, not codes."""
    model = Net()
    model.second.linear.weight.data = model.second.linear.weight.to(torch.float8_e5m2)
    made = dequantize(model)
    assert made is not model and made.second.linear.weight.dtype == torch.float8_e5m2
    assert judge(made, CrossEntropy(), data(), LAM).F == judge(model, CrossEntropy(), data(), LAM).F


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("bias", [False, True])
def test_layers_of_bitsandbytes(quant_type, bias):
    """Before an evaluation and after one, which packs the codes anew on some processors."""
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(64, 32, bias=bias, quant_type=quant_type, compute_dtype=torch.float32)
    layer.load_state_dict(torch.nn.Linear(64, 32, bias=bias).state_dict())
    layer = layer.to("cpu")
    numbers = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    x = torch.randn(50, 64)
    for again in (layer, layer.eval()):
        y = again(x).detach()
        made = dequantize(again)
        # Where they are packed, codes, their sizes and products of both are rounded to bfloat16.
        torch.testing.assert_close(made.weight, numbers, rtol=3.0 * 2.0**-8, atol=0.0)
        assert float((made(x) - y).norm() / y.norm()) < 2.0**-7


def test_qlora_is_judged():
    """``f`` is the loss of the network in four bits, up to the precision of that."""
    bnb = pytest.importorskip("bitsandbytes")
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))
    four = bnb.nn.Linear4bit(64, 32, quant_type="nf4", compute_dtype=torch.float32)
    four.load_state_dict(model[0].state_dict())
    model[0] = four.to("cpu")
    config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["0"], init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    x, labels = torch.randn(20, 64), torch.randint(0, 3, (20,))
    with pytest.raises(ValueError, match=r"networks.dequantize\(model\) makes a copy to judge"):
        judge(adapted, CrossEntropy(), [(x, labels)], LAM)
    codes = four.weight.data.clone()
    dequantize(adapted)
    assert four.weight.data.shape == codes.shape and torch.equal(four.weight.data, codes)
    verdict = judge(dequantize(adapted), CrossEntropy(), [(x, labels)], LAM)
    with torch.no_grad():
        loss = float(torch.nn.functional.cross_entropy(adapted(x), labels))
    assert verdict.certificate.f == pytest.approx(loss, rel=3e-3)
