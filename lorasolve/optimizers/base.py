"""What an optimizer is: frozen settings, a state, and one update per oracle call.

The library owns the loop (``lorasolve/loop.py``). Each turn it evaluates the optimizer's ``state.trial``, hands
value and gradient to ``update``, and the optimizer decides whether that point is accepted and which point is
evaluated next. A rejected line-search trial is simply an oracle call that was not accepted. Methods that own
their loop (SciPy's, L-BFGS) derive from :class:`DrivenOptimizer` and call back into the same accounting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from .._support.time_limit import is_over
from .._support.validate import Array, shown
from ..dense import frobenius_norm
from ..problem import Problem
from ..problem.natural_units import natural_start, own_lengths
from ..singular_triplets import POWER_STEPS, spectral_norm_estimate
from ..status import Status

# A change below this share of |L| is none. Losses through Gram matrices cancel, which costs two or three digits beyond
# the type's own rounding.
ROUNDING = 1e-12

# The first step of methods that own their loop, as a share of the parameters' length: far ones lead to other basins.
FIRST_STEP = 0.1


@dataclass
class State:
    """The working state of an optimizer.

    Attributes
    ----------
    theta : ndarray
        The last accepted point: the trial that was evaluated. Another one, as an average, is evaluated by the loop.
    trial : ndarray
        The point to be evaluated next.
    accepted : bool
        Whether the point evaluated last was accepted.
    step : float
        The step size in use (NaN where there is none).
    step_factor : float
        The schedule's factor on the step size, set by the loop before each update.
    ended : Status or None
        Set by an optimizer that has no further trial, with the reason, as ``Status.STALLED``: it ends the run. Whether
        it has converged the stopping rule says.
    """

    theta: Array
    trial: Array
    accepted: bool = True
    step: float = float("nan")
    step_factor: float = 1.0
    ended: Status | None = None


class Limits(NamedTuple):
    """What the loop wants decided by itself, for :meth:`Optimizer.fast_forward`.

    Attributes
    ----------
    steps : int
        Most iterations to accept.
    history : (int, float, int)
        Iterations so far, the best value and its iteration.
    rules : (float, float, float, int, int)
        The rules of :func:`lorasolve.kernels.stopping_rules.decide`; an iterate that ends the run is left to the loop.
    """

    steps: int
    history: tuple[int, float, int]
    rules: tuple[float, float, float, int, int]

    def after(self, values: Array) -> Limits:
        """Return what is left of them after iterations with these values."""
        return self._replace(steps=self.steps - values.size, history=history_after(self.history, values))


def history_after(history: tuple[int, float, int], values: Array) -> tuple[int, float, int]:
    """Return a history, as in :class:`Limits`, after further iterations with these values."""
    nit, best, best_at = history
    lowest = int(np.argmin(values)) if values.size else 0
    if values.size and values[lowest] < best:
        best, best_at = float(values[lowest]), nit + 1 + lowest
    return nit + values.size, best, best_at


@dataclass(frozen=True)
class Optimizer:
    """Base class of all optimizers: settings only.

    Attributes
    ----------
    stochastic : bool
        Whether ``evaluate`` answers for a random part of the objective.
    takes_step_factor : bool
        Whether the method multiplies its step by ``state.step_factor``; one that does not say so is refused together
        with a schedule that scales steps.
    takes_prox : bool
        Whether the method applies the proximal map of adapters that have one.
    keeps_stationary_points : bool
        Whether a stationary point of ``L`` is a fixed point.
    may_stall : bool
        Whether a best value that stays the same for long says that the run has reached its precision.
    stall_hint : str
        What to try when a run of this method stalls.
    limit_hint : tuple of str
        Methods to try when a run of this method reaches its iteration limit. Named where they can run and end where
        this one would: at a stationary point of ``L``.
    default_max_iter, default_grad_tol : int, float
        The stopping rule of a run that is given none.
    own_aim : str
        What it minimises in words, if that is not ``L``; :meth:`residual` then says how far it is from its own fixed
        points.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    stochastic: ClassVar[bool] = False
    takes_step_factor: ClassVar[bool] = False
    takes_prox: ClassVar[bool] = False
    keeps_stationary_points: ClassVar[bool] = True
    stall_hint: ClassVar[str] = ""
    limit_hint: ClassVar[tuple[str, ...]] = ("lbfgs", "gd_backtracking")
    may_stall: ClassVar[bool] = True
    default_max_iter: ClassVar[int] = 10_000
    default_grad_tol: ClassVar[float] = 1e-8
    own_aim: ClassVar[str] = ""

    @classmethod
    def showcase(cls, problem: Problem) -> str | None:
        """Return the method, as text, that shows this optimizer best on a problem; None to be shown by others only."""
        return cls.name

    def refusal(self, problem: Problem) -> str | None:
        """Return why this method cannot work with a problem, or None if it can."""
        return None

    def stage_refusal(self) -> str | None:
        """Return why a schedule cannot cut its runs into stages, which each start it anew, or None if one can."""
        return None

    def residual(self, problem: Problem, theta: Array) -> float:
        """Return how far ``theta`` is from the method's fixed points, 0 exactly there: ``||grad L||_2``."""
        grad = np.empty_like(theta)
        problem.value_and_grad(theta, grad)
        return problem.stationarity(theta, grad)

    def last_value_and_grad(self, problem: Problem, theta: Array, grad: Array) -> float:
        """Write the gradient of ``L`` at the end of a run and return its value, exactly."""
        return problem.value_and_grad(theta, grad)

    def is_monotone(self, problem: Problem) -> bool:
        """Return whether ``L`` never rises from one accepted point to the next."""
        return False

    def default_step(self, problem: Problem, theta: Array) -> float:
        """Return a step size at which this method is stable near ``theta``."""
        return safe_step(problem, theta)

    def constant_step(self, problem: Problem, theta: Array) -> float:
        """Return the step size to advise where a longer one, never changed, has diverged from ``theta``.

        Half of the derived one: what is never changed has to suit the factors that have grown on the way too.
        """
        return 0.5 * self.default_step(problem, theta)

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> Any:
        """Return the state that evaluates ``theta`` first."""
        return State(theta.copy(), theta.copy())

    def evaluate(self, problem: Problem, state: Any, grad: Array) -> float:
        """Evaluate ``state.trial``: write the gradient into ``grad``, return the value (one oracle call)."""
        return problem.value_and_grad(state.trial, grad)

    def update(self, problem: Problem, state: Any, value: float, grad: Array) -> None:
        """Take value and gradient at ``state.trial``, accept it or not, and set the next trial."""
        raise TypeError(f"{type(self).__name__} does not define update(problem, state, value, grad)")

    def runs_compiled(self, problem: Problem) -> bool:
        """Return whether :meth:`fast_forward` takes the iterations of an unattended run."""
        return False

    def batched_step(self, problem: Problem) -> float | None:
        """Return the constant step if this is plain gradient descent, which many runs can take together, else None."""
        return None

    def fast_forward(self, problem: Problem, state: Any, limits: Limits) -> tuple[Array, Array, bool] | None:
        """Accept ordinary iterations in one compiled call; return their values, gradient norms, and what comes next.

        It stops before the first trial at which anything but a plain step is to be decided (a stopping rule, a
        rejection, a new step size, a non-finite value), and says True: the loop evaluates that trial again. None where
        there is no such route.
        """
        return None


