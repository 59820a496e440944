"""All instances with known points: what they state of themselves in several ways is the same."""

import cvxpy
import numpy as np
import pytest

from lorasolve import landscape


def instances():
    rng = np.random.default_rng(0)
    factor, X_star = rng.standard_normal((12, 12)), rng.standard_normal((4, 3))
    P, _, Qt = np.linalg.svd(X_star, full_matrices=False)
    yield landscape.instances.Quadratic(factor @ factor.T, X_star)
    yield landscape.instances.Quadratic(factor @ factor.T, X_star, 0.4, P @ Qt)
    for lam in (0.0, 0.3):
        yield landscape.instances.sharp(2, 1, 4, 3, lam=lam)
        yield landscape.instances.restricted(2, 1, 4, 3, lam=lam)
        yield landscape.instances.two_constants(2, 1, 4, 3, beta=7.0, lam=lam)
    yield landscape.instances.two_by_two()


@pytest.mark.parametrize("instance", list(instances()), ids=lambda instance: instance.name)
def test_values_slopes_curvature_and_the_cvxpy_expression_are_of_one_function(instance):
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((2, *instance.shape))
    value, G = instance.value_and_grad(X)
    assert instance.cvxpy_expression(cvxpy.Constant(X)).value == pytest.approx(value, rel=1e-10)
    # Of a quadratic central differences of any length are exact.
    ahead, behind = (instance.value_and_grad(X + sign * D)[0] for sign in (1.0, -1.0))
    assert 0.5 * (ahead - behind) == pytest.approx(np.vdot(G, D), rel=1e-10)
    assert ahead - 2.0 * value + behind == pytest.approx(np.vdot(D, instance.hessian_product(X, D)), rel=1e-10)


@pytest.mark.parametrize("instance", list(instances()), ids=lambda instance: instance.name)
def test_the_lower_bound_is_the_value_where_the_gradient_vanishes(instance):
    zero = np.zeros(instance.shape)
    units = np.eye(zero.size).reshape(-1, *instance.shape)
    H = np.array([instance.hessian_product(zero, unit).ravel() for unit in units])
    lowest = np.linalg.lstsq(H, -instance.value_and_grad(zero)[1].ravel())[0].reshape(instance.shape)
    assert np.abs(instance.value_and_grad(lowest)[1]).max() < 1e-9
    assert instance.value_and_grad(lowest)[0] == pytest.approx(instance.lower_bound, rel=1e-9, abs=1e-12)


def test_the_boundary_of_the_sharp_instance_is_its_default():
    """``kappa = 1 + 2 sqrt(r/r*)``."""
    assert landscape.instances.sharp(4, 1, 6, 6).kappa == 5.0
    assert landscape.instances.sharp(2, 2, 6, 6).kappa == 3.0
