"""Components found by the folder they lie in, and those that other packages register.

A new objective, adapter, optimizer, schedule or init is one new module in its folder that defines a subclass of
the folder's base class with a ``name``, and is called by that name. Nothing else is edited: every listing, test and
table reads the folder. ``base.py`` and modules with an underscore are helpers. Another package registers its
components through entry points of the group ``lorasolve.objectives``, ``lorasolve.optimizers``, and so on.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
import types
import warnings
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from .keywords import did_you_mean, names_settings, suggest
from .stated import as_component
from .text import marked_parts, parse_value
from .validate import as_plain, shown

T = TypeVar("T")


class Registry(Generic[T]):
    """The subclasses of ``base`` defined in the modules of ``package`` or registered for it, by their ``name``."""

    def __init__(self, package: str, base: type[T], kind: str) -> None:
        self.package = package
        self.base = base
        self.kind = kind
        self._classes: dict[str, type[T]] = {}
        self._found: dict[str, type[T]] = {}
        self._complete = False

    def classes(self) -> dict[str, type[T]]:
        """Return ``{name: class}`` in alphabetical order, importing modules and plug-ins on first use.

        Raises
        ------
        ValueError
            If two components of the folder have one name, a component sets no name, or a module is not called what
            its component is called. A plug-in that cannot be loaded, or has a name that is taken, is left out with a
            warning.
        """
        if not self._complete:
            found = self._built_in()
            # Plug-ins may ask for what is built in while they are imported.
            self._classes = _by_name(found)
            self._complete = True
            try:
                self._classes = _by_name(self._with_plug_ins(found))
            except BaseException:
                self._complete = False
                raise
        return self._classes

    def find(self, name: str) -> type[T] | None:
        """Return the class of one name, or None; of the folder only the file of that name is imported."""
        if not self._complete and name not in self._found:
            for value in vars(self._imported(name)).values() if self._has_file(name) else ():
                if isinstance(value, type) and issubclass(value, self.base) and vars(value).get("name") == name:
                    self._found[name] = value
        found = None if self._complete else self._found.get(name)
        return self.classes().get(name) if found is None else found

    def _has_file(self, name: str) -> bool:
        """Whether the folder has a file of a component of this name."""
        plain = name.isidentifier() and not name.startswith("_") and name != "base"
        return plain and importlib.util.find_spec(f"{self.package}.{name}") is not None

    def _imported(self, name: str) -> types.ModuleType:
        """Return the module of a file of the folder; an error in it names the file."""
        place = f"{self.package}.{name}"
        try:
            return importlib.import_module(place)
        except (Exception, SystemExit) as error:
            spec = importlib.util.find_spec(place)
            raise ValueError(f"{spec.origin if spec else place}: {type(error).__name__}: {error}") from error

    def _built_in(self) -> _Found:
        """Return ``{name: (class, file)}`` of the folder."""
        found: _Found = {}
        modules = {}
        for info in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            if info.name == "base" or info.name.startswith("_"):
                continue
            module = self._imported(info.name)
            file = str(module.__file__)
            defined = [
                value
                for value in vars(module).values()
                if isinstance(value, type) and value.__module__ == module.__name__ and issubclass(value, self.base)
            ]
            if not defined:
                raise ValueError(
                    f"{file}: defines no {self.kind}, that is, no subclass of {self.base.__name__}; the name of a "
                    "helper module starts with an underscore"
                )
            for cls in defined:
                self._add(found, names_settings(cls), file)
                modules[cls] = info.name
        for name, (cls, file) in found.items():
            if modules[cls] != name:
                raise ValueError(
                    f"{file}: {cls.__name__} is called {name!r}, and a file is called what its {self.kind} is called; "
                    f"rename the file to {name}.py, or set name = {modules[cls]!r}"
                )
        return found

    def _add(self, found: _Found, cls: type, origin: str) -> None:
        """Add a class that sets a name of its own, which no other one has."""
        name = vars(cls).get("name", "")
        if not (isinstance(name, str) and name):
            raise ValueError(
                f"{origin}: the {self.kind} {cls.__name__} sets no name of its own; add name = '...' to the class (a "
                "base class of several components belongs in a module with an underscore)"
            )
        if name in found:
            raise ValueError(
                f"two {self.kind}s are called {name!r}, in {found[name][1]} and in {origin}; give one of them another "
                "name"
            )
        found[name] = (cls, origin)

    def _with_plug_ins(self, built_in: _Found) -> _Found:
        """Return what is built in together with what other packages register under a name that no other part has.

        Where a name is that of several, the user may own none of them: a warning names all, and the rest is usable.
        """
        parts = {name: [part] for name, part in built_in.items()}
        for cls, origin in self._plug_ins():
            parts.setdefault(vars(cls)["name"], []).append((cls, origin))
        for name, called in parts.items():
            if len(called) > 1:
                places = " and in ".join(origin for _, origin in called)
                kept = f"the {self.kind} of lorasolve is kept" if name in built_in else "none of them is kept"
                warnings.warn(f"{len(called)} {self.kind}s are called {name!r}, in {places}; {kept}", stacklevel=2)
        return {name: called[0] for name, called in parts.items() if len(called) == 1} | built_in

    def _plug_ins(self) -> Iterator[tuple[type, str]]:
        """Yield what other packages register, and where it is from; what is no such part is left out with a warning."""
        for point in _entry_points().select(group=self.package):
            origin = f"{point.value} of the distribution {point.dist.name if point.dist else 'unknown'!r}"
            try:
                cls = point.load()
                if not (isinstance(cls, type) and issubclass(cls, self.base)):
                    raise TypeError(f"it is no subclass of {self.base.__name__}")
                self._add({}, cls, origin)
            except Exception as error:
                warnings.warn(
                    f"the {self.kind} {point.name!r} is left out, {origin}: {type(error).__name__}: {error}",
                    stacklevel=2,
                )
            else:
                yield cls, origin

    def make(self, given: Any, argument: str) -> T:
        """Return ``given`` if it is an instance of the base, or the component that a text stands for.

        Parameters
        ----------
        given : str or component
            ``name`` or ``name:key=value,key=value``; settings that are left out have their defaults.
        argument : str
            What error messages call it.

        Raises
        ------
        ValueError
            If the name or a setting is unknown, or a value is refused; the message suggests the nearest name.
        TypeError
            If ``given`` is neither a text nor an instance of the base class, or a value is of the wrong type.
        """
        if isinstance(given, self.base):
            return _with_plain_settings(as_component(given, argument, self.base))
        if not isinstance(given, str):
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise TypeError(
                f"{argument}: expected the name of {article} {self.kind} or an instance of {self.base.__name__}, "
                f"got {shown(given) if isinstance(given, type) else type(given).__name__}"
            )
        name, colon, text = (part.strip() for part in given.partition(":"))
        cls: Any = self.find(name)
        if cls is None:
            raise ValueError(f"{argument}: unknown {self.kind} {name!r}.{suggest(name, list(self.classes()))}")
        settings = _settings(cls, name, text, argument) if colon else {}
        try:
            made = cls(**settings)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{argument}: {error}") from error
        return as_component(made, argument, self.base)

    def attribute(self, name: str) -> Any:
        """Resolve ``package.ClassName`` (used as the package's module-level ``__getattr__``)."""
        hint = ""
        if not name.startswith("_"):
            # A built-in class is found without importing plug-ins: one of them may be asking.
            if not self._classes:
                self._classes = _by_name(self._built_in())
            cls = _called(name, self._classes) or _called(name, self.classes())
            if cls is not None:
                return cls
            hint = did_you_mean(name, (known.__name__ for known in self.classes().values()))
        raise AttributeError(f"module {self.package!r} has no attribute {name!r}.{hint}")

    def listing(self, names: dict[str, Any]) -> list[str]:
        """Return what ``dir`` of the package shows: its public names and its classes (used as ``__dir__``)."""
        classes = (cls.__name__ for cls in self.classes().values())
        return sorted({*names["__all__"], *classes, *(name for name in names if name.startswith("__"))})


_Found = dict[str, tuple[type, str]]


def _by_name(found: _Found) -> dict[str, Any]:
    return {name: found[name][0] for name in sorted(found)}


def _called(name: str, classes: dict[str, Any]) -> Any:
    return next((cls for cls in classes.values() if cls.__name__ == name), None)


def _with_plain_settings(component: T) -> T:
    """Return a component with numbers of NumPy among its settings as Python's own, itself if there are none."""
    if not is_dataclass(component):
        return component
    settings = {entry.name: getattr(component, entry.name) for entry in fields(component) if entry.init}
    plain = {name: as_plain(value) for name, value in settings.items() if isinstance(value, np.generic)}
    return replace(component, **plain) if plain else component  # type: ignore[type-var]


def _settings(cls: Any, name: str, text: str, argument: str) -> dict[str, Any]:
    """Return the settings that ``key=value,key=value`` stands for."""
    known = [entry.name for entry in fields(cls) if entry.init]
    settings: dict[str, Any] = {}
    for _, pair in marked_parts(text, ","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key in known and not equals:
            raise ValueError(f"{argument}: {name} is given the setting {key!r} without a value (write {key}=value)")
        if key not in known:
            accepted = suggest(key, known) if known else " It has no settings."
            raise ValueError(f"{argument}: {name} has no setting {key!r} (write {name}:key=value).{accepted}")
        if key in settings:
            raise ValueError(f"{argument}: {name} is given the setting {key!r} twice")
        settings[key] = parse_value(value)
    return settings


def packages_with_plug_ins() -> set[str]:
    """Return the names of the packages that register components."""
    points = _entry_points()
    folders = [group for group in points.groups if group.startswith("lorasolve.")]
    return {point.module.partition(".")[0] for folder in folders for point in points.select(group=folder)}


@functools.cache
def _entry_points() -> Any:
    """Return the entry points of all installed distributions, read once."""
    from importlib.metadata import entry_points

    return entry_points()
