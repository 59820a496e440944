"""LoRA on networks: did my fine-tune reach an optimum, or did it fail loudly?

The tangent certificate and the token form of a linearised network need NumPy only; what reads or trains a network needs
torch (``pip install 'lorasolve[torch]'``), which is imported by the functions that use it.
"""

from __future__ import annotations

from .tangent import LayerDual, TangentCertificate, TwoPoints, tangent_certificate, two_points
from .token_ntk import LayerTokens, TangentSolution, TokenNTK, solve_tangent

__all__ = [
    "LayerDual",
    "LayerTokens",
    "TangentCertificate",
    "TangentSolution",
    "TokenNTK",
    "TwoPoints",
    "solve_tangent",
    "tangent_certificate",
    "two_points",
]
