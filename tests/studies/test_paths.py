"""Paths, the choice of lam and of the rank, against closed forms."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import linear_map
from lorasolve._support import progress as _progress
from lorasolve._support.threads import get_threads
from lorasolve.certificates import norms
from lorasolve.cli import main
from lorasolve.commands import path as path_command
from lorasolve.commands import study as study_command
from lorasolve.io import read_arrays, read_task, write_arrays
from lorasolve.multi import Separable
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixCompletion, MatrixSensing
from lorasolve.studies import Calls, lam_path
from lorasolve.tasks import digits_task

VALUES = np.array([5.0, 3.0, 2.0, 0.5])


def formless(M: np.ndarray) -> Denoising:
    """Return denoising that knows no closed form."""
    objective = Denoising(M)
    objective.minimizer = lambda lam, rank: None
    return objective


def denoising(objective=Denoising) -> ls.Problem:
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 4)))[0] for size in (7, 6))
    return ls.Problem(objective((P * VALUES) @ Q.T), 2, 1.0)


def planted(noise: float = 0.3) -> MatrixCompletion:
    rng = np.random.default_rng(1)
    T = rng.standard_normal((30, 2)) @ rng.standard_normal((25, 2)).T
    rows, cols = np.nonzero(rng.random(T.shape) < 0.6)
    return MatrixCompletion(rows, cols, T[rows, cols] + noise * rng.standard_normal(rows.size), T.shape)


@pytest.mark.parametrize(("objective", "route"), [(Denoising, "closed_form"), (formless, "factored")])
def test_a_path_is_the_soft_threshold_at_every_lam_with_its_rank_proved(objective, route):
    lams = [0.4, 4.0, 1.0, 6.0, 2.5]
    found = ls.path(denoising(objective), lams, tol=1e-9)
    assert found.success and found.lams == lams
    assert {point.route for point in found.points} == {route}
    for lam, point in zip(lams, found.points):
        kept = np.maximum(VALUES - lam, 0.0)
        assert point.fun == pytest.approx(0.5 * (np.minimum(VALUES, lam) ** 2).sum() + lam * kept.sum(), rel=1e-9)
        certificate = point.certificate
        assert (certificate.rank_at_least or 0) == certificate.rank_at_most == np.count_nonzero(kept)
        assert certificate.problem.lam == lam
    assert [line.split()[4] for line in found.table().splitlines()[1:]] == ["4", "1", "3", "0", "2"]
    gaps = {column.heading: column.write for column in found.columns()}["gap"]
    assert (gaps(0.0), gaps(3e-9)) == ("0", "3.0e-09")


@pytest.mark.parametrize("shape", [(230, 210), (210, 230)])
def test_one_factorisation_at_each_lam_proves_the_gap_and_the_rank(shape, monkeypatch):
    """A gradient large enough for it, at least a third of lam away from lam outside of the spaces of the optimum."""
    rng = np.random.default_rng(3)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 40)))[0] for size in shape)
    values = np.r_[9.0, 7.0, 5.0, np.full(37, 0.5)]
    problem = ls.Problem(formless((P * values) @ Q.T), 2, 1.0)
    asked, defect = [], norms.semidefinite_defect
    monkeypatch.setattr(norms, "semidefinite_defect", lambda *args: asked.append(1) or defect(*args))
    lams = [8.0, 6.0, 4.0, 3.0, 2.0]
    found = ls.path(problem, lams, 1e-4)
    assert found.success and len(asked) == len(lams)
    for lam, point in zip(lams, found.points):
        assert point.certificate.rank_at_most == point.certificate.rank_at_least == np.count_nonzero(values > lam)


@pytest.mark.parametrize("shape", [(340, 310), (310, 340)])
def test_what_escapes_at_the_next_lam_is_searched_with_the_factor_of_the_last_proof(shape, monkeypatch):
    """A gradient too large for an SVD and small enough for a proof."""
    rng = np.random.default_rng(3)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 60)))[0] for size in shape)
    values = np.r_[9.0, 7.0, 5.0, 3.8, 3.7, np.linspace(1.5, 0.1, 55)]
    found, search = [], linear_map._inverted_top
    monkeypatch.setattr(linear_map, "_inverted_top", lambda *args: found.append(search(*args)) or found[-1])
    lams = [8.0, 6.0, 4.0, 3.5, 2.0]
    path = ls.path(ls.Problem(formless((P * values) @ Q.T), 2, 1.0), lams, 1e-6)
    assert [point.rank for point in path.points] == [np.count_nonzero(values > lam) for lam in lams]
    assert path.success and len(found) == len(lams) - 1 and None not in found
    for lam, point in zip(lams, path.points):
        kept = np.maximum(values - lam, 0.0)
        assert point.fun == pytest.approx(0.5 * (np.minimum(values, lam) ** 2).sum() + lam * kept.sum(), rel=1e-6)


def test_a_path_with_a_closed_form_takes_one_svd(monkeypatch):
    taken, svd = [], np.linalg.svd
    problem = denoising()
    whole = problem.objective.M.shape
    monkeypatch.setattr(np.linalg, "svd", lambda M, *args, **named: taken.append(np.shape(M)) or svd(M, *args, **named))
    assert ls.path(problem, [4.0, 2.5, 1.0, 0.4]).success
    assert taken.count(whole) == 1


def test_a_path_by_number_begins_where_zero_is_optimal():
    found = ls.path(denoising(), 5, tol=1e-6)
    assert found.lams[0] == pytest.approx(5.0) and found.lams[-1] == pytest.approx(0.05)
    assert found.points[0].rank == 0 and found.points[-1].rank == 4


def test_a_scaled_adapter_has_its_own_lam():
    problem = denoising().replace(adapter=ls.adapters.LoRA(alpha=4.0))
    (point,) = ls.path(problem, [2.0], tol=1e-9).points
    lam = problem.replace(lam=2.0).lam_effective
    assert lam != 2.0
    kept = np.maximum(VALUES - lam, 0.0)
    assert point.fun == pytest.approx(0.5 * (np.minimum(VALUES, lam) ** 2).sum() + lam * kept.sum(), rel=1e-9)


def test_warm_and_cold_points_are_the_same_optimum():
    problem = ls.Problem(planted(), 2, 1.0)
    found = ls.path(problem, 6, tol=1e-8)
    assert len(found.points) == 6
    for lam, point in zip(found.lams, found.points, strict=True):
        cold = ls.solve_convex(problem.replace(lam=lam), "prox", 1e-8)
        assert point.fun == pytest.approx(cold.fun, rel=3e-8)


def test_held_out_errors_of_the_zero_update_are_those_of_the_data():
    objective = planted()
    found = ls.cross_validate(ls.Problem(objective, 2, 1.0), [1e6, 2.0], folds=4, seed=3)
    parts = np.array_split(np.random.default_rng(3).permutation(objective.values.size), 4)
    expected = [np.sqrt((objective.values[np.sort(part)] ** 2).mean()) for part in parts]
    # The objective orders its entries, and so do the parts refer to that order.
    np.testing.assert_allclose(found.errors[0], expected, rtol=1e-12)
    assert found.best == 2.0 and found.error_name == "held-out rmse" and found.success


@pytest.mark.parametrize("held_out", [False, True])
def test_of_equal_errors_the_largest_lam_is_best_in_whatever_order_they_are_given(held_out):
    """Beyond the norm of the gradient at 0 every fit is 0, and all errors are those of the data."""
    objective = planted()
    test = ls.objectives.MatrixCompletion([0], [0], [1.0], objective.shape) if held_out else None
    for lams in ([1e6, 1e7, 1e8], [1e8, 1e6, 1e7]):
        found = ls.cross_validate(ls.Problem(objective, 2, 1.0), lams, folds=4, held_out=test)
        assert found.best == 1e8 and "at lam = 1e+08 and 2 smaller; there" in found.conclusion
        assert "an end of the values tried" in found.conclusion


def test_nothing_lies_beyond_a_lam_at_which_all_data_are_fitted_by_zero():
    """Noise: the largest lam is best, and a larger one changes the errors of folds and no model."""
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((60, 40)) < 0.4)
    problem = ls.Problem(MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (60, 40)), 1, 1.0)
    found = ls.cross_validate(problem, 4, folds=4)
    assert found.best == found.lams[0] and found.fit.nuclear_norm == 0.0
    assert found.conclusion.endswith("; X = 0 is the fit there, as at every larger lam")
    assert ls.solve_convex(problem.replace(lam=2.0 * found.best)).nuclear_norm == 0.0
    # Below, where the fit is another matrix, an end is an end.
    lower = ls.cross_validate(problem, found.lams[1:3], folds=4)
    assert lower.best == lower.lams[0] and "the least may lie beyond it" in lower.conclusion


def test_neighbouring_values_of_lam_may_have_equal_shares():
    rng = np.random.default_rng(4)
    objective = MatrixCompletion(*np.divmod(np.arange(10), 5), rng.standard_normal(10), (2, 5))
    # Of ten entries each of five folds trains on eight.
    lam = next(lam for lam in rng.uniform(0.5, 1.0, 100) if 0.8 * lam == 0.8 * np.nextafter(lam, 2.0))
    found = ls.cross_validate(ls.Problem(objective, 2, 1.0), [lam, np.nextafter(lam, 2.0)], folds=5)
    alone = ls.cross_validate(ls.Problem(objective, 2, 1.0), [lam], folds=5)
    assert found.lams == [lam, np.nextafter(lam, 2.0)]
    assert found.mean == pytest.approx([alone.mean[0]] * 2, rel=1e-2)
    with pytest.raises(ValueError, match="lams: expected different values"):
        ls.cross_validate(ls.Problem(objective, 2, 1.0), [lam, lam], folds=5)


def test_the_best_lam_lies_between_noise_and_nothing():
    found = ls.cross_validate(ls.Problem(planted(), 2, 1.0), 8, folds=3)
    assert found.lams[0] > found.best > found.lams[-1]
    assert "an end of the values tried" not in found.conclusion
    assert found.mean.min() < 0.6 * found.mean[0]
    assert found.fit.certificate.problem.lam == found.best and found.fit.relative_gap <= 1e-4
    assert sum("best" in line for line in found.table().splitlines()) == 1
    # Folds whose optima have different ranks are one range of ranks.
    ranks = [[each.points[k].rank for each in found.paths] for k in range(len(found.lams))]
    differing = next(k for k, some in enumerate(ranks) if len(set(some)) > 1)
    text = found.records()[differing]["rank_known"]
    assert f"{min(ranks[differing])} to {max(ranks[differing])}" in text and "," not in text


def test_a_search_ends_once_the_error_of_every_fold_has_risen_three_times():
    """What is not tried changes nothing, and values that are given are all tried."""
    problem = ls.Problem(planted(), 2, 1.0)
    lams = np.geomspace(problem.critical_lam(), 0.01 * problem.critical_lam(), 12).tolist()
    found, whole = (ls.cross_validate(problem, given, folds=3) for given in (12, lams))
    count = len(found.lams)
    assert 4 < count < 12 and found.lams == lams[:count] and found.untried == lams[count:]
    assert [len(each.points) for each in found.paths] == [count] * 3
    assert whole.lams == lams and whole.untried == [] and "not tried" not in whole.conclusion
    np.testing.assert_array_equal(found.errors, whole.errors[:count])
    assert found.best == whole.best == lams[int(whole.mean.argmin())]
    rose = [bool((after > before).all()) for before, after in itertools.pairwise(whole.errors)]
    first = next(k for k in range(4, 13) if all(rose[k - 4 : k - 1]))
    assert count == first
    assert f"; {12 - count} smaller not tried, as the error rose in every fold at the last 3" in found.conclusion
    assert found.to_dict()["untried"] == found.untried
    # Of values so near each other three in a row say little: half of the lam where it began to rise is reached.
    near = ls.cross_validate(problem, 40, folds=3)
    assert near.untried and near.lams[-1] <= 0.5 * near.best


def test_a_search_on_data_held_out_for_good_ends_by_the_same_rule():
    """Of twenty values the eight smallest took most of the time, where folds did not try them."""
    observed = planted()
    seen = np.random.default_rng(2).random(observed.values.size) < 0.7
    train, test = (
        MatrixCompletion(observed.rows[part], observed.cols[part], observed.values[part], observed.shape)
        for part in (seen, ~seen)
    )
    problem = ls.Problem(train, 2, 1.0)
    lams = np.geomspace(problem.critical_lam(), 0.01 * problem.critical_lam(), 12).tolist()
    found, whole = (ls.cross_validate(problem, given, held_out=test) for given in (12, lams))
    count = len(found.lams)
    assert 4 < count < 12 and found.lams == lams[:count] and found.untried == lams[count:]
    assert whole.lams == lams and not whole.untried and found.best == whole.best
    np.testing.assert_array_equal(found.errors, whole.errors[:count])
    rose = (np.diff(whole.errors[:, 0]) > 0.0).tolist()
    assert count == next(k for k in range(4, 13) if all(rose[k - 4 : k - 1]))
    assert f"; {12 - count} smaller not tried, as the error rose at the last 3" in found.conclusion
    # All data are fitted on the way.
    assert found.fit is found.paths[0].points[found.lams.index(found.best)]


def test_a_search_goes_on_where_the_error_has_not_fallen_yet():
    """Entries far off come first in the spectrum, and fitting them helps no other: what they hide comes later."""
    objective = planted()
    values = np.array(objective.values)
    far = np.random.default_rng(1).permutation(values.size)[:8]
    values[far] += 60.0
    problem = ls.Problem(MatrixCompletion(objective.rows, objective.cols, values, objective.shape), 2, 1.0)
    found = ls.cross_validate(problem, 12, folds=3)
    assert (np.diff(found.errors[:4], axis=0) > 0.0).all() and found.lams[-1] < 0.1 * found.lams[0]


class Deviance:
    """Mean of ``x - m log x`` over some entries, ``x = 1 + X_ij > 0``: a loss of counts."""

    convex = True

    def __init__(self, M, places):
        self.M, self.places, self.shape, self.n_samples = M, places, M.shape, len(places)
        counts = M.ravel()[places]
        self.lower_bound = float((counts - counts * np.log(counts)).mean())

    def sample_batch(self, index):
        return Deviance(self.M, self.places[index])

    def domain(self, X):
        return bool((1.0 + X.ravel()[self.places] > 0.0).all())

    def value_and_grad(self, X):
        x, m = 1.0 + X.ravel()[self.places], self.M.ravel()[self.places]
        G = np.zeros(X.size)
        G[self.places] = (1.0 - m / x) / len(self.places)
        return float((x - m * np.log(x)).mean()), G.reshape(X.shape)


@pytest.mark.filterwarnings("error")
def test_an_error_that_is_infinite_at_every_lam_has_no_best():
    """Entries that no fold has seen may be predicted below -1; JSON holds no infinity."""
    rng = np.random.default_rng(1)
    loss = Deviance(rng.gamma(0.3, 3.0, (6, 5)) + 1e-3, rng.permutation(30))
    found = ls.cross_validate(ls.Problem(loss, 2, 0.1), [0.02, 0.005], folds=3, tol=1e-3)
    assert np.isinf(found.mean).all()
    assert "infinite at every lam" in found.conclusion and "least" not in found.conclusion
    assert not any(row["best"] for row in found.records())
    assert found.records()[0]["standard_error"] is None and "nan" not in found.table()
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["errors"] == [
        [each if np.isfinite(each) else None for each in row] for row in found.errors.tolist()
    ]


def test_losses_of_samples_and_data_held_out_for_good():
    rng = np.random.default_rng(5)
    T = np.outer(rng.standard_normal(5), rng.standard_normal(4))
    M, y = rng.standard_normal((90, 5, 4)), np.empty(90)
    y[:] = np.einsum("kij,ij->k", M, T) + 0.1 * rng.standard_normal(90)
    found = ls.cross_validate(ls.Problem(MatrixSensing(M, y), 2, 1.0), [1e6, 0.05], folds=3)
    assert found.error_name == "held-out loss"
    assert found.mean[0] == pytest.approx(0.5 * (y**2).mean()) and found.mean[1] < 0.1 * found.mean[0]
    test = MatrixSensing(M[60:], y[60:])
    one = ls.cross_validate(ls.Problem(MatrixSensing(M[:60], y[:60]), 2, 1.0), [1e6, 0.05], held_out=test)
    assert one.errors.shape == (2, 1) and one.errors[0, 0] == pytest.approx(0.5 * (y[60:] ** 2).mean())
    with pytest.raises(ValueError, match=r"Denoising has neither entries nor samples .*MatrixCompletion\.from_dense"):
        ls.cross_validate(denoising())
    with pytest.raises(ValueError, match=r"folds: expected at most one a sample \(90\), got 91"):
        ls.cross_validate(ls.Problem(MatrixSensing(M, y), 2, 1.0), [1.0], folds=91)


@pytest.mark.parametrize("held_out", [None, planted(0.0)])
def test_held_out_errors_do_not_depend_on_the_scale_of_the_adapter(held_out):
    """``lam/s`` is all that the convex problem sees: alpha = 2 r at twice the lam is the same problem."""
    lams = [8.0, 2.0, 0.5]
    plain = ls.cross_validate(ls.Problem(planted(), 2, 1.0), lams, 3, 1e-8, held_out=held_out)
    problem = ls.Problem(planted(), 2, 1.0, adapter="lora:alpha=4")
    scaled = ls.cross_validate(problem, [2.0 * lam for lam in lams], 3, 1e-8, held_out=held_out)
    np.testing.assert_allclose(scaled.errors, plain.errors, rtol=1e-5)
    assert scaled.best == 2.0 * plain.best


@pytest.mark.parametrize("shape", [(25, 30), (1, 25), (3, 3)])
def test_held_out_data_of_another_shape_are_refused(shape):
    for held_out in (MatrixCompletion([0], [0], [1.0], shape), Denoising(np.ones(shape))):
        with pytest.raises(ValueError, match=r"held_out: expected an objective of shape \(30, 25\), got one of"):
            ls.cross_validate(ls.Problem(planted(), 2, 1.0), [1.0], held_out=held_out)


def test_means_of_a_fit_have_not_seen_what_is_held_out():
    """Leave one out with no update: the mean of the others errs by ``N/(N-1)`` of what the mean of all does."""
    rng = np.random.default_rng(2)
    values = 3.0 + rng.standard_normal(12)
    problem = ls.Problem(MatrixCompletion(*np.divmod(np.arange(12), 4), values, (3, 4)), 1, 1.0)
    found = ls.cross_validate(problem, [1e6], folds=12, means="global", seed=7)
    left_out = np.random.default_rng(7).permutation(12)
    errors = 12.0 / 11.0 * np.abs(values - values.mean())[left_out]
    np.testing.assert_allclose(found.errors[0], errors, rtol=1e-12)
    # Of a row that has 3 others, by 4/3 of what the mean of the row does; data held out for good are not counted.
    by_row = ls.cross_validate(problem, [1e6], folds=12, means="rows", seed=7)
    rest = values - np.repeat(values.reshape(3, 4).mean(axis=1), 4)
    np.testing.assert_allclose(by_row.errors[0], 4.0 / 3.0 * np.abs(rest)[left_out], rtol=1e-12)
    seen, unseen = (MatrixCompletion([0, 1], [j, j], [a, b], (3, 4)) for j, a, b in ((0, 1.0, 3.0), (1, 2.0, 7.0)))
    (error,) = ls.cross_validate(problem.replace(objective=seen), [1e6], held_out=unseen, means="global").errors[0]
    assert error == pytest.approx(np.sqrt((0.0**2 + 5.0**2) / 2.0))


@pytest.mark.parametrize(
    ("problem", "held_out", "message"),
    [
        (denoising(), denoising().objective, "problem: expected completion, .* got Denoising"),
        (ls.Problem(planted(), 1, 1.0), Denoising(np.ones((30, 25))), "held_out: expected completion, .* Denoising"),
        (ls.Problem(planted(), 2, 1.0), None, "means: expected 'none', 'global', "),
    ],
)
def test_means_are_those_of_entries(problem, held_out, message):
    means = "some" if held_out is None else "global"
    with pytest.raises(ValueError, match=message):
        ls.cross_validate(problem, [1.0], held_out=held_out, means=means)


def test_folds_of_centred_ratings_take_off_the_means_of_their_own_entries(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    values = 4.0 + rng.standard_normal(12)
    entries = [(*divmod(k, 4), value) for k, value in enumerate(values.tolist())]
    (tmp_path / "ratings.csv").write_text("".join(f"{i},{j},{value}\n" for i, j, value in entries))
    words = ["--objective", "completion", "ratings.csv", "--center", "--lam", "1e6", "0.5"]
    assert main(["path", *words, "--folds", "12", "--split-seed", "7", "--json"]) == 0
    errors = json.loads(capsys.readouterr().out)["path"]["errors"]
    expected = 12.0 / 11.0 * np.abs(values - values.mean())[np.random.default_rng(7).permutation(12)]
    np.testing.assert_allclose(errors[0], expected, rtol=1e-12)
    # In whatever order the file has them, both commands hold the same entries out.
    (tmp_path / "turned.csv").write_text("".join(f"{i},{j},{value}\n" for i, j, value in reversed(entries)))
    assert main(["path", *words, "--folds", "3", "--tol", "1e-4", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)["path"]
    assert main(["complete", "turned.csv", "--folds", "3", "--lams", "1e6", "0.5", "--json"]) == 0
    completed = json.loads(capsys.readouterr().out)["validation"]
    np.testing.assert_allclose(completed["errors"], chosen["errors"], rtol=1e-9)


def test_data_held_out_for_good_judge_what_folds_have_chosen(tmp_path, capsys):
    """Against soft thresholding of the filled matrix, repeated (Mazumder, Hastie and Tibshirani)."""
    data = ["--objective", "completion", ratings(tmp_path), "--test-fraction", "0.2", "--quiet"]
    command = ["path", *data, "--lam", "2", "1", "--folds", "3", "--center", "--tol", "1e-10"]
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    lam, found = document["path"]["best"], document["metrics"]
    task = read_task("completion", data[2], center=True, test_fraction=0.2)
    X = np.zeros(task.objective.shape)
    for _ in range(2000):
        X[task.objective.rows, task.objective.cols] = task.objective.values
        P, sigma, Qt = np.linalg.svd(X, full_matrices=False)
        X = (P * np.maximum(sigma - lam, 0.0)) @ Qt
    residuals = X[task.test.rows, task.test.cols] - task.test.values
    assert found["data"] == "test"
    assert found["after"]["rmse"] == pytest.approx(np.sqrt((residuals**2).mean()), rel=1e-4)
    assert found["before"]["rmse"] == pytest.approx(np.sqrt((task.test.values**2).mean()))
    assert main(command) == 0
    assert (
        f"test rmse: {found['before']['rmse']:.4g} before, {found['after']['rmse']:.4g} after"
        in capsys.readouterr().out
    )
    assert main(["path", *data, "--lam", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lam", "-1"], "--lam: expected"),
        (["--lam", "1", "--tol", "0"], "--tol: expected"),
        (["--lam", "1", "--folds", "1"], "--folds: expected"),
        (["--lam", "1", "--folds", "99"], "--folds: expected at most one a sample"),
    ],
)
def test_wrong_options_are_called_by_their_names(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    assert main(["path", "--objective", "completion", "ratings.csv", *options]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve path: {message}")
    if "--folds" in options:
        options = ["--lams", *options[1:]]
    assert main(["complete", "ratings.csv", *options]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve complete: {message}")


@pytest.mark.parametrize("folds", [[], ["--folds", "2"]])
def test_a_path_says_where_its_tolerance_is_not_reached(tmp_path, monkeypatch, capsys, folds):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = [f"{i},{j},{value}" for (i, j), value in np.ndenumerate(rng.standard_normal((6, 5)))]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    command = ["path", "--objective", "completion", "ratings.csv", "--lam", "0.5", "0.25", *folds, "--tol"]
    assert main([*command, "1e-30"]) == 0
    assert "\n\na relative gap of 1e-30 is not reached at lam = 0.25, 0.5\n" in capsys.readouterr().out
    assert main([*command, "1e-3"]) == 0
    assert "not reached" not in capsys.readouterr().out


def test_errors_are_called_what_they_are():
    """A mean loss on held-out data is no root mean square, whatever is trained on."""
    T = np.random.default_rng(0).standard_normal((30, 25))
    found = ls.cross_validate(ls.Problem(planted(), 2, 1.0), [1e6], held_out=Denoising(T))
    assert found.error_name == "held-out loss" and found.errors[0, 0] == pytest.approx(0.5 * (T**2).sum())


def test_the_recommended_rank_is_that_of_the_optimum():
    for lam, rank in ((0.4, 4), (1.0, 3), (2.5, 2), (4.0, 1)):
        choice = ls.recommend_rank(denoising().replace(lam=lam))
        assert (choice.at_least, choice.at_most, choice.rank, choice.lam) == (rank, rank, rank, lam)
        assert f"rank {rank} at lam = {lam:g}" in str(choice) and str(choice.level) == "RIGOROUS"
    zero = ls.recommend_rank(denoising().replace(lam=9.0))
    assert (zero.at_most, zero.rank) == (0, 1)


def test_the_gap_is_made_smaller_while_that_narrows_the_interval_of_the_rank():
    """A gap of half the range leaves 3 or more; that of another route to 1e-8 leaves no doubt about 6."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((8, 40)) / np.sqrt(40)
    target = rng.standard_normal((10, 3)) @ rng.standard_normal((3, 8)) @ Z
    objective = LinearFineTuning(np.zeros((10, 8)), Z, target + 0.1 * rng.standard_normal((10, 40)))
    problem = ls.Problem(objective, 3, 0.004)
    rough = ls.solve_convex(problem, "factored", 0.9).certificate
    assert (rough.rank_at_least, rough.rank_at_most) == (3, None)
    choice = ls.recommend_rank(problem, 0.9)
    assert choice.at_least == choice.at_most == ls.solve_convex(problem, "prox", 1e-8).rank == 6


