"""Data and models that several processes share. Skipped without torch."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_networks import LAM, CoarseOfMany, Net, data, mean_of_a_batch  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, Network, judge  # noqa: E402

torch.set_num_threads(1)


def share_all(rank, size, folder):
    """What each of the processes finds, one start of them for all tests: they take seconds to import torch."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    torch.set_num_threads(1)
    told = {
        "means": share_means(rank),
        "verdict": share(rank, Net()),
        "casts": share(rank, CoarseOfMany("BFloat16")),
        "shards": watch_shards(size),
    }
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(told, file)
    # Threads that torch still has when Python ends abort it now and then.
    torch.distributed.destroy_process_group()
    os._exit(0)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    with pytest.MonkeyPatch.context() as patch:
        # The processes import this module by its name.
        patch.syspath_prepend(str(pathlib.Path(__file__).parents[2]))
        torch.multiprocessing.spawn(share_all, (2, str(folder)), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def share_means(rank):
    x, y = (torch.cat(parts) for parts in zip(*data(24)))
    told = {}
    for name, sizes in (("alike", [12, 12]), ("unlike", [10, 14]), ("one a process", [[1] * 12, [1] * 12])):
        own = np.split(np.arange(24), [12 if name == "one a process" else sizes[0]])[rank]
        parts = np.split(own, len(own)) if name == "one a process" else [own]
        network = Network(Net(), mean_of_a_batch, [(x[part], y[part]) for part in parts])
        try:
            told[name] = network.value(network.zeros()), network.rows_a_number
        except ValueError as error:
            told[name] = str(error)
    return told


def test_one_number_for_each_batch_is_held_against_the_batches_of_other_processes(told):
    network = Network(Net(), CrossEntropy(), data(24))
    expected = network.value(network.zeros())
    for each in told:
        found = each["means"]
        assert found["alike"] == [pytest.approx(expected, rel=1e-12), [12, 12]]
        assert found["one a process"] == [pytest.approx(expected, rel=1e-12), None]
        assert "got one number for each batch, of 10 to 14 rows" in found["unlike"]


def share(rank, model):
    return judge(model, CrossEntropy(), [data()[rank]], LAM).to_dict()


def test_processes_that_share_the_data_give_the_verdict_of_all(told):
    whole = judge(Net(), CrossEntropy(), data(), LAM).to_dict()
    for found in (each["verdict"] for each in told):
        assert "gathered over 2 processes" in found["premises"][0]
        assert found["kind"] == whole["kind"]
        assert found["certificate"]["F"] == pytest.approx(whole["certificate"]["F"], rel=1e-12)
        assert found["relative_gap"] == pytest.approx(whole["relative_gap"], rel=1e-9)


def test_casts_in_one_process_hold_the_verdict_of_all(told):
    """The process whose batch is cast asked the other nothing, which waited for it."""
    for found in (each["casts"] for each in told):
        assert found["kind"] != "tangent_optimal" and "in parts in bfloat16" in found["premises"][-1]


def watch_shards(size):
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        return None
    model = watched()
    fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (size,)))
    CrossEntropy()(model, data()[0]).mean().backward()
    monitor = LoRAMonitor(LAM, base=model, ratio=100.0)
    found = {"reason": monitor.step(model), **monitor.to_dict()}
    try:
        judge(model, CrossEntropy(), data(), LAM)
    except ValueError as error:
        found["refused"] = str(error)
    return found


def watched():
    model = Net(dropout=0.0)
    for layer in (model.first, model.second):
        torch.nn.init.normal_(layer.lora_B)
    return model


def test_a_reading_of_a_model_in_shards_is_that_of_the_whole(told):
    """Sums over the parts of one process had been taken for those of all: half of a gradient, and no identity in it."""
    if told[0]["shards"] is None:
        pytest.skip("this torch shards in another way")
    model = watched()
    CrossEntropy()(model, data()[0]).mean().backward()
    monitor = LoRAMonitor(LAM, base=model, ratio=100.0)
    assert monitor.step(model) is None
    expected = monitor.to_dict()
    for found in (each["shards"] for each in told):
        assert found["reason"] is None and found["warnings"] == []
        assert found["base_norms"] == pytest.approx(expected["base_norms"], rel=1e-6)
        for name, reading in expected["history"][0]["layers"].items():
            got = found["history"][0]["layers"][name]
            assert got.pop("mismatch") < 1e-6
            assert got == pytest.approx({key: value for key, value in reading.items() if key != "mismatch"}, rel=1e-5)
        assert "model: first is sharded over processes" in found["refused"]
