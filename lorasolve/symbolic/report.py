"""Run theorems, and what became of them: as records, as text and as plain data."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

from lorasolve._known import Known
from lorasolve.symbolic.checks import Check, Outcome, TwoSided, fault_of_sources, in_words
from lorasolve.symbolic.matrix_checks import Inequality
from lorasolve.symbolic.mutants import Mutant
from lorasolve.symbolic.taken import declared
from lorasolve.symbolic.theorem import KINDS, Theorem, foreign
from lorasolve.symbolic.written import ExportError, as_written

from .._support.text import counted
from .._support.validate import as_instance

SEED = 20250


@dataclass(frozen=True)
class MutantReport:
    """What became of a false twin."""

    kind: str
    change: str
    refuted: bool
    reason: str


@dataclass(frozen=True)
class StatementReport:
    """What became of a check.

    `claim` is what is checked, of which `says` tells in words; `where` tells what its symbols declare. `holds` is the
    outcome; `known` and `facts` say what that is worth: a search that found no counterexample holds, and is SAMPLED.
    `under` tells the inequalities that are taken from facts which nothing here proves.
    `counterexample` is where a statement that does not hold fails. `second` is what a second checker said, if one was
    asked, and `objection` why it refuses.
    """

    name: str
    says: str
    kind: str
    known: Known
    facts: list[str]
    paper: str
    claim: str
    where: str
    assumed: list[str]
    holds: bool
    detail: str
    tested: str
    seconds: float
    mutants: list[MutantReport]
    under: list[str] = field(default_factory=list)
    counterexample: str | None = None
    second: str | None = None
    objection: str | None = None

    @property
    def stands(self) -> bool:
        """Whether the check holds and the second checker has no objection."""
        return self.holds and self.objection is None

    @property
    def ok(self) -> bool:
        """Whether the check stands and all its mutants were refuted."""
        return self.stands and all(twin.refuted for twin in self.mutants)

    @property
    def verdict(self) -> str:
        """How the statement is known if it stands; otherwise REFUTED, by a counterexample, or NOT SHOWN."""
        return self.strength if self.stands else "NOT SHOWN" if self.counterexample is None else "REFUTED"

    @property
    def strength(self) -> str:
        """How the statement is known, in words: PROVED, PROVED UNDER named facts, VERIFIED or SAMPLED."""
        return in_words(self.known, self.facts)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return asdict(self) | {"known": str(self.known), "ok": self.ok, "verdict": self.verdict}


@dataclass(frozen=True)
class TheoremReport:
    """What became of a theorem; `prose` is what of it no check shows, with the checks beside which it stands."""

    name: str
    title: str
    statement: str
    assumptions: str
    source: str
    used_by: list[str]
    checks: list[StatementReport]
    inconsistencies: list[str] = field(default_factory=list)
    prose: dict[str, list[str]] | None = None

    @property
    def ok(self) -> bool:
        """Whether every check holds, every mutant is refuted, and the documentation is true."""
        return not self.inconsistencies and all(check.ok for check in self.checks)

    @property
    def seconds(self) -> float:
        """CPU time spent on all checks."""
        return sum(check.seconds for check in self.checks)

    @property
    def mutants(self) -> int:
        """Number of false twins."""
        return sum(len(check.mutants) for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        checks = [check.to_dict() for check in self.checks]
        return asdict(self) | {"checks": checks, "ok": self.ok, "seconds": self.seconds}


class Shown:
    """What became of checks, each proved and tested once however many proofs rest on it."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Check, Outcome, Outcome]] = {}

    def __call__(self, check: Check) -> tuple[Outcome, Outcome]:
        """Return the outcome of the proof, and of the test on examples."""
        if id(check) not in self._found:
            proof = _guarded(check.follows) if type(check) in KINDS else Outcome(False, foreign(check))
            self._found[id(check)] = check, proof, _guarded(lambda: check.test(Random(SEED)))
        return self._found[id(check)][1:]


def run(name: str, theorem: Theorem, shown: Shown | None = None) -> TheoremReport:
    """Check a theorem and all its mutants, and that what it takes from other checks is listed and shown.

    Parameters
    ----------
    name
        How it is called in the report.
    theorem
        The theorem.
    shown
        What became of checks of other theorems, to which those of this one are added.
    """
    shown = Shown() if shown is None else shown
    sections = _sections(theorem)
    return TheoremReport(
        name=name,
        title=theorem.title,
        statement=sections.get("Statement", ""),
        assumptions=sections.get("Assumptions", ""),
        source=sections.get("Source", ""),
        used_by=theorem.users if sections else [],
        checks=[_run_check(check, theorem.known_checks, shown) for check in theorem.checks],
        inconsistencies=theorem.inconsistencies(),
        prose=None if theorem.prose is None else {says: list(beside) for says, beside in theorem.prose.items()},
    )


