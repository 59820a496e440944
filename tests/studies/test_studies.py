"""A study against single runs, and its bits against order, company, worker and interruption."""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import dataclasses
import enum
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import pickle
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import types
import weakref
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import scipy.sparse
import scipy.special
from numpy.testing import assert_array_equal

import lorasolve as ls
from lorasolve._support.digest import digest
from lorasolve._support.progress import Progress
from lorasolve.io import write_json
from lorasolve.multi import Separable
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD
from lorasolve.studies import Calls, Store, StoreError
from lorasolve.studies._pace import Pace
from lorasolve.studies._solves import Describe, Solver
from lorasolve.studies._work import Chunk
from lorasolve.studies.records import RESERVED
from lorasolve.studies.store import Entry, Shard

HERE = pathlib.Path(__file__).parent
from grids import LONG, Point, Shifted, Slotted, Stretched, long_steps, mixed, objectives, plain, remembering  # noqa: E402


def contents(store):
    return {
        path.relative_to(store).as_posix(): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The mixed study done in this process, as a store and its runs."""
    store = tmp_path_factory.mktemp("whole") / "runs"
    return store, mixed().run(store, "serial", threads=1)


def test_every_run_is_what_solve_gives(whole):
    _, runs = whole
    assert len(runs) == 3 * 2 * 3 * 4
    known = objectives()
    seen = set()
    for record in runs:
        cell, result = record["run"]["cell"], record["result"]
        if cell["lam"] < 0:
            assert "lam: expected a finite number" in result["error"]
            continue
        problem = ls.Problem(known[cell["objective"]], cell["rank"], cell["lam"])
        alone = ls.solve(problem, "gd:step_size=0.2", seed=record["run"]["random"], stop=ls.StoppingRule(max_iter=60))
        assert (result["status"], result["nit"]) == (alone.status.label, alone.nit)
        assert result["fun"] == pytest.approx(alone.fun, rel=1e-10)
        A, B = runs.factors(record)
        np.testing.assert_allclose(A @ B.T, alone.X, atol=1e-9)
        assert result["measures"]["certify"]["value"] == pytest.approx(ls.certify(problem, (A, B)).value, rel=1e-9)
        seen.add((cell["objective"], record["made"]["batched"]))
    assert seen == {("denoising", True), ("sensing", True), ("own", False)}


def test_without_a_rule_a_run_ends_when_that_of_its_method_does(tmp_path):
    """As in solve: als ends at a gradient a hundred times as large as others do."""
    rows, cols = np.nonzero(np.random.default_rng(0).random((12, 10)) < 0.6)
    problem = ls.Problem(ls.objectives.MatrixCompletion(rows, cols, np.sin(rows + 2.0 * cols), (12, 10)), 3, 0.1)
    study = ls.Study(problem, {"method": ["als", "lbfgs", "gd:step_size=0.1"], "seed": [0, 1]})
    limits = {}
    for record in study.run(tmp_path / "runs", "serial"):
        method, found = record["run"]["cell"]["method"], record["result"]
        alone = ls.solve(problem, method, seed=record["run"]["random"])
        assert (found["nit"], found["status"]) == (alone.nit, alone.status.label)
        assert study.repeat(**record["run"]["cell"]).nit == alone.nit
        limits[method] = record["run"]["stop"]["max_iter"], record["run"]["stop"]["grad_tol"]
    assert limits == {"als": (500, 1e-6), "lbfgs": (10_000, 1e-8), "gd:step_size=0.1": (10_000, 1e-8)}


def test_what_some_limits_leave_open_is_as_the_method_says(tmp_path):
    """500 iterations are those of als, to a gradient a hundred times as large as others go to."""
    rows, cols = np.nonzero(np.random.default_rng(0).random((12, 10)) < 0.6)
    problem = ls.Problem(ls.objectives.MatrixCompletion(rows, cols, np.sin(rows + 2.0 * cols), (12, 10)), 3, 0.1)
    study = ls.Study(problem, {"method": ["als", "lbfgs"]}, stop={"time_limit": 60})
    rules = {r["run"]["cell"]["method"]: r["run"]["stop"] for r in study.run(tmp_path / "runs", "serial")}
    found = {method: (rule["max_iter"], rule["grad_tol"], rule["time_limit"]) for method, rule in rules.items()}
    assert found == {"als": (500, 1e-6, 60.0), "lbfgs": (10_000, 1e-8, 60.0)}
    assert study.repeat(method="als").success
    for wrong, message in (
        ({"max_itr": 3}, "stop: unknown limit 'max_itr'. Did you mean 'max_iter'"),
        ({"max_iter": 0}, "max_iter: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            ls.Study(problem, {"seed": [0]}, stop=wrong)
    with pytest.raises(TypeError, match=r"^stop: expected a StoppingRule or a mapping of limits, .*, got 60$"):
        ls.Study(problem, {"seed": [0]}, stop=60)


def test_errors_are_results(whole):
    _, runs = whole
    assert len(runs.failed) == 24
    assert {record["run"]["cell"]["lam"] for record in runs.failed} == {-1.0}


def test_the_bits_do_not_depend_on_order_and_company(whole, tmp_path):
    """Every run in a chunk of its own, last cell first, gives the same digest as the study in one go."""
    _, runs = whole
    study = mixed()
    Store(tmp_path / "runs", create=True)
    worker = Solver(study, tmp_path / "runs", threads=1)
    for index in reversed(range(len(study))):
        worker(Chunk(f"alone-{index}", np.array([index]), 60.0))
    assert study.runs(tmp_path / "runs").digest() == runs.digest()


def test_loky_gives_the_same_bits(whole, tmp_path):
    _, runs = whole
    there = mixed().run(tmp_path / "runs", "loky", n_jobs=2, threads=1)
    assert there.digest() == runs.digest()
    assert len({record["made"]["threads"] for record in there}) == 1


def test_calling_again_does_nothing_and_more_seeds_only_the_new_ones(tmp_path):
    store = tmp_path / "runs"
    first = plain(3).run(store, "serial")
    before = contents(store)
    assert plain(3).run(store, "serial").digest() == first.digest()
    assert {k: v for k, v in contents(store).items() if k != "store.json"} == {
        k: v for k, v in before.items() if k != "store.json"
    }
    # A finished study is read where nothing can be written: on a disk that is read-only, or another user's.
    times = [path.stat().st_mtime_ns for path in (store, store / "store.json")]
    assert plain(3).run(store, "serial").digest() == first.digest()
    assert [path.stat().st_mtime_ns for path in (store, store / "store.json")] == times
    more = plain(5).run(store, "serial")
    assert len(more) == 20 and len(plain(3).runs(store)) == 12
    assert all(contents(store)[name] == data for name, data in before.items() if name != "store.json")


def test_the_same_study_written_in_another_order_or_with_other_kinds_of_numbers_does_nothing_new(tmp_path):
    problem = ls.Problem(Denoising(np.arange(12.0).reshape(4, 3)), 1, 1.0)
    measures = {"width": lambda problem, result: problem.rank, "decay": lambda problem, result: problem.lam}
    axes = {"lam": [1, 2], "rank": [1, 2], "seed": range(2)}
    study = ls.Study(problem, axes, "lbfgs", measures)
    digest = study.run(tmp_path, "serial").digest()
    for again, others in [
        ({"seed": [1, 0], "rank": [2, 1], "lam": [2, 1]}, dict(reversed(measures.items()))),
        ({"lam": np.array([1.0, 2.0]), "rank": np.array([2, 1]), "seed": range(2)}, measures),
    ]:
        runs = ls.Study(problem, again, "lbfgs", others).run(tmp_path, "serial")
        assert len(runs) == len(ls.Runs.read(tmp_path)) == 8 and runs.digest() == digest
        assert [list(record["run"]["cell"]) for record in runs] == [list(again)] * 8
    more = ls.Study(problem, {"rank": [1, 2], "lam": [0.5, 2.0], "seed": [0]}, "lbfgs", measures)
    rows = more.run(tmp_path, "serial").sorted_rows()
    assert [(row["rank"], row["lam"]) for row in rows] == [(1, 0.5), (1, 2), (2, 0.5), (2, 2)]
    # Read without a study, as the last call has them.
    every = [(row["rank"], row["lam"], row["seed"]) for row in ls.Runs.read(tmp_path).sorted_rows()]
    assert every == sorted(every) and len(every) == 10
    zero = ls.Study(problem, {"lam": np.round([-0.1, 1.0]), "seed": [0]}, "lbfgs").run(tmp_path / "zero", "serial")
    assert zero.table().splitlines()[1].split()[0] == "0"


def test_other_settings_are_other_runs(tmp_path):
    store = tmp_path / "runs"
    first = mixed(1, measure=()).run(store, "serial")
    other = mixed(1, measure=("certify",)).run(store, "serial")
    assert len(first) == len(other) == 18 and len(ls.Runs.read(store)) == 36
    assert not {r["key"] for r in first} & {r["key"] for r in other}
    assert all("measures" in r["result"] or "error" in r["result"] for r in other)
    # The same points are reached whatever is measured there.
    points = {}
    for record in ls.Runs.read(store):
        points.setdefault(str(record["run"]["cell"]), set()).add(record["result"].get("parameters"))
    assert all(len(found) == 1 for found in points.values())


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_two_studies_that_begin_on_one_new_store_do_not_mix(tmp_path, backend):
    """The other one does all its runs while the first run of this one is measured."""
    store, caller = str(tmp_path / "runs"), os.getpid()

    def begin_the_other(problem, result):
        if os.getpid() == caller and not any(name.endswith(".runs") for name in os.listdir(store)):
            plain(2).run(store, "serial")
        return 0.0

    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(6)}, "lbfgs", measure=begin_the_other)
    runs = study.run(store, backend, n_jobs=1)
    assert runs.failed == [] and len(ls.Runs.read(store)) == 6 + 8
    asked = [Describe(study)(index).key for index in range(6)]
    assert sorted(record["key"] for record in runs) == sorted(asked)


@pytest.mark.parametrize("kind", ["array", "pair", "object"])
def test_settings_that_no_text_says_are_known_by_their_content(tmp_path, kind):
    """Of arrays of 1,200 entries and more that differ in the middle, against ten steps written out."""
    M = np.random.default_rng(2).standard_normal(LONG)
    for middle in (1.0, 0.25):
        A, B = np.ones((60, 20)), np.ones((30, 20))
        lengths = np.ones(A.size + B.size)
        lengths[100:1100] = middle
        a, b = lengths[: A.size].reshape(A.shape), lengths[A.size :].reshape(B.shape)
        for _ in range(10):
            E = A @ B.T - M
            A, B = A - 0.0005 * a * (E @ B + 0.5 * A), B - 0.0005 * b * (E.T @ A + 0.5 * B)
        value = 0.5 * ((A @ B.T - M) ** 2).sum() + 0.25 * ((A**2).sum() + (B**2).sum())
        for _ in range(2):
            (record,) = long_steps(kind, middle).run(tmp_path / "runs", "serial")
            assert record["result"]["fun"] == pytest.approx(value, rel=1e-12)
        there = python(
            "from grids import long_steps; import sys; print(*long_steps(*eval(sys.argv[1])).runs(sys.argv[2]))",
            repr((kind, middle)),
            str(tmp_path / "runs"),
        )
        assert record["key"] in there.communicate(timeout=120)[0]
    assert len(ls.Runs.read(tmp_path / "runs")) == 2


def test_a_setting_that_cannot_be_read_is_an_error_of_the_cell_alone(tmp_path):
    with open(os.devnull) as file:
        method = ls.Method(Stretched(0.01, file))
        assert str(method) == "stretched:lengths=<TextIOWrapper>"
        study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}, method)
        (record,) = study.run(tmp_path / "runs", "serial").failed
    assert "['stretched:lengths'] is a TextIOWrapper, whose content cannot be read" in record["result"]["error"]


def test_components_of_a_script_are_the_same_in_its_workers(tmp_path):
    """Their classes go there by value: with settings of every kind all runs are done, and found again."""
    process = python(
        """
        import sys, typing
        from dataclasses import dataclass, field
        import numpy as np, lorasolve as ls
        from grids import Shifted
        class Steps(typing.NamedTuple):
            size: float
            def shorter(self):
                return 0.5 * self.size
        class Table(dict):
            pass
        @dataclass(frozen=True)
        class Own(ls.optimizers.GD):
            steps: object = None
            table: object = field(default_factory=Table)
            name = "own"
            def kernel_data(self, problem):
                return None
            def update(self, problem, state, value, grad):
                state.theta = state.trial
                state.trial = state.theta - self.steps.shorter() * self.table["weights"][1] * grad
        method = Own(steps=Steps(0.2), table=Table(weights=np.array([0.0, 1.0])))
        stop = ls.StoppingRule(max_iter=5)
        study = ls.Study(ls.Problem(Shifted(), 2, 0.1), {"seed": range(4)}, method, stop=stop)
        runs = study.run(sys.argv[1], "loky", n_jobs=1)
        print(len(runs), len(study.runs(sys.argv[1])), len(ls.Runs.read(sys.argv[1])), runs.failed)
        for record in runs:
            alone = ls.solve(study.problem, "gd:step_size=0.1", seed=record["run"]["random"], stop=stop)
            assert abs(record["result"]["fun"] - alone.fun) < 1e-12, (record["result"], alone.fun)
        """,
        str(tmp_path / "runs"),
    )
    out, err = process.communicate(timeout=120)
    assert out.strip() == "4 4 4 []" and process.returncode == 0, out + err


def test_failed_runs_are_done_again_on_request(tmp_path):
    def study(broken):
        class Own(Shifted):
            fingerprint = "the same data"

            def value_and_grad(self, X):
                if broken:
                    raise ArithmeticError(broken)
                return super().value_and_grad(X)

        return ls.Study(ls.Problem(Own(), 2, 0.1), {"seed": range(3)}, stop=ls.StoppingRule(max_iter=5))

    store = tmp_path / "runs"
    # Each call writes a file of its own; which is read last is chance.
    for broken in ("no luck", *map(str, range(5)), "none again"):
        runs = study(broken).run(store, "serial", retry_failed=True)
        assert [r["result"]["error"] for r in runs.failed] == [f"ArithmeticError: {broken}"] * 3
    assert len(study("").run(store, "serial").failed) == 3
    again = study("").run(store, "serial", retry_failed=True)
    assert (len(again), again.failed) == (3, [])
    assert len(study("late").run(store, "serial", retry_failed=True).failed) == 0


def test_a_copy_with_other_times_of_its_files_shows_the_same_attempt(tmp_path):
    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, measure={"fails": fails})
    attempts = [study.run(tmp_path / "runs", "serial", retry_failed=True).digest() for _ in range(3)]
    assert len(set(attempts)) == 3
    for order in (1, -1):
        for time_of, shard in enumerate(Store(tmp_path / "runs").shards()[::order]):
            os.utime(shard, (time_of, time_of))
        assert study.runs(tmp_path / "runs").digest() == attempts[-1]


def fails(problem, result):
    raise ValueError(f"at {time.time_ns()}")


def test_repeat_gives_the_same_bits(whole):
    """Single runs and batched ones, the same numbers and factors as in the store."""
    _, runs = whole
    study, ways = mixed(), set()
    for record in runs:
        if record["run"]["cell"]["seed"] < 2 and "error" not in record["result"]:
            again = study.repeat(**record["run"]["cell"])
            for mine, theirs in zip(runs.factors(record), (again.A, again.B)):
                assert_array_equal(mine, theirs)
            found = (again.status.label, again.fun, again.grad_norm, again.nit, again.nfev)
            assert found == tuple(record["result"][name] for name in ("status", "fun", "grad_norm", "nit", "nfev"))
            ways.add(record["made"]["batched"])
    assert ways == {True, False}
    with pytest.raises(ValueError, match="cell: expected a value of the axis 'rank'"):
        study.repeat(objective="own", lam=0.1, rank=7, seed=0)
    with pytest.raises(ValueError, match="cell: ValueError: lam: expected a finite number"):
        study.repeat(objective="own", lam=-1.0, rank=3, seed=0)


def test_a_measure_that_fails_keeps_the_run_and_says_which(tmp_path):
    def odd(problem, result):
        raise KeyError("nothing")

    study = ls.Study(
        ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}, measure={"mine": odd}, stop=ls.StoppingRule(max_iter=3)
    )
    (record,) = study.run(tmp_path / "runs", "serial").failed
    assert record["result"]["error"] == "measure 'mine': KeyError: 'nothing'" and record["result"]["nit"] == 3


@pytest.mark.parametrize("method", ["lbfgs", "gd:step_size=0.1", "gd+periodic:period=3"])
def test_a_measure_that_writes_to_its_result_changes_no_other_one(tmp_path, method):
    def columns_of_one(problem, result):
        result.A[:, 1:] = 0.0
        result.theta[:] = 0.0
        return float(np.linalg.norm(result.A))

    def length(problem, result):
        return float(np.linalg.norm(result.X)) + float(np.linalg.norm(result.A))

    problem = ls.Problem(ls.objectives.Denoising(np.diag([4.0, 3.0, 2.0])), 2, 0.1)
    options = {"method": method, "stop": ls.StoppingRule(max_iter=20)}
    alone = ls.Study(problem, {"seed": [0, 1]}, measure=[length], **options).run(tmp_path / "alone", "serial")
    after = ls.Study(problem, {"seed": [0, 1]}, measure=[columns_of_one, length], **options)
    found = [
        sorted(record["result"]["measures"]["length"] for record in runs)
        for runs in (alone, after.run(tmp_path / "after", "serial"))
    ]
    assert found[0] == found[1] and all(value > 1.0 for value in found[0])


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_code_that_exits_and_errors_without_a_text_are_results_too(tmp_path, backend):
    """Of the other cells: two singular values 1 of six are lowered by lam."""

    class Silent(Exception):  # within the test, so that workers have it by value
        def __str__(self):
            raise RuntimeError("no text")

    def problem(lam, ends):
        if ends == "problem":
            sys.exit(0)
        return ls.Problem(Denoising(np.eye(6)), 2, lam)

    def method(ends):
        if ends == "method":
            raise SystemExit("no method")
        return "lbfgs"

    def measure(problem, result):
        if problem.lam == 0.2:
            sys.exit(3)
        if problem.lam == 0.3:
            raise Silent
        return 1.0

    axes = {"lam": [0.2, 0.3, 0.4, 0.5], "ends": ["problem", "method", "not"], "seed": range(2)}
    rows = list(ls.Study(problem, axes, method, measure).run(tmp_path, backend, n_jobs=1).rows())
    assert len(rows) == 4 * 3 * 2
    expected = {"problem": "SystemExit: 0", "method": "SystemExit: no method"}
    measured = {0.2: "measure 'measure': SystemExit: 3", 0.3: "measure 'measure': Silent (its message cannot be made)"}
    for row in rows:
        assert row.get("error") == expected.get(row["ends"], measured.get(row["lam"]))
        if row["ends"] == "not":
            assert row["fun"] == pytest.approx(2.0 + 2.0 * row["lam"] * (1.0 - row["lam"] / 2.0), rel=1e-9)


def test_axes_replace_the_settings_of_several_matrices(tmp_path):
    """Singular values 3, 2, 1 and 3, 1: those that a rank keeps are lowered by lam."""
    loss = Separable([Denoising(np.diag([3.0, 2.0, 1.0])), Denoising(np.diag([3.0, 1.0]))])
    problem = ls.MultiProblem(loss, 1, 0.5)
    labels = {"ones": 1, "two and one": (2, 1)}
    study = ls.Study(problem, {"ranks": labels, "lam": [0.5, 0.8]}, "lbfgs", init="gaussian")
    for record in study.run(tmp_path / "runs", "serial"):
        cell = record["run"]["cell"]
        kept = {"ones": [3.0, 3.0], "two and one": [3.0, 2.0, 3.0]}[cell["ranks"]]
        least = 12.0 + sum(cell["lam"] * (v - cell["lam"] / 2) - v**2 / 2 for v in kept)
        assert record["result"]["fun"] == pytest.approx(least, rel=1e-9)
    with pytest.raises(ValueError, match=r"axes: 'rank' is no argument of .* Did you mean 'ranks'"):
        ls.Study(problem, {"rank": [1, 2]})
    with pytest.raises(ValueError, match="axes: 'adapter' is no argument of"):
        ls.Study(problem, {"adapter": ["lora"]})


# ---------------------------------------------------------------------- descriptions
def test_a_digest_sees_data_settings_and_code_and_nothing_else():
    for name, cls in ls.objectives.registry.classes().items():
        one, same, other = (cls.example(np.random.default_rng(seed)) for seed in (0, 0, 1))
        before = digest(one)
        assert before == digest(same) != digest(other), name
        problem = ls.Problem(one, 2, 0.1)
        ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=3))
        problem.objective.facts  # noqa: B018
        assert digest(one) == before, f"{name} remembers something that not_data does not name"
    make = {}
    for power in (2, 3):
        exec(f"def f(X):\n    return X ** {power}", scope := {"__name__": "__main__"})
        make[power] = digest(scope["f"])
    assert make[2] != make[3]
    # What each function is given counts, wherever in memory the list of it is put.
    given = [[functools.partial(np.add, first), functools.partial(np.add, last)] for first, last in ((1, 2), (1, 3))]
    assert digest(given[0]) != digest(given[1])
    assert digest([1, 2.0]) == digest((1, 2)) != digest([1, 2.5])
    assert digest(Shifted(1.0)) == digest(Shifted(1.0)) != digest(Shifted(2.0))
    holder = Shifted()
    before = digest(holder)
    holder.value_and_grad(np.zeros((6, 5)))
    assert holder.calls == 1 and digest(holder) == before
    with open(os.devnull) as holder.source, pytest.raises(TypeError, match=r"the value.source is a"):
        digest(holder)


class Constant:
    """Its attributes are the objects that stand in its code, until it is copied."""

    def __init__(self):
        self.pair, self.kinds = (1.5, (2, "a")), frozenset((1, 2))

    def both(self):
        return self.pair == (1.5, (2, "a")), 1 in {1, 2}


def test_a_digest_sees_neither_what_a_class_repeats_of_its_base_nor_constants_that_are_not_used():
    """Copies in other processes are without the first, and may hold the second in another order."""

    class Base:
        def step(self):
            return 1.0

    def other(self):
        return 2.0

    plain, repeating, overriding = (type("Own", (Base,), given) for given in ({}, {"step": Base.step}, {"step": other}))
    assert digest(plain) == digest(repeating) != digest(overriding)

    def code_with(*unused):
        code = other.__code__
        return types.FunctionType(code.replace(co_consts=(*code.co_consts, *unused)), other.__globals__)

    assert digest(code_with()) == digest(code_with("a", "b")) == digest(code_with("b", "a"))


def test_equal_content_has_equal_digests_whatever_of_it_is_one_object():
    """A worker has the code and its constants by name, and a copy of the object."""
    one = Constant()
    constants = [constant for entry in (Constant.__init__, Constant.both) for constant in entry.__code__.co_consts]
    assert any(constant is one.pair for constant in constants)
    assert digest(pickle.loads(pickle.dumps(one))) == digest(one)
    one.pair = (1.5, (2, "b"))
    assert digest(one) != digest(Constant())
    row, slope = [1.0, 2.0], functools.partial(np.add, 1)
    assert digest([row, row, {"same": row}]) == digest([list(row), list(row), {"same": list(row)}])
    assert digest([slope, slope]) == digest([slope, functools.partial(np.add, 1)])
    around = [1.0]
    around.append(around)
    assert digest(around) == digest(copy.deepcopy(around)) != digest([1.0, [1.0]])


def test_a_digest_sees_the_code_of_other_modules_that_is_called(tmp_path, monkeypatch):
    """However long the chain of calls is, and also where the calls go round in a circle."""
    found = []
    for last in ("x", "2 * x", "x"):
        for number in range(400):
            name = f"link_{number}_for_test"
            monkeypatch.setitem(sys.modules, name, module := types.ModuleType(name))
            module.__file__ = str(tmp_path / f"{name}.py")
            calls = f"link_{number - 1}_for_test.f(x)" if number else f"{last} if x else link_399_for_test.f"
            exec(f"HELD = []\ndef f(x):\n    HELD.append(x)\n    return {calls}", vars(module))
            if number:
                setattr(module, f"link_{number - 1}_for_test", sys.modules[f"link_{number - 1}_for_test"])
        sys.modules["link_0_for_test"].link_399_for_test = sys.modules["link_399_for_test"]
        exec("def f(x):\n    return link_399_for_test.f(x)", scope := {"link_399_for_test": module})
        before = digest(scope["f"])
        assert scope["f"](1) == eval(last, {"x": 1}) and digest(scope["f"]) == before
        found.append(before)
    assert found[0] == found[2] != found[1]


def test_modules_that_the_function_around_a_measure_imports_are_known_by_the_code_that_it_calls(tmp_path, monkeypatch):
    """As where all of a script is in its function main; that its measure calls numpy was refused."""
    marks = []
    for factor in ("1.0", "2.0", "1.0"):
        monkeypatch.setitem(sys.modules, "helper_for_test", module := types.ModuleType("helper_for_test"))
        module.__file__ = str(tmp_path / "helper_for_test.py")
        exec(f"def scaled(x):\n    return {factor} * x\ndef other(x):\n    return {factor}", vars(module))

        def main():
            import helper_for_test
            import numpy as np

            def size(problem, result):
                return [helper_for_test.scaled(np.linalg.norm(factors, 2)) for factors in (result.A, result.B)]

            def ones(problem, result):
                return float(np.ones(3).sum())

            return ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}, "lbfgs", {"size": size, "ones": ones})

        marks.append(main().fixed()["measures"])
    assert marks[0] == marks[2] and marks[0]["size"] != marks[1]["size"] and marks[0]["ones"] == marks[1]["ones"]
    (row,) = main().run(tmp_path / "runs", "loky", 1).rows()
    assert row["ones"] == 3.0 and row["size"][0] == pytest.approx(row["size"][1])


OWN = """
import numpy as np
from math import tau

CURVATURE = {scalar}
TABLE = {table}
HELD = {{"rows": [1, np.float32(2.0)], "kinds": {{"b", "a"}}, "M": np.ones(2)}}
COUNT = {count}
ASKED, KNOWN = {memory}
SPACE = object()

def curvature():
    global COUNT
    COUNT += 1
    ASKED.append(COUNT)
    KNOWN[COUNT] = KNOWN.get(COUNT - 1, 0) + len(ASKED)
    return CURVATURE * TABLE["slope"][0] * HELD["M"].sum() / 2.0

class Own:
    shape, convex, lower_bound = (6, 5), True, 0.0
    ROWS = {rows}
    SEEN = {seen}
    not_data = ("SEEN",)

    def value_and_grad(self, X):
        SPACE, __name__
        c = curvature() * self.ROWS[0]
        return 0.5 * c * float(((X - 1.0) ** 2).sum()), c * (X - 1.0)
"""


def own(scalar=1.0, table="{'slope': [1.0]}", rows="[1.0]", count=0, seen="[]", memory="[], {}", name="__main__"):
    text = OWN.format(scalar=scalar, table=table, rows=rows, count=count, seen=seen, memory=memory)
    exec(text, scope := {"__name__": name})
    return scope["Own"]()


def test_a_digest_sees_the_plain_data_of_code_and_not_what_it_writes():
    before = digest(own())
    for same in ({}, {"count": 7}, {"seen": "[1]"}, {"memory": "[1], {1: 2}"}, {"name": "other"}):
        assert digest(own(**same)) == before, same
    asked = own()
    asked.value_and_grad(np.ones((6, 5)))
    assert digest(asked) == before
    changed = [own(scalar=2.0), own(table="{'slope': [2.0]}"), own(rows="[2.0]"), own(rows="{2.0}")]
    assert len({before, *map(digest, changed)}) == 5


TABLES = {
    "a dict": "T = {'one': f, None: [1.0]}\ndef g(x): return T['one'](x)",
    "its own names": "T = {'one': f, 'two': h} if SLOPE == 1 else {'one': h, 'two': f}\ndef g(x): return T['one'](x)",
    "a list of pairs": "T = [(1.0, f), (2.0, h)]\ndef g(x): return T[0][1](x)",
    "a class in a class": "class g:\n    class settings:\n        slope = SLOPE",
    "a table in a class": "class g:\n    kinds = {'one': f}",
    "an enumeration": "class E(enum.Enum):\n    ONE, TWO = SLOPE, 2\ndef g(x): return E.ONE.value * x",
}


@pytest.mark.parametrize("table", TABLES)
def test_a_digest_sees_functions_and_classes_that_a_module_keeps_in_tables(table):
    made = []
    for slope in (1, 1, 3):
        code = f"def f(x): return {slope} * x\ndef h(x): return -x\nSLOPE = {slope}\n{TABLES[table]}"
        exec(code, scope := {"__name__": "__main__", "enum": enum})
        made.append(digest(scope["g"]))
    assert made[0] == made[1] != made[2]


COMPILED = {
    "compiled": "f = numba.njit(f)\ndef g(x): return f(x)",
    "remembering": "f = functools.cache(f)\ndef g(x): return f(x)",
    "around": "def make():\n    h = numba.njit(f)\n    return lambda x: h(x)\ng = make()",
    "in a table": "T = {'f': functools.cache(f)}\ndef g(x): return T['f'](x)",
    "in a class": "class g:\n    h = functools.lru_cache(maxsize=2)(f)",
    "in a module": "module.f = numba.njit(f)\ndef g(x): return module.f(x)",
    "entry by entry": "f = numba.vectorize(f)\ndef g(x): return f(x)",
    "entry by entry, held": "class C: pass\ng = C()\ng.f = numba.vectorize(['float64(float64)'])(f)",
    "entry by entry in Python": "f = np.vectorize(f)\ndef g(x): return f(x)",
    "in part": "f = functools.partial(f)\ndef g(): return f()",
    "of an object": "class C:\n    h = f\nm = C().h\ndef g(): return m()",
}


@pytest.mark.parametrize("where", COMPILED)
def test_a_digest_sees_what_is_compiled_or_remembers_as_it_is_written(where):
    made = []
    for slope in (1, 1, 3):
        scope = {"__name__": "__main__", "functools": functools, "numba": numba, "np": np}
        scope["module"] = types.ModuleType("module")
        exec(f"def f(x): return {slope} * x\n{COMPILED[where]}", scope)
        made.append(digest(scope["g"]))
    assert made[0] == made[1] != made[2]


def test_a_digest_sees_what_a_partial_function_is_given():
    made = []
    for slope in (1, 1, 3):
        scope = {"__name__": "__main__", "functools": functools}
        exec(f"def h(a, x): return a * x\nf = functools.partial(h, {slope})\ndef g(x): return f(x)", scope)
        made.append(digest(scope["g"]))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("code", ["g = h", "def g(x): return h(x)", "class g:\n    f = h"])
def test_a_ufunc_that_no_package_has_is_not_taken_for_another_of_its_name(code):
    """Those of ``numpy.frompyfunc`` are called after their functions, as all lambdas are."""
    exec(code, scope := {"__name__": "__main__", "h": np.frompyfunc(lambda x: 2 * x, 1, 1)})
    with pytest.raises(TypeError, match=r"is a ufunc '<lambda> \(vectorized\)', whose content cannot be read"):
        digest(scope["g"])
    for known in (np.square, np.strings.str_len, scipy.special.expit):
        exec(code, scope := {"__name__": "__main__", "h": known})
        digest(scope["g"])


def test_tables_that_other_modules_fill_say_nothing_about_code():
    """What has been imported by now differs from process to process; in what order entries came does not count."""

    def made(entries):
        exec(
            "def f(x): return x\ndef h(x): return 2 * x\ndef g(x): return T['f'](x)", scope := {"__name__": "__main__"}
        )
        scope["T"] = {name: scope.get(name, thing) for name, thing in entries.items()}
        scope["T"]["T"] = scope["T"]
        return digest(scope["g"])

    other = types.FunctionType((lambda x: 5 * x).__code__, {"__name__": "other"})
    before = made({"f": None, "h": None})
    assert before == made({"h": None, "other": other, "f": None, digest: other}) != made({"h": None})


RECORDS = {
    "namespace": "types.SimpleNamespace(slope=SLOPE)",
    "arguments": "argparse.Namespace(slope=SLOPE, out=None)",
    "dataclass": "Settings(SLOPE)",
    "nested": "types.SimpleNamespace(inner=Settings(Settings([SLOPE])))",
    "sparse": "scipy.sparse.csr_array([[SLOPE, 0.0]])",
}


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize(
    "statement", ["return C.slope", "x.slope += C.slope", "C.slope += 1", "C.slope = x", "del C.slope"]
)
def test_a_digest_sees_records_of_plain_data_that_code_reads_and_does_not_fill(record, statement):
    """Of the code of a dataclass too, which may read its own instance."""
    made = []
    for slope in (1.0, 1.0, 3.0):
        names = {
            "types": types,
            "argparse": argparse,
            "dataclass": dataclasses.dataclass,
            "scipy": scipy,
            "SLOPE": slope,
        }
        code = "@dataclass\nclass Settings:\n    slope: float\n    def own(self): return C"
        exec(f"{code}\nC = {RECORDS[record]}\ndef f(x):\n    {statement}", scope := names | {"__name__": "__main__"})
        made.append(digest(scope["f"]))
    assert made[0] == made[1]
    assert (made[0] == made[2]) == statement.replace("del ", "").startswith("C.")


@pytest.mark.parametrize("code", ["args.slope * x", "args.slope + (lambda: args.slope)()", "vars(args)", "args.own()"])
def test_of_a_record_counts_what_is_read_of_it(code):
    """The number of workers that a script is given makes no other runs."""
    kinds = {}
    for name, given in {"one": (1.0, 2), "workers": (1.0, 4), "slope": (3.0, 2)}.items():
        scope = {"args": argparse.Namespace(slope=given[0], workers=given[1]), "__name__": "__main__"}
        exec(f"def f(x):\n    return {code}", scope)
        kinds[name] = digest(scope["f"])
    assert kinds["one"] != kinds["slope"]
    assert (kinds["one"] == kinds["workers"]) == code.startswith("args.slope")


def test_a_loss_with_a_namespace_of_settings_is_known_by_these(tmp_path):
    """The optimum of ``||X - t||^2/2 + lam ||X||_*`` at a constant t: one singular value, ``t sqrt(30) - lam``."""
    for target in (1.0, 3.0):
        loss = Shifted(target)
        loss.settings = types.SimpleNamespace(target=target)
        (record,) = ls.Study(ls.Problem(loss, 2, 0.5), {"seed": [0]}, "lbfgs").run(tmp_path / "runs", "serial")
        assert record["result"]["fun"] == pytest.approx(0.5 * target * np.sqrt(30.0) - 0.125, rel=1e-9)
    assert digest(types.SimpleNamespace(target=1.0)) != digest(types.SimpleNamespace(target=3.0))


WRITES = ("C.append(x)", "C[k] = x", "C[f(k, x)] = k", "C[k] += x", "C[k][x] = 1", "C[k].add(x)", "del C[k]")
READS = ("x[k] = C", "x[C[k]] = 1", "x[k] += C[k]", "x.append(C)", "x[k] = x if C else k", "x[k] = f(C, x)", "k = C[k]")
COPIES = ("C.copy().pop()", "C[k].copy().pop()", "(C + x).pop()", "C[1:].pop()", "C[x:k:1].pop()", "C.copy()[k] = x")
OTHERS = ("f(C).pop()", "C.get(k=x).pop()", "C.get(*x).pop()", "x[C if k else 1] = k")


@pytest.mark.parametrize("statement", WRITES + READS + COPIES + OTHERS)
def test_what_a_function_fills_is_no_data(statement):
    made = []
    for content in ("[1]", "[2]", "'a/3'", "'a/4'", "(1, 2)", "(1, 3)", "([1],)", "([2],)"):
        exec(f"def f(x, k):\n    {statement}\nC = {content}", scope := {})
        made.append(digest(scope["f"]))
    pairs = dict(zip(("list", "text", "numbers", "tuple of lists"), zip(made[::2], made[1::2])))
    unseen = {kind for kind, (one, other) in pairs.items() if one == other}
    # Texts and tuples of numbers cannot be filled, whatever the methods of the same names do with them.
    assert unseen == ({"list", "tuple of lists"} if statement in WRITES else set())


@pytest.mark.parametrize("cycle", ["C['self'] = C", "C['list'] = [1, (C, 2)]", "C['key'] = {1: {2: C}}"])
def test_data_that_hold_themselves_are_none_that_a_digest_sees(cycle):
    """As an object that is read by name; what occurs twice but not within itself is data."""
    twice = "T = [0]; D = {'one': T, 'other': (T, [T])}"
    made = []
    for slope in (1, 1, 2):
        exec(f"C = {{}}; {cycle}; {twice}; T[0] = {slope}\ndef f(x):\n    return len(C), D", scope := {})
        made.append(digest(scope["f"]))
    assert made[0] == made[1] != made[2]


def test_what_objects_note_of_themselves_is_no_content():
    """Flags that SciPy finds out, the text and the hash of a path (another in every process), and times of runs."""
    one, other = (scipy.sparse.random(20, 30, 0.2, format="csr", random_state=0) for _ in range(2))
    before = digest(one)
    assert one.has_canonical_format and one.has_sorted_indices
    assert digest(one) == before == digest(other) != digest(2.0 * other)
    assert digest(pathlib.Path("figures")) != digest(pathlib.Path("tables"))
    path = pathlib.Path("figures")
    hash(path)
    program = "import pathlib; from lorasolve._support.digest import digest; print(digest(pathlib.Path('figures')))"
    assert python(program).communicate(timeout=60)[0].strip() == digest(path) == digest(pathlib.Path("figures"))
    problem = ls.Problem(objectives()["denoising"], 2, 0.1)
    stop = ls.StoppingRule(max_iter=5)
    for make in (
        ls.solve_convex,
        lambda problem: ls.solve(problem, "lbfgs", seed=1, stop=stop),
        lambda problem: ls.compare(problem, ["gd", "lbfgs"], stop=stop),
        lambda problem: ls.certify_batch([problem] * 2, [(np.ones((6, 2)), np.ones((5, 2)))] * 2),
    ):
        assert digest(make(problem)) == digest(make(problem)) != digest(make(problem.replace(lam=0.2)))


def test_a_problem_of_sparse_data_that_was_solved_is_the_same():
    data = scipy.sparse.random(20, 30, 0.2, format="csr", random_state=0)
    problem = ls.Problem(ls.objectives.MatrixSensing(data, np.ones(20), (6, 5)), 2, 0.01)
    keys = ls.Study(problem, {"seed": range(3)}, "lbfgs").keys()
    ls.solve_convex(problem)
    assert ls.Study(problem, {"seed": range(3)}, "lbfgs").keys() == keys


def test_a_measure_that_remembers_is_what_it_was_at_first(tmp_path):
    for backend in ("serial", "loky"):
        study = remembering(4)
        runs = study.run(tmp_path / backend, backend)
        assert len(runs) == len(study.runs(tmp_path / backend)) == len(ls.Runs.read(tmp_path / backend)) == 4
        # The optimum of the matrix of ones: one singular value, sqrt(30) - 0.1.
        assert {round(record["result"]["measures"]["excess"], 6) for record in runs} == {0.0}
    before = study.keys()
    study.measures = {"excess": len}
    assert not before & study.keys()


class Hidden:
    __slots__ = ("__held", "__weakref__")

    def __init__(self, held):
        self.__held = held


class Short(Hidden):
    __slots__ = "scale"

    def __init__(self, scale):
        super().__init__(None)
        self.scale = scale


def extended(base, entries, attribute=None, power=1):
    """Return a value of a class that extends a container, with a method of its own."""
    scope = {"base": base, "__name__": "__main__"}
    exec(f"class Own(base):\n    def power(self):\n        return {power}", scope)
    value = entries.view(scope["Own"]) if base is np.ndarray else scope["Own"](entries)
    if attribute is not None:
        value.attribute = attribute
    return value


def labelled(level):
    return enum.Enum("Level", {"LOW": level}).LOW


def structured(*names):
    return np.zeros(2, [(name, float) for name in names])


UNLIKE = {
    "a private slot": (Hidden, [(1.0,), (2.0,)]),
    "a slot named by a text": (Short, [(1.0,), (2.0,)]),
    "random numbers of Python": (random.Random, [(1,), (2,)]),
    "a member of an enumeration": (labelled, [(1,), (2,)]),
    "the sign of zero": (float, [(0.0,), (-0.0,)]),
    "the sign of a constant": (lambda text: eval(f"lambda x: x * {text}", {}), [("0.0",), ("(-0.0)",)]),
    "names of fields": (structured, [("a", "b"), ("c", "d"), ("b", "a")]),
    "names of fields of one entry": (lambda *names: structured(*names)[0], [("a", "b"), ("c", "d")]),
    "types of fields": (lambda kind: np.dtype([("a", kind)]), [(np.int64,), (np.float64,)]),
    "what is masked": (lambda mask: np.ma.array([1.0, 1e20], mask=mask), [([0, 0],), ([0, 1],)]),
} | {
    f"a kind of {base.__name__}": (
        functools.partial(extended, base),
        [(entries,), (entries, 1), (entries, 2), (entries, 2, 3), (other, 2, 3)],
    )
    for base, entries, other in (
        (dict, {1: 2}, {1: 3}),
        (list, [1], [2]),
        (tuple, (1,), (2,)),
        (set, {1}, {2}),
        (frozenset, {1}, {2}),
        (np.ndarray, np.ones(2), np.zeros(2)),
    )
}


@pytest.mark.parametrize("what", UNLIKE)
def test_a_digest_sees_what_containers_and_slots_hold(what):
    make, different = UNLIKE[what]
    assert [digest(make(*given)) for given in different] == [digest(make(*given)) for given in different]
    assert len({digest(make(*given)) for given in different}) == len(different)


def test_who_refers_to_an_object_is_no_content_of_it():
    one, seen = Hidden(1.0), weakref.WeakKeyDictionary()
    before = digest(one)
    seen[one] = True
    assert digest(one) == before


@pytest.mark.parametrize("kind", [Point, Slotted])
def test_losses_of_slots_and_tuples_are_known_by_what_they_hold(tmp_path, kind):
    """The optimum of ``||X - t||^2/2 + lam ||X||_*`` at a constant t: one singular value, ``t sqrt(30) - lam``."""
    for target in (1.0, 3.0):
        study = ls.Study(ls.Problem(kind(target), 2, 0.5), {"seed": [0]}, "lbfgs")
        for backend in ("loky", "serial"):
            (record,) = study.run(tmp_path / "runs", backend, n_jobs=1)
            assert record["result"]["fun"] == pytest.approx(0.5 * target * np.sqrt(30.0) - 0.125, rel=1e-9)
    assert len(ls.Runs.read(tmp_path / "runs")) == 2


@pytest.mark.parametrize("change", [{"scalar": 3.0}, {"table": "{'slope': [3.0]}"}, {"rows": "np.array([3.0])"}])
def test_a_constant_of_the_code_that_changes_is_another_run(tmp_path, change):
    """The optimum of ``c/2 ||X - 1||^2 + lam ||X||_*``: one singular value, ``sqrt(30) - lam/c``."""
    for c, loss in ((1.0, own()), (3.0, own(**change))):
        study = ls.Study(ls.Problem(loss, 2, 0.5), {"seed": [0]}, "lbfgs")
        (record,) = study.run(tmp_path / "runs", "serial")
        assert record["result"]["fun"] == pytest.approx(0.5 * np.sqrt(30.0) - 0.125 / c, rel=1e-9)
    assert len(ls.Runs.read(tmp_path / "runs")) == 2


def test_a_result_as_start_is_known_by_its_parameters(tmp_path):
    """The same start found anew: other times, the same runs."""
    problem = ls.Problem(objectives()["sensing"], 2, 0.1)
    stop = ls.StoppingRule(max_iter=4)

    def run(init):
        return ls.Study(problem, {"seed": range(2)}, "sgd:batch_size=5", init=init, stop=stop).run(
            tmp_path / "runs", "serial"
        )

    starts = [ls.solve(problem, "lbfgs", init="lora_ga", stop=stop) for _ in range(2)]
    other = ls.solve(problem, "lbfgs", stop=stop)
    assert starts[0].seconds != starts[1].seconds
    found = [run(start) for start in starts]
    assert len(ls.Runs.read(tmp_path / "runs")) == 2
    for record in found[0]:
        alone = ls.solve(problem, "sgd:batch_size=5", init=starts[1], seed=record["run"]["random"], stop=stop)
        assert record["result"]["fun"] == alone.fun
    run(other)
    assert len(ls.Runs.read(tmp_path / "runs")) == 4
    for start in starts:
        ls.compare(problem, ["gd"], init=start, stop=stop, store=tmp_path / "compared")
    assert len(ls.Runs.read(tmp_path / "compared")) == 1


def test_seeds_are_those_of_problem_and_start_alone():
    found = {}
    for study in (plain(2), plain(3)):
        for index in range(len(study)):
            cell = Describe(study)(index)
            labels = study.axes.cell(study.axes.positions(index))
            found.setdefault((labels["rank"], labels["seed"]), set()).add(cell.seed)
    assert all(len(seeds) == 1 for seeds in found.values())
    assert len(set.union(*found.values())) == len(found)


def test_bad_input_names_the_argument(tmp_path):
    problem = ls.Problem(Shifted(), 2, 0.1)
    with pytest.raises(ValueError, match="axes: 'lamb' is no argument"):
        ls.Study(problem, {"lamb": [1.0]})
    with pytest.raises(ValueError, match=r"'rnk' is no argument .* .*'rank'\? Accepted: rank, step, init, s"):
        ls.Study(lambda rank=2: problem, {"rnk": [1], "step": [0.1]}, lambda step: f"gd:step_size={step}")
    with pytest.raises(ValueError, match=r"cell: expected a value of the axis 'lam' \(1.0, 2.0\), got an array"):
        ls.Study(problem, {"lam": [1.0, 2.0]}).repeat(lam=np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"cell: expected a value of the axis 'lam' \(1.0, 2.0\), got \[\[1.0\], "):
        ls.Study(problem, {"lam": [1.0, 2.0]}).repeat(lam=[[1.0], [1.0, 2.0]])
    for measure, what in ((np.linalg.norm, "norm"), ({"mine": np.linalg.norm}, "mine")):
        with pytest.raises(TypeError, match=f"measure: {what} is a .*, whose content cannot be read"):
            ls.Study(problem, {"lam": [1.0]}, measure=measure).runs(Store(tmp_path, create=True).path)
    with pytest.raises(ValueError, match=r"problem: its argument 'rnk' is no axis. Did you mean 'rank'"):
        ls.Study(lambda rnk: problem, {"rank": [1]})
    with pytest.raises(ValueError, match=r"axes: lam: holds 1.0 twice"):
        ls.Study(problem, {"lam": [1.0, 1.0]})
    with pytest.raises(TypeError, match="axes: lam: expected numbers, texts, truth values or None, got list"):
        ls.Study(problem, {"lam": [[1.0]]})
    with pytest.raises(TypeError, match=r"axes: lam: expected a sequence of values, got an array of shape \(\)"):
        ls.Study(problem, {"lam": np.array(1.0)})
    with pytest.raises(TypeError, match="retry_failed: expected True or False, got 'no'"):
        ls.Study(problem, {"lam": [1.0]}).run("nowhere", "serial", retry_failed="no")
    with pytest.raises(ValueError, match="threads: expected an integer from 1 to 4096"):
        ls.Study(problem, {"lam": [1.0]}).run("nowhere", "serial", threads=2**63)
    for read in (ls.Study(problem, {"lam": [1.0]}).run, ls.Study(problem, {"lam": [1.0]}).runs, ls.Runs.read):
        with pytest.raises(TypeError, match="store: expected a path"):
            read(7)
    with pytest.raises(TypeError, match="progress: expected True or False, got 7"):
        ls.Study(problem, {"lam": [1.0]}).run("nowhere", "serial", progress=7)
    with pytest.raises(ValueError, match="measure: unknown measure 'certfy'"):
        ls.Study(problem, {"lam": [1.0]}, measure="certfy")
    with pytest.raises(ValueError, match=r"backend: unknown executor 'lokky'. Did you mean 'loky'"):
        ls.Study(problem, {"lam": [1.0]}).run("nowhere", "lokky")
    with pytest.raises(ValueError, match="unknown optimizer"):
        ls.Study(problem, {"lam": [1.0]}, method="gradient")
    for name, accepted in (
        ("method", "a text, a Method, an Optimizer"),
        ("init", r"a text, an Init, \(A, B\), a Result"),
    ):
        with pytest.raises(TypeError, match=rf"^{name}: expected {accepted} or a function of axes, got 3$"):
            ls.Study(problem, {"lam": [1.0]}, **{name: 3})
    with pytest.raises(TypeError, match=r"^problem: expected a Problem or a function of axes, got 3$"):
        ls.Study(3, {"lam": [1.0]})
    with pytest.raises(ValueError, match=r"init: unknown init 'gausian'. Did you mean 'gaussian'"):
        ls.Study(problem, {"lam": [1.0]}, init="gausian")
    for name in RESERVED:
        words = f"expected a name of its own, got '{name}', which is a column of every table"
        with pytest.raises(ValueError, match=f"axes: {words}"):
            ls.Study(lambda **cell: problem, {name: [1.0]})
        with pytest.raises(ValueError, match=f"measure: {words}"):
            ls.Study(problem, {"lam": [1.0]}, measure={name: ls.certify})
    with pytest.raises(ValueError, match="measure: expected a name of its own, got 'lam', which is an axis"):
        ls.Study(problem, {"lam": [1.0]}, measure={"lam": ls.certify})
    # The rank of certify would stand in the column of the other measure.
    with pytest.raises(ValueError, match=r"measure: .* got 'certify\.rank', which an entry of 'certify' may have"):
        ls.Study(problem, {"lam": [1.0]}, measure={"certify.rank": lambda problem, result: 7, "certify": ls.certify})


# ---------------------------------------------------------------------- the store
def test_a_damaged_shard_loses_its_bad_lines_and_names_them(tmp_path):
    store = tmp_path / "runs"
    study = plain(6)
    runs = study.run(store, "serial")
    digest_before, before = runs.digest(), {r["key"] for r in runs}
    shard = max(Store(store).shards(), key=lambda path: path.stat().st_size)
    lines = shard.read_bytes().split(b"\n")
    lines[3] = lines[3].replace(b'"nit":', b'"nit":1')
    lines[7] = b"\x00\xff" * 20
    shard.write_bytes(b"\n".join(lines)[:-50])
    left = ls.Runs.read(store)
    # Also before anything else was read.
    assert len(left.damaged) == len(study.runs(store).damaged) == 3
    assert before > {r["key"] for r in left} and len(before) - len(left) == 3
    assert [(d.line, d.shard) for d in left.damaged] == [(k, shard.name) for k in (4, 8, len(lines) - 1)]
    assert str(left.damaged[2]).endswith("was not written to its end")
    again = study.run(store, "serial")
    assert again.digest() == digest_before


@pytest.mark.parametrize(
    "body", [b"", b"x", b"00", b"00 ok -", b"gg ok - {}", b"00 ok - 7", b"0 ok - {}", b"00 fine - {}"]
)
def test_a_line_that_verifies_and_holds_no_run_is_damage(tmp_path, body):
    """Anybody can write a checksum: it is BLAKE2b of 8 bytes, without a key."""
    store = tmp_path / "runs"
    study = plain(1)
    before = study.run(store, "serial").digest()
    check = hashlib.blake2b(body, digest_size=8).hexdigest().encode()
    (store / "elsewhere-1-00000000.runs").write_bytes(check + b" " + body + b"\n")
    assert [d.reason for d in ls.Runs.read(store).damaged] == [
        "its checksum is right, and it holds no run: this package did not write it"
    ]
    assert study.run(store, "serial").digest() == before == ls.Runs.read(store).digest()


@pytest.mark.parametrize(
    "text", [b"{not JSON}", b"{}", b'{"run":{},"result":[],"made":{}}', b'{"a":' + b"[" * 10**5 + b"}"]
)
def test_a_line_of_other_content_is_refused_by_its_key(tmp_path, text):
    store = tmp_path / "runs"
    plain(1).run(store, "serial")
    for state in (b"ok", b"error"):
        body = b"%s %s - %s" % (b"0" * 32, state, text)
        check = hashlib.blake2b(body, digest_size=8).hexdigest().encode()
        (store / "elsewhere-1-00000000.runs").write_bytes(check + b" " + body + b"\n")
        with pytest.raises(ValueError, match=r"store: the line of the run 0{32} holds no run, and this package did"):
            ls.Runs.read(store).table()


def test_reading_a_large_store_is_progress_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lorasolve.studies._engine.Progress", functools.partial(Progress, log_seconds=0.0))
    study = plain(3)
    first = study.run(tmp_path / "runs", "serial", progress=True)
    assert "reading" not in capsys.readouterr().err
    assert study.run(tmp_path / "runs", "serial").digest() == first.digest()
    assert "reading" not in capsys.readouterr().err
    again = study.run(tmp_path / "runs", "serial", progress=True)
    assert "study: 50 %, reading the runs that are there\n" in capsys.readouterr().err
    assert again.digest() == first.digest()


def test_a_store_of_another_version_and_another_folder_are_refused(tmp_path):
    store = tmp_path / "runs"
    plain(1).run(store, "serial")
    head = store / "store.json"
    head.write_text(head.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(ValueError, match=r"version 99, and lorasolve .* reads 'lorasolve/store' version 1"):
        ls.Runs.read(store)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is no store of runs"):
        plain(1).run(tmp_path / "other", "serial")


def test_a_store_is_begun_while_another_process_begins_it(tmp_path, monkeypatch):
    """Whether the other one comes before the folder is looked at, or before the head is written."""
    refuse_others = Store._refuse_others

    def before_the_folder(store):
        monkeypatch.undo()
        plain(1).run(store.path, "serial")
        refuse_others(store)

    def before_the_head(path, document):
        monkeypatch.undo()
        plain(1).run(path.parent, "serial")
        write_json(path, document)

    monkeypatch.setattr(Store, "_refuse_others", before_the_folder)
    Store(tmp_path / "one", create=True)
    monkeypatch.setattr("lorasolve.studies.store.write_json", before_the_head)
    Store(tmp_path / "two", create=True)
    assert len(plain(1).runs(tmp_path / "one")) == len(plain(1).runs(tmp_path / "two")) == 4


def test_a_store_that_could_not_be_begun_is_begun_later(tmp_path, monkeypatch):
    def full(path, document):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("lorasolve.studies.store.write_json", full)
    (tmp_path / "runs").mkdir()
    # What is left of a head by a process that is killed, where there are no files without a name.
    (tmp_path / "runs" / ".store.json.k1ll3d").touch()
    with pytest.raises(OSError, match="full"):
        plain(1).run(tmp_path / "runs", "serial")
    monkeypatch.undo()
    assert len(plain(1).run(tmp_path / "runs", "serial")) == 4


def test_threads_that_make_one_store_at_once_all_have_it(tmp_path):
    barrier = threading.Barrier(4)

    def make(round):
        barrier.wait()
        Store(tmp_path / str(round), create=True).describe(asked=round)

    with ThreadPoolExecutor(4) as pool:
        for round in range(50):
            list(pool.map(make, [round] * 4))
    assert {Store(tmp_path / str(round)).head["asked"] for round in range(50)} == set(range(50))


@pytest.mark.parametrize("kept", [True, False])
def test_a_store_goes_on_without_its_folder_of_factors(tmp_path, kept):
    """Programs that copy files leave empty folders out."""

    def study(seeds):
        problem = ls.Problem(Shifted(), 1, 0.1)
        return ls.Study(problem, {"seed": range(seeds)}, "lbfgs", keep_parameters=kept)

    expected = study(2).run(tmp_path / "runs", "serial").digest()
    shutil.rmtree(tmp_path / "runs" / "factors", ignore_errors=True)
    assert study(2).run(tmp_path / "runs", "serial").digest() == expected
    assert len(study(3).run(tmp_path / "runs", "serial")) == 3


@pytest.mark.parametrize("head", ["[]", "null", "3", "", "{"])
def test_a_head_that_is_none_is_refused_as_damaged(tmp_path, head):
    Store(tmp_path, create=True)
    (tmp_path / "store.json").write_text(head)
    with pytest.raises(ValueError, match=r"store.json is damaged \(.*\); runs are in the files beside it"):
        Store(tmp_path, create=True)


def test_the_head_of_a_new_store_makes_runs_readable_again(tmp_path):
    first = plain(1).run(tmp_path / "runs", "serial").digest()
    head = tmp_path / "runs" / "store.json"
    whole = json.loads(head.read_text())
    for text in ("{", "[]", json.dumps(whole | {"axes": 3}), None):
        head.unlink() if text is None else head.write_text(text)
        for call in (plain(1).runs, lambda path: plain(1).run(path, "serial")):
            with pytest.raises(ValueError, match=r"(damaged|lost its).* of any new store of this version makes"):
                call(tmp_path / "runs")
    Store(tmp_path / "new", create=True)
    shutil.copy(tmp_path / "new" / "store.json", tmp_path / "runs")
    assert plain(1).runs(tmp_path / "runs").digest() == first


def test_only_what_a_store_has_made_is_tidied_away(tmp_path):
    store = tmp_path / "runs"
    plain(1).run(store, "serial")
    users = [".gitignore", ".hidden-1-0123abcd-0.npy", "factors/.gitkeep", "factors/notes.txt", "factors/mean.npy"]
    users += ["factors/host-1-0123abcd-0.npy.bak", "notes-1-0123abcd-0.npy"]
    left = [".store.json.k1ll3d", "factors/host-1-0123abcd-0.npy", "factors/.host-1-0123abcd-1.npy.k1ll3d"]
    before = contents(store)
    for name in (*users, *left):
        (store / name).write_text("some days old")
        os.utime(store / name, (0, time.time() - 2 * 86400))
    (store / "factors" / "host-1-0123abcd-2.npy").write_text("new")
    assert len(plain(1).run(store, "serial")) == 4
    assert contents(store).keys() - before.keys() == {*users, "factors/host-1-0123abcd-2.npy"}


def test_what_a_machine_of_a_longer_name_is_writing_is_not_taken_for_ones_own(tmp_path, monkeypatch):
    """``node-4194304`` is no process of ``node`` that has ended: Linux numbers processes below that."""
    store = tmp_path / "runs"
    plain(1).run(store, "serial")
    names = [f"node-4194304-{pid}-0123abcd-0.npy" for pid in (1, 4194304)] + ["node-4194304-0123abcd-0.npy"]
    for name in names:
        (store / "factors" / name).write_text("new")
    monkeypatch.setattr(socket, "gethostname", lambda: "node")
    assert Store(store).tidy() == names[2:]
    monkeypatch.setattr(socket, "gethostname", lambda: "node-4194304")
    assert Store(store).tidy() == names[1:2]


def test_factors_are_those_of_a_record(whole):
    _, runs = whole
    for wrong in ({}, 3, "a", {"key": "00", "made": {}}):
        with pytest.raises(TypeError, match=r"^record: expected one of those that iterating over runs gives, got "):
            runs.factors(wrong)
    record = next(record for record in runs if "error" not in record["result"])
    A, B = runs.factors(record)
    axes = runs.study.axes
    problem = runs.study.problem_of(axes.values(axes.positions(axes.find(record["run"]["cell"]))))
    value = problem.objective.value_and_grad(problem.scale * A @ B.T)[0]
    expected = value + 0.5 * problem.lam * ((A**2).sum() + (B**2).sum())
    assert record["result"]["fun"] == pytest.approx(expected)


def test_parameters_that_were_not_kept_are_those_of_the_run_done_again(tmp_path):
    """Runs are the same whether theirs are kept or not, so a call that keeps them does none again."""
    problem = ls.Problem(Denoising(np.diag([3.0, 2.0])), 2, 1.0)
    for kept in (False, True):
        runs = ls.Study(problem, {"seed": [0]}, "lbfgs", keep_parameters=kept).run(tmp_path, "serial")
        (record,) = runs
        with pytest.raises(ValueError, match=rf"run {record['key']}: .* were not kept; runs.result\(record\) does"):
            runs.factors(record)
        result = runs.result(record)
        np.testing.assert_allclose(result.A @ result.B.T, np.diag([2.0, 1.0]), atol=1e-6)


def test_damaged_parameters_are_refused(tmp_path):
    runs = plain(1).run(tmp_path / "runs", "serial")
    record = next(iter(runs))
    file = tmp_path / "runs" / "factors" / record["made"]["parameters"][0]
    data = bytearray(file.read_bytes())
    data[-40:] = bytes(40)
    file.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged at its parameters"):
        [runs.factors(each) for each in runs]


def test_a_second_attempt_at_a_chunk_leaves_the_factors_of_the_first(whole, tmp_path):
    """A worker dies once it has committed a part; dask gives the whole chunk to another one, under the same name."""
    _, runs = whole
    expected = {r["key"]: runs.factors(r) for r in runs if "error" not in r["result"]}
    study, store = mixed(), tmp_path / "runs"
    Store(store, create=True)
    for count in (5, 20, len(study)):
        report = Solver(study, store, threads=1)(Chunk("again", np.arange(count), 60.0))
    assert report.done == len(study) - 20
    found = {r["key"]: study.runs(store).factors(r) for r in study.runs(store) if "error" not in r["result"]}
    assert found.keys() == expected.keys()
    for key, pair in expected.items():
        for mine, theirs in zip(found[key], pair):
            assert_array_equal(mine, theirs)


def test_a_line_that_cannot_be_written_takes_no_other_factors_with_it(tmp_path, monkeypatch):
    """The file of a chunk is called like one of the caller's own, who writes the runs that end every process."""
    store = Store(tmp_path, create=True)
    shard = Shard(store)
    shard.commit([Entry("00", "{}", True, {}, vector=np.arange(3.0))], f"{shard.name}-1")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError):
        shard.commit([Entry("01", "{}", False, {"error": "lost"})])
    (line,) = store.lines()
    assert_array_equal(store.factors(line.record), np.arange(3.0))


