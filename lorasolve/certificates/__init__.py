"""Certificates of global optimality: proved bounds on ``F(X) - inf F``, with every rounding error counted."""

from .rigorous import Parts, RigorousBound, better_by, rigorous_bound

__all__ = ["Parts", "RigorousBound", "better_by", "rigorous_bound"]
