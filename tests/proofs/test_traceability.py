"""Code that relies on a theorem names its module, and the module names that code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import lorasolve
import proofs
from lorasolve.symbolic import discover

ROOT = Path(lorasolve.__file__).parent
THEOREMS = discover(proofs)
# The checker itself speaks of the folder, not of single theorems.
CHECKER = ("symbolic/", "commands/prove.py")


@cache
def mentions():
    """Return for each file of the package the theorem modules that it names, as ``proofs/NAME``."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if not relative.as_posix().startswith(CHECKER):
            named = set(re.findall(r"\bproofs[/.]([a-z]\w*)", path.read_text(encoding="utf-8")))
            if named:
                found[f"lorasolve/{relative.as_posix()}"] = named
    return found


def test_the_package_names_theorems():
    assert len(mentions()) > 5


def test_every_theorem_that_the_package_names_exists():
    unknown = {file: named - THEOREMS.keys() for file, named in mentions().items() if named - THEOREMS.keys()}
    assert unknown == {}


@pytest.mark.parametrize("name", THEOREMS)
def test_the_users_of_a_theorem_are_those_that_name_it(name):
    assert set(THEOREMS[name].users) == {file for file, named in mentions().items() if name in named}
