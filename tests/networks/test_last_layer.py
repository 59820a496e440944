"""Where the problem of a network is convex: its last layer. Skipped without torch."""

from __future__ import annotations

import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Dead, Last, data, last_with  # noqa: E402

import lorasolve as ls  # noqa: E402
from lorasolve.networks import CrossEntropy, SquareLoss, features, fine_tune, judge  # noqa: E402
from lorasolve.networks._affine import is_affine  # noqa: E402

torch.set_num_threads(1)


class Wide(torch.nn.Module):
    """A head of two classes whose factors have eight columns, over frozen features or over another such layer."""

    def __init__(self, hidden=False):
        super().__init__()
        torch.manual_seed(3)
        self.first = LoRALinear(5, 4, 9, 1.0) if hidden else torch.nn.Linear(5, 4).requires_grad_(False)
        self.head = LoRALinear(4, 2, 8, 0.5)
        self.head.linear.bias.data.zero_()

    def forward(self, x):
        return self.head(torch.tanh(self.first(x)))


def halves(n=40):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 5, generator=generator)
    return [(x, (x[:, 0] + 0.3 * torch.randn(n, generator=generator) > 0).long())]


def test_with_more_columns_than_a_layer_has_rows_the_head_trains_to_the_optimum_of_the_convex_problem():
    model, batches = Wide(), halves()
    Z = torch.tanh(model.first(batches[0][0])).detach().double().numpy()
    head = ls.objectives.Softmax(model.head.linear.weight.double().numpy(), Z.T, batches[0][1].numpy())
    # In the scaled update the decay is lam over the scaling.
    optimum = ls.solve_convex(ls.Problem(head, 2, LAM / 0.5)).fun
    end = fine_tune(model, CrossEntropy(), batches, LAM, max_calls=500)
    assert end.verdict.kind == "global"
    assert pytest.approx(optimum, rel=1e-6) == end.verdict.F
    assert [(A.shape, B.shape) for A, B in end.factors] == [((2, 8), (4, 8))]
    assert not model.head.lora_B[:, 2:].any() and not model.head.lora_A[2:].any()
    other = Wide()
    torch.nn.init.ones_(other.head.lora_B)
    fine_tune(other, CrossEntropy(), batches, LAM, max_calls=500)
    assert not other.head.lora_B[:, 2:].any() and judge(other, CrossEntropy(), batches, LAM).kind == "global"
    assert judge(model, CrossEntropy(), batches, LAM).kind == "global"
    given = ([np.ones((2, 8))], [np.ones((4, 8))])
    again = fine_tune(model, CrossEntropy(), batches, LAM, init=given, max_calls=1)
    start = judge(model, CrossEntropy(), batches, LAM, factors=[(np.ones((2, 8)), np.ones((4, 8)))])
    assert again.result.trace.value[0] == pytest.approx(start.certificate.L, rel=1e-12)
    best = fine_tune(model, CrossEntropy(), batches, LAM, init=end.factors, max_calls=1)
    assert best.result.trace.value[0] == pytest.approx(end.verdict.certificate.L, rel=1e-12)


def test_a_point_with_more_columns_than_a_layer_has_rows_is_judged_as_the_same_with_fewer():
    model, batches = Wide(hidden=True), halves()
    end = fine_tune(model, CrossEntropy(), batches, 0.05, max_calls=800)
    few = [(A[:, : min(len(A), len(B))], B[:, : min(len(A), len(B))]) for A, B in end.factors]
    rng = np.random.default_rng(0)
    turned = []
    for (A, B), columns in zip(few, (9, 8)):
        turn = np.linalg.qr(rng.standard_normal((columns, A.shape[1])))[0].T
        turned.append((A @ turn, B @ turn))
    settings = {"second": True, "others": [[(0.0 * A, 0.0 * B) for A, B in few]]}
    one, many = (judge(model, CrossEntropy(), batches, 0.05, factors=at, **settings) for at in (few, turned))
    assert (many.kind, many.better) == (one.kind, one.better)
    assert pytest.approx(one.certificate.L, rel=1e-12) == many.certificate.L
    assert many.second.smallest == pytest.approx(one.second.smallest, rel=1e-6)
    assert [layer.max_rank for layer in many.certificate.layers] == [9, 8]


