"""The part of a network that is exactly convex: a linear head over frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._support.validate import Array, as_callable, as_index_array, as_iterable, shown
from ..objectives.softmax import Softmax
from ._passes import with_trials
from ._torch import as_model, as_torch_dtype, evaluating, moved, require_torch, stand_ins
from .losses import CrossEntropy, as_the_model_means, plain_outputs, plain_targets, require_own_mean

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
    cast = stand_ins(model, dtype)
    device = next((tensor.device for tensor in cast.values()), None)
    first = head = None
    Z: list[Array] = []
    y: list[Array] = []
    with torch.no_grad(), evaluating(model, cast, dtype):
        for batch, tried in with_trials(as_iterable(batches, "batches")):
            batch = moved(batch, dtype, device)
            if embed is None:
                head, rows, answer = _through_last_layer(model, batch)
            else:
                rows = embed(model, batch)
            rows, found = _checked(rows, targets(batch), Z)
            if embed is None and not _answers(head, rows, answer):
                raise ValueError(_why_no_head(model, head))
            if embed is None and labels is None and first is not None and tried:
                require_own_mean(CrossEntropy(), CrossEntropy(), model, batch)
            first = batch if first is None else first
            Z.append(rows.double().cpu().numpy())
            y.append(found.cpu().numpy())
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


def _checked(rows: Any, labels: Any, before: list[Array]) -> tuple[Any, Any]:
    """Return the features and labels of a batch, one row and one label a sample, in the width of those before."""
    torch = require_torch()
    for value, argument in ((rows, "features"), (labels, "labels")):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{argument}: expected a tensor for each batch, got {shown(value)}")
    if rows.is_complex():
        raise TypeError(f"features: expected real numbers, got {rows.dtype}")
    labels = labels.reshape(-1)
    if rows.ndim != 2 or len(rows) != len(labels):
        raise ValueError(
            f"features: expected one row a sample, (n, d) for {len(labels)} labels, got {tuple(rows.shape)}"
        )
    if before and rows.shape[1] != before[0].shape[1]:
        widths = f"{before[0].shape[1]} in each batch, as in the first, got {rows.shape[1]}"
        raise ValueError(f"features: expected {widths}")
    broken = (~rows.isfinite().all(1)).nonzero()
    if len(broken):
        sample = sum(map(len, before)) + int(broken[0])
        raise ValueError(f"features: expected finite numbers, got NaN or infinity, first of sample {sample} (from 0)")
    return rows, labels


def _through_last_layer(model: Any, batch: Any) -> tuple[Any, Any, Any]:
    """Return the linear layer that is asked last, what it is given, and the answer of the network."""
    torch = require_torch()
    asked: list[tuple[Any, Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, given, _: asked.append((module, given[0])))
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    try:
        answer = plain_outputs(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not asked:
        raise ValueError("model: has no linear layer; give embed")
    return *asked[-1], answer


def _why_no_head(model: Any, head: Any) -> str:
    """Return why the linear layer that was asked last is not the head of a network, and what to do."""
    what = "model: its outputs are not those of its last linear layer; give embed"
    for name, module in model.named_modules():
        if hasattr(module, "lora_B") and any(part is head for part in module.modules()):
            return (
                f"{what}. That is the LoRA layer {name}: where no other is adapted judge tells whether its update is "
                "global; else embed returns what that layer is given, and W0 is zero"
            )
    return what


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
