"""Frozen weights that are stored as codes, against loops over single numbers and bitsandbytes itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lorasolve.peft_files import BaseWeights, diagnose
from lorasolve.peft_files.folder import UnreadableError
from lorasolve.peft_files.quantised import coded

M, N, BLOCK = 9, 7, 16
NAME = "h.0.q.weight"


def four_bits(seed=0, nested=False, **changes):
    """Return the tensors of a weight (M, N) in four bits, and the weight: number by number, as the format says."""
    rng = np.random.default_rng(seed)
    table = np.sort(rng.uniform(-1.0, 1.0, 16)).astype("f4")
    codes = rng.integers(0, 16, M * N)
    blocks = -(-M * N // BLOCK)
    state = {"quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": [M, N]}
    tensors = {f"{NAME}.quant_map": table}
    if nested:
        share, sizes = rng.uniform(-1.0, 1.0, 256).astype("f4"), rng.uniform(0.5, 2.0, -(-blocks // 3)).astype("f4")
        which = rng.integers(0, 256, blocks)
        state |= {"nested_blocksize": 3, "nested_dtype": "float32", "nested_offset": 0.25}
        tensors |= {f"{NAME}.nested_quant_map": share, f"{NAME}.nested_absmax": sizes}
        tensors[f"{NAME}.absmax"] = ("U8", which.astype("u1"))
        largest = [share[which[k]] * sizes[k // 3] + np.float32(0.25) for k in range(blocks)]
    else:
        largest = rng.uniform(0.1, 3.0, blocks).astype("f4")
        tensors[f"{NAME}.absmax"] = largest
    W = np.array([table[code] * largest[k // BLOCK] for k, code in enumerate(codes)], "f4").reshape(M, N)
    padded = [*codes, 0] if codes.size % 2 else codes
    packed = [16 * padded[k] + padded[k + 1] for k in range(0, len(padded), 2)]
    tensors[NAME] = ("U8", np.array(packed, "u1")[:, None])
    text = np.frombuffer(json.dumps(state | changes).encode(), "u1")
    tensors[f"{NAME}.quant_state.bitsandbytes__nf4"] = ("U8", text)
    return tensors, W


def weight(make, tmp_path, tensors):
    """Return the weight as `diagnose` sees it."""
    make.file(tmp_path / "base.safetensors", tensors)
    base = BaseWeights(tmp_path / "base.safetensors")
    return coded(base._files, NAME, (M, N)).numbers()


@pytest.mark.parametrize("nested", [False, True])
def test_four_bits(tmp_path, make, nested):
    tensors, W = four_bits(nested=nested)
    np.testing.assert_array_equal(weight(make, tmp_path, tensors), W)


def test_eight_bits(tmp_path, make):
    rng = np.random.default_rng(0)
    codes, largest = rng.integers(-127, 128, (M, N)).astype("i1"), rng.uniform(0.1, 3.0, M).astype("f4")
    found = weight(make, tmp_path, {NAME: ("I8", codes), "h.0.q.SCB": largest})
    expected = [[int(codes[i, j]) * float(largest[i]) / 127 for j in range(N)] for i in range(M)]
    np.testing.assert_allclose(found, expected, rtol=3e-7)


@pytest.mark.parametrize("nested", [False, True])
def test_the_ratio_is_that_to_the_numbers(tmp_path, make, nested):
    tensors, W = four_bits(nested=nested)
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=M, inner=N)), lora_alpha=4)
    make.file(tmp_path / "base.safetensors", tensors)
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    down, up = make.pair(0, out=M, inner=N)
    X = up.astype(float) @ down
    assert layer.base.ratio == pytest.approx(np.linalg.norm(X, 2) / np.linalg.norm(W.astype(float), 2), rel=1e-5)
    right = np.sqrt(N) * np.linalg.norm(W @ X.T) / np.linalg.norm(W) / np.linalg.norm(X)
    assert layer.base.alignment_right == pytest.approx(right, rel=1e-5)


def test_what_the_codes_mean_may_lie_in_another_file(tmp_path, make):
    tensors, W = four_bits()
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=M, inner=N)))
    base = tmp_path / "base"
    base.mkdir()
    files = {name: f"{k}.safetensors" for k, name in enumerate(tensors)}
    for name, file in files.items():
        make.file(base / file, {name: tensors[name]})
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (layer,) = diagnose(folder, base=base).layers
    assert layer.base.frobenius == pytest.approx(np.linalg.norm(W), rel=1e-6)


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != f"{NAME}.{name}"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, "absmax"), "absmax is missing; expected 4 codes of U8"),
        (lambda t: without(t, "quant_map"), "quant_map is missing; expected 16 floats"),
        (lambda t: without(t, "nested_quant_map"), "nested_quant_map is missing; expected 256 floats"),
        (
            lambda t: t | {f"{NAME}.nested_absmax": np.ones(9, "f4")},
            "nested_absmax has 9 entries of F32; expected 2 floats",
        ),
        (lambda t: t | {f"{NAME}.absmax": np.ones(4, "f4")}, "absmax has 4 entries of F32; expected 4 codes of U8"),
        (lambda t: t | {f"{NAME}.quant_map": np.ones(16, "i4")}, "quant_map has 16 entries of I32; expected 16 floats"),
        (lambda t: t | {NAME: ("U8", np.ones((20, 1), "u1"))}, "has 20 entries of U8; expected 32 codes"),
    ],
)
def test_what_does_not_fit_the_codes_is_named(tmp_path, make, change, message):
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=M, inner=N)))
    make.file(tmp_path / "base.safetensors", change(four_bits(nested=True)[0]))
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    assert layer.base is None and message in layer.no_base


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [M]}, "of the shape [9]"),
        ({"shape": [M, -N]}, "of the shape [9, -7]"),
        ({"shape": [M, 7.0]}, "of the shape"),
        ({"shape": "9 x 7"}, "of the shape 9 x 7"),
        ({"shape": [N, M + 1]}, "entries"),
        ({"shape": [10**9, 10**9]}, "entries"),
        ({"blocksize": 0}, "in blocks of blocksize = 0"),
        ({"blocksize": True}, "in blocks of blocksize = True"),
        ({"nested_blocksize": None}, "in blocks of nested_blocksize = None"),
        ({"nested_offset": 10**400}, "with nested_offset = 1"),
        ({"nested_offset": float("nan")}, "zero or has non-finite"),
    ],
)
def test_a_state_that_makes_no_sense_is_said(tmp_path, make, changes, message):
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=M, inner=N)))
    make.file(tmp_path / "base.safetensors", four_bits(nested=True, **changes)[0])
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    assert layer.base is None and message in layer.no_base


def test_blocks_larger_than_the_weight_take_no_memory(tmp_path, make):
    tensors, _ = four_bits(blocksize=10**15)
    tensors[f"{NAME}.absmax"] = np.full(1, 2.0, "f4")
    found = weight(make, tmp_path, tensors)
    assert found.shape == (M, N) and np.isin(found, 2.0 * tensors[f"{NAME}.quant_map"]).all()


@pytest.mark.parametrize(("text", "message"), [(b"{", "JSON"), (b"{}" + b" " * 70_000, "is too large")])
def test_a_state_that_is_no_json_or_too_large(tmp_path, make, text, message):
    tensors, _ = four_bits()
    tensors[f"{NAME}.quant_state.bitsandbytes__nf4"] = ("U8", np.frombuffer(text, "u1"))
    with pytest.raises(UnreadableError, match=message):
        weight(make, tmp_path, tensors)


def test_eight_bits_need_a_size_for_each_row(tmp_path, make):
    with pytest.raises(UnreadableError, match=r"h\.0\.q\.SCB has 1 entries of F32; expected 9 floats"):
        weight(make, tmp_path, {NAME: ("I8", np.ones((M, N), "i1")), "h.0.q.SCB": np.ones(1, "f4")})


def test_eight_bits_of_another_shape_are_refused(tmp_path, make):
    with pytest.raises(UnreadableError, match=r"quantized, of the shape \(9, 7, 1\)"):
        weight(make, tmp_path, {NAME: ("I8", np.ones((M, N, 1), "i1")), "h.0.q.SCB": np.ones(M, "f4")})


def as_words(codes, bits):
    """Return codes one after the other as words of 32 bits, bit by bit from the lowest of the first one on."""
    stream = [int(code) >> k & 1 for code in codes for k in range(bits)]
    stream += [0] * (-len(stream) % 32)
    return [sum(bit << k for k, bit in enumerate(stream[i : i + 32])) for i in range(0, len(stream), 32)]


def signed(words):
    """Return words of 32 bits as the signed integers that torch has for them."""
    return np.array(words, "u4").view("i4")


def of_mlx(bits, m=5, n=64, groups=2, seed=0):
    """Return the tensors of a weight (m, n), its codes the lowest bits of a word first, and the weight."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**bits, (m, n))
    scales, biases = rng.standard_normal((2, m, groups)).astype("f2")
    W = [[codes[i, j] * float(scales[i, j * groups // n]) + float(biases[i, j * groups // n]) for j in range(n)]
         for i in range(m)]  # fmt: skip
    words = np.array([as_words(row, bits) for row in codes], "u4")
    return {NAME: ("U32", words), "h.0.q.scales": scales, "h.0.q.biases": biases}, np.array(W)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("turned", [False, True])
def test_codes_of_mlx(tmp_path, make, bits, turned):
    tensors, W = of_mlx(bits)
    make.file(tmp_path / "base.safetensors", tensors)
    out, inner = (64, 5) if turned else (5, 64)
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=out, inner=inner)), lora_alpha=4)
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    down, up = make.pair(0, out=out, inner=inner)
    ratio = np.linalg.norm(up.astype(float) @ down, 2) / np.linalg.norm(W, 2)
    assert layer.base.ratio == pytest.approx(ratio, rel=1e-5)
    found = coded(BaseWeights(tmp_path / "base.safetensors")._files, NAME, (5, 64)).numbers()
    np.testing.assert_allclose(found, W, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({}, (5, 60), "in (5, 8) words of 32 bits for a weight of (5, 60)"),
        ({}, (6, 64), "in (5, 8) words of 32 bits for a weight of (6, 64)"),
        ({NAME: ("U32", np.ones((5, 14), "u4"))}, (5, 64), "in (5, 14) words of 32 bits"),
        ({NAME: ("U32", np.ones((), "u4"))}, (5, 64), "in (0,) words"),
        ({NAME: ("U32", np.ones((0, 8), "u4"))}, (64, 9), "in (0, 8) words"),
        ({NAME: ("U32", np.ones((5, 7), "u4"))}, (5, 60), "in (5, 7) words"),
        ({NAME: ("U32", np.ones((5, 8, 1), "u4"))}, (5, 64), "in (5, 8, 1) words"),
        ({"h.0.q.scales": np.ones((5, 3), "f4")}, (5, 64), "in 3 groups of 64 inputs"),
        ({"h.0.q.scales": np.ones((1, 3), "f4")}, (5, 64), "in 0 groups of 64 inputs"),
        ({"h.0.q.biases": np.ones((5, 4), "f4")}, (5, 64), "biases has 20 entries of F32; expected 10 floats"),
        ({"h.0.q.scales": ("U8", np.ones((5, 2), "u1"))}, (5, 64), "scales has 10 entries of U8; expected 10 floats"),
    ],
)
def test_what_does_not_fit_codes_of_mlx(tmp_path, make, change, shape, message):
    make.file(tmp_path / "base.safetensors", of_mlx(4)[0] | change)
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=shape[0], inner=shape[1])))
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    assert layer.base is None and message in layer.no_base


