"""The strongest bound at a point that its cost allows: proved where that is cheap, in floating point elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._known import Known
from .._support.validate import Array, as_choice
from ..linear_map import LinearMap
from ..low_rank import RANK_TOL, Svd
from ..problem import Problem
from ..problem.blocks import MultiObjective
from ..problem.pairs import Pairs
from . import spot_checks
from .duality import DENSE_ENTRIES, DENSE_SIDE, Bound, Norm, Parts, duality_gap, evaluate
from .norms import Trust
from .rigorous import Proof, Seen, prove, refusal

FLOATING = (
    "rounding errors in f and its gradient are within 8 units in the last place of |f(0)|, of |f(X)|, and of the terms "
    "that cancel in them where the loss states their size, and those in X = A B^T of the lengths of columns that cancel"
)
LANCZOS = "the Lanczos iteration for ||G||_2 behaves as in exact arithmetic, up to 1e-12"


@dataclass(frozen=True)
class Product:
    """The update ``A B^T``, with nothing to be scaled."""

    A: Array
    B: Array


class Estimates(NamedTuple):
    """What a route has seen of the gradients at balanced singular factors; no statement rests on it.

    Attributes
    ----------
    norm, outside : float
        The largest norm of a gradient, and of what is outside of the spaces of its update.
    products : sequence of (G_l B_l, G_l^T A_l), optional
        The gradients' products with the factors (:func:`~lorasolve.low_rank.balanced`), as evaluated.
    """

    norm: float
    outside: float
    products: Pairs | None


class Evidence(NamedTuple):
    """A bound at a point, what it rests on, and what was found on the way.

    ``proof`` is there for RIGOROUS bounds only, ``norms`` (of the gradient of each matrix) for the others; ``oracle``
    holds ``f`` and the products of its gradients with the factors, ``svds`` the singular value decompositions of the
    updates, both in floating point.
    """

    value: float
    bound: Bound
    refers_to: str
    assumptions: tuple[str, ...]
    parts: Parts | None
    svds: Sequence[Svd]
    proof: Proof | None = None
    norms: tuple[Norm, ...] = ()
    oracle: tuple[float, Pairs] | None = None


def use_proof(problem: Problem, rigorous: bool | str) -> bool:
    """Return whether a bound is to be proved.

    ``"auto"`` proves where the loss has a ball oracle and its gradient has at most ``DENSE_SIDE`` rows or columns and
    ``DENSE_ENTRIES`` entries, without those that it is always 0 in.

    Raises
    ------
    ValueError
        If a proof is asked for and there is none.
    """
    if not isinstance(rigorous, (bool, np.bool_)):
        as_choice(rigorous, "rigorous", ("auto",))
        if problem.several:
            return False
        seen = problem.objective.observed_part()
        m, n = problem.shape if seen is None else seen.objective.shape
        return min(m, n) <= DENSE_SIDE and m * n <= DENSE_ENTRIES and refusal(problem) is None
    reason = refusal(problem) if rigorous else None
    if reason is not None:
        raise ValueError(f"rigorous: nothing can be proved here: {reason}")
    return bool(rigorous)


def evidence(
    problem: Problem,
    factors: Pairs,
    svds: Sequence[Svd],
    rigorous: bool | str = "auto",
    trust: Trust = "lapack",
    point: Any = None,
    estimates: Estimates | None = None,
) -> Evidence:
    """Bound ``F(X) - inf F`` at the updates ``A_l B_l^T``.

    Parameters
    ----------
    problem : Problem or MultiProblem
        With a loss in float64, except for losses that only speak float32.
    factors : sequence of (A_l, B_l)
        The updates as products; the scaling of the adapter is in them.
    svds : sequence of (P_l, s_l, Q_l)
        Their singular value decompositions. No statement rests on them.
    rigorous, trust
        As for :func:`lorasolve.certify`.
    point : optional
        The point as it was given, if that is not ``factors``: what a proof is about.
    estimates : Estimates, optional
        What has been seen of the gradients there.
    """
    proved = None
    if use_proof(problem, rigorous):
        given = Product(*factors[0]) if point is None else point
        _, s, Q = cut(svds)[0]
        products, seen = None, Seen(Q)
        if estimates is not None:
            products = estimates.products
            GQ = None if products is None else products[0][0][:, : s.size] / np.sqrt(s)
            seen = Seen(Q, GQ, estimates.outside, estimates.norm)
        proof = prove(problem, given, trust, seen)
        proved = from_proof(problem, proof, *factors[0], svds[0], products)
        if problem.lam > 0.0 or rigorous is True:
            return proved
        if proved.oracle is not None:
            return _with_lower_bound(problem, proved)
    loss = problem.loss
    nuclear = sum(float(s.sum()) for _, s, _ in svds)
    found = evaluate(loss, problem.lam_effective, factors, [(P, Q) for P, _, Q in cut(svds)], nuclear)
    assumptions = [*_claims(loss), FLOATING, *([LANCZOS] if found.bound.level is Known.SAMPLED else [])]
    about = "f as evaluated"
    return Evidence(
        found.value, found.bound, about, tuple(assumptions), found.parts, svds, None, found.norms, found.oracle
    )


def _claims(loss: MultiObjective) -> list[str]:
    """Return what is taken for granted about a loss whose facts are claims."""
    return [spot_checks.assumption(loss)] if spot_checks.needed(loss) else []


def _with_lower_bound(problem: Problem, proved: Evidence) -> Evidence:
    """Return the evidence with the smaller of its bound and ``f``, as proved, above the lower bound that is stated.

    Without weight decay all rests on that bound, and the proved one may be 0 where ``min f`` is known.
    """
    assert proved.oracle is not None and proved.parts is not None
    f, parts = proved.oracle[0], proved.parts
    bound = duality_gap(problem.loss, 0.0, f, 0.0, 0.0, 0.0, max(parts.f_high - f, f - parts.f_low))
    if proved.bound.gap <= bound.gap:
        return proved
    claims = _claims(problem.loss)
    return proved._replace(bound=bound, assumptions=(*proved.assumptions, *claims, FLOATING), proof=None)


def from_proof(problem: Problem, proof: Proof, A: Array, B: Array, svd: Svd, products: Pairs | None = None) -> Evidence:
    """Return a proof as evidence about the update ``A B^T``, whose singular value decomposition is given.

    So are, if known, the gradient's products with the factors.
    """
    found, answer = proof.bound, proof.oracle
    parts = found.parts
    assert parts is not None and answer is not None  # a proof is not asked for where there is no oracle
    bound = Bound(found.gap, found.formula, found.scale, Known.RIGOROUS, 0.0, parts.scaling)
    oracle = None
    if math.isfinite(parts.f_low) and math.isfinite(parts.f_high) and math.isfinite(parts.radius):
        if products is None:
            G = answer.products or LinearMap.from_dense(answer.gradient.mid)
            products = [(G.matmat(B), G.rmatmat(A))]
        f = 0.5 * parts.f_low + 0.5 * parts.f_high
        if parts.f_low <= 0.0 <= parts.f_high:
            # What may be 0 may be much less than half of the upper bound: f as evaluated tells.
            evaluated = problem.loss.factor_value([(A, B)])
            f = min(max(evaluated, parts.f_low), parts.f_high) if evaluated == evaluated else 0.0
        oracle = f, products
    return Evidence(found.value, bound, found.refers_to, found.assumptions, parts, [svd], proof, oracle=oracle)


def cut(spectra: Sequence[Svd]) -> list[Svd]:
    """Return SVDs without the singular values that are numerically zero.

    Zero is relative to the largest singular value of all blocks, as it would be in one block-diagonal matrix.
    """
    threshold = RANK_TOL * max(float(s.max(initial=0.0)) for _, s, _ in spectra)
    counts = [int(np.count_nonzero(s > threshold)) for _, s, _ in spectra]
    return [(P[:, :k], s[:k], Q[:, :k]) for (P, s, Q), k in zip(spectra, counts)]
