"""Which layers of PEFT are found, judged, watched or refused; skipped without torch, transformers and peft."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from peft_models import LAM, adapted, batches, bert, tokens  # noqa: E402

from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LoRAMonitor,
    Network,
    SquareLoss,
    adapted_layers,
    fine_tune,
    judge,
    linearize,
)

torch.set_num_threads(1)


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
    with pytest.raises(ValueError, match="the adapters \\['default'\\] are active; 'second' has to be"):
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


def test_a_mixture_of_adapters_is_not_taken_for_several_of_which_one_could_be_named(tmp_path):
    """X-LoRA has all of them active, whichever is named; a mixture of one is that one, with the weight 1."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = transformers.LlamaConfig(vocab_size=60, use_cache=False, **sizes)
    alone = peft.get_peft_model(
        transformers.LlamaForCausalLM(made), peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    )
    alone.save_pretrained(tmp_path)
    for count in (1, 2):
        adapters = {str(k): str(tmp_path) for k in range(count)}
        config = peft.XLoraConfig(task_type="CAUSAL_LM", hidden_size=16, xlora_depth=2, adapters=adapters)
        model = peft.get_peft_model(transformers.LlamaForCausalLM(made), config)
        if count == 1:
            assert [layer.factors[0].shape for layer in adapted_layers(model)] == [(16, 2)]
    for name in (None, "0"):
        with pytest.raises(ValueError, match="model: X-LoRA mixes its adapters by weights that depend on the inputs"):
            adapted_layers(model, adapter=name)


def test_a_model_whose_factors_were_merged_and_taken_away_is_told_so():
    with pytest.raises(ValueError, match=r"no LoRA layers .*merge_and_unload\(\) takes away"):
        adapted_layers(adapted().merge_and_unload())


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


def test_an_adapter_is_judged_and_watched_over_another_that_is_active_too():
    """The network is the one that was trained, with both, and gradients are those that PEFT's backward pass leaves."""
    model = adapted(dropout=0.0)
    model.add_adapter("second", peft.LoraConfig(r=2, lora_alpha=6, target_modules=["query", "key"]))
    for name, part in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=0.3)
    model = model.double()
    model.base_model.set_adapter(["default", "second"])
    for name, part in model.named_parameters():
        part.requires_grad_(".second." in name)
    own = sum(model(**batch).loss for batch in batches()) / 2
    own.backward()
    verdict = judge(model, CrossEntropy(), batches(), LAM, adapter="second")
    found = verdict.certificate
    assert found.f == pytest.approx(float(own.detach()), rel=1e-12)
    assert [layer.name.rpartition(".")[2] for layer in found.layers] == ["query", "key"] * 2
    for layer, (A, B), G in zip(found.layers, found.factors, found.gradients):
        module = model.get_submodule(layer.name)
        np.testing.assert_allclose(G @ B, module.lora_B["second"].weight.grad.numpy(), atol=1e-14)
        np.testing.assert_allclose(A.T @ G, module.lora_A["second"].weight.grad.numpy(), atol=1e-14)
    assert "held as they are, the updates of other adapters that are active: default" in verdict.premises
    assert not any("though trained" in premise for premise in verdict.premises)
    monitor = LoRAMonitor(LAM, adapter="second")
    assert monitor.step(model) is None
    for layer, reading in zip(found.layers, monitor.history[0][1].values()):
        assert reading.stationarity is not None and reading.mismatch < 1e-10
        assert reading.spectral == pytest.approx(3.0 * layer.spectral, rel=1e-9)
    model.set_adapter("second")
    assert "other adapters" not in str(judge(model, CrossEntropy(), batches(), LAM, adapter="second"))


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

    def __init__(self, turned, inputs=5):
        super().__init__()
        self.is_transposed = turned
        self.up = torch.nn.Parameter(torch.randn(3, inputs, 7) if turned else torch.randn(3, 7, inputs))
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
    model.merge_adapter()
    with pytest.raises(ValueError, match="is merged into its weight"):
        monitor.step(model)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("inputs", [5, 7], ids=["oblong", "square"])
