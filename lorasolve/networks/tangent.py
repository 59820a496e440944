"""The tangent certificate: what any update, of any rank, could still gain to first order at trained weights.

Let ``f(X) = (1/N) sum_i ell_i(z_i(X))`` with convex ``ell_i >= f_low`` and outputs ``z_i`` differentiable at ``X^``.
The tangent problem replaces ``z_i(X)`` by ``z_i(X^) + Dz_i(X^)[X - X^]``. It is convex, and at ``X^`` it has the value
and the gradient of the network. So a duality gap (``certificates/duality.py``; proofs/tangent_certificate) made of
numbers of the network alone bounds ``F(X^) - min T`` over updates of every rank, ``T`` the tangent problem with the
nuclear norm. The network's own optimum is not bounded by it: where the outputs bend, ``min F`` may lie below ``min T``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .._known import Known
from .._support.text import at_most, for_json
from .._support.validate import Array, as_choice, as_float_array, as_instance, as_iterable, as_number, as_shape, as_text
from ..certificates.duality import duality_gap, gradient_norm, product_errors
from ..linear_map import LinearMap, outside
from ..low_rank import Svd, factor_svd, numerical_rank
from ..objectives.base import allowance
from ..problem.blocks import MultiObjective
from ..problem.pairs import Pairs, as_finite_pairs, joint_inner
from ..singular_triplets import top_above

# Runs end long before small singular values have vanished; between what decays and what stays there were six decades
# (MiniLM: 1e-1 against 1e-7).
RANK_TOL = 1e-4
# A layer whose values are all below that share of the largest of all layers, and below this, has vanished: of what is
# left of it the ratios say nothing. In units of its own a layer may be small beside others for good. Where all vanish
# together, none is small beside the others: there a layer is too small if its penalty is lost in the rounding of f.
VANISHED = 1e-6


class _Tangent(MultiObjective):
    """What is known of the tangent problem's loss without evaluating it anywhere else."""

    convex = True

    def __init__(self, lower_bound: float, dtype: Any) -> None:
        self.lower_bound = lower_bound
        self.dtype = np.dtype(dtype)


