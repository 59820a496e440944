"""Files in a folder that somebody else made: nothing outside of it is opened, nothing large is read unasked."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import stat
from typing import IO, Any

from .._support.files import PathLike

# Configurations, indices and training states of real adapters are below 1 MB.
JSON_LIMIT = 4 * 2**20


class UnreadableError(ValueError):
    """A file is not what it should be: malformed, truncated, of an unsupported kind, or outside of its folder."""


def printable(text: object, limit: int = 160) -> str:
    """Return a name from a file as text that is safe to print: no control characters, not too long."""
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(text))
    return safe if len(safe) <= limit else f"{safe[: limit // 2]}...{safe[-limit // 2 :]}"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts layer 2 before layer 10."""
    return [
        (0, int(word[:18]), "") if word.isascii() and word.isdigit() else (1, 0, word)
        for word in re.split(r"(\d+)", name)
    ]


def require_there(path: pathlib.Path) -> None:
    """Raise where nothing is, and say where the files are of what may be a name on the Hugging Face hub."""
    if not path.exists() and not path.parent.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        told = f"of a repository on the Hugging Face hub give the folder that 'hf download {path}' prints"
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}; {told}", str(path))


def inside(folder: PathLike, name: str) -> pathlib.Path:
    """Return where the file ``name`` of a folder really is.

    Links are followed within the folder, and in a download cache from ``NAME/snapshots/REVISION/`` into
    ``NAME/blobs/``, which is how adapters are kept there.

    Raises
    ------
    UnreadableError
        If the name or a link leads out of the folder, or in a circle.
    """
    root = pathlib.Path(folder)
    if not name or "\0" in name or name != pathlib.PurePosixPath(name).name or name in (".", ".."):
        raise UnreadableError(f"{root}: the file name {printable(name)!r} leads out of the folder; it is not opened")
    try:
        real_root, real = root.resolve(), (root / name).resolve()
    except RuntimeError as error:  # before Python 3.13
        raise UnreadableError(f"{root / name}: is a link that leads in a circle") from error
    allowed = [real_root]
    if real_root.parent.name == "snapshots":
        allowed.append(real_root.parent.parent / "blobs")
    if not any(real.is_relative_to(place) for place in allowed):
        raise UnreadableError(f"{root / name}: is a link that leads out of the folder; it is not opened")
    return real


def open_regular(path: PathLike) -> IO[bytes]:
    """Open a regular file for reading; a pipe or a device is refused without waiting for it."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnreadableError(f"{path}: is not a regular file")
    return os.fdopen(handle, "rb")


def read_json(path: PathLike, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """Return the object in a JSON file of at most ``limit`` bytes."""
    with open_regular(path) as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise UnreadableError(f"{path}: is larger than {limit} bytes, too large for what it should hold")
    return parse_object(text, str(path))


def parse_object(text: bytes, source: str) -> dict[str, Any]:
    """Return the JSON object in a text, in which no key may occur twice.

    What a parsed document takes in memory is bounded by its brackets and commas, which are counted first.
    """
    if text.count(b"{") + text.count(b"[") > 500_000 or text.count(b",") > 1_000_000:
        raise UnreadableError(f"{source}: has more entries than this reader accepts (500000 brackets, 1000000 commas)")
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise UnreadableError(f"{source}: is nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"{source}: is not valid JSON ({printable(error)})") from None
    if not isinstance(document, dict):
        raise UnreadableError(f"{source}: expected a JSON object, got {type(document).__name__}")
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated!r} occurs twice")
    return found
