"""``lorasolve complete``: fill a matrix of ratings, with a certificate, and keep the model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._means import MEANS
from ..io import Ratings, envelope, label_places
from ._arguments import (
    FORMAT,
    add_answer_arguments,
    add_format_arguments,
    add_write_argument,
    as_file,
    as_options,
    ratings_from,
)
from ._output import (
    certificate_text,
    certified,
    emit,
    keep_inputs,
    named_file,
    refuse_inputs,
    remark,
    without_suffix,
    write_certificate,
)
from ._predictions import remark_exchanged, remark_otherwise_written
from .base import Command, ExitCode

if TYPE_CHECKING:
    from ..models.completion import CompletionFit, CompletionModel
    from ..studies.validation import Validation


class CompleteCommand(Command):
    """Fit means and a certified low-rank update to ratings."""

    name = "complete"
    summary = "complete a matrix of ratings by the certified nuclear-norm optimum; --out keeps the model for predict"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=as_file, help="ratings: .csv, .tsv, .data, .inter or .mtx")
        parser.add_argument("--lam", type=float, help="weight of the nuclear norm (default: a tenth of the critical)")
        parser.add_argument("--folds", type=int, metavar="K", help="choose lam by cross-validation with K parts")
        parser.add_argument(
            "--lams",
            type=float,
            nargs="+",
            metavar="L",
            help="what --folds or --held-out choose from (default: 20 below the critical, until the error has risen)",
        )
        parser.add_argument(
            "--held-out",
            type=as_file,
            metavar="FILE",
            help="choose lam by the error on these ratings, such as later ones",
        )
        parser.add_argument("--means", choices=MEANS, default="global", help="means taken off first (default global)")
        parser.add_argument(
            "--test", type=as_file, metavar="FILE", help="ratings that are not fitted, to tell the error on them"
        )
        parser.add_argument("--clip", type=float, nargs=2, metavar=("LOW", "HIGH"), help="range of predictions")
        parser.add_argument("--tol", type=float, default=1e-4, help="certified relative gap (default 1e-4)")
        add_format_arguments(parser.add_argument_group("format of the files"))
        group = parser.add_argument_group("output")
        group.add_argument("--out", metavar="NAME", help="write the model to NAME.npz, for 'lorasolve predict'")
        add_write_argument(group)
        add_answer_arguments(group)

    def run(self, args: argparse.Namespace) -> int:
        """Read, fit, write, print."""
        _refuse_beside_one_another(args)
        paths = {"ratings": args.file, "held_out": args.held_out, "test": args.test}
        paths = {name: path for name, path in paths.items() if path is not None}
        out = None if args.out is None else _named_archive(args.out, list(paths.values()))
        keep_inputs(list(paths.values()), {"--out": out, "--write": args.write})
        with as_options(**FORMAT):
            read = {name: ratings_from(args, path) for name, path in paths.items()}
        ratings = read["ratings"]
        fitted, chosen = _fit(args, ratings, read.get("held_out"))
        _remark_seen(args, read)
        _remark_out_of_range(args, ratings)
        model, certificate = fitted.model, fitted.optimum.certificate
        m, n = ratings.shape
        least, largest = float(ratings.values.min()), float(ratings.values.max())
        rmse = _rmse(model, ratings)
        test = {"entries": len(read["test"].values), **_tested(args, model, read["test"])} if args.test else None
        document: dict[str, Any] = {
            "shape": [m, n],
            "entries": len(ratings.values),
            "range": [least, largest],
            "skipped": ratings.skipped,
            "repeated": ratings.repeated,
            "lam": model.lam,
            "means": model.means,
            "rank": model.rank,
            "training_rmse": rmse,
            "test": test,
            "validation": None if chosen is None else chosen.to_dict(),
            "certificate": certificate.to_dict(),
            "interrupted": fitted.optimum.interrupted,
            "out": out,
        }
        text = "" if chosen is None else f"{chosen.table()}\n\n{chosen.conclusion}\n\n"
        text += (
            f"{m} x {n}, {len(ratings.values)} entries from {least:g} to {largest:g}, means {model.means}, "
            f"lam = {model.lam:.6g}\n"
            f"rank {model.rank}, training rmse {rmse:.4g}\n"
        )
        if test is not None:
            text += "test rmse {rmse:.4g}, by means alone {rmse_of_means:.4g}, {entries} entries\n".format(**test)
        text += "\n"
        if not fitted.optimum.success:  # as after Ctrl-C
            text += f"{fitted.optimum.status}: {fitted.optimum.message}\n"
        text += certificate_text(certificate)
        try:
            if out is not None:
                model.save(out)
                remark(args, f"written: {out}")
            if args.write is not None:
                document["written"] = write_certificate(args, certificate)
        finally:  # as write_and_emit does
            emit(args, envelope("complete", document), text)
        if fitted.optimum.interrupted:
            return ExitCode.INCONCLUSIVE
        return certified(fitted.optimum.success or None, fitted.optimum.gap, args.require_certificate)


def _refuse_beside_one_another(args: argparse.Namespace) -> None:
    """Refuse a weight beside what chooses it, two ways to choose it, and values without one."""
    if args.folds is not None and args.held_out is not None:
        raise ValueError("--held-out: the ratings there choose lam in place of --folds; give one of them")
    by = "--folds K" if args.held_out is None else "--held-out FILE"
    if args.folds is None and args.held_out is None:
        if args.lams is not None:
            raise ValueError("--lams: are what --folds K or --held-out FILE choose from; --lam is one weight")
    elif args.lam is not None:
        raise ValueError(f"--lam: {by} chooses it; --lams are the values to choose from")


def _rmse(model: CompletionModel, ratings: Ratings) -> float:
    error = model.predict(ratings.row_labels[ratings.rows], ratings.col_labels[ratings.cols]) - ratings.values
    return float((error**2).mean() ** 0.5)


def _remark_seen(args: argparse.Namespace, read: dict[str, Ratings]) -> None:
    """Say how many entries have a part in what they judge: the error on them tells little of that on new ones."""
    for name, seen, told in (
        ("held_out", "ratings", "held-out entries are entries of the data too, which are fitted"),
        ("test", "ratings", "test entries are entries of the data too, which are fitted"),
        ("test", "held_out", "test entries are held-out entries too, which have chosen lam"),
    ):
        if name in read and seen in read and (count := _shared(read[name], read[seen])):
            remark(args, f"{count} of {len(read[name].values)} {told}")


def _remark_out_of_range(args: argparse.Namespace, ratings: Ratings) -> None:
    """Say how many values no prediction may have: codes such as 0 or -1 for what is missing are fitted as values."""
    if args.clip is None:
        return
    low, high = args.clip
    count = int(((ratings.values < low) | (ratings.values > high)).sum())
    if count:
        remark(
            args,
            f"{count} of {len(ratings.values)} values are outside of the range of predictions, {low:g} to {high:g}, "
            "and are fitted as they are: leave such lines out of the file if they are no values",
        )


def _shared(ratings: Ratings, others: Ratings) -> int:
    """Return how many entries of ratings others have too, whatever their values."""
    i = label_places(others.row_labels, ratings.row_labels, "row_labels")[ratings.rows]
    j = label_places(others.col_labels, ratings.col_labels, "col_labels")[ratings.cols]
    known, width = (i >= 0) & (j >= 0), others.shape[1]
    return int(np.isin((i * width + j)[known], others.rows * width + others.cols).sum())


def _tested(args: argparse.Namespace, model: CompletionModel, ratings: Ratings) -> dict[str, Any]:
    """Return the errors of a model, and of its means alone, on other ratings; say which labels it does not know."""
    rows, cols = ratings.row_labels[ratings.rows], ratings.col_labels[ratings.cols]
    unknown = int((~(model.knows_rows(rows) & model.knows_cols(cols))).sum())
    if unknown:
        remark(args, f"{unknown} of {len(rows)} test entries have a label that was not in the data: means only")
        texts = rows.astype(str).tolist(), cols.astype(str).tolist()
        if not remark_otherwise_written(args, model, *texts):
            remark_exchanged(args, model, *texts)
    means = replace(model, A=0.0 * model.A)
    return {"unknown": unknown, "rmse": _rmse(model, ratings), "rmse_of_means": _rmse(means, ratings)}


def _remark_unused(args: argparse.Namespace, model: CompletionModel, held_out: Ratings) -> None:
    """Say how many entries have played no part in the choice of ``lam``, which changes nothing there."""
    rows, cols = held_out.row_labels[held_out.rows], held_out.col_labels[held_out.cols]
    unknown = int((~(model.knows_rows(rows) & model.knows_cols(cols))).sum())
    if unknown:
        count = len(held_out.values)
        remark(args, f"{unknown} of {count} held-out entries have a label that was not in the data and choose nothing")


def _fit(
    args: argparse.Namespace, ratings: Ratings, held_out: Ratings | None
) -> tuple[CompletionFit, Validation | None]:
    """Return a fitted model, and the errors on what was held out where these chose its weight."""
    from ..models import choose_completion, fit_completion

    clip = None if args.clip is None else (args.clip[0], args.clip[1])
    settings: dict[str, Any] = {"means": args.means, "clip": clip, "tol": args.tol, "progress": not args.quiet}
    places = {f"held_out.{which}_labels": "--held-out" for which in ("row", "col")}
    options = {name: f"--{name}" for name in ("lam", "lams", "folds", "clip", "tol")}
    options |= {"clip[0]": "--clip", "clip[1]": "--clip"}
    with as_options(held_out="--held-out", **options, **places):
        if held_out is not None:
            found = choose_completion(ratings, args.lams or 20, held_out=held_out, **settings)
            _remark_unused(args, found[0].model, held_out)
            return found
        if args.folds is not None:
            return choose_completion(ratings, args.lams or 20, folds=args.folds, **settings)
        fitted = fit_completion(ratings, args.lam, **settings)
    if args.lam is None:
        # 1 stands for a tenth of nothing; a value of 0 alone may be that of small entries, whose squares underflow.
        if fitted.optimum.fun > 0.0 or fitted.model.lam != 1.0:
            why = "a tenth of the least one for which X = 0 is optimal; --folds chooses by cross-validation"
        else:
            why = "and X = 0 is optimal at every one, as the means fit all entries"
        remark(args, f"--lam not given: {fitted.model.lam:.4g}, {why}")
    return fitted, None


def _named_archive(out: str, read: list[str]) -> str:
    """Return the name of a model's file, with the suffix of an archive where that is not there; not what is read."""
    path = str(named_file(out))
    refuse_inputs(read, {"--out": path})
    if not path.lower().endswith(".npz"):
        remedy = "; `lorasolve predict MODEL PAIRS --out FILE.csv` writes predictions as a table"
        path = f"{without_suffix(out, '.npz', remedy=remedy)}.npz"
    keep_inputs(read, {"--out": path})
    return path
