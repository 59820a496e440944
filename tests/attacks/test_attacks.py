"""The adversary finds what is known to be wrong, finds nothing in what is known to be right, and every find replays."""

from __future__ import annotations

import json
import re
import signal

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.attacks import attack, registry
from lorasolve.attacks._exact import AT_LEAST, GAP, GLOBAL, REFUTED
from lorasolve.attacks._runs import BOUNDED, CONVERGED, ENDS, FALLS, MONOTONE, SETTLES, STAYS, Entrywise, Quartic
from lorasolve.attacks.certify_claims import Misstated, judge_misstated
from lorasolve.attacks.optimizer import CHAIN, UPHILL
from lorasolve.attacks.step import derived_steps
from lorasolve.cli import main
from lorasolve.problem import Problem
from lorasolve.problem.blocks import is_of_a_user

# Trials end these searches, not the clock: what is found does not depend on the machine.
AMPLE = 120.0

OBJECTIVES = ["completion", "denoising", "huber", "linear", "logistic", "ntk", "sensing", "softmax"]


def claims(report) -> set[str]:
    return {finding.claim for finding in report.found}


# ---------------------------------------------------------------------- certifiers
def test_a_fixed_start_is_found_from_what_the_target_multiplies_with(exit_code) -> None:
    report = attack("certify:planted.fixed_start", 8.0, 2, trials=1, families=["hidden"])
    assert claims(report) == {GAP, GLOBAL}
    instance = report.found[0].instance
    # Nothing here knows the generator: the direction was read off, and is orthogonal to the start.
    start = np.random.default_rng(0).standard_normal(instance["n"])[:2]
    row = np.array(instance["row"])
    # To the last bit, but where its rounding errors grow too slowly to matter (SciPy 1.13): there shrinking rounds it.
    off = 1e-12 if "apart" not in instance else 1e-6
    assert abs(row @ start) <= off * np.linalg.norm(row) and np.linalg.norm(row) > 1.0
    assert instance["n"] == 501  # the smallest size at which the target does not decompose the matrix
    script = report.found[0].script
    assert exit_code(script) == 1
    assert exit_code(script.replace("fixed_start", "fresh_start")) == 0


def test_a_fixed_start_is_found_where_rounding_leads_away_from_it() -> None:
    """As in SciPy 1.13: no row is orthogonal to the last bit to all that the target multiplies with."""
    report = attack("certify:planted.rounded_start", AMPLE, 2, trials=1, families=["hidden"])
    assert claims(report) == {GAP, GLOBAL}


def test_fresh_starts_are_not_found(exit_code) -> None:
    report = attack("certify:planted.fresh_start", AMPLE, trials=2, families=["hidden"])
    assert report.ok and report.trials == {"hidden": 2}


def test_false_facts_are_found_and_noticing_them_is_enough(exit_code) -> None:
    report = attack("certify_claims:planted.fixed_start", AMPLE, trials=60)
    assert {(f.family, f.claim) for f in report.found} >= {
        ("gradient", GAP),
        ("gradient", GLOBAL),
        ("lower_bound", GAP),
        ("cosine", GAP),
        ("cosine", GLOBAL),
    }
    cosine = next(f for f in report.found if f.family == "cosine")
    assert (cosine.instance["m"], cosine.instance["n"]) == (1, 1)
    assert exit_code(cosine.script) == 1
    assert exit_code(cosine.script.replace("fixed_start", "noticing")) == 0
    assert attack("certify_claims:planted.noticing", AMPLE, trials=60).ok


def test_wrong_refutations_and_exceptions_are_found() -> None:
    report = attack("certify:planted.always_false", AMPLE, trials=24, families=["denoising", "row", "weighted"])
    assert claims(report) == {REFUTED, AT_LEAST}
    report = attack("certify:planted.crashing", AMPLE, trials=1, families=["hidden"])
    assert report.found[0].claim == "valid input is answered"
    report = attack("certify:planted.crashing", AMPLE, trials=1, families=["weighted"])
    assert report.found[0].evidence == "raised ZeroDivisionError: no answer"
    assert attack("certify:planted.never_sure", AMPLE, trials=100).ok


def test_a_message_that_no_source_can_hold_as_it_is_is_still_reproduced() -> None:
    report = attack("certify:planted.quoting", AMPLE, trials=1, families=["weighted"])
    (finding,) = report.found
    assert finding.evidence.startswith('raised ValueError: no """ in C:\\Users')
    compile(finding.script.encode(), "script", "exec")  # as it is written to a file


