"""Whether outputs are affine in the adapted weights: read off the graph that torch recorded, not from samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Operations that are linear in each argument that depends on the weights; of two such arguments only sums are.
_SUMS = {"AddBackward0", "SubBackward0"}
_LINEAR = {
    *("AddmmBackward0", "MmBackward0", "BmmBackward0", "LinearBackward0", "TBackward0", "TransposeBackward0"),
    *("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "AliasBackward0", "ExpandBackward0"),
    *("ToCopyBackward0", "CloneBackward0", "SliceBackward0", "SelectBackward0", "IndexBackward0", "NegBackward0"),
    *("UnsqueezeBackward0", "SqueezeBackward0", "SqueezeBackward1", "PermuteBackward0", "SumBackward1", "MulBackward0"),
}


def is_affine(outputs: Any, weights: Sequence[Any]) -> bool:
    """Return whether outputs are shown to be affine in the weights, everything else being fixed.

    The graph behind ``outputs`` may hold no tensor with a gradient but the weights. Operations that are not known to be
    linear, and products of two factors that both depend on the weights, answer no.
    """
    leaves = {id(weight) for weight in weights}
    todo, seen = [outputs.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = type(node).__name__
        below = [child for child, _ in node.next_functions if child is not None]
        if name == "AccumulateGrad":
            if id(node.variable) not in leaves:
                return False
            continue
        if name not in _SUMS and (name not in _LINEAR or len(below) > 1):
            return False
        todo += below
    return True
