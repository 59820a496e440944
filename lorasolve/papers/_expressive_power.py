"""The expressive power of LoRA: adapters that turn a frozen network into a target, constructed and bounded.

Source: Zeng, Lee, "The Expressive Power of Low-Rank Adaptation", arXiv 2310.17513 (ICLR 2024) and its released code;
hypotheses and constants are re-derived. Proof module: proofs/expressive_power. Frozen layers ``W_1 .. W_L`` (``W_1``
acts first), adapters ``A_l B_l^T``, ``E = target - W_L ... W_1`` with singular values ``sigma_i``.

The residual is recomputed before every layer, so rounding of earlier layers is corrected by later ones; achieved
error, lower bound and condition numbers are always returned, because the product of deep random layers is
exponentially ill-conditioned: in double precision the exact case is reached to 1e-13 at two layers and lost at eight.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._support.validate import (
    Array,
    as_float_array,
    as_instance,
    as_integer,
    as_iterable,
    as_number,
    as_shape,
    shown,
)

CONDITION_LIMIT = 1e10


class ConditioningWarning(UserWarning):
    """The layers are too ill-conditioned for the construction in double precision."""


@dataclass(frozen=True)
class LinearAdaptation:
    """Adapters of a deep linear network.

    Attributes
    ----------
    adapters : list of (A, B)
        ``A_l`` (m_l, R_l), ``B_l`` (n_l, R_l); layer ``l`` becomes ``W_l + A_l B_l^T``.
    product : ndarray
        The adapted product.
    error, error_frobenius : float
        Achieved distance to the target in spectral and Frobenius norm.
    lower_bound, lower_bound_frobenius : float
        No adapters of these ranks come closer: ``sigma_{R+1}(E)`` and the root of the squared tail,
        ``R = sum R_l``.
    condition : float
        The largest condition number met in a suffix or an adapted prefix.
    largest_adapter : float
        ``max ||A_l B_l^T||_2``.
    """

    adapters: list[tuple[Array, Array]]
    product: Array
    error: float
    error_frobenius: float
    lower_bound: float
    lower_bound_frobenius: float
    condition: float
    largest_adapter: float

    @property
    def gap(self) -> float:
        """Achieved error minus lower bound, in spectral norm: how far from optimal the adapters are."""
        return self.error - self.lower_bound


def chain(layers: Sequence[Array], size: int) -> Array:
    """Return the product ``W_L ... W_1`` (the identity for no layers)."""
    product = np.eye(size)
    for W in layers:
        product = W @ product
    return product


def adapt_linear(target: Array, layers: Sequence[Array], ranks: Sequence[int], rotations: int = 0) -> LinearAdaptation:
    """Adapt square layers so that their product comes as close to ``target`` as the ranks allow.

    Parameters
    ----------
    target : array_like of shape (D, D)
        The map to represent.
    layers : sequence of array_like of shape (D, D)
        Frozen ``W_1 .. W_L``; ``W_2 .. W_L`` nonsingular.
    ranks : sequence of int
        Ranks ``R_l >= 0``, they may differ.
    rotations : int
        Number of random rotations of the singular directions to try besides none; the one with the best conditioned
        prefixes is kept. It helps where an intermediate product is singular; the final product is the same.

    Returns
    -------
    LinearAdaptation

    Warns
    -----
    ConditioningWarning
        If a condition number exceeds ``1e10``: the achieved error is then far above the bound, or may be.

    Notes
    -----
    Optimal in every unitarily invariant norm if all ``prod W + LR_k(E)``, ``k`` the partial sums of the ranks but
    the last, are nonsingular; exact if ``sum R_l >= rank E``. Layer ``l`` gets
    ``A_l = S_l^{-1} E_l V_l``, ``B_l = Q_{l-1}^{-T} V_l`` with ``S_l`` the frozen suffix, ``Q_{l-1}`` the adapted
    prefix, ``V_l`` its share of the right singular vectors of ``E`` and ``E_l`` the residual at that moment.
    """
    target = as_float_array(target, "target", 2)
    weights = [as_float_array(W, "layers", 2) for W in layers]
    D = target.shape[0]
    if not weights or any(W.shape != (D, D) for W in [target, *weights]):
        raise ValueError(f"layers: expected at least one layer, all of shape {(D, D)} like the target")
    sizes = [as_integer(R, "ranks", 0, D) for R in as_iterable(ranks, "ranks")]
    as_integer(rotations, "rotations", 0)
    if len(sizes) != len(weights):
        raise ValueError(f"ranks: expected {len(weights)} numbers, one for each layer, got {len(sizes)}")
    total = min(sum(sizes), D)
    E = target - chain(weights, D)
    _, sigma, Vt = np.linalg.svd(E)
    directions = Vt[:total].T
    rng = np.random.default_rng(0)
    turns = [np.eye(total)]
    turns += [np.linalg.qr(rng.standard_normal((total, total)))[0] for _ in range(rotations)]
    candidates = [_construct(target, weights, sizes, directions @ turn) for turn in turns]
    adapters, condition = min(candidates, key=lambda pair: pair[1])
    product = chain([W + A @ B.T for W, (A, B) in zip(weights, adapters)], D)
    residual = np.linalg.svd(target - product, compute_uv=False)
    if condition > CONDITION_LIMIT:
        warnings.warn(
            f"a product of layers has condition number {condition:.1e}, beyond {CONDITION_LIMIT:.0e}: the achieved "
            f"error is {residual[0]:.1e} where exact arithmetic gives {_at(sigma, total):.1e}",
            ConditioningWarning,
            stacklevel=2,
        )
    return LinearAdaptation(
        adapters,
        product,
        float(residual[0]),
        float(np.linalg.norm(residual)),
        _at(sigma, total),
        float(np.linalg.norm(sigma[total:])),
        condition,
        max(float(np.linalg.norm(A @ B.T, 2)) for A, B in adapters),
    )


def _construct(
    target: Array, layers: list[Array], ranks: list[int], directions: Array
) -> tuple[list[tuple[Array, Array]], float]:
    """Return the adapters and the largest condition number for given right directions (D, R)."""
    D = target.shape[0]
    suffixes = [chain(layers[layer + 1 :], D) for layer in range(len(layers))]
    prefix = np.eye(D)
    adapters: list[tuple[Array, Array]] = []
    condition = 1.0
    used = 0
    for W, suffix, R in zip(layers, suffixes, ranks):
        V = directions[:, used : used + R]
        used += V.shape[1]
        if V.shape[1]:
            condition = max(condition, _condition(suffix), _condition(prefix))
            residual = target - suffix @ W @ prefix
            A = _solve(suffix, residual @ V)
            B = _solve(prefix.T, V)
        else:
            A, B = np.zeros((D, 0)), np.zeros((D, 0))
        adapters.append((A, B))
        prefix = (W + A @ B.T) @ prefix
    return adapters, condition


def _condition(M: Array) -> float:
    s = np.linalg.svd(M, compute_uv=False)
    return float(s[0] / s[-1]) if s[-1] > 0.0 else float("inf")


def _solve(M: Array, right: Array) -> Array:
    """Return ``M^{-1} right``, by least squares where ``M`` is exactly singular (the condition number tells)."""
    try:
        return np.linalg.solve(M, right)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(M, right, rcond=None)[0]


def _at(sigma: Array, index: int) -> float:
    return float(sigma[index]) if index < len(sigma) else 0.0


# ---------------------------------------------------------------------- ReLU networks
@dataclass(frozen=True)
class ReLUAdaptation:
    """An adapted ReLU network.

    Attributes
    ----------
    weights, biases : list
        Of the adapted layers; the output of every layer passes the ReLU.
    blocks : list of LinearAdaptation
        One for each target layer.
    radius : float
        The network agrees with its linearized blocks on inputs with ``||x|| <= radius`` (CERTIFIED by the biases).
    error_bound : float
        Bound on the mean output error for standard normal inputs restricted to that ball: the errors of the blocks,
        amplified by the norms of the later target layers.
    """

    weights: list[Array]
    biases: list[Array]
    blocks: list[LinearAdaptation]
    radius: float
    error_bound: float

    def __call__(self, x: Array) -> Array:
        """Return the outputs (D, N) of inputs (D, N)."""
        x = as_float_array(x, "x", 2)
        as_shape(x, "x", (len(self.biases[0]), x.shape[1]))
        for W, b in zip(self.weights, self.biases):
            x = np.maximum(W @ x + b[:, None], 0.0)
        return x


def uniform_partition(depth: int, blocks: int) -> list[int]:
    """Return how many of ``depth`` layers each block gets: ``depth // blocks``, the last one the remainder too."""
    as_integer(depth, "depth", 1)
    as_integer(blocks, "blocks", 1, depth)
    size = depth // blocks
    return [size] * (blocks - 1) + [depth - size * (blocks - 1)]


