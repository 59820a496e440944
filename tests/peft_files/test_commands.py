"""The commands on adapters: exit codes, documents, and what is loaded on the way."""

import errno
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from lorasolve.cli import main
from lorasolve.peft_files import read


def spectrum(make, module, sigma, seed):
    """Return a balanced layer with given singular values under the scaling 2 of the adapters here."""
    rng = np.random.default_rng(seed)
    P, Q = (np.linalg.qr(rng.standard_normal((size, len(sigma))))[0] for size in (20, 16))
    root = np.sqrt(np.asarray(sigma) / 2)
    return make.linear(module, (Q * root).T, P * root)


@pytest.fixture
def folders(tmp_path, make):
    """Adapters of twelve layers by what they are."""
    kinds = {
        "good": [[1 + k / 50, 0.5, 1e-9, 1e-10] for k in range(12)],
        "full": [[1 + k / 50, 0.5, 0.3, 0.2] for k in range(12)],
        "loud": [[100.0 if k == 5 else 1.0, 90.0 if k == 5 else 0.5, 50.0 if k == 5 else 0.3, 0.2] for k in range(12)],
    }
    for name, spectra in kinds.items():
        tensors = {}
        for k, sigma in enumerate(spectra):
            tensors |= spectrum(make, f"h.{k}.q", sigma, k)
        make.adapter(tmp_path / name, tensors)
    tensors["base_model.model.h.3.q.lora_B.weight"] = np.zeros((20, 4))
    make.adapter(tmp_path / "untrained", tensors)
    make.adapter(tmp_path / "single", spectrum(make, "h.0.q", [1.0, 0.5, 0.3, 0.2], 0))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("good", ["--lam", "0.01"], 0),
        ("good", [], 3),
        ("good", ["--weight-decay-kind", "decoupled", "--lam", "0.01"], 3),
        ("full", ["--lam", "0.01"], 3),
        ("good", ["--lam", "0.01", "--frozen", "lora_A"], 3),
        ("loud", [], 1),
        ("untrained", [], 1),
        ("good", ["--fail-on", "loud"], 0),
        ("loud", ["--fail-on", "loud"], 1),
        ("loud", ["--fail-on", "untrained"], 1),
        ("untrained", ["--fail-on", "untrained"], 1),
        ("full", ["--fail-on", "untrained"], 0),
        ("single", ["--fail-on", "loud"], 3),  # nothing says what size is usual
        ("single", ["--fail-on", "untrained"], 0),
        ("nothing", [], 2),
        ("good", ["--lam", "-1"], 2),
        ("good", ["--lam", "1", "--weight-decay-kind", "none"], 2),
        ("good", ["--base", "nothing"], 2),
        ("good", ["--layers", "-1"], 2),
    ],
)
def test_exit_codes(folders, name, options, code, capsys):
    assert main(["diagnose", str(folders / name), *options]) == code
    captured = capsys.readouterr()
    assert bool(captured.err) == (code == 2) and bool(captured.out) == (code != 2)


