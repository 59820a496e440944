"""Bounds on the rank of the optimum, against optima whose rank is known."""

import math
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._known import Known
from lorasolve.certificates import certify, ranks
from lorasolve.certificates import rigorous as rigorous_module
from lorasolve.certificates._oracle_linear import margin
from lorasolve.certificates.balls import Ball
from lorasolve.certificates.norms import Gram
from lorasolve.low_rank import factor_svd
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, MatrixCompletion, MatrixSensing, Softmax
from lorasolve.objectives.base import Objective


def with_values(values, shape, seed=0):
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in shape)
    return (U * values) @ V.T


VALUES = np.array([5.0, 3.0, 1.5, 0.8, 0.4])


def optimum(M, lam):
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    return (P * np.maximum(s - lam, 0.0)) @ Qt


@pytest.mark.parametrize(("lam", "rank"), [(6.0, 0), (4.0, 1), (2.0, 2), (1.0, 3), (0.6, 4), (0.2, 5)])
@pytest.mark.parametrize("rigorous", [True, False])
def test_at_the_optimum_of_denoising_both_bounds_are_its_rank(lam, rank, rigorous):
    M = with_values(VALUES, (8, 6))
    certificate = certify(ls.Problem(Denoising(M), 3, lam), optimum(M, lam), rigorous=rigorous)
    assert certificate.rank_at_most == rank
    assert certificate.rank_at_least == (rank or None)
    assert f"; the optimum has rank {rank})" in str(certificate)
    assert certificate.level is (Known.RIGOROUS if rigorous else Known.CERTIFIED)
    assert any("Lipschitz constant 1" in text for text in certificate.assumptions)


