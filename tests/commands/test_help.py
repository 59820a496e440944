"""Lists and helps of the command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import re
import tomllib

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.commands import registry


def test_list_and_info(capsys) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["optimizers"]) == set(ls.optimizers.registry.classes())
    kinds = ("objectives", "adapters", "optimizers", "schedules", "inits")
    assert all(summary for kind in kinds for summary in found[kind].values())
    assert main(["list", "objectives"]) == 0
    assert "keys: rows, cols, values, shape" in capsys.readouterr().out
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"numpy {np.__version__}" in text
    assert "threads" in text
    project = tomllib.loads(pathlib.Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        assert re.search(rf"\b{re.match('[a-z]+', requirement)[0]} \d", text), requirement


def test_list_says_what_each_component_is_ready_for(capsys, monkeypatch) -> None:
    assert main(["list", "schedules", "--check"]) == 0
    text = capsys.readouterr().out
    assert len(text.split("\n\n")) == len(ls.schedules.registry.classes())
    assert text.startswith("Beam: no check failed (sampled)\nok     listed")
    monkeypatch.setattr(ls.schedules.Cosine, "summary", "")
    assert main(["list", "schedules", "--check", "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)["components"]["Cosine"][0]
    assert (listed["name"], listed["holds"]) == ("listed", False)
    assert "summary = '...'" in listed["detail"]


@pytest.mark.parametrize("name", sorted(registry.classes()))
def test_every_command_has_help(capsys, name) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert f"lorasolve {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(registry.classes()))
def test_help_names_every_default(name) -> None:
    """The start, the adapter, the backend and the order of the layers were chosen and not told."""
    for action in registry.classes()[name]().parser()._actions:
        if action.default not in (None, False, argparse.SUPPRESS) or type(action.default) in (int, float):
            told = re.search(r"(?:default:? ([^);,]+)|(\S+) \(default\))", action.help)
            text = told[1] or told[2]
            if isinstance(action.default, (int, float)):
                assert float(text) == action.default
            else:
                assert text.split() == (action.default if isinstance(action.default, list) else [action.default])


def test_help_of_the_verdict_says_how_it_ends_for_each(capsys) -> None:
    """A script that asks for a verdict found 1 for a saddle and 3 for a run to be continued, which nothing said."""
    with pytest.raises(SystemExit):
        main(["verdict", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "0 for global, 1 for spurious, saddle or a run that diverged, 3 otherwise" in text


def test_help_of_a_command_is_asked_for_either_way(capsys) -> None:
    """``lorasolve help solve`` answered with the list of commands."""
    told = []
    for arguments in (["solve", "--help"], ["help", "solve"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        told.append((stop.value.code, capsys.readouterr().out))
    assert told[0] == told[1]
    assert main(["help", "slove"]) == 2
    assert "Did you mean 'solve'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, *sorted(registry.classes())])
def test_help_fits_into_the_terminal(capsys, monkeypatch, name) -> None:
    """Summaries and exit codes took lines of 118 characters, which a terminal of 80 broke within words."""
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        main(["--help"] if name is None else [name, "--help"])
    text = capsys.readouterr().out
    assert "LORASOLVE_TRACEBACK=1" in text and max(map(len, text.splitlines())) <= 80


def test_usage(capsys) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in registry.classes())
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lorasolve 0.")
