"""Arguments that several commands declare, and what they stand for: problems, methods, stopping rules, formats."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .._support.validate import as_integer
from ..adapters import registry as adapter_registry
from ..executors import registry as executor_registry
from ..inits import LoRAStart
from ..inits import registry as init_registry
from ..io import DUPLICATES, Ratings, TextFormat, left_aside, read_ratings, read_task
from ..method import Method
from ..monitor import StoppingRule, rule_of
from ..optimizers import Optimizer
from ..problem import Problem
from ..tasks import Task, digits_task
from ._output import remark
from ._own_python import OwnPython, is_name_in_file


@contextlib.contextmanager
def as_options(**named: str) -> Iterator[None]:
    """Have errors about arguments of what is called name the options that give them."""
    try:
        yield
    except (ValueError, TypeError) as error:
        names, colon, rest = str(error).partition(": ")
        if colon and any(name in named for name in names.split(", ")):
            error.args = (", ".join(named.get(name, name) for name in names.split(", ")) + colon + rest,)
        raise


def as_file(text: str) -> str:
    """Return a path from the command line; an empty one, which a variable that is not set leaves, is refused."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return text


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
    group.add_argument(
        "--adapter",
        default="lora",
        metavar="SPEC",
        help="for example lora:alpha=16 (default lora; 'lorasolve list adapters' shows all names)",
    )
    group.add_argument("--center", action="store_true", help="completion: subtract the mean of the training entries")
    group.add_argument(
        "--test-fraction",
        type=float,
        default=0.0,
        metavar="P",
        help="completion: share of the entries held out, from 0 (default) to below 1",
    )
    group.add_argument("--split-seed", type=int, metavar="N", help="completion: seed of that choice (default 0)")
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
        group.add_argument(
            "--duplicates", choices=DUPLICATES, help="of lines of one row and column take the last value, or the mean"
        )


FORMAT = {name: "--" + name.replace("_", "-") for name in ("delimiter", "columns", "skip_missing", "duplicates")}


def format_from(args: argparse.Namespace) -> TextFormat:
    """Return how a text file is written, as far as the arguments say."""
    columns = None if args.columns is None else tuple(args.columns)
    return TextFormat(args.delimiter, columns, getattr(args, "skip_missing", False), getattr(args, "duplicates", None))


def ratings_from(args: argparse.Namespace, path: str, *, entries_alone: bool = False) -> Ratings:
    """Return the ratings of a file that is written as the arguments say; what of it plays no part is announced.

    Where the entries alone are asked for, and not their values, several lines of one entry say the same.
    """
    form = format_from(args)
    if entries_alone:
        form = replace(form, duplicates=form.duplicates or "last")
    ratings = read_ratings(path, form)
    for text in left_aside(path, replace(ratings, repeated=0) if entries_alone else ratings, form):
        remark(args, text)
    return ratings


def add_run_arguments(parser: argparse.ArgumentParser, max_iter: int | None = None, tol: float | None = None) -> None:
    """Declare what governs a run: start, seed, stopping; limits that are not given are the method's own."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--init",
        metavar="SPEC",
        help="start of the methods that do not set their own, for example gaussian:std=0.1 (default lora; "
        "'lorasolve list inits' shows all names)",
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


def add_write_argument(group: Any) -> None:
    """Declare where the certificate that travels is written."""
    group.add_argument("--write", metavar="FILE", help="write the certificate with its data, for check_certificate.py")


def add_json_argument(group: Any, instead_of: str = "text") -> None:
    """Declare that one document may take the place of what is printed."""
    group.add_argument("--json", action="store_true", help=f"print one JSON document instead of {instead_of}")


def add_worker_arguments(group: Any, backend: str) -> None:
    """Declare who does the runs, by default the executor ``backend``."""
    names = ", ".join(executor_registry.classes())
    group.add_argument("--backend", default=backend, metavar="SPEC", help=f"one of {names} (default {backend})")
    group.add_argument("--jobs", type=int, metavar="N", help="number of workers (default: one a core)")


def add_layers_argument(group: Any, noun: str = "layers") -> None:
    """Declare how many layers are listed; :func:`layers_from` reads it."""
    group.add_argument("--layers", type=int, default=10, metavar="N", help=f"how many {noun} to list (default 10)")


def layers_from(args: argparse.Namespace) -> int:
    """Return how many layers are to be listed."""
    return as_integer(args.layers, "--layers", 0)


def task_from(args: argparse.Namespace) -> Task:
    """Return the task that the arguments name; what of its file plays no part is announced."""
    if args.split_seed is not None and not args.test_fraction and getattr(args, "folds", None) is None:
        beside = "--test-fraction or --folds" if hasattr(args, "folds") else "--test-fraction"
        raise ValueError(f"--split-seed: expected beside {beside}, the seed of whose choice it is")
    of_ratings = ("center", "test_fraction", *FORMAT)
    given = ", ".join("--" + name.replace("_", "-") for name in of_ratings if getattr(args, name))
    if args.objective is None:
        if given:
            raise ValueError(f"{given}: expected with '--objective completion FILE' only")
        return digits_task()
    name, path = args.objective
    if given and pathlib.Path(path).suffix.lower() == ".npz":
        hint = "; its keys ending in '_test' hold data out" if args.test_fraction else ""
        raise ValueError(f"{given}: expected with a ratings file only, which {path} is not{hint}")
    with as_options(
        name="--objective", path="--objective", test_fraction="--test-fraction", seed="--split-seed", **FORMAT
    ):
        task = read_task(
            name,
            path,
            center=args.center,
            test_fraction=args.test_fraction,
            seed=split_seed_from(args),
            form=format_from(args),
        )
    for text in task.remarks:
        remark(args, text)
    return task


def split_seed_from(args: argparse.Namespace) -> int:
    """Return the seed by which data are held out, and divided into folds."""
    return 0 if args.split_seed is None else args.split_seed


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


def _method_from(text: str, own: OwnPython) -> Method:
    """Return the method that a text stands for."""
    if is_name_in_file(text):
        return Method.of(own.find(text, "method"), f"method {text!r}")
    if ".py" in text:
        raise ValueError(
            f"method {text!r}: expected FILE.py:NAME and nothing else; with a schedule, an adapter or a start NAME is "
            "a method of that file, such as lorasolve.Method(MyOptimizer(), 'cosine')"
        )
    return Method.parse(text)


def methods_from(args: argparse.Namespace, texts: Sequence[str]) -> list[Method]:
    """Return the methods that texts stand for; ``--init`` is the start of those that do not set their own."""
    own = OwnPython(pathlib.Path())
    methods = [_method_from(text, own) for text in texts]
    if args.init is None:
        return methods
    init = init_registry.make(own.named(args.init, "--init"), "--init")
    open_to_it = ["~" not in text and method.init == LoRAStart() for text, method in zip(texts, methods)]
    if not any(open_to_it):
        raise ValueError(f"--init: expected a method that sets no start of its own, got {' '.join(texts)}")
    return [replace(method, init=init) if takes else method for method, takes in zip(methods, open_to_it)]
