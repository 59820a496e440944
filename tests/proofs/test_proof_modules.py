"""Every theorem is proved, every false twin refuted, and changing a statement by hand is noticed.

What needs all theorems checked or exported is here, which takes a minute: parallel runs give a file to one process.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import sympy

import proofs
from lorasolve._known import Known
from lorasolve.cli import main
from lorasolve.commands import prove
from lorasolve.executors.base import Outcome
from lorasolve.symbolic import Identity, Inequality, ScalarCheck, discover, dropped
from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.evaluate import evaluate, symbols_of
from lorasolve.symbolic.examples import find
from lorasolve.symbolic.export import as_json, document
from lorasolve.symbolic.normal import is_zero, normal_form
from lorasolve.symbolic.report import Shown, judged, run
from proofs._page import COMMAND, page
from proofs.facts import FACTS
from proofs.statements import STATEMENTS
from proofs.verify import verdicts

THEOREMS = discover(proofs)
FOLDER = Path(next(iter(proofs.__path__)))


@pytest.fixture(scope="module")
def content():
    """All theorems as plain data."""
    return document(THEOREMS)


@pytest.fixture(scope="module")
def reports(content):
    """All theorems checked by both checkers, by name."""
    said, shown = verdicts(content), Shown()
    return {name: judged(run(name, th, shown), said, content, {}) for name, th in THEOREMS.items()}


def test_the_committed_document_is_current(content):
    assert as_json(content) == (FOLDER / "proofs.json").read_text(encoding="utf-8"), f"run: {COMMAND}"


def timeless(text):
    """Return the page without the measured seconds."""
    text = re.sub(r"\d+\.\d CPU s;", "CPU s;", text)
    return re.sub(r"\| \d+\.\d \|$", "| |", text, flags=re.MULTILINE)


def test_the_page_is_up_to_date(reports):
    shown = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert timeless(page(list(reports.values()))) == timeless(shown), f"run: {COMMAND}"


@pytest.mark.parametrize("name", THEOREMS)
def test_everything_is_proved_and_every_mutant_refuted(name, reports):
    report = reports[name]
    failures = [
        (check.name, check.detail, [(twin.change, twin.reason) for twin in check.mutants if not twin.refuted])
        for check in report.checks
        if not check.ok
    ]
    assert failures == [] and report.inconsistencies == []


def numbers_of(check):
    """Return the numbers that both sides of a check contain."""
    return symbols_of(*(ex.as_expr(getattr(check, side, 0)) for side in ("lhs", "rhs")))[1]


def divides(check, symbol):
    """Whether a side has a number in a denominator."""
    values = [e.value for side in (check.lhs, check.rhs) for e in ex.as_expr(side).walk() if isinstance(e, ex.Constant)]
    return any(symbol in sympy.denom(sympy.together(value)).free_symbols for value in values)


@pytest.mark.parametrize("name", THEOREMS)
def test_what_is_not_said_for_lam_above_0_alone_is_shown_for_lam_0_or_left_to_prose(name):
    theorem = THEOREMS[name]
    said = theorem.sections["Statement"] + theorem.sections["Assumptions"]
    both = any(words in said for words in ("lam >= 0", "lam = 0"))
    above = any(words in said for words in ("lam > 0", "lam, mu > 0", "lambda ="))
    if any("lam = 0" in left for left in theorem.prose):
        return
    for check in theorem.checks:
        for symbol in numbers_of(check):
            if str(symbol) == "lambda" and symbol.is_positive:
                assert above and (not both or divides(check, symbol)), check.name


@pytest.mark.parametrize("name", THEOREMS)
def test_values_of_losses_may_have_any_sign(name):
    for check in THEOREMS[name].checks:
        for symbol in numbers_of(check):
            if re.fullmatch(r"f\d?(_\w+)?|[FL]_\w+", str(symbol)):
                assert symbol.is_real and not symbol.is_nonnegative, (check.name, symbol)


@pytest.mark.parametrize(
    ("theorem", "check", "may_vanish"),
    [
        # The excess e, which vanishes at convergence, and lam.
        ("approximate_points", "difference", {"e", "lambda"}),
        ("approximate_points", "cubic", {"e", "omega", "eps", "lambda"}),
        ("approximate_points", "root", {"omega", "eps", "gamma", "beta_2"}),
        ("approximate_points", "master", {"e", "lambda"}),
        ("approximate_points", "distance", {"e", "lambda"}),
        ("approximate_points", "gap", {"e", "lambda"}),
        ("approximate_points", "convex_gap", {"e", "lambda"}),
        ("certificate", "convex_gap", {"g"}),
        ("certificate", "scaled_gap", {"c", "g", "lambda"}),
        ("beam_lora", "term_decay", {"u", "y"}),
        ("corollary1", "triangle", {"x", "y"}),
        ("denoising_landscape", "kept_value", {"y"}),
        ("denoising_landscape", "dropped_value", {"mu", "y"}),
        # The norms of B, which is 0 at the start, and of G, which is 0 where f has its least value.
        ("descent_lemma", "change_of_objective", {"g", "lambda"}),
        ("descent_lemma", "midpoint_operator", {"a", "b", "g", "lambda", "n_a"}),
        ("descent_lemma", "increment_norm", {"n_a", "n_b"}),
        ("descent_lemma", "local_curvature", {"a", "b", "g", "lambda"}),
        ("descent_lemma", "constant_step", {"a", "b", "g"}),
        ("dora_gradient", "column_gradient", {"w"}),
        ("dora_gradient", "magnitude_gradient", {"w"}),
        ("dora_gradient", "shared_stationary_points", {"w"}),
        ("flow_conservation", "exponential", {"c"}),
        # The perturbation P, and X*, which is 0 for a large lam.
        ("lora_ntk", "perturbation_excess", {"p", "Z_star", "nu"}),
        ("lora_pro_projection", "entrywise_horizontal", {"C_ij"}),
        ("lora_pro_projection", "entrywise_sylvester", {"C_ij"}),
        ("lora_pro_projection", "entrywise_damped", {"C_ij"}),
        ("lora_pro_projection", "lift_norm_inside", {"C_ij"}),
        ("lora_pro_projection", "increment_norm", {"g_norm", "b"}),
        ("lora_pro_projection", "finite_step", {"g_norm", "G_norm"}),
        ("magnitude_bound", "nuclear_bound", {"nu"}),
        ("magnitude_bound", "frobenius_below_nuclear", {"d", "nu", "s"}),
        ("norm_duality", "pairing", {"s", "nu"}),
        ("norm_duality", "pairing_below", {"s", "nu"}),
        ("norm_duality", "nuclear_below_frobenius", {"nu_Y", "d"}),
        ("operator_norm", "product_frobenius", {"s"}),
        ("operator_norm", "sum_norm", {"s", "t"}),
        ("operator_norm", "spectral_below_frobenius", {"p", "q"}),
        ("periodic_merge", "momentum_unload", {"c"}),
        ("periodic_merge", "wrong_rule", {"c"}),
        ("rac_lora", "sides", {"p", "psi"}),
        ("rank_certificate", "singular_values", {"s", "p", "d"}),
        ("rank_certificate", "kept_values", {"t", "p", "d"}),
        ("sharp_instance", "global_minimizer", {"nu"}),
        ("sora", "component_bound", {"q", "x", "y"}),
        ("sora", "least_penalty", {"P", "S_terms", "S_sigma"}),
        ("sora", "half_threshold_global", {"w"}),
        ("tangent_certificate", "tangent_gap", {"c"}),
        ("theorem3", "perpendicular_bound", {"nu", "nu_perp"}),
        ("theorem3", "quadratic", {"nu", "delta"}),
        ("theorem_b_sharp", "global_minimizer", {"nu"}),
        ("theorem_c", "global_minimizer", {"nu"}),
        ("two_stationary_points", "no_constant", {"alpha"}),
        ("weyl", "weyl", {"b", "d"}),
        ("weyl", "rank_deficient", {"d"}),
    ],
)
def test_numbers_that_may_vanish_by_the_statement_may_in_the_check(theorem, check, may_vanish):
    (found,) = (each for each in THEOREMS[theorem].checks if each.name == check)
    assumed = [part for each in found.taken for part in each.expressions]
    numbers = numbers_of(found) | symbols_of(*map(ex.as_expr, assumed))[1]
    assert {str(symbol) for symbol in numbers if symbol.is_positive} & may_vanish == set()


# learns_less has an alpha that is the scaling of LoRA.
CONVEX_BY_ALPHA = re.compile(r"alpha(_l)? > 0|0 < alpha <= beta|alpha = 1|theorem 1\.|`theorem1`")


@pytest.mark.parametrize("name", sorted(THEOREMS.keys() - {"learns_less"}))
def test_an_alpha_that_has_to_be_positive_is_said_to_be(name):
    """No more than alpha ||E||^2 <= <G - G*, E>, which some alpha < 0 satisfies for every smooth f."""
    sections = THEOREMS[name].sections
    said = CONVEX_BY_ALPHA.search(sections["Statement"] + sections["Assumptions"])
    numbers = set().union(*map(numbers_of, THEOREMS[name].checks))
    assert said or not any(str(number).startswith("alpha") and number.is_positive for number in numbers)


LAM_MAY_BE_0 = ["theorem1", "theorem2", "theorem_a", "theorem_b", "theorem2_joint", "descent_lemma", "descent_rate"]


@pytest.mark.parametrize("name", LAM_MAY_BE_0)
def test_what_is_said_for_every_lam_takes_nothing_for_granted_of_a_positive_one(name):
    lam = sympy.Symbol("lambda", positive=True)
    for check in (check for check in THEOREMS[name].checks if not (numbers_of(check) and divides(check, lam))):
        for part in check.taken:
            numbers = symbols_of(*map(ex.as_expr, part.expressions))[1]
            assert not any(str(number).startswith("lambda") and number.is_positive for number in numbers), part.name


@pytest.mark.parametrize("name", THEOREMS)
def test_a_norm_that_is_named_by_a_positive_number_may_be_0_or_prose_says_so(name):
    """That ||B||_2 = b for a b > 0 leaves out B = 0, with which training starts."""
    theorem = THEOREMS[name]
    for check in theorem.checks:
        for part in check.taken:
            *_, norm = symbols_of(*map(ex.as_expr, part.expressions[-1:]))[1] or [None]
            if part.kind.endswith(" = {}") and part.texts[-1] == str(norm) and norm.is_positive:
                said = [words for words, beside in theorem.prose.items() if check.name in beside]
                assert any(re.search(r"\b0\b", words) for words in said), (check.name, part.name)


def test_names_of_checks_are_unique_within_a_theorem():
    for theorem in THEOREMS.values():
        names = [check.name for check in theorem.checks]
        assert len(set(names)) == len(names)


# Inequalities that are attained nowhere, or only where both sides are 0.
NOT_TIGHT = {
    ("lora_pro_projection", "finite_step"): "its words tell the larger constant 23/64",
    ("theorem_b", "block_bound"): "both sides are 0 where t is the threshold, and a twin beyond it fails there",
}


def is_tight_somewhere(check):
    """Whether a point is known or found at which the sides differ by at most 5 % of the larger one."""
    left, right = ex.as_expr(check.lhs), ex.as_expr(check.rhs)

    def near(values):
        a, b = evaluate(left, values), evaluate(right, values)
        room = max(abs(a), abs(b)) / 20
        gaps = ((premise.equal, evaluate(premise.gap, values)) for premise in check.premises)
        return 0 <= b - a <= room > 0 and all(gap == 0 if equal else gap >= 0 for equal, gap in gaps)

    told = [twin.counterexample for twin in check.mutants if twin.of_statement and twin.counterexample]
    parts = [left, right, *(premise.gap for premise in check.premises)]
    return any(find(parts, check.in_force, given, near, Random(1)) for given in [*told, None])


@pytest.mark.parametrize("name", THEOREMS)
def test_no_inequality_is_true_with_a_constant_that_is_5_percent_better(name):
    """But for those against 0, where a constant says nothing."""
    checks = [check for check in THEOREMS[name].checks if isinstance(check, Inequality)]
    checks = [c for c in checks if not any(is_zero(normal_form(ex.as_expr(side))) for side in (c.lhs, c.rhs))]
    assert [c.name for c in checks if (name, c.name) not in NOT_TIGHT and not is_tight_somewhere(c)] == []


# Hypotheses that follow from others, or for which no example without them was found.
NEEDED_OR_NOT = {
    ("descent_lemma", "constant_step"): "seven equations tie its numbers, and the search meets all of them at few",
    ("expressive_power", "relu_is_nonexpansive"): "|a| >= 0 and |a|^2 = a^2 say the same as -|a| <= a <= |a|",
    ("random_start", "circle"): "pi <= 4 is no hypothesis but a number",
    ("theorem3", "distance"): "where delta > o + d the right side is only larger",
    ("theorem_a", "annulus_inner"): "1 <= q is said by q being a size",
}


@pytest.mark.parametrize("name", THEOREMS)
def test_no_proof_rests_on_a_hypothesis_that_its_statement_does_not_need(name):
    """A false twin leaves it out, or an example is found at which all others hold and the statement fails."""
    idle = []
    for check in (
        c for c in THEOREMS[name].checks if isinstance(c, Inequality) and (name, c.name) not in NEEDED_OR_NOT
    ):
        left_out = {twin.edit.get("without") for twin in check.mutants}
        told = [twin.counterexample for twin in check.mutants if twin.counterexample]
        for part in (p for p in check.premises if p.is_hypothesis and p.name not in left_out):
            refuted = (check.refute(dropped(part, given), Random(1)).holds for given in [None, *told])
            idle += [] if any(refuted) else [(check.name, part.name)]
    assert idle == []


def test_mutants_are_of_different_kinds():
    for name, theorem in THEOREMS.items():
        for check in theorem.checks:
            assert len({twin.kind for twin in check.mutants}) >= 2, (name, check.name)


def test_facts_in_use_are_those_of_the_list():
    used = {fact for theorem in THEOREMS.values() for check in theorem.checks for fact in check.facts}
    assert used <= set(FACTS)


@pytest.mark.parametrize("fact", [fact for fact in FACTS if fact.proved_by], ids=lambda fact: fact.name)
def test_a_fact_that_counts_as_proved_has_a_proof_that_uses_no_fact(fact, reports):
    assert reports[fact.proved_by].ok
    for check in THEOREMS[fact.proved_by].checks:
        assert check.known is Known.PROVED and check.facts == (), check.name


def test_what_rests_on_a_fact_that_is_not_proved_says_so():
    open_facts = [fact.name for fact in FACTS if not fact.proved_by]
    assert open_facts == ["rank of sums and limits", "Rotfel'd"]
    labels = {check.strength for theorem in THEOREMS.values() for check in theorem.checks}
    assert labels == {"PROVED", "VERIFIED", "SAMPLED", *(f"PROVED UNDER {name}" for name in open_facts)}


def test_every_statement_of_the_paper_has_a_check_and_every_reference_a_statement():
    covered = {check.paper for theorem in THEOREMS.values() for check in theorem.checks} - {""}
    assert covered == set(STATEMENTS)


def test_nothing_sampled_covers_a_statement_of_the_paper():
    for theorem in THEOREMS.values():
        for check in theorem.checks:
            assert not (check.paper and check.known is Known.SAMPLED), check.name


def edits(check):
    """Yield versions of a check with a constant or a sign changed by hand."""
    if isinstance(check, Identity) or (isinstance(check, ScalarCheck) and check.relation == "=="):
        yield dataclasses.replace(check, lhs=2 * check.lhs)
        yield dataclasses.replace(check, lhs=-1 * check.lhs)
    elif isinstance(check, Inequality):
        yield dataclasses.replace(check, rhs=check.rhs - 1)
        yield dataclasses.replace(check, lhs=check.lhs + 1)
        for i in range(len(check.proof)):
            yield dataclasses.replace(check, proof=[2 * part if i == j else part for j, part in enumerate(check.proof)])


def vanishes(check):
    """Whether both sides of an identity are zero, so that a factor changes nothing."""
    if isinstance(check, Identity | ScalarCheck):
        zero = 0 * check.lhs
        return dataclasses.replace(check, rhs=zero).prove().holds
    return False


@pytest.mark.parametrize("name", THEOREMS)
def test_changing_a_constant_or_a_sign_by_hand_makes_the_proof_fail(name):
    for check in THEOREMS[name].checks:
        for edited in [] if vanishes(check) else edits(check):
            assert not edited.prove().holds, (check.name, edited)


def test_a_module_runs_as_a_script(tmp_path):
    script = FOLDER / "magnitude_bound.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "PROVED" in done.stdout


def test_theorems_whose_workers_are_lost_are_checked_all_the_same(monkeypatch, capsys):
    cheap = "factor_derivatives nuclear_norm_variational dora_gradient norm_duality random_start von_neumann weyl"
    names = [*cheap.split(), "eckart_young"]
    assert len(names) >= prove.MANY
    monkeypatch.setattr(prove, "available_threads", lambda: 2)

    def told():
        assert main(["prove", *names, "--brief"]) == 0
        return re.sub(r"[0-9.]+ CPU s", "", capsys.readouterr().out)

    by_workers = told()
    monkeypatch.setattr(prove, "outcomes", lambda *_: (Outcome(task, lost=True) for task in range(len(names))))
    assert told() == by_workers


def test_the_package_runs_from_any_folder(tmp_path):
    command = [sys.executable, "-m", "proofs", "corollary1", "--json", "--latex", "out.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and '"ok": true' in done.stdout
    assert (tmp_path / "out.tex").read_text().startswith(r"\documentclass")
