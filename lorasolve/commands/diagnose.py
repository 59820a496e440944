"""``lorasolve diagnose``: what the files of a LoRA adapter show, and what they cannot show."""

from __future__ import annotations

import argparse
import pathlib

from .._support.files import text_writer, write_atomically
from .._support.progress import complain
from ..io import envelope
from ..peft_files.checkpoint import optimizer_file
from ..peft_files.decay import KINDS, Decay
from ..peft_files.diagnosis import FACTORS, diagnose
from ..peft_files.folder import inside
from ..peft_files.page import diagnosis_page
from ..peft_files.report import FINDINGS, SORT_KEYS, Diagnosis, diagnosis_text
from ._arguments import add_json_argument, add_layers_argument, as_file, as_options, layers_from
from ._output import emit, emphasis, keep_inputs
from .base import Command, ExitCode

# What makes `--fail-on` fail: the finding itself or a worse one.
_FAIL_ON = {"loud": ("non_finite", "loud"), "untrained": ("non_finite", "loud", "spiked", "untrained")}


class DiagnoseCommand(Command):
    """Read an adapter and report."""

    name = "diagnose"
    summary = "what the files of a LoRA adapter show: size, rank, balance, failures; needs neither torch nor data"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "adapter",
            type=as_file,
            help="a folder with adapter_config.json and adapter_model.safetensors (a trainer's checkpoint is one) or "
            "mlx_lm's adapters.safetensors, or a .safetensors file of kohya or diffusers",
        )
        parser.add_argument(
            "--base",
            type=as_file,
            metavar="PATH",
            help="frozen weights: a safetensors file, or a folder with model.safetensors or its index",
        )
        parser.add_argument(
            "--lam",
            type=float,
            help="weight decay of the run, l2 unless --weight-decay-kind says otherwise; l2 decay alone bounds how far "
            "L is above its minimum, the size of a decoupled one plays no part",
        )
        parser.add_argument(
            "--weight-decay-kind",
            choices=KINDS,
            metavar="KIND",
            help="l2 (part of the loss), decoupled (AdamW), none or unknown; 'lorasolve explain decay' tells which",
        )
        parser.add_argument(
            "--optimizer-state",
            action="store_true",
            help="read the weight decay from optimizer.pt, or .bin, of a checkpoint of your own (needs torch; "
            "weights_only)",
        )
        parser.add_argument(
            "--frozen",
            choices=FACTORS,
            help="the factor that was not trained: lora_A in LoRA-FA, which files do not show",
        )
        group = parser.add_argument_group("output")
        orders = ("worst", *SORT_KEYS)
        group.add_argument(
            "--sort",
            choices=orders,
            default="worst",
            metavar="ORDER",
            help=f"of the layers, one of {', '.join(orders)} (default worst)",
        )
        add_layers_argument(group)
        group.add_argument("--html", metavar="FILE", help="write the report as one page, with a picture of the spectra")
        add_json_argument(group)
        group.add_argument(
            "--fail-on",
            choices=tuple(_FAIL_ON),
            metavar="FINDING",
            help="loud or untrained: exit with 1 only for that finding or a worse one, with 3 if it could not be "
            "tested, else with 0; without this option any finding gives 1, and an inconclusive diagnosis 3",
        )

    def run(self, args: argparse.Namespace) -> int:
        """Read, judge, write, print."""
        count = layers_from(args)
        keep_inputs(_files(args), {"--html": args.html})
        diagnosis = diagnose(args.adapter, base=args.base, decay=_decay(args), frozen=args.frozen)
        good = {"low_rank": True, "inconclusive": None}.get(diagnosis.kind, False)
        verdict, newline, rest = diagnosis_text(diagnosis, count, args.sort).partition("\n")
        try:
            if args.html:
                page = diagnosis_page(diagnosis, pathlib.Path(args.adapter).resolve().name)
                write_atomically(args.html, text_writer(page))
                complain(f"written: {args.html}")
        finally:  # as write_and_emit does
            emit(args, envelope("diagnose", diagnosis.to_dict()), emphasis(verdict, good) + newline + rest)
        return _exit_code(diagnosis, args.fail_on)


def _files(args: argparse.Namespace) -> list[pathlib.Path]:
    """Return what may be read: the files named, and those in folders, where an earlier page may lie too."""
    places = [pathlib.Path(path) for path in (args.adapter, args.base) if path is not None]
    files = [file for place in places for file in (place.iterdir() if place.is_dir() else [place])]
    return [file for file in files if file.suffix != ".html"]


def _decay(args: argparse.Namespace) -> Decay:
    """Return what is known of the weight decay."""
    stated = args.weight_decay_kind is not None or args.lam is not None
    if args.optimizer_state:
        if stated:
            raise ValueError("--optimizer-state: says what --lam and --weight-decay-kind say; give one or the other")
        return _saved_decay(args.adapter)
    kind = args.weight_decay_kind or ("unknown" if args.lam is None else "l2")
    with as_options(lam="--lam"):
        return Decay(kind, args.lam, "as given") if stated else Decay()


def _saved_decay(folder: str) -> Decay:
    from ..networks import read_optimizer_state

    name = optimizer_file(folder)
    try:
        state = read_optimizer_state(inside(folder, name))
    except ImportError as error:
        raise ValueError(f"--optimizer-state: {error}") from error
    lam = state.weight_decay if state.decay_kind in ("l2", "decoupled") else None
    return Decay(state.decay_kind, lam, f"from {name}: {state}")


def _exit_code(diagnosis: Diagnosis, fail_on: str | None) -> int:
    if fail_on is None:
        return {"low_rank": ExitCode.FINE, "inconclusive": ExitCode.INCONCLUSIVE}.get(diagnosis.kind, ExitCode.FALSE)
    if any(diagnosis.with_finding(finding) for finding in FINDINGS if finding in _FAIL_ON[fail_on]):
        return ExitCode.FALSE
    # A size that nothing could be held against is not known to be in proportion.
    tested = diagnosis.magnitude_known if fail_on == "loud" else not diagnosis.unusable
    return ExitCode.FINE if tested else ExitCode.INCONCLUSIVE
