"""Arrays of Slurm jobs, by submitit: each job does its share, and goes on after a time-out or a requeue."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from .._support.files import is_alive
from .._support.interruptions import ENDING, not_for_children, undisturbed
from .._support.validate import as_integer, as_text
from .base import Executor, Outcome, Pool, Start, WorkersError, needs, packed, unpacked

# A job that is in no queue is given up after this time without an answer: its files may come late.
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 1.0
# Jobs that are cancelled are waited for so long; Slurm gives them 30 s unless it is told otherwise (KillWait).
_ENDING_SECONDS = 60.0
# So many jobs may end in a row before they begin: where none can, the next one cannot either.
_STRIKES = 5
# What the user says to all commands of Slurm; other variables of this kind are those of a job.
_NO_JOBS = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
# What of the log of a job is shown.
_LAST_LINES = 3


@dataclass(frozen=True)
class Slurm(Executor):
    """Jobs of one array. A job that is stopped at its time limit or preempted is queued again by submitit.

    Parameters
    ----------
    folder : str
        For the files of the jobs, which all machines must see; a folder within, removed at the end. Where jobs fail it
        stays until the next study.
    partition : str, optional
        Where to run.
    minutes : int
        Time limit of a job.
    cpus : int
        Cores of a job.
    memory : str, optional
        Of a job, for example ``"4GB"``.
    parallel : int, optional
        Jobs that may run at once, by default all.
    requeues : int
        How often a job may be stopped at its time limit.
    """

    folder: str = "slurm-jobs"
    partition: str | None = None
    minutes: int = 60
    cpus: int = 1
    memory: str | None = None
    parallel: int | None = None
    requeues: int = 100

    name = "slurm"
    summary = "an array of Slurm jobs (submitit), queued again when they run out of time"
    whole_shares = True

    def __post_init__(self) -> None:
        as_text(self.folder, "folder")
        for name in ("partition", "memory"):
            if getattr(self, name) is not None:
                as_text(getattr(self, name), name)
        as_integer(self.minutes, "minutes", 1)
        as_integer(self.cpus, "cpus", 1)
        as_integer(self.requeues, "requeues", 0)
        if self.parallel is not None:
            as_integer(self.parallel, "parallel", 1)

    def require(self) -> None:
        """Refuse to begin without submitit or the commands of Slurm."""
        if importlib.util.find_spec("submitit") is None:
            raise ValueError(needs("submitit", self.name, "slurm"))
        if shutil.which("sbatch") is None:
            raise ValueError("backend: 'slurm' needs the command sbatch, and there is none on the PATH")

    def open(self, start: Start, n_workers: int, threads: int, results: pathlib.Path | None = None) -> Pool:
        """Prepare the array; it is submitted with all its work at once."""
        self.require()
        return _Jobs(self, start, results)


class _Share:
    """What a job does; submitit asks it what to do when the job is stopped."""

    def __init__(self, start: Start, minutes: int, requeues: int) -> None:
        self.payload = packed(start)
        self.limits = minutes, requeues

    def __call__(self, chunk: Any) -> tuple[Any, BaseException | None]:
        """Do the share; what the store holds of it is skipped. An error that says what to do is returned as it is.

        So is a KeyboardInterrupt, which would end the job, and others would try the same.
        """
        from submitit import JobEnvironment
        from submitit.core.utils import UncompletedJobError

        try:
            work = unpacked(self.payload)
            _begun(JobEnvironment().paths).touch()
            return work(chunk), None
        except UncompletedJobError:
            minutes, requeues = self.limits
            return None, WorkersError(
                f"backend: a job was stopped at its time limit of {minutes} minutes {requeues + 1} times; what is "
                "finished is kept, the same call goes on; give more minutes or requeues"
            )
        except (OSError, ValueError, KeyboardInterrupt) as error:
            return None, error

    def checkpoint(self, chunk: Any) -> Any:
        """Return the same work, to be queued again; submitit ends the process then."""
        from submitit.helpers import DelayedSubmission

        ENDING.set()
        return DelayedSubmission(self, chunk)


class _Jobs(Pool):
    def __init__(self, settings: Slurm, start: Start, results: pathlib.Path | None) -> None:
        import submitit

        # There need be no accounting: what a job answers is in its files, and squeue says whether it is still there.
        logging.getLogger("submitit").setLevel(logging.ERROR)
        job_name = "lorasolve"
        if results is not None:
            job_name = f"{_jobs_on(results)}{_caller()}"
            _end_orphans(results)
        pathlib.Path(settings.folder).mkdir(parents=True, exist_ok=True)
        _clear(pathlib.Path(settings.folder))
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix=f"study-{_caller()}-", dir=settings.folder))
        self._executor = submitit.SlurmExecutor(self._folder, max_num_timeout=settings.requeues)
        given: dict[str, Any] = {
            "time": settings.minutes,
            "cpus_per_task": settings.cpus,
            "partition": settings.partition,
            "mem": settings.memory,
            "job_name": job_name,
        }
        self._executor.update_parameters(**{key: value for key, value in given.items() if value is not None})
        self._parallel = settings.parallel
        self._work = _Share(start, settings.minutes, settings.requeues)
        self._new: dict[int, Any] = {}
        self._jobs: dict[int, Any] = {}
        # All that were ever submitted: a job that has answered may be queued again by hand or held.
        self._arrays: set[str] = set()
        self._missing: dict[int, float] = {}
        # Jobs lost in a row that had not begun.
        self._strikes = 0
        self._kept = False

    def submit(self, task: int, chunk: Any) -> None:
        self._new[task] = chunk

    def wait(self, seconds: float) -> list[Outcome]:
        if self._new:
            self._submit_new()
        until = time.monotonic() + max(seconds, _POLL_SECONDS)
        while not (outcomes := self._finished()) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        return outcomes

    def _submit_new(self) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        tasks, chunks = list(self._new), list(self._new.values())
        self._new = {}
        self._executor.update_parameters(array_parallelism=self._parallel or len(chunks))
        try:
            # An interruption would leave jobs behind that nobody knows of.
            with _outside_of_jobs(), undisturbed(), not_for_children(signal.SIGINT, signal.SIGTERM):
                jobs = self._executor.map_array(self._work, chunks)
                self._arrays |= {_array(job) for job in jobs}
        except (FailedJobError, FailedSubmissionError) as error:
            lines = str(error).replace("sbatch: error: ", "").split("\n")
            raise ValueError(f"backend: sbatch refused: {'; '.join(filter(None, lines))}") from error
        self._jobs |= dict(zip(tasks, jobs))

    def _finished(self) -> list[Outcome]:
        queued = _queue(sorted({_array(job) for job in self._jobs.values()}))
        outcomes = []
        for task, job in list(self._jobs.items()):
            if job.paths.result_pickle.exists():
                outcomes.append(self._answer(task, job))
            elif queued is None:
                continue
            elif str(job.job_id) in queued:
                self._missing.pop(task, None)
            elif time.monotonic() - self._missing.setdefault(task, time.monotonic()) > _GRACE_SECONDS:
                outcomes.append(self._lost(task, job))
        return outcomes

    def _lost(self, task: int, job: Any) -> Outcome:
        del self._jobs[task]
        # Its work is given out again, so it must not come back.
        _cancel([str(job.job_id)])
        begun = _begun(job.paths).exists()
        self._strikes = 0 if begun else self._strikes + 1
        if self._strikes == _STRIKES:
            self._give_up(f"{_STRIKES} jobs of Slurm in a row ended before they began: {_last_words(job.paths.stderr)}")
        return Outcome(task, lost=True, suspect=begun)

    def _give_up(self, reason: str) -> NoReturn:
        """Say why no job will do it; the files of the jobs are kept."""
        self._kept = True
        raise WorkersError(f"backend: {reason}; all files of the jobs are in {self._folder}")

    def _answer(self, task: int, job: Any) -> Outcome:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            report, error = job.result()
        except FailedJobError:
            self._give_up(f"a job of Slurm failed: {_last_words(job.paths.stderr)}")
        except UncompletedJobError:
            return self._lost(task, job)
        if error is not None:
            raise error
        del self._jobs[task]
        self._strikes = 0
        return Outcome(task, report)

    def close(self) -> None:
        with undisturbed(), not_for_children(signal.SIGINT, signal.SIGTERM):
            _cancel(sorted(self._arrays))
        if not self._kept:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide from jobs that are submitted in a job what that one was given: they would ask for it beside their own."""
    inherited = {
        key: os.environ.pop(key) for key in list(os.environ) if key.startswith("SLURM_") and key not in _NO_JOBS
    }
    try:
        yield
    finally:
        os.environ.update(inherited)


