"""Files of completion models, and models that are made by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse
from ratings_to_complete import everything

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.io import Ratings
from lorasolve.models import CompletionModel, fit_completion


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


def test_a_model_without_a_suffix_gets_that_of_its_format(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    assert main(["complete", "r.csv", "--out", "m", "--json"]) == 0
    text, remarks = capsys.readouterr()
    assert "written: m.npz\n" in remarks and json.loads(text)["out"] == "m.npz"
    np.savez(tmp_path / "numpy_does_so_too", A=np.eye(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "numpy_does_so_too.npz", "r.csv"]
    assert main(["complete", "r.csv", "--out", "m.NPZ", "--quiet"]) == 0
    for name in ("m.npz", "m.NPZ"):
        with np.load(name) as archive:  # NumPy's own reader
            assert archive["A"].shape[0] == 2
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
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m.npz", "r.csv"]  # nor is the folder made
    for name in ("p.CSV", "p.txt", "p"):
        assert main(["predict", "m.npz", "r.csv", "--out", name, "--quiet"]) == 0
        assert (tmp_path / name).read_text().startswith("row,column,prediction\n0,0,")


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
