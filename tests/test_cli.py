"""The command line as a user meets it: output, files, exit codes, errors."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib.metadata
import itertools
import json
import os
import pathlib
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
import tomllib

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.commands import Command, ExitCode, registry, warm
from lorasolve.io import load_result
from lorasolve.kernels.simd import WIDTH


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: pathlib.Path) -> str:
    """Denoising of a matrix with singular values 3, 2, 0.4: at lam = 1 the optimum is 2, 1, 0 and F* = 4.08."""
    rng = np.random.default_rng(0)
    P = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    Q = np.linalg.qr(rng.standard_normal((5, 3)))[0]
    np.savez(tmp_path / "data.npz", M=(P * [3.0, 2.0, 0.4]) @ Q.T)
    return "data.npz"


OPTIMUM = 0.5 * (1 + 1 + 0.4**2) + 3.0


# ---------------------------------------------------------------------- commands of one's own
@pytest.mark.parametrize("code", [None, True, False, "fine", 256, -1, 5, np.int64(0)])
def test_a_command_that_returns_no_exit_code_is_refused(code, capsys, monkeypatch) -> None:
    """True had ended a process with 1, what was asked for is false, and 256 with 0."""

    class Own(Command):
        name, summary = "own", "planted"

        def run(self, args):
            return code

    monkeypatch.setitem(registry.classes(), "own", Own)
    assert main(["own"]) == 2
    assert re.fullmatch(
        r"lorasolve own: run\(\) has to return an ExitCode, such as ExitCode.FINE, got .*\n", capsys.readouterr().err
    )


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, ExitCode.FALSE])
def test_a_command_returns_its_exit_code(code, monkeypatch) -> None:
    class Own(Command):
        name, summary = "own", "planted"

        def run(self, args):
            return code

    monkeypatch.setitem(registry.classes(), "own", Own)
    assert main(["own"]) == code


def test_a_command_without_work_is_refused(capsys, monkeypatch) -> None:
    monkeypatch.setitem(registry.classes(), "own", type("Own", (Command,), {"name": "own", "summary": "planted"}))
    assert main(["own"]) == 2
    assert capsys.readouterr().err == "lorasolve own: Own does not define run(args)\n"


@pytest.mark.parametrize("argument", ["broken", "--help", "brokn"])
def test_a_file_that_cannot_be_imported_is_a_line_with_its_name(argument, tmp_path) -> None:
    """It was a traceback and exit code 1: what was asked for is false."""
    program = f"""
import pathlib, sys
import lorasolve.commands as commands
commands.__path__.append({str(tmp_path)!r})
pathlib.Path({str(tmp_path / "broken.py")!r}).write_text("import no_such_thing\\n")
sys.argv = ["lorasolve", {argument!r}]
from lorasolve.cli import entry
entry()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 2
    assert (
        run.stderr
        == f"lorasolve {argument}: {tmp_path}/broken.py: ModuleNotFoundError: No module named 'no_such_thing'\n"
    )


# ---------------------------------------------------------------------- the main job
def test_compare_without_options_is_the_digits_job(capsys, tmp_path) -> None:
    assert main(["compare"]) == 0
    text, remarks = capsys.readouterr()
    lines = text.splitlines()
    assert lines[0].startswith("softmax head trained on upright digits")
    assert "Global optimum reached by" in text
    assert "test accuracy: 0.1" in lines[-1]
    assert remarks == "written: report.json, report.png\n"
    assert "\x1b" not in text
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["schema"], report["schema_version"]) == ("lorasolve/compare", 2)
    assert report["reference"]["rank"] == 6
    by_name = {row["method"]: row for row in report["rows"]}
    for name in ("gd", "nesterov", "lbfgs", "lora_pro", "adam"):
        assert by_name[name]["is_global"] is True
        assert by_name[name]["rank"] == 6
        assert abs(by_name[name]["suboptimality"]) < 1e-8
    # Decoupled decay does not minimise L, so it is not held against the optimum of L; the certificate says where it is.
    assert by_name["adamw"]["minimises"] != report["problem"]["minimises"]
    assert (by_name["adamw"]["suboptimality"], by_name["adamw"]["is_global"]) == (None, False)
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"


def test_softmax_agrees_by_three_routes() -> None:
    """Gradient descent from the LoRA start, the growing factors and proximal gradient on the digits job."""
    from lorasolve.tasks import digits_task

    task = digits_task()
    problem = ls.Problem(task.objective, task.rank, task.lam)
    values = [
        ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=20_000, grad_tol=1e-9)).fun,
        ls.solve_convex(problem, route="factored").fun,
        ls.solve_convex(problem, route="prox").fun,
    ]
    assert np.ptp(values) <= 1e-8 * values[0]


# ---------------------------------------------------------------------- solve, convex, verdict
def test_solve_prints_and_saves(capsys, data) -> None:
    code = main(["solve", "--objective", "denoising", data, "--lam", "1", "--method", "lbfgs", "--out", "r.npz"])
    text, remarks = capsys.readouterr()
    assert code == 0
    assert "global optimum: yes" in text
    assert remarks == "written: r.npz, r.json\n"
    document = json.loads(pathlib.Path("r.json").read_text())
    assert document["result"]["fun"] == pytest.approx(OPTIMUM, rel=1e-10)
    assert document["certificate"]["rank"] == 2
    problem, result = load_result("r.npz")
    assert problem.lam == 1.0
    assert problem.value(result.A, result.B) == document["result"]["fun"]
    assert main(["verdict", "r.npz"]) == 0
    assert "verdict: global" in capsys.readouterr().out
    assert main(["verdict", "r.npz", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["verdict"]["kind"] == "global"
    # The text says which run it judges, "lbfgs from lora: converged"; the document of the verdict did not.
    assert judged["result"] == {"method": "lbfgs", "started_from": "lora", "status": "converged"}


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (["--method", "gd", "--max-iter", "3"], "raise --max-iter, or try 'lbfgs'"),
        (["--method", "gd", "--time-limit", "1e-9"], "raise --time-limit"),
        (["--objective", "two_layer", "layers.npz", "--method", "lbfgs", "--lam", "100"], "Try --init 'gaussian:std="),
    ],
)
def test_advice_is_what_the_command_line_can_follow(capsys, options, advice) -> None:
    rng = np.random.default_rng(0)
    sizes = {"W0": (4, 3), "V": (2, 4), "Z": (3, 20), "Y": (2, 20)}
    np.savez("layers.npz", **{name: rng.standard_normal(size) for name, size in sizes.items()})
    assert main(["solve", *options, "--quiet"]) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if advice in line]
    assert not any(word in told for word in ("init=", "max_iter", "time_limit", "landscape"))
    assert "init" not in told or main(["solve", *options, "--quiet", "--init", shlex.split(told)[-1]]) == 0


