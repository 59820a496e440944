"""Methods that step along an orthogonalised momentum."""

from __future__ import annotations

from dataclasses import dataclass

from .._support.validate import Array, as_flag, as_number
from ..problem import Problem
from .base import Optimizer


@dataclass(frozen=True)
class Orthogonalised(Optimizer):
    """Base class: a step of one length along the polar factor of a momentum, however small the gradient is.

    At a constant step the iterates hover around the optimum; a decaying one makes them settle.

    Parameters
    ----------
    step_size : float
        Length of a step, as the subclass measures it.
    momentum : float
        In [0, 1).
    nesterov : bool
        Orthogonalise ``gradient + momentum * velocity`` instead of ``velocity``.
    """

    step_size: float = 0.02
    momentum: float = 0.95
    nesterov: bool = True

    takes_step_factor = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.stall_hint = f"; a constant step hovers around the optimum, try '{cls.name}+cosine'"

    @classmethod
    def showcase(cls, problem: Problem) -> str:
        """Return it with the decaying step that lets it settle."""
        return f"{cls.name}+cosine"

    def __post_init__(self) -> None:
        as_number(self.step_size, "step_size", 0.0, open_low=True)
        as_number(self.momentum, "momentum", 0.0, 1.0, open_high=True)
        as_flag(self.nesterov, "nesterov")

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return the step in use: there is no curvature bound for this method."""
        return self.step_size
