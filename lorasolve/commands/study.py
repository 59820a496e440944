"""``lorasolve study``: a grid of runs from a file, kept in a store, gone on with where it stopped."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import shlex
import sys
import tomllib
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.files import text_writer, write_together
from .._support.progress import complain
from .._support.registry import suggest
from .._support.validate import as_text
from ..adapters import registry as adapter_registry
from ..io import TextFormat, envelope, read_task, readable
from ..monitor import StoppingRule
from ..problem import Problem
from ..tasks import digits_task
from .base import Command, ExitCode, add_json_argument, add_worker_arguments, as_options, emit, keep_inputs, remark

if TYPE_CHECKING:
    from ..studies import Runs, Study

_FILE = """\
the file (TOML):
  [problem]                 # without a table: the embedded digits job
  objective = "completion"
  data = "ratings.csv"      # and center, test_fraction, split_seed, delimiter, columns, skip_missing, as in 'solve'
  rank = 8                  # what is no axis
  lam = 0.1
  adapter = "lora"
  # or instead of all that: python = "mine.py:problem", a function of axes that returns a Problem

  [axes]                    # rank, lam, adapter, method, init, seed, or the arguments of the function
  lam = {geomspace = [0.01, 1.0, 8]}   # also linspace, range; or a list
  rank = [2, 4, 8]
  seed = {range = [20]}

  [run]
  method = "adam+cosine"
  measure = ["certify", "verdict"]
  max_iter = 1000           # and grad_tol, target, time_limit, max_calls; others are the method's own
