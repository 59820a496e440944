"""Completion in a shell: ``eval "$(register-python-argcomplete lorasolve)"``, with the extra ``completion``."""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from .commands import registry
from .commands.list import KINDS, registry_of


def _of(kind: str) -> Callable[[], Iterable[str]]:
    return lambda: registry_of(kind).classes()


def _optimizers_of_trainers() -> Iterable[str]:
    from .peft_files.decay import OPTIMIZERS

    return OPTIMIZERS


def _experiments() -> Iterable[str]:
    from .commands.reproduce import names_by_word

    return names_by_word()


def _theorems() -> Iterable[str]:
    """Return what ``discover`` finds, by the sources: importing them, and SymPy, takes a second."""
    import proofs

    files = [path for folder in proofs.__path__ for path in pathlib.Path(folder).glob("[!_]*.py")]
    return sorted(path.stem for path in files if "\nTHEOREM = " in path.read_text(encoding="utf-8"))


# The names that an option takes in all commands, or an argument in one; looked up, and imported, when they are wanted.
_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "--adapter": _of("adapters"),
    "--backend": _of("executors"),
    "--init": _of("inits"),
    "--method": _of("optimizers"),
    "--methods": lambda: ["all", *_of("optimizers")()],
    "--objective": _of("objectives"),
    "--route": lambda: ["auto", *_of("convex")()],
    "attack target": _of("attacks"),
    "explain --optimizer": _optimizers_of_trainers,
    "list kind": lambda: KINDS,
    "prove names": _theorems,
    "reproduce names": _experiments,
}
# Those in whose place, or after which, a file may stand.
_OR_FILES = ("--objective", "prove names")


def parser(line: str) -> argparse.ArgumentParser:
    """Return one parser of all commands, which completes but never parses.

    Each key pressed builds it anew: only commands that stand in the line declare their arguments.
    """
    words = line.split()
    whole = argparse.ArgumentParser(prog="lorasolve")
    commands = whole.add_subparsers()
    for name, command in registry.classes().items():
        made = commands.add_parser(name, help=command.summary)
        if name not in words:
            continue
        command().add_arguments(made)
        for action in made._actions:
            argument = action.option_strings[-1] if action.option_strings else action.dest
            for key in (argument, f"{name} {argument}"):
                if key in _NAMES:
                    action.completer = _completer(key)  # type: ignore[attr-defined]
    return whole


def _completer(key: str) -> Callable[..., list[str]]:
    def complete(prefix: str, **_: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        return [*_NAMES[key](), *(FilesCompleter()(prefix) if key in _OR_FILES else ())]

    return complete


def complete() -> None:
    """Answer a shell that asks for completions, and end the process; nothing where argcomplete is not installed."""
    with contextlib.suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser(os.environ.get("COMP_LINE", "")))
