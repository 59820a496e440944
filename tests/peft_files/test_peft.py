"""What is read equals PEFT's own delta weights, on every layout that PEFT saves. Skipped without torch and PEFT."""

import json
import math

import numpy as np
import pytest

from lorasolve.cli import main
from lorasolve.peft_files import UnreadableError, diagnose, facts_of, read, truncate

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")


class Experts(torch.nn.Module):
    """Experts stacked in one parameter, (experts, in, out), as mixture-of-experts layers have them."""

    def __init__(self):
        super().__init__()
        self.up = torch.nn.Parameter(torch.randn(3, 12, 10))
        self.gate = torch.nn.Parameter(torch.randn(3, 12, 10))

    def forward(self, x):
        return torch.einsum("ni,eio->no", x, self.up * self.gate)


class Model(torch.nn.Module):
    """One module of each kind that LoRA adapts."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(30, 12)
        self.layers = torch.nn.ModuleList(
            [torch.nn.ModuleDict({k: torch.nn.Linear(12, 12) for k in "qv"}) for _ in range(3)]
        )
        self.wide = torch.nn.Linear(12, 20)
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.experts = Experts()
        self.classifier = torch.nn.Linear(12, 2)

    def forward(self, ids):
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer["q"](x) + layer["v"](x)
        return self.classifier(self.experts(x)) + self.wide(x).sum()


LORA = {
    "plain": {"target_modules": ["q", "v", "wide"], "r": 4, "lora_alpha": 16},
    "rslora with patterns": {
        "target_modules": ["q", "v", "wide"],
        "r": 4,
        "lora_alpha": 16,
        "use_rslora": True,
        "rank_pattern": {r"layers\.[12]\.q": 2, "wide": 6},
        "alpha_pattern": {"layers.0.v": 3, "^wide": 5, r"layers\.\d\.v": 7},
    },
    "dora and a head in full": {
        "target_modules": ["q", "v"],
        "r": 4,
        "use_dora": True,
        "modules_to_save": ["classifier"],
    },
    "embedding": {"target_modules": ["embedding"], "r": 4, "lora_alpha": 3},
    "convolution": {"target_modules": ["convolution"], "r": 4, "lora_alpha": 3},
    "biases": {"target_modules": ["q", "v"], "r": 4, "lora_bias": True, "bias": "all"},
    "pissa": {"target_modules": ["q"], "r": 4, "init_lora_weights": "pissa"},
    "two parameters of a module": {"target_modules": [], "target_parameters": ["experts.up", "experts.gate"], "r": 4},
    "experts": {"target_modules": ["q"], "target_parameters": ["experts.up"], "r": 4, "lora_alpha": 16},
}


def adapted(config, seed):
    """Return a PEFT model whose factors are all random."""
    torch.manual_seed(seed)
    model = peft.get_peft_model(Model(), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    return model


def deltas(model):
    """Return PEFT's delta weights by module; a stack of experts becomes one matrix for each."""
    found = {}
    for name, module in model.base_model.model.named_modules():
        if not (hasattr(module, "get_delta_weight") and getattr(module, "r", None)):
            continue
        delta = module.get_delta_weight("default").detach().double().numpy()
        if delta.ndim == 3:
            found |= {f"{name}[{e}]": matrix for e, matrix in enumerate(delta)}
        else:
            found[name] = delta.reshape(delta.shape[0], -1)
    return found


def compare(folder, model):
    expected = deltas(model)
    layers = {layer.module: layer for layer in read(folder).layers()}
    assert set(layers) == set(expected)
    for name, layer in layers.items():
        X, delta = layer.scale * layer.A @ layer.B.T, expected[name]
        # Experts lie transposed where the parameter is (in, out).
        near = min(np.abs(X - d).max() if d.shape == X.shape else np.inf for d in (delta, delta.T))
        assert near <= 1e-6 * np.abs(delta).max(), name
        sigma = np.linalg.svd(delta, compute_uv=False)
        np.testing.assert_allclose(facts_of(layer).sigma, sigma[: layer.A.shape[1]], rtol=1e-6, atol=1e-6 * sigma[0])
    return layers