def of_gptq(bits=4, version="gptq", order=None, m=32, n=64, groups=4, seed=0):
    """Return the tensors of a weight (m, n), and the weight: scale (code - zero), of the group of each input.

    The first version of the format stores zeros less 1.
    """
    rng = np.random.default_rng(seed)
    codes, zeros = rng.integers(0, 2**bits, (m, n)), rng.integers(1, 2**bits, (m, groups))
    scales = rng.uniform(0.1, 3.0, (m, groups)).astype("f2")
    group = [j * groups // n for j in range(n)] if order is None else order
    W = [[(codes[i, j] - zeros[i, group[j]]) * float(scales[i, group[j]]) for j in range(n)] for i in range(m)]
    stored = zeros - 1 if version == "gptq" else zeros
    tensors = {
        "h.0.q.qweight": np.transpose([signed(as_words(row, bits)) for row in codes]),
        "h.0.q.qzeros": np.array([signed(as_words(stored[:, g], bits)) for g in range(groups)]),
        "h.0.q.scales": scales.T,
    }
    if order is not None:
        tensors["h.0.q.g_idx"] = np.array(order, "i4")
    return tensors, np.array(W)


def of_awq(m=24, n=64, groups=4, seed=0):
    """Return the tensors of a weight (m, n) and the weight; in a word lie outputs 0, 2, 4, 6, 1, 3, 5, 7."""
    rng = np.random.default_rng(seed)
    codes, zeros = rng.integers(0, 16, (m, n)), rng.integers(0, 16, (m, groups))
    scales = rng.uniform(0.1, 3.0, (m, groups)).astype("f2")
    W = [[(codes[i, j] - zeros[i, j * groups // n]) * float(scales[i, j * groups // n]) for j in range(n)]
         for i in range(m)]  # fmt: skip

    def words(column):
        return signed(as_words([column[8 * k + i] for k in range(m // 8) for i in (0, 2, 4, 6, 1, 3, 5, 7)], 4))

    tensors = {
        "h.0.q.qweight": np.array([words(codes[:, j]) for j in range(n)]),
        "h.0.q.qzeros": np.array([words(zeros[:, g]) for g in range(groups)]),
        "h.0.q.scales": scales.T,
    }
    return tensors, np.array(W)


def of_compressed(bits=4, groups=4, zero="none", order=None, m=20, n=48, seed=0):
    """Return the tensors of a weight (m, n) and the weight: codes less the middle one, scaled, or less a zero too."""
    rng = np.random.default_rng(seed)
    middle = 2 ** (bits - 1)
    codes = rng.integers(0, 2**bits, (m, n))
    zeros = rng.integers(-middle, middle, (m, groups)) if zero != "none" else np.zeros((m, groups), int)
    scales = rng.uniform(0.1, 3.0, (m, groups)).astype("f4")
    group = [j * groups // n for j in range(n)] if order is None else order
    W = [[(codes[i, j] - middle - zeros[i, group[j]]) * float(scales[i, group[j]]) for j in range(n)] for i in range(m)]
    tensors = {
        "h.0.q.weight_packed": np.array([signed(as_words(row, bits)) for row in codes]),
        "h.0.q.weight_scale": scales,
        "h.0.q.weight_shape": np.array([m, n]),
    }
    if zero == "packed":
        columns = [signed(as_words(zeros[:, g] + middle, bits)) for g in range(groups)]
        tensors["h.0.q.weight_zero_point"] = np.transpose(columns)
    if zero == "plain":
        tensors["h.0.q.weight_zero_point"] = ("I8", zeros.astype("i1"))
    if order is not None:
        tensors["h.0.q.weight_g_idx"] = np.array(order, "i4")
    return tensors, np.array(W)


def base_of(make, folder, tensors, config=None, file="config.json"):
    """Return a folder with a base model, and with what its configuration says of the codes."""
    folder.mkdir(exist_ok=True)
    make.file(folder / "model.safetensors", tensors)
    if config is not None:
        (folder / file).write_text(json.dumps(config))
    return folder


def layer_over(make, tmp_path, base, shape):
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0, out=shape[0], inner=shape[1])))
    (layer,) = diagnose(folder, base=base).layers
    return layer


def agree(make, tmp_path, base, W):
    """Compare a weight with the one that is read, and with the length and the norm that `diagnose` tells."""
    layer = layer_over(make, tmp_path, base, W.shape)
    assert layer.base.frobenius == pytest.approx(np.linalg.norm(W), rel=1e-5)
    assert layer.base.spectral == pytest.approx(np.linalg.norm(W, 2), rel=1e-5)
    weights = BaseWeights(base)
    found = coded(weights._files, weights._name("h.0.q"), W.shape, weights._settings).numbers()
    np.testing.assert_allclose(found, W, rtol=1e-6, atol=1e-6)


SHUFFLED = [int(group) for group in np.random.default_rng(5).permutation(np.arange(64) % 4)]


@pytest.mark.parametrize("order", [None, SHUFFLED])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_codes_of_gptq(tmp_path, make, bits, version, order):
    tensors, W = of_gptq(bits, version, order)
    config = {"quantization_config": {"quant_method": "gptq", "bits": bits, "checkpoint_format": version}}
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors, config), W)


@pytest.mark.parametrize(
    "config", [{"bits": 4, "group_size": 16, "dynamic": {"-:h.1": {}}}, {"quant_method": "gptq", "format": "gptq"}]
)
def test_codes_of_gptq_beside_a_configuration_of_their_own(tmp_path, make, config):
    tensors, W = of_gptq()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors, config, "quantize_config.json"), W)


def test_codes_of_awq(tmp_path, make):
    tensors, W = of_awq()
    config = {"quantization_config": {"quant_method": "awq", "version": "GEMM", "bits": 4}}
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors, config), W)


