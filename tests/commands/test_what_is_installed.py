"""What ``lorasolve info``, ``list`` and ``cite`` say is what is there."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import pathlib
import platform
import re

import pytest

import lorasolve as ls
from lorasolve._support.threads import get_threads
from lorasolve.cli import main
from lorasolve.commands.list import KINDS

CITATION = (pathlib.Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> pathlib.Path:
    """A folder of kernels with three files of 1.323456 MB in all, one of them below."""
    (tmp_path / "cache" / "below").mkdir(parents=True)
    for name, size in {"one": 600_000, "two": 600_000, "below/three": 123_456}.items():
        (tmp_path / "cache" / name).write_bytes(bytes(size))
    monkeypatch.setattr("lorasolve.kernels.cache.cache_directory", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def told(capsys, *arguments: str) -> tuple[str, dict]:
    """Return the text of a command, and its document."""
    assert main([*arguments]) == 0
    text = capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    return text, json.loads(capsys.readouterr().out)


def test_info_tells_versions_threads_and_cache(capsys, cache) -> None:
    before = get_threads()
    try:
        ls.set_threads(1)
        text, document = told(capsys, "info")
    finally:
        ls.set_threads(before)
    assert document["schema"] == "lorasolve/info"
    version, python = importlib.metadata.version("lorasolve"), platform.python_version()
    assert (document["version"], document["python"]) == (version, python)
    assert text.startswith(f"lorasolve {version} on Python {python}, {platform.system()} {platform.machine()}\n")
    for name, found in document["packages"].items():
        assert found == importlib.metadata.version(name) and f"{name} {found}" in text
    cores = len(os.sched_getaffinity(0))
    assert document["threads"]["used"] == 1 and 1 <= document["threads"]["available"] <= cores
    assert f"threads   1 used, {document['threads']['available']} available (LORASOLVE_NUM_THREADS)" in text
    assert document["cache"] == {"folder": str(cache), "files": 3, "megabytes": 1.3}
    assert f"\ncache     {cache}: 3 files, 1.3 MB (LORASOLVE_CACHE_DIR)" in text
    # NumPy and SciPy bring a library each, and both are loaded by then.
    assert len(document["blas"]) >= 2
    for library in document["blas"]:
        shown = f"{library['internal_api']} {library['version']} ({library['num_threads']} threads)"
        assert re.search(rf"^BLAS .*{re.escape(shown)}", text, flags=re.M)


def test_info_tells_what_is_missing(capsys, monkeypatch) -> None:
    def version(name: str) -> str:
        if name == "matplotlib":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr("threadpoolctl.threadpool_info", list)
    monkeypatch.setattr("lorasolve.kernels.cache.cache_directory", lambda: None)
    text, document = told(capsys, "info")
    assert document["packages"]["matplotlib"] is None and document["packages"]["numpy"] == "1.0"
    assert "matplotlib missing, " in text and "numpy 1.0, " in text
    assert document["blas"] == [] and "BLAS      none found\n" in text
    assert document["cache"] == {"folder": None, "files": 0, "megabytes": 0.0}
    assert text.endswith("cache     nowhere: 0 files, 0.0 MB (LORASOLVE_CACHE_DIR)\n")


def test_a_file_that_goes_while_the_cache_is_looked_at_is_left_out(capsys, cache, monkeypatch) -> None:
    """Another process that compiles replaces files: that ended ``info``, and ``warm`` at its end."""
    is_file = pathlib.Path.is_file

    def then_gone(path: pathlib.Path, **options: bool) -> bool:
        found = is_file(path, **options)
        if path.name == "one":
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(pathlib.Path, "is_file", then_gone)
    assert told(capsys, "info")[1]["cache"] == {"folder": str(cache), "files": 2, "megabytes": 0.7}


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_the_components_of_its_kind(capsys, kind) -> None:
    text, document = told(capsys, "list", kind)
    classes = getattr(ls, kind, None) or __import__(f"lorasolve.{kind}", fromlist=["registry"])
    summaries = {name: cls.summary for name, cls in classes.registry.classes().items()}
    assert document["schema"] == "lorasolve/list" and document[kind] == summaries
    assert not set(KINDS) - {kind} & set(document)
    lines = text.splitlines()
    assert lines[0] == kind
    names = [tuple(line.split(maxsplit=1)) for line in lines[1:] if line.split()[0] != "keys:"]
    assert names == list(summaries.items())
    # Summaries stand in one column.
    assert len({line.index(summary) for line in lines for summary in summaries.values() if line.endswith(summary)}) == 1


def test_keys_of_archives_are_the_arguments_of_objectives(capsys) -> None:
    text, _ = told(capsys, "list", "objectives")
    shown = dict(re.findall(r"^  (\w+) .*\n +keys: (.*)$", text, flags=re.M))
    for name, cls in ls.objectives.registry.classes().items():
        parameters = list(inspect.signature(cls).parameters.values())
        assert re.findall(r"\w+", shown[name]) == [parameter.name for parameter in parameters]
        optional = [parameter.name for parameter in parameters if parameter.default is not parameter.empty]
        assert re.findall(r"\[(\w+)\]", shown[name]) == optional


def test_a_list_of_all_has_each_kind_once_without_keys(capsys) -> None:
    text, document = told(capsys, "list")
    assert [section.splitlines()[0] for section in text.split("\n\n")] == list(KINDS)
    assert set(KINDS) < set(document) and "keys:" not in text


def test_an_unknown_kind_is_told_with_its_likeness(capsys) -> None:
    assert main(["list", "optimizer"]) == 2
    out, errors = capsys.readouterr()
    said = "lorasolve list: kind: unknown kind 'optimizer'. Did you mean 'optimizers'?"
    assert out == "" and errors == f"{said} Accepted: {', '.join(KINDS)}.\n"


def test_what_is_cited_is_the_paper_and_this_version(capsys) -> None:
    text, document = told(capsys, "cite")
    assert text == "\n\n".join(document["bibtex"]) + "\n" and document["schema"] == "lorasolve/cite"
    fields = [dict(re.findall(r"^  (\w+) = \{(.*?)\},$", entry, flags=re.M | re.S)) for entry in document["bibtex"]]
    paper, package = ({key: re.sub(r"[{}]|\s+(?= )|\n", "", text) for key, text in found.items()} for found in fields)
    for entry in document["bibtex"]:
        assert entry.count("{") == entry.count("}") and re.match(r"@(inproceedings|software)\{\w+,\n", entry)
    # What CITATION.cff says of both.
    assert package["title"] in CITATION and package["author"] in CITATION
    assert package["version"] == importlib.metadata.version("lorasolve") and f"version: {ls.__version__}" in CITATION
    assert f"title: {paper['title']}\n" in CITATION and f"year: {paper['year']}\n" in CITATION
    assert paper["booktitle"] in CITATION and paper["note"] in CITATION
    names = re.findall(r"family-names: (.*)\n +given-names: (.*)\n", CITATION)
    assert paper["author"] == " and ".join(f"{family}, {given}" for family, given in names)
