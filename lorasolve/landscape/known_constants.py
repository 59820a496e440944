"""Constants of convexity of the whole space that cost nothing to establish, of one matrix and of several jointly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._known import Known
from .._support.validate import Array, as_number
from ..certificates.stated_bounds import contradicted_curvature
from ..dense import refuse_non_finite
from ..objectives import length_of
from ..objectives.base import Objective
from ..problem.blocks import MultiObjective, OneBlock, is_of_a_user, speaker
from ..problem.pairs import Pairs, joint_norm
from .constants import Constants, of_curvature
from .regimes import ROUNDING

# Up to this many entries of X the Hessian of a quadratic is formed and decomposed.
DENSE_ENTRIES = 1024
# Errors of differences of gradients, in units of eps^(2/3) of the curvature for each direction.
DIFFERENCES = 16.0
# Rounding errors of exact products and of an eigenvalue, in units of eps of the largest for each direction.
ROUNDED = 8.0
# Share of a gradient by which its change may differ from what the Hessian of a quadratic says, in units of eps^(2/3).
CHANGED = 1e3
STATED = "stated by the objective, whole space"
STATED_JOINTLY = "stated by the loss, jointly, whole space"


def known_constants(objective: Objective, r: int) -> Constants | None:
    """Return whole-space constants that cost nothing to establish, or None.

    They come from an objective that states ``rsc`` and ``rsm``, or from the spectrum of a small quadratic.
    """
    rsc, rsm = _stated(objective, "rsc"), _stated(objective, "rsm")
    if rsc is not None and rsm is not None:
        return of_curvature(rsc, rsm, r, STATED)
    if _has_small_hessian(OneBlock(objective)):
        return _of_spectrum(OneBlock(objective), r, "extreme eigenvalues of the Hessian, whole space")
    return None


def _stated(loss: Objective | MultiObjective, constant: str) -> float | None:
    """Return a constant that a loss states of itself, ``"rsc"`` or ``"rsm"``, if it does."""
    whose = speaker(loss)
    value = getattr(whose, constant, None)
    return None if value is None else as_number(value, f"objective: {type(whose).__name__} states {constant}")


def known_block_constants(loss: MultiObjective, ranks: Sequence[int]) -> tuple[Constants, ...] | None:
    """Return whole-space constants for each matrix that cost nothing and satisfy the joint inequality, or None.

    For a decoupled loss those of its parts. Otherwise a loss that is strongly convex with ``rsc`` and smooth with
    ``rsm`` jointly has these constants in each matrix: stated by it, or from the spectrum of a small quadratic.
    """
    if loss.decoupled or len(ranks) == 1:
        found = [known_constants(part, r) for part, r in zip(_blocks(loss), ranks)]
        return None if None in found else tuple(found)  # type: ignore[arg-type]
    rsc, rsm = _stated(loss, "rsc"), _stated(loss, "rsm")
    if rsc is not None and rsm is not None:
        return tuple(of_curvature(rsc, rsm, r, STATED_JOINTLY) for r in ranks)
    if not _has_small_hessian(loss):
        return None
    return tuple(_of_spectrum(loss, r, "extreme eigenvalues of the joint Hessian, whole space") for r in ranks)


def contradicted_constants(loss: MultiObjective, factors: Pairs) -> str | None:
    """Return how a user's loss contradicts the constants that it states of itself, or a part of a sum does, or None.

    They are looked at where they are used, like its other claims.
    """
    parts: list[tuple[Any, MultiObjective, Pairs]] = [(loss, loss, factors)]
    if loss.decoupled or len(factors) == 1:
        parts = [(part, OneBlock(part), [pair]) for part, pair in zip(_blocks(loss), factors)]
    for k, (states, part, pairs) in enumerate(parts):
        rsc, rsm = _stated(states, "rsc"), _stated(states, "rsm")
        if not is_of_a_user(part) or rsc is None:
            continue
        found = contradicted_curvature(part, [A @ B.T for A, B in pairs], rsc, math.inf if rsm is None else rsm)
        if found is not None:
            return f"{found}{f' in matrix {k + 1}' if len(parts) > 1 else ''}"
    return None


def _blocks(loss: MultiObjective) -> list[Objective]:
    """Return the loss of each matrix where the others do not matter, for which no memory is taken."""
    zeros = [np.broadcast_to(0.0, shape) for shape in loss.shapes]
    return [loss.block(k, zeros) for k in range(len(zeros))]


def joint_inequality(loss: MultiObjective, constants: Sequence[Constants]) -> tuple[bool | None, str]:
    """Say whether the constants ``alpha_l`` of each matrix are joint ones, and how that is known.

    The inequality is ``<grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||_F^2``. It holds for a sum of
    losses of one matrix each; where the joint Hessian minus ``diag(alpha_l)`` is positive semidefinite; and where ``f``
    is jointly strongly convex with a constant of at least all ``alpha_l``. Nothing here refutes it: that would need an
    admissible matrix of low rank.
    """
    least = [c.rsc_low if c.rsc_low > 0.0 else c.rsc_high for c in constants]
    if loss.decoupled:
        return True, "f is a sum of losses of one matrix each"
    stated = _stated(loss, "rsc")
    if stated is not None and stated >= max(least):
        return True, f"{Known.CERTIFIED}: f is jointly strongly convex with {stated:.6g}"
    if _has_small_hessian(loss):
        weights = np.concatenate([np.full(m * n, a) for (m, n), a in zip(loss.shapes, least)])
        H, errors = _joint_hessian(loss)
        # In units in which each entry has the curvature 1: the rounding of large ones is much beside small ones.
        units = np.sqrt(np.where(np.diag(H) > 0.0, np.diag(H), 1.0))
        values = np.linalg.eigvalsh((H - np.diag(weights)) / np.outer(units, units))
        low = float(values[0]) - errors / float(np.min(units)) ** 2
        if low >= -_rounding(values):
            return True, f"{Known.CERTIFIED}: the joint Hessian is at least diag(alpha_l)"
        missing = f"falls below diag(alpha_l) by {-low:.3g} of its diagonal"
        return None, f"not given, and not certified: the joint Hessian {missing}"
    return None, "not given, and f states no joint constant; constants of each matrix alone do not imply it"


def joint_curvature(loss: MultiObjective) -> tuple[float, float] | None:
    """Return bounds on the curvature of ``f`` in all matrices together, cross terms included, or None."""
    rsc, smoothness = _stated(loss, "rsc"), loss.facts.smoothness
    if rsc is not None and rsc > 0.0 and smoothness is not None:
        return rsc, smoothness
    if not _has_small_hessian(loss):
        return None
    low, high, _ = spectrum_ends(loss)
    return (low, high) if low > 0.0 else None


def _has_small_hessian(loss: MultiObjective) -> bool:
    small = loss.facts.least_squares and sum(m * n for m, n in loss.shapes) <= DENSE_ENTRIES
    return small and changes_linearly(loss)


def changes_linearly(loss: MultiObjective) -> bool:
    """Return whether the gradient changes from 0 to a random point as the Hessian at 0 says, in every matrix.

    Least squares are what a user states, and one Hessian says nothing about other losses.
    """
    loss = loss.in_float64()
    zero = [np.zeros(shape) for shape in loss.shapes]
    rng = np.random.default_rng()
    D = [rng.standard_normal(shape) for shape in loss.shapes]
    f, before = loss.checked_value_and_grad(zero)
    scale = (length_of(f, joint_norm(before)) or 1.0) / joint_norm(D)
    D = [scale * d for d in D]
    after = loss.checked_value_and_grad(D)[1]
    share = CHANGED * float(np.finfo(loss.precision).eps) ** (2 / 3)
    for a, b, H in zip(before, after, loss.checked_hessian_product(zero, D)):
        off = b - a - H
        refuse_non_finite(off)
        if float(np.linalg.norm(off)) > share * float(np.linalg.norm(a) + np.linalg.norm(b) + np.linalg.norm(H)):
            return False
    return True


def _joint_hessian(loss: MultiObjective) -> tuple[Array, float]:
    """Return the constant Hessian of a small quadratic in all entries of all updates, and a bound of its errors.

    It is in float64 and beyond the rounding errors of exact products. Differences of gradients lose a third of the
    digits, and errors of any origin show in the part that is not symmetric.
    """
    loss = loss.in_float64()
    cuts = np.cumsum([m * n for m, n in loss.shapes])
    zero = [np.zeros(shape) for shape in loss.shapes]
    rows = []
    for unit in np.eye(int(cuts[-1])):
        parts = [part.reshape(shape) for part, shape in zip(np.split(unit, cuts[:-1]), loss.shapes)]
        rows.append(np.concatenate([product.ravel() for product in loss.checked_hessian_product(zero, parts)]))
    H = np.array(rows, dtype=np.float64)
    refuse_non_finite(H)
    size, eps = float(np.linalg.norm(H, 1)), float(np.finfo(loss.precision).eps)
    lost = DIFFERENCES * eps ** (2 / 3) * math.sqrt(len(H)) if loss.differenced else ROUNDED * eps * len(H)
    errors = max(lost * size, float(np.linalg.norm(H - H.T)))
    return 0.5 * (H + H.T), errors if errors > ROUNDED * float(np.finfo(np.float64).eps) * len(H) * size else 0.0


def _rounding(values: Array) -> float:
    """Return what rounding may make of a zero among the eigenvalues of a symmetric matrix."""
    return ROUNDED * float(np.finfo(np.float64).eps) * values.size * max(abs(float(values[0])), abs(float(values[-1])))


def spectrum_ends(loss: MultiObjective) -> tuple[float, float, float]:
    """Return bounds of the eigenvalues of the constant Hessian, and how far they may be from the extreme ones.

    The lower one is zero where the smallest is zero to its errors: these are never reported as convexity. Errors of a
    share that quotients of constants are not compared to are left out.
    """
    H, errors = _joint_hessian(loss)
    values = np.linalg.eigvalsh(H)
    low, high = float(values[0]), float(values[-1])
    rounding = _rounding(values)
    if abs(low) <= errors + rounding:
        low = 0.0
    elif errors + rounding > ROUNDING * abs(low):
        errors += rounding
        low -= errors
    return low, high + errors, 2.0 * errors


def _of_spectrum(loss: MultiObjective, r: int, source: str) -> Constants:
    low, high, apart = spectrum_ends(loss)
    found = of_curvature(low, high, r, source)
    return replace(found, rsc_high=low + apart, rsm_low=high - apart)
