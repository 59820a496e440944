"""Studies on the command line."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._support.threads import get_threads
from lorasolve.cli import main
from lorasolve.commands import study as study_command
from lorasolve.studies import Calls
from lorasolve.tasks import digits_task


def test_study_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import lorasolve as ls\n\n\ndef problem(kappa):\n"
        "    return ls.Problem(ls.landscape.instances.sharp(2, 1, 3, 3, kappa), rank=2)\n"
    )
    (tmp_path / "grid.toml").write_text(
        '[problem]\npython = "mine.py:problem"\n[axes]\nkappa = {linspace = [2.0, 8.0, 2]}\n'
        'init = ["gaussian:std=0.5", "gaussian:std=2.0"]\nseed = {range = [2]}\n'
        '[run]\nmethod = "lbfgs"\nmeasure = ["verdict"]\nmax_iter = 300\n'
    )
    phase = ["--phase", "init", "kappa", "share of spurious ends", "--html", "phase.html"]
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial"]
    assert main([*command, "--quiet", "--csv", "runs.csv", *phase]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["kappa", "init", "runs", "failed", "converged", "fun", "nit", "verdict.kind"]
    assert len(table) == 5 and len((tmp_path / "runs.csv").read_text().splitlines()) == 9
    page = (tmp_path / "phase.html").read_text()
    assert "lorasolve study grid.toml --repeat kappa=2.0 init=gaussian:std=0.5 seed=0" in page
    assert main(["study", "--status", "runs", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["runs"], status["asked"], status["damaged"]) == (8, 8, [])
    stored = {str(r["run"]["cell"]): r["result"]["fun"] for r in ls.Runs.read("runs")}
    cell = {"kappa": 8.0, "init": "gaussian:std=2.0", "seed": 1}
    assert main(["study", "grid.toml", "--json", "--repeat", *(f"{k}={v}" for k, v in cell.items())]) == 0
    assert json.loads(capsys.readouterr().out)["fun"] == stored[str(cell)]
    for words, message in (
        (["study", "grid.toml"], "--store: expected a folder"),
        ([*command, "--array", "3"], "--array: applies to '--backend slurm' only"),
        ([*command, "--jobs", "2"], "--jobs: expected 1, as 'serial' is this process alone, got 2"),
        ([*command, "--threads", "0"], "--threads: expected an integer from 1"),
        (["study", "grid.toml", "--repeat", "kappa=3"], "--repeat: expected a value of the axis 'kappa' (2.0, 8.0), "),
        (["study", "grid.toml", "--repeat", "kappa=2", "kappa=8"], "expected one value on each axis, got kappa twice"),
        (["study", "none.toml", "--store", "runs"], "No such file"),
        (["study", "--status", "nowhere"], "is no store of runs"),
    ):
        assert main(words) == 2 and message in capsys.readouterr().err
    (tmp_path / "other.toml").write_text('[problem]\npython = "mine.py:problm"\n[axes]\nkappa = [2.0]\n')
    assert main(["study", "other.toml", "--store", "runs"]) == 2
    assert "mine.py defines no 'problm'. Did you mean 'problem'?" in capsys.readouterr().err
    (tmp_path / "grid.toml").write_text("[axes]\nlam = {geomspce = [1, 2, 3]}\n")
    assert main(command) == 2 and "grid.toml: axes: lam: expected a list or one of geomspace" in capsys.readouterr().err


def test_what_a_page_says_repeats_the_runs_that_it_shows(tmp_path, capsys, monkeypatch):
    """Of two studies in one store: that of a file, and one in Python with other settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(
        "[axes]\nlam = [0.05, 0.1]\nrank = [2]\n[run]\nmethod = 'lbfgs'\nmax_iter = 3\n"
    )
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]
    assert main([*command, "--phase", "lam", "rank", "mean of fun", "--html", "file.html"]) == 0
    task = digits_task()
    study = ls.Study(
        ls.Problem(task.objective, 2, 0.1),
        {"lam": [0.05, 0.1], "rank": [2]},
        "lbfgs",
        stop=ls.StoppingRule(max_iter=30),
    )
    study.run("runs", "serial").phase("lam", "rank", "mean of fun", html="python.html")

    def again(text):
        if text.startswith("study.repeat("):
            return eval(text, {"study": study}).fun
        capsys.readouterr()
        assert main([*shlex.split(text)[1:], "--json"]) == 0
        return json.loads(capsys.readouterr().out)["fun"]

    values = set()
    for name in ("file.html", "python.html"):
        text = (tmp_path / name).read_text()
        data = json.loads(re.search(r'application/json">(.*?)</script>', text, re.DOTALL).group(1))
        for (run,) in (cell["runs"] for cell in data["cells"][0]):
            assert again(run["repeat"]) == run["value"]
            values.add(run["value"])
    assert len(values) == 4