def test_a_certificate_names_the_command_that_says_more(capsys, tmp_path) -> None:
    """It sent to ``landscape.verdict``, a function of Python."""
    run = ["solve", "--rank", "2", "--method", "lbfgs", "--out", "r", "--quiet"]
    (tmp_path / "grid.toml").write_text('[problem]\nrank = 2\nlam = 0.05\n[axes]\nmethod = ["lbfgs"]\nseed = [0]\n')
    for command in (run, ["certify", "r.npz"], ["study", "grid.toml", "--repeat", "method=lbfgs", "seed=0"]):
        assert main(command) == 0
        text = capsys.readouterr().out
        assert "'lorasolve verdict' says of a result saved by 'lorasolve solve --out'" in text
        assert "landscape." not in text
    main(["verdict", "r.npz"])
    assert "rank <= r" in capsys.readouterr().out


def test_a_run_that_began_in_the_frozen_weight_is_sent_to_the_command_that_judges_it(capsys) -> None:
    assert main(["solve", "--method", "gd~pissa", "--max-iter", "20", "--out", "r", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["verdict", "r.npz"]) == 2
    assert "'lorasolve certify'" in capsys.readouterr().err
    assert main(["certify", "r.npz", "--json"]) == 0
    # The change of the original weight holds what was merged, beside the factors of rank 8.
    assert json.loads(capsys.readouterr().out)["certificate"]["rank"] > 8


def test_the_last_stage_of_a_run_that_began_in_the_frozen_weight_is_judged_on_request(capsys) -> None:
    """It is a problem of its own, with the residual as its frozen weight, and has an optimum of its own."""
    assert main(["solve", "--method", "lbfgs~pissa", "--out", "r", "--quiet"]) == 0
    capsys.readouterr()
    main(["verdict", "r.npz"])
    assert "'lorasolve verdict --last-stage'" in capsys.readouterr().err
    assert main(["verdict", "r.npz", "--last-stage"]) == 0
    assert "from pissa, its last stage alone: converged\nverdict: global" in capsys.readouterr().out
    assert main(["verdict", "r.npz", "--last-stage", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["last_stage"] is True and told["verdict"]["kind"] == "global"
    problem, result = load_result("r.npz")
    assert result.fun == pytest.approx(ls.solve_convex(result.problem).fun, rel=1e-6)
    assert result.fun < 0.999 * ls.solve_convex(problem).fun


def test_json_is_the_only_thing_on_stdout(capsys, data) -> None:
    assert main(["solve", "--objective", "denoising", data, "--json"]) == 0
    text, remarks = capsys.readouterr()
    document = json.loads(text)
    assert document["schema"] == "lorasolve/solve"
    # A tenth of the largest singular value, 3, is chosen and announced.
    assert "lam = 0.3" in document["problem"]
    assert remarks.startswith("--lam not given: 0.3")
    assert main(["solve", "--objective", "denoising", data, "--json", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_the_default_lam_is_a_tenth_of_the_least_one_with_optimum_0(capsys) -> None:
    """For every scaling of the adapter: with ``s = 2`` that is 2 times the norm of the gradient, 5."""
    np.savez("diagonal.npz", M=np.diag([5.0, 3.0, 1.0]))
    command = ["convex", "--objective", "denoising", "diagonal.npz", "--rank", "3", "--adapter"]
    for adapter, lam in (("lora", "0.5"), ("lora:alpha=6", "1")):
        main([*command, adapter])
        text = f"--lam not given: {lam}, a tenth of the least one for which X = 0 is optimal"
        assert capsys.readouterr().err.startswith(text)
    for lam, rank in (("9.99", 1), ("10.01", 0)):
        main([*command, "lora:alpha=6", "--lam", lam])
        assert f"rank {rank}, ||X||_*" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["failed to map segment from shared object", "Cannot allocate memory"])
def test_a_library_for_which_memory_is_short_is_no_defect(capsys, monkeypatch, words) -> None:
    """What the loader of glibc says of a library that it finds no room for."""

    def load(*_: object) -> None:
        raise ImportError(f"_sparsetools.so: {words}")

    monkeypatch.setattr("lorasolve.commands.solve.problem_from", load)
    assert main(["solve"]) == 2
    assert capsys.readouterr().err == f"lorasolve solve: not enough memory (_sparsetools.so: {words})\n"


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("lorasolve.inits.mine", 2),
        ("lorasolve.attacks.mine", 2),
        ("plugged.inits", 2),
        ("lorasolve.inits.lora", 4),
        ("lorasolve.attacks.step", 4),
        ("other", 4),
    ],
)
def test_an_error_in_a_component_that_was_added_is_told_by_its_place(capsys, monkeypatch, module, code) -> None:
    """It was called a defect of lorasolve, without a word about where it is."""
    point = importlib.metadata.EntryPoint("mine", "plugged.inits:Mine", "lorasolve.inits")
    monkeypatch.setattr("lorasolve._support.registry._entry_points", lambda: importlib.metadata.EntryPoints([point]))
    names = {"__name__": module}
    exec(compile("def load(*_):\n    return {}['two']\n", "mine.py", "exec"), names)
    monkeypatch.setattr("lorasolve.commands.solve.problem_from", names["load"])
    assert main(["solve"]) == code
    told = capsys.readouterr().err
    if code == 2:
        assert told.startswith("lorasolve solve: mine.py, line 2, in load: KeyError: 'two' (LORASOLVE_TRACEBACK=1")
    else:
        assert told.startswith("lorasolve solve: internal error, a defect of lorasolve: KeyError: 'two'")


def test_an_import_that_fails_otherwise_is_a_defect(capsys, monkeypatch) -> None:
    def load(*_: object) -> None:
        raise ImportError("no module of that name")

    monkeypatch.setattr("lorasolve.commands.solve.problem_from", load)
    assert main(["solve"]) == 4
    assert "internal error" in capsys.readouterr().err


def test_convex(capsys, data) -> None:
    arguments = ["convex", "--objective", "denoising", data, "--lam", "1", "--rank", "1", "--cross-check"]
    assert main([*arguments, "--out", "base"]) == 0
    text = capsys.readouterr().out
    assert "the factors' rank 1 is below the optimum's 2" in text
    assert "cross-check by cvxpy" in text
    document = json.loads(pathlib.Path("base.json").read_text())
    assert document["result"]["fun"] == pytest.approx(OPTIMUM, rel=1e-12)
    with np.load("base.npz") as arrays:
        values = np.linalg.svd(arrays["A"] @ arrays["B"].T, compute_uv=False)
    assert values[:3] == pytest.approx([2.0, 1.0, 0.0], abs=1e-12)


def test_a_time_limit_of_the_convex_optimum_is_advised_in_words_of_the_command(capsys, data) -> None:
    arguments = ["convex", "--objective", "denoising", data, "--lam", "1", "--rank", "1", "--route", "factored"]
    assert main([*arguments, "--time-limit", "1e-6"]) == 0
    text = capsys.readouterr().out
    assert "not certified" in text and "the time limit was reached, the last point is kept" in text
    assert "; raise --time-limit" in text and "time_limit" not in text and "start=" not in text
    assert main([*arguments, "--time-limit", "0"]) == 2
    assert "--time-limit: expected" in capsys.readouterr().err


def test_no_rank_is_advised_to_reach_the_optimum_with_a_frozen_factor(capsys, data) -> None:
    """With ``A = [1 1 1]^T / 10`` all of ``X`` has equal rows, whatever is trained, and the optimum has not."""
    arguments = ["convex", "--objective", "denoising", data, "--lam", "1", "--rank", "1"]
    assert main([*arguments, "--adapter", "lora:frozen=A"]) == 0
    text = capsys.readouterr().out
    assert "raise --rank" not in text and "cannot hold" not in text
    assert "with a factor frozen no L is below it, and it need not be reached at any rank" in text
    assert "rank 1, lam = 1, adapter lora:frozen=A" in text


def test_factors_that_cannot_hold_one_optimum_are_not_said_to_be_too_small_for_all(capsys) -> None:
    """One measurement of a matrix without decay: the least value 0 is attained at every rank from 1 on."""
    np.savez("one.npz", measurements=np.eye(4)[None], y=np.ones(1))
    assert main(["convex", "--objective", "sensing", "one.npz", "--lam", "0", "--rank", "1"]) == 0
    text = capsys.readouterr().out
    assert "below the optimum's" not in text
    assert "there may be others of lower rank" in text
    assert main(["solve", "--objective", "sensing", "one.npz", "--lam", "0", "--rank", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["fun"] < 1e-12


@pytest.mark.parametrize("arrays", [{"X": np.eye(3)}, {"A": np.ones((3, 1)), "B": np.ones((3, 1))}])
def test_a_point_without_its_problem_is_told_which_one_it_is_held_against(capsys, arrays) -> None:
    np.savez("point.npz", **arrays)
    assert main(["certify", "point.npz"]) == 2
    assert capsys.readouterr().err == (
        "lorasolve certify: point.npz: expected a point of shape (10, 64), that of the embedded digits job, got "
        "(3, 3); --objective NAME FILE is the problem of another one\n"
    )


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
    for name in ("run.csv", "run.xlsx", "run.TXT"):
        assert main([*command, name]) == 2
        assert re.search(rf"--out: NAME\{suffixes[-1]}|--out: NAME\.npz", capsys.readouterr().err)
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize("form", ["X", "factors", "result", "convex"])
def test_certify_a_point_from_anywhere(capsys, data, form, tmp_path) -> None:
    problem = ["--objective", "denoising", data, "--lam", "1"]
    with np.load(data) as arrays:
        P, s, Qt = np.linalg.svd(arrays["M"])
    A, B = P[:, :2] * (s[:2] - 1.0), Qt[:2].T
    if form == "X":
        np.savez("point.npz", X=A @ B.T)
    elif form == "factors":
        np.savez("point.npz", A=A, B=B)
    elif form == "convex":
        assert main(["convex", *problem, "--out", "point"]) == 0
    else:
        assert main(["solve", *problem, "--method", "lbfgs", "--out", "point"]) == 0
        problem = []
    capsys.readouterr()
    assert main(["certify", "point.npz", *problem, "--require-certificate", "--write", "proof.json"]) == 0
    text, remarks = capsys.readouterr()
    assert "global optimum: yes" in text
    assert remarks == "written: proof.json, in exact arithmetic, for check_certificate.py\n"
    from lorasolve.certificates import check_certificate

    run = subprocess.run([sys.executable, check_certificate.__file__, "proof.json"], capture_output=True, text=True)
    assert (run.returncode, run.stdout[:25]) == (0, "accepted: F(X) - inf F <=")
    assert main(["certify", "point.npz", *problem, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "lorasolve/certify"
    assert document["certificate"]["value"] == pytest.approx(OPTIMUM, rel=1e-10)


def test_certify_refuses_a_point_that_is_not_optimal(capsys, data) -> None:
    np.savez("point.npz", X=np.ones((6, 5)))
    options = ["--objective", "denoising", data, "--lam", "1"]
    assert main(["certify", "point.npz", *options]) == 0
    assert "global optimum: no" in capsys.readouterr().out
    assert main(["certify", "point.npz", *options, "--require-certificate"]) == 1


@pytest.mark.parametrize("options", [[], ["--quiet"], ["--json"]])
def test_certify_does_not_choose_the_problem_that_a_point_is_judged_by(capsys, data, options) -> None:
    """The point is the optimum for lam = 1 (closed form), and for no other lam."""
    P, s, Qt = np.linalg.svd(np.load(data)["M"], full_matrices=False)
    np.savez("point.npz", X=(P * np.maximum(s - 1.0, 0.0)) @ Qt)
    command = ["certify", "point.npz", "--objective", "denoising", data, *options]
    assert main(command) == 2
    text, remarks = capsys.readouterr()
    assert text == "" and remarks.startswith("lorasolve certify: --lam: expected the weight decay of the problem")
    for lam, exit_code in (("1", 0), ("0.3", 1)):
        assert main([*command, "--lam", lam, "--require-certificate"]) == exit_code


def test_certify_takes_factors_as_the_update_whatever_the_adapter(capsys, data) -> None:
    np.savez("X.npz", X=np.ones((6, 5)))
    np.savez("factors.npz", A=np.ones((6, 1)), B=np.ones((5, 1)))
    options = ["--objective", "denoising", data, "--lam", "1", "--adapter", "lora:alpha=7", "--json"]
    values = []
    for name in ("X.npz", "factors.npz"):
        assert main(["certify", name, *options]) == 0
        values.append(json.loads(capsys.readouterr().out)["certificate"]["value"])
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"Y": np.ones((6, 5))}, [], "point.npz: expected the array X, or A and B; keys: Y"),
        ({"X": np.ones((5, 6))}, [], "point: expected shape (6, 5), got (5, 6)"),
        ({"A": np.ones((6, 1)), "B": np.ones((5, 2))}, [], "point.B: expected shape"),
    ],
)
def test_certify_says_what_it_accepts(capsys, data, arrays, options, message) -> None:
    np.savez("point.npz", **arrays)
    assert main(["certify", "point.npz", "--objective", "denoising", data, "--lam", "1", *options]) == 2
    assert message in capsys.readouterr().err


def test_certify_takes_no_other_problem_than_that_of_a_saved_result(capsys, data) -> None:
    assert main(["solve", "--objective", "denoising", data, "--lam", "1", "--out", "r"]) == 0
    capsys.readouterr()
    assert main(["certify", "r.npz", "--lam", "2"]) == 2
    assert "holds its problem" in capsys.readouterr().err
    for option in (["--lam", "0"], ["--split-seed", "0"], ["--test-fraction", "0.1"], ["--duplicates", "last"]):
        assert main(["certify", "r.npz", *option]) == 2  # they were taken without a word
        assert f"give no options for another one, as {option[0]}\n" in capsys.readouterr().err


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


# ---------------------------------------------------------------------- exit codes
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--max-iter", "3"], 0),
        (["--max-iter", "3", "--require-certificate"], 1),
        (["--method", "gd:step_size=1000"], 1),
        (["--lam", "0", "--rank", "2", "--require-certificate"], 0),
        (["--method", "lbfgs", "--require-certificate"], 0),
    ],
)
def test_exit_codes(data, arguments, code) -> None:
    assert main(["solve", "--objective", "denoising", data, "--quiet", *arguments]) == code


