"""Schedules: step-size factors and stage transitions, one file each, found by this folder."""

from typing import TYPE_CHECKING, Any

from .._support.registry import Registry
from ._sketches import haar as haar
from .base import Schedule as Schedule
from .base import Stage as Stage

registry: Registry[Schedule] = Registry(__name__, Schedule, "schedule")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .beam import Beam as Beam
    from .cola import ChainOfLoRA as ChainOfLoRA
    from .cosine import Cosine as Cosine
    from .galore import GaLore as GaLore
    from .golore import GoLore as GoLore
    from .periodic import Periodic as Periodic
    from .rac_chain import RACChain as RACChain
    from .revive import Revive as Revive
    from .sparsify import Sparsify as Sparsify
    from .warmup import WarmUp as WarmUp
else:
    __all__ = ["Schedule", "Stage", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())
