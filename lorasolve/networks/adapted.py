"""Which weights of a network are adapted: LoRA layers of PEFT, of one's own, or plain layers by name.

In a layer ``y = W x + s B_file A_file x`` with ``lora_A`` of shape (r, in) and ``lora_B`` of shape (out, r). Here
``A = lora_B`` (m, r) and ``B = lora_A^T`` (n, r), so that the weight is ``W + s A B^T`` and the user's weight decay is
``(lam/2)(||A||^2 + ||B||^2)`` as it stands. An embedding is such a layer of one-hot inputs: ``n`` is the size of the
vocabulary, and its weight is stored as (in, out). A convolution is one of patches: ``n`` is the number of inputs times
that of the kernel's entries, ``lora_A`` is (r, in, k, k) and ``lora_B`` (out, r, 1, 1).
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array, as_iterable, as_text
from ..linear_map import DENSE_LIMIT, LinearMap, top_singular
from ..peft_files.config import keeps_lora_B, moves_base
from ..problem.blocks import Pairs
from ._torch import as_model, held, is_sharded, refuse_scaled, require_torch, whole

_BASES = ("base_layer", "linear", "embedding", "conv", "base", "original")
# Residual, relative to the value, to which the norm of a large weight is found.
NORM_TOL = 1e-3
# With these an embedding shortens rows as it reads them, or its gradient is scaled, or no array.
_ODD_LOOKUPS = ("max_norm", "scale_grad_by_freq", "sparse")


@dataclass(frozen=True)
class AdaptedLayer:
    """A linear layer, embedding or convolution whose weight, as a matrix, is ``W + scale A B^T``.

    Attributes
    ----------
    name, weight : str
        Path of the layer, and of its frozen weight, in the model.
    module : torch.nn.Module
        What computes with ``W``.
    scale : float
        ``s``, in PEFT ``alpha/r`` or ``alpha/sqrt(r)``.
    lora_A, lora_B : torch.Tensor or None
        The trained factors (r, in) and (out, r), a convolution's with the axes of its kernel behind; None for a plain
        layer.
    off : str or None
        Path of ``lora_B`` in the model: with zeros there the layer computes ``W x`` alone.
    moved_by : str or None
        The initialization of PEFT that changed ``W``, as PiSSA and OLoRA do: the update is no change of the original
        weight then. None for the others.
    kept : str or None
        The factor that the initialization of PEFT leaves as it starts, ``"lora_B"`` of MiCA; None for the others.
    magnitude : torch.Tensor or None
        The lengths, ``out`` of them, that DoRA gives the rows of ``W + scale A B^T``; None without it.
    invoked : bool
        Whether the update acts after invocation tokens alone, as aLoRA's does.
    compressed : bool
        Whether training takes another gradient of ``lora_A``, that of compressed inputs, as VeLoRA does.
    stacked : bool
        Whether the weight is a parameter that ``target_parameters`` of PEFT adapts, or an expert's part of one. The
        module is one that holds it, and no part of the model.
    """

    name: str
    weight: str
    module: Any = field(repr=False)
    scale: float = 1.0
    lora_A: Any = field(default=None, repr=False)
    lora_B: Any = field(default=None, repr=False)
    off: str | None = None
    moved_by: str | None = None
    kept: str | None = None
    magnitude: Any = field(default=None, repr=False)
    invoked: bool = False
    compressed: bool = False
    stacked: bool = False

    @property
    def turned(self) -> bool:
        """Whether the weight is stored as (inputs, outputs)."""
        return _is_turned(self.module)

    @property
    def kernel(self) -> tuple[int, ...]:
        """The axes of a convolution's kernel; empty for other layers."""
        weight = getattr(self.module, "weight", None)  # some quantised layers have none
        return () if weight is None else tuple(weight.shape[2:])

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: outputs and inputs."""
        rows, columns, *kernel = self.module.weight.shape
        return (int(columns), int(rows)) if self.turned else (int(rows), int(columns) * math.prod(kernel))

    @property
    def still(self) -> int | None:
        """The input of an embedding whose row of the weight no gradient moves, its padding index; None without one."""
        index = self.module.padding_idx if self.looks_up else None
        return None if index is None else index % len(self.module.weight)

    @property
    def looks_up(self) -> bool:
        """Whether the layer is an embedding, which is given the numbers of its inputs."""
        return isinstance(self.module, require_torch().nn.Embedding)

    def as_weight(self, matrix: Any) -> Any:
        """Return a matrix of the update's shape in that of the stored weight."""
        return (matrix.T if self.turned else matrix).reshape(tuple(self.module.weight.shape))

    def as_matrix(self, weight: Any) -> Any:
        """Return the inverse of :meth:`as_weight`."""
        return weight.T if self.turned else weight.reshape(len(weight), -1)

    def inputs(self, given: Any) -> Any:
        """Return what the layer multiplies by its weight: vectors of ``n`` entries along the last axis."""
        torch = require_torch()
        if self.looks_up:
            known = torch.arange(self.shape[1], device=given.device)
            return (given[..., None] == known) & (given[..., None] != (-1 if self.still is None else self.still))
        if not self.kernel:
            return given
        # Convolved with each entry of a kernel by itself.
        n = self.shape[1]
        entries = torch.eye(n, dtype=given.dtype, device=given.device).reshape(n, *self.module.weight.shape[1:])
        return self.outputs(self.module._conv_forward(given, entries, None))

    def outputs(self, found: Any) -> Any:
        """Return what the layer computes, vectors of ``m`` entries, with these along the last axis."""
        return found.movedim(-1 - len(self.kernel), -1) if self.kernel else found

    def computed(self, weight: Any) -> Any:
        """Return what the layer computes with at a weight ``W + s X``, in the place of ``W`` and without factors.

        The row of the padding index is that of ``W``; the rows of DoRA have their own lengths, which its layer measures
        and leaves as they are then, up to the sign.
        """
        if self.magnitude is not None:
            rows = self.as_matrix(weight)
            lengths = self.magnitude.detach().flatten().to(rows.dtype).abs()
            return self.as_weight(rows * (lengths / rows.norm(dim=1))[:, None])
        if self.still is None:
            return weight
        row = self.module.weight.detach()[self.still : self.still + 1].to(weight.dtype)
        return require_torch().cat([weight[: self.still], row, weight[self.still + 1 :]])

    @property
    def base_norm(self) -> float | None:
        """``||W||_2``; None where nothing says what update is large: the start changed ``W``, it is 0, or of DoRA."""
        if self.moved_by is not None or self.magnitude is not None:
            return None
        W = self._numbers()
        if not W.isfinite().all():
            raise ValueError(f"model: {self.name}: expected a weight of finite numbers, got one with others")
        return _spectral_norm(self.as_matrix(W)) or None

    @property
    def over_zero(self) -> bool:
        """Whether ``W = 0``, as of layers that begin at zero."""
        return not self._numbers().any()

    def _numbers(self) -> Any:
        """Return ``W`` in float32 or float64: of numbers of eight bits torch cannot tell whether they are finite."""
        torch = require_torch()
        W = whole(self.module.weight.detach())
        return W.to(torch.float64 if W.dtype == torch.float64 else torch.float32)

    @property
    def factors(self) -> tuple[Array, Array]:
        """``A`` (m, r) and ``B`` (n, r), copied in float64."""
        A, B = (part.detach().flatten(1).double().cpu().numpy() for part in (self.lora_B, self.lora_A))
        return np.array(A, order="C"), np.array(B.T, order="C")


