"""Every example runs, and the main ones show what they say."""

from __future__ import annotations

import ast
import json
import pathlib
import runpy
import sys
from typing import Any

import matplotlib
import numpy as np
import pytest

from lorasolve.io import Ratings
from lorasolve.models import fit_completion
from lorasolve.papers.minilm import MiniLM

matplotlib.use("Agg")

FOLDER = pathlib.Path(__file__).parent.parent / "examples"


def run(name: str) -> Any:
    return runpy.run_path(str(FOLDER / f"{name}.py"))["run"](quick=True)


OWN_TEST = {
    "quickstart", "own_objective", "convex_certificate", "ratings", "adapters", "sora_gates", "rac_lora",
    "expressive_power", "rank_reduction", "forgetting", "beam_lora", "lora_pro", "dora",
    "periodic_lora", "inpainting", "panel", "language_model", "recommendations",
    "convex_head",
}  # fmt: skip
ALL = {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_example_begins_with_its_title(name: str) -> None:
    """The gallery of the documentation takes it from there."""
    title, line, *_ = (ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or "").split("\n")
    assert line == "=" * len(title)


@pytest.mark.parametrize("name", sorted(ALL - OWN_TEST))
def test_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(name)
    assert capsys.readouterr().out


def test_quickstart() -> None:
    shown = run("quickstart")
    assert shown["certificate"].is_global is True
    assert shown["certificate"].rank == shown["optimum"].rank == 6
    assert abs(shown["result"].fun - shown["optimum"].fun) < 1e-8


def test_own_objective() -> None:
    shown = run("own_objective")
    assert shown["report"].ok
    assert all(row.is_global for row in shown["table"].rows)


def test_convex_certificate() -> None:
    """The certified gap is never below the true one, and both vanish; rank 1 is refuted."""
    shown = run("convex_certificate")
    assert abs(shown["optimum"].cross_check["relative_difference"]) < 1e-8
    assert len(shown["points"]) == 5
    assert all(certified >= true for _, true, certified in shown["points"])
    assert shown["points"][-1][2] < 1e-6
    assert shown["refuted"].is_global is False


def test_ratings() -> None:
    shown = run("ratings")
    assert shown["optimum"].success
    before, after = shown["rmse"]
    assert after < 0.9 * before


@pytest.mark.parametrize(("name", "last"), [("ratings", "held-out RMSE: "), ("recommendations", "the items")])
def test_examples_of_ratings_take_a_file_of_any_size_with_its_lam(tmp_path, monkeypatch, capsys, name, last) -> None:
    """Ranks beyond its rows were refused; without lam a file was left unread, and synthetic ratings were shown."""
    monkeypatch.chdir(tmp_path)
    stars = np.random.default_rng(0).integers(1, 6, (12, 8)).astype(float)
    lines = [f"u{i},{j},{value}" for (i, j), value in np.ndenumerate(stars)]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "argv", [name, "mine.csv", "2"])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)
    monkeypatch.setattr(sys, "argv", [name, "mine.csv"])
    with pytest.raises(SystemExit, match=r"expected FILE and LAM, or nothing, got mine\.csv"):
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


def test_recommendations() -> None:
    """Means of columns spoil the lists; shares of hits are those of a sorted table of all predictions."""
    module = runpy.run_path(str(FOLDER / "recommendations.py"))
    shares = {name: share for name, (_, share) in module["run"](quick=True).items()}
    assert 2.0 * shares["--means both"] < min(shares["--means rows"], shares["--means global"])
    train, held = module["hold_out"](module["synthetic"](200, 300))
    model = fit_completion(Ratings.from_labels(train.users, train.items, train.stars), 4.0, "rows").model
    users, items = ({label: k for k, label in enumerate(labels)} for labels in (model.row_labels, model.col_labels))
    table = model.mean + model.row_effects[:, None] + model.col_effects + model.A @ model.B.T
    counts = np.zeros(table.shape) + [np.sum(train.items == item) for item in items]
    for scores, name in ((table, "--means rows"), (counts, "the items rated most")):
        scores[[users[user] for user in train.users], [items[item] for item in train.items]] = -np.inf
        chosen = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        found = sum(
            stars >= 4 and user in users and item in items and items[item] in chosen[users[user]]
            for user, item, stars in zip(held.users, held.items, held.stars)
        )
        assert shares[name] == pytest.approx(found / chosen.size, rel=1e-12)


def test_adapters() -> None:
    """LoRA and rsLoRA reach the closed form at lam = 0; a frozen factor cannot; merging adds ranks up."""
    losses = run("adapters")
    best = losses["best of rank 2"]
    assert losses["LoRA, alpha = 2"] == pytest.approx(best, rel=1e-6)
    assert losses["rsLoRA, alpha = 2"] == pytest.approx(best, rel=1e-6)
    assert losses["LoRA-FA: B trained, A frozen"] > 1.5 * best
    assert losses["LoRA, merged every quarter"] < 0.1 * best


def test_sora_gates() -> None:
    """The closed form keeps the singular values above (3/2) (4 * 0.5 * 0.1)^(1/3), and both starts find it."""
    shown = run("sora_gates")
    assert shown["optimum"].gates == sum(value > 1.5 * 0.2 ** (1 / 3) for value in (4.0, 3.0, 2.0, 1.0, 0.3, 0.1))
    for fun, gates in shown["ends"].values():
        assert gates == 4 and fun == pytest.approx(shown["optimum"].fun, abs=1e-7)


