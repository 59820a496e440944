"""``lorasolve truncate``: an adapter of lower rank, and exactly what it loses."""

from __future__ import annotations

import argparse

from .._support.text import counted
from ..io import envelope
from ..peft_files.folder import printable
from ..peft_files.truncation import Truncation, truncate
from ._arguments import add_json_argument, add_layers_argument, as_file, as_options, layers_from
from ._output import emit
from .base import Command, ExitCode


class TruncateCommand(Command):
    """Truncate every update of an adapter."""

    name = "truncate"
    summary = "write a LoRA adapter of lower rank, with the exact loss of every layer; no base model is needed"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "adapter", type=as_file, help="a folder of PEFT or mlx_lm, or a .safetensors file of kohya or diffusers"
        )
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--rank", type=int, metavar="R", help="the largest rank of any layer")
        group.add_argument(
            "--error",
            type=float,
            metavar="E",
            help="the largest relative Frobenius loss of any layer before rounding, in [0, 1]",
        )
        parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write: new, or empty")
        add_layers_argument(parser)
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Truncate, write, print."""
        count = layers_from(args)
        with as_options(rank="--rank", error="--error", out="--out"):
            done = truncate(args.adapter, args.out, rank=args.rank, error=args.error)
        emit(args, envelope("truncate", done.to_dict()), _text(done, count))
        return ExitCode.FINE


def _text(done: Truncation, count: int) -> str:
    worst = sorted(done.layers, key=lambda layer: -layer.relative_loss)
    dora = sum(layer.dora for layer in done.layers)
    before, after = ([getattr(layer, key) for layer in done.layers] for key in ("r_before", "r"))
    lines = [
        f"wrote {done.out}: {counted(len(done.layers), 'layer')}, rank {_span(before)} -> {_span(after)}, "
        f"{done.bytes_before / 1e6:.3g} MB -> {done.bytes_after / 1e6:.3g} MB of tensors",
        f"loss of all layers together ||X - X'||_F = {done.frobenius_loss:.5g}; largest relative loss of a layer "
        f"{worst[0].relative_loss:.3g}",
        *(
            [f"DoRA in {counted(dora, 'layer')}: the loss is that of the direction before it is normalized"]
            if dora
            else []
        ),
        "",
        f"layers, largest relative loss first ({min(count, len(worst))} of {len(worst)}):",
    ]
    width = max((len(printable(layer.module, 60)) for layer in worst[:count]), default=0)
    for layer in worst[:count]:
        loss = f"||X - X'||_2 = {layer.spectral_loss:.4g}  ||X - X'||_F = {layer.frobenius_loss:.4g}"
        name = printable(layer.module, 60).ljust(width)
        lines.append(f"{name}  rank {layer.r_before:3d} -> {layer.r:3d}  {loss} ({layer.relative_loss:.2%})")
    return "\n".join(lines)


def _span(values: list[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)}-{max(values)}"
