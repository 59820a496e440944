"""Chunks through pools of workers, whoever asks."""

from __future__ import annotations

import enum
import importlib
import pathlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lorasolve import Problem, Runs, Study, compare, solve_convex
from lorasolve.executors import Executor, registry
from lorasolve.executors.base import Outcome, Pool, outcomes
from lorasolve.objectives import Denoising
from lorasolve.studies import Calls

# Those that need more than the default install are in test_clusters.
HERE = sorted(set(registry.classes()) - {"dask", "slurm"})


class Recorder(Pool):
    """Brings back the chunk given last, now and then nothing, and knows how many it has held at a time."""

    def __init__(self) -> None:
        self.held: list[tuple[int, Any]] = []
        self.most = self.waits = 0

    def submit(self, task: int, chunk: Any) -> None:
        self.held.append((task, chunk))
        self.most = max(self.most, len(self.held))

    def wait(self, seconds: float) -> list[Outcome]:
        self.waits += 1
        if self.waits % 3 == 0:
            return []
        task, chunk = self.held.pop()
        return [Outcome(task, chunk, lost=chunk == "d")]


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_every_chunk_comes_back_and_few_are_held(at_once: int) -> None:
    pool = Recorder()
    coming = outcomes(pool, "abcdef", at_once)
    assert len(pool.held) == min(at_once, 6)  # before the first is asked for
    found = list(coming)
    assert sorted((outcome.task, outcome.report) for outcome in found) == list(enumerate("abcdef"))
    assert [outcome.report for outcome in found if outcome.lost] == ["d"]
    assert pool.most == min(at_once, 6)
    assert list(outcomes(Pool(), [], 4)) == []


@pytest.mark.parametrize("name", HERE)
def test_workers_answer_by_number(name: str) -> None:
    executor = registry.classes()[name]()
    with executor.open(lambda: abs, min(2, executor.workers(None)), 1) as pool:
        found = {outcome.task: outcome.report for outcome in outcomes(pool, range(-5, 5), 4)}
    assert found == {task: abs(task - 5) for task in range(10)}


def test_work_that_cannot_go_to_other_processes_is_refused_in_words() -> None:
    lock = threading.Lock()

    def work() -> Any:
        with lock:
            return abs

    with pytest.raises(TypeError, match=r"backend: the work cannot go .*\(cannot pickle .*lock.*, or take 'serial'"):
        registry.classes()["loky"]().open(work, 1, 1)
    with registry.classes()["serial"]().open(work, 1, 1) as pool:
        assert [outcome.report for outcome in outcomes(pool, [-1], 1)] == [1]


REMEMBERING = """
import functools

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

class Own:
    @functools.lru_cache(maxsize=3)
    def number(self, n):
        return fibonacci(n)

    @functools.cached_property
    def tenth(self):
        return self.number(10)

def start():
    own = Own()
    return lambda chunk: (own.tenth, vars(own), own.number(12), Own.number.cache_parameters()["maxsize"])
"""


def test_functions_of_a_script_that_remember_go_to_other_processes() -> None:
    """The Fibonacci numbers 10 and 12 are 55 and 144."""
    exec(REMEMBERING, scope := {"__name__": "__main__"})
    with registry.classes()["loky"]().open(scope["start"], 1, 1) as pool:
        assert [outcome.report for outcome in outcomes(pool, [0], 1)] == [(55, {"tenth": 55}, 144, 3)]


