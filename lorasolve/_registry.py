"""Components found by the folder they lie in.

A new objective, adapter, optimizer, schedule or init is one new module in its folder that defines a subclass of
the folder's base class with a ``name``. Nothing else is edited: every listing, test and table reads the folder.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def suggest(given: str, accepted: list[str]) -> str:
    """Say which names are accepted, the nearest one first."""
    near = difflib.get_close_matches(given, accepted, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Accepted: {', '.join(accepted)}."


class Registry(Generic[T]):
    """The concrete subclasses of ``base`` defined in the modules of ``package``, by their ``name``."""

    def __init__(self, package: str, base: type[T], kind: str) -> None:
        self.package = package
        self.base = base
        self.kind = kind
        self._classes: dict[str, type[T]] | None = None

    def classes(self) -> dict[str, type[T]]:
        """Return ``{name: class}`` in alphabetical order, importing the folder's modules on first use."""
        if self._classes is None:
            found: dict[str, type[T]] = {}
            for info in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                module = importlib.import_module(f"{self.package}.{info.name}")
                for value in vars(module).values():
                    if not isinstance(value, type) or value.__module__ != module.__name__:
                        continue
                    name = str(getattr(value, "name", ""))
                    if name and issubclass(value, self.base):
                        found[name] = value
            self._classes = dict(sorted(found.items()))
        return self._classes

    def make(self, given: Any, argument: str) -> T:
        """Return ``given`` if it is an instance of the base, or the component of that name with its defaults.

        Raises
        ------
        ValueError
            If the name is unknown; the message suggests the nearest one.
        TypeError
            If ``given`` is neither a name nor an instance of the base class.
        """
        if isinstance(given, self.base):
            return given
        if isinstance(given, str):
            classes = self.classes()
            if given not in classes:
                raise ValueError(f"{argument}: unknown {self.kind} {given!r}.{suggest(given, list(classes))}")
            return classes[given]()
        article = "an" if self.kind[0] in "aeiou" else "a"
        raise TypeError(
            f"{argument}: expected the name of {article} {self.kind} or an instance of {self.base.__name__}, "
            f"got {type(given).__name__}"
        )

    def attribute(self, name: str) -> Any:
        """Resolve ``package.ClassName`` (used as the package's module-level ``__getattr__``)."""
        if not name.startswith("_"):
            for cls in self.classes().values():
                if cls.__name__ == name:
                    return cls
        raise AttributeError(f"module {self.package!r} has no attribute {name!r}")
