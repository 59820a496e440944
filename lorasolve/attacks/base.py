"""What an attack is, and the search: draw, judge, shrink, write a reproduction, replay it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from .._support.interruptions import interruptions_end_all
from .._support.keywords import suggest
from .._support.registry import Registry
from .._support.validate import as_integer, as_iterable, as_number, as_text
from ._script import in_words, quiet, replay, write_script
from ._shrink import Instance, shrink

Failures = dict[str, str] | None

# Most judgements spent on making one finding smaller.
SHRINKING = 1500

# Share of the time that one finding may take to shrink.
PATIENCE = 0.25

# What an exception on a valid instance refutes.
ANSWERS = "valid input is answered"


@dataclass(frozen=True)
class Family:
    """Instances of one structure.

    Attributes
    ----------
    name : str
        What the structure is.
    draw : callable
        ``draw(rng, target)`` returns an instance: a dictionary of whole numbers, floats, texts, truth values and
        (nested) lists of floats. The target may be asked beforehand, to see what can be predicted of it.
    judge : callable
        ``judge(target, **instance)`` returns ``{claim: evidence}`` for the claims that fail, or None outside of their
        assumptions. It is what the reproduction runs, so it uses nothing but module-level names.
    axes : mapping
        For lists, the names of their axes: shrinking leaves out an index of an axis in all lists at once.
    least : mapping
        The smallest value of whole numbers that may be made smaller.
    simpler : mapping
        Texts and truth values that may replace an entry.
    """

    name: str
    draw: Callable[[np.random.Generator, Any], Instance]
    judge: Callable[..., Failures]
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    simpler: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A claim that fails.

    Attributes
    ----------
    claim : str
        What was claimed.
    family : str
        The family of the instance.
    instance : dict
        The instance after shrinking, in plain values.
    evidence : str
        The numbers that refute the claim.
    stated : str
        Where the target itself says that it does not keep this claim, empty if nowhere.
    script : str
        A Python script that exits with 1 as long as the claim fails on the instance, and with 0 once it holds.
    """

    claim: str
    family: str
    instance: Instance
    evidence: str
    stated: str
    script: str

    def __str__(self) -> str:
        stated = f"\n  as the target says itself: {self.stated}" if self.stated else ""
        values = ", ".join(f"{name}={value!r}" for name, value in self.instance.items())
        shown = values if len(values) <= 400 else f"{values[:400]} ..."
        return f"FALSE: {self.claim}\n  {self.evidence}{stated}\n  on {self.family}: {shown}"


@dataclass(frozen=True)
class AttackReport:
    """What an attack found.

    Attributes
    ----------
    target : str
        What was attacked.
    seed : int
        Seed of the search.
    trials : dict of str to int
        Instances judged, by family; those outside of the assumptions and shrinking are not counted.
    seconds : float
        Duration.
    found : tuple of Finding
        One for each claim and family at most.
    interrupted : bool
        Whether Ctrl-C or SIGTERM ended the search.
    """

    target: str
    seed: int
    trials: dict[str, int]
    seconds: float
    found: tuple[Finding, ...]
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """True if something was judged and nothing was found."""
        return any(self.trials.values()) and not self.found

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        return asdict(self)

    def __str__(self) -> str:
        trials = ", ".join(f"{count} of {name}" for name, count in self.trials.items())
        count = len(self.found)
        outcome = f"{count} finding{'s' * (count != 1)}" if count else "nothing found (SAMPLED)"
        if not any(self.trials.values()):
            outcome = "NOTHING JUDGED, no instance met the assumptions"
        end = ", interrupted" if self.interrupted else ""
        head = f"{self.target}: {outcome} in {self.seconds:.1f} s{end}, seed {self.seed} ({trials})"
        return "\n".join([head, *map(str, self.found)])


@dataclass(frozen=True)
class Attack:
    """Base class of all attacks; a new one is a file that defines a subclass.

    Parameters
    ----------
    subject : str
        What follows the name of the target and a colon.
    """

    subject: str = ""

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    def target(self) -> Any:
        """Return what is attacked, as families are given it."""
        return self.subject

    def families(self) -> tuple[Family, ...]:
        """Return the families that make sense for the subject."""
        raise NotImplementedError

    def stated(self, claim: str) -> str:
        """Return where the target itself says that it does not keep a claim, or an empty text."""
        return ""


registry: Registry[Attack] = Registry("lorasolve.attacks", Attack, "target")


