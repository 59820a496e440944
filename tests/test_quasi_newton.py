"""L-BFGS: the compact form against the recursion, and minima found below the rounding of the values."""

import itertools
import math

import numpy as np
import pytest

from lorasolve import _pair_passes, _quasi_newton
from lorasolve._pair_passes import PIECE
from lorasolve._quasi_newton import Memory, lbfgs
from lorasolve.kernels import pairs


def two_loop(pairs, g):
    """The textbook recursion (Nocedal and Wright, algorithm 7.4)."""
    q = g.copy()
    alphas = []
    for s, y in reversed(pairs):
        alphas.append((s @ q) / (s @ y))
        q -= alphas[-1] * y
    s, y = pairs[-1]
    r = (s @ y) / (y @ y) * q
    for (s, y), alpha in zip(pairs, reversed(alphas)):
        r += s * (alpha - (y @ r) / (s @ y))
    return -r


def direction(memory, g):
    d = np.empty_like(g)
    slope, length = memory.direction(g, float(np.linalg.norm(g)), d)
    np.testing.assert_allclose([slope, length], [g @ d, np.linalg.norm(d)], rtol=1e-6)
    return d


def add(memory, x, s, g, y):
    """Store a pair; lengths are given up to a factor."""
    memory.add(x, x + s, g, g + y, 0.3 * np.linalg.norm(s), 4.0 * np.linalg.norm(y))


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def passes(request, monkeypatch):
    """Passes over pairs in NumPy, or compiled for vectors of any length."""
    monkeypatch.setattr(_quasi_newton, "COMPILED", 0 if request.param else math.inf)
    assert (Memory(1, 1).passes is pairs) == request.param


def test_nothing_is_compiled_for_few_steps(monkeypatch) -> None:
    monkeypatch.setattr(_quasi_newton, "COMPILED", 0)
    assert Memory(1, 1, compiled=False).passes is _pair_passes and Memory(1, 1).passes is pairs


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("count", [1, 3, 5, 12])
@pytest.mark.parametrize(
    ("gradient", "curvature"), [(1.0, 1.0), (1e-60, 1.0), (1e60, 1.0), (1.0, 1e-60), (1e-60, 1e60)]
)
def test_the_compact_form_is_the_two_loop_recursion(count, gradient, curvature):
    """With gradients and curvatures that float32 does not hold too."""
    rng = np.random.default_rng(0)
    n = 20
    H = rng.standard_normal((n, n))
    H = H @ H.T + np.eye(n)
    memory, pairs = Memory(5, n), []
    for _ in range(count):
        s, x = rng.standard_normal(n), rng.standard_normal(n)
        add(memory, x, s, 0.0 * s, curvature * (H @ s))
        pairs.append((s, H @ s))
    g = rng.standard_normal(n)
    kept = [(memory.kept[slot].astype(float), memory.kept[5 + slot].astype(float)) for slot in memory.order]
    stored = []
    for (s, y), (own_s, own_y) in zip(pairs[-5:], kept, strict=True):
        for own, vector in ((own_s, s), (own_y, y)):
            own /= np.linalg.norm(own)
            np.testing.assert_allclose(own, vector / np.linalg.norm(vector), rtol=1e-5)
        stored.append((own_s, own_y * np.linalg.norm(y) / np.linalg.norm(s)))
    expected = two_loop(stored, g)
    found = direction(memory, gradient * g) / gradient * curvature
    # The products with the pairs are in float32.
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.usefixtures("passes")
def test_pairs_of_negative_curvature_are_left_out():
    memory, s, g = Memory(3, 4), np.ones(4), np.arange(4.0)
    add(memory, 0.0 * s, s, 0.0 * s, -s)
    np.testing.assert_array_equal(direction(memory, g), -g)
    add(memory, 0.0 * s, s, 0.0 * s, 2 * s)
    assert float(direction(memory, g) @ g) < 0
    memory.forget()
    # Nor is one safely positive that is nothing next to the lengths.
    for small, large in (([1.0, 0, 0, 0], [1e-16, 1.0, 0, 0]), ([1e-16, 1.0, 0, 0], [1.0, 0, 0, 0])):
        add(memory, 0.0 * s, np.array(small), 0.0 * s, np.array(large))
    np.testing.assert_array_equal(direction(memory, g), -g)


