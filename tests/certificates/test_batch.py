"""Certificates of many points: each against exact arithmetic, and against the certificate of that point alone."""

import math
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._known import Known
from lorasolve.certificates import balls, formula, rigorous, stacked_balls, stacked_oracles, stacks
from lorasolve.certificates.balls import Ball
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, MatrixCompletion, MatrixSensing, Softmax

KINDS = ("denoising", "huber", "completion", "linear", "gram", "sensing_dense", "softmax")


def stack_of(rng, problem, make):
    """Factors of an optimum, of random points at other scales, of deficient rank and zero, with as many columns."""
    A, B = make.optimum(problem)
    points = [(A, B)]
    for size in (1e-9, 1e-3, 1.0):
        scale = size * max(np.abs(A).max(), np.abs(B).max(), 1e-8)
        points.append(tuple(C + scale * rng.standard_normal(C.shape) for C in (A, B)))
    points += [(np.repeat(A[:, :1], A.shape[1], axis=1), B), (1e5 * A, 1e-5 * B), (0.0 * A, B)]
    return (np.stack(part) for part in zip(*points))


def wrong_parts(exact, problems, kind, seed, trust="lapack"):
    """How many of the numbers in the proofs of a stack are wrong, by exact arithmetic."""
    rng = np.random.default_rng(seed)
    problem = problems.make(rng, kind)[0]
    A, B = stack_of(rng, problem, problems)
    with np.errstate(all="ignore"):
        lam = rigorous.weight(problem)
        proofs = stacks.prove(problem.objective, lam, A, B, trust, ())[0]
    wrong = 0
    for a, b, proof in zip(A, B, proofs):
        parts, G, X = proof.bound.parts, proof.oracle.gradient, exact.rational(a) @ exact.rational(b).T
        shift = proof.oracle.refers_to.partition("with ")[2].partition(" added")[0]
        if shift:
            continue  # a statement about other Gram matrices, of test_rigorous
        f, gradient = exact.loss(problem.objective, X)
        apart = gradient - exact.rational(G.mid) if f.__class__ is Fraction else gradient - exact.reals(G.mid)
        wrong += not exact.real(parts.f_low) <= exact.real(f) <= exact.real(parts.f_high)
        if G.radius < math.inf:
            wrong += not exact.real(exact.dot(apart, apart)) <= exact.real(G.radius) ** 2
        if parts.inner_high < math.inf:
            inner = exact.dot(gradient, X if f.__class__ is Fraction else exact.reals(X))
            wrong += not exact.real(inner) <= exact.real(parts.inner_high)
        nuclear = exact.nuclear_norm(X)
        tiny = exact.real(1e-100)
        wrong += not exact.real(parts.nuclear_low) <= nuclear + tiny
        wrong += not nuclear <= exact.real(parts.nuclear_high) + tiny
        wrong += not exact.norm_at_most(gradient, parts.norm_high)
        values = np.linalg.svd(G.mid, compute_uv=False)
        k = proof.apart.taken
        wrong += k < values.size and not values[k] <= proof.apart.rest * (1.0 + 1e-14)
    return wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trust", ["lapack", "gemm"])
def test_all_numbers_in_the_proofs_of_a_stack_are_right(kind, trust, exact, problems):
    assert sum(wrong_parts(exact, problems, kind, seed, trust) for seed in range(4)) == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_compiled_kernel_of_softmax_is_right_too(seed, exact, problems, monkeypatch):
    monkeypatch.setattr(stacked_oracles, "COMPILED", 0)
    monkeypatch.setattr(stacked_oracles, "CACHED", 50)
    assert wrong_parts(exact, problems, "softmax", seed) == 0


@pytest.mark.parametrize("size", [1.0, 20.0])
def test_the_error_of_weights_is_part_of_losses_and_gradients(size, exact, monkeypatch):
    """An update that its product of factors misses by many roundings, and nothing else of this size."""
    monkeypatch.setattr(stacked_oracles, "COMPILED", 0)
    A, B = np.zeros((1, 2, 400)), np.full((1, 1, 400), 1.5 * 2.0**-54)
    A[:, 0], B[:, :, 0] = size, 1.0
    objective = Softmax(np.zeros((2, 1)), np.ones((1, 1)), np.array([1]))
    low, high, G = stacked_oracles._softmax(objective, A, B)
    f, gradient = exact.loss(objective, exact.rational(A[0]) @ exact.rational(B[0]).T)
    apart = gradient - exact.reals(G.mid[0])
    assert exact.real(low[0]) <= f <= exact.real(high[0])
    assert exact.dot(apart, apart) <= exact.real(G.radius[0]) ** 2


