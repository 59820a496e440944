"""Run lorasolve beside its peers: same data, same start, same stopping quantity, one process each, in turns.

    python benchmarks/run.py [ITEM...] [--quick]

Each peer lives in a process of its own with all thread pools pinned, and gives one sample per round, so that drift
of the machine hits all alike. Printed are median, spread, the ratio to lorasolve (above 1: lorasolve is faster),
the fraction of the machine's limit where one can be named, peak memory, and the time to the first answer. What a full
run of an item found is kept in ``benchmarks/results``, a file an item with its date, versions and the machine's rates;
``docs/benchmarks.md`` and its figures are made from all of these, so items may be run one at a time.
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
RESULTS = HERE / "results"
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
    # What users have: modules compiled to bytecode once.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return own | pinned | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


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
    if ours is not None and item.seconds is not None:
        ours["seconds_goal"] = item.seconds
    texts = {"key": item.key, "title": item.title, "limit": item.limit_text, "remark": item.remark}
    return texts | {"rows": rows, "agree": agree}


def seconds_text(value: float) -> str:
    """Return a time with a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1.0:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def goal(row: dict[str, Any]) -> tuple[str, str] | None:
    """Return what was asked of a measured row (and aimed at), and whether that was reached; None without a goal."""
    if row.get("seconds_goal"):
        must, aim = row["seconds_goal"]
        word = "aim reached" if row["median"] <= aim else "reached" if row["median"] <= must else "missed"
        return f"at most {seconds_text(must)} ({seconds_text(aim)})", word
    if not row.get("goal"):
        return None
    must, aim = row["goal"]
    word = "aim reached" if row["ratio"] >= aim else "reached" if row["ratio"] >= must else "missed"
    return f"{must:.3g} ({aim:.3g})", word


