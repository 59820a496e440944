"""The comparison's numbers against closed forms, and its sentence against what happened."""

from __future__ import annotations

import itertools
import json
import re
import signal
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import comparison
from lorasolve.certificates import spot_checks
from lorasolve.cli import main
from lorasolve.comparison import all_methods, compare
from lorasolve.io import to_json
from lorasolve.objectives import Denoising, Softmax, TwoLayer
from lorasolve.studies import CellError

LAM, RANK = 0.5, 4


@pytest.fixture(scope="module")
def denoising():
    """A problem whose optimum is known: singular values 3, 2, 1, 0.4 soft-thresholded by 0.5 give rank 3."""
    rng = np.random.default_rng(0)
    P = np.linalg.qr(rng.standard_normal((7, 4)))[0]
    Q = np.linalg.qr(rng.standard_normal((6, 4)))[0]
    s = np.array([3.0, 2.0, 1.0, 0.4])
    kept = np.maximum(s - LAM, 0.0)
    optimum = 0.5 * float(((s - kept) ** 2).sum()) + LAM * float(kept.sum())
    return ls.Problem(Denoising((P * s) @ Q.T), RANK, LAM), optimum, kept


def test_schedules_run_over_a_budget(denoising) -> None:
    """Gradient descent by hand, with steps that fall along a half cosine over the calls of the budget."""
    problem, M = denoising[0], denoising[0].objective.M
    budget, step = 40, 0.05
    rng = np.random.default_rng(1)
    A, B = start = rng.standard_normal((7, RANK)), rng.standard_normal((6, RANK))
    for t in range(budget - 1):  # the first call is at the start
        eta = step * 0.5 * (1.0 + np.cos(np.pi * t / budget))
        G = A @ B.T - M
        A, B = A - eta * (G @ B + LAM * A), B - eta * (G.T @ A + LAM * B)
    value = 0.5 * np.sum((A @ B.T - M) ** 2) + 0.5 * LAM * (np.sum(A**2) + np.sum(B**2))
    (row,) = ls.compare(problem, f"gd:step_size={step}+cosine", budget=budget, init=start).rows
    assert row.oracle_calls == budget
    assert row.objective == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("starts", [2, 5, 6])
def test_a_row_shows_the_run_of_median_objective_and_the_range_of_all(denoising, starts) -> None:
    problem, optimum, _ = denoising
    table = ls.compare(problem, "gd", seeds=starts, stop=ls.StoppingRule(max_iter=30))
    values = [ls.solve(problem, "gd", seed=k, stop=ls.StoppingRule(max_iter=30)).fun for k in range(starts)]
    assert len(set(values)) == starts
    assert table.rows[0].objective == statistics.median_low(values)
    at_zero = 0.5 * np.sum(problem.objective.M**2)
    least, middle, most = ((pick(values) - optimum) / (at_zero - optimum) for pick in (min, statistics.median_low, max))
    assert f" {middle:.1e} ({least:.1e} to {most:.1e}) " in table.table()


def test_where_the_frozen_weight_is_the_optimum_what_is_missing_is_a_share_of_it(denoising) -> None:
    problem = denoising[0].replace(lam=4.0)  # above the largest singular value, 3
    optimum = 0.5 * np.sum(problem.objective.M**2)
    (row,) = ls.compare(problem, "gd", stop=ls.StoppingRule(max_iter=3)).rows
    assert row.reference == pytest.approx(optimum, rel=1e-9)
    assert row.missing == [pytest.approx((row.objective - optimum) / optimum, rel=1e-6, abs=0.0)]
    assert row.missing[0] > 0.01
    several = ls.compare(problem, "gd", seeds=2, stop=ls.StoppingRule(max_iter=3))
    worst = max((run.fun - optimum) / optimum for run in several.runs[0])
    assert f"{worst:.1e} above it (relative) from the worst start" in several.conclusion()


def test_where_the_frozen_weight_counts_as_the_optimum_no_share_of_rounding_errors_is_missing() -> None:
    """What a certified run misses is within the tolerance then, where the frozen weight meets the data to rounding and
    where lam is just below what makes it the optimum: a share of 1 had been."""
    rng = np.random.default_rng(0)
    Z, W0 = rng.standard_normal((5, 30)), rng.standard_normal((6, 5))
    met = ls.Problem(ls.objectives.LinearFineTuning(W0, Z, W0 @ Z), 2, 0.1)
    sensing = ls.objectives.MatrixSensing(rng.standard_normal((40, 6, 5)), rng.standard_normal(40))
    near = ls.Problem(sensing, 2)
    near = near.replace(lam=(1.0 - 1e-4) * near.critical_lam())
    for problem in (met, near):
        rows = ls.compare(problem, ["gd", "lbfgs"]).rows
        assert all(row.is_global and abs(row.missing[0]) <= 1e-6 for row in rows)


