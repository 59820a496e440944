"""``lorasolve prove``: check the theorems."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Command


class ProveCommand(Command):
    """Hand over to the checker of the theorems."""

    name = "prove"
    summary = "check the theorems symbolically, and that their false twins are refuted"

    def main(self, argv: Sequence[str]) -> int:
        """Run the checker with the arguments as they are."""
        from ..symbolic.report import main

        return main(list(argv))
