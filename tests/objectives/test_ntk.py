"""Losses of a linearised network: features against the Jacobian of a real one, values by hand, small numbers."""

import mpmath
import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import NTK

LOSSES = ["square", "logistic", "softmax"]


def network(loss, seed=0):
    rng = np.random.default_rng(seed)
    W0, V, Z = rng.standard_normal((4, 5)), rng.standard_normal((3, 4)), rng.standard_normal((5, 8))
    targets = {
        "square": rng.standard_normal((8, 3)),
        "logistic": np.where(rng.random((8, 3)) < 0.5, -1.0, 1.0),
        "softmax": rng.integers(0, 3, 8),
    }[loss]
    return W0, V, Z, targets, NTK.of_network(W0, V, Z, targets, loss)


def test_features_are_the_jacobian_of_the_real_network():
    W0, V, Z, _, f = network("square")
    D = np.random.default_rng(1).standard_normal(W0.shape)
    h = 1e-6
    numeric = (V @ np.tanh((W0 + h * D) @ Z) - V @ np.tanh((W0 - h * D) @ Z)).T / (2 * h)
    np.testing.assert_allclose(f.outputs(D) - f.outputs(0 * D), numeric, atol=1e-8)
    np.testing.assert_allclose(f.outputs(0 * D), (V @ np.tanh(W0 @ Z)).T, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_products_with_the_scalar_features_determine_the_loss(loss):
    """What is orthogonal to all of them changes nothing: for softmax they are one less for each sample."""
    f = network(loss)[-1]
    few = NTK(f.features[:4], f.targets[:4], loss)
    rows = few.scalar_features().reshape(-1, 20)
    assert len(rows) == (8 if loss == "softmax" else 12)
    X, D = np.random.default_rng(3).standard_normal((2, 20))
    free = D - np.linalg.pinv(rows) @ (rows @ D)
    assert np.linalg.norm(free) > 1.0
    values = [few.value_and_grad(Y.reshape(4, 5))[0] for Y in (X, X + free, X + D)]
    assert values[1] == pytest.approx(values[0], rel=1e-12)
    assert abs(values[2] - values[0]) > 1e-3 * values[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_value_by_hand_and_claims(loss):
    *_, targets, f = network(loss)
    X = np.random.default_rng(2).standard_normal(f.shape)
    total = 0.0
    for i in range(8):
        z = np.array([f.offset[i, k] + np.sum(f.features[i, k] * X) for k in range(3)])
        if loss == "square":
            total += 0.5 * np.sum((z - targets[i]) ** 2)
        elif loss == "logistic":
            total += np.sum(np.log1p(np.exp(-targets[i] * z)))
        else:
            total += np.log(np.sum(np.exp(z))) - z[targets[i]]
    assert f.value_and_grad(X)[0] == pytest.approx(total / 8, rel=1e-13)
    report = ls.check_objective(f, 0)
    assert report.ok, str(report)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_bound_of_curvature_along_matrices_of_rank_one_is_attained_by_one_sample(loss):
    """At outputs 0, along the top singular pair of ``G_1``; the two outputs of softmax move in opposite directions."""
    J = np.random.default_rng(4).standard_normal((4, 3))
    P, s, Qt = np.linalg.svd(J)
    features = np.stack([J, -J])[None] if loss == "softmax" else J[None, None]
    f = NTK(features, {"square": [[1.0]], "logistic": [[1.0]], "softmax": [1]}[loss], loss)
    D, h = np.outer(P[:, 0], Qt[0]), 1e-4
    value = [f.value_and_grad(step * D)[0] for step in (-h, 0.0, h)]
    assert (value[0] - 2.0 * value[1] + value[2]) / h**2 == pytest.approx(f.facts.rank_one_smoothness, rel=1e-5)
    most = {"square": 1.0, "logistic": 0.25, "softmax": 1.0}[loss] * np.sum(s**2)
    assert f.facts.rank_one_smoothness <= f.facts.smoothness <= most * (1.0 + 1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_smoothness_is_that_of_the_loss_times_the_squared_norm_of_the_features(loss):
    *_, f = network(loss)
    largest = np.linalg.norm(f.features.reshape(-1, f.features[0, 0].size), 2) ** 2 / 8
    assert f.facts.smoothness == pytest.approx({"square": 1.0, "logistic": 0.25, "softmax": 0.5}[loss] * largest)


def test_square_loss_agrees_with_a_real_network_nearby():
    rng = np.random.default_rng(0)
    W0, V, Z, Y, f = network("square")
    direction = rng.standard_normal(W0.shape)
    errors = []
    for h in (1e-2, 1e-3):
        real = 0.5 * np.sum((V @ np.tanh((W0 + h * direction) @ Z) - Y.T) ** 2) / 8
        errors.append(abs(real - f.value_and_grad(h * direction)[0]))
    assert errors[1] < 0.02 * errors[0]  # second order


@pytest.mark.parametrize("size", [0.1, 3.0, 40.0, 300.0])
@pytest.mark.parametrize("loss", ["softmax", "logistic"])
def test_small_losses_and_slopes_keep_their_digits(loss, size):
    rng = np.random.default_rng(int(size))
    for K in (1, 2, 4):
        z = size * rng.standard_normal((5, K))
        targets = z.argmax(axis=1) if loss == "softmax" else np.where(z > 0.0, 1.0, -1.0)
        targets[0] = 0 if loss == "softmax" else -targets[0]
        # At the update 0 the gradient is that in the outputs, spread over a matrix with an entry for each.
        value, G = NTK(5.0 * np.eye(5 * K).reshape(5, K, 5, K), targets, loss, z).value_and_grad(np.zeros((5, K)))
        with mpmath.workdps(1000):
            exact = mpmath.mpf(0)
            for i, row in enumerate(z.tolist()):
                e = [mpmath.exp(s if loss == "softmax" else t * s) for s, t in zip(row, np.resize(targets[i], K))]
                for k in range(K):
                    right = loss == "softmax" and k == targets[i]
                    if loss == "logistic":
                        exact += mpmath.log1p(1 / e[k])
                        slope = -targets[i, k] / (1 + e[k])
                    else:
                        exact += mpmath.log(sum(e) / e[k]) if right else 0
                        slope = -sum(e[:k] + e[k + 1 :]) / sum(e) if right else e[k] / sum(e)
                    assert abs(G[i, k] - slope) <= 1e-15 * (1.0 + 5.0 * size) * abs(slope) + 1e-307
            assert abs(5.0 * value - exact) <= 1e-15 * (1.0 + 5.0 * size) * exact + 1e-307


def test_bad_input_is_named():
    G = np.ones((4, 2, 3, 3))
    with pytest.raises(ValueError, match="loss"):
        NTK(G, np.zeros((4, 2)), "hinge")
    with pytest.raises(ValueError, match="targets"):
        NTK(G, np.zeros((4, 2)), "logistic")
    with pytest.raises(ValueError, match=r"targets: expected -1 or \+1, got 0 at \[0, 1\]"):
        NTK(G, [[1, 0], [1, 1], [1, 1], [1, 1]], "logistic")
    for argument in ("targets", "offset"):
        given = {"targets": np.zeros((4, 2)), argument: np.full((4, 2), 1e39)}
        with pytest.raises(ValueError, match=f"{argument}: has non-finite entries"):  # once they are float32
            NTK(G.astype(np.float32), **given)
    with pytest.raises(ValueError, match="targets"):
        NTK(G, np.array([0, 1, 2, 0]), "softmax")
    with pytest.raises(ValueError, match="offset"):
        NTK(G, np.zeros((4, 2)), offset=np.zeros((3, 2)))
