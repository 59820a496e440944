"""The kernels on disk: damage, no place to write, two ways of compiling, and the same bits in every process."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from numba.core.registry import cpu_target

from lorasolve.kernels.cache import KernelCache

# One kernel with threads and one caller, as small as can be; its answer is 3 n.
SUMS = """
import numpy as np
from numba import prange
from lorasolve.kernels.jit import compile_seconds, kernel

@kernel(parallel=True)
def fill(out):
    for k in prange(out.size):
        out[k] = 3.0

@kernel()
def total(out):
    fill(out)
    return out.sum()

print(total(np.empty(7)), compile_seconds() > 0)
"""

ALS = """
import numpy as np, lorasolve as ls
rng = np.random.default_rng(0)
rows, cols = np.nonzero(rng.random((40, 30)) < 0.5)
f = ls.objectives.MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (40, 30))
print(ls.solve(ls.Problem(f, 3, 0.2), "als", stop=ls.StoppingRule(max_iter=9)).theta.tobytes().hex())
"""

# A pass with a symbol, called by a kernel with threads and by a driver, and a driver over the two; its answer is 6 n.
PASSES = """
import numpy as np
from numba import prange
from lorasolve.kernels.jit import compile_seconds, kernel

@kernel(inner=True, symbol=True)
def add(out, lo, hi):
    for k in range(lo, hi):
        out[k] += 3.0

@kernel(inner=True, symbol=True, parallel=True)
def halves(out):
    for t in prange(2):
        add(out, out.size * t // 2, out.size * (t + 1) // 2)

@kernel()
def total(out):
    out[:] = 0.0
    halves(out)
    add(out, 0, out.size)
    return out.sum()

print(total(np.empty(7)), compile_seconds() > 0)
"""

FORK = """
import multiprocessing, numba
def of_five(_):
    return total(np.empty(5))
total(np.empty(7))
print(numba.threading_layer())
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(of_five, range(3)).get(timeout=60))
"""


def run(program: str, **environment: str | None) -> tuple[str, str]:
    """Return what a fresh interpreter prints to stdout and to stderr."""
    merged = os.environ | environment
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={key: value for key, value in merged.items() if value is not None},
    )
    return process.stdout, process.stderr


def warned(remarks: str) -> int:
    return remarks.count("UserWarning")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Folders that a first process has filled with the kernels of a program."""
    folders = {program: tmp_path_factory.mktemp("kernels") for program in (SUMS, PASSES)}
    assert run(SUMS, LORASOLVE_CACHE_DIR=str(folders[SUMS])) == ("21.0 True\n", "")
    assert run(PASSES, LORASOLVE_CACHE_DIR=str(folders[PASSES])) == ("42.0 True\n", "")
    return folders


def test_later_processes_load_what_the_first_compiled(filled, tmp_path: pathlib.Path) -> None:
    shutil.copytree(filled[SUMS], tmp_path, dirs_exist_ok=True)
    assert run(SUMS, LORASOLVE_CACHE_DIR=str(tmp_path)) == ("21.0 False\n", "")


def test_damage_is_reported_once_and_mended(filled, tmp_path: pathlib.Path) -> None:
    shutil.copytree(filled[SUMS], tmp_path, dirs_exist_ok=True)
    cut, flipped = (path for path in tmp_path.rglob("*") if path.is_file())
    cut.write_bytes(cut.read_bytes()[:-1])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    text, remarks = run(SUMS, LORASOLVE_CACHE_DIR=str(tmp_path))
    assert (text, warned(remarks)) == ("21.0 True\n", 1)
    assert "is damaged and made anew" in remarks
    assert run(SUMS, LORASOLVE_CACHE_DIR=str(tmp_path)) == ("21.0 False\n", "")


def test_no_place_to_write_is_said_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    text, remarks = run(SUMS, LORASOLVE_CACHE_DIR=str(tmp_path / "file"))
    assert (text, warned(remarks)) == ("21.0 True\n", 1)
    assert "cannot be written (Not a directory)" in remarks


@pytest.mark.parametrize(("given", "folder"), [("~/c", "home/c"), ("c", "start/c"), (None, "home/.cache/lorasolve")])
def test_the_folder_stays_where_it_was_said(tmp_path: pathlib.Path, given: str | None, folder: str) -> None:
    """A program that changes its folder keeps its kernels where they were, and nothing is named ``~``."""
    for name in ("start", "later", "home"):
        (tmp_path / name).mkdir()
    program = f"import os; os.chdir({str(tmp_path / 'start')!r})\n" + SUMS.replace(
        "@kernel()", f"os.chdir({str(tmp_path / 'later')!r})\n\n@kernel()"
    )
    run(program, LORASOLVE_CACHE_DIR=given, HOME=str(tmp_path / "home"), XDG_CACHE_HOME=None)
    files = list(tmp_path.rglob("*.nbc"))
    assert len(files) == 2 and all(path.parent.parent == tmp_path / folder for path in files)
    assert not list((tmp_path / "later").iterdir())


