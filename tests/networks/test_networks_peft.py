"""PEFT models, the Trainer and several processes; skipped without torch, transformers and peft."""

from __future__ import annotations

import json
import math
import types
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

import lorasolve as ls  # noqa: E402
from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LoRAMonitor,
    Network,
    adapted_layers,
    callback,
    fine_tune,
    judge,
    linearize,
    read_optimizer_state,
    tangent_certificate,
)
from lorasolve.networks.linearize import tangent_problem  # noqa: E402
from lorasolve.networks.training_objective import in_short  # noqa: E402
from lorasolve.peft_files import diagnose  # noqa: E402

torch.set_num_threads(1)
LAM = 0.02
N, LENGTH = 32, 8


def bert(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=2,
        initializer_range=0.3,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return transformers.BertForSequenceClassification(config)


def adapted(rank=4, seed=0, dropout=0.1, **settings):
    settings = {"target_modules": ["query", "value"], "lora_alpha": 2 * rank} | settings
    return peft.get_peft_model(bert(seed, dropout), peft.LoraConfig(r=rank, **settings))


def tokens(n=N, seed=0):
    rng = np.random.default_rng(seed)
    ids = torch.tensor(rng.integers(5, 60, (n, LENGTH)))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": (ids[:, 0] > 30).long()}


def batches(n=N, size=16):
    whole = tokens(n)
    return [{key: value[k : k + size] for key, value in whole.items()} for k in range(0, n, size)]


def rows(n=N):
    whole = tokens(n)
    return [{key: value[k] for key, value in whole.items()} for k in range(n)]


# ---------------------------------------------------------------------- optimizers
@pytest.mark.parametrize(
    ("settings", "horizon"),
    [({"lr": 1e-3, "relative_step": False, "scale_parameter": False}, 1.0 / (1e-3 * 0.05)), ({}, math.inf)],
    ids=["as the Trainer makes it", "with steps of its own"],
)
def test_adafactor_decays_beside_the_gradient(tmp_path, settings, horizon):
    """Without any gradient a step shrinks the tensors, and what it keeps of gradients knows nothing of the decay."""
    matrix, bias = torch.nn.Parameter(torch.full((3, 2), 2.0)), torch.nn.Parameter(torch.ones(4))
    groups = [{"params": [matrix], "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}]
    made = transformers.Adafactor(groups, **settings)
    for part in (matrix, bias):
        part.grad = torch.zeros_like(part)
    made.step()
    assert matrix.max() < 2.0 and bias.min() == 1.0
    torch.save(made.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay) == ("decoupled", 0.05)
    assert found.horizon == pytest.approx(horizon)
    assert ("of a size of its own" in str(found)) == math.isinf(horizon) and "learning rate is 0" not in str(found)


# ---------------------------------------------------------------------- layers
def test_layers_of_peft_have_their_own_scaling_and_update():
    model = adapted(rank_pattern={"layer.1.*value": 2}, use_rslora=True, lora_alpha=6)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    found = adapted_layers(model)
    assert [layer.factors[0].shape[1] for layer in found] == [4, 4, 4, 2]
    for layer in found:
        A, B = layer.factors
        delta = model.get_submodule(layer.name).get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(layer.scale * A @ B.T, delta, atol=1e-5)


def test_what_cannot_be_judged_is_refused_by_name():
    with pytest.raises(ValueError, match=r"word_embeddings uses DoRA over an embedding with a padding index \(0\)"):
        adapted_layers(adapted(target_modules=["word_embeddings"], use_dora=True))
    with pytest.raises(ValueError, match=r"word_embeddings: expected zeros in lora_A at the padding index 0"):
        adapted_layers(adapted(target_modules=["word_embeddings"], init_lora_weights=False))
    model = adapted()
    model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["query", "value"]))
    with pytest.raises(ValueError, match=r"adapter: .* has several"):
        adapted_layers(model)
    with pytest.raises(ValueError, match="exactly 'second' has to be"):
        adapted_layers(model, adapter="second")
    model.set_adapter("second")
    assert len(adapted_layers(model, adapter="second")) == 4
    model = adapted()
    model.merge_adapter()
    with pytest.raises(ValueError, match="merged"):
        adapted_layers(model)
    model = adapted()
    model.base_model.disable_adapter_layers()
    with pytest.raises(ValueError, match=r"query are disabled; enable_adapter_layers\(\) first"):
        adapted_layers(model)
    model.base_model.enable_adapter_layers()
    assert len(adapted_layers(model)) == 4
    settings = peft.AdaLoraConfig(init_r=4, target_modules=["query", "value"], total_step=10)
    with pytest.raises(ValueError, match=r"query uses AdaLoRA, whose update has a third factor"):
        adapted_layers(peft.get_peft_model(bert(), settings))


def test_an_update_with_a_third_factor_is_neither_watched_nor_judged():
    """KaSA has diag(lora_diag) between the two; a monitor had read the norms of the product without it."""
    kind = pytest.importorskip("peft.tuners.lora.config")
    if not hasattr(kind, "KasaConfig"):
        pytest.skip("this version of peft has no KaSA")
    model = adapted(kasa_config=kind.KasaConfig())
    model(**tokens()).loss.backward()
    for ask in (LoRAMonitor().step, lambda model: judge(model, CrossEntropy(), batches(), LAM)):
        with pytest.raises(ValueError, match="query uses KaSA, whose update has a third factor"):
            ask(model)


@pytest.mark.parametrize("side", ["a", "b"])
def test_factors_that_are_blocks_of_a_diagonal_are_neither_watched_nor_judged(side):
    """The factors of BD-LoRA hold the blocks alone: of those of lora_A a monitor had read norms of another matrix."""
    kind = pytest.importorskip("peft.tuners.lora.config")
    if not hasattr(kind, "BdLoraConfig"):
        pytest.skip("this version of peft has no BD-LoRA")
    settings = kind.BdLoraConfig(**{f"target_modules_bd_{side}": ["query"]}, nblocks=2)
    model = adapted(use_bdlora=settings, target_modules=["query"])
    model(**tokens()).loss.backward()
    for ask in (LoRAMonitor().step, lambda model: judge(model, CrossEntropy(), batches(), LAM)):
        with pytest.raises(ValueError, match="query uses BD-LoRA, one of whose factors is blocks"):
            ask(model)


@pytest.mark.parametrize("kind", ["Vera", "LoHa", "LoKr"])
def test_adapters_of_other_kinds_are_named(kind):
    model = peft.get_peft_model(bert(), getattr(peft, f"{kind}Config")(r=2, target_modules=["query"]))
    with pytest.raises(ValueError, match=f"expected LoRA, got adapters of the kind {kind.upper()}, whose"):
        adapted_layers(model)


def test_a_model_whose_factors_were_merged_and_taken_away_is_told_so():
    with pytest.raises(ValueError, match=r"no LoRA layers .*merge_and_unload\(\) takes away"):
        adapted_layers(adapted().merge_and_unload())


def moved(model, seed=0):
    """Return a model of PEFT with factors as after some training."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        if "word_embeddings.lora_embedding_A" in name:
            parameter.data[:, 0] = 0.0
    return model


def images(n=16, channels=3, size=8):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(n, channels, size, size, generator=generator)
    return {"pixel_values": pixels, "labels": torch.randint(0, 3, (n,), generator=generator)}


def residual():
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=3, **sizes))


def patched():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=8, patch_size=2, num_labels=3, **sizes)
    return transformers.ViTForImageClassification(config)


def scaled():
    """A model that multiplies its embeddings by 4."""
    config = transformers.Gemma3TextConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=False,
        pad_token_id=None,
    )
    return transformers.Gemma3ForCausalLM(config)


@pytest.mark.parametrize(
    ("make", "targets", "batch"),
    [
        (bert, ["word_embeddings", "position_embeddings", "query"], tokens),
        (residual, ["convolution"], images),
        (patched, ["projection", "classifier"], images),
        (scaled, ["embed_tokens", "q_proj"], lambda: tokens() | {"labels": tokens()["input_ids"]}),
    ],
    ids=["bert", "resnet", "vit", "gemma3"],
)
def test_embeddings_and_convolutions_of_peft_have_the_gradients_that_training_leaves(make, targets, batch):
    torch.manual_seed(0)
    model = moved(peft.get_peft_model(make(), peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets))).double()
    network = Network(model, CrossEntropy(), [batch()])
    found = {part.name.rpartition(".")[2] for part in network.layers}
    assert found == set(targets)
    f, G = network.value_and_gradients(network.point)
    batch = {key: value.double() if value.is_floating_point() else value for key, value in batch().items()}
    own = model.eval()(**batch).loss
    own.backward()
    rounding = 1e-5 if make is scaled else 1e-10  # Gemma casts to float32 on its way, where it is not evaluated by us
    assert f == pytest.approx(float(own.detach()), rel=rounding)
    for layer, g, (A, B) in zip(network.layers, G, network.point):
        delta = layer.as_matrix(model.get_submodule(layer.name).get_delta_weight("default").detach().numpy())
        np.testing.assert_allclose(layer.scale * A @ B.T, delta, atol=1e-12)
        for gradient, part in ((g @ B, layer.lora_B), (A.T @ g, layer.lora_A)):
            size = float(part.grad.abs().max())
            np.testing.assert_allclose(gradient, part.grad.flatten(1).numpy(), atol=10 * rounding * size)


def translating(name):
    """An encoder-decoder, which makes the inputs of its decoder of the labels."""
    sizes = {"vocab_size": 60, "d_model": 16, "decoder_start_token_id": 0}
    if name == "T5":
        config = transformers.T5Config(d_kv=8, d_ff=32, num_layers=1, num_heads=2, **sizes)
        return transformers.T5ForConditionalGeneration(config), ["q", "v"]
    sizes |= {f"{side}_layers": 1 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")}
    config = transformers.BartConfig(max_position_embeddings=16, pad_token_id=1, init_std=0.3, **sizes)
    return transformers.BartForConditionalGeneration(config), ["q_proj", "v_proj"]


@pytest.mark.parametrize("name", ["T5", "Bart"])
def test_an_encoder_decoder_is_judged_by_its_own_loss(name):
    """Without labels T5 has no inputs for its decoder, and Bart takes those of its encoder."""
    torch.manual_seed(0)
    model, targets = translating(name)
    config = peft.LoraConfig(r=4, target_modules=targets, task_type="SEQ_2_SEQ_LM")
    model = moved(peft.get_peft_model(model, config)).double().eval()
    batch = tokens()
    batch["labels"] = batch["input_ids"].flip(1)
    batch["labels"][:4, 6:] = -100
    network = Network(model, CrossEntropy(), [batch])
    f, G = network.value_and_gradients(network.point)
    own = model(**batch).loss
    own.backward()
    assert f == pytest.approx(float(own.detach()), rel=1e-6)
    assert network.n_samples == N * LENGTH - 8
    for layer, g, (_, B) in zip(network.layers, G, network.point):
        expected = layer.lora_B.grad.numpy()
        np.testing.assert_allclose(g @ B, expected, atol=1e-5 * np.abs(expected).max())


def test_an_embedding_whose_factors_peft_ties_to_those_of_a_head_is_refused():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=60, tie_word_embeddings=True, **sizes))
    config = peft.LoraConfig(r=4, target_modules=["embed_tokens", "lm_head"], ensure_weight_tying=True)
    model = peft.get_peft_model(base, config)
    for check in (lambda: adapted_layers(model), lambda: LoRAMonitor().step(model)):
        with pytest.raises(ValueError, match=r"lora_A of .*embed_tokens is tied .*lm_head.lora_B.*: a shared factor"):
            check()


def test_adapters_of_different_layers_are_judged_and_watched_each_by_its_own():
    model = adapted()
    model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["key", "word_embeddings"]))
    with pytest.raises(ValueError, match=r"adapter: the model has several .*; name the one to judge"):
        adapted_layers(model)
    with pytest.raises(ValueError, match=r"adapter: expected one of .*, got 'third'"):
        adapted_layers(model, adapter="third")
    assert len(adapted_layers(model, adapter="default")) == 4
    verdict = judge(model, CrossEntropy(), batches(), LAM, adapter="default")
    assert [layer.name.rpartition(".")[2] for layer in verdict.certificate.layers] == ["query", "value"] * 2
    model(**tokens()).loss.backward()
    assert LoRAMonitor(LAM, adapter="default", base=model).step(model) is None
    model.set_adapter("second")
    assert [layer.name.rpartition(".")[2] for layer in adapted_layers(model, adapter="second")] == [
        "word_embeddings",
        "key",
        "key",
    ]


def test_a_layer_that_the_model_does_not_use_is_no_hindrance():
    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert(dropout=0.0).bert
            self.out = torch.nn.Linear(16, 2)

        def forward(self, input_ids, attention_mask):
            return self.out(self.bert(input_ids, attention_mask=attention_mask).last_hidden_state.mean(1))

    model = peft.get_peft_model(Mean(), peft.LoraConfig(r=2, target_modules="all-linear"))
    verdict = judge(model, CrossEntropy(), batches(), LAM)
    pooler = next(layer for layer in verdict.certificate.layers if "pooler" in layer.name)
    assert pooler.dual_norm == 0.0


def test_the_network_evaluates_what_the_model_computes():
    model = adapted().eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    network = Network(model, CrossEntropy(), batches())
    with torch.no_grad():
        loss = model(**tokens()).loss
    assert network.value(network.point) == pytest.approx(float(loss), rel=1e-5)


def llama(kind, **settings):
    torch.manual_seed(0)
    given = {
        "vocab_size": 30,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }
    return getattr(transformers, kind)(transformers.LlamaConfig(**(given | settings)))


def test_a_causal_language_model_is_trained_on_its_own_loss():
    model = peft.get_peft_model(
        llama("LlamaForCausalLM"), peft.LoraConfig(r=3, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    ids = torch.tensor(np.random.default_rng(0).integers(1, 30, (8, 6)))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}
    end = fine_tune(model, CrossEntropy(), [batch], LAM, max_calls=30)
    assert "of 40 samples, the logits of each token with the label of the next" in str(end.verdict)
    with torch.no_grad():
        assert end.verdict.certificate.f == pytest.approx(float(model.eval()(**batch).loss), rel=1e-5)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Phi3"])
def test_families_that_cast_to_float32_are_evaluated_in_float64(family):
    """Their norms and the softmax of their attention do; the value is still that of the model, to float32."""
    extra = {"head_dim": 8} if family in ("Gemma", "Qwen3") else {}
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        num_labels=2,
        attn_implementation="eager",
        **extra,
    )
    targets = ["qkv_proj"] if family == "Phi3" else ["q_proj", "v_proj"]
    base = getattr(transformers, f"{family}ForSequenceClassification")(config)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=targets)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    ids = torch.tensor(np.random.default_rng(0).integers(1, 29, (8, 6)))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
    network = Network(model, CrossEntropy(), [batch])
    point = network.point
    values = [network.value([(A * (1 + k * 1e-10), B) for A, B in point]) for k in range(7)]
    assert max(abs(np.diff(values, 2))) < 1e-11 * values[0]
    with torch.no_grad():
        assert values[0] == pytest.approx(float(model(**batch).loss), rel=1e-5)
    assert network.below == ()
    linearize(network, point)
    network.gradients_and_products(point, [np.ones(shape) for shape in network.shapes])
    assert network.differences is None


def test_weights_that_are_stored_the_other_way_round_have_the_update_and_its_gradient():
    """The linear layers of GPT-2 hold ``W^T``; the update is (outputs, inputs) all the same."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "initializer_range": 0.3}
    config = transformers.GPT2Config(**sizes, pad_token_id=0, num_labels=3, bos_token_id=1, eos_token_id=1)
    plain = transformers.GPT2ForSequenceClassification(config).eval()
    settings = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    model = peft.get_peft_model(plain, settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    ids = torch.randint(2, 30, (9, 5))
    batch = {"input_ids": ids, "labels": torch.arange(9) % 3}
    network = Network(model, CrossEntropy(), [batch])
    assert network.shapes == ((24, 8), (32, 8))
    point = network.point
    with torch.no_grad():
        assert network.value(point) == pytest.approx(float(model(**batch).loss), rel=1e-6)
    rng = np.random.default_rng(0)
    X, D = [A @ B.T for A, B in point], [rng.standard_normal(shape) for shape in network.shapes]
    G, H = network.value_and_grad(X)[1], network.hessian_product(X, D)
    ahead, behind = (network.value_and_grad([x + t * d for x, d in zip(X, D)]) for t in (1e-5, -1e-5))
    slope = sum(float(np.sum(g * d)) for g, d in zip(G, D))
    assert (ahead[0] - behind[0]) / 2e-5 == pytest.approx(slope, rel=1e-6)
    for h, one, two in zip(H, ahead[1], behind[1]):
        np.testing.assert_allclose(h, (one - two) / 2e-5, atol=1e-5 * np.abs(h).max())
    assert network.differences is None
    tokens = linearize(network, point)
    for g, h in zip(tokens.value_and_grad(X)[1], G):
        np.testing.assert_allclose(g, h, atol=1e-8 * np.abs(h).max())

    monitor = LoRAMonitor(base=model, ratio=100.0)
    model(**batch).loss.backward()
    assert monitor.step(model) is None
    for reading, x in zip(monitor.history[0][1].values(), X):
        assert reading.spectral == pytest.approx(3.0 * np.linalg.norm(x, 2), rel=1e-6)
    found = adapted_layers(transformers.GPT2ForSequenceClassification(config), layers="c_fc")
    assert [(layer.name, layer.shape) for layer in found] == [("transformer.h.0.mlp.c_fc", (32, 8))]


def test_experts_that_have_no_operation_in_float64_are_judged_one_by_one():
    """transformers multiplies experts in one piece, which torch may not have in float64: then the remedy is named."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 16}
    config = transformers.MixtralConfig(num_local_experts=3, num_experts_per_tok=2, **sizes, **heads)
    settings = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(transformers.MixtralForCausalLM(config), settings)
    tokens = torch.randint(0, 30, (4, 6))
    batches = [{"input_ids": tokens, "labels": tokens}]
    remedy = "set_experts_implementation('eager')"
    try:
        found = judge(model, CrossEntropy(), batches, 0.01).certificate.f
    except RuntimeError as error:
        remedy = error.__notes__[-1]
        model.set_experts_implementation("eager")
        found = judge(model, CrossEntropy(), batches, 0.01).certificate.f
    assert "set_experts_implementation('eager')" in remedy
    with torch.no_grad():
        assert found == pytest.approx(float(model.double().eval()(**batches[0]).loss), rel=1e-6)


def test_an_update_that_acts_after_invocation_tokens_is_no_update_of_a_weight():
    """Where a batch begins with them it seems to be one: there alone merged factors compute the same."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 16}
    settings = {"r": 2, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    inner = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads))
    model = peft.get_peft_model(inner, peft.LoraConfig(alora_invocation_tokens=[3], **settings)).eval()
    for name, part in model.named_parameters():
        if "lora_" in name:
            part.data.normal_()
    first = torch.randint(4, 30, (4, 6))
    later = first.clone()
    first[:, 0], later[:, 4] = 3, 3
    batches = [{"input_ids": tokens, "labels": tokens} for tokens in (first, later)]
    with torch.no_grad():
        own = [float(model(**batch).loss) for batch in batches]
    with pytest.raises(ValueError, match="q_proj uses aLoRA, whose update acts after its invocation tokens alone"):
        judge(model, CrossEntropy(), batches, LAM)
    monitor = LoRAMonitor(LAM)
    model(**batches[1]).loss.backward()
    assert monitor.step(model) is None and all(r.mismatch < 1e-4 for r in monitor.history[0][1].values())
    for module in (part for part in model.modules() if hasattr(part, "lora_A")):
        module.get_base_layer().weight.data += module.get_delta_weight("default")
        module.lora_B["default"].weight.data.zero_()
    with torch.no_grad():
        merged = [float(model(**batch).loss) for batch in batches]
    assert merged[0] == pytest.approx(own[0], rel=1e-5) and abs(merged[1] - own[1]) > 1e-3


def test_both_factors_of_an_attention_in_one_piece_are_watched_and_not_judged():
    """Its own projection of inputs has no layer, and that of outputs has one."""
    torch.manual_seed(0)

    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0].mean(1)

    model = peft.get_peft_model(Attending(), peft.LoraConfig(r=2, target_modules=["attention"]))
    for name, part in model.named_parameters():
        if "lora_" in name:
            part.data.normal_()
    model(torch.randn(6, 5, 8)).square().sum().backward()
    monitor = LoRAMonitor(LAM)
    assert monitor.step(model) is None
    inputs, outputs = monitor.history[0][1].values()
    updates = [module.get_delta_weight("default") for module in model.modules() if hasattr(module, "lora_A")]
    for reading, X in zip((inputs, outputs), updates):
        assert reading.spectral == pytest.approx(float(torch.linalg.matrix_norm(X, 2)), rel=1e-5)
        assert reading.mismatch < 1e-4 and reading.grad > 0.0
    with pytest.raises(ValueError, match="attention adapts a MultiheadAttention; only linear layers"):
        judge(model, lambda m, x: m(x).square().sum(1), [torch.randn(6, 5, 8)], LAM)


