"""Calls that are at work on one store at the same time share what is left, without locks."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass

import numpy as np
from harness import python

import lorasolve as ls
from lorasolve.executors.serial import Serial
from lorasolve.studies.store import Shard, Store

# Cells that were asked for in this process.
seen: list[int] = []


def noted(problem, result):
    seen.append(1)
    return 1


def study(seeds: int = 40) -> ls.Study:
    M = np.random.default_rng(0).standard_normal((6, 5))
    problem = ls.Problem(ls.objectives.Denoising(M), 2, 0.5)
    return ls.Study(problem, axes={"seed": range(seeds)}, method="lbfgs", measure=noted)


@dataclass(frozen=True)
class Meanwhile(Serial):
    """Begins work once another call, that of this process's parent, has done what a folder holds."""

    done: str = ""

    def open(self, start, n_workers, threads, results=None):
        if self.done:
            for shard in Store(self.done).shards():
                shutil.copy(shard, results / shard.name)
        (results / f".{socket.gethostname()}-{os.getppid()}-0123abcd.calling").touch()
        return super().open(start, n_workers, threads, results)


def test_what_another_call_has_done_meanwhile_is_not_done_again(tmp_path, capsys):
    """Each call had done all that was missing when it began."""
    alone = study(30).run(tmp_path / "other", backend="serial")
    seen.clear()
    runs = study().run(tmp_path / "runs", backend=Meanwhile(done=str(tmp_path / "other")))
    # The one of 40 that is done before there are workers, and the ten that the other call was not asked for.
    assert len(seen) == 11
    assert "another call seems to be at work on the same store" in capsys.readouterr().err
    assert len(runs) == 40 and len(alone) == 30
    assert runs.digest() == study().run(tmp_path / "lone", backend="serial").digest()


def test_files_of_one_store_that_are_copied_into_another_make_one_of_both(tmp_path):
    """Factors too; runs that both have count once."""
    study(20).run(tmp_path / "first", backend="serial")
    part = ls.Study(study().problem, axes={"seed": range(15, 40)}, method="lbfgs", measure=noted)
    other = part.run(tmp_path / "second", backend="serial")
    shutil.copytree(tmp_path / "second", tmp_path / "first", dirs_exist_ok=True)
    seen.clear()
    both = study().run(tmp_path / "first", backend="serial")
    assert not seen and not both.damaged and len(both) == 40
    assert both.digest() == study().run(tmp_path / "lone", backend="serial").digest()
    factors = {record["key"]: other.factors(record) for record in other}
    for record in both:
        if record["key"] in factors:
            for mine, theirs in zip(both.factors(record), factors[record["key"]]):
                assert np.array_equal(mine, theirs)


def test_runs_that_no_other_call_has_done_are_all_done(tmp_path):
    seen.clear()
    runs = study().run(tmp_path / "runs", backend=Meanwhile())
    assert len(seen) == len(runs) == 40


def test_a_call_is_seen_while_it_is_at_work(tmp_path):
    store = Store(tmp_path / "runs", create=True)
    shard = Shard(store)
    with shard.calling():
        assert store.callers() == {shard.name} and store.tidy() == []
    assert store.callers() == frozenset()


def test_a_call_that_was_killed_here_is_none_at_work(tmp_path, capsys):
    store = Store(tmp_path / "runs", create=True)
    ended = python("")
    ended.wait()
    note = store.path / f".{socket.gethostname()}-{ended.pid}-0123abcd.calling"
    note.touch()
    assert store.callers() == frozenset()
    study(3).run(store.path, backend="serial")
    assert not note.exists() and "another call" not in capsys.readouterr().err


SHARE = """
    import os, pathlib, sys, time
    import numpy as np
    import lorasolve as ls
    from lorasolve.studies import _engine

    _engine.CHUNK_SECONDS = _engine.FIRST_SECONDS = 0.2

    def both(problem, result):
        here = pathlib.Path(sys.argv[1])
        (here / str(os.getpid())).touch()
        while len(list(here.iterdir())) < 2:
            time.sleep(0.01)
        time.sleep(0.02)
        return 1

    problem = ls.Problem(ls.objectives.Denoising(np.eye(4)), 2, 0.1)
    study = ls.Study(problem, axes={"seed": range(150)}, method="lbfgs", measure=both)
    runs = study.run(sys.argv[2], backend="serial")
    print(len(runs), runs.digest())
"""


def test_two_calls_that_begin_together_do_few_runs_twice(tmp_path):
    (tmp_path / "here").mkdir()
    calls = [python(SHARE, str(tmp_path / "here"), str(tmp_path / "runs")) for _ in range(2)]
    said = {call.communicate()[0] for call in calls}
    assert len(said) == 1 and said.pop().startswith("150 ")
    lines = sum(len(shard.read_bytes().splitlines()) for shard in Store(tmp_path / "runs").shards())
    assert 150 <= lines < 240
