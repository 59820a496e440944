"""``lorasolve prove FILE.py``: a user's own theorem, true or false, anywhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import proofs
from lorasolve.cli import main
from lorasolve.symbolic import Identity, dims, matrix, square

TEMPLATE = (Path(next(iter(proofs.__path__))) / "_template.py").read_text(encoding="utf-8")
BARE = '"""A title."""\nfrom lorasolve.symbolic import Theorem\n'


# The template with another check, an instance of a fact that the theorem weyl proves.
USES_WEYL = """
from lorasolve.symbolic import Inequality, scalars
from proofs.facts import DISTANCE, VALUE_AT_LEAST, VALUE_AT_MOST, WEYL

a, b, d = scalars("a b d")
MOVED = WEYL.instance("moved", VALUE_AT_LEAST(k, A, a), VALUE_AT_MOST(k, 2 * A, b), DISTANCE(A, 2 * A, d))
TWINS = (mutant("constant", "3 a", {a: 2, b: 1, d: 1}, lhs=3 * a), dropped(MOVED))
CHECKS = (Inequality("projection", "2 a <= 2 b + 2 d.", 2 * a, 2 * b + 2 * d, proof=[2 * MOVED], mutants=TWINS),)
THEOREM = Theorem(__doc__, CHECKS, prose={})
"""


@pytest.fixture
def run(tmp_path, capsys):
    def run(source):
        file = tmp_path / "mine.py"
        file.write_text(source, encoding="utf-8")
        code = main(["prove", str(file)])
        return code, capsys.readouterr()

    return run


def test_a_true_theorem_is_proved_and_the_second_checker_asked(run):
    code, shown = run(TEMPLATE)
    assert code == 0
    assert "projection (sos): PROVED" in shown.out and "second checker: agrees" in shown.out


def test_what_is_checked_is_printed_below_the_words(run):
    code, shown = run(TEMPLATE.replace('"||P^T A||^2 <= ||A||^2."', '"Every even number is the sum of two primes."'))
    assert code == 0
    claim = "claim    tr((P^T*A)^T*P^T*A) <= tr(A^T*A)"
    assert f"      Every even number is the sum of two primes.\n      {claim}\n" in shown.out


def test_checks_may_come_from_a_generator(run):
    code, shown = run(TEMPLATE.replace("Theorem(__doc__, CHECKS,", "Theorem(__doc__, (check for check in CHECKS),"))
    assert code == 0 and "1 theorem, 1 check: 1 PROVED" in shown.out


def test_a_false_lemma_is_refuted_with_a_counterexample(run):
    code, shown = run(TEMPLATE.replace("square(A),\n        proof", "square(A) / 3,\n        proof"))
    assert code == 1
    assert "projection (sos): REFUTED" in shown.out and "counterexample: lhs = " in shown.out


EIGENVECTOR = """
from lorasolve.symbolic import assume, inner, scalars, vector

H, x, y = matrix("H", 3, 3, symmetric=True), vector("x", 3), vector("y", 3)
b = scalars("b", real=True)
EIGEN = assume("y^T H = b y^T", (y.T @ H, b * y.T))
TWINS = (mutant("constant", "2 b", lhs=2 * b * inner(x, y)), dropped(EIGEN))
LEFT, RIGHT = b * inner(x, y), inner(H @ x, y)
CHECKS = (Identity("projection", "b <x, y> = <H x, y>.", LEFT, RIGHT, given=(EIGEN,), mutants=TWINS),)
THEOREM = Theorem(__doc__, CHECKS, prose={})
"""


def test_what_no_random_values_satisfy_is_not_said_to_contradict_the_proof(run):
    code, shown = run(TEMPLATE.replace("import (", "import (\n    Identity,", 1) + EIGENVECTOR)
    assert code == 1 and "projection (identity): NOT SHOWN" in shown.out
    assert "proved, and not seen at examples: Unfit: no values that satisfy y^T H = b y^T were drawn" in shown.out
    assert "assume('y^T H = b y^T', ..., impose=...) makes values satisfy it" in shown.out


# Scaled by a / sqrt(k), as rank-stabilised adapters of rank k are.
ROOTS = """
import sympy
from lorasolve.symbolic import scalars

