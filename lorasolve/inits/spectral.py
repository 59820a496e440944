"""Factors from the singular vectors of the gradient at the frozen weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import Array, as_number
from ..linear_map import LinearMap
from ..low_rank import balanced
from ..optimizers.base import inverse_curvature, smoothness_near
from ..problem import Problem
from ..singular_triplets import top_singular
from .base import Init, Start

# Residual of singular vectors, relative to their values, where they come from an iteration: more is lost on a start
# (alternating least squares on 200,000 entries, six seeds: 16 sweeps from it, 17 from all digits and from 0.17, 24 from
# 0.3).
ACCURACY = 0.1


@dataclass(frozen=True)
class Spectral(Init):
    """The best rank-r part of a gradient step: ``s A B^T = -step [grad f(0)]_r``, balanced.

    The step is the one of LoRA-One; LoRA-GA takes the same singular vectors with another scale. No singular value
    is thresholded by ``lam``: a zero column in both factors would stay zero for ever.

    Parameters
    ----------
    step : float, optional
        By default ``1/beta``, ``beta`` the smoothness constant of ``f`` (or twice the curvature at 0 if unknown).

    Notes
    -----
    Source: S. Wang, L. Yu, J. Li, LoRA-GA, NeurIPS 2024 (arXiv:2407.05000); Y. Zhang, F. Liu, Y. Chen, LoRA-One,
    ICML 2025 (arXiv:2502.01235).
    """

    step: float | None = None

    name = "spectral"
    summary = "top-r part of a gradient step at W0 (LoRA-GA / LoRA-One style)"

    def __post_init__(self) -> None:
        if self.step is not None:
            as_number(self.step, "step", 0.0, open_low=True)

    def start(self, problem: Problem, rng: np.random.Generator) -> Start:
        """Return balanced ``A`` (m, r) and ``B`` (n, r).

        Raises
        ------
        ValueError
            If the gradient at ``X = 0`` is zero: the frozen weight is stationary already.
        """
        zeros = (np.zeros((size, 1), problem.dtype) for size in problem.shape)
        return Start(*gradient_step(problem, problem.objective.gradient_operator(*zeros), self.step))


def gradient_step(problem: Problem, gradient: LinearMap, step: float | None = None) -> tuple[Array, Array]:
    """Return balanced factors with ``s A B^T = -step [G]_r`` (``step = 1/beta`` if not given)."""
    top = top_singular(gradient, problem.rank, tol=ACCURACY)
    if top.values[0] == 0.0:
        raise ValueError("init: the gradient at X = 0 is zero, so the spectral start is the stationary point A = B = 0")
    if step is None:
        # At X = 0, without what the adapter adds to the factors.
        factors = problem.replace(adapter="lora")
        step = inverse_curvature(smoothness_near(factors, np.zeros(factors.size)))
    return balanced(-top.U, step / problem.scale * top.values, top.V)
