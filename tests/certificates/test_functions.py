"""Exponential, logarithm and mean losses against mpmath."""

import math

import mpmath
import numpy as np
import pytest

from lorasolve.certificates import _functions as functions
from lorasolve.certificates import _losses as losses
from lorasolve.certificates import stacked_balls, stacked_oracles
from lorasolve.certificates.balls import Ball


def arguments(low, high):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(0.0, 2.0, 1500), 10.0 ** rng.uniform(low, high, 1500), [0.0, 2.0**-1074, 0.5]])


def worst(values, x, function):
    """The largest error relative to the true value, after the absolute allowance."""
    with mpmath.workprec(200):
        errors = []
        for value, argument in zip(values.tolist(), x.tolist()):
            true = function(mpmath.mpf(argument))
            errors.append(float(max(abs(mpmath.mpf(value) - true) - functions.TINY, 0) / true) if true else abs(value))
        return max(errors)


def test_exponential():
    x = -np.append(arguments(-12.0, 3.0), [699.99, 700.0, 700.01, 745.0, 1e300])
    assert worst(functions.exp_nonpositive(x), x, mpmath.exp) <= functions.EXP_ERROR
    assert functions.exp_nonpositive(np.zeros(1))[0] == 1.0


def test_logarithm():
    x = np.append(arguments(-300.0, 8.0), [np.nextafter(0.5, 1.0), 1.0, 1e300, 1e-310])
    assert worst(functions.log1p_nonnegative(x), x, mpmath.log1p) <= functions.LOG_ERROR


def contains(loss, f, D):
    """Whether bounds contain the exact value and the exact derivative."""
    with mpmath.workprec(300):
        pairs = zip(loss.derivative.mid.ravel().tolist(), D.ravel())
        distance = mpmath.sqrt(sum((mpmath.mpf(a) - b) ** 2 for a, b in pairs))
        return mpmath.mpf(loss.low) <= f <= mpmath.mpf(loss.high) and distance <= mpmath.mpf(loss.derivative.radius)


CASES = [
    (kind, spread, radius)
    for kind in ("softmax", "logistic")
    for spread in (0.0, 1e-6, 1.0, 40.0, 900.0, 1e8)
    for radius in (0.0, 1e-13, 1e-3, 0.4, 3.0)
]


@pytest.mark.parametrize(("kind", "spread", "radius"), CASES)
def test_losses_contain_every_member_of_a_ball_of_outputs(kind, spread, radius, exact):
    rng = np.random.default_rng(7)
    for _ in range(4):
        K, N = int(rng.integers(2, 5)), int(rng.integers(1, 4))
        s = spread * rng.standard_normal((K, N))
        labels = rng.integers(0, K, N) if kind == "softmax" else rng.choice([-1.0, 1.0], (K, N))
        loss = getattr(losses, kind)(Ball(s, radius), labels)
        for direction in (np.zeros((K, N)), rng.standard_normal((K, N))):
            length = np.linalg.norm(direction) or 1.0
            with mpmath.workprec(300):
                step = direction / length * radius * (1 - 1e-15)
                moved = exact.reals(exact.rational(s) + exact.rational(step))
                f, D = getattr(exact, f"{kind}_loss")(moved, labels)
            assert contains(loss, f, D)


@pytest.mark.parametrize("kind", ["softmax", "logistic"])
def test_losses_are_tight_where_the_data_are_separated(kind, exact):
    """A loss of 1e-17 and its derivative are known to nearly full relative accuracy."""
    s = np.array([[40.0], [0.0], [1.0]])
    labels = np.array([0]) if kind == "softmax" else np.array([[1.0], [-1.0], [1.0]])
    if kind == "logistic":
        s = np.array([[40.0], [-39.0], [41.0]])
    loss = getattr(losses, kind)(Ball(s), labels)
    assert 0.0 < loss.high < 1e-16 and loss.high - loss.low < 1e-13 * loss.high
    assert loss.derivative.radius < 1e-13 * np.linalg.norm(loss.derivative.mid)


@pytest.mark.parametrize("radius", [0.49, 1.0, 3.0])
def test_a_tiny_derivative_grows_over_a_ball_as_the_exponential_does(radius, exact):
    """By e^(sqrt(2) r) for two outputs that approach each other, by e^r for one."""
    s, label = np.array([[30.0], [0.0]]), np.array([0])
    low, high, D = stacked_oracles.softmax_losses(stacked_balls.Balls(s[None].copy(), np.array([radius])), label)
    stacked = losses.Loss(low[0], high[0], Ball(D.mid[0], D.radius[0]))
    step = radius * (1.0 - 1e-9)
    with mpmath.workprec(300):
        nearer = s + step * math.sqrt(0.5) * np.array([[-1.0], [1.0]])
        f, derivative = exact.softmax_loss(exact.reals(exact.rational(nearer)), label)
        assert contains(losses.softmax(Ball(s, radius), label), f, derivative) and contains(stacked, f, derivative)
        f, derivative = exact.logistic_loss(exact.reals(exact.rational(s[:1] - step)), np.ones((1, 1)))
        assert contains(losses.logistic(Ball(s[:1], radius), np.ones((1, 1))), f, derivative)


