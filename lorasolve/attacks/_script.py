"""Reproductions: the source of a judge and of what it uses, one instance in exact numbers, one call."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import math
import sys
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

PACKAGE = __name__.rpartition(".")[0]

# A number with a longer decimal form is written in hexadecimal, digit for digit what is stored.
DECIMALS = 8

# Between the rows of a matrix.
ROWS = ",\n        "


def write_script(
    judge: Callable[..., dict[str, str] | None],
    target: Any,
    text: str,
    claim: str,
    evidence: str,
    instance: dict[str, Any],
) -> str:
    """Return a script that exits with 1 as long as a claim fails on an instance.

    Parameters
    ----------
    judge : callable
        ``judge(target, **instance)`` returns the claims that fail, or None outside of their assumptions.
    target : callable or str
        What is judged: something that can be imported, or a text.
    text : str
        What the target is called.
    claim, evidence : str
        What fails, and how it was seen to.
    instance : dict
        The arguments of the judge.
    """
    parts = _Parts()
    parts.take(judge)
    expression = repr(target)
    if callable(target):
        parts.imports.add(f"from {target.__module__} import {target.__qualname__}")
        expression = target.__qualname__
    arguments = "".join(f"    {name}={literal(value)},\n" for name, value in instance.items())
    if "fromhex(" in arguments:
        parts.constants["fromhex"] = "float.fromhex"
    constants = "\n".join(f"{name} = {value}" for name, value in sorted(parts.constants.items()))
    head, seen = (_documented(words) for words in (f"{text}: false: {claim}.", f"Seen: {evidence}"))
    return "\n".join(
        [
            f'"""{head}\n\n{seen}\nExits with 1 as long as it fails, with 0 once it holds.\n"""',
            "",
            "from __future__ import annotations",
            "",
            *sorted(parts.imports, key=lambda line: (line.startswith("from"), line)),
            "",
            *([constants, ""] if constants else []),
            "",
            "\n\n".join(reversed(parts.sources)),
            "",
            f"failures = {judge.__name__}(\n    {expression},\n{arguments}) or {{}}",
            "for claim, evidence in failures.items():",
            '    print(f"FALSE: {claim}: {evidence}")',
            f"raise SystemExit({claim!r} in failures)",
            "",
        ]
    )


def _documented(words: str) -> str:
    """Return words, a message of a target among them, in lines that a docstring can hold."""
    lines = textwrap.fill(words, 116)
    # As what it would be written as: a docstring holds no half of a surrogate pair from Python 3.13 on.
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in lines)
    return shown.replace("\\", "\\\\").replace('"""', r"\"\"\"")


def replay(script: str) -> str | None:
    """Run a script here, in a namespace of its own, and return what it ended with: None if all is well.

    Otherwise ``"exit"``, or an exception as ``"raised Name: message"``.
    """
    with contextlib.redirect_stdout(io.StringIO()), quiet():
        try:
            exec(compile(script, "<reproduction>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            return "exit" if end.code else None
        except Exception as error:
            return in_words(error)
    return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show no warnings: extreme numbers overflow, and that is not what is looked for."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def in_words(error: Exception) -> str:
    """Return name and message of an exception."""
    return f"raised {type(error).__name__}: {error}"


def literal(value: Any) -> str:
    """Return a value as source text that gives it back exactly."""
    if isinstance(value, bool) or not isinstance(value, (float, list)):
        return repr(value)
    if isinstance(value, float):
        text = repr(value)
        if not math.isfinite(value):
            return f'float("{value}")'
        return text if len(text) <= DECIMALS else f'fromhex("{value.hex()}")'
    rows = any(isinstance(entry, list) for entry in value)
    return f"[{(', ' if not rows else ROWS).join(map(literal, value))}]"


class _Parts:
    """What a function needs in order to run alone."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}
        self.sources: list[str] = []
        self._seen: set[Any] = set()

    def take(self, part: Any) -> None:
        """Take the source of a function or class from here, and of what it uses."""
        if part in self._seen:
            return
        self._seen.add(part)
        self.sources.append(inspect.getsource(part))
        for name, value in _used(part):
            if isinstance(value, types.ModuleType):
                suffix = "" if name == value.__name__ else f" as {name}"
                self.imports.add(f"import {value.__name__}{suffix}")
            elif not hasattr(value, "__module__"):
                self.constants[name] = literal(value)
            elif value.__module__.startswith(f"{PACKAGE}."):
                self.take(value)
            else:
                self.imports.add(f"from {value.__module__} import {value.__name__}")


def _used(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield the module-level names that a function or class refers to outside of annotations, and their values."""
    known = vars(sys.modules[part.__module__])
    for name in dict.fromkeys(_names(ast.parse(inspect.getsource(part)))):
        if name in known:
            yield name, known[name]


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    for key, value in ast.iter_fields(node):
        if key not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _names(child)
