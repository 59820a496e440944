"""Completion models against closed forms, and their files against what a reader may meet."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.io import Ratings, read_ratings
from lorasolve.models import CompletionModel, choose_completion, fit_completion


def everything(M):
    """All entries of a matrix, with text labels whose order is not that of the rows."""
    m, n = M.shape
    rows, cols = (part.ravel() for part in np.indices(M.shape))
    return Ratings(rows, cols, M.ravel(), np.array([f"u{i:02}" for i in range(m)]), np.arange(100, 100 + n))


def test_full_data_are_soft_thresholded() -> None:
    M = np.random.default_rng(0).standard_normal((7, 5)) + 3.0
    mean = M.mean()
    P, s, Qt = np.linalg.svd(M - mean, full_matrices=False)
    expected = mean + (P * np.maximum(s - 0.8, 0.0)) @ Qt
    ratings = everything(M)
    fitted = fit_completion(ratings, 0.8, tol=1e-10)
    model = fitted.model
    predicted = model.predict(model.row_labels[ratings.rows], model.col_labels[ratings.cols]).reshape(M.shape)
    np.testing.assert_allclose(predicted, expected, atol=1e-6)
    assert fitted.optimum.certificate.is_global


def test_means_are_averages_rows_first() -> None:
    ratings = Ratings(
        np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), np.array([1.0, 2.0, 4.0, 9.0]), np.arange(3), np.arange(2)
    )
    # A weight beyond the critical one leaves the means alone.
    model = fit_completion(ratings, 1e3, "both").model
    mean = 4.0
    effects = np.array([1.5 - mean, 0.0, 5.0])
    rest = ratings.values - mean - effects[ratings.rows]
    columns = [rest[0], rest[1:].mean()]
    assert model.rank == 0
    np.testing.assert_allclose(model.row_effects, effects)
    np.testing.assert_allclose(model.col_effects, columns)
    # An unknown row has no effect, an unknown column neither.
    np.testing.assert_allclose(model.predict([77, 0, 77], [1, 88, 88]), [mean + columns[1], mean + effects[0], mean])


@pytest.mark.parametrize("rating", ["3", "3.7", "0.1"])
def test_equal_ratings_leave_nothing_to_complete(tmp_path, monkeypatch, capsys, rating) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same.csv").write_text("".join(f"{i},{j},{rating}\n" for i in range(9) for j in range(i % 3, 7)))
    assert main(["complete", "same.csv", "--json"]) == 0
    text, remarks = capsys.readouterr()
    assert "--lam not given: 1, and X = 0 is optimal at every one" in remarks
    found = json.loads(text)
    assert (found["rank"], found["training_rmse"]) == (0, 0.0)
    assert main(["complete", "same.csv", "--folds", "2"]) == 2
    assert capsys.readouterr().err.startswith("lorasolve complete: --folds: there is no lam to choose")
    assert main(["complete", "same.csv", "--folds", "2", "--lams", "2", "1"]) == 0


def test_what_rounding_leaves_of_entries_that_means_fit_is_no_data() -> None:
    # Sums of rows and columns in cents, which binary fractions only come near to; one row has many entries.
    row, col = np.arange(40) / 10, np.arange(3000) / 100
    seen = np.random.default_rng(0).random((40, 3000)) < 0.5
    seen[0] = True
    rows, cols = np.nonzero(seen)
    for means, values in (("rows", 0.7 + row[rows]), ("columns", 0.7 + col[cols])):
        fitted = fit_completion(Ratings(rows, cols, values, np.arange(40), np.arange(3000)), means=means)
        assert fitted.model.rank == 0 and fitted.model.lam == 1.0
    # What is smaller than an entry by twelve orders is data.
    small = Ratings(rows, cols, 1.0 + 1e-12 * row[rows], np.arange(40), np.arange(3000))
    assert fit_completion(small).model.rank == 1


@pytest.mark.parametrize("means", ["rows", "both"])
def test_fold_in_gives_training_rows_back(means) -> None:
    rng = np.random.default_rng(1)
    M = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 12)) + rng.standard_normal((20, 1))
    seen = rng.random(M.shape) < 0.6
    rows, cols = np.nonzero(seen)
    model = fit_completion(Ratings(rows, cols, M[seen], np.arange(20), np.arange(12)), 0.5, means, tol=1e-12).model
    effects, A = model.fold_in(np.where(seen, M, np.nan))
    np.testing.assert_allclose(effects, model.row_effects, atol=1e-12)
    np.testing.assert_allclose(A @ model.B.T, model.A @ model.B.T, atol=1e-5)


@pytest.mark.parametrize("means", ["none", "global", "rows", "columns", "both"])
def test_rows_given_again_are_as_the_optimum_has_them_and_others_stay(means) -> None:
    """At the optimum each row of A minimises the problem for the given B; labels may come as texts."""
    rng = np.random.default_rng(2)
    M = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 12)) + rng.standard_normal((20, 1))
    rows, cols = np.nonzero(rng.random(M.shape) < 0.6)
    model = fit_completion(
        Ratings(rows, cols, M[rows, cols], np.arange(20), np.arange(12)), 0.5, means, tol=1e-12
    ).model
    again = np.isin(rows, (3, 15, 7))
    given = Ratings.from_labels(rows[again].astype(str), cols[again], M[rows, cols][again])
    found = model.with_rows(given)
    everywhere = np.repeat(np.arange(20), 12), np.tile(np.arange(12), 20)
    np.testing.assert_allclose(found.predict(*everywhere), model.predict(*everywhere), atol=1e-5)
    others = ~np.isin(np.arange(20), (3, 15, 7))
    np.testing.assert_array_equal(found.A[others], model.A[others])
    np.testing.assert_array_equal(found.row_labels, model.row_labels)


def test_a_new_row_is_the_ridge_regression_on_the_columns_that_the_model_knows(tmp_path) -> None:
    """Solved as least squares with the penalty below; what was rated is left out of the best by the caller."""
    rng = np.random.default_rng(3)
    values = rng.standard_normal((5, 4))
    model = fit_completion(everything(values), 0.3, "both").model
    # A column that nobody has rated before, between the others, and a row of it alone.
    ratings = Ratings.from_labels(["x", "x", "x", "b"], [103, 100, 7, 7], [2.0, -1.0, 50.0, 50.0])
    found = model.with_rows(ratings)
    assert found.row_labels.tolist() == ["b", *model.row_labels.tolist(), "x"]
    all_columns = np.arange(100, 104)
    effect = np.mean([2.0, -1.0]) - model.mean
    rest = np.array([2.0, -1.0]) - model.mean - effect - model.col_effects[[3, 0]]
    k = model.B.shape[1]
    stacked = np.vstack([model.B[[3, 0]], np.sqrt(model.lam) * np.eye(k)])
    row = np.linalg.lstsq(stacked, np.append(rest, np.zeros(k)), rcond=None)[0]
    expected = model.mean + effect + model.col_effects + model.B @ row
    np.testing.assert_allclose(found.predict(["x"] * 4, all_columns), expected, rtol=1e-10)
    np.testing.assert_allclose(found.predict(["b"] * 4, all_columns), model.mean + model.col_effects, rtol=1e-14)
    known = ["u02"] * 4, all_columns
    np.testing.assert_array_equal(found.predict(*known), model.predict(*known))
    found.save(tmp_path / "model.npz")
    _, cols, _ = CompletionModel.load(tmp_path / "model.npz").best_columns(["x"], 1, without=(["x", "x"], [103, 100]))
    assert cols.tolist() == [101 + int(np.argmax(expected[[1, 2]]))]


def test_rows_that_cannot_stand_beside_those_of_the_data_are_refused() -> None:
    rows, cols = (part.ravel() for part in np.indices((3, 4)))
    model = fit_completion(Ratings(rows, cols, np.arange(12.0) % 5, np.arange(3), np.arange(4)), 0.5).model
    for given, message in (
        (np.ones((2, 4)), r"^ratings: expected a Ratings, got .*; Ratings\.from_labels"),
        (Ratings.from_labels(["x"], [1], [2.0]), r"^ratings\.row_labels: expected labels that .* \(int64\), got 'x'"),
        (Ratings.from_labels([0.5], [1], [2.0]), r"^ratings\.row_labels: expected labels that .* \(int64\), got 0\.5"),
        (
            Ratings(np.array([4]), np.array([0]), np.ones(1), np.arange(2), np.arange(2)),
            r"^ratings\.rows: expected int",
        ),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            model.with_rows(given)


def test_recommendations_for_new_rows_by_hand(tmp_path, monkeypatch, capsys) -> None:
    """With B = (1, 2, 0, -1) and lam = 1 a rating of 4 in the first column gives A = 4/(1 + 1) = 2."""
    monkeypatch.chdir(tmp_path)
    factors = {"A": np.array([[1.0], [3.0]]), "B": np.array([[1.0], [2.0], [0.0], [-1.0]])}
    effects = {"row_effects": np.zeros(2), "col_effects": np.zeros(4)}
    labels = {"row_labels": np.array(["a", "b"]), "col_labels": np.array([10, 20, 30, 40])}
    CompletionModel(**factors, **effects, **labels, mean=0.0, lam=1.0, means="none").save("m.npz")
    (tmp_path / "new.csv").write_text("user,item,stars\nnew,10,4\nnew,77,5\nb,20,5\n")
    (tmp_path / "seen.csv").write_text("user,item,stars\nnew,30,1\n7,30,1\n")
    assert main(["recommend", "m.npz", "--new", "new.csv"]) == 0
    out, err = capsys.readouterr()
    # Of b the newer rating alone counts: A = 2 * 5/(4 + 1) = 2.
    assert out == "row,column,prediction\nb,10,2\nb,30,0\nb,40,-2\nnew,20,4\nnew,30,0\nnew,40,-2\n"
    assert "1 of 3 new entries are of columns that were not in the data" in err
    assert main(["recommend", "m.npz", "--new", "new.csv", "--rows", "new", "a", "--without", "seen.csv"]) == 0
    out, err = capsys.readouterr()
    assert out == "row,column,prediction\nnew,20,4\nnew,40,-2\na,20,2\na,10,1\na,30,0\na,40,-1\n"
    assert "1 of 2 entries to leave out have a label that was not in the data" in err


def later_ratings() -> tuple[Ratings, Ratings]:
    """Ratings and later ones, of which some have a row, a column or both that were not there before."""
    rng = np.random.default_rng(4)
    M = rng.standard_normal((25, 2)) @ rng.standard_normal((2, 14)) + rng.standard_normal((25, 1))
    rows, cols = np.nonzero(rng.random(M.shape) < 0.7)
    order = rng.permutation(rows.size)
    values = (M + 0.5 * rng.standard_normal(M.shape))[rows, cols]
    early = order[:160][(rows[order[:160]] > 1) & (cols[order[:160]] != 3)]
    late = order[160:]
    names = np.array([f"u{k:02}" for k in range(25)])
    return tuple(Ratings.from_labels(names[rows[part]], cols[part], values[part]) for part in (early, late))


@pytest.mark.parametrize("means", ["none", "both"])
def test_lam_is_chosen_by_the_error_on_later_ratings(means) -> None:
    """As by fits at each lam and their predictions, where both labels were there before."""
    early, late = later_ratings()
    rows, cols = late.row_labels[late.rows], late.col_labels[late.cols]
    known = np.isin(rows, early.row_labels) & np.isin(cols, early.col_labels)
    assert 0 < known.sum() < known.size
    lams = [8.0, 4.0, 2.0, 1.0, 0.5]
    expected = []
    for lam in lams:
        model = fit_completion(early, lam, means, tol=1e-10).model
        expected.append(np.sqrt(np.mean((model.predict(rows, cols) - late.values)[known] ** 2)))
    fitted, found = choose_completion(early, lams, means, tol=1e-10, held_out=late)
    np.testing.assert_allclose(found.errors[:, 0], expected, rtol=1e-4)
    assert found.best == fitted.model.lam == lams[int(np.argmin(expected))]
    # The fit is that of the earlier ratings alone.
    alone = fit_completion(early, found.best, means, tol=1e-10).model
    np.testing.assert_allclose(fitted.model.predict(rows, cols), alone.predict(rows, cols), atol=1e-3)


def test_the_command_chooses_by_later_ratings(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    early, late = later_ratings()
    for name, part in (("early", early), ("late", late)):
        lines = zip(part.row_labels[part.rows], part.col_labels[part.cols], part.values.tolist())
        (tmp_path / f"{name}.csv").write_text("".join(f"{i},{j},{value!r}\n" for i, j, value in lines))
    _, found = choose_completion(early, [4.0, 2.0, 1.0], "both", held_out=late)
    command = ["complete", "early.csv", "--means", "both", "--held-out", "late.csv"]
    assert main([*command, "--lams", "4", "2", "1", "--json"]) == 0
    text, err = capsys.readouterr()
    document = json.loads(text)
    assert document["lam"] == found.best and document["test"] is None
    np.testing.assert_allclose(np.ravel(document["validation"]["errors"]), found.errors.ravel(), rtol=1e-12)
    count = np.isin(late.row_labels[late.rows], early.row_labels) & np.isin(
        late.col_labels[late.cols], early.col_labels
    )
    assert f"{(~count).sum()} of {count.size} held-out entries have a label that was not in the data" in err
    for wrong, told in (
        (["--folds", "3"], "--held-out: the ratings there choose lam in place of --folds"),
        (["--lam", "3"], "--lam: --held-out FILE chooses it"),
        (["--out", "late.csv"], "--out: expected another file than late.csv"),
    ):
        assert main([*command, *wrong]) == 2
        assert capsys.readouterr().err.startswith(f"lorasolve complete: {told}")
    (tmp_path / "late.csv").write_text("v,1,3\n")
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("lorasolve complete: --held-out: expected entries with labels of ratings")


def test_the_range_that_is_asked_for_is_that_of_the_model(tmp_path, monkeypatch, capsys) -> None:
    """Of ratings 1 and 5, to which predictions come near."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("a,p,5\na,q,5\nb,p,5\nb,r,1\nc,q,1\nc,r,1\nc,p,1\na,r,5\n")
    (tmp_path / "all.csv").write_text("".join(f"{i},{j}\n" for i in "abc" for j in "pqr"))
    assert main(["complete", "r.csv", "--lam", "9", "--means", "both", "--clip", "2", "4", "--out", "m"]) == 0
    capsys.readouterr()
    assert CompletionModel.load("m.npz").clip == (2.0, 4.0)
    assert main(["predict", "m.npz", "all.csv"]) == 0
    found = [float(line.split(",")[2]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert (min(found), max(found)) == (2.0, 4.0)


def test_ten_columns_are_recommended_where_no_number_is_given(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    fit_completion(everything(np.arange(24.0).reshape(2, 12)), 0.5).model.save("m.npz")
    assert main(["recommend", "m.npz", "--rows", "u00"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 10


def test_rows_to_fold_in_are_checked_and_may_be_masked() -> None:
    values = np.arange(12.0).reshape(3, 4) % 5
    model = fit_completion(everything(values), 0.5, "both").model
    rows = np.array([[1.0, np.nan, 2.0, 0.0], [np.nan, 3.0, 1.0, 4.0]])
    masked = np.ma.masked_array(np.nan_to_num(rows, nan=1e6), np.isnan(rows))
    for given in (masked, rows.tolist(), np.asfortranarray(rows)):
        for found, expected in zip(model.fold_in(given), model.fold_in(rows)):
            np.testing.assert_array_equal(found, expected)
    for given, message in (
        (rows[:, :3], "values: expected 4 columns, as the data had, got 3"),
        (rows + 0j, "values: expected real numbers"),
        (rows[0], "values: expected 2 dimensions"),
        (np.full((1, 4), np.inf), "values: has infinite entries"),
        (None, "values: expected real numbers, got None"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            model.fold_in(given)


@pytest.mark.parametrize("means", ["global", "both"])
def test_positions_of_ratings_are_checked_before_they_are_counted(means) -> None:
    for rows in (np.array([0, 7]), np.array([0.0, 1.0]), np.array([0, -1])):
        with pytest.raises((ValueError, TypeError), match=r"ratings\.rows: expected integers"):
            fit_completion(Ratings(rows, np.array([0, 1]), np.ones(2), np.arange(2), np.arange(2)), 0.1, means)


@pytest.mark.parametrize("form", [list, np.asarray, tuple])
def test_ratings_of_labels_are_those_of_a_file(tmp_path, form) -> None:
    rng = np.random.default_rng(3)
    places = rng.permutation(60)[:30]
    rows, cols, values = [f"u{k // 6}" for k in places], [int(k % 6) for k in places], rng.integers(1, 6, 30) / 2
    path = tmp_path / "ratings.csv"
    path.write_text("".join(f"{i},{j},{v}\n" for i, j, v in zip(rows, cols, values)))
    read, made = read_ratings(path), Ratings.from_labels(form(rows), form(cols), form(values))
    for name in ("rows", "cols", "values", "row_labels", "col_labels"):
        np.testing.assert_array_equal(getattr(made, name), getattr(read, name))
    model = fit_completion(made, 0.5, "both").model
    np.testing.assert_array_equal(
        model.predict(rows, cols), fit_completion(read, 0.5, "both").model.predict(rows, cols)
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a"], ["b", "c"], [1.0, 2.0]), "rows, cols, values: expected three arrays of one length, got 1, 2 and 2"),
        ((["a", "a"], ["b", "b"], [1.0, 2.0]), "rows, cols, values: the entry of row 'a' and column 'b' is given more"),
        ((["a", None], ["b", "b"], [1.0, 2.0]), "rows: expected a row label for each entry, got None"),
        ((["a", 1], ["b", "b"], [1.0, 2.0]), "rows: expected row labels of one kind, got 'a' and 1"),
        ((["a", "b"], ["b", "b"], [1.0, np.nan]), "values: has non-finite entries, the first at [1]"),
        ((["a", "b"], ["b", "b"], ["x", "y"]), "values: expected real numbers, got an array of dtype <U1"),
        (([], [], []), "values: is empty"),
    ],
)
def test_columns_that_make_no_ratings_are_named(columns, message) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Ratings.from_labels(*columns)
    assert str(caught.value).startswith(message)


def test_a_table_in_place_of_ratings_is_told_how_to_make_them() -> None:
    """It was told that ratings are Ratings, which only a file or indices of one's own made."""
    for table in (np.ones((3, 3)), ([1, 2], [1, 2], [3.0, 4.0])):
        with pytest.raises(
            TypeError, match=r"^ratings: expected a Ratings, .*; Ratings\.from_labels\(rows, cols, values\)"
        ):
            fit_completion(table)


def test_default_lam_is_a_tenth_of_the_critical_one() -> None:
    M = np.random.default_rng(2).standard_normal((6, 4))
    model = fit_completion(everything(M), means="none").model
    assert model.lam == pytest.approx(0.1 * np.linalg.norm(M, 2))
    problem = ls.Problem(ls.objectives.MatrixCompletion.from_dense(M), 2, 1.0)
    assert problem.critical_lam() == pytest.approx(np.linalg.norm(M, 2))
    assert fit_completion(everything(np.full((3, 3), 2.0))).model.predict(["u00"], [100]) == pytest.approx(2.0)


def test_saved_models_predict_the_same(tmp_path) -> None:
    rng = np.random.default_rng(3)
    ratings = everything(rng.standard_normal((5, 4)))
    model = fit_completion(ratings, 0.3, "both", clip=(-1.0, 1.0)).model
    model.save(tmp_path / "model.npz")
    again = CompletionModel.load(tmp_path / "model.npz")
    pairs = (["u03", "u01", "nobody"], [101, 103, 101])
    assert again.predict(*pairs).tolist() == model.predict(*pairs).tolist()
    assert abs(again.predict(*pairs)).max() <= 1.0
    assert (again.clip, again.means, again.lam) == (model.clip, model.means, model.lam)


@pytest.mark.parametrize("form", [str, int, float, np.int64, np.str_, lambda i: 2**62 + i, "strings"])
def test_models_with_labels_that_are_objects_are_read_back(tmp_path, form) -> None:
    names = np.array([f"u{i}" for i in range(4)], dtype=np.dtypes.StringDType())
    if form != "strings":
        names = np.empty(4, dtype=object)
        names[:] = [form(i) for i in range(4)]
    plain = everything(np.random.default_rng(8).standard_normal((4, 4)))
    ratings = Ratings(plain.rows, plain.cols, plain.values, names, names)
    model = fit_completion(ratings, 0.1).model
    model.save(tmp_path / "model.npz")
    again = CompletionModel.load(tmp_path / "model.npz")
    expected = fit_completion(plain, 0.1).model.predict(plain.row_labels[plain.rows], plain.col_labels[plain.cols])
    for each in (model, again):
        np.testing.assert_array_equal(each.predict(names[plain.rows], names[plain.cols]), expected)
        np.testing.assert_array_equal(each.predict(list(names[plain.rows]), list(names[plain.cols])), expected)
    assert again.row_labels.dtype == model.row_labels.dtype and not model.row_labels.dtype.hasobject


@pytest.mark.parametrize("change", ["kind", "A", "clip", "row_effects", None])
def test_other_files_are_refused(tmp_path, change) -> None:
    path = tmp_path / "model.npz"
    fit_completion(everything(np.eye(3)), 0.3).model.save(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    if change is None:
        path.write_bytes(path.read_bytes()[:200])
    else:
        arrays[change] = np.zeros((1, 1)) if change != "kind" else np.array("other")
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"model\.npz"):
        CompletionModel.load(path)


def test_settings_out_of_range_are_named() -> None:
    ratings = everything(np.eye(3))
    for error, name, settings in [
        (ValueError, "means", {"means": "all"}),
        (ValueError, "clip", {"clip": (2.0, 1.0)}),
        (ValueError, "lam", {"lam": 0.0}),
        (TypeError, "lam", {"lam": "big"}),
    ]:
        with pytest.raises(error, match=f"^{name}"):
            fit_completion(ratings, **settings)
    model = fit_completion(ratings, 0.1).model
    with pytest.raises(ValueError, match="one length"):
        model.predict(["u00"], [100, 101])


def test_only_what_is_written_as_integers_are_is_an_integer_label() -> None:
    """The same distinction as in a ratings file, where 01 beside 1 makes all labels texts."""
    ratings = Ratings(*np.divmod(np.arange(12), 4), np.arange(12.0), np.array([-2, 1, 10]), np.arange(4))
    model = fit_completion(ratings, 0.1).model
    others = ["01", "+1", "1_0", "1.0", " 1", "\u0661", "-02", "-0", "9" * 30, "", "one"]
    assert model.knows_rows(["1", "10", "-2", *others]).tolist() == [True] * 3 + [False] * len(others)
    assert model.knows_rows([1, 2]).tolist() == [True, False]
    assert model.knows_rows([1.0, 1.5, np.nan, np.inf]).tolist() == [True, False, False, False]
    assert model.knows_rows([10**30, 10, None]).tolist() == [False, True, False]


NEAR = [0, 3, 2**53, 2**53 + 1, 2**53 + 2, 1234567890123456789, 1234567890123456790, 2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64, np.float32])
def test_labels_are_found_by_value_whatever_type_they_are_asked_for_in(dtype) -> None:
    """Python's own numbers are compared exactly, so that a dict of them says where each label is."""
    labels = np.unique(np.array(NEAR, dtype=dtype))
    m = len(labels)
    entries = Ratings(np.arange(m), np.zeros(m, dtype=int), np.arange(1.0, m + 1), labels, np.zeros(1))
    model = fit_completion(entries, 1e-6).model
    place = {label: k for k, label in enumerate(labels.tolist())}
    wanted = [*NEAR, 2**63, -1, 1, 2**64 - 1]
    asked = [wanted, [*wanted, 0.5], np.array(wanted, dtype=object), np.array(wanted, dtype=np.float64)]
    asked += [np.array([x for x in wanted if x < 2**63], dtype=np.int64), np.array(NEAR, dtype=np.uint64)]
    asked += [np.array([3, 1], dtype=np.int8), np.array([0.5, 3.0], dtype=np.float32)]
    for given in asked:
        values = given if isinstance(given, list) else given.tolist()
        assert model.knows_rows(given).tolist() == [value in place for value in values]
        expected = [place[value] + 1.0 if value in place else model.mean for value in values]
        np.testing.assert_allclose(model.predict(given, [0] * len(values)), expected, atol=1e-3)
    # Texts: exactly the integers written, or the floats that Python reads.
    texts = [*map(str, wanted), "3.0", "1e3", "1_0", "three", "nan"]
    if np.issubdtype(dtype, np.integer):
        expected = [value in place for value in wanted] + [False] * 5
    else:
        expected = [float(dtype(float(value))) in place for value in wanted] + [True] + [False] * 4
    assert model.knows_rows(texts).tolist() == expected


def test_labels_of_another_kind_are_converted_or_refused_by_name() -> None:
    def model(labels):
        count = len(labels)
        entries = Ratings(np.arange(count), np.arange(count), np.arange(1.0, count + 1), labels, np.arange(count))
        return fit_completion(entries, 0.1).model

    days = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2), datetime.date(2021, 12, 31)]
    for unit in ("D", "s", "ns"):
        dated = model(np.array(days, dtype=f"datetime64[{unit}]"))
        # One that is between two, one of which there is none, and one that the unit of nanoseconds does not hold.
        texts = [*map(str, days), "2020-01-02T00:00:00", "2020-01-01 00:00:00.5", "2020-13-01", "today", "9999-01-01"]
        known = [True] * 4 + [False] * 4
        assert dated.knows_rows(texts).tolist() == dated.knows_rows(np.array(texts)).tolist() == known
        moments = [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 1, 0, 0, 0, 1), None, 5]
        assert dated.knows_rows([*days, *moments]).tolist() == [True] * 4 + [False] * 3
        for other in ("D", "s", "us", "ns"):
            assert dated.knows_rows(np.array(days, dtype=f"datetime64[{other}]")).all()
        assert dated.knows_rows(np.array(["9999-01-01", "2020-01-02", "NaT"], "datetime64[s]")).tolist() == [0, 1, 0]
        with pytest.raises(TypeError, match=r"rows: expected labels of the kind in the data \(datetime64"):
            dated.predict(np.array([18262, 18263]), [0, 1])
    small = model(np.array([1, 2], dtype=np.int8))
    assert small.knows_rows(["1", "3000000000", "9" * 20]).tolist() == [True, False, False]
    floats = model(np.array([0.5, 2.0]))
    assert floats.knows_rows(np.array(["0.50", "2", "x"], dtype=object)).tolist() == [True, True, False]
    for numbers in (small, floats):
        with pytest.raises(TypeError, match="cols: expected labels of the kind in the data"):
            numbers.knows_cols(np.array(days, dtype="datetime64[ns]"))
    flags = model(np.array([False, True]))
    assert flags.knows_rows([True, False]).all() and flags.knows_rows(np.array([True])).all()
    with pytest.raises(TypeError, match=r"rows: expected labels of the kind in the data \(bool\)"):
        flags.predict(["True"], [0])


def test_dates_are_found_in_files(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[s]")
    ratings = Ratings(np.arange(3), np.zeros(3, dtype=int), np.array([1.0, 4.0, 2.0]), days, np.array(["x"]))
    fit_completion(ratings, 1e-6, "none", tol=1e-9).model.save("model.npz")
    (tmp_path / "pairs.csv").write_text("2020-01-02,x\n2020-01-01 00:00:00,x\n2020-01-04,x\n")
    assert main(["predict", "model.npz", "pairs.csv"]) == 0
    text, remarks = capsys.readouterr()
    predicted = [float(row["prediction"]) for row in csv.DictReader(io.StringIO(text))]
    np.testing.assert_allclose(predicted, [4.0, 1.0, 0.0], atol=1e-4)
    assert "1 of 3 pairs" in remarks


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_numbers_as_labels_are_found_in_files(tmp_path, monkeypatch, capsys, dtype) -> None:
    monkeypatch.chdir(tmp_path)
    ids = np.array([123456789012345678, 1234567890123456789, 1234567890123456999], dtype=dtype)
    rows, cols = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 2, 1, 2])
    values = np.array([5.0, 3.0, 4.0, 1.0, 2.0, 5.0])
    fit_completion(Ratings(rows, cols, values, ids, np.arange(3)), 1e-6, "none", tol=1e-9).model.save("model.npz")
    # As NumPy and pandas write numbers in csv.
    lines = [f"{label!r},{col}\n" for label, col in zip(ids[rows].tolist(), cols)]
    (tmp_path / "pairs.csv").write_text("".join(lines))
    assert main(["predict", "model.npz", "pairs.csv"]) == 0
    text, remarks = capsys.readouterr()
    predicted = [float(row["prediction"]) for row in csv.DictReader(io.StringIO(text))]
    np.testing.assert_allclose(predicted, values, atol=1e-4)
    assert "not in the data" not in remarks


def test_from_dense_takes_nan_and_masks_as_not_observed() -> None:
    M = np.array([[1.0, np.nan], [0.0, 4.0]])
    masked = np.ma.array([[1.0, 7.0], [0.0, 4.0]], mask=[[False, True], [False, False]])
    for given in (M, masked, M.tolist()):
        made = ls.objectives.MatrixCompletion.from_dense(given)
        assert list(zip(made.rows, made.cols, made.values)) == [(0, 0, 1.0), (1, 0, 0.0), (1, 1, 4.0)]
    with pytest.raises(ValueError, match="no observed entry"):
        ls.objectives.MatrixCompletion.from_dense([[np.nan]])
    for given in (M + 1j, masked + 1j):
        with pytest.raises(TypeError, match="M: expected real numbers, got an array of dtype complex128"):
            ls.objectives.MatrixCompletion.from_dense(given)
    for given in ([["1", "2"]], np.zeros((2, 2), "M8[s]"), np.zeros((2, 2), [("a", float)])):
        with pytest.raises(TypeError, match="M: expected real numbers"):
            ls.objectives.MatrixCompletion.from_dense(given)
    masked.data[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"M: has infinite entries, the first at \[0, 0\]"):
        ls.objectives.MatrixCompletion.from_dense(masked)
    with pytest.raises(ValueError, match="2 dimensions"):
        ls.objectives.MatrixCompletion.from_dense([1.0])
    with pytest.raises(ValueError, match="M: expected an array, got"):
        ls.objectives.MatrixCompletion.from_dense([[1.0, 2.0], [3.0]])
    for entry in ("a", {}):
        with pytest.raises(TypeError, match="M: expected real numbers"):
            ls.objectives.MatrixCompletion.from_dense([[1.0, entry]])
    hidden = np.ma.array([[np.inf, 1.0, np.nan]], mask=[[True, False, False]])
    assert ls.objectives.MatrixCompletion.from_dense(hidden).values.tolist() == [1.0]


def test_command_line_from_ratings_to_predictions(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    M = 3 + rng.standard_normal((8, 1)) @ rng.standard_normal((1, 6))
    seen = rng.random(M.shape) < 0.8
    lines = [f"user{i},{j},{float(M[i, j])!r}" for i, j in zip(*np.nonzero(seen))]
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "\n".join(lines))
    assert main(["complete", "--out", "model.npz", "--require-certificate", "--lam", "0.1", "ratings.csv"]) == 0
    text, remarks = capsys.readouterr()
    assert "global optimum: yes" in text
    assert "written: model.npz" in remarks
    i, j = (int(k[0]) for k in np.nonzero(~seen))
    (tmp_path / "pairs.csv").write_text(f"user,item\nuser{i},{j}\nnobody,{j}\n")
    assert main(["predict", "model.npz", "pairs.csv"]) == 0
    text, remarks = capsys.readouterr()
    assert text.startswith("user,item,prediction\n")
    rows = list(csv.DictReader(io.StringIO(text)))
    expected = CompletionModel.load("model.npz").predict([f"user{i}", "nobody"], [j, j])
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], expected, rtol=1e-9)
    assert float(rows[0]["prediction"]) == pytest.approx(M[i, j], abs=0.5)
    assert "1 of 2 pairs" in remarks
    assert main(["complete", "ratings.csv", "--lams", "2", "0.1", "--folds", "3"]) == 0
    text = capsys.readouterr().out
    assert "least held-out rmse at lam = 0.1" in text and "means global, lam = 0.1\n" in text
    assert main(["complete", "ratings.csv", "--means", "none"]) == 0
    least = np.linalg.norm(np.where(seen, M, 0.0), 2)
    assert f"--lam not given: {least / 10:.4g}, a tenth of" in capsys.readouterr().err
    (tmp_path / "small.csv").write_text("a,x,0.5\nb,y,0.25\n")  # whose critical weight is 0.5
    assert main(["complete", "small.csv", "--means", "none"]) == 0
    assert "--lam not given: 0.05, a tenth of" in capsys.readouterr().err
    # A tenth of nothing would be 0, which is no weight.
    (tmp_path / "same.csv").write_text("a,x,5\na,y,5\nb,x,5\n")
    assert main(["complete", "same.csv"]) == 0
    assert "--lam not given: 1, and X = 0 is optimal at every one, as the means fit" in capsys.readouterr().err
    # As the help says: 20 values below the critical one, from all folds and from ratings that are held out.
    (tmp_path / "first.csv").write_text("".join((tmp_path / "ratings.csv").read_text().splitlines(True)[:-9]))
    for choice in (["--folds", "2"], ["--held-out", "ratings.csv"]):
        assert main(["complete", "first.csv", "--means", "none", "--json", *choice]) == 0
        found = json.loads(capsys.readouterr().out)["validation"]
        values = found["lams"] + found["untried"]
        assert len(values) == len(set(values)) == 20 and max(values) <= least * (1 + 1e-12)
    for misplaced in (["--lams", "2", "0.1"], ["--lam", "2", "--folds", "3"]):
        assert main(["complete", "ratings.csv", *misplaced]) == 2
        assert re.search("--folds K (or --held-out FILE choose|chooses)", capsys.readouterr().err)
    assert main(["predict", "ratings.csv", "pairs.csv"]) == 2
    assert main(["predict", "model.npz", "model.npz"]) == 2


