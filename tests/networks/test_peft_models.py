"""Models of PEFT have the values and the gradients that training has; skipped without torch, transformers and peft."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from peft_models import LAM, LENGTH, N, adapted, batches, bert, llama, moved, scaled, tokens  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, Network, fine_tune, judge, linearize  # noqa: E402

torch.set_num_threads(1)


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


def test_the_network_evaluates_what_the_model_computes():
    model = adapted().eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    network = Network(model, CrossEntropy(), batches())
    with torch.no_grad():
        loss = model(**tokens()).loss
    assert network.value(network.point) == pytest.approx(float(loss), rel=1e-5)


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


def test_experts_that_have_no_operation_in_float64_are_judged_one_by_one():
    """transformers multiplies experts in one piece, which torch may not have in float64: then the remedy is named."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 16}
    config = transformers.MixtralConfig(num_local_experts=3, num_experts_per_tok=2, **sizes, **heads)
    stacks = ["experts.gate_up_proj", "experts.down_proj", "gate.weight"]
    settings = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], target_parameters=stacks)
    model = peft.get_peft_model(transformers.MixtralForCausalLM(config), settings)
    for name, part in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=0.1)
    tokens = torch.randint(0, 30, (4, 6))
    batches = [{"input_ids": tokens, "labels": tokens}]
    remedy = "set_experts_implementation('eager')"
    try:
        found = judge(model, CrossEntropy(), batches, 0.01).certificate
    except RuntimeError as error:
        remedy = error.__notes__[-1]
        model.set_experts_implementation("eager")
        found = judge(model, CrossEntropy(), batches, 0.01).certificate
    assert "set_experts_implementation('eager')" in remedy
    assert len(found.layers) == 2 + 2 * 3 + 1  # the router has one weight
    with torch.no_grad():
        assert found.f == pytest.approx(float(model.double().eval()(**batches[0]).loss), rel=1e-6)


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


def test_gradient_checkpointing_changes_nothing():
    model = adapted()
    plain = judge(model, CrossEntropy(), batches(), LAM)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    assert pytest.approx(plain.F, rel=1e-12) == judge(model, CrossEntropy(), batches(), LAM).F
