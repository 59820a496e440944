"""The stopping rules, compiled: the very functions that the interpreted loop calls."""

from __future__ import annotations

from . import stopping_rules
from .jit import kernel

decide = kernel()(stopping_rules.decide)
slope_at_start = kernel()(stopping_rules.slope_at_start)