@pytest.mark.parametrize("zero", ["none", "packed", "plain"])
@pytest.mark.parametrize(("bits", "groups"), [(4, 4), (4, 1), (8, 3), (2, 2)])
def test_codes_of_compressed_tensors(tmp_path, make, bits, groups, zero):
    tensors, W = of_compressed(bits, groups, zero)
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors), W)


def test_codes_of_compressed_tensors_in_an_order(tmp_path, make):
    order = [int(group) for group in np.random.default_rng(5).permutation(np.arange(48) % 4)]
    tensors, W = of_compressed(zero="packed", order=order)
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors), W)
    tensors, W = of_compressed()  # where none is known
    tensors["h.0.q.weight_g_idx"] = np.full(48, -1, "i4")
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors), W)


def test_one_scale_of_compressed_tensors(tmp_path, make):
    tensors, _ = of_compressed()
    tensors["h.0.q.weight_scale"] = np.array([0.5], "f4")
    codes = coded(BaseWeights(base_of(make, tmp_path / "base", tensors))._files, "h.0.q.weight_packed", (20, 48))
    again = of_compressed(groups=1)[0]
    again["h.0.q.weight_scale"][:] = 0.5
    same = BaseWeights(base_of(make, tmp_path / "other", again))._files
    np.testing.assert_array_equal(codes.numbers(), coded(same, "h.0.q.weight_packed", (20, 48)).numbers())


