"""Weights of eight bits, each a number by itself, with scales beside them: FP8 checkpoints, and W8A8 of integers.

Beside ``weight`` lies ``weight_scale_inv`` (DeepSeek, and transformers' fine-grained FP8; for all its name a factor
too) or ``weight_scale`` (compressed-tensors, FBGEMM, ModelOpt). There is one scale for all entries, or a grid of one
for each block. How large blocks are, the grid tells only where it is as long as the weight, or 1: 8 blocks of 1000
inputs may be of 125, or of 128 with a last one that is not full. Else the configuration does. A scale of one byte is
an exponent (E8M0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .._support.validate import Array
from .codes import Coded, Settings, beside, check, numbers_of, powers
from .folder import UnreadableError, printable
from .safetensors import TensorFile

NUMBERS = ("F8_E4M3", "F8_E5M2", "I8")
_SCALES = ("weight_scale", "weight_scale_inv")
_EXPONENTS = ("F8_E8M0", "U8")


def scales_of(files: Mapping[str, TensorFile], name: str) -> str | None:
    """Return what a weight is to be multiplied with, where that is one tensor of a known name."""
    first = beside(name, "weight", "weight_")
    there = [other.removeprefix(first) for other in files if other.startswith(first) and "scale" in other]
    found = f"weight_{there[0]}" if len(there) == 1 else ""
    # Integers of DeepSeek's are two numbers of four bits each.
    known = found == _SCALES[0] if files[name].tensors[name].dtype == "I8" else found in _SCALES
    return beside(name, "weight", found) if known else None


def of_scaled(files: Mapping[str, TensorFile], name: str, scales: str, settings: Settings) -> Coded:
    """Return a weight whose scales have a name."""
    shape, grid = files[name].tensors[name].shape, files[scales].tensors[scales].shape
    if len(shape) != 2 or 0 in shape:
        raise UnreadableError(f"the base weight is quantized, of the shape {shape}")
    m, n = shape
    if grid in ((), (1,)):
        grid = (1, 1)
    rows, columns = _block(grid, (m, n), settings)
    size = grid[0] * grid[1]
    if files[scales].tensors[scales].dtype not in _EXPONENTS:
        check(files, scales, size)
    zeros = beside(name, "weight", "weight_zero_point")
    if zeros in files:
        check(files, zeros, size, files[name].tensors[name].dtype)

    def spread(values: Array) -> Array:
        along = np.repeat(values.reshape(grid), columns, axis=1)[:, :n] if grid[1] > 1 else values.reshape(grid)
        return np.repeat(along, rows, axis=0)[:m] if grid[0] > 1 else along

    def numbers() -> Array:
        found = numbers_of(files, name)
        if zeros in files:
            found = found - spread(numbers_of(files, zeros))
        return found * spread(_numbers_of_scales(files, scales))

    return Coded((m, n), numbers)


def _numbers_of_scales(files: Mapping[str, TensorFile], scales: str) -> Array:
    if files[scales].tensors[scales].dtype not in _EXPONENTS:
        return numbers_of(files, scales)
    return powers(files[scales].stored(scales).data)


def _block(grid: tuple[int, ...], shape: tuple[int, int], settings: Settings) -> tuple[int, int]:
    """Return how many rows and columns have a scale in common."""
    if len(grid) != 2:
        raise UnreadableError(f"the base weight is quantized, with scales of the shape {grid} for one of {shape}")
    if all(number in (1, side) for number, side in zip(grid, shape)):
        return shape[0] // grid[0], shape[1] // grid[1]
    stated = settings()
    blocks = sorted(set(_stated(stated)))
    fitting = [
        block for block in blocks if all(-(-side // size) == count for side, size, count in zip(shape, block, grid))
    ]
    if len(fitting) != 1:
        found = " or ".join(f"{rows} x {columns}" for rows, columns in blocks) or "unknown size"
        raise UnreadableError(
            f"the base weight is quantized, with scales of the shape {grid} for one of {shape}, and the configuration "
            f"says blocks of {printable(found, 60)}"
        )
    return fitting[0]


def _stated(settings: Mapping[str, object]) -> Iterator[tuple[int, int]]:
    """Yield the sizes of blocks in a configuration: of transformers one, of compressed-tensors one for each group."""
    groups = settings.get("config_groups")
    said = [settings.get("weight_block_size")]
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            said += [weights.get("block_structure"), [1, weights.get("group_size")]]
    for block in said:
        if isinstance(block, list) and len(block) == 2 and all(type(size) is int and size > 0 for size in block):
            yield block[0], block[1]
