"""Certificates of global optimality: bounds on ``F(X) - inf F``, with what each of them rests on.

``document`` and ``write`` make certificates that are checked without this package (``check_certificate.py``).
"""

from .documents import document, write
from .duality import Bound, Parts
from .gap import Certificate, certify
from .rigorous import RigorousBound, better_by, rigorous_bound

__all__ = [
    "Bound",
    "Certificate",
    "Parts",
    "RigorousBound",
    "better_by",
    "certify",
    "document",
    "rigorous_bound",
    "write",
]
