"""All items, found by the modules named ``item_*`` in this folder."""

from __future__ import annotations

import importlib
import pathlib
import re

from peers import Item

# What a quick run takes, unless items are named: one of each kind, in less than three minutes from a cold cache.
QUICK = ("S1", "S1t", "S2", "S3", "S3a", "S3t", "S5 n=20", "S8 n=10", "S12 linear", "S16 softmax 64")


def items() -> dict[str, Item]:
    """Return the items by key."""
    found: dict[str, Item] = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("item_*.py")):
        found |= {item.key: item for item in importlib.import_module(path.stem).ITEMS}
    return dict(sorted(found.items(), key=lambda pair: (int(re.findall(r"\d+", pair[0])[0]), pair[0])))
