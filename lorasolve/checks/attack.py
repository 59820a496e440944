"""Tests of what an attack is: that its instances differ, that its judge answers, and that its scripts run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.stated import as_component
from .._support.validate import as_generator
from ..attacks.base import ANSWERS, Attack, Failures, Family, chosen_families, drawn, judged, parse_target, reproduced
from .base import Checked, CheckReport, global_state, run_checks

# Instances of each family.
DRAWS = 4


@dataclass
class _Bench:
    """The attack under test, its target and families, and the seed of instances."""

    attack: Attack
    target: Any
    families: list[Family]
    seed: int

    def drawn(self, family: Family, number: int) -> dict[str, Any]:
        """Return an instance, the same for the same number."""
        return drawn(family, self.target, np.random.default_rng([self.seed, number]))


def check_attack(attack: str | Attack, rng: int | np.random.Generator = 0) -> CheckReport:
    """Test what an attack states about itself, on a few instances of each family.

    Parameters
    ----------
    attack : str or Attack
        The attack, with its subject: itself, or its text as on the command line.
    rng : int or numpy.random.Generator
        Seed or source of the instances.

    Returns
    -------
    CheckReport
        ``report.ok`` is False if a check failed; ``print(report)`` shows all of them.

    Raises
    ------
    TypeError, ValueError
        If ``attack`` is no attack, its subject makes no sense, or its families are none.

    Notes
    -----
    Checked for each family: instances are plain values, differ, and depend on the given generator alone; the judge
    gives the same claims for the same instance; the script of an instance runs without the attack, and ends as the
    judge does. Whether what the judge calls a failure is one, no check knows.

    Examples
    --------
    >>> check_attack("objective:huber").ok
    True
    """
    attack = parse_target(attack, "attack") if isinstance(attack, str) else as_component(attack, "attack", Attack)
    seed = int(as_generator(rng, "rng").integers(2**63))
    bench = _Bench(attack, attack.target(), chosen_families(attack, None), seed)
    return run_checks(type(attack).__name__, bench, _CHECKS)


def _draws(bench: _Bench) -> Iterator[Checked]:
    for family in bench.families:
        before = global_state()
        instances = [bench.drawn(family, number) for number in range(DRAWS)]
        untouched = global_state() == before
        # As text: numbers that are none are not equal to themselves.
        differ = len({repr(instance) for instance in instances}) > 1
        yield Checked(f"{family.name}: instances differ", differ, f"{DRAWS} of them" if differ else "all are the same")
        same = repr(bench.drawn(family, 0)) == repr(instances[0])
        name = f"{family.name}: the given generator decides"
        if untouched and not same and callable(bench.target):
            yield Checked(name, None, "another instance from the same seed, as of a target that is asked and is random")
            continue
        shown = "value by value" if same else "another instance from the same seed"
        yield Checked(name, same and untouched, shown if untouched else "a global generator is used")


def _judges(bench: _Bench) -> Iterator[Checked]:
    for family in bench.families:
        name = f"{family.name}: the judge answers alike"
        outcomes = []
        for number in range(DRAWS):
            instance = bench.drawn(family, number)
            outcomes.append([_claims(judged(family, bench.target, instance)) for _ in range(2)])
        if all(first is None for first, _ in outcomes):
            yield Checked(name, None, f"not tested: {DRAWS} instances do not meet the assumptions")
            continue
        alike = all(first == second for first, second in outcomes)
        failing = sum(bool(first) for first, _ in outcomes)
        shown = f"{failing} of {DRAWS} instances fail" if alike else f"first and second answers: {outcomes}"
        yield Checked(name, alike, shown)


def _claims(failures: Failures) -> set[str] | None:
    return None if failures is None else set(failures)


def _scripts(bench: _Bench) -> Iterator[Checked]:
    for family in bench.families:
        name = f"{family.name}: the script ends as the judge"
        instance = bench.drawn(family, 0)
        failures = judged(family, bench.target, instance) or {}
        claim, evidence = next(iter(failures.items()), ("nothing fails", ""))
        expected = (evidence if claim == ANSWERS else "exit") if failures else None
        _, ended = reproduced(family, bench.target, bench.attack.name, claim, evidence, instance)
        said, found = (f"it ends with {end!r}" if end else "it holds" for end in (expected, ended))
        yield Checked(name, ended == expected, found if ended == expected else f"{found}, and by the judge {said}")


_CHECKS: dict[str, Callable[[_Bench], Iterator[Checked]]] = {
    "instances": _draws,
    "judges": _judges,
    "scripts": _scripts,
}
