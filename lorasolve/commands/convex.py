"""``lorasolve convex``: the optimum of the convex counterpart, certified."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .._support.hints import on_the_command_line
from .._support.text import number
from ..io import arrays_writer, envelope, json_writer
from ..problem import Problem
from ._arguments import add_output_arguments, add_problem_arguments, as_options, problem_from, task_from
from ._output import certificate_text, certified, metrics_line, outputs, problem_line, quality_of, write_and_emit
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..convex import ConvexResult


class ConvexCommand(Command):
    """Compute the optimum of ``f(X) + lam ||X||_*``."""

    name = "convex"
    summary = "the optimum of the convex counterpart f(X) + lam ||X||_*, with its certificate"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        from ..convex import registry as route_registry

        add_problem_arguments(parser)
        group = parser.add_argument_group("route")
        names = ", ".join(["auto", *route_registry.classes()])
        group.add_argument("--route", default="auto", metavar="NAME", help=f"one of {names} (default auto)")
        group.add_argument("--tol", type=float, default=1e-9, help="certified relative gap to reach (default 1e-9)")
        group.add_argument(
            "--time-limit", type=float, metavar="SECONDS", help="end with the best point so far after so many seconds"
        )
        group.add_argument("--cross-check", action="store_true", help="solve by a second route too and compare")
        add_output_arguments(parser, "save NAME.npz (A, B with X = A B^T) and NAME.json")

    def run(self, args: argparse.Namespace) -> int:
        """Solve, save, print."""
        from ..convex import solve_convex

        saved, report = outputs(args, ".npz", ".json") if args.out is not None else (None, None)
        task = task_from(args)
        problem = problem_from(args, task)
        with as_options(route="--route", tol="--tol", cross_check="--cross-check", time_limit="--time-limit"):
            result = solve_convex(
                problem,
                args.route,
                args.tol,
                cross_check=args.cross_check,
                time_limit=args.time_limit,
                progress=not args.quiet,
            )
        metrics = quality_of(task, result)
        document = envelope(
            "convex",
            {"task": task.title, "problem": problem_line(problem), "result": result.to_dict(), "metrics": metrics},
        )
        writes = {}
        if saved is not None and report is not None:
            writes = {saved: arrays_writer({"A": result.A, "B": result.B}), report: json_writer(document)}
        lines = [task.title, problem_line(problem), "", _text(problem, result), metrics_line(metrics)]
        write_and_emit(args, document, "\n".join(lines).rstrip(), writes)
        if result.interrupted:
            return ExitCode.INCONCLUSIVE
        return certified(result.success or None, result.gap, args.require_certificate)


def _text(problem: Problem, result: ConvexResult) -> str:
    times = f"{result.seconds:.2f} s + {result.compile_seconds:.2f} s compilation"
    lines = [
        f"{result.status}: {on_the_command_line(result.message)}",
        f"  F* = {number(result.fun, '.12g')}, rank {result.rank}, ||X||_* = {result.nuclear_norm:.6g}, {times}",
        certificate_text(result.certificate),
    ]
    if problem.trainable is not None:
        lines.append("with a factor frozen no L is below it, and it need not be reached at any rank")
    elif problem.rank < (result.certificate.rank_at_least or 0):
        lines.append(f"the factors' rank {problem.rank} is below the optimum's {result.rank}: raise --rank to reach it")
    elif problem.rank < result.rank:
        lines.append(
            f"factors of rank {problem.rank} cannot hold the optimum that was found, of rank {result.rank}; "
            "there may be others of lower rank"
        )
    if result.cross_check is not None:
        check = result.cross_check
        lines.extend(f"cross-check without {failed}" for failed in check["failed"])
        lines.append(
            f"cross-check by {check['route']}: F = {check['fun']:.12g}, relative difference "
            f"{check['relative_difference']:.1e}, ||X - X'||_F = {check['distance']:.1e}"
        )
    return "\n".join(lines)
