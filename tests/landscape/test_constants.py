"""Intervals for the restricted constants against spectra, brute force and closed forms; regimes and bounds."""

import itertools
import json
import math
import re
import types
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve._known import Known
from lorasolve.landscape import regimes
from lorasolve.landscape.constants import Constants
from lorasolve.landscape.known_constants import joint_inequality, known_block_constants, known_constants
from lorasolve.multi import MultiObjective, Separable
from lorasolve.objectives import as_objective


def random_quadratic(seed, m=4, n=3, r_star=1):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((2 * m * n, m * n))
    X_star = rng.standard_normal((m, r_star)) @ rng.standard_normal((r_star, n))
    return landscape.instances.Quadratic(W.T @ W / (2 * m * n), X_star)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("radius", [0.3, 3.0, math.inf])
def test_interval_contains_the_truth_and_beats_random_search(seed, radius):
    f = random_quadratic(seed)
    values = np.linalg.eigvalsh(f.H)
    for r in (1, 2, 3):
        found = landscape.restricted_constants(f, f.X_star, r, radius)
        assert found.rsc_low == pytest.approx(values[0], rel=1e-12)
        assert found.rsm_high == pytest.approx(values[-1], rel=1e-12)
        assert found.rsc_low <= found.rsc_high
        assert found.rsm_low <= found.rsm_high
        sampled = landscape.restricted_constants(f, f.X_star, r, radius, by="sampled", samples=300)
        assert found.rsc_high <= sampled.rsc_high + 1e-9
        assert found.rsm_low >= sampled.rsm_low - 1e-9
    # Rank n admits every matrix, so the restricted constants are the eigenvalues.
    assert found.rsc_high == pytest.approx(values[0], rel=1e-6)


def test_alpha_of_the_sharp_instance_depends_on_radius_and_rank_as_its_geometry_says():
    f = landscape.instances.sharp(2, 1, 5, 4, 6.0)
    # X - X* is along the soft direction N exactly where X is a multiple of the trailing places, at distance sqrt 2.
    reached = landscape.restricted_constants(f, f.X_star, 2, 1.42)
    assert reached.rsc_high == pytest.approx(1.0, abs=1e-8)
    # At rank 1 at most a share 3/4 of N is reached: e_1 with one of the two trailing places.
    assert landscape.restricted_constants(f, f.X_star, 1, math.inf).rsc_high == pytest.approx(6.0 - 5.0 * 0.75)


def test_attained_values_are_monotone_in_rank_and_radius():
    f = random_quadratic(7, 5, 5)
    by_rank = [landscape.restricted_constants(f, f.X_star, r, 1.0, starts=8).rsc_high for r in (1, 2, 3, 4, 5)]
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(by_rank))


@pytest.mark.filterwarnings("error")
def test_a_hessian_that_vanishes_has_the_curvature_zero():
    # Far from its data the Huber loss is linear.
    far = 100.0 * np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0])
    found = landscape.restricted_constants(ls.objectives.Huber(np.zeros((4, 3))), far, 1, 1.0, "searched", 20, 2)
    assert found.rsm_low == 0.0


@pytest.mark.filterwarnings("error")
def test_one_by_one_matrices_have_constants():
    # f = x^2/2 up to |x| = 1, so that alpha = beta = 1 within the distance 1 of 0.
    found = landscape.restricted_constants(ls.objectives.Huber([[0.0]]), [[0.0]], 1, 1.0, "sampled", 50)
    assert found.rsc_high == pytest.approx(1.0) and found.rsm_low == pytest.approx(1.0)


def test_sampled_constants_are_one_sided_and_say_so():
    rng = np.random.default_rng(0)
    f = ls.objectives.TwoLayer.example(rng)
    found = landscape.restricted_constants(f, np.zeros(f.shape), 2, 1.0, samples=50)
    assert found.rsc_low == -math.inf
    assert found.rsm_high == math.inf
    assert found.how["rsc_high"].known is Known.SAMPLED
    assert found.how["rsm_low"].known is Known.SAMPLED
    softmax = ls.objectives.Softmax(np.zeros((3, 4)), rng.standard_normal((4, 20)), rng.integers(3, size=20))
    found = landscape.restricted_constants(softmax, np.zeros((3, 4)), 2, 1.0, samples=50)
    assert found.rsc_low == 0.0
    assert found.rsm_low <= found.rsm_high == softmax.smoothness


def constants(f):
    return landscape.restricted_constants(f, np.zeros(f.shape), 2, 1.0)


