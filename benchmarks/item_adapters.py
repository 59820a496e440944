"""S19: what the files of an adapter tell, in the process of the command and in Python."""

from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from peers import Item, timed

# About, layers, outputs and inputs of each, rank, how numbers are stored.
ADAPTERS = {
    "144": ("144 layers of 1024 x 1024, rank 16, F32 (T5-large)", 144, 1024, 16, "F32"),
    "224": ("224 layers of 4096 x 4096, rank 16, BF16 (7B class)", 224, 4096, 16, "BF16"),
}
# As of MiniLM, whose base weights are beside.
WITH_BASE = ("31 layers of 384 x 384, rank 8, F32, with `--base`", 31, 384, 8, "F32")


def written(folder, layers, side, rank, dtype, base=False):
    """Write an adapter of random factors as PEFT does, and where asked for the weights that it is beside."""
    from lorasolve.peft_files.safetensors import encoded, write_tensors

    rng = np.random.default_rng(0)
    names = [f"model.layers.{layer}.q_proj" for layer in range(layers)]
    tensors = {
        f"base_model.model.{name}.lora_{part}.weight": encoded(0.01 * rng.standard_normal(shape), dtype)
        for name in names
        for part, shape in (("A", (rank, side)), ("B", (side, rank)))
    }
    write_tensors(folder / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    if base:
        weights = {f"{name}.weight": encoded(rng.standard_normal((side, side)), dtype) for name in names}
        write_tensors(folder / "base.safetensors", weights)
    return folder


def _diagnosis(key, about, *made, base=False):
    item = Item(
        f"S19 {key}",
        f"Diagnosis of adapter files, {about}: CPU seconds",
        rtol=0.0,
        remark="The checked value is the number of layers. The memory of the command has that of the process that "
        "measures it in it.",
    )
    held = []

    def folder():
        held.append(tempfile.TemporaryDirectory())
        return written(pathlib.Path(held[-1].name), *made, base=base)

    @item.peer("lorasolve diagnose, the whole process", ours=True, threads=1)
    def _(quick):
        path = folder()
        command = [sys.executable, "-m", "lorasolve", "diagnose", str(path), "--layers", "0"]
        command += ["--base", str(path / "base.safetensors")] if base else []

        def sample():
            began = resource.getrusage(resource.RUSAGE_CHILDREN)
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            layers = int(told.stdout.partition("layers: ")[2].split()[0])
            return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime, float(layers)

        return sample

    @item.peer("lorasolve peft_files.diagnose", threads=1)
    def _(quick):
        import lorasolve as ls

        path = folder()
        options = {"base": path / "base.safetensors"} if base else {}

        def work():
            return ls.peft_files.diagnose(path, **options)

        return timed(work, lambda found: float(len(found.layers)), clock=time.process_time)

    return item


ITEMS = [*(_diagnosis(key, *made) for key, made in ADAPTERS.items()), _diagnosis("base", *WITH_BASE, base=True)]
