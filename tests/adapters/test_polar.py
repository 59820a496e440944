"""PoLAR's parametrization against the definition: polar factors by SciPy, differences, and the manifold's gradient."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.adapters import PoLAR
from lorasolve.objectives import Denoising, LinearFineTuning

RANK, ALPHA = 2, 3.0
S = ALPHA / RANK


def network(m, n, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(size) for size in ((m, n), (n, 12), (m, 12)))


def loss(data, U, M, V):
    """Return the loss in the paper's orientation: ``W0 + s X M Y^T`` with ``X``, ``Y`` on Stiefel manifolds."""
    W0, Z, Y = data
    X, right = (scipy.linalg.polar(F)[0] for F in (U, V))
    return np.sum(((W0 + S * X @ M @ right.T) @ Z - Y) ** 2) / (2 * Z.shape[1])


def descend(data, parts, steps, step):
    """Gradient descent with central differences of the loss."""
    parts = [part.copy() for part in parts]
    for _ in range(steps):
        grads = []
        for k, part in enumerate(parts):
            grad = np.empty_like(part)
            for index in np.ndindex(part.shape):
                ends = []
                for h in (1e-5, -1e-5):
                    moved = [p.copy() for p in parts]
                    moved[k][index] += h
                    ends.append(loss(data, moved[0], moved[1], moved[2]))
                grad[index] = (ends[0] - ends[1]) / 2e-5
            grads.append(grad)
        parts = [part - step * grad for part, grad in zip(parts, grads)]
    return parts


@pytest.mark.parametrize("shape", [(6, 4), (4, 7)])
@pytest.mark.parametrize("steps", [1, 20])
def test_descent_follows_the_definition(shape, steps):
    data = network(*shape)
    rng = np.random.default_rng(1)
    A, B = (rng.standard_normal((k, RANK)) for k in shape)
    problem = ls.Problem(LinearFineTuning(*data), RANK, adapter=PoLAR(alpha=ALPHA))
    end = ls.solve(problem, ls.optimizers.GD(0.05), (A, B), stop=ls.StoppingRule(steps, grad_tol=0.0))
    U, M, V = descend(data, (A, np.zeros((RANK, RANK)), B), steps, 0.05)
    for found, expected in ((end.A, U), (end.B, V), (problem.split(end.theta)[2].reshape(RANK, RANK), M)):
        assert_allclose(found, expected, atol=1e-8)


def test_at_orthonormal_factors_the_gradient_is_the_riemannian_one():
    rng = np.random.default_rng(2)
    A, B = (np.linalg.qr(rng.standard_normal((k, RANK)))[0] for k in (6, 5))
    M, T = rng.standard_normal((RANK, RANK)), rng.standard_normal((6, 5))
    problem = ls.Problem(Denoising(T), RANK, adapter=PoLAR())
    grad = np.empty(problem.size)
    problem.value_and_grad(np.concatenate([A.ravel(), B.ravel(), M.ravel()]), grad)
    G = A @ M @ B.T - T
    for found, factor, euclidean in zip(problem.split(grad), (A, B), (G @ B @ M.T, G.T @ A @ M)):
        inner = factor.T @ euclidean
        assert_allclose(found, euclidean - factor @ (inner + inner.T) / 2, atol=1e-13)


def test_it_reaches_the_best_rank_r_update_and_decay_costs_it_nothing():
    T = np.random.default_rng(3).standard_normal((8, 6))
    least = 0.5 * np.sum(np.linalg.svd(T, compute_uv=False)[RANK:] ** 2)
    problem = ls.Problem(Denoising(T), RANK, adapter=PoLAR())
    end = ls.solve(problem, "lbfgs", "balanced", stop=ls.StoppingRule(2000, grad_tol=1e-9))
    assert end.fun == pytest.approx(least, rel=1e-8)
    table = ls.compare(ls.Problem(Denoising(T), RANK), ["gd@polar~balanced", "gd"], seeds=1)
    assert [row.minimises for row in table.rows] == ["f over rank <= 2"] * 2


def test_dependent_columns_are_refused():
    problem = ls.Problem(Denoising(np.ones((4, 3))), 2, adapter=PoLAR())
    with pytest.raises(ValueError, match="init: 'polar' needs independent columns, and those of A are not"):
        ls.solve(problem, "gd", (np.ones((4, 2)), np.eye(3, 2)))
    with pytest.raises(ValueError, match="needs nonzero columns"):
        ls.solve(problem, "gd", "lora")
