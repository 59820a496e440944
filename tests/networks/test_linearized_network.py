"""The tangent problem of language models, by derivatives of the network; needs torch, transformers and peft."""

from __future__ import annotations

import copy
import importlib
import math
import pathlib
import runpy
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from lora_layers import LoRALinear  # noqa: E402
from scipy.special import log_softmax, softmax  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.multi import MultiProblem  # noqa: E402
from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LinearizedNetwork,
    Network,
    SquareLoss,
    fine_tune,
    judge,
    linearity,
    linearize,
    solve_tangent,
)
from lorasolve.problem.blocks import MultiObjective  # noqa: E402
from lorasolve.problem.pairs import joint_inner  # noqa: E402

# In the package of networks its function has the name.
linearize_module = importlib.import_module("lorasolve.networks.linearize")
torch.set_num_threads(1)
VOCABULARY = 11
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def language_model(family, targets=None):
    torch.manual_seed(0)
    if family == "GPT2":
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=16, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
        )
        model, usual = transformers.GPT2LMHeadModel(config), ["c_attn", "c_fc"]
    elif family == "T5":
        config = transformers.T5Config(
            vocab_size=VOCABULARY, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, decoder_start_token_id=0
        )
        model, usual = transformers.T5ForConditionalGeneration(config), ["q", "v"]
    elif family == "Bert":
        config = transformers.BertConfig(**SMALL, num_attention_heads=2, max_position_embeddings=16)
        model, usual = transformers.BertForMaskedLM(config), ["query", "value"]
    else:
        extra = {"sliding_window": 3} if family == "Mistral" else {}
        config = getattr(transformers, f"{family}Config")(**SMALL, **HEADS, **SPECIAL, **extra)
        model, usual = getattr(transformers, f"{family}ForCausalLM")(config), ["q_proj", "v_proj", "down_proj"]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and family != "T5":
                parameter.mul_(10.0)
    return peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, target_modules=targets or usual))


