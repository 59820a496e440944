"""Users' files: ratings and arrays in, results out and back in. Everything is written whole or not at all."""

from __future__ import annotations

import inspect
import json
import math
import pathlib
import re
import zipfile
from collections.abc import Set
from types import NoneType
from typing import Any

import numpy as np

from ._files import PathLike, Write, write_atomically
from ._ratings import PLAIN, Pairs, Ratings, TextFormat, read_pairs, read_ratings
from ._reading import LARGEST_BYTES, readable
from ._registry import suggest
from ._text import component_text, for_json
from ._threads import reserve_blas_buffers
from ._validate import (
    Array,
    as_array,
    as_choice,
    as_flag,
    as_float_array,
    as_instance,
    as_integer,
    as_matrix_shape,
    as_number,
    as_path,
    as_shape,
    as_text,
    shown,
)
from ._version import __version__
from .adapters import registry as adapter_registry
from .method import Method
from .objectives import registry as objective_registry
from .objectives.base import Objective
from .problem import Problem
from .result import Result, Trace
from .status import Status
from .tasks import Task

__all__ = [
    "Pairs",
    "Ratings",
    "TextFormat",
    "load_result",
    "objective_from_arrays",
    "read_arrays",
    "read_pairs",
    "read_ratings",
    "read_task",
    "save_result",
    "to_json",
    "write_arrays",
    "write_json",
]

SCHEMA_VERSION = 2

_TEST_SUFFIX = "_test"
_HEADER = "header"
_OBJECTIVE = "objective."


# ---------------------------------------------------------------------- arrays
def read_arrays(path: PathLike) -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file by name. Pickled objects are refused.

    Sizes are checked before anything is read: all arrays together may take 4 GiB, and each has to be as long as its
    head says.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no archive of plain arrays, damaged, encrypted, packed in another way than NumPy does, or too large.
    """
    with readable(path):
        with open(path, "rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ValueError("is a single array; expected an .npz archive made with numpy.savez")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > LARGEST_BYTES:
                raise ValueError(f"holds {total} bytes of arrays, and at most {LARGEST_BYTES} are read")
            if len({member.filename for member in members}) < len(members):
                raise ValueError("is damaged: two of its arrays have one name")
            arrays = {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    # NumPy before 2.2 takes this option of savez for an array; lorasolve once gave it.
    arrays.pop("allow_pickle", None)
    return arrays


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Return one array of an archive, once its head fits its length."""
    name = member.filename
    if member.flag_bits & 1:
        raise ValueError(f"its entry {name!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its entry {name!r} is packed by the method {member.compress_type}, which NumPy does not use")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its entry {name!r} is no plain array")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"its entry {name!r} is no plain array (pickled objects are not read)")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + size != member.file_size:
            raise ValueError(f"its entry {name!r} is {member.file_size} bytes long, and its head says {shape} {dtype}")
        array = np.frombuffer(file.read(size), dtype) if size else np.empty(math.prod(shape), dtype)
    return array.reshape(shape, order="F" if fortran else "C").copy()


def constructor_keys(kind: type[Objective]) -> dict[str, bool]:
    """Return the names of an objective's constructor arguments, and whether each is required."""
    if not isinstance(kind, type):
        raise TypeError(f"kind: expected a class, got {shown(kind)}")
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return {p.name: p.default is p.empty for p in parameters}


def objective_from_arrays(name: str, arrays: dict[str, Any], source: PathLike) -> Objective:
    """Return the objective ``name`` made of arrays whose keys are its constructor arguments.

    Raises
    ------
    ValueError, TypeError
        For missing and unknown keys, and for whatever the objective itself refuses.
    """
    as_choice(name, "name", objective_registry.classes())
    as_instance(arrays, "arrays", dict)
    kind = objective_registry.classes()[name]
    source = as_path(source, "source")
    keys = constructor_keys(kind)
    missing = [key for key, required in keys.items() if required and key not in arrays]
    unknown = [key for key in arrays if key not in keys]
    if missing:
        hint = f" (there is {unknown[0]!r})" if unknown else ""
        raise ValueError(f"{source}: objective {name!r} needs the array {missing[0]!r}{hint}; keys: {key_list(keys)}")
    if unknown:
        raise ValueError(f"{source}: objective {name!r} has no key {unknown[0]!r}.{suggest(unknown[0], list(keys))}")
    try:
        return kind(**{key: _as_argument(key, value) for key, value in arrays.items()})
    except (TypeError, ValueError) as error:
        raise (ValueError if isinstance(error, ValueError) else TypeError)(f"{source}: {error}") from error


