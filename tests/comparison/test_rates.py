"""The predicted local rate of gradient descent against closed forms, the Hessian's spectrum, and what runs show."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import Denoising, LinearFineTuning

LAM = 0.5
TIGHT = ls.StoppingRule(grad_tol=1e-10, max_iter=20000)


def row_of(values, rank, method, lam=LAM):
    """Return the row of one method on denoising of diag(values), where alpha = beta = 1."""
    problem = ls.Problem(Denoising(np.diag(values)), rank, lam)
    return ls.compare(problem, [method], stop=TIGHT).rows[0]


@pytest.mark.parametrize(
    ("values", "rank", "mu"),
    [
        # sigma_i - lam above lam, ||S||_2 is the largest other value; min(2 sigma, 2 lam, sigma + lam - ||S||).
        ((3.0, 0.4), 1, 2 * LAM),
        ((0.6, 0.4), 1, 2 * 0.1),
        # a spare column: min(2 sigma, lam - ||S||).
        ((3.0, 0.4), 2, LAM - 0.4),
        ((3.0, 2.0, 0.3), 3, LAM - 0.3),
    ],
)
def test_the_rate_is_that_of_the_closed_form_and_the_run_shows_it(values, rank, mu) -> None:
    row = row_of(values, rank, "gd:step_size=0.05")
    assert row.predicted_rate == pytest.approx(1 - 0.05 * mu, abs=1e-9)
    assert row.measured_rate == pytest.approx(1 - 0.05 * mu, rel=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_the_rate_has_the_curvature_of_the_loss(rank) -> None:
    """Of ``(c/2)||X - diag(0.6, 0.1)||^2``: sigma = 0.6 - lam/c, ||S|| = 0.1 c, and 2 c sigma is the least of all."""
    curvature, target = 4.0, np.diag([0.6, 0.1])
    Z = np.sqrt(2.0 * curvature) * np.eye(2)
    problem = ls.Problem(LinearFineTuning(np.zeros((2, 2)), Z, target @ Z), rank, 2.0)
    row, long = ls.compare(problem, ["gd:step_size=0.05", "gd:step_size=0.38"], stop=TIGHT).rows
    assert row.predicted_rate == pytest.approx(1 - 0.05 * 2 * curvature * 0.1, abs=1e-9)
    assert row.measured_rate == pytest.approx(row.predicted_rate, rel=1e-5)
    # 2/(mu + M) = 2/5.6 with the bound M = 2 lam + 2 c sigma.
    assert long.is_global and long.predicted_rate is None


def test_a_stay_beside_the_saddle_at_zero_is_not_in_the_rates() -> None:
    """Beside numbers of 1e8 the start is next to 0, where the norm grows for half of the run before it falls."""
    problem = ls.Problem(Denoising(1e8 * np.diag([3.0, 0.4])), 1, 2.7e8)
    found = ls.compare(problem, ["gd:step_size=1.5e-9"])
    (row,), norms = found.rows, found.results[0].trace.grad_norm
    assert max(norms[len(norms) // 2 :]) > 10.0 * norms[0]
    # sigma = 0.3e8; 2 lam and sigma + lam - ||S|| are larger than 2 sigma.
    assert row.predicted_rate == pytest.approx(1 - 1.5e-9 * 2 * 0.3e8, abs=1e-6)
    assert row.measured_rate == pytest.approx(row.predicted_rate, rel=1e-3)


@pytest.mark.parametrize("method", ["gd:step_size=0.05", "gd"])
def test_the_rounding_errors_that_end_a_run_are_not_in_the_rates(method) -> None:
    """In float32 a fixed step goes on for hundreds of iterations that change nothing; others are shortened in vain."""
    loss = Denoising(np.eye(4, 3, dtype=np.float32) * np.float32([3.0, 2.0, 0.3]))
    found = ls.compare(ls.Problem(loss, 3, LAM), [method], stop=ls.StoppingRule(grad_tol=0.0))
    row, step = found.rows[0], np.median(found.results[0].trace.step)
    assert row.status == "stalled"
    assert row.predicted_rate == pytest.approx(1 - step * (LAM - 0.3), abs=2e-6)
    # A little faster while other modes die out, by how many iterations rounding leaves; steps in vain are far slower.
    assert row.predicted_rate - 2e-3 < row.measured_rate < row.predicted_rate + 2e-4


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_rate_is_that_of_the_smallest_eigenvalue_off_the_symmetries(scale) -> None:
    adapter = ls.adapters.LoRA(alpha=2 * scale)
    problem = ls.Problem(Denoising(np.diag([3.0, 2.0, 0.1])), 2, LAM, adapter=adapter)
    row = ls.compare(problem, ["gd:step_size=0.02"], stop=TIGHT).rows[0]
    end = ls.solve(problem, "lbfgs", stop=TIGHT)
    smallest = scale * ls.landscape.second_order(problem, end.A, end.B).smallest
    assert row.predicted_rate == pytest.approx(1 - 0.02 * smallest, abs=1e-6)
    assert row.measured_rate == pytest.approx(row.predicted_rate, rel=1e-4)


@pytest.mark.parametrize(("step", "known"), [(0.075, True), (0.083, False)])
def test_how_long_a_step_may_be_depends_on_the_scaling(step, known) -> None:
    """With ``s = 4``, ``lam/s = 1/8``: ``sigma = 3 - 1/8``, ``mu = 2 lam/s``, and steps up to ``2/(s (mu + M))``, 0.08.

    ``M`` is the bound ``2 lam/s + 2 sigma``; the largest curvature is ``2 sigma``, and the longer step converges too.
    """
    problem = ls.Problem(Denoising(np.diag([3.0, 0.1])), 1, LAM, adapter=ls.adapters.LoRA(alpha=4.0))
    row = ls.compare(problem, [f"gd:step_size={step}"], stop=TIGHT).rows[0]
    assert row.is_global
    assert row.predicted_rate == (pytest.approx(1 - step * 4 * 0.25, abs=1e-9) if known else None)


@pytest.mark.parametrize(
    ("values", "rank", "method", "lam"),
    [
        ((3.0, 0.4), 1, "lbfgs", LAM),
        ((3.0, 0.4), 1, "gd:step_size=0.05+cosine", LAM),
        ((3.0, 0.4), 1, "gd:step_size=0.05", 0.0),
        # 2/(mu + M) = 2/7 with the bound M = 2 lam + 2 sigma; the run converges all the same.
        ((3.0, 0.4), 1, "gd:step_size=0.3", LAM),
        # No strict complementarity: the second value is lam itself.
        ((3.0, 0.5), 2, "gd:step_size=0.05", LAM),
        # The optimum is X = 0.
        ((0.4, 0.3), 1, "gd:step_size=0.05", LAM),
    ],
)
def test_no_rate_where_a_premise_is_not_known(values, rank, method, lam) -> None:
    row = row_of(values, rank, method, lam)
    assert (row.predicted_rate, row.measured_rate) == (None, None)


def test_both_rates_are_in_the_table_the_document_and_the_csv() -> None:
    problem = ls.Problem(Denoising(np.diag([3.0, 0.4])), 1, LAM)
    found = ls.compare(problem, ["gd:step_size=0.05", "lbfgs"], stop=TIGHT)
    head, _, first, second = found.table().splitlines()
    assert "predicted rate  measured rate" in head and " 0.95 " in first and " - " in second
    document = json.loads(ls.io.to_json(found.to_dict()))
    assert document["rows"][0]["predicted_rate"] == pytest.approx(0.95)
    assert document["rows"][1]["measured_rate"] is None
    assert {"predicted_rate", "measured_rate"} <= set(found.to_csv().splitlines()[0].split(","))