@pytest.mark.parametrize("kind", ["softmax", "logistic"])
@pytest.mark.parametrize("broken", [("EXP_ERROR", "LOG_ERROR", "U"), ("frobenius",)])
def test_a_dropped_error_is_caught(kind, broken, monkeypatch, exact):
    for name in broken:
        monkeypatch.setattr(losses, name, (lambda x: 0.0) if name == "frobenius" else 0.0)
    rng = np.random.default_rng(8)
    caught = 0
    for _ in range(200):
        s = rng.standard_normal((3, 2))
        labels = rng.integers(0, 3, 2) if kind == "softmax" else rng.choice([-1.0, 1.0], (3, 2))
        with mpmath.workprec(300):
            f, D = getattr(exact, f"{kind}_loss")(exact.reals(exact.rational(s)), labels)
        caught += not contains(getattr(losses, kind)(Ball(s), labels), f, D)
    assert caught > 0


def test_outputs_that_overflow_say_nothing():
    ball = Ball(np.array([[np.inf], [0.0]]), np.nan)
    for loss in (losses.softmax(ball, np.array([0])), losses.logistic(ball, np.ones((2, 1)))):
        assert loss.high == np.inf and loss.derivative.radius == np.inf


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1.0, 40.0, 900.0, 1e8])
def test_a_stack_of_losses_contains_every_member_of_each_ball(spread, exact):
    """By the compiled kernel, against exact values, and with the very same middles as its plain twin."""
    rng = np.random.default_rng(7)
    radii = np.array([0.0, 1e-13, 1e-3, 0.4, 3.0])
    for K, N in ((2, 1), (4, 3)):
        s, labels = spread * rng.standard_normal((5, K, N)), rng.integers(0, K, N)
        # Several largest logits, the label's own among them or not.
        s[:2, :2, 0] = s[:2].max(axis=1)[:, None, 0]
        low, high, D = stacked_oracles.softmax_losses(stacked_balls.Balls(s.copy(), radii), labels)
        for k, radius in enumerate(radii):
            found = losses.Loss(low[k], high[k], Ball(D.mid[k], D.radius[k]))
            twin = losses.softmax(Ball(s[k], radius), labels)
            np.testing.assert_array_equal(found.derivative.mid, twin.derivative.mid)
            for away in (0.0, 1.0 - 1e-9):
                direction = rng.standard_normal((K, N))
                step = direction * (away * radius / np.linalg.norm(direction))
                with mpmath.workprec(300):
                    member = exact.reals(exact.rational(s[k]) + exact.rational(step))
                    f, derivative = exact.softmax_loss(member, labels)
                assert contains(found, f, derivative)


def test_a_stack_of_losses_is_as_sharp_as_each_alone():
    rng = np.random.default_rng(8)
    for N in (63, 64, 65, 300):
        s, labels, radii = rng.standard_normal((3, 6, N)), rng.integers(0, 6, N), np.array([0.0, 1e-12, 1e-3])
        low, high, D = stacked_oracles.softmax_losses(stacked_balls.Balls(s.copy(), radii), labels)
        for k, radius in enumerate(radii):
            twin = losses.softmax(Ball(s[k], radius), labels)
            np.testing.assert_array_equal(D.mid[k], twin.derivative.mid)
            assert D.radius[k] == pytest.approx(twin.derivative.radius, rel=1e-9, abs=0.0)
            # The errors of the samples are the same: sums of N are in blocks of 128 there, and here of no more than N.
            blocks = 128.0 - (N if N <= 256 else 128 + 3 + 2)
            more = (twin.high - twin.low - (high[k] - low[k])) / (2.0**-53 * twin.high)
            assert abs(more - 2.0 * blocks) <= 12.0
            assert abs(high[k] + low[k] - twin.high - twin.low) <= 1e-13 * twin.high
    # A loss of 1, and then some below half of its last bit each: most sums do not see them.
    t = np.full((1, 2, 300), np.log(0.95 * 2.0**-53))
    t[0, :, 0], t[0, 1, 1:] = (np.log(np.e - 1.0), 0.0), 0.0
    low, high, _ = stacked_oracles.softmax_losses(stacked_balls.Balls(t.copy(), np.zeros(1)), np.ones(300, int))
    with mpmath.workprec(200):
        true = sum(mpmath.log1p(mpmath.exp(mpmath.mpf(x))) for x in t[0, 0].tolist()) / 300
        assert low[0] <= true <= high[0]
    # What is not a number tells nothing.
    s[0, 0, 0] = np.inf
    with np.errstate(all="ignore"):
        low, high, D = stacked_oracles.softmax_losses(stacked_balls.Balls(s, np.array([np.nan, np.inf, 1.0])), labels)
    assert not (high < np.inf)[:2].any() and not (D.radius < np.inf)[:2].any()
