"""Adapters: how parameters make the update, one file each, found by this folder."""

from typing import Any

from .._registry import Registry
from .base import Adapter

registry: Registry[Adapter] = Registry(__name__, Adapter, "adapter")

__all__ = ["Adapter", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)
