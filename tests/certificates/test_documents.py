"""Certificates that travel, judged by exact and 50-digit arithmetic of another program (``reading.py``)."""

from __future__ import annotations

import ast
import base64
import contextlib
import copy
import functools
import io
import json
import os
import pathlib
import re
import resource
import runpy
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, permutations, product
from math import prod
from types import SimpleNamespace
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import scipy.sparse

import lorasolve as ls
from lorasolve import certificates
from lorasolve.adapters import LoRA
from lorasolve.certificates import check_certificate, documents
from lorasolve.certificates.check_certificate import Refused, check, proved
from lorasolve.certificates.floating import encoded
from lorasolve.objectives import (
    NTK,
    Denoising,
    Description,
    Huber,
    LinearFineTuning,
    Logistic,
    Matrix,
    MatrixCompletion,
    MatrixSensing,
    Softmax,
    TwoLayer,
    registry,
)
from lorasolve.objectives.base import Shifted

from .reading import Reading

CHECKER = pathlib.Path(check_certificate.__file__)
SEED = 11


def objectives() -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    W0, V, Z = rng.standard_normal((3, 2)), rng.standard_normal((2, 3)), rng.standard_normal((2, 5))
    normal = rng.standard_normal
    return {
        "denoising": Denoising(normal((3, 2))),
        "completion": MatrixCompletion([0, 0, 1, 2, 2], [0, 1, 1, 0, 1], normal(5), (3, 3)),
        "dense": MatrixSensing(normal((7, 2, 3)), normal(7)),
        "rank-one": MatrixSensing((normal((6, 3)), normal((6, 2))), normal(6)),
        "sparse": MatrixSensing(scipy.sparse.random(6, 6, 0.5, "csr", random_state=1), normal(6), shape=(3, 2)),
        "linear": LinearFineTuning(W0, Z, normal((3, 5))),
        "ntk": NTK.of_network(W0, V, Z, normal((5, 2))),
        "huber": Huber(normal((3, 2)), 0.4),
        "softmax": Softmax(W0, Z, [0, 2, 1, 1, 0]),
        "logistic": Logistic(W0, Z, rng.choice([-1.0, 1.0], (3, 5))),
        "ntk softmax": NTK.of_network(W0, V, Z, np.array([0, 1, 1, 0, 1]), "softmax"),
        "ntk logistic": NTK.of_network(W0, V, Z, rng.choice([-1.0, 1.0], (5, 2)), "logistic"),
        "shifted": Shifted(Huber(normal((3, 2)), 0.4), normal((3, 2))),
    }


OBJECTIVES = objectives()
LEAST_SQUARES = [name for name, objective in OBJECTIVES.items() if objective.facts.least_squares]
KINDS = [(name, "exact") for name in LEAST_SQUARES] + [(name, "binary64") for name in OBJECTIVES]


def problem(name: str, share: float = 0.4) -> ls.Problem:
    """A problem with a weight decay that is a share of the one above which the optimum is 0."""
    objective = OBJECTIVES[name]
    critical = np.linalg.norm(objective.value_and_grad(np.zeros(objective.shape))[1], 2)
    return ls.Problem(objective, 2, lam=share * critical)


def points(task: ls.Problem) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    optimum = ls.solve_convex(task, tol=1e-11)
    m, n = task.shape
    return {
        "optimum": optimum,
        "near": optimum.X + 1e-3 * rng.standard_normal((m, n)),
        "far": (rng.standard_normal((m, 2)), 3.0 * rng.standard_normal((n, 2))),
        "zero": np.zeros((m, n)),
    }


def run_checker(path: pathlib.Path, *options: str) -> tuple[int, str]:
    run = subprocess.run([sys.executable, *options, str(CHECKER), str(path)], capture_output=True, text=True)
    assert run.stderr == ""
    return run.returncode, run.stdout


# ---------------------------------------------------------------------- what is proved is true
@pytest.mark.parametrize("share", [0.0, 1e-3, 0.4, 1.5])
@pytest.mark.parametrize(("name", "arithmetic"), KINDS)
def test_the_proved_gap_is_at_least_the_true_one(name: str, arithmetic: Any, share: float) -> None:
    task = problem(name, share)
    for where, point in points(task).items() if share else [("zero", np.zeros(task.shape))]:
        document = certificates.document(task, point, arithmetic=arithmetic)
        reading = Reading(json.loads(json.dumps(document)))
        assert Fraction(document["gap"]) >= 0
        assert not reading.disproves(Fraction(document["gap"])), where
        # The document speaks of the problem given, and of the point given up to rounding.
        X = point.X if where == "optimum" else point[0] @ point[1].T if where == "far" else point
        assert np.allclose([float(x) for x in reading.X], np.ravel(X), rtol=0, atol=1e-12)
        value = float(reading.F(reading.X))
        assert value == pytest.approx(task.convex_value(X), rel=1e-9)
        # And at the optimum it says so.
        if where == "optimum" and share > 0.01:
            assert float(Fraction(document["gap"])) <= 1e-10 * value


def described() -> dict[str, Any]:
    """The objectives above, and an example of every class of the folder in each type that states a description."""
    found = dict(OBJECTIVES)
    for name, cls in registry.classes().items():
        for dtype in cls.dtypes:
            arguments = () if len(cls.dtypes) == 1 else (np.dtype(dtype),)
            example = cls.example(np.random.default_rng(2), *arguments)
            with contextlib.suppress(NotImplementedError):
                example.description()
                found[f"{name} {dtype}"] = example
    return found


DESCRIBED = described()


def test_every_convex_objective_that_is_one_of_the_four_losses_is_described() -> None:
    names = {"completion", "denoising", "huber", "linear", "logistic", "ntk", "sensing", "softmax"}
    assert all(getattr(registry.classes()[name], "convex", None) is True for name in names)
    assert {f"{name} float64" for name in names} <= set(DESCRIBED)


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_description_is_the_loss(name: str) -> None:
    objective = DESCRIBED[name].in_float64()
    form = DESCRIBED[name].description()
    X = np.random.default_rng(3).standard_normal(objective.shape)
    G = objective.value_and_grad(X)[1]
    document = certificates.document(ls.Problem(objective, 1, lam=1.0), X, arithmetic="binary64")
    reading = Reading(document)
    assert float(reading.f([Fraction(x) for x in X.ravel().tolist()])) == pytest.approx(
        objective.value_and_grad(X)[0], rel=1e-12
    )
    # The map and its adjoint, through the gradient of the described loss.
    z = form.map.apply(X if form.X0 is None else form.X0 + X) - sum(form.shifts, np.zeros(1))
    assert np.allclose(form.map.adjoint(reading._slope(z), objective.shape) / form.divide_by, G, rtol=1e-12, atol=1e-13)


