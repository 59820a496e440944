"""The docstring schema, the runner, its exit codes, and the formats."""

from __future__ import annotations

import json
import pathlib
from math import isqrt

import pytest

import proofs
from lorasolve._known import Known
from lorasolve.cli import main
from lorasolve.io import SCHEMA_VERSION
from lorasolve.symbolic import (
    Exact,
    Fact,
    Identity,
    Inequality,
    Property,
    Sampled,
    Schema,
    Square,
    SumOfSquares,
    Theorem,
    dims,
    discover,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
)
from lorasolve.symbolic.export import document
from lorasolve.symbolic.report import as_text, judged, run, strengths, summary
from lorasolve.symbolic.theorem import SECTIONS, DocumentationError
from proofs.facts import OPERATOR_NORM, SPECTRAL

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
lorasolve/engine.py, lorasolve/optimizers/gd.py
"""


def theorem(doc=DOC, factor=2, mutants=None):
    twins = mutants or (
        mutant("constant", "3", rhs=3 * square(A)),
        mutant("sign", "-2", rhs=-2 * square(A)),
    )
    return Theorem(doc, (Identity("double", "twice", square(A) + square(A), factor * square(A), mutants=twins),))


def test_sections_are_read():
    sections = theorem().sections
    assert tuple(sections) == SECTIONS
    assert theorem().title == "A title"
    assert theorem().users == ["lorasolve/engine.py", "lorasolve/optimizers/gd.py"]


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
    assert not report.ok and "REFUTED" in as_text(report)
    assert run_module("double", theorem(factor=4)) == 1


def test_a_documented_strength_that_is_not_the_real_one_is_an_error():
    report = run("double", theorem(DOC.replace("double : PROVED", "double : PROVED UNDER magic")))
    assert not report.ok and "documented 'PROVED UNDER magic'" in report.inconsistencies[0]


def test_an_undocumented_check_is_an_error():
    report = run("double", theorem(DOC.replace("double : PROVED", "other : PROVED")))
    missing = "check double: a line under Checks is missing, double : PROVED"
    assert report.inconsistencies == [missing, "check other: documented under Checks, and no check has this name"]


def test_two_mutants_of_one_kind_are_not_enough():
    same = (mutant("constant", "3", rhs=3 * square(A)), mutant("constant", "4", rhs=4 * square(A)))
    report = run("double", theorem(mutants=same))
    assert not report.ok and "two kinds" in report.inconsistencies[0]


def test_a_surviving_mutant_fails_the_theorem():
    true_twin = (mutant("constant", "2", rhs=2 * square(A)), mutant("sign", "-2", rhs=-2 * square(A)))
    report = run("double", theorem(mutants=true_twin))
    assert not report.ok and "SURVIVED" in as_text(report)
    assert "FAILED: double" in summary([report])


def test_a_check_that_holds_by_sampling_is_never_called_proved():
    search = Sampled("search", "|x| >= 0", lambda rng: abs(rng.standard_normal()))
    (check,) = run("sampled", Theorem(DOC, (search,))).checks
    record = check.to_dict()
    assert record["holds"] is True and record["known"] == "SAMPLED" and "proved" not in record


def test_the_sizes_for_which_a_claim_is_made_stand_below_it():
    """tr A B = tr A tr B is false but for matrices of one entry, of which the words of the claim say nothing."""
    one, other = matrix("A", 1, 1), matrix("B", 1, 1)
    text = as_text(run("one", Theorem("A title.", (Identity("one", "", tr(one @ other), tr(one) * tr(other)),))))
    assert "one (identity): PROVED" in text and "      where    A, B 1 x 1\n" in text


def test_what_is_taken_from_a_fact_without_a_proof_is_printed():
    """The words of the fact are true and its schema says more, which is seen, also where a conclusion rests on it."""
    x, y, u, v = scalars("x y u v", real=True)
    given = Property("{} is a number")
    schema = Schema("products", 3 * u * v, u**2 + v**2, {given(u): (), given(v): ()})
    fact = Fact("of means", "2 u v <= u^2 + v^2", "nowhere", schemas=(schema,))
    first = Inequality("first", "", 3 * x * y, x**2 + y**2, proof=[fact.instance("products", given(x), given(y))])
    last = Inequality("last", "", 6 * x * y, 2 * x**2 + 2 * y**2, proof=[2 * first.conclusion()], under=(first,))
    bound, size = scalars("s", nonnegative=True), matrix("W", n, m)
    premise = OPERATOR_NORM.instance("product", SPECTRAL(A, bound), W=size)
    proved = Inequality("proved", "", square(A @ size), bound**2 * square(size), proof=[premise])
    report = run("means", Theorem("A title.", (first, last, proved)))
    said = "of means: 3*x*y <= x^2 + y^2"
    assert [check.under for check in report.checks] == [[said], [f"{said}, in check first"], []]
    assert "PROVED UNDER of means" in as_text(report) and f"      under    {said}\n" in as_text(report)


def test_checks_of_one_name_are_refused():
    """What the second checker says of one would be taken for what it says of the other."""
    below = SumOfSquares("below", "", 0, square(A), proof=[1 * Square(A)])
    other = Inequality("below", "", 0, abs(scalars("x", real=True)) * square(A), proof=[1 * Square(A)])
    with pytest.raises(ValueError, match="own: checks: expected a name of its own for each, got two called 'below'"):
        document({"own": Theorem("A title.", (below, other))})


def test_the_cases_that_were_computed_stand_below_what_is_verified():
    """That 7 k + 1 is a square holds for k = 0, 5, 9, and for no other of the first ten numbers."""

    def is_square(k):
        return isqrt(7 * k + 1) ** 2 == 7 * k + 1, ""

    squares = Exact("squares", "7 k + 1 is a square", is_square, [(0,), (5,), (9,)])
    assert "\n      exact at (0,), (5,), (9,)\n" in as_text(run("squares", Theorem("A title.", (squares,)))) + "\n"


def test_what_rests_on_a_check_that_the_second_checker_refuses_is_not_shown():
    """The second checker is asked about neither of the two that contain an absolute value."""
    below = SumOfSquares("below", "", 0, square(A), proof=[1 * Square(A)])
    size = abs(scalars("x", real=True))
    first = Inequality("first", "", 0, size * square(A), proof=[size * below.conclusion()])
    last = Inequality("last", "", 0, 2 * size * square(A), proof=[2 * first.conclusion()])
    whole = Theorem("A title.", (below, first, last))
    content = document({"whole": whole})
    assert list(content["not_exported"]) == ["whole.first", "whole.last"]
    for refused, verdict in ((None, "PROVED"), ("one reason or other", "NOT SHOWN")):
        report = judged(run("whole", whole), {"whole.below": refused}, content, {})
        assert [check.verdict for check in report.checks] == [verdict] * 3
    assert "it REFUSES whole.below, on which this rests" in as_text(report)


def test_facts_stand_beside_how_a_check_is_known():
    x, y = scalars("x y")
    ordered = Property("{} comes before {}")
    magic = Fact("magic", "x <= y", "nowhere", schemas=(Schema("order", x, y, {ordered(x, y): ()}),))
    known = magic.instance("order", ordered(x, y))
    under = Inequality("under", "x <= y", x, y, proof=[1 * known])
    reports = run("mixed", Theorem(DOC, (under, *theorem().checks))).checks
    assert [(c.known, c.facts, c.strength) for c in reports] == [
        (Known.PROVED, ["magic"], "PROVED UNDER magic"),
        (Known.PROVED, [], "PROVED"),
    ]
    assert strengths(reports) == "1 PROVED, 1 PROVED UNDER named facts"


def test_what_does_not_hold_is_not_counted_as_known():
    reports = run("false", theorem(factor=3)).checks
    assert [check.verdict for check in reports] == ["REFUTED"]
    assert strengths(reports) == "1 REFUTED"


def test_the_json_document_speaks_the_language_of_all_commands(capsys):
    assert main(["prove", "nuclear_norm_variational", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema"] == "lorasolve/prove" and content["schema_version"] == SCHEMA_VERSION
    assert content["ok"] is True
    (shown,) = content["theorems"]
    assert shown["name"] == "nuclear_norm_variational"
    assert {check["known"] for check in shown["checks"]} <= {"PROVED", "VERIFIED"}
    assert all(check["holds"] is True and len(check["mutants"]) >= 2 for check in shown["checks"])


@pytest.mark.parametrize(
    ("argv", "hint"), [(["theorem11"], "Did you mean 'theorem1'"), (["--jsn"], "did you mean --json?")]
)
def test_what_is_misspelt_gives_exit_code_two_and_the_near_miss(argv, hint, capsys):
    try:
        code = main(["prove", *argv])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert hint in capsys.readouterr().err


def test_listing(capsys):
    assert main(["prove", "--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == list(discover(proofs)) == sorted(names) and "theorem1" in names


@pytest.mark.parametrize(
    "option", [["--page", "q"], ["--latex", "q"], ["--export", "q"], ["--coq", "q"], ["--coq-check"]]
)
def test_listing_refuses_what_writes_or_checks(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prove", "lemma1", "--list", *option]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors == f"lorasolve prove: --list: expected without {option[0]}: it checks and writes nothing\n"
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_a_theorem_that_does_not_say_what_is_prose_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (pathlib.Path(proofs.__path__[0]) / "_template.py").read_text()
    pathlib.Path("mine.py").write_text(text.replace("Theorem(__doc__, CHECKS, prose={})", "Theorem(__doc__, CHECKS)"))
    assert main(["prove", "mine.py", "--page", "page.md", "--export", "data.json"]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("lorasolve prove: --page: mine: Theorem(..., prose=...) has to say")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_symbols_that_a_document_would_print_alike_are_refused_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (pathlib.Path(proofs.__path__[0]) / "_template.py").read_text()
    pathlib.Path("mine.py").write_text(text.replace('matrix("A"', 'matrix("X1"').replace('matrix("P"', 'matrix("X_1"'))
    assert main(["prove", "mine.py", "--latex", "mine.tex"]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors == "lorasolve prove: --latex: mine, check projection: X1 and X_1 would be printed alike\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("option", ["--latex", "--page", "--export"])
def test_what_it_writes_takes_the_place_of_an_old_file_at_once(option, tmp_path, capsys):
    path = tmp_path / "made" / "file"
    path.parent.mkdir()
    path.write_text("old")
    with path.open() as reader:
        assert main(["prove", "corollary1", "--brief", option, str(path)]) == 0
        assert reader.read() == "old"
    assert path.read_text() != "old"
