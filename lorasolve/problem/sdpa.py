"""Least squares with a nuclear norm as a semidefinite program in the SDPA sparse format, and answers to it.

    min (1/(2 D)) sum s_i + (lam/2) (tr W1 + tr W2)
    s.t. [W1, X; X^T, W2] >= 0,   [1, r_i; r_i, s_i] >= 0,   r_i = map_i(X) - y_i

The first block is the nuclear norm (proofs/nuclear_norm_variational), each of the others says ``s_i >= r_i^2``. All
blocks together are the matrix variable ``Y`` of the format's dual problem, ``max <F0, Y>`` subject to
``<F_k, Y> = c_k``: two constraints for each output, and no dense block of the order of the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .._support.files import PathLike, text_writer, write_atomically
from .._support.validate import Array, as_matrix_shape, as_path
from ..objectives import Description, Entries, Matrix, Outer, described
from ..objectives.base import Objective

PRIMAL = 2  # what CSDP calls the matrix variable in its solution files


def write_sdpa(path: PathLike, objective: Objective, lam: float) -> None:
    """Write the program of ``f + lam ||.||_*`` to a file.

    Raises
    ------
    ValueError
        If there is no program for this loss or weight, or what a user's loss says that it is made of is another loss.
    TypeError
        If that is no description.
    """
    if not lam > 0.0:
        raise ValueError(f"the program needs lam > 0, got {lam:g}")
    try:
        description = described(objective.in_float64(), np.zeros(objective.shape))
    except NotImplementedError as error:
        raise ValueError(str(error)) from None
    if description.loss != "square":
        raise ValueError(f"the program is for least squares, and the loss is {description.loss}")
    write_atomically(path, text_writer("".join(_lines(description, objective.shape, lam))))


def read_sdpa_solution(path: PathLike, shape: tuple[int, int]) -> Array:
    """Return ``X`` from the solution that a solver wrote for a file of ``Problem.to_sdpa``.

    Parameters
    ----------
    path : path
        A solution in CSDP's format (B. Borchers, "CSDP 6.2.0 user's guide"): a line with the multipliers, then lines
        ``matrix block row column value`` with the matrix variable under number 2.
    shape : (int, int)
        ``(m, n)`` of the problem.

    Returns
    -------
    ndarray of shape (m, n)

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not such a solution, or one of a problem of another size.
    """
    path = as_path(path, "path")
    m, n = as_matrix_shape(shape, "shape")
    X, side = np.zeros(shape), 0
    with open(path, encoding="ascii", errors="replace") as file:
        file.readline()
        for number, line in enumerate(file, 2):
            try:
                matrix, block, row, column, value = line.split()
                if (int(matrix), int(block)) != (PRIMAL, 1):
                    continue
                i, j = int(row) - 1, int(column) - 1 - m
                side = max(side, int(row), int(column))
                if 0 <= i < m and 0 <= j < n:
                    X[i, j] = float(value)
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: expected 'matrix block row column value', got {line.strip()[:60]!r}"
                ) from None
    # The matrix of an interior point has no zero on its diagonal, so its last row is there.
    if side != m + n:
        raise ValueError(f"{path}: expected a matrix of {m + n} rows, the m + n of shape, got one of {side}")
    if not np.isfinite(X).all():
        raise ValueError(f"{path}: the solution is not finite")
    return X


def _lines(description: Description, shape: tuple[int, int], lam: float) -> Iterator[str]:
    """Yield the lines of the program."""
    m, n = shape
    X0 = np.zeros(shape) if description.X0 is None else description.X0
    targets = sum(description.shifts, np.zeros(1)) - description.map.apply(X0)
    N = targets.size
    yield f'"least squares of {N} outputs + {lam!r} ||X||_*: X is rows 1..{m}, columns {m + 1}..{m + n} of block 1\n'
    yield f"{2 * N}\n{N + 1}\n{m + n} {' '.join(['2'] * N)}\n"
    yield " ".join(["1.0"] * N + [repr(float(y)) for y in targets]) + "\n"
    for k in range(1, m + n + 1):
        yield f"0 1 {k} {k} {-0.5 * lam!r}\n"
    for i in range(1, N + 1):
        yield f"0 {i + 1} 2 2 {-0.5 / description.divide_by!r}\n{i} {i + 1} 1 1 1.0\n"
    for i, (entry, values) in enumerate(_rows(description.map, shape), N + 1):
        # An entry above the diagonal stands for two, hence the halves: <M_i, X> - r_i = y_i.
        for k, value in zip(entry, values):
            yield f"{i} 1 {k // n + 1} {m + k % n + 1} {0.5 * value!r}\n"
        yield f"{i} {i - N + 1} 1 2 -0.5\n"


def _rows(form: Entries | Matrix | Outer, shape: tuple[int, int]) -> Iterator[tuple[Sequence[int], list[float]]]:
    """Yield the entries of ``X`` that each output sees, and their coefficients."""
    m, n = shape
    if isinstance(form, Entries):
        order = np.argsort(form.output, kind="stable")
        cuts = np.searchsorted(form.output[order], np.arange(1, form.outputs))
        for part in np.split(order, cuts):
            yield form.entry[part].tolist(), form.values[part].tolist()
    elif isinstance(form, Matrix):
        k = len(form.Z)
        for first in range(0, m * n, k):
            for column in form.Z.T.tolist():
                yield range(first, first + k), column
    else:
        for a, b in zip(form.a, form.b):
            yield range(m * n), np.outer(a, b).ravel().tolist()
