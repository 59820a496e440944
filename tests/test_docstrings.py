"""Documented parameters equal signatures, for every public name, by a small reader of numpydoc sections.

Rules: a function documents all of its parameters in order, or none, and one that does says what it refuses. A class
documents its constructor's parameters under ``Parameters`` in its own docstring or in that of a base, a record its
fields there or under ``Attributes``. Every component of a registry documents all of its settings; another class may
describe its arguments in its text, but what it lists it lists whole.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

import lorasolve
from lorasolve import adapters, convex, executors, inits, objectives, optimizers, schedules
from lorasolve._support import validate as _validate

SECTIONS = (
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "See Also",
    "Notes",
    "References",
    "Examples",
)


def sections(doc: str) -> dict[str, list[str]]:
    """Return the lines under each underlined heading; the text before the first one is under ``""``."""
    lines = inspect.cleandoc(doc).splitlines()
    found: dict[str, list[str]] = {"": []}
    current = found[""]
    k = 0
    while k < len(lines):
        underlined = k + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[k + 1]) and lines[k].strip()
        if underlined:
            heading = lines[k].strip()
            if heading in found:
                raise ValueError(f"section {heading!r} occurs twice")
            if len(lines[k + 1]) != len(heading):
                raise ValueError(f"the line under {heading!r} has another length")
            current = found.setdefault(heading, [])
            k += 2
            continue
        current.append(lines[k])
        k += 1
    return found


def entries(lines: list[str]) -> list[str]:
    """Return the names at the margin of a section: ``a, b : type`` names two; a type may run over lines."""
    names: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            head = re.split(r"\s+:\s+|\s+:$", line)[0]
            names += [part.strip().lstrip("*") for part in head.split(",")]
    return names


def documented(doc: str | None, *headings: str) -> list[str]:
    found = sections(doc or "")
    return [name for heading in headings for name in entries(found.get(heading, []))]


# ---------------------------------------------------------------------- what is public
def public_modules() -> list[Any]:
    """Return all modules of the package without an underscore in their path, but for those whose extra is not here."""
    found = [lorasolve]
    for info in pkgutil.walk_packages(lorasolve.__path__, "lorasolve."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            try:
                found.append(importlib.import_module(info.name))
            except ImportError as error:
                if "pip install 'lorasolve[" not in str(error):
                    raise
    return found


def public_objects() -> dict[str, Any]:
    """Return the public functions and classes by the name of their module and their own."""
    found = {}
    for module in public_modules():
        for name, value in vars(module).items():
            here = getattr(value, "__module__", None) == module.__name__
            if here and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[f"{module.__name__}.{name}"] = value
    for name in lorasolve.__all__:
        value = getattr(lorasolve, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


PUBLIC = public_objects()
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


def callables() -> dict[str, Callable[..., Any]]:
    """Return the public functions, and the public methods where they are defined."""
    found = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
    for owner, cls in CLASSES.items():
        for name, value in vars(cls).items():
            function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            if not name.startswith("_") and inspect.isfunction(function):
                found[f"{owner}.{name}"] = function
    return found


CALLABLES = callables()
VALIDATORS = {name for name, value in vars(_validate).items() if inspect.isfunction(value) and name != "shown"}
PARTS = (adapters, convex, executors, inits, objectives, optimizers, schedules)
COMPONENTS = {cls for part in PARTS for cls in part.registry.classes().values()}


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names in the signature, without that of the instance or class a method is called on."""
    names = list(inspect.signature(function).parameters)
    is_method = "." in function.__qualname__ and names[:1] in (["self"], ["cls"])
    return names[1:] if is_method else names


def refuses(function: Callable[..., Any]) -> bool:
    """Return whether a function itself raises, or asks a validator to (``as_number`` and the like)."""

    def found(node: ast.AST) -> bool:
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            return False
        if isinstance(node, ast.Raise) and node.exc is not None:
            return "NotImplementedError" not in ast.unparse(node.exc)
        called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        return called in VALIDATORS or any(map(found, ast.iter_child_nodes(node)))

    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    return any(map(found, ast.iter_child_nodes(definition)))


# ---------------------------------------------------------------------- the rules
def wrong_in_function(function: Callable[..., Any]) -> list[str]:
    """Return what is wrong with the sections of a function's docstring."""
    try:
        found = sections(function.__doc__ or "")
    except ValueError as error:
        return [str(error)]
    wrong = [f"unknown section {heading!r}" for heading in found if heading and heading not in SECTIONS]
    order = [SECTIONS.index(heading) for heading in found if heading in SECTIONS]
    if order != sorted(order):
        wrong.append(f"sections in the order {', '.join(filter(None, found))}")
    if "Parameters" in found:
        said, true = entries(found["Parameters"]), parameters(function)
        if said != true:
            wrong.append(f"Parameters says {said}, the signature {true}")
        if "Raises" not in found and refuses(function):
            wrong.append("it refuses arguments, and there is no section Raises")
    for heading in ("Returns", "Yields", "Raises"):
        if heading in found and not entries(found[heading]):
            wrong.append(f"{heading} names no type")
    for name in entries(found.get("Raises", [])):
        if not re.fullmatch(r"\w*(Error|Exception|Iteration|Warning|Interrupt|Refused|Stop|Unfit)", name):
            wrong.append(f"Raises names {name!r}")
    return wrong