def test_a_recommended_rank_belongs_to_the_scale_that_another_rank_changes():
    """The optimum of denoising has as many columns as singular values above lam/s, here 5, 4, 3, 2, 1, 0.5."""
    objective = Denoising(np.diag([5.0, 4.0, 3.0, 2.0, 1.0, 0.5]))
    choice = ls.recommend_rank(ls.Problem(objective, 6, 2.5, "lora:alpha=6.0"))
    assert choice.rank == 3
    assert "at lam = 2.5 and s = 1 (which is 2 at that rank: change alpha with it)" in str(choice)
    # With the same alpha lam/s is 1.25, and four singular values are above; with alpha = 3 there are three again.
    for alpha, needed in ((6.0, 4), (3.0, 3)):
        problem = ls.Problem(objective, 3, 2.5, f"lora:alpha={alpha}")
        assert ls.solve_convex(problem).rank == needed
    assert "at lam = 2.5:" in str(ls.recommend_rank(problem))


@pytest.mark.parametrize("seed", range(3))
def test_a_bound_on_the_rank_is_kept_where_smaller_gaps_are_not_reached(seed):
    """Nothing bounds the rank of sensing from below, so that the gap is made smaller until precision ends."""
    rng = np.random.default_rng(seed)
    M, X = rng.standard_normal((900, 40, 40)), rng.standard_normal((40, 3)) @ rng.standard_normal((3, 40))
    problem = ls.Problem(MatrixSensing(M, np.tensordot(M, X, 2) + rng.standard_normal(900)), 4, 1.0)
    assert ls.solve_convex(problem, tol=1e-9).certificate.rank_at_most == 3
    choice = ls.recommend_rank(problem)
    assert (choice.at_least, choice.at_most, choice.upper_known) == (0, 3, True)


