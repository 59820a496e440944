"""Muon on the factors: momentum, orthogonalised matrix by matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._support.validate import Array
from ..dense import polar
from ..problem import Problem
from ._orthogonalised import Orthogonalised
from .base import State


@dataclass
class MuonState(State):
    """State with the sum of past gradients."""

    velocity: Array = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Muon(Orthogonalised):
    """Each factor moves along an orthogonal matrix: ``A <- A - step * polar(momentum of grad_A L)``, ``B`` likewise.

    ``polar(M) = U V^T`` for ``M = U S V^T``: all singular values of a step are equal, so that all singular values of
    ``A B^T`` grow at one rate, and small ones arrive first. A step has one length however small the gradient is: at a
    constant step the iterates hover, add the schedule ``"cosine"``.

    Parameters
    ----------
    step_size : float
        Spectral norm of a step of either factor.
    momentum : float
        In [0, 1): ``velocity <- momentum * velocity + gradient``. 0 is spectral gradient descent.
    nesterov : bool
        Orthogonalise ``gradient + momentum * velocity`` (the release) instead of ``velocity``.

    Notes
    -----
    Source: K. Jordan et al., Muon (2024), and its released code; on the factors of LoRA: C. Kang et al.,
    arXiv:2602.06385, of which the abstract was at hand (uniform growth, convergence with l2 regularization).
    Departures from the release: the exact polar factor instead of five Newton-Schulz steps, no factor
    ``sqrt(max(1, rows/columns))`` on the step, weight decay in the gradient of ``L`` instead of beside it. Directions
    in which the momentum is zero to rounding are left out. Fixed points: the stationary points of ``L`` (a decaying
    step makes the iterates settle there).
    """

    name = "muon"
    summary = "Muon on the factors: orthogonalised momentum, weight decay in the gradient"

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters with parameters that are no matrices, or None."""
        if problem.size == problem.n_factor_parameters:
            return None
        return f"it orthogonalises the factors' steps, and {problem.adapter.name!r} has parameters beyond the factors"

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> MuonState:
        """Return the state at rest."""
        return MuonState(theta.copy(), theta.copy(), step=self.step_size, velocity=np.zeros_like(theta))

    def update(self, problem: Problem, state: MuonState, value: float, grad: Array) -> None:
        """Accept the trial and step along the polar factors."""
        state.theta, state.trial = state.trial, state.theta
        state.velocity *= self.momentum
        state.velocity += grad
        moved = grad + self.momentum * state.velocity if self.nesterov else state.velocity
        for new, pair in zip(problem.split_blocks(state.trial), problem.split_blocks(moved)):
            for factor, direction in zip(new, pair):
                factor[:] = polar(direction)
        state.trial *= -state.step * state.step_factor
        state.trial += state.theta