class Squares:
    """A user's ``||M vec X - y||^2 / 2``, whose Hessian products are differences of gradients."""

    convex, least_squares, lower_bound = True, True, 0.0

    def __init__(self, M, y, shape=(3, 4), dtype=np.float64):
        self.M, self.y, self.shape, self.dtype = M.astype(dtype), y.astype(dtype), shape, dtype

    def value_and_grad(self, X):
        e = self.M @ X.ravel().astype(self.dtype) - self.y
        return 0.5 * float(e @ e), (self.M.T @ e).reshape(self.shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("smallest", [0.0, 1e-8, 1e-4, 1e-2, 0.5])
def test_errors_of_differences_are_no_convexity(smallest, dtype):
    """The truth is the spectrum that the matrix was made of, of the smallest value without its rounding."""
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((12, 12)))[0] for _ in range(2))
    values = np.r_[rng.uniform(1.0, 6.0, 11), smallest]
    for y in (rng.standard_normal(12), 1e-6 * rng.standard_normal(12), (left * values) @ right[:, 0]):
        f = Squares((left * values) @ right, y, dtype=dtype)
        rounded = 1e-6 if dtype is np.float32 else 1e-14
        for found in (landscape.known_constants.known_constants(as_objective(f), 2), constants(f)):
            assert max(found.rsc_low, 0.0) <= smallest**2 * (1 + rounded) + rounded * (smallest > 0.0)
            assert found.rsm_high >= values.max() ** 2 * (1 - rounded)
            assert found.rsc_high >= smallest**2 * (1 - rounded) and found.rsm_low <= values.max() ** 2 * (1 + rounded)
            if smallest == 0.5:
                assert found.rsc_low > 0.15


class Entrywise:
    """``sum c_ij (X_ij - M_ij)^2/2``, whose curvatures are the ``c_ij``."""

    convex, least_squares, lower_bound = True, True, 0.0

    def __init__(self, c, M):
        self.c, self.M, self.shape = c, M, c.shape

    def value_and_grad(self, X):
        E = X - self.M
        return 0.5 * float(np.vdot(self.c * E, E)), self.c * E


@pytest.mark.parametrize("seed", range(4))
def test_errors_of_differences_that_leave_the_hessian_symmetric_are_counted(seed):
    rng = np.random.default_rng(seed)
    f = Entrywise(np.exp(rng.uniform(-5.0, 1.0, (3, 4))), rng.standard_normal((3, 4)))
    found = landscape.known_constants.known_constants(as_objective(f), 2)
    assert f.c.min() - 1e-7 < found.rsc_low <= f.c.min() and f.c.max() <= found.rsm_high < f.c.max() + 1e-7


def test_a_gap_without_decay_does_not_rest_on_errors_of_differences():
    """Along the direction of curvature 1e-16 the loss falls from 1/2 to 0; the gradient there is 1e-8."""
    rng = np.random.default_rng(1)
    left, right = (np.linalg.qr(rng.standard_normal((12, 12)))[0] for _ in range(2))
    values = np.r_[rng.uniform(1.0, 6.0, 11), 1e-8]
    M = (left * values) @ right.T
    x = right[:, :-1] @ rng.standard_normal(11)
    f = Squares(M, M @ x + left[:, -1])
    best = (x + right[:, -1] / 1e-8).reshape(3, 4)
    assert f.value_and_grad(x.reshape(3, 4))[0] > 0.49 and f.value_and_grad(best)[0] < 1e-10
    judged = landscape.verdict(ls.Problem(f, 3), (np.eye(3), x.reshape(3, 4).T))
    assert judged.kind != "global"


def test_a_gap_from_strong_convexity_is_a_number_in_floating_point():
    """The certificate's own bound, ``f(X) - 0``, is larger and RIGOROUS: that word is not about the smaller one."""
    rng = np.random.default_rng(0)
    S, y = rng.standard_normal((20, 3, 2)), rng.standard_normal(20)
    P, s, Qt = np.linalg.svd(np.linalg.lstsq(S.reshape(20, 6), y, rcond=None)[0].reshape(3, 2), full_matrices=False)
    point = P * np.sqrt(s), Qt.T * np.sqrt(s)
    judged = landscape.verdict(ls.Problem(ls.objectives.MatrixSensing(S, y), 2), point)
    assert judged.certificate.level is Known.RIGOROUS and judged.certificate.gap > 0.3
    assert judged.kind == "global" and judged.reason.startswith("CERTIFIED: within ")


class Scaled:
    """``(alpha/2) ||X - M||^2``, whose gap is ``||G||^2/(2 alpha)`` exactly; its least value is not stated."""

    shape, convex, M = (3, 3), True, np.diag([3.0, 2.0, 1.0])

    def __init__(self, alpha):
        self.rsc = self.rsm = alpha

    def value_and_grad(self, X):
        E = X - self.M
        return 0.5 * self.rsc * float(np.vdot(E, E)), self.rsc * E


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("given", [False, True])
def test_a_gap_without_decay_from_constants_is_that_of_the_parabola(alpha, given):
    root = np.sqrt(Scaled.M + 0.003 * np.eye(3))
    missing = 0.5 * alpha * 3 * 0.003**2
    constants = Constants.exact(alpha, alpha, 3, whole_space=True) if given else None
    problem = ls.Problem(Scaled(alpha), 3)

    def judged(tol):
        return landscape.verdict(problem, (root, root), constants=constants, tol=tol)

    assert judged(1e-5).kind == "global" and judged(1e-5).basis == "certificate"
    # Given constants are about X* alone, and say half as much.
    share = 2.0 if given else 1.0
    assert float(re.search(r"within (\S+) \(tolerance \S+\) of", judged(1e-5).reason)[1]) == pytest.approx(
        share * missing, rel=0.01
    )
    assert judged(0.9 * share * missing / (7.0 * alpha)).kind != "global"


