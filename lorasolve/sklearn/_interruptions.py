"""Ctrl-C in a fit."""

from __future__ import annotations

from ..convex import ConvexResult


def end_if_interrupted(found: ConvexResult) -> None:
    """Pass Ctrl-C on, as fits do: a search would score the last point, and go on with the next fit."""
    if found.interrupted:
        raise KeyboardInterrupt
