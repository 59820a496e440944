"""Losses that state what is not so: no verdict and no certified constant rests on it."""

import re
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve.certificates import spot_checks
from lorasolve.landscape.known_constants import contradicted_constants, known_block_constants, known_constants
from lorasolve.linear_map import LinearMap
from lorasolve.multi import MultiObjective, MultiProblem, Separable
from lorasolve.objectives import as_objective
from lorasolve.objectives.base import Objective
from lorasolve.problem.blocks import OneBlock


class TwoValleys:
    """``2 + sum y^2/2 - y^3/6 + y^4/100`` with ``y = X - 1``: at ``X = 1`` a valley, the lower one near 6.4."""

    shape = (3, 2)

    def __init__(self, **stated):
        vars(self).update(stated)

    def value_and_grad(self, X):
        y = X - 1.0
        return float((y**2 / 2 - y**3 / 6 + y**4 / 100).sum()) + 2.0, y - y**2 / 2 + y**3 / 25

    def hessian_product(self, X, D):
        y = X - 1.0
        return D * (1.0 - y + 0.12 * y**2)


VALLEY = np.ones((3, 1)), np.ones((2, 1))


@pytest.mark.parametrize(
    "loss",
    [
        TwoValleys(convex=True, least_squares=True),
        TwoValleys(convex=True, least_squares=True, lower_bound=-50.0),
        TwoValleys(least_squares=True),
    ],
)
def test_a_valley_that_is_not_the_lowest_is_never_global(loss):
    lower = loss.value_and_grad(np.full((3, 2), 6.0))[0]
    assert lower < loss.value_and_grad(np.ones((3, 2)))[0] == 2.0
    found = landscape.verdict(ls.Problem(loss, 1, 0.0), VALLEY)
    assert found.kind == "inconclusive" and found.constants is None


class StronglyConvexBySaying(Objective):
    """``y^2/2 - y^3/2 + y^4/100``, ``y = X - 10``: negative at 20, as far as 0 is from the valley at 10."""

    shape, convex, rsc, rsm = (1, 1), True, 1.0, 1.0

    def value_and_grad(self, X):
        y = X - 10.0
        return float((y**2 / 2 - y**3 / 2 + y**4 / 100).sum()), y - 1.5 * y**2 + y**3 / 25


def test_no_strong_convexity_is_taken_from_a_loss_that_is_not_convex():
    loss = StronglyConvexBySaying()
    assert loss.value_and_grad(np.full((1, 1), 20.0))[0] < loss.value_and_grad(np.full((1, 1), 10.0))[0] == 0.0
    root = np.full((1, 1), np.sqrt(10.0))
    found = landscape.verdict(ls.Problem(loss, 1, 0.0), (root, root))
    assert found.kind != "global" and found.constants is None
    assert "convexity" in found.certificate.reason


class Dented:
    """``||X - M||^2/2 - 8 max(<W, X - M> - 2, 0)``, ``||W|| = 1``, a minimum at ``X = M``, lower beyond the bend."""

    shape, convex, lower_bound, smoothness = (2, 2), True, -32.0, 1.0
    M, W = np.diag([3.0, 2.0]), np.eye(2)[::-1] / 2**0.5

    def value_and_grad(self, X):
        beyond = max(float(np.vdot(self.W, X - self.M)) - 2.0, 0.0)
        G = X - self.M - 8.0 * (beyond > 0.0) * self.W
        return 0.5 * float(np.sum((X - self.M) ** 2)) - 8.0 * beyond, G


def test_what_one_look_has_contradicted_is_not_taken_from_another(monkeypatch):
    """The optimum is computed as that of a convex loss, and certified by looks from there, which may miss a bend."""
    problem, root = ls.Problem(Dented(), 2, 0.5), np.sqrt(np.diag([2.5, 1.5]))
    assert problem.convex_value(Dented.M + 8.0 * Dented.W) < problem.convex_value(root @ root.T) - 10.0
    looks = iter(["violates convexity"])
    monkeypatch.setattr(spot_checks, "violation", lambda *_: next(looks, None))
    found = landscape.verdict(problem, (root, root))
    assert found.kind == "inconclusive" and found.reason.startswith("your f violates convexity")