@pytest.mark.parametrize("name", LORA)
def test_lora(tmp_path, name):
    model = adapted(peft.LoraConfig(**LORA[name]), 1)
    model.save_pretrained(tmp_path)
    layers = compare(tmp_path, model)
    assert all(layer.dora for layer in layers.values()) == name.startswith("dora")
    skipped = set(read(tmp_path).skipped.values())
    assert skipped == {
        "dora and a head in full": {"trained in full, not of low rank"},
        "biases": {"trained in full, not of low rank", "a bias beside the factors"},
    }.get(name, set())


@pytest.mark.parametrize("name", [name for name in LORA if name != "pissa"])
@pytest.mark.parametrize("limit", [{"rank": 2}, {"error": 0.5}])
def test_peft_loads_what_was_truncated(tmp_path, name, limit):
    model = adapted(peft.LoraConfig(**LORA[name]), 4)
    model.save_pretrained(tmp_path / "a")
    truncate(tmp_path / "a", tmp_path / "b", **limit)
    torch.manual_seed(4)
    compare(tmp_path / "b", peft.PeftModel.from_pretrained(Model(), tmp_path / "b"))


def merged(folder):
    torch.manual_seed(6)
    model = peft.PeftModel.from_pretrained(Model(), folder).merge_and_unload()
    return {name: part.detach().double().numpy() for name, part in model.named_parameters()}


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_what_peft_converted_to_lora_is_truncated_with_the_loss_of_the_merged_weights(tmp_path, start):
    torch.manual_seed(6)
    config = peft.LoraConfig(target_modules=["q", "wide"], r=4, lora_alpha=8, init_lora_weights=start)
    model = peft.get_peft_model(Model(), config)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    model.peft_config["default"].init_lora_weights = start
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "a")
    with pytest.raises(UnreadableError, match=f"the initialization {start} changed the base weight"):
        truncate(tmp_path / "a", tmp_path / "b", rank=3)
    model.save_pretrained(tmp_path / "a", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    done = truncate(tmp_path / "a", tmp_path / "b", rank=3)
    before, after = merged(tmp_path / "a"), merged(tmp_path / "b")
    real = math.sqrt(sum(np.linalg.norm(before[name] - after[name]) ** 2 for name in before))
    assert done.frobenius_loss == pytest.approx(real, rel=1e-5) and real > 0.1


@pytest.mark.parametrize("targets", [["c_attn", "c_proj"], ["c_attn", "c_proj", "score"]])
def test_alignments_of_gpt2_with_and_without_an_adapted_head(tmp_path, targets):
    """Its weights are stored (inputs, outputs), that of the head is not, and the last one is what PEFT saves."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16, "num_labels": 16}
    base = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**shape, pad_token_id=0))
    base.save_pretrained(tmp_path / "base")
    weights = {name: part.detach().double().numpy() for name, part in base.named_parameters()}
    model = peft.get_peft_model(base, peft.LoraConfig(target_modules=targets, r=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "a")
    found = diagnose(tmp_path / "a", base=tmp_path / "base")
    assert len(found.layers) == 6 + ("score" in targets)
    for layer in found.layers:
        name = layer.facts.module
        delta = model.base_model.model.get_submodule(name).get_delta_weight("default").detach().double().numpy()
        # Stored like the weight, whichever way that is.
        W, X = weights[f"{name}.weight"], delta
        if name != "score":
            W, X = W.T, X.T
        unit = np.linalg.norm(W) * np.linalg.norm(X) / np.sqrt(X.shape)
        expected = np.array([np.linalg.norm(W.T @ X), np.linalg.norm(W @ X.T)]) / unit
        got = layer.base.alignment_left, layer.base.alignment_right
        unknown = "score" in targets and X.shape == (16, 16)
        assert got == ((None, None) if unknown else pytest.approx(tuple(expected), rel=1e-4))


def test_factors_that_an_embedding_shares_with_its_head_are_said_to_be_counted_twice(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=30, tie_word_embeddings=True, **sizes))
    config = peft.LoraConfig(r=4, target_modules=["embed_tokens", "lm_head"], ensure_weight_tying=True)
    model = peft.get_peft_model(base, config)
    embedding = model.get_submodule("base_model.model.model.embed_tokens")
    torch.nn.init.normal_(embedding.lora_embedding_A["default"])
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    found = diagnose(tmp_path)
    assert sum(text.startswith("ensure_weight_tying: tied layers share their factors") for text in found.remarks) == 1
    once = sum(float(part.detach().double().square().sum()) for part in embedding.parameters() if part.requires_grad)
    assert found.penalty == pytest.approx(once, rel=1e-6)  # twice the half of the squares


def test_an_alpha_that_depends_on_the_order_of_patterns_is_remarked(tmp_path):
    """PEFT takes the first pattern that matches and saves them sorted: what it loads is not what was trained."""
    settings = {"target_modules": ["q"], "r": 4, "alpha_pattern": {"q": 64, "layers.0.q": 1}}
    model = adapted(peft.LoraConfig(**settings), 0)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(Model(), tmp_path)
    name = "base_model.model.layers.0.q"
    assert [each.get_submodule(name).scaling["default"] for each in (model, loaded)] == [16.0, 0.25]
    found = diagnose(tmp_path)
    assert {layer.facts.module: layer.facts.scale for layer in found.layers}["layers.0.q"] == 0.25
    assert [text for text in found.remarks if "several keys of alpha_pattern match layers.0.q" in text]
    adapted(peft.LoraConfig(**settings | {"alpha_pattern": {"layers.0.q": 1}}), 0).save_pretrained(tmp_path / "one")
    assert not [text for text in diagnose(tmp_path / "one").remarks if "several keys" in text]


def test_adalora(tmp_path):
    config = peft.AdaLoraConfig(target_modules=["q", "v"], init_r=6, target_r=4, lora_alpha=16, total_step=100)
    model = adapted(config, 2)
    model.save_pretrained(tmp_path)
    assert {layer.kind for layer in compare(tmp_path, model).values()} == {"adalora"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_dtypes(tmp_path, dtype):
    model = adapted(peft.LoraConfig(**LORA["plain"]), 3).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path)
    stored = {name: p.detach().double().numpy() for name, p in model.named_parameters() if "lora_" in name}
    layers = list(read(tmp_path).layers())
    assert 2 * len(layers) == len(stored) > 0
    for layer in layers:
        up, down = (stored[f"base_model.model.{layer.module}.lora_{side}.default.weight"] for side in "BA")
        np.testing.assert_array_equal(layer.A, up)
        np.testing.assert_array_equal(layer.B, down.T)


def test_the_8_bit_tables_are_those_of_torch(tmp_path):
    from safetensors.torch import save_file

    from lorasolve.peft_files import TensorFile

    codes = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        save_file({"x": codes.view(dtype)}, tmp_path / "x.safetensors")
        np.testing.assert_array_equal(
            TensorFile(tmp_path / "x.safetensors").read("x"), codes.view(dtype).float().numpy()
        )


@pytest.mark.parametrize(
    ("optimizer", "options", "kind"),
    [("AdamW", {}, "decoupled"), ("Adam", {}, "l2"), ("SGD", {}, "l2"), ("AdamW", {"weight_decay": 0.0}, "none")],
)
def test_the_weight_decay_of_a_checkpoint(tmp_path, capsys, optimizer, options, kind):
    model = adapted(peft.LoraConfig(**LORA["plain"]), 1)
    model.save_pretrained(tmp_path)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    saved = getattr(torch.optim, optimizer)(trained, **({"lr": 1e-3, "weight_decay": 0.02} | options)).state_dict()
    torch.save(saved, tmp_path / "optimizer.pt")
    main(["diagnose", str(tmp_path), "--optimizer-state", "--json"])
    decay = json.loads(capsys.readouterr().out)["decay"]
    assert decay["kind"] == kind and decay["lam"] == (None if kind == "none" else 0.02)
    assert main(["diagnose", str(tmp_path), "--optimizer-state", "--lam", "1"]) == 2
    assert "one or the other" in capsys.readouterr().err


def test_the_scaling_of_rslora():
    model = adapted(peft.LoraConfig(**LORA["rslora with patterns"]), 1)
    scalings = {
        name: m.scaling["default"] for name, m in model.base_model.model.named_modules() if hasattr(m, "scaling")
    }
    assert scalings["wide"] == pytest.approx(5 / math.sqrt(6))
