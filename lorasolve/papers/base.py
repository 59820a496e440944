"""What an experiment is: independent cells of work, and the table, claims and figure made of their results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from .._support.text import for_json
from .._support.validate import Array, as_choice, as_flag, as_instance, as_text
from ..plotting import COLOURS as COLOURS
from ..tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = dict[str, Any]
Record = dict[str, Any]
# By name: a list of values, of which each makes cells, or one value that all cells share.
Axes = dict[str, Any]

# What axes are that several experiments have, by the names of their options.
_MEANINGS = {
    "calls": "evaluations of the loss in a run, at most",
    "iterations": "iterations of a run",
    "lam": "weight decays",
    "last": "how many layers are adapted, from the last one",
    "max_iter": "iterations of a run, at most",
    "objective": "losses",
    "r": "LoRA ranks",
    "r_star": "ranks of the minimizer",
    "runs": "runs from different starts in each cell",
    "samples": "random directions for the constants",
    "scale": "sizes of the starts",
    "second": "whether a negative curvature is looked for: true or false",
    "seed": "seeds",
    "seeds": "how many seeds, from 0",
    "sentences": "how many sentences to train on",
    "start": "starts",
    "starts": "random starts of each problem",
    "steps": "step sizes",
    "times": "multiples of the boundary",
}

ClaimStatus = Literal["confirmed", "holds with correction", "not at matrix scale"]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and its fate.

    Attributes
    ----------
    statement : str
        What is claimed, with the correction where there is one.
    expected : {"confirmed", "holds with correction", "not at matrix scale"}
        What the measurement shows if ``holds``.
    measured : str
        The numbers.
    holds : bool
        The outcome of the check on the measured numbers.
    """

    statement: str
    expected: ClaimStatus
    measured: str
    holds: bool

    def __post_init__(self) -> None:
        claim = f"claim {as_text(self.statement, 'claim')!r}"
        as_choice(self.expected, f"{claim}: expected", get_args(ClaimStatus))
        as_text(self.measured, f"{claim}: measured")
        object.__setattr__(self, "holds", as_flag(self.holds, f"{claim}: holds"))

    @property
    def status(self) -> str:
        """What is expected of the claim if it holds, and "NOT REPRODUCED" if it does not."""
        return self.expected if self.holds else "NOT REPRODUCED"

    def __str__(self) -> str:
        return f"[{self.status}] {self.statement}\n    measured: {self.measured}"

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as plain data."""
        found = {"statement": self.statement, "status": self.status, "measured": self.measured, "holds": self.holds}
        return dict(for_json(found))


class Experiment:
    """Base class of all experiments, found by this folder.

    A cell is a JSON-ready dict of settings, seeds included; ``run`` turns it into a JSON-ready dict of results, which
    a store of :mod:`lorasolve.studies` keeps. A record is a cell and its results in one dict. Every axis is an option
    of ``lorasolve reproduce``.

    Attributes
    ----------
    name, summary, seeds : str
        What it is called, what it shows, and which seeds it uses.
    paper : str
        The paper whose statements it is about.
    size : tuple of float or None
        Width and height of its figure in inches; None if it has no figure.
    axis_meanings : dict
        What its axes are, by the names of their options, where no other experiment has them or they are another thing
        there; the help shows it.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    seeds: ClassVar[str] = ""
    paper: ClassVar[str] = "LoRA Training Provably Converges (arXiv 2502.09376), and beyond"
    size: ClassVar[tuple[float, float] | None] = None
    axis_meanings: ClassVar[dict[str, str]] = {}

    def missing(self) -> str | None:
        """Return what the experiment needs beyond the default install and does not find, or None."""
        return None

    @classmethod
    def page(cls) -> str:
        """Return what the page of its paper is called; the experiments of the main paper share one."""
        return "main_paper"

    @classmethod
    def meaning(cls, name: str) -> str:
        """Return what an axis is, by the name of its option."""
        return cls.axis_meanings.get(name) or _MEANINGS.get(name, name)

    def axes(self, quick: bool) -> Axes:
        """Return the values of each axis, fewer or smaller ones for a quick run."""
        raise self._lacks("axes(quick)")

    def fits(self, cell: Cell) -> bool:
        """Whether values of several axes go together; all do by default."""
        return True

    def cells(self, axes: Mapping[str, Any]) -> list[Cell]:
        """Return the product of the axes, the last one fastest."""
        listed = [value if isinstance(value, list) else [value] for value in axes.values()]
        cells = [dict(zip(axes, values)) for values in itertools.product(*listed)]
        return [cell for cell in cells if self.fits(cell)]

    def run(self, cell: Cell) -> Record:
        """Do one cell's work."""
        raise self._lacks("run(cell)")

    def table(self, records: list[Record]) -> str:
        """Return the results as text."""
        raise self._lacks("table(records)")

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return the paper's claims held against the results; none by default."""
        return []

    def own(self, records: list[Record], *names: str) -> list[Record]:
        """Return the records at the experiment's own values of some axes: claims in numbers speak of no others."""
        known = {name: [*self.axes(False)[name], *self.axes(True)[name]] for name in names}
        return [record for record in records if all(record[name] in values for name, values in known.items())]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw the results; called where there is a ``size``."""
        raise self._lacks("draw(records, figure)")

    def _lacks(self, method: str) -> TypeError:
        return TypeError(f"{type(self).__name__} does not define {method}")


class PaperClaims(Experiment):
    """Base class of the claims of a paper: some parts measure, and the claims are held against all of them.

    Attributes
    ----------
    parts : dict
        Functions by name; each is one cell of work and returns numbers, lists or dicts that JSON can hold. Numbers
        that are infinite or undefined are stored as null and come back as nan, which fulfils no comparison.
    """

    parts: ClassVar[dict[str, Callable[..., Any]]] = {}

    @classmethod
    def page(cls) -> str:
        """Return the name: a page for each paper."""
        return cls.name

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return the keyword arguments of each part, smaller ones for a quick run; none by default."""
        return {}

    def _settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return the settings, which have to be of parts that there are."""
        name = f"{self.name}: settings({quick})"
        settings = as_instance(self.settings(quick), name, dict)
        for part in settings:
            as_choice(part, name, as_instance(self.parts, f"{self.name}: parts", dict))
        return settings

    def report(self, found: dict[str, Any]) -> str:
        """Return what the parts found as text, by the parts' names."""
        raise self._lacks("report(found)")

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        raise self._lacks("judge(found)")

    def axes(self, quick: bool) -> Axes:
        """Return the settings that a quick run makes smaller, as ``part.name``; the others belong to the claims."""
        quickly, fully = self._settings(True), self._settings(False)
        if _names(quickly) != _names(fully):
            raise ValueError(
                f"{self.name}: expected settings(True) and settings(False) with the same names, got {_names(quickly)} "
                f"and {_names(fully)}"
            )
        found = quickly if quick else fully
        return {
            f"{part}.{name}": value
            for part, settings in found.items()
            for name, value in settings.items()
            if quickly[part][name] != fully[part][name]
        }

    def cells(self, axes: Mapping[str, Any]) -> list[Cell]:
        """Return one cell a part."""
        if not self.parts:
            raise self._lacks("parts")
        settings = self._settings(False)
        for key, value in axes.items():
            part, _, name = key.partition(".")
            settings[part][name] = value
        return [{"part": name} | settings.get(name, {}) for name in self.parts]

    def run(self, cell: Cell) -> Record:
        """Measure one part."""
        settings = {key: value for key, value in cell.items() if key != "part"}
        return {"found": self.parts[cell["part"]](**settings)}

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw what the parts found; called where there is a ``size``."""
        raise self._lacks("picture(found, figure)")

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw what the parts found."""
        self.picture(_found(records), figure)

    def table(self, records: list[Record]) -> str:
        """Return what the parts found as text."""
        return self.report(_found(records))

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return the claims beside what was measured."""
        return self.judge(_found(records))


def _names(settings: dict[str, dict[str, Any]]) -> list[str]:
    return sorted(f"{part}.{name}" for part, values in settings.items() for name in values)


def _found(records: list[Record]) -> dict[str, Any]:
    return {record["part"]: _with_nan(record["found"]) for record in records}


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_nan(entry) for entry in value]
    return math.nan if value is None else value


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """Return aligned columns, the first one to the left."""
    return aligned([header, *rows], [True] + [False] * (len(header) - 1))


def mean_and_error(values: ArrayLike, digits: int = 3) -> str:
    """Return the mean and its standard error as text, ``0.582 +- 0.112``; one value alone has none."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 1:
        return f"{float(numbers[0]):z.{digits}f}"
    return f"{float(np.mean(numbers)):z.{digits}f} +- {float(standard_error(numbers)):.{digits}f}"


