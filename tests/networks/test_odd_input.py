"""Odd models, data and arguments: refused by name, and the user's model left as it was. Skipped without torch."""

from __future__ import annotations

import collections
import copy
import dataclasses
import json
import math
import types
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import MovedLoRALinear  # noqa: E402

from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LoRAMonitor,
    Network,
    OutputLoss,
    SquareLoss,
    adapted_layers,
    features,
    fine_tune,
    judge,
    linearity,
    linearize,
    read_optimizer_state,
)

torch.set_num_threads(1)
LAM = 0.02


class Net(torch.nn.Module):
    """Two adapted layers; ``then`` is applied to the outputs."""

    def __init__(self, classes=3, then=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = MovedLoRALinear(6, 5), MovedLoRALinear(5, classes)
        self.then = then

    def forward(self, x):
        z = self.second(torch.tanh(self.first(x)))
        return z if self.then is None else self.then(z)


def data(n=12, classes=3):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 6, generator=generator), torch.randint(0, classes, (n,), generator=generator)
    return [(x[:5], y[:5]), (x[5:], y[5:])]


def with_labels(change):
    return [(x, change(y)) for x, y in data()]


def with_inputs(change):
    return [(change(x), y) for x, y in data()]


# ---------------------------------------------------------------------- the model stays what it was
class Remembering(Net):
    """A model that writes to its buffers in place, and to its attributes, whenever it runs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("average", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("longest", torch.zeros(1))
        self.last, self.reach = None, 1

    def forward(self, x):
        z = super().forward(x)
        self.calls += 1
        self.average += 1.0
        if len(x) > self.reach:  # as rotary embeddings do with longer inputs
            self.reach = len(x)
            self.register_buffer("longest", torch.zeros(len(x)))
            self.register_buffer("late", torch.zeros(1))
        self.last = z.detach()
        return z


@pytest.mark.parametrize(
    "use", [lambda model: judge(model, CrossEntropy(), data(), LAM), lambda model: features(model, data())]
)
def test_what_a_model_writes_down_while_it_runs_is_put_back(use):
    inner = Remembering()
    model = torch.nn.Sequential(inner, torch.nn.Linear(3, 3)).train()
    places = {name: id(tensor) for name, tensor in model.named_buffers()}
    use(model)
    assert (int(inner.calls), inner.average.tolist(), inner.last, inner.reach) == (0, [0.0] * 3, None, 1)
    assert {name: id(tensor) for name, tensor in model.named_buffers()} == places
    assert model.training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_an_embedding_that_are_shortened_are_not_those_of_the_model(dtype):
    model = torch.nn.Sequential(torch.nn.Embedding(9, 6, max_norm=0.1), MovedLoRALinear(6, 3))
    model = model.to(getattr(torch, dtype))
    before = model[0].weight.detach().clone()
    assert float(before.norm(dim=1).min()) > 0.1
    judge(model, CrossEntropy(), [(torch.arange(9), torch.arange(9) % 3)], LAM, dtype=dtype)
    assert torch.equal(model[0].weight, before)


def test_gradients_of_a_head_in_the_loss_are_left_alone():
    head = torch.nn.Linear(3, 3).double()
    held = torch.full_like(head.bias, 7.0)
    head.bias.grad = held

    def loss(model, batch):
        return CrossEntropy().of_outputs(head(model(batch[0])), batch[1])

    judge(Net(), loss, data(), LAM)
    assert head.weight.grad is None
    assert head.bias.grad is held and held.tolist() == [7.0] * 3


def test_what_was_made_in_inference_mode_is_judged_as_any_other():
    expected = judge(Net().double(), CrossEntropy(), data(), LAM).F
    with torch.inference_mode():
        model, batches = Net().double(), [(x.double(), y.clone()) for x, y in data()]
    assert pytest.approx(expected, rel=1e-7) == judge(model, CrossEntropy(), batches, LAM).F


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_gradients_are_formed_within_a_function_that_evaluates(around):
    """Such a function is often decorated; gradients stay off for what comes after in it."""
    model, batches = Net(), data()
    expected = judge(model, CrossEntropy(), batches, LAM)
    with around():
        found = judge(model, CrossEntropy(), batches, LAM)
        assert not torch.is_grad_enabled()
        end = fine_tune(model, CrossEntropy(), batches, LAM, max_calls=30)
    assert found.F == expected.F and found.kind == expected.kind
    assert end.verdict.F < expected.F


def test_autocast_around_the_call_does_not_lower_the_precision():
    expected = Network(Net(), CrossEntropy(), data(), dtype="float32")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network = Network(Net(), CrossEntropy(), data(), dtype="float32")
        assert network.below == ()
        assert network.value(network.point) == expected.value(expected.point)


def test_autocast_within_the_model_does_not_lower_the_precision():
    """As transformers' Trainer leaves a model that it has trained in mixed precision."""
    model = Net()
    expected = Network(model, CrossEntropy(), data(), dtype="float32")
    there = expected.point
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    assert model(data()[0][0]).dtype == torch.bfloat16
    network = Network(model, CrossEntropy(), data(), dtype="float32")
    assert network.below == ()
    for one, two in zip(network.value_and_gradients(there)[1], expected.value_and_gradients(there)[1]):
        np.testing.assert_array_equal(one, two)


