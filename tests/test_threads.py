"""Threads beside other programs: when one is kept to, and that results do not depend on it."""

import ast
import itertools
import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._support import threads as _threads
from lorasolve.engine import compile_seconds


@pytest.fixture
def world(monkeypatch):
    """A clock and the seconds that threads have waited, both set by the test."""
    state = {"now": 100.0, "waited": 0.0}
    monkeypatch.setattr(_threads.time, "perf_counter", lambda: state["now"])
    monkeypatch.setattr(_threads, "_waited", lambda: state["waited"])
    return state


def looks(company, world, count, wait):
    """Return what so many looks find while each of two threads waits for this share of the time."""
    found = []
    for _ in range(count):
        world["now"] += 1.5 * _threads.LOOK_SECONDS
        world["waited"] += 2 * wait * 1.5 * _threads.LOOK_SECONDS
        found.append(company.look(2))
    return found


def test_company_is_found_where_threads_wait_and_forgotten_where_they_do_not(world):
    company = _threads._Company()
    assert not any(looks(company, world, 20, 0.01))
    assert looks(company, world, 2, 0.5)[-1]
    waits = int(_threads.SHORTEST_WAIT / _threads.LOOK_SECONDS) + 2
    assert not any(looks(company, world, 2 * waits, 0.0)[waits:])


def test_what_fails_again_is_tried_ever_more_rarely(world):
    company = _threads._Company()
    tried = [k for k, found in enumerate(looks(company, world, 1000, 0.5)) if not found]
    assert 3 <= len(tried) <= 20
    assert tried[-1] - tried[-2] > 4 * (tried[2] - tried[1])


def test_what_was_waited_while_nothing_was_asked_means_nothing(world):
    company = _threads._Company()
    looks(company, world, 3, 0.0)
    world["now"] += 60.0
    world["waited"] += 60.0
    assert not company.look(2)


@pytest.mark.parametrize(("given", "threads"), [("1", 1), ("3", 3), ("4096", 4096), ("007", 7)])
def test_the_environment_sets_threads_where_nothing_else_has(monkeypatch, given, threads):
    monkeypatch.setattr(_threads, "_setting", None)
    monkeypatch.setenv("LORASOLVE_NUM_THREADS", given)
    assert _threads.get_threads() == threads
    _threads.set_threads(2)
    assert _threads.get_threads() == 2
    monkeypatch.setattr(_threads, "_setting", None)
    monkeypatch.delenv("LORASOLVE_NUM_THREADS")
    assert _threads.get_threads() == _threads.available_threads() >= 1


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({}, 64),
        ({"pod/job": "max 100000"}, 64),
        ({"pod/job": "200000 100000"}, 2),
        ({"pod/job": "150000 100000"}, 2),
        ({"pod/job": "5000 100000"}, 1),
        ({"pod": "300000 100000", "pod/job": "max 100000"}, 3),
        ({"pod": "300000 100000", "pod/job": "50000 10000"}, 3),
        ({"pod": "300000 100000", "pod/job": "100000 100000"}, 1),
        ({"": "400000 100000", "pod": "broken"}, 4),
        ({"other": "100000 100000"}, 64),
    ],
)
def test_no_more_threads_are_used_than_control_groups_allow(tmp_path, monkeypatch, limits, cores):
    """The lowest limit of the group and of all above it, as the kernel's documentation of cgroup v2 has it."""
    groups = tmp_path / "groups"
    (groups / "pod/job").mkdir(parents=True)
    for group, limit in limits.items():
        (groups / group).mkdir(exist_ok=True)
        (groups / group / "cpu.max").write_text(f"{limit}\n")
    own = tmp_path / "cgroup"
    own.write_text("9:cpuset:/elsewhere\n0::/pod/job\n")
    monkeypatch.setattr(_threads, "GROUPS", groups)
    monkeypatch.setattr(_threads, "PROCESS_GROUPS", own)
    monkeypatch.setattr(_threads.os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.delenv("LORASOLVE_NUM_THREADS", raising=False)
    monkeypatch.setattr(_threads, "_setting", None)
    _threads._quota.cache_clear()
    try:
        assert _threads.get_threads() == cores
    finally:
        _threads._quota.cache_clear()


@pytest.mark.parametrize("given", ["0", "4097", "-1", "two", "", "1.0", "\u00b2", "9" * 30, " 2"])
def test_what_is_no_number_of_threads_is_refused_by_the_name_of_the_variable(monkeypatch, given):
    monkeypatch.setattr(_threads, "_setting", None)
    monkeypatch.setenv("LORASOLVE_NUM_THREADS", given)
    with pytest.raises(ValueError, match="LORASOLVE_NUM_THREADS: expected an integer from 1 to 4096, got"):
        _threads.get_threads()


def problems():
    rng = np.random.default_rng(0)
    rows, cols = np.divmod(rng.choice(400 * 300, 30_000, replace=False), 300)
    yield ls.objectives.MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (400, 300)), 5
    yield ls.objectives.MatrixCompletion(rows, cols, rng.standard_normal(rows.size), (400, 300)), 20
    yield ls.objectives.MatrixSensing(rng.standard_normal((150, 30, 30)), rng.standard_normal(150)), 4
    yield ls.objectives.LinearFineTuning(*rng.standard_normal((3, 250, 250))), 4