def test_what_is_said_of_the_ranks_of_several_optima_holds_for_each_of_them():
    found = ls.path(denoising(), [4.0, 1.0])
    assert [lam_path.rank_text([point]) for point in found.points] == ["1", "3"]
    assert lam_path.rank_text(found.points) == "1 to 3 (1 to 3 found)"


def test_a_rank_that_is_not_certified_is_called_found():
    class Mine:
        shape = (4, 3)
        convex, lower_bound = True, 0.0

        def value_and_grad(self, X):
            return 0.5 * float(((X - np.eye(4, 3) * 2) ** 2).sum()), X - np.eye(4, 3) * 2

    choice = ls.recommend_rank(ls.Problem(Mine(), 1, 0.5))
    assert choice.rank == 3 and not choice.upper_known and "rank 3 at lam = 0.5: found, not certified" in str(choice)
    # All singular values are 2.
    nothing = ls.recommend_rank(ls.Problem(Mine(), 1, 3.0))
    assert nothing.found == 0 and "rank 1 at lam = 3: X = 0 was found, not certified" in str(nothing)


def test_a_recommended_rank_is_not_below_the_one_proved():
    """The optimum has the singular values 1 and 1e-6, and 0 at the tie with lam, which leaves no bound from above."""
    choice = ls.recommend_rank(ls.Problem(Denoising(np.diag([2.0, 1.000001, 1.0])), 1, 1.0))
    assert (choice.at_least, choice.found, choice.upper_known) == (2, 1, False)
    assert choice.rank == 2
    assert str(choice).startswith("rank 2 at lam = 1: 1 found, not certified; the optimum has rank >= 2 (no bound from")


