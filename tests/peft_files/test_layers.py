"""Every layout, against dense matrices formed here as PEFT forms them, and every trap of the format."""

import json
import os

import numpy as np
import pytest

from lorasolve.peft_files import LayerFactors, UnreadableError, UnusableLayer, diagnose, facts_of, read


def only(adapter):
    (layer,) = adapter.layers()
    assert isinstance(layer, LayerFactors), layer
    return layer


def check(layer, dense):
    """Compare factors, scale and singular values with the dense update."""
    np.testing.assert_allclose(layer.scale * layer.A @ layer.B.T, dense, rtol=1e-12, atol=1e-13)
    sigma = np.linalg.svd(dense, compute_uv=False)[: len(facts_of(layer).sigma)]
    np.testing.assert_allclose(facts_of(layer).sigma, sigma, rtol=1e-10, atol=1e-12 * sigma[0])


# ---------------------------------------------------------------------- layouts
@pytest.mark.parametrize(("rslora", "scale"), [(False, 8 / 4), (True, 8 / 2)])
def test_linear(tmp_path, make, rslora, scale):
    down, up = make.pair(0, dtype=np.float64)
    layer = only(read(make.adapter(tmp_path, make.linear("a.q", down, up), use_rslora=rslora)))
    assert (layer.module, layer.kind, layer.shape, layer.scale) == ("a.q", "linear", (9, 7), scale)
    check(layer, scale * up @ down)


def test_more_rank_than_the_matrix_has(tmp_path, make):
    down, up = make.pair(0, out=3, inner=5, r=8)
    layer = only(read(make.adapter(tmp_path, make.linear("a.q", down, up), r=8)))
    assert len(facts_of(layer).sigma) == 3
    check(layer, up.astype(float) @ down.astype(float))


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_short_dtypes(tmp_path, make, name):
    down, up = make.pair(3)
    if name == "F16":
        tensors, exact = make.linear("a.q", down.astype("f2"), up.astype("f2")), (down.astype("f2"), up.astype("f2"))
    else:
        codes = [(x.view(np.uint32) >> 16).astype(np.uint16) for x in (down, up)]
        tensors = make.linear("a.q", *[("BF16", code) for code in codes])
        exact = [(code.astype(np.uint32) << 16).view(np.float32) for code in codes]
    check(only(read(make.adapter(tmp_path, tensors))), 2.0 * exact[1].astype(float) @ exact[0].astype(float))


@pytest.mark.parametrize("coarse", [0, 1])
def test_an_update_is_as_accurate_as_the_coarser_of_its_factors(tmp_path, make, coarse):
    pair = list(make.pair(3))
    pair[coarse] = pair[coarse].astype("f2")
    layer = only(read(make.adapter(tmp_path, make.linear("a.q", *pair))))
    assert layer.roundoff == np.finfo(np.float16).eps / 2


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2"])
def test_8_bit_factors(tmp_path, make, name):
    rng = np.random.default_rng(0)
    down, up = rng.integers(0, 100, (4, 7), np.uint8), rng.integers(0, 100, (9, 4), np.uint8)
    tensors = make.linear("a.q", (name, down), (name, up))
    layer = only(read(make.adapter(tmp_path, tensors)))
    assert layer.roundoff == {"F8_E4M3": 1 / 16, "F8_E5M2": 1 / 8}[name]
    assert facts_of(layer).rank_tol == 2 * layer.roundoff


def test_embedding(tmp_path, make):
    """lora_embedding_A (r, vocabulary), lora_embedding_B (dim, r), without ``.weight``; the update is transposed."""
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((4, 30)), rng.standard_normal((6, 4))
    tensors = {"base_model.model.e.lora_embedding_A": A, "base_model.model.e.lora_embedding_B": B}
    layer = only(read(make.adapter(tmp_path, tensors)))
    assert (layer.kind, layer.shape) == ("embedding", (30, 6))
    check(layer, 2.0 * (B @ A).T)


def test_convolution(tmp_path, make):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((4, 3, 5, 5)), rng.standard_normal((6, 4, 1, 1))
    layer = only(read(make.adapter(tmp_path, make.linear("c", A, B))))
    assert (layer.kind, layer.shape) == ("convolution", (6, 75))
    check(layer, 2.0 * B[:, :, 0, 0] @ A.reshape(4, 75))


