"""What a monitor reads of a loop of one's own with PEFT; skipped without torch, transformers and peft."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from peft_models import LAM, adapted, batches, bert, moved, tokens  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, adapted_layers, judge  # noqa: E402

torch.set_num_threads(1)


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


def test_beside_a_weight_that_the_start_of_another_adapter_changed_nothing_is_loud():
    """What is left of the weight is no model to compare with, of which nothing was said for the second adapter."""
    plain = {"r": 4, "lora_alpha": 8}
    model = adapted(dropout=0.0, init_lora_weights="pissa", target_modules=["value"])
    model.add_adapter("second", peft.LoraConfig(target_modules=["query", "value"], **plain))
    model.set_adapter("second")
    before = dict(bert().named_parameters())
    layers = adapted_layers(moved(model), adapter="second")
    with torch.no_grad():
        for layer in layers:
            layer.lora_B.mul_(3.0)
    for layer in layers:
        same = torch.equal(
            layer.module.weight, before[layer.weight.removeprefix("base_model.model.").replace(".base_layer", "")]
        )
        assert same == layer.name.endswith("query") and layer.moved_by == (None if same else "pissa")
    why = "nothing is called loud, in 2 of 4 layers: the initialization pissa changed the base weight"
    verdict = judge(model, CrossEntropy(), batches(), LAM, adapter="second")
    assert any(why in text for text in verdict.premises)
    # Worse than without the updates, which is not the model that was there before.
    assert verdict.kind == "loud" and verdict.reason.startswith("loud so far: ") and "query has full" in verdict.reason
    (warning,) = LoRAMonitor(base=model, adapter="second").warnings
    assert why in warning
    # An adapter of other layers has changed none of these.
    model.add_adapter("third", peft.LoraConfig(target_modules=["query"], **plain))
    model.set_adapter("third")
    assert LoRAMonitor(base=model, adapter="third").warnings == []


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


def test_a_monitor_is_written_as_json(tmp_path):
    monitor = plain_loop(adapted(), LoRAMonitor(LAM), 2, 1e-2)
    monitor.save(tmp_path / "run.json")
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored["gradients"].startswith("minibatch") and len(stored["history"]) == 2
    assert len(stored["history"][0]["layers"]) == 4
