"""The command-line campaign: every command and option, with hostile files, streams, environments and interruptions.

A run has to end with a documented exit code, without a traceback; what it prints with ``--json`` is one document, and
what it leaves behind is whole. Each run is a fork of a process that has imported the package but computed nothing.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from files import make_files

import lorasolve as ls
from lorasolve import cli
from lorasolve.commands import registry

CODES = {0, 1, 2, 3, 130, 143}
# A run that is still going after this is interrupted, and has to end soon after that.
PATIENCE, GRACE = 6.0, 60.0
END_OF_PNG = b"IEND\xaeB`\x82"
LIMITS = {"--max-iter": "5", "--seconds": "0.2", "--time-limit": "2"}


# ---------------------------------------------------------------------- one run
@dataclass
class Run:
    """What a process is started with."""

    argv: list[str]
    stdout: str = "pipe"
    stderr: str = "pipe"
    environment: dict[str, str | None] = field(default_factory=dict)
    encoding: str = "utf-8"
    signal: tuple[float, int] | None = None
    limit: tuple[int, int] | None = None

    def __str__(self) -> str:
        parts = [" ".join(repr(part[:60]) if part != part.strip() or len(part) > 60 else part for part in self.argv)]
        parts += [f"{name}={value}" for name, value in vars(self).items() if name != "argv" and value]
        return " | ".join(part for part in parts if part not in ("stdout=pipe", "stderr=pipe", "encoding=utf-8"))


@dataclass
class Ended:
    """How it ended."""

    code: int
    out: str
    err: str
    hung: bool


def execute(run: Run, folder: pathlib.Path) -> Ended:
    """Run the command line in a fork and wait for its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code, hung = _wait(run, folder, out.fileno(), err.fileno())
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Ended(code, *texts, hung)


def _wait(run: Run, folder: pathlib.Path, out: int, err: int) -> tuple[int, bool]:
    """Start the fork, interrupt it as the run says and when it takes long; return its code and whether it hung."""
    child = os.fork()
    if child == 0:
        _become(run, folder, out, err)
    began = time.monotonic()
    interrupted = hung = False
    again = 0.0
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        age = time.monotonic() - began
        if run.signal is not None and age >= run.signal[0] and not interrupted:
            interrupted = True
            os.kill(child, run.signal[1])
        elif age > PATIENCE and time.monotonic() > again:
            # As a user would: once more if nothing happens, for other libraries may swallow an interruption.
            again = time.monotonic() + PATIENCE
            os.kill(child, signal.SIGINT)
        elif age > PATIENCE + GRACE:
            hung = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(status), hung


def _become(run: Run, folder: pathlib.Path, out: int, err: int) -> None:
    """Turn the forked child into the process of the command."""
    code = 99
    try:
        os.chdir(folder)
        for name, value in run.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for stream, descriptor, kept in (("stdout", 1, out), ("stderr", 2, err)):
            how = getattr(run, stream)
            if how == "closed":
                os.close(descriptor)
                setattr(sys, stream, None)
                continue
            if how == "full":
                kept = os.open("/dev/full", os.O_WRONLY)
            elif how == "left":
                reader, kept = os.pipe()
                os.close(reader)
            os.dup2(kept, descriptor)
            how_coded: Any = {"encoding": run.encoding, "errors": "backslashreplace", "closefd": False}
            setattr(sys, stream, os.fdopen(descriptor, "w", **how_coded))
        if run.limit is not None:
            resource.setrlimit(run.limit[0], (run.limit[1], run.limit[1]))
        sys.argv = ["lorasolve", *run.argv]
        cli.entry()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 98
    except BaseException:
        traceback.print_exc()
    finally:
        # As at the end of a process, but for the tests' own handlers.
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                code = 120
        os._exit(code)


def fault_of(run: Run, ended: Ended, folder: pathlib.Path) -> str:
    """Return what is wrong with an end, or an empty text."""
    if ended.hung:
        return "HUNG"
    killed = run.signal is not None and run.signal[1] == signal.SIGKILL
    early = run.signal is not None and ended.code == -run.signal[1]  # before the process took charge of it
    if ended.code not in CODES and not killed and not early:
        return f"exit code {ended.code}: {ended.err[-200:]!r}"
    if "Traceback" in ended.err or "Traceback" in ended.out:
        return f"a traceback: {ended.err[-300:]!r}"
    if ended.code == 2 and run.stderr == "pipe" and run.limit is None and not ended.err.strip():
        return "exit code 2 without words"
    answers = run.argv[0] in registry.classes() and "--json" in run.argv and not {"-h", "--help"} & set(run.argv)
    if answers and ended.code in (0, 1, 3) and run.stdout == "pipe" and ended.out and not killed:
        try:
            json.loads(ended.out)
        except ValueError:
            return f"no JSON: {ended.out[:200]!r}"
    return broken(folder)


