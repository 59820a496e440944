"""What options, and the file of a study, name in files of Python, as ``FILE.py:NAME``."""

from __future__ import annotations

import pathlib
import re
import sys
import types
from typing import Any

from .._support.keywords import suggest
from .._support.origin import NAMED_FILE
from ..io import readable


def is_name_in_file(given: Any) -> bool:
    """Return whether a setting names something in a file of Python, and is no method, start or measure by itself."""
    return isinstance(given, str) and re.fullmatch(r".*\.py:\w*", given) is not None


def file_of(text: str) -> str:
    """Return the file of ``FILE.py:NAME``."""
    return text.rpartition(":")[0]


class OwnPython:
    """Files of Python in a folder; each is run once, and workers get the source with what is named."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._modules: dict[str, types.ModuleType] = {}

    def named(self, given: Any, where: str) -> Any:
        """Return a setting with what its texts name in files; lists and tables are gone through."""
        if isinstance(given, list):
            return [self.named(one, where) for one in given]
        if isinstance(given, dict):
            return {name: self.named(one, where) for name, one in given.items()}
        return self.find(given, where) if is_name_in_file(given) else given

    def find(self, text: str, where: str) -> Any:
        """Return what ``FILE.py:NAME`` names; ``where`` is what errors call the setting."""
        file, colon, name = text.rpartition(":")
        if not colon:
            raise ValueError(f"{where}: expected FILE.py:NAME, got {text!r}")
        if file not in self._modules:
            self._modules[file] = self._run(file, where)
        module = self._modules[file]
        if not hasattr(module, name):
            own = [key for key, value in vars(module).items() if _is_from(module, value)]
            hint = f".{suggest(name, own)}" if own else ""
            raise ValueError(f"{where}: {self._folder / file} defines no {name!r}{hint}")
        return getattr(module, name)

    def _run(self, file: str, where: str) -> types.ModuleType:
        import cloudpickle

        path = self._folder / file
        # No main program: what that does, under its usual condition, is not asked for. Some libraries look modules up.
        name = f"{NAMED_FILE}.{file}" if self._modules else NAMED_FILE
        module = sys.modules[name] = types.ModuleType(name)
        module.__file__ = str(path)
        cloudpickle.register_pickle_by_value(module)
        # As Python does with a script: what it imports may lie beside it. Workers get the same folders.
        if (beside := str(path.resolve().parent)) not in sys.path:
            sys.path.insert(0, beside)
        with readable(path):
            source = path.read_bytes()  # as Python reads it: with whatever encoding it names
        try:
            exec(compile(source, str(path), "exec"), vars(module))
        except (Exception, SystemExit) as error:
            raise ValueError(f"{where}: {path} cannot be run: {type(error).__name__}: {error}") from error
        return module


def _is_from(module: types.ModuleType, value: Any) -> bool:
    """Whether a value was made in a module: a class or function, or an object of a class, of it."""
    return getattr(value, "__module__", None) == module.__name__