class Sloped(ls.objectives.Objective):
    """A convex function of one number whose derivative is piecewise linear, and its value at 0 ``offset``."""

    shape, convex = (1, 1), True

    def __init__(self, knots, slopes, offset=0.0):
        self.knots, self.slopes, self.offset = knots, slopes, offset

    def value_and_grad(self, X):
        x = float(X[0, 0])
        between = np.sort(np.append(np.clip(self.knots, min(x, 0.0), max(x, 0.0)), [0.0, x]))
        d = np.interp(between, self.knots, self.slopes)
        area = float(np.sum((d[1:] + d[:-1]) * np.diff(between))) / 2.0
        return self.offset + math.copysign(area, area * x), np.array([[np.interp(x, self.knots, self.slopes)]])


@pytest.mark.parametrize("matrices", [1, 2])
@pytest.mark.parametrize("joint", [False, True])
def test_given_constants_are_no_strong_convexity(matrices, joint):
    """``h'(t) = max(|t|, 1)`` beyond a steep piece next to 0: ``h'(t) t >= t^2``, and ``h(1) - h(0) > h'(1)^2/2``."""
    f = Sloped(np.array([-9.0, -1.0, -1e-3, 1e-3, 1.0, 9.0]), np.array([-9.0, -1.0, -1.0, 1.0, 1.0, 9.0]), 1.0)
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    given = Constants.exact(1.0, 1e3, 1, whole_space=True)
    problem, arguments = ls.Problem(f, 1), ((one, one), zero, given)
    if matrices > 1:
        problem = ls.MultiProblem(Separable([f, f]), ranks=1)
        arguments = ((one, one), (one, one)), [zero, zero], [given, given]
    value = problem.value(*arguments[0])
    assert value - problem.value(*(2 * [zero] if matrices == 1 else 2 * [(zero, zero)])) > 0.999 * matrices
    assert landscape.verdict(problem, *arguments, tol=0.499, joint=joint).kind == "not_converged"
    assert given.curvature is None
    # The distance to the optimum is at most ||G||^2/alpha.
    judged = landscape.verdict(problem, *arguments, tol=0.502, joint=joint)
    bound = re.fullmatch(r"CERTIFIED: within (\S+) \(tolerance \S+\) of the optimum of F", judged.reason)
    assert judged.kind == "global" and matrices <= float(bound[1]) <= 1.01 * matrices  # rounded up


def test_given_constants_about_a_matrix_that_is_no_minimizer_bound_no_gap():
    """``(h'(x) - h'(0)) x >= x^2/10``, and ``h`` falls by 0.45 from 5 to its minimum at 10, where ``h'(5) = -0.1``."""
    f = Sloped(np.array([-9.0, 0.0, 1e-3, 9.0, 19.0]), np.array([-10.0, -1.0, -0.1, -0.1, 0.9]), 1.0)
    problem = ls.Problem(f, 1)
    values = [f.value_and_grad(np.full((1, 1), x))[0] for x in (5.0, 10.0)]
    assert values[0] - values[1] == pytest.approx(0.45)
    given = Constants.exact(0.1, 900.0, 1, whole_space=True)
    at = (np.full((1, 1), 5.0), np.ones((1, 1)))
    assert landscape.verdict(problem, at, np.zeros((1, 1)), given, tol=0.2).kind != "global"


def test_constants_of_float32_data_are_those_of_float64():
    """Five samples in eight dimensions leave directions without curvature."""
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(size).astype(np.float32) for size in ((3, 8), (8, 5), (3, 5))]
    f = ls.objectives.LinearFineTuning(*data)
    assert landscape.known_constants.known_constants(f, 2).rsc_low == 0.0 >= constants(f).rsc_low
    many = ls.objectives.LinearFineTuning(*(np.hstack([part] * 3) if k else part for k, part in enumerate(data)))
    assert landscape.known_constants.known_constants(many, 2).rsc_low == 0.0


class LogCosh(ls.objectives.Objective):
    """``sum log cosh X_ij``, least at 0: ``<G, X> >= tanh(D)/D ||X||^2`` within ``D`` of it, and less beyond."""

    shape, convex, lower_bound, smoothness, has_hessian = (4, 3), True, 0.0, 1.0, True

    def value_and_grad(self, X):
        return float(np.log(np.cosh(X)).sum()), np.tanh(X)

    def hessian_product(self, X, D):
        return D / np.cosh(X) ** 2


def test_a_constant_that_is_attained_is_attained_within_the_radius():
    D = 1.0
    found = landscape.restricted_constants(LogCosh(), np.zeros((4, 3)), 2, D, by="searched", samples=20)
    assert found.how["rsc_high"].known is Known.ATTAINED
    assert math.tanh(D) / D - 1e-9 <= found.rsc_high < 0.9