def sentences(n=6, length=7, seed=0):
    """Two batches with padding on the right, and prompts without labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, VOCABULARY, (n, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, 4:] = 0
    labels = ids.where(mask == 1, torch.tensor(-100))
    labels[:, :2] = -100
    whole = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return [{key: value[k : k + 4] for key, value in whole.items()} for k in range(0, n, 4)]


def factors(network, rank=2, seed=1, size=0.3):
    rng = np.random.default_rng(seed)
    return [(size * rng.standard_normal((m, rank)), size * rng.standard_normal((n, rank))) for m, n in network.shapes]


def updates(network, seed, size=0.3):
    rng = np.random.default_rng(seed)
    return [size * rng.standard_normal(shape) for shape in network.shapes]


def rows_of_logits(model, family, batch):
    """Return the logits of the tokens whose label counts, and these labels, by hand."""
    given = {k: v for k, v in batch.items() if k != "labels"} if family != "T5" else batch
    logits, labels = model(**given).logits, batch["labels"]
    if family not in ("Bert", "T5"):
        logits, labels = logits[:, :-1], labels[:, 1:]
    return logits[labels != -100], labels[labels != -100]


class Dense(MultiObjective):
    """The mean cross-entropy of ``z0 + sum_l J_l vec(X_l)``, of Jacobians that are kept as matrices."""

    convex, lower_bound = True, 0.0

    def __init__(self, shapes, z0, jacobians, labels):
        self.shapes, self.z0, self.jacobians, self.labels = shapes, z0, jacobians, labels

    def outputs(self, X):
        return self.z0 + sum(np.tensordot(J, x, 2) for J, x in zip(self.jacobians, X))

    def value_and_grad(self, X):
        z, rows = self.outputs(X), np.arange(len(self.labels))
        slope = softmax(z, axis=1)
        slope[rows, self.labels] -= 1.0
        f = float(-log_softmax(z, axis=1)[rows, self.labels].mean())
        return f, tuple(np.tensordot(slope, J, ((0, 1), (0, 1))) / len(rows) for J in self.jacobians)


def dense(model, family, network, at, batches):
    """Return the tangent problem by the rows of the Jacobian, one backward pass each, in the merged model."""
    own = model.double().eval()
    with torch.no_grad():
        for layer, (A, B) in zip(network.layers, at):
            layer.lora_B.copy_(torch.as_tensor(A))
            layer.lora_A.copy_(torch.as_tensor(B.T.copy()))
        for layer in network.layers:
            layer.lora_B.requires_grad_(False)
            layer.lora_A.requires_grad_(False)
    weights = [layer.module.weight.requires_grad_() for layer in network.layers]
    values, rows, targets = [], [[] for _ in weights], []
    for batch in batches:
        z, labels = rows_of_logits(own, family, batch)
        values.append(z.detach().numpy())
        targets.append(labels.numpy())
        for entry in z.flatten():
            for found, layer, g in zip(rows, network.layers, torch.autograd.grad(entry, weights, retain_graph=True)):
                found.append(layer.scale * layer.as_matrix(g).numpy())
    z, labels = np.concatenate(values), np.concatenate(targets)
    jacobians = [np.array(part).reshape(*z.shape, *shape) for part, shape in zip(rows, network.shapes)]
    X = [A @ B.T for A, B in at]
    return Dense(network.shapes, z - sum(np.tensordot(J, x, 2) for J, x in zip(jacobians, X)), jacobians, labels)


# ---------------------------------------------------------------------- value, gradient, curvature
@pytest.mark.parametrize("family", ["GPT2", "Llama", "Mistral", "Qwen2", "T5", "Bert"])
def test_the_linearisation_of_a_language_model_is_that_of_its_jacobian(family):
    model, batches = language_model(family).double(), sentences()
    network = Network(model, CrossEntropy(), batches)
    at = factors(network)
    found, expected = LinearizedNetwork(network, at), dense(model, family, network, at, batches)
    # The other families have norms that cast to float32, where nothing keeps them from it.
    near = 1e-10 if family in ("GPT2", "Bert") else 1e-6
    for X in ([A @ B.T for A, B in at], updates(network, 2), updates(network, 3, 3.0)):
        (f, G), (value, slopes) = found.value_and_grad(X), expected.value_and_grad(X)
        assert f == pytest.approx(value, rel=near)
        size = max(np.abs(g).max() for g in slopes)
        for g, slope in zip(G, slopes):
            np.testing.assert_allclose(g, slope, atol=10.0 * near * size)
        # The Hessian of a mean of log-sum-exp's: J^T (diag p - p p^T) J / N.
        D = updates(network, 4, 1.0)
        dz = sum(np.tensordot(J, d, 2) for J, d in zip(expected.jacobians, D))
        p = softmax(expected.outputs(X), axis=1)
        bent = p * (dz - (p * dz).sum(1, keepdims=True)) / len(p)
        products = [np.tensordot(bent, J, ((0, 1), (0, 1))) for J in expected.jacobians]
        size = max(np.abs(h).max() for h in products)
        for h, product in zip(found.hessian_product(X, D), products):
            np.testing.assert_allclose(h, product, atol=100.0 * near * size)
    f, G = network.value_and_gradients(at)
    value, slopes = found.value_and_grad([A @ B.T for A, B in at])
    assert value == pytest.approx(f, rel=1e-12)
    for g, slope in zip(G, slopes):
        np.testing.assert_allclose(slope, g, atol=1e-12 * max(1.0, np.abs(g).max()))


@pytest.mark.parametrize("family", ["GPT2", "Bert"])
def test_the_solved_tangent_problem_of_a_language_model_is_that_of_its_jacobian(family):
    """The optimum by another route, proximal steps on the dense Jacobian, and by the conditions for it."""
    model, batches, lam = language_model(family, ["c_attn" if family == "GPT2" else "value"]).double(), sentences(), 0.1
    network = Network(model, CrossEntropy(), batches)
    at = factors(network)
    solved = solve_tangent(LinearizedNetwork(network, at), at, lam)
    problem = dense(model, family, network, at, batches)
    expected = ls.solve_convex(MultiProblem(problem, 1, lam), route="prox", tol=1e-6)
    assert expected.success and solved.own_gap < 1e-6
    assert solved.value == pytest.approx(expected.fun, rel=2e-6)
    # Fenchel at the solution: -G/lam is in the dual ball and its product with X is the nuclear norm.
    X = [A @ B.T for A, B in zip(solved.A, solved.B)]
    f, G = problem.value_and_grad(X)
    nuclear = sum(np.linalg.norm(x, "nuc") for x in X)
    assert solved.value == pytest.approx(f + lam * nuclear, rel=1e-9)
    assert max(np.linalg.norm(g, 2) for g in G) < lam * (1.0 + 1e-3)
    assert joint_inner(G, X) == pytest.approx(-lam * nuclear, rel=1e-3)
    here = problem.value_and_grad([A @ B.T for A, B in at])[0] + lam * sum(
        np.linalg.norm(A @ B.T, "nuc") for A, B in at
    )
    np.testing.assert_allclose(solved.F, here, rtol=1e-10)
    assert here - expected.fun <= solved.gap * (1.0 + 1e-9) <= here - expected.fun + 1e-6 * here


def test_what_labels_of_minus_100_hide_is_no_part_of_the_tangent_problem():
    model, batches = language_model("Llama"), sentences()
    others = [batch | {"input_ids": batch["input_ids"].clone()} for batch in batches]
    others[1]["input_ids"][-1, 4:] = 5  # padding, at the end and masked
    one, two = (Network(model, CrossEntropy(), data) for data in (batches, others))
    at, X = factors(one), updates(one, 2)
    (f, G), (value, slopes) = (LinearizedNetwork(each, at).value_and_grad(X) for each in (one, two))
    assert f == pytest.approx(value, rel=1e-12)
    for g, slope in zip(G, slopes):
        np.testing.assert_allclose(g, slope, atol=1e-12)


class Rows(torch.nn.Module):
    """One row of outputs a sample, of two adapted layers."""

    def __init__(self, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = LoRALinear(6, 7, 2, 2.0), LoRALinear(7, outputs, 2, 0.5)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x))).mean(1)


def rows(outputs=3, kind="softmax", n=20):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, 6, generator=generator)
    y = torch.randint(0, outputs, (n,), generator=generator)
    y = y if kind == "softmax" else torch.randn(n, outputs, generator=generator)
    return [(x[:8], y[:8]), (x[8:], y[8:])]


@pytest.mark.parametrize("loss", [CrossEntropy, SquareLoss])
def test_tokens_and_derivatives_are_one_problem(loss):
    network = Network(Rows(), loss(), rows(kind=loss.kind))
    at = factors(network)
    tokens, found = linearize(network, at), LinearizedNetwork(network, at)
    for X in ([A @ B.T for A, B in at], updates(network, 2), updates(network, 3, 2.0)):
        D = updates(network, 4)
        (f, G), (value, slopes) = found.value_and_grad(X), tokens.value_and_grad(X)
        assert f == pytest.approx(value, rel=1e-12)
        products = zip(found.hessian_product(X, D), tokens.hessian_product(X, D))
        for ours, theirs in (*zip(G, slopes), *products):
            np.testing.assert_allclose(ours, theirs, atol=1e-12 * max(1.0, np.abs(theirs).max()))
    one, two = (solve_tangent(problem, at, 0.02) for problem in (tokens, found))
    assert one.value == pytest.approx(two.value, rel=3e-7)
    np.testing.assert_allclose(one.F, two.F, rtol=1e-12)
    assert found.sampled_smoothness(at) == pytest.approx(tokens.sampled_smoothness(at), rel=0.3)


class PlacesFirst(Rows):
    """The same network, which sees its tokens place by place and not sample by sample, as XLNet and Longformer do."""

    def forward(self, x):
        return self.second(torch.tanh(self.first(x.transpose(0, 1)))).mean(0)


def test_where_there_is_no_token_form_derivatives_serve_the_verdict():
    """It was refused. The tangent problem is that of the network with the token form."""
    plain, other = Rows(), PlacesFirst()
    for layer in (plain.first, plain.second):
        torch.nn.init.normal_(layer.lora_B, std=0.3)
    other.load_state_dict(plain.state_dict())
    network = Network(other, CrossEntropy(), rows())
    with pytest.raises(ValueError, match="the first axis has to be that of the samples"):
        linearize(network, network.point)
    one, two = (judge(model, CrossEntropy(), rows(), 0.02, tangent_solve=True).solved for model in (plain, other))
    np.testing.assert_allclose(one.F, two.F, rtol=1e-12)
    assert abs(one.value - two.value) <= (one.own_gap + two.own_gap) * one.F
    assert abs(one.gap - two.gap) <= (one.own_gap + two.own_gap) * one.F


def test_without_room_for_the_tokens_the_network_is_asked_itself(monkeypatch):
    model, batches = Rows(), rows()
    fine_tune(model, CrossEntropy(), batches, 0.02, max_calls=60)
    with_tokens = judge(model, CrossEntropy(), batches, 0.02, tangent_solve=True).solved
    network = Network(model, CrossEntropy(), batches)
    measured = linearity(network, 0.02)
    monkeypatch.setattr(sys.modules["lorasolve.networks.linearize"], "MEMORY", 10.0)
    without = judge(model, CrossEntropy(), batches, 0.02, tangent_solve=True).solved
    known = with_tokens.own_gap + without.own_gap
    assert without.value == pytest.approx(with_tokens.value, rel=known)
    assert without.relative_gap == pytest.approx(with_tokens.relative_gap, abs=known)
    assert linearity(network, 0.02).index == pytest.approx(measured.index, abs=1e-3)


def test_a_time_limit_leaves_what_is_known_of_the_tangent_problem():
    model = Rows()
    torch.nn.init.normal_(model.first.lora_B, std=0.3)
    whole, at_once = (
        judge(model, CrossEntropy(), rows(), 0.02, tangent_solve=True, time_limit=limit) for limit in (None, 1e-6)
    )
    assert whole.solved.success and "tangent problem solved: gap" in str(whole)
    assert not at_once.solved.success and "tangent problem solved in part: gap" in str(at_once)
    assert whole.solved.gap <= at_once.solved.gap and whole.relative_gap <= at_once.relative_gap < np.inf
    with pytest.raises(ValueError, match="time_limit: expected None without tangent_solve=True, got 5"):
        judge(model, CrossEntropy(), rows(), 0.02, time_limit=5)
    for wrong in (0.0, math.nan):  # no time left, and a limit that never ends anything
        with pytest.raises(ValueError, match=r"^time_limit: expected"):
            judge(model, CrossEntropy(), rows(), 0.02, tangent_solve=True, time_limit=wrong)


# ---------------------------------------------------------------------- verdicts
@pytest.fixture(scope="module")
def on_its_way():
    """The weight of the penalty of a language model's run, and its verdicts after a few steps and after more."""
    model, lam = language_model("GPT2", ["c_attn"]), 0.1
    verdicts = [
        fine_tune(model, CrossEntropy(), sentences(), lam, max_calls=calls, tangent_solve=True).verdict
        for calls in (4, 100)
    ]
    return model, lam, verdicts


