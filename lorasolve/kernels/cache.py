"""Compiled kernels on disk: one file a kernel and signature, read only if it is whole.

Numba's own cache loads whatever lies there, and two processes that compile two signatures of one kernel may give
them one file. Here a file is named by what it holds, begins with a digest of the rest, and is put in place whole. A
damaged file is reported once and made anew; where nothing can be written the kernels of this process are not kept.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import pickle
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
from numba.core import compiler
from numba.core.caching import _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from .._support.files import write_atomically
from . import _symbols

_HERE = pathlib.Path(__file__).parent
_DIGEST_LENGTH = 32

_said: set[str] = set()


def say_once(kind: str, text: str) -> None:
    """Warn of something that concerns the whole process, the first time only."""
    if kind not in _said:
        _said.add(kind)
        warnings.warn(text, stacklevel=2)


def cache_directory() -> pathlib.Path | None:
    """Return the folder that holds the compiled kernels of exactly these sources; None if no place is known.

    It is in ``$LORASOLVE_CACHE_DIR``, where ``~`` is the home folder, else in ``$XDG_CACHE_HOME/lorasolve``, else in
    ``~/.cache/lorasolve``. A relative path counts from the current folder.
    """
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for source in sorted(_HERE.glob("*.py")):
        digest.update(source.read_bytes())
    root = _root()
    return None if root is None else root / f"kernels-{digest.hexdigest()[:16]}"


def _root() -> pathlib.Path | None:
    given, shared = os.environ.get("LORASOLVE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    folder = given or pathlib.Path(shared or "~/.cache", "lorasolve")
    try:
        # A program may change its folder before it reads or writes.
        return pathlib.Path(folder).expanduser().absolute()
    except RuntimeError:  # no HOME, and no entry in the table of users
        return None


class KernelCache(_Cache):
    """The files of one kernel, as Numba's dispatcher asks for them.

    Parameters
    ----------
    function : callable
        The kernel's Python function.
    folder : pathlib.Path or None
        Where its files are; None keeps nothing.
    """

    # Sets apart what is compiled from one function in two ways.
    variant = ""

    def __init__(self, function: Callable[..., Any], folder: pathlib.Path | None) -> None:
        self._function = function
        self._folder = folder
        self._enabled = folder is not None

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(self._folder)

    def enable(self) -> None:
        """Read and write files."""
        self._enabled = self._folder is not None

    def disable(self) -> None:
        """Neither read nor write files."""
        self._enabled = False

    def flush(self) -> None:
        """Remove the kernel's files."""
        if self._folder is not None:
            for path in self._folder.glob(f"{self._stem()}.*.nbc"):
                path.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kept kernel for a signature, or None."""
        # All that a compiled kernel needs of Numba; the tables of its compiler take longer to load than the rest.
        rtsys.initialize(target_context)
        if not self._enabled:
            return None
        key = self._key(sig, target_context.codegen())
        path = self._path(sig, target_context.codegen())
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST_LENGTH], content[_DIGEST_LENGTH:]
        if hashlib.sha256(payload).digest() != digest:
            say_once("damaged", f"the kernel cache {path} is damaged and made anew, as are others like it")
            return None
        known, needed, reduced = pickle.loads(payload)  # written by this package for this user, see the digest
        if known != key or not _symbols.provide(needed):
            return None
        return compiler.CompileResult._rebuild(target_context, *reduced)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel."""
        if not self._enabled or any(not part.can_cache for part in data.lifted) or data.library.has_dynamic_globals:
            return
        key = self._key(sig, data.codegen)
        payload = dumps((key, _symbols.needs(data.library), data._reduce()))
        content = hashlib.sha256(payload).digest() + payload
        try:
            write_atomically(self._path(sig, data.codegen), lambda file: file.write(content))
        except OSError as error:
            self._enabled = False
            say_once(
                "unwritable",
                f"the kernel cache {self._folder} cannot be written ({error.strerror}): kernels are compiled again in "
                "every process; LORASOLVE_CACHE_DIR names another folder",
            )

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        cells = tuple(cell.cell_contents for cell in self._function.__closure__ or ())
        content = hashlib.sha256(repr(_written(self._function.__code__)).encode() + dumps(cells)).hexdigest()
        return str(sig), codegen.magic_tuple(), sys.implementation.cache_tag, self.variant, content

    def _stem(self) -> str:
        return f"{self._function.__module__.rpartition('.')[2]}.{self._function.__qualname__}".replace("<", "").replace(
            ">", ""
        )

    def name(self, sig: Any, codegen: Any) -> str:
        """Return the name of what is compiled for a signature; another function, compiler or processor has another."""
        return f"{self._stem()}.{hashlib.sha256(repr(self._key(sig, codegen)).encode()).hexdigest()[:16]}"

    def _path(self, sig: Any, codegen: Any) -> pathlib.Path:
        assert self._folder is not None
        return self._folder / f"{self.name(sig, codegen)}.nbc"


def _written(code: types.CodeType) -> tuple[Any, ...]:
    """Return what a function computes from its arguments and its globals, without where it is written."""
    constants = [_written(each) if isinstance(each, types.CodeType) else each for each in code.co_consts]
    return code.co_code, code.co_names, constants
