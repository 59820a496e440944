"""Frozen weights of experts, which checkpoints stack in one tensor: of numbers, or of codes in MXFP4 (gpt-oss).

PEFT names the factors by the module that holds the tensor and not by the tensor itself; its shape tells which is meant.
Of numbers (experts, rows, columns) nothing says whether rows are outputs. In MXFP4 there are, of a tensor ``name``,
``name_blocks`` (experts, outputs, blocks, 16), two codes of four bits a byte, the lower bits first, and ``name_scales``
(experts, outputs, blocks), the exponent that each block of 32 numbers has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .._support.validate import Array
from .codes import Coded, e2m1, powers
from .folder import UnreadableError, printable
from .safetensors import ROUNDOFF, TensorFile

_BLOCKS, _SCALES = "_blocks", "_scales"
_BYTES = 16


def of_expert(
    files: Mapping[str, TensorFile], names: Collection[str], shape: tuple[int, int], expert: int
) -> tuple[Coded, bool]:
    """Return an expert's part of the one tensor that fits it, and whether its rows are known to be outputs.

    Parameters
    ----------
    files : mapping
        The file that each tensor lies in.
    names : collection of str
        The tensors of the module.
    shape : tuple of int
        Of the expert's update.
    expert : int
        Its number.

    Raises
    ------
    UnreadableError
        If none fits, or several do.
    """
    fitting = [name for name in names if _shape(files, name, expert) in (shape, shape[::-1])]
    if len(fitting) != 1:
        found = ", ".join(printable(name) for name in sorted(fitting)) or "none"
        raise UnreadableError(f"no base weight of this name that has experts of {shape}, one tensor of all: {found}")
    (name,) = fitting
    if name.endswith(_BLOCKS):
        return _in_mxfp4(files, name, expert), True
    scales = [other for other in names if other.startswith(f"{name}_") and "scale" in other]
    if scales:
        last = printable(scales[0].rpartition(".")[2], 40)
        raise UnreadableError(f"the base weight is quantized: times its {last}")
    rows, columns = files[name].tensors[name].shape[1:]

    def numbers() -> Array:
        return files[name].part(name, expert).decoded().astype(np.float32)

    return Coded((rows, columns), numbers), False


def _shape(files: Mapping[str, TensorFile], name: str, expert: int) -> tuple[int, ...]:
    """Return the shape of an expert's weight in a tensor; empty where it holds none."""
    info = files[name].tensors[name]
    if not info.shape or expert >= info.shape[0]:
        return ()
    if name.endswith(_BLOCKS) and info.dtype == "U8" and len(info.shape) == 4 and info.shape[3] == _BYTES:
        return info.shape[1], info.shape[2] * 2 * _BYTES
    return info.shape[1:] if len(info.shape) == 3 and info.dtype in ROUNDOFF else ()


def _in_mxfp4(files: Mapping[str, TensorFile], name: str, expert: int) -> Coded:
    shape = files[name].tensors[name].shape
    scales = name.removesuffix(_BLOCKS) + _SCALES
    info = files[scales].tensors[scales] if scales in files else None
    if info is None or info.shape != shape[:3] or info.dtype != "U8":
        found = "is missing" if info is None else f"has the shape {info.shape} of {info.dtype}"
        raise UnreadableError(
            f"the base weight is quantized, and {printable(scales)} {found}; expected {shape[:3]} of U8"
        )

    def numbers() -> Array:
        codes = files[name].part(name, expert).decoded()
        found = e2m1(codes).reshape(*shape[1:3], 2 * _BYTES)
        found *= powers(files[scales].part(scales, expert).decoded())[:, :, None]
        return found.reshape(shape[1], -1)

    return Coded((shape[1], shape[2] * 2 * _BYTES), numbers)
