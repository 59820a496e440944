"""A thousand truncated, corrupted and hostile adapters: a refusal or a report, little memory, no file but their own."""

import json
import os
import pathlib
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from lorasolve.cli import main
from lorasolve.io import to_json
from lorasolve.peft_files import UnreadableError, diagnose
from lorasolve.peft_files.page import diagnosis_page

OPENED: list[str] = []
WATCHING = [False]


def watch(event, arguments):
    if WATCHING[0] and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        OPENED.append(os.path.realpath(os.fsdecode(arguments[0])))


sys.addaudithook(watch)

# What a hostile number, name, pattern or value may be.
NUMBERS = [
    -1,
    0,
    1,
    2,
    3,
    7,
    8,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    True,
    None,
    "4",
]
NAMES = ["../x", "/etc/passwd", "a\0b", "\x1b[2J", "\ud800", "x" * 5000, "", ".", "lora_A.weight", "a.lora_B", "alpha"]
PATTERNS = ["(a+)+$", "(", "[", "*", "a{1000000}", "(?P<n>a)(?P=n)", "\\", "(.*)*x", "q", ".*", "a" * 2000, "(?:" * 500]
OBJECTS = [[], {}, [[]], {"a": {}}, "text", None, True, 3, -0.0, [1, [2, [3]]], {"": None}]
DTYPES = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "BOOL", "F4", "", 3, None]
KEYS = [
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "peft_type", "target_parameters",
    "init_lora_weights", "init_r", "fan_in_fan_out", "layer_replication", "base_model_name_or_path", "unknown",
]  # fmt: skip


def pick(rng, values):
    return values[rng.integers(len(values))]


def valid(rng):
    """Return configuration and tensors of a small adapter of a random layout."""
    r = int(rng.integers(1, 5))
    config = {"peft_type": "LORA", "r": r, "lora_alpha": int(rng.integers(1, 33)), "use_rslora": bool(rng.integers(2))}
    tensors = {}
    for k in range(int(rng.integers(1, 11))):
        name = f"base_model.model.h.{k}.q"
        A, B = rng.standard_normal((r, 6)).astype("f4"), rng.standard_normal((5, r)).astype("f4")
        layout = rng.integers(6)
        if layout == 0:
            tensors |= {f"{name}.lora_embedding_A": A, f"{name}.lora_embedding_B": B}
        elif layout == 1:
            tensors |= {f"{name}.lora_A.weight": A.reshape(r, 6, 1, 1), f"{name}.lora_B.weight": B.reshape(5, r, 1, 1)}
        elif layout == 2:
            tensors |= {f"{name}.lora_A": A, f"{name}.lora_B": B, f"{name}.lora_E": np.ones((r, 1), "f4")}
        else:
            tensors |= {f"{name}.lora_A.weight": A, f"{name}.lora_B.weight": B}
    return config, tensors


def packed(tensors):
    header, data = {}, b""
    for key, value in tensors.items():
        header[key] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + value.nbytes],
        }
        data += value.tobytes()
    return header, data


