"""Certificates of global optimality: bounds on ``F(X) - inf F``, with what each of them rests on.

``gap`` makes a ``certificate`` of what ``evidence`` has: a proof (``rigorous``, by the ``formula`` and with what
``balls``, ``norms`` and ``nuclear_norms`` enclose) or a bound in floating point (``duality``). ``answers`` concludes
from it: ``spot_checks``, ``contradictions`` and ``stated_bounds`` test what a user states, ``refute`` makes a better
point, ``ranks`` bounds the rank of the optimum. ``observed`` leaves out what a loss does not see. ``stacks`` proves
many small points at once, for ``batch``. ``document`` and ``write`` make certificates that are checked without this
package (``check_certificate.py``).
"""

from .batch import CertificateBatch, certify_batch
from .certificate import Certificate
from .documents import document, write
from .duality import Bound, Parts
from .formula import RigorousBound
from .gap import certify
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