def test_a_language_model_is_told_what_is_left_to_gain_where_it_is_not_stationary_too(on_its_way):
    """What the solution gains is tried in the network along a short step."""
    (model, lam, verdicts), batches = on_its_way, sentences()
    for verdict, kinds in zip(verdicts, (["not_converged"], ["not_converged", "rank_too_small"])):
        assert verdict.kind in kinds
        solved = verdict.solved
        np.testing.assert_allclose(solved.F, verdict.F, rtol=1e-12)
        assert 0.0 <= solved.gap <= verdict.certificate.gap + 1e-7
        assert verdict.relative_gap == solved.relative_gap
        assert "tangent problem solved: gap" in str(verdict)
        if verdict.kind == "rank_too_small":
            assert "In the network linearised here updates of every rank gain at most" in verdict.reason
        # The tangent problem is convex and touches the network's objective: its slope towards the optimum is the gain
        # at least.
        network = Network(model, CrossEntropy(), batches)
        ends = [A @ B.T for A, B in zip(solved.A, solved.B)]
        here = [A @ B.T for A, B in verdict.factors]
        t = 1e-4

        def value(X, network=network):
            return network.value_and_grad(X)[0] + lam * sum(np.linalg.norm(x, "nuc") for x in X)

        gained = value(here) - value([x + t * (y - x) for x, y in zip(here, ends)])
        assert gained >= t * (solved.F - solved.value) - 1e-3 * t


