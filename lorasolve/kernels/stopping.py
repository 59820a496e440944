"""The stopping rules, compiled: the very functions that the interpreted loop calls."""

from __future__ import annotations

from . import _stopping
from ._jit import kernel

decide = kernel()(_stopping.decide)
slope_at_start = kernel()(_stopping.slope_at_start)