def test_a_grouped_convolution_is_not_guessed(tmp_path, make):
    A, B = np.ones((4, 3, 5, 5)), np.ones((6, 2, 1, 1))
    (layer,) = read(make.adapter(tmp_path, make.linear("c", A, B))).layers()
    assert isinstance(layer, UnusableLayer) and "grouped" in layer.reason


def test_experts_are_grouped_on_one_side_and_interleaved_on_the_other(tmp_path, make):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((12, 7)), rng.standard_normal((9, 12))
    adapter = read(make.adapter(tmp_path, make.linear("mlp.experts", A, B), target_parameters=["mlp.experts.up"]))
    layers = list(adapter.layers())
    assert [layer.module for layer in layers] == ["mlp.experts[0]", "mlp.experts[1]", "mlp.experts[2]"]
    # As PEFT forms them: (experts, r, in) and (out, r, experts).
    dense = 2.0 * np.einsum("ore,eri->eoi", B.reshape(9, 4, 3), A.reshape(3, 4, 7))
    for layer, expected in zip(layers, dense):
        assert layer.kind == "expert"
        check(layer, expected)
    # Beside experts a plain module of another rank than the configuration's is not taken for some.
    tensors = make.linear("mlp.experts", A, B) | make.linear("attn.q", A[:8], B[:, :8])
    found = list(read(make.adapter(tmp_path / "q", tensors, target_parameters=["mlp.experts.up"])).layers())
    (wrong,) = [layer for layer in found if isinstance(layer, UnusableLayer)]
    assert wrong.module == "attn.q" and "rank 8, the configuration says 4" in wrong.reason and len(found) == 4


def test_patterns_name_a_parameter_that_the_file_does_not(tmp_path, make):
    """PEFT saves the factors of ``experts.up`` under ``experts``, and of a second parameter under ``base_layer``."""
    A, B = np.ones((6, 7)), np.ones((9, 6))
    config = {"target_parameters": ["experts.up"], "rank_pattern": {"experts.up": 2}}
    layers = list(read(make.adapter(tmp_path / "a", make.linear("mlp.experts", A, B), **config)).layers())
    assert len(layers) == 3 and {layer.scale for layer in layers} == {8 / 2}
    tensors = make.linear("mlp.experts", A, B) | make.linear("mlp.experts.base_layer", A, B)
    for patterns, unusable in (({"experts.up": 2}, 2), ({r"experts\..*": 2}, 0)):
        config = {"target_parameters": ["experts.up", "experts.down"], "rank_pattern": patterns}
        found = list(read(make.adapter(tmp_path / "b", tensors, **config)).layers())
        assert (
            sum(isinstance(layer, UnusableLayer) and "different values" in layer.reason for layer in found) == unusable
        )
        assert len(found) == (2 if unusable else 6)


def test_dora_has_a_direction_only(tmp_path, make):
    down, up = make.pair(0)
    tensors = make.linear("a.q", down, up) | {"base_model.model.a.q.lora_magnitude_vector": np.ones(9, "f4")}
    layer = only(read(make.adapter(tmp_path, tensors, use_dora=True)))
    assert layer.dora and facts_of(layer).dora


def test_adalora(tmp_path, make):
    """Three factors without ``.weight``, scaled by alpha over the initial rank plus 1e-5, of the directions kept."""
    rng = np.random.default_rng(0)
    A, B, E = rng.standard_normal((3, 7)), rng.standard_normal((9, 3)), rng.standard_normal((3, 1))
    tensors = {f"base_model.model.a.q.lora_{part}": value for part, value in (("A", A), ("B", B), ("E", E))}
    pattern = {"a.q.lora_E": [True, True, False, True, False, False]}
    layer = only(read(make.adapter(tmp_path, tensors, peft_type="ADALORA", init_r=6, rank_pattern=pattern)))
    check(layer, 8 / (6 + 1e-5) * B @ np.diag(E.ravel()) @ A)
    facts = facts_of(layer)
    assert facts.imbalance is None and facts.wasted is None
    # In PEFT: scaling = lora_alpha if lora_alpha > 0 else r.
    settings = {"peft_type": "ADALORA", "init_r": 6, "rank_pattern": pattern, "lora_alpha": -4}
    scale = only(read(make.adapter(tmp_path, tensors, **settings))).scale
    assert scale == pytest.approx(6 / (6 + 1e-5), rel=1e-12)


