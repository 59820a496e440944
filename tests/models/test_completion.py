"""Completion models against closed forms, and the choice of lam by ratings that were not fitted."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from ratings_to_complete import everything, later_ratings

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.io import Ratings
from lorasolve.models import CompletionModel, choose_completion, fit_completion


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


def test_many_pairs_take_little_more_memory_than_their_predictions() -> None:
    """Of 200,000 pairs all rows of the factors would be 200 MB."""
    rng = np.random.default_rng(1)
    m, n, k, pairs = 50, 40, 64, 200_000
    A, B, rows, cols = rng.standard_normal((m, k)), rng.standard_normal((n, k)), np.zeros(m), rng.standard_normal(n)
    model = CompletionModel(A, B, 3.0, rows, cols, np.arange(m), np.arange(n), lam=1.0)
    i, j = rng.integers(m, size=pairs), rng.integers(-1, n, size=pairs)  # -1 is no label
    tracemalloc.start()
    found = model.predict(i, j)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pairs * k * 8
    X = np.hstack([3.0 + A @ B.T + cols, np.full((m, 1), 3.0)])
    np.testing.assert_allclose(found, X[i, j], rtol=1e-12, atol=1e-12)


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


def test_the_range_that_is_asked_for_is_that_of_the_model(tmp_path, monkeypatch, capsys) -> None:
    """Of ratings 1 and 5, to which predictions come near."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("a,p,5\na,q,5\nb,p,5\nb,r,1\nc,q,1\nc,r,1\nc,p,1\na,r,5\n")
    (tmp_path / "all.csv").write_text("".join(f"{i},{j}\n" for i in "abc" for j in "pqr"))
    assert main(["complete", "r.csv", "--lam", "9", "--means", "both", "--clip", "2", "4", "--out", "m"]) == 0
    told = capsys.readouterr()
    assert "3 x 3, 8 entries from 1 to 5, " in told.out
    assert "8 of 8 values are outside of the range of predictions, 2 to 4, and are fitted as they are" in told.err
    assert main(["complete", "r.csv", "--lam", "9", "--clip", "1", "5"]) == 0
    assert "outside" not in capsys.readouterr().err
    assert CompletionModel.load("m.npz").clip == (2.0, 4.0)
    assert main(["predict", "m.npz", "all.csv"]) == 0
    found = [float(line.split(",")[2]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert (min(found), max(found)) == (2.0, 4.0)


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


def test_default_lam_is_a_tenth_of_the_critical_one() -> None:
    M = np.random.default_rng(2).standard_normal((6, 4))
    model = fit_completion(everything(M), means="none").model
    assert model.lam == pytest.approx(0.1 * np.linalg.norm(M, 2))
    problem = ls.Problem(ls.objectives.MatrixCompletion.from_dense(M), 2, 1.0)
    assert problem.critical_lam() == pytest.approx(np.linalg.norm(M, 2))
    assert fit_completion(everything(np.full((3, 3), 2.0))).model.predict(["u00"], [100]) == pytest.approx(2.0)


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


def test_models_show_their_size_and_settings() -> None:
    """Of a diagonal and weight 1: singular values 3, 2, 0.5 leave rank 2."""
    model = fit_completion(everything(np.diag([3.0, 2.0, 0.5])), 1.0, "none", clip=(0, 5)).model
    assert repr(model) == "CompletionModel(3 x 3, rank 2, means none, lam = 1, clip = (0.0, 5.0))"


def test_ratings_show_their_size() -> None:
    assert repr(everything(np.ones((3, 2)))) == "Ratings(3 x 2, 6 entries)"
