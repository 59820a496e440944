"""Users' files in, results out and back in; broken files give one error that says where."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import os
import pathlib
import zipfile
from typing import IO

import numpy as np
import pytest
import scipy.io
import scipy.sparse

import lorasolve as ls
from lorasolve._support.files import write_atomically
from lorasolve.cli import main
from lorasolve.io import (
    Pairs,
    TextFormat,
    load_result,
    objective_from_arrays,
    read_arrays,
    read_pairs,
    read_ratings,
    read_task,
    save_result,
    to_json,
    write_arrays,
    write_json,
)
from lorasolve.objectives import Denoising, MatrixCompletion, Softmax

TASK = ["--objective", "completion", "r.csv", "--lam", "1", "--duplicates", "mean", "--skip-missing"]


def written(folder: pathlib.Path, name: str, text: str) -> pathlib.Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


# ---------------------------------------------------------------------- ratings
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.csv", "10,7,4.5\n2,7,3\n2,100,1\n"),
        ("r.csv", "user,item,rating\n10,7,4.5\n2,7,3\n2,100,1\n"),
        ("r.csv", "\ufeffuser,item,rating,time\r\n10,7,4.5,99\r\n\r\n2,7,3,98\r\n2,100,1,97\r\n"),
        ("r.tsv", "10\t7\t4.5\n2\t7\t3\n2\t100\t1\n"),
        ("u.data", "10\t7\t4.5\t881250949\n2\t7\t3\t881250949\n2\t100\t1\t881250949\n"),
        ("r.inter", "user_id:token\titem_id:token\trating:float\n10\t7\t4.5\n2\t7\t3\n2\t100\t1\n"),
    ],
)
def test_ratings_in_text(tmp_path: pathlib.Path, name: str, text: str) -> None:
    ratings = read_ratings(written(tmp_path, name, text))
    assert ratings.shape == (2, 2)
    # Labels that are integers are ordered as numbers: 2 before 10, 7 before 100.
    assert ratings.row_labels.tolist() == [2, 10]
    assert ratings.col_labels.tolist() == [7, 100]
    assert list(zip(ratings.rows, ratings.cols, ratings.values)) == [(1, 0, 4.5), (0, 0, 3.0), (0, 1, 1.0)]


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("r.csv", "10;7;4.5\n2;7;3\n2;100;1\n", TextFormat()),
        ("r.csv", "Kunde;Artikel;Note\n10;7;4,5\n2;7;3\n2;100;1,0\n", TextFormat()),
        ("ratings.dat", "10::7::4.5::978300760\n2::7::3::9\n2::100::1::9\n", TextFormat("::")),
        ("r.txt", "10|7|4.5\n2|7|3\n2|100|1\n", TextFormat("|")),
        ("r.csv", "10\t7\t4.5\n2\t7\t3\n2\t100\t1\n", TextFormat("tab")),
        ("r.csv", "rating,time,movieId,userId\n4.5,9,7,10\n3,9,7,2\n1,9,100,2\n", TextFormat()),
        ("r.csv", "a,b,c,d\n9,4.5,7,10\n9,3,7,2\n9,1,100,2\n", TextFormat(columns=("d", "C", "b"))),
        ("r.csv", "User,user,Rating\n7,10,4.5\n7,2,3\n100,2,1\n", TextFormat(columns=("user", "User", "rating"))),
        ("r.csv", "10,7,4.5\n2,7,3\n3,7,\n2,100,1\n5,5,NaN\n", TextFormat(skip_missing=True)),
        ("r.csv", "u;i;r\n10;7;4,500\n2;7;3,000\n2;100;1,000\n5;5;NA\n7;7;\n", TextFormat(skip_missing=True)),
        ("r.csv", "5,5,NA\n10,7,4.5\n2,7,3\n2,100,1\n7,7,null\n", TextFormat(skip_missing=True)),
        ("r.csv", "userId,book,score\n10,7,4.5\n2,7,3\n2,100,1\n", TextFormat()),
        ("r.csv", "user_id,parent_asin,rating,timestamp\n10,7,4.5,9\n2,7,3,9\n2,100,1,9\n", TextFormat()),
        ("r.tsv", '"rating"\t"item"\t"user"\n4.5\t7\t10\n3\t7\t2\n1\t100\t2\n', TextFormat()),
        ("r.csv", "Item ID,User-ID,My rating,Rating\n7,10,0,4.5\n7,2,0,3\n100,2,0,1\n", TextFormat()),
        ("r.csv", "Note;Artikel;Kunde\n4,5;7;10\n3;7;2\n1,0;100;2\n", TextFormat()),
        ("r.csv", 'x;"4,5"\n'.replace("x", "10;7") + "2;7;3\n2;100;1\n", TextFormat()),
    ],
)
def test_however_a_file_is_written(tmp_path: pathlib.Path, name: str, text: str, form: TextFormat) -> None:
    ratings = read_ratings(written(tmp_path, name, text), form)
    assert (ratings.row_labels.tolist(), ratings.col_labels.tolist()) == ([2, 10], [7, 100])
    assert list(zip(ratings.rows, ratings.cols, ratings.values)) == [(1, 0, 4.5), (0, 0, 3.0), (0, 1, 1.0)]
    assert ratings.skipped == (2 if form.skip_missing else 0)


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("1,1,5\n1,2,\n", TextFormat(), r"r\.csv, line 2: .*skip_missing leaves such lines out"),
        ("1,1,5\n1,2,NA\n", TextFormat(), r"r\.csv, line 2: .*--skip-missing"),
        ("\n\n1,1,5\n1,2,oops\n", TextFormat(skip_missing=True), r"r\.csv, line 4: expected row label"),
        ("\n1::1::5\n1::2\n", TextFormat("::"), r"r\.csv, line 3: .*separated by '::'"),
        ("user,item,rating\n1,1,5\n", TextFormat(columns=("user", "itm", "rating")), r"no column 'itm'.*mean 'item'"),
        ("a,a,b\n1,1,5\n", TextFormat(columns=("a", "b", "b")), r"line 1: more than one column is called 'a'"),
        (
            "User,user,rating\n1,1,5\n",
            TextFormat(columns=("USER", "user", "rating")),
            r"line 1: more than one column is called 'USER': 'User', 'user'",
        ),
        ("a,b,c\n1,1,5\n", TextFormat(columns=("a", "b")), r"columns: expected 3 names, got 2"),
        ("user_id,timestamp,book_id,rating\n1,9,2,5\n", TextFormat(), r"line 1: 'rating' is column 4, and other names"),
        ("when,user,item,liked\n9,1,1,5\n", TextFormat(), r"line 1: 'user' is column 2, and other names"),
        ("user,user_id,rating\n7,1,5\n", TextFormat(), r"line 1: 'user_id' is column 2, and other names"),
        ("item,movie,rating\n7,1,5\n", TextFormat(), r"line 1: 'item' is column 1, and other names"),
        ("user,item,rating,score\n7,1,5,9\n", TextFormat(), r"line 1: 'score' is column 4, and other names"),
        ('a,b,"3,5"\nc,d,4\n', TextFormat(), r"line 1: expected row label, column label and a finite number"),
        ("a,b,-.5 stars\nc,d,4\n", TextFormat(), r"line 1: expected row label, column label and a finite number"),
        (",who,what,points\n0,7,1,5\n", TextFormat(), r"r\.csv, line 1: column 1 has no name, .*--columns"),
        ("when,who,stars,what\n9,7,5,1\n", TextFormat(), r"r\.csv, line 1: has 4 columns, and their names .*--columns"),
        ("user,a,b,c\nu,1,5,2\nv,1,3,4\n", TextFormat(), r"line 1: has 4 columns, and their .* one entry a line"),
        ("\n0.5,1,5,2,7\n0.25,1,3,4,8\n", TextFormat(), r"r\.csv, line 2: has 5 fields, and no header .*--columns"),
        ("user,1,2,3\nu,5,4,3\nv,1,2,5\n", TextFormat(), r"line 1: begins with 'user' as .*whole matrix"),
        ("user_id,7,NA\nu,5,4\n", TextFormat(skip_missing=True), r"line 1: begins with 'user_id' as a header does"),
        ("user,item,rating\n1,1,5\n1,2,3,5\n", TextFormat(), r"line 3: has 4 fields, and the first line 3; "),
        (
            "a,x,3,5\nb,x,-4, 25\n",
            TextFormat(),
            r"r\.csv: the third and fourth field .* 25', may be one number with a dec",
        ),
        ("1,1,5\n1,Catch 22, again,3\n", TextFormat(), r"r\.csv, line 2: has 4 fields, and the first line 3"),
        ("1::1::5\n1::2::3::9\n", TextFormat("::"), r"r\.csv, line 2: has 4 fields, and the first line 3; .*'::'"),
        ("a,b,c\n1,1,5\n", TextFormat(columns=("a", "A", "c")), r"line 1: expected 3 different columns .*got a, A, c"),
        (
            "user_id,song,timestamp\n1,2,964982703\n",
            TextFormat(),
            r"line 1: 'timestamp' seems to be a time, .*--columns",
        ),
        ("1,2,964982703\n1,3,964982704\n", TextFormat(), r"r\.csv: the third field of each line, .* may be a time"),
        # 1 January 1991 and 2 January 2001 in milliseconds
        ("1,2,662688000000\n1,3,978393600000\n", TextFormat(), r"the third field of each line, .* may be a time"),
        (
            "u;i;plays\na;x;1,234\na;y;999\n",
            TextFormat(),
            r"r\.csv: values such as '1,234', beside others .* may be thou",
        ),
        (
            "u;i;plays\na;x;1.234\na;y;999\n",
            TextFormat(),
            r"r\.csv: values such as '1\.234', beside others .* may be th",
        ),
        (
            "0,1,2\n1,7,4\n1,9,3\n2,7,5\n",
            TextFormat(),
            r"r\.csv, line 1: may be an entry or the names that pandas gives",
        ),
        ("u,i,r\n1,7,4\nNA,9,3\n2,7,5\n", TextFormat(), r"r\.csv: all labels but 'NA' are integers; leave out"),
        ("u,i,r\n1,7,4\n1.0,9,3\n2,7,5\n", TextFormat(), r"r\.csv: one label is written '1' and '1\.0'"),
        (
            "1|1|5\n1|2|3\n",
            TextFormat(),
            r"r\.csv, line 1: .*separated by ',', got '1\|1\|5' \(--delimiter or delimiter",
        ),
    ],
)
def test_what_does_not_fit_its_format(tmp_path: pathlib.Path, text: str, form: TextFormat, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ratings(written(tmp_path, "r.csv", text), form)


@pytest.mark.parametrize(
    "text",
    [
        "a,x,3,978300760\nb,x,4,978300761\n",
        "user,item,rating,day\na,x,3,5\nb,x,4,6\n",
        "a,x,3,5\nb,x,4,\n",
        "a,x,3.0,5\nb,x,4,1\n",
    ],
)
def test_a_fourth_field_that_cannot_be_decimals_is_left_alone(tmp_path: pathlib.Path, text: str) -> None:
    assert read_ratings(written(tmp_path, "r.csv", text)).values.tolist() == [3.0, 4.0]


GIVEN_AGAIN = "b,y,1\na,x,5\na,y,2\na,x,4\nb,y,1.5\na,x,0\n"


@pytest.mark.parametrize(
    ("how", "values"), [("last", {"ax": 0.0, "ay": 2.0, "by": 1.5}), ("mean", {"ax": 3.0, "ay": 2.0, "by": 1.25})]
)
def test_of_several_lines_of_an_entry_the_last_or_the_mean_counts(tmp_path, monkeypatch, capsys, how, values) -> None:
    """By hand; a table of recommendations leaves these entries out, and a study reads the same file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text(GIVEN_AGAIN)
    ratings = read_ratings(tmp_path / "r.csv", TextFormat(duplicates=how))
    rows, cols = ratings.row_labels[ratings.rows], ratings.col_labels[ratings.cols]
    assert dict(zip(np.char.add(rows, cols).tolist(), ratings.values.tolist())) == values
    assert (ratings.repeated, len(ratings.values)) == (3, 3)
    said = ["complete", "r.csv", "--means", "none", "--lam", "1e-3", "--duplicates", how, "--out", "m.npz", "--json"]
    assert main(said) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["repeated"] == 3 and f"lines beside another of their entry: 3; the {how} counts" in err
    assert main(["recommend", "m.npz", "--without", "r.csv", "--duplicates", how]) == 0
    left = capsys.readouterr()
    assert [line[:4] for line in left.out.splitlines()[1:]] == ["b,x,"] and "counts" not in left.err
    # Which value counts says nothing about which entries are there.
    assert main(["recommend", "m.npz", "--without", "r.csv"]) == 0
    assert capsys.readouterr() == left
    grid = f'[problem]\nobjective = "completion"\ndata = "r.csv"\nduplicates = "{how}"\n[axes]\nlam = [100.0]\n'
    (tmp_path / "grid.toml").write_text(f'{grid}[run]\nmethod = "lbfgs"\n')
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--json", "--quiet"]) == 0
    # At so large a weight X = 0 is optimal, and f there is half the sum of squares.
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["fun"] == pytest.approx(0.5 * sum(value**2 for value in values.values()), abs=1e-9)


