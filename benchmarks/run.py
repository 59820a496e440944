"""Run lorasolve beside its peers: same data, same start, same stopping quantity, one process each, in turns.

    python benchmarks/run.py [ITEM...] [--quick]
    python benchmarks/run.py --page

Each peer lives in a process of its own with all thread pools pinned, and gives one sample per round, so that drift
of the machine hits all alike. Printed are median, spread, the ratio to lorasolve (above 1: lorasolve is faster),
the fraction of the machine's limit where one can be named, peak memory, and the time to the first answer. What a full
run of an item found is kept in ``benchmarks/results``, a file an item, each row with its date, versions and the
machine's rates; a row that cannot be measured leaves the one before. ``docs/benchmarks.md`` and its figures are made
from all of these (``--page``: from these alone), as are the tables of costs in other pages, so items may be run one at
a time; titles, remarks and goals come from the code.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import catalogue
import cost_tables
import growth
import page
import store
from peers import Item, Peer
from store import Row, measured

HERE = pathlib.Path(__file__).resolve().parent
# Samples during which more of a core than this was busy with other things are repeated, in up to so many rounds.
QUIET = 0.12
MORE_ROUNDS = 3
# Idle threads of the program sampled last go on spinning for up to a tenth of a second (OpenBLAS).
SETTLE_SECONDS = 0.2
# So many lines are shown of what a program that failed has said.
SHOWN_LINES = 20
POOLS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "LORASOLVE_NUM_THREADS")
PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "torch",
    "transformers",
    "peft",
    "jax",
    "cvxpy",
    "scs",
    "clarabel",
    "implicit",
    "cmfrec",
    "lorasolve",
)


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process whose pools have ``threads`` workers."""
    pinned = {name: str(threads) for name in POOLS}
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
    # What users have: modules compiled to bytecode once.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return own | pinned | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


class Failed(Exception):
    """A process ended, or cannot be talked to, where an answer was expected."""


class Process:
    """A program of this folder that answers lines on stdin with lines of JSON on stdout."""

    def __init__(self, threads: int, *arguments: str) -> None:
        # What it says goes to a file: a pipe that nobody reads would stop it when full.
        self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=environment(threads),
            cwd=HERE,
        )

    def answer(self) -> dict[str, Any]:
        """Return its next answer."""
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            code = self.process.wait()
            self.said.seek(0)
            lines = self.said.read().strip().splitlines()
            print(*lines[-SHOWN_LINES:], sep="\n", file=sys.stderr)
            raise Failed(lines[-1] if lines and code > 0 else f"ended with code {code}")
        return json.loads(line)

    def ask(self) -> dict[str, Any]:
        """Ask for an answer and return it."""
        # One that has ended says why in answer().
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
        return self.answer()

    def close(self) -> None:
        """Let it end."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()
        self.said.close()


class Worker:
    """One peer: its process and what it has answered."""

    def __init__(self, item: Item, peer: Peer, quick: bool, most_threads: int) -> None:
        threads = min(peer.threads, most_threads)
        self.peer = peer
        self.taken: list[tuple[float, float]] = []
        self.row: Row = {"threads": threads}
        self.process = Process(threads, "worker.py", item.key, peer.name, "quick" if quick else "full")
        self.take(self.process.answer)

    def take(self, get: Callable[[], dict[str, Any]]) -> None:
        """Store an answer of the process; one failure leaves no row."""
        try:
            answer = get()
        except Failed as reason:
            answer = {"skipped": f"failed: {reason}"}
        if "seconds" in answer:
            self.taken.append((answer.pop("foreign"), answer.pop("seconds")))
            answer["peak"] = max(answer["peak"], self.row.get("peak", 0.0))
        self.row |= answer

    def ask(self) -> None:
        """Take one sample, if another is needed."""
        quiet = sum(foreign <= QUIET for foreign, _ in self.taken)
        if not measured(self.row) or quiet >= self.peer.repeats or (self.taken and self.peer.repeats == 1):
            return
        time.sleep(SETTLE_SECONDS)
        self.take(self.process.ask)

    def close(self) -> Row:
        """End the process and return its row, with the samples that were disturbed least."""
        self.process.close()
        if not measured(self.row):
            return {"skipped": self.row["skipped"]}
        kept = sorted(self.taken)[: self.peer.repeats]
        return self.row | {
            "samples": [seconds for _, seconds in kept],
            "disturbed": any(foreign > QUIET for foreign, _ in kept),
        }


def run_item(item: Item, quick: bool, most_threads: int) -> dict[str, Row]:
    """Run all peers of an item in turns and return their rows."""
    rows: dict[str, Row] = {peer.name: {"skipped": "full runs only"} for peer in item.peers}
    workers = [Worker(item, peer, quick, most_threads) for peer in item.peers if not (quick and peer.full_only)]
    for _ in range(2 if quick else 5 + MORE_ROUNDS):
        for worker in workers:
            worker.ask()
    for worker in workers:
        rows[worker.peer.name] = worker.close()
    ours = next((rows[peer.name] for peer in item.peers if peer.ours and measured(rows[peer.name])), None)
    for row in filter(measured, rows.values()):
        row["ratio"] = statistics.median(row["samples"]) / statistics.median(ours["samples"]) if ours else None
    return rows


def versions() -> str:
    """Return the versions of what is installed."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def machine() -> str:
    """Return what kind of machine this is; the length of a vector register decides what kernels can gain."""
    import llvmlite.binding as llvm

    bits = 512 if llvm.get_host_cpu_features().get("avx512f") else 256
    kind = f"{os.cpu_count()} cores of a shared {platform.machine()} server, {platform.system()}"
    return f"{kind}, vector registers of {bits} bits" if platform.machine() == "x86_64" else kind


