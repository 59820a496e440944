"""Gradient descent whose products are advanced by float32 increments, with exact float64 refreshes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._threads import get_threads
from ..problem import Problem
from .gd import GD


@dataclass(frozen=True)
class MixedGD(GD):
    """Gradient descent for large float64 data, read as float32 between exact refreshes.

    The gradient of a least-squares objective is linear in ``X``. On dense sensing and linear fine-tuning it is
    advanced by products of a float32 copy of the data with the change of ``X``, and computed exactly in float64
    every 50 iterations; that halves the memory traffic. The error, about ``1e-7`` times the distance travelled
    since the last refresh, vanishes as the iterates converge; each stopping rule is decided by an exact
    evaluation. In mid-run values differ from those of ``gd`` by about 1e-8 relative. Everywhere else, and where the
    data are so small that increments would not pay (below 5000 measured numbers, or 30,000 of Gram matrices), the
    method is ``gd`` itself.

    The float32 copy, half the size of the data, stays with the objective for further runs.

    Parameters
    ----------
    step_size : float, optional
        As for :class:`~lorasolve.optimizers.GD`.
    """

    name = "gd_mixed"
    summary = "gradient descent, float32 increments with exact float64 refreshes (sensing, linear)"
    rounding: ClassVar[float] = 1e-7
    may_stall = False

    def batched_step(self, problem: Problem) -> float | None:
        """Return None: the batched kernels have no float32 increments."""
        return None

    def kernel_data(self, problem: Problem) -> Any:
        """Return data for float32 increments where the objective has them."""
        exact = super().kernel_data(problem)
        if exact is None:
            return None
        mixed = problem.objective.kernels.mixed(problem.rank, get_threads())
        return exact if mixed is None else mixed