@pytest.mark.parametrize("labels", [("abcde", "xy"), ("ab", "vwxyz")])
def test_entries_of_tall_and_wide_files_are_told_apart(tmp_path, labels) -> None:
    whole = {(row, col): float(k) for k, (row, col) in enumerate(itertools.product(*labels))}
    lines = [f"{row},{col},{value}\n" for (row, col), value in whole.items()]
    (tmp_path / "r.csv").write_text("".join([*lines, lines[3]]))
    ratings = read_ratings(tmp_path / "r.csv", TextFormat(duplicates="last"))
    found = zip(ratings.row_labels[ratings.rows].tolist(), ratings.col_labels[ratings.cols].tolist())
    assert dict(zip(found, ratings.values.tolist())) == whole


def test_names_that_do_not_say_which_are_meant_are_listed(tmp_path) -> None:
    """They are what ``--columns`` takes, and a header of a whole matrix has thousands."""
    known = "their names do not say which are meant: 'client', 'article', 'étoiles', 'jour'"
    with pytest.raises(ValueError, match=rf"{known}; name those \(columns, or --columns\)"):
        read_ratings(written(tmp_path, "r.csv", "client;article;étoiles;jour\na;x;3;lundi\n"))
    wide = ",".join(f"q{k}" for k in range(2000))
    with pytest.raises(ValueError, match=r"'q8', 'q9' and 1990 others; name"):
        read_ratings(written(tmp_path, "w.csv", f"{wide}\n{wide}\n"))