def test_one_hessian_says_nothing_of_losses_that_are_not_quadratic():
    loss = TwoValleys(least_squares=True)
    assert known_constants(as_objective(loss), 1) is None
    pair = MultiProblem(Separable([loss, loss]), (1, 1), 0.0)
    assert known_block_constants(pair.loss, (1, 1)) is None
    for by in ("auto", "quadratic"):
        with pytest.raises(ValueError, match=r"^objective: TwoValleys states least_squares.*check_objective"):
            landscape.restricted_constants(loss, np.ones((3, 2)), 1, 1.0, by=by, starts=1)
    assert landscape.restricted_constants(loss, np.ones((3, 2)), 1, 1.0, by="sampled", samples=9).rsc_low == -np.inf


class Distance:
    """``u ||X - M||_F^2 / 2 + 1e3 u``, whose Hessian is ``u`` times the identity, with a Hessian of its own."""

    def __init__(self, M, times, unit=1.0, **stated):
        self.M, self.shape, self.times, self.unit = M, M.shape, times, unit
        vars(self).update(stated)

    def value_and_grad(self, X):
        return self.unit * (0.5 * float(np.vdot(X - self.M, X - self.M)) + 1e3), self.unit * (X - self.M)

    def hessian_product(self, X, D):
        return self.times * self.unit * D


class OwnCurvature(Distance):
    """The same with the right Hessian, but other products of it at factors."""

    def __init__(self, M, times, unit=1.0):
        super().__init__(M, 1.0, unit)
        self.of_factors = times

    def factor_hvp(self, A, B, U, V):
        G, H = self.value_and_grad(A @ B.T)[1], self.unit * (U @ B.T + A @ V.T)
        return self.of_factors * (H @ B + G @ V), self.of_factors * (H.T @ A + G.T @ U)


# At rank 1 without decay the stationary points of denoising diag(3, 2, 1) are the single components: the first is the
# best, the second a strict saddle (proofs/denoising_landscape).
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("times", [1.0, 3.0, 0.5, 0.0, -1.0])
@pytest.mark.parametrize(("component", "kind"), [(0, "inconclusive"), (1, "saddle")])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("cls", [Distance, OwnCurvature])
def test_a_wrong_hessian_makes_neither_saddles_nor_minima(unit, times, component, kind, several, cls):
    M = np.vstack([np.diag([3.0, 2.0, 1.0]), np.zeros((1, 3))])
    A, B = np.zeros((4, 1)), np.zeros((3, 1))
    A[component] = B[component] = np.sqrt(M[component, component])
    loss = cls(M, times, unit)
    problem, point = ls.Problem(loss, 1, 0.0), (A, B)
    if several:
        problem, point = MultiProblem(Separable([loss, loss]), (1, 1), 0.0), ((A, A), (B, B))
    found = landscape.verdict(problem, point)
    told = "Hessian products" in found.reason and "check_objective" in found.reason
    assert told is (times != 1.0)
    assert found.kind == (kind if times == 1.0 else "inconclusive")
    second = next(premise for premise in found.premises if premise.id == "second_order")
    assert second.holds is (None if times != 1.0 else kind != "saddle")


def test_where_f_ends_nearby_no_difference_contradicts_a_hessian():
    class Edge(Distance):
        def domain(self, X):
            return bool(X[0, 0] <= 3.0)

    M = np.vstack([np.diag([3.0, 2.0, 1.0]), np.zeros((1, 3))])
    A, B = np.zeros((4, 1)), np.zeros((3, 1))
    A[0] = B[0] = np.sqrt(3.0) * (1.0 - 1e-12)
    found = landscape.verdict(ls.Problem(Edge(M, 1.0), 1, 0.0), (A, B))
    assert "Hessian products" not in found.reason