def test_classes_made_in_functions_and_classes_are_known_in_other_processes(tmp_path: pathlib.Path) -> None:
    """The optimum of ``||X - t I||^2/2 + lam ||X||_*``: three singular values, ``t - lam``."""

    class Own:
        shape, convex, lower_bound = (3, 3), True, 0.0

        class Settings:
            scale = 1.0

        class Kind(enum.Enum):
            ONE = 1.0

        def __init__(self, target: float) -> None:
            self.target, self.kind, self.settings = target, self.Kind.ONE, self.Settings()
            self.settings.fingerprint = "the settings"  # type: ignore[attr-defined]

        def value_and_grad(self, X: Any) -> Any:
            R = X - self.target * self.kind.value * self.settings.scale * np.eye(3)
            return 0.5 * float((R * R).sum()), R

    axes = {"target": [1.0, 2.0], "seed": range(20)}
    study = Study(lambda target: Problem(Own(target), 3, 0.1), axes, "lbfgs")
    for _ in range(2):
        runs = study.run(tmp_path / "runs", "loky", 1)
        assert len(runs) == len(Runs.read(tmp_path / "runs")) == len(study)
    reached = {(run["run"]["cell"]["target"], round(run["result"]["fun"], 6)) for run in runs}
    assert reached == {(t, round(3 * (0.1 * t - 0.005), 6)) for t in (1.0, 2.0)}


SETTINGS = """
import numpy as np
from lorasolve import Problem
from lorasolve.objectives import Denoising

SETTINGS = {"target": 1.0}
SEEN = []

class Own:
    shape, convex, lower_bound = (3, 3), True, 0.0
    calls = []

    def value_and_grad(self, X):
        self.calls.append(len(SEEN))
        SEEN.append(X)
        R = X - SETTINGS["target"] * np.eye(3)
        return 0.5 * float((R * R).sum()), R

def target(problem, result):
    return SETTINGS["target"]

def denoising(lam):
    return Problem(Denoising(SETTINGS["target"] * np.eye(3)), 3, lam)

def cell(settings):
    return SETTINGS["target"] + settings["k"]
"""


@pytest.mark.parametrize("kind", ["loss", "function", "measure", "problem", "call"])
def test_workers_whose_modules_hold_other_data_are_refused(kind: str, tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    """Workers import them afresh: a target of 2 that the caller has put in its module is 1 there."""
    (tmp_path / "settings_for_test.py").write_text(SETTINGS)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("settings_for_test")
    try:
        axes = {"lam": [0.1, 0.2], "seed": range(20)}
        make: dict[str, Any] = {
            "loss": lambda: Study(Problem(module.Own(), 3, 0.1), axes, "lbfgs"),
            "function": lambda: Study(lambda lam: Problem(module.Own(), 3, lam), axes, "lbfgs"),
            "measure": lambda: Study(Problem(Denoising(np.eye(3)), 3, 0.1), axes, "lbfgs", measure=module.target),
            "problem": lambda: Study(lambda lam: module.denoising(lam), axes, "lbfgs"),
            "call": lambda: Calls("sums", module.cell, [{"k": k} for k in range(2000)]),
        }
        # What the loss remembers is no data.
        assert len(make[kind]().run(tmp_path / "runs", "loky", 1)) == len(make[kind]())
        monkeypatch.setitem(module.SETTINGS, "target", 2.0)
        with pytest.raises(
            ValueError, match=r"^backend: (settings_for_test\.|cell \d).* other data in a worker than here"
        ):
            make[kind]().run(tmp_path / "runs", "loky", 1)
        make[kind]().run(tmp_path / "runs", "serial")
        if kind == "call":  # where a mark stands for the function, that is what the user says
            marked = Calls("sums", module.cell, [{"k": k} for k in range(20)], "sums, whatever the target")
            assert len(marked.run(tmp_path / "marked", "loky", 1)) == 20
    finally:
        del sys.modules["settings_for_test"]


class Faulty(Pool):
    """Works while it is waited for, and answers as a function of the task and a function that does it."""

    def __init__(self, work: Callable[[Any], Any], answer: Callable[[Faulty, int, Callable[[], Any]], Any]) -> None:
        self.work, self.answer = work, answer
        self.tasks: deque[tuple[int, Any]] = deque()
        self.chunks: dict[int, Any] = {}
        self.first: Any = None

    def submit(self, task: int, chunk: Any) -> None:
        self.chunks[task] = chunk
        self.tasks.append((task, chunk))

    def wait(self, seconds: float) -> Any:
        task, chunk = self.tasks.popleft()
        return self.answer(self, task, lambda: self.work(chunk))

    def again(self, do: Callable[[], Any]) -> Any:
        """Return what came first, whatever is asked for."""
        self.first = self.first or do()
        return self.first


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda pool, task, do: [Outcome(task, pool.again(do))],
            r"as the report of task 2 wait\(\) returned that of task 1",
        ),
        (lambda pool, task, do: 2 * [Outcome(task, do())], r"task 1, which was not submitted or has come back before"),
        (lambda pool, task, do: [Outcome(task - 1, do())], r"task 0, which was not submitted or has come back before"),
        (
            lambda pool, task, do: [Outcome(task)],
            r"report of task 1 expected what the worker's function returned, got None",
        ),
        (lambda pool, task, do: Outcome(task, do()), r"wait\(\) has to return a list of Outcome, got Outcome"),
        (lambda pool, task, do: [(task, do())], r"wait\(\) has to return a list of Outcome, got \[\("),
        (lambda pool, task, do: None, r"wait\(\) has to return a list of Outcome, got None"),
    ],
)
def test_a_pool_that_brings_back_something_else_is_refused_by_name(
    answer: Any, message: str, tmp_path: pathlib.Path
) -> None:
    """One that brought back one report for all said that all runs were there, and half of them were not."""

    class Faults(Executor):
        name, summary = "faults", "of another kind"

        def open(self, start: Any, *settings: Any) -> Pool:
            return Faulty(start(), answer)

    study = Study(Problem(Denoising(np.eye(3)), 3, 0.1), {"seed": range(400), "lam": [0.1, 0.2]}, "lbfgs")
    with pytest.raises((TypeError, ValueError), match=rf"^backend: 'faults': .*{message}"):
        study.run(tmp_path / "runs", Faults())


def test_an_executor_that_brings_nothing_back_is_told(tmp_path: pathlib.Path, monkeypatch: Any, capsys: Any) -> None:
    """A chunk that is lost and a run that takes long look alike: the call waited for both without a word."""
    monkeypatch.setattr("lorasolve.studies._engine.SILENCE_SECONDS", 0.2, raising=False)
    hushed = []

    def late(pool: Faulty, task: int, do: Callable[[], Any]) -> list[Outcome]:
        if len(hushed) < 5:
            hushed.append(task)
            pool.tasks.append((task, pool.chunks[task]))
            time.sleep(0.1)
            return []
        return [Outcome(task, do())]

    class Mine(Executor):
        name, summary = "mine", "of another kind"

        def open(self, start: Any, *settings: Any) -> Pool:
            return Faulty(start(), late)

    study = Study(Problem(Denoising(np.eye(3)), 3, 0.1), {"seed": range(400), "lam": [0.1, 0.2]}, "lbfgs")
    assert len(study.run(tmp_path / "runs", Mine())) == 800
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "mine" in line]
    assert "'mine' has brought nothing back for 0 s, and holds" in told and "lorasolve.check_executor" in told


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (None, TypeError), (2.0, TypeError)])
def test_a_number_of_workers_that_is_none_is_refused_by_name(number: Any, error: Any, tmp_path: pathlib.Path) -> None:
    class Faults(Executor):
        name, summary = "faults", "of another kind"

        def workers(self, n_jobs: int | None) -> Any:
            return number

    study = Study(Problem(Denoising(np.eye(3)), 3, 0.1), {"seed": range(3)}, "lbfgs")
    with pytest.raises(error, match=r"^backend: 'faults': workers\(None\): expected an integer >= 1, got"):
        study.run(tmp_path / "runs", Faults())


def test_a_pool_without_its_methods_is_refused_by_name(tmp_path: pathlib.Path) -> None:
    class Faults(Executor):
        name, summary = "faults", "of another kind"

        def open(self, start: Any, *settings: Any) -> Any:
            return None

    class Waitless(Pool):
        def submit(self, task: int, chunk: Any) -> None:
            pass

    study = Study(Problem(Denoising(np.eye(3)), 3, 0.1), {"seed": range(400), "lam": [0.1, 0.2]}, "lbfgs")
    with pytest.raises(TypeError, match=r"^backend: 'faults': open\(\) returned None, which is no Pool"):
        study.run(tmp_path / "runs", Faults())
    with pytest.raises(TypeError, match=r"^Waitless does not define wait"):
        Waitless().wait(1.0)


