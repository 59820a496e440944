"""Which weights of a network are adapted: LoRA layers of PEFT, of one's own, or plain layers by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.validate import as_text
from ..problem.pairs import Pairs
from ._layer import AdaptedLayer
from ._layer_checks import (
    Owners,
    check_factors,
    check_unshared,
    check_untied,
    check_weight,
    check_whole,
    refuse_invoked,
)
from ._layers_found import lora_layers, named_layers, other_kinds
from ._torch import as_model, require_torch


def adapted_layers(
    model: Any, layers: str | Sequence[str] | None = None, adapter: str | None = None
) -> tuple[AdaptedLayer, ...]:
    """Return the adapted layers of a model, in its own order.

    Of a parameter that ``target_parameters`` of PEFT adapts each expert is one.

    Parameters
    ----------
    model : torch.nn.Module
        With LoRA layers of PEFT, or modules of one's own that have ``lora_A`` (r, in) and ``lora_B`` (out, r), as
        parameters or linear layers, beside a frozen weight.
    layers : str or sequence of str, optional
        For a model without any: the linear layers, embeddings and convolutions meant, by the last part of their names
        or by all of it.
    adapter : str, optional
        Which adapter of PEFT, where there are several; layers that do not have it are left out.

    Raises
    ------
    ValueError
        For no layers, and for those whose update is not ``s A B^T`` of a weight of its own: AdaLoRA, KaSA, BD-LoRA,
        aLoRA, DoRA over embeddings with a padding index, grouped convolutions, embeddings that shorten their rows or
        have no plain gradient, quantised or merged weights, those of plain layers that are tied, tied factors, disabled
        adapters; with the name of the layer.
    """
    found, owners = _found(as_model(model), layers, adapter)
    for layer in found:
        refuse_invoked(layer)
        check_factors(layer, owners)
        check_weight(layer)
        check_whole(layer)
        check_untied(layer, owners)
    check_unshared(found, ("lora_A", "lora_B", "module"))
    return found


def watched_layers(model: Any, adapter: str | None = None, *, weights: bool = False) -> tuple[AdaptedLayer, ...]:
    """Return the LoRA layers of a model for what reads factors and their gradients alone, as a monitor does.

    Their weights may be tied, and where these are not read too (``weights``) whatever PEFT adapts, quantised layers
    among them. Else as :func:`adapted_layers`.
    """
    found, owners = _found(as_model(model), None, adapter)
    for layer in found:
        check_factors(layer, owners)
        if weights:
            check_weight(layer)
    check_unshared(found, ("lora_A", "lora_B"))
    return found


def _found(
    model: Any, layers: str | Sequence[str] | None, adapter: str | None
) -> tuple[tuple[AdaptedLayer, ...], Owners]:
    """Return the layers that are meant, at least one, and the names of each parameter and buffer."""
    if adapter is not None:
        as_text(adapter, "adapter")
    found = named_layers(model, layers) if layers is not None else lora_layers(model, adapter)
    if not found:
        kinds = other_kinds(model)
        if kinds:
            raise ValueError(f"model: expected LoRA, got adapters of the kind {kinds}, whose update is not s A B^T")
        raise ValueError(
            "model: has no LoRA layers (modules with lora_A and lora_B, which merge_and_unload() takes away); wrap it "
            "with peft.get_peft_model (judge and fine_tune also take plain layers by name, layers=('query', 'value'))"
        )
    return tuple(found), Owners(model)


def without_ratio(layers: Sequence[AdaptedLayer]) -> str:
    """Return which layers cannot be called loud, and why; empty if all can."""
    moved = [layer.moved_by for layer in layers if layer.moved_by is not None]
    dora = sum(layer.moved_by is None and layer.magnitude is not None for layer in layers)
    others = [layer for layer in layers if layer.moved_by is None and layer.magnitude is None]
    zero = sum(layer.over_zero for layer in others)
    if not (moved or zero or dora):
        return ""
    why = [f"the initialization {', '.join(sorted(set(moved)))} changed the base weight"] if moved else []
    why += ["the base weight is zero"] if zero else []
    why += ["the update changes directions alone (DoRA)"] if dora else []
    return (
        f"no ratio to ||W||_2, so nothing is called loud, in {len(moved) + zero + dora} of {len(layers)} layers: "
        f"{', or '.join(why)}"
    )


def narrowed(factors: Pairs) -> Pairs:
    """Return factors of the same updates with ``min(m, n)`` columns where there are more.

    The columns are mixed so that those left span the rows of the smaller factor. ``A B^T`` sees no others; neither norm
    grows, and at balanced factors, whose rows span one space, none shrinks.
    """
    found = []
    for A, B in factors:
        smaller = min(A, B, key=len)
        if A.shape[1] > len(smaller):
            mix = np.linalg.svd(smaller, full_matrices=False)[2].T
            A, B = A @ mix, B @ mix
        found.append((A, B))
    return found


def tied_elsewhere(model: Any, layers: Sequence[AdaptedLayer]) -> list[str]:
    """Return which of the layers have a weight that stands elsewhere in the model too."""
    owners = Owners(model)
    return [layer.name for layer in layers if len(owners.names(layer.module.weight)) > 1]


def left_out_by_fast_path(model: Any, layers: Sequence[AdaptedLayer]) -> list[str]:
    """Return which layers' updates torch leaves out of what the model computes in evaluation mode without gradients.

    An encoder layer of torch then reads the weights of its linear layers, and calls these no more.
    """
    torch = require_torch()
    kind = torch.nn.TransformerEncoderLayer
    fast = {
        name
        for name, module in model.named_modules()
        if isinstance(module, kind) and module.self_attn.batch_first and module.activation_relu_or_gelu
    }
    enabled = torch.backends.mha.get_fastpath_enabled()
    found = [layer for layer in layers if layer.lora_A is not None and layer.name.rpartition(".")[0] in fast]
    return [layer.name for layer in found] if enabled else []
