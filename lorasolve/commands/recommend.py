"""``lorasolve recommend``: the columns of the largest predictions of a completion model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import Array
from ..io import Ratings
from ._arguments import FORMAT, add_format_arguments, add_json_argument, as_file, as_options, ratings_from
from ._output import remark
from ._predictions import check_out, remark_exchanged, remark_otherwise_written, tell
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..models import CompletionModel


class RecommendCommand(Command):
    """Tell the columns of the largest predictions in each row."""

    name = "recommend"
    summary = "the columns of the largest predictions: a model of 'lorasolve complete' and rows of it"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("model", type=as_file, help="a model that 'lorasolve complete --out' wrote")
        parser.add_argument(
            "--rows", nargs="+", metavar="LABEL", help="rows of the data (default: all of them, or those of --new)"
        )
        parser.add_argument("--count", type=int, default=10, help="columns of each row (default 10)")
        parser.add_argument(
            "--without", type=as_file, metavar="FILE", help="ratings to leave out, such as those that were completed"
        )
        parser.add_argument(
            "--new",
            type=as_file,
            metavar="FILE",
            help="ratings of rows that are not in the data, or are known better by now: they are taken in without "
            "another fit, and what is rated there is left out",
        )
        add_format_arguments(parser.add_argument_group("format of --without and --new"))
        parser.add_argument("--out", metavar="FILE", help="write a .csv here instead of to stdout")
        add_json_argument(parser, "csv")
        parser.add_argument("--quiet", action="store_true", help="no remarks on stderr")

    def run(self, args: argparse.Namespace) -> int:
        """Read, predict, write."""
        from ..models import CompletionModel

        given = [option for name, option in FORMAT.items() if getattr(args, name)]
        files = [path for path in (args.without, args.new) if path is not None]
        if given and not files:
            raise ValueError(f"{', '.join(given)}: expected beside --without or --new, the file whose format it is")
        check_out([args.model, *files], args.out)
        model, rows = CompletionModel.load(args.model), args.rows
        with as_options(**FORMAT):
            read = {path: ratings_from(args, path, entries_alone=path != args.new) for path in files}
        if args.new is not None:
            model = _with_rows(args, model, read[args.new])
            rows = read[args.new].row_labels if rows is None else rows
        if args.without is not None:
            _remark_unknown(args, model, read[args.without])
        with as_options(rows="--rows", count="--count"):
            found = model.best_columns(model.row_labels if rows is None else rows, args.count, without=_rated(read))
        if model.means in ("columns", "both"):
            remark(
                args,
                f"means {model.means}: columns of few ratings may lead by an average of their own; "
                "a model with --means rows ranks them lower",
            )
        tell(args, "recommend", model.names, list(zip(*(part.tolist() for part in found))))
        return ExitCode.FINE


def _labels(ratings: Ratings) -> tuple[Array, Array]:
    """Return the row and the column of each entry."""
    return ratings.row_labels[ratings.rows], ratings.col_labels[ratings.cols]


def _rated(read: dict[str, Ratings]) -> tuple[Array, Array] | None:
    """Return the entries of all files, to leave them out."""
    if not read:
        return None
    rows, cols = zip(*map(_labels, read.values()))
    return np.concatenate(rows), np.concatenate(cols)


def _with_rows(args: argparse.Namespace, model: CompletionModel, new: Ratings) -> CompletionModel:
    """Return the model with new rows; say which of their entries tell nothing."""
    rows, cols = _labels(new)
    known = model.knows_cols(cols)
    if not known.all():
        remark(args, f"{int((~known).sum())} of {len(cols)} new entries are of columns that were not in the data")
        remark_otherwise_written(args, model, [], new.col_labels.astype(str).tolist())
        remark_exchanged(args, model, rows.astype(str).tolist(), cols.astype(str).tolist())
    with as_options(**{"ratings.row_labels": "--new", "ratings.col_labels": "--new"}):
        return model.with_rows(new)


def _remark_unknown(args: argparse.Namespace, model: CompletionModel, seen: Ratings) -> None:
    """Say how many entries to leave out the model does not know, and why that may be."""
    rows, cols = _labels(seen)
    unknown = int((~(model.knows_rows(rows) & model.knows_cols(cols))).sum())
    if unknown:
        remark(args, f"{unknown} of {len(rows)} entries to leave out have a label that was not in the data")
        labels = (part.astype(str).tolist() for part in (seen.row_labels, seen.col_labels))
        remark_otherwise_written(args, model, *labels)
        remark_exchanged(args, model, rows.astype(str).tolist(), cols.astype(str).tolist())
