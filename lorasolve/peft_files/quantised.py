"""Frozen weights that are stored as codes (QLoRA), as the numbers that these stand for.

Beside the codes that bitsandbytes makes of a weight ``name`` lies what they mean. In four bits: ``name.absmax``, the
largest size in each block of entries, ``name.quant_map``, a table of 16 numbers, and
``name.quant_state.bitsandbytes__KIND``, a JSON text with the shape; with double quantisation ``absmax`` is stored as
codes of eight bits itself. In eight bits: ``SCB``, the largest size in each row. ``packed``, ``scaled`` and
``four_bits`` have the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .._support.validate import Array
from .codes import Coded, Settings, beside, check, numbers_of
from .folder import UnreadableError, parse_object, printable
from .four_bits import is_in_pairs, of_pairs
from .packed import by_columns, of_compressed, of_mlx
from .safetensors import TensorFile
from .scaled import NUMBERS, of_scaled, scales_of

# By what name a module's weight or its codes are stored.
NAMES = ("weight", "qweight", "weight_packed")
_STATE_LIMIT = 2**16
_ROW = "SCB"
# bitsandbytes rounds entries over the largest of their row to multiples of this.
_STEP = np.float32(1.0 / 127.0)


def coded(
    files: Mapping[str, TensorFile], name: str, shape: tuple[int, int], settings: Settings = dict
) -> Coded | None:
    """Return the weight of a name if it is stored as codes that are known, None if not.

    Parameters
    ----------
    files : mapping
        The file that each tensor lies in.
    name : str
        Name of the codes.
    shape : tuple of int
        Of the weight, or of its transpose.
    settings : callable
        Returns what the configuration of the model says of the codes; GPTQ, AWQ and ModelOpt ask, and scales
        of blocks.

    Raises
    ------
    UnreadableError
        If what lies beside the codes does not fit them.
    """
    kind = files[name].tensors[name].dtype
    if kind == "I32" and name.endswith("qweight"):
        return by_columns(files, name, shape, settings)
    if kind == "I32" and name.endswith("weight_packed"):
        return of_compressed(files, name, shape)
    state = next((other for other in files if other.startswith(f"{name}.quant_state.bitsandbytes__")), None)
    if kind == "U8" and state is not None:
        return _in_four_bits(files, name, state)
    if kind == "U8" and is_in_pairs(files, name):
        return of_pairs(files, name, settings)
    if kind == "I8" and beside(name, "weight", _ROW) in files:
        return _in_eight_bits(files, name)
    if kind == "U32" and all(beside(name, "weight", part) in files for part in ("scales", "biases")):
        return of_mlx(files, name, shape)
    scales = scales_of(files, name) if kind in NUMBERS else None
    return None if scales is None else of_scaled(files, name, scales, settings)


def _in_eight_bits(files: Mapping[str, TensorFile], name: str) -> Coded:
    shape = files[name].tensors[name].shape
    if len(shape) != 2:
        raise UnreadableError(f"the base weight is quantized, of the shape {shape}")
    largest = beside(name, "weight", _ROW)
    check(files, largest, shape[0])
    return Coded(shape, lambda: numbers_of(files, name) * (_STEP * numbers_of(files, largest))[:, None])


def _in_four_bits(files: Mapping[str, TensorFile], name: str, state: str) -> Coded:
    if files[state].tensors[state].size > _STATE_LIMIT:
        raise UnreadableError(f"the base weight is quantized, and {printable(state)} is too large")
    what = parse_object(files[state].stored(state).data.tobytes(), printable(state))
    shape = what.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(side) is int and side > 0 for side in shape):
        raise UnreadableError(f"the base weight is quantized, of the shape {printable(shape)}")
    size = math.prod(shape)
    block = _block(what, "blocksize")
    blocks = -(-size // block)
    check(files, name, -(-size // 2), "U8")
    check(files, f"{name}.quant_map", 16)
    nested = f"{name}.nested_absmax" in files
    check(files, f"{name}.absmax", blocks, "U8" if nested else "floats")
    largest = _nested(files, name, what, blocks) if nested else lambda: numbers_of(files, f"{name}.absmax")

    def numbers() -> Array:
        table = numbers_of(files, f"{name}.quant_map")
        # Two numbers a byte, the upper four bits first.
        pairs = np.stack([np.repeat(table, 16), np.tile(table, 16)], axis=1)
        found = pairs[files[name].stored(name).data].reshape(-1)[:size]
        found *= _spread(largest(), block, size)
        return found.reshape(shape)

    return Coded(tuple(shape), numbers)


def _nested(files: Mapping[str, TensorFile], name: str, what: dict[str, object], blocks: int) -> Callable[[], Array]:
    """Return what reads the largest size of each block, stored as codes of eight bits."""
    block, offset = _block(what, "nested_blocksize"), what.get("nested_offset")
    if not isinstance(offset, float):
        raise UnreadableError(f"the base weight is quantized, with nested_offset = {printable(offset)}")
    check(files, f"{name}.nested_quant_map", 256)
    check(files, f"{name}.nested_absmax", -(-blocks // block))

    def largest() -> Array:
        shares = numbers_of(files, f"{name}.nested_quant_map")[files[f"{name}.absmax"].stored(f"{name}.absmax").data]
        return shares * _spread(numbers_of(files, f"{name}.nested_absmax"), block, blocks) + np.float32(offset)

    return largest


def _spread(sizes: Array, block: int, size: int) -> Array:
    """Return the number of its block for each of so many entries."""
    return np.repeat(sizes, min(block, size))[:size]


def _block(what: dict[str, object], key: str) -> int:
    size = what.get(key)
    if type(size) is not int or size < 1:
        raise UnreadableError(f"the base weight is quantized, in blocks of {key} = {printable(size)}")
    return size
