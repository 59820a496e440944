"""``check_objective`` must catch each kind of wrong statement, name it, and accept right ones."""

import math

import numpy as np
import pytest

from lorasolve import check_objective
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, Objective, Softmax, TwoLayer
from lorasolve.objectives.base import Shifted


def refuted(objective, **options):
    return [check.name for check in check_objective(objective, **options).failures]


def row(objective, name, **options):
    (check,) = [check for check in check_objective(objective, **options).checks if check.name == name]
    return check


class Right(Objective):
    """``||X - M||^2/2 + (1/4) sum X^4`` with every statement right; the wrong twins below change one thing each."""

    shape = (4, 3)
    convex = True
    lower_bound = 0.0

    def __init__(self):
        self.M = np.random.default_rng(9).standard_normal(self.shape)

    def value_and_grad(self, X):
        E = X - self.M
        return 0.5 * float(np.sum(E * E)) + 0.25 * float(np.sum(X**4)), E + X**3

    def hessian_product(self, X, D):
        return D + 3.0 * X**2 * D

    def cvxpy_expression(self, X):
        import cvxpy

        return 0.5 * cvxpy.sum_squares(X - self.M) + 0.25 * cvxpy.sum(cvxpy.power(X, 4))


class WrongGradient(Right):
    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        return f, G * (1.0 + 1e-4)


class WrongEntryOfGradient(Right):
    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        G[2, 1] += 1e-3
        return f, G


class WrongHessian(Right):
    def hessian_product(self, X, D):
        return D + 2.0 * X**2 * D


class AsymmetricHessian(Right):
    def hessian_product(self, X, D):
        # The added part is antisymmetric: <D, H D> is right, H D is not.
        turned = np.zeros_like(D)
        turned[0, 0], turned[1, 1] = D[1, 1], -D[0, 0]
        return super().hessian_product(X, D) + turned


class WrongOracleValue(Right):
    def factor_oracle(self, A, B, GB, GtA):
        return super().factor_oracle(A, B, GB, GtA) * (1.0 + 1e-9)

    def factor_value(self, A, B):
        return self.value_and_grad(A @ B.T)[0]


class WrongOracleGradient(Right):
    def factor_oracle(self, A, B, GB, GtA):
        f = super().factor_oracle(A, B, GB, GtA)
        GtA *= 1.0 + 1e-9
        return f


class UnwrittenOracleGradient(Right):
    def factor_oracle(self, A, B, GB, GtA):
        f, G = self.value_and_grad(A @ B.T)
        GB[:] = G @ B
        return f


class OracleThatScalesItsInput(Right):
    def factor_oracle(self, A, B, GB, GtA):
        f = super().factor_oracle(A, B, GB, GtA)
        A *= 2.0
        return f


class WrongFactorValue(Right):
    def factor_value(self, A, B):
        return super().factor_value(A, B) + 1e-6


class WrongFactorHvp(Right):
    def factor_hvp(self, A, B, U, V):
        first, second = super().factor_hvp(A, B, U, V)
        return first - self.value_and_grad(A @ B.T)[1] @ V, second


class HessianOfOneUse(Right):
    """Right the first time: what it multiplies by is written over."""

    def hessian_at(self, A, B):
        X, G = A @ B.T, self.value_and_grad(A @ B.T)[1]

        def product(U, V):
            H = self.hessian_product(X, U @ B.T + A @ V.T)
            found = H @ B + G @ V, H.T @ A + G.T @ U
            G[:] = H
            return found

        return product


class WrongOperator(Right):
    def gradient_operator(self, A, B):
        return super().gradient_operator(A, 2.0 * B)


class WrongExpression(Right):
    def cvxpy_expression(self, X):
        return super().cvxpy_expression(X) * (1.0 + 1e-7)


class ConcaveExpression(Right):
    def cvxpy_expression(self, X):
        import cvxpy

        return super().cvxpy_expression(X) + cvxpy.sum(cvxpy.sqrt(1.0 + cvxpy.abs(X))) * 1e-12


class WrongConvexity(Right):
    """``sum cos X`` bends down near 0 only slightly outnumbered: found by the extreme eigenvalue."""

    lower_bound = None

    def value_and_grad(self, X):
        return float(np.sum(np.cos(X)) + 0.45 * np.sum(X**2)), 0.9 * X - np.sin(X)

    def hessian_product(self, X, D):
        return (0.9 - np.cos(X)) * D

    def cvxpy_expression(self, X):
        raise NotImplementedError("no expression")