@pytest.mark.parametrize("radius", [1.05, 1.2, 1.4])
def test_alpha_of_a_quadratic_is_attained_at_the_edge_of_the_ball(radius):
    # f(X) = (tr X)^2 / 2 about X* = I of order 2. X = t b a^T of trace p = t a^T b <= t is at the distance
    # sqrt(t^2 - 2 p + 2), and <I, E>^2/||E||^2 = (2 - p)^2/||E||^2 is least where that is D and p = t = 1 + e.
    f = ls.objectives.MatrixSensing(np.eye(2)[None], np.zeros(1))
    e = math.sqrt(radius**2 - 1.0)
    found = landscape.restricted_constants(f, np.eye(2), 1, radius)
    alpha = ((1.0 - e) / radius) ** 2
    # The search follows the edge of the ball, and does not stop there.
    assert alpha * (1.0 - 1e-9) <= found.rsc_high <= alpha * (1.0 + 1e-4)


def is_positive_semidefinite(H):
    """Whether a symmetric matrix of fractions is, by elimination."""
    H = [row[:] for row in H]
    while H:
        k = next((i for i in range(len(H)) if H[i][i] > 0), None)
        if k is None:
            return all(x == 0 for row in H for x in row)
        pivot = H[k]
        rest = [i for i in range(len(H)) if i != k]
        H = [[H[i][j] - H[i][k] * pivot[j] / pivot[k] for j in rest] for i in rest]
        if any(H[i][i] < 0 for i in range(len(H))):
            return False
    return True


def test_no_rounding_error_of_an_ill_conditioned_hessian_is_certified_as_convexity():
    # Integers: the Hessian, the mean of w w^T, is one of fractions, and f - low ||X||^2/2 is convex or not exactly.
    rng = np.random.default_rng(2)
    for _ in range(25):
        w = rng.integers(-9, 10, (5, 4)) * np.array([2**21, 1, 1, 1, 1])[:, None]
        H = [[Fraction(int(w[:, i] @ w[:, j]), 5) for j in range(4)] for i in range(4)]
        f = ls.objectives.MatrixSensing(w.reshape(5, 2, 2).astype(float), np.zeros(5))
        low = Fraction(known_constants(f, 1).rsc_low)
        lowered = [[entry - low * (i == j) for j, entry in enumerate(row)] for i, row in enumerate(H)]
        assert low >= 0 and is_positive_semidefinite(lowered)


def weighted(*weights):
    """``sum_ij w_ij X_ij^2 / 2`` of square matrices."""
    order = math.isqrt(len(weights))
    rows = np.diag(np.sqrt(len(weights) * np.array(weights))).reshape(-1, order, order)
    return ls.objectives.MatrixSensing(rows, np.zeros(len(weights)))


def test_a_small_singular_value_of_the_minimizer_that_is_most_of_the_radius_counts():
    # X* = diag(1, t), f = (||X||^2 + 9 x_22^2)/2. Of rank 1 and within D is x_22 at most D^2/(1 - D), so that x_22 - t
    # is nearly all of X - X*.
    t, D = 1e-7, 1.2e-7
    found = landscape.restricted_constants(weighted(1, 1, 1, 10), np.diag([1.0, t]), 1, D)
    assert found.rsc_high >= (1.0 + 9.0 * (t - D**2 / (1.0 - D)) ** 2 / D**2) * (1.0 - 1e-7)
    # X* = diag(1, t, s): unit vectors of the column space of a matrix of rank 2 within D have a third entry of at most
    # (s + D)/(t - D), those of the row space too, and the square of U X + X V's is at most the sum of their squares.
    s, D = 1e-9, 1.1e-9
    found = landscape.restricted_constants(weighted(*8 * [1], 10), np.diag([1.0, t, s]), 2, D)
    assert found.rsm_low <= 1.0 + 9.0 * 2.0 * ((s + D) / (t - D)) ** 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("spectrum", "radius"), [((0.0, 0.0), 1.0), ((0.0, 0.0), math.inf), ((2.0, 0.5), 1.0)])
