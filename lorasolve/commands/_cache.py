"""The folder of compiled kernels, as commands tell of it."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any


def cache_facts() -> dict[str, Any]:
    """Return the folder of compiled kernels, None where none can be, with its number of files and their size."""
    from ..kernels.cache import cache_directory

    folder = cache_directory()
    sizes = [] if folder is None else _sizes(folder)
    name = None if folder is None else str(folder)
    return {"folder": name, "files": len(sizes), "megabytes": round(sum(sizes) / 1e6, 1)}


def _sizes(folder: pathlib.Path) -> list[int]:
    """Return the sizes of the files in a folder; another process that compiles may replace some meanwhile."""
    sizes = []
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file():
                sizes.append(file.stat().st_size)
    return sizes
