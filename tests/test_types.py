"""What a user's type checker and completion find: every public name, with its type."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

import lorasolve as ls

FOLDERS = ("adapters", "convex", "executors", "inits", "objectives", "optimizers", "schedules")

# Where what lists components is defined.
REGISTRY = "lorasolve._support.registry"

SCRIPT = """
import numpy as np
from numpy.typing import NDArray

import lorasolve as ls

class Mine:
    shape, convex, lower_bound = (6, 5), True, 0.0

    def value_and_grad(self, X: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        return 0.5 * float(((X - 1) ** 2).sum()), X - 1

problem = ls.Problem(Mine(), rank=3, lam=0.5)
for rank in np.arange(1, 4):
    ls.solve(ls.Problem(Mine(), rank), seed=rank)
    ls.MultiProblem(problem.loss, [rank])
result = ls.solve(problem, "gd", seed=0, stop=ls.StoppingRule(max_iter=100))
is_global: bool | None = ls.certify(problem, result).is_global
kind: str = ls.verdict(problem, result).kind
optimum: float = ls.solve_convex(problem).fun
latex: str = ls.compare(problem, ["gd", ls.optimizers.ScaledGD()]).to_latex()
study = ls.Study(lambda lam: ls.Problem(Mine(), rank=3, lam=lam), {"lam": [0.1, 0.2]}, "lbfgs", [ls.certify])
runs: ls.Runs = study.run("runs")
lams: list[float] = ls.path(problem, np.geomspace(1.0, 0.1, 5)).lams
best: float = ls.cross_validate(problem, np.geomspace(1.0, 0.1, 5)).best
ls.landscape.census(problem, 3, np.array([0.1, 1.0]))
"""

# One error a line, and no other.
WRONG = """
import lorasolve as ls
wrong: str = ls.certify(ls.Problem(ls.objectives.Huber.example, rank=1), None).gap
ls.Problem(None, rank="two")
ls.no_such_name
"""


def classes() -> list[str]:
    """Return the components as ``folder.Class``."""
    found = []
    for folder in FOLDERS:
        registry = importlib.import_module(f"lorasolve.{folder}").registry
        found += [f"{folder}.{cls.__name__}" for cls in registry.classes().values()]
    return found


def test_a_type_checker_finds_every_public_name_with_its_type(tmp_path: pathlib.Path) -> None:
    """A component with type Any lacks its line under TYPE_CHECKING in the ``__init__.py`` of its folder."""
    pytest.importorskip("mypy")
    names = [*ls.__all__, *classes()]
    (tmp_path / "user.py").write_text(SCRIPT)
    (tmp_path / "names.py").write_text("import lorasolve as ls\n" + "".join(f"reveal_type(ls.{n})\n" for n in names))
    (tmp_path / "wrong.py").write_text(WRONG)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "user.py", "names.py", "wrong.py"],
        cwd=tmp_path,
        # mypy reads paths, and an editable install may be a finder.
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(ls.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    errors = re.findall(r"^(\w+\.py:\d+): error", run.stdout, re.MULTILINE)
    assert sorted(errors) == ["wrong.py:3", "wrong.py:4", "wrong.py:5"], run.stdout + run.stderr
    revealed = re.findall(r'^names\.py:(\d+): note: Revealed type is "(.*)"', run.stdout, re.MULTILINE)
    types = {names[int(line) - 2]: text for line, text in revealed}
    assert types.keys() == set(names)
    assert [name for name, text in types.items() if text == "Any"] == []


def test_completion_shows_classes_and_nothing_of_the_machinery() -> None:
    shown = {folder: {n for n in dir(getattr(ls, folder)) if not n.startswith("__")} for folder in FOLDERS}
    for folder, names in shown.items():
        components = {name.split(".")[1] for name in classes() if name.startswith(f"{folder}.")}
        assert components <= names
        assert names - components == set(getattr(ls, folder).__all__)
    assert {n for n in dir(ls) if not n.startswith("__")} == set(ls.__all__)


def test_every_module_of_the_front_door_says_what_it_offers() -> None:
    """``from lorasolve.plotting import *`` brought ``as_choice`` and ``write_atomically``, and ``help`` showed them."""
    for name in ls.__all__:
        module = getattr(ls, name)
        if isinstance(module, types.ModuleType):
            homes = {getattr(getattr(module, each), "__module__", module.__name__) for each in module.__all__}
            assert homes and not any(home.startswith("lorasolve._support") for home in homes - {REGISTRY})
