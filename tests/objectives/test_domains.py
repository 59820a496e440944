"""Losses that are finite on a part of the space only: checked there, and certified by their conjugates."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lorasolve as ls


class LogDet:
    """``-log det (I + S)``, ``S = (X + X^T)/2``. It has no lower bound, and refuses to be asked outside its domain."""

    shape = (4, 4)
    convex = True

    def domain(self, X):
        return bool(np.linalg.eigvalsh(np.eye(4) + 0.5 * (X + X.T))[0] > 0.0)

    def value_and_grad(self, X):
        assert self.domain(X), "asked outside the domain"
        S = np.eye(4) + 0.5 * (X + X.T)
        return -float(np.linalg.slogdet(S)[1]), -np.linalg.inv(S)

    def conjugate(self, Y):
        values = np.linalg.eigvalsh(-0.5 * (Y + Y.T))
        return -4.0 - float(np.trace(Y)) - float(np.log(values).sum()) if values[0] > 0.0 else math.inf


class Poisson:
    """``sum u - y log u`` of the rates ``u = 1 + X > 0``."""

    shape = (5, 3)
    convex = True
    counts = np.random.default_rng(0).poisson(3.0, (5, 3)) + 1.0

    def domain(self, X):
        return bool((X > -1.0).all())

    def value_and_grad(self, X):
        assert self.domain(X), "asked outside the domain"
        rates = 1.0 + X
        return float((rates - self.counts * np.log(rates)).sum()), 1.0 - self.counts / rates

    def conjugate(self, Y):
        if not (Y < 1.0).all():
            return math.inf
        return float((-Y - self.counts + self.counts * np.log(self.counts / (1.0 - Y))).sum())


class Bounded(Poisson):
    """The same with its least value stated in place of its conjugate, which is reached at ``u = y``."""

    conjugate = None
    lower_bound = float((Poisson.counts - Poisson.counts * np.log(Poisson.counts)).sum())


LAM = 0.5
# Every eigenvalue of the optimum minimises -log(1 + x) + x/2, so x = 1.
LOGDET_OPTIMUM = 4.0 * (LAM - math.log(2.0))


@pytest.mark.parametrize("loss", [LogDet(), Poisson()], ids=["log det", "Poisson"])
def test_it_is_checked_inside_its_domain(loss) -> None:
    report = ls.check_objective(loss, scale=100.0)
    assert report.ok, str(report)
    assert {check.name: check.holds for check in report.checks}["conjugate"] is True


@pytest.mark.parametrize("method", ["gd_backtracking", "lbfgs", "trust_ncg", "nesterov"])
def test_methods_stay_in_the_domain_and_reach_the_optimum(method) -> None:
    problem = ls.Problem(LogDet(), 4, LAM)
    result = ls.solve(problem, method, "gaussian:std=0.5")
    assert result.fun == pytest.approx(LOGDET_OPTIMUM, abs=1e-9)


def test_the_gap_by_the_conjugate_is_never_below_the_true_one_and_closes() -> None:
    problem = ls.Problem(LogDet(), 4, LAM)
    rng = np.random.default_rng(1)
    finite = 0
    for scale in (0.0, 1e-6, 1e-3, 0.05, 0.2):
        for _ in range(10):
            noise = rng.standard_normal((4, 4))
            X = np.eye(4) + scale * (noise + noise.T)
            certificate = ls.certify(problem, X)
            assert certificate.gap >= problem.convex_value(X) - LOGDET_OPTIMUM
            finite += math.isfinite(certificate.gap)
    assert finite == 50
    best = ls.solve_convex(problem)
    assert best.success and best.fun == pytest.approx(LOGDET_OPTIMUM, abs=1e-12)
    assert best.certificate.is_global is True and "conjugate" in best.certificate.formula
    assert "its conjugate right" in best.certificate.assumptions[0]


def test_without_the_conjugate_there_is_no_bound_and_the_message_says_what_to_state() -> None:
    class Silent(LogDet):
        conjugate = None

    certificate = ls.certify(ls.Problem(Silent(), 4, LAM), 0.9 * np.eye(4))
    assert certificate.gap == math.inf and certificate.is_global is False
    near = ls.certify(ls.Problem(Silent(), 4, LAM), 0.9999999 * np.eye(4))
    assert near.is_global is None and "state f's lower_bound, or its conjugate" in near.reason


def test_two_kinds_of_bounds_meet_at_one_optimum() -> None:
    by_conjugate, by_bound = (ls.solve_convex(ls.Problem(f, 3, LAM)) for f in (Poisson(), Bounded()))
    assert by_conjugate.success and by_bound.success
    assert by_conjugate.fun == pytest.approx(by_bound.fun, rel=1e-9)
    assert "conjugate" in by_conjugate.certificate.formula and "lower bound" in by_bound.certificate.formula


@pytest.mark.parametrize("off", [-0.1, 1e-6, 0.1])
def test_a_wrong_conjugate_is_refuted_and_voids_the_certificate(off) -> None:
    class Wrong(LogDet):
        def conjugate(self, Y):
            return super().conjugate(Y) + off

    assert [check.name for check in ls.check_objective(Wrong()).failures] == ["conjugate"]
    certificate = ls.certify(ls.Problem(Wrong(), 4, LAM), np.eye(4))
    assert certificate.is_global is None and certificate.gap == math.inf
    assert "states a conjugate that violates" in certificate.reason


def test_a_conjugate_holds_up_to_the_rounding_that_the_loss_states() -> None:
    """Of ``-log det (I + S)`` the optimum is 0 from ``lam = ||I||_2 = 1`` on: values near it are rounded as 1 is."""

    class Rounded(LogDet):
        def conjugate(self, Y):
            return super().conjugate(Y) + 1e-13

    class Stated(Rounded):
        def rounding_noise(self, A, B):
            return 2e-13, 2e-13

    unstated, stated = (ls.certify(ls.Problem(loss, 4, 1.5), np.zeros((4, 4))) for loss in (Rounded(), Stated()))
    assert unstated.is_global is None and "or its values are rounded more than its rounding_noise" in unstated.reason
    assert stated.is_global is True


def test_what_a_domain_and_a_conjugate_must_be() -> None:
    class Text(LogDet):
        domain = "positive definite"

    class Away(LogDet):
        def domain(self, X):
            return bool(X[0, 0] > 1.0)

    class Alone(LogDet):
        def domain(self, X):
            return not X.any()

    class Entries(LogDet):
        def domain(self, X):
            return X > -1.0

    class Array(LogDet):
        def conjugate(self, Y):
            return Y

    with pytest.raises(TypeError, match=r"Text\.domain: expected a function"):
        ls.Problem(Text(), 2)
    for use in (ls.check_objective, lambda f: ls.Problem(f, 2)):
        with pytest.raises(ValueError, match=r"Away\.domain is False at X = 0, the frozen weight"):
            use(Away())
        with pytest.raises(TypeError, match=r"Entries\.domain must return True or False, got an array"):
            use(Entries())
    with pytest.raises(ValueError, match=r"Alone\.domain is False at points near X = 0"):
        ls.check_objective(Alone())
    with pytest.raises(TypeError, match=r"Array\.conjugate returned"):
        ls.certify(ls.Problem(Array(), 4, LAM), np.eye(4))


def test_a_domain_that_is_not_stated_is_asked_for() -> None:
    class Infinite:
        shape = (4, 4)

        def value_and_grad(self, X):
            return LogDet().value_and_grad(X) if LogDet().domain(X) else (math.inf, np.zeros((4, 4)))

    (found,) = [c for c in ls.check_objective(Infinite(), scale=3.0).failures if c.name == "value_and_grad is pure"]
    assert "state domain(X)" in found.detail
