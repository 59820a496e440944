"""Losses of a network's outputs, one number a sample: what a convex loss of outputs is known to be, it is by its class.

Any callable ``loss(model, batch)`` that returns a tensor of one loss a sample serves :func:`~lorasolve.networks.judge`.
The tangent problem, and the word "global", need to see the outputs themselves, which the classes here offer.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from .._support.validate import as_callable, shown
from ..objectives import output_losses
from ._torch import require_torch

Outputs = Callable[[Any, Any], Any]
Targets = Callable[[Any], Any]

# The label of what a cross-entropy leaves out.
NO_LABEL = -100
# A loss is searched for bends at these distances from the outputs, in units of their size, along so many lines or as
# many as need so many numbers; what rounding explains of a bend, in last places.
AWAY = (1e-2, 1.0, 1e2)
DRAWS, DRAWN = 32, 1e6
BENT = 1e4
# What rounding explains between a model's own loss and the mean of ours, and between their derivatives in the logits:
# a share of them, and an absolute part. Models may compute their loss in float32.
SAME = 1e-4, 1e-6


class OutputLoss:
    """Base class: ``loss(model, batch)`` is a convex loss ``>= 0`` of outputs (n, K) and targets.

    A subclass gives ``of_outputs(z, targets)``, the loss of each row, and so has a tangent problem.

    Parameters
    ----------
    outputs : callable, optional
        ``outputs(model, batch)`` returns the outputs, one row a sample. By default the batch without ``"labels"`` is
        handed to the model (with them to an encoder-decoder of transformers, which makes the inputs of its decoder of
        them), a pair is ``(inputs, labels)``, and ``.logits`` are taken where the answer has them.
    targets : callable, optional
        ``targets(batch)``; by default ``batch["labels"]``, or the second of a pair.

    Notes
    -----
    Where a model returns a ``loss`` of its own for a batch with labels, :class:`Network`, and with it
    :func:`~lorasolve.networks.judge` and :func:`~lorasolve.networks.fine_tune`, take these two losses, without
    ``outputs`` and ``targets``, to mean that objective: they are held against it on the first batch, where
    :attr:`form` says that another form than the plain one is meant, and on later ones. A subclass is its own objective.
    """

    # Which loss of lorasolve it is, in whose token form a network can be linearised; None for another.
    kind: ClassVar[output_losses.Loss | None] = None
    # Outputs, targets and words of the form that a model's own loss has where it is not the plain one.
    other: ClassVar[tuple[Outputs, Targets, str]]

    def __init__(self, outputs: Outputs | None = None, targets: Targets | None = None) -> None:
        self.outputs = plain_outputs if outputs is None else as_callable(outputs, "outputs")
        self.targets = plain_targets if targets is None else as_callable(targets, "targets")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def form(self) -> str:
        """In which form the loss is taken of the outputs; empty for the plain one, and for outputs of one's own."""
        return self.other[2] if type(self) in (CrossEntropy, SquareLoss) and self.outputs is self.other[0] else ""

    def __call__(self, model: Any, batch: Any) -> Any:
        """Return the loss of each sample."""
        return self.of_outputs(self.outputs(model, batch), self.targets(batch))

    def of_outputs(self, z: Any, targets: Any) -> Any:
        """Return the loss of each row of the outputs."""
        raise NotImplementedError(f"loss: {type(self).__name__} does not define of_outputs(z, targets)")


def as_outputs(z: Any) -> Any:
    """Return outputs of a network if they are a tensor of real numbers, one row a sample."""
    torch = require_torch()
    if not isinstance(z, torch.Tensor):
        raise TypeError(
            f"outputs: expected a tensor with one row a sample, got {shown(z)}; give outputs(model, batch) to the loss"
        )
    if not z.is_floating_point() or z.ndim == 0:
        raise ValueError(f"outputs: expected real numbers, one row a sample, got {z.dtype} of shape {tuple(z.shape)}")
    return z


