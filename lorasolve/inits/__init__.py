"""Initializations: one file each, found by this folder."""

from typing import Any

from .._registry import Registry
from .base import Init, Start

registry: Registry[Init] = Registry(__name__, Init, "init")

__all__ = ["Init", "Start", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)
