"""The network linearised at any updates: in token form, from K - 1 backward passes a batch, or by its derivatives.

The token form is kept and then costs no pass through the network, but it needs one row of outputs a sample. The
derivatives take outputs of any shape, as those of a language model, and three backward passes for each evaluation.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.time_limit import is_over
from .._support.validate import Array, as_instance, as_number
from ..linear_map import LinearMap
from ..objectives import POWER_STEPS
from ..objectives.base import Rounding, allowance
from ..problem.blocks import MultiObjective
from ..problem.pairs import Matrices, Pairs, as_finite_pairs, joint_inner, joint_norm
from ._collected import AGREEMENT, Collected, NoTokenForm, require_agreement
from ._derivatives import Derivatives, curvature, saved_bytes
from ._passes import in_turn
from ._torch import backward, processes, require_torch, twice_differentiable
from .gradients import Network
from .losses import CrossEntropy, OutputLoss, SquareLoss, as_outputs
from .token_ntk import TokenNTK, solve_tangent

# Bytes that the tokens may take, or what backward passes need of forward ones.
MEMORY = 2e9
# A power iteration whose value grows by less than this share is over: the curvature only begins the solver's own.
GROWN = 1e-2


def linearize(network: Network, factors: Pairs, memory: float = MEMORY, *, progress: bool = False) -> TokenNTK:
    """Return the network linearised at the updates ``A_l B_l^T`` in token form, with the same value and gradient there.

    Parameters
    ----------
    network : Network
        With an :class:`OutputLoss`, whose outputs are seen one by one.
    factors : sequence of (A_l, B_l)
        The point of linearisation.
    memory : float
        Bytes that the tokens may take, about ``8 T ((K - 1) m + n)`` a layer for T tokens and K classes.
    progress : bool
        Show a progress line.

    Raises
    ------
    ValueError
        For another loss, more tokens than that, several processes, samples that interact (batch norm), DoRA,
        parameters without a layer of their own (experts), layers whose first axis is not that of the samples, outputs
        that are no matrix with one row a sample (those of a language model: :class:`LinearizedNetwork`), and parts that
        are computed again in the backward pass by torch's reentrant checkpointing.
    """
    loss = require_outputs(as_instance(network, "network", Network))
    factors = as_finite_pairs(factors, "factors", network.shapes)
    normalized = [layer.name for layer in network.layers if layer.magnitude is not None]
    if normalized:
        raise NoTokenForm(f"model: {normalized[0]} uses DoRA, so that its outputs are not linear in its update")
    stacked = [layer.name for layer in network.layers if layer.within]
    if stacked:
        raise NoTokenForm(f"model: {stacked[0]} is a parameter that no layer of its own multiplies")
    # What a subclass makes of its outputs is its own.
    if loss.kind is None or type(loss).of_outputs not in (CrossEntropy.of_outputs, SquareLoss.of_outputs):
        raise NoTokenForm(
            f"loss: expected CrossEntropy or SquareLoss, whose token form is known, got {type(loss).__name__}; "
            "LinearizedNetwork(network, factors) takes others"
        )
    memory = as_number(memory, "memory", 0.0)
    collected = Collected(network, memory)
    leaves = [weight.requires_grad_() for weight in network.weights(factors)]
    with network.evaluating(network.with_weights(leaves)):
        for batch in in_turn(network.moved_batches(), network.batches, "linearised", progress):
            try:
                collected.add(batch, loss, leaves)
            except RuntimeError as error:
                why = str(error).strip().splitlines()[0]
                raise NoTokenForm(f"model: its outputs have no derivatives in those of its layers: {why}") from error
    ntk = collected.linear_part(loss.kind)
    ntk = ntk.tangent_at(factors, np.concatenate(collected.outputs))
    require_agreement(network, ntk, factors, collected)
    return ntk


def tangent_problem(network: Network, factors: Pairs, *, progress: bool = False) -> TokenNTK | LinearizedNetwork:
    """Return the network linearised, in token form where it has one that memory allows, else by its derivatives."""
    loss = require_outputs(network)
    with require_torch().no_grad(), network.evaluating(network.tensors(network.zeros())):
        outputs = as_outputs(loss.outputs(network.model, next(network.moved_batches())))
    if outputs.ndim <= 2:
        with contextlib.suppress(NoTokenForm):
            return linearize(network, factors, MEMORY, progress=progress)
    return LinearizedNetwork(network, factors, progress=progress)


def require_outputs(network: Network) -> OutputLoss:
    """Return the loss of a network whose outputs can be seen; others are refused, and data shared among processes."""
    loss = network.loss_of_samples
    if not isinstance(loss, OutputLoss):
        raise ValueError(
            "loss: the tangent problem needs the outputs: use networks.CrossEntropy, SquareLoss, or for another loss "
            "that is convex in them a class of networks.OutputLoss with its of_outputs(z, targets)"
        )
    if processes() > 1:
        raise ValueError("tangent_solve: runs in one process, and the data are shared among several")
    return loss


class LinearizedNetwork(MultiObjective):
    """The mean loss of a network linearised at updates, ``z(X^) + Dz(X^)[X - X^]``, by derivatives of the network.

    For outputs of any shape, as the logits of a language model, which is linearised in all its tokens jointly: no
    Jacobian and no tokens are kept. An evaluation takes one forward and three backward passes, about the time of two
    gradients of the network, and more memory. What the backward passes need of the forward one, which is always the
    same, is kept where it takes less than ``MEMORY`` bytes for all data; then two of them are left.

    Parameters
    ----------
    network : Network
        With an :class:`OutputLoss`, in one process.
    factors : sequence of (A_l, B_l)
        The point of linearisation ``X^``, where value and gradient are those of the network.
    progress : bool
        Show a progress line while the network is linearised.

    Raises
    ------
    ValueError
        For another loss, several processes, and where torch has no derivative along a direction or a wrong one.

    Notes
    -----
    The product ``Dz[D]`` is the derivative of ``<Dz^T u, D>`` in ``u``, and so a second backward pass through the
    first.
    """

    convex = True
    # Where the loss is known to be convex, and nothing is asked of the network any more.
    by_formula = False
    # Made of the rest, and not to be copied.
    not_data = (*MultiObjective.not_data, "_kept", "_kept_for")

    def __init__(self, network: Network, factors: Pairs, *, progress: bool = False) -> None:
        self.loss = require_outputs(as_instance(network, "network", Network))
        self.network, self.shapes = network, network.shapes
        # The losses of the network may all be above what those of other outputs are.
        self.lower_bound = min(network.facts.lower_bound or 0.0, 0.0)
        factors = as_finite_pairs(factors, "factors", self.shapes)
        self.point = [A @ B.T for A, B in factors]
        self._leaves = [weight.requires_grad_() for weight in network.weights(factors)]
        self._kept: list[tuple[Any, Derivatives]] = []
        self._kept_for: list[tuple[int, int]] = []
        if self._require_adjoint(progress) <= MEMORY:
            self._kept_for = self._versions()
            self._kept = list(in_turn(self._derivatives(), network.batches, "linearised", progress))
            self.by_formula = type(self.loss) in (CrossEntropy, SquareLoss)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is kept: a copy passes through the network again."""
        return {**vars(self), "_kept": [], "by_formula": False}

    @property
    def precision(self) -> str:
        """That of the network."""
        return self.network.precision

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return ``f`` and its gradient in each update."""
        return self._pass(X)[:2]

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian times ``D``: the derivatives of the outputs are constant.

        That of the loss is exact, or a difference of its gradients where torch has no second derivative of it.
        """
        return self._pass(X, self.network.steps(self.network.as_updates(D, "D")))[1]

    def oracle_and_operators(self, factors: Pairs) -> tuple[float, Pairs, tuple[LinearMap, ...]]:
        """Return ``f``, the products ``G_l B_l`` and ``G_l^T A_l``, and the gradients, from one pass."""
        f, G = self.value_and_grad([A @ B.T for A, B in factors])
        return f, [(g @ B, g.T @ A) for g, (A, B) in zip(G, factors)], tuple(map(LinearMap.from_dense, G))

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Return the sizes of the rounding errors in ``f``: of its own size, and of losses that cancel in the mean."""
        if type(self.loss) in (CrossEntropy, SquareLoss):  # losses >= 0
            return super().rounding_noise(factors)
        passes = [self._pass([A @ B.T for A, B in pairs]) for pairs in (self.zeros(), factors)]
        below = max(0.0, *(-least for _, _, least in passes))
        return Rounding(allowance(self.precision) * (abs(passes[0][0]) + 2.0 * below), 0.0)

    def sampled_smoothness(self, factors: Pairs) -> float:
        """Estimate the largest Hessian eigenvalue by power iteration until it hardly grows (SAMPLED: a lower bound)."""
        rng = np.random.default_rng(0)
        X = [A @ B.T for A, B in factors]
        D: Matrices = [rng.standard_normal(shape) for shape in self.shapes]
        value = 0.0
        for _ in range(POWER_STEPS):
            length = joint_norm(D)
            if length == 0.0:
                break
            D = [d / length for d in D]
            H = self.hessian_product(X, D)
            last, value = value, joint_inner(D, H)
            if value - last <= GROWN * value or is_over():
                break
            D = H
        return value

    def _pass(self, X: Matrices, along: Sequence[Any] | None = None) -> tuple[float, tuple[Array, ...], float]:
        """Return ``f``, its gradients, or with steps of the weights its Hessian times these, and the least loss."""
        network = self.network
        step = network.steps([x - point for x, point in zip(network.as_updates(X, "X"), self.point)])
        sums = [np.zeros(shape) for shape in self.shapes]
        total = np.zeros(2)
        least = math.inf
        for batch, at in self._derivatives():
            z = (at.z.detach() + at.ahead(step)).requires_grad_()
            targets = self.loss.targets(batch)
            losses = self.loss.of_outputs(z, targets)
            if along is None:
                (w,) = backward(losses.sum(), [z])
            else:
                w = curvature(self.loss, z, targets, at.ahead(along))
            total += float(losses.detach().double().sum()), len(losses)
            least = min(least, float(losses.detach().min()) if len(losses) else math.inf)
            for layer, part, so_far in zip(network.layers, at.back(w), sums):
                if part is not None:
                    so_far += layer.as_matrix(part.double().cpu().numpy())
        means = tuple(layer.scale * part / total[1] for layer, part in zip(network.layers, sums))
        return float(total[0] / total[1]), means, least

    def _derivatives(self) -> Iterator[tuple[Any, Derivatives]]:
        """Yield each batch with the derivatives of its outputs at the point."""
        network = self.network
        if self._kept_for != self._versions():
            self._kept, self.by_formula = [], False
        with network.evaluating(network.with_weights(self._leaves)), twice_differentiable():
            if self._kept:
                yield from self._kept
                return
            for batch in network.moved_batches():
                yield batch, Derivatives(self.loss.outputs(network.model, batch), self._leaves)

    def _versions(self) -> list[tuple[int, int]]:
        """Return what changes with the model's numbers: where it was trained on, backward passes do not go back."""
        model = self.network.model
        return [(number.data_ptr(), number._version) for number in (*model.parameters(), *model.buffers())]

    def _require_adjoint(self, progress: bool) -> int:
        """Refuse a network of which ``<w, Dz[D]>`` and ``<Dz^T w, D>`` differ for random ``w`` and ``D``.

        Returns the bytes that all batches save for their backward passes.
        """
        try:
            off, saved = self._most_off(progress)
        except RuntimeError as error:
            why = str(error).strip().splitlines()[0]
            raise ValueError(f"model: its outputs have no derivative along a step of the weights: {why}") from error
        if off > AGREEMENT[self.precision]:
            raise ValueError(
                f"model: the derivatives of its outputs forwards and backwards differ by {off:.1e}, relatively (a part "
                "that is differentiated by hand?)"
            )
        return saved

    def _most_off(self, progress: bool) -> tuple[float, int]:
        """Return the largest difference of the two in a batch, of their usual size, and the bytes saved by all."""
        torch = require_torch()
        rng = np.random.default_rng()  # a verdict rests on it
        steps = self.network.steps([rng.standard_normal(shape) for shape in self.shapes])
        # Where the outputs do not depend on the weights, as of DoRA with one input, both are rounding errors.
        shares = (float(step.norm() / (leaf.detach().norm() or 1.0)) for step, leaf in zip(steps, self._leaves))
        rounding = allowance(self.precision) * math.hypot(*shares)
        most, saved = 0.0, 0
        with saved_bytes() as storages:
            for _, at in in_turn(self._derivatives(), self.network.batches, "linearised", progress):
                w = torch.as_tensor(rng.standard_normal(at.z.shape), dtype=at.z.dtype, device=at.z.device)
                dz = at.ahead(steps)
                slopes = [
                    (g, step, layer.scale)
                    for g, step, layer in zip(at.back(w), steps, self.network.layers)
                    if g is not None
                ]
                by_slopes = sum(float((g * step).sum()) for g, step, _ in slopes)
                usual = math.hypot(float(dz.norm()), *(scale * float(g.norm()) for g, _, scale in slopes))
                off = abs(float((w * dz).sum()) - by_slopes) - rounding * float(at.z.detach().norm())
                most = max(most, off / usual if usual > 0.0 else 0.0)
                saved += sum(storages.values())
                storages.clear()
        return most, saved


