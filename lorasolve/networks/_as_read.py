"""Do layers compute of their factors what is read off them, ``W x + s A B^T x`` and nothing else?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..problem.blocks import Pairs
from .adapted import AdaptedLayer

# The losses of a batch with given factors in their layers, and with their products in the weights, which the layers of
# the numbers have alone.
LossesOf = Callable[[Any, Pairs, Sequence[int]], tuple[Any, Any]]
# Relative difference of these two that rounding explains.
AS_READ = {"float64": 1e-5, "float32": 1e-3}


class Reader:
    """Compares the losses of batches with factors in their layers and with their products in the weights.

    Parameters
    ----------
    layers : sequence of AdaptedLayer
        With factors.
    losses_of : callable
        See above.
    base : torch.Tensor
        Losses of a batch without updates. Where updates fit a batch its losses are rounding, and tell nothing beside
        these.
    precision : str
        Of the evaluation.
    """

    def __init__(self, layers: Sequence[AdaptedLayer], losses_of: LossesOf, base: Any, precision: str) -> None:
        self.layers, self._losses_of, self._precision = layers, losses_of, precision
        self._usual = float(base.square().mean()) ** 0.5

    def random_factors(self) -> Pairs:
        """Return factors of updates of about the length 1."""
        rng = np.random.default_rng()  # a verdict rests on it
        factors = [
            tuple(rng.standard_normal((size, len(layer.lora_A))) / size**0.5 for size in layer.shape)
            for layer in self.layers
        ]
        for layer, (_, B) in zip(self.layers, factors):
            if layer.looks_up:  # one row of all
                B *= len(B) ** 0.5
            if layer.still is not None:
                B[layer.still] = 0.0
        return factors

    def misread(self, batch: Any, factors: Pairs) -> list[str]:
        """Return the layers that compute something else on a batch, those of all where none does so by itself.

        None where noise explains it, which is told where gradients are tried.
        """
        everything = range(len(self.layers))
        if not self._differ(batch, factors, everything) or self._is_noisy(batch, factors):
            return []
        alone = [self.layers[k].name for k in everything if self._differ(batch, factors, [k])]
        return alone or [layer.name for layer in self.layers]

    def _differ(self, batch: Any, factors: Pairs, chosen: Sequence[int]) -> bool:
        found, expected = self._losses_of(batch, factors, chosen)
        return self._are_apart(found, expected)

    def _is_noisy(self, batch: Any, factors: Pairs) -> bool:
        one, two = (self._losses_of(batch, factors, ())[0] for _ in range(2))
        return self._are_apart(one, two)

    def _are_apart(self, found: Any, expected: Any) -> bool:
        size = max(float(found.norm()), float(expected.norm()), self._usual * len(found) ** 0.5)
        return float((found - expected).norm()) > AS_READ[self._precision] * size
