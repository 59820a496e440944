"""Full-batch training of adapted layers: starts, checkpoints, limits. Skipped without torch."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Dead, Net, data  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.networks import CrossEntropy, SquareLoss, adapted_layers, fine_tune, judge  # noqa: E402

torch.set_num_threads(1)


def test_a_full_disk_does_not_undo_the_training(tmp_path, monkeypatch):
    module = sys.modules[fine_tune.__module__]

    def full(path, write):
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    model, same = Net(), Net()
    with pytest.raises(OSError, match="No space left"):
        fine_tune(model, CrossEntropy(), data(), LAM, max_calls=30, checkpoint=tmp_path / "run.npz")
    fine_tune(same, CrossEntropy(), data(), LAM, max_calls=30)
    for (name, got), (_, expected) in zip(model.named_parameters(), same.named_parameters()):
        assert torch.equal(got, expected), name


def test_of_many_frozen_layers_three_are_named():
    model = torch.nn.Sequential(*(LoRALinear(6, 6, 1) for _ in range(40)), torch.nn.Flatten(), torch.nn.Linear(24, 3))
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"^model: 0, 1, 2 and 37 more: expected"):
        fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5)


@pytest.mark.parametrize("factor", ["lora_A", "lora_B"])
def test_shared_and_frozen_factors_are_refused_by_name_before_anything_is_trained(factor):
    model = Net()
    getattr(model.second, factor).requires_grad_(False)
    before = model.first.lora_B.clone()
    with pytest.raises(ValueError, match=r"model: second: expected factors that are trained .*is_trainable=True"):
        fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5)
    assert torch.equal(model.first.lora_B, before)
    assert judge(model, CrossEntropy(), data(), LAM).certificate is not None
    twin = torch.nn.Sequential(LoRALinear(3, 3, 2), torch.nn.Tanh(), LoRALinear(3, 3, 2))
    twin[2].lora_A = twin[0].lora_A
    with pytest.raises(ValueError, match=r"lora_A of 0 is tied \(0.lora_A, 2.lora_A\)"):
        adapted_layers(twin)


def test_what_the_judgement_is_asked_for_reaches_it_from_the_training():
    x, y = torch.ones(20, 3, dtype=torch.float64), torch.ones(20, 1, dtype=torch.float64)
    better = [(np.ones((1, 1)), np.full((3, 1), 5.0 / 3.0))]
    end = fine_tune(Dead(), SquareLoss(), [(x, y)], 1e-3, max_calls=50, others=[better])
    assert end.verdict.kind == "refuted" and end.verdict.better == pytest.approx(1e-3 * 5.0 / 3.0**0.5)
    # Rounding alone leaves more than this, and no run goes on for longer than it may.
    strict = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=200, tol=1e-15)
    assert strict.verdict.kind in ("inconclusive", "not_converged")
    for calls in (1, 2, 7):
        assert fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=calls).result.nfev <= calls


def test_a_start_is_that_of_its_seed_and_a_rank_that_of_the_layers():
    first, again, other = (
        fine_tune(Net(), CrossEntropy(), data(), LAM, init="gaussian", seed=seed, max_calls=1).factors[0][0]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.allclose(first, other)
    with pytest.raises(ValueError, match=r"rank: the LoRA layers of the model have rank \[4\], got 3"):
        fine_tune(Net(), CrossEntropy(), data(), LAM, rank=3)


def test_a_checkpoint_of_other_ranks_is_refused_also_where_the_numbers_are_as_many(tmp_path):
    def net(*ranks):
        torch.manual_seed(0)
        return torch.nn.Sequential(LoRALinear(6, 6, ranks[0]), torch.nn.Tanh(), LoRALinear(6, 6, ranks[1]))

    batches = [(x.mean(1), y) for x, y in data()]
    settings = {"max_calls": 3, "checkpoint": tmp_path / "run.npz"}
    fine_tune(net(1, 2), CrossEntropy(), batches, LAM, **settings)
    with pytest.raises(ValueError, match=r"checkpoint: .* is of another problem"):
        fine_tune(net(2, 1), CrossEntropy(), batches, LAM, **settings)
    fine_tune(net(1, 2), CrossEntropy(), batches, LAM, **settings)


def test_a_run_is_kept_while_it_lasts(tmp_path, monkeypatch):
    module, path, seen = sys.modules[fine_tune.__module__], tmp_path / "run.npz", []
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)

    def watched(model, batch):
        seen.append(path.exists())
        return CrossEntropy()(model, batch)

    fine_tune(Net(), watched, data(), LAM, max_calls=20, checkpoint=path)
    # From the first iterates on, in 40 looks at a batch, there is what an interrupted run would go on from.
    assert not seen[0] and all(seen[20:])


def layers_alone():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 3)).requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (Net, {}, "call again with the same model"),
        (Net, {"checkpoint": "run.npz"}, "call again with the same checkpoint"),
        (layers_alone, {"layers": ("1",), "rank": 2}, r"call again with init=\(result.A, result.B\)"),
    ],
)
def test_the_advice_at_the_limit_of_calls_is_about_fine_tune_and_leads_on(tmp_path, monkeypatch, make, settings, words):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = make()
    first = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5, **settings)
    assert first.result.status is ls.Status.CALL_LIMIT
    assert re.search(rf"5 evaluations of the data was reached; raise max_calls, or {words}", str(first))
    assert "another method" not in str(first) and "max_iter" not in str(first)
    start = {"init": (first.result.A, first.result.B)} if make is layers_alone else {}
    second = fine_tune(model, CrossEntropy(), data(), LAM, max_calls=5, **settings, **start)
    assert second.result.trace.value[0] == pytest.approx(first.result.fun, rel=1e-5)
    assert second.result.fun < first.result.fun


def test_the_message_of_a_run_advises_what_its_caller_can_do():
    """Who gives a model holds no problem of which a census could be taken, and the end is judged already."""
    shrunk = fine_tune(Net(), CrossEntropy(), data(), 1.0)
    text = shrunk.result.message
    assert "it ended at X = 0, a local minimum at this lam. Try init=" in text and "problem" not in text
    (init,) = re.findall(r"Try init='(.*?)'", text)
    again = fine_tune(Net(), CrossEntropy(), data(), 1.0, init=init, max_calls=5)
    assert again.result.trace.value[0] != pytest.approx(shrunk.result.trace.value[0])
    stalled = fine_tune(Net(), CrossEntropy(), data(), LAM, grad_tol=0.0, max_calls=3000).result
    assert stalled.message == "lbfgs: no further decrease was found"
