"""The harness in ``benchmarks/``: what it keeps, what it says, and programs that fail, shout or are missing."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parent.parent / "benchmarks"

# Peers of one item, sampled in processes of their own. `broken` gives a sample and fails at the next.
ITEMS = """
import itertools, os, sys, time
import numpy as np
from peers import Item, threads

item = Item("S1", "A title", limit=lambda rates: 4e-3 / rates["rate"], limit_text="one rate", remark="A remark.")

def constant(seconds, check=2.0):
    return lambda quick: lambda: (seconds, check)

item.peer("lorasolve", ours=True, repeats=2)(constant(1e-3 if "OURS_MISSING" not in os.environ else float("nan")))
item.peer("slow", goal=(5.0, 20.0), repeats=2)(constant(1e-2))
item.peer("half the limit", limit_part=0.5, repeats=1)(constant(1e-3))
item.peer("missing", needs=os.environ.get("PEER", "numpy"), goal=(2.0, 3.0), repeats=1)(constant(3e-3))
item.peer("nan", repeats=1)(constant(1e-3, float("nan")))

@item.peer("loud", repeats=2, threads=2)
def _(quick):
    def sample():
        print("x" * 1_000_000)
        print("y" * 1_000_000, file=sys.stderr, flush=True)
        return 1e-3 * threads(), 2.0
    return sample

@item.peer("broken", goal=(1.0, 1.0), repeats=2)
def _(quick):
    count = itertools.count()
    def sample():
        if next(count) == 2:
            raise RuntimeError("no more")
        return 1e-3, 2.0
    return sample

@item.peer("parent", repeats=1, checked=False)
def _(quick):
    def sample():
        import subprocess
        code = "import time; held = bytearray(b'1' * 200_000_000); time.sleep(0.5)"
        subprocess.run([sys.executable, "-c", code], check=True)
        return 1e-3, 0.0
    return sample

alone = Item("S2", "Alone", seconds=(1.0, 0.5), rtol=np.inf)
alone.peer("lorasolve", ours=True, repeats=1)(constant(0.7))
waiting = Item("S3", "Waiting")
waiting.peer("lorasolve", ours=True)(lambda quick: time.sleep(300))
ITEMS = [item, alone, waiting]
"""
LIMITS = """
import json, sys
for k, _ in enumerate(sys.stdin):
    print(json.dumps({"rate": [1.0, 5.0, 2.0][k]}), flush=True)
"""


@pytest.fixture
def copy(tmp_path: pathlib.Path) -> pathlib.Path:
    """The harness with items of its own."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for path in BENCHMARKS.glob("*.py"):
        if not path.name.startswith("item_"):
            shutil.copy(path, folder)
    (folder / "item_fake.py").write_text(ITEMS)
    (folder / "limits.py").write_text(LIMITS)
    program = folder / "run.py"
    program.write_text(program.read_text().replace("SETTLE_SECONDS = 0.2", "SETTLE_SECONDS = 0.0"))
    return folder


def run(copy: pathlib.Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(copy / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300)


def rows(copy: pathlib.Path, key: str) -> dict[str, dict[str, object]]:
    text = (copy / "results" / f"{key}.json").read_text()
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))["rows"]


def line(page: str, name: str) -> list[str]:
    """Return the cells of a row in the table of an item."""
    return [cell.strip() for cell in re.findall(rf"^\| {name} \|(.*)\|$", page, re.M)[-1].split("|")]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('ITEMS = [Item("S2", "Mine")]', "item_more.py: the key 'S2' is taken, by 'Alone'"),
        ('ITEMS = [Item("mine", "Mine")]', "item_more.py: expected a key with a number, such as S14, got 'mine'"),
        ('mine = Item("S4", "Mine")', "item_more.py: expected a list ITEMS of its items"),
    ],
)
def test_an_item_that_cannot_be_listed_is_refused_by_its_file(copy, more, words) -> None:
    """Of two items with one key the first was lost."""
    (copy / "item_more.py").write_text(f"from peers import Item\n\n{more}\n")
    refused = run(copy, "S2", "--quick")
    assert refused.returncode == 2 and refused.stderr.splitlines()[-1].endswith(words)