class Experts(torch.nn.Module):
    """Three experts, each of two weights of a stack; sample i is that of expert i modulo 2, so that one has none."""

    def __init__(self, turned):
        super().__init__()
        self.is_transposed = turned
        self.up = torch.nn.Parameter(torch.randn(3, 5, 7) if turned else torch.randn(3, 7, 5))
        self.down = torch.nn.Parameter(torch.randn(3, 7, 4) if turned else torch.randn(3, 4, 7))

    def forward(self, x):
        up, down = (W if self.is_transposed else W.mT for W in (self.up, self.down))
        return torch.stack([(row @ up[k % 2]).tanh() @ down[k % 2] for k, row in enumerate(x)])


@pytest.mark.parametrize("turned", [False, True])
def test_a_monitor_watches_each_expert_of_a_parameter_that_is_adapted(turned):
    """Against the updates that PEFT forms itself, and the gradients of these by differentiation."""
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(5, 5), Experts(turned)).double()
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["0"], target_parameters=["1.up", "1.down"])
    model = peft.get_peft_model(inner, config)
    for name, part in model.named_parameters():
        if "lora_" in name:
            part.data.normal_()
    monitor = LoRAMonitor(LAM, base=model, ratio=1e6)
    model(torch.randn(8, 5).double()).square().sum().backward()
    assert monitor.step(model) is None
    readings = monitor.history[0][1]
    assert len(readings) == 1 + 2 * 3
    for module in (part for part in model.modules() if hasattr(part, "parameter_name")):
        name = module.parameter_name
        updates, weights = module.get_delta_weight("default").detach(), module.get_param().detach()
        for e in range(3):
            (path,) = [key for key in readings if key.endswith(f".{name}[{e}]")]
            reading, values = readings[path], torch.linalg.svdvals(updates[e])
            assert reading.spectral == pytest.approx(float(values[0]), rel=1e-12)
            assert reading.nuclear == pytest.approx(float(values.sum()), rel=1e-12)
            assert monitor.base_norms[path] == pytest.approx(float(torch.linalg.matrix_norm(weights[e], 2)), rel=1e-6)
            # <A, dA> = <B, dB> of an expert, whose gradients vanish together where it has no sample.
            assert (reading.grad > 0.0, reading.grad == 0.0) == (e < 2, e == 2)
            assert reading.mismatch is None if e == 2 else reading.mismatch < 1e-12
    wrong = r"1\.down\[0\] is a parameter that target_parameters of PEFT adapts.*networks\.tangent_certificate bounds"
    with pytest.raises(ValueError, match=wrong):
        judge(model, lambda m, x: m(x).square().sum(1), [torch.randn(8, 5)], LAM)
    model.merge_adapter()
    with pytest.raises(ValueError, match="is merged into its weight"):
        monitor.step(model)