def test_what_is_no_rule_for_several_lines_of_an_entry(tmp_path) -> None:
    with pytest.raises(ValueError, match="duplicates: expected 'last', 'mean' or None, got 'first'"):
        TextFormat(duplicates="first")
    (tmp_path / "r.csv").write_text(GIVEN_AGAIN)
    with pytest.raises(ValueError, match=r"r\.csv, line 4: .*has a value already \(line 2\).*--duplicates"):
        read_ratings(tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("lines", "columns", "unread"),
    [
        ("user,item,rating,weight\na,x,1,7\nb,y,2,9\n", (), ["weight"]),
        ("time,score,item,weight,user\n5,1,x,7,a\n6,2,y,9,b\n", (), ["time", "weight"]),
        ("a,x,1,881250949\nb,y,2,881250950\n", (), ["column 4"]),
        ("user,item,rating,\x1b[31mred\na,x,1,7\nb,y,2,9\n", (), ["\x1b[31mred"]),  # shown, not obeyed
        ("user,item,rating\na,x,1\nb,y,2\n", (), []),
        ("user,item,rating,\na,x,1,\nb,y,2,\n", (), []),
        ("user,item,rating,weight\na,x,1,7\nb,y,2,9\n", ("user", "item", "rating"), []),
    ],
)
def test_columns_that_play_no_part_are_named(tmp_path, monkeypatch, capsys, lines, columns, unread) -> None:
    """Weights beside ratings were left out in silence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text(lines)
    ratings = read_ratings("r.csv", TextFormat(columns=columns or None))
    assert (ratings.values.tolist(), list(ratings.unread)) == ([1.0, 2.0], unread)
    assert main(["complete", "r.csv", *(["--columns", *columns] if columns else [])]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "play no part" in line]
    assert told == [f"r.csv: columns that play no part: {', '.join(map(repr, unread))}"] * bool(unread)


@pytest.mark.parametrize(
    "command",
    [
        ["complete", "r.csv", "--lam", "1", "--duplicates", "mean", "--skip-missing"],
        *([name, *TASK] for name in ("solve", "convex", "compare", "path")),
        ["certify", "zero.npz", *TASK],
        ["study", "grid.toml", "--store", "runs"],
        ["recommend", "model.npz", "--new", "r.csv", "--duplicates", "mean", "--skip-missing"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_says_what_of_a_file_plays_no_part(tmp_path, monkeypatch, capsys, command) -> None:
    """Only ``complete`` did: the others solved another problem than a column of weights asks for, in silence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text("user,item,rating,weight\na,x,1,7\na,x,3,7\na,y,NA,1\nb,x,4,1\nb,y,2,9\nc,y,5,9\n")
    (tmp_path / "grid.toml").write_text(
        '[problem]\nobjective = "completion"\ndata = "r.csv"\nskip_missing = true\nduplicates = "mean"\nlam = 1.0\n'
        '[axes]\nrank = [1]\n[run]\nmethod = "lbfgs"\n'
    )
    (tmp_path / "m.csv").write_text("a,x,1.5\na,y,2.5\nb,x,4.5\nb,y,2.5\n")
    np.savez(tmp_path / "zero.npz", X=np.zeros((3, 2)))
    assert main(["complete", "m.csv", "--lam", "0.1", "--out", "model.npz", "--quiet"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("r.csv")] == [
        "r.csv: columns that play no part: 'weight'",
        "r.csv: lines without a value, left out: 1",
        "r.csv: lines beside another of their entry: 1; the mean counts",
    ]


def test_pairs_by_the_names_in_their_header(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "p.csv", "time;movieId;userId\n9;b;a\n9;d;c\n")
    assert read_pairs(path) == Pairs(["a", "c"], ["b", "d"], ("userId", "movieId"))
    path = written(tmp_path, "p.txt", "x|y|z\n9|b|a\n")
    assert read_pairs(path, TextFormat("|", ("z", "y"))) == Pairs(["a"], ["b"], ("z", "y"))
    path = written(tmp_path, "p.csv", "a:1,a:2\n9,8\n")
    assert read_pairs(path, TextFormat(columns=("a:2", "a:1"))) == Pairs(["8"], ["9"], ("a:2", "a:1"))
    path = written(tmp_path, "p.csv", "user:0,item:1\nuser:2,item:1\n")
    assert read_pairs(path) == Pairs(["user:0", "user:2"], ["item:1", "item:1"], ("row", "column"))
    path = written(tmp_path, "p.inter", "item_id:token\tuser_id:token_seq\n9\t8\n")
    assert read_pairs(path) == Pairs(["8"], ["9"], ("user_id:token_seq", "item_id:token"))
    path = written(tmp_path, "p.tsv", "a\tb\n")
    assert read_pairs(path) == Pairs(["a"], ["b"], ("row", "column"))


def test_a_whole_matrix_is_no_file_of_pairs(tmp_path: pathlib.Path) -> None:
    """Its numbers would be labels, silently."""
    np.savetxt(tmp_path / "M.csv", np.ones((3, 6)), delimiter=",")
    with pytest.raises(ValueError, match=r"M\.csv, line 1: has 6 fields, and no header says which are meant"):
        read_pairs(tmp_path / "M.csv")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("r.csv", ["0.51,1.2,-0.3", "1.1,0.7,2.5", "0.51,0.2,1.5"]),
        ("r.csv", ["2,0.5,1.25,3.1", "1,1.5,0.75,2", "2,0.5,3,0.1"]),
        ("r.csv", ["5,3,1", "4,2,2", "1,1,5"]),
        ("r.csv", ["78,85,92", "60,85,71", "78,90,55"]),
        ("r.tsv", ["5\t3\t0\t1", "4\t0\t0\t1", "1\t1\t0\t5", "1\t0\t0\t4", "0\t1\t5\t4"]),
    ],
)
def test_a_whole_matrix_of_three_or_four_columns_is_not_taken_for_entries(
    tmp_path, name: str, lines: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"expected a header, as in 'row.*value', if they are entries; a whole"):
        read_ratings(written(tmp_path, name, "\n".join(lines)))
    # With one the same lines are entries, but where a pair of labels has two values.
    header = {".csv": "row,column,value,other", ".tsv": "row\tcolumn\tvalue\tother"}[name[1:]]
    text = "\n".join([header, *lines])
    if lines[0].startswith("2,0.5"):
        with pytest.raises(ValueError, match="each entry may occur once"):
            read_ratings(written(tmp_path, name, text))
    else:
        values = [float(line.replace("\t", ",").split(",")[2]) for line in lines]
        assert read_ratings(written(tmp_path, name, text)).values.tolist() == values


@pytest.mark.parametrize(
    "text",
    [
        "1,1,5\n1,2,4\n2,1,3\n",
        "1.0,7.0,4.5\n2.0,7.0,3\n",
        "v1.5,a,2\nv1.6,b,3\n",
        "1,10,4\n2,10,3\n1,20,1\n",
        "0,1,2\n0,2,4\n1,1,3\n",
        "v,1,5\nv,1.0,4\nw,1.0b,3\n",
        "196,242,3,881250949\n186,302,3,891717742\n196,302,1,878887116\n",
    ],
)
def test_entries_that_need_no_header(tmp_path: pathlib.Path, text: str) -> None:
    values = [float(line.split(",")[2]) for line in text.splitlines()]
    assert read_ratings(written(tmp_path, "r.csv", text)).values.tolist() == values


