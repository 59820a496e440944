"""Whether a network's outputs are affine in the updates, so that a convex loss of them is convex in the updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..problem.pairs import Pairs
from ._affine import is_affine
from ._torch import require_torch
from .gradients import Network
from .losses import OutputLoss

# Lengths of the entries of the random steps along which outputs that are affine in the weights add up.
FAR = (1e-2, 1.0, 1e2)


def outputs_are_affine(network: Network, point: Pairs) -> bool:
    """Return whether the outputs are affine in the updates, so that the loss is convex in them.

    What the operations show is tried at points far away too: compiled parts are not seen, nor all ways out of torch.
    """
    loss = network.loss_of_samples
    if not isinstance(loss, OutputLoss):
        return False
    weights = network.weights(point)
    rounding = require_torch().finfo(network.torch_dtype).eps ** 0.5
    bent = 0.0
    for batch in network.moved_batches():
        outputs = partial(_outputs, network, loss, batch)
        if not (is_affine(outputs, weights) and _looks_affine(outputs, weights, rounding)):
            bent = 1.0
            break
    # All processes have to go the same way from here.
    return not network.over_processes(np.array([bent])).any()


def _outputs(network: Network, loss: OutputLoss, batch: Any, weights: Sequence[Any]) -> Any:
    """Return the outputs for a batch with given adapted weights, without a graph."""
    with require_torch().no_grad(), network.evaluating(network.with_weights(weights)):
        return loss.outputs(network.model, batch)


def _looks_affine(outputs: Callable[[Sequence[Any]], Any], weights: Sequence[Any], rounding: float) -> bool:
    """Return whether the outputs add up along two random directions, of any length, to a share of ``rounding``."""
    torch = require_torch()
    rng = np.random.default_rng()
    here = outputs(weights)
    for length in FAR:
        one, two = (
            [length * torch.as_tensor(rng.standard_normal(W.shape), dtype=W.dtype, device=W.device) for W in weights]
            for _ in range(2)
        )
        first, second, both = (
            outputs([W + step for W, step in zip(weights, steps)])
            for steps in (one, two, [a + b for a, b in zip(one, two)])
        )
        off = float((both - first - second + here).abs().max())
        # A NaN is not affine either.
        if not off <= rounding * max(float(z.abs().max()) for z in (here, first, second, both)):
            return False
    return True
