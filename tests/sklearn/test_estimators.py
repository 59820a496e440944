"""The estimators: scikit-learn's own checks, and their numbers by other routes."""

from __future__ import annotations

import enum
import tracemalloc
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lorasolve as ls
from lorasolve.sklearn import LowRankCompletion, NuclearNormRegression, ReducedRankRegression


@parametrize_with_checks([LowRankCompletion(), NuclearNormRegression(), ReducedRankRegression()])
def test_checks_of_scikit_learn(estimator, check) -> None:
    check(estimator)


@pytest.fixture
def holes():
    """A matrix of rank 2 plus column means, with holes, and what was hidden."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 15)) + np.arange(15)
    seen = rng.random(M.shape) < 0.6
    return M, seen, np.where(seen, M, np.nan)


def test_impute_recovers_what_was_hidden(holes) -> None:
    M, seen, X = holes
    model = LowRankCompletion(0.1, means="columns", tol=1e-8)
    filled = model.fit_transform(X)
    np.testing.assert_array_equal(filled[seen], M[seen])
    assert np.sqrt(np.mean((filled - M)[~seen] ** 2)) < 0.3 * M[:, 0].std()
    assert model.dual_gap_ <= 1e-8 * model.certificate_.value * 1.01
    assert model.score(X) > 0.95


def test_the_four_forms_of_data_give_one_model(holes) -> None:
    _, seen, X = holes
    rows, cols = np.nonzero(seen)
    by_matrix = LowRankCompletion(0.5).fit(X)
    by_entries = LowRankCompletion(0.5).fit((rows, cols, X[seen]))
    by_sparse = LowRankCompletion(0.5).fit(scipy.sparse.coo_array((X[seen], (rows, cols)), X.shape))
    for other in (by_entries, by_sparse):
        np.testing.assert_array_equal(other.model_.A, by_matrix.model_.A)
    np.testing.assert_allclose(by_entries.predict((rows, cols)), by_matrix.model_.predict(rows, cols))
    with pytest.raises(AttributeError):
        by_matrix.predict((rows, cols))


def test_an_accuracy_that_was_not_reached_is_told(holes) -> None:
    _, _, X = holes
    with pytest.warns(ConvergenceWarning, match="use a larger tol"):
        LowRankCompletion(0.5, tol=1e-30).fit(X)
    with pytest.warns(ConvergenceWarning, match="use a larger tol"):
        NuclearNormRegression(tol=1e-30).fit(np.nan_to_num(X), np.sin(np.nan_to_num(X[:, :2])))


def test_what_a_mask_hides_is_not_observed(holes) -> None:
    _, _, X = holes
    masked = np.ma.masked_invalid(X)
    masked.data[masked.mask] = 1e6
    by_nan, by_mask = LowRankCompletion(lam=0.5).fit(X), LowRankCompletion(lam=0.5).fit(masked)
    np.testing.assert_array_equal(by_mask.transform(masked), by_nan.transform(X))
    hidden = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    with pytest.raises(ValueError, match="values: is a masked array with masked entries"):
        LowRankCompletion(lam=0.5).fit(([0, 1], [0, 1], hidden))


def test_what_a_mask_hides_is_not_regressed_on() -> None:
    X, Y = np.eye(4), np.arange(8.0).reshape(4, 2)
    hidden = np.ma.masked_array(X, X > 0)
    for estimator in (NuclearNormRegression(0.1), ReducedRankRegression(1)):
        with pytest.raises(ValueError, match="X: is a masked array with masked entries"):
            estimator.fit(hidden, Y)
        with pytest.raises(ValueError, match="y: is a masked array with masked entries"):
            estimator.fit(X, np.ma.masked_array(Y, Y > 2))
        with pytest.raises(TypeError, match="y: expected a dense array"):
            estimator.fit(X, scipy.sparse.csr_array(Y))
        with pytest.raises(ValueError, match="X: is a masked array with masked entries"):
            estimator.fit(X, Y).predict(hidden)


def test_a_weight_of_zero_is_refused_rather_than_answered_with_rank_one() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"lam: expected a finite number in \(0, inf\), got 0"):
        NuclearNormRegression(0).fit(rng.standard_normal((20, 4)), rng.standard_normal((20, 3)))


def test_objective_by_cvxpy(holes) -> None:
    cvxpy = pytest.importorskip("cvxpy")
    _, seen, X = holes
    X, seen = X[:12, :8], seen[:12, :8]
    model = LowRankCompletion(0.7, means="none", tol=1e-8).fit(X)
    U = cvxpy.Variable(X.shape)
    fit = 0.5 * cvxpy.sum_squares(cvxpy.multiply(seen.astype(float), U) - np.where(seen, X, 0.0))
    least = cvxpy.Problem(cvxpy.Minimize(fit + 0.7 * cvxpy.normNuc(U))).solve()
    assert model.certificate_.value == pytest.approx(least, rel=1e-4)


def test_long_frames_in_grid_search(holes) -> None:
    pandas = pytest.importorskip("pandas")
    _, seen, X = holes
    rows, cols = np.nonzero(seen)
    frame = pandas.DataFrame({"user": [f"u{i}" for i in rows], "item": cols, "stars": X[seen], "when": 0})
    frame = frame.sample(frac=1.0, random_state=0)
    search = GridSearchCV(
        LowRankCompletion(means="both", entries=("user", "item", "stars")), {"lam": [0.1, 1.0, 50.0]}, cv=3
    ).fit(frame)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_["lam"] != 50.0
    # lam = 50 leaves the means alone, which explain the columns only.
    assert scores.max() > scores[2] + 0.01
    best = search.best_estimator_
    np.testing.assert_allclose(best.predict(frame[["user", "item"]]), best.predict(frame))
    with pytest.raises(ValueError, match="'item'"):
        best.predict(frame[["user"]])


def test_a_split_that_leaves_out_whole_rows_is_named(holes) -> None:
    """Of rows that no other part has the means know as much at every lam."""
    pandas = pytest.importorskip("pandas")
    _, seen, X = holes
    rows, cols = np.nonzero(seen)
    frame = pandas.DataFrame({"user": rows, "item": cols, "stars": X[seen]})
    estimator = LowRankCompletion(0.1, means="columns", entries=("user", "item", "stars"))
    search = GridSearchCV(estimator, {"lam": [0.1, 10.0]}, cv=GroupKFold(4))
    with pytest.warns(UserWarning, match=r"^X: (\d+) of \1 entries have a row or column label that was not"):
        search.fit(frame, groups=rows)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] == pytest.approx(scores[1], rel=1e-12)
    estimator.fit(frame)
    with pytest.warns(UserWarning, match="X: 2 of 3 entries"):
        estimator.predict(pandas.DataFrame({"user": [0, 90, 91], "item": [0, 0, 0]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(pandas.DataFrame({"user": [0, 1, 91], "item": [0, 0, 0]}))
        GridSearchCV(estimator, {"lam": [0.1, 10.0]}, cv=KFold(4, shuffle=True, random_state=0)).fit(frame)


def test_a_long_frame_given_otherwise_is_told_where_values_belong() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "stars": [1.0, 2.0]})
    with pytest.raises(ValueError, match="column 'stars' of X, y is not read"):
        LowRankCompletion(entries=("user", "item", "stars")).fit(frame[["user", "item"]], frame["stars"])
    with pytest.raises(ValueError, match="needs entries="):
        LowRankCompletion().fit(frame)
    fitted = LowRankCompletion(entries=("user", "item", "stars")).fit(frame)
    with pytest.raises(ValueError, match="predict gives the values") as caught:
        fitted.transform(frame)
    assert "entries=" not in str(caught.value)
    for wrong, message in (
        (np.nan, r"X\['stars'\]: has non-finite entries, the first at \[1\]"),
        ("2", r"X\['stars'\]: "),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            LowRankCompletion(entries=("user", "item", "stars")).fit(frame.assign(stars=[1.0, wrong]))


def test_data_in_another_form_than_was_fitted_are_named() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"u": [0, 0, 1, 1], "i": [4, 7, 4, 7], "x": [1.0, 2.0, 3.0, 5.0]})
    triple = tuple(frame[name].to_numpy() for name in frame)
    plain, long = LowRankCompletion(0.5).fit(triple), LowRankCompletion(0.5, entries=("u", "i", "x")).fit(frame)
    assert long.model_.names == ("u", "i") and plain.model_.names == ("row", "column")
    for names in (("u", "i"), "uix", 3):
        with pytest.raises(TypeError, match=r"entries: expected three names \(row, column, value\), got "):
            LowRankCompletion(0.5, entries=names).fit(frame)
    for names in (("u", "i", "i"), ("u", "u", "x"), ["u", "i", "u"]):  # labels were completed as values
        with pytest.raises(ValueError, match=r"entries: expected three different columns, got .'u'"):
            LowRankCompletion(0.5, entries=names).fit(frame)
    for given, named in [(frame, "a data frame; the columns of one"), (np.eye(2), "an array of shape"), (5, "5")]:
        with pytest.raises(TypeError, match=rf"X: expected a tuple \(rows, cols, values\), got {named}"):
            plain.predict(given)
    for given, named in [(triple, "a tuple of 3"), (np.eye(3), "an array of shape"), ({"u": [0]}, "{'u'")]:
        with pytest.raises(TypeError, match=rf"X: expected a data frame, as entries=.* got {named}"):
            long.predict(given)
    with pytest.raises(TypeError, match="X: expected a matrix, got a tuple of 3; predict gives single entries"):
        plain.transform(triple)
    with pytest.raises(ValueError, match=r"X: expected 2 columns, one for each column label .*, got 3"):
        plain.transform([[1.0, 2.0, 3.0]])
    # The same entries as a matrix, whose columns are those of the labels in ascending order.
    matrix = LowRankCompletion(0.5).fit([[1.0, 2.0], [3.0, 5.0]])
    holes = np.array([[np.nan, 2.0], [1.0, np.nan]])
    filled = plain.set_output(transform="pandas").transform(holes)
    assert plain.get_feature_names_out().tolist() == filled.columns.tolist() == ["4", "7"]
    np.testing.assert_array_equal(filled, matrix.transform(holes))
    assert matrix.get_feature_names_out().tolist() == ["x0", "x1"]
    again = LowRankCompletion(0.5).fit(pandas.DataFrame({"a": [1.0, 3.0], "b": [2.0, 5.0]})).fit(triple)
    assert again.get_feature_names_out().tolist() == ["4", "7"] and not hasattr(again, "feature_names_in_")


@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
def test_columns_that_are_named_otherwise_than_the_labels_fitted_are_not_taken_for_them() -> None:
    """They were taken by their places: of ``it2`` and ``it10``, as a file has them, the second comes first."""
    pandas = pytest.importorskip("pandas")
    entries = ([0, 0, 1, 1], ["it2", "it10", "it2", "it10"], [1.0, 2.0, 3.0, 5.0])
    model = LowRankCompletion(0.5).fit(entries)
    holes = np.array([[np.nan, 2.0], [1.0, np.nan]])
    filled = model.transform(holes)
    for names in (["it10", "it2"], ["a", "b"], [0, 1]):
        np.testing.assert_array_equal(model.transform(pandas.DataFrame(holes, columns=names)), filled)
    for names in (["it2", "it10"], ["it10", "it3"]):
        with pytest.raises(
            ValueError, match=r"X: expected the column labels of the entries fitted in ascending order.*'it"
        ):
            model.transform(pandas.DataFrame(holes, columns=names))
    numbered = LowRankCompletion(0.5).fit((entries[0], [4, 7, 4, 7], entries[2]))
    np.testing.assert_array_equal(
        numbered.transform(pandas.DataFrame(holes, columns=["4", "7"])), numbered.transform(holes)
    )
    with pytest.raises(ValueError, match="got 7 in place of 4"):
        numbered.transform(pandas.DataFrame(holes, columns=[7, 4]))


class _ArrowTable:
    """As a table of pyarrow: its columns are the arrays, and their names stand apart."""

    def __init__(self, columns) -> None:
        self._columns = {name: np.asarray(values) for name, values in columns.items()}
        self.column_names, self.columns = list(self._columns), list(self._columns.values())

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, name):
        return _ArrowColumn(self.columns[name] if isinstance(name, int) else self._columns[name])

    def __array__(self, dtype=None, copy=None):
        return np.array(self.columns, dtype=dtype).T

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns)


class _ArrowColumn:
    def __init__(self, values) -> None:
        self.to_numpy = lambda: values


def test_tables_of_arrow_are_data_frames() -> None:
    """Their columns were not found, though the message had their names."""
    entries = {"user": ["a", "a", "b", "b"], "item": ["x", "y", "x", "y"], "stars": [1.0, 2.0, 3.0, 5.0]}
    names = tuple(entries)
    arrays = tuple(np.array(entries[name]) for name in names)
    expected = LowRankCompletion(0.5).fit(arrays)
    model = LowRankCompletion(0.5, entries=names).fit(_ArrowTable(entries))
    np.testing.assert_array_equal(model.predict(_ArrowTable(entries)), expected.predict(arrays))
    holes = {"x": [np.nan, 1.0], "y": [2.0, np.nan]}
    dense = np.column_stack(list(holes.values()))
    np.testing.assert_array_equal(model.transform(_ArrowTable(holes)), expected.transform(dense))
    with pytest.raises(ValueError, match="got 'y' in place of 'x'"):
        model.transform(_ArrowTable(dict(reversed(holes.items()))))
    with pytest.raises(ValueError, match="X: has no column 'user'"):
        model.predict(_ArrowTable({"nutzer": ["a"], "item": ["x"]}))


def test_frames_that_are_not_computed_are_named() -> None:
    class LazyFrame:
        columns = ("user", "item", "stars")

    with pytest.raises(TypeError, match=r"X: expected a data frame that is computed, as by X.collect\(\), got a Lazy"):
        LowRankCompletion(0.5, entries=LazyFrame.columns).fit(LazyFrame())


def test_frames_keep_their_names(holes) -> None:
    pandas = pytest.importorskip("pandas")
    _, _, X = holes
    frame = pandas.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    model = LowRankCompletion(0.5).fit(frame)
    assert model.get_feature_names_out().tolist() == list(frame.columns)
    assert model.set_output(transform="pandas").transform(frame).columns.tolist() == list(frame.columns)


def regression_data():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 6)) + 2.0
    W = rng.standard_normal((4, 2)) @ rng.standard_normal((2, 6))
    return X, X @ W.T + 1.0 + 0.1 * rng.standard_normal((60, 4))


def test_reduced_rank_is_the_projection_of_least_squares() -> None:
    X, Y = regression_data()
    for rank in (1, 2, 4):
        model = ReducedRankRegression(rank).fit(X, Y)
        Xc, Yc = X - X.mean(0), Y - Y.mean(0)
        full = np.linalg.lstsq(Xc, Yc, rcond=None)[0]
        V = np.linalg.svd(Xc @ full, full_matrices=False)[2][:rank].T
        np.testing.assert_allclose(model.coef_, (full @ V @ V.T).T, atol=1e-8)
        assert model.rank_ == rank
    assert ReducedRankRegression(99).fit(X, Y).score(X, Y) == pytest.approx(ls_score(X, Y))


def ls_score(X, Y):
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(X, Y).score(X, Y)


def test_nuclear_norm_regression_is_optimal() -> None:
    X, Y = regression_data()
    model = NuclearNormRegression(0.3, tol=1e-10).fit(X, Y)
    Xc, Yc = X - X.mean(0), Y - Y.mean(0)
    G = (Xc @ model.coef_.T - Yc).T @ Xc / len(X)
    # The optimality condition: ||G||_2 <= lam, and <G, W> = -lam ||W||_*.
    assert np.linalg.norm(G, 2) <= 0.3 * (1 + 1e-4)
    assert np.vdot(G, model.coef_) == pytest.approx(-0.3 * np.linalg.norm(model.coef_, "nuc"), rel=1e-5)
    np.testing.assert_allclose(model.intercept_, Y.mean(0) - model.coef_ @ X.mean(0))
    residual = Y - model.predict(X)
    value = np.vdot(residual, residual) / (2 * len(X)) + 0.3 * np.linalg.norm(model.coef_, "nuc")
    assert model.certificate_.value == pytest.approx(value, rel=1e-10)
    assert NuclearNormRegression().fit(X, Y).lam_ == pytest.approx(0.1 * np.linalg.norm(Yc.T @ Xc / len(X), 2))
    steps = make_pipeline(StandardScaler(), NuclearNormRegression())
    search = GridSearchCV(steps, {"nuclearnormregression__lam": [0.01, 10.0]}).fit(X, Y)
    assert search.best_params_["nuclearnormregression__lam"] == 0.01


@pytest.mark.parametrize("estimator", [NuclearNormRegression(0.3, tol=1e-10), ReducedRankRegression(2)], ids=repr)
def test_without_an_intercept_nothing_is_centred(estimator) -> None:
    """A row ``(-x, -y)`` for each ``(x, y)`` makes the means zero, and no slope of lines through 0 another one."""
    X, Y = regression_data()
    X, Y = X + 1.0, Y + 2.0
    through_zero = clone(estimator).set_params(fit_intercept=False).fit(X, Y)
    both = clone(estimator).fit(np.vstack([X, -X]), np.vstack([Y, -Y]))
    np.testing.assert_allclose(through_zero.coef_, both.coef_, atol=1e-7)
    np.testing.assert_array_equal(through_zero.intercept_, 0.0)
    np.testing.assert_allclose(both.intercept_, 0.0, atol=1e-12)
    assert not np.allclose(clone(estimator).fit(X, Y).coef_, both.coef_, atol=1e-2)


@pytest.mark.parametrize("estimator", [NuclearNormRegression(0.3), ReducedRankRegression(1)], ids=repr)
def test_one_target_has_no_axis_where_it_was_given_without_one(estimator) -> None:
    X, Y = regression_data()
    flat, column = clone(estimator).fit(X, Y[:, 0]), clone(estimator).fit(X, Y[:, :1])
    assert (flat.coef_.shape, column.coef_.shape) == ((X.shape[1],), (1, X.shape[1]))
    assert isinstance(flat.intercept_, float) and column.intercept_.shape == (1,)
    np.testing.assert_array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_bad_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="no observed entry"):
        LowRankCompletion().fit(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="one length"):
        LowRankCompletion().fit(([0, 1], [0], [1.0]))
    with pytest.raises(ValueError, match="X: the entry of row 'ann' and column 7 is given more than once"):
        LowRankCompletion().fit((["bob", "ann", "ann"], [5, 7, 7], [1.0, 2.0, 3.0]))
    for means in ("none", "both"):
        with pytest.raises(ValueError, match=r"values: has non-finite entries, the first at \[1\]"):
            LowRankCompletion(0.1, means=means).fit(([0, 1], [0, 1], [1.0, np.inf]))
    assert isinstance(LowRankCompletion().fit(([0, 1], ["a", "b"], [1.0, 2.0])).certificate_, ls.Certificate)


def test_values_that_would_lose_something_as_floats_are_refused() -> None:
    rows, cols, values = [0, 0, 1, 1], [0, 1, 0, 1], [1.0, 2, 3, 5]
    plain = LowRankCompletion(0.5).fit((rows, cols, values))
    objects = LowRankCompletion(0.5).fit((rows, cols, np.array(values, dtype=object)))
    np.testing.assert_array_equal(objects.model_.A, plain.model_.A)
    for wrong in (np.array(values) + 1j, ["1", "2", "3", "5"], [1.0, "2", 3, 5], [1.0, None, 3, 5]):
        for given in (wrong, np.array(wrong, dtype=object)):
            with pytest.raises(TypeError, match="values: expected real numbers"):
                LowRankCompletion(0.5).fit((rows, cols, given))
            with pytest.raises(TypeError, match="values: expected real numbers"):
                plain.score((rows, cols, given))
    with pytest.raises(ValueError, match="Complex data not supported"):
        LowRankCompletion(0.5).fit(np.ma.masked_array([[1.0, 2.0], [3.0, 5 + 1j]], mask=[[0, 1], [0, 0]]))


@pytest.mark.parametrize("form", [int, np.int64, str, lambda i: 10**25 + i, lambda i: f"{i:02}", lambda i: i + 0.5])
def test_labels_that_are_objects_are_found_again(holes, form) -> None:
    """Above 9 the order of numbers is not that of their texts."""
    pandas = pytest.importorskip("pandas")
    _, seen, X = holes
    rows, cols = np.nonzero(seen)
    plain = LowRankCompletion(0.1, tol=1e-8).fit((rows, cols, X[seen]))
    named = np.empty(len(rows), dtype=object)
    named[:] = [form(int(i)) for i in rows]
    model = LowRankCompletion(0.1, tol=1e-8).fit((named, cols.astype(object), X[seen]))
    assert model.model_.knows_rows(named).all() and model.model_.knows_cols(cols).all()
    np.testing.assert_allclose(model.predict((named, cols)), plain.predict((rows, cols)), atol=1e-4)
    frame = pandas.DataFrame({"u": pandas.Series(named, dtype=object), "i": cols, "x": X[seen]})
    long = LowRankCompletion(0.1, tol=1e-8, entries=("u", "i", "x")).fit(frame)
    assert long.score(frame) == pytest.approx(plain.score((rows, cols, X[seen])), abs=1e-4)


def test_labels_of_another_kind_are_refused_by_the_name_of_their_column() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"user": ["a", "a", "b"], "item": [1, 2, 1], "stars": [5.0, 4.0, 3.0]})
    model = LowRankCompletion(entries=("user", "item", "stars")).fit(frame)
    when = frame.assign(item=pandas.to_datetime("2020-01-01"))
    for asked in (model.predict, model.score):
        with pytest.raises(TypeError, match=r"X\['item'\]: expected labels of the kind in the data \(int64\)"):
            asked(when)


class City(str, enum.Enum):  # noqa: UP042  (as in programs older than enum.StrEnum)
    """Python says ``City.BONN`` where it is asked for the text, of which NumPy kept the first four letters."""

    BONN, BERN, ROME = "bonn", "bern", "rome"


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        ([City.ROME, City.BONN, City.BERN, City.BONN], ["rome", "bonn", "bern", "bonn"]),
        (["Köln".encode(), b"Bonn", b"Rom", b"Bonn"], ["Köln", "Bonn", "Rom", "Bonn"]),
    ],
    ids=["enumeration", "bytes"],
)
def test_objects_that_hold_texts_are_the_labels_that_these_are(labels, texts) -> None:
    pandas = pytest.importorskip("pandas")
    cols, values = [0, 1, 2, 2], [5.0, 3.0, 4.0, 1.0]
    named = np.empty(4, dtype=object)
    named[:] = labels
    expected = LowRankCompletion(0.1).fit((texts, cols, values))
    forms = [named, labels] if isinstance(labels[0], str) else [named]
    for form in forms:
        model = LowRankCompletion(0.1).fit((form, cols, values))
        np.testing.assert_array_equal(model.model_.row_labels, sorted(set(texts)))
        np.testing.assert_array_equal(model.predict((texts, cols)), expected.predict((texts, cols)))
        np.testing.assert_array_equal(expected.predict((form, cols)), expected.predict((texts, cols)))
    frame = pandas.DataFrame({"city": pandas.Series(named, dtype=object), "year": cols, "x": values})
    long = LowRankCompletion(0.1, entries=("city", "year", "x")).fit(frame)
    np.testing.assert_array_equal(long.predict(frame), expected.predict((texts, cols)))


def test_texts_of_any_length_are_labels_that_can_be_saved(tmp_path) -> None:
    texts = np.array(["ann", "bob", "bob", "someone of a long name"], dtype=np.dtypes.StringDType())
    entries = (texts, [0, 0, 1, 1], [5.0, 3.0, 4.0, 1.0])
    model = LowRankCompletion(1e-6, tol=1e-8).fit(entries)
    model.model_.save(tmp_path / "model.npz")
    again = ls.models.CompletionModel.load(tmp_path / "model.npz")
    np.testing.assert_allclose(again.predict(*entries[:2]), entries[2], atol=1e-3)
    np.testing.assert_array_equal(again.predict(*entries[:2]), model.predict(entries))
    absent = np.array(["ann", None, "bob", "cy"], dtype=np.dtypes.StringDType(na_object=None))
    with pytest.raises(ValueError, match="X: expected a row label for each entry, got None"):
        LowRankCompletion().fit((absent, *entries[1:]))


def test_labels_that_are_missing_or_of_several_kinds_are_refused() -> None:
    for labels, message in [
        (np.array([1, "a"], dtype=object), "row labels of one kind, got 1 and 'a'"),
        (["a", None], "a row label for each entry, got None"),
        ([1, "a"], "row labels of one kind, got 1 and 'a'"),
        (np.array(["a", "a\0"], dtype=object), r"the label 'a\\x00' ends with a zero byte"),
        (np.array([0.5, np.nan], dtype=object), "a row label for each entry, got nan"),
        ([1.0, np.nan], "a row label for each entry, got nan"),
        (np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"), "a row label for each entry, got NaT"),
    ]:
        with pytest.raises(ValueError, match=message):
            LowRankCompletion().fit((labels, [0, 1], [1.0, 2.0]))


@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_an_entry_that_a_sparse_matrix_stores_twice_is_refused(form) -> None:
    i, j, x = [0, 1, 1, 2], [0, 2, 2, 1], np.array([1.0, 2.0, 3.0, 4.0])
    if form == "coo":
        twice = scipy.sparse.coo_matrix((x, (i, j)), shape=(3, 3))
    elif form == "csr":
        twice = scipy.sparse.csr_matrix((x, j, [0, 1, 3, 4]), shape=(3, 3))
    else:
        twice = scipy.sparse.csc_matrix((x[[0, 3, 1, 2]], [0, 2, 1, 1], [0, 1, 2, 4]), shape=(3, 3))
    with pytest.raises(ValueError, match="row 1, column 2 is stored more than once"):
        LowRankCompletion().fit(twice)


def test_a_wide_sparse_matrix_is_fitted_without_the_dense_one() -> None:
    rng = np.random.default_rng(3)
    rows, cols = np.divmod(np.sort(rng.choice(30 * 20, 300, replace=False)), 20)
    values = (rng.standard_normal((30, 2)) @ rng.standard_normal((2, 20)))[rows, cols]
    expected = LowRankCompletion(2.0, means="none").fit((rows, cols, values))
    wide = scipy.sparse.csr_array((values, (150 * rows, 190 * cols)), (5000, 4000))
    tracemalloc.start()
    found = LowRankCompletion(2.0, means="none").fit(wide)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the dense matrix has 160 MB
    assert found.certificate_.value == pytest.approx(expected.certificate_.value, rel=1e-6)


def test_an_interruption_ends_a_search_and_not_one_of_its_fits(monkeypatch) -> None:
    """The fit went on record with its last point, as one that had not converged, and the search with the next one."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 6)), rng.standard_normal((40, 4))
    rows, cols = np.nonzero(rng.random((40, 30)) < 0.5)
    entries = (rows, cols, rng.standard_normal(rows.size))
    fits: list[int] = []

    def interrupt(*_):
        fits.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr("lorasolve._support.progress.Progress.show", interrupt)
    monkeypatch.setattr("lorasolve.convex.closed_form.ClosedForm.run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(NuclearNormRegression(), {"lam": [0.1, 0.01]}, cv=2).fit(X, Y)
    assert len(fits) == 1
    for estimator, data in ((ReducedRankRegression(2), (X, Y)), (LowRankCompletion(0.1), (entries,))):
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(*data)
        assert not hasattr(estimator, "rank_")