@pytest.mark.parametrize("name", ["denoising", "row", "fitting", "weighted"])
def test_the_optima_that_certificates_are_held_against(name) -> None:
    """A gap as measured by a convex solver is refuted if made 1 % smaller, and not if made 1 % larger."""
    import planted

    from lorasolve.attacks._points import POINTS

    (family,) = [family for family in POINTS if family.name == name]
    compared = 0
    for seed in range(200):
        instance = family.draw(np.random.default_rng(seed), None)
        numbers = [abs(v) for value in instance.values() for v in np.ravel(value) if not isinstance(v, (str, np.str_))]
        if max(numbers) > 1e3 or min(v for v in numbers if v) < 1e-4 or compared == 5:
            continue
        given: list = []

        def record(*arguments, given=given):
            given.extend(arguments)
            return planted.never_sure(*arguments)

        family.judge(record, **instance)
        problem, X = given[0], given[1][0] @ given[1][1].T if isinstance(given[1], tuple) else given[1]
        optimum = ls.solve_convex(problem).fun
        value = problem.replace(objective=problem.objective.in_float64()).convex_value(X)
        if value - optimum <= 1e-3 * value:
            continue
        compared += 1
        for factor, wrong in ((0.99, {GAP}), (1.01, set())):
            answer = planted.Answer(factor * (value - optimum), None)
            assert set(family.judge(lambda *_, answer=answer: answer, **instance)) == wrong
    assert compared == 5


@pytest.mark.parametrize(("families", "trials"), [(["denoising", "row", "fitting", "weighted"], 240), (["hidden"], 1)])
def test_certify(families, trials) -> None:
    report = attack("certify", AMPLE, trials=trials, families=families)
    assert report.ok and sum(report.trials.values()) == trials, str(report)


def test_certify_notices_what_is_plainly_false() -> None:
    report = attack("certify_claims", AMPLE, trials=600)
    assert report.ok, str(report)


def test_losses_of_attacks_are_those_of_a_user() -> None:
    """As in the scripts; taken for the package's own they were not tested, and false certificates were dropped."""
    for loss in (Misstated([1.0], 2.0, 0.0), Entrywise([[1.0]], [[1.0]]), Quartic([[1.0]])):
        assert is_of_a_user(Problem(loss, 1, 1.0).objective)


# ---------------------------------------------------------------------- optimizers and step rules
@pytest.mark.parametrize(
    ("target", "family", "claim", "stated"),
    [
        ("optimizer:adamw", "minimum", STAYS, "it minimises f in the box |theta| <= 1/weight_decay"),
        ("optimizer:gd+cola:period=50", "chain", CHAIN, ""),
        ("optimizer:mgpo_trainer", "uphill", UPHILL, ""),
        ("optimizer:mgpo:sign=-1", "uphill", UPHILL, ""),
    ],
)
def test_known_failures_are_found(target, family, claim, stated, exit_code) -> None:
    report = attack(target, AMPLE, trials=12, families=[family])
    assert [(f.claim, f.stated) for f in report.found] == [(claim, stated)]
    assert exit_code(report.found[0].script) == 1


@pytest.mark.parametrize(
    ("target", "family", "trials"),
    [
        ("optimizer:adam", "minimum", 3),  # its decay is part of L
        ("optimizer:als", "quadratic", 6),
        ("optimizer:gd+rac_chain", "chain", 2),  # the step 1/L is right with a frozen factor
        ("optimizer:sam", "uphill", 6),
        ("optimizer:mgpo", "uphill", 6),  # the sign of the paper
    ],
)
def test_their_correct_relatives_are_not(target, family, trials) -> None:
    report = attack(target, AMPLE, trials=trials, families=[family])
    assert report.ok and report.trials == {family: trials}, str(report)


def test_gradient_descent_and_derived_steps() -> None:
    assert attack("optimizer:gd", AMPLE, trials=15).ok
    assert attack("step", AMPLE, trials=15).ok


def test_the_steps_that_are_attacked_are_those_that_nobody_states() -> None:
    """Adam and Muon have a number for theirs, and a step of SGD may rise whatever it is."""
    derived = set(derived_steps())
    assert {"gd", "lbfgs", "als", "gd_backtracking", "trust_ncg"} <= derived
    assert not derived & {"adam", "adamw", "muon", "sgd", "sam"}


