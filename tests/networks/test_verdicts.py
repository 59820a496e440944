"""Verdicts on networks: tangent optimal, refuted, not converged, inconclusive. Skipped without torch."""

from __future__ import annotations

import json
import math
import re
import types
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Dead, Last, Net, data, factors  # noqa: E402

from lorasolve._support.progress import Progress  # noqa: E402
from lorasolve.multi import MultiProblem  # noqa: E402
from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LayerTokens,
    LinearizedNetwork,
    LoRAMonitor,
    Network,
    OutputLoss,
    SquareLoss,
    TokenNTK,
    _evidence,
    adapted_layers,
    fine_tune,
    judge,
    linearize,
    solve_tangent,
    two_points,
)
from lorasolve.networks.losses import bend_of  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained():
    """A network at a stationary point."""
    model = Net()
    return model, fine_tune(model, CrossEntropy(), data(), LAM, max_calls=600, tangent_solve=True, second=True)


def test_training_ends_tangent_optimal_and_says_what_that_is_not(trained):
    _, best = trained
    verdict = best.verdict
    assert verdict.kind == "tangent_optimal"
    assert verdict.certificate.relative_gap < 1e-4
    assert verdict.solved.relative_gap < 1e-6
    assert verdict.second.is_sosp
    text = str(verdict)
    assert text.index("premises:") < text.index("within")
    assert "linearised at its own trained weights" in verdict.reason
    assert "bounds neither the network's global optimum nor its error on new data" in verdict.reason
    assert json.loads(json.dumps(verdict.to_dict()))["kind"] == "tangent_optimal"


def test_trained_factors_are_in_the_model_and_a_checkpoint_goes_on(trained, tmp_path):
    model, best = trained
    again = judge(model, CrossEntropy(), data(), LAM)
    assert pytest.approx(best.verdict.F, rel=1e-5) == again.F  # float32 parameters
    path = tmp_path / "run.npz"
    first = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=30, checkpoint=path)
    second = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=30, checkpoint=path)
    went_on = f"the run went on from the factors in {path}"
    assert went_on in str(second) and went_on not in str(first)
    assert second.result.fun < first.result.fun
    with pytest.raises(ValueError, match="another problem"):
        fine_tune(Net(), CrossEntropy(), data(), 0.1, checkpoint=path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot be read: it is no \.npz archive, as fine_tune writes it$"):
        fine_tune(Net(), CrossEntropy(), data(), LAM, checkpoint=path)


def test_an_unfinished_run_is_not_converged():
    end = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=8)
    assert end.verdict.kind == "not_converged"
    # The worst layer, and its gradient of the objective in units of lam times the length of all factors.
    G = Network(Net(), CrossEntropy(), data()).value_and_gradients(end.factors)[1]
    slopes = [(g @ B + LAM * A, g.T @ A + LAM * B) for g, (A, B) in zip(G, end.factors)]
    lengths = [np.hypot(*map(np.linalg.norm, pair)) for pair in slopes]
    size = LAM * np.sqrt(sum(np.sum(A**2) + np.sum(B**2) for A, B in end.factors))
    name, share = re.search(r"in (\w+) the gradient of the objective is (\S+) of lam", end.verdict.reason).groups()
    assert name == ("first", "second")[int(np.argmax(lengths))]
    assert float(share) == pytest.approx(max(lengths) / size, rel=0.05)


def test_a_run_that_left_the_model_worse_is_not_told_to_go_on():
    """At PEFT's start, where the factors are not balanced and the update is zero, it is told to, and a little later."""
    model, words = Net(), ("More steps of full-batch training remain", "Begin again with a smaller learning rate")
    empty = [(np.zeros((7, 1)), np.zeros((6, 1))), (np.zeros((5, 1)), np.zeros((7, 1)))]
    base = Network(model, CrossEntropy(), data()).value(empty)
    for size, diverged in ((0.0, False), (0.01, False), (100.0, True)):
        with torch.no_grad():
            for layer in (model.first, model.second):
                layer.lora_A.normal_(std=0.5)
                layer.lora_B.zero_()[:, 0].fill_(size)  # of rank 1, which is not loud
        verdict = judge(model, CrossEntropy(), data(), LAM)
        assert verdict.kind == "not_converged" and (2.0 * base < verdict.F) == diverged
        assert [word in verdict.reason for word in words] == [not diverged, diverged]
        assert (f"above the f = {base:.6g} of the model without any update" in verdict.reason) == diverged


@pytest.mark.parametrize("frozen", [("lora_A",), ("lora_B",), ("lora_A", "lora_B"), ()])
def test_a_factor_that_is_frozen_beside_another_is_said_to_count(frozen):
    """A model that is loaded to be used has both frozen, which says nothing about its training."""
    model = Net()
    with torch.no_grad():
        model.second.lora_B.normal_(std=0.1)
    for key in frozen:
        getattr(model.second, key).requires_grad_(False)
    verdict = judge(model, CrossEntropy(), data(), LAM)
    half = len(frozen) == 1
    said = [text for text in verdict.premises if text.endswith(f"though frozen: {frozen[0] if half else ''} of second")]
    assert len(said) == half and verdict.kind == "not_converged"
    assert ("With one factor frozen, more steps need not end that" in verdict.reason) == half


def test_factors_that_are_not_balanced_are_not_converged_however_good_their_product_is(trained):
    _, best = trained
    turned = [(4.0 * A, B / 4.0) for A, B in best.factors]
    verdict = judge(Net(), CrossEntropy(), data(), LAM, factors=turned)
    assert pytest.approx(best.verdict.F, rel=1e-9) == verdict.F and verdict.relative_gap < 1e-3
    assert verdict.kind == "not_converged"


def test_the_solved_gap_is_the_one_that_is_quoted(trained):
    _, best = trained
    shrunk = [((1.0 - 1e-3) * A, B) for A, B in best.factors]
    rough = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk)
    assert rough.kind == "inconclusive" and rough.relative_gap > 1e-3 and "by one gradient" in rough.reason
    sharp = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk, tangent_solve=True)
    assert sharp.kind == "tangent_optimal" and "by the solved tangent problem" in sharp.reason
    assert sharp.relative_gap == sharp.solved.relative_gap < 1e-4
    (percent,) = re.findall(r"within (\S+) % of the optimum", sharp.reason)
    assert float(percent) / 100.0 == pytest.approx(sharp.solved.relative_gap, rel=0.05)


def test_printed_gaps_are_bounds(trained):
    _, best = trained
    for share in (1e-3, 1.7e-3, 2.9e-3, 3.7e-3, 4.3e-3, 5.3e-3):
        shrunk = [((1.0 - share) * A, B) for A, B in best.factors]
        verdict = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk, tol=0.1)
        assert verdict.kind == "tangent_optimal"
        (percent,) = re.findall(r"within (\S+) % of the optimum", verdict.reason)
        (gap,) = re.findall(r"tangent gap from one gradient: (\S+) of F", str(verdict))
        true = Fraction(verdict.relative_gap)
        assert true <= Fraction(percent) / 100 < 1.1 * true and true <= Fraction(gap) < 1.01 * true