a = scalars("a")
TWINS = (mutant("constant", "a / k", rhs=(a / k) ** 2 * square(A)), mutant("sign", "-", rhs=-(a**2) / k * square(A)))
SCALED = square(a / sympy.sqrt(k) * A)
CHECKS = (Identity("projection", "||a/sqrt(k) A||^2 = a^2/k ||A||^2.", SCALED, a**2 / k * square(A), mutants=TWINS),)
THEOREM = Theorem(__doc__, CHECKS, prose={})
"""
IMPORTED = TEMPLATE.replace("import (", "import (\n    Identity,", 1)


def test_roots_are_looked_at_where_they_are_rational(run):
    code, shown = run(IMPORTED + ROOTS)
    assert code == 0 and "projection (identity): PROVED" in shown.out


def test_what_is_rational_nowhere_is_said_to_be_so(run):
    code, shown = run(IMPORTED + ROOTS.replace("sympy.sqrt(k)", "sympy.sqrt(2)").replace("/ k", "/ 2"))
    assert code == 1 and "projection (identity): NOT SHOWN" in shown.out
    assert "0 of 600 examples could be evaluated, 4 are needed; at the last one, " in shown.out


ENDLESS = """
from lorasolve.symbolic import define

TWINS = (mutant("constant", "2 A", rhs=2 * A), mutant("sign", "-A", rhs=-A))
GIVEN = (define(A, A + A), define(P, A @ A.T @ P))
CHECKS = (Identity("projection", "A A^T A = A.", A @ A.T @ A, A, given=GIVEN, mutants=TWINS),)
THEOREM = Theorem(__doc__, CHECKS, prose={})
"""


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("define(A, A + A)", "given: the rules did not come to an end"),
        ("assume('2 A = A', (A + A, A))", "ValueError: the left side of an assumption must be"),
    ],
)
def test_assumptions_that_are_no_rules_beside_others_are_no_defect_of_the_program(run, given, reason, monkeypatch):
    monkeypatch.setattr("lorasolve.symbolic.assumptions.MAX_DRAWS", 20)  # none satisfies A = A + A
    source = ENDLESS.replace("define(A, A + A)", given).replace("import define", "import assume, define")
    code, shown = run(IMPORTED + source)
    assert code == 1 and "projection (identity): NOT SHOWN" in shown.out and reason in shown.out


def test_a_true_lemma_with_a_wrong_proof_is_only_not_shown(run):
    code, shown = run(TEMPLATE.replace("proof=[1 *", "proof=[2 *"))
    assert code == 1
    assert "projection (sos): NOT SHOWN" in shown.out and "REFUTED" not in shown.out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "defines no THEOREM"),
        ("import nothing_of_this_name\n", "does not run: ModuleNotFoundError"),
        ("import sys\nsys.exit(0)\n", "does not run: SystemExit: 0"),
        (TEMPLATE.split('"""', 2)[2], "THEOREM: doc: expected the docstring of the file, a title and sections"),
        (
            BARE + "THEOREM = Theorem(__doc__, None)\n",
            "does not run: TypeError: checks: expected a list of one value or several",
        ),
        (BARE + "THEOREM = Theorem(__doc__, (3,))\n", "does not run: TypeError: checks[0]: expected a Check, got 3"),
    ],
)
def test_a_file_without_a_theorem_is_named(run, source, message):
    code, shown = run(source)
    assert code == 2 and message in shown.err


def test_the_theorem_that_is_pointed_to_is_installed(run, capsys):
    _, shown = run("x = 1\n")
    (path,) = re.findall(r"defines no THEOREM; (.*) does\n", shown.err)
    assert main(["prove", path]) == 0
    assert "projection (sos): PROVED" in capsys.readouterr().out


FALSE = TEMPLATE.replace("square(A),\n        proof", "square(A) / 3,\n        proof")


def test_files_of_one_name_are_all_checked(tmp_path, capsys):
    files = [tmp_path / folder / "mine.py" for folder in ("first", "second")]
    for file, source in zip(files, (FALSE, TEMPLATE)):
        file.parent.mkdir()
        file.write_text(source, encoding="utf-8")
    assert main(["prove", *map(str, files), "--brief"]) == 1
    shown = capsys.readouterr().out
    assert "2 theorems, 2 checks: 1 PROVED, 1 REFUTED" in shown and "FAILED: " + str(files[0])[:-3] in shown


