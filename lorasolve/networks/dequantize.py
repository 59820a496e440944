"""Networks over quantised weights (QLoRA) as networks over the numbers that these stand for."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ._torch import as_model, require_torch

# Rows of the identity that a layer is given at a time.
CHUNK = 1024
# How far what a layer computes may be from a product with its weight, relative: it may round to bfloat16.
ROUNDED = 2.0**-7


def dequantize(model: Any) -> Any:
    """Return a copy of a network in which quantised linear layers are plain ones, so that it can be judged.

    What QLoRA trains is a network over the numbers that the codes stand for, in the precision that its layers compute
    in. The copy is that network in full precision: to load the model without quantisation would give another one, at
    which the factors are not stationary.

    Parameters
    ----------
    model : torch.nn.Module
        As trained, wrapped by PEFT or not. It stays as it is.

    Returns
    -------
    torch.nn.Module
        With a ``torch.nn.Linear`` in float32 in the place of each leaf module that has ``in_features`` and
        ``out_features`` and no plain weight of real numbers, as those of bitsandbytes and torchao. Nothing is shared
        with the model. A copy of a model without such layers is a plain copy. PEFT saves its adapters, and cannot merge
        them: its own parts around a quantised layer expect codes there.

    Raises
    ------
    ValueError
        For a layer that does not compute a product with a weight, as one that rounds its inputs to eight bits does,
        by name; for a model that torch cannot copy, as those of HQQ.

    Notes
    -----
    The weight is read off the layer itself, which is given the rows of the identity, because how codes are packed
    differs between versions and devices. Two more inputs show whether it is all that the layer does. They are numbers
    of half precision; in one an entry is 256 times the others, which inputs rounded to eight bits lose.
    """
    as_model(model)
    plain = {id(layer): _plain(layer, path) for path, layer in model.named_modules() if _is_quantised(layer)}
    try:
        # What is known by its identity is not copied: plain layers take the places of the others, wherever these occur.
        return copy.deepcopy(model, plain)
    except RuntimeError as error:
        raise ValueError(f"model: cannot be copied: {error}") from error


def _is_quantised(layer: Any) -> bool:
    """Return whether a module is a linear layer whose weight, if it has one, is no tensor of real numbers."""
    torch = require_torch()
    sizes = [getattr(layer, name, None) for name in ("in_features", "out_features")]
    if next(layer.children(), None) is not None or not all(isinstance(size, int) for size in sizes):
        return False
    weight = getattr(layer, "weight", None)
    plain = isinstance(weight, torch.Tensor) and type(weight.data) is torch.Tensor and weight.is_floating_point()
    return not plain


def _plain(layer: Any, path: str) -> Any:
    """Return the linear layer that computes what a quantised one does, up to its rounding."""
    torch = require_torch()
    # bitsandbytes packs the codes anew where a layer is evaluated on some processors, and cannot train it after that.
    layer = copy.deepcopy(layer)
    # In half precision a large bias would leave little of what a product says beside it.
    bias, layer.bias = getattr(layer, "bias", None), None
    n, m = layer.in_features, layer.out_features
    device = next((part.device for part in (*layer.parameters(), *layer.buffers())), None)
    where = f"model: {path or 'the model'} ({type(layer).__name__})"

    def computed(x: Any) -> Any:
        try:
            y = layer(x.to(device))
        except Exception as error:
            raise ValueError(f"{where} cannot be asked for its weight: {type(error).__name__}: {error}") from error
        if tuple(y.shape) != (len(x), m):
            raise ValueError(f"{where}: expected outputs of shape {(len(x), m)}, got {tuple(y.shape)}")
        return y.detach().to(torch.float32)

    made = torch.nn.Linear(n, m, bias is not None, device=device, dtype=torch.float32)
    with torch.no_grad():
        constant = float(computed(torch.zeros(1, n)).abs().max())
        if not constant == 0.0:
            raise ValueError(f"{where} is no product with a weight: it answers 0 with up to {constant:.2g}")
        for first in range(0, n, CHUNK):
            rows = torch.eye(min(CHUNK, n - first), n)
            made.weight[:, first : first + CHUNK] = computed(rows.roll(first, 1)).T
        x = _inputs(n)
        expected, found = x.to(device) @ made.weight.T, computed(x)
        off, size = (found - expected).norm(dim=1), expected.norm(dim=1)
        if not bool((off <= ROUNDED * size).all()):
            raise ValueError(
                f"{where} is no product with a weight: on two inputs it is {float((off / size).max()):.2g} off what "
                "its own answers to the identity say, as layers are that round their inputs too"
            )
        if bias is not None:
            made.bias.copy_(bias)
    made.train(layer.training).requires_grad_(False)
    return made


def _inputs(n: int) -> Any:
    """Return two rows of numbers that half precision holds: of one size, and small ones beside a large one."""
    torch = require_torch()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((2, n))).to(torch.bfloat16).to(torch.float32)
    x[1] = torch.from_numpy(rng.choice([-1.0, 1.0], n)) * 2.0**-8
    x[1, rng.integers(n)] = 1.0
    return x