def test_a_gap_that_is_solved_decides_what_is_loud(on_its_way):
    """The bound from one gradient is above a tenth of F here, and what the tangent problem has to give is not."""
    model, lam, (_, end) = on_its_way
    alone = judge(model, CrossEntropy(), sentences(), lam)
    assert alone.kind == "loud" and end.solved.relative_gap < 0.1 < alone.relative_gap
    assert end.kind == "not_converged"


@pytest.mark.parametrize(("stated", "taken"), [(-1.0, -1.0), (0.0, 0.0), (0.5, 0.0), (None, 0.0)])
def test_linearised_outputs_may_have_losses_below_those_of_the_network(stated, taken):
    network = Network(Rows(), CrossEntropy(), rows(), lower_bound=stated)
    assert LinearizedNetwork(network, factors(network)).facts.lower_bound == taken


def test_without_a_penalty_nothing_is_solved():
    verdict = judge(language_model("GPT2"), CrossEntropy(), sentences(), 0.02, lam_kind="decoupled", tangent_solve=True)
    assert verdict.solved is None


class Doubled(torch.autograd.Function):
    """Twice its argument, with a derivative that is right and has none itself."""

    @staticmethod
    def forward(ctx, x):
        return 2.0 * x

    @staticmethod
    def backward(ctx, slope):
        with torch.no_grad():
            return 2.0 * slope.detach()