class WrongSmoothness(Right):
    smoothness = 1.5


class WrongRankOneSmoothness(Right):
    rank_one_smoothness = 1.5


class TightLowerBound(Right):
    """The exact minimum: the root of ``x^3 + x = M_ij`` in each entry."""

    def __init__(self):
        super().__init__()
        roots = [[z.real for z in np.roots([1.0, 0.0, 1.0, -m]) if abs(z.imag) < 1e-12] for m in self.M.ravel()]
        self.lower_bound = self.value_and_grad(np.array(roots).reshape(self.shape))[0]


class WrongLowerBound(TightLowerBound):
    def __init__(self):
        super().__init__()
        self.lower_bound *= 1.0 + 1e-6


class WrongLeastSquares(Right):
    least_squares = True


class LeastSquaresWithoutBound(Denoising):
    least_squares = True
    lower_bound = None


class WrongMerge(Right):
    def merged(self, update):
        return Shifted(self, -update)


class MergeThatForgetsFacts(Right):
    def merged(self, update):
        class Forgetful(Shifted):
            @property
            def facts(self):
                return self.objective.facts.replace(convex=None)

        return Forgetful(self, update)


class MergeInPlace(LinearFineTuning):
    def merged(self, update):
        other = super().merged(update)
        self.__dict__.update(other.__dict__)
        return other


class MergeThatForgetsTheWeight(Softmax):
    def merged(self, update):
        other = super().merged(update)
        other.W0 = self.W0
        return other


class BatchThatSums(Softmax):
    """Divides by the size of the whole instead of the size of the batch."""

    def sample_batch(self, index):
        batch = super().sample_batch(index)
        share = len(index) / self.n_samples

        class Summed(Shifted):
            def value_and_grad(self, X):
                f, G = super().value_and_grad(X)
                return share * f, share * G

        return Summed(batch, np.zeros(self.shape))


class BatchInPlace(Softmax):
    """It is a batch of itself from then on."""

    def sample_batch(self, index):
        batch = super().sample_batch(index)
        self.__dict__.update(batch.__dict__)
        return batch


class ConjugateInPlace(Denoising):
    def conjugate(self, Y):
        value = float((Y * self.M).sum())
        Y *= Y
        return value + 0.5 * float(Y.sum())


class MetricInPlace(Right):
    def metrics(self, X):
        X -= 1.0
        return {"rmse": float(np.sqrt((X**2).mean()))}


class BatchThatDropsRepetitions(Softmax):
    def sample_batch(self, index):
        return super().sample_batch(np.unique(index))


class WrongMinimiser(Denoising):
    def minimize_over_A(self, B, lam):
        return super().minimize_over_A(B, 2.0 * lam)


class WrongMinimizer(Denoising):
    def minimizer(self, lam, rank):
        A, B = super().minimizer(lam, rank)
        return (1.0 + 1e-4) * A, B


class MinimizerOfTheWrongSubspace(Denoising):
    """Stationary, but made of the wrong singular vectors: only descent sees it."""

    def minimizer(self, lam, rank):
        A, B = super().minimizer(0.0, min(self.shape))
        return A[:, -rank:], B[:, -rank:]


class MinimizerOfAnyRank(Denoising):
    def minimizer(self, lam, rank):
        return super().minimizer(lam, min(self.shape))


class WrongValueOfLook(Right):
    def oracle_and_operator(self, A, B):
        f, *gradient = super().oracle_and_operator(A, B)
        return 1.001 * f, *gradient


class LookOfAnotherGradient(Right):
    def oracle_and_operator(self, A, B):
        f, GB, _, G = super().oracle_and_operator(A, B)
        return f, GB, G.rmatmat(2.0 * A), G


class WrongCurvatureAlong(Right):
    def curvature_along(self, A, B, U):
        return 2.0 * super().curvature_along(A, B, U)


class RaisingMethod(Right):
    def gradient_operator(self, A, B):
        raise KeyError("missing")


class MetricThatIsNoNumber(Right):
    def metrics(self, X):
        return {"verdict": "good"}


class MetricOfOneFactor(Right):
    def metrics(self, X):
        return {"length": float(np.linalg.norm(X))}

    def factor_metrics(self, A, B):
        return {"length": float(np.linalg.norm(A))}