# ---------------------------------------------------------------------- errors that the model itself raises
class Recurrent(torch.nn.Module):
    """In evaluation mode it writes to what it has just used."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = MovedLoRALinear(6, 5)
        self.config = types.SimpleNamespace(use_cache=True)

    def forward(self, x):
        state = torch.tanh(self.layer(x))
        z = state * state
        if self.config.use_cache and not self.training:
            state *= 2.0
        return z


def test_a_cache_that_breaks_the_backward_pass_in_evaluation_mode_is_named():
    model = Recurrent()
    torch.nn.functional.cross_entropy(model(data()[0][0]), data()[0][1]).backward()  # training does without the cache
    for loss in (CrossEntropy(), lambda model, batch: model(batch[0]).sum(1)):
        with pytest.raises(RuntimeError, match="inplace operation") as found:
            judge(model, loss, data(), LAM)
        assert "model.config.use_cache = False" in found.value.__notes__[0]
    model.config.use_cache = False
    assert judge(model, CrossEntropy(), data(), LAM).certificate is not None


def test_samples_in_the_place_of_batches_are_shown():
    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = MovedLoRALinear(6, 5)

        def forward(self, words):
            return self.layer(torch.nn.functional.one_hot(words[:, 0], 6).to(self.layer.linear.weight))

    rows = [{"words": torch.tensor([1, 2]), "labels": torch.tensor(k)} for k in range(3)]
    with pytest.raises(IndexError) as found:
        judge(Words(), CrossEntropy(), rows, LAM)
    assert "words (2,), labels ()" in found.value.__notes__[0]
    batches = torch.utils.data.DataLoader(rows, batch_size=2)
    assert judge(Words(), CrossEntropy(), batches, LAM).certificate is not None

    class Shaped(Words):
        def forward(self, words):
            _, length = words.shape  # as models of transformers read it
            return super().forward(words[:, :length])

    with pytest.raises(ValueError, match="not enough values to unpack") as unpacked:
        judge(Shaped(), CrossEntropy(), rows, LAM)
    assert "words (2,), labels ()" in unpacked.value.__notes__[0]
    with pytest.raises(ValueError, match="expected classes from 0 to 4") as other:
        judge(Shaped(), CrossEntropy(), [{"words": torch.ones(2, 2, dtype=int), "labels": torch.tensor([7, 0])}], LAM)
    assert not hasattr(other.value, "__notes__")
    with pytest.raises(ValueError, match=r"got shape \(\); CrossEntropy\(\) or SquareLoss\(\) is the loss"):
        judge(Shaped(), lambda model, batch: model(batch["words"]).mean(), batches, LAM)


# ---------------------------------------------------------------------- nothing is trained or found out in vain
def plain():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def test_names_of_layers_from_an_iterator_last_until_the_verdict():
    options = {"rank": 2, "max_calls": 5}
    found = fine_tune(plain(), CrossEntropy(), data(), LAM, layers=iter(["0", "2"]), **options)
    expected = fine_tune(plain(), CrossEntropy(), data(), LAM, layers=["0", "2"], **options)
    assert found.verdict.F == expected.verdict.F


@pytest.mark.parametrize("rank", [2, 9])
def test_factors_that_are_not_finite_are_no_start_and_are_named(rank):
    model = Net()
    model.second = MovedLoRALinear(5, 3, rank)
    model.second.lora_A.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="model: second: expected factors of finite numbers to start from"):
        fine_tune(model, CrossEntropy(), data(), LAM)
    assert fine_tune(model, CrossEntropy(), data(), LAM, init="lora", max_calls=3).verdict.kind != "non_finite"


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    calls = []

    def loss(model, batch):
        calls.append(batch)
        return CrossEntropy()(model, batch)

    with pytest.raises(OSError, match="checkpoint: cannot be written"):
        fine_tune(Net(), loss, data(), LAM, checkpoint=tmp_path / "file" / "run.npz")
    assert not calls


def test_factors_of_a_plain_model_are_returned_where_the_disk_is_full_at_the_end(tmp_path, monkeypatch):
    def full(path, write):
        raise OSError("No space left on device")

    options = {"layers": ("0", "2"), "rank": 2, "max_calls": 5}
    expected = fine_tune(plain(), CrossEntropy(), data(), LAM, **options)
    monkeypatch.setattr("lorasolve.networks.training.write_atomically", full)
    monkeypatch.setattr("lorasolve.networks.training.SAVE_EVERY", 0.0)
    with pytest.warns(RuntimeWarning, match="No space left") as told:
        found = fine_tune(plain(), CrossEntropy(), data(), LAM, checkpoint=tmp_path / "run.npz", **options)
    assert told[0].filename == __file__
    for got, wanted in zip(found.factors, expected.factors):
        np.testing.assert_array_equal(got[0], wanted[0])
        np.testing.assert_array_equal(got[1], wanted[1])


def test_a_checkpoint_of_other_things_is_refused_by_name(tmp_path):
    path = tmp_path / "run.npz"
    options = {"layers": ("0", "2"), "rank": 2, "max_calls": 3, "checkpoint": path}
    fine_tune(plain(), CrossEntropy(), data(), LAM, **options)
    with np.load(path) as stored:
        fields = dict(stored)
    for changed in (
        {"theta": fields["theta"] * np.nan},
        {"theta": fields["theta"].astype(str)},
        {"theta": fields["theta"] * 1j},
        {"lam": np.full(2, LAM)},
        {"lam": np.array("x")},
    ):
        np.savez(path, **(fields | changed))
        with pytest.raises((ValueError, TypeError), match="checkpoint: "):
            fine_tune(plain(), CrossEntropy(), data(), LAM, **options)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match=r"checkpoint: .* cannot be read"):
        fine_tune(plain(), CrossEntropy(), data(), LAM, **options)


# ---------------------------------------------------------------------- no check is made of nothing
class Gated(MovedLoRALinear):
    """A layer whose factors have an operation between them, so that its update is not ``s A B^T``."""

    def forward(self, x):
        return self.linear(x) + self.scaling * torch.tanh(x @ self.lora_A.T) @ self.lora_B.T


@pytest.mark.parametrize("empty", [lambda x, y: (x[:0], y[:0]), lambda x, y: (x, torch.full_like(y, -100))])
def test_a_first_batch_without_a_label_hides_nothing(empty):
    model = Net()
    model.first = Gated(6, 5)
    rest = data()
    with pytest.raises(ValueError, match="first: expected W x"):
        judge(model, CrossEntropy(), [empty(*rest[0]), *rest], LAM)

    def noisy(net, batch):
        losses = CrossEntropy()(net, batch)
        return losses + torch.rand(len(losses))

    with pytest.raises(ValueError, match="two evaluations of the first batch differ"):
        judge(Net(), noisy, [empty(*rest[0]), *rest], LAM)


def test_a_batch_without_samples_has_no_tokens():
    x, y = data()[0]
    network, alone = (Network(Net(), CrossEntropy(), batches) for batches in ([(x[:0], y[:0]), (x, y)], [(x, y)]))
    ntk, expected = (linearize(each, each.point) for each in (network, alone))
    np.testing.assert_array_equal(ntk.offset, expected.offset)


@pytest.mark.parametrize("wrap", [lambda model, batch: CrossEntropy()(model, batch), CrossEntropy()])
def test_a_lower_bound_that_a_loss_of_the_data_is_below_bounds_nothing(wrap):
    losses = torch.cat([CrossEntropy()(Net().double(), (x.double(), y)) for x, y in data()]).detach()
    least, mean = float(losses.min()), float(losses.mean())
    assert least < 0.9 * mean
    lower = judge(Net(), wrap, data(), LAM, convex_loss=True, lower_bound=0.99 * least)
    assert math.isfinite(lower.relative_gap)
    between = judge(Net(), wrap, data(), LAM, convex_loss=True, lower_bound=0.9 * mean)
    assert between.certificate.f == pytest.approx(mean, rel=1e-6)
    assert math.isinf(between.relative_gap)
    assert f"a loss of the data is {least:.4g}"[:-1] in between.certificate.formula
    # The loss of a plain function is taken to be above 0 where nothing is said.
    below = lambda model, batch: CrossEntropy()(model, batch) - 0.9 * mean  # noqa: E731
    shifted = judge(Net(), below, data(), LAM, convex_loss=True)
    assert shifted.certificate.f > 0.0 and math.isinf(shifted.relative_gap)


class Augmented(torch.utils.data.Dataset):
    """Samples with noise of their own in each pass."""

    def __init__(self, whole):
        self.whole = whole

    def __len__(self):
        return len(self.whole)

    def __getitem__(self, index):
        x, y = self.whole[index]
        return x + 0.1 * torch.randn(len(x)), y


def test_data_that_each_pass_brings_others_of_are_refused_before_the_training():
    whole = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*data(42))))
    drawn = torch.utils.data.RandomSampler(whole, replacement=True)
    for dataset, options in (
        (whole, {"shuffle": True, "drop_last": True}),
        (whole, {"sampler": drawn}),
        (Augmented(whole), {}),
    ):
        batches = torch.utils.data.DataLoader(dataset, batch_size=8, **options)
        with pytest.raises(ValueError, match="batches: expected the same samples in each pass"):
            fine_tune(Net(), CrossEntropy(), batches, LAM)
    shuffled = torch.utils.data.DataLoader(whole, batch_size=8, shuffle=True)
    found = fine_tune(Net(), CrossEntropy(), shuffled, 1.0, max_calls=60)
    assert judge(Net(), CrossEntropy(), list(shuffled), 1.0, factors=found.factors).kind == found.verdict.kind
    # Rounding in sums of another order grows with the losses.
    large = Network(Net(), lambda model, batch: 1e8 * CrossEntropy()(model, batch), shuffled)
    large.require_same_data(large.point)


class Unsized(torch.utils.data.Sampler):
    """A sampler that does not say how many samples it takes."""

    def __iter__(self):
        return iter(range(20))


def test_samples_that_a_loader_leaves_out_are_among_the_premises():
    """In the order of the data set the same ones are dropped in each pass, which shows in no value."""
    whole = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*data(42))))

    def left_out(size, **options):
        batches = torch.utils.data.DataLoader(whole, batch_size=size, **options)
        lines = judge(Net(), CrossEntropy(), batches, LAM).premises
        return [line for line in lines if "DataLoader" in line]

    (line,) = left_out(8, drop_last=True)
    assert line.endswith("drops the last 2 of 42 samples (drop_last)")
    assert not left_out(7, drop_last=True) and not left_out(8)
    (line,) = left_out(8, sampler=torch.utils.data.SubsetRandomSampler(range(30)))
    assert line.endswith("sampler takes 30 of its data set's 42 samples")
    assert not left_out(8, shuffle=True) and not left_out(8, sampler=Unsized(), drop_last=True)


def test_points_are_not_compared_on_data_that_differ():
    whole = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*data(42))))
    model = Net()
    end = fine_tune(model, CrossEntropy(), list(torch.utils.data.DataLoader(whole, batch_size=8)), 0.3)
    assert end.verdict.kind in ("tangent_optimal", "inconclusive", "global")
    batches = torch.utils.data.DataLoader(Augmented(whole), batch_size=8)
    network = Network(model, CrossEntropy(), batches)
    with pytest.raises(ValueError, match="batches: expected the same samples in each pass"):
        network.require_same_data(network.point)
    with pytest.raises(ValueError, match="batches: expected the same samples in each pass"):
        linearize(network, network.point)
    near = [(A * (1.0 + 1e-9), B) for A, B in end.factors]
    loose = {"lam": 0.3, "factors": near, "others": [end.factors], "tol": 0.9}
    with pytest.raises(ValueError, match="batches: expected the same samples in each pass"):
        judge(model, CrossEntropy(), batches, **loose)


class Language(torch.nn.Module):
    """A language model of adapted logits, whose own loss compares them with the label of the next token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.layer = torch.nn.Embedding(7, 5), MovedLoRALinear(5, 7)

    def forward(self, ids, labels=None):
        z = self.layer(self.tokens(ids))
        if labels is None:
            return types.SimpleNamespace(logits=z)
        own = torch.nn.functional.cross_entropy(z[:, :-1].reshape(-1, 7), labels[:, 1:].reshape(-1))
        return types.SimpleNamespace(logits=z, loss=own)