def adapt_relu(
    targets: Sequence[tuple[Array, Array]],
    layers: Sequence[Array],
    ranks: Sequence[int],
    radius: float,
    partition: Sequence[int] | None = None,
) -> ReLUAdaptation:
    """Adapt a deep ReLU network to a shallower one, block by block, with trainable biases.

    Parameters
    ----------
    targets : sequence of (W, b)
        Target layers ``x -> relu(W x + b)``, (D, D) and (D,).
    layers : sequence of array_like of shape (D, D)
        Frozen weights; their biases are replaced.
    ranks : sequence of int
        One for each frozen layer.
    radius : float
        Inputs with ``||x||_2 <= radius`` are covered exactly.
    partition : sequence of int, optional
        Frozen layers for each target layer; :func:`uniform_partition` by default.

    Notes
    -----
    Inside a block the hidden layers keep ``z_l = T_l x + c_l 1`` with ``c_l >= rho max_j ||row_j(T_l)||`` so that no
    unit is cut off on the ball: ``b_l = c_l 1 - (W_l + A_l B_l^T) c_{l-1} 1``. This replaces the release's rule, which
    looks at 256 samples and is exact near them only. Large ``c_l`` cost digits: keep ``radius`` tight.

    The mean squared error of one block is at most ``tr(E_res Sigma E_res^T) <= tr(Sigma) sigma_{R+1}^2`` with
    ``Sigma = E[x x^T]``. ERRATUM: with ``||Sigma||_F`` in place of ``tr(Sigma)`` [recall: the printed form] the bound
    is false. The biases must be trainable.
    """
    radius = as_number(radius, "radius", 0.0, open_low=True)
    wanted = [_target_layer(layer, k) for k, layer in enumerate(as_iterable(targets, "targets"))]
    frozen = [as_float_array(W, "layers", 2) for W in as_iterable(layers, "layers")]
    ranks = list(as_iterable(ranks, "ranks"))
    if len(ranks) != len(frozen):
        raise ValueError(f"ranks: expected {len(frozen)} numbers, one for each layer, got {len(ranks)}")
    if partition is None:
        depths = uniform_partition(len(frozen), len(wanted))
    else:
        depths = [as_integer(depth, "partition", 1) for depth in as_iterable(partition, "partition")]
    if len(depths) != len(wanted) or sum(depths) != len(frozen):
        raise ValueError(f"partition: expected {len(wanted)} counts >= 1 with sum {len(frozen)}, got {depths}")
    weights: list[Array] = []
    biases: list[Array] = []
    blocks: list[LinearAdaptation] = []
    rho = radius
    first = 0
    for (W_bar, b_bar), depth in zip(wanted, depths):
        part = slice(first, first + depth)
        block = adapt_linear(W_bar, frozen[part], ranks[part])
        new_weights = [W + A @ B.T for W, (A, B) in zip(frozen[part], block.adapters)]
        biases += _block_biases(new_weights, b_bar, rho)
        weights += new_weights
        blocks.append(block)
        rho = float(np.linalg.norm(block.product, 2)) * rho + float(np.linalg.norm(b_bar))
        first += depth
    return ReLUAdaptation(weights, biases, blocks, radius, _error_bound(wanted, blocks))


