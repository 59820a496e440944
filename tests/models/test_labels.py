"""Labels of rows and columns: by value, of any type, and those that are not there."""

from __future__ import annotations

import csv
import datetime
import io

import numpy as np
import pytest
from ratings_to_complete import everything

from lorasolve.cli import main
from lorasolve.io import Ratings, label_places, labels_like, read_ratings
from lorasolve.models import CompletionModel, fit_completion


@pytest.mark.parametrize("form", [list, np.asarray, tuple])
def test_ratings_of_labels_are_those_of_a_file(tmp_path, form) -> None:
    rng = np.random.default_rng(3)
    places = rng.permutation(60)[:30]
    rows, cols, values = [f"u{k // 6}" for k in places], [int(k % 6) for k in places], rng.integers(1, 6, 30) / 2
    path = tmp_path / "ratings.csv"
    path.write_text("".join(f"{i},{j},{v}\n" for i, j, v in zip(rows, cols, values)))
    read, made = read_ratings(path), Ratings.from_labels(form(rows), form(cols), form(values))
    assert (made.skipped, made.repeated) == (0, 0)
    for name in ("rows", "cols", "values", "row_labels", "col_labels"):
        np.testing.assert_array_equal(getattr(made, name), getattr(read, name))
    model = fit_completion(made, 0.5, "both").model
    np.testing.assert_array_equal(
        model.predict(rows, cols), fit_completion(read, 0.5, "both").model.predict(rows, cols)
    )


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
    # 0.1 is no number of 32 bits, by value: it may not be added to labels that are.
    singles = np.array([0.1, 0.5], dtype=np.float32)
    assert label_places(singles, singles.astype(np.float64), "rows").tolist() == [0, 1]
    assert labels_like(singles, np.array([0.25]), "rows").dtype == np.float32
    with pytest.raises(ValueError, match=r"written as those of the data \(float32\), got 0.1"):
        labels_like(singles, np.array([0.1]), "rows")
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


def test_a_header_among_the_pairs_is_told(tmp_path, capsys) -> None:
    """The names of columns that ``complete`` had read as a header were predicted as if they were labels."""
    (tmp_path / "r.csv").write_text("customer,article,stars\nu,a,1\nu,b,2\nv,a,3\n")
    (tmp_path / "p.csv").write_text("client,article\nv,b\n")
    (tmp_path / "known.csv").write_text("u,b\nnew,other\n")
    (tmp_path / "half.csv").write_text("u,other\n")
    model = str(tmp_path / "m.npz")
    assert main(["complete", str(tmp_path / "r.csv"), "--lam", "1", "--out", model]) == 0
    capsys.readouterr()
    assert main(["predict", model, str(tmp_path / "p.csv")]) == 0
    assert "if that is a header, --columns client article says so" in capsys.readouterr().err
    assert main(["predict", model, str(tmp_path / "p.csv"), "--columns", "client", "article"]) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "p.csv").write_text("client,article\nnew,other\n")
    assert main(["predict", model, str(tmp_path / "p.csv"), "--columns", "client", "article"]) == 0
    assert "header" not in capsys.readouterr().err
    for beginning in ("known.csv", "half.csv"):
        assert main(["predict", model, str(tmp_path / beginning)]) == 0
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
        text, remarks = capsys.readouterr()
        assert len(text.splitlines()) == 4 and "header" not in remarks
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
        found = capsys.readouterr().err.splitlines()
        assert found == remarks or (pairs == "some.csv" and found[:1] == remarks and "if that is a header" in found[1])
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


@pytest.mark.parametrize("given", [{"u00"}, {"u00": 1}, {"u00": 1}.keys(), iter(["u00"])])
def test_a_collection_is_no_label(given) -> None:
    """A set, or the keys of a dict, were one label that was not in the data, and predicted by the means."""
    model = fit_completion(everything(np.diag([3.0, 2.0])), 0.5).model
    with pytest.raises(TypeError, match=r"^rows: expected a label for each entry, got "):
        model.predict(given, [100])
