"""Files of studies: what may stand in them, and what is said of them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.commands._study_file import _span_length
from lorasolve.io import read_arrays, write_arrays
from lorasolve.objectives import LinearFineTuning, MatrixCompletion


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "lam", "rnk"], "--by: no axis is called 'rnk'. Did you mean 'rank'?"),
        (["--phase", "lam", "rnk", "mean of fun", "--html", "z.html"], "--phase: no axis is called 'rnk'."),
        (["--phase", "lam", "rank", "nope", "--html", "z.html"], "--phase: measure 'nope': expected"),
        (["--latex", "z.csv"], "--csv, --latex, --html: expected different files, got z.csv twice"),
        (["--latex", "./z.csv"], "--csv, --latex, --html: expected different files, got ./z.csv twice"),
    ],
)
def test_wrong_tables_are_refused_before_the_grid_is_run(tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nlam = [0.05, 0.1]\nrank = [2]\n[run]\nmax_iter = 3\n")
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial", "--csv", "z.csv", "--latex", "z.tex"]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.toml"]


def test_a_file_of_a_study_says_how_its_ratings_are_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.txt").write_text("stars|who|what\n3|a|x\n3|b|x\nNA|a|y\n3|b|y\n")
    problem = '[problem]\nobjective = "completion"\ndata = "ratings.txt"\nrank = 1\nlam = 1.0\n{}\n'
    form = "delimiter = '|'\ncolumns = ['who', 'what', 'stars']\n{}"
    grid = "[axes]\nseed = [0]\n[run]\nmethod = 'lbfgs'\n"

    def answer(text):
        (tmp_path / "grid.toml").write_text(problem.format(text) + grid)
        code = main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--json", "--quiet"])
        return code, *capsys.readouterr()

    code, out, _ = answer(form.format("skip_missing = true"))
    objective = MatrixCompletion([0, 1, 1], [0, 0, 1], [3.0, 3.0, 3.0], (2, 2))
    optimum = ls.solve_convex(ls.Problem(objective, 1, 1.0), tol=1e-10)
    assert code == 0 and json.loads(out)["rows"][0]["fun"] == pytest.approx(optimum.fun, rel=1e-6)
    code, _, err = answer(form.format(""))
    assert code == 2 and "ratings.txt, line 4: " in err and "skip_missing leaves such lines out" in err
    code, _, err = answer("delimiter = '\"'")
    assert code == 2 and "grid.toml: problem: delimiter: expected characters without quotes" in err
    code, _, err = answer("columns = 3")
    assert code == 2 and "grid.toml: problem: columns: expected" in err


def test_the_files_of_a_study_are_written_together(tmp_path, capsys, monkeypatch):
    """Only the runs tell that a measure has no value: no file is written without the page, and the answer printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nlam = [0.05, 0.1]\nrank = [2]\n[run]\nmax_iter = 3\n")
    command = ["study", "grid.toml", "--store", "runs", "--backend", "serial", "--csv", "z.csv", "--latex", "z.tex"]
    for measure, code in (("mean of none", 2), ("mean of fun", 0)):
        assert main([*command, "--phase", "lam", "rank", measure, "--html", "z.html"]) == code
        files = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("z."))
        assert files == ([] if code else ["z.csv", "z.html", "z.tex"])
        out, err = capsys.readouterr()
        assert [line.split()[:3] for line in out.splitlines()] == [
            ["lam", "rank", "runs"], ["0.05", "2", "1"], ["0.1", "2", "1"]
        ]  # fmt: skip
        assert ("written: z.csv, z.tex, z.html" if code == 0 else "--phase: 'mean of none' has no value") in err


@pytest.mark.parametrize("span", ["range = [1, 8, 3]", "linspace = [1, 7, 3]", "geomspace = [1, 9, 3]"])
def test_spans_of_integers_are_integers_as_ranks_have_to_be(tmp_path, capsys, span):
    """Those of NumPy were floats, and every run failed."""
    (tmp_path / "grid.toml").write_text(f"[axes]\nrank = {{{span}}}\n[run]\nmax_iter = 2\n")
    command = ["study", str(tmp_path / "grid.toml"), "--store", str(tmp_path / "runs"), "--backend", "serial"]
    assert main([*command, "--quiet"]) == 0
    heads, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    ranks = ("1", "3", "9") if "geom" in span else ("1", "4", "7")
    assert [line[:3] for line in lines] == [[rank, "1", "0"] for rank in ranks]
    assert heads[:3] == ["rank", "runs", "failed"]


