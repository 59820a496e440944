"""The same bits from dask workers and Slurm jobs, whatever happens to them.

Slurm is there if ``SLURM_CONF`` says so: ``tests/studies/slurm.sh COMMAND`` starts it on one machine, runs the command
and ends it.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

HERE = pathlib.Path(__file__).parent
from grids import slow  # noqa: E402

from lorasolve.executors import WorkersError, slurm  # noqa: E402
from lorasolve.studies import Calls, StoreError  # noqa: E402

SLURM = pytest.mark.skipif(
    "SLURM_CONF" not in os.environ or shutil.which("sbatch") is None, reason="no Slurm here (tests/studies/slurm.sh)"
)


@pytest.fixture
def nothing_done_here(monkeypatch) -> None:
    monkeypatch.setattr("lorasolve.studies._engine.FIRST_SECONDS", 0.0)


@pytest.fixture
def disturbed(tmp_path, monkeypatch) -> pathlib.Path:
    """Where a file says that the study was disturbed. Until then it goes slowly, and commits what it has at once."""
    monkeypatch.setattr("lorasolve.studies._engine.COMMIT_SECONDS", 0.0)
    path = tmp_path / "disturbed"
    monkeypatch.setenv("LORASOLVE_TESTS_DISTURBED", str(path))
    return path


@pytest.fixture
def expected(tmp_path, disturbed) -> str:
    disturbed.touch()
    runs = slow(40).run(tmp_path / "undisturbed", "serial", threads=1)
    assert not runs.failed
    disturbed.unlink()
    return runs.digest()


def in_the_meantime(action, disturbed) -> threading.Thread:
    """Do something while a study goes slowly; then it goes on to its end."""

    def act() -> None:
        try:
            action()
        finally:
            disturbed.touch()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_dask_gives_the_same_bits_and_survives_a_killed_worker(tmp_path, expected, disturbed):
    pytest.importorskip("distributed")
    killed = []

    def kill_a_worker() -> None:
        own = str(os.getpid())
        while not killed:
            time.sleep(0.5)
            for shard in (tmp_path / "runs").glob("*.runs"):
                pid = shard.name.rsplit("-", 2)[1]
                if pid != own:
                    os.kill(int(pid), signal.SIGKILL)
                    killed.append(pid)
                    return

    in_the_meantime(kill_a_worker, disturbed)
    runs = slow(40).run(tmp_path / "runs", "dask", n_jobs=2, threads=1)
    assert runs.digest() == expected and len(killed) == 1
    assert runs.store.tidy() == []


def squares(cells: int, ends: int) -> Calls:
    """Squares of numbers, one of which ends every process that tries it; a second of work."""

    def square(cell):  # by value, as workers do not have this module
        time.sleep(1.0 / cells)
        if cell["k"] == ends:
            os._exit(3)
        return cell["k"] ** 2

    return Calls("squares", square, [{"k": k} for k in range(cells)], f"{ends} ends")


def assert_all_but_one_are_there(calls: Calls, runs, ends: int) -> None:
    for k, record in enumerate(calls.records(runs)):
        if k == ends:
            assert "the process that ran it was ended each time" in record["result"]["error"]
        else:
            assert record["result"]["found"] == k**2


def test_a_cell_that_ends_every_worker_of_dask_is_an_error_and_the_others_are_done(tmp_path):
    pytest.importorskip("distributed")
    calls = squares(9, 5)
    assert_all_but_one_are_there(calls, calls.run(tmp_path, "dask", n_jobs=2), 5)


@SLURM
def test_a_cell_that_ends_every_job_is_an_error_and_the_others_are_done(tmp_path):
    pytest.importorskip("submitit")
    calls = squares(9, 5)
    runs = calls.run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=2)
    assert_all_but_one_are_there(calls, runs, 5)


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def at_work(store: pathlib.Path, jobs: pathlib.Path) -> list[str]:
    """Return the jobs of this study that run and have written; those of an earlier study may still be in the queue."""
    arrays = {path.name.partition("_")[0] for path in jobs.glob("study-*/*.pkl")}
    shards = [shard for shard in store.glob("*.runs") if shard.name.rsplit("-", 2)[1] != str(os.getpid())]
    if not arrays or not shards:
        return []
    wanted = f"--jobs={','.join(sorted(arrays))}"
    listed = ["squeue", "--noheader", "--array", "--states=RUNNING", wanted, "--format=%i"]
    # Without a check: Slurm refuses the number of a job that it has forgotten.
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()


@SLURM
@pytest.mark.parametrize("what", ["nothing", "killed", "out of time", "requeued"])
def test_slurm_gives_the_same_bits_whatever_happens_to_a_job(tmp_path, expected, disturbed, what):
    pytest.importorskip("submitit")
    done = []

    def disturb() -> None:
        while not (found := at_work(tmp_path / "runs", tmp_path / "jobs")):
            time.sleep(0.2)
        job = found[0]
        if what == "killed":
            command("scancel", "--signal=KILL", "--full", job)
        elif what == "out of time":
            # What Slurm sends before the end of the time; submitit queues the job again.
            command("scancel", "--signal=USR2", job)
        elif what == "requeued":
            command("scontrol", "requeue", job)
        done.append(job)

    thread = in_the_meantime(disturb, disturbed)
    backend = f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB"
    runs = slow(40).run(tmp_path / "runs", backend, n_jobs=2, threads=1)
    assert runs.digest() == expected and not runs.interrupted
    thread.join(60.0)
    assert len(done) == 1 and list((tmp_path / "jobs").iterdir()) == []
    # Of a job that is stopped while it writes, and begun again, one of two files of parameters may serve no line; it
    # goes with the next call, and no run with it.
    assert len(runs.store.tidy()) <= (what != "nothing")
    assert runs.digest() == expected and runs.store.tidy() == []


def shim(folder: pathlib.Path, name: str, text: str, monkeypatch) -> None:
    """Put a command in the place of one of Slurm, which is there as REAL."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/bash\nREAL={shutil.which(name)}\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@SLURM
