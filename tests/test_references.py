"""Cross-references in docstrings lead somewhere: Sphinx shows the others as plain text, and says nothing."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import runpy
from collections.abc import Iterable, Iterator
from typing import Any

import lorasolve

ROLE = re.compile(r":(?:py:)?(func|class|meth|mod|attr|data|exc|obj):`([^`]*)`")
DOCS = pathlib.Path(__file__).parent.parent / "docs"
MODULES = ["lorasolve", *(found.name for found in pkgutil.walk_packages(lorasolve.__path__, "lorasolve."))]


def meant(text: str | None, places: Iterable[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the role of each reference, what it says, and the names that it may stand for, as for Sphinx.

    That is the name itself, or one in the class or module around it; ``~`` is for display.
    """
    for role, given in ROLE.findall(text or ""):
        name = re.sub(r".*<(.+)>", r"\1", given).removeprefix("~")
        yield role, given, [name, *(f"{place}.{name}" for place in places)]


# ---------------------------------------------------------------------- in the sources
def docstrings(tree: ast.AST, scope: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Yield the docstrings in a tree, each with the names of the classes around it."""
    if isinstance(tree, ast.ClassDef):
        scope = (*scope, tree.name)
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef):
        yield scope, ast.get_docstring(tree)
    for node in ast.iter_child_nodes(tree):
        yield from docstrings(node, scope)


def reached(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            return within(importlib.import_module(".".join(parts[:k])), parts[k:])
        except ImportError:
            continue
    return False


def within(owner: Any, path: list[str]) -> bool:
    """Whether attributes lead on from an object; those that a class gives its instances count."""
    if not path or hasattr(owner, path[0]):
        return not path or within(getattr(owner, path[0]), path[1:])
    return len(path) == 1 and inspect.isclass(owner) and any(path[0] in stated(base) for base in owner.__mro__[:-1])


def stated(cls: type) -> set[str]:
    """Return the attributes that a class annotates, or assigns to ``self``."""
    return {*vars(cls).get("__annotations__", {}), *re.findall(r"self\.(\w+)\b[^=\n]* = ", inspect.getsource(cls))}


def lost(module: str, source: str) -> list[str]:
    """Return the references of a module that lead nowhere; the folder shows what is defined in its files."""
    found = []
    for scope, text in docstrings(ast.parse(source)):
        around = [".".join((module, *scope[:k])) for k in range(len(scope) + 1)]
        for _, given, names in meant(text, [*around, module.rpartition(".")[0] or module]):
            found += [] if any(map(reached, names)) else [f"{module}: {given}"]
    return found


def test_every_reference_names_what_there_is() -> None:
    sources = {name: pathlib.Path(importlib.util.find_spec(name).origin).read_text() for name in MODULES}
    assert [text for name, source in sources.items() for text in lost(name, source)] == []


def test_a_lost_reference_is_seen() -> None:
    found = '"""See :func:`certify` and :class:`~lorasolve.Problem`."""\nclass Certificate:\n    """:attr:`gap`"""'
    assert lost("lorasolve.certificates.gap", found) == []
    assert lost("lorasolve.certificates.gap", found.replace("certify", "certified")) == [
        "lorasolve.certificates.gap: certified"
    ]


# ---------------------------------------------------------------------- on the site
def members(cls: type) -> dict[str, str | None]:
    """Return the docstrings of the methods and properties that the reference shows of a class."""
    public = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
    return {name: inspect.getdoc(value) for name, value in public.items() if hasattr(value, "__get__")}


def test_the_reference_leads_to_what_it_shows() -> None:
    """A name that is shown under another one, as ``lorasolve.verdict`` for that of the folder, is no target."""
    api = runpy.run_path(str(DOCS / "reference.py"))["api"]()
    shown = {}
    for name in re.findall(r"auto(?:class|function):: (\S+)", api):
        module, _, own = name.rpartition(".")
        value = getattr(importlib.import_module(module), own)
        shown[name] = (value.__doc__, [module])
        if inspect.isclass(value):
            shown[name] = (value.__doc__, [module, name])
            shown |= {f"{name}.{key}": (text, [module, name]) for key, text in members(value).items()}
    assert [
        f"{name}: {given}"
        for name, (text, places) in shown.items()
        for role, given, names in meant(text, places)
        if role != "mod" and shown.keys().isdisjoint(names)
    ] == []