def is_nowhere(name: str) -> None:
    """Find no module, as where an extra is not installed."""


@pytest.mark.parametrize(
    ("name", "library", "command"),
    [("dask", "dask.distributed", "sbatch"), ("slurm", "submitit", "sbatch"), ("slurm", "the command sbatch", None)],
)
def test_what_an_executor_lacks_is_said_before_anything_is_made(
    name: str, library: str, command: str | None, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    """The first runs had been done by then, and a comparison had solved for its reference."""
    monkeypatch.setattr("importlib.util.find_spec", (lambda name: True) if command is None else is_nowhere)
    monkeypatch.setattr("shutil.which", lambda name: command)
    asked = []
    monkeypatch.setattr("lorasolve.comparison.runs.solve_convex", lambda *given, **settings: asked.append(given))
    problem = Problem(Denoising(np.eye(3)), 3, 0.1)
    calls = Calls("adds", lambda cell: asked.append(cell), [{"k": k} for k in range(3)])
    for call in (
        lambda: Study(problem, {"seed": [0]}, "lbfgs").run(tmp_path / "runs", name),
        lambda: calls.run(tmp_path / "runs", name),
        lambda: compare(problem, ["gd"], store=tmp_path / "runs", backend=name),
        lambda: compare(problem, ["gd"], backend=name),
    ):
        with pytest.raises(ValueError, match=f"^backend: '{name}' needs {library}"):
            call()
    assert asked == [] and list(tmp_path.iterdir()) == []


def test_a_store_that_holds_all_runs_is_read_where_their_executor_lacks_something(
    tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    """As that of a cluster, copied to a machine without Slurm; one more run needs it."""
    calls = Calls("squares", lambda cell: cell["k"] ** 2, [{"k": k} for k in range(3)], "once")
    calls.run(tmp_path / "runs", "serial")
    names = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("importlib.util.find_spec", is_nowhere)
    found = [record["result"]["found"] for record in calls.records(calls.run(tmp_path / "runs", "slurm"))]
    assert found == [0, 1, 4]
    more = Calls("squares", lambda cell: cell["k"] ** 2, [{"k": k} for k in range(4)], "once")
    with pytest.raises(ValueError, match=r"^backend: 'slurm' needs submitit"):
        more.run(tmp_path / "runs", "slurm")
    assert sorted(tmp_path.rglob("*")) == names


def test_what_is_refused_of_a_study_leaves_no_folder(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    changing = Study(lambda lam: Problem(Denoising(rng.standard_normal((3, 3))), 3, lam), {"lam": [0.1, 0.2]})
    with pytest.raises(ValueError, match=r"^problem: expected the same each time"):
        changing.run(tmp_path / "runs", "serial")
    problem = Problem(Denoising(np.eye(3)), 3, 0.1)
    with pytest.raises(ValueError, match=r"^reference: expected the optimum of"):
        compare(problem, ["gd"], store=tmp_path / "runs", reference=solve_convex(problem.replace(lam=0.3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HERE)
def test_a_study_reaches_the_optimum_of_every_cell(name: str, tmp_path: pathlib.Path) -> None:
    s = np.array([3.0, 2.0, 1.0])
    M = np.diag(s)
    lams = [0.5, 1.5, 2.5, 4.0]
    study = Study(problem=lambda lam: Problem(Denoising(M), 3, lam), axes={"lam": lams}, method="lbfgs")
    runs = study.run(tmp_path / "runs", backend=name)
    reached = {run["run"]["cell"]["lam"]: run["result"]["fun"] for run in runs}
    # Singular values shrink by lam.
    expected = {lam: float(np.where(s > lam, lam * s - 0.5 * lam**2, 0.5 * s**2).sum()) for lam in lams}
    assert reached == pytest.approx(expected, rel=1e-9)


def test_more_processes_than_python_writes_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="n_jobs: expected 1, as 'serial' is this process alone, got an object of type"
    ):
        registry.classes()["serial"]().workers(10**5000)