def test_a_language_model_without_a_next_label_is_not_judged_by_other_labels():
    ids = torch.arange(12).reshape(4, 3) % 7
    labels = torch.full_like(ids, -100)
    labels[:, 0] = ids[:, 0]  # of the first token of a sequence no other is asked for
    with pytest.raises(ValueError, match="the model's own loss, which is not a number on any batch"):
        judge(Language(), CrossEntropy(), [{"ids": ids, "labels": labels}], LAM)
    assert judge(Language(), CrossEntropy(), [{"ids": ids, "labels": ids}], LAM).certificate is not None
    broken = Language()
    broken.tokens.weight.data[:] = math.nan
    assert judge(broken, CrossEntropy(), [{"ids": ids, "labels": ids}], LAM).kind == "non_finite"


def test_an_encoder_decoder_of_ones_own_need_not_take_labels():
    class Own(Net):
        config = types.SimpleNamespace(is_encoder_decoder=True)

    x, y = torch.randn(8, 6), torch.arange(8) % 3
    own, plain = (judge(kind(), CrossEntropy(), [{"x": x, "labels": y}], LAM).certificate.f for kind in (Own, Net))
    assert own == plain


@pytest.mark.parametrize("decodes", [False, True])
def test_an_error_of_a_model_that_takes_labels_is_not_taken_for_one_that_takes_none(decodes):
    class Broken(Net):
        config = types.SimpleNamespace(is_encoder_decoder=decodes)

        def forward(self, x, labels=None):
            return super().forward(x if labels is None else x + "one")

    batches = [{"x": torch.randn(8, 6), "labels": torch.arange(8) % 3}]
    with pytest.raises(TypeError, match="str"):
        judge(Broken(), CrossEntropy(), batches, LAM)