def test_true_claims_are_no_instance_of_false_ones() -> None:
    misstated = dict(diagonal=[3.0], x=[2.0], lam=1.0, factor=1.0, lower_bound=0.0)
    assert judge_misstated(ls.certify, **misstated) is None
    assert judge_misstated(ls.certify, **misstated | {"factor": 2.0}) is not None
    assert judge_misstated(ls.certify, **misstated | {"lower_bound": 0.1}) is not None


def test_planted_faults_of_runs_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ten times too long, declared monotone and accepted: L rises, ends above its start, or diverges."""
    from lorasolve.optimizers._steps import Derived
    from lorasolve.optimizers.gd import GD

    monkeypatch.setattr(GD, "default_step", lambda self, problem, theta: 10.0)
    monkeypatch.setattr(Derived, "accepts", lambda self, state, value, grad: True)
    report = attack("step:gd", AMPLE, trials=12, families=["quadratic"])
    assert claims(report) >= {MONOTONE, BOUNDED} and claims(report) <= {MONOTONE, BOUNDED, FALLS, ENDS, SETTLES}


@pytest.mark.parametrize("silent", [False, True])
def test_a_status_that_is_too_good_is_seen(silent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the method says of every point that it has nowhere to go: it minimises ``L``, which says that."""
    from lorasolve import monitor
    from lorasolve.optimizers.gd import GD

    true = monitor.decide

    def early(value, grad_norm, nit, *rest):
        return true(value, grad_norm * (1e-9 if nit > 3 else 1.0), nit, *rest)

    monkeypatch.setattr(monitor, "decide", early)
    if silent:
        monkeypatch.setattr(GD, "residual", lambda self, problem, theta: 0.0)
    assert CONVERGED in claims(attack("optimizer:gd", AMPLE, trials=6, families=["quadratic"]))


# ---------------------------------------------------------------------- objectives
@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("Steep", "the gradient is Lipschitz with the stated smoothness"),
        ("SteepAlongRankOne", "f curves along matrices of rank one as little as stated"),
        ("Wave", "f is convex"),
        ("Deep", "f is at least its lower bound"),
        ("Cosh", "f is a least-squares function"),
    ],
)
def test_false_facts_of_objectives_are_found(name, claim, exit_code) -> None:
    report = attack(f"objective:planted.{name}", AMPLE, trials=20)
    assert claims(report) == {claim}
    assert exit_code(report.found[0].script) == 1


def test_curvature_in_one_direction_far_out_is_found() -> None:
    report = attack("objective:planted.OneSteepDirection", AMPLE, trials=40, families=["curvature"])
    assert claims(report) == {"the gradient is Lipschitz with the stated smoothness"}
    assert attack("objective:planted.Honest", AMPLE, trials=40).ok


@pytest.mark.parametrize("name", OBJECTIVES)
def test_registered_objectives_keep_what_they_state(name) -> None:
    report = attack(f"objective:{name}", AMPLE, trials=8)
    assert report.ok, str(report)


# ---------------------------------------------------------------------- the search itself
def test_the_seed_decides() -> None:
    first, again = (attack("certify_claims:planted.fixed_start", AMPLE, 3, trials=30) for _ in range(2))
    assert first.found == again.found and first.found
    assert first.trials == again.trials == {"gradient": 10, "lower_bound": 10, "cosine": 10}
    other = attack("certify_claims:planted.fixed_start", AMPLE, 4, trials=30)
    assert [f.instance for f in other.found] != [f.instance for f in first.found]


def test_what_could_not_be_judged_is_not_counted(capsys) -> None:
    """Minibatches need samples, which no family of runs has."""
    report = attack("optimizer:sgd", AMPLE, trials=9)
    assert not report.found and set(report.trials.values()) == {0} and not report.ok
    assert "NOTHING JUDGED" in str(report)
    assert main(["attack", "optimizer:sgd", "--seconds", "0.05"]) == 3


def test_time_is_bounded() -> None:
    report = attack("certify:planted.never_sure", 0.2, families=["weighted"])
    assert 0.2 <= report.seconds < 5.0 and report.trials["weighted"] < 100_000