class Doubled:
    """``||X - M||^2/2`` with twice its gradient, ``M = diag(3, 0)``, and not said to be convex."""

    shape = (2, 2)

    def __init__(self, k):
        self.k = k

    def value_and_grad(self, X):
        R = X - np.diag([3.0, 0.0])
        return 0.5 * float((R**2).sum()), self.k * R


@pytest.mark.parametrize(("k", "kind"), [(2.0, "inconclusive"), (1.0, "not_converged")])
def test_a_point_where_a_false_gradient_vanishes_is_no_second_order_point(k, kind):
    """At ``diag(2, 0)`` twice the gradient cancels with the decay, at ``diag(1, 0)`` the gradient itself."""
    root = np.sqrt(2.0) * np.eye(2)[:, :1]
    found = landscape.verdict(ls.Problem(Doubled(k), 1, 2.0), (root, root), X_star=np.diag([1.0, 0.0]))
    assert found.kind == kind and ("check_objective" in found.reason) is (k == 2.0)


class ValueOfItsOwn:
    """A user's ``||X - M||_F^2 / 2``, the value of which at factors is less from a length of ``X`` on."""

    def __init__(self, M, share, length):
        self.M, self.shape, self.share, self.length = M, M.shape, share, length

    def value_and_grad(self, X):
        return 0.5 * float(np.vdot(X - self.M, X - self.M)), X - self.M

    def factor_value(self, A, B):
        X = A @ B.T
        square = float(np.vdot(X, X))
        return self.value_and_grad(X)[0] - (self.share * square if square > self.length**2 else 0.0)


@pytest.mark.parametrize(("share", "length"), [(0.0, 0.0), (0.6, 0.0), (0.6, 5.0)])
def test_values_at_factors_that_the_loss_contradicts_make_no_point_spurious(share, length):
    """At the optimum of denoising, a shrunken SVD, a search had found "a better point", by false values here or there.

    The loss does not state that it is convex, so that there is no certificate.
    """
    M, A = np.diag([3.0, 2.0, 1.0]), np.diag(np.sqrt([2.5, 1.5, 0.5]))
    found = landscape.verdict(ls.Problem(ValueOfItsOwn(M, share, length), 3, 0.5), (A, A), search=3)
    assert found.kind == "inconclusive" and found.witness is None
    assert ("value_and_grad" in found.reason) == (share > 0.0 and length == 0.0)


class Waves:
    """``sum 1 - cos(X - M)``, of a user who has taken the sign of its second derivative from elsewhere."""

    def __init__(self, M):
        self.M, self.shape = M, M.shape

    def value_and_grad(self, X):
        return float(np.sum(1.0 - np.cos(X - self.M))), np.sin(X - self.M)

    def hessian_product(self, X, D):
        return np.abs(np.cos(X - self.M)) * D


@pytest.mark.parametrize("beside", [False, True])
def test_a_wrong_hessian_beside_a_loss_without_one_is_seen_too(beside):
    """A maximum of a part had been a spurious minimum where another part of the sum states no Hessian."""
    M = np.ones((2, 2))
    A, B = np.ones((2, 1)), np.ones((2, 1))
    parts = [Waves(M - np.pi), *([ValueOfItsOwn(M, 0.0, 0.0)] if beside else [])]
    problem = MultiProblem(Separable(parts), 1, 0.0)
    X_star = [M - np.pi, M][: len(parts)]
    found = landscape.verdict(problem, ([A] * len(parts), [B] * len(parts)), X_star=X_star)
    assert found.kind == "inconclusive" and "Hessian products that differ" in found.reason


class StatesItsCurvature(Objective):
    """``TwoValleys`` that says how curved it is; between the valleys it is bent downwards."""

    shape, lower_bound = (3, 2), -50.0

    def __init__(self, rsc, rsm):
        self.rsc, self.rsm, self.smoothness = rsc, rsm, rsm

    def value_and_grad(self, X):
        return TwoValleys.value_and_grad(self, X)


