"""Adapters on disk, read with NumPy alone: their layers, facts about them, and what can be concluded without data.

``safetensors``, ``config`` and ``layers`` read PEFT's folders and kohya's files, ``facts`` computes with the factors,
``diagnosis`` concludes, ``text`` and ``page`` report. Nothing is unpickled, and nothing outside of the folder is read.
"""

from .base_weights import BaseFacts, BaseWeights
from .checkpoint import TrainerState, read_trainer_state
from .config import AdapterConfig
from .decay import Decay, DecayExplanation, explain_decay
from .diagnosis import Diagnosis, LayerReport, diagnose
from .facts import LayerFacts, facts_of
from .folder import UnreadableError
from .layers import Adapter, LayerFactors, UnusableLayer, read
from .safetensors import StoredTensor, TensorFile, encoded, write_tensors

__all__ = [
    "Adapter",
    "AdapterConfig",
    "BaseFacts",
    "BaseWeights",
    "Decay",
    "DecayExplanation",
    "Diagnosis",
    "LayerFactors",
    "LayerFacts",
    "LayerReport",
    "StoredTensor",
    "TensorFile",
    "TrainerState",
    "UnreadableError",
    "UnusableLayer",
    "diagnose",
    "encoded",
    "explain_decay",
    "facts_of",
    "read",
    "read_trainer_state",
    "write_tensors",
]