def test_lines_that_are_written_outlast_a_process_that_is_ended_right_then(tmp_path, monkeypatch):
    """A cluster's signal raises SystemExit between any two steps of the program."""
    store = Store(tmp_path, create=True)

    def ended(handle):
        raise SystemExit

    monkeypatch.setattr(os, "fsync", ended)
    with pytest.raises(SystemExit):
        Shard(store).commit([Entry(key, "{}", True, {}) for key in ("00", "01")])
    assert [line.key for line in store.lines()] == ["00", "01"]


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_a_full_disk_stops_with_a_clear_error_and_loses_nothing(tmp_path):
    """The limit on the size of a file stands for the disk: the system refuses the write that goes beyond."""
    process = python(
        """
        import resource, sys
        from grids import plain
        import lorasolve as ls
        from lorasolve.studies import study, StoreError
        plain(3).run(sys.argv[1], "serial")
        first = plain(3).runs(sys.argv[1]).digest()
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        try:
            plain(200).run(sys.argv[1], "serial")
        except StoreError as error:
            print(error)
            print(plain(3).runs(sys.argv[1]).digest() == first, ls.Runs.read(sys.argv[1]).damaged)
        """,
        str(tmp_path / "runs"),
    )
    out, err = process.communicate(timeout=120)
    assert "no space is left" in out and "all earlier ones are" in out and "True []" in out, out + err
    assert len(plain(200).run(tmp_path / "runs", "serial")) == 800
    assert not [name for name in contents(tmp_path / "runs") if "/." in name or name.startswith(".")]


