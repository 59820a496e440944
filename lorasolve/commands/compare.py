"""``lorasolve compare``: several methods beside the convex optimum; without options, on the embedded digits."""

from __future__ import annotations

import argparse
import textwrap
import uuid
from typing import TYPE_CHECKING, Any

from .._support.files import PathLike, Write
from .._support.validate import as_integer
from ..io import envelope, json_writer
from ..method import GRAMMAR
from ..plotting import comparison_figure, figure_writer
from ..tasks import Task
from ._arguments import (
    add_output_arguments,
    add_problem_arguments,
    add_run_arguments,
    add_worker_arguments,
    as_options,
    methods_from,
    problem_from,
    stopping_from,
    task_from,
)
from ._output import (
    certified,
    emphasis,
    metrics_line,
    outputs,
    picture_suffix,
    problem_line,
    terminal_width,
    write_and_emit,
)
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..comparison import Comparison

DEFAULT_METHODS = ("gd", "nesterov", "lbfgs", "lora_pro", "adam", "adamw")

# With --methods all.
ALL_BUDGET, ALL_SEEDS = 1000, 3


class CompareCommand(Command):
    """Run several methods from the same starts, compute the convex optimum, and say which of them reached it."""

    name = "compare"
    summary = "several methods beside the convex optimum: table, conclusion, report.json, report.png"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_problem_arguments(parser)
        add_run_arguments(parser, max_iter=20_000, tol=1e-9)
        parser.add_argument(
            "--methods",
            nargs="+",
            default=list(DEFAULT_METHODS),
            metavar="SPEC",
            help=f"each {GRAMMAR}, or FILE.py:NAME, a method of your own (default: {' '.join(DEFAULT_METHODS)}); or "
            "'all': every optimizer, adapter and schedule as each wants to be shown, with --tune, "
            f"--budget {ALL_BUDGET} and --seeds {ALL_SEEDS} unless given",
        )
        parser.add_argument("--budget", type=int, metavar="N", help="most oracle calls of a run (default: no limit)")
        parser.add_argument("--seeds", type=int, metavar="N", help="number of starts, from --seed on (default 1)")
        parser.add_argument("--tune", action="store_true", help="choose step sizes by one rule, on the first start")
        group = parser.add_argument_group("workers")
        group.add_argument(
            "--store", metavar="DIR", help="keep finished runs and chosen steps there; the same command goes on"
        )
        add_worker_arguments(group, "serial")
        add_output_arguments(parser, "names the report: NAME.json and NAME.png (default: report)", out="report")

    def run(self, args: argparse.Namespace) -> int:
        """Run the comparison and write the report."""
        from ..comparison import compare
        from ..comparison.runs import MOST_STARTS

        everything = args.methods == ["all"]
        if "all" in args.methods and not everything:
            raise ValueError(f"--methods: 'all' is every method, and is given alone, got {' '.join(args.methods)}")
        if everything and args.init is not None:
            raise ValueError("--init: '--methods all' shows each method from the start that it wants; name the methods")
        methods: Any = "all" if everything else methods_from(args, args.methods)
        seeds = args.seeds if args.seeds is not None else (ALL_SEEDS if everything else 1)
        as_integer(seeds, "--seeds", 1, MOST_STARTS)
        stop = stopping_from(args)
        report, figure = outputs(args, ".json", picture_suffix(args.out))
        task = task_from(args)
        problem = problem_from(args, task)
        options = {"methods": "--methods", "budget": "--budget", "backend": "--backend", "n_jobs": "--jobs"}
        with as_options(store="--store", seeds="--seed", **options):
            comparison = compare(
                problem,
                methods,
                range(args.seed, args.seed + seeds),
                args.budget if args.budget is not None or not everything else ALL_BUDGET,
                args.tune or everything,
                stop=stop,
                held_out=task.test,
                store=args.store,
                backend=args.backend,
                n_jobs=args.jobs,
                progress=not args.quiet,
            )
        if not comparison.rows:
            raise KeyboardInterrupt  # there is nothing to keep, and what an earlier run has left stays as it is
        run = uuid.uuid4().hex
        document = _document(comparison, task, run)
        picture = figure_writer(comparison_figure(comparison, task.title), figure.suffix, run)
        writes: dict[PathLike, Write] = {report: json_writer(document), figure: picture}
        write_and_emit(args, document, _text(comparison, document), writes)
        return _exit_code(comparison, args.require_certificate)


def _document(comparison: Comparison, task: Task, run: str) -> dict[str, Any]:
    """Return the comparison as a document, with the quality before and after the best run; the figure has its run."""
    best = comparison.best()
    metrics = {
        "data": "test" if task.test is not None else "training",
        "before": task.metrics(),
        "after": {} if best is None else comparison.rows[best].quality,
    }
    return envelope("compare", {"run": run, "task": task.title} | comparison.to_dict() | {"metrics": metrics})


def _text(comparison: Comparison, document: dict[str, Any]) -> str:
    conclusion = emphasis(comparison.conclusion(), _answer(comparison))
    metrics = metrics_line(document["metrics"])
    lines = [document["task"], problem_line(comparison.problem), "", *_table(comparison), "", conclusion]
    return "\n".join([*lines, metrics] if metrics else lines)


def _table(comparison: Comparison) -> list[str]:
    """Return the table, on a terminal in lines that fit there, and what was left out for that."""
    from ..comparison.table import narrow_table

    width = terminal_width()
    if width is None:
        return [comparison.table()]
    text, left_out = narrow_table(
        comparison.rows, comparison.minimises, comparison.reference, comparison.problem.rank, width
    )
    note = textwrap.wrap(f"(no room for {', '.join(left_out)}: see --json)", width) if left_out else []
    return [text, *note]


def _answer(comparison: Comparison) -> bool | None:
    """Return whether some row is certified; None if that is not known."""
    answers = [row.is_global for row in comparison.rows]
    return True if True in answers else (False if False in answers else None)


def _exit_code(comparison: Comparison, require_certificate: bool) -> int:
    if comparison.interrupted:
        return ExitCode.INCONCLUSIVE
    own = [row for row in comparison.rows if row.minimises == comparison.minimises] or comparison.rows
    if all(row.diverged for row in own):
        return ExitCode.FALSE
    gap = min((row.gap for row in comparison.rows if row.gap is not None), default=None)
    return certified(_answer(comparison), gap, require_certificate)