def key_list(keys: dict[str, bool]) -> str:
    """Return the keys of :func:`constructor_keys` as text, those that may be left out in brackets."""
    return ", ".join(key if required else f"[{key}]" for key, required in keys.items())


def _as_argument(key: str, value: Any) -> Any:
    """Return scalars as Python values and a shape as a tuple."""
    if key == "shape":
        return as_matrix_shape(tuple(np.ravel(as_array(value, key)).tolist()), key)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    return value


# ---------------------------------------------------------------------- tasks
def read_task(
    name: str,
    path: PathLike,
    *,
    center: bool = False,
    test_fraction: float = 0.0,
    seed: int = 0,
    form: TextFormat = PLAIN,
) -> Task:
    """Return the task of one objective and one file.

    Parameters
    ----------
    name : str
        Objective, for example ``"completion"`` or ``"softmax"``.
    path : path
        For completion a ratings file (:func:`read_ratings`); otherwise, or with the suffix ``.npz``, an archive
        whose keys are the constructor arguments of the objective (``lorasolve list objectives`` shows them). Keys
        with ``_test`` appended (``Z_test``, ``labels_test``) make the held-out objective.
    center : bool
        Subtract the mean of the training entries (completion only).
    test_fraction : float
        Share of the entries held out at random (completion only), in [0, 1).
    seed : int
        Seed of that choice.
    form : TextFormat
        How a ratings file is written.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError, TypeError
        For an unknown objective, options that do not go with the file, and data that the objective refuses.
    """
    if as_text(name, "name") not in objective_registry.classes():
        known = list(objective_registry.classes())
        raise ValueError(f"name: unknown objective {shown(name)}.{suggest(name, known)}")
    reserve_blas_buffers()
    path = as_path(path, "path")
    as_flag(center, "center")
    test_fraction = as_number(test_fraction, "test_fraction", 0.0, 1.0, open_high=True)
    seed = as_integer(seed, "seed", 0)
    as_instance(form, "form", TextFormat)
    title = f"{name} on {pathlib.Path(path).name}"
    if pathlib.Path(path).suffix.lower() == ".npz":
        given = {"center": center, "test_fraction": test_fraction, "form": form != PLAIN}
        if any(given.values()):
            names = ", ".join(name for name, is_given in given.items() if is_given)
            hint = "; its keys ending in '_test' hold data out" if test_fraction else ""
            raise ValueError(f"{names}: expected with a ratings file only, which {path} is not{hint}")
        return _task_from_arrays(name, path, title)
    if name != "completion":
        raise ValueError(f"{path}: objective {name!r} is read from an .npz archive")
    return _completion_task(read_ratings(path, form), center, test_fraction, seed, title)


def _task_from_arrays(name: str, path: PathLike, title: str) -> Task:
    arrays = read_arrays(path)
    train = {key: value for key, value in arrays.items() if not key.endswith(_TEST_SUFFIX)}
    held_out = {key.removesuffix(_TEST_SUFFIX): value for key, value in arrays.items() if key not in train}
    objective = objective_from_arrays(name, train, path)
    test = objective_from_arrays(name, train | held_out, path) if held_out else None
    return Task(objective, test, title, rank=min(8, *objective.shape), arguments=train)


