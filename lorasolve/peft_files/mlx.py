"""Adapters as mlx_lm writes them, read as those of PEFT: other names, factors turned, the scaling itself stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.files import PathLike
from .config import AdapterConfig, as_config
from .folder import UnreadableError, printable
from .safetensors import StoredTensor, TensorFile

WEIGHTS = "adapters.safetensors"
# What PEFT calls mlx_lm's lora_a (n, r), lora_b (r, m) and, of DoRA, m.
_PARTS = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}


def is_of_mlx(document: Mapping[str, Any]) -> bool:
    """Return whether a configuration is one of mlx_lm."""
    return "peft_type" not in document and bool({"fine_tune_type", "lora_parameters"} & set(document))


def has_names_of_mlx(names: Iterable[str]) -> bool:
    """Return whether tensors are named as mlx_lm's factors are; torchtune's have ``.weight`` behind."""
    return any(re.search(r"\.lora_[ab]$", name) for name in names)


def config_of(document: Mapping[str, Any], source: str) -> AdapterConfig:
    """Return the configuration as PEFT would have it.

    Raises
    ------
    UnreadableError
        If it is not that of LoRA or DoRA, or has no rank and scale.
    """
    kind, settings = document.get("fine_tune_type", "lora"), document.get("lora_parameters")
    if kind not in ("lora", "dora"):
        raise UnreadableError(f"{source}: fine_tune_type {printable(repr(kind))} has no update s A B^T to read")
    if not isinstance(settings, dict):
        raise UnreadableError(f"{source}: lora_parameters: expected an object, got {printable(repr(settings), 60)}")
    rank, scale = settings.get("rank"), settings.get("scale")
    # A rank beyond a float cannot be multiplied; what else is no rank is refused below.
    if type(rank) is not int or rank > 10**6 or isinstance(scale, bool) or not isinstance(scale, int | float):
        found = f"rank {printable(repr(rank), 60)} and scale {printable(repr(scale), 60)}"
        raise UnreadableError(f"{source}: lora_parameters: expected an integer rank and a number scale, got {found}")
    return as_config({"peft_type": "LORA", "r": rank, "lora_alpha": scale * rank, "use_dora": kind == "dora"}, source)


class MLXFile(TensorFile):
    """A file of mlx_lm with PEFT's names and shapes; what stays as it is belongs to experts, or to no factors."""

    def __init__(self, path: PathLike) -> None:
        super().__init__(path)
        self._turned: set[str] = set()
        found = {}
        for name, info in self.tensors.items():
            module, _, part = name.rpartition(".")
            if part not in _PARTS or f"{module}.lora_a" not in self.tensors or len(info.shape) > 2:
                found[name] = info
                continue
            new = f"base_model.model.{module}.{_PARTS[part]}"
            found[new] = info
            if len(info.shape) == 2:
                self._turned.add(new)
                found[new] = replace(info, shape=info.shape[::-1])
        self.tensors = found

    def stored(self, name: str) -> StoredTensor:
        """Return a tensor's bytes, in the order of its shape here."""
        tensor = super().stored(name)
        if name not in self._turned:
            return tensor
        data = tensor.data.reshape(*tensor.shape[::-1], -1).swapaxes(0, 1)
        return replace(tensor, data=np.ascontiguousarray(data).reshape(-1))
