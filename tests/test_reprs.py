"""What an interactive session shows of an outcome: a short line that says how it ended, and zero without a sign."""

from __future__ import annotations

import copy
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._support.text import at_least, at_most, number
from lorasolve.certificates import check_certificate, document, rigorous_bound


@pytest.fixture(scope="module")
def outcomes() -> dict[str, object]:
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 1.0])), 2, 0.5)
    result = ls.solve(problem, "lbfgs")
    gaps = ls.objectives.MatrixCompletion.from_dense([[5.0, np.nan, 1.0], [4.0, 2.0, np.nan], [np.nan, 2.0, 1.0]])
    return {
        "Result": result,
        "Certificate": ls.certify(problem, result),
        "ConvexResult": ls.solve_convex(problem),
        "Comparison": ls.compare(problem, ["gd", "lbfgs"]),
        "Verdict": ls.verdict(problem, result),
        "BatchResult": ls.solve_batch(problem, "lbfgs", seed=[0, 1, 2]),
        "CertificateBatch": ls.certify_batch(problem, [result, result]),
        "Path": ls.path(problem, [1.0, 0.5]),
        "RankChoice": ls.recommend_rank(problem),
        "Validation": ls.cross_validate(ls.Problem(gaps, 2, 0.5), [1.0, 0.5], folds=2),
        "Census": ls.landscape.census(problem, starts=2, scales=[1.0]),
        "SecondOrder": ls.landscape.second_order(problem, result.A, result.B),
    }


def test_they_are_one_short_line_of_their_own_kind(outcomes) -> None:
    for name, outcome in outcomes.items():
        text = repr(outcome)
        assert text.startswith(f"{name}(") and text.endswith(")")
        assert len(text) < 200 and "\n" not in text and "array" not in text


def test_they_say_how_it_ended(outcomes) -> None:
    """Rank 2 does not hold the optimum of rank 3: singular values 2.5, 1.5, 0.5."""
    assert repr(outcomes["Result"]).startswith("Result(converged: L = 2.75, ")
    assert repr(outcomes["Certificate"]).startswith("Certificate(global optimum: no, F = 2.75, ")
    assert repr(outcomes["ConvexResult"]).startswith("ConvexResult(closed form: F = 2.625, rank 3, ")
    assert repr(outcomes["Comparison"]).endswith("parameters): gd, lbfgs)")
    assert "3 converged" in repr(outcomes["BatchResult"])


@pytest.mark.parametrize("form", [".3g", ".10g", ".2f"])
def test_zero_has_no_sign(form) -> None:
    assert number(-0.0, form) == format(0.0, form)
    assert number(-1.5, form) == format(-1.5, form)


def test_no_minus_zero_in_a_certificate() -> None:
    problem = ls.Problem(ls.objectives.Denoising(np.zeros((3, 2))), 1, 1.0)
    text = str(ls.certify(problem, (np.zeros((3, 1)), -np.zeros((2, 1)))))
    assert "-0," not in text and "-0\n" not in text and "L - F = 0\n" in text


