"""Values as text: components in a line, ``name:key=value,key=value``, numbers, bounds, and what JSON can hold."""

from __future__ import annotations

import ast
import math
import numbers
import re
from collections.abc import Iterator
from dataclasses import fields
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any

import numpy as np

from .digest import digest

# A text setting of this form needs no quotes, unless it reads as something else ("None").
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def marked_parts(text: str, marks: str) -> Iterator[tuple[str, str]]:
    """Split a text before each of the marks that stands outside brackets, quotes and numbers such as ``1e+20``.

    Yields pairs of the mark and what follows it, spaces at the ends left out; the first mark is empty.
    """
    depth, quote, mark, start = 0, "", "", 0
    escaped = False
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and not escaped else quote
            escaped = letter == "\\" and not escaped
        elif letter in "'\"":
            quote = letter
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif depth == 0 and letter in marks and not _is_in_exponent(text, position):
            yield mark, text[start:position].strip()
            mark, start = letter, position + 1
    yield mark, text[start:].strip()


def _is_in_exponent(text: str, position: int) -> bool:
    """Return whether a letter is the sign in the exponent of a value."""
    return bool(re.search(r"=\s*-?[\d._]+[eE]$", text[:position]) and re.match(r"\+\d", text[position:]))


def parse_value(text: str) -> Any:
    """Return a number, True, False, None, a tuple or a quoted text as what it is, and anything else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text  # whether the setting takes one is for the component to say


def value_text(value: Any) -> str:
    """Return a setting as text that :func:`parse_value` reads back as an equal value, without a ``+``.

    Of what no text says, such as an array, it is the class and a digest of the content, where that can be read.
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value) and parse_value(value) == value:
        return value
    return _literal(value)


def _literal(value: Any) -> str:
    if type(value) in (tuple, list):
        inner = ",".join(_literal(entry) for entry in value)
        if type(value) is list:
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if not _is_written(value):
        return f"<{type(value).__name__}{_mark(value)}>"
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, (bool, np.bool_)):
        return repr(bool(value))
    if isinstance(value, numbers.Integral):
        return repr(int(value))
    if isinstance(value, numbers.Real):
        return repr(float(value)).replace("e+", "e").replace("inf", "1e999")
    return repr(value)


def _is_written(value: Any) -> bool:
    """Whether the text of a value says all of it: numbers, texts, truth values, None and collections of them."""
    if type(value) in (tuple, list):
        return all(map(_is_written, value))
    if type(value) is dict:
        return all(_is_written(part) for entry in value.items() for part in entry)
    return value is None or isinstance(value, (str, bytes, range, np.bool_, numbers.Number))


def _mark(value: Any) -> str:
    try:
        return f" {digest(value)}"
    except TypeError:
        # What is shown must not fail; keys of runs ask for the content of unwritten settings themselves.
        return ""


def component_text(component: Any) -> str:
    """Return the name of a component with the settings that differ from their defaults."""
    settings = [f"{name}={value_text(value)}" for name, value in _given(component)]
    return f"{component.name}:{','.join(settings)}" if settings else str(component.name)


def unwritten(component: Any) -> dict[str, Any]:
    """Return the settings of which the text of a component says no more than a digest."""
    return {name: value for name, value in _given(component) if not _is_written(value)}


def _given(component: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings that differ from their defaults."""
    for entry in fields(component):
        value = getattr(component, entry.name)
        if entry.init and not _is_default(value, entry):
            yield entry.name, value


def _is_default(value: Any, entry: Any) -> bool:
    # A class of a script reaches workers with copies of what dataclasses put where there is no factory.
    default = entry.default_factory() if callable(entry.default_factory) else entry.default
    if _is_written(value) and _is_written(default):
        return bool(value == default)
    mark = _mark(value)
    return value is default or (mark != "" and mark == _mark(default))


def number(value: float, form: str) -> str:
    """Return a number in a format of Python, zero without a sign."""
    return format(value + 0.0, form)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def at_most(value: float, form: str) -> str:
    """Return an upper bound in a format such as ".3g" or ".1e", of 15 digits at most, rounded up: the text is one."""
    return _rounded(value, form, ROUND_CEILING)


def gap_text(gap: float) -> str:
    """Return a certified gap with two digits, rounded up, and 0 as what it is."""
    return at_most(gap, ".1e") if gap else "0"


def at_least(value: float, form: str) -> str:
    """Return a lower bound in such a format, rounded down."""
    return _rounded(value, form, ROUND_FLOOR)


def _rounded(value: float, form: str, rounding: str) -> str:
    digits = int(form[1:-1]) + (form[-1] == "e")
    return number(float(Context(digits, rounding).create_decimal(value)), form)


def for_json(value: Any) -> Any:
    """Return what JSON can hold: NumPy values as plain ones, numbers that it cannot hold as None.

    Raises
    ------
    ValueError
        For a dict of which two keys are one text.
    """
    if isinstance(value, dict):
        found = {str(key): for_json(entry) for key, entry in value.items()}
        if len(found) < len(value):
            raise ValueError(f"expected keys that differ as texts, got {', '.join(map(repr, value))}")
        return found
    if isinstance(value, (list, tuple)):
        return [for_json(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return for_json(value.tolist())
    if isinstance(value, np.longdouble):
        return for_json(float(value))
    if isinstance(value, np.clongdouble):
        return complex(value)
    if isinstance(value, (np.number, np.bool_, np.str_)):
        return for_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