def test_a_time_and_empty_fields_do_not_count(tmp_path: pathlib.Path) -> None:
    ratings = read_ratings(written(tmp_path, "r.csv", "10,7,4.5,99,,\n2,7,3,98,,\n2,100,1,97,,\n"))
    assert (ratings.row_labels.tolist(), ratings.values.tolist()) == ([2, 10], [4.5, 3.0, 1.0])


@pytest.mark.parametrize(("text", "line"), [(",who,what\n0,a,b\n", 1), ("a,b\na,\n", 2), ("a,b\nc\n", 2)])
def test_a_pair_has_two_labels(tmp_path: pathlib.Path, text: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"p\.csv, line {line}: expected two labels separated by ',', got "):
        read_pairs(written(tmp_path, "p.csv", text))


@pytest.mark.parametrize("delimiter", ["", '"', "\n"])
def test_what_is_no_delimiter(delimiter: str) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        TextFormat(delimiter)


def test_labels_may_be_text(tmp_path: pathlib.Path) -> None:
    ratings = read_ratings(written(tmp_path, "r.csv", "bob,Alien,5\nann,Alien,4\n"))
    assert ratings.row_labels.tolist() == ["ann", "bob"]
    assert ratings.rows.tolist() == [1, 0]


def test_labels_of_nineteen_digits_are_numbers_as_far_as_int64_goes(tmp_path: pathlib.Path) -> None:
    ids = [2**63 - 1, 9, -(2**63), 10**18]
    for last, expected in [("7", sorted([*ids, 7])), (str(2**63), sorted(map(str, [*ids, 2**63])))]:
        text = "".join(f"{label},0,1\n" for label in [*ids, last])
        assert read_ratings(written(tmp_path, "r.csv", text)).row_labels.tolist() == expected


def test_a_quote_between_tabs_is_a_character(tmp_path: pathlib.Path) -> None:
    entries = [("ann", '"Heroes" (live)', 5.0), ("ann", '"Weird Al Live', 4.0), ("bob", "Alien", 3.0)]
    entries += [("bob", "Brazil", 2.0), ("cid", '"Best of', 1.0), ("cid", "Alien", 5.0)]
    lines = ["user\titem\trating", *(f"{row}\t{col}\t{value}" for row, col, value in entries)]
    ratings = read_ratings(written(tmp_path, "songs.tsv", "\n".join(lines)))
    assert (
        list(zip(ratings.row_labels[ratings.rows], ratings.col_labels[ratings.cols], ratings.values.tolist()))
        == entries
    )
    pairs = read_pairs(written(tmp_path, "pairs.tsv", "\n".join(f"{row}\t{col}" for row, col, _ in entries)))
    assert list(zip(pairs.rows, pairs.cols)) == [entry[:2] for entry in entries]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('1,a,5\n1,"b,4\n2,a,3\n', r"r\.csv, line 2: cannot be split into fields \(unexpected end of data\)"),
        ('1,a,5\n1,"b,4\n2,"c,3\n', r"r\.csv, line 2: cannot be split into fields"),
        ('1,a,5\n1,"b" (live),4\n', r"r\.csv, line 2: cannot be split into fields"),
        ('1,a,5\n1,"b,4\n2,a",3\n', r"r\.csv, line 2: expected a label in one line, got 'b,4\\n2,a'"),
    ],
)
def test_a_stray_quote_takes_no_lines_with_it(tmp_path: pathlib.Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ratings(written(tmp_path, "r.csv", text))


def test_a_label_of_two_lines_is_named_where_its_line_has_no_other_field(tmp_path: pathlib.Path) -> None:
    """The row is the second column here, which such a line has not."""
    path = written(tmp_path, "r.csv", 'item,user,stars\n"b\n4"\n')
    with pytest.raises(ValueError, match=r"line 2: expected a label in one line, got 'b\\n4'"):
        read_ratings(path, TextFormat(columns=("user", "item", "stars")))


def test_versions_are_no_integers_in_another_form(tmp_path: pathlib.Path) -> None:
    """Beside the text ``v2.0`` the labels ``1`` and ``1.0`` are texts as well, and three."""
    ratings = read_ratings(written(tmp_path, "r.csv", "1,7,4\n1.0,9,3\nv2.0,7,5\n"))
    assert ratings.row_labels.tolist() == ["1", "1.0", "v2.0"]


def test_quoted_fields_of_csv(tmp_path: pathlib.Path) -> None:
    entries = [("ann", 'the "best", of', "5", "two\nlines"), ("bob", "x", "4", 'a "word"')]
    with open(tmp_path / "r.csv", "w", newline="") as file:
        csv.writer(file).writerows(entries)
    ratings = read_ratings(tmp_path / "r.csv")
    assert ratings.col_labels.tolist() == ['the "best", of', "x"]
    assert ratings.values.tolist() == [5.0, 4.0]


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("Row", "col", "Value"),
        ("user_id", "Movie-ID", "RATING"),
        ("userId", "productId", "stars"),
        ("User", "Item ID", "score"),
        ("Nutzer", "Artikel", "Bewertung"),
        ("Benutzer", "Movie", "Note"),
        ("Kunde", "Produkt", "rating"),
        ("Utilisateur", "Produit", "note"),
        ("Usuario", "Producto", "Puntuación"),
        ("usuario", "item", "Valoración"),
        ("Utente", "column", "Voto"),
    ],
)
def test_columns_are_found_by_their_names_in_several_languages(tmp_path, row: str, column: str, value: str) -> None:
    """Beside a time, in an order in which the first three fields are others."""
    (tmp_path / "r.csv").write_text(f"{value},date,{column},{row}\n5,7,x,a\n3,8,y,b\n", encoding="utf-8")
    ratings = read_ratings(tmp_path / "r.csv")
    assert (ratings.row_labels.tolist(), ratings.col_labels.tolist()) == (["a", "b"], ["x", "y"])
    assert ratings.values.tolist() == [5.0, 3.0] and ratings.names == (row, column) and ratings.unread == ("date",)


