"""Hessian products of networks in torch, and the search for negative curvature with them. Skipped without torch."""

from __future__ import annotations

import dataclasses
import re
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import MovedLoRALinear  # noqa: E402

from lorasolve.multi import MultiProblem  # noqa: E402
from lorasolve.networks import CrossEntropy, Network, judge  # noqa: E402

torch.set_num_threads(1)
LAM = 0.02


class Attention(torch.nn.Module):
    """Adapted queries and values in one attention layer, then something, then a frozen head."""

    def __init__(self, between=torch.tanh):
        super().__init__()
        torch.manual_seed(0)
        self.query, self.value = MovedLoRALinear(6, 4, 2, 2.0), MovedLoRALinear(6, 4, 3, 0.5)
        self.key = torch.nn.Linear(6, 4).requires_grad_(False)
        self.head = torch.nn.Linear(4, 3).requires_grad_(False)
        self.between = between

    def forward(self, x):
        # One head: of four dimensions attention has a fused kernel, which cannot be differentiated twice.
        parts = (each(x)[:, None] for each in (self.query, self.key, self.value))
        seen = torch.nn.functional.scaled_dot_product_attention(*parts)[:, 0]
        return self.head(self.between(seen).mean(1))


def data():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 4, 6, generator=generator), torch.randint(0, 3, (20,), generator=generator)
    return [(x[:7], y[:7]), (x[7:], y[7:])]


def network(**options):
    return Network(Attention(**options).double(), CrossEntropy(), data())


def difference(net, at, D, h=1e-5):
    X = [A @ B.T for A, B in at]
    ahead, behind = (net.value_and_grad([x + s * h * d for x, d in zip(X, D)])[1] for s in (1, -1))
    return [(p - q) / (2 * h) for p, q in zip(ahead, behind)]


def test_products_are_those_of_the_dense_hessian_of_the_models_own_objective():
    net = network()
    model = net.model
    parameters = {name: p.detach() for name, p in model.named_parameters() if "lora" in name}
    batches = [(x.double(), y) for x, y in data()]

    def objective(*values):
        held = dict(zip(parameters, values))
        loss = sum(
            torch.nn.functional.cross_entropy(torch.func.functional_call(model, held, x), y, reduction="sum")
            for x, y in batches
        )
        return loss / 20 + 0.5 * LAM * sum((v**2).sum() for v in values)

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        blocks = torch.autograd.functional.hessian(objective, tuple(parameters.values()))
    sizes = [p.numel() for p in parameters.values()]
    dense = np.block([[b.numpy().reshape(p, q) for b, q in zip(row, sizes)] for row, p in zip(blocks, sizes)])
    problem = MultiProblem(net, [2, 3], LAM)
    theta = problem.join(*zip(*net.point))
    shapes = [p.shape for p in parameters.values()]
    assert list(parameters) == ["query.lora_A", "query.lora_B", "value.lora_A", "value.lora_B"]
    rng = np.random.default_rng(0)
    for _ in range(5):
        dA, dB, vA, vB = (rng.standard_normal(shape) for shape in shapes)
        expected = dense @ np.concatenate([part.ravel() for part in (dA, dB, vA, vB)])
        product = problem.split(problem.hessian_product(theta, problem.join([dB, vB], [dA.T, vA.T])))
        (U1, U2), (V1, V2) = product[:2]
        found = np.concatenate([part.ravel() for part in (V1.T, U1, V2.T, U2)])
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert net.differences is None


def test_products_agree_with_differences_of_gradients_and_come_with_the_gradients():
    net = network()
    rng = np.random.default_rng(1)
    D = [rng.standard_normal(shape) for shape in net.shapes]
    G, H = net.gradients_and_products(net.point, D)
    for h, expected in zip(H, difference(net, net.point, D), strict=True):
        np.testing.assert_allclose(h, expected, atol=1e-8)
    for g, expected in zip(G, net.value_and_gradients(net.point)[1], strict=True):
        np.testing.assert_allclose(g, expected, atol=1e-14)


class Detached(torch.autograd.Function):
    """The hyperbolic tangent, whose second derivative is lost without a word."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, slope):
        return slope * (1.0 - ctx.saved_tensors[0].detach() ** 2)


class Once(Detached):
    """The same with torch's own mark, which ``torch.autograd.grad`` does not heed."""

    backward = staticmethod(torch.autograd.function.once_differentiable(Detached.backward))


class Refusing(Detached):
    """The same, with words."""

    @staticmethod
    def backward(ctx, slope):
        if torch.is_grad_enabled():
            raise RuntimeError("derivative is not implemented\nsecond line")
        return Detached.backward(ctx, slope)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (Detached, "a second backward pass is off by .* from a difference of gradients"),
        (Once, "a second backward pass is off by .* from a difference of gradients"),
        (Refusing, "no second backward pass: derivative is not implemented$"),
    ],
)
def test_where_torch_has_no_second_derivative_or_a_wrong_one_differences_serve(function, why):
    net, exact = network(between=function.apply), network()
    rng = np.random.default_rng(2)
    D = [rng.standard_normal(shape) for shape in net.shapes]
    found, expected = (each.gradients_and_products(each.point, D)[1] for each in (net, exact))
    for h, e in zip(found, expected):
        np.testing.assert_allclose(h, e, atol=1e-8)
    assert exact.differences is None and re.fullmatch(why, net.differences)
    nothing = [(0.0 * A, 0.0 * B) for A, B in net.point]
    verdict = judge(net.model, CrossEntropy(), data(), 5.0, factors=nothing, second=True)
    assert any(line.startswith("Hessian products by differences of gradients (") for line in verdict.premises)


