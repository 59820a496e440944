"""DoRA of PEFT: values, slopes, runs and verdicts; skipped without torch, transformers and peft."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from peft_models import LAM, batches, bert, moved, tokens  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.networks import CrossEntropy, LoRAMonitor, Network, adapted_layers, fine_tune, judge, linearize  # noqa: E402
from lorasolve.networks.linearize import tangent_problem  # noqa: E402

torch.set_num_threads(1)


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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dora_of_one_input_has_nothing_to_gain_but_its_penalty(dtype):
    """The rows are their lengths then, whatever the update; derivatives that are rounding were called contradictory."""
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    model = moved(peft.get_peft_model(plain, peft.LoraConfig(r=2, use_dora=True, target_modules=["0"]))).double()
    batch = torch.randn(9, 1, dtype=torch.float64), torch.randint(0, 3, (9,))
    verdict = judge(model, CrossEntropy(), [batch], LAM, tangent_solve=True, dtype=dtype)
    ((A, B),) = verdict.factors
    penalty = LAM * np.linalg.norm(A @ B.T)  # of rank one
    assert verdict.solved.gap == pytest.approx(penalty, rel=1e-6 if dtype == "float64" else 1e-3)