@pytest.mark.parametrize("method", ["gd", "adam"])
@pytest.mark.parametrize("lam", [1e-9, 0.01, 1e60])
def test_the_update_of_the_optimum_in_unbalanced_factors_is_not_at_the_optimum_of_the_factors(lam, method) -> None:
    """From ``A = 0`` where ``M = 0`` the update stays 0, the optimum, while ``B``, all that is left of L, decays."""
    B = np.random.default_rng(0).standard_normal((3, 2))
    problem = ls.Problem(Denoising(np.zeros((4, 3))), 2, lam)
    for budget in (2, 5000):
        found = compare(problem, method, init=(np.zeros((4, 2)), B), budget=budget)
        (row,), (end,) = found.rows, found.results
        assert not end.A.any() and row.objective == pytest.approx(0.5 * lam * np.sum(end.B**2), rel=1e-9, abs=0.0)
        left = float(np.sum(end.B**2) / np.sum(B**2))
        assert row.gap == 0.0 and row.is_global is (left <= 1e-6)
        # Relative to nothing, as the optimum is 0 and so is f(0).
        assert row.suboptimality == row.objective and row.missing == [row.objective]
        assert found.conclusion().startswith("Global optimum reached" if left <= 1e-6 else "No method reached")


def test_numbers_against_the_closed_form(denoising) -> None:
    problem, optimum, kept = denoising
    slow = "gd:step_size=1e-5"
    table = ls.compare(problem, ["gd", ls.optimizers.LBFGS(), slow], stop=ls.StoppingRule(grad_tol=1e-10))
    good, also_good, poor = table.rows
    for row in (good, also_good):
        assert row.objective == pytest.approx(optimum, rel=1e-12)
        assert abs(row.suboptimality) < 1e-12
        assert row.is_global is True
        assert row.gap < 1e-6
        assert row.rank == 3
        assert row.sigma_r < 1e-9
        assert row.nuclear_norm == pytest.approx(kept.sum(), rel=1e-6)
    assert poor.suboptimality == pytest.approx((poor.objective - optimum) / optimum, rel=1e-9)
    assert poor.suboptimality > 1e-6
    assert poor.is_global is not True
    reached = problem.convex_value(table.results[2].X)
    assert poor.gap >= (reached - optimum) / reached * (1 - 1e-9)
    assert poor.status == "iteration limit"
    assert table.reference.rank == 3
    assert table.best() in (0, 1)


def test_sentence_and_table(denoising) -> None:
    problem, _, _ = denoising
    reference = ls.solve_convex(problem)
    table = ls.compare(problem, ["lbfgs", ls.optimizers.GD(step_size=1e3)], reference=reference)
    assert table.reference is reference
    text = table.conclusion()
    assert text.startswith("Global optimum reached by 1 of 2 methods (lbfgs), RIGOROUS to a")
    assert table.rows[0].level == "RIGOROUS" and table.rows[1].level == ""
    assert "rank 3, found with factors of rank 4" in text
    assert "gd:step_size=1000.0 did not reach it: diverged." in text
    lines = table.table().splitlines()
    assert len(lines) == 4
    # The point of a diverged run has no numbers, and zeros would be those of the start.
    row = table.rows[1]
    assert row.rank is None and row.sigma_r is None and row.nuclear_norm is None
    shown = dict(zip(*(re.split(r" {2,}", line) for line in (lines[0], lines[3]))))
    assert shown["rank"] == shown["sigma_r"] == shown["||X||_*"] == "-"
    assert lines[0].split()[0] == "method"
    assert lines[1].startswith("convex: closed_form")
    poor = ls.compare(problem, ["gd"], reference=reference, stop=ls.StoppingRule(max_iter=3))
    assert poor.conclusion().startswith("No method reached the global optimum (rank 3); the nearest is gd")
    diverged = ls.compare(problem, [ls.optimizers.GD(step_size=1e3)], reference=reference)
    assert diverged.conclusion().startswith("Every run diverged")
    assert diverged.best() is None


@pytest.mark.parametrize(("rounds", "known"), [(1, False), (2, None)])
def test_what_an_optimum_that_is_not_certified_misses_is_not_said_to_be_nothing(rounds, known) -> None:
    """Ended early: nobody knows how far it is from the optimum, nor which rank that has, refuted or not."""

    class LogCosh:
        shape, convex = (6, 5), True

        def value_and_grad(self, X):
            R = X - 3.0 * np.eye(6, 5)
            return float(np.logaddexp(R, -R).sum()), np.tanh(R)

    problem = ls.Problem(LogCosh(), 2, 0.3)
    compared = ls.compare(problem, ["lbfgs"], reference=ls.solve_convex(problem, f"factored:max_rounds={rounds}"))
    assert compared.reference.certificate.is_global is known
    base = str(compared).splitlines()[1].split()
    assert base[:5] == ["convex:", "factored", f"{compared.reference.fun:.10g}", "-", "-"]
    assert f"(rank {compared.reference.rank} as found, not certified)" in compared.conclusion()


def test_a_seed_given_twice_is_no_second_start(denoising) -> None:
    with pytest.raises(ValueError, match="seeds: expected different seeds, got 4 twice"):
        ls.compare(denoising[0], ["gd"], seeds=[4, 1, 4])


def test_seeds_without_end_are_refused_before_they_fill_the_memory(denoising) -> None:
    with pytest.raises(ValueError, match="seeds: expected at most 1000000 seeds, got more"):
        ls.compare(denoising[0], ["gd"], seeds=itertools.count())


@pytest.mark.parametrize("levels", [("RIGOROUS", "SAMPLED"), ("SAMPLED", "RIGOROUS")])
def test_what_is_said_of_several_methods_is_known_as_the_weakest_of_their_certificates(denoising, levels) -> None:
    table = ls.compare(denoising[0], ["lbfgs", "als"])
    assert [row.is_global for row in table.rows] == [True, True]
    rows = [replace(row, level=level) for row, level in zip(table.rows, levels)]
    text = replace(table, rows=rows).conclusion()
    assert "SAMPLED to a relative gap" in text and "RIGOROUS" not in text


