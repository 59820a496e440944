"""Writes the lemmas of Coq to a folder, and has its kernel judge them one by one."""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorasolve._support.text import counted
from proofs import _coq
from proofs._coq_reader import differences

BY_HAND = Path(__file__).parent / "coq"
INSTALL = "apt-get install coq libcoq-mathcomp-algebra libcoq-mathcomp-algebra-tactics"
SECONDS = 60.0  # of CPU time, for one lemma
WORKERS = 2


@dataclass(frozen=True)
class LemmaVerdict:
    """What became of a lemma: accepted by the kernel with no axiom, refused for a reason, or not judged in time."""

    accepted: bool
    reason: str
    seconds: float
    judged: bool = True

    def __str__(self) -> str:
        if not self.judged:
            return f"resists: not within {self.seconds:g} s of CPU time"
        return f"accepted by the kernel ({self.seconds:.1f} s)" if self.accepted else f"REFUSED: {self.reason}"


def lemmas(content: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the lemma of each check of the named theorems, and for each check that has none the reason.

    A lemma whose statement, read back, is not that of the check is left out too.
    """
    found: dict[str, str] = {}
    left_out = {name: reason for name, reason in content["not_exported"].items() if _theorem(name) in names}
    for check in content["checks"]:
        if _theorem(check["id"]) in names:
            try:
                found[check["id"]] = _read_back(check)
            except _coq.CoqError as reason:
                left_out[check["id"]] = str(reason)
    return found, left_out


def _theorem(check: str) -> str:
    """Return the theorem of a check from its name in the document; a file may have dots and slashes in its name."""
    return check.rpartition(".")[0]


def _own_name(check: str) -> str:
    """Return the name under which a check is judged, which no other has: the kernel would tell of that one."""
    return "of_" + re.sub(r"[\W_]", lambda sign: f"_{ord(sign[0])}_", check, flags=re.ASCII)


def _read_back(check: Mapping[str, Any]) -> str:
    plain, text = _coq.without_roots(check), _coq.lemma(check)
    wrong = differences(text.split("\nLemma ", 1)[1].split(" ", 1)[1].split(".\nProof.", 1)[0], plain)
    if wrong:
        raise _coq.CoqError(f"the statement is not read back: {'; '.join(wrong)}")
    return text


def _by_hand(found: Mapping[str, str]) -> list[Path]:
    """Return the files written by hand: what every lemma needs, then those that are named as theorems of the lemmas."""
    theorems = {_theorem(name) for name in found}
    return [BY_HAND / "Base.v", *(path for path in sorted(BY_HAND.glob("*.v")) if path.stem in theorems)]


def write(found: Mapping[str, str], folder: Path) -> None:
    """Write the lemmas, one file a theorem, beside the files written by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in _by_hand(found):
        shutil.copy(path, folder / path.name)
    files = {name: re.sub(r"\W", "_", _theorem(name)) for name in found}
    for file in dict.fromkeys(files.values()):
        texts = [text for name, text in found.items() if files[name] == file]
        (folder / f"{file}_checks.v").write_text("\n".join([_coq.HEADER, *texts]), encoding="utf-8")


def refuse_without_coq() -> None:
    """Raise a ``ValueError`` if Coq is not installed."""
    if shutil.which("coqtop") is None or shutil.which("coqc") is None:
        raise ValueError(f"--coq-check: coqc and coqtop are not installed; on Debian: {INSTALL}")


def judged(found: Mapping[str, str], folder: Path) -> Iterator[tuple[str, LemmaVerdict]]:
    """Yield what the kernel says of each file written by hand and of each lemma."""
    write(found, folder)
    for path in _by_hand(found):
        yield path.name, _compiled(folder / path.name)
    waiting: queue.Queue[tuple[str, str]] = queue.Queue()
    answers: queue.Queue[tuple[str, LemmaVerdict] | None] = queue.Queue()
    for item in found.items():
        waiting.put(item)

    def work() -> None:
        try:
            with Session(folder, SECONDS) as session, suppress(queue.Empty):
                while True:
                    name, lemma = waiting.get_nowait()
                    answers.put((name, session.judge(name, lemma)))
        finally:
            answers.put(None)

    workers = min(WORKERS, len(found))  # a session loads MathComp for seconds before it judges
    with ThreadPoolExecutor(WORKERS) as pool:
        working = [pool.submit(work) for _ in range(workers)]
        for _ in working:
            yield from iter(answers.get, None)
        for worker in working:
            worker.result()


def total(verdicts: Mapping[str, LemmaVerdict], left_out: Mapping[str, str]) -> str:
    """Return how many lemmas and files by hand are accepted, and how many checks resist or are no lemma, and why."""
    kinds = Counter("contains a function" if reason.startswith("contains ") else reason for reason in left_out.values())
    late = [name for name, verdict in verdicts.items() if not verdict.judged]
    refused = [name for name, verdict in verdicts.items() if verdict.judged and not verdict.accepted]
    accepted = len(verdicts) - len(late) - len(refused)
    lines = [f"{accepted} of {len(verdicts)} accepted by the kernel of Coq, none of them with an axiom"]
    lines += [f"{len(refused)} refused: {', '.join(refused)}"] * bool(refused)
    lines += [f"{len(late)} resist, not within {SECONDS:.0f} s of CPU time: {', '.join(late)}"] * bool(late)
    reasons = "; ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    lines += [f"{counted(len(left_out), 'check')} not exported: {reasons}"] * bool(left_out)
    return "\n".join(lines)


def _compiled(path: Path) -> LemmaVerdict:
    before = os.times()
    command = ["coqc", "-w", "none", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    axioms = "Axioms:" in done.stdout
    reason = "it assumes axioms" if axioms else done.stderr.strip()[-600:]
    return LemmaVerdict(done.returncode == 0 and not axioms, reason, os.times().children_user - before.children_user)


class Session:
    """A session of Coq that judges lemmas one at a time; one that takes too long ends it, and a new one begins.

    Parameters
    ----------
    folder
        Where ``Base.vo`` is, and where the lemmas are written.
    seconds
        The CPU time that one lemma may take.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            ["coqtop", "-w", "none", "-q"],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if self._said(f"{_coq.HEADER}Set Silent.") is None:
            raise RuntimeError("coqtop ended before it was given a lemma")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def judge(self, name: str, lemma: str) -> LemmaVerdict:
        """Return whether a lemma is closed: no axiom, nothing admitted."""
        own = _own_name(name)
        text = re.sub(r"\nLemma \w+", f"\nLemma {own}", lemma, count=1)
        (self.folder / f"{own}.v").write_text(text, encoding="utf-8")
        before = _cpu_seconds(self.process.pid)
        done = threading.Event()
        threading.Thread(target=self._ended_after, args=(before + self.seconds, done), daemon=True).start()
        log = self._said(f'Load "{own}".\nAbort All.\nGoal True. idtac "@@loaded". Abort.\nPrint Assumptions {own}.')
        done.set()
        if log is None:
            self.process.communicate()
            self._start()
            return LemmaVerdict(False, "", self.seconds, judged=False)
        errors, _, said = log.partition("@@loaded")
        closed = "Closed under the global context" in said
        error = re.search(r"Error[\s\S]{0,400}", errors)
        reason = "" if closed else error[0].strip() if error else said[-400:]
        return LemmaVerdict(closed, reason, _cpu_seconds(self.process.pid) - before)

    def _ended_after(self, limit: float, done: threading.Event) -> None:
        while not done.wait(0.2):
            if _cpu_seconds(self.process.pid) > limit:
                self.process.kill()
                return

    def _said(self, commands: str) -> str | None:
        """Give commands to Coq and return what it says to them, or None if it ends."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f'{commands}\nGoal True. idtac "@@said". Abort.\n')
        self.process.stdin.flush()
        log = ""
        for line in self.process.stdout:
            if "@@said" in line:
                return log
            log += line
        return None


def _cpu_seconds(process: int) -> float:
    """Return the CPU time of a process; where the system does not tell it, the clock, whose differences bound it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