@pytest.mark.parametrize(("kind", "beside"), [("LORA", True), ("ADALORA", False)])
def test_a_third_factor_belongs_to_adalora(tmp_path, make, kind, beside):
    down, up = make.pair(0)
    third = {"base_model.model.a.q.lora_E": np.ones((4, 1), "f4")} if beside else {}
    (layer,) = read(make.adapter(tmp_path, make.linear("a.q", down, up) | third, peft_type=kind, init_r=4)).layers()
    assert isinstance(layer, UnusableLayer) and "third factor (lora_E)" in layer.reason


def test_kohya(tmp_path, make):
    down, up = make.pair(0, dtype=np.float64)
    tensors = {"lora_unet_q.lora_down.weight": down, "lora_unet_q.lora_up.weight": up}
    tensors["lora_unet_q.alpha"] = np.array(2.0)
    make.file(tmp_path / "style.safetensors", tensors)
    layer = only(read(tmp_path / "style.safetensors"))
    assert (layer.module, layer.scale) == ("lora_unet_q", 0.5)
    check(layer, 0.5 * up @ down)
    del tensors["lora_unet_q.alpha"]
    make.file(tmp_path / "style.safetensors", tensors)
    assert only(read(tmp_path / "style.safetensors")).scale == 1.0


COMPLEX, TRUTH, EXPONENT = ("C64", np.ones((), "c8")), ("BOOL", np.ones((), "u1")), ("F8_E8M0", np.ones((), "u1"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("alpha", [np.array(np.nan), np.array(0.0), np.ones(2), COMPLEX, TRUTH, EXPONENT])
def test_kohya_with_a_useless_alpha(tmp_path, make, alpha):
    down, up = make.pair(0)
    make.file(tmp_path / "s.safetensors", {"q.lora_down.weight": down, "q.lora_up.weight": up, "q.alpha": alpha})
    (layer,) = read(tmp_path / "s.safetensors").layers()
    assert isinstance(layer, UnusableLayer) and "alpha" in layer.reason
    # An update that is scaled by NaN is NaN.
    assert layer.non_finite == (not isinstance(alpha, tuple) and bool(np.isnan(alpha).any()))


def test_kohya_with_an_integer_as_alpha(tmp_path, make):
    down, up = make.pair(0)
    for alpha in (np.array(2), ("U32", np.array(2, "u4"))):
        make.file(tmp_path / "s.safetensors", {"q.lora_down.weight": down, "q.lora_up.weight": up, "q.alpha": alpha})
        assert only(read(tmp_path / "s.safetensors")).scale == 0.5


def test_names_of_peft_with_the_scaling_beside_them(tmp_path, make):
    """As ComfyUI and trainers of diffusion models have them, without a folder."""
    down, up = make.pair(0, dtype=np.float64)
    tensors = {"net.q.lora_A.weight": down, "net.q.lora_B.weight": up, "net.q.alpha": np.array(-2.0)}
    make.file(tmp_path / "s.safetensors", tensors)
    check(only(read(tmp_path / "s.safetensors")), -0.5 * up @ down)
    make.file(tmp_path / "s.safetensors", tensors | {"net.k.lora_A.weight": down, "net.k.lora_B.weight": up})
    with pytest.raises(UnreadableError, match=r"net\.k\.lora_A\.weight.*or in a tensor alpha beside"):
        read(tmp_path / "s.safetensors")


DIFFUSERS = {
    "unet.down.attn1.to_q": ("lora.down", "lora.up"),
    "text_encoder.layers.0.q_proj": ("lora_linear_layer.down", "lora_linear_layer.up"),
    "transformer.transformer_blocks.0.to_k": ("lora_A", "lora_B"),
}


def of_diffusers(down, up):
    """Return tensors as its savers name them: of a U-Net, a text encoder, and a transformer."""
    pairs = {module: zip(parts, (down, up)) for module, parts in DIFFUSERS.items()}
    return {f"{module}.{part}.weight": M for module, named in pairs.items() for part, M in named}


def test_what_diffusers_writes_without_a_scaling_has_1(tmp_path, make):
    """So its loader takes it, whatever alpha was trained with: lora_alpha = r (its get_peft_kwargs)."""
    down, up = make.pair(0, dtype=np.float64)
    make.file(tmp_path / "pytorch_lora_weights.safetensors", of_diffusers(down, up))
    adapter = read(tmp_path / "pytorch_lora_weights.safetensors")
    layers = list(adapter.layers())
    assert {layer.module for layer in layers} == set(DIFFUSERS) and not adapter.skipped
    for layer in layers:
        check(layer, up @ down)
    report = str(diagnose(tmp_path / "pytorch_lora_weights.safetensors"))
    assert "no scaling is stored for 3 modules: 1 is taken, as diffusers does" in report
    # A language model of PEFT's names is none of a pipeline's parts.
    language = {f"transformer.h.0.c_attn.lora_{part}.weight": M for part, M in zip("AB", (down, up))}
    make.file(tmp_path / "language.safetensors", language)
    with pytest.raises(UnreadableError, match="scaling is in adapter_config"):
        read(tmp_path / "language.safetensors")


def test_each_part_of_a_pipeline_has_the_configuration_that_diffusers_keeps(tmp_path, make):
    down, up = make.pair(0, dtype=np.float64)
    settings = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 2}}
    settings |= {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.use_rslora": True}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(settings)}
    make.file(tmp_path / "s.safetensors", of_diffusers(down, up), metadata)
    scales = {layer.module.partition(".")[0]: layer.scale for layer in read(tmp_path / "s.safetensors").layers()}
    assert scales == {"unet": 2 / 4, "transformer": 8 / 4**0.5, "text_encoder": 1.0}
    assert "unet: r 4, alpha 8; transformer: r 4, alpha 8" in str(diagnose(tmp_path / "s.safetensors"))
    # A part that is saved alone has names without it.
    alone = {f"blocks.0.to_k.lora_{part}.weight": M for part, M in zip("AB", (down, up))}
    make.file(tmp_path / "a.safetensors", alone, {"lora_adapter_metadata": '{"r": 4, "lora_alpha": 12}'})
    check(only(read(tmp_path / "a.safetensors")), 3.0 * up @ down)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "expected a JSON object"), ("{", "not valid JSON"), ('{"unet.r": "4"}', "r: expected an integer"),
     ('{"unet.init_lora_weights": "pissa"}', "initialization pissa changed")],
)  # fmt: skip
def test_a_configuration_of_diffusers_that_cannot_be_used_is_named(tmp_path, make, text, message):
    make.file(tmp_path / "s.safetensors", of_diffusers(*make.pair(0)), {"lora_adapter_metadata": text})
    with pytest.raises(UnreadableError, match=message) as error:
        read(tmp_path / "s.safetensors").refuse_moved_base()
    assert "s.safetensors: " in str(error.value)