def test_no_rank_is_recommended_beside_a_frozen_factor():
    """Updates beside a frozen A are in its span: with columns (1, 0, 0) and (0, 1, 0) none is near diag(0, 0, 5)."""
    problem = ls.Problem(Denoising(np.diag([0.0, 0.0, 5.0])), 2, 1.0, "lora:frozen=A")
    with pytest.raises(ValueError, match=r"^problem: expected factors .* 'lora:frozen=A'$"):
        ls.recommend_rank(problem)
    assert ls.recommend_rank(problem.replace(adapter="lora")).rank == 1


def test_why_nothing_bounds_a_rank_is_said_as_it_is():
    """The smoothness of denoising is known, and its gap is as small as one likes."""
    single = denoising()
    several = ls.MultiProblem(Separable([single.objective] * 2), 1, 1.0)
    for problem, why in ((single.replace(lam=0.0), "without decay"), (several, "for one matrix only")):
        choice = ls.recommend_rank(problem)
        assert not choice.upper_known and why in str(choice) and "smoothness" not in str(choice)


# ---------------------------------------------------------------------- command line
def ratings(folder) -> str:
    objective = planted()
    lines = [f"{i},{j},{v!r}" for i, j, v in zip(objective.rows, objective.cols, objective.values.tolist())]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "ratings.csv")


def test_path_on_the_command_line(tmp_path, capsys):
    data = ["--objective", "completion", ratings(tmp_path), "--quiet"]
    assert main(["path", *data, "--lam", "6", "8", "10", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["path"]["points"]
    assert [point["lam"] for point in points] == [6.0, 8.0, 10.0]
    assert all(point["relative_gap"] <= 1e-6 for point in points)
    out = str(tmp_path / "curve")
    arguments = ["--test-fraction", "0.2", "--count", "5", "--tol", "1e-4", "--out", out, "--require-certificate"]
    assert main(["path", *data, *arguments]) == 0
    text = capsys.readouterr().out
    assert "least held-out rmse at lam = " in text and "best" in text
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "curve.json").read_text())["path"]["error"] == "held-out rmse"
    assert main(["path", *data, "--folds", "3", "--lam", "2", "4"]) == 0
    capsys.readouterr()
    tables = []
    for words in (["--lam", "4", "8"], ["--adapter", "lora:alpha=4", "--lam", "8", "16"]):
        assert main(["path", *data, "--rank", "2", "--folds", "3", "--tol", "1e-8", "--json", *words]) == 0
        tables.append(json.loads(capsys.readouterr().out)["path"])
    np.testing.assert_allclose(tables[1]["errors"], tables[0]["errors"], rtol=1e-5)
    assert tables[1]["best"] == 2.0 * tables[0]["best"]
    assert main(["path", *data, "--lam", "0.1", "0.2", "--count", "7"]) == 2
    assert "--count: is how many values are taken where --lam gives none" in capsys.readouterr().err
    for words in (["path", *data, "--lam"], ["complete", data[2], "--folds", "3", "--lams"]):
        assert main([*words, "0.5", "0.1", "0.1"]) == 2
        assert ": expected different values, got 0.1 twice" in capsys.readouterr().err
    assert main(["path", *data, "--lam", "0"]) == 2
    assert "lorasolve path: --lam: expected a finite number in (0, inf)" in capsys.readouterr().err


def test_ranks_are_labelled_by_whole_numbers():
    """Of an optimum whose rank goes from 1 to 2 along the path."""
    found = ls.path(denoising(), [4.5, 2.5], tol=1e-6)
    assert [point.rank for point in found.points] == [1, 2]
    (ax,) = path_command._drawn(found).axes
    low, high = ax.get_ylim()
    assert [tick for tick in ax.get_yticks() if low <= tick <= high] == [1.0, 2.0]


