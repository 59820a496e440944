"""A network linearised in its linear layers, in token form: no m x n matrix per sample is formed.

A linear layer sees tokens ``h_t`` (n,) and its output receives signals ``d_tk`` (m,), the derivative of output ``k`` of
the sample that the token belongs to. The Jacobian of output ``k`` of sample ``i`` in the weight of the layer is
``J_ik = sum_{t in i} d_tk h_t^T``, so ``<J_ik, A B^T> = sum_{t in i} (d_tk A) . (h_t B)``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._support.text import for_json
from .._support.time_limit import is_over
from .._support.validate import (
    Array,
    as_array,
    as_choice,
    as_float_array,
    as_index_array,
    as_instance,
    as_iterable,
    as_number,
    as_shape,
    as_signs,
    shown,
)
from ..convex import solve_convex
from ..linear_map import LinearMap
from ..low_rank import RANK_TOL, factor_singular_values
from ..multi import MultiProblem
from ..objectives import POWER_STEPS, output_losses
from ..objectives.base import Rounding, allowance
from ..problem.blocks import MultiObjective, OnLine, PairsProduct
from ..problem.pairs import Matrices, Pairs, as_finite_pairs
from ._torch import DTYPES
from .tangent import layer_rank, lost_in_rounding

# Products with the Jacobian and its transpose, formed as matrices, that a Gram matrix of its rows may cost.
FORMED = 10.0
# The largest entry of a Jacobian is about within these where float32 is offered.
SMALLEST, LARGEST = 1e-8, 1e8


class LayerTokens(NamedTuple):
    """What a layer saw: signals (T, K, m), inputs (T, n) and the sample of each token (T,), in ascending order."""

    signals: Array
    inputs: Array
    owner: Array

    @property
    def nbytes(self) -> int:
        """Memory of the tokens."""
        return int(self.signals.nbytes + self.inputs.nbytes + self.owner.nbytes)


class TokenNTK(MultiObjective):
    """Mean loss of outputs that are affine in the updates of several layers: ``z_ik = z0_ik + sum_l <J_l,ik, X_l>``.

    Convex, ``>= 0``, and at the point of linearisation of the same value and gradient as the network, if ``z0`` is
    chosen so (see :meth:`tangent_at`). Work per call: ``O(T (K m + n) r)`` a layer at the level of the factors, where
    the dense Jacobians would take ``O(N K m n)``.

    Parameters
    ----------
    layers : sequence of LayerTokens
        Tokens of each layer.
    offset : array_like of shape (N, K)
        ``z0``, the outputs at zero updates. For softmax the K outputs are the differences to a last class whose output
        is zero, so that they stand for K + 1 classes.
    targets : array_like
        ``square``: (N, K) numbers; ``logistic``: (N, K) labels -1 or 1; ``softmax``: (N,) classes 0 to K.
    loss : {"square", "logistic", "softmax"}
        As for :class:`~lorasolve.objectives.NTK`.
    exact_to : {"float64", "float32"}
        The precision in which the network was evaluated: certificates count its rounding.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, an unknown loss, tokens that are not sorted by sample.

    Notes
    -----
    Source: Jang, Lee, Ryu, "LoRA Training in the NTK Regime has No Spurious Local Minima", arXiv 2402.11867, where the
    features are dense (:class:`~lorasolve.objectives.NTK`).
    """

    convex = True
    lower_bound = 0.0
    by_formula = True

    def __init__(
        self,
        layers: Sequence[LayerTokens],
        offset: ArrayLike,
        targets: ArrayLike,
        loss: output_losses.Loss = "softmax",
        *,
        exact_to: str = "float64",
    ) -> None:
        as_choice(loss, "loss", output_losses.LOSSES)
        self.exact_to = as_choice(exact_to, "exact_to", DTYPES)
        self.loss: output_losses.Loss = loss
        self.least_squares = loss == "square"
        self.offset = as_float_array(offset, "offset", 2, np.float64)
        self.n_samples = len(self.offset)
        given = as_iterable(layers, "layers")
        self.layers = tuple(_checked(layer, k, *self.offset.shape) for k, layer in enumerate(given))
        if not self.layers:
            raise ValueError("layers: expected at least one")
        self.shapes = tuple((layer.signals.shape[2], layer.inputs.shape[1]) for layer in self.layers)
        self.targets = self._checked_targets(targets)
        # Where the tokens of each sample begin; not every sample need have some.
        self._parts = [np.unique(layer.owner, return_index=True) for layer in self.layers]

    def _checked_targets(self, targets: ArrayLike) -> Array:
        N, K = self.offset.shape
        if self.loss == "logistic":
            return as_signs(targets, "targets", (N, K), np.float64)
        if self.loss == "square":
            return as_shape(as_float_array(targets, "targets", 2, np.float64), "targets", (N, K))
        labels = as_array(targets, "targets")
        if labels.shape != (N,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > K:
            raise ValueError(f"targets: expected {N} integers from 0 to {K}, got {shown(targets)}")
        return labels

    @property
    def precision(self) -> str:
        """That of the network, or of the sums over its tokens where these are in float32."""
        return "float32" if "float32" in (self.exact_to, np.dtype(self.dtype).name) else "float64"

    @property
    def nbytes(self) -> int:
        """Memory of the tokens of all layers."""
        return sum(layer.nbytes for layer in self.layers)

    def tangent_at(self, factors: Pairs, outputs: Array) -> TokenNTK:
        """Return the same linear part with the offset for which the outputs at ``A_l B_l^T`` are the given ones."""
        factors = as_finite_pairs(factors, "factors", self.shapes)
        outputs = as_shape(as_float_array(outputs, "outputs", 2, np.float64), "outputs", self.offset.shape)
        offset = outputs - (self.outputs(factors) - self.offset)
        return TokenNTK(self.layers, offset, self.targets, self.loss, exact_to=self.exact_to)

    def outputs(self, factors: Pairs) -> Array:
        """Return ``z`` (N, K) at the updates ``A_l B_l^T``."""
        return self.offset + self._linear(self._sides(factors))

    def _sides(self, factors: Pairs) -> list[tuple[Array, Array]]:
        """Return ``d_tk A`` (T, K, r) and ``h_t B`` (T, r) of each layer: all that its tokens see of the factors.

        A layer without update, as most have none at an optimum, costs no look at its tokens.
        """
        sides = []
        for layer, (A, B) in zip(self.layers, factors):
            T, K, m = layer.signals.shape
            if A.any() or B.any():
                # One product of matrices: as a stack it would be T small ones.
                left, right = layer.signals.reshape(T * K, m) @ A, layer.inputs @ B
            else:
                left, right = np.zeros((T * K, A.shape[1]), self.dtype), np.zeros((T, B.shape[1]), self.dtype)
            sides.append((left.reshape(T, K, -1), right))
        return sides

    def _linear(self, sides: Sequence[tuple[Array, Array]]) -> Array:
        """Return ``z - z0`` (N, K) from the sides of each layer."""
        z = np.zeros_like(self.offset)
        for (samples, starts), (left, right) in zip(self._parts, sides):
            z[samples] += np.add.reduceat(np.einsum("tkr,tr->tk", left, right), starts, axis=0)
        return z

    def _dense_outputs(self, X: Matrices) -> Array:
        z = np.zeros_like(self.offset)
        for layer, (samples, starts), x in zip(self.layers, self._parts, X):
            if x.any():
                seen = np.einsum("tkm,tm->tk", layer.signals, layer.inputs @ x.T)
                z[samples] += np.add.reduceat(seen, starts, axis=0)
        return z

    def _slope(self, z: Array) -> tuple[float, Array]:
        """Return ``f`` and its gradient in the outputs (N, K)."""
        if self.loss != "softmax":
            value, slope = output_losses.sum_and_slope(self.loss, z, self.targets)
        else:
            value, slope = output_losses.sum_and_slope(self.loss, _with_last(z), self.targets)
            slope = slope[:, :-1]
        return value / self.n_samples, slope / self.n_samples

    def _bend(self, z: Array, dz: Array) -> Array:
        """Return the Hessian of ``f`` in the outputs times ``dz`` (N, K)."""
        if self.loss != "softmax":
            return output_losses.curvature(self.loss, z, dz) / self.n_samples
        return output_losses.curvature(self.loss, _with_last(z), _with_last(dz))[:, :-1] / self.n_samples

    # ------------------------------------------------------------------ dense level
    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return ``f`` and ``sum_ik w_ik J_l,ik``, with ``w`` its gradient in the outputs."""
        f, w = self._slope(self.offset + self._dense_outputs(X))
        return f, self.from_outputs(w)

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian times ``D``."""
        z = self.offset + self._dense_outputs(X)
        return self.from_outputs(self._bend(z, self._dense_outputs(D)))

    def along(self, X: Matrices, D: Matrices) -> Callable[[float], OnLine]:
        """Return ``f`` on the line ``X + t D``, along which the outputs are linear."""
        z, dz = self.offset + self._dense_outputs(X), self._dense_outputs(D)
        reach = float(np.linalg.norm(dz))

        def at(t: float) -> OnLine:
            f, w = self._slope(z + t * dz)
            return OnLine(f, float(np.vdot(w, dz)), float(np.linalg.norm(w)) * reach)

        return at

    def from_outputs(self, w: Array) -> tuple[Array, ...]:
        """Return ``sum_ik w_ik J_l,ik`` of each layer."""
        return tuple(np.einsum("tkm,tk->tm", t.signals, w[t.owner]).T @ t.inputs for t in self.layers)

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, factors: Pairs, grads: Pairs) -> float:
        """Write ``G_l B_l`` and ``G_l^T A_l`` without forming ``G_l``."""
        sides = self._sides(factors)
        f, w = self._slope(self.offset + self._linear(sides))
        for layer, side, (GB, GtA) in zip(self.layers, sides, grads):
            GB[...], GtA[...] = self._products(layer, w, *side)
        return f

    def factor_value(self, factors: Pairs) -> float:
        """Return ``f`` from one pass over the tokens."""
        return self._slope(self.outputs(factors))[0]

    def hessian_at(self, factors: Pairs) -> PairsProduct:
        """Return the derivative of ``(G_l B_l, G_l^T A_l)`` in the directions ``(U_l, V_l)``."""
        sides = self._sides(factors)
        z = self.offset + self._linear(sides)
        w = self._slope(z)[1]

        def product(directions: Pairs) -> tuple[tuple[Array, Array], ...]:
            moves = self._sides(directions)
            # U B^T + A V^T.
            moved = [
                (np.concatenate([left_U, left_A], axis=2), np.concatenate([right_B, right_V], axis=1))
                for (left_A, right_B), (left_U, right_V) in zip(sides, moves)
            ]
            bent = self._bend(z, self._linear(moved))
            found = []
            for layer, side, move in zip(self.layers, sides, moves):
                HB, HtA = self._products(layer, bent, *side)
                GV, GtU = self._products(layer, w, *move)
                found.append((HB + GV, HtA + GtU))
            return tuple(found)

        return product

    def _products(self, layer: LayerTokens, w: Array, left: Array, right: Array) -> tuple[Array, Array]:
        """Return ``M B`` and ``M^T A`` for ``M = sum_ik w_ik J_ik``, from the sides of the layer."""
        if not (left.any() or right.any()):
            m, n, r = layer.signals.shape[2], layer.inputs.shape[1], right.shape[1]
            return np.zeros((m, r), right.dtype), np.zeros((n, r), right.dtype)
        weights = w.astype(self.dtype, copy=False)[layer.owner]
        # BLAS is faster with the thin factor in front.
        if w.shape[1] == 1:
            # The smaller factor is weighted, and no signals are added up.
            on_left = (weights * right).T @ layer.signals[:, 0]
        else:
            on_left = right.T @ np.einsum("tkm,tk->tm", layer.signals, weights)
        return on_left.T, (np.einsum("tkr,tk->tr", left, weights).T @ layer.inputs).T

    def gradient_operators(self, factors: Pairs) -> tuple[LinearMap, ...]:
        """Return the gradient of each layer, formed: the outputs come from the factors."""
        return tuple(LinearMap.from_dense(G) for G in self.from_outputs(self._slope(self.outputs(factors))[1]))

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Return those of outputs that are sums of larger terms, as of an update that no sample sees."""
        value, gradient = super().rounding_noise(factors)
        sizes = np.abs(self.offset)
        for (A, B), most in zip(factors, self._most_seen):
            sizes += float(np.linalg.norm(A, axis=0) @ np.linalg.norm(B, axis=0)) * most
        errors = allowance(self.dtype) * float(np.linalg.norm(sizes))
        slope = float(np.linalg.norm(self._slope(self.outputs(factors))[1]))
        bend = output_losses.MOST_CURVED[self.loss] / self.n_samples
        return Rounding(value + errors * (slope + 0.5 * bend * errors), gradient)

    @cached_property
    def _most_seen(self) -> list[Array]:
        """Bounds of ``||J_l,ik||_2`` (N, K), one array for each layer."""
        found = []
        for layer, (samples, starts) in zip(self.layers, self._parts):
            seen = np.linalg.norm(layer.signals, axis=2) * np.linalg.norm(layer.inputs, axis=1)[:, None]
            most = np.zeros_like(self.offset)
            most[samples] = np.add.reduceat(seen, starts, axis=0)
            found.append(most)
        return found

    def in_float32(self) -> TokenNTK | None:
        """Return the loss of the tokens in float32, half the memory again: products with factors wait for memory.

        None where squares of gradients might leave the range of float32.
        """
        size = max(float(np.abs(layer.signals).max()) * float(np.abs(layer.inputs).max()) for layer in self.layers)
        if not SMALLEST <= size <= LARGEST:
            return None
        single = copy.copy(self)
        single.dtype = np.dtype(np.float32)
        single.layers = tuple(
            LayerTokens(layer.signals.astype(np.float32), layer.inputs.astype(np.float32), layer.owner)
            for layer in self.layers
        )
        return single

    def sampled_smoothness(self, factors: Pairs) -> float:
        """Estimate the largest Hessian eigenvalue by power iteration until it hardly grows (SAMPLED: a lower bound)."""
        z = self.outputs(factors)
        product = self._gram_product()
        # The iterate is D = sum_ik w_ik J_ik, known by its weights.
        w = np.random.default_rng(0).standard_normal(z.shape)
        value = 0.0
        for _ in range(POWER_STEPS):
            dz = product(w)
            length = math.sqrt(max(float(np.vdot(w, dz)), 0.0))
            if length == 0.0:
                break
            dz /= length
            bent = self._bend(z, dz)
            last, value = value, float(np.vdot(dz, bent))
            if value - last <= 1e-3 * value or is_over():
                break
            w = bent
        return value

    def _gram_product(self) -> Callable[[Array], Array]:
        """Return the map ``w -> (sum_l <J_l,ik, sum_jp w_jp J_l,jp>)_ik``, by the Gram matrix where that costs less."""
        T = max(len(layer.inputs) for layer in self.layers)
        N, K = self.offset.shape
        if not all(T * (K * K * m + n) <= FORMED * K * m * n for m, n in self.shapes):
            return lambda w: self._dense_outputs(self.from_outputs(w))
        gram = np.zeros((N, K, N, K))
        for layer, (samples, starts) in zip(self.layers, self._parts):
            inner = layer.inputs @ layer.inputs.T
            for k in range(K):
                for p in range(K):
                    pairs = (layer.signals[:, k] @ layer.signals[:, p].T) * inner
                    sums = np.add.reduceat(np.add.reduceat(pairs, starts, axis=0), starts, axis=1)
                    gram[samples[:, None], k, samples, p] += sums
        matrix = gram.reshape(N * K, N * K)
        return lambda w: (matrix @ w.ravel()).reshape(N, K)


