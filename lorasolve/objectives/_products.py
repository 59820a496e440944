"""Products with the Hessian in the factors: one at a point (``factor_hvp``), or many at the same (``hessian_at``)."""

from __future__ import annotations

from functools import partial
from typing import Any


def complete_products(cls: Any, places: int) -> None:
    """Let that of the two methods which a class of losses does not write follow from the one that it writes.

    Of inherited ones that of the nearer class decides. ``places`` arguments say where, the others along what.
    """
    many, single = (
        next(k for k, owner in enumerate(cls.__mro__) if name in vars(owner)) for name in ("hessian_at", "factor_hvp")
    )
    if many < single:
        there = cls.hessian_at

        def factor_hvp(self: Any, *given: Any) -> Any:
            """Return a product of ``hessian_at``."""
            return there(self, *given[:places])(*given[places:])

        cls.factor_hvp = factor_hvp
    elif single < many:

        def hessian_at(self: Any, *where: Any) -> Any:
            """Return ``factor_hvp`` at a point."""
            return partial(self.factor_hvp, *where)

        cls.hessian_at = hessian_at