@pytest.mark.parametrize("arguments", [[7], [5_000_000, 5_000_003], [1e9, 1e9 + 5.0, 2.5], [10, 0, -4], [2, 7, 2]])
def test_a_span_is_taken_for_as_long_as_it_is_before_it_is_made(arguments):
    assert math.ceil(_span_length("range", arguments)) == len(np.arange(*arguments))


def test_the_home_directory_may_be_written_as_in_shells(tmp_path, monkeypatch):
    """Runs had gone to a folder called "~"."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 2, 0.5)
    ls.Study(problem, {"lam": [0.5]}, "lbfgs").run("~/runs", "serial").to_csv("~/runs.csv")
    write_arrays("~/data.npz", {"M": np.eye(3)})
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["data.npz", "runs", "runs.csv"]
    assert list((tmp_path / "here").iterdir()) == []
    assert len(ls.Runs.read("~/runs")) == 1 and read_arrays("~/data.npz").keys() == {"M"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes = []", "grid.toml: axes: expected a table"),
        ("problem = 3", "grid.toml: problem: expected a table"),
        ("[axes]\nlam = {range = [1000000000000]}", "axes: lam: range: expected at most 1000000 values"),
        ("[axes]\nlam = {range = [1, 1000000000000]}", "axes: lam: range: expected at most 1000000 values"),
        ("[axes]\nlam = {range = [1, 10, 1e-12]}", "axes: lam: range: expected at most 1000000 values"),
        ("[axes]\nlam = {linspace = [0.1, 1.0, 1e12]}", "axes: lam: linspace: expected at most 1000000 values"),
        ("[axes]\nlam = {range = 3}", "axes: lam: range: expected numbers in brackets"),
        ("[axes]\nlam = {range = [0, 1, 0]}", "axes: lam: range: NumPy takes no [0, 1, 0]"),
        ("[axes]\nlam = {geomspace = [1, 2]}", "axes: lam: geomspace: expected [first, last, how many], got [1, 2]"),
        ("[axes]\nlam = {linspace = [1, 2, 3, 0]}", "axes: lam: linspace: expected [first, last, how many], got [1, 2"),
        ("[axes]\nlam = {geomspace = [0, 1, 3]}", "axes: lam: geomspace: NumPy takes no [0, 1, 3]"),
        ("[axes]\nlam = {geomspace = [-1, 1, 3]}", "axes: lam: geomspace: NumPy takes no [-1, 1, 3]: invalid value"),
        ("[axes]\nlam = {linspace = [-1.7e308, 1.7e308, 3]}", "axes: lam: linspace: NumPy takes no [-1.7e+308, 1.7e"),
        (f"[axes]\nlam = {'[' * 3000}{']' * 3000}", "grid.toml: brackets are nested too deeply"),
        ("[axes]\nlam = {linspace = [0, inf, 3]}", "axes: lam: linspace: expected finite numbers, got [0, inf, 3]"),
        ("[axes]\nlam = [[1, 2]]", "axes: lam: expected numbers, texts and truth values, got [1, 2]"),
        ("[axes]\nlam = 0.1", "axes: lam: expected a list or one of geomspace, linspace, range, got 0.1"),
        ("[axes]\nlamb = [0.1]", "Did you mean 'lam'?"),
        ('[problem]\npython = "mine.py:problem"\n[axes]\nlam = [1.0]', "mine.py cannot be run: SystemExit: 0"),
        ("[problem]\npython = 3\n[axes]\nlam = [1.0]", "grid.toml: problem: python: expected a text, got 3"),
        ('[problem]\nobjective = "completion"\ndata = 3\n[axes]\nlam = [1.0]', "problem: data: expected a text, got 3"),
        ('[problem]\nobjective = "complet"\ndata = "r.csv"\n[axes]\nlam = [1.0]', "problem: objective: unknown"),
        ("[problem]\ncenter = true\n[axes]\nlam = [1.0]", "problem: expected objective and data, or for"),
        (
            '[problem]\nobjective = "completion"\ndata = "r.csv"\nsplit_seed = -1\n[axes]\nlam = [1.0]',
            "problem: split_seed: expected an integer >= 0, got -1",
        ),
        ("lam", "grid.toml: "),
        ("[problem]\nlam = 1.0\n[axes]\nlam = [0.1]", "grid.toml: problem: lam: is an axis too"),
        ('[axes]\nmethod = ["gd"]\n[run]\nmethod = "lbfgs"', "grid.toml: run: method: is an axis too"),
        # Of the user's own data a weight decay of 0 is one that has to be asked for.
        (
            '[problem]\nobjective = "completion"\ndata = "r.csv"\n[axes]\nrank = [1]',
            "problem: expected lam, a weight decay >= 0 (0 for none), here or as an axis",
        ),
    ],
)
def test_files_of_studies_that_say_what_there_is_not(tmp_path, capsys, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(0)\n")
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    (tmp_path / "grid.toml").write_text(text)
    assert main(["study", "grid.toml", "--store", "runs"]) == 2
    assert message in capsys.readouterr().err


def test_files_of_studies_in_the_encodings_that_editors_write(tmp_path, capsys, monkeypatch):
    """A mark of the encoding at the beginning, and Python in the one that its first line names."""
    monkeypatch.chdir(tmp_path)
    python = "# coding: latin-1\nimport lorasolve as ls, numpy as np\ndef problem(size):\n"
    python += "    return ls.Problem(ls.objectives.Denoising(np.eye(2) * {'klein': 1.0, 'groß': 2.0}[size]), 1, 0.5)\n"
    (tmp_path / "mine.py").write_text(python, encoding="latin-1")
    text = '[problem]\npython = "mine.py:problem"\n[axes]\nsize = ["klein", "groß"]\n[run]\nmethod = "lbfgs"\n'
    (tmp_path / "grid.toml").write_text(text, encoding="utf-8-sig")
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    # One of two equal singular values c is soft-thresholded by 1/2: c^2/2 + 1/8 + (c - 1/2)/2.
    assert {row["size"]: row["fun"] for row in rows} == pytest.approx({"klein": 0.875, "groß": 2.875})


OWN_PARTS = """
import numpy as np
import lorasolve as ls
from dataclasses import dataclass
from lorasolve.optimizers import Optimizer


