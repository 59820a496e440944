"""The smooth losses ``f``: one file each, found by this folder (see ``base.py`` for the protocol)."""

from typing import Any

from .._registry import Registry
from ._description import Description, Entries, Matrix, Outer
from ._facts import Facts
from ._kernels import Kernels
from .base import Objective, as_objective

registry: Registry[Objective] = Registry(__name__, Objective, "objective")

__all__ = ["Description", "Entries", "Facts", "Kernels", "Matrix", "Objective", "Outer", "as_objective", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)