@dataclass(frozen=True, eq=False)
class TangentSolution:
    """The optimum of the tangent problem, solved over updates of every rank.

    Attributes
    ----------
    F, value : float
        The value at the point of linearisation, and the least value found.
    gap, relative_gap : float
        What any update of any rank gains in the tangent problem, at most: ``F`` less a lower bound of the optimum; and
        over ``F``.
    own_gap : float
        The relative gap of the solution itself.
    level : str
        How ``gap`` is known.
    ranks : tuple of int
        Of the solution, layer by layer.
    distance : float
        From the point of linearisation to the solution, ``||X* - X^||_F``.
    seconds : float
        What the solution took.
    interrupted : bool
        Whether Ctrl-C ended it: the bounds are then those of the last point that was reached.
    success : bool
        Whether ``own_gap`` is the one that was asked for; if not, as after a time limit, the bounds hold all the same.
    A, B : tuple of ndarray
        Its factors.
    """

    F: float
    value: float
    gap: float
    relative_gap: float
    own_gap: float
    level: str
    ranks: tuple[int, ...]
    distance: float
    seconds: float
    interrupted: bool
    success: bool
    A: tuple[Array, ...] = field(repr=False)
    B: tuple[Array, ...] = field(repr=False)
    # Times differ between equal runs (_support/digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("seconds",)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON-ready values."""
        names = (field.name for field in fields(self) if field.name not in ("A", "B"))
        return dict(for_json({name: getattr(self, name) for name in names} | {"ranks": list(self.ranks)}))


