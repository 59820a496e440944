"""LoRA: ``X = s A B^T`` with ``s = 1``, ``alpha/r`` or ``alpha/sqrt(r)``, and either factor frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._support.validate import Array, as_choice, as_flag
from ..objectives.base import Objective
from ._scaling import check_alpha, scaling
from .base import Adapter, split

if TYPE_CHECKING:
    from ..problem import Problem


@dataclass(frozen=True)
class LoRA(Adapter):
    """Low-rank adapter ``X = s A B^T``.

    In a PEFT file our ``A`` is ``lora_B.weight`` and our ``B`` is ``lora_A.weight`` transposed. The penalty
    ``(lam/2)(||A||^2 + ||B||^2)`` on the unscaled factors is ``(lam/s) ||X||_*`` (main paper, section 2;
    proofs/nuclear_norm_variational).

    Parameters
    ----------
    alpha : float, optional
        Without it ``s = 1``; with it ``s = alpha/r``.
    rslora : bool
        Use ``s = alpha/sqrt(r)`` instead (rank-stabilised LoRA). Needs ``alpha``.
    frozen : {"A", "B"}, optional
        A factor that keeps its initial value.
    """

    alpha: float | None = None
    rslora: bool = False
    frozen: Literal["A", "B"] | None = None

    name = "lora"
    summary = "X = s A B^T; s = 1, alpha/r or alpha/sqrt(r); either factor can be frozen"
    low_rank = True

    @property
    def has_nuclear_penalty(self) -> bool:
        """Whether both factors are trained."""
        return self.frozen is None

    @classmethod
    def showcase(cls, problem: Problem) -> str:
        """Return gradient descent on one factor; every optimizer shows the other form."""
        return f"gd@{cls.name}:frozen=A"

    def __post_init__(self) -> None:
        as_flag(self.rslora, "rslora")
        check_alpha(self.alpha, self.rslora)
        as_choice(self.frozen, "frozen", (None, "A", "B"))

    def scale_at(self, rank: int) -> float:
        """Return ``s`` for factors of the given rank."""
        return scaling(self.alpha, rank, self.rslora)

    def trainable(self, shape: tuple[int, int], rank: int) -> Array | None:
        """Return the mask of the factor that is trained, or None if both are."""
        if self.frozen is None:
            return None
        m, n = shape
        mask = np.ones((m + n) * rank, dtype=bool)
        A, B, _ = split(mask, shape, rank)
        (A if self.frozen == "A" else B)[:] = False
        return mask

    def value_and_grad(self, objective: Objective, theta: Array, rank: int, grad: Array) -> float:
        """Write ``s G B`` and ``s G^T A`` into ``grad`` and return ``f(s A B^T)``."""
        A, B, _ = split(theta, objective.shape, rank)
        GB, GtA, _ = split(grad, objective.shape, rank)
        s = self.scale_at(rank)
        if s == 1.0:
            f = objective.factor_oracle(A, B, GB, GtA)
        else:
            # f sees A' = s A, so G^T A' already carries the s and G B does not.
            f = objective.factor_oracle(s * A, B, GB, GtA)
            GB *= s
        if self.frozen is not None:
            (GB if self.frozen == "A" else GtA)[:] = 0.0
        return f

    def update(self, objective: Objective, theta: Array, rank: int) -> Array:
        """Return ``s A B^T``."""
        A, B, _ = split(theta, objective.shape, rank)
        return self.scale_at(rank) * (A @ B.T)
