"""What a shell is offered: commands, options and the names that they take."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

import lorasolve as ls
from lorasolve.commands import registry


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


def test_where_it_is_not_installed_the_command_runs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "argcomplete.py").write_text("raise ImportError")
    environment = os.environ | {"_ARGCOMPLETE": "1", "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    run = [sys.executable, "-c", "import sys; sys.argv[1:] = ['--version']; from lorasolve.cli import entry; entry()"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("lorasolve ")
