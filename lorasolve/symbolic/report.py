"""Run theorems and report: as text, as JSON, as LaTeX, and as the page ``proofs/README.md``.

``main`` is the command ``lorasolve prove`` and ``python -m proofs``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from lorasolve._registry import suggest
from lorasolve.symbolic.checks import Check, Mutant, Verdict
from lorasolve.symbolic.theorem import Theorem

SCHEMA = "lorasolve.proofs/1"
SEED = 20250


@dataclass(frozen=True)
class MutantReport:
    """What became of a false twin."""

    kind: str
    change: str
    refuted: bool
    reason: str


@dataclass(frozen=True)
class CheckReport:
    """What became of a check."""

    name: str
    says: str
    kind: str
    strength: str
    facts: list[str]
    paper: str
    proved: bool
    detail: str
    tested: str
    seconds: float
    mutants: list[MutantReport]

    @property
    def ok(self) -> bool:
        """Whether the check was proved and all its mutants were refuted."""
        return self.proved and all(twin.refuted for twin in self.mutants)


@dataclass(frozen=True)
class TheoremReport:
    """What became of a theorem."""

    name: str
    index: int
    title: str
    statement: str
    assumptions: str
    source: str
    used_by: list[str]
    checks: list[CheckReport]
    inconsistencies: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything was proved, every mutant refuted, and the documentation is true."""
        return not self.inconsistencies and all(check.ok for check in self.checks)

    @property
    def seconds(self) -> float:
        """CPU time spent on all checks."""
        return sum(check.seconds for check in self.checks)

    @property
    def mutants(self) -> int:
        """Number of false twins."""
        return sum(len(check.mutants) for check in self.checks)


def discover(package: str = "proofs") -> dict[str, Theorem]:
    """Return the theorems of a package by module name, in the order of the index."""
    root = importlib.import_module(package)
    found: dict[str, Theorem] = {}
    for info in pkgutil.iter_modules(root.__path__):
        if not info.name.startswith("_"):
            theorem = getattr(importlib.import_module(f"{package}.{info.name}"), "THEOREM", None)
            if isinstance(theorem, Theorem):
                found[info.name] = theorem
    return dict(sorted(found.items(), key=lambda item: (item[1].index, item[0])))


def run(name: str, theorem: Theorem) -> TheoremReport:
    """Check a theorem and all its mutants."""
    sections = _sections(theorem)
    return TheoremReport(
        name=name,
        index=theorem.index,
        title=theorem.title,
        statement=sections.get("Statement", ""),
        assumptions=sections.get("Assumptions", ""),
        source=sections.get("Source", ""),
        used_by=theorem.users if sections else [],
        checks=[_run_check(check) for check in theorem.checks],
        inconsistencies=theorem.inconsistencies(),
    )


def _sections(theorem: Theorem) -> dict[str, str]:
    try:
        return theorem.sections
    except ValueError:
        return {}


def _run_check(check: Check) -> CheckReport:
    start = time.process_time()
    rng = Random(SEED)
    proof = _guarded(check.prove)
    test = _guarded(lambda: check.test(rng))
    mutants = [_run_mutant(check, twin, rng) for twin in check.mutants]
    return CheckReport(
        name=check.name,
        says=check.says,
        kind=check.kind,
        strength=check.strength,
        facts=[fact.name for fact in check.facts],
        paper=check.paper,
        proved=proof.holds and test.holds,
        detail=proof.detail if test.holds else f"the proof and the example disagree: {test.detail}",
        tested=test.detail,
        seconds=time.process_time() - start,
        mutants=mutants,
    )


def _run_mutant(check: Check, twin: Mutant, rng: Random) -> MutantReport:
    verdict = _guarded(lambda: check.refute(twin, rng))
    return MutantReport(twin.kind, twin.change, verdict.holds, verdict.detail)


def _guarded(call: Any) -> Verdict:
    """Return the verdict of `call`; an exception is never a proof, and never a refutation."""
    try:
        verdict: Verdict = call()
    except Exception as error:
        return Verdict(False, f"{type(error).__name__}: {error}")
    return verdict


