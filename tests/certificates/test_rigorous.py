"""Bounds on ``F(X) - inf F`` against exact arithmetic, on random problems of every kind; mutants must be caught."""

import math
from collections import Counter
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import lorasolve as ls
from lorasolve._known import Known
from lorasolve.adapters import LoRA
from lorasolve.certificates import (
    _oracle_entrywise,
    _oracle_linear,
    _oracle_models,
    _oracles,
    balls,
    better_by,
    formula,
    norms,
    rigorous,
    rigorous_bound,
)
from lorasolve.certificates.balls import Ball, BallOracle
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion, Softmax, TwoLayer

KINDS = [
    "denoising",
    "huber",
    "completion",
    "linear",
    "gram",
    "sensing_dense",
    "sensing_rank_one",
    "sensing_sparse",
    "softmax",
    "logistic",
    "ntk",
    "shifted",
]


def exact_update(exact, problem, point):
    """The update that a bound speaks about, as fractions."""
    if isinstance(point, np.ndarray):
        return exact.rational(point)
    A, B = point
    return exact.rational(problem.scale * A) @ exact.rational(B).T


def shift_of(problem):
    """What a bound for given Gram matrices adds to their diagonal."""
    objective = getattr(problem.objective, "objective", problem.objective)
    given = isinstance(objective, LinearFineTuning) and objective._samples is None
    return (_oracle_linear._shift(objective.S) or 0.0) if given else 0.0


def exact_value(exact, problem, X):
    """``F(X)`` to 100 digits."""
    with mpmath.workprec(exact.BITS):
        f = exact.loss(problem.objective, X, shift_of(problem))[0]
        return exact.real(f) + exact.real(Fraction(problem.lam) / Fraction(problem.scale)) * exact.nuclear_norm(X)


def better_points(exact, problems, problem, X, G):
    """Points that may be better, as fractions: proximal gradient steps in extended precision, and the solver's."""
    lam = exact.real(Fraction(problem.lam) / Fraction(problem.scale))
    with mpmath.workprec(exact.BITS):
        smoothness = exact.real(float(problem.objective.facts.smoothness or 1.0)) or mpmath.mpf(1)
        step = 1 / smoothness
        moved = exact.reals(X) - step * (G if isinstance(G.ravel()[0], mpmath.mpf) else exact.reals(G))
        yield exact.as_fractions(exact.shrunk(moved, step * lam))
        if isinstance(problem.objective, Denoising):
            yield exact.as_fractions(exact.shrunk(exact.reals(exact.rational(problem.objective.M)), lam))
    A, B = problems.optimum(problem)
    yield exact.rational(A) @ exact.rational(B).T


def violated(exact, problems, problem, point, bound):
    """Names of the parts of a bound that are wrong at a point, by exact arithmetic."""
    X = exact_update(exact, problem, point)
    parts, wrong = bound.parts, []
    with mpmath.workprec(exact.BITS):
        f, G = exact.loss(problem.objective, X, shift_of(problem))
        transcendental = isinstance(G.ravel()[0], mpmath.mpf)
        f, nuclear = exact.real(f), exact.nuclear_norm(X)
        inner = exact.dot(G, exact.reals(X)) if transcendental else exact.real(exact.dot(G, X))
        lam = Fraction(problem.lam) / Fraction(problem.scale)
        wrong += [] if parts.f_low <= f <= parts.f_high else ["f"]
        wrong += [] if parts.nuclear_low <= nuclear <= parts.nuclear_high else ["nuclear"]
        wrong += [] if inner <= parts.inner_high else ["inner"]
        wrong += [] if exact.norm_at_most(G, parts.norm_high) else ["norm"]
        value = f + exact.real(lam) * nuclear
        wrong += [] if bound.value_low <= value <= bound.value_high else ["value"]
        if not math.isnan(parts.scaling):
            c, slope = Fraction(parts.scaling), Fraction(parts.lower_slope)
            wrong += [] if c >= 0 and c * Fraction(parts.norm_high) + (1 - c) * slope <= lam else ["scaling"]
        if bound.gap < math.inf:
            best = min(exact_value(exact, problem, Y) for Y in better_points(exact, problems, problem, X, G))
            wrong += [] if value - best <= bound.gap else ["gap"]
            wrong += [] if bound.optimum_low <= best else ["optimum"]
            wrong += [] if math.isinf(parts.lower_bound) or parts.lower_bound <= best else ["lower_bound"]
    return wrong