def _target_layer(layer: tuple[Array, Array], index: int) -> tuple[Array, Array]:
    """Return weight (D, D) and bias (D,) of a target layer."""
    argument = f"targets[{index}]"
    if not isinstance(layer, tuple | list) or len(layer) != 2:
        raise TypeError(f"{argument}: expected a pair (weight, bias), got {shown(layer)}")
    W, b = as_float_array(layer[0], f"{argument}[0]", 2), as_float_array(layer[1], f"{argument}[1]", 1)
    return W, as_shape(b, f"{argument}[1]", (len(W),))


def _block_biases(weights: list[Array], b_bar: Array, rho: float) -> list[Array]:
    ones = np.ones(len(b_bar))
    biases = []
    T = np.eye(len(b_bar))
    shift = 0.0
    for W in weights[:-1]:
        T = W @ T
        following = rho * float(np.linalg.norm(T, axis=1).max())
        biases.append(following * ones - W @ (shift * ones))
        shift = following
    biases.append(b_bar - weights[-1] @ (shift * ones))
    return biases


def _error_bound(targets: Sequence[tuple[Array, Array]], blocks: list[LinearAdaptation]) -> float:
    """``sum_i prod_{k>i} (||W_bar_k|| + eps_k) eps_i E||z_{i-1}||`` with norms of standard normal inputs bounded."""
    size = np.sqrt(targets[0][0].shape[0])  # E||x|| <= sqrt(D)
    bound = 0.0
    for (W_bar, b_bar), block in zip(targets, blocks):
        norm = float(np.linalg.norm(W_bar, 2))
        bound = bound * (norm + block.error) + block.error * size
        size = norm * size + float(np.linalg.norm(b_bar))
    return float(bound)


