"""The runner: resuming, files, exit codes; and the experiments' own arithmetic. Long runs are marked slow."""

import json

import numpy as np
import pytest

from lorasolve.cli import main
from lorasolve.papers import Experiment, PaperClaims, registry
from lorasolve.papers._reproduce import reproduce
from lorasolve.papers.base import text_table
from lorasolve.papers.init_bias import wilson
from lorasolve.papers.table2 import _nested

MAIN_PAPER = {
    "table1", "table2", "figure2", "sharp", "lemma1", "init_bias", "special_regime", "many_matrices",
    "minilm", "transformer_starts",
}  # fmt: skip


class Squares(Experiment):
    """Squares of numbers, interrupted once on request."""

    name = "squares"
    summary = "squares"
    seeds = "none"
    size = (4.0, 3.0)

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.ran = []

    def cells(self, quick):
        return [{"x": x} for x in range(3 if quick else 6)]

    def run(self, cell):
        if cell["x"] == self.stop_at:
            raise KeyboardInterrupt
        self.ran.append(cell["x"])
        return {"square": cell["x"] ** 2}

    def table(self, records):
        return text_table(["x", "square"], [[str(r["x"]), str(r["square"])] for r in records])

    def draw(self, records, figure):
        figure.subplots().plot([r["x"] for r in records], [r["square"] for r in records])


def test_an_interrupted_experiment_continues_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        reproduce(Squares(stop_at=4), tmp_path, quick=False)
    assert [r["square"] for r in json.loads((tmp_path / "squares.json").read_text())["records"]] == [0, 1, 4, 9]
    second = Squares()
    found = reproduce(second, tmp_path, quick=False)
    assert second.ran == [4, 5]
    assert [r["square"] for r in found.records] == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "squares.png").read_bytes().startswith(b"\x89PNG")
    assert "25" in str(found).splitlines()[7] and found.ok
    again = Squares()
    reproduce(again, tmp_path, quick=False, fresh=True)
    assert again.ran == list(range(6))


def test_quick_results_are_kept_apart(tmp_path):
    reproduce(Squares(), tmp_path, quick=True)
    assert {p.name for p in tmp_path.iterdir()} == {"squares-quick.json", "squares-quick.png"}


def test_damaged_files_are_recomputed_once(tmp_path):
    path = tmp_path / "squares-quick.json"
    reproduce(Squares(), tmp_path, quick=True)
    whole = path.read_text()
    changed = whole.replace('"square": 4', '"square": 5')
    assert changed != whole
    for text in ("{broken", "[]", "null", '{"records": 7}', changed, whole.replace('"records"', '"recrods"')):
        path.write_text(text)
        experiment = Squares()
        with pytest.warns(UserWarning, match="is damaged; its cells are run again"):
            reproduce(experiment, tmp_path, quick=True)
        assert experiment.ran == [0, 1, 2]
        again = Squares()
        reproduce(again, tmp_path, quick=True)
        assert again.ran == []


def test_all_experiments_are_found_and_state_cells_seeds_summary_and_paper():
    found = registry.classes()
    assert {name for name, cls in found.items() if not issubclass(cls, PaperClaims)} == MAIN_PAPER
    for cls in found.values():
        experiment = cls()
        quick, full = experiment.cells(True), experiment.cells(False)
        assert json.loads(json.dumps(full)) == full
        assert 0 < len(quick) <= len(full)
        assert experiment.summary and experiment.seeds
        assert "arXiv" in experiment.paper


def test_the_listing_names_every_experiment_once(capsys):
    assert main(["reproduce"]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert sorted(shown) == sorted(registry.classes())


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
    assert main(["reproduce", "main_paper", "second", "--quick", "--out", str(tmp_path)]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("==")] == [
        "first-quick:",
        "second-quick:",
    ]


def test_interruption_has_its_exit_code(tmp_path, monkeypatch):
    from lorasolve.papers.sharp import Sharp

    def interrupt(self, cell):
        raise KeyboardInterrupt

    monkeypatch.setattr(Sharp, "run", interrupt)
    assert main(["reproduce", "sharp", "--quick", "--out", str(tmp_path)]) == 3


def test_a_claim_that_fails_has_its_exit_code_and_its_line_on_the_page(tmp_path, monkeypatch, capsys):
    from lorasolve.papers.expressive_power import ExpressivePowerClaims

    monkeypatch.setattr(ExpressivePowerClaims, "parts", ExpressivePowerClaims.parts | {"deviation": lambda seeds: 0.1})
    pages = tmp_path / "pages"
    argv = ["reproduce", "expressive_power", "--quick", "--out", str(tmp_path), "--pages", str(pages)]
    assert main(argv) == 1
    assert "[NOT REPRODUCED] the best spectral error" in capsys.readouterr().out
    assert (pages / "expressive_power.md").read_text().count("| NOT REPRODUCED |") == 1


def test_sharp_has_no_spurious_end_below_the_boundary_and_some_above():
    experiment = registry.classes()["sharp"]()
    below = experiment.run({"r": 1, "kappa": 2.5, "scales": [1.0], "runs": 10})
    above = experiment.run({"r": 1, "kappa": 15.0, "scales": [1.0], "runs": 10})
    assert below["spurious"] == [0.0]
    assert below["unfinished"] == 0
    assert 0.0 < above["spurious"][0] < 1.0
    assert above["contradictions"] == 0
    assert above["norm"] == pytest.approx(14.0 / 16.0)


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


def test_wilson_interval():
    low, high = wilson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(1.96**2 / (10 + 1.96**2))
    low, high = wilson(5, 10)
    assert np.isclose(low + high, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MAIN_PAPER))
def test_quick_versions_run(name, tmp_path, capsys):
    assert main(["reproduce", name, "--quick", "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}-quick.png").exists()
    assert f"== {name}-quick" in capsys.readouterr().out