@pytest.mark.parametrize(
    "name", ["timestamp", "Time", "date_time", "Date", "unixtime", "unixReviewTime", "Zeit", "Datum", "fecha"]
)
def test_the_name_of_a_time_is_none_of_a_value(tmp_path, name: str) -> None:
    (tmp_path / "r.csv").write_text(f"user,item,{name}\na,x,5\nb,y,3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"line 1: '{name}' seems to be a time"):
        read_ratings(tmp_path / "r.csv")


def test_matrix_market(tmp_path: pathlib.Path) -> None:
    dense = np.array([[0.0, 2.5, 0.0], [1.0, 0.0, -3.0]])
    scipy.io.mmwrite(tmp_path / "m.mtx", scipy.sparse.coo_array(dense))
    ratings = read_ratings(tmp_path / "m.mtx")
    rebuilt = np.zeros(ratings.shape)
    rebuilt[ratings.rows, ratings.cols] = ratings.values
    assert np.array_equal(rebuilt, dense)


@pytest.mark.parametrize("name", ["m.mtx.gz", "M.MTX.GZ"])
def test_compressed_matrix_market(tmp_path: pathlib.Path, name: str) -> None:
    """Of capitals SciPy does not know that they say so, and took the compressed bytes for text."""
    (tmp_path / name).write_bytes(
        gzip.compress(b"%%MatrixMarket matrix coordinate real general\n2 3 2\n1 2 2.5\n2 1 1\n")
    )
    ratings = read_ratings(tmp_path / name)
    assert ratings.shape == (2, 3) and list(zip(ratings.rows, ratings.cols)) == [(0, 1), (1, 0)]
    assert ratings.values.tolist() == [2.5, 1.0]
    (tmp_path / "m.mtx").write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(ValueError, match=r"m\.mtx: is compressed by gzip, which a name that ends in \.gz says"):
        read_ratings(tmp_path / "m.mtx")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "1,1,5\n1,2,oops\n", r"r\.csv, line 2: expected row label.*'1,2,oops'"),
        ("r.csv", "1,1,5\n1,2\n", r"r\.csv, line 2"),
        ("r.csv", "1,1,5\n\n1,2,nan\n", r"r\.csv, line 3"),
        ("r.csv", "\n \nuser,item,time\n1,1,5\n", r"r\.csv, line 3: 'time' seems to be a time"),
        ("r.csv", "\n1,2,3,4,5\n", r"r\.csv, line 2: has 5 fields"),
        ("r.csv", "1,1,5\n1,2,1_000\n", r"r\.csv, line 2: .*'1,2,1_000'"),
        ("r.csv", "a,b,c\nd,e,f\n", r"r\.csv, line 2"),
        ("r.csv", "rating,user,item\n5,1,1\n5\n", r"r\.csv, line 3: expected row label.*'5'"),
        ("r.csv", "1,1,5\n,2,4\n", r"r\.csv, line 2: expected row label.*',2,4'"),
        ("r.csv", "user,item,rating\n1, ,5\n", r"r\.csv, line 2: expected row label.*'1, ,5'"),
        ("r.csv", "1\t1\t5\n", r"r\.csv, line 1: .*separated by ','"),
        ("r.csv", "1,1,5\n2,1,3\n1,1,4\n", r"r\.csv, line 3: row '1', column '1' has a value already \(line 1\)"),
        ("r.csv", "1,a\0,5\n2,a,3\n", r"r\.csv: the label 'a\\x00' ends with a zero byte"),
        ("r.csv", "", r"r\.csv: holds no ratings"),
        ("r.csv", "user,item,rating\n", r"r\.csv: holds no ratings"),
        ("r.txt", "1,1,5\n", r"unknown kind of ratings file '\.txt'; accepted: \.csv.*--delimiter"),
        ("r.mtx", "this is no matrix\n", r"r\.mtx: "),
        ("r.mtx", "%%MatrixMarket matrix coordinate real general\n2 2 1\n5 1 3.0\n", r"r\.mtx: "),
        (
            "r.mtx",
            "%%MatrixMarket matrix coordinate real general\n3 3 3\n1 1 3.0\n2 1 1\n3 2 nan\n",
            r"r\.mtx: row 3, column 2: expected a finite number, got nan",
        ),
        (
            "r.mtx",
            "%%MatrixMarket matrix array real general\n2 2\n1\n0\ninf\n4\n",
            r"r\.mtx: row 1, column 2: expected a finite number, got inf",
        ),
        (
            "r.mtx",
            "%%MatrixMarket matrix coordinate real general\n3 3 3\n1 1 3.0\n2 1 1\n1 1 2\n",
            r"r\.mtx: row 1, column 1 has more than one value",
        ),
        (
            "r.mtx",
            "%%MatrixMarket matrix coordinate real general\n100000000 3 1\n1 1 3.0\n",
            r"r\.mtx: declares 100000000 x 3 for 1 entries, and at most 10000000 rows and columns without an entry",
        ),
    ],
)
def test_malformed_ratings(tmp_path: pathlib.Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ratings(written(tmp_path, name, text))


@pytest.mark.parametrize("shape", [(100_000_000, 3), (3, 100_000_000)])
def test_an_archive_of_mostly_empty_rows_or_columns(tmp_path: pathlib.Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "r.npz"
    np.savez(path, rows=[0, 1], cols=[1, 2], values=[1.0, 2.0], shape=shape)
    with pytest.raises(ValueError, match=rf"r\.npz: declares {shape[0]} x {shape[1]} for 2 entries, and at most"):
        read_task("completion", path)


def test_a_matrix_market_file_is_written_in_one_way(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "r.mtx", "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 3.0\n")
    assert read_ratings(path).values.tolist() == [3.0]
    for form, names in (
        (TextFormat(";"), "delimiter"),
        (TextFormat(columns=("a",), skip_missing=True), "columns, skip_m"),
    ):
        with pytest.raises(ValueError, match=rf"^{names}.*: .*r\.mtx is in Matrix Market format, which says itself"):
            read_ratings(path, form)


def test_compressed_text_is_read_as_what_it_holds(tmp_path: pathlib.Path) -> None:
    for name, separator in (("r.csv.gz", ","), ("r.DATA.GZ", "\t")):
        with gzip.open(tmp_path / name, "wt") as file:
            file.write("\n".join(separator.join(fields) for fields in (("u", "i", "4"), ("v", "i", "2"))))
        found = read_ratings(tmp_path / name)
        assert found.values.tolist() == [4.0, 2.0] and found.row_labels.tolist() == ["u", "v"]
    with gzip.open(tmp_path / "p.tsv.gz", "wt") as file:
        file.write("user\titem\nu\ti\n")
    pairs = read_pairs(tmp_path / "p.tsv.gz")
    assert (pairs.rows, pairs.cols) == (["u"], ["i"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"u,i,4\n", "is damaged or of another format"),
        (gzip.compress(b"u,i,4\n" * 9)[:-9], "is damaged or of another format"),
        (gzip.compress(b"u,i\n"), "line 1: expected row label"),
    ],
    ids=["not compressed", "cut off", "without values"],
)
def test_what_is_wrong_with_compressed_ratings_names_the_file(tmp_path, content, message) -> None:
    (tmp_path / "r.csv.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"r\.csv\.gz(:|,) {message}"):
        read_ratings(tmp_path / "r.csv.gz")
    (tmp_path / "r.mtx.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"r\.mtx\.gz: "):
        read_ratings(tmp_path / "r.mtx.gz")
    (tmp_path / "r.xml.gz").touch()
    with pytest.raises(ValueError, match=r"kind of ratings file '\.xml\.gz'; accepted: \.csv"):
        read_ratings(tmp_path / "r.xml.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\0\xa1\x30", "is compressed by gzip, which a name that ends in .gz says"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0\xdd\xff", "or a spreadsheet, to be exported as .csv"),
        (b"PAR1\x15\x04\x15\xd0\xff", "is a Parquet table, to be exported as .csv"),
        (b"ARROW1\0\0\xff\xff\xff\xff", "is a table of Arrow, to be exported as .csv"),
    ],
)
def test_what_is_no_text_is_told_by_its_beginning(tmp_path: pathlib.Path, content: bytes, message: str) -> None:
    """They were called text in another encoding, and iconv makes nothing of them; or asked for their delimiter."""
    for name in ("r.csv", "r.parquet"):
        (tmp_path / name).write_bytes(content)
        for read in (read_ratings, read_pairs):
            with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
                read(tmp_path / name)


def test_ratings_that_are_no_text(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"1,1,5\n\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"r\.csv: is not a UTF-8 text file .*iconv -f LATIN1 -t UTF-8"):
        read_ratings(path)
    # As spreadsheets save "Unicode text".
    path.write_bytes("user,item,rating\nu,i,5\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"r\.csv: is not a UTF-8 text file .*iconv -f UTF-16 -t UTF-8"):
        read_ratings(path)
    path.write_bytes(path.read_bytes().decode("utf-16").encode())
    assert read_ratings(path).values.tolist() == [5.0]
    with pytest.raises(OSError, match="missing"):
        read_ratings(tmp_path / "missing.csv")


# ---------------------------------------------------------------------- arrays
def test_arrays_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "object.npz", M=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "single.npy", np.eye(2))
    whole = tmp_path / "whole.npz"
    np.savez(whole, M=np.eye(40))
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:400])
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("object.npz", "single.npy", "cut.npz", "text.npz"):
        with pytest.raises(ValueError, match=name):
            read_arrays(tmp_path / name)
    with pytest.raises(OSError, match=r"missing\.npz"):
        read_arrays(tmp_path / "missing.npz")


def test_arrays_come_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "arrays"
    arrays = {"M": np.arange(6.0).reshape(2, 3), "rows": np.array([3, 1], np.int32), "name": np.array("text")}
    write_arrays(path, arrays)
    for bad, message in ((3, "expected a dict"), ({1: np.ones(2)}, "expected a text"), ({"M": None}, "Python objects")):
        with pytest.raises(TypeError, match=f"arrays: .*{message}"):
            write_arrays(path, bad)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["arrays"]
    back = read_arrays(path)
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and np.array_equal(back[name], array)


def test_objective_from_arrays(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    W0, Z, labels = rng.standard_normal((3, 5)), rng.standard_normal((5, 20)), rng.integers(0, 3, 20)
    made = objective_from_arrays("softmax", {"W0": W0, "Z": Z, "labels": labels}, "data.npz")
    X = rng.standard_normal((3, 5))
    assert made.value_and_grad(X)[0] == Softmax(W0, Z, labels).value_and_grad(X)[0]
    with pytest.raises(ValueError, match=r"objective 'softmax' needs the array 'labels' \(there is 'label'\)"):
        objective_from_arrays("softmax", {"W0": W0, "Z": Z, "label": labels}, "data.npz")
    with pytest.raises(ValueError, match=r"no key 'label'\. Did you mean 'labels'"):
        objective_from_arrays("softmax", {"W0": W0, "Z": Z, "labels": labels, "label": labels}, "data.npz")
    with pytest.raises(ValueError, match=r"data\.npz: labels: "):
        objective_from_arrays("softmax", {"W0": W0, "Z": Z, "labels": labels + 1}, "data.npz")


# ---------------------------------------------------------------------- tasks
def test_held_out_arrays(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(1)
    W0, Z, labels = rng.standard_normal((3, 5)), rng.standard_normal((5, 20)), rng.integers(0, 3, 20)
    Z_test, labels_test = rng.standard_normal((5, 7)), rng.integers(0, 3, 7)
    np.savez(tmp_path / "d.npz", W0=W0, Z=Z, labels=labels, Z_test=Z_test, labels_test=labels_test)
    task = read_task("softmax", tmp_path / "d.npz")
    by_hand = float(np.mean(np.argmax(W0 @ Z_test, axis=0) == labels_test))
    assert task.metrics() == {"accuracy": by_hand}
    assert task.rank == 3 and task.remarks == ()


def test_held_out_samples_without_labels_of_their_own_are_told(tmp_path: pathlib.Path, capsys) -> None:
    """As many samples as are trained on were judged by the labels of those, without a word."""
    rng = np.random.default_rng(1)
    given = {"W0": np.zeros((3, 5)), "Z": rng.standard_normal((5, 20)), "labels": rng.integers(0, 3, 20)}
    path = tmp_path / "d.npz"
    np.savez(path, **given, Z_test=rng.standard_normal((5, 20)))
    assert main(["convex", "--objective", "softmax", str(path), "--lam", "0.1"]) == 0
    assert capsys.readouterr().err == f"{path}: the data held out by Z_test share labels with those trained on\n"
    np.savez(path, **given)
    assert main(["convex", "--objective", "softmax", str(path), "--lam", "0.1"]) == 0
    assert capsys.readouterr().err == ""


def test_held_out_arrays_that_do_not_fit_are_named(tmp_path: pathlib.Path) -> None:
    given = {"W0": np.zeros((3, 5)), "Z": np.ones((5, 4)), "labels": np.zeros(4, int)}
    np.savez(tmp_path / "d.npz", **given, Z_test=np.ones((5, 2)), labels_test=np.zeros(3, int))
    with pytest.raises(ValueError, match=r"labels: .* \(2,\), got \(3,\) .*held out by Z_test, labels_test"):
        read_task("softmax", tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", **given, Y_test=np.zeros(3))
    with pytest.raises(ValueError, match=r"no key 'Y'.*held out by Y_test"):
        read_task("softmax", tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", M=np.eye(4), M_test=np.eye(5))
    with pytest.raises(ValueError, match=r"d\.npz: .*shape \(4, 4\), got M_test for one of shape \(5, 5\)"):
        read_task("denoising", tmp_path / "d.npz")


def test_completion_split(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(2)
    full = rng.standard_normal((8, 6)) + 3.0
    lines = [f"{i},{j},{float(full[i, j])!r}" for i in range(8) for j in range(6)]
    path = written(tmp_path, "r.csv", "\n".join(lines))
    task = read_task("completion", path, center=True, test_fraction=0.25, seed=3)
    train, test = task.arguments, task.test
    assert len(train["values"]) == 36
    assert isinstance(test, MatrixCompletion)
    assert abs(train["values"].mean()) < 1e-14
    seen = {(int(i), int(j)) for i, j in zip(train["rows"], train["cols"])}
    assert len(seen) == 36
    # What is held out is exactly the rest: predicting the subtracted mean there has the error computed by hand.
    mean = np.mean([full[i, j] for i, j in seen])
    rest = [full[i, j] - mean for i in range(8) for j in range(6) if (i, j) not in seen]
    assert task.metrics()["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(rest))), rel=1e-12)
    other = read_task("completion", path, test_fraction=0.25, seed=4).arguments
    assert {(int(i), int(j)) for i, j in zip(other["rows"], other["cols"])} != seen


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("completon", {}, "Did you mean 'completion'"),
        ("softmax", {}, r"objective 'softmax' is read from an \.npz archive"),
        ("completion", {"test_fraction": 1.0}, "test_fraction: expected"),
        ("completion", {"test_fraction": 0.9}, "leaves none to train on"),
        ("completion", {"test_fraction": 0.1}, "holds none out"),
    ],
)
def test_refused_tasks(tmp_path: pathlib.Path, name: str, options: dict[str, float], message: str) -> None:
    path = written(tmp_path, "r.csv", "1,1,5\n")
    with pytest.raises(ValueError, match=message):
        read_task(name, path, **options)


def test_options_of_ratings_files_are_refused_by_their_names(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, rows=[0], cols=[0], values=[1.0], shape=[2, 2])
    for options, names in (({"center": True}, "center"), ({"form": TextFormat(";")}, "form")):
        with pytest.raises(ValueError, match=rf"^{names}: expected with a ratings file only, which .*d\.npz is not$"):
            read_task("completion", path, **options)
    with pytest.raises(
        ValueError, match=r"^test_fraction: expected with .*; its keys ending in '_test' hold data out$"
    ):
        read_task("completion", path, test_fraction=0.5)


# ---------------------------------------------------------------------- writing
def test_a_failed_write_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.json"
    write_json(path, {"old": 1})

    def fails(file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fails)
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("error", [OSError("cannot write mode CMYK"), FileNotFoundError(2, "No such file", "palette")])
def test_what_a_writer_says_of_its_error_is_kept(tmp_path: pathlib.Path, error: OSError) -> None:
    def fails(file):
        raise error

    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "report.png", fails)
    assert caught.value is error


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are of Linux")
def test_a_file_has_no_name_before_it_is_complete(tmp_path: pathlib.Path) -> None:
    """What is killed then leaves nothing."""
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR))
    except OSError:
        pytest.skip("this file system has no files without a name")
    seen = []
    write_atomically(tmp_path / "report.json", lambda file: seen.append(os.listdir(tmp_path)))
    assert seen == [[]] and os.listdir(tmp_path) == ["report.json"]


def test_a_tilde_is_the_home_of_the_user_where_no_shell_expands_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a folder of that name beside the files at hand, which somebody removes some day."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    write_arrays("~/a/x.npz", {"A": np.eye(2)})
    assert (home / "a" / "x.npz").exists() and read_arrays("~/a/x.npz").keys() == {"A"}
    ls.Study(lambda lam: ls.Problem(Denoising(np.eye(3)), rank=1, lam=lam), {"lam": [0.5]}).run("~/b")
    assert (home / "b").exists()
    written(home, "r.csv", "u,i,v\n" + "".join(f"{k % 5},{k % 7},{k % 4}\n" for k in range(35)))
    assert str(read_ratings("~/r.csv")) == str(read_ratings(home / "r.csv"))
    assert main(["complete", str(home / "r.csv"), "--out=~/c/model.npz"]) == 0
    assert (home / "c" / "model.npz").exists()
    assert main(["complete", str(home / "c" / "model.npz"), "--out=~/c/model.npz"]) == 2
    assert "expected another file" in capsys.readouterr().err
    assert main(["prove", "nuclear_norm_variational", "--coq=~/d"]) == 0
    assert list((home / "d").iterdir())
    assert not list(here.iterdir())


def test_json_is_strict() -> None:
    numbers = [np.float64(1.5), np.inf]
    document = {"a": float("nan"), "b": numbers, "c": np.arange(3), "d": np.bool_(True), "e": (1, None)}

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = to_json(document)
    assert '"c": [0, 1, 2]' in text
    back = json.loads(text, parse_constant=refuse)
    assert back == {"a": None, "b": [1.5, None], "c": [0, 1, 2], "d": True, "e": [1, None]}


def test_json_keeps_text_in_lists() -> None:
    document = {"a": ["two  spaces", "line\nbreak", "[ bracket", ']\n"'], "b": [], "c": [[1, 2], [3]], "d": [{"e": []}]}
    assert json.loads(to_json(document)) == document


# ---------------------------------------------------------------------- results
@pytest.mark.parametrize(
    ("name", "adapter", "options"),
    [
        ("denoising", "lora", {}),
        ("linear", "lora", {"init": "pissa"}),
        ("linear", "dora", {}),
        ("completion", ls.adapters.LoRA(alpha=3.0, frozen="A"), {}),
        ("softmax", "lora", {"method": "gd+periodic"}),
        ("linear", "lora", {"method": "adam:step_size=0.05+cosine@dora~gaussian/lam=0.2"}),
        ("linear", "lora", {"method": "gd+rac_chain:inner=3/lam=0"}),
    ],
)
def test_result_comes_back(tmp_path: pathlib.Path, name: str, adapter: object, options: dict[str, str]) -> None:
    rng = np.random.default_rng(5)
    W0, Z = rng.standard_normal((4, 5)), rng.standard_normal((5, 30))
    arguments = {
        "denoising": {"M": rng.standard_normal((4, 5))},
        "linear": {"W0": W0, "Z": Z, "Y": rng.standard_normal((4, 30))},
        "completion": {
            "rows": np.array([0, 1, 2, 3]),
            "cols": np.array([1, 2, 3, 4]),
            "values": rng.standard_normal(4),
            "shape": (4, 5),
        },
        "softmax": {"W0": W0, "Z": Z, "labels": rng.integers(0, 4, 30)},
    }[name]
    problem = ls.Problem(objective_from_arrays(name, arguments, "here"), 2, 0.1, adapter)
    result = ls.solve(problem, stop=ls.StoppingRule(max_iter=20), **options)
    path = tmp_path / "r.npz"
    save_result(path, problem, result, arguments)
    problem_back, back = load_result(path)

    assert np.array_equal(back.theta, result.theta)
    assert np.array_equal(back.A, result.A)
    assert np.allclose(back.X, result.X, rtol=0, atol=1e-13)
    grad = np.empty_like(back.theta)
    assert back.problem.value_and_grad(back.theta, grad) == pytest.approx(result.fun, rel=1e-13)
    assert (back.status, back.seed, back.nit, back.message) == (result.status, result.seed, result.nit, result.message)
    assert back.trace.value == result.trace.value
    assert (back.method, back.started_from) == (result.method, result.started_from)
    assert (back.problem.adapter, back.problem.lam) == (result.problem.adapter, result.problem.lam)
    assert (problem_back.rank, problem_back.lam, problem_back.adapter) == (2, 0.1, problem.adapter)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda column: column[:-1], "not equally long"),
        (lambda column: column.astype(str), "no numbers"),
        (lambda column: None, "missing"),
    ],
)
def test_a_trace_whose_columns_do_not_fit_is_refused(tmp_path: pathlib.Path, change, words) -> None:
    M = np.arange(12.0).reshape(4, 3)
    problem = ls.Problem(ls.objectives.Denoising(M), 2, 0.5)
    save_result(tmp_path / "r.npz", problem, ls.solve(problem, "lbfgs"), {"M": M})
    arrays = read_arrays(tmp_path / "r.npz")
    changed = arrays | {"trace.value": change(arrays["trace.value"])}
    np.savez(tmp_path / "r.npz", **{key: array for key, array in changed.items() if array is not None})
    with pytest.raises(ValueError, match=f"r.npz: trace: its columns are .*{words}"):
        load_result(tmp_path / "r.npz")
    tables = {key: array[:, None] if key.startswith("trace.") else array for key, array in arrays.items()}
    np.savez(tmp_path / "r.npz", **tables)
    with pytest.raises(ValueError, match=r"r.npz: trace: its columns are .*more than one dimension"):
        load_result(tmp_path / "r.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.pop("Y"), "objective 'linear' needs the array 'Y'"),
        (lambda data: data.update(y=data.pop("Y")), r"needs the array 'Y' \(there is 'y'\)"),
        (lambda data: data.update(note="second try"), "has no key 'note'"),
        (lambda data: data.update(Z=2.0 * data["Z"]), "build another loss: f = "),
        (lambda data: data.update(W0=data["W0"].T, Z=data["Y"], Y=data["Z"]), r"build a loss of shape \(5, 4\)"),
    ],
)
def test_a_result_is_not_saved_with_data_that_do_not_give_its_problem_back(tmp_path, change, words) -> None:
    """Such a file was written, and could not be read, or was a result of another problem."""
    rng = np.random.default_rng(5)
    data = {"W0": rng.standard_normal((4, 5)), "Z": rng.standard_normal((5, 9)), "Y": rng.standard_normal((4, 9))}
    problem = ls.Problem(ls.objectives.LinearFineTuning(**data), 2, 0.1)
    result = ls.solve(problem, "lbfgs")
    change(data)
    with pytest.raises(ValueError, match=f"^arguments: .*{words}"):
        save_result(tmp_path / "r.npz", problem, result, data)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head: head.pop("rank"), "head: entry 'rank' is nothing"),
        (lambda head: head.update(rank=2.5), "head: entry 'rank' is 2.5"),
        (lambda head: head.update(rank=True), "head: entry 'rank' is True"),
        (lambda head: head["problem"].update(lam="0.5"), "problem: entry 'lam' is '0.5'"),
        (lambda head: head["result"].update(fun=None), "result: entry 'fun' is None"),
    ],
)
def test_a_head_with_entries_of_another_kind_is_refused(tmp_path: pathlib.Path, change, words) -> None:
    M = np.arange(12.0).reshape(4, 3)
    problem = ls.Problem(ls.objectives.Denoising(M), 2, 0.5)
    save_result(tmp_path / "r.npz", problem, ls.solve(problem, "lbfgs"), {"M": M})
    arrays = read_arrays(tmp_path / "r.npz")
    head = json.loads(str(arrays["header"]))
    change(head)
    np.savez(tmp_path / "r.npz", **(arrays | {"header": np.array(json.dumps(head))}))
    with pytest.raises(ValueError, match=f"r.npz: {words}, which was not written by lorasolve"):
        load_result(tmp_path / "r.npz")