@pytest.mark.parametrize("case", range(4))
def test_results_do_not_depend_on_company(monkeypatch, case):
    objective, rank = list(problems())[case]
    monkeypatch.setattr(_threads, "_setting", 2)
    results = []
    for found in (False, True):
        monkeypatch.setattr(_threads._company, "look", lambda threads, found=found: found)
        problem = ls.Problem(objective, rank, 0.1)
        run = ls.solve(problem, ls.optimizers.GD(step_size=1e-4), "gaussian", stop=ls.StoppingRule(max_iter=20), seed=0)
        results.append((run.A.tobytes(), run.B.tobytes(), run.fun))
        if isinstance(objective, ls.objectives.MatrixCompletion):
            results[-1] += (objective.minimize_over_A(run.B, 0.1).tobytes(),)
            results[-1] += (objective.gradient_operator(run.A, run.B).matmat(run.B).tobytes(),)
    assert results[0] == results[1]


@pytest.mark.parametrize("case", range(4))
def test_runs_in_several_threads_are_those_in_one(case, monkeypatch):
    """Loops that are divided among threads let other calls run: completions mixed the residuals of two points."""
    monkeypatch.setattr(_threads._company, "look", lambda threads: False)
    monkeypatch.setattr(_threads, "_setting", 2)
    loss, rank = list(problems())[case]
    problem, stop = ls.Problem(loss, rank, 2.0), ls.StoppingRule(max_iter=30)

    def run(k):
        return ls.solve(problem, ("gd", "lbfgs")[k % 2], "gaussian", seed=k // 2, stop=stop).fun

    alone = list(map(run, range(8)))
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(run, range(8))) == pytest.approx(alone, rel=1e-9)


LIMITED = """
import sys
import types
import numpy as np
import lorasolve as ls
from threadpoolctl import threadpool_info

assert "scipy.linalg" not in sys.modules
problem = ls.Problem(ls.objectives.Denoising(np.eye(4, 3)), 2, 0.1)
for _ in range(2):
    seen = set()
    blas = lambda: (each for each in threadpool_info() if each["user_api"] == "blas")
    look = lambda record: seen.add(tuple(sorted((each["filepath"], each["num_threads"]) for each in blas())))
    ls.solve(problem, "METHOD", init="gaussian", seed=0, callback=look)
    print(seen)
"""