@pytest.mark.parametrize("unit", [1e-200, 1e-160, 1e-60, 1e150])
def test_alpha_of_a_quadratic_has_no_unit_of_length(unit, spectrum, radius):
    found = landscape.restricted_constants(weighted(3, 3, 3, 3), unit * np.diag(spectrum), 1, unit * radius, starts=1)
    assert found.rsc_high == pytest.approx(3.0, rel=1e-12) and found.rsm_low == pytest.approx(3.0, rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("radius", [1e-15, 1e-12, 1e-9])
def test_what_rounding_leaves_of_a_difference_is_no_direction(radius):
    # Tangent to the matrices of rank 1 at X* all curvature is 2; the remaining direction, of curvature 1, is none.
    Q = np.array([[0.6, 0.8], [-0.8, 0.6]])
    normal = np.outer(Q[1], Q[1]).ravel()
    roots = np.sqrt(2.0) * np.eye(4) + (1.0 - np.sqrt(2.0)) * np.outer(normal, normal)
    f = ls.objectives.MatrixSensing(2.0 * roots.reshape(4, 2, 2), np.zeros(4))
    found = landscape.restricted_constants(f, np.outer(Q[0], Q[0]), 1, radius)
    assert found.rsc_high == pytest.approx(2.0, rel=1e-9)


def test_the_ends_of_an_interval_are_printed_rounded_outwards():
    text = str(Constants.exact(1.0 / 3.0 + 4e-7, 2.0 / 3.0 - 4e-7, 1))
    ends = [Fraction(end) for end in re.findall(r"\d\.\d+", text)[:4]]
    rsc, rsm = Fraction(1.0 / 3.0 + 4e-7), Fraction(2.0 / 3.0 - 4e-7)
    assert ends[0] <= rsc <= ends[1] and ends[2] <= rsm <= ends[3]
    # Not by what rounding alone makes of a number.
    assert str(Constants.exact(1.0 - 1e-15, 2.0 + 1e-15, 1)).startswith("alpha in [1, 1], beta in [2, 2]")
    assert str(Constants.exact(-math.inf, math.inf, 1)).startswith("alpha in [-inf, -inf], beta in [inf, inf]")


class Asked(LogCosh):
    """Remembers where it was asked."""

    def __init__(self):
        self.points = []

    def value_and_grad(self, X):
        self.points.append(X.copy())
        return super().value_and_grad(X)


@pytest.mark.parametrize("by", ["sampled", "searched"])
def test_matrices_are_drawn_within_the_radius_and_of_the_rank(by):
    f, X_star, D = Asked(), np.outer([1.0, 2.0, 0.0, -1.0], [0.5, 0.0, 1.0]), 0.7
    landscape.restricted_constants(f, X_star, 2, D, by=by, samples=50)
    drawn = [X for X in f.points if X.any()]  # f(0) says how values are rounded
    assert len(drawn) > 50
    assert max(np.linalg.norm(X - X_star) for X in drawn) <= D * (1.0 + 1e-12)
    assert max(np.linalg.svd(X, compute_uv=False)[2] for X in drawn) < 1e-12


class Rotated:
    """||K X - M||^2/2, K orthogonal: its Hessian is the identity, and K X and M cancel at the minimizer K^T M."""

    def __init__(self, rng):
        self.K = np.linalg.qr(rng.standard_normal((6, 6)))[0]
        self.M = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))
        self.shape = self.M.shape

    def value_and_grad(self, X):
        R = self.K @ X - self.M
        return 0.5 * float(np.vdot(R, R)), self.K.T @ R


@pytest.mark.parametrize("share", [1.0, 1e-6], ids=["large terms", "large gradient"])
@pytest.mark.parametrize("by", ["sampled", "searched"])
@pytest.mark.parametrize("D", [1e-2, 1e-6, 1e-9, 1e-12])
def test_rounding_of_gradients_near_the_minimizer_is_no_curvature(D, by, share):
    f = Rotated(np.random.default_rng(0))
    found = landscape.restricted_constants(f, share * f.K.T @ f.M, 3, D, by=by, samples=100)
    assert 1.0 - 1e-15 <= found.rsc_high <= 1.0 + 1e-13 / D


@pytest.mark.parametrize("by", ["sampled", "searched"])
def test_curvature_near_the_minimizer_is_known_as_far_as_a_loss_states_its_rounding(by):
    class Rough(Rotated):
        def rounding_noise(self, A, B):
            return 0.0, 1e-4

    f = Rough(np.random.default_rng(0))
    found = landscape.restricted_constants(f, f.K.T @ f.M, 3, 1e-3, by=by, samples=20)
    assert 1.2 <= found.rsc_high <= 2.0  # two gradients, each off by 1e-4, at up to 1e-3 from one another


@pytest.mark.parametrize("radius", [1.0, 1.05, 1.2, 1.4])
def test_beta_is_not_attained_at_a_minimizer_of_higher_rank_than_is_admitted(radius):
    # f(X) = (tr X)^2 / 2 about X* = I of order 2, matrices of rank 1. Those within D of I are t b a^T with
    # (a^T b)^2 >= 2 - D^2, and <I, E>^2 / ||E||^2 over E = u a^T + b z^T is at most 2 - (a^T b)^2: beta = D^2.
    f = ls.objectives.MatrixSensing(np.eye(2)[None], np.zeros(1))
    found = landscape.restricted_constants(f, np.eye(2), 1, radius)
    assert found.rsm_low <= radius**2 * (1.0 + 1e-12)
    # At b = a = (1, 0), which is at distance 1: E = b a^T.
    assert found.rsm_low >= 1.0 - 1e-12
    assert found.rsm_high >= radius**2


