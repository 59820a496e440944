"""Executors: one file each, found by this folder. They know nothing of what they carry."""

from typing import Any

from .._registry import Registry
from .base import Executor, Outcome, Pool

registry: Registry[Executor] = Registry(__name__, Executor, "executor")

__all__ = ["Executor", "Outcome", "Pool", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)