"""

_SPANS: dict[str, Callable[..., np.ndarray[Any, Any]]] = {
    "geomspace": np.geomspace,
    "linspace": np.linspace,
    "range": np.arange,
}
# Values of one axis.
LARGEST_SPAN = 1_000_000
# What the user's file of Python is called while it is run.
_MODULE = "__study__"
# Different errors that are counted, and those that are shown.
_COUNTED_ERRORS, _SHOWN_ERRORS = 1000, 5
_SHOWN_DAMAGE = 10
_STOPPING = tuple(entry.name for entry in fields(StoppingRule))


class StudyCommand(Command):
    """Run a study, or say what a store holds."""

    name = "study"
    summary = "a grid of runs from a file into a store: resumable, in parallel, with tables and phase diagrams"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.description = f"{parser.description}\n\n{_FILE}"
        parser.add_argument("file", nargs="?", metavar="GRID", help="the study, a .toml file")
        parser.add_argument("--store", metavar="DIR", help="where the runs are kept; the same command goes on")
        parser.add_argument("--status", metavar="DIR", help="say what a store holds, and stop")
        parser.add_argument(
            "--repeat", nargs="+", metavar="AXIS=VALUE", help="do one run again and certify it; nothing is kept"
        )
        group = parser.add_argument_group("workers")
        add_worker_arguments(group, "loky")
        group.add_argument("--address", metavar="URL", help="dask: of the scheduler")
        group.add_argument("--array", type=int, metavar="N", help="slurm: number of jobs")
        group.add_argument("--threads", type=int, metavar="N", help="threads of each worker (default: its share)")
        group.add_argument("--retry-failed", action="store_true", help="do those again that ended with an error")
        group = parser.add_argument_group("output")
        group.add_argument("--by", nargs="+", metavar="AXIS", help="axes that the table keeps apart")
        group.add_argument("--csv", metavar="FILE", help="write every run as a line")
        group.add_argument("--latex", metavar="FILE", help="write the table")
        group.add_argument("--phase", nargs=3, metavar=("X", "Y", "MEASURE"), help="a phase diagram, for --html")
        group.add_argument("--html", metavar="FILE", help="write the phase diagram as a page that opens offline")
        add_json_argument(group)
        group.add_argument("--quiet", action="store_true", help="no progress and no remarks on stderr")

    def run(self, args: argparse.Namespace) -> int:
        """Run what the file says, print the table; the exit code is 3 if it was interrupted."""
        from ..studies import Runs
        from ..studies.records import check_axes, measure_of

        if args.status is not None:
            with as_options(store="--status"):
                document = status(Runs.read(args.status))
            emit(args, envelope("study-status", document), _status_text(document))
            return ExitCode.FINE
        if args.file is None:
            raise ValueError("GRID: expected a .toml file, or --status DIR")
        if (args.html is None) != (args.phase is None):
            raise ValueError("--phase, --html: give both, as in --phase lam rank 'share of spurious ends' --html F")
        written = {"--csv": args.csv, "--latex": args.latex, "--html": args.html}
        study = read_study(args.file)
        keep_inputs([args.file, *_sources(args.file)], written)
        check_axes(args.by or (), study.axes.labels, "--by")
        if args.phase is not None:
            *axes, measure = args.phase
            check_axes(axes, study.axes.labels, "--phase")
            measure_of(measure, "--phase")
        if args.repeat:
            return _repeat(args, study)
        if args.store is None:
            raise ValueError("--store: expected a folder for the runs")
        with as_options(n_jobs="--jobs" if args.array is None else "--array", threads="--threads"):
            runs = study.run(
                args.store,
                _backend(args),
                args.jobs if args.array is None else args.array,
                threads=args.threads,
                retry_failed=args.retry_failed,
                progress=not args.quiet,
            )
        runs.command = f"lorasolve study {shlex.quote(args.file)}"
        return _report(args, runs)


def _report(args: argparse.Namespace, runs: Runs) -> int:
    """Write what is asked for and print the table."""
    if not len(runs):
        complain("no runs are finished")
        return ExitCode.INCONCLUSIVE
    texts: dict[str, str] = {}
    if args.csv:
        texts[args.csv] = runs.to_csv()
    if args.latex:
        texts[args.latex] = runs.to_latex(by=args.by)
    if args.phase:
        texts[args.html] = runs.phase_page(*args.phase)
    if texts:
        write_together({name: text_writer(text) for name, text in texts.items()})
        remark(args, f"written: {', '.join(texts)}")
    document = status(runs) | {"rows": runs.sorted_rows() if args.json else []}
    emit(args, envelope("study", document), runs.table(args.by))
    for line in _error_lines(document):
        remark(args, line)
    for line in _damage_lines(document):
        remark(args, line)
    return ExitCode.INCONCLUSIVE if runs.interrupted else ExitCode.FINE


def _backend(args: argparse.Namespace) -> str:
    """Return the executor with the settings that have options of their own."""
    name = args.backend.partition(":")[0]
    if args.address is not None and name != "dask":
        raise ValueError(f"--address: applies to '--backend dask' only, got {name!r}")
    if args.array is not None and name != "slurm":
        raise ValueError(f"--array: applies to '--backend slurm' only, got {name!r}")
    return args.backend if args.address is None else f"{args.backend}:address={args.address!r}"


def _repeat(args: argparse.Namespace, study: Study) -> int:
    cell = {}
    for text in args.repeat:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--repeat: expected AXIS=VALUE, got {text!r}")
        try:
            cell[name] = json.loads(value)
        except ValueError:
            cell[name] = value
    with as_options(cell="--repeat"):
        result = study.repeat(**cell)
    problem = study.problem_of(study.axes.values(study.axes.positions(study.axes.find(cell))))
    text = f"{result.message}\n  L = {result.fun!r}, ||grad L|| = {result.grad_norm:.3g}, {result.nit} iterations"
    if problem.adapter.low_rank and np.isfinite(result.fun):
        from ..certificates import certify

        text += f"\n{certify(problem, result)}"
    document = {"cell": cell, "fun": result.fun, "grad_norm": result.grad_norm, "nit": result.nit}
    emit(args, envelope("study-run", document), text)
    return ExitCode.FINE


# ---------------------------------------------------------------------- status
def status(runs: Runs) -> dict[str, Any]:
    """Return what a store holds: counts by end, version and damage."""
    ends: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    seconds = 0.0
    for record in runs:
        error = record["result"].get("error")
        ends["failed" if error is not None else record["result"]["status"]] += 1
        versions[record["run"]["study"]["lorasolve"]] += 1
        seconds += record["made"]["seconds"]
        # Messages with numbers in them may be as many as runs.
        if error is not None and (error in errors or len(errors) < _COUNTED_ERRORS):
            errors[error] += 1
    head = runs.store.head
    return {
        "store": str(runs.store.path),
        "runs": sum(ends.values()),
        "asked": head.get("asked"),
        "axes": head.get("axes"),
        "ends": dict(ends.most_common()),
        "errors": dict(errors.most_common(_SHOWN_ERRORS)),
        "versions": dict(versions),
        "seconds": seconds,
        "shards": len(runs.store.shards()),
        "damaged": [str(damage) for damage in runs.damaged],
    }


def _status_text(document: dict[str, Any]) -> str:
    asked = "none" if document["asked"] is None else document["asked"]
    lines = [
        f"{document['store']}: {document['runs']} runs, {asked} asked for last; "
        f"{document['seconds']:.3g} s of work in {document['shards']} shards"
    ]
    if document["axes"]:
        lines.append("  axes: " + ", ".join(f"{name} {count}" for name, count in document["axes"].items()))
    lines += [f"  {count} {end}" for end, count in document["ends"].items()]
    lines += [f"  {line}" for line in _error_lines(document)]
    if len(document["versions"]) > 1:
        lines.append("  versions: " + ", ".join(f"{count} of {name}" for name, count in document["versions"].items()))
    return "\n".join(lines + [f"  {line}" for line in _damage_lines(document)])


def _damage_lines(document: dict[str, Any]) -> list[str]:
    """Return what is damaged, the first lines of it."""
    damaged = document["damaged"]
    others = len(damaged) - _SHOWN_DAMAGE
    lines = [f"damaged: {text}" for text in damaged[:_SHOWN_DAMAGE]]
    return [*lines, f"damaged: {others} more lines"] if others > 0 else lines


def _error_lines(document: dict[str, Any]) -> list[str]:
    """Return the errors of the runs that failed, those of most runs first, a line each."""
    errors = document["errors"]
    lines = [f"{count} failed: {' '.join(error.split())}" for error, count in errors.items()]
    others = document["ends"].get("failed", 0) - sum(errors.values())
    return [*lines, f"{others} failed with other errors"] if others else lines


# ---------------------------------------------------------------------- the file
def read_study(path: str) -> Study:
    """Return the study that a file describes.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError, TypeError
        If it is no TOML, too large, or says what there is not; the message names the file.
    """
    from ..studies import Study

    document = _document(path)
    try:
        _known(document, ("problem", "axes", "run"), "")
        axes = {name: _axis(name, values) for name, values in _table(document, "axes").items()}
        run = _table(document, "run")
        _known(run, ("method", "measure", "init", "keep_parameters", *_STOPPING), "run: ")
        limits = {name: run.pop(name) for name in _STOPPING if name in run}
        problem = _problem(_table(document, "problem"), pathlib.Path(path).parent, axes)
        return Study(problem, axes, stop=limits, **run)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from error


def _document(path: str) -> dict[str, Any]:
    """Return what the file holds; editors may begin it with a mark of its encoding."""
    with readable(path):
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
        try:
            return tomllib.loads(text)
        except RecursionError:
            raise ValueError("brackets are nested too deeply") from None


def _sources(path: str) -> list[pathlib.Path]:
    """Return the other files that a study reads: its data, or its Python."""
    problem = _document(path).get("problem", {})
    names = (problem.get("data", ""), problem.get("python", "").rpartition(":")[0])
    return [pathlib.Path(path).parent / name for name in names if name]


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name}: expected a table, [{name}], got {table!r}")
    return dict(table)


def _known(table: dict[str, Any], accepted: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in accepted:
            raise ValueError(f"{where}unknown entry {name!r}.{suggest(name, list(accepted))}")


def _axis(name: str, values: Any) -> Any:
    if isinstance(values, list):
        odd = next((value for value in values if not isinstance(value, (str, bool, int, float))), None)
        if odd is not None:
            raise ValueError(f"axes: {name}: expected numbers, texts and truth values, got {odd!r}")
        return values
    if not isinstance(values, dict) or len(values) != 1 or next(iter(values)) not in _SPANS:
        raise ValueError(f"axes: {name}: expected a list or one of {', '.join(_SPANS)}, got {values!r}")
    ((span, arguments),) = values.items()
    if not (isinstance(arguments, list) and all(type(given) in (int, float) for given in arguments)):
        raise ValueError(f"axes: {name}: {span}: expected numbers in brackets, got {arguments!r}")
    if not all(map(math.isfinite, arguments)):
        raise ValueError(f"axes: {name}: {span}: expected finite numbers, got {arguments!r}")
    if not _span_length(span, arguments) <= LARGEST_SPAN:
        raise ValueError(f"axes: {name}: {span}: expected at most {LARGEST_SPAN} values, got {arguments!r}")
    try:
        # NumPy would warn of what it cannot do, and give no numbers.
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return _SPANS[span](*arguments).tolist()
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"axes: {name}: {span}: NumPy takes no {arguments!r}: {error}") from error


def _span_length(span: str, arguments: list[float]) -> float:
    """Return about how many values a span has; 0 for arguments that NumPy refuses."""
    if span != "range":
        return arguments[2] if len(arguments) > 2 else 0.0
    start, stop, step = {1: (0, *arguments, 1), 2: (*arguments, 1), 3: tuple(arguments)}.get(len(arguments), (0, 0, 1))
    return (stop - start) / step if step else 0.0


def _problem(table: dict[str, Any], folder: pathlib.Path, axes: dict[str, Any]) -> Any:
    """Return the problem, or the function of axes that makes it."""
    if "python" in table:
        _known(table, ("python",), "problem: ")
        return _function(as_text(table["python"], "problem: python"), folder)
    form = ("delimiter", "columns", "skip_missing")
    data = ("objective", "data", "center", "test_fraction", "split_seed", *form)
    _known(table, (*data, "rank", "lam", "adapter"), "problem: ")
    given = {name: table[name] for name in data if name in table}
    if given and not {"objective", "data"} <= given.keys():
        raise ValueError(
            f"problem: expected objective and data, or for the embedded digits job none of {', '.join(data)}, got "
            f"{', '.join(given)} alone"
        )
    if given:
        name, path = given.pop("objective"), folder / as_text(given.pop("data"), "problem: data")
        written = {key: given.pop(key) for key in form if key in given}
        given = {"seed" if key == "split_seed" else key: value for key, value in given.items()}
        options = {"name": "objective", "seed": "split_seed", "form": ", ".join(written)}
        options |= {key: key for key in ("center", "test_fraction", *form)}
        with as_options(**{key: f"problem: {option}" for key, option in options.items()}):
            task = read_task(name, path, form=TextFormat(**written), **given)
    else:
        task = digits_task()
    lam = table.get("lam", task.lam)
    if lam is None:
        if "lam" not in axes:
            raise ValueError("problem: expected lam, a weight decay >= 0 (0 for none), here or as an axis")
        lam = 0.0  # of no cell
    adapter = adapter_registry.make(table.get("adapter", "lora"), "problem: adapter")
    return Problem(task.objective, table.get("rank", task.rank), lam, adapter)


def _function(text: str, folder: pathlib.Path) -> Any:
    """Return a function of a Python file, whose source workers get with it."""
    import cloudpickle

    name, colon, function = text.rpartition(":")
    path = folder / name
    if not colon:
        raise ValueError(f"problem: python: expected FILE.py:FUNCTION, got {text!r}")
    # No main program: what that does, under its usual condition, is not asked for. Some libraries look the module up.
    module = sys.modules[_MODULE] = types.ModuleType(_MODULE)
    module.__file__ = str(path)
    cloudpickle.register_pickle_by_value(module)
    # As Python does with a script: what it imports may lie beside it. Workers get the same folders.
    if (beside := str(path.resolve().parent)) not in sys.path:
        sys.path.insert(0, beside)
    with readable(path):
        source = path.read_bytes()  # as Python reads it: with whatever encoding it names
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise ValueError(f"problem: python: {path} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        defined = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == _MODULE]
        hint = f".{suggest(function, defined)}" if defined else ""
        raise ValueError(f"problem: python: {path} defines no function {function!r}{hint}")
    return found
