"""The multi-output logistic loss against scalar formulas and the softmax loss it is a case of."""

import math

import numpy as np
import pytest

from lorasolve.objectives import Logistic, Softmax


def test_value_and_gradient_agree_with_the_definition():
    rng = np.random.default_rng(0)
    W0, Z, X = rng.standard_normal((3, 4)), rng.standard_normal((4, 7)), rng.standard_normal((3, 4))
    labels = rng.choice([-1, 1], (3, 7))
    f, G = Logistic(W0, Z, labels).value_and_grad(X)
    expected, grad = 0.0, np.zeros((3, 4))
    for c in range(3):
        for i in range(7):
            margin = labels[c, i] * float((W0 + X)[c] @ Z[:, i])
            expected += math.log(1 + math.exp(-margin)) / 7
            grad[c] -= labels[c, i] / (1 + math.exp(margin)) * Z[:, i] / 7
    assert f == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(G, grad, atol=1e-15)


def test_one_output_is_softmax_with_the_logits_zero_and_s():
    rng = np.random.default_rng(1)
    Z, w = rng.standard_normal((4, 9)), rng.standard_normal((1, 4))
    classes = rng.integers(0, 2, 9)
    two_rows = np.vstack([np.zeros((1, 4)), w])
    softmax = Softmax(np.zeros((2, 4)), Z, classes).value_and_grad(two_rows)
    logistic = Logistic(np.zeros((1, 4)), Z, 2 * classes[None] - 1).value_and_grad(w)
    assert logistic[0] == pytest.approx(softmax[0], rel=1e-14)
    np.testing.assert_allclose(logistic[1][0], softmax[1][1], atol=1e-15)


def test_large_margins_neither_overflow_nor_lose_the_value():
    objective = Logistic([[0.0]], [[1.0]], [[1]])
    with np.errstate(all="raise", under="ignore"):
        assert objective.value_and_grad(np.array([[-1e4]]))[0] == 1e4
        f, G = objective.value_and_grad(np.array([[40.0]]))
    assert f == pytest.approx(math.exp(-40), rel=1e-14, abs=0.0)
    assert G[0, 0] == pytest.approx(-math.exp(-40), rel=1e-14, abs=0.0)


def test_smoothness_is_the_hessian_at_zero():
    # The second derivative of log(1 + exp(-t)) is 1/4 at t = 0.
    Z = np.random.default_rng(5).standard_normal((3, 9))
    objective = Logistic(np.zeros((1, 3)), Z, np.ones((1, 9)))
    H = np.array([objective.hessian_product(np.zeros((1, 3)), D[None])[0] for D in np.eye(3)])
    np.testing.assert_allclose(H, Z @ Z.T / 36, atol=1e-15)
    assert objective.facts.smoothness == pytest.approx(np.linalg.eigvalsh(H)[-1], rel=1e-13)


def test_accuracy_counts_outputs_on_the_right_side():
    objective = Logistic(np.zeros((2, 2)), np.eye(2), [[1, -1], [1, 1]])
    assert objective.metrics(np.array([[2.0, 3.0], [1.0, 1.0]])) == {"accuracy": 0.75}


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([[1, 0, 1]], ValueError, r"labels: expected -1 or \+1, got 0 at \[0, 1\]"),
        ([[1, -1]], ValueError, r"labels: expected shape \(1, 3\)"),
        ([1, -1, 1], ValueError, "labels: expected 2 dimensions"),
        ([["a", "b", "c"]], TypeError, "labels: expected real numbers"),
        ([[1, np.nan, 1]], ValueError, "labels: has non-finite entries"),
    ],
)
def test_bad_labels_are_named(labels, error, words):
    with pytest.raises(error, match=words):
        Logistic(np.zeros((1, 2)), np.ones((2, 3)), labels)
