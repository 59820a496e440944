"""A theorem: one runnable module with a docstring of fixed sections and a list of checks."""

from __future__ import annotations

import importlib
import pkgutil
import re
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import ModuleType

from lorasolve.symbolic.checks import Check
from lorasolve.symbolic.example_checks import Exact, Sampled
from lorasolve.symbolic.matrix_checks import Identity, Inequality, SumOfSquares, idle
from lorasolve.symbolic.scalar_checks import ScalarCheck

from .._support.validate import as_instance, as_iterable, shown

SECTIONS = ("Statement", "Assumptions", "Source", "Idea", "Checks", "Used by")

KINDS = (Identity, Inequality, SumOfSquares, ScalarCheck, Exact, Sampled)

_CHECK_LINE = re.compile(r"^(?P<name>\w+) : (?P<strength>(PROVED|VERIFIED|SAMPLED).*)$")


# The package of the theorems is installed beside this one.
_TEMPLATE = Path(__file__).parents[2] / "proofs" / "_template.py"


class DocumentationError(ValueError):
    """A theorem module's docstring does not follow the fixed sections."""


@dataclass(frozen=True)
class Theorem:
    """A statement with its machine checks.

    Parameters
    ----------
    doc
        The module's docstring: a title line, then the sections Statement, Assumptions, Source, Idea, Checks and
        Used by, each underlined. The section Checks has one line ``name : STRENGTH`` for each check.
    checks
        The checks, in the order of the argument.
    uses
        Other theorems whose checks are used here.
    prose
        What of the statement no check shows, such as the existence of a decomposition or a limit, each with the checks
        that stand beside it. Empty if there is nothing; None, the default, if that is not said.
    """

    doc: str
    checks: Sequence[Check]
    uses: Sequence[Theorem] = ()
    prose: Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        """Refuse parts that are of another kind, and keep them: they are gone through more than once."""
        for name, kind in (("checks", Check), ("uses", Theorem)):
            parts = tuple(as_iterable(getattr(self, name), name))
            for k, part in enumerate(parts):
                as_instance(part, f"{name}[{k}]", kind)
            object.__setattr__(self, name, parts)
        for says, beside in as_instance({} if self.prose is None else self.prose, "prose", Mapping).items():
            as_iterable(beside, f"prose[{says!r}]")

    @property
    def known_checks(self) -> list[Check]:
        """The checks of this theorem and of those it uses."""
        return [*self.checks, *(check for theorem in self.uses for check in theorem.known_checks)]

    @property
    def title(self) -> str:
        """The first line of the docstring."""
        return self.doc.strip().splitlines()[0].rstrip(".")

    @property
    def sections(self) -> dict[str, str]:
        """The text of each section.

        Raises
        ------
        DocumentationError
            If a section is missing, empty or out of order.
        """
        parts = re.split(r"^(.+)\n-{3,}\n", dedent(self.doc), flags=re.MULTILINE)
        names = tuple(name.strip() for name in parts[1::2])
        if names != SECTIONS:
            raise DocumentationError(f"the sections must be {', '.join(SECTIONS)}; found {', '.join(names) or 'none'}")
        texts = {name: text.strip() for name, text in zip(names, parts[2::2], strict=True)}
        empty = [name for name, text in texts.items() if not text]
        if empty:
            raise DocumentationError(f"empty section {empty[0]}")
        return texts

    @property
    def documented_strengths(self) -> dict[str, str]:
        """What the docstring says about each check."""
        lines = (_CHECK_LINE.match(line) for line in self.sections["Checks"].splitlines())
        return {match["name"]: match["strength"] for match in lines if match}

    @property
    def users(self) -> list[str]:
        """The package files that rely on the theorem."""
        return re.findall(r"[\w/]+\.py", self.sections["Used by"])

    def inconsistencies(self) -> list[str]:
        """Return what is wrong with the module itself: its documentation and the choice of its mutants."""
        try:
            documented = self.documented_strengths
        except DocumentationError as error:
            return [str(error)]
        found = []
        actual = {check.name: check.strength for check in self.checks}
        if len(actual) != len(self.checks):
            found.append("two checks have the same name")
        for name in sorted(documented.keys() | actual.keys()):
            if name not in actual:
                found.append(f"check {name}: documented under Checks, and no check has this name")
            elif name not in documented:
                found.append(f"check {name}: a line under Checks is missing, {name} : {actual[name]}")
            elif documented[name] != actual[name]:
                found.append(f"check {name}: documented {documented[name]!r}, is {actual[name]!r}")
        if not self.checks:
            found.append("the theorem has no checks")
        for says, beside in (self.prose or {}).items():
            if not beside or not set(beside) <= actual.keys():
                found.append(f"prose {says!r}: needs the names of checks of this theorem beside which it stands")
        for check in self.checks:
            if type(check) not in KINDS:
                found.append(f"check {check.name}: {foreign(check)}")
            if not any(twin.of_statement for twin in check.mutants):
                found.append(f"check {check.name}: needs a mutant that edits the statement and nothing else")
            if len({twin.kind for twin in check.mutants}) < 2:
                found.append(f"check {check.name}: needs mutants of at least two kinds")
            found.extend(f"check {check.name}: no step of its proof needs {name}: leave it out" for name in idle(check))
        return found


def foreign(check: Check) -> str:
    """Return what is said of a check of a kind that is none of :data:`KINDS`."""
    return f"{type(check).__name__} is not a kind of check of this package"


def load(path: Path) -> Theorem:
    """Return the theorem that a Python file defines as ``THEOREM``, wherever the file is.

    It may import files beside it, of theorems that it uses, say, as one that Python runs.

    Raises
    ------
    ValueError
        If the file cannot be read, does not run, or defines no theorem.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with _beside(path.resolve().parent):
            found = runpy.run_path(str(path)).get("THEOREM")
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path}: does not run: {type(error).__name__}: {error}") from error
    if not isinstance(found, Theorem):
        raise ValueError(f"{path}: defines no THEOREM; {_TEMPLATE} does")
    if not isinstance(found.doc, str) or not found.doc.strip():
        wanted = "the docstring of the file, a title and sections"
        raise ValueError(f"{path}: THEOREM: doc: expected {wanted}, got {shown(found.doc)}")
    return found


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let files of a folder be imported, and forget them afterwards: those of another folder may have their names."""
    known, path = set(sys.modules), [*sys.path]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            top = name.partition(".")[0]
            file = getattr(sys.modules[name], "__file__", None)
            # Not what is installed in a folder of this folder.
            if top not in known and file and folder / top in (Path(file).with_suffix(""), *Path(file).parents):
                del sys.modules[name]


def discover(package: ModuleType) -> dict[str, Theorem]:
    """Return the theorems that the modules of a package define as ``THEOREM``, by module name, in its order."""
    found: dict[str, Theorem] = {}
    if not hasattr(as_instance(package, "package", ModuleType), "__path__"):
        raise TypeError(f"package: expected a package, got the module {package.__name__!r}")
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if not info.name.startswith("_"):
            theorem = getattr(importlib.import_module(f"{package.__name__}.{info.name}"), "THEOREM", None)
            if isinstance(theorem, Theorem):
                found[info.name] = theorem
    return found
