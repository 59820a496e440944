"""Codes of a few bits in a file, and the tensors beside them that say what numbers they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .._support.validate import Array
from .folder import UnreadableError, printable
from .safetensors import ROUNDOFF, TensorFile

# Returns what the configuration of a model says of its codes.
Settings = Callable[[], Mapping[str, object]]
# Bits of the words into which codes are packed.
WORD = 32
# What codes of four bits stand for as floats (E2M1): a sign, two bits of an exponent less 1, and one after the point.
_HALF = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
_E2M1 = np.array([*_HALF, *(-number for number in _HALF)], np.float32)


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


def beside(name: str, codes: str, part: str) -> str:
    """Return the name of what lies beside the codes of a weight: another last word."""
    return name.removesuffix(codes) + part


def check(files: Mapping[str, TensorFile], name: str, size: int, dtype: str = "floats") -> None:
    """Refuse a tensor that is not there, or not so many codes of a dtype, or numbers."""
    info = files[name].tensors[name] if name in files else None
    kinds = ROUNDOFF if dtype == "floats" else (dtype,)
    if info is None or info.size != size or info.dtype not in kinds:
        found = "is missing" if info is None else f"has {info.size} entries of {info.dtype}"
        kind = dtype if dtype == "floats" else f"codes of {dtype}"
        raise UnreadableError(f"the base weight is quantized, and {printable(name)} {found}; expected {size} {kind}")


def numbers_of(files: Mapping[str, TensorFile], name: str) -> Array:
    """Return a tensor as float32."""
    return files[name].read(name, np.float32)


def powers(exponents: Array) -> Array:
    """Return the numbers of bytes that are exponents alone (E8M0): ``2^(e - 127)``, and no number for 255."""
    found = np.ldexp(1.0, exponents.astype(np.int32) - 127)
    found[exponents == 255] = np.nan
    return found.astype(np.float32)


def e2m1(codes: Array) -> Array:
    """Return the floats of four bits in bytes, two each along another last axis, that of the lower bits first."""
    return _E2M1[np.stack([codes & 15, codes >> 4], axis=-1)]


def words_of(files: Mapping[str, TensorFile], name: str) -> Array:
    """Return the words of 32 bits of a tensor, in its shape."""
    return files[name].stored(name).decoded().view(np.uint32)


def words_for(n: int, bits: int) -> int:
    """Return how many words hold ``n`` codes."""
    return -(-n * bits // WORD)


def unpacked(words: Array, bits: int, n: int) -> Array:
    """Return the ``n`` codes in each row of words, which follow each other from the lowest bit of the first word on.

    Of bits that do not divide 32 some go on from one word to the next.
    """
    found = np.empty((len(words), n), np.uint8)
    for k in range(min(WORD, n)):
        word, first = divmod(k * bits, WORD)
        there = found[:, k::WORD]
        count = there.shape[1]
        part = words[:, word::bits][:, :count] >> np.uint32(first)
        if first + bits > WORD:
            part |= words[:, word + 1 :: bits][:, :count] << np.uint32(WORD - first)
        there[...] = part & np.uint32(2**bits - 1)
    return found
