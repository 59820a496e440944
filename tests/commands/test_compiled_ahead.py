"""What is compiled ahead."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.commands import warm
from lorasolve.kernels.simd import WIDTH


def test_what_was_compiled_ahead_is_not_compiled_again(tmp_path) -> None:
    """Two processes, one combination: the second finds every kernel of the first in the folder."""
    script = (
        "from lorasolve.cli import main; from lorasolve.commands import warm; pairs = warm._pairs; "
        "chosen = lambda pair: (pair[0].objective.name, pair[1].name) == ('denoising', 'gd'); "
        "warm._pairs = lambda: [pair for pair in pairs() if chosen(pair)][:1]; "
        "raise SystemExit(main(['warm', '--json']))"
    )
    # On one thread, in the process itself.
    environment = os.environ | {"LORASOLVE_CACHE_DIR": str(tmp_path), "LORASOLVE_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    first, second = (
        json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout) for _ in range(2)
    )
    folder = pathlib.Path(first["folder"])
    assert folder.is_relative_to(tmp_path)
    assert first["combinations"] == second["combinations"] == 1
    assert first["files"] == second["files"] == len([path for path in folder.rglob("*") if path.is_file()])
    assert first["kernels"] > 0 and second["kernels"] == 0 and second["compile_seconds"] == 0.0


MIXED = "sensing", "gd_mixed"


def threads_of(problem: ls.Problem) -> int:
    """For how many threads, of two, the kernel data of a problem are made."""
    data = problem.objective.kernels.data(problem.rank, 2)
    if problem.objective.name == "sensing":
        return 1 if data.g.ndim == 1 else len(data.g)
    return len(data.products.C_cut if problem.objective.name == "linear" else data.cut) - 1


def test_nothing_is_compiled_for_a_folder_that_cannot_be(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(warm, "_parts", lambda: pytest.fail("compiles"))
    monkeypatch.setenv("LORASOLVE_CACHE_DIR", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    assert main(["warm"]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_what_is_compiled_ahead_is_divided_among_processes_without_rest() -> None:
    parts = warm._parts()
    divided = [(problem.shape, problem.rank, optimizer.name) for part in parts.values() for problem, optimizer in part]
    whole = [(problem.shape, problem.rank, optimizer.name) for problem, optimizer in warm._pairs()]
    assert sorted(divided) == sorted(whole)
    # Kernels of sweeps are those of the type and the rank.
    sweeps = {f"completion float{bits} als rank {rank}" for bits in (32, 64) for rank in range(1, WIDTH + 2)}
    assert sweeps <= set(parts)


def test_every_kind_of_data_of_a_sensing_problem_is_compiled_ahead() -> None:
    sensing = [problem for problem, optimizer in warm._large() if (problem.objective.name, optimizer.name) == MIXED]
    kinds = {type(problem.objective.kernels.mixed(problem.rank, 2)).__name__ for problem in sensing}
    assert kinds == {"MixedSensingData", "QuantizedSensingData"}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_descent_on_many_measurements_is_compiled_ahead_in_both_types(dtype) -> None:
    found = [pair[0] for pair in warm._large() if (pair[0].objective.name, pair[1].name) == ("sensing", "gd")]
    assert any(problem.dtype == dtype and problem.objective.kernels.data(1, 2).g.ndim == 2 for problem in found)


def test_what_only_descents_and_certificates_of_large_data_call_is_compiled_ahead() -> None:
    """In a process of its own, where nothing else has called a kernel."""
    script = """
from lorasolve.commands import warm
from lorasolve.kernels import completion, completion_lanes, evaluate, simd
warm._call_what_no_run_calls()
print(*(signature[0].instance_class.__name__ for signature in evaluate._evaluate.overloads))
compiled = completion_lanes if simd.available() else completion
print(*(len(getattr(compiled, name).overloads) for name in ("_entries", "_product", "_transposed")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    kinds, counts = done.stdout.splitlines()
    assert {"SensingData", "MixedSensingData"} <= set(kinds.split())
    assert counts == "2 2 2"


def test_sweeps_are_compiled_ahead_at_every_rank() -> None:
    """The kernel is compiled for each rank up to the number of lanes, and once for all beyond."""
    found = [(pair[0].rank, threads_of(pair[0]), pair[0].dtype) for pair in warm._large() if pair[1].name == "als"]
    kinds = {np.dtype(np.float64), np.dtype(np.float32)}
    assert set(found) == set(itertools.product(range(1, WIDTH + 2), (1, 2), kinds))
    assert len(found) == len(set(found))


def test_kernels_for_one_thread_and_for_several_are_compiled_ahead() -> None:
    """They differ in type where a kind of data takes scratch for each thread: all of these, from some size on."""
    found: dict[tuple[str, str], set[int]] = {}
    for problem, optimizer in warm._large():
        found.setdefault((problem.objective.name, optimizer.name), set()).add(threads_of(problem))
    assert found == {
        MIXED: {1, 2},
        ("linear", "gd_mixed"): {1, 2},
        ("completion", "gd"): {1, 2},
        ("completion", "als"): {1, 2},
        # On one thread: the small examples of all objectives.
        ("sensing", "gd"): {2},
        ("linear", "gd"): {2},
    }
