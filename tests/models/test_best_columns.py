"""The columns of the largest predictions."""

from __future__ import annotations

import numpy as np
import pytest
from ratings_to_complete import everything

from lorasolve.cli import main
from lorasolve.io import Ratings
from lorasolve.models import CompletionModel, fit_completion


def test_ten_columns_are_recommended_where_no_number_is_given(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    fit_completion(everything(np.arange(24.0).reshape(2, 12)), 0.5).model.save("m.npz")
    assert main(["recommend", "m.npz", "--rows", "u00"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 10


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
