"""L-BFGS through SciPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._support.validate import Array, as_integer
from ..problem import Problem
from .base import DrivenOptimizer, ValueAndGrad, inexact_gradient_refusal

UNLIMITED = 2**31 - 1
# More stored steps than this are asked for by mistake.
MOST_STEPS = 10_000


@dataclass(frozen=True)
class LBFGS(DrivenOptimizer):
    """Limited-memory BFGS (``scipy.optimize.minimize(method="L-BFGS-B")``), run until the loop's own rules stop it.

    SciPy's tolerances are off; when its line search gives up the method restarts from there.

    Parameters
    ----------
    maxcor : int
        Number of stored steps, up to 10,000.

    Notes
    -----
    Source: R. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Sci. Comput. 16 (1995). Fixed points: the stationary points
    of ``L``.
    """

    maxcor: int = 20

    name = "lbfgs"
    summary = "limited-memory BFGS through SciPy, to full accuracy"
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
        """Run SciPy's loop with its own tolerances off."""
        from scipy.optimize import minimize

        options: dict[str, Any] = {
            "maxcor": self.maxcor,
            "ftol": 0.0,
            "gtol": 0.0,
            "maxiter": UNLIMITED,
            "maxfun": UNLIMITED,
            "maxls": 50,
        }
        settings: dict[str, Any] = {"jac": True, "callback": accept, "options": options}
        return minimize(function, z, method="L-BFGS-B", **settings).x