def test_norms_of_a_stack_are_never_too_small_and_near_their_level(exact):
    rng = np.random.default_rng(0)
    G = rng.standard_normal((6, 5, 4)) * 10.0 ** np.arange(-150.0, 150.0, 50.0)[:, None, None]
    true = np.linalg.norm(G, 2, axis=(1, 2))
    for share in (0.5, 1.0, 1.0 + 1e-13, 1.5):
        for radius in (0.0, 0.25):
            found = stacked_balls.Grams(stacked_balls.Balls(G, radius * true), "lapack").norm(share * true)
            for k in range(6):
                assert exact.norm_at_most(exact.rational(G[k]), found[k])
            assert (found >= (1.0 + radius) * true * (1.0 - 1e-14)).all()
    found = stacked_balls.Grams(stacked_balls.Balls(G, 0.0 * true), "gemm").norm(1.5 * true)
    assert (found <= 1.5 * true * (1 + 1e-12)).all()
    # Where fourth powers are numbers, the factor that is multiplied out is the right one.
    near = stacked_balls.Grams(stacked_balls.Balls(G, 0.0 * true), "gemm").norm(true * (1.0 + 1e-12))[2:5]
    assert (near <= true[2:5] * (1.0 + 2e-12)).all()
    G[2, 0, 0] = np.nan
    assert not stacked_balls.Grams(stacked_balls.Balls(G, 0.0 * true), "lapack").norm(true)[2] < math.inf


def test_perron_of_a_stack(exact):
    """The start, a vector of ones, is nearly the vector of Perron for some of them."""
    rng = np.random.default_rng(3)
    for spread in (1e-9, 1e-3, 1.0, 6.0):
        G = 10.0 ** (spread * rng.standard_normal((20, 5, 4)))
        for one, bound in zip(G, stacked_balls.sqrt_up(stacked_balls.perron(G))):
            assert exact.norm_at_most(exact.rational(one), bound)


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (4, 4)])
def test_what_is_below_the_top_of_a_stack_is_never_bounded_too_low(shape):
    """For columns that may be anything; sharp for those of the singular value decomposition, at all sizes."""
    rng = np.random.default_rng(1)
    G = rng.standard_normal((6, *shape)) * 10.0 ** np.arange(-50.0, 60.0, 20.0)[:, None, None]
    P, values, Qt = np.linalg.svd(G, full_matrices=False)
    true, after = values[:, 0], values[:, 2]
    top = (P if shape[0] < shape[1] else Qt.mT)[:, :, :2] * values[:, None, :2]
    with np.errstate(all="ignore"):
        for noise in (0.0, 1e-12, 0.3):
            Z = top * (1.0 + noise * rng.standard_normal(top.shape))
            for level in (after * (1.0 + 1e-9), 0.5 * (true + after), 0.9 * after):
                for share, trust in ((0.0, "gemm"), (0.1, "lapack")):
                    rest = stacked_balls.Grams(stacked_balls.Balls(G, share * true), trust).rest(Z, level)
                    assert (rest >= after * (1.0 - 1e-14) + share * true).all()
        sharp = stacked_balls.Grams(stacked_balls.Balls(G, 0.0 * true), "lapack").rest(top, after * (1.0 + 1e-9))
    assert (sharp <= after * (1.0 + 2e-9)).all()


def test_nothing_rests_on_the_decomposition(exact):
    """Any arrays in its place leave both bounds of the nuclear norm true."""
    rng = np.random.default_rng(4)
    A, B = rng.standard_normal((8, 5, 2)), rng.standard_normal((8, 4, 2))
    P, s, Q = stacked_balls.factor_svd(A, B)
    true = [float(exact.nuclear_norm(exact.rational(a) @ exact.rational(b).T)) for a, b in zip(A, B)]
    for size in (0.0, 1e-6, 1e-2, 1.0):
        wrong = P * (1.0 + size), s * (1.0 - 0.9 * size), Q + size * rng.standard_normal(Q.shape)
        low, high = stacked_balls.nuclear_norm(1e-3 * A, 1e3 * B, wrong)
        assert (low <= true).all() and (true <= high).all()
        assert size > 0.0 or (high - low <= 1e-13 * high).all()