class MemoryReused(Right):
    """Hands out the same array each time: a caller's gradient changes behind its back."""

    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        if not hasattr(self, "buffer"):
            self.buffer = np.empty(self.shape)
        self.buffer[:] = G
        return f, self.buffer


class NoisyOracle(Right):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        return f * (1.0 + 1e-15 * self.rng.standard_normal()), G


def softmax(cls):
    return cls.example(np.random.default_rng(0))


def test_right_statements_pass():
    for objective in (Right(), TightLowerBound()):
        report = check_objective(objective)
        assert report.ok, str(report)
        assert report.failures == ()


@pytest.mark.parametrize(
    ("objective", "wrong"),
    [
        (WrongGradient(), "gradient"),
        (WrongEntryOfGradient(), "gradient"),
        (WrongHessian(), "hessian"),
        (AsymmetricHessian(), "hessian"),
        (AsymmetricHessian(), "hessian is symmetric"),
        (WrongOracleValue(), "factor_oracle value"),
        (WrongOracleGradient(), "G B and G^T A"),
        (UnwrittenOracleGradient(), "G B and G^T A"),
        (OracleThatScalesItsInput(), "factor_oracle leaves A, B alone"),
        (WrongFactorValue(), "factor_value"),
        (WrongFactorHvp(), "factor_hvp"),
        (HessianOfOneUse(), "factor_hvp"),
        (WrongOperator(), "gradient_operator"),
        (WrongValueOfLook(), "oracle_and_operator"),
        (LookOfAnotherGradient(), "oracle_and_operator"),
        (WrongCurvatureAlong(), "curvature_along"),
        (WrongExpression(), "cvxpy expression, value"),
        (ConcaveExpression(), "cvxpy expression, convex"),
        (WrongConvexity(), "convex"),
        (WrongSmoothness(), "smoothness"),
        (WrongRankOneSmoothness(), "rank-one smoothness"),
        (WrongLowerBound(), "lower bound"),
        (WrongLeastSquares(), "least squares, constant Hessian"),
        (WrongLeastSquares(), "least squares, quadratic"),
        (LeastSquaresWithoutBound(np.eye(3, 2)), "least squares"),
        (WrongMerge(), "merged, function"),
        (MergeThatForgetsFacts(), "merged, facts"),
        (softmax(MergeInPlace), "merged, facts"),
        (softmax(BatchInPlace), "sample_batch leaves the loss alone"),
        (ConjugateInPlace(np.eye(3, 2)), "arguments are left alone"),
        (MetricInPlace(), "arguments are left alone"),
        (softmax(MergeThatForgetsTheWeight), "merged, facts"),
        (softmax(BatchThatSums), "sample_batch, unbiased"),
        (softmax(BatchThatDropsRepetitions), "sample_batch, repetitions"),
        (WrongMinimiser(np.arange(6.0).reshape(3, 2)), "minimize_over_A"),
        (WrongMinimizer(np.arange(6.0).reshape(3, 2)), "minimizer, lam > 0"),
        (MinimizerOfTheWrongSubspace(np.arange(6.0).reshape(3, 2)), "minimizer, lam = 0"),
        (MinimizerOfAnyRank(np.arange(6.0).reshape(3, 2)), "minimizer, lam = 0"),
        (RaisingMethod(), "gradient_operator"),
        (MetricThatIsNoNumber(), "metrics are finite floats"),
        (MetricOfOneFactor(), "factor_metrics"),
        (MemoryReused(), "value_and_grad is pure"),
        (NoisyOracle(), "value_and_grad is pure"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_wrong_statement_is_caught_and_named(objective, wrong):
    assert wrong in refuted(objective)


class LogDet:
    """``-log det (I + S)``, S the symmetric part of X: near ``X = 0`` all that it computes cancels."""

    shape, convex = (4, 4), True

    def domain(self, X):
        return np.linalg.eigvalsh(np.eye(4) + (X + X.T) / 2)[0] > 0

    def value_and_grad(self, X):
        S = np.eye(4) + (X + X.T) / 2
        return -np.linalg.slogdet(S)[1], -np.linalg.inv(S)

    def conjugate(self, Y):
        values = np.linalg.eigvalsh(-(Y + Y.T) / 2)
        return -4 - np.trace(Y) - np.log(values).sum() if values[0] > 0 else np.inf


class LogDetOfAWrongEntry(LogDet):
    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        G[1, 2] += 0.01 * G[1, 1]
        return f, G


class LogDetOfAWrongConjugate(LogDet):
    def conjugate(self, Y):
        return super().conjugate(Y) + 1e-9


class LogDetOfNoGradient(LogDet):
    """Its second derivatives are not symmetric."""

    def value_and_grad(self, X):
        f, G = super().value_and_grad(X)
        G[0, 1] += 0.01 * X[2, 3]
        return f, G


class LogCosh:
    """Far from ``M`` its Hessian is small, and a difference of rounded gradients is mostly rounding."""

    convex, smoothness, lower_bound = True, 1.0, 0.0

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self.M = np.random.default_rng(1).standard_normal((8, 6)).astype(dtype)
        self.shape = self.M.shape

    def value_and_grad(self, X):
        R = (X - self.M).astype(self.dtype)
        return float((np.logaddexp(R, -R) - np.log(2)).sum()), np.tanh(R)


class Cauchy(LogCosh):
    convex = None

    def value_and_grad(self, X):
        R = X - self.M
        return 0.5 * float(np.log1p(R**2).sum()), R / (1 + R**2)


@pytest.mark.parametrize(
    ("objective", "scale"),
    [
        (LogDet(), 1.0), (LogDet(), 1e-3), (LogCosh(np.float64), 10.0), (LogCosh(np.float32), 10.0),
        (LogCosh(np.float32), 1.0), (Cauchy(np.float64), 10.0), (Cauchy(np.float64), 1e-2),
    ],
)  # fmt: skip
def test_rounding_refutes_no_right_statement(objective, scale):
    for seed in range(20):
        report = check_objective(objective, seed, scale)
        assert report.ok, f"seed {seed}: {report}"


@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize(
    ("objective", "wrong"),
    [
        (LogDetOfAWrongEntry(), "gradient"),
        (LogDetOfAWrongConjugate(), "conjugate"),
        (LogDetOfNoGradient(), "hessian is symmetric"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_allowed_for_rounding_hides_nothing(objective, wrong, scale):
    for seed in range(10):
        assert wrong in refuted(objective, rng=seed, scale=scale), seed


def test_a_loss_that_computes_in_float32_is_told_to_state_it():
    class Undeclared(LogCosh):
        def __init__(self):
            super().__init__(np.float32)
            del self.dtype

        def value_and_grad(self, X):
            R = (X - self.M).astype(np.float32)
            return np.float32((np.logaddexp(R, -R) - np.float32(np.log(2))).sum()), np.tanh(R)

    check = row(Undeclared(), "value_and_grad is pure")
    assert check.holds is False and check.detail.endswith("G is float32, so state dtype = np.float32")

    class HandedOn(Undeclared):
        def value_and_grad(self, X):
            f, G = super().value_and_grad(X)
            return float(f), G.astype(float)

    for loss in (HandedOn(), type("Derived", (HandedOn, Objective), {})()):
        check = row(loss, "value_and_grad is pure")
        assert check.holds is False and check.detail.endswith("f computes in float32, so state dtype = np.float32")
    declared = Undeclared()
    declared.dtype = np.float32
    assert check_objective(declared).ok


def test_the_wrong_entry_of_a_gradient_is_named():
    assert "G[2, 1] = " in row(WrongEntryOfGradient(), "gradient").detail


@pytest.mark.parametrize(
    ("objective", "wrong"),
    [
        (WrongSmoothness(), ["smoothness"]),
        (WrongLowerBound(), ["lower bound"]),
        (WrongFactorHvp(), ["factor_hvp"]),
        (WrongOracleValue(), ["factor_oracle value"]),
        (RaisingMethod(), ["gradient_operator"]),
        (WrongMinimiser(np.arange(6.0).reshape(3, 2)), ["minimize_over_A"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_wrong_statement_does_not_spoil_the_others(objective, wrong):
    assert refuted(objective) == wrong


def test_an_error_inside_a_method_is_reported_with_its_text():
    assert row(RaisingMethod(), "gradient_operator").detail == "raised KeyError: 'missing'"


def test_negative_curvature_in_one_direction_of_a_large_objective_is_found():
    """1 of 400 Hessian eigenvalues is negative, and small: random directions would see about +1."""

    class Saddle:
        shape = (20, 20)
        convex = True

        def value_and_grad(self, X):
            weights = np.ones(self.shape)
            weights[3, 5] = -0.01
            return 0.5 * float(np.sum(weights * X * X)), weights * X

    check = row(Saddle(), "convex")
    assert check.holds is False
    assert "-1.00e-02" in check.detail


def test_taylor_slopes_are_those_of_a_smooth_function():
    detail = row(Right(), "hessian").detail
    in_gradients, in_values = (float(part.split()[0]) for part in detail.split("Taylor slope ")[1:])
    assert float(row(Right(), "gradient").detail.split()[2]) == pytest.approx(2.0, abs=0.1)
    assert in_gradients == pytest.approx(2.0, abs=0.1)
    assert in_values == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_many_kinks_of_the_gradient_do_not_spoil_a_right_hessian(scale):
    M = np.random.default_rng(0).standard_normal((80, 100))
    assert row(Huber(M), "hessian", scale=scale).holds is True


class AbsoluteSum:
    """Piecewise linear: its Hessian is 0 wherever there is one, and its gradient jumps at the kinks."""

    shape = (6, 5)
    convex, lower_bound, curvature = True, 0.0, 0.0

    def value_and_grad(self, X):
        return float(np.abs(X - 0.3).sum()), np.sign(X - 0.3)

    def hessian_product(self, X, D):
        return self.curvature * D


def test_jumps_of_the_gradient_are_not_a_wrong_hessian():
    assert check_objective(AbsoluteSum()).ok


@pytest.mark.parametrize("curvature", [1.0, 1e-4])
def test_jumps_of_the_gradient_do_not_excuse_a_wrong_hessian(curvature):
    wrong = AbsoluteSum()
    wrong.curvature = curvature
    assert row(wrong, "hessian").holds is False


def test_what_is_not_stated_is_neither_right_nor_wrong():
    class Plain:
        shape = (3, 2)

        def value_and_grad(self, X):
            return 0.5 * float(np.sum(X * X)), X.copy()

    report = check_objective(Plain())
    assert report.ok
    undecided = {check.name for check in report.checks if check.holds is None}
    assert undecided == {
        "description",
        "cvxpy expression",
        "convex",
        "smoothness",
        "lower bound",
        "conjugate",
        "least squares",
        "sample_batch",
        "minimize_over_A",
        "minimize_over_B",
        "minimizer, lam = 0",
        "minimizer, lam > 0",
    }


def test_statement_of_non_convexity_needs_a_witness():
    network = TwoLayer.example(np.random.default_rng(0))
    network.convex = False
    assert row(network, "not convex").holds is True
    square = Denoising(np.eye(3, 2))
    square.convex = False
    square.least_squares = False
    assert row(square, "not convex").holds is None


def test_without_a_hessian_the_first_order_checks_still_run():
    W0, V, Z, Y = (np.random.default_rng(0).standard_normal(s) for s in ((4, 3), (2, 4), (3, 15), (2, 15)))
    report = check_objective(TwoLayer(W0, V, Z, Y, "relu"))
    assert report.ok, str(report)
    rows = {check.name: check for check in report.checks}
    assert rows["gradient"].holds is True
    assert rows["hessian"].holds is rows["factor_hvp"].holds is None


def test_the_same_seed_gives_the_same_report():
    assert str(check_objective(Right(), 5)) == str(check_objective(Right(), np.random.default_rng(5)))


def test_the_printed_report_counts_and_marks_what_is_wrong():
    text = str(check_objective(WrongSmoothness()))
    assert text.startswith("WrongSmoothness: 1 check WRONG\n")
    (line,) = [line for line in text.splitlines() if line.startswith("WRONG")]
    assert line.split()[1] == "smoothness"
    assert str(check_objective(Right())).startswith("Right: no check failed (sampled)\n")


def test_an_infinite_value_is_caught():
    class Infinite(Right):
        def value_and_grad(self, X):
            return math.inf, np.zeros(self.shape)

    assert "value_and_grad is pure" in refuted(Infinite())


def test_what_is_no_objective_is_refused():
    with pytest.raises(TypeError, match="objective: expected an object with `shape`"):
        check_objective(3)


def test_wide_factors_take_no_more_columns_than_show_a_fault():
    """A minimiser over one factor may take the cube of the columns for every row: of 1000 columns, minutes."""
    objective, columns = Denoising(np.ones((100, 90))), []
    over_A = objective.minimize_over_A
    objective.minimize_over_A = lambda B, lam: columns.append(B.shape[1]) or over_A(B, lam)
    assert check_objective(objective).ok
    assert 2 < max(columns) < 90