def test_kohya_with_three_factors_is_not_read(tmp_path, make):
    down, up = make.pair(0)
    tensors = {"q.lora_down.weight": down, "q.lora_up.weight": up, "q.lora_mid.weight": np.ones((4, 4, 3, 3))}
    make.file(tmp_path / "s.safetensors", tensors)
    (layer,) = read(tmp_path / "s.safetensors").layers()
    assert isinstance(layer, UnusableLayer) and "lora_mid" in layer.reason


# ---------------------------------------------------------------------- names
@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
@pytest.mark.parametrize("name", ["lora_{}.weight", "lora_{}.default.weight", "lora_{}.mine.weight", "lora_{}"])
def test_names_of_live_models_and_saved_ones(tmp_path, make, prefix, name):
    down, up = make.pair(0)
    tensors = {f"{prefix}m.q.{name.format('A')}": down, f"{prefix}m.q.{name.format('B')}": up}
    assert only(read(make.adapter(tmp_path, tensors))).module == "m.q"


def test_tensors_that_are_no_factors_are_listed(tmp_path, make):
    down, up = make.pair(0)
    others = {
        "base_model.model.a.q.lora_B.bias": "a bias beside the factors",
        "base_model.model.classifier.weight": "trained in full, not of low rank",
        "base_model.model.classifier.bias": "trained in full, not of low rank",
        "base_model.model.embed.base_layer.weight": "a base weight, saved beside its factors",
        "base_model.model.a.q.base_layer.bias": "trained in full, not of low rank",
        "base_model.model.activation.alpha": "trained in full, not of low rank",
        "base_model.model.a.k.hada_w1_a": "an adapter of another kind",
        "base_model.model.a.k.alpha": "an adapter of another kind",
        "unet.down.0.attn1.processor.to_q_lora.down.weight": "an adapter of another kind",
        "unet.down.0.attn1.processor.to_q_lora.up.weight": "an adapter of another kind",
        "text_encoder.q_proj.lora_linear_layer.up.weight": "an adapter of another kind",
        "layers.0.attn.q_proj.lora_a.weight": "an adapter of another kind",  # of torchtune
        "model.layers.0.self_attn.q_proj.lora_b": "an adapter of another kind",  # of MLX
    }
    tensors = make.linear("a.q", down, up) | dict.fromkeys(others, np.ones(3, "f4"))
    settings = {"bias": "all", "lora_bias": True, "modules_to_save": ["classifier", "activation"]}
    assert read(make.adapter(tmp_path / "trained", tensors, **settings)).skipped == others
    # PEFT saves embeddings of a vocabulary that was enlarged, trained or not.
    names = ("base_model.model.m.embed_tokens.weight", "base_model.model.lm_head.weight")
    saved = dict.fromkeys(names, np.ones((3, 2), "f4"))
    config = {"modules_to_save": ["lm_head"], "bias": "none"}
    told = read(make.adapter(tmp_path / "saved", make.linear("a.q", down, up) | saved, **config)).skipped
    assert "does not name it as trained" in told["base_model.model.m.embed_tokens.weight"]
    assert told["base_model.model.lm_head.weight"] == "trained in full, not of low rank"


