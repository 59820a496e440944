"""The part of a network that is exactly convex: a linear head over frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._validate import Array, as_callable, as_index_array, as_iterable, shown
from ..objectives.softmax import Softmax
from ._torch import as_model, as_torch_dtype, evaluating, moved, require_torch, stand_ins
from .losses import CrossEntropy, as_the_model_means, plain_outputs, plain_targets

# More classes than this are not taken from the labels: an identifier in their place, say.
MOST_CLASSES = 1_000_000


def features(
    model: Any,
    batches: Iterable[Any],
    *,
    embed: Callable[[Any, Any], Any] | None = None,
    labels: Callable[[Any], Any] | None = None,
    dtype: Any = "float64",
) -> Softmax:
    """Return the softmax head over a network's features as an objective, ``ls.Problem(features(..), rank, lam)``.

    Parameters
    ----------
    model : torch.nn.Module
        The network. Without ``embed`` its last linear layer is the head: its weight is ``W0``, and a bias becomes a
        last column with the constant feature 1.
    batches : iterable
        The data; each batch as for :class:`CrossEntropy`.
    embed : callable, optional
        ``embed(model, batch)`` returns features (n, d) of a network without a head; ``W0`` is then zero.
    labels : callable, optional
        ``labels(batch)`` returns classes (n,); by default ``batch["labels"]``, or the second of a pair.
    dtype : {"float64", "float32"}
        In which the network is evaluated.

    Returns
    -------
    Softmax
        Convex in the update of the head, so that :func:`~lorasolve.certify` answers yes or no.

    Raises
    ------
    ValueError, TypeError
        Without ``embed``, for a network that has no linear layer, that answers otherwise than its last one (a scale
        after it, LoRA beside it) or whose own loss is another than the cross-entropy; for features that are not one row
        a sample.
    """
    torch = require_torch()
    model, dtype = as_model(model), as_torch_dtype(dtype)
    targets = plain_targets if labels is None else as_callable(labels, "labels")
    if embed is not None:
        as_callable(embed, "embed")
    last: list[tuple[Any, Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, given, _: last.append((module, given[0])))
        for module in model.modules()
        if embed is None and isinstance(module, torch.nn.Linear)
    ]
    cast = stand_ins(model, dtype)
    device = next((tensor.device for tensor in cast.values()), None)
    first = None
    Z: list[Array] = []
    y: list[Array] = []
    head: Any = None
    try:
        with torch.no_grad(), evaluating(model, cast, dtype):
            for batch in as_iterable(batches, "batches"):
                batch = moved(batch, dtype, device)
                first = batch if first is None else first
                if embed is None:
                    answer = plain_outputs(model, batch)
                    if not last:
                        raise ValueError("model: has no linear layer; give embed")
                    head, rows = last[-1]
                    last.clear()
                else:
                    rows = embed(model, batch)
                found = targets(batch)
                for value, argument in ((rows, "features"), (found, "labels")):
                    if not isinstance(value, torch.Tensor):
                        raise TypeError(f"{argument}: expected a tensor for each batch, got {shown(value)}")
                if rows.is_complex():
                    raise TypeError(f"features: expected real numbers, got {rows.dtype}")
                found = found.reshape(-1)
                if rows.ndim != 2 or len(rows) != len(found):
                    raise ValueError(
                        f"features: expected one row a sample, (n, d) for {len(found)} labels, got {tuple(rows.shape)}"
                    )
                if Z and rows.shape[1] != Z[0].shape[1]:
                    widths = f"{Z[0].shape[1]} in each batch, as in the first, got {rows.shape[1]}"
                    raise ValueError(f"features: expected {widths}")
                if head is not None and not _answers(head, rows, answer):
                    raise ValueError("model: its outputs are not those of its last linear layer; give embed")
                Z.append(rows.double().cpu().numpy())
                y.append(found.cpu().numpy())
    finally:
        for hook in hooks:
            hook.remove()
    if not Z:
        raise ValueError("batches: there are none")
    classes, rows_of_all = np.concatenate(y), np.concatenate(Z)
    if head is None:
        classes = as_index_array(classes, "labels", MOST_CLASSES)
        return Softmax(np.zeros((int(classes.max()) + 1, rows_of_all.shape[1])), rows_of_all.T, classes)
    W0 = head.weight.detach().double().cpu().numpy()
    if head.bias is not None:
        W0 = np.hstack([W0, head.bias.detach().double().cpu().numpy()[:, None]])
        rows_of_all = np.hstack([rows_of_all, np.ones((len(rows_of_all), 1))])
    objective = Softmax(W0, rows_of_all.T, classes)
    if labels is None:
        with torch.no_grad(), evaluating(model, cast, dtype):
            as_the_model_means(CrossEntropy(), model, first)
    return objective


def _answers(head: Any, rows: Any, answer: Any) -> bool:
    """Return whether a network's answer is that of its head to these rows, up to rounding."""
    torch = require_torch()
    linear = torch.nn.functional.linear
    expected = linear(rows, head.weight, head.bias)
    if not isinstance(answer, torch.Tensor) or answer.shape != expected.shape:
        return False
    size = linear(rows.abs(), head.weight.abs(), None if head.bias is None else head.bias.abs())
    slack = 2 * (rows.shape[1] + 1) * torch.finfo(rows.dtype).eps
    return bool(((answer - expected).abs() <= slack * size).all())