GPTQ = {"quantization_config": {"quant_method": "gptq"}}


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, None, "no configuration says how (config.json, quantize_config.json, quant_config.json)"),
        ({}, {"quantization_config": 4}, "no configuration says how"),
        (
            {},
            {"quantization_config": {"quant_method": "gptq", "checkpoint_format": "marlin"}},
            "by gptq in the format marlin; codes of this shape",
        ),
        (
            {},
            {"quantization_config": {"quant_method": "gptq", "checkpoint_format": ["gptq"]}},
            "in the format ['gptq']",
        ),
        ({}, {"quantization_config": {"quant_method": "auto-round"}}, "by auto-round in the format gptq"),
        (
            {},
            {"quantization_config": {"quant_method": "gptq", "dynamic": {"h.0.*": {"format": "gptq_v2"}}}},
            "in formats that differ from module to module",
        ),
        ({"h.0.q.qweight": np.ones((9, 32), "i4")}, GPTQ, "in (9, 32) words of 32 bits for a weight of (32, 64)"),
        ({"h.0.q.qweight": np.ones((), "i4")}, GPTQ, "in (0,) words"),
        ({"h.0.q.scales": np.ones((3, 32), "f2")}, GPTQ, "qzeros has 16 entries of I32; expected 12 codes of I32"),
        ({"h.0.q.scales": np.ones((4, 32), "i4")}, GPTQ, "scales has 128 entries of I32; expected 128 floats"),
        ({"h.0.q.scales": np.ones((32, 4), "f2")}, GPTQ, "scales has the shape (32, 4); expected (groups, 32)"),
        ({"h.0.q.scales": np.ones((0, 32), "f2")}, GPTQ, "scales has the shape (0, 32); expected (groups, 32)"),
        ({"h.0.q.g_idx": np.ones(63, "i4")}, GPTQ, "g_idx has 63 entries of I32; expected 64 codes of I32"),
        ({"h.0.q.g_idx": np.full(64, 4, "i4")}, GPTQ, "g_idx names others than 4 groups"),
        ({"h.0.q.g_idx": np.arange(-1, 63, dtype="i4")}, GPTQ, "g_idx names others than 4 groups"),
        ({"h.0.q.qzeros": np.full((4, 4), -1, "i4")}, GPTQ, "with zero points of 16 in 4 bits"),
    ],
)
def test_what_does_not_fit_codes_of_gptq(tmp_path, make, change, config, message):
    base = base_of(make, tmp_path / "base", of_gptq()[0] | change, config)
    layer = layer_over(make, tmp_path, base, (32, 64))
    assert layer.base is None and message in layer.no_base


