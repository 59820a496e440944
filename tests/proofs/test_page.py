"""The generated page says what remains prose, and its template is a working theorem."""

from __future__ import annotations

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import proofs
from lorasolve.symbolic import discover
from lorasolve.symbolic.report import run
from proofs.statements import CORRECTIONS, STATEMENTS

PAGE = Path(next(iter(proofs.__path__))) / "README.md"


def test_each_module_says_what_of_it_remains_prose_and_the_page_shows_it():
    text = PAGE.read_text(encoding="utf-8").replace("\\|", "|")
    rows = [row.split(" | ") for row in text.partition("## What remains prose")[2].partition("\n## ")[0].splitlines()]
    shown = {(row[0].strip("| `"), row[1]) for row in rows if len(row) > 2}
    for name, theorem in discover(proofs).items():
        assert theorem.prose is not None, f"{name}: Theorem(..., prose=...) is missing"
        assert {(name, says) for says in theorem.prose or ["nothing"]} <= shown


def test_each_statement_of_the_paper_shows_the_prose_beside_its_checks():
    text = PAGE.read_text(encoding="utf-8")
    (row,) = [row for row in text.splitlines() if row.startswith("| 7 lemma 1:")]
    assert "the limit T -> infinity" in row.split(" | ")[4]
    (row,) = [row for row in text.splitlines() if row.startswith("| 4 step 7:")]
    assert row.split(" | ")[4] == "nothing |"


def test_no_correction_is_one_of_a_section_that_the_page_does_not_number():
    sections = {key.split()[0] for key in STATEMENTS}
    assert {number for where, *_ in CORRECTIONS for number in re.findall(r"Section (\d+)", where)} <= sections


def test_prose_stands_beside_checks_that_exist():
    theorem = discover(proofs)["weyl"]
    for beside in ((), ("wyel",)):
        wrong = dataclasses.replace(theorem, prose={"w exists": beside})
        assert [fault for fault in wrong.inconsistencies() if "prose 'w exists'" in fault]
    with pytest.raises(TypeError, match="'w exists'"):
        dataclasses.replace(theorem, prose={"w exists": "weyl"})


def test_the_template_on_the_page_is_a_theorem_of_few_lines(tmp_path):
    template, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    code = template.split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    file = tmp_path / "projection.py"
    file.write_text(template, encoding="utf-8")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "projection (sos): PROVED" in done.stdout


def test_the_light_way_on_the_page_prints_what_it_says():
    text = PAGE.read_text(encoding="utf-8")
    _, code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"prints `{done.stdout.strip()}`" in text


def test_a_new_module_in_the_folder_is_found_without_further_edits(tmp_path, monkeypatch):
    package = tmp_path / "newproofs"
    package.mkdir()
    (package / "__init__.py").write_text('"""New."""\n')
    source = (Path(next(iter(proofs.__path__))) / "_template.py").read_text(encoding="utf-8")
    (package / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = discover(importlib.import_module("newproofs"))
    assert list(found) == ["mine"] and run("mine", found["mine"]).ok