def test_a_squeue_that_does_not_answer_says_nothing_about_jobs(tmp_path, expected, disturbed, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("lorasolve.executors.slurm._GRACE_SECONDS", 1.0)
    shim(tmp_path / "bin", "squeue", "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1", monkeypatch)
    shim(tmp_path / "bin", "sbatch", f'echo once >> {tmp_path / "asked"}; exec $REAL "$@"', monkeypatch)
    in_the_meantime(lambda: time.sleep(8.0), disturbed)
    runs = slow(40).run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=2, threads=1)
    assert runs.digest() == expected
    assert (tmp_path / "asked").read_text() == "once\n"


@SLURM
@pytest.mark.parametrize(
    ("settings", "reason"), [("partition=nope", "invalid partition specified: nope"), ("memory=900000GB", "Memory")]
)
def test_what_sbatch_refuses_is_refused_in_its_words(tmp_path, settings, reason):
    pytest.importorskip("submitit")
    with pytest.raises(ValueError, match=f"^backend: sbatch refused: .*{reason}"):
        squares(9, -1).run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',{settings}", n_jobs=2)
    assert list((tmp_path / "jobs").iterdir()) == []


@SLURM
def test_ctrl_c_while_sbatch_answers_leaves_no_job_behind(tmp_path, nothing_done_here, monkeypatch):
    pytest.importorskip("submitit")
    asked = tmp_path / "asked"
    shim(tmp_path / "bin", "sbatch", f'echo $$ > {tmp_path / "pid"}; $REAL "$@" | tee {asked}; sleep 2', monkeypatch)

    def interrupt() -> None:
        while not asked.exists() or not asked.read_text():
            time.sleep(0.1)
        # A terminal sends it to both.
        for pid in (int((tmp_path / "pid").read_text()), os.getpid()):
            os.kill(pid, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    calls = squares(9, -1)
    runs = calls.run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=2)
    assert runs.interrupted and list((tmp_path / "jobs").iterdir()) == []
    array = asked.read_text().split()[-1]
    states = subprocess.run(["squeue", "--noheader", "--format=%T", "-j", array], capture_output=True, text=True)
    assert set(states.stdout.split()) <= {"COMPLETING"}


@SLURM
def test_jobs_that_cannot_begin_say_why_and_leave_their_files(tmp_path, nothing_done_here, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("lorasolve.executors.slurm._GRACE_SECONDS", 1.0)
    change = "sed -i 's/^srun .*/echo cannot open the box >\\&2; exit 1/' \"$1\""
    shim(tmp_path / "bin", "sbatch", f'{change}; exec $REAL "$@"', monkeypatch)
    with pytest.raises(
        WorkersError, match=r"jobs of Slurm in a row ended before they began: cannot open the box; "
    ) as error:
        squares(9, -1).run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=2)
    (folder,) = (tmp_path / "jobs").iterdir()
    assert str(error.value).endswith(f"all files of the jobs are in {folder}") and list(folder.glob("*_log.err"))