def test_groups_of_gptq_that_do_not_fit_its_inputs(tmp_path, make):
    tensors = of_gptq()[0] | {"h.0.q.scales": np.ones((3, 32), "f2"), "h.0.q.qzeros": np.ones((3, 4), "i4")}
    layer = layer_over(make, tmp_path, base_of(make, tmp_path / "base", tensors, GPTQ), (32, 64))
    assert layer.base is None and "in 3 groups of 64 inputs" in layer.no_base


def test_codes_of_gptq_need_the_folder(tmp_path, make):
    base = base_of(make, tmp_path / "base", of_gptq()[0], GPTQ) / "model.safetensors"
    layer = layer_over(make, tmp_path, base, (32, 64))
    assert layer.base is None and "only the configuration beside it says how; give its folder" in layer.no_base


@pytest.mark.parametrize(
    ("change", "method", "message"),
    [
        ({"h.0.q.qzeros": np.ones((4, 2), "i4")}, "awq", "qzeros has 8 entries of I32; expected 12 codes of I32"),
        ({}, "other", "by other in the format gemm; codes of this shape are read where they are of awq"),
        ({"h.0.q.qweight": np.ones((24, 8), "i4")}, "awq", "in (24, 8) words of 32 bits"),
    ],
)
def test_what_does_not_fit_codes_of_awq(tmp_path, make, change, method, message):
    config = {"quantization_config": {"quant_method": method}}
    base = base_of(make, tmp_path / "base", of_awq()[0] | change, config)
    layer = layer_over(make, tmp_path, base, (24, 64))
    assert layer.base is None and message in layer.no_base


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h.0.q.weight_packed": np.ones((20, 7), "i4")}, "in (20, 7) words of 32 bits"),
        ({"h.0.q.weight_packed": np.ones((21, 6), "i4")}, "in (21, 6) words of 32 bits"),
        ({"h.0.q.weight_scale": np.ones((20, 5), "f4")}, "in 5 groups of 48 inputs"),
        ({"h.0.q.weight_scale": np.ones(19, "f4")}, "weight_scale has the shape (19,); expected (20, groups)"),
        (
            {"h.0.q.weight_zero_point": np.ones((2, 4), "i4")},
            "weight_zero_point has 8 entries of I32; expected 12 codes",
        ),
        (
            {"h.0.q.weight_packed": ("U8", np.ones((20, 24), "u1"))},
            "weight_scale has the shape (20, 4); expected a scale for each 16 of 48 inputs of 20 outputs",
        ),
    ],
)
def test_what_does_not_fit_codes_of_compressed_tensors(tmp_path, make, change, message):
    base = base_of(make, tmp_path / "base", of_compressed()[0] | change)
    layer = layer_over(make, tmp_path, base, (20, 48))
    assert layer.base is None and message in layer.no_base


