"""The choice of lam by data that are held out."""

from __future__ import annotations

import itertools
import json
import statistics

import numpy as np
import pytest
from path_problems import denoising, planted, ratings

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.io import read_task
from lorasolve.objectives import Denoising, MatrixCompletion, MatrixSensing


def test_held_out_errors_of_the_zero_update_are_those_of_the_data():
    objective = planted()
    found = ls.cross_validate(ls.Problem(objective, 2, 1.0), [1e6, 2.0], folds=4, seed=3)
    parts = np.array_split(np.random.default_rng(3).permutation(objective.values.size), 4)
    expected = [np.sqrt((objective.values[np.sort(part)] ** 2).mean()) for part in parts]
    # The objective orders its entries, and so do the parts refer to that order.
    np.testing.assert_allclose(found.errors[0], expected, rtol=1e-12)
    assert found.best == 2.0 and found.error_name == "held-out rmse" and found.success


@pytest.mark.parametrize("folds", [2, 5])
def test_the_spread_of_folds_is_the_standard_error_of_their_mean(folds):
    """Of two it is half of how far they are apart."""
    found = ls.cross_validate(ls.Problem(planted(), 2, 1.0), [20.0, 2.0], folds=folds)
    for row, errors in zip(found.records(), found.errors.tolist()):
        expected = abs(errors[0] - errors[1]) / 2 if folds == 2 else statistics.stdev(errors) / folds**0.5
        assert row["standard_error"] == pytest.approx(expected, rel=1e-12, abs=0.0)


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


@pytest.mark.parametrize(("setting", "value"), [("folds", None), ("folds", 1), ("seed", 1.5)])
def test_settings_of_cross_validation_are_checked_also_where_they_are_not_used(setting, value):
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 1, 0.1)
    with pytest.raises((TypeError, ValueError), match=f"{setting}: expected"):
        ls.cross_validate(problem, [0.1], held_out=problem.objective, **{setting: value})


@pytest.mark.parametrize("command", ["path --objective completion {} --lam", "complete {} --lams"])
def test_errors_of_finished_values_are_told_where_folds_are_interrupted(command, tmp_path, monkeypatch, capsys):
    """They may have taken hours, and were lost; those of a value that only some folds have finished say nothing."""
    from lorasolve.studies import validation

    file, name, tol = ratings(tmp_path), command.split()[0], 1e-6
    argv = [*command.format(file).split(), "12", "8", "6", "--folds", "3", "--tol", str(tol), "--quiet"]
    observed = read_task("completion", file).objective
    means = "none" if name == "path" else "global"
    found = ls.cross_validate(ls.Problem(observed, 2, 1.0), [12.0, 8.0], folds=3, tol=tol, means=means)
    first, second = (f"{error:.6g}" for error in found.errors.mean(axis=1))
    whole = validation._error
    for finished, told in ((7, f"; held-out rmse at lam = 12: {first}, 8: {second}"), (2, "")):
        counted = itertools.count()

        def interrupted(*args, counted=counted, finished=finished):
            if next(counted) == finished:
                raise KeyboardInterrupt
            return whole(*args)

        monkeypatch.setattr(validation, "_error", interrupted)
        assert main(argv) == 130
        out, errors = capsys.readouterr()
        assert (out, errors) == ("", f"lorasolve {name}: interrupted{told}\n")
