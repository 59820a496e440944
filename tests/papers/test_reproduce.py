"""The runner: resuming, axes, files, exit codes; and the experiments' own arithmetic. Long runs are marked slow."""

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.parse
from typing import ClassVar

import matplotlib.image
import numpy as np
import pytest

from lorasolve.cli import main
from lorasolve.commands._axes import chosen, help_text, in_own_order, judged, option, options
from lorasolve.commands._paper_page import page
from lorasolve.commands._reproduction import reproduce
from lorasolve.papers import Claim, Experiment, PaperClaims, registry
from lorasolve.papers.base import text_table
from lorasolve.papers.init_bias import wilson
from lorasolve.papers.table2 import _nested
from lorasolve.studies import Store

MAIN_PAPER = {
    "table1", "table2", "figure2", "sharp", "lemma1", "init_bias", "special_regime", "many_matrices",
    "restricted", "two_constants",
    "minilm", "minilm_constants", "minilm_rank", "minilm_starts", "transformer_starts",
}  # fmt: skip


# What was asked for, across the objects that do it.
RAN: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_ran():
    RAN.clear()
    Squares.stop_at.clear()


class Squares(Experiment):
    """Squares of numbers, interrupted once on request."""

    name = "squares"
    summary = "squares"
    seeds = "none"
    size = (4.0, 3.0)
    # Where it is interrupted.
    stop_at: ClassVar[list[int]] = []
    not_data = ("stop_at",)

    def axes(self, quick):
        return {"x": list(range(3 if quick else 6)), "power": 2, "sign": ["plus", "minus"][:1]}

    def fits(self, cell):
        return cell["x"] < 100

    def run(self, cell):
        if cell["x"] in self.stop_at:
            raise KeyboardInterrupt
        RAN.append(cell["x"])
        if cell["x"] < 0:
            raise ValueError(f"{cell['x']} is negative")
        return {"square": cell["x"] ** cell["power"]}

    def table(self, records):
        return text_table(["x", "square"], [[str(r["x"]), str(r["square"])] for r in records])

    def claims(self, records):
        return [Claim("squares are large", "confirmed", "-", records[-1]["square"] > 3)]

    def draw(self, records, figure):
        figure.subplots().plot([r["x"] for r in records], [r["square"] for r in records])


def squares(found):
    return [r["square"] for r in found.records]


def test_an_interrupted_experiment_continues_where_it_stopped(tmp_path):
    Squares.stop_at.append(4)
    with pytest.raises(KeyboardInterrupt):
        reproduce(Squares(), tmp_path, quick=False)
    assert RAN == [0, 1, 2, 3] and not (tmp_path / "squares.json").exists()
    RAN.clear()
    Squares.stop_at.clear()
    found = reproduce(Squares(), tmp_path, quick=False)
    assert RAN == [4, 5]
    assert squares(found) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "squares.png").read_bytes().startswith(b"\x89PNG")
    assert "25" in str(found).splitlines()[7] and found.ok
    document = json.loads((tmp_path / "squares.json").read_text())
    assert [record["square"] for record in document["records"]] == [0, 1, 4, 9, 16, 25]


def test_the_quick_version_and_another_store(tmp_path):
    """What the full version has done the quick one need not do; another store knows nothing."""
    reproduce(Squares(), tmp_path, quick=False)
    RAN.clear()
    assert squares(reproduce(Squares(), tmp_path, quick=True)) == [0, 1, 4] and RAN == []
    assert {p.name for p in tmp_path.iterdir()} == {
        "squares.json", "squares.png", "squares-quick.json", "squares-quick.png", "store",
    }  # fmt: skip
    reproduce(Squares(), tmp_path, quick=True, store=tmp_path / "other")
    assert RAN == [0, 1, 2]


def test_a_damaged_line_of_the_store_is_done_again(tmp_path):
    reproduce(Squares(), tmp_path, quick=True)
    shards = sorted((tmp_path / "store").glob("*.runs"))
    lines = {shard: shard.read_bytes() for shard in shards}
    changed = {shard: text.replace(b'"square":4', b'"square":5') for shard, text in lines.items()}
    assert changed != lines
    for shard, text in changed.items():
        shard.write_bytes(text)
    RAN.clear()
    assert squares(reproduce(Squares(), tmp_path, quick=True)) == [0, 1, 4]
    assert RAN == [2]


class Draws(Squares):
    """Squares whose numbers are called seeds."""

    seeds = "0-2 (quick: 0, 1); others 7"

    def axes(self, quick):
        return {"x": list(range(2 if quick else 3)), "power": 2}


def test_seeds_that_are_given_are_stated_in_place_of_the_own(tmp_path):
    """The records say which were used; so do the text, the document and the page."""
    for given, said in (
        ({}, "seeds: 0-2 (quick: 0, 1); others 7"),
        ({"x": ["5", "6"]}, "seeds: as given by --x 5 6; where that sets none, 0-2 (quick: 0, 1); others 7"),
    ):
        found = reproduce(Draws(), tmp_path, True, given)
        assert [record["x"] for record in found.records] == ([5, 6] if given else [0, 1])
        assert said + ";" in str(found)
        stated = json.loads((tmp_path / f"squares-quick{'-chosen' if given else ''}.json").read_text())["seeds"]
        assert f"seeds: {stated}" == said
        assert f"({said})" in page([found], "docs/papers")


