"""``lorasolve prove``: check the theorems."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._support.files import require_writable, text_writer, write_atomically
from .._support.keywords import did_you_mean
from .._support.progress import Progress, complain
from .._support.text import counted
from .._support.threads import available_threads
from .._support.validate import as_path
from ..executors.base import Pool, outcomes
from ..executors.loky import Loky
from ..io import envelope
from ._arguments import add_json_argument
from ._output import emit, keep_inputs, show
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..symbolic import Theorem
    from ..symbolic.export import Exported
    from ..symbolic.report import TheoremReport

MANY = 8  # theorems for which worker processes, which import the package and all proofs, are worth their start
# What --list does not do.
_WRITE_OR_CHECK = ("brief", "latex", "page", "coq", "coq_check", "export")


class ProveCommand(Command):
    """Check theorems and print what became of them."""

    name = "prove"
    summary = "check the theorems symbolically, and that their false twins are refuted"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="theorems to check, or files with a THEOREM (default: all)"
        )
        parser.add_argument("--list", action="store_true", help="list the theorems and stop")
        add_json_argument(parser)
        parser.add_argument("--brief", action="store_true", help="do not print the counterexamples")
        parser.add_argument("--latex", metavar="FILE", help="write the statements and steps as a LaTeX document")
        parser.add_argument("--page", metavar="FILE", help="write the index of statements as Markdown")
        parser.add_argument("--coq", metavar="DIR", help="write the checks as lemmas of Coq with MathComp")
        parser.add_argument("--coq-check", action="store_true", help="have the kernel of Coq judge these lemmas")
        parser.add_argument("--export", metavar="FILE", help="write the statements and proofs as data, which pins them")

    def run(self, args: argparse.Namespace) -> int:
        """Check the theorems; the exit code is 0 if every check holds and every false twin is refuted, 1 if not."""
        import proofs
        from proofs._coq_run import refuse_without_coq

        from ..symbolic import discover
        from ..symbolic.export import as_json, document
        from ..symbolic.report import as_text, summary

        theorems = discover(proofs)
        chosen = {_called(name, args.names, theorems): _theorem(name, theorems) for name in args.names or theorems}
        if args.list:
            return _list(args, chosen)
        if args.brief and args.json:
            raise ValueError("--brief: expected without --json, whose document has the counterexamples")
        _refuse_unwritable(args, chosen)
        if args.coq_check:  # which begins when all is checked
            refuse_without_coq()
        pinned = [name for name in chosen if chosen[name] is theorems.get(name)]
        reports = []
        with _Runs(chosen, pinned) as runs:
            content = document(_with_those_used(chosen, theorems), runs.exported())
            if args.export:
                write_atomically(args.export, text_writer(as_json(content)))
            judge = _second_opinion(content, pinned, args.export)
            for name in chosen:
                reports.append(judge(runs.report(name)))
                if not args.json:
                    show(as_text(reports[-1], verbose=not args.brief), flush=True)
        ok = all(report.ok for report in reports)
        found: dict[str, Any] = {"ok": ok, "theorems": [report.to_dict() for report in reports]}
        third = args.coq or args.coq_check
        if third and args.json:  # before there is a document, which has what both say
            found["coq"] = _third_judge(content, list(chosen), args, complain)
            found["ok"] = ok = found["coq"]["ok"] and ok
        emit(args, envelope("prove", found), summary(reports))
        if args.latex:
            from ..symbolic.latex import document as latex_document

            verdicts = {report.name: [check.verdict for check in report.checks] for report in reports}
            write_atomically(args.latex, text_writer(latex_document(chosen, verdicts)))
        if args.page:
            from proofs._page import page

            write_atomically(args.page, text_writer(page(reports)))
        if third and not args.json:
            ok = _third_judge(content, list(chosen), args, partial(print, flush=True))["ok"] and ok
        return ExitCode.FINE if ok else ExitCode.FALSE


def _list(args: argparse.Namespace, chosen: Mapping[str, Theorem]) -> ExitCode:
    """Print the theorems, without options that ask for more than that."""
    asked = ["--" + name.replace("_", "-") for name in vars(args) if name in _WRITE_OR_CHECK and getattr(args, name)]
    if asked:
        raise ValueError(f"--list: expected without {', '.join(asked)}: it checks and writes nothing")
    listed = {name: theorem.title for name, theorem in chosen.items()}
    width = max(map(len, listed))
    text = "\n".join(f"{name.ljust(width)}  {title}" for name, title in listed.items())
    emit(args, envelope("list", {"theorems": listed}), text)
    return ExitCode.FINE


def _refuse_unwritable(args: argparse.Namespace, chosen: Mapping[str, Theorem]) -> None:
    """Refuse what could not be written once all is checked."""
    silent = [name for name in chosen if chosen[name].prose is None]
    if args.page and silent:
        raise ValueError(
            f"--page: {silent[0]}: Theorem(..., prose=...) has to say what no check shows, {{}} if there is nothing"
        )
    for name, theorem in chosen.items() if args.latex else ():
        try:
            _ = theorem.sections
        except ValueError as error:
            raise ValueError(f"--latex: {name}: {error}") from error
        _refuse_alike(name, theorem)
    written = {"--latex": args.latex, "--page": args.page, "--export": args.export}
    keep_inputs([name for name in args.names if name.endswith(".py")], written)
    if args.coq:
        require_writable(Path(as_path(args.coq, "--coq")) / "NAME.v", "--coq")


def _refuse_alike(name: str, theorem: Theorem) -> None:
    from ..symbolic.latex import printed_alike

    for check in theorem.checks:
        alike = printed_alike(check)
        if alike is not None:
            raise ValueError(f"--latex: {name}, check {check.name}: {' and '.join(alike)} would be printed alike")


class _Runs:
    """Theorems that are being checked: many of the package in worker processes, one a core, others when asked for.

    Parameters
    ----------
    chosen
        The theorems by name.
    pinned
        The names of those of the package, which a worker finds by them.
    """

    def __init__(self, chosen: Mapping[str, Theorem], pinned: Sequence[str]) -> None:
        from ..symbolic.report import Shown

        self.chosen, self.shown = chosen, Shown()
        self.elsewhere = pinned if len(pinned) >= MANY and available_threads() > 1 else []
        self.found: dict[str, tuple[TheoremReport, Exported]] = {}

    def __enter__(self) -> _Runs:
        self.pool = Loky().open(_run_by_name, available_threads(), 1) if self.elsewhere else Pool()
        self.outcomes = outcomes(self.pool, self.elsewhere, 2 * available_threads())
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.close()

    def exported(self) -> dict[str, Exported]:
        """Wait for the theorems that workers check, and return their checks as data."""
        line = Progress("prove", bool(self.elsewhere))
        for outcome in self.outcomes:
            if not outcome.lost:
                self.found[self.elsewhere[outcome.task]] = outcome.report
            line.show(len(self.found) / len(self.elsewhere), f"{len(self.found)} of {len(self.elsewhere)} theorems")
        line.close()
        return {name: checks for name, (_, checks) in self.found.items()}

    def report(self, name: str) -> TheoremReport:
        """Return what became of a theorem; one that no worker has answered for is checked here."""
        from ..symbolic.report import run

        return self.found[name][0] if name in self.found else run(name, self.chosen[name], self.shown)


def _run_by_name() -> Callable[[str], tuple[TheoremReport, Exported]]:
    """Return, in a worker, what checks a theorem of the package by its name, and makes data of its checks."""
    import proofs

    from ..symbolic import discover
    from ..symbolic.export import exported, names_of
    from ..symbolic.report import Shown, run

    theorems, shown = discover(proofs), Shown()
    names = names_of(theorems)
    return lambda name: (run(name, theorems[name], shown), exported(name, theorems[name], names))


def _third_judge(
    content: Mapping[str, Any], names: list[str], args: argparse.Namespace, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Write the lemmas, have them judged if asked, tell of it line by line, and return what became of them.

    It is ``ok`` where the kernel refuses none.
    """
    from proofs._coq_run import judged, lemmas, total, write

    found, left_out = lemmas(content, names)
    if args.coq:
        write(found, Path(as_path(args.coq, "--coq")))
    tell(f"lemmas of Coq: {counted(len(found), 'check')}; not exported: {len(left_out)}{':' if left_out else ''}")
    for name, reason in left_out.items():
        tell(f"  {name}: {reason}")
    document = {"ok": True, "lemmas": list(found), "not_exported": left_out, "judged": None}
    if not args.coq_check:
        return document
    verdicts, before = {}, os.times()
    with tempfile.TemporaryDirectory() as folder:
        for name, verdict in judged(found, Path(folder)):
            tell(f"  {name}: {verdict}")
            verdicts[name] = verdict
    after = os.times()
    tell(total(verdicts, left_out))
    used = after.children_user + after.children_system - before.children_user - before.children_system
    tell(f"CPU time of Coq: {used:.0f} s, by the clock {after.elapsed - before.elapsed:.0f} s")
    ok = all(verdict.accepted for verdict in verdicts.values() if verdict.judged)
    return document | {"ok": ok, "judged": {name: asdict(verdict) for name, verdict in verdicts.items()}}


