"""Calls: a function over cells gives what it gives alone, whoever does it and however it is stopped."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from grids import SIGNALS, found

import lorasolve as ls
from lorasolve._support.interruptions import ENDING, interruptions_end_all, is_part
from lorasolve.attacks import attack
from lorasolve.executors import Executor, Outcome, Pool, WorkersError, dask
from lorasolve.studies import Calls, Kept, Store

SLURM_HERE = pytest.param(
    "slurm",
    marks=pytest.mark.skipif(
        "SLURM_CONF" not in os.environ or shutil.which("sbatch") is None,
        reason="no Slurm here (tests/studies/slurm.sh)",
    ),
)
CELLS = [{"n": n, "scale": scale} for n in (1, 2, 3) for scale in (0.5, [1.0, 2.0])]


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_each_cell_has_what_the_function_returns(tmp_path, backend):
    calls = Calls("sums", found, CELLS)
    runs = calls.run(tmp_path / "store", backend, n_jobs=2 if backend == "loky" else 1)
    records = calls.records(runs)
    assert [record["run"]["cell"] for record in records] == CELLS
    for cell, record in zip(CELLS, records):
        if cell == CELLS[2]:
            assert record["result"] == {"error": "LookupError: no such thing"}
            continue
        alone = found(cell)
        assert record["result"] == {"status": "done", "found": {"sum": alone.found["sum"], "undefined": None}}
        np.testing.assert_array_equal(runs.store.factors(record).view(np.int64), alone.vector.view(np.int64))
        with pytest.raises(ValueError, match=f"run {record['key']}: a call has no factors"):
            runs.factors(record)
    again = calls.run(tmp_path / "store", "serial")
    assert again.digest() == runs.digest() and len(Store(tmp_path / "store").shards()) == len(runs.store.shards())


def test_the_seconds_of_calls_are_those_that_they_take(tmp_path):
    began = time.perf_counter()
    runs = Calls("waits", lambda cell: time.sleep(0.02), [{"k": k} for k in range(3)]).run(tmp_path, "serial")
    whole = time.perf_counter() - began
    seconds = [record["made"]["seconds"] for record in runs]
    assert min(seconds) >= 0.02 and sum(seconds) <= whole


def test_axes_of_a_phase_diagram_have_their_own_labels_where_they_share_numbers(tmp_path):
    cells = [{"lam": lam, "rank": rank} for lam in (0.5, 1.0, 2.0) for rank in (1, 2)]
    runs = Calls("products", lambda cell: cell["lam"] * cell["rank"], cells).run(tmp_path, "serial")
    xs, ys, found = runs.phase("lam", "rank", "mean of found")
    assert (repr(xs), repr(ys)) == ("[0.5, 1.0, 2.0]", "[1, 2]")
    assert np.array_equal(found, np.outer(ys, xs))


def test_tables_and_phase_diagrams_of_calls_show_what_they_found(tmp_path):
    """They had said that none had converged, and nothing of what was found."""

    def asked(cell):
        if cell["seed"] == 2:
            raise LookupError("no such thing")
        return {"power": float(cell["n"] ** cell["seed"]), "even": cell["n"] % 2 == 0}

    cells = [{"n": n, "seed": seed} for n in (2, 3) for seed in range(3)]
    runs = Calls("powers", asked, cells).run(tmp_path, "serial")
    head, *lines = (line.split() for line in runs.table().splitlines())
    assert [dict(zip(head, line)) for line in lines] == [
        {"n": n, "runs": "3", "failed": "1", "converged": "-", "fun": "-", "nit": "-"}
        | {"found.power": power, "found.even": even}
        for n, power, even in (("2", "1.5", "1.00"), ("3", "2", "0.00"))
    ]
    rows = list(csv.DictReader(io.StringIO(runs.to_csv())))
    assert [row["found.power"] for row in rows] == ["1.0", "2.0", "", "1.0", "3.0", ""]
    _, _, found = runs.phase("seed", "n", "max of found.power")
    np.testing.assert_array_equal(found, [[1.0, 2.0, np.nan], [1.0, 3.0, np.nan]])
    np.testing.assert_array_equal(runs.phase("n", "seed", "share of found.even")[2][:2], [[1.0, 0.0], [1.0, 0.0]])
    page = runs.phase_page("n", "seed", "share of found.even")
    assert json.dumps("calls.function({'n': 3, 'seed': 1})") in page and "study.repeat" not in page
    assert Calls("powers", asked, cells).function({"n": 3, "seed": 1}) == {"power": 3.0, "even": False}


def test_an_axis_that_is_named_twice_is_one_column(tmp_path):
    runs = Calls("twice", found, [{"n": 1}, {"n": 2}]).run(tmp_path, "serial")
    assert runs.table(by=["n", "n"]) == runs.table(by=["n"]) and runs.to_latex(by=["n", "n"]) == runs.to_latex(by=["n"])


def test_a_cell_that_is_given_twice_is_done_once_and_true_is_not_1(tmp_path):
    cells = [{"n": 1, "seed": 2}, {"seed": np.int64(2), "n": 1}, {"n": True, "seed": 2}]
    assert len(Calls("twice", found, cells).run(tmp_path, "serial")) == 2


def test_cells_that_json_cannot_hold_are_refused_at_once():
    for odd in ({1, 2}, b"text", 1j):
        with pytest.raises(TypeError, match=r"cells: expected settings that JSON can hold, got \{'n': "):
            Calls("odd", len, [{"n": odd}])


def test_other_cells_labels_and_functions_are_other_keys(tmp_path):
    def other(cell):
        return found(cell)

    keys = [Calls(label, function, CELLS).keys() for label in ("a", "b") for function in (found, other)]
    keys.append(Calls("a", found, [{"n": 4}]).keys())
    assert len(set().union(*keys)) == sum(map(len, keys)) == 25
    assert Calls("a", found, CELLS[:2]).keys() < keys[0]
    assert Calls("a", found, [dict(reversed(cell.items())) for cell in CELLS]).keys() == keys[0]
    assert Calls("a", found, CELLS, mark="x").keys() == Calls("a", other, CELLS, mark="x").keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", found, []), "cells: is empty"),
        ((1, found, CELLS), "label: expected a text"),
        (("a", "found", CELLS), "function: expected a function"),
        (("a", found, 3), "cells: expected a list of one value or several"),
        (("a", found, [{"n": 1}, 2]), "cells: expected dicts of settings, got 2"),
        (("a", found, [{"seconds": 1}]), "cells: expected names of their own, got 'seconds', which is a column of"),
        (("a", found, [{"n": 1, "found": 2}]), "cells: expected names of their own, got 'found', which is a column"),
        (("a", found, [{"n": 1}, {"n": 1.0}]), "cells: expected each number written one way, got {'n': 1} and"),
        (
            ("a", found, [{"n": [2, 0.0], "m": 1}, {"m": 1, "n": [2, -0.0]}]),
            "cells: expected each number written one way",
        ),
        (("a", found, [{"n": np.float32("nan")}]), "cells: expected finite numbers, got nan in {'n': "),
        (("a", found, [{"n": [1, {"m": -np.inf}]}]), "cells: expected finite numbers, got -inf in {'n': "),
        (("a", found, [{"n": np.array([[1.0, np.inf]])}]), "cells: expected finite numbers, got inf in {'n': "),
    ],
)
def test_bad_input_names_the_argument(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Calls(*arguments)


VECTORS = {
    "matrix": np.eye(2),
    "number": np.array(2.0),
    "text": "abc",
    "complex": np.array([1.0 + 2.0j]),
    "objects": np.array([None]),
    "hidden": np.ma.array([1.0, 2.0], mask=[True, False]),
    "whole numbers": np.array([1, 2]),
    "list": [1.0, 2.0],
    "none": np.empty(0),
}


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_what_cannot_be_kept_bit_for_bit_is_an_error_of_its_cell(tmp_path, backend):
    def vectors(cell):  # within the test, so that workers have it by value
        if cell["kind"] == "exits":
            sys.exit(0)
        return Kept(0, VECTORS[cell["kind"]])

    kinds = ["exits", *VECTORS]
    calls = Calls("vectors", vectors, [{"kind": kind} for kind in kinds])
    runs = calls.run(tmp_path, backend, n_jobs=1)
    found = dict(zip(kinds, calls.records(runs)))
    errors = {kind: record["result"]["error"] for kind, record in found.items() if "error" in record["result"]}
    assert errors.keys() == {"exits", "matrix", "number", "text", "complex", "objects", "hidden"}
    assert errors.pop("exits") == "SystemExit: 0"
    assert all(": vector: " in error for error in errors.values())
    for kind in ("whole numbers", "list"):
        np.testing.assert_array_equal(runs.store.factors(found[kind]), [1.0, 2.0])
    assert runs.store.factors(found["none"]).size == 0


class _Forgetful(Pool):
    """A pool whose worker leaves the second half of its first chunk out, and does not say so."""

    def __init__(self, start):
        self.work, self.tasks, self.forgets = start(), [], True

    def submit(self, task, chunk):
        self.tasks.append((task, chunk))

    def wait(self, seconds):
        task, chunk = self.tasks.pop()
        if self.forgets:
            number, part = chunk
            self.forgets, chunk = False, (number, part._replace(indices=part.indices[: len(part.indices) // 2]))
        return [Outcome(task, self.work(chunk))]


class Forgetful(Executor):
    name = "forgetful"

    def open(self, start, n_workers, threads, results=None):
        return _Forgetful(start)


def test_what_a_worker_leaves_out_is_done_again(tmp_path):
    calls = Calls("squares", lambda cell: cell["k"] ** 2, [{"k": k} for k in range(9)])
    records = calls.records(calls.run(tmp_path, Forgetful(), 1))
    assert [record and record["result"]["found"] for record in records] == [k**2 for k in range(9)]


class _Shares(_Forgetful):
    def __init__(self, start):
        super().__init__(start)
        self.forgets = False


class Shares(Executor):
    name = "shares"
    whole_shares = True

    def open(self, start, n_workers, threads, results=None):
        return _Shares(start)


def test_whole_shares_do_what_failed_again_on_request_and_leave_what_others_have_done(tmp_path, monkeypatch):
    """Another worker does the last cell while the share goes on, as one whose caller is gone."""
    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)
    monkeypatch.setattr("lorasolve.studies._engine.COMMIT_SECONDS", 0.0)
    asked = []

    def square(cell):
        asked.append(cell["k"])
        time.sleep(0.1)  # so that few are begun together
        if len(asked) <= 2:
            raise LookupError("not yet")
        if cell["k"] == 3:
            Calls("squares", square, cells[-1:], "square").run(tmp_path, "serial")
        return cell["k"] ** 2

    cells = [{"k": k} for k in range(40)]
    assert len(Calls("squares", square, cells[:2], "square").run(tmp_path, Shares(), 1).failed) == 2
    calls = Calls("squares", square, cells, "square")
    records = calls.records(calls.run(tmp_path, Shares(), 1, retry_failed=True))
    assert [record["result"]["found"] for record in records] == [k**2 for k in range(40)]
    assert sorted(asked) == sorted([0, 1, *range(40)])


def test_a_dask_worker_of_many_threads_does_every_cell_once(tmp_path):
    distributed = pytest.importorskip("distributed")

    def square(cell):  # within the test, so that workers have it by value
        time.sleep(0.0002 * (cell["k"] % 7))
        return cell["k"] ** 2

    calls = Calls("squares", square, [{"k": k} for k in range(2000)])
    with distributed.LocalCluster(1, threads_per_worker=4, processes=True, dashboard_address=":0") as cluster:
        runs = calls.run(tmp_path, f"dask:address={cluster.scheduler_address!r}", 4, threads=1)
    assert [record and record["result"]["found"] for record in calls.records(runs)] == [k**2 for k in range(2000)]
    assert sum(len(shard.read_bytes().splitlines()) for shard in runs.store.shards()) == 2000


def test_threads_of_a_dask_worker_do_one_chunk_at_a_time(monkeypatch):
    """A chunk sets the number of threads of the whole process, and writes to its one shard."""
    inside, most = [], []

    def work(chunk):
        inside.append(chunk)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(chunk)
        return chunk

    monkeypatch.setitem(dask._works, "token", work)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda chunk: dask._call("token", chunk), range(4))) == [0, 1, 2, 3]
    assert most == [1, 1, 1, 1]


VERSIONED = """
SCALE = {scale}
CACHE, COUNT, KNOWN = {{}}, 0, {{"k": None}}

def note(k):
    global COUNT
    COUNT += 1
    CACHE[k] = COUNT

def scaled(cell, seen=[]):
    seen.append(cell["k"])
    note(cell["k"])
    return cell["k"] * SCALE + 0 * len(CACHE) * COUNT

class Scaled:
    shape, convex, lower_bound, smoothness, seen = (4, 3), True, 0.0, 1.0, []
    def value_and_grad(self, X):
        self.seen.append(COUNT)
        return 0.5 * float(((X - SCALE) ** 2).sum()), X - SCALE
"""


def test_a_worker_refuses_code_that_is_not_the_callers(tmp_path, monkeypatch):
    """A module that is edited once the caller has read it: the worker would keep its results under the old keys."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "versioned_for_test.py"
    path.write_text(VERSIONED.format(scale=10))
    from versioned_for_test import Scaled, scaled

    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)
    calls = Calls("scaled", scaled, [{"k": k} for k in range(4)])
    study = ls.Study(ls.Problem(Scaled(), 1), {"seed": range(4)}, "lbfgs")
    for work, folder in ((calls, "calls"), (study, "study")):
        assert len(work.run(tmp_path / folder / "same", "loky", 1)) == 4
    path.write_text(VERSIONED.format(scale=2000))
    for work, name in ((calls, "scaled"), (study, "Scaled")):
        with pytest.raises(ValueError, match=rf"backend: versioned_for_test\.{name} is other code in the worker"):
            work.run(tmp_path / "edited", "loky", 1)
        assert len(work.runs(tmp_path / "edited")) == 0
    assert [line["result"]["found"] for line in calls.records(calls.runs(tmp_path / "calls" / "same"))] == [
        0,
        10,
        20,
        30,
    ]