def as_classified(z: Any, targets: Any) -> tuple[Any, Any]:
    """Return logits (N, K) and classes (N,), which are integers from 0 to K - 1 or -100."""
    torch = require_torch()
    z = as_outputs(z)
    if z.ndim < 2 or z.shape[-1] < 2:
        raise ValueError(f"outputs: expected logits (n, K) of K >= 2 classes, got shape {tuple(z.shape)}")
    if not isinstance(targets, torch.Tensor):
        raise TypeError(f"labels: expected a tensor of integers, got {shown(targets)}")
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise TypeError(f"labels: expected integers, the number of a class each, got {targets.dtype}")
    flat = targets.ndim == 1 and targets.numel() == math.prod(z.shape[:-1])
    if not flat and _long_sides(targets) != _long_sides(z[..., 0]):
        expected, got = tuple(z.shape[:-1]), tuple(targets.shape)
        raise ValueError(f"labels: expected shape {expected} for logits of shape {tuple(z.shape)}, got {got}")
    z, classes = z.reshape(-1, z.shape[-1]), targets.reshape(-1).long()
    outside = classes[(classes != NO_LABEL) & ((classes < 0) | (classes >= z.shape[-1]))]
    if len(outside):
        raise ValueError(
            f"labels: expected classes from 0 to {z.shape[-1] - 1}, or {NO_LABEL} for none, got {int(outside[0])}"
        )
    return z, classes


def as_regressed(z: Any, targets: Any) -> tuple[Any, Any]:
    """Return outputs and targets as matrices of the same shape, one row a sample."""
    torch = require_torch()
    z = as_outputs(z)
    if not isinstance(targets, torch.Tensor) or targets.is_complex():
        got = str(targets.dtype) if isinstance(targets, torch.Tensor) else shown(targets)
        raise TypeError(f"labels: expected a tensor of real numbers, got {got}")
    if targets.ndim == 0 or len(targets) != len(z) or targets.numel() != z.numel():
        expected, got = tuple(z.shape), str(tuple(targets.shape))
        raise ValueError(f"labels: expected rows of numbers like the outputs, of shape {expected}, got {got}")
    z = z.flatten(1) if z.ndim > 1 else z[:, None]
    return z, targets.reshape(z.shape)


def _long_sides(tensor: Any) -> list[int]:
    return [side for side in tensor.shape if side != 1]


def takes_labels(model: Any) -> bool:
    """Whether ``forward`` has a place for labels; that of PEFT has one for anything, and the model within is asked."""
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return any(p.name == "labels" or p.kind is p.VAR_KEYWORD for p in signature(model.forward).parameters.values())


def plain_outputs(model: Any, batch: Any) -> Any:
    """Return what the model says to a batch: its ``logits``, or the answer itself."""
    if isinstance(batch, Mapping):
        if not any(isinstance(part, require_torch().Tensor) for part in _parts(batch)):
            got = ", ".join(f"{key}: {shown(value)}" for key, value in list(batch.items())[:2]) or "an empty one"
            raise TypeError(
                f"batches: expected tensors or arrays in each batch, got {got} (the samples of a Dataset? a DataLoader "
                "makes batches of them)"
            )
        config = getattr(model, "config", None)
        if config is not None and getattr(batch.get("input_ids"), "ndim", 2) < 2:
            raise ValueError(
                "batches: expected input_ids with an axis of samples and one of tokens, got "
                f"{shown(batch['input_ids'])} (a sample of a Dataset? a DataLoader makes batches of them)"
            )
        decodes = getattr(config, "is_encoder_decoder", False) is True
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        answer = model(**(batch if decodes and takes_labels(model) else inputs))
    elif isinstance(batch, list | tuple) and len(batch) == 2:
        answer = model(batch[0])
    else:
        several = f" of {len(batch)}" if isinstance(batch, list | tuple) else ""
        single = " (of a single batch? put that in a list)" if isinstance(batch, require_torch().Tensor) else ""
        got = f"{type(batch).__name__}{several}{single}"
        raise TypeError(f"batches: expected dictionaries or pairs (inputs, labels), got {got}")
    return getattr(answer, "logits", answer)


def _parts(batch: Any) -> Iterator[Any]:
    """Yield what is in a batch, in what is in it too."""
    if not isinstance(batch, Mapping | list | tuple):
        yield batch
        return
    for part in batch.values() if isinstance(batch, Mapping) else batch:
        yield from _parts(part)


def plain_targets(batch: Any) -> Any:
    """Return the labels of a batch."""
    if not isinstance(batch, Mapping):
        return batch[1]
    if "labels" not in batch:
        got = ", ".join(map(str, batch))
        raise ValueError(
            f"batches: expected dictionaries with 'labels', got one with {got}; for other names give outputs and "
            "targets to the loss, or take loss(model, batch) -> one number a sample"
        )
    return batch["labels"]


