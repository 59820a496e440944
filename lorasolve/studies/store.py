"""The store of finished runs: append-only, checked line by line, without pickle, without locks.

    store.json                 what the folder is: schema, version, what was asked for last
    HOST-PID-TOKEN.runs        one shard a worker, one line a run: CHECKSUM KEY ok|error FACTORS JSON
    factors/SHARD-N.npy        the parameters of the runs of one commit, end to end, in place before their lines are
    .HOST-PID-TOKEN.trying     the cells that a caller does itself, while it does: they may end it
    .HOST-PID-TOKEN.calling    a caller is at work, whose runs others need not do; one that is killed leaves it behind

Several processes on several machines may write at once, each to a shard of its own. A run is done if and only if its
line verifies, so whatever is killed loses only what it had not committed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np

from .._support.files import PathLike, is_alive, write_atomically
from .._support.validate import Array, as_flag, as_path, shown
from .._version import __version__
from ..io import write_json

SCHEMA = "lorasolve/store"
SCHEMA_VERSION = 1

_HEAD = "store.json"
_SUFFIX = ".runs"
_HEAD_LOST = f"runs are in the files beside it, which the {_HEAD} of any new store of this version makes readable again"
_FACTORS = "factors"
_TRYING = ".trying"
_CALLING = ".calling"
_UNFINISHED_HEAD = re.compile(rf"\.{re.escape(_HEAD)}\..+")
# HOST-PID-TOKEN-N.npy, and the hidden names under which it is written where there are no files without a name.
_PARAMETERS = re.compile(r"(\.)?[^.].*-\d+-[0-9a-f]{8}-\d+\.npy(?(1)\..+)")
# Whose file it is: HOST-PID-TOKEN, where the name of one machine may begin as that of another one with its process.
_WRITER = re.compile(r"\.?(.+)-(\d+)-[0-9a-f]{8}(?:[-.].*)?")
# A line after its checksum.
_BODY = re.compile(rb"((?:[0-9a-f]{2})+) (ok|error) ([^ ]+) (\{.*\})")
# What another machine left behind is taken for abandoned after this time; on this one its process is asked for.
_ABANDONED_SECONDS = 24 * 3600.0


class StoreError(OSError):
    """Raised when a store cannot be written; what was written before is safe."""


class Line(NamedTuple):
    """One verified line: the key of the run, whether it ended without an error, its file of parameters, its text."""

    key: str
    ok: bool
    factors: str
    text: bytes

    @property
    def record(self) -> dict[str, Any]:
        """The run as a document."""
        try:
            document = json.loads(self.text)
            whole = all(isinstance(document.get(name), dict) for name in ("run", "result", "made"))
        except (ValueError, RecursionError):
            whole = False
        if not whole:
            raise ValueError(f"store: the line of the run {self.key} holds no run, and this package did not write it")
        return {"key": self.key} | document


@dataclass(frozen=True)
class Damage:
    """A line of a shard that does not verify: it counts for nothing, and its run is done again.

    Attributes
    ----------
    shard : str
        The file.
    line : int
        Counted from 1.
    reason : str
        What is wrong with it.
    """

    shard: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}, line {self.line}: {self.reason}"


@dataclass
class Entry:
    """A finished run on its way into the store.

    Attributes
    ----------
    key, run : str
        The key, and the description it is made of, as JSON.
    ok : bool
        Whether it ended without an error.
    result : dict
        What the run found; the same wherever and whenever it is done.
    made : dict
        How it came about: seconds, threads, and in the store when it was written.
    vector : ndarray or None
        Its parameters, flat.
    """

    key: str
    run: str
    ok: bool
    result: dict[str, Any]
    made: dict[str, Any] = field(default_factory=dict)
    vector: Array | None = None


class Store:
    """A folder of finished runs.

    Parameters
    ----------
    path : path
        The folder.
    create : bool
        Make it if there is none.

    Attributes
    ----------
    path : pathlib.Path
        The folder, absolute: programs and measures change their working directory.

    Raises
    ------
    ValueError
        If the folder is no store, or one of another version; the message says which.
    """

    def __init__(self, path: PathLike, *, create: bool = False) -> None:
        given = pathlib.Path(as_path(path, "path"))
        self.path = given.absolute()
        self._given = given
        as_flag(create, "create")
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"store: {self} is no folder")
        head = self.path / _HEAD
        if create and not head.exists():
            self._refuse_others()
            write_json(head, {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "lorasolve": __version__})
        self.head = _read_head(given / _HEAD)
        found = self.head.get("schema"), self.head.get("schema_version")
        if found != (SCHEMA, SCHEMA_VERSION):
            raise ValueError(
                f"store: {self} has the schema {found[0]!r} version {found[1]!r}, and lorasolve {__version__} "
                f"reads {SCHEMA!r} version {SCHEMA_VERSION}; use the version that wrote it "
                f"({self.head.get('lorasolve')}), or another folder"
            )

    @classmethod
    def begun(cls, path: PathLike, require: Callable[[], None]) -> Store:
        """Return the store of a folder; a new one is made where ``require()``, asked first, refuses nothing."""
        if not (pathlib.Path(path) / _HEAD).exists():
            require()
        return cls(path, create=True)

    def __str__(self) -> str:
        return str(self._given)

    def _refuse_others(self) -> None:
        """Refuse a folder that holds something else than a head, whole or not yet."""
        names = [path.name for path in self.path.iterdir()] if self.path.exists() else []
        # Another process may make the same store: its head is looked for once its other files could be seen.
        if not all(map(_UNFINISHED_HEAD.fullmatch, names)) and not (self.path / _HEAD).exists():
            _refuse_headless(self._given)
            raise ValueError(f"store: {self} exists and is no store of runs; give a new folder")

    def describe(self, **facts: Any) -> None:
        """Write down what was asked for last, for those who read the store; leave one that says so already.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        if self.head | facts != self.head:
            self.head |= facts
            try:
                write_json(self.path / _HEAD, self.head)
            except OSError as error:
                raise _refusal(error, self.path, "nothing could be begun, the runs that are there are safe") from error

    def require_there(self, names: Iterable[str] = ()) -> None:
        """Refuse a folder that is not what it was when it was opened, or has lost files of lines, given by name.

        Raises
        ------
        StoreError
            If it was removed, moved or emptied meanwhile.
        """
        gone = next((name for name in (_HEAD, *names) if not (self.path / name).exists()), None)
        if gone is not None:
            raise StoreError(
                errno.ENOENT,
                f"the store was removed, moved or emptied while it was in use (its {gone} is gone), and its runs with "
                "it; put back what was there and the same call goes on, without it the call does all runs again",
                str(self.path),
            )

    # ------------------------------------------------------------------ reading
    def shards(self) -> list[pathlib.Path]:
        """Return the files of lines, in order of their names."""
        self.require_there()
        return sorted(self.path.glob(f"*{_SUFFIX}"))

    def names(self) -> frozenset[str]:
        """Return the names of the files of lines."""
        return frozenset(path.name for path in self.shards())

    def damaged(self) -> list[Damage]:
        """Return the lines that do not verify."""
        found: list[Damage] = []
        for shard in self.shards():
            for _ in _verified(shard, found):
                pass
        return found

    def lines(self) -> Iterator[Line]:
        """Yield every run once: the first line of its key without an error, else the line written last."""
        chosen: set[bytes] = set()
        failed: dict[bytes, tuple[float, pathlib.Path, int]] = {}
        for shard in self.shards():
            for offset, line in _verified(shard):
                key = bytes.fromhex(line.key)
                if key in chosen:
                    continue
                if line.ok:
                    chosen.add(key)
                    failed.pop(key, None)
                    yield line
                else:
                    # Said in the line, as copies of files may have other times.
                    written = line.record["made"].get("written", 0.0)
                    if key not in failed or failed[key][0] <= written:
                        failed[key] = (written, shard, offset)
        for _, shard, offset in failed.values():
            with open(shard, "rb") as file:
                file.seek(offset)
                again = _line(file.readline().rstrip(b"\n"))
            if isinstance(again, Line):
                yield again

    def new_keys(self, since: float, seen: dict[str, int]) -> Iterator[str]:
        """Yield the keys of what was written since the last call with the same ``seen``.

        What failed before a time counts as not done: it may be there to be done again.
        """
        for shard in self.shards():
            for offset, line in _verified(shard, offset=seen.get(shard.name, 0)):
                seen[shard.name] = offset
                if line.ok or line.record["made"].get("written", 0.0) >= since:
                    yield line.key

    def factors(self, record: dict[str, Any]) -> Array:
        """Return the parameters of a run, flat.

        Raises
        ------
        ValueError
            If they were not kept, or do not verify.
        TypeError
            For what is no record.
        """
        if not isinstance(record, dict) or not {"key", "made", "result"} <= record.keys():
            raise TypeError(f"record: expected one of those that iterating over runs gives, got {shown(record)}")
        place = record["made"].get("parameters")
        if place is None:
            raise ValueError(f"run {record['key']}: its parameters were not kept")
        name, offset, size, check = place
        try:
            data = np.load(self.path / _FACTORS / name, mmap_mode="r", allow_pickle=False)[offset : offset + size]
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"run {record['key']}: {self.path / _FACTORS / name} cannot be read ({error})") from error
        if _checksum(data.tobytes()) != check:
            raise ValueError(f"run {record['key']}: {self.path / _FACTORS / name} is damaged at its parameters")
        return np.array(data)

    def has_parameters(self, name: str) -> bool:
        """Return whether there is a file of parameters of a name, given without its ending."""
        return (self.path / _FACTORS / f"{name}.npy").exists()

    # ------------------------------------------------------------------ what ends its process
    def tried(self, asked: Any) -> list[int]:
        """Return the cells in which a caller was ended that was asked for the same, and had said so before."""
        return [cell for _, cells in self._tried(asked) for cell in cells]

    def forget_tried(self, asked: Any) -> None:
        """Remove what :meth:`tried` finds."""
        for path, _ in self._tried(asked):
            with contextlib.suppress(OSError):  # gone already, or in a folder that can only be read
                path.unlink()

    def _tried(self, asked: Any) -> Iterator[tuple[pathlib.Path, list[int]]]:
        for path in filter(_is_abandoned, self.path.glob(f".*{_TRYING}")):
            with contextlib.suppress(OSError, ValueError):  # of a disk that was full
                note = json.loads(path.read_text())
                if note["asked"] == asked:
                    yield path, note["cells"]

    # ------------------------------------------------------------------ others at work
    def callers(self) -> frozenset[str]:
        """Return the names of the shards of callers that are at work; of one killed elsewhere for a day after."""
        notes = (path for path in self.path.glob(f".*{_CALLING}") if not _is_abandoned(path))
        return frozenset(path.name.removeprefix(".").removesuffix(_CALLING) for path in notes)

    # ------------------------------------------------------------------ tidying
    def tidy(self) -> list[str]:
        """Remove what killed processes left behind: notes, temporary files, parameters without lines; return the names.

        Only files that are called as a store calls its own are touched.
        """
        referenced = {line.factors for line in self.lines()}
        heads = [path for path in self.path.iterdir() if _UNFINISHED_HEAD.fullmatch(path.name)]
        # Copies without empty folders, and stores without parameters, have none of them.
        factors = [path for path in (self.path / _FACTORS).glob("*") if _PARAMETERS.fullmatch(path.name)]
        removed = []
        for path in [*heads, *factors, *self.path.glob(f".*{_CALLING}")]:
            if path.name not in referenced and path.is_file() and _is_abandoned(path):
                with contextlib.suppress(OSError):  # gone already, or in a folder that can only be read
                    path.unlink()
                    removed.append(path.name)
        return removed