@pytest.mark.parametrize("reads", ["from helpers_for_test import helped", "import helpers_for_test"])
@pytest.mark.parametrize("where", ["a module", "a script"])
def test_a_worker_refuses_other_code_of_modules_that_are_called(tmp_path, monkeypatch, reads, where):
    """The function is the same in both, and what a module calls that it calls is not."""
    monkeypatch.syspath_prepend(tmp_path)
    called = "helped" if reads.startswith("from") else "helpers_for_test.helped"
    function = f"{reads}\ndef scaled(cell):\n    return {called}(cell['k'])"
    deepest = "def helping(k):\n    return {scale} * k"
    for name in ("calling_for_test", "helpers_for_test", "helping_for_test"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "calling_for_test.py").write_text(function)
    text = "import helping_for_test\ndef helped(k):\n    return helping_for_test.helping(k)"
    (tmp_path / "helpers_for_test.py").write_text(text)
    (tmp_path / "helping_for_test.py").write_text(deepest.format(scale=10))
    if where == "a module":
        from calling_for_test import scaled
    else:
        exec(function, scope := {"__name__": "__main__"})
        scaled = scope["scaled"]
    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)
    calls = Calls("scaled", scaled, [{"k": k} for k in range(4)])
    assert len(calls.run(tmp_path / "same", "loky", 1)) == 4
    (tmp_path / "helping_for_test.py").write_text(deepest.format(scale=2000))
    with pytest.raises(ValueError, match=r"backend: \w+_for_test(\.\w+)? is other code in the worker .*, or something"):
        calls.run(tmp_path / "edited", "loky", 1)
    assert len(calls.runs(tmp_path / "edited")) == 0


