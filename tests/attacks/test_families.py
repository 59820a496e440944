"""Own families: what fails is found whatever their faults, or they are refused by name; never is nothing found."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import pytest

from lorasolve.attacks import Attack, Family, attack, registry
from lorasolve.attacks.base import parse_target
from lorasolve.checks import check_attack
from lorasolve.cli import main

AMPLE = 120.0


@pytest.fixture
def own():
    """Return a function that makes an attack of families, whose functions are named as in ``planted_families``."""
    planted = importlib.import_module("planted_families")

    def made(draw: str = "draw", judge: Any = "judge", copies: int = 1, target: Any = "") -> type[Attack]:
        chosen = getattr(planted, judge) if isinstance(judge, str) else judge

        @dataclass(frozen=True)
        class Own(Attack):
            """Own families."""

            name = "own"
            summary = "own: what is planted"

            def target(self) -> Any:
                return target

            def families(self) -> tuple[Family, ...]:
                return copies * (Family("numbers", getattr(planted, draw), chosen),)

        return Own

    return made


@pytest.fixture
def attacked(own: Any, monkeypatch: pytest.MonkeyPatch):
    """Return a function that searches such families."""

    def search(*names: str, **settings: Any) -> Any:
        monkeypatch.setitem(registry.classes(), "own", own(*names, **settings))
        return attack("own", AMPLE, trials=40)

    return search


@pytest.mark.parametrize(
    ("draw", "judge"),
    [
        ("draw", "judge"),
        ("draw", "judge_and_write"),
        ("draw", "judge_with_infinity"),
        ("draw_infinite", "judge"),
    ],
)
def test_what_fails_is_found_and_its_script_repeats_it(draw: str, judge: str, attacked: Any, exit_code: Any) -> None:
    """Of 40 times four numbers one is above 0.5, but for a chance of 2^-160."""
    (finding,) = attacked(draw, judge).found
    assert finding.claim == "no number is above 0.5" and exit_code(finding.script) == 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"judge": "judge_now_and_then"}, "the next time it held"),
        ({"judge": "judge_with_an_array"}, "its script raised NameError: name 'array' is not defined"),
        ({"target": object()}, "its script raised SyntaxError"),
    ],
)
def test_what_no_script_repeats_decides_nothing(settings: Any, reason: str, attacked: Any, capsys: Any) -> None:
    """It was dropped, and the report said that nothing was found."""
    report = attacked(**settings)
    assert not report.ok and not report.found and len(report.unreproduced) == 1
    assert "NOTHING DECIDED" in str(report) and "NOT REPRODUCED: no number is above 0.5" in str(report)
    assert reason in report.unreproduced[0]
    assert main(["attack", "own", "--seconds", "0.5"]) == 3
    assert reason in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draw": "draw_array"}, "draw: expected x as a whole number, float, .* got ndarray"),
        ({"draw": "draw_numpy_integer"}, "draw: expected k as a whole number, float, .* got int64"),
        ({"draw": "draw_ragged"}, "draw: expected x as a whole number, float, .* got list"),
        ({"draw": "draw_nothing"}, "draw has to return a dictionary, got None"),
        ({"draw": "draw_wrongly"}, "draw raised ZeroDivisionError: no instance"),
        ({"judge": "judge_by_truth_value"}, "judge has to return the claims that fail .* got (False|True)"),
        ({"judge": "judge_by_list"}, r"judge has to return the claims that fail .* got \["),
        ({"judge": "judge_something_else"}, "judge does not take what is drawn: missing a required argument: 'y'"),
        ({"judge": lambda target, x: {}}, "judge: expected a function of a module, .* got .*<lambda>"),
    ],
)
def test_a_family_that_is_none_is_refused_by_name(settings: Any, message: str, attacked: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^family 'numbers': {message}"):
        attacked(**settings)


def test_a_judge_made_by_a_function_is_refused(attacked: Any) -> None:
    made = importlib.import_module("planted_families").made_judge(0.5)
    with pytest.raises(TypeError, match=r"a function of a module, .* got made_judge"):
        attacked(judge=made)


@pytest.mark.parametrize(("copies", "shown"), [(0, "none"), (2, "numbers, numbers")])
def test_families_have_names_of_their_own(copies: int, shown: str, attacked: Any) -> None:
    """Without any a search waited until its time was over."""
    with pytest.raises(ValueError, match=f"^own: expected families of different names, one at least, got {shown}$"):
        attacked(copies=copies)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({}, set()),
        ({"judge": "judge_and_write"}, set()),
        ({"draw": "draw_the_same"}, {"numbers: instances differ"}),
        ({"draw": "draw_from_elsewhere"}, {"numbers: the given generator decides"}),
        ({"draw": "draw_from_the_global_generator"}, {"numbers: the given generator decides"}),
        ({"draw": "draw_array"}, {"instances", "judges", "scripts"}),
        (
            {"judge": "judge_every_second_time"},
            {"numbers: the judge answers alike", "numbers: the script ends as the judge"},
        ),
        ({"judge": "judge_by_truth_value"}, {"judges", "scripts"}),
        ({"judge": "judge_with_an_array"}, {"numbers: the script ends as the judge"}),
        ({"target": object()}, {"numbers: the script ends as the judge"}),
    ],
)
def test_each_fault_is_caught_by_its_check(settings: Any, wrong: set[str], own: Any) -> None:
    report = check_attack(own(**settings)())
    assert {check.name for check in report.failures} == wrong, str(report)


@pytest.mark.parametrize(
    "target", ["certify_claims", "step", "objective:huber", "optimizer:gd", "optimizer:sgd", "optimizer:gd+cola"]
)
def test_attacks_of_the_package_pass(target: str) -> None:
    report = check_attack(parse_target(target, "target"))
    assert report.ok, str(report)


def test_what_is_no_attack_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^attack: "):
        check_attack(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^attack: unknown target 'certfy'. Did you mean 'certify'"):
        check_attack("certfy")
