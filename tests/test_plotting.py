"""The figures show the numbers of the comparison."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from html import unescape

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import lorasolve as ls
from lorasolve.objectives import Denoising
from lorasolve.plotting import comparison_figure, plot_convergence, plot_missing, plot_spectra, save_figure


@pytest.fixture(scope="module")
def comparison():
    """Singular values 3, 2, 0.4 with lam = 1 give an optimum of rank 2 with singular values 2 and 1."""
    M = np.diag([3.0, 2.0, 0.4, 0.1])
    return ls.compare(ls.Problem(Denoising(M), 3, 1.0), ["gd", "lbfgs"])


def test_convergence_curves(comparison) -> None:
    ax = plot_convergence(comparison, Figure().subplots())
    curves = [line for line in ax.get_lines() if len(line.get_xdata()) > 1]
    assert [line.get_label() for line in curves] == ["gd", "lbfgs"]
    optimum = 0.5 * (1 + 1 + 0.4**2 + 0.1**2) + 3.0
    value = np.asarray(comparison.results[0].trace.value)
    assert curves[0].get_ydata()[:5] == pytest.approx((value[:5] - optimum) / optimum, rel=1e-6)
    assert ax.get_xscale() == ax.get_yscale() == "log"


@pytest.mark.parametrize(("methods", "others"), [(["gd", "lbfgs"], 0), (["gd", "lbfgs/lam=0.5"], 1)])
def test_the_legend_names_what_rows_minimise(comparison, methods, others) -> None:
    ax = plot_missing(ls.compare(comparison.problem, methods), Figure().subplots())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels.count(f"minimises {comparison.minimises}") == 1
    assert labels.count("minimises something else") == others


def test_rows_at_the_floor_stand_beside_the_legend(comparison) -> None:
    """Where nothing is missing all marks are at one place, which alone gives the axis no width."""
    figure = Figure(figsize=(6, 4))
    table = ls.compare(comparison.problem, ["gd", "lbfgs"], seeds=2)
    table = replace(table, rows=[replace(row, missing=[0.0, 0.0]) for row in table.rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".* deprecated")  # names that matplotlib uses of a newer pyparsing
        ax = plot_missing(table, figure.subplots())
        figure.savefig(io.BytesIO(), format="png")
    left, right = ax.get_xlim()
    assert left < 1e-12 and right > 1.0
    legend = ax.get_legend().get_window_extent()
    marks = [ax.transData.transform((1e-12, height)) for height in range(2)]
    assert not any(legend.contains(*mark) for mark in marks)


def test_spectra(comparison) -> None:
    ax = plot_spectra(comparison, Figure().subplots())
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([2.0, 1.0])
    filled = [line for line in ax.get_lines() if line.get_label() in ("gd", "lbfgs")]
    for line in filled:
        assert line.get_ydata() == pytest.approx([2.0, 1.0], rel=1e-6)


def test_one_legend_serves_all_panels_and_every_axis_is_named(comparison) -> None:
    figure = comparison_figure(ls.compare(comparison.problem, ["gd", "lbfgs", "gd_backtracking"], seeds=2), "title")
    curves, spectra = (
        {line.get_label(): line for line in ax.get_lines() if line.get_label() in {"gd", "lbfgs", "gd_backtracking"}}
        for ax in figure.axes[:2]
    )
    colours = {name: line.get_color() for name, line in curves.items()}
    assert colours == {name: line.get_color() for name, line in spectra.items()}
    assert len(set(colours.values())) == len({line.get_marker() for line in spectra.values()}) == 3
    hollow = [line for line in figure.axes[1].get_lines() if line.get_markerfacecolor() == "none"]
    assert {line.get_color() for line in hollow} == set(colours.values())
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} >= set(colours)
    assert all(ax.get_title() and ax.get_xlabel() for ax in figure.axes)
    assert all(ax.get_ylabel() for ax in figure.axes[:2])  # in the third, rows have names


def test_figure_without_reference_and_with_a_diverged_run(tmp_path) -> None:
    problem = ls.Problem(Denoising(np.eye(3)), 2, 0.0)
    table = ls.compare(problem, ["lbfgs", ls.optimizers.GD(step_size=1e3)])
    assert table.reference is None
    save_figure(tmp_path / "f.png", comparison_figure(table, "title"))
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_saved_figure_has_ink(comparison, tmp_path) -> None:
    from matplotlib.image import imread

    save_figure(tmp_path / "f.png", comparison_figure(comparison, "title"))
    pixels = imread(tmp_path / "f.png")
    assert pixels.shape[0] > 400
    assert (pixels[..., :3].min(axis=2) < 0.5).mean() > 0.005


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_suffixes_say_what_is_written(comparison, tmp_path, suffix, begins) -> None:
    save_figure(tmp_path / f"f{suffix}", comparison_figure(comparison, "title"))
    assert (tmp_path / f"f{suffix}").read_bytes().startswith(begins)
    with pytest.raises(ValueError, match="path: expected a name that ends in"):
        save_figure(tmp_path / "f.bmp", comparison_figure(comparison, "title"))


def _texts(path) -> list[str]:
    """Return what a picture in SVG writes as text."""
    lines = path.read_text().splitlines()
    return [unescape(line.split(">")[1].split("<")[0]) for line in lines if "<text" in line or "<tspan" in line]


def test_names_with_dollar_signs_are_shown_as_they_are(comparison, tmp_path) -> None:
    rows = [replace(row, method=f"{row.method}$_{{$", missing=[0.1, 0.2]) for row in comparison.rows]
    names = replace(comparison, rows=rows, seeds=[0, 1])
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        save_figure(tmp_path / "f.svg", comparison_figure(names, "denoising on a$b_{$.npz and p$q$.npz"))
    texts = _texts(tmp_path / "f.svg")
    assert texts.count("denoising on a$b_{$.npz and p$q$.npz") == 1
    assert texts.count("gd$_{$") == texts.count("lbfgs$_{$") == 2  # under the legend and beside the third panel


def test_several_settings_of_one_method_are_told_apart() -> None:
    problem = ls.Problem(Denoising(np.diag([3.0, 2.0, 0.4])), 2, 0.3)
    methods = ["gd:step_size=0.1", "gd:step_size=0.01", "adam:step_size=0.1~gaussian:std=2"]
    figure = comparison_figure(ls.compare(problem, methods, seeds=2, budget=20), "title")
    names = [text.get_text() for text in figure.axes[2].get_yticklabels()]
    assert sorted(names) == ["adam~gaussian", "gd:step_size=0.01", "gd:step_size=0.1"]


def test_an_optimum_of_rank_0_has_the_colour_of_the_bars_in_the_legend() -> None:
    """``M`` has the singular value 2, so that above ``lam = 2`` the optimum is 0."""
    for lam, rank in ((0.5, 1), (3.0, 0)):
        table = ls.compare(ls.Problem(Denoising(np.diag([2.0, 0.0])), 1, lam), ["gd", "lbfgs"])
        (legend,) = comparison_figure(table, "title").legends
        assert legend.get_texts()[0].get_text() == f"convex optimum, rank {rank}"
        assert np.ravel(legend.legend_handles[0].get_facecolor()) == pytest.approx([0.85, 0.85, 0.85, 1.0])


def test_the_axis_divides_by_the_optimum_only_where_the_values_do(comparison) -> None:
    """``f(X) = ||X||^2/2`` has the optimum 0 at ``X = 0``."""
    table = ls.compare(ls.Problem(Denoising(np.zeros((4, 3))), 2, 1.0), ["gd"])
    ax = plot_convergence(table, Figure().subplots())
    assert table.reference.fun == 0.0
    assert ax.get_lines()[0].get_ydata()[0] == pytest.approx(table.results[0].trace.value[0])
    assert ax.get_ylabel() == "L - F*   (F* = 0)"
    assert plot_convergence(comparison, Figure().subplots()).get_ylabel() == "(L - F*) / |F*|"


@pytest.mark.parametrize("title", ["a very long name " * 20, "/a/path/without/spaces" * 12, "two lines\n" + "x" * 300])
def test_a_long_title_stays_within_the_picture(comparison, title) -> None:
    figure = comparison_figure(comparison, title)
    figure.draw_without_rendering()
    (box,) = [text.get_window_extent() for text in figure.texts]
    assert box.x0 >= 0.0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
    assert "".join(figure.get_suptitle().split()) == "".join(title.split())
