"""What is found out about a point of a network: faults, bounds and values, and what searches from it find."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .._support.interruptions import patience
from .._support.validate import Array
from ..certificates import Certificate, certify
from ..landscape import SecondOrder, second_order
from ..multi import MultiProblem
from ..objectives.base import allowance
from ..problem.pairs import Pairs, joint_norm
from ._passes import with_trials
from ._torch import REPEATABLE, require_torch
from .adapted import narrowed
from .linearize import tangent_problem
from .losses import OutputLoss, as_outputs, bend_of
from .tangent import TangentCertificate, tangent_certificate
from .token_ntk import TangentSolution, solve_tangent
from .training_objective import TrainingObjective

T = TypeVar("T")

# A curvature below 0 by more than this share of the largest is negative.
NEGATIVE = 1e-5


class Evidence:
    """A point of a network, and what follows from its values, gradients and Hessian products.

    After :meth:`look` ``found`` is the tangent certificate from one gradient, without a gap where nothing bounds one,
    and ``norms`` are those of the weights over their scalings.
    """

    found: TangentCertificate
    norms: tuple[float | None, ...]

    def __init__(
        self, objective: TrainingObjective, point: Pairs, tol: float, progress: bool, time_limit: float | None
    ) -> None:
        self.objective, self.point, self.tol, self.progress = objective, point, tol, progress
        self.time_limit = time_limit
        self.network, self.lam = objective.network, objective.lam
        self.own_fault: str | None = None
        self.interrupted: list[str] = []

    def look(self) -> str:
        """Take the value and the gradients of the point; return what is not finite, empty if all is."""
        for layer, (A, B) in zip(self.network.layers, self.point):
            if not (np.isfinite(A).all() and np.isfinite(B).all()):
                return f"the factors of {layer.name} are not finite"
        f, G, self.own_fault = self.network.tested_value_and_gradients(self.point, progress=self.progress)
        if not math.isfinite(f) or not all(np.isfinite(g).all() for g in G):
            return "the loss or its gradient is not finite at the trained weights"
        self.network.rounding = self._rounding_of_the_mean()
        found = tangent_certificate(
            f,
            G,
            self.point,
            self.lam,
            names=[layer.name for layer in self.network.layers],
            lower_bound=self.objective.lower_bound,
            dtype=np.dtype(self.network.precision),
            rounding=self.network.rounding,
        )
        if self.unbounded:
            found = replace(found, gap=math.inf, relative_gap=math.inf, formula=f"none: {self.unbounded}")
        self.found, self.norms = found, tuple(self._base_norms())
        return ""

    def _rounding_of_the_mean(self) -> float:
        """Return what rounding may do to ``f`` beyond its own size: losses below 0 cancel in the mean."""
        least = self.network.extremes[0]
        # Infinite in a process without data.
        below = float(self.network.over_processes(np.array([max(-least, 0.0)]))[0])
        return 2.0 * allowance(self.network.precision) * below

    @cached_property
    def size(self) -> float:
        """The Frobenius norm of all factors together, ``||theta||``."""
        return joint_norm([part for pair in self.point for part in pair])

    @property
    def rounded(self) -> str:
        """Types below float32 through which the network goes, as far as none was put in their place; empty for none."""
        return ", ".join(name for name in self.network.below if name != "float32")

    @cached_property
    def fault(self) -> str:
        """Why nothing rests on the numbers of the point; empty if that is so of none of them."""
        if self.rounded:
            return f"parts of the network are computed in {self.rounded}, by casts of its own, and no bound counts that"
        # All processes have to go the same way from here.
        if not self.network.over_processes(np.array([float(self.own_fault is not None)])).any():
            return ""
        return self.own_fault or "the loss contradicts its own gradient, or itself, in another process"

    @cached_property
    def unbounded(self) -> str:
        """Why there is no lower bound of the objective; empty if there is one."""
        if self.fault or not self.objective.has_bound:
            return self.fault or "the loss is not stated to be convex in the outputs (convex_loss=True)"
        if not self.objective.known_loss and self._bend:
            return f"the loss is stated to be convex in the outputs, but {self._bend}"
        least, most = self.network.extremes
        # What is known of a loss needs no test, and rounding may take a little off.
        stated = not self.objective.known_loss or self.objective.lower_bound > 0.0
        below = stated and least < self.objective.lower_bound - REPEATABLE[self.network.precision] * (1.0 + abs(most))
        if not self.network.over_processes(np.array([float(below)])).any():
            return ""
        loss = f"a loss of the data is {least:.6g}" if below else "one is in another process"
        return f"no loss is below lower_bound = {self.objective.lower_bound:g}, it is stated, but {loss}"

    @cached_property
    def _bend(self) -> str:
        """Where a loss whose outputs are seen is found not to be convex; empty if nowhere.

        What it is may rest on the targets: batches are tried as gradients are.
        """
        loss, found = self.network.loss_of_samples, ""
        if isinstance(loss, OutputLoss):
            with require_torch().no_grad(), self.network.evaluating(self.network.tensors(self.point)):
                for batch, chosen in with_trials(self.network.moved_batches()):
                    if chosen:
                        found = bend_of(loss, as_outputs(loss.outputs(self.network.model, batch)), loss.targets(batch))
                    if found:
                        break
        # All processes have to go the same way from here.
        if not self.network.over_processes(np.array([float(bool(found))])).any():
            return ""
        return found or "that of a sample is not, in another process"

    def _base_norms(self) -> list[float | None]:
        norms = [(layer.base_norm, abs(layer.scale)) for layer in self.network.layers]
        return [None if norm is None else norm / scale for norm, scale in norms]

    @cached_property
    def without_update(self) -> float:
        """The loss of the model with all updates at zero."""
        return self.network.value(self.network.zeros())

    @cached_property
    def _narrow(self) -> Pairs:
        """The point with no more columns than a problem has: ``min(m, n)``, where LoRA layers may have more."""
        return narrowed(self.point)

    def _problem(self) -> MultiProblem:
        return MultiProblem(self.network, [A.shape[1] for A, _ in self._narrow], self.lam)

    def _factors(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        return tuple(A for A, _ in self._narrow), tuple(B for _, B in self._narrow)

    def unless_interrupted(self, what: str, find: Callable[[], T]) -> T | None:
        """Return what is found, or None and a premise that says so where Ctrl-C ends that before anything is known."""
        try:
            with patience():
                return find()
        except KeyboardInterrupt:
            self.interrupted.append(f"{what} was interrupted, and nothing is known from it")
            return None

    def solved(self, accuracy: float) -> TangentSolution:
        """Return the solution of the tangent problem to this relative gap."""
        tangent = tangent_problem(self.network, self.point, progress=self.progress)
        return solve_tangent(
            tangent, self.point, self.lam, accuracy, time_limit=self.time_limit, progress=self.progress
        )

    def second_order(self, max_products: int) -> SecondOrder:
        """Return what a search for negative curvature finds."""
        return second_order(
            self._problem(), *self._factors(), tol=NEGATIVE, max_products=max_products, progress=self.progress
        )

    def second_difference(self, direction: tuple[Any, Any]) -> float:
        """Return the curvature of ``L`` along a unit direction ``(U, V)``, from three of its values."""
        pairs = list(zip(*direction))
        size = math.sqrt(sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in self._narrow))
        step = float(np.finfo(np.float64).eps) ** 0.2 * (size or 1.0)

        def value(t: float) -> float:
            moved = [(A + t * U, B + t * V) for (A, B), (U, V) in zip(self._narrow, pairs)]
            squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in moved)
            return self.network.value(moved) + 0.5 * self.lam * squares

        return (value(step) - 2.0 * value(0.0) + value(-step)) / step**2

    def how_searched(self, searched: SecondOrder | None) -> tuple[str, ...]:
        """Return of what a search takes its products, as a premise; none without one."""
        if searched is None:
            return ()
        why = self.network.differences
        how = "automatic differentiation" if why is None else f"differences of gradients ({why})"
        return (f"Hessian products by {how}",)

    def value(self, pairs: Pairs) -> float:
        """Return ``F`` of another point on this network and these data."""
        return self._problem().factored_convex_value(*zip(*pairs))

    def certificate(self) -> Certificate:
        """Return the certificate of a loss that is convex in the updates."""
        self.network.require_same_data(self.point)
        self.network.convex = True
        # Its values and gradients have the rounding errors of the evaluation.
        self.network.dtype = np.dtype(self.network.precision)
        return certify(self._problem(), self._factors(), self.tol)