def next_outputs(model: Any, batch: Any) -> Any:
    """Return the outputs of all tokens but the last."""
    return plain_outputs(model, batch)[:, :-1]


def next_targets(batch: Any) -> Any:
    """Return the labels of the tokens that come next."""
    return plain_targets(batch)[:, 1:]


def mean_outputs(model: Any, batch: Any) -> Any:
    """Return the outputs in units in which half of a squared distance is the mean of the squares."""
    z = plain_outputs(model, batch)
    return z * (2.0 / math.prod(z.shape[1:])) ** 0.5


def mean_targets(batch: Any) -> Any:
    """Return the targets in these units."""
    y = plain_targets(batch)
    exact = y if y.is_floating_point() else y.double()  # integers times a number would be float32
    return exact * (2.0 / math.prod(y.shape[1:])) ** 0.5


class CrossEntropy(OutputLoss):
    """Cross-entropy of logits; of (n, T, K), each token is a sample, and labels of -100 are left out.

    A causal language model, whose own loss shows that it compares each token's logits with the label of the next, is
    taken that way.
    """

    kind = "softmax"
    other = (next_outputs, next_targets, "the logits of each token with the label of the next")

    def of_outputs(self, z: Any, targets: Any) -> Any:
        """Return the cross-entropy of each sample that has a label."""
        torch = require_torch()
        z, targets = as_classified(z, targets)
        kept = targets != NO_LABEL
        if not kept.all():  # a copy of the logits
            z, targets = z[kept], targets[kept]
        return torch.nn.functional.cross_entropy(z, targets, reduction="none")


class SquareLoss(OutputLoss):
    """``||z - y||^2 / 2`` for each row; where the model's own loss is the mean of squares, that."""

    kind = "square"
    other = (mean_outputs, mean_targets, "the mean of the squares of a row, not half of their sum")

    def of_outputs(self, z: Any, targets: Any) -> Any:
        """Return half of the squared distance of each row."""
        z, targets = as_regressed(z, targets)
        return 0.5 * (z - targets.to(z.dtype)).square().sum(1)


def bend_of(loss: OutputLoss, z: Any, targets: Any) -> str:
    """Return where the loss of a row is above a chord, as no convex one is, on random lines through outputs.

    Empty if nowhere: that is a search, and no proof. Chords lie between points at unlike distances too: a loss that
    levels off far away is below a tangent there, and above no chord that has its outputs in the middle.
    """
    torch = require_torch()
    rng = np.random.default_rng()  # a verdict rests on it
    share = BENT * torch.finfo(z.dtype).eps
    here = loss.of_outputs(z, targets).double()
    size = float(z.square().mean()) ** 0.5 or 1.0
    for _ in range(max(1, min(DRAWS, int(DRAWN / max(1, z.numel()))))):
        step = size * torch.as_tensor(rng.standard_normal(tuple(z.shape)), dtype=z.dtype, device=z.device)
        seen = [(0.0, here)]
        for t in (sign * length for sign in (-1.0, 1.0) for length in AWAY):
            with contextlib.suppress(RuntimeError, ValueError):  # not defined there, as of probabilities beyond 0 and 1
                seen.append((t, loss.of_outputs(z + t * step, targets).double()))
        seen.sort(key=lambda point: point[0])
        for (a, left), (b, middle), (c, right) in itertools.combinations(seen, 3):
            above = middle - ((c - b) * left + (b - a) * right) / (c - a)
            rounding = share * (left.abs() + middle.abs() + right.abs() + (1.0 + max(-a, c)) * size)
            if bool((above > rounding).any()):
                worst = int((above - rounding).nan_to_num(-math.inf).argmax())
                values = ", ".join(f"{float(each[worst]):.6g}" for each in (left, middle, right))
                return f"that of a sample is {values} at {a:g}, {b:g} and {c:g} times a step from its outputs"
    return ""


