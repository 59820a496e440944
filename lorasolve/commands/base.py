"""What a command is, and what several of them share: arguments that name a problem, component specs, output.

Text goes to stdout, progress and remarks to stderr. With ``--json`` stdout carries one document with a versioned
schema instead. Whatever is written to a file is written whole or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import enum
import math
import os
import pathlib
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NoReturn

from .._support.files import require_writable
from .._support.progress import complain, is_obeying_terminal
from .._support.text import component_text
from .._support.validate import as_integer, as_path
from ..adapters import registry as adapter_registry
from ..executors import registry as executor_registry
from ..inits import registry as init_registry
from ..io import TextFormat, read_task, to_json
from ..method import Method
from ..monitor import StoppingRule, rule_of
from ..optimizers import Optimizer
from ..problem import Problem
from ..result import metrics_of
from ..tasks import Task, digits_task

# Kinds of pictures that an output name may ask for; plotting, which writes them, is imported only when there is one.
_PICTURES = (".png", ".pdf", ".svg")


class ExitCode(enum.IntEnum):
    """What the process returns."""

    FINE = 0
    FALSE = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INTERNAL = 4


EXIT_CODES = """\
exit codes:
  0  fine
  1  what was asked for is false: diverged, refuted, not certified to the tolerance with --require-certificate; \
or all runs of a study failed
  2  usage error, unreadable input, output that cannot be written, or not enough memory
  3  inconclusive: interrupted, or no gap is certified at all where a certificate was required
  4  internal error, a defect of lorasolve; LORASOLVE_TRACEBACK=1 shows where
  130, 143  ended by Ctrl-C or SIGTERM before there was anything to keep"""


def wrapped(text: str) -> str:
    """Return a list of ``  WORD  what it is`` with lines as wide as the terminal, as argparse has them."""
    width = max(shutil.get_terminal_size().columns - 2, 40)
    lines = []
    for line in text.splitlines():
        match = re.match(r" +\S.*?  +", line)
        indent = " " * (match.end() if match else 0)
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the nearest option when one is unknown."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=wrapped(EXIT_CODES),
            **options,
        )
        # Before Python 3.14 argparse takes -1e-3 for an option, and says that the one before it has no value.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse itself would not say that it could not. A reader that has left has its answer."""
        with contextlib.suppress(BrokenPipeError):
            print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Print the message, with a suggestion, and exit with code 2."""
        unknown = re.match(r"unrecognized arguments: (-*)([^\s=]*)", message)
        if unknown:
            known = [text[2:] for action in self._actions for text in action.option_strings if text.startswith("--")]
            # Without the dashes, which would be a likeness of any two.
            near = difflib.get_close_matches(unknown[2], known, n=1, cutoff=0.5) if unknown[1] else []
            message += f" (did you mean --{near[0]}?)" if near else ""
            if not unknown[1] and "objective" in known:
                message += " (data are given as --objective NAME FILE)"
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\nSee '{self.prog} --help'.\n")


class Command:
    """Base class of all commands."""

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    def main(self, argv: Sequence[str]) -> int:
        """Parse the arguments that follow the command's name and run it; return the exit code."""
        return self.run(self.parser().parse_args(argv))

    def parser(self) -> Parser:
        """Return the parser of the command's arguments, whose help documents them."""
        parser = Parser(prog=f"lorasolve {self.name}", description=wrapped(self.summary))
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""
        raise NotImplementedError


# ---------------------------------------------------------------------- arguments
@contextlib.contextmanager
def as_options(**named: str) -> Iterator[None]:
    """Have errors about arguments of what is called name the options that give them."""
    try:
        yield
    except (ValueError, TypeError) as error:
        names, colon, rest = str(error).partition(": ")
        if any(name in named for name in names.split(", ")):
            error.args = (", ".join(named.get(name, name) for name in names.split(", ")) + colon + rest,)
        raise