def broken(folder: pathlib.Path) -> str:
    """Return what a run has left behind that is not whole, or an empty text."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or ".tmp" in path.name:
            return f"leaves {path.name}"
        if path.is_file() and path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError:
                return f"{path.name} is not whole"
        elif path.is_file() and path.suffix == ".npz":
            try:
                ls.io.read_arrays(path)
            except ValueError as error:
                return f"{path.name} is not whole: {error}"
        elif path.is_file() and path.suffix == ".png" and not path.read_bytes().endswith(END_OF_PNG):
            return f"{path.name} is not whole"
    return _mixed(folder)


def _mixed(folder: pathlib.Path) -> str:
    """Say if a report and its figure are of two runs."""
    for path in folder.glob("*.json"):
        figure = path.with_suffix(".png")
        document = json.loads(path.read_text())
        run = document.get("run") if isinstance(document, dict) else None
        if figure.exists() and run is not None and run.encode() not in figure.read_bytes():
            return f"{path.name} and {figure.name} are of two runs"
    return ""


# ---------------------------------------------------------------------- cases
VALUES = [
    "", "-1", "0", "1", "2", "1e400", "nan", "inf", "9" * 400, "abc", "gd", "lbfgs", "als", "adam+cosine", "gd@dora",
    "gd+periodic:period=0", "lora:alpha=" + "9" * 400, "gd:step_size=" + "(" * 300, "gd:step_size=[", "\u00e9\u2603",
    "..", ".", "/", "out/", "/proc/x", "/dev/null", "/dev/full", "out", "deep/er/out", "x" * 300, "--", "-", "a\nb",
    "all",
]  # fmt: skip


# What kind of file an argument without a name takes.
TAKES = {
    ("certify", "file"): "data",
    ("complete", "file"): "data",
    ("predict", "model"): "data",
    ("predict", "pairs"): "data",
    ("recommend", "model"): "data",
    ("verdict", "file"): "data",
    ("diagnose", "adapter"): "adapter",
    ("interfere", "adapters"): "adapter",
    ("truncate", "adapter"): "adapter",
    ("study", "file"): "study",
    ("prove", "names"): "proof",
}


class Cases:
    """Random command lines, from the parsers of all commands."""

    def __init__(self, data: pathlib.Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.data = data
        self.files = make_files(data)
        self.actions = {name: _actions(cls) for name, cls in registry.classes().items()}

    def draw(self) -> Run:
        """Return one run."""
        r = self.random
        name = r.choice(sorted(self.actions))
        argv = [name] if r.random() > 0.02 else [r.choice(["", "slove", "--help", "-V", "help", name[:-1]])]
        options = [a for a in self.actions[name] if a.option_strings]
        names = {option for a in options for option in a.option_strings}
        for option, value in LIMITS.items():
            if option in names and r.random() < 0.95:
                argv += [option, value]
        if "--objective" in names and r.random() < 0.9:
            kind = r.choice(["denoising", "denoising", "completion", "softmax", "huber"])
            argv += ["--objective", kind, self.file()]
            if r.random() < 0.5:
                argv += ["--lam", "0.5"]
        for action in r.sample(options, r.randint(0, min(3, len(options)))):
            argv += [r.choice(action.option_strings), *self.values(action)]
        for action in self.actions[name]:
            if not action.option_strings:
                argv += [self.positional(name, action) for _ in range(self.count(name, action))]
        if r.random() < 0.3 and "--json" in names:
            argv.append("--json")
        run = Run(argv)
        self.surround(run)
        return run

    def file(self, kind: str = "data") -> str:
        """Return a path for an argument that takes this kind of file, now and then of another."""
        r = self.random
        if kind != "data":
            return r.choice(self.files[kind] if r.random() < 0.9 else self.files[r.choice(list(self.files))])
        return r.choice(self.files[kind]) if r.random() < 0.7 else str(self.data / r.choice(["good.npz", "good.csv"]))

    def values(self, action: argparse.Action) -> list[str]:
        if action.nargs == 0:
            return []
        count = action.nargs if isinstance(action.nargs, int) else 1
        return [self.file() if self.random.random() < 0.25 else self.random.choice(VALUES) for _ in range(count)]

    def count(self, command: str, action: argparse.Action) -> int:
        """Return how many of the arguments without a name to give."""
        r = self.random
        if action.nargs is None:
            return 1
        at_most = 1 if action.nargs == "?" else 3
        return r.randint(1, at_most) if r.random() < (0.9 if (command, action.dest) in TAKES else 0.4) else 0

    def positional(self, command: str, action: argparse.Action) -> str:
        r = self.random
        kind = TAKES.get((command, action.dest))
        if kind is not None:
            return self.file(kind) if r.random() < 0.9 else r.choice(VALUES)
        return r.choice([*VALUES, "lemma1", "theorem1", "objectives", "gd", self.file()])

    def surround(self, run: Run) -> None:
        """Choose streams, environment and interruption."""
        r = self.random
        if r.random() < 0.15:
            run.stdout = r.choice(["closed", "full", "left"])
        if r.random() < 0.15:
            run.stderr = r.choice(["closed", "full"])
        if r.random() < 0.1:
            run.encoding = "ascii"
        if r.random() < 0.25:
            name, value = r.choice(
                [
                    ("HOME", None), ("XDG_CACHE_HOME", "/proc/x"), ("TMPDIR", "/proc/x"), ("COLUMNS", "1"),
                    ("LORASOLVE_NUM_THREADS", "0"), ("LORASOLVE_NUM_THREADS", "9" * 30), ("NO_COLOR", "1"),
                    ("LORASOLVE_NUM_THREADS", "\u00b2"), ("MPLCONFIGDIR", "/proc/x"), ("COLUMNS", "abc"),
                ]
            )  # fmt: skip
            run.environment[name] = value
        if r.random() < 0.15:
            run.signal = (r.random(), r.choice([signal.SIGINT, signal.SIGTERM]))
        elif r.random() < 0.05:
            run.limit = (resource.RLIMIT_FSIZE, r.choice([0, 100, 5000]))


def _actions(cls: type) -> list[argparse.Action]:
    parser = argparse.ArgumentParser(add_help=True)
    cls().add_arguments(parser)
    return list(parser._actions)


# ---------------------------------------------------------------------- kills
WRITING = [
    ["solve", "--objective", "denoising", "{good}", "--lam", "0.5", "--method", "lbfgs", "--out", "run"],
    ["solve", "--objective", "denoising", "{good}", "--lam", "0.5", "--max-iter", "2000", "--out", "run"],
    ["convex", "--objective", "denoising", "{good}", "--lam", "0.5", "--route", "factored", "--out", "run"],
    ["compare", "--objective", "denoising", "{good}", "--lam", "0.5", "--methods", "lbfgs", "gd", "--out", "run"],
    ["certify", "{point}", "--objective", "denoising", "{good}", "--lam", "0.5", "--write", "run.json"],
    ["attack", "optimizer:gd", "--seconds", "0.3", "--out", "."],
]


def kill(number: int, data: pathlib.Path, random_: random.Random) -> tuple[str, str]:
    """Kill a writing command at a random moment, over files of an earlier run or none, and run it once more."""
    argv = [part.format(good=data / "good.npz", point=data / "point.npz") for part in random_.choice(WRITING)]
    how = random_.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if random_.random() < 0.5:
            execute(Run(argv), folder)
        before = {path.name for path in folder.iterdir()}
        run = Run(argv, signal=(random_.random() * 0.8, how))
        fault = fault_of(run, execute(run, folder), folder)
        if not fault and not before <= {path.name for path in folder.iterdir()}:
            fault = "LOST a file of an earlier run"
        if not fault:
            again = Run(argv)
            ended = execute(again, folder)
            fault = fault_of(again, ended, folder)
            if not fault and ended.code not in (0, 1, 130, 3):
                fault = f"cannot be run again after a kill: {ended.err[-200:]!r}"
    return str(run), fault


def both_at_once(data: pathlib.Path) -> tuple[str, str]:
    """Let two processes write the same files at the same time."""
    argv = [part.format(good=data / "good.npz") for part in WRITING[3]]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        child = os.fork()
        if child == 0:
            execute(Run(argv), folder)
            os._exit(0)
        ended = execute(Run(argv), folder)
        os.waitpid(child, 0)
        fault = fault_of(Run(argv), ended, folder)
        # Which of the two comes last is left to chance, file by file; the identity in each tells.
        return "two at once: compare", "" if "of two runs" in fault else fault


# ---------------------------------------------------------------------- the campaign
def campaign(cases: int, kills: int, seed: int) -> tuple[int, dict[str, list[str]]]:
    """Run both parts and return the number of runs and the faults."""
    faults: dict[str, list[str]] = collections.defaultdict(list)
    data = pathlib.Path(tempfile.mkdtemp(prefix="campaign-data-"))
    tried = 0
    try:
        drawn = Cases(data, seed)
        for number in range(cases):
            run = drawn.draw()
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                ended = execute(run, folder)
                fault = fault_of(run, ended, folder)
            tried += 1
            if fault:
                faults[fault].append(f"case {number}: {run}")
        random_ = random.Random(seed)
        # Commands may have written over the files that they were given.
        fresh = data / "fresh"
        fresh.mkdir()
        make_files(fresh)
        for number in range(kills):
            words, fault = kill(number, fresh, random_)
            tried += 1
            if fault:
                faults[fault].append(f"kill {number}: {words}")
        words, fault = both_at_once(fresh)
        tried += 1
        if fault:
            faults[fault].append(words)
    finally:
        shutil.rmtree(data)
    return tried, faults


def main() -> int:
    """Run the campaign and print its figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1500)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args()
    began = time.monotonic()
    tried, faults = campaign(args.cases, args.kills, args.seed)
    for fault, where in faults.items():
        print(f"{len(where)} x {fault}\n    " + "\n    ".join(where[:5]))
    lost = sum(len(w) for f, w in faults.items() if f.startswith(("LOST", "leaves")) or "whole" in f)
    hung = len(faults.get("HUNG", []))
    wrong = sum(map(len, faults.values())) - hung - lost
    print(
        f"commands: {tried} tried, {wrong} wrong, {hung} hung, {lost} lost "
        f"(seed {args.seed}, {time.monotonic() - began:.0f} s)"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