def test_without_decay_no_norm_is_divided_by_it() -> None:
    """A best approximation of rank 1 was said to have ``||G||_2/lam <= inf``."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0])), 1, 0.0)
    text = str(ls.certify(problem, np.diag([3.0, 0.0])))
    assert text.startswith("global optimum: yes") and "inf" not in text


def test_a_certificate_without_a_gap_does_not_call_one_rigorous() -> None:
    problem = ls.Problem(ls.objectives.LinearFineTuning.example(np.random.default_rng(0)), 2, 0.1, adapter="dora")
    shown = repr(ls.certify(problem, np.ones((6, 4))))
    assert "no gap known" in shown and "inf" not in shown and "RIGOROUS" not in shown


@pytest.mark.parametrize("form", [".1e", ".3g", ".12g", ".15g"])
def test_bounds_are_rounded_outward(form) -> None:
    """In fractions: what is printed is on the right side, and is the number itself where that has few digits."""
    rng = np.random.default_rng(0)
    for value in [0.28125, 0.50000019, 9.9999e-7, *(rng.standard_normal(200) * 10.0 ** rng.integers(-30, 30, 200))]:
        low, high = (Fraction(bound(value, form)) for bound in (at_least, at_most))
        unit = Fraction(10) ** (2 - int(form[1:-1]) - (form[-1] == "e")) * abs(Fraction(value))
        assert low <= Fraction(value) <= high and high - low <= unit
    for value in (0.0, -0.0, 0.5, 1.5, -2.0):
        assert at_least(value, form) == at_most(value, form) == number(value, form)
    assert (at_least(-np.inf, form), at_most(np.inf, form), at_most(np.nan, form)) == ("-inf", "inf", "nan")


def test_printed_gaps_are_bounds() -> None:
    """A gap of 0.28125 was printed as "gap <= 0.281", and 0.50000019 as 0.5 by the checker."""
    problem = ls.Problem(ls.objectives.Denoising(np.array([[1.0]])), 1, 0.25)
    found = ls.certify(problem, np.zeros((1, 1)))
    true = Fraction(9, 32)  # 1/2 - (lam - lam^2/2)
    assert all(Fraction(gap) >= true for gap in re.findall(r"gap <= ([0-9.]+)", f"{found}{found!r}"))
    assert Fraction(re.findall(r"better by ([0-9.]+)", found.reason)[0]) <= true
    assert Fraction(re.findall(r"inf F <= ([0-9.]+)", str(rigorous_bound(problem, np.zeros((1, 1)))))[0]) >= true
    t, lam = Fraction(1.0000002), Fraction(2) ** -40
    problem = ls.Problem(ls.objectives.Denoising(np.array([[1.0000002]])), 1, float(lam))
    text = check_certificate.check(document(problem, np.zeros((1, 1))))
    gap, value = re.findall(r"<= ([0-9.]+)", text)
    assert Fraction(gap) >= t**2 / 2 - (lam * t - lam**2 / 2) and Fraction(value) >= t**2 / 2


def test_gaps_are_printed_as_bounds_wherever_they_are_quoted(monkeypatch) -> None:
    """A verdict said "RIGOROUS: within 5.91e-08" of a gap of 5.9129e-08; tables and conclusions rounded alike."""
    computed, solve_convex = [], ls.solve_convex

    def noted(*given: Any, **named: Any) -> ls.ConvexResult:
        computed.append(solve_convex(*given, **named))
        return computed[-1]

    monkeypatch.setattr("lorasolve.landscape.minimizer.solve_convex", noted)
    rng = np.random.default_rng(0)
    M = rng.standard_normal((6, 5))
    rows, cols = np.nonzero(rng.random(M.shape) < 0.8)
    data = ls.objectives.MatrixCompletion(rows, cols, M[rows, cols], M.shape)

    def printed(text: str, pattern: str) -> Fraction:
        return Fraction(re.findall(pattern, text)[0])

    for lam in np.linspace(0.2, 0.6, 6).tolist():
        problem, stop = ls.Problem(data, 5, lam), ls.StoppingRule(grad_tol=1e-8)
        verdict = ls.verdict(problem, ls.solve(problem, "lbfgs", stop=stop))
        gap = Fraction(verdict.certificate.gap) + max(Fraction(verdict.certificate.factor_gap), Fraction(0))
        assert printed(verdict.reason, r"within (\S+) \(tolerance \S+\) of") >= gap
        size = max(verdict.certificate.value, problem.value_at_zero)
        assert float(printed(verdict.reason, r"\(tolerance (\S+)\) of")) == pytest.approx(1e-6 * size, rel=0.06)
        table = ls.compare(problem, ["lbfgs"], stop=stop)
        gap = Fraction(table.rows[0].gap)
        assert printed(table.conclusion(), r"relative gap of (\S+e-\d+)") >= gap
        assert printed(str(table), r"\nlbfgs .*?(\S+) +yes") >= gap
        path = ls.path(problem, [lam], tol=1e-6)
        assert printed(path.table(), r"(\S+)  RIGOROUS") >= Fraction(path.points[0].relative_gap)
        choice = ls.recommend_rank(problem, lam)
        assert printed(str(choice), r"relative gap of (\S+)") >= Fraction(choice.optimum.relative_gap)
        chosen = ls.cross_validate(problem, [lam], folds=2)
        assert printed(chosen.conclusion, r"relative gap of (\S+)") >= Fraction(chosen.fit.relative_gap)
        judged = str(ls.verdict(problem.replace(rank=2), ls.solve(problem.replace(rank=2), "lbfgs", stop=stop)))
        assert printed(judged, r"certified gap ([^,)]+)") >= Fraction(computed.pop().gap)


def test_outcomes_hold_arrays_and_are_equal_to_themselves_only(outcomes) -> None:
    """``results.index(best)`` ended in NumPy's "truth value of an array is ambiguous", a set in "unhashable"."""
    for name, outcome in outcomes.items():
        if name == "Certificate":  # numbers only, and equal where they are
            continue
        other = copy.deepcopy(outcome)
        assert [other, outcome].index(outcome) == 1 and len({other, outcome}) == 2, name


def test_objectives_say_what_and_how_large_they_are() -> None:
    """``<lorasolve.objectives.denoising.Denoising object at 0x7fdb...>`` said neither."""

    class Mine:
        shape = (3, 2)

        def value_and_grad(self, X):
            return 0.0, np.zeros((3, 2))

    assert repr(ls.objectives.Denoising(np.ones((3, 2)))) == "Denoising(3 x 2)"
    assert repr(ls.Problem(Mine(), 1, 0.1).objective) == "Mine(3 x 2)"
    assert repr(ls.landscape.instances.sharp(r=1, r_star=1, m=4, n=3, kappa=4.0)) == "SharpInstance(4 x 3)"


def test_reports_say_the_outcome_first(outcomes) -> None:
    """Exact: singular values 3, 2, 1 and lam 0.5 leave rank 3; the checks of a right loss fail nowhere."""
    assert repr(outcomes["RankChoice"]).startswith("RankChoice(rank 3 at lam = 0.5: ")
    assert repr(outcomes["Path"]) == "Path(2 points, lam from 1 to 0.5: 2 certified to 1e-06)"
    report = ls.check_objective(ls.objectives.Denoising(np.ones((3, 2))))
    assert repr(report) == f"CheckReport(Denoising: no check failed (sampled) of {len(report.checks)})"
