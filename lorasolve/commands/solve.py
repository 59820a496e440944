"""``lorasolve solve``: one solver on one problem, with its certificate."""

from __future__ import annotations

import argparse
import uuid
from typing import TYPE_CHECKING, Any

from .._support.hints import on_the_command_line
from .._support.text import counted, number
from ..adapters import LoRA
from ..adapters import registry as adapter_registry
from ..io import envelope, json_writer, result_writer
from ..method import GRAMMAR, Method
from ..problem import Problem
from ..status import Status
from ._arguments import (
    add_output_arguments,
    add_problem_arguments,
    add_run_arguments,
    as_options,
    methods_from,
    problem_from,
    stopping_from,
    task_from,
)
from ._output import certificate_text, certified, metrics_line, outputs, problem_line, quality_of, write_and_emit
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..certificates import Certificate
    from ..result import Result


class SolveCommand(Command):
    """Minimise the factored objective by one method and certify the end point."""

    name = "solve"
    summary = "one solver on one problem, with the certificate of what it reached"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_problem_arguments(parser)
        add_run_arguments(parser)
        parser.add_argument(
            "--method",
            default="gd",
            metavar="SPEC",
            help=f"{GRAMMAR} (default gd; 'lorasolve list' shows all names), or FILE.py:NAME, a method of your own",
        )
        add_output_arguments(parser, "save the result: NAME.npz (read by 'lorasolve verdict') and NAME.json")

    def run(self, args: argparse.Namespace) -> int:
        """Solve, save, print."""
        from ..certificates import certify
        from ..engine import solve

        (method,) = methods_from(args, [args.method])
        _refuse_twice(args, method)
        stop = stopping_from(args, method.optimizer)
        saved, report = outputs(args, ".npz", ".json") if args.out is not None else (None, None)
        run = uuid.uuid4().hex
        task = task_from(args)
        problem = problem_from(args, task)
        with as_options(seed="--seed"):
            result = solve(problem, method, seed=args.seed, stop=stop, progress=not args.quiet)
        problem = method.problem(problem)
        usable = result.status is not Status.DIVERGED
        certificate = certify(problem, result) if usable and problem.adapter.low_rank else None
        document = envelope(
            "solve",
            {
                "run": run,
                "task": task.title,
                "problem": problem_line(problem),
                "result": result.to_dict(),
                "certificate": None if certificate is None else certificate.to_dict(),
                "metrics": quality_of(task, result) if usable else None,
            },
        )
        writes = {}
        if saved is not None and report is not None:
            writes = {saved: result_writer(problem, result, task.arguments, run), report: json_writer(document)}
        write_and_emit(args, document, _text(task.title, problem, result, certificate, document["metrics"]), writes)
        return _exit_code(result, certificate, args.require_certificate)


def _refuse_twice(args: argparse.Namespace, method: Method) -> None:
    """Refuse what the method says otherwise, so that it would count for nothing."""
    if args.lam is not None and method.lam is not None:
        raise ValueError(f"--lam: the method {args.method!r} sets its own; give one of them")
    adapter = adapter_registry.make(args.adapter, "--adapter")
    if method.adapter is not None and adapter not in (method.adapter, LoRA()):
        raise ValueError(f"--adapter: the method {args.method!r} sets its own; give one of them")


def _text(
    title: str, problem: Problem, result: Result, certificate: Certificate | None, metrics: dict[str, Any] | None
) -> str:
    lines = [
        title,
        problem_line(problem),
        "",
        on_the_command_line(result.message),
        f"  L = {number(result.fun, '.12g')}, ||grad L|| = {result.grad_norm:.3g}, {counted(result.nit, 'iteration')}, "
        f"{result.nfev} oracle calls, {result.seconds:.2f} s + {result.compile_seconds:.2f} s compilation",
    ]
    if certificate is not None:
        lines.append(certificate_text(certificate))
    if metrics is not None and metrics["after"]:
        lines.append(metrics_line(metrics))
    return "\n".join(lines)


def _exit_code(result: Result, certificate: Certificate | None, require_certificate: bool) -> int:
    if result.status is Status.DIVERGED:
        return ExitCode.FALSE
    if result.status is Status.INTERRUPTED:
        return ExitCode.INCONCLUSIVE
    is_global, gap = (None, None) if certificate is None else (certificate.is_global, certificate.gap)
    return certified(is_global, gap, require_certificate)
