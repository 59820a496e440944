"""The command line as a process whose streams, files and signals are not what it would like."""

from __future__ import annotations

import _thread
import gzip
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lorasolve._support.files import is_alive, write_together
from lorasolve._support.interruptions import patience, undisturbed
from lorasolve.cli import main
from lorasolve.executors.base import Pool
from lorasolve.executors.loky import Loky
from lorasolve.io import read_arrays, read_ratings

PROCESS = [sys.executable, "-c", "from lorasolve.cli import entry; entry()"]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", M=np.diag([3.0, 2.0, 1.0]))


@pytest.fixture(autouse=True)
def _interruptions_arrive() -> Iterator[None]:
    """A program in the background of a script begins with Ctrl-C ignored, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which ``$L`` is the command line."""
    run = f'L() {{ "{sys.executable}" -c "from lorasolve.cli import entry; entry()" "$@"; }}\n{line}'
    return subprocess.run(["bash", "-c", run], capture_output=True, text=True, timeout=120)


# ---------------------------------------------------------------------- streams
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["info", "solve --help", "--version"])
def test_output_that_cannot_be_written_is_said(command: str) -> None:
    run = shell(f"L {command} > /dev/full")
    assert run.returncode == 2
    assert run.stderr.strip().endswith("No space left on device")
    assert "Traceback" not in run.stderr
    # An answer and a file beside it: which of them had no room was not said.
    assert "stdout: " in run.stderr or "--help" in command


def test_closed_streams() -> None:
    run = shell("L info >&-")
    assert (run.returncode, run.stderr) == (2, "lorasolve: stdout: is closed\n")
    solve = "L solve --objective denoising d.npz --max-iter 5 --json"
    run = shell(f"{solve} 2>&-")
    assert run.returncode == 0
    assert run.stdout.startswith("{")


