"""Results in files: everything that a run reached, to go on from or to look at later. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Set
from types import NoneType
from typing import Any

import numpy as np

from .._support.files import PathLike, Write, write_atomically
from .._support.text import component_text
from .._support.validate import Array, as_choice, as_float_array, as_instance, as_path, as_shape, as_text, shown
from ..adapters import registry as adapter_registry
from ..method import Method
from ..objectives import registry as objective_registry
from ..problem import Problem
from ..result import Result, Trace
from ..status import Status
from .arrays import arrays_writer, read_arrays
from .documents import SCHEMA_VERSION, envelope
from .reading import readable
from .task_files import objective_from_arrays

_HEADER = "header"
_OBJECTIVE = "objective."


def save_result(path: PathLike, problem: Problem, result: Result, arguments: dict[str, Any]) -> None:
    """Write problem and result to one ``.npz`` file that :func:`load_result` reads back, whole or not at all.

    Nothing is pickled.

    Parameters
    ----------
    path : path
        The file; the suffix ``.npz`` is not added.
    problem : Problem
        The original problem, with an objective of this package.
    result : Result
        What was reached.
    arguments : dict
        The objective's constructor arguments by name, from which it is built again. (An objective need not keep
        them: linear fine-tuning keeps two Gram matrices, whatever the number of samples.)

    Raises
    ------
    ValueError
        For a problem of several matrices, a result of another rank, and arguments that build no objective, or one with
        another value at the result's factors.
    TypeError
        If the objective is not one of :mod:`lorasolve.objectives`, or an adapter is not one of
        :mod:`lorasolve.adapters`.

    Notes
    -----
    A method made of components that ``lorasolve list`` does not show cannot be read back: the loaded result's
    ``method`` is None.
    """
    write = result_writer(problem, result, arguments)
    _refuse_other_arguments(problem, result, arguments)
    write_atomically(as_path(path, "path"), write)


def _refuse_other_arguments(problem: Problem, result: Result, arguments: dict[str, Any]) -> None:
    """Refuse what builds another loss than the problem's, whose file could not be read or would be of that."""
    given = {key: value for key, value in arguments.items() if value is not None}
    built = objective_from_arrays(type(problem.objective).name, given, "arguments")
    if built.shape != problem.shape:
        raise ValueError(f"arguments: build a loss of shape {built.shape}, expected {problem.shape}")
    A, B = result.A.astype(built.dtype), result.B.astype(built.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # at the end of a run that diverged
        ours, theirs = (float(loss.factor_value(A, B)) for loss in (problem.objective, built))
        size = abs(ours) + abs(theirs) + abs(problem.value_at_zero)
    eps = max(np.finfo(problem.dtype).eps, np.finfo(built.dtype).eps)
    if abs(ours - theirs) > float(np.sqrt(eps)) * size:
        raise ValueError(
            f"arguments: build another loss: f = {theirs:.9g} at the result's factors, where that of problem is "
            f"{ours:.9g}; expected what its objective was made of"
        )


def result_writer(problem: Problem, result: Result, arguments: dict[str, Any], run: str | None = None) -> Write:
    """Return what writes problem and result as :func:`save_result` does, under the identity of a run."""
    as_instance(problem, "problem", Problem).require_one_matrix("save_result")
    as_instance(result, "result", Result)
    as_instance(arguments, "arguments", dict)
    if run is not None:
        as_text(run, "run")
    kind = type(problem.objective)
    if objective_registry.classes().get(kind.name) is not kind:
        raise TypeError(
            "problem: only objectives of lorasolve.objectives can be saved with their data, got one of "
            f"{problem.objective.label}; numpy.savez(path, A=result.A, B=result.B) keeps the factors"
        )
    if result.problem.rank != problem.rank:
        raise ValueError(f"result: expected one of rank {problem.rank}, as problem has, got rank {result.problem.rank}")
    arrays = {f"{_OBJECTIVE}{key}": np.asarray(value) for key, value in arguments.items() if value is not None}
    header = {
        "run": run,
        "objective": kind.name,
        "rank": problem.rank,
        "problem": _setting(problem),
        "last": _setting(result.problem),
        "method": str(result.method) if _is_listed(result.method) else None,
        "status": result.status.name,
        "result": {key: getattr(result, key) for key in _FIELDS},
    }
    for adapter in (problem.adapter, result.problem.adapter):
        if not _is_listed(Method(adapter=adapter)):
            raise TypeError(f"problem: only adapters of lorasolve.adapters can be saved, got {adapter!r}")
    arrays["theta"] = result.theta
    for key, column in result.trace.to_dict().items():
        arrays[f"trace.{key}"] = np.asarray(column)
    if result.merged is not None:
        arrays["merged"] = result.merged
    # A diverged run has no finite value; json.dumps keeps it, to_json would turn it into null.
    text = json.dumps(envelope("result", header))
    return arrays_writer({_HEADER: np.array(text)} | arrays)


def _setting(problem: Problem) -> dict[str, Any]:
    return {"adapter": component_text(problem.adapter), "lam": problem.lam}


def _is_listed(method: Method | None) -> bool:
    """Whether the text of a method gives it back."""
    try:
        return method is not None and Method.parse(str(method)) == method
    except (ValueError, TypeError):
        return False


def is_result(path: PathLike) -> bool:
    """Return whether an ``.npz`` archive is one of :func:`save_result`."""
    return _HEADER in read_arrays(path)


def load_result(path: PathLike) -> tuple[Problem, Result]:
    """Read what :func:`save_result` wrote.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a saved result, or of a later version.
    """
    expected = "a saved result, as `lorasolve solve --out NAME` writes it"
    arrays = read_arrays(path, expected)
    if _HEADER not in arrays:
        raise ValueError(f"{path}: holds other arrays ({', '.join(arrays) or 'none'}); expected {expected}")
    with readable(path):
        header = _read_header(arrays.pop(_HEADER))
        given = {k.removeprefix(_OBJECTIVE): arrays.pop(k) for k in list(arrays) if k.startswith(_OBJECTIVE)}
        objective = objective_from_arrays(header["objective"], given, path)
        problem = Problem(objective, header["rank"], **header["problem"])
        merged, last_objective = arrays.pop("merged", None), objective
        if merged is not None:
            merged = as_shape(as_float_array(merged, "merged", 2), "merged", objective.shape)
            last_objective = objective.merged(merged)
        last = Problem(last_objective, header["rank"], **header["last"])
        if "theta" not in arrays:
            raise ValueError("has no entry 'theta'")
        theta = as_shape(as_float_array(arrays.pop("theta"), "theta", 1, last.dtype), "theta", (last.size,))
        A, B, _ = last.split(theta)
        trace = _read_trace({key: arrays.pop(f"trace.{key}", None) for key in Trace().to_dict()})
        if arrays:
            raise ValueError(f"holds the unknown entry {next(iter(arrays))!r}")
        fields = header["result"] | {"method": None if header["method"] is None else Method.parse(header["method"])}
    status = Status[header["status"]]
    return problem, Result(A=A, B=B, theta=theta, status=status, trace=trace, problem=last, merged=merged, **fields)


# What the head of a saved result holds, and of which kind each entry is.
_HEAD: dict[str, Any] = {"objective": str, "rank": int, "problem": dict, "last": dict, "method": (str, NoneType)}
_HEAD |= {"status": str, "result": dict}
_SETTING: dict[str, Any] = {"adapter": str, "lam": float}
_FIELDS: dict[str, Any] = {"fun": float, "grad_norm": float, "nit": int, "nfev": int, "message": str, "seconds": float}
_FIELDS |= {"compile_seconds": float, "seed": (int, NoneType), "started_from": str}


def _read_header(entry: Array) -> dict[str, Any]:
    """Return the head of a saved result, of the current version, every entry of its kind."""
    try:
        header = json.loads(str(entry))
    except RecursionError as error:
        raise ValueError("its head is no JSON") from error
    if not isinstance(header, dict):
        raise ValueError(f"its head is no JSON object, but {shown(header)}")
    schema, version = header.get("schema"), header.get("schema_version")
    if schema != "lorasolve/result" or version not in (1, SCHEMA_VERSION):
        raise ValueError(
            f"expected schema 'lorasolve/result' version {SCHEMA_VERSION} or 1, got {schema!r} version {version!r}"
        )
    if version == 1:
        header = _from_version_1(header)
    _check_entries(header, _HEAD, "head", {"schema", "schema_version", "lorasolve", "run"})
    for name in ("problem", "last"):
        _check_entries(header[name], _SETTING, name)
    _check_entries(header["result"], _FIELDS, "result")
    as_choice(header["objective"], "objective", objective_registry.classes())
    as_choice(header["status"], "status", Status.__members__)
    return header


def _check_entries(found: dict[str, Any], kinds: dict[str, Any], name: str, others: Set[str] = frozenset()) -> None:
    """Refuse an entry that is missing, unknown or of another kind; integers are numbers, truth values are not."""
    unknown = [key for key in found if key not in kinds and key not in others]
    if unknown:
        raise ValueError(f"{name}: has the unknown entry {unknown[0]!r}")
    for key, kind in kinds.items():
        accepted = (int, float) if kind is float else kind
        if key not in found or not isinstance(found[key], accepted) or isinstance(found[key], bool):
            given = shown(found[key]) if key in found else "nothing"
            raise ValueError(f"{name}: entry {key!r} is {given}, which was not written by lorasolve")


def _read_trace(columns: dict[str, Array | None]) -> Trace:
    """Return a trace whose columns are equally long."""
    found = {key: column for key, column in columns.items() if column is not None and column.dtype.kind in "if"}
    shapes = {column.shape for column in found.values()}
    if len(found) < len(columns) or len(shapes) != 1 or len(*shapes) != 1:
        raise ValueError("trace: its columns are missing, no numbers, not equally long or of more than one dimension")
    return Trace(**{key: column.tolist() for key, column in found.items()})


def _from_version_1(header: dict[str, Any]) -> dict[str, Any]:
    """Return the head of a version 1 file, which named optimizer and init without settings, as version 2 has it."""
    known = {key: kind for key, kind in _HEAD.items() if key not in ("problem", "last", "method")}
    _check_entries(header, known | {"adapter": dict, "lam": float}, "head", {"schema", "schema_version", "lorasolve"})
    _check_entries(header["adapter"], {"name": str, "settings": dict}, "adapter")
    as_choice(header["adapter"]["name"], "adapter", adapter_registry.classes())
    kind = adapter_registry.classes()[header["adapter"]["name"]]
    setting = {"adapter": component_text(kind(**header["adapter"]["settings"])), "lam": header["lam"]}
    fields = {key: value for key, value in header["result"].items() if key not in ("optimizer", "init")}
    fields["started_from"] = header["result"].get("init")
    kept = {key: value for key, value in header.items() if key not in ("adapter", "lam")}
    return kept | {"problem": setting, "last": setting, "method": None, "result": fields}