def wrong_in_class(cls: type) -> list[str]:
    """Return what is wrong with the sections of a class's docstring."""
    try:
        found = sections(cls.__doc__ or "")
        said = documented(cls.__doc__, "Parameters")
        inherited = [name for base in cls.__mro__[1:] for name in documented(base.__doc__, "Parameters")]
        attributes = [name for base in cls.__mro__ for name in documented(base.__doc__, "Attributes")]
    except ValueError as error:
        return [str(error)]
    wrong = [f"unknown section {heading!r}" for heading in found if heading and heading not in SECTIONS]
    true = constructor(cls)
    listed = said + (documented(cls.__doc__, "Attributes") if is_record(cls) else [])
    invented = [name for name in said if name not in true]
    if invented:
        wrong.append(f"Parameters names {invented}, the constructor has {true}")
    if len(set(said)) != len(said):
        wrong.append(f"Parameters names something twice: {said}")
    known = {*said, *inherited, *(attributes if is_record(cls) else ())}
    missing = [name for name in true if name not in known and not name.startswith("_")]
    if missing and (listed or cls in COMPONENTS):
        wrong.append(f"not documented: {missing}")
    return wrong


def is_record(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) or issubclass(cls, tuple)


def constructor(cls: type) -> list[str]:
    """Return the names of the arguments of a class; those of a record without a constructor of its own from fields."""
    inherited_one = "__init__" not in vars(cls) or "__dataclass_params__" in vars(cls)
    if dataclasses.is_dataclass(cls) and inherited_one:
        return [field.name for field in dataclasses.fields(cls) if field.init]
    if cls.__init__ is object.__init__ or issubclass(cls, BaseException) or issubclass(cls, tuple):  # type: ignore[misc]
        return list(getattr(cls, "_fields", ()))
    taken = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    return [p.name for p in taken if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_function(name: str) -> None:
    assert wrong_in_function(CALLABLES[name]) == []


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_class(name: str) -> None:
    assert wrong_in_class(CLASSES[name]) == []


# ---------------------------------------------------------------------- the reader itself
def right(first: int, second: float = 1.0, *more: int, **options: Any) -> int:
    """Return something.

    Parameters
    ----------
    first, second : float
        Two numbers.
    *more : int
        Others.
    **options
        Passed on.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        Never.
    """
    return first


def changed(old: str, new: str) -> list[str]:
    """Return what is wrong with ``right`` after one change of its docstring."""
    text = inspect.cleandoc(right.__doc__ or "")  # Python 3.13 keeps no indentation
    assert old in text

    def twin(first: int, second: float = 1.0, *more: int, **options: Any) -> None: ...

    twin.__doc__ = text.replace(old, new)
    return wrong_in_function(twin)


def test_the_reader_accepts_what_is_right_and_names_what_is_wrong() -> None:
    assert wrong_in_function(right) == []
    true = "['first', 'second', 'more', 'options']"
    assert changed("first, second :", "first :") == [
        f"Parameters says ['first', 'more', 'options'], the signature {true}"
    ]
    assert changed("first, second", "second, first")[0].startswith("Parameters says ['second', 'first'")
    assert changed("first, second", "first, third")[0].startswith("Parameters says ['first', 'third'")
    assert changed("int\n\nRaises", "\nRaises") == ["Returns names no type"]
    assert changed("ValueError\n", "if it fails\n") == ["Raises names 'if it fails'"]
    assert changed("Returns\n-------", "Returns\n---") == ["the line under 'Returns' has another length"]
    assert changed("Returns\n-------", "Gives\n-----") == ["unknown section 'Gives'"]


def test_what_a_function_refuses_has_a_section() -> None:
    def validates(first: int) -> int:
        return _validate.as_integer(first, "first", 1)

    def raises(first: int) -> int:
        if first < 1:
            raise ValueError("first: expected a number >= 1")
        return first

    def makes_one_that_raises(first: int) -> Callable[[], None]:
        def later() -> None:
            raise ValueError(first)

        return later

    def leaves_it_open(first: int) -> int:
        raise NotImplementedError

    assert refuses(validates) and refuses(raises)
    assert not refuses(makes_one_that_raises) and not refuses(leaves_it_open)
    raises.__doc__ = "Return it.\n\nParameters\n----------\nfirst : int\n    A number.\n"
    assert wrong_in_function(raises) == ["it refuses arguments, and there is no section Raises"]
    raises.__doc__ += "\nRaises\n------\nValueError\n    If it is below 1.\n"
    assert wrong_in_function(raises) == []


def test_the_reader_names_what_a_class_leaves_out() -> None:
    @dataclasses.dataclass
    class Base:
        """A base.

        Parameters
        ----------
        a : int
            One.
        """

        a: int = 1

    @dataclasses.dataclass
    class Inherits(Base):
        """Adds nothing to ``a`` and a field that it documents.

        Parameters
        ----------
        b : int
            Two.
        """

        b: int = 2

    @dataclasses.dataclass
    class Leaves(Inherits):
        """Documents another field than the one it has.

        Parameters
        ----------
        d : int
            Four.
        """

        c: int = 3

    assert wrong_in_class(Base) == wrong_in_class(Inherits) == []
    assert wrong_in_class(Leaves) == [
        "Parameters names ['d'], the constructor has ['a', 'b', 'c']",
        "not documented: ['c']",
    ]


def test_everything_public_is_read() -> None:
    assert {lorasolve.solve, lorasolve.Problem.value, lorasolve.adapters.DoRA.update} <= set(CALLABLES.values())
    assert set(CLASSES.values()) >= COMPONENTS | {lorasolve.Problem, lorasolve.Result, lorasolve.StoppingRule}


def _modules_with_examples() -> list[str]:
    names = [module.name for module in pkgutil.walk_packages(lorasolve.__path__, "lorasolve.")]
    specs = {name: importlib.util.find_spec(name) for name in names}
    return [name for name, spec in specs.items() if spec and ">>> " in pathlib.Path(spec.origin or "").read_text()]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_print_what_they_say(name) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed
