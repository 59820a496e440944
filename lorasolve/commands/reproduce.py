"""``lorasolve reproduce``: the experiments of the main paper, and the claims of every other."""

from __future__ import annotations

import argparse
import pathlib

from .._files import write_atomically
from .._progress import complain
from .._registry import suggest
from .._threads import set_threads
from ..papers import PaperClaims, registry
from .base import Command, ExitCode


class ReproduceCommand(Command):
    """Run experiments; without a name, list them."""

    name = "reproduce"
    summary = "run the experiments and hold the papers' claims against them: tables, figures and JSON, resumable"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="experiments to run, or 'all' (none: list them and stop)"
        )
        parser.add_argument(
            "--quick", action="store_true", help="fewer seeds and smaller grids, written as NAME-quick.*"
        )
        parser.add_argument("--out", default="reproduced", metavar="DIR", help="where to write (default: reproduced)")
        parser.add_argument("--fresh", action="store_true", help="ignore what an earlier run has finished")
        parser.add_argument(
            "--page", metavar="FILE", help="write the claims as Markdown; without NAME, of all papers that have some"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Run what is named, print each table; the exit code is 0 if every claim holds, 1 if not."""
        known = registry.classes()
        for name in args.names:
            if name not in known and name != "all":
                raise ValueError(f"NAME: unknown experiment {name!r}.{suggest(name, [*known, 'all'])}")
        names = list(known) if "all" in args.names else args.names
        if not names and args.page:
            names = [name for name, cls in known.items() if issubclass(cls, PaperClaims)]
        if not names:
            print(_listing())
            return ExitCode.FINE
        from ..papers._page import page
        from ..papers._reproduce import Reproduction, reproduce

        # Thousands of small problems: a second thread would mostly wait for the first.
        set_threads(1)
        found: list[Reproduction] = []
        for name in names:
            try:
                found.append(reproduce(known[name](), pathlib.Path(args.out), args.quick, args.fresh))
            except KeyboardInterrupt:
                complain(f"{name}: interrupted; the same command continues from here")
                return ExitCode.INCONCLUSIVE
            print(f"{found[-1]}\n", flush=True)
        if args.page:
            text = page(found).encode()
            write_atomically(args.page, lambda file: file.write(text))
        return ExitCode.FINE if all(each.ok for each in found) else ExitCode.FALSE


def _listing() -> str:
    """Return the experiments by paper."""
    known = registry.classes()
    width = max(map(len, known))
    lines = ["lorasolve reproduce NAME [--quick]"]
    for paper in dict.fromkeys(cls.paper for cls in known.values()):
        lines += ["", paper]
        lines += [f"  {name.ljust(width)}  {cls.summary}" for name, cls in known.items() if cls.paper == paper]
    return "\n".join(lines)
