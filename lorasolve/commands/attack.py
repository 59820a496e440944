"""``lorasolve attack``: search what refutes a claim of the package, or of a part of one's own."""

from __future__ import annotations

import argparse
import pathlib
import re

from .._support.files import require_writable, text_writer, write_atomically
from .._support.validate import as_path
from ..attacks import AttackReport, attack, registry
from ..io import envelope
from ._arguments import add_json_argument, as_options
from ._output import emit
from .base import Command, ExitCode


class AttackCommand(Command):
    """Attack one target, print what was found and write a reproduction of each."""

    name = "attack"
    summary = "search instances within the stated assumptions on which a certifier, optimizer or objective fails"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        targets = "; ".join(cls.summary for cls in registry.classes().values())
        parser.add_argument("target", metavar="TARGET", help=targets)
        parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="time to search (default 60)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the search (default 0)")
        parser.add_argument("--family", action="append", metavar="NAME", help="only this family of instances")
        parser.add_argument("--out", metavar="DIR", default="findings", help="where scripts go (default: findings)")
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Search, print, write the scripts; the exit code is 1 if something was found, 3 if it is inconclusive."""
        folder = pathlib.Path(as_path(args.out, "--out"))
        # Where the folder is to be: it is made only when there is something to write.
        place = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        require_writable(place / "NAME.py", "--out")
        with as_options(target="TARGET", seconds="--seconds", seed="--seed", families="--family"):
            report = attack(args.target, args.seconds, args.seed, families=args.family)
        if report.interrupted and not any(report.trials.values()):
            raise KeyboardInterrupt  # there is nothing to keep
        paths = _write(report, folder)
        text = "\n".join([str(report), *(f"written: {path}" for path in paths)])
        emit(args, envelope("attack", report.to_dict() | {"files": [str(path) for path in paths]}), text)
        if report.found:
            return ExitCode.FALSE
        return ExitCode.FINE if report.ok and not report.interrupted else ExitCode.INCONCLUSIVE


def _write(report: AttackReport, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write the scripts, one a finding, and return their paths."""
    stem = re.sub(r"\W+", "_", report.target).strip("_")
    paths = []
    for number, finding in enumerate(report.found, 1):
        paths.append(folder / f"{stem}_{finding.family}_{number}.py")
        write_atomically(paths[-1], text_writer(finding.script))
    return paths