def test_exit_codes_of_compare(data) -> None:
    """adamw minimises something else, which is no failure unless a certificate is asked for."""
    compare = ["compare", "--objective", "denoising", data, "--lam", "1", "--quiet", "--max-iter", "50", "--methods"]
    assert main([*compare, "adamw"]) == 0
    assert main([*compare, "adamw", "--require-certificate"]) == 1
    assert main([*compare, "gd:step_size=1000"]) == 1
    assert main([*compare, "gd:step_size=1000", "lbfgs"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "--tol", "-1"], "--tol: expected a finite number in [0, 1), got -1.0"),
        (["solve", "--rank", "0"], "--rank: expected an integer from 1 to "),
        (["solve", "--seed", "-1"], "--seed: expected an integer >= 0, got -1"),
        (["study", "--status", "nowhere"], "--status: nowhere is no store of runs"),
        (["study", "grid.toml", "--status", "runs"], "--status: says what a store holds"),
        (["convex", "--lam", "-1e-3"], "--lam: expected a finite number in [0, inf), got -0.001"),
        (["solve", "--time-limit", "0"], "--time-limit: expected a finite number in (0, inf), got 0.0"),
        (["solve", "--max-iter", "0"], "--max-iter: expected an integer >= 1, got 0"),
        (["compare", "--seeds", "10000000000"], "--seeds: expected an integer from 1 to 1000000, got 10000000000"),
        (["solve", "--delimiter", ";"], "--delimiter: expected with a ratings file only"),
        (["solve", "--center", "--columns", "a", "b", "c"], "--center, --columns: expected with a ratings file only"),
        (["complete", "r.csv", "--delimiter", '"'], "--delimiter: expected characters without quotes"),
        (["complete", "r.mtx", "--skip-missing"], "--skip-missing: r.mtx is in Matrix Market format"),
        (["compare", "--jobs", "0"], "--jobs: expected an integer"),
        (["path", "--count", "0"], "--count: expected an integer from 1 to 100000, got 0"),
        (["path", "--lam", "0"], "--lam: expected a finite number in (0, inf), got 0.0"),
        (["explain", "decay", "--lr", "0"], "--lr: expected a finite number in (0, inf), got 0.0"),
        (["explain", "decay", "--rank", "0"], "--rank: expected an integer from 1 to "),
        (["explain", "decay", "--optimizer", "adamm"], "--optimizer: the weight decay of 'adamm' is not known here"),
        (["truncate", ".", "--rank", "0", "--out", "lower"], "--rank: expected an integer >= 1, got 0"),
        (["truncate", ".", "--error", "2", "--out", "lower"], "--error: expected a finite number in [0, 1], got 2.0"),
        (["diagnose", ".", "--lam", "-1"], "--lam: expected a finite number in (0, inf), got -1.0"),
        (["interfere", "."], "ADAPTER: expected at least two adapters, got 1"),
        (["explain", "decay", "--lr", "-1e-3"], "--lr: expected a finite number in (0, inf), got -0.001"),
        (["explain", "decay", "--wd", "-1"], "--wd: expected a finite number in [0, inf), got -1.0"),
        (["attack", "certify", "--family", "nope"], "--family: unknown family 'nope'"),
        (["reproduce", "polar", "--jobs", "0", "--backend", "serial"], "--jobs: expected an integer"),
        (["reproduce", "polar", "--out", ""], "--out: expected a path"),
        (["reproduce", "polar", "--pages", ""], "--pages: expected a path"),
        (["reproduce", "polar", "--store", "", "--backend", "serial"], "--store: expected a path"),
        (["reproduce", "polar", "--backend", "nope"], "--backend: unknown executor 'nope'"),
    ],
)
def test_errors_name_the_option_that_was_typed(data, capsys, arguments, message) -> None:
    if arguments[0] in ("solve", "compare", "path"):
        arguments = [*arguments, "--objective", "denoising", data]
    if arguments[0] in ("solve", "compare"):
        arguments = [*arguments, "--lam", "1", "--quiet"]
    if arguments[0] == "explain":
        own = {"--optimizer": "adamw", "--lr": "1", "--wd": "0.1", "--alpha": "1", "--rank": "4", "--steps": "10"}
        arguments = [*arguments, *(word for option in own.items() if option[0] not in arguments for word in option)]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve {arguments[0]}: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "--split-seed", "3"], "--split-seed: expected beside --test-fraction, the seed"),
        (["path", "--split-seed", "3"], "--split-seed: expected beside --test-fraction or --folds, the seed"),
        (["solve", "--init", "gaussian", "--method", "gd~balanced"], "--init: expected a method that sets no start"),
        (["solve", "--init", "gaussian", "--method", "gd~lora"], "--init: expected a method that sets no start"),
        (["compare", "--init", "gaussian", "--methods", "gd~balanced", "adam~lora"], "--init: expected a method that"),
        (["compare", "--init", "nothing", "--methods", "all"], "--init: '--methods all' shows each method from the"),
        (["solve", "--lam", "0.1", "--method", "gd/lam=0"], "--lam: the method 'gd/lam=0' sets its own"),
        (["solve", "--adapter", "dora", "--method", "gd@lora:alpha=2"], "--adapter: the method 'gd@lora:alpha=2' sets"),
        (["prove", "--list", "--brief"], "--list: expected without --brief"),
        (["prove", "weyl", "--json", "--brief"], "--brief: expected without --json"),
        (["study", "grid.toml", "--store", "runs", "--by", "seed", "--json"], "--by: expected without --json"),
        (["study", "--status", "runs", "--backend", "serial"], "--backend: expected where a grid is run"),
        (
            ["study", "grid.toml", "--repeat", "seed=0", "--backend", "serial"],
            "--backend: expected where a grid is run",
        ),
        (["study", "split.toml", "--store", "runs"], "split.toml: problem: split_seed: expected beside test_fraction"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(tmp_path, capsys, monkeypatch, arguments, message) -> None:
    """Each was taken without a word, and the answer was that without it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text("[axes]\nseed = [0]\n[run]\nmax_iter = 3\n")
    (tmp_path / "r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    split = 'objective = "completion"\ndata = "r.csv"\nsplit_seed = 1\nlam = 1.0\n'
    (tmp_path / "split.toml").write_text(f"[problem]\n{split}[axes]\nseed = [0]\n")
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve {arguments[0]}: {message}")


def test_only_what_an_error_begins_with_is_named_by_its_option(data, capsys, monkeypatch) -> None:
    monkeypatch.setattr(ls.convex.Prox, "run", ls.convex.ConvexRoute.run)
    assert main(["convex", "--objective", "denoising", data, "--route", "prox", "--lam", "1"]) == 2
    assert capsys.readouterr().err == "lorasolve convex: Prox does not define run(problem, tol, report)\n"


@pytest.mark.parametrize(
    "command",
    [
        ["solve", "--max-iter", "200"],
        ["compare", "--methods", "gd", "--max-iter", "200"],
        ["certify", "run.npz", "--tol", "0"],
        ["convex", "--route", "prox", "--tol", "1e-17"],
        ["path", "--lam", "0.5", "--tol", "1e-17"],
        ["path", "--lam", "0.5", "--tol", "1e-17", "--folds", "2"],
        ["complete", "ratings.csv", "--tol", "1e-18"],
    ],
)
def test_a_certified_gap_above_the_tolerance_is_not_certified_in_every_command(data, capsys, command) -> None:
    """The gap is finite and above the tolerance, as each document says: a certificate exists, and is not enough."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((6, 5))
    lines = [f"{i},{j},{float(M[i, j])!r}" for i in range(6) for j in range(5) if (i + j) % 4]
    pathlib.Path("ratings.csv").write_text("\n".join(lines))
    problem = ["--objective", "denoising", data]
    if "--folds" in command:
        problem = ["--objective", "completion", "ratings.csv"]
    if command[0] == "certify":
        assert main(["solve", *problem, "--method", "lbfgs", "--out", "run"]) == 0
    if command[0] in ("certify", "complete"):
        problem = []
    capsys.readouterr()
    assert main([*command, *problem, "--quiet", "--require-certificate", "--json"]) == 1
    gaps = re.findall(r'"(?:relative_)?gap": ([-+.e0-9]+)', capsys.readouterr().out)
    assert gaps and all(0.0 < float(gap) < 1e3 for gap in gaps)


def test_no_certificate_exists(data, capsys) -> None:
    """lam = 0 and no closed form: nothing can be certified, so the answer is inconclusive, not no."""
    rng = np.random.default_rng(2)
    np.savez("two.npz", W0=np.eye(3), V=np.eye(3), Z=rng.standard_normal((3, 9)), Y=rng.standard_normal((3, 9)))
    arguments = ["--objective", "two_layer", "two.npz", "--lam", "0.1", "--quiet"]
    assert main(["solve", *arguments, "--require-certificate"]) == 3
    assert main(["compare", *arguments, "--methods", "lbfgs", "--require-certificate"]) == 3
    assert main(["solve", *arguments, "--method", "gd", "--max-iter", "2", "--out", "early"]) == 0
    assert main(["verdict", "early.npz"]) == 3
    assert main(["solve", *arguments, "--method", "gd:step_size=100", "--init", "gaussian", "--out", "diverged"]) == 1
    capsys.readouterr()
    assert main(["verdict", "diverged.npz", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["verdict"]
    assert found["kind"] == "not_converged" and "diverged and has to begin again (gd: " in found["reason"]
    # Factors beyond what can be judged: the library refuses them with what the command says, under the usual keys.
    assert main(["verdict", "early.npz", "--json"]) == 3
    assert found.keys() == json.loads(capsys.readouterr().out)["verdict"].keys()
    with pytest.raises(ls.landscape.DivergedError, match="this run went beyond: gd: ") as refused:
        ls.verdict(*load_result("diverged.npz"))
    assert refused.value.to_dict() == found


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slove"], "unknown command 'slove'. Did you mean 'solve'"),
        (["solve", "--methd", "gd"], "unrecognized arguments: --methd gd (did you mean --method?)"),
        # Of the command's own options: its help names --require-certificate too, among the exit codes.
        (["diagnose", "x", "--quiet"], "unrecognized arguments: --quiet\n"),
        (["reproduce", "sharp", "--KM", "3"], "unrecognized arguments: --KM 3 (did you mean --KN?)"),
        (["path", "ratings.csv"], "unrecognized arguments: ratings.csv (data are given as --objective NAME FILE)\n"),
        (["path", "--method", "gd"], "unrecognized arguments: --method gd\n"),
        (["recommend", "--rows", "u1", "m.npz", "--json"], "required: model (--rows takes what follows it: write"),
        (["recommend", "--count", "2"], "required: model\n"),
        (["verdict", "--search", "run.npz"], "invalid int value: 'run.npz' (--search takes what follows it"),
        (["verdict", "run.npz", "--tol", "x"], "invalid float value: 'x'\n"),
        (["compare", "--methods", "all", "gd"], "--methods: 'all' is every method, and is given alone, got all gd"),
        (["study", "--by", "lam", "grid.toml"], "GRID: expected a .toml file, or --status DIR (--by takes what"),
        (["solve", "--max-iter", "many"], "--max-iter: invalid int value: 'many'"),
        (["solve", "--max-iter", "0"], "lorasolve solve: --max-iter: expected an integer >= 1, got 0"),
        (["solve", "--method", "nestrov"], "optimizer: unknown optimizer 'nestrov'. Did you mean 'nesterov'"),
        (["solve", "--method", "gd:step=1"], "gd has no setting 'step' (write gd:key=value). Did you mean"),
        (["solve", "--method", "gd:step_size=-1"], "step_size: expected a finite number"),
        (["solve", "--method", "adam+cosin"], "unknown schedule 'cosin'. Did you mean 'cosine'"),
        (["solve", "--method", "als"], "als"),
        (["solve", "--rank", "11"], "rank: expected an integer from 1 to 10, got 11"),
        (["solve", "--lam", "-1"], "lam: expected a finite number"),
        (["solve", "--init", "loar"], "--init: unknown init 'loar'. Did you mean 'lora'"),
        (["solve", "--adapter", "lora:alpha=0"], "alpha: expected"),
        (["solve", "--objective", "softmx", "x.npz"], "--objective: unknown objective 'softmx'. Did you mean "),
        (["solve", "--objective", "softmax", "missing.npz"], "missing.npz: No such file or directory"),
        (["solve", "--objective", "completion", "bad.csv"], "bad.csv, line 2: expected row label"),
        (["solve", "--center"], "--center: expected with '--objective completion FILE' only"),
        (["convex", "--route", "proxx"], "--route: unknown convex route 'proxx'. Did you mean 'prox'"),
        (["convex", "--tol", "-1"], "--tol: expected"),
        (["compare", "--budget", "1"], "--budget: expected an integer >= 2, got 1"),
        (["compare", "--backend", "lokky"], "--backend: unknown executor 'lokky'. Did you mean 'loky'"),
        (["attack", "step", "--seconds", "-1"], "--seconds: expected"),
        (["attack", "certfy"], "TARGET: unknown target 'certfy'. Did you mean 'certify'"),
        (["verdict", "bad.csv"], "bad.csv: "),
        (["list", "optimisers"], "kind: unknown kind 'optimisers'. Did you mean 'optimizers'"),
    ],
)
def test_usage_errors_exit_with_2(capsys, arguments, message) -> None:
    pathlib.Path("bad.csv").write_text("1,1,5\n1,x\n")
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    text, error = capsys.readouterr()
    assert code == 2
    assert message in error
    assert text == ""
    assert "Traceback" not in error


# ---------------------------------------------------------------------- list, info, help
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
    source = (pathlib.Path(__file__).parent.parent / "proofs" / "lora_ntk.py").read_text()
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


def test_list_and_info(capsys) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["optimizers"]) == set(ls.optimizers.registry.classes())
    kinds = ("objectives", "adapters", "optimizers", "schedules", "inits")
    assert all(summary for kind in kinds for summary in found[kind].values())
    assert main(["list", "objectives"]) == 0
    assert "keys: rows, cols, values, shape" in capsys.readouterr().out
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"numpy {np.__version__}" in text
    assert "threads" in text
    project = tomllib.loads(pathlib.Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        assert re.search(rf"\b{re.match('[a-z]+', requirement)[0]} \d", text), requirement


def test_list_says_what_each_component_is_ready_for(capsys, monkeypatch) -> None:
    assert main(["list", "schedules", "--check"]) == 0
    text = capsys.readouterr().out
    assert len(text.split("\n\n")) == len(ls.schedules.registry.classes())
    assert text.startswith("Beam: no check failed (sampled)\nok     listed")
    monkeypatch.setattr(ls.schedules.Cosine, "summary", "")
    assert main(["list", "schedules", "--check", "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)["components"]["Cosine"][0]
    assert (listed["name"], listed["holds"]) == ("listed", False)
    assert "summary = '...'" in listed["detail"]


@pytest.mark.parametrize("name", sorted(registry.classes()))
def test_every_command_has_help(capsys, name) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"lorasolve {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(registry.classes()))
def test_help_names_every_default(name) -> None:
    """The start, the adapter, the backend and the order of the layers were chosen and not told."""
    for action in registry.classes()[name]().parser()._actions:
        if action.default not in (None, False, argparse.SUPPRESS) or type(action.default) in (int, float):
            assert "default" in action.help, action.option_strings


def test_help_of_the_verdict_says_how_it_ends_for_each(capsys) -> None:
    """A script that asks for a verdict found 1 for a saddle and 3 for a run to be continued, which nothing said."""
    with pytest.raises(SystemExit):
        main(["verdict", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "0 for global, 1 for spurious, saddle or a run that diverged, 3 otherwise" in text


def test_help_of_a_command_is_asked_for_either_way(capsys) -> None:
    """``lorasolve help solve`` answered with the list of commands."""
    told = []
    for arguments in (["solve", "--help"], ["help", "solve"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        told.append((stop.value.code, capsys.readouterr().out))
    assert told[0] == told[1]
    assert main(["help", "slove"]) == 2
    assert "Did you mean 'solve'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, *sorted(registry.classes())])
def test_help_fits_into_the_terminal(capsys, monkeypatch, name) -> None:
    """Summaries and exit codes took lines of 118 characters, which a terminal of 80 broke within words."""
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        main(["--help"] if name is None else [name, "--help"])
    text = capsys.readouterr().out
    assert "LORASOLVE_TRACEBACK=1" in text and max(map(len, text.splitlines())) <= 80


def test_usage(capsys) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in registry.classes())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lorasolve 0.")


# ---------------------------------------------------------------------- as a process
PROCESS = [sys.executable, "-c", "from lorasolve.cli import entry; entry()"]


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Return what a terminal shows up to ``wanted``, or up to its end."""
    seen = b""
    while wanted not in seen:
        try:
            piece = os.read(descriptor, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    return seen


def test_colour_only_on_a_terminal_that_can_and_never_with_no_color(data) -> None:
    arguments = [*PROCESS, "solve", "--objective", "denoising", data, "--lam", "1"]
    assert "\x1b" not in subprocess.run(arguments, capture_output=True, text=True).stdout
    plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    for environment, coloured in ((plain, True), (plain | {"NO_COLOR": "1"}, False), (plain | {"TERM": "dumb"}, False)):
        parent, child = pty.openpty()
        with subprocess.Popen(arguments, stdout=child, stderr=subprocess.DEVNULL, env=environment):
            os.close(child)
            text = read_until(parent, b"sigma_r").decode()
        os.close(parent)
        assert "global optimum: yes" in text
        assert ("\x1b[32m" in text) is coloured


@pytest.mark.parametrize("width", [60, 80, 100])
def test_tables_of_methods_fit_the_terminal(data, width) -> None:
    """Whatever their columns need elsewhere; what is left out is named, and cells are those of the whole table."""
    long = "gd:step_size=0.01+cosine@lora:alpha=16~gaussian:std=0.2"
    arguments = [
        "compare",
        "--objective",
        "denoising",
        data,
        "--lam",
        "1",
        "--methods",
        "lbfgs",
        long,
        "adamw",
        "--quiet",
    ]
    whole = subprocess.run([*PROCESS, *arguments], capture_output=True, text=True).stdout.splitlines()[3:]
    heads = re.split(r"  +", whole[0])
    assert {"compile s", "certified gap", "status"} < set(heads) and max(map(len, whole[:3])) > 120
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(width)}
    with subprocess.Popen([*PROCESS, *arguments], stdout=child, stderr=subprocess.DEVNULL, env=environment):
        os.close(child)
        lines = read_until(parent, b"never written").decode().splitlines()[3:]
    os.close(parent)
    shown = re.split(r"  +", lines[0])
    table = lines[: next(k for k, line in enumerate(lines) if line.endswith("--json)")) + 1]
    assert all(len(line) <= width for line in table if not line.startswith("minimise "))
    left_out = re.search(r"\(no room for (.*): see --json\)", " ".join(table))
    assert left_out and set(left_out[1].split(", ")) == set(heads) - set(shown)
    assert shown[:2] == ["method", "objective"] and "global" in shown
    assert table[table.index(long) + 1].startswith("   ")
    by_name = {line.split()[0]: re.split(r"  +", line) for line in whole if line.startswith(("lbfgs", "adamw"))}
    cells = dict(zip(shown, re.split(r"  +", next(line for line in table if line.startswith("lbfgs")))))
    for head in ("objective", "certified gap", "global"):
        assert cells[head] == by_name["lbfgs"][heads.index(head)]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_saves_what_there_is(asked) -> None:
    """Progress is shown on a terminal; once it is, the run is interrupted, and is saved as far as it got."""
    arguments = ["solve", "--method", "gd:step_size=1e-6", "--max-iter", "100000000", "--out", "kept"]
    # A shell that starts jobs in the background lets them ignore Ctrl-C; the run must hear it all the same.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [*PROCESS[:-1], listen + PROCESS[-1], *arguments]
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child, text=True, env=environment) as process:
        os.close(child)
        limit = threading.Timer(60.0, process.kill)
        limit.start()
        assert b"L = " in read_until(parent, b"L = ")
        process.send_signal(asked)
        read_until(parent, b"never written")  # up to the end, so that the run can write its last line
        text, _ = process.communicate()
        limit.cancel()
    os.close(parent)
    assert process.returncode == 3
    assert "interrupted by Ctrl-C or SIGTERM" in text
    _, result = load_result("kept.npz")
    assert result.status is ls.Status.INTERRUPTED


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["list"], 0), (["--help"], 0), (["solve", "--help"], 0), (["--version"], 0), ([], 2), (["reproduce"], 0)],
)
def test_a_reader_that_leaves_is_no_error(arguments, code, unbuffered) -> None:
    """What Python does not keep back fails where it is printed, the rest at the end."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*PROCESS, *arguments], **pipes, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == code


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_leaves_does_not_change_the_answer(data, more) -> None:
    command = [*PROCESS, "solve", "--objective", "denoising", data, "--max-iter", "3", "--quiet", *more]
    for required, code in ((["--require-certificate"], 1), ([], 0)):
        with subprocess.Popen([*command, *required], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == code


def test_where_the_reader_leaves_before_there_is_an_answer_it_is_inconclusive() -> None:
    program = (
        "from lorasolve import cli\n"
        "def slow(argv):\n while True:\n  print('line', flush=True)\n"
        "cli.main = slow; cli.entry()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 3


# ---------------------------------------------------------------------- warm
def test_what_was_compiled_ahead_is_not_compiled_again(tmp_path) -> None:
    """Two processes, one combination: the second finds every kernel of the first in the folder."""
    script = (
        "from lorasolve.cli import main; from lorasolve.commands import warm; pairs = warm._pairs; "
        "chosen = lambda pair: (pair[0].objective.name, pair[1].name) == ('denoising', 'gd'); "
        "warm._pairs = lambda: [pair for pair in pairs() if chosen(pair)][:1]; "
        "raise SystemExit(main(['warm', '--json']))"
    )
    # On one thread, in the process itself.
    environment = os.environ | {"LORASOLVE_CACHE_DIR": str(tmp_path), "LORASOLVE_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    first, second = (
        json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout) for _ in range(2)
    )
    folder = pathlib.Path(first["folder"])
    assert folder.is_relative_to(tmp_path)
    assert first["combinations"] == second["combinations"] == 1
    assert first["files"] == second["files"] == len([path for path in folder.rglob("*") if path.is_file()])
    assert first["kernels"] > 0 and second["kernels"] == 0 and second["compile_seconds"] == 0.0


MIXED = "sensing", "gd_mixed"


def threads_of(problem: ls.Problem) -> int:
    """For how many threads, of two, the kernel data of a problem are made."""
    data = problem.objective.kernels.data(problem.rank, 2)
    if problem.objective.name == "sensing":
        return 1 if data.g.ndim == 1 else len(data.g)
    return len(data.products.C_cut if problem.objective.name == "linear" else data.cut) - 1


def test_nothing_is_compiled_for_a_folder_that_cannot_be(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(warm, "_parts", lambda: pytest.fail("compiles"))
    monkeypatch.setenv("LORASOLVE_CACHE_DIR", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    assert main(["warm"]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_what_is_compiled_ahead_is_divided_among_processes_without_rest() -> None:
    parts = warm._parts()
    divided = [(problem.shape, problem.rank, optimizer.name) for part in parts.values() for problem, optimizer in part]
    whole = [(problem.shape, problem.rank, optimizer.name) for problem, optimizer in warm._pairs()]
    assert sorted(divided) == sorted(whole)
    # Kernels of sweeps are those of the type and the rank.
    sweeps = {f"completion float{bits} als rank {rank}" for bits in (32, 64) for rank in range(1, WIDTH + 2)}
    assert sweeps <= set(parts)


def test_every_kind_of_data_of_a_sensing_problem_is_compiled_ahead() -> None:
    sensing = [problem for problem, optimizer in warm._large() if (problem.objective.name, optimizer.name) == MIXED]
    kinds = {type(problem.objective.kernels.mixed(problem.rank, 2)).__name__ for problem in sensing}
    assert kinds == {"MixedSensingData", "QuantizedSensingData"}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_descent_on_many_measurements_is_compiled_ahead_in_both_types(dtype) -> None:
    found = [pair[0] for pair in warm._large() if (pair[0].objective.name, pair[1].name) == ("sensing", "gd")]
    assert any(problem.dtype == dtype and problem.objective.kernels.data(1, 2).g.ndim == 2 for problem in found)


def test_what_only_descents_and_certificates_of_large_data_call_is_compiled_ahead() -> None:
    """In a process of its own, where nothing else has called a kernel."""
    script = """
from lorasolve.commands import warm
from lorasolve.kernels import completion, completion_lanes, evaluate, simd
warm._call_what_no_run_calls()
print(*(signature[0].instance_class.__name__ for signature in evaluate._evaluate.overloads))
compiled = completion_lanes if simd.available() else completion
print(*(len(getattr(compiled, name).overloads) for name in ("_entries", "_product", "_transposed")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    kinds, counts = done.stdout.splitlines()
    assert {"SensingData", "MixedSensingData"} <= set(kinds.split())
    assert counts == "2 2 2"


def test_sweeps_are_compiled_ahead_at_every_rank() -> None:
    """The kernel is compiled for each rank up to the number of lanes, and once for all beyond."""
    found = [(pair[0].rank, threads_of(pair[0]), pair[0].dtype) for pair in warm._large() if pair[1].name == "als"]
    kinds = {np.dtype(np.float64), np.dtype(np.float32)}
    assert set(found) == set(itertools.product(range(1, WIDTH + 2), (1, 2), kinds))
    assert len(found) == len(set(found))


def test_kernels_for_one_thread_and_for_several_are_compiled_ahead() -> None:
    """They differ in type where a kind of data takes scratch for each thread: all of these, from some size on."""
    found: dict[tuple[str, str], set[int]] = {}
    for problem, optimizer in warm._large():
        found.setdefault((problem.objective.name, optimizer.name), set()).add(threads_of(problem))
    assert found == {
        MIXED: {1, 2},
        ("linear", "gd_mixed"): {1, 2},
        ("completion", "gd"): {1, 2},
        ("completion", "als"): {1, 2},
        # On one thread: the small examples of all objectives.
        ("sensing", "gd"): {2},
        ("linear", "gd"): {2},
    }