def add_problem_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what names a problem: the data, the objective, rank, weight decay, adapter."""
    add_data_arguments(parser).add_argument(
        "--lam",
        type=float,
        help="weight decay (default for your own data: a tenth of the least one for which X = 0 is optimal)",
    )


def add_data_arguments(parser: argparse.ArgumentParser) -> Any:
    """Declare all of a problem but the weight decay; return the group."""
    group = parser.add_argument_group("problem (default: the embedded digits job)")
    group.add_argument(
        "--objective",
        nargs=2,
        metavar=("NAME", "FILE"),
        help="an objective and its data: completion with a ratings file (.csv, .tsv, .mtx), or any objective with an "
        ".npz archive whose keys are its arguments ('lorasolve list objectives' shows them)",
    )
    group.add_argument("--rank", type=int, metavar="R", help="columns of both factors (default: at most 8)")
    group.add_argument("--adapter", default="lora", metavar="SPEC", help="for example lora or lora:alpha=16")
    group.add_argument("--center", action="store_true", help="completion: subtract the mean of the training entries")
    group.add_argument(
        "--test-fraction", type=float, default=0.0, metavar="P", help="completion: share of the entries held out"
    )
    group.add_argument("--split-seed", type=int, default=0, metavar="N", help="completion: seed of that choice")
    add_format_arguments(group)
    return group


def add_format_arguments(group: Any, columns: tuple[str, ...] = ("ROW", "COLUMN", "VALUE")) -> None:
    """Declare how a text file of ratings, or of pairs, is written."""
    group.add_argument(
        "--delimiter", metavar="TEXT", help="what separates fields, for example ';', '::' or tab (default: by the file)"
    )
    group.add_argument("--columns", nargs=len(columns), metavar=columns, help="names of these columns in the header")
    if len(columns) == 3:
        group.add_argument(
            "--skip-missing", action="store_true", help="leave out lines whose value is empty, NA, NaN, null or None"
        )


FORMAT = {"delimiter": "--delimiter", "columns": "--columns", "skip_missing": "--skip-missing"}


def format_from(args: argparse.Namespace) -> TextFormat:
    """Return how a text file is written, as far as the arguments say."""
    columns = None if args.columns is None else tuple(args.columns)
    return TextFormat(args.delimiter, columns, getattr(args, "skip_missing", False))


def add_run_arguments(parser: argparse.ArgumentParser, max_iter: int | None = None, tol: float | None = None) -> None:
    """Declare what governs a run: start, seed, stopping; limits that are not given are the method's own."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--init",
        default="lora",
        metavar="SPEC",
        help="start of the methods that do not set their own, for example gaussian:std=0.1",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all randomness (default 0)")
    own = "the method's own, {:g} for most"
    iterations = max_iter or own.format(Optimizer.default_max_iter)
    accuracy = tol or own.format(Optimizer.default_grad_tol)
    group.add_argument("--max-iter", type=int, default=max_iter, metavar="N", help=f"default {iterations}")
    group.add_argument(
        "--tol",
        type=float,
        default=tol,
        help=f"gradient tolerance, as a share of its terms' size (default {accuracy})",
    )
    group.add_argument("--time-limit", type=float, metavar="S", help="seconds per run, compile time included")


def add_output_arguments(parser: argparse.ArgumentParser, out_help: str, out: str | None = None) -> None:
    """Declare what goes where."""
    group = parser.add_argument_group("output")
    group.add_argument("--out", metavar="NAME", default=out, help=out_help)
    add_answer_arguments(group)


def add_answer_arguments(group: Any) -> None:
    """Declare how the answer is given, and whether the exit code is to say that it is certified."""
    add_json_argument(group)
    group.add_argument("--quiet", action="store_true", help="no progress and no remarks on stderr")
    group.add_argument(
        "--require-certificate",
        action="store_true",
        help="exit with 1 if not certified to the tolerance, 3 if no gap is certified at all",
    )


def add_json_argument(group: Any, instead_of: str = "text") -> None:
    """Declare that one document may take the place of what is printed."""
    group.add_argument("--json", action="store_true", help=f"print one JSON document instead of {instead_of}")


