"""LoRA with a bias for each row of the weight."""

from dataclasses import dataclass

import numpy as np

from lorasolve.adapters import Adapter
from lorasolve.adapters.base import split


@dataclass(frozen=True)
class RowBias(Adapter):
    """``X = A B^T + c 1^T``: a low-rank update and a constant ``c`` (m,) in each row, which starts at zero."""

    name = "row_bias"
    summary = "X = A B^T + c 1^T, a constant in each row"

    def n_extra(self, shape, rank):
        """Return the number of rows."""
        return shape[0]

    def update(self, objective, theta, rank):
        """Return ``A B^T + c 1^T``."""
        A, B, c = split(theta, objective.shape, rank)
        return A @ B.T + c[:, None]

    def value_and_grad(self, objective, theta, rank, grad):
        """Write ``G B``, ``G^T A`` and ``G 1`` into ``grad`` and return ``f(X)``."""
        A, B, _ = split(theta, objective.shape, rank)
        dA, dB, dc = split(grad, objective.shape, rank)
        f, G = objective.value_and_grad(self.update(objective, theta, rank))
        np.matmul(G, B, out=dA)
        np.matmul(G.T, A, out=dB)
        np.sum(G, axis=1, out=dc)
        return f
