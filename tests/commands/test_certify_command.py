"""Points that are certified on the command line."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.cli import main
from lorasolve.io import load_result
from lorasolve.tasks import digits_task


@pytest.mark.parametrize("form", ["X", "factors", "result", "convex"])
def test_certify_a_point_from_anywhere(capsys, data, optimum, form, tmp_path) -> None:
    problem = ["--objective", "denoising", data, "--lam", "1"]
    with np.load(data) as arrays:
        P, s, Qt = np.linalg.svd(arrays["M"])
    A, B = P[:, :2] * (s[:2] - 1.0), Qt[:2].T
    if form == "X":
        np.savez("point.npz", X=A @ B.T)
    elif form == "factors":
        np.savez("point.npz", A=A, B=B)
    elif form == "convex":
        assert main(["convex", *problem, "--out", "point"]) == 0
    else:
        assert main(["solve", *problem, "--method", "lbfgs", "--out", "point"]) == 0
        problem = []
    capsys.readouterr()
    assert main(["certify", "point.npz", *problem, "--require-certificate", "--write", "proof.json"]) == 0
    text, remarks = capsys.readouterr()
    assert "global optimum: yes" in text
    assert remarks == "written: proof.json, in exact arithmetic, for check_certificate.py\n"
    from lorasolve.certificates import check_certificate

    run = subprocess.run([sys.executable, check_certificate.__file__, "proof.json"], capture_output=True, text=True)
    assert (run.returncode, run.stdout[:25]) == (0, "accepted: F(X) - inf F <=")
    assert main(["certify", "point.npz", *problem, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "lorasolve/certify"
    assert document["certificate"]["value"] == pytest.approx(optimum, rel=1e-10)


def test_certify_refuses_a_point_that_is_not_optimal(capsys, data) -> None:
    np.savez("point.npz", X=np.ones((6, 5)))
    options = ["--objective", "denoising", data, "--lam", "1"]
    assert main(["certify", "point.npz", *options]) == 0
    assert "global optimum: no" in capsys.readouterr().out
    assert main(["certify", "point.npz", *options, "--require-certificate"]) == 1


@pytest.mark.parametrize("options", [[], ["--quiet"], ["--json"]])
def test_certify_does_not_choose_the_problem_that_a_point_is_judged_by(capsys, data, options) -> None:
    """The point is the optimum for lam = 1 (closed form), and for no other lam."""
    P, s, Qt = np.linalg.svd(np.load(data)["M"], full_matrices=False)
    np.savez("point.npz", X=(P * np.maximum(s - 1.0, 0.0)) @ Qt)
    command = ["certify", "point.npz", "--objective", "denoising", data, *options]
    assert main(command) == 2
    text, remarks = capsys.readouterr()
    assert text == "" and remarks.startswith("lorasolve certify: --lam: expected the weight decay of the problem")
    for lam, exit_code in (("1", 0), ("0.3", 1)):
        assert main([*command, "--lam", lam, "--require-certificate"]) == exit_code


@pytest.mark.parametrize("arrays", [{"X": np.zeros((10, 64))}, {"A": np.zeros((10, 3)), "B": np.zeros((64, 3))}])
def test_a_point_alone_is_one_of_the_embedded_digits_job(capsys, arrays) -> None:
    """No update at all has the loss of the head that was trained on upright digits."""
    np.savez("point.npz", **arrays)
    assert main(["certify", "point.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["certificate"]
    assert found["value"] == pytest.approx(digits_task().objective.value_and_grad(np.zeros((10, 64)))[0], rel=1e-12)
    np.savez("point.npz", **{name: np.pad(array, ((0, 1), (0, 0))) for name, array in arrays.items()})
    assert main(["certify", "point.npz"]) == 2
    shape = (11, 64) if "X" in arrays else (11, 65)
    assert (
        f"expected a point of shape (10, 64), that of the embedded digits job, got {shape}" in capsys.readouterr().err
    )


def test_certify_takes_factors_as_the_update_whatever_the_adapter(capsys, data) -> None:
    np.savez("X.npz", X=np.ones((6, 5)))
    np.savez("factors.npz", A=np.ones((6, 1)), B=np.ones((5, 1)))
    options = ["--objective", "denoising", data, "--lam", "1", "--adapter", "lora:alpha=7", "--json"]
    values = []
    for name in ("X.npz", "factors.npz"):
        assert main(["certify", name, *options]) == 0
        values.append(json.loads(capsys.readouterr().out)["certificate"]["value"])
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"Y": np.ones((6, 5))}, [], "point.npz: expected the array X, or A and B, and no others; keys: Y"),
        ({"X": np.ones((5, 6))}, [], "point.npz: expected shape (6, 5), got (5, 6)"),
        ({"A": np.ones((6, 1)), "B": np.ones((5, 2))}, [], "point.npz: B: expected shape"),
    ],
)
def test_certify_says_what_it_accepts(capsys, data, arrays, options, message) -> None:
    np.savez("point.npz", **arrays)
    assert main(["certify", "point.npz", "--objective", "denoising", data, "--lam", "1", *options]) == 2
    assert message in capsys.readouterr().err


def test_certify_takes_no_other_problem_than_that_of_a_saved_result(capsys, data) -> None:
    assert main(["solve", "--objective", "denoising", data, "--lam", "1", "--out", "r"]) == 0
    capsys.readouterr()
    assert main(["certify", "r.npz", "--lam", "2"]) == 2
    assert "holds its problem" in capsys.readouterr().err
    for option in (["--lam", "0"], ["--split-seed", "0"], ["--test-fraction", "0.1"], ["--duplicates", "last"]):
        assert main(["certify", "r.npz", *option]) == 2  # they were taken without a word
        assert f"give no options for another one, as {option[0]}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["solve", "--max-iter", "200"],
        ["compare", "--methods", "gd", "--max-iter", "100"],
        ["certify", "run.npz", "--tol", "0"],
        ["convex", "--route", "prox", "--tol", "1e-17"],
        ["path", "--lam", "0.5", "--tol", "1e-17"],
        ["path", "--lam", "0.5", "--tol", "1e-17", "--folds", "2"],
        ["complete", "ratings.csv", "--tol", "1e-18"],
    ],
)
def test_a_certified_gap_above_the_tolerance_is_not_certified_in_every_command(data, capsys, command) -> None:
    """The gap is finite and above the tolerance, as each document says: a certificate exists, and is not enough."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((6, 5))
    lines = [f"{i},{j},{float(M[i, j])!r}" for i in range(6) for j in range(5) if (i + j) % 4]
    pathlib.Path("ratings.csv").write_text("\n".join(lines))
    problem = ["--objective", "denoising", data]
    if "--folds" in command:
        problem = ["--objective", "completion", "ratings.csv"]
    if command[0] == "certify":
        assert main(["solve", *problem, "--method", "lbfgs", "--out", "run"]) == 0
    if command[0] in ("certify", "complete"):
        problem = []
    capsys.readouterr()
    assert main([*command, *problem, "--quiet", "--require-certificate", "--json"]) == 1
    gaps = re.findall(r'"(?:relative_)?gap": ([-+.e0-9]+)', capsys.readouterr().out)
    assert gaps and all(0.0 < float(gap) < 1e3 for gap in gaps)