def solve_tangent(
    ntk: MultiObjective,
    factors: Pairs,
    lam: float,
    tol: float = 1e-7,
    *,
    time_limit: float | None = None,
    progress: bool = False,
) -> TangentSolution:
    """Solve the tangent problem by blocks, and say what the point of linearisation leaves to gain in it.

    Parameters
    ----------
    ntk : TokenNTK or LinearizedNetwork
        The network linearised at the updates of ``factors`` (:func:`~lorasolve.networks.linearize`).
    factors : sequence of (A_l, B_l)
        The point of linearisation.
    lam : float
        Weight decay, > 0.
    tol : float
        Relative gap to which the problem is solved.
    time_limit : float, optional
        Seconds after which the solution ends, and keeps what its last point bounds.
    progress : bool
        Show a progress line.

    Returns
    -------
    TangentSolution
        Ctrl-C ends the solution early, and keeps what the last point of it bounds.

    Raises
    ------
    ValueError, TypeError
        For ``lam`` or ``tol`` out of range, and factors of other shapes than the network's.

    Notes
    -----
    Sharper than the bound from one gradient: 2.7e-5 against 5.4e-7 at one point of MiniLM. Source: main paper, section
    2; proofs/tangent_certificate.
    """
    lam = as_number(lam, "lam", 0.0, open_low=True)
    if as_instance(ntk, "ntk", MultiObjective).facts.convex is not True:
        raise ValueError(f"ntk: expected a linearised network, which is convex in the updates, got {ntk.label}")
    factors = as_finite_pairs(factors, "factors", ntk.shapes)
    start = tuple(A for A, _ in factors), tuple(B for _, B in factors)
    problem = MultiProblem(ntk, 1, lam)
    found = solve_convex(problem, "factored", tol, start=start, time_limit=time_limit, progress=progress)
    values = [factor_singular_values(A, B) for A, B in factors]
    penalty = lam * sum(float(s.sum()) for s in values)
    F = ntk.factor_value(factors) + penalty
    noise = ntk.rounding_noise(factors).value + allowance(ntk.precision) * (abs(F - penalty) + penalty)
    spectra = [factor_singular_values(A, B) for A, B in zip(found.A, found.B)]
    largest, lost = max(float(s[0]) for s in spectra), lost_in_rounding(F - penalty, lam)
    moves = (X - A @ B.T for X, (A, B) in zip(found.X, factors))
    gap = max(F - (found.fun - found.gap), 0.0) + noise
    return TangentSolution(
        F=F,
        value=found.fun,
        gap=gap,
        relative_gap=gap / (abs(F) or 1.0),
        own_gap=found.relative_gap,
        level=str(found.certificate.level),
        ranks=tuple(layer_rank(s, largest, RANK_TOL, lost) for s in spectra),
        distance=math.hypot(*(float(np.linalg.norm(move)) for move in moves)),
        seconds=found.seconds,
        interrupted=found.interrupted,
        success=found.success,
        A=found.A,
        B=found.B,
    )


def _checked(layer: LayerTokens, index: int, n_samples: int, n_outputs: int) -> LayerTokens:
    name = f"layers[{index}]"
    as_instance(layer, name, LayerTokens)
    signals = as_float_array(layer.signals, f"{name}.signals", 3, np.float64)
    inputs = as_float_array(layer.inputs, f"{name}.inputs", 2, np.float64)
    if signals.shape[1] != n_outputs or len(inputs) != len(signals):
        raise ValueError(
            f"{name}: expected signals (T, {n_outputs}, m) and inputs (T, n), got {signals.shape} and {inputs.shape}"
        )
    owner = as_index_array(layer.owner, f"{name}.owner", n_samples, len(signals))
    if np.any(np.diff(owner) < 0):
        raise ValueError(f"{name}.owner: expected sample numbers in ascending order")
    return LayerTokens(signals, inputs, owner)


def _with_last(z: Array) -> Array:
    """Return outputs with those of the last class, which are zero."""
    return np.hstack([z, np.zeros((len(z), 1))])
