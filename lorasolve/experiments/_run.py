"""Run experiments cell by cell, keep what is finished, write table, figure and JSON."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Sequence

from .._progress import Progress
from .._threads import set_threads
from .._version import __version__
from ..io import envelope, write_atomically, write_json
from .base import Cell, Experiment, Record

_SAVE_EVERY = 2.0


def main(argv: Sequence[str]) -> int:
    """Run ``lorasolve reproduce``.

    Exit codes: 0 fine, 2 usage error, 3 interrupted (finished cells are kept).
    """
    from . import registry

    known = registry.classes()
    listing = "\n".join(f"  {name:<11}{cls.summary}" for name, cls in known.items())
    parser = argparse.ArgumentParser(
        prog="lorasolve reproduce",
        description="Run experiments; each prints a table and writes NAME.json and NAME.png. An interrupted run "
        f"continues where it stopped.\n\nexperiments:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[*known, "all"], metavar="NAME", help="an experiment, or 'all'")
    parser.add_argument("--quick", action="store_true", help="fewer seeds and smaller grids, written as NAME-quick.*")
    parser.add_argument("--out", default="reproduced", metavar="DIR", help="where to write (default: reproduced)")
    parser.add_argument("--fresh", action="store_true", help="ignore what an earlier run has finished")
    args = parser.parse_args(list(argv))
    names = list(known) if args.name == "all" else [args.name]
    # Thousands of small problems: a second BLAS thread would mostly wait for the first.
    set_threads(1)
    for name in names:
        try:
            reproduce(known[name](), pathlib.Path(args.out), args.quick, args.fresh)
        except KeyboardInterrupt:
            print(f"{name}: interrupted; the same command continues from here", file=sys.stderr)
            return 3
        except OSError as error:
            print(f"lorasolve reproduce: {error}", file=sys.stderr)
            return 2
    return 0


def reproduce(experiment: Experiment, out: pathlib.Path, quick: bool, fresh: bool = False) -> list[Record]:
    """Run one experiment and write its files; return the records.

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
    stem = experiment.name + ("-quick" if quick else "")
    path = out / f"{stem}.json"
    records = [] if fresh else _finished(path)
    cells = experiment.cells(quick)
    done = {_key(record, cell): record for cell in cells for record in records if _matches(record, cell)}
    progress = Progress(experiment.name, True)
    kept: list[Record] = []
    saved = time.perf_counter()
    started = saved
    try:
        for index, cell in enumerate(cells):
            progress.show(index / len(cells), f"cell {index + 1} of {len(cells)}")
            key = json.dumps(cell, sort_keys=True)
            record = done.get(key)
            if record is None:
                began = time.perf_counter()
                record = cell | experiment.run(cell)
                record["seconds"] = time.perf_counter() - began
            kept.append(record)
            if time.perf_counter() - saved > _SAVE_EVERY:
                _save(path, experiment, kept)
                saved = time.perf_counter()
    finally:
        progress.close()
        _save(path, experiment, kept)
    kept = json.loads(path.read_text())["records"]
    _write_figure(out / f"{stem}.png", experiment, kept)
    seconds = sum(record["seconds"] for record in kept)
    print(f"== {stem}: {experiment.summary}")
    print(experiment.table(kept))
    print(
        f"({len(kept)} cells, {seconds:.0f} s of work, {time.perf_counter() - started:.0f} s now; seeds: "
        f"{experiment.seeds}; {out / stem}.json, .png)\n",
        flush=True,
    )
    return kept


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


def _save(path: pathlib.Path, experiment: Experiment, records: list[Record]) -> None:
    body = {"experiment": experiment.name, "summary": experiment.summary, "seeds": experiment.seeds, "records": records}
    write_json(path, envelope("reproduce", body))


def _write_figure(path: pathlib.Path, experiment: Experiment, records: list[Record]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=experiment.size, layout="constrained")
    FigureCanvasAgg(figure)
    experiment.draw(records, figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))
