"""L-BFGS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._quasi_newton import lbfgs
from .._support.validate import Array, as_integer
from ..problem import Problem
from .base import ROUNDING, DrivenOptimizer, ValueAndGrad, inexact_gradient_refusal

# More stored steps than this are asked for by mistake.
MOST_STEPS = 10_000
# Compiled passes would take a tenth off at most, and a second to compile. A first step is of length 1 at most in the
# units of DrivenOptimizer, and one along which the function has fallen at four times the length ten times is taken.
# Changes below a share of 1e-6 are judged by slopes (Hager and Zhang 2005), but of the fall: of a value it may be more
# than there is to gain, and slopes at both ends of a long step say nothing of a hill between.
SETTINGS: dict[str, Any] = {"compiled": False, "longest": 1.0, "falling": 10, "share": ROUNDING, "of_fall": 1e-6}


@dataclass(frozen=True)
class LBFGS(DrivenOptimizer):
    """Limited-memory BFGS, run until the loop's own rules stop it; where its line search gives up it starts anew.

    An iteration costs three passes over the stored steps, which are in float32, beside its oracle calls.

    Parameters
    ----------
    maxcor : int
        Number of stored steps, up to 10,000.

    Notes
    -----
    Source: J. Nocedal, Mathematics of Computation 35 (1980); its compact form: R. Byrd, J. Nocedal, R. Schnabel,
    Mathematical Programming 63 (1994). Fixed points: the stationary points of ``L``.
    """

    maxcor: int = 20

    name = "lbfgs"
    summary = "limited-memory BFGS, to full accuracy"
    # First-order methods take more iterations, not fewer.
    limit_hint = ("trust_ncg",)

    def __post_init__(self) -> None:
        as_integer(self.maxcor, "maxcor", 1, MOST_STEPS)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose answer is not the gradient of their value, or None."""
        return inexact_gradient_refusal(problem)

    def descend(
        self,
        function: ValueAndGrad,
        z: Array,
        product: Callable[[Array, Array], Array],
        accept: Callable[[Array], None],
    ) -> Array:
        """Run until the line search gives up."""
        begun = False

        def answer(point: Array, grad: Array) -> float:
            value, grad[:] = function(point)
            return value

        def done(point: Array) -> bool:
            # The start is none of the method's own.
            nonlocal begun
            if begun:
                accept(point)
            begun = True
            return False

        start = np.array(z, np.float64)
        return lbfgs(answer, start, sys.maxsize, done, 0.0, self.maxcor, **SETTINGS)[0]