def joined(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def flipped(rng, content, first, last):
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        content[rng.integers(first, max(last, first + 1))] = rng.integers(256)
    return bytes(content)


def change_header(rng, header):
    """Replace, rename, repeat or remove something in a header."""
    key = pick(rng, list(header))
    what = rng.integers(7)
    if what == 0:
        header[key]["dtype"] = pick(rng, DTYPES)
    elif what == 1:
        header[key]["shape"] = [pick(rng, NUMBERS) for _ in range(int(rng.integers(0, 10)))]
    elif what == 2:
        header[key]["data_offsets"] = [pick(rng, NUMBERS) for _ in range(int(rng.integers(1, 4)))]
    elif what == 3:
        header[pick(rng, NAMES)] = header.pop(key)
    elif what == 4:
        header[key] = pick(rng, OBJECTS)
    elif what == 5:
        header["__metadata__"] = pick(rng, OBJECTS)
    else:
        header[pick(rng, NAMES)] = dict(header[key])


def change_config(rng, config):
    key = pick(rng, KEYS)
    if key.endswith("pattern") and rng.integers(2):
        config[key] = {pick(rng, PATTERNS): pick(rng, NUMBERS) for _ in range(int(rng.integers(1, 4)))}
    elif rng.integers(4) == 0:
        config.pop(key, None)
    else:
        config[key] = pick(rng, NUMBERS + OBJECTS + NAMES + ["ADALORA", "LORA", "pissa"])


def write_hostile(rng, folder, outside):
    """Write one hostile adapter; ``outside`` is a folder with a readable adapter that must not be read."""
    config, tensors = valid(rng)
    if rng.integers(3) == 0:  # values that overflow, vanish or are none
        key = pick(rng, list(tensors))
        with np.errstate(over="ignore"):
            tensors[key] = (tensors[key] * pick(rng, [0.0, 1e-30, 1e30, 1e38, np.inf, np.nan])).astype("f4")
    header, data = packed(tensors)
    text, content = json.dumps(config).encode(), joined(header, data)
    kind = rng.integers(9)
    if kind == 0:
        content = content[: rng.integers(len(content))]
    elif kind == 1:
        content = flipped(rng, content, 0, 8 + len(json.dumps(header)))
    elif kind == 2:
        content = flipped(rng, content, 8 + len(json.dumps(header)), len(content))
    elif kind == 3:
        change_header(rng, header)
        content = joined(header, data)
    elif kind == 4:
        change_config(rng, config)
        text = json.dumps(config).encode("utf-8", "surrogatepass")
    elif kind == 5:
        text = flipped(rng, text, 0, len(text)) if rng.integers(2) else text[: rng.integers(len(text))]
    elif kind == 6:
        content = rng.bytes(int(rng.integers(0, 2000)))
    elif kind == 7:  # claims without data behind them
        length = int(pick(rng, [2**20, 2**30, 2**40]))
        header = {"q.lora_A.weight": {"dtype": "F32", "shape": [1, length // 4], "data_offsets": [0, length]}}
        content = joined(header, b"")
    (folder / "adapter_config.json").write_bytes(text)
    (folder / "adapter_model.safetensors").write_bytes(content)
    if kind == 7 and rng.integers(2):  # a file of holes that is as long as it claims
        os.truncate(folder / "adapter_model.safetensors", min(len(content) + length, 2**42))
    if kind == 8:
        name = pick(rng, ["adapter_config.json", "adapter_model.safetensors"])
        (folder / name).unlink()
        target = pick(rng, [outside / name, "/dev/zero", "/etc/passwd", "nowhere", name, "../" * 30 + "etc/passwd"])
        (folder / name).symlink_to(target)
    if rng.integers(10) == 0:
        (folder / "trainer_state.json").write_text(
            json.dumps({"log_history": pick(rng, OBJECTS), "global_step": pick(rng, NUMBERS)})
        )


def outcome(folder):
    """Return ``"refused"`` or ``"reported"``, with every kind of report written."""
    try:
        found = diagnose(folder)
    except (UnreadableError, OSError) as error:
        return "refused" if str(error).encode() else "refused without a word"
    assert str(found).encode() and diagnosis_page(found, "any").encode() and json.loads(to_json(found.to_dict()))
    return "reported"


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_hostile_adapters(tmp_path, seed):
    rng = np.random.default_rng([seed, 2026])
    outside = tmp_path / "outside"
    outside.mkdir()
    config, tensors = valid(rng)
    (outside / "adapter_config.json").write_text(json.dumps(config))
    (outside / "adapter_model.safetensors").write_bytes(joined(*packed(tensors)))
    assert outcome(outside) == "reported"
    outcomes = []
    tracemalloc.start()
    for k in range(100):
        folder = tmp_path / str(k)
        folder.mkdir()
        write_hostile(rng, folder, outside)
        OPENED.clear()
        tracemalloc.reset_peak()
        WATCHING[0] = True
        try:
            outcomes.append(outcome(folder))
        finally:
            WATCHING[0] = False
        assert tracemalloc.get_traced_memory()[1] < 100e6
        assert all(pathlib.Path(path).is_relative_to(folder) for path in OPENED), OPENED
    tracemalloc.stop()
    assert 20 < outcomes.count("refused") < 95


def test_the_watch_sees_a_file_that_is_opened(tmp_path):
    (tmp_path / "x").write_text("")
    OPENED.clear()
    WATCHING[0] = True
    with open(tmp_path / "x"):
        WATCHING[0] = False
    assert os.path.realpath(tmp_path / "x") in OPENED


@pytest.mark.parametrize("options", [[], ["--optimizer-state"]])
def test_links_that_lead_in_a_circle_are_refused(tmp_path, make, capsys, options):
    (tmp_path / "loop").symlink_to("loop")
    folder = make.adapter(tmp_path / "adapter", make.linear("q", *make.pair(0)))
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").symlink_to("adapter_model.safetensors")
    for path in (tmp_path / "loop", folder):
        assert main(["diagnose", str(path), *options]) == 2
        assert capsys.readouterr().err.startswith("lorasolve diagnose: ")