class Signed(Squares):
    """Numbers of both signs on the axis."""

    def axes(self, quick):
        return super().axes(quick) | {"x": [-9, 0, 9]}


def test_cells_that_fail_are_named_and_done_again_and_the_others_are_kept(tmp_path):
    given = {"x": ["3", "-1", "-2"]}
    for ran in ([3, -1, -2], [-1, -2]):
        with pytest.raises(ValueError, match=r"squares: 2 of 3 cells failed: x = -1, .*ValueError: -1 is negative"):
            reproduce(Signed(), tmp_path, False, given)
        assert ran == RAN
        RAN.clear()


def test_what_is_wrong_with_many_cells_is_told_once(tmp_path):
    class Refusing(Squares):
        def run(self, cell):
            raise ValueError("nothing is right" if cell["x"] else "0 is the worst")

    with pytest.raises(ValueError, match="squares: 6 of 6 cells failed") as told:
        reproduce(Refusing(), tmp_path, False)
    assert str(told.value).count("nothing is right") == str(told.value).count("0 is the worst") == 1
    assert "x = 1, power = 2, sign = plus and 4 more: " in str(told.value)


class Doubled(PaperClaims):
    """One part, and a claim about it."""

    name = summary = seeds = "doubled"
    parts: ClassVar = {"one": lambda n: 2 * n}

    def settings(self, quick):
        return {"one": {"n": 2 if quick else 3}}

    def report(self, found):
        return f"twice {found['one']}"

    def judge(self, found):
        yield Claim("it is even", "confirmed", str(found["one"]), found["one"] % 2 == 0)


def test_claims_may_be_anything_that_lists_them(tmp_path):
    """Of a generator no claim was left, and the exit code said that all hold."""
    found = reproduce(Doubled(), tmp_path, True)
    assert [(claim.measured, claim.status) for claim in found.claims] == [("4", "confirmed")]
    assert "[confirmed] it is even" in str(found)
    document = json.loads((tmp_path / "doubled-quick.json").read_text())
    assert [claim["holds"] for claim in document["claims"]] == [True]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"report": lambda self, found: None}, "doubled: table: expected a text, got None"),
        ({"report": PaperClaims.report}, r"Faulty does not define report\(found\)"),
        ({"size": (4.0, 3.0)}, r"Faulty does not define picture\(found, figure\)"),
        ({"judge": lambda self, found: None}, "doubled: claims: expected a list of one value or several, got None"),
        ({"judge": lambda self, found: ["yes"]}, "doubled: claims: expected a Claim, got 'yes'"),
        ({"settings": lambda self, quick: None}, r"doubled: settings\(True\): expected a dict, got None"),
        ({"settings": lambda self, quick: {"two": {}}}, r"doubled: settings\(True\): expected 'one', got 'two'"),
        (
            {"settings": lambda self, quick: {"one": {"n": 2} if quick else {"n": 3, "k": 1}}},
            r"doubled: expected settings\(True\) and settings\(False\) with the same names, got \['one.n'\] and",
        ),
        ({"parts": [len]}, "doubled: parts: expected a dict, got"),
        ({"parts": {}, "settings": PaperClaims.settings}, "Faulty does not define parts"),
    ],
)
def test_what_is_wrong_with_an_experiment_is_told_by_its_name(tmp_path, faults, message):
    faulty = type("Faulty", (Doubled,), faults)()
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        str(reproduce(faulty, tmp_path, True))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"holds": float("nan")}, "holds: expected True or False, got nan"),
        ({"holds": None}, "holds: expected True or False, got None"),
        ({"holds": "no"}, "holds: expected True or False, got 'no'"),
        ({"expected": "confirmd"}, "expected: expected 'confirmed', 'holds with correction' or 'not at matrix scale'"),
        ({"measured": 2.0}, "measured: expected a text, got 2.0"),
    ],
)
def test_a_claim_that_nothing_decides_is_refused(changed, message):
    """What is true in Python and no truth value, as NaN or a text, was confirmed."""
    right = {"statement": "it is even", "expected": "confirmed", "measured": "4", "holds": np.bool_(True)}
    assert Claim(**right).holds is True
    with pytest.raises((TypeError, ValueError), match=f"^claim 'it is even': {message}"):
        Claim(**right | changed)


def test_other_code_is_another_cell(tmp_path):
    reproduce(Squares(), tmp_path, quick=True)

    class Cubes(Squares):
        def run(self, cell):
            return {"square": super().run(cell)["square"] * cell["x"]}

    assert squares(reproduce(Cubes(), tmp_path, quick=True)) == [0, 1, 8]