def test_steps_are_those_of_single_points():
    rng = np.random.default_rng(5)
    A, B = rng.standard_normal((3, 6, 40)), rng.standard_normal((3, 40, 5))
    Y, low = A @ B + 1e-12 * rng.standard_normal((3, 6, 5)), 1e-17 * B
    wide = np.array([0.0, 1e-9, 1e-3])
    together = [
        stacked_balls.residual(A, B),
        stacked_balls.residual(A, B, Y, low),
        stacked_balls.product(stacked_balls.Balls(A, wide), stacked_balls.Balls(B, wide)),
        stacked_balls.scaled(stacked_balls.Balls(A, wide), 7.0),
    ]
    for k in range(3):
        alone = [
            balls.residual(A[k], B[k]),
            balls.residual(A[k], B[k], Y[k], low[k]),
            balls.product(Ball(A[k], wide[k]), Ball(B[k], wide[k])),
            balls.scaled(Ball(A[k], wide[k]), 7.0),
        ]
        for one, many in zip(alone, together):
            np.testing.assert_array_equal(many.mid[k], one.mid)
            assert many.radius[k] == pytest.approx(one.radius, rel=1e-9, abs=0.0)


def bounds_and_parts(seed):
    """Bounds from random numbers of all sizes, near an optimum or not, and what they were made from."""
    rng = np.random.default_rng(seed)
    lam, K = Fraction(rng.uniform(0.5, 2.0)) / 3, 100
    unit = 10.0 ** rng.uniform(-100.0, 100.0, K)
    f, nuclear = rng.uniform(0.0, 2.0, (2, K)) * unit
    oracles = [
        balls.BallOracle(a, a * (1.0 + 1e-13), Ball(np.zeros((1, 1)), 0.0), least, "f", bool(square))
        for a, least, square in zip(f, rng.choice([0.0, 1e-3, 3.0], K) * unit, rng.integers(2, size=K))
    ]
    inner = -float(lam) * nuclear * (1.0 + rng.choice([0.0, 1e-9, 0.3, 3.0], K) * rng.standard_normal(K))
    norms = float(lam) * (1.0 + rng.choice([0.0, 1e-16, 1e-9, 0.3], K) * rng.standard_normal(K))
    wanted = np.array([rigorous.wanted_scaling(oracle, x) for oracle, x in zip(oracles, inner.tolist())])
    high = nuclear * (1.0 + 1e-13)
    return lam, oracles, stacks.bounds_of(lam, oracles, (nuclear, high), inner, norms, wanted, ())


def wrong_bounds(seed):
    """How many bounds do not follow from their parts in exact rationals, and by how much others exceed what does."""
    lam, oracles, found = bounds_and_parts(seed)
    wrong, excess = 0, []
    for oracle, bound in zip(oracles, found):
        parts = bound.parts
        f_low, f_high, least = (Fraction(x) for x in (oracle.low, oracle.high, oracle.lower_bound))
        low, high = f_low + lam * Fraction(parts.nuclear_low), f_high + lam * Fraction(parts.nuclear_high)
        wrong += not Fraction(bound.value_low) <= low <= high <= Fraction(bound.value_high)
        if f_high < least:
            wrong += bound.gap < math.inf
            continue
        c = Fraction(parts.scaling)
        wrong += c < 0 or c * Fraction(parts.norm_high) > lam or (c > 1 and not oracle.least_squares)
        left = (1 - c) ** 2 if oracle.least_squares else 1 - c
        right = left * (f_high - least) + lam * Fraction(parts.nuclear_high) + c * Fraction(parts.inner_high)
        wrong += Fraction(bound.gap) < right or Fraction(bound.gap) < 0
        wrong += Fraction(bound.optimum_low) > low - Fraction(bound.gap)
        excess.append(float((Fraction(bound.gap) - max(right, Fraction(0))) / (high + least)))
    return wrong, max(excess)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_follow_from_their_parts_in_exact_rationals(seed):
    wrong, excess = wrong_bounds(seed)
    # Some ten roundings outwards, each of at most 2^-52 of numbers that are at most F or the lower bound.
    assert wrong == 0 and excess <= 10 * 2.0**-52


@pytest.mark.parametrize("name", ["up", "down"])
def test_bounds_without_their_rounding_outwards_are_caught(name, monkeypatch):
    monkeypatch.setattr(stacks, name, lambda x: x)
    assert wrong_bounds(0)[0] > 0


