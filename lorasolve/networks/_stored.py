"""What the precision in which factors are stored makes of them."""

from __future__ import annotations

import itertools

import numpy as np

from .._support.validate import Array
from ..problem.pairs import Pairs
from ._torch import name_of, require_torch
from .gradients import Network


def coarse_factors(network: Network, point: Pairs) -> str:
    """Return in which types below float32 the model stores the factors of a point; empty for none and other points."""
    torch = require_torch()
    held = network.point
    if held is None or not all(map(np.array_equal, itertools.chain(*point), itertools.chain(*held))):
        return ""
    types = {part.dtype for layer in network.layers for part in (layer.lora_A, layer.lora_B)}
    coarse = [each for each in types if torch.finfo(each).eps > torch.finfo(torch.float32).eps]
    return ", ".join(sorted(name_of(each) for each in coarse))


def rounded_at_random(network: Network, point: Pairs, rng: np.random.Generator) -> Pairs:
    """Return factors that are as far from those of a point as their types may round."""
    finfo = require_torch().finfo

    def moved(factor: Array, eps: float) -> Array:
        # Of m 2^e with 1/2 <= m < 1 the last place is eps 2^(e - 1).
        place = eps * np.exp2(np.frexp(factor)[1] - 1)
        return np.where(factor == 0.0, 0.0, factor + place * (rng.random(factor.shape) - 0.5))

    return [
        (moved(A, finfo(layer.lora_B.dtype).eps), moved(B, finfo(layer.lora_A.dtype).eps))
        for layer, (A, B) in zip(network.layers, point)
    ]
