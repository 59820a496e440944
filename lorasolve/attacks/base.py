"""What an attack is, and the search: draw, judge, shrink, write a reproduction, replay it."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from .._support.interruptions import interruptions_end_all
from .._support.keywords import suggest
from .._support.registry import Registry
from .._support.text import for_json
from .._support.validate import as_integer, as_iterable, as_number, as_text, shown
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
    unreproduced : tuple of str
        Failures that were seen and that no script repeats, with the reason: as of a target that answers differently
        each time. They decide nothing.
    """

    target: str
    seed: int
    trials: dict[str, int]
    seconds: float
    found: tuple[Finding, ...]
    interrupted: bool = False
    unreproduced: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if something was judged and nothing was seen to fail."""
        return any(self.trials.values()) and not self.found and not self.unreproduced

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        return dict(for_json(asdict(self)))

    def __str__(self) -> str:
        trials = ", ".join(f"{count} of {name}" for name, count in self.trials.items())
        count = len(self.found)
        outcome = f"{count} finding{'s' * (count != 1)}" if count else "nothing found (SAMPLED)"
        if not any(self.trials.values()):
            outcome = "NOTHING JUDGED, no instance met the assumptions"
        elif self.unreproduced and not count:
            outcome = "NOTHING DECIDED, what was seen to fail could not be reproduced"
        end = ", interrupted" if self.interrupted else ""
        head = f"{self.target}: {outcome} in {self.seconds:.1f} s{end}, seed {self.seed} ({trials})"
        return "\n".join([head, *map(str, self.found), *(f"NOT REPRODUCED: {line}" for line in self.unreproduced)])


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
        raise TypeError(f"{type(self).__name__} does not define families()")

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
        For an unknown target or family, numbers out of range, and a family that does not do what :class:`Family` says.

    Notes
    -----
    Ctrl-C ends the search at once; what was found by then is returned. In a run of a study it is the study's affair.
    """
    seconds = as_number(seconds, "seconds", 0.0, open_low=True)
    seed = as_integer(seed, "seed", 0)
    trials = as_integer(trials, "trials", 1)
    attacker = parse_target(target, "target")
    chosen = chosen_families(attacker, families)
    search = _Search(attacker, target, seconds, seed, [family.name for family in chosen])
    try:
        with interruptions_end_all():
            search.run(chosen, trials)
    except KeyboardInterrupt:
        return search.report(interrupted=True)
    return search.report()


def parse_target(text: str, name: str) -> Attack:
    """Return the attack that ``KIND`` or ``KIND:SUBJECT`` stands for, given for the argument ``name``."""
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a text such as 'certify' or 'optimizer:gd', got {type(text).__name__}")
    kind, colon, subject = text.partition(":")
    known = registry.classes()
    if kind not in known:
        raise ValueError(f"{name}: unknown target {kind!r}.{suggest(kind, list(known))}")
    return known[kind](subject.strip()) if colon else known[kind]()


def chosen_families(attacker: Attack, names: Sequence[str] | None) -> list[Family]:
    """Return the families of the names, all if there are none, once they are families that can be searched."""
    families = attacker.families()
    if not isinstance(families, (tuple, list)) or not all(isinstance(family, Family) for family in families):
        raise TypeError(f"{attacker.name}: families() has to return a tuple of Family, got {shown(families)}")
    known = {family.name: family for family in families}
    if not known or len(known) < len(families):
        raise ValueError(
            f"{attacker.name}: expected families of different names, one at least, got "
            f"{', '.join(family.name for family in families) or 'none'}"
        )
    for family in families:
        _refuse_unnamed(family)
    if names is not None:
        names = [as_text(name, "families") for name in as_iterable(names, "families")]
    for name in names or ():
        if name not in known:
            raise ValueError(f"families: unknown family {name!r}.{suggest(name, list(known))}")
    return [family for name, family in known.items() if names is None or name in names]


def _refuse_unnamed(family: Family) -> None:
    """Refuse a judge whose name no script could call."""
    judge = family.judge
    module = sys.modules.get(getattr(judge, "__module__", None) or "")
    if not callable(judge) or getattr(module, getattr(judge, "__name__", ""), None) is not judge:
        raise TypeError(
            f"family {family.name!r}: judge: expected a function of a module, whose name a script can call, got "
            f"{getattr(judge, '__qualname__', shown(judge))}"
        )