def test_a_factor_that_occurs_twice_is_not_guessed(tmp_path, make):
    down, up = make.pair(0)
    tensors = make.linear("a.q", down, up) | {"a.q.lora_A.weight": 2 * down}
    (layer,) = read(make.adapter(tmp_path, tensors)).layers()
    assert isinstance(layer, UnusableLayer) and "twice" in layer.reason


@pytest.mark.parametrize(("first", "second", "usable"), [("x.", "x.", True), ("x.", "y.", False), ("", "y.", False)])
def test_factors_of_two_adapters_are_no_pair(tmp_path, make, first, second, usable):
    down, up = make.pair(0)
    tensors = {f"a.q.lora_A.{first}weight": down, f"a.q.lora_B.{second}weight": up}
    (layer,) = read(make.adapter(tmp_path, tensors)).layers()
    assert isinstance(layer, UnusableLayer) != usable
    assert usable or layer.reason == f"its factors are of two adapters, {first[:-1]!r} and {second[:-1]!r}"


# ---------------------------------------------------------------------- ranks and scalings
def scale_of(tmp_path, make, module="m.layers.1.q", r=4, **config):
    down, up = make.pair(0, r=r)
    return only(read(make.adapter(tmp_path, make.linear(module, down, up), **config))).scale


def test_patterns_follow_the_rule_of_peft(tmp_path, make):
    """The first pattern that is the module, or matches its end after a dot; a dot in it stands for any letter."""
    assert scale_of(tmp_path, make, alpha_pattern={"k": 1, "q": 2, "m.layers.1.q": 3}) == 2 / 4
    assert scale_of(tmp_path, make, alpha_pattern={"m.layers.1.q": 3, "q": 2}) == 3 / 4
    assert scale_of(tmp_path, make, alpha_pattern={"layers.1.q": 3}) == 3 / 4
    assert scale_of(tmp_path, make, alpha_pattern={"ayers.1.q": 3}) == 8 / 4
    assert scale_of(tmp_path, make, alpha_pattern={"layers.1": 3}) == 8 / 4
    assert scale_of(tmp_path, make, "m.layersX1.q", alpha_pattern={"layers.1.q": 3}) == 3 / 4
    assert scale_of(tmp_path, make, r=2, rank_pattern={r"layers\.\d+\.q": 2}, use_rslora=True) == 8 / 2**0.5
    assert scale_of(tmp_path, make, alpha_pattern={r"^m\.layers\.(1|2)\..*": 6}) == 6 / 4
    assert scale_of(tmp_path, make, alpha_pattern={r"^layers\.1\.q": 6}) == 8 / 4


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a regular expression"),
        ("*q", "not a regular expression"),
        ("(a+)+q", "repeats a group"),
        ("(?:a|a)*q", "repeats a group"),
        (".*.*.*q", "more than 2 repeats"),
        ("[a]" * 400, "longer than 1000"),
    ],
)
def test_patterns_that_are_broken_or_slow_are_named(tmp_path, make, pattern, message):
    down, up = make.pair(0)
    adapter = read(make.adapter(tmp_path, make.linear("m.q", down, up), rank_pattern={pattern: 4}))
    (layer,) = adapter.layers()
    assert isinstance(layer, UnusableLayer) and message in layer.reason