class Bowl(ls.objectives.Objective):
    """``2 ||X||_F^2`` beside a square of a square, which is no quadratic, with the curvature that it states."""

    shape, convex = (2, 2), True

    def __init__(self, least, most):
        self.rsc, self.rsm = least, most

    def value_and_grad(self, X):
        size = float(np.vdot(X, X))
        return 2.0 * size + 0.25 * size**2, (4.0 + size) * X


def test_whole_numbers_are_stated_constants_too():
    found = known_constants(Bowl(4, np.int64(9)), 1)
    assert found is not None and (found.rsc_low, found.rsm_high) == (4.0, 9.0)
    assert known_constants(Bowl(None, 9.0), 1) is None


def test_a_stated_constant_that_is_no_number_is_refused_by_name():
    with pytest.raises(TypeError, match=r"^objective: Bowl states rsm: expected a finite number, got '9'$"):
        known_constants(Bowl(4.0, "9"), 1)


def test_wrong_arguments_are_named():
    f = random_quadratic(0)
    two_layer = ls.objectives.TwoLayer.example(np.random.default_rng(0))
    with pytest.raises(ValueError, match="least_squares"):
        landscape.restricted_constants(two_layer, np.zeros(two_layer.shape), 1, 1.0, by="quadratic")
    with pytest.raises(ValueError, match="X_star"):
        landscape.restricted_constants(f, np.zeros((2, 2)), 1, 1.0)
    with pytest.raises(ValueError, match=r"D: no matrix of rank <= 1"):
        landscape.restricted_constants(f, np.eye(4, 3), 1, 0.1)


@pytest.mark.parametrize("given", [(1.0, 1.5, 2, 0), (-1.0, 2.0, 2, 1), (1.0, np.inf, 2, 1)])
def test_a_regime_is_plain_json_where_r_star_is_0_or_a_constant_says_nothing(given):
    """2 sqrt(r/0), beta/alpha for alpha <= 0, and beta = inf are no numbers of JSON."""
    found = landscape.regime(*given)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["kind"] == found.kind
    assert (plain["condition"] is None) == (given != (1.0, 1.5, 2, 0))
    assert (plain["thresholds"][regimes.THEOREM_A] is None) == (given[3] == 0)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_regimes_depend_on_the_quotient_of_the_ranks_and_not_on_units(unit):
    """``r = 9`` and ``r* = 4``: ``beta < 3 alpha`` is Theorem A, and ``beta2 < 4 alpha`` B with ``beta = 4 alpha``."""

    def rule(rsm, curvature=None):
        return landscape.regime(unit, unit * rsm, 9, 4, curvature and tuple(unit * c for c in curvature)).rule

    generic = "Theorem 1, generic regime"
    assert rule(1.99) == regimes.THEOREM_1
    assert rule(2.01) == rule(2.99) == regimes.THEOREM_A
    assert rule(3.01) == generic
    assert rule(3.99, (1.0, 4.0)) == regimes.THEOREM_B
    assert rule(4.01, (1.0, 4.0)) == generic


def test_regimes_name_the_weakest_sufficient_rule():
    assert landscape.regime(1.0, 1.9, 4, 1).rule == regimes.THEOREM_1
    assert landscape.regime(1.0, 3.9, 4, 1).rule == regimes.THEOREM_A
    assert landscape.regime(1.0, 4.9, 4, 1).kind == "generic"
    assert landscape.regime(1.0, 4.9, 4, 1, curvature=(1.0, 4.9)).rule == regimes.THEOREM_B
    assert landscape.regime(1.0, 5.0, 4, 1, curvature=(1.0, 5.0)).kind == "generic"
    # Two constants: beta2 (beta - alpha) < 2 alpha beta t, here 8 beta2 < 36.
    assert landscape.regime(1.0, 4.49, 4, 1, curvature=(1.0, 9.0)).rule == regimes.THEOREM_B
    assert landscape.regime(1.0, 4.5, 4, 1, curvature=(1.0, 9.0)).kind == "generic"
    with pytest.raises(ValueError, match=r"^curvature:"):
        landscape.regime(1.0, 4.0, 4, 1, curvature=(2.0, 1.0))
    with pytest.raises(ValueError, match=r"^curvature:"):
        landscape.Constants.exact(1.0, 4.0, 2, curvature=(0.0, 1.0))
    # Given the other way round they made "special" of what no theorem covers.
    for refused in (lambda: landscape.regime(4.0, 1.0, 2, 1), lambda: landscape.Constants.exact(4.0, 1.0, 2)):
        with pytest.raises(ValueError, match=r"^rsc, rsm: expected rsc <= rsm \(alpha <= beta\), got 4 and 1$"):
            refused()
    # Equality 2 alpha = beta is not special at r = r*.
    assert landscape.regime(1.0, 2.0, 1, 1).kind == "generic"
    assert landscape.regime(0.0, 2.0, 1, 1).kind == "none"
    assert "exceeds" in landscape.regime(1.0, 1.0, 1, 2).reason
    assert landscape.regime(1.0, math.inf, 2, 1).kind == "none"
    assert landscape.regime(1.0, 100.0, 2, 0).kind == "special"


