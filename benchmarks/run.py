"""Run lorasolve beside its peers: same data, same start, same stopping quantity, one process each, in turns.

    python benchmarks/run.py [ITEM...] [--quick] [--json FILE]

Each peer lives in a process of its own with all thread pools pinned, and gives one sample per round, so that drift
of the machine hits all alike. Printed are median, spread, the ratio to lorasolve (above 1: lorasolve is faster),
the fraction of the machine's limit where one can be named, peak memory, and the time to the first answer. A full
run of all items also writes ``docs/benchmarks.md`` and ``docs/figures/bench_*.png``.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import textwrap
import time
from typing import Any

import catalogue
from peers import Item, Peer

HERE = pathlib.Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
# Samples during which more of a core than this was busy with other things are repeated, in up to so many rounds.
QUIET = 0.12
MORE_ROUNDS = 3
# Idle threads of the program sampled last go on spinning for up to a tenth of a second (OpenBLAS).
SETTLE_SECONDS = 0.2
POOLS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "LORASOLVE_NUM_THREADS")
PACKAGES = ("numpy", "scipy", "numba", "torch", "jax", "cvxpy", "scs", "clarabel", "implicit", "cmfrec", "lorasolve")


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process whose pools have ``threads`` workers."""
    pinned = {name: str(threads) for name in POOLS}
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
    return os.environ | pinned | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