def test_a_dask_cluster_without_workers_is_not_waited_for_without_end(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("lorasolve.executors.dask._PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)
    calls = Calls("numbers", lambda cell: cell["k"], [{"k": k} for k in range(9)])
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        pytest.raises(WorkersError, match="backend: the cluster of dask has had no workers for 1 s"),
    ):
        calls.run(tmp_path, f"dask:address={cluster.scheduler_address!r}")


def test_a_scheduler_of_dask_that_dies_ends_the_call_in_words(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    config = pytest.importorskip("dask").config
    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)
    # Without workers: that the scheduler is gone is said long before patience ends.
    calls = Calls("numbers", lambda cell: cell["k"], [{"k": k} for k in range(9)])
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard"]
    scheduler = subprocess.Popen([*command, f"--scheduler-file={file}"], stderr=subprocess.DEVNULL)
    try:
        while not (file.exists() and file.stat().st_size):  # it is there before it is written
            assert scheduler.poll() is None
            time.sleep(0.1)
        threading.Timer(2.0, scheduler.kill).start()
        address = json.loads(file.read_text())["address"]
        with (
            config.set({"distributed.comm.timeouts.connect": "2s"}),
            pytest.raises(WorkersError, match="backend: the scheduler of dask is gone; what is finished is kept"),
        ):
            calls.run(tmp_path / "runs", f"dask:address={address!r}")
        with (
            config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(WorkersError, match=f"backend: no scheduler of dask answers at {address}"),
        ):
            calls.run(tmp_path / "runs", f"dask:address={address!r}")
    finally:
        scheduler.kill()
        scheduler.wait()
    with pytest.raises(ValueError, match=r"backend: dask: address: expected that of a scheduler, .*, got 'nonsense'"):
        calls.run(tmp_path / "runs", "dask:address=nonsense")


@pytest.mark.parametrize("guard", ["if True:", "if __name__ == '__main__':"])
def test_a_script_that_workers_of_dask_would_run_again_is_refused(tmp_path, guard):
    pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import time
from concurrent.futures import ThreadPoolExecutor
from lorasolve.studies import Calls, _engine
def square(cell):
    return cell["k"] ** 2
{guard}
    _engine.FIRST_SECONDS = 0.0
    calls = Calls("squares", square, [{{"k": k}} for k in range(4)])
    print([line["result"]["found"] for line in calls.records(calls.run({str(tmp_path / "runs")!r}, "dask", 1))])
"""
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    if "__name__" in guard:
        assert done.stdout.strip() == "[0, 1, 4, 9]", done.stderr
    else:
        words = f"ValueError: backend: workers of 'dask' that are started here would run {script} again; "
        assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(words) and not done.stdout


def test_a_program_from_a_pipe_is_told_that_workers_of_dask_need_a_file(tmp_path):
    """It ended in "Nanny failed to start", after half a page of the workers' own errors."""
    pytest.importorskip("distributed")
    program = f"""
from lorasolve.studies import Calls, _engine
_engine.FIRST_SECONDS = 0.0
Calls("lengths", len, [{{"k": 1}}, {{"k": 2}}]).run({str(tmp_path / "runs")!r}, "dask", 1)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-"], input=program, env=environment, capture_output=True, text=True, timeout=120
    )
    words = "ValueError: backend: workers of 'dask' that are started here read the program, and <stdin> is no file; "
    assert told.returncode == 1 and told.stderr.splitlines()[-1].startswith(words)


def interrupt(times: int) -> None:
    """Send Ctrl-C to this process from beside, some times."""

    def send():
        for _ in range(times):
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


def test_asked_to_stop_it_finishes_the_cell_and_goes_on_with_the_others(tmp_path, capfd):
    def wait(cell):
        if cell["k"] == 1:
            interrupt(1)
            time.sleep(0.8)
        return cell["k"]

    calls = Calls("waits", wait, [{"k": k} for k in range(4)])
    runs = calls.run(tmp_path / "store", "serial")
    assert runs.interrupted and [line and line["result"]["found"] for line in calls.records(runs)] == [0, 1, None, None]
    text = capfd.readouterr().err
    assert "waits: what is in progress is finished first" in text
    assert "waits: stopped; 2 of 4 runs are finished and saved, the same call goes on" in text
    assert [line["result"]["found"] for line in calls.records(calls.run(tmp_path / "store", "serial"))] == [0, 1, 2, 3]


class Sender:
    """``||X - 1||^2/2``, which sends Ctrl-C to this process when it is asked for the fifth time, if it is to."""

    shape, convex, lower_bound, smoothness = (6, 5), True, 0.0, 1.0

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def value_and_grad(self, X):
        self.asked += 1
        if self.asked == 5:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return 0.5 * float(((X - 1.0) ** 2).sum()), X - 1.0


def compared(times: int) -> list[float]:
    problem = ls.Problem(Sender(times), 2, 0.1)
    found = ls.compare(problem, ["gd", "lbfgs"], seeds=2, stop=ls.StoppingRule(20))
    return [result.fun for results in found.runs for result in results]


def nested(times: int) -> int:
    """Return how many of three cells were done."""

    def cell(settings):
        if times and settings["k"] == 0:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return settings["k"]

    with tempfile.TemporaryDirectory() as folder:
        return len(Calls("inside", cell, [{"k": k} for k in range(3)], "inside").run(folder, "serial"))


def checked(times: int) -> list[str]:
    return [check.name for check in ls.check_objective(Sender(times)).checks]


def attacked(times: int) -> list[int]:
    SIGNALS.extend(times * [signal.SIGINT])
    return list(attack("certify:grids.never_sure", 60.0, trials=6).trials.values())


@pytest.mark.parametrize("inside", [compared, nested, checked, attacked])
def test_what_a_cell_runs_is_not_cut_short_by_the_first_interruption(tmp_path, inside):
    """What one Ctrl-C leaves of it is all that it finds alone; of two, nothing is kept."""
    alone = inside(0)

    def of(times):
        return Calls("outside", lambda cell: inside(times if cell["k"] == 0 else 0), [{"k": 0}, {"k": 1}], "outside")

    with pytest.raises(KeyboardInterrupt):
        of(2).run(tmp_path, "serial")
    assert of(0).records(of(0).runs(tmp_path)) == [None, None]
    runs = of(1).run(tmp_path, "serial")
    assert runs.interrupted
    assert [line and line["result"]["found"] for line in of(1).records(runs)] == [alone, None]
    assert [line["result"]["found"] for line in of(0).records(of(0).run(tmp_path, "serial"))] == [alone, alone]


def test_ctrl_c_in_a_run_inside_a_search_ends_the_search():
    """It passes through the run, which would keep what it has and let the next trial begin."""
    with pytest.raises(KeyboardInterrupt):
        _run_and_go_on()
    assert not is_part()


@interruptions_end_all()
def _run_and_go_on() -> None:
    nested(1)
    raise AssertionError("went on")


def test_after_sigterm_a_cell_that_takes_too_long_is_left(tmp_path, monkeypatch):
    """Who sends SIGTERM kills some seconds later; the cells before it are kept, and the same call goes on."""
    monkeypatch.setattr("lorasolve.studies._engine.GRACE_SECONDS", 0.3)
    patience = [60.0]

    def wait(cell):
        end = time.perf_counter() + patience[0]
        if cell["k"] == 1 and len(patience) == 1:
            signal.raise_signal(signal.SIGTERM)
            while time.perf_counter() < end:
                time.sleep(0.01)
        return cell["k"]

    calls = Calls("waits", wait, [{"k": k} for k in range(3)], "the function looks at the time")
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        calls.run(tmp_path / "store", "serial")
    assert 0.3 <= time.perf_counter() - began < 30.0
    kept = calls.records(calls.runs(tmp_path / "store"))
    assert [line and line["result"]["found"] for line in kept] == [0, None, None]
    patience.append(0.0)
    assert [line["result"]["found"] for line in calls.records(calls.run(tmp_path / "store", "serial"))] == [0, 1, 2]


def test_a_second_interruption_ends_at_once_and_half_a_run_is_not_kept(tmp_path):
    """A solver keeps what it has at a KeyboardInterrupt; a study must not take that for the run."""

    class Sends(ls.optimizers.GD):
        """Gradient descent that is interrupted twice in its second iteration."""

        def update(self, problem, state, value, grad):
            super().update(problem, state, value, grad)
            if state.accepted_steps == 2:
                interrupt(2)
            time.sleep(0.05)

        def kernel_data(self, problem):
            return None

    problem = ls.Problem(ls.objectives.Denoising(np.random.default_rng(0).standard_normal((5, 4))), 2, 0.1)
    methods = {"plain": ls.optimizers.GD(), "sends": Sends()}
    study = ls.Study(problem, {"method": methods}, stop=ls.StoppingRule(max_iter=2000, grad_tol=0.0))
    with pytest.raises(KeyboardInterrupt):
        study.run(tmp_path / "store", "serial")
    ends = [record["result"]["status"] for record in ls.Runs.read(tmp_path / "store")]
    assert "interrupted" not in ends and len(ends) <= 1


@pytest.mark.parametrize("backend", ["serial", "loky", "dask", SLURM_HERE])
def test_a_keyboard_interrupt_of_a_cell_ends_the_call_and_is_no_result(tmp_path, monkeypatch, backend):
    """Some libraries raise it when they are interrupted; a solver keeps half a run then, which is none."""
    if backend == "dask":
        pytest.importorskip("distributed")
    if backend == "slurm":
        pytest.importorskip("submitit")
        backend = f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB"

    class Interrupts:
        shape, convex, lower_bound, not_data = (6, 5), True, 0.0, ("calls",)

        def __init__(self, k):
            self.k, self.calls = k, 0

        def value_and_grad(self, X):
            self.calls += 1
            if self.k == 2 and self.calls == 8:
                raise KeyboardInterrupt("of a library")
            return 0.5 * float(((X - 1.0) ** 2).sum()), X - 1.0

    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)
    study = ls.Study(lambda k: ls.Problem(Interrupts(k), 2, 0.1), {"k": range(6)}, "lbfgs")
    with pytest.raises(KeyboardInterrupt):
        study.run(tmp_path / "runs", backend, n_jobs=1)
    kept = {record["run"]["cell"]["k"]: record["result"]["status"] for record in study.runs(tmp_path / "runs")}
    assert 2 not in kept and set(kept.values()) <= {"converged"}


def test_the_exit_of_a_process_that_is_queued_again_is_no_result(tmp_path):
    """As submitit ends it, by a signal in the midst of a cell, once it has asked for the work that is left."""

    def preempted(cell):
        if cell["k"] == 1:
            ENDING.set()
            raise SystemExit(-1)
        return cell["k"]

    calls = Calls("preempted", preempted, [{"k": k} for k in range(3)])
    try:
        with pytest.raises(SystemExit):
            calls.run(tmp_path, "serial")
    finally:
        ENDING.clear()
    assert all("error" not in record["result"] for record in ls.Runs.read(tmp_path))