@pytest.mark.parametrize("dtypes", [("f8", "f4"), ("f4", "f8")])
@pytest.mark.parametrize("units", [0.0, 1e-6, 1.0, 1e6])
def test_a_result_is_saved_with_the_same_data_in_another_precision(tmp_path, units, dtypes) -> None:
    """Of a perfect fit f is rounding alone."""
    M = units * np.random.default_rng(0).standard_normal((4, 3))
    problem = ls.Problem(Denoising(M.astype(dtypes[0])), 3)
    result = ls.solve(problem, "lbfgs")
    save_result(tmp_path / "r.npz", problem, result, {"M": M.astype(dtypes[1])})
    assert load_result(tmp_path / "r.npz")[0].dtype == dtypes[1]


def test_a_result_of_another_rank_is_not_saved(tmp_path) -> None:
    loss = Denoising(np.eye(4))
    result = ls.solve(ls.Problem(loss, 2, 0.1), "lbfgs")
    with pytest.raises(ValueError, match="result: expected one of rank 3, as problem has, got rank 2"):
        save_result(tmp_path / "r.npz", ls.Problem(loss, 3, 0.1), result, {"M": np.eye(4)})


def test_diverged_result_comes_back(tmp_path: pathlib.Path) -> None:
    M = np.eye(3)
    problem = ls.Problem(Denoising(M), 1, 0.1)
    result = ls.solve(problem, ls.optimizers.GD(step_size=1e3))
    save_result(tmp_path / "r.npz", problem, result, {"M": M})
    assert load_result(tmp_path / "r.npz")[1].status is ls.Status.DIVERGED


