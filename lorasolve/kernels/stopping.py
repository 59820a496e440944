"""The stopping rules, compiled: the very function that the interpreted loop calls."""

from __future__ import annotations

from . import _stopping
from ._jit import kernel

decide = kernel()(_stopping.decide)
