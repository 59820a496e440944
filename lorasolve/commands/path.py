"""``lorasolve path``: the certified optimum over ``lam``, and which ``lam`` and rank to take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .._support.text import component_text
from ..io import envelope, json_writer
from ..plotting import COLOURS, figure_writer
from ._arguments import (
    add_data_arguments,
    add_output_arguments,
    as_options,
    split_seed_from,
    task_from,
    undecayed_problem,
)
from ._output import certified, metrics_line, outputs, picture_suffix, quality_of, write_and_emit
from .base import Command, ExitCode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..problem import Problem
    from ..studies.lam_path import Path
    from ..studies.validation import Validation
    from ..tasks import Task


class PathCommand(Command):
    """Compute the path; with held-out data or folds, choose ``lam``."""

    name = "path"
    summary = "the convex optimum over lam, every point certified; with held-out data or --folds, the best lam"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        group = add_data_arguments(parser)
        group.add_argument(
            "--lam",
            type=float,
            nargs="+",
            metavar="L",
            help="the values (default: --count values down from the least one for which X = 0 is optimal)",
        )
        group.add_argument(
            "--count",
            type=int,
            metavar="N",
            help="how many values (default 20; with held-out data or --folds at most that)",
        )
        parser.add_argument(
            "--tol", type=float, default=1e-6, help="certified relative gap at every lam (default 1e-6)"
        )
        parser.add_argument("--folds", type=int, metavar="K", help="choose lam by cross-validation with K parts")
        add_output_arguments(parser, "write NAME.json and the curve, NAME.png (or .pdf, .svg)")

    def run(self, args: argparse.Namespace) -> int:
        """Compute, print, write."""
        from ..studies.lam_path import Path
        from ..studies.validation import Validation

        if args.lam is not None and args.count is not None:
            raise ValueError("--count: is how many values are taken where --lam gives none")
        report, picture = (None, None) if args.out is None else outputs(args, ".json", picture_suffix(args.out))
        task = task_from(args)
        problem = undecayed_problem(args, task)
        found = _computed(args, task, problem)
        # Folds have chosen lam without the data that are held out for good, which say how good it is.
        metrics = None
        if isinstance(found, Validation) and args.folds is not None and task.test is not None:
            metrics = quality_of(task, found.fit)
        m, n = problem.shape
        line = f"{m} x {n}, rank {problem.rank}, adapter {component_text(problem.adapter)}"
        document = envelope(
            "path",
            {
                "task": task.title,
                "problem": line,
                "path": found.to_dict(),
                "conclusion": found.conclusion if isinstance(found, Validation) else None,
                "metrics": metrics,
            },
        )
        writes = {}
        if report is not None and picture is not None:
            writes = {report: json_writer(document), picture: figure_writer(_drawn(found), picture.suffix)}
        conclusion = f"\n\n{found.conclusion}" if isinstance(found, Validation) else ""
        conclusion += f"\n{metrics_line(metrics)}" if metrics is not None else ""
        paths, fits = ([found], []) if isinstance(found, Path) else (found.paths, [(found.best, found.fit)])
        points = [*fits, *(pair for each in paths for pair in zip(found.lams, each.points))]
        missed = ", ".join(f"{lam:g}" for lam in sorted({lam for lam, point in points if not point.success}))
        if missed:
            conclusion += f"\n\na relative gap of {args.tol:g} is not reached at lam = {missed}"
        write_and_emit(args, document, f"{task.title}\n{line}\n\n{found.table()}{conclusion}", writes)
        if found.interrupted:
            return ExitCode.INCONCLUSIVE
        gap = max(point.gap for _, point in points)
        return certified(found.success or None, gap, args.require_certificate)


def _computed(args: argparse.Namespace, task: Task, problem: Problem) -> Path | Validation:
    """Return the path, and with held-out data or folds the errors along it."""
    from ..studies.lam_path import path
    from ..studies.validation import cross_validate

    lams = args.lam or (20 if args.count is None else args.count)
    options = {"lams": "--lam" if args.count is None else "--count", "folds": "--folds", "tol": "--tol"}
    progress = not args.quiet
    with as_options(**options, seed="--split-seed"):
        if args.folds is not None or task.test is not None:
            # Folds are parts of what is trained on; data that are held out for good come first.
            held_out = task.test if args.folds is None else None
            folds = 2 if args.folds is None else args.folds
            # One mean is off already: as it is a constant, what each fit leaves beyond its own is the same without it.
            means = "global" if args.center else "none"
            seed = split_seed_from(args)
            return cross_validate(
                problem, lams, folds, args.tol, held_out=held_out, means=means, seed=seed, progress=progress
            )
        found = path(problem, lams, args.tol, progress=progress)
    if found.interrupted and not found.points:
        raise KeyboardInterrupt  # there is nothing to keep
    return found


def _drawn(found: Path | Validation) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from ..studies.validation import Validation

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    if isinstance(found, Validation):
        _draw_errors(ax, found)
    else:
        ax.plot(found.lams, [point.rank for point in found.points], "o-", color=COLOURS[0])
        ax.set_ylabel("rank found")
        ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set(xscale="log", xlabel="lam")
    ax.grid(alpha=0.25)
    return figure


def _draw_errors(ax: Axes, found: Validation) -> None:
    for k, column in enumerate(found.errors.T if found.errors.shape[1] > 1 else ()):
        ax.plot(found.lams, column, ".-", color="#999999", lw=0.8, label="one fold" if k == 0 else None)
    ax.plot(found.lams, found.mean, "o-", color=COLOURS[0], label="mean" if len(found.paths) > 1 else None)
    ax.axvline(found.best, color=COLOURS[1], ls="--", label=f"least at lam = {found.best:.4g}")
    ax.set_ylabel(found.error_name)
    ax.legend()
