"""What a user's file asks for: the objective that an archive or a file of ratings makes, and what is held out."""

from __future__ import annotations

import contextlib
import inspect
import pathlib
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.files import PathLike
from .._support.keywords import suggest
from .._support.threads import reserve_blas_buffers
from .._support.validate import (
    Array,
    as_array,
    as_choice,
    as_flag,
    as_instance,
    as_integer,
    as_matrix_shape,
    as_number,
    as_path,
    as_text,
    shown,
)
from ..objectives import registry as objective_registry
from ..objectives.base import Objective
from ..tasks import Task
from .arrays import read_arrays
from .ratings import Ratings, left_aside, read_ratings
from .reading import check_emptiness, readable
from .text_tables import PLAIN, TextFormat

_TEST_SUFFIX = "_test"


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
    ratings = read_ratings(path, form)
    task = _completion_task(ratings, center, test_fraction, seed, title)
    return replace(task, remarks=left_aside(path, ratings, form))


def _task_from_arrays(name: str, path: PathLike, title: str) -> Task:
    arrays = read_arrays(path)
    train = {key: value for key, value in arrays.items() if not key.endswith(_TEST_SUFFIX)}
    held_out = {key.removesuffix(_TEST_SUFFIX): value for key, value in arrays.items() if key not in train}
    if name == "completion" and {"shape", "values"} <= train.keys():
        with readable(path), contextlib.suppress(TypeError):  # of which the objective tells
            m, n = _as_argument("shape", train["shape"])
            check_emptiness(m, n, train["values"].size)
    objective = objective_from_arrays(name, train, path)
    held_out_by = ", ".join(key + _TEST_SUFFIX for key in held_out)
    try:
        test = objective_from_arrays(name, train | held_out, path) if held_out else None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error} (of the data held out by {held_out_by})") from error
    if test is not None and test.shape != objective.shape:
        raise ValueError(
            f"{path}: expected data held out for an update of shape {objective.shape}, got {held_out_by} for one of "
            f"shape {test.shape}"
        )
    # Such as labels without labels_test: those of the samples trained on would be taken for those of the others.
    shared = [key for key in train if key not in held_out and objective.facts.n_samples in train[key].shape]
    told = f"{path}: the data held out by {held_out_by} share {', '.join(shared)} with those trained on"
    remarks = (told,) if held_out and shared else ()
    return Task(objective, test, title, rank=min(8, *objective.shape), arguments=train, remarks=remarks)


def _completion_task(ratings: Ratings, center: bool, test_fraction: float, seed: int, title: str) -> Task:
    from .._means import Means
    from ..objectives import MatrixCompletion

    N = len(ratings.values)
    order = np.random.default_rng(seed).permutation(N)
    n_test = round(test_fraction * N)
    if n_test == N:
        raise ValueError(f"test_fraction: {test_fraction} of {N} entries leaves none to train on")
    if test_fraction and not n_test:
        raise ValueError(f"test_fraction: {test_fraction} of {N} entries holds none out")
    test_index, train_index = np.sort(order[:n_test]), np.sort(order[n_test:])

    def observed(index: Array) -> MatrixCompletion:
        return MatrixCompletion(ratings.rows[index], ratings.cols[index], ratings.values[index], ratings.shape)

    means = Means.of(observed(train_index), "global" if center else "none")

    def entries(index: Array) -> dict[str, Any]:
        left = means.off(observed(index))
        return {"rows": left.rows, "cols": left.cols, "values": left.values, "shape": left.shape}

    m, n = ratings.shape
    title += f" ({m} x {n}, {len(train_index)} entries to train on, {n_test} to test"
    title += f", {ratings.skipped} without a value skipped" if ratings.skipped else ""
    title += f", mean {means.mean:.4g} subtracted)" if center else ")"
    train = entries(train_index)
    test = MatrixCompletion(**entries(test_index)) if n_test else None
    return Task(MatrixCompletion(**train), test, title, rank=min(8, m, n), arguments=train)
