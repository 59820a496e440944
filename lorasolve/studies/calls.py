"""``Calls``: cells of any settings, each done by one function, kept and gone on with like the runs of a study."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from .._support.digest import SIZE, code_mark
from .._support.files import PathLike
from .._support.text import for_json
from .._support.validate import Array, as_array, as_callable, as_iterable, as_path, as_text, shown
from .._version import __version__
from ..executors import Executor
from ._engine import do
from ._work import ERRORS, Cell, Work, Worker, asked_to_stop, in_words, summary
from .records import COLUMNS, DONE, FOUND
from .runs import Runs
from .store import SCHEMA_VERSION, Entry, Store, json_text


class CellError(ValueError):
    """Raised by what cannot do without a cell that failed; the message says why, and the others are kept."""


class Kept(NamedTuple):
    """What a function returns that has numbers to keep beside what it found.

    Attributes
    ----------
    found : number, text, list, dict or None
        What JSON can hold; it has to be the same whenever and wherever the cell is done.
    vector : ndarray of float64, one axis
        Kept bit for bit, NaN and infinity too.
    """

    found: Any
    vector: Array


class Calls(Work):
    """A function of settings, called for each of several cells, which do not depend on one another.

    Parameters
    ----------
    label : str
        What the cells are of; part of every key.
    function : callable
        Takes a cell and returns what JSON can hold, or :class:`Kept`.
    cells : sequence of dict
        The settings: what JSON can hold, so no NaN and no infinity, by names that are no columns of tables, as ``key``.
        A cell that is given twice is done once; 1 and 1.0, which tables show as one, are refused beside each other.
    mark : str, optional
        What stands for the function in every key; by default a digest of its code, and for one of this package its
        name.

    Notes
    -----
    A cell that fails is a result with its message. Label, mark, cell and the version of the package make the key.
    """

    def __init__(
        self, label: str, function: Callable[[dict[str, Any]], Any], cells: Sequence[dict[str, Any]], mark: str = ""
    ) -> None:
        self.label = as_text(label, "label")
        self.function: Callable[[dict[str, Any]], Any] = as_callable(function, "function")
        self.cells = [_settings(cell) for cell in as_iterable(cells, "cells")]
        if not self.cells:
            raise ValueError("cells: is empty")
        _refuse_two_of_one_row(self.cells)
        self.mark = as_text(mark, "mark") or code_mark(function, "function")
        self._is_digested = not mark

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        return f"Calls({self.label!r}, {len(self)} cells)"

    def run(
        self,
        store: PathLike,
        backend: str | Executor = "loky",
        n_jobs: int | None = None,
        *,
        threads: int | None = None,
        retry_failed: bool = False,
        progress: bool = False,
    ) -> Runs:
        """Do all cells that the store does not hold yet; everything is as in :meth:`lorasolve.Study.run`."""
        done = do(self, store, backend, n_jobs, threads=threads, retry_failed=retry_failed, progress=progress)
        return Runs(done.store, self.keys() if done.keys is None else done.keys, interrupted=done.interrupted)

    def runs(self, store: PathLike) -> Runs:
        """Return what a store holds of these cells; nothing is done."""
        return Runs(Store(as_path(store, "store")), self.keys())

    def records(self, runs: Runs) -> list[dict[str, Any] | None]:
        """Return the record of each cell, in order; None for those that are not done."""
        known = {record["key"]: record for record in runs}
        describe = self.describer()
        return [known.get(describe(index).key) for index in range(len(self))]

    # ------------------------------------------------------------------ for the workers
    def describer(self) -> Callable[[int], Cell]:
        """Return the function that says what a cell is."""
        study = {"lorasolve": __version__, "schema": SCHEMA_VERSION}
        shared = f'"calls":{json_text(self.label)},"function":{json_text(self.mark)},"study":{json_text(study)}'

        def describe(index: int) -> Cell:
            cell = self.cells[index]
            # The order of settings is that of tables, and makes no other cell.
            known, run = (f'{{"cell":{json_text(given)},{shared}}}' for given in (dict(sorted(cell.items())), cell))
            return Cell(index, hashlib.blake2b(known.encode(), digest_size=SIZE).hexdigest(), run)

        return describe

    def worker(self, store: PathLike, threads: int, describe: Any = None) -> Worker:
        """Return what does the cells, in the process that asks."""
        return _Caller(self, store, threads, describe)

    def asked_of(self) -> list[Any]:
        """Return the function, where nothing else stands for it."""
        return [self.function] if self._is_digested else []

    def axes_asked(self) -> dict[str, int]:
        """Return the number of cells."""
        return {self.label: len(self)}


class _Caller(Worker):
    """Calls the function, cell by cell."""

    def __init__(self, calls: Calls, store: PathLike, threads: int, describe: Any = None) -> None:
        super().__init__(describe or calls.describer(), store, threads)
        self.calls = calls

    def _block(self, indices: Array, seconds: float, done: Set[str]) -> tuple[list[Entry], Array]:
        began = time.perf_counter()
        entries: list[Entry] = []
        left = [index for index in indices.tolist() if self.describe(index).key not in done]
        try:
            while left and not (entries and (asked_to_stop() or time.perf_counter() - began > seconds)):
                entries.append(self._call(left[0]))
                del left[0]
        except BaseException:
            # Ended at once, in a cell that may be one of minutes: those before it are done.
            self.shard.commit(entries)
            raise
        return entries, np.array(left, np.int64)

    def _call(self, index: int) -> Entry:
        began = time.perf_counter()
        cell = self.describe(index)
        result: dict[str, Any] = {"status": DONE}
        vector = None
        try:
            found = self.calls.function(dict(self.calls.cells[index]))
            if isinstance(found, Kept):
                found, vector = found.found, _vector(found.vector)
            result[FOUND] = summary(found)
        except ERRORS as error:
            result = {"error": in_words(error)}
        facts = {"seconds": time.perf_counter() - began, "threads": self.threads}
        return Entry(cell.key, cell.run, "error" not in result, result, facts, vector)


def _settings(cell: Any) -> Any:
    """Return the settings of a cell as JSON holds them."""
    if not isinstance(cell, Mapping):
        raise TypeError(f"cells: expected dicts of settings, got {shown(cell)}")
    taken = next((name for name in cell if name in (*COLUMNS, FOUND)), None)
    if taken is not None:
        raise ValueError(f"cells: expected names of their own, got {taken!r}, which is a column of every table")
    if (number := _first_infinite(cell)) is not None:
        raise ValueError(f"cells: expected finite numbers, got {number} in {shown(cell)}")
    found = for_json(dict(cell))
    try:
        json_text(found)
    except TypeError as error:
        raise TypeError(f"cells: expected settings that JSON can hold, got {shown(cell)} ({error})") from None
    return found


def _refuse_two_of_one_row(cells: Sequence[dict[str, Any]]) -> None:
    """Refuse cells that differ in how a number is written alone, 1 and 1.0: two cells, and one row of every table."""
    known: dict[str, dict[str, Any]] = {}
    for cell in cells:
        first = known.setdefault(json_text(dict(sorted(_as_shown(cell).items()))), cell)
        if json_text(dict(sorted(first.items()))) != json_text(dict(sorted(cell.items()))):
            raise ValueError(f"cells: expected each number written one way, got {first} and {cell}")


def _as_shown(value: Any) -> Any:
    """Return settings with whole numbers as such, however they are written."""
    if isinstance(value, dict):
        return {name: _as_shown(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_as_shown(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _first_infinite(value: Any) -> float | None:
    """Return the first number within a value that JSON cannot hold, if any."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return next((number for number in map(_first_infinite, value) if number is not None), None)
    return float(value) if isinstance(value, (float, np.floating)) and not np.isfinite(value) else None


def _vector(given: Any) -> Array:
    """Return the numbers to keep as float64, a copy."""
    vector = as_array(given, "vector")
    if vector.ndim != 1 or not np.can_cast(vector.dtype, np.float64):
        raise TypeError(f"vector: expected an array of real numbers with one axis, got {shown(given)}")
    return vector.astype(np.float64)