@pytest.mark.parametrize("size", [1e-1, 1e-2, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("seed", range(4))
def test_near_an_optimum_the_bounds_enclose_its_rank(size, seed):
    M, lam = with_values(VALUES, (8, 6), seed), 1.0
    rng = np.random.default_rng(seed + 10)
    X = optimum(M, lam) + size * rng.standard_normal((8, 6))
    certificate = certify(ls.Problem(Denoising(M), 6, lam), X, tol=0.9)
    low, high = certificate.rank_at_least, certificate.rank_at_most
    assert (low is None or low <= 3) and (high is None or high >= 3)
    # sigma_i(G) stay below lam by at least 0.2 where X* has nothing, and the gap falls with the size.
    if certificate.gap < 0.5 * 0.15**2:
        assert high == 3
    if certificate.gap < 0.5 * 0.45**2:
        assert low == 3


def entrywise(M):
    """Denoising of ``M`` as sensing, one measurement an entry: smoothness 1, and 6 is what bounds it at rank one."""
    units = np.sqrt(M.size) * np.eye(M.size).reshape(-1, *M.shape)
    return MatrixSensing(units, np.sqrt(M.size) * M.ravel())


@pytest.mark.parametrize("rigorous", [True, False])
def test_the_rank_needs_no_norm_of_the_measurements_where_the_gap_is_small(rigorous):
    M, lam = with_values(VALUES, (8, 6)), 1.0
    objective = entrywise(M)
    X = optimum(M, lam) + 1e-4 * np.random.default_rng(1).standard_normal((8, 6))
    certificate = certify(ls.Problem(objective, 6, lam), X, tol=0.9, rigorous=rigorous)
    assert math.sqrt(12.0 * certificate.gap) < 0.2
    assert certificate.rank_at_most == 3 and "smoothness" not in vars(objective)
    assert any("along matrices of rank one is at most 6" in text for text in certificate.assumptions)


@pytest.mark.parametrize("rigorous", [True, False])
def test_the_rank_is_bounded_by_the_norm_of_the_measurements_where_the_gap_is_not_small(rigorous):
    """The fourth value of the gradient, 0.8, is within ``sqrt(12 gap)`` of lam and not within ``sqrt(2 gap)``."""
    M, lam = with_values(VALUES, (8, 6)), 1.0
    P, _, Qt = np.linalg.svd(M, full_matrices=False)
    X = (P * np.array([4.002, 2.0, 0.5, 0.0, 0.0, 0.0])) @ Qt
    certificate = certify(ls.Problem(entrywise(M), 6, lam), X, tol=0.9, rigorous=rigorous)
    assert math.sqrt(2.0 * certificate.gap) < 0.2 < math.sqrt(12.0 * certificate.gap)
    assert certificate.rank_at_most == 3
    assert any("Lipschitz constant 1" in text for text in certificate.assumptions)


@pytest.mark.parametrize("size", [1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_near_an_optimum_of_sensing_the_bound_is_its_rank_or_above(size, seed):
    M, lam = with_values(VALUES, (8, 6), seed), 1.0
    X = optimum(M, lam) + size * np.random.default_rng(seed + 10).standard_normal((8, 6))
    certificates = [certify(ls.Problem(objective, 6, lam), X, tol=0.9) for objective in (entrywise(M), Denoising(M))]
    high, other = (certificate.rank_at_most for certificate in certificates)
    assert high == other and (high is None or high >= 3)


def test_a_bound_along_matrices_of_rank_one_is_enough():
    class OfRankOne(Denoising):
        smoothness, rank_one_smoothness = None, 1.0

    M, lam = with_values(VALUES, (8, 6)), 1.0
    assert certify(ls.Problem(OfRankOne(M), 6, lam), optimum(M, lam)).rank_at_most == 3
    # Also where a distance three times smaller would count fewer values, and no smoothness tells that distance.
    P, _, Qt = np.linalg.svd(M)
    near = optimum(M, lam) + 0.1 * np.outer(P[:, 0], Qt[0])
    found, values = certify(ls.Problem(OfRankOne(M), 6, lam), near, tol=0.9), np.linalg.svd(M - near, compute_uv=False)
    counts = [np.count_nonzero(values >= lam - share * np.sqrt(2.0 * found.gap)) for share in (1.0, 1.0 / 3.0)]
    assert counts == [5, 4] and found.rank_at_most == 5
    far = optimum(M, lam) + 0.1 * np.random.default_rng(0).standard_normal((8, 6))
    assert certify(ls.Problem(OfRankOne(M), 6, lam), far, tol=0.9).rank_at_most is None


@pytest.mark.parametrize("rigorous", [True, False])
@pytest.mark.parametrize(
    ("lam", "x", "count"), [(2.0, [1.0, 0.0, 0.0], 2), (1.9, [1.1, 0.0, 0.0], 2), (1.03, [1.97, 0.95, 0.0], 3)]
)
@pytest.mark.parametrize("n", [4, rigorous_module.SMALL + 5])
def test_values_of_the_gradient_near_lam_are_counted_where_the_point_has_less_rank(lam, x, count, rigorous, n):
    """At lam = 2 there is a tie outside of the space of X, at 1.9 and 1.03 a gap with room for one value more."""
    target = np.array([3.0, 2.0, 1.0])
    problem = ls.Problem(MatrixCompletion([0, 1, 2], [0, 1, 2], target, (n, n)), 1, lam)
    certificate = certify(problem, np.diag([*x, *np.zeros(n - 3)]), 0.1, rigorous=rigorous)
    assert np.count_nonzero(np.abs(x - target) >= lam - np.sqrt(2.0 * certificate.gap) - 1e-9) == count
    assert certificate.is_global and certificate.rank_at_most == count


def test_more_columns_than_the_optimum_has_are_not_counted():
    """X of full numerical rank, with values far above the tolerance of ranks: the gradient tells that 3 will stay."""
    M, lam = with_values(VALUES, (8, 6)), 1.0
    P, _, Qt = np.linalg.svd(M, full_matrices=False)
    X = optimum(M, lam) + 1e-5 * P @ Qt
    certificate = certify(ls.Problem(Denoising(M), 6, lam), X, tol=1e-5)
    assert certificate.is_global is True and certificate.rank == 6
    assert certificate.rank_at_most == certificate.rank_at_least == 3


def test_the_least_and_the_largest_rank_there_are_need_one_bound() -> None:
    """Soft-thresholding of the singular values 5, 4 and 3 by 1 and by 6."""
    M = np.diag([5.0, 4.0, 3.0])
    full = certify(ls.Problem(Denoising(M), 3, 1.0), np.diag([4.0, 3.0, 2.0]))
    assert full.rank_at_least == full.rank_at_most == 3 and "; the optimum has rank 3)" in str(full)
    none = certify(ls.Problem(Denoising(M), 3, 6.0), np.zeros((3, 3)))
    assert none.rank_at_most == 0 and "; the optimum has rank 0)" in str(none)
    assert "at least" not in str(ls.path(ls.Problem(Denoising(M), 3, 1.0), [1.0]))


@pytest.mark.parametrize("name", ["huber", "completion", "linear", "softmax"])
def test_bounds_of_other_losses_agree_with_a_precise_optimum(name):
    rng = np.random.default_rng(3)
    M = with_values(VALUES, (8, 6), 3)
    rows, cols = np.divmod(rng.choice(48, 40, replace=False), 6)
    Z, W0 = rng.standard_normal((6, 40)), rng.standard_normal((8, 6))
    objective = {
        "huber": Huber(M, 0.5),
        "completion": MatrixCompletion(rows, cols, M[rows, cols], (8, 6)),
        "linear": LinearFineTuning(W0, Z, (W0 + M) @ Z),
        "softmax": Softmax(W0, Z, rng.integers(0, 8, 40)),
    }[name]
    lam = 0.3 * np.linalg.norm(objective.value_and_grad(np.zeros((8, 6)))[1], 2)
    problem = ls.Problem(objective, 6, lam)
    found = ls.solve_convex(problem, tol=1e-12)
    precise = np.linalg.svd(found.X, compute_uv=False)
    rank = int(np.count_nonzero(precise > 1e-5 * precise[0]))
    assert found.certificate.rank_at_most == rank
    assert found.certificate.rank_at_least in ((rank,) if name == "linear" else (None,))


def test_nothing_is_said_where_nothing_is_known():
    M = with_values(VALUES, (8, 6))

    class Unsmooth(Denoising):
        smoothness = None

    far = certify(ls.Problem(Denoising(M), 6, 1.0), np.zeros((8, 6)))
    assert far.rank_at_most is None and far.rank_at_least is None and "optimum has" not in str(far)
    assert certify(ls.Problem(Unsmooth(M), 6, 1.0), optimum(M, 1.0)).rank_at_most is None
    without = certify(ls.Problem(Denoising(M), 5, 0.0), M)
    assert without.is_global is True and without.rank_at_most is None and without.rank_at_least is None


def test_beyond_the_size_that_is_formed_all_values_near_lam_are_counted():
    """Observed are diag(3, 2, 0.99), at a point whose gradient is diag(1.1, 1, 0.99): 0.99 may be 1 at the optimum."""
    n, lam = 1001, 1.0
    k, values = np.arange(n), np.zeros(n)
    values[:3] = 3.0, 2.0, 0.99
    problem = ls.Problem(MatrixCompletion(k, k, values, (n, n)), 2, lam)
    A = np.zeros((n, 2))
    A[[0, 1], [0, 1]] = np.sqrt([1.9, 1.0])
    found = certify(problem, (A, A.copy()), tol=0.1)
    assert found.is_global is True and found.level is Known.SAMPLED
    assert lam - math.sqrt(2.0 * found.gap) < 0.99
    assert found.rank_at_most is None


def test_the_upper_bound_needs_its_distance():
    """G = diag(1, 0.9), lam = 1: from a distance of 0.2 to G* nothing follows, from 0.05 that X* has rank 1."""
    G, Q = np.diag([1.0, 0.9]), np.array([[1.0], [0.0]])
    assert ranks.most(Gram(Ball(G)), Q, 1.0, 0.05) == 1
    assert ranks.most(Gram(Ball(G)), Q, 1.0, 0.2) is None
    # The radius of the ball counts like a distance.
    assert ranks.most(Gram(Ball(G, 0.08), "gemm"), Q, 1.0, 0.05) is None
    assert ranks.most(Gram(Ball(G)), Q, 1.0, 1.0) is None


@pytest.mark.parametrize("shape", [(30, 40), (40, 30), (35, 35)])
def test_the_upper_bound_holds_in_any_space_and_is_sharp_in_the_right_one(shape):
    """Three values at 1, the next at 0.8: three from a distance of 0.1 on, unless the space misses one of them."""
    G = with_values(np.array([1.0, 1.0, 1.0, 0.8, 0.5]), shape)
    Q = np.linalg.svd(G)[2][:3].T
    gram = Gram(Ball(G))
    assert ranks.most(gram, Q, 1.0, 0.1) == 3
    assert ranks.most(gram, Q[:, :2], 1.0, 0.1) is None
    assert ranks.most(gram, Q, 1.0, 0.21) is None
    wider = np.linalg.qr(np.hstack([Q, np.random.default_rng(0).standard_normal((shape[1], 4))]))[0]
    assert ranks.most(gram, wider, 1.0, 0.1) == 3


def test_strong_convexity_of_a_large_gram_matrix():
    """The eigenvalue comes from an iteration, and what is proved is a bound of the true one."""
    rng = np.random.default_rng(2)
    n = ranks.SMALL + 50
    for excess in (0, 30, 200):
        Z = rng.standard_normal((n, n + excess))
        objective = LinearFineTuning(np.zeros((2, n)), Z, rng.standard_normal((2, n + excess)))
        smallest = np.linalg.eigvalsh(objective.S)[0]
        assert smallest * (1.0 - 1e-9) <= ranks._guess(objective.S) <= smallest * 1.01
        proved = ranks.strong_convexity(objective)
        assert 0.85 * smallest <= proved <= smallest or (proved == 0.0 and excess == 0)
    few = LinearFineTuning(np.zeros((2, n)), Z[:, : n - 1], np.zeros((2, n - 1)))
    assert ranks.strong_convexity(few) == 0.0


def test_a_guess_that_is_too_large_proves_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    objective = LinearFineTuning(np.zeros((2, 6)), rng.standard_normal((6, 9)), rng.standard_normal((2, 9)))
    smallest = float(np.linalg.eigvalsh(objective.S)[0])
    monkeypatch.setattr(ranks, "_guess", lambda S: 1.2 * smallest)
    assert ranks.strong_convexity(objective) == 0.0


def test_the_margin_of_a_diagonal_counts_its_shift():
    """(n + 3) U for the factorisation, and one more U for the sum of diagonal and shift."""
    S = np.diag([2.0**40, 2.0**38])
    for enough in (0.0, 2.0**40):
        assert margin(S, 1.0, enough) >= 6.0 * 2.0**-53 * 2.0**40
    assert margin(S, -(2.0**39)) is None


def test_strong_convexity_is_proved_for_gram_matrices_or_not_used():
    rng = np.random.default_rng(4)
    U = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    for smallest in (1e-1, 1e-3, 1e-6):
        Z = U @ np.diag(np.sqrt([3.0, 2.0, 1.0, 0.5, smallest])) * math.sqrt(5.0)
        objective = LinearFineTuning(np.zeros((3, 5)), Z, rng.standard_normal((3, 5)))
        assert 0.85 * smallest <= ranks.strong_convexity(objective) <= smallest
    singular = LinearFineTuning(np.zeros((3, 5)), Z[:, :3], rng.standard_normal((3, 3)))
    assert ranks.strong_convexity(singular) == 0.0
    assert ranks.strong_convexity(Huber(np.eye(3), 1.0)) == 0.0


@pytest.mark.parametrize("smallest", [1e-2, 1e-7, 1e-9])
def test_strong_convexity_has_units(smallest):
    """Features in units of 2^-k have a Gram matrix of 4^k times the size, digit by digit, and so has what is proved."""
    U = np.linalg.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
    Z = 2.0 * U @ np.diag(np.sqrt([3.0, 2.0, 1.0, smallest]))
    proved = [
        ranks.strong_convexity(LinearFineTuning(np.zeros((1, 4)), np.ldexp(Z, k), np.zeros((1, 4)))) * 4.0**-k
        for k in (0, -30, 30)
    ]
    assert proved[0] == proved[1] == proved[2] and (proved[0] > 0.0) == (smallest > 6e-8)


def cancelling(rng, K=2.0**34):
    """Factors whose large columns cancel exactly, and their small product of integers, without rounding."""
    P, Q = rng.integers(-3, 4, (6, 3)).astype(float), rng.integers(-3, 4, (5, 3)).astype(float)
    R = P @ np.outer(rng.integers(1, 3, 3), [1.0, 1.0, 2.0])
    return np.hstack([K * P, R - K * P]), np.hstack([Q, Q]), R @ Q.T


@pytest.mark.parametrize("batch", [False, True])
def test_the_lower_bound_counts_what_factors_lose_by_cancelling(batch):
    """The optimum of denoising has the rank of M above lam, two: its third singular value is 1e-12."""
    A, B = np.zeros((7, 7)), np.zeros((6, 7))
    X, lam = np.zeros((7, 6)), 1e-6
    A[:6, :6], B[:5, :6], X[:6, :5] = cancelling(np.random.default_rng(1))
    A[6, 6], B[5, 6], X[6, 5] = 2.0**14, 1.0, 2.0**14
    U, _, Vt = np.linalg.svd(X)
    M = X + lam * (U[:, :2] @ Vt[:2])
    assert (np.linalg.svd(M, compute_uv=False) > 1e-4 * lam).sum() == 2
    problem = ls.Problem(Denoising(M), 3, lam)
    found = ls.certify_batch(problem, [(A, B)])[0] if batch else certify(problem, (A, B))
    assert found.is_global is True and found.rank_at_least in (None, 1, 2)
    exact = certify(problem, X)
    assert exact.is_global is True and exact.rank_at_least == 2


@pytest.mark.parametrize("seed", range(10))
def test_singular_values_of_a_product_are_bounded_from_below(seed):
    rng = np.random.default_rng(seed)
    for K in (0.0, 2.0**10, 2.0**34):
        A, B, X = cancelling(rng, K)
        true = np.linalg.svd(X, compute_uv=False)
        P, s, Q = factor_svd(A, B)
        for size in (0.0, 1e-9, 1e-3):
            noisy = [x * (1.0 + size * rng.standard_normal(x.shape)) for x in (P, s, Q)]
            share, off = ranks._singular_values_off(A, B, *noisy)
            least = np.sort(share * noisy[1] - off)[::-1]
            assert (least[: true.size] <= true * (1 + 1e-13) + 1e-12).all()
            if K == size == 0.0:
                assert least[0] >= true[0] * (1 - 1e-12)
        # Columns that are orthogonal and too short, of either side.
        for left, right in ((0.9, 1.0), (1.0, 0.9)):
            share, off = ranks._singular_values_off(left * A, right * B, left * P, s, right * Q)
            assert (np.sort(share * s - off)[::-1][: true.size] <= 0.9 * true * (1 + 1e-13) + 1e-12).all()


def test_columns_that_look_orthonormal_are_not_taken_for_it():
    """Squared lengths that round to 1, each off by nearly a unit roundoff: ``||P^T P - I||_F`` is that of fractions."""
    rng = np.random.default_rng(0)
    k, columns, squares = 16, [], []
    while len(columns) < k:
        x = rng.uniform(0.6, 0.7)
        y = math.sqrt(1.0 - x * x)
        off = Fraction(x) ** 2 + Fraction(y) ** 2 - 1
        if x * x + y * y == 1.0 and off > Fraction(7, 10) / 2**53:
            columns.append((x, y))
            squares.append(off**2)
    P = np.zeros((2 * k, k))
    for i, column in enumerate(columns):
        P[2 * i : 2 * i + 2, i] = column
    assert sum(squares) <= Fraction(ranks._defect(P)) ** 2


def test_an_attribute_of_a_loss_that_states_no_fact_bounds_no_rank():
    """Of sum (x_ii - 1)^2 / 2 + lam ||X||_* the matrices .9 I, of rank two, and .9 ones, of rank one, are minima."""

    class Diagonal(Objective):
        convex, smoothness, lower_bound, least_squares, shape = True, 1.0, 0.0, True, (2, 2)

        def __init__(self, alpha):
            self.alpha = alpha

        def value_and_grad(self, X):
            G = np.diag(np.diag(X) - 1.0)
            return 0.5 * float(np.sum(G * G)), G

    problem = ls.Problem(Diagonal(16.0), 2, 0.1)
    assert problem.convex_value(0.9 * np.eye(2)) == pytest.approx(problem.convex_value(0.9 * np.ones((2, 2))))
    found = certify(problem, 0.9 * np.eye(2))
    assert found.is_global is True and found.rank_at_least in (None, 1)
    assert not any("conjugate" in text for text in found.assumptions)


class Stretched:
    """A user's ``c ||L (X - M)||_F^2 / 2`` for a diagonal ``L``: its curvature is at most ``c max L^2``."""

    convex, lower_bound = True, 0.0

    def __init__(self, M, L, unit=1.0, **stated):
        self.M, self.L, self.unit, self.shape = M, L, unit, M.shape
        vars(self).update(stated)

    def value_and_grad(self, X):
        E = self.L[:, None] * (X - self.M)
        return 0.5 * self.unit * float(np.vdot(E, E)), self.unit * self.L[:, None] * E


@pytest.mark.parametrize("fact", ["smoothness", "rank_one_smoothness"])
@pytest.mark.parametrize("share", [1e-9, 0.1, 0.5, 0.9, 1.0, 2.0])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_a_stated_curvature_that_is_too_small_bounds_no_rank(fact, share, unit):
    # The optimum is diagonal: X*_ii = M_ii - lam / (c L_i^2) where that is positive, so it has rank 3.
    L, values, lam = np.ones(8), np.array([5.0, 3.0, 1.5, 0.8, 0.4, 0.1]), 1.0
    L[2] = 3.0
    M = np.vstack([np.diag(values), np.zeros((2, 6))])
    X = np.vstack([np.diag(np.maximum(values - lam / L[:6] ** 2, 0.0)), np.zeros((2, 6))])
    assert np.linalg.matrix_rank(X) == 3
    loss = Stretched(M, L, unit, **{fact: share * 9.0 * unit})
    for cut in (0.0, 1e-6):
        near = np.maximum(X - cut, 0.0)
        certificate = certify(ls.Problem(loss, 3, unit * lam), near, tol=1e-2)
        assert certificate.is_global is True
        assert certificate.rank_at_most is None if share < 1.0 else certificate.rank_at_most == 3
        assert any("for the rank" in text for text in certificate.assumptions) is (share >= 1.0)


class InSingle:
    """``||X - M||^2/2`` computed in float32, whose curvature is 1 in every direction."""

    convex, lower_bound, smoothness, shape = True, 0.0, 1.0, (6, 5)

    def __init__(self, M):
        self.M = M.astype(np.float32)

    def value_and_grad(self, X):
        E = X.astype(np.float32) - self.M
        return float(0.5 * np.vdot(E, E)), E


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0])
def test_a_true_curvature_is_not_suspected_for_the_rounding_of_float32(unit):
    """Differences of gradients in float32 exceed it, by what rounding makes of them."""
    for seed in range(25):
        P, Q = (np.linalg.qr(np.random.default_rng(seed).standard_normal((k, 2)))[0] for k in (6, 5))
        values = unit * np.array([3.0, 2.0])
        optimum = (P * (values - 0.5 * unit)) @ Q.T
        certificate = certify(ls.Problem(InSingle((P * values) @ Q.T), 3, 0.5 * unit), optimum, tol=1e-3)
        assert certificate.is_global and certificate.rank_at_most == 2


def test_a_loss_made_of_another_one_has_its_own_convexity():
    """``0.01 ||X - M||^2/2`` is strongly convex with 0.01, and ``||X - M||^2/2`` with 1."""

    class Scaled(Denoising):
        smoothness = 0.01

        def value_and_grad(self, X):
            return 0.005 * float(np.sum((X - self.M) ** 2)), 0.01 * (X - self.M)

    class ScaledLinear(LinearFineTuning):
        def value_and_grad(self, X):
            f, G = super().value_and_grad(X)
            return 0.01 * f, 0.01 * G

    M = np.diag([3.0, 2.0, 1.0])
    assert ranks.strong_convexity(Denoising(M)) == 1.0
    assert ranks.strong_convexity(Scaled(M)) <= 0.01
    # With sqrt(3) I as its samples the Gram matrix is I.
    data = np.zeros((3, 3)), math.sqrt(3.0) * np.eye(3), math.sqrt(3.0) * M
    assert ranks.strong_convexity(LinearFineTuning(*data)) >= 0.85
    assert ranks.strong_convexity(ScaledLinear(*data)) <= 0.01


def test_one_gram_matrix_tells_norm_and_rank_of_a_large_optimum():
    """Completion of all entries is denoising: its optimum is known in closed form, and so is its rank."""
    side, lam = 220, 1.0
    M = with_values(VALUES, (side, side + 5))
    rows, cols = np.divmod(np.arange(M.size), side + 5)
    problem = ls.Problem(MatrixCompletion(rows, cols, M.ravel(), M.shape), 3, lam)
    certificate = certify(problem, optimum(M, lam))
    assert certificate.is_global is True and certificate.level is Known.RIGOROUS
    assert certificate.rank_at_most == 3 and certificate.relative_gap <= 1e-12
    assert 1.0 <= certificate.dual_norm <= 1.0 + 1e-11


# f = ||X - M||^2/2, lam = 1: X* is the soft threshold of M. Off it by t, in an entry where the slope of F vanishes, F
# is t^2/2 above its minimum: the bounds below are attained.
T = 0.125


def test_the_upper_bound_reaches_as_far_as_a_parabola():
    """M = diag(3, 1 + t): X* = diag(2, t) has rank 2, and at diag(2, 2 t) a singular value of G is 1 - t."""
    G = np.diag([2.0, 2.0 * T]) - np.diag([3.0, 1.0 + T])
    distance = ranks.reach(0.5 * T**2, 1.0)
    assert T <= distance <= T * (1.0 + 1e-8)
    assert ranks.most(Gram(Ball(G)), np.eye(2), 1.0, distance) in (2, None)


def test_the_lower_bound_reaches_as_far_as_a_parabola():
    """M = diag(3, 1): X* = diag(2, 0) has rank 1, and diag(2, t) is as far from it as its second singular value."""
    X = np.diag([2.0, T])
    found = [ranks.at_least(Denoising(np.diag([3.0, 1.0])), X, np.eye(2), (np.eye(2), np.diag(X), np.eye(2)), gap)
             for gap in (0.5 * T**2, 0.49 * T**2)]  # fmt: skip
    assert found == [1, 2]  # a smaller gap is that of no point here


@pytest.mark.parametrize("power", [-8, 0, 8])
def test_the_lower_bound_is_that_of_the_curvature(power):
    """f = alpha x^2 / 2: a gap of twice what f is at 1 excludes no x up to sqrt(2), a tenth of it 0."""
    alpha = 2.0**power
    loss = LinearFineTuning(np.zeros((1, 1)), [[2.0 ** (power / 2)]], np.zeros((1, 1)))
    one = np.eye(1), np.eye(1), (np.eye(1), np.ones(1), np.eye(1))
    assert [ranks.at_least(loss, *one, share * alpha / 2.0) for share in (2.0, 0.1)] == [0, 1]


@pytest.mark.parametrize(
    ("A", "B", "P", "s"),
    [
        ([[1.0]], [[1.0]], 0.5, 2.0),  # a direction that is too short
        ([[1.0]], [[1.0]], 1.0, 5.0),  # a singular value of another matrix
        # (2^27 + 1)(2^27 - 1) - 2^54 + 1 = 0, and 1 where each product is rounded.
        ([[2.0**27 + 1.0, -(2.0**27), 1.0]], [[2.0**27 - 1.0, 2.0**27, 1.0]], 1.0, 1.0),
    ],
)
def test_the_lower_bound_rests_on_no_decomposition(A, B, P, s):
    """M = 0: the optimum is 0, and a gap of 1.125 excludes no x up to 1.5."""
    A, B, svd = np.array(A), np.array(B), (np.array([[P]]), np.array([s]), np.eye(1))
    gap = 1.125 if A.size == 1 else 1e-6
    assert ranks.at_least(Denoising(np.zeros((1, 1))), A, B, svd, gap) == 0