def circumstances(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Return when and on what something was measured, between these two looks at the rates of the machine."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        # Other programs can only lower a rate.
        "rates": {name: max(rate, after[name]) for name, rate in before.items()},
    }


def run(items: list[Item], with_growth: bool, quick: bool, threads: int) -> None:
    """Measure, print, and store what full runs found."""
    limits = Process(threads, "limits.py")
    after = limits.ask()
    for item in items:
        print(f"\n{item.key}. {item.title}\n", flush=True)
        rows = run_item(item, quick, threads)
        before, after = after, limits.ask()
        where = circumstances(before, after)
        rows = {name: row | where if measured(row) else row for name, row in rows.items()}
        print(page.table(item, rows), flush=True)
        if quick:
            continue
        if any(row.get("ratio") for row in rows.values()):
            store.keep(item.key, rows)
        else:
            print("\nNothing is stored: there are no ratios without a sample of lorasolve.", flush=True)
    if with_growth:
        for series in growth.SERIES:
            row = growth.measure(series, environment(threads))
            before, after = after, limits.ask()
            row = row | circumstances(before, after) if measured(row) else row
            print("\n".join(page.markdown_table(growth.HEADS, growth.cells({series: row}))), flush=True)
            kept = store.stored(growth.KEY, list(growth.SERIES))
            store.keep(growth.KEY, kept | {series: row})
    limits.close()


def make_pages(items: list[Item]) -> None:
    """Make the page, its figures and the tables in other pages from what is stored."""
    page.write(items)
    cost_tables.write(items)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def main() -> None:
    """Run the items named on the command line, or all, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    try:
        known = catalogue.items()
    except ValueError as error:
        parser.error(str(error))
    accepted = ", ".join([*known, growth.KEY])
    parser.add_argument("items", nargs="*", help=f"any of {accepted}, or a prefix such as S5")
    parser.add_argument("--quick", action="store_true", help="two samples, no slow peers; ten items if none is named")
    parser.add_argument("--threads", type=positive, default=2, help="most threads a program may use (default 2)")
    parser.add_argument("--page", action="store_true", help="measure nothing: make page and figures from the results")
    given = parser.parse_args()
    names = {name for key in known for name in (key, key.split()[0])} | {growth.KEY}
    for name in given.items:
        if name not in names:
            parser.error(f"items: expected any of {accepted}, got {name!r}")
    if given.page and (given.items or given.quick):
        parser.error("--page: expected no items and no --quick, since it measures nothing")
    if given.quick and growth.KEY in given.items:
        parser.error(f"--quick: expected items other than {growth.KEY}, which has no quick form")
    if given.page:
        make_pages(list(known.values()))
        return
    asked = set(given.items or (catalogue.QUICK if given.quick else names))
    chosen = [item for key, item in known.items() if {key, key.split()[0]} & asked]
    if given.quick:
        run(chosen, False, True, given.threads)
        return
    # What would fail after hours of measuring is to fail now.
    try:
        store.check_writable()
    except OSError as error:
        parser.error(f"{store.RESULTS} cannot be written: {error}")
    for key in [*known, growth.KEY]:
        store.stored(key, [])
    try:
        run(chosen, growth.KEY in asked, False, given.threads)
    finally:
        make_pages(list(known.values()))


if __name__ == "__main__":
    main()