def _called(name: str, names: Sequence[str], theorems: Collection[str]) -> str:
    """Return what a theorem is called: a file by its stem, or by its path if another theorem has that name."""
    stem = Path(name).stem
    others = {*theorems, *(Path(other).stem for other in names if other != name)}
    return stem if name.endswith(".py") and stem not in others else name.removesuffix(".py")


def _theorem(name: str, theorems: Mapping[str, Theorem]) -> Theorem:
    """Return the theorem of a name, or of a file anywhere."""
    if name.endswith(".py"):
        from ..symbolic.theorem import load

        return load(Path(name))
    if name not in theorems:
        near, accepted = did_you_mean(name, theorems), ", ".join([*theorems, "FILE.py"])
        raise ValueError(f"NAME: unknown theorem {name!r}.{near} Accepted: {accepted}.")
    return theorems[name]


def _with_those_used(chosen: Mapping[str, Theorem], theorems: Mapping[str, Theorem]) -> dict[str, Theorem]:
    """Return the chosen theorems and all whose checks they may rest on, proofs of classical facts included, by name."""
    names = {id(theorem): name for name, theorem in theorems.items()}
    found = dict(chosen)

    def add(theorem: Theorem) -> None:
        proved_by = {fact.proved_by for check in theorem.checks for fact in check.facts}
        for used in [*theorem.uses, *(theorems[name] for name in sorted(proved_by) if name in theorems)]:
            if not any(used is known for known in found.values()):
                found[names.get(id(used), f"{used.title} ({len(found)})")] = used
                add(used)

    for theorem in chosen.values():
        add(theorem)
    return found


def _second_opinion(
    content: Mapping[str, Any], pinned: Collection[str], writes: str | None
) -> Callable[[TheoremReport], TheoremReport]:
    """Return what adds to a report what the second checker says, and how pinned theorems differ from the document."""
    from proofs.verify import verdicts

    from ..symbolic.export import differences
    from ..symbolic.report import judged

    changes: dict[str, list[str]] = {}
    if not writes:
        path = files("proofs") / "proofs.json"
        changes = differences(json.loads(path.read_text(encoding="utf-8")), content)
    said = verdicts(content)

    def judge(report: TheoremReport) -> TheoremReport:
        return judged(report, said, content, changes if report.name in pinned else {})

    return judge