def test_every_formula_is_among_these_bounds():
    kinds = {bound.formula for seed in range(3) for bound in bounds_and_parts(seed)[2]}
    assert kinds == {*formula.FENCHEL.values(), formula.ABOVE_BOUND, formula.CONTRADICTION}


def test_columns_are_balanced_only_where_no_bit_is_lost():
    A = np.array([[[2.0**600], [3.0 * 2.0**500]], [[2.0**600], [2.0**-1074]]])
    B = np.array([[[2.0**-600], [5.0 * 2.0**-610]]] * 2)
    new_A, new_B = rigorous.balanced_columns(A, B)
    for a, b, old_a, old_b in zip(new_A, new_B, A, B):
        exact = [[Fraction(x) * Fraction(y) for y in b[:, 0].tolist()] for x in a[:, 0].tolist()]
        assert exact == [[Fraction(x) * Fraction(y) for y in old_b[:, 0].tolist()] for x in old_a[:, 0].tolist()]
    # The first pair is moved; the second, of which 2^-1074 would vanish, is left as it is.
    assert np.abs(new_A[0]).max() < 2.0**10 and np.array_equal(new_A[1], A[1]) and np.array_equal(new_B[1], B[1])


def test_what_is_multiplied_by_zeros_on_either_side_becomes_zero():
    """A bound of what it rounds to would grow with its length; nothing is times infinity."""
    A, B = np.array([[0.0, 3.0, math.inf, 1.0], [0.0, 4.0, 1.0, 1.0]]), np.array([[2.0**90, 0.0, 0.0, 1.0]] * 3)
    for left, right in ((A, B), (B, A)):
        new_left, new_right = rigorous.balanced_columns(left, right)
        assert not new_left[:, :2].any() and not new_right[:, :2].any()
        assert np.isinf([new_left, new_right][left is B][0, 2]) and (new_left[:, 3] == 1.0).all()


def sensing_numbers_are_right(exact, objective, A, B):
    """Whether what a stack says of the values and gradients of dense sensing holds in exact rationals."""
    low, high, G = stacked_oracles._sensing(objective, A, B)
    right = True
    for k in range(len(A)):
        f, gradient = exact.loss(objective, exact.rational(A[k]) @ exact.rational(B[k]).T)
        apart = gradient - exact.rational(G.mid[k])
        right &= Fraction(low[k]) <= f <= Fraction(high[k])
        right &= exact.dot(apart, apart) <= Fraction(G.radius[k]) ** 2
    return right


@pytest.mark.parametrize("noise", [100.0, 1e-9, 0.0])
def test_residuals_of_a_stack_are_as_accurate_as_they_have_to_be(noise, exact, monkeypatch):
    rng = np.random.default_rng(6)
    M, A, B = rng.standard_normal((7, 5, 30)), rng.standard_normal((3, 5, 2)), rng.standard_normal((3, 30, 2))
    y = np.einsum("kij,ij->k", M, A[0] @ B[0].T) + noise * rng.standard_normal(7)
    A[1:] = A[0] + 1e-5 * noise * A[1:]
    B[1:] = B[0]
    sharp, calls = stacked_oracles._sharp_residuals, []
    monkeypatch.setattr(stacked_oracles, "_sharp_residuals", lambda *given: calls.append(1) or sharp(*given))
    objective = MatrixSensing(M, y)
    assert sensing_numbers_are_right(exact, objective, A, B)
    # One product serves where the residual is not small beside what it is a difference of.
    assert len(calls) == (noise < 1.0)


def test_a_stack_counts_what_its_products_lose(exact):
    """A one, and then numbers below half of its last bit: most sums do not see them. The bounds have to."""
    tiny = 1.5 * 2.0**-54
    ones = np.ones((2, 1, 1))
    # A long row of X = [1, tiny, ...] against ones.
    M, B = np.ones((1, 1, 400)), np.full((2, 400, 1), tiny)
    B[:, 0] = 1.0
    assert sensing_numbers_are_right(exact, MatrixSensing(M, np.array([-1.0])), ones, B)
    # Many measurements, residuals of which make such sums.
    w, M = np.full(259, 2.0**-27), np.full((259, 1, 1), 1.5 * 2.0**-27)
    w[0], M[0] = 1.0, 1.0
    assert sensing_numbers_are_right(exact, MatrixSensing(M, -w), 0.0 * ones, ones)


