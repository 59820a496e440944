"""Phase diagrams of a study: what is counted, and how they are shown."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess

import numpy as np
import pytest
from grids import Shifted
from numpy.testing import assert_array_equal

import lorasolve as ls
from lorasolve.objectives import Denoising


def test_phase(whole, tmp_path):
    from matplotlib.figure import Figure

    _, runs = whole
    figure = Figure()
    ax = figure.subplots()
    xs, ys, found = runs.phase("lam", "rank", "share of certify.is_global", ax=ax, html=tmp_path / "phase.html")
    assert (xs, ys) == ([-1.0, 0.1, 0.5], [1, 3]) and ax.get_xlabel() == "lam"
    assert np.isnan(found[:, 0]).all()
    values = [
        r["result"]["measures"]["certify"]["is_global"]
        for r in runs
        if (r["run"]["cell"]["lam"], r["run"]["cell"]["rank"]) == (0.5, 3)
    ]
    assert found[1, 2] == np.mean([value for value in values if value is not None])
    # Records of failed runs have no number of iterations, and none has that of hours.
    iterations = runs.phase("lam", "rank", lambda record: record["result"]["nit"])[2]
    assert_array_equal(iterations, runs.phase("lam", "rank", "mean of nit")[2])
    assert np.isnan(iterations[:, 0]).all() and not np.isnan(iterations[:, 1:]).any()
    with pytest.raises(KeyError, match="hours"):
        runs.phase("lam", "rank", lambda record: record["result"]["hours"])
    _, _, count = runs.phase("lam", "rank", lambda record: "error" in record["result"])
    assert_array_equal(count, [[1, 0, 0], [1, 0, 0]])
    _, _, limited = runs.phase("lam", "rank", "share of iteration limit ends")
    statuses = [r["result"]["status"] for r in runs if (r["run"]["cell"]["lam"], r["run"]["cell"]["rank"]) == (0.1, 1)]
    assert limited[0, 1] == np.mean([status == "iteration limit" for status in statuses])
    assert (runs.phase("lam", "rank", "share of diverged ends")[2][:, 1:] == 0.0).all()
    with pytest.raises(ValueError, match=r"no run ends 'divergd'. Did you mean 'diverged'"):
        runs.phase("lam", "rank", "share of divergd ends")
    with pytest.raises(ValueError, match=r"no run ends 'global'.* the measure 'verdict'"):
        runs.phase("lam", "rank", "share of global ends")
    with pytest.raises(ValueError, match="phase: measure 'share spurious'"):
        runs.phase("lam", "rank", "share spurious")
    with pytest.raises(ValueError, match=r"has no value at any run; columns: .*certify.gap"):
        runs.phase("lam", "rank", "mean of certify.gp")
    with pytest.raises(ValueError, match=r"has no value at any run \('share of converged ends' is that of the runs"):
        runs.phase("lam", "rank", "share of converged")
    text = (tmp_path / "phase.html").read_text()
    assert "http" not in text and "study.repeat(objective='own', rank=1, lam=0.1, seed=0)" in text.replace('\\"', '"')


def test_what_is_not_known_of_a_run_neither_raises_a_share_nor_hides_in_a_median(tmp_path):
    """Of five runs one fails, two have no answer and an infinite number, one is right, one wrong: a share of 1/4."""

    def found(problem, result):
        k = int(problem.objective.user.shift)
        if k == 4:
            raise ArithmeticError("no measure of this run")
        return {"right": (None, None, True, False)[k], "gap": (np.inf, np.inf, 0.5, 0.5)[k], "a": 1, "b": 2, "c": 3}

    axes = {"shift": range(5), "rank": [1]}
    study = ls.Study(lambda shift, rank: ls.Problem(Shifted(shift), rank, 0.1), axes, "lbfgs", measure=found)
    runs = study.run(tmp_path / "runs", "serial")
    heads, line = runs.table(by=["rank"]).splitlines()
    assert heads.split()[-5:] == [f"found.{name}" for name in ("right", "gap", "a", "b", "c")]
    assert re.split(r" {2,}", line)[-5:] == ["0.25", "0.5 (2 of 4)", "1", "2", "3"]
    assert_array_equal(runs.phase("rank", "rank", "share of found.right")[2], [[0.25]])
    each = runs.phase("shift", "rank", "share of found.right")[2]
    assert_array_equal(each, [[np.nan, np.nan, 1.0, 0.0, np.nan]])
    with pytest.raises(ValueError, match="expected a column of truth values for a share, got one with 2"):
        runs.phase("shift", "rank", "share of found.b")


def test_what_is_known_of_a_run_does_not_depend_on_what_else_is_asked(tmp_path):
    """Of four runs one is right; of two another measure fails, before and after: a share of 1/4 as without it."""

    def right(problem, result):
        return {"so": (True, None, False, None)[int(problem.objective.user.shift)]}

    def odd(problem, result):
        if problem.objective.user.shift > 1:
            raise ArithmeticError("no measure of this run")
        return True

    axes = {"shift": range(4), "rank": [1]}
    for measures in ({"right": right}, {"right": right, "odd": odd}, {"odd": odd, "right": right}):
        study = ls.Study(lambda shift, rank: ls.Problem(Shifted(shift), rank, 0.1), axes, "lbfgs", measure=measures)
        runs = study.run(tmp_path / "runs", "serial")
        assert len(runs.failed) == (2 if "odd" in measures else 0)
        assert_array_equal(runs.phase("rank", "rank", "share of right.so")[2], [[0.25]])
        heads, line = (re.split(r" {2,}", text) for text in runs.table(by=["rank"]).splitlines())
        assert line[heads.index("right.so")] == "0.25"
        if "odd" in measures:
            assert line[heads.index("odd")] == "1.00" and runs.phase("rank", "rank", "share of odd")[2] == [[1.0]]


def test_an_entry_that_a_measure_leaves_out_is_an_answer_that_is_not_known(tmp_path):
    """Of four runs one is right, with a gap; the others have no such entries, and of two another measure fails."""

    def right(problem, result):
        return {"so": True, "gap": 0.5, "why": "luck"} if problem.objective.user.shift == 0 else {}

    def odd(problem, result):
        if problem.objective.user.shift > 1:
            raise ArithmeticError("no measure of this run")
        return True

    axes = {"shift": range(4), "rank": [1]}
    for measures in (right, [right, odd]):
        study = ls.Study(lambda shift, rank: ls.Problem(Shifted(shift), rank, 0.1), axes, "lbfgs", measure=measures)
        runs = study.run(tmp_path / "runs", "serial")
        heads, line = (re.split(r" {2,}", text) for text in runs.table(by=["rank"]).splitlines())
        told = dict(zip(heads, line))
        assert [told[f"right.{name}"] for name in ("so", "gap", "why")] == ["0.25", "0.5 (1 of 4)", "luck 0.25"]
        assert_array_equal(runs.phase("rank", "rank", "share of right.so")[2], [[0.25]])


def test_a_share_of_ends_is_of_words_that_verdicts_have(tmp_path):
    """None is spurious at rank 1 of a matrix of rank 1, which is a share of 0; a misspelt word is none."""
    study = ls.Study(lambda seed: ls.Problem(Denoising(np.diag([2.0, 0.0])), 1, 0.1), {"seed": [0, 1]}, "lbfgs",
                     measure="verdict")  # fmt: skip
    runs = study.run(tmp_path / "runs", backend="serial")
    assert runs.phase("seed", "seed", "share of global ends")[2].diagonal().tolist() == [1.0, 1.0]
    assert runs.phase("seed", "seed", "share of spurious ends")[2].diagonal().tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"no run ends 'spurous'. Did you mean 'spurious'"):
        runs.phase("seed", "seed", "share of spurous ends")


def test_a_function_over_runs_that_gives_no_number_is_named(whole):
    def kind(record):
        return "text"

    with pytest.raises(TypeError, match="phase: kind: expected a number or truth value of every run, got 'text'"):
        whole[1].phase("lam", "rank", kind)


def test_labels_below_a_phase_diagram_do_not_overlap(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    problem = ls.Problem(Denoising(np.ones((3, 2))), 1, 0.1)
    for lams in (np.geomspace(0.1, 10.0, 40), range(12), [0.5]):
        runs = ls.Study(problem, {"lam": lams, "rank": [1, 2]}, "lbfgs").run(tmp_path, "serial")
        figure = Figure()
        canvas = FigureCanvasAgg(figure)
        ax = figure.subplots()
        runs.phase("lam", "rank", "median of nit", ax=ax)
        canvas.draw()
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        assert boxes and all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_phase_shows_names_with_dollar_signs(tmp_path):
    import matplotlib
    from matplotlib.figure import Figure

    study = ls.Study(lambda **cell: ls.Problem(Shifted(), 1, 0.1), {"data": ["p$q$", "$_{$"], "seed": [0]}, "lbfgs")
    figure = Figure()
    ax = figure.subplots()
    study.run(tmp_path / "runs", "serial").phase("data", "seed", "mean of fun", ax=ax)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    assert ">p$q$</text>" in text and ">$_{$</text>" in text


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no headless browser here")
def test_the_page_in_a_browser(whole, tmp_path):
    """The map is drawn, and a click on its first cell lists the runs and how to repeat them."""
    _, runs = whole
    runs.phase("lam", "rank", "share of certify.is_global", html=tmp_path / "phase.html")
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = (tmp_path / "phase.html").as_uri() + "#first"
    command = [CHROMIUM, *options, "--virtual-time-budget=2000", "--dump-dom", address]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert dom.count("<button") == 6
    drawn = dom.partition("</main>")[0]
    assert drawn.count("ValueError: lam: expected a finite number") == 12
    assert "study.repeat(objective='own', rank=3, lam=-1.0, seed=2)" in drawn
