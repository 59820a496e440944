"""Files of every kind that a command reads, most of them broken."""

from __future__ import annotations

import json
import os
import pathlib
import struct
import zipfile
from typing import Any

import numpy as np

import lorasolve as ls


def make_files(folder: pathlib.Path) -> dict[str, list[str]]:
    """Fill a folder and return the paths of what can be given for each kind of argument."""
    groups = {"data": _data(folder), "adapter": _adapters(folder), "study": _studies(folder), "proof": _proofs(folder)}
    found = {kind: [str(folder / name) for name in names] for kind, names in groups.items()}
    found["data"] += [str(folder / "missing.npz"), "/dev/null", "/dev/zero", ""]
    return found


# ---------------------------------------------------------------------- matrices, ratings, results
def _data(folder: pathlib.Path) -> list[str]:
    rng = np.random.default_rng(3)
    M = rng.standard_normal((5, 4))
    np.savez(folder / "good.npz", M=M)
    np.savez(folder / "point.npz", X=M)
    np.savez(folder / "factors.npz", A=rng.standard_normal((5, 2)), B=rng.standard_normal((4, 2)))
    np.savez(folder / "masked.npz", M=np.array([[np.nan, 1.0]]), mask=[1])
    np.savez(folder / "complex.npz", M=M + 1j)
    np.savez(folder / "completion.npz", rows=[0, 1], cols=[0, 1], values=[1.0, 2.0], shape=[4.7, 3.2])
    np.savez(folder / "far.npz", rows=[0, 1], cols=[0, 1], values=[1.0, 2.0], shape=[10**12, 3])
    np.savez(folder / "objects.npz", M=np.array([{}], dtype=object))
    np.save(folder / "single.npy", M)
    problem = ls.Problem(ls.objectives.Denoising(M), 2, 0.5)
    ls.io.save_result(folder / "result.npz", problem, ls.solve(problem, "lbfgs"), {"M": M})
    text = {
        "good.csv": "user,item,value\n1,a,2\n2,a,3\n1,b,4\n",
        "nan.csv": "1,1,nan\n2,1,3\n",
        "labels.csv": "01,1,2\n1,1,3\n+1,1,4\n",
        "short.csv": "1,2\n",
        "zero.csv": "1,2,3\0\n",
        "underscore.csv": "1,1,1_0\n",
        "empty.csv": "",
        "good.mtx": "%%MatrixMarket matrix coordinate real general\n3 3 2\n1 1 2.0\n2 2 3.0\n",
        "dense.mtx": "%%MatrixMarket matrix array real general\n2 2\n1.0\n0.0\n0.0\n2.0\n",
        "complex.mtx": "%%MatrixMarket matrix coordinate complex general\n3 3 1\n1 1 2.0 1.0\n",
        "far.mtx": "%%MatrixMarket matrix coordinate real general\n1000000000000 3 1\n1 1 2.0\n",
        "many.mtx": "%%MatrixMarket matrix coordinate real general\n3 3 1000000000000\n1 1 2.0\n",
        "overflow.mtx": f"%%MatrixMarket matrix coordinate integer general\n3 3 1\n1 1 {10**30}\n",
        "text.npz": "no archive",
        "json.json": "{",
    }
    for name, content in text.items():
        (folder / name).write_text(content)
    (folder / "bytes.csv").write_bytes(b"\xff\xfe1,1,\x80\n")
    (folder / "empty.npz").write_bytes(b"")
    good = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(good[: len(good) // 2])
    _archive(folder / "encrypted.npz", flags=1)
    _archive(folder / "method.npz", method=99)
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("M.npy", _head((10**12, 3)) + bytes(64))
    with zipfile.ZipFile(folder / "twice.npz", "w") as archive:
        archive.writestr("M.npy", _head((1, 1)) + bytes(8))
        archive.writestr("M", _head((1, 1)) + bytes(8))
    with np.load(folder / "result.npz") as arrays:
        whole = dict(arrays)
    head = str(whole["header"])
    for number, changed in enumerate(_tampered(head)):
        np.savez(folder / f"tampered{number}.npz", **(whole | {"header": np.array(changed)}))
    for name in ("theta", "trace.value"):
        np.savez(folder / f"short_{name}.npz", **(whole | {name: whole[name][:-1]}))
        np.savez(folder / f"no_{name}.npz", **{key: value for key, value in whole.items() if key != name})
    (folder / "loop.npz").symlink_to("loop.npz")
    (folder / "folder.npz").mkdir()
    os.mkfifo(folder / "pipe.npz")
    return [path.name for path in sorted(folder.iterdir())]


def _head(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _archive(path: pathlib.Path, flags: int = 0, method: int = 0) -> None:
    """Write an archive whose entry claims to be encrypted, or packed by an unknown method."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("M.npy", _head((1, 1)) + bytes(8))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(signature) + offset
        content[at : at + 4] = struct.pack("<HH", flags, method)
    path.write_bytes(content)


def _tampered(head: str) -> list[str]:
    document = json.loads(head)
    texts = ["[]", "null", "{}", "7", '"a"', "[" * 100_000, head[:-5], head.replace("denoising", "no such")]
    for key in document:
        texts.append(json.dumps({k: v for k, v in document.items() if k != key}))
        texts.append(json.dumps(document | {key: []}))
    for part in ("problem", "last", "result"):
        for key in document[part]:
            texts.append(json.dumps(document | {part: {k: v for k, v in document[part].items() if k != key}}))
            texts.append(json.dumps(document | {part: document[part] | {key: {}}}))
    texts.append(json.dumps(document | {"more": 1}))
    texts.append(json.dumps(document | {"rank": 10**30}))
    texts.append(json.dumps(document | {"schema_version": 1}))
    return texts


# ---------------------------------------------------------------------- adapters
def _adapters(folder: pathlib.Path) -> list[str]:
    """Write folders of adapters: two that are whole, and what is wrong with the configuration or the tensors."""
    rng = np.random.default_rng(5)
    down, up = rng.standard_normal((2, 4)).astype("<f4"), rng.standard_normal((6, 2)).astype("<f4")
    config: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    whole = _safetensors(down, up)
    head = json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]])
    first = next(iter(head))
    configs: dict[str, Any] = {
        "adapter": config,
        "other": config | {"use_rslora": True},
        "rank0": config | {"r": 0},
        "rank_text": config | {"r": "two"},
        "rank_huge": config | {"r": 10**30},
        "alpha_nan": config | {"lora_alpha": float("nan")},
        "patterns": config | {"rank_pattern": {"(": 3, "a" * 1000: []}, "alpha_pattern": 7},
        "no_type": {"r": 2},
        "ia3": config | {"peft_type": "IA3"},
        "dora": config | {"use_dora": True},
        "modules": config | {"target_modules": {"a": "b"}, "layers_to_transform": "x"},
        "list": [],
    }
    tensors = {
        "cut": whole[:-9],
        "long": whole + bytes(9),
        "nothing": b"",
        "size": struct.pack("<Q", 2**63) + whole[8:],
        "swapped": _safetensors(up, down),
        "not_finite": _safetensors(down * np.float32(np.nan), up),
        "overlap": _with_head(whole, head | {first: head[first] | {"data_offsets": [0, 8]}}),
        "negative": _with_head(whole, head | {first: head[first] | {"shape": [-2, -4]}}),
        "kind": _with_head(whole, head | {first: head[first] | {"dtype": "F7"}}),
        "nested": _with_head(whole, head | {first: [[[]]]}),
        "json": struct.pack("<Q", 4) + b"{{{{",
    }
    for name, settings in configs.items():
        _adapter(folder / f"adapter_{name}", json.dumps(settings).encode(), whole)
    for name, content in tensors.items():
        _adapter(folder / f"tensors_{name}", json.dumps(config).encode(), content)
    _adapter(folder / "adapter_no_json", b"{", whole)
    (folder / "adapter_empty").mkdir()
    (folder / "adapter_loop").symlink_to("adapter_loop")
    _adapter(folder / "adapter_pickled", json.dumps(config).encode(), None)
    (folder / "adapter_pickled" / "adapter_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    return [path.name for path in sorted(folder.iterdir()) if path.name.startswith(("adapter_", "tensors_"))]


def _adapter(folder: pathlib.Path, config: bytes, tensors: bytes | None) -> None:
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes(config)
    if tensors is not None:
        (folder / "adapter_model.safetensors").write_bytes(tensors)


def _safetensors(down: np.ndarray, up: np.ndarray) -> bytes:
    """Return a file with one linear layer: ``down`` (r, in), ``up`` (out, r)."""
    head: dict[str, Any] = {}
    data = b""
    for part, value in (("lora_A", down), ("lora_B", up)):
        raw = value.tobytes()
        entry = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        head[f"base_model.model.layer.0.q.{part}.weight"] = entry
        data += raw
    return _with_head(struct.pack("<Q", 0) + data, head)


def _with_head(content: bytes, head: dict[str, Any]) -> bytes:
    """Return the file with another head."""
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + struct.unpack("<Q", content[:8])[0] :]


# ---------------------------------------------------------------------- studies
_STUDY = """\
[problem]
objective = "denoising"
data = "good.npz"
rank = 2
[axes]
lam = [0.1, 0.5]
seed = {{range = [2]}}
[run]
method = "lbfgs"
max_iter = 5
{more}
"""


def _studies(folder: pathlib.Path) -> list[str]:
    good = _STUDY.format(more="")
    texts = {
        "good": good,
        "digits": "[axes]\nrank = [1, 2]\n[run]\nmax_iter = 2\n",
        "cut": good[:60],
        "empty": "",
        "unknown": good + "wrong = 3\n",
        "tables": "problem = 3\naxes = []\nrun = 'x'\n",
        "axis_huge": good.replace("[2]", f"[{10**18}]"),
        "axis_text": good.replace("[0.1, 0.5]", '"all"'),
        "axis_nested": good.replace("[0.1, 0.5]", "[[0.1], {a = 1}]"),
        "axis_nan": good.replace("[0.1, 0.5]", "[nan, inf, -1.0]"),
        "axis_empty": good.replace("[0.1, 0.5]", "[]"),
        "axis_wrong": good.replace("lam = [0.1", "lamda = [0.1"),
        "method": good.replace("lbfgs", "gd+periodic:period=0"),
        "measure": good.replace("max_iter = 5", 'measure = ["os.system", 3]'),
        "iterations": good.replace("max_iter = 5", "max_iter = 1e400"),
        "data": good.replace("good.npz", "../../etc/passwd"),
        "python": '[problem]\npython = "broken.py:problem"\n[axes]\nlam = [1.0]\n',
        "python_missing": '[problem]\npython = "none.py:problem"\n[axes]\nlam = [1.0]\n',
        "python_text": '[problem]\npython = ":::"\n[axes]\nlam = [1.0]\n',
        "rank": good.replace("rank = 2", f"rank = {2**62}"),
        "dates": good.replace("[0.1, 0.5]", "[1979-05-27, 07:32:00]"),
    }
    for name, text in texts.items():
        (folder / f"study_{name}.toml").write_text(text)
    (folder / "study_bytes.toml").write_bytes(b"\xff\xfe[axes]")
    return [f"study_{name}.toml" for name in [*texts, "bytes"]]


# ---------------------------------------------------------------------- theorems
_THEOREM = """\
from lorasolve.symbolic import Identity, Theorem, scalars
x, y = scalars("x y")
CHECKS = (Identity("square", "(x + y)^2.", (x + y) ** 2, x**2 + {between}y**2),)
THEOREM = Theorem("A square.", CHECKS)
"""


def _proofs(folder: pathlib.Path) -> list[str]:
    texts = {
        "broken": "def problem(:\n",
        "raises": "raise RuntimeError('mine')\n",
        "leaves": "import sys\nsys.exit(0)\n",
        "nothing": "",
        "true": _THEOREM.format(between="2 * x * y + "),
        "false": _THEOREM.format(between=""),
        "kinds": "THEOREM = 3\nCHECKS = None\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return [f"{name}.py" for name in texts]