def test_residuals_of_a_stack_count_each_rounding(exact):
    """Of the update, of a difference much larger than the product, each where it is nearly all there is."""
    one, long = np.ones((1, 1)), np.full((2, 1, 400), 1.5 * 2.0**-54)
    long[:, :, 0] = 1.0
    small = np.full((2, 1, 1), 1.5 * 2.0**-53)
    for A, B, y in ((np.ones(long.shape), long, 0.0), (np.ones(small.shape), small, -1.0)):
        r = stacked_oracles._plain_residuals(one, np.array([y]), 1.0, A, B)
        true = exact.dot(exact.rational(A[0]), exact.rational(B[0])) - Fraction(y)
        assert 0 < abs(true - Fraction(r.mid[0].item())) <= Fraction(r.radius[0])


class Vague(ls.objectives.Objective):
    """Denoising whose oracle knows its gradient to 0.1 only."""

    name, convex, smoothness, lower_bound, dtype = "vague", True, 1.0, 0.0, np.dtype(float)

    def __init__(self, M):
        self.M, self.shape = M, M.shape

    def value_and_grad(self, X):
        return 0.5 * float(np.vdot(X - self.M, X - self.M)), X - self.M

    def ball_oracle(self, A, B, given):
        G = given.residual(A, B.T, self.M)
        return given.BallOracle(*given.half_square(G), G.wider(0.1), 0.0, "M", least_squares=True)


def test_radii_are_part_of_every_bound():
    for second in np.linspace(1.5, 2.9, 29):
        # The optimum for lam = 3, whose gradient has the singular values 3 and the second: near what counts, for some.
        M = np.diag([5.0, second])
        A, B = np.array([[[2.0], [0.0]]]), np.array([[[1.0], [0.0]]])
        (proof,), _ = stacks.prove(Vague(M), Fraction(3), A, B, "lapack", ())
        parts, apart = proof.bound.parts, proof.apart
        assert parts.norm_high >= 3.1 * (1.0 - 1e-12)
        assert parts.inner_high >= (-3.0 + 0.1) * 2.0 * (1.0 + 1e-12)
        assert apart.rest >= ([3.0, second][apart.taken] + 0.1) * (1.0 - 1e-12)


# ---------------------------------------------------------------------- against certificates one by one
SIDE = 12


def objectives():
    rng = np.random.default_rng(1)
    M, Z = rng.standard_normal((SIDE, SIDE + 3)), rng.standard_normal((SIDE + 3, 40))
    rows, cols = np.divmod(rng.choice(M.size, 100, replace=False), SIDE + 3)
    return {
        "denoising": Denoising(M),
        "huber": Huber(M, 0.7),
        "completion": MatrixCompletion(rows, cols, M[rows, cols], M.shape),
        "linear": LinearFineTuning(M, Z, (M + np.outer(M[:, 0], M[0])) @ Z),
        "sensing": MatrixSensing(rng.standard_normal((150, *M.shape)), rng.standard_normal(150)),
        "softmax": Softmax(0.0 * M, Z, rng.integers(0, SIDE, 40)),
    }


def problem_of(name, **options):
    objective = objectives()[name]
    return ls.Problem(objective, 8, 0.5 * ls.Problem(objective, 8).critical_lam(), **options)


@pytest.mark.parametrize("name", sorted(objectives()))
def test_each_says_what_certify_says(name):
    problem = problem_of(name)
    best = ls.solve_convex(problem, tol=1e-9)
    rng = np.random.default_rng(2)
    sizes = [0.0, 1e-9, 1e-7, 1e-6, 1e-1, 1.0]
    points = [(best.A + size * rng.standard_normal(best.A.shape), best.B) for size in sizes]
    points += [best, best.X, (np.hstack([best.A, 0.0 * best.A]), np.hstack([best.B, best.B]))]
    found = ls.certify_batch(problem, points)
    assert found.stacked[:3].all() and not found.stacked[4:6].any()
    lowest = ls.certify(problem, best).dual_value
    for point, ours in zip(points, found):
        alone = ls.certify(problem, point)
        assert ours.level is alone.level is Known.RIGOROUS
        assert (ours.is_global, ours.refers_to) == (alone.is_global, alone.refers_to)
        assert ours.value == pytest.approx(alone.value, rel=1e-12)
        assert ours.singular_values == pytest.approx(alone.singular_values, abs=1e-12 * alone.singular_values[0])
        assert ours.stationarity == pytest.approx(alone.stationarity, rel=1e-5, abs=1e-9)
        assert set(alone.assumptions) >= set(ours.assumptions) - {ours.assumptions[-1]}
        for one, other in ((ours.rank_at_least, alone.rank_at_least), (ours.rank_at_most, alone.rank_at_most)):
            assert one == other
        # A bound, and no looser than it has to be.
        assert ours.gap >= ours.value - best.fun - 1e-12 * abs(best.fun)
        assert ours.value - ours.gap <= best.fun and lowest <= best.fun
        assert ours.gap <= 1.06 * alone.gap + 1e-11 * abs(alone.value)


