"""The instances that show Theorems A and B to be sharp: numerically, in exact arithmetic, and against an adversary."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize

import lorasolve as ls
from lorasolve import landscape
from lorasolve.multi import Separable
from lorasolve.symbolic import rational as ra

RANKS = [(1, 1), (2, 1), (4, 1), (3, 2), (2, 2)]
LAMS = [0.0, 0.3]


def built(r, r_star, lam):
    """Return one instance of each kind at its boundary and one beyond it."""
    t = math.sqrt(r / r_star)
    sizes = (r, r_star, r + r_star + 1, r + r_star)
    yield landscape.instances.restricted(*sizes, lam=lam)
    yield landscape.instances.restricted(*sizes, beta=2.6 * t, lam=lam)
    yield landscape.instances.two_constants(*sizes, beta=1.0 + 2.0 * t, lam=lam)
    yield landscape.instances.two_constants(*sizes, beta=4.0 + 9.0 * t, lam=lam)


@pytest.mark.parametrize(("r", "r_star"), RANKS)
@pytest.mark.parametrize("lam", LAMS)
def test_the_point_is_second_order_stationary_with_the_stated_gap(r, r_star, lam):
    for instance in built(r, r_star, lam):
        problem = ls.Problem(instance, rank=r, lam=lam)
        A, B = instance.stationary_factors()
        assert landscape.stationarity(problem, A, B).grad_norm < 1e-12
        assert landscape.second_order(problem, A, B).smallest > -1e-9
        gap = problem.convex_value(instance.X_spurious) - problem.convex_value(instance.X_star)
        assert gap == pytest.approx(instance.gap, abs=1e-12) and gap > 0.0
        assert instance.regime.kind == "generic"


@pytest.mark.parametrize(("r", "r_star"), [(1, 1), (2, 1), (3, 2), (2, 2)])
@pytest.mark.parametrize("lam", LAMS)
def test_the_verdict_is_spurious_and_no_theorem_is_contradicted(r, r_star, lam):
    for instance in built(r, r_star, lam):
        problem = ls.Problem(instance, rank=r, lam=lam)
        judged = landscape.verdict(
            problem, instance.stationary_factors(), X_star=instance.X_star, constants=instance.constants
        )
        assert judged.kind == "spurious" and judged.contradictions == ()
        theorems = {found.theorem for found in judged.findings}
        assert all(found.conclusion == "not excluded" for found in judged.findings)
        corollary = {"Corollary 1"} if r > r_star else set()
        assert theorems == {"Theorem 1", "Theorem A"} | corollary | ({"Theorem B"} & theorems)
        assert ("Theorem B" in theorems) == instance.constants.whole_space


@pytest.mark.parametrize(("r", "r_star", "lam"), [(2, 1, 0.3), (3, 2, 0.3), (4, 2, 2.0)])
def test_the_verdict_is_spurious_where_directions_without_a_penalty_seem_to_belong_to_the_minimizer(r, r_star, lam):
    """The gradient at X* is as large as ``lam`` in r directions more, of which a computed optimum has a rest."""
    instance = landscape.instances.restricted(r, r_star, r + r_star, r + r_star + 2, lam=lam)
    judged = landscape.verdict(ls.Problem(instance, rank=r, lam=lam), instance.stationary_factors())
    assert judged.kind == "spurious" and f"= {instance.gap:.6g} (" in judged.reason


@pytest.mark.parametrize("unit", [0.3, 1.3, 7.0])
def test_equality_does_not_depend_on_the_unit_of_the_loss(unit):
    """1.3 (2 sqrt 3)/1.3 is below 2 sqrt 3 by rounding, and the regime was special, with a spurious point in it."""
    instance = landscape.instances.restricted(3, 1, 4, 4)

    class Scaled:
        shape, convex, least_squares, lower_bound = instance.shape, True, True, 0.0

        def value_and_grad(self, X):
            f, G = instance.value_and_grad(X)
            return unit * f, unit * G

        def hessian_product(self, X, D):
            return unit * instance.hessian_product(X, D)

    beta, radius = instance.constants.rsm_high, instance.constants.radius
    constants = landscape.Constants.exact(unit, unit * beta, 3, radius)
    assert landscape.regime(unit, unit * beta, 3, 1).kind == "generic"
    judged = landscape.verdict(
        ls.Problem(Scaled(), rank=3), instance.stationary_factors(), X_star=instance.X_star, constants=constants
    )
    assert judged.kind == "spurious" and judged.contradictions == ()


def test_theorem_2_excludes_no_matrix_where_its_condition_holds_with_equality():
    """At 2 alpha = beta and r = r* the spurious point of Theorem C is one of Theorem 2, beside any other matrix."""
    spurious = landscape.instances.restricted(1, 1, 2, 2, lam=0.3)
    at_optimum = np.diag([2.0, 0.0])
    loss = Separable([spurious, ls.objectives.Denoising(at_optimum + np.diag([0.3, 0.0]))])
    problem = ls.MultiProblem(loss, ranks=1, lam=0.3)
    column = np.sqrt(at_optimum[:, :1])
    (A, B), stars = spurious.stationary_factors(), (spurious.X_star, at_optimum)
    constants = (spurious.constants, landscape.Constants.exact(1.0, 1.0, 1, whole_space=True))
    judged = landscape.verdict(problem, ([A, column], [B, column]), X_star=stars, constants=constants)
    assert judged.kind == "spurious" and judged.contradictions == ()
    whole, first, second = (found for found in judged.findings if found.theorem == "Theorem 2")
    assert (whole.conclusion, first.conclusion, second.conclusion) == ("not excluded", "not excluded", "excluded")


def test_the_equalities_of_the_theorems():
    restricted = landscape.instances.restricted(4, 1, 5, 5)
    assert restricted.constants.rsm_high == 4.0 == restricted.regime.thresholds[landscape.regimes.THEOREM_A]
    assert np.linalg.norm(restricted.X_spurious - restricted.X_star) == pytest.approx(restricted.constants.radius)
    two = landscape.instances.two_constants(4, 1, 5, 5, beta=9.0)
    assert two.beta2 == 4.5 == two.regime.thresholds[landscape.regimes.THEOREM_B]
    # A little less of either constant and the theorems exclude the point.
    assert landscape.regime(1.0, 3.99, 4, 1).kind == "special"
    assert landscape.regime(1.0, 4.49, 4, 1, curvature=(1.0, 9.0)).kind == "special"


@pytest.mark.parametrize(("r", "r_star"), [(6, 1), (9, 3), (4, 1)])
def test_a_point_on_the_rim_of_the_ball_is_in_it_whatever_its_distance_is_rounded_to(r, r_star):
    """||E2/t - E1||^2 = 2 r*, which is D^2; for (6, 1) the distance comes out as the double above sqrt 2."""
    instance = landscape.instances.restricted(r, r_star, r + r_star, r + r_star)
    problem = ls.Problem(instance, rank=r)

    def judged(radius):
        constants = landscape.Constants.exact(1.0, instance.constants.rsm_high, r, radius)
        factors = instance.stationary_factors()
        return landscape.verdict(problem, factors, X_star=instance.X_star, constants=constants)

    found = {finding.theorem: finding.conclusion for finding in judged(np.sqrt(2.0 * r_star)).findings}
    assert found == dict.fromkeys(("Theorem 1", "Corollary 1", "Theorem A"), "not excluded")
    assert judged(0.999 * np.sqrt(2.0 * r_star)).findings == ()


@pytest.mark.parametrize(("share", "sign"), [(0.9, -1.0), (1.0, 0.0), (1.1, 1.0)])
def test_the_second_constant_decides_whether_the_point_is_a_saddle_or_a_minimum(share, sign):
    """The least curvature off the symmetries is beta2 - zeta, along U1 = V1; zeta is the constant of equality."""
    zeta = landscape.instances.two_constants(2, 1, 3, 3, beta=9.0).beta2
    instance = landscape.instances.two_constants(2, 1, 3, 3, beta=9.0, beta2=share * zeta)
    problem = ls.Problem(instance, rank=2)
    A, B = instance.stationary_factors()
    assert landscape.stationarity(problem, A, B).grad_norm < 1e-12
    assert landscape.second_order(problem, A, B).smallest == pytest.approx(sign * 0.1 * zeta, abs=1e-9)
    gap = problem.convex_value(instance.X_spurious) - problem.convex_value(instance.X_star)
    assert gap == pytest.approx(instance.gap, abs=1e-12)


@pytest.mark.parametrize(("r", "r_star", "beta", "lam"), [(1, 1, 5.0, 0.0), (4, 1, 9.0, 0.3), (3, 2, 4.0, 1.0)])
def test_the_second_constant_is_the_curvature_along_the_directions_that_decide(r, r_star, beta, lam):
    """D = p v^T - u q^T with u, v singular vectors of S, what the gradient has off the spaces of X, p, q those of X."""
    instance = landscape.instances.two_constants(r, r_star, r + r_star + 1, r + r_star, beta, lam)
    P, s, Qt = np.linalg.svd(instance.X_spurious)
    P, Q = P[:, :r], Qt[:r].T
    S = instance.value_and_grad(instance.X_spurious)[1] + lam * P @ Q.T
    U, values, Vt = np.linalg.svd(S)
    assert np.abs(P.T @ S).max() < 1e-12 and np.abs(S @ Q).max() < 1e-12
    assert values[0] == pytest.approx(lam + instance.beta2 * s[r - 1])  # second-order, with nothing to spare
    assert instance.beta2 * (beta - 1.0) == pytest.approx(2.0 * beta * np.sqrt(r / r_star))
    for i in range(r_star):
        D = np.outer(P[:, -1], Vt[i]) - np.outer(U[:, i], Q[:, -1])
        along = np.vdot(D, instance.hessian_product(instance.X_spurious, D))
        assert along == pytest.approx(instance.beta2 * np.vdot(D, D))


@pytest.mark.parametrize("beta2", [1.0, 1.5, None, 30.0])
def test_the_regime_follows_from_the_smoothness_and_not_from_the_curvature_at_one_point(beta2):
    """X* itself is of rank one, so the restricted smoothness is at least the curvature in its direction."""
    instance = landscape.instances.two_constants(1, 1, 2, 2, 10.0, beta2=beta2)
    columns = [instance.hessian_product(instance.X_star, unit.reshape(2, 2)).ravel() for unit in np.eye(4)]
    low, high = np.linalg.eigvalsh(columns)[[0, -1]]
    assert (instance.constants.rsc_low, instance.constants.rsm_high) == pytest.approx((low, high))
    assert instance.smoothness == pytest.approx(high)
    assert instance.regime.condition == pytest.approx(high / low)
    along = instance.X_star / np.linalg.norm(instance.X_star)
    assert np.vdot(along, instance.hessian_product(instance.X_star, along)) > 2.0 * low  # Theorem 1 has no premise
    assert instance.regime.kind == "generic"


@pytest.mark.parametrize(("r", "r_star"), [(1, 1), (2, 1), (4, 1), (3, 2)])
def test_restricted_strong_convexity_withstands_an_adversary(r, r_star):
    """Descent on the quotient over matrices of rank r in the ball, from random starts and from near X_spurious."""
    instance = landscape.instances.restricted(r, r_star, r + r_star, r + r_star)
    n = r + r_star
    rng = np.random.default_rng(0)

    def quotient(flat, radius):
        A, B = flat[: n * r].reshape(n, r), flat[n * r :].reshape(n, r)
        E = A @ B.T - instance.X_star
        size = float(np.vdot(E, E))
        excess = max(size - radius**2, 0.0)
        if size < 1e-8:
            return 10.0
        return float(np.vdot(E, instance.hessian_product(E, E))) / size + 50.0 * excess

    def least(radius):
        near = np.concatenate([part.ravel() for part in instance.stationary_factors()])
        starts = [near + 0.1 * rng.standard_normal(near.size) for _ in range(12)]  # half of them end early
        starts += [rng.standard_normal(near.size) / math.sqrt(n) for _ in range(4)]
        return min(minimize(quotient, x, args=(radius,), method="L-BFGS-B").fun for x in starts)

    radius = instance.constants.radius
    assert least(radius) >= 1.0 - 1e-4
    if r > r_star:
        assert least(1.3 * radius) < 0.97  # beyond the ball the constant is smaller: the search is able to find that


def is_positive_semidefinite(matrix):
    """Decide exactly whether a symmetric matrix of fractions is positive semidefinite, by elimination."""
    rows = [list(row) for row in matrix]
    while rows:
        k = next((i for i, row in enumerate(rows) if row[i] != 0), None)
        if k is None:
            return all(entry == 0 for row in rows for entry in row)
        pivot = rows[k]
        if pivot[k] < 0:
            return False
        keep = [i for i in range(len(rows)) if i != k]
        rows = [[rows[i][j] - rows[i][k] * pivot[j] / pivot[k] for j in keep] for i in keep]
    return True


@pytest.mark.parametrize("lam", [Fraction(0), Fraction(1, 3)])
@pytest.mark.parametrize("kind", ["restricted", "two_constants"])
@pytest.mark.parametrize(("r", "t"), [(1, 1), (4, 2)])
def test_the_hessian_is_semidefinite_in_exact_arithmetic(kind, r, t, lam):
    """r* = 1: everything is rational at A = B = diag(0, 1, .., 1), up to a root of sigma that scales directions."""
    n = r + 1
    if kind == "restricted":
        block, elsewhere, sigma = [[t + 1, t - 1], [t - 1, t - 1]], Fraction(2 * t), Fraction(1, t)
        slope = Fraction(2)
    else:
        beta = Fraction(1 + 2 * t + 3)
        block = [[(1 + beta) / 2, (beta - 1) / 2], [(beta - 1) / 2, (1 + beta) / 2]]
        elsewhere, sigma, slope = 2 * beta * t / (beta - 1), Fraction(1), 2 * beta * t / (beta - 1)

    def hess(left, right):
        # e_2 is the identity on places 1..r over t = sqrt(r).
        a, b = (left[0][0], right[0][0])
        c, d = (sum((x[i][i] for i in range(1, n)), Fraction(0)) / t for x in (left, right))
        on = (block[0][0] - elsewhere) * a * b + block[0][1] * (a * d + c * b) + (block[1][1] - elsewhere) * c * d
        return elsewhere * ra.inner(left, right) + on

    # The direction (U, V) is scaled by the root of sigma, so that D = sigma (U J^T + J V^T) and the rest by sigma.
    J = [[Fraction(int(i == j + 1)) for j in range(r)] for i in range(n)]
    units = []
    for part in range(2):
        for i in range(n):
            for j in range(r):
                unit = [[Fraction(int((i, j) == (p, q))) for q in range(r)] for p in range(n)]
                zero = ra.zeros(n, r)
                units.append((unit, zero) if part == 0 else (zero, unit))

    moved = [ra.add(ra.multiply(U, ra.transpose(J)), ra.multiply(J, ra.transpose(V))) for U, V in units]

    def matrix(slope):
        gradient = [-(slope * (i == 0)) - lam for i in range(n)]
        full = [[Fraction(0)] * len(units) for _ in units]
        for p, (U, V) in enumerate(units):
            scaled = [[[gradient[i] * entry for entry in row] for i, row in enumerate(part)] for part in (V, U)]
            for q, (W, Z) in enumerate(units[: p + 1]):
                cross = ra.inner(scaled[1], Z) + ra.inner(scaled[0], W)
                penalty = lam * (ra.inner(U, W) + ra.inner(V, Z))
                full[p][q] = full[q][p] = sigma * hess(moved[p], moved[q]) + cross + penalty
        return full

    assert is_positive_semidefinite(matrix(slope))
    assert not is_positive_semidefinite(matrix(slope * Fraction(101, 100)))


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: landscape.instances.restricted(2, 1, 3, 3, beta=2.0), "beta"),
        (lambda: landscape.instances.two_constants(2, 1, 3, 3, beta=3.0), "beta"),
        (lambda: landscape.instances.restricted(1, 2, 3, 3), "r_star"),
        (lambda: landscape.instances.two_constants(2, 1, 2, 3, beta=9.0), "m"),
        (lambda: landscape.instances.restricted(2, 1, 3, 3, lam=-1.0), "lam"),
        (lambda: landscape.instances.two_constants(2, 1, 3, 3, beta=9.0, beta2=0.5), "beta2"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=rf"^{argument}:"):
        call()


def test_the_convex_route_finds_the_minimizer():
    instance = landscape.instances.restricted(2, 1, 3, 3, lam=0.3)
    base = ls.solve_convex(ls.Problem(instance, rank=2, lam=0.3))
    assert np.linalg.norm(base.X - instance.X_star) < 1e-4


def test_the_factors_of_the_two_measurements_are_a_strict_spurious_minimum():
    """By differences of plain values of ``L``, which the instance's own gradient plays no part in."""
    f = landscape.instances.two_by_two()
    a, b = f.spurious_factors()

    def value(theta):
        X = np.outer(theta[:2], theta[2:])
        residuals = X[1, 0] + X[1, 1] - 2.0, X[0, 1] - X[1, 0]
        return 0.5 * sum(r * r for r in residuals) + 0.5 * f.lam * float(theta @ theta)

    theta, h = np.concatenate([a.ravel(), b.ravel()]), 1e-4
    steps = h * np.eye(4)
    slopes = [(value(theta + d) - value(theta - d)) / (2.0 * h) for d in steps]
    H = [[(value(theta + d + e) - value(theta + d - e) - value(theta - d + e) + value(theta - d - e)) / (4.0 * h * h)
          for e in steps] for d in steps]  # fmt: skip
    assert np.abs(slopes).max() < 1e-7 and np.linalg.eigvalsh(H)[0] > 0.1
    assert value(theta) == pytest.approx(f.spurious_value, rel=1e-12)
    assert f.global_value < 0.2 * f.spurious_value
