"""A certifier: no certificate may be wrong about a convex problem whose facts are true."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._hidden import HIDDEN
from ._points import POINTS
from .base import Attack, Family


@dataclass(frozen=True)
class CertifyAttack(Attack):
    """Points of convex problems with a known optimum, and gradients whose largest singular value is hidden.

    Claims: the true gap is at most the certified one and at least ``gap_at_least``; ``is_global`` is True only within
    the tolerance of the optimum, and not False there.

    Parameters
    ----------
    subject : str
        The certifier as ``package.function``, called with a problem and a point; what it returns has ``gap``,
        ``gap_at_least`` and ``is_global``.
    """

    subject: str = "lorasolve.certify"

    name = "certify"
    summary = "certify, or certify:package.function: certificates against optima in extended precision"

    def target(self) -> Callable[..., Any]:
        """Return the certifier."""
        return imported(self.subject)

    def families(self) -> tuple[Family, ...]:
        """Return small problems of extreme numbers, and large ones with a hidden direction."""
        return (*POINTS, HIDDEN)


def imported(path: str) -> Any:
    """Return what ``package.name`` stands for.

    Raises
    ------
    ValueError
        If there is no such thing, or it is no class or function.
    """
    module, dot, name = path.rpartition(".")
    try:
        if not dot:
            raise ImportError("expected package.name")
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"target: cannot import {path!r}: {error}; accepted: package.name") from None
    if not callable(found):
        raise ValueError(f"target: expected a class or function, got {path!r}, which is a {type(found).__name__}")
    return found
