"""Layers as they stand in a model: those that are named, LoRA layers of PEFT, and LoRA layers of one's own."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from .._support.validate import as_iterable, as_text
from ..peft_files.config import keeps_lora_B, moves_base
from ._layer import AdaptedLayer, is_linear
from ._layer_checks import check_active, refuse_odd
from ._torch import require_torch, whole

_BASES = ("base_layer", "linear", "embedding", "conv", "base", "original")


def named_layers(model: Any, layers: str | Sequence[str]) -> list[AdaptedLayer]:
    """Return the plain layers that are meant, by the last part of their names or by all of it."""
    wanted = (layers,) if isinstance(layers, str) else tuple(as_iterable(layers, "layers"))
    plain = {name: module for name, module in model.named_modules() if is_linear(module)}
    known = {*plain, *(name.rpartition(".")[2] for name in plain)}
    unknown = [part for part in wanted if as_text(part, "layers") not in known]
    if unknown or not wanted:
        none = f"no linear layer, embedding or convolution is called {', '.join(unknown)}"
        short = ", ".join(sorted({name.rpartition(".")[2] for name in plain})) or "none"
        raise ValueError(f"layers: {none if unknown else 'expected at least one name'}; there are {short}")
    chosen = {name: module for name, module in plain.items() if {name, name.rpartition(".")[2]} & {*wanted}}
    for name, module in chosen.items():
        refuse_odd(name, module)
    return [AdaptedLayer(name, f"{name}.weight" if name else "weight", module) for name, module in chosen.items()]


def lora_layers(model: Any, adapter: str | None) -> list[AdaptedLayer]:
    """Return the LoRA layers of a model, of PEFT those with the adapter that is meant; none may be there."""
    torch = require_torch()
    holding, configs = [], None
    for name, module in model.named_modules():
        # PEFT leaves them on the modules around the layers, which come before them.
        configs = getattr(module, "peft_config", configs)
        if "_orig_mod" in module._modules:  # torch.compile around a layer, whose attributes it passes on
            continue
        # None where a layer of one's own has rank 0.
        if getattr(module, "lora_A", None) is not None and getattr(module, "lora_B", None) is not None:
            holding.append((name, module, configs))
    of_peft = [module for _, module, _ in holding if isinstance(module.lora_A, torch.nn.ModuleDict)]
    if "XLORA" in other_kinds(model) and any(len(_adapters(module)) > 1 for module in of_peft):
        raise ValueError("model: X-LoRA mixes its adapters by weights that depend on the inputs: no update is s A B^T")
    chosen = _adapter_name(of_peft, adapter)
    found = []
    for name, module, configs in holding:
        if not isinstance(module.lora_A, torch.nn.ModuleDict):
            found.append(_of_module(name, module))
            continue
        known = _adapters(module)
        active = [each for each in getattr(module, "active_adapters", [chosen]) if each in known]
        if chosen in known and chosen not in active:
            raise ValueError(
                f"adapter: in {name} the adapters {active} are active; {chosen!r} has to be, as it was in training "
                "(set_adapter; that of model.base_model takes several)"
            )
        if chosen in known:
            read = _of_parameter if hasattr(module, "parameter_name") else _of_peft
            found += read(name, module, chosen, configs if isinstance(configs, Mapping) else {})
    return found


def other_kinds(model: Any) -> str:
    """Return which adapters of PEFT a model has that are not LoRA's, as VeRA's; empty for none."""
    tables = [getattr(module, "peft_config", None) for module in model.modules()]
    configs = [config for table in tables if isinstance(table, Mapping) for config in table.values()]
    kinds = {str(getattr(config, "peft_type", "")).removeprefix("PeftType.") for config in configs}
    return ", ".join(sorted(kinds - {"", "LORA"}))


def _adapters(module: Any) -> list[str]:
    return [*module.lora_A, *getattr(module, "lora_embedding_A", ())]


def _adapter_name(modules: Sequence[Any], adapter: str | None) -> str:
    """Return the adapter that is meant; a layer need not have it, as another may have other layers."""
    known = list(dict.fromkeys(name for module in modules for name in _adapters(module)))
    if adapter is None and len(known) > 1:
        raise ValueError(f"adapter: the model has several ({', '.join(known)}); name the one to judge")
    if adapter is not None and adapter not in known:
        accepted = f"one of {', '.join(known)}" if known else "None for a model without adapters of PEFT"
        raise ValueError(f"adapter: expected {accepted}, got {adapter!r}")
    return adapter or (known[0] if known else "")


def _moved_by(module: Any, configs: Mapping[str, Any]) -> str | None:
    """Return the initialization that changed the weight of a layer, be it another adapter's; None where none did."""
    starts = (getattr(configs.get(name), "init_lora_weights", None) for name in _adapters(module))
    return next(filter(moves_base, starts), None)


