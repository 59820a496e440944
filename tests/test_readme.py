"""The README's Python runs, in order, and the commands and options it names exist."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import lorasolve as ls
from lorasolve.checks import check_objective, check_optimizer, readiness
from lorasolve.commands import registry

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_python_blocks_run_in_order(capsys) -> None:
    names: dict[str, object] = {}
    outputs = []
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, names)
        outputs.append(capsys.readouterr().out)
    assert "global optimum: yes" in outputs[1]
    assert outputs[3].startswith("verdict: spurious")
    optimum = ls.solve_convex(names["problem"])
    assert optimum.success


def test_its_own_components_pass_the_checks() -> None:
    names: dict[str, Any] = {"ls": ls}
    for cls in ("SignDescent", "Mine"):
        (block,) = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if f"class {cls}" in b]
        exec(block, names)
    for report in (
        readiness(names["SignDescent"]),
        check_optimizer(names["SignDescent"]()),
        check_optimizer(names["SignDescent"](), names["problem"]),
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
    table = README.split("## Which solver")[1].split("##")[0]
    second_column = " ".join(line.split("|")[2] for line in table.splitlines() if line.startswith("|"))
    optimizers = set(re.findall(r"`([a-z_]+)`", second_column))
    assert optimizers <= set(ls.optimizers.registry.classes())
    root = pathlib.Path(__file__).parent.parent
    for link in re.findall(r"\]\(([^)#h][^)#]*)", README):
        assert (root / link).exists(), link


def test_the_two_set_up_commands_are_there_word_for_word() -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/lorasolve compare\n" in README
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest\n" in README
