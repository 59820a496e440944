"""What a run asks of a loss at points near one another: exact answers, or increments between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..linear_map import LinearMap
from ..objectives import Increments
from .pairs import Pairs

Look = tuple[float, Pairs, tuple[LinearMap, ...]]


class Nearby(NamedTuple):
    """Answers of a loss along one run.

    Attributes
    ----------
    look : callable
        Returns ``f``, the products ``G_l B_l`` and ``G_l^T A_l``, and the gradients, exactly.
    value : callable
        Returns ``f``.
    oracle : callable
        Writes the products into the arrays it is given and returns ``f``.
    """

    look: Callable[[Pairs], Look]
    value: Callable[[Pairs], float]
    oracle: Callable[[Pairs, Pairs], float]


def by_increments(increments: Increments) -> Nearby:
    """Return exact looks, and other answers that are increments from there."""

    def look(factors: Pairs) -> Look:
        ((A, B),) = factors
        GB, GtA = np.empty_like(A), np.empty_like(B)
        f = increments.exact(A, B, GB, GtA)
        return f, [(GB, GtA)], (LinearMap.from_dense(increments.gradient()),)

    def oracle(factors: Pairs, grads: Pairs) -> float:
        return increments(*factors[0], *grads[0])

    def value(factors: Pairs) -> float:
        return oracle(factors, [(np.empty_like(A), np.empty_like(B)) for A, B in factors])

    return Nearby(look, value, oracle)