def in_pairs(kind, m=20, n=64, seed=0):
    """Return the tensors of a weight (m, n) of floats of four bits, and the weight, from the words of each format."""
    rng = np.random.default_rng(seed)
    block = 32 if kind == "mxfp4" else 16
    codes, whole = rng.integers(0, 16, (m, n)), np.float32(rng.uniform(0.5, 300.0))
    exponents, eights = rng.integers(117, 135, (m, n // block)), rng.integers(0x10, 0x7F, (m, n // block))
    W = np.empty((m, n))
    for i in range(m):
        for j in range(n):
            sign, exponent, fraction = codes[i, j] >> 3, codes[i, j] >> 1 & 3, (codes[i, j] & 1) / 2
            W[i, j] = (-1) ** sign * (fraction if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - 1))
            eight = int(eights[i, j // block])  # 4 bits of an exponent and 3 after the point
            scale = (1 + (eight & 7) / 8) * 2.0 ** ((eight >> 3) - 7)
            W[i, j] *= {
                "nvfp4": scale / float(whole),
                "modelopt": scale * float(whole),
                "mxfp4": 2.0 ** (int(exponents[i, j // block]) - 127),
            }[kind]
    packed = ("U8", (codes[:, 0::2] + 16 * codes[:, 1::2]).astype("u1"))
    floats, one = ("F8_E4M3", eights.astype("u1")), np.array([whole])
    if kind == "nvfp4":
        return {
            "h.0.q.weight_packed": packed,
            "h.0.q.weight_scale": floats,
            "h.0.q.weight_global_scale": one,
            "h.0.q.input_global_scale": one,
        }, W
    if kind == "modelopt":
        two = np.array(whole)
        return {"h.0.q.weight": packed, "h.0.q.weight_scale": floats, "h.0.q.weight_scale_2": two}, W
    return {"h.0.q.weight_packed": packed, "h.0.q.weight_scale": ("U8", exponents.astype("u1"))}, W


@pytest.mark.parametrize("kind", ["nvfp4", "modelopt", "mxfp4"])
def test_floats_of_four_bits(tmp_path, make, kind):
    tensors, W = in_pairs(kind)
    config = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors, config if kind == "modelopt" else None), W)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "nvfp4",
            {"h.0.q.weight_global_scale": np.ones(2, "f4")},
            "weight_global_scale has 2 entries of F32; expected",
        ),
        ("nvfp4", {"h.0.q.weight_scale": np.ones((20, 2), "f4")}, "expected a scale for each 16 of 64 inputs"),
        ("mxfp4", {"h.0.q.weight_scale": ("U8", np.ones((20, 4), "u1"))}, "expected a scale for each 32 of 64 inputs"),
        ("mxfp4", {"h.0.q.weight_packed": ("U8", np.ones(640, "u1"))}, "is quantized, of the shape (640,)"),
        ("modelopt", {}, "only the configuration beside it says how"),
    ],
)
def test_what_does_not_fit_floats_of_four_bits(tmp_path, make, kind, change, message):
    base = base_of(make, tmp_path / "base", in_pairs(kind)[0] | change)
    layer = layer_over(make, tmp_path, base / "model.safetensors" if kind == "modelopt" else base, (20, 64))
    assert layer.base is None and message in layer.no_base


def test_scales_in_an_order_of_their_own_are_not_read_as_those_of_modelopt(tmp_path, make):
    config = {"quantization_config": {"quant_method": "other"}}
    base = base_of(make, tmp_path / "base", in_pairs("modelopt")[0], config)
    layer = layer_over(make, tmp_path, base, (20, 64))
    assert layer.base is None and "by other; two codes a byte beside a weight_scale_2" in layer.no_base


@pytest.mark.parametrize("version", ["gemv", "GEMV_fast", "llm-awq"])
def test_of_square_weights_the_shapes_do_not_tell_how_awq_packed_them(tmp_path, make, version):
    tensors = of_awq(m=64)[0]
    tensors["h.0.q.qweight"], tensors["h.0.q.qzeros"] = np.ones((64, 8), "i4"), np.ones((64, 8), "i4")
    tensors["h.0.q.scales"] = np.ones((64, 64), "f2")
    config = {"quantization_config": {"quant_method": "awq", "version": version}}
    layer = layer_over(make, tmp_path, base_of(make, tmp_path / "base", tensors, config), (64, 64))
    assert layer.base is None and f"by awq in the format {version}; codes of this shape" in layer.no_base


def test_a_few_inputs_do_not_tell_how_many_bits_codes_have(tmp_path, make):
    base = base_of(make, tmp_path / "base", of_compressed(n=4, groups=1)[0])
    layer = layer_over(make, tmp_path, base, (20, 4))
    assert layer.base is None and "in (20, 1) words of 32 bits for a weight of (20, 4)" in layer.no_base


def e4m3(code):
    """Return the number of a code: a sign, four bits of an exponent less 7, three after the point."""
    exponent, fraction = code >> 3 & 15, (code & 7) / 8
    size = fraction * 2.0**-6 if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - 7)
    return -size if code & 128 else size