@pytest.mark.usefixtures("passes")
def test_a_pair_that_is_left_out_of_a_full_memory_leaves_the_others_as_they_are():
    """Its row was given to the next pair and to one that was still in use."""
    rng = np.random.default_rng(3)
    memory, kept, n = Memory(3, 8), [], 8
    scales, g = np.linspace(1.0, 2.0, n), rng.standard_normal(n)
    for sign in (1.0, 1.0, 1.0, -1.0, 1.0):
        s = rng.standard_normal(n)
        add(memory, 0.0 * s, s, 0.0 * s, sign * scales * s)
        kept += [(s, scales * s)] if sign > 0.0 else []
    expected = two_loop(kept[-3:], g)
    assert np.linalg.norm(direction(memory, g) - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float64, 1e-3), (np.float32, 1e-3), (np.float32, 1e-15), (np.float64, 1e-30)]
)
def test_curvatures_that_are_small_next_to_the_lengths_given_are_kept(dtype, size):
    """The length of ``y`` is only known to be at most those of both gradients."""
    memory, s = Memory(3, 4), np.array([1.0, 2.0, 0.0, 1.0], dtype)
    y, g = (size * s).astype(dtype), np.array([1.0, 0.0, 2.0, 1.0], dtype)
    memory.add(0.0 * s, s, 0.0 * y, y, 2.0, 10.0)
    assert np.linalg.norm(direction(memory, g) * size + g) <= 1e-5 * np.linalg.norm(g)
    # Squares that are nothing leave the pair out.
    memory.add(0.0 * s, s, 0.0 * y, (s * 1e-170 if dtype is np.float64 else s * 1e-30).astype(dtype), 2.0, 10.0)
    assert len(memory.order) == 1


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_long_pairs_are_the_same_in_pieces(dtype):
    """Vectors of several pieces: what is stored and the direction are those of whole vectors."""
    rng = np.random.default_rng(7)
    n = 2 * PIECE + 5
    x, g, scales = (v.astype(dtype) for v in (*rng.standard_normal((2, n)), np.linspace(0.5, 2.0, n)))
    memory, pairs = Memory(3, n), []
    for _ in range(2):
        s = rng.standard_normal(n).astype(dtype)
        add(memory, x, s, g, scales * s)
        pairs.append((s.astype(float), (scales * s).astype(float)))
    expected = two_loop(pairs, g)
    assert np.linalg.norm(direction(memory, g) - expected) <= 1e-5 * np.linalg.norm(expected)


def quadratic(n, condition, noise=0.0):
    rng = np.random.default_rng(1)
    scales = np.logspace(0, -np.log10(condition), n)
    target = rng.standard_normal(n)

    def function(x, grad):
        grad[:] = scales * (x - target)
        return 0.5 * float(scales @ (x - target) ** 2) + noise * float(np.sin(1e9 * x.sum()))

    return function, target


def never(_):
    return False


def test_a_quadratic_is_minimised():
    function, target = quadratic(30, 1e3)
    slopes = []

    def recorded(x, grad):
        value = function(x, grad)
        slopes.append(float(np.abs(grad).max()))
        return value

    x, evaluations = lbfgs(recorded, np.zeros(30), 1000, lambda _: slopes[-1] < 1e-10, noise=0.0, memory=8)
    # The smallest curvature is 1e-3.
    np.testing.assert_allclose(x, target, atol=1e-7)
    assert evaluations == len(slopes) < 1000


def test_the_minimum_is_found_to_the_accuracy_of_the_gradient():
    """Values that are good to 1e-9 tell points to 3e-5 only; the gradient knows more."""
    function, target = quadratic(30, 10.0, noise=1e-9)
    x, _ = lbfgs(function, np.zeros(30), 1000, never, noise=4e-9, memory=8)
    assert np.abs(x - target).max() < 1e-9
    blind, _ = lbfgs(function, np.zeros(30), 1000, never, noise=0.0, memory=8)
    assert np.abs(blind - target).max() > 1e-7


