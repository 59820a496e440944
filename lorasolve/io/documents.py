"""JSON documents, strict and under one head."""

from __future__ import annotations

import json
import re
from typing import Any

from .._support.files import PathLike, Write, write_atomically
from .._support.text import for_json
from .._support.validate import as_instance, as_path, as_text
from .._version import __version__

SCHEMA_VERSION = 2


def to_json(document: dict[str, Any]) -> str:
    """Return strict JSON: NumPy values as plain ones, numbers that JSON cannot hold as null, plain lists in a line."""
    try:
        text = json.dumps(for_json(document), indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"document: cannot be written as JSON ({error})") from error
    # A line break is never inside a string, where it is escaped.
    return re.sub(r"\[\n *([^\[\]{}]*)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", text)


def json_writer(document: dict[str, Any]) -> Write:
    """Return what writes a document as JSON."""
    text = (to_json(document) + "\n").encode()
    return lambda file: file.write(text)


def write_json(path: PathLike, document: dict[str, Any]) -> None:
    """Write a document as JSON, whole or not at all."""
    write_atomically(as_path(path, "path"), json_writer(document))


def envelope(schema: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` under the head that every JSON document of the command line has."""
    as_instance(body, "body", dict)
    name = f"lorasolve/{as_text(schema, 'schema')}"
    head = {"schema": name, "schema_version": SCHEMA_VERSION, "lorasolve": __version__}
    return head | body