def test_a_full_run(copy: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(copy, "S1", "S2", "--threads", "1")
    assert done.returncode == 0, done.stderr
    found, page = rows(copy, "S1"), (copy.parent / "docs" / "benchmarks.md").read_text()
    # The better of the rates before and after; the second item lies between 5 and 2.
    assert found["slow"]["rates"] == rows(copy, "S2")["lorasolve"]["rates"] == {"rate": 5.0}
    assert (found["slow"]["samples"], found["slow"]["ratio"]) == ([1e-2, 1e-2], pytest.approx(10.0))
    assert line(page, "slow")[3:6] == ["10", "5 (20): reached", "0.08"]
    assert line(page, "half the limit")[5] == "0.40"
    assert "RuntimeError: no more" in str(found["broken"]["skipped"]) and "samples" not in found["broken"]
    assert "| S1 | broken | 1 (1) |  | not measured |" in page
    assert "RuntimeError: no more" in done.stderr
    assert "the value nan" in str(found["nan"]["skipped"])
    assert found["loud"]["samples"] == [1e-3, 1e-3]
    assert 200 < float(str(found["parent"]["peak"])) < 500
    assert "| S2 | lorasolve | at most 1 s (500 ms) | 700 ms | reached |" in page
    assert page.count("All checked values agree.") == 1 and "Not measured: S3, S10." in page
    assert {path.name for path in (copy.parent / "docs" / "figures").iterdir()} == {"bench_S1.png", "bench_S2.png"}

    # Another day, when one program is not there; and a run without a row of ours.
    stored = json.loads((copy / "results" / "S1.json").read_text())
    for row in stored["rows"].values():
        row |= {"date": "2001-02-03"} if "samples" in row else {}
    (copy / "results" / "S1.json").write_text(json.dumps(stored))
    assert run(copy, "S1", OURS_MISSING="1").returncode == 0
    assert rows(copy, "S1") == stored["rows"]
    assert run(copy, "S1", PEER="no_such_module").returncode == 0
    found, page = rows(copy, "S1"), (copy.parent / "docs" / "benchmarks.md").read_text()
    assert found["missing"] == stored["rows"]["missing"] and found["slow"]["date"] != "2001-02-03"
    assert "missing: Measured 2001-02-03; rate 5." in page
    assert "| S1 | missing | 2 (3) | 3 | aim reached |" in page

    # Words come from the code, numbers from what is stored; no results are touched.
    source = copy / "item_fake.py"
    source.write_text(source.read_text().replace("A remark.", "Another remark.").replace("(5.0, 20.0)", "(11.0, 20.0)"))
    shutil.copy(copy / "results" / "S1.json", copy / "results" / "S0.json")
    done = run(copy, "--page")
    assert done.returncode == 0 and "S0.json: no item" in done.stdout and done.stdout.count("no item") == 1
    page = (copy.parent / "docs" / "benchmarks.md").read_text()
    assert "Another remark." in page and "A remark." not in page
    assert "| S1 | slow | 11 (20) | 10 | missed |" in page
    assert rows(copy, "S1") == found

    # A result that cannot be read is said before anything is measured.
    (copy / "results" / "S2.json").write_text('{"rows": {')
    done = run(copy, "S1")
    assert done.returncode != 0 and "S2.json" in done.stderr and "A title" not in done.stdout


def test_the_page_of_an_interrupted_run(copy: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")
    command = [sys.executable, str(copy / "run.py"), "S2", "S3"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Programs in the background of a script ignore it, and hand that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, start_new_session=True, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)
    while not (copy / "results" / "S2.json").exists() and process.poll() is None:
        time.sleep(0.05)
    # As a terminal does: to all processes.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) != 0
    page = (copy.parent / "docs" / "benchmarks.md").read_text()
    assert (
        "| S2 | lorasolve | at most 1 s (500 ms) | 700 ms | reached |" in page and "Not measured: S1, S3, S10." in page
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--threads", "0"], "--threads: expected a whole number of at least 1, got '0'"),
        (["--threads", "-1"], "--threads"),
        (["--quick", "S10"], "S10"),
        (["--page", "S1"], "--page"),
        (["S99"], "'S99'"),
    ],
)
def test_refused_arguments(copy: pathlib.Path, arguments: list[str], word: str) -> None:
    done = run(copy, *arguments)
    assert done.returncode == 2 and word in done.stderr
    assert "Traceback" not in done.stderr


def test_results_that_cannot_be_written_are_said_first(copy: pathlib.Path) -> None:
    (copy / "results").write_text("a file where the folder should be")
    done = run(copy, "S2")
    assert done.returncode == 2 and "results cannot be written" in done.stderr and "Alone" not in done.stdout


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The modules of the harness, forgotten afterwards."""
    names = [path.stem for path in BENCHMARKS.glob("*.py")]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    used = ("store", "peers", "catalogue", "growth", "page", "cost_tables")
    yield types.SimpleNamespace(**{name: importlib.import_module(name) for name in used})
    for name in names:
        sys.modules.pop(name, None)


def test_words_about_what_was_not_measured(harness: types.SimpleNamespace) -> None:
    item = harness.peers.Item("S1", "A title", limit=lambda rates: 1e-3 * rates["rate"])
    item.peer("lorasolve", ours=True)(None)
    item.peer("other", goal=(1.0, 2.0))(None)
    row = {
        "threads": 1, "samples": [1e-3], "disturbed": False, "first": 1.0, "compiled": None, "check": 2.0, "peak": 1.0,
        "ratio": None, "date": "2001-02-03", "machine": "", "versions": "", "rates": {"rate": 3.0},
    }  # fmt: skip
    ours, other = item.peers
    assert harness.page.goal(item, other, row) == ("1 (2)", "", "not measured")
    assert harness.page.goal(item, other, None) == ("1 (2)", "", "not measured")
    assert harness.page.of_limit(item, ours, row) == "3.00, disturbed"
    assert harness.page.agreement(item, {"other": row}) == ""
    assert harness.page.agreement(item, {"lorasolve": row, "other": row | {"check": 2.1}}).startswith("**")
    item.rtol = float("inf")
    assert harness.page.agreement(item, {"lorasolve": row, "other": row}) == ""


def test_numbers_have_no_powers_of_ten(harness: types.SimpleNamespace) -> None:
    assert [harness.page.number_text(value) for value in (0.4567, 12.34, 999.6, 1234.5)] == [
        "0.457",
        "12.3",
        "1000",
        "1234",
    ]
    assert [harness.page.seconds_text(value) for value in (75.4, 3e-3, 0.9996, 2e-7)] == [
        "75.4 s",
        "3 ms",
        "1000 ms",
        "0.2 µs",
    ]


def test_growth_is_made_from_what_is_stored(
    harness: types.SimpleNamespace, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(harness.store, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(harness.page, "DOCS", tmp_path / "docs")
    where = {"date": "2001-02-03", "machine": "m", "versions": "v", "rates": {}}
    points = [[size, 1e-3 * size, 2.0 * size, 100.0] for size in (10, 100, 1000)]
    harness.store.keep("S10", {"S3": where | {"points": points}, "S4": {"skipped": "failed"}})
    harness.page.write([])
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "| S3 | 100 | 0.1 | 200 | 100 |" in page and "Measured 2001-02-03." in page
    assert (tmp_path / "docs" / "figures" / "bench_S10.png").exists()
    assert harness.growth.slope([1.0, 10.0, 100.0], [3.0, 300.0, 30000.0]) == pytest.approx(2.0)


def test_a_write_that_fails_leaves_the_file_before(
    harness: types.SimpleNamespace, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.store, "RESULTS", tmp_path)
    harness.store.keep("S1", {"lorasolve": {"samples": [1.0]}})
    with pytest.raises(ValueError, match="JSON"):
        harness.store.keep("S1", {"lorasolve": {"samples": [float("nan")]}})
    assert harness.store.stored("S1", ["lorasolve"]) == {"lorasolve": {"samples": [1.0]}}
    with pytest.raises(UnicodeEncodeError):
        harness.store.write(tmp_path / "S1.json", "\ud800")
    assert harness.store.stored("S1", ["lorasolve"]) == {"lorasolve": {"samples": [1.0]}}


def test_all_stored_results_are_valid(harness: types.SimpleNamespace) -> None:
    paths = sorted(harness.store.RESULTS.glob("*.json"))
    assert paths
    for path in paths:
        for row in json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))["rows"].values():
            assert "skipped" in row or {"date", "machine", "versions", "rates"} <= row.keys(), path


def test_tables_of_costs_are_medians_of_what_is_stored(
    harness: types.SimpleNamespace, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.store, "RESULTS", tmp_path)
    monkeypatch.setattr(harness.page, "DOCS", tmp_path)
    item = harness.peers.Item("S14", "Study, 7 runs, m = 3: seconds in total")
    item.peer("lorasolve Study, serial")(None)
    row = {"samples": [0.2, 0.5, 0.1], "disturbed": False}
    harness.store.keep("S14", {"lorasolve Study, serial": row, "lorasolve Study, loky": row | {"disturbed": True}})
    begin, end = "<!-- S14: made by benchmarks/run.py --page -->", "<!-- S14 ends -->"
    made = tmp_path / "studies.md"
    made.write_text(f"Before.\n\n{begin}\n| an old table |\n{end}\n\nBehind.\n")
    table = """
| case | `solve_batch`, nothing kept | a study in this process | a study, two workers of `loky` |
|---|---|---|---|
| 7 runs, m = 3 | not measured | 200 ms | ~200 ms |
"""
    for _ in range(2):  # what it has made it finds again
        harness.cost_tables.write([item])
        assert made.read_text() == f"Before.\n\n{begin}\n{table}\n{end}\n\nBehind.\n"
    made.write_text("Before.\n")
    with pytest.raises(SystemExit, match=r"studies\.md: expected the lines .* around a table"):
        harness.cost_tables.write([item])


def test_the_pages_are_those_of_what_is_stored(harness: types.SimpleNamespace) -> None:
    """Copied by hand, numbers stayed as they were: ``python benchmarks/run.py --page`` makes them of what is stored."""
    items = list(harness.catalogue.items().values())
    docs = harness.page.DOCS
    assert (docs / "benchmarks.md").read_text() == harness.page.text(items, harness.page.stored(items))
    made = list(harness.cost_tables.texts(items))
    assert [table.keys[0] for table, _ in made] == ["S16", "S12", "S11", "S14", "S17", "S18", "S19"]
    assert [table.keys for table, text in made if (docs / table.page).read_text() != text] == []
