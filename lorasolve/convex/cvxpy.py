"""cvxpy as a witness for small problems: Clarabel up to about 25 x 25, SCS with tight tolerances beyond."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._units import natural_size
from .._validate import Array
from ..linear_map import balanced
from ..problem import Problem
from .base import ConvexRoute, Report, Solution

CLARABEL_LIMIT = 25 * 25
USABLE = ("optimal", "optimal_inaccurate")


@dataclass(frozen=True)
class Cvxpy(ConvexRoute):
    """The problem as cvxpy states it, ``f(X) + lam * normNuc(X)``.

    Nuclear norms become semidefinite cones of size m + n: Clarabel needs seconds at 40 x 40 and about a minute at
    60 x 60. The solver's status is reported and its accuracy measured by our own gap.

    The solver gets the problem in units of its own (:func:`_in_units`): its tolerances and its presolve know a 1, and
    data of size 1e8 were infeasible to it.

    Parameters
    ----------
    solver : str, optional
        ``"CLARABEL"`` or ``"SCS"``; by default chosen by size.
    """

    solver: str | None = None

    name = "cvxpy"
    summary = "Clarabel (small) or SCS through cvxpy; a witness, slow beyond 40 x 40"

    def refusal(self, problem: Problem) -> str | None:
        """Return why cvxpy cannot be used, or None if it can."""
        reason = super().refusal(problem)
        if reason is None:
            import cvxpy

            try:
                problem.objective.cvxpy_expression(cvxpy.Variable(problem.shape))
            except NotImplementedError as error:
                reason = str(error)
        return reason

    def run(self, problem: Problem, tol: float, report: Report) -> Solution:
        """Return the solver's point, however accurate it is."""
        import cvxpy

        m, n = problem.shape
        solver = self.solver or ("CLARABEL" if m * n <= CLARABEL_LIMIT else "SCS")
        options: dict[str, Any] = {}
        if solver == "SCS":
            options = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 50_000}
        elif solver == "CLARABEL":
            options = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
        with warnings.catch_warnings():
            # "Solution may be inaccurate": the accuracy is measured by our own gap.
            warnings.simplefilter("ignore", UserWarning)
            try:
                task, found = _in_units(problem, solver, options)
            except cvxpy.SolverError as error:
                raise RuntimeError(f"cvxpy with {solver} found no usable point: {error}") from error
        if task.status not in USABLE or found is None:
            raise RuntimeError(f"cvxpy with {solver} ended with status {task.status!r} and no usable point")
        P, s, Qt = np.linalg.svd(found, full_matrices=False)
        A, B = balanced(P, s, Qt.T)
        return Solution(A, B, int(task.solver_stats.num_iters or 0), f"{solver}: {task.status}")


def _in_units(problem: Problem, solver: str, options: dict[str, Any]) -> tuple[Any, Array | None]:
    """Return the problem that was solved in units of its own, and ``X`` in the units given, if there is one.

    What cvxpy makes of the problem, ``min x^T P x/2 + c^T x`` with ``b - A x`` in a cone, stays the same for ``x`` in
    units of ``b`` (``b/t``, ``t^2 P``, ``t c``), as a cone has no units; ``t`` is the size of ``b``, which holds the
    data, up to a factor of 10, so that cones with a 1 in them keep it for ordinary data. Powers above 2 are chains of
    cones ``w 1 >= x^2``: their 1 and ``w`` are brought to the size of the rest first. The update may be of another
    size, so what is asked for is a multiple of it of size ``t``; values are in units of ``t`` times the slope of ``F``.
    """
    import cvxpy

    def stated(share: float) -> tuple[Any, Any, tuple[Any, Any, Any]]:
        X = cvxpy.Variable(problem.shape)
        penalty = (share * problem.lam_effective) * cvxpy.normNuc(X)
        task = cvxpy.Problem(cvxpy.Minimize(problem.objective.cvxpy_expression(share * X) + penalty))
        return X, task, task.get_problem_data(solver, solver_opts=options)

    X, _, (data, _, _) = stated(1.0)
    largest = _size_of_data(data, X)
    t = 100.0 ** round(0.5 * math.log10(largest)) if 0.0 < largest < math.inf else 1.0
    slope = problem.units.slope
    share = (problem.scale * natural_size(problem, slope) ** 2 or t) / t
    X, task, (data, chain, inverse) = stated(share)
    _bring_to_size(data, X, t)
    weight = share * slope / problem.scale
    if data.get("P") is not None:
        data["P"] = data["P"] * (t / weight)
    data["c"], data["b"] = data["c"] / weight, data["b"] / t
    task.unpack_results(chain.solve_via_data(task, data, solver_opts=options), chain, inverse)
    return task, None if X.value is None else np.asarray(X.value, dtype=np.float64) * t * share


