"""What a run reached, and the course it took."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ._support.digest import digest
from ._support.text import counted, for_json, number
from ._support.validate import Array
from .method import Method
from .objectives import DenseReference
from .problem import Problem
from .problem.pairs import unlisted
from .status import Status


@dataclass(repr=False)
class Trace:
    """The course of a run; the first and the last point are always there.

    Attributes
    ----------
    iteration, value, grad_norm, seconds : list
        Iteration number, ``L``, ``||grad L||_2`` and elapsed time of each recorded point. In stochastic methods
        value and gradient norm are those of the mini-batch.
    step : list
        Step size in use (NaN where a method has none).
    """

    iteration: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)

    LIMIT = 4096
    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds",)

    def __post_init__(self) -> None:
        self._stride = 1

    def __len__(self) -> int:
        return len(self.iteration)

    def __repr__(self) -> str:
        """Return one line, however long the run."""
        if not self.iteration:
            return "Trace(empty)"
        ends = f"iterations {self.iteration[0]} to {self.iteration[-1]}, L {self.value[0]:.6g} to {self.value[-1]:.6g}"
        return f"Trace({counted(len(self), 'point')}, {ends})"

    def record(
        self, iteration: int, value: float, grad_norm: float, seconds: float, step: float, force: bool = False
    ) -> None:
        """Add a point; beyond ``LIMIT`` points every second one is dropped and the spacing doubles."""
        if self.iteration and self.iteration[-1] == iteration:
            return
        if not force and iteration % self._stride:
            return
        for column, entry in zip(self._columns(), (iteration, value, grad_norm, seconds, step)):
            column.append(entry)
        self._thin()

    def extend(self, first: int, values: Array, grad_norms: Array, seconds: Array, step: float) -> None:
        """Add consecutive points from iteration ``first`` on, as :meth:`record` would one by one."""
        done = -first % self._stride
        while done < len(values):
            stop = min(len(values), done + self._stride * (self.LIMIT + 1 - len(self.iteration)))
            part = slice(done, stop, self._stride)
            iterations = range(first + done, first + stop, self._stride)
            steps = [step] * len(iterations)
            points = (iterations, values[part].tolist(), grad_norms[part].tolist(), seconds[part].tolist(), steps)
            for column, entries in zip(self._columns(), points):
                column.extend(entries)
            self._thin()
            done = stop + -(first + stop) % self._stride

    def drop_unfinished(self, last: int) -> None:
        """Leave out points beyond iteration ``last``, and those that an interruption has left with entries missing."""
        count = min(map(len, self._columns()))
        while count and self.iteration[count - 1] > last:
            count -= 1
        for column in self._columns():
            del column[count:]

    def _thin(self) -> None:
        """Drop every second point, ends kept, once there are too many."""
        if len(self.iteration) > self.LIMIT:
            self._stride *= 2
            # In one step, so that an interruption finds columns of one length.
            vars(self).update({name: [*c[:1], *c[2:-1:2], c[-1]] for name, c in self.to_dict().items()})

    def _columns(self) -> tuple[list[Any], ...]:
        return self.iteration, self.value, self.grad_norm, self.seconds, self.step

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name."""
        names = ("iteration", "value", "grad_norm", "seconds", "step")
        return dict(zip(names, self._columns()))


class SolveError(RuntimeError):
    """Raised by :meth:`Result.raise_for_status` when a run did not end where it was asked to end."""