def test_magnitude_bound_holds_at_the_optimum():
    M = np.diag([3.0, 1.0, 0.2])
    problem = ls.Problem(ls.objectives.Denoising(M), rank=3, lam=0.5)
    # ||X*||_* = 2.5 + 0.5; f(0) = (9 + 1 + 0.04)/2.
    assert landscape.magnitude_bound(problem) == pytest.approx(10.04)
    assert landscape.magnitude_bound(problem) >= 3.0
    assert landscape.magnitude_bound(problem.replace(lam=0.0)) == math.inf
    # A lower bound that is known to be better is of use: (5.02 - 1.02)/0.5.
    better = ls.objectives.Denoising(M)
    better.lower_bound = 1.02
    assert landscape.magnitude_bound(ls.Problem(better, rank=3, lam=0.5)) == pytest.approx(8.0)
    unknown = ls.objectives.Denoising(M)
    unknown.lower_bound = None
    with pytest.raises(ValueError, match="lower bound"):
        landscape.magnitude_bound(ls.Problem(unknown, rank=1, lam=0.1))


def test_sgd_rank_bound_is_the_number_of_steps_after_which_the_start_has_decayed():
    for eps, batch, step, lam in [(0.1, 1, 0.1, 0.5), (0.01, 4, 0.05, 0.1)]:
        bound = landscape.sgd_rank_bound(eps, batch, step, lam)
        assert (1.0 - step * lam) ** (bound / batch) == pytest.approx(eps / 4.0)
    with pytest.raises(ValueError, match="step \\* lam"):
        landscape.sgd_rank_bound(0.1, 1, 2.0, 0.5)


def test_lemma_1_holds_on_a_converged_sgd_run():
    rng = np.random.default_rng(0)
    n, N = 30, 40
    Z, target = rng.standard_normal((n, N)), rng.standard_normal((25, 2)) @ rng.standard_normal((2, n))
    f = ls.objectives.LinearFineTuning(np.zeros((25, n)), Z, target @ Z)
    step, lam = 0.02, 3.0
    problem = ls.Problem(f, rank=20, lam=lam)
    sgd = ls.optimizers.SGD(step_size=step, batch_size=1)
    result = ls.solve(problem, sgd, init="gaussian", stop=ls.StoppingRule(max_iter=4000))
    values = np.linalg.svd(result.X, compute_uv=False)
    for eps in (0.3, 0.1):
        assert landscape.effective_rank(values, eps) <= landscape.sgd_rank_bound(eps, 1, step, lam)


def test_lemma_1_has_room_for_one_step_exactly_where_eps_over_4_is_at_most_the_shrinkage():
    """Then rank X <= batch, of a limit of the factors, is within the bound, however large the weight decay."""
    for q in (0.01, 0.1, 0.2, 0.24, 0.5, 0.9):
        for eps in (0.02, 0.1, 0.3, 0.7, 0.99):
            whole = math.floor(landscape.sgd_rank_bound(eps, 1, 1.0, 1.0 - q) + 1e-12)
            assert (whole >= 1) == (eps / 4.0 <= q)
    # A limit of rank one: G = -lam A B^T/||B||^2 has rank one, and the step of A from there leads to A again.
    rng = np.random.default_rng(0)
    A, B, (step, lam) = rng.standard_normal((5, 1)), rng.standard_normal((4, 1)), (1.0, 0.9)
    G = -lam * A @ B.T / np.sum(B * B)
    np.testing.assert_allclose((1.0 - step * lam) * A - step * G @ B, A, rtol=1e-12)
    values = np.linalg.svd(A @ B.T, compute_uv=False)
    assert landscape.effective_rank(values, 0.3) == 1 == math.floor(landscape.sgd_rank_bound(0.3, 1, step, lam))


def test_effective_rank_is_the_least_rank_within_eps():
    values = np.array([3.0, 4e-1, 3e-1, 0.0])
    total = np.linalg.norm(values)
    assert landscape.effective_rank(values, 0.9) == 1
    assert landscape.effective_rank(values, 1.01 * 0.5 / total) == 1
    assert landscape.effective_rank(values, 0.99 * 0.5 / total) == 2
    assert landscape.effective_rank(values, 0.99 * 0.3 / total) == 3
    assert landscape.effective_rank(np.zeros(3), 0.1) == 0
    for order in itertools.permutations(values):
        assert landscape.effective_rank(np.array(order), 0.99 * 0.5 / total) == 2
    with pytest.raises(ValueError, match=r"^singular_values: expected numbers >= 0, got -1"):
        landscape.effective_rank(np.array([2.0, -1.0]), 0.1)


