"""``lorasolve study``: a grid of runs from a file, kept in a store, gone on with where it stopped."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.files import text_writer
from .._support.progress import complain
from .._support.text import counted, for_json
from .._support.threads import get_threads, set_threads
from ..io import envelope
from ..status import Status
from ._arguments import add_json_argument, add_worker_arguments, as_file, as_options
from ._output import certificate_text, emit, keep_inputs, remark, write_and_emit
from ._study_file import FILE_HELP, read_study, sources
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..studies import Runs, Study

# Different errors that are counted, and those that are shown.
_COUNTED_ERRORS, _SHOWN_ERRORS = 1000, 5
_SHOWN_DAMAGE = 10
# Where no other one is given.
_BACKEND = "loky"
# Options of what is done of a grid, and of what is told of it.
_OF_RUNS = ["store", "backend", "jobs", "address", "array", "threads", "retry_failed"]
_OF_TABLES = ["by", "csv", "latex", "phase", "html"]
_DIVERGED = Status.DIVERGED.label
# The beginning of a key, long enough to be no mistake.
_KEY = re.compile("[0-9a-f]{8,32}")


class StudyCommand(Command):
    """Run a study, or say what a store holds."""

    name = "study"
    summary = "a grid of runs from a file into a store: resumable, in parallel, with tables and phase diagrams"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.description = f"{parser.description}\n\n{FILE_HELP}"
        parser.add_argument("file", type=as_file, nargs="?", metavar="GRID", help="the study, a .toml file")
        parser.add_argument("--store", metavar="DIR", help="where the runs are kept; the same command goes on")
        parser.add_argument("--status", metavar="DIR", help="say what a store holds, and stop")
        parser.add_argument(
            "--repeat",
            nargs="+",
            metavar="AXIS=VALUE",
            help="do one run again and certify it, named by its axes or by the beginning of its key; nothing is kept, "
            "and with --store it is held against the run there, to the last bit (exit code 1 if it differs)",
        )
        group = parser.add_argument_group("workers")
        add_worker_arguments(group, _BACKEND)
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
            if args.file is not None:
                raise ValueError(f"--status: says what a store holds, whatever the grid; got {args.file!r} beside it")
            _refuse_beside(args, "--status", [*_OF_RUNS, *_OF_TABLES, "repeat"])
            with as_options(store="--status"):
                document = status(Runs.read(args.status))
            emit(args, envelope("study-status", document), _status_text(document))
            return ExitCode.FINE
        if args.file is None:
            taken = next((f"--{name}" for name in ("by", "repeat") if getattr(args, name)), None)
            remedy = "" if taken is None else f" ({taken} takes what follows it: write GRID before it, or behind --)"
            raise ValueError(f"GRID: expected a .toml file, or --status DIR{remedy}")
        if (args.html is None) != (args.phase is None):
            raise ValueError("--phase, --html: give both, as in --phase lam rank 'share of spurious ends' --html F")
        if args.by is not None and args.json and args.latex is None:
            raise ValueError("--by: expected without --json, whose rows are single runs, or beside --latex")
        written = {"--csv": args.csv, "--latex": args.latex, "--html": args.html}
        study, remarks = read_study(args.file)
        for text in remarks:
            remark(args, text)
        keep_inputs([args.file, *sources(args.file)], written)
        check_axes(args.by or (), study.axes.labels, "--by")
        if args.phase is not None:
            *axes, measure = args.phase
            check_axes(axes, study.axes.labels, "--phase")
            measure_of(measure, "--phase")
        if args.repeat:
            _refuse_beside(args, "--repeat", [*_OF_TABLES, *_OF_RUNS[1:]])
            return _repeat(args, study)
        if args.store is None:
            raise ValueError("--store: expected a folder for the runs")
        named = {"store": "--store", "backend": "--backend", "threads": "--threads"}
        with as_options(n_jobs="--jobs" if args.array is None else "--array", **named):
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
    document = status(runs) | {"rows": runs.sorted_rows() if args.json else []}
    texts: dict[str, str] = {}
    if args.csv:
        texts[args.csv] = runs.to_csv()
    if args.latex:
        texts[args.latex] = runs.to_latex(by=args.by)
    writes = {}
    try:
        if args.phase:  # of what no run has, perhaps, which only the runs tell
            with as_options(phase="--phase"):
                texts[args.html] = runs.phase_page(*args.phase)
        writes = {name: text_writer(text) for name, text in texts.items()}
    finally:
        write_and_emit(args, envelope("study", document), runs.table(args.by), writes)
    none_ended = set(document["ends"]) <= {"failed", _DIVERGED}
    # Why all have failed is no remark, but what the exit code is about.
    say = complain if none_ended else partial(remark, args)
    diverged = document["ends"].get(_DIVERGED, 0)
    if diverged:
        say(f"{diverged} of {document['runs']} runs diverged: {Status.DIVERGED.advice}")
    for line in _error_lines(document):
        say(line)
    for line in _damage_lines(document):
        remark(args, line)
    if runs.interrupted:
        return ExitCode.INCONCLUSIVE
    return ExitCode.FALSE if none_ended else ExitCode.FINE


def _refuse_beside(args: argparse.Namespace, option: str, names: list[str]) -> None:
    """Refuse options that would do nothing beside another one, such as files that would not be written."""
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) not in (None, False, _BACKEND)]
    if given:
        raise ValueError(f"{', '.join(given)}: expected where a grid is run, got beside {option}")


def _backend(args: argparse.Namespace) -> str:
    """Return the executor with the settings that have options of their own."""
    name = args.backend.partition(":")[0]
    if args.address is not None and name != "dask":
        raise ValueError(f"--address: applies to '--backend dask' only, got {name!r}")
    if args.array is not None and name != "slurm":
        raise ValueError(f"--array: applies to '--backend slurm' only, got {name!r}")
    return args.backend if args.address is None else f"{args.backend}:address={args.address!r}"


def _repeat(args: argparse.Namespace, study: Study) -> int:
    index = _named_cell(args.repeat, study)
    cell, key = study.axes.cell(study.axes.positions(index)), study.describer()(index).key
    kept = None if args.store is None else _kept(study, args.store, key)
    with as_options(cell="--repeat"), _threads_of(kept):
        result = study.repeat(**cell)
    problem = study.problem_of(study.axes.values(study.axes.positions(index)))
    iterations = counted(result.nit, "iteration")
    text = f"{result.message}\n  L = {result.fun!r}, ||grad L|| = {result.grad_norm:.3g}, {iterations}"
    if problem.adapter.low_rank and np.isfinite(result.fun):
        from ..certificates import certify

        text += f"\n{certificate_text(certify(problem, result))}"
    found = {"fun": result.fun, "grad_norm": result.grad_norm, "nit": result.nit}
    document: dict[str, Any] = {"cell": cell, "key": key, **found, "kept": None}
    same = True
    if kept is not None:
        document["kept"] = {name: kept["result"].get(name) for name in found}
        same = document["kept"] == for_json(found)
        text += f"\n\nrun {key} of {args.store}: {_held_against(document['kept'], same)}"
    emit(args, envelope("study-run", document), text)
    return ExitCode.FALSE if result.status is Status.DIVERGED or not same else ExitCode.FINE


def _named_cell(words: list[str], study: Study) -> int:
    """Return the number of the cell that its values name, or the beginning of its key."""
    if len(words) == 1 and _KEY.fullmatch(words[0]):
        describe = study.describer()
        found = [index for index in range(len(study)) if describe(index).key.startswith(words[0])]
        if len(found) == 1:
            return found[0]
        many = f"{len(found)} runs of the study have a key that begins so" if found else "no run of the study has it"
        raise ValueError(f"--repeat: expected the key of one run, got {words[0]}: {many}")
    cell = {}
    for text in words:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--repeat: expected AXIS=VALUE or a key, got {text!r}")
        if name in cell:
            raise ValueError(f"--repeat: expected one value on each axis, got {name} twice")
        try:
            cell[name] = json.loads(value)
        except ValueError:
            cell[name] = value
    with as_options(cell="--repeat"):
        return study.axes.find(cell)


def _kept(study: Study, store: str, key: str) -> dict[str, Any]:
    """Return the record of a run in a store."""
    with as_options(store="--store"):
        record = next((record for record in study.runs(store) if record["key"] == key), None)
    if record is None:
        raise ValueError(f"--store: {store} has no run {key}, which this one is")
    return record


@contextlib.contextmanager
def _threads_of(kept: dict[str, Any] | None) -> Iterator[None]:
    """Use as many threads inside the block as a run had, on which its last digits depend."""
    before = get_threads()
    try:
        if kept is not None:
            set_threads(kept["made"]["threads"])
        yield
    finally:
        set_threads(before)


def _held_against(kept: dict[str, Any], same: bool) -> str:
    """Say whether a run that is done again has the digits of the one that is kept."""
    if same:
        return "the same to the last bit"
    return f"kept are L = {kept['fun']!r}, ||grad L|| = {kept['grad_norm']!r}, {kept['nit']} iterations: not the same"


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
        "store": str(runs.store),
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