def _array(job: Any) -> str:
    return str(job.job_id).partition("_")[0]


def _jobs_on(results: pathlib.Path) -> str:
    """Return how the names of jobs that write to a folder begin; they end with the caller."""
    return f"lorasolve-{hashlib.blake2b(os.fsencode(results), digest_size=6).hexdigest()}-"


def _end_orphans(results: pathlib.Path) -> None:
    """Cancel jobs whose caller is gone and which do what is now done anew; say which there are besides."""
    orphans, others = [], []
    for array, caller in sorted(_arrays_on(results).items()):
        host, _, pid = caller.rpartition("-")
        if host == socket.gethostname() and not is_alive(int(pid)):
            orphans.append(array)
        elif caller != _caller():
            others.append(f"{array} (of process {pid} on {host})")
    if others:
        warnings.warn(
            f"jobs of another call do the same study, and runs may be done twice: {', '.join(others)}; if that call is "
            "gone, end them by scancel",
            stacklevel=2,
        )
    if orphans:
        warnings.warn(
            f"jobs of a call that is gone did the same study and are cancelled: {', '.join(orphans)}; what they have "
            "finished is kept",
            stacklevel=2,
        )
        _cancel(orphans)
        # Slurm lets them go on for some time, in which they save what they have.
        until = time.monotonic() + _ENDING_SECONDS
        while not _arrays_on(results).keys().isdisjoint(orphans) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)