def test_a_tie_with_lam_outside_of_the_space_of_the_optimum_counts_for_its_rank():
    """The gradient at ``X*`` has the singular values ``min(s_i, lam)``, that of ``s_2 = lam`` where ``X*`` has none."""
    rng = np.random.default_rng(9)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 4)))[0] for size in (6, 5))
    problem = ls.Problem(Denoising((P * [5.0, 3.0, 3.0, 1.0]) @ Q.T), 4, 3.0)
    best = np.sqrt(2.0) * P[:, :1], np.sqrt(2.0) * Q[:, :1]
    found = ls.certify_batch(problem, [best, best[0] @ best[1].T])
    assert found.stacked.all()
    assert [(one.rank_at_least, one.rank_at_most) for one in (*found, ls.certify(problem, best))] == 3 * [(1, 3)]


def test_a_loose_tolerance_makes_no_loose_gap():
    """The gradient at ``X`` is above ``lam`` where ``X`` has nothing, and the gap is half the square of by how much."""
    rng = np.random.default_rng(9)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 2)))[0] for size in (6, 5))
    lam = 3.0 - 3e-6
    root = np.sqrt(5.0 - lam) * np.array([1.0, 0.0])
    problem, point = ls.Problem(Denoising((P * [5.0, 3.0]) @ Q.T), 2, lam), (P * root, Q * root)
    (found,), alone = ls.certify_batch(problem, [point], tol=0.5), ls.certify(problem, point, tol=0.5)
    assert 4.5e-12 - 1e-14 <= found.gap <= 1.06 * alone.gap and alone.gap <= 1e-4
    assert found.rank_at_least == alone.rank_at_least == 1


def test_beside_zero_where_that_is_the_optimum_the_gap_is_that_of_the_point():
    """``F(X) - F(0) <= lam ||X||_*``; the gap at a norm of ``lam (1 + d)`` grows with ``d^2 f`` alone there."""
    rng = np.random.default_rng(10)
    problem = ls.Problem(Denoising(rng.standard_normal((6, 5))), 2, 1.0)
    problem = problem.replace(lam=1.001 * problem.critical_lam())
    points = [(size * rng.standard_normal((6, 2)), size * rng.standard_normal((5, 2))) for size in (1e-3, 1e-9, 1e-80)]
    for found in ls.certify_batch(problem, points, tol=0.5):
        assert found.gap <= 1.2 * problem.lam * found.nuclear_norm + 1e-12 * found.value


@pytest.mark.parametrize("short", [1e-3, 1e-5, -1e-3, -1e-5])
def test_gaps_beside_an_optimum_of_rank_one_are_those_of_single_points(short):
    """Below ``lam`` the norm is looked for too: gaps of points that are too long had been of first order."""
    rng = np.random.default_rng(8)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 2)))[0] for size in (6, 4))
    root = np.sqrt(2.0 * (1.0 - short)) * np.array([1.0, 0.0])
    problem, point = ls.Problem(Denoising((P * [3.0, 0.5]) @ Q.T), 2, 1.0), (P * root, Q * root)
    found = ls.certify_batch(problem, [point, point], tol=0.1)
    true = 0.5 * (2.0 * short) ** 2
    assert found.stacked.all() and true - 1e-14 <= found[1].gap <= 1.33 * true + 1e-12
    assert found[1].gap <= 1.06 * ls.certify(problem, point).gap + 1e-12


@pytest.mark.parametrize("name", sorted(objectives()))
def test_optima_to_more_digits_than_their_gradients_are_proved_together(name):
    """There the bound of the gradient's errors exceeds what the gap leaves room for."""
    problem = problem_of(name)
    best = ls.solve_convex(problem, tol=1e-13)
    found = ls.certify_batch(problem, [best, best])
    assert found.stacked.all()
    assert all(0.0 <= one.relative_gap <= 1e-10 and one.value - one.gap <= best.fun for one in found)


