"""Losses in float32, without a bound, flat, or with numbers out of range."""

import math

import numpy as np
import pytest
from falling import Falling
from optima import ROUNDING, by_clarabel, denoising_optimum, soft_threshold

import lorasolve as ls
from lorasolve import landscape
from lorasolve.certificates import certify
from lorasolve.multi import MultiProblem, Separable
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, Logistic, MatrixCompletion, MatrixSensing, Softmax


@pytest.mark.parametrize("name", ["softmax", "logistic", "linear", "completion", "sensing", "huber", "denoising"])
def test_float32_data_are_certified_in_float64(name):
    rng = np.random.default_rng(9)
    cls = {
        "softmax": Softmax,
        "logistic": Logistic,
        "linear": LinearFineTuning,
        "completion": MatrixCompletion,
        "sensing": MatrixSensing,
        "huber": Huber,
        "denoising": Denoising,
    }[name]
    objective = cls.example(rng, np.float32)
    m, n = objective.shape
    norm = np.linalg.norm(objective.value_and_grad(np.zeros((m, n), np.float32))[1], 2)
    problem = ls.Problem(objective, 2, 0.3 * float(norm))
    best = ls.solve_convex(problem, "prox", 1e-11)
    wide = problem.replace(objective=objective.in_float64())
    # The same data, evaluated in float64 by the dense path: a float32 evaluation would be off by 1e-8.
    assert certify(problem, best.X).value == pytest.approx(wide.convex_value(best.X), rel=1e-12)
    assert certify(problem, best.X).relative_gap < 1e-10
    assert wide.convex_value(best.X) <= by_clarabel(wide) * (1 + 1e-9)


def test_a_float32_user_object_gets_the_allowance_of_float32():
    class Single:
        shape = (5, 4)
        dtype = np.float32
        convex = True
        lower_bound = 0.0
        smoothness = 1.0
        M = np.random.default_rng(10).standard_normal((5, 4)).astype(np.float32)

        def value_and_grad(self, X):
            E = np.asarray(X, np.float32) - self.M
            return 0.5 * float(np.vdot(E, E)), E

    problem = ls.Problem(Single(), 2, 0.3)
    certificate = certify(problem, soft_threshold(Single.M.astype(float), 0.3), tol=1e-9)
    truth = denoising_optimum(Single.M.astype(float), 0.3)
    assert certificate.dual_value <= truth
    assert certificate.is_global is not True


class Unbounded:
    """Denoising of a user who states no lower bound."""

    convex = True

    def __init__(self, M):
        self.M, self.shape = M, M.shape

    def value_and_grad(self, X):
        return 0.5 * float(np.vdot(X - self.M, X - self.M)), X - self.M


@pytest.mark.parametrize("shape", [(6, 5), (60, 80), (400, 300)])
@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-9])
def test_without_a_lower_bound_a_gradient_below_lam_is_a_certificate(shape, share):
    """The optimum of a weight below lam has a gradient of that norm: its gap is what is between, times its norm."""
    M = np.random.default_rng(18).standard_normal(shape)
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    for lam in (0.3 * s[0], 1.001 * s[0]):
        less = lam * (1.0 - share)
        kept = np.maximum(s - less, 0.0)
        problem = ls.Problem(Unbounded(M), 1, lam)
        found = certify(problem, (P * np.sqrt(kept), Qt.T * np.sqrt(kept)), tol=1e-2)
        gap = (lam - less) * kept.sum()
        assert found.is_global is True and found.dual_norm <= 1.0
        assert gap - ROUNDING * found.value <= found.gap <= gap + 1e3 * ROUNDING * found.value