def _spectral_norm(W: Any) -> float:
    """Return ``||W||_2``: of a large matrix from below, to ``NORM_TOL`` squared or so, by products alone.

    A singular value decomposition of 4096 x 4096 numbers takes 13 s, and a model has many of them.
    """
    torch = require_torch()
    if W.numel() <= DENSE_LIMIT:
        return float(torch.linalg.matrix_norm(W, 2))

    def product(M: Any) -> Callable[[Array], Array]:
        return lambda V: (M @ torch.as_tensor(V, dtype=M.dtype, device=M.device)).cpu().numpy()

    operator = LinearMap((len(W), W.shape[1]), product(W), product(W.T))
    # A start of its own, as a verdict rests on it.
    return float(top_singular(operator, tol=NORM_TOL, rng=np.random.default_rng()).values[0])


def adapted_layers(
    model: Any, layers: str | Sequence[str] | None = None, adapter: str | None = None
) -> tuple[AdaptedLayer, ...]:
    """Return the adapted layers of a model, in its own order.

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
        _refuse_stacked(layer)
        _refuse_invoked(layer)
        _check_factors(layer, owners)
        _check_weight(layer)
        _check_whole(layer)
        _check_untied(layer, owners)
    return found


def watched_layers(model: Any, adapter: str | None = None, *, weights: bool = False) -> tuple[AdaptedLayer, ...]:
    """Return the LoRA layers of a model for what reads factors and their gradients alone, as a monitor does.

    Their weights may be tied, parameters that ``target_parameters`` of PEFT adapts, of which each expert is a layer,
    and where these are not read too (``weights``) whatever PEFT adapts, quantised layers among them. Else as
    :func:`adapted_layers`.
    """
    found, owners = _found(as_model(model), None, adapter)
    for layer in found:
        _check_factors(layer, owners)
        if weights:
            _check_weight(layer)
    return found


def _found(
    model: Any, layers: str | Sequence[str] | None, adapter: str | None
) -> tuple[tuple[AdaptedLayer, ...], dict[int, list[str]]]:
    """Return the layers that are meant, at least one, and the names of each parameter and buffer."""
    if adapter is not None:
        as_text(adapter, "adapter")
    found = _named(model, layers) if layers is not None else _lora(model, adapter)
    if not found:
        kinds = _other_kinds(model)
        if kinds:
            raise ValueError(f"model: expected LoRA, got adapters of the kind {kinds}, whose update is not s A B^T")
        raise ValueError(
            "model: has no LoRA layers (modules with lora_A and lora_B, which merge_and_unload() takes away); wrap it "
            "with peft.get_peft_model (judge and fine_tune also take plain layers by name, layers=('query', 'value'))"
        )
    return tuple(found), _owners(model)


def _owners(model: Any) -> dict[int, list[str]]:
    """Return the names of each parameter and buffer, of a module once: a block may stand in many places of a list."""
    owners: dict[int, list[str]] = {}
    for name, tensor in held(model):
        owners.setdefault(_place(tensor), []).append(name)
    return owners


def _other_kinds(model: Any) -> str:
    """Return which adapters of PEFT a model has that are not LoRA's, as VeRA's; empty for none."""
    tables = [getattr(module, "peft_config", None) for module in model.modules()]
    configs = [config for table in tables if isinstance(table, Mapping) for config in table.values()]
    kinds = {str(getattr(config, "peft_type", "")).removeprefix("PeftType.") for config in configs}
    return ", ".join(sorted(kinds - {"", "LORA"}))


def _place(tensor: Any) -> int:
    """Return what a tensor shares with those that it is tied to, be they views of it as PEFT's tied factors are."""
    plain = type(tensor.data) is require_torch().Tensor
    return (plain and tensor.data_ptr()) or id(tensor)


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


