"""Layers whose update is not ``s A B^T`` of a weight of its own, refused by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ._layer import AdaptedLayer, is_linear
from ._torch import held, is_sharded, refuse_scaled, require_torch

# What to do about codes, said of a model that is judged and of a monitor's base.
PLAIN_COPY = "networks.dequantize(model) makes a copy to judge, and for a monitor's base"
# With these an embedding shortens rows as it reads them, or its gradient is scaled, or no array.
_ODD_LOOKUPS = ("max_norm", "scale_grad_by_freq", "sparse")


class Owners:
    """The names of each parameter and buffer of a model; those of a module once, whose block may stand in many places.

    Tensors that are tied share their names, be they views of one as PEFT's tied factors are.
    """

    def __init__(self, model: Any) -> None:
        self._names: dict[int, list[str]] = {}
        for name, tensor in held(model):
            self._names.setdefault(_place(tensor), []).append(name)

    def names(self, tensor: Any) -> list[str]:
        """Return the names of a tensor, none for one that is no parameter or buffer of the model."""
        return self._names.get(_place(tensor), [])


def _place(tensor: Any) -> int:
    """Return what a tensor shares with those that it is tied to."""
    plain = type(tensor.data) is require_torch().Tensor
    return (plain and tensor.data_ptr()) or id(tensor)


def refuse_invoked(layer: AdaptedLayer) -> None:
    """Refuse an update that acts on some tokens alone."""
    if layer.invoked:
        raise ValueError(
            f"model: {layer.name} uses aLoRA, whose update acts after its invocation tokens alone, so that there is no "
            "one weight (a monitor can watch it)"
        )


def check_weight(layer: AdaptedLayer) -> None:
    """Refuse a weight that is computed, quantised or scaled, or of another shape than the factors say."""
    if not layer.within:
        refuse_unknown(layer.name, layer.module)
    if not any("weight" in table for table in (layer.module._parameters, layer.module._buffers)):
        raise ValueError(
            f"model: {layer.name}: expected a weight of its own, got one that is computed (weight_norm?); remove the "
            "parametrization first"
        )
    weight = layer.module.weight
    if not weight.is_floating_point():
        raise ValueError(
            f"model: {layer.name} has a quantised weight ({weight.dtype}), which has no gradient; {PLAIN_COPY}"
        )
    if type(weight.data) is not require_torch().Tensor and not is_sharded(weight):
        kind = type(weight.data).__name__
        raise ValueError(f"model: {layer.name} has a weight that is no plain tensor ({kind}; quantised?); {PLAIN_COPY}")
    refuse_scaled(layer.module, layer.name)
    if layer.lora_A is not None:
        (m, n), A, B = layer.shape, tuple(layer.lora_A.shape), tuple(layer.lora_B.shape)
        if math.prod(A[1:]) != n or B[0] != m:
            raise ValueError(f"model: {layer.name} is {m} x {n}, but lora_A is {A} and lora_B is {B}")
        if layer.still is not None:
            column = layer.lora_A.detach()[:, layer.still]
            if column[column.isfinite()].any():
                raise ValueError(
                    f"model: {layer.name}: expected zeros in lora_A at the padding index {layer.still}, which no "
                    "gradient moves, got other numbers (init_lora_weights=False?); set them to 0"
                )


def check_whole(layer: AdaptedLayer) -> None:
    """Refuse a layer that is sharded over processes."""
    if any(map(is_sharded, (layer.module.weight, layer.lora_A, layer.lora_B))):
        raise ValueError(
            f"model: {layer.name} is sharded over processes (FSDP?); gather the model first, and give each process its "
            "share of the data"
        )


def check_untied(layer: AdaptedLayer, owners: Owners) -> None:
    """Refuse a plain layer whose weight stands elsewhere in the model too."""
    names = owners.names(layer.module.weight)
    if len(names) > 1 and layer.lora_A is None:
        raise ValueError(f"model: the weight of {layer.name} is tied ({', '.join(names)}): the update has no layer")


def check_factors(layer: AdaptedLayer, owners: Owners) -> None:
    """Refuse factors that are no parameters, that are tied, or whose shapes belong to no update."""
    if not math.isfinite(layer.scale) or layer.scale == 0.0:
        raise ValueError(f"model: {layer.name}: expected a scaling that is finite and not 0, got {layer.scale:g}")
    if layer.lora_A is None:
        return
    for key, part in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
        names = owners.names(part)
        if not (names or layer.within):
            raise ValueError(
                f"model: {layer.name}: expected a {key} that is a parameter, got one that is computed of others "
                "(weight_norm, pruning?); remove the parametrization first"
            )
        if len(names) > 1:
            raise ValueError(f"model: {key} of {layer.name} is tied ({', '.join(names)}): a shared factor")
    A, B = tuple(layer.lora_A.shape), tuple(layer.lora_B.shape)
    kernel = layer.kernel
    if A[2:] not in ((), kernel) or B[2:] not in ((), (1,) * len(kernel)) or len(A) < 2 or len(B) < 2 or A[0] != B[1]:
        shapes = f"{('r', 'in', *kernel)} and lora_B {('out', 'r', *(1 for _ in kernel))}".replace("'", "")
        raise ValueError(f"model: {layer.name}: expected lora_A {shapes}, got {A} and {B}")
    if not A[0]:
        raise ValueError(f"model: {layer.name}: expected factors of rank 1 or more, got lora_A {A} and lora_B {B}")
    if 0 in (*A, *B):  # as MobileBERT has a layer where its hidden size is that of its embeddings
        raise ValueError(
            f"model: {layer.name} has no inputs or no outputs, got lora_A {A} and lora_B {B}; leave it without an "
            "adapter (target_modules or exclude_modules of PEFT)"
        )


def check_unshared(layers: Sequence[AdaptedLayer], parts: Sequence[str]) -> None:
    """Refuse what several layers hold within one module: it has one name alone, and looks like that of one of them."""
    holders: dict[int, str] = {}
    for layer in (layer for layer in layers if layer.lora_A is not None and not layer.within):
        for part in parts:
            here = f"{'frozen ' if part == 'module' else ''}{part} of {layer.name}"
            there = holders.setdefault(id(getattr(layer, part)), here)
            if there != here:
                raise ValueError(f"model: the {here} is the {there}: expected layers that share none")


def check_active(name: str, module: Any) -> None:
    """Refuse a layer of PEFT whose adapters are merged or disabled."""
    if getattr(module, "merged", False):
        raise ValueError(f"model: {name} is merged into its weight; unmerge_adapter() first")
    if getattr(module, "disable_adapters", False):
        raise ValueError(f"model: the adapters of {name} are disabled; enable_adapter_layers() first")


def refuse_unknown(name: str, base: Any) -> None:
    """Refuse what is not known to be linear in a weight that is a matrix, turned or not, or kernels."""
    weight = getattr(base, "weight", None)
    of_ones_own = getattr(weight, "ndim", 0) == 2 and hasattr(base, "lora_A")
    if not (is_linear(base) or of_ones_own):
        kinds = "linear layers (networks.dequantize makes some of quantised ones), embeddings and convolutions"
        raise ValueError(
            f"model: {name} adapts a {type(base).__name__}; only {kinds} can be judged, and be a monitor's base"
        )


def refuse_odd(name: str, base: Any) -> None:
    """Refuse what has such a weight and computes something else with it."""
    nn = require_torch().nn
    if isinstance(base, nn.Conv1d | nn.Conv2d | nn.Conv3d) and base.groups > 1:
        raise ValueError(f"model: {name} adapts a grouped convolution ({base.groups} groups), no matrix times inputs")
    odd = [key for key in _ODD_LOOKUPS if isinstance(base, nn.Embedding) and getattr(base, key) not in (None, False)]
    if odd:
        raise ValueError(f"model: {name} adapts an embedding with {' and '.join(odd)}, without which it can be judged")
