"""Reading and writing the safetensors format with NumPy alone.

A file is an 8-byte little-endian length, a JSON header of that length that names, for each tensor, a dtype, a shape
and two offsets, and the raw bytes. The header is the work of whoever made the file: its length is checked against the
file before it is read, and every shape and offset before any tensor is.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike

from .._support.files import PathLike, Write, write_atomically
from .._support.keywords import suggest
from .._support.validate import Array, as_array, as_choice, as_instance, as_path, as_text, shown
from .folder import UnreadableError, open_regular, parse_object, printable

# The format allows 100 MB; the header of an adapter with 70000 tensors is below this.
HEADER_LIMIT = 8 * 2**20
_DIMENSIONS = 8

# What the bytes of each dtype are read as; bfloat16 and the 8-bit floats are decoded from them.
_RAW = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "F8_E8M0": "u1",
    "C64": "<c8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
}

# Half the distance from 1 to the next larger number: what rounding to the dtype may change, relatively.
ROUNDOFF = {"F64": 2.0**-53, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8, "F8_E4M3": 2.0**-4, "F8_E5M2": 2.0**-3}

# Which commands read an archive of arrays, by its first one.
_READERS = {
    "header": "'lorasolve verdict' and 'lorasolve certify' read what 'lorasolve solve' saves",
    "kind": "'lorasolve predict' and 'lorasolve recommend' read what 'lorasolve complete' saves",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it lies in a file.

    Attributes
    ----------
    dtype : str
        Its name in the format, for example ``"BF16"``.
    shape : tuple of int
        Its shape.
    data : ndarray of uint8
        Its bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Array

    def decoded(self) -> Array:
        """Return the values: floating dtypes of at most 32 bits as they are or as float32, exactly."""
        raw = self.data.view(_RAW[self.dtype])
        if self.dtype == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        elif self.dtype in ("F8_E4M3", "F8_E5M2"):
            raw = _eight_bit_values(self.dtype)[raw]
        return raw.reshape(self.shape)


@dataclass(frozen=True)
class TensorInfo:
    """What the header says about a tensor, checked.

    Attributes
    ----------
    dtype : str
        Its name in the format.
    shape : tuple of int
        Its shape.
    start, stop : int
        Its bytes, counted from the end of the header.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


def _what_archive(file: IO[bytes]) -> str:
    """Say what a zip archive is, whose first 8 bytes have been read: its first name tells."""
    rest = file.read(22)
    name = file.read(int.from_bytes(rest[18:20], "little")).decode(errors="replace")
    if not name.endswith(".npy"):
        return (
            "is a zip archive, as torch.save writes: a pickle, which can run any code when it is opened, so it is not. "
            "Save it as safetensors where you trust it"
        )
    key = printable(name.removesuffix(".npy"))
    reader = _READERS.get(key, "'lorasolve certify' reads those that hold a point, X or A and B")
    return f"is an .npz archive of arrays, {key} first, and no adapter; {reader}"


class TensorFile:
    """A safetensors file whose header has been read and checked; tensors are read one at a time.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    UnreadableError
        If the file is truncated, is not in the format, or its header contradicts itself or the file.
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = pathlib.Path(as_path(path, "path"))
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            header = self._header(file, size)
        self._offset = 8 + len(header)
        document = parse_object(header, f"{self.path}: the header")
        metadata = document.pop("__metadata__", None)
        if metadata is None:  # as MLX writes
            metadata = {}
        if not isinstance(metadata, dict):
            raise UnreadableError(f"{self.path}: __metadata__ is not an object")
        self.metadata: dict[str, object] = metadata
        self.tensors = {name: self._info(name, entry) for name, entry in document.items()}
        self._check_cover(size - self._offset)

    def _header(self, file: IO[bytes], size: int) -> bytes:
        head = file.read(8)
        if len(head) < 8:
            raise UnreadableError(f"{self.path}: is {size} bytes long, shorter than any safetensors file")
        if head.startswith(b"PK\x03\x04"):
            raise UnreadableError(f"{self.path}: {_what_archive(file)}")
        (length,) = struct.unpack("<Q", head)
        if length > size - 8 and head.startswith((b"\x93NUMPY", b"{")):
            kind = "a JSON document" if head.startswith(b"{") else "an array of NumPy"
            raise UnreadableError(f"{self.path}: is {kind}, and no safetensors file")
        if length > size - 8:
            raise UnreadableError(
                f"{self.path}: announces a header of {length} bytes in a file of {size}: truncated, or not a "
                "safetensors file (a Git LFS pointer?)"
            )
        if length > HEADER_LIMIT:
            raise UnreadableError(
                f"{self.path}: has a header of {length} bytes; this reader accepts up to {HEADER_LIMIT}"
            )
        return file.read(length)

    def _info(self, name: str, entry: object) -> TensorInfo:
        where = f"{self.path}: tensor {printable(name)!r}"
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
            raise UnreadableError(f"{where}: expected dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _RAW:
            raise UnreadableError(f"{where}: dtype {printable(dtype)!r} is not supported; known: {', '.join(_RAW)}")
        if not _are_counts(shape) or len(shape) > _DIMENSIONS:
            raise UnreadableError(
                f"{where}: shape {printable(shape)} is not a list of at most {_DIMENSIONS} integers >= 0"
            )
        if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise UnreadableError(f"{where}: data_offsets {printable(offsets)} are not two increasing integers >= 0")
        needed = math.prod(shape) * np.dtype(_RAW[dtype]).itemsize
        if offsets[1] - offsets[0] != needed:
            raise UnreadableError(
                f"{where}: has {offsets[1] - offsets[0]} bytes, but shape {tuple(shape)} of {dtype} needs {needed}"
            )
        return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])

    def _check_cover(self, available: int) -> None:
        """Refuse tensors that overlap, leave holes, or do not end where the file does."""
        position, before = 0, "the header"
        for name, info in sorted(self.tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
            if info.start != position:
                kind = "overlaps" if info.start < position else "leaves a hole after"
                raise UnreadableError(f"{self.path}: tensor {printable(name)!r} {kind} {before}")
            position, before = info.stop, repr(printable(name))
        if position != available:
            raise UnreadableError(
                f"{self.path}: the tensors need {position} bytes and the file holds {available}: truncated or corrupt"
            )

    def stored(self, name: str) -> StoredTensor:
        """Return a tensor's bytes."""
        info = self._known(name)
        return StoredTensor(info.dtype, info.shape, self._bytes(info.start, info.stop))

    def part(self, name: str, k: int) -> StoredTensor:
        """Return the bytes of the ``k``-th part along a tensor's first axis, without reading the others."""
        info = self._known(name)
        size = (info.stop - info.start) // info.shape[0]
        start = info.start + k * size
        return StoredTensor(info.dtype, info.shape[1:], self._bytes(start, start + size))

    def _known(self, name: str) -> TensorInfo:
        if as_text(name, "name") not in self.tensors:
            raise ValueError(f"name: {self.path} holds no tensor {shown(name)}.{suggest(name, list(self.tensors))}")
        return self.tensors[name]

    def _bytes(self, start: int, stop: int) -> Array:
        with open_regular(self.path) as file:
            file.seek(self._offset + start)
            data = np.fromfile(file, np.uint8, stop - start)
        if data.size != stop - start:
            raise UnreadableError(f"{self.path}: became shorter while it was read")
        return data

    def read(self, name: str, dtype: DTypeLike = np.float64) -> Array:
        """Return a tensor's values in a floating dtype of NumPy; what it cannot hold becomes infinite."""
        with np.errstate(invalid="ignore", over="ignore"):  # a signalling NaN is a NaN
            return self.stored(name).decoded().astype(dtype, copy=False)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(entry) is int and 0 <= entry < 2**63 for entry in value)


