"""The token form against dense features, and its convex optimum against the tangent certificate. NumPy only."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._known import Known
from lorasolve.certificates import spot_checks
from lorasolve.networks import LayerTokens, TokenNTK, TwoPoints, solve_tangent, tangent_certificate, two_points
from lorasolve.objectives import NTK

SHAPES = ((6, 5), (4, 7), (5, 5))


def tokens(rng, shapes=SHAPES, n_samples=9, n_outputs=2):
    """Return layers with one to four tokens a sample, one sample without any in the first layer."""
    layers = []
    for k, (m, n) in enumerate(shapes):
        owner = np.repeat(np.arange(n_samples), rng.integers(1, 5, n_samples))
        owner = owner[owner != 3] if k == 0 else owner
        T = len(owner)
        layers.append(LayerTokens(rng.standard_normal((T, n_outputs, m)), rng.standard_normal((T, n)), owner))
    return layers


def targets(rng, loss, n_samples, n_outputs):
    if loss == "softmax":
        return rng.integers(0, n_outputs + 1, n_samples)
    y = rng.standard_normal((n_samples, n_outputs))
    return np.sign(y) if loss == "logistic" else y


@pytest.fixture(params=[("square", 1), ("square", 2), ("logistic", 2), ("softmax", 1), ("softmax", 2)])
def ntk(request):
    loss, K = request.param
    rng = np.random.default_rng(5)
    y = targets(rng, loss, 9, K)
    return TokenNTK(tokens(rng, n_outputs=K), rng.standard_normal((9, K)), y, loss)


def dense(ntk, layer):
    """Return the same loss in one layer with dense features: softmax gets its last class back."""
    N, K = ntk.offset.shape
    m, n = ntk.shapes[layer]
    features = np.zeros((N, K, m, n))
    part = ntk.layers[layer]
    for d, h, i in zip(part.signals, part.inputs, part.owner):
        features[i] += d[:, :, None] * h
    offset = ntk.offset
    if ntk.loss == "softmax":
        features = np.concatenate([features, np.zeros((N, 1, m, n))], axis=1)
        offset = np.concatenate([offset, np.zeros((N, 1))], axis=1)
    return NTK(features, ntk.targets, ntk.loss, offset)


def test_one_layer_is_the_dense_objective(ntk):
    rng = np.random.default_rng(0)
    for layer, shape in enumerate(ntk.shapes):
        reference = dense(ntk, layer)
        X = [np.zeros(s) for s in ntk.shapes]
        X[layer] = rng.standard_normal(shape)
        D = [np.zeros(s) for s in ntk.shapes]
        D[layer] = rng.standard_normal(shape)
        f, G = ntk.value_and_grad(X)
        f_dense, G_dense = reference.value_and_grad(X[layer])
        assert f == pytest.approx(f_dense, rel=1e-12)
        np.testing.assert_allclose(G[layer], G_dense, atol=1e-12)
        np.testing.assert_allclose(
            ntk.hessian_product(X, D)[layer], reference.hessian_product(X[layer], D[layer]), atol=1e-12
        )


def test_the_factor_level_is_the_dense_level(ntk):
    rng = np.random.default_rng(1)
    factors, moves = (
        [(rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in ntk.shapes] for _ in range(2)
    )
    plain = super(TokenNTK, ntk)
    grads, reference = ([(np.empty_like(A), np.empty_like(B)) for A, B in factors] for _ in range(2))
    assert ntk.factor_oracle(factors, grads) == pytest.approx(plain.factor_oracle(factors, reference), rel=1e-13)
    for pair, other in zip(grads, reference):
        np.testing.assert_allclose(pair[0], other[0], atol=1e-12)
        np.testing.assert_allclose(pair[1], other[1], atol=1e-12)
    for pair, other in zip(ntk.factor_hvp(factors, moves), plain.factor_hvp(factors, moves)):
        np.testing.assert_allclose(pair[0], other[0], atol=1e-11)
        np.testing.assert_allclose(pair[1], other[1], atol=1e-11)


@pytest.mark.parametrize("zero", ["A", "B", "both", "both and the move"])
def test_factors_of_zero_are_as_any_other(ntk, zero):
    """A layer without update is not looked at; a loss of the others alone, and the dense level, tell what is right."""
    rng = np.random.default_rng(2)
    factors, moves = (
        [(rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in ntk.shapes] for _ in range(2)
    )
    A, B = factors[1]
    factors[1] = (A if zero == "B" else 0.0 * A), (B if zero == "A" else 0.0 * B)
    if zero == "both and the move":
        moves[1] = tuple(0.0 * part for part in moves[1])
    rest = TokenNTK([ntk.layers[0], ntk.layers[2]], ntk.offset, ntk.targets, ntk.loss)
    grads = [(np.full_like(A, np.nan), np.full_like(B, np.nan)) for A, B in factors]
    f = ntk.factor_oracle(factors, grads)
    assert f == pytest.approx(rest.factor_value([factors[0], factors[2]]), rel=1e-14)
    assert f == pytest.approx(ntk.value_and_grad([A @ B.T for A, B in factors])[0], rel=1e-13)
    # By the Jacobians of all layers at once, of which no product is left out.
    G = _jacobian_gradients(ntk, factors)
    for (GB, GtA), (A, B), g in zip(grads, factors, G):
        np.testing.assert_allclose(GB, g @ B, atol=1e-12)
        np.testing.assert_allclose(GtA, g.T @ A, atol=1e-12)
    t = 1e-5
    ahead, behind = (
        [(A + sign * t * U, B + sign * t * V) for (A, B), (U, V) in zip(factors, moves)] for sign in (1.0, -1.0)
    )
    for k, (HB, HtA) in enumerate(ntk.factor_hvp(factors, moves)):
        for found, side in ((HB, 0), (HtA, 1)):
            products = [
                (g @ pairs[k][1], g.T @ pairs[k][0])[side]
                for pairs in (ahead, behind)
                for g in (_jacobian_gradients(ntk, pairs)[k],)
            ]
            np.testing.assert_allclose(found, (products[0] - products[1]) / (2.0 * t), atol=1e-6)


def _jacobian_gradients(ntk, factors):
    """Return the gradient in each update from dense Jacobians."""
    (N, K), J = ntk.offset.shape, []
    for layer, (m, n) in zip(ntk.layers, ntk.shapes):
        J.append(np.zeros((N, K, m, n)))
        for d, h, i in zip(layer.signals, layer.inputs, layer.owner):
            J[-1][i] += d[:, :, None] * h
    z = ntk.offset + sum(np.einsum("ikmn,mn->ik", j, A @ B.T) for j, (A, B) in zip(J, factors))
    w = ntk._slope(z)[1]
    return [np.einsum("ik,ikmn->mn", w, j) for j in J]


def test_the_sampled_smoothness_is_the_largest_curvature(ntk):
    """Against the eigenvalues of the whole Hessian, column by column."""
    sizes = [m * n for m, n in ntk.shapes]
    columns = []
    for e in np.eye(sum(sizes)):
        D = [part.reshape(shape) for part, shape in zip(np.split(e, np.cumsum(sizes)[:-1]), ntk.shapes)]
        zeros = [np.zeros(shape) for shape in ntk.shapes]
        columns.append(np.concatenate([h.ravel() for h in ntk.hessian_product(zeros, D)]))
    largest = np.linalg.eigvalsh(np.array(columns))[-1]
    assert 0.9 * largest <= ntk.sampled_smoothness(ntk.zeros()) <= largest * (1.0 + 1e-12)


def test_far_away_the_smoothness_is_that_of_the_loss_there():
    """A sample whose label is certain bends no more, one on the edge does: curvature p (1 - p) of a logistic loss."""
    tokens = LayerTokens(np.ones((1, 1, 1)), np.full((1, 1), 2.0), np.zeros(1, int))
    logistic = TokenNTK([tokens], np.zeros((1, 1)), np.ones((1, 1)), "logistic")
    for x in (0.0, 1.0, -3.0):
        p = 1.0 / (1.0 + np.exp(-2.0 * x))
        assert logistic.sampled_smoothness([(np.full((1, 1), x), np.ones((1, 1)))]) == pytest.approx(4.0 * p * (1 - p))


def test_the_gram_matrix_is_that_of_the_jacobian(ntk, monkeypatch):
    """Against outputs of gradients, which form no Gram matrix, and where that costs more."""
    w = np.random.default_rng(4).standard_normal(ntk.offset.shape)
    expected = ntk._dense_outputs(ntk.from_outputs(w))
    np.testing.assert_allclose(ntk._gram_product()(w), expected, rtol=1e-10)
    monkeypatch.setattr("lorasolve.networks.token_ntk.FORMED", 0.0)
    np.testing.assert_allclose(ntk._gram_product()(w), expected, rtol=1e-13)


def test_the_operators_are_the_gradients(ntk):
    rng = np.random.default_rng(6)
    factors = [(rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in ntk.shapes]
    gradients = ntk.value_and_grad([A @ B.T for A, B in factors])[1]
    for found, G in zip(ntk.gradient_operators(factors), gradients, strict=True):
        np.testing.assert_allclose(found.to_dense(), G, atol=1e-12)


def test_a_line_has_the_values_and_slopes_of_the_loss(ntk):
    rng = np.random.default_rng(9)
    X, D = ([rng.standard_normal(shape) for shape in ntk.shapes] for _ in range(2))
    line = ntk.along(X, D)
    for t in (0.0, -0.7, 1e-3, 2.0):
        f, G = ntk.value_and_grad([x + t * d for x, d in zip(X, D)])
        there = line(t)
        assert there.value == pytest.approx(f, rel=1e-12)
        assert there.slope == pytest.approx(sum(np.vdot(g, d) for g, d in zip(G, D)), rel=1e-10, abs=1e-13)
        assert abs(there.slope) <= there.size * (1.0 + 1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_rounding_on_a_line_is_no_contradiction(ntk, scale):
    """Far out the logistic losses are nearly linear, where rounding decides to which side of a tangent a value lies."""
    rng = np.random.default_rng(11)
    for _ in range(10):
        assert spot_checks.violation(ntk, [scale * rng.standard_normal(shape) for shape in ntk.shapes], None) is None


class GradientOff(TokenNTK):
    """A hundredth of the gradient is missing."""

    def from_outputs(self, w):
        return tuple(0.99 * G for G in super().from_outputs(w))


class Concave(TokenNTK):
    """The loss less a large square of the outputs."""

    def _slope(self, z):
        f, w = super()._slope(z)
        return f - 10.0 * float(np.vdot(z, z)), w - 20.0 * z


class Below(TokenNTK):
    """The loss less a thousand, below the bound that it states."""

    def _slope(self, z):
        f, w = super()._slope(z)
        return f - 1e3, w


@pytest.mark.parametrize("wrong", [GradientOff, Concave, Below])
def test_claims_that_are_false_on_a_line_void_the_certificate(ntk, wrong):
    rng = np.random.default_rng(10)
    X = [rng.standard_normal(shape) for shape in ntk.shapes]
    assert spot_checks.violation(ntk, X, None) is None
    loss = wrong(ntk.layers, ntk.offset, ntk.targets, ntk.loss)
    claims = spot_checks._Claims(loss, X)
    assert claims.on_line("a random direction", [rng.standard_normal(x.shape) for x in X], 1.0) is not None
    assert spot_checks.violation(loss, X, None) is not None


@pytest.mark.parametrize("wrong", [GradientOff, Concave])
def test_facts_by_formula_are_no_assumption_and_those_of_a_subclass_are(ntk, wrong):
    problem = ls.MultiProblem(ntk, 2, 0.1)
    zero = [np.zeros(shape) for shape in ntk.shapes]
    assert not any("spot-checked" in text for text in ls.certify(problem, zero).assumptions)
    loss = wrong(ntk.layers, ntk.offset, ntk.targets, ntk.loss)
    certificate = ls.certify(ls.MultiProblem(loss, 2, 0.1), zero)
    assert certificate.is_global is None and "spot-checked" in certificate.assumptions[0]
    assert "check_objective" in certificate.reason


def test_the_twin_in_float32(ntk):
    rng = np.random.default_rng(8)
    single = ntk.in_float32()
    factors = [(rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in ntk.shapes]
    rounded = [(A.astype(np.float32), B.astype(np.float32)) for A, B in factors]
    grads, reference = ([(np.empty_like(A), np.empty_like(B)) for A, B in pairs] for pairs in (rounded, factors))
    assert single.factor_oracle(rounded, grads) == pytest.approx(ntk.factor_oracle(factors, reference), rel=1e-5)
    assert single.dtype == np.float32 and ntk.dtype == np.float64
    for pair, other in zip(grads, reference):
        for found, expected in zip(pair, other):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    huge = [layer._replace(inputs=1e20 * layer.inputs) for layer in ntk.layers]
    assert TokenNTK(huge, ntk.offset, ntk.targets, ntk.loss).in_float32() is None
    # It is the Jacobian that counts, the product of both sides of a token.
    for on_signals, on_inputs, offered in ((1e7, 1e-7, True), (1e6, 1e6, False), (1e-6, 1e-6, False)):
        scaled = [LayerTokens(on_signals * d, on_inputs * h, owner) for d, h, owner in ntk.layers]
        assert (TokenNTK(scaled, ntk.offset, ntk.targets, ntk.loss).in_float32() is not None) is offered


def test_the_tangent_offset_gives_the_outputs_at_the_point(ntk):
    rng = np.random.default_rng(2)
    factors = [(rng.standard_normal((m, 1)), rng.standard_normal((n, 1))) for m, n in ntk.shapes]
    z = rng.standard_normal(ntk.offset.shape)
    np.testing.assert_allclose(ntk.tangent_at(factors, z).outputs(factors), z, atol=1e-12)


@pytest.mark.parametrize("loss", ["square", "softmax"])
def test_the_block_solver_and_the_certificate_agree(loss):
    """At the solution the certificate's gap is zero to rounding; elsewhere it is never below the true gap."""
    rng = np.random.default_rng(7)
    y = targets(rng, loss, 12, 2)
    ntk = TokenNTK(tokens(rng, ((6, 5),) * 3, 12), np.zeros((12, 2)), y, loss)
    lam = 0.2
    best = ls.solve_convex(ls.MultiProblem(ntk, 1, lam), route="factored", tol=1e-9)
    other = ls.solve_convex(ls.MultiProblem(ntk, 1, lam), route="prox", tol=1e-9)
    assert best.fun == pytest.approx(other.fun, abs=1e-8)
    at_best = tangent_certificate(*ntk.value_and_grad(best.X), list(zip(best.A, best.B)), lam)
    assert at_best.relative_gap < 1e-8
    assert pytest.approx(best.fun, abs=1e-12) == at_best.F
    assert at_best.dual_norm <= 1.0 + 1e-6
    solved = solve_tangent(ntk, list(zip(best.A, best.B)), lam)
    assert solved.relative_gap < 1e-6 and solved.distance < 1e-2
    for k in range(100):
        size = 10.0 ** rng.uniform(-2, 1)
        factors = [(size * rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in ntk.shapes]
        X = [A @ B.T for A, B in factors]
        found = tangent_certificate(*ntk.value_and_grad(X), factors, lam)
        assert found.gap >= found.F - best.fun - best.gap - 1e-9
        if k == 0:
            assert solve_tangent(ntk, factors, lam).gap == pytest.approx(found.F - best.fun, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("target", "optimal"), [(1.3, False), (1.55, True)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_columns_that_cancel_in_an_update_prove_little(dtype, target, optimal, order):
    """One weight and ``(x - target)^2/2``, which is its own tangent problem: least by soft threshold."""
    # ((1 + e) K)^2 - (1 + 2 e) K^2 = 1/4 is rounded to 0: the update is 5/4, and the network is evaluated at 1.
    e, K = (2.0**-27, 2.0**26) if dtype is np.float64 else (2.0**-13, 2.0**12)
    a = np.array([(1.0 + e) * K, -(1.0 + 2.0 * e) * K, 1.0])[list(order)]
    b = np.array([(1.0 + e) * K, K, 1.0])[list(order)]
    x = float(sum(Fraction(p) * Fraction(q) for p, q in zip(a, b)))
    evaluated = float(a.astype(dtype) @ b.astype(dtype))
    assert (x, evaluated) == (1.25, 1.0)
    lam = 0.3
    gap = 0.5 * (x - target) ** 2 + lam * x - (0.5 * lam**2 + lam * (target - lam))
    assert gap == pytest.approx(0.0 if optimal else 0.03125)
    f, G = 0.5 * (evaluated - target) ** 2, np.array([[evaluated - target]])
    found = tangent_certificate(f, [G], [(a[None], b[None])], lam, dtype=dtype)
    assert found.gap >= gap - 1e-15 and found.relative_gap > 0.1
    # The same update without columns that cancel is known to all its digits.
    whole = tangent_certificate(0.5 * (x - target) ** 2, [[[x - target]]], [([[1.25]], [[1.0]])], lam, dtype=dtype)
    assert whole.gap >= gap - 1e-15 and (not optimal or whole.gap < 2e-6)


def test_the_gap_of_a_network_counts_what_the_solution_may_be_above_the_optimum():
    """``F(0)`` is above the optimum by no more than is stated, also where the convex problem is solved roughly."""
    rng = np.random.default_rng(0)
    layer = LayerTokens(rng.standard_normal((30, 2, 5)), rng.standard_normal((30, 4)), np.arange(30))
    ntk = TokenNTK([layer], rng.standard_normal((30, 2)), rng.standard_normal((30, 2)), "square")
    zero, lam = [(np.zeros((5, 1)), np.zeros((4, 1)))], 0.05
    sharp = solve_tangent(ntk, zero, lam, tol=1e-10)
    rough = solve_tangent(ntk, zero, lam, tol=0.5)
    assert rough.value > sharp.value + 1e-3 * rough.F
    assert rough.gap >= rough.F - sharp.value
    at_once = solve_tangent(ntk, zero, lam, tol=1e-10, time_limit=1e-6)
    assert sharp.success and not at_once.success and not at_once.interrupted
    assert at_once.value == at_once.F and sharp.F - sharp.value <= at_once.gap < np.inf
    # Where X = 0 is the optimum, the rounding of its value is beside that of the bound.
    best = solve_tangent(ntk, zero, 1e4)
    assert best.value == best.F and best.own_gap * best.F < best.gap < 1e-12 * best.F
    # The solution begins at the updates of the run: of what a decay to nothing has left of them no rank is needed.
    remains = [(1e-14 * rng.standard_normal((5, 1)), 1e-14 * rng.standard_normal((4, 1)))]
    assert solve_tangent(ntk, remains, 1e4).ranks == (0,)


def test_a_bound_that_rests_on_a_sampled_norm_is_sampled():
    """A gradient of 1001 x 1001 is not formed."""
    zero = [(np.zeros((1001, 1)), np.zeros((1001, 1)))]
    G = np.random.default_rng(0).standard_normal((1001, 1001))
    found = tangent_certificate(1.0, [G], zero, 100.0)
    assert found.failure_probability > 0.0 and found.level is Known.SAMPLED
    assert tangent_certificate(1.0, [G[:9, :9]], [(np.zeros((9, 1)),) * 2], 100.0).level is Known.CERTIFIED
    for size, level in ((1001, "SAMPLED"), (9, "CERTIFIED")):
        layer = LayerTokens(G[:2, None, :size], G[2:4, :size], np.arange(2))
        ntk = TokenNTK([layer], np.zeros((2, 1)), np.ones((2, 1)), "square")
        assert solve_tangent(ntk, [(np.zeros((size, 1)), np.zeros((size, 1)))], 1e4).level == level


@pytest.mark.parametrize("top", [0.9, 0.9995, 1.003])
def test_the_norms_of_a_large_layer_are_bounds_that_tell_which_side_of_lam_they_are_on(top):
    """Singular values that are known, and so close to one another that a search ends before it has the largest."""
    rng, side, lam = np.random.default_rng(0), 1001, 0.25
    U, V = (np.linalg.qr(rng.standard_normal((side, side)))[0] for _ in range(2))
    G = lam * top * (U * np.linspace(1.0, 0.0, side)) @ V.T
    (layer,) = tangent_certificate(1.0, [G], [(np.zeros((side, 1)),) * 2], lam).layers
    u, v = layer.direction
    # Reached along the direction, so from below; the norm itself is bounded from above.
    assert abs(float(u @ G @ v)) == pytest.approx(lam * layer.outside, rel=1e-9)
    assert 0.98 * top <= layer.outside <= top * (1.0 + 1e-9)
    assert top * (1.0 - 1e-9) <= layer.dual_norm <= 1.02 * top
    assert (layer.dual_norm <= 1.0) == (top <= 1.0)


def test_the_numbers_of_a_layer():
    """A hand-made point: X = 2 e1 e1^T stationary for lam = 1, and a gradient of 3 in the other corner."""
    A, B = np.sqrt(2.0) * np.eye(3, 1), np.sqrt(2.0) * np.eye(4, 1)
    G = np.zeros((3, 4))
    G[0, 0], G[2, 3] = -1.0, 3.0
    found = tangent_certificate(5.0, [G], [(A, B)], 1.0, names=["corner"])
    (layer,) = found.layers
    assert (layer.name, layer.rank, layer.max_rank) == ("corner", 1, 1)
    assert (layer.spectral, layer.nuclear) == pytest.approx((2.0, 2.0))
    assert (layer.dual_norm, layer.outside) == pytest.approx((3.0, 3.0))
    assert layer.inside == pytest.approx(0.0, abs=1e-12)
    assert layer.stationarity == pytest.approx(0.0, abs=1e-12)
    u, v = layer.direction
    assert float(u @ G @ v) == pytest.approx(3.0)
    # c = 1/3: (1 - c)(f - 0) + lam ||X||_* + c <G, X> = 2/3 * 5 + 2 - 2/3.
    assert found.gap == pytest.approx(10.0 / 3.0 + 2.0 - 2.0 / 3.0)
    assert pytest.approx(7.0) == found.F and pytest.approx(7.0) == found.L
    assert found.to_dict()["layers"][0]["shape"] == [3, 4]


@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_layers_that_vanish_together_have_rank_0(unit):
    """What is left of them at the optimum 0 is rounding; a layer with a penalty keeps its rank in every unit."""
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((5, 2)), rng.standard_normal((4, 2))
    A, B = np.sqrt(unit) * A, np.sqrt(unit) * B
    factors = [(1e-9 * A, 1e-9 * B), (2e-9 * A, 1e-9 * B)]
    G = [0.5 / unit * np.eye(5, 4)] * 2
    assert [layer.rank for layer in tangent_certificate(1.0, G, factors, 1.0 / unit).layers] == [0, 0]
    assert all(layer.balance is None for layer in tangent_certificate(1.0, G, factors, 1.0 / unit).layers)
    assert [layer.rank for layer in tangent_certificate(1.0, G, [(A, B)] * 2, 1.0 / unit).layers] == [2, 2]


def test_the_numbers_of_any_point_are_those_of_dense_matrices():
    """Nothing is stationary or balanced here, and the layer with the larger gradient is not the first."""
    rng, lam, f, low = np.random.default_rng(4), 0.3, 5.0, -1.0
    pairs = [(rng.standard_normal((m, 2)), 0.3 * rng.standard_normal((n, 2))) for m, n in ((5, 4), (3, 6))]
    G = [0.2 * rng.standard_normal((5, 4)), rng.standard_normal((3, 6))]
    found = tangent_certificate(f, G, pairs, lam, lower_bound=low)
    slopes = [(g @ B + lam * A, g.T @ A + lam * B) for g, (A, B) in zip(G, pairs)]
    lengths = [np.hypot(*map(np.linalg.norm, pair)) for pair in slopes]
    squares = sum(np.sum(A**2) + np.sum(B**2) for A, B in pairs)
    assert found.grad_norm == pytest.approx(np.hypot(*lengths), rel=1e-12)
    assert found.stationarity == pytest.approx(np.hypot(*lengths) / (lam * squares**0.5), rel=1e-12)
    assert pytest.approx(f + 0.5 * lam * squares, rel=1e-12) == found.L
    nuclear = inner = 0.0
    for layer, g, (A, B), length in zip(found.layers, G, pairs, lengths):
        U, s, Vt = np.linalg.svd(A @ B.T)
        P, Q = U[:, :2], Vt[:2].T
        apart = (np.eye(len(A)) - P @ P.T) @ g @ (np.eye(len(B)) - Q @ Q.T)
        nuclear, inner = nuclear + s.sum(), inner + np.vdot(g, A @ B.T)
        assert (layer.spectral, layer.nuclear, layer.spread) == pytest.approx((s[0], s[:2].sum(), s[1] / s[0]))
        assert layer.dual_norm == pytest.approx(np.linalg.norm(g, 2) / lam, rel=1e-9)
        assert layer.outside == pytest.approx(np.linalg.norm(apart, 2) / lam, rel=1e-9)
        assert layer.inside == pytest.approx(np.linalg.norm(P.T @ g @ Q + lam * np.eye(2), 2) / lam, rel=1e-9)
        assert layer.stationarity == pytest.approx(length, rel=1e-12)
        size = np.sum(A**2) + np.sum(B**2)
        assert layer.balance == pytest.approx(np.linalg.norm(A.T @ A - B.T @ B) / size, rel=1e-9)
    c = lam / max(np.linalg.norm(g, 2) for g in G)
    assert c < 1.0 and found.dual_norm == pytest.approx(1.0 / c, rel=1e-9)
    assert found.gap == pytest.approx((1.0 - c) * (f - low) + lam * nuclear + c * inner, rel=1e-9)


def test_several_sampled_norms_may_each_fail():
    """The probabilities add up (a union bound)."""
    side, lam = 1001, 1.0
    G = np.zeros((side, side))
    G[3, 5] = 2.0
    nothing = (np.zeros((side, 1)), np.zeros((side, 1)))
    one, two = (tangent_certificate(1.0, [G] * k, [nothing] * k, lam) for k in (1, 2))
    assert 0.0 < one.failure_probability <= 1e-10
    assert two.failure_probability == pytest.approx(2.0 * one.failure_probability, abs=0.0)


def at_two_points(**changes):
    """Return certificates of ``X = (1, 0)`` and ``X = (1, d)`` with opposite gradients across the way between them."""
    one, d = np.ones((1, 1)), 1e-3
    settings = [{"lam": 0.5, "dtype": "float32"} | changes, {"lam": 0.5, "dtype": "float32"}]
    return [
        tangent_certificate(1.0, [np.array([[g], [0.0]])], [(np.array([[1.0], [x]]), one)], **given)
        for g, x, given in zip((1.0, -1.0), (0.0, d), settings)
    ]


def test_the_quotient_of_two_points_may_be_off_by_the_rounding_of_both():
    """An error of 8 units in X, along the change of the gradient, moves ``<G1 - G2, X1 - X2> = 0`` by twice that."""
    first, second = at_two_points()
    found = two_points(first, second)
    assert found.quotient == 0.0 and found.refutes_convexity is None
    eps = 8.0 * float(np.finfo(np.float32).eps)
    assert found.rounding >= 2.0 * (2.0 * eps) / 1e-3**2
    # In whichever order they come, one point in float32 is enough for it, and the worse of both is named.
    mixed = at_two_points(dtype="float64")
    for pair in (mixed, mixed[::-1]):
        assert two_points(*pair).rounding >= 2.0 * eps / 1e-3**2
        assert two_points(*pair).stationarity == max(point.stationarity for point in pair)
    assert mixed[0].stationarity != mixed[1].stationarity
    with pytest.raises(ValueError, match=r"second: expected lam = 0.25, got 0.5"):
        two_points(*at_two_points(lam=0.25))


def test_the_constant_of_convexity_is_printed_as_the_bound_that_it_is():
    for quotient in (0.28125, 0.28149, 1.2345e-3, 0.5):
        found = TwoPoints(quotient, 1e-6 * quotient, 1.0, 2.0, 3.0, 1e-9)
        (printed,) = re.findall(r"holds here with (\S+) at most", str(found))
        assert Fraction(quotient) < Fraction(printed) < 1.01 * Fraction(quotient)
    hidden = TwoPoints(1e-9, 1.2345e-3, 1.0, 2.0, 3.0, 1e-9)
    (printed,) = re.findall(r"rounding errors may be (\S+) \(", str(hidden))
    assert float(printed) >= 1.2345e-3


def test_a_network_that_bends_may_lie_below_its_tangent_problem():
    """z = x + b x^2 in one number: the gap is 0 at a stationary point of F that is not its minimum."""
    lam, b = 0.1, 3.0

    def value_and_grad(x):
        z = x + b * x**2 - 1.0
        return 0.5 * z * z, z * (1.0 + 2.0 * b * x)

    points = []
    for x in np.linspace(-1.5, 1.5, 7):
        for _ in range(20000):
            f, g = value_and_grad(x)
            step = x - 1e-3 * g
            x = np.sign(step) * max(abs(step) - 1e-3 * lam, 0.0)
        f, g = value_and_grad(x)
        pair = (np.array([[np.sqrt(abs(x))]]), np.array([[np.sign(x) * np.sqrt(abs(x))]]))
        points.append(tangent_certificate(f, [np.array([[g]])], [pair], lam))
    values = sorted({round(p.F, 6) for p in points})
    assert all(p.relative_gap < 1e-6 for p in points) and len(values) == 2
    first, second = (next(p for p in points if round(p.F, 6) == value) for value in values)
    found = two_points(first, second)
    assert found.quotient < 0.0 and found.refutes_convexity
    assert "restricted convexity fails" in str(found)


def test_two_points_of_a_convex_loss_refute_nothing(ntk):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(2):
        factors = [(rng.standard_normal((m, 1)), rng.standard_normal((n, 1))) for m, n in ntk.shapes]
        found.append(tangent_certificate(*ntk.value_and_grad([A @ B.T for A, B in factors]), factors, 0.1))
    assert not two_points(*found).refutes_convexity
    with pytest.raises(ValueError, match="same point"):
        two_points(found[0], found[0])


@pytest.mark.parametrize(
    ("dtype", "size", "answer"),
    [
        (np.float32, 1e-6, None), (np.float32, 1e-5, None), (np.float32, 1.0, False), (np.float32, -1.0, True),
        (np.float64, 1e-15, None), (np.float64, 1e-14, None), (np.float64, 1.0, False), (np.float64, -1.0, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(5))
def test_rounding_alone_neither_refutes_convexity_nor_bounds_its_constant(dtype, size, answer, seed):
    """``f = <C, X> + (w/2)||X||^2`` has the constant ``w`` everywhere, negative where ``size`` is."""
    rng = np.random.default_rng(seed)
    C, A, B, move = (rng.standard_normal(shape) for shape in ((6, 5), (6, 2), (5, 2), (6, 2)))
    w = 1e-4 if abs(size) < 1.0 else size
    points = []
    for factor in (A, A + abs(size) * move):
        X = (factor @ B.T).astype(dtype)
        f = float(np.vdot(C, X) + 0.5 * w * np.vdot(X, X))
        gradient = C.astype(dtype) + dtype(w) * X
        points.append(tangent_certificate(f, [gradient], [(factor, B)], 0.1, lower_bound=-1e9, dtype=dtype))
    found = two_points(*points)
    assert found.refutes_convexity is answer and str(found).startswith("inconclusive") == (answer is None)
    assert abs(found.quotient - w) <= found.rounding
    assert answer is None or found.rounding < 1e-4


def test_bad_tokens_are_refused():
    rng = np.random.default_rng(0)
    good = tokens(rng)
    with pytest.raises(ValueError, match=r"layers\[0\].owner: expected sample numbers"):
        TokenNTK([good[0]._replace(owner=good[0].owner[::-1])], np.zeros((9, 2)), np.zeros(9, int))
    with pytest.raises(ValueError, match=r"layers\[0\]: expected signals"):
        TokenNTK(good, np.zeros((9, 3)), np.zeros(9, int))
    with pytest.raises(ValueError, match="targets: expected 9 integers from 0 to 2"):
        TokenNTK(good, np.zeros((9, 2)), np.full(9, 3))
    with pytest.raises(ValueError, match="loss"):
        TokenNTK(good, np.zeros((9, 2)), np.zeros(9, int), "hinge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gradients: expected one for each of 1"):
        tangent_certificate(1.0, [], [(np.eye(2), np.eye(2))], 0.1)
    with pytest.raises(ValueError, match="non-finite"):
        tangent_certificate(1.0, [np.full((2, 2), np.nan)], [(np.eye(2), np.eye(2))], 0.1)


def exact_inner(x, y):
    return sum(Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), y.tolist()))


@pytest.mark.parametrize("seed", range(12))
def test_the_rounding_errors_of_outputs_that_cancel_are_in_the_gap(seed):
    """Two layers of which no sample sees the updates, of any size: f is 0 at 0, and about that as evaluated."""
    rng, zeros = np.random.default_rng(seed), np.zeros((6, 1))
    layers = [LayerTokens(rng.standard_normal((6, 1, 4)), rng.standard_normal((6, 3)), np.arange(6)) for _ in range(2)]
    J = np.hstack([np.einsum("tm,tn->tmn", layer.signals[:, 0], layer.inputs).reshape(6, 12) for layer in layers])
    X = rng.standard_normal(24)
    X = 10.0 ** (seed % 8) * (X - np.linalg.pinv(J) @ (J @ X)).reshape(2, 4, 3)
    svds = [np.linalg.svd(x, full_matrices=False) for x in X]
    A, B = [P * np.sqrt(values) for P, values, _ in svds], [Qt.T * np.sqrt(values) for _, values, Qt in svds]
    outputs = [Fraction(0)] * 6
    for layer, a, b in zip(layers, A, B):
        for i, (d, h) in enumerate(zip(layer.signals[:, 0], layer.inputs)):
            sides = zip(a.T, b.T)
            outputs[i] += sum(exact_inner(d, left) * exact_inner(h, right) for left, right in sides)
    f = sum(output**2 for output in outputs) / 12
    found = ls.certify(ls.multi.MultiProblem(TokenNTK(layers, zeros, zeros, "square"), 3), (A, B))
    assert found.level is Known.CERTIFIED and f <= found.gap
    assert found.parts.f_low <= f <= found.parts.f_high