def test_rounding_errors_may_be_a_share_of_the_values():
    """Values around 1e6 that are good to 1e-9 of it tell points to 3e-2 only."""
    plain, target = quadratic(30, 10.0)

    def function(x, grad):
        return 1e6 * (1.0 + plain(x, grad) * 1e-6) * (1.0 + 1e-9 * float(np.sin(1e9 * x.sum())))

    x, _ = lbfgs(function, np.zeros(30), 1000, never, noise=0.0, memory=8, share=4e-9)
    assert np.abs(x - target).max() < 1e-9
    blind, _ = lbfgs(function, np.zeros(30), 1000, never, noise=0.0, memory=8)
    assert np.abs(blind - target).max() > 1e-4


def test_points_are_asked_about_once_also_where_a_line_search_begins_anew():
    plain, _ = quadratic(10, 10.0, noise=1e-6)
    asked = []

    def done(x):
        asked.append(x.copy())
        return False

    lbfgs(plain, np.zeros(10), 1000, done, noise=0.0, memory=4)
    assert len(asked) > 4 and len(np.unique(asked, axis=0)) == len(asked) and not asked[0].any()


def test_a_point_without_a_gradient_is_asked_about_too():
    asked = []

    def square(x, grad):
        grad[:] = x
        return 0.5 * float(x @ x)

    def done(x):
        asked.append(x.copy())
        return False

    lbfgs(square, np.ones(3), 10, done, noise=0.0, memory=4)
    assert len(asked) == 2 and not asked[-1].any()


def test_a_function_that_falls_without_end_is_followed():
    def falling(x, grad):
        grad[:] = -x
        return -0.5 * float(x @ x)

    values = []

    def done(x):
        values.append(-0.5 * float(x @ x))
        return values[-1] < -1e100

    lbfgs(falling, np.ones(3), 100, done, noise=0.0, memory=4, longest=1.0, falling=10)
    assert values[-1] < -1e100 and len(values) < 40


def test_the_first_step_is_no_longer_than_asked_for():
    tried = []

    def steep(x, grad):
        tried.append(x.copy())
        grad[:] = 1e8 * x
        return 5e7 * float(x @ x)

    lbfgs(steep, np.ones(4), 100, never, noise=0.0, memory=4, longest=0.25)
    assert np.linalg.norm(tried[1] - tried[0]) == pytest.approx(0.25)


def test_every_accepted_point_lowers_the_value():
    values = []

    def rosenbrock(x, grad):
        grad[0] = -400.0 * x[0] * (x[1] - x[0] ** 2) - 2.0 * (1.0 - x[0])
        grad[1] = 200.0 * (x[1] - x[0] ** 2)
        values.append(100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2)
        return values[-1]

    accepted = []

    def done(_):
        accepted.append(values[-1])
        return False

    x, evaluations = lbfgs(rosenbrock, np.array([-1.2, 1.0]), 200, done, noise=0.0, memory=8)
    np.testing.assert_allclose(x, [1.0, 1.0], atol=1e-6)
    assert evaluations == len(values)
    assert all(later <= earlier for earlier, later in itertools.pairwise(accepted))


def test_trials_that_are_not_finite_are_rejected():
    def barrier(x, grad):
        if x[0] <= 0.0:
            grad[:] = np.nan
            return np.inf
        grad[:] = 1.0 - 1e-3 / x
        return float(x[0] - 1e-3 * np.log(x[0]))

    x, _ = lbfgs(barrier, np.array([1.0]), 100, never, noise=0.0, memory=8)
    assert x[0] == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("least", [0.2, 0.5, 1.3])
@pytest.mark.parametrize("low", [0.0, 0.25])
def test_a_trial_beyond_is_followed_by_the_least_point_of_a_parabola(least, low):
    """3 (t - least)^2 - 1 is known by its value and slope at 0 and its value at 2; a tenth of the bracket is kept."""
    guess = _quasi_newton._interpolate(low, 2.0, 3.0 * least**2 - 1.0, -6.0 * least, 3.0 * (2.0 - least) ** 2 - 1.0)
    assert guess == pytest.approx(min(max(least, low + 0.1 * (2.0 - low)), low + 0.7 * (2.0 - low)), rel=1e-14)


def test_it_stops_when_told_to_and_at_stationary_points():
    function, target = quadratic(5, 10.0)
    assert lbfgs(function, target.copy(), 100, never, noise=0.0, memory=8)[1] == 1
    x, evaluations = lbfgs(function, np.zeros(5), 100, lambda _: True, noise=0.0, memory=8)
    assert evaluations == 1 and not x.any()