class Entries(torch.nn.Module):
    """``x -> X x``: at the unit vectors the outputs are the columns of the update."""

    def __init__(self, size):
        super().__init__()
        self.layer = torch.nn.Linear(size, size, bias=False).requires_grad_(False)
        torch.nn.init.zeros_(self.layer.weight)

    def forward(self, x):
        return self.layer(x)


SIZE, SIGMA = 40, 3.0


def entrywise(C, unit=1.0):
    """A network whose loss is ``sum C (X - T)^2 / (2 SIZE)``, stationary at ``X = SIGMA e_1 e_1^T``.

    At this point ``G = -LAM e_1 e_1^T``, and along ``e_1 e_j^T``, reached through ``B``, the objective has curvature
    ``LAM + SIGMA C[0, j]/SIZE``. In another unit of ``X`` it is ``unit X`` with ``LAM/unit``.
    """
    T = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    T[0, 0] = unit * (SIGMA + SIZE * LAM / C[0, 0])
    weights = torch.as_tensor(C.T / unit**2)

    def loss(model, x):
        rows = slice(None) if len(x) == SIZE else slice(0, len(x))
        return 0.5 * (weights[rows] * (model(x) - T.T[rows]) ** 2).sum(1)

    A, B = np.zeros((SIZE, 6)), np.zeros((SIZE, 6))
    A[0, 0] = B[0, 0] = (unit * SIGMA) ** 0.5
    where = {"layers": "layer", "factors": [(A, B)], "convex_loss": False, "lower_bound": -1e3}
    return Entries(SIZE), loss, [torch.eye(SIZE, dtype=torch.float64)], where


def test_a_saddle_is_exhibited_with_a_direction_whose_curvature_the_values_confirm():
    C = np.ones((SIZE, SIZE))
    C[0, 1] = -1.0
    model, loss, batches, where = entrywise(C)
    true = LAM - SIGMA / SIZE
    verdict = judge(model, loss, batches, LAM, second=True, **where)
    assert verdict.kind == "saddle"
    second = verdict.second
    (difference,) = re.findall(r"second difference of three values of L along it is (-[\d.]+)\)", verdict.reason)
    assert float(difference) == pytest.approx(second.smallest, rel=1e-2)
    # No Rayleigh quotient lies below the smallest eigenvalue.
    assert true - 1e-12 <= second.smallest < 0.9 * true
    assert second.products < 300
    (U,), (V,) = second.direction
    (A, B) = where["factors"][0]
    T = np.zeros((SIZE, SIZE))
    T[0, 0] = SIGMA + SIZE * LAM

    def L(t):
        P, Q = A + t * U, B + t * V
        f = float((C * (P @ Q.T - T) ** 2).sum()) / (2 * SIZE)
        return f + 0.5 * LAM * float((P**2).sum() + (Q**2).sum())

    assert (L(1e-2) - 2 * L(0.0) + L(-1e-2)) / 1e-4 == pytest.approx(second.smallest, rel=1e-3)
    assert min(L(0.1), L(-0.1)) < L(0.0)
    unit = 1e10
    model, loss, batches, where = entrywise(C, unit)
    assert judge(model, loss, batches, LAM / unit, second=True, **where).kind == "saddle"


def test_without_negative_curvature_the_verdict_says_with_what_probability_one_was_missed_or_that_it_cannot():
    model, loss, batches, where = entrywise(np.ones((SIZE, SIZE)))
    verdict = judge(model, loss, batches, LAM, second=True, **where)
    assert verdict.kind == "inconclusive"  # its loss is not stated to be convex in the outputs
    assert verdict.second.is_sosp and verdict.second.failure_probability <= 1e-12
    assert "SAMPLED" in str(verdict) and "automatic differentiation" in str(verdict)
    spread = np.ones((SIZE, SIZE))
    spread[0, 1:] = np.linspace(-0.2666, 1e4, SIZE - 1)  # curvature from 5e-6 on
    model, loss, batches, where = entrywise(spread)
    verdict = judge(model, loss, batches, LAM, second=True, max_products=50, **where)
    assert verdict.second.products <= 50
    assert verdict.second.is_sosp and verdict.second.failure_probability > 1e-12
    assert "inconclusive" in verdict.second.evidence


def test_a_direction_along_which_the_values_bend_upwards_is_no_saddle(monkeypatch):
    """The Hessian is positive here: what a search says against it does not stand."""
    module = sys.modules["lorasolve.networks._evidence"]
    search = module.second_order
    wrong = {"is_sosp": False, "smallest": -1.0}
    monkeypatch.setattr(module, "second_order", lambda *args, **kw: dataclasses.replace(search(*args, **kw), **wrong))
    model, loss, batches, where = entrywise(np.ones((SIZE, SIZE)))
    verdict = judge(model, loss, batches, LAM, second=True, **where)
    assert verdict.kind == "inconclusive" and "contradict the values" in verdict.reason and verdict.level is None


def test_each_of_several_processes_would_search_from_another_start(monkeypatch):
    monkeypatch.setattr(sys.modules[judge.__module__], "processes", lambda: 2)
    model, loss, batches, where = entrywise(np.ones((SIZE, SIZE)))
    with pytest.raises(ValueError, match="second: the search for negative curvature runs in one process"):
        judge(model, loss, batches, LAM, second=True, **where)
