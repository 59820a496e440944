"""Writes the lemmas of Coq to a folder, and has its kernel judge them one by one."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofs import _coq
from proofs._coq_reader import differences

BY_HAND = Path(__file__).parent / "coq"
INSTALL = "apt-get install coq libcoq-mathcomp-algebra libcoq-mathcomp-algebra-tactics"
SECONDS = 60.0  # for one lemma
WORKERS = 2


@dataclass(frozen=True)
class Verdict:
    """What became of a lemma: accepted by the kernel with no axiom, refused for a reason, or not judged in time."""

    accepted: bool
    reason: str
    seconds: float
    judged: bool = True

    def __str__(self) -> str:
        if not self.judged:
            return f"not judged: longer than {self.seconds:.0f} s"
        return f"accepted by the kernel ({self.seconds:.1f} s)" if self.accepted else f"REFUSED: {self.reason}"


def lemmas(content: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the lemma of each check of the named theorems, and for each check that has none the reason.

    A lemma whose statement, read back, is not that of the check is left out too.
    """
    found: dict[str, str] = {}
    left_out = {name: reason for name, reason in content["not_exported"].items() if name.split(".")[0] in names}
    for check in content["checks"]:
        if check["id"].split(".")[0] in names:
            try:
                found[check["id"]] = _read_back(check)
            except _coq.CoqError as reason:
                left_out[check["id"]] = str(reason)
    return found, left_out


def _read_back(check: Mapping[str, Any]) -> str:
    plain, text = _coq.without_roots(check), _coq.lemma(check)
    wrong = differences(text.split("\nLemma ", 1)[1].split(" ", 1)[1].split(".\nProof.", 1)[0], plain)
    if wrong:
        raise _coq.CoqError(f"the statement is not read back: {'; '.join(wrong)}")
    return text


def write(found: Mapping[str, str], folder: Path) -> None:
    """Write the lemmas, one file a theorem, beside the files written by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in BY_HAND.glob("*.v"):
        shutil.copy(path, folder / path.name)
    for theorem in {name.split(".")[0] for name in found}:
        texts = [text for name, text in found.items() if name.split(".")[0] == theorem]
        (folder / f"{theorem}_checks.v").write_text("\n".join([_coq.HEADER, *texts]), encoding="utf-8")


def judged(found: Mapping[str, str], folder: Path) -> Iterator[tuple[str, Verdict]]:
    """Yield what the kernel says of each file written by hand and of each lemma.

    Raises
    ------
    ValueError
        If Coq is not installed.
    """
    if shutil.which("coqtop") is None or shutil.which("coqc") is None:
        raise ValueError(f"--coq-check: coqc and coqtop are not installed; on Debian: {INSTALL}")
    write(found, folder)
    for path in sorted(BY_HAND.glob("*.v"), key=lambda path: (path.stem != "Base", path.stem)):
        yield path.name, _compiled(folder / path.name)
    names = list(found)
    answers: queue.Queue[tuple[str, Verdict] | None] = queue.Queue()

    def judge(part: Sequence[str]) -> None:
        try:
            for answer in _session({name: found[name] for name in part}, folder, SECONDS):
                answers.put(answer)
        finally:
            answers.put(None)

    with ThreadPoolExecutor(WORKERS) as pool:
        working = [pool.submit(judge, names[i::WORKERS]) for i in range(WORKERS)]
        for _ in working:
            yield from iter(answers.get, None)
        for part in working:
            part.result()


def _compiled(path: Path) -> Verdict:
    start = time.monotonic()
    command = ["coqc", "-w", "none", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    axioms = "Axioms:" in done.stdout
    reason = "it assumes axioms" if axioms else done.stderr.strip()[-600:]
    return Verdict(done.returncode == 0 and not axioms, reason, time.monotonic() - start)


def _session(found: Mapping[str, str], folder: Path, seconds: float) -> Iterator[tuple[str, Verdict]]:
    """Give lemmas to sessions of Coq, one after the other: one that takes too long ends its session."""
    left = dict(found)
    while left:
        answered = 0
        for name, verdict in _sitting(left, folder, seconds):
            answered += 1
            del left[name]
            yield name, verdict
        if not answered:
            raise RuntimeError("coqtop ended before it was given a lemma")


def _sitting(found: Mapping[str, str], folder: Path, seconds: float) -> Iterator[tuple[str, Verdict]]:
    """Give lemmas to one session of Coq, and read after each whether it is closed: no axiom, nothing admitted."""
    text = [_coq.HEADER]
    for number, (name, lemma) in enumerate(found.items()):
        own = f"check_{number}"
        text.append(f'Goal True. idtac "@@begin {name}". Abort.')
        text.append(re.sub(r"\nLemma \w+", f"\nLemma {own}", lemma, count=1))
        text.append(f'Abort All.\nGoal True. idtac "@@end {name}". Abort.\nPrint Assumptions {own}.')
        text.append(f'Goal True. idtac "@@said {name}". Abort.')
    process = subprocess.Popen(
        ["coqtop", "-w", "none", "-q"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    threading.Thread(target=_written, args=(process.stdin, "\n".join(text)), daemon=True).start()
    log, errors, begun, start = "", "", "", time.monotonic()
    limit = threading.Timer(seconds, process.kill)
    try:
        for line in process.stdout:
            mark = re.search(r"@@(begin|end|said) ([\w.]+)", line)
            if mark is None:
                log += line
            elif mark[1] == "begin":
                log, begun, start = "", mark[2], time.monotonic()
                limit = threading.Timer(seconds, process.kill)
                limit.start()
            elif mark[1] == "end":
                errors, log = log, ""
            else:
                limit.cancel()
                begun = ""
                closed = "Closed under the global context" in log
                error = re.search(r"Error[\s\S]{0,400}", errors)
                reason = "" if closed else error[0].strip() if error else log[-400:]
                yield mark[2], Verdict(closed, reason, time.monotonic() - start)
    finally:
        limit.cancel()
        process.kill()
        process.wait()
    if begun:
        yield begun, Verdict(False, "", time.monotonic() - start, judged=False)


def _written(stream: Any, text: str) -> None:
    with suppress(BrokenPipeError, ValueError):  # the session was ended
        stream.write(text)
        stream.close()
