"""Studies that are killed, asked to stop, or ended by one of their own runs: what is done stays, the rest follows."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import time

import numpy as np
import pytest
from grids import plain
from harness import python

import lorasolve as ls
from lorasolve.studies import Store

RUN = """
import sys
from grids import plain
if __name__ == "__main__":
    runs = plain(int(sys.argv[3])).run(sys.argv[1], sys.argv[2], n_jobs=int(sys.argv[4]), threads=1)
    print(len(runs), runs.interrupted)
"""


def kill_repeatedly(store, backend, seeds, kills, pause, n_jobs):
    """Kill the process that runs a study, or one of its workers, at random moments; return how often each was hit.

    Where a process is done before it can be killed, the next ones get less time.
    """
    rng = np.random.default_rng()
    hit = {"parent": 0, "worker": 0}
    first, last = pause
    while sum(hit.values()) < kills:
        process = python(RUN, str(store), backend, str(seeds), str(n_jobs))
        try:
            time.sleep(float(rng.uniform(first, last)))
            children = [
                int(pid) for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            ]
            if process.poll() is not None:
                first, last = 0.5 * first, 0.7 * last
            else:
                workers = [pid for pid in children if b"loky" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
                target = "worker" if workers and rng.random() < 0.5 else "parent"
                os.kill(workers[0] if target == "worker" else process.pid, signal.SIGKILL)
                hit[target] += 1
                if target == "worker":
                    time.sleep(0.5)
        except (FileNotFoundError, ProcessLookupError):
            first, last = 0.5 * first, 0.7 * last
        finally:
            process.kill()
            process.communicate()
    return hit


def assert_nothing_is_left_behind(store, study):
    lines = [line.key for line in Store(store).lines()]
    assert len(lines) == len(set(lines)) == len(study)
    referenced = {line.factors for line in Store(store).lines()}
    factors = {path.name for path in (store / "factors").iterdir()}
    assert factors <= referenced | {"-"}
    assert {path.suffix for path in store.iterdir() if path.is_file()} <= {".json", ".runs"}
    assert not [path for path in store.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_killed_at_random_moments_the_union_is_the_same(tmp_path):
    study = plain(60)
    expected = study.run(tmp_path / "whole", "serial", threads=1).digest()
    kill_repeatedly(tmp_path / "runs", "loky", 60, 3, (1.0, 5.0), 2)
    assert study.run(tmp_path / "runs", "loky", n_jobs=2, threads=1).digest() == expected
    assert_nothing_is_left_behind(tmp_path / "runs", study)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_twenty_kills_in_two_thousand_runs(tmp_path, backend):
    if backend == "dask":
        pytest.importorskip("distributed")
    study = plain(500)
    expected = study.run(tmp_path / "whole", "serial", threads=1).digest()
    hit = kill_repeatedly(tmp_path / "runs", backend, 500, 20, (1.0, 10.0), 2)
    assert sum(hit.values()) == 20
    assert study.run(tmp_path / "runs", backend, n_jobs=2, threads=1).digest() == expected
    assert_nothing_is_left_behind(tmp_path / "runs", study)


def test_a_run_that_ends_its_process_is_an_error_and_the_others_are_done(tmp_path):
    # In the process of the caller it would end that one, so the keys are not asked for there.
    process = python(
        """
        import os, signal, sys
        import lorasolve as ls
        from grids import Shifted
        def problem(seed):
            if seed == 5 and os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return ls.Problem(Shifted(float(seed)), 1, 0.1)
        parent = os.getpid()
        study = ls.Study(problem, {"seed": range(8)}, stop=ls.StoppingRule(max_iter=3))
        runs = study.run(sys.argv[1], "loky", n_jobs=2)
        print(len(runs), [(r["run"]["cell"]["seed"], r["result"]["error"][:35]) for r in runs.failed])
        """,
        str(tmp_path / "runs"),
    )
    out, err = process.communicate(timeout=300)
    assert out.strip() == "8 [(5, 'the process that ran it was ended e')]", out + err


def test_runs_that_end_the_caller_are_left_to_the_workers_by_the_next_one(tmp_path):
    """The first runs are done by the caller, which says so before; two of these end any process."""
    program = """
        import os, sys
        import lorasolve as ls
        from grids import Shifted
        def measure(problem, result):
            if problem.rank in (1, 3) and problem.lam < 0.2:
                os._exit(9)
            return 1.0
        axes = {"rank": range(1, 5), "lam": [0.1, 0.3]}
        study = ls.Study(ls.Problem(Shifted(), 1), axes, measure=measure, stop=ls.StoppingRule(max_iter=3))
        runs = study.run(sys.argv[1], "loky", n_jobs=2)
        print(len(runs), sorted(run["run"]["cell"]["rank"] for run in runs.failed))
    """
    ends = []
    for _ in range(3):
        process = python(program, str(tmp_path / "runs"))
        out, err = process.communicate(timeout=300)
        ends.append((process.returncode, out.strip(), err.partition(" of these runs")[0]))
    said = "study: an earlier call was ended while it did 5"
    assert ends == [(9, "", ""), (0, "8 [1, 3]", said), (0, "8 [1, 3]", "")], err
    assert not [path for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(tmp_path, asked):
    store = tmp_path / "runs"
    process = python(RUN, str(store), "serial", "20000", "1")
    while not list(store.glob("*.runs")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(asked)
    out, err = process.communicate(timeout=60)
    count, interrupted = out.split()
    assert process.returncode == 0 and interrupted == "True"
    assert re.search(rf"study: stopped; {count} of 80000 runs are finished and saved, the same call goes on", err)
    assert len(ls.Runs.read(store)) == int(count) < 80000 and ls.Runs.read(store).damaged == []


LARGE = """
import sys
import numpy as np
import lorasolve as ls
from lorasolve.objectives import Denoising
if __name__ == "__main__":
    problem = ls.Problem(Denoising(np.random.default_rng(0).standard_normal((200, 150))), 3, 0.1)
    study = ls.Study(problem, {"seed": range(100000)}, "lbfgs", stop=ls.StoppingRule(max_iter=30))
    runs = study.run(sys.argv[1], sys.argv[2], n_jobs=2, threads=1)
    print(len(runs), len(runs.failed), runs.interrupted)
"""


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]


def is_worker(pid: int) -> bool:
    try:
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"popen_loky" in command or b"spawn_main" in command


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize(("backend", "seconds"), [("loky", 0.0), ("loky", 0.3), ("dask", 0.3), ("dask", 5.0)])
def test_ctrl_c_in_a_terminal_reaches_workers_too_and_what_is_in_progress_is_finished(tmp_path, backend, seconds):
    """A terminal sends it to all processes, here some time after the first worker; the data fill more than a pipe."""
    if backend == "dask":
        pytest.importorskip("distributed")
    process = python(LARGE, str(tmp_path / "runs"), backend)
    try:
        while not any(map(is_worker, children_of(process.pid))):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    count, failed, interrupted = out.split()
    assert (failed, interrupted) == ("0", "True") and "study: stopped" in err
    assert len(ls.Runs.read(tmp_path / "runs")) == int(count) < 100000