class DoubledOnce(Doubled):
    """The same, and says so."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2.0 * slope


class Refusing(Doubled):
    """The same, and refuses to have one."""

    @staticmethod
    def backward(ctx, slope):
        if torch.is_grad_enabled():
            raise NotImplementedError("not twice")
        return 2.0 * slope


class ByHand(Rows):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.second(torch.tanh(self.function.apply(self.first(x))))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (Doubled, "forwards and backwards differ by"),
        (DoubledOnce, "forwards and backwards differ by"),
        (Refusing, "have no derivative along a step of the weights: not twice"),
    ],
)
def test_a_network_without_derivatives_along_a_direction_is_refused(function, words):
    model, batches = ByHand(function), [(x, y[:, None].expand(-1, 4)) for x, y in rows()]
    for unit in (1.0, 1e-9):
        network = Network(model, CrossEntropy(lambda m, b, unit=unit: unit * m(b[0])), batches)
        with pytest.raises(ValueError, match=words):
            LinearizedNetwork(network, factors(network))
    # What only shows after the training does not lose it.
    end = fine_tune(model, CrossEntropy(), batches, 0.02, max_calls=30, tangent_solve=True).verdict
    assert end.solved is None and words in end.premises[-1]


def test_a_network_below_a_head_of_zeros_is_linearised_as_the_constant_that_it_is():
    network = Network(Rows(), CrossEntropy(lambda m, b: 0.0 * m(b[0])), rows())
    tangent = LinearizedNetwork(network, factors(network))
    value, gradients = tangent.value_and_grad(updates(network, 3))
    assert value == pytest.approx(math.log(3.0), rel=1e-14) and not any(g.any() for g in gradients)


def test_a_network_that_is_not_linearised_is_no_tangent_problem():
    network = Network(Rows(), CrossEntropy(), rows())
    with pytest.raises(ValueError, match="ntk: expected a linearised network, which is convex in the updates, got Net"):
        solve_tangent(network, factors(network), 0.02)
    with pytest.raises(TypeError, match="network: expected a Network"):
        LinearizedNetwork(Rows(), factors(network))
    with pytest.raises(ValueError, match="factors: expected factors of updates of shapes"):
        LinearizedNetwork(network, factors(network)[:1])
    tangent, X = LinearizedNetwork(network, factors(network)), updates(network, 2)
    for wrong in ([1.0, 1.0], X[:1], [x.T for x in X]):
        with pytest.raises(ValueError, match="X: expected matrices of shapes"):
            tangent.value_and_grad(wrong)
        with pytest.raises(ValueError, match="D: expected matrices of shapes"):
            tangent.hessian_product(X, wrong)


def test_a_batch_without_labels_adds_nothing_to_the_tangent_problem():
    model, batches = language_model("Qwen2"), sentences()
    unlabelled = batches[0] | {"labels": torch.full_like(batches[0]["labels"], -100)}
    one, two = (Network(model, CrossEntropy(), given) for given in (batches, [*batches, unlabelled]))
    at, X = factors(one), updates(one, 2)
    (f, G), (value, slopes) = (LinearizedNetwork(each, at).value_and_grad(X) for each in (one, two))
    assert f == value
    for g, slope in zip(G, slopes):
        np.testing.assert_array_equal(g, slope)


class Together(torch.nn.Module):
    """Samples of a batch interact, and a table of positions is shared by them all."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.places, self.inner = torch.nn.Embedding(4, 6), torch.nn.Linear(6, 5)
        self.head = torch.nn.Linear(5, 3)

    def forward(self, x):
        hidden = torch.tanh(self.inner(x + self.places(torch.arange(4))))
        return self.head((hidden - hidden.mean(0)) / hidden.std(0))


