"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from .interruptions import undisturbed
from .validate import as_path

PathLike = str | os.PathLike[str]
Write = Callable[[IO[bytes]], Any]


def write_atomically(path: PathLike, write: Write) -> None:
    """Let ``write`` fill a file that is put in place only when it is complete."""
    write_together({path: write})


def require_writable(path: PathLike, argument: str) -> None:
    """Raise an ``OSError`` now if a file could not be put there later; its folder is made, and nothing else."""
    try:
        with _unseen(pathlib.Path(as_path(path, argument))):
            pass
    except OSError as error:
        raise OSError(error.errno, f"{argument}: cannot be written: {error.strerror}", str(path)) from None


def write_together(writes: Mapping[PathLike, Write]) -> None:
    """Fill several files, and put all in place only when all are complete.

    Where the system has files without a name (Linux), nothing is left behind by a process that is killed while it
    writes.
    """
    with contextlib.ExitStack() as stack:
        ready = []
        for path, write in writes.items():
            unseen = stack.enter_context(_unseen(pathlib.Path(as_path(path, "path"))))
            write(unseen.file)
            unseen.file.flush()
            ready.append(unseen)
        with undisturbed():  # lest an interruption comes between the files of one run
            for unseen in ready:
                unseen.put_in_place()


def text_writer(text: str) -> Write:
    """Return what writes a text in UTF-8; what that cannot hold, of names of files in other encodings, as an escape."""
    return lambda file: file.write(text.encode(errors="backslashreplace"))


class _Unseen:
    """A file that is not yet where it belongs."""

    def __init__(self, path: pathlib.Path, file: IO[bytes]) -> None:
        self.path = path
        self.file = file

    def put_in_place(self) -> None:
        """Give the file its name."""
        raise NotImplementedError


class _Nameless(_Unseen):
    """A file that has no name before it is complete; the system removes it with its last descriptor."""

    def put_in_place(self) -> None:
        with contextlib.suppress(FileExistsError):
            self._link(self.path)
            return
        # A link replaces nothing, a renaming does.
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=f".{self.path.name}."[:50]) as folder:
            temporary = pathlib.Path(folder) / "complete"
            self._link(temporary)
            os.replace(temporary, self.path)

    def _link(self, path: pathlib.Path) -> None:
        # With a folder's descriptor Python calls linkat, which follows the link in /proc to the file.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.link(f"/proc/self/fd/{self.file.fileno()}", path.name, dst_dir_fd=folder)
        finally:
            os.close(folder)


class _Hidden(_Unseen):
    """A file under a hidden name of its own."""

    def put_in_place(self) -> None:
        os.chmod(self.file.name, 0o666 & ~_umask())
        os.replace(self.file.name, self.path)


@contextlib.contextmanager
def _unseen(path: pathlib.Path) -> Iterator[_Unseen]:
    """Open a file for writing, in the folder of ``path``, and remove it unless it is put in place."""
    if path.exists() and not path.is_file():
        kind = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(kind, "is a folder" if path.is_dir() else "is not a regular file", str(path))
    if path.parent.exists() and not path.parent.is_dir():  # of which mkdir says that the file exists
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(path) as unseen:
            yield unseen
    except OSError as error:  # of a disk that is full, say, which names no file
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[_Unseen]:
    """Open a file without a name where the system has such, else a hidden one."""
    descriptor = _open_nameless(path.parent)
    if descriptor is not None:
        with os.fdopen(descriptor, "wb") as file:
            yield _Nameless(path, file)
        return
    try:
        named = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."[:50], delete=False)  # noqa: SIM115
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    with named:
        try:
            yield _Hidden(path, named)  # type: ignore[arg-type]
        finally:
            pathlib.Path(named.name).unlink(missing_ok=True)


def _open_nameless(folder: pathlib.Path) -> int | None:
    """Return the descriptor of a new file without a name, or None where the system has none."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
    except OSError:  # not on this file system; what else is wrong is said by the other way
        return None


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_alive(pid: int) -> bool:
    """Return whether there is a process of a number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
