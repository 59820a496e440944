"""LoRA-MGPO as its released trainer runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .mgpo import MGPO


@dataclass(frozen=True)
class MGPOTrainer(MGPO):
    """LoRA-MGPO with the settings of its released trainer: weight space, opposite sign, clamp at 10."""

    sign: Literal[1, -1] = -1
    space: Literal["factors", "weight"] = "weight"
    clamp: float | None = 10.0

    name = "mgpo_trainer"
    summary = "LoRA-MGPO as in its released trainer: perturbation of the weight, opposite sign, clamped"
