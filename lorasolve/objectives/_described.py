"""What a loss says that it is made of, held against what it evaluates before it travels to other programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .._support.validate import Array, as_array, as_instance, as_integer, as_shape
from ._description import Description, Entries, Matrix, Outer
from ._differences import natural_length
from ._user import UserObjective
from .base import Objective

# A user's loss and its description may differ by so much, relative to the values: another formula, other roundings.
DESCRIBED = 1e-6
# Rounding errors that a plainly written loss may make, in units in the last place of what its value is made of.
ULPS = 1000.0
_NAME = "objective.description()"


def described(objective: Objective, X: Array) -> Description:
    """Return what a loss is made of; of a user that is arrays, and the loss that is evaluated at ``X`` and beside it.

    Raises
    ------
    NotImplementedError
        If the loss states no description.
    TypeError, ValueError
        If a user's description is none, cannot be evaluated at matrices of this shape, or states another loss.
    """
    given = objective.description()
    if not isinstance(objective, UserObjective):
        return given
    of = as_instance(given, _NAME, Description)
    of = replace(of, divide_by=as_integer(of.divide_by, f"{_NAME}.divide_by", 1))
    as_instance(of.map, f"{_NAME}.map", (Entries, Matrix, Outer))
    if of.X0 is not None:
        as_shape(as_array(of.X0, f"{_NAME}.X0"), f"{_NAME}.X0", X.shape)
    D = np.random.default_rng().standard_normal(X.shape)
    D *= (float(np.linalg.norm(X)) or natural_length(objective) or 1.0) / float(np.linalg.norm(D))
    # On a line two quadratics may meet at X and at one other point.
    points = [Y for Y in (X, X + D, X - D, np.zeros(X.shape)) if objective.domain(Y)]
    stated = [objective.value_and_grad(Y)[0] for Y in points]
    try:
        differences = [abs(of.value_and_grad(Y)[0] - value) for Y, value in zip(points, stated)]
        cancelling = sum(float(shift @ shift) for shift in of.shifts) / of.divide_by
        of = _of_arrays(of)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise ValueError(f"{_NAME}: cannot be evaluated at a matrix of shape {X.shape}: {error!r}") from error
    # Undefined where one is: max would pass over it.
    off = float(np.max(differences))
    # What cancels in the outputs is as large as the shifts.
    if not off <= DESCRIBED * max(map(abs, stated)) + ULPS * float(np.finfo(objective.dtype).eps) * cancelling:
        raise ValueError(
            f"objective: {objective.label}.description() states another loss than value_and_grad, values differ by "
            f"{off:.3g} (check_objective tests more)"
        )
    return of


def _of_arrays(of: Description) -> Description:
    """Return a description whose parts are arrays, as those who write it to files take for granted."""
    parts: dict[str, Any] = {name: np.asarray(part) for name, part in vars(of.map).items() if name != "outputs"}
    shifts = tuple(np.asarray(shift, dtype=np.float64) for shift in of.shifts)
    return replace(of, map=replace(of.map, **parts), shifts=shifts)