def test_a_rank_that_differs_from_the_configuration_is_not_guessed(tmp_path, make):
    down, up = make.pair(0, r=5)
    (layer,) = read(make.adapter(tmp_path, make.linear("a.q", down, up), r=4)).layers()
    assert layer == UnusableLayer("a.q", "the factors have rank 5, the configuration says 4")
    # Twice the rank is two experts only where parameters were targeted.
    down, up = make.pair(0, r=8)
    (layer,) = read(make.adapter(tmp_path, make.linear("a.q", down, up), r=4)).layers()
    assert isinstance(layer, UnusableLayer)


def test_defaults_of_peft(tmp_path, make):
    down, up = make.pair(0, r=8)
    make.adapter(tmp_path, make.linear("a.q", down, up))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    adapter = read(tmp_path)
    assert only(adapter).scale == 1.0
    assert ["r is not in" in said or "lora_alpha is not in" in said for said in adapter.config.remarks] == [True, True]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "names no r, for which PEFT's default is 8"),
        ({"r": 8}, "says 8"),
        ({"rank_pattern": {"q": 8}}, "says 8"),
        ({"peft_type": "ADALORA"}, None),
    ],
)
def test_a_default_of_peft_is_not_said_to_be_in_the_configuration(tmp_path, make, settings, told):
    """A configuration without ``r`` says nothing of a rank: 8 is what PEFT takes, and 12 as ``init_r`` of AdaLoRA."""
    make.adapter(tmp_path, make.linear("a.q", *make.pair(0, r=4)))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8} | settings))
    adapter = read(tmp_path)
    if told is None:
        assert adapter.config.remarks == ("init_r is not in adapter_config.json: PEFT's default 12 is taken",)
        return
    (layer,) = adapter.layers()
    assert layer.reason == f"the factors have rank 4, the configuration {told}"


# ---------------------------------------------------------------------- configurations
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LOHA"}, "'LOHA' has no update"),
        ({"peft_type": None}, "accepted: LORA, ADALORA"),
        ({"r": 0}, "r: expected an integer from 1 to 1000000, got 0"),
        ({"r": True}, "r: expected an integer"),
        ({"r": "8"}, "r: expected an integer"),
        ({"lora_alpha": "8"}, "lora_alpha: expected a number"),
        ({"lora_alpha": 0}, "lora_alpha: expected a number other than 0, at most 1e12, got 0"),
        ({"lora_alpha": "16"}, "lora_alpha: expected a number other than 0, at most 1e12, got '16'"),
        ({"lora_alpha": float("nan")}, "lora_alpha: expected a number"),
        ({"lora_alpha": 10**400}, "lora_alpha: expected a number"),
        ({"use_rslora": "yes"}, "use_rslora: expected true or false"),
        ({"rank_pattern": [1]}, "rank_pattern: expected an object"),
        ({"target_parameters": "experts.up"}, "target_parameters: expected a list"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"x": 1}}, "block-diagonal"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path, make, config, message):
    with pytest.raises(UnreadableError, match=message) as error:
        read(make.adapter(tmp_path, make.linear("a.q", *make.pair(0)), **config))
    assert "adapter_config.json" in str(error.value)


@pytest.mark.parametrize("text", ["{", "", "[]", "3", "[" * 100_000, '{"r": 1, "r": 2}', "\ufeff{}", '{"a": "\\'])
def test_bad_json_in_the_configuration(tmp_path, make, text):
    make.adapter(tmp_path, make.linear("a.q", *make.pair(0)))
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(UnreadableError, match=r"adapter_config\.json"):
        read(tmp_path)


