"""Certificates of global optimality: bounds on ``F(X) - inf F``, with what each of them rests on.

``document`` and ``write`` make certificates that are checked without this package (``check_certificate.py``).
"""

from .batch import CertificateBatch, certify_batch
from .documents import document, write
from .duality import Bound, Parts
from .formula import RigorousBound
from .gap import Certificate, certify
from .rigorous import better_by, rigorous_bound

__all__ = [
    "Bound",
    "Certificate",
    "CertificateBatch",
    "Parts",
    "RigorousBound",
    "better_by",
    "certify",
    "certify_batch",
    "document",
    "rigorous_bound",
    "write",
]
