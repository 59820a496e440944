"""The expressive power of LoRA: the constructions against their bounds, refusals, and how claims are judged."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from lorasolve.papers import expressive_power


def layers(D, L, seed=0, near_identity=False):
    rng = np.random.default_rng(seed)
    bound = 1 / np.sqrt(D)
    made = [rng.uniform(-bound, bound, (D, D)) for _ in range(L + 1)]
    if near_identity:
        made = [np.eye(D) + 0.1 * W for W in made]
    return made[0], made[1:]


def product(weights, adapters):
    out = np.eye(weights[0].shape[0])
    for W, (A, B) in zip(weights, adapters):
        out = (W + A @ B.T) @ out
    return out


@pytest.mark.parametrize(("D", "ranks"), [(16, [3, 3]), (16, [2, 1, 4]), (16, [1, 1, 1, 1]), (8, [0, 3]), (8, [4, 4])])
@pytest.mark.parametrize("rotations", [0, 3])
def test_error_is_the_next_singular_value(D, ranks, rotations):
    target, weights = layers(D, len(ranks), near_identity=True)
    found = expressive_power.adapt_linear(target, weights, ranks, rotations)
    frozen = np.linalg.multi_dot(weights[::-1])
    sigma = np.append(np.linalg.svd(target - frozen, compute_uv=False), 0.0)
    error = target - product(weights, found.adapters)
    assert np.linalg.norm(error, 2) == pytest.approx(sigma[sum(ranks)], abs=1e-12)
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(sigma[sum(ranks) :]), abs=1e-12)
    assert found.error == pytest.approx(np.linalg.norm(error, 2), abs=1e-14)
    assert abs(found.gap) < 1e-12
    for (A, B), R in zip(found.adapters, ranks):
        assert A.shape[1] == B.shape[1] == R


def test_random_layers_of_two_and_four():
    for L, tolerance in ((2, 1e-11), (4, 1e-5)):
        for seed in range(5):
            target, weights = layers(16, L, seed)
            found = expressive_power.adapt_linear(target, weights, [16 // L] * L)
            assert found.error < tolerance
            assert found.lower_bound == 0.0


def test_lower_bound_is_never_beaten():
    target, weights = layers(6, 2)
    bound = expressive_power.adapt_linear(target, weights, [1, 1]).lower_bound
    rng = np.random.default_rng(0)
    for _ in range(3000):
        adapters = [(rng.standard_normal((6, 1)), rng.standard_normal((6, 1))) for _ in range(2)]
        scale = np.exp(rng.standard_normal())
        error = target - product(weights, [(scale * A, B) for A, B in adapters])
        assert np.linalg.norm(error, 2) >= bound - 1e-12


def test_first_layer_may_be_singular():
    target, weights = layers(8, 2)
    weights[0] = weights[0] - np.outer(weights[0] @ np.eye(8)[0], np.eye(8)[0])  # a zero column
    assert np.linalg.matrix_rank(weights[0]) == 7
    found = expressive_power.adapt_linear(target, weights, [4, 4])
    assert found.error < 1e-11


def test_rotation_repairs_a_singular_prefix():
    D = 6
    rng = np.random.default_rng(1)
    weights = [np.eye(D), np.eye(D)]
    u = rng.standard_normal(D)
    u /= np.linalg.norm(u)
    # E = -u u^T + smaller directions: I + LR_1(E) annihilates u
    others = np.linalg.qr(np.column_stack([u, rng.standard_normal((D, 2))]))[0][:, 1:3]
    target = np.eye(D) - np.outer(u, u) + 0.3 * others @ others.T
    with pytest.warns(expressive_power.ConditioningWarning, match="condition number"):
        plain = expressive_power.adapt_linear(target, weights, [1, 2])
    turned = expressive_power.adapt_linear(target, weights, [1, 2], rotations=10)
    assert plain.condition > 1e10 > 1e3 > turned.condition
    assert turned.error < 1e-12


def test_depth_ruins_conditioning_and_is_said():
    target, weights = layers(16, 12)
    with pytest.warns(expressive_power.ConditioningWarning, match="achieved"):
        found = expressive_power.adapt_linear(target, weights, [2] * 12)
    assert found.error > 1e-3
    assert found.largest_adapter > 1e3
    target, weights = layers(16, 16, near_identity=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert expressive_power.adapt_linear(target, weights, [1] * 16).error < 1e-12


def relu(W, b, x):
    return np.maximum(W @ x + b[:, None], 0.0)


def test_relu_network_is_exact_on_the_ball_with_enough_rank():
    D, rng = 8, np.random.default_rng(0)
    target, weights = layers(D, 4)
    second = rng.uniform(-0.3, 0.3, (D, D))
    b1, b2 = rng.uniform(-0.3, 0.3, (2, D))
    found = expressive_power.adapt_relu([(target, b1), (second, b2)], weights, [4] * 4, radius=20.0)
    x = rng.standard_normal((D, 500))
    x *= 20.0 * rng.random(500) / np.linalg.norm(x, axis=0)
    expected = relu(second, b2, relu(target, b1, x))
    assert np.abs(found(x) - expected).max() < 1e-9
    # and beyond the ball it is not exact any more: the certificate is no triviality
    far = 1e3 * x
    assert np.abs(found(far) - relu(second, b2, relu(target, b1, far))).max() > 1.0


def test_relu_error_below_the_bounds():
    D = 16
    rng = np.random.default_rng(3)
    for R in (1, 3, 6):
        target, weights = layers(D, 2, seed=R)
        b = rng.uniform(-0.25, 0.25, D)
        found = expressive_power.adapt_relu([(target, b)], weights, [R, R], radius=12.0)
        residual = target - found.blocks[0].product
        x = rng.standard_normal((D, 4000))
        x = x[:, np.linalg.norm(x, axis=0) <= 12.0]
        errors = found(x) - relu(target, b, x)
        squared = np.sum(errors**2, axis=0)
        exact, loose, _ = expressive_power.mean_squared_error_bounds(residual, np.eye(D))
        assert squared.mean() <= exact <= loose
        assert np.sqrt(squared.mean()) <= found.error_bound
        assert (np.sqrt(squared) <= found.blocks[0].error * np.linalg.norm(x, axis=0) + 1e-9).all()


def test_frobenius_form_of_the_bound_is_false():
    # Sigma = I_16, all singular values 0.6, two of sixteen removed; the bias keeps all units active
    D, sigma = 16, 0.6
    rng = np.random.default_rng(0)
    W = np.linalg.qr(rng.standard_normal((D, D)))[0]
    E = sigma * np.diag([0.0, 0.0] + [1.0] * 14)
    x = rng.standard_normal((D, 20_000))
    b = np.full(D, 100.0)
    error = np.mean(np.sum((relu(W - E, b, x) - relu(W, b, x)) ** 2, axis=0))
    exact, trace, frobenius = expressive_power.mean_squared_error_bounds(E, np.eye(D))
    assert error == pytest.approx(14 * sigma**2, rel=0.02)
    assert exact == pytest.approx(14 * sigma**2)
    assert error <= trace == pytest.approx(16 * sigma**2)
    assert error > frobenius == pytest.approx(4 * sigma**2)


def test_attention_pair():
    D = 12
    rng = np.random.default_rng(5)
    frozen, target = ({k: rng.standard_normal((D, D)) / np.sqrt(D) for k in "QKVO"} for _ in range(2))
    found = expressive_power.adapt_attention(frozen, target, rank=6)
    (A, B), (C, F) = found.query_key.adapters
    W_K = frozen["K"] + F @ C.T  # the factors swap roles in the transpose
    np.testing.assert_allclose(W_K.T @ (frozen["Q"] + A @ B.T), target["K"].T @ target["Q"], atol=1e-10)
    assert found.value_output.error < 1e-10
    assert expressive_power.adapt_attention(frozen, target, rank=3).value_output.error > 1e-2


def test_partition_and_refusals():
    assert expressive_power.uniform_partition(7, 3) == [2, 2, 3]
    target, weights = layers(4, 2)
    with pytest.raises(ValueError, match="ranks"):
        expressive_power.adapt_linear(target, weights, [1])
    with pytest.raises(ValueError, match="layers"):
        expressive_power.adapt_linear(target, [np.eye(3)], [1])
    with pytest.raises(ValueError, match="partition"):
        expressive_power.adapt_relu([(target, np.zeros(4))], weights, [1, 1], 1.0, partition=[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        # These three gave an answer: of the first two ranks, and of shape (4, 4).
        (lambda W, F: expressive_power.adapt_relu([(W, np.zeros(4))], F, [1, 1, 2], 1.0), "ranks: expected 2 numbers"),
        (lambda W, F: expressive_power.adapt_relu([(W, np.zeros((4, 1)))], F, [1, 1], 1.0), r"targets\[0\]\[1\]"),
        (lambda W, F: expressive_power.adapt_relu([(W, np.zeros(4))], F, [1, 1], 1.0)(np.ones(4)), "x: expected"),
        (lambda W, F: expressive_power.adapt_relu([(W, np.full(4, np.nan))], F, [1, 1], 1.0), r"targets\[0\]\[1\]"),
        (lambda W, F: expressive_power.adapt_relu([W], F, [1, 1], 1.0), r"targets\[0\]: expected a pair"),
        (lambda W, F: expressive_power.adapt_relu([(W, np.zeros(4))], F, [1, 1], 1.0, [1.5]), "partition: expected"),
        (lambda W, F: expressive_power.adapt_linear(W, F, 1), "ranks: expected a list"),
        (lambda W, F: expressive_power.adapt_linear(W, F, [1, 1], "2"), "rotations: expected"),
        (lambda W, F: expressive_power.uniform_partition("3", 1), "depth: expected"),
        # A bound below 0 on a mean square.
        (lambda W, F: expressive_power.mean_squared_error_bounds(W, -np.eye(4)), "second_moment: expected a symmetric"),
        (lambda W, F: expressive_power.mean_squared_error_bounds(W, np.triu(np.ones((4, 4)))), "second_moment"),
    ],
)
def test_what_no_network_is_made_of_is_refused_by_its_name(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(*layers(4, 2))


def test_layers_may_be_lists():
    target, frozen = layers(4, 2)
    bias = np.arange(4.0)
    arrays = expressive_power.adapt_relu([(target, bias)], frozen, [1, 2], 3.0)
    lists = expressive_power.adapt_relu([(target.tolist(), bias.tolist())], [W.tolist() for W in frozen], [1, 2], 3.0)
    x = np.random.default_rng(0).standard_normal((4, 5))
    np.testing.assert_array_equal(lists(x), arrays(x))
    head = {key: (2.0 * np.eye(3)).tolist() for key in "QKVO"}
    assert expressive_power.adapt_attention(head, {key: np.eye(3) for key in "QKVO"}, 2).query_key.error < 1e-14


def found(**changed):
    """Return numbers that fulfil every claim, with some of them changed."""
    rows = {"1": (0.06, 0.05), "2": (0.02, 0.021), "3": (0.001, 0.002), "4": (1e-28, 1e-4)}
    numbers = {
        "curve": [*expressive_power._PUBLISHED[:7], 1e-27],
        "deviation": 1e-16,
        "bounds": [5.0, 5.8, 1.4],
        "attention": [[0.8, 1e-16], [0.5, 1e-16], [0.2, 1e-16], [1e-13, 1e-13]],
        "trained": {R: [[a, b], [a, 1.01 * b]] for R, (a, b) in rows.items()},
        "depths": {"2": [1e-14, False], "16": [1e12, True]},
        "well_conditioned": 1e-14,
    }
    return numbers | changed


def with_training(R, *pairs):
    return {"trained": found()["trained"] | {R: [list(pair) for pair in pairs]}}


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        ({"curve": [0.11, np.nan, *expressive_power._PUBLISHED[2:7], 1e-27]}, [1]),
        ({"attention": [[0.8, 0.0], [0.5, 0.0], [1e-13, 0.0], [1e-13, 0.0]]}, [3]),  # exact below D/2 too
        ({"attention": [[0.8, 0.0], [0.5, 0.1], [0.2, 0.0], [1e-13, 0.0]]}, [3]),
        (with_training("1", (0.06, 0.05), (0.06, 0.09)), [4]),
        (with_training("2", (0.02, 0.015), (0.02, 0.0151)), [4]),
        (with_training("2", (0.02, 0.021), (0.02, np.nan)), [4]),  # a run without an error is none that is no better
        (with_training("3", (0.001, 0.0005), (0.001, 0.0006)), [4]),
        (with_training("4", (1e-28, 1e-15), (1e-28, 1e-15)), [4]),  # as good as zero
        ({"well_conditioned": 0.1}, [5]),
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = expressive_power.ExpressivePowerClaims().judge(found(**changed))
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


def test_a_deviation_that_is_undefined_is_not_passed_over(monkeypatch):
    gaps = iter([1e-16, np.nan, 1e-16])
    monkeypatch.setattr(expressive_power, "adapt_linear", lambda *_: SimpleNamespace(gap=next(gaps)))
    assert np.isnan(expressive_power.largest_deviation(3))


def test_training_is_by_the_gradient_of_the_loss_it_returns(monkeypatch):
    """By central differences at a point where no unit is at its kink."""
    seen = {}

    def record(loss, start, **_):
        seen.update(loss=loss, start=start)
        return SimpleNamespace(fun=loss(start)[0])

    monkeypatch.setattr("scipy.optimize.minimize", record)
    expressive_power.trained([2], 1, 1, D=4)
    theta = seen["start"] + 0.3 * np.random.default_rng(1).standard_normal(seen["start"].size)
    numeric = [(seen["loss"](theta + h)[0] - seen["loss"](theta - h)[0]) / 2e-6 for h in 1e-6 * np.eye(theta.size)]
    np.testing.assert_allclose(seen["loss"](theta)[1], numeric, atol=2e-5)


def test_training_goes_on_for_as_many_iterations_as_are_given():
    (((_, short),), ((_, longer),)) = (expressive_power.trained([1], 1, max_iter)[1] for max_iter in (480, 900))
    assert longer < short