@SLURM
def test_a_job_whose_disk_is_full_is_an_error_of_the_store(tmp_path, nothing_done_here):
    """The limit on the size of a file stands for the disk."""
    pytest.importorskip("submitit")

    def large(cell):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        return cell["k"] * "x"

    calls = Calls("large", large, [{"k": 5000}, {"k": 6000}])
    with pytest.raises(StoreError, match=r"no space is left: .* make room, then the same call goes on"):
        calls.run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=1)
    assert list((tmp_path / "jobs").iterdir()) == []


@SLURM
def test_a_job_that_runs_out_of_time_too_often_names_the_settings(tmp_path, expected, disturbed):
    pytest.importorskip("submitit")

    def stop() -> None:
        while not (found := at_work(tmp_path / "runs", tmp_path / "jobs")):
            time.sleep(0.2)
        command("scancel", "--signal=USR2", found[0])
        time.sleep(10.0)

    in_the_meantime(stop, disturbed)
    backend = f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB,minutes=1,requeues=0"
    with pytest.raises(WorkersError, match=r"backend: .* time limit of 1 minutes 1 times; .* minutes or requeues"):
        slow(40).run(tmp_path / "runs", backend, n_jobs=1, threads=1)
    assert list((tmp_path / "jobs").iterdir()) == []


@SLURM
def test_a_job_may_submit_the_jobs_of_a_study(tmp_path, nothing_done_here, monkeypatch):
    """What Slurm has given a job says how much memory there is for each core and what its number is."""
    pytest.importorskip("submitit")
    given = {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "7", "SLURM_MEM_PER_CPU": "100"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    calls = squares(9, -1)
    runs = calls.run(tmp_path / "runs", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=1)
    assert [record["result"]["found"] for record in calls.records(runs)] == [k**2 for k in range(9)]
    assert {name: os.environ[name] for name in given} == given


@SLURM
def test_all_jobs_may_run_at_once_and_a_stop_counts_what_they_have_done(tmp_path, disturbed, monkeypatch, capfd):
    pytest.importorskip("submitit")
    shim(tmp_path / "bin", "sbatch", f'cp "$1" {tmp_path / "script"}; exec $REAL "$@"', monkeypatch)

    def interrupt() -> None:
        while not at_work(tmp_path / "runs", tmp_path / "jobs"):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    # A job more than submitit lets run at once by itself.
    backend = f"slurm:folder='{tmp_path / 'jobs'}',memory=100MB"
    study = slow(100)
    runs = study.run(tmp_path / "runs", backend, n_jobs=257, threads=1)
    assert "--array=0-256%257" in (tmp_path / "script").read_text()
    said = int(re.search(r"stopped; (\d+) of 400 runs are finished", capfd.readouterr().err).group(1))
    own = [record for shard in (tmp_path / "runs").glob(f"*-{os.getpid()}-*.runs") for record in shard.open()]
    assert runs.interrupted and len(own) < said <= len(study.runs(tmp_path / "runs"))


@SLURM
def test_what_a_killed_caller_has_left_is_cleared_by_the_next_one(tmp_path, nothing_done_here):
    pytest.importorskip("submitit")
    program = """
        import glob, os, signal, sys, threading, time
        from lorasolve.studies import Calls
        def kill():
            while not glob.glob(sys.argv[2] + "/*/*_submitted.pkl"):
                time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Thread(target=kill, daemon=True).start()
        calls = Calls("waits", lambda cell: time.sleep(3.0), [{"k": k} for k in range(20)])
        calls.run(sys.argv[1], f"slurm:folder={sys.argv[2]!r},memory=500MB", n_jobs=1)
    """
    arguments = [str(tmp_path / "killed"), str(tmp_path / "jobs")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), *arguments], env=environment, check=False)
    (left,) = (tmp_path / "jobs").iterdir()
    squares(3, -1).run(tmp_path / "first", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=1)
    assert left.exists()
    array = next(left.glob("*_submission.sh")).name.partition("_")[0]
    command("scancel", array)
    while subprocess.run(["squeue", "-h", "-j", array], capture_output=True, text=True, check=False).stdout.split():
        time.sleep(0.5)
    squares(3, -1).run(tmp_path / "second", f"slurm:folder='{tmp_path / 'jobs'}',memory=500MB", n_jobs=1)
    assert list((tmp_path / "jobs").iterdir()) == []


