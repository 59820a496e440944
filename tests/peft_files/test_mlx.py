"""Adapters of mlx_lm: ``W + scale (lora_a lora_b)^T``, which is what its ``LoRALinear.fuse`` adds."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from lorasolve.peft_files import diagnose, read, truncate
from lorasolve.peft_files.folder import UnreadableError
from lorasolve.peft_files.safetensors import TensorFile

M, N, R, SCALE = 9, 7, 4, 2.5
Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"


def factors(seed, m=M, n=N):
    """Return ``lora_a`` (n, r) and ``lora_b`` (r, m)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, R)).astype("f4"), rng.standard_normal((R, m)).astype("f4")


def tensors(module, down, up):
    return {f"{module}.lora_a": down, f"{module}.lora_b": up}


def folder(tmp_path, make, found, **document):
    tmp_path.mkdir(exist_ok=True)
    settings = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": R, "scale": SCALE}} | document
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    make.file(tmp_path / "adapters.safetensors", found)
    return tmp_path


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_the_update_is_that_of_mlx(tmp_path, make, dtype):
    down, up = (factor.astype(dtype) for factor in factors(0))
    (layer,) = read(folder(tmp_path, make, tensors(Q, down, up))).layers()
    assert (layer.module, layer.scale, layer.dora, layer.kind) == (Q, SCALE, False, "linear")
    expected = (down.astype(float) @ up.astype(float)).T
    np.testing.assert_allclose(layer.A @ layer.B.T, expected, rtol=1e-12)


def test_half_precision_of_sixteen_bits(tmp_path, make):
    """bfloat16 is the upper half of float32."""
    down, up = (factor.view("u4") & 0xFFFF0000 for factor in factors(1))
    stored = {name: ("BF16", (part >> 16).astype("u2")) for name, part in tensors(Q, down, up).items()}
    (layer,) = read(folder(tmp_path, make, stored)).layers()
    np.testing.assert_allclose(layer.A @ layer.B.T, (down.view("f4").astype(float) @ up.view("f4")).T, rtol=1e-6)


def test_the_ratio_to_the_frozen_weight(tmp_path, make):
    down, up = factors(0)
    W = np.random.default_rng(2).standard_normal((M, N)).astype("f4")
    make.file(tmp_path / "base.safetensors", {f"{Q}.weight": W})
    adapter = folder(tmp_path / "a", make, tensors(Q, down, up))
    (layer,) = diagnose(adapter, base=tmp_path / "base.safetensors").layers
    expected = SCALE * np.linalg.norm(down.astype(float) @ up, 2) / np.linalg.norm(W.astype(float), 2)
    assert layer.base.ratio == pytest.approx(expected, rel=1e-6)


def test_dora_and_what_is_not_read(tmp_path, make):
    found = tensors(Q, *factors(0)) | {f"{Q}.m": np.ones(M, "f4"), "model.m": np.ones(3, "f4")}
    rng = np.random.default_rng(0)
    # Of experts, and what torchtune calls its factors.
    found |= tensors(V, rng.standard_normal((2, R, N)).astype("f4"), rng.standard_normal((2, M, R)).astype("f4"))
    found |= {"layers.0.attn.lora_a.weight": np.ones((R, N), "f4")}
    adapter = read(folder(tmp_path, make, found, fine_tune_type="dora"))
    (layer,) = adapter.layers()
    assert layer.dora and layer.module == Q and adapter.config.use_dora
    assert set(adapter.skipped) == {"model.m", f"{V}.lora_a", f"{V}.lora_b", "layers.0.attn.lora_a.weight"}
    assert all(adapter.skipped[f"{V}.lora_{k}"] == "an adapter of another kind" for k in "ab")