class StatesItPlainly:
    """The same, of any object."""

    shape, lower_bound = StatesItsCurvature.shape, StatesItsCurvature.lower_bound
    __init__, value_and_grad = StatesItsCurvature.__init__, StatesItsCurvature.value_and_grad


class BothStateTheirCurvature(MultiObjective):
    lower_bound, shapes = -100.0, ((3, 2), (3, 2))

    def __init__(self, part):
        self.part = part
        self.rsc, self.rsm, self.smoothness = part.rsc, part.rsm, part.rsm

    def value_and_grad(self, X):
        answers = [self.part.value_and_grad(x) for x in X]
        return sum(f for f, _ in answers), tuple(G for _, G in answers)


@pytest.mark.parametrize("kind", [StatesItsCurvature, StatesItPlainly])
@pytest.mark.parametrize("several", [None, BothStateTheirCurvature, lambda part: Separable([part, part])])
def test_constants_of_curvature_that_the_loss_contradicts_make_no_valley_global(several, kind):
    """The higher valley had been "global, CERTIFIED: L - F* <= .." by the gap at approximate points."""
    loss, lam = kind(0.5, 2.0), 0.1
    A, B = VALLEY[0] * 0.98, VALLEY[1] * 0.98
    problem, start = ls.Problem(loss, 1, lam), (A, B)
    if several is not None:
        problem, start = MultiProblem(several(loss), 1, lam), ((A, A), (B, B))
    run = ls.solve(problem, "lbfgs", init=start, stop=ls.StoppingRule(grad_tol=1e-10))
    lower = np.full((3, 2), 6.3)
    assert problem.convex_value(lower if several is None else [lower, lower]) < run.fun - 10.0
    found = landscape.verdict(problem, run)
    assert found.kind == "inconclusive" and found.constants is None
    assert "states a curvature from 0.5 to 2" in found.reason


class Stretched(Objective):
    """``sum W (X - M)^2 / 2``, whose curvature is from the least to the largest of the weights."""

    lower_bound = 0.0

    def __init__(self, W, M):
        self.W, self.M, self.shape = W, M, M.shape
        self.rsc, self.rsm, self.smoothness = float(W.min()), float(W.max()), float(W.max())

    def value_and_grad(self, X):
        E = X - self.M
        return 0.5 * float(np.sum(self.W * E * E)), self.W * E


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e6])
def test_true_constants_of_curvature_are_not_suspected(unit, condition):
    rng = np.random.default_rng(0)
    W = unit * np.geomspace(1.0, condition, 30).reshape(6, 5)
    M = rng.standard_normal((6, 5))
    for X in (M, 0.0 * M, 3.0 * rng.standard_normal((6, 5))):
        assert contradicted_constants(OneBlock(Stretched(W, M)), [(X, np.eye(5))]) is None
        assert (
            contradicted_constants(Separable([Stretched(W, M), Stretched(1e-3 * W, M)]), [(X, np.eye(5))] * 2) is None
        )
        too_large = Stretched(W, M)
        too_large.rsc *= 2.0
        assert contradicted_constants(OneBlock(too_large), [(X, np.eye(5))]) is not None or condition > 10.0


class BothWaves(MultiObjective):
    """Two of them."""

    shapes = (2, 2), (2, 2)

    def __init__(self, M):
        self.part = Waves(M)

    def value_and_grad(self, X):
        answers = [self.part.value_and_grad(x) for x in X]
        return sum(f for f, _ in answers), tuple(G for _, G in answers)

    def hessian_product(self, X, D):
        return tuple(self.part.hessian_product(x, d) for x, d in zip(X, D))