def test_diagonal_denoising_is_exact() -> None:
    """M = diag(3, 2, 1/2), lam = 1: the optimum is diag(2, 1, 0) with F* = 1 + 1/8 + 3, all of it exact in binary."""
    task = ls.Problem(Denoising(np.diag([3.0, 2.0, 0.5])), 2, lam=1.0)
    optimum = 1 + Fraction(1, 8) + 3
    document = certificates.document(task, np.diag([4.0, 1.0, 0.0]))
    f = Fraction(1) / 2 + Fraction(1) / 2 + Fraction(1, 8)
    assert document["arithmetic"] == "exact"
    assert Fraction(document["gap"]) >= f + 5 - optimum
    # G = diag(1, -1, -1/2) has norm 1 = lam: c = 1 is allowed, and lam ||X||_* + <G, X> = 5 + 4 - 1.
    assert proved(document | {"c": "1"}) == (8, f + 5)
    # At the optimum all that is left is the rounding of sqrt(2) to some bits.
    rounded = [Fraction(certificates.document(task, np.diag([2.0, 1.0, 0.0]), bits=b)["gap"]) for b in (10, 20, 48)]
    assert Fraction(1, 10**2) > rounded[0] > 100 * rounded[1] > 10**6 * rounded[2] > 0


@pytest.mark.parametrize("x", [Fraction(0), Fraction(3, 2), Fraction(-1, 4), Fraction(1, 2), Fraction(5)])
def test_one_number_against_its_optimum_in_fractions(x: Fraction) -> None:
    """min (3x - 2)^2 / 2 + lam |x| at lam = 3/2: 9x - 6 + 3/2 = 0, x* = 1/2."""
    task = ls.Problem(MatrixSensing([[[3.0]]], [2.0]), 1, lam=1.5)
    document = certificates.document(task, [[float(x)]], bits=60)

    def F(t: Fraction) -> Fraction:
        return (3 * t - 2) ** 2 / 2 + Fraction(3, 2) * abs(t)

    (a,), (b,) = document["point"]["A"], document["point"]["B"]
    at = a[0] * b[0] * Fraction(2) ** sum(document["point"]["exponents"])
    assert abs(at - x) <= abs(x) / 2**50
    assert F(at) - F(Fraction(1, 2)) <= Fraction(document["gap"])
    assert proved(document)[1] >= F(at)


def test_parts_of_binary64_bound_exact_ones() -> None:
    """Bounds of f(X), ||X||_* and <G, X> against the same document's exact twin, at many scales."""
    rng = np.random.default_rng(0)
    for trial in range(60):
        scale = 10.0 ** rng.integers(-8, 9)
        name = LEAST_SQUARES[trial % len(LEAST_SQUARES)]
        task = problem(name)
        m, n = task.shape
        point = scale * rng.standard_normal((m, 2)), rng.standard_normal((n, 2))
        rough = certificates.document(task, point, arithmetic="binary64")
        twin = certificates.document(task, point, arithmetic="exact", bits=300)
        lam = Fraction(rough["problem"]["lam"])
        high = check_certificate.binary64(rough["problem"], rough["point"], lam, Fraction(0))
        true = check_certificate.exact(twin["problem"], twin["point"], lam, Fraction(0))
        assert all(upper >= value for upper, value in zip(high, true))
        sizes = true[0], true[1], true[0] + lam * true[1]
        assert all(float((upper - value) / size) < 1e-11 for upper, value, size in zip(high, true, sizes))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_binary64_allows_no_c_above_lam_over_norm(name: str) -> None:
    task = problem(name)
    document = certificates.document(task, points(task)["far"], arithmetic="binary64")
    objective, reading = task.objective, Reading(document)
    X = np.array([float(x) for x in reading.X]).reshape(task.shape)
    with mp.workdps(30):
        G = mp.matrix(objective.value_and_grad(X)[1].tolist())
        most = Fraction(task.lam) / Fraction(float(max(mp.svd_r(G if G.rows >= G.cols else G.T, compute_uv=False))))
    document["inequality"] = "least squares" if reading.kind == "square" else "convex"
    lam = Fraction(task.lam)
    for excess, fits in ((1 + Fraction(1, 10**9), False), (1 - Fraction(1, 10**9), True)):
        try:
            check_certificate.binary64(document["problem"], document["point"], lam, most * excess)
            accepted = True
        except Refused:
            accepted = False
        assert accepted is fits


def test_many_samples_make_no_gap_of_softmax_large() -> None:
    """Outputs are sums over 6 inputs, whatever the number of samples: rounding in them is no larger."""
    rng = np.random.default_rng(SEED)
    Z = rng.standard_normal((6, 3000))
    task = ls.Problem(Softmax(rng.standard_normal((4, 6)), Z, rng.integers(0, 4, 3000)), 4, lam=0.05)
    best = ls.solve_convex(task, tol=1e-13)
    assert float(Fraction(certificates.document(task, best)["gap"])) < 4e-11 * best.fun


def test_the_scale_of_the_adapter_is_part_of_the_problem() -> None:
    scaled = ls.Problem(OBJECTIVES["denoising"], 2, lam=0.3, adapter=LoRA(alpha=6.0))  # s = 3
    plain = ls.Problem(OBJECTIVES["denoising"], 2, lam=0.1)
    rng = np.random.default_rng(1)
    A, B = rng.standard_normal((3, 2)), rng.standard_normal((2, 2))
    first, second = certificates.document(scaled, (A, B)), certificates.document(plain, 3.0 * A @ B.T)
    assert Fraction(first["problem"]["lam"]) == Fraction(0.3) / 3
    assert float(Fraction(first["gap"])) == pytest.approx(float(Fraction(second["gap"])), rel=1e-9)


@pytest.mark.parametrize(("arithmetic", "value"), [("exact", 14.0), ("binary64", 0.0)])
def test_without_decay_a_fit_without_any_residual_is_proved_by_its_value(arithmetic: Any, value: float) -> None:
    # The gradient is 0 as evaluated; that of rounded factors is not, and no bound of a norm is. Here inf F = 0.
    M = np.zeros((3, 2))
    M[0, 0] = value
    problem = ls.Problem(Denoising(M), 2, lam=0.0)
    document = certificates.document(problem, M, arithmetic=arithmetic)
    check(document)
    assert not Reading(document).disproves(Fraction(document["gap"]))
    assert Fraction(document["gap"]) < 1e-24