@pytest.mark.parametrize("method", ["lbfgs", "trust_ncg"])
def test_the_first_run_of_a_process_is_limited_as_the_next(method):
    """SciPy was loaded within the limit, which it escaped: the same run a second time had other last digits."""
    environment = {**os.environ, "LORASOLVE_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    program = LIMITED.replace("METHOD", method)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == second != "set()"
    # Two pools of two threads each would wait for each other.
    (libraries,) = ast.literal_eval(second)
    own = {threads for place, threads in libraries if "scipy.libs" in place}
    assert {threads for place, threads in libraries if "scipy.libs" not in place} == {2}
    assert own <= {1}


@pytest.mark.parametrize(
    ("given", "setting", "numpy_may"), [((2, 2), 2, 2), ((2, 2), 1, 1), ((1, 2), 2, 1), ((2, 1), 2, 2)]
)
def test_threads_of_blas_while_points_are_judged(monkeypatch, given, setting, numpy_may):
    """The setting holds for certificates too; SciPy's pool keeps to one; what a caller has limited is not raised."""
    import scipy.linalg  # noqa: F401

    every, own = _threads._loaded()
    of_numpy, of_scipy = (
        [lib for lib in every.lib_controllers if f"{name}.libs" in lib.filepath] for name in ("numpy", "scipy")
    )
    if not (of_numpy and of_scipy):
        pytest.skip("NumPy and SciPy do not bring a BLAS each")

    def now():
        return of_numpy[0].num_threads, of_scipy[0].num_threads

    class Watched(ls.objectives.Denoising):
        def value_and_grad(self, X):
            seen.append(now())
            return super().value_and_grad(X)

    monkeypatch.setattr(_threads, "_setting", setting)
    A, B = (np.random.default_rng(0).standard_normal((size, 2)) for size in (7, 5))
    problem = ls.Problem(Watched(np.ones((7, 5))), 2, 0.1)
    with every.limit(limits=given[0], user_api="blas"), own.limit(limits=given[1]):
        for judge in (ls.certify, ls.landscape.verdict, lambda *point: ls.landscape.second_order(point[0], *point[1])):
            seen = []
            judge(problem, (A, B))
            assert now() == given
            # A verdict may solve on the way, in a compiled loop that keeps BLAS to one thread.
            assert (numpy_may, 1) in seen and {*seen} <= {(numpy_may, 1), (1, 1)}


class Library:
    """A BLAS, as threadpoolctl shows one."""

    user_api = "blas"

    def __init__(self, num_threads):
        self.num_threads, self.filepath = num_threads, f"libblas_{id(self)}.so"

    def set_num_threads(self, n):
        self.num_threads = n


def test_limits_that_overlap_leave_the_threads_as_they_were():
    """As of certificates in several threads of Python: the first to begin is the first to end."""
    two, one = Library(2), Library(1)
    every = types.SimpleNamespace(lib_controllers=[two, one])
    first, second = _threads._limited(every, 1), _threads._limited(every, 1)
    first.__enter__()
    second.__enter__()
    assert two.num_threads == one.num_threads == 1
    first.__exit__(None, None, None)
    assert two.num_threads == one.num_threads == 1
    second.__exit__(None, None, None)
    assert (two.num_threads, one.num_threads) == (2, 1)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_limits_that_raise_the_threads_leave_them_as_they_were_in_whatever_order_they_end(monkeypatch, order):
    """As of solves in several threads: a BLAS that its owner kept to one thread had two for the rest of the process."""
    library = Library(1)
    monkeypatch.setattr(_threads, "_loaded", lambda: (types.SimpleNamespace(lib_controllers=[library]), None))
    blocks = [_threads.blas_threads(n) for n in (2, 3, 1)]
    for block, asked in zip(blocks, (2, 3, 1)):
        block.__enter__()
        assert library.num_threads == asked
    for k in order:
        blocks[k].__exit__(None, None, None)
    assert library.num_threads == 1 and library.filepath not in _threads._blocks


def test_calls_from_several_threads_leave_the_threads_of_blas_as_they_were(monkeypatch):
    import scipy.linalg  # noqa: F401

    monkeypatch.setattr(_threads, "_setting", 2)
    libraries = _threads._loaded()[0]
    problem = ls.Problem(ls.objectives.Denoising(np.random.default_rng(0).standard_normal((12, 9))), 3, 1.0)

    def run(seed):
        return ls.verdict(problem, ls.solve(problem, ("lbfgs", "gd")[seed % 2], seed=seed)).kind

    with libraries.limit(limits=1, user_api="blas"):
        before = [library.num_threads for library in libraries.lib_controllers]
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(run, range(24))) == {"global"}
        assert [library.num_threads for library in libraries.lib_controllers] == before


def test_kernels_that_another_thread_is_loading_have_compiled_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "lorasolve.kernels.jit", types.ModuleType("lorasolve.kernels.jit"))
    assert compile_seconds() == 0.0