def _sections(theorem: Theorem) -> dict[str, str]:
    try:
        return theorem.sections
    except ValueError:
        return {}


def _proved(check: Check, listed: Sequence[Check], shown: Shown) -> Outcome:
    fault = fault_of_sources(check, shown, listed)
    return shown(check)[0] if fault is None else Outcome(False, fault)


def _run_check(check: Check, listed: Sequence[Check], shown: Shown) -> StatementReport:
    start = time.process_time()
    proof, test = _guarded(lambda: _proved(check, listed, shown)), shown(check)[1]
    mutants = [_run_mutant(check, twin) for twin in check.mutants]
    holds = proof.holds and test.holds
    return StatementReport(
        name=check.name,
        says=check.says,
        kind=check.kind,
        known=check.known,
        facts=[fact.name for fact in check.unproved_facts],
        paper=check.paper,
        claim=_claim(check),
        where=declared(check),
        assumed=[part.in_full for part in check.taken],
        under=list(dict.fromkeys(_under(check))),
        holds=holds,
        detail=f"proved, and not seen at examples: {test.detail}" if proof.holds and not test.holds else proof.detail,
        tested=test.detail,
        seconds=time.process_time() - start,
        mutants=mutants,
        counterexample=None if holds else _counterexample(check),
    )


def _claim(check: Check) -> str:
    """Return both sides of a check as they are written, or nothing for one without sides."""
    if isinstance(check, TwoSided):
        with suppress(ExportError):
            return f"{as_written(check.lhs)} {check.relation} {as_written(check.rhs)}"
    return ""


def _under(check: Check, users: tuple[Check, ...] = ()) -> Iterator[str]:
    """Yield the inequalities that are taken from facts which nothing here proves, those behind conclusions too."""
    where = f", in check {check.name}" if users else ""
    for premise in check.premises if isinstance(check, Inequality) else ():
        for fact in premise.facts if premise.instance is not None else ():
            if not fact.proved_by:
                yield f"{fact.name}: {as_written(premise.lhs)} <= {as_written(premise.rhs)}{where}"
    for source in check.sources:
        if isinstance(source, Check) and not any(source is user for user in users):
            yield from _under(source, (*users, check))


def _counterexample(check: Check) -> str | None:
    """Return where a statement that was not shown fails, if it is well written and the search finds it."""
    try:
        return None if check.fault else check.counterexample(None, Random(SEED))
    except Exception:
        return None


def judged(
    report: TheoremReport,
    verdicts: Mapping[str, str | None],
    content: Mapping[str, Any],
    changes: Mapping[str, list[str]],
) -> TheoremReport:
    """Return a report with the opinion of a second checker on each check.

    Parameters
    ----------
    report
        What became of the theorem.
    verdicts
        For each check ``theorem.name`` that the second checker was given, why it refuses, or None.
    content
        The document that it was given, which says why the other checks are not in it, and what they rest on.
    changes
        How theorems and checks differ from the pinned document.
    """
    checks, left_out = [], content["not_exported"]
    for check in report.checks:
        name = f"{report.name}.{check.name}"
        if name in left_out:
            second = f"not asked: {left_out[name]}"
            objection = _objection_behind(name, verdicts, content["computations"])
            second += f"; {objection}" if objection else ""
            checks.append(replace(check, second=second, objection=objection))
        else:
            said = "agrees" if verdicts[name] is None else f"REFUSES: {verdicts[name]}"
            checks.append(replace(check, second=said, objection=verdicts[name]))
    found = [f"the theorem: {part}" for part in changes.get(report.name, [])]
    found += [f"{name}: {part}" for name, parts in changes.items() if name.startswith("fact ") for part in parts]
    found += [f"check {c.name}: {part}" for c in checks for part in changes.get(f"{report.name}.{c.name}", [])]
    return replace(report, checks=checks, inconsistencies=[*report.inconsistencies, *found])