def test_the_last_layer_is_global_and_agrees_with_the_convex_objective():
    batches = data(60, 6)
    model = Last(6)
    lam = 0.02
    best = fine_tune(model, CrossEntropy(), batches, lam, max_calls=800, tol=1e-6)
    assert best.verdict.kind == "global", str(best.verdict)
    (layer,) = best.verdict.certificate.layers
    assert 1 < layer.rank < 6
    rows = features(model, batches, embed=lambda net, b: torch.tanh(net.body(b[0]).mean(1)))
    W0, shift = (part.detach().double().numpy() for part in (model.out.linear.weight, model.out.linear.bias))
    labels = np.concatenate([y.numpy() for _, y in batches])
    objective = ls.objectives.Softmax(np.c_[W0, shift], np.vstack([rows.Z, np.ones(60)]), labels)
    A, B = best.factors[0]
    f, G = objective.value_and_grad(A @ np.vstack([B, np.zeros((1, 6))]).T)
    assert f == pytest.approx(best.verdict.certificate.f, rel=1e-12)
    np.testing.assert_allclose(G[:, :-1], best.verdict.certificate.gradients[0], atol=1e-12)
    small = fine_tune(Last(1), CrossEntropy(), batches, lam, max_calls=800)
    assert small.verdict.kind == "rank_too_small", str(small.verdict)


@pytest.mark.parametrize("seed", range(4))
def test_in_float32_a_linear_model_is_global_within_what_is_said(seed):
    torch.manual_seed(seed)
    model = torch.nn.Linear(6, 4, bias=False)
    x, y = torch.randn(40, 6), torch.randint(0, 4, (40,))
    tuned = fine_tune(torch.nn.Sequential(model), CrossEntropy(), [(x, y)], LAM, rank=4, layers="0", max_calls=400)
    verdict = judge(
        torch.nn.Sequential(model), CrossEntropy(), [(x, y)], LAM, layers="0", factors=tuned.factors, dtype="float32"
    )
    assert verdict.kind == "global", str(verdict)
    # The same problem without torch, in float64.
    W0 = model.weight.detach().double().numpy()
    problem = ls.Problem(ls.objectives.Softmax(W0, x.double().numpy().T, y.numpy()), 4, LAM)
    (A, B), best = tuned.factors[0], ls.solve_convex(problem, tol=1e-10)
    assert problem.convex_value(A @ B.T) - best.fun <= verdict.convex.gap <= 1e-3 * best.fun
    # Eight units in the last place of the value are allowed for, in both certificates.
    least = 8.0 * float(np.finfo(np.float32).eps) * verdict.certificate.f
    assert min(verdict.convex.gap, verdict.certificate.gap) >= least


def test_features_make_the_head_of_a_plain_network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
    x, y = torch.randn(30, 6), torch.randint(0, 4, (30,))
    head = features(model, [(x[:20], y[:20]), (x[20:], y[20:])])
    logits = model.double()(x.double())
    f, _ = head.value_and_grad(np.zeros(head.shape))
    assert f == pytest.approx(float(torch.nn.functional.cross_entropy(logits, y).detach()), rel=1e-6)
    solved = ls.solve_convex(ls.Problem(head, 3, 0.05))
    assert solved.certificate.is_global
    # As many rows as labels in all are still rows of other samples.
    shifted = [(x[:20], y[:15]), (x[20:], y[15:])]
    for batches, change in (([(x, y)], lambda rows: rows[None]), (shifted, lambda rows: rows)):
        with pytest.raises(ValueError, match="one row a sample"):
            features(model, batches, embed=lambda net, b, change=change: change(b[0]))
    # The answers of such samples do not say that the last linear layer is not the head.
    x[23, 2] = torch.nan
    with pytest.raises(ValueError, match=r"features: expected finite numbers, .* of sample 23 \(from 0\)"):
        features(model, [(x[:20], y[:20]), (x[20:], y[20:])])


