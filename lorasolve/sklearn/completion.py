"""Matrix completion as an estimator: impute a table, or predict single entries."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .._support.validate import Array, shown
from ..io import Ratings, as_values, given_twice, label_places, labelled
from ..models import CompletionModel, fit_completion
from ._interruptions import end_if_interrupted


def _predicts(estimator: LowRankCompletion) -> bool:
    """Whether samples are entries; those of a matrix are rows, which ``transform`` fills."""
    if estimator.entries is None and hasattr(estimator, "n_features_in_"):
        raise AttributeError(
            "fitted on a matrix: transform fills it, and model_.predict(rows, cols) gives single entries"
        )
    return True


class LowRankCompletion(TransformerMixin, BaseEstimator):
    """Fill a matrix by the nuclear-norm optimum, with a bound on how far the fit is from the best possible.

    ``min sum over observed (x_ij - mean - row_i - col_j - X_ij)^2 / 2 + lam ||X||_*``, the means being plain averages.
    Data come in one of three forms:

    - a matrix: an array or data frame with NaN where nothing is observed, a masked array, or a sparse matrix whose
      stored entries are the observed ones; rows are samples, and new rows can be transformed;
    - entries: a tuple ``(rows, cols, values)`` of three arrays of one length, rows and columns named by any labels;
    - a long data frame, one entry per line, with ``entries=("user", "item", "rating")`` naming its columns. Then
      samples are entries, and ``GridSearchCV`` holds out entries: of sorted ones whole rows, unless it shuffles.

    Parameters
    ----------
    lam : float, optional
        Weight of the nuclear norm, > 0; by default a tenth of the least one at which ``X = 0`` is optimal.
    means : {"none", "global", "rows", "columns", "both"}
        Which means are taken off first.
    clip : (float, float), optional
        Predictions stay in this range.
    tol : float
        Certified relative gap to reach.
    entries : (str, str, str), optional
        The columns of a long data frame: row label, column label, value.

    Attributes
    ----------
    model_ : CompletionModel
        Factors, means and labels; ``model_.save("model.npz")`` is what ``lorasolve predict`` reads.
    dual_gap_ : float
        Proven bound on the distance of the objective from the optimum (see ``certificate_.level``).
    certificate_ : Certificate
        All that is known about the fit.
    rank_ : int
        Rank of ``X``.
    lam_ : float
        The weight used.
    n_iter_ : int
        Outer iterations.
    """

    def __init__(
        self,
        lam: float | None = None,
        *,
        means: str = "global",
        clip: tuple[float, float] | None = None,
        tol: float = 1e-4,
        entries: tuple[str, str, str] | None = None,
    ) -> None:
        self.lam = lam
        self.means = means
        self.clip = clip
        self.tol = tol
        self.entries = entries

    def fit(self, X: Any, y: Any = None) -> LowRankCompletion:
        """Complete the data.

        Parameters
        ----------
        X : matrix, (rows, cols, values) or data frame
            The data, in one of the forms of the class.
        y : ignored
            Values are read from ``X``. A scorer that is named (``GridSearchCV(..., scoring=...)``) wants them here too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For data without any observed entry, infinite values, an entry given twice, labels that are missing or of
            several kinds (numbers and texts), or settings out of range.
        TypeError
            For values that are no real numbers, and data in another form than ``entries`` says.

        Warns
        -----
        ConvergenceWarning
            Where ``tol`` was not reached.
        """
        for name in ("n_features_in_", "feature_names_in_"):
            # Left of an earlier fit to a matrix; a fit to entries has no features.
            self.__dict__.pop(name, None)
        ratings = self._labelled(X) if self._is_entries(X) else _observed(self._validated(X, reset=True))
        fitted = fit_completion(ratings, self.lam, self.means, self.clip, self.tol)
        end_if_interrupted(fitted.optimum)
        if not fitted.optimum.success:
            warnings.warn(fitted.optimum.message, ConvergenceWarning, stacklevel=2)
        self.model_: CompletionModel = fitted.model
        self.certificate_ = fitted.optimum.certificate
        self.dual_gap_ = self.certificate_.gap
        self.rank_ = fitted.model.rank
        self.lam_ = fitted.model.lam
        self.n_iter_ = max(fitted.optimum.nit, 1)
        return self

    def transform(self, X: Any) -> Array:
        """Return a matrix with its missing entries filled; observed ones stay as they are.

        Parameters
        ----------
        X : matrix of shape (N, n)
            Rows of the kind fitted; they need not be among those fitted. After a fit to entries, a column for each
            column label, in ascending order; a data frame that names them in another order is refused.

        Returns
        -------
        ndarray of shape (N, n)
        """
        check_is_fitted(self)
        matrix = self._matrix(X, reset=False)
        return np.where(np.isnan(matrix), self._filled(matrix), matrix)

    @available_if(_predicts)
    def predict(self, X: Any) -> Array:
        """Return the predicted values of entries.

        Parameters
        ----------
        X : (rows, cols), (rows, cols, values) or long data frame
            The entries; values are not looked at, and need not be there. Unknown labels get what the means say.

        Returns
        -------
        ndarray of shape (N,)

        Warns
        -----
        UserWarning
            Where most entries have an unknown label, so that ``lam`` is without effect on them.
        """
        check_is_fitted(self)
        return self._predicted(*self._triples(X)[:2])

    def score(self, X: Any, y: Any = None) -> float:
        """Return R^2 of the predictions.

        Of entries: of those given. Of a matrix: each observed entry is predicted from the others of its row.

        Warns
        -----
        UserWarning
            Where most entries have an unknown label, so that ``lam`` is without effect on them.
        """
        check_is_fitted(self)
        if self._is_entries(X):
            rows, cols, values = self._valued(X)
            return float(r2_score(values, self._predicted(rows, cols)))
        matrix = self._matrix(X, reset=False)
        seen = ~np.isnan(matrix)
        predicted = np.full(matrix.shape, np.nan)
        for j in np.flatnonzero(seen.any(axis=0)):
            hidden = matrix[seen[:, j]].copy()
            hidden[:, j] = np.nan
            predicted[seen[:, j], j] = self._filled(hidden)[:, j]
        return float(r2_score(matrix[seen], predicted[seen]))

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns of a completed matrix; after a fit to entries, the labels as text."""
        check_is_fitted(self)
        if not hasattr(self, "n_features_in_"):
            return self.model_.col_labels.astype(str).astype(object)
        names = getattr(self, "feature_names_in_", None)
        return np.asarray(names if names is not None else [f"x{j}" for j in range(self.n_features_in_)], dtype=object)

    def _predicted(self, rows: Any, cols: Any) -> Array:
        """Return the predicted values of entries, and say so where most of them are means alone."""
        names = ("rows", "cols") if self.entries is None else tuple(f"X[{name!r}]" for name in self.entries[:2])
        known_row = label_places(self.model_.row_labels, rows, names[0]) >= 0
        known_col = label_places(self.model_.col_labels, cols, names[1]) >= 0
        values = self.model_.predict(rows, cols)
        unknown = int((~(known_row & known_col)).sum())
        if unknown > len(values) / 2:
            warnings.warn(
                f"X: {unknown} of {len(values)} entries have a row or column label that was not in the data: the means "
                "alone predict them, whatever lam is. A split of sorted entries leaves out whole rows unless it "
                "shuffles: cv=KFold(5, shuffle=True)",
                stacklevel=3,
            )
        return values

    def _is_entries(self, X: Any) -> bool:
        return self.entries is not None or isinstance(X, tuple)

    def _triples(self, X: Any) -> tuple[Any, ...]:
        """Return row labels, column labels and values."""
        if self.entries is None:
            if not isinstance(X, tuple):
                hint = "; the columns of one are named by entries=(row, column, value)"
                given = f"a data frame{hint}" if hasattr(X, "columns") else shown(X)
                raise TypeError(f"X: expected a tuple (rows, cols, values), got {given}")
            if len(X) not in (2, 3):
                raise ValueError(f"X: expected (rows, cols, values), got a tuple of {len(X)}")
            return X
        if not isinstance(self.entries, (tuple, list)) or len(self.entries) != 3:
            raise TypeError(f"entries: expected three names (row, column, value), got {shown(self.entries)}")
        row, col, value = self.entries
        if row == col or value in (row, col):
            raise ValueError(f"entries: expected three different columns, got {shown(self.entries)}")
        if not hasattr(X, "columns"):
            given = f"a tuple of {len(X)}" if isinstance(X, tuple) else shown(X)
            raise TypeError(f"X: expected a data frame, as entries={self.entries!r} names its columns, got {given}")
        if not hasattr(X, "__len__"):
            raise TypeError(f"X: expected a data frame that is computed, as by X.collect(), got a {type(X).__name__}")
        there = _column_names(X)
        wanted = [row, col, *([value] if value in there else [])]
        missing = [name for name in wanted if name not in there]
        if missing:
            raise ValueError(f"X: has no column {missing[0]!r}; entries={self.entries!r} names the columns")
        return tuple(X[name].to_numpy() for name in wanted)

    def _valued(self, X: Any) -> tuple[Any, Any, Array]:
        """Return row labels, column labels and values, which must be there."""
        triples = self._triples(X)
        if len(triples) != 3:
            where = "a tuple (rows, cols, values)" if self.entries is None else f"column {self.entries[2]!r} of X"
            raise ValueError(f"X: expected entries with their values, got none; they belong in {where}, y is not read")
        rows, cols, values = triples
        name = "values" if self.entries is None else f"X[{self.entries[2]!r}]"
        return rows, cols, as_values(values, name)

    def _labelled(self, X: Any) -> Ratings:
        """Return entries with their labels in order."""
        ratings = labelled(*self._valued(X), ("X", "X", "X"))
        if self.entries is None:
            return ratings
        row, col, _ = self.entries
        return replace(ratings, names=(str(row), str(col)))

    def _matrix(self, X: Any, reset: bool) -> Array:
        """Return a matrix with NaN for what is not observed."""
        matrix = self._validated(X, reset)
        if not hasattr(matrix, "tocoo"):
            return matrix
        dense = np.full(matrix.shape, np.nan)
        rows, cols, values = _stored(matrix)
        dense[rows, cols] = values
        return dense

    def _validated(self, X: Any, reset: bool) -> Any:
        """Return a matrix as it is, with NaN for what is not observed or sparse."""
        if isinstance(X, tuple):
            raise TypeError(f"X: expected a matrix, got a tuple of {len(X)}; predict gives single entries")
        if isinstance(X, np.ma.MaskedArray):
            X = np.ma.filled(X.astype(np.result_type(X, np.float64)), np.nan)
        try:
            matrix = validate_data(
                self,
                X,
                reset=reset,
                dtype=np.float64,
                accept_sparse=("coo", "csr", "csc"),
                ensure_all_finite="allow-nan",
            )
        except ValueError as error:
            if hasattr(X, "columns") and "could not convert" in str(error):
                hint = "a data frame with a rating a line needs entries=(row, column, value)"
                if self.entries is not None:
                    hint = "transform fills a matrix; of a data frame with a rating a line predict gives the values"
                raise ValueError(f"{error}; {hint}") from error
            raise
        if not reset and matrix.shape[1] != len(self.model_.col_labels):
            raise ValueError(
                f"X: expected {len(self.model_.col_labels)} columns, one for each column label of the entries fitted, "
                f"got {matrix.shape[1]}"
            )
        if not reset and hasattr(X, "columns") and not hasattr(self, "n_features_in_"):
            self._refuse_other_columns(_column_names(X))
        return matrix

    def _refuse_other_columns(self, names: list[Any]) -> None:
        """Refuse columns that are named as the labels fitted and are not in their order; others have no names."""
        places = label_places(self.model_.col_labels, names, "X.columns")
        wrong = np.flatnonzero(places != np.arange(len(places)))
        if wrong.size and (places >= 0).any():
            k = int(wrong[0])
            raise ValueError(
                f"X: expected the column labels of the entries fitted in ascending order, as model_.col_labels has "
                f"them, got {names[k]!r} in place of {self.model_.col_labels[k].item()!r}"
            )

    def _filled(self, matrix: Array) -> Array:
        effects, A = self.model_.fold_in(matrix)
        return self.model_.clipped(self.model_.mean + effects[:, None] + self.model_.col_effects + A @ self.model_.B.T)

    def __sklearn_tags__(self) -> Any:
        """Say that NaN and sparse matrices are taken."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


def _column_names(frame: Any) -> list[Any]:
    """Return what the columns of a data frame are called; what a table of Arrow calls columns are the arrays."""
    return list(getattr(frame, "column_names", frame.columns))


def _observed(matrix: Any) -> Ratings:
    """Return the entries of a matrix that are numbers; of a sparse one those that are stored."""
    if hasattr(matrix, "tocoo"):
        rows, cols, values = _stored(matrix)
    else:
        rows, cols = np.nonzero(~np.isnan(matrix))
        values = matrix[rows, cols]
    if rows.size == 0:
        raise ValueError("X: has no observed entry")
    m, n = matrix.shape
    return Ratings(rows, cols, values, np.arange(m), np.arange(n))


def _stored(matrix: Any) -> tuple[Array, Array, Array]:
    """Return rows, columns and values of the numbers that a sparse matrix stores."""
    stored = matrix.tocoo()
    seen = ~np.isnan(stored.data)
    rows, cols = (part[seen].astype(np.int64) for part in stored.coords)
    twice = given_twice(rows, cols) if rows.size else None
    if twice is not None:
        i, j = int(rows[twice[1]]), int(cols[twice[1]])
        raise ValueError(f"X: the entry in row {i}, column {j} is stored more than once")
    return rows, cols, stored.data[seen]