@dataclass(frozen=True)
class LayerDual:
    """One layer at a point: its update ``X`` and the gradient ``G`` of ``f`` in it.

    Attributes
    ----------
    name : str
        The layer.
    shape : tuple of int
        ``(m, n)``.
    max_rank, rank : int
        Columns of the factors, and singular values of ``X`` above 1e-4 of its largest; 0 for a layer that has vanished,
        with no value above 1e-6, and none above 1e-4 of the largest of all layers or of more penalty than the rounding
        of ``f``.
    spectral, nuclear : float
        ``||X||_2`` and ``||X||_*``.
    spread : float
        The smallest singular value that the factors allow for over the largest (0 for ``X = 0``).
    dual_norm : float
        ``||G||_2 / lam``; at most 1 in every layer at a point that no update improves to first order. Where ``lam`` is
        0 this and the next two are the norms themselves.
    outside : float
        ``||(I - P P^T) G (I - Q Q^T)||_2 / lam``, with ``P``, ``Q`` the singular spaces of ``X``.
    inside : float
        ``||P^T G Q + lam I||_2 / lam``; zero at a stationary point, and for ``X = 0``.
    stationarity : float
        Length of the gradient of ``L`` in the factors of this layer.
    balance : float or None
        ``||A^T A - B^T B||_F / (||A||_F^2 + ||B||_F^2)``; None for an empty layer, where it is 0/0.
    direction : tuple of ndarray
        Unit vectors ``(u, v)`` outside the spaces of ``X`` with the largest ``|u^T G v|``: to first order
        ``F`` changes along ``-u v^T`` at the rate ``lam - lam outside``, where ``lam`` is 0 at the rate ``-outside``.
    """

    name: str
    shape: tuple[int, int]
    max_rank: int
    rank: int
    spectral: float
    nuclear: float
    spread: float
    dual_norm: float
    outside: float
    inside: float
    stationarity: float
    balance: float | None
    direction: tuple[Array, Array] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON-ready values, without the direction."""
        return dict(for_json({key: value for key, value in asdict(self).items() if key != "direction"}))


@dataclass(frozen=True)
class TangentCertificate:
    """A bound on what any update of any rank gains in the network linearised at its own weights.

    Attributes
    ----------
    f, F, L : float
        The loss, ``f + lam sum_l ||X_l||_*`` and ``f + (lam/2) sum_l (||A_l||_F^2 + ||B_l||_F^2)``.
    lam : float
        The weight decay.
    gap, relative_gap : float
        Upper bound on ``F - min T``, and over ``|f| + lam sum_l ||X_l||_*``.
    level : Known
        CERTIFIED, or SAMPLED where a spectral norm is.
    formula : str
        Which bound was used, or why there is none.
    failure_probability : float
        Over the certificate's own random numbers, for SAMPLED.
    grad_norm, stationarity : float
        ``||grad L||``, and over ``lam ||theta||`` (infinite for ``lam = 0``).
    layers : tuple of LayerDual
        Layer by layer.
    dtype : str
        The precision in which the network was evaluated.
    factors, gradients
        The point and the gradients ``G_l``.
    """

    f: float
    F: float
    L: float
    lam: float
    gap: float
    relative_gap: float
    level: Known
    formula: str
    failure_probability: float
    grad_norm: float
    stationarity: float
    layers: tuple[LayerDual, ...]
    dtype: str
    factors: Pairs = field(repr=False)
    gradients: tuple[Array, ...] = field(repr=False)

    @property
    def updates(self) -> tuple[Array, ...]:
        """``X_l = A_l B_l^T``."""
        return tuple(A @ B.T for A, B in self.factors)

    @property
    def dual_norm(self) -> float:
        """The largest ``||G_l||_2 / lam``."""
        return max(layer.dual_norm for layer in self.layers)

    @property
    def lam_hat(self) -> float:
        """The weight decay for which the factors are closest to stationary; 0 where none but a negative one is."""
        squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in self.factors)
        inner = sum(float(np.vdot(G @ B, A)) for G, (A, B) in zip(self.gradients, self.factors))
        return max(-2.0 * inner / squares, 0.0) if squares > 0.0 else 0.0

    def gradient_lengths(self, lam: float) -> tuple[float, ...]:
        """Return the length of the gradient in the factors of each layer with another weight decay."""
        return tuple(_gradient_length(G, pair, lam) for G, pair in zip(self.gradients, self.factors))

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON-ready values."""
        names = ("f", "F", "L", "lam", "gap", "relative_gap", "formula", "failure_probability", "grad_norm")
        found = {name: getattr(self, name) for name in (*names, "stationarity")}
        return dict(for_json(found | {"level": str(self.level), "layers": [layer.to_dict() for layer in self.layers]}))