def test_the_gap_of_a_method_holds_for_all_its_starts(denoising) -> None:
    problem, optimum, _ = denoising
    table = ls.compare(problem, "gd", range(8), stop=ls.StoppingRule(max_iter=20), tol=0.9)
    (row,), (runs,) = table.rows, table.runs
    proved = [ls.certify(problem, run).relative_gap for run in runs]
    assert max(proved) > 2.0 * sorted(proved)[3]
    assert row.is_global and row.gap == pytest.approx(max(proved), rel=1e-6)
    assert max(problem.convex_value(run.X) - optimum for run in runs) <= row.gap * row.objective
    assert f"to a relative gap of {row.gap:.1e}" in table.conclusion()


def test_starts_that_diverge_are_counted(denoising) -> None:
    """Gradient descent needs a step below ``2/||A||_2^2``, and Gaussian factors are of different sizes."""
    table = ls.compare(denoising[0], ["gd:step_size=0.15", "lbfgs"], range(8), init="gaussian:std=1.0")
    diverged = sum(run.status is ls.Status.DIVERGED for run in table.runs[0])
    assert 0 < diverged < 4  # the run of median objective converged
    text = table.conclusion()
    assert text.startswith("Global optimum reached by 1 of 2 methods (lbfgs)")
    assert f"gd:step_size=0.15 did not reach it from every start: diverged from {diverged} of 8 starts." in text


@pytest.fixture(scope="module")
def ill_conditioned():
    """A regression where gradients too large for a proof remain at optimal points, its features and targets."""
    rng = np.random.default_rng(0)
    Z = np.diag(np.logspace(0, -2.5, 6)) @ rng.standard_normal((6, 40))
    W = rng.standard_normal((8, 2)) @ rng.standard_normal((2, 6))
    f = ls.objectives.LinearFineTuning(np.zeros((8, 6)), Z, W @ Z)
    return ls.Problem(f, 3, 0.01 * ls.Problem(f, 3, 1.0).critical_lam()), Z, W @ Z


def test_what_the_reference_proves_of_the_optimum_decides_where_a_run_s_own_gap_does_not(ill_conditioned) -> None:
    (problem, Z, Y), early = ill_conditioned, ls.StoppingRule(grad_tol=1e-5)
    for given in (None, ls.solve_convex(problem)):
        table = ls.compare(problem, ["als", "trust_ncg"], reference=given, stop=early)
        for row, end in zip(table.rows, table.results):
            assert ls.certify(problem, end).is_global is None
            f = 0.5 * np.mean(np.sum((end.X @ Z - Y) ** 2, axis=0))
            F = f + problem.lam * np.linalg.svd(end.X, compute_uv=False).sum()
            above = (F - table.reference.certificate.dual_value) / F
            assert row.is_global is True and row.level == "RIGOROUS"
            assert row.gap == pytest.approx(above, abs=1e-12) and 0.0 < above < 1e-9
        assert table.conclusion().startswith("Global optimum reached by 2 of 2 methods (als, trust_ncg), RIGOROUS")


def test_what_is_not_certified_is_not_said_to_have_missed_the_optimum(ill_conditioned) -> None:
    problem = ill_conditioned[0]
    rough = ls.solve_convex(problem, tol=1e-6)
    early = ls.compare(problem, ["als", "trust_ncg"], reference=rough, stop=ls.StoppingRule(grad_tol=1e-5), tol=1e-9)
    assert [row.is_global for row in early.rows] == [None, None]
    text = early.conclusion()
    assert text.startswith("No method is certified to have reached the global optimum (rank 2)")
    assert "the nearest is trust_ncg, " in text and "above the convex optimum, certified only to a relative" in text
    assert "did not reach" not in text and "No method reached" not in text

    stop = ls.StoppingRule(max_iter=60, grad_tol=1e-11)
    for extra in ([], [f"sgd:batch_size={size}" for size in range(1, 7)]):
        methods = ["als", "lbfgs", "gd", *extra]
        text = ls.compare(problem, methods, 2, reference=rough, stop=stop, tol=1e-8).conclusion()
        missed = "7 did not reach it from every start; the nearest is gd, "
        if not extra:
            missed = "gd did not reach it from every start: "
        assert ("Not certified: 1; the nearest is lbfgs, " if extra else "lbfgs is not certified: ") in text
        assert missed in text
        assert "of the decrease is missing from the worst start, iteration limit" in text


