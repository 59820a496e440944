"""Which runs are those that a store has already, and which are others."""

from __future__ import annotations

import os

import numpy as np
import pytest
from grids import LONG, Shifted, Stretched, long_steps, mixed, objectives, plain
from harness import contents, python

import lorasolve as ls
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD
from lorasolve.studies._solves import Describe


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
    assert not (tmp_path / "runs").exists()
    seeded = ls.Study(problem, axes | {"rng": [5]}, "lbfgs")
    assert len(seeded.run(tmp_path / "runs", backend)) == len(seeded.runs(tmp_path / "runs")) == 4
