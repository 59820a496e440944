"""Do layers compute of their factors what is read off them, ``W x + s A B^T x`` and nothing else?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..problem.pairs import Pairs
from .adapted import AdaptedLayer
from .tangent import ratio

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
    """

    def __init__(self, layers: Sequence[AdaptedLayer], losses_of: LossesOf, base: Any) -> None:
        self.layers, self._losses_of = layers, losses_of
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

    def refuse_misread(self, batch: Any, factors: Pairs, precision: str, where: str) -> None:
        """Refuse layers that compute something else on a batch, in a network that is exact to ``precision``."""
        wrong = self._misread(batch, factors, AS_READ[precision])
        if wrong:
            raise ValueError(
                f"model: {', '.join(wrong)}: expected W x + scaling * lora_B lora_A x, got something else {where} (a "
                "scaling by another name, an operation between the factors, a weight that holds the update or is read "
                "past its layer, as that of out_proj by MultiheadAttention? an update that some inputs do without? a "
                "loss that reads the factors itself? a penalty on them is what lam is, and what the model says without "
                "adapters, as of a reference model, goes into the batches as numbers)"
            )

    def _misread(self, batch: Any, factors: Pairs, share: float) -> list[str]:
        """Return the layers that compute something else on a batch, those of all where none does so by itself.

        None where rounding, of up to ``share``, or noise explains it, which is told where gradients are tried.
        """
        everything = range(len(self.layers))
        if not self._off(batch, factors, everything) > share or self._noise(batch, factors) > share:
            return []
        alone = [self.layers[k].name for k in everything if self._off(batch, factors, [k]) > share]
        return alone or [layer.name for layer in self.layers]

    def _off(self, batch: Any, factors: Pairs, chosen: Sequence[int]) -> float:
        return self._difference(*self._losses_of(batch, factors, chosen))

    def _noise(self, batch: Any, factors: Pairs) -> float:
        return self._difference(*(self._losses_of(batch, factors, ())[0] for _ in range(2)))

    def _difference(self, found: Any, expected: Any) -> float:
        size = max(float(found.norm()), float(expected.norm()), self._usual * len(found) ** 0.5)
        return ratio(float((found - expected).norm()), size)