def test_classes_may_be_masked_by_logits_of_minus_infinity():
    """They have probability 0, so that the loss is that of the others."""

    class Masked(Net):
        def forward(self, x, labels=None):
            z = super().forward(x)
            z = torch.cat([z, torch.full_like(z[:, :1], -math.inf)], 1)
            own = None if labels is None else torch.nn.functional.cross_entropy(z, labels)
            return types.SimpleNamespace(logits=z, loss=own)

    x, y = torch.randn(8, 6), torch.arange(8) % 3
    masked, plain = (judge(kind(), CrossEntropy(), [{"x": x, "labels": y}], LAM).certificate for kind in (Masked, Net))
    assert masked.f == pytest.approx(plain.f, rel=1e-14)
    assert masked.dual_norm == pytest.approx(plain.dual_norm, rel=1e-12)


def test_logits_that_labels_change_are_not_taken_for_those_of_the_models_own_loss():
    class Prompted(Language):
        def forward(self, ids, labels=None):
            return super().forward(ids if labels is None else labels.roll(1), labels)

    ids = torch.arange(12).reshape(4, 3) % 7
    batch = {"ids": ids, "labels": ids}
    with pytest.raises(ValueError, match="model: expected the same logits with labels and without, got others"):
        judge(Prompted(), CrossEntropy(), [batch], LAM)
    given = CrossEntropy(
        lambda model, batch: model(**batch).logits[:, :-1], lambda batch: batch["labels"][:, 1:].reshape(-1)
    )
    own = float(Prompted().double()(**batch).loss.detach())
    assert judge(Prompted(), given, [batch], LAM).certificate.f == pytest.approx(own, rel=1e-12)