def add_worker_arguments(group: Any, backend: str) -> None:
    """Declare who does the runs, by default the executor ``backend``."""
    group.add_argument("--backend", default=backend, metavar="SPEC", help=", ".join(executor_registry.classes()))
    group.add_argument("--jobs", type=int, metavar="N", help="number of workers (default: one a core)")


def add_layers_argument(group: Any, noun: str = "layers") -> None:
    """Declare how many layers are listed; :func:`layers_from` reads it."""
    group.add_argument("--layers", type=int, default=10, metavar="N", help=f"how many {noun} to list (default 10)")


def layers_from(args: argparse.Namespace) -> int:
    """Return how many layers are to be listed."""
    return as_integer(args.layers, "--layers", 0)


def task_from(args: argparse.Namespace) -> Task:
    """Return the task that the arguments name."""
    of_ratings = ("center", "test_fraction", "delimiter", "columns", "skip_missing")
    given = ", ".join("--" + name.replace("_", "-") for name in of_ratings if getattr(args, name))
    if args.objective is None:
        if given:
            raise ValueError(f"{given}: expected with '--objective completion FILE' only")
        return digits_task()
    name, path = args.objective
    if given and pathlib.Path(path).suffix.lower() == ".npz":
        hint = "; its keys ending in '_test' hold data out" if args.test_fraction else ""
        raise ValueError(f"{given}: expected with a ratings file only, which {path} is not{hint}")
    with as_options(name="--objective", test_fraction="--test-fraction", seed="--split-seed", **FORMAT):
        return read_task(
            name,
            path,
            center=args.center,
            test_fraction=args.test_fraction,
            seed=args.split_seed,
            form=format_from(args),
        )


def undecayed_problem(args: argparse.Namespace, task: Task) -> Problem:
    """Return the problem that the arguments name, without weight decay."""
    rank = task.rank if args.rank is None else args.rank
    with as_options(rank="--rank"):
        return Problem(task.objective, rank, adapter=adapter_registry.make(args.adapter, "--adapter"))


def problem_from(args: argparse.Namespace, task: Task) -> Problem:
    """Return the problem that the arguments name; a weight decay that is not given is chosen and announced."""
    problem = undecayed_problem(args, task)
    lam = task.lam if args.lam is None else args.lam
    with as_options(rank="--rank", lam="--lam"):
        if lam is None:
            lam = 0.1 * problem.critical_lam()
            remark(args, f"--lam not given: {lam:.4g}, a tenth of the least one for which X = 0 is optimal")
        return problem.replace(lam=lam)


def stopping_from(args: argparse.Namespace, optimizer: Optimizer | type[Optimizer] = Optimizer) -> StoppingRule:
    """Return the stopping rule that the arguments give; what they leave open is the optimizer's own."""
    given = {"max_iter": args.max_iter, "grad_tol": args.tol, "time_limit": args.time_limit}
    with as_options(max_iter="--max-iter", grad_tol="--tol", time_limit="--time-limit"):
        return replace(rule_of(None, optimizer), **{key: value for key, value in given.items() if value is not None})


def method_from(args: argparse.Namespace, text: str) -> Method:
    """Return the method that a text stands for; ``--init`` is the start of one that does not set its own."""
    method = Method.parse(text)
    init = init_registry.make(args.init, "--init")
    return replace(method, init=init) if method.init == Method().init else method


# ---------------------------------------------------------------------- output
def outputs(args: argparse.Namespace, *suffixes: str) -> list[pathlib.Path]:
    """Return the files that ``--out`` stands for, one per suffix; none of them is the file of the data."""
    name = as_path(args.out, "--out")
    path = pathlib.Path(name)
    if path.name in ("", "..") or args.out.endswith(("/", os.sep)):
        raise ValueError(f"--out: expected the name of a file, got {args.out!r}")
    if path.suffix in (".npz", ".json", *_PICTURES):
        path = path.with_suffix("")
    found = [path.with_name(path.name + suffix) for suffix in suffixes]
    for path in found:
        keep_inputs([] if args.objective is None else [args.objective[1]], {"--out": str(path)})
    return found