def test_remarks_name_what_changes_the_meaning(tmp_path, make):
    config = {
        "init_lora_weights": "pissa_niter_4",
        "layer_replication": [[0, 2]],
        "new_trick": {"on": True},
        "unused_trick": None,
        "base_model_name_or_path": "/home/me/secret",
    }
    adapter = read(make.adapter(tmp_path, make.linear("a.q", *make.pair(0)), **config))
    text = " ".join(adapter.config.remarks)
    assert adapter.config.moves_base and "pissa_niter_4" in text and "layer_replication" in text
    assert adapter.config.unknown == adapter.unknown_settings == ("new_trick",) and "secret" not in text


# ---------------------------------------------------------------------- factors
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_factors(tmp_path, make, bad):
    down, up = make.pair(0)
    up[2, 1] = bad
    (layer,) = read(make.adapter(tmp_path, make.linear("a.q", down, up))).layers()
    assert isinstance(layer, UnusableLayer) and layer.non_finite and "lora_B" in layer.reason


@pytest.mark.parametrize(
    ("down", "up", "message"),
    [
        (np.ones((4, 7)) * 1e200, np.ones((9, 4)), "entries up to 1e"),
        (np.ones((4, 7), "i4"), np.ones((9, 4)), "holds I32"),
        (np.ones(4), np.ones((9, 4)), "not gathered"),
        (np.ones((4, 0)), np.ones((9, 4)), "not gathered"),
        (np.ones((4, 7)), np.ones((9, 5)), "inner sizes 5 and 4"),
    ],
)
def test_factors_that_cannot_be_used(tmp_path, make, down, up, message):
    (layer,) = read(make.adapter(tmp_path, make.linear("a.q", down, up))).layers()
    assert isinstance(layer, UnusableLayer) and message in layer.reason


def test_an_incomplete_pair(tmp_path, make):
    down, up = make.pair(0)
    tensors = make.linear("a.q", down, up)
    tensors["base_model.model.a.k.lora_A.weight"] = down
    layers = {layer.module: layer for layer in read(make.adapter(tmp_path, tensors)).layers()}
    assert isinstance(layers["a.q"], LayerFactors) and "incomplete" in layers["a.k"].reason


# ---------------------------------------------------------------------- folders
def test_a_pickle_is_never_opened(tmp_path, make):
    make.adapter(tmp_path, make.linear("a.q", *make.pair(0)))
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UnreadableError, match=r"pickle.*Convert"):
        read(tmp_path)


def test_of_the_checkpoints_of_a_run_the_latest_is_named(tmp_path, make):
    for step in range(5, 101, 5):
        make.adapter(tmp_path / f"checkpoint-{step}", make.linear("a.q", *make.pair(0)))
    with pytest.raises(UnreadableError, match=r"its folders do: checkpoint-5, checkpoint-10, .*, checkpoint-100$"):
        read(tmp_path)


def test_what_is_missing_is_said(tmp_path, make):
    make.adapter(tmp_path / "checkpoint-5", make.linear("a.q", *make.pair(0)))
    with pytest.raises(UnreadableError, match="its folders do: checkpoint-5"):
        read(tmp_path)
    (tmp_path / "checkpoint-5" / "adapter_config.json").unlink()
    with pytest.raises(UnreadableError, match=r"adapter_config\.json is missing"):
        read(tmp_path / "checkpoint-5")
    with pytest.raises(UnreadableError, match="give the folder that"):
        read(tmp_path / "checkpoint-5" / "adapter_model.safetensors")
    with pytest.raises(OSError):
        read(tmp_path / "nothing")
    make.file(tmp_path / "style.safetensors", {"q.lora_down.weight": np.ones((2, 3), "f4")})
    (tmp_path / "checkpoint-5" / "adapter_model.safetensors").unlink()
    with pytest.raises(UnreadableError, match=r"is missing; .* by its name: style\.safetensors"):
        read(tmp_path)


@pytest.mark.parametrize("names", [["model"], ["model-00001-of-00002", "model-00002-of-00002"]])
def test_the_folder_of_a_whole_model_is_told_from_that_of_an_adapter(tmp_path, make, names):
    """What merge_and_unload() leaves holds no factors, and its file is no adapter either."""
    for k, name in enumerate(names):
        make.file(tmp_path / f"{name}.safetensors", {f"h.{k}.q.weight": np.ones((2, 3), "f4")})
    with pytest.raises(UnreadableError, match=rf"holds a whole model \({names[0]}\.safetensors.*no adapter"):
        read(tmp_path)