def standard_error(values: ArrayLike, axis: int = 0) -> Array:
    """Return the standard errors of the means along an axis, nan where there is one value alone."""
    numbers = np.asarray(values, dtype=np.float64)
    count = numbers.shape[axis]
    if count == 1:
        return np.full(np.mean(numbers, axis=axis).shape, np.nan)
    return np.asarray(np.std(numbers, axis=axis, ddof=1) / math.sqrt(count))


def is_above_zero(values: ArrayLike) -> bool:
    """Return whether a mean is above zero by two standard errors, as claims want it; not if a value is undefined."""
    numbers = np.asarray(values, dtype=np.float64)
    return bool(np.mean(numbers) > 2.0 * standard_error(numbers))


def largest(values: ArrayLike) -> float:
    """Return the largest value, nan if one is undefined: ``max`` passes over those that are not the first."""
    return float(np.max(np.asarray(values, dtype=np.float64)))


def least(values: ArrayLike) -> float:
    """Return the least value, nan if one is undefined."""
    return float(np.min(np.asarray(values, dtype=np.float64)))


def first_seeds(full: int, quick: int) -> str:
    """Return the seeds from 0 on of a full run and of a quick one as text, ``0-19 (quick: 0, 1)``."""
    shown = [", ".join(map(str, range(count))) if count < 3 else f"0-{count - 1}" for count in (full, quick)]
    return f"{shown[0]} (quick: {shown[1]})"


def distinct(records: list[Record], key: str) -> list[Any]:
    """Return the values of a key, each once, in order of appearance."""
    return list(dict.fromkeys(record[key] for record in records))
