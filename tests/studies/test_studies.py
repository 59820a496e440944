"""A study against single runs, and its bits against order, company, worker and a second attempt."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import pytest
from grids import Shifted, mixed, objectives, plain
from numpy.testing import assert_array_equal

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.multi import Separable
from lorasolve.objectives import Denoising
from lorasolve.studies import Store
from lorasolve.studies._pace import Pace, duration
from lorasolve.studies._solves import Describe, Solver
from lorasolve.studies._work import Chunk
from lorasolve.studies.records import RESERVED


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


def test_without_stderr_remarks_are_left_out_and_stdout_is_the_callers(monkeypatch, capsys):
    pace = Pace("study", 2, 2, True)
    monkeypatch.setattr(sys, "stderr", None)
    pace.tell("a remark")
    pace.close()
    pace.tell_stopped(True)
    pace.tell_end()
    assert capsys.readouterr().out == ""


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


def test_a_file_asks_for_the_quality_on_held_out_data(tmp_path, monkeypatch, capsys) -> None:
    """The share of labels that come out of W0 + X, by hand from the factors; other labels held out are other runs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    W0, Z, Z_test = rng.standard_normal((3, 4)), rng.standard_normal((4, 30)), rng.standard_normal((4, 20))
    data = {"W0": W0, "Z": Z, "labels": rng.integers(3, size=30), "Z_test": Z_test}
    head = '[problem]\nobjective = "softmax"\ndata = "data.npz"\nrank = 2\n[axes]\nlam = [0.02, 0.1]\n[run]\n'
    (tmp_path / "grid.toml").write_text(head + 'method = "lbfgs"\nmeasure = ["certify", "quality"]\n')
    keys = set()
    for labels in rng.integers(3, size=(2, 20)):
        np.savez("data.npz", **data, labels_test=labels)
        assert main(["study", "grid.toml", "--store", "runs", "--backend", "serial", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        keys |= {row["key"] for row in rows}
        runs = ls.Runs.read("runs")
        for record in (record for record in runs if record["key"] in {row["key"] for row in rows}):
            A, B = (np.reshape(part, (-1, 2)) for part in np.split(runs.store.factors(record), [6]))
            right = np.argmax((W0 + A @ B.T) @ Z_test, axis=0) == labels
            assert record["result"]["measures"]["quality"]["accuracy"] == pytest.approx(right.mean(), rel=1e-12)
    assert len(keys) == 4
    (tmp_path / "mine.py").write_text("def problem(lam):\n    raise LookupError\n")
    (tmp_path / "grid.toml").write_text(
        '[problem]\npython = "mine.py:problem"\n[axes]\nlam = [1.0]\n[run]\nmeasure = "quality"\n'
    )
    assert main(["study", "grid.toml", "--store", "others"]) == 2
    assert "grid.toml: run: measure: 'quality' is on the data of the problem" in capsys.readouterr().err
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize(
    ("name", "part"), [("method", ls.optimizers.GD), ("init", ls.inits.Gaussian), ("adapter", ls.adapters.DoRA)]
)
def test_a_class_on_an_axis_is_refused_before_all_of_its_runs_fail(name, part):
    """As it is where all runs share it; a function of axes may make something of it."""
    problem = ls.Problem(Denoising(np.eye(3)), 2, 0.1)
    told = rf"^axes: {name}: expected objects, as {part.__name__}\(\.\.\.\), got the class {part.__name__}$"
    with pytest.raises(TypeError, match=told):
        ls.Study(problem, {name: {"made": part(), "not made": part}})
    assert len(ls.Study(problem, {"kind": {"a": ls.optimizers.GD}}, method=lambda kind: kind())) == 1
    assert len(ls.Study(problem, {"init": {"a": ls.inits.Gaussian}}, init=lambda init: init())) == 1


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (190, "3 min 10 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7530, "2 h 5 min"),
    ],
)
def test_the_time_that_is_left_is_told_in_words(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("setting", "value"), [("keep_parameters", 1), ("stop", 5), ("method", dict), ("measure", dict)]
)
def test_settings_of_a_study_are_checked_when_it_is_made(setting, value):
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 1, 0.1)
    with pytest.raises(TypeError, match=f"{setting}: expected"):
        ls.Study(problem, {"lam": [0.1, 0.2]}, **{setting: value})