def mean_squared_error_bounds(residual: Array, second_moment: Array) -> tuple[float, float, float]:
    """Return ``tr(E Sigma E^T)``, ``tr(Sigma) ||E||_2^2`` and the false form ``||Sigma||_F ||E||_2^2``.

    The first two bound ``E ||relu((W - E) x + b) - relu(W x + b)||^2``; the third does not (``Sigma = I``).
    """
    residual, second_moment = as_float_array(residual, "residual", 2), as_float_array(second_moment, "second_moment", 2)
    as_shape(second_moment, "second_moment", (residual.shape[1], residual.shape[1]))
    spread = np.linalg.eigvalsh(0.5 * (second_moment + second_moment.T))
    asymmetry = float(np.abs(second_moment - second_moment.T).max())
    if max(asymmetry, -float(spread[0])) > 1e-10 * max(float(spread[-1]), 0.0):
        raise ValueError(
            f"second_moment: expected a symmetric matrix E[x x^T] without negative eigenvalues, got one of least "
            f"eigenvalue {spread[0]:.3g} and asymmetry {asymmetry:.3g}"
        )
    top = float(np.linalg.norm(residual, 2)) ** 2
    exact = float(np.trace(residual @ second_moment @ residual.T))
    return exact, float(np.trace(second_moment)) * top, float(np.linalg.norm(second_moment)) * top


# ---------------------------------------------------------------------- attention
@dataclass(frozen=True)
class AttentionAdaptation:
    """Adapters of one head: the product ``W_K^T W_Q`` and the product ``W_O W_V``."""

    query_key: LinearAdaptation
    value_output: LinearAdaptation


def adapt_attention(frozen: dict[str, Array], target: dict[str, Array], rank: int) -> AttentionAdaptation:
    """Adapt ``Q, K, V, O`` of one head so that ``W_K^T W_Q`` and ``W_O W_V`` become those of the target.

    Attention sees the weights through these two products only; each is a deep linear model of two layers. Rank
    ``ceil(rank(discrepancy)/2) <= D/2`` suffices. For ``W_K^T`` the two factors of the adapter swap roles:
    ``W_K`` itself becomes ``W_K + B A^T``.

    Parameters
    ----------
    frozen, target : dict
        Keys ``"Q"``, ``"K"``, ``"V"``, ``"O"``; all (D, D).
    rank : int
        Of each of the four adapters.
    """
    for name, weights in (("frozen", frozen), ("target", target)):
        if set(as_instance(weights, name, dict)) != {"Q", "K", "V", "O"}:
            raise ValueError(f"{name}: expected the keys Q, K, V, O, got {sorted(weights)}")
    frozen, target = (
        {key: as_float_array(W, f"{name}[{key!r}]", 2) for key, W in weights.items()}
        for name, weights in (("frozen", frozen), ("target", target))
    )
    pair = [rank, rank]
    query_key = adapt_linear(target["K"].T @ target["Q"], [frozen["Q"], frozen["K"].T], pair)
    value_output = adapt_linear(target["O"] @ target["V"], [frozen["V"], frozen["O"]], pair)
    return AttentionAdaptation(query_key, value_output)
