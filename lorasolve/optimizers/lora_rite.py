"""LoRA-RITE: adaptive matrix preconditioning that does not depend on how the update is factored."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._support.validate import Array, as_number
from ..problem import Problem
from .adam import check_moments
from .base import Optimizer, State, factors_refusal


@dataclass
class Side:
    """What is remembered of one factor: first and second moment, and the basis of the other factor they refer to."""

    first: Array
    second: Array
    basis: Array


@dataclass
class LoRARITEState(State):
    """State with the memory of both factors and the step count of the bias correction."""

    sides: list[Side] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True)
class LoRARITE(Optimizer):
    """Adam with r x r matrices as second moments, on gradients freed from the size of the other factor.

    With ``B = Q R`` (QR), ``grad_A R^{-1} = s G Q`` does not depend on the factors of ``X``. Its second moment
    ``V = mean of (s G Q)^T (s G Q)/m`` preconditions it from the right, the momentum of the result is taken back by
    ``R^{-T}``, and both moments are rotated into the basis of the new ``Q``. ``B`` likewise. With ``lam = 0`` the path
    of ``A B^T`` depends on ``A B^T`` alone, as long as the condition numbers of the factors are below ``1/cutoff``.

    **At r > r* the factors become singular.** The steps of the two factors multiply to a change of ``A B^T`` of about
    ``step_size^2`` over its smallest singular value, which the gradient does not see: below ``step_size`` this is
    larger than the step itself, and ``L`` can grow by orders of magnitude. The cut-off makes that rare and bounds it,
    but does not rule it out, above all with ``r`` far above the rank of the optimum, with decay, and in float32: a run
    that ends far above its start needs a smaller ``r``, a smaller step or a larger ``cutoff``.

    Parameters
    ----------
    step_size : float
        Length of a step of the weight, about: entries of a preconditioned gradient are of order 1.
    beta1, beta2 : float
        Memories of the moments, in [0, 1).
    eps : float
        Added to the roots of the second moment's eigenvalues.
    clip : float, optional
        Largest norm of both freed gradients together; longer ones are shortened.
    cutoff : float
        Singular values of a factor below this share of its largest are left out of ``R^{-1}``, in [0, 1). 0 leaves out
        only what is zero to rounding, as the release does.

    Notes
    -----
    Source: J.-N. Yen et al., "LoRA Done RITE", arXiv:2410.20625 (ICLR 2025), and its released code. Departures from the
    release: weight decay is in the gradient of ``L`` instead of beside the step; gradients are clipped at 1 and skipped
    above a root mean square of 1 there, in absolute units, here only if asked for; the cut-off; without escaped mass
    (off in the release). All directions of a factor that is zero are left out, as at the start ``B = 0``. Fixed points:
    the stationary points of ``L``, and points where a factor's columns are dependent up to the cut-off and its range
    holds no gradient.
    """

    step_size: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    clip: float | None = None
    cutoff: float = 1e-3

    name = "lora_rite"
    summary = "LoRA-RITE: transformation-invariant matrix preconditioning, weight decay in the gradient"
    takes_step_factor = True
    stall_hint = "; a constant step hovers around the optimum, try 'lora_rite+cosine'"

    @classmethod
    def showcase(cls, problem: Problem) -> str:
        """Return it with the decaying step that lets it settle."""
        return f"{cls.name}+cosine"

    def __post_init__(self) -> None:
        check_moments(self)
        if self.clip is not None:
            as_number(self.clip, "clip", 0.0, open_low=True)
        as_number(self.cutoff, "cutoff", 0.0, 1.0, open_high=True)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T``, or None."""
        return factors_refusal(problem)

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the step in use: there is no curvature bound for this method."""
        return self.step_size

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> LoRARITEState:
        """Return the state without moments."""
        A, B, _ = problem.split(theta)
        square = np.zeros((problem.rank, problem.rank), theta.dtype)
        sides = [Side(np.zeros_like(own), square.copy(), np.zeros_like(other)) for own, other in ((A, B), (B, A))]
        return LoRARITEState(theta.copy(), theta.copy(), step=self.step_size, sides=sides)

    def update(self, problem: Problem, state: LoRARITEState, value: float, grad: Array) -> None:
        """Accept the trial and take the preconditioned step."""
        state.theta, state.trial = state.trial, state.theta
        state.count += 1
        A, B, _ = problem.split(state.theta)
        gradients, steps = problem.split(grad)[:2], problem.split(state.trial)[:2]
        frames = [np.linalg.qr(other) for other in (B, A)]
        cutoff = max(self.cutoff, float(np.finfo(grad.dtype).eps))
        inverses = [np.linalg.pinv(R, cutoff) for _, R in frames]
        freed = [own @ inverse for own, inverse in zip(gradients, inverses)]
        length = float(np.sqrt(sum(np.vdot(g, g) for g in freed)))
        if self.clip is not None and length > self.clip:
            freed = [g * (self.clip / length) for g in freed]
        for side, g, (Q, _), inverse, step in zip(state.sides, freed, frames, inverses, steps):
            step[:] = self._remembered(side, g, Q, state.count) @ inverse.T
        state.trial *= -state.step * state.step_factor
        state.trial += state.theta

    def _remembered(self, side: Side, g: Array, Q: Array, count: int) -> Array:
        """Update the moments of one factor by its freed gradient and return the momentum, in the basis ``Q``."""
        rotation = Q.T @ side.basis
        side.second = _mean(self.beta2, count, rotation @ side.second @ rotation.T, g.T @ g / g.shape[0])
        values, vectors = np.linalg.eigh(side.second)
        root = (vectors / (np.sqrt(np.maximum(values, 0.0)) + self.eps)) @ vectors.T
        side.first = _mean(self.beta1, count, side.first @ rotation.T, g @ root)
        side.basis = Q
        return side.first


def _mean(beta: float, count: int, old: Array, new: Array) -> Array:
    """Return the running mean with the bias-corrected memory ``beta (1 - beta^(t-1))/(1 - beta^t)``."""
    memory = beta * (1.0 - beta ** (count - 1)) / (1.0 - beta**count)
    return memory * old + (1.0 - memory) * new
