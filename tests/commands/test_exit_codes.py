"""Exit codes, and errors that name the option that was typed."""

from __future__ import annotations

import json
import pathlib

import pytest

import lorasolve as ls
from lorasolve.cli import main


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


def test_an_update_without_a_nuclear_norm_counterpart_is_solved_and_not_certified(capsys) -> None:
    solve = ["solve", "--adapter", "dora", "--max-iter", "3", "--quiet", "--json"]
    assert main(solve) == 0
    assert json.loads(capsys.readouterr().out)["certificate"] is None
    assert main([*solve, "--require-certificate"]) == 3


def test_exit_codes_of_the_convex_optimum(data) -> None:
    convex = ["convex", "--objective", "denoising", data, "--lam", "1", "--quiet", "--require-certificate"]
    assert main(convex) == 0
    assert main([*convex, "--route", "factored", "--time-limit", "1e-6"]) == 1


def test_exit_codes_of_compare(data) -> None:
    """adamw minimises something else, which is no failure unless a certificate is asked for."""
    compare = ["compare", "--objective", "denoising", data, "--lam", "1", "--quiet", "--max-iter", "50", "--methods"]
    assert main([*compare, "adamw"]) == 0
    assert main([*compare, "adamw", "--require-certificate"]) == 1
    assert main([*compare, "gd:step_size=1000"]) == 1
    assert main([*compare, "gd:step_size=1000", "lbfgs"]) == 0
    assert main([*compare, "gd:step_size=1000", "adamw"]) == 1


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
    ("arguments", "message"),
    [
        (["slove"], "unknown command 'slove'. Did you mean 'solve'"),
        (["solve", "--methd", "gd"], "unrecognized arguments: --methd gd (did you mean --method?)"),
        (
            ["complete", "r.csv", "--", "--quiet"],
            "--quiet (behind -- all are names of files: write options before it)\n",
        ),
        (["complete", "-dashed.csv"], "file (a file whose name begins with a dash is given as ./-dashed.csv)\n"),
        (
            ["solve", "--objective", "own.py:Loss"],
            "NAME and FILE; a loss of your own is solved in Python, or as python",
        ),
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
    pathlib.Path("-dashed.csv").write_text("1,1,5\n")
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    text, error = capsys.readouterr()
    assert code == 2
    assert message in error
    assert text == ""
    assert "Traceback" not in error
