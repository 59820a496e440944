"""Losses of a network's outputs, one number a sample: what a convex loss of outputs is known to be, it is by its class.

Any callable ``loss(model, batch)`` that returns a tensor of one loss a sample serves :func:`~lorasolve.networks.judge`.
The tangent problem, and the word "global", need to see the outputs themselves, which the classes here offer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .._validate import as_callable
from ..objectives._output_losses import Loss
from ._torch import require_torch

Outputs = Callable[[Any, Any], Any]
Targets = Callable[[Any], Any]

# The label of what a cross-entropy leaves out.
NO_LABEL = -100


class OutputLoss:
    """Base class: ``loss(model, batch)`` is a convex loss ``>= 0`` of outputs (n, K) and targets.

    Parameters
    ----------
    outputs : callable, optional
        ``outputs(model, batch)`` returns the outputs, one row a sample. By default the batch without ``"labels"`` is
        handed to the model, a pair is ``(inputs, labels)``, and ``.logits`` are taken where the answer has them.
    targets : callable, optional
        ``targets(batch)``; by default ``batch["labels"]``, or the second of a pair.
    """

    kind: ClassVar[Loss]

    def __init__(self, outputs: Outputs | None = None, targets: Targets | None = None) -> None:
        self.outputs = plain_outputs if outputs is None else as_callable(outputs, "outputs")
        self.targets = plain_targets if targets is None else as_callable(targets, "targets")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __call__(self, model: Any, batch: Any) -> Any:
        """Return the loss of each sample."""
        return self.of_outputs(self.outputs(model, batch), self.targets(batch))

    def of_outputs(self, z: Any, targets: Any) -> Any:
        """Return the loss of each row of the outputs."""
        raise NotImplementedError


class CrossEntropy(OutputLoss):
    """Cross-entropy of logits; of (n, T, K), each token is a sample, and labels of -100 are left out."""

    kind = "softmax"

    def of_outputs(self, z: Any, targets: Any) -> Any:
        """Return the cross-entropy of each sample that has a label."""
        torch = require_torch()
        z, targets = z.reshape(-1, z.shape[-1]), targets.reshape(-1)
        kept = targets != NO_LABEL
        return torch.nn.functional.cross_entropy(z[kept], targets[kept], reduction="none")


class SquareLoss(OutputLoss):
    """``||z - y||^2 / 2`` for each row."""

    kind = "square"

    def of_outputs(self, z: Any, targets: Any) -> Any:
        """Return half of the squared distance of each row."""
        z = z.reshape(len(z), -1)
        return 0.5 * (z - targets.reshape(z.shape).to(z.dtype)).square().sum(1)


def plain_outputs(model: Any, batch: Any) -> Any:
    """Return what the model says to a batch: its ``logits``, or the answer itself."""
    if isinstance(batch, Mapping):
        answer = model(**{key: value for key, value in batch.items() if key != "labels"})
    elif isinstance(batch, list | tuple) and len(batch) == 2:
        answer = model(batch[0])
    else:
        raise TypeError(f"batches: expected dictionaries or pairs (inputs, labels), got {type(batch).__name__}")
    return getattr(answer, "logits", answer)


def plain_targets(batch: Any) -> Any:
    """Return the labels of a batch."""
    return batch["labels"] if isinstance(batch, Mapping) else batch[1]