@dataclass(frozen=True)
class Plain(Optimizer):
    step_size: float = 0.1
    name = "plain"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - self.step_size * grad


small = Plain(0.05)


def tenth():
    return Plain()


def size(problem, result):
    return float(np.linalg.norm(result.X))


def start(lam):
    return f"gaussian:std={lam}"
"""


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_files_of_studies_take_methods_starts_and_measures_of_files_of_python(tmp_path, capsys, monkeypatch, backend):
    """Runs are those of gd with the same steps; what is no name of the file is refused, and so is writing over it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own.py").write_text(OWN_PARTS)
    (tmp_path / "other.py").write_text("def entries(problem, result):\n    return result.X.size\n")
    np.savez("d.npz", M=np.diag([3.0, 2.0, 1.0]))
    text = '[problem]\nobjective = "denoising"\ndata = "d.npz"\nrank = 2\n[axes]\nlam = [0.5, 1.0]\n{axis}\n[run]\n'
    text += 'init = "own.py:start"\nmeasure = ["certify", "own.py:size", "other.py:entries"]\nmax_iter = 25\n{run}'
    command = ["study", "grid.toml", "--store", "runs", "--backend", backend, "--json", "--quiet"]

    def rows(axis="", run=""):
        (tmp_path / "grid.toml").write_text(text.format(axis=axis, run=run))
        assert main(command) == 0
        return json.loads(capsys.readouterr().out)["rows"]

    found = rows('method = ["own.py:small", "gd:step_size=0.05"]')
    assert {row["method"] for row in found} == {"own.py:small", "gd:step_size=0.05"}
    ends = [{row["lam"]: row["size"] for row in found if row["method"].startswith(name)} for name in ("own", "gd")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12) and len(found) == 4
    assert {row["entries"] for row in found} == {9} and all("certify.gap" in row for row in found)
    by_function, by_name = rows(run='method = "own.py:tenth"'), rows(run='method = "gd:step_size=0.1"')
    assert [row["fun"] for row in by_function] == pytest.approx([row["fun"] for row in by_name], rel=1e-12)
    (tmp_path / "own.py").write_text(OWN_PARTS.replace("linalg.norm(result.X)", "linalg.norm(result.X, 2)"))
    again = rows(run='method = "own.py:tenth"')  # another measure: other runs
    assert {row["key"] for row in again}.isdisjoint(row["key"] for row in by_function)
    for given, message in (
        (
            "own.py:Plain",
            "Optimizer or a function of axes, got the class Plain",
        ),
        ("own.py:smal", "run: method: own.py defines no 'smal'. Did you mean 'small'?"),
        ("own.py:size", "method: its argument 'problem' is no axis"),
        ("absent.py:small", "absent.py: No such file"),
    ):
        (tmp_path / "grid.toml").write_text(text.format(axis="", run=f'method = "{given}"'))
        assert main(command) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "grid.toml").write_text(text.format(axis="", run='method = "own.py:small"'))
    assert main([*command, "--csv", "other.py"]) == 2
    assert "--csv: expected another file than other.py, which is read" in capsys.readouterr().err


