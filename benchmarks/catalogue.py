"""All items, found by the modules named ``item_*`` in this folder."""

from __future__ import annotations

import importlib
import pathlib
import re

from peers import Item

_NUMBER = re.compile(r"\d+")
# What a quick run takes, unless items are named: one of each kind, in less than three minutes from a cold cache.
QUICK = ("S1", "S1t", "S2", "S3", "S3a", "S3t", "S5 n=20", "S8 n=10", "S12 linear", "S16 softmax 64")


def items() -> dict[str, Item]:
    """Return the items by key.

    Raises
    ------
    ValueError
        If a module lists none, or the key of one has no number, by which they are sorted, or is that of another one.
    """
    found: dict[str, Item] = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("item_*.py")):
        listed = getattr(importlib.import_module(path.stem), "ITEMS", None)
        if listed is None:
            raise ValueError(f"{path.name}: expected a list ITEMS of its items")
        for item in listed:
            if not _NUMBER.search(item.key):
                raise ValueError(f"{path.name}: expected a key with a number, such as S14, got {item.key!r}")
            if item.key in found:
                raise ValueError(f"{path.name}: the key {item.key!r} is taken, by {found[item.key].title!r}")
            found[item.key] = item
    return dict(sorted(found.items(), key=lambda pair: _in_order(pair[0])))


def _in_order(key: str) -> list[int | str]:
    """Return the words of a key with its numbers as such, so that 384 stands before 1024."""
    return [int(part) if _NUMBER.fullmatch(part) else part for part in re.split(r"(\d+)", key)]
