"""Tests of what a component states about itself, for whoever writes a new one.

Everything here is SAMPLED: what fails is wrong, what passes was not refuted. :func:`readiness` says which abilities
a class of one of the registries has and what to write for those that it lacks.
"""

from .adapter import check_adapter
from .attack import check_attack
from .base import Checked, CheckReport
from .convex import check_convex
from .executor import check_executor
from .init import check_init
from .objective import check_objective
from .optimizer import check_optimizer
from .readiness import readiness
from .schedule import check_schedule

__all__ = [
    "Checked",
    "CheckReport",
    "check_adapter",
    "check_attack",
    "check_convex",
    "check_executor",
    "check_init",
    "check_objective",
    "check_optimizer",
    "check_schedule",
    "readiness",
]