def test_the_folder_needs_no_home(tmp_path: pathlib.Path) -> None:
    """Without HOME the table of users is asked, which here has no entry for anybody."""
    nobody = "import pwd\ndef unknown(*key): raise KeyError\npwd.getpwuid = pwd.getpwnam = unknown\n" + SUMS
    without = {"LORASOLVE_CACHE_DIR": None, "HOME": None, "XDG_CACHE_HOME": None}
    text, remarks = run(nobody, **without)
    assert (text, warned(remarks)) == ("21.0 True\n", 1)
    assert "no home folder" in remarks
    assert run(nobody, **without | {"XDG_CACHE_HOME": str(tmp_path)}) == ("21.0 True\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["lorasolve"]


def test_a_forked_child_runs_on_one_thread_and_says_so(tmp_path: pathlib.Path) -> None:
    text, remarks = run(SUMS + FORK, LORASOLVE_CACHE_DIR=str(tmp_path))
    first, layer, answers = text.splitlines()
    assert (first, answers) == ("21.0 True", "[15.0, 15.0, 15.0]")
    if layer == "omp":
        assert 1 <= warned(remarks) <= 2  # once for each child
        assert "forked from one that had used threads" in remarks


def test_als_gives_the_same_bits_to_the_process_that_compiles(tmp_path: pathlib.Path) -> None:
    texts = [run(ALS, LORASOLVE_CACHE_DIR=str(tmp_path))[0] for _ in range(2)]
    assert len(texts[0]) > 100
    assert texts[0] == texts[1]


def test_callers_by_a_symbol_are_loaded_with_what_they_call(filled, tmp_path: pathlib.Path) -> None:
    shutil.copytree(filled[PASSES], tmp_path, dirs_exist_ok=True)
    assert run(PASSES, LORASOLVE_CACHE_DIR=str(tmp_path)) == ("42.0 False\n", "")
    for damaged in tmp_path.rglob("*.add.*"):
        damaged.write_bytes(damaged.read_bytes()[:-1])
    text, remarks = run(PASSES, LORASOLVE_CACHE_DIR=str(tmp_path))
    assert (text, warned(remarks)) == ("42.0 True\n", 1)
    assert run(PASSES, LORASOLVE_CACHE_DIR=str(tmp_path)) == ("42.0 False\n", "")


def test_a_caller_on_disk_is_not_used_with_another_callee(filled, tmp_path: pathlib.Path) -> None:
    shutil.copytree(filled[PASSES], tmp_path, dirs_exist_ok=True)
    other = PASSES.replace("out[k] += 3.0", "out[k] += 1.0")
    assert run(other, LORASOLVE_CACHE_DIR=str(tmp_path)) == ("14.0 True\n", "")
    without = PASSES.replace("(inner=True, symbol=True)\ndef add", "(inner=True)\ndef add")
    assert run(without, LORASOLVE_CACHE_DIR=str(tmp_path)) == ("42.0 True\n", "")


def test_kernels_of_one_name_that_compute_something_else_are_other_files() -> None:
    bodies = ("x + 1.0", "x - 1.0", "x + 2.0", "math.sin(x)", "math.cos(x)", "(lambda: 1.0)()", "(lambda: 2.0)()")
    codegen = cpu_target.target_context.codegen()
    names = set()
    for body in bodies:
        made = {"__name__": "kernels"}
        exec(f"def f(x): return {body}", made)
        names.add(KernelCache(made["f"], None).name("float64(float64)", codegen))
    assert len(names) == len(bodies)


def test_a_kernel_for_kernels_refuses_python(filled, tmp_path: pathlib.Path) -> None:
    shutil.copytree(filled[PASSES], tmp_path, dirs_exist_ok=True)
    call = PASSES + "\nadd(np.empty(7), 0, 7)"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(call, LORASOLVE_CACHE_DIR=str(tmp_path))
    assert "TypeError: add is called by other kernels only" in caught.value.stderr


def test_a_forked_child_publishes_its_own_passes(tmp_path: pathlib.Path) -> None:
    text, _ = run(PASSES + FORK, LORASOLVE_CACHE_DIR=str(tmp_path))
    first, _, answers = text.splitlines()
    assert (first, answers) == ("42.0 True", "[30.0, 30.0, 30.0]")


# What Python's collector does while a kernel is compiled, afterwards, and where it was off before.
COLLECTOR = """
import gc
from numba.core import event, errors
compiling, during = [], []

class Clock(event.Listener):
    def on_start(self, event):
        compiling.append(gc.isenabled())
    def on_end(self, event):
        pass

event.register("numba:compile", Clock())
gc.callbacks.append(lambda phase, info: during.append(phase) if compiling and not gc.isenabled() else None)
print(total(np.empty(7, np.float32)), len(compiling) > 1, any(compiling), during, gc.isenabled())

@kernel()
def wrong(out):
    return out.nothing

try:
    wrong(np.empty(2))
except errors.TypingError:
    print(gc.isenabled())
gc.disable()
total(np.empty(7, np.int64))
print(gc.isenabled())
"""


def test_garbage_waits_while_a_kernel_is_compiled(tmp_path: pathlib.Path) -> None:
    text, remarks = run(SUMS + COLLECTOR, LORASOLVE_CACHE_DIR=str(tmp_path))
    first, second, third = text.splitlines()[1:]
    assert (first, second, third, remarks) == ("21.0 True False [] True", "True", "False", "")