@pytest.mark.parametrize("target", ["optimizer:gd", "step:gd"])
def test_ctrl_c_in_a_run_ends_the_search(target, capsys, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a run Ctrl-C would keep the run's last point, which is no reason to go on with the next trial."""
    answers, last = Entrywise.value_and_grad, 20_000
    calls = []

    def value_and_grad(self, X):
        calls.append(1)
        if len(calls) == last:
            signal.raise_signal(signal.SIGINT)
        return answers(self, X)

    monkeypatch.setattr(Entrywise, "value_and_grad", value_and_grad)
    report = attack(target, AMPLE, trials=400, families=["quadratic"])
    assert report.interrupted and 0 < report.trials["quadratic"] < 400
    assert last <= len(calls) < last + 50
    assert f"interrupted, seed 0 ({report.trials['quadratic']} of quadratic)" in str(report)
    calls.clear()
    monkeypatch.chdir(tmp_path)
    assert main(["attack", target, "--seconds", f"{AMPLE}", "--family", "quadratic"]) == 3
    calls.clear()
    last = 1
    assert main(["attack", target, "--seconds", f"{AMPLE}", "--family", "quadratic"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("certfy",), "target: unknown target 'certfy'. Did you mean 'certify'?"),
        (("optimizer:gdd",), "unknown optimizer 'gdd'"),
        (("objective:hubr",), "target: unknown objective 'hubr'. Did you mean 'huber'? Accepted: completion, "),
        (("objective:planted.Hubr",), "target: cannot import 'planted.Hubr'"),
        (("certify:planted.nothing",), "target: cannot import 'planted.nothing'"),
        (("certify:os.path",), "target: expected a class or function, got 'os.path', which is a module"),
        (("objective:os.path",), "target: expected a class or function, got 'os.path', which is a module"),
        (("objective:functools.partial",), r"one that needs no arguments, got 'functools.partial': TypeError"),
        (("certify", -1.0), "seconds: expected a finite number in (0"),
        (("certify", 1.0, -1), "seed: expected an integer >= 0"),
    ],
)
def test_bad_input_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError) as error:
        attack(*arguments)
    assert message in str(error.value)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown family 'hiden'"):
        attack("certify", families=["hiden"])


def test_every_target_says_what_it_is() -> None:
    assert set(registry.classes()) >= {"certify", "certify_claims", "objective", "optimizer", "step"}
    for name, cls in registry.classes().items():
        assert re.match(rf"{name}\b", cls.summary), "the help of the command names targets by their summaries alone"


def test_the_command_writes_scripts_and_exits_with_one(tmp_path, capsys, monkeypatch, exit_code) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = ["attack", "objective:planted.Wave", "--seconds", "1", "--out", "out"]
    assert main(wrong) == 1
    text = capsys.readouterr().out
    assert "FALSE: f is convex" in text and "written: out/objective_planted_Wave_curvature_1.py" in text
    assert exit_code((tmp_path / "out" / "objective_planted_Wave_curvature_1.py").read_text()) == 1
    assert main([*wrong, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["target"]) == ("lorasolve/attack", "objective:planted.Wave")
    assert document["found"][0]["claim"] == "f is convex"
    assert main(["attack", "objective:planted.Honest", "--seconds", "0.5", "--family", "descent", "--out", "no"]) == 0
    assert "nothing found (SAMPLED)" in capsys.readouterr().out and not (tmp_path / "no").exists()
    assert main(["attack", "objective:planted.Honest", "--family", "ascent"]) == 2


@pytest.mark.parametrize("out", ["taken", "taken/out"])
def test_where_no_script_can_be_written_is_told_before_the_search(out, tmp_path, capsys, monkeypatch) -> None:
    """A file of that name: what was found in a minute was lost, as it was told at the end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr("lorasolve.commands.attack.attack", None)
    assert main(["attack", "objective:planted.Wave", "--seconds", "1", "--out", out]) == 2
    assert "--out: cannot be written: " in capsys.readouterr().err


# ---------------------------------------------------------------------- long
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gd", "gd_backtracking", "nesterov", "heavy_ball", "lbfgs", "trust_ncg", "als"])
def test_long_optimizers(name) -> None:
    report = attack(f"optimizer:{name}", 60.0)
    assert report.ok, str(report)


@pytest.mark.slow
def test_long_steps() -> None:
    report = attack("step", 300.0, families=["quadratic", "units"])
    assert report.ok, str(report)


@pytest.mark.slow
def test_long_certify() -> None:
    report = attack("certify", 300.0)
    assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_long_objectives(name) -> None:
    report = attack(f"objective:{name}", 60.0)
    assert report.ok, str(report)