@pytest.mark.parametrize("seen_as", ["itself", "plain", "block"])
def test_what_a_loss_of_several_matrices_states_is_looked_at_through_its_blocks_and_its_plain_twin(seen_as):
    """A maximum had been a spurious minimum there: a block, and a twin, passed for losses of the package."""
    M, A = np.ones((2, 2)), np.ones((2, 1))
    problem = MultiProblem(BothWaves(M - np.pi), 1, 0.0)
    point, X_star = ((A, A), (A, A)), (M - np.pi, M - np.pi)
    if seen_as == "plain":
        problem = problem.plain()
    if seen_as == "block":
        problem, point, X_star = problem.block_problem(0, (M, M)), (A, A), M - np.pi
    found = landscape.verdict(problem, point, X_star=X_star)
    assert found.kind == "inconclusive" and "BothWaves states Hessian products that differ" in found.reason


@pytest.mark.parametrize("by", ["auto", "sampled", "searched"])
@pytest.mark.parametrize("stated", [{"smoothness": 2.0}, {"convex": True}])
def test_no_restricted_constant_is_certified_by_what_a_sample_contradicts(stated, by):
    """``TwoValleys`` has curvatures from -13/12, at ``y = 25/6``, up to any size far away."""
    with pytest.raises(ValueError, match=r"^objective: TwoValleys: expected all curvature from .*check_objective"):
        landscape.restricted_constants(TwoValleys(**stated), np.ones((3, 2)), 1, 8.0, by=by, samples=300, starts=1)
    true = landscape.restricted_constants(
        TwoValleys(smoothness=1e3), np.ones((3, 2)), 1, 8.0, by=by, samples=300, starts=1
    )
    assert true.rsm_high == 1e3 and -1e3 == true.rsc_low < -0.1


class InSingle:
    """``||D o X - M||^2/2`` in float32; its value is exact in fractions."""

    shape, lower_bound = (4, 3), 0.0

    def __init__(self, seed, **stated):
        rng = np.random.default_rng(seed)
        self.D = (0.5 + rng.random(self.shape)).astype(np.float32)
        self.M = rng.standard_normal(self.shape).astype(np.float32)
        squares = self.D.astype(float) ** 2
        self.rsc, self.rsm = float(squares.min()), float(squares.max())
        vars(self).update(stated)

    def value_and_grad(self, X):
        E = self.D * X.astype(np.float32) - self.M
        return float(0.5 * np.sum(E * E)), self.D * E

    def exact(self, X):
        entries = zip(*(map(Fraction, map(float, array.ravel())) for array in (self.D, X, self.M)))
        return sum((d * x - m) ** 2 for d, x, m in entries) / 2

    def beside_its_minimizer(self):
        """Return balanced factors of a point whose distance from the minimizer float32 hardly shows."""
        X = (self.M.astype(float) / self.D).astype(np.float32) * (
            1.0 + 1e-8 * np.random.default_rng(9).random(self.shape)
        )
        P, s, Qt = np.linalg.svd(X, full_matrices=False)
        return P * np.sqrt(s), Qt.T * np.sqrt(s)


@pytest.mark.parametrize("seed", range(6))
def test_a_gap_from_strong_convexity_is_none_below_the_rounding_of_the_loss(seed):
    """Within 5e-28, it was CERTIFIED, where 9e-15 is the truth."""
    loss = InSingle(seed, convex=True, least_squares=True)
    A, B = loss.beside_its_minimizer()
    found = landscape.verdict(ls.Problem(loss, 3, 0.0), (A, B))
    assert found.kind == "global"
    (claimed,) = re.findall(r"CERTIFIED: within (\S+) \(tolerance \S+\) of", found.reason)
    X = sum(np.multiply.outer(a, b) for a, b in zip(A.T, B.T))
    assert float(claimed) >= 0.9 * loss.exact(X) > 0.0


@pytest.mark.parametrize("seed", range(6))
def test_a_gap_at_an_approximate_point_is_none_below_the_rounding_of_the_loss(seed):
    loss = InSingle(seed, smoothness=4.0, D=np.float32(1.0) * np.ones((4, 3), np.float32))
    X = loss.M.astype(float) * (1.0 + 1e-9)
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    constants = landscape.Constants.exact(1.0, 1.0, 3, whole_space=True)
    factors = (P * np.sqrt(s), Qt.T * np.sqrt(s))
    found = landscape.verdict(ls.Problem(loss, 3, 0.0), factors, X_star=loss.M.astype(float), constants=constants)
    (gap,) = (finding.numbers["gap"] for finding in found.findings if "approximate" in finding.theorem)
    assert gap >= loss.exact(X) > 0.0


