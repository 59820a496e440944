"""Gradient descent whose products are advanced by increments of fewer digits, with exact float64 refreshes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._support.threads import get_threads
from .._support.validate import Array
from ..objectives import Increments, Kernels
from ..problem import Problem
from .base import Limits
from .gd import GD


@dataclass(frozen=True)
class MixedGD(GD):
    """Gradient descent for large float64 data, read as float32 between exact refreshes.

    The gradient of a least-squares objective is linear in ``X``. On dense sensing and linear fine-tuning it is advanced
    by products of a float32 copy of the data with the change of ``X``, and computed exactly in float64 every 200
    iterations; that halves the memory traffic. The error, about ``1e-7`` times the distance travelled since the last
    refresh, vanishes as the iterates converge; each stopping rule is decided by an exact evaluation. In mid-run values
    differ from those of ``gd`` by about 1e-8 relative. On linear fine-tuning a change of the factors that lies in the
    span of four earlier ones, up to 3e-6 of its length, is not multiplied: its products are a combination of theirs,
    and what is left out is part of the next change. Everywhere else, and where the data are so small that increments
    would not pay (below 5000 measured numbers, or 30,000 of Gram matrices) or beyond 1e-4 to 1e4, the method is ``gd``
    itself.

    From 500,000 measured numbers on, the change since the last product in float32 or float64 is multiplied in 16-bit
    integers, half the traffic again, where their rounding, which is measured, makes an error below ``3e-7 ||X||``:
    for Gaussian measurements, changes below ``0.004 ||X||``.

    The copies in float32 and integers, half and a quarter of the size of the data, stay with the objective for
    further runs.

    Parameters
    ----------
    step_size : float, optional
        As for :class:`~lorasolve.optimizers.GD`.
    """

    name = "gd_mixed"
    summary = "gradient descent, increments in float32 or less with exact float64 refreshes (sensing, linear)"
    rounding: ClassVar[float] = 1e-7
    may_stall = False

    def batched_step(self, problem: Problem) -> float | None:
        """Return None: the batched kernels have no float32 increments."""
        return None

    def loop_data(self, kernels: Kernels, rank: int) -> Any:
        """Return data for float32 increments where the objective has them."""
        exact = super().loop_data(kernels, rank)
        if exact is None:
            return None
        mixed = kernels.mixed(rank, get_threads())
        return exact if mixed is None else mixed

    def rotates_after(self, problem: Problem) -> float:
        """Return infinity: of the products in which better bases save time few are left."""
        return math.inf

    def evaluate(self, problem: Problem, state: Any, grad: Array) -> float:
        """Evaluate the trial exactly; increments go on from there, so that its products need not be made again."""
        if not _has_increments(state.kernel_data):
            return super().evaluate(problem, state, grad)
        (A, B, _), (GB, GtA, _) = problem.split(state.trial), problem.split(grad)
        value = Increments(state.kernel_data).exact(A, B, GB, GtA)
        return value + problem.add_decay(state.trial, grad)

    def last_value_and_grad(self, problem: Problem, theta: Array, grad: Array) -> float:
        """Take the pass that looks make: the oracle in float64 would be compiled for this one call."""
        if not _has_increments(self.kernel_data(problem)):
            return super().last_value_and_grad(problem, theta, grad)
        (A, B, _), (GB, GtA, _) = problem.split(theta), problem.split(grad)
        f, GB[:], GtA[:], _ = problem.objective.oracle_and_operator(A, B)
        return f + problem.add_decay(theta, grad)

    def plain_steps(self, problem: Problem, state: Any, limits: Limits) -> tuple[Array, Array]:
        """Take plain steps from one exact evaluation to the next."""
        data, arrays = state.kernel_data, state.packed.arrays
        if not _has_increments(data):
            return super().plain_steps(problem, state, limits)
        values, norms = [], []
        while True:
            if data.ahead == 0:
                data.refresh(arrays.A, arrays.Bt.T)
            few = limits._replace(steps=min(limits.steps, data.ahead))
            part, lengths = super().plain_steps(problem, state, few)
            values.append(part)
            norms.append(lengths)
            limits = limits.after(part)
            if part.size < few.steps or limits.steps <= 0:
                return np.concatenate(values), np.concatenate(norms)


def _has_increments(kernel_data: Any) -> bool:
    return hasattr(kernel_data, "exactly")