def tangent_certificate(
    f: float,
    gradients: Sequence[Array],
    factors: Pairs,
    lam: float,
    *,
    names: Sequence[str] | None = None,
    lower_bound: float = 0.0,
    dtype: Any = np.float64,
    rounding: float = 0.0,
) -> TangentCertificate:
    """Certify a point of a network from one value and one gradient a layer.

    Parameters
    ----------
    f : float
        The loss at the point.
    gradients : sequence of ndarray of shape (m_l, n_l)
        Its gradient in each adapted weight.
    factors : sequence of (A_l, B_l)
        The updates ``X_l = A_l B_l^T``, of shapes (m_l, r_l) and (n_l, r_l).
    lam : float
        Weight of ``(1/2) sum_l (||A_l||^2 + ||B_l||^2)``.
    names : sequence of str, optional
        Names of the layers.
    lower_bound : float
        A number below every value that the loss of the outputs takes.
    dtype : dtype
        The precision in which the network was evaluated; its rounding errors are allowed for with 8 units in the last
        place of ``f``, and where columns cancel in ``A_l B_l^T``, so that another update is evaluated, with as much of
        their lengths, to first order. What the network itself lost on the way to ``f`` and the gradients is not known
        here.
    rounding : float
        Rounding errors of ``f`` beyond those, as where losses of samples cancel in their mean.

    Returns
    -------
    TangentCertificate

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match and non-finite numbers.

    Notes
    -----
    ``gap = 0`` exactly if ``||G_l||_2 <= lam`` and ``<G_l, X_l> = -lam ||X_l||_*`` in every layer, that is if no
    direction of any rank has a negative derivative of ``F`` (main paper, section 2, layer by layer as in Theorem 2;
    proofs/tangent_certificate). The bound is not monotone along a run; the solved tangent problem is sharper
    (:func:`~lorasolve.networks.solve_tangent`).
    """
    lam = as_number(lam, "lam", 0.0)
    f = as_number(f, "f")
    lower_bound = as_number(lower_bound, "lower_bound")
    rounding = as_number(rounding, "rounding", 0.0)
    dtype = as_choice(getattr(dtype, "__name__", str(dtype)), "dtype", ("float64", "float32"))
    pairs = as_finite_pairs(factors, "factors")
    gradients = list(as_iterable(gradients, "gradients"))
    if len(gradients) != len(pairs):
        raise ValueError(f"gradients: expected one for each of {len(pairs)} layers, got {len(gradients)}")
    if names is None:
        names = [f"layer {k + 1}" for k in range(len(pairs))]
    names = [as_text(name, "names") for name in as_iterable(names, "names")]
    if len(names) != len(pairs):
        raise ValueError(f"names: expected one for each of {len(pairs)} layers, got {len(names)}")
    G = tuple(
        as_shape(as_float_array(g, f"gradients[{k}]", 2, np.float64), f"gradients[{k}]", (len(A), len(B)))
        for k, (g, (A, B)) in enumerate(zip(gradients, pairs))
    )
    svds = [factor_svd(A, B) for A, B in pairs]
    largest = max(float(s[0]) for _, s, _ in svds)
    lost = lost_in_rounding(f, lam) if lam > 0.0 else 0.0
    rng = np.random.default_rng()
    layers, norms = [], []
    for name, g, pair, svd in zip(names, G, pairs, svds):
        rank = layer_rank(svd[1], largest, RANK_TOL, lost)
        layers.append(_layer(name, g, pair, svd, rank, lam, rng))
        norms.append(gradient_norm(LinearMap.from_dense(g), svd[0][:, :rank], svd[2][:, :rank], lam))
    nuclear = sum(layer.nuclear for layer in layers)
    inner = sum(float(np.vdot(g @ B, A)) for g, (A, B) in zip(G, pairs))
    norm = max(found.most for found in norms)
    noise = rounding + (norm + lam) * product_errors(pairs, nuclear, dtype)
    bound = duality_gap(_Tangent(lower_bound, dtype), lam, f, nuclear, inner, norm, noise)
    failure = sum(found.failure for found in norms)
    squares = sum(float(np.vdot(A, A) + np.vdot(B, B)) for A, B in pairs)
    grad_norm = math.hypot(*(layer.stationarity for layer in layers))
    return TangentCertificate(
        f=f,
        F=f + lam * nuclear,
        L=f + 0.5 * lam * squares,
        lam=lam,
        gap=bound.gap,
        relative_gap=bound.relative,
        level=Known.SAMPLED if failure else Known.CERTIFIED,
        formula=bound.formula,
        failure_probability=failure,
        grad_norm=grad_norm,
        stationarity=ratio(grad_norm, lam * math.sqrt(squares)),
        layers=tuple(layers),
        dtype=dtype,
        factors=pairs,
        gradients=G,
    )


def lost_in_rounding(f: float, lam: float) -> float:
    """Return the singular value whose penalty is as large as the rounding of the loss ``f``."""
    return float(np.finfo(np.float64).eps) * abs(f) / lam