def test_a_store_that_cannot_be_written_is_no_full_disk(tmp_path, monkeypatch):
    plain(1).run(tmp_path, "serial")

    def refuse(path, flags, mode=0o777, **places):
        if flags & os.O_APPEND:
            raise OSError(errno.EROFS, "Read-only file system", path)
        return opened(path, flags, mode, **places)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match=r"Read-only file system: .* see that the folder can be written, then"):
        plain(2).run(tmp_path, "serial")


@pytest.mark.parametrize("backend", ["serial", "loky"])
@pytest.mark.parametrize("keep", [False, True], ids=["numbers", "parameters"])
def test_a_store_that_is_removed_while_its_runs_are_done_ends_the_call(tmp_path, backend, keep):
    """Parameters of later runs had made a new folder, in which there were only these, and the call ended well."""
    store = tmp_path / "runs"

    def remove(problem, result):
        if problem.lam == 2.0:
            shutil.rmtree(store, ignore_errors=True)
        return 1.0

    plain(1).run(store, "serial")
    axes = {"lam": [1.0, 2.0, *range(3, 100)], "seed": range(2)}
    study = ls.Study(ls.Problem(Denoising(np.ones((3, 2))), 1, 0.1), axes, "lbfgs", remove, keep_parameters=keep)
    with pytest.raises(StoreError, match=r"removed, moved or emptied .*, and its runs with it; put back .*'.*runs'"):
        study.run(store, backend, 1)
    assert not store.exists()