def test_features_refuse_a_network_whose_own_loss_is_another():
    class Weighted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = torch.nn.Linear(5, 2)

        def forward(self, x, labels=None):
            logits = self.out(x)
            weight = torch.tensor([1.0, 3.0], dtype=logits.dtype)
            loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels, weight)
            return types.SimpleNamespace(loss=loss, logits=logits)

    class PassedOn(Weighted):
        def forward(self, x, **rest):
            return super().forward(x, **rest)

    batch = {"x": torch.randn(8, 5), "labels": torch.arange(8) % 2}
    for kind in (Weighted, PassedOn):
        with pytest.raises(ValueError, match="expected the mean of CrossEntropy to be the model's own loss"):
            features(kind(), [batch])
    with pytest.raises(ValueError, match="expected the mean of CrossEntropy to be the model's own loss"):
        features(Weighted().requires_grad_(False), [batch])
    one_class = batch | {"labels": torch.zeros(8, dtype=torch.int64)}
    with pytest.raises(ValueError, match="expected the mean of CrossEntropy to be the model's own loss on each batch"):
        features(Weighted(), [one_class, batch])
    assert features(Weighted(), [batch], labels=lambda b: b["labels"]).shape == (2, 6)
    # Of one class the weighted mean is the plain one, also where nothing is to be trained.
    assert features(Weighted().requires_grad_(False), [one_class]).shape == (2, 6)


def test_features_refuse_a_network_that_does_not_end_in_its_last_linear_layer():
    class Scaled(torch.nn.Sequential):
        def forward(self, x):
            return 10.0 * super().forward(x)

    class Beside(torch.nn.Module):
        """LoRA of linear layers, as PEFT has it: what runs last is the factor, not the head."""

        def __init__(self):
            super().__init__()
            self.base_layer = torch.nn.Linear(8, 4)
            self.lora_A, self.lora_B = torch.nn.Linear(8, 2, bias=False), torch.nn.Linear(2, 4, bias=False)

        def forward(self, x):
            return self.base_layer(x) + self.lora_B(self.lora_A(x))

    class Unnamed(torch.nn.Module):
        """A head that is a matrix, after a linear layer of as many outputs."""

        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(6, 4), torch.nn.Parameter(torch.eye(4))

        def forward(self, x):
            return torch.relu(self.body(x)) @ self.head

    torch.manual_seed(0)
    x, y = torch.randn(30, 6), torch.randint(0, 4, (30,))
    body = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh())
    pooler = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8))
    folded = torch.nn.Sequential(body, torch.nn.Linear(8, 4), torch.nn.Unflatten(1, (2, 2)))
    for model in (Scaled(body, torch.nn.Linear(8, 4)), torch.nn.Sequential(body, Beside()), Unnamed(), pooler, folded):
        with pytest.raises(ValueError, match="its outputs are not those of its last linear layer") as refused:
            features(model, [(x, y)])
        assert ("That is the LoRA layer 1:" in str(refused.value)) == (Beside in map(type, model.children()))
    # A softmax after the layer changes the loss too; without a bias, in float32, the head is found.
    plain = torch.nn.Sequential(body, torch.nn.Linear(8, 4, bias=False))
    with pytest.raises(ValueError, match="last linear layer"):
        features(torch.nn.Sequential(plain, torch.nn.Softmax(1)), [(x, y)])
    found = features(plain, [(x, y)], dtype="float32").value_and_grad(np.zeros((4, 8)))[0]
    assert found == pytest.approx(float(torch.nn.functional.cross_entropy(plain(x), y).detach()), rel=1e-5)


