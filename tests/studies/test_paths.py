"""Paths over lam against closed forms."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from path_problems import VALUES, denoising, formless, planted

import lorasolve as ls
from lorasolve import singular_triplets
from lorasolve._support import progress as _progress
from lorasolve.certificates import norms
from lorasolve.cli import main
from lorasolve.commands import path as path_command
from lorasolve.objectives import Denoising


@pytest.mark.parametrize(("objective", "route"), [(Denoising, "closed_form"), (formless, "factored")])
def test_a_path_is_the_soft_threshold_at_every_lam_with_its_rank_proved(objective, route):
    lams = [0.4, 4.0, 1.0, 6.0, 2.5]
    found = ls.path(denoising(objective), lams, tol=1e-9)
    assert found.success and found.lams == lams
    assert {point.route for point in found.points} == {route}
    for lam, point in zip(lams, found.points):
        kept = np.maximum(VALUES - lam, 0.0)
        assert point.fun == pytest.approx(0.5 * (np.minimum(VALUES, lam) ** 2).sum() + lam * kept.sum(), rel=1e-9)
        certificate = point.certificate
        assert (certificate.rank_at_least or 0) == certificate.rank_at_most == np.count_nonzero(kept)
        assert certificate.problem.lam == lam
    assert [line.split()[4] for line in found.table().splitlines()[1:]] == ["4", "1", "3", "0", "2"]
    gaps = {column.heading: column.write for column in found.columns()}["gap"]
    assert (gaps(0.0), gaps(3e-9)) == ("0", "3.0e-09")


@pytest.mark.parametrize("shape", [(230, 210), (210, 230)])
def test_one_factorisation_at_each_lam_proves_the_gap_and_the_rank(shape, monkeypatch):
    """A gradient large enough for it, at least a third of lam away from lam outside of the spaces of the optimum."""
    rng = np.random.default_rng(3)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 40)))[0] for size in shape)
    values = np.r_[9.0, 7.0, 5.0, np.full(37, 0.5)]
    problem = ls.Problem(formless((P * values) @ Q.T), 2, 1.0)
    asked, defect = [], norms.semidefinite_defect
    monkeypatch.setattr(norms, "semidefinite_defect", lambda *args: asked.append(1) or defect(*args))
    lams = [8.0, 6.0, 4.0, 3.0, 2.0]
    found = ls.path(problem, lams, 1e-4)
    assert found.success and len(asked) == len(lams)
    for lam, point in zip(lams, found.points):
        assert point.certificate.rank_at_most == point.certificate.rank_at_least == np.count_nonzero(values > lam)


@pytest.mark.parametrize("shape", [(340, 310), (310, 340)])
def test_what_escapes_at_the_next_lam_is_searched_with_the_factor_of_the_last_proof(shape, monkeypatch):
    """A gradient too large for an SVD and small enough for a proof."""
    rng = np.random.default_rng(3)
    P, Q = (np.linalg.qr(rng.standard_normal((size, 60)))[0] for size in shape)
    values = np.r_[9.0, 7.0, 5.0, 3.8, 3.7, np.linspace(1.5, 0.1, 55)]
    found, search = [], singular_triplets._inverted_top
    monkeypatch.setattr(singular_triplets, "_inverted_top", lambda *args: found.append(search(*args)) or found[-1])
    lams = [8.0, 6.0, 4.0, 3.5, 2.0]
    path = ls.path(ls.Problem(formless((P * values) @ Q.T), 2, 1.0), lams, 1e-6)
    assert [point.rank for point in path.points] == [np.count_nonzero(values > lam) for lam in lams]
    assert path.success and len(found) == len(lams) - 1 and None not in found
    for lam, point in zip(lams, path.points):
        kept = np.maximum(values - lam, 0.0)
        assert point.fun == pytest.approx(0.5 * (np.minimum(values, lam) ** 2).sum() + lam * kept.sum(), rel=1e-6)


def test_a_path_with_a_closed_form_takes_one_svd(monkeypatch):
    taken, svd = [], np.linalg.svd
    problem = denoising()
    whole = problem.objective.M.shape
    monkeypatch.setattr(np.linalg, "svd", lambda M, *args, **named: taken.append(np.shape(M)) or svd(M, *args, **named))
    assert ls.path(problem, [4.0, 2.5, 1.0, 0.4]).success
    assert taken.count(whole) == 1


def test_a_path_by_number_begins_where_zero_is_optimal():
    found = ls.path(denoising(), 5, tol=1e-6)
    assert found.lams[0] == pytest.approx(5.0) and found.lams[-1] == pytest.approx(0.05)
    assert found.points[0].rank == 0 and found.points[-1].rank == 4
    assert repr(found).startswith("Path(5 points, lam from 5 to 0.05: ")
    # Of data a thousandth of these, whose every lam is below 1.
    small = ls.Problem(Denoising(1e-3 * denoising().objective.M), 2, 1.0)
    assert ls.path(small, 1).lams == pytest.approx([5e-3], rel=1e-12)


def test_a_scaled_adapter_has_its_own_lam():
    problem = denoising().replace(adapter=ls.adapters.LoRA(alpha=4.0))
    (point,) = ls.path(problem, [2.0], tol=1e-9).points
    lam = problem.replace(lam=2.0).lam_effective
    assert lam != 2.0
    kept = np.maximum(VALUES - lam, 0.0)
    assert point.fun == pytest.approx(0.5 * (np.minimum(VALUES, lam) ** 2).sum() + lam * kept.sum(), rel=1e-9)


def test_warm_and_cold_points_are_the_same_optimum():
    problem = ls.Problem(planted(), 2, 1.0)
    found = ls.path(problem, 6, tol=1e-8)
    assert len(found.points) == 6
    for lam, point in zip(found.lams, found.points, strict=True):
        cold = ls.solve_convex(problem.replace(lam=lam), "prox", 1e-8)
        assert point.fun == pytest.approx(cold.fun, rel=3e-8)


@pytest.mark.parametrize("folds", [[], ["--folds", "2"]])
def test_a_path_says_where_its_tolerance_is_not_reached(tmp_path, monkeypatch, capsys, folds):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = [f"{i},{j},{value}" for (i, j), value in np.ndenumerate(rng.standard_normal((6, 5)))]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    command = ["path", "--objective", "completion", "ratings.csv", "--lam", "0.5", "0.25", *folds, "--tol"]
    assert main([*command, "1e-30"]) == 0
    assert "\n\na relative gap of 1e-30 is not reached at lam = 0.25, 0.5\n" in capsys.readouterr().out
    assert main([*command, "1e-3"]) == 0
    assert "not reached" not in capsys.readouterr().out


def test_errors_are_called_what_they_are():
    """A mean loss on held-out data is no root mean square, whatever is trained on."""
    T = np.random.default_rng(0).standard_normal((30, 25))
    found = ls.cross_validate(ls.Problem(planted(), 2, 1.0), [1e6], held_out=Denoising(T))
    assert found.error_name == "held-out loss" and found.errors[0, 0] == pytest.approx(0.5 * (T**2).sum())


def test_ranks_are_labelled_by_whole_numbers():
    """Of an optimum whose rank goes from 1 to 2 along the path."""
    found = ls.path(denoising(), [4.5, 2.5], tol=1e-6)
    assert [point.rank for point in found.points] == [1, 2]
    (ax,) = path_command._drawn(found).axes
    low, high = ax.get_ylim()
    assert [tick for tick in ax.get_yticks() if low <= tick <= high] == [1.0, 2.0]


def test_a_log_of_folds_says_every_thirty_seconds_which_fit_is_at_work(monkeypatch, capsys):
    """Also where no fit takes as long as that: each report of a fit here takes four seconds."""
    ticks = itertools.count(0.0, 4.0)

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return next(ticks)

    monkeypatch.setattr(_progress, "time", Clock)
    problem = ls.Problem(planted(), 1, 1.0)
    ls.cross_validate(problem, [5.0, 4.0, 3.0], folds=4, progress=True)
    lines = capsys.readouterr().err.splitlines()
    begun = [re.match(r"value (\d) of 3, fold (\d) of 4: ", line) for line in lines]
    assert len([each for each in begun if each]) > 3
    places = [(int(each[1]), int(each[2])) for each in begun if each]
    assert places == sorted(places) and places[-1] == (3, 4)
    ls.path(problem, [5.0, 4.0, 3.0], progress=True)
    assert re.search(r"^value [123] of 3: \d+ %, F = ", capsys.readouterr().err, re.MULTILINE)
