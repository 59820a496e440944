"""The file of a study: a problem, axes and how runs are made, in TOML."""

from __future__ import annotations

import math
import pathlib
import tomllib
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.keywords import suggest
from .._support.validate import as_text, shown
from ..adapters import registry as adapter_registry
from ..io import TextFormat, read_task, readable
from ..monitor import StoppingRule
from ..objectives.base import Objective
from ..problem import Problem
from ..result import Result, metrics_of
from ..tasks import Task, digits_task
from ._arguments import FORMAT, as_options
from ._own_python import OwnPython, file_of, is_name_in_file

if TYPE_CHECKING:
    from ..studies import Study

FILE_HELP = """\
the file (TOML):
  [problem]                 # without a table: the embedded digits job
  objective = "completion"
  data = "ratings.csv"      # and, as in 'solve': center, test_fraction,
                            # split_seed, delimiter, columns, skip_missing,
                            # duplicates
  rank = 8                  # what is no axis
  lam = 0.1
  adapter = "lora"
  # or instead of all that: python = "mine.py:problem", a function of axes
  # that returns a Problem

  [axes]                    # rank, lam, adapter, method, init, seed,
                            # or the arguments of the function
  lam = {geomspace = [0.01, 1.0, 8]}   # also linspace, range; or a list
  rank = [2, 4, 8]
  seed = {range = [20]}

  [run]
  method = "adam+cosine"
  measure = ["certify", "verdict", "quality"]   # quality: as in 'solve', on
                            # data that are held out where there are some
  init = "gaussian:std=0.1" # in place of the method's own start
  max_iter = 1000           # and grad_tol, target, time_limit, max_calls;
                            # others are the method's own
  keep_parameters = false   # numbers without the factors of each run
  # parts of your own: "mine.py:NAME" in method, init and measure, also on
  # the axes method and init; as ls.Study takes them
"""

_SPANS: dict[str, Callable[..., np.ndarray[Any, Any]]] = {
    "geomspace": np.geomspace,
    "linspace": np.linspace,
    "range": np.arange,
}
# Values of one axis.
LARGEST_SPAN = 1_000_000
_STOPPING = tuple(entry.name for entry in fields(StoppingRule))
# Settings, and axes, that may be something of a file of Python.
_PARTS = ("method", "init", "measure")
_PART_AXES = ("method", "init")
# A measure that studies in Python have no data for.
_QUALITY = "quality"