def test_runs_that_are_gone_at_the_end_or_when_they_are_read_are_no_empty_table(tmp_path):
    def empty(problem, result):
        for shard in tmp_path.glob("*.runs"):
            shard.unlink()

    problem = ls.Problem(Denoising(np.ones((3, 2))), 1, 0.1)
    with pytest.raises(StoreError, match="emptied while it was in use"):
        ls.Study(problem, {"lam": [1.0, 2.0, 3.0], "seed": range(2)}, "lbfgs", {"empty": empty}).run(tmp_path, "serial")
    runs = plain(1).run(tmp_path / "runs", "serial")
    (tmp_path / "runs").rename(tmp_path / "moved")
    with pytest.raises(StoreError, match=r"moved .* \(its store.json is gone\)"):
        runs.table()


def test_runs_go_to_one_folder_though_a_measure_or_the_program_changes_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    def moves(problem, result):
        os.chdir(tmp_path / "elsewhere")

    problem = ls.Problem(Denoising(np.ones((3, 2))), 1, 0.1)
    runs = ls.Study(problem, {"lam": [1.0, 2.0, 3.0], "seed": range(9)}, "lbfgs", moves).run("runs", "serial")
    assert len(runs) == 27 and repr(runs) == "Runs(27 in 'runs')"
    assert [path.name for path in tmp_path.rglob("store.json")] == ["store.json"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_store_that_can_only_be_read_is_enough_where_all_is_there(tmp_path, monkeypatch):
    plain(2).run(tmp_path, "serial")
    (tmp_path / "factors" / "host-1-00000000-0.npy").write_bytes(b"left behind")

    def refuse(*arguments, **settings):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("lorasolve.studies.store.write_json", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr("lorasolve.studies.store._is_abandoned", lambda path: True)
    assert len(plain(1).run(tmp_path, "serial")) == len(plain(1))
    with pytest.raises(StoreError, match=r"Read-only file system: nothing could be begun, .* see that the folder"):
        plain(3).run(tmp_path, "serial")


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


# ---------------------------------------------------------------------- tables and pictures
def test_tables(whole, tmp_path):
    _, runs = whole
    lines = runs.table().splitlines()
    assert lines[0].split()[:7] == ["objective", "rank", "lam", "runs", "failed", "converged", "fun"]
    assert len(lines) == 1 + 18
    rows = list(csv.DictReader(io.StringIO(runs.to_csv(tmp_path / "runs.csv"))))
    assert len(rows) == 72 and (tmp_path / "runs.csv").read_text() == runs.to_csv()
    cell = [float(r["fun"]) for r in rows if (r["objective"], r["rank"], r["lam"]) == ("own", "3", "0.5")]
    line = next(line.split() for line in lines if line.split()[:3] == ["own", "3", "0.5"])
    assert float(line[6]) == pytest.approx(np.median(cell), rel=1e-3)
    latex = runs.to_latex(by=["objective"])
    assert latex.count(r"\\") == 4 and r"certify.is\_global" in latex
    with pytest.raises(ValueError, match="by: no axis is called 'lamb'"):
        runs.table(by=["lamb"])
    # The cells of the text, read back out of the other forms.
    heads, *cells = (re.split(r"\s{2,}", line.strip()) for line in lines)
    markdown = runs.to_markdown(tmp_path / "table.md").splitlines()
    assert (tmp_path / "table.md").read_text().splitlines() == markdown
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in (markdown[0], *markdown[2:])] == [
        heads, *cells,
    ]  # fmt: skip
    assert re.findall(r"<t[hd] [^>]*>(.*?)</t[hd]>", runs._repr_html_()) == [*heads, *itertools.chain(*cells)]
    assert runs.to_markdown(by=["objective"]).count("\n") == 2 + 3
    pytest.importorskip("pandas")
    frame = runs.to_pandas()
    assert frame.columns.tolist() == list(rows[0]) and frame["key"].tolist() == [row["key"] for row in rows]
    assert frame["fun"].dropna().tolist() == [float(row["fun"]) for row in rows if row["fun"]]


def test_lines_are_in_the_order_of_cells_and_columns_in_one_order(tmp_path):
    """Whatever is finished first, and whatever the measure says of it."""

    def so(problem, result):
        return {"one": 1} if problem.lam == 0.5 else {"two": 2}

    axes = {"lam": [-1.0, 0.5, 0.2], "seed": [1, 0]}
    runs = ls.Study(ls.Problem(Shifted(), 1, 0.1), axes, "lbfgs", measure=so).run(tmp_path, "serial")
    head, *lines = csv.reader(io.StringIO(runs.to_csv()))
    ends = ["status", "fun", "grad_norm", "nit", "nfev"]
    assert head == ["key", "lam", "seed", *ends, "so.one", "so.two", "seconds", "error"]
    cells = [(str(lam), str(seed)) for lam in (-1.0, 0.2, 0.5) for seed in (0, 1)]
    assert [(lam, seed) for _, lam, seed, *_ in lines] == cells
    assert [(str(row["lam"]), str(row["seed"])) for row in runs.sorted_rows()] == cells


def test_a_measure_that_is_a_list_is_summed_up_by_its_length_and_kept_whole(tmp_path):
    """The singular values of the optimum, and a mapping within a mapping, as JSON in CSV."""

    def found(problem, result):
        return {"spectrum": np.arange(1.0, 4.0) / problem.lam, "nested": {"more": {"a": None}}}

    runs = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"lam": [0.5], "seed": [0, 1]}, "lbfgs", measure=found)
    runs = runs.run(tmp_path, "serial")
    head, line = (re.split(r"\s{2,}", text) for text in runs.table().splitlines())
    assert dict(zip(head, line))["found.spectrum"] == "list of 3"
    for row in csv.DictReader(io.StringIO(runs.to_csv())):
        assert json.loads(row["found.spectrum"]) == [2.0, 4.0, 6.0]
        assert json.loads(row["found.nested"]) == {"more": {"a": None}}