def cells(row: dict[str, Any]) -> list[str]:
    """Return the printed cells of a row."""
    if not row["samples"]:
        return [row["name"], str(row["threads"]), "skipped: " + row.get("skipped", "no sample"), *[""] * 6]
    spread = f"{seconds_text(min(row['samples']))} to {seconds_text(max(row['samples']))}"
    limit = f"{row['of_limit']:.2f}" if "of_limit" in row else ""
    compiled = f", {row['compiled']:.1f} s of it compiling" if row.get("compiled") else ""
    return [
        row["name"],
        str(row["threads"]),
        ("~" if row["disturbed"] else "") + seconds_text(row["median"]),
        spread,
        f"{row['ratio']:.3g}",
        "" if (asked := goal(row)) is None else ": ".join(asked),
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
    # Whole powers of ten, no point on an axis: no ticks overlap and at least two are there.
    first, last = (math.floor(math.log10(end)) for end in (0.8 * min(medians), 2.0 * max(medians)))
    ax.set_xlim(10.0**first, 10.0 ** (last + 1))
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


def file_name(key: str) -> str:
    """Return the key of an item without what file names should not have."""
    return key.replace(" ", "_").replace("=", "")


def machine() -> str:
    """Return what kind of machine this is; the length of a vector register decides what kernels can gain."""
    import llvmlite.binding as llvm

    bits = 512 if llvm.get_host_cpu_features().get("avx512f") else 256
    kind = f"{os.cpu_count()} cores of a shared {platform.machine()} server, {platform.system()}"
    return f"{kind}, vector registers of {bits} bits" if platform.machine() == "x86_64" else kind


def keep(result: dict[str, Any], rates: dict[str, float], most_threads: int) -> None:
    """Write what a full run of an item found, with its circumstances, and its figure."""
    circumstances = {
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "machine": machine(),
        "rates": rates,
        "threads": most_threads,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{file_name(result['key'])}.json"
    path.write_text(json.dumps(circumstances | {"item": result}, indent=1) + "\n")
    if any(row["samples"] for row in result["rows"]):
        (DOCS / "figures").mkdir(parents=True, exist_ok=True)
        figure(result, DOCS / "figures" / f"bench_{file_name(result['key'])}.png")


def kept(keys: list[str]) -> list[dict[str, Any]]:
    """Return what was found of each item that has ever been run, in this order."""
    paths = (RESULTS / f"{file_name(key)}.json" for key in keys)
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def circumstances_text(found: dict[str, Any]) -> str:
    """Return when and on what an item was measured."""
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in found["rates"].items())
    return f"Measured {found['date']}, at most {found['threads']} threads per program; {rates}."


def summary(found: list[dict[str, Any]]) -> list[str]:
    """Return the table of all goals."""
    lines = ["| item | row | asked (aim) | measured | |", "|---|---|---|---|---|"]
    for entry in found:
        for row in entry["item"]["rows"]:
            asked = goal(row) if row["samples"] else None
            if asked is not None:
                measured = seconds_text(row["median"]) if row.get("seconds_goal") else f"{row['ratio']:.3g}"
                lines.append(f"| {entry['item']['key']} | {row['name']} | {asked[0]} | {measured} | {asked[1]} |")
    return lines


def _made_with(entry: dict[str, Any]) -> str:
    return f"{entry['machine']}. Versions: {entry['versions']}."


def page(found: list[dict[str, Any]], missing: list[str]) -> str:
    """Return the page ``docs/benchmarks.md``."""
    head = [
        "# Benchmarks",
        "",
        "Generated by `python benchmarks/run.py` (`pip install -e '.[bench]'` for the peers); see it for the rules.",
        "Ratios are times over the time of the first lorasolve row: above 1, lorasolve is faster. `goal (aim)` is the",
        "ratio that was asked for, and the one beyond it. `of limit` is the time the hardware needs over the time",
        "taken. Times belong to one machine; ratios travel better, but not everywhere: on one with registers of 256",
        "bits and slower memory, earlier on 2026-11-26, S1 was 3.68, S2 335, S3 14.8, S3a 9.2, S3t 8.0, S4 9.8. What",
        "is dated 2026-11-28 was measured on one with a smaller cache and slower memory than what is dated before; S1",
        "was 5.2 there and S3 16 to 24. A median after `~` includes samples during which other programs kept more than",
        "an eighth of a core busy.",
        "",
    ]
    for text in dict.fromkeys(map(_made_with, found)):
        dates = sorted({entry["date"] for entry in found if _made_with(entry) == text})
        head += [f"{' and '.join(dates)}: {text}", ""]
    if missing:
        head += [f"Not measured: {', '.join(missing)}.", ""]
    body = ["## Goals", "", "Reasons for what was missed stand with each item.", "", *summary(found), ""]
    for entry in found:
        result = entry["item"]
        body += [f"## {result['key']}. {result['title']}", "", table(result), "", circumstances_text(entry), ""]
        if any(row["samples"] for row in result["rows"]):
            body += [f"![{result['key']}](figures/bench_{file_name(result['key'])}.png)", ""]
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
    parser.add_argument("--quick", action="store_true", help="two samples, no slow peers; ten items if none is named")
    parser.add_argument("--threads", type=int, default=2, help="most threads a program may use (default 2)")
    given = parser.parse_args()
    names = {name for key in known for name in (key, key.split()[0])} | {"S10"}
    for name in given.items:
        if name not in names:
            parser.error(f"unknown item {name!r}; accepted: {', '.join(known)}, S10")
    asked = set(given.items or (catalogue.QUICK if given.quick else known))
    chosen = [item for key, item in known.items() if {key, key.split()[0]} & asked]
    raw = subprocess.run(
        [sys.executable, str(HERE / "limits.py")],
        capture_output=True,
        text=True,
        check=True,
        env=environment(given.threads),
        cwd=HERE,
    )
    rates = json.loads(raw.stdout)
    for item in chosen:
        print(f"\n{item.key}. {item.title}\n", flush=True)
        result = run_item(item, given.quick, given.threads, rates)
        print(table(result), flush=True)
        if not given.quick:
            keep(result, rates, given.threads)
    if given.quick:
        return
    if not given.items or "S10" in given.items:
        command = [sys.executable, str(HERE / "growth.py"), str(DOCS / "figures")]
        subprocess.run(command, check=True, env=environment(given.threads))
    found = kept(list(known))
    measured = {entry["item"]["key"] for entry in found}
    (DOCS / "benchmarks.md").write_text(page(found, [key for key in known if key not in measured]))


if __name__ == "__main__":
    main()