def test_a_file_may_have_the_name_of_a_theorem_that_it_uses(tmp_path, capsys):
    file = tmp_path / "weyl.py"
    file.write_text(TEMPLATE + USES_WEYL, encoding="utf-8")
    written = tmp_path / "coq"
    assert main(["prove", str(file), "weyl", "--brief", "--coq", str(written)]) == 0
    assert "2 theorems, 4 checks: 4 PROVED" in capsys.readouterr().out
    (lemmas,) = written.glob("*_weyl_checks.v")  # of the file, by its path
    assert "Lemma" in lemmas.read_text(encoding="utf-8")


# The template with a fact of its own, and a check beside the one that shows it.
WITH_A_FACT = """
from lorasolve.symbolic import Fact, Inequality, Schema

SHOWN = SumOfSquares("shown", "0 <= ||A||^2.", 0, square(A), proof=[1 * Square(A)], mutants=CHECKS[0].mutants)
FACT = Fact("squares", "0 <= ||A||^2", "nowhere", "a.lemma", (Schema("square", 0, square(A), {}, SHOWN),))
P2, TWINS = 2 * square(P), (mutant("constant", "-1", rhs=-1), mutant("sign", "-", rhs=-2 * square(P) - 1))
TWICE = Inequality("twice", "doubled", 0, P2, proof=[2 * FACT.instance("square", A=P)], mutants=TWINS)
THEOREM = Theorem(__doc__.replace("Used by", "shown : PROVED\\ntwice : PROVED\\n\\nUsed by"), (*CHECKS, SHOWN, TWICE))
"""


def test_a_file_may_have_a_dot_in_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.lemma.py").write_text(TEMPLATE + WITH_A_FACT, encoding="utf-8")
    main(["prove", "a.lemma.py", "--brief", "--coq", "coq"])
    assert "the second checker agrees with 3" in capsys.readouterr().out
    lemmas = Path("coq/a_lemma_checks.v").read_text(encoding="utf-8")
    assert re.findall(r"^Lemma (\w+)", lemmas, re.MULTILINE) == ["projection", "shown", "twice"]


# The template with its bound for 2 A, from the theorem of the file beside it.
USES_NEIGHBOUR = """
from lorasolve.symbolic import Inequality
import neighbour

SHOWN = neighbour.CHECKS[0]
A, P = neighbour.A, neighbour.P
TWICE = 2 * square(P.T @ A), 2 * square(A)
TWINS = (mutant("sign", "-2 ||A||^2", rhs=-2 * square(A)), mutant("constant", "||A||^2", rhs=square(A)))
CHECKS = (Inequality("projection", "doubled", *TWICE, proof=[2 * SHOWN.conclusion()], under=(SHOWN,), mutants=TWINS),)
THEOREM = Theorem(__doc__, CHECKS, uses=(neighbour.THEOREM,), prose={})
"""


def test_a_file_may_use_the_theorem_of_one_beside_it(tmp_path, monkeypatch, capsys):
    """Of each folder its own, though they have one name; a false one is not taken for the one before it."""
    monkeypatch.chdir(tmp_path)
    paths, modules = [*sys.path], {*sys.modules}
    for folder, source in (("first", TEMPLATE), ("second", FALSE)):
        Path(folder).mkdir()
        Path(folder, "neighbour.py").write_text(source, encoding="utf-8")
        Path(folder, "mine.py").write_text(TEMPLATE + USES_NEIGHBOUR, encoding="utf-8")
    assert main(["prove", "first/mine.py", "--brief"]) == 0
    assert main(["prove", "first/mine.py", "second/mine.py"]) == 1
    shown = capsys.readouterr().out
    assert "check projection is not shown" in shown and shown.rstrip().endswith("FAILED: second/mine")
    assert sys.path == paths and not {"neighbour"} & {*sys.modules} - modules


