"""Opening users' files: whatever is wrong with one is one error that names it."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import os
import pathlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from .._support.files import PathLike
from .._support.validate import as_path

# Files and the arrays in an archive are read up to this size.
LARGEST_BYTES = 4 << 30
# Rows and columns without an entry, each of which a solver would give its place in every vector.
MOST_EMPTY = 10_000_000

# What begins so, and what to do with it.
_NO_TEXT = {
    b"\x1f\x8b": "compressed by gzip, which a name that ends in .gz says",
    b"PK\x03\x04": "a zip archive, which has to be unpacked, or a spreadsheet, to be exported as .csv",
    b"PAR1": "a Parquet table, to be exported as .csv",
    b"ARROW1": "a table of Arrow, to be exported as .csv",
}

_BROKEN = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    EOFError,
    csv.Error,
    zlib.error,
    OverflowError,
    NotImplementedError,
)


def _check_file(path: PathLike) -> None:
    """Refuse what is no file, and what is larger than any that is read."""
    facts = os.stat(as_path(path, "path"))
    if stat.S_ISDIR(facts.st_mode):
        raise ValueError("is a folder; expected a file")
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(
            "is not a regular file; write what a pipe gives to one first (tables compressed by gzip, as .csv.gz, are "
            "read as they are)"
        )
    if facts.st_size > LARGEST_BYTES:
        raise ValueError(f"is {facts.st_size} bytes long, and at most {LARGEST_BYTES} are read")


def _told(path: PathLike, content: bytes) -> str | None:
    """Return what a file is whose content begins as no text does, in words, or None."""
    found = next((text for start, text in _NO_TEXT.items() if content.startswith(start)), None)
    if found is not None and pathlib.PurePath(path).suffix.lower() == ".npz":
        found = "an .npz archive of arrays"  # which begins as any zip archive does
    return None if found is None else f"is {found}, and no text file"


def what_else(path: PathLike) -> str | None:
    """Return why what is there is no file of text, in words, or None."""
    try:
        _check_file(path)  # a pipe would be waited for
        with open(path, "rb") as file:
            return _told(path, file.read(max(map(len, _NO_TEXT))))
    except FileNotFoundError:  # whose suffix says nothing
        raise
    except OSError:
        return None
    except ValueError as error:
        return str(error)


@contextlib.contextmanager
def readable(path: PathLike) -> Iterator[None]:
    """Turn the many ways in which a file can be broken into one error that names it; ask for its size first."""
    try:
        _check_file(path)
        yield
    except UnicodeDecodeError as error:
        found = _told(path, error.object)
        if found is not None:
            raise ValueError(f"{path}: {found}") from error
        encoding = "UTF-16" if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "LATIN1"
        raise ValueError(
            f"{path}: is not a UTF-8 text file ({error.reason} at byte {error.start}); text in another encoding is "
            f"converted by, for example, iconv -f {encoding} -t UTF-8"
        ) from error
    except _BROKEN as error:
        raise ValueError(f"{path}: is damaged or of another format ({error})") from error
    except ValueError as error:
        text = str(error)
        if text.startswith(str(path)):
            raise
        raise ValueError(f"{path}: {text}") from error


def open_text(path: PathLike) -> IO[str]:
    """Open a text file, which is compressed where its name ends in ``.gz``."""
    path = as_path(path, "path")
    opener = gzip.open if pathlib.Path(path).suffix.lower() == ".gz" else open
    return opener(path, "rt", newline="", encoding="utf-8-sig")


def check_emptiness(m: int, n: int, count: int, *, most_places: int = 2) -> None:
    """Refuse so many entries of an m x n matrix, each in at most so many rows and columns, where far more have none."""
    if m + n - most_places * count > MOST_EMPTY:
        raise ValueError(
            f"declares {m} x {n} for {count} entries, and at most {MOST_EMPTY} rows and columns without an entry "
            "are read; written as a table with row, column and value in each line (.csv), it has no such ones"
        )