@pytest.mark.parametrize("turned", [False, True])
def test_experts_have_the_certificate_of_their_matrices(turned):
    """As the refusal of a judgement says: gradients in the factors are those that PEFT's own backward pass leaves."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=[], target_parameters=["1.up"])
    model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(5, 5), Experts(turned)).double(), config)
    for name, part in model.named_parameters():
        if "lora_" in name:
            part.data.normal_()
    x = torch.randn(8, 5).double()
    loss = model(x).square().sum()
    loss.backward()
    A, B = ({n: p for n, p in model.named_parameters()}[f"base_model.model.1.lora_{k}.default.weight"] for k in "BA")
    columns = [(A[:, e::3], B[2 * e : 2 * e + 2].T) for e in range(3)]
    slopes = [(A.grad[:, e::3] + LAM * a, B.grad[2 * e : 2 * e + 2].T + LAM * b) for e, (a, b) in enumerate(columns)]
    merged = model.merge_and_unload()
    merged.requires_grad_(True)
    merged(x).square().sum().backward()
    G = [3.0 * part.numpy() for part in merged[1].up.grad]
    G = [g if g.shape == (len(a), len(b)) else g.T for g, (a, b) in zip(G, columns)]
    factors = [(a.detach().numpy(), b.detach().numpy()) for a, b in columns]
    found = tangent_certificate(float(loss.detach()), G, factors, LAM)
    for layer, pair in zip(found.layers, slopes):
        assert layer.stationarity == pytest.approx(math.hypot(*(float(part.norm()) for part in pair)), rel=1e-9)


def test_parts_trained_in_full_are_named_among_the_premises():
    verdict = judge(adapted(task_type="SEQ_CLS"), CrossEntropy(), batches(), LAM)
    assert "held fixed here though trained" in str(verdict) and "classifier" in str(verdict)


def test_a_loss_that_reads_the_factors_is_told_where_these_things_go():
    """Without adapters it is the judged weight ``W + s X`` that computes, and no factors are left to penalize."""
    model = moved(adapted(dropout=0.0))

    def log_probabilities(model, batch):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits.log_softmax(1)

    def distance(model, batch, reference):
        here = log_probabilities(model, batch)
        return (reference.exp() * (reference - here)).sum(1)

    def of_the_model(model, batch):
        with model.disable_adapter(), torch.no_grad():
            reference = log_probabilities(model, batch)
        return distance(model, batch, reference)

    def penalized(model, batch):
        squares = sum(part.square().sum() for name, part in model.named_parameters() if "lora_" in name)
        return CrossEntropy()(model, batch) + 0.5 * LAM * squares

    for loss in (of_the_model, penalized):
        with pytest.raises(ValueError, match=r"a loss that reads the factors itself\?"):
            judge(model, loss, batches(), LAM)
    model = model.double().eval()
    with model.disable_adapter(), torch.no_grad():
        given = [{**batch, "reference": log_probabilities(model, batch)} for batch in batches()]
    with torch.no_grad():
        expected = float(torch.cat([of_the_model(model, batch) for batch in batches()]).mean())
    found = judge(model, lambda model, batch: distance(model, batch, batch["reference"]), given, LAM).certificate
    assert found.f == pytest.approx(expected, rel=1e-9) and expected > 1e-3


@pytest.mark.parametrize(
    "beside",
    [{"task_type": "SEQ_CLS"}, {"lora_bias": True}, {"trainable_token_indices": [6, 7]}],
    ids=["a head", "biases of lora_B", "rows of an embedding"],
)
def test_what_was_trained_beside_the_factors_is_named_of_a_model_that_is_loaded_too(beside, tmp_path):
    """PEFT loads it frozen, as it is to be used: a head that was trained was no premise then."""
    trained = adapted(**beside)
    names = [name for name, part in trained.named_parameters() if part.requires_grad]
    expected = [name for name in names if not name.endswith(("lora_A.default.weight", "lora_B.default.weight"))]
    trained.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(bert(), tmp_path)
    loaded.add_adapter("other", peft.LoraConfig(target_modules=["query"], modules_to_save=["pooler"]))
    for model, adapter in ((trained, None), (loaded, "default")):
        premises = judge(model, CrossEntropy(), batches(), LAM, adapter=adapter).premises
        (line,) = [premise for premise in premises if premise.startswith("held fixed here though trained: ")]
        assert line.partition(": ")[2] == in_short(expected)


def test_that_a_start_of_lora_ga_is_lost_as_it_is_loaded_is_said(tmp_path):
    """PEFT puts the factors beside the base weight that was not changed; nothing said that this is another network."""
    loraga = pytest.importorskip("peft.tuners.lora.loraga", reason="this PEFT has no LoRA-GA")
    base, settings = bert(dropout=0.0), {"init_lora_weights": "lora_ga", "lora_ga_config": peft.LoraGAConfig()}
    config = peft.LoraConfig(r=2, target_modules=["query", "value"], **settings)
    loraga.preprocess_loraga(base, config, lambda: [base(**batch).loss.backward() for batch in batches()])
    trained = peft.get_peft_model(base, config)
    trained.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(bert(dropout=0.0), tmp_path)
    found = [judge(model, CrossEntropy(), batches(), LAM) for model in (trained, loaded)]
    for one, two in zip(*(verdict.factors for verdict in found)):
        np.testing.assert_array_equal(one[0] @ one[1].T, two[0] @ two[1].T)
    expected = Network(bert(dropout=0.0), CrossEntropy(), batches(), layers=("query", "value"))
    f = expected.value(expected.zeros())  # where a run starts the network is that without updates
    assert found[0].certificate.f == pytest.approx(f, rel=1e-6) and abs(found[1].certificate.f - f) > 1e-4
    for verdict in found:
        assert any("LoRA-GA, not one that PEFT loaded" in premise for premise in verdict.premises)
    assert any("is another than was trained" in remark for remark in diagnose(tmp_path).remarks)


@pytest.mark.skipif(not hasattr(peft.tuners.lora.LoraLayer, "mica_init"), reason="this PEFT has no MiCA")
@pytest.mark.parametrize("trainable", [False, True])
def test_a_factor_that_mica_did_not_train_is_frozen_in_a_model_that_is_loaded_too(trainable, tmp_path):
    """Both have no gradient there, as they are loaded to be used: more steps of that training were advised."""
    moved(adapted(init_lora_weights="mica")).save_pretrained(tmp_path)
    model = peft.PeftModel.from_pretrained(bert(), tmp_path, is_trainable=trainable)
    verdict = judge(model, CrossEntropy(), batches(), LAM)
    assert any("though frozen: lora_B of " in premise for premise in verdict.premises)
    assert verdict.kind == "not_converged" and "With one factor frozen, more steps need not end that" in verdict.reason


@pytest.mark.skipif(not hasattr(peft.tuners.lora.config, "VeloraConfig"), reason="this PEFT has no VeLoRA")
def test_where_velora_comes_to_rest_more_steps_of_it_are_not_advised(tmp_path):
    """The gradient of its training vanishes there, and that of the objective does not."""
    torch.manual_seed(0)
    velora = peft.tuners.lora.config.VeloraConfig(num_groups=2, init_type="random")
    settings = peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False, velora_config=velora)
    model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(8, 3)), settings).double()
    x, y = torch.randn(20, 8, dtype=torch.float64), torch.arange(20) % 3
    trained = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.2, weight_decay=LAM)
    monitor = LoRAMonitor(LAM)

    def gradient(training):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.train(training)(x), y).backward()
        return torch.cat([(part.grad + LAM * part.detach()).flatten() for part in trained]).norm().item()

    for _ in range(2000):
        gradient(training=True)
        optimizer.step()
    assert 1e3 * gradient(training=True) < gradient(training=False)
    gradient(training=True)
    monitor.step(model)
    assert any("VeLoRA" in text for text in monitor.warnings)
    verdict = judge(model, CrossEntropy(), [(x, y)], LAM)
    assert verdict.certificate.grad_norm == pytest.approx(gradient(training=False), rel=1e-6)
    assert verdict.kind == "not_converged" and "More steps with VeLoRA" in verdict.reason
    assert any("VeLoRA" in premise for premise in verdict.premises)
    model.save_pretrained(tmp_path)
    assert any("VeLoRA" in remark for remark in diagnose(tmp_path).remarks)


def test_updates_that_a_fast_path_leaves_out_are_judged_and_named():
    """In evaluation mode an encoder layer of torch reads the weights within PEFT's layers: no update is seen."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    settings = peft.LoraConfig(r=2, target_modules=["linear1", "0.linear2"], init_lora_weights=False)
    model = peft.get_peft_model(torch.nn.Sequential(layer, torch.nn.Linear(8, 3)), settings).double()
    x, y = torch.randn(6, 4, 8, dtype=torch.float64), torch.arange(24).reshape(6, 4) % 3

    def loss():
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()

    trained = loss()
    with model.disable_adapter():
        base = loss()
    model.eval()
    assert loss() == pytest.approx(base, rel=1e-12) and abs(trained - base) > 1e-2 * base
    verdict = judge(model, CrossEntropy(), [(x, y)], LAM)
    assert verdict.certificate.f == pytest.approx(trained, rel=1e-12)
    said = "the updates of base_model.model.0.linear1, base_model.model.0.linear2"
    assert sum(said in premise and "fast path" in premise for premise in verdict.premises) == 1
    model.train()
    torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
    monitor = LoRAMonitor()
    for _ in range(2):
        monitor.step(model)
    assert len(monitor.warnings) == 1 and "evaluations may be those of the base model" in monitor.warnings[0]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert loss() == pytest.approx(trained, rel=1e-12)
        assert "fast path" not in str(judge(model, CrossEntropy(), [(x, y)], LAM))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_a_tokens_own_loss_is_a_sample_of_the_tangent_problem_too():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    model = peft.get_peft_model(
        transformers.BertForMaskedLM(config), peft.LoraConfig(r=2, target_modules=["query", "value"])
    )
    whole = tokens(8)
    ids = whole["input_ids"] % 40
    labels = torch.where(torch.arange(LENGTH) % 2 == 0, ids, -100)
    data = [{"input_ids": ids, "attention_mask": whole["attention_mask"], "labels": labels}]
    verdict = judge(model, CrossEntropy(), data, 0.01)
    assert f"of {8 * LENGTH // 2} samples" in str(verdict)
    end = fine_tune(model, CrossEntropy(), data, 0.05, max_calls=300, tangent_solve=True).verdict
    np.testing.assert_allclose(end.solved.F, end.F, rtol=1e-12)
    assert 0.0 <= end.solved.gap <= end.certificate.gap + 1e-7