def test_a_gradient_that_is_no_number_is_not_finite():
    """A square root at 0: its slope is infinite, and 0 times that is no number, though the loss is finite."""
    model = torch.nn.Sequential(LoRALinear(3, 2, 2, 1.0))
    loss = CrossEntropy(outputs=lambda model, batch: (model(batch[0]) - model(batch[0]).detach()).sqrt())
    verdict = judge(model, loss, [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))], LAM)
    assert verdict.kind == "non_finite" and "the loss or its gradient" in verdict.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_not_finite_whatever_its_gradient(bad):
    class Spoilt(SquareLoss):
        def of_outputs(self, z, targets):
            return super().of_outputs(z, targets) + torch.tensor([bad] + [0.0] * (len(z) - 1))

    model, batches = torch.nn.Sequential(torch.nn.Linear(3, 2)), [(torch.ones(4, 3), torch.zeros(4, 2))]
    point = [(np.ones((2, 1)), np.ones((3, 1)))]
    f, (G,) = Network(model, Spoilt(), batches, layers="0").value_and_gradients(point)
    assert not math.isfinite(f) and np.isfinite(G).all()
    plain, verdict = (judge(model, loss, batches, 1e-3, layers="0", factors=point) for loss in (SquareLoss(), Spoilt()))
    assert plain.kind != "non_finite" and plain.certificate is not None
    assert verdict.kind == "non_finite" and verdict.certificate is None
    assert "the loss or its gradient is not finite" in verdict.reason


def test_the_optimality_of_a_large_layer_is_as_sampled_as_the_norm_of_its_gradient():
    """Beyond a thousand rows and columns the spectral norm is bounded by products from a random start."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1001, 1001), torch.nn.Tanh(), torch.nn.Linear(1001, 2))
    batches = [(torch.randn(4, 1001), torch.arange(4) % 2)]
    nothing = [(np.zeros((1001, 1)), np.zeros((1001, 1)))]
    verdict = judge(model, CrossEntropy(), batches, 10.0, layers="0", factors=nothing)
    assert verdict.kind == "tangent_optimal" and str(verdict.level) == "SAMPLED"
    assert 0.0 < verdict.certificate.failure_probability <= 1e-10
    top = np.linalg.norm(verdict.certificate.gradients[0], 2) / 10.0
    assert verdict.certificate.dual_norm == pytest.approx(top, rel=1e-3)


def test_a_verdict_is_known_as_the_bound_that_it_quotes_is(trained, monkeypatch):
    """That of one gradient may be CERTIFIED where norms of the solution's gradient are SAMPLED."""
    _, best = trained
    solve = _evidence.solve_tangent
    monkeypatch.setattr(_evidence, "solve_tangent", lambda *args, **kw: replace(solve(*args, **kw), level="SAMPLED"))
    aside = [(A + 1e-5 * np.ones_like(A), B) for A, B in best.factors]
    found = judge(Net(), CrossEntropy(), data(), LAM, factors=aside, tangent_solve=True)
    assert found.solved.relative_gap < found.certificate.relative_gap and str(found.certificate.level) == "CERTIFIED"
    assert found.kind == "tangent_optimal" and str(found.level) == "SAMPLED"


@pytest.mark.parametrize(
    ("dtype", "share", "low", "high"), [("float64", 1e-4, 1e-10, 1e-6), ("float32", 1e-2, 2e-6, 1e-4)]
)
def test_a_value_that_is_lower_by_no_more_than_rounding_refutes_nothing(trained, dtype, share, low, high):
    _, best = trained
    shrunk = [((1.0 - share) * A, B) for A, B in best.factors]
    settings = {"others": [best.factors], "dtype": dtype, "tol": 0.1}
    found = judge(Net(), CrossEntropy(), data(), LAM, factors=shrunk, **settings)
    assert low < (found.F - found.better) / found.F < high
    assert found.kind == "tangent_optimal"


def test_the_start_is_a_saddle_and_too_small_a_rank_is_named():
    nothing = [(np.zeros((7, 2)), np.zeros((6, 2))), (np.zeros((5, 2)), np.zeros((7, 2)))]
    at_zero = judge(Net(), CrossEntropy(), data(), LAM, factors=nothing)
    assert at_zero.kind == "saddle" and "empty column" in at_zero.reason
    G = Network(Net(), CrossEntropy(), data()).value_and_gradients(nothing)[1]
    (rate,) = re.findall(r"lowers F at the rate \|\|G\|\| - lam = (\S+) to first order", at_zero.reason)
    assert float(rate) == pytest.approx(max(np.linalg.norm(g, 2) for g in G) - LAM, rel=1e-2)
    lam = 0.02

    def small():
        return Net(rank=1, classes=5, weight=3.0)

    found = fine_tune(small(), CrossEntropy(), data(40, 5), lam, max_calls=1500, grad_tol=1e-9)
    assert found.verdict.kind == "rank_too_small", str(found.verdict)
    layer = max(found.verdict.certificate.layers, key=lambda layer: layer.outside)
    index = [each.name for each in found.verdict.certificate.layers].index(layer.name)
    u, v = layer.direction
    rate = (layer.outside - 1.0) * lam
    network = Network(small(), CrossEntropy(), data(40, 5))
    G = network.value_and_gradients(found.factors)[1][index]
    assert float(u @ G @ v) - lam == pytest.approx(rate, rel=1e-6)
    # The direction is downhill: a small step along -u v^T lowers F at that rate.
    step = 1e-5
    moved = [
        (np.hstack([A, -step * u[:, None]]), np.hstack([B, v[:, None]])) if k == index else (A, B)
        for k, (A, B) in enumerate(found.factors)
    ]
    before = found.verdict.F
    problem = MultiProblem(network, 1, lam)
    after = problem.factored_convex_value(*zip(*moved))
    assert (before - after) / step == pytest.approx(rate, rel=1e-2)


class Beside(torch.nn.Module):
    """Two layers side by side, one of them of inputs of another size."""

    def __init__(self, size):
        super().__init__()
        self.size, self.large, self.small = size, LoRALinear(2, 2, 2, 1.0), LoRALinear(2, 2, 1, 1.0)
        for layer in (self.large, self.small):
            layer.linear.weight.zero_()
            layer.linear.bias.zero_()

    def forward(self, x):
        return torch.cat([self.large(self.size * x), self.small(x)], 1)


def test_a_layer_is_full_or_empty_by_its_own_values_however_large_another_is():
    """Two layers side by side, of inputs x/10^4 and x: each approximates a matrix, by shrinking its singular values."""
    lam, x = 1e-4, 2.0**0.5 * torch.eye(2, dtype=torch.float64)
    labels = 2.0**0.5 * torch.tensor([[200.0, 0.0, 3.0, 0.0], [0.0, 100.0, 0.0, 2.0]], dtype=torch.float64)
    large = np.diag(np.sqrt([(200e-4 - lam) / 1e-8, (100e-4 - lam) / 1e-8]))
    for kept, empty in ((3.0, False), (0.0, True)):
        small = np.array([[max(kept - lam, 0.0) ** 0.5], [0.0]])
        verdict = judge(Beside(1e-4), SquareLoss(), [(x, labels)], lam, factors=[(large, large), (small, small)])
        found = verdict.certificate.layers[1]
        # Off the space of X the residual is the next singular value of the label.
        assert found.outside == pytest.approx((3.0 if empty else 2.0) / lam, rel=1e-9)
        assert found.rank == (0 if empty else 1)
        assert verdict.kind == ("saddle" if empty else "rank_too_small"), str(verdict)
        assert ("empty column" in verdict.reason) == empty


