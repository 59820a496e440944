"""Softmax regression against a loop written from the definition, closed forms and its own second route."""

import math

import numpy as np
import pytest

from lorasolve.objectives import Softmax


def loss_by_definition(W, Z, labels):
    """Mean cross-entropy and its gradient, sample by sample in Python floats."""
    total, grad = 0.0, np.zeros_like(W)
    for z, y in zip(Z.T, labels):
        s = [math.fsum(w * x for w, x in zip(row, z)) for row in W]
        top = max(s)
        weights = [math.exp(v - top) for v in s]
        total += top + math.log(math.fsum(weights)) - s[y]
        for c, weight in enumerate(weights):
            grad[c] += (weight / math.fsum(weights) - (c == y)) * z
    return total / Z.shape[1], grad / Z.shape[1]


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return rng.standard_normal((4, 6)), rng.standard_normal((6, 25)), rng.integers(0, 4, 25)


def test_value_and_gradient_agree_with_the_definition(data):
    W0, Z, labels = data
    X = np.random.default_rng(0).standard_normal(W0.shape)
    f, G = Softmax(W0, Z, labels).value_and_grad(X)
    expected_f, expected_G = loss_by_definition(W0 + X, Z, labels)
    assert f == pytest.approx(expected_f, rel=1e-14)
    np.testing.assert_allclose(G, expected_G, atol=1e-15)


@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-14), (np.float32, 1e-6)])
def test_factor_oracle_agrees_with_the_definition(data, dtype, tol):
    W0, Z, labels = data
    rng = np.random.default_rng(1)
    A, B = rng.standard_normal((4, 2)), rng.standard_normal((6, 2))
    objective = Softmax(W0.astype(dtype), Z.astype(dtype), labels)
    GB, GtA = np.empty((4, 2), dtype), np.empty((6, 2), dtype)
    f = objective.factor_oracle(A.astype(dtype), B.astype(dtype), GB, GtA)
    expected_f, G = loss_by_definition(W0 + A @ B.T, Z, labels)
    assert f == pytest.approx(expected_f, rel=tol)
    np.testing.assert_allclose(GB, G @ B, atol=10 * tol)
    np.testing.assert_allclose(GtA, G.T @ A, atol=10 * tol)


def test_rank_may_change_between_calls(data):
    W0, Z, labels = data
    objective = Softmax(W0, Z, labels)
    rng = np.random.default_rng(2)
    for r in (2, 3, 1, 2):
        A, B = rng.standard_normal((4, r)), rng.standard_normal((6, r))
        f = objective.factor_oracle(A, B, np.empty((4, r)), np.empty((6, r)))
        assert f == pytest.approx(loss_by_definition(W0 + A @ B.T, Z, labels)[0], rel=1e-14)


def test_uniform_prediction_costs_the_logarithm_of_the_number_of_classes():
    Z = np.random.default_rng(0).standard_normal((3, 8))
    for m in (2, 3, 7):
        f = Softmax(np.zeros((m, 3)), Z, np.zeros(8, int)).value_and_grad(np.zeros((m, 3)))[0]
        assert f == pytest.approx(math.log(m), rel=1e-15)


def test_large_logits_neither_overflow_nor_lose_the_value():
    # Two classes with logits 0 and -1e4: wrong labels cost exactly 1e4, right ones nothing.
    W0 = np.array([[0.0], [-1e4]])
    assert Softmax(W0, [[1.0]], [1]).value_and_grad(np.zeros((2, 1)))[0] == 1e4
    assert Softmax(W0, [[1.0]], [0]).value_and_grad(np.zeros((2, 1)))[0] == 0.0
    assert Softmax(W0 + 3e8, [[1.0]], [1]).value_and_grad(np.zeros((2, 1)))[0] == 1e4


def test_boehning_bound_is_attained_by_two_classes_at_even_odds():
    # There diag(p) - p p^T has the eigenvalue 1/2, so the bound is the largest Hessian eigenvalue itself.
    Z = np.random.default_rng(5).standard_normal((3, 9))
    objective = Softmax(np.zeros((2, 3)), Z, np.arange(9) % 2)
    basis = np.eye(6).reshape(6, 2, 3)
    H = np.array([objective.hessian_product(np.zeros((2, 3)), D).ravel() for D in basis])
    assert np.linalg.eigvalsh(H)[-1] == pytest.approx(objective.facts.smoothness, rel=1e-13)
    assert objective.facts.smoothness == pytest.approx(np.linalg.norm(Z, 2) ** 2 / 18, rel=1e-13)


def test_smoothness_uses_the_smaller_gram_matrix_correctly():
    Z = np.random.default_rng(5).standard_normal((9, 3))
    wide = Softmax(np.zeros((2, 9)), Z, [0, 1, 0])
    assert wide.facts.smoothness == pytest.approx(np.linalg.norm(Z, 2) ** 2 / 6, rel=1e-13)


