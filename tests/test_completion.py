"""What a shell is offered: commands, options and the names that they take."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

import lorasolve as ls
import proofs
from lorasolve.commands import registry
from lorasolve.symbolic import discover


def offered(line: str, folder: pathlib.Path) -> list[str]:
    """Return what the command line offers for an unfinished line."""
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "offered"), "_ARGCOMPLETE_SHELL": "bash"}
    run = [sys.executable, "-c", "from lorasolve.cli import entry; entry()"]
    done = subprocess.run(run, env=os.environ | asked, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return sorted(word.strip() for word in (folder / "offered").read_text().split("\n") if word.strip())


def test_commands(tmp_path: pathlib.Path) -> None:
    assert set(registry.classes()) <= set(offered("lorasolve ", tmp_path))
    assert offered("lorasolve com", tmp_path) == ["compare", "complete"]


def test_options_and_names(tmp_path: pathlib.Path) -> None:
    assert offered("lorasolve predict --del", tmp_path) == ["--delimiter"]
    names = ["lora_pro", "lora_pro_adamw", "lora_pro_adamw_full"]
    assert offered("lorasolve solve --method lora_pr", tmp_path) == names
    assert set(ls.adapters.registry.classes()) <= set(offered("lorasolve solve --adapter ", tmp_path))
    (tmp_path / "completed.csv").write_text("")
    assert offered("lorasolve solve --objective comple", tmp_path) == ["completed.csv", "completion"]


def test_names_that_arguments_of_one_command_take(tmp_path: pathlib.Path) -> None:
    """The files of the folders say what there is."""
    folder = pathlib.Path(ls.__file__).parent
    theorems = sorted(path.stem for path in (folder.parent / "proofs").glob("theorem*.py"))
    assert offered("lorasolve prove theorem", tmp_path) == theorems and "theorem1" in theorems
    assert set(discover(proofs)) <= set(offered("lorasolve prove ", tmp_path))
    assert {"verify", "statements"}.isdisjoint(offered("lorasolve prove ", tmp_path))
    papers = sorted(path.stem for path in (folder / "papers").glob("mi*.py"))
    assert offered("lorasolve reproduce mi", tmp_path) == papers and "minilm" in papers
    assert offered("lorasolve reproduce main", tmp_path) == ["main_paper"]
    assert offered("lorasolve attack op", tmp_path) == ["optimizer"]
    assert offered("lorasolve list opt", tmp_path) == ["optimizers"]
    assert "adamw" in offered("lorasolve explain decay --optimizer ad", tmp_path)
    assert offered("lorasolve convex --route au", tmp_path) == ["auto"]
    (tmp_path / "lemma_of_mine.py").write_text("")
    assert "lemma_of_mine.py" in offered("lorasolve prove lemma", tmp_path)
    (tmp_path / "dora_files").mkdir()
    assert offered("lorasolve diagnose dor", tmp_path) == ["dora_files/"]


def imported(arguments: list[str], asked: dict[str, str], folder: pathlib.Path) -> set[str]:
    """Return the modules that a command line has imported when it ends, by ``os._exit`` or as others do."""
    start = (
        "import atexit, os, pathlib, sys\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "tell, leave = lambda: pathlib.Path('modules').write_text('\\n'.join(sys.modules)), os._exit\n"
        "os._exit = lambda code: (tell(), leave(code))\n"
        "atexit.register(tell)\n"
        "from lorasolve.cli import entry\n"
        "entry()"
    )
    run = [sys.executable, "-c", start]
    done = subprocess.run(run, env=os.environ | asked, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set((folder / "modules").read_text().split())


HEAVY = ("scipy", "sympy", "matplotlib", "lorasolve.comparison", "lorasolve.convex.factored", "lorasolve.studies")
THEORY = ("lorasolve.papers.table1", "proofs.theorem1")


def test_a_key_imports_only_what_its_answer_needs(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("argcomplete")
    lines = ("com", "compare --ob", "solve --method lora_pr", "prove theorem")
    for line in (f"lorasolve {rest}" for rest in lines):
        asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
        asked["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "offered")
        found = imported([], asked, tmp_path)
        assert "argcomplete" in found and found.isdisjoint((*HEAVY, *THEORY)), line


def test_help_imports_only_what_it_says(tmp_path: pathlib.Path) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["prove", "--help"], ["path", "--help"]):
        found = imported(arguments, {}, tmp_path)
        assert "lorasolve.commands.prove" in found or arguments[0] in ("compare", "path")
        assert found.isdisjoint((*HEAVY, *THEORY)), arguments
    assert "numpy" not in imported(["--version"], {}, tmp_path)


def test_where_it_is_not_installed_the_command_runs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "argcomplete.py").write_text("raise ImportError")
    environment = os.environ | {"_ARGCOMPLETE": "1", "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    run = [sys.executable, "-c", "import sys; sys.argv[1:] = ['--version']; from lorasolve.cli import entry; entry()"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("lorasolve ")