def keep_inputs(read: Sequence[str | pathlib.Path], written: Mapping[str, str | None]) -> None:
    """Refuse to write where a file is read, where one is written too, and where none can be, before any work is done.

    The files to write by their options.
    """
    taken = set()
    for option, path in written.items():
        if path is None:
            continue
        path = as_path(path, option)
        for source in read:
            with contextlib.suppress(OSError):  # of a file that is not there
                if os.path.samefile(source, path):
                    raise ValueError(f"{option}: expected another file than {source}, which is read, got {path}")
        place = os.path.realpath(path)
        if place in taken:
            raise ValueError(f"{', '.join(written)}: expected different files, got {path} twice")
        taken.add(place)
        require_writable(path, option)


def picture_suffix(name: str) -> str:
    """Return the kind of picture that an output name asks for, ``.png`` where it asks for none."""
    suffix = pathlib.PurePath(name).suffix
    return suffix if suffix in _PICTURES else ".png"


def remark(args: argparse.Namespace, text: str) -> None:
    """Write a remark to stderr."""
    if not args.quiet:
        complain(text)


def emit(args: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    """Print the document as JSON or the text, as asked; a reader that has left does not change the exit code."""
    with contextlib.suppress(BrokenPipeError):
        show(to_json(document) if args.json else text)


def show(text: str, flush: bool = False) -> None:
    """Print a text that may hold a user's characters, which the encoding of stdout may lack."""
    try:
        print(text, flush=flush)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"stdout: expected an encoding that has the character {error.object[error.start]!a}, as with "
            f"PYTHONIOENCODING=utf-8, got {sys.stdout.encoding}"
        ) from None


def terminal_width() -> int | None:
    """Return how many characters a line of the terminal has; None where stdout is none, and lines may be long."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def emphasis(text: str, good: bool | None) -> str:
    """Return the text in green, red or yellow on a terminal that can; plain elsewhere and with ``NO_COLOR``."""
    if os.environ.get("NO_COLOR") or not is_obeying_terminal(sys.stdout):
        return text
    colour = {True: "32", False: "31", None: "33"}[good]
    return f"\x1b[{colour}m{text}\x1b[0m"


def certified(is_global: bool | None, gap: float | None, required: bool) -> int:
    """Return the exit code for a certificate's answer; a finite gap is a certificate, which misses the tolerance."""
    if not required or is_global:
        return ExitCode.FINE
    exists = is_global is not None or (gap is not None and math.isfinite(gap))
    return ExitCode.FALSE if exists else ExitCode.INCONCLUSIVE


def cache_facts() -> dict[str, Any]:
    """Return the folder of compiled kernels, None where none can be, with its number of files and their size."""
    from ..kernels.cache import cache_directory

    folder = cache_directory()
    sizes = [] if folder is None else [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    name = None if folder is None else str(folder)
    return {"folder": name, "files": len(sizes), "megabytes": round(sum(sizes) / 1e6, 1)}


def problem_line(problem: Problem) -> str:
    """Return shape, rank, weight decay and adapter in one line."""
    m, n = problem.shape
    return f"{m} x {n}, rank {problem.rank}, lam = {problem.lam:g}, adapter {component_text(problem.adapter)}"


def quality_of(task: Task, found: Any) -> dict[str, Any]:
    """Return the quality before and after what a solver or a route has found, on held-out data where there is some."""
    data = "test" if task.test is not None else "training"
    return {"data": data, "before": task.metrics(), "after": metrics_of(task.judge, found)}


def metrics_line(metrics: dict[str, Any]) -> str:
    """Return ``test accuracy: 0.121 before, 0.899 after``; an empty text where there are no metrics."""
    before, data = metrics["before"], metrics["data"]
    return "; ".join(f"{data} {key}: {before[key]:.4g} before, {v:.4g} after" for key, v in metrics["after"].items())