def test_ranks_of_the_tangent_solution_are_counted_layer_by_layer():
    """Side by side again, the first of inputs x/10^5: the optimum shrinks the singular values of the labels."""
    labels = 2.0**0.5 * torch.tensor([[200.0, 0.0, 3.0, 0.0], [0.0, 100.0, 0.0, 2.0]], dtype=torch.float64)
    lam, x, point = 1e-4, 2.0**0.5 * torch.eye(2, dtype=torch.float64), [(np.zeros((2, 2)), np.zeros((2, 2)))] * 2
    network = Network(Beside(1e-5), SquareLoss(), [(x, labels)])
    found = solve_tangent(linearize(network, point), point, lam, tol=1e-10)
    large, small = (np.linalg.svd(A @ B.T)[1] for A, B in zip(found.A, found.B))
    np.testing.assert_allclose(large, [(200e-5 - lam) / 1e-10, (100e-5 - lam) / 1e-10], rtol=1e-4)
    np.testing.assert_allclose(small, [3.0 - lam, 2.0 - lam], rtol=1e-2)
    assert found.ranks == (2, 2)


def test_without_a_penalty_there_is_no_statement(trained):
    model, _ = trained
    without = judge(model, CrossEntropy(), data(), 0.0)
    assert without.kind == "no_premise" and ": lam = 0; " in without.reason
    # No decay to hold the gradients against: the columns are their norms.
    for layer, G in zip(without.certificate.layers, without.certificate.gradients):
        assert layer.dual_norm == pytest.approx(np.linalg.norm(G, 2), rel=1e-9) and layer.outside <= layer.dual_norm
    assert "  ||G||_2  " in str(without) and "||G||_2/lam" in str(judge(model, CrossEntropy(), data(), LAM))
    assert "inf" not in str(without)
    assert json.dumps(without.to_dict(), allow_nan=False)
    verdict = judge(model, CrossEntropy(), data(), LAM, lam_kind="decoupled")
    assert verdict.kind == "no_premise" and "decoupled" in verdict.reason


