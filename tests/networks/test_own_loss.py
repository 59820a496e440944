"""A model's own loss: what it is told from, and what is refused. Skipped without torch."""

from __future__ import annotations

import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Net, Regression, data, factors  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    Network,
    OutputLoss,
    SquareLoss,
    fine_tune,
    judge,
    linearize,
)

torch.set_num_threads(1)


class Causal(torch.nn.Module):
    """A language model that compares the logits of each token with the label of the next, and says so by its loss."""

    def __init__(self, rank=3, head=1.0, own="next"):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(9, 6).requires_grad_(False)
        self.inner = LoRALinear(6, 6, rank)
        self.head = torch.nn.Linear(6, 9, bias=False).requires_grad_(False)
        self.head.weight *= head
        self.own = own

    def forward(self, input_ids, attention_mask=None, labels=None):
        h = torch.tanh(self.inner(self.embed(input_ids))).cumsum(1)
        logits = self.head(h)
        loss = None
        if labels is not None:
            z, y = (logits[:, :-1], labels[:, 1:]) if self.own == "next" else (logits, labels)
            smoothing = 0.1 if self.own == "smoothed" else 0.0
            z, y = z.reshape(-1, 9).float(), y.reshape(-1)
            loss = torch.nn.functional.cross_entropy(z, y, label_smoothing=smoothing)
            if self.own == "penalised":  # by what has no derivative in the logits
                loss = loss + self.head.weight.square().mean()
        return types.SimpleNamespace(loss=loss, logits=logits)