def test_the_document_has_what_the_text_has(folders, capsys):
    main(["diagnose", str(folders / "loud"), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "lorasolve/diagnose" and document["kind"] == "loud"
    assert document["findings"]["loud"] == ["h.5.q"] and len(document["layers"]) == 12
    assert document["layers"][0]["module"] == "h.5.q" and document["layers"][0]["rank"] == 4


def test_the_text_lists_what_was_asked_for(folders, capsys):
    main(["diagnose", str(folders / "loud"), "--layers", "2", "--sort", "wasted"])
    text = capsys.readouterr().out
    assert text.startswith("verdict: loud") and "layers, by wasted first (2 of 12)" in text
    assert len([line for line in text.splitlines() if line.startswith("h.")]) == 3  # one family and two layers
    main(["diagnose", str(folders / "loud"), "--layers", "0"])
    assert "first (0 of" not in capsys.readouterr().out
    main(["diagnose", str(folders / "single")])
    assert "(1 with an update, 1 family)" in capsys.readouterr().out


def test_the_page_is_written(folders, capsys):
    assert main(["diagnose", str(folders / "good"), "--html", str(folders / "report.html")]) == 3
    assert (folders / "report.html").read_text().startswith("<!doctype html>")
    assert capsys.readouterr().err == f"written: {folders / 'report.html'}\n"


def test_the_page_is_not_written_over_what_is_read_but_over_an_earlier_page(folders, capsys):
    config, page = folders / "good" / "adapter_config.json", folders / "good" / "page.html"
    before = config.read_bytes()
    assert main(["diagnose", str(folders / "good"), "--html", str(config)]) == 2
    assert "--html: expected another file than" in capsys.readouterr().err and config.read_bytes() == before
    assert [main(["diagnose", str(folders / "good"), "--html", str(page)]) for _ in range(2)] == [3, 3]


def test_a_page_for_which_there_is_no_room_takes_no_report_along(folders, monkeypatch, capsys):
    """Of a large base it may have taken minutes."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    monkeypatch.setattr("lorasolve.commands.diagnose.write_atomically", full)
    assert main(["diagnose", str(folders / "good"), "--html", str(folders / "report.html")]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("verdict: ") and told.err == "lorasolve diagnose: report.html: No space left on device\n"


def test_no_heavy_library_is_loaded(folders):
    program = (
        "import sys; from lorasolve.cli import main; main(['diagnose', sys.argv[1]]);"
        "heavy = ('numba', 'cvxpy', 'sympy', 'matplotlib', 'scipy', 'torch', 'safetensors');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folders / "good")], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_truncate_and_interfere(folders, capsys):
    out = str(folders / "short")
    assert main(["truncate", str(folders / "full"), "--rank", "2", "--out", out, "--layers", "1"]) == 0
    told = capsys.readouterr().out
    assert "12 layers, rank 4 -> 2" in told
    # A file of tensors is the length of its header in eight bytes, the header, and the tensors.
    files = [(folders / name / "adapter_model.safetensors").read_bytes() for name in ("full", "short")]
    sizes = [len(file) - 8 - int.from_bytes(file[:8], "little") for file in files]
    assert sizes[0] == 2 * sizes[1]
    found = re.search(r"(\S+) MB -> (\S+) MB of tensors", told)
    assert [float(text) for text in found.groups()] == pytest.approx([size / 1e6 for size in sizes], rel=5e-3, abs=0.0)
    assert main(["truncate", str(folders / "full"), "--rank", "2", "--out", out]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert main(["interfere", str(folders / "full"), out, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["modules"]) == 12 and document["modules"][0]["sum_rank"] == 4
    assert main(["interfere", str(folders / "full"), out, "--layers", "2"]) == 0
    assert capsys.readouterr().out.count("cosine +") == 2
    assert main(["interfere", out]) == 2


def test_adapters_of_different_modules_are_not_told_to_leave_each_other_alone(tmp_path, make, capsys):
    """In ``(W2 + X2)(W1 + X1) x`` the two add up to what neither does alone: ``X2 X1 x``."""
    first = make.adapter(tmp_path / "first", make.linear("up", *make.pair(0)))
    second = make.adapter(tmp_path / "second", make.linear("down", *make.pair(1, out=7, inner=9)))
    (X1,), (X2,) = ([2.0 * layer.A @ layer.B.T for layer in read(folder).layers()] for folder in (first, second))
    assert np.linalg.norm(X2 @ X1) > 1.0
    assert main(["interfere", str(first), str(second)]) == 0
    told = capsys.readouterr().out
    assert "no module is changed by two of them" in told and "not interfere" not in told


@pytest.mark.parametrize("argv", [["truncate", "full", "--rank", "2", "--out", "short"], ["interfere", "full", "good"]])
def test_a_negative_number_of_layers_is_refused_before_anything_is_done(folders, argv, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    assert main([*argv, "--layers", "-3"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"lorasolve {argv[0]}: --layers: expected an integer >= 0, got -3\n" and not captured.out
    assert not (folders / "short").exists()


def test_dora_is_said_where_its_directions_are_compared(tmp_path, make, capsys):
    tensors = make.linear("q", *make.pair(0)) | {"base_model.model.q.lora_magnitude_vector": np.ones(9)}
    for name, more in (("plain", {}), ("dora", tensors)):
        make.adapter(tmp_path / name, make.linear("q", *make.pair(0)) | more)
        out = str(tmp_path / f"{name} short")
        assert main(["truncate", str(tmp_path / name), "--rank", "2", "--out", out]) == 0
        assert ("DoRA in 1 layer: the loss is that of the direction" in capsys.readouterr().out) == bool(more)
        assert main(["interfere", str(tmp_path / name), out]) == 0
        assert ("DoRA in 1 module: these are directions" in capsys.readouterr().out) == bool(more)


@pytest.mark.parametrize(
    ("given", "hint"),
    [("someone/an-adapter.v2", True), ("good/an-adapter", False), ("nothing", False), ("/a/b", False)],
)
def test_a_name_on_the_hub_is_no_folder_and_it_is_said_where_its_files_are(folders, capsys, monkeypatch, given, hint):
    monkeypatch.chdir(folders)
    for arguments in (
        ["diagnose", given],
        ["truncate", given, "--rank", "2", "--out", "x"],
        ["diagnose", "good", "--base", given],
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert f"{given}: No such file or directory" in said and (f"'hf download {given}' prints" in said) == hint


def test_an_optimizers_state_that_is_not_there(folders, capsys):
    assert main(["diagnose", str(folders / "good"), "--optimizer-state"]) == 2
    assert "optimizer" in capsys.readouterr().err


def test_a_decay_of_one_factor_alone_proves_nothing_about_the_other(tmp_path, make, capsys):
    torch = pytest.importorskip("torch")
    folder = make.adapter(tmp_path / "a", make.linear("q", *make.pair(0)))
    found = {}
    for decays in ((0.05, 0.05), (0.0, 0.05)):
        groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "weight_decay": decay} for decay in decays]
        torch.save(torch.optim.Adam(groups, lr=1e-3).state_dict(), folder / "optimizer.pt")
        main(["diagnose", str(folder), "--optimizer-state", "--json"])
        found[decays] = json.loads(capsys.readouterr().out)
    # The factors are not balanced, which refutes stationarity under one decay of both.
    assert found[0.05, 0.05]["kind"] == "not_stationary" and found[0.05, 0.05]["objective_excess"] > 0.0
    assert found[0.0, 0.05]["kind"] == "inconclusive" and found[0.0, 0.05]["objective_excess"] is None
    assert found[0.0, 0.05]["decay"]["kind"] == "unknown" and found[0.0, 0.05]["decay"]["lam"] is None
    (folder / "optimizer.pt").rename(folder / "optimizer.bin")  # as accelerate calls it
    main(["diagnose", str(folder), "--optimizer-state", "--json"])
    assert json.loads(capsys.readouterr().out)["decay"]["source"].startswith("from optimizer.bin: weight decay 0, 0.05")


def test_explain(capsys):
    run = ["--lr", "2e-4", "--wd", "0.01", "--alpha", "16", "--rank", "8", "--steps", "5000"]
    assert main(["explain", "decay", "--optimizer", "adamw", *run]) == 0
    text = capsys.readouterr().out
    assert text.startswith("lam: none") and "5e+05 steps" in text and "0.99 of their size" in text
    assert main(["explain", "decay", "--optimizer", "sgd", *run, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "l2" and document["lam"] == 0.01 and document["lam_nuclear"] == 0.005