def _refuse_stacked(layer: AdaptedLayer) -> None:
    if layer.stacked:
        raise ValueError(
            f"model: {layer.name} is a parameter that target_parameters of PEFT adapts, and no layer: a monitor can "
            "watch it, and it cannot be judged (networks.tangent_certificate bounds what is left to gain, from factors "
            "and gradients as matrices; after merge_and_unload() the parameter has the latter)"
        )


def _refuse_invoked(layer: AdaptedLayer) -> None:
    if layer.invoked:
        raise ValueError(
            f"model: {layer.name} uses aLoRA, whose update acts after its invocation tokens alone, so that there is no "
            "one weight (a monitor can watch it)"
        )


def _check_weight(layer: AdaptedLayer) -> None:
    if not layer.stacked:
        _refuse_unknown(layer.name, layer.module)
    if not any("weight" in table for table in (layer.module._parameters, layer.module._buffers)):
        raise ValueError(
            f"model: {layer.name}: expected a weight of its own, got one that is computed (weight_norm?); remove the "
            "parametrization first"
        )
    weight = layer.module.weight
    if not weight.is_floating_point():
        raise ValueError(
            f"model: {layer.name} has a quantised weight ({weight.dtype}), which has no gradient; networks.dequantize("
            "model) makes a copy to judge"
        )
    if type(weight.data) is not require_torch().Tensor and not is_sharded(weight):
        kind = type(weight.data).__name__
        raise ValueError(
            f"model: {layer.name} has a weight that is no plain tensor ({kind}; quantised?); networks.dequantize("
            "model) makes a copy to judge"
        )
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


def _check_whole(layer: AdaptedLayer) -> None:
    if any(map(is_sharded, (layer.module.weight, layer.lora_A, layer.lora_B))):
        raise ValueError(
            f"model: {layer.name} is sharded over processes (FSDP?); gather the model first, and give each process its "
            "share of the data"
        )


def _check_untied(layer: AdaptedLayer, owners: dict[int, list[str]]) -> None:
    names = owners.get(_place(layer.module.weight), [])
    if len(names) > 1 and layer.lora_A is None:
        raise ValueError(f"model: the weight of {layer.name} is tied ({', '.join(names)}): the update has no layer")


