"""``lorasolve interfere``: overlap of adapters, and the rank of their sum."""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from .._support.text import counted
from ..io import envelope
from ..peft_files.folder import printable
from ..peft_files.overlap import Interference, interfere
from ._arguments import add_json_argument, add_layers_argument, as_options, layers_from
from ._output import emit
from .base import Command, ExitCode


class InterfereCommand(Command):
    """Compare the updates of several adapters."""

    name = "interfere"
    summary = "how LoRA adapters overlap, and the rank and norms of their sum, module by module, exactly"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("adapters", nargs="+", metavar="ADAPTER", help="at least two adapters of one base model")
        add_layers_argument(parser, "modules")
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Compare and print."""
        count = layers_from(args)
        with as_options(paths="ADAPTER"):
            found = interfere(args.adapters)
        emit(args, envelope("interfere", found.to_dict()), _text(found, count))
        return ExitCode.FINE


def _text(found: Interference, count: int) -> str:
    lines = [
        f"{k}: {printable(name)} ({counted(alone, 'module')} of its own)"
        for k, (name, alone) in enumerate(zip(found.names, found.alone))
    ]
    if not found.modules:
        apart = "no module is changed by two of them, so no updates add up; how they act together is not in the files"
        return "\n".join([*lines, apart])
    cosines = [module.largest_cosine for module in found.modules]
    dora = sum(module.dora for module in found.modules)
    factors = [module.amplification for module in found.modules]
    lines += [
        f"{counted(len(found.modules), 'shared module')}: largest cosine {max(cosines, key=abs):.3g}, median "
        f"{statistics.median(cosines):.2g}; ||sum||_F is {min(factors):.3g} to {max(factors):.3g} times what "
        "orthogonal updates would give",
        *([f"DoRA in {counted(dora, 'module')}: these are directions before they are normalized"] if dora else []),
        "",
        f"modules, largest cosine first ({min(count, len(cosines))} of {len(cosines)}):",
    ]
    width = max((len(printable(module.module, 60)) for module in found.modules[:count]), default=0)
    for module in found.modules[:count]:
        pairs = np.triu_indices(len(module.cosines), 1)
        left, right = module.left[pairs].max(), module.right[pairs].max()
        lines.append(
            f"{printable(module.module, 60).ljust(width)}  cosine {module.largest_cosine:+.3f}  overlap of outputs "
            f"{left:.2f}, inputs {right:.2f}  rank {'+'.join(map(str, module.ranks))} -> {module.sum_rank}  "
            f"||sum||_F x {module.amplification:.3f}"
        )
    return "\n".join(lines)
