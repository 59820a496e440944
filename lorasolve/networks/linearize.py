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
from ..objectives import POWER_STEPS, output_losses
from ..problem.blocks import Matrices, MultiObjective, Pairs, as_finite_pairs, joint_inner, joint_norm
from ._passes import in_turn
from ._torch import backward, processes, require_torch, twice_differentiable
from .gradients import Network
from .losses import NO_LABEL, CrossEntropy, OutputLoss, SquareLoss, as_classified, as_outputs, as_regressed
from .token_ntk import LayerTokens, TokenNTK, solve_tangent

# Bytes that the tokens may take, or what backward passes need of forward ones.
MEMORY = 2e9
# Relative difference between the gradients of the network and of its linearisation that rounding explains, and between
# derivatives along a direction and those backwards.
AGREEMENT = {"float64": 1e-8, "float32": 1e-3}
# A power iteration whose value grows by less than this share is over: the curvature only begins the solver's own.
GROWN = 1e-2


class NoTokenForm(ValueError):
    """A network has no token form, or one that takes more memory than it may."""


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
        For another loss, more tokens than that, several processes, samples that interact (batch norm), DoRA, layers
        whose first axis is not that of the samples, and outputs that are no matrix with one row a sample (those of a
        language model: :class:`LinearizedNetwork`).
    """
    loss = require_outputs(as_instance(network, "network", Network))
    factors = as_finite_pairs(factors, "factors", network.shapes)
    normalized = [layer.name for layer in network.layers if layer.magnitude is not None]
    if normalized:
        raise NoTokenForm(f"model: {normalized[0]} uses DoRA, so that its outputs are not linear in its update")
    if loss.kind is None:
        raise NoTokenForm(
            f"loss: expected CrossEntropy or SquareLoss, whose token form is known, got {type(loss).__name__}; "
            "LinearizedNetwork(network, factors) takes others"
        )
    memory = as_number(memory, "memory", 0.0)
    collected = _Collected(network, memory)
    leaves = [weight.requires_grad_() for weight in network.weights(factors)]
    with network.evaluating(network.with_weights(leaves)):
        for batch in in_turn(network.moved_batches(), network.batches, "linearised", progress):
            collected.add(batch, loss, leaves)
    ntk = collected.linear_part(loss.kind)
    ntk = ntk.tangent_at(factors, np.concatenate(collected.outputs))
    _check(network, ntk, factors, collected)
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


def _as_matrix(outputs: Any) -> Any:
    """Return outputs as a matrix, one row a sample."""
    if as_outputs(outputs).ndim not in (1, 2):
        raise ValueError(
            f"loss: the token form needs outputs (n, K), got shape {tuple(outputs.shape)}; "
            "LinearizedNetwork(network, factors) takes others"
        )
    return outputs if outputs.ndim == 2 else outputs[:, None]


class _Collected:
    """Tokens, outputs and targets of the batches so far.

    With random weights of the outputs, and the derivatives of the outputs so weighted by the network itself.
    """

    def __init__(self, network: Network, memory: float) -> None:
        self.network, self.memory = network, memory
        self.tokens: list[list[LayerTokens]] = [[] for _ in network.layers]
        self.outputs: list[Array] = []
        self.targets: list[Array] = []
        self.rng = np.random.default_rng()  # a verdict rests on it
        self.weights: list[Array] = []
        self.weighted = [np.zeros(shape) for shape in network.shapes]
        self.samples = 0
        self.nbytes = 0

    def add(self, batch: Any, loss: OutputLoss, leaves: Sequence[Any]) -> None:
        """Run a batch forwards once, and backwards once for each output and once more."""
        with _seen(self.network) as calls:
            z = _as_matrix(loss.outputs(self.network.model, batch))
        n = len(z)
        numbers = require_torch().arange(n, device=z.device)
        if loss.kind == "softmax":
            z, targets = as_classified(z, loss.targets(batch))
            labelled = targets != NO_LABEL
            # A sample without a label has no number.
            numbers = (labelled.cumsum(0) - 1).where(labelled, -1)
            z, targets = (z[:, :-1] - z[:, -1:])[labelled], targets[labelled]
        else:
            z, targets = as_regressed(z, loss.targets(batch))
        outs = [out for layer in calls for _, out in layer]
        signals = [self._backward(z[:, k], outs) for k in range(z.shape[1])]
        position = 0
        for index, (layer, seen) in enumerate(zip(self.network.layers, calls)):
            for given, out in seen:
                inputs, outputs = layer.inputs(given.detach()), layer.outputs(out)
                if inputs.shape[:-1] != outputs.shape[:-1] or len(outputs) != n:
                    raise NoTokenForm(
                        f"model: {layer.name} sees {tuple(given.shape)} for {n} samples; the first axis has to "
                        "be that of the samples"
                    )
                self._keep(index, inputs, [layer.outputs(signal[position]) for signal in signals], numbers)
                position += 1
        self._weigh(z, leaves)
        self.outputs.append(z.detach().double().cpu().numpy())
        self.targets.append(targets.detach().cpu().numpy())
        self.samples += len(z)

    def _weigh(self, z: Any, leaves: Sequence[Any]) -> None:
        """Add the derivatives of the outputs with random weights."""
        weights = self.rng.standard_normal(tuple(z.shape))
        found = backward(z, leaves, weights=require_torch().as_tensor(weights, dtype=z.dtype, device=z.device))
        for layer, part, so_far in zip(self.network.layers, found, self.weighted):
            if part is not None:
                so_far += layer.scale * layer.as_matrix(part.double().cpu().numpy())
        self.weights.append(weights)

    @staticmethod
    def _backward(output: Any, outs: list[Any]) -> tuple[Any, ...]:
        torch = require_torch()
        found = backward(output.sum(), outs, keep=True) if outs else ()
        return tuple(torch.zeros_like(out) if d is None else d for d, out in zip(found, outs))

    def _keep(self, index: int, given: Any, signals: list[Any], numbers: Any) -> None:
        """Add the tokens of one call of a layer; those that no output depends on, padding, are left out."""
        torch = require_torch()
        d = torch.stack([s.reshape(-1, s.shape[-1]) for s in signals], dim=1)
        h = given.reshape(-1, given.shape[-1])
        per_sample = math.prod(given.shape[1:-1])
        owner = numbers.to(h.device).repeat_interleave(per_sample)
        kept = (d != 0).flatten(1).any(1) & (owner >= 0)
        part = LayerTokens(
            self.network.layers[index].scale * d[kept].double().cpu().numpy(),
            h[kept].double().cpu().numpy(),
            owner[kept].cpu().numpy() + self.samples,
        )
        self.nbytes += part.nbytes
        if self.nbytes > self.memory:
            raise NoTokenForm(
                f"memory: the tokens of {self.samples + len(given)} samples take {self.nbytes / 1e9:.2g} GB already, "
                f"more than {self.memory / 1e9:.2g} GB"
            )
        self.tokens[index].append(part)

    def linear_part(self, kind: output_losses.Loss) -> TokenNTK:
        """Return the linearisation with offset 0."""
        layers = []
        for layer, parts in zip(self.network.layers, self.tokens):
            if any(part.owner.size for part in parts):
                joined = LayerTokens(*(np.concatenate(column) for column in zip(*parts)))
            else:
                # No output depends on the layer (it never runs, or below a head of zeros): one token that says so.
                m, n = layer.shape
                signals = np.zeros((1, self.outputs[0].shape[1], m))
                joined = LayerTokens(signals, np.zeros((1, n)), np.zeros(1, int))
            # A layer that runs twice in a forward pass brings its samples twice.
            order = np.argsort(joined.owner, kind="stable")
            layers.append(LayerTokens(*(column[order] for column in joined)))
        offset = np.zeros((self.samples, self.outputs[0].shape[1]))
        targets = np.concatenate(self.targets)
        if kind == "square":
            targets = targets.astype(np.float64).reshape(offset.shape)
        return TokenNTK(layers, offset, targets, kind, exact_to=self.network.precision)


@contextlib.contextmanager
def _seen(network: Network) -> Iterator[list[list[tuple[Any, Any]]]]:
    """Collect input and output of each call of the adapted layers within the block."""
    calls: list[list[tuple[Any, Any]]] = [[] for _ in network.layers]
    hooks = [
        layer.module.register_forward_hook(lambda _, given, out, seen=seen: seen.append((given[0], out)))
        for layer, seen in zip(network.layers, calls)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _check(network: Network, ntk: TokenNTK, factors: Pairs, collected: _Collected) -> None:
    """Refuse a linearisation whose value, or derivative of the outputs, is not the network's.

    That of the loss would be rounding where all data are fitted.
    """
    f, ours = network.value(factors), ntk.factor_value(factors)
    found = ntk.from_outputs(np.concatenate(collected.weights))
    wrong = joint_norm([one - other for one, other in zip(found, collected.weighted)])
    off = wrong / (joint_norm(collected.weighted) or 1.0)
    allowed = AGREEMENT[network.precision]
    lengths = np.square(np.concatenate(collected.outputs)).sum(1)
    if off > allowed or abs(f - ours) > allowed * max(abs(f), 1e-12, allowed * float(lengths.mean())):
        network.require_same_data(factors)
        what = f"the derivatives of its outputs and those of its token form differ by {off:.1e}, relatively"
        if off <= allowed:
            what = f"its loss is {f:.6g}, and that of its token form {ours:.6g}"
        raise NoTokenForm(
            f"model: {what}; samples of a batch interact (batch norm?), or an adapted weight is used outside of its "
            "layer"
        )


class _Derivatives:
    """The derivatives of the outputs ``z`` of a batch in the weights, along steps of these and backwards."""

    def __init__(self, z: Any, leaves: Sequence[Any]) -> None:
        self.z, self.leaves = z, leaves
        self._u = z.new_zeros(z.shape, requires_grad=True)
        # Linear in u: what is differentiated in it again is the derivative along a step.
        self._turned = backward(z, leaves, weights=self._u, twice=True)

    def ahead(self, steps: Sequence[Any]) -> Any:
        """Return ``Dz[D]``."""
        slopes = [(g * step).sum() for g, step in zip(self._turned, steps) if g is not None]
        found = backward(sum(slopes), [self._u], keep=True)[0] if slopes else None
        return self.z.new_zeros(self.z.shape) if found is None else found

    def back(self, w: Any) -> tuple[Any, ...]:
        """Return ``Dz^T w``, None for weights on which no output depends, and for no ``w``."""
        return (None,) * len(self.leaves) if w is None else backward(self.z, self.leaves, weights=w, keep=True)


@contextlib.contextmanager
def _saved_bytes() -> Iterator[dict[int, int]]:
    """Collect the bytes of the tensors that are saved for backward passes within the block, by where they are."""
    torch = require_torch()
    storages: dict[int, int] = {}

    def note(tensor: Any) -> Any:
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        # Not the tensor itself, which may hold what it is saved in.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield storages


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
        self._kept: list[tuple[Any, _Derivatives]] = []
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
        return self._pass(X)

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian times ``D``: the derivatives of the outputs are constant.

        That of the loss is exact, or a difference of its gradients where torch has no second derivative of it.
        """
        return self._pass(X, self.network.steps(self.network.as_updates(D, "D")))[1]

    def oracle_and_operators(self, factors: Pairs) -> tuple[float, Pairs, tuple[LinearMap, ...]]:
        """Return ``f``, the products ``G_l B_l`` and ``G_l^T A_l``, and the gradients, from one pass."""
        f, G = self.value_and_grad([A @ B.T for A, B in factors])
        return f, [(g @ B, g.T @ A) for g, (A, B) in zip(G, factors)], tuple(map(LinearMap.from_dense, G))

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

    def _pass(self, X: Matrices, along: Sequence[Any] | None = None) -> tuple[float, tuple[Array, ...]]:
        """Return ``f`` and its gradients, or with steps of the weights its Hessian times these."""
        network = self.network
        step = network.steps([x - point for x, point in zip(network.as_updates(X, "X"), self.point)])
        sums = [np.zeros(shape) for shape in self.shapes]
        total = np.zeros(2)
        for batch, at in self._derivatives():
            z = (at.z.detach() + at.ahead(step)).requires_grad_()
            targets = self.loss.targets(batch)
            losses = self.loss.of_outputs(z, targets)
            if along is None:
                (w,) = backward(losses.sum(), [z])
            else:
                w = _curvature(self.loss, z, targets, at.ahead(along))
            total += float(losses.detach().double().sum()), len(losses)
            for layer, part, so_far in zip(network.layers, at.back(w), sums):
                if part is not None:
                    so_far += layer.as_matrix(part.double().cpu().numpy())
        means = tuple(layer.scale * part / total[1] for layer, part in zip(network.layers, sums))
        return float(total[0] / total[1]), means

    def _derivatives(self) -> Iterator[tuple[Any, _Derivatives]]:
        """Yield each batch with the derivatives of its outputs at the point."""
        network = self.network
        if self._kept_for != self._versions():
            self._kept, self.by_formula = [], False
        with network.evaluating(network.with_weights(self._leaves)), twice_differentiable():
            if self._kept:
                yield from self._kept
                return
            for batch in network.moved_batches():
                yield batch, _Derivatives(self.loss.outputs(network.model, batch), self._leaves)

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
        most, saved = 0.0, 0
        with _saved_bytes() as storages:
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
                off = abs(float((w * dz).sum()) - by_slopes)
                most = max(most, off / usual if usual > 0.0 else 0.0)
                saved += sum(storages.values())
                storages.clear()
        return most, saved


def _curvature(loss: OutputLoss, z: Any, targets: Any, step: Any) -> Any:
    """Return the Hessian of a loss at outputs times a step of these."""

    def slope(outputs: Any, twice: bool = False) -> Any:
        return backward(loss.of_outputs(outputs, targets).sum(), [outputs], twice=twice)[0]

    try:
        return backward((slope(z, twice=True) * step).sum(), [z])[0]
    except RuntimeError:  # torch lacks it, as of multi_margin_loss and ctc_loss
        z, step = z.detach(), step.detach()
        length = float(step.norm())
        # Not shorter: of a loss with kinks that would be the height of one over nothing.
        h = 0.1 * (float(z.norm()) or 1.0) / length if length > 0.0 else 1.0
        ahead, behind = (slope((z + t * step).requires_grad_()) for t in (h, -h))
        return (ahead - behind) / (2.0 * h)


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
