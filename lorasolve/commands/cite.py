"""``lorasolve cite``: what to cite, as BibTeX."""

from __future__ import annotations

import argparse

from .._version import __version__
from ..io import envelope
from ._arguments import add_json_argument
from ._output import emit
from .base import Command, ExitCode

BIBTEX = (
    r"""@inproceedings{kim2025lora,
  title = {{LoRA} Training Provably Converges to a Low-Rank Global Minimum or It Fails Loudly
           (But it Probably Won't Fail)},
  author = {Kim, Junsu and Kim, Jaeyeon and Ryu, Ernest K.},
  booktitle = {International Conference on Machine Learning},
  year = {2025},
  note = {arXiv:2502.09376},
}""",
    rf"""@software{{lorasolve,
  title = {{lorasolve: did low-rank adaptation reach the global optimum, and how do you know?}},
  author = {{{{The lorasolve developers}}}},
  version = {{{__version__}}},
}}""",
)


class CiteCommand(Command):
    """Print the references."""

    name = "cite"
    summary = "the references to cite, as BibTeX: the paper whose theory this is, and this version of the package"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_json_argument(parser, "BibTeX")

    def run(self, args: argparse.Namespace) -> int:
        """Print both entries."""
        emit(args, envelope("cite", {"bibtex": list(BIBTEX)}), "\n\n".join(BIBTEX))
        return ExitCode.FINE
