"""The experiments of the main paper and beyond, one file each: ``lorasolve reproduce NAME [--quick]``."""

from .._registry import Registry
from ._run import main
from .base import Experiment

registry: Registry[Experiment] = Registry(__name__, Experiment, "experiment")

__all__ = ["Experiment", "main", "registry"]
