"""``lorasolve prove``: check the theorems."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._registry import suggest
from ..io import envelope
from .base import Command, ExitCode, emit


class ProveCommand(Command):
    """Check theorems and print what became of them."""

    name = "prove"
    summary = "check the theorems symbolically, and that their false twins are refuted"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="theorems to check (default: all)")
        parser.add_argument("--list", action="store_true", help="list the theorems and stop")
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        parser.add_argument("--brief", action="store_true", help="do not print the counterexamples")
        parser.add_argument("--latex", metavar="FILE", help="write the statements and steps as a LaTeX document")
        parser.add_argument("--page", metavar="FILE", help="write the index of statements as Markdown")

    def run(self, args: argparse.Namespace) -> int:
        """Check the theorems; the exit code is 0 if every check holds and every false twin is refuted, 1 if not."""
        import proofs

        from ..symbolic import discover
        from ..symbolic.report import as_text, run, summary

        theorems = discover(proofs)
        for name in args.names:
            if name not in theorems:
                raise ValueError(f"NAME: unknown theorem {name!r}.{suggest(name, list(theorems))}")
        chosen = {name: theorems[name] for name in args.names or theorems}
        if args.list:
            listed = {name: theorem.title for name, theorem in chosen.items()}
            width = max(map(len, listed))
            text = "\n".join(f"{name.ljust(width)}  {title}" for name, title in listed.items())
            emit(args, envelope("list", {"theorems": listed}), text)
            return ExitCode.FINE
        reports = []
        for name, theorem in chosen.items():
            reports.append(run(name, theorem))
            if not args.json:
                print(as_text(reports[-1], verbose=not args.brief), flush=True)
        ok = all(report.ok for report in reports)
        emit(args, envelope("prove", {"ok": ok, "theorems": [r.to_dict() for r in reports]}), summary(reports))
        if args.latex:
            from ..symbolic.latex import document

            Path(args.latex).write_text(document(chosen), encoding="utf-8")
        if args.page:
            from proofs._page import page

            Path(args.page).write_text(page(reports), encoding="utf-8")
        return ExitCode.FINE if ok else ExitCode.FALSE