@pytest.mark.parametrize("length", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_a_point_far_out_in_a_loss_that_levels_off_is_refuted(name, length):
    """The samples can be separated, so ``F`` is its penalty alone, of which half is saved by half of the point."""
    rng = np.random.default_rng(19)
    Z, W = rng.standard_normal((5, 30)), rng.standard_normal((4, 5))
    scores = W @ Z
    if name == "softmax":
        loss, at_zero = Softmax(np.zeros((4, 5)), Z, scores.argmax(axis=0)), math.log(4.0)
        margins = np.diff(np.sort(scores, axis=0)[-2:], axis=0)
    else:
        loss, at_zero = Logistic(np.zeros((4, 5)), Z, np.sign(scores)), 4.0 * math.log(2.0)
        margins = np.abs(scores)
    P, s, Qt = np.linalg.svd(W * (length / margins.min()), full_matrices=False)
    point = P * np.sqrt(s), Qt.T * np.sqrt(s)
    # Each sample adds less than exp(-length), and at half of the point less than exp(-length / 2).
    for cost in (0.1, 10.0):
        found = certify(ls.Problem(loss, 4, cost / s.sum()), point)
        assert found.value == pytest.approx(cost, rel=1e-12) and found.is_global is False
        assert found.gap_at_least >= max(0.5 * cost, cost - at_zero) * (1.0 - 1e-9)


@pytest.mark.parametrize("c", [1.0, 1e3])
def test_a_point_where_a_loss_is_flat_is_refuted(c):
    """``sum (X - c)^4 / 4`` has no curvature at its least value; its symmetry leaves a closed form of the optimum.

    By it ``X = t 1 1^T`` with ``(c - t)^3 m n = lam sqrt(m n)``.
    """
    m, n, lam = 6, 4, 0.3 * c**3

    class FourthPower:
        shape, convex, lower_bound = (m, n), True, 0.0

        def value_and_grad(self, X):
            return 0.25 * float(((X - c) ** 4).sum()), (X - c) ** 3

    problem = ls.Problem(FourthPower(), 2, lam)
    t = c - (lam / math.sqrt(m * n)) ** (1 / 3)
    best = 0.25 * m * n * (c - t) ** 4 + lam * t * math.sqrt(m * n)
    found = certify(problem, np.full((m, n), c))
    assert found.is_global is False
    assert 0.5 * (found.value - best) < found.gap_at_least < (found.value - best) * (1.0 + 1e-9)


@pytest.mark.parametrize(("size", "lam"), [(1e-100, 1e220), (1e-120, 1e300)])
@pytest.mark.parametrize("rigorous", [True, False])
def test_a_weight_beyond_the_gradient_by_more_than_the_range_of_numbers(size, lam, rigorous):
    # The optimum is 0 wherever ||M||_2 <= lam; that quotient is no number here.
    problem = ls.Problem(Denoising(size * np.diag([1.0, 2.0, 3.0])), 2, lam)
    found = [certify(problem, np.zeros((3, 3)), rigorous=rigorous)]
    found += ls.certify_batch(problem, [np.zeros((3, 3))] * 2, rigorous=rigorous)
    for certificate in found:
        assert certificate.is_global is True and certificate.rank_at_most == 0
        assert certificate.value == pytest.approx(7.0 * size**2, rel=1e-12, abs=0.0)
    assert ls.verdict(problem, (np.zeros((3, 2)), np.zeros((3, 2)))).kind == "global"
    assert ls.recommend_rank(problem).at_most == 0


class EuclideanNorm:
    """``f(X) = ||X||_F``, with the gradient ``X / ||X||_F`` as it is often written: no number at 0."""

    shape = (3, 2)
    convex, lower_bound = True, 0.0

    def value_and_grad(self, X):
        length = float(np.linalg.norm(X))
        with np.errstate(invalid="ignore"):
            return length, X / length


def test_a_gradient_that_is_not_finite_is_said_to_be_so():
    problem = ls.Problem(EuclideanNorm(), 1, 0.1)
    X = np.zeros((3, 2))
    for certificate in (certify(problem, X), ls.certify_batch(problem, [X, X])[1]):
        assert certificate.is_global is None and certificate.gap == math.inf and certificate.gap_at_least == 0.0
        assert certificate.reason == "the gradient of f is not finite at this point"
    factors = X[:, :1], X[:2, :1]
    for ask in (
        problem.critical_lam,
        lambda: ls.solve_convex(problem),
        lambda: ls.verdict(problem, factors),
        lambda: ls.landscape.stationarity(problem, *factors),
        lambda: ls.landscape.second_order(problem, *factors),
    ):
        with pytest.raises(ValueError, match=r"^objective: a derivative of f has entries that are not finite"):
            ask()
    # Elsewhere F grows along every ray, so X = 0 is the optimum, and any other point is above it by (1 + lam) ||X||.
    away = certify(problem, np.outer([0.0, 3.0, 4.0], [1.0, 0.0]))
    assert away.value == pytest.approx(5.5) and away.gap >= 5.5 - 1e-9


def test_a_hessian_that_is_not_finite_is_said_to_be_so():
    class OneEntryMissing(EuclideanNorm):
        least_squares = True

        def value_and_grad(self, X):
            G = np.array(X)
            G[1, 1] = np.nan
            return 0.5 * float(np.vdot(X, X)), G

    with pytest.raises(ValueError, match=r"^objective: a derivative of f has entries that are not finite"):
        ls.landscape.restricted_constants(OneEntryMissing(), np.zeros((3, 2)), 1, 1.0)


class Raised:
    """``c + ||X - M||^2/2``."""

    convex, shape = True, (5, 4)

    def __init__(self, c, M):
        self.lower_bound, self.M = c, M

    def value_and_grad(self, X):
        E = X - self.M
        return self.lower_bound + 0.5 * float(np.vdot(E, E)), E


@pytest.mark.parametrize("lam", [0.5, 0.0])
@pytest.mark.parametrize("c", [0.0, 1e3, 1e9, -1e9])
def test_a_tolerance_within_which_nothing_is_told_from_nothing_is_named(c, lam):
    """A random point is within 1e-6 of ``1e9`` of the optimum, whose value is known in closed form; so is ``X = 0``."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((5, 4))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    best = (P * np.maximum(s - lam, 0.0)) @ Qt
    problem = ls.Problem(Raised(c, M), 4, lam)
    least, zero = (problem.convex_value(X) for X in (best, np.zeros((5, 4))))
    blurred = zero - least <= 1e-6 * abs(zero)
    assert blurred == (abs(c) > 1e8)
    for X in (best, rng.standard_normal((5, 4))):
        told = ls.certify(problem, X)
        assert told.is_global == (blurred or X is best or (False if lam else None))
        assert ("as X = 0 is" in told.reason) == blurred
    judged = landscape.verdict(problem, (P * np.sqrt(s), Qt.T * np.sqrt(s)))
    assert ("as X = 0 is" in judged.reason) == blurred


class Change:
    """``sum_k log(1 + exp(<D_k, X>)) - log 2``: 0 at ``X = 0``, where its gradient is ``sum_k D_k/2``."""

    convex, shape = True, (4, 3)
    D = np.random.default_rng(0).standard_normal((3, 4, 3))

    def value_and_grad(self, X):
        z = np.einsum("kij,ij->k", self.D, X)
        return float(np.sum(np.logaddexp(0.0, z) - np.log(2.0))), np.einsum(
            "k,kij->ij", 1.0 / (1.0 + np.exp(-z)), self.D
        )


@pytest.mark.parametrize("several", [False, True])
def test_zero_is_optimal_for_a_loss_that_is_zero_there(several):
    """``F(Y) >= <G, Y> + lam ||Y||_* > 0`` where ``||G||_2 < lam``; beyond, some small ``Y`` has a lower value."""
    loss = Change()
    norm = np.linalg.norm(0.5 * loss.D.sum(axis=0), 2)
    zero = (np.zeros((4, 2)), np.zeros((3, 2)))
    for lam, optimal in ((1.01 * norm, True), (0.99 * norm, False)):
        problem = MultiProblem(Separable([loss, loss]), 2, lam) if several else ls.Problem(loss, 2, lam)
        point = tuple(zip(zero, zero)) if several else zero
        certificate = ls.certify(problem, point)
        assert (certificate.is_global is True) == optimal and (certificate.gap == 0.0) == optimal
        assert (landscape.verdict(problem, point).kind == "global") == optimal
        if optimal:
            assert ls.solve_convex(problem).certificate.is_global


def test_a_constant_is_not_named_where_nothing_else_is_there():
    assert ls.certify(ls.Problem(Raised(5.0, np.zeros((5, 4))), 2, 0.5), np.zeros((5, 4))).reason.endswith("CERTIFIED")


def test_the_end_of_a_run_without_end_is_no_optimum_where_its_squares_overflow():
    """A convex loss that falls on: curvature was asked for at an infinite distance, and certify ended in an error."""

    problem = ls.Problem(Falling(), 2, 0.01)
    result = ls.solve(problem, "lbfgs", seed=0)
    assert float(np.abs(result.X).max()) > 1e160
    # F falls for ever: of -t in all entries by at least 6 min(slopes) t, and their nuclear norm is sqrt(6) t.
    assert 6.0 * Falling.slopes.min() > 0.01 * math.sqrt(6.0)
    assert certify(problem, result).is_global is False


def test_steps_beyond_the_finite_numbers_are_shortened_to_a_better_point():
    """Far out curvature is nearly 0, and steps over it end where no number is: the SVD failed, or none was found."""

    class Greatest:
        shape, convex = (2, 4), True
        slopes = 1e-4 * np.abs(np.random.default_rng(0).standard_normal((5, 8)))

        def value_and_grad(self, X):
            each = self.slopes @ X.ravel()
            k = int(each.argmax())
            return float(each[k]), self.slopes[k].reshape(2, 4).copy()

    # F falls for ever: of -t in all entries by at least 8 min(slopes) t, and their nuclear norm is sqrt(8) t.
    assert 8.0 * Greatest.slopes.min() > 1e-6 * math.sqrt(8.0)
    point = -6e153 * np.ones((2, 1)), 5e153 * np.ones((4, 1))
    assert certify(ls.Problem(Greatest(), 1, 1e-6), point).is_global is False
