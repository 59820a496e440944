"""What the commands that predict entries share: a table with commas, or a document."""

from __future__ import annotations

import argparse
import csv
import io
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.files import text_writer, write_atomically
from .._support.validate import Array
from ..io import envelope
from ._output import emit, keep_inputs, refuse_inputs, remark

if TYPE_CHECKING:
    from ..models import CompletionModel


def check_out(read: Sequence[str], out: str | None) -> None:
    """Refuse a file of predictions that is read, that promises no table with commas, or that cannot be written."""
    refuse_inputs(read, {"--out": out})
    if out is not None and pathlib.PurePath(out).suffix.lower() not in ("", ".csv", ".txt"):
        raise ValueError(
            f"--out: predictions are written as a table with commas: expected a name with the suffix .csv or .txt or "
            f"without one, got {out}; --json prints them as a document"
        )
    keep_inputs(read, {"--out": out})


def tell(
    args: argparse.Namespace, kind: str, names: tuple[str, str], lines: Sequence[tuple[Any, Any, float]], **more: Any
) -> None:
    """Write predictions to ``--out`` or print them; a document has ``more`` beside them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "prediction"])
    writer.writerows((row, col, f"{value:.10g}") for row, col, value in lines)
    if args.out is not None:
        write_atomically(args.out, text_writer(text.getvalue()))
        remark(args, f"written: {args.out}, {len(lines)} predictions")
    if args.json or args.out is None:
        document = {"predictions": [list(line) for line in lines]} | more
        emit(args, envelope(kind, document), text.getvalue().rstrip("\n"))


def remark_otherwise_written(
    args: argparse.Namespace, model: CompletionModel, rows: list[str], cols: list[str]
) -> bool:
    """Say which labels the data write otherwise, and return whether there are any."""
    columns = (("row", rows, model.knows_rows), ("column", cols, model.knows_cols))
    otherwise = [(which, *pair) for which, labels, knows in columns if (pair := _written_otherwise(labels, knows))]
    for which, label, known in otherwise:
        remark(args, f"the {which} label {label!r} is {known!r} in the data; labels are compared as they are written")
    return bool(otherwise)


def remark_exchanged(args: argparse.Namespace, model: CompletionModel, rows: list[str], cols: list[str]) -> bool:
    """Say that rows stand in the place of columns, where no pair is known but exchanged ones, and return whether."""
    if (model.knows_rows(rows) & model.knows_cols(cols)).any():
        return False
    exchanged = np.flatnonzero(model.knows_rows(cols) & model.knows_cols(rows))
    if exchanged.size:
        row, col = rows[exchanged[0]], cols[exchanged[0]]
        remark(args, f"rows and columns are exchanged: {row!r} is a column of the data, and {col!r} a row")
    return bool(exchanged.size)


def _written_otherwise(labels: list[str], knows: Callable[[list[str]], Array]) -> tuple[str, str] | None:
    """Return a label that the data lack and how they write its number; pandas writes ``1`` as ``1.0`` at times."""
    unknown = dict.fromkeys(label for label, known in zip(labels, knows(labels).tolist()) if not known)
    numbers = [label for label in unknown if re.fullmatch(r"-?[0-9]{1,15}(\.0+)?", label)]
    pairs = [(label, form.format(float(label))) for form in ("{:.0f}", "{:.1f}") for label in numbers]
    known = knows([other for _, other in pairs]) if pairs else ()
    return next((pair for pair, is_known in zip(pairs, known) if is_known), None)
