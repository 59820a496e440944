"""What was found of each item: a JSON file in ``results``, where each row has its own date and circumstances."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from typing import Any

RESULTS = pathlib.Path(__file__).resolve().parent / "results"

# A row as stored: samples and what goes with them, or under "skipped" the reason why there are none.
Row = dict[str, Any]


def file_name(key: str) -> str:
    """Return the key of an item without what file names should not have."""
    return key.replace(" ", "_").replace("=", "")


def measured(row: Row | None) -> bool:
    """Return whether there is a row with samples."""
    return row is not None and "skipped" not in row


def stored(key: str, names: list[str]) -> dict[str, Row]:
    """Return those rows of an item that are stored, by name, as they were last measured."""
    path = RESULTS / f"{file_name(key)}.json"
    if not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: expected a JSON object with 'rows', got a file that fails with {error!r}") from error
    return {name: rows[name] for name in names if name in rows}


def keep(key: str, rows: dict[str, Row]) -> None:
    """Store the rows of a full run; where one was not measured this time, what was measured before stays."""
    before = stored(key, list(rows))
    kept = rows | {name: row for name, row in before.items() if measured(row) and not measured(rows[name])}
    text = json.dumps({"key": key, "rows": kept}, indent=1, allow_nan=False)
    write(RESULTS / f"{file_name(key)}.json", text + "\n")


def write(path: pathlib.Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def check_writable() -> None:
    """Raise what a later write would, before anything is measured."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=RESULTS):
        pass
