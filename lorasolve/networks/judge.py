"""What is this trained network? One verdict, premises first; "global" only where the loss is convex in the updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from .._known import Known
from .._support.interruptions import patience
from .._support.text import at_least, at_most
from .._support.validate import Array, as_choice, as_flag, as_integer, as_iterable, as_number, shown
from ..certificates import Certificate, certify
from ..landscape import SecondOrder, second_order
from ..multi import MultiProblem
from ..problem.blocks import Pairs, as_finite_pairs, as_pairs, joint_norm
from ._passes import with_trials
from ._stored import coarse_factors, rounded_at_random
from ._torch import REPEATABLE, differentiating, processes, require_torch
from .adapted import narrowed
from .affine_outputs import outputs_are_affine
from .gradients import Network
from .linearize import require_outputs, tangent_problem
from .losses import OutputLoss, as_outputs, bend_of
from .tangent import TangentCertificate, ratio, tangent_certificate
from .token_ntk import TangentSolution, solve_tangent
from .training_objective import DECAYS, Decay, TrainingObjective, as_convexity, dropout_of, half_frozen
from .verdict import NetworkVerdict

T = TypeVar("T")

# A layer is loud where its rank is full (smallest singular value above this share of the largest) ...
FULL = 1e-3
# ... and its update larger than its weight, in a run that is not stationary and leaves this relative gap.
LOUD_GAP = 0.1
# Of lam ||theta||: a longer gradient in some layer means that steps remain.
STATIONARY = 1e-2
# Another lam that leaves less than this share of the gradient, and of its own penalty's, is told as what a run may have
# had.
EXPLAINED = 0.1
# A gradient up to so many times as long as what rounding of the stored factors makes of it may be that.
ROUNDING = 3.0
# ||G||_2/lam outside the spaces of X above 1 by more than this is a direction downhill.
OUTSIDE = 1e-3
# A curvature below 0 by more than this share of the largest is negative.
NEGATIVE = 1e-5
# Relative gap to which the tangent problem is solved, and away from stationarity, where it takes longest, the share of
# the tolerance.
SHARP, ROUGH = 1e-7, 0.1
# A better point refutes if it is better by more than this share of F.
REFUTES = {"float64": 1e-6, "float32": 1e-4}


@differentiating
def judge(
    model: Any,
    loss: Any,
    batches: Iterable[Any],
    lam: float,
    *,
    lam_kind: Decay = "l2",
    convex_loss: bool | None = None,
    lower_bound: float = 0.0,
    tangent_solve: bool = False,
    time_limit: float | None = None,
    second: bool = False,
    max_products: int = 600,
    others: Sequence[NetworkVerdict | Pairs] = (),
    factors: Pairs | None = None,
    layers: str | Sequence[str] | None = None,
    adapter: str | None = None,
    dtype: Any = "float64",
    tol: float = 1e-3,
    progress: bool = False,
) -> NetworkVerdict:
    """Say what the trained updates of a network are, from one pass over the data behind one that tries the layers.

    Where they are not stationary, or loud, a second pass without them, forwards only, says whether they are worse than
    none.

    Parameters
    ----------
    model : torch.nn.Module
        With LoRA layers (of PEFT or one's own), or with ``layers`` and ``factors`` given.
    loss : callable
        ``loss(model, batch)`` returns one loss a sample; :class:`CrossEntropy` and :class:`SquareLoss` also show the
        outputs.
    batches : iterable
        The training set in full; it has to bear several passes, with the same samples in each. With
        torch.distributed, the share of this process.
    lam : float
        Weight decay in ``mean loss + (lam/2) sum (||lora_A||^2 + ||lora_B||^2)``.
    lam_kind : {"l2", "decoupled", "none"}
        How the run applied it. Only a penalty in the loss makes the statements of this function apply.
    convex_loss : bool, optional
        Whether the loss is convex in the outputs of the network, which an :class:`OutputLoss` is unless this says that
        it is not. Of another loss nothing is known where this does not say so: there is no gap then, as where it is not
        convex, and nothing is optimal.
    lower_bound : float
        A number below every loss. Where a loss of the data is below it, there is no gap.
    tangent_solve : bool
        Solve the tangent problem too, for the sharp gap; away from stationarity to a tenth of ``tol``. Ctrl-C ends that
        early, and the verdict says what was known then.
    time_limit : float, optional
        Seconds after which the solution of the tangent problem ends, in the same way.
    second : bool
        Search the Hessian of the objective for negative curvature. A product with it takes two to three gradients.
        Ctrl-C ends the search alone.
    max_products : int
        At most so many of them, at least 50; the search ends earlier where it has its answer.
    others : sequence of NetworkVerdict or of factors
        Points of other runs of this network: a better one refutes this one.
    factors : sequence of (A_l, B_l), optional
        The point, ``X_l = A_l B_l^T`` unscaled (``A = lora_B``, ``B = lora_A^T``); by default what the model holds.
    layers, adapter
        See :func:`adapted_layers`.
    dtype : {"float64", "float32"}
        In which the network is evaluated. Gaps below about 1e-3 need float64.
    tol : float
        Relative gap, below 1, up to which a point is called optimal in the tangent problem, or is global.
    progress : bool
        Show a progress line while the data are gone through, the network is linearised, its tangent problem solved and
        its curvature searched.

    Returns
    -------
    NetworkVerdict

    Raises
    ------
    ValueError, TypeError
        See :class:`Network`; for several processes with ``tangent_solve`` or ``second``, and for the latter in float32.

    Notes
    -----
    The first that applies: non-finite; loud (away from stationarity: full rank, ``||X||_2 > ||W||_2`` and a gap above
    0.1); no premise (no penalty in the loss); refuted or else inconclusive, where values of a batch contradict the
    gradient (tried in float64, along random directions, on the first 32 batches and fewer and fewer later ones); not
    converged; rank too small or saddle (``F`` falls to first order along a rank-one direction outside the spaces of the
    updates: rank too small where the layer has no empty column left for it); saddle (negative curvature); refuted;
    global; tangent-optimal. Source: main paper, sections 2 and 5 and Theorem 2; proofs/tangent_certificate.
    """
    lam = as_number(lam, "lam", 0.0)
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)
    as_choice(lam_kind, "lam_kind", DECAYS)
    convex_loss = as_convexity(convex_loss, tangent_solve)
    as_flag(second, "second")
    as_flag(progress, "progress")
    max_products = as_integer(max_products, "max_products", 50)
    if time_limit is not None:
        time_limit = as_number(time_limit, "time_limit", 0.0, open_low=True)
    bound = as_number(lower_bound, "lower_bound")
    network = Network(model, loss, batches, layers=layers, adapter=adapter, dtype=dtype, lower_bound=bound)
    if tangent_solve:
        require_outputs(network)
    elif time_limit is not None:
        raise ValueError(f"time_limit: expected None without tangent_solve=True, got {time_limit:g}")
    if second:
        require_curvature(network)
    rivals = factors_of(others, network)
    point = network.point if factors is None else as_pairs(factors, "factors", network.shapes)
    if point is None:
        raise ValueError(
            "factors: expected the updates (A, B) of the plain layers that are named, got None; leave layers out to "
            "judge the LoRA layers of the model"
        )
    objective = TrainingObjective(network, lam, lam_kind, convex_loss, bound)
    case = _Case(objective, point, tol, progress, time_limit)
    return case.verdict(tangent_solve, max_products if second else None, rivals)


def factors_of(others: Sequence[NetworkVerdict | Pairs], network: Network) -> list[Pairs]:
    """Return the factors of other runs; a point that is not finite is no better one and left out."""
    found: list[Pairs] = []
    for k, one in enumerate(as_iterable(others, "others")):
        if not isinstance(one, (NetworkVerdict, list, tuple)):
            accepted = "a NetworkVerdict, such as the verdict of fine_tune, or a list of factors (A, B), one a layer"
            raise TypeError(f"others[{k}]: expected {accepted}, got {shown(one)}")
        if not isinstance(one, NetworkVerdict):
            found.append(as_finite_pairs(one, f"others[{k}]", network.shapes))
        elif one.certificate is not None:
            found.append(as_finite_pairs(one.factors, f"others[{k}]", network.shapes))
    return found


def require_curvature(network: Network) -> None:
    """Refuse a network whose curvature cannot be searched."""
    if network.precision != "float64":
        raise ValueError("second: expected a network that is evaluated in float64 throughout, got one in float32")
    if processes() > 1:
        raise ValueError("second: the search for negative curvature runs in one process, with all the data")


class _Case:
    """A point of a network, and what follows from one value and one gradient a layer."""

    def __init__(
        self, objective: TrainingObjective, point: Pairs, tol: float, progress: bool, time_limit: float | None
    ) -> None:
        self.objective, self.point, self.tol, self.progress = objective, point, tol, progress
        self.time_limit = time_limit
        self.network, self.lam = objective.network, objective.lam
        self.own_fault: str | None = None
        self.interrupted: list[str] = []

    def verdict(self, tangent_solve: bool, max_products: int | None, rivals: Sequence[Pairs]) -> NetworkVerdict:
        """Collect the evidence and decide."""
        bad = self._non_finite()
        if bad is not None:
            return NetworkVerdict("non_finite", bad, None, self.objective.premises(), self.lam, None)
        f, G, self.own_fault = self.network.tested_value_and_gradients(self.point, progress=self.progress)
        if not math.isfinite(f) or not all(np.isfinite(g).all() for g in G):
            reason = "the loss or its gradient is not finite at the trained weights"
            return NetworkVerdict("non_finite", reason, None, self.objective.premises(), self.lam, None)
        names = [layer.name for layer in self.network.layers]
        found = tangent_certificate(
            f,
            G,
            self.point,
            self.lam,
            names=names,
            lower_bound=self.objective.lower_bound,
            dtype=np.dtype(self.network.precision),
        )
        if self._unbounded:
            found = replace(found, gap=math.inf, relative_gap=math.inf, formula=f"none: {self._unbounded}")
        norms = self._base_norms()
        kind, reason, level = self._first(found, norms, found.relative_gap)
        solved = searched = certificate = None
        best = None
        # What is left to gain is a question of a point that is not stationary too.
        solving = tangent_solve and self.objective.has_penalty and not self._unbounded
        if solving or (not kind and (max_products is not None or rivals)):
            self.network.require_same_data(self.point, f)
        if solving:
            accuracy = SHARP if not kind else ROUGH * self.tol
            solved = self._unless_interrupted("the tangent problem", partial(self._solved, accuracy))
            gap = found.relative_gap if solved is None else min(found.relative_gap, solved.relative_gap)
            kind, reason, level = self._first(found, norms, gap)
        if not kind:
            if max_products is not None and not self._fault:
                search = partial(self._second_order, max_products)
                searched = self._unless_interrupted("the search for negative curvature", search)
            # Where a loss overflows at finite factors the value is NaN, which no comparison leaves out by itself.
            best = min((value for value in map(self._value, rivals) if not math.isnan(value)), default=math.inf)
            certificate = (
                self._certificate() if not self._unbounded and outputs_are_affine(self.network, self.point) else None
            )
            kind, reason, level = self._then(found, solved, searched, best, certificate)
        return NetworkVerdict(
            kind,
            reason,
            level,
            (*self.objective.premises(), *self._how_searched(searched), *self.interrupted),
            self.lam,
            found,
            tuple(norms),
            solved,
            searched,
            certificate,
            best if best is not None and best < found.F else None,
        )

    # ------------------------------------------------------------------ evidence
    def _non_finite(self) -> str | None:
        for layer, (A, B) in zip(self.network.layers, self.point):
            if not (np.isfinite(A).all() and np.isfinite(B).all()):
                return f"the factors of {layer.name} are not finite"
        return None

    @property
    def _rounded(self) -> str:
        """Types below float32 through which the network goes, as far as none was put in their place; empty for none."""
        return ", ".join(name for name in self.network.below if name != "float32")

    @cached_property
    def _fault(self) -> str:
        """Why nothing rests on the numbers of the point; empty if that is so of none of them."""
        if self._rounded:
            return (
                f"parts of the network are computed in {self._rounded}, by casts of its own, and no bound counts that"
            )
        # All processes have to go the same way from here.
        if not self.network.over_processes(np.array([float(self.own_fault is not None)])).any():
            return ""
        return self.own_fault or "the loss contradicts its own gradient, or itself, in another process"

    @cached_property
    def _unbounded(self) -> str:
        """Why there is no lower bound of the objective; empty if there is one."""
        if self._fault or not self.objective.has_bound:
            return self._fault or "the loss is not stated to be convex in the outputs (convex_loss=True)"
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
    def _without_update(self) -> float:
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

    def _unless_interrupted(self, what: str, find: Callable[[], T]) -> T | None:
        """Return what is found, or None and a premise that says so where Ctrl-C ends that before anything is known."""
        try:
            with patience():
                return find()
        except KeyboardInterrupt:
            self.interrupted.append(f"{what} was interrupted, and nothing is known from it")
            return None

    def _solved(self, accuracy: float) -> TangentSolution:
        tangent = tangent_problem(self.network, self.point, progress=self.progress)
        return solve_tangent(
            tangent, self.point, self.lam, accuracy, time_limit=self.time_limit, progress=self.progress
        )

    def _second_order(self, max_products: int) -> SecondOrder:
        return second_order(
            self._problem(), *self._factors(), tol=NEGATIVE, max_products=max_products, progress=self.progress
        )

    def _second_difference(self, direction: tuple[Any, Any]) -> float:
        """Return the curvature of ``L`` along a unit direction ``(U, V)``, from three of its values."""
        pairs = list(zip(*direction))
        size = math.sqrt(sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in self._narrow))
        step = float(np.finfo(np.float64).eps) ** 0.2 * (size or 1.0)

        def value(t: float) -> float:
            moved = [(A + t * U, B + t * V) for (A, B), (U, V) in zip(self._narrow, pairs)]
            squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in moved)
            return self.network.value(moved) + 0.5 * self.lam * squares

        return (value(step) - 2.0 * value(0.0) + value(-step)) / step**2

    def _how_searched(self, searched: SecondOrder | None) -> tuple[str, ...]:
        if searched is None:
            return ()
        why = self.network.differences
        how = "automatic differentiation" if why is None else f"differences of gradients ({why})"
        return (f"Hessian products by {how}",)

    def _value(self, pairs: Pairs) -> float:
        """Return ``F`` of another point on this network and these data."""
        return self._problem().factored_convex_value(*zip(*pairs))

    def _certificate(self) -> Certificate:
        self.network.require_same_data(self.point)
        self.network.convex = True
        # Its values and gradients have the rounding errors of the evaluation.
        self.network.dtype = np.dtype(self.network.precision)
        return certify(self._problem(), self._factors(), self.tol)

    # ------------------------------------------------------------------ decisions
    def _first(
        self, found: TangentCertificate, norms: Sequence[float | None], relative_gap: float
    ) -> tuple[str, str, Known | None]:
        """Return what the numbers of the point decide, and the gap in its tangent problem."""
        squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in self.point)
        size, unit = self.lam * math.sqrt(squares), abs(found.F) or 1.0  # lam ||theta||
        worst = max(found.layers, key=lambda layer: layer.stationarity)
        # What the certificate bounds is not taken back by a gradient: near X = 0 both sides of the ratio vanish. Where
        # nothing is bounded, factors as small as that have come to rest if no direction is worth its penalty.
        done = max(relative_gap, (found.L - found.F) / unit) <= self.tol
        vanished = 0.5 * self.lam * squares <= self.tol * unit and found.dual_norm <= 1.0
        stationary = done or vanished or ratio(worst.stationarity, size) <= STATIONARY
        loud = _loud(found, norms)
        if loud and not (self.objective.has_penalty and stationary):
            known = self.objective.has_penalty and math.isfinite(relative_gap)
            gap = f" and a tangent gap of at most {_percent(relative_gap)} of F" if known else ""
            if not self.objective.has_penalty or relative_gap > LOUD_GAP:
                return "loud", self._how_loud(found, f"{loud}{gap}"), None
        if not self.objective.has_penalty:
            why = "lam = 0" if self.lam == 0.0 else f"the decay is {self.objective.lam_kind!r}, no penalty in the loss"
            return "no_premise", f"no statement about optimality: {why}; the facts follow", None
        if self._fault:
            return "", "", None
        if not stationary:
            known = math.isfinite(relative_gap)
            gap = f"; the tangent gap is at most {at_most(relative_gap, '.2g')} of F" if known else ""
            reason = (
                f"not converged: in {worst.name} the gradient of the objective is "
                f"{ratio(worst.stationarity, size):.2g} of lam ||theta|| (at most {STATIONARY:g}){gap}. "
                f"{self._next(found)}"
            )
            return "not_converged", reason, None
        out = max(found.layers, key=lambda layer: layer.outside)
        if out.outside > 1.0 + OUTSIDE:
            kind, why = (
                ("rank_too_small", f"no column of its {out.max_rank} is left for it: the rank is too small")
                if out.rank == out.max_rank
                else ("saddle", f"its rank is {out.rank} of {out.max_rank}: a saddle with an empty column")
            )
            reason = (
                f"in {out.name} a rank-one direction outside the spaces of the update lowers F at the rate "
                f"||G|| - lam = {(out.outside - 1.0) * self.lam:.3g} to first order; {why}"
            )
            if math.isfinite(relative_gap):
                gained = _percent(relative_gap)
                reason += f". In the network linearised here updates of every rank gain at most {gained} of F"
            return kind, reason + (f". Loud: {loud}" if loud else ""), found.level
        return "", "", None

    def _how_loud(self, found: TangentCertificate, loud: str) -> str:
        """Return whether a loud point failed, or stands on its way."""
        worse = self._worse_than_no_update(found)
        if worse:
            return f"failed loudly: {loud}. {worse}{self._of_another_lam(found)}"
        if self.objective.has_penalty:
            return f"loud so far: {loud}. {self._next(found)}"
        return (
            f"loud: {loud}. f is {found.f:.6g}, and {self._without_update:.6g} without any update; whether it failed "
            "only new data can say"
        )

    def _worse_than_no_update(self, found: TangentCertificate) -> str:
        """Return by what the model without any update is better, and what to do then; empty if it is not."""
        if any(layer.moved_by is not None or layer.magnitude is not None for layer in self.network.layers):
            return ""  # without updates these weights are not the model that was there before
        base = self._without_update
        name, value = ("F", found.F) if self.objective.has_penalty else ("f", found.f)
        # A little above it is a run that has just begun: what it will gain is paid for first.
        if not value - base > LOUD_GAP * abs(base):
            return ""
        above = f"{name} is above the f = {base:.6g} of the model without any update"
        if found.f < base:
            return (
                f"{above}, though f itself is lower: the penalty of these updates is more than they gain. The learning "
                "rate or the start was large, or the run had another penalty than lam (none, a decoupled decay, one on "
                "one factor). Begin again with a smaller learning rate or start, and with lam in the loss, rather than "
                "go on from here"
            )
        return (
            f"{above}: the run diverged, or its start was large. Begin again with a smaller learning rate or start, "
            "rather than go on from here"
        )

    def _next(self, found: TangentCertificate) -> str:
        """Return what to do at a point that is not stationary."""
        steps = "More steps of full-batch training remain"
        dropped = dropout_of(self.network)
        if dropped:
            steps += f", in evaluation mode: with the dropout of training mode ({dropped}) the objective is another"
        elif self.network.off_in_training:
            steps += ", in evaluation mode: in training mode the model computes something else"
        if any(layer.compressed for layer in self.network.layers):
            steps = "More steps with VeLoRA, whose gradient is that of compressed inputs, need not end that"
        if half_frozen(self.network):
            steps = "With one factor frozen, more steps need not end that"
        why = self._worse_than_no_update(found) or self._of_stored_factors(found) or steps
        return why + self._of_another_lam(found)

    def _of_stored_factors(self, found: TangentCertificate) -> str:
        """Return what to do where the precision in which the factors are stored explains the gradient; else empty."""
        kinds = coarse_factors(self.network, self.point)
        if not kinds:
            return ""
        # The same in all processes.
        moved = rounded_at_random(self.network, self.point, np.random.default_rng(0))
        _, G = self.network.value_and_gradients(moved)
        changes = [
            (g @ V + self.lam * U - g0 @ B - self.lam * A, g.T @ U + self.lam * V - g0.T @ A - self.lam * B)
            for g, (U, V), g0, (A, B) in zip(G, moved, found.gradients, self.point)
        ]
        change = joint_norm([part for pair in changes for part in pair])
        if found.grad_norm > ROUNDING * change:
            return ""
        return (
            f"The factors are stored in {kinds}, whose rounding alone makes gradients of {change:.2g}, and this one is "
            f"{found.grad_norm:.2g}: go on with factors in float32 "
            "(PEFT keeps them so unless autocast_adapter_dtype=False)"
        )

    def _of_another_lam(self, found: TangentCertificate) -> str:
        """Return for which other lam the point is nearly stationary; empty if for none, or without a penalty."""
        lam, square = found.lam_hat, sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in self.point)
        if not self.objective.has_penalty or lam == 0.0:
            return ""
        size, given = lam * math.sqrt(square), max(layer.stationarity for layer in found.layers)
        left = max(found.gradient_lengths(lam))
        if left > EXPLAINED * min(size, given):
            return ""
        return (
            f". For lam = {lam:.3g} in place of {self.lam:.3g} the factors are all but stationary (the gradient is "
            f"{left / size:.2g} of lam ||theta||): judge with that if the run had it. A penalty without its 1/2 is "
            "twice the lam, and a decay d beside k times the mean loss (summed, or accumulated without a division) is "
            "lam = d/k"
        )

    def _along_negative_curvature(self, searched: SecondOrder) -> tuple[str, str, Known | None]:
        """Return what a direction of negative curvature decides, held against values."""
        difference = self._second_difference(searched.direction)
        reason = (
            f"a direction of negative curvature {searched.smallest:.3g} was found (the second difference of three "
            f"values of L along it is {difference:.3g})"
        )
        if difference < 0.0:
            return "saddle", f"{reason}: a saddle", Known.CERTIFIED
        return "inconclusive", f"{reason}: the Hessian products contradict the values", None

    def _then(
        self,
        found: TangentCertificate,
        solved: TangentSolution | None,
        searched: SecondOrder | None,
        best: float,
        certificate: Certificate | None,
    ) -> tuple[str, str, Known | None]:
        """Return what further evidence decides about a point that no number of its own decides about."""
        if searched is not None and not searched.is_sosp:
            return self._along_negative_curvature(searched)
        if not self._rounded and found.F - best > REFUTES[self.network.precision] * abs(found.F):
            reason = (
                f"not global: another point has F = {best:.8g}, lower by {at_least(found.F - best, '.3g')}. The "
                f"tangent gap here is at most {at_most(found.relative_gap, '.1e')} of F, which says nothing about "
                "points that far away"
            )
            return "refuted", reason, Known.CERTIFIED
        if certificate is not None and certificate.is_global is not None:
            kind = "global" if certificate.is_global else "refuted"
            return kind, f"the loss is convex in the updates: {certificate.reason}", certificate.level
        if certificate is not None and math.isinf(certificate.gap):
            return "inconclusive", f"the loss contradicts its own gradient: {certificate.reason}", None
        gap, how = found.relative_gap, "one gradient"
        if solved is not None and solved.relative_gap <= gap:  # one that was interrupted may bound less
            gap, how = solved.relative_gap, "the solved tangent problem"
        if self._fault:
            return "inconclusive", self._fault, None
        if self._unbounded:
            return "inconclusive", f"{self._unbounded}: no bound", None
        if gap <= self.tol:
            return "tangent_optimal", _how_near(found, gap, how), found.level
        hint = "" if solved is not None else "; tangent_solve=True gives a sharper number"
        reason = (
            f"stationary, with a tangent gap of at most {at_most(gap, '.2g')} of F (by {how}), a bound above "
            f"{self.tol:g}{hint}"
        )
        return "inconclusive", reason, found.level


def _loud(found: TangentCertificate, norms: Sequence[float | None]) -> str:
    """Return which layer has full rank and an update larger than its weight; empty if none."""
    loud = [
        (layer, ratio(layer.spectral, norm))
        for layer, norm in zip(found.layers, norms)
        if norm is not None and layer.spread > FULL and layer.spectral > norm
    ]
    if not loud:
        return ""
    layer, times = max(loud, key=lambda each: each[1])
    rank = min(layer.max_rank, *layer.shape)
    return (
        f"{layer.name} has full rank {rank} and ||X||_2 = {times:.2g} ||W||_2 ({len(loud)} of "
        f"{len(found.layers)} layers)"
    )


def _how_near(found: TangentCertificate, gap: float, how: str) -> str:
    """Return what a small gap says of a stationary point, and what it does not say."""
    reason = (
        f"within {_percent(gap)} of the optimum of the network linearised at its own trained weights, over updates of "
        f"every rank (by {how}). To first order neither more rank nor more steps gain more; another start might. This "
        "bounds neither the network's global optimum nor its error on new data"
    )
    empty = not any(layer.rank for layer in found.layers)
    if empty and found.dual_norm == 0.0:
        return (
            f"{reason}. The updates are empty, and no gradient comes to any of these layers: to first order the "
            "loss does not depend on them here (units of a ReLU that are off, a head of zeros?)"
        )
    if empty:
        return (
            f"{reason}. The updates are empty: near this model nothing is worth its penalty for a lam above "
            f"{found.dual_norm * found.lam:.3g}"
        )
    if found.dual_norm < 1.0 - STATIONARY:
        return (
            f"{reason}. ||G||_2 is at most {at_most(found.dual_norm, '.2g')} of lam in every layer: the updates "
            "are not worth their penalty here, and F falls as they shrink"
        )
    return reason


def _percent(share: float) -> str:
    return f"{float(at_most(100.0 * share, '.2g')):.3g} %"  # 100 %, not 1e+02 %
