"""``lorasolve verdict``: global minimum, spurious minimum, saddle, or not converged?"""

from __future__ import annotations

import argparse

from ..io import envelope, load_result
from ..status import Status
from ._arguments import add_json_argument, as_file, as_options
from ._output import emit, emphasis, problem_line
from .base import Command, ExitCode, wrapped

# Whether a kind of verdict is good news; what is not listed is inconclusive.
_GOOD = {"global": True, "spurious": False, "saddle": False}


class VerdictCommand(Command):
    """Say what a saved result is, with the theorem that says so."""

    name = "verdict"
    summary = "what a saved result is: global, spurious, saddle, not converged; and why"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        codes = "The exit code is 0 for global, 1 for spurious, saddle or a run that diverged, 3 otherwise."
        parser.description = f"{parser.description}\n\n{wrapped(codes)}"
        parser.add_argument("file", type=as_file, help="a result saved by 'lorasolve solve --out NAME' (NAME.npz)")
        parser.add_argument("--tol", type=float, default=1e-6, help="relative accuracy (default 1e-6)")
        parser.add_argument(
            "--search",
            nargs="?",
            type=int,
            const=True,
            metavar="STARTS",
            help="where nothing else decides, look for a better point, from STARTS >= 1 random starts and others (10)",
        )
        parser.add_argument(
            "--last-stage",
            action="store_true",
            help="of a run that merged updates into the frozen weight, as PiSSA's start does: judge what its factors "
            "minimised since, the merged weight held",
        )
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Load, judge, print; the exit code is 0 for global, 1 for spurious, saddle or diverged, 3 otherwise."""
        from ..landscape import DivergedError, verdict

        problem, result = load_result(args.file)
        if args.last_stage:
            problem = result.problem
        try:
            with as_options(tol="--tol", search="--search"):
                found = verdict(problem, result, tol=args.tol, search=args.search)
            told, words = found.to_dict(), str(found)
        except DivergedError as error:
            told, words = error.to_dict(), f"verdict: not_converged ({error.reason})"
        diverged = result.status is Status.DIVERGED
        good = _GOOD.get(told["kind"], False if diverged else None)
        part = ", its last stage alone" if args.last_stage else ""
        run_by = f"{result.method or 'a method that is not listed'} from {result.started_from}{part}"
        text = f"{problem_line(problem)}, {run_by}: {result.status.label}\n"
        # Of the result what the text says of it, under the keys that it has in the document of 'solve'.
        run = {key: value for key, value in result.to_dict().items() if key in ("method", "started_from", "status")}
        document = {"problem": problem_line(problem), "last_stage": args.last_stage, "result": run, "verdict": told}
        emit(args, envelope("verdict", document), text + emphasis(words, good))
        return {True: ExitCode.FINE, False: ExitCode.FALSE, None: ExitCode.INCONCLUSIVE}[good]