class OtherAtFactors(Objective):
    """``||X - M||^2/2``, and at factors ``||X - N||^2/2``."""

    shape, lower_bound = (4, 3), 0.0

    def __init__(self, M, N, **stated):
        self.M, self.N = M, N
        vars(self).update(stated)

    def value_and_grad(self, X):
        return 0.5 * float(np.sum((X - self.M) ** 2)), X - self.M

    def hessian_product(self, X, D):
        return D.copy()

    def factor_oracle(self, A, B, GB, GtA):
        E = A @ B.T - self.N
        GB[:], GtA[:] = E @ B, E.T @ A
        return 0.5 * float(np.sum(E**2))

    def factor_hvp(self, A, B, U, V):
        G, H = A @ B.T - self.N, U @ B.T + A @ V.T
        return H @ B + G @ V, H.T @ A + G.T @ U

    def gradient_operator(self, A, B):
        return LinearMap.from_dense(A @ B.T - self.N)


@pytest.mark.parametrize(
    ("lam", "apart", "known", "stated"),
    [
        (0.0, 5e-3, True, {"convex": True}),  # a gap from the gradient and constants
        (0.0, 5e-4, True, {}),  # a theorem about second-order points next to X*
        (0.1, 0.3, False, {"smoothness": 1.0}),  # a gap at any point
    ],
)
def test_constants_make_no_optimum_of_answers_at_factors_that_are_another_loss(lam, apart, known, stated):
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((k, 2)))[0] for k in (4, 3))
    M = (P * [3.0, 2.0]) @ Q.T
    N = M + apart * np.linalg.norm(M) * np.outer(P[:, 0], Q[:, 1])
    problem = ls.Problem(OtherAtFactors(M, N, **stated), 2, lam)
    U, s, Vt = np.linalg.svd(N, full_matrices=False)
    root = np.sqrt(s[:2] - lam)
    factors = (U[:, :2] * root, Vt[:2].T * root)
    constants = landscape.Constants.exact(1.0, 1.0, 2, whole_space=True)
    above = problem.convex_value(factors[0] @ factors[1].T) - problem.convex_value(
        (P * (np.array([3.0, 2.0]) - lam)) @ Q.T
    )
    tol = 1e-9
    assert above > tol * problem.value_at_zero
    found = landscape.verdict(problem, factors, X_star=M if known else None, constants=constants, tol=tol)
    assert found.kind == "inconclusive" and "between its value at factors and value_and_grad" in found.reason
    assert not any(finding.conclusion == "global" for finding in found.findings)


class SaysWhereItIsLeast(OtherAtFactors):
    def minimizer(self, lam, rank):
        U, s, Vt = np.linalg.svd(self.M, full_matrices=False)
        return (U[:, :rank] * np.sqrt(s[:rank]), Vt[:rank].T * np.sqrt(s[:rank])) if lam == 0.0 else None


@pytest.mark.parametrize("convex", [None, True])
def test_a_closed_form_makes_no_optimum_of_a_value_at_factors_that_is_another_one(convex):
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((k, 2)))[0] for k in (4, 3))
    M, N = (P * [3.0, 2.0]) @ Q.T, (P * [2.0, 3.0]) @ Q.T
    loss = SaysWhereItIsLeast(M, N, convex=convex)
    problem = ls.Problem(loss, 2, 0.0)
    there = (P * np.sqrt([2.0, 3.0]), Q * np.sqrt([2.0, 3.0]))
    assert loss.value_and_grad(there[0] @ there[1].T)[0] == pytest.approx(1.0) and loss.value_and_grad(M)[0] == 0.0
    certificate = ls.certify(problem, there)
    assert certificate.is_global is None and "between its value at factors and value_and_grad" in certificate.reason
    assert landscape.verdict(problem, there).kind == "inconclusive"
    loss.N = M
    true = (P * np.sqrt([3.0, 2.0]), Q * np.sqrt([3.0, 2.0]))
    assert ls.certify(problem, true).is_global and landscape.verdict(problem, true).kind == "global"