def test_a_file_of_python_imports_what_lies_beside_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "beside_for_test.py").write_text("rank = 2\n")
    (tmp_path / "grids" / "mine.py").write_text(
        "import numpy as np\nimport lorasolve as ls\nimport beside_for_test\n\n\ndef problem(lam):\n"
        "    return ls.Problem(ls.objectives.Denoising(np.eye(3)), beside_for_test.rank, lam)\n"
    )
    (tmp_path / "grids" / "grid.toml").write_text('[problem]\npython = "mine.py:problem"\n[axes]\nlam = [0.5]\n')
    command = [sys.executable, "-P", "-m", "lorasolve", "study", "grids/grid.toml", "--store", "runs", "--backend"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for backend in ("serial", "loky"):
        done = subprocess.run([*command, backend], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert [record["run"]["problem"]["ranks"] for record in ls.Runs.read("runs")] == [[2]]


def test_the_main_program_of_a_file_of_python_is_not_run(tmp_path, capsys, monkeypatch):
    """Its classes are those of a module, also where annotations are texts; workers get them with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport numpy as np\n"
        "import lorasolve as ls\n\n\n@dataclass\nclass Mine:\n    target: float\n    shape: tuple = (4, 3)\n"
        "    convex: bool = True\n    lower_bound: float = 0.0\n    smoothness: float = 1.0\n\n"
        "    def value_and_grad(self, X):\n"
        "        return 0.5 * float(((X - self.target) ** 2).sum()), X - self.target\n\n\n"
        "def problem(target):\n    return ls.Problem(Mine(target), 1, 0.0)\n\n\n"
        "if __name__ == '__main__':\n    raise SystemExit('this is for those who run the file')\n"
    )
    (tmp_path / "grid.toml").write_text(
        '[problem]\npython = "mine.py:problem"\n[axes]\ntarget = [1.0, 2.0]\nseed = {range = [300]}\n'
        '[run]\nmethod = "lbfgs"\n'
    )
    digests = []
    for backend in ("serial", "loky"):
        command = ["study", "grid.toml", "--store", backend, "--backend", backend, "--threads", "1", "--jobs", "1"]
        assert main([*command, "--quiet"]) == 0
        runs = ls.Runs.read(backend)
        assert not runs.failed and max(record["result"]["fun"] for record in runs) < 1e-8
        digests.append(runs.digest())
    assert digests[0] == digests[1]
    assert len({name.rsplit("-", 2)[1] for name in runs.store.names()}) == 2  # the caller and a worker


def test_a_device_is_no_study(capsys):
    assert main(["study", "/dev/zero", "--store", "runs"]) == 2
    assert "/dev/zero: is not a regular file" in capsys.readouterr().err


def test_a_user_objective_from_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    W0, Z, Y = rng.standard_normal((4, 3)), rng.standard_normal((3, 20)), rng.standard_normal((4, 20))
    np.savez("data.npz", W0=W0, Z=Z, Y=Y)
    (tmp_path / "grid.toml").write_text(
        '[problem]\nobjective = "linear"\ndata = "data.npz"\n[axes]\nrank = [1, 2]\nlam = {geomspace = [0.1, 1.0, 2]}\n'
        '[run]\nmethod = "gd:step_size=0.1"\nmeasure = "certify"\nmax_iter = 50\n'
    )
    assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--quiet"]) == 0
    for record in ls.Runs.read("runs"):
        cell = record["run"]["cell"]
        problem = ls.Problem(LinearFineTuning(W0, Z, Y), cell["rank"], cell["lam"])
        stop = ls.StoppingRule(max_iter=50)
        alone = ls.solve(problem, "gd:step_size=0.1", seed=record["run"]["random"], stop=stop)
        assert record["result"]["fun"] == pytest.approx(alone.fun, rel=1e-10)
