"""What a verdict says of how a model was made and trained; skipped without torch, transformers and peft."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from peft_models import LAM, adapted, batches, bert, moved  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, Network, judge  # noqa: E402
from lorasolve.networks.training_objective import in_short  # noqa: E402
from lorasolve.peft_files import diagnose  # noqa: E402

torch.set_num_threads(1)


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
