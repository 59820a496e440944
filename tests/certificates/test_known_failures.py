"""Points that floating-point certificates got wrong: what is true of them, proved or at least never contradicted."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import lorasolve as ls
from lorasolve.certificates import better_by, rigorous_bound
from lorasolve.objectives import Denoising, LinearFineTuning


def as_fractions(x):
    return [[Fraction(v) for v in row] for row in np.asarray(x, dtype=float).tolist()]


def value_of_row(objective, lam, X):
    """``F(X)`` exactly up to the root in ``||X||_* = ||x||_2``, for linear fine-tuning with one row."""
    Z, Y = objective._samples
    W = [a + b for a, b in zip(as_fractions(objective.W0)[0], as_fractions(X)[0])]
    R = [sum(w * z for w, z in zip(W, column)) - y for column, y in zip(zip(*as_fractions(Z)), as_fractions(Y)[0])]
    f = sum(r * r for r in R) / (2 * len(R))
    square = sum(x * x for x in as_fractions(X)[0])
    with mpmath.workprec(300):
        f, square = (mpmath.mpf(number.numerator) / number.denominator for number in (f, square))
        return f + lam * mpmath.sqrt(square)


def test_directions_that_the_data_hardly_see_are_not_dropped():
    """A lower bound without the direction of eigenvalue 1e-16 called F = 0.25 global; F = 1e-6 is attained."""
    objective = LinearFineTuning([[0.0, 0.0]], np.diag([1.0, 1e-8]), [[1.0, 1.0]])
    problem = ls.Problem(objective, 1, 1e-14)
    X, better = np.array([[1.0, 0.0]]), np.array([[1.0, 1e8]])
    bound = rigorous_bound(problem, X)
    true = value_of_row(objective, 1e-14, X) - value_of_row(objective, 1e-14, better)
    assert true == pytest.approx(0.25 - 1e-6, rel=1e-6)
    assert bound.gap >= true
    # The other way round the better point is proved to be better.
    assert true * (1 - 1e-12) <= better_by(problem, X, better) <= true
    assert rigorous_bound(problem, better).gap < 1.1e-6


def nearly_fitting(seed=0):
    """A frozen weight of size 100 with residual 1e-6: what fine-tuning is about."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((5, 40))
    W0 = 100.0 * rng.standard_normal((4, 5))
    missing = 1e-6 * np.outer(rng.standard_normal(4), rng.standard_normal(5))
    return LinearFineTuning(W0, Z, (W0 + missing) @ Z), missing


@pytest.mark.parametrize("seed", range(5))
def test_a_frozen_weight_that_already_fits_does_not_cancel_the_loss(seed, exact):
    """``f(0)`` from cancelled Gram matrices called X = 0 global; the true optimum is well below."""
    objective, missing = nearly_fitting(seed)
    G = exact.loss(objective, exact.rational(np.zeros((4, 5))))[1]
    norm = float(np.linalg.norm(G.astype(float), 2))
    problem = ls.Problem(objective, 2, 0.3 * norm)
    zero = np.zeros((4, 5))
    better = 0.5 * missing
    gain = exact.loss(objective, exact.rational(zero))[0] - exact.loss(objective, exact.rational(better))[0]
    gain = exact.real(gain) - 0.3 * norm * exact.nuclear_norm(exact.rational(better))
    assert gain > 0
    bound = rigorous_bound(problem, zero)
    assert bound.gap >= gain and bound.gap > 1e-3 * bound.value
    assert 0.999 * gain <= better_by(problem, zero, better) <= gain
    # The value itself is right to all digits that the data determine.
    true = float(exact.loss(objective, exact.rational(zero))[0])
    assert bound.value == pytest.approx(true, rel=1e-9) and bound.value_high - bound.value_low <= 1e-9 * true


@pytest.mark.parametrize("seed", range(6))
def test_an_optimum_that_interpolates_is_not_refuted(seed, problems, exact):
    """At lam = 1e-12 a "better point" was known only up to the noise of f(0); a proof has no noise."""
    rng = np.random.default_rng(seed)
    Z, W0 = rng.standard_normal((4, 12)), rng.standard_normal((5, 4))
    update = np.outer(rng.standard_normal(5), rng.standard_normal(4))
    objective = LinearFineTuning(W0, Z, (W0 + update) @ Z)
    problem = ls.Problem(objective, 2, 1e-12)
    A, B = problems.optimum(problem, 3000)
    X = A @ B.T
    bound = rigorous_bound(problem, (A, B))
    # F is at most lam ||update||_*, and no point may be proved better than the optimum by more than it is.
    assert bound.gap <= 1.01e-12 * np.linalg.norm(update, "nuc")

    def value(point):
        point = exact.rational(point)
        return exact.real(exact.loss(objective, point)[0]) + mpmath.mpf(problem.lam) * exact.nuclear_norm(point)

    with mpmath.workprec(exact.BITS):
        for other in (update, X * (1 - 1e-9), X * (1 - 1e-13)):
            assert better_by(problem, X, other) <= value(X) - value(other)


def orthogonal_to(start, m):
    """The matrix with one singular value 100 in the plane that a fixed start vector misses."""
    a, b = start[:2]
    h = math.hypot(a, b)
    M = np.diag(np.linspace(0.99, 0.1, m))
    M[:2, :2] = 0.0
    M[0, 0], M[0, 1] = 100.0 * b / h, -100.0 * a / h
    return M


