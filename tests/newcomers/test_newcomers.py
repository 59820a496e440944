"""A new component is one file: put into a copy of the package it is listed, checked and run; nothing else is edited.

The files beside this one are the exercises, one of each kind, written from the recipe in docs/extend.md alone. They
double as examples of the least that a component needs.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import lorasolve

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
FILES = sorted(path.relative_to(HERE) for path in HERE.glob("*/*.py"))
NAMES = {path.parts[0]: path.stem for path in FILES}
# What `lorasolve --help` and `lorasolve reproduce` list.
ELSEWHERE = ("commands", "papers")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Return a folder with the package and one new file in each of its folders."""
    folder = tmp_path_factory.mktemp("newcomers")
    package = folder / "lorasolve"
    shutil.copytree(pathlib.Path(lorasolve.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in FILES:
        shutil.copy(HERE / path, package / path)
    page = (ROOT / "docs" / "extend.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "SignD" in b]
    (package / "optimizers" / "sign_descent.py").write_text('"""From docs/extend.md."""\n\n' + block)
    return folder


def python(copy: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the copy in place of the package."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    run = subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def test_each_kind_has_an_exercise_of_under_sixty_lines() -> None:
    assert set(NAMES) == {
        "objectives",
        "adapters",
        "optimizers",
        "schedules",
        "inits",
        "convex",
        "executors",
        "attacks",
        "commands",
        "papers",
    }
    assert len(FILES) == len(NAMES)
    assert all(len((HERE / path).read_text().splitlines()) < 60 for path in FILES)


def test_they_are_listed(copy: pathlib.Path) -> None:
    found = json.loads(python(copy, "-m", "lorasolve.cli", "list", "--json").stdout)
    for kind, name in NAMES.items():
        assert kind in ELSEWHERE or found[kind][name]
    assert found["optimizers"]["sign_descent"] == "theta <- theta - step * sign(gradient)"
    usage = python(copy, "-m", "lorasolve.cli", "--help").stdout
    assert "  budget" in usage and "parameters of the factors of a matrix, by rank" in usage
    assert (
        "Eckart and Young (Psychometrika 1)\n  truncation " in python(copy, "-m", "lorasolve.cli", "reproduce").stdout
    )
    assert "last_first" in python(copy, "-m", "lorasolve.cli", "study", "--help").stdout
    assert "summation: the sum" in " ".join(python(copy, "-m", "lorasolve.cli", "attack", "--help").stdout.split())


def test_they_are_ready_and_pass_their_checks(copy: pathlib.Path) -> None:
    program = f"""
import numpy as np
import lorasolve as ls
from lorasolve.checks import readiness
names = {NAMES!r}
assert str({str(copy)!r}) in ls.__file__
cls = {{kind: getattr(ls, kind).registry.classes()[name] for kind, name in names.items() if kind not in {ELSEWHERE!r}}}
reports = [readiness(c) for c in cls.values()]
reports += [ls.check_objective(cls["objectives"].example(np.random.default_rng(0)))]
reports += [ls.check_adapter(cls["adapters"]()), ls.check_optimizer(cls["optimizers"]())]
reports += [ls.check_schedule(cls["schedules"]()), ls.check_init(cls["inits"]()), ls.check_convex(cls["convex"]())]
print(*[report for report in reports if not report.ok], sep="\\n")
print(len(reports))
"""
    assert python(copy, "-c", program).stdout.strip() == "14"


def test_they_run_together_and_reach_what_the_package_reaches_without_them(copy: pathlib.Path) -> None:
    M = np.random.default_rng(0).standard_normal((6, 5))
    np.savez(copy / "data.npz", M=M)
    data = ["--objective", "log_cosh", "data.npz", "--lam", "0.5", "--rank", "4"]
    cli = ["-m", "lorasolve.cli"]
    report = json.loads(python(copy, *cli, "convex", *data, "--route", "svt", "--json").stdout)
    other = json.loads(python(copy, *cli, "convex", *data, "--route", "prox", "--json").stdout)
    optimum = next(value for key, value in walk(report) if key == "fun")
    assert optimum == pytest.approx(next(value for key, value in walk(other) if key == "fun"), rel=1e-7)
    solved = json.loads(
        python(
            copy,
            *cli,
            "solve",
            *data,
            "--method",
            "normalized_gd+staircase",
            "--init",
            "uniform",
            "--max-iter",
            "2000",
            "--json",
        ).stdout
    )
    reached = next(value for key, value in walk(solved) if key == "fun")
    assert optimum <= reached <= 1.05 * optimum
    biased = json.loads(
        python(
            copy, *cli, "solve", *data, "--adapter", "row_bias", "--method", "lbfgs", "--init", "uniform", "--json"
        ).stdout
    )
    assert next(value for key, value in walk(biased) if key == "fun") < optimum  # the bias costs no decay
    assert python(copy, *cli, "budget", "100", "50", "4").stdout == "rank 4: 600 parameters, 12.00 % of 100 x 50\n"


def test_the_attack_finds_what_is_false_and_the_paper_is_judged(copy: pathlib.Path) -> None:
    program = """
from lorasolve.attacks import attack
report = attack("summation", seconds=5.0, trials=200)
print(*[finding.claim for finding in report.found])
"""
    assert python(copy, "-c", program).stdout == "the order does not matter\n"
    shown = python(copy, "-m", "lorasolve.cli", "reproduce", "truncation", "--quick", "--out", "results").stdout
    assert "[confirmed] no matrix of rank 2 is nearer" in shown


def test_they_are_in_the_table_of_all_methods(copy: pathlib.Path) -> None:
    arguments = ["--methods", "all", "--budget", "60", "--json", "--quiet"]
    data = ["--objective", "log_cosh", "data.npz", "--lam", "0.5", "--rank", "2"]
    np.savez(copy / "data.npz", M=np.random.default_rng(0).standard_normal((6, 5)))
    shown = python(copy, "-m", "lorasolve.cli", "compare", *data, *arguments).stdout
    for method in ("normalized_gd", "sign_descent", "gd+staircase", "gd@row_bias"):
        assert f'"{method}' in shown


def walk(document: object) -> list[tuple[str, object]]:
    """Return all keys of a JSON document with their values."""
    if isinstance(document, dict):
        return [pair for key, value in document.items() for pair in [(key, value), *walk(value)]]
    return [pair for value in document for pair in walk(value)] if isinstance(document, list) else []


SUITES = (
    "tests/checks/test_registries.py",
    "tests/objectives/test_conformance.py",
    "tests/optimizers/test_optimizer_conformance.py",
    "tests/inits/test_starts.py",
    "tests/test_problem.py",
    "tests/test_combinations.py",
    "tests/test_docstrings.py",
    "tests/convex/test_routes.py",
    "tests/test_multi.py",
    "tests/studies/test_executors.py",
    "tests/papers/test_reproduce.py",
    "tests/test_layout.py",
)


def pytest_in(copy: pathlib.Path, *arguments: str) -> str:
    """Run tests of this folder against the copy, and return their last line and what failed."""
    # In this process: what asks for several ones is meant for the tests around.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": ""}
    options = [
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(ROOT),
        "-rf",
        "--tb=short",
    ]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return run.stdout[-6000:]


def test_the_suites_that_read_the_registries_pass_with_them(copy: pathlib.Path) -> None:
    names = " or ".join([*NAMES.values(), "sign_descent"])
    shown = pytest_in(copy, "-k", names, *(str(ROOT / suite) for suite in SUITES))
    assert " passed" in shown.splitlines()[-1] and "failed" not in shown and "error" not in shown.splitlines()[-1], (
        shown
    )


@pytest.fixture
def unfinished(copy: pathlib.Path) -> Iterator[None]:
    """Have an objective in the copy that is not finished."""
    path = copy / "lorasolve" / "objectives" / "unfinished.py"
    path.write_text(
        '"""Unfinished."""\n\nfrom lorasolve.objectives import Objective\n\n\nclass Unfinished(Objective):\n'
        '    """Nothing but a name."""\n\n    name = "unfinished"\n\n'
        "    def __init__(self, *parts):\n        self.shape = (3, 2)\n"
    )
    yield
    path.unlink()


@pytest.mark.usefixtures("unfinished")
def test_what_an_unfinished_one_lacks_comes_as_one_failure_that_names_it_all(copy: pathlib.Path) -> None:
    shown = pytest_in(copy, "-k", "unfinished", *(str(ROOT / suite) for suite in SUITES))
    assert "1 failed" in shown.splitlines()[-1], shown
    for words in (
        "WRONG  listed",
        "write summary = '...'",
        "WRONG  saved",
        "WRONG  tested",
        "write a classmethod example",
    ):
        assert words in shown


@pytest.mark.usefixtures("unfinished")
def test_they_are_compiled_ahead_without_those_that_offer_no_example(copy: pathlib.Path) -> None:
    program = """
from lorasolve.commands import warm
pairs = {(problem.objective.name, optimizer.name) for problem, optimizer in warm._pairs()}
print(("log_cosh", "normalized_gd") in pairs, any(name == "unfinished" for name, _ in pairs))
"""
    assert python(copy, "-c", program).stdout == "True False\n"