def _ties() -> CompletionModel:
    """A model whose predictions are 1, 5, 9, 5 in row a and -1, 3, 7, 3 in row b, in a range up to 5."""
    means = np.zeros((2, 1)), np.zeros((4, 1)), 2.0, np.array([1.0, -1.0]), np.array([-2.0, 2.0, 6.0, 2.0])
    return CompletionModel(*means, np.array(["a", "b"]), np.arange(4), 1.0, "both", (-9.0, 5.0))


def test_best_columns_are_those_of_all_predictions_sorted() -> None:
    rng = np.random.default_rng(5)
    model = CompletionModel(
        rng.standard_normal((6, 2)), rng.standard_normal((40, 2)), 3.0, rng.standard_normal(6),
        rng.standard_normal(40), np.arange(6), np.arange(100, 140), 1.0, "both",
    )  # fmt: skip
    asked = [4, 1]
    rows, cols, values = model.best_columns(asked, 7)
    full = np.array([model.predict(np.full(40, row), model.col_labels) for row in asked])
    np.testing.assert_array_equal(rows, np.repeat(asked, 7))
    np.testing.assert_array_equal(cols, model.col_labels[np.argsort(-full, axis=1)[:, :7]].ravel())
    np.testing.assert_allclose(values, -np.sort(-full, axis=1)[:, :7].ravel())


