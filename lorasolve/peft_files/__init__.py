"""Adapters on disk, read with NumPy alone: their layers, facts about them, and what can be concluded without data.

``safetensors``, ``config`` and ``layers`` read PEFT's folders and kohya's files, ``facts`` computes with the factors,
``diagnosis`` concludes, ``report`` and ``page`` tell it; ``truncation`` and ``overlap`` work with the updates. Nothing
is unpickled, and nothing outside of the folder is read.
"""

from .base_weights import BaseFacts, BaseWeights
from .checkpoint import TrainerState, read_trainer_state
from .config import AdapterConfig
from .decay import Decay, DecayExplanation, explain_decay
from .diagnosis import diagnose
from .facts import LayerFacts, facts_of
from .folder import UnreadableError
from .layers import Adapter, LayerFactors, UnusableLayer, read
from .overlap import Interference, SharedModule, interfere
from .report import Diagnosis, LayerReport
from .safetensors import StoredTensor, TensorFile, encoded, write_tensors
from .truncation import TruncatedLayer, Truncation, truncate

__all__ = [
    "Adapter",
    "AdapterConfig",
    "BaseFacts",
    "BaseWeights",
    "Decay",
    "DecayExplanation",
    "Diagnosis",
    "Interference",
    "LayerFactors",
    "LayerFacts",
    "LayerReport",
    "SharedModule",
    "StoredTensor",
    "TensorFile",
    "TrainerState",
    "TruncatedLayer",
    "Truncation",
    "UnreadableError",
    "UnusableLayer",
    "diagnose",
    "encoded",
    "explain_decay",
    "facts_of",
    "interfere",
    "read",
    "read_trainer_state",
    "truncate",
    "write_tensors",
]
