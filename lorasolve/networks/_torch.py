"""torch, where it is needed and nowhere else."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from .._support.interruptions import undisturbed
from .._support.validate import as_choice, as_instance, refuse_masked

P = ParamSpec("P")
R = TypeVar("R")

DTYPES = ("float64", "float32")
# Relative difference of two evaluations of the same batch that is rounding and not dropout.
REPEATABLE = {"float64": 1e-10, "float32": 1e-5}


def require_torch() -> Any:
    """Return the module ``torch``.

    Raises
    ------
    ImportError
        With what to install, where it is missing.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("lorasolve.networks needs torch: pip install 'lorasolve[torch]'") from None
    return torch


def differentiating(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that forms gradients wherever it is called, within ``no_grad`` and inference mode too."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        torch = require_torch()
        with torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return inner


def as_model(model: Any) -> Any:
    """Return a ``torch.nn.Module``, taken out of wrappers for data-parallel training and compilation."""
    torch = require_torch()
    model = unwrapped(as_instance(model, "model", torch.nn.Module))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta or torch.nn.parameter.is_lazy(tensor):
            why = "is on the meta device" if tensor.is_meta else "is lazy and was never run"
            raise ValueError(f"model: expected weights that hold numbers, but {name} {why}")
    return model


def as_torch_dtype(dtype: Any) -> Any:
    """Return a torch dtype given as itself or by name."""
    torch = require_torch()
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, str | torch.dtype) else dtype
    return getattr(torch, as_choice(name, "dtype", DTYPES))


def unwrapped(model: Any) -> Any:
    """Return the model within wrappers for data-parallel training and of ``torch.compile``."""
    torch = require_torch()
    if isinstance(model, torch.nn.parallel.DistributedDataParallel | torch.nn.DataParallel):
        return unwrapped(model.module)
    # Not by an attribute, which a wrapper of PEFT would look for inside.
    return unwrapped(model._orig_mod) if "_orig_mod" in model._modules else model


def moved(batch: Any, dtype: Any, device: Any) -> Any:
    """Return a batch with its arrays as tensors on a device, those of real numbers in a dtype."""
    torch = require_torch()
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "biuf":
        refuse_masked(batch, "batches")
        # torch takes no reversed views and no other byte order, and warns of what is read-only.
        batch = torch.as_tensor(np.array(batch, batch.dtype.newbyteorder("="), order="C"))
    if isinstance(batch, torch.Tensor):
        if batch.is_meta:
            raise ValueError("batches: expected tensors that hold numbers, got one on the meta device")
        there = batch.to(device, dtype if batch.is_floating_point() else None)
        # Autograd refuses to keep what was made in inference mode.
        return there.clone() if there.is_inference() else there
    if isinstance(batch, Mapping):
        return {key: moved(value, dtype, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, dtype, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, dtype, device) for value in batch)
    if dataclasses.is_dataclass(batch):
        there = copy.copy(batch)
        for name, value in fields_of(batch).items():
            object.__setattr__(there, name, moved(value, dtype, device))  # frozen ones too
        return there
    return batch