def test_workers_start_where_stderr_is_closed() -> None:
    code = (
        "from lorasolve import cli; from lorasolve.executors.loky import Loky\n"
        "def run():\n"
        "    pool = Loky().open(lambda: len, 1, 1); pool.submit(7, 'abc'); outcomes = pool.wait(100); pool.close()\n"
        "    print(outcomes[0].task, outcomes[0].report); return 0\n"
        "cli._run = run; cli.entry()"
    )
    run = subprocess.run(["bash", "-c", '"$@" 2>&-', "", sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "7 3\n")


# ---------------------------------------------------------------------- interruptions
# The command line as a process that says when it has taken charge of the signals; before that Python answers them.
ATTENTIVE = (
    "import sys; from lorasolve import cli; run = cli._run\n"
    "def announced():\n    print('in charge', file=sys.stderr, flush=True); return run()\n"
    "cli._run = announced; cli.entry()"
)


def begun(*argv: str, **environment: str) -> subprocess.Popen[str]:
    """Run a command and return it when it has taken charge of the signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", ATTENTIVE, *argv],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stderr is not None and process.stderr.readline() == "in charge\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C, and return the exit code and what was said."""
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    return process.wait(timeout=60), process.stderr.read()


def interrupted(delay: float, *argv: str) -> tuple[int, str]:
    """Run a command, press Ctrl-C after a time, and return its exit code and what it said."""
    process = begun(*argv)
    time.sleep(delay)
    return ended(process)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_an_early_interruption_shows_no_traceback(delay: float) -> None:
    assert interrupted(delay, "prove") in [
        (130, "lorasolve: interrupted\n"), (130, "lorasolve prove: interrupted\n")
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("delay", [4.0, 7.0, 10.0])
def test_ctrl_c_ends_proofs_in_worker_processes(delay: float) -> None:
    assert interrupted(delay, "prove") == (130, "lorasolve prove: interrupted\n")


def test_ctrl_c_ends_warm(tmp_path: pathlib.Path) -> None:
    cache = tmp_path / "cache"
    process = begun("warm", LORASOLVE_CACHE_DIR=str(cache))
    while process.poll() is None and not (cache.exists() and any(cache.rglob("*.nbc"))):
        time.sleep(0.05)
    assert ended(process) == (130, "lorasolve warm: interrupted\n")


COMPARE = ["compare", "--objective", "denoising", "d.npz", "--lam", "0.5", "--methods", "lbfgs", "gd"]


@pytest.mark.slow
def test_ctrl_c_at_any_time() -> None:
    # Half made modules and kernels freed twice ended one in thirty of these by a traceback or a signal.
    random = np.random.default_rng(14)
    for delay in random.uniform(0.0, 1.5, 150):
        code, errors = interrupted(delay, *COMPARE)
        assert code in (0, 3, 130), (delay, code, errors)
        assert "Traceback" not in errors


def test_an_interruption_waits_for_an_import(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("takes_a_while.py").write_text(
        "import signal, time\nsignal.raise_signal(signal.SIGINT)\ntime.sleep(0.01)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        _import_and_go_on()
    assert sys.modules.pop("takes_a_while").whole


def test_a_program_that_runs_while_it_is_imported_can_be_interrupted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("experiment.py").write_text(
        "import signal, time\nfrom lorasolve._support.interruptions import patience\n"
        "with patience():\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(0.5)\n    ended = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import experiment  # type: ignore[import-not-found]  # noqa: F401
    assert "experiment" not in sys.modules


@patience()
def _import_and_go_on() -> None:
    import takes_a_while  # type: ignore[import-not-found]

    assert takes_a_while.whole
    time.sleep(5.0)


@pytest.mark.parametrize(
    ("module", "name"), [("numba.core.dispatcher", "compile"), ("llvmlite.binding.module", "parse")]
)
def test_an_interruption_waits_for_a_compilation(module: str, name: str) -> None:
    """What half a compilation leaves behind, the next one finds."""
    code = f"class Dispatcher:\n    def {name}(self):\n        interrupt()\n        done.append(1)"
    scope: dict[str, Any] = {"__name__": module, "interrupt": lambda: signal.raise_signal(signal.SIGINT), "done": []}
    exec(code, scope)

    @patience()
    def compile_and_go_on() -> None:
        getattr(scope["Dispatcher"](), name)()
        time.sleep(5.0)

    with pytest.raises(KeyboardInterrupt):
        compile_and_go_on()
    assert scope["done"] == [1]


def test_a_handler_of_the_callers_own_is_left_alone() -> None:
    called = []
    before = signal.signal(signal.SIGINT, lambda number, frame: called.append(number))
    try:
        with patience():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == [signal.SIGINT]


def test_interruptions_wait_while_files_are_put_in_place() -> None:
    # Threads of a library that do not block a signal would otherwise take it, and have Python raise it in the block.
    idle = threading.Event()
    thread = threading.Thread(target=idle.wait)
    thread.start()
    steps = []
    try:
        with pytest.raises(KeyboardInterrupt):
            _interrupt_itself(steps)
    finally:
        idle.set()
        thread.join()
    assert steps == ["went on"]


@undisturbed()
def _interrupt_itself(steps: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    steps.append("went on")


def test_worker_processes_are_started_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky.process_executor import _ExecutorManagerThread

    pools: list[Pool] = []
    begin = _ExecutorManagerThread.start

    def begin_when_interrupted(thread: threading.Thread) -> None:
        _thread.interrupt_main()  # as one that waits for imports comes back: no mask of signals holds it up
        begin(thread)

    monkeypatch.setattr(_ExecutorManagerThread, "start", begin_when_interrupted)
    with pytest.raises(KeyboardInterrupt):
        _use_pool(pools)
    pools[0].close()  # loky cannot, where its thread has not begun


def _use_pool(pools: list[Pool]) -> None:
    pools.append(Loky().open(lambda: len, 1, 1))
    pools[0].submit(0, "abc")


def test_a_defect_is_not_called_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for defect in (lambda task: task + 1, lambda task: {}["missing"]):
        monkeypatch.setattr("lorasolve.commands.solve.task_from", defect)
        assert main(["solve"]) == 4
        errors = capsys.readouterr().err
        assert errors.startswith("lorasolve solve: internal error, a defect of lorasolve: ") and errors.count("\n") == 1
        monkeypatch.setenv("LORASOLVE_TRACEBACK", "1")
        assert main(["solve"]) == 4
        assert "Traceback" in capsys.readouterr().err
        monkeypatch.delenv("LORASOLVE_TRACEBACK")
    monkeypatch.undo()
    assert main(["solve", "--rank", "0"]) == 2


def test_terminated_while_it_writes_it_leaves_nothing() -> None:
    program = (
        "import signal; from lorasolve import cli; from lorasolve._support.files import write_atomically\n"
        "def slow(file):\n file.write(b'half'); print('writing', flush=True); signal.pause()\n"
        "cli.main = lambda argv: write_atomically('out.json', slow)\n"
        "cli.entry()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert os.listdir() == ["d.npz"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_ended_runs_with_nothing_to_keep_is_told_by_the_exit_code(number: int, code: int) -> None:
    program = (
        "from lorasolve import cli; from lorasolve.studies._engine import _stoppable\n"
        "def runs(argv):\n"
        " with _stoppable('runs') as asked:\n  print('running', flush=True); asked.wait()\n"
        " raise KeyboardInterrupt\n"
        "cli.main = runs\n"
        "cli.entry()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "running\n"
    process.send_signal(number)
    assert process.wait(timeout=60) == code


# ---------------------------------------------------------------------- files
@pytest.mark.parametrize("nameless", [True, False])
def test_files_of_one_run_appear_together(monkeypatch: pytest.MonkeyPatch, nameless: bool) -> None:
    if not nameless:
        monkeypatch.setattr("lorasolve._support.files._open_nameless", lambda folder: None)

    def fails(file) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_together({"a": lambda file: file.write(b"1"), "b": fails})
    assert os.listdir() == ["d.npz"]
    for content in (b"1", b"2"):
        write_together({name: lambda file, content=content: file.write(content) for name in ("a", "b")})
        assert [pathlib.Path(name).read_bytes() for name in ("a", "b")] == [content, content]
    assert sorted(os.listdir()) == ["a", "b", "d.npz"]


@pytest.mark.parametrize("nameless", [True, False])
def test_files_are_readable_to_whom_files_of_the_process_are(monkeypatch: pytest.MonkeyPatch, nameless: bool) -> None:
    if not nameless:
        monkeypatch.setattr("lorasolve._support.files._open_nameless", lambda folder: None)
    before = os.umask(0o027)
    try:
        pathlib.Path("plain").write_bytes(b"")
        write_together({"a": lambda file: file.write(b"1")})
        assert os.stat("a").st_mode == os.stat("plain").st_mode
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_process_is_alive_until_it_has_been_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_alive(os.getpid()) and is_alive(process.pid)
    assert not is_alive(process.pid)
    assert is_alive(1)  # another user's, where tests do not run as root


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on the size of files")
@pytest.mark.parametrize(
    "command",
    [
        "solve --objective denoising d.npz --lam 1",
        "convex --objective denoising d.npz --lam 1",
        "path --objective completion r.csv --lam 1",
        "complete r.csv --lam 1",
    ],
)
def test_a_file_for_which_there_is_no_room_is_named_and_the_answer_given(command: str) -> None:
    """``lorasolve solve: No space left on device`` was all that was left of a run of hours."""
    pathlib.Path("r.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    run = shell(f"ulimit -f 0; L {command} --out x/run")
    suffix = "json" if "path" in command else "npz"
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == f"lorasolve {command.split()[0]}: x/run.{suffix}: File too large"
    assert "RIGOROUS" in run.stdout
    assert os.listdir("x") == []


@pytest.mark.parametrize("name", ["..", "x/", "."])
def test_a_name_that_is_no_file_is_refused(capsys, name: str) -> None:
    assert main(["solve", "--objective", "denoising", "d.npz", "--max-iter", "2", "--out", name]) == 2
    assert "--out: expected the name of a file" in capsys.readouterr().err


def test_report_and_figure_carry_one_identity(capsys) -> None:
    options = ["--objective", "denoising", "d.npz", "--lam", "1", "--methods", "lbfgs", "--json", "--quiet"]
    assert main(["compare", *options]) == 0
    import json

    run = json.loads(capsys.readouterr().out)["run"]
    assert json.loads(pathlib.Path("report.json").read_text())["run"] == run
    assert run.encode() in pathlib.Path("report.png").read_bytes()


# ---------------------------------------------------------------------- what is read
def test_an_archive_is_checked_before_it_is_read() -> None:
    with zipfile.ZipFile("d.npz") as archive:
        member = archive.read("M.npy")
    head = member[:10] + member[10:128].replace(b"(3, 3), }" + b" " * 22, b"(1000000000000, 3), }" + b" " * 10)
    assert len(head) == 128
    with zipfile.ZipFile("far.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("M.npy", head + bytes(72))
    with pytest.raises(ValueError, match=r"far.npz: its entry 'M.npy' is 200 bytes long, and its head says"):
        read_arrays("far.npz")
    content = bytearray(pathlib.Path("d.npz").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    pathlib.Path("locked.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"locked.npz: its entry 'M.npy' is encrypted"):
        read_arrays("locked.npz")
    os.mkfifo("pipe.npz")
    with pytest.raises(ValueError, match=r"pipe.npz: is not a regular file; write what a pipe gives to one first"):
        read_arrays("pipe.npz")


def test_ratings_are_read_as_they_are_written() -> None:
    pathlib.Path("r.csv").write_text("01,a,1\n1,a,2\n+1,a,3\n")
    assert sorted(read_ratings("r.csv").row_labels) == ["+1", "01", "1"]
    pathlib.Path("n.csv").write_text("1,1,nan\n2,1,3\n")
    with pytest.raises(ValueError, match=r"n.csv, line 1: expected row label, column label and a finite number"):
        read_ratings("n.csv")
    pathlib.Path("c.mtx").write_text("%%MatrixMarket matrix coordinate complex general\n2 2 1\n1 1 1.0 2.0\n")
    with pytest.raises(ValueError, match=r"c.mtx: expected real or integer entries, got 'complex'"):
        read_ratings("c.mtx")
    pathlib.Path("d.mtx").write_text("%%MatrixMarket matrix array real general\n2 2\n1\n0\n0\n4\n")
    dense = read_ratings("d.mtx")
    assert list(zip(dense.rows.tolist(), dense.cols.tolist(), dense.values.tolist())) == [
        (0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (1, 1, 4.0),
    ]  # fmt: skip
    with gzip.open("d.mtx.gz", "wt") as file:
        file.write(pathlib.Path("d.mtx").read_text())
    assert np.array_equal(read_ratings("d.mtx.gz").values, dense.values)
    with gzip.open("many.mtx.gz", "wt") as file:
        file.write("%%MatrixMarket matrix coordinate real general\n3 3 1000000\n1 1 2.0\n")
    with pytest.raises(ValueError, match=r"many.mtx.gz: declares 1000000 entries, more than the file can hold"):
        read_ratings("many.mtx.gz")
    pathlib.Path("no.mtx.gz").write_text("%%MatrixMarket matrix array real general\n1 1\n1\n")
    with pytest.raises(ValueError, match=r"no.mtx.gz: is damaged or of another format"):
        read_ratings("no.mtx.gz")
    pathlib.Path("far.mtx").write_text("%%MatrixMarket matrix coordinate real general\n1000000000000 2 1\n1 1 1.0\n")
    with pytest.raises(ValueError, match=r"far.mtx: size: expected an integer from 1 to 100000000"):
        read_ratings("far.mtx")