def test_points_of_several_problems_and_adapters_in_any_order():
    rng = np.random.default_rng(3)
    first = problem_of("denoising")
    second = problem_of("completion", adapter=ls.adapters.LoRA(alpha=3.0))
    problems = [second, first, second, first, first.replace(lam=0.0)]
    points = [(rng.standard_normal((SIDE, 8)), rng.standard_normal((SIDE + 3, 8))) for _ in problems]
    points[:2] = [ls.solve(second, seed=1), ls.solve(first, seed=1)]
    found = ls.certify_batch(problems, points, tol=1e-3)
    assert found.stacked.tolist() == [True, True, False, False, False]
    for problem, point, ours in zip(problems, points, found):
        alone = ls.certify(problem, point, tol=1e-3)
        assert ours.is_global == alone.is_global and ours.point is point
        assert ours.value == pytest.approx(alone.value, rel=1e-12)


@pytest.mark.parametrize("alpha", [8.0, 12.0])
@pytest.mark.parametrize("trust", ["lapack", "gemm"])
def test_a_proof_in_a_stack_states_the_assumptions_of_a_single_one(alpha, trust):
    """What is trusted, and that fl(s A) is no s A where s = alpha/r is no power of two."""
    problem = problem_of("denoising", adapter=ls.adapters.LoRA(alpha=alpha))
    best = ls.solve_convex(problem)
    point = best.A / problem.scale, best.B
    found = ls.certify_batch(problem, [point, point], trust=trust)
    assert found.stacked.all()
    assert found[0].assumptions == found[1].assumptions == ls.certify(problem, point, trust=trust).assumptions
    assert any("fl(s A)" in text for text in found[0].assumptions) is (alpha == 12.0)


def test_the_ends_of_a_batch_of_runs():
    problem = problem_of("denoising")
    runs = ls.solve_batch(problem, "lbfgs", seed=[0, 1, 2])
    found = ls.certify_batch(problem, runs, tol=1e-4)
    assert [c.value for c in found] == pytest.approx([ls.certify(problem, runs.result(k)).value for k in range(3)])
    assert found.is_global.tolist() == [c.is_global for c in found] == [True] * 3
    assert found.gap.shape == found.relative_gap.shape == (3,)
    assert "3 points: 3 global" in repr(found) and len(found.table().splitlines()) >= 4


@pytest.mark.parametrize("alpha", [2, 6])
@pytest.mark.parametrize(
    "method", ["gd@lora:alpha=8", "gd:step_size=0.05@lora", "gd:step_size=0.05", "gd+periodic:period=10"]
)
def test_the_ends_of_runs_are_certified_at_the_updates_that_they_reached(method, alpha):
    # A method may bring a scaling of its own, or merge updates into the weight, so that A B^T is only a part of X.
    rng = np.random.default_rng(3)
    W0, Z = rng.standard_normal((6, 5)), rng.standard_normal((5, 20))
    f = LinearFineTuning(W0, Z, (W0 + rng.standard_normal((6, 5))) @ Z)
    problem = ls.Problem(f, 2, 0.2, adapter=ls.adapters.LoRA(alpha=alpha))
    runs = ls.solve_batch(problem, method, seed=[0, 1], stop=ls.StoppingRule(max_iter=35))
    assert runs.compiled.all() == (method == "gd:step_size=0.05@lora" or (alpha == 2 and method == "gd:step_size=0.05"))
    for k, certificate in enumerate(ls.certify_batch(problem, runs)):
        X = runs.result(k).X
        value = f.value_and_grad(X)[0] + 0.2 / (alpha / 2) * np.linalg.svd(X, compute_uv=False).sum()
        assert certificate.value == pytest.approx(value, rel=1e-12)


def test_one_hard_point_does_not_spoil_the_others():
    """Overflow and underflow stay where they are."""
    problem = problem_of("denoising")
    best = ls.solve_convex(problem, tol=1e-9)
    for factor in (1e60, 1e-200):
        found = ls.certify_batch(problem, [best, (factor * best.A, best.B), best])
        assert found.stacked.tolist() == [True, False, True]
        assert found[0].relative_gap < 1e-9 and found[0].gap == found[2].gap
        assert found[1].is_global is not True