def test_a_report_of_which_nothing_would_be_kept_is_an_error_and_zero_has_no_sign(tmp_path):
    pandas = pytest.importorskip("pandas")
    problem, axes = ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}
    found = {
        "frame": lambda problem, result: pandas.DataFrame({"value": [1.0, 2.0]}),
        "row": lambda problem, result: pandas.Series([1.0, 2.0]),
    }
    (failed,) = ls.Study(problem, axes, "lbfgs", measure=found).run(tmp_path, "serial").failed
    assert "measure 'frame': TypeError: expected a report of numbers" in failed["result"]["error"]
    assert failed["result"]["measures"] == {"row": {"0": 1.0, "1": 2.0}}
    zero = ls.Study(problem, axes, "lbfgs", measure={"zero": lambda problem, result: -0.0}).run(tmp_path, "serial")
    assert zero.table().split()[-1] == "0"


def test_keys_of_a_measure_that_are_one_text_are_an_error_that_names_them(tmp_path):
    """JSON has texts as keys: of two equal ones an entry would be lost."""
    problem, axes = ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}
    apart = ls.Study(problem, axes, "lbfgs", measure={"found": lambda problem, result: {1: 10.0, 2: 20.0}})
    (row,) = apart.run(tmp_path, "serial").rows()
    assert (row["found.1"], row["found.2"]) == (10.0, 20.0)
    alike = ls.Study(problem, axes, "lbfgs", measure={"found": lambda problem, result: {1: 10.0, "1": 20.0}})
    (failed,) = alike.run(tmp_path, "serial").failed
    assert "measure 'found': ValueError" in failed["result"]["error"] and "1, '1'" in failed["result"]["error"]
    with pytest.raises(ValueError, match="keys that differ as texts, got 1, '1'"):
        Calls("keys", len, [{"n": {1: 10.0, "1": 20.0}}])


