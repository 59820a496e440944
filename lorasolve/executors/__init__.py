"""Executors: one file each, found by this folder. They know nothing of what they carry."""

from typing import TYPE_CHECKING, Any

from .._support.registry import Registry
from .base import Executor as Executor
from .base import Outcome as Outcome
from .base import Pool as Pool
from .base import WorkersError as WorkersError

registry: Registry[Executor] = Registry(__name__, Executor, "executor")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .dask import Dask as Dask
    from .loky import Loky as Loky
    from .serial import Serial as Serial
    from .slurm import Slurm as Slurm
else:
    __all__ = ["Executor", "Outcome", "Pool", "WorkersError", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())
