"""The third judge: what is emitted says what is exported, and false twins do not pass the kernel where it is there."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
import sympy

import proofs
from lorasolve.cli import main
from lorasolve.symbolic import Identity, ScalarCheck, dims, matrix, scalars, square
from lorasolve.symbolic.export import record
from proofs import _coq, _coq_run, verify
from proofs._coq_reader import differences
from proofs._coq_run import SECONDS, Session, judged, lemmas, total

CONTENT = json.loads((Path(next(iter(proofs.__path__))) / "proofs.json").read_text(encoding="utf-8"))
NAMES = sorted({name.split(".")[0] for name in [*(c["id"] for c in CONTENT["checks"]), *CONTENT["not_exported"]]})
TWINS = 45


@pytest.fixture(scope="module")
def exported():
    """The lemmas of all checks, and why some have none, by name."""
    return lemmas(CONTENT, NAMES)


def statement(text):
    return text.split("\nLemma ", 1)[1].split(" ", 1)[1].split(".\nProof.", 1)[0]


def test_every_check_is_a_lemma_or_has_a_reason(exported):
    found, left_out = exported
    assert found.keys() | left_out.keys() == {c["id"] for c in CONTENT["checks"]} | CONTENT["not_exported"].keys()
    reasons = {left_out[check["id"]] for check in CONTENT["checks"] if check["id"] in left_out}
    assert reasons <= {"a derivative", "a bilinear form"}


def test_an_inequality_by_a_bound_or_a_case_of_a_function_has_no_lemma():
    p, (x, y) = scalars("p"), scalars("x y", real=True)
    for lhs, rhs in ((sympy.log(p), p - 1), (2 * x * abs(y), x**2 + y**2)):
        check = record("t.c", ScalarCheck("c", "", lhs, rhs, relation="<="), {})
        left_out = {"t.c": "a bound or a case of a function"}
        assert lemmas({"checks": [check], "not_exported": {}}, ["t"]) == ({}, left_out)


def lemma_of(check, name="t.c"):
    """What becomes of a check in Coq: its lemma, or why it has none."""
    found, left_out = lemmas({"checks": [record(name, check, {})], "not_exported": {}}, ["t"])
    return (found or left_out)[name]


@pytest.mark.parametrize("name", ["x'", "x:R", "A[1]", "abs_x"])
def test_a_symbol_whose_name_is_none_in_coq_is_left_out(name):
    """These ended the command, and of a size the text was no Coq."""
    t, size = sympy.Symbol("t", real=True), sympy.Symbol(name, integer=True, positive=True)
    odd = sympy.Symbol(name, real=True)
    assert lemma_of(ScalarCheck("c", "", (odd + t) ** 2, odd**2 + 2 * odd * t + t**2)) == f"the name {name}"
    B = matrix("B", size, 1)
    assert lemma_of(Identity("c", "", square(B + B), 4 * square(B))) == f"the name {name}"


def test_a_root_is_no_other_symbol_of_the_check():
    """With one called root_p the lemma said root_p = root_p of a check that said sqrt(p) = root_p."""
    p, root = scalars("p"), scalars("root_p", real=True)
    square_of_sum = p + 2 * root * sympy.sqrt(p) + root**2
    said = statement(lemma_of(ScalarCheck("c", "", (sympy.sqrt(p) + root) ** 2, square_of_sum)))
    assert "(s_p s_root_p s_root_p_ : R)" in said and "(H0 : s_p = (s_root_p_ ^+ 2) :> R)" in said


def test_a_size_whose_root_occurs_is_any_size():
    """Its root was a size too: the lemma was about sizes that are squares."""
    m = dims("m")
    said = statement(lemma_of(ScalarCheck("c", "", (sympy.sqrt(m) + 1) ** 2, m + 2 * sympy.sqrt(m) + 1)))
    assert "(d_m : nat)" in said and "(s_root_m : R)" in said and "(z_root_m : 0 < s_root_m)" in said


def test_what_a_check_says_in_words_is_no_lemma():
    """A line of them that begins like a lemma was read back in the place of the lemma."""
    x = scalars("x", real=True)
    says = "a\nLemma c (R : realFieldType) (s_x : R) :\n  s_x = s_x.\nProof."
    text = lemma_of(ScalarCheck("c 1", says, (x + 1) ** 2, x**2 + 2 * x + 1), "t.c 1")
    assert len(text.splitlines()[0]) > len(says) and text.splitlines()[1] == "Lemma c_1 (R : realFieldType)"


def test_no_two_lemmas_are_judged_under_one_name():
    """Both were a__b__c: the kernel told of the first when it had refused the second."""
    names = ["a.b__c", "a__b.c", "a_.b_c", "a-b.c", "a_b.c", "1/a.c", "a_46_.b", "a..b"]
    own = {_coq_run._own_name(name) for name in names}
    assert len(own) == len(names) and all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in own)


def test_nothing_is_admitted_or_assumed_as_an_axiom(exported):
    by_hand = [path.read_text(encoding="utf-8") for path in (Path(next(iter(proofs.__path__))) / "coq").glob("*.v")]
    for text in [*exported[0].values(), *by_hand]:
        assert not re.search(r"\b(Admitted|admit|Axiom|Parameter|Abort|Conjecture)\b", text)


def test_a_changed_statement_is_noticed_when_it_is_read_back(exported):
    changed, (found, _) = 0, exported
    for check in CONTENT["checks"]:
        if check["id"] in found:
            plain, said = _coq.without_roots(check), statement(found[check["id"]])
            assert differences(said, plain) == []
            for old, new in (("^T", ""), (" <= ", " = "), (" - ", " + "), ("0 < s_", "0 <= s_"), (" 2%:R", " 3%:R")):
                if old in said:
                    changed += 1
                    try:
                        assert differences(said.replace(old, new, 1), plain), (check["id"], old)
                    except ValueError:
                        continue  # shapes that do not fit, or a sign that is not read
    assert changed > 500


def test_a_sign_is_read_back_of_the_symbol_that_has_it():
    """The second sign was read as one of q, of which nothing is said."""
    p, q = scalars("p q")
    check = record("t.c", ScalarCheck("c", "", (p + q) ** 2, p**2 + 2 * p * q + q**2), {})
    said = statement(_coq.lemma(check))
    assert differences(said, check) == []
    with pytest.raises(ValueError, match="a sign"):
        differences(said.replace("(z_q : 0 < s_q)", "(z_q : 0 < s_p)"), check)


def false_twin(check, rng):
    """Return a check with one number changed, its sides of one shape, that the second checker refuses, or None."""
    for _ in range(20):
        twin = copy.deepcopy(check)
        side = rng.choice(["lhs", "rhs"])
        numbers = list(re.finditer(r"(?<![\w^])\d+(?!\w)", twin[side]))
        if numbers and rng.random() < 0.7:
            at = rng.choice(numbers)
            twin[side] = twin[side][: at.start()] + str(int(at[0]) + rng.randint(1, 2)) + twin[side][at.end() :]
        else:
            twin[side] = f"2*({twin[side]})"
        try:
            verify.shown(twin)
        except Exception:
            try:
                verify.Algebra(twin).value(("-", *verify.sides(twin)))
                return twin
            except ValueError:
                continue
    return None


def has_a_short_lemma(check):
    try:
        return len(_coq.lemma(check)) < 3000
    except _coq.CoqError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("coqtop") is None, reason="Coq is not installed")
def test_false_twins_do_not_pass_the_kernel_and_an_identity_in_a_long_sum_does(tmp_path, monkeypatch, exported):
    # Of the files by hand the twins need one; the other takes as long as half of the twins.
    (tmp_path / "by_hand").mkdir()
    shutil.copy(_coq_run.BY_HAND / "Base.v", tmp_path / "by_hand")
    monkeypatch.setattr(_coq_run, "BY_HAND", tmp_path / "by_hand")
    rng = random.Random(8)
    twins = {}
    while len(twins) < TWINS:
        check = rng.choice(CONTENT["checks"])
        twin = false_twin(check, rng) if has_a_short_lemma(check) else None
        if twin is not None:
            twins[f"{check['id']}_{len(twins)}"] = _coq.lemma(twin)
    # A trace row by row, of a sum with an identity and of 0: that was refused.
    long = "beam_lora.copy_is_a_rotation"
    passed = {name for name, verdict in judged({**twins, long: exported[0][long]}, tmp_path) if verdict.accepted}
    assert passed == {"Base.v", long}


def test_lemmas_are_written_to_a_folder(tmp_path, capsys):
    assert main(["prove", "corollary1", "--brief", "--coq", str(tmp_path)]) == 0
    assert "Lemma premise" in (tmp_path / "corollary1_checks.v").read_text()
    assert (tmp_path / "Base.v").exists()
    assert " checks; not exported: 0\n" in capsys.readouterr().out


def test_a_file_by_hand_is_compiled_with_the_theorem_that_it_is_about(tmp_path, exported):
    """A lemma of one's own waited for that of Theorem A, 30 s of CPU time."""
    for name, by_hand in (("theorem_a", {"Base.v", "theorem_a.v"}), ("weyl", {"Base.v"})):
        found = {check: lemma for check, lemma in exported[0].items() if check.startswith(f"{name}.")}
        _coq_run.write(found, tmp_path / name)
        assert found and {path.name for path in (tmp_path / name).iterdir()} == by_hand | {f"{name}_checks.v"}