def test_a_table_of_several_studies_has_the_axes_of_all(tmp_path):
    """The optimum of ``||X - 1||^2/2 + lam ||X||_*`` is ``lam sqrt(30) - lam^2/2``."""

    def problem(rank=2, lam=0.5):
        return ls.Problem(Shifted(), rank, 3.0 if lam is None else lam)

    for axes in ({"seed": [0, 1]}, {"rank": [1], "lam": [2.0]}, {"lam": [None, 1.0], "seed": [0]}):
        ls.Study(problem, axes, "lbfgs").run(tmp_path / "runs", "serial")
    runs = ls.Runs.read(tmp_path / "runs")
    values = {lam: f"{lam * np.sqrt(30.0) - lam**2 / 2.0:.4g}" for lam in (0.5, 1.0, 2.0, 3.0)}
    lines = {tuple(line.split()[:-1]) for line in runs.table(["lam", "rank"]).splitlines()}
    assert lines == {
        ("lam", "rank", "runs", "failed", "converged", "fun"),
        ("-", "-", "2", "0", "1.00", values[0.5]),
        ("1", "-", "1", "0", "1.00", values[1.0]),
        ("2", "1", "1", "0", "1.00", values[2.0]),
        ("None", "-", "1", "0", "1.00", values[3.0]),
    }
    assert {line.split()[0] for line in runs.table(["rank"]).splitlines()} == {"rank", "-", "1"}
    with pytest.raises(ValueError, match="by: no axis is called 'kappa'"):
        runs.table(["kappa"])


