"""Modules that claim what they do not show are refused, each for its own reason.

Each file of ``hostile/`` lists checks as a theorem would, and says in ``REFUSED`` how the refusal reads. The docstring
around them is right, so that nothing else is wrong with them.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from lorasolve.symbolic import Theorem
from lorasolve.symbolic.report import as_text, run, run_module

MODULES = sorted((Path(__file__).parent / "hostile").glob("*.py"))
SECTIONS = ("Statement", "Assumptions", "Source", "Idea")


def documented(checks):
    """Return a docstring that agrees with the checks."""
    parts = ["A claim."]
    parts += [f"{name}\n{'-' * len(name)}\nNone." for name in SECTIONS]
    lines = "\n".join(f"{check.name} : {check.strength}" for check in checks) or "None."
    parts += [f"Checks\n------\n{lines}", "Used by\n-------\nNo file."]
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_hostile_module_is_refused_for_its_reason(path):
    module = runpy.run_path(str(path))
    theorem = Theorem(documented(module["CHECKS"]), module["CHECKS"], module.get("USES", ()))
    report = run(path.stem, theorem)
    text = as_text(report)
    assert not report.ok and run_module(path.stem, theorem) == 1
    assert re.search(module["REFUSED"], text), text


def test_there_are_hostile_modules():
    assert len(MODULES) > 20
