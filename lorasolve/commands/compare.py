"""``lorasolve compare``: several solvers beside the convex optimum; without options, on the embedded digits."""

from __future__ import annotations

import argparse
from typing import Any

from ..comparison import Comparison, compare
from ..io import envelope, write_json
from ..method import GRAMMAR
from ..plotting import comparison_figure, save_figure, side_by_side_figure
from ..status import Status
from ..tasks import Task
from .base import (
    Command,
    ExitCode,
    add_output_arguments,
    add_problem_arguments,
    add_run_arguments,
    certified,
    emit,
    emphasis,
    method_from,
    metrics_line,
    outputs,
    problem_from,
    problem_line,
    remark,
    stopping_from,
    task_from,
)

DEFAULT_METHODS = ("gd", "nesterov", "lbfgs", "lora_pro", "adam", "adamw")


class CompareCommand(Command):
    """Run several solvers from one start, compute the convex optimum, and say which of them reached it."""

    name = "compare"
    summary = "several solvers beside the convex optimum: table, verdict, report.json, report.png"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_problem_arguments(parser)
        add_run_arguments(parser, max_iter=20_000, tol=1e-9)
        parser.add_argument(
            "--methods",
            nargs="+",
            default=list(DEFAULT_METHODS),
            metavar="SPEC",
            help=f"each {GRAMMAR} (default: {' '.join(DEFAULT_METHODS)}); or 'all': every optimizer, adapter and "
            "schedule with the same budget of oracle calls, step sizes chosen by one rule, several seeds, each against "
            "the optimum of its own penalty",
        )
        group = parser.add_argument_group("with --methods all")
        group.add_argument("--budget", type=int, default=1000, metavar="N", help="oracle calls of a run (default 1000)")
        group.add_argument("--seeds", type=int, default=3, metavar="N", help="number of starts (default 3)")
        add_output_arguments(parser, "names the report: NAME.json and NAME.png (default: report)", out="report")

    def run(self, args: argparse.Namespace) -> int:
        """Run the comparison and write the report."""
        if args.methods == ["all"]:
            return _all_methods(args)
        methods, stop = [method_from(args, text) for text in args.methods], stopping_from(args)
        task = task_from(args)
        problem = problem_from(args, task)
        comparison = compare(problem, methods, seed=args.seed, stop=stop, progress=not args.quiet)
        document = _document(comparison, task)
        report, figure = outputs(args.out, ".json", ".png")
        write_json(report, document)
        emit(args, document, _text(comparison, document))
        if comparison.rows:
            save_figure(figure, comparison_figure(comparison, task.title))
        remark(args, f"written: {report}" + (f", {figure}" if comparison.rows else ""))
        return _exit_code(comparison, args.require_certificate)


def _all_methods(args: argparse.Namespace) -> int:
    """Run every method on the problem and write the report."""
    from ..papers._side_by_side import side_by_side

    task = task_from(args)
    problem = problem_from(args, task)
    outcome = side_by_side(problem, args.budget, range(args.seed, args.seed + args.seeds), task.metrics)
    document = envelope("compare", {"task": task.title} | outcome.to_dict())
    report, figure = outputs(args.out, ".json", ".png")
    write_json(report, document)
    emit(args, document, "\n".join([task.title, problem_line(problem), "", outcome.table()]))
    save_figure(figure, side_by_side_figure(outcome, task.title))
    remark(args, f"written: {report}, {figure}")
    return ExitCode.FINE


def _document(comparison: Comparison, task: Task) -> dict[str, Any]:
    """Return the comparison as a document, with the quality on held-out data of every run that did not diverge."""
    body = comparison.to_dict()
    for entry, result in zip(body["rows"], comparison.results):
        entry["metrics"] = {} if result.status is Status.DIVERGED else task.metrics(result.X)
    best = comparison.best()
    metrics = {
        "data": "test" if task.test is not None else "training",
        "before": task.metrics(),
        "after": {} if best is None else body["rows"][best]["metrics"],
    }
    return envelope("compare", {"task": task.title} | body | {"metrics": metrics})


def _text(comparison: Comparison, document: dict[str, Any]) -> str:
    verdict = emphasis(comparison.verdict(), _answer(comparison))
    metrics = metrics_line(document["metrics"])
    lines = [document["task"], problem_line(comparison.problem), "", comparison.table(), "", verdict]
    return "\n".join([*lines, metrics] if metrics else lines)


def _answer(comparison: Comparison) -> bool | None:
    """Return whether some row is certified; None if that is not known."""
    if any(row.is_global for row in comparison.rows):
        return True
    return False if any(row.is_global is False for row in comparison.rows) else None


def _exit_code(comparison: Comparison, require_certificate: bool) -> int:
    if comparison.interrupted:
        return ExitCode.INCONCLUSIVE
    if comparison.best() is None:
        return ExitCode.FALSE
    return certified(_answer(comparison), require_certificate)