def test_a_log_of_folds_says_every_thirty_seconds_which_fit_is_at_work(monkeypatch, capsys):
    """Also where no fit takes as long as that: each report of a fit here takes four seconds."""
    ticks = itertools.count(0.0, 4.0)

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return next(ticks)

    monkeypatch.setattr(_progress, "time", Clock)
    problem = ls.Problem(planted(), 1, 1.0)
    ls.cross_validate(problem, [5.0, 4.0, 3.0], folds=4, progress=True)
    lines = capsys.readouterr().err.splitlines()
    begun = [re.match(r"value (\d) of 3, fold (\d) of 4: ", line) for line in lines]
    assert len([each for each in begun if each]) > 3
    places = [(int(each[1]), int(each[2])) for each in begun if each]
    assert places == sorted(places) and places[-1] == (3, 4)
    ls.path(problem, [5.0, 4.0, 3.0], progress=True)
    assert re.search(r"^value [123] of 3: \d+ %, F = ", capsys.readouterr().err, re.MULTILINE)


def test_an_interrupted_path_keeps_the_values_that_are_finished(tmp_path, capsys, monkeypatch):
    solve, left = lam_path.solve_convex, []

    def interrupted_in_the_end(*args, **options):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return solve(*args, **options)

    monkeypatch.setattr(lam_path, "solve_convex", interrupted_in_the_end)
    data = ["--objective", "completion", ratings(tmp_path), "--quiet", "--out", str(tmp_path / "curve")]
    held_out = [*data, "--test-fraction", "0.2"]
    for arguments in (data, held_out):
        left[:] = [1, 1]
        assert main(["path", *arguments, "--lam", "6", "9", "4", "8"]) == 3
        kept = json.loads((tmp_path / "curve.json").read_text())["path"]
        points = kept["paths"][0]["points"] if "paths" in kept else kept["points"]
        assert kept["interrupted"] and not kept["success"] and [point["lam"] for point in points] == [9.0, 8.0]
        (tmp_path / "curve.json").unlink()
    text = capsys.readouterr().out
    assert "interrupted after 2 values: least held-out rmse at lam = 8; " in text
    assert kept["lams"] == [9.0, 8.0] and len(kept["errors"]) == 2
    # As without the others.
    left[:] = [1, 1]
    assert main(["path", *held_out, "--lam", "9", "8"]) == 0
    whole = json.loads((tmp_path / "curve.json").read_text())["path"]
    assert whole["errors"] == kept["errors"] and whole["best"] == kept["best"]
    (tmp_path / "curve.json").unlink()
    for arguments in (data, held_out, [*data, "--folds", "3"]):
        left[:] = [1, 1] if "--folds" in arguments else []
        assert main(["path", *arguments, "--lam", "6", "9", "4", "8"]) == 130
        assert not (tmp_path / "curve.json").exists()


def test_study_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import lorasolve as ls\n\n\ndef problem(kappa):\n"
        "    return ls.Problem(ls.landscape.instances.sharp(2, 1, 3, 3, kappa), rank=2)\n"
    )
    (tmp_path / "grid.toml").write_text(
        '[problem]\npython = "mine.py:problem"\n[axes]\nkappa = {linspace = [2.0, 8.0, 2]}\n'
        'init = ["gaussian:std=0.5", "gaussian:std=2.0"]\nseed = {range = [2]}\n'
        '[run]\nmethod = "lbfgs"\nmeasure = ["verdict"]\nmax_iter = 300\n'
    )
    phase = ["--phase", "init", "kappa", "share of spurious ends", "--html", "phase.html"]
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial"]
    assert main([*command, "--quiet", "--csv", "runs.csv", *phase]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["kappa", "init", "runs", "failed", "converged", "fun", "nit", "verdict.kind"]
    assert len(table) == 5 and len((tmp_path / "runs.csv").read_text().splitlines()) == 9
    page = (tmp_path / "phase.html").read_text()
    assert "lorasolve study grid.toml --repeat kappa=2.0 init=gaussian:std=0.5 seed=0" in page
    assert main(["study", "--status", "runs", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["runs"], status["asked"], status["damaged"]) == (8, 8, [])
    stored = {str(r["run"]["cell"]): r["result"]["fun"] for r in ls.Runs.read("runs")}
    cell = {"kappa": 8.0, "init": "gaussian:std=2.0", "seed": 1}
    assert main(["study", "grid.toml", "--json", "--repeat", *(f"{k}={v}" for k, v in cell.items())]) == 0
    assert json.loads(capsys.readouterr().out)["fun"] == stored[str(cell)]
    for words, message in (
        (["study", "grid.toml"], "--store: expected a folder"),
        ([*command, "--array", "3"], "--array: applies to '--backend slurm' only"),
        ([*command, "--jobs", "2"], "--jobs: expected 1, as 'serial' is this process alone, got 2"),
        ([*command, "--threads", "0"], "--threads: expected an integer from 1"),
        (["study", "grid.toml", "--repeat", "kappa=3"], "--repeat: expected a value of the axis 'kappa' (2.0, 8.0), "),
        (["study", "grid.toml", "--repeat", "kappa=2", "kappa=8"], "expected one value on each axis, got kappa twice"),
        (["study", "none.toml", "--store", "runs"], "No such file"),
        (["study", "--status", "nowhere"], "is no store of runs"),
    ):
        assert main(words) == 2 and message in capsys.readouterr().err
    (tmp_path / "other.toml").write_text('[problem]\npython = "mine.py:problm"\n[axes]\nkappa = [2.0]\n')
    assert main(["study", "other.toml", "--store", "runs"]) == 2
    assert "mine.py defines no 'problm'. Did you mean 'problem'?" in capsys.readouterr().err
    (tmp_path / "grid.toml").write_text("[axes]\nlam = {geomspce = [1, 2, 3]}\n")
    assert main(command) == 2 and "grid.toml: axes: lam: expected a list or one of geomspace" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "lam", "rnk"], "--by: no axis is called 'rnk'. Did you mean 'rank'?"),
        (["--phase", "lam", "rnk", "mean of fun", "--html", "z.html"], "--phase: no axis is called 'rnk'."),
        (["--phase", "lam", "rank", "nope", "--html", "z.html"], "--phase: measure 'nope': expected"),
        (["--latex", "z.csv"], "--csv, --latex, --html: expected different files, got z.csv twice"),
        (["--latex", "./z.csv"], "--csv, --latex, --html: expected different files, got ./z.csv twice"),
    ],
)
def test_wrong_tables_are_refused_before_the_grid_is_run(tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nlam = [0.05, 0.1]\nrank = [2]\n[run]\nmax_iter = 3\n")
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial", "--csv", "z.csv", "--latex", "z.tex"]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.toml"]


def test_a_file_of_a_study_says_how_its_ratings_are_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.txt").write_text("stars|who|what\n3|a|x\n3|b|x\nNA|a|y\n3|b|y\n")
    problem = '[problem]\nobjective = "completion"\ndata = "ratings.txt"\nrank = 1\nlam = 1.0\n{}\n'
    form = "delimiter = '|'\ncolumns = ['who', 'what', 'stars']\n{}"
    grid = "[axes]\nseed = [0]\n[run]\nmethod = 'lbfgs'\n"

    def answer(text):
        (tmp_path / "grid.toml").write_text(problem.format(text) + grid)
        code = main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--json", "--quiet"])
        return code, *capsys.readouterr()

    code, out, _ = answer(form.format("skip_missing = true"))
    objective = MatrixCompletion([0, 1, 1], [0, 0, 1], [3.0, 3.0, 3.0], (2, 2))
    optimum = ls.solve_convex(ls.Problem(objective, 1, 1.0), tol=1e-10)
    assert code == 0 and json.loads(out)["rows"][0]["fun"] == pytest.approx(optimum.fun, rel=1e-6)
    code, _, err = answer(form.format(""))
    assert code == 2 and "ratings.txt, line 4: " in err and "skip_missing leaves such lines out" in err
    code, _, err = answer("delimiter = '\"'")
    assert code == 2 and "grid.toml: problem: delimiter: expected characters without quotes" in err
    code, _, err = answer("columns = 3")
    assert code == 2 and "grid.toml: problem: columns: expected" in err


