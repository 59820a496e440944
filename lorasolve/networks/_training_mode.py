"""Does a network compute in training mode what it does in evaluation mode, its dropout aside?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ._torch import require_torch


@contextlib.contextmanager
def training_without_dropout(model: Any) -> Iterator[None]:
    """Let a model run in training mode without what its layers of dropout drop, and without averages of batches.

    Only within the context of :func:`~lorasolve.networks._torch.evaluating`, which puts modes and shares back.
    """
    torch = require_torch()
    drops, averages = torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._BatchNorm
    for module in model.modules():
        module.training = not isinstance(module, averages)
        if isinstance(module, drops):
            module.p = 0.0  # attention of transformers reads it off its layer of dropout
    devices = {tensor.device for tensor in model.parameters() if tensor.is_cuda}
    with torch.random.fork_rng(devices):
        yield