def survey(exact, problems, kind, count, seed, bound_at=rigorous_bound, **options):
    """Test many problems of a kind; return counts of what is wrong and of finite bounds."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    counts = Counter()
    for _ in range(count):
        problem, point = problems.make(rng, kind)
        bound = bound_at(problem, point, **options)
        counts["tested"] += 1
        counts["finite"] += bound.gap < math.inf
        counts["tight"] += bound.relative_gap < 1e-9
        counts.update(violated(exact, problems, problem, point, bound))
    return counts


def wrong(counts):
    return {name: count for name, count in counts.items() if name not in ("tested", "finite", "tight")}


def test_kinds_are_all_tested(problems):
    assert set(KINDS) == set(problems.KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_no_bound_is_below_the_truth(kind, exact, problems):
    counts = survey(exact, problems, kind, 14, 0)
    assert wrong(counts) == {}
    assert counts["finite"] >= 10


@pytest.mark.parametrize("sparse", [0, 2], ids=["no column full", "some columns full"])
def test_no_bound_by_compiled_loops_is_below_the_truth(sparse, monkeypatch, exact, problems):
    """What large sparse data take: products at the entries, and the Gram matrix of what is not 0."""
    monkeypatch.setattr(_oracle_entrywise, "COMPILED", 0)
    monkeypatch.setattr(norms, "COMPILED", 0)
    monkeypatch.setattr(norms, "SPARSE", sparse)
    counts = survey(exact, problems, "completion", 14, 3)
    assert wrong(counts) == {}
    assert counts["finite"] >= 10


@pytest.mark.parametrize("distance", [1e-2, 1e-5, 0.0])
def test_errors_of_a_rough_oracle_hardly_show(distance, monkeypatch):
    """Fully observed completion is denoising, whose optimum is known in closed form."""
    monkeypatch.setattr(_oracle_entrywise, "COMPILED", 0)
    M = np.random.default_rng(4).standard_normal((30, 20))
    P, s, Qt = np.linalg.svd(M)
    s = np.maximum(s - 2.0, 0.0) * (1.0 + distance)
    point = P[:, :20] * np.sqrt(s), Qt.T * np.sqrt(s)
    rows, cols = np.divmod(np.arange(600), 20)
    problem = ls.Problem(MatrixCompletion(rows, cols, M.ravel(), (30, 20)), 3, 2.0)
    asked, entries = [], _oracle_entrywise.entries
    monkeypatch.setattr(_oracle_entrywise, "entries", lambda *args: asked.append(1) or entries(*args))
    G = problem.objective.value_and_grad(point[0] @ point[1].T)[1]
    found = rigorous.prove(problem, point, seen=rigorous.Seen(Qt.T, G @ Qt.T)).bound
    assert len(asked) == (distance == 0.0)
    exact = rigorous_bound(problem, point)
    assert len(asked) == (distance == 0.0) + 1
    assert exact.gap * (1.0 - 1e-12) <= found.gap <= exact.gap * (1.0 + 2.0 * rigorous.ROUGHNESS)
    assert found.value_low <= exact.value_high and exact.value_low <= found.value_high


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_rests_on_directions_and_estimates(kind, monkeypatch, exact, problems):
    """What large problems take, with the space of the update or any other, and whatever was seen outside of it."""
    monkeypatch.setattr(rigorous, "SMALL", 0)
    rng, parted = np.random.default_rng(8), []

    def bound_at(problem, point):
        B = rigorous.point_factors(problem, point)[1]
        Q = np.linalg.qr(B if rng.random() < 0.8 else rng.standard_normal(B.shape))[0]
        outside = rng.choice([0.0, 0.9, 0.999, 2.0]) * problem.lam / problem.scale
        GQ = rng.standard_normal((problem.shape[0], Q.shape[1])) if rng.random() < 0.3 else None
        norm = rng.choice([0.0, 1.0, 1.01, math.inf]) * problem.lam / problem.scale
        proof = rigorous.prove(problem, point, seen=rigorous.Seen(Q, GQ, outside, norm))
        if proof.apart is not None and proof.apart.rest < math.inf:
            values = np.append(np.linalg.svd(proof.gram.ball.mid, compute_uv=False), 0.0)
            parted.append(values[proof.apart.taken] <= proof.apart.rest * (1.0 + 1e-14))
        return proof.bound

    counts = survey(exact, problems, kind, 14, 5, bound_at)
    assert wrong(counts) == {} and all(parted)
    assert counts["finite"] >= 10


@pytest.mark.parametrize("shape", [(60, 50), (50, 60)])
def test_one_factorisation_bounds_the_norm_and_the_rank(shape, monkeypatch):
    """Near the optimum of a denoising problem of rank 3 whose gradient is 0.8 lam outside of its spaces."""
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((n, 50)))[0] for n in shape)
    problem = ls.Problem(Denoising((U * np.r_[9.0, 7.0, 5.0, 1.6 * np.linspace(1.0, 0.1, 47)]) @ V.T), 3, 2.0)
    P, s, Q = U[:, :3], np.array([7.0, 5.0, 3.0]) * (1.0 - 1e-4), V[:, :3]
    point = P * np.sqrt(s), Q * np.sqrt(s)
    asked, defect = [], norms.semidefinite_defect
    monkeypatch.setattr(rigorous, "SMALL", 0)
    monkeypatch.setattr(norms, "semidefinite_defect", lambda *args: asked.append(1) or defect(*args))

    def proof(outside):
        asked.clear()
        return rigorous.prove(problem, point, seen=rigorous.Seen(Q, None, outside)), len(asked)

    plain, count = proof(None)
    assert count == 1 and plain.apart is None and plain.bound.relative_gap < 1e-3
    known, count = proof(1.6)
    assert count == 1 and known.apart.taken == 3 and 1.6 <= known.apart.rest < 2.0
    assert known.bound.gap <= plain.bound.gap * (1.0 + rigorous.LOST)
    # An estimate that is too large leaves the rank alone; so does one that is too small, which costs an attempt more.
    large, count = proof(1.9999)
    assert count == 1 and large.apart == (0, math.inf) and large.bound == plain.bound
    problem = ls.Problem(Denoising((U * np.r_[9.0, 7.0, 5.0, 1.9999, np.linspace(1.0, 0.1, 46)]) @ V.T), 3, 2.0)
    small, count = proof(1.0)
    assert count == 2 and small.apart is None and small.bound.relative_gap < 1e-3


def test_an_estimate_of_the_norm_saves_an_attempt(monkeypatch):
    """The norm is 2.00074, of which the space of the update sees 2.0007: a first attempt below it would fail."""
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((n, 50)))[0] for n in (60, 50))
    problem = ls.Problem(Denoising((U * np.r_[9.0, 7.0, 5.0, 2.00074, np.linspace(1.0, 0.1, 46)]) @ V.T), 3, 2.0)
    s, Q = np.array([7.0, 5.0, 3.0]) * (1.0 - 1e-4), V[:, :3]
    asked, defect = [], norms.semidefinite_defect
    monkeypatch.setattr(rigorous, "SMALL", 0)
    monkeypatch.setattr(norms, "semidefinite_defect", lambda *args: asked.append(1) or defect(*args))

    def proof(norm):
        asked.clear()
        point = U[:, :3] * np.sqrt(s), Q * np.sqrt(s)
        found = rigorous.prove(problem, point, seen=rigorous.Seen(Q, norm=norm)).bound
        assert found.parts.norm_high >= 2.00074 * (1.0 - 1e-14)
        return found.gap, len(asked)

    plain, count = proof(None)
    assert count == 2
    for norm, share in ((2.00074, 0.6), (2.0008, 0.8), (3.0, 1.0)):
        gap, count = proof(norm)
        assert count == 1 and gap <= share * plain * (1.0 + 1e-9)
    # One that is too small is as good as none.
    assert proof(1.9) == (plain, 2)


@pytest.mark.slow
@pytest.mark.parametrize("trust", ["lapack", "gemm"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_bound_is_below_the_truth_in_thousands_of_problems(kind, trust, exact, problems):
    counts = survey(exact, problems, kind, 250, 1 + (trust == "gemm"), trust=trust)
    print(kind, trust, dict(counts))
    assert wrong(counts) == {}


# ---------------------------------------------------------------------- mutants
def drop_radius(monkeypatch):
    monkeypatch.setattr(Ball, "wider", lambda self, *radii: self)


def drop_product_errors(monkeypatch):
    monkeypatch.setattr(balls, "sum_error", lambda k: 0.0)
    monkeypatch.setattr(balls, "U", 0.0)


def drop_shift(monkeypatch):
    monkeypatch.setattr("lorasolve.certificates.norms._shifted_defect", lambda W, tau, trust, enough: 0.0)


def round_scaling_up(monkeypatch):
    scaling = rigorous.scaling

    def rounded_up(*given):
        c = scaling(*given)
        return None if c is None else math.nextafter(c, math.inf)

    monkeypatch.setattr(rigorous, "scaling", rounded_up)


def estimate_norm(monkeypatch):
    monkeypatch.setattr(norms.Gram, "norm", lambda self, *levels: float(np.linalg.norm(self.ball.mid, 2)))


def estimate_nuclear_norm(monkeypatch):
    def estimate(A, B):
        value = float(np.linalg.svd(A @ B.T)[1].sum())
        return value, value

    monkeypatch.setattr(rigorous, "nuclear_norm", estimate)


def estimate_inner(monkeypatch):
    def estimate(G, A, B, size):
        value = float(np.vdot(G.mid @ B, A))
        return value, value

    monkeypatch.setattr(rigorous, "inner_product", estimate)


def forget_values(monkeypatch):
    monkeypatch.setattr(_oracle_entrywise, "paired", lambda E, values: (0.0, 0.0))


MUTANTS = {
    drop_radius: {"f", "inner", "norm"},
    drop_product_errors: {"f", "inner", "norm"},
    drop_shift: {"norm"},
    round_scaling_up: {"scaling"},
    estimate_norm: {"norm"},
    estimate_nuclear_norm: {"nuclear"},
    estimate_inner: {"inner"},
    forget_values: {"inner"},
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_bound_without_one_of_its_errors_is_caught(mutant, monkeypatch, exact, problems):
    mutant(monkeypatch)
    found = Counter()
    for kind in ("denoising", "linear", "softmax", "completion"):
        found.update(wrong(survey(exact, problems, kind, 10, 2)))
    assert MUTANTS[mutant] & set(found)


def test_the_last_rounding_is_upwards():
    """The right side of the formula in exact rationals, and the nearest number above it."""
    rng = np.random.default_rng(3)
    below = 0
    for _ in range(300):
        high, low, lam, nuclear, inner, c = rng.standard_normal(6) ** 2
        oracle = BallOracle(0.0, high + low, Ball(np.zeros((1, 1))), low, "", least_squares=bool(rng.integers(2)))
        gap = formula.gap_at(c, Fraction(lam), oracle, nuclear, -inner)
        left = (1 - Fraction(c)) ** (2 if oracle.least_squares else 1)
        true = left * (Fraction(high + low) - Fraction(low)) + Fraction(lam) * Fraction(nuclear)
        true = max(true - Fraction(c) * Fraction(inner), Fraction(0))
        assert Fraction(gap) >= true and (gap == 0.0 or Fraction(math.nextafter(gap, 0.0)) < true)
        below += Fraction(float(true)) < true
    assert below > 50  # rounding to nearest would be wrong in these


# ---------------------------------------------------------------------- tightness
@pytest.mark.parametrize("kind", KINDS)
def test_rounding_adds_little_at_an_optimum(kind, problems):
    rng = np.random.default_rng(4)
    for _ in range(10):
        problem, _ = problems.make(rng, kind)
        norm = np.linalg.norm(problem.objective.value_and_grad(np.zeros(problem.shape))[1], 2)
        problem = problem.replace(lam=0.3 * norm)
        optimum = problems.optimum(problem, 1000)
        floating = ls.certify(problem, optimum)
        if floating.relative_gap > 1e-9:
            continue
        bound = rigorous_bound(problem, optimum)
        # Given Gram matrices have no f >= 0 to rely on, and ill-conditioned ones a poor lower bound.
        assert bound.relative_gap <= floating.relative_gap + (1e-9 if kind == "gram" else 1e-11)
        if kind not in ("linear", "gram"):  # where the floating value comes from cancelled Gram matrices
            assert bound.value == pytest.approx(floating.value, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_a_bound_does_not_depend_on_units(scale):
    """f and lam in other units, and X in other units: powers of two change no digit."""
    rng = np.random.default_rng(5)
    M = rng.standard_normal((5, 4))
    A, B = rng.standard_normal((5, 2)), rng.standard_normal((4, 2))
    plain = rigorous_bound(ls.Problem(Denoising(M), 2, 0.7), (A, B))
    moved = rigorous_bound(ls.Problem(Denoising(scale * M), 2, scale * 0.7), (scale * A, B))
    assert moved.gap == scale**2 * plain.gap and moved.relative_gap == plain.relative_gap
    assert rigorous_bound(ls.Problem(Denoising(M), 2, 0.7), (scale * A, B / scale)).gap == plain.gap


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**-100, 2.0**-300, 2.0**40])
def test_columns_that_are_multiplied_by_zeros_cost_nothing_in_any_units(unit):
    """The update that soft-thresholding makes of ``diag(1, 0, 0)`` has zero columns, and is given as ``X I``."""
    M = unit * np.diag([1.0, 0.0, 0.0])
    problem = ls.Problem(Denoising(M), rank=3, lam=0.75 * unit)
    X = 0.25 * M
    beside = np.ones((3, 1)), np.zeros((3, 1))
    factors = np.hstack([X, beside[0], beside[1]]), np.hstack([np.eye(3), beside[1], beside[0]])
    for point in (X, factors):
        assert rigorous_bound(problem, point).relative_gap < 1e-13
        (stacked,) = ls.certify_batch(problem, [point], rigorous=True)
        assert stacked.relative_gap < 1e-13


def test_the_trust_in_lapack_changes_nothing_but_what_is_assumed():
    rng = np.random.default_rng(6)
    problem = ls.Problem(Denoising(rng.standard_normal((40, 30))), 30, 2.0)
    optimum = ls.solve_convex(problem)
    lapack, gemm = (rigorous_bound(problem, optimum, trust) for trust in ("lapack", "gemm"))
    assert lapack.gap <= 1e-11 * lapack.value and gemm.gap <= 1e-11 * lapack.value
    assert rigorous.CHOLESKY in lapack.assumptions and rigorous.CHOLESKY not in gemm.assumptions


# ---------------------------------------------------------------------- what a bound is about
def test_scaled_factors_and_other_kinds_of_points(exact):
    rng = np.random.default_rng(7)
    M = rng.standard_normal((5, 4))
    A, B = rng.standard_normal((5, 2)), rng.standard_normal((4, 2))
    for alpha in (1.0, 3.0):  # s = 1/2 and 3/2
        problem = ls.Problem(Denoising(M), 2, 0.3, LoRA(alpha=alpha))
        bound = rigorous_bound(problem, (A, B))
        true = exact_value(exact, problem, exact_update(exact, problem, (A, B)))
        assert bound.value_low <= true <= bound.value_high
        assert any("fl(s A)" in text for text in bound.assumptions) == (alpha == 3.0)
    problem = ls.Problem(Denoising(M), 2, 0.3)
    result = ls.solve(problem)
    of_result, of_factors = rigorous_bound(problem, result), rigorous_bound(problem, (result.A, result.B))
    assert of_result == of_factors
    dense = rigorous_bound(problem, result.X)
    assert dense.gap == pytest.approx(of_result.gap, abs=1e-12) and dense.level is Known.RIGOROUS
    wide = ls.Problem(Denoising(M.T.copy()), 2, 0.3)
    assert rigorous_bound(wide, result.X.T.copy()).gap == pytest.approx(dense.gap, abs=1e-12)


def test_what_it_refers_to_and_assumes():
    rng = np.random.default_rng(8)
    objective = LinearFineTuning.example(rng)
    bound = rigorous_bound(ls.Problem(objective, 2, 0.1), np.zeros(objective.shape))
    assert bound.refers_to == "the samples" and rigorous.ARITHMETIC in bound.assumptions
    assert "the samples" in str(bound) and "RIGOROUS" in str(bound)
    single = LinearFineTuning.example(rng, np.float32)
    assert rigorous_bound(ls.Problem(single, 2, 0.1), np.zeros(objective.shape)).gap < math.inf


def test_the_zero_problem():
    problem = ls.Problem(Denoising(np.zeros((3, 2))), 1, 0.5)
    bound = rigorous_bound(problem, (np.zeros((3, 1)), np.ones((2, 1))))
    assert bound.gap <= 1e-300 and bound.value_low <= 0.0 <= bound.value_high <= 1e-300


def test_without_weight_decay_the_bound_is_the_height_above_the_lower_bound():
    M = np.diag([2.0, 1.0])
    bound = rigorous_bound(ls.Problem(Denoising(M), 1, 0.0), (np.array([[1.0], [0.0]]), np.array([[2.0], [0.0]])))
    assert bound.gap == pytest.approx(0.5, rel=1e-12) and bound.gap >= 0.5 and "lower bound" in bound.formula


@pytest.mark.parametrize("value", [1e140, 1e153, 1e-200, 5e-324])
def test_extreme_numbers_make_no_wrong_bound(value, exact, problems):
    M = value * np.array([[1.0, 0.5], [0.25, 1.0]])
    problem = ls.Problem(Denoising(M), 1, value)
    point = (np.array([[value], [0.0]]), np.array([[0.5], [0.25]]))
    bound = rigorous_bound(problem, point)
    assert bound.gap >= 0.0
    if bound.gap < math.inf:
        assert violated(exact, problems, problem, point, bound) == []


# ---------------------------------------------------------------------- who supplies oracles
class Plain:
    """A user's loss without an oracle."""

    shape = (3, 2)
    convex = True

    def value_and_grad(self, X):
        return 0.5 * float(np.sum(X * X)), X