def _completion_task(ratings: Ratings, center: bool, test_fraction: float, seed: int, title: str) -> Task:
    from .objectives import MatrixCompletion

    N = len(ratings.values)
    order = np.random.default_rng(seed).permutation(N)
    n_test = round(test_fraction * N)
    if n_test == N:
        raise ValueError(f"test_fraction: {test_fraction} of {N} entries leaves none to train on")
    test_index, train_index = np.sort(order[:n_test]), np.sort(order[n_test:])
    mean = float(ratings.values[train_index].mean()) if center else 0.0

    def entries(index: Array) -> dict[str, Any]:
        values = ratings.values[index] - mean
        return {"rows": ratings.rows[index], "cols": ratings.cols[index], "values": values, "shape": ratings.shape}

    m, n = ratings.shape
    title += f" ({m} x {n}, {len(train_index)} entries to train on, {n_test} to test"
    title += f", {ratings.skipped} without a value skipped" if ratings.skipped else ""
    title += f", mean {mean:.4g} subtracted)" if center else ")"
    train = entries(train_index)
    test = MatrixCompletion(**entries(test_index)) if n_test else None
    return Task(MatrixCompletion(**train), test, title, rank=min(8, m, n), arguments=train)


# ---------------------------------------------------------------------- writing
def to_json(document: dict[str, Any]) -> str:
    """Return strict JSON: NumPy values as plain ones, numbers that JSON cannot hold as null, plain lists in a line."""
    try:
        text = json.dumps(for_json(document), indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"document: cannot be written as JSON ({error})") from error
    # A line break is never inside a string, where it is escaped.
    return re.sub(r"\[\n *([^\[\]{}]*)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", text)


def json_writer(document: dict[str, Any]) -> Write:
    """Return what writes a document as JSON."""
    text = (to_json(document) + "\n").encode()
    return lambda file: file.write(text)


def arrays_writer(arrays: dict[str, Array]) -> Write:
    """Return what writes arrays to a compressed ``.npz`` archive."""
    named = as_instance(arrays, "arrays", dict).items()
    checked: dict[str, Any] = {as_text(key, "arrays"): as_array(value, f"arrays[{key!r}]") for key, value in named}
    objects = next((key for key, array in checked.items() if array.dtype.hasobject), None)
    if objects is not None:
        raise TypeError(f"arrays: {objects!r} holds Python objects, which are not written")
    return lambda file: np.savez_compressed(file, **checked)


def write_json(path: PathLike, document: dict[str, Any]) -> None:
    """Write a document as JSON, whole or not at all."""
    write_atomically(as_path(path, "path"), json_writer(document))


def write_arrays(path: PathLike, arrays: dict[str, Array]) -> None:
    """Write arrays to a compressed ``.npz`` archive, whole or not at all; the suffix is not added."""
    write_atomically(as_path(path, "path"), arrays_writer(arrays))


def envelope(schema: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` under the head that every JSON document of the command line has."""
    as_instance(body, "body", dict)
    name = f"lorasolve/{as_text(schema, 'schema')}"
    head = {"schema": name, "schema_version": SCHEMA_VERSION, "lorasolve": __version__}
    return head | body


# ---------------------------------------------------------------------- results
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
        For a problem of several matrices.
    TypeError
        If the objective is not one of :mod:`lorasolve.objectives`, or an adapter is not one of
        :mod:`lorasolve.adapters`.

    Notes
    -----
    A method made of components that ``lorasolve list`` does not show cannot be read back: the loaded result's
    ``method`` is None.
    """
    write_atomically(as_path(path, "path"), result_writer(problem, result, arguments))


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
            f"objective: only objectives of lorasolve.objectives can be saved with their data, got {kind.__name__}"
        )
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
    arrays = read_arrays(path)
    if _HEADER not in arrays:
        raise ValueError(f"{path}: is not a saved result (no entry {_HEADER!r}; keys: {', '.join(arrays)})")
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
    lengths = {None if column is None else column.shape for column in columns.values()}
    if len(lengths) != 1 or any(column is None or column.dtype.kind not in "if" for column in columns.values()):
        raise ValueError("trace: its columns are missing, no numbers, or not equally long")
    if any(column is None or column.ndim != 1 for column in columns.values()):
        raise ValueError("trace: its columns have more than one dimension")
    return Trace(**{key: column.tolist() for key, column in columns.items() if column is not None})


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
