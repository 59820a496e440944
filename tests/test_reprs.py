"""What an interactive session shows of an outcome: a short line that says how it ended, and zero without a sign."""

from __future__ import annotations

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._text import number


@pytest.fixture(scope="module")
def outcomes() -> dict[str, object]:
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 1.0])), 2, 0.5)
    result = ls.solve(problem, "lbfgs")
    return {
        "Result": result,
        "Certificate": ls.certify(problem, result),
        "ConvexResult": ls.solve_convex(problem),
        "Comparison": ls.compare(problem, ["gd", "lbfgs"]),
        "Verdict": ls.verdict(problem, result),
        "BatchResult": ls.solve_batch(problem, "lbfgs", seed=[0, 1, 2]),
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
