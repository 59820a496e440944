"""Operations on balls against exact rational arithmetic, with members away from the middle."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lorasolve.certificates import _oracle_measurements, balls
from lorasolve.certificates.balls import Ball
from lorasolve.kernels import simd
from lorasolve.kernels.splitting import split_products

SHAPES = [(3, 4, 2), (1, 1, 1), (2, 300, 3), (2, 900, 1)]


def graded(rng, shape):
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 7, shape)


def inside(exact, ball, true):
    """Whether an exact matrix is in a ball."""
    difference = true - exact.rational(ball.mid)
    return exact.dot(difference, difference) <= Fraction(ball.radius) ** 2


def member(rng, ball):
    """A matrix of floats in a ball, near its boundary."""
    direction = rng.standard_normal(ball.mid.shape)
    return ball.mid + direction * (ball.radius * (1 - 1e-9) / np.linalg.norm(direction))


@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape, exact):
    rng = np.random.default_rng(0)
    m, k, n = shape
    A, B = graded(rng, (m, k)), graded(rng, (k, n))
    true = exact.rational(A) @ exact.rational(B)
    plain = balls.product(A, B)
    assert inside(exact, plain, true)
    high, low, radius = balls.two_product(A, B)
    rest = true - exact.rational(high) - exact.rational(low)
    assert exact.dot(rest, rest) <= Fraction(radius) ** 2
    assert radius <= 2.0**-14 * balls.product(A, B).radius
    wide = balls.product(Ball(A, 1e-3 * np.linalg.norm(A)), Ball(B, 1e-2 * np.linalg.norm(B)))
    for _ in range(5):
        other = exact.rational(member(rng, Ball(A, 1e-3 * np.linalg.norm(A))))
        assert inside(exact, wide, other @ exact.rational(member(rng, Ball(B, 1e-2 * np.linalg.norm(B)))))


@pytest.mark.parametrize("ratio", [1.0, 2.0**20, 2.0**40])
def test_a_moved_weight_in_two_parts(ratio, exact):
    """Of a large weight and a small update it is the sum of the two second parts that is rounded."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        W0, A = ratio * rng.standard_normal((1, 1)), rng.standard_normal((1, 1))
        # With so few bits the product is a sum of two numbers.
        B = np.array([[1.0 + float(rng.integers(2**25)) * 2.0**-25]])
        high, low, radius = balls.moved(W0, A, B)
        true = exact.rational(W0) + exact.rational(A) @ exact.rational(B)
        rest = true - exact.rational(high) - exact.rational(low)
        assert exact.dot(rest, rest) <= Fraction(radius) ** 2
        assert radius <= 2.0**-74 * max(1.0, 2.0**-30 * ratio)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cancelled", [0.0, 1e-6, 1e-12])
def test_residuals_keep_their_accuracy_where_they_cancel(shape, cancelled, exact):
    rng = np.random.default_rng(1)
    m, k, n = shape
    A, B, low = rng.standard_normal((m, k)), rng.standard_normal((k, n)), 1e-17 * rng.standard_normal((k, n))
    Y = A @ B + cancelled * rng.standard_normal((m, n))
    for below in (None, low):
        ball = balls.residual(A, B, Y, below)
        right = exact.rational(B) + (0 if below is None else exact.rational(below))
        true = exact.rational(A) @ right - exact.rational(Y)
        assert inside(exact, ball, true)
        size = float(exact.dot(true, true)) ** 0.5
        assert ball.radius <= 2.0**-50 * size + 2.0**-68 * k * k * np.linalg.norm(A) * np.linalg.norm(B)
    assert inside(exact, balls.residual(A, B), exact.rational(A) @ exact.rational(B))