@SLURM
def test_jobs_of_a_killed_caller_are_not_done_beside_by_the_next_one(tmp_path, nothing_done_here):
    """Runs note that they have begun: the next call does none that the jobs have done or are doing."""
    pytest.importorskip("submitit")
    program = """
        import os, pathlib, signal, sys, threading, time
        import lorasolve.studies._engine as engine
        from lorasolve.studies import Calls
        engine.FIRST_SECONDS = engine.COMMIT_SECONDS = 0.0
        begun, last = pathlib.Path(sys.argv[3]), sys.argv[4] == "last"
        def run(cell):
            with open(begun, "a") as file:
                file.write(f"{cell['k']}\\n")
            time.sleep(0.5)
        def kill():
            while len(begun.read_text().split()) < 4:
                time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        if not last:
            threading.Thread(target=kill, daemon=True).start()
        calls = Calls("notes", run, [{"k": k} for k in range(120)], "slowly")
        runs = calls.run(sys.argv[1], f"slurm:folder={sys.argv[2]!r},memory=500MB", n_jobs=1)
        print(len(runs), len(runs.failed))
    """
    begun = tmp_path / "begun"
    begun.touch()
    arguments = [str(tmp_path / "runs"), str(tmp_path / "jobs"), str(begun)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def call(which: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", textwrap.dedent(program), *arguments, which]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    assert call("first").returncode == -signal.SIGKILL
    (left,) = (tmp_path / "jobs").iterdir()
    array = next(left.glob("*_submission.sh")).name.partition("_")[0]
    end = call("last")
    assert end.stdout.strip() == "120 0", end.stderr
    assert f"jobs of a call that is gone did the same study and are cancelled: {array}; what" in end.stderr
    # The run in which Slurm ends the job, and the one that the first caller began itself, are done again.
    noted = begun.read_text().split()
    assert set(noted) == {str(k) for k in range(120)} and len(noted) <= 120 + 2
    assert list((tmp_path / "jobs").iterdir()) == []


def test_jobs_of_a_caller_that_may_be_there_are_named_and_left_alone(tmp_path, monkeypatch):
    """That of another machine cannot be asked for, this process is there, and a child that has ended is not."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    callers = {"7": f"elsewhere-{gone.pid}", "8": f"{here}-{os.getpid()}", "9": f"{here}-{gone.pid}"}
    left = [dict(callers), {"7": callers["7"]}]
    cancelled = []

    def arrays_on(results: pathlib.Path) -> dict[str, str]:
        # What the collector of garbage finds meanwhile, as of a cluster that another test had, may warn too.
        open(os.devnull)  # noqa: SIM115
        return left.pop(0)

    monkeypatch.setattr(slurm, "_arrays_on", arrays_on)
    monkeypatch.setattr(slurm, "_cancel", cancelled.extend)
    with pytest.warns(UserWarning, match="^jobs of a") as warned:
        slurm._end_orphans(tmp_path)
    assert cancelled == ["9"] and left == []
    texts = [str(one.message) for one in warned if one.category is UserWarning]
    assert f"7 (of process {gone.pid} on elsewhere)" in texts[0] and "cancelled: 9;" in texts[1] and len(texts) == 2


def test_folders_of_a_machine_of_a_longer_name_are_not_taken_for_ones_own(tmp_path, monkeypatch):
    """``node-4194304`` is no caller on ``node`` that has ended: Linux numbers processes below that."""
    names = ["study-node-4194304-1-abcd_ef1", "study-node-4194304-4194304-abcd_ef1", "study-node-4194304-abcd_ef1"]
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(slurm, "_queue", lambda arrays: set())
    monkeypatch.setattr(slurm.socket, "gethostname", lambda: "node")
    slurm._clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == names[:2]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "Traceback:\n\nMemoryError: 3 GB\nsrun: error: node: task 0\nslurmstepd: error: x\nsubmitit ERROR (a): b\n",
            "MemoryError",
        ),
        ("srun: error: node: task 0: Killed\n", "they said nothing"),
        (None, "they wrote nothing"),
    ],
)
def test_the_last_words_of_a_job_are_its_own_and_not_those_of_the_scheduler(tmp_path, log, told):
    if log is not None:
        (tmp_path / "job.log").write_text(log)
    found = slurm._last_words(tmp_path / "job.log")
    assert told in found and "srun" not in found and "slurmstepd" not in found and "submitit" not in found