def test_the_optimum_of_another_problem_is_no_reference(denoising) -> None:
    problem, optimum, _ = denoising
    M = problem.objective.M
    for other, words in (
        (problem.replace(lam=0.7), "expected the optimum of .*lam=0.5.*, got that of .*lam=0.7"),
        (problem.replace(objective=Denoising(M + 0.01)), "expected the optimum of this problem, got one with F = "),
        (ls.Problem(Denoising(M.T), RANK, LAM), r"expected an optimum of shape \(7, 6\), got that of .* 6 x 7"),
    ):
        with pytest.raises(ValueError, match=f"reference: {words}"):
            ls.compare(problem, "gd", reference=ls.solve_convex(other))
    # Where X = 0 is the optimum of two problems their values agree there.
    high, low = (ls.solve_convex(problem.replace(lam=lam)) for lam in (9.0, 8.0))
    assert high.fun == low.fun
    with pytest.raises(ValueError, match="reference: expected the optimum of"):
        ls.compare(problem.replace(lam=9.0), "gd", reference=low)
    free = problem.replace(lam=0.0)
    with pytest.raises(ValueError, match="reference: expected the optimum of"):
        ls.compare(free, "gd", reference=ls.solve_convex(free.replace(rank=2)))
    with pytest.raises(ValueError, match="adapter 'polar' has no convex counterpart"):
        ls.compare(problem.replace(adapter="polar"), "gd~balanced", reference=ls.solve_convex(problem))
    # The same convex problem in other words, in float32, of no rank at all.
    scaled = problem.replace(adapter="lora:alpha=8", lam=2 * LAM)
    single = ls.Problem(Denoising(M.astype(np.float32)), RANK, LAM)
    for own in (problem, scaled, single, problem.replace(lam=9.0), free):
        assert ls.compare(own, "lbfgs", reference=ls.solve_convex(own)).reference is not None
    assert ls.compare(scaled, "lbfgs", reference=ls.solve_convex(problem)).reference.fun == pytest.approx(optimum)


def test_problems_that_differ_in_the_scale_of_the_adapter_are_told_apart(denoising) -> None:
    one, other = (denoising[0].replace(adapter=f"lora:alpha={alpha}") for alpha in (8, 16))
    with pytest.raises(ValueError, match=r"the optimum of .*'lora:alpha=8'.*, got that of .*'lora:alpha=16'"):
        ls.compare(one, ["gd"], reference=ls.solve_convex(other))
    document = ls.compare(one, ["lbfgs"]).to_dict()
    assert document["problem"]["adapter"] == "lora:alpha=8"


@pytest.mark.parametrize("given", [False, True])
def test_the_quality_says_on_which_data_it_is(given) -> None:
    rng = np.random.default_rng(3)
    W0 = rng.standard_normal((3, 4))
    train, test = ((rng.standard_normal((4, 30)), rng.integers(0, 3, 30)) for _ in range(2))
    held_out = Softmax(W0, *test) if given else None
    rule = ls.StoppingRule(max_iter=5)
    table = ls.compare(ls.Problem(Softmax(W0, *train), 1, 0.1), "lbfgs", stop=rule, held_out=held_out)
    own, other = ("test", "training") if given else ("training", "test")
    Z, labels = test if given else train
    accuracy = np.mean(((W0 + table.results[0].X) @ Z).argmax(axis=0) == labels)
    assert table.rows[0].quality == {"accuracy": pytest.approx(accuracy)}
    for text in (table.table(), table.to_markdown(), table.to_latex()):
        assert f"{own} quality" in text and f"{other} quality" not in text
    assert [record["quality_on"] for record in table.records()] == [own] == [table.to_dict()["rows"][0]["quality_on"]]


def test_held_out_data_of_another_shape_are_refused_before_anything_is_run(denoising) -> None:
    problem, _, _ = denoising
    with pytest.raises(ValueError, match=r"held_out: expected an objective of shape \(7, 6\), got one of"):
        ls.compare(problem, "gd", held_out=Denoising(problem.objective.M.T))


def test_a_rank_below_that_of_the_optimum_is_named_with_one_that_is_enough(denoising) -> None:
    """The loss is strongly convex, so its optimum of rank 3 is known to be the only one."""
    problem, _, _ = denoising
    text = ls.compare(problem.replace(rank=2), ["lbfgs"]).conclusion()
    assert text.startswith("No method reached the global optimum (rank 3); the nearest is lbfgs")
    assert text.endswith("Factors of rank 2 cannot: every optimum has rank at least 3; rank 3 is enough.")
    enough = ls.compare(problem.replace(rank=3), ["lbfgs"], stop=ls.StoppingRule(max_iter=2)).conclusion()
    assert "No method reached" in enough and "cannot" not in enough


def test_where_no_bound_on_the_rank_is_known_the_optimum_that_was_found_is_named() -> None:
    """Huber's loss is not strongly convex."""
    problem = ls.Problem(ls.objectives.Huber(np.diag([3.0, 2.0, 1.0])), 1, 0.1)
    text = ls.compare(problem, ["lbfgs"]).conclusion()
    assert "Factors of rank 1 cannot hold the optimum that was found; those of rank 3 can." in text


def test_document_is_json_with_trace_and_spectrum(denoising) -> None:
    problem, optimum, kept = denoising
    runs = ["lbfgs", "adam+cosine", ls.optimizers.GD(step_size=1e3)]
    document = json.loads(json.dumps(ls.compare(problem, runs).to_dict(), allow_nan=False))
    assert document["rows"][2]["missing"] == [None] and document["rows"][0]["trace"]["step"][0] is None
    assert [row["method"] for row in document["rows"]] == ["lbfgs", "adam+cosine", "gd:step_size=1000.0"]
    assert document["rows"][0]["singular_values"] == pytest.approx(kept, abs=1e-5)
    trace = document["rows"][0]["trace"]
    assert trace["iteration"][0] == 0
    assert trace["value"][-1] == pytest.approx(optimum)
    assert document["rows"][2]["gap"] is None
    assert document["problem"] == {
        "objective": "Denoising",
        "shape": [7, 6],
        "rank": RANK,
        "lam": LAM,
        "adapter": "lora",
        "minimises": "f + 0.5 ||X||_*",
    }
    assert (document["seeds"], document["budget"]) == ([0], None)


