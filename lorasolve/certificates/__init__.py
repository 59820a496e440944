"""Certificates of global optimality: bounds on ``F(X) - inf F``, with what each of them rests on."""

from .duality import Bound, Parts, duality_gap
from .gap import Certificate, certify
from .rigorous import RigorousBound, better_by, rigorous_bound

__all__ = [
    "Bound",
    "Certificate",
    "Parts",
    "RigorousBound",
    "better_by",
    "certify",
    "duality_gap",
    "rigorous_bound",
]