def test_what_has_no_token_form_has_derivatives_all_the_same():
    """Against differences of the network's own gradient and of values of the linearisation."""
    batches = [(x, y[:, None].expand(-1, 4)) for x, y in rows()]
    network = Network(Together(), CrossEntropy(), batches, layers=("places", "inner"))
    at = factors(network)
    found, X, D = LinearizedNetwork(network, at), [A @ B.T for A, B in at], updates(network, 2, 1.0)
    f, G = network.value_and_gradients(at)
    value, slopes = found.value_and_grad(X)
    np.testing.assert_allclose(value, f, rtol=1e-12)
    for g, slope in zip(G, slopes):
        np.testing.assert_allclose(slope, g, atol=1e-12)
    there, h = updates(network, 3, 1.0), 1e-5
    ahead, behind = (found.value_and_grad([x + t * d for x, d in zip(there, D)])[0] for t in (h, -h))
    assert joint_inner(found.value_and_grad(there)[1], D) == pytest.approx((ahead - behind) / (2.0 * h), rel=1e-6)
    # Of the outputs themselves: their difference quotient in the network.
    model, (x, _) = network.model.double(), batches[0]
    weights = [layer.module.weight.detach().clone() for layer in network.layers]

    def outputs(t):
        with torch.no_grad():
            for layer, W, point, d in zip(network.layers, weights, X, D):
                layer.module.weight.copy_(W + torch.as_tensor(np.array(layer.as_weight(point + t * d))))
            return model(x.double()).numpy()

    quotient = (outputs(h) - outputs(-h)) / (2.0 * h)
    _, derivatives = next(found._derivatives())
    np.testing.assert_allclose(derivatives.ahead(network.steps(D)).numpy(), quotient, atol=1e-7)


def test_the_example_of_a_language_model_sharpens_its_gap(capsys):
    examples = pathlib.Path(__file__).parents[2] / "examples"
    ((alone, solved),) = runpy.run_path(str(examples / "language_model.py"))["run"](quick=True)
    # The same point; what the tangent problem gains is never more than one gradient bounds.
    assert pytest.approx(solved.F, rel=1e-12) == alone.F
    assert 0.0 <= solved.solved.relative_gap <= alone.relative_gap
    assert capsys.readouterr().out.count("\n") == 2


def test_the_network_is_passed_once_where_memory_allows_and_its_linearisation_is_the_same(monkeypatch):
    """Its outputs at the point are the same in every evaluation, of which a solve takes hundreds."""
    model = language_model("GPT2")
    network = Network(model, CrossEntropy(), sentences())
    at, X, D = factors(network), updates(network, 1), updates(network, 2)
    kept = LinearizedNetwork(network, at)
    again = copy.deepcopy(kept)
    monkeypatch.setattr(linearize_module, "MEMORY", 0.0)
    passed = LinearizedNetwork(network, at)
    calls, expected = [], None
    for each in (passed, kept, again):
        count = len(calls)
        hook = each.network.model.register_forward_hook(lambda *_: calls.append(1))
        f, G = each.value_and_grad(X)
        answers = (f, *G, *each.hessian_product(X, D))
        hook.remove()
        assert len(calls) - count == (0 if each is kept else 4)  # two batches, twice
        expected = expected or answers
        for mine, other in zip(answers, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9)


class Concave(CrossEntropy):
    """A loss that only states to be convex in the outputs."""

    def of_outputs(self, z, targets):
        return 2.0 + torch.cos(z).sum(1)


class Stating(LinearizedNetwork):
    """Says nothing of what it evaluates itself."""


def test_what_is_known_of_a_linearised_network_is_not_tested_and_what_is_stated_is(monkeypatch):
    """Affine outputs that are kept, and a loss of a known class; two thirds of all evaluations were tests of that."""
    model = Rows()
    network = Network(model, CrossEntropy(), rows())
    known = LinearizedNetwork(network, network.point)
    problem, zero = MultiProblem(known, 2, 0.1), [np.zeros(shape) for shape in network.shapes]
    assert not any("spot-checked" in text for text in ls.certify(problem, zero).assumptions)
    stating = Stating(network, network.point)
    monkeypatch.setattr(linearize_module, "MEMORY", 0.0)
    asked = LinearizedNetwork(network, network.point)  # the network is, in every evaluation
    for loss in (stating, asked, copy.deepcopy(known)):
        certificate = ls.certify(MultiProblem(loss, 2, 0.1), zero)
        assert any("spot-checked" in text for text in certificate.assumptions)
        assert certificate.value == pytest.approx(ls.certify(problem, zero).value, rel=1e-12)
    monkeypatch.undo()
    wrong = Network(model, Concave(), rows())
    wrong = ls.certify(MultiProblem(LinearizedNetwork(wrong, wrong.point), 2, 0.1), zero)
    assert wrong.is_global is None and "spot-checked" in wrong.assumptions[0]
    with torch.no_grad():
        model.first.linear.weight.mul_(1.5)  # what was kept is another network's
    known.value_and_grad(zero)
    assert any("spot-checked" in text for text in ls.certify(problem, zero).assumptions)
