"""Stages of a run with SoRA's gates: what their schedules share."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.sora import SoRA
from ..problem import Problem
from .base import Schedule


@dataclass(frozen=True)
class OfGates(Schedule):
    """Base class: stages that set or open the gates of the adapter ``sora``."""

    has_stages = True

    @classmethod
    def showcase(cls, problem: Problem) -> None:
        """Return None: the adapter ``sora`` shows the schedule that suits it."""

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters without gates, or None."""
        if isinstance(problem.adapter, SoRA):
            return None
        return f"it needs the gates of the adapter 'sora', got {problem.adapter.name!r}"
