"""Gated factors, ``X = A diag(weights) B^T``: the oracle that adapters with gates share."""

from __future__ import annotations

import numpy as np

from .._support.validate import Array
from ..objectives.base import Objective


def gated_oracle(
    objective: Objective, A: Array, B: Array, gates: Array, scale: float, dA: Array, dB: Array, dg: Array
) -> float:
    """Value and gradients of ``f(s A diag(g) B^T)``: ``s G B diag(g)``, ``s G^T A diag(g)`` and ``s a_k^T G b_k``.

    One factor oracle: the gate gradients re-use ``G B``.
    """
    weights = scale * gates
    f = objective.factor_oracle(A * weights, B, dA, dB)
    np.einsum("ik,ik->k", A, dA, out=dg)
    dg *= scale
    dA *= weights
    return f
