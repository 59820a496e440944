"""Weights that bitsandbytes stores as codes (QLoRA), as the numbers that these stand for.

Beside the codes of a weight ``name`` lies what they mean. In four bits: ``name.absmax``, the largest size in each block
of entries, ``name.quant_map``, a table of 16 numbers, and ``name.quant_state.bitsandbytes__KIND``, a JSON text with the
shape; with double quantisation ``absmax`` is stored as codes of eight bits itself. In eight bits: ``SCB``, the largest
size in each row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .._support.validate import Array
from .folder import UnreadableError, parse_object, printable
from .safetensors import ROUNDOFF, TensorFile

_STATE_LIMIT = 2**16
_ROW = "SCB"
# bitsandbytes rounds entries over the largest of their row to multiples of this.
_STEP = np.float32(1.0 / 127.0)


@dataclass(frozen=True)
class Coded:
    """A weight stored as codes.

    Attributes
    ----------
    shape : tuple of int
        (outputs, inputs).
    numbers : callable
        Returns the numbers, float32.
    """

    shape: tuple[int, ...]
    numbers: Callable[[], Array]


def coded(files: Mapping[str, TensorFile], name: str) -> Coded | None:
    """Return the weight of a name if bitsandbytes has stored it as codes, None if not.

    Parameters
    ----------
    files : mapping
        The file that each tensor lies in.
    name : str
        Name of the codes.

    Raises
    ------
    UnreadableError
        If what lies beside the codes does not fit them.
    """
    kind = files[name].tensors[name].dtype
    state = next((other for other in files if other.startswith(f"{name}.quant_state.bitsandbytes__")), None)
    if kind == "U8" and state is not None:
        return _in_four_bits(files, name, state)
    if kind == "I8" and _beside(name) in files:
        return _in_eight_bits(files, name)
    return None


def _beside(name: str) -> str:
    return name.removesuffix("weight") + _ROW


def _in_eight_bits(files: Mapping[str, TensorFile], name: str) -> Coded:
    shape = files[name].tensors[name].shape
    _check(files, _beside(name), shape[0] if shape else 0)
    return Coded(shape, lambda: _read(files, name) * (_STEP * _read(files, _beside(name)))[:, None])


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
    _check(files, name, -(-size // 2), codes=True)
    _check(files, f"{name}.quant_map", 16)
    nested = f"{name}.nested_absmax" in files
    _check(files, f"{name}.absmax", blocks, codes=nested)
    largest = _nested(files, name, what, blocks) if nested else lambda: _read(files, f"{name}.absmax")

    def numbers() -> Array:
        table = _read(files, f"{name}.quant_map")
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
    _check(files, f"{name}.nested_quant_map", 256)
    _check(files, f"{name}.nested_absmax", -(-blocks // block))

    def largest() -> Array:
        shares = _read(files, f"{name}.nested_quant_map")[files[f"{name}.absmax"].stored(f"{name}.absmax").data]
        return shares * _spread(_read(files, f"{name}.nested_absmax"), block, blocks) + np.float32(offset)

    return largest


def _spread(sizes: Array, block: int, size: int) -> Array:
    """Return the number of its block for each of so many entries."""
    return np.repeat(sizes, min(block, size))[:size]


def _block(what: dict[str, object], key: str) -> int:
    size = what.get(key)
    if type(size) is not int or size < 1:
        raise UnreadableError(f"the base weight is quantized, in blocks of {key} = {printable(size)}")
    return size


def _check(files: Mapping[str, TensorFile], name: str, size: int, *, codes: bool = False) -> None:
    """Refuse a tensor that is not there or not so many codes, or numbers."""
    info = files[name].tensors[name] if name in files else None
    if info is None or info.size != size or (info.dtype != "U8" if codes else info.dtype not in ROUNDOFF):
        found = "is missing" if info is None else f"has {info.size} entries of {info.dtype}"
        kind = "codes of U8" if codes else "floats"
        raise UnreadableError(f"the base weight is quantized, and {printable(name)} {found}; expected {size} {kind}")


def _read(files: Mapping[str, TensorFile], name: str) -> Array:
    return files[name].read(name, np.float32)