class Stated(Plain):
    """The same with one."""

    def ball_oracle(self, A, B, balls):
        G = balls.residual(A, B.T)
        return balls.BallOracle(*balls.half_square(G), G, 0.0, "nothing but X", least_squares=True)


def test_a_user_may_supply_the_oracle():
    point = (np.ones((3, 1)), np.ones((2, 1)))
    bound = rigorous_bound(ls.Problem(Stated(), 1, 0.5), point)
    # F(X) = 3 + 0.5 sqrt 6 and min F = 0.
    assert bound.gap >= 3.0 + 0.5 * math.sqrt(6.0) - 1e-12 and bound.gap < math.inf
    assert any("Stated" in text and "convex" in text for text in bound.assumptions)
    assert bound == rigorous_bound(ls.Problem(Stated(), 1, 0.5).plain(), point)
    nothing = rigorous_bound(ls.Problem(Plain(), 1, 0.5), point)
    assert nothing.gap == math.inf and "Plain states no ball_oracle" in nothing.formula


def test_what_a_user_states_about_the_whole_weight_is_moved_with_a_merged_update():
    E = np.diag([0.3, 0.0, 0.0])[:, :2]

    class Tilted(Plain):
        def value_and_grad(self, X):
            return float(np.vdot(E, X)), E.copy()

        def ball_oracle(self, A, B, balls):
            inner = balls.inner_product(balls.as_ball(E), A, B, 100.0)
            return balls.BallOracle(*inner, balls.as_ball(E), 0.0, "E", lower_slope=0.3, inner=inner)

    # F(X) = <E, -10 e e^T + X> + ||X||_*/2 is smallest at X = 0, where it is -3.
    problem = ls.Problem(Tilted(), 1, 0.5)
    problem = problem.replace(objective=problem.objective.merged(-10.0 * np.eye(3, 2) * [1.0, 0.0]))
    for size in (0.5, 3.8, 6.0):
        point = np.array([[size], [0.0], [0.0]]), np.array([[1.0], [0.0]])
        bound = rigorous_bound(problem, point)
        assert bound.value == pytest.approx(-3.0 + 0.8 * size) and bound.gap >= 0.8 * size * (1.0 - 1e-14)
    # A weight of rank two, at which <E, .> is -6.
    tilt, weight = 0.3 * np.eye(3, 2), -10.0 * np.eye(3, 2)
    f = float(np.vdot(tilt, weight))
    stated = BallOracle(f, f, Ball(tilt), 0.0, "E", lower_slope=0.3)
    assert _oracles._at_offset(stated, weight).lower_bound <= f == pytest.approx(-6.0)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (lambda G, balls: None, TypeError, "expected a balls.BallOracle, got None"),
        (lambda G, balls: (0.0, 1.0, G, 0.0, "X"), TypeError, "expected a balls.BallOracle"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G.mid, 0.0, "X"), TypeError, "gradient: expected a balls.Ball"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G.T, 0.0, "X"), ValueError, r"expected shape \(3, 2\), got"),
        (lambda G, balls: balls.BallOracle((0.0, 9.0), 9.0, G, 0.0, "X"), TypeError, "low: expected a number"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G, math.nan, "X"), ValueError, "lower_bound: .*a finite number"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G, -math.inf, "X"), ValueError, "lower_bound: None where nothing"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G, 0.0, "X", lower_slope=-1), ValueError, "lower_slope: .* -1"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G, 2**53 + 1, "X"), ValueError, "lower_bound: .*of float64"),
        (lambda G, balls: balls.BallOracle(0.0, 10**400, G, 0.0, "X"), ValueError, "high: .* of float64"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, balls.Ball(G.mid.astype("f4")), 0.0, "X"), TypeError, "float32"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G, 0.0, "X", inner=("0", 9.0)), TypeError, "inner: .*a number"),
        (lambda G, balls: balls.BallOracle(0.0, 9.0, G, 0.0, "X", inner=9.0), TypeError, "inner: .*two numbers"),
    ],
)
def test_an_oracle_that_returns_something_else_is_refused_by_name(answer, error, text):
    class Odd(Plain):
        def ball_oracle(self, A, B, balls):
            return answer(balls.residual(A, B.T), balls)

    with pytest.raises(error, match=f"Odd.ball_oracle.*{text}"):
        ls.certify(ls.Problem(Odd(), 1, 0.5), np.ones((3, 2)))