def _read_head(path: pathlib.Path) -> dict[str, Any]:
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        _refuse_headless(path.parent)
        raise ValueError(f"store: {path.parent} is no store of runs (it has no {_HEAD})") from error
    except ValueError as error:
        raise ValueError(f"store: {path} is damaged ({error}); {_HEAD_LOST}") from error
    if not isinstance(head, dict) or not isinstance(head.get("axes", {}), dict):
        raise ValueError(f"store: {path} is damaged (it holds no object); {_HEAD_LOST}")
    return head


def _refuse_headless(folder: pathlib.Path) -> None:
    """Say of a folder with runs and without a head how they become readable again."""
    if next(folder.glob(f"*{_SUFFIX}"), None) is not None:
        raise ValueError(f"store: {folder} has lost its {_HEAD}; {_HEAD_LOST}")


def _refusal(error: OSError, folder: pathlib.Path, consequence: str) -> StoreError:
    """Return what a folder that cannot be written leads to."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    reason = "no space is left" if full else (error.strerror or str(error))
    remedy = "make room" if full else "see that the folder can be written"
    return StoreError(error.errno, f"{reason}: {consequence}; {remedy}, then the same call goes on", str(folder))


class Shard:
    """The file that one worker appends to; it exists from the first commit on."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = store.path / f"{self.name}{_SUFFIX}"
        self._commits = 0
        self._size = 0

    @contextlib.contextmanager
    def trying(self, asked: Any, cells: list[int]) -> Iterator[None]:
        """Say which cells of what was asked for are tried in the block, for the case that they end the process."""
        # A full disk is complained of where it costs a run.
        with self._noted(_TRYING, json_text({"asked": asked, "cells": cells})):
            yield

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Let other callers see that this one is at work in the block."""
        with self._noted(_CALLING, ""):
            yield

    @contextlib.contextmanager
    def _noted(self, kind: str, text: str) -> Iterator[None]:
        note = self.path.with_name(f".{self.name}{kind}")
        try:
            with contextlib.suppress(OSError):
                note.write_text(text)
            yield
        finally:
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)

    def commit(self, entries: Iterable[Entry], name: str | None = None) -> None:
        """Write runs so that they are done: their parameters first, then all their lines at once.

        ``name`` is that of the file of parameters, by default one of the shard's own, and so where there is a file of
        that name: another attempt may have written lines that refer to it.

        Raises
        ------
        StoreError
            If the disk is full or refuses, where nothing written before is lost, and if the store is no longer there.
        """
        entries = list(entries)
        if not entries:
            return
        # Else parameters would make a new folder, and lines a new file in it.
        self.store.require_there([self.path.name] if self._size else [])
        if name is None or self.store.has_parameters(name):
            name = f"{self.name}-{self._commits}"
        name = f"{name}.npy"
        kept = [entry for entry in entries if entry.vector is not None]
        for entry in entries:
            entry.made["written"] = time.time()
        try:
            if kept:
                self._write_parameters(name, kept)
            self._append(b"".join(_text(entry, name if entry.vector is not None else "-") for entry in entries))
        except OSError as error:
            if kept:
                with contextlib.suppress(OSError):
                    (self.store.path / _FACTORS / name).unlink(missing_ok=True)
            kept_back = f"{len(entries)} runs could not be saved, all earlier ones are"
            raise _refusal(error, self.store.path, kept_back) from error
        self._commits += 1

    def _write_parameters(self, name: str, kept: list[Entry]) -> None:
        offset = 0
        for entry in kept:
            assert entry.vector is not None
            vector = np.ascontiguousarray(entry.vector, np.float64)
            entry.made["parameters"] = [name, offset, vector.size, _checksum(vector.tobytes())]
            entry.vector = vector
            offset += vector.size
        data = np.concatenate([entry.vector for entry in kept if entry.vector is not None])
        image = io.BytesIO()  # NumPy's own writing to files hides why it fails
        np.save(image, data, allow_pickle=False)

        def write(file: IO[bytes]) -> None:
            file.write(image.getbuffer())

        write_atomically(self.store.path / _FACTORS / name, write)

    def _append(self, block: bytes) -> None:
        """Append whole lines or nothing."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            view = memoryview(block)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
            self._size += len(block)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, self._size)
            raise
        finally:
            # A signal may end the process with its lines written and not yet counted.
            is_empty = os.fstat(handle).st_size == 0
            os.close(handle)
            if is_empty:
                with contextlib.suppress(OSError):
                    self.path.unlink()


