"""A digest of what a run is made of: arrays, settings and code, the same in every process.

An object is its class and its attributes; one of a user's own kind of container (a named tuple, say) is these and what
it contains. Left out are cached properties and flags of sparse matrices, which follow from the rest, and what it names
in ``not_data``: memory that calls write to, and times. A class or function that is not of an installed package is its
bytecode, with that of the functions and classes of its own module that it calls, or that are in a table which it reads
there or attributes of the class, and with the plain data (numbers, texts, arrays, collections, namespaces and
dataclasses of them, arguments of partial functions) that it reads there by name or holds as attributes of the class, as
an enumeration its members. Of another object that it reads there by name these are the code of its class and the
numbers and texts that it has from its making on. Of what it calls in other modules that are not installed the code
alone counts. What those read from elsewhere is not seen.

Equal content has equal digests, whatever of it is one object: what was met before is added once more, by its content.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import io
import os
import pathlib
import random
import struct
import sys
import types
from typing import Any

import numpy as np

from .bytecode import attributes_read, names_read, names_written, read_from_modules, settings_of
from .contents import attributes_of, bare, can_be_filled, is_plain, noted
from .origin import HEAP_TYPE, in_python, installed, is_compiled, is_of_users, of_package, registered

SIZE = 16


def digest(value: Any, name: str = "the value") -> str:
    """Return 32 hexadecimal digits that change with the content of a value; ``name`` is how messages call it.

    Raises
    ------
    TypeError
        If something in it has no content that can be read, such as an open file; the message says where it lies. An
        object may describe itself: its attribute ``fingerprint``, a text, then stands for it.
    """
    found = _Digest()
    found.add(value, name)
    return found.result()


def digest_of_code(*things: Any) -> str:
    """Return a digest of the code alone of classes and functions of a user's modules, and of what they call in such.

    A module stands for its own classes and functions. It is the same before and after the code has done something:
    what can be filled (lists, dicts, sets, arrays), what objects hold, what a function has around it and global names
    that code of the module writes to may be memory, and are left out.
    """
    found = _DigestOfCode()
    for thing in things:
        found.add(_own_code(thing) if isinstance(thing, types.ModuleType) else thing, "the code")
    return found.result()


def digest_of_imports(thing: Any) -> str:
    """Return a digest of a class or function and of the data that it reads in its module, without class attributes.

    These may remember, and no code says which do: of a module's data those are left out that the function fills.
    """
    found = _DigestOfImports()
    found.add(thing, "the code")
    return found.result()


def code_mark(function: Any, name: str = "the value") -> str:
    """Return what a function is: its name where it is of this package, whose version stands for it, else a digest.

    Messages call it by ``name``.
    """
    owner = type(function.__self__) if isinstance(function, types.MethodType) else function
    if not of_package(owner):
        return digest(function, name)
    qualified = getattr(owner, "__qualname__", type(owner).__qualname__)
    return f"{owner.__module__}.{qualified}" + (f".{function.__name__}" if owner is not function else "")


class _Digest:
    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=SIZE)
        # Digests of what was met, by identity; held, so that no later object can get the identity of one that is gone.
        self._met: dict[int, tuple[bytes, Any]] = {}
        # What the value that is being added lies in, itself included, each with its depth.
        self._within: dict[int, int] = {}
        # Classes and functions that are called and not added yet, each with its number, and all of them in order.
        self._numbers: dict[int, int] = {}
        self._called: list[Any] = []

    def result(self) -> str:
        """Return the digest, once all is added."""
        if self._called:
            self._tag("called", digest_of_code(*self._called).encode())
        return self.hash.hexdigest()

    def _tag(self, kind: str, *parts: bytes) -> None:
        """Add a kind and parts, each with its length, so that no two values run into one another."""
        for part in (kind.encode(), *parts):
            self.hash.update(struct.pack("<q", len(part)))
            self.hash.update(part)

    def add(self, value: Any, where: str) -> None:
        """Add a value; ``where`` is how messages call it."""
        if isinstance(value, (np.ndarray, np.void)) and installed(type(value)):
            self._array(np.asanyarray(value), where)
        elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic, np.dtype)):
            self._plain(value)
        elif id(value) in self._within:
            self._tag("around", str(len(self._within) - self._within[id(value)]).encode())
        else:
            self._tag("part", self._part(value, where))

    def _part(self, value: Any, where: str) -> bytes:
        """Return the digest of a compound value."""
        if id(value) not in self._met:
            outside, self.hash = self.hash, hashlib.blake2b(digest_size=SIZE)
            self._within[id(value)] = len(self._within)
            try:
                self._compound(value, where)
                self._met[id(value)] = (self.hash.digest(), value)
            finally:
                del self._within[id(value)]
                self.hash = outside
        return self._met[id(value)][0]

    def _plain(self, value: Any) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bytes):
            self._tag("bytes", value)
        elif isinstance(value, np.dtype):
            self._tag("dtype", _dtype_text(value).encode())
        else:
            # Numbers that are equal are one setting, whatever their type: 1 and 1.0 come from one file.
            if isinstance(value, float) and value.is_integer() and repr(value) != "-0.0":
                value = int(value)
            self._tag("number" if isinstance(value, (bool, int, float, complex)) else "text", repr(value).encode())

    def _array(self, value: np.ndarray[Any, Any], where: str) -> None:
        if value.dtype.hasobject:
            self._tag("objects", repr(value.shape).encode())
            if value.dtype.names is not None:
                self._tag("dtype", _dtype_text(value.dtype).encode())
            for k, entry in enumerate(value.ravel().tolist()):
                self.add(entry, f"{where}[{k}]")
        else:
            self._tag("array", _dtype_text(value.dtype).encode(), repr(value.shape).encode(), value.tobytes())
        if isinstance(value, np.ma.MaskedArray):
            self._array(np.ma.getmaskarray(value), where)

    def _compound(self, value: Any, where: str) -> None:
        if isinstance(value, dict):
            self._tag("dict")
            for key in sorted(value, key=repr):
                self.add(key, f"a key of {where}")
                self.add(value[key], f"{where}[{key!r}]")
        elif isinstance(value, (list, tuple, range)):
            self._tag("list", str(len(value)).encode())
            for k, entry in enumerate(value):
                self.add(entry, f"{where}[{k}]")
        elif isinstance(value, slice):
            self._tag("slice")
            self.add([value.start, value.stop, value.step], where)
        elif isinstance(value, (set, frozenset)):
            self._tag("set", *sorted(digest(entry).encode() for entry in value))
        elif isinstance(value, np.ndarray):
            self._array(value, where)
        elif isinstance(value, pathlib.PurePath) and installed(type(value)):
            self._tag("path", os.fsencode(value))
        elif isinstance(value, enum.Enum):
            self._tag("enum", f"{type(value).__name__}.{value.name}".encode())
            if not installed(type(value)):
                self.add(value.value, f"{where}.value")
        elif isinstance(value, np.random.Generator):
            self.add(value.bit_generator.state, where)
        elif isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
            self._tag("random")
            self.add(value.getstate(), where)
        elif isinstance(value, (type, types.FunctionType, types.MethodType, functools.partial)) or is_compiled(value):
            self._code(value, where)
        else:
            self._object(value, where)
        if isinstance(value, _CONTAINERS) and not installed(type(value)):
            self._attributes(value, attributes_of(value), where)

    def _object(self, value: Any, where: str) -> None:
        stated = getattr(value, "fingerprint", None)
        if isinstance(stated, str):
            self._tag("fingerprint", type(value).__name__.encode(), stated.encode())
            return
        kind, state = type(value), attributes_of(value)
        bases = [base for base in kind.__mro__[:-1] if base is not types.SimpleNamespace]
        compiled = isinstance(value, io.IOBase) or any(not base.__flags__ & HEAP_TYPE for base in bases)
        if compiled or (not state and not hasattr(value, "__dict__")):
            raise TypeError(
                f"{where} is a {kind.__name__}, whose content cannot be read; keep plain numbers, texts and arrays, or "
                "give the object an attribute fingerprint, a text that stands for what it holds"
            )
        self._attributes(value, state, where)

    def _attributes(self, value: Any, state: dict[str, Any], where: str) -> None:
        """Add the class of a value and what its attributes hold."""
        kind = type(value)
        stated = getattr(value, "not_data", ())
        if isinstance(stated, str):  # a tuple without its comma, of which each letter would be a name
            raise TypeError(
                f"{kind.__name__}.not_data: expected a tuple of names, got {stated!r}; ({stated!r},) is one"
            )
        left_out = {*stated, *noted(kind)}
        self._code(kind, where)
        for name in sorted(state):
            cached = isinstance(_class_attribute(kind, name), functools.cached_property)
            if not cached and name not in left_out:
                self._tag("attribute", name.encode())
                self.add(state[name], f"{where}.{name}")

    def _code(self, value: Any, where: str) -> None:
        if isinstance(value, types.MethodType):
            self._code(value.__func__, where)
            self.add(value.__self__, f"{where}.__self__")
            return
        if isinstance(value, functools.partial):
            self._tag("partial")
            self.add([value.func, list(value.args), value.keywords], where)
            return
        if isinstance(layout := getattr(value, "signature", None), str):
            self._tag("layout", layout.encode())
        value = in_python(value)
        if isinstance(value, types.FunctionType) and not installed(value):
            self._function(value, where)
        elif isinstance(value, type) and not installed(value):
            self._class(value, where)
        else:
            _require_known(value, where)
            name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"
            self._tag("name", name.encode())

    def _function(self, value: types.FunctionType, where: str) -> None:
        """Add the bytecode of a function and what it reads by name."""
        self._tag("function")
        self._bytecode(value.__code__, where)
        self.add(list(value.__defaults__ or ()), f"the defaults of {where}")
        self.add(value.__kwdefaults__ or {}, f"the defaults of {where}")
        around: dict[str, types.ModuleType] = {}
        for cell, variable in zip(value.__closure__ or (), value.__code__.co_freevars):
            # Modules that the function around it imports are as those that its own module does.
            if isinstance(cell.cell_contents, types.ModuleType):
                around[variable] = cell.cell_contents
            else:
                self._variable(cell.cell_contents, f"{variable} in {where}")
        for called in names_read(value.__code__, value.__globals__):
            found = value.__globals__.get(called)
            _require_known(found, f"{called} in {where}")
            if isinstance(found, functools.partial) and is_plain([found.args, found.keywords]):
                self._data("global", called, [found.args, found.keywords])
            thing = in_python(found)
            other = bare(thing)
            if other is not thing and is_of_users(thing):
                self._later(type(thing))
            if isinstance(found, types.MethodType):
                self._held(found.__self__, value, called)
            if other is not thing and (read := attributes_read(value.__code__, called)) <= other.keys():
                other = {name: other[name] for name in read}
            if isinstance(other, (type, types.FunctionType)):
                self._call(other, value, called)
            elif called in value.__globals__ and is_plain(other) and not _of_python(called):
                self._data("global", called, other)
            else:
                self._held(other, value, called)
        for called, other in read_from_modules(value.__code__, value.__globals__, around):
            self._call(other, value, called)
        for kind, other in registered(value):
            self._held(other, value, kind)

    def _class(self, value: type, where: str) -> None:
        """Add the code of a class and of its bases, and the plain data that it holds."""
        # Without what it was made in, which it loses on its way to another process.
        self._tag("class", value.__name__.encode())
        for base in value.__bases__:
            if base is not object:
                self.add(base, base.__name__)
        left_out = _class_attribute(value, "not_data")
        left_out = left_out if isinstance(left_out, tuple) else ()
        for key, entry in sorted(vars(value).items()):
            if any(vars(base).get(key, value) is entry for base in value.__mro__[1:]):
                continue  # as inherited, and a class that was sent to another process is without it
            if key == "__annotate_func__":
                continue  # what Python 3.14 makes of annotations, which compute nothing
            entry = entry.__func__ if isinstance(entry, (classmethod, staticmethod)) else entry
            if isinstance(entry, (functools.partial, functools.partialmethod)):
                given = [entry.args, entry.keywords]
                if is_plain(given):
                    self._data("entry", key, given)
            entry = in_python(entry.fget if isinstance(entry, property) else getattr(entry, "func", entry))
            entry = bare(entry)
            if isinstance(entry, types.FunctionType):
                self._tag("entry", key.encode())
                self.add(entry, f"{where}.{key}")
            elif key in left_out or _of_python(key):
                continue
            elif is_plain(entry):
                self._data("entry", key, entry)
            elif isinstance(entry, tuple):
                self._tag("entry", key.encode())
                self.add(entry, f"{where}.{key}")
            else:
                _require_known(entry, f"{where}.{key}")
                self._held(entry, value, key)
        if issubclass(value, enum.Enum):
            for member in value:
                if is_plain(member.value):
                    self._data("member", member.name, member.value)

    def _held(self, value: Any, holder: Any, where: str) -> None:
        """Add functions and classes of a module that it keeps in a class or in a table, as ``{"huber": huber}``.

        Those of other modules may be there or not, as where modules register what they have. Of an object of a user's
        class, there or by itself, add the code of the class and the settings that it was made with.
        """
        if isinstance(value, (type, types.FunctionType)):
            if value.__module__ == holder.__module__:
                self._tag("held", where.encode())
                self.add(value, where)
        elif isinstance(value, (dict, list, tuple)) and id(value) not in self._within:
            self._within[id(value)] = len(self._within)
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            entries = ((key, in_python(entry)) for key, entry in pairs)
            held = [(key, entry) for key, entry in entries if isinstance(entry, _HOLDERS) or is_of_users(entry)]
            found = {digest(key): entry for key, entry in held if is_plain(key)}
            for key in sorted(found):
                self._held(found[key], holder, f"{where}[{key}]")
            del self._within[id(value)]
        elif is_of_users(value):
            self._later(type(value))
            self._data("settings", where, settings_of(value, getattr(holder, "__globals__", {})))

    def _call(self, called: Any, function: types.FunctionType, where: str) -> None:
        """Add a class or function that a function reads by name."""
        if called.__module__ == function.__module__:
            self.add(called, where)
        elif not installed(called):
            self._later(called)

    def _later(self, called: Any) -> None:
        """Add the code of what is called, which may call what calls it, when all else is added."""
        if id(called) not in self._numbers:
            self._numbers[id(called)] = len(self._called)
            self._called.append(called)
        self._tag("called", str(self._numbers[id(called)]).encode())

    def _variable(self, value: Any, where: str) -> None:
        """Add what a function has around it."""
        self.add(value, where)

    def _data(self, kind: str, name: str, value: Any) -> None:
        """Add plain data by content alone: which of them are one object differs from process to process."""
        self._tag(kind, name.encode(), digest(value).encode())

    def _bytecode(self, code: types.CodeType, where: str) -> None:
        self._tag("code", code.co_code, repr(code.co_names).encode(), repr(code.co_varnames).encode())
        # What the compiler has folded away may stay there, in an order of each process' own.
        used = {step.arg for step in dis.get_instructions(code) if step.opcode in dis.hasconst}
        for k, constant in enumerate(code.co_consts):
            if isinstance(constant, types.CodeType):
                self._bytecode(constant, where)
            elif k in used and constant is not Ellipsis:
                self.add(constant, f"a constant of {where}")


class _DigestOfImports(_Digest):
    def _data(self, kind: str, name: str, value: Any) -> None:
        if kind != "entry":
            super()._data(kind, name, value)


class _DigestOfCode(_Digest):
    def __init__(self) -> None:
        super().__init__()
        # The names that code of each module writes to, whatever function does, by the identity of the module's names.
        self._written: dict[int, frozenset[str]] = {}
        self._scope = 0

    def result(self) -> str:
        for called in self._called:  # which grows: so no chain of calls is too long
            self.add(called, called.__qualname__)
        return self.hash.hexdigest()

    def add(self, value: Any, where: str) -> None:
        if isinstance(value, (list, tuple, dict)):  # arguments by default, constants
            self._tag("several", str(len(value)).encode())
            for entry in value.items() if isinstance(value, dict) else value:
                if not can_be_filled(entry):
                    self.add(entry, where)
        elif isinstance(value, (type, types.FunctionType)):
            super().add(value, where)
        elif is_plain(value) and not can_be_filled(value):
            self._data("value", "", value)

    def _code(self, value: Any, where: str) -> None:
        before = self._scope
        if isinstance(value, types.FunctionType) and not installed(value):
            self._scope = id(value.__globals__)
            if self._scope not in self._written:
                self._written[self._scope] = names_written(value.__globals__)
        super()._code(value, where)
        self._scope = before

    def _call(self, called: Any, function: types.FunctionType, where: str) -> None:
        if not installed(called):
            self._later(called)

    def _held(self, value: Any, holder: Any, where: str) -> None:
        if not can_be_filled(value):
            super()._held(value, holder, where)

    def _variable(self, value: Any, where: str) -> None:
        if isinstance(value, (type, types.FunctionType)):
            self.add(value, where)

    def _data(self, kind: str, name: str, value: Any) -> None:
        if not can_be_filled(value) and not (kind == "global" and name in self._written[self._scope]):
            super()._data(kind, name, value)


# What extends one of these has code and attributes beside what is in it.
_CONTAINERS = (dict, list, tuple, set, frozenset, np.ndarray, random.Random)


# What may be code or hold some.
_HOLDERS = (type, types.FunctionType, dict, list, tuple)


def _dtype_text(dtype: np.dtype[Any]) -> str:
    """Return a type of entries in words, with the names of fields."""
    return dtype.str if dtype.names is None else str(dtype)


def _require_known(value: Any, where: str) -> None:
    """Refuse a ufunc that no installed package has by its name: what it computes cannot be read."""
    if not isinstance(value, np.ufunc):
        return
    modules = (np, np.strings, *list(sys.modules.values()))
    if not any(vars(module).get(value.__name__) is value and installed(module) for module in modules):
        raise TypeError(
            f"{where} is a ufunc {value.__name__!r}, whose content cannot be read; keep the function that it was made "
            "of, or give the object an attribute fingerprint, a text that stands for what it holds"
        )


def _own_code(module: types.ModuleType) -> dict[str, Any]:
    """Return the classes and functions of a module itself, by name and in order of the names."""
    return {
        name: thing
        for name, thing in sorted(vars(module).items())
        if isinstance(thing, (type, types.FunctionType)) and thing.__module__ == module.__name__
    }


def _class_attribute(kind: type, name: str) -> Any:
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def _of_python(name: str) -> bool:
    """Whether a name is one of Python's own, such as ``__doc__``: where a class stands says nothing about it."""
    return name.startswith("__") and name.endswith("__")
