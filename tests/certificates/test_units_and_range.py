"""Certificates that were false once: other units, and numbers next to the ends of the range of binary64."""

import math
import warnings

import numpy as np
import pytest
from distance import Distance
from tails import Tails

import lorasolve as ls
from lorasolve.certificates import certify
from lorasolve.objectives import (
    Denoising,
    Huber,
    LinearFineTuning,
    Logistic,
    MatrixCompletion,
    MatrixSensing,
    Softmax,
)
from lorasolve.problem.blocks import MultiObjective


def problems_in_units(c, length):
    """The same problems with ``f, lam -> c f, c lam``-like changes of the data, and ``X`` measured in another unit."""
    rng = np.random.default_rng(4)
    M = length * (rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5)) + 0.1 * rng.standard_normal((6, 5)))
    rows, cols = np.divmod(rng.choice(30, 20, replace=False), 5)
    Z, W0 = rng.standard_normal((5, 15)), length * rng.standard_normal((6, 5))
    measurements = rng.standard_normal((25, 6, 5))
    labels, signs = rng.integers(0, 6, 15), np.sign(rng.standard_normal((6, 15)))
    yield "denoising", Denoising(M), length
    yield "huber", Huber(M, 0.5 * length), length
    yield "completion", MatrixCompletion(rows, cols, M[rows, cols], (6, 5)), length
    yield "sensing", MatrixSensing(measurements, np.einsum("kij,ij->k", measurements, M)), length
    yield "linear", LinearFineTuning(W0, c * Z, c * (W0 + M) @ Z), c * c * length
    # Labels have no unit: X in the inverse unit of Z.
    yield "softmax", Softmax(W0, Z / length, labels), 1.0 / length
    yield "logistic", Logistic(W0, Z / length, signs), 1.0 / length