def test_strong_convexity_makes_no_best_of_a_rank_of_answers_at_factors_that_are_another_loss():
    """The least value of rank 1 is that of Eckart and Young, 2."""
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((k, 2)))[0] for k in (4, 3))
    M = (P * [3.0, 2.0]) @ Q.T
    loss = OtherAtFactors(M, M + 0.05 * np.outer(P[:, 0], Q[:, 0] + Q[:, 1]), rsc=1.0, rsm=1.0)
    problem = ls.Problem(loss, 1, 0.0)
    U, s, Vt = np.linalg.svd(loss.N)
    there = (U[:, :1] * np.sqrt(s[0]), Vt[:1].T * np.sqrt(s[0]))
    assert loss.value_and_grad(there[0] @ there[1].T)[0] > 2.003
    found = landscape.verdict(problem, there)
    assert found.kind == "inconclusive" and "between its value at factors and value_and_grad" in found.reason
    loss.N = M
    found = landscape.verdict(problem, (P[:, :1] * np.sqrt(3.0), Q[:, :1] * np.sqrt(3.0)))
    assert found.kind == "global" and "as f is strongly convex" in found.reason


class Cancelling:
    """``||X - M||^2/2`` less its value at 0, by terms of 1e6: values are rounded as these are, and it says so."""

    def __init__(self, M, c):
        self.M, self.c, self.shape = M, c - np.mean(c + 0.5 * M**2), M.shape

    def value_and_grad(self, X):
        return float((0.5 * (X - self.M) ** 2 + self.c).sum()), X - self.M

    def rounding_noise(self, A, B):
        return 1e-15 * float(np.abs(self.c).sum()), 0.0


@pytest.mark.parametrize("seed", range(6))
def test_rounding_that_a_loss_states_tells_no_values_apart(seed):
    """``M`` is optimal: beside it values differ by 1e-11, and as evaluated by 1e-9, of a tolerance of 5e-10."""
    rng = np.random.default_rng(seed)
    M, c, move = rng.standard_normal((3, 5, 4))
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    point, problem = (P * np.sqrt(s), Qt.T * np.sqrt(s)), ls.Problem(Cancelling(M, 1e6 * c), 4)
    tol = 5e-10 / (0.5 * np.sum(M**2))
    for X_star in (M, M + 1e-6 * move, M - 1e-6 * move):
        found = ls.verdict(problem, point, X_star=X_star, tol=tol)
        assert found.kind == "inconclusive" and "where rounding may be" in found.reason
        assert ls.verdict(problem, point, X_star=X_star).kind == "global"
    far = ls.verdict(problem, point, X_star=M + 1e-2 * move, tol=tol)
    assert far.kind == "inconclusive" and "X_star is not a minimizer" in far.reason


@pytest.mark.parametrize(("noise", "kind"), [(1e-14, "global"), (1e-4, "inconclusive"), (1.0, "inconclusive")])
def test_a_point_is_not_global_by_values_that_are_rounded_by_more_than_the_tolerance(noise, kind):
    """The values of the point and of X* are equal, and neither says which is lower by more than its rounding."""
    M = np.diag([3.0, 2.0, 0.0])

    class Rough:
        shape = M.shape

        def value_and_grad(self, X):
            return 0.5 * float(np.sum((X - M) ** 2)), X - M

        def rounding_noise(self, A, B):
            return noise, 0.0

    X_star = np.diag([2.5, 1.5, 0.0])  # the singular values less lam
    factor = np.sqrt(X_star)[:, :2]
    problem = ls.Problem(Rough(), rank=2, lam=0.5)
    assert ls.landscape.verdict(problem, (factor, factor), X_star=X_star).kind == kind
