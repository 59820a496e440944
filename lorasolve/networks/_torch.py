"""torch, where it is needed and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._validate import as_choice, as_instance

DTYPES = ("float64", "float32")


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


def as_model(model: Any) -> Any:
    """Return a ``torch.nn.Module``, taken out of wrappers for data-parallel training and compilation."""
    return unwrapped(as_instance(model, "model", require_torch().nn.Module))


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
        batch = torch.as_tensor(batch)
    if isinstance(batch, torch.Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else None)
    if isinstance(batch, Mapping):
        return {key: moved(value, dtype, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, dtype, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, dtype, device) for value in batch)
    return batch


@contextlib.contextmanager
def evaluating(model: Any, tensors: Mapping[str, Any], dtype: Any) -> Iterator[None]:
    """Let a model run in evaluation mode with other tensors in the place of its own, and put everything back.

    ``tensors`` maps names of parameters and buffers to what stands there inside the block. The model itself runs, so
    that a loss may call whatever it likes of it; nothing of the user's is written to. Casts below ``dtype`` go to it.
    """
    modes = [(module, module.training) for module in model.modules()]
    places = [(_place(model, name), tensor) for name, tensor in tensors.items()]
    kept = [(table, key, table[key]) for (table, key), _ in places]
    try:
        for module, _ in modes:
            module.training = False  # model.eval() may merge updates into weights
        for (table, key), tensor in places:
            table[key] = tensor
        with _keeping(dtype):
            yield
    finally:
        for table, key, tensor in kept:
            table[key] = tensor
        for module, mode in modes:
            module.training = mode


def _keeping(dtype: Any) -> Any:
    """Return a context in which casts to a floating type below ``dtype`` go to ``dtype`` itself.

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
            return func(*map(kept, args), **{key: kept(value) for key, value in kwargs.items()})

    return Mode()


def backward(total: Any, inputs: Sequence[Any] = (), *, keep: bool = False, twice: bool = False) -> tuple[Any, ...]:
    """Return the derivatives of a number, None in what it does not depend on; without inputs add them to the leaves.

    torch.autograd takes itself out of the context of :func:`evaluating`, where parts that are computed again in the
    backward pass, and derivatives of one's own, would cast as they like. The engine below it does not.
    """
    torch = require_torch()
    if not total.requires_grad:
        return (None,) * len(inputs)
    found: tuple[Any, ...] = torch.autograd.Variable._execution_engine.run_backward(
        (total,),
        (torch.ones_like(total),),
        keep or twice,
        twice,
        tuple(inputs),
        allow_unreachable=True,
        accumulate_grad=not inputs,
    )
    return found


def twice_differentiable() -> Any:
    """Return a context in which attention is computed from parts that can be differentiated twice, not in one piece."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def _place(model: Any, name: str) -> tuple[dict[str, Any], str]:
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    return (module._parameters if key in module._parameters else module._buffers), key


def reduced(total: Any) -> Any:
    """Return the sum of a tensor over all processes, where there are several; each of them gets it."""
    torch = require_torch()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    return total


def processes() -> int:
    """Return the number of processes that share the data."""
    torch = require_torch()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return 1
