"""AdamW: Adam with decoupled weight decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from .adam import Adam, AdamState


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam on the gradient of ``f`` alone, and a separate shrinkage ``theta <- (1 - step * weight_decay) theta``.

    **Its fixed points are not the stationary points of** ``L``: where the step settles, every factor entry obeys
    ``g/(|g| + eps) = -weight_decay * theta`` with ``g`` the gradient of ``f``. As ``eps`` goes to 0 these are
    the stationary points of ``f`` under the box ``|theta| <= 1/weight_decay``; where the box does not bind, the
    limit is a stationary point of ``f`` without any decay. Compare with ``"adam"``, whose decay is part of ``L``.
    The way there is slow where ``beta2`` is near 1, because the gradient has to outrun the memory of its square.

    Parameters
    ----------
    step_size, beta1, beta2, eps : float
        As for :class:`~lorasolve.optimizers.Adam`.
    weight_decay : float, optional
        The decoupled decay of the factors, by default the problem's ``lam``.

    Notes
    -----
    Source: I. Loshchilov, F. Hutter, ICLR 2019 (arXiv:1711.05101); the box: S. Xie, Z. Li, ICML 2024
    (arXiv:2404.04454). The value and gradient norm reported are those of ``L``.
    """

    weight_decay: float | None = None

    name = "adamw"
    summary = "Adam with decoupled weight decay (does not minimise L: see its docstring)"
    own_aim = "f in the box |theta| <= 1/weight_decay"
    keeps_stationary_points = False
    stall_hint = "; the fixed points of decoupled decay are not stationary points of L, use 'adam' to minimise L"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay is not None:
            as_number(self.weight_decay, "weight_decay", 0.0)

    def residual(self, problem: Problem, theta: Array) -> float:
        """Return ``||g||_1/weight_decay + <g, theta>`` over the factors, ``g`` the gradient of ``f``; >= 0 in the box.

        The Frank-Wolfe gap of ``f`` over the box ``|theta| <= 1/weight_decay`` that decoupled decay stands for: zero
        exactly at the stationary points there. A point outside of the box is measured by its distance too. Without
        decay it is ``||g||_1``.
        """
        grad = np.empty_like(theta)
        problem.value_and_grad(theta, grad)
        factors, rest = theta[: problem.n_factor_parameters], grad[problem.n_factor_parameters :]
        grad[: problem.n_factor_parameters] -= problem.lam * factors
        if problem.trainable is not None:
            grad[~problem.trainable] = 0.0
        g = self.direction(problem, theta, grad)[: problem.n_factor_parameters]
        decay = self._decay(problem)
        length = float(np.abs(g).sum())
        if decay == 0.0:
            return length + float(np.abs(rest).sum())
        outside = float(np.maximum(np.abs(factors) - 1.0 / decay, 0.0).sum())
        return length / decay + float(np.vdot(g, np.clip(factors, -1.0 / decay, 1.0 / decay))) + outside

    def direction(self, problem: Problem, theta: Array, loss_grad: Array) -> Array:
        """Return what the moments are taken of: the gradient of ``f`` itself."""
        return loss_grad

    def _decay(self, problem: Problem) -> float:
        return problem.lam if self.weight_decay is None else self.weight_decay

    def update(self, problem: Problem, state: AdamState, value: float, grad: Array) -> None:
        """Accept the trial, take Adam's step on the gradient of ``f`` and shrink the factors."""
        state.theta, state.trial = state.trial, state.theta
        factors = state.theta[: problem.n_factor_parameters]
        if problem.trainable is not None:
            factors = np.where(problem.trainable[: problem.n_factor_parameters], factors, 0.0)
        loss_grad = grad.copy()
        loss_grad[: problem.n_factor_parameters] -= problem.lam * factors
        self.step(state, self.direction(problem, state.theta, loss_grad))
        state.trial[: problem.n_factor_parameters] -= state.step * state.step_factor * self._decay(problem) * factors