def _of_parameter(name: str, module: Any, adapter: str, configs: Mapping[str, Any]) -> list[AdaptedLayer]:
    """Return the layers in a parameter that ``target_parameters`` of PEFT adapts: a matrix, or one for each expert.

    PEFT groups the rows of ``lora_A`` by expert, and of ``lora_B`` every so many columns are those of one. Several
    parameters of a module have wrappers around each other.
    """
    check_active(name, module)
    own, base, path = f"{name.removesuffix('.base_layer')}.{module.parameter_name}", module, name
    while hasattr(base, "base_layer"):
        base, path = base.base_layer, f"{path}.base_layer"
    stack, A, B = module.get_param(), module.lora_A[adapter].weight, module.lora_B[adapter].weight
    several = stack.ndim == 3
    experts = stack.shape[0] if several else 1
    rank = len(A) // experts
    moved_by = _moved_by(module, configs)
    found = []
    for e in range(experts):
        holder = require_torch().nn.Module()
        holder.register_buffer("weight", stack.detach()[e] if several else stack.detach())
        rows, columns = (slice(e * rank, (e + 1) * rank),), (slice(None), slice(e, None, experts))
        found.append(
            AdaptedLayer(
                f"{own}[{e}]" if several else own,
                f"{path}.{module.parameter_name}",
                holder,
                float(module.scaling[adapter]),
                _part(A, rows),
                _part(B, columns),
                off=f"{name}.lora_B.{adapter}.weight",
                moved_by=moved_by,
                within=((B, columns), (A, rows)),
                expert=several,
                swapped=several and not module._did_swap_in_out_features,
            )
        )
    return found


def _part(parameter: Any, chosen: tuple[slice, ...]) -> Any:
    """Return a part of a parameter, with that of its gradient."""
    part = whole(parameter.detach())[chosen].requires_grad_(parameter.requires_grad)
    if parameter.grad is not None:
        part.grad = whole(parameter.grad)[chosen]
    return part


def _of_peft(name: str, module: Any, adapter: str, configs: Mapping[str, Any]) -> list[AdaptedLayer]:
    check_active(name, module)
    base = module.get_base_layer()
    of_embedding = adapter in getattr(module, "lora_embedding_A", ())
    magnitudes = getattr(module, "lora_magnitude_vector", {})
    _refuse_other_updates(name, module, adapter)
    refuse_odd(name, base)
    if adapter in magnitudes and of_embedding and base.padding_idx is not None:
        raise ValueError(
            f"model: {name} uses DoRA over an embedding with a padding index ({base.padding_idx}), whose row gets no "
            "gradient of the lengths; set padding_idx of the embedding to None to judge it"
        )
    config = configs.get(adapter)
    # Embeddings and convolutions start as always, whatever becomes of linear layers.
    linear = not of_embedding and module.lora_A[adapter].weight.ndim == 2
    found = AdaptedLayer(
        name,
        f"{name}.base_layer.weight",
        base,
        float(module.scaling[adapter]),
        lora_A=module.lora_embedding_A[adapter] if of_embedding else module.lora_A[adapter].weight,
        lora_B=module.lora_embedding_B[adapter] if of_embedding else module.lora_B[adapter].weight,
        off=f"{name}.lora_embedding_B.{adapter}" if of_embedding else f"{name}.lora_B.{adapter}.weight",
        moved_by=_moved_by(module, configs) if linear else None,
        kept="lora_B" if linear and keeps_lora_B(getattr(config, "init_lora_weights", None)) else None,
        magnitude=magnitudes[adapter].weight if adapter in magnitudes else None,
        invoked=getattr(config, "alora_invocation_tokens", None) is not None,
        compressed=adapter in getattr(module, "lora_velora_embed", ()),
    )
    return [found]


def _refuse_other_updates(name: str, module: Any, adapter: str) -> None:
    """Refuse a layer of PEFT whose update is no product of two factors that are free."""
    if adapter in getattr(module, "lora_diag", ()):
        raise ValueError(f"model: {name} uses KaSA, whose update has a third factor and is not s A B^T")
    if any(hasattr(parts[adapter], "nblocks") for parts in (module.lora_A, module.lora_B) if adapter in parts):
        raise ValueError(f"model: {name} uses BD-LoRA, one of whose factors is blocks of a diagonal, kept side by side")


def _of_module(name: str, module: Any) -> AdaptedLayer:
    torch = require_torch()
    if getattr(module, "lora_E", None) is not None:
        raise ValueError(f"model: {name} uses AdaLoRA, whose update has a third factor and is not s A B^T")
    prefix = f"{name}." if name else ""
    inner = next((key for key in _BASES if isinstance(getattr(module, key, None), torch.nn.Module)), None)
    base = module if inner is None else getattr(module, inner)
    refuse_odd(name, base)
    if getattr(module, "merged", False):
        raise ValueError(f"model: {name} is merged into its weight; unmerge it first (loralib: model.train())")
    holds = isinstance(module.lora_B, torch.nn.Module)
    scale = getattr(module, "scaling", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real):
        raise ValueError(f"model: {name} has a scaling that is no number ({type(scale).__name__})")
    return AdaptedLayer(
        name,
        f"{prefix}weight" if inner is None else f"{prefix}{inner}.weight",
        base,
        float(scale),
        module.lora_A.weight if holds else module.lora_A,
        module.lora_B.weight if holds else module.lora_B,
        f"{prefix}lora_B.weight" if holds else f"{prefix}lora_B",
    )