def test_a_missing_file_is_named(capsys):
    assert main(["prove", "no/such/file.py"]) == 2
    assert "no/such/file.py: no such file" in capsys.readouterr().err


def test_the_light_way_in():
    m, n = dims("m n")
    A, B = matrix("A", m, n), matrix("B", m, n)
    expanded = square(A) + 2 * square(B)
    assert not Identity("wrong", "no cross term", square(A + B), expanded).prove().holds


CONTRADICTORY = """
from lorasolve.symbolic import Inequality, hypothesis, scalars

a, b, v = scalars("a b v", real=True)
ORDER, REVERSE = hypothesis("a <= b", a, b), hypothesis("b + 1 <= a", b + 1, a)
TWINS = (mutant("constant", "2", GIVEN, lhs=2), dropped(ORDER, {a: 1, b: 0, v: 0}))
PROOF = [1 * ORDER, 1 * REVERSE, v**2]
CHECKS = (Inequality("projection", "1 <= v^2.", 1, v**2, proof=PROOF, mutants=TWINS),)
THEOREM = Theorem(__doc__, CHECKS, prose={})
"""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{v: 0}", "the counterexample gives no value to a, b: its keys are the symbols"),
        ('{"v": 0, a: 0, b: 0}', "the counterexample gives no value to v: its keys are the symbols"),
        ("{v: 'abc', a: 0, b: 0}", "the counterexample gives v 'abc'; accepted: numbers and texts such as '1/2'"),
        ("{v: '1/0', a: 0, b: 0}", "the counterexample gives v '1/0'; accepted: numbers and texts such as '1/2'"),
        ("{A: [[1], [2, 3]], v: 0}", "the counterexample gives A [[1], [2, 3]]; accepted: rows of numbers"),
        ("{A: [], v: 0}", "the counterexample gives A []; accepted: rows of numbers"),
    ],
)
def test_a_counterexample_that_does_not_fit_says_what_is_amiss(given, message, run):
    code, shown = run(TEMPLATE + CONTRADICTORY.replace("GIVEN", given))
    assert code == 1 and shown.err == "" and message in shown.out


def test_a_counterexample_that_is_no_dictionary_is_named(run):
    code, shown = run(TEMPLATE + CONTRADICTORY.replace("GIVEN", "[0]"))
    assert code == 2 and "counterexample: expected a Mapping, got [0]" in shown.err


def test_a_claim_under_hypotheses_that_contradict_each_other_is_refused_for_want_of_a_witness(run):
    code, shown = run(TEMPLATE + CONTRADICTORY.replace("GIVEN", "{a: 0, b: 0, v: 0}"))
    assert code == 1 and "second checker: REFUSES: no witness" in shown.out
    assert "projection (implies): NOT SHOWN" in shown.out and "1 check: 1 NOT SHOWN" in shown.out


def test_the_latex_document_says_what_became_of_a_lemma_and_what_it_assumes(tmp_path, capsys):
    """It called every lemma PROVED, and showed the sides alone."""
    false = TEMPLATE.replace("square(A),\n        proof", "square(A) / 3,\n        proof")
    for source, verdict in ((TEMPLATE, "PROVED"), (false, "REFUTED"), (TEMPLATE.replace("[1 *", "[2 *"), "NOT SHOWN")):
        (tmp_path / "mine.py").write_text(source, encoding="utf-8")
        main(["prove", str(tmp_path / "mine.py"), "--latex", str(tmp_path / "mine.tex")])
        assert f"projection (sos): {verdict}\n" in capsys.readouterr().out
        written = (tmp_path / "mine.tex").read_text(encoding="utf-8")
        assert rf"\subsection*{{projection (sos): {verdict}}}" in written
        assert (
            "Assuming:\n" + r"\begin{itemize}" + "\n" + r"\item P orthonormal: P\textasciicircum{}T*P == id(k)"
            in written
        )


def test_a_lemma_without_sections_is_refused_for_latex_before_it_is_checked(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(BARE + "THEOREM = Theorem(__doc__, ())\n", encoding="utf-8")
    assert main(["prove", str(tmp_path / "mine.py"), "--latex", str(tmp_path / "mine.tex")]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "--latex: mine: the sections must be Statement, Assumptions" in shown.err
