"""Weights that bitsandbytes and MLX store as codes (QLoRA), as the numbers that these stand for.

Beside the codes of a weight ``name`` lies what they mean. Of bitsandbytes in four bits: ``name.absmax``, the largest
size in each block of entries, ``name.quant_map``, a table of 16 numbers, and ``name.quant_state.bitsandbytes__KIND``, a
JSON text with the shape; with double quantisation ``absmax`` is stored as codes of eight bits itself. In eight bits:
``SCB``, the largest size in each row. Of MLX: ``scales`` and ``biases``, by which the codes of each group in a row are
multiplied and moved; how many bits a code has, the number of inputs tells.
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
_SCALES, _BIASES = "scales", "biases"
# How many bits of a word codes of MLX may have; of 3, 5 and 6 bits they go on from one word to the next.
_BITS = (2, 4, 8)
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


def coded(files: Mapping[str, TensorFile], name: str, shape: tuple[int, int]) -> Coded | None:
    """Return the weight of a name if bitsandbytes or MLX has stored it as codes, None if not.

    Parameters
    ----------
    files : mapping
        The file that each tensor lies in.
    name : str
        Name of the codes.
    shape : tuple of int
        Of the weight, or of its transpose.

    Raises
    ------
    UnreadableError
        If what lies beside the codes does not fit them.
    """
    kind = files[name].tensors[name].dtype
    state = next((other for other in files if other.startswith(f"{name}.quant_state.bitsandbytes__")), None)
    if kind == "U8" and state is not None:
        return _in_four_bits(files, name, state)
    if kind == "I8" and _beside(name, _ROW) in files:
        return _in_eight_bits(files, name)
    if kind == "U32" and all(_beside(name, part) in files for part in (_SCALES, _BIASES)):
        return _of_mlx(files, name, shape)
    return None


def _beside(name: str, part: str) -> str:
    return name.removesuffix("weight") + part


def _of_mlx(files: Mapping[str, TensorFile], name: str, shape: tuple[int, int]) -> Coded:
    m, *words = files[name].tensors[name].shape or (0,)
    n = shape[1] if m == shape[0] else shape[0]
    bits = next((bits for bits in _BITS if words == [n * bits // 32] and n * bits % 32 == 0), None)
    if bits is None or m not in shape:
        raise UnreadableError(
            f"the base weight is quantized, in {(m, *words)} words of 32 bits for a weight of {shape}"
        )
    scales, biases = _beside(name, _SCALES), _beside(name, _BIASES)
    groups = files[scales].tensors[scales].size // m
    if groups == 0 or n % groups:
        raise UnreadableError(f"the base weight is quantized, in {groups} groups of {n} inputs")
    _check(files, scales, m * groups)
    _check(files, biases, m * groups)

    def numbers() -> Array:
        first = np.arange(0, 32, bits, dtype=np.uint32)
        codes = files[name].stored(name).decoded()[:, :, None] >> first & np.uint32(2**bits - 1)
        found = codes.reshape(m, groups, -1).astype(np.float32)
        found *= _read(files, scales).reshape(m, groups, 1)
        found += _read(files, biases).reshape(m, groups, 1)
        return found.reshape(m, n)

    return Coded((m, n), numbers)


def _in_eight_bits(files: Mapping[str, TensorFile], name: str) -> Coded:
    shape = files[name].tensors[name].shape
    if len(shape) != 2:
        raise UnreadableError(f"the base weight is quantized, of the shape {shape}")
    largest = _beside(name, _ROW)
    _check(files, largest, shape[0])
    return Coded(shape, lambda: _read(files, name) * (_STEP * _read(files, largest))[:, None])


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