@pytest.mark.parametrize("c", [1e-9, 1e-3, 1e9])
@pytest.mark.parametrize("length", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("rigorous", ["auto", False])
def test_answers_do_not_depend_on_the_units(c, length, rigorous):
    plain = {name: objective for name, objective, _ in problems_in_units(1.0, 1.0)}
    for name, objective, unit in problems_in_units(c, length):
        lam = 0.2 * np.linalg.norm(plain[name].value_and_grad(np.zeros((6, 5)))[1], 2)
        here, there = ls.Problem(plain[name], 3, lam), ls.Problem(objective, 3, lam * unit)
        best = ls.solve_convex(here, tol=1e-10).X
        rng = np.random.default_rng(5)
        for X in (best, best + 0.1 * rng.standard_normal((6, 5)), np.zeros((6, 5)), rng.standard_normal((6, 5))):
            one = certify(here, X, rigorous=rigorous)
            other = certify(there, length * X, rigorous=rigorous)
            assert (one.is_global, one.level, one.rank) == (other.is_global, other.level, other.rank), name
            assert other.relative_gap == pytest.approx(one.relative_gap, rel=1e-3, abs=1e-9), name
            assert other.dual_norm == pytest.approx(one.dual_norm, rel=1e-6), name
            better = one.gap_at_least / one.value, other.gap_at_least / other.value
            assert better[1] == pytest.approx(better[0], rel=1e-2, abs=1e-9), name


@pytest.mark.parametrize("power", [-400, 360, 500])
@pytest.mark.parametrize("rigorous", ["auto", False])
def test_answers_do_not_depend_on_units_of_which_only_the_square_is_a_number(power, rigorous):
    """Powers of two round nothing, so the certificates are the same in all digits."""
    rng = np.random.default_rng(6)
    unit = 2.0**power
    M = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))
    A, B = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
    best = ls.solve_convex(ls.Problem(Denoising(M), 2, 0.3), tol=1e-10)
    for left, right in ((A, B), (best.A, best.B)):
        one = certify(ls.Problem(Denoising(M), 2, 0.3), (left, right), rigorous=rigorous)
        root = 2.0 ** (power // 2)
        other = certify(ls.Problem(Denoising(unit * M), 2, 0.3 * unit), (root * left, root * right), rigorous=rigorous)
        assert (one.is_global, one.level, one.formula) == (other.is_global, other.level, other.formula)
        # At the optimum it is 3e-14, made of rounding errors, and differs by two of them.
        assert other.relative_gap == pytest.approx(one.relative_gap, rel=1e-6, abs=1e-15)
        assert other.stationarity / root / unit == pytest.approx(one.stationarity, rel=1e-6, abs=1e-13)


class Far(Distance):
    """A user's ``||X - M||_F^2 / 2`` with M so large or so small that f leaves the range of binary64."""

    def __init__(self, size):
        super().__init__(np.diag([3.0, 2.0, 1.0]) * size)

    def value_and_grad(self, X):
        with np.errstate(all="ignore"):
            return super().value_and_grad(X)


@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize(("size", "word"), [(1e200, "overflows"), (1e-200, "underflows")])
def test_what_leaves_the_range_of_binary64_is_never_called_global(size, word, lam):
    # The optimum is diag(3, 2) at lam = 0 and diag(2, 1) at lam = 1, both in units of size; X = 0 is far from it.
    problem = ls.Problem(Far(size), 2, lam * size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certificate = certify(problem, np.zeros((3, 3)))
        verdict = ls.landscape.verdict(problem, (np.ones((3, 2)), np.zeros((3, 2))))
    assert certificate.is_global is None and certificate.gap == math.inf and certificate.gap_at_least == 0.0
    assert word in certificate.reason
    assert verdict.kind == "inconclusive" and word in verdict.reason


def test_data_whose_squares_overflow_are_refused():
    with pytest.raises(ValueError, match="M: its squares overflow in float64; give it other units"):
        Denoising(np.full((2, 2), 1e308))
    # The squares of float32 do not.
    problem = ls.Problem(Denoising(np.full((2, 2), 1e30, np.float32)), 1, 1e29)
    assert certify(problem, np.full((2, 2), 0.95e30)).is_global is True


@pytest.mark.parametrize("rigorous", ["auto", False])
@pytest.mark.parametrize("size", [1e-140, 1e-145, 2e-146, 1.5e-146, 1e-146, 5e-147, 1e-147])
def test_next_to_underflow_gaps_are_still_relative(size, rigorous):
    """X = 0 is above the optimum by 0.8 of its value; the gap of 1e-291 was called small beside 1."""
    problem = ls.Problem(Denoising(np.diag([1.0, 0.5]) * size), 2, 0.1 * size)
    found = certify(problem, np.zeros((2, 2)), rigorous=rigorous)
    batch = ls.certify_batch(problem, [np.zeros((2, 2))], rigorous=rigorous)[0]
    assert found.is_global is batch.is_global is (False if size > 1.4e-146 else None)
    optimum = certify(problem, np.diag([0.9, 0.4]) * size, rigorous=rigorous)
    assert optimum.is_global is not False
    zero = ls.Problem(Denoising(np.zeros((2, 2))), 2, 0.1)
    assert certify(zero, np.zeros((2, 2)), rigorous=rigorous).is_global is True


class NothingAtZero:
    """A user's ``||X||_F^2 / 2 - <C, X>``, which is 0 at 0 and at least ``-||C||_F^2 / 2``."""

    convex, smoothness, shape = True, 1.0, (2, 2)

    def __init__(self, unit, bounded=True):
        self.C = np.diag([1.0, 0.5]) * unit
        self.lower_bound = -1.0 * unit**2 if bounded else None

    def value_and_grad(self, X):
        return 0.5 * float(np.sum(X * X)) - float(np.sum(self.C * X)), X - self.C


@pytest.mark.parametrize("unit", [1.0, 1e-20, 1e-100, 1e20])
@pytest.mark.parametrize("lam", [2.0, 1.0, 0.9, 0.1])
def test_a_loss_that_is_0_at_0_does_not_underflow_there(unit, lam):
    """With values s of C the optimum is below F(0) = 0 by the sum of ``max(s - lam, 0)^2 / 2``."""
    problem = ls.Problem(NothingAtZero(unit), 2, lam * unit)
    found = certify(problem, np.zeros((2, 2)))
    below = 0.5 * np.sum(np.maximum(np.array([1.0, 0.5]) - lam, 0.0) ** 2) * unit**2
    assert found.is_global is bool(below == 0.0)
    assert found.gap_at_least <= below * (1 + 1e-12) and below <= found.gap
    judged = ls.verdict(problem, (np.zeros((2, 2)), np.zeros((2, 2))))
    assert (judged.kind == "global") == (below == 0.0)
    # Without a bound there is nothing that a gap could be small beside, but for one of 0.
    unbounded = certify(ls.Problem(NothingAtZero(unit, False), 2, lam * unit), np.zeros((2, 2)))
    if lam == 2.0:
        assert unbounded.is_global is True and unbounded.gap == 0.0
    elif lam < 1.0:
        assert unbounded.is_global is None and "state f's lower_bound" in unbounded.reason


class Scaled(MultiObjective):
    """``sum_l ||D_l o X_l - M_l||^2 / 2`` with diagonal ``M_l``: each singular value of the optimum has a formula."""

    convex, lower_bound, smoothness = True, 0.0, None

    def __init__(self, weights, targets):
        self.weights = [np.outer(w, np.ones(len(w))) for w in weights]
        self.targets = [np.diag(t) for t in targets]
        self.shapes = tuple(w.shape for w in self.weights)

    def value_and_grad(self, X):
        rests = [w * x - t for w, x, t in zip(self.weights, X, self.targets)]
        return sum(0.5 * float(np.vdot(e, e)) for e in rests), tuple(w * e for w, e in zip(self.weights, rests))

    def hessian_product(self, X, D):
        return tuple(w * w * d for w, d in zip(self.weights, D))


def least(w, t, lam):
    """The minimizer of ``(w x - t)^2 / 2 + lam |x|``, ``t > 0``, and its value."""
    x = max(w * t - lam, 0.0) / (w * w)
    return x, 0.5 * (w * x - t) ** 2 + lam * x


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_matrix_in_units_of_its_own_refutes_a_point_too(unit, share):
    """The first matrix is at its optimum; of the second the most curved entry is a share of what it should be."""
    lam = 0.1 * min(unit, 1.0) * 1e-3
    weights, targets = [[1.0, 1.0], [unit, 1e-3 * unit]], [[1.0, 0.7], [1.0, 0.5]]
    solved = [[least(w, t, lam)[0] for w, t in zip(*own)] for own in zip(weights, targets)]
    optimum = sum(least(w, t, lam)[1] for own in zip(weights, targets) for w, t in zip(*own))
    problem = ls.MultiProblem(Scaled(weights, targets), 2, lam)
    best = [np.diag(x) for x in solved]
    assert problem.convex_value(best) == pytest.approx(optimum, rel=1e-12)
    assert certify(problem, best).is_global is not False
    solved[1][0] *= share
    point = [np.diag(x) for x in solved]
    excess = problem.convex_value(point) - optimum
    found = certify(problem, point)
    assert found.is_global is False
    assert 0.1 * excess < found.gap_at_least <= excess * (1.0 + 1e-9)


@pytest.mark.parametrize("unit", [1e-60, 1e-12, 1.0, 1e3, 1e60])
@pytest.mark.parametrize("c", [1e-30, 1.0, 1e30])
def test_a_point_in_the_tails_of_a_loss_is_refuted_in_any_units(unit, c):
    """The curvature there is 0, and 1 had been taken for it: steps ended far beyond the optimum, or before it."""
    M = unit * np.outer([1.0, -1.0, 1.0, 1.0, -1.0], [1.0, 1.0, -1.0, 1.0])
    loss = Tails(M, 1e-3 * unit, c)
    lam = 1e-2 * np.linalg.norm(loss.value_and_grad(np.zeros((5, 4)))[1], 2)
    problem = ls.Problem(loss, 2, lam)
    found = certify(problem, (np.zeros((5, 2)), np.zeros((4, 2))))
    excess = problem.convex_value(np.zeros((5, 4))) - problem.convex_value(M)
    assert found.is_global is False
    assert 0.5 * excess < found.gap_at_least <= found.value
