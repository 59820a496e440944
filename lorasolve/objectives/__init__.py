"""The smooth losses ``f``: one file each, found by this folder (see ``base.py`` for the protocol)."""

from typing import TYPE_CHECKING, Any

from .._support.registry import Registry
from . import _output_losses as output_losses  # noqa: F401  for networks
from ._answers import ShownPrecision as ShownPrecision
from ._answers import own_matrix as own_matrix
from ._answers import real_value as real_value
from ._answers import roughest as roughest
from ._dense_reference import DenseReference as DenseReference
from ._described import ULPS as ULPS
from ._described import described as described
from ._description import Description as Description
from ._description import Entries as Entries
from ._description import Matrix as Matrix
from ._description import Outer as Outer
from ._differences import POWER_STEPS as POWER_STEPS
from ._differences import NoCurvatureError as NoCurvatureError
from ._differences import checked_curvature as checked_curvature
from ._differences import difference_product as difference_product
from ._differences import difference_step as difference_step
from ._differences import estimate_smoothness as estimate_smoothness
from ._differences import factored as factored
from ._differences import falling_length as falling_length
from ._differences import length_of as length_of
from ._differences import natural_length as natural_length
from ._facts import Facts as Facts
from ._facts import no_batches as no_batches
from ._increments import Increments as Increments
from ._kernels import Kernels as Kernels
from ._linear_model import LinearModel as LinearModel
from ._products import complete_products as complete_products
from ._sketch import changed_data as changed_data
from ._user import UserObjective as UserObjective
from ._user import as_held_out as as_held_out
from ._user import as_objective as as_objective
from .base import Objective as Objective

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
