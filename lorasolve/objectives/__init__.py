"""The smooth losses ``f``: one file each, found by this folder (see ``base.py`` for the protocol)."""

from typing import TYPE_CHECKING, Any

from .._registry import Registry
from ._described import described as described
from ._description import Description as Description
from ._description import Entries as Entries
from ._description import Matrix as Matrix
from ._description import Outer as Outer
from ._facts import Facts as Facts
from ._kernels import Kernels as Kernels
from .base import Objective as Objective
from .base import as_objective as as_objective

registry: Registry[Objective] = Registry(__name__, Objective, "objective")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .completion import MatrixCompletion as MatrixCompletion
    from .denoising import Denoising as Denoising
    from .huber import Huber as Huber
    from .linear import LinearFineTuning as LinearFineTuning
    from .logistic import Logistic as Logistic
    from .ntk import NTK as NTK
    from .sensing import MatrixSensing as MatrixSensing
    from .softmax import Softmax as Softmax
    from .two_layer import TwoLayer as TwoLayer
else:
    __all__ = ["Description", "Entries", "Facts", "Kernels", "Matrix", "Objective", "Outer", "as_objective", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())