def test_without_a_convex_counterpart() -> None:
    rng = np.random.default_rng(1)
    W0, V, Z = rng.standard_normal((3, 4)), rng.standard_normal((2, 3)), rng.standard_normal((4, 20))
    problem = ls.Problem(TwoLayer(W0, V, Z, rng.standard_normal((2, 20)), "tanh"), 2, 0.1)
    table = ls.compare(problem, ["lbfgs"])
    assert table.reference is None
    assert (table.rows[0].suboptimality, table.rows[0].gap, table.rows[0].is_global) == (None, None, None)
    assert table.conclusion().startswith("Inconclusive: without a convex counterpart")
    assert "better point" not in table.conclusion()
    assert "above optimum" not in table.table()
    two = ls.compare(problem, ["gd:step_size=1e-3", "lbfgs"], stop=ls.StoppingRule(max_iter=40))
    assert (
        "A better point is known than where gd:step_size=0.001 ended: start from it (init=table.results[1])"
        in two.conclusion()
    )


def test_an_adapter_without_a_certificate(denoising) -> None:
    rng = np.random.default_rng(2)
    W0, Z, Y = rng.standard_normal((4, 5)), rng.standard_normal((5, 30)), rng.standard_normal((4, 30))
    problem = ls.Problem(ls.objectives.LinearFineTuning(W0, Z, Y), 2, 0.1, adapter="dora")
    table = ls.compare(problem, ["gd"], stop=ls.StoppingRule(max_iter=50))
    assert table.reference is None
    assert table.rows[0].gap is None
    assert table.rows[0].rank == np.linalg.matrix_rank(table.results[0].X)


def test_interrupted_comparison_keeps_what_it_has(denoising) -> None:
    problem, _, _ = denoising

    class Interrupted(ls.optimizers.GD):
        """Gradient descent that somebody stops from the keyboard in its fourth iteration."""

        def update(self, problem, state, value, grad):
            super().update(problem, state, value, grad)
            if state.accepted_steps == 5:
                raise KeyboardInterrupt

        def kernel_data(self, problem):
            return None

    table = ls.compare(problem, ["lbfgs", Interrupted(), "adam"])
    assert table.interrupted
    assert [(row.method, row.status) for row in table.rows] == [("lbfgs", "converged")]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_promises_what_it_keeps(denoising, tmp_path, monkeypatch, capfd, asked) -> None:
    problem, _, _ = denoising
    monkeypatch.setattr("lorasolve.studies._engine.GRACE_SECONDS", 0.3)
    sent = []

    class Signalled(ls.optimizers.GD):
        """Gradient descent during which a signal arrives, once; after SIGTERM it would go on for minutes."""

        def update(self, problem, state, value, grad):
            super().update(problem, state, value, grad)
            if not sent:
                sent.append(asked)
                signal.raise_signal(asked)
                for _ in range(6000 if asked == signal.SIGTERM else 0):
                    time.sleep(0.01)

        def kernel_data(self, problem):
            return None

    methods, began = ["lbfgs", Signalled(), "adam"], time.perf_counter()
    finished = ["lbfgs"] if asked == signal.SIGTERM else ["lbfgs", str(ls.Method.of(methods[1]))]
    for store in (None, tmp_path / "runs"):
        sent.clear()
        table = ls.compare(problem, methods, store=store)
        assert table.interrupted and [row.method for row in table.rows] == finished
        said = capfd.readouterr().err
        if asked == signal.SIGINT:
            assert "run: stopped; 2 of 3 runs are finished" in said
        assert ("the same call goes on" in said) == (store is not None and asked == signal.SIGINT)
    assert time.perf_counter() - began < 50.0
    assert len(ls.compare(problem, methods, store=tmp_path / "runs").rows) == 3


def plain_document(table):
    """Everything but times."""
    document = json.loads(to_json(table.to_dict()))
    for row in document["rows"]:
        row["trace"].pop("seconds")
        for name in ("seconds", "compile_seconds"):
            row.pop(name)
    document["reference"] = document["reference"]["fun"]
    return document


def test_what_is_kept_is_what_solve_gives(denoising) -> None:
    """Results come back from the store bit for bit, those of all methods there are, and of float32."""
    problem, _, _ = denoising
    single = ls.Problem(Denoising(problem.objective.M.astype(np.float32)), RANK, LAM)
    stop = ls.StoppingRule(max_iter=60)
    every = all_methods(problem)
    assert len(every) > 30
    for own, methods in ((problem, [*every, "gd:step_size=1e3"]), (single, ["gd", "adam"])):
        table = ls.compare(own, methods, seeds=[3], stop=stop)
        for method, (end,) in zip(methods, table.runs):
            alone = ls.solve(own, method, seed=3, stop=stop)
            for name in ("A", "B", "theta", "merged", "X"):
                np.testing.assert_equal(getattr(end, name), getattr(alone, name), strict=True)
            for name in ("fun", "grad_norm", "nit", "nfev", "status", "message", "seed", "started_from", "method"):
                np.testing.assert_equal(getattr(end, name), getattr(alone, name))
            for name in ("iteration", "value", "grad_norm", "step"):
                np.testing.assert_equal(end.trace.to_dict()[name], alone.trace.to_dict()[name])
            last, other = end.problem, alone.problem
            if np.isfinite(end.fun):  # what was merged stage by stage is merged in one go: to rounding
                grads = [np.empty_like(end.theta) for _ in range(2)]
                values = last.value_and_grad(end.theta, grads[0]), other.value_and_grad(end.theta, grads[1])
                assert values[0] == pytest.approx(values[1], rel=1e-7, abs=1e-13)
                np.testing.assert_allclose(*grads, atol=1e-12)
            assert (last.adapter, last.lam, last.rank, last.dtype) == (
                other.adapter,
                other.lam,
                other.rank,
                other.dtype,
            )