def test_no_certificate_exists(data, capsys) -> None:
    """lam = 0 and no closed form: nothing can be certified, so the answer is inconclusive, not no."""
    rng = np.random.default_rng(2)
    np.savez("two.npz", W0=np.eye(3), V=np.eye(3), Z=rng.standard_normal((3, 9)), Y=rng.standard_normal((3, 9)))
    arguments = ["--objective", "two_layer", "two.npz", "--lam", "0.1", "--quiet"]
    assert main(["solve", *arguments, "--require-certificate"]) == 3
    assert main(["compare", *arguments, "--methods", "lbfgs", "--require-certificate"]) == 3
    assert main(["solve", *arguments, "--method", "gd", "--max-iter", "2", "--out", "early"]) == 0
    assert main(["verdict", "early.npz"]) == 3
    assert main(["solve", *arguments, "--method", "gd:step_size=100", "--init", "gaussian", "--out", "diverged"]) == 1
    capsys.readouterr()
    assert main(["verdict", "diverged.npz", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["verdict"]
    assert found["kind"] == "not_converged" and "diverged and has to begin again (gd: " in found["reason"]
    # Factors beyond what can be judged: the library refuses them with what the command says, under the usual keys.
    assert main(["verdict", "early.npz", "--json"]) == 3
    assert found.keys() == json.loads(capsys.readouterr().out)["verdict"].keys()
    with pytest.raises(ls.landscape.DivergedError, match="this run went beyond: gd: ") as refused:
        ls.verdict(*load_result("diverged.npz"))
    assert refused.value.to_dict() == found