def test_names_of_axes_are_texts(whole):
    _, runs = whole
    for by in ("lam", 7, np.array(1.0)):
        with pytest.raises(TypeError, match="by: expected a list of one value or several"):
            runs.table(by)
    with pytest.raises(TypeError, match="by: expected a text, got 1"):
        runs.table([1])
    with pytest.raises(TypeError, match="phase: expected a text, got None"):
        runs.phase(None, "lam", "mean of fun")
    assert runs.table(name for name in ("lam", "rank")) == runs.table(["lam", "rank"])


def test_columns_are_all_there_and_failures_are_counted_from_results(tmp_path):
    """What a study refuses to be called may stand in the store of an earlier version."""

    def far(problem, result):
        return float(result.fun)

    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, "lbfgs", measure=far)
    (row, _) = study.run(tmp_path / "named", "serial").rows()
    assert set(RESERVED) - set(row) == {"error", "runs", "failed", "converged"} and row["far"] == row["fun"]
    study.measures = {"error": far, "status": far}
    line = study.run(tmp_path / "runs", "serial").table().splitlines()[1].split()
    assert line[:3] == ["2", "0", "1.00"]


def test_tables_show_counts_with_all_their_digits(tmp_path):
    measures = {"calls": lambda problem, result: 1234567, "large": lambda problem, result: 1e20}
    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, "lbfgs", measure=measures)
    assert study.run(tmp_path / "runs", "serial").table().splitlines()[1].split()[-2:] == ["1234567", "1e+20"]
    # The median of two counts may be half of one, and has five digits from 9999.5 on.
    measures = {"calls": lambda problem, result: 9999.5, "fewer": lambda problem, result: 9999.4}
    study = ls.Study(study.problem, {"seed": range(2)}, "lbfgs", measure=measures)
    assert study.run(tmp_path / "half", "serial").table().splitlines()[1].split()[-2:] == ["10000", "9999"]


def test_one_and_true_are_two_values_of_an_axis(tmp_path):
    """The optimum of ``||X - 1||^2/2 + lam ||X||_*``: ``lam sqrt(30) - lam^2/2``, lam 2 where the value is True."""
    study = ls.Study(
        lambda flag: ls.Problem(Shifted(), 2, 2.0 if flag is True else 1.0), {"flag": [1, True], "seed": [0]}, "lbfgs"
    )
    one, other = np.sqrt(30.0) - 0.5, 2.0 * np.sqrt(30.0) - 2.0
    for flag, value in ((1, one), (1.0, one), (np.int64(1), one), (True, other), (np.True_, other)):
        assert study.repeat(flag=flag, seed=0).fun == pytest.approx(value)
    runs = study.run(tmp_path / "runs", "serial")
    assert [line.split()[:2] for line in runs.table().splitlines()[1:]] == [["1", "1"], ["True", "1"]]
    xs, _, found = runs.phase("flag", "seed", "mean of fun", html=tmp_path / "phase.html")
    assert list(map(str, xs)) == ["1", "True"] and found == pytest.approx(np.array([[one, other]]))
    # What has only one of them has it by the other too.
    assert ls.Study(study.problem, {"flag": [False, True]}, "lbfgs").repeat(flag=1).fun == pytest.approx(other)
    with pytest.raises(ValueError, match=r"axes: lam: holds 1\.0 twice"):
        ls.Study(ls.Problem(Shifted(), 2), {"lam": [1, 1.0]})


def test_rows_have_one_order_and_a_name_of_their_own(tmp_path):
    study = ls.Study(
        lambda at: ls.Problem(Shifted(), 1, 0.1),
        {"at": ["b", None, 100001, 0.5, "a", 100002, True], "lam": [1.00001, 1.00002]},
        lambda lam: ls.Method("lbfgs", lam=lam),
        stop=ls.StoppingRule(max_iter=2),
    )
    tables = []
    for name, indices in (("forth", range(14)), ("back", reversed(range(14)))):
        Store(tmp_path / name, create=True)
        worker = Solver(study, tmp_path / name, threads=1)
        for index in indices:
            worker(Chunk(f"alone-{index}", np.array([index]), 60.0))
        runs = study.runs(tmp_path / name)
        tables.append(
            ([line.split()[:3] for line in runs.table().splitlines()[1:]], runs.phase("lam", "at", "min of nit"))
        )
    (rows, forth), (others, back) = tables
    names = ["0.5", "True", "100001", "100002", "a", "b", "None"]
    assert rows == others == [[at, lam, "1"] for at in names for lam in ("1.00001", "1.00002")]
    assert forth[:2] == back[:2] == ([1.00001, 1.00002], [0.5, True, 100001, 100002, "a", "b", None])
    assert_array_equal(forth[2], back[2])


def test_measures_beyond_a_double(tmp_path):
    measures = {
        "huge": lambda problem, result: -(10**400),
        "long": lambda problem, result: np.longdouble(1.0) / 3.0,
        "several": lambda problem, result: {"long": np.longdouble("nan")},
    }
    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, "lbfgs", measure=measures)
    runs = study.run(tmp_path / "runs", "serial")
    (found, _) = (record["result"]["measures"] for record in runs)
    assert found == {"huge": -(10**400), "long": 1.0 / 3.0, "several": {"long": None}}
    assert runs.table().splitlines()[1].split()[-3:] == ["-inf", "0.3333", "-"]
    _, _, found = runs.phase("seed", "seed", "mean of huge", html=tmp_path / "phase.html")
    assert found[0, 0] == -np.inf


def test_phase(whole, tmp_path):
    from matplotlib.figure import Figure

    _, runs = whole
    figure = Figure()
    ax = figure.subplots()
    xs, ys, found = runs.phase("lam", "rank", "share of certify.is_global", ax=ax, html=tmp_path / "phase.html")
    assert (xs, ys) == ([-1.0, 0.1, 0.5], [1, 3]) and ax.get_xlabel() == "lam"
    assert np.isnan(found[:, 0]).all()
    values = [
        r["result"]["measures"]["certify"]["is_global"]
        for r in runs
        if (r["run"]["cell"]["lam"], r["run"]["cell"]["rank"]) == (0.5, 3)
    ]
    assert found[1, 2] == np.mean([value for value in values if value is not None])
    # Records of failed runs have no number of iterations, and none has that of hours.
    iterations = runs.phase("lam", "rank", lambda record: record["result"]["nit"])[2]
    assert_array_equal(iterations, runs.phase("lam", "rank", "mean of nit")[2])
    assert np.isnan(iterations[:, 0]).all() and not np.isnan(iterations[:, 1:]).any()
    with pytest.raises(KeyError, match="hours"):
        runs.phase("lam", "rank", lambda record: record["result"]["hours"])
    _, _, count = runs.phase("lam", "rank", lambda record: "error" in record["result"])
    assert_array_equal(count, [[1, 0, 0], [1, 0, 0]])
    _, _, limited = runs.phase("lam", "rank", "share of iteration limit ends")
    statuses = [r["result"]["status"] for r in runs if (r["run"]["cell"]["lam"], r["run"]["cell"]["rank"]) == (0.1, 1)]
    assert limited[0, 1] == np.mean([status == "iteration limit" for status in statuses])
    assert (runs.phase("lam", "rank", "share of diverged ends")[2][:, 1:] == 0.0).all()
    with pytest.raises(ValueError, match=r"no run ends 'divergd'. Did you mean 'diverged'"):
        runs.phase("lam", "rank", "share of divergd ends")
    with pytest.raises(ValueError, match=r"no run ends 'global'.* the measure 'verdict'"):
        runs.phase("lam", "rank", "share of global ends")
    with pytest.raises(ValueError, match="phase: measure 'share spurious'"):
        runs.phase("lam", "rank", "share spurious")
    with pytest.raises(ValueError, match=r"has no value at any run; columns: .*certify.gap"):
        runs.phase("lam", "rank", "mean of certify.gp")
    text = (tmp_path / "phase.html").read_text()
    assert "http" not in text and "study.repeat(objective='own', rank=1, lam=0.1, seed=0)" in text.replace('\\"', '"')


