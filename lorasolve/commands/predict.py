"""``lorasolve predict``: entries that a completion model predicts."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from .._support.validate import Array
from ..io import UNNAMED, Pairs, read_pairs
from ._arguments import FORMAT, add_format_arguments, add_json_argument, as_file, as_options, format_from
from ._output import remark
from ._predictions import check_out, remark_exchanged, remark_otherwise_written, tell
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..models import CompletionModel


class PredictCommand(Command):
    """Predict entries by their labels."""

    name = "predict"
    summary = "predict entries of a completed matrix: a model of 'lorasolve complete' and a file of label pairs"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("model", type=as_file, help="a model that 'lorasolve complete --out' wrote")
        parser.add_argument("pairs", type=as_file, help="row label, column label per line (.csv, .tsv, .data, .inter)")
        add_format_arguments(parser, ("ROW", "COLUMN"))
        parser.add_argument("--out", metavar="FILE", help="write a .csv here instead of to stdout")
        add_json_argument(parser, "csv")
        parser.add_argument("--quiet", action="store_true", help="no remarks on stderr")

    def run(self, args: argparse.Namespace) -> int:
        """Read, predict, write."""
        from ..models import CompletionModel

        if args.pairs.lower().endswith(".npz") and not args.model.lower().endswith(".npz"):
            raise ValueError(f"model, pairs: expected in this order, got {args.model} {args.pairs}")
        check_out([args.model, args.pairs], args.out)
        model = CompletionModel.load(args.model)
        with as_options(**FORMAT):
            pairs = read_pairs(args.pairs, format_from(args))
        if pairs.names == UNNAMED and (why := _begins_with_a_header(model, pairs)):
            pairs = _without_header(args, pairs, why)
        rows, cols = pairs.rows, pairs.cols
        values = model.predict(rows, cols)
        unknown = int((~(model.knows_rows(rows) & model.knows_cols(cols))).sum())
        if unknown:
            remark(args, f"{unknown} of {len(rows)} pairs have a label that was not in the data: means only")
        otherwise = remark_otherwise_written(args, model, rows, cols) or remark_exchanged(args, model, rows, cols)
        first = not (model.knows_rows(rows[:1])[0] or model.knows_cols(cols[:1])[0])
        if first and not otherwise and pairs.names == UNNAMED and not rows[0].isdigit():
            remark(
                args,
                f"the first pair, {rows[0]!r} and {cols[0]!r}, has no label of the data; if that is a header, "
                f"--columns {shlex.quote(rows[0])} {shlex.quote(cols[0])} says so",
            )
        names = model.names if pairs.names == UNNAMED else pairs.names
        tell(args, "predict", names, list(zip(rows, cols, values.tolist())), unknown=unknown)
        return ExitCode.FINE


def _begins_with_a_header(model: CompletionModel, pairs: Pairs) -> str:
    """Return why the first pair are names and no labels, if they are: the data's own, or texts among numbers."""
    row, col = pairs.rows[0], pairs.cols[0]
    if model.knows_rows([row])[0] or model.knows_cols([col])[0]:
        return ""
    if (row, col) == model.names:
        return "the data call rows and columns so"
    texts = _is_text_among_numbers(row, model.row_labels) or _is_text_among_numbers(col, model.col_labels)
    return "labels of the data are numbers" if texts else ""


def _is_text_among_numbers(label: str, labels: Array) -> bool:
    try:
        float(label)
    except ValueError:
        return labels.dtype.kind in "iuf"
    return False


def _without_header(args: argparse.Namespace, pairs: Pairs, why: str) -> Pairs:
    """Return the pairs after the first, which are the names of the columns, and say so."""
    row, col = pairs.rows[0], pairs.cols[0]
    if len(pairs.rows) == 1:
        raise ValueError(f"{args.pairs}: holds no pairs but the names {row!r} and {col!r}")
    remark(args, f"the first line, {row!r} and {col!r}, is taken for a header, as {why}")
    return Pairs(pairs.rows[1:], pairs.cols[1:], (row, col))