def of_scaled(block=(8, 16), scales="F32", kind="F8_E4M3", name="weight_scale_inv", zero=False, m=20, n=40, seed=0):
    """Return the tensors of a weight (m, n), its numbers times the scale of their block, and the weight."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 127, (m, n)) + 128 * rng.integers(0, 2, (m, n))  # 127 and 255 are no numbers
    value = e4m3
    if kind == "I8":
        codes, value = rng.integers(-128, 128, (m, n)), int
    grid = (-(-m // block[0]), -(-n // block[1]))
    exponents = rng.integers(117, 134, grid)
    sizes = rng.uniform(0.1, 3.0, grid).astype("f4") if scales == "F32" else 2.0 ** (exponents - 127)
    zeros = rng.integers(-9, 9, grid) if zero else np.zeros(grid, int)
    W = [[(value(int(codes[i, j])) - zeros[i // block[0], j // block[1]]) * float(sizes[i // block[0], j // block[1]])
          for j in range(n)] for i in range(m)]  # fmt: skip
    tensors = {NAME: (kind, codes.astype("i1" if kind == "I8" else "u1"))}
    tensors[f"h.0.q.{name}"] = sizes if scales == "F32" else (scales, exponents.astype("u1"))
    if zero:
        tensors["h.0.q.weight_zero_point"] = ("I8", zeros.astype("i1"))
    return tensors, np.array(W)


BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [8, 16]}}
GROUPS = {
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "config_groups": {
            "group_0": {"weights": {"strategy": "block", "block_structure": [8, 16], "group_size": None}},
            "group_1": {"weights": {"strategy": "group", "group_size": 32}},
        },
    }
}


@pytest.mark.parametrize("scales", ["F32", "F8_E8M0", "U8"])
@pytest.mark.parametrize(("config", "name"), [(BLOCKS, "weight_scale_inv"), (GROUPS, "weight_scale")])
def test_scales_of_blocks(tmp_path, make, config, name, scales):
    tensors, W = of_scaled(scales=scales, name=name)
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors, config), W)


def test_scales_of_groups(tmp_path, make):
    tensors, W = of_scaled(block=(1, 32), name="weight_scale")
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors, GROUPS), W)


@pytest.mark.parametrize("kind", ["F8_E4M3", "I8"])
@pytest.mark.parametrize("block", [(1, 40), (20, 40), (20, 1), (1, 1)])
def test_scales_whose_shape_tells_all(tmp_path, make, block, kind):
    tensors, W = of_scaled(block, kind=kind, name="weight_scale", zero=kind == "I8")
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors), W)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_scale(tmp_path, make, shape):
    tensors, W = of_scaled((20, 40), name="weight_scale")
    tensors["h.0.q.weight_scale"] = tensors["h.0.q.weight_scale"].reshape(shape)
    agree(make, tmp_path, base_of(make, tmp_path / "base", tensors), W)


@pytest.mark.parametrize("make_tensors", [of_gptq, of_awq, of_compressed, of_scaled])
def test_numbers_beyond_float32_are_said(tmp_path, make, make_tensors):
    tensors, W = make_tensors()
    (scales,) = (name for name in tensors if "scale" in name)
    tensors[scales] = np.full(tensors[scales].shape, 3e38, "f4")
    method = {of_gptq: "gptq", of_awq: "awq"}.get(make_tensors, "fp8")
    config = {"quantization_config": {"quant_method": method, "weight_block_size": [8, 16]}}
    layer = layer_over(make, tmp_path, base_of(make, tmp_path / "base", tensors, config), W.shape)
    assert layer.base is None and "non-finite" in layer.no_base


def test_an_exponent_that_is_no_number(tmp_path, make):
    tensors = of_scaled()[0]
    tensors["h.0.q.weight_scale_inv"] = ("F8_E8M0", np.full((3, 3), 255, "u1"))
    layer = layer_over(make, tmp_path, base_of(make, tmp_path / "base", tensors, BLOCKS), (20, 40))
    assert layer.base is None and "non-finite" in layer.no_base


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, {}, "no configuration says how"),
        ({}, {"quantization_config": {"weight_block_size": None}}, "says blocks of unknown size"),
        ({}, {"quantization_config": {"weight_block_size": [8, 15.0]}}, "says blocks of unknown size"),
        ({}, {"quantization_config": {"weight_block_size": [8, -16]}}, "says blocks of unknown size"),
        ({}, {"quantization_config": {"config_groups": [8]}}, "says blocks of unknown size"),
        ({}, {"quantization_config": {"config_groups": {"a": 8, "b": {"weights": 8}}}}, "says blocks of unknown size"),
        (
            {},
            {"quantization_config": {"weight_block_size": [128, 128]}},
            "with scales of the shape (3, 3) for one of (20, 40), and the configuration says blocks of 128 x 128",
        ),
        ({"h.0.q.weight_scale_inv": np.ones((3, 3, 1))}, BLOCKS, "with scales of the shape (3, 3, 1)"),
        ({"h.0.q.weight_scale_inv": np.ones((3, 3), "i4")}, BLOCKS, "has 9 entries of I32; expected 9 floats"),
        ({"h.0.q.weight_scale_inv": np.ones((0, 3))}, BLOCKS, "with scales of the shape (0, 3)"),
        ({NAME: ("F8_E4M3", np.ones((20, 40, 1), "u1"))}, BLOCKS, "quantized, of the shape (20, 40, 1)"),
        ({NAME: ("F8_E4M3", np.ones((0, 40), "u1"))}, BLOCKS, "quantized, of the shape (0, 40)"),
        ({NAME: ("I8", np.ones((20, 40), "i1"))}, BLOCKS, "is stored as I8 (quantized?)"),
        ({"h.0.q.weight_zero_point": np.ones(9)}, BLOCKS, "weight_zero_point has 9 entries of F64; expected 9 codes"),
    ],
)
def test_what_does_not_fit_scales(tmp_path, make, change, config, message):
    base = base_of(make, tmp_path / "base", of_scaled()[0] | change, config)
    layer = layer_over(make, tmp_path, base, (20, 40))
    assert layer.base is None and message in layer.no_base


def test_blocks_of_two_sizes_that_both_fit_are_refused(tmp_path, make):
    config = {"quantization_config": {"config_groups": {
        str(size): {"weights": {"block_structure": [8, size]}} for size in (15, 16)
    }}}  # fmt: skip
    layer = layer_over(make, tmp_path, base_of(make, tmp_path / "base", of_scaled()[0], config), (20, 40))
    assert layer.base is None and "says blocks of 8 x 15 or 8 x 16" in layer.no_base


def test_scales_of_blocks_need_the_folder(tmp_path, make):
    base = base_of(make, tmp_path / "base", of_scaled()[0], BLOCKS) / "model.safetensors"
    layer = layer_over(make, tmp_path, base, (20, 40))
    assert layer.base is None and "only the configuration beside it says how; give its folder" in layer.no_base


@pytest.mark.parametrize("exponents", [False, True])
def test_what_transformers_makes_of_blocks_of_eight_bits(tmp_path, exponents):
    torch, fp8 = pytest.importorskip("torch"), pytest.importorskip("transformers.integrations.finegrained_fp8")
    save_file = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(0)
    W, scales = torch.randn(32, 48).to(torch.float8_e4m3fn), torch.rand(2, 3)
    if exponents:
        scales = (scales * 20 + 110).to(torch.uint8).view(torch.float8_e8m0fnu)
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"weight_block_size": [16, 16]}}))
    save_file({NAME: W, "h.0.q.weight_scale_inv": scales}, tmp_path / "model.safetensors")
    base = BaseWeights(tmp_path)
    found = coded(base._files, NAME, (32, 48), base._settings).numbers()
    expected = fp8.Fp8Dequantize(None)._dequantize_one(W, scales, torch.float32)
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_what_bitsandbytes_writes(tmp_path, kind, double):
    torch, bnb = pytest.importorskip("torch"), pytest.importorskip("bitsandbytes")
    save_file = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(70, 33, bias=False, quant_type=kind, compress_statistics=double)
    layer.load_state_dict(torch.nn.Linear(70, 33, bias=False).state_dict())
    layer = layer.to("cpu")
    save_file({f"h.0.q.{name}": tensor for name, tensor in layer.state_dict().items()}, tmp_path / "base.safetensors")
    found = coded(BaseWeights(tmp_path / "base.safetensors")._files, NAME, (33, 70)).numbers()
    expected = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)


def test_what_bitsandbytes_writes_in_eight_bits(tmp_path):
    torch, bnb = pytest.importorskip("torch"), pytest.importorskip("bitsandbytes")
    save_file = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(0)
    like = torch.nn.Linear(70, 33, bias=False)
    layer = bnb.nn.Linear8bitLt(70, 33, bias=False, has_fp16_weights=False)
    layer.load_state_dict(like.state_dict())
    layer = layer.to("cpu")
    save_file({f"h.0.q.{name}": tensor for name, tensor in layer.state_dict().items()}, tmp_path / "base.safetensors")
    found = coded(BaseWeights(tmp_path / "base.safetensors")._files, NAME, (33, 70)).numbers()
    W = like.weight.detach().numpy()
    # Half a step of each row, and what its largest number loses in half precision.
    limit = (0.5 / 127 + 2.0**-11) * np.abs(W).max(axis=1, keepdims=True)
    assert (np.abs(found - W) <= limit).all()