class Worker:
    """The process of one peer."""

    def __init__(self, item: Item, peer: Peer, quick: bool, most_threads: int) -> None:
        threads = min(peer.threads, most_threads)
        self.peer = peer
        self.taken: list[tuple[float, float]] = []
        command = [sys.executable, str(HERE / "worker.py"), item.key, peer.name, "quick" if quick else "full"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not os.environ.get("BENCH_DEBUG") else None,
            text=True,
            env=environment(threads),
            cwd=HERE,
        )
        self.row: dict[str, Any] = {"name": peer.name, "threads": threads, "samples": [], "goal": peer.goal}
        self.take(self.process.stdout.readline())  # type: ignore[union-attr]

    def take(self, line: str) -> None:
        """Store an answer of the process."""
        if not line:
            error = self.process.stderr.read().strip().splitlines() if self.process.stderr else []
            self.row["skipped"] = "failed: " + (error[-1] if error else "no answer")
            return
        answer = json.loads(line)
        if "seconds" in answer:
            self.taken.append((answer.pop("foreign"), answer.pop("seconds")))
        self.row |= answer

    def ask(self) -> None:
        """Take one sample."""
        quiet = sum(foreign <= QUIET for foreign, _ in self.taken)
        if "skipped" in self.row or quiet >= self.peer.repeats or (self.taken and self.peer.repeats == 1):
            return
        time.sleep(SETTLE_SECONDS)
        self.process.stdin.write("\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        self.take(self.process.stdout.readline())  # type: ignore[union-attr]

    def close(self) -> None:
        """End the process and keep the samples that were disturbed least."""
        kept = sorted(self.taken)[: self.peer.repeats]
        self.row["samples"] = [seconds for _, seconds in kept]
        self.row["disturbed"] = any(foreign > QUIET for foreign, _ in kept)
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait()


def run_item(item: Item, quick: bool, most_threads: int, rates: dict[str, float]) -> dict[str, Any]:
    """Run all peers of an item in turns and return its table as data."""
    workers: list[Worker] = []
    left_out = []
    for peer in item.peers:
        if quick and peer.full_only:
            left_out.append({"name": peer.name, "threads": peer.threads, "samples": [], "skipped": "full runs only"})
        else:
            workers.append(Worker(item, peer, quick, most_threads))
    for _ in range(2 if quick else 5 + MORE_ROUNDS):
        for worker in workers:
            worker.ask()
    for worker in workers:
        worker.close()
    rows = [worker.row for worker in workers] + left_out
    ours = next((worker.row for worker in workers if worker.peer.ours and worker.row["samples"]), None)
    for row in rows:
        if row["samples"]:
            row["median"] = statistics.median(row["samples"])
            row["ratio"] = row["median"] / statistics.median(ours["samples"]) if ours else math.nan
            if item.limit is not None:
                row["of_limit"] = item.limit(rates) / row["median"]
    values = [w.row["check"] for w in workers if w.peer.checked and w.row["samples"]]
    agree = all(math.isclose(v, values[0], rel_tol=item.rtol) for v in values)
    texts = {"key": item.key, "title": item.title, "limit": item.limit_text, "remark": item.remark}
    return texts | {"rows": rows, "agree": agree}


def seconds_text(value: float) -> str:
    """Return a time with a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1.0:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def cells(row: dict[str, Any]) -> list[str]:
    """Return the printed cells of a row."""
    if not row["samples"]:
        return [row["name"], str(row["threads"]), "skipped: " + row.get("skipped", "no sample"), *[""] * 6]
    spread = f"{seconds_text(min(row['samples']))} to {seconds_text(max(row['samples']))}"
    goal = ""
    if row.get("goal"):
        must, aim = row["goal"]
        word = "aim reached" if row["ratio"] >= aim else "reached" if row["ratio"] >= must else "missed"
        goal = f"{must:.3g} ({aim:.3g}): {word}"
    limit = f"{row['of_limit']:.2f}" if "of_limit" in row else ""
    compiled = f", {row['compiled']:.1f} s of it compiling" if row.get("compiled") else ""
    return [
        row["name"],
        str(row["threads"]),
        ("~" if row["disturbed"] else "") + seconds_text(row["median"]),
        spread,
        f"{row['ratio']:.3g}",
        goal,
        limit,
        f"{row['peak']:.0f}",
        f"{row['first']:.1f} s{compiled}",
    ]


HEADS = ["program", "threads", "median", "spread", "ratio", "goal (aim)", "of limit", "peak MiB", "first answer"]


def table(result: dict[str, Any]) -> str:
    """Return the Markdown table of an item."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in result["rows"]]
    lines.append("")
    agreement = "All checked values agree." if result["agree"] else "**The checked values differ.**"
    lines.append(agreement + (f" Limit: {result['limit']}." if result["limit"] else ""))
    if result["remark"]:
        lines += ["", textwrap.fill(result["remark"], 116)]
    return "\n".join(lines)


def figure(result: dict[str, Any], path: pathlib.Path) -> None:
    """Draw the medians of an item as points, because lengths say nothing on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = [row for row in result["rows"] if row["samples"]][::-1]
    fig, ax = plt.subplots(figsize=(7.5, 1.3 + 0.34 * len(rows)), layout="constrained")
    names, medians = [row["name"] for row in rows], [row["median"] for row in rows]
    for label, marker, colour in (("lorasolve", "D", "#0072B2"), ("others", "o", "#666666")):
        mine = [k for k, name in enumerate(names) if name.startswith("lorasolve") == (label == "lorasolve")]
        if mine:
            ax.plot([medians[k] for k in mine], mine, marker, color=colour, ms=8, label=label)
    for k, median in enumerate(medians):
        ax.annotate(seconds_text(median), (median, k), (9, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xscale("log")
    # Whole powers of ten, so that no ticks overlap and at least two are there.
    ax.set_xlim(10.0 ** math.floor(math.log10(min(medians))), 10.0 ** (math.floor(math.log10(2.0 * max(medians))) + 1))
    ax.xaxis.set_major_locator(LogLocator(numticks=8))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("seconds (median); less is better")
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    title = textwrap.fill(f"{result['key']}. {result['title']}", 90)
    fig.suptitle(title, fontsize=9, x=0.01, ha="left")
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def versions() -> str:
    """Return the versions of what is installed."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def page(results: list[dict[str, Any]], rates: dict[str, float], most_threads: int) -> str:
    """Return the page ``docs/benchmarks.md``."""
    head = [
        "# Benchmarks",
        "",
        "Generated by `python benchmarks/run.py` (`pip install -e '.[bench]'` for the peers); see it for the rules.",
        "Ratios are times over the time of the first lorasolve row: above 1, lorasolve is faster. `goal (aim)` is the",
        "ratio that was asked for, and the one beyond it. `of limit` is the time the hardware needs over the time",
        "taken. Times belong to one machine; ratios travel better. A median after `~` includes samples during which",
        "other programs kept more than an eighth of a core busy.",
        "",
        f"Date: {datetime.date.today().isoformat()}. Versions: {versions()}.",
        f"Machine: {os.cpu_count()} cores of a shared {platform.machine()} server, {platform.system()}. Measured: "
        + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
        + f". Most threads per program: {most_threads} (the goals are stated for 2).",
        "",
    ]
    body = []
    for result in results:
        name = result["key"].replace(" ", "_").replace("=", "")
        body += [f"## {result['key']}. {result['title']}", "", table(result), ""]
        if any(row["samples"] for row in result["rows"]):
            body += [f"![{result['key']}](figures/bench_{name}.png)", ""]
    growth = DOCS / "figures" / "bench_S10.png"
    if growth.exists():
        body += ["## S10. Growth with the size", "", "![S10](figures/bench_S10.png)", "", growth_text(), ""]
    return "\n".join(head + body).rstrip() + "\n"


def growth_text() -> str:
    """Return the table that the growth run left."""
    path = DOCS / "figures" / "bench_S10.md"
    return path.read_text() if path.exists() else ""


def main() -> None:
    """Run the items named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = catalogue.items()
    parser.add_argument("items", nargs="*", help=f"any of {', '.join(known)}, S10, or a prefix such as S5")
    parser.add_argument("--quick", action="store_true", help="two samples, no slow peers")
    parser.add_argument("--threads", type=int, default=2, help="most threads a program may use (default 2)")
    parser.add_argument("--json", type=pathlib.Path, help="write all numbers to this file")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md for a partial run too")
    given = parser.parse_args()
    names = {name for key in known for name in (key, key.split()[0])} | {"S10"}
    for name in given.items:
        if name not in names:
            parser.error(f"unknown item {name!r}; accepted: {', '.join(known)}, S10")
    chosen = [item for key, item in known.items() if not given.items or {key, key.split()[0]} & set(given.items)]
    raw = subprocess.run(
        [sys.executable, str(HERE / "limits.py")],
        capture_output=True,
        text=True,
        check=True,
        env=environment(given.threads),
        cwd=HERE,
    )
    rates = json.loads(raw.stdout)
    results = []
    for item in chosen:
        print(f"\n{item.key}. {item.title}\n", flush=True)
        results.append(run_item(item, given.quick, given.threads, rates))
        print(table(results[-1]), flush=True)
    write_docs = given.docs or not (given.items or given.quick)
    if (not given.items or "S10" in given.items) and not given.quick:
        command = [sys.executable, str(HERE / "growth.py"), str(DOCS / "figures")]
        subprocess.run(command, check=True, env=environment(given.threads))
    if write_docs:
        (DOCS / "figures").mkdir(parents=True, exist_ok=True)
        for result in results:
            if any(row["samples"] for row in result["rows"]):
                name = result["key"].replace(" ", "_").replace("=", "")
                figure(result, DOCS / "figures" / f"bench_{name}.png")
        (DOCS / "benchmarks.md").write_text(page(results, rates, given.threads))
    if given.json:
        given.json.write_text(json.dumps({"versions": versions(), "rates": rates, "items": results}, indent=1))


if __name__ == "__main__":
    main()