def test_a_store_goes_on_and_does_nothing_twice(denoising, tmp_path, monkeypatch) -> None:
    problem, _, _ = denoising
    ran = []

    def counted(*given, **options):
        ran.append(1)
        return ls.solve(*given, **options)

    monkeypatch.setattr("lorasolve.comparison._kept.solve", counted)

    def run(methods, seeds, **options):
        return ls.compare(problem, methods, seeds, 40, tune=True, store=tmp_path / "runs", **options)

    first = run(["gd"], 2)
    done = len(ran)
    assert done > 4
    more = run(["gd", "als"], 3)
    assert len(ran) == done + 1 + 3
    assert more.rows[0].search_calls == first.rows[0].search_calls > 0
    assert plain_document(run(["gd", "als"], 3)) == plain_document(more) and len(ran) == done + 4
    # Another problem, start, rule or way to judge is another run.
    for other, options in (
        (problem.replace(lam=0.4), {}),
        (problem, {"init": "spectral"}),
        (problem, {"stop": ls.StoppingRule(max_iter=7)}),
    ):
        before = len(ran)
        ls.compare(other, ["als"], 1, 40, tune=True, store=tmp_path / "runs", **options)
        assert len(ran) == before + 1


@pytest.mark.parametrize("kept", [True, False])
def test_methods_that_differ_in_an_array_are_two_methods(denoising, tmp_path, kept) -> None:
    """Of 1,100 entries NumPy shows the ends; the step is the smallest of them."""
    problem, _, _ = denoising

    @dataclass(frozen=True)
    class Cautious(ls.optimizers.GD):
        """Gradient descent with the smallest of several steps."""

        steps: object = None
        name = "cautious"

        def update(self, problem, state, value, grad):
            state.theta = state.trial
            state.trial = state.theta - self.steps.min() * grad

        def kernel_data(self, problem):
            return None

    methods, expected = [], []
    for smallest in (0.1, 0.05):
        steps = np.full(1100, 0.2)
        steps[550] = smallest
        methods.append(Cautious(steps=steps))
        expected.append(ls.solve(problem, ls.optimizers.GD(smallest), stop=ls.StoppingRule(max_iter=5)).fun)
    table = ls.compare(problem, methods, stop=ls.StoppingRule(max_iter=5), store=tmp_path / "runs" if kept else None)
    assert [row.objective for row in table.rows] == pytest.approx(expected, rel=1e-12)
    assert len({row.method for row in table.rows}) == 2


def test_workers_find_what_one_process_finds(denoising) -> None:
    problem, _, _ = denoising
    one, two = (
        ls.compare(problem, ["gd", "adam"], 2, 40, tune=True, backend=backend, n_jobs=jobs)
        for backend, jobs in (("serial", 1), ("loky", 2))
    )
    assert plain_document(one) == plain_document(two)


def test_what_is_no_start_or_store_is_refused_before_anything_is_computed(tmp_path) -> None:
    class Asked:
        shape, convex, lower_bound = (4, 3), True, 0.0

        def value_and_grad(self, X):
            raise AssertionError("asked for a value")

    wrong = (np.ones((4, 3)), np.ones((3, 2)))
    other = ls.solve(ls.Problem(ls.objectives.Denoising(np.eye(4, 3)), 1, 0.1), stop=ls.StoppingRule(max_iter=2))
    for init, words in (
        (other, r"^init: expected a result of a problem with 4 x 3 at rank 2, .* got one with 4 x 3 at rank 1"),
        ("gausian", "^init: unknown init 'gausian'. Did you mean 'gaussian'"),
        (3, "^init: expected"),
        (wrong, r"^A: expected shape \(4, 2\), got \(4, 3\)"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            ls.compare(ls.Problem(Asked(), 2, 0.1), ["gd"], init=init)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match=r"^store: .*file is no folder"):
        ls.compare(ls.Problem(Asked(), 2, 0.1), ["gd"], store=tmp_path / "file")


def test_a_run_that_fails_is_named_and_the_others_are_kept(denoising, tmp_path) -> None:
    problem, _, _ = denoising

    class Broken(ls.optimizers.GD):
        """Gradient descent with a fault."""

        def update(self, problem, state, value, grad):
            raise ZeroDivisionError("a fault")

        def kernel_data(self, problem):
            return None

    with pytest.raises(CellError, match="gd, seed 0: ZeroDivisionError: a fault"):
        ls.compare(problem, ["lbfgs", Broken()], store=tmp_path / "runs")
    assert [record["result"].get("error") for record in ls.Runs.read(tmp_path / "runs")] == [
        None,
        "ZeroDivisionError: a fault",
    ]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "methods: is empty"),
        (["all", "gd"], "methods: 'all' is every method, and is given alone"),
        (["gd", "nestrov"], "optimizer: unknown optimizer 'nestrov'. Did you mean 'nesterov'"),
        (["sgd"], "sgd"),
    ],
)
def test_refused_before_anything_runs(denoising, methods, message, monkeypatch) -> None:
    ran = []
    monkeypatch.setattr(ls.optimizers.GD, "init", lambda *_: ran.append(1))
    first = ["gd"] if methods else []
    with pytest.raises(ValueError, match=message):
        ls.compare(denoising[0], first + methods)
    assert ran == []