def test_a_changed_subclass_is_not_taken_for_its_parent():
    class Doubled(Denoising):
        def value_and_grad(self, X):
            f, G = super().value_and_grad(X)
            return 2.0 * f, 2.0 * G

    bound = rigorous_bound(ls.Problem(Doubled(np.eye(3)), 1, 0.1), np.zeros((3, 3)))
    assert bound.gap == math.inf and "Doubled" in bound.formula


def test_a_loss_that_is_not_convex_has_no_bound():
    objective = TwoLayer.example(np.random.default_rng(0))
    assert rigorous_bound(ls.Problem(objective, 1, 0.1), np.zeros(objective.shape)).gap == math.inf

    class Saddle(Stated):
        convex = None

    bound = rigorous_bound(ls.Problem(Saddle(), 1, 0.1), np.zeros((3, 2)))
    assert bound.gap == math.inf and "convex" in bound.formula


def test_without_a_lower_bound_the_gradient_must_be_small_enough():
    class Unbounded(Stated):
        def ball_oracle(self, A, B, balls):
            G = balls.residual(A, B.T)
            return balls.BallOracle(*balls.half_square(G), G, None, "X")

    far, near = np.eye(3, 2), 0.25 * np.eye(3, 2)
    assert rigorous_bound(ls.Problem(Unbounded(), 1, 0.5), far).gap == math.inf
    # c = 1: ||X||_F^2 + 0.5 ||X||_*.
    assert rigorous_bound(ls.Problem(Unbounded(), 1, 0.5), near).gap == pytest.approx(0.125 + 0.25, rel=1e-12)


