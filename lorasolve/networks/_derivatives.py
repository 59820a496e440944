"""Derivatives of the outputs of a network in its weights, along steps and backwards, and of a loss in the outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ._torch import backward, require_torch
from .losses import OutputLoss


class Derivatives:
    """The derivatives of the outputs ``z`` of a batch in the weights, along steps of these and backwards."""

    def __init__(self, z: Any, leaves: Sequence[Any]) -> None:
        self.z, self.leaves = z, leaves
        self._u = z.new_zeros(z.shape, requires_grad=True)
        # Linear in u: what is differentiated in it again is the derivative along a step.
        self._turned = backward(z, leaves, weights=self._u, twice=True)

    def ahead(self, steps: Sequence[Any]) -> Any:
        """Return ``Dz[D]``."""
        slopes = [(g * step).sum() for g, step in zip(self._turned, steps) if g is not None]
        found = backward(sum(slopes), [self._u], keep=True)[0] if slopes else None
        return self.z.new_zeros(self.z.shape) if found is None else found

    def back(self, w: Any) -> tuple[Any, ...]:
        """Return ``Dz^T w``, None for weights on which no output depends, and for no ``w``."""
        return (None,) * len(self.leaves) if w is None else backward(self.z, self.leaves, weights=w, keep=True)


@contextlib.contextmanager
def saved_bytes() -> Iterator[dict[int, int]]:
    """Collect the bytes of the tensors that are saved for backward passes within the block, by where they are."""
    torch = require_torch()
    storages: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        # Not the tensor itself, which may hold what it is saved in.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield storages


def curvature(loss: OutputLoss, z: Any, targets: Any, step: Any) -> Any:
    """Return the Hessian of a loss at outputs times a step of these."""

    def slope(outputs: Any, twice: bool = False) -> Any:
        return backward(loss.of_outputs(outputs, targets).sum(), [outputs], twice=twice)[0]

    try:
        return backward((slope(z, twice=True) * step).sum(), [z])[0]
    except RuntimeError:  # torch lacks it, as of multi_margin_loss and ctc_loss
        z, step = z.detach(), step.detach()
        length = float(step.norm())
        # Not shorter: of a loss with kinks that would be the height of one over nothing.
        h = 0.1 * (float(z.norm()) or 1.0) / length if length > 0.0 else 1.0
        ahead, behind = (slope((z + t * step).requires_grad_()) for t in (h, -h))
        return (ahead - behind) / (2.0 * h)