def test_each_of_the_two_small_products_of_a_residual_has_its_errors(exact):
    """Where one factor has few bits the other product is all that is left, and its terms cancel."""
    at = np.zeros(1, int)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        few, full = rng.integers(-(2**23), 2**23, (1, 64)).astype(float), rng.standard_normal((1, 64))
        for A, B in ((few, full), (full, few)):
            A1, B1 = (balls.split(factor, balls.significant_bits(64), 1)[0] for factor in (A, B))
            Y = A1 @ B1.T
            true = exact.rational(A) @ exact.rational(B).T - exact.rational(Y)
            assert inside(exact, balls.residual(A, B.T, Y), true)
            assert inside(exact, balls.entries(A, B, at, at, Y[0]), true[0])


def test_products_that_underflow_add_up(exact):
    """Each is 0.49 of the smallest number, which rounds to 0, and four of them nearly twice that number."""
    A = np.full((1, 4), 0.7 * 2.0**-537)
    true = exact.rational(A) @ exact.rational(A).T
    assert not (A @ A.T).any() and inside(exact, balls.product(A, A.T), true)


@pytest.mark.skipif(not simd.available(), reason="no vector lanes on this processor")
@pytest.mark.parametrize("N", [1, 6, 7])
@pytest.mark.parametrize("n", [1, 7, 8, 30, 201])
@pytest.mark.parametrize("cancelled", [1.0, 1e-6, 1e-13])
def test_measurements_in_one_pass(N, n, cancelled, exact):
    rng = np.random.default_rng(8)
    M = rng.standard_normal((N, n)) * 10.0 ** rng.integers(-9, 9, (N, 1)) * 10.0 ** rng.integers(-3, 1, n)
    M[N // 2] *= N == 1
    # The second part of x may be as large as it likes.
    x, low = rng.standard_normal(n), (1e-17, 1e-6)[n % 2] * rng.standard_normal(n)
    y = M @ (x + low) * (1.0 + cancelled * rng.standard_normal(N))
    true = exact.rational(M) @ (exact.rational(x) + exact.rational(low)) - exact.rational(y)
    ball = _oracle_measurements.measured_in_one_pass(M, y, x, low, 0.0)
    assert inside(exact, ball, true)
    # Its plain twin is another way to the same, as sharp but for the lengths that it splits at.
    twin = _oracle_measurements.measured(Ball(M), y, x[:, None], low[:, None], 0.0)
    assert inside(exact, twin, true[:, None])
    assert ball.radius <= 8.0 * twin.radius
    r, G = _oracle_measurements.combined_in_one_pass(M, y, x, low, 0.0)
    assert inside(exact, r, true)
    assert inside(exact, G, exact.rational(M).T @ true)
    assert (r.mid, r.radius) == (pytest.approx(ball.mid, rel=0.0, abs=0.0), ball.radius)
    # An error of x counts, and one that is not finite tells nothing.
    moved = x + 1e-3 * rng.standard_normal(n)
    error = float(np.linalg.norm(moved - x)) * (1 + 1e-12)
    there = exact.rational(M) @ (exact.rational(moved) + exact.rational(low)) - exact.rational(y)
    assert inside(exact, _oracle_measurements.measured_in_one_pass(M, y, x, low, error), there)
    twice = [np.stack([column, column], 1) for column in (x, low)]
    assert inside(exact, _oracle_measurements.measured(Ball(M), y, *twice, error), np.stack([there, there], 1))
    r, G = _oracle_measurements.combined_in_one_pass(M, y, x, low, error)
    assert inside(exact, r, there) and inside(exact, G, exact.rational(M).T @ there)
    x[0] = math.inf
    with np.errstate(all="ignore"):
        assert _oracle_measurements.measured_in_one_pass(M, y, x, low, 0.0).radius == math.inf
        r, G = _oracle_measurements.combined_in_one_pass(M, y, x, low, 0.0)
    assert r.radius == G.radius == math.inf


@pytest.mark.skipif(not simd.available(), reason="no vector lanes on this processor")
@pytest.mark.parametrize("N", [3, 128, 259])
def test_combinations_in_one_pass_are_summed_in_blocks(N, exact):
    """Against exact sums; beside that of the residual, the error is that of a block and of the sum of all blocks."""
    rng = np.random.default_rng(10)
    M, x = rng.standard_normal((N, 5)), rng.standard_normal(5)
    y = 10.0 ** rng.integers(-3, 3, N)
    r, G = _oracle_measurements.combined_in_one_pass(M, y, x, np.zeros(5), 0.0)
    true = exact.rational(M).T @ (exact.rational(M) @ exact.rational(x) - exact.rational(y))
    assert inside(exact, G, true)
    rounding = (min(N, 128 + 3) + 3) * 2.0**-53 * np.linalg.norm(r.mid)
    assert G.radius <= 1.01 * (rounding + r.radius) * np.linalg.norm(M)


@pytest.mark.skipif(not simd.available(), reason="no vector lanes on this processor")
def test_sums_in_one_pass_that_lose_all_that_is_small(exact):
    """A one, and then numbers below half of its last bit: no sum in the order of memory sees them."""
    tiny = 1.5 * 2.0**-54
    # Rows: without blocks the error would be 0.75 (N - 1) U of what the bound is relative to.
    N, n = 259, 9
    w, M = np.full(N, 2.0**-27), np.full((N, n), 1.5 * 2.0**-27)
    w[0], M[0] = 1.0, 1.0
    r, G = _oracle_measurements.combined_in_one_pass(M, -w, np.zeros(n), np.zeros(n), 0.0)
    assert (r.mid == w).all()
    true = exact.rational(M).T @ exact.rational(w)
    assert inside(exact, G, true)
    assert np.linalg.norm((true - exact.rational(G.mid)).astype(float)) >= 90 * 2.0**-53 * 3.0
    # Entries of a row, all of them in the second part of x.
    low = np.full(401, tiny)
    low[0] = 1.0
    ones, y = np.ones((1, 401)), np.zeros(1)
    r = _oracle_measurements.measured_in_one_pass(ones, y, np.zeros(401), low, 0.0)
    true = exact.rational(ones) @ exact.rational(low)
    assert inside(exact, r, true)
    assert float(true.item() - Fraction(r.mid.item())) >= 30 * 2.0**-53
    # Entries of the second part of a row, whose first part y takes away.
    row = np.array([[1.0, 2.0**-27, *[2.0**-27 * tiny] * 399]])
    r = _oracle_measurements.measured_in_one_pass(row, np.ones(1), np.ones(401), np.zeros(401), 0.0)
    true = exact.rational(row) @ exact.rational(np.ones(401)) - 1
    assert inside(exact, r, true)
    assert float(true.item() - Fraction(r.mid.item())) >= 30 * 2.0**-80


@pytest.mark.skipif(not simd.available(), reason="no vector lanes on this processor")
@pytest.mark.parametrize("size", [1.0, 1e-155, 1e-162])
@pytest.mark.parametrize("n", [8, 45])
def test_split_rows_are_exact_where_they_say_so(n, size, exact):
    """The leading products add up without any error, and what is left is as small as the bits say."""
    rng = np.random.default_rng(9)
    M = size * rng.standard_normal((21, n)) * 10.0 ** np.repeat(rng.integers(-5, 6, 11), 2)[:21, None]
    x = rng.standard_normal(n)
    x1 = (x + 0.75 * 2.0**31) - 0.75 * 2.0**31
    x2, out = x - x1, np.empty((21, 4))
    split_products(M.ravel(), x1, x2, 26, out)
    for row, (leading, rest, square, small) in zip(M, out):
        # Numbers whose squares underflow are split as if they had the smallest squares that do not.
        length = max(float(np.linalg.norm(row / size)) * size, 2.0**-500 * n**0.5)
        total = exact.dot(exact.rational(row), exact.rational(x))
        left = total - exact.rational(leading).item()
        assert abs(float(left) - rest) <= 1e-15 * 2.0**-20 * length * float(np.linalg.norm(x))
        assert square == pytest.approx(float(np.linalg.norm(row)) ** 2, rel=1e-14, abs=n * 2.0**-1074)
        # The unit that the leading parts are multiples of, from the bound that half of it makes.
        unit = Fraction(2.0 * (small / n) ** 0.5)
        split = [round(Fraction(a) / unit) * unit for a in row.tolist()]
        assert Fraction(leading) == sum(a1 * Fraction(b) for a1, b in zip(split, x1.tolist()))
        assert small <= n * (2.0**-23 * length) ** 2


def test_pairs(exact):
    """Beyond the length of a block too, at positions of a ball's members that are known exactly."""
    rng = np.random.default_rng(9)
    for size in (0, 1, 5, 127, 128, 300):
        e, values = rng.standard_normal((2, size)) * 10.0 ** rng.integers(-8, 9, (2, size))
        true = exact.dot(exact.rational(e), exact.rational(values)) if size else Fraction(0)
        low, high = balls.paired(Ball(e), values)
        assert low <= true <= high
        assert high - low <= 1e-13 * np.linalg.norm(e) * np.linalg.norm(values) + 1e-300
        # The farthest member of a ball: its radius along the values.
        away = 0.25 * np.linalg.norm(values)
        low, high = balls.paired(Ball(e, 0.25), values)
        assert low <= float(true) - away * (1.0 - 1e-12) and high >= float(true) + away * (1.0 - 1e-12)
    assert balls.paired(Ball(np.array([np.inf])), np.ones(1)) == (-np.inf, np.inf)


def test_entries(exact):
    rng = np.random.default_rng(2)
    A, B = graded(rng, (6, 3)), graded(rng, (5, 3))
    rows, cols = rng.integers(0, 6, 20), rng.integers(0, 5, 20)
    true = (exact.rational(A) @ exact.rational(B).T)[rows, cols]
    assert inside(exact, balls.entries(A, B, rows, cols), true)
    values = (A @ B.T)[rows, cols] + 1e-9 * rng.standard_normal(20)
    assert inside(exact, balls.entries(A, B, rows, cols, values), true - exact.rational(values))


def test_entries_whose_rests_cancel_count_the_rounding_errors_of_each(exact):
    """Of ``x y - x y'``, where ``y'`` is next to ``y``, next to nothing is left but what its two products lose."""
    for x in 1.0 + np.random.default_rng(0).random(20):
        A, B = np.array([[x, x]]), np.array([[x, -np.nextafter(x, 2.0)]])
        ball = balls.entries(A, B, np.zeros(1, int), np.zeros(1, int))
        assert inside(exact, ball, (exact.rational(A) @ exact.rational(B).T)[0])


@pytest.mark.parametrize("k", [1, 3, 40])
def test_rough_entries(k, exact):
    rng = np.random.default_rng(k)
    A, B = graded(rng, (6, k)), graded(rng, (5, k))
    rows, cols = np.nonzero(rng.random((6, 5)) < 0.7)
    true = (exact.rational(A) @ exact.rational(B).T)[rows, cols]
    for values in (np.zeros(len(rows)), (A @ B.T)[rows, cols], graded(rng, (len(rows),))):
        # Any order of evaluation, in any precision from binary64 on.
        for pick in (
            lambda A, B: (A @ B.T)[rows, cols],
            lambda A, B: (A.astype(np.longdouble) @ B.T)[rows, cols].astype(float),
        ):
            assert inside(exact, balls.rough_entries(A, B, values, pick), true - exact.rational(values))
    # One entry as far off as a sum of k products can be.
    one = np.array([[1.0 + 2.0**-52] * k]), np.array([[1.0 + 2.0**-52] * k])
    worst = balls.rough_entries(*one, np.zeros(1), lambda A, B: (A @ B.T).ravel() * (1.0 - (k - 1) * 2.0**-53))
    assert inside(exact, worst, (exact.rational(one[0]) @ exact.rational(one[1]).T).ravel())
    # A value far larger than the product: what is left is rounded too.
    small, large = np.array([[1.0]]), np.array([2.0**52 + 1.0])
    found = balls.rough_entries(small, small * 0.75, large, lambda A, B: (A @ B.T).ravel())
    assert inside(exact, found, exact.rational(np.array([0.75])) - exact.rational(large))


def test_scaling_and_half_squares(exact):
    rng = np.random.default_rng(3)
    ball = Ball(graded(rng, (4, 3)), 0.5)
    for divisor in (1, 7, 1000):
        quotient = balls.scaled(ball, float(divisor))
        assert inside(exact, balls.scaled(Ball(ball.mid), float(divisor)), exact.rational(ball.mid) / divisor)
        low, high = balls.half_square(ball, divisor)
        for _ in range(5):
            M = exact.rational(member(rng, ball))
            assert inside(exact, quotient, M / divisor)
            assert Fraction(low) <= exact.dot(M, M) / (2 * divisor) <= Fraction(high)
    assert balls.half_square(Ball(np.zeros((2, 2)), 1.0)) == (0.0, pytest.approx(0.5))
    assert balls.half_square(balls.unknown((2, 2))) == (0.0, np.inf)


@pytest.mark.parametrize("radius", [0.0, 1e-14, 0.3])
def test_inner_products(radius, exact):
    rng = np.random.default_rng(4)
    for _ in range(10):
        A, B, G = rng.standard_normal((4, 2)), rng.standard_normal((3, 2)), graded(rng, (4, 3))
        X = exact.rational(A) @ exact.rational(B).T
        size = float(np.linalg.norm(A @ B.T)) * (1 + 1e-12)
        low, high = balls.inner_product(Ball(G, radius), A, B, size)
        for _ in range(4):
            inner = exact.dot(exact.rational(member(rng, Ball(G, radius))), X)
            assert Fraction(low) <= inner <= Fraction(high)
        sizes = [np.linalg.norm(part) for part in (G, A, B)]
        assert high - low <= 2 * radius * size * (1 + 1e-9) + 1e-14 * math.prod(sizes)
    assert balls.inner_product(Ball(G, math.inf), A, B, size) == (-math.inf, math.inf)


def test_an_inner_product_whose_sum_is_rounded_down_at_each_step(exact):
    """1000 numbers above 1 by less than half of the last bit of what they are added to."""
    A, B = np.ones((1, 1000)), np.full((1, 1000), 1.0 + 30 * 2.0**-52)
    low, high = balls.inner_product(Ball(np.ones((1, 1))), A, B, 1001.0)
    true = exact.dot(exact.rational(A), exact.rational(B))
    assert Fraction(low) <= true <= Fraction(high)
    assert abs(float(np.einsum("ij,ij->i", A, B)[0]) - float(true)) > 2**-52 * float(true)


def test_an_inner_product_with_columns_that_a_gradient_hardly_sees(exact):
    """What is left of ``G B`` is of the size of one rounding, and its own error is far above one of it."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        B, G = rng.standard_normal((300, 1)), rng.standard_normal((1, 300))
        for _ in range(3):
            G = G - (G @ B) / (B.T @ B) * B.T
        low, high = balls.inner_product(Ball(G), np.ones((1, 1)), B, float(np.linalg.norm(B)) * (1 + 1e-12))
        true = exact.dot(exact.rational(G), exact.rational(B.T))
        assert Fraction(low) <= true <= Fraction(high)
        assert high - low < 1e-16


def test_a_radius_that_is_no_number_is_infinite():
    assert Ball(np.zeros((1, 1)), np.nan).radius == np.inf
    assert Ball(np.zeros((1, 1)), -1.0).radius == np.inf
    assert balls.product(np.array([[np.inf]]), np.array([[1.0]])).radius == np.inf
    with np.errstate(all="ignore"):
        assert balls.residual(np.array([[1e308]]), np.array([[1e308]])).radius == np.inf