# ---------------------------------------------------------------------- DoRA
def generating():
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **ends))


def with_dora(make, targets, task=None):
    """Return a model with DoRA as after some training, one of whose rows is turned around."""
    settings = peft.LoraConfig(r=2, lora_alpha=6, use_dora=True, target_modules=targets, task_type=task)
    model = moved(peft.get_peft_model(make(), settings)).double().eval()
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= torch.linspace(0.5, 1.5, len(parameter), dtype=parameter.dtype)
            parameter.data[0] *= -1.0
    return model


def require_slopes(network, G, value, rel):
    """Hold the gradients in both factors of each layer against differences of values."""
    generator = torch.Generator().manual_seed(1)
    for layer, g, (A, B) in zip(network.layers, G, network.point):
        for part, slope in ((layer.lora_B, g @ B), (layer.lora_A, (g.T @ A).T)):
            step = torch.randn(part.shape, generator=generator, dtype=torch.float64)
            values = []
            for t in (1e-5, -1e-5):
                part.data += t * step
                values.append(value())
                part.data -= t * step
            found = float((torch.as_tensor(slope).reshape(part.shape) * step).sum())
            assert found == pytest.approx((values[0] - values[1]) / 2e-5, rel=rel, abs=1e-9)


@pytest.mark.parametrize("make", [bert, generating], ids=["bert", "gpt2, whose weights are turned"])
def test_dora_has_the_values_of_the_model_and_the_slopes_of_these(make):
    """Of PEFT's own forward pass, whose backward pass leaves out how the norms change."""
    torch.manual_seed(0)
    model = with_dora(make, ["query", "value"] if make is bert else ["c_attn"])
    batch = tokens(8) if make is bert else tokens(8) | {"labels": tokens(8)["input_ids"]}
    network = Network(model, CrossEntropy(), [batch])
    f, G = network.value_and_gradients(network.point)

    def own():
        """The loss of the model's logits: GPT-2's own is of these in float32."""
        with torch.no_grad():
            z, labels = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits, batch["labels"]
        if make is generating:
            z, labels = z[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        return float(torch.nn.functional.cross_entropy(z, labels))

    assert f == pytest.approx(own(), rel=1e-10)
    require_slopes(network, G, own, 1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_the_adapter_of_a_problem_is_dora_as_peft_computes_and_trains_it(training):
    """The same values at given factors and lengths, and, with the norms left out, the same direction."""
    rng = np.random.default_rng(0)
    W0, Z, Y, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (9, 7), (9, 5), (5, 3), (7, 3)))
    lengths = 3.0 * rng.standard_normal(5)  # some rows are turned around
    settings = peft.LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules=["0"])
    model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(7, 5, bias=False)), settings).double()
    layer = model.train(training).base_model.model[0]
    parts = [getattr(layer, f"lora_{name}")["default"].weight for name in ("B", "A", "magnitude_vector")]
    layer.base_layer.weight.data = torch.tensor(W0)
    for part, numbers in zip(parts, (A, B.T, lengths)):
        part.data = torch.tensor(numbers)
    outputs = model(torch.tensor(Z))
    loss = 0.5 * (outputs - torch.tensor(Y)).square().sum(1).mean()
    loss.backward()
    task, adapter = ls.objectives.LinearFineTuning(W0, Z.T, Y.T), ls.adapters.DoRA(alpha=6, detach=True)
    theta, grad = np.concatenate([A.ravel(), B.ravel(), lengths]), np.empty(41)
    assert adapter.value_and_grad(task, theta, 3, grad) == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(Z @ (W0 + adapter.update(task, theta, 3)).T, outputs.detach().numpy(), atol=1e-12)
    of_A, of_B, of_lengths = (part.grad.numpy() for part in parts)
    np.testing.assert_allclose(grad, np.concatenate([of_A.ravel(), of_B.T.ravel(), of_lengths]), rtol=1e-10)