def drawn(family: Family, target: Any, rng: np.random.Generator) -> Instance:
    """Return an instance of a family.

    Raises
    ------
    ValueError
        If it cannot be drawn.
    TypeError
        If it is no dictionary of plain values, or not what the judge takes.
    """
    with quiet():
        try:
            instance = family.draw(rng, target)
        except Exception as error:  # which no instance can be blamed for
            raise ValueError(f"family {family.name!r}: draw {in_words(error)}") from error
    if not isinstance(instance, dict):
        raise TypeError(f"family {family.name!r}: draw has to return a dictionary, got {shown(instance)}")
    for name, value in instance.items():
        if not _is_plain(value):
            raise TypeError(
                f"family {family.name!r}: draw: expected {name} as a whole number, float, text, truth value or list "
                f"of floats, nested ones in equal rows, as .tolist() and .item() make them, got {type(value).__name__}"
            )
    try:
        inspect.signature(family.judge).bind(target, **instance)
    except TypeError as error:
        raise TypeError(f"family {family.name!r}: judge does not take what is drawn: {error}") from error
    return instance


def _is_plain(value: Any) -> bool:
    """Return whether a script can write a value, and shrinking knows it."""
    if not isinstance(value, list):
        return isinstance(value, (bool, int, float, str))
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # rows of several lengths
        return False


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
        self.unreproduced: list[str] = []

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def report(self, interrupted: bool = False) -> AttackReport:
        return AttackReport(
            self.text, self.seed, self.judged, self.elapsed(), tuple(self.found), interrupted, tuple(self.unreproduced)
        )

    def run(self, families: list[Family], trials: int) -> None:
        """Take one trial of each family in turn, until time or trials are used up."""
        draws = {family.name: 0 for family in families}
        known: set[tuple[str, str]] = set()
        while sum(draws.values()) < trials and self.elapsed() < self.seconds:
            for index, family in enumerate(families):
                if sum(draws.values()) >= trials or self.elapsed() >= self.seconds:
                    break
                rng = np.random.default_rng([self.seed, index, draws[family.name]])
                draws[family.name] += 1
                instance = drawn(family, self.target, rng)
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
        if evidence is None:
            self.unreproduced.append(f"{claim}\n  on {family.name}: the next time it held")
            return smaller
        script, ended = reproduced(family, self.target, self.text, claim, evidence, smaller)
        if ended == (evidence if claim == ANSWERS else "exit"):
            stated = self.attacker.stated(claim)
            self.found.append(Finding(claim, family.name, smaller, evidence, stated, script))
        else:
            end = "says that it holds" if ended is None else ended
            self.unreproduced.append(f"{claim}\n  {evidence}\n  on {family.name}: its script {end}")
        return smaller


def judged(family: Family, target: Any, instance: Instance) -> Failures:
    """Return the claims that fail on an instance, an exception being one of them, or None outside of assumptions."""
    with quiet():
        try:
            failures = family.judge(target, **{name: _copied(value) for name, value in instance.items()})
        except Exception as error:  # a target may fail in any way, and the search goes on
            return {ANSWERS: in_words(error)}
    if failures is None or (isinstance(failures, dict) and all(isinstance(each, str) for each in failures.values())):
        return failures
    raise TypeError(
        f"family {family.name!r}: judge has to return the claims that fail with their evidence in words, {{}} if none "
        f"does, or None outside of the assumptions, got {shown(failures)}"
    )


def reproduced(
    family: Family, target: Any, text: str, claim: str, evidence: str, instance: Instance
) -> tuple[str, str | None]:
    """Return the script of a claim on an instance, and what it ended with (:func:`replay`) or why there is none."""
    try:
        script = write_script(family.judge, target, text, claim, evidence, instance)
    except Exception as error:  # of a judge that uses what has no source
        return "", f"cannot be written: {in_words(error)}"
    return script, replay(script)


def _copied(value: Any) -> Any:
    """Return a value that its user may write to."""
    return list(map(_copied, value)) if isinstance(value, list) else value
