"""Frozen weights of experts, stacked in one tensor, against the matrices they are and loops over single codes."""

from __future__ import annotations

import numpy as np
import pytest

from lorasolve.peft_files import BaseWeights, diagnose, read
from lorasolve.peft_files.safetensors import TensorFile

E, R, UP, DOWN = 3, 2, (64, 32), (32, 32)
PREFIX = "model.layers.0.mlp.experts"
TARGETS = {"r": R, "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}


def factors(shape, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((E * R, shape[1])).astype("f4"), rng.standard_normal((shape[0], E * R)).astype("f4")


def adapter(make, folder, **others):
    """Return an adapter of two parameters of one module, as PEFT names them, and of a square linear layer."""
    tensors = make.linear(f"{PREFIX}.base_layer", *factors(UP, 0)) | make.linear(PREFIX, *factors(DOWN, 1))
    tensors |= make.linear("model.layers.0.self_attn.q", *make.pair(2, out=20, inner=20, r=R))
    return make.adapter(folder, tensors, **TARGETS | others)


def weights(seed=3):
    """Return the weights (outputs, inputs) of each expert, of both parameters, and of the linear layer."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((E, *UP)), rng.standard_normal((E, *DOWN)), rng.standard_normal((20, 20))


def stored(make, path, up, down, linear):
    """Write them as gpt-oss does: of experts (inputs, outputs), of linear layers (outputs, inputs)."""
    tensors = {
        f"{PREFIX}.gate_up_proj": up.transpose(0, 2, 1).astype("f4"),
        f"{PREFIX}.gate_up_proj_bias": np.ones((E, UP[0]), "f4"),
        f"{PREFIX}.down_proj": down.transpose(0, 2, 1).astype("f4"),
        f"{PREFIX}.down_proj_bias": np.ones((E, DOWN[0]), "f4"),
        "model.layers.0.self_attn.q.weight": linear.astype("f4"),
    }
    make.file(path, tensors)
    return path


def ratio(layer, W):
    return np.linalg.norm(layer.scale * layer.A @ layer.B.T, 2) / np.linalg.norm(W, 2)


def test_experts_have_the_ratio_to_their_own_weights(tmp_path, make):
    folder, (up, down, linear) = adapter(make, tmp_path / "a"), weights()
    found = diagnose(folder, base=stored(make, tmp_path / "base.safetensors", up, down, linear))
    reports = {report.facts.module: report.base for report in found.layers}
    assert len(reports) == 2 * E + 1
    for layer in read(folder).layers():
        if layer.kind != "expert":
            continue
        e = int(layer.module[-2])
        own, base = up if ".base_layer" in layer.module else down, reports[layer.module]
        assert base.ratio == pytest.approx(ratio(layer, own[e]), rel=1e-5)
        if own is down:  # of a square one nothing says which way it is stored
            assert base.alignment_left is None and base.alignment_right is None
            continue
        X = layer.A @ layer.B.T
        right = np.sqrt(UP[1]) * np.linalg.norm(own[e] @ X.T) / np.linalg.norm(own[e]) / np.linalg.norm(X)
        assert base.alignment_right == pytest.approx(right, rel=1e-5)
    # How experts are stored says nothing of a linear layer.
    assert reports["model.layers.0.self_attn.q"].alignment_right is not None


def e2m1(code):
    """Return the number of a code of four bits: a sign, two bits of an exponent less 1, one after the point."""
    exponent, fraction = code >> 1 & 3, (code & 1) / 2
    size = fraction if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - 1)
    return -size if code & 8 else size


def in_mxfp4(shape, seed):
    """Return blocks and scales of experts, and their weights."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 16, (E, *shape))
    exponents = rng.integers(117, 135, (E, shape[0], shape[1] // 32))
    W = [[[e2m1(int(codes[e, i, j])) * 2.0 ** (int(exponents[e, i, j // 32]) - 127) for j in range(shape[1])]
          for i in range(shape[0])] for e in range(E)]  # fmt: skip
    packed = codes[..., 0::2] + 16 * codes[..., 1::2]
    return packed.reshape(E, shape[0], -1, 16).astype("u1"), exponents.astype("u1"), np.array(W)


def blocks(name, packed, exponents):
    return {f"{PREFIX}.{name}_blocks": ("U8", packed), f"{PREFIX}.{name}_scales": ("U8", exponents)}


def test_codes_of_mxfp4(tmp_path, make):
    folder = adapter(make, tmp_path / "a")
    *up, gate = in_mxfp4(UP, 0)
    *down, out = in_mxfp4(DOWN, 1)
    make.file(tmp_path / "base.safetensors", blocks("gate_up_proj", *up) | blocks("down_proj", *down))
    base, reports = BaseWeights(tmp_path / "base.safetensors"), diagnose(folder, base=tmp_path / "base.safetensors")
    ratios = {report.facts.module: report.base.ratio for report in reports.layers if report.base}
    for layer in read(folder).layers():
        if layer.kind == "expert":
            W = (gate if ".base_layer" in layer.module else out)[int(layer.module[-2])]
            np.testing.assert_array_equal(base.weight_of(layer, False), W)
            assert ratios[layer.module] == pytest.approx(ratio(layer, W), rel=1e-5)


def test_what_transformers_makes_of_mxfp4(tmp_path, make):
    torch = pytest.importorskip("torch")
    known = pytest.importorskip("transformers.integrations.mxfp4")
    packed, exponents, _ = in_mxfp4(UP, 0)
    expected = known.convert_moe_packed_tensors(
        torch.tensor(packed), torch.tensor(exponents), dtype=torch.float32
    ).numpy()  # (experts, inputs, outputs)
    make.file(tmp_path / "base.safetensors", blocks("gate_up_proj", packed, exponents))
    base = BaseWeights(tmp_path / "base.safetensors")
    for layer in read(adapter(make, tmp_path / "a")).layers():
        if ".base_layer" in layer.module:
            np.testing.assert_array_equal(base.weight_of(layer, False), expected[int(layer.module[-2])].T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "has experts of (64, 32), one tensor of all: none"),
        ({"gate_up_proj": np.ones((E - 1, *UP), "f4")}, ""),
        ({"gate_up_proj": np.ones((E, 32, 63), "f4")}, "one tensor of all: none"),
        ({"gate_up_proj": np.ones((E, *UP), "i4")}, "one tensor of all: none"),
        ({"gate": np.ones((E, *UP), "f4"), "up": np.ones((E, *UP), "f4")}, f"of all: {PREFIX}.gate, {PREFIX}.up"),
        (
            {"gate_up_proj": ("F8_E4M3", np.ones((E, *UP), "u1")), "gate_up_proj_scale_inv": np.ones((E, 1, 1))},
            "quantized: times its gate_up_proj_scale_inv",
        ),
        ({"gate_up_proj_blocks": ("U8", in_mxfp4(UP, 0)[0])}, "gate_up_proj_scales is missing; expected (3, 64, 1)"),
        (
            {"gate_up_proj_blocks": ("U8", in_mxfp4(UP, 0)[0]), "gate_up_proj_scales": np.ones((E, 64, 1), "f4")},
            "gate_up_proj_scales has the shape (3, 64, 1) of F32; expected (3, 64, 1) of U8",
        ),
        ({"gate_up_proj_blocks": ("U8", np.ones((E, 64, 2, 8), "u1"))}, "one tensor of all: none"),
        (
            {
                "gate_up_proj_blocks": ("U8", in_mxfp4(UP, 0)[0]),
                "gate_up_proj_scales": ("U8", np.full((E, 64, 1), 255, "u1")),
            },
            "non-finite",
        ),
    ],
)
def test_what_does_not_fit_experts(tmp_path, make, change, message):
    folder = make.adapter(tmp_path / "a", make.linear(PREFIX, *factors(UP, 0)), **TARGETS)
    make.file(tmp_path / "base.safetensors", {"x": np.ones(1)} | {f"{PREFIX}.{key}": change[key] for key in change})
    layers = sorted(diagnose(folder, base=tmp_path / "base.safetensors").layers, key=lambda each: each.facts.module)
    assert len(layers) == E and layers[-1].base is None
    assert (message or "one tensor of all: none") in layers[-1].no_base
    assert (layers[0].base is None) == bool(message)  # where there is one expert less, the others are there


def test_a_part_of_a_tensor_is_what_the_whole_has_there(tmp_path, make):
    whole = np.random.default_rng(0).standard_normal((4, 3, 5))
    make.file(tmp_path / "t.safetensors", {"before": np.ones(7), "w": whole})
    file = TensorFile(tmp_path / "t.safetensors")
    for k in range(4):
        np.testing.assert_array_equal(file.part("w", k).decoded(), whole[k])