def read_study(path: str) -> tuple[Study, tuple[str, ...]]:
    """Return the study that a file describes, and what of the data that it names plays no part.

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
        own = OwnPython(pathlib.Path(path).parent)
        _known(run, (*_PARTS, "keep_parameters", *_STOPPING), "run: ")
        for where in ("problem", "run"):
            twice = next((name for name in _table(document, where) if name in axes), None)
            if twice is not None:
                raise ValueError(f"{where}: {twice}: is an axis too, whose values would count; give it once")
        limits = {name: run.pop(name) for name in _STOPPING if name in run}
        problem, task = _problem(_table(document, "problem"), pathlib.Path(path).parent, axes, own)
        parts = {name: own.named(run.pop(name), f"run: {name}") for name in _PARTS if name in run}
        if "measure" in parts:
            parts["measure"] = _with_quality(parts["measure"], None if task is None else task.judge)
        axes |= {name: _labelled(axes[name], name, own) for name in _PART_AXES if name in axes}
        return Study(problem, axes, stop=limits, **parts, **run), () if task is None else task.remarks
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
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"is no TOML: {error}") from error


def sources(path: str) -> list[pathlib.Path]:
    """Return the other files that a study reads: its data, and its Python."""
    document = _document(path)
    problem, run, axes = (document.get(name, {}) for name in ("problem", "run", "axes"))
    names = [problem.get("data", ""), file_of(problem.get("python", ""))]
    names += [file_of(text) for text in _texts([run, axes]) if is_name_in_file(text)]
    return [pathlib.Path(path).parent / name for name in dict.fromkeys(names) if name]


def _texts(given: Any) -> list[str]:
    """Return all texts in tables and lists."""
    if isinstance(given, str):
        return [given]
    parts = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    return [text for part in parts for text in _texts(part)]


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
    if span != "range" and len(arguments) != 3:
        raise ValueError(f"axes: {name}: {span}: expected [first, last, how many], got {arguments!r}")
    if not _span_length(span, arguments) <= LARGEST_SPAN:
        raise ValueError(f"axes: {name}: {span}: expected at most {LARGEST_SPAN} values, got {arguments!r}")
    try:
        # NumPy would warn of what it cannot do, and give no numbers.
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            found: list[float] = _SPANS[span](*arguments).tolist()
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"axes: {name}: {span}: NumPy takes no {arguments!r}: {error}") from error
    # From 2 to 10 in integers, as ranks are; NumPy makes floats of them.
    whole = all(isinstance(given, int) for given in arguments) and all(float(value).is_integer() for value in found)
    return [int(value) for value in found] if whole else found


def _labelled(values: list[Any], name: str, own: OwnPython) -> Any:
    """Return an axis with what its texts name in files of Python, labelled by these texts; others as they are."""
    if not any(map(is_name_in_file, values)):
        return values
    twice = next((value for k, value in enumerate(values) if value in values[:k]), None)
    if twice is not None:  # a table of labels would hold it once
        raise ValueError(f"axes: {name}: holds {twice!r} twice")
    return {value: own.named(value, f"axes: {name}") for value in values}


def _span_length(span: str, arguments: list[float]) -> float:
    """Return about how many values a span has; 0 for arguments that NumPy refuses."""
    if span != "range":
        return arguments[2]
    start, stop, step = {1: (0, *arguments, 1), 2: (*arguments, 1), 3: tuple(arguments)}.get(len(arguments), (0, 0, 1))
    return (stop - start) / step if step else 0.0


def _with_quality(measure: Any, judge: Objective | None) -> Any:
    """Return measures in which the name of the quality is what tells it, on the data of ``judge``."""
    if isinstance(measure, list):
        return [_with_quality(one, judge) for one in measure]
    if isinstance(measure, dict):
        return {name: _with_quality(one, judge) for name, one in measure.items()}
    if measure != _QUALITY:
        return measure
    if judge is None:
        raise ValueError(
            f"run: measure: {_QUALITY!r} is on the data of the problem, and one that is made in Python names none; "
            "name a function of (problem, result), as in mine.py:NAME"
        )
    found = partial(_quality, judge)  # whose data are a part of what makes a run the same
    vars(found)["__name__"] = _QUALITY
    return found


def _quality(judge: Objective, problem: Problem, result: Result) -> dict[str, float]:
    """Return the metrics of a loss where a run has ended, if it has."""
    return metrics_of(judge, result) if math.isfinite(result.fun) else {}


def _problem(
    table: dict[str, Any], folder: pathlib.Path, axes: dict[str, Any], own: OwnPython
) -> tuple[Any, Task | None]:
    """Return the problem and its task, or the function of axes that makes it."""
    if "python" in table:
        _known(table, ("python",), "problem: ")
        found = own.find(as_text(table["python"], "problem: python"), "problem: python")
        if not callable(found):
            raise ValueError(f"problem: python: expected a function of axes, got {shown(found)}")
        return found, None
    form = tuple(FORMAT)
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
        if "split_seed" in table and not table.get("test_fraction"):
            raise ValueError("problem: split_seed: expected beside test_fraction, the seed of whose choice it is")
    else:
        task = digits_task()
    lam = table.get("lam", task.lam)
    if lam is None:
        if "lam" not in axes:
            raise ValueError("problem: expected lam, a weight decay >= 0 (0 for none), here or as an axis")
        lam = 0.0  # of no cell
    adapter = adapter_registry.make(table.get("adapter", "lora"), "problem: adapter")
    return Problem(task.objective, table.get("rank", task.rank), lam, adapter), task
