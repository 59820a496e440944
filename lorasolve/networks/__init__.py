"""LoRA on networks: did my fine-tune reach an optimum, or did it fail loudly?

``gradients`` is a network as a loss of its updates, in the layers that ``adapted`` finds and by one of the ``losses``.
``judge`` collects the evidence, the certificate of ``tangent``, the tangent problem (``linearize``, ``token_ntk``) and
the premises of the ``training_objective``; ``decisions`` are what that decides, and ``verdict`` is the answer.
``training`` goes on to stationarity, ``monitor`` watches a run, ``optimizer_state`` reads what one applied, ``head`` is
the part that is convex.

The tangent certificate and the token form of a linearised network need NumPy only; what reads or trains a network needs
torch (``pip install 'lorasolve[torch]'``), which is imported by the functions that use it.
"""

from __future__ import annotations

from .adapted import AdaptedLayer, adapted_layers
from .dequantize import dequantize
from .gradients import Network
from .head import features
from .judge import judge
from .linearize import Linearity, LinearizedNetwork, linearity, linearize
from .losses import CrossEntropy, OutputLoss, SquareLoss
from .monitor import LayerReading, LoRAMonitor, callback
from .optimizer_state import OptimizerState, read_optimizer_state
from .tangent import LayerDual, TangentCertificate, TwoPoints, tangent_certificate, two_points
from .token_ntk import LayerTokens, TangentSolution, TokenNTK, solve_tangent
from .training import FineTuned, fine_tune
from .verdict import NetworkVerdict

__all__ = [
    "AdaptedLayer",
    "CrossEntropy",
    "FineTuned",
    "LayerDual",
    "LayerReading",
    "LayerTokens",
    "Linearity",
    "LinearizedNetwork",
    "LoRAMonitor",
    "Network",
    "NetworkVerdict",
    "OptimizerState",
    "OutputLoss",
    "SquareLoss",
    "TangentCertificate",
    "TangentSolution",
    "TokenNTK",
    "TwoPoints",
    "adapted_layers",
    "callback",
    "dequantize",
    "features",
    "fine_tune",
    "judge",
    "linearity",
    "linearize",
    "read_optimizer_state",
    "solve_tangent",
    "tangent_certificate",
    "two_points",
]
