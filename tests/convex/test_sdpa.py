"""Our instances as semidefinite programs: the file means the problem, and a real solver's answer is judged."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import lorasolve as ls
from lorasolve.convex import read_sdpa_solution
from lorasolve.objectives import (
    Denoising,
    Description,
    Entries,
    Huber,
    LinearFineTuning,
    Matrix,
    MatrixCompletion,
    MatrixSensing,
)

needs_csdp = pytest.mark.skipif(shutil.which("csdp") is None, reason="the solver csdp is not installed (coinor-csdp)")


def instances():
    rng = np.random.default_rng(5)
    normal = rng.standard_normal
    return {
        "denoising": ls.Problem(Denoising(normal((6, 4))), 2, lam=1.0),
        "completion": ls.Problem(
            MatrixCompletion(*np.divmod(rng.choice(24, 13, False), 4), normal(13), (6, 4)), 2, lam=0.3
        ),
        "dense": ls.Problem(MatrixSensing(normal((15, 4, 5)), normal(15)), 2, lam=0.1),
        "rank-one": ls.Problem(MatrixSensing((normal((15, 4)), normal((15, 5))), normal(15)), 2, lam=0.1),
        "sparse": ls.Problem(
            MatrixSensing(scipy.sparse.random(15, 20, 0.4, "csr", random_state=3), normal(15), (4, 5)), 2, lam=0.02
        ),
        "linear": ls.Problem(LinearFineTuning(normal((4, 3)), normal((3, 9)), normal((4, 9))), 2, lam=0.4),
    }


INSTANCES = instances()


class Program:
    """A reader of the SDPA sparse format, for its dual problem."""

    def __init__(self, path: pathlib.Path) -> None:
        comment, count, blocks, sizes, right, *entries = path.read_text().splitlines()
        assert comment.startswith('"')
        self.sizes = [int(k) for k in sizes.split()]
        assert len(self.sizes) == int(blocks)
        self.right = np.array([float(x) for x in right.split()])
        assert self.right.size == int(count)
        self.entries = [(*map(int, line.split()[:4]), float(line.split()[4])) for line in entries]
        assert len({entry[:4] for entry in self.entries}) == len(self.entries)

    def products(self, Y: list[np.ndarray]) -> np.ndarray:
        """Return ``<F_k, Y>`` for k = 0, 1, .. at the symmetric blocks ``Y``."""
        found = np.zeros(self.right.size + 1)
        for matrix, block, i, j, value in self.entries:
            assert i <= j
            found[matrix] += value * Y[block - 1][i - 1, j - 1] * (1 if i == j else 2)
        return found


@pytest.mark.parametrize("name", INSTANCES)
def test_the_program_is_the_problem(name: str, tmp_path: pathlib.Path) -> None:
    """At any X, the cheapest feasible Y costs F(X), and Y with another residual is infeasible."""
    task = INSTANCES[name]
    m, n = task.shape
    task.to_sdpa(tmp_path / "x.dat-s")
    program = Program(tmp_path / "x.dat-s")
    X = np.random.default_rng(0).standard_normal((m, n))
    P, s, Q = np.linalg.svd(X, full_matrices=False)
    first = np.vstack([P * s, Q.T * s]) @ np.vstack([P, Q.T]).T
    N = program.right.size // 2
    zero = [np.zeros((2, 2))] * N
    residual = program.products([first, *zero])[1 + N :] - program.right[N:]
    products = program.products([first, *(np.array([[1.0, r], [r, r * r]]) for r in residual)])
    assert np.allclose(products[1:], program.right, rtol=0, atol=1e-12)
    assert -products[0] == pytest.approx(task.convex_value(X), rel=1e-12)


def solved_by_csdp(task: ls.Problem, folder: pathlib.Path) -> np.ndarray:
    task.to_sdpa(folder / "x.dat-s")
    run = subprocess.run(["csdp", "x.dat-s", "x.sol"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    return read_sdpa_solution(folder / "x.sol", task.shape)


@needs_csdp
@pytest.mark.parametrize("name", INSTANCES)
def test_an_answer_of_csdp_is_certified(name: str, tmp_path: pathlib.Path) -> None:
    task = INSTANCES[name]
    X = solved_by_csdp(task, tmp_path)
    certificate = ls.certify(task, X)
    optimum = ls.solve_convex(task, tol=1e-12)
    assert certificate.is_global is True
    assert 0.0 <= certificate.value - optimum.fun <= certificate.gap + 1e-12 * optimum.fun
    assert certificate.relative_gap < 1e-6
    # Half of it is not the optimum.
    assert ls.certify(task, 0.5 * X).is_global is False


@needs_csdp
def test_an_answer_of_csdp_travels(tmp_path: pathlib.Path) -> None:
    from lorasolve import certificates

    task = INSTANCES["completion"]
    document = certificates.document(task, solved_by_csdp(task, tmp_path))
    assert document["arithmetic"] == "exact"


def test_what_is_no_program_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.dat-s"
    for task, reason in (
        (ls.Problem(Huber(np.eye(3)), 1, lam=1.0), "for least squares, and the loss is huber"),
        (ls.Problem(Denoising(np.eye(3)), 1), "needs lam > 0, got 0"),
        (ls.Problem(LinearFineTuning.from_gram(np.eye(2), np.eye(2), np.eye(2), 1.0), 1, lam=1.0), "no samples"),
    ):
        with pytest.raises(ValueError, match=f"to_sdpa: .*{reason}"):
            task.to_sdpa(path)
    assert not path.exists()


class Stated:
    """``||X Z - Y||^2/2`` of a user, with a description of any kind."""

    shape, convex, lower_bound, least_squares = (3, 4), True, 0.0, True
    Z, Y = np.arange(8.0).reshape(4, 2), np.ones((3, 2))

    def __init__(self, stated: Any) -> None:
        self.stated = stated

    def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        E = X @ self.Z - self.Y
        return 0.5 * float(np.vdot(E, E)), E @ self.Z.T

    def description(self) -> Any:
        return self.stated


@pytest.mark.parametrize(
    ("stated", "kind", "message"),
    [
        (None, TypeError, r"objective\.description\(\): expected a Description, got None"),
        (Description(Stated.Z, "square", 1, (np.ones(6),)), TypeError, r"map: expected an Entries or a Matrix or"),
        (Description(Matrix(Stated.Z), "square", 0, (np.ones(6),)), ValueError, "divide_by: expected an integer >= 1"),
        (Description(Matrix(Stated.Z[:3]), "square", 1, (np.ones(6),)), ValueError, "cannot be evaluated at a matrix"),
        (Description(Matrix(Stated.Z), "square", 1, (np.ones(5),)), ValueError, "cannot be evaluated at a matrix"),
        (Description(Matrix(Stated.Z), "cube", 1, (np.ones(6),)), ValueError, "cannot be evaluated at a matrix"),
        (Description(Matrix(Stated.Z), "square", 2, (np.ones(6),)), ValueError, "states another loss than value_and_g"),
        (Description(Matrix(2.0 * Stated.Z), "square", 1, (np.ones(6),)), ValueError, "states another loss than"),
        (Description(Matrix(Stated.Z), "huber", 1, (np.ones(6),), delta=1e3), ValueError, "the loss is huber"),
    ],
)
def test_a_wrong_description_is_refused_by_name(
    tmp_path: pathlib.Path, stated: Any, kind: type[Exception], message: str
) -> None:
    path = tmp_path / "x.dat-s"
    with pytest.raises(kind, match=f"^to_sdpa: .*{message}"):
        ls.Problem(Stated(stated), 2, lam=1.0).to_sdpa(path)
    assert not path.exists()


def test_the_program_of_a_users_loss_is_that_of_the_same_loss_of_the_package(tmp_path: pathlib.Path) -> None:
    """Its numbers may be lists where they are read one by one."""
    m, n = Denoising(np.ones((3, 4))).shape
    entries = Entries(m * n, list(range(m * n)), list(range(m * n)), [1.0] * (m * n))  # type: ignore[arg-type]

    class Distance(Stated):
        def value_and_grad(self, X: np.ndarray) -> tuple[float, np.ndarray]:
            return 0.5 * float(np.vdot(X - 1.0, X - 1.0)), X - 1.0

    own = Distance(Description(entries, "square", 1, (np.ones(m * n),)))
    ls.Problem(own, 2, lam=1.0).to_sdpa(tmp_path / "own.dat-s")
    ls.Problem(Denoising(np.ones((m, n))), 2, lam=1.0).to_sdpa(tmp_path / "ours.dat-s")
    assert (tmp_path / "own.dat-s").read_text() == (tmp_path / "ours.dat-s").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n2 1 1 2\n", "line 2: expected 'matrix block row column value'"),
        ("1\n2 1 1 2 inf\n2 1 2 2 1\n", "not finite"),
        ("1\n2 1 1 1 3.0\n2 1 1 2 3.0\n2 1 2 2 3.0\n2 1 3 3 0.5\n", "expected a matrix of 2 rows.* got one of 3"),
        ("1\n1 1 2 2 3.0\n", "expected a matrix of 2 rows.* got one of 0"),
    ],
)
def test_a_damaged_solution_is_refused(text: str, message: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.sol").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_sdpa_solution(tmp_path / "x.sol", (1, 1))
