"""Paths on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from path_problems import ratings

from lorasolve.cli import main
from lorasolve.studies import lam_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lam", "-1"], "--lam: expected"),
        (["--lam", "1", "--tol", "0"], "--tol: expected"),
        (["--lam", "1", "--folds", "1"], "--folds: expected"),
        (["--lam", "1", "--folds", "99"], "--folds: expected at most one a sample"),
    ],
)
def test_wrong_options_are_called_by_their_names(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.csv").write_text("0,0,1\n0,1,2\n1,0,3\n")
    assert main(["path", "--objective", "completion", "ratings.csv", *options]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve path: {message}")
    if "--folds" in options:
        options = ["--lams", *options[1:]]
    assert main(["complete", "ratings.csv", *options]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve complete: {message}")


def test_path_on_the_command_line(tmp_path, capsys):
    data = ["--objective", "completion", ratings(tmp_path), "--quiet"]
    assert main(["path", *data, "--lam", "6", "8", "10", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["path"]["points"]
    assert [point["lam"] for point in points] == [6.0, 8.0, 10.0]
    assert all(point["relative_gap"] <= 1e-6 for point in points)
    out = str(tmp_path / "curve")
    arguments = ["--test-fraction", "0.2", "--count", "5", "--tol", "1e-4", "--out", out, "--require-certificate"]
    assert main(["path", *data, *arguments]) == 0
    text = capsys.readouterr().out
    assert "least held-out rmse at lam = " in text and "best" in text
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "curve.json").read_text())["path"]["error"] == "held-out rmse"
    assert main(["path", *data, "--folds", "3", "--lam", "2", "4"]) == 0
    capsys.readouterr()
    tables = []
    for words in (["--lam", "4", "8"], ["--adapter", "lora:alpha=4", "--lam", "8", "16"]):
        assert main(["path", *data, "--rank", "2", "--folds", "3", "--tol", "1e-8", "--json", *words]) == 0
        tables.append(json.loads(capsys.readouterr().out)["path"])
    np.testing.assert_allclose(tables[1]["errors"], tables[0]["errors"], rtol=1e-5)
    assert tables[1]["best"] == 2.0 * tables[0]["best"]
    assert main(["path", *data, "--lam", "0.1", "0.2", "--count", "7"]) == 2
    assert "--count: is how many values are taken where --lam gives none" in capsys.readouterr().err
    for words in (["path", *data, "--lam"], ["complete", data[2], "--folds", "3", "--lams"]):
        assert main([*words, "0.5", "0.1", "0.1"]) == 2
        assert ": expected different values, got 0.1 twice" in capsys.readouterr().err
    assert main(["path", *data, "--lam", "0"]) == 2
    assert "lorasolve path: --lam: expected a finite number in (0, inf)" in capsys.readouterr().err


def test_an_interrupted_path_keeps_the_values_that_are_finished(tmp_path, capsys, monkeypatch):
    solve, left = lam_path.solve_convex, []

    def interrupted_in_the_end(*args, **options):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return solve(*args, **options)

    monkeypatch.setattr(lam_path, "solve_convex", interrupted_in_the_end)
    data = ["--objective", "completion", ratings(tmp_path), "--quiet", "--out", str(tmp_path / "curve")]
    held_out = [*data, "--test-fraction", "0.2"]
    for arguments in (data, held_out):
        left[:] = [1, 1]
        assert main(["path", *arguments, "--lam", "6", "9", "4", "8"]) == 3
        kept = json.loads((tmp_path / "curve.json").read_text())["path"]
        points = kept["paths"][0]["points"] if "paths" in kept else kept["points"]
        assert kept["interrupted"] and not kept["success"] and [point["lam"] for point in points] == [9.0, 8.0]
        (tmp_path / "curve.json").unlink()
    text = capsys.readouterr().out
    assert "interrupted after 2 values: least held-out rmse at lam = 8; " in text
    assert kept["lams"] == [9.0, 8.0] and len(kept["errors"]) == 2
    # As without the others.
    left[:] = [1, 1]
    assert main(["path", *held_out, "--lam", "9", "8"]) == 0
    whole = json.loads((tmp_path / "curve.json").read_text())["path"]
    assert whole["errors"] == kept["errors"] and whole["best"] == kept["best"]
    (tmp_path / "curve.json").unlink()
    for arguments in (data, held_out, [*data, "--folds", "3"]):
        left[:] = [1, 1] if "--folds" in arguments else []
        assert main(["path", *arguments, "--lam", "6", "9", "4", "8"]) == 130
        assert not (tmp_path / "curve.json").exists()


@pytest.mark.parametrize(("given", "named"), [([], "--lam"), (["--count", "3"], "--count")])
def test_a_path_of_equal_ratings_names_what_can_be_given(tmp_path, monkeypatch, capsys, given, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same.csv").write_text("".join(f"{i},{j},3.7\n" for i in range(9) for j in range(i % 3, 7)))
    data = ["path", "--objective", "completion", "same.csv", "--center"]
    assert main([*data, *given]) == 2
    assert capsys.readouterr().err.startswith(f"lorasolve path: {named}: grad f(0) = 0, so X = 0 is optimal at every")
    assert main([*data, "--lam", "1", "2"]) == 0


def test_folds_of_a_loss_without_samples_name_the_keys_that_hold_data_out(tmp_path, monkeypatch, capsys):
    """An argument was named that the command line has not."""
    monkeypatch.chdir(tmp_path)
    M = np.diag([3.0, 2.0, 1.0])
    np.savez("alone.npz", M=M)
    np.savez("both.npz", M=M, M_test=M + 0.1)
    assert main(["path", "--objective", "denoising", "alone.npz", "--folds", "3"]) == 2
    assert "(in an archive: keys that end in '_test')" in capsys.readouterr().err
    assert main(["path", "--objective", "denoising", "both.npz", "--count", "3"]) == 0
    assert "held-out loss" in capsys.readouterr().out


def test_folds_are_seen_in_the_picture_of_a_single_lam(tmp_path):
    """Of one point a line without marks shows nothing, while the legend names it."""
    from lorasolve import cross_validate
    from lorasolve.commands.path import _drawn
    from lorasolve.io import read_task
    from lorasolve.problem import Problem

    problem = Problem(read_task("completion", ratings(tmp_path)).objective, 2, 1.0)
    found = cross_validate(problem, [8.0], folds=3)
    (ax,) = _drawn(found).axes
    shown = {tuple(line.get_ydata()) for line in ax.get_lines() if line.get_marker() not in ("None", "")}
    assert shown == {*((error,) for error in found.errors[0]), (found.errors[0].mean(),)}
