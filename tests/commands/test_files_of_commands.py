"""What commands read and write: names, folders, and what is not written over."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re

import numpy as np
import pytest

from lorasolve.cli import main


@pytest.mark.parametrize("command", [["verdict", "run"], ["certify", "run"], ["predict", "run", "pairs.csv"]])
def test_a_name_without_the_suffix_that_was_added_is_met_with_it(capsys, command) -> None:
    """What ``--out run`` writes is called run.npz."""
    np.savez("run", X=np.zeros((10, 64)))
    assert main(command) == 2
    told = f"lorasolve {command[0]}: run: No such file or directory, but run.npz is there\n"
    assert capsys.readouterr().err == told
    assert main(["certify", "run.npz"]) == 0
    assert main(["verdict", "runs"]) == 2
    assert capsys.readouterr().err == "lorasolve verdict: runs: No such file or directory\n"


@pytest.mark.parametrize(
    ("command", "suffixes"),
    [
        (["complete", "r.csv", "--out"], [".npz"]),
        (["solve", "--objective", "denoising", "m.npz", "--lam", "1", "--max-iter", "1", "--out"], [".json", ".npz"]),
        (["convex", "--objective", "denoising", "m.npz", "--lam", "1", "--out"], [".json", ".npz"]),
    ],
)
def test_one_rule_for_names_of_what_is_written(capsys, tmp_path, command, suffixes) -> None:
    """``run.v2`` was a name to some commands and a format to others, and ``run.csv`` became ``run.csv.npz``."""
    np.savez("m.npz", M=np.eye(3))
    pathlib.Path("r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    for name, stem in (("run.v2", "run.v2"), ("lam0.5", "lam0.5"), ("plain", "plain"), ("own.npz", "own")):
        assert main([*command, name, "--quiet"]) in (0, 3)
        assert sorted(path.name for path in tmp_path.glob(f"{stem}*")) == [f"{stem}{suffix}" for suffix in suffixes]
    there = sorted(tmp_path.iterdir())
    for name in ("run.csv", "run.xlsx", "run.TXT", "folder/run.parquet"):
        assert main([*command, name]) == 2
        message = capsys.readouterr().err
        assert re.search(rf"--out: NAME\{suffixes[-1]}|--out: NAME\.npz", message) and name in message
    assert sorted(tmp_path.iterdir()) == there


def test_completion_from_a_ratings_file(capsys) -> None:
    rng = np.random.default_rng(1)
    full = np.outer(rng.standard_normal(12), rng.standard_normal(9))
    lines = ["user,item,rating"] + [f"{i},{j},{full[i, j]:.17g}" for i in range(12) for j in range(9)]
    pathlib.Path("ratings.csv").write_text("\n".join(lines))
    options = ["--test-fraction", "0.2", "--lam", "0.01", "--json", "--quiet"]
    assert main(["convex", "--objective", "completion", "ratings.csv", *options]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["data"] == "test"
    assert metrics["after"]["rmse"] < 0.1 * metrics["before"]["rmse"]
    options = ["--methods", "als", "--rank", "2", "--require-certificate", "--out", "c"]
    assert main(["compare", "--objective", "completion", "ratings.csv", "--lam", "0.01", *options]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "--objective", "denoising", "data.npz", "--lam", "1", "--out", "data"], "--out"),
        (["convex", "--objective", "denoising", "./data.npz", "--lam", "1", "--out", "folder/../data"], "--out"),
        (
            ["certify", "point.npz", "--objective", "denoising", "data.npz", "--lam", "1", "--write", "data.npz"],
            "--write",
        ),
        (
            ["certify", "point.npz", "--objective", "denoising", "data.npz", "--lam", "1", "--write", "point.npz"],
            "--write",
        ),
        (["complete", "ratings.csv", "--out", "ratings.csv"], "--out"),
        (["complete", "ratings.csv", "--write", "ratings.csv"], "--write"),
        (["predict", "model.npz", "pairs.csv", "--out", "pairs.csv"], "--out"),
        (["predict", "model.npz", "pairs.csv", "--out", "linked.npz"], "--out"),
        (["study", "grid.toml", "--store", "runs", "--latex", "grid.toml"], "--latex"),
        (["study", "data.toml", "--store", "runs", "--csv", "./ratings.csv"], "--csv"),
        (["study", "mine.toml", "--store", "runs", "--latex", "mine.py"], "--latex"),
    ],
)
def test_what_is_read_is_not_written_over(data, capsys, tmp_path, arguments, message) -> None:
    np.savez(tmp_path / "point.npz", X=np.zeros((6, 5)))
    (tmp_path / "ratings.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    (tmp_path / "pairs.csv").write_text("1,1\n")
    (tmp_path / "grid.toml").write_text("[axes]\nseed = [0]\n[run]\nmax_iter = 3\n")
    run = "rank = 1\nlam = 1\n[axes]\nseed = [0]\n[run]\nmax_iter = 3\n"
    (tmp_path / "data.toml").write_text(f"[problem]\nobjective = 'completion'\ndata = 'ratings.csv'\n{run}")
    (tmp_path / "mine.toml").write_text("[problem]\npython = 'mine.py:problem'\n[axes]\nlam = [1.0]\n")
    (tmp_path / "mine.py").write_text(
        "import lorasolve as ls\ndef problem(lam):\n    return ls.Problem(ls.objectives.Denoising([[1.0]]), 1, lam)\n"
    )
    (tmp_path / "folder").mkdir()
    assert main(["complete", "ratings.csv", "--out", "model.npz", "--quiet"]) == 0
    (tmp_path / "linked.npz").symlink_to("model.npz")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    capsys.readouterr()
    assert main([*arguments, "--quiet"]) == 2
    command = arguments[0]
    assert re.match(
        rf"lorasolve {command}: {message}: expected another file than .*, which is read", capsys.readouterr().err
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_theorem_is_not_written_over_nor_two_pages_into_one_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    source = (pathlib.Path(__file__).parents[2] / "proofs" / "lora_ntk.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    for option in ("--latex", "--page", "--export"):
        assert main(["prove", "mine.py", option, "./mine.py"]) == 2
        assert f"{option}: expected another file than mine.py, which is read" in capsys.readouterr().err
    assert main(["prove", "mine.py", "--latex", "out", "--page", "./out"]) == 2
    assert "--latex, --page, --export: expected different files, got ./out twice" in capsys.readouterr().err
    assert (tmp_path / "mine.py").read_text() == source and [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["prove", "lora_ntk", "--latex", "taken/out"],
        ["prove", "lora_ntk", "--page", "folder"],
        ["prove", "lora_ntk", "--export", "taken/out"],
        ["prove", "lora_ntk", "--coq", "taken/out"],
        ["solve", "--lam", "1", "--out", "taken/out"],
        ["certify", "point.npz", "--objective", "denoising", "data.npz", "--lam", "1", "--write", "folder"],
    ],
    ids=lambda arguments: " ".join((arguments[0], arguments[-2])),
)
def test_where_nothing_can_be_written_is_told_before_the_work(data, capsys, tmp_path, monkeypatch, arguments) -> None:
    """It was told at the end: after minutes, where all theorems are checked."""
    np.savez(tmp_path / "point.npz", X=np.zeros((6, 5)))
    (tmp_path / "taken").write_text("")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for work in ("commands.prove._Runs", "engine.solve", "certificates.certify"):
        monkeypatch.setattr(f"lorasolve.{work}", None)
    assert main(arguments) == 2
    why = "is a folder" if arguments[-1] == "folder" else os.strerror(errno.ENOTDIR)  # not that the file exists
    assert f"{arguments[-2]}: cannot be written: {why}" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_document_of_a_path_says_what_the_text_says(capsys) -> None:
    """It had neither the conclusion, which names the lam to take, nor the problem; neither named the adapter."""
    arguments = ["path", "--adapter", "lora:alpha=16", "--lam", "2", "0.5", "--tol", "1e-3", "--quiet"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["problem"] == text.splitlines()[1] == "10 x 64, rank 8, adapter lora:alpha=16"
    assert document["conclusion"].startswith("least held-out loss at lam = ") and document["conclusion"] in text


def test_a_wrong_name_is_refused_before_a_path_is_computed(capsys, monkeypatch) -> None:
    monkeypatch.setattr("lorasolve.studies.lam_path.path", None)
    assert main(["path", "--lam", "1", "--out", "curve/"]) == 2
    assert "--out: expected the name of a file, got 'curve/'" in capsys.readouterr().err


RATINGS = ["complete", "r.csv"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        # Files in the wrong order, of other commands, and folders.
        (["predict", "r.csv", "m.npz"], "model, pairs: expected in this order, got r.csv m.npz"),
        (["predict", "r.csv", "r.csv"], "r.csv: is of another format; expected a completion model, as `lorasolve comp"),
        (
            ["recommend", "m.npz"],
            "m.npz: holds other arrays; expected a completion model, as `lorasolve complete --out",
        ),
        (["verdict", "r.csv"], "r.csv: is of another format; expected a saved result, as `lorasolve solve --out NAME`"),
        (["verdict", "m.npz"], "m.npz: holds other arrays (X); expected a saved result, as `lorasolve solve --out NAM"),
        (["complete", "m.npz"], "m.npz: is an .npz archive of arrays, and no text file"),
        (["study", "m.npz"], "m.npz: is an .npz archive of arrays, and no text file"),
        (["study", "r.csv"], "r.csv: is no TOML: "),
        (["complete", "folder"], "folder: is a folder; expected a file"),
        (["verdict", "folder"], "folder: is a folder; expected a file"),
        (["certify", "m.npz", "--objective", "completion", "r.csv", "--lam", "1"], "m.npz: expected shape (2, 2), got"),
        (["complete", "ratings"], "ratings: No such file or directory"),
        (["prove", "mine.txt"], "NAME: unknown theorem 'mine.txt'. Accepted: "),
        (["prove", "nofile"], "NAME: unknown theorem 'nofile'. Accepted: "),  # not: did you mean 'FILE.py'?
        (["reproduce", "lemma1", "--quick", "--out", "r.csv"], "r.csv/lemma1.json: --out: cannot be written: Not a"),
        # What a variable of the shell that is not set leaves.
        (["predict", "m.npz", ""], "argument pairs: expected a path, got ''"),
        (["predict", "", "r.csv"], "argument model: expected a path, got ''"),
        (["complete", ""], "argument file: expected a path, got ''"),
        ([*RATINGS, "--test", ""], "argument --test: expected a path, got ''"),
        ([*RATINGS, "--held-out", ""], "argument --held-out: expected a path, got ''"),
        (["recommend", "m.npz", "--without", ""], "argument --without: expected a path, got ''"),
        (["recommend", "m.npz", "--new", ""], "argument --new: expected a path, got ''"),
        (["certify", ""], "argument file: expected a path, got ''"),
        (["solve", "--objective", "completion", ""], "--objective: expected a path, got ''"),
        (["verdict", ""], "argument file: expected a path, got ''"),
        (["study", ""], "argument GRID: expected a path, got ''"),
        (["diagnose", ""], "argument adapter: expected a path, got ''"),
        (["diagnose", ".", "--base", ""], "argument --base: expected a path, got ''"),
        (["truncate", "", "--rank", "1", "--out", "t"], "argument adapter: expected a path, got ''"),
        # Options by the names that the user knows.
        ([*RATINGS, "--columns", "u", "u", "x"], "r.csv, line 1: expected 3 different columns (columns, or --columns)"),
        ([*RATINGS, "--columns", "u", "v", "y"], "r.csv, line 1: has no column 'y' (columns, or --columns). Accepted"),
        ([*RATINGS, "--clip", "nan", "1"], "--clip: expected a finite number, got nan"),
        ([*RATINGS, "--clip", "1", "nan"], "--clip: expected a finite number, got nan"),
        (["compare", "--methods", "gd", "gd"], "--methods: expected different methods, got 'gd' twice"),
        (["attack", "optimizer"], "TARGET: expected optimizer:METHOD, got no method"),
    ],
)
def test_what_was_mistaken_for_what_is_said(capsys, command, message) -> None:
    """One line that names the argument as it was written, or the file, and what is accepted."""
    np.savez("m.npz", X=np.eye(3))
    pathlib.Path("r.csv").write_text("u,v,x\na,b,1\na,c,2\nd,b,3\n")
    pathlib.Path("folder").mkdir()
    try:
        code = main(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lorasolve ")]
    assert len(told) == 1
    assert told[0].startswith(f"lorasolve {command[0]}: {message}")
    assert command[0] != "prove" or told[0].endswith(", FILE.py.")
