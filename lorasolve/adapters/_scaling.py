"""The factor ``s`` that LoRA and its relatives put before the product of the factors, from ``alpha`` and the rank."""

from __future__ import annotations

import math

from .._support.validate import as_number


def check_alpha(alpha: float | None, rslora: bool = False) -> None:
    """Refuse an ``alpha`` that is not a positive number, and its absence where the scaling needs one.

    Raises
    ------
    TypeError, ValueError
        If ``alpha`` is no number, not positive, or None with ``rslora``.
    """
    if alpha is not None:
        as_number(alpha, "alpha", 0.0, open_low=True)
    elif rslora:
        raise ValueError("rslora: alpha/sqrt(r) needs a value of alpha, got None")


def scaling(alpha: float | None, rank: int, rslora: bool = False) -> float:
    """Return ``s``: 1 without ``alpha``, ``alpha/r`` with it, ``alpha/sqrt(r)`` if rank-stabilised (``rslora``)."""
    if alpha is None:
        return 1.0
    return alpha / (math.sqrt(rank) if rslora else rank)