def test_a_certificate_saves_itself_about_the_point_it_was_asked_about(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(4)
    problem = ls.Problem(ls.objectives.Denoising(rng.standard_normal((6, 5))), 2, 0.7, adapter="lora:alpha=6")
    for point in (ls.solve_convex(problem), ls.solve(problem, "lbfgs")):
        certificate = ls.certify(problem, point)
        written = certificate.save(tmp_path / "proof.json")
        assert check(json.loads((tmp_path / "proof.json").read_text())) == check(written)
        # Rounding the factors to 48 bits moves the value, hence the gap, by no more than that.
        assert abs(float(Fraction(written["gap"])) - certificate.gap) <= 1e-9 * certificate.value
    # A result certifies itself about its own factors, once.
    best = ls.solve_convex(problem, route="factored")
    assert best.certificate.gap == ls.certify(problem, best, tol=1e-9).gap
    assert best.certificate.save(tmp_path / "best.json")["lorasolve"] == ls.__version__


class Own:
    """Least squares as a plain object; it describes a loss of ``factor`` times its data."""

    shape = (3, 2)
    convex = least_squares = True
    lower_bound = 0.0
    Z, y = np.random.default_rng(0).standard_normal((6, 4)), np.ones(4)

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        r = X.ravel() @ self.Z - self.y
        return 0.5 * float(r @ r), (self.Z @ r).reshape(X.shape)

    def description(self) -> Description:
        return Description(Matrix(self.factor * self.Z), "square", shifts=(self.y,))


def test_a_plain_object_with_a_description_takes_part() -> None:
    task = ls.Problem(Own(), 2, lam=0.1)
    optimum = ls.solve_convex(task, tol=1e-10)
    document = certificates.document(task, optimum)
    assert 0 <= float(Fraction(document["gap"])) < 1e-8 * optimum.fun
    assert not Reading(document).disproves(Fraction(document["gap"]))


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-4, 2.0, np.nan])
@pytest.mark.parametrize("lam", [0.1, 1e3])
def test_a_description_of_another_loss_is_refused(factor: float, lam: float) -> None:
    """Also at the optimum 0, where the outputs of both losses are equal."""
    task = ls.Problem(Own(factor), 2, lam=lam)
    point = ls.solve_convex(task)
    if factor == 1.0:
        assert certificates.document(task, point)["arithmetic"] == "exact"
    else:
        with pytest.raises(ValueError, match=r"objective: Own.description\(\) states another loss than value_and_grad"):
            certificates.document(task, point)
    assert any(check.name == "description" for check in ls.check_objective(Own(factor)).failures) is (factor != 1.0)


class Stating(Own):
    """The same loss, with a description of any kind."""

    def __init__(self, stated: Any) -> None:
        self.stated = stated

    def description(self) -> Any:
        return self.stated


