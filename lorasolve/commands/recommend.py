"""``lorasolve recommend``: the columns of the largest predictions of a completion model."""

from __future__ import annotations

import argparse

from ..io import read_ratings
from ._arguments import FORMAT, add_format_arguments, add_json_argument, as_options, format_from
from ._output import keep_inputs, remark
from ._predictions import refuse_other_formats, remark_exchanged, remark_otherwise_written, tell
from .base import Command, ExitCode


class RecommendCommand(Command):
    """Tell the columns of the largest predictions in each row."""

    name = "recommend"
    summary = "the columns of the largest predictions: a model of 'lorasolve complete' and rows of it"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("model", help="a model that 'lorasolve complete --out' wrote")
        parser.add_argument("--rows", nargs="+", metavar="LABEL", help="rows of the data (default: all of them)")
        parser.add_argument("--count", type=int, default=10, help="columns of each row (default 10)")
        parser.add_argument("--without", metavar="FILE", help="ratings to leave out, such as those that were completed")
        add_format_arguments(parser.add_argument_group("format of --without"))
        parser.add_argument("--out", metavar="FILE", help="write a .csv here instead of to stdout")
        add_json_argument(parser, "csv")
        parser.add_argument("--quiet", action="store_true", help="no remarks on stderr")

    def run(self, args: argparse.Namespace) -> int:
        """Read, predict, write."""
        from ..models import CompletionModel

        given = [option for name, option in FORMAT.items() if getattr(args, name)]
        if given and args.without is None:
            raise ValueError(f"{', '.join(given)}: expected beside --without, the file whose format it is")
        keep_inputs([args.model, *([] if args.without is None else [args.without])], {"--out": args.out})
        refuse_other_formats(args.out)
        model, without = CompletionModel.load(args.model), None
        if args.without is not None:
            with as_options(**FORMAT):
                seen = read_ratings(args.without, format_from(args))
            without = seen.row_labels[seen.rows], seen.col_labels[seen.cols]
            unknown = int((~(model.knows_rows(without[0]) & model.knows_cols(without[1]))).sum())
            if unknown:
                count = len(seen.values)
                remark(args, f"{unknown} of {count} entries to leave out have a label that was not in the data")
                labels = (part.astype(str).tolist() for part in (seen.row_labels, seen.col_labels))
                remark_otherwise_written(args, model, *labels)
                remark_exchanged(args, model, *(part.astype(str).tolist() for part in without))
        if model.means in ("columns", "both"):
            remark(
                args,
                f"means {model.means}: columns of few ratings may lead by an average of their own; "
                "a model with --means rows ranks them lower",
            )
        rows = model.row_labels if args.rows is None else args.rows
        with as_options(rows="--rows", count="--count"):
            found = model.best_columns(rows, args.count, without=without)
        tell(args, "recommend", model.names, list(zip(*(part.tolist() for part in found))))
        return ExitCode.FINE
