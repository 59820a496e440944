"""Certificates of global optimality: proved bounds on ``F(X) - inf F``, with every rounding error counted.

``document`` and ``write`` make certificates that are checked without this package (``check_certificate.py``).
"""

from .documents import document, write
from .rigorous import Parts, RigorousBound, better_by, rigorous_bound

__all__ = ["Parts", "RigorousBound", "better_by", "document", "rigorous_bound", "write"]