def test_what_is_not_known_of_a_run_neither_raises_a_share_nor_hides_in_a_median(tmp_path):
    """Of five runs one fails, two have no answer and an infinite number, one is right, one wrong: a share of 1/4."""

    def found(problem, result):
        k = int(problem.objective.user.shift)
        if k == 4:
            raise ArithmeticError("no measure of this run")
        return {"right": (None, None, True, False)[k], "gap": (np.inf, np.inf, 0.5, 0.5)[k], "a": 1, "b": 2, "c": 3}

    axes = {"shift": range(5), "rank": [1]}
    study = ls.Study(lambda shift, rank: ls.Problem(Shifted(shift), rank, 0.1), axes, "lbfgs", measure=found)
    runs = study.run(tmp_path / "runs", "serial")
    heads, line = runs.table(by=["rank"]).splitlines()
    assert heads.split()[-5:] == [f"found.{name}" for name in ("right", "gap", "a", "b", "c")]
    assert re.split(r" {2,}", line)[-5:] == ["0.25", "0.5 (2 of 4)", "1", "2", "3"]
    assert_array_equal(runs.phase("rank", "rank", "share of found.right")[2], [[0.25]])
    each = runs.phase("shift", "rank", "share of found.right")[2]
    assert_array_equal(each, [[np.nan, np.nan, 1.0, 0.0, np.nan]])
    with pytest.raises(ValueError, match="expected a column of truth values for a share, got one with 2"):
        runs.phase("shift", "rank", "share of found.b")


def test_what_is_known_of_a_run_does_not_depend_on_what_else_is_asked(tmp_path):
    """Of four runs one is right; of two another measure fails, before and after: a share of 1/4 as without it."""

    def right(problem, result):
        return {"so": (True, None, False, None)[int(problem.objective.user.shift)]}

    def odd(problem, result):
        if problem.objective.user.shift > 1:
            raise ArithmeticError("no measure of this run")
        return True

    axes = {"shift": range(4), "rank": [1]}
    for measures in ({"right": right}, {"right": right, "odd": odd}, {"odd": odd, "right": right}):
        study = ls.Study(lambda shift, rank: ls.Problem(Shifted(shift), rank, 0.1), axes, "lbfgs", measure=measures)
        runs = study.run(tmp_path / "runs", "serial")
        assert len(runs.failed) == (2 if "odd" in measures else 0)
        assert_array_equal(runs.phase("rank", "rank", "share of right.so")[2], [[0.25]])
        heads, line = (re.split(r" {2,}", text) for text in runs.table(by=["rank"]).splitlines())
        assert line[heads.index("right.so")] == "0.25"
        if "odd" in measures:
            assert line[heads.index("odd")] == "1.00" and runs.phase("rank", "rank", "share of odd")[2] == [[1.0]]


def test_an_entry_that_a_measure_leaves_out_is_an_answer_that_is_not_known(tmp_path):
    """Of four runs one is right, with a gap; the others have no such entries, and of two another measure fails."""

    def right(problem, result):
        return {"so": True, "gap": 0.5, "why": "luck"} if problem.objective.user.shift == 0 else {}

    def odd(problem, result):
        if problem.objective.user.shift > 1:
            raise ArithmeticError("no measure of this run")
        return True

    axes = {"shift": range(4), "rank": [1]}
    for measures in (right, [right, odd]):
        study = ls.Study(lambda shift, rank: ls.Problem(Shifted(shift), rank, 0.1), axes, "lbfgs", measure=measures)
        runs = study.run(tmp_path / "runs", "serial")
        heads, line = (re.split(r" {2,}", text) for text in runs.table(by=["rank"]).splitlines())
        told = dict(zip(heads, line))
        assert [told[f"right.{name}"] for name in ("so", "gap", "why")] == ["0.25", "0.5 (1 of 4)", "luck 0.25"]
        assert_array_equal(runs.phase("rank", "rank", "share of right.so")[2], [[0.25]])


def test_tables_and_phase_diagrams_keep_little_of_a_run(tmp_path):
    """Of many runs whose measure says much; a store in which each line stands once more under many keys."""

    def much(problem, result):
        return {"rank": 1} | {f"entry{k}": f"a text of some length, number {k}" for k in range(200)}

    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}, "lbfgs", measure=much)
    runs = study.run(tmp_path, "serial")
    (shard,) = runs.store.shards()
    _, _, text = shard.read_bytes().rstrip(b"\n").split(b" ", 2)
    many = 500
    with open(shard, "ab") as file:
        for k in range(many):
            body = f"{k:032x} ".encode() + text
            file.write(hashlib.blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n")
    copies = ls.Runs.read(tmp_path)
    assert len(copies) == many + 1
    for show in (copies.table, lambda: copies.phase("seed", "seed", "mean of much.rank")):
        tracemalloc.start()
        try:
            show()
            assert tracemalloc.get_traced_memory()[1] < many * len(text) / 10
        finally:
            tracemalloc.stop()


def test_a_share_of_ends_is_of_words_that_verdicts_have(tmp_path):
    """None is spurious at rank 1 of a matrix of rank 1, which is a share of 0; a misspelt word is none."""
    study = ls.Study(lambda seed: ls.Problem(Denoising(np.diag([2.0, 0.0])), 1, 0.1), {"seed": [0, 1]}, "lbfgs",
                     measure="verdict")  # fmt: skip
    runs = study.run(tmp_path / "runs", backend="serial")
    assert runs.phase("seed", "seed", "share of global ends")[2].diagonal().tolist() == [1.0, 1.0]
    assert runs.phase("seed", "seed", "share of spurious ends")[2].diagonal().tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"no run ends 'spurous'. Did you mean 'spurious'"):
        runs.phase("seed", "seed", "share of spurous ends")


def test_a_function_over_runs_that_gives_no_number_is_named(whole):
    def kind(record):
        return "text"

    with pytest.raises(TypeError, match="phase: kind: expected a number or truth value of every run, got 'text'"):
        whole[1].phase("lam", "rank", kind)


def test_labels_below_a_phase_diagram_do_not_overlap(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    problem = ls.Problem(Denoising(np.ones((3, 2))), 1, 0.1)
    for lams in (np.geomspace(0.1, 10.0, 40), range(12), [0.5]):
        runs = ls.Study(problem, {"lam": lams, "rank": [1, 2]}, "lbfgs").run(tmp_path, "serial")
        figure = Figure()
        canvas = FigureCanvasAgg(figure)
        ax = figure.subplots()
        runs.phase("lam", "rank", "median of nit", ax=ax)
        canvas.draw()
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        assert boxes and all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_phase_shows_names_with_dollar_signs(tmp_path):
    import matplotlib
    from matplotlib.figure import Figure

    study = ls.Study(lambda **cell: ls.Problem(Shifted(), 1, 0.1), {"data": ["p$q$", "$_{$"], "seed": [0]}, "lbfgs")
    figure = Figure()
    ax = figure.subplots()
    study.run(tmp_path / "runs", "serial").phase("data", "seed", "mean of fun", ax=ax)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    assert ">p$q$</text>" in text and ">$_{$</text>" in text


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no headless browser here")
def test_the_page_in_a_browser(whole, tmp_path):
    """The map is drawn, and a click on its first cell lists the runs and how to repeat them."""
    _, runs = whole
    runs.phase("lam", "rank", "share of certify.is_global", html=tmp_path / "phase.html")
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = (tmp_path / "phase.html").as_uri() + "#first"
    command = [CHROMIUM, *options, "--virtual-time-budget=2000", "--dump-dom", address]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert dom.count("<button") == 6
    drawn = dom.partition("</main>")[0]
    assert drawn.count("ValueError: lam: expected a finite number") == 12
    assert "study.repeat(objective='own', rank=3, lam=-1.0, seed=2)" in drawn


def test_without_stderr_remarks_are_left_out_and_stdout_is_the_callers(monkeypatch, capsys):
    pace = Pace("study", 2, 2, True)
    monkeypatch.setattr(sys, "stderr", None)
    pace.tell("a remark")
    pace.end(True, True, True)
    pace.end(False, True, True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_what_is_another_one_each_time_that_it_is_made_is_refused(tmp_path, backend):
    """None of its runs would be in the store at the next call, nor with workers at the end of this one."""

    def problem(lam, rng=None):
        return ls.Problem(ls.objectives.Denoising(np.random.default_rng(rng).standard_normal((4, 3))), 2, lam)

    def start(lam):
        return tuple(np.random.default_rng().standard_normal((2, 4, 2)))

    def sometimes(kind, lam):
        return fixed if kind == "fixed" else problem(lam)

    data = np.eye(4)

    def scaled(scale):
        data[:] *= scale
        return ls.Problem(ls.objectives.Denoising(data.copy()), 2, 0.1)

    fixed = ls.Problem(ls.objectives.Denoising(np.eye(4)), 2, 0.1)
    axes = {"lam": [0.1, 0.2], "seed": range(2)}
    for study, name in (
        (ls.Study(problem, axes, "lbfgs"), "problem"),
        (ls.Study(sometimes, {"kind": ["fixed", "fresh"]} | axes, "lbfgs"), "problem"),
        (ls.Study(scaled, {"scale": [1.0, 2.0]}, "lbfgs"), "problem"),
        (ls.Study(fixed, axes, "lbfgs", init=start), "init"),
        (ls.Study(fixed, axes, lambda lam: GD(step_size=1.0 + np.random.default_rng().random())), "method"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: expected the same each time .* give its random numbers a se"):
            study.run(tmp_path / "runs", backend)
    assert len(ls.studies.Runs.read(tmp_path / "runs")) == 0
    seeded = ls.Study(problem, axes | {"rng": [5]}, "lbfgs")
    assert len(seeded.run(tmp_path / "runs", backend)) == len(seeded.runs(tmp_path / "runs")) == 4


def test_runs_that_blocks_hand_back_and_the_solver_refuses_are_results(tmp_path):
    """In float32 values of data of 1e-30 are 0, which blocks take for converged and the solver refuses in words."""
    M = np.random.default_rng(0).standard_normal((4, 3))

    def problem(scale):
        return ls.Problem(Denoising((M * scale).astype(np.float32)), 2, 0.1 * scale)

    axes = {"scale": [1e-30, 1.0], "seed": range(3)}
    start = "gaussian:std=1e-16"
    study = ls.Study(problem, axes, "gd:step_size=0.1", init=start)
    runs = study.run(tmp_path / "runs", "serial")
    assert [record["run"]["cell"]["scale"] for record in runs.failed] == [1e-30] * 3
    assert all("ValueError: problem: f underflows in float32" in record["result"]["error"] for record in runs.failed)
    # The others end as they do alone.
    alone = ls.Study(problem, axes | {"scale": [1.0]}, "gd:step_size=0.1", init=start).run(tmp_path / "alone", "serial")
    found = {record["key"]: record["result"] for record in runs}
    assert len(alone) == 3 and all(found[record["key"]] == record["result"] for record in alone)


def test_a_diverged_run_of_a_block_has_the_calls_that_the_solver_counts(tmp_path):
    """The trial that left the finite numbers is one; a start that does is the only one."""
    M = np.random.default_rng(0).standard_normal((4, 3))
    fixed = ls.Problem(Denoising(M), 2, 0.1)
    axes = {"method": ["gd:step_size=3.0", "gd:step_size=1e300"], "init": ["gaussian:std=1.0", "gaussian:std=1e100"]}
    runs = ls.Study(fixed, axes).run(tmp_path / "runs", "serial")
    calls = []
    for record in runs:
        cell, found = record["run"]["cell"], record["result"]
        assert record["made"]["batched"] and found["status"] == "diverged"
        alone = ls.solve(fixed, cell["method"], cell["init"], seed=record["run"]["random"], engine="interpreted")
        assert (found["nit"], found["nfev"]) == (alone.nit, alone.nfev)
        calls.append(found["nfev"] - found["nit"])
    assert sorted(calls) == [1, 1, 2, 2]