def test_the_files_of_a_study_are_written_together(tmp_path, capsys, monkeypatch):
    """Only the runs tell that a measure has no value: no file is written without the page, and the answer printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nlam = [0.05, 0.1]\nrank = [2]\n[run]\nmax_iter = 3\n")
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial", "--csv", "z.csv", "--latex", "z.tex"]
    for measure, code in (("mean of none", 2), ("mean of fun", 0)):
        assert main([*command, "--phase", "lam", "rank", measure, "--html", "z.html"]) == code
        files = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("z."))
        assert files == ([] if code else ["z.csv", "z.html", "z.tex"])
        out, err = capsys.readouterr()
        assert [line.split()[:3] for line in out.splitlines()] == [
            ["lam", "rank", "runs"], ["0.05", "2", "1"], ["0.1", "2", "1"]
        ]  # fmt: skip
        assert ("written: z.csv, z.tex, z.html" if code == 0 else "--phase: 'mean of none' has no value") in err


def test_what_a_page_says_repeats_the_runs_that_it_shows(tmp_path, capsys, monkeypatch):
    """Of two studies in one store: that of a file, and one in Python with other settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(
        "[axes]\nlam = [0.05, 0.1]\nrank = [2]\n[run]\nmethod = 'lbfgs'\nmax_iter = 3\n"
    )
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]
    assert main([*command, "--phase", "lam", "rank", "mean of fun", "--html", "file.html"]) == 0
    task = digits_task()
    study = ls.Study(
        ls.Problem(task.objective, 2, 0.1),
        {"lam": [0.05, 0.1], "rank": [2]},
        "lbfgs",
        stop=ls.StoppingRule(max_iter=30),
    )
    study.run("runs", "serial").phase("lam", "rank", "mean of fun", html="python.html")

    def again(text):
        if text.startswith("study.repeat("):
            return eval(text, {"study": study}).fun
        capsys.readouterr()
        assert main([*shlex.split(text)[1:], "--json"]) == 0
        return json.loads(capsys.readouterr().out)["fun"]

    values = set()
    for name in ("file.html", "python.html"):
        text = (tmp_path / name).read_text()
        data = json.loads(re.search(r'application/json">(.*?)</script>', text, re.DOTALL).group(1))
        for (run,) in (cell["runs"] for cell in data["cells"][0]):
            assert again(run["repeat"]) == run["value"]
            values.add(run["value"])
    assert len(values) == 4


@pytest.mark.parametrize("span", ["range = [1, 8, 3]", "linspace = [1, 7, 3]", "geomspace = [1, 9, 3]"])
def test_spans_of_integers_are_integers_as_ranks_have_to_be(tmp_path, capsys, span):
    """Those of NumPy were floats, and every run failed."""
    (tmp_path / "grid.toml").write_text(f"[axes]\nrank = {{{span}}}\n[run]\nmax_iter = 2\n")
    command = ["study", str(tmp_path / "grid.toml"), "--store", str(tmp_path / "runs"), "--backend", "serial"]
    assert main([*command, "--quiet"]) == 0
    heads, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    ranks = ("1", "3", "9") if "geom" in span else ("1", "4", "7")
    assert [line[:3] for line in lines] == [[rank, "1", "0"] for rank in ranks]
    assert heads[:3] == ["rank", "runs", "failed"]


def test_the_home_directory_may_be_written_as_in_shells(tmp_path, monkeypatch):
    """Runs had gone to a folder called "~"."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 2, 0.5)
    ls.Study(problem, {"lam": [0.5]}, "lbfgs").run("~/runs", "serial").to_csv("~/runs.csv")
    write_arrays("~/data.npz", {"M": np.eye(3)})
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["data.npz", "runs", "runs.csv"]
    assert list((tmp_path / "here").iterdir()) == []
    assert len(ls.Runs.read("~/runs")) == 1 and read_arrays("~/data.npz").keys() == {"M"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes = []", "grid.toml: axes: expected a table"),
        ("problem = 3", "grid.toml: problem: expected a table"),
        ("[axes]\nlam = {range = [1000000000000]}", "axes: lam: range: expected at most 1000000 values"),
        ("[axes]\nlam = {range = [1, 1000000000000]}", "axes: lam: range: expected at most 1000000 values"),
        ("[axes]\nlam = {range = [1, 10, 1e-12]}", "axes: lam: range: expected at most 1000000 values"),
        ("[axes]\nlam = {linspace = [0.1, 1.0, 1e12]}", "axes: lam: linspace: expected at most 1000000 values"),
        ("[axes]\nlam = {range = 3}", "axes: lam: range: expected numbers in brackets"),
        ("[axes]\nlam = {range = [0, 1, 0]}", "axes: lam: range: NumPy takes no [0, 1, 0]"),
        ("[axes]\nlam = {geomspace = [1, 2]}", "axes: lam: geomspace: expected [first, last, how many], got [1, 2]"),
        ("[axes]\nlam = {linspace = [1, 2, 3, 0]}", "axes: lam: linspace: expected [first, last, how many], got [1, 2"),
        ("[axes]\nlam = {geomspace = [0, 1, 3]}", "axes: lam: geomspace: NumPy takes no [0, 1, 3]"),
        ("[axes]\nlam = {geomspace = [-1, 1, 3]}", "axes: lam: geomspace: NumPy takes no [-1, 1, 3]: invalid value"),
        ("[axes]\nlam = {linspace = [-1.7e308, 1.7e308, 3]}", "axes: lam: linspace: NumPy takes no [-1.7e+308, 1.7e"),
        (f"[axes]\nlam = {'[' * 3000}{']' * 3000}", "grid.toml: brackets are nested too deeply"),
        ("[axes]\nlam = {linspace = [0, inf, 3]}", "axes: lam: linspace: expected finite numbers, got [0, inf, 3]"),
        ("[axes]\nlam = [[1, 2]]", "axes: lam: expected numbers, texts and truth values, got [1, 2]"),
        ("[axes]\nlam = 0.1", "axes: lam: expected a list or one of geomspace, linspace, range, got 0.1"),
        ("[axes]\nlamb = [0.1]", "Did you mean 'lam'?"),
        ('[problem]\npython = "mine.py:problem"\n[axes]\nlam = [1.0]', "mine.py cannot be run: SystemExit: 0"),
        ("[problem]\npython = 3\n[axes]\nlam = [1.0]", "grid.toml: problem: python: expected a text, got 3"),
        ('[problem]\nobjective = "completion"\ndata = 3\n[axes]\nlam = [1.0]', "problem: data: expected a text, got 3"),
        ('[problem]\nobjective = "complet"\ndata = "r.csv"\n[axes]\nlam = [1.0]', "problem: objective: unknown"),
        ("[problem]\ncenter = true\n[axes]\nlam = [1.0]", "problem: expected objective and data, or for"),
        (
            '[problem]\nobjective = "completion"\ndata = "r.csv"\nsplit_seed = -1\n[axes]\nlam = [1.0]',
            "problem: split_seed: expected an integer >= 0, got -1",
        ),
        ("lam", "grid.toml: "),
        ("[problem]\nlam = 1.0\n[axes]\nlam = [0.1]", "grid.toml: problem: lam: is an axis too"),
        ('[axes]\nmethod = ["gd"]\n[run]\nmethod = "lbfgs"', "grid.toml: run: method: is an axis too"),
        # Of the user's own data a weight decay of 0 is one that has to be asked for.
        (
            '[problem]\nobjective = "completion"\ndata = "r.csv"\n[axes]\nrank = [1]',
            "problem: expected lam, a weight decay >= 0 (0 for none), here or as an axis",
        ),
    ],
)
def test_files_of_studies_that_say_what_there_is_not(tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    (tmp_path / "grid.toml").write_text(text)
    assert main(["study", "grid.toml", "--store", "runs"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("lams", "code"), [("[-1.0, '0.5']", 1), ("[-1.0, 0.5]", 0), ("[0.5]", 0)])
def test_a_study_whose_runs_all_failed_is_no_success(tmp_path, capsys, monkeypatch, lams, code):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0]))
    problem = '[problem]\nobjective = "denoising"\ndata = "d.npz"\n'
    (tmp_path / "grid.toml").write_text(f"{problem}[axes]\nlam = {lams}\n[run]\nmethod = 'lbfgs'\n")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]) == code
    assert main(["study", "--status", "runs"]) == 0


@pytest.mark.parametrize(
    ("steps", "diverged", "code"), [([1e3], 2, 1), ([1e3, 0.1], 2, 0), ([1e3, -1.0], 2, 1), ([0.1], 0, 0)]
)
def test_a_study_whose_runs_all_diverged_is_no_success(tmp_path, capsys, monkeypatch, steps, diverged, code):
    """Above 2/smoothness gradient descent leaves every neighbourhood of a minimum; a negative step is refused."""
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0]))
    methods = [f"gd:step_size={step}" for step in steps]
    text = f'[problem]\nobjective = "denoising"\ndata = "d.npz"\nrank = 1\nlam = 0.1\n[axes]\nmethod = {methods}\n'
    (tmp_path / "grid.toml").write_text(f"{text}seed = [0, 1]\n")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial"]) == code
    told = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    runs = 2 * len(steps)
    assert told == ([f"{diverged} of {runs} runs diverged: the iterates left the finite numbers"] if diverged else [])
    repeated = ["study", "grid.toml", "--repeat", f"method={methods[0]}", "seed=1"]
    assert main(repeated) == (1 if diverged else 0)


def test_files_of_studies_in_the_encodings_that_editors_write(tmp_path, capsys, monkeypatch):
    """A mark of the encoding at the beginning, and Python in the one that its first line names."""
    monkeypatch.chdir(tmp_path)
    python = "# coding: latin-1\nimport lorasolve as ls, numpy as np\ndef problem(size):\n"
    python += "    return ls.Problem(ls.objectives.Denoising(np.eye(2) * {'klein': 1.0, 'groß': 2.0}[size]), 1, 0.5)\n"
    (tmp_path / "mine.py").write_text(python, encoding="latin-1")
    text = '[problem]\npython = "mine.py:problem"\n[axes]\nsize = ["klein", "groß"]\n[run]\nmethod = "lbfgs"\n'
    (tmp_path / "grid.toml").write_text(text, encoding="utf-8-sig")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    # One of two equal singular values c is soft-thresholded by 1/2: c^2/2 + 1/8 + (c - 1/2)/2.
    assert {row["size"]: row["fun"] for row in rows} == pytest.approx({"klein": 0.875, "groß": 2.875})


def test_a_run_is_repeated_by_its_key_and_held_against_the_one_that_is_kept(tmp_path, capsys, monkeypatch):
    """--store beside --repeat counted for nothing, as did --jobs; a key of the CSV named no run."""
    monkeypatch.chdir(tmp_path)
    text = (
        "[axes]\nlam = [0.05, {lam}]\nseed = {{range = [2]}}\n[run]\nmethod = 'gd:step_size=1e3'\nmax_iter = {most}\n"
    )
    (tmp_path / "grid.toml").write_text(text.format(lam=0.1, most=7).replace("gd:step_size=1e3", "lbfgs"))
    (tmp_path / "diverging.toml").write_text(text.format(lam=0.1, most=3000))
    before = get_threads()
    for grid in ("grid.toml", "diverging.toml"):
        command = ["study", grid, "--store", "runs", "--backend", "serial", "--threads", "1", "--csv", "r.csv"]
        assert main([*command, "--quiet"]) == (grid == "diverging.toml")
        with open("r.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        capsys.readouterr()
        for row in rows:
            code = main(["study", grid, "--repeat", row["key"][:12], "--store", "runs", "--json"])
            document = json.loads(capsys.readouterr().out)
            assert code == (grid == "diverging.toml")  # a run that diverged is none, and the same one all the same
            assert document["key"] == row["key"] and document["cell"]["seed"] == int(row["seed"])
            assert document["kept"] == {name: document[name] for name in ("fun", "grad_norm", "nit")}
            assert document["nit"] == int(row["nit"]) and document["fun"] == (float(row["fun"]) if row["fun"] else None)
    named = ["study", "grid.toml", "--repeat", "lam=0.1", "seed=1", "--store", "runs"]
    assert main(named) == 0 and "runs: the same to the last bit" in capsys.readouterr().out
    assert get_threads() == before
    for words, message in (
        (["--repeat", "ffffffff"], "--repeat: expected the key of one run, got ffffffff: no run of the study has it"),
        (["--repeat", rows[0]["key"]], "no run of the study has it"),  # it is of the other one
        (["--repeat", "lam=0.1", "seed=1", "--store", "none"], "--store: none is no store of runs"),
        (["--repeat", "lam=0.1", "seed=1", "--jobs", "2"], "--jobs: expected where a grid is run, got beside --repeat"),
    ):
        assert main(["study", "grid.toml", *words]) == 2 and message in capsys.readouterr().err
    repeat = ls.Study.repeat
    monkeypatch.setattr(ls.Study, "repeat", lambda study, **cell: replace(repeat(study, **cell), nit=8))
    assert main(named) == 1 and "7 iterations: not the same" in capsys.readouterr().out


OWN_PARTS = """
import numpy as np
import lorasolve as ls
from dataclasses import dataclass
from lorasolve.optimizers import Optimizer


