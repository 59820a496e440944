"""The README's Python runs, in order, and the commands and options that it and the docs name exist."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest

import lorasolve as ls
from lorasolve.checks import check_objective, check_optimizer, readiness
from lorasolve.commands import registry

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXTEND = (ROOT / "docs" / "extend.md").read_text()


def test_python_blocks_run_in_order(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs = []
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)
        outputs.append(capsys.readouterr().out)
    assert "global optimum: yes" in outputs[1]
    assert outputs[3].startswith("verdict: spurious")
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "runs.csv", "table.tex", "phase.html"}
    runs = names["runs"]
    # Three axes besides the seed; what cannot be is a result: the cells with lam = -1, a third of all.
    assert (len(runs), len(runs.failed)) == (54, 18)
    assert "lam: expected a finite number in [0, inf), got -1.0" in outputs[5]
    assert "\\toprule" in (tmp_path / "table.tex").read_text()
    # Soft-thresholding of a matrix of ones, whose only singular value is sqrt(200).
    ends = [r["result"]["fun"] for r in runs if r["run"]["cell"] == r["run"]["cell"] | {"loss": "mine", "lam": 0.5}]
    assert ends == pytest.approx([0.5 * 0.5**2 + 0.5 * (200**0.5 - 0.5)] * 9, rel=1e-9)


def test_the_study_takes_ten_lines() -> None:
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "ls.Study" in b]
    assert len(block.splitlines()) <= 10


def test_its_own_components_pass_the_checks() -> None:
    names: dict[str, Any] = {"ls": ls}
    for cls in ("SignDescent", "Mine"):
        (block,) = [b for b in re.findall(r"```python\n(.*?)```", README + EXTEND, re.DOTALL) if f"class {cls}" in b]
        exec(block, names)
    for report in (
        readiness(names["SignDescent"]),
        check_optimizer(names["SignDescent"]()),
        check_optimizer(names["SignDescent"](), ls.Problem(names["Mine"](), rank=3, lam=0.5)),
        check_objective(names["Mine"]()),
    ):
        assert report.ok, str(report)
    facts = {check.name: check.holds for check in check_objective(names["Mine"]()).checks}
    assert facts["convex"] is facts["lower bound"] is True


def test_named_commands_optimizers_and_links_exist() -> None:
    known = registry.classes()
    commands = set(re.findall(r"`lorasolve ([a-z]+)", README)) | set(re.findall(r"^lorasolve ([a-z]+)", README, re.M))
    assert commands <= set(known)
    assert len(commands) >= 8
    table = (ROOT / "docs" / "which_solver.md").read_text().split("\n## ")[0]
    second_column = " ".join(line.split("|")[2] for line in table.splitlines() if line.startswith("|"))
    optimizers = set(re.findall(r"(?<!})`([a-z_]+)`", second_column))
    assert optimizers <= set(ls.optimizers.registry.classes())
    for link in re.findall(r"\]\(([^)#h][^)#]*)", README):
        assert (ROOT / link).exists(), link


def test_the_two_set_up_commands_are_there_word_for_word() -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/lorasolve compare\n" in README
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest\n" in README
