"""What the commands that predict entries share: a table with commas, or a document."""

from __future__ import annotations

import argparse
import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from .._support.files import text_writer, write_atomically
from ..io import envelope
from .base import emit, remark


def refuse_other_formats(out: str | None) -> None:
    """Refuse a name that promises another format than a table with commas."""
    if out is not None and pathlib.PurePath(out).suffix.lower() not in ("", ".csv", ".txt"):
        raise ValueError(
            f"--out: predictions are written as a table with commas: expected a name with the suffix .csv or .txt or "
            f"without one, got {out}; --json prints them as a document"
        )


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
