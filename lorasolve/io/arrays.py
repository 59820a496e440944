"""Archives of plain arrays, ``.npz``: whatever is read from one may have been written by someone else."""

from __future__ import annotations

import errno
import math
import os
import zipfile
from typing import IO, Any

import numpy as np

from .._support.files import PathLike, Write, write_atomically
from .._support.validate import Array, as_array, as_instance, as_path, as_text
from .reading import LARGEST_BYTES, readable


def read_arrays(path: PathLike, expected: str = "an .npz archive, as numpy.savez writes it") -> dict[str, Array]:
    """Return the arrays of an ``.npz`` file by name. Pickled objects are refused.

    Sizes are checked before anything is read: all arrays together may take 4 GiB, and each has to be as long as its
    head says. Of a file that is no such archive the error says what is ``expected``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no archive of plain arrays, damaged, encrypted, packed in another way than NumPy does, or too large.
    """
    path, expected = as_path(path, "path"), as_text(expected, "expected")
    with readable(_there(path)):
        with open(path, "rb") as file:
            start = file.read(6)
        kind = "a single array" if start == b"\x93NUMPY" else "of another format"
        if not start.startswith(b"PK"):
            raise ValueError(f"is {kind if start else 'empty'}; expected {expected}")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > LARGEST_BYTES:
                raise ValueError(f"holds {total} bytes of arrays, and at most {LARGEST_BYTES} are read")
            if len({member.filename for member in members}) < len(members):
                raise ValueError("is damaged: two of its arrays have one name")
            arrays = {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    # NumPy before 2.2 takes this option of savez for an array; lorasolve once gave it.
    arrays.pop("allow_pickle", None)
    return arrays


def _there(path: str) -> str:
    """Return the path, or say that what is there has the suffix that commands and NumPy add to a name without one."""
    if not os.path.exists(path) and os.path.exists(f"{path}.npz"):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}, but {path}.npz is there", path)
    return path


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Return one array of an archive, once its head fits its length."""
    name = member.filename
    if member.flag_bits & 1:
        raise ValueError(f"its entry {name!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its entry {name!r} is packed by the method {member.compress_type}, which NumPy does not use")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its entry {name!r} is no plain array")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"its entry {name!r} is no plain array (pickled objects are not read)")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + size != member.file_size:
            raise ValueError(f"its entry {name!r} is {member.file_size} bytes long, and its head says {shape} {dtype}")
        array = np.frombuffer(file.read(size), dtype) if size else np.empty(math.prod(shape), dtype)
    return array.reshape(shape, order="F" if fortran else "C").copy()


def arrays_writer(arrays: dict[str, Array]) -> Write:
    """Return what writes arrays to a compressed ``.npz`` archive."""
    named = as_instance(arrays, "arrays", dict).items()
    checked: dict[str, Any] = {as_text(key, "arrays"): as_array(value, f"arrays[{key!r}]") for key, value in named}
    objects = next((key for key, array in checked.items() if array.dtype.hasobject), None)
    if objects is not None:
        raise TypeError(f"arrays: {objects!r} holds Python objects, which are not written")
    return lambda file: _write_archive(file, checked)


def _write_archive(file: IO[bytes], arrays: dict[str, Array]) -> None:
    """Do what ``numpy.savez_compressed`` does, and close the archive where there is no room for it.

    That of NumPy 2.0 is closed with the process, by an error of its own behind the one that was told.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def write_arrays(path: PathLike, arrays: dict[str, Array]) -> None:
    """Write arrays to a compressed ``.npz`` archive, whole or not at all; the suffix is not added."""
    write_atomically(as_path(path, "path"), arrays_writer(arrays))