def test_what_is_truncated_is_of_peft_and_the_same_update(tmp_path, make):
    down, up = factors(0)
    down[:, 2:] = 0.0
    truncate(folder(tmp_path / "a", make, tensors(Q, down, up)), tmp_path / "out", rank=2)
    (layer,) = read(tmp_path / "out").layers()
    assert layer.A.shape == (M, 2) and (tmp_path / "out" / "adapter_model.safetensors").exists()
    expected = SCALE * (down.astype(float) @ up).T
    np.testing.assert_allclose(layer.scale * layer.A @ layer.B.T, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"fine_tune_type": "full"}, "fine_tune_type 'full' has no update"),
        ({"lora_parameters": None}, "lora_parameters: expected an object, got None"),
        ({"lora_parameters": {"scale": 2.0}}, "expected an integer rank and a number scale, got rank None"),
        ({"lora_parameters": {"rank": 4, "scale": "2"}}, "and scale '2'"),
        ({"lora_parameters": {"rank": 4, "scale": True}}, "and scale True"),
        ({"lora_parameters": {"rank": 4, "scale": 0.0}}, "lora_alpha: expected a number other than 0"),
        ({"lora_parameters": {"rank": 10**400, "scale": 2.0}}, "expected an integer rank"),
        ({"lora_parameters": {"rank": 3, "scale": 2.0}}, None),
    ],
)
def test_configurations_that_make_no_sense(tmp_path, make, document, message):
    adapter = folder(tmp_path, make, tensors(Q, *factors(0)), **document)
    if message is None:
        (layer,) = read(adapter).layers()
        assert "the factors have rank 4, the configuration says 3" in layer.reason
    else:
        with pytest.raises(UnreadableError, match=message):
            read(adapter)


def test_the_file_alone_does_not_say_the_scaling(tmp_path, make):
    make.file(tmp_path / "adapters.safetensors", tensors(Q, *factors(0)))
    with pytest.raises(UnreadableError, match=r"the names of mlx_lm, whose scaling is in adapter_config.json"):
        read(tmp_path / "adapters.safetensors")


def test_a_file_of_torchtune_is_of_another_kind(tmp_path, make):
    down, up = factors(0)
    named = {f"{name}.weight": part for name, part in tensors("layers.0.attn.q_proj", down, up).items()}
    make.file(tmp_path / "adapter.safetensors", named)
    with pytest.raises(
        UnreadableError, match="holds no pair of LoRA factors; there are 2 others, of an adapter of anoth"
    ):
        read(tmp_path / "adapter.safetensors")


def test_a_folder_of_peft_stays_one(tmp_path, make):
    """Its configuration may have a word of another program's, and the file of one may lie beside its own."""
    make.adapter(tmp_path, make.linear(V, *make.pair(0)), fine_tune_type="lora")
    make.file(tmp_path / "adapters.safetensors", tensors(Q, *factors(0)))
    assert list(read(tmp_path).entries) == [V]


def test_metadata_that_are_null_are_none(tmp_path):
    text = json.dumps({"__metadata__": None, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.metadata == {} and file.read("x") == 0.0


@pytest.mark.parametrize("bits", [None, 3, 4, 5, 6])
def test_what_mlx_adds(tmp_path, bits):
    """Of a layer of mlx_lm itself, over a plain weight and over codes."""
    mx, nn, lora = (pytest.importorskip(name) for name in ("mlx.core", "mlx.nn", "mlx_lm.tuner.lora"))
    linear = nn.Linear(64, 32, bias=False)
    tuned = lora.LoRALinear.from_base(linear if bits is None else nn.QuantizedLinear.from_linear(linear, 64, bits), r=R)
    tuned.lora_b = mx.random.normal(tuned.lora_b.shape)
    own = {f"{Q}.{name}": value for name, value in tuned.linear.parameters().items()}
    mx.save_safetensors(str(tmp_path / "base.safetensors"), own)
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), {f"{Q}.lora_{k}": tuned[f"lora_{k}"] for k in "ab"})
    settings = {"lora_parameters": {"rank": R, "scale": tuned.scale}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    W = np.array(linear.weight if bits is None else mx.dequantize(*tuned.linear.parameters().values(), 64, bits))
    X = np.array(tuned.fuse(dequantize=True).weight) - W
    (layer,) = read(tmp_path).layers()
    np.testing.assert_allclose(layer.scale * layer.A @ layer.B.T, X, atol=1e-6 * np.abs(X).max())
    (found,) = diagnose(tmp_path, base=tmp_path / "base.safetensors").layers
    assert found.base.ratio == pytest.approx(np.linalg.norm(X, 2) / np.linalg.norm(W, 2), rel=1e-5)