@dataclass(frozen=True)
class Linearity:
    """How far the linearisation at the base weights predicts the network: a measure, not a verdict.

    Attributes
    ----------
    index : float
        ``(f(X_lin) - f_lin(X_lin)) / (f(0) - f_lin(X_lin))`` with ``X_lin`` the certified optimum of the network
        linearised at ``X = 0``. Near 0 in the regime where the linearisation holds; from 1 on a step to ``X_lin``
        makes the network no better than its base. 0 for ``X_lin = 0``, where there is nothing to compare.
    f_base, f_linear, f_network : float
        ``f(0)``, ``f_lin(X_lin)`` and ``f(X_lin)``.
    F, relative_gap : float
        The optimum of the linearised problem, and how well it is known.
    ranks : tuple of int
        Of ``X_lin``.
    """

    index: float
    f_base: float
    f_linear: float
    f_network: float
    F: float
    relative_gap: float
    ranks: tuple[int, ...]

    def __str__(self) -> str:
        if not any(self.ranks):
            return (
                "linearity index: nothing to compare, at this lam the optimum of the linearised network is X = 0 "
                f"(f is {self.f_base:.4g})"
            )
        return (
            f"linearity index {self.index:.2f} (0: the network follows its linearisation at the base weights; from 1 "
            f"on it does not): at its optimum f is {self.f_linear:.4g} linearised and {self.f_network:.4g} in the "
            f"network, {self.f_base:.4g} at the base"
        )