def as_text(report: TheoremReport, verbose: bool = True) -> str:
    """Return a readable account of one theorem."""
    lines = [f"{report.name}: {report.title}   [{'ok' if report.ok else 'FAILED'}, {report.seconds:.1f} CPU s]"]
    for check in report.checks:
        mark = check.strength if check.proved else "NOT SHOWN"
        lines.append(f"  {check.name} ({check.kind}): {mark}")
        lines.append(f"      {check.says}")
        if not check.proved:
            lines.append(f"      {_short(check.detail, 600)}")
        for twin in check.mutants:
            lines.append(f"      {'refuted ' if twin.refuted else 'SURVIVED'} {twin.kind}: {twin.change}")
            if verbose or not twin.refuted:
                lines.append(f"          {_short(twin.reason, 200)}")
    lines.extend(f"  documentation: {problem}" for problem in report.inconsistencies)
    return "\n".join(lines)


def summary(reports: Sequence[TheoremReport]) -> str:
    """Return one line about all theorems."""
    checks = [check for report in reports for check in report.checks]
    mutants = [twin for check in checks for twin in check.mutants]
    counts = {word: sum(check.strength.split()[0] == word for check in checks) for word in ("VERIFIED", "SAMPLED")}
    under = sum(check.strength.startswith("PROVED UNDER") for check in checks)
    proved = len(checks) - under - sum(counts.values())
    return (
        f"{len(reports)} theorems, {len(checks)} checks: {proved} PROVED, {under} PROVED UNDER named facts, "
        f"{counts['VERIFIED']} VERIFIED, {counts['SAMPLED']} SAMPLED; "
        f"{sum(twin.refuted for twin in mutants)} of {len(mutants)} mutants refuted; "
        f"{sum(report.seconds for report in reports):.1f} CPU s; "
        f"{'everything holds' if all(report.ok for report in reports) else 'FAILED: ' + _failed(reports)}"
    )


def as_json(reports: Sequence[TheoremReport]) -> str:
    """Return the reports as JSON; ``schema`` names the version of the layout."""
    from lorasolve._version import __version__

    content = {
        "schema": SCHEMA,
        "version": __version__,
        "ok": all(report.ok for report in reports),
        "theorems": [{**asdict(report), "ok": report.ok, "seconds": report.seconds} for report in reports],
    }
    return json.dumps(content, indent=2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``prove [NAME ...] [--json] [--latex FILE] [--readme FILE]``.

    Returns
    -------
    int
        0 if everything was proved and every mutant refuted, 1 if not, 2 for an unknown name.
    """
    parser = argparse.ArgumentParser(prog="lorasolve prove", description="Check the theorems by machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="theorems to check (default: all)")
    parser.add_argument("--list", action="store_true", help="list the theorems and stop")
    parser.add_argument("--json", action="store_true", help="print a JSON report")
    parser.add_argument("--brief", action="store_true", help="do not print the counterexamples")
    parser.add_argument("--latex", metavar="FILE", help="write the statements and steps as a LaTeX document")
    parser.add_argument("--readme", metavar="FILE", help="write the index of statements as Markdown")
    options = parser.parse_args(argv)

    theorems = discover()
    unknown = [name for name in options.names if name not in theorems]
    if unknown:
        print(f"prove: unknown theorem {unknown[0]!r}.{suggest(unknown[0], list(theorems))}", file=sys.stderr)
        return 2
    chosen = {name: theorems[name] for name in options.names or theorems}
    if options.list:
        print("\n".join(f"{theorem.index:3d}  {name}: {theorem.title}" for name, theorem in chosen.items()))
        return 0
    return _report(chosen, options)


def run_module(name: str, theorem: Theorem) -> int:
    """Check a single theorem and print the report: the last line of every theorem module."""
    report = run(name, theorem)
    print(as_text(report))
    return 0 if report.ok else 1


def _report(chosen: dict[str, Theorem], options: argparse.Namespace) -> int:
    reports = []
    for name, theorem in chosen.items():
        reports.append(run(name, theorem))
        if not options.json:
            print(as_text(reports[-1], verbose=not options.brief), flush=True)
    print(as_json(reports) if options.json else summary(reports))
    if options.latex:
        from lorasolve.symbolic.latex import document

        Path(options.latex).write_text(document(chosen), encoding="utf-8")
    if options.readme:
        from lorasolve.symbolic.page import page

        Path(options.readme).write_text(page(reports), encoding="utf-8")
    return 0 if all(report.ok for report in reports) else 1


def _failed(reports: Sequence[TheoremReport]) -> str:
    return ", ".join(report.name for report in reports if not report.ok)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."