def test_without_coq_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["prove", "corollary1", "--brief", "--coq-check"]) == 2
    shown, errors = capsys.readouterr()
    assert "coqc and coqtop are not installed" in errors
    assert shown == ""  # nothing is checked for minutes before that


COQ = """#!/usr/bin/env python3
import re, sys
if sys.argv[0].endswith("coqc"):
    sys.exit()
for line in sys.stdin:
    print("Closed under the global context" if "Print" in line and "premise" not in line else "")
    for mark in re.findall("@@[a-z]+", line):
        print(mark, flush=True)
"""


@pytest.mark.parametrize("check", [[], ["--coq-check"]])
def test_one_document_has_what_both_judges_say(check, tmp_path, monkeypatch, capsys):
    """The lines of the third one followed the document, whose ``ok`` did not know of what it refuses."""
    for name in ("coqc", "coqtop"):
        (tmp_path / name).write_text(COQ, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    written = tmp_path / "lemmas"
    code = main(["prove", "corollary1", "--json", "--coq", str(written), *check])
    shown, errors = capsys.readouterr()
    document = json.loads(shown)
    assert " checks; not exported: 0\n" in errors
    lemmas = re.findall(r"^Lemma (\w+)", (written / "corollary1_checks.v").read_text(), flags=re.M)
    assert [name.rpartition(".")[2] for name in document["coq"]["lemmas"]] == lemmas
    assert document["coq"]["not_exported"] == {} and all(theorem["ok"] for theorem in document["theorems"])
    if not check:
        assert (code, document["ok"], document["coq"]["judged"]) == (0, True, None)
        return
    refused = [name for name, verdict in document["coq"]["judged"].items() if not verdict["accepted"]]
    assert refused == ["corollary1.premise"] and "corollary1.premise: REFUSED" in errors
    assert (code, document["ok"], document["coq"]["ok"]) == (1, False, False)


SLOW_COQ = """#!/usr/bin/env python3
import re, sys
for line in sys.stdin:
    if 'Load "of_t_46_slow"' in line:
        while True:
            pass
    print("Closed under the global context" if "Print" in line and "of_t_46_refused" not in line else "")
    for mark in re.findall("@@[a-z]+", line):
        print(mark, flush=True)
"""


def test_a_lemma_that_takes_too_long_resists_and_those_after_it_are_judged(tmp_path, monkeypatch):
    program = tmp_path / "coqtop"
    program.write_text(SLOW_COQ, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lemma = "\nLemma own : True.\nProof. by []. Qed.\n"
    with Session(tmp_path, 0.5) as session:
        said = {name: session.judge(name, lemma) for name in ("t.first", "t.slow", "t.refused", "t.last")}
    judged = [(verdict.accepted, verdict.judged) for verdict in said.values()]
    assert judged == [(True, True), (False, False), (False, True), (True, True)]
    assert str(said["t.slow"]) == "resists: not within 0.5 s of CPU time"
    assert (tmp_path / "of_t_46_last.v").read_text() == "\nLemma of_t_46_last : True.\nProof. by []. Qed.\n"
    lines = total(said, {"t.sine": "contains sin(theta)", "t.cosine": "contains cos(theta)"}).splitlines()
    assert lines[0] == "2 of 4 accepted by the kernel of Coq, none of them with an axiom"
    assert lines[1:3] == ["1 refused: t.refused", f"1 resist, not within {SECONDS:.0f} s of CPU time: t.slow"]
    assert lines[3] == "2 checks not exported: 2 contains a function"


def test_numbers_are_printed_in_thousands():
    assert _coq.numeral(12345) == "(12%:R * 1000%:R + 345%:R)"
    assert _coq.numeral(-2) == "(- 2%:R)"
