"""Run experiments cell by cell, keep what is finished, write figure and JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import signal
import threading
import time
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .._files import PathLike, Write, write_together
from .._progress import Progress
from .._threads import blas_threads, get_threads
from .._version import __version__
from ..io import envelope, json_writer, to_json, write_json
from ..plotting import figure_writer
from .base import Cell, Claim, Experiment, Record

_SAVE_EVERY = 2.0


@dataclass(frozen=True)
class Reproduction:
    """A finished experiment.

    Attributes
    ----------
    experiment : Experiment
        What was run.
    quick : bool
        Whether it was the quick version.
    records : list of dict
        One record per cell.
    claims : list of Claim
        The paper's claims held against the records.
    files : list of pathlib.Path
        What was written.
    seconds : float
        Duration of this call; cells that an earlier run had finished cost nothing.
    """

    experiment: Experiment
    quick: bool
    records: list[Record]
    claims: list[Claim]
    files: list[pathlib.Path]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def __str__(self) -> str:
        experiment = self.experiment
        work = sum(record["seconds"] for record in self.records)
        return "\n".join(
            [
                f"== {_stem(experiment, self.quick)}: {experiment.summary}",
                experiment.table(self.records),
                *map(str, self.claims),
                f"({len(self.records)} cells, {work:.0f} s of work, {self.seconds:.0f} s now; seeds: "
                f"{experiment.seeds}; {', '.join(map(str, self.files))})",
            ]
        )


def reproduce(experiment: Experiment, out: pathlib.Path, quick: bool, fresh: bool = False) -> Reproduction:
    """Run one experiment and write its files.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    out : pathlib.Path
        Directory of ``NAME.json`` and ``NAME.png`` (``NAME-quick.*`` for quick runs); created if missing.
    quick : bool
        Whether to run the quick version.
    fresh : bool
        Whether to ignore finished cells of an earlier run.
    """
    path = out / f"{_stem(experiment, quick)}.json"
    started = time.perf_counter()
    _run_cells(experiment, path, quick, fresh)
    # What is shown and judged is what was written, the same for a first run and for one that was continued.
    records: list[Record] = json.loads(path.read_text())["records"]
    claims = experiment.claims(records)
    writes: dict[PathLike, Write] = {path: json_writer(_document(experiment, records, claims))}
    if experiment.size is not None:
        writes[path.with_suffix(".png")] = figure_writer(_figure(experiment, records, experiment.size))
    write_together(writes)
    files = [pathlib.Path(written) for written in writes]
    return Reproduction(experiment, quick, records, claims, files, time.perf_counter() - started)


def _run_cells(experiment: Experiment, path: pathlib.Path, quick: bool, fresh: bool) -> None:
    """Run the cells that an earlier run has not finished, and write all finished ones, also when interrupted."""
    import scipy.linalg  # noqa: F401  its BLAS is limited below only once it is loaded

    records = [] if fresh else _finished(path)
    cells = experiment.cells(quick)
    done = {_key(record, cell): record for cell in cells for record in records if _matches(record, cell)}
    progress = Progress(experiment.name, True)
    kept: list[Record] = []
    saved = time.perf_counter()
    try:
        with _interruptions_end_all():
            for index, cell in enumerate(cells):
                progress.show(index / len(cells), f"cell {index + 1} of {len(cells)}")
                key = json.dumps(cell, sort_keys=True)
                record = done.get(key)
                if record is None:
                    began = time.perf_counter()
                    # Also outside of solves, which keep to the setting themselves.
                    with blas_threads(get_threads()):
                        record = cell | experiment.run(cell)
                    record["seconds"] = time.perf_counter() - began
                kept.append(record)
                if time.perf_counter() - saved > _SAVE_EVERY:
                    write_json(path, _document(experiment, kept, []))
                    saved = time.perf_counter()
    except _Interrupted:
        raise KeyboardInterrupt from None
    finally:
        progress.close()
        write_json(path, _document(experiment, kept, []))


class _Interrupted(BaseException):
    """Ctrl-C or SIGTERM, where a single run of many is not to be kept."""


@contextlib.contextmanager
def _interruptions_end_all() -> Iterator[None]:
    """Let interruptions pass through solvers, which would keep what they have and let the next run begin."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        try:
            handlers[signal.Signals(number)](number, frame)  # type: ignore[operator, misc]
        except KeyboardInterrupt:
            raise _Interrupted from None

    taken = [number for number, handler in handlers.items() if callable(handler)]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, handlers[number])


def _stem(experiment: Experiment, quick: bool) -> str:
    return experiment.name + ("-quick" if quick else "")


def _finished(path: pathlib.Path) -> list[Record]:
    """Return the records of an earlier run of the same version, or none."""
    try:
        document = json.loads(path.read_text())
    except OSError:
        return []
    except ValueError:
        document = None
    records = document.get("records") if isinstance(document, dict) else None
    if records is None or document.get("digest") != _digest(records):
        warnings.warn(f"{path}: is damaged; its cells are run again", stacklevel=2)
        return []
    return records if document.get("lorasolve") == __version__ else []


def _digest(records: list[Record]) -> str:
    """Return what tells whether records are those that were written."""
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def _matches(record: Record, cell: Cell) -> bool:
    return all(key in record and record[key] == value for key, value in cell.items())


def _key(record: Record, cell: Cell) -> str:
    return json.dumps({key: record[key] for key in cell}, sort_keys=True)


def _document(experiment: Experiment, records: list[Record], claims: list[Claim]) -> dict[str, Any]:
    body = {
        "experiment": experiment.name,
        "paper": experiment.paper,
        "summary": experiment.summary,
        "seeds": experiment.seeds,
        "records": records,
        # Of the records as they are read back: numbers that JSON cannot hold are null there.
        "digest": _digest(json.loads(to_json({"records": records}))["records"]),
        "claims": [claim.to_dict() for claim in claims],
    }
    return envelope("reproduce", body)


def _figure(experiment: Experiment, records: list[Record], size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    experiment.draw(records, figure)
    return figure