def fields_of(batch: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name."""
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


def refuse_coded(tensor: Any, name: str) -> None:
    """Refuse a parameter of a type of its own that holds no real numbers, as bitsandbytes stores weights.

    They are codes, of which its layer makes numbers by what the type holds beside them, and multiplies as it likes.
    """
    torch = require_torch()
    coded = isinstance(tensor, torch.nn.Parameter) and not (tensor.is_floating_point() or tensor.is_complex())
    if coded and type(tensor) is not torch.nn.Parameter:
        raise ValueError(
            f"model: {name} is quantised ({type(tensor).__name__} of {tensor.dtype}), and its layer computes in a "
            "precision of its own; networks.dequantize(model) makes a copy to judge (a monitor watches it as it is)"
        )


def refuse_scaled(module: Any, path: str) -> None:
    """Refuse a module whose weight is one of 8-bit floats times a scale beside it.

    Its operation reads both; a weight in another type it takes for one that was dequantised, without the scale.
    """
    own = {name: part for name, part in (*module._parameters.items(), *module._buffers.items()) if part is not None}
    scales = [name for name in own if "scale" in name]
    for name, part in own.items():
        if scales and name not in scales and part.is_floating_point() and part.element_size() == 1:
            raise ValueError(
                f"model: {path} has a quantised weight ({part.dtype} times its {scales[0]}), without which the network "
                "is another; load it dequantised (transformers: FineGrainedFP8Config(dequantize=True))"
            )


def held(model: Any) -> list[tuple[str, Any]]:
    """Return all parameters and buffers by name, tied ones of several modules each, of a module once.

    A block that stands in several places of a list is one module, and its weights are not tied to others.
    """
    tables = [(path, module._parameters, module._buffers) for path, module in model.named_modules()]
    places = ((path, key, tensor) for path, *both in tables for table in both for key, tensor in table.items())
    return [(f"{path}.{key}" if path else key, tensor) for path, key, tensor in places if tensor is not None]


def stand_ins(model: Any, dtype: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """Return all parameters and buffers by name, but some, detached and those of real numbers in a dtype.

    Tied tensors stand in several places, and are one here too. Copied is what a forward pass may write to: buffers, and
    embeddings whose rows it shortens to ``max_norm``. Quantised weights are refused by :func:`refuse_coded` and
    :func:`refuse_scaled`.
    """
    torch = require_torch()
    for path, module in model.named_modules():
        refuse_scaled(module, path)
    embeddings = (torch.nn.Embedding, torch.nn.EmbeddingBag)
    shortened = (m.weight for m in model.modules() if isinstance(m, embeddings) and m.max_norm is not None)
    written = {id(tensor) for tensor in (*shortened, *model.buffers())}
    found: dict[str, Any] = {}
    made: dict[int, Any] = {}
    for name, tensor in held(model):
        if name in without:
            continue
        refuse_coded(tensor, name)
        if id(tensor) not in made:
            cast = tensor.detach().to(dtype if tensor.is_floating_point() else tensor.dtype)
            made[id(tensor)] = cast.clone() if id(tensor) in written or cast.is_inference() else cast
        found[name] = made[id(tensor)]
    return found


@contextlib.contextmanager
def evaluating(model: Any, tensors: Mapping[str, Any], dtype: Any) -> Iterator[None]:
    """Let a model run in evaluation mode with other tensors in the place of its own, and put everything back.

    ``tensors`` maps names of parameters and buffers to what stands there inside the block. The model itself runs, so
    that a loss may call whatever it likes of it; nothing of the user's is written to. What a forward pass sets beside
    them (a cache, a counter, a mode) is put back too. Casts below ``dtype`` go to it, and autocast casts nothing, be it
    around the call or within the model, where transformers' Trainer puts it in mixed precision. Encoder layers call
    their parts as they do in training mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    # The tables of parameters and buffers among the attributes are changed in place.
    kept = [
        (table, dict(table)) for module, _ in modes for table in (vars(module), module._parameters, module._buffers)
    ]
    places = [(_place(model, name), tensor) for name, tensor in tensors.items()]
    try:
        for module, _ in modes:
            module.training = False  # model.eval() may merge updates into weights
        for (table, key), tensor in places:
            table[key] = tensor
        kinds = {tensor.device.type for tensor in tensors.values()}
        with _without_autocast(kinds), _without_fast_path(), _keeping(dtype, kinds):
            yield
    finally:
        with undisturbed():
            for module, mode in modes:
                module.training = mode
            for table, entries in kept:
                for key in table.keys() - entries.keys():
                    del table[key]
                for key, value in entries.items():
                    table[key] = value


@contextlib.contextmanager
def _without_fast_path() -> Iterator[None]:
    """Let encoder layers of torch call their parts, of which they read the weights alone in evaluation mode."""
    mha = require_torch().backends.mha
    enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(enabled)


def _without_autocast(kinds: Collection[str]) -> contextlib.ExitStack:
    """Return a context in which autocast is off on some kinds of devices; it begins at once."""
    torch = require_torch()
    stack = contextlib.ExitStack()
    for kind in filter(torch.is_autocast_enabled, kinds):
        stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def _keeping(dtype: Any, kinds: Collection[str]) -> Any:
    """Return a context in which casts to a floating type below ``dtype`` go to ``dtype`` itself, autocast's too.

    Many models compute their norms, the softmax of attention and their loss in float32, whatever they are given.
    """
    torch = require_torch()
    from torch.overrides import TorchFunctionMode

    names = ("float16", "bfloat16", "float32")
    lower = {getattr(torch, name) for name in names} - {dtype}
    shorthand = {torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.float}

    def kept(value: Any) -> Any:
        return dtype if isinstance(value, torch.dtype) and value in lower else value

    class Mode(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in shorthand:
                return args[0].to(dtype, **kwargs)
            if func is torch.Tensor.view:  # with a dtype it reads the same bits as another type
                return func(*args, **kwargs)
            if func in (torch.Tensor.to, torch.Tensor.type_as):
                like = next((v for v in (*args[1:], *kwargs.values()) if isinstance(v, torch.Tensor)), None)
                if like is not None and like.dtype in lower:
                    return args[0].to(like.device, dtype)
            with _without_autocast(kinds):
                return func(*map(kept, args), **{key: kept(value) for key, value in kwargs.items()})

    return Mode()


def backward(
    total: Any, inputs: Sequence[Any] = (), *, weights: Any = None, keep: bool = False, twice: bool = False
) -> tuple[Any, ...]:
    """Return the derivatives of a number, None in what it does not depend on; without inputs add them to the leaves.

    With ``weights``, of the sum of numbers with these: of logits of a whole vocabulary no product is formed then.

    torch.autograd takes itself out of the context of :func:`evaluating`, where parts that are computed again in the
    backward pass, and derivatives of one's own, would cast as they like. The engine below it does not.
    """
    torch = require_torch()
    if not total.requires_grad:
        return (None,) * len(inputs)
    found: tuple[Any, ...] = torch.autograd.Variable._execution_engine.run_backward(
        (total,),
        (torch.ones_like(total) if weights is None else weights,),
        keep or twice,
        twice,
        tuple(inputs),
        allow_unreachable=True,
        accumulate_grad=not inputs,
    )
    return found


@contextlib.contextmanager
def gradients_kept(losses: Any, leaves: Sequence[Any]) -> Iterator[None]:
    """Let a backward pass to all leaves leave alone what other leaves hold, as those of a head within the loss do."""
    ours = {id(leaf) for leaf in leaves}
    waiting, seen, others = [losses.grad_fn], set(), []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        tensor = getattr(node, "variable", None)
        if tensor is not None and id(tensor) not in ours:
            others.append((tensor, tensor.grad))
    for tensor, _ in others:
        tensor.grad = None
    try:
        yield
    finally:
        for tensor, gradient in others:
            tensor.grad = gradient


@contextlib.contextmanager
def advising() -> Iterator[None]:
    """Add to an error of a backward pass what a model may do in evaluation mode alone."""
    try:
        yield
    except RuntimeError as error:
        if "inplace operation" in str(error):
            error.add_note(
                "The model runs in evaluation mode here. Where it keeps a cache there and writes to it, as RWKV does, "
                "set model.config.use_cache = False."
            )
        raise


def name_of(dtype: Any) -> str:
    """Return the name of a type of torch."""
    return str(dtype).removeprefix("torch.")


def twice_differentiable() -> Any:
    """Return a context in which attention is computed from parts that can be differentiated twice, not in one piece."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def _place(model: Any, name: str) -> tuple[dict[str, Any], str]:
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    return (module._parameters if key in module._parameters else module._buffers), key


def is_sharded(tensor: Any) -> bool:
    """Return whether each process holds a part of a tensor (a DTensor, as FSDP makes of parameters)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Any:
    """Return a tensor of which each process holds a part as one that each of them holds, others as they are.

    All processes have to call this. What torch computes of the parts is a number of one's own part, some of it.
    """
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def reduced(total: Any) -> Any:
    """Return the sum of a tensor over all processes, where there are several; each of them gets it."""
    torch = require_torch()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total


def gathered(numbers: Any) -> Any:
    """Return the numbers of all processes, one row each; each of them gets them."""
    torch = require_torch()
    rows = [torch.empty_like(numbers) for _ in range(processes())]
    if len(rows) == 1:
        return numbers[None]
    torch.distributed.all_gather(rows, numbers)
    return torch.stack(rows)


def processes() -> int:
    """Return the number of processes that share the data."""
    torch = require_torch()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return 1
