"""The store: damage, other versions, several who begin it, and a disk that is full or cannot be written."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from grids import Shifted, mixed, plain
from harness import contents, python
from numpy.testing import assert_array_equal

import lorasolve as ls
from lorasolve._support.progress import Progress
from lorasolve.io import write_json
from lorasolve.objectives import Denoising
from lorasolve.studies import Store, StoreError
from lorasolve.studies._solves import Solver
from lorasolve.studies._work import Chunk
from lorasolve.studies.store import Entry, Shard


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
    file.write_bytes(b"")  # as a full disk leaves it
    with pytest.raises(ValueError, match=rf"run {record['key']}: .*{file.name} cannot be read"):
        runs.factors(record)


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


def test_a_disk_that_is_full_from_the_first_line_on_leaves_no_empty_file(tmp_path, monkeypatch):
    store = Store(tmp_path, create=True)

    def full(handle, block):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="no space is left: 1 runs could not be saved"):
        Shard(store).commit([Entry("00", "{}", True, {})])
    assert os.listdir(tmp_path) == ["store.json"]


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


def test_a_store_is_begun_only_where_nothing_is_refused(tmp_path):
    """What is asked first is of new runs: a store that is there is opened without it."""

    def refuses():
        raise ValueError("sbatch is missing")

    with pytest.raises(ValueError, match="sbatch is missing"):
        Store.begun(tmp_path / "new", refuses)
    assert not (tmp_path / "new").exists()
    Store(tmp_path / "old", create=True)
    assert Store.begun(tmp_path / "old", refuses).path == tmp_path / "old"
