"""The folder of compiled kernels, as commands tell of it."""

from __future__ import annotations

from typing import Any


def cache_facts() -> dict[str, Any]:
    """Return the folder of compiled kernels, None where none can be, with its number of files and their size."""
    from ..kernels.cache import cache_directory

    folder = cache_directory()
    sizes = [] if folder is None else [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    name = None if folder is None else str(folder)
    return {"folder": name, "files": len(sizes), "megabytes": round(sum(sizes) / 1e6, 1)}