@dataclass(repr=False, eq=False)
class Result:
    """The end of a run. ``fun`` and ``grad_norm`` are recomputed by the problem, never taken from the loop.

    Attributes
    ----------
    A, B : ndarray of shape (m, r), (n, r)
        The factors; for a :class:`~lorasolve.MultiProblem` tuples of them, one for each matrix.
    theta : ndarray
        All parameters of the adapter (the factors first).
    X : ndarray of shape (m, n), or a tuple of them
        The update of the original frozen weight, merged stages included; formed on first use.
    fun, grad_norm : float
        ``L`` and ``||grad L||_2`` at the last point.
    nit, nfev : int
        Accepted iterations, and oracle calls (rejected trials and Hessian products included; those not counted that a
        derived step or a schedule asks for at the start of a stage, as for the curvature of a loss that states no
        ``smoothness``, and the few that test a gradient of yours where a run has converged).
    status : Status
        Why the run stopped.
    message : str
        The same in words, and what to do next.
    success : bool
        Whether the run ended where it was asked to end.
    trace : Trace
        The course of the run.
    seconds, compile_seconds : float
        Time of the run without compilation, and time spent compiling.
    seed : int or None
        The seed the run can be repeated with.
    method : Method or None
        What was run; its text form runs it again. None in a loaded result whose method is not one of this package.
    started_from : str
        The name of the init, or ``"given"``.
    merged : ndarray of shape (m, n) or None
        What a schedule merged into the frozen weight before the last stage.
    problem : Problem
        The problem of the last stage (the original one if nothing was merged).
    """

    A: Any
    B: Any
    theta: Array
    fun: float
    grad_norm: float
    nit: int
    nfev: int
    status: Status
    message: str
    trace: Trace
    seconds: float
    compile_seconds: float
    seed: int | None
    method: Method | None
    started_from: str
    problem: Problem
    merged: Array | None = None
    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds", "compile_seconds")

    def __repr__(self) -> str:
        return (
            f"Result({self.status.label}: L = {number(self.fun, '.10g')}, ||grad L|| = {self.grad_norm:.3g}, "
            f"{counted(self.nit, 'iteration')} of {self.method or 'an unknown method'})"
        )

    @property
    def success(self) -> bool:
        """Whether the run converged or reached its target."""
        return self.status.success

    @property
    def X(self) -> Any:
        """The update of the original frozen weight (m, n)."""
        # A run that diverged ends at numbers whose squares overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            update = self.problem.update(self.theta)
        return update if self.merged is None else self.merged + update

    @property
    def factors(self) -> tuple[Any, Any] | None:
        """Factors ``(s A, B)`` of the update ``X = s A B^T``; no ``X`` (m, n) is formed for them.

        Of several matrices both are tuples, as ``A`` and ``B`` are. None where the update is no product of two: after
        a merge it is ``merged + s A B^T`` of this result's ``merged``, ``A``, ``B`` and ``problem.scale``, of a rank
        that may be larger; that of DoRA is known as ``X`` alone. Factors of either are those of an SVD of ``X``.
        """
        problem = self.problem
        if self.merged is not None or not problem.adapter.low_rank:
            return None
        if problem.several:
            return tuple(problem.scale * A for A in self.A), self.B
        return problem.scale * self.A, self.B

    def raise_for_status(self) -> Result:
        """Return the result itself, or raise :class:`~lorasolve.SolveError` with the message if it is no success."""
        if not self.success:
            raise SolveError(self.message)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return everything but arrays, the trace and the problem as plain JSON-ready values."""
        found = {
            "fun": self.fun,
            "grad_norm": self.grad_norm,
            "nit": self.nit,
            "nfev": self.nfev,
            "message": self.message,
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "seed": self.seed,
            "started_from": self.started_from,
            "method": None if self.method is None else str(self.method),
            "status": self.status.label,
            "success": self.success,
        }
        return dict(for_json(found))

    def to_scipy(self) -> Any:
        """Return a ``scipy.optimize.OptimizeResult`` with SciPy's field names (``x`` is ``theta``)."""
        from scipy.optimize import OptimizeResult

        grad = np.empty_like(self.theta)
        # A run that diverged ends at numbers that overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            self.problem.value_and_grad(self.theta, grad)
        fields: dict[str, Any] = {
            "x": self.theta,
            "fun": self.fun,
            "jac": grad,
            "nit": self.nit,
            "nfev": self.nfev,
            "njev": self.nfev,
            "status": self.status.code,
            "success": self.success,
            "message": self.message,
            "A": self.A,
            "B": self.B,
            "grad_norm": self.grad_norm,
        }
        result = OptimizeResult()
        result.update(fields)
        return result


def metrics_of(objective: Any, found: Any) -> dict[str, float]:
    """Return the metrics of a loss at what a solver or a convex route has found, from its factors if it has some."""
    factors = _factors_for(objective, found)
    return dict(objective.metrics(found.X) if factors is None else objective.factor_metrics(*factors))


def loss_of(objective: Any, found: Any) -> float:
    """Return the value of a loss at what a solver or a convex route has found, from its factors if it has some."""
    factors = _factors_for(objective, found)
    return float(objective.value_and_grad(found.X)[0] if factors is None else objective.factor_value(*factors))


def _factors_for(objective: Any, found: Any) -> list[Array] | None:
    """Return the factors of the update in the precision of a loss, None where the update is no product of two."""
    factors = found.factors
    return (
        None
        if factors is None or isinstance(found.A, tuple)
        else [factor.astype(objective.dtype, copy=False) for factor in factors]
    )


def seen_from(problem: Problem, point: Any, argument: str = "point") -> Any:
    """Return a point as a problem sees it: a result of its own last stage without what its frozen weight holds.

    Of several matrices a list of pairs is the two sequences of factors.
    """
    if isinstance(point, Result) and point.merged is not None and _is_last_stage(problem, point):
        return replace(point, merged=None)
    return unlisted(point, argument) if problem.several else point


def _is_last_stage(problem: Problem, given: Result) -> bool:
    """Whether a problem is that of a result's last stage, or a copy: its frozen weight holds what was merged."""
    objective, last = problem.objective, given.problem.objective
    own = objective.objective if isinstance(objective, DenseReference) else objective
    if last in (objective, own):
        return True
    try:
        return digest(last) in (digest(objective), digest(own))
    except TypeError:
        # Of a loss whose content cannot be read, only the object itself is known to be the same.
        return False
