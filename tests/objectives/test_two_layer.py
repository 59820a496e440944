"""The two-layer network: activations against SymPy, the loss against its definition, refusals of relu."""

import numpy as np
import pytest
import sympy

from lorasolve import Problem, StoppingRule, solve
from lorasolve.objectives import TwoLayer
from lorasolve.objectives._activations import activation

SYMBOL = sympy.Symbol("h", real=True)
FORMULAS = {
    "tanh": sympy.tanh(SYMBOL),
    "softplus": sympy.log(1 + sympy.exp(SYMBOL)),
    "gelu": SYMBOL * (1 + sympy.erf(SYMBOL / sympy.sqrt(2))) / 2,
}


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_activations_and_both_derivatives_agree_with_symbolic_ones(name):
    phi = activation(name)
    for order, function in enumerate((phi.value, phi.first, phi.second)):
        exact = sympy.diff(FORMULAS[name], SYMBOL, order)
        for h in (-3.5, -1.0, -0.25, 0.0, 0.5, 2.0, 6.0):
            expected = float(exact.subs(SYMBOL, sympy.Rational(h)).evalf(40))
            assert function(np.array(h)) == pytest.approx(expected, rel=1e-12, abs=1e-16)


def test_softplus_and_its_derivatives_survive_large_inputs():
    phi = activation("softplus")
    h = np.array([-800.0, 800.0])
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_array_equal(phi.value(h), [0.0, 800.0])
        np.testing.assert_array_equal(phi.first(h), [0.0, 1.0])
        np.testing.assert_array_equal(phi.second(h), [0.0, 0.0])


def network(name="tanh", seed=0):
    rng = np.random.default_rng(seed)
    W0, V, Z, Y = (rng.standard_normal(shape) for shape in ((5, 3), (2, 5), (3, 8), (2, 8)))
    return W0, V, Z, Y, TwoLayer(W0, V, Z, Y, name)


@pytest.mark.parametrize("name", [*sorted(FORMULAS), "relu"])
def test_value_is_the_squared_error_of_the_network(name):
    W0, V, Z, Y, objective = network(name)
    X = np.random.default_rng(1).standard_normal((5, 3))
    total = 0.0
    for z, y in zip(Z.T, Y.T):
        hidden = activation(name).value((W0 + X) @ z)
        total += float(np.sum((V @ hidden - y) ** 2))
    assert objective.value_and_grad(X)[0] == pytest.approx(total / 16, rel=1e-14)
    assert objective.metrics(X)["rmse"] == pytest.approx((total / 16) ** 0.5, rel=1e-14)


@pytest.mark.parametrize("name", [*sorted(FORMULAS), "relu"])
def test_gradient_agrees_with_central_differences(name):
    objective = network(name)[-1]
    rng = np.random.default_rng(2)
    X, D, h = rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), 1e-5
    slope = (objective.value_and_grad(X + h * D)[0] - objective.value_and_grad(X - h * D)[0]) / (2 * h)
    assert float(np.sum(objective.value_and_grad(X)[1] * D)) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_hessian_agrees_with_differences_of_gradients(name):
    objective = network(name)[-1]
    rng = np.random.default_rng(3)
    X, D, h = rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), 1e-5
    change = (objective.value_and_grad(X + h * D)[1] - objective.value_and_grad(X - h * D)[1]) / (2 * h)
    np.testing.assert_allclose(objective.hessian_product(X, D), change, atol=1e-8)


def test_neither_convexity_nor_smoothness_is_claimed_and_curvature_is_indeed_negative_somewhere():
    # One unit, tanh, response 1 out of reach: the loss flattens out at both ends and must bend down in between.
    objective = TwoLayer([[0.0]], [[1.0]], [[1.0]], [[2.0]])
    assert objective.facts.convex is None
    assert objective.facts.smoothness is None
    curvatures = [objective.hessian_product(np.array([[x]]), np.ones((1, 1)))[0, 0] for x in (-1.0, 0.0)]
    assert min(curvatures) < 0 < max(curvatures)


def test_relu_gives_gradients_but_no_second_order_answers():
    objective = network("relu")[-1]
    assert objective.facts.has_hessian is False
    assert network("tanh")[-1].has_hessian is True
    A, B = np.ones((5, 1)), np.ones((3, 1))
    with pytest.raises(ValueError, match=r"'relu' has no second derivative.*softplus"):
        objective.hessian_product(A @ B.T, A @ B.T)
    with pytest.raises(ValueError, match="'relu' has no second derivative"):
        Problem(objective, rank=1).hvp(A, B, A, B)


def test_gradient_descent_runs_on_relu():
    problem = Problem(network("relu")[-1], rank=2, lam=0.01)
    result = solve(problem, "gd", stop=StoppingRule(max_iter=200))
    assert result.trace.value[-1] < result.trace.value[0]


def test_batch_and_merge_keep_the_second_layer_and_the_activation():
    _, V, _, _, objective = network("gelu")
    for other in (objective.sample_batch([1, 3]), objective.merged(np.ones((5, 3)))):
        assert other.activation.name == "gelu"
        np.testing.assert_array_equal(other.V, V)


W0, V, Z, Y = np.zeros((4, 3)), np.zeros((2, 4)), np.ones((3, 5)), np.zeros((2, 5))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((W0, V, Z, Y, "tan"), ValueError, "activation: unknown activation 'tan'. Did you mean 'tanh'"),
        ((W0, V, Z, Y, None), ValueError, "activation: unknown activation None"),
        ((W0, V[:, :3], Z, Y), ValueError, r"V: expected shape \(p, 4\)"),
        ((W0, V, Z[:2], Y), ValueError, r"Z: expected shape \(3, N\)"),
        ((W0, V, Z, Y[:1]), ValueError, r"Y: expected shape \(2, 5\)"),
        ((W0, V, Z, Y[:, :4]), ValueError, r"Y: expected shape \(2, 5\)"),
        ((W0, V, Z, np.full((2, 5), np.inf)), ValueError, "Y: has non-finite entries"),
        ((W0, np.full((2, 4), np.nan), Z, Y), ValueError, "V: has non-finite entries"),
        ((W0, V.astype(object), Z, Y), TypeError, "V: expected real numbers"),
        ((W0, V, np.ones((3, 0)), Y), ValueError, "Z: is empty"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        TwoLayer(*arguments)
