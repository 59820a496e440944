"""Flat-LoRA: weight noise scaled by the row norms of the weight."""

from __future__ import annotations

from dataclasses import dataclass

from .ggpo import GGPO


@dataclass(frozen=True)
class FlatLoRA(GGPO):
    """GGPO without the gradient term: ``s_i^2 = (sigma^2/n) ||W_i||^2``.

    Notes
    -----
    Source: arXiv 2409.14396 (Flat-LoRA), in the form that GGPO extends (second-hand). With ``sigma > 0`` the
    activation variance of a layer with centred inputs grows by the factor ``1 + sigma^2``, whatever ``n``.
    """

    beta: float = 0.0

    name = "flat_lora"
    summary = "Flat-LoRA: gradients at the weight plus noise scaled by its row norms"