@pytest.mark.parametrize("count", [np.int64(1), 1])
def test_how_many_samples_may_be_counted_by_numpy(count: Any) -> None:
    task = ls.Problem(Stating(Description(Matrix(Own.Z), "square", count, (Own.y,))), 2, lam=0.1)
    assert certificates.document(task, np.zeros((3, 2)))["problem"]["divide_by"] == 1


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (None, r"objective.description\(\): expected a.* Description, got None"),
        (Description(Matrix(Own.Z), "square", 1.5, (Own.y,)), "divide_by: expected an integer >= 1, got 1.5"),
        (Description(Matrix(Own.Z), "square", 0, (Own.y,)), "divide_by: expected an integer >= 1, got 0"),
        (Description(Matrix(Own.Z), "square", 1, (Own.y,), np.zeros(2)), r"X0: expected shape \(3, 2\), got \(2,\)"),
        (Description(Matrix(Own.Z), "cube", 1, (Own.y,)), "cannot be evaluated .*cube"),  # type: ignore[arg-type]
        (Description(Matrix(Own.Z), "square", 1, Own.y), "cannot be evaluated"),  # type: ignore[arg-type]
        (Description(Matrix(Own.Z), "huber", 1, (Own.y,)), "cannot be evaluated"),
        (Description(Matrix(Own.Z[:5]), "square", 1, (Own.y,)), r"cannot be evaluated at a matrix of shape \(3, 2\)"),
        (Description(Matrix(Own.Z.tolist()), "square", 1, (Own.y,)), "cannot be evaluated"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_description_is_refused_by_name(stated: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        certificates.document(ls.Problem(Stating(stated), 2, lam=0.1), np.zeros((3, 2)))


class OnlyAtZero(Own):
    """The same, whose values elsewhere are undefined though it states no domain."""

    def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = super().value_and_grad(X)
        return (np.nan if X.any() else value), grad


def test_a_loss_without_values_beside_the_point_is_not_the_one_described() -> None:
    task = ls.Problem(OnlyAtZero(), 2, lam=1e3)
    with pytest.raises(ValueError, match=r"states another loss than value_and_grad, values differ by nan"):
        certificates.document(task, np.zeros((3, 2)))


def test_float32_data_are_taken_as_they_are() -> None:
    M = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    document = certificates.document(ls.Problem(Denoising(M), 2, lam=0.1), np.zeros((3, 2)))
    assert Reading(document).shifts[0] == [Fraction(float(x)) for x in M.ravel()]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_decay_whose_square_overflows(name: str) -> None:
    """So much decay makes 0 optimal: ``||grad f(0)||_2 < lam``."""
    task = ls.Problem(OBJECTIVES[name], 1, lam=1e160)
    document = certificates.document(task, np.zeros(task.shape), arithmetic="binary64")
    check(document)
    assert 0 <= float(Fraction(document["gap"])) <= 1e-9 * task.convex_value(np.zeros(task.shape))


@pytest.mark.parametrize(("length", "width"), [(1e60, 0.0), (1e20, 1e120)])
def test_numbers_that_overflow_in_the_checker_are_told_as_that(length: float, width: float) -> None:
    rng = np.random.default_rng(0)
    loss = LinearFineTuning(*(length * rng.standard_normal(shape) for shape in ((3, 2), (2, 5), (3, 5))))
    with pytest.raises(ValueError, match="problem, point: nothing is proved in binary64 arithmetic"):
        certificates.document(ls.Problem(loss, 1, lam=1.0), width * np.ones((3, 2)), arithmetic="binary64")


@pytest.mark.parametrize("power", [200, 299])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_file_whose_numbers_overflow_is_refused_in_one_line(tmp_path: pathlib.Path, name: str, power: int) -> None:
    """At ``A B^T`` of 2^(2 power): its square is beyond 2^1024 for a power of 299."""
    task, path = problem(name), tmp_path / "proof.json"
    document = certificates.document(task, np.zeros(task.shape), arithmetic="binary64")
    m, n = task.shape
    document["point"] = {"A": encoded(np.full((m, 1), 2.0**power)), "B": encoded(np.full((n, 1), 2.0**power))}
    path.write_text(json.dumps(document))
    code, text = run_checker(path)
    assert (code, text.count("\n"), text[:9]) == (1, 1, "refused: ")
    assert ("overflow" in text) == (power == 299)


def test_a_document_is_shown_as_its_claim(tmp_path: pathlib.Path) -> None:
    """A line that wrote a certificate in a notebook printed all its data."""
    found = ls.certify(ls.Problem(ls.objectives.Denoising(np.eye(3, 2)), 2, 0.25), np.eye(3, 2) * 0.75)
    made = found.save(tmp_path / "proof.json", arithmetic="binary64")
    shown = re.fullmatch(r"<certificate of a 3 x 2 point: F\(X\) - inf F <= (\S+), in binary64 arithmetic>", repr(made))
    assert shown and float(Fraction(made["gap"])) <= float(shown[1]) < 1e-12
    assert json.loads((tmp_path / "proof.json").read_text()) == made


# ---------------------------------------------------------------------- the checker alone
def test_the_checker_is_short_and_stands_alone() -> None:
    text = CHECKER.read_text()
    assert len(text.splitlines()) <= 200
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name for node in imported for name in ([node.module] if isinstance(node, ast.ImportFrom) else [
        alias.name for alias in node.names])}  # fmt: skip
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("arithmetic", ["exact", "binary64"])
def test_exit_codes_without_the_package(tmp_path: pathlib.Path, arithmetic: Any) -> None:
    task = problem("completion")
    path = tmp_path / "proof.json"
    document = certificates.write(path, task, points(task)["optimum"], arithmetic=arithmetic)
    assert json.loads(path.read_text()) == document
    copied = pathlib.Path(shutil.copy(CHECKER, tmp_path))
    # -I: no environment, no current folder; -S: no installed packages, so no NumPy either.
    options = ["-I", "-S"] if arithmetic == "exact" else ["-I"]
    run = subprocess.run([sys.executable, *options, copied, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("accepted: F(X) - inf F <= ")
    for change, code, word in (
        ({"gap": str(Fraction(document["gap"]) * Fraction(999, 1000))}, 1, "refused: a gap of"),
        ({"c": str(Fraction(document["c"]) * (1 + Fraction(1, 10**6)))}, 1, "refused: c ||G||_2"),
        ({"c": "-1"}, 1, "refused: the inequality"),
        ({"inequality": "convex", "c": "2"}, 1, "refused: the inequality"),
        ({"inequality": "none"}, 1, "refused: the inequality"),
        ({"schema_version": 2}, 2, "no certificate: expected lorasolve/certificate, version 1"),
        ({"arithmetic": "decimal"}, 2, "no certificate: malformed, by KeyError('decimal')"),
        ({"problem": {"lam": "1"}}, 2, "no certificate: malformed, by KeyError('shape')"),
        ({"problem": None}, 2, "no certificate: malformed, by TypeError("),
        ({"gap": "1e9"}, 2, "no certificate: expected a fraction"),
        ({"gap": 1.0}, 2, "no certificate: expected a fraction"),
    ):
        path.write_text(json.dumps(document | change))
        assert run_checker(path)[0] == code
        assert run_checker(path)[1].startswith(word)
    path.write_text("[]")
    assert run_checker(path)[1].startswith("no certificate: malformed, by AttributeError(")
    path.write_text("{")
    assert run_checker(path)[0] == 2
    assert run_checker(tmp_path / "missing.json")[0] == 2
    # A second file that was left unread would seem to be accepted.
    path.write_text(json.dumps(document))
    for files in ([], [path, tmp_path / "missing.json"]):
        run = subprocess.run([sys.executable, *options, copied, *files], capture_output=True, text=True)
        assert run.returncode == 2
        assert run.stdout.startswith(f"no certificate: expected one file, got {len(files)}: ")


def objects(node: Any) -> list[dict[str, Any]]:
    """Return every object of a document, itself first."""
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [node] * isinstance(node, dict) + [found for part in parts for found in objects(part)]


@pytest.mark.parametrize(("name", "arithmetic"), KINDS)
def test_every_field_counts_or_is_refused(name: str, arithmetic: Any) -> None:
    """What the checker does not read, a reader of the file may: ``X0`` beside exact targets made a false statement."""
    document = certificates.document(problem(name), np.zeros(OBJECTIVES[name].shape), arithmetic=arithmetic)
    check(document)
    for k in range(len(objects(document))):
        changed = copy.deepcopy(document)
        part = objects(changed)[k]
        for field in [*part]:
            value = part.pop(field)
            if field not in ("lorasolve", "X0"):
                with pytest.raises((ValueError, KeyError)):
                    check(changed)
            part[field] = value
        for field in {"X0", "shifts", "delta", "scale"} - {*part}:
            if part is not changed["problem"] or (field, arithmetic) != ("X0", "binary64"):
                part[field] = encoded(np.ones((1, 1)))
                with pytest.raises(ValueError, match=f"that nothing is made of: {field}$|expected squares"):
                    check(changed)
                del part[field]


def test_an_offset_that_exact_arithmetic_does_not_read_is_refused() -> None:
    """Of (x - 3)^2/2 + |x| the optimum is 2. Of (x + 1 - 3)^2/2 + |x| it is 1, and 2 is 1/2 above it, not 0."""
    document = certificates.document(ls.Problem(Denoising([[3.0]]), 1, lam=1.0), [[2.0]], arithmetic="exact")
    assert Fraction(document["gap"]) < Fraction(1, 10**9)
    document["problem"]["X0"] = encoded(np.array([[1.0]]))
    with pytest.raises(ValueError, match="X0"):
        check(document)


@pytest.mark.parametrize(
    "change", [{"outputs": {"": [[0, 1]]}}, {"exponents": [True, 0]}, {"exponents": [10**6, 0]}], ids=str
)
def test_an_exact_output_without_entries_hides_nothing(change: dict[str, Any]) -> None:
    document = certificates.document(ls.Problem(Denoising([[3.0]]), 1, lam=1.0), [[2.0]], arithmetic="exact")
    document["problem"] |= {"outputs": [[]]}
    document |= {"c": "0", "gap": "100"}
    check(document)
    document["problem"] |= change
    with pytest.raises((ValueError, TypeError)):
        check(document)


@pytest.mark.parametrize("arithmetic", ["exact", "binary64"])
def test_a_field_that_is_there_twice_is_no_certificate(tmp_path: pathlib.Path, arithmetic: Any) -> None:
    """Python's reader takes the last, others the first."""
    path = tmp_path / "proof.json"
    text = json.dumps(certificates.write(path, problem("denoising"), np.zeros((3, 2)), arithmetic=arithmetic))
    for field in ("gap", "lam", "A", "kind"):
        start = text.index(f'"{field}": ')
        path.write_text(f'{text[:start]}"{field}": "0", {text[start:]}')
        assert run_checker(path) == (2, "no certificate: a field is there twice\n")


def test_what_is_taken_on_trust_is_printed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "proof.json"
    certificates.write(path, problem("denoising"), np.zeros((3, 2)), arithmetic="exact")
    assert run_checker(path)[1].rstrip().endswith("; on trust: Python's integers")
    certificates.write(path, problem("softmax"), np.zeros((3, 2)))
    trusted = run_checker(path)[1].split("; on trust: ")[1]
    assert all(word in trusted for word in ("nearest", "products of matrices", "Cholesky", "exp", "log"))


def test_what_the_checker_refuses_is_not_written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = certificates.document(problem("denoising"), np.zeros((3, 2)))
    monkeypatch.setattr(documents, "document", lambda *args, **kwargs: made | {"gap": "0"})
    with pytest.raises(Refused, match="a gap of 0 is claimed"):
        certificates.write(tmp_path / "proof.json", problem("denoising"), np.zeros((3, 2)))
    assert not (tmp_path / "proof.json").exists()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_path_that_cannot_be_printed_is_no_certificate(tmp_path: pathlib.Path, encoding: str) -> None:
    """Printing the error failed, and Python's exit code for that is the one of a refused certificate."""
    missing = tmp_path / "\u00e9.json"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    run = subprocess.run([sys.executable, CHECKER, missing], capture_output=True, env=environment)
    assert (run.returncode, run.stderr) == (2, b"") and run.stdout.startswith(b"no certificate: ")


def test_a_file_larger_than_the_memory_is_told_as_that(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's ``MemoryError`` has no words of its own: nothing came after "no certificate:"."""

    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    path = tmp_path / "proof.json"
    path.write_text("{}")
    monkeypatch.setattr(json, "load", full)
    monkeypatch.setattr(sys, "argv", [str(CHECKER), str(path)])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out := io.BytesIO(), write_through=True))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CHECKER), run_name="__main__")
    assert (ended.value.code, out.getvalue()) == (2, b"no certificate: MemoryError\n")


