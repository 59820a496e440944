"""Optimizers: one file each, found by this folder (see ``base.py`` for the protocol)."""

from typing import Any

from .._registry import Registry
from .base import Optimizer

registry: Registry[Optimizer] = Registry(__name__, Optimizer, "optimizer")

__all__ = ["Optimizer", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)
