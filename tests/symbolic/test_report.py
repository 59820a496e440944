"""The docstring schema, the runner, its exit codes, and the formats."""

from __future__ import annotations

import json
import re

import pytest

from lorasolve.symbolic import Identity, Theorem, dims, main, matrix, mutant, run_module, square
from lorasolve.symbolic.report import SCHEMA, as_json, as_text, discover, run, summary
from lorasolve.symbolic.theorem import SECTIONS, DocumentationError

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)

DOC = """A title.

Statement
---------
|A|^2 + |A|^2 = 2 |A|^2.

Assumptions
-----------
None.

Source
------
None.

Idea
----
None.

Checks
------
double : PROVED

Used by
-------
lorasolve/problem.py, lorasolve/optimizers/gd.py
"""


def theorem(doc=DOC, factor=2, mutants=None):
    twins = mutants or (
        mutant("constant", "3", rhs=3 * square(A)),
        mutant("sign", "-2", rhs=-2 * square(A)),
    )
    return Theorem(1, doc, (Identity("double", "twice", square(A) + square(A), factor * square(A), mutants=twins),))


def test_sections_are_read():
    sections = theorem().sections
    assert tuple(sections) == SECTIONS
    assert theorem().title == "A title"
    assert theorem().users == ["lorasolve/problem.py", "lorasolve/optimizers/gd.py"]


@pytest.mark.parametrize(
    "doc",
    [
        DOC.replace("Idea\n----", "Thoughts\n--------"),
        DOC.replace("Source\n------\nNone.\n", "Source\n------\n"),
        "A title only.",
    ],
)
def test_a_wrong_docstring_is_named(doc):
    with pytest.raises(DocumentationError):
        _ = theorem(doc).sections
    assert not run("wrong", theorem(doc)).ok


def test_a_true_theorem_is_ok():
    report = run("double", theorem())
    assert report.ok and report.mutants == 2 and not report.inconsistencies
    assert run_module("double", theorem()) == 0


def test_a_false_theorem_is_not():
    report = run("double", theorem(factor=4))
    assert not report.ok and "NOT SHOWN" in as_text(report)
    assert run_module("double", theorem(factor=4)) == 1


def test_a_documented_strength_that_is_not_the_real_one_is_an_error():
    report = run("double", theorem(DOC.replace("double : PROVED", "double : PROVED UNDER magic")))
    assert not report.ok and "documented 'PROVED UNDER magic'" in report.inconsistencies[0]


def test_an_undocumented_check_is_an_error():
    assert not run("double", theorem(DOC.replace("double : PROVED", "other : PROVED"))).ok


def test_two_mutants_of_one_kind_are_not_enough():
    same = (mutant("constant", "3", rhs=3 * square(A)), mutant("constant", "4", rhs=4 * square(A)))
    report = run("double", theorem(mutants=same))
    assert not report.ok and "two kinds" in report.inconsistencies[0]


def test_a_surviving_mutant_fails_the_theorem():
    true_twin = (mutant("constant", "2", rhs=2 * square(A)), mutant("sign", "-2", rhs=-2 * square(A)))
    report = run("double", theorem(mutants=true_twin))
    assert not report.ok and "SURVIVED" in as_text(report)
    assert "FAILED: double" in summary([report])


def test_json_has_a_schema_and_round_trips():
    content = json.loads(as_json([run("double", theorem())]))
    assert content["schema"] == SCHEMA and re.fullmatch(r"lorasolve\.proofs/\d+", SCHEMA)
    assert content["ok"] is True
    (check,) = content["theorems"][0]["checks"]
    assert check["strength"] == "PROVED" and check["proved"] is True
    assert {twin["kind"] for twin in check["mutants"]} == {"constant", "sign"}


def test_unknown_names_give_exit_code_two_and_the_near_miss(capsys):
    assert main(["theorem11"]) == 2
    assert "Did you mean 'theorem1'" in capsys.readouterr().err


def test_one_theorem_by_name(capsys):
    assert main(["nuclear_norm_variational", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [t["name"] for t in content["theorems"]] == ["nuclear_norm_variational"]


def test_listing(capsys):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.count("\n") == len(discover())