@pytest.mark.parametrize(("lams", "code"), [("[-1.0, '0.5']", 1), ("[-1.0, 0.5]", 0), ("[0.5]", 0)])
def test_a_study_whose_runs_all_failed_is_no_success(tmp_path, capsys, monkeypatch, lams, code):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0]))
    problem = '[problem]\nobjective = "denoising"\ndata = "d.npz"\n'
    (tmp_path / "grid.toml").write_text(f"{problem}[axes]\nlam = {lams}\n[run]\nmethod = 'lbfgs'\n")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]) == code
    told = capsys.readouterr().err
    assert ("lam: expected a finite number in [0, inf), got -1.0" in told) == (code == 1)  # what exit code 1 is about
    assert main(["study", "--status", "runs"]) == 0


@pytest.mark.parametrize(
    ("steps", "diverged", "code"), [([1e3], 2, 1), ([1e3, 0.1], 2, 0), ([1e3, -1.0], 2, 1), ([0.1], 0, 0)]
)
def test_a_study_whose_runs_all_diverged_is_no_success(tmp_path, capsys, monkeypatch, steps, diverged, code):
    """Above 2/smoothness gradient descent leaves every neighbourhood of a minimum; a negative step is refused."""
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0]))
    methods = [f"gd:step_size={step}" for step in steps]
    text = f'[problem]\nobjective = "denoising"\ndata = "d.npz"\nrank = 1\nlam = 0.1\n[axes]\nmethod = {methods}\n'
    (tmp_path / "grid.toml").write_text(f"{text}seed = [0, 1]\n")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial"]) == code
    told = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    runs = 2 * len(steps)
    assert told == ([f"{diverged} of {runs} runs diverged: the iterates left the finite numbers"] if diverged else [])
    repeated = ["study", "grid.toml", "--repeat", f"method={methods[0]}", "seed=1"]
    assert main(repeated) == (1 if diverged else 0)