class Phrases(torch.nn.Module):
    """An embedding, and a convolution over words."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(12, 4)
        self.conv = torch.nn.Conv1d(4, 5, 3)
        self.head = torch.nn.Linear(5, 3)

    def forward(self, words):
        return self.head(torch.tanh(self.conv(self.embed(words).transpose(1, 2))).mean(-1))


@pytest.mark.parametrize("targets", [["embed"], ["conv"], ["embed", "conv", "head"]])
def test_dora_of_embeddings_and_convolutions_has_the_values_of_the_model_and_the_slopes_of_these(targets):
    """Its lengths are those of the outputs: of an embedding over all words, of a convolution over its whole kernel."""
    settings = peft.LoraConfig(r=2, lora_alpha=6, use_dora=True, target_modules=targets)
    model = moved(peft.get_peft_model(Phrases(), settings)).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    batch = torch.randint(0, 12, (9, 6), generator=generator), torch.arange(9) % 3
    network = Network(model, CrossEntropy(), [batch])
    f, G = network.value_and_gradients(network.point)

    def own():
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(model(batch[0]), batch[1]))

    assert f == pytest.approx(own(), rel=1e-12)
    require_slopes(network, G, own, 1e-6)
    found = judge(model, CrossEntropy(), [batch], LAM, tangent_solve=True)
    assert "DoRA" in str(found) and 0.0 <= found.solved.gap <= found.certificate.gap


def test_where_the_lengths_of_dora_are_stationary_its_training_gradient_is_that_of_the_network():
    """``df/dm_i = <g_i, w_i>/||w_i||`` is what the norm of row i would take off ``g_i`` along ``w_i``."""
    model = with_dora(bert, ["query", "value"])
    batch = tokens(8)
    network = Network(model, CrossEntropy(), [batch])
    _, G = network.value_and_gradients(network.point)
    model(**batch).loss.backward()
    for layer, g, (A, B) in zip(network.layers, G, network.point):
        rows = layer.module.weight.detach().numpy() + layer.scale * A @ B.T
        norms = np.linalg.norm(rows, axis=1)[:, None]
        along = (layer.magnitude * layer.magnitude.grad).detach().numpy()[:, None] / norms
        left_out = layer.scale * along * (rows / norms) @ B
        np.testing.assert_allclose(layer.lora_B.grad.numpy() - g @ B, left_out, rtol=1e-8, atol=1e-12)
        assert np.abs(left_out).max() > 1e-6


def test_a_run_with_dora_ends_at_a_stationary_point_of_low_rank_and_is_watched():
    torch.manual_seed(0)
    settings = peft.LoraConfig(r=4, lora_alpha=4, use_dora=True, target_modules=["query", "value"])
    model, data = peft.get_peft_model(bert(), settings).double().eval(), batches(16, 8)
    before = {name: part.detach().clone() for name, part in model.named_parameters() if "magnitude" in name}
    found = fine_tune(model, CrossEntropy(), data, LAM, max_calls=400).verdict
    assert found.kind == "tangent_optimal" and max(layer.rank for layer in found.certificate.layers) < 4
    assert set(found.base_norms) == {None} and "DoRA" in str(found)
    assert all(torch.equal(part, model.get_parameter(name)) for name, part in before.items())
    # Along the factors themselves the loss of PEFT's own forward pass falls as fast as the penalty grows.
    parts = [part for layer in adapted_layers(model) for part in (layer.lora_A, layer.lora_B)]
    values = []
    with torch.no_grad():
        size = float(sum(part.square().sum() for part in parts))
        for t in (1e-4, -1e-4):
            for part in parts:
                part.mul_(1.0 + t)
            values.append(np.mean([float(model(**batch).loss) for batch in data]))
            for part in parts:
                part.div_(1.0 + t)
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(-LAM * size, rel=1e-3)
    monitor = LoRAMonitor(lam=LAM, base=model)
    model(**data[0]).loss.backward()
    assert monitor.step(model) is None
    ((_, readings),) = monitor.history
    assert all(reading.mismatch < 1e-6 for reading in readings.values()) and "DoRA" in monitor.warnings[0]


def test_the_tangent_problem_of_dora_is_solved_by_its_derivatives():
    model = with_dora(bert, ["query", "value"])
    network = Network(model, CrossEntropy(), [tokens(8)])
    with pytest.raises(ValueError, match="uses DoRA, so that its outputs are not linear"):
        linearize(network, network.point)
    tangent = tangent_problem(network, network.point)
    X = [A @ B.T for A, B in network.point]
    for ours, theirs in zip(tangent.value_and_grad(X)[1], network.value_and_grad(X)[1]):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


# ---------------------------------------------------------------------- a transformer, from several starts
@pytest.mark.slow
def test_stationary_points_of_a_transformer_are_told_apart():
    """Rank-deficient and dual feasible to 1e-7 each, and yet only one of them can be global."""
    from lorasolve.papers.transformer_starts import TransformerStarts

    experiment = TransformerStarts()
    (cell,) = experiment.cells(experiment.axes(True))
    record = experiment.run(cell)
    assert sum(end["kind"] == "tangent_optimal" for end in record["ends"]) >= 2
    assert "refuted" in record["among"]
    assert min(pair["quotient"] for pair in record["pairs"]) < 0.0
    assert all(claim.holds for claim in experiment.claims([record]))


# ---------------------------------------------------------------------- monitor
def plain_loop(model, monitor, steps, lr, penalty=None, decoupled=0.0, cosine=False, best=torch.optim.Adam):
    """Train on the whole batch; ``penalty`` is "after" the monitor has read, or in the "loss"."""
    model.eval()
    factors = [p for name, p in model.named_parameters() if "lora_" in name]
    optimizer = best(factors, lr=lr, **({"weight_decay": decoupled} if decoupled else {}))
    data = tokens()
    for k in range(steps):
        if cosine:
            optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * k / steps))
        optimizer.zero_grad()
        loss = model(**data).loss
        if penalty == "loss":
            loss = loss + 0.5 * LAM * sum(p.square().sum() for p in factors)
        loss.backward()
        if monitor.step(model):
            break
        if penalty == "after":
            for p in factors:
                p.grad += LAM * p.detach()
        optimizer.step()
    return monitor


def test_a_good_run_is_left_alone_and_lam_hat_finds_the_decay():
    model = adapted()
    monitor = LoRAMonitor(LAM, base=model, every=5, full_batch=True, ratio=4.0)
    plain_loop(model, monitor, 400, 2e-2, penalty="after", cosine=True)
    assert monitor.reason is None and monitor.warnings == []
    first, last = monitor.history[0][1], monitor.history[-1][1]
    assert monitor.lam_hat == pytest.approx(LAM, rel=0.05)
    assert max(r.stationarity for r in last.values()) < 0.1 * max(r.stationarity for r in first.values())
    assert max(r.mismatch for r in last.values()) < 1e-3
    assert len(monitor.history) == 80


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_a_start_that_computes_the_base_model_is_not_loud(start):
    model = adapted(init_lora_weights=start, lora_alpha=4).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**tokens()).logits, bert().eval()(**tokens()).logits, atol=1e-4, rtol=1e-4)
    # One half of "loud" is there: each product is larger than what is left of the weight.
    for layer in adapted_layers(model)[1::2]:
        A, B = layer.factors
        assert np.linalg.norm(A @ B.T, 2) > np.linalg.norm(layer.module.weight.numpy(), 2)
    verdict = judge(model, CrossEntropy(), batches(), LAM)
    assert verdict.kind == "not_converged" and f"the initialization {start} changed the base weight" in str(verdict)
    monitor = LoRAMonitor(base=model)
    assert plain_loop(model, monitor, 3, 1e-3).reason is None and start in monitor.warnings[0]


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_moves_weights_of_linear_layers_leaves_an_embedding_as_it_is(start):
    model = adapted(init_lora_weights=start, target_modules=["query", "word_embeddings"])
    before = dict(bert().named_parameters())
    for layer in adapted_layers(model):
        name = layer.weight.removeprefix("base_model.model.").replace(".base_layer", "")
        same = torch.equal(layer.module.weight, before[name])
        assert same == name.endswith("word_embeddings.weight")
        assert layer.moved_by == (None if same else start)
    premises = judge(model, CrossEntropy(), batches(), LAM).premises
    assert any("nothing is called loud, in 2 of 3 layers" in text for text in premises)


def test_decoupled_decay_leaves_no_trace_in_the_gradients():
    model = adapted()
    monitor = LoRAMonitor(LAM, every=10)
    plain_loop(model, monitor, 250, 2e-2, decoupled=LAM, best=torch.optim.AdamW)
    assert abs(monitor.lam_hat) < 0.1 * LAM


def test_a_penalty_that_is_in_the_loss_already_is_noticed():
    monitor = plain_loop(adapted(), LoRAMonitor(LAM), 5, 1e-2, penalty="loss")
    assert len(monitor.warnings) == 1 and "already contain the weight decay" in monitor.warnings[0]
    assert plain_loop(adapted(), LoRAMonitor(LAM), 5, 1e-2, penalty="after").warnings == []


@pytest.mark.parametrize("lam", [None, 0.5 * LAM, 2.0 * LAM])
def test_a_penalty_of_another_weight_than_is_given_is_noticed_too(lam):
    """``lam_hat`` tends to 0 with it, as of a run without a decay: half of lam, a factor forgotten, was not noticed."""
    monitor = plain_loop(adapted(), LoRAMonitor(lam), 5, 1e-2, penalty="loss")
    (text,) = monitor.warnings
    assert float(text.partition("weight decay, of about ")[2].partition(":")[0]) == pytest.approx(LAM, rel=0.01)
    assert plain_loop(adapted(), LoRAMonitor(lam), 5, 1e-2, penalty="after").warnings == []
    assert plain_loop(adapted(), LoRAMonitor(lam), 5, 1e-2).warnings == []


def trainer(model, monitor, tmp_path, extra=(), kind=transformers.Trainer, resume=None, **settings):
    given = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": N,
        "max_steps": 12,
        "learning_rate": 1e-2,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
    }
    arguments = transformers.TrainingArguments(**(given | settings))
    made = kind(model, arguments, train_dataset=rows(), callbacks=[callback(monitor), *extra])
    made.train(resume_from_checkpoint=resume)
    return made


def test_the_trainer_says_at_which_steps_it_clips_gradients(tmp_path):
    """It clips to length 1 unless told otherwise; ``lam_hat`` of what is left is that of no objective."""
    monitor = LoRAMonitor(LAM)
    with pytest.warns(RuntimeWarning, match=r"^LoRAMonitor: gradients were clipped to the length 0\.001 before"):
        made = trainer(adapted(), monitor, tmp_path, max_grad_norm=1e-3, max_steps=3)
    assert monitor.clipped == [1, 2, 3]
    assert all(entry["grad_norm"] > 1e-3 for entry in made.state.log_history if "loss" in entry)
    assert not any("lora/lam_hat" in entry for entry in made.state.log_history)
    monitor = LoRAMonitor(LAM)
    made = trainer(adapted(), monitor, tmp_path, max_grad_norm=1e3, max_steps=3)
    assert monitor.clipped == [] and all("lora/lam_hat" in e for e in made.state.log_history if "loss" in e)


def warned(monitor, words, tmp_path, **settings):
    """Return the warnings with some words in them that a run of two steps gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(adapted(), monitor, tmp_path, max_steps=2, **settings)
    return [str(each.message) for each in caught if words in str(each.message)]


