"""Plain weight noise: the reference for guided perturbations."""

from __future__ import annotations

from dataclasses import dataclass

from .._support.validate import Array, as_number
from ..problem import Problem
from ._perturbed import Perturbed, PerturbedState, weight_oracle
from .base import factors_refusal


@dataclass(frozen=True)
class WeightNoise(Perturbed):
    """Steps with the gradient at ``W + E``, ``E_ij ~ N(0, sigma^2)`` drawn anew each time.

    Parameters
    ----------
    step_size : float
        Step of the method underneath.
    base : {"adam", "gd"}
        The method underneath.
    sigma : float
        Standard deviation of the noise in each entry of the weight.

    Notes
    -----
    On quadratics the expected gradient is the unperturbed one: plain LoRA plus zero-mean noise. A bias to flat
    points needs third derivatives. Fixed points: none; the iterates hover around those of the smoothed loss.
    """

    sigma: float = 0.01

    name = "weight_noise"
    summary = "gradients at the weight plus isotropic Gaussian noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_number(self.sigma, "sigma", 0.0)

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters whose update is not ``s A B^T``, or None."""
        return factors_refusal(problem)

    def evaluate(self, problem: Problem, state: PerturbedState, grad: Array) -> float:
        """Evaluate the trial with fresh noise on the weight."""
        E = self.sigma * state.rng.standard_normal(problem.shape)
        return weight_oracle(problem, state.trial, E, grad)[0]