def test_smoothness_of_a_batch_and_of_other_data_is_their_own(data):
    W0, Z, labels = data
    objective = Softmax(W0, Z, labels)
    whole = objective.facts.smoothness
    batch = objective.sample_batch([0, 1])
    assert batch.facts.smoothness == pytest.approx(np.linalg.norm(Z[:, :2], 2) ** 2 / 4, rel=1e-13)
    assert objective.with_data(2 * Z, labels).facts.smoothness == pytest.approx(4 * whole, rel=1e-13)
    assert objective.facts.smoothness == whole


def test_large_gradient_is_given_by_products_and_small_one_explicitly():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((12, 2)), rng.standard_normal((15, 2))
    for n_samples, explicit in ((3, False), (40, True)):
        Z, labels = rng.standard_normal((15, n_samples)), rng.integers(0, 12, n_samples)
        objective = Softmax(np.zeros((12, 15)), Z, labels)
        operator = objective.gradient_operator(A, B)
        G = loss_by_definition(A @ B.T, Z, labels)[1]
        assert (operator.dense is not None) is explicit
        np.testing.assert_allclose(operator.to_dense(), G, atol=1e-14)
        np.testing.assert_allclose(operator.matmat(B), G @ B, atol=1e-13)
        np.testing.assert_allclose(operator.rmatmat(A), G.T @ A, atol=1e-13)


def test_test_set_accuracy_counts_correct_predictions():
    train = Softmax(np.zeros((2, 2)), np.eye(2), [0, 1])
    X = np.eye(2)  # predicts the larger coordinate
    assert train.metrics(X) == {"accuracy": 1.0}
    held_out = train.with_data([[3.0, 0.0, 1.0, 5.0], [1.0, 2.0, 4.0, 6.0]], [0, 1, 0, 0])
    np.testing.assert_array_equal(held_out.predict(X), [0, 1, 1, 1])
    assert held_out.metrics(X) == {"accuracy": 0.5}
    assert train.metrics(X) == {"accuracy": 1.0}


def test_merging_moves_the_update_into_the_frozen_weight(data):
    W0, Z, labels = data
    X = np.random.default_rng(7).standard_normal(W0.shape)
    merged = Softmax(W0, Z, labels).merged(X)
    np.testing.assert_array_equal(merged.W0, W0 + X)
    assert merged.value_and_grad(np.zeros_like(X))[0] == pytest.approx(loss_by_definition(W0 + X, Z, labels)[0])


def test_arrays_that_are_read_only_strided_or_integer_are_accepted(data):
    W0, Z, labels = data
    frozen = Z.copy()
    frozen.flags.writeable = False
    expected = Softmax(W0, Z, labels).value_and_grad(0 * W0)[0]
    for given in (frozen, np.asfortranarray(Z), np.repeat(Z, 2, axis=1)[:, ::2]):
        assert Softmax(W0, given, labels.astype(np.int8)).value_and_grad(0 * W0)[0] == pytest.approx(expected)
    assert Softmax(np.zeros((2, 1), int), [[1, 2]], [0, 1]).dtype == np.float64


W0, Z, LABELS = np.zeros((3, 2)), np.ones((2, 4)), np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((W0, np.ones((3, 4)), LABELS), ValueError, r"Z: expected shape \(2, N\).*got \(3, 4\)"),
        ((W0, Z, LABELS[:3]), ValueError, r"labels: expected shape \(4,\)"),
        ((W0, Z, LABELS[:, None]), ValueError, "labels: expected shape"),
        ((W0, Z, [0, 1, 2, 3]), ValueError, r"labels: expected integers from 0 to 2.*got 3 at \[3\]"),
        ((W0, Z, [0, -1, 2, 0]), ValueError, r"got -1 at \[1\]"),
        ((W0, Z, [0.0, 1.0, 2.0, 0.0]), TypeError, "labels: expected integers"),
        ((W0, Z, np.array([True, False, True, True])), TypeError, "labels: expected integers"),
        ((W0, Z, np.array(["a", "b", "c", "a"])), TypeError, "labels: expected integers"),
        ((W0, np.full((2, 4), np.nan), LABELS), ValueError, "Z: has non-finite entries"),
        ((np.full((3, 2), np.inf), Z, LABELS), ValueError, "W0: has non-finite entries"),
        ((W0, np.ones((2, 0)), []), ValueError, "Z: is empty"),
        ((W0, np.ones(2), LABELS), ValueError, "Z: expected 2 dimensions"),
        ((W0.astype(object), Z, LABELS), TypeError, "W0: expected real numbers"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        Softmax(*arguments)


@pytest.mark.parametrize("index", [[], [[0]], [0.5], [4], [-1], [True], np.ma.masked_array([0, 1], [0, 1])])
def test_batches_of_samples_that_do_not_exist_are_refused(index):
    with pytest.raises((ValueError, TypeError), match=r"index: (expected|is)"):
        Softmax(W0, Z, LABELS).sample_batch(index)


def test_data_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"Z: expected shape \(2, N\)"):
        Softmax(W0, Z, LABELS).with_data(np.ones((3, 1)), [0])