def test_arithmetic_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(rigorous, "environment_refusal", lambda: "sums do not round to nearest")
    problem = ls.Problem(Denoising(np.eye(2)), 1, 0.1)
    bound = rigorous_bound(problem, np.zeros((2, 2)))
    assert bound.gap == math.inf and "sums do not round" in bound.formula
    assert better_by(problem, np.zeros((2, 2)), np.eye(2)) == -math.inf


def test_every_convex_objective_of_the_package_has_an_oracle():
    from lorasolve.objectives import registry

    for name, kind in registry.classes().items():
        objective = kind.example(np.random.default_rng(0))
        assert (_oracles.refusal(objective) is None) == (objective.facts.convex is True), name


# ---------------------------------------------------------------------- from below
@pytest.mark.parametrize("kind", KINDS)
def test_a_proved_improvement_is_at_most_the_true_one(kind, exact, problems):
    rng = np.random.default_rng(9)
    proved = 0
    for _ in range(8):
        problem, point = problems.make(rng, kind)
        better = problems.optimum(problem)
        least = better_by(problem, point, better)
        values = [exact_value(exact, problem, exact_update(exact, problem, given)) for given in (point, better)]
        assert least <= values[0] - values[1]
        proved += least > 0.0
        assert better_by(problem, better, better) <= 0.0
        assert least <= rigorous_bound(problem, point).gap
    assert proved > 0


