"""Run experiments on a store of studies, and write figure and JSON of what it holds."""

from __future__ import annotations

import pathlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._support.files import PathLike, Write, write_together
from .._support.validate import as_instance, as_iterable, as_text
from ..executors import Executor
from ..io import envelope, json_writer
from ..papers.base import Axes, Claim, Experiment, PaperClaims, Record
from ..plotting import figure_writer
from ..studies import Calls, CellError
from ._axes import chosen, in_own_order, judged, words

# Of the errors of cells, as many are named.
_SHOWN = 3


@dataclass(frozen=True)
class Reproduction:
    """A finished experiment.

    Attributes
    ----------
    experiment : Experiment
        What was run.
    quick : bool
        Whether it was the quick version.
    given : dict of str to list of str
        The axes that were chosen, as on the command line.
    records : list of dict
        One record per cell.
    claims : list of Claim
        The paper's claims held against the records.
    judged : bool
        Whether the axes hold what the claims are about; else there are none.
    files : list of pathlib.Path
        What was written.
    seconds : float
        Duration of this call; cells that an earlier run had finished cost nothing.
    """

    experiment: Experiment
    quick: bool
    given: dict[str, list[str]]
    records: list[Record]
    claims: list[Claim]
    judged: bool
    files: list[pathlib.Path]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    @property
    def command(self) -> str:
        """The command that runs it."""
        command = ["lorasolve", "reproduce", self.experiment.name, *(["--quick"] if self.quick else [])]
        return shlex.join([*command, *words(self.given)])

    @property
    def seeds(self) -> str:
        """The seeds that were used, as far as words say them."""
        return _seeds(self.experiment, self.given)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, without the records, which its own document has."""
        document = _document(self.experiment, self.given, self.claims)
        ran = {
            "quick": self.quick,
            "axes": self.given,
            "judged": self.judged,
            "ok": self.ok,
            "cells": len(self.records),
            "seconds": self.seconds,
            "files": list(map(str, self.files)),
        }
        return document | ran

    def __str__(self) -> str:
        experiment = self.experiment
        work = sum(record["seconds"] for record in self.records)
        lines = [f"== {_stem(experiment, self.quick, self.given)}: {experiment.summary}"]
        lines += [as_text(experiment.table(self.records), f"{experiment.name}: table"), *map(str, self.claims)]
        if not self.judged and type(experiment).claims is not Experiment.claims:
            lines.append("(the claims are about the experiment's own axes, and are not judged on these)")
        lines.append(
            f"({len(self.records)} cells, {work:.0f} s of work, {self.seconds:.0f} s now; seeds: "
            f"{self.seeds}; {', '.join(map(str, self.files))})"
        )
        return "\n".join(lines)


def reproduce(
    experiment: Experiment,
    out: pathlib.Path,
    quick: bool,
    given: Mapping[str, Sequence[str]] | None = None,
    *,
    store: PathLike | None = None,
    backend: str | Executor = "serial",
    n_jobs: int | None = None,
) -> Reproduction:
    """Run one experiment and write its files.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    out : pathlib.Path
        Directory of ``NAME.json`` and ``NAME.png``, created if missing: ``NAME-quick.*`` for quick runs, and
        ``NAME-chosen.*`` where axes are given.
    quick : bool
        Whether to run the quick version.
    given : mapping of str to sequence of str, optional
        Values of axes in place of the experiment's own, as on the command line.
    store : path, optional
        Where finished cells are kept, by default ``out/store``.
    backend : str or Executor
        Who does the cells, as in :meth:`lorasolve.Study.run`.
    n_jobs : int, optional
        Number of workers; by default one a core.

    Raises
    ------
    ValueError, TypeError
        For axes that the experiment does not have.
    CellError
        If a cell fails; the others are kept.
    KeyboardInterrupt
        If it was asked to stop; finished cells are kept, the same call goes on.
    """
    started = time.perf_counter()
    texts = {name: list(values) for name, values in (given or {}).items()}
    axes = chosen(experiment, quick, texts)
    calls = Calls(experiment.name, experiment.run, experiment.cells(axes))
    # Thousands of small problems: a second thread would mostly wait for the first.
    runs = calls.run(
        out / "store" if store is None else store, backend, n_jobs, threads=1, retry_failed=True, progress=True
    )
    if runs.interrupted:
        raise KeyboardInterrupt
    records = _ordered(experiment, axes, _records(experiment, calls, calls.records(runs)))
    claims = _claims(experiment, records) if judged(experiment, axes) else []
    path = out / f"{_stem(experiment, quick, texts)}.json"
    document = envelope("reproduce", _document(experiment, texts, claims, records=records))
    writes: dict[PathLike, Write] = {path: json_writer(document)}
    if experiment.size is not None:
        writes[path.with_suffix(".png")] = figure_writer(_figure(experiment, records, experiment.size))
    write_together(writes)
    files = [pathlib.Path(written) for written in writes]
    seconds = time.perf_counter() - started
    return Reproduction(experiment, quick, texts, records, claims, judged(experiment, axes), files, seconds)


def _records(experiment: Experiment, calls: Calls, found: list[dict[str, Any] | None]) -> list[Record]:
    """Return each cell with its results, or name those that failed."""
    records: list[Record] = []
    # By what was wrong, which may be the same everywhere.
    failed: dict[str, list[str]] = {}
    for cell, line in zip(calls.cells, found):
        result = {"error": "is not in the store"} if line is None else line["result"]
        if line is None or "error" in result:
            place = ", ".join(f"{key} = {value}" for key, value in cell.items())
            failed.setdefault(result["error"], []).append(place)
        else:
            records.append(cell | result["found"] | {"seconds": line["made"]["seconds"]})
    if failed:
        shown = [
            places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else "") + f": {error}"
            for error, places in failed.items()
        ]
        more = f"; and {len(shown) - _SHOWN} other errors" if len(shown) > _SHOWN else ""
        count = sum(map(len, failed.values()))
        raise CellError(f"{experiment.name}: {count} of {len(calls)} cells failed: {'; '.join(shown[:_SHOWN])}{more}")
    return records


def _ordered(experiment: Experiment, axes: Axes, records: list[Record]) -> list[Record]:
    """Return the records of all cells in the order in which claims and figures expect them, however axes were given."""
    if isinstance(experiment, PaperClaims):  # a cell a part
        return records
    places = experiment.cells(in_own_order(experiment, axes))
    found = zip(map(places.index, experiment.cells(axes)), records)
    return [record for _, record in sorted(found, key=lambda each: each[0])]


def _claims(experiment: Experiment, records: list[Record]) -> list[Claim]:
    """Return the claims held against the records, as a list of them."""
    name = f"{experiment.name}: claims"
    return [as_instance(claim, name, Claim) for claim in as_iterable(experiment.claims(records), name)]


def _stem(experiment: Experiment, quick: bool, given: Mapping[str, Any]) -> str:
    return experiment.name + ("-quick" if quick else "") + ("-chosen" if given else "")


def _seeds(experiment: Experiment, given: Mapping[str, Sequence[str]]) -> str:
    """Return which seeds are used: an axis that is given may be one of them, and comes before the experiment's own."""
    if not given:
        return experiment.seeds
    return f"as given by {shlex.join(words(given))}; where that sets none, {experiment.seeds}"


def _document(
    experiment: Experiment, given: Mapping[str, Sequence[str]], claims: list[Claim], **more: Any
) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "paper": experiment.paper,
        "summary": experiment.summary,
        "seeds": _seeds(experiment, given),
        **more,
        "claims": [claim.to_dict() for claim in claims],
    }


def _figure(experiment: Experiment, records: list[Record], size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    experiment.draw(records, figure)
    return figure