def _caller() -> str:
    """Return the machine and the process."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _clear(folder: pathlib.Path) -> None:
    """Remove what callers of this machine have left that are gone, and so are their jobs."""
    own = re.compile(rf"study-{re.escape(socket.gethostname())}-(\d+)-[^-]*")
    for path in folder.glob("study-*"):
        arrays = sorted({job.name.partition("_")[0] for job in path.glob("*_submission.sh")})
        caller = own.fullmatch(path.name)
        if caller and not is_alive(int(caller[1])) and _queue(arrays) == set():
            shutil.rmtree(path, ignore_errors=True)


def _last_words(log: pathlib.Path) -> str:
    """Return the last lines of a log; the last one of a traceback says what it was."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "they wrote nothing (do all machines see the folder?)"
    # What Slurm and submitit say of the end is no reason.
    said = [
        line.strip() for line in lines if line.strip() and not line.startswith(("srun:", "slurmstepd:", "submitit "))
    ]
    return "; ".join(said[-_LAST_LINES:]) or "they said nothing"


def _begun(paths: Any) -> pathlib.Path:
    """Return the file that says that a job has begun."""
    return pathlib.Path(paths.result_pickle).with_suffix(".begun")


def _queue(arrays: list[str]) -> set[str] | None:
    """Return the jobs of arrays that wait or run, each as ``ARRAY_INDEX``; None if Slurm does not answer."""
    if not arrays:
        return set()
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    return set(answer.stdout.split())


def _arrays_on(results: pathlib.Path) -> dict[str, str]:
    """Return the arrays of the user that wait or run and write to a folder, each with the caller's machine and process.

    Where Slurm does not answer none is known.
    """
    command = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%F %j"]
    answer = subprocess.run(command, capture_output=True, text=True)
    listed = (line.partition(" ")[::2] for line in answer.stdout.splitlines())
    begins = _jobs_on(results)
    return {array: name.removeprefix(begins) for array, name in listed if name.startswith(begins)}


def _cancel(jobs: list[str]) -> None:
    """Cancel jobs or arrays, those that are still there."""
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True)