def layer_rank(values: Array, largest: float, tol: float, lost: float = 0.0) -> int:
    """Return how many singular values of a layer are above ``tol`` of its own largest; 0 for a layer that has vanished.

    ``largest`` is that of all layers, ``lost`` what :func:`lost_in_rounding` returns.
    """
    vanished = float(values[0]) <= min(max(tol * largest, lost), VANISHED)
    return 0 if vanished else numerical_rank(values, tol)


def _layer(
    name: str,
    G: Array,
    pair: tuple[Array, Array],
    svd: Svd,
    rank: int,
    lam: float,
    rng: np.random.Generator,
) -> LayerDual:
    A, B = pair
    P, s, Q = svd[0][:, :rank], svd[1], svd[2][:, :rank]
    seen = outside(LinearMap.from_dense(G), P, Q)
    rest = top_above(seen, 1, 1 + rank // 2, lam, rng)
    inside = float(np.linalg.norm(P.T @ G @ Q + lam * np.eye(rank), 2)) if rank else 0.0
    size = float(np.vdot(A, A) + np.vdot(B, B))
    unit = lam if lam > 0.0 else 1.0
    return LayerDual(
        name=name,
        shape=(len(A), len(B)),
        max_rank=A.shape[1],
        rank=rank,
        spectral=float(s[0]),
        nuclear=float(s.sum()),
        spread=float(s[-1] / s[0]) if s[0] > 0.0 else 0.0,
        dual_norm=ratio(_norm(G, seen.norm(float(rest.values[0]) + rest.residual)), unit),
        outside=ratio(float(rest.values[0]), unit),
        inside=ratio(inside, unit),
        stationarity=_gradient_length(G, pair, lam),
        balance=float(np.linalg.norm(A.T @ A - B.T @ B)) / size if rank else None,
        direction=(rest.U[:, 0], rest.V[:, 0]),
    )


def _gradient_length(G: Array, pair: tuple[Array, Array], lam: float) -> float:
    A, B = pair
    return math.hypot(float(np.linalg.norm(G @ B + lam * A)), float(np.linalg.norm(G.T @ A + lam * B)))


def _norm(G: Array, estimate: float) -> float:
    """Return ``||G||_2``: exact to rounding for a matrix of moderate size, else as estimated through its blocks."""
    return float(np.linalg.norm(G, 2)) if G.size <= 1_000_000 else estimate


def ratio(part: float, whole: float) -> float:
    """Return ``part / whole``, infinite for ``whole = 0`` unless both are 0."""
    return part / whole if whole > 0.0 else (math.inf if part > 0.0 else 0.0)


@dataclass(frozen=True)
class TwoPoints:
    """Two points of one network held against each other.

    Attributes
    ----------
    quotient : float
        ``<G_1 - G_2, X_1 - X_2> / ||X_1 - X_2||_F^2``. No constant of restricted strong convexity is above it; at two
        stationary points that are dual feasible it is never positive.
    rounding : float
        What rounding errors may add to the quotient or take from it; infinite where the points are the same up to
        rounding.
    distance : float
        ``||X_1 - X_2||_F``.
    F_1, F_2 : float
        The values.
    stationarity : float
        The larger of the two relative gradient lengths.
    level : Known
        CERTIFIED: the quotient is a number evaluated at two points, up to ``rounding``.
    """

    quotient: float
    rounding: float
    distance: float
    F_1: float
    F_2: float
    stationarity: float
    level: Known = Known.CERTIFIED

    @property
    def refutes_convexity(self) -> bool | None:
        """Whether restricted strong convexity with a positive constant fails; None if rounding hides the sign."""
        return None if abs(self.quotient) <= self.rounding else self.quotient < 0.0

    def __str__(self) -> str:
        at, values = f"distance {self.distance:.3g}", f"F = {self.F_1:.8g} and {self.F_2:.8g}"
        if math.isinf(self.rounding):
            return f"inconclusive: the points are the same up to rounding ({at}, {values})"
        quotient = f"<G1 - G2, X1 - X2>/||X1 - X2||^2 = {self.quotient:.3g}"
        if self.refutes_convexity is None:
            rounding = at_most(self.rounding, ".1e")
            return f"inconclusive: {quotient}, and rounding errors may be {rounding} ({at}, {values})"
        if not self.refutes_convexity:
            most = at_most(self.quotient + self.rounding, ".3g")
            return f"nothing refuted: restricted convexity holds here with {most} at most ({at}, {values})"
        return (
            f"restricted convexity fails between these points: {quotient} <= 0 at {at}, {self.level} up to rounding of "
            f"{at_most(self.rounding, '.1e')} ({values}; stationary to {self.stationarity:.1e} of lam ||theta||). "
            "A theorem that assumes it says nothing here."
        )


def two_points(first: TangentCertificate, second: TangentCertificate) -> TwoPoints:
    """Hold two points against each other: two different stationary ones refute restricted convexity.

    Parameters
    ----------
    first, second : TangentCertificate
        Of the same network, data and ``lam`` (``verdict.certificate`` of :func:`~lorasolve.networks.judge`).

    Raises
    ------
    ValueError
        For points of different shapes or decay, and for equal points.

    Notes
    -----
    At stationary, dual feasible points ``-G_l/lam`` is a subgradient of the nuclear norm at ``X_l``, and subgradients
    are monotone: ``<G_1 - G_2, X_1 - X_2> <= 0`` (proofs/two_stationary_points), and so with a minimizer ``X*`` in
    place of either. With ``F_1 != F_2`` the points differ, ``X*`` is not both, and no constant above 0 is left for the
    inequality about ``X*`` that Theorems 1 and 2 of the main paper assume.

    Rounding errors are taken to be 8 units in the last place (of the precision of each certificate) of ``||G||_F`` in
    each gradient, and of ``||A|| ||B||`` in each update. What a network itself lost beyond that is not known here.
    """
    as_instance(first, "first", TangentCertificate)
    as_instance(second, "second", TangentCertificate)
    if [layer.shape for layer in first.layers] != [layer.shape for layer in second.layers]:
        raise ValueError("second: expected a point of the same layers as first")
    if first.lam != second.lam:
        raise ValueError(f"second: expected lam = {first.lam:g}, got {second.lam:g}")
    moves = [x - y for x, y in zip(first.updates, second.updates)]
    square = joint_inner(moves, moves)
    if square == 0.0:
        raise ValueError("second: is the same point as first")
    changes = [g - h for g, h in zip(first.gradients, second.gradients)]
    inner = joint_inner(changes, moves)
    distance = math.sqrt(square)
    return TwoPoints(
        quotient=inner / square,
        rounding=_rounding(first, second, inner, distance, math.hypot(*map(np.linalg.norm, changes))),
        distance=distance,
        F_1=first.F,
        F_2=second.F,
        stationarity=max(first.stationarity, second.stationarity),
    )


def _rounding(
    first: TangentCertificate, second: TangentCertificate, inner: float, distance: float, change: float
) -> float:
    """Return how far ``inner / distance^2`` may be from the quotient of the points at which the gradients were taken.

    These points are ``shift`` from the updates at most, together, and their gradients ``error`` from those given;
    ``change`` is the length of the difference of the gradients.
    """
    shift = error = 0.0
    for point in (first, second):
        eps = allowance(np.dtype(point.dtype))
        shift += eps * math.hypot(*(float(np.linalg.norm(A) * np.linalg.norm(B)) for A, B in point.factors))
        error += eps * math.hypot(*map(np.linalg.norm, point.gradients))
    least = max(distance - shift, 0.0) ** 2
    if least == 0.0:
        return math.inf
    moved = abs(inner) * (1.0 / least - 1.0 / distance**2)
    return moved + (error * (distance + shift) + change * shift) / least