def attack(
    target: str,
    seconds: float = 60.0,
    seed: int = 0,
    *,
    trials: int = 100_000,
    families: Sequence[str] | None = None,
) -> AttackReport:
    """Search instances inside the stated assumptions on which a target fails.

    Parameters
    ----------
    target : str
        ``certify``, ``certify_claims``, ``step``, ``optimizer:METHOD``, ``objective:NAME``; also
        ``certify:package.function`` for a certifier of one's own, and the like (``lorasolve attack --help``).
    seconds : float
        No trial begins later than this.
    seed : int
        Seed of the search: the instances and their order depend on nothing else. How many there are depends on
        ``seconds`` unless ``trials`` is reached first.
    trials : int
        Most instances drawn.
    families : sequence of str, optional
        Only these families.

    Returns
    -------
    AttackReport

    Raises
    ------
    ValueError, TypeError
        For an unknown target or family, and numbers out of range.

    Notes
    -----
    Ctrl-C ends the search at once; what was found by then is returned. In a run of a study it is the study's affair.
    """
    seconds = as_number(seconds, "seconds", 0.0, open_low=True)
    seed = as_integer(seed, "seed", 0)
    trials = as_integer(trials, "trials", 1)
    attacker = parse_target(target)
    chosen = _chosen(attacker, families)
    search = _Search(attacker, target, seconds, seed, [family.name for family in chosen])
    try:
        with interruptions_end_all():
            search.run(chosen, trials)
    except KeyboardInterrupt:
        return search.report(interrupted=True)
    return search.report()


def parse_target(text: str) -> Attack:
    """Return the attack that ``KIND`` or ``KIND:SUBJECT`` stands for."""
    if not isinstance(text, str):
        raise TypeError(f"target: expected a text such as 'certify' or 'optimizer:gd', got {type(text).__name__}")
    kind, colon, subject = text.partition(":")
    known = registry.classes()
    if kind not in known:
        raise ValueError(f"target: unknown target {kind!r}.{suggest(kind, list(known))}")
    return known[kind](subject.strip()) if colon else known[kind]()


def _chosen(attacker: Attack, names: Sequence[str] | None) -> list[Family]:
    known = {family.name: family for family in attacker.families()}
    if names is not None:
        names = [as_text(name, "families") for name in as_iterable(names, "families")]
    for name in names or ():
        if name not in known:
            raise ValueError(f"families: unknown family {name!r}.{suggest(name, list(known))}")
    return [family for name, family in known.items() if names is None or name in names]


class _Search:
    """One search: its clock, what it has judged, and what it has found."""

    def __init__(self, attacker: Attack, text: str, seconds: float, seed: int, families: Sequence[str]) -> None:
        self.attacker = attacker
        self.target = attacker.target()
        self.text = text
        self.seconds = seconds
        self.seed = seed
        self.started = time.perf_counter()
        self.judged = dict.fromkeys(families, 0)
        self.found: list[Finding] = []

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def report(self, interrupted: bool = False) -> AttackReport:
        return AttackReport(self.text, self.seed, self.judged, self.elapsed(), tuple(self.found), interrupted)

    def run(self, families: list[Family], trials: int) -> None:
        """Take one trial of each family in turn, until time or trials are used up."""
        drawn = {family.name: 0 for family in families}
        known: set[tuple[str, str]] = set()
        while sum(drawn.values()) < trials and self.elapsed() < self.seconds:
            for index, family in enumerate(families):
                if sum(drawn.values()) >= trials or self.elapsed() >= self.seconds:
                    break
                rng = np.random.default_rng([self.seed, index, drawn[family.name]])
                drawn[family.name] += 1
                with quiet():
                    instance = family.draw(rng, self.target)
                failures = judged(family, self.target, instance)
                self.judged[family.name] += failures is not None
                smallest = instance
                for claim in failures or ():
                    if (claim, family.name) not in known:
                        known.add((claim, family.name))
                        smallest = self._report(family, claim, instance, smallest)

    def _report(self, family: Family, claim: str, instance: Instance, smaller: Instance) -> Instance:
        """Shrink the instance, keep it if its script fails as well, and return it.

        ``smaller`` is what was left of it for another claim; where this one fails there too nothing more is done.
        """
        last = self.elapsed() + max(PATIENCE * self.seconds, 1.0)

        def fails(candidate: Instance) -> bool:
            return self.elapsed() < last and claim in (judged(family, self.target, candidate) or ())

        if smaller is instance or not fails(smaller):
            smaller = shrink(family, instance, fails, SHRINKING)
        evidence = (judged(family, self.target, smaller) or {}).get(claim)
        if evidence is not None:  # otherwise a random target that failed once
            script = write_script(family.judge, self.target, self.text, claim, evidence, smaller)
            if replay(script) == (evidence if claim == ANSWERS else "exit"):
                stated = self.attacker.stated(claim)
                self.found.append(Finding(claim, family.name, smaller, evidence, stated, script))
        return smaller


def judged(family: Family, target: Any, instance: Instance) -> Failures:
    """Return the claims that fail on an instance, an exception being one of them, or None outside of assumptions."""
    with quiet():
        try:
            return family.judge(target, **instance)
        except Exception as error:  # a target may fail in any way, and the search goes on
            return {ANSWERS: in_words(error)}