def _text(entry: Entry, factors: str) -> bytes:
    document = f'{{"run":{entry.run},' + json_text({"result": entry.result, "made": entry.made})[1:]
    body = f"{entry.key} {'ok' if entry.ok else 'error'} {factors} {document}".encode()
    return _checksum(body).encode() + b" " + body + b"\n"


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), ensure_ascii=True)


def json_text(value: Any) -> str:
    """Return plain values as JSON in one line."""
    return _ENCODER.encode(value)


def _checksum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def _verified(shard: pathlib.Path, damaged: list[Damage] | None = None, offset: int = 0) -> Iterator[tuple[int, Line]]:
    """Yield the lines of a shard that verify, from an offset on, with where they begin; ``damaged`` takes others."""
    with open(shard, "rb") as file:
        file.seek(offset)
        for number, text in enumerate(file, start=1):
            line = _line(text[:-1]) if text.endswith(b"\n") else "was not written to its end"
            if isinstance(line, Line):
                yield offset, line
            elif damaged is not None:
                damaged.append(Damage(shard.name, number, line))
            offset += len(text)


def _line(text: bytes) -> Line | str:
    """Return a line that verifies, or why it does not."""
    check, _, body = text.partition(b" ")
    if _checksum(body).encode() != check:
        return "its checksum is wrong"
    parts = _BODY.fullmatch(body)
    if parts is None:
        return "its checksum is right, and it holds no run: this package did not write it"
    key, state, factors, document = parts.groups()
    return Line(key.decode(), state == b"ok", factors.decode(errors="replace"), document)


def _is_abandoned(path: pathlib.Path) -> bool:
    """Whether whoever wrote a file is gone. Names begin with the machine and the process."""
    writer = _WRITER.fullmatch(path.name)
    if writer and writer[1] == socket.gethostname():
        return not is_alive(int(writer[2]))
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False
