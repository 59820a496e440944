"""``lorasolve explain``: what a setting of a trainer means for the theorems."""

from __future__ import annotations

import argparse

from ..io import envelope
from ..peft_files.decay import OPTIMIZERS, SCHEDULES, explain_decay
from ._arguments import add_json_argument, as_options
from ._output import emit
from .base import Command, ExitCode


class ExplainCommand(Command):
    """Explain a setting in the terms of the theorems."""

    name = "explain"
    summary = "which lam a trainer's weight decay really applies to LoRA factors, or that it applies none, and why"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("topic", choices=("decay",), help="what to explain: decay")
        parser.add_argument(
            "--optimizer",
            required=True,
            metavar="NAME",
            help=f"as PyTorch or transformers call it: {', '.join(OPTIMIZERS)}",
        )
        parser.add_argument("--lr", type=float, required=True, help="learning rate (the largest of the schedule)")
        parser.add_argument("--wd", type=float, required=True, help="weight decay")
        parser.add_argument("--alpha", type=float, required=True, help="lora_alpha")
        parser.add_argument("--rank", type=int, required=True, help="r")
        parser.add_argument("--steps", type=int, required=True, help="optimizer steps of the run")
        parser.add_argument("--rslora", action="store_true", help="scaling alpha/sqrt(r) instead of alpha/r")
        parser.add_argument("--schedule", choices=SCHEDULES, default="constant", help="default constant")
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Explain and print."""
        options = {name: f"--{name}" for name in ("optimizer", "alpha", "rank", "steps")}
        with as_options(step_size="--lr", weight_decay="--wd", **options):
            found = explain_decay(
                args.optimizer,
                args.lr,
                args.wd,
                alpha=args.alpha,
                rank=args.rank,
                steps=args.steps,
                rslora=args.rslora,
                schedule=args.schedule,
            )
        emit(args, envelope("explain", found.to_dict()), str(found))
        return ExitCode.FINE