def test_the_factors_in_the_file_of_a_whole_model_are_not_said_to_be_gone(tmp_path, make):
    """As save_state and save_model of accelerate write them, under the names of the live model."""
    down, up = make.pair(0)
    named = {f"base_model.model.h.0.q.lora_{part}.default.weight": M for part, M in (("A", down), ("B", up))}
    make.file(tmp_path / "model.safetensors", {"base_model.model.h.0.q.base_layer.weight": up} | named)
    with pytest.raises(UnreadableError, match=r"with the factors in it, .*save the adapter alone with PEFT's save_pre"):
        read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UnreadableError, match=r"holds a whole model \(model\.safetensors\) and no adapter"):
        read(tmp_path)


def test_an_adapter_in_shards_is_not_sent_from_its_folder_to_its_parts_and_back(tmp_path, make):
    """As the save_pretrained of transformers writes adapters above its max_shard_size."""
    folder = make.adapter(tmp_path, make.linear("h.0.q", *make.pair(0)))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model-00001-of-00002.safetensors")
    make.file(folder / "adapter_model-00002-of-00002.safetensors", make.linear("h.1.q", *make.pair(1)))
    with pytest.raises(UnreadableError, match=r"in shards \(adapter_model-00001-of-00002.*max_shard_size"):
        read(folder)


def test_nothing_but_foreign_tensors(tmp_path, make):
    with pytest.raises(UnreadableError, match=r"no pair of LoRA factors.*another kind"):
        read(make.adapter(tmp_path, {"base_model.model.q.lokr_w1": np.ones(3)}))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_links_out_of_the_folder_are_not_followed(tmp_path, make, name):
    folder = make.adapter(tmp_path / "adapter", make.linear("a.q", *make.pair(0)))
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UnreadableError, match="leads out of the folder"):
        read(folder)


def test_links_inside_the_folder_and_of_a_download_cache_are_followed(tmp_path, make):
    snapshot = make.adapter(tmp_path / "models--me--x" / "snapshots" / "abc", make.linear("a.q", *make.pair(0)))
    blobs = tmp_path / "models--me--x" / "blobs"
    blobs.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (snapshot / name).rename(blobs / f"hash-of-{name}")
        (snapshot / name).symlink_to(os.path.join("..", "..", "blobs", f"hash-of-{name}"))
    assert only(read(snapshot)).module == "a.q"
    folder = make.adapter(tmp_path / "plain", make.linear("a.q", *make.pair(0)))
    (folder / "adapter_config.json").rename(folder / "real.json")
    (folder / "adapter_config.json").symlink_to("real.json")
    assert only(read(folder)).module == "a.q"


def test_a_pipe_is_refused_without_waiting(tmp_path, make):
    folder = make.adapter(tmp_path, make.linear("a.q", *make.pair(0)))
    (folder / "adapter_config.json").unlink()
    os.mkfifo(folder / "adapter_config.json")
    with pytest.raises(UnreadableError, match="not a regular file"):
        read(folder)


def test_the_package_orientation_fits_a_problem(tmp_path, make):
    """What is read is what :func:`lorasolve.certify` takes: ``W0 + s A B^T``."""
    import lorasolve as ls

    down, up = make.pair(0, dtype=np.float64)
    layer = only(ls.peft_files.read(make.adapter(tmp_path, make.linear("a.q", down, up))))
    problem = ls.Problem(ls.objectives.Denoising(np.eye(9, 7)), rank=4, lam=0.1, adapter="lora:alpha=8")
    assert problem.scale == layer.scale
    certificate = ls.certify(problem, (layer.A, layer.B))
    np.testing.assert_allclose(certificate.nuclear_norm, facts_of(layer).nuclear, rtol=1e-10)


def test_the_whole_document_is_kept(tmp_path, make):
    adapter = read(make.adapter(tmp_path, make.linear("a.q", *make.pair(0)), revision="main"))
    assert adapter.config.document == json.loads((tmp_path / "adapter_config.json").read_text())
