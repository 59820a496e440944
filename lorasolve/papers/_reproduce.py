"""Run experiments cell by cell, keep what is finished, write figure and JSON."""

from __future__ import annotations

import json
import pathlib
import time
from dataclasses import dataclass

from .._files import write_atomically
from .._progress import Progress
from .._threads import blas_threads, get_threads
from .._version import __version__
from ..io import envelope, write_json
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
    _save(path, experiment, records, claims)
    files = [path]
    if experiment.size is not None:
        files.append(path.with_suffix(".png"))
        _write_figure(files[-1], experiment, records, experiment.size)
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
                _save(path, experiment, kept, [])
                saved = time.perf_counter()
    finally:
        progress.close()
        _save(path, experiment, kept, [])


def _stem(experiment: Experiment, quick: bool) -> str:
    return experiment.name + ("-quick" if quick else "")


def _finished(path: pathlib.Path) -> list[Record]:
    """Return the records of an earlier run of the same version, or none."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return document["records"] if document.get("lorasolve") == __version__ else []


def _matches(record: Record, cell: Cell) -> bool:
    return all(key in record and record[key] == value for key, value in cell.items())


def _key(record: Record, cell: Cell) -> str:
    return json.dumps({key: record[key] for key in cell}, sort_keys=True)


def _save(path: pathlib.Path, experiment: Experiment, records: list[Record], claims: list[Claim]) -> None:
    body = {
        "experiment": experiment.name,
        "paper": experiment.paper,
        "summary": experiment.summary,
        "seeds": experiment.seeds,
        "records": records,
        "claims": [claim.to_dict() for claim in claims],
    }
    write_json(path, envelope("reproduce", body))


def _write_figure(
    path: pathlib.Path, experiment: Experiment, records: list[Record], size: tuple[float, float]
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    experiment.draw(records, figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))
