"""What an adapter is: how a flat parameter vector ``theta`` makes the update ``X``, and how gradients come back.

``theta`` always starts with the two factors, ``A`` (m, r) then ``B`` (n, r), row by row; whatever else an adapter
has (magnitudes, gates) follows. The weight decay ``(lam/2)(||A||^2 + ||B||^2)`` acts on the factors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .._support.origin import is_shipped
from .._support.validate import Array, as_array, as_float_array, as_integer, as_number, as_shape, shown
from ..objectives.base import Objective

if TYPE_CHECKING:
    from ..problem import Problem

# Relative difference between a user's update and the product that it is stated to be, float32 allowed.
PRODUCT_TOL = 1e-5


@dataclass(frozen=True)
class Adapter:
    """Base class of all adapters.

    Attributes
    ----------
    low_rank : bool
        True if the update is ``X = s A B^T``, so that the factor oracle and the convex certificate apply.
    requires : tuple of str
        Attributes that the objective must have (for example ``"W0"``).
    proximal : bool
        True if the adapter has a nonsmooth penalty of its own. ``value_and_grad`` then covers the smooth part
        only, and the optimizer applies :meth:`prox` after each step.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    low_rank: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ()
    proximal: ClassVar[bool] = False

    @property
    def exact_gradient(self) -> bool:
        """False if ``value_and_grad`` answers with another direction than the gradient of its value."""
        return True

    @property
    def exact_prox(self) -> bool:
        """False if :meth:`prox` is another map than the proximal one of the penalty."""
        return True

    @property
    def needs_nonzero_columns(self) -> bool:
        """True if no column of either factor may start at zero."""
        return False

    @property
    def has_nuclear_penalty(self) -> bool:
        """Whether the least penalty of an update ``X`` is exactly ``nuclear_weight ||X||_*``, not merely above it."""
        return False

    @classmethod
    def showcase(cls, problem: Problem) -> str | None:
        """Return the method, as text, that shows this adapter best on a problem."""
        return f"{'proximal_gd' if cls.proximal else 'gd'}@{cls.name}"

    def scale_at(self, rank: int) -> float:
        """Return the factor ``s`` in ``X = s A B^T`` for factors of the given rank."""
        return 1.0

    def nuclear_weight(self, lam: float, rank: int) -> float:
        """Return a weight ``w`` such that the whole penalty of this adapter is at least ``w ||X||_*``.

        ``min f(X) + w ||X||_*`` is then a lower bound on its objective: the convex counterpart of ``X = s A B^T``
        (``w = lam/s``), and 0 where nothing better is known.
        """
        return lam / self.scale_at(rank) if self.low_rank else 0.0

    def refusal(self, objective: Objective) -> str | None:
        """Return why this adapter cannot work with an objective, or None if it can."""
        for attribute in self.requires:
            if getattr(objective, attribute, None) is None:
                return f"it needs an objective with a frozen weight ({attribute}); {objective.label} has none"
        return None

    def n_extra(self, shape: tuple[int, int], rank: int) -> int:
        """Return the number of parameters beyond the two factors."""
        return 0

    def initial_extra(self, objective: Objective, A: Array, B: Array) -> Array:
        """Return the start of the parameters beyond the factors, so that ``B = 0`` gives the frozen model."""
        return np.zeros(self.n_extra(objective.shape, A.shape[1]))

    def trainable(self, shape: tuple[int, int], rank: int) -> Array | None:
        """Return a boolean mask of the trainable entries of ``theta``, or None if all are."""
        return None

    def value_and_grad(self, objective: Objective, theta: Array, rank: int, grad: Array) -> float:
        """Write the gradient of ``f(update(theta))`` into ``grad`` and return the value (no weight decay)."""
        raise TypeError(f"{type(self).__name__} does not define value_and_grad(objective, theta, rank, grad)")

    def penalty(self, theta: Array, shape: tuple[int, int], rank: int) -> float:
        """Return the adapter's own nonsmooth penalty (adapters with ``proximal`` only)."""
        return 0.0

    def prox(self, theta: Array, shape: tuple[int, int], rank: int, step: float) -> None:
        """Replace ``theta`` by the proximal map of ``step`` times the penalty at ``theta``, in place."""

    def update(self, objective: Objective, theta: Array, rank: int) -> Array:
        """Return the update ``X`` (m, n) that ``theta`` stands for."""
        raise TypeError(f"{type(self).__name__} does not define update(objective, theta, rank)")


def contradiction(adapter: Adapter, objective: Objective, rank: int) -> str | None:
    """Return how far the update of a user's adapter is from the ``s A B^T`` that it states, or None where it is that.

    Certificates are about the product of the factors, and results hand out the update. What the adapter answers is of
    the kind that is asked for, or refused by name: with a scaling of -1 a run grew without end.

    Raises
    ------
    ValueError, TypeError
        For answers of another kind.
    """
    if is_shipped(type(adapter)):
        return None
    shape, name = objective.shape, f"adapter: what {adapter.name or type(adapter).__name__}"
    scale = as_number(adapter.scale_at(rank), f"{name}.scale_at returns", 0.0, open_low=True)
    as_number(adapter.nuclear_weight(1.0, rank), f"{name}.nuclear_weight returns", 0.0)
    count = as_integer(adapter.n_extra(shape, rank), f"{name}.n_extra returns", 0)
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal((k, rank)) for k in shape)
    given = adapter.initial_extra(objective, A, B)
    extra = as_shape(as_array(given, f"{name}.initial_extra returns"), f"{name}.initial_extra returns", (count,))
    theta = np.concatenate([A.ravel(), B.ravel(), extra])
    mask = adapter.trainable(shape, rank)
    if mask is not None and not (isinstance(mask, np.ndarray) and mask.shape == theta.shape and mask.dtype == bool):
        raise TypeError(f"{name}.trainable returns: expected None or {theta.size} truth values, got {shown(mask)}")
    if not adapter.low_rank:
        return None
    update = as_float_array(adapter.update(objective, theta, rank), f"{name}.update returns", 2)
    stated = scale * (A @ B.T)
    off = float(np.linalg.norm(as_shape(update, f"{name}.update returns", shape) - stated) / np.linalg.norm(stated))
    if off <= PRODUCT_TOL:
        return None
    return (
        f"it states low_rank, and its update differs from s A B^T with s = scale_at({rank}) by {off:.2g} of that: run "
        "check_adapter, or leave low_rank out"
    )


def split(theta: Array, shape: tuple[int, int], rank: int) -> tuple[Array, Array, Array]:
    """Return views ``A`` (m, r), ``B`` (n, r) and the rest of ``theta``."""
    m, n = shape
    a, b = m * rank, (m + n) * rank
    return theta[:a].reshape(m, rank), theta[a:b].reshape(n, rank), theta[b:]
