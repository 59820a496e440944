"""A monitor in the Trainer of transformers, and its optimizers; skipped without torch, transformers and peft."""

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
accelerate = pytest.importorskip("accelerate")

from peft_models import LAM, LENGTH, N, adapted, moved, rows, tokens  # noqa: E402

from lorasolve.networks import LoRAMonitor, adapted_layers, callback, read_optimizer_state  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("settings", "horizon"),
    [
        ({"lr": 1e-3, "relative_step": False, "scale_parameter": False}, 1.0 / (1e-3 * 0.05)),
        ({"lr": 1e-3, "relative_step": False, "scale_parameter": True}, math.inf),
        ({"scale_parameter": False}, math.inf),
        ({}, math.inf),
    ],
    ids=["as the Trainer makes it", "scaled by the tensor", "by their number", "with steps of its own"],
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
    shrunk = 1.0 - float(matrix.max()) / 2.0
    assert (shrunk == pytest.approx(1e-3 * 0.05, rel=1e-2)) == math.isfinite(horizon)
    torch.save(made.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay) == ("decoupled", 0.05)
    assert found.horizon == pytest.approx(horizon)
    assert ("of a size of its own" in str(found)) == math.isinf(horizon) and "learning rate is 0" not in str(found)


def test_what_is_no_monitor_is_refused_before_the_run():
    with pytest.raises(TypeError, match="monitor: expected a LoRAMonitor"):
        callback(LoRAMonitor)


@pytest.mark.parametrize("older", [False, True])
def test_the_optimizer_of_lora_fa_decays_beside_the_gradient(tmp_path, older):
    """Without any gradient it shrinks lora_B, the factor that it trains, and keeps two moments by names of its own."""
    optimizers = pytest.importorskip("peft.optimizers")
    settings = {"r": 4, "lora_alpha": 8, "lr": 1e-2, "weight_decay": 0.05}
    model = moved(adapted(dropout=0.0))
    optimizer = optimizers.create_lorafa_optimizer(model, **settings)
    trained = [part for name, part in model.named_parameters() if "lora_B" in name]
    before = [part.detach().clone() for part in trained]
    for part in trained:
        part.grad = torch.zeros_like(part)
    optimizer.step()
    for part, start in zip(trained, before):
        torch.testing.assert_close(part.detach(), start * (1.0 - 1e-2 * 0.05))
    state = optimizer.state_dict()
    for group in state["param_groups"] if older else []:
        group.pop("scaling_factors", None)
    torch.save(state, tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay, found.adaptive, found.steps) == ("decoupled", 0.05, True, 1)
    assert found.horizon == pytest.approx(1.0 / (1e-2 * 0.05)) and found.smoothed_gradients == (0.0,) * len(trained)


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


def told_of(model, optimizer):
    """Return what is told of an optimizer before its first step on a model."""
    monitor = LoRAMonitor(LAM)
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
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(("decay", "told"), [(LAM, True), (0.0, False)])
def test_a_decay_of_which_nobody_knows_what_it_is_added_to_is_told(decay, told):
    """Of a decay that was lam nothing was said, and a run that decouples it rests where no penalty of lam does."""
    model = adapted()
    optimizer = Lion([part for part in model.parameters() if part.requires_grad], 1e-2, decay)
    assert sum("its settings do not say" in text for text in told_of(model, optimizer)) == told


def test_a_decay_beside_a_gradient_that_is_scaled_before_is_not_taken_for_a_penalty():
    """PEFT's Riemannian optimizer has the settings of the one that it is made of, and rests elsewhere."""
    optimizers = pytest.importorskip("peft.optimizers")
    if not hasattr(optimizers, "create_riemannian_optimizer"):
        pytest.skip("PEFT has it from 0.21 on")
    model = moved(adapted(rank=1, dropout=0.0, target_modules=["classifier"])).eval()
    parts = [part for part in model.parameters() if part.requires_grad]
    plain = torch.optim.SGD(parts, lr=0.1, momentum=0.9, weight_decay=LAM)
    monitor = LoRAMonitor(LAM, full_batch=True, every=250)
    for _ in range(251):
        model.zero_grad()
        model(**tokens()).loss.backward()
        monitor.step(model)
        plain.step()
    (reading,) = monitor.history[-1][1].values()
    rest = [part.detach().clone() for part in parts]
    scaled = optimizers.create_riemannian_optimizer(model, torch.optim.SGD, lr=0.1, weight_decay=LAM)
    scaled.step()
    step = [(part - at) / 0.1 for part, at in zip(parts, rest)]
    # It moves on from where the penalty balances the gradient, by steps as long as those of the decay alone.
    moved_by, decay = (math.hypot(*(float(part.detach().norm()) for part in each)) for each in (step, rest))
    assert reading.stationarity < 1e-2 and moved_by > 0.5 * LAM * decay
    for given in (scaled, accelerate.Accelerator(cpu=True).prepare_optimizer(scaled)):
        assert sum("its settings do not say" in text for text in told_of(model, given)) == 1
    assert told_of(model, plain) == told_of(model, accelerate.Accelerator(cpu=True).prepare_optimizer(plain)) == []


def test_a_decay_of_other_parameters_is_not_told_as_that_of_the_factors():
    model = adapted(modules_to_save=["classifier"])
    named = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
    groups = [
        {"params": [part for name, part in named if ("lora_" in name) == factor], "weight_decay": decay}
        for factor, decay in ((True, 0.0), (False, 0.01))
    ]
    told = told_of(model, torch.optim.AdamW(groups))
    assert len(told) == 1 and "the weight decay of the optimizer on the factors is 0:" in told[0]


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
