"""Step rules: derived steps must not diverge, must end, and must lower L."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..optimizers import registry as optimizers
from ._runs import (
    MATRICES,
    draw_quadratic,
    draw_quartic,
    draw_units,
    judge_quadratic,
    judge_quartic,
    judge_units,
)
from .base import Attack, Failures, Family, Instance


def judge_step(names: tuple[str, ...], optimizer: str, **instance: Any) -> Failures:
    """Judge a run of one of the optimizers on the objective that the instance has the data of."""
    if "exponent" in instance:
        return judge_units(optimizer, **instance)
    return judge_quadratic(optimizer, **instance) if "W" in instance else judge_quartic(optimizer, **instance)


def derived_steps() -> tuple[str, ...]:
    """Return the optimizers that find their step themselves: they have no step size, or None by default."""
    classes = optimizers.classes().items()
    return tuple(
        name
        for name, cls in classes
        if not cls.stochastic and all(e.default is None for e in fields(cls) if e.name == "step_size")
    )


@dataclass(frozen=True)
class StepAttack(Attack):
    """Runs with derived and searched steps on ill-conditioned, badly scaled and steep objectives.

    Parameters
    ----------
    subject : str
        One optimizer; by default all whose step is not a given number.
    """

    name = "step"
    summary = "step, or step:OPTIMIZER: derived steps do not diverge, end, and lower L"

    def target(self) -> tuple[str, ...]:
        """Return the optimizers."""
        return (optimizers.make(self.subject, "target").name,) if self.subject else derived_steps()

    def families(self) -> tuple[Family, ...]:
        """Return one family an objective."""
        return tuple(
            Family(name, drawn_with_an_optimizer(draw), judge_step, MATRICES)
            for name, draw in (("quadratic", draw_quadratic), ("quartic", draw_quartic), ("units", draw_units))
        )


def drawn_with_an_optimizer(draw: Any) -> Any:
    """Return a drawing that chooses an optimizer too."""

    def draw_both(rng: np.random.Generator, names: tuple[str, ...]) -> Instance:
        return {"optimizer": str(rng.choice(names)), **draw(rng, "")}

    return draw_both
