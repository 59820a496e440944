"""What a run asks of a loss at points near one another: exact answers, or increments between them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .._support.threads import kernel_threads
from .._support.validate import Array
from ..linear_map import LinearMap

if TYPE_CHECKING:
    from ..problem.blocks import MultiObjective, Pairs

    Look = tuple[float, Pairs, tuple[LinearMap, ...]]


class Nearby(Protocol):
    """Answers of a loss along one run."""

    def look(self, factors: Pairs) -> Look:
        """Return ``f``, the products ``G_l B_l`` and ``G_l^T A_l``, and the gradients, exactly."""

    def value(self, factors: Pairs) -> float:
        """Return ``f``."""

    def oracle(self, factors: Pairs, grads: Pairs) -> float:
        """Write the products into ``grads`` and return ``f``."""


class Exact:
    """Every answer is exact."""

    def __init__(self, loss: MultiObjective) -> None:
        self.look, self.value, self.oracle = loss.oracle_and_operators, loss.factor_value, loss.factor_oracle


class Increments:
    """An oracle at one matrix that is exact where asked, and elsewhere adds increments in float32 to what it had last.

    Its errors are some 1e-7 of the way from the last exact point, so they vanish as points converge to one.

    Parameters
    ----------
    data : NamedTuple
        Kernel data with ``exactly`` and ``G`` (:class:`~lorasolve.kernels.sensing.MixedSensingData`), of one run.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def exact(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``, exactly; later answers go on from here."""
        kernel_threads()
        f: float = self.data.exactly(A, B, GB, GtA)
        return f

    def gradient(self) -> Array:
        """Return ``G`` at the last point asked for."""
        G: Array = self.data.G.copy()
        return G

    def __call__(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` and ``G^T A`` and return ``f``."""
        from ..kernels.evaluate import evaluate

        kernel_threads()
        f = evaluate(self.data, A, B, GB, GtA)
        # A step beyond the range of float32 would stay in all increments after it.
        return f if math.isfinite(f) else self.exact(A, B, GB, GtA)


class ByIncrements:
    """Looks are exact, other answers are increments from there."""

    def __init__(self, increments: Increments) -> None:
        self.increments = increments

    def look(self, factors: Pairs) -> Look:
        """Return the exact answers."""
        ((A, B),) = factors
        GB, GtA = np.empty_like(A), np.empty_like(B)
        f = self.increments.exact(A, B, GB, GtA)
        return f, [(GB, GtA)], (LinearMap.from_dense(self.increments.gradient()),)

    def value(self, factors: Pairs) -> float:
        """Return ``f``."""
        return self.oracle(factors, [(np.empty_like(A), np.empty_like(B)) for A, B in factors])

    def oracle(self, factors: Pairs, grads: Pairs) -> float:
        """Write the products into ``grads`` and return ``f``."""
        return self.increments(*factors[0], *grads[0])