@pytest.mark.parametrize("curvature", [None, "ends"])
def test_theorem_b_needs_bounds_of_the_curvature_and_not_of_what_leads_to_one_matrix(curvature):
    """``h'(t) t >= t^2`` says nothing of ``h''``, which is 0 next to the steep piece of the test above."""
    instance = landscape.instances.two_constants(2, 1, 4, 4, 6.0)
    ends = instance.constants.rsc_low, instance.constants.rsm_high
    assert instance.constants.curvature == ends
    given = Constants.exact(*ends, instance.constants.r, whole_space=True, curvature=curvature and ends)
    problem = ls.Problem(instance, rank=2)
    judged = landscape.verdict(problem, instance.stationary_factors(), X_star=instance.X_star, constants=given)
    theorems = {found.theorem for found in judged.findings}
    assert "Theorem A" in theorems and ("Theorem B" in theorems) == (curvature is not None)


@pytest.mark.parametrize(("c", "t"), [(1.0, 1e-6), (1.0, 1e6), (1e-8, 1e-8)])
@pytest.mark.parametrize("radius", [1e-2, 3.0, math.inf])
def test_searched_constants_do_not_depend_on_units(radius, c, t):
    """``c f(X/t)`` has ``c/t^2`` times the curvature of ``f``. In small units the descent had not left its start."""

    weights = np.random.default_rng(0).uniform(0.1, 3.0, (5, 4))

    class Weighted:
        shape, convex = (5, 4), True

        def __init__(self, c, t):
            self.c, self.t = c, t

        def value_and_grad(self, X):
            G = weights * X / self.t
            return 0.5 * self.c * float(np.vdot(G, X / self.t)), self.c / self.t * G

        def hessian_product(self, X, E):
            return self.c / self.t**2 * weights * E

    X_star = np.outer(np.linspace(-1.0, 1.0, 5), np.linspace(0.5, 1.5, 4))
    ends = []
    for unit, size in ((1.0, 1.0), (c, t)):
        found = landscape.restricted_constants(Weighted(unit, size), size * X_star, 2, size * radius, "searched", 20, 2)
        ends.append(np.array([found.rsc_high, found.rsm_low]) * size**2 / unit)
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-5)


def test_matrices_that_do_not_matter_to_one_another_keep_constants_of_their_own():
    """``||X||^2/2`` and ``9 ||X||^2/2``: jointly no more than curvatures from 1 to 9 would be known of either."""
    W0, Z = np.zeros((3, 4)), 6.0 * np.eye(4)  # of four samples: Z Z^T / 4 = 9 I
    loss = Separable([ls.objectives.Denoising(np.ones((3, 4))), ls.objectives.LinearFineTuning(W0, Z, Z[:3])])
    found = known_block_constants(loss, (2, 2))
    ends = [(constants.rsc_low, constants.rsm_high) for constants in found]
    assert ends == [pytest.approx((1.0, 1.0)), pytest.approx((9.0, 9.0))]


@pytest.mark.parametrize("stated", ["rsc", "rsm"])
def test_one_of_two_constants_that_a_coupled_loss_states_is_not_used_alone(stated):
    class Coupled(MultiObjective):
        shapes = ((9, 9), (9, 9))
        dtype = np.dtype(float)

        def value_and_grad(self, X):
            E = X[0] + X[1] - 1.0
            return 0.5 * float(np.sum(E * E)), (E, E)

    setattr(Coupled, stated, 1.0)
    assert known_block_constants(Coupled(), (2, 2)) is None


def test_one_constant_of_all_matrices_is_a_joint_one_where_it_is_as_large_as_each(monkeypatch):
    """Along the second matrix alone a loss of curvature 1.5 grows less than its constant of 2 would have it."""
    loss = types.SimpleNamespace(decoupled=False)
    monkeypatch.setattr("lorasolve.landscape.known_constants._has_small_hessian", lambda loss: False)
    for stated, holds in ((1.5, None), (2.0, True)):
        monkeypatch.setattr("lorasolve.landscape.known_constants._stated", lambda loss, constant, stated=stated: stated)
        alphas = [Constants.exact(alpha, 3.0, 1) for alpha in (1.0, 2.0)]
        assert joint_inequality(loss, alphas)[0] is holds


@pytest.mark.parametrize("coupling", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize("large", [1.0, 1e9, 1e15, 1e100])
def test_a_coupling_does_not_vanish_beside_the_curvature_of_another_matrix(coupling, large):
    """Of two numbers of curvature 1 that are coupled by c the least curvature is 1 - c, whatever a third one has."""
    H = np.diag([1.0, 1.0, large])
    H[0, 1] = H[1, 0] = coupling

    class Coupled(MultiObjective):
        shapes, convex, least_squares = ((1, 1),) * 3, True, True

        def value_and_grad(self, X):
            x = np.ravel(X)
            return 0.5 * float(x @ H @ x), tuple((H @ x).reshape(3, 1, 1))

        def hessian_product(self, X, D):
            return tuple((H @ np.ravel(D)).reshape(3, 1, 1))

    for alpha, holds in ((1.0, None if coupling else True), (0.8, True)):
        alphas = [
            Constants.exact(alpha, 1.0, 1),
            Constants.exact(alpha, 1.0, 1),
            Constants.exact(0.5 * large, large, 1),
        ]
        assert joint_inequality(Coupled(), alphas)[0] is holds