def test_two_adapted_layers_in_a_row_are_never_called_global():
    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = LoRALinear(6, 5, 2), LoRALinear(5, 3, 2)

        def forward(self, x):
            return self.second(self.first(x.mean(1)))

    verdict = fine_tune(Deep(), CrossEntropy(), data(), 0.05, max_calls=600).verdict
    assert verdict.convex is None and verdict.kind != "global"


@pytest.mark.parametrize("bend", [torch.tanh, lambda z: z * z, lambda z: z * z.detach(), lambda z: z / z.norm()])
def test_outputs_that_bend_are_never_called_global(bend):
    """Also where the graph cannot show it: a detached factor is left to the certificate's spot checks."""

    class Bent(Last):
        def forward(self, x):
            return bend(super().forward(x))

    model = Bent(6)
    torch.nn.init.normal_(model.out.lora_B, std=0.3)
    start = fine_tune(model, CrossEntropy(), data(60, 6), 0.02, max_calls=150)
    assert start.verdict.kind != "global", str(start.verdict)
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    assert judge(model, CrossEntropy(), data(60, 6), 5.0, factors=nothing).kind != "global"


MASKS = {
    "a ReLU by hand": lambda z: z * (z > 0),
    "a gathered maximum": lambda z: z[torch.arange(len(z))[:, None], z.argsort(1)],
    "a detached factor": lambda z: z * z.detach(),
    "a clamped scale": lambda z: z * float(z.detach().abs().max().clamp(1.0, 2.0)),
    "a branch that leaves torch": lambda z: z * (1.0 if z.tolist()[0][0] > -1e6 else 2.0),
    "indices that are outputs": lambda z: z + torch.arange(6.0, dtype=z.dtype)[z.detach().argmax(1)][:, None],
}


@pytest.mark.parametrize("name", MASKS)
def test_what_is_chosen_by_the_weights_is_not_affine_in_them(name):
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    verdict = judge(last_with(MASKS[name]), CrossEntropy(), data(60, 6), 5.0, factors=nothing)
    assert verdict.convex is None and verdict.kind != "global"


def test_fixed_masks_and_indices_leave_the_outputs_affine():
    mask, order = torch.linspace(0.5, 2.0, 6, dtype=torch.float64), torch.tensor([3, 1, 0, 2, 5, 4])
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    for bend in (lambda z: z, lambda z: z * mask, lambda z: z[:, order], lambda z: -2.0 * z[:, :6] + mask):
        assert judge(last_with(bend), CrossEntropy(), data(60, 6), 5.0, factors=nothing).kind == "global"


def test_a_dead_hand_written_relu_is_not_global():
    """At X = 0 no gradient is left, and a point that fits all labels is found by hand."""

    x = torch.ones(20, 3, dtype=torch.float64)
    batches = [(x, torch.ones(20, 1, dtype=torch.float64))]

    class DeadInTorch(Dead):
        def forward(self, x):
            return torch.relu(self.layer(x))

    for dead in (Dead(), DeadInTorch()):
        verdict = judge(dead, SquareLoss(), batches, 1e-3, factors=[(np.zeros((1, 1)), np.zeros((3, 1)))])
        assert verdict.kind != "global" and verdict.convex is None
    # With X = 5/3 in each entry the output is -1 + 3 (5/3 - 1) = 1, the label, and F = lam ||X||.
    better = [(np.ones((1, 1)), np.full((3, 1), 5.0 / 3.0))]
    refuted = judge(
        Dead(), SquareLoss(), batches, 1e-3, factors=[(np.zeros((1, 1)), np.zeros((3, 1)))], others=[better]
    )
    assert refuted.kind == "refuted" and refuted.better == pytest.approx(1e-3 * 5.0 / 3.0**0.5, rel=1e-12)