# ---------------------------------------------------------------------- refused by name
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Net().to("meta"), "model: expected weights that hold numbers, but first.lora_A is on the meta device"),
        (lambda: torch.nn.Sequential(Net(), torch.nn.LazyLinear(3)), "1.weight is lazy and was never run"),
    ],
)
def test_models_without_numbers_are_refused(make, words):
    for use in (
        lambda model: judge(model, CrossEntropy(), data(), LAM),
        lambda model: features(model, data()),
        lambda model: LoRAMonitor().step(model),
    ):
        with pytest.raises(ValueError, match=words):
            use(make())


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        ([(*data()[0], 1)], TypeError, "batches: .* pairs .*, got tuple of 3"),
        ([None], TypeError, "batches: .*, got NoneType"),
        ("ab", TypeError, "batches: expected a list of one value or several, got 'ab'"),
        ({"x": 1}, TypeError, r"batches: expected a list of batches .*, got a single batch \(x\); put it in a list"),
        (collections.UserDict(x=1), TypeError, r"batches: expected a list of batches .*, got a single batch \(x\)"),
        (with_inputs(lambda x: x.to("meta")), ValueError, "batches: .* on the meta device"),
        (with_inputs(lambda x: np.ma.masked_less(x.numpy(), 0.0)), ValueError, "batches: is a masked array"),
        (with_labels(torch.Tensor.tolist), TypeError, "labels: expected a tensor of integers"),
        (with_labels(lambda y: None), TypeError, "labels: expected a tensor of integers, got None"),
        (with_labels(torch.Tensor.float), TypeError, "labels: expected integers.*, got torch.float"),
        (with_labels(torch.Tensor.bool), TypeError, "labels: expected integers.*, got torch.bool"),
        (with_labels(lambda y: y + 1), ValueError, "labels: expected classes from 0 to 2, or -100 for none, got 3"),
        (with_labels(lambda y: y - 3), ValueError, "labels: expected classes from 0 to 2, or -100 for none, got -"),
        (with_labels(lambda y: y[:3]), ValueError, r"labels: expected shape \(5,\).*, got \(3,\)"),
        (with_labels(lambda y: torch.eye(3)[y].long()), ValueError, r"labels: expected shape \(5,\).*, got \(5, 3\)"),
    ],
)
def test_data_that_do_not_fit_are_refused(batches, error, words):
    with pytest.raises(error, match=words):
        judge(Net(), CrossEntropy(), batches, LAM)