@dataclass(frozen=True)
class Plain(Optimizer):
    step_size: float = 0.1
    name = "plain"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - self.step_size * grad


small = Plain(0.05)


def tenth():
    return Plain()


def size(problem, result):
    return float(np.linalg.norm(result.X))


def start(lam):
    return f"gaussian:std={lam}"
"""


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_files_of_studies_take_methods_starts_and_measures_of_files_of_python(tmp_path, capsys, monkeypatch, backend):
    """Runs are those of gd with the same steps; what is no name of the file is refused, and so is writing over it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own.py").write_text(OWN_PARTS)
    (tmp_path / "other.py").write_text("def entries(problem, result):\n    return result.X.size\n")
    np.savez("d.npz", M=np.diag([3.0, 2.0, 1.0]))
    text = '[problem]\nobjective = "denoising"\ndata = "d.npz"\nrank = 2\n[axes]\nlam = [0.5, 1.0]\n{axis}\n[run]\n'
    text += 'init = "own.py:start"\nmeasure = ["certify", "own.py:size", "other.py:entries"]\nmax_iter = 25\n{run}'
    command = ["study", "grid.toml", "--store", "runs", "--backend", backend, "--json", "--quiet"]

    def rows(axis="", run=""):
        (tmp_path / "grid.toml").write_text(text.format(axis=axis, run=run))
        assert main(command) == 0
        return json.loads(capsys.readouterr().out)["rows"]

    found = rows('method = ["own.py:small", "gd:step_size=0.05"]')
    assert {row["method"] for row in found} == {"own.py:small", "gd:step_size=0.05"}
    ends = [{row["lam"]: row["size"] for row in found if row["method"].startswith(name)} for name in ("own", "gd")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12) and len(found) == 4
    assert {row["entries"] for row in found} == {9} and all("certify.gap" in row for row in found)
    by_function, by_name = rows(run='method = "own.py:tenth"'), rows(run='method = "gd:step_size=0.1"')
    assert [row["fun"] for row in by_function] == pytest.approx([row["fun"] for row in by_name], rel=1e-12)
    (tmp_path / "own.py").write_text(OWN_PARTS.replace("linalg.norm(result.X)", "linalg.norm(result.X, 2)"))
    again = rows(run='method = "own.py:tenth"')  # another measure: other runs
    assert {row["key"] for row in again}.isdisjoint(row["key"] for row in by_function)
    for given, message in (
        (
            "own.py:Plain",
            "Optimizer or a function of axes, got the class Plain",
        ),
        ("own.py:smal", "run: method: own.py defines no 'smal'. Did you mean 'small'?"),
        ("own.py:size", "method: its argument 'problem' is no axis"),
        ("absent.py:small", "absent.py: No such file"),
    ):
        (tmp_path / "grid.toml").write_text(text.format(axis="", run=f'method = "{given}"'))
        assert main(command) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "grid.toml").write_text(text.format(axis="", run='method = "own.py:small"'))
    assert main([*command, "--csv", "other.py"]) == 2
    assert "--csv: expected another file than other.py, which is read" in capsys.readouterr().err