AFFINE = {
    "a product": (lambda W, x: x @ W.T, True),
    "a sum with what is fixed": (lambda W, x: x @ W.T + 1.0 - x.sum(), True),
    "chosen entries": (lambda W, x: W[torch.tensor([1, 0])][:, 1:].sum(), True),
    "a fixed mask": (lambda W, x: W * (x[:2] > 0), True),
    "a mean": (lambda W, x: (W / 3.0).mean(1), True),
    "rows put together": (lambda W, x: torch.cat([W, x, W + x[:2]]), True),
    "rows by number": (lambda W, x: torch.nn.functional.embedding(torch.tensor([1, 0, 1]), W), True),
    "a convolution": (lambda W, x: torch.nn.functional.conv1d(x[None, :2], W[None]), True),
    "a convolution of itself": (lambda W, x: torch.nn.functional.conv1d(W[None], W[None]), False),
    "a division that rounds": (lambda W, x: torch.div(W, 3.0, rounding_mode="floor"), False),
    "what it divides": (lambda W, x: x[:2] / W, False),
    "a square": (lambda W, x: W * W, False),
    "a product of two parts": (lambda W, x: W[0] * W[1], False),
    "a kink that is far away": (lambda W, x: torch.relu(W + 1e6), False),
    "a mask of its own": (lambda W, x: W * (W > -1e6), False),
    "rounding": (lambda W, x: W.to(torch.int64).to(W.dtype) * x[:2], False),
    "a choice by it": (lambda W, x: x[W[:, 0].to(torch.int64)], False),
    "out of sight": (lambda W, x: torch.tensor(W.tolist()) ** 2, False),
    "a choice by its numbers": (lambda W, x: W if W.tolist()[0][0] > -1e6 else 2.0 * W, False),
    "a choice by its numbers in NumPy": (lambda W, x: W if np.asarray(W).min() > -1e6 else 2.0 * W, False),
    "a choice by its numbers in another library": (lambda W, x: W if np.from_dlpack(W).min() > -1e6 else x, False),
    "a choice by its text": (lambda W, x: 2.0 * W if "nan" in str(W) else W, False),
    "the numbers of what is fixed": (lambda W, x: W * x.tolist()[0][0] if x.numpy().any() else W, True),
}


@pytest.mark.parametrize("name", AFFINE)
def test_operations_alone_show_what_is_affine(name):
    """As algebra has it; what is affine where one looks, and not elsewhere, is not affine."""
    outputs, true = AFFINE[name]
    x = torch.linspace(-1.0, 2.0, 12, dtype=torch.float64).reshape(4, 3)
    W = torch.linspace(0.5, 1.5, 6, dtype=torch.float64).reshape(2, 3)
    assert is_affine(lambda weights: outputs(weights[0], x), [W]) is true


def test_every_batch_has_to_be_affine():
    class TwoTasks(Last):
        def forward(self, x, bent=False):
            z = super().forward(x)
            return torch.tanh(z) if bent else z

    (first, labels), (second, others) = data(60, 6)
    loss = CrossEntropy(outputs=lambda model, batch: model(batch["x"], batch["bent"]))
    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    kinds = []
    for bent in (False, True):
        batches = [{"x": first, "bent": False, "labels": labels}, {"x": second, "bent": bent, "labels": others}]
        kinds.append(judge(TwoTasks(6), loss, batches, 5.0, factors=nothing).kind)
    assert kinds == ["global", "tangent_optimal"]


def test_what_leaves_torch_is_caught_far_away():
    def bend(z):
        return z + torch.as_tensor(np.array(z.detach().sum(1, keepdim=True).tolist()) ** 2)

    def unseen(z):
        return z + torch.tensor([[max(0.0, sum(row))] for row in z.tolist()])

    nothing = [(np.zeros((6, 6)), np.zeros((8, 6)))]
    for hidden in (bend, unseen):
        assert judge(last_with(hidden), CrossEntropy(), data(60, 6), 5.0, factors=nothing).kind != "global"