@pytest.mark.parametrize("given", [object(), 3.0, {"A": 1}])
def test_what_is_no_point_of_another_run_is_refused(given):
    with pytest.raises(TypeError, match=r"others\[0\]: expected a NetworkVerdict, such as .* of fine_tune, or"):
        judge(Net(), CrossEntropy(), data(), LAM, others=[given])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda y: torch.ones(3, len(y)), ValueError, r"labels: .*of shape \(5, 3\), got \(3, 5\)"),
        (lambda y: y, ValueError, r"labels: .*of shape \(5, 3\), got \(5,\)"),
        (torch.sum, ValueError, r"labels: .*of shape \(5, 3\), got \(\)"),
        (lambda y: torch.ones(len(y), 3) * 1j, TypeError, "labels: .* real numbers, got torch.complex64"),
        (lambda y: [[1.0] * 3] * len(y), TypeError, "labels: expected a tensor of real numbers"),
    ],
)
def test_targets_that_do_not_fit_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        judge(Net(), SquareLoss(), with_labels(change), LAM)


def test_labels_of_tokens_are_not_taken_in_another_order():
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 3, (4, 5), generator=torch.Generator().manual_seed(1))
    model = Net()
    whole = judge(model, CrossEntropy(), [(x, y)], LAM)
    assert judge(model, CrossEntropy(), [(x, y.flatten())], LAM).F == whole.F
    with pytest.raises(ValueError, match=r"labels: expected shape \(4, 5\)"):
        judge(model, CrossEntropy(), [(x, y.T)], LAM)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Net(then=lambda z: (z, 1)), r"outputs: expected a tensor .*give outputs\(model, batch\)"),
        (Net(then=lambda z: {"logits": z}), r"outputs: expected a tensor .*give outputs\(model, batch\)"),
        (Net(then=lambda z: z[:, 0]), r"outputs: expected logits \(n, K\) of K >= 2 classes, got shape \(5,\)"),
        (Net(classes=1), r"outputs: expected logits \(n, K\) of K >= 2 classes, got shape \(5, 1\)"),
        (Net(then=lambda z: z.argmax(1)), "outputs: expected real numbers"),
    ],
)
def test_answers_that_are_no_logits_are_refused(model, words):
    with pytest.raises((TypeError, ValueError), match=words):
        judge(model, CrossEntropy(), data(), LAM)


