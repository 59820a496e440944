"""Weights whose codes are packed into words of 32 bits: by MLX, GPTQ, AWQ and compressed-tensors.

Beside the codes of a module lies what they mean, one pair of numbers for each group of inputs. Of MLX, ``scales`` and
``biases``: a number is ``scale code + bias``. Of the others ``scale (code - zero)``: GPTQ packs ``qweight`` along the
inputs and ``qzeros`` along the outputs, ``g_idx`` says which group an input belongs to, and the first version of its
format stores zeros less 1; AWQ packs both along the outputs, eight in an order of their own; compressed-tensors packs
``weight_packed`` along the inputs, and where the codes are not symmetric ``weight_zero_point`` along the outputs. How
many bits a code has, the numbers of inputs and words tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .._support.validate import Array
from .codes import WORD, Coded, Settings, beside, check, numbers_of, unpacked, words_for, words_of
from .folder import UnreadableError, printable
from .safetensors import TensorFile

_QWEIGHT, _PACKED = "qweight", "weight_packed"
_MLX_BITS, _GPTQ_BITS = (2, 3, 4, 5, 6, 8), (2, 3, 4, 8)
# By what name configurations tell the format, the one that decides first: the last is AWQ's.
_FORMATS = ("checkpoint_format", "format", "version")
# What is taken off zeros as each version of GPTQ's format stores them.
_LESS = {"gptq": 1, "gptq_v2": 0}
# The bits that codes of AWQ have, and where in a word each of eight outputs lies.
_AWQ_BITS = 4
_AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]
# Of other bits versions of compressed-tensors pack codes differently.
_SAME_IN_ALL_VERSIONS = (2, 4, 8)


def of_mlx(files: Mapping[str, TensorFile], name: str, shape: tuple[int, int]) -> Coded:
    """Return a weight of MLX, of a shape or its transpose."""
    m, *words = files[name].tensors[name].shape or (0,)
    n = shape[1] if m == shape[0] else shape[0]
    bits = next((bits for bits in _MLX_BITS if words == [n * bits // WORD] and n * bits % WORD == 0), None)
    if bits is None or m not in shape:
        raise UnreadableError(
            f"the base weight is quantized, in {(m, *words)} words of 32 bits for a weight of {shape}"
        )
    scales, biases = beside(name, "weight", "scales"), beside(name, "weight", "biases")
    groups = files[scales].tensors[scales].size // m
    if groups == 0 or n % groups:
        raise UnreadableError(f"the base weight is quantized, in {groups} groups of {n} inputs")
    check(files, scales, m * groups)
    check(files, biases, m * groups)

    def numbers() -> Array:
        found = unpacked(words_of(files, name), bits, n).reshape(m, groups, -1).astype(np.float32)
        found *= numbers_of(files, scales).reshape(m, groups, 1)
        found += numbers_of(files, biases).reshape(m, groups, 1)
        return found.reshape(m, n)

    return Coded((m, n), numbers)


def by_columns(files: Mapping[str, TensorFile], name: str, shape: tuple[int, int], settings: Settings) -> Coded:
    """Return a weight of GPTQ or AWQ, whose codes of an output stand in a column; their shapes tell which it is."""
    m, n = shape
    rows, *columns = files[name].tensors[name].shape or (0,)
    bits = next((bits for bits in _GPTQ_BITS if [WORD * rows, *columns] == [n * bits, m]), None)
    if [rows, *columns] == [n, words_for(m, _AWQ_BITS)]:
        return _of_awq(files, name, shape, settings)
    if bits is None:
        raise UnreadableError(
            f"the base weight is quantized, in {(rows, *columns)} words of 32 bits for a weight of {shape}"
        )
    return _of_gptq(files, name, shape, bits, settings)


def _of_gptq(
    files: Mapping[str, TensorFile], name: str, shape: tuple[int, int], bits: int, settings: Settings
) -> Coded:
    m, n = shape
    less = _LESS[_format(settings(), "gptq", list(_LESS))]
    scales, zeros, order = (beside(name, _QWEIGHT, part) for part in ("scales", "qzeros", "g_idx"))
    groups = _groups(files, scales, (None, m))
    check(files, zeros, groups * words_for(m, bits), "I32")
    if order in files:
        check(files, order, n, "I32")

    def numbers() -> Array:
        zero = unpacked(words_of(files, zeros).reshape(groups, -1), bits, m)
        if less and (zero == 2**bits - 1).any():
            raise UnreadableError(
                f"the base weight is quantized, with zero points of {2**bits} in {bits} bits, of which programs make "
                "different numbers (version 2 of the format stores them otherwise)"
            )
        group = _group_of(files, order, n, groups)
        found = unpacked(words_of(files, name).reshape(-1, m).T, bits, n).astype(np.float32)
        found -= (zero.T.astype(np.float32) + less)[:, group]
        found *= numbers_of(files, scales).reshape(groups, m).T[:, group]
        return found

    return Coded((m, n), numbers)


def _format(settings: Mapping[str, object], method: str, known: Sequence[str]) -> str:
    """Return the format that the configuration of a model names, the first that is known where it names none."""
    rules = settings.get("dynamic")
    own = rules.values() if isinstance(rules, Mapping) else ()
    if any(isinstance(rule, Mapping) and not rule.keys().isdisjoint(_FORMATS) for rule in own):
        raise UnreadableError("the base weight is quantized, in formats that differ from module to module")
    stated = settings.get("quant_method", method)
    found = next((settings[key] for key in _FORMATS if key in settings), known[0])
    if stated != method or str(found).lower() not in known:
        raise UnreadableError(
            f"the base weight is quantized by {printable(stated, 40)} in the format {printable(found, 40)}; codes of "
            f"this shape are read where they are of {method} in the format {' or '.join(known)}"
        )
    return str(found).lower()


def _of_awq(files: Mapping[str, TensorFile], name: str, shape: tuple[int, int], settings: Settings) -> Coded:
    m, n = shape
    scales, zeros = (beside(name, _QWEIGHT, part) for part in ("scales", "qzeros"))
    _format(settings(), "awq", ["gemm"])
    if m % len(_AWQ_PLACES):
        raise UnreadableError(f"the base weight is quantized, and its {m} outputs fill no words of AWQ")
    groups, words = _groups(files, scales, (None, m)), words_for(m, _AWQ_BITS)
    check(files, zeros, groups * words, "I32")

    def codes(part: str, rows: int) -> Array:
        there = unpacked(words_of(files, part).reshape(rows, words), _AWQ_BITS, m)
        return there.reshape(rows, words, -1)[:, :, _AWQ_PLACES].reshape(rows, m).astype(np.float32)

    def numbers() -> Array:
        group = _group_of(files, None, n, groups)
        found = codes(name, n)
        found -= codes(zeros, groups)[group]
        found *= numbers_of(files, scales).reshape(groups, m)[group]
        return found.T

    return Coded((m, n), numbers)


def of_compressed(files: Mapping[str, TensorFile], name: str, shape: tuple[int, int]) -> Coded:
    """Return a weight of compressed-tensors."""
    m, n = shape
    rows, *words = files[name].tensors[name].shape or (0,)
    # Of a few inputs codes of several sizes fill as many words.
    fitting = [bits for bits in _SAME_IN_ALL_VERSIONS if words == [words_for(n, bits)]]
    if len(fitting) != 1 or rows != m:
        raise UnreadableError(
            f"the base weight is quantized, in {(rows, *words)} words of 32 bits for a weight of {shape}"
        )
    (bits,) = fitting
    scales, zeros, order = (beside(name, _PACKED, f"weight_{part}") for part in ("scale", "zero_point", "g_idx"))
    if scales in files and files[scales].tensors[scales].shape == (1,):
        groups = 1
        check(files, scales, 1)
    else:
        groups = _groups(files, scales, (m, None))
    packed = zeros in files and files[zeros].tensors[zeros].dtype == "I32"
    if zeros in files:
        check(files, zeros, groups * (words_for(m, bits) if packed else m), "I32" if packed else "I8")
    if order in files:
        check(files, order, n, "I32")

    def zero() -> Array:
        middle = np.full((1, 1), 2.0 ** (bits - 1), np.float32)
        if zeros not in files:
            return middle
        if packed:
            there = words_of(files, zeros).reshape(-1, groups).T
            return unpacked(there, bits, m).T.astype(np.float32)
        return numbers_of(files, zeros).reshape(m, groups) + middle

    def numbers() -> Array:
        group = _group_of(files, order, n, groups)
        found = unpacked(words_of(files, name), bits, n).astype(np.float32)
        found -= np.broadcast_to(zero(), (m, groups))[:, group]
        found *= np.broadcast_to(numbers_of(files, scales).reshape(-1, groups), (m, groups))[:, group]
        return found

    return Coded((m, n), numbers)


def _groups(files: Mapping[str, TensorFile], scales: str, expected: tuple[int | None, int | None]) -> int:
    """Return the axis of a tensor of scales whose length is not known, the number of groups."""
    m, axis = max(each or 0 for each in expected), expected.index(None)
    shape = files[scales].tensors[scales].shape if scales in files else ()
    groups = shape[axis] if len(shape) == 2 else 0
    if shape != tuple(groups if length is None else length for length in expected) or not groups:
        words = ", ".join("groups" if length is None else str(length) for length in expected)
        found = f"has the shape {shape}" if scales in files else "is missing"
        raise UnreadableError(f"the base weight is quantized, and {printable(scales)} {found}; expected ({words})")
    check(files, scales, groups * m)
    return groups


def _group_of(files: Mapping[str, TensorFile], order: str | None, n: int, groups: int) -> Array:
    """Return the group of each input: as is stored, or one after the other."""
    found = files[order].stored(order).decoded().reshape(n) if order is not None and order in files else None
    # Of which no group is known, compressed-tensors stores -1.
    if found is None or (found == -1).all():
        if n % groups:
            raise UnreadableError(f"the base weight is quantized, in {groups} groups of {n} inputs")
        return np.arange(n) // (n // groups)
    if not ((found >= 0) & (found < groups)).all():
        raise UnreadableError(f"the base weight is quantized, and {printable(order)} names others than {groups} groups")
    return found