def test_best_columns_are_told_apart_beyond_the_range_and_equal_ones_come_in_order() -> None:
    rows, cols, values = _ties().best_columns(["b", "a"], 3)
    assert rows.tolist() == ["b"] * 3 + ["a"] * 3
    assert cols.tolist() == [2, 1, 3] * 2
    assert values.tolist() == [5.0, 3.0, 3.0, 5.0, 5.0, 5.0]


def test_best_columns_leave_out_what_is_named() -> None:
    seen = ["a", "a", "nobody", "b", "a"], [2, 0, 2, 7, 2]
    rows, cols, _ = _ties().best_columns(["a", "b"], 10, without=seen)
    assert list(zip(rows.tolist(), cols.tolist())) == [("a", 1), ("a", 3), ("b", 2), ("b", 1), ("b", 3), ("b", 0)]
    assert all(part.size == 0 for part in _ties().best_columns(["a"], without=(["a"] * 4, range(4))))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (["a", "c"], {}, "rows: expected labels of the data, got 'c'"),
        (["a"], {"count": 0}, "count: "),
        (["a"], {"without": (["a"], [1, 2])}, "without: expected two arrays of one length, got 1 and 2"),
    ],
    ids=["label", "count", "lengths"],
)
def test_best_columns_of_what_is_not_there_are_refused(rows, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        _ties().best_columns(rows, **options)


@pytest.mark.parametrize(
    "without", [[("a", 1), ("b", 2), ("a", 3)], {"who": ["a"], "what": [1]}, (["a"],)], ids=["pairs", "frame", "one"]
)
def test_pairs_and_frames_are_not_taken_for_arrays_of_labels(without) -> None:
    """Of pairs the first two, of a frame the names of its columns were two arrays, and nothing was left out."""
    with pytest.raises(TypeError, match=r"without: expected two arrays \(rows, cols\), got "):
        _ties().best_columns(["a"], without=without)


def test_what_to_write_of_ratings_is_left_out_of_the_best() -> None:
    r = Ratings.from_labels(["b", "a"], [1, 2], [3.0, 4.0])
    with pytest.raises(
        TypeError, match=r"^without: expected .*; of a Ratings r: r\.row_labels\[r\.rows\], r\.col"
    ) as told:
        _ties().best_columns(["a"], without=r)
    advice = str(told.value).rpartition(": ")[2]
    _, cols, _ = _ties().best_columns(["a", "b"], 3, without=eval(advice, {"r": r}))
    assert 2 not in cols[:3] and 1 not in cols[3:] and cols.size == 6


def test_a_row_that_is_not_there_is_met_with_what_is(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("anna,3,1\nanna,7,2\nbernd,3,3\n")
    (tmp_path / "turned.csv").write_text("3,anna,1\n7,anna,2\n3,bernd,3\n")
    for data, asked, message in (
        ("r.csv", "Anna", "got 'Anna'. Did you mean 'anna'?"),
        ("r.csv", "brend", "got 'brend'. Did you mean 'bernd'?"),
        ("r.csv", "x", "got 'x'."),
        ("turned.csv", "4", "got '4'. They go from 3 to 7."),
    ):
        assert main(["complete", data, "--out", "m.npz", "--quiet"]) == 0
        assert main(["recommend", "m.npz", "--rows", asked]) == 2
        assert capsys.readouterr().err == f"lorasolve recommend: --rows: expected labels of the data, {message}\n"


def test_a_format_without_its_file_is_refused(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("0;0;1\n0;1;2\n1;0;3\n")
    assert main(["complete", "r.csv", "--out", "m", "--quiet"]) == 0
    form = ["--delimiter", ";", "--skip-missing"]
    assert main(["recommend", "m.npz", *form]) == 2
    told = "--delimiter, --skip-missing: expected beside --without or --new, the file whose format it is"
    assert capsys.readouterr().err == f"lorasolve recommend: {told}\n"
    assert main(["recommend", "m.npz", *form, "--without", "r.csv"]) == 0


def test_the_error_on_ratings_that_are_not_fitted_is_told_beside_that_of_the_means(
    tmp_path, monkeypatch, capsys
) -> None:
    """Predictions and ratings were two files, to be held against each other by hand."""
    rng = np.random.default_rng(4)
    T = 3.0 + np.outer(rng.standard_normal(12), rng.standard_normal(9))
    lines = [f"{i},{j},{T[i, j]:.6f}\n" for i in range(12) for j in range(9) if rng.random() < 0.7]
    held_out = [*lines[::5], "99,3,2.5\n"]
    (tmp_path / "train.csv").write_text("".join(line for line in lines if line not in held_out))
    (tmp_path / "test.csv").write_text("".join(held_out))
    monkeypatch.chdir(tmp_path)
    command = ["complete", "train.csv", "--test", "test.csv", "--means", "both", "--lam", "0.3", "--out", "m"]
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)["test"]
    model, squares, squares_of_means = CompletionModel.load("m.npz"), [], []
    for line in held_out:
        row, col, value = line.split(",")
        i = [k for k, label in enumerate(model.row_labels) if label == int(row)]
        j = list(model.col_labels).index(int(col))
        means = model.mean + model.col_effects[j] + sum(model.row_effects[k] for k in i)
        update = sum(model.A[k] @ model.B[j] for k in i)
        squares_of_means.append((means - float(value)) ** 2)
        squares.append((means + update - float(value)) ** 2)
    assert told["rmse"] == pytest.approx(np.sqrt(np.mean(squares)))
    assert told["rmse_of_means"] == pytest.approx(np.sqrt(np.mean(squares_of_means)))
    assert told["entries"] == len(held_out) and told["unknown"] == 1 and told["rmse"] < 0.7 * told["rmse_of_means"]
    assert f"1 of {len(held_out)} test entries have a label that was not in the data" in err
    assert "which are fitted" not in err
    assert main(command) == 0
    line = f"test rmse {told['rmse']:.4g}, by means alone {told['rmse_of_means']:.4g}, {len(held_out)} entries"
    assert line in capsys.readouterr().out.splitlines()
    # Two of three lines, the pair (i, j) of the third being fitted as (j, i) alone.
    fitted = {tuple(line.split(",")[:2]) for line in (tmp_path / "train.csv").read_text().splitlines()}
    i, j = next((i, j) for i, j in sorted(fitted) if i != j and (j, i) not in fitted and int(j) < 12 and int(i) < 9)
    again = [",".join(pair) + ",1\n" for pair in sorted(fitted - {(i, j)})[:2]]
    (tmp_path / "again.csv").write_text("".join(again) + f"{j},{i},1\n")
    for called, choice in (("test", ["--lam", "1"]), ("held-out", ["--lams", "1"])):
        assert main(["complete", "train.csv", *choice, f"--{called}", "again.csv"]) == 0
        assert f"2 of 3 {called} entries are entries of the data too, which are fitted" in capsys.readouterr().err
    both = ["--held-out", "test.csv", "--lams", "1", "--test", "test.csv"]
    assert main(["complete", "train.csv", *both]) == 0
    told = f"{len(held_out)} of {len(held_out)} test entries are held-out entries too, which have chosen lam"
    assert told in (err := capsys.readouterr().err) and "which are fitted" not in err
    # Without it nothing is said of a test, and neither file is written over.
    assert main([*command[:2], *command[4:]]) == 0 and "test rmse" not in capsys.readouterr().out
    assert main([*command[:-1], "test.csv"]) == 2 and (tmp_path / "test.csv").read_text() == "".join(held_out)


def test_an_item_that_one_user_praised_leads_the_lists_of_all_only_where_means_of_columns_are_taken_off(
    tmp_path, monkeypatch, capsys
) -> None:
    """Means by hand: 3 in each row, item "odd" 2 above that by its one rating, "good" 0.8 by twenty."""
    rows = [f"u{k:02}" for k in range(20)]
    lines = [f"{row},good,{4 if k % 5 else 3}\n{row},bad,{2 if k % 5 else 3}\n" for k, row in enumerate(rows)]
    text = "".join(lines) + "u20,odd,5\nu20,bad,1\n"
    (tmp_path / "ratings.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    first = {}
    for means in ("both", "rows"):
        assert main(["complete", "ratings.csv", "--means", means, "--lam", "1", "--out", means]) == 0
        capsys.readouterr()
        assert main(["recommend", f"{means}.npz", "--rows", "u01", "--count", "1"]) == 0
        out, err = capsys.readouterr()
        first[means] = out.splitlines()[1].split(",")[1]
        assert ("columns of few ratings may lead" in err) == (means == "both")
    assert first == {"both": "odd", "rows": "good"}


def test_recommendations_leave_out_what_was_rated(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    _ties().save("model.npz")
    (tmp_path / "rated.txt").write_text("who;what;stars\na;2;5\nb;9;1\n")
    form = ["--delimiter", ";", "--columns", "who", "what", "stars"]
    assert main(["recommend", "model.npz", "--count", "2", "--without", "rated.txt", *form]) == 0
    told = capsys.readouterr()
    assert told.out == "row,column,prediction\na,1,5\na,3,5\nb,2,5\nb,1,3\n"
    assert "1 of 2 entries to leave out have a label that was not in the data" in told.err
    (tmp_path / "written.csv").write_text("who,what,stars\na,2.0,5\n")
    assert main(["recommend", "model.npz", "--without", "written.csv", "--columns", "who", "what", "stars"]) == 0
    assert "the column label '2.0' is '2' in the data" in capsys.readouterr().err
    assert main(["recommend", "model.npz", "--rows", "b", "--count", "1", "--out", "best.csv"]) == 0
    assert "written: best.csv, 1 predictions" in capsys.readouterr().err
    assert (tmp_path / "best.csv").read_text() == "row,column,prediction\nb,2,5\n"
    assert main(["recommend", "model.npz", "--rows", "c"]) == 2
    assert "--rows: expected labels of the data, got 'c'" in capsys.readouterr().err


def test_tables_are_headed_by_the_names_that_the_data_came_with(tmp_path, monkeypatch, capsys) -> None:
    """Tables of recommendations had the heads ``row,column`` whatever the data called them."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{stars};k{user};{article}" for user in range(4) for article in range(3) for stars in [user + article]]
    (tmp_path / "r.csv").write_text("\n".join(["Sterne;Käufer;Artikel Nr", *lines]), encoding="utf-8")
    form = ["--delimiter", ";", "--columns", "käufer", "Artikel Nr", "Sterne"]
    assert main(["complete", "r.csv", *form, "--out", "m.npz", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["recommend", "m.npz", "--rows", "k0", "--count", "1"]) == 0
    assert capsys.readouterr().out.startswith("Käufer,Artikel Nr,prediction\nk0,2,")
    # Names of the data are a header of pairs, and none that have no header change what they are called.
    for number, text in enumerate(("k0,2\n", "Käufer,Artikel Nr\nk0,2\n")):
        (tmp_path / "pairs.csv").write_text(text, encoding="utf-8")
        assert main(["predict", "m.npz", "pairs.csv"]) == 0
        out, err = capsys.readouterr()
        assert out.splitlines()[0] == "Käufer,Artikel Nr,prediction" and len(out.splitlines()) == 2
        assert ("is taken for a header, as the data call rows and columns so" in err) == bool(number)


def test_names_come_from_data_frames_and_are_none_in_models_of_before(tmp_path) -> None:
    class Series(np.ndarray):
        """A column of a data frame: an array with a name."""

    rows, cols = (np.array([0, 0, 1]).view(Series), np.array([0, 1, 0]).view(Series))
    rows.name, cols.name = "customer", 7
    assert Ratings.from_labels(rows, cols, [1.0, 2.0, 3.0]).names == ("customer", "column")
    model = fit_completion(Ratings.from_labels(rows, cols, [1.0, 2.0, 3.0])).model
    model.save(tmp_path / "m.npz")
    assert CompletionModel.load(tmp_path / "m.npz").names == ("customer", "column")
    with np.load(tmp_path / "m.npz") as arrays:
        np.savez(tmp_path / "old.npz", **{key: value for key, value in arrays.items() if key != "names"})
    assert CompletionModel.load(tmp_path / "old.npz").names == ("row", "column")
    with pytest.raises(TypeError, match="names: expected the names of rows and columns, two texts, got 'ab'"):
        dataclasses.replace(model, names="ab")


def test_the_same_data_in_another_format_give_the_same_predictions(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    entries = [(i, j, 1.5 + (i * j) % 3) for i in range(6) for j in range(5) if (i + j) % 4]
    (tmp_path / "a.csv").write_text("".join(f"{i},{j},{v}\n" for i, j, v in entries))
    german = "".join(f"x;{j};{str(v).replace('.', ',')};{i}\n" for i, j, v in entries)
    (tmp_path / "b.txt").write_text("d;artikel;note;kunde\n" + german + "x;1;;2\n")
    form = ["--delimiter", ";", "--columns", "kunde", "artikel", "note", "--skip-missing"]
    (tmp_path / "pairs.txt").write_text("artikel;kunde\n4;0\n0;0\n")
    (tmp_path / "pairs.csv").write_text("0,4\n0,0\n")
    assert main(["complete", "a.csv", "--lam", "0.2", "--out", "a.npz"]) == 0
    assert main(["complete", "b.txt", *form, "--lam", "0.2", "--out", "b.npz"]) == 0
    assert "lines without a value, left out: 1" in capsys.readouterr().err
    assert main(["predict", "a.npz", "pairs.csv"]) == 0
    first = capsys.readouterr().out
    assert main(["predict", "b.npz", "pairs.txt", *form[:2], "--columns", "kunde", "artikel"]) == 0
    second = capsys.readouterr().out
    assert first.startswith("row,column,") and second.startswith("kunde,artikel,")
    assert first.splitlines()[1:] == second.splitlines()[1:]
    solve = ["solve", "--objective", "completion", "b.txt", *form, "--rank", "2", "--lam", "0.2", "--method", "als"]
    assert main(solve) == 0
    assert "1 without a value skipped" in capsys.readouterr().out
    assert main(["solve", "--delimiter", ";"]) == 2
    assert "expected with '--objective completion" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["coordinate", "array"])
def test_indices_of_a_matrix_market_file_are_its_labels(tmp_path, monkeypatch, capsys, kind) -> None:
    monkeypatch.chdir(tmp_path)
    dense = 3.0 + np.random.default_rng(6).standard_normal((5, 4))
    # Both kinds are written out by hand, column by column and counted from 1.
    places = [(i, j) for j in range(1, 5) for i in range(1, 6)]
    prefix = (lambda i, j: f"{i} {j} ") if kind == "coordinate" else (lambda i, j: "")
    size = "5 4 20" if kind == "coordinate" else "5 4"
    lines = [f"{prefix(i, j)}{float(dense[i - 1, j - 1])!r}" for i, j in places]
    (tmp_path / "m.mtx").write_text("\n".join([f"%%MatrixMarket matrix {kind} real general", size, *lines, ""]))
    assert main(["complete", "m.mtx", "--lam", "1e-6", "--tol", "1e-8", "--out", "model.npz"]) == 0
    (tmp_path / "pairs.csv").write_text("".join(f"{i},{j}\n" for i, j in places))
    capsys.readouterr()
    assert main(["predict", "model.npz", "pairs.csv"]) == 0
    text, remarks = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(int(row["row"]), int(row["column"])) for row in rows] == places
    predicted = [float(row["prediction"]) for row in rows]
    np.testing.assert_allclose(predicted, [dense[i - 1, j - 1] for i, j in places], atol=1e-4)
    assert "not in the data" not in remarks


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", np.array([["a"]])),
        ("B", np.array([[np.nan]])),
        ("mean", np.array("abc")),
        ("means", np.array("none such")),
    ],
)
def test_a_damaged_model_is_refused_by_the_name_of_its_file(tmp_path, name, value):
    (tmp_path / "r.csv").write_text("1,a,2\n2,a,3\n1,b,4\n")
    path = tmp_path / "model.npz"
    fit_completion(ls.io.read_ratings(tmp_path / "r.csv")).model.save(path)
    with np.load(path) as whole:
        arrays = dict(whole)
    np.savez(path, **(arrays | {name: value}))
    with pytest.raises(ValueError, match=r"model\.npz: the model is incomplete or damaged"):
        CompletionModel.load(path)


def test_what_are_no_ratings_is_refused():
    with pytest.raises(TypeError, match="ratings: expected a Ratings"):
        fit_completion(1)


@pytest.mark.parametrize("means", ["none", "global", "both"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_where_it_stands(means, wrong) -> None:
    values = np.array([1.0, 2.0, 3.0, wrong])
    ratings = Ratings(*np.divmod(np.arange(4), 2), values, np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match=r"ratings\.values: has non-finite entries, the first at \[3\]"):
        fit_completion(ratings, 0.1, means)


def test_values_are_real_numbers_in_any_form() -> None:
    def fitted(values):
        return fit_completion(Ratings(*np.divmod(np.arange(4), 2), values, np.arange(2), np.arange(2)), 0.1).model

    expected = fitted(np.array([1.0, 2.0, 3.0, 5.0])).A
    for values in ([1, 2, 3, 5], (1.0, 2.0, 3.0, 5.0), np.array([1, 2, 3, 5], dtype=np.float32)):
        np.testing.assert_array_equal(fitted(values).A, expected)
    for values in (np.array([1, 2, 3, 5 + 1j]), np.array(["1", "2", "3", "5"]), np.array([1, 2, 3, 5], dtype=object)):
        with pytest.raises(TypeError, match=r"ratings\.values: expected real numbers"):
            fitted(values)


def test_labels_in_another_order_are_refused_rather_than_not_found(tmp_path) -> None:
    rows, cols = np.divmod(np.arange(12), 4)
    for labels, message in [
        (np.array(["9", "10", "11"]), "'9' before '10'"),
        (np.array([3, 3, 4]), "3 before 3"),
        (np.array([9, 10, 2**63], dtype=object), "'9' before '10'"),
    ]:
        with pytest.raises(ValueError, match=f"ratings.row_labels: .*ascending order, got {message}"):
            fit_completion(Ratings(rows, cols, np.arange(12.0), labels, np.arange(4)), 0.1)
    for labels in (np.array([0.0, 1.0, np.nan]), np.array(["a", "b", None], dtype=object)):
        with pytest.raises(ValueError, match=r"ratings.row_labels: expected a row label .*, got (nan|None)"):
            fit_completion(Ratings(rows, cols, np.arange(12.0), labels, np.arange(4)), 0.1)
    with pytest.raises(ValueError, match=r"ratings.row_labels: expected row labels of one kind, got 3 and 'b'"):
        fit_completion(Ratings(rows, cols, np.arange(12.0), np.array([1, "b", 3], dtype=object), np.arange(4)), 0.1)
    with pytest.raises(ValueError, match=r"ratings.col_labels: expected an array of labels"):
        fit_completion(Ratings(rows, cols, np.arange(12.0), np.arange(3), np.eye(4)), 0.1)
    fit_completion(everything(np.eye(3)), 0.3).model.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as whole:
        arrays = dict(whole) | {"col_labels": np.array([3, 1, 2])}
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(ValueError, match=r"model\.npz: .*col_labels: expected distinct labels"):
        CompletionModel.load(tmp_path / "model.npz")


def test_a_model_is_not_written_under_the_name_of_another_format(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    for name in ("m.csv", "folder/m.JSON", "m.parquet"):
        assert main(["complete", "r.csv", "--out", name, "--quiet"]) == 2
        message = capsys.readouterr().err
        assert message.startswith("lorasolve complete: --out: ") and ".npz" in message and name in message
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["r.csv"]
    for name in ("m.npz", "m.NPZ"):
        assert main(["complete", "r.csv", "--out", name, "--quiet"]) == 0
        with np.load(tmp_path / name) as archive:  # NumPy's own reader
            assert archive["A"].shape[0] == 2


def test_a_model_without_a_suffix_gets_that_of_its_format(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    assert main(["complete", "r.csv", "--out", "m", "--json"]) == 0
    text, remarks = capsys.readouterr()
    assert "written: m.npz\n" in remarks and json.loads(text)["out"] == "m.npz"
    np.savez(tmp_path / "numpy_does_so_too", A=np.eye(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "numpy_does_so_too.npz", "r.csv"]
    for folder in ("sub/", "..", ""):
        assert main(["complete", "r.csv", "--out", folder]) == 2
        assert capsys.readouterr().err.startswith("lorasolve complete: --out: expected")


def test_predictions_are_not_written_under_the_name_of_another_format(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    assert main(["complete", "r.csv", "--out", "m.npz", "--quiet"]) == 0
    for name in ("p.npz", "p.json", "folder/p.tsv", "p.xlsx"):
        assert main(["predict", "m.npz", "r.csv", "--out", name]) == 2
        message = capsys.readouterr().err
        assert message.startswith("lorasolve predict: --out: ") and ".csv" in message and name in message
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["m.npz", "r.csv"]
    for name in ("p.CSV", "p.txt", "p"):
        assert main(["predict", "m.npz", "r.csv", "--out", name, "--quiet"]) == 0
        assert (tmp_path / name).read_text().startswith("row,column,prediction\n0,0,")


def test_lam_is_chosen_by_entries_that_were_not_seen() -> None:
    rng = np.random.default_rng(3)
    M = 2.0 + rng.standard_normal((30, 2)) @ rng.standard_normal((2, 25))
    rows, cols = np.nonzero(rng.random(M.shape) < 0.6)
    values = M[rows, cols] + 0.3 * rng.standard_normal(rows.size)
    ratings = Ratings(rows, cols, values, np.arange(30), np.arange(25))
    lams = [20.0, 2.0, 0.2]
    fitted, found = choose_completion(ratings, lams, "global", tol=1e-6, folds=2, seed=5)
    # The same by hand: each half is fitted without the other, on the entries less their own mean.
    errors = np.zeros((3, 2))
    for k, half in enumerate(np.array_split(np.random.default_rng(5).permutation(rows.size), 2)):
        rest = np.setdiff1d(np.arange(rows.size), half)
        mean = values[rest].mean()
        train = ls.objectives.MatrixCompletion(rows[rest], cols[rest], values[rest] - mean, M.shape)
        for i, lam in enumerate(lams):
            X = ls.solve_convex(ls.Problem(train, 1, lam * rest.size / rows.size), tol=1e-9).X
            errors[i, k] = np.sqrt(np.mean((X[rows[half], cols[half]] + mean - values[half]) ** 2))
    np.testing.assert_allclose(found.errors, errors, rtol=1e-3)
    assert found.best == lams[int(np.argmin(errors.mean(axis=1)))] == fitted.model.lam
    direct = fit_completion(ratings, found.best, tol=1e-9)
    predicted = [fit.model.predict(rows, cols) for fit in (fitted, direct)]
    np.testing.assert_allclose(*predicted, atol=1e-2)


@pytest.mark.parametrize("means", ["none", "global", "rows", "columns", "both"])
def test_noise_cannot_be_predicted_whatever_means_are_taken_off(means) -> None:
    """Means of few entries hold those that are held out, if these are not left out of them.

    The expected squared error of predictions of independent noise made of other entries is at least its variance, and
    ``lam`` is such that the update is 0: what is left are means, of which those of a few entries err most.
    """
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(200), 3)
    cols = np.concatenate([rng.choice(40, 3, replace=False) for _ in range(200)])
    ratings = Ratings(rows, cols, rng.standard_normal(600), np.arange(200), np.arange(40))
    _, found = choose_completion(ratings, [50.0, 20.0], means, folds=5)
    assert (found.mean**2 >= np.mean(ratings.values**2) * 0.98).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("A", np.ones((3, 1)), "A: expected 2 rows"),
        ("B", np.ones((2, 2)), "B: expected 1 columns"),
        ("B", np.ones((2, 1)) * 1j, "B: expected real numbers"),
        ("row_effects", np.zeros(3), r"row_effects: expected shape \(2,\)"),
        ("mean", 1j, "mean: expected"),
        ("lam", -1.0, "lam: expected"),
        ("lam", 0.0, "lam: expected"),  # with which no row could be folded in, nor the model read back
        ("row_labels", [], "row_labels: is empty"),
        ("row_labels", np.array([1, 2 + 1j]), "row_labels: expected row labels that have an order"),
        ("row_labels", np.zeros(2, [("a", int)]), "row_labels: expected row labels that have an order"),
        ("row_labels", np.ma.masked_array([1, 2], [False, True]), "row_labels: is a masked array"),
        ("col_labels", np.array([np.eye(2), 1], dtype=object), "col_labels: expected a label for each entry"),
        ("means", "some", "means: "),
        ("clip", 2**63, "clip: expected a range"),
    ],
)
def test_a_model_made_by_hand_is_checked(field, value, message):
    parts = {
        "A": np.ones((2, 1)),
        "B": np.ones((2, 1)),
        "mean": 0.0,
        "row_effects": np.zeros(2),
        "col_effects": np.zeros(2),
        "row_labels": np.arange(2),
        "col_labels": np.arange(2),
        "lam": 1.0,
    }
    np.testing.assert_array_equal(CompletionModel(**parts).predict([0, 1], [0, 1]), [1.0, 1.0])
    named = CompletionModel(**parts | {"row_labels": ["a", "b"]})
    np.testing.assert_array_equal(named.predict(["b", "a"], [0, 1]), [1.0, 1.0])
    for nested in (["a", np.ones(2)], [["a"], ["a", "b"]], scipy.sparse.coo_array([1.0])):
        with pytest.raises(TypeError, match="rows: expected a label for each entry"):
            named.predict(nested, [0, 1])
    with pytest.raises((ValueError, TypeError), match=message):
        CompletionModel(**parts | {field: value})


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_an_encoding_without_a_label_is_named(tmp_path, encoding) -> None:
    ratings = Ratings(np.array([0, 1]), np.array([0, 0]), np.ones(2), np.array(["Jos", "\u0141ukasz"]), np.array(["x"]))
    fit_completion(ratings, 1e-6, "none").model.save(tmp_path / "model.npz")
    (tmp_path / "pairs.csv").write_text("\u0141ukasz,x\n", encoding="utf-8")
    command = [sys.executable, "-m", "lorasolve", "predict", "model.npz", "pairs.csv"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    for more, fine in (([], encoding == "utf-8"), (["--json"], True), (["--out", "p.csv"], True)):
        process = subprocess.run([*command, *more], cwd=tmp_path, env=environment, capture_output=True)
        assert process.returncode == (0 if fine else 2)
        if not fine:
            assert process.stdout == b""
            assert process.stderr.decode(encoding).splitlines() == [
                "lorasolve predict: stdout: expected an encoding that has the character '\\u0141', as with "
                f"PYTHONIOENCODING=utf-8, got {encoding}"
            ]
    assert "\u0141ukasz,x," in (tmp_path / "p.csv").read_text(encoding="utf-8")


def test_a_header_among_the_pairs_is_told(tmp_path, capsys) -> None:
    """The names of columns that ``complete`` had read as a header were predicted as if they were labels."""
    (tmp_path / "r.csv").write_text("customer,article,stars\nu,a,1\nu,b,2\nv,a,3\n")
    (tmp_path / "p.csv").write_text("client,article\nv,b\n")
    (tmp_path / "known.csv").write_text("u,b\nnew,other\n")
    model = str(tmp_path / "m.npz")
    assert main(["complete", str(tmp_path / "r.csv"), "--lam", "1", "--out", model]) == 0
    capsys.readouterr()
    assert main(["predict", model, str(tmp_path / "p.csv")]) == 0
    assert "if that is a header, --columns client article says so" in capsys.readouterr().err
    assert main(["predict", model, str(tmp_path / "p.csv"), "--columns", "client", "article"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["predict", model, str(tmp_path / "known.csv")]) == 0
    assert "header" not in capsys.readouterr().err


@pytest.mark.parametrize("film", ["{}", "film {}"])
def test_names_are_no_pair_of_numbers(tmp_path, capsys, film) -> None:
    """The names of columns were predicted as if they were labels, though labels of the data are numbers."""
    entries = [(i, film.format(j), i + j) for i in range(4) for j in range(5)]
    (tmp_path / "r.csv").write_text("Person;Film;Sterne\n" + "".join(f"{i};{j};{v}\n" for i, j, v in entries))
    pairs = f"3;{film.format(4)}\n2;{film.format(1)}\n"
    (tmp_path / "named.csv").write_text("Kundin;Film\n" + pairs)
    (tmp_path / "plain.csv").write_text(pairs)
    (tmp_path / "unknown.csv").write_text(f"77;{film.format(88)}\n{pairs}")
    (tmp_path / "half.csv").write_text(f"3;Film\n{pairs}")
    (tmp_path / "names.csv").write_text("Kundin;Film\n")
    model = str(tmp_path / "m.npz")
    assert main(["complete", str(tmp_path / "r.csv"), "--out", model, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["predict", model, str(tmp_path / "named.csv")]) == 0
    text, remarks = capsys.readouterr()
    assert remarks.splitlines() == [
        "the first line, 'Kundin' and 'Film', is taken for a header, as labels of the data are numbers"
    ]
    assert main(["predict", model, str(tmp_path / "plain.csv")]) == 0
    assert text.splitlines() == ["Kundin,Film,prediction", *capsys.readouterr().out.splitlines()[1:]]
    for beginning in ("unknown.csv", "half.csv"):  # a pair, in whose row nobody or a known one is
        assert main(["predict", model, str(tmp_path / beginning)]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["predict", model, str(tmp_path / "names.csv")]) == 2
    assert "names.csv: holds no pairs but the names 'Kundin' and 'Film'" in capsys.readouterr().err


def test_rows_in_the_place_of_columns_are_told(tmp_path, monkeypatch, capsys) -> None:
    """Means alone were predicted, and the first pair taken for a possible header."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("kunde,film,note\nanna,x,1\nanna,y,2\nbernd,x,3\n")
    (tmp_path / "exchanged.csv").write_text("x,otto\nx,bernd\ny,anna\n")
    (tmp_path / "some.csv").write_text("x,bernd\nanna,y\n")
    (tmp_path / "turned.csv").write_text("film,mensch,note\nx,anna,1\ny,anna,2\n")
    assert main(["complete", "r.csv", "--lam", "0.1", "--out", "m.npz"]) == 0
    told = "rows and columns are exchanged: 'x' is a column of the data, and 'bernd' a row"
    for pairs, remarks in (
        ("exchanged.csv", ["3 of 3 pairs have a label that was not in the data: means only", told]),
        ("some.csv", ["1 of 2 pairs have a label that was not in the data: means only"]),
    ):
        capsys.readouterr()
        assert main(["predict", "m.npz", pairs]) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if "header" not in line] == remarks
    assert main(["recommend", "m.npz", "--without", "turned.csv"]) == 0
    assert told.replace("bernd", "anna") in capsys.readouterr().err
    assert main(["complete", "r.csv", "--lam", "0.1", "--test", "turned.csv"]) == 0
    assert told.replace("bernd", "anna") in capsys.readouterr().err


@pytest.mark.parametrize(("ids", "pair"), [("{}", "3.0,1"), ("{}.0", "3,1"), ("{}", "003,1"), ("-{}", "-3.0,1")])
def test_a_number_that_the_data_write_otherwise_is_told(tmp_path, capsys, ids, pair) -> None:
    """As ids are that pandas has read with a gap among them, or another program with leading zeros."""
    M = np.diag([3.0, 2.0, 1.0])
    i, j = (part.ravel() for part in np.indices(M.shape))
    entries = "".join(f"{ids.format(a + 1)},{b},{v}\n" for a, b, v in zip(i, j, M.ravel()))
    (tmp_path / "ratings.csv").write_text(entries)
    (tmp_path / "pairs.csv").write_text(f"{pair}\n")
    assert main(["complete", str(tmp_path / "ratings.csv"), "--quiet", "--out", str(tmp_path / "model.npz")]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "model.npz"), str(tmp_path / "pairs.csv")]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "1 of 1 pairs have a label that was not in the data: means only",
        f"the row label {pair[:-2]!r} is {ids.format(3)!r} in the data; labels are compared as they are written",
    ]
    (tmp_path / "test.csv").write_text(f"{pair},2\n{pair[:-2]},2,1\n")
    command = ["complete", str(tmp_path / "ratings.csv"), "--lam", "1", "--test", str(tmp_path / "test.csv")]
    assert main(command) == 0
    assert "labels are compared as they are written" in capsys.readouterr().err


def test_models_show_their_size_and_settings() -> None:
    """Of a diagonal and weight 1: singular values 3, 2, 0.5 leave rank 2."""
    model = fit_completion(everything(np.diag([3.0, 2.0, 0.5])), 1.0, "none", clip=(0, 5)).model
    assert repr(model) == "CompletionModel(3 x 3, rank 2, means none, lam = 1, clip = (0.0, 5.0))"


@pytest.mark.parametrize("given", [{"u00"}, {"u00": 1}, {"u00": 1}.keys(), iter(["u00"])])
def test_a_collection_is_no_label(given) -> None:
    """A set, or the keys of a dict, were one label that was not in the data, and predicted by the means."""
    model = fit_completion(everything(np.diag([3.0, 2.0])), 0.5).model
    with pytest.raises(TypeError, match=r"^rows: expected a label for each entry, got "):
        model.predict(given, [100])


def test_ratings_show_their_size() -> None:
    assert repr(everything(np.ones((3, 2)))) == "Ratings(3 x 2, 6 entries)"


def test_a_completion_that_was_interrupted_says_so(tmp_path, monkeypatch, capsys) -> None:
    """Its certificate said "no", and nothing else why; the model of the last point is kept."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((30, 20)) < 0.5)
    lines = zip(rows, cols, rng.standard_normal(rows.size))
    (tmp_path / "ratings.csv").write_text("user,item,rating\n" + "".join(f"{i},{j},{x}\n" for i, j, x in lines))

    def interrupt(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lorasolve._support.progress.Progress.show", interrupt)
    command = ["complete", "ratings.csv", "--lam", "0.1", "--out", "model"]
    assert main(command) == 3
    assert "\nnot certified: factored: interrupted, the last point is kept; " in capsys.readouterr().out
    assert main([*command, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["interrupted"] is True
    assert CompletionModel.load("model.npz").lam == 0.1
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    assert "interrupted" not in capsys.readouterr().out