def test_integers_of_every_width_are_labels_and_arrays_of_every_layout_inputs():
    expected = judge(Net(), CrossEntropy(), data(), LAM).F
    for change in (torch.Tensor.int, torch.Tensor.short, lambda y: y.numpy().astype(">i4"), lambda y: y[:, None]):
        assert expected == judge(Net(), CrossEntropy(), with_labels(change), LAM).F
    for change in (
        lambda x: x.flip(0).numpy()[::-1],
        lambda x: x.numpy().astype(">f8"),
        lambda x: np.asfortranarray(x.numpy()),
    ):
        assert pytest.approx(expected, rel=1e-12) == judge(Net(), CrossEntropy(), with_inputs(change), LAM).F
    still = data()[0][0].numpy()
    still.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge(Net(), CrossEntropy(), [(still, data()[0][1])], LAM)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A batch with names that attributes read."""

    x: torch.Tensor
    y: torch.Tensor


def test_batches_may_be_dataclasses():
    batches = [Sample(*batch) for batch in data()]
    loss = CrossEntropy(lambda model, batch: model(batch.x), lambda batch: batch.y)
    assert judge(Net(), loss, batches, LAM).F == judge(Net(), CrossEntropy(), data(), LAM).F
    assert batches[0].x.dtype == torch.float32  # those of the caller are as they were
    least, most = sorted(len(batch.x) for batch in batches)
    with pytest.raises(ValueError, match=f"one number for each batch, of {least} to {most} rows"):
        judge(Net(), lambda model, batch: loss(model, batch).mean()[None], batches, LAM)


def test_losses_that_are_none_are_refused():
    with pytest.raises(TypeError, match=r"loss: expected loss\(model, batch\), got CrossEntropyLoss\(\)"):
        judge(Net(), torch.nn.CrossEntropyLoss(), data(), LAM)
    with pytest.raises(TypeError, match=r"loss: expected loss\(model, batch\), got <function cross_entropy"):
        judge(Net(), torch.nn.functional.cross_entropy, data(), LAM)
    with pytest.raises(TypeError, match=r"got Tensor \(of a single batch\? put that in a list\)"):
        judge(Net(), CrossEntropy(), data()[0], LAM)
    with pytest.raises(TypeError, match=r"got TensorDataset \(a DataLoader makes batches of its samples\)"):
        judge(Net(), CrossEntropy(), torch.utils.data.TensorDataset(*data()[0]), LAM)
    with pytest.raises(ValueError, match=r"loss: expected real numbers, got torch.complex"):
        judge(Net(), lambda model, batch: CrossEntropy()(model, batch) * 1j, data(), LAM)
    with pytest.raises(NotImplementedError, match="OutputLoss does not define of_outputs"):
        judge(Net(), OutputLoss(), data(), LAM)


def test_what_a_model_holds_beside_its_parameters_is_named_where_it_does_not_fit():
    beside = [torch.nn.Linear(3, 3)]
    with pytest.raises(RuntimeError) as caught:
        judge(Net(then=lambda z: beside[0](z)), CrossEntropy(), data(), LAM)
    assert "evaluated in float64" in caught.value.__notes__[0]


def test_names_that_the_model_does_not_have_are_refused():
    with pytest.raises(ValueError, match=": no linear layer, embedding or convolution is called 7; there are 0, 2"):
        adapted_layers(plain(), ["0", "7"])
    for nothing in ([], ()):
        with pytest.raises(ValueError, match="layers: expected at least one name; there are 0, 2"):
            adapted_layers(plain(), nothing)
    with pytest.raises(ValueError, match="adapter: expected None for a model without adapters of PEFT, got 'x'"):
        adapted_layers(Net(), adapter="x")
    with pytest.raises(ValueError, match="adapter: expected None"):
        LoRAMonitor(base=Net(), adapter="x")


def test_a_layer_alone_has_the_weight_of_its_name():
    layer = torch.nn.Linear(6, 3)
    assert [found.weight for found in adapted_layers(layer, "")] == ["weight"]
    assert dict(layer.named_parameters())["weight"] is adapted_layers(layer, "")[0].module.weight


def test_layers_of_rank_0_are_none():
    model = Net()
    model.first.lora_A, model.first.lora_B = None, None
    assert [layer.name for layer in adapted_layers(model)] == ["second"]
    model = Net()
    model.first.lora_A, model.first.lora_B = (torch.nn.Parameter(torch.zeros(s)) for s in ((0, 6), (5, 0)))
    with pytest.raises(ValueError, match=r"model: first: expected factors of rank 1 or more, got lora_A \(0, 6\)"):
        adapted_layers(model)


@pytest.mark.parametrize("shapes", [((3, 6), (0, 3)), ((3, 0), (5, 3))])
def test_a_layer_without_outputs_or_inputs_is_named(shapes):
    """An adapter on all linear layers has one in MobileBERT, whose other errors did not say which it is."""
    model = Net()
    model.first.lora_A, model.first.lora_B = (torch.nn.Parameter(torch.ones(s)) for s in shapes)
    with pytest.raises(ValueError, match=r"model: first has no inputs or no outputs, got lora_A \(3, "):
        adapted_layers(model)
    model.zero_grad()
    with pytest.raises(ValueError, match="model: first has no inputs or no outputs"):
        LoRAMonitor(lam=LAM).step(model)


def test_a_scaling_of_numpy_is_a_number():
    model = Net()
    expected = judge(model, CrossEntropy(), data(), LAM).F
    model.first.scaling = np.float32(2.0)
    assert expected == judge(model, CrossEntropy(), data(), LAM).F


@pytest.mark.parametrize("rank", [2.0, True, "2", [2]])
def test_a_rank_is_an_integer_also_where_the_model_has_one(rank):
    with pytest.raises(TypeError, match="rank: expected an integer >= 1"):
        fine_tune(Net(), CrossEntropy(), data(), LAM, rank=rank)


def test_factors_that_require_gradients_are_refused_by_name():
    model = Net()
    pairs = [(layer.lora_B, layer.lora_A.T) for layer in (model.first, model.second)]
    with pytest.raises(ValueError, match=r"factors\[0\].A: expected an array, .*detach"):
        judge(model, CrossEntropy(), data(), LAM, factors=pairs)


def test_points_and_directions_of_fewer_layers_are_refused():
    network = Network(Net(), CrossEntropy(), data())
    point, X = network.point, [np.zeros(shape) for shape in network.shapes]
    for call in (
        lambda: network.value(point[:1]),
        lambda: network.value_and_gradients(point[::-1]),
        lambda: network.factor_hvp(point, point[:1]),
        lambda: network.value_and_grad(X[:1]),
        lambda: network.hessian_product(X, X[:1]),
        lambda: network.gradients_and_products(point, X[::-1]),
        lambda: linearize(network, point).tangent_at(point[:1], np.zeros((12, 2))),
    ):
        with pytest.raises(ValueError, match=r"(factors|directions|X|D): expected .* shapes \[\(5, 6\), \(3, 5\)\]"):
            call()
    ntk = linearize(network, point)
    for outputs in (np.ones(2), np.ones((1, 2)), 1.0):
        with pytest.raises(ValueError, match="outputs: expected"):
            ntk.tangent_at(point, outputs)


def test_a_linearity_without_a_decay_is_refused_before_the_work():
    calls = []

    def outputs(model, batch):
        calls.append(batch)
        return model(batch[0])

    network = Network(Net(), CrossEntropy(outputs), data())
    calls.clear()
    for wrong in ({"lam": 0.0}, {"lam": 0.1, "tol": math.nan}):
        with pytest.raises(ValueError, match=r"(lam|tol): expected a finite number in \(0, inf\)"):
            linearity(network, **wrong)
    assert not calls


def test_features_refuse_what_is_none():
    model = plain()

    def embed(change):
        return {"embed": lambda model, batch: change(batch[0])}

    def labels(change):
        return {"labels": lambda batch: change(batch[1])}

    for options, words in (
        (embed(lambda x: x.numpy()), "features: expected a tensor"),
        (embed(lambda x: None), "features: expected a tensor"),
        (embed(lambda x: x * 1j), "features: expected real numbers, got torch.complex"),
        (embed(lambda x: x[:, : len(x) // 2]), "features: expected 2 in each batch, as in the first, got 3"),
        (labels(torch.Tensor.tolist), "labels: expected a tensor"),
        (labels(torch.Tensor.numpy), "labels: expected a tensor"),
        (embed(lambda x: x) | labels(lambda y: y - 100), "labels: expected integers from 0 to 999999, got -9"),
        (embed(lambda x: x) | labels(lambda y: y + 10**9), "labels: expected integers from 0 to 999999, got 100000000"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            features(model, data(), **options)
    with pytest.raises(ValueError, match="model: has no linear layer; give embed"):
        features(torch.nn.Tanh(), data())
    found = features(torch.nn.Identity(), data(), embed=lambda model, batch: batch[0])
    assert found.value_and_grad(np.zeros((3, 6)))[0] == pytest.approx(math.log(3))


# ---------------------------------------------------------------------- monitors and files
def test_a_step_that_cannot_be_read_is_not_counted():
    monitor, model = LoRAMonitor(lam=0.1, every=2), Net()
    for wrong in (plain(), None):
        with pytest.raises((TypeError, ValueError), match="model: "):
            monitor.step(wrong)
    with pytest.raises(TypeError, match=r"scaler: expected a torch.amp.GradScaler or None, got 5"):
        monitor.step(model, scaler=5)
    for _ in range(3):
        monitor.step(model)
    assert monitor.steps == 3 and [step for step, _ in monitor.history] == [1, 3]


def test_base_weights_that_are_not_finite_are_named():
    model = Net()
    model.second.linear.weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="model: second: expected a weight of finite numbers"):
        LoRAMonitor(base=model)


def stored(folder, state=None, **group):
    groups = [{"lr": 0.1, "weight_decay": 0.1, "params": [0]} | group]
    torch.save({"param_groups": groups, "state": state or {}}, folder / "optimizer.pt")
    return read_optimizer_state(folder)


NOWHERE = torch.empty((), device="meta")


@pytest.mark.parametrize("decay", [math.nan, math.inf, -0.1, "0.1", True, torch.tensor(1j), NOWHERE])
def test_a_decay_that_is_no_number_is_not_called_none(tmp_path, decay):
    with pytest.raises(ValueError, match="expected a weight_decay that is a number >= 0"):
        stored(tmp_path, weight_decay=decay)
    assert stored(tmp_path, weight_decay=None).decay_kind == "none"


@pytest.mark.parametrize("lr", [math.nan, -1.0, True, 10**400, None, torch.ones(2), NOWHERE])
def test_a_learning_rate_that_is_no_number_is_refused(tmp_path, lr):
    with pytest.raises(ValueError, match="a group has no learning rate"):
        stored(tmp_path, lr=lr)


@pytest.mark.parametrize("step", [torch.tensor(1j), NOWHERE, -5, 10**400, math.inf, True])
def test_steps_that_are_no_number_are_not_known(tmp_path, step):
    assert stored(tmp_path, {0: {"step": step}}).steps is None


def test_smoothed_gradients_have_a_length_or_none(tmp_path):
    lists = [3.0, math.nan], [3.0, 4.0j], [3, 4]
    moments = [NOWHERE, *map(torch.tensor, lists)]
    found = stored(tmp_path, {k: {"step": 1, "exp_avg": moment} for k, moment in enumerate(moments)})
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["smoothed_gradients"] == [None, 5.0, 5.0]


def test_a_state_without_groups_is_none(tmp_path):
    torch.save({"param_groups": [], "state": {}}, tmp_path / "optimizer.pt")
    with pytest.raises(ValueError, match="is no optimizer's state"):
        read_optimizer_state(tmp_path)


def test_outcomes_show_what_they_say_in_a_line_and_are_equal_to_themselves_only():
    """A session showed every premise and NumPy's words about arrays."""
    model, batches = Net(), data()
    verdict = judge(model, CrossEntropy(), batches, LAM)
    assert repr(verdict).startswith(f"NetworkVerdict({verdict.kind}: F = ") and repr(verdict).endswith("2 layers)")
    assert "\n" not in repr(verdict) and len(repr(verdict)) < 120
    assert [copy.copy(verdict), verdict].index(verdict) == 1 and len({verdict, copy.copy(verdict)}) == 2
    monitor = LoRAMonitor(lam=LAM)
    assert repr(monitor) == "LoRAMonitor(no reason to stop: 0 readings)"
