"""What papers say about low-rank adaptation, as numbers: one module a paper, ``lorasolve reproduce NAME``.

The methods themselves are adapters, optimizers and schedules, found in their folders. Here are the rates, bounds,
closed forms, constructions and measures of their papers, the claims held against what is measured, and the
experiments of the main paper (one module each: its tables, its figure, and what goes beyond it).
"""

from .._support.registry import Registry
from .base import Claim, Experiment, PaperClaims

registry: Registry[Experiment] = Registry(__name__, Experiment, "experiment")

__all__ = ["Claim", "Experiment", "PaperClaims", "registry"]