def _objection_behind(
    name: str, verdicts: Mapping[str, str | None], left_out: Mapping[str, Any], users: tuple[str, ...] = ()
) -> str | None:
    """Return which check is refused that one rests on about which the second checker was not asked, or None."""
    for source in left_out[name].get("rests_on", ()):
        if verdicts.get(source) is not None:
            return f"it REFUSES {source}, on which this rests"
        if source in left_out and source not in users:
            objection = _objection_behind(source, verdicts, left_out, (*users, name))
            if objection is not None:
                return objection
    return None


def _run_mutant(check: Check, twin: Mutant) -> MutantReport:
    outcome = _guarded(lambda: check.refute(twin, Random(SEED)))
    return MutantReport(twin.kind, twin.change, outcome.holds, outcome.detail)


def _guarded(call: Any) -> Outcome:
    """Return the outcome of `call`; an exception is never a proof, and never a refutation."""
    try:
        outcome: Outcome = call()
    except Exception as error:
        return Outcome(False, f"{type(error).__name__}: {error}")
    return outcome


def as_text(report: TheoremReport, verbose: bool = True) -> str:
    """Return a readable account of one theorem."""
    lines = [f"{report.name}: {report.title}   [{'ok' if report.ok else 'FAILED'}, {report.seconds:.1f} CPU s]"]
    for check in report.checks:
        lines.append(f"  {check.name} ({check.kind}): {check.verdict}")
        lines.append(f"      {check.says}")
        lines.extend([f"      claim    {_short(check.claim, 600)}"] * bool(check.claim))
        lines.extend([f"      where    {check.where}"] * bool(check.where))
        for title, parts in (("assuming", check.assumed), ("under", check.under)):
            lines.extend(f"      {'' if k else title:8} {part}" for k, part in enumerate(parts))
        if check.second is not None:
            lines.append(f"      second checker: {check.second}")
        # The cases and the draws are all that is known of what is not proved.
        if not check.holds or check.known is not Known.PROVED:
            lines.append(f"      {_short(check.detail, 600)}")
        if check.counterexample is not None:
            lines.append(f"      counterexample: {_short(check.counterexample, 600)}")
        for twin in check.mutants:
            lines.append(f"      {'refuted ' if twin.refuted else 'SURVIVED'} {twin.kind}: {twin.change}")
            if verbose or not twin.refuted:
                lines.append(f"          {_short(twin.reason, 200)}")
    lines.extend(f"  documentation: {problem}" for problem in report.inconsistencies)
    return "\n".join(lines)


def strengths(checks: Sequence[StatementReport]) -> str:
    """Return how many checks are known how: ``3 PROVED, 1 PROVED UNDER named facts, 2 SAMPLED, 1 REFUTED``."""
    order = [in_words(known, facts) for known in Known for facts in ([], ["named facts"])] + ["NOT SHOWN", "REFUTED"]
    counts = Counter(
        in_words(check.known, ["named facts"] * bool(check.facts)) if check.stands else check.verdict
        for check in checks
    )
    return ", ".join(f"{counts[words]} {words}" for words in order if counts[words])


def summary(reports: Sequence[TheoremReport]) -> str:
    """Return one line about all theorems."""
    checks = [check for report in reports for check in report.checks]
    asked = [check for check in checks if check.second is not None]
    agreed = sum(check.second == "agrees" for check in asked)
    mutants = [twin for check in checks for twin in check.mutants]
    return (
        f"{counted(len(reports), 'theorem')}, {counted(len(checks), 'check')}: {strengths(checks)}; "
        f"{sum(twin.refuted for twin in mutants)} of {len(mutants)} mutants refuted; "
        f"{f'the second checker agrees with {agreed} and was not asked about {_not_asked(asked)}; ' if asked else ''}"
        f"{sum(report.seconds for report in reports):.1f} CPU s; "
        f"{'everything holds' if all(report.ok for report in reports) else 'FAILED: ' + _failed(reports)}"
    )


def _not_asked(checks: Sequence[StatementReport]) -> int:
    return sum(check.second != "agrees" and check.objection is None for check in checks)


def run_module(name: str, theorem: Theorem) -> int:
    """Check a single theorem and print the report: the last line of every theorem module."""
    report = run(as_instance(name, "name", str), as_instance(theorem, "theorem", Theorem))
    print(as_text(report))
    return 0 if report.ok else 1


def _failed(reports: Sequence[TheoremReport]) -> str:
    return ", ".join(report.name for report in reports if not report.ok)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."