@pytest.mark.parametrize(
    ("lam", "decay", "optimizer", "told"),
    [
        (LAM, LAM, "adamw_torch", True),
        (LAM, 0.0, "adamw_torch", False),
        (None, LAM, "adamw_torch", False),
        (LAM, LAM, "sgd", False),
        (LAM, LAM, "adafactor", True),
    ],
)
def test_a_decay_of_the_optimizer_that_is_no_penalty_is_told(lam, decay, optimizer, told, tmp_path):
    """Stationarity and ``lam_hat`` are those of a penalty, whose gradient AdamW and Adafactor do not step along."""
    monitor = LoRAMonitor(lam)
    texts = warned(monitor, "decoupled", tmp_path, weight_decay=decay, optim=optimizer)
    assert len(texts) == told and all("stationarity" in text and "lam_hat" in text for text in texts)
    assert sum("decoupled" in text for text in monitor.warnings) == told


@pytest.mark.parametrize(
    ("lam", "decay", "optimizer", "told"),
    [
        (LAM, 0.0, "adamw_torch", True),
        (LAM, 0.5 * LAM, "sgd", True),
        (LAM, LAM, "sgd", False),
        (0.0, 0.0, "adamw_torch", False),
        (None, 0.0, "adamw_torch", False),
    ],
)
def test_a_decay_of_the_optimizer_that_is_not_lam_is_told(lam, decay, optimizer, told, tmp_path):
    """The Trainer's own is 0: a ``lam`` is in no step then, unless the loss has the penalty."""
    texts = warned(LoRAMonitor(lam), "LoRAMonitor: lam is", tmp_path, weight_decay=decay, optim=optimizer)
    assert [f"lam is 0.02, and the weight decay of the optimizer on the factors is {decay:g}:" in t for t in texts] == (
        [True] * told
    )