def test_a_run_is_repeated_by_its_key_and_held_against_the_one_that_is_kept(tmp_path, capsys, monkeypatch):
    """--store beside --repeat counted for nothing, as did --jobs; a key of the CSV named no run."""
    monkeypatch.chdir(tmp_path)
    text = (
        "[axes]\nlam = [0.05, {lam}]\nseed = {{range = [2]}}\n[run]\nmethod = 'gd:step_size=1e3'\nmax_iter = {most}\n"
    )
    (tmp_path / "grid.toml").write_text(text.format(lam=0.1, most=7).replace("gd:step_size=1e3", "lbfgs"))
    (tmp_path / "diverging.toml").write_text(text.format(lam=0.1, most=3000))
    before = get_threads()
    for grid in ("grid.toml", "diverging.toml"):
        command = ["study", grid, "--store", "runs", "--backend", "serial", "--threads", "1", "--csv", "r.csv"]
        assert main([*command, "--quiet"]) == (grid == "diverging.toml")
        with open("r.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        capsys.readouterr()
        for row in rows:
            code = main(["study", grid, "--repeat", row["key"][:12], "--store", "runs", "--json"])
            document = json.loads(capsys.readouterr().out)
            assert code == (grid == "diverging.toml")  # a run that diverged is none, and the same one all the same
            assert document["key"] == row["key"] and document["cell"]["seed"] == int(row["seed"])
            assert document["kept"] == {name: document[name] for name in ("fun", "grad_norm", "nit")}
            assert document["nit"] == int(row["nit"]) and document["fun"] == (float(row["fun"]) if row["fun"] else None)
    named = ["study", "grid.toml", "--repeat", "lam=0.1", "seed=1", "--store", "runs"]
    assert main(named) == 0 and "runs: the same to the last bit" in capsys.readouterr().out
    assert get_threads() == before
    for words, message in (
        (["--repeat", "ffffffff"], "--repeat: expected the key of one run, got ffffffff: no run of the study has it"),
        (["--repeat", rows[0]["key"]], "no run of the study has it"),  # it is of the other one
        (["--repeat", "lam=0.1", "seed=1", "--store", "none"], "--store: none is no store of runs"),
        (["--repeat", "lam=0.1", "seed=1", "--jobs", "2"], "--jobs: expected where a grid is run, got beside --repeat"),
    ):
        assert main(["study", "grid.toml", *words]) == 2 and message in capsys.readouterr().err
    repeat = ls.Study.repeat
    monkeypatch.setattr(ls.Study, "repeat", lambda study, **cell: replace(repeat(study, **cell), nit=8))
    assert main(named) == 1 and "7 iterations: not the same" in capsys.readouterr().out


def test_a_study_on_the_command_line_says_why_runs_failed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(
        "[axes]\nlam = [-1.0, 0.1]\nrank = [2, 99]\nseed = {range = [2]}\n[run]\nmax_iter = 3\n"
    )
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial"]) == 0
    remarks = capsys.readouterr().err
    main(["study", "--status", "runs"])
    main(["study", "--status", "runs", "--json"])
    text, _, document = capsys.readouterr().out.partition("{")
    found = json.loads("{" + document)["errors"]
    assert sorted(found.values()) == [2, 4] and sum(found.values()) == json.loads("{" + document)["ends"]["failed"]
    for error, count in found.items():
        assert f"{count} failed: {error}\n" in remarks and f"  {count} failed: {error}\n" in text
    assert any("lam: expected a finite number in [0, inf), got -1.0" in error for error in found)


def test_what_is_damaged_is_named_and_much_of_it_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nrank = [2]\nseed = {range = [14]}\n[run]\nmax_iter = 3\n")
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial"]
    assert main(command) == 0
    before = capsys.readouterr().out
    for shard in (tmp_path / "runs").glob("*.runs"):
        shard.write_bytes(shard.read_bytes().replace(b"\n", b"\r\n"))
    assert main(["study", "--status", "runs"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  damaged: ")]
    assert len(lines) == 11 and lines[-1] == "  damaged: 4 more lines"
    assert lines[0].endswith(".runs, line 1: its checksum is wrong")
    assert main(command) == 0
    out, remarks = capsys.readouterr()
    assert out == before and remarks.count("damaged: ") == 11


def test_errors_of_many_kinds_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(study_command, "_COUNTED_ERRORS", 7)

    def fail(cell):
        raise ValueError(f"number\n{cell['k']}")

    document = study_command.status(Calls("odd", fail, [{"k": k} for k in range(9)]).run(tmp_path, "serial"))
    lines = study_command._error_lines(document)
    assert len(document["errors"]) == 5 and lines[-1] == "4 failed with other errors"
    assert lines[0].startswith("1 failed: ValueError: number ") and "\n" not in lines[0]


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (["--status", "runs", "--csv", "runs.csv"], "--csv: expected where a grid is run, got beside --status"),
        (["--status", "runs", "--by", "lam", "--store", "runs"], "--store, --by: expected where a grid is run"),
        (["--status", "runs", "--retry-failed"], "--retry-failed: expected where a grid is run"),
        (
            ["grid.toml", "--repeat", "lam=1", "--latex", "t.tex"],
            "--latex: expected where a grid is run, got beside --r",
        ),
        (["grid.toml", "--store", "taken"], "--store: taken is no folder"),
        (["grid.toml", "--store", "runs", "--backend", "lokky"], "--backend: unknown executor 'lokky'"),
    ],
)
def test_options_of_a_study_that_would_do_nothing_are_refused(tmp_path, monkeypatch, capsys, asked, refused):
    """The exit code was 0, and the file that was asked for was not there."""
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0]))
    problem = '[problem]\nobjective = "denoising"\ndata = "d.npz"\n'
    (tmp_path / "grid.toml").write_text(f"{problem}[axes]\nlam = [1]\n[run]\nmethod = 'lbfgs'\n")
    (tmp_path / "taken").write_text("")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]) == 0
    there = sorted(tmp_path.rglob("*"))
    assert main(["study", *asked]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve study: {refused}")
    assert sorted(tmp_path.rglob("*")) == there
