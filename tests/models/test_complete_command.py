"""From files of ratings to predictions on the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from ratings_to_complete import later_ratings

from lorasolve.certificates import check_certificate
from lorasolve.cli import main
from lorasolve.io import Ratings
from lorasolve.models import CompletionModel, choose_completion, fit_completion


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
    # Their mean, 4e-200, leaves 1e-200 and its negative in one row: of norm sqrt(2) 1e-200, with squares below float64.
    (tmp_path / "tiny.csv").write_text("a,x,5e-200\nb,y,4e-200\na,y,3e-200\n")
    main(["complete", "tiny.csv"])
    remarks = capsys.readouterr().err
    assert "--lam not given: 1.414e-201, a tenth of the least one" in remarks and "the means fit all" not in remarks
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


def test_the_certificate_of_a_completion_travels(tmp_path, monkeypatch, capsys) -> None:
    """It was in the library alone: certify refuses the model, which has means and not the ratings."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    values = {(i, j): float(v) for (i, j), v in np.ndenumerate(rng.normal(3.0, 1.0, (9, 7))) if rng.random() < 0.7}
    (tmp_path / "ratings.csv").write_text("".join(f"u{i},{j},{value!r}\n" for (i, j), value in values.items()))
    command = ["complete", "ratings.csv", "--means", "both", "--lam", "0.5", "--out", "model", "--json"]
    assert main([*command, "--write", "proof.json"]) == 0
    shown, remarks = capsys.readouterr()
    assert "written: proof.json, in exact arithmetic, for check_certificate.py\n" in remarks
    told, document = json.loads(shown), json.loads((tmp_path / "proof.json").read_text())
    assert told["written"] == {"file": "proof.json", "arithmetic": "exact", "gap": document["gap"]}
    run = [sys.executable, "-I", "-S", check_certificate.__file__, "proof.json"]
    checked = subprocess.run(run, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout[:25]) == (0, "accepted: F(X) - inf F <=")
    # What is proved is about the ratings less their means, which the model has beside its factors.
    problem = document["problem"]
    assert (problem["lam"], problem["shape"], len(problem["targets"])) == ("1/2", [9, 7], len(values))
    assert float(Fraction(document["gap"])) <= 2e-4 * told["certificate"]["value"]
    assert main(["certify", "model.npz", "--lam", "0.5"]) == 2
    assert "'lorasolve complete RATINGS --write FILE' writes its certificate" in capsys.readouterr().err


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