def test_refusals_name_the_point():
    problem = problem_of("denoising")
    A, B = np.ones((SIDE, 2)), np.ones((SIDE + 3, 2))
    with pytest.raises(ValueError, match=r"points\[1\]: A: .*NaN|points\[1\]: A: .*finite"):
        ls.certify_batch(problem, [(A, B), (math.nan * A, B)])
    with pytest.raises(ValueError, match=r"points\[1\]: "):
        ls.certify_batch(problem, [(A, B), (A[1:], B)])
    with pytest.raises(ValueError, match="problems: expected one or as many as there are points"):
        ls.certify_batch([problem], [(A, B), (A, B)])
    with pytest.raises(TypeError, match="points: "):
        ls.certify_batch(problem, 3)
    for wrong in (None, [None]):
        with pytest.raises(TypeError, match="problems: "):
            ls.certify_batch(wrong, [(A, B)])
    with pytest.raises(ValueError, match="tol: "):
        ls.certify_batch(problem, [(A, B)], tol=-1.0)
    with pytest.raises(ValueError, match=r"rigorous: "):
        ls.certify_batch(problem, [(A, B)], rigorous="yes")
    assert len(ls.certify_batch(problem, [])) == 0


def test_a_floating_point_level_that_is_asked_for_is_given():
    problem = problem_of("denoising")
    best = ls.solve_convex(problem, tol=1e-9)
    found = ls.certify_batch(problem, [best], rigorous=False)
    assert found[0].level is Known.CERTIFIED and not found.stacked[0]


def test_one_pair_is_no_list_of_two_updates() -> None:
    """Of a square problem at full rank the factors were taken for two updates, and both said to be not global."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0])), 2, 0.5)
    pair = (np.diag([2.5, 1.5]) ** 0.5, np.diag([2.5, 1.5]) ** 0.5)  # of the soft-thresholded matrix
    with pytest.raises(TypeError, match=r"^points: expected a list of points, got two matrices.*\[\(A, B\)\]"):
        ls.certify_batch(problem, pair)
    assert ls.certify_batch(problem, [pair]).is_global.tolist() == [True]


@pytest.mark.parametrize("loss", ["sensing", "linear", "softmax"])
def test_samples_are_held_against_the_objective_once_for_many_points(loss, monkeypatch):
    """Not at every point, of which each would cost an evaluation; and data that were changed in place are refused."""
    from lorasolve.certificates import batch

    rng = np.random.default_rng(4)
    data = rng.standard_normal((60, 5, 4)) if loss == "sensing" else rng.standard_normal((4, 60))
    made = {
        "sensing": lambda: ls.objectives.MatrixSensing(data, rng.standard_normal(60)),
        "linear": lambda: ls.objectives.LinearFineTuning(np.zeros((5, 4)), data, rng.standard_normal((5, 60))),
        "softmax": lambda: ls.objectives.Softmax(rng.standard_normal((5, 4)), data, rng.integers(0, 5, 60)),
    }
    problem = ls.Problem(made[loss](), 2, 0.05)
    best = ls.solve_convex(problem, "factored", 1e-10)
    points = [(best.A * (1.0 + 1e-9 * k), best.B) for k in range(20)]
    asked, ask = [], batch.refuse_changed_data
    monkeypatch.setattr(batch, "refuse_changed_data", lambda *given: asked.append(1) or ask(*given))
    assert all(certificate.is_global for certificate in ls.certify_batch(problem, points)) and len(asked) == 1
    data *= 0.5
    if loss != "sensing":  # whose runs and proofs read what is there now
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.certify_batch(problem, points)


@pytest.mark.parametrize("seer", range(4))
def test_samples_that_one_point_of_many_sees_are_held_against_the_objective(seer):
    """The others, larger ones among them, have nothing in the column of the feature that was changed."""
    rng = np.random.default_rng(5)
    Z, Y = rng.standard_normal((4, 60)), rng.standard_normal((5, 60))
    problem = ls.Problem(ls.objectives.LinearFineTuning(np.zeros((5, 4)), Z, Y), 2, 0.05)
    points = [rng.standard_normal((5, 4)) * [0.0, 0.2, 0.2, 0.2] for _ in range(4)]
    points[seer] = points[seer] * 0.5 + 0.1 * np.eye(5, 4)[:, :1] * [1.0, 0.0, 0.0, 0.0]
    batch = ls.certify_batch(problem, points, tol=0.9)
    assert [one.level.name for one in batch] == ["RIGOROUS"] * 4
    Z[0] *= 1.5
    with pytest.raises(ValueError, match="changed in place after it was made"):
        ls.certify_batch(problem, points, tol=0.9)
    assert ls.certify(problem, points[seer - 1], tol=0.9).level.name == "RIGOROUS"