ValueAndGrad = Callable[[Array], tuple[float, Array]]


class Oracle(Protocol):
    """What a method that owns its loop may ask; each call is counted and can end the run by an exception."""

    problem: Problem

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient of ``L`` at ``theta``."""

    def hessian_product(self, theta: Array, direction: Array) -> Array:
        """Return the Hessian of ``L`` at ``theta`` times a direction (adapters with ``X = s A B^T``)."""


@dataclass(frozen=True)
class DrivenOptimizer(Optimizer):
    """Base class of methods that own their loop and call the oracle themselves.

    When such a loop gives up, which happens where changes of ``L`` drown in rounding, it is started again there
    with its change since, as long as that makes the gradient smaller. Changes that are no more than rounding of ``L``
    are read from the gradients (trapezoidal rule, exact to second order).

    Such loops have constants of their own (a first step or trust radius of 1). So they work in the problem's units: on
    ``z = theta/size`` and ``L/(g size^2)``, with ``g`` the slope of the problem and ``size`` a tenth of the length of
    the start, or of the natural one if that is larger. Each of several matrices of a convex loss has units of its own:
    its factors are measured in ``sqrt(g/g_l) size``, where its curvature is about that of the others. (Five losses of
    linear fine-tuning with slopes up to ten times as large: L-BFGS to the end takes 0.38 to 0.92 of the calls.)
    """

    def descend(
        self,
        function: ValueAndGrad,
        z: Array,
        product: Callable[[Array, Array], Array],
        accept: Callable[[Array], None],
    ) -> Array:
        """Minimise ``function`` from ``z`` until the loop gives up, and return the last iterate.

        ``product(z, direction)`` multiplies by the Hessian. ``accept(z)`` announces each iterate, and ends the run by
        an exception when a rule says so.
        """
        raise TypeError(f"{type(self).__name__} does not define descend(function, z, product, accept)")

    def minimize(self, theta: Array, oracle: Oracle, accept: Callable[[Array], None]) -> None:
        """Run on ``L``, then on its changes until the gradient no longer shrinks."""
        scaled = _Scaled(oracle, theta)
        z = self._descended(scaled, theta / scaled.lengths, scaled, accept)
        least = np.inf
        while True:
            value, grad = scaled(z)
            if float(np.linalg.norm(grad)) >= least:
                return
            least = float(np.linalg.norm(grad))
            z = self._descended(scaled.changes(z, value, grad), z, scaled, accept)

    def _descended(self, function: ValueAndGrad, z: Array, scaled: _Scaled, accept: Callable[[Array], None]) -> Array:
        end = self.descend(function, z, scaled.product, lambda z: accept(scaled.theta(z)))
        if not isinstance(end, np.ndarray) or end.shape != z.shape:
            name = f"optimizer: what {type(self).__name__}.descend returns"
            raise TypeError(f"{name}: expected the last iterate, a vector of {z.size}, got {shown(end)}")
        return end


class _Scaled:
    """``L/(g size^2)`` as a function of ``z = theta/lengths``; frozen parameters stay what they are, to the last bit.

    ``lengths`` is ``size``, for several matrices a multiple of it for each; the gradient is measured in ``forces``.
    """

    def __init__(self, oracle: Oracle, start: Array) -> None:
        problem = oracle.problem
        self.oracle = oracle
        self.start = start
        self.frozen = None if problem.trainable is None else ~problem.trainable
        size = FIRST_STEP * max(float(np.linalg.norm(start)), natural_start(problem)) or 1.0
        slope = problem.units.slope or _slope_at(problem, start)
        each = own_lengths(problem)
        self.lengths, self.forces, self.unit = size * each, slope * size / each, slope * size**2
        self.largest = 0.0

    def theta(self, z: Array) -> Array:
        try:
            theta = self.lengths * z
        except TypeError as error:  # of what no arithmetic takes; asking every point would cost every call
            raise TypeError(f"z: expected a vector of {self.start.size} numbers, got {shown(z)}") from error
        if self.frozen is not None:
            theta[self.frozen] = self.start[self.frozen]
        return theta

    def __call__(self, z: Array) -> tuple[float, Array]:
        value, grad = self.oracle(self.theta(z))
        value /= self.unit
        if np.isfinite(value):
            self.largest = max(self.largest, abs(value))
        return value, grad / self.forces

    def product(self, z: Array, direction: Array) -> Array:
        return self.oracle.hessian_product(self.theta(z), self.lengths * direction) / self.forces

    def changes(self, origin: Array, value: float, grad: Array) -> ValueAndGrad:
        """Return the change of the function since ``origin``, where it has a value and a gradient."""
        noise = max(ROUNDING, 100.0 * float(np.finfo(self.oracle.problem.loss.precision).eps))

        def change(z: Array) -> tuple[float, Array]:
            new_value, new_grad = self(z)
            if abs(new_value - value) > noise * self.largest:
                return new_value - value, new_grad
            return 0.5 * float(np.vdot(grad + new_grad, z - origin)), new_grad

        return change


def _slope_at(problem: Problem, theta: Array) -> float:
    """Return ``||grad L||/||theta||``, for where the gradient at ``X = 0`` is 0 or none; 1 if it says nothing."""
    grad = np.empty_like(theta)
    problem.value_and_grad(theta, grad)
    slope = frobenius_norm(grad) / (float(np.linalg.norm(theta)) or 1.0)
    return slope if 0.0 < slope < math.inf else 1.0


def inexact_gradient_refusal(problem: Problem) -> str | None:
    """Return why a method that compares values along its steps cannot run, or None if it can."""
    if problem.adapter.exact_gradient:
        return None
    return (
        f"it compares values along its steps, and the direction that this {problem.adapter.name!r} answers with is not "
        "the gradient of its value (detached norm); use the exact gradient, or 'gd' or 'adam'"
    )


def factors_refusal(problem: Problem) -> str | None:
    """Return why a method that is made for the factors of one update ``s A B^T`` cannot run, or None if it can."""
    return problem.one_matrix_refusal() or problem.low_rank_refusal()


def both_factors_refusal(problem: Problem) -> str | None:
    """Return why such a method cannot run that moves both factors together, or None if it can."""
    refused = factors_refusal(problem)
    if refused is None and problem.trainable is not None:
        return "it moves both factors together; a frozen factor makes no sense"
    return refused


def curvature_bound(problem: Problem, theta: Array, smoothness: float) -> float:
    """Bound the largest Hessian eigenvalue of ``L`` at a point, for adapters with ``X = s A B^T``.

    ``beta s^2 (||A||_2^2 + ||B||_2^2) + s ||G||_2 + lam``: gradient descent with its inverse as step decreases
    ``L`` as long as the bound holds along the step (proofs/descent_lemma). With one factor frozen only the term
    of that factor and ``lam`` remain, and the bound holds everywhere. For several matrices it is the largest of the
    blocks': ``f`` sees a direction through ``U_l B_l^T + A_l V_l^T``, whose squared lengths add.
    """
    theta = theta.astype(np.float64, copy=False)
    s = problem.scale
    trained = np.ones(theta.size, dtype=bool) if problem.trainable is None else problem.trainable
    bounds = []
    gradients = problem.gradient_operators(theta)
    for (A, B), (on_A, on_B), G in zip(problem.split_blocks(theta), problem.split_blocks(trained), gradients):
        bound = 0.0
        if on_A.any():
            bound += smoothness * s * s * float(np.linalg.norm(B.T @ B, 2))
        if on_B.any():
            bound += smoothness * s * s * float(np.linalg.norm(A.T @ A, 2))
        if on_A.any() and on_B.any():
            bound += s * spectral_norm_estimate(G)
        bounds.append(bound)
    return problem.lam + max(bounds)


def sampled_curvature(problem: Problem, theta: Array) -> float:
    """Estimate the largest Hessian eigenvalue of ``L`` in magnitude by power iteration on gradient differences."""
    direction = np.random.default_rng(0).standard_normal(theta.size)
    if problem.trainable is not None:
        direction[~problem.trainable] = 0.0
    plus, minus = np.empty_like(theta), np.empty_like(theta)
    h = max(1e-5, float(np.finfo(theta.dtype).eps) ** (1 / 3)) * (float(np.linalg.norm(theta)) or 1.0)
    value = 0.0
    for _ in range(POWER_STEPS):
        direction /= float(np.linalg.norm(direction)) or 1.0
        step = (h * direction).astype(theta.dtype)
        problem.value_and_grad(theta + step, plus)
        problem.value_and_grad(theta - step, minus)
        change = (plus - minus) / (2.0 * h)
        value = float(np.linalg.norm(change))
        if is_over():
            break
        direction = change
    return value


def safe_step(problem: Problem, theta: Array) -> float:
    """Return a step size for gradient descent at ``theta``: the inverse of a curvature bound.

    Where the adapter is ``s A B^T`` it comes from the bound at the point, which the descent lemma needs along the
    whole step (proved with 9/4 times the factor terms, proofs/descent_lemma), with ``||G||_2`` estimated from below:
    so callers still watch that ``L`` falls. Otherwise from sampled curvature with a safety factor 2.
    """
    if not problem.adapter.low_rank:
        return 0.5 * inverse_curvature(sampled_curvature(problem, theta))
    return inverse_curvature(curvature_bound(problem, theta, smoothness_near(problem, theta)))


def inverse_curvature(bound: float) -> float:
    """Return a step for a bound on the curvature: its inverse, or 1 where ``L`` is flat."""
    return 1.0 / bound if bound > 0.0 else 1.0


def smoothness_near(problem: Problem, theta: Array) -> float:
    """Return the stated smoothness constant of ``f``, or twice the curvature sampled at ``theta``.

    It is infinite where ``L`` is no finite number, as from a start too far away: the run that begins there says so.
    """
    stated = problem.objective.facts.smoothness
    if stated is not None:
        return stated
    grad = np.empty_like(theta)
    if not (math.isfinite(problem.value_and_grad(theta, grad)) and np.isfinite(grad).all()):
        return math.inf
    return 2.0 * problem.sampled_smoothness(theta)