def test_rac_lora() -> None:
    gaps = run("rac_lora")
    assert gaps["LoRA"] == pytest.approx(0.28889, abs=5e-6)
    assert abs(gaps["RAC-LoRA"]) < 1e-12


def test_expressive_power() -> None:
    shown = run("expressive_power")
    assert shown["errors"].keys() == {4, 8, 16}
    for rank, error in shown["errors"].items():
        assert error == pytest.approx(shown["values"][rank] if rank < 16 else 0.0, abs=1e-13)


def test_rank_reduction() -> None:
    assert all(rank * (rank + 1) // 2 <= count for count, rank in run("rank_reduction").items())


def test_forgetting() -> None:
    """Nothing lies in front of the front, and a rank that fits the change beats full fine-tuning on both counts."""
    ends = run("forgetting")
    assert all(end.behind_front > -1e-8 for end in ends.values())
    fitting, full = ends["LoRA, r = 3"], ends["full fine-tuning"]
    assert fitting.target_loss < full.target_loss and fitting.forgetting < full.forgetting


def test_beam_lora() -> None:
    """The methods differ: pruning alone comes nearest to the change, and gates alone change nothing much."""
    means = run("beam_lora")
    assert means["pruning alone"] < 0.9 * min(means["LoRA"], means["BeamLoRA"], means["BeamLoRA, split exact"])
    assert abs(means["gates alone"] / means["LoRA"] - 1.0) < 0.01


def test_lora_pro() -> None:
    """The moments in the space of the weight keep the method's advantage."""
    losses = run("lora_pro")
    assert losses["lora_pro_adamw_full"] < 0.5 * losses["adamw"]


def test_dora() -> None:
    """One sign for all methods on the first and the last kind of targets."""
    values = run("dora")
    assert min(values["perturbed"].values()) > 0.5 and max(values["direction or norm"].values()) < 0.0


def test_periodic_lora() -> None:
    shown = run("periodic_lora")
    assert shown["nesterov+periodic:period=100"] < 1e-3 * shown["best of rank 2"]
    assert shown["nesterov"] >= shown["best of rank 2"] * (1.0 - 1e-9)
    assert shown["root"] < 1e-14 < shown["linear"]


def test_inpainting() -> None:
    """The lost pixels come back to a fifth of what the mean alone misses, and three pictures show it."""
    shown = run("inpainting")
    assert shown["errors"]["completed"] < 0.2 * shown["errors"]["mean of the pixels left"]
    assert shown["optimum"].success
    assert [ax.get_title() for ax in shown["figure"].axes] == ["half of it lost (blue)", "completed", "as it was"]


def test_panel() -> None:
    """The effect is 1: two-way effects have its sign wrong, shrinkage leaves a part of that, the refit is right."""
    alone, shrunk, refitted = run("panel")["estimates"]
    assert alone < 0.0 < shrunk < 0.8
    assert refitted == pytest.approx(1.0, abs=0.1)


def test_the_folds_of_the_panel_see_outcomes_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects of units and periods that are taken off before, by all outcomes, have seen those that are held out."""
    from lorasolve.studies import validation

    seen: list[tuple[Any, str]] = []
    whole = validation.cross_validate

    def watched(problem: Any, *args: Any, means: str = "none", **options: Any) -> Any:
        seen.append((problem.objective, means))
        return whole(problem, *args, means=means, **options)

    monkeypatch.setattr(validation, "cross_validate", watched)
    monkeypatch.setattr("lorasolve.cross_validate", watched)
    parts = runpy.run_path(str(FOLDER / "panel.py"))
    parts["run"](quick=True)
    [(objective, means)] = seen
    Y, treated = parts["panel"](60, 30)
    assert means == "both"
    assert np.array_equal(objective.values, Y[objective.rows, objective.cols])
    assert objective.rows.size == np.count_nonzero(~treated)


def test_the_notebook_for_teaching_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """Cell by cell, its own assertions included; it is kept without outputs."""
    cells = json.loads((FOLDER / "teaching.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in code:
        exec("".join(cell["source"]), names)
    assert "verdict: spurious" in capsys.readouterr().out


def test_convex_head(capsys: pytest.CaptureFixture[str]) -> None:
    """A rank below the optimum's is refuted by the optimum, which is below it; one above is certified."""
    pytest.importorskip("torch")
    lacks = MiniLM().missing()
    if lacks:
        pytest.skip(lacks)
    found = runpy.run_path(str(FOLDER / "convex_head.py"))["run"]()
    best, certificates = found["optimum"], found["certificates"]
    assert best.rank == 7 and best.certificate.is_global is True and str(best.certificate.level) == "RIGOROUS"
    assert {rank: certificate.is_global for rank, certificate in certificates.items()} == {6: False, 8: True}
    # By another program, on features in single precision, which move the optimum by 1e-8.
    assert best.fun == pytest.approx(1.0647531316, abs=1e-7)
    assert certificates[8].value - best.fun <= certificates[8].gap and certificates[6].value - best.fun > 0.04
    assert "F = 1.064753" in capsys.readouterr().out


def test_convex_head_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"needs torch and transformers: pip install 'lorasolve\[torch\]'"):
        run("convex_head")
