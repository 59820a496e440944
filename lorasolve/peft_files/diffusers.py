"""Adapters as diffusers writes them: one file for all parts of a pipeline, with or without their configurations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .config import AdapterConfig, as_config
from .folder import UnreadableError, parse_object, printable

# Under this key of the file's metadata diffusers 0.34 and later keep the configurations, ``unet.r`` and the like.
METADATA = "lora_adapter_metadata"
# Parts of pipelines, whose names begin those of tensors.
_PARTS = re.compile(r"(unet|text_encoder(_\d)?|transformer(_\d)?\.(single_)?(transformer_)?blocks)\.")
_TWO_WORDS = re.compile(r"\.(?:lora|lora_linear_layer)\.(down|up)\.")


def in_one_word(name: str) -> str:
    """Return a tensor's name with ``lora_down`` for ``lora.down`` and ``lora_linear_layer.down``, likewise ``up``."""
    return _TWO_WORDS.sub(r".lora_\1.", name)


def is_of_diffusers(names: Iterable[str]) -> bool:
    """Return whether tensors are named as those of a pipeline's parts, whose updates diffusers scales by 1."""
    return all(_PARTS.match(name) or _TWO_WORDS.search(name) for name in names)


def configs_in(metadata: Mapping[str, object], source: str) -> dict[str, AdapterConfig]:
    """Return the configurations in a file's metadata by the part of the pipeline, ``""`` for a part saved alone.

    Raises
    ------
    UnreadableError
        If they are malformed, or of an adapter without an update of the form ``s A B^T``.
    """
    text = metadata.get(METADATA)
    if text is None:
        return {}
    source = f"{source}: {METADATA}"
    if not isinstance(text, str):
        raise UnreadableError(f"{source}: expected a text, got {printable(repr(text), 60)}")
    tables: dict[str, dict[str, Any]] = {}
    for key, value in parse_object(text.encode(), source).items():
        part, _, setting = key.rpartition(".")
        tables.setdefault(part, {})[setting] = value
    return {part: as_config({"peft_type": "LORA"} | table, source) for part, table in tables.items()}


def as_metadata(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text that :func:`configs_in` reads."""
    return json.dumps(
        {f"{part}.{key}" if part else key: value for part, table in documents.items() for key, value in table.items()}
    )
