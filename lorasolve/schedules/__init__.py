"""Schedules: step-size factors and stage transitions, one file each, found by this folder."""

from typing import Any

from .._registry import Registry
from .base import Schedule, Stage

registry: Registry[Schedule] = Registry(__name__, Schedule, "schedule")

__all__ = ["Schedule", "Stage", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)