def tied_elsewhere(model: Any, layers: Sequence[AdaptedLayer]) -> list[str]:
    """Return which of the layers have a weight that stands elsewhere in the model too."""
    owners = _owners(model)
    return [layer.name for layer in layers if len(owners.get(_place(layer.module.weight), [])) > 1]


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


def _check_factors(layer: AdaptedLayer, owners: dict[int, list[str]]) -> None:
    if not math.isfinite(layer.scale) or layer.scale == 0.0:
        raise ValueError(f"model: {layer.name}: expected a scaling that is finite and not 0, got {layer.scale:g}")
    if layer.lora_A is None:
        return
    for key, part in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B)):
        names = owners.get(_place(part), [])
        if not (names or layer.stacked):
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


def _named(model: Any, layers: str | Sequence[str]) -> list[AdaptedLayer]:
    wanted = (layers,) if isinstance(layers, str) else tuple(as_iterable(layers, "layers"))
    plain = {
        name: module for name, module in model.named_modules() if isinstance(module, _plain()) or _is_turned(module)
    }
    known = {*plain, *(name.rpartition(".")[2] for name in plain)}
    unknown = [part for part in wanted if as_text(part, "layers") not in known]
    if unknown or not wanted:
        none = f"no linear layer, embedding or convolution is called {', '.join(unknown)}"
        short = ", ".join(sorted({name.rpartition(".")[2] for name in plain})) or "none"
        raise ValueError(f"layers: {none if unknown else 'expected at least one name'}; there are {short}")
    return [
        AdaptedLayer(name, f"{name}.weight" if name else "weight", _judged(name, module))
        for name, module in plain.items()
        if name in wanted or name.rpartition(".")[2] in wanted
    ]


def _lora(model: Any, adapter: str | None) -> list[AdaptedLayer]:
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
    chosen = _adapter_name(of_peft, adapter)
    found = []
    for name, module, configs in holding:
        if not isinstance(module.lora_A, torch.nn.ModuleDict):
            found.append(_of_module(name, module))
            continue
        known = _adapters(module)
        active = [each for each in getattr(module, "active_adapters", [chosen]) if each in known]
        if active != [chosen] * (chosen in known):
            raise ValueError(f"adapter: in {name} the adapters {active} are active; exactly {chosen!r} has to be")
        if active:
            config = configs.get(chosen) if isinstance(configs, Mapping) else None
            read = _of_parameter if hasattr(module, "parameter_name") else _of_peft
            found += read(name, module, chosen, config)
    return found


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


def _check_active(name: str, module: Any) -> None:
    if getattr(module, "merged", False):
        raise ValueError(f"model: {name} is merged into its weight; unmerge_adapter() first")
    if getattr(module, "disable_adapters", False):
        raise ValueError(f"model: the adapters of {name} are disabled; enable_adapter_layers() first")


def _of_parameter(name: str, module: Any, adapter: str, config: Any) -> list[AdaptedLayer]:
    """Return the layers in a parameter that ``target_parameters`` of PEFT adapts: a matrix, or one for each expert.

    PEFT groups the rows of ``lora_A`` by expert, and of ``lora_B`` every so many columns are those of one.
    """
    _check_active(name, module)
    own = f"{name.removesuffix('.base_layer')}.{module.parameter_name}"
    stack, A, B = module.get_param(), module.lora_A[adapter].weight, module.lora_B[adapter].weight
    experts = stack.shape[0] if stack.ndim == 3 else 1
    rank = len(A) // experts
    initialization = getattr(config, "init_lora_weights", None)
    found = []
    for e in range(experts):
        W = stack.detach()[e] if stack.ndim == 3 else stack.detach()
        holder = require_torch().nn.Module()
        holder.register_buffer("weight", W if tuple(W.shape) == (len(B), A.shape[1]) else W.T)
        found.append(
            AdaptedLayer(
                f"{own}[{e}]" if stack.ndim == 3 else own,
                own,
                holder,
                float(module.scaling[adapter]),
                _part(A, (slice(e * rank, (e + 1) * rank), slice(None))),
                _part(B, (slice(None), slice(e, None, experts))),
                moved_by=initialization if moves_base(initialization) else None,
                stacked=True,
            )
        )
    return found


def _part(parameter: Any, chosen: tuple[slice, slice]) -> Any:
    """Return a part of a parameter, with that of its gradient."""
    part = whole(parameter.detach())[chosen].requires_grad_(parameter.requires_grad)
    if parameter.grad is not None:
        part.grad = whole(parameter.grad)[chosen]
    return part