def linearity(network: Network, lam: float, tol: float = 1e-7) -> Linearity:
    """Solve the network linearised at its base weights, and measure what the real one does at that optimum.

    Parameters
    ----------
    network : Network
        With an :class:`OutputLoss`.
    lam : float
        Weight decay, > 0.
    tol : float
        Relative gap of the convex solution.

    Raises
    ------
    ValueError, TypeError
        For numbers out of range, and a network whose loss is no :class:`OutputLoss`.
    """
    lam, tol = (as_number(value, name, 0.0, open_low=True) for value, name in ((lam, "lam"), (tol, "tol")))
    base = as_instance(network, "network", Network).zeros()
    solution = solve_tangent(ntk := tangent_problem(network, base), base, lam, tol)
    factors = list(zip(solution.A, solution.B))
    f_base, f_linear, f_network = network.value(base), ntk.factor_value(factors), network.value(factors)
    # Of each the gain from 0 by its own values: where both gain nothing, their values differ by rounding.
    gained = solution.F - f_linear
    return Linearity(
        index=1.0 - (f_base - f_network) / gained if gained > 0.0 else 0.0,
        f_base=f_base,
        f_linear=f_linear,
        f_network=f_network,
        F=solution.value,
        relative_gap=solution.own_gap,
        ranks=solution.ranks,
    )