def test_another_penalty_is_not_held_against_the_optimum(denoising) -> None:
    """Without decay the optimum is the best approximation of rank 4, that is the matrix itself."""
    problem, optimum, _ = denoising
    own, other = ls.compare(problem, ["lbfgs", "lbfgs/lam=0"], stop=ls.StoppingRule(grad_tol=1e-9)).rows
    assert own.objective == pytest.approx(optimum, rel=1e-9)
    assert own.suboptimality == pytest.approx(0.0, abs=1e-9)
    assert other.objective == pytest.approx(0.0, abs=1e-12)
    assert (other.minimises, other.reference) == ("f over rank <= 4", pytest.approx(0.0, abs=1e-12))


def test_interrupted_before_the_first_row_it_leaves_the_earlier_report_and_its_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0, 1.0]))
    command = ["compare", "--objective", "denoising", "d.npz", "--lam", "0.5", "--methods", "lbfgs", "--out", "run"]
    assert main([*command, "--quiet"]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(comparison, "compare", lambda *a, **k: replace(compare(*a, **k), rows=[], interrupted=True))
    assert main([*command, "--quiet"]) == 130
    assert capsys.readouterr().err == "lorasolve compare: interrupted\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_missing_where_the_optimum_is_zero(seed) -> None:
    """There is no decrease, but for rounding: a last digit above the optimum is not all of it."""
    rng = np.random.default_rng(seed)
    f = ls.objectives.MatrixSensing(rng.standard_normal((40, 8, 7)), rng.standard_normal(40))
    rows = compare(ls.Problem(f, 3, 1.5), ["lbfgs", "gd"], seeds=1).rows
    assert all(abs(share) < 1e-9 for row in rows for share in row.missing)


def test_without_decay_the_sentence_says_what_the_certificates_say() -> None:
    """By Eckart-Young the least value of rank 1 is ``(2^2 + 1^2)/2``, which certificates compare with."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 1.0])), 1, 0.0)
    table = ls.compare(problem, ["lbfgs", "gd:step_size=1e-4"], stop=ls.StoppingRule(max_iter=200))
    assert table.rows[0].reference == pytest.approx(2.5)
    assert [row.is_global for row in table.rows] == [True, False]
    text = table.conclusion()
    assert text.startswith("Global optimum of f over rank <= 1 reached by 1 of 2 methods (lbfgs), CERTIFIED to a")
    assert "gd:step_size=0.0001 did not reach it: 1.8e+00 above it (relative), iteration limit" in text
    poor = ls.compare(problem, "gd:step_size=1e-4", stop=ls.StoppingRule(max_iter=200)).conclusion()
    assert poor.startswith("No method reached the global optimum of f over rank <= 1; the nearest is gd:step_size=0.0")


def test_where_the_data_can_be_met_nothing_is_relative_to_rounding_errors() -> None:
    """The least value at full rank is 0; the closed form has it to rounding, and shares of that had been shown."""
    M = np.random.default_rng(0).standard_normal((4, 3)) @ np.diag([3.0, 2.0, 1.0])
    problem = ls.Problem(ls.objectives.Denoising(M), 3, 0.0)
    table = ls.compare(problem, ["lbfgs", "gd:step_size=1e-4"], stop=ls.StoppingRule(max_iter=200))
    for row in table.rows:
        assert (row.reference, row.suboptimality) == (0.0, row.objective)
    share = table.rows[1].objective / (0.5 * np.sum(M**2))
    assert f"did not reach it: {share:.1e} of the decrease is missing, iteration limit" in table.conclusion()


def test_a_frozen_factor_is_not_held_against_the_optimum_of_both() -> None:
    """With ``A`` frozen ``L`` is least in ``B`` alone, by ridge regression; the optimum of both is below that."""
    rng = np.random.default_rng(0)
    M, A = rng.standard_normal((4, 3)), rng.standard_normal((4, 1))
    B = M.T @ A / (A.T @ A + 0.5)
    least = 0.5 * np.sum((A @ B.T - M) ** 2) + 0.25 * (np.sum(A**2) + np.sum(B**2))
    for lam in (0.5, 0.0):
        problem = ls.Problem(ls.objectives.Denoising(M), 1, lam, adapter="lora:frozen=A")
        table = ls.compare(problem, ["lbfgs", "gd:step_size=1e-6"], init=(A, 0.0 * B))
        row = table.rows[0]
        assert row.minimises == "f with the penalty of lora, a factor frozen"
        assert (row.status, row.reference, row.suboptimality, row.missing) == ("converged", None, None, None)
        if lam:
            assert row.objective == pytest.approx(least)
            assert table.reference is not None and table.reference.fun < row.objective
            # X = A B^T of any number of columns has the columns of A, which are not those of the optimum.
            assert "is enough" not in table.conclusion() and "those of rank" not in table.conclusion()
            assert "With a factor frozen it bounds all values from below" in table.conclusion()
        else:
            assert "did not reach" not in table.conclusion()


def test_a_method_given_twice_is_refused_however_it_is_written() -> None:
    """Its rows would be the same runs; other settings make another method, those that are no fields too."""

    class Noted(ls.optimizers.GD):
        name = "noted"

        def __init__(self, note: int) -> None:
            super().__init__()
            object.__setattr__(self, "note", note)

    problem = ls.Problem(ls.objectives.Denoising(np.eye(4)), 4, 0.5)
    for twice in (["gd", "lbfgs", "gd"], ["gd", ls.optimizers.GD()], [ls.Method("gd"), "gd"], [Noted(1), Noted(1)]):
        with pytest.raises(ValueError, match=r"methods: expected different methods, got '(gd|noted)' twice"):
            ls.compare(problem, twice)
    several = ["gd", "gd:step_size=0.1", ls.optimizers.GD(step_size=0.2), "gd/lam=0.1", Noted(1), Noted(2)]
    assert len(ls.compare(problem, several, budget=5).rows) == len(several)


@pytest.mark.parametrize("method", ["lbfgs/lam=0.2", "gd+periodic:period=5/lam=0"])
def test_a_least_value_whose_computation_was_interrupted_is_none(monkeypatch, method) -> None:
    """Where Ctrl-C came the last point was taken for the optimum of a row of another aim."""

    def ended(solver):
        def solve(*given, **options):
            with pytest.MonkeyPatch.context() as patch:
                for name in ("_support.progress.Progress.show", "loop.CountedOracle.recall"):
                    patch.setattr(f"lorasolve.{name}", interrupt)
                return solver(*given, **options)

        return solve

    def interrupt(*_):
        raise KeyboardInterrupt

    problem = ls.Problem(ls.objectives.Huber(np.random.default_rng(0).standard_normal((6, 5))), 5, 0.5)
    for name in ("solve", "solve_convex"):
        monkeypatch.setattr(f"lorasolve.comparison.targets.{name}", ended(getattr(ls, name)))
    compared = ls.compare(problem, ["lbfgs", method], stop=ls.StoppingRule(max_iter=20))
    assert compared.interrupted and [row.method for row in compared.rows] == ["lbfgs"]


def test_classes_of_one_name_are_refused_as_nobody_could_tell_their_rows_apart() -> None:
    """A class that is made from another has its name: the table had two rows `gd`, and the sentence "(gd, gd)"."""

    class Shorter(ls.optimizers.GD):
        def update(self, problem, state, value, grad):
            state.theta, state.trial = state.trial, state.trial - 0.01 * grad

    problem = ls.Problem(ls.objectives.Denoising(np.eye(4)), 4, 0.5)
    for pair in (["gd", Shorter()], [Shorter(), "gd"], [ls.Method("gd", "cosine"), ls.Method(Shorter(), "cosine")]):
        with pytest.raises(ValueError, match=r"methods: .* 'gd' of the classes .*Shorter.*; give yours a name"):
            ls.compare(problem, pair)
    assert len(ls.compare(problem, [Shorter(), "gd:step_size=0.1"], budget=5).rows) == 2


def test_factors_of_fewer_columns_than_the_optimum_are_not_said_to_have_its_rank() -> None:
    """Of singular values 2 and 1 + 1.5e-6 at ``lam = 1`` the second one is worth 1e-12 of ``F = 2``: rank 1 will do."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([2.0, 1.0 + 1.5e-6])), 1, 1.0)
    text = ls.compare(problem, ["lbfgs"]).conclusion()
    assert text.startswith("Global optimum reached by 1 of 1 methods (lbfgs), ")
    assert "; found with factors of rank 1, where the reference has rank 2." in text and "it has rank" not in text


class Plain:
    """Denoising as a user writes it."""

    shape, convex, lower_bound, smoothness = (3, 2), True, 0.0, 1.0

    def value_and_grad(self, X):
        G = X - np.arange(6.0).reshape(3, 2)
        return 0.5 * float(np.sum(G**2)), G


def test_where_one_look_contradicts_a_loss_no_row_is_global(monkeypatch) -> None:
    """What was seen beside the last row is so of the loss, which the certificates of all others rest on."""
    problem, looks, last = ls.Problem(Plain(), 2, 0.5), [], 0

    def look(*_):
        looks.append(1)
        return "violates convexity" if len(looks) == last else None

    monkeypatch.setattr(spot_checks, "violation", look)
    methods = ["gd_backtracking", "lbfgs"]
    assert all(row.is_global and not row.denied for row in compare(problem, methods).rows)
    last = len(looks)
    looks.clear()
    found = compare(problem, methods)
    assert [row.is_global for row in found.rows] == [None, None] and all(row.gap is None for row in found.rows)
    assert [row.denied.startswith("your f violates convexity") for row in found.rows] == [False, True]
    assert found.conclusion().startswith("Inconclusive: your f violates convexity: run check_objective; the lowest")
    assert " yes " not in str(found)


class Linear:
    """``<C, X>``, ``||C||_2 = 1``: for ``lam < 1`` no optimum, as ``F = -(1 - lam) t`` along ``-t u v^T``."""

    convex, shape, C = True, (3, 3), np.diag([1.0, 0.5, 0.2])

    def value_and_grad(self, X):
        return float(np.vdot(self.C, X)), self.C.copy()


@pytest.mark.parametrize("lam", [0.5, 0.0])
def test_a_loss_without_an_optimum_has_none_that_a_method_missed(lam):
    """What the convex route ends at was one, and the nearest method 5e268 of it below."""
    found = ls.compare(ls.Problem(Linear(), 2, lam), ["gd", "lbfgs"])
    ends = found.conclusion()
    assert ends.startswith("Every run diverged: ")
    assert ends.endswith("the loss seems to have no lower bound, and no optimum. Is its sign right?")
    assert "reached" not in ends and "smaller step" not in ends
