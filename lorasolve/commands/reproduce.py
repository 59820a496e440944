"""``lorasolve reproduce``: the experiments of the main paper and beyond."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Command


class ReproduceCommand(Command):
    """Hand over to the experiments."""

    name = "reproduce"
    summary = "run the experiments: tables, figures and JSON, resumable"

    def main(self, argv: Sequence[str]) -> int:
        """Run the experiments with the arguments as they are."""
        from ..experiments import main

        return main(list(argv))