def test_a_file_of_python_imports_what_lies_beside_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "beside_for_test.py").write_text("rank = 2\n")
    (tmp_path / "grids" / "mine.py").write_text(
        "import numpy as np\nimport lorasolve as ls\nimport beside_for_test\n\n\ndef problem(lam):\n"
        "    return ls.Problem(ls.objectives.Denoising(np.eye(3)), beside_for_test.rank, lam)\n"
    )
    (tmp_path / "grids" / "grid.toml").write_text('[problem]\npython = "mine.py:problem"\n[axes]\nlam = [0.5]\n')
    command = [sys.executable, "-P", "-m", "lorasolve", "study", "grids/grid.toml", "--store", "runs", "--backend"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for backend in ("serial", "loky"):
        done = subprocess.run([*command, backend], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert [record["run"]["problem"]["ranks"] for record in ls.Runs.read("runs")] == [[2]]


def test_the_main_program_of_a_file_of_python_is_not_run(tmp_path, capsys, monkeypatch):
    """Its classes are those of a module, also where annotations are texts; workers get them with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport numpy as np\n"
        "import lorasolve as ls\n\n\n@dataclass\nclass Mine:\n    target: float\n    shape: tuple = (4, 3)\n"
        "    convex: bool = True\n    lower_bound: float = 0.0\n    smoothness: float = 1.0\n\n"
        "    def value_and_grad(self, X):\n"
        "        return 0.5 * float(((X - self.target) ** 2).sum()), X - self.target\n\n\n"
        "def problem(target):\n    return ls.Problem(Mine(target), 1, 0.0)\n\n\n"
        "if __name__ == '__main__':\n    raise SystemExit('this is for those who run the file')\n"
    )
    (tmp_path / "grid.toml").write_text(
        '[problem]\npython = "mine.py:problem"\n[axes]\ntarget = [1.0, 2.0]\nseed = {range = [300]}\n'
        '[run]\nmethod = "lbfgs"\n'
    )
    digests = []
    for backend in ("serial", "loky"):
        command = ["study", "grid.toml", "--store", backend, "--backend", backend, "--threads", "1", "--jobs", "1"]
        assert main([*command, "--quiet"]) == 0
        runs = ls.Runs.read(backend)
        assert not runs.failed and max(record["result"]["fun"] for record in runs) < 1e-8
        digests.append(runs.digest())
    assert digests[0] == digests[1]
    assert len({name.rsplit("-", 2)[1] for name in runs.store.names()}) == 2  # the caller and a worker


def test_a_study_on_the_command_line_says_why_runs_failed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(
        "[axes]\nlam = [-1.0, 0.1]\nrank = [2, 99]\nseed = {range = [2]}\n[run]\nmax_iter = 3\n"
    )
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial"]) == 0
    remarks = capsys.readouterr().err
    main(["study", "--status", "runs"])
    main(["study", "--status", "runs", "--json"])
    text, _, document = capsys.readouterr().out.partition("{")
    found = json.loads("{" + document)["errors"]
    assert sorted(found.values()) == [2, 4] and sum(found.values()) == json.loads("{" + document)["ends"]["failed"]
    for error, count in found.items():
        assert f"{count} failed: {error}\n" in remarks and f"  {count} failed: {error}\n" in text
    assert any("lam: expected a finite number in [0, inf), got -1.0" in error for error in found)


def test_what_is_damaged_is_named_and_much_of_it_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nrank = [2]\nseed = {range = [14]}\n[run]\nmax_iter = 3\n")
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial"]
    assert main(command) == 0
    before = capsys.readouterr().out
    for shard in (tmp_path / "runs").glob("*.runs"):
        shard.write_bytes(shard.read_bytes().replace(b"\n", b"\r\n"))
    assert main(["study", "--status", "runs"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  damaged: ")]
    assert len(lines) == 11 and lines[-1] == "  damaged: 4 more lines"
    assert lines[0].endswith(".runs, line 1: its checksum is wrong")
    assert main(command) == 0
    out, remarks = capsys.readouterr()
    assert out == before and remarks.count("damaged: ") == 11


def test_errors_of_many_kinds_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(study_command, "_COUNTED_ERRORS", 7)

    def fail(cell):
        raise ValueError(f"number\n{cell['k']}")

    document = study_command.status(Calls("odd", fail, [{"k": k} for k in range(9)]).run(tmp_path, "serial"))
    lines = study_command._error_lines(document)
    assert len(document["errors"]) == 5 and lines[-1] == "4 failed with other errors"
    assert lines[0].startswith("1 failed: ValueError: number ") and "\n" not in lines[0]


def test_a_device_is_no_study(capsys):
    assert main(["study", "/dev/zero", "--store", "runs"]) == 2
    assert "/dev/zero: is not a regular file" in capsys.readouterr().err


def test_a_user_objective_from_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    W0, Z, Y = rng.standard_normal((4, 3)), rng.standard_normal((3, 20)), rng.standard_normal((4, 20))
    np.savez("data.npz", W0=W0, Z=Z, Y=Y)
    (tmp_path / "grid.toml").write_text(
        '[problem]\nobjective = "linear"\ndata = "data.npz"\n[axes]\nrank = [1, 2]\nlam = {geomspace = [0.1, 1.0, 2]}\n'
        '[run]\nmethod = "gd:step_size=0.1"\nmeasure = "certify"\nmax_iter = 50\n'
    )
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]) == 0
    for record in ls.Runs.read("runs"):
        cell = record["run"]["cell"]
        problem = ls.Problem(LinearFineTuning(W0, Z, Y), cell["rank"], cell["lam"])
        stop = ls.StoppingRule(max_iter=50)
        alone = ls.solve(problem, "gd:step_size=0.1", seed=record["run"]["random"], stop=stop)
        assert record["result"]["fun"] == pytest.approx(alone.fun, rel=1e-10)


@pytest.mark.parametrize(("setting", "value"), [("folds", None), ("folds", 1), ("seed", 1.5)])
def test_settings_of_cross_validation_are_checked_also_where_they_are_not_used(setting, value):
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 1, 0.1)
    with pytest.raises((TypeError, ValueError), match=f"{setting}: expected"):
        ls.cross_validate(problem, [0.1], held_out=problem.objective, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"), [("keep_parameters", 1), ("stop", 5), ("method", dict), ("measure", dict)]
)
def test_settings_of_a_study_are_checked_when_it_is_made(setting, value):
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 1, 0.1)
    with pytest.raises(TypeError, match=f"{setting}: expected"):
        ls.Study(problem, {"lam": [0.1, 0.2]}, **{setting: value})


@pytest.mark.parametrize(("given", "named"), [([], "--lam"), (["--count", "3"], "--count")])
def test_a_path_of_equal_ratings_names_what_can_be_given(tmp_path, monkeypatch, capsys, given, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same.csv").write_text("".join(f"{i},{j},3.7\n" for i in range(9) for j in range(i % 3, 7)))
    data = ["path", "--objective", "completion", "same.csv", "--center"]
    assert main([*data, *given]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve path: {named}: grad f(0) = 0, so X = 0 is optimal at every")
    assert main([*data, "--lam", "1", "2"]) == 0


def test_folds_of_a_loss_without_samples_name_the_keys_that_hold_data_out(tmp_path, monkeypatch, capsys):
    """An argument was named that the command line has not."""
    monkeypatch.chdir(tmp_path)
    M = np.diag([3.0, 2.0, 1.0])
    np.savez("alone.npz", M=M)
    np.savez("both.npz", M=M, M_test=M + 0.1)
    assert main(["path", "--objective", "denoising", "alone.npz", "--folds", "3"]) == 2
    assert "(in an archive: keys that end in '_test')" in capsys.readouterr().err
    assert main(["path", "--objective", "denoising", "both.npz", "--count", "3"]) == 0
    assert "held-out loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (["--status", "runs", "--csv", "runs.csv"], "--csv: expected where a grid is run, got beside --status"),
        (["--status", "runs", "--by", "lam", "--store", "runs"], "--store, --by: expected where a grid is run"),
        (["--status", "runs", "--retry-failed"], "--retry-failed: expected where a grid is run"),
        (
            ["grid.toml", "--repeat", "lam=1", "--latex", "t.tex"],
            "--latex: expected where a grid is run, got beside --r",
        ),
        (["grid.toml", "--store", "taken"], "--store: taken is no folder"),
        (["grid.toml", "--store", "runs", "--backend", "lokky"], "--backend: unknown executor 'lokky'"),
    ],
)
def test_options_of_a_study_that_would_do_nothing_are_refused(tmp_path, monkeypatch, capsys, asked, refused):
    """The exit code was 0, and the file that was asked for was not there."""
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0]))
    problem = '[problem]\nobjective = "denoising"\ndata = "d.npz"\n'
    (tmp_path / "grid.toml").write_text(f"{problem}[axes]\nlam = [1]\n[run]\nmethod = 'lbfgs'\n")
    (tmp_path / "taken").write_text("")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]) == 0
    there = sorted(tmp_path.rglob("*"))
    assert main(["study", *asked]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve study: {refused}")
    assert sorted(tmp_path.rglob("*")) == there