def test_without_numpy_binary64_is_no_certificate(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "proof.json"
    certificates.write(path, problem("softmax"), np.zeros((3, 2)))
    code, text = run_checker(path, "-I", "-S")
    assert (code, text) == (2, "no certificate: No module named 'numpy'\n")


def by_hand(m: int, form: dict[str, Any], shift: float, A: np.ndarray, b: float, divide_by: int = 1) -> dict[str, Any]:
    """A document in binary64 without weight decay: the square of one output, at ``A`` (m, 1) times ``b``."""
    task = {"shape": [m, 1], "divide_by": divide_by, "lam": "0", "loss": {"kind": "square"}, "map": form}
    task["shifts"] = [encoded(np.array([shift]))]
    point = {"A": encoded(A), "B": encoded(np.array([[b]]))}
    head = {"schema": "lorasolve/certificate", "schema_version": 1, "arithmetic": "binary64", "inequality": "convex"}
    return head | {"problem": task, "point": point, "c": "0", "gap": "0"}


def maps() -> dict[str, tuple[dict[str, Any], int, int, list[list[tuple[int, Fraction]]]]]:
    """Maps of 2000 numbers to one or two outputs and back the other way: form, shape, and rows in fractions."""
    N = 2000
    v = np.random.default_rng(5).uniform(-8.0, 8.0, N)
    c, one = [Fraction(x) for x in v.tolist()], np.ones((1, 1))
    every, first = list(range(N)), [0] * N
    entries = {"kind": "entries", "values": encoded(v)}
    return {
        "matrix, to one": ({"kind": "matrix", "Z": encoded(v[:, None])}, 1, N, [list(enumerate(c))]),
        "matrix, from one": ({"kind": "matrix", "Z": encoded(v[None])}, 1, 1, [[(0, x)] for x in c]),
        "outer, to one": ({"kind": "outer", "a": encoded(v[None]), "b": encoded(one)}, N, 1, [list(enumerate(c))]),
        "outer, from one": (
            {"kind": "outer", "a": encoded(v[:, None]), "b": encoded(np.ones((N, 1)))}, 1, 1, [[(0, x)] for x in c]),
        "outer, along a row": ({"kind": "outer", "a": encoded(one), "b": encoded(v[None])}, 1, N, [list(enumerate(c))]),
        "entries, to one": (
            entries | {"outputs": 1, "output": first, "entry": every}, N, 1, [list(enumerate(c))]),
        "entries, from one": (
            entries | {"outputs": N, "output": every, "entry": first}, 1, 1, [[(0, x)] for x in c]),
        "entries, unevenly to two": (
            entries | {"outputs": 2, "output": [*first[1:], 1], "entry": every}, N, 1,
            [list(enumerate(c[:-1])), [(N - 1, c[-1])]]),
        "entries, unevenly from two": (
            entries | {"outputs": N, "output": every, "entry": [*first[1:], 1]}, 2, 1,
            [*([(0, x)] for x in c[:-1]), [(1, c[-1])]]),
    }  # fmt: skip


@pytest.mark.parametrize("name", maps())
def test_rounding_in_a_map_and_its_adjoint_is_bounded_by_the_length_of_its_own_sums(name: str) -> None:
    form, m, n, rows = maps()[name]
    check_certificate.np = np
    measure, adjoint, norm, terms, count = check_certificate.linear(form, m, n)
    W, d = np.random.default_rng(6).random((m, n)), np.random.default_rng(7).random(count)
    X, D = ([Fraction(x) for x in given.ravel().tolist()] for given in (W, d))
    true = [sum(v * X[k] for k, v in row) for row in rows]
    back = [Fraction(0)] * (m * n)
    for weight, row in zip(D, rows):
        for k, v in row:
            back[k] += weight * v
    # Of one row or column, or of disjoint ones, the largest length.
    columns: dict[int, Fraction] = {}
    for row in rows:
        for k, v in row:
            columns[k] = columns.get(k, Fraction(0)) + v * v
    longest = max(columns.values()) if len(rows) > 2 else max(sum(v * v for _, v in row) for row in rows)
    assert Fraction(norm) ** 2 >= longest
    for found, exact, given, length in ((measure(W), true, X, terms[0]), (adjoint(d).ravel(), back, D, terms[1])):
        error = sum((Fraction(x) - y) ** 2 for x, y in zip(found.tolist(), exact))
        bound = (length + 1) * Fraction(2) ** -53 * Fraction(norm)
        assert 0 < error <= bound**2 * sum(x * x for x in given)
        # Short sums are not charged for the long ones of the other direction.
        assert length >= 1 and (length <= 5 or len(given) == 2000)


@pytest.mark.parametrize("form", ["matrix", "outer", "entries"])
def test_rounding_in_a_map_of_one_number_is_bounded(form: str) -> None:
    """Its product with one coefficient, or with two, and that of its adjoint, against fractions."""
    check_certificate.np = np
    rng, worst = np.random.default_rng(8), Fraction(0)
    for v, w, x in rng.uniform(1.0, 2.0, (500, 3)):
        a, b, coefficient = encoded(np.array([[v]])), encoded(np.array([[w]])), Fraction(v)
        stated: dict[str, Any] = {"kind": "matrix", "Z": a}
        if form == "outer":
            stated, coefficient = {"kind": "outer", "a": a, "b": b}, Fraction(v) * Fraction(w)
        if form == "entries":
            stated = {"kind": "entries", "outputs": 1, "output": [0], "entry": [0], "values": encoded(np.array([v]))}
        measure, adjoint, norm, terms, _ = check_certificate.linear(stated, 1, 1)
        for found, length in ((measure(np.array([[x]])), terms[0]), (adjoint(np.array([x])), terms[1])):
            error = abs(Fraction(float(found.item())) - coefficient * Fraction(x))
            assert error <= (length + 1) * Fraction(2) ** -53 * Fraction(norm) * Fraction(x)
            worst = max(worst, error / (Fraction(norm) * Fraction(x)) * 2**53)
    assert worst > (1 if form == "outer" else Fraction(1, 2))  # of two products and of one: no draw is an idle one


def test_a_gradient_that_is_lost_in_a_sum_is_no_small_one() -> None:
    """2^53 + 1 + ... + 1 - 2^53 is 0 as it is added up, and 1000: above ``lam = 500``, so that 0 is no optimum.

    There ``F(0) - inf F = 500^2/(2 * 1002)``, and a gap of 0 would be proved by ``c = 1``.
    """
    N = 1000
    targets = np.concatenate([[2.0**53], np.ones(N), [-(2.0**53)]])
    form = {"kind": "entries", "outputs": N + 2, "output": list(range(N + 2)), "entry": [0] * (N + 2)}
    document = by_hand(1, form | {"values": encoded(np.ones(N + 2))}, 0.0, np.zeros((1, 1)), 0.0)
    document["problem"] |= {"lam": "500", "shifts": [encoded(targets)]}
    assert np.bincount([0] * (N + 2), targets)[0] == 0.0
    with pytest.raises(Refused, match="is not proved"):
        proved(document | {"c": "1"})
    assert proved(document)[0] >= Fraction(500**2, 2 * (N + 2))


@pytest.mark.parametrize("logits", [[0.0] * 5000, [40.0, 0.0]])
def test_a_loss_is_bounded_for_logarithms_as_inaccurate_as_those_on_trust(
    logits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are log 5000, and log(1 + exp(-40)), which is 0 in binary64."""
    check_certificate.np = np
    log = np.log
    monkeypatch.setattr(np, "log", lambda x: log(x) * (1.0 - 2.0**-31))
    bound = check_certificate.loss({"kind": "softmax", "labels": [0]}, np.array(logits), 0.0)[0]
    with mp.workdps(30):
        assert mp.mpf(bound) >= mp.log(sum(mp.exp(z - logits[0]) for z in logits))


@pytest.mark.parametrize("classes", [2, 20, 60])
def test_probabilities_are_bounded_for_exponentials_as_inaccurate_as_those_on_trust(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One class is as likely as all others together; its exponential is too large, and theirs are too small."""
    check_certificate.np = np
    exp = np.exp
    monkeypatch.setattr(np, "exp", lambda s: exp(s) * np.where(s == 0.0, 1.0 + 15 * 2.0**-53, 1.0 - 15 * 2.0**-53))
    logits = np.array([0.0, *[-np.log(classes - 1.0) - 1e-9] * (classes - 1)])
    _, found, wrong = check_certificate.loss({"kind": "softmax", "labels": [0]}, logits, 0.0)
    with mp.workdps(40):
        weights = [mp.exp(mp.mpf(float(z))) for z in logits]
        true = [w / mp.fsum(weights) - (k == 0) for k, w in enumerate(weights)]
        off = mp.sqrt(mp.fsum((mp.mpf(float(d)) - t) ** 2 for d, t in zip(found, true)))
        assert 6 * mp.mpf(2) ** -53 < off <= mp.mpf(wrong)


def test_probabilities_are_bounded_where_many_classes_are_lost_in_their_sum() -> None:
    """Added up one by one, 4999 exponentials of ``2^-54.5`` each leave 1 as it is; of two samples."""
    check_certificate.np = np
    K, unlikely = 5000, -54.5 * np.log(2.0)
    assert np.exp([[0.0, 0.0], *[[unlikely, unlikely]] * (K - 1)]).sum(axis=0)[0] == 1.0
    _, found, wrong = check_certificate.loss(
        {"kind": "softmax", "labels": [0, 0]}, np.array([0.0, 0.0, *[unlikely] * (2 * K - 2)]), 0.0
    )
    with mp.workdps(40):
        weight = mp.exp(mp.mpf(float(unlikely)))
        likely, other = 1 / (1 + (K - 1) * weight) - 1, weight / (1 + (K - 1) * weight)
        off = mp.mpf(float(found[0])) - likely, mp.mpf(float(found[-1])) - other
        assert 500 * mp.mpf(2) ** -53 < abs(off[0])
        assert 2 * (off[0] ** 2 + (K - 1) * off[1] ** 2) <= mp.mpf(wrong) ** 2


def test_a_product_of_factors_that_cancels_is_not_taken_as_it_is_rounded() -> None:
    """``(1 - 2^-60) - (1 - 2^-62)`` is 0 as it is added up, or one of its halves where products are not rounded."""
    form = {"kind": "entries", "outputs": 1, "output": [0], "entry": [0], "values": encoded(np.ones(1))}
    document = by_hand(1, form, 0.0, np.zeros((1, 1)), 0.0)
    for d, e in permutations([2.0**-30, 2.0**-31]):
        A, B = np.array([[1.0 + d, -(1.0 + e)]]), np.array([[1.0 - d, 1.0 - e]])
        X = sum(Fraction(a) * Fraction(b) for a, b in zip(A[0].tolist(), B[0].tolist()))
        document["point"] = {"A": encoded(A), "B": encoded(B)}
        assert X != 0 and proved(document)[0] >= X * X / 2


def test_a_norm_whose_squares_are_lost_in_a_sum_is_no_smaller_one() -> None:
    """Of a gradient of one column, ``2^20`` and then many ``2^-7``, each of whose squares is half a unit of the sum."""
    m = 300_000
    G = np.full(m, 2.0**-7)
    G[0] = 2.0**20
    document = by_hand(m, {"kind": "matrix", "Z": encoded(np.ones((1, 1)))}, 0.0, np.zeros((m, 1)), 0.0)
    square = Fraction(2) ** 40 + (m - 1) * Fraction(2) ** -14
    for units, proof in ((100, False), (-(10**6), True)):
        lam = Fraction(2) ** 20 * (1 + (m // 4 - units) * Fraction(2) ** -53)
        assert (lam**2 >= square) == proof
        document["problem"] |= {"lam": str(lam), "shifts": [encoded(G)]}
        if proof:
            assert proved(document | {"c": "1"})[0] >= 0
        else:
            with pytest.raises(Refused, match="is not proved"):
                proved(document | {"c": "1"})


def test_an_inner_product_that_is_lost_in_a_sum_is_no_smaller_one() -> None:
    """Where ``G = X``, a row of ``2^20`` and then many ``2^-7``: ``<G, X>`` and ``f`` are of its squares."""
    n = 300_000
    B = np.full((n, 1), 2.0**-27)
    B[0] = 1.0
    document = by_hand(1, {"kind": "matrix", "Z": encoded(np.eye(1))}, 0.0, np.full((1, 1), 2.0**20), 0.0)
    task = document["problem"] | {"shape": [1, n], "map": {"kind": "entries", "outputs": n}, "shifts": []}
    task["map"] |= {"output": list(range(n)), "entry": list(range(n)), "values": encoded(np.ones(n))}
    point = document["point"] | {"B": encoded(B)}
    f, _, inner = check_certificate.binary64(task, point, Fraction(0), Fraction(0))
    square = Fraction(2) ** 40 + (n - 1) * Fraction(2) ** -14
    assert f >= square / 2 and square <= inner <= square * (1 + Fraction(n, 2**51))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_positive_semidefinite_has_no_negative_principal_minor(size: int) -> None:
    """Bareiss against determinants written out, of every symmetric matrix of small integers."""

    def determinant(W: list[list[int]]) -> int:
        columns = range(len(W))
        signed = (
            (-1) ** sum(p[i] > p[j] for j in columns for i in range(j)) * prod(W[i][k] for i, k in enumerate(p))
            for p in permutations(columns)
        )
        return sum(signed)

    places = list(combinations_with_replacement(range(size), 2))
    counts = [0, 0]
    for entries in product(range(-1, 4), repeat=len(places)):
        value = dict(zip(places, entries))
        W = [[value[min(i, j), max(i, j)] for j in range(size)] for i in range(size)]
        kept = (rows for k in range(1, size + 1) for rows in combinations(range(size), k))
        true = all(determinant([[W[i][j] for j in rows] for i in rows]) >= 0 for rows in kept)
        assert check_certificate.positive_semidefinite(W) == true, W
        counts[true] += 1
    assert min(counts) > 0


def test_coefficients_whose_product_underflows_bound_the_map() -> None:
    """The square of the map's norm was 0, and no rounding error of the outputs was counted."""
    N, v = 4000, 2.0**-546
    A = np.abs(np.random.default_rng(0).standard_normal((N, 1))) * 2.0**250
    entries = {"kind": "entries", "outputs": 1, "output": [0] * N, "entry": list(range(N))}
    form = entries | {"values": encoded(np.full(N, v))}
    # The shift is the sum as NumPy rounds it, so that the output is 0 in floating point and not in fractions.
    shift = float(np.bincount(np.zeros(N, int), v * (A * 2.0**200).ravel(), 1)[0])
    exact = Fraction(v) * Fraction(2) ** 200 * sum(map(Fraction, A.ravel().tolist())) - Fraction(shift)
    assert exact != 0 and proved(by_hand(N, form, shift, A, 2.0**200))[0] >= exact**2 / 2


@pytest.mark.parametrize("divide_by", [1, 3, 2**53 + 1, 2**700, 10**200], ids=["1", "3", "2^53+1", "2^700", "10^200"])
def test_a_large_number_of_samples_makes_no_loss_vanish(divide_by: int) -> None:
    form = {"kind": "entries", "outputs": 1, "output": [0], "entry": [0], "values": encoded(np.ones(1))}
    document = by_hand(1, form, 2.0**-200, np.zeros((1, 1)), 0.0, divide_by)
    assert proved(document)[0] >= Fraction(1, 2**401 * divide_by)
    with pytest.raises(Refused):
        check(document)


@pytest.mark.parametrize("lists", [[], [0], [0.0], [True], ["0"], [-1], None, 0])
def test_positions_that_are_no_positions(lists: Any) -> None:
    document = certificates.document(problem("completion"), np.zeros((3, 3)), arithmetic="binary64")
    document["problem"]["map"]["entry"] = lists
    with pytest.raises((ValueError, TypeError, IndexError)):
        check(document)


@pytest.mark.parametrize("name", LEAST_SQUARES)
def test_the_coefficients_that_are_counted_ahead_are_those_written_down(name: str) -> None:
    """Of a number of them on a certificate is in binary64 arithmetic; none of these is 0."""
    task = problem(name)
    outputs = certificates.document(task, np.zeros(task.shape), arithmetic="exact")["problem"]["outputs"]
    described = task.objective.description()
    assert certificates.exact.coefficients(described, task.shape) == sum(len(output) for output in outputs)


def test_thirty_by_thirty_is_checked_in_about_a_second(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    M = rng.standard_normal((30, 30))
    task = ls.Problem(Denoising(M), 8, lam=0.5 * float(np.linalg.norm(M, 2)))
    path = tmp_path / "proof.json"
    document = certificates.write(path, task, ls.solve_convex(task))
    assert document["arithmetic"] == "exact"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert run_checker(path, "-I", "-S")[0] == 0
    # Of the processor, which others may take for longer: 0.25 s.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5.0
    assert float(Fraction(document["gap"])) < 1e-12 * ls.certify(task, Reading_X(document)).value


def Reading_X(document: dict[str, Any]) -> np.ndarray:
    A, B = (np.array(document["point"][key], float) for key in ("A", "B"))
    return A @ B.T * 2.0 ** sum(document["point"]["exponents"])


# ---------------------------------------------------------------------- what is refused
def test_what_cannot_be_written_down_is_refused() -> None:
    class Own:
        shape = (3, 2)
        convex = True

        def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
            return float(np.cosh(X).sum()), np.sinh(X)

    with pytest.raises(NotImplementedError, match="states no description of f"):
        certificates.document(ls.Problem(Own(), 1, lam=1.0), np.zeros((3, 2)))
    rng = np.random.default_rng(0)
    network = ls.Problem(TwoLayer.example(rng), 1, lam=1.0)
    with pytest.raises(NotImplementedError, match="TwoLayer states no description"):
        certificates.document(network, np.zeros(network.shape))
    gram = LinearFineTuning.from_gram(np.zeros((2, 2)), np.eye(2), np.eye(2), 1.0)
    with pytest.raises(NotImplementedError, match="no samples"):
        certificates.document(ls.Problem(gram, 1, lam=1.0), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="arithmetic: 'exact' cannot be used here: exact arithmetic is for least"):
        certificates.document(problem("softmax"), np.zeros((3, 2)), arithmetic="exact")
    with pytest.raises(ValueError, match="arithmetic: expected 'auto', 'exact' or 'binary64'"):
        certificates.document(problem("denoising"), np.zeros((3, 2)), arithmetic="decimal")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- corrupted files
@functools.cache
def bases() -> list[dict[str, Any]]:
    """Documents with honest gaps and with loose ones, near the optimum and far from it."""
    made = []
    for name, arithmetic in KINDS:
        task = problem(name)
        for where, point in points(task).items():
            document = certificates.document(task, point, arithmetic=arithmetic)
            made.append(document)
            if where != "far":
                made.append(document | {"gap": str(Fraction(document["gap"]) * 1000 + Fraction(1, 10**4))})
    return made


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    return [path] if items is None else [leaf for key, value in items for leaf in leaves(value, (*path, key))]


def corrupted(document: dict[str, Any], rng: np.random.Generator) -> str:
    """Return a document as text, with one to three of its numbers or one to three of its bytes changed."""
    if rng.random() < 0.3:
        text = bytearray(json.dumps(document).encode())
        for _ in range(rng.integers(1, 4)):
            text[rng.integers(len(text))] = rng.choice(list(b'0123456789-/[]{},:"ABaz=+.e '))
        return text.decode()
    document = copy.deepcopy(document)
    every = leaves(document)
    for _ in range(rng.integers(1, 4)):
        *path, key = every[rng.integers(len(every))]
        node: Any = document
        for step in path:
            node = node[step]
        node[key] = changed(node[key], rng)
    return json.dumps(document)


def changed(value: Any, rng: np.random.Generator) -> Any:
    factor = [Fraction(-1), Fraction(0), Fraction(1, 2), Fraction(9, 10), Fraction(999_999, 10**6)][rng.integers(5)]
    if type(value) is int:
        return [int(value * factor), value + 1, value - 1, value ^ (1 << int(rng.integers(40)))][rng.integers(4)]
    if isinstance(value, str):
        try:
            return str(Fraction(value) * (factor if rng.random() < 0.7 else 1 / (factor or Fraction(2))))
        except ValueError:
            pass
        try:
            data = bytearray(base64.b64decode(value, validate=True))
            numbers = list(struct.unpack(f"<{len(data) // 8}d", data))
            k = rng.integers(len(numbers))
            if rng.random() < 0.5:
                numbers[k] = float(numbers[k] * factor) + (rng.random() < 0.2) * 1e-3
                data = bytearray(struct.pack(f"<{len(numbers)}d", *numbers))
            else:
                data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            return base64.b64encode(data).decode()
        except (ValueError, struct.error):
            return ["exact", "binary64", "convex", "least squares", "square", "softmax", "logistic"][rng.integers(7)]
    return None


def tightest(document: dict[str, Any], checker: Any) -> dict[str, Any]:
    """Return the document with the smallest gap that the checker accepts, to a few digits."""
    with contextlib.suppress(Exception):
        gap = checker.proved(document)[0]
        return document | {"gap": str(Fraction(float(gap + abs(gap) * Fraction(1, 10**9))))}
    return document


def judge(count: int, seed: int, checker: Any = check_certificate) -> tuple[int, int]:
    """Corrupt documents, every other with the smallest gap that the checker takes for it.

    Returns how many of them were accepted, and how many of these claim less than the truth.
    """
    rng = np.random.default_rng(seed)
    documents = bases()
    accepted = false = 0
    for _ in range(count):
        text = corrupted(documents[rng.integers(len(documents))], rng)
        try:
            document = json.loads(text)
            with np.errstate(all="ignore"):
                document = tightest(document, checker) if rng.random() < 0.5 else document
                checker.check(document)
        except Exception:
            continue
        accepted += 1
        with np.errstate(all="ignore"):
            false += Reading(document).disproves(Fraction(document["gap"]))
    return accepted, false


def test_corrupted_files_lower_no_gap() -> None:
    accepted, false = judge(600, seed=0)
    assert false == 0
    assert accepted >= 60  # many changes leave a true claim; otherwise the test would say nothing


@pytest.mark.slow
def test_ten_thousand_corrupted_files_lower_no_gap() -> None:
    accepted, false = judge(10_000, seed=1)
    assert false == 0
    assert accepted >= 1000


MUTANTS = {
    "no condition on c": ("require(positive_semidefinite(gram)", "require(True"),
    "only the diagonal": ("(x * pivot - row[0] * y) // last if pivot else x", "x"),
    "no factorisation": ("np.linalg.cholesky(", "abs("),
    "the inner product twice": ("+ c * inner", "+ 2 * c * inner"),
    "the claim believed": ("require(gap <= claimed", "require(True"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_checkers_that_check_less_are_caught(mutant: str) -> None:
    old, new = MUTANTS[mutant]
    text = CHECKER.read_text()
    assert text.count(old) == 1
    module: dict[str, Any] = {"__name__": "mutant"}
    exec(text.replace(old, new), module)
    # The documents are those of optima as a processor rounds them, so no one seed finds the same everywhere.
    assert any(judge(400, seed, SimpleNamespace(**module))[1] > 0 for seed in range(10))