def as_the_model_means(loss: Any, model: Any, batch: Any) -> Any:
    """Return a loss in the form in which its mean is the model's own loss of a batch with labels.

    A loss with outputs or targets of its own, and any loss of a model that returns none, is returned as it is; None
    where the batch does not tell, because nothing in it has a label or the loss is not finite.

    Raises
    ------
    ValueError
        If the model's own loss is the mean of neither form, or of other logits than the outputs.
    """
    if not _is_held_against_own(loss, model, batch):
        return loss
    torch = require_torch()
    with torch.enable_grad():
        own, logits = _own(model(**batch))
        if own is None:
            return loss
        if not math.isfinite(float(own.detach())):
            return None
        if logits is None:
            raise ValueError(
                "model: expected logits beside its own loss, to tell what that is a loss of, got none; give outputs "
                f"and targets to {type(loss).__name__}"
            )
        # Where all logits are alike only the derivatives tell one form from the other.
        slope = torch.autograd.grad(own, logits, allow_unused=True)[0] if logits.requires_grad else None
        forms = [loss]
        if loss.kind == "square" or logits.ndim > 2:
            forms.append(type(loss)(*loss.other[:2]))
        z = logits.detach().requires_grad_()
        means = []
        for form in forms:
            means.append(form(lambda **_: z, batch).mean())
            if _same(means[-1], own) and (slope is None or _same(torch.autograd.grad(means[-1], z)[0], slope)):
                _refuse_other_logits(loss, model, batch, z)
                return form
    values = [f"{float(mean.detach()):.6g}" for mean in means]
    got = values[0] + (f" (with {loss.other[2]}: {values[1]})" if len(values) > 1 else "")
    raise ValueError(
        f"loss: expected the mean of {type(loss).__name__} to be the model's own loss, {float(own.detach()):.6g} on "
        f"the first batch without the updates, got {got}; for another objective give loss(model, batch) -> one number "
        f"a sample, or {type(loss).__name__}(outputs, targets)"
    )


def require_own_mean(given: Any, form: Any, model: Any, batch: Any) -> None:
    """Refuse a batch whose loss by the model itself is not the mean of the form that the first one showed.

    What a model leaves out, by another label than -100, or weighs by its class, some batches do not have.
    """
    if not _is_held_against_own(given, model, batch):
        return
    try:
        own, logits = _own(model(**batch))
    except IndexError:  # it leaves out another label than -100, which the batch has all the same
        return
    if own is None or logits is None or not math.isfinite(float(own)):
        return
    losses = form(lambda **_: logits, batch)
    if len(losses) and not _same(losses.mean(), own):
        raise ValueError(
            f"loss: expected the mean of {type(given).__name__} to be the model's own loss on each batch, as on the "
            f"first, got {float(losses.mean()):.6g} in place of {float(own):.6g} on a later one (padding that it "
            f"leaves out by another label than {NO_LABEL}, classes of unlike weights?); for another objective give "
            f"loss(model, batch) -> one number a sample, or {type(given).__name__}(outputs, targets)"
        )


def _is_held_against_own(loss: Any, model: Any, batch: Any) -> bool:
    """Return whether a loss means the model's own, of which the model may say for a batch what it is."""
    plain = type(loss) in (CrossEntropy, SquareLoss) and (loss.outputs, loss.targets) == (plain_outputs, plain_targets)
    return plain and isinstance(batch, Mapping) and "labels" in batch and takes_labels(model)


def _refuse_other_logits(loss: OutputLoss, model: Any, batch: Any, logits: Any) -> None:
    """Refuse a model whose logits beside its own loss are not the outputs of which the loss is taken."""
    with require_torch().no_grad():
        z = as_outputs(loss.outputs(model, batch))
    # Classes may be masked by logits of minus infinity, whose difference is no number.
    if z.shape != logits.shape or not _same(*(each[logits.isfinite() | (z != logits)] for each in (z, logits))):
        raise ValueError(
            "model: expected the same logits with labels and without, got others (inputs that are made of labels?); "
            f"give outputs and targets to {type(loss).__name__}"
        )


def _own(answer: Any) -> tuple[Any, Any]:
    """Return the loss and the logits in a model's answer, as attributes or as parts of a tuple; None where missing."""
    torch = require_torch()
    own, logits = getattr(answer, "loss", None), getattr(answer, "logits", None)
    if type(answer) is tuple:
        tensors = [part for part in answer if isinstance(part, torch.Tensor)]
        own = next((part for part in tensors if part.numel() == 1), None)
        logits = next((part for part in tensors if part.ndim > 1), None)
    return own, logits


def _same(one: Any, two: Any) -> bool:
    share, absolute = SAME
    return bool((one - two).norm() <= absolute + share * two.norm())