def test_nothing_is_better_than_itself_by_rounding():
    rng = np.random.default_rng(10)
    objective = Softmax.example(rng)
    X = rng.standard_normal(objective.shape)
    problem = ls.Problem(objective, 2, 0.1)
    assert -1e-12 < better_by(problem, X, X) <= 0.0


def test_nothing_is_proved_to_be_better_under_a_loss_that_no_proof_is_about():
    """One of the two points of a network of two layers is better, and neither is proved to be."""
    problem = ls.Problem(TwoLayer.example(np.random.default_rng(0)), 2, 0.1)
    rng = np.random.default_rng(1)
    points = [tuple(rng.standard_normal((size, 2)) for size in problem.shape) for _ in range(2)]
    assert better_by(problem, *points) == better_by(problem, *points[::-1]) == -math.inf


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_outputs_are_as_accurate_as_the_loss_needs(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary samples need one product; samples that are fitted almost exactly need twice the precision."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    Z = np.eye(3)[:, labels] + 0.1 * rng.standard_normal((3, 60))
    A, B = scale * np.eye(3), np.eye(3)
    objective = Softmax(np.zeros((3, 3)), Z, labels)
    accurate = []
    residual = _oracle_models.residual
    monkeypatch.setattr(_oracle_models, "residual", lambda *args: accurate.append(1) or residual(*args))
    found = _oracles.ball_oracle(objective, A, B)
    assert bool(accurate) == (scale > 1.0)
    with mpmath.workdps(60):
        exact = mpmath.mpf(0)
        for z, label in zip(Z.T, labels):
            s = [mpmath.mpf(scale) * mpmath.mpf(float(x)) for x in z]
            exact += mpmath.log(mpmath.fsum(mpmath.exp(x - s[label]) for x in s)) / 60
        assert found.low <= exact <= found.high
        assert found.high - found.low <= 1e-12 * float(exact)


def test_what_is_added_to_a_gram_matrix_makes_it_semidefinite():
    """Of rank one but for rounding: Cholesky completes for some that have a negative eigenvalue."""
    added = []
    for seed in range(300):
        a, b = np.random.default_rng(seed).random(2)
        S = np.array([[a, b], [b, b * b / a]])
        e = _oracle_linear._shift(S)
        assert e is not None and e <= 1e-13 * np.trace(S)
        (p, q), (_, r) = ([Fraction(x) for x in row] for row in S.tolist())
        determinant = p * r - q * q
        shifted = (p + Fraction(e)) * (r + Fraction(e)) - q * q
        assert shifted >= 0 and p + Fraction(e) > 0
        added.append((e > 0.0, determinant < 0))
    assert {(True, True), (True, False)} <= set(added) and (False, True) not in added