class Lion(torch.optim.Optimizer):
    """Steps by signs, and shrinks beside them; its settings do not say so."""

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for part in (part for part in group["params"] if part.grad is not None):
                part.mul_(1.0 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * part.grad.sign())


@pytest.mark.parametrize(("decay", "told"), [(LAM, True), (0.0, False)])
def test_a_decay_of_which_nobody_knows_what_it_is_added_to_is_told(decay, told):
    """Of a decay that was lam nothing was said, and a run that decouples it rests where no penalty of lam does."""
    model = adapted()
    monitor = LoRAMonitor(LAM)
    optimizer = Lion([part for part in model.parameters() if part.requires_grad], 1e-2, decay)
    model(**tokens()).loss.backward()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback(monitor).on_pre_optimizer_step(
            types.SimpleNamespace(max_grad_norm=0.0),
            transformers.TrainerState(),
            transformers.TrainerControl(),
            model=model,
            optimizer=optimizer,
        )
    assert sum("its settings do not say" in str(each.message) for each in caught) == told


def causal():
    """Return a tiny GPT-2 without dropout, and what of it is adapted."""
    torch.manual_seed(0)
    off = dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    config = transformers.GPT2Config(vocab_size=60, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, **off)
    return peft.get_peft_model(transformers.GPT2LMHeadModel(config), peft.LoraConfig(r=2, target_modules=["c_attn"]))


ACCUMULATED = 3


@pytest.mark.parametrize(
    ("make", "label", "times"),
    [
        (lambda: adapted(dropout=0.0), lambda row: row["labels"], float(ACCUMULATED)),
        (causal, lambda row: row["input_ids"], (LENGTH - 1) / LENGTH),
    ],
    ids=["classification of BERT", "causal language model"],
)
def test_what_the_trainer_makes_of_accumulated_gradients_is_what_the_docs_say(make, label, times, tmp_path):
    """docs/networks.md says which ``lam`` a decay is: that rests on what transformers divides by, which may change."""
    model = make()
    data = [row | {"labels": label(row)} for row in rows(2 * ACCUMULATED)]
    whole = {key: torch.stack([row[key] for row in data]) for key in data[0]}
    model.eval()
    model(**whole).loss.backward()
    mean = {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    model.zero_grad()
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=ACCUMULATED,
        max_steps=1,
        learning_rate=1.0,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    transformers.Trainer(model, arguments, train_dataset=data).train()
    after = dict(model.named_parameters())
    along = sum(float((grad * (before[name] - after[name].detach())).sum()) for name, grad in mean.items())
    assert along / sum(float(grad.square().sum()) for grad in mean.values()) == pytest.approx(times, rel=1e-4)


def test_a_step_that_is_too_large_stops_and_names_the_layer(tmp_path, capsys):
    model = adapted()
    monitor = LoRAMonitor(base=model)
    with pytest.warns(RuntimeWarning, match=r"^LoRAMonitor: the run is stopped: step \d: loud: .*self\.") as told:
        made = trainer(model, monitor, tmp_path, learning_rate=1.0, max_steps=40)
    assert sum("LoRAMonitor" in str(each.message) for each in told) == 1
    assert made.state.global_step <= 5
    assert "loud" in monitor.reason
    assert "self.query" in monitor.reason or "self.value" in monitor.reason
    assert "lora/max_spectral" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [30.0, float("nan")], ids=["loud", "not finite"])