def test_no_start_vector_hides_a_singular_value():
    """A gradient orthogonal to the fixed start of a Lanczos iteration was certified with a true gap of 4900.5."""
    n = 600
    M = orthogonal_to(np.random.default_rng(0).standard_normal(n), n)
    problem = ls.Problem(Denoising(M), 2, 1.0)
    zero = (np.zeros((n, 1)), np.zeros((n, 1)))
    bound = rigorous_bound(problem, zero)
    s = np.linalg.svd(M, compute_uv=False)
    gap = 0.5 * np.sum(s**2) - np.sum(np.where(s > 1.0, s - 0.5, 0.5 * s**2))
    assert gap == pytest.approx(4900.5, rel=1e-9)
    assert bound.gap >= gap * (1 - 1e-12)


# ---------------------------------------------------------------------- given Gram matrices
def unchecked(S, C, f0):
    """Gram matrices that the constructor would refuse."""
    objective = LinearFineTuning.from_gram(np.zeros(np.shape(C)), np.eye(len(S)), np.zeros(np.shape(C)), f0)
    objective.S, objective.C = np.asarray(S, dtype=float), np.asarray(C, dtype=float)
    return objective


@pytest.mark.parametrize(
    ("argument", "S", "C", "f0"),
    [
        ("S", np.diag([1.0, -0.1]), [[0.5, 0.0]], 1.0),
        ("S", np.diag([1.0, -1e-9]), [[0.5, 0.0]], 1.0),
        ("C", np.diag([1.0, 0.0]), [[0.5, 1.0]], 1.0),
        ("C", np.diag([1.0, 0.0]), [[0.5, 1e-6]], 1.0),
        ("C", np.zeros((2, 2)), [[0.5, 0.0]], 1.0),
        ("f0", np.eye(2), [[2.0, 0.0]], 1.999),
        ("f0", np.eye(2), [[2.0, 0.0]], 0.0),
    ],
)
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_gram_matrices_of_no_samples_are_refused(argument, S, C, f0, unit):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        LinearFineTuning.from_gram(np.zeros((1, 2)), unit * S, unit * np.array(C), unit * f0)


@pytest.mark.parametrize("N", [2, 3, 30])
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gram_matrices_of_samples_are_accepted(N, unit, dtype):
    rng = np.random.default_rng(N)
    W0, Z, Y = (unit * rng.standard_normal(size) for size in ((3, 5), (5, N), (3, N)))
    for fits in (False, True):
        given = LinearFineTuning(*(x.astype(dtype) for x in (W0, Z, W0 @ Z if fits else Y)))
        again = LinearFineTuning.from_gram(given.W0, given.S, given.C, given.f0)
        assert again.value_and_grad(0.1 * W0)[0] == given.value_and_grad(0.1 * W0)[0]


def test_an_indefinite_matrix_is_not_taken_for_a_gram_matrix():
    S = np.diag([1.0, -0.1])
    problem = ls.Problem(unchecked(S, [[0.5, 0.0]], 1.0), 1, 0.1)
    bound = rigorous_bound(problem, np.array([[0.4, 0.0]]))
    # f falls to minus infinity along the second direction.
    assert bound.gap == math.inf and "positive semidefinite" in bound.refers_to
    # Rounding may leave a matrix unsymmetric by a last bit; then X S - C is not the gradient.
    S = np.array([[1.0, 0.5], [np.nextafter(0.5, 1.0), 1.0]])
    problem = ls.Problem(unchecked(S, [[0.5, 0.0]], 1.0), 1, 0.1)
    assert rigorous_bound(problem, np.array([[0.4, 0.0]])).gap == math.inf


def test_a_linear_term_outside_the_range_makes_no_finite_bound():
    """f is unbounded below along the second direction, where F falls too because 1 > lam."""
    problem = ls.Problem(unchecked(np.diag([1.0, 0.0]), [[0.5, 1.0]], 1.0), 1, 0.1)
    assert rigorous_bound(problem, np.array([[0.4, 0.0]])).gap == math.inf


def test_a_loss_at_zero_that_is_too_small_is_not_believed():
    """f(0) = 0 with C != 0 makes min f negative; the bound must not rest on f >= 0."""
    objective = unchecked([[1.0]], [[2.0]], 0.0)
    problem = ls.Problem(objective, 1, 0.5)
    # F(x) = x^2/2 - 2x + |x|/2 is smallest at 3/2, with value -9/8.
    for x in (0.0, 1.0, 1.5, 3.0):
        bound = rigorous_bound(problem, np.array([[x]]))
        true = 0.5 * x * x - 2.0 * x + 0.5 * x + 1.125
        assert bound.gap >= true - 1e-15
    assert rigorous_bound(problem, np.array([[1.5]])).gap <= 1e-12


def test_singular_gram_matrices_are_named_with_what_is_added():
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((4, 2))
    given = LinearFineTuning(rng.standard_normal((3, 4)), Z, rng.standard_normal((3, 2)))
    objective = LinearFineTuning.from_gram(given.W0, given.S, given.C, given.f0)
    problem = ls.Problem(objective, 3, 0.05)
    optimum = ls.solve_convex(problem, tol=1e-12)
    bound = rigorous_bound(problem, optimum)
    assert "added to the diagonal" in bound.refers_to and bound.relative_gap < 1e-8
    regular = LinearFineTuning.example(rng)
    regular = LinearFineTuning.from_gram(regular.W0, regular.S, regular.C, regular.f0)
    assert rigorous_bound(ls.Problem(regular, 2, 0.1), np.zeros(regular.shape)).refers_to == "the Gram matrices"