def _eight_bit_values(dtype: str) -> Array:
    """Return the 256 values of an 8-bit float as float32: E4M3 without infinities, E5M2 as IEEE would have it."""
    code = np.arange(256)
    exponent_bits, mantissa_bits = (4, 3) if dtype == "F8_E4M3" else (5, 2)
    bias = 2 ** (exponent_bits - 1) - 1
    exponent, mantissa = (code & 127) >> mantissa_bits, code & (2**mantissa_bits - 1)
    fraction = mantissa / 2**mantissa_bits
    values = np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - bias))
    if dtype == "F8_E4M3":
        values[(code & 127) == 127] = np.nan
    else:
        values[exponent == 31] = np.where(mantissa[exponent == 31] == 0, np.inf, np.nan)
    return np.where(code & 128, -values, values).astype(np.float32)


def encoded(values: Array, dtype: str) -> StoredTensor:
    """Return values rounded to nearest in ``"F64"``, ``"F32"``, ``"F16"`` or ``"BF16"``."""
    as_choice(dtype, "dtype", ("F64", "F32", "F16", "BF16"))
    values = as_array(values, "values")
    if values.dtype.kind != "f":
        raise TypeError(f"values: expected floating-point numbers, got an array of dtype {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError("values: has non-finite entries")
    if dtype == "BF16":
        bits = _within(values, np.float32).view(np.uint32).astype(np.uint64)
        # Half of what is cut off, and one more where the last bit that stays is odd: ties go to even.
        raw = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    else:
        raw = _within(values, _RAW[dtype])
    return StoredTensor(dtype, values.shape, raw.reshape(-1).view(np.uint8))


def _within(values: Array, dtype: Any) -> Array:
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(values, dtype)
    if not np.isfinite(rounded).all():
        raise ValueError(f"values: has entries beyond the range of {np.dtype(dtype)}")
    return rounded


def write_tensors(path: PathLike, tensors: dict[str, StoredTensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    path = as_path(path, "path")
    for name, tensor in as_instance(tensors, "tensors", dict).items():
        as_instance(tensor, f"tensors[{shown(name)}]", StoredTensor)
        if as_text(name, "tensors") == "__metadata__":
            raise ValueError("tensors: the format keeps the name '__metadata__' for itself")
    if metadata is not None:
        for key, text in as_instance(metadata, "metadata", dict).items():
            as_text(key, "metadata")
            as_text(text, f"metadata[{shown(key)}]")
    write_atomically(path, tensor_writer(tensors, metadata))


def tensor_writer(tensors: dict[str, StoredTensor], metadata: dict[str, str] | None = None) -> Write:
    """Return what fills a safetensors file; wide dtypes come first, so that every tensor is aligned."""
    order = sorted(tensors, key=lambda name: (-np.dtype(_RAW[tensors[name].dtype]).itemsize, name))
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    position = 0
    for name in order:
        tensor = tensors[name]
        offsets = [position, position + tensor.data.size]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        position += tensor.data.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(file: IO[bytes]) -> None:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].data.tobytes())

    return write