def test_adamw_is_never_called_optimal_however_small_its_gradient():
    model = Net(dropout=0.0)
    model.head.weight *= 10.0
    batches = [(torch.randn(6, 4, 6, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 3)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-2, weight_decay=LAM)
    for _ in range(250):
        optimizer.zero_grad()
        CrossEntropy()(model, batches[0]).mean().backward()
        optimizer.step()
    verdict = judge(model, CrossEntropy(), batches, LAM)
    assert verdict.certificate.dual_norm < 0.5  # the data are interpolated ...
    assert verdict.kind in ("not_converged", "loud")
    assert verdict.relative_gap > 0.5
    assert judge(model, CrossEntropy(), batches, LAM, lam_kind="decoupled").kind in ("no_premise", "loud")


def test_non_finite_and_loud_points_are_named():
    model = Net()
    with torch.no_grad():
        model.first.lora_B[0, 0] = math.nan
    broken = judge(model, CrossEntropy(), data(), LAM)
    assert broken.kind == "non_finite" and json.dumps(broken.to_dict(), allow_nan=False)
    assert math.isnan(broken.F) and "not finite" in str(broken)
    with pytest.raises(ValueError, match="not finite"):
        broken.factors  # noqa: B018

    class Forgiving(Net):
        """Outputs that are no numbers are passed over, as attention passes over such scores."""

        def forward(self, x):
            return self.head(torch.tanh(self.second(torch.tanh(self.first(x)).nan_to_num())).mean(1))

    for factor in ("lora_A", "lora_B"):
        model = Forgiving()
        with torch.no_grad():
            getattr(model.first, factor)[0, 0] = math.nan
        assert judge(model, CrossEntropy(), data(), LAM).reason.startswith("the factors of first are not finite")
    model = Net()
    with torch.no_grad():
        model.first.lora_B.normal_(std=30.0)
        model.second.lora_B.normal_(std=30.0)
    verdict = judge(model, CrossEntropy(), data(), LAM)
    assert verdict.kind == "loud" and "||W||_2" in verdict.reason
    zero = [(np.zeros((m, 1)), np.zeros((n, 1))) for m, n in ((7, 6), (5, 7))]
    base = Network(Net(), CrossEntropy(), data()).value(zero)
    assert "failed loudly" in verdict.reason and f"above the f = {base:.6g} of the model without" in verdict.reason


def test_a_run_that_is_on_its_way_down_has_not_failed():
    """Half way to a stationary point the updates are larger than these small weights, and better than none."""
    model = Net(weight=0.1)
    zero = [(np.zeros((m, 1)), np.zeros((n, 1))) for m, n in ((7, 6), (5, 7))]
    base = Network(model, CrossEntropy(), data()).value(zero)
    early = fine_tune(model, CrossEntropy(), data(), 0.1 * LAM, max_calls=30).verdict
    assert early.kind == "loud" and base > early.F
    assert early.reason.startswith("loud so far: ") and "full-batch training remain" in early.reason
    facts = judge(model, CrossEntropy(), data(), LAM, lam_kind="decoupled")
    assert facts.kind == "loud" and f"and {base:.6g} without any update; whether it failed only new" in facts.reason
    late = fine_tune(model, CrossEntropy(), data(), 0.1 * LAM, max_calls=600).verdict
    assert late.kind != "loud" and late.F < early.F


def test_a_bound_of_the_gap_is_not_told_as_the_gap():
    """One gradient bounds what is left to gain, here at many times what the solved tangent problem leaves of it."""
    model = Net(weight=0.1)
    early = fine_tune(model, CrossEntropy(), data(), 0.1 * LAM, max_calls=30).verdict
    solved = judge(model, CrossEntropy(), data(), 0.1 * LAM, tangent_solve=True)
    assert solved.solved.relative_gap < 0.5 * early.relative_gap
    (told,) = re.findall(r"a tangent gap of at most (\S+) % of F", early.reason)
    assert early.relative_gap <= float(told) / 100.0 < 1.1 * early.relative_gap
    with torch.no_grad():
        model.first.lora_B.normal_(std=1e3)
    far = judge(model, CrossEntropy(), data(), 1.0)
    assert far.relative_gap > 0.995 and "a tangent gap of at most 100 % of F" in far.reason


class InPeftsLayout(torch.nn.Module):
    """A layer as PEFT has it, with an update larger than its weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.base_layer = torch.nn.Linear(6, 3).requires_grad_(False)
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(6, 2, bias=False)})
        self.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(2, 3, bias=False)})
        self.scaling = {"default": 30.0}

    def get_base_layer(self):
        return self.base_layer

    def forward(self, x):
        return self.base_layer(x) + 30.0 * self.lora_B["default"](self.lora_A["default"](x))


def test_a_layer_that_is_compiled_is_one_layer():
    """The wrapper of torch.compile passes on the attributes of the layer inside."""
    plain, model = Net(dropout=0.0), Net(dropout=0.0)
    for each in (plain, model):
        with torch.no_grad():
            torch.manual_seed(3)
            each.first.lora_B.normal_(std=0.1)
    model.first = torch.compile(model.first, backend="eager")
    assert [layer.name for layer in adapted_layers(model)] == ["first._orig_mod", "second"]
    readings = []
    for each in (plain, model):
        each.zero_grad()
        CrossEntropy()(each, data()[0]).mean().backward()
        monitor = LoRAMonitor()
        monitor.step(each)
        readings.append(list(monitor.history[0][1].values()))
    assert [reading.spectral for reading in readings[0]] == [reading.spectral for reading in readings[1]]
    F = [judge(each, CrossEntropy(), data(), LAM).F for each in (plain, model)]
    assert F[0] == pytest.approx(F[1], rel=1e-12)


@pytest.mark.parametrize(("share", "rests"), [(1.1, True), (0.9, False)])
@pytest.mark.parametrize("size", [1e-9, 1e-4])
def test_factors_that_have_vanished_are_at_rest_where_no_direction_is_worth_its_penalty(size, share, rests):
    """From 0 F falls along a rank-one direction exactly where ||G||_2 is above lam, whatever the loss is."""
    model = Net()

    def loss(model, batch):  # of which nobody says that it is convex
        return CrossEntropy()(model, batch)

    network = Network(model, loss, data())
    G = network.value_and_gradients(network.zeros())[1]
    point = factors(network, size=size)
    lam = share * max(np.linalg.norm(g, 2) for g in G)
    verdict = judge(model, loss, data(), lam, factors=point)
    assert verdict.kind == ("inconclusive" if rests else "not_converged")


def test_a_run_with_another_penalty_than_is_stated_is_not_told_that_it_diverged():
    """It lowered the loss, and one of its factors had no decay."""
    model = Net()
    halves = [[getattr(layer, key) for layer in (model.first, model.second)] for key in ("lora_A", "lora_B")]
    groups = [{"params": halves[0], "weight_decay": LAM}, {"params": halves[1]}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    model.eval()
    for _ in range(1000):
        optimizer.zero_grad()
        losses = torch.cat([CrossEntropy()(model, batch) for batch in data()])
        losses.mean().backward()
        optimizer.step()
    reason = judge(model, CrossEntropy(), data(), LAM).reason
    last = float(losses.detach().mean())
    with torch.no_grad():
        for factor in halves[1]:
            factor.zero_()
        base = float(torch.cat([CrossEntropy()(model, batch) for batch in data()]).mean())
    assert last < base and f"above the f = {base:.6g} of the model without any update, though f itself" in reason
    assert "the run had another penalty than lam" in reason and "diverged" not in reason


@pytest.mark.parametrize("dropout", [0.5, 0.0])
def test_a_run_that_came_to_rest_with_dropout_is_told_of_it_and_not_only_to_train_on(dropout):
    """Of a linear layer and squares, dropout of the inputs is a penalty on the weights, of which the mean is known."""
    torch.manual_seed(0)
    x, y = torch.randn(40, 6), torch.randn(40, 2)
    model = torch.nn.Sequential(torch.nn.Dropout(dropout), LoRALinear(6, 2, 2, 1.0))
    layer = model[1]
    optimizer = torch.optim.SGD([layer.lora_A, layer.lora_B], lr=0.1, weight_decay=LAM)
    for _ in range(3000):
        optimizer.zero_grad()
        W = layer.linear.weight + layer.lora_B @ layer.lora_A
        scatter = dropout / (1.0 - dropout) * (W.square() * x.square().mean(0)).sum()
        (0.5 * ((layer(x) - y).square().sum(1).mean() + scatter)).backward()
        optimizer.step()
    reason = judge(model, SquareLoss(), [(x, y)], LAM).reason
    assert ("the dropout of training mode (0)" in reason) == (dropout > 0.0) == ("steps" in reason)


def test_the_lam_that_a_run_had_is_told_where_another_is_given():
    """A decay ``d`` beside the sum of ``k`` losses is ``lam = d/k``: judged with ``d``, more steps were all it told."""
    model = Net()
    k = sum(len(batch[1]) for batch in data())
    trained = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0 / k, weight_decay=k * LAM)
    model.eval()
    for _ in range(1000):
        optimizer.zero_grad()
        torch.cat([CrossEntropy()(model, batch) for batch in data()]).sum().backward()
        optimizer.step()
    reason = judge(model, CrossEntropy(), data(), k * LAM).reason
    told = re.search(
        r"For lam = (\S+) in place of 0.48 the .* all but stationary \(the gradient is (\S+) of lam", reason
    )
    assert told and float(told[1]) == pytest.approx(LAM, rel=0.01)
    model.double().zero_grad()
    batches = [(x.double(), y) for x, y in data()]
    torch.cat([CrossEntropy()(model, batch) for batch in batches]).mean().backward()
    size = math.sqrt(sum(float(part.detach().square().sum()) for part in trained))
    lam = -sum(float((part.detach() * part.grad).sum()) for part in trained) / size**2
    layers = [(layer.lora_A, layer.lora_B) for layer in (model.first, model.second)]
    left = max(math.hypot(*(float((p.grad + lam * p.detach()).norm()) for p in pair)) for pair in layers)
    assert float(told[2]) == pytest.approx(left / (lam * size), rel=0.05)
    assert "For lam =" not in judge(model, CrossEntropy(), data(), LAM).reason
    elsewhere = factors(Network(model, CrossEntropy(), data()))
    assert "For lam =" not in judge(model, CrossEntropy(), data(), LAM, factors=elsewhere).reason


@pytest.mark.parametrize(("calls", "told"), [(10, False), (25, True)])
def test_another_lam_is_told_only_where_it_leaves_a_tenth_of_the_gradient(calls, told):
    """Early in a run the best lam leaves half of its own penalty: the run had none for which it is stationary."""
    model = Net()
    fine_tune(model, CrossEntropy(), data(), LAM, max_calls=calls)
    verdict = judge(model, CrossEntropy(), data(), 3.0 * LAM)
    pairs, G = verdict.certificate.factors, verdict.certificate.gradients
    size = math.sqrt(sum(np.sum(A**2) + np.sum(B**2) for A, B in pairs))
    best = -2.0 * sum(np.sum(g * (A @ B.T)) for g, (A, B) in zip(G, pairs)) / size**2
    left = max(
        math.hypot(np.linalg.norm(g @ B + best * A), np.linalg.norm(g.T @ A + best * B)) for g, (A, B) in zip(G, pairs)
    )
    assert left < 0.05 * best * size if told else 0.3 * best * size < left < 0.7 * best * size
    assert verdict.kind == "not_converged" and (f"For lam = {best:.3g} in place of" in verdict.reason) == told


@pytest.mark.parametrize(
    ("start", "moved"),
    [(True, False), (False, False), ("gaussian", False), ("pissa_niter_4", True), ("OLoRA", True), ("loftq", True)],
)
def test_beside_a_weight_that_the_start_changed_nothing_is_loud(start, moved):
    model = torch.nn.Sequential(InPeftsLayout(), torch.nn.Flatten(), torch.nn.Linear(12, 3).requires_grad_(False))
    model.peft_config = {"default": types.SimpleNamespace(init_lora_weights=start)}
    monitor = LoRAMonitor(base=model)
    verdict = judge(model, CrossEntropy(), data(), LAM)
    assert (verdict.kind == "loud") == (not moved)
    # At such a start the update is large by design, and no sign of a run that diverged.
    assert ("Begin again" in verdict.reason) == (not moved)
    said = [text for text in verdict.premises if "in 1 of 1 layers" in text and str(start) in text]
    assert len(said) == moved == len(monitor.warnings)
    norm = float(np.linalg.norm(model[0].base_layer.weight.numpy(), 2)) / 30.0
    assert verdict.to_dict()["base_norms"] == [None if moved else pytest.approx(norm)]
    assert (str(verdict).splitlines()[-1].split()[3] == "-") == moved
    CrossEntropy()(model, data()[0]).mean().backward()
    assert (monitor.step(model) is None) == moved
    assert json.dumps(monitor.to_dict(), allow_nan=False)


def test_beside_a_weight_of_zeros_nothing_is_loud():
    """A layer that begins at zero, as the last of a block often does: any update is larger than its weight."""
    model = torch.nn.Sequential(LoRALinear(6, 5), torch.nn.Tanh(), LoRALinear(5, 3), torch.nn.Flatten(1))
    for layer in (model[0], model[2]):
        torch.nn.init.normal_(layer.lora_B, std=0.1)
    torch.nn.init.zeros_(model[2].linear.weight)
    (x, y), _ = data()
    batches = [(x[:, 0], y)]
    CrossEntropy()(model, batches[0]).mean().backward()
    monitor = LoRAMonitor(base=model)
    assert monitor.step(model) is None
    verdict = judge(model, CrossEntropy(), batches, 1e-3)
    assert verdict.kind == "not_converged" and verdict.relative_gap > 0.1
    assert verdict.base_norms[0] > verdict.certificate.layers[0].spectral and verdict.base_norms[1] is None
    why = "no ratio to ||W||_2, so nothing is called loud, in 1 of 2 layers: the base weight is zero"
    assert why in verdict.premises and monitor.warnings == [why]


@pytest.fixture(scope="module")
def two_ends(trained):
    """Two stationary points of one network, the lower one first."""
    _, best = trained
    for seed in range(5):
        network = Network(Net(), CrossEntropy(), data())
        start = MultiProblem(network, 4, LAM).unpaired(factors(network, seed=seed, size=1.0))
        other = fine_tune(Net(), CrossEntropy(), data(), LAM, max_calls=600, init=start)
        low, high = sorted([best.verdict, other.verdict], key=lambda verdict: verdict.F)
        if high.kind == "tangent_optimal" and high.F - low.F > 1e-4 * low.F:
            return low, high
    pytest.skip("all starts ended at one value")


def test_a_better_point_refutes(two_ends):
    low, high = two_ends
    again = judge(Net(), CrossEntropy(), data(), LAM, factors=high.factors, others=[low])
    assert again.kind == "refuted" and again.better == pytest.approx(low.F)
    assert judge(Net(), CrossEntropy(), data(), LAM, factors=low.factors, others=[high]).kind == "tangent_optimal"
    found = two_points(low.certificate, high.certificate)
    assert found.refutes_convexity and found.stationarity < 1e-4


def test_a_refuted_point_is_told_its_smallest_bound_of_the_gap_and_none_where_there_is_none(two_ends):
    """A gap of "at most inf of F" was told of a loss of which nobody says that it is convex."""
    low, high = two_ends
    plain = judge(
        Net(), lambda model, batch: CrossEntropy()(model, batch), data(), LAM, factors=high.factors, others=[low]
    )
    assert plain.kind == "refuted" and math.isinf(plain.relative_gap) and not re.search(r"\b(inf|gap)\b", plain.reason)
    # A little aside one gradient bounds less than the solved tangent problem.
    aside = [(A + 1e-4 * np.ones_like(A), B) for A, B in high.factors]
    given = {"factors": aside, "others": [low]}
    of_one, solved = (judge(Net(), CrossEntropy(), data(), LAM, tangent_solve=k, **given) for k in (False, True))
    for found in (of_one, solved):
        told = float(re.search(r"tangent gap here is at most (\S+) of F", found.reason)[1])
        assert found.kind == "refuted" and found.relative_gap <= told <= 1.1 * found.relative_gap
    assert solved.relative_gap < 0.1 * of_one.relative_gap


def test_points_of_another_network_are_refused_and_those_that_are_not_finite_are_no_better(trained):
    _, best = trained
    other = judge(Last(2), CrossEntropy(), data(classes=6), LAM)
    for given in (other, other.factors):
        with pytest.raises(ValueError, match=r"others\[1\]: expected factors of updates of shapes .*7, 6"):
            judge(Net(), CrossEntropy(), data(), LAM, factors=best.factors, others=[best.verdict, given])
    lost = [(np.full_like(A, np.nan), B) for A, B in best.factors]
    broken = judge(Net(), CrossEntropy(), data(), LAM, factors=lost)
    assert broken.kind == "non_finite"
    found = judge(Net(), CrossEntropy(), data(), LAM, factors=best.factors, others=[broken])
    assert (found.kind, found.better) == (best.verdict.kind, None)


@pytest.mark.parametrize("share", [0.02, 0.8])
def test_updates_that_are_not_worth_their_penalty_are_said_to_shrink(share):
    """Along ``-X`` the slope of F is ``-<G, X> - lam ||X||_*``, at most ``(||G||_2 - lam) ||X||_*``."""
    model = Net()
    network = Network(model, CrossEntropy(), data())
    lam = max(np.linalg.norm(G, 2) for G in network.value_and_gradients(network.zeros())[1]) / share

    def at(size):
        factors = [(size * np.eye(m, 1), size * np.eye(n, 1)) for m, n in network.shapes]
        return judge(model, CrossEntropy(), data(), lam, factors=factors)

    found = at(1e-3)
    assert found.kind == "tangent_optimal" and found.certificate.dual_norm == pytest.approx(share, rel=0.01)
    assert "not worth their penalty here, and F falls as they shrink" in found.reason
    assert at(0.9e-3).F < found.F
    assert "shrink" not in at(0.0).reason


def test_without_anything_to_gain_the_empty_update_is_optimal():
    verdict = fine_tune(Net(), CrossEntropy(), data(), 1.0, max_calls=100).verdict
    assert verdict.kind == "tangent_optimal"
    assert all(layer.spectral < 1e-6 and layer.dual_norm < 1.0 for layer in verdict.certificate.layers)
    # The least lam for which no update helps to first order is the largest norm of a gradient at none.
    network = Network(Net(), CrossEntropy(), data())
    G = network.value_and_gradients([(np.zeros((m, 1)), np.zeros((n, 1))) for m, n in network.shapes])[1]
    critical = max(np.linalg.norm(g, 2) for g in G)
    assert verdict.reason.endswith(f"nothing is worth its penalty for a lam above {critical:.3g}")


@pytest.mark.parametrize("order", [1, -1])
def test_a_point_whose_loss_overflows_does_not_hide_a_better_one(order):
    """An output of minus infinity times 0 is no number."""
    x, y = torch.full((20, 3), 1e9, dtype=torch.float64), torch.ones(20, 1, dtype=torch.float64)
    nothing = [(np.zeros((1, 1)), np.zeros((3, 1)))]
    # With X = 1 + 2e-9/3 in each entry the output is -1 + 3e9 (X - 1) = 1, the label.
    better = [(np.ones((1, 1)), np.full((3, 1), 1.0 + 2e-9 / 3.0))]
    overflown = [(np.full((1, 1), 1e150), np.full((3, 1), -1e150))]
    assert math.isnan(Network(Dead(), SquareLoss(), [(x, y)]).value(overflown))
    found = judge(Dead(), SquareLoss(), [(x, y)], 1e-3, factors=nothing, others=[overflown, better][::order])
    assert found.kind == "refuted" and found.better == pytest.approx(1e-3 * 3.0**0.5, rel=1e-6)
    alone = judge(Dead(), SquareLoss(), [(x, y)], 1e-3, factors=nothing, others=[overflown])
    assert (alone.kind, alone.better) == ("tangent_optimal", None)


class Shifted(SquareLoss):
    """``||z - y||^2 / 2 + c`` with a number ``c`` for each sample beside its label."""

    def of_outputs(self, z, targets):
        return super().of_outputs(z, targets[:, :1]) + targets[:, 1]


@pytest.mark.parametrize(("F", "kind"), [(0.0, "inconclusive"), (-1.0, "global")])
def test_rounding_of_losses_that_cancel_in_their_mean_refutes_no_optimum(F, kind):
    """``X = 0`` is optimal where the gradient is below ``lam``, and the values of all others differ by rounding."""
    rng = np.random.default_rng(0)
    x, y, c = (torch.tensor(rng.standard_normal((40, k))) for k in (3, 1, 1))
    c = 1e6 * (c - c.mean()) - 0.5 * y**2 + F
    model = torch.nn.Sequential(LoRALinear(3, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    batches, zero = [(x, torch.cat([y, c], 1))], [(np.zeros((1, 1)), np.zeros((3, 1)))]
    lam = 1.01 * float((y * x).mean(0).norm())
    sizes = 10.0 ** -rng.uniform(9.0, 12.0, 200)
    others = [[(np.ones((1, 1)), size * rng.standard_normal((3, 1)))] for size in sizes]
    found = judge(model, Shifted(), batches, lam, factors=zero, others=others, lower_bound=-1e7)
    assert found.better < found.F == pytest.approx(F, abs=1e-8) and found.kind == kind


@pytest.mark.parametrize("seed", range(10))
def test_rounding_of_losses_that_cancel_in_their_mean_is_in_the_gap(seed):
    """``X = 0`` is optimal, and its value as evaluated is above that by rounding alone; a gap of 1e-29 was said."""
    rng = np.random.default_rng(seed)
    x, y, c = (torch.tensor(rng.standard_normal((40, k))) for k in (3, 1, 1))
    c = 1e6 * (c - c.mean()) - 0.5 * y**2
    model = torch.nn.Sequential(LoRALinear(3, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    zero = [(np.zeros((1, 1)), np.zeros((3, 1)))]
    lam = 1.01 * float((y * x).mean(0).norm())
    best = sum(Fraction(a) ** 2 / 2 + Fraction(b) for a, b in zip(y.ravel().tolist(), c.ravel().tolist())) / 40
    where = {"factors": zero, "lower_bound": -1e7, "tangent_solve": True}
    found = judge(model, Shifted(lambda model, batch: model(batch[0])), [(x, torch.cat([y, c], 1))], lam, **where)
    assert Fraction(found.F) != best
    for F, gap in ((found.F, found.certificate.gap), (found.solved.F, found.solved.gap)):
        assert Fraction(F) - best <= gap <= 1e-7


class Bounded(SquareLoss):
    """Squares of short residuals, which grow linearly beyond 1."""

    def of_outputs(self, z, targets):
        return torch.nn.functional.huber_loss(z, targets, reduction="none").sum(1)


def test_a_subclass_that_agrees_at_the_point_alone_is_linearised_as_its_own_loss():
    """20 samples gain much more than the one loses whose residual leaves the square; the square bounded it by 0.017."""
    x = torch.tensor([[1.0]] * 20 + [[-10.0]], dtype=torch.float64)
    model = torch.nn.Sequential(LoRALinear(1, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    zero, lam = [(np.zeros((1, 1)), np.zeros((1, 1)))], 1e-3
    found = judge(model, Bounded(), [(x, torch.full_like(x, 0.9))], lam, factors=zero, tangent_solve=True)

    def F(update):
        residuals = np.abs(update * x.numpy() - 0.9)
        return np.where(residuals < 1.0, 0.5 * residuals**2, residuals - 0.5).mean() + lam * abs(update)

    assert pytest.approx(F(0.0)) == found.F
    assert found.F - F(0.4) > 0.05 and found.solved.gap >= found.F - F(0.4)


class Capped(SquareLoss):
    """``1 - exp(-||z - y||^2 / 2)``, which is not convex: flat far from the label."""

    def of_outputs(self, z, targets):
        return 1.0 - torch.exp(-super().of_outputs(z, targets))


def test_a_subclass_that_is_said_not_to_be_convex_has_no_bound():
    x = torch.linspace(1.0, 2.0, 30, dtype=torch.float64)[:, None]
    batches = [(x, 100.0 * x)]
    model = torch.nn.Sequential(LoRALinear(1, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    where = {"factors": [(np.zeros((1, 1)), np.zeros((1, 1)))], "lam": 1e-3}
    # At X = 0 the loss is 1 and flat; X = 100 fits every label and has F = 100 lam.
    better = [(np.full((1, 1), 10.0), np.full((1, 1), 10.0))]
    verdict = judge(model, Capped(), batches, convex_loss=False, **where)
    assert verdict.kind == "inconclusive" and verdict.relative_gap == math.inf and verdict.convex is None
    assert "the loss is not convex" in str(verdict) and "CERTIFIED" not in str(verdict)
    refuted = judge(model, Capped(), batches, convex_loss=False, others=[better], **where)
    assert refuted.kind == "refuted" and refuted.better == pytest.approx(0.1, rel=1e-12)
    with pytest.raises(ValueError, match="tangent_solve: expected a loss that is convex"):
        judge(model, Capped(), batches, convex_loss=False, tangent_solve=True, **where)
    unsaid = judge(model, Capped(), batches, **where)
    assert "stated by the caller: the loss is convex" in str(unsaid)
    # ... and found not to be, on lines through its outputs.
    assert unsaid.kind == "inconclusive" and unsaid.relative_gap == math.inf and "CERTIFIED" not in str(unsaid)
    assert "stated to be convex in the outputs, but that of a sample is" in unsaid.reason
    assert "SquareLoss is convex" in str(judge(model, SquareLoss(), batches, **where))


class Own(SquareLoss):
    """A convex loss of one's own, which rounding bends: by cancellation, by a kink, or by numbers of any size."""

    def __init__(self, which, size):
        super().__init__()
        self.which, self.size = which, size

    def of_outputs(self, z, targets):
        z, y = self.size * z, self.size * targets
        if self.which == "softmax":
            return torch.logsumexp(z, 1) - z[:, 0]
        if self.which == "hinge":
            return (1.0 - z[:, 0]).clamp_min(0.0)
        return (z - y).norm(dim=1) ** (1.0 if self.which == "length" else 4.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("which", ["softmax", "hinge", "length", "power"])
def test_rounding_makes_no_bend_of_a_convex_loss(which, size, dtype):
    model, loss = Net().to(getattr(torch, dtype)).eval(), Own(which, size)
    for x, _ in data():
        z = model(x.to(model.head.weight)).detach()
        targets = torch.randn(z.shape)
        assert not any(bend_of(loss, z, targets) for _ in range(5))  # the lines are drawn anew


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_loss_of_ones_own_is_tried_for_bends_in_the_precision_of_the_network(dtype):
    batches = [(x, torch.randn(len(x), 3)) for x, _ in data()]
    verdict = judge(Net(), Own("power", 1.0), batches, LAM, dtype=dtype)
    assert "stated to be convex in the outputs, but" not in verdict.certificate.formula


def test_a_bend_in_more_outputs_than_many_lines_are_tried_in_is_found():
    """Of a vocabulary of 100000 words a dozen tokens are as many numbers as all lines together may take."""

    class Opposite(OutputLoss):
        """A cross-entropy with the other sign, which is concave."""

        def of_outputs(self, z, targets):
            return z[:, 0] - torch.logsumexp(z, 1)

    z = torch.randn(12, 100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert "that of a sample is" in bend_of(Opposite(), z, z[:, :1])
    assert bend_of(Own("softmax", 1.0), z, z[:, :1]) == ""


class OfOneFrame(OutputLoss):
    """The loss of one label of a sequence of one frame, of which torch has no second derivative: a cross-entropy."""

    def of_outputs(self, z, targets):
        log_probabilities, one = z.log_softmax(1)[None], torch.ones(len(z), dtype=torch.long)
        return torch.nn.functional.ctc_loss(log_probabilities, targets[:, None], one, one, reduction="none")


def test_a_loss_without_a_second_derivative_has_the_tangent_problem_of_its_values():
    batches = [(x, y.clamp(min=1)) for x, y in data()]  # 0 is the blank
    found, expected = (judge(Net(), loss, batches, LAM, tangent_solve=True) for loss in (OfOneFrame(), CrossEntropy()))
    assert pytest.approx(expected.F, rel=1e-12) == found.F
    # One optimum: each lower bound is below what the other attains, and the bounds are as sharp as was asked.
    for one, other in ((found.solved, expected.solved), (expected.solved, found.solved)):
        assert one.F - one.gap <= other.value + 1e-12 * one.F
        assert one.own_gap <= 1e-3 * one.F


class Clipped(CrossEntropy):
    """A cross-entropy that outliers cannot raise: of small outputs it bends far away alone, where it is flat."""

    def of_outputs(self, z, targets):
        return super().of_outputs(z, targets).clamp(max=3.0)


def test_a_loss_that_levels_off_far_away_is_not_taken_to_be_convex():
    model = Net()
    model.head.weight *= 0.1
    model.head.bias *= 0.1
    z = torch.cat([CrossEntropy().outputs(model.eval(), batch) for batch in data()])
    # Far from 0 on either side it is 3 and 0, of which the mean is above its value at 0. Between points at unlike
    # distances it is above their chord.
    far, near = Clipped().of_outputs(torch.tensor([[-30.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([0, 0]))
    assert z.abs().max() < 0.2 and (far + 30.0 * near) / 31.0 < math.log(3.0) < far / 2.0
    for _ in range(5):  # the lines are drawn anew
        verdict = judge(model, Clipped(), data(), LAM)
        assert "stated to be convex in the outputs, but that of a sample is" in verdict.certificate.formula


class ByKind(OutputLoss):
    """Half of squares of the first kind of samples, and of the second what levels off far away."""

    def of_outputs(self, z, targets):
        squares = (z - targets[:, 1:]).square().sum(1) / 2.0
        return torch.where(targets[:, 0] == 0.0, squares, 1.0 - torch.exp(-squares))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_bend_is_found_whatever_the_units_of_the_outputs(unit):
    """At steps of 1 a loss of outputs of 1e9 is straight but for rounding."""

    class Levels(OutputLoss):
        """``u^2/(1 + u^2)`` of residuals in their unit, which is no convex function."""

        def of_outputs(self, z, targets):
            squares = ((z[:, 0] - targets) / unit).square()
            return squares / (1.0 + squares)

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1, bias=False)
    model.weight.data *= unit
    x = torch.randn(20, 3, dtype=torch.float64)
    batches = [(x, unit * torch.randn(20, dtype=torch.float64))]
    at = [(np.zeros((1, 1)), np.zeros((3, 1)))]
    found = judge(model, Levels(), batches, LAM / unit, layers="", factors=at)
    assert math.isinf(found.relative_gap) and "is stated to be convex in the outputs, but" in found.certificate.formula


def test_a_loss_that_bends_on_later_batches_alone_is_not_taken_to_be_convex():
    """Data are often sorted. X = 0 was told to be global, CERTIFIED, and X = 100 has a fifth of its value."""
    zero, x = torch.zeros(20, 1, dtype=torch.float64), torch.linspace(1.0, 2.0, 20, dtype=torch.float64)[:, None]
    batches = [(zero, torch.cat([zero, zero], 1)), (x, torch.cat([torch.ones_like(x), 100.0 * x], 1))]
    model = torch.nn.Sequential(LoRALinear(1, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    verdict = judge(model, ByKind(), batches, 1e-3, factors=[(np.zeros((1, 1)), np.zeros((1, 1)))])
    fitted = Network(model, ByKind(), batches).value([(np.full((1, 1), 100.0), np.ones((1, 1)))])
    assert fitted + 100.0 * 1e-3 < 0.21 * verdict.F
    assert verdict.kind == "inconclusive" and "stated to be convex in the outputs, but that of a sample" in str(verdict)


def test_a_plain_function_is_not_taken_to_be_convex():
    """Of outputs that are linear in the update the tangent problem is that of the network: X = 100 has F = 100 lam."""
    x = torch.linspace(1.0, 2.0, 30, dtype=torch.float64)[:, None]
    model = torch.nn.Sequential(LoRALinear(1, 1, 1, 1.0).double())
    torch.nn.init.zeros_(model[0].linear.weight)
    torch.nn.init.zeros_(model[0].linear.bias)
    nothing = {"factors": [(np.zeros((1, 1)), np.zeros((1, 1)))], "lam": 1e-3}

    def capped(network, batch):
        return 1.0 - torch.exp(-(network(batch) - 100.0 * batch).square().sum(1) / 2.0)

    verdict = judge(model, capped, [x], **nothing)
    fitted = Network(model, capped, [x]).value([(np.full((1, 1), 100.0), np.ones((1, 1)))])
    assert fitted + 100.0 * 1e-3 < 0.2 * verdict.F
    assert verdict.kind == "inconclusive" and verdict.relative_gap == math.inf
    assert "nothing is stated of whether the loss is convex in the outputs" in str(verdict)
    assert "CERTIFIED" not in str(verdict) and "convex_loss=True" in verdict.reason
    stated = judge(model, capped, [x], convex_loss=np.True_, **nothing)
    assert stated.kind == "tangent_optimal" and "stated by the caller: the loss is convex" in str(stated)
    trained = fine_tune(model, capped, [x], 1e-3, max_calls=3).verdict
    assert trained.relative_gap == math.inf
    assert fine_tune(model, capped, [x], 1e-3, max_calls=3, convex_loss=True).verdict.relative_gap < 1.0
    with pytest.raises(TypeError, match="convex_loss: expected True or False"):
        fine_tune(model, capped, [x], 1e-3, max_calls=3, convex_loss="yes")


@pytest.mark.parametrize("running", [True, False])
def test_whether_batches_are_normalized_together_is_among_the_premises(running):
    """In training mode a sample's output depends on the others of its batch, else only without averages."""
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(5, track_running_stats=running)
    model = torch.nn.Sequential(LoRALinear(6, 5, 2), norm, torch.nn.Tanh(), torch.nn.Linear(5, 3))
    (x, y), *_ = [(x.mean(1), y) for x, y in data()]
    whole, parts = ([(x[k : k + size], y[k : k + size]) for k in range(0, len(x), size)] for size in (len(x), 5))
    one, other = (judge(model, CrossEntropy(), batches, LAM) for batches in (whole, parts))
    assert (one.certificate.f == pytest.approx(other.certificate.f, rel=1e-12)) == running
    words = "normalized by running averages" if running else "normalized over each batch, so that the objective is that"
    assert sum(words in line and line.endswith(": 1") for line in one.premises) == 1
    assert not any("normalized" in line for line in judge(Net(), CrossEntropy(), data(), LAM).premises)


def test_a_lower_bound_that_the_caller_states_is_among_the_premises():
    """It is what the gap rests on: labels that are drawn at random cost at least their entropy."""
    for bound in (-1.0, 0.0, 0.25):
        verdict = judge(Net(), CrossEntropy(), data(), LAM, lower_bound=bound)
        said = [text for text in verdict.premises if "every loss is >= 0.25" in text and "caller" in text]
        assert len(said) == (bound > 0.0) and "CrossEntropy is convex in the outputs and >= 0" in str(verdict)
        found = verdict.certificate
        top = max(np.linalg.norm(G, 2) for G in found.gradients)
        inner = sum(float(np.vdot(G, X)) for G, X in zip(found.gradients, found.updates))
        nuclear = sum(float(np.linalg.norm(X, "nuc")) for X in found.updates)
        c = min(1.0, LAM / top)
        assert found.gap == pytest.approx((1.0 - c) * (found.f - bound) + LAM * nuclear + c * inner, rel=1e-9)


def test_the_solved_tangent_gap_is_below_that_of_one_gradient(trained):
    model, best = trained
    network = Network(model, CrossEntropy(), data())
    rough = [(1.05 * A, B) for A, B in best.factors]
    verdict = judge(model, CrossEntropy(), data(), LAM, factors=rough)
    solved = solve_tangent(linearize(network, rough), rough, LAM)
    assert 0.0 < solved.gap <= verdict.certificate.gap


def test_layers_to_which_no_gradient_comes_are_told_from_those_that_are_not_worth_their_penalty():
    """Units that are off, by far: no lam makes an update worth its penalty, and 0 is no such lam."""
    nothing = [(np.zeros((7, 1)), np.zeros((6, 1)))]
    x, y = torch.randn(20, 6), torch.randint(0, 3, (20,))
    for shift, told in ((-100.0, "no gradient comes to any of these layers"), (0.0, "for a lam above ")):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
        with torch.no_grad():
            model[0].bias += shift
        verdict = judge(model, CrossEntropy(), [(x, y)], 5.0, layers="0", factors=nothing)
        assert verdict.kind == "tangent_optimal" and told in verdict.reason
        assert (np.linalg.norm(verdict.certificate.gradients[0]) == 0.0) == (shift != 0.0)


@pytest.mark.parametrize("after", [0, 1])
def test_ctrl_c_ends_the_tangent_problem_and_not_the_verdict(trained, monkeypatch, after):
    """What its last point bounds holds, and may be less than what one gradient does."""
    model, _ = trained
    sharp = judge(model, CrossEntropy(), data(), LAM, tangent_solve=True)
    oracle, calls = TokenNTK.factor_oracle, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == after + 1:
            raise KeyboardInterrupt
        return oracle(self, *args)

    monkeypatch.setattr(TokenNTK, "factor_oracle", interrupted)
    verdict = judge(model, CrossEntropy(), data(), LAM, tangent_solve=True)
    assert len(calls) > after and verdict.solved.interrupted and not sharp.solved.interrupted
    assert verdict.kind == sharp.kind == "tangent_optimal"
    least = verdict.solved.F - sharp.solved.value  # what can be gained, up to what is left to the optimum
    assert verdict.solved.gap >= least and verdict.certificate.gap >= least
    assert verdict.relative_gap == min(verdict.certificate.relative_gap, verdict.solved.relative_gap)
    assert "tangent problem interrupted: gap" in str(verdict) and verdict.to_dict()["solved"]["interrupted"] is True


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ((Network, "gradients_and_products"), "the search for negative curvature"),
        ((LayerTokens, "nbytes"), "the tangent problem"),
    ],
)
def test_ctrl_c_ends_the_search_or_the_linearisation_alone(trained, monkeypatch, place, what):
    """The verdict is the one that was not asked for that, and the model is as it was."""
    model, _ = trained
    model.train()
    before = {name: id(part) for name, part in model.named_parameters()}

    def interrupted(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(*place, interrupted if place[0] is Network else property(interrupted))
    verdict = judge(model, CrossEntropy(), data(), LAM, tangent_solve=True, second=True)
    curvature = place[0] is Network
    assert (verdict.solved is None, verdict.second is None) == (not curvature, curvature)
    assert verdict.kind == judge(model, CrossEntropy(), data(), LAM, tangent_solve=curvature).kind
    assert verdict.premises[-1] == f"{what} was interrupted, and nothing is known from it"
    assert model.training and {name: id(part) for name, part in model.named_parameters()} == before


def test_what_takes_long_shows_its_progress(trained, capsys, monkeypatch):
    monkeypatch.setattr(Progress, "due", lambda line: line.enabled)
    judge(trained[0], CrossEntropy(), data(), LAM, tangent_solve=True, second=True)
    assert capsys.readouterr().err == ""
    judge(trained[0], CrossEntropy(), data(), LAM, tangent_solve=True, second=True, progress=True)
    told = capsys.readouterr().err
    assert "gradient: 50 %, batch 1 of 2" in told and "linearised: 100 %, batch 2 of 2" in told
    assert "relative gap" in told
    assert "curvature: " in told and " products with the Hessian" in told

    class Stream:
        """Batches of which nobody says how many there are."""

        def __iter__(self):
            return iter(data())

    network = Network(trained[0], CrossEntropy(), Stream())
    LinearizedNetwork(network, network.point, progress=True)
    assert "linearised: 100 %, batch 2\n" in capsys.readouterr().err
    with pytest.raises(TypeError, match="progress: expected True or False"):
        judge(trained[0], CrossEntropy(), data(), LAM, progress="yes")


def test_documents_come_back_from_json_as_they_were(trained):
    model, end = trained
    monitor = LoRAMonitor(LAM, base=model)
    monitor.step(model)
    document = end.verdict.to_dict()
    unknown = replace(end.verdict.solved, own_gap=math.inf)
    unbounded = replace(end.verdict, solved=unknown, second=replace(end.verdict.second, at_least=-math.inf))
    for each in (document, unbounded.to_dict(), monitor.to_dict()):
        assert json.loads(json.dumps(each, allow_nan=False)) == each
    assert unbounded.to_dict()["solved"]["own_gap"] is None is unbounded.to_dict()["second_order"]["at_least"]
    document["solved"]["ranks"].clear()
    assert end.verdict.solved.ranks
