"""``lorasolve certify``: how far a point from anywhere is from the optimum of the convex counterpart."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from ..io import envelope, is_result, load_result, read_arrays
from ..problem import Problem
from ._arguments import (
    FORMAT,
    add_answer_arguments,
    add_data_arguments,
    add_write_argument,
    as_file,
    as_options,
    problem_from,
    task_from,
)
from ._output import certificate_text, certified, emit, keep_inputs, problem_line, write_certificate
from .base import Command


class CertifyCommand(Command):
    """Certify a point that any program may have found."""

    name = "certify"
    summary = "how far a point from anywhere (an .npz with X, or A and B) is from the optimum, as a proof if wanted"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "file",
            type=as_file,
            help="an .npz archive with the update X (m, n), or with factors A (m, k), B (n, k) of X = A B^T, or a "
            "result saved by 'lorasolve solve --out', which holds its problem",
        )
        add_data_arguments(parser).add_argument(
            "--lam", type=float, help="weight decay of the problem that the point is meant to solve"
        )
        parser.add_argument("--tol", type=float, default=1e-6, help="relative accuracy of 'global' (default 1e-6)")
        group = parser.add_argument_group("output")
        add_write_argument(group)
        add_answer_arguments(group)

    def run(self, args: argparse.Namespace) -> int:
        """Read, certify, write, print."""
        from ..certificates import certify

        keep_inputs([args.file, *([] if args.objective is None else args.objective[1:])], {"--write": args.write})
        title, problem, point = _problem_and_point(args)
        factors = {f"point.{name}": f"{args.file}: {name}" for name in "AB"}
        with as_options(tol="--tol", point=args.file, **factors):
            certificate = certify(problem, point, tol=args.tol)
        document: dict[str, Any] = {
            "task": title,
            "problem": problem_line(problem),
            "certificate": certificate.to_dict(),
        }
        if args.write is not None:
            document["written"] = write_certificate(args, certificate)
        text = f"{title}\n{problem_line(problem)}\n\n{certificate_text(certificate)}"
        emit(args, envelope("certify", document), text)
        return certified(certificate.is_global, certificate.gap, args.require_certificate)


def _problem_and_point(args: argparse.Namespace) -> tuple[str, Problem, Any]:
    """Return what the file and the arguments name."""
    from ..certificates.evidence import Product

    if is_result(args.file):
        given = [name for name in ("rank", "lam", "split_seed") if getattr(args, name) is not None]
        given += [name for name in ("objective", "center", "test_fraction", *FORMAT) if getattr(args, name)]
        given += ["adapter"] if args.adapter != "lora" else []
        if given:
            options = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ValueError(
                f"{args.file}: is a saved result and holds its problem; give no options for another one, as {options}"
            )
        problem, result = load_result(args.file)
        return f"result in {pathlib.Path(args.file).name}", problem, result
    arrays = read_arrays(args.file)
    if "row_effects" in arrays:
        raise ValueError(
            f"{args.file}: is a model of 'lorasolve complete', with means beside its factors and without the ratings; "
            "'lorasolve complete RATINGS --write FILE' writes its certificate"
        )
    task = task_from(args)
    if task.lam is None and args.lam is None:
        # Whether a point is the optimum is another question for every lam, and none of them is the point's own.
        raise ValueError("--lam: expected the weight decay of the problem that the point is meant to solve")
    if set(arrays) == {"X"}:
        point: Any = arrays["X"]
        shape = point.shape
    elif set(arrays) == {"A", "B"}:
        point = Product(arrays["A"], arrays["B"])
        shape = point.A.shape[:1] + point.B.shape[:1]
    else:
        raise ValueError(
            f"{args.file}: expected the array X, or A and B, and no others; keys: {', '.join(arrays) or 'none'}"
        )
    problem = problem_from(args, task)
    if args.objective is None and shape != problem.shape:
        raise ValueError(
            f"{args.file}: expected a point of shape {problem.shape}, that of the embedded digits job, got {shape}; "
            "--objective NAME FILE is the problem of another one"
        )
    return f"{task.title}, point in {pathlib.Path(args.file).name}", problem, point