def test_experts_are_judged_by_their_own_matrices(turned, inputs):
    """Gradients in the factors are those of PEFT's own backward pass, dense ones those of the merged parameters.

    Experts that are square show by no shape how their weights are stored.
    """
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["0"], target_parameters=["1.up", "1.down"])
    inner = torch.nn.Sequential(torch.nn.Linear(5, inputs), Experts(turned, inputs)).double()
    model = peft.get_peft_model(inner, config)
    for name, part in model.named_parameters():
        if "lora_" in name:
            part.data.normal_(std=0.3)
    x, y = torch.randn(8, 5).double(), torch.randn(8, 4).double()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    verdict = judge(model, SquareLoss(), [(x[:5], y[:5]), (x[5:], y[5:])], LAM)
    found = verdict.certificate
    assert not any("held fixed" in premise for premise in verdict.premises)
    assert all(torch.equal(part, before[name]) for name, part in model.state_dict().items())

    def loss(net):
        # In batches a sample has the expert of its place.
        return torch.cat([(net(x[k : k + 5]) - y[k : k + 5]).square().sum(1) / 2 for k in (0, 5)]).mean()

    value = loss(model)
    value.backward()
    assert found.f == pytest.approx(float(value.detach()), rel=1e-12)
    slopes, updates = {}, {}
    for module in (part for part in model.modules() if hasattr(part, "parameter_name")):
        A, B = module.lora_B["default"].weight, module.lora_A["default"].weight
        for e, update in enumerate(module.get_delta_weight("default").detach().numpy()):
            updates[f"1.{module.parameter_name}[{e}]"] = update
            parts = [(A, np.s_[:, e::3]), (B, np.s_[2 * e : 2 * e + 2])]
            slopes[f"1.{module.parameter_name}[{e}]"] = math.hypot(
                *(float((whole.grad[part] + LAM * whole[part]).norm()) for whole, part in parts)
            )
    merged = model.merge_and_unload()
    merged.requires_grad_(True)
    loss(merged).backward()
    assert len(found.layers) == 1 + len(slopes) == 7
    for layer, (A, B), G in zip(found.layers[1:], found.factors[1:], found.gradients[1:]):
        key = layer.name.removeprefix("base_model.model.")
        assert layer.stationarity == pytest.approx(slopes[key], rel=1e-9)
        dense = 3.0 * getattr(merged[1], key[2:-3]).grad[int(key[-2])].numpy()
        # Which axis of a stack is taken for that of the inputs is a matter of the version of PEFT.
        X = 3.0 * A @ B.T
        straight = X.shape == dense.shape and np.allclose(X, updates[key])
        np.testing.assert_allclose(X if straight else X.T, updates[key], atol=1e-12)
        np.testing.assert_allclose(G if straight else G.T, dense, atol=1e-12 * max(1.0, np.abs(dense).max()))
    assert found.layers[3].dual_norm == 0.0 < found.layers[2].dual_norm  # an expert without a sample


def test_experts_are_trained_to_a_stationary_point_and_have_a_tangent_problem():
    """The unused expert ends without an update, the model holds what was found, and the solved gap is the sharper."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=[], target_parameters=["1.up", "1.down"])
    inner = torch.nn.Sequential(torch.nn.Linear(5, 5), Experts(False)).double()
    model = peft.get_peft_model(inner, config)
    x, y = torch.randn(8, 5).double(), torch.randn(8, 4).double()
    best = fine_tune(model, SquareLoss(), [(x, y)], 5 * LAM, max_calls=400, tangent_solve=True)
    found = best.verdict
    assert found.certificate.stationarity < 1e-5
    network = Network(model, SquareLoss(), [(x, y)])
    network.gradients_and_products(best.factors, [np.ones(shape) for shape in network.shapes])
    assert network.differences is None  # a second backward pass agrees with differences of gradients
    assert [layer.rank for layer in found.certificate.layers if layer.name.endswith("[2]")] == [0, 0]
    assert found.solved.relative_gap <= found.certificate.relative_gap
    with torch.no_grad():
        own = float((model(x) - y).square().sum(1).mean()) / 2
    squares = sum(float(part.square().sum()) for name, part in model.named_parameters() if "lora_" in name)
    objective = own + 2.5 * LAM * squares
    assert abs(found.certificate.L - objective) < 1e-12 * objective
