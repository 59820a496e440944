"""A writer of safetensors that shares nothing with the package's, and adapters in PEFT's layouts."""

import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest

_NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32"}


def as_stored(value):
    """Return dtype, shape and bytes of an array, or of a pair (dtype, array of its codes)."""
    name, codes = value if isinstance(value, tuple) else (_NAMES[value.dtype.str[1:]], value)
    return name, list(codes.shape), np.ascontiguousarray(codes).tobytes()


def write_file(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for key, value in tensors.items():
        name, shape, raw = as_stored(value)
        header[key] = {"dtype": name, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_adapter(folder, tensors, **config):
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8} | config
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    write_file(folder / "adapter_model.safetensors", tensors)
    return folder


def linear(module, down, up):
    """Return the two tensors of a linear layer: ``down`` (r, in), ``up`` (out, r)."""
    return {f"base_model.model.{module}.lora_A.weight": down, f"base_model.model.{module}.lora_B.weight": up}


def pair(seed, out=9, inner=7, r=4, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((r, inner)).astype(dtype), rng.standard_normal((out, r)).astype(dtype)


@pytest.fixture
def make():
    """What makes adapters: ``adapter(folder, tensors, **config)``, ``file``, ``linear``, ``pair``."""
    return SimpleNamespace(adapter=write_adapter, file=write_file, linear=linear, pair=pair)