def test_the_reason_of_an_earlier_run_does_not_stop_the_next(tmp_path, wrong):
    """Begun again from good factors with the same monitor, a good run ended at its first step."""
    model = adapted()
    monitor = LoRAMonitor(base=model, every=4)
    good = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.base_model.model.bert.encoder.layer[0].attention.self.query.lora_B["default"].weight.fill_(wrong)
    with pytest.warns(RuntimeWarning, match="the run is stopped"):
        assert trainer(model, monitor, tmp_path, max_steps=6).state.global_step == 1
    assert monitor.reason is not None
    model.load_state_dict(good)
    again = trainer(model, monitor, tmp_path, max_steps=6)
    assert again.state.global_step == 6 and monitor.reason is None
    assert any(not torch.equal(value, good[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
def test_a_layer_over_a_tied_weight_has_the_gradient_of_the_model_and_is_watched_by_its_size(name):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Qwen2Config(vocab_size=20, num_key_value_heads=1, tie_word_embeddings=True, **sizes)
    model = peft.get_peft_model(transformers.Qwen2ForCausalLM(config), peft.LoraConfig(r=2, target_modules=[name]))
    monitor = LoRAMonitor(base=model)
    tied = model.get_base_model().get_input_embeddings().weight.detach().double().numpy()
    (norm,) = monitor.base_norms.values()
    assert norm == pytest.approx(np.linalg.norm(tied, 2), rel=1e-5)
    ids = torch.arange(2, 10)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    assert monitor.step(model) is None
    for key, parameter in model.named_parameters():
        if "lora" in key:
            torch.nn.init.ones_(parameter)
    assert "loud" in monitor.step(model)
    model = moved(model).double().eval()
    model.zero_grad()
    network = Network(model, CrossEntropy(), [{"input_ids": ids, "labels": ids}])
    f, (G,) = network.value_and_gradients(network.point)
    own = model(input_ids=ids, labels=ids).loss
    own.backward()
    assert f == pytest.approx(float(own.detach()), rel=1e-6)
    (layer,) = network.layers
    size = float(layer.lora_B.grad.abs().max())
    np.testing.assert_allclose(G @ layer.factors[1], layer.lora_B.grad.numpy(), atol=1e-4 * size)


def test_not_a_number_stops_at_once(tmp_path):
    class Break(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kw):
            if state.global_step == 2:
                with torch.no_grad():
                    next(p for name, p in model.named_parameters() if "lora_A" in name)[0, 0] = math.nan

    monitor = LoRAMonitor()
    made = trainer(adapted(), monitor, tmp_path, extra=[Break()])
    assert made.state.global_step == 3
    assert "non-finite" in monitor.reason
    assert all(math.isfinite(entry["loss"]) for entry in made.state.log_history if "loss" in entry)


class Broken(transformers.Trainer):
    """A Trainer whose third loss is not a number."""

    calls = 0

    def compute_loss(self, model, inputs, return_outputs=False, **kw):
        self.calls += 1
        return model(**inputs).loss * (math.nan if self.calls == 3 else 1.0)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
def test_gradients_that_are_not_a_number_are_not_stepped_along(tmp_path, optimizer):
    model = adapted(dropout=0.0, task_type="SEQ_CLS")
    monitor = LoRAMonitor()
    made = trainer(model, monitor, tmp_path, kind=Broken, optim=optimizer, weight_decay=0.1)
    assert made.state.global_step == 3 and "step 3" in monitor.reason and "non-finite" in monitor.reason
    # The same run without the third step.
    same = adapted(dropout=0.0, task_type="SEQ_CLS")
    trainer(same, LoRAMonitor(), tmp_path, max_steps=2, optim=optimizer, weight_decay=0.1)
    for (name, got), (_, expected) in zip(model.named_parameters(), same.named_parameters()):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(("scaled", "scale", "stops"), [(False, 2.0, True), (True, 1.0, True), (True, 2.0, False)])
def test_a_scaler_of_gradients_still_finds_those_that_are_not_finite(scaled, scale, stops):
    """Above the scale 1 it may be the scaler that has made them so, and it goes on with a lower one."""
    model = adapted()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=scale)
    scaler.scale(model(**tokens()).loss * math.nan).backward()
    control = transformers.TrainerControl()
    # As Accelerate's optimizer has it.
    around = types.SimpleNamespace(scaler=scaler)
    callback(LoRAMonitor()).on_pre_optimizer_step(None, None, control, model=model, optimizer=around)
    scaler.step(optimizer)
    assert control.should_training_stop == stops
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0, msg=name)


def test_the_trainers_log_has_what_was_read(tmp_path):
    monitor = LoRAMonitor()
    made = trainer(adapted(), monitor, tmp_path, max_steps=3, save_strategy="steps", save_steps=3)
    stored = json.loads((tmp_path / "checkpoint-3" / "trainer_state.json").read_text())["log_history"]
    assert len(stored) == 3 and stored == made.state.log_history[:3]
    for entry, (step, readings) in zip(stored, monitor.history):
        assert entry["step"] == step
        assert entry["lora/max_spectral"] == max(reading.spectral for reading in readings.values())
        assert entry["lora/step"] == step
    assert stored[-1]["lora/lam_hat"] == monitor.lam_hat


def test_a_log_says_of_which_step_a_reading_is(tmp_path):
    """The start alone was read, where ``lora_B = 0``; the log of the end showed that as the size of the update."""
    model, monitor = adapted(), LoRAMonitor(every=50)
    made = trainer(model, monitor, tmp_path, max_steps=12, logging_steps=6)
    assert all(entry["lora/max_spectral"] == 0.0 and entry["lora/step"] == 1 for entry in made.state.log_history)
    assert max(np.linalg.norm(layer.factors[0] @ layer.factors[1].T, 2) for layer in adapted_layers(model)) > 0.1
    assert repr(monitor) == "LoRAMonitor(no reason to stop: 1 readings, the last at step 1 of 12)"


def test_a_monitor_of_a_run_that_is_resumed_counts_the_steps_of_the_trainer(tmp_path):
    """They had begun at 1 again, in its reason to stop too."""
    trainer(adapted(), LoRAMonitor(), tmp_path, max_steps=8, save_strategy="steps", save_steps=8)
    monitor = LoRAMonitor(every=3)
    made = trainer(adapted(), monitor, tmp_path, max_steps=14, resume=str(tmp_path / "checkpoint-8"))
    assert [step for step, _ in monitor.history] == [9, 10, 13] and monitor.steps == made.state.global_step == 14
    logged = {entry["step"]: entry.get("lora/max_spectral") for entry in made.state.log_history[:-1]}
    for step, readings in monitor.history:
        assert logged[step] == max(reading.spectral for reading in readings.values())


def test_a_monitor_forgets_the_steps_that_a_resumed_run_takes_again(tmp_path):
    """The same monitor had counted on from where the run was broken off, as no Trainer does."""
    model, monitor = adapted(), LoRAMonitor(1e-2)
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, "max_grad_norm": 1e-3}
    with pytest.warns(RuntimeWarning, match="clipped"):
        trainer(model, monitor, tmp_path, **settings)
    before = dict(monitor.history)
    with pytest.warns(RuntimeWarning, match="clipped"):
        made = trainer(model, monitor, tmp_path, resume=str(tmp_path / "checkpoint-4"), **settings)
    assert monitor.steps == made.state.global_step == 8
    assert [step for step, _ in monitor.history] == monitor.clipped == list(range(1, 9))
    # The batches are those of the whole data set: the steps are the same ones, taken again.
    for step, readings in monitor.history:
        for name, reading in readings.items():
            assert reading.spectral == pytest.approx(before[step][name].spectral, rel=1e-4)


def test_the_trainer_and_a_plain_loop_give_one_history(tmp_path):
    model = adapted(dropout=0.0)
    by_trainer = LoRAMonitor(LAM)
    trainer(model, by_trainer, tmp_path, max_steps=5, optim="sgd")
    model = adapted(dropout=0.0)
    by_hand = LoRAMonitor(LAM)
    model.train()
    factors = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(factors, lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model(**tokens()).loss.backward()
        by_hand.step(model)
        optimizer.step()
    assert [step for step, _ in by_trainer.history] == [step for step, _ in by_hand.history]
    for (_, one), (_, two) in zip(by_trainer.history, by_hand.history):
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].spectral == pytest.approx(two[name].spectral, rel=1e-3, abs=1e-9)
            assert one[name].grad == pytest.approx(two[name].grad, rel=1e-3)


def test_a_monitor_is_written_as_json(tmp_path):
    monitor = plain_loop(adapted(), LoRAMonitor(LAM), 2, 1e-2)
    monitor.save(tmp_path / "run.json")
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored["gradients"].startswith("minibatch") and len(stored["history"]) == 2
    assert len(stored["history"][0]["layers"]) == 4


# ---------------------------------------------------------------------- checkpointing
def test_gradient_checkpointing_changes_nothing():
    model = adapted()
    plain = judge(model, CrossEntropy(), batches(), LAM)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    assert pytest.approx(plain.F, rel=1e-12) == judge(model, CrossEntropy(), batches(), LAM).F