class _Link(NamedTuple):
    """A second-order cone that says ``w c >= ||x||^2`` of a variable ``w``, a constant ``c > 0`` and others ``x``.

    Its rows are those from ``first`` to ``last``; of the first two the sum is ``w``, up to a factor, and the difference
    ``c``, or the other way round with ``sign = -1``.
    """

    first: int
    last: int
    sign: float
    column: int
    constant: float


def _links(data: dict[str, Any], X: Any) -> list[_Link]:
    """Return the links of chains, those of what is raised to a power above 2; ``X`` is no ``w`` of any."""
    A, b, dims = data["A"].tocsr(), data["b"], data["dims"]
    own = data["param_prob"].var_id_to_col[X.id] + np.arange(X.size)
    found = []
    first = dims.zero + dims.nonneg
    for size in dims.soc:
        for sign in (1.0, -1.0) if size > 2 else ():
            product, rest = A[first] + sign * A[first + 1], A[first] - sign * A[first + 1]
            product.eliminate_zeros()
            rest.eliminate_zeros()
            constant = float(b[first] - sign * b[first + 1])
            if rest.nnz == 0 and product.nnz == 1 and constant > 0.0 and product.indices[0] not in own:
                found.append(_Link(first, first + size, sign, int(product.indices[0]), constant))
                break
        first += size
    return found


def _size_of_data(data: dict[str, Any], X: Any) -> float:
    """Return the size of the data that the problem holds, the constants of links apart."""
    b = np.abs(data["b"])
    for link in _links(data, X):
        b[link.first : link.first + 2] = 0.0
    return float(b.max(initial=0.0))


def _bring_to_size(data: dict[str, Any], X: Any, t: float) -> None:
    """Give each link a ``w`` of size ``t``, that of ``X``, and a constant of the size of its ``x``.

    A cone of ``u v >= ||x||^2`` stays what it is for ``p u``, ``q v`` and ``sqrt(p q) x``.
    """
    import scipy.sparse

    A = data["A"].tocsr()
    waiting, columns, rows = _links(data, X), np.ones(A.shape[1]), np.ones(A.shape[0])
    # From the first two rows of each link to u and v, where the constant leaves u without rounding, and back.
    there, back = (scipy.sparse.identity(A.shape[0], format="lil") for _ in range(2))
    for link in waiting:
        pair = slice(link.first, link.first + 2)
        there[pair, pair] = np.array([[1.0, link.sign], [1.0, -link.sign]])
        back[pair, pair] = 0.5 * np.array([[1.0, 1.0], [link.sign, -link.sign]])
    while waiting:
        # A link's x may hold the w of others, which are brought to size before.
        unknown = {link.column for link in waiting}
        ready = [link for link in waiting if unknown.isdisjoint(A[link.first + 2 : link.last].indices)]
        for link in ready:
            x = A[link.first + 2 : link.last]
            moved = np.abs(x.data) * columns[x.indices] * t
            size = max(float(np.abs(data["b"][link.first + 2 : link.last]).max()), float(moved.max(initial=0.0)))
            if size > 0.0 and columns[link.column] == 1.0:
                root = 1.0 / float(columns[x.indices].max(initial=0.0) or 1.0)
                p, q = root * link.constant / size, root * size / link.constant
                columns[link.column] = 1.0 / p
                rows[link.first : link.last] = p, q, *[root] * (link.last - link.first - 2)
        if not ready:
            break
        waiting = [link for link in waiting if link not in ready]
    left, right = back.tocsr() @ scipy.sparse.diags(rows), scipy.sparse.diags(columns)
    data["A"], data["b"] = (left @ (there.tocsr() @ A) @ right).tocsc(), left @ (there.tocsr() @ data["b"])
    data["c"] = columns * data["c"]
    if data.get("P") is not None:
        data["P"] = (right @ data["P"] @ right).tocsc()
