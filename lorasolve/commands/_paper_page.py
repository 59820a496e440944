"""The pages ``docs/papers/NAME.md``, one a paper: what it claims, and what was measured; and the list of them."""

from __future__ import annotations

import pathlib
import re
import shlex
import urllib.parse
from collections.abc import Iterable, Sequence
from operator import methodcaller

from .._support.files import require_writable, text_writer, write_atomically
from .._support.validate import as_path
from ..io import readable
from ..papers import registry
from ..papers.base import Claim
from ..tables import markdown_row
from ._reproduction import Reproduction

_INTRODUCTION = (
    "*confirmed*: the claim itself, published or a theorem of `proofs/` that it names, was measured, and the numbers "
    "agree. *holds with correction*: the claim as usually stated is false or incomplete, the corrected one agrees. "
    "*not at matrix scale*: large-model results that no matrix problem can decide. What a check refutes would be "
    "listed as *NOT REPRODUCED*. All numbers are SAMPLED on the sizes that the commands print; a number after +- is "
    "the standard error of the mean over the seeds. What is proved is in `proofs/`."
)


def pages_folder(given: str, names: Iterable[str]) -> pathlib.Path:
    """Return the folder that ``--pages`` gives; what could not be kept or written there later is refused now.

    Parameters
    ----------
    given : str
        The folder.
    names : iterable of str
        The pages that are going to be written, which may be there.
    """
    folder = pathlib.Path(as_path(given, "--pages"))
    if folder.name in ("", ".."):
        raise ValueError(f"--pages: expected a folder by its name, beside which NAME.md is written, got {given!r}")
    for place in [*(_place(folder, name) for name in dict.fromkeys(names)), _listing(folder)]:
        require_writable(place, "--pages")
    for name in names:
        _kept(folder, name)
    return folder


def write_pages(folder: pathlib.Path, found: Sequence[Reproduction]) -> list[pathlib.Path]:
    """Write a page for each paper with its figures into the folder, and beside it the list of all papers.

    Returns
    -------
    list of pathlib.Path
        The pages, and ``FOLDER.md``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in dict.fromkeys(each.experiment.page() for each in found):
        mine = [each for each in found if each.experiment.page() == name]
        for figure in (path for each in mine for path in each.files if path.suffix == ".png"):
            picture = figure.read_bytes()  # which may be in this folder already
            write_atomically(folder / figure.name, methodcaller("write", picture))
        written.append(_place(folder, name))
        write_atomically(written[-1], text_writer(page(mine, folder.as_posix(), _kept(folder, name))))
    written.append(_listing(folder))
    write_atomically(written[-1], text_writer(index(folder.name)))
    return written


def _place(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}.md"


def _listing(folder: pathlib.Path) -> pathlib.Path:
    return folder.with_name(f"{folder.name}.md")


def _kept(folder: pathlib.Path, name: str) -> str:
    """Return the page that is there, an empty text where there is none."""
    place = _place(folder, name)
    if not place.exists():
        return ""
    with readable(place):
        return place.read_text(encoding="utf-8")


def page(found: Sequence[Reproduction], folder: str, before: str = "") -> str:
    """Return the page of one paper as Markdown, a section for each of its experiments.

    Experiments that were not run keep the sections that they have on the page ``before``, and all keep their places;
    those that have none are named.
    """
    known = {cls.summary: cls for cls in registry.classes().values()}
    parts = re.split(r"^## (.*)\n", before, flags=re.MULTILINE)
    kept = {summary: text.strip("\n") for summary, text in zip(parts[1::2], parts[2::2]) if summary in known}
    sections = kept | {each.experiment.summary: _section(each, folder) for each in found}
    top = f"# {found[0].experiment.paper}"
    listing = urllib.parse.quote(f"{pathlib.PurePath(folder).name}.md")
    words = f"What the words mean: [the list of all papers](../{listing})."
    mine = (cls for cls in known.values() if cls.page() == found[0].experiment.page() and cls.summary not in sections)
    others = ", ".join(f"`lorasolve reproduce {cls.name}`" for cls in mine)
    words += f" Experiments that are not on this page: {others}." if others else ""
    return "\n\n".join([top, words, *(f"## {summary}\n\n{text}" for summary, text in sections.items())]) + "\n"


def _section(found: Reproduction, folder: str) -> str:
    experiment = found.experiment
    lines = [f"`{found.command} --pages {shlex.quote(folder)}` (seeds: {found.seeds})"]
    if found.claims:
        lines += ["", "| claim | status | measured |", "| --- | --- | --- |", *markdown_rows(found.claims)]
    for figure in (path for path in found.files if path.suffix == ".png"):
        lines += ["", f"![{experiment.summary}]({figure.name})"]
    lines += ["", "```", experiment.table(found.records), "```"]
    return "\n".join(lines)


def index(folder: str) -> str:
    """Return the list of all papers as Markdown, for a page beside the folder of theirs."""
    lines = ["# What the papers claim, and what was measured", "", _INTRODUCTION, ""]
    lines += ["| paper | what is measured | command |", "| --- | --- | --- |"]
    known = registry.classes().values()
    for name in dict.fromkeys(cls.page() for cls in known):
        mine = [cls for cls in known if cls.page() == name]
        about = mine[0].summary if len(mine) == 1 else ", ".join(cls.name for cls in mine)
        place = urllib.parse.quote(f"{folder}/{name}.md")
        lines.append(f"| [{mine[0].paper}]({place}) | {about} | `lorasolve reproduce {name} --quick` |")
    return "\n".join(lines) + "\n"


def markdown_rows(claims: Iterable[Claim]) -> list[str]:
    """Return one table row per claim: claim, status, measured."""
    return [markdown_row((claim.statement, claim.status, claim.measured)) for claim in claims]
