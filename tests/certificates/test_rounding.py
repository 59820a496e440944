"""The steps of rounding-error analysis against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lorasolve.certificates import _rounding as rounding

SCALES = [1e-320, 1e-160, 1e-8, 1.0, 1e8, 1e150]


def exact_sum_of_squares(x):
    return sum((Fraction(v) ** 2 for v in x.ravel().tolist()), Fraction(0))


@pytest.mark.parametrize("scale", SCALES)
def test_directed_scalars_are_above_and_within_two_roundings(scale):
    rng = np.random.default_rng(0)
    for _ in range(500):
        a, b = (float(v) for v in scale * rng.random(2))
        total, product = Fraction(a) + Fraction(b), Fraction(a) * Fraction(b)
        for bound, true in ((rounding.add_up(a, b), total), (rounding.mul_up(a, b), product)):
            most = true * (1 + Fraction(2) ** -51) + Fraction(2) ** -1072
            assert math.isinf(bound) or true <= Fraction(bound) <= most
        root = rounding.sqrt_up(a)
        assert Fraction(root) ** 2 >= Fraction(a)
        assert root <= math.sqrt(a) * (1 + 2**-51) or a < 1e-300


def test_directed_scalars_at_the_edges():
    assert rounding.add_up() == 0.0 and rounding.add_up(0.0, 3.0, 0.0) == 3.0
    assert rounding.mul_up(2.0, 0.0) == 0.0 and rounding.mul_up(0.0, math.inf) == math.inf
    assert rounding.mul_up(2.0**-1074, 2.0**-1074) > 0.0
    for nan in (rounding.add_up(math.nan, 1.0), rounding.add_up(1.0, math.nan), rounding.mul_up(math.nan)):
        assert nan == math.inf
    assert rounding.mul_up(1e200, 1e200) == math.inf and rounding.sqrt_up(math.inf) == math.inf


def test_fractions_are_rounded_to_the_neighbours():
    rng = np.random.default_rng(1)
    for _ in range(300):
        x = Fraction(int(rng.integers(-(10**9), 10**9)), int(rng.integers(1, 10**9)))
        low, high = rounding.fraction_down(x), rounding.fraction_up(x)
        assert Fraction(low) <= x <= Fraction(high)
        assert high == low or math.nextafter(low, math.inf) == high
    assert rounding.fraction_up(Fraction(10) ** 400) == math.inf
    assert rounding.fraction_down(Fraction(10) ** 400) == 1.7976931348623157e308
    assert rounding.fraction_up(-(Fraction(10) ** 400)) == -1.7976931348623157e308
    assert rounding.fraction_up(Fraction(1, 10**400)) == 2.0**-1074


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (40, 5), (257, 2)])
def test_norms_of_arrays(scale, shape):
    rng = np.random.default_rng(2)
    x = scale * rng.standard_normal(shape)
    true = exact_sum_of_squares(x)
    low, high = rounding.square_sum(x)
    assert Fraction(low) <= true and (math.isinf(high) or true <= Fraction(high))
    if 1e-150 < scale < 1e140:
        assert high <= low * (1 + 1e-12)
    assert rounding.square_sum(x.T)[1] >= low
    bound = rounding.frobenius(x)
    assert math.isinf(bound) or Fraction(bound) ** 2 >= true
    for norms, columns in ((rounding.column_norms(x), x.T), (rounding.row_norms(x), x)):
        for norm, column in zip(norms, columns):
            assert math.isinf(norm) or Fraction(float(norm)) ** 2 >= exact_sum_of_squares(column)
    lengths, others = np.abs(x[0]), np.abs(x[-1])
    true = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(lengths, others))
    assert math.isinf(rounding.weighted_sum(lengths, others)) or rounding.weighted_sum(lengths, others) >= true


def test_products_that_are_all_rounded_down_are_within_a_weighted_sum():
    """In most sums roundings cancel; these are the 60 of 4000 products near 1 that lose most."""
    pairs = 1.0 + 2.0**-20 * np.random.default_rng(8).random((4000, 2))
    lost = [Fraction(a) * Fraction(b) - Fraction(a * b) for a, b in pairs.tolist()]
    worst = pairs[np.argsort(np.array(lost, float))[-60:]]
    for first in range(45):
        a, b = worst[first : first + 15].T.copy()
        true = sum(Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist()))
        assert Fraction(rounding.weighted_sum(a, b)) >= true


@pytest.mark.parametrize("size", [1, 127, 128, 1000])
def test_sums_of_numbers_of_one_sign_are_within_the_stated_error(size):
    for seed in range(20):
        x = np.random.default_rng(seed).random(size)
        total, error = rounding.nonnegative_sum(x)
        true = sum(map(Fraction, x.tolist()))
        assert abs(Fraction(total) - true) <= Fraction(error) <= true * rounding.BLOCK * Fraction(2) ** -52


def test_norms_of_what_is_not_finite_are_infinite():
    for bad in (math.nan, math.inf, -math.inf):
        assert rounding.frobenius(np.array([[1.0, bad]])) == math.inf
    assert math.isnan(rounding.exact_sum(np.array([math.inf, -math.inf])))
    assert rounding.square_sum(np.empty(0)) == (0.0, 0.0)


@pytest.mark.parametrize("k", [1, 5, 256, 257, 700])
def test_sums_of_products_are_within_the_stated_error(k):
    rng = np.random.default_rng(k)
    A, B = rng.standard_normal((2, k)) * 10.0 ** rng.integers(-6, 7, k), rng.standard_normal((k, 2))
    C = rounding.blocked(A, B)
    for i in range(2):
        for j in range(2):
            pairs = [Fraction(float(a)) * Fraction(float(b)) for a, b in zip(A[i], B[:, j])]
            size = sum(abs(p) for p in pairs)
            assert abs(Fraction(float(C[i, j])) - sum(pairs)) <= Fraction(rounding.sum_error(k)) * size
    assert rounding.terms(k) <= k and (k <= 2 * rounding.BLOCK or rounding.terms(k) < k)


@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1.0, 1e8, 1e200])
@pytest.mark.parametrize("k", [2, 9, 300])
def test_split_products_add_up_exactly(scale, k):
    rng = np.random.default_rng(4)
    A = scale * rng.standard_normal((3, k)) * 10.0 ** rng.integers(-8, 9, (3, k))
    B = rng.standard_normal((k, 2))
    bits = rounding.significant_bits(k)
    A1, A2 = rounding.split(A, bits, 1)
    B1, B2 = rounding.split(B, bits, 0)
    assert np.array_equal(A1 + A2, A) and np.array_equal(B1 + B2, B)
    top = np.abs(A).max(axis=1, keepdims=True)
    assert (np.abs(A2) <= 2.0**-bits * 2 * top).all()
    C = A1 @ B1
    for i in range(3):
        for j in range(2):
            pairs = zip(A1[i].tolist(), B1[:, j].tolist())
            assert Fraction(float(C[i, j])) == sum(Fraction(a) * Fraction(b) for a, b in pairs)


def test_one_bit_more_in_the_parts_is_not_exact():
    rng = np.random.default_rng(5)
    k = 300
    A, B = rng.standard_normal((40, k)), rng.standard_normal((k, 1))
    bits = rounding.significant_bits(k) + 4
    A1, B1 = rounding.split(A, bits, 1)[0], rounding.split(B, bits, 0)[0]
    C = A1 @ B1
    exact = [sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, B1[:, 0])) for row in A1]
    assert any(Fraction(float(c)) != e for c, e in zip(C[:, 0], exact))


def test_two_sum_is_exact():
    rng = np.random.default_rng(6)
    a, b = (rng.standard_normal(500) * 10.0 ** rng.integers(-200, 200, 500) for _ in range(2))
    high, low = rounding.two_sum(a, b)
    assert np.array_equal(high, a + b)
    for x, y, h, e in zip(a.tolist(), b.tolist(), high.tolist(), low.tolist()):
        assert Fraction(x) + Fraction(y) == Fraction(h) + Fraction(e)


def test_the_arithmetic_here_fits_the_model():
    assert rounding.environment_refusal() is None


def test_a_factorisation_that_is_off_is_seen(monkeypatch):
    from scipy.linalg import lapack

    good = lapack.dpotrf

    def bad(*args, **kwargs):
        R, info = good(*args, **kwargs)
        return R * (1.0 + 1e-11), info

    monkeypatch.setattr(lapack, "dpotrf", bad)
    assert "Cholesky" in rounding._matrix_refusal.__wrapped__()


def test_arithmetic_that_changes_is_seen_at_once(monkeypatch):
    assert rounding.environment_refusal() is None
    monkeypatch.setattr(rounding, "ETA", 0.0)  # as if products of the smallest numbers were flushed
    assert "flushed" in rounding.environment_refusal()


def test_a_product_by_a_scheme_of_strassen_is_seen(monkeypatch):
    """One level of Strassen's scheme loses the small entries of graded matrices."""

    class Strassen(np.ndarray):
        def __matmul__(self, other):
            a, b = np.asarray(self), np.asarray(other)
            if a.shape != (300, 300):
                return a @ b
            (p, q), (r, s) = (np.hsplit(half, 2) for half in np.vsplit(a, 2))
            (t, u), (v, w) = (np.hsplit(half, 2) for half in np.vsplit(b, 2))
            one, two, three, four = (p + s) @ (t + w), (r + s) @ t, p @ (u - w), s @ (v - t)
            five, six, seven = (p + q) @ w, (r - p) @ (t + u), (q - s) @ (v + w)
            return np.block([[one + four - five + seven, three + five], [two + four, one - two + three + six]])

    integers = np.random.Generator.integers

    class Generator:
        def __init__(self, seed):
            self.rng = np.random.Generator(np.random.PCG64(seed))

        def integers(self, *given):
            return integers(self.rng, *given).view(Strassen)

    monkeypatch.setattr(np.random, "default_rng", Generator)
    assert "products of matrices" in rounding._matrix_refusal.__wrapped__()