def test_what_numpy_before_2_2_writes_is_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There every keyword of savez is an array, options of later versions too."""

    def savez_compressed(file: IO[bytes], **arrays: object) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(array))

    monkeypatch.setattr(np, "savez_compressed", savez_compressed)
    M = np.diag([3.0, 2.0, 1.0])
    problem = ls.Problem(Denoising(M), 1, 0.1)
    result = ls.solve(problem, stop=ls.StoppingRule(max_iter=5))
    save_result(tmp_path / "new.npz", problem, result, {"M": M})
    with zipfile.ZipFile(tmp_path / "new.npz") as archive:
        assert "allow_pickle.npy" not in archive.namelist() and "theta.npy" in archive.namelist()
    arrays = read_arrays(tmp_path / "new.npz")
    with (tmp_path / "old.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    for name in ("new.npz", "old.npz"):
        np.testing.assert_array_equal(load_result(tmp_path / name)[1].theta, result.theta)


def test_what_cannot_be_saved_or_loaded(tmp_path: pathlib.Path) -> None:
    class Mine:
        shape = (2, 2)

        def value_and_grad(self, X):
            return 0.5 * float((X**2).sum()), X

    problem = ls.Problem(Mine(), 1, 0.1)
    result = ls.solve(problem, stop=ls.StoppingRule(max_iter=2))
    words = r"problem: only objectives of lorasolve\.objectives can be saved with .*, got one of Mine; numpy\.savez"
    with pytest.raises(TypeError, match=words):
        save_result(tmp_path / "r.npz", problem, result, {})

    class Own(ls.optimizers.GD):
        name = "own"

    assert os.listdir(tmp_path) == []
    M = np.eye(3)
    mine = ls.solve(ls.Problem(Denoising(M), 1), Own(), stop=ls.StoppingRule(max_iter=2))
    save_result(tmp_path / "own.npz", ls.Problem(Denoising(M), 1), mine, {"M": M})
    _, loaded = load_result(tmp_path / "own.npz")
    assert loaded.method is None and loaded.fun == mine.fun
    np.testing.assert_array_equal(loaded.theta, mine.theta)
    np.savez(tmp_path / "other.npz", A=np.eye(2))
    with pytest.raises(ValueError, match=r"other\.npz: holds other arrays \(A\); expected a saved result"):
        load_result(tmp_path / "other.npz")
    np.savez(tmp_path / "later.npz", header=np.array(json.dumps({"schema": "lorasolve/result", "schema_version": 99})))
    with pytest.raises(ValueError, match="version 2 or 1, got 'lorasolve/result' version 99"):
        load_result(tmp_path / "later.npz")


def test_a_result_saved_by_version_0_1_0_is_read() -> None:
    """Gradient descent on denoising of 0..11 as a 4 x 3 matrix, rank 2, lam = 0.5, LoRA with alpha = 4."""
    problem, result = load_result(pathlib.Path(__file__).parent / "data" / "result_version_1.npz")
    np.testing.assert_array_equal(problem.objective.M, np.arange(12.0).reshape(4, 3))
    assert (problem.rank, problem.lam, problem.adapter) == (2, 0.5, ls.adapters.LoRA(alpha=4.0))
    assert (result.method, result.started_from, result.nit) == (None, "gaussian", 40)
    assert problem.value(result.A, result.B) == pytest.approx(result.fun, rel=1e-13)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"1,2\n3,4\n", "of another format"), (b"", "empty"), (b"\x93NUMPY\x01\x00", "a single array")],
)
def test_what_is_no_archive_is_told_how_one_is_written(tmp_path: pathlib.Path, content: bytes, words: str) -> None:
    """A matrix in a text file was "damaged or of another format (File is not a zip file)"."""
    path = tmp_path / "X.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"X\.csv: is {words}; expected an \.npz archive, as numpy\.savez writes it$"):
        read_arrays(path)
