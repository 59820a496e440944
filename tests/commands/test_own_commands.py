"""Commands and components of one's own, and errors in them."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import numpy as np
import pytest

from lorasolve.cli import main
from lorasolve.commands import Command, ExitCode, registry


@pytest.mark.parametrize("code", [None, True, False, "fine", 256, -1, 5, np.int64(0)])
def test_a_command_that_returns_no_exit_code_is_refused(code, capsys, monkeypatch) -> None:
    """True had ended a process with 1, what was asked for is false, and 256 with 0."""

    class Own(Command):
        name, summary = "own", "planted"

        def run(self, args):
            return code

    monkeypatch.setitem(registry.classes(), "own", Own)
    assert main(["own"]) == 2
    assert re.fullmatch(
        r"lorasolve own: run\(\) has to return an ExitCode, such as ExitCode.FINE, got .*\n", capsys.readouterr().err
    )


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, ExitCode.FALSE])
def test_a_command_returns_its_exit_code(code, monkeypatch) -> None:
    class Own(Command):
        name, summary = "own", "planted"

        def run(self, args):
            return code

    monkeypatch.setitem(registry.classes(), "own", Own)
    assert main(["own"]) == code


def test_a_command_without_work_is_refused(capsys, monkeypatch) -> None:
    monkeypatch.setitem(registry.classes(), "own", type("Own", (Command,), {"name": "own", "summary": "planted"}))
    assert main(["own"]) == 2
    assert capsys.readouterr().err == "lorasolve own: Own does not define run(args)\n"


@pytest.mark.parametrize("argument", ["broken", "--help", "brokn"])
def test_a_file_that_cannot_be_imported_is_a_line_with_its_name(argument, tmp_path) -> None:
    """It was a traceback and exit code 1: what was asked for is false."""
    program = f"""
import pathlib, sys
import lorasolve.commands as commands
commands.__path__.append({str(tmp_path)!r})
pathlib.Path({str(tmp_path / "broken.py")!r}).write_text("import no_such_thing\\n")
sys.argv = ["lorasolve", {argument!r}]
from lorasolve.cli import entry
entry()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 2
    assert (
        run.stderr
        == f"lorasolve {argument}: {tmp_path}/broken.py: ModuleNotFoundError: No module named 'no_such_thing'\n"
    )


@pytest.mark.parametrize("words", ["failed to map segment from shared object", "Cannot allocate memory"])
def test_a_library_for_which_memory_is_short_is_no_defect(capsys, monkeypatch, words) -> None:
    """What the loader of glibc says of a library that it finds no room for."""

    def load(*_: object) -> None:
        raise ImportError(f"_sparsetools.so: {words}")

    monkeypatch.setattr("lorasolve.commands.solve.problem_from", load)
    assert main(["solve"]) == 2
    assert capsys.readouterr().err == f"lorasolve solve: not enough memory (_sparsetools.so: {words})\n"


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("lorasolve.inits.mine", 2),
        ("lorasolve.attacks.mine", 2),
        ("plugged.inits", 2),
        ("lorasolve.inits.lora", 4),
        ("lorasolve.attacks.step", 4),
        ("other", 4),
    ],
)
def test_an_error_in_a_component_that_was_added_is_told_by_its_place(capsys, monkeypatch, module, code) -> None:
    """It was called a defect of lorasolve, without a word about where it is."""
    point = importlib.metadata.EntryPoint("mine", "plugged.inits:Mine", "lorasolve.inits")
    monkeypatch.setattr("lorasolve._support.registry._entry_points", lambda: importlib.metadata.EntryPoints([point]))
    names = {"__name__": module}
    exec(compile("def load(*_):\n    return {}['two']\n", "mine.py", "exec"), names)
    monkeypatch.setattr("lorasolve.commands.solve.problem_from", names["load"])
    assert main(["solve"]) == code
    told = capsys.readouterr().err
    if code == 2:
        assert told.startswith("lorasolve solve: mine.py, line 2, in load: KeyError: 'two' (LORASOLVE_TRACEBACK=1")
    else:
        assert told.startswith("lorasolve solve: internal error, a defect of lorasolve: KeyError: 'two'")


def test_an_import_that_fails_otherwise_is_a_defect(capsys, monkeypatch) -> None:
    def load(*_: object) -> None:
        raise ImportError("no module of that name")

    monkeypatch.setattr("lorasolve.commands.solve.problem_from", load)
    assert main(["solve"]) == 4
    assert "internal error" in capsys.readouterr().err