def _of_peft(name: str, module: Any, adapter: str, config: Any) -> list[AdaptedLayer]:
    _check_active(name, module)
    initialization = getattr(config, "init_lora_weights", None)
    magnitudes = getattr(module, "lora_magnitude_vector", {})
    if adapter in getattr(module, "lora_diag", ()):
        raise ValueError(f"model: {name} uses KaSA, whose update has a third factor and is not s A B^T")
    if any(hasattr(parts[adapter], "nblocks") for parts in (module.lora_A, module.lora_B) if adapter in parts):
        raise ValueError(f"model: {name} uses BD-LoRA, one of whose factors is blocks of a diagonal, kept side by side")
    of_embedding = adapter in getattr(module, "lora_embedding_A", ())
    base = module.get_base_layer()
    _refuse_odd(name, base)
    if adapter in magnitudes and of_embedding and base.padding_idx is not None:
        raise ValueError(
            f"model: {name} uses DoRA over an embedding with a padding index ({base.padding_idx}), whose row gets no "
            "gradient of the lengths; set padding_idx of the embedding to None to judge it"
        )
    # Embeddings and convolutions start as always, whatever becomes of linear layers.
    linear = not of_embedding and module.lora_A[adapter].weight.ndim == 2
    found = AdaptedLayer(
        name,
        f"{name}.base_layer.weight",
        base,
        float(module.scaling[adapter]),
        module.lora_embedding_A[adapter] if of_embedding else module.lora_A[adapter].weight,
        module.lora_embedding_B[adapter] if of_embedding else module.lora_B[adapter].weight,
        f"{name}.lora_embedding_B.{adapter}" if of_embedding else f"{name}.lora_B.{adapter}.weight",
        initialization if linear and moves_base(initialization) else None,
        "lora_B" if linear and keeps_lora_B(initialization) else None,
        magnitudes[adapter].weight if adapter in magnitudes else None,
        getattr(config, "alora_invocation_tokens", None) is not None,
        adapter in getattr(module, "lora_velora_embed", ()),
    )
    return [found]


def _of_module(name: str, module: Any) -> AdaptedLayer:
    torch = require_torch()
    if getattr(module, "lora_E", None) is not None:
        raise ValueError(f"model: {name} uses AdaLoRA, whose update has a third factor and is not s A B^T")
    prefix = f"{name}." if name else ""
    inner = next((key for key in _BASES if isinstance(getattr(module, key, None), torch.nn.Module)), None)
    base = module if inner is None else getattr(module, inner)
    _refuse_odd(name, base)
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


def _judged(name: str, base: Any) -> Any:
    """Return the module if it is linear in a weight that is a matrix, stored as it is, turned or as kernels."""
    _refuse_unknown(name, base)
    _refuse_odd(name, base)
    return base


def _refuse_unknown(name: str, base: Any) -> None:
    weight = getattr(base, "weight", None)
    of_ones_own = getattr(weight, "ndim", 0) == 2 and hasattr(base, "lora_A")
    if not (isinstance(base, _plain()) or _is_turned(base) or of_ones_own):
        kinds = "linear layers (networks.dequantize makes some of quantised ones), embeddings and convolutions"
        raise ValueError(
            f"model: {name} adapts a {type(base).__name__}; only {kinds} can be judged, and be a monitor's base"
        )


def _refuse_odd(name: str, base: Any) -> None:
    nn = require_torch().nn
    if isinstance(base, nn.Conv1d | nn.Conv2d | nn.Conv3d) and base.groups > 1:
        raise ValueError(f"model: {name} adapts a grouped convolution ({base.groups} groups), no matrix times inputs")
    odd = [key for key in _ODD_LOOKUPS if isinstance(base, nn.Embedding) and getattr(base, key) not in (None, False)]
    if odd:
        raise ValueError(f"model: {name} adapts an embedding with {' and '.join(odd)}, without which it can be judged")


def _plain() -> tuple[type, ...]:
    """Return the layers of torch whose output is linear in their weight."""
    nn = require_torch().nn
    return nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d


def _is_turned(base: Any) -> bool:
    """Return whether a weight is (in, out): of an embedding, or of GPT-2's layer, which transformers calls Conv1D."""
    known = sys.modules.get("transformers.pytorch_utils")
    return isinstance(base, require_torch().nn.Embedding) or (known is not None and isinstance(base, known.Conv1D))