def sentences(n=8, length=6, seed=0):
    """Two batches with padding that has no label, and a prompt without labels in the first sentence."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 9, (n, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 4:] = 0
    labels = ids.where(mask == 1, torch.tensor(-100))
    labels[0, :3] = -100
    whole = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return [{key: value[k : k + 4] for key, value in whole.items()} for k in range(0, n, 4)]


@pytest.mark.parametrize("head", [1.0, 0.0])
@pytest.mark.parametrize("own", ["next", "same"])
def test_a_language_model_is_judged_by_its_own_loss(own, head):
    """Also where all logits are alike and so both losses."""
    model, batches = Causal(own=own, head=head), sentences()
    network = Network(model, CrossEntropy(), batches)
    at = factors(network, rank=3)
    with torch.no_grad():
        model.inner.lora_B.copy_(torch.as_tensor(at[0][0]))
        model.inner.lora_A.copy_(torch.as_tensor(at[0][1].T))
        counts = [int((b["labels"][:, 1:] if own == "next" else b["labels"]).ne(-100).sum()) for b in batches]
        losses = [float(model.double()(**b).loss) for b in batches]
    assert network.value(at) == pytest.approx(np.average(losses, weights=counts), rel=1e-6)
    assert network.n_samples == sum(counts)
    (premise, *_) = judge(model, CrossEntropy(), batches, LAM).premises
    assert (f"of {sum(counts)} samples, the logits of each token with the label of the next" in premise) == (
        own == "next"
    )
    # A pair has no loss of its own, and outputs of one's own are what is meant.
    unshifted = sum(int(b["labels"].ne(-100).sum()) for b in batches)
    pairs = [(b["input_ids"], b["labels"]) for b in batches]
    own_outputs = CrossEntropy(lambda model, batch: model(batch["input_ids"]).logits)
    for loss, given in ((CrossEntropy(), pairs), (own_outputs, batches)):
        plain = Network(model, loss, given)
        plain.value(at)
        assert plain.n_samples == unshifted
    # Which of the two a verdict is about is said of either.
    place = "the logits of each token with the label at its own place"
    assert place in judge(model, CrossEntropy(), pairs, LAM).premises[0]
    assert (place in premise) == (own == "same")


def test_a_loss_within_a_tuple_is_the_models_own_too():
    class Pair(Causal):
        def forward(self, input_ids, attention_mask=None, labels=None):
            answer = super().forward(input_ids, attention_mask, labels)
            return answer.logits if labels is None else (answer.logits, answer.loss)

    found, expected = (Network(model, CrossEntropy(), sentences()) for model in (Pair(), Causal()))
    at = factors(found, rank=3)
    assert found.value(at) == expected.value(at)
    assert found.n_samples == expected.n_samples == sum(int(b["labels"][:, 1:].ne(-100).sum()) for b in sentences())


def test_training_a_language_model_lowers_its_own_loss():
    model, (batch, _) = Causal(), sentences()
    before = float(model(**batch).loss.detach())
    end = fine_tune(model, CrossEntropy(), [batch], LAM, max_calls=300)
    assert float(model(**batch).loss.detach()) == pytest.approx(end.verdict.certificate.f, rel=1e-4)
    assert end.verdict.certificate.f < 0.9 * before
    network = Network(model, CrossEntropy(), [batch])
    with pytest.raises(ValueError, match=r"outputs \(n, K\), got shape \(4, 5, 9\); LinearizedNetwork"):
        linearize(network, end.factors)
    verdict = judge(model, CrossEntropy(), [batch], LAM, tangent_solve=True)
    # What a step of any rank gains in the tangent problem is bounded by the one gradient too.
    assert 0.0 <= verdict.solved.gap <= verdict.certificate.gap + 1e-7


def test_the_head_of_a_language_model_is_global_for_the_models_own_loss():
    """The optimum is that of softmax regression on the hidden states of all tokens that have a next one."""
    model = Causal()
    (batch, _) = sentences()
    with torch.no_grad():
        h = torch.tanh(model.inner.linear(model.embed(batch["input_ids"]))).cumsum(1).double()
    model.inner = model.inner.linear
    kept = batch["labels"][:, 1:] != -100
    head = ls.objectives.Softmax(
        model.head.weight.double().numpy(), h[:, :-1][kept].numpy().T, batch["labels"][:, 1:][kept].numpy()
    )
    optimum = ls.solve_convex(ls.Problem(head, 6, LAM)).fun
    end = fine_tune(model, CrossEntropy(), [batch], LAM, layers="head", rank=6, max_calls=500)
    assert end.verdict.kind == "global"
    assert pytest.approx(optimum, rel=1e-5) == end.verdict.F


@pytest.mark.parametrize("own", ["smoothed", "penalised"])
def test_a_loss_that_is_not_the_models_own_is_refused_with_both_numbers(own):
    batches = sentences()
    model = Causal(own=own)
    model.inner.lora_A.data.zero_()
    own = float(model(**batches[0]).loss.detach())
    numbers = rf"the model's own loss, {own:.7f}".rstrip("0")[:-2] + r"\d* on .*, got \d\.\d+ \(with .*: \d\.\d+\)"
    with pytest.raises(ValueError, match=numbers):
        judge(model, CrossEntropy(), batches, LAM)
    if own == "smoothed":
        for stated in (lambda m, b: CrossEntropy()(m, b), CrossEntropy(lambda m, b: m(b["input_ids"]).logits)):
            assert judge(model, stated, batches, LAM).certificate is not None


class Unlike(torch.nn.Module):
    """A classifier whose own loss leaves class 0 out, or counts it twice."""

    def __init__(self, **how):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.how = LoRALinear(5, 3, 2), how

    def forward(self, x, labels=None):
        logits = self.layer(x)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels, **self.how)
        return types.SimpleNamespace(loss=loss, logits=logits)


@pytest.mark.parametrize("how", [{"ignore_index": 0}, {"weight": torch.tensor([2.0, 1.0, 1.0])}])
def test_a_loss_that_is_the_models_own_on_the_first_batch_alone_is_refused(how):
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    first, later = ({"x": x, "labels": torch.tensor(labels * 2)} for labels in ([1, 2, 1, 2], [0, 1, 2, 1]))
    model = Unlike(**{key: value.double() if key == "weight" else value for key, value in how.items()}).double()
    own = float(model(x.double(), later["labels"]).loss.detach())
    with pytest.raises(ValueError, match=rf"own loss on each batch, .* in place of {own:.6g} on a later one"):
        judge(model, CrossEntropy(), [first, later], LAM)
    # A batch without a label has no mean.
    empty = later | {"labels": torch.full_like(later["labels"], -100)}
    assert judge(model, CrossEntropy(), [first, empty], LAM).certificate is not None
    stated = CrossEntropy(lambda m, b: m(b["x"]).logits)
    assert judge(model, stated, [first, later], LAM).certificate is not None


def test_the_first_batch_with_a_label_tells():
    first, second = sentences()
    first["labels"] = torch.full_like(first["labels"], -100)
    network = Network(Causal(), CrossEntropy(), [first, second])
    network.value(network.zeros())
    assert network.n_samples == int(second["labels"][:, 1:].ne(-100).sum())


def test_data_without_a_single_label_are_refused():
    batches = [batch | {"labels": torch.full_like(batch["labels"], -100)} for batch in sentences()]
    with pytest.raises(ValueError, match="batches: expected samples with labels, got none that has one"):
        judge(Causal(), CrossEntropy(), batches, LAM)


def test_arrays_of_numpy_serve_as_batches():
    arrays = [(x.numpy(), y.numpy()) for x, y in data()]
    found, expected = (judge(Net(), CrossEntropy(), batches, LAM) for batches in (arrays, data()))
    assert pytest.approx(expected.F, rel=1e-14) == found.F


def test_each_scaling_has_its_own_share_of_the_decay_among_the_premises():
    assert f"(scaling 0.5, 2: lam/s = {LAM / 0.5:g}, {LAM / 2.0:g} on" in str(judge(Net(), CrossEntropy(), data(), LAM))
    model = Net()
    model.second.scaling = -0.5  # the weight of the nuclear norm goes by its size
    assert f"lam/|s| = {LAM / 0.5:g}, {LAM / 2.0:g} on" in str(judge(model, CrossEntropy(), data(), LAM))


def test_batches_without_labels_are_refused():
    batches = [{key: value for key, value in batch.items() if key != "labels"} for batch in sentences()]
    with pytest.raises(ValueError, match="batches: expected dictionaries with 'labels', got one with input_ids, att"):
        judge(Causal(), CrossEntropy(), batches, LAM)


def test_the_samples_of_a_dataset_are_no_batches():
    """Lists of numbers, as a tokenizer leaves them: what a layer of the model made of them was a traceback of torch."""
    batches = [{key: value[0].tolist() for key, value in batch.items()} for batch in sentences()]
    with pytest.raises(TypeError, match=r"batches: expected tensors or arrays in each batch, got input_ids: \[\d+, "):
        judge(Causal(), CrossEntropy(), batches, LAM)
    # As tensors, of a model of transformers.
    model = Causal()
    model.config = types.SimpleNamespace(vocab_size=5)
    tensors = [{key: value[0] for key, value in batch.items()} for batch in sentences()]
    with pytest.raises(
        ValueError, match=r"batches: expected input_ids with an axis of samples .*\(a sample of a Datas"
    ):
        judge(model, CrossEntropy(), tensors, LAM)
    (x, y), _ = data()
    loss = CrossEntropy(targets=lambda _: y)
    nested = {"text": ["one"], "inputs": {"x": x}}
    assert len(loss(lambda text, inputs: Net()(inputs["x"]), nested)) == len(x)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_regression_is_judged_by_the_mean_of_squares_of_the_model(outputs):
    model = Regression(outputs)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator), torch.randn(12, outputs, generator=generator)
    network = Network(model, SquareLoss(), [{"x": x, "labels": y}])
    at = factors(network, rank=1)
    residual = x.double() @ network.weights(at)[0].T + model.layer.linear.bias.double() - y.double()
    assert network.value(at) == pytest.approx(float(residual.square().mean().detach()), rel=1e-12)
    ntk = linearize(network, at)
    assert ntk.factor_value(at) == pytest.approx(network.value(at), rel=1e-12)
    pairs = Network(model, SquareLoss(), [(x, y)])
    assert pairs.value(at) == pytest.approx(float(residual.square().sum().detach()) / 24, rel=1e-12)


class Signs(OutputLoss):
    """``sum_k log(1 + exp(-y_k z_k))`` of labels -1 and 1, one of the losses that have a token form."""

    kind = "logistic"

    def of_outputs(self, z, targets):
        return torch.nn.functional.softplus(-targets * z).sum(1)


class Binary(OutputLoss):
    """The same of labels 0 and 1, as torch has it, of which nothing is known but that it is convex."""

    def of_outputs(self, z, targets):
        each = torch.nn.functional.binary_cross_entropy_with_logits(z, targets, reduction="none")
        return each.sum(1)


def test_a_class_of_ones_own_has_the_tangent_problem_of_its_loss():
    """Against the token form of the same loss in other labels."""
    torch.manual_seed(0)
    labels = [torch.randint(0, 2, (len(x), 3)).double() for x, _ in data()]
    binary = [(x, y) for (x, _), y in zip(data(), labels)]
    end = fine_tune(Net(), Binary(), binary, LAM, max_calls=60, tangent_solve=True)
    signs = [(x, 2.0 * y - 1.0) for x, y in binary]
    expected = judge(Net(), Signs(), signs, LAM, factors=end.factors, tangent_solve=True)
    assert end.verdict.kind == expected.kind
    assert end.verdict.certificate.f == pytest.approx(expected.certificate.f, rel=1e-9)
    assert end.verdict.solved.value == pytest.approx(expected.solved.value, rel=1e-3)
    assert "stated by the caller: the loss is convex in the outputs" in str(end.verdict)
    network = Network(Net(), Binary(), binary)
    with pytest.raises(
        ValueError, match=r"whose token form is known, got Binary; LinearizedNetwork\(network, factors\)"
    ):
        linearize(network, end.factors)


class OfProbabilities(OutputLoss):
    """A cross-entropy of outputs between 0 and 1, which torch refuses to form of others."""

    def of_outputs(self, z, targets):
        return torch.nn.functional.binary_cross_entropy(z, targets, reduction="none").sum(1)


def test_a_loss_that_is_not_defined_far_away_is_judged():
    inner = Net()
    model = torch.nn.Sequential(inner, torch.nn.Sigmoid())
    batches = [(x, (y[:, None] == torch.arange(3)).double()) for x, y in data()]
    verdict = judge(model, OfProbabilities(), batches, LAM)
    expected = judge(Net(), Binary(), batches, LAM)
    assert verdict.certificate.f == pytest.approx(expected.certificate.f, rel=1e-9)
    assert np.isfinite(verdict.relative_gap) and verdict.kind == expected.kind