KILLED = """
import pathlib, sys, time
from lorasolve.papers import Experiment
from lorasolve.commands._reproduction import reproduce

class Slow(Experiment):
    name = summary = seeds = "slow"
    def axes(self, quick):
        return {"x": list(range(40))}
    def run(self, cell):
        time.sleep(0.1)
        return {"half": cell["x"] / 2}
    def table(self, records):
        return ""

workers = {"serial": 1, "loky": 2}[sys.argv[2]]
found = reproduce(Slow(), pathlib.Path(sys.argv[1]), False, backend=sys.argv[2], n_jobs=workers)
print([record["half"] for record in found.records] == [x / 2 for x in range(40)])
"""


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_killed_it_goes_on_with_the_cells_that_are_left(tmp_path, backend):
    def start():
        script = [sys.executable, "-c", KILLED, str(tmp_path), backend]
        return subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    process = start()
    while not list((tmp_path / "store").glob("*.runs")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    kept = {line.key for line in Store(tmp_path / "store").lines()}
    assert 0 < len(kept) < 40
    out, err = start().communicate(timeout=300)
    assert out.strip() == "True", err
    lines = [line.key for line in Store(tmp_path / "store").lines()]
    texts = sum(len(shard.read_bytes().splitlines()) for shard in (tmp_path / "store").glob("*.runs"))
    assert len(lines) == texts == 40 and kept < set(lines)


def test_axes_are_options_and_claims_are_judged_where_they_hold(tmp_path):
    found = reproduce(Squares(), tmp_path, False, {"x": ["2", "7"], "power": ["3"]})
    assert squares(found) == [8, 343] and found.files[0].name == "squares-chosen.json"
    assert found.claims == [] and not found.judged and "are not judged on these" in str(found)
    assert found.command == "lorasolve reproduce squares --x 2 7 --power 3"
    wider = reproduce(Squares(), tmp_path, False, {"x": ["2", "1", "0", "7"]})
    assert wider.judged and [claim.status for claim in wider.claims] == ["confirmed"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sort": ["1"]}, "--sort: is no axis of squares. Accepted: x, power, sign"),
        ({"x": ["1.5"]}, "--x: expected an integer, got '1.5'"),
        ({"x": ["1", "1"]}, "--x: holds a value twice: 1 1"),
        ({"power": ["1", "2"]}, "--power: expected one value, which all cells share, got 1 2"),
        ({"power": ["0"]}, "--power: expected an integer >= 1, got 0"),
        ({"x": ["-1"]}, "--x: expected an integer >= 0, got -1"),
        ({"sign": ["pluss"]}, "--sign: expected one of 'plus', got 'pluss'. Did you mean 'plus'?"),
        ({"x": ["100"]}, "--x 100: no values of these go together in squares"),
        ({"x": ["2", "100"]}, "--x: 100 goes together with no value of the other axes of squares"),
    ],
)
def test_wrong_axes_are_refused_by_name(tmp_path, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        reproduce(Squares(), tmp_path, False, given)
    assert RAN == [] and list(tmp_path.iterdir()) == []


def test_the_claims_of_a_paper_can_be_widened_and_not_narrowed():
    experiment = registry.classes()["lora_ggpo"]()
    assert chosen(experiment, True, {"seeds": ["5"]})["descents.seeds"] == 5
    assert chosen(experiment, True, {"ranks": ["2", "7", "10"]})["descents.ranks"] == [2, 7, 10]
    for given, message in (
        ({"seeds": ["2"]}, "--seeds: the claims of lora_ggpo need at least 3, got 2"),
        ({"ranks": ["2", "7"]}, "--ranks: the claims of lora_ggpo need 2 10 among the values, got 2 7"),
        ({"steps": ["0.1", "x"]}, "--steps: expected a finite number, got 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            chosen(experiment, True, given)
    # The parts of lora_ntk need 4, 6, 30 and 4 starts.
    with pytest.raises(ValueError, match="--starts: the claims of lora_ntk need at least 30, got 3"):
        chosen(registry.classes()["lora_ntk"](), True, {"starts": ["3"]})


def test_axes_on_the_command_line(tmp_path, capsys):
    argv = ["reproduce", "sharp", "--r", "3", "--r-star", "2", "--kappa", "4", "8", "--scale", "0.1", "--runs", "2"]
    assert main([*argv, "--out", str(tmp_path), "--backend", "serial"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] + line.split()[-1:] for line in lines[3:5]] == [
        ["3/2", "4.0", "yes"],
        ["3/2", "8.0", "yes"],
    ]
    records = json.loads((tmp_path / "sharp-chosen.json").read_text())["records"]
    assert [(r["r"], r["r_star"], r["kappa"], r["scale"], r["runs"]) for r in records] == [
        (3, 2, 4.0, 0.1, 2), (3, 2, 8.0, 0.1, 2),
    ]  # fmt: skip
    # sigma sqrt(r)/sqrt(r*), sigma = (kappa - 1)/((kappa + 1) sqrt(r/r*))
    assert [r["norm"] for r in records] == pytest.approx([3 / 5, 7 / 9])


def test_an_axis_of_another_experiment_is_refused_before_anything_runs(tmp_path, capsys):
    assert main(["reproduce", "table1", "sharp", "--kappa", "4", "--out", str(tmp_path / "out")]) == 2
    assert "--kappa: is no axis of table1. Accepted: objective, lam, starts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["many_matrices", "--lam", "0.1", "0"], "--lam: expected a finite number in (0, inf), got 0"),
        (["init_bias", "--lam", "-0.1"], "--lam: expected a finite number in [0, inf), got -0.1"),
        (["special_regime", "--KN", "2", "0"], "--KN: expected an integer >= 1, got 0"),
        (["figure2", "--seed", "-1"], "--seed: expected an integer >= 0, got -1"),
    ],
)
def test_a_value_that_no_cell_can_have_is_refused_before_anything_runs(arguments, message, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("expected") == 1
    assert not (tmp_path / "out").exists()


def test_the_help_says_what_axes_are_and_which_values_are_an_experiments_own(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    lines = dict(line.split(" ", 1) for line in told.split(" --")[1:])
    for experiment in (cls() for cls in registry.classes().values()):
        for name in options(experiment):
            meaning, line = experiment.meaning(name), lines[option(name).removeprefix("--")]
            assert meaning != name
            before = line.partition(f"{experiment.name}: ")[0]
            assert before.startswith("VALUE [VALUE ...] ") and f" {meaning} (" in before
    assert "0.003 0.01 0.03 0.1; minilm_rank: 0.1 0.03" in told and "many_matrices: zero small large;" in told


def test_an_experiment_of_one_file_says_itself_what_its_axes_are():
    class Widths(Experiment):
        name = "widths"
        axis_meanings = {"width": "how wide a layer is", "steps": "rungs of a ladder"}

        def axes(self, quick):
            return {"width": [1, 2], "steps": 3}

    assert help_text("width", [Widths()]) == "how wide a layer is (widths: 1 2)"
    told = help_text("steps", [registry.classes()["learning_rate"](), Widths()])
    assert told.startswith("step sizes (learning_rate: ") and told.endswith("); rungs of a ladder (widths: 3)")


@pytest.mark.parametrize("arguments", [["sharp", "--help"], ["-h", "sharp"]])
def test_help_beside_a_name_speaks_of_the_axes_of_that_experiment_alone(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", *arguments])
    told = set(re.findall(r"^  --([\w-]+) VALUE", capsys.readouterr().out, re.MULTILINE))
    assert told == {"kappa", "r", "r-star", "runs", "scale"}


def test_all_experiments_are_found_and_state_cells_seeds_summary_and_paper():
    found = registry.classes()
    assert {name for name, cls in found.items() if not issubclass(cls, PaperClaims)} == MAIN_PAPER
    for cls in found.values():
        experiment = cls()
        quick, full = (experiment.cells(experiment.axes(which)) for which in (True, False))
        assert json.loads(json.dumps(full)) == full
        assert 0 < len(quick) <= len(full)
        assert all(judged(experiment, experiment.axes(which)) for which in (True, False))
        assert experiment.summary and experiment.seeds
        assert re.search(r"\(.+\)", experiment.paper), "where it was published"


def counted(experiment):
    """Return which settings of which part say how many seeds there are."""
    if not isinstance(experiment, PaperClaims):
        return []
    return [
        (part, key) for part, given in experiment.settings(False).items() for key in {"seeds", "draws"} & set(given)
    ]


@pytest.mark.parametrize("name", [name for name, cls in registry.classes().items() if counted(cls())])
def test_the_seeds_that_are_stated_are_those_of_the_settings(name):
    def listed(count):
        return {1: "0", 2: "0, 1"}.get(count, f"0-{count - 1}")

    experiment = registry.classes()[name]()
    quick, full = experiment.settings(True), experiment.settings(False)
    for part, key in counted(experiment):
        most, fewer = full[part][key], quick[part][key]
        said = listed(most) + (f" (quick: {listed(fewer)})" if fewer != most else "")
        assert said in experiment.seeds, f"{part}: {said}"


def test_the_listing_names_every_experiment_once(capsys):
    assert main(["reproduce"]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert sorted(shown) == sorted(registry.classes())


def test_options_without_a_name_are_no_listing(tmp_path, monkeypatch, capsys):
    """The exit code was 0, and nothing was run."""
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--quick", "--out", "results", "--r-star", "1"]) == 2
    told = "NAME: expected an experiment, a paper or all of them ('all') beside --quick, --out, --r-star"
    assert capsys.readouterr().err == f"lorasolve reproduce: {told}\n"


@pytest.mark.parametrize(
    ("argv", "hint"), [(["tabel1"], "Did you mean 'table1'"), (["table1", "--quik"], "did you mean --quick?")]
)
def test_what_is_misspelt_is_a_usage_error_with_the_near_miss(argv, hint, capsys):
    try:
        code = main(["reproduce", *argv])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert hint in capsys.readouterr().err


def test_the_name_of_a_paper_stands_for_its_experiments(tmp_path, monkeypatch, capsys):
    known = {name: type(name, (Squares,), {"name": name}) for name in ("first", "second")}
    monkeypatch.setattr(registry, "classes", lambda: known)
    argv = ["reproduce", "main_paper", "second", "--quick", "--out", str(tmp_path), "--backend", "serial"]
    assert main(argv) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("==")] == [
        "first-quick:",
        "second-quick:",
    ]


def test_one_document_says_what_was_found_and_names_the_files_of_the_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(registry, "classes", lambda: {"squares": Squares})
    command = ["reproduce", "squares", "--json", "--out", str(tmp_path), "--backend", "serial"]
    assert main([*command, "--x", *map(str, range(8))]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "lorasolve/reproductions"
    assert told["ok"] is True and told["interrupted"] is False and told["left_out"] == {}
    (squares,) = told["experiments"]
    assert squares["axes"] == {"x": list("01234567")} and squares["cells"] == 8
    (claim,) = squares["claims"]
    assert claim == {"statement": "squares are large", "status": "confirmed", "measured": "-", "holds": True}
    written = json.loads((tmp_path / "squares-chosen.json").read_text())
    assert squares["files"][0] == str(tmp_path / "squares-chosen.json")
    assert [record["square"] for record in written["records"]] == [0, 1, 4, 9, 16, 25, 36, 49]
    Squares.stop_at.append(9)
    assert main([*command, "--x", "9"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["interrupted"] is True and told["experiments"] == []


def test_the_listing_is_a_document_too(capsys):
    assert main(["reproduce", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["experiments"]
    assert told.keys() == registry.classes().keys()
    assert all(told[name]["summary"] == cls.summary for name, cls in registry.classes().items())


def test_interruption_has_its_exit_code(tmp_path, monkeypatch):
    from lorasolve.papers.sharp import Sharp

    def interrupt(self, cell):
        raise KeyboardInterrupt

    monkeypatch.setattr(Sharp, "run", interrupt)
    assert main(["reproduce", "sharp", "--quick", "--out", str(tmp_path), "--backend", "serial"]) == 3


def test_a_claim_that_fails_has_its_exit_code_and_its_line_on_the_page(tmp_path, monkeypatch, capsys):
    from lorasolve.papers.muon import MuonClaims

    monkeypatch.setattr(MuonClaims, "parts", MuonClaims.parts | {"excesses": lambda seeds, max_iter: [0.1]})
    pages = tmp_path / "pages"
    argv = ["reproduce", "muon", "--quick", "--out", str(tmp_path), "--pages", str(pages)]
    argv += ["--backend", "serial"]
    assert main(argv) == 1
    assert "[NOT REPRODUCED] with l2 regularization" in capsys.readouterr().out
    assert (pages / "muon.md").read_text().count("| NOT REPRODUCED |") == 1


def test_sharp_has_no_spurious_end_below_the_boundary_and_some_above():
    experiment = registry.classes()["sharp"]()
    cell = {"r": 1, "r_star": 1, "scale": 1.0, "runs": 10}
    below, above = (experiment.run(cell | {"kappa": kappa}) for kappa in (2.5, 15.0))
    assert below["spurious"] == 0.0
    assert below["unfinished"] == 0
    assert 0.0 < above["spurious"] < 1.0
    assert above["contradictions"] == 0
    assert above["norm"] == pytest.approx(14.0 / 16.0)


@pytest.mark.parametrize("scales", [[0.01, 0.1, 1.0, 10.0], [0.3]])
def test_the_map_of_the_sharp_instance_has_each_start_in_the_middle_of_its_cell(scales):
    from matplotlib.figure import Figure

    kappas = [2.0, 8.0]
    records = [
        {"r": 1, "r_star": 1, "kappa": kappa, "scale": scale, "spurious": 0.1 * k, "norm": 0.5}
        for kappa in kappas
        for k, scale in enumerate(scales)
    ]
    figure = Figure()
    registry.classes()["sharp"]().draw(records, figure)
    axes = figure.axes[0]
    (cells,) = axes.collections
    edges = cells.get_coordinates()
    across, up = edges[0, :, 0], edges[:, 0, 1]
    np.testing.assert_allclose(np.sqrt(across[:-1] * across[1:]), scales)
    np.testing.assert_allclose(np.sqrt(up[:-1] * up[1:]), kappas)
    low, high = axes.get_xlim()
    assert low < scales[0] <= scales[-1] < high
    np.testing.assert_allclose(cells.get_array(), [[0.1 * k for k in range(len(scales))]] * 2)


def test_the_rank_of_the_softmax_minimizer_falls():
    experiment = registry.classes()["table1"]()
    ranks = [experiment.run({"objective": "softmax head", "lam": lam})["rank"] for lam in (0.02, 0.08, 0.4)]
    assert ranks[0] > ranks[1] > ranks[2] == 0


def test_attained_values_carry_over_to_larger_ranks():
    records = [
        {"objective": "f", "r": r, "rsc_high": a, "rsm_low": b}
        for r, a, b in [(1, 0.5, 1.0), (2, 0.7, 3.0), (4, 0.1, 2.0)]
    ]
    nested = _nested(records)
    assert [r["rsc_high"] for r in nested] == [0.5, 0.5, 0.1]
    assert [r["rsm_low"] for r in nested] == [1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({"rsm_sampled": [0.4, 0.5, 0.6]}, False),  # Monte Carlo rises too
        ({"rsm_sampled": [0.7, 4.0, 0.5]}, False),  # and finds what search does
        ({"rsc_sampled": [0.05, -0.01, 0.02]}, False),  # not positive
        ({"rsm_low": [3.0, 4.0, 5.0]}, False),
    ],
)
def test_both_trends_of_the_constants_are_judged(changed, holds):
    keys = {"rsc_sampled": [0.05, 0.03, 0.02], "rsm_sampled": [0.7, 0.8, 0.5]}
    keys |= {"rsc_high": [0.01, -0.1, -0.5], "rsm_low": [3.0, 8.0, 20.0]} | changed
    name = "two-layer network 64 x 64 (non-convex)"
    records = [{"objective": name, "r": 4**k} | {key: found[k] for key, found in keys.items()} for k in range(3)]
    assert registry.classes()["table2"]().claims(records)[0].holds == holds


def linearized(**changed):
    """Return records of few and of many samples, those of 4000 changed."""
    known = {"rsc_low": 0.0, "rsc_high": 0.0, "rsm_low": 9.0, "rsm_high": 10.0, "rank": 1, "above": 0, "starts": 5}
    many = known | {"rsc_low": 0.8, "rsc_high": 0.9, "rsm_low": 1.1, "rsm_high": 1.2}
    return [{"KN": 5, "seed": 0} | known, {"KN": 9, "seed": 0} | known, {"KN": 4000, "seed": 0} | many | changed]


@pytest.mark.parametrize(
    ("changed", "holds"),
    # 2 alpha > beta has to be certain, and nothing may end above the optimum where it is.
    [({}, True), ({"rsc_low": 0.59}, False), ({"rsm_high": 1.7}, False), ({"above": 1}, False)],
)
def test_the_special_regime_is_judged_by_the_certain_ends_of_both_constants(changed, holds):
    experiment = registry.classes()["special_regime"]()
    records = linearized(**changed)
    assert experiment.claims(records)[0].holds == holds
    # r(r+1)/2 = 6 exceeds 5 and not 9.
    assert [line.split()[1] for line in experiment.table(records).splitlines()[2:]] == ["yes", "no", "no"]


@pytest.mark.parametrize("rank", [3, 4])
def test_an_optimum_that_the_rank_cannot_reach_is_told_from_a_spurious_end(rank):
    from matplotlib.figure import Figure

    experiment, figure = registry.classes()["special_regime"](), Figure()
    records = linearized(rank=rank, above=5)
    experiment.draw(records, figure)
    shown = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert ("no weight of rank 3 reaches the optimum" in experiment.table(records)) == (rank > 3)
    assert ("r* > r: out of reach" in shown) == (rank > 3)


@pytest.mark.parametrize(
    ("below", "above", "contradictions", "unfinished", "holds"),
    [
        (0.0, 0.3, 0, 0, True),
        (0.1, 0.3, 0, 0, False),
        (0.0, 0.0, 0, 0, False),
        (0.0, 0.3, 1, 0, False),
        (0.0, 0.3, 0, 10, False),  # below the boundary no run has ended at all
    ],
)
@pytest.mark.parametrize("name", ["sharp", "two_constants"])
def test_ends_on_the_wrong_side_of_a_boundary_and_contradictions_refute_the_theorem(
    name, below, above, contradictions, unfinished, holds
):
    """At r = 4, r* = 1 the boundary of the sharp instance is 5, that of two constants is 1 in its units."""
    shared = {"r": 4, "r_star": 1, "runs": 10, "unfinished": 0, "point": "spurious"}
    records = [
        shared
        | {"kappa": 4.9, "times": 0.9, "spurious": below, "contradictions": 0}
        | {"unfinished": unfinished, "point": "saddle"},
        shared | {"kappa": 5.1, "times": 1.1, "spurious": above, "contradictions": contradictions},
    ]
    (claim,) = registry.classes()[name]().claims(records)
    assert claim.holds == holds
    for k in range(2):  # the closed-form point is on the wrong side of the boundary
        wrong = [record | ({"point": ("spurious", "saddle")[k]} if i == k else {}) for i, record in enumerate(records)]
        assert not registry.classes()[name]().claims(wrong)[0].holds
    ends = f"below {round(10 * below)} of 10, at it and beyond {round(10 * above)} of 10"
    assert f"{ends}; unfinished: {unfinished};" in claim.measured


def test_wilson_interval():
    low, high = wilson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(1.96**2 / (10 + 1.96**2))
    low, high = wilson(5, 10)
    assert np.isclose(low + high, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MAIN_PAPER))
def test_quick_versions_run(name, tmp_path, capsys):
    lacking = registry.classes()[name]().missing()
    if lacking:
        pytest.skip(lacking)
    assert main(["reproduce", name, "--quick", "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}-quick.png").exists()
    assert f"== {name}-quick" in capsys.readouterr().out


ROOT = 2**0.5
BETA = 2 + 4 * ROOT


@pytest.mark.parametrize(
    ("name", "times", "beta2", "norm"),
    [
        # t = sqrt 2: X_s = E2/t has the norm of X* = E1, at every beta.
        ("restricted", 2.0, 4 * ROOT, 1.0),
        # X_s = E2, X* = tau E1: t/tau = (beta - 1)/(beta + 1); equality is beta2 (beta - 1) = 2 beta t.
        ("two_constants", 0.8, 1.6 * BETA * ROOT / (BETA - 1), (BETA - 1) / (BETA + 1)),
    ],
)
def test_the_instances_at_the_boundary_are_those_of_the_theorems(name, times, beta2, norm):
    record = registry.classes()[name]().run({"r": 2, "r_star": 1, "times": times, "scale": 1.0, "runs": 2})
    assert (record["beta2"], record["norm"]) == pytest.approx((beta2, norm))
    assert (record["contradictions"], record["unfinished"]) == (0, 0)


@pytest.mark.parametrize("r", [1, 2, 4])
@pytest.mark.parametrize(
    ("name", "axis", "boundary"),
    [
        ("restricted", "times", lambda t: 1.0),  # it has no curvature below
        ("two_constants", "times", lambda t: 1.0),
        ("sharp", "kappa", lambda t: 1.0 + 2.0 * t),
    ],
)
def test_the_closed_form_point_is_spurious_from_the_boundary_on_and_not_below(name, axis, boundary, r):
    """To a thousandth, where no run ends spurious at r = 4: the runs alone do not show where the boundary is."""
    experiment, at = registry.classes()[name](), boundary(r**0.5)
    cell = {"r": r, "r_star": 1, "scale": 0.01, "runs": 1}
    sides = [(1.001, "spurious")] + [(0.999, "saddle")] * (name != "restricted")
    for share, kind in sides:
        assert experiment.run(cell | {axis: share * at})["point"] == kind


def test_the_claim_about_restricted_convexity_fails_with_another_boundary(monkeypatch):
    """Runs end spurious far beyond it too: of those alone the claim was confirmed wherever the boundary was put."""
    experiment = registry.classes()["two_constants"]()
    make = experiment.instance
    monkeypatch.setattr(experiment, "instance", lambda r, r_star, times: make(r, r_star, max(0.7, 0.95 * times)))
    cells = [{"r": 1, "r_star": 1, "times": times, "scale": 3.0, "runs": 3} for times in (0.8, 1.0, 5.0)]
    (claim,) = experiment.claims([cell | experiment.run(cell) for cell in cells])
    assert not claim.holds and "at it and beyond 1 of 2; runs that end spurious: below 0 of 3" in claim.measured


def test_below_the_boundary_of_theorem_b_no_run_ends_spurious_and_far_above_it_some_do():
    experiment = registry.classes()["two_constants"]()
    cell = {"r": 1, "r_star": 1, "scale": 1.0, "runs": 10}
    below, above = (experiment.run(cell | {"times": times}) for times in (0.8, 5.0))
    assert below["spurious"] == 0.0 < above["spurious"]


@pytest.mark.parametrize(
    ("loss", "norm", "holds"),
    [(1.1, 1.5, [True, True]), (1.25, 1.5, [False, True]), (0.9, 1.5, [False, True]), (1.1, 0.8, [True, False])],
)
def test_losses_and_norms_of_zero_and_large_starts_are_claims_of_their_own(loss, norm, holds):
    """Records of large starts with a loss and norms that are so many times those of zero starts."""
    records = [
        {"lam": lam, "start": start, "loss": 0.1 * a, "norms": [2 * b, b], "ranks": ranks, "second_order": True}
        for lam, ranks in ((0.01, [8, 8]), (0.1, [2, 1]))
        for start, a, b in (("zero", 1.0, 1.0), ("large", loss, norm))
        for _ in range(2)
    ]
    claims = registry.classes()["many_matrices"]().claims(records)
    assert [claim.holds for claim in claims[1:3]] == holds
    # Large starts that stand still are longer too.
    records[-1]["second_order"] = False
    assert not any(claim.holds for claim in registry.classes()["many_matrices"]().claims(records)[1:3])


@pytest.mark.parametrize(("losses", "holds"), [([1.09, 1.11, 1.10], True), ([1.30, 0.95, 1.05], False)])
def test_starts_are_told_apart_by_more_than_the_error_of_the_mean_over_the_seeds(losses, holds):
    """Of 9, 11 and 10 % the error is 0.6 %; of 30, -5 and 5 %, whose mean is 10 % too, it is 10 %."""
    records = [
        {"lam": lam, "start": start, "loss": loss, "norms": [loss], "ranks": ranks, "second_order": True}
        for lam, ranks in ((0.01, [8, 8]), (0.1, [2, 1]))
        for start, of in (("zero", [1.0] * 3), ("large", losses))
        for loss in of
    ]
    claims = registry.classes()["many_matrices"]().claims(records)[1:3]
    assert [claim.holds for claim in claims] == [holds, holds]
    assert all(("over all lam 10.0 +- 0.6 %" in claim.measured) == holds for claim in claims)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("lemma1", {"step": 0.0}, r"step: expected a finite number in \(0, inf\), got 0"),
        ("lemma1", {"lam": 0.0}, r"lam: expected a finite number in \(0, inf\), got 0"),
        ("lemma1", {"lam": 1e-300}, r"step times lam: expected a finite number in \[1e-06, inf\)"),
        ("restricted", {"r_star": 0}, "r_star: expected an integer >= 1, got 0"),
        ("two_constants", {"r_star": 0}, "r_star: expected an integer >= 1, got 0"),
        ("two_constants", {"times": 1e300}, "beta2: expected a finite number in "),
        ("restricted", {"times": 1e300}, "beta: expected a finite number in "),
        ("sharp", {"kappa": 1e308}, "kappa: expected a finite number in "),
        ("special_regime", {"KN": -1}, "KN: expected an integer >= 1, got -1"),
        ("special_regime", {"KN": 0}, "KN: expected an integer >= 1, got 0"),
        ("special_regime", {"seed": -1}, "seed: expected an integer >= 0, got -1"),
    ],
)
def test_a_cell_of_values_that_nothing_can_be_measured_at_names_them(name, changed, message):
    experiment = registry.classes()[name]()
    cell = experiment.cells(experiment.axes(True))[0] | changed
    with pytest.raises(ValueError, match=message):
        experiment.run(cell)


def test_pages_that_cannot_be_written_are_refused_before_anything_is_run(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "out"
    assert main(["reproduce", "polar", "--quick", "--out", str(out), "--pages", str(tmp_path / "file" / "pages")]) == 2
    assert "--pages: cannot be written" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("given", [".", "..", "kept/..", "/"])
def test_a_folder_of_pages_without_a_name_has_no_place_for_their_list(given, tmp_path, monkeypatch, capsys):
    """Two dots made a file ``...md``; of one the error came after the work, and named no argument."""
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "polar", "--quick", "--pages", given]) == 2
    expected = f"--pages: expected a folder by its name, beside which NAME.md is written, got {given!r}"
    assert capsys.readouterr() == ("", f"lorasolve reproduce: {expected}\n")
    assert list(tmp_path.iterdir()) == []


def _folder(path):
    path.mkdir(parents=True)


def _other_encoding(path):
    path.parent.mkdir(parents=True)
    path.write_bytes("für sich".encode("latin-1"))


@pytest.mark.parametrize(
    ("place", "make", "message"),
    [
        ("pages/polar.md", _folder, "--pages: cannot be written: is a folder"),
        ("pages.md", _folder, "--pages: cannot be written: is a folder"),
        ("pages/polar.md", _other_encoding, "pages/polar.md: is not a UTF-8 text file"),
    ],
)
def test_what_stands_where_a_page_is_written_is_looked_at_before_anything_is_run(
    place, make, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / place)
    assert main(["reproduce", "polar", "--quick", "--pages", "pages"]) == 2
    shown, errors = capsys.readouterr()
    assert shown == "" and message in errors
    assert not (tmp_path / "reproduced").exists()


def test_pages_may_be_written_where_the_figures_are(tmp_path, monkeypatch, capsys):
    """Each figure was copied onto itself, which is an error, and the pages were lost with it."""
    monkeypatch.chdir(tmp_path)
    argv = ["reproduce", "special_regime", "--quick", "--backend", "serial"]
    assert main([*argv, "--out", "two words", "--pages", "two words"]) == 0
    page = (tmp_path / "two words" / "main_paper.md").read_text()
    command = shlex.split(re.findall("`(lorasolve reproduce [^`]+)` ", page)[-1])
    assert command == ["lorasolve", "reproduce", "special_regime", "--quick", "--pages", "two words"]
    assert matplotlib.image.imread(tmp_path / "two words" / "special_regime-quick.png").ndim == 3
    listing = (tmp_path / "two words.md").read_text()
    # A space ends the target of a link of Markdown.
    links = re.findall(r"\]\(([^) ]+)\)", listing)
    assert len(links) == len({cls.page() for cls in registry.classes().values()})
    assert (tmp_path / urllib.parse.unquote(next(link for link in links if "main_paper" in link))).is_file()
    assert "[the list of all papers](../two%20words.md)" in page
    assert f"![{registry.classes()['special_regime'].summary}](special_regime-quick.png)" in page


def test_values_that_go_with_no_others_are_refused_for_all_experiments_before_any_is_run(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["reproduce", "sharp", "table2", "--quick", "--r", "2", "70", "--out", str(out)]) == 2
    assert "--r: 70 goes together with no value of the other axes of table2" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", registry.classes())
def test_numbers_have_the_order_of_the_experiments_own_however_they_are_given(name):
    experiment = registry.classes()[name]()
    axes = experiment.axes(False)
    turned = {axis: value[1:] + value[:1] if isinstance(value, list) else value for axis, value in axes.items()}
    again = in_own_order(experiment, turned)
    assert all(again[axis] == own for axis, own in axes.items() if isinstance(own, list) and type(own[0]) is not str)


class Falling(Squares):
    """A claim about what falls along the axis."""

    def run(self, cell):
        return {"square": 100 - cell["x"] ** 2}

    def claims(self, records):
        squares = [record["square"] for record in records]
        return [Claim("they fall", "confirmed", "-", squares == sorted(squares, reverse=True))]


def test_a_claim_about_what_falls_along_an_axis_does_not_depend_on_how_the_axis_is_typed(tmp_path):
    found = reproduce(Falling(), tmp_path, False, {"x": ["2", "5", "0", "1"]})
    assert [record["x"] for record in found.records] == [0, 1, 2, 5]
    assert found.judged and found.claims[0].holds


@pytest.mark.parametrize("name", ["many_matrices", "minilm_rank"])
def test_a_decay_of_0_is_no_point_of_a_logarithmic_axis(name, monkeypatch):
    experiment = registry.classes()[name]()
    if name == "minilm_rank":
        pytest.importorskip("torch")
        monkeypatch.setattr("lorasolve.papers._minilm.whole_task", lambda *_: Unneeded())
    cell = experiment.cells(experiment.axes(True))[0] | {"lam": 0.0}
    with pytest.raises(ValueError, match=r"lam: expected a finite number in \(0, inf\), got 0"):
        experiment.run(cell)


class Unneeded:
    """A task of which nothing is asked."""

    def network(self):
        return None
