"""The main jobs on the command line: solve, compare, convex."""

from __future__ import annotations

import json
import math
import pathlib
import shlex

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.io import load_result


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


def test_solve_prints_and_saves(capsys, data, optimum) -> None:
    code = main(["solve", "--objective", "denoising", data, "--lam", "1", "--method", "lbfgs", "--out", "r.npz"])
    text, remarks = capsys.readouterr()
    assert code == 0
    assert "global optimum: yes" in text
    assert remarks == "written: r.npz, r.json\n"
    document = json.loads(pathlib.Path("r.json").read_text())
    assert document["result"]["fun"] == pytest.approx(optimum, rel=1e-10)
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


def test_convex(capsys, data, optimum) -> None:
    arguments = ["convex", "--objective", "denoising", data, "--lam", "1", "--rank", "1", "--cross-check"]
    assert main([*arguments, "--out", "base"]) == 0
    text = capsys.readouterr().out
    assert "the factors' rank 1 is below the optimum's 2" in text
    assert "cross-check by cvxpy" in text
    document = json.loads(pathlib.Path("base.json").read_text())
    assert document["result"]["fun"] == pytest.approx(optimum, rel=1e-12)
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


def test_step_sizes_are_chosen_where_that_is_asked_for_and_not_else(capsys, data) -> None:
    """Of steps of 1e-4, 40 are short; longer ones are tried in factors of 4."""
    compare = ["compare", "--objective", "denoising", data, "--lam", "1", "--quiet", "--json", "--budget", "40"]
    rows = {}
    for tune in ([], ["--tune"]):
        assert main([*compare, "--methods", "gd:step_size=1e-4", *tune]) == 0
        (rows[len(tune)],) = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["step_size"] is None and rows[1]["objective"] < 0.9 * rows[0]["objective"]
    factors = math.log(rows[1]["step_size"] / 1e-4, 4)
    assert factors == pytest.approx(round(factors), abs=1e-9) and factors > 0.5


@pytest.mark.parametrize("rank", [1, 2])
def test_factors_too_narrow_for_the_optimum_that_was_found_are_told(capsys, data, rank) -> None:
    """The same loss entry by entry, of which no curvature bounds the rank of the optimum, 2, from below."""
    with np.load(data) as arrays:
        lines = [f"r{i},c{j},{value!r}" for (i, j), value in zip(np.ndindex(6, 5), arrays["M"].ravel().tolist())]
    pathlib.Path("r.csv").write_text("\n".join(lines))
    assert main(["convex", "--objective", "completion", "r.csv", "--lam", "1", "--rank", str(rank)]) == 0
    told = "factors of rank 1 cannot hold the optimum that was found, of rank 2; there may be others of lower rank"
    text = capsys.readouterr().out
    assert (told in text) == (rank == 1) and ("cannot hold" in text) == (rank == 1)


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


OWN_METHODS = """
from dataclasses import dataclass
import lorasolve as ls
from lorasolve.optimizers import Optimizer

@dataclass(frozen=True)
class Plain(Optimizer):
    step_size: float = 0.1
    fails: bool = False
    name, summary = "plain", "gradient descent"

    def update(self, problem, state, value, grad):
        state.theta = state.trial
        state.trial = state.theta - self.step_size / (not self.fails) * grad

plain, failing = Plain(), Plain(fails=True)
started = ls.Method(plain, init="gaussian:std=0.5")
start = ls.inits.Gaussian(std=0.5)
"""


def test_methods_and_starts_of_files_run_beside_those_of_the_package(tmp_path, monkeypatch, capsys) -> None:
    """By hand the same method, from the same starts, takes the same steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN_METHODS)
    methods = ["gd:step_size=0.1", "own.py:plain", "own.py:started"]
    assert main(["compare", "--methods", *methods, "--max-iter", "50", "--quiet"]) == 0
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["gd:step_size=0.1", "plain", "plain~gaussian:std=0.5"]
    assert rows[0]["objective"] == pytest.approx(rows[1]["objective"], rel=1e-12)
    assert rows[2]["objective"] != pytest.approx(rows[1]["objective"], rel=1e-6)
    run = ["solve", "--max-iter", "50", "--out", "run", "--quiet", "--method"]
    assert main([*run, "own.py:plain", "--init", "own.py:start"]) == 0
    assert load_result("run.npz")[1].fun == pytest.approx(rows[2]["objective"], rel=1e-12)
    capsys.readouterr()
    main(["verdict", "run.npz"])
    assert "a method that is not listed from gaussian" in capsys.readouterr().out
    assert main([*run, "own.py:plan"]) == 2
    assert "own.py defines no 'plan'. Did you mean 'plain'?" in capsys.readouterr().err
    assert main([*run, "own.py:Plain"]) == 2
    assert "method 'own.py:Plain': expected a Method, an Optimizer" in capsys.readouterr().err
    for text in ("own.py:plain+cosine", "own.py"):
        assert main([*run, text]) == 2
        assert f"method {text!r}: expected FILE.py:NAME and nothing else; with a schedule" in capsys.readouterr().err
    assert main([*run, "own.py:failing"]) == 2
    assert "own.py, line 14, in Plain.update: ZeroDivisionError" in capsys.readouterr().err
