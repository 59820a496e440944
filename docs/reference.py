"""Pages made from the package itself, so that none of them can be out of date.

``generated/api.rst`` lists every public name, ``generated/components.md`` what each folder of components holds,
``generated/commands.md`` every command's help, ``generated/messages.md`` every status and exit code.
"""

from __future__ import annotations

import importlib
import inspect
import pathlib

from lorasolve.commands import registry as commands
from lorasolve.commands.base import EXIT_CODES
from lorasolve.commands.list import KINDS, registry_of
from lorasolve.status import Status

# Public modules in the order of the reference, in which the folders of components follow them. The estimators have a
# page by hand, howto/sklearn.md: what they inherit refers to scikit-learn's own pages.
MODULES = (
    "lorasolve",
    "lorasolve.certificates",
    "lorasolve.comparison",
    "lorasolve.landscape",
    "lorasolve.landscape.instances",
    "lorasolve.multi",
    "lorasolve.networks",
    "lorasolve.peft_files",
    "lorasolve.studies",
    "lorasolve.models",
    "lorasolve.tables",
    "lorasolve.io",
    "lorasolve.plotting",
    "lorasolve.symbolic",
    "lorasolve.tasks",
    "lorasolve.checks",
    "lorasolve.papers",
    "lorasolve.commands",
)


def public_names(name: str) -> list[str]:
    """Return the public names that a module defines or re-exports, its submodules left out."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    if listed is None:
        own = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == name]
        listed = [n for n in own if not n.startswith("_")]
    names = []
    for entry in sorted(listed):
        try:
            value = getattr(module, entry)
        except ImportError:
            continue  # an extra that is not installed here
        if inspect.isclass(value) or inspect.isroutine(value):
            names.append(entry)
    return names


def components_of(name: str) -> list[str]:
    """Return the names of the classes that a folder of components has as attributes, none for another module."""
    kind = name.rpartition(".")[2]
    # A target of attacks has no name in Python: it is called by a text.
    classes = {} if kind not in KINDS or name == "lorasolve.attacks" else registry_of(kind).classes()
    return [value.__name__ for value in classes.values()]


def _heading(text: str, mark: str) -> list[str]:
    return [text, mark * len(text), ""]


def api() -> str:
    """Return the page of all public names, with their docstrings."""
    lines = _heading("Reference", "=")
    shown: list[object] = []
    for name in (*MODULES, *(f"lorasolve.{kind}" for kind in KINDS)):
        lines += _heading(name, "-")
        document = inspect.getdoc(importlib.import_module(name)) or ""
        lines += [document.split("\n\n")[0].replace("\n", " "), ""]
        for entry in [*public_names(name), *components_of(name)]:
            value = getattr(importlib.import_module(name), entry)
            if any(value is other for other in shown):
                continue  # under its shorter name already
            shown.append(value)
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            lines += [f".. {kind}:: {name}.{entry}"]
            lines += ["   :members:", ""] if kind == "autoclass" else [""]
    return "\n".join(lines)


def components() -> str:
    """Return the page of what each folder of components holds."""
    lines = ["# Components", "", "What a name in a method, a problem or a command may be (`lorasolve list`).", ""]
    for name in KINDS:
        registry = registry_of(name)
        lines += [f"## {name}", "", "| name | what it is |", "|---|---|"]
        for key, kind in registry.classes().items():
            lines.append(f"| `{key}` | {kind.summary.replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def command_pages() -> str:
    """Return the page of all commands with their help."""
    lines = ["# Commands", ""]
    for name, command in commands.classes().items():
        lines += [f"## {name}", "", "```text", command().parser().format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def messages() -> str:
    """Return the page of statuses and exit codes."""
    lines = ["# Messages and their cure", "", "## Why a run stopped", ""]
    lines += ["| status | code | what it says, and what to do |", "|---|---|---|"]
    lines += [f"| {status.label} | {status.code} | {status.advice} |" for status in Status]
    lines += ["", "## Exit codes of commands", "", "```text", *EXIT_CODES.splitlines()[1:], "```", ""]
    handwritten = pathlib.Path(__file__).with_name("errors.part.md")
    return "\n".join(lines) + handwritten.read_text()


def write(folder: pathlib.Path) -> None:
    """Write all pages; a page that has not changed is left alone."""
    folder.mkdir(exist_ok=True)
    pages = {"api.rst": api(), "components.md": components(), "commands.md": command_pages(), "messages.md": messages()}
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
