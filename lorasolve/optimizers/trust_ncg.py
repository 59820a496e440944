"""Trust-region Newton-CG through SciPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array
from ..problem import Problem
from .base import DrivenOptimizer, ValueAndGrad

UNLIMITED = 2**31 - 1


class _Overflow(Exception):
    """A curvature is beyond the range of its type."""


@dataclass(frozen=True)
class TrustNCG(DrivenOptimizer):
    """Trust-region Newton with conjugate gradients (``scipy.optimize.minimize(method="trust-ncg")``).

    It follows directions of negative curvature, so it leaves strict saddle points, and converges quadratically
    where the Hessian is definite beyond the symmetries. A product with the Hessian counts as an oracle call.

    Notes
    -----
    Source: J. Nocedal, S. Wright, Numerical Optimization (2006), algorithm 7.2. Fixed points: the second-order
    stationary points of ``L``, up to tolerance.
    """

    name = "trust_ncg"
    summary = "trust-region Newton-CG through SciPy (Hessian products, leaves saddles)"
    limit_hint = ("lbfgs",)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters without Hessian products, or None."""
        return problem.low_rank_refusal()

    def descend(
        self,
        function: ValueAndGrad,
        z: Array,
        product: Callable[[Array, Array], Array],
        accept: Callable[[Array], None],
    ) -> Array:
        """Run SciPy's loop with its own tolerance off; a rejected step is no iterate."""
        from scipy.optimize import minimize

        last = z.copy()

        def report(point: Array) -> None:
            if not np.array_equal(point, last):
                last[:] = point
                accept(point)

        def in_range(point: Array, direction: Array) -> Array:
            found = product(point, direction)
            # SciPy divides by the curvature, and has no words for a step that is no number.
            if not np.isfinite(np.vdot(direction, found)):
                raise _Overflow
            return found

        settings: dict[str, Any] = {
            "jac": True,
            "hessp": in_range,
            "callback": report,
            "options": {"gtol": 0.0, "maxiter": UNLIMITED},
        }
        try:
            return minimize(function, z, method="trust-ncg", **settings).x
        except _Overflow:
            return last
