"""The constants on matrices of low rank about ``X*``: certified ends, and ends that optimisation or chance attains."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._known import Known
from .._support.validate import MOST_DRAWS, Array, as_choice, as_float_array, as_integer, as_number, as_shape
from ..dense import frobenius_norm
from ..low_rank import RANK_TOL, numerical_rank
from ..objectives import as_objective
from ..objectives.base import Objective, allowance
from ..problem.blocks import OneBlock
from .constants import UNKNOWN, Constants, Provenance, curvature_everywhere
from .known_constants import CHANGED, DENSE_ENTRIES, changes_linearly, spectrum_ends
from .regimes import ROUNDING

# The least distance from X* at which matrices are drawn, as a share of the largest.
NEAR = 1e-3
# Nearer to X*, as a share of its length, the difference of two matrices has no rank that rounding leaves.
ROUNDED = 1e-8
# Beyond so many lengths of X* nothing changes but the unit.
FAR = 1e6

# The most rounds of the augmented Lagrangian, and of iterations of L-BFGS in each. They tend to a bound that is by a
# share INSIDE less than the radius, since what lies beyond that does not count.
ROUNDS, ITERATIONS, INSIDE = 12, 60, 1e-7


def restricted_constants(
    objective: Any,
    X_star: ArrayLike,
    r: int,
    D: float,
    by: Literal["auto", "quadratic", "sampled", "searched"] = "auto",
    samples: int = 1000,
    starts: int = 5,
    seed: int = 0,
) -> Constants:
    """Return intervals for the RSC and RSM constants about ``X_star``.

    ``alpha`` is the largest number with ``<G(X) - G(X*), X - X*> >= alpha ||X - X*||^2`` and ``beta`` the smallest with
    ``hess f(X)[E, E] <= beta ||E||^2`` for ``E = U X + X V``, ``U, V`` of rank one, over all ``X`` of rank ``<= r``
    with ``||X - X*||_F <= D``.

    Parameters
    ----------
    objective : Objective or object
        The loss ``f``.
    X_star : array_like of shape (m, n)
        A minimizer of ``F``.
    r : int
        LoRA rank.
    D : float
        Radius, > 0; ``inf`` is accepted.
    by : {"auto", "quadratic", "sampled", "searched"}
        ``"quadratic"`` (chosen by ``"auto"`` where the objective says ``least_squares``): certified ends from the
        spectrum of the constant Hessian less the errors of its products, attained ends by alternating optimisation over
        the restricted sets. Hessian products that are differences of gradients have errors of about 1e-9.
        ``"sampled"``: Monte Carlo, as in the main paper, for any ``f``; certified ends only from what the objective
        states (``smoothness``, ``convex``). ``"searched"``: the same, then descent on the quotient of ``alpha`` and a
        power iteration on that of ``beta`` from random starts, which finds far more extreme matrices than chance.
    samples : int
        Number of Monte Carlo samples.
    starts : int
        Number of random starts of the optimisation (``"quadratic"``, ``"searched"``).
    seed : int
        Seed of all randomness.

    Returns
    -------
    Constants

    Raises
    ------
    ValueError, TypeError
        For arguments out of range, for ``by="quadratic"`` on an objective that is not quadratic, and for one that says
        so and is found not to be, or to be curved beyond what it states.

    Notes
    -----
    Source: main paper, section 3. A sampled minimum only bounds ``alpha`` from above and a sampled maximum only
    bounds ``beta`` from below; neither establishes a premise of a theorem. For a quadratic ``f`` the RSM constant
    is the largest curvature over matrices of rank <= 2 whenever ``r > r*`` or the ball contains 0 (then every
    ``u a^T + b z^T`` is a multiple of some admissible ``U X + X V``), so it does not depend on ``r``.
    """
    objective = as_objective(objective).in_float64()
    X_star = as_shape(as_float_array(X_star, "X_star", 2, np.float64), "X_star", objective.shape)
    r = as_integer(r, "r", 1, min(objective.shape))
    D = math.inf if isinstance(D, float) and math.inf == D else as_number(D, "D", 0.0, open_low=True)
    samples = as_integer(samples, "samples", 1, MOST_DRAWS)
    starts = as_integer(starts, "starts", 1, MOST_DRAWS)
    rng = np.random.default_rng(as_integer(seed, "seed", 0))
    as_choice(by, "by", ("auto", "quadratic", "sampled", "searched"))
    if by == "quadratic" and not objective.facts.least_squares:
        raise ValueError(
            f"by: 'quadratic' needs an objective with least_squares = True (a constant Hessian); "
            f"{objective.label} has {objective.facts.least_squares!r}; accepted here: 'sampled', 'searched'"
        )
    if by == "quadratic" or (by == "auto" and objective.facts.least_squares):
        if not changes_linearly(OneBlock(objective)):
            raise ValueError(
                f"objective: {objective.label} states least_squares, but its gradient does not change as its Hessian "
                "says; run check_objective"
            )
        found = _quadratic(objective, X_star, r, D, starts, rng)
    else:
        found = _sampled(objective, X_star, r, D, samples, rng)
        if by == "searched":
            found = _searched(objective, X_star, found, starts, rng)
    _refuse_contradicted(objective, found)
    return found


def _refuse_contradicted(objective: Objective, found: Constants) -> None:
    """Refuse a loss that states less curvature than was found, or that it is convex where it was found not to be."""
    low, high = _stated_ends(objective, {})
    share = CHANGED * float(np.finfo(objective.precision).eps) ** (2 / 3)
    slack = share * max(abs(found.rsc_high), abs(found.rsm_low))
    if found.rsc_high < low - slack or found.rsm_low > high + slack:
        stated = f"expected all curvature from {low:.6g} to {high:.6g}, as its convex and smoothness state"
        got = f"got {found.rsc_high:.6g} and {found.rsm_low:.6g}"
        raise ValueError(f"objective: {objective.label}: {stated}, {got}; run check_objective")


def _quadratic(
    objective: Objective, X_star: Array, r: int, D: float, starts: int, rng: np.random.Generator
) -> Constants:
    m, n = objective.shape
    how: dict[str, Provenance] = {
        "rsc_high": Provenance(Known.ATTAINED, "minimisation over rank <= r within the radius"),
        "rsm_low": Provenance(Known.ATTAINED, "alternating maximisation over the restricted directions"),
    }
    if m * n <= DENSE_ENTRIES:
        rsc_low, rsm_high, _ = spectrum_ends(OneBlock(objective))
        how["rsc_low"] = Provenance(Known.CERTIFIED, "smallest eigenvalue of the Hessian")
        how["rsm_high"] = Provenance(Known.CERTIFIED, "largest eigenvalue of the Hessian")
    else:
        rsc_low, rsm_high = _stated_ends(objective, how)
    form = _Form(objective)
    centre, reach = _without_units(X_star, D)
    rsc_high = min(_attained_alpha(form, centre, r, reach, rng) for _ in range(starts))
    rsm_low = max(_attained_beta(form, centre, r, reach, rng) for _ in range(starts))
    low, high = min(rsc_low, rsc_high), max(rsm_high, rsm_low)
    return Constants(
        rsc_low=low,
        rsc_high=rsc_high,
        rsm_low=rsm_low,
        rsm_high=high,
        how=how,
        r=r,
        radius=D,
        whole_space=True,
        curvature=curvature_everywhere(low, high),
    )


def _without_units(X_star: Array, D: float) -> tuple[Array, float]:
    """Return ``X*`` and the radius in units of their size: quotients of a quadratic form have none.

    A radius that is beyond ``FAR`` is cut: what is attained in a smaller ball is attained in the larger one.
    """
    unit = frobenius_norm(X_star) or (D if math.isfinite(D) else 1.0)
    return X_star / unit, min(D / unit, FAR) if math.isfinite(D) else D


def _stated_ends(objective: Objective, how: dict[str, Provenance]) -> tuple[float, float]:
    """Return what the objective's own facts give for ``alpha`` from below and ``beta`` from above."""
    rsc_low, rsm_high = -math.inf, math.inf
    how["rsc_low"] = how["rsm_high"] = UNKNOWN
    if objective.facts.convex:
        rsc_low, how["rsc_low"] = 0.0, Provenance(Known.CERTIFIED, "f is convex")
    if objective.facts.smoothness is not None:
        rsm_high = objective.facts.smoothness
        how["rsm_high"] = Provenance(Known.CERTIFIED, "the objective's smoothness constant")
        if not objective.facts.convex:
            rsc_low = -objective.facts.smoothness
            how["rsc_low"] = Provenance(Known.CERTIFIED, "minus the smoothness constant")
    return rsc_low, rsm_high


class _Form:
    """The quadratic form ``<E, H E>`` restricted to spans of a few matrices."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.zero = np.zeros(objective.shape)

    def quotient(self, E: Array) -> float:
        """Return ``<E, H E>/||E||^2``."""
        return self.quotient_and_slope(E)[0]

    def quotient_and_slope(self, E: Array) -> tuple[float, Array]:
        """Return the quotient and its gradient in ``E``."""
        image, size = self.objective.hessian_product(self.zero, E), np.vdot(E, E)
        value = np.vdot(E, image) / size
        return float(value), 2.0 * (image - value * E) / size

    def extreme(self, span: list[Array], largest: bool) -> tuple[Array, Array]:
        """Return the matrix of the span with the extreme quotient, of norm one, and its coefficients."""
        stacked = np.array([E.ravel() for E in span]).T
        basis, s, Wt = np.linalg.svd(stacked, full_matrices=False)
        keep = s > 1e-10 * s[0]
        basis, s, Wt = basis[:, keep], s[keep], Wt[keep]
        shape = self.objective.shape
        images = [self.objective.hessian_product(self.zero, b.reshape(shape)).ravel() for b in basis.T]
        restricted = basis.T @ np.array(images).T
        vector = np.linalg.eigh(0.5 * (restricted + restricted.T))[1][:, -1 if largest else 0]
        return (basis @ vector).reshape(shape), Wt.T @ (vector / s)


def _left_products(left: Array, n: int) -> list[Array]:
    """Return the matrices ``left_i e_j^T``: a basis of all matrices with columns in the span of ``left``."""
    return [np.outer(column, unit) for column in left.T for unit in np.eye(n)]


def _right_products(right: Array, m: int) -> list[Array]:
    """Return the matrices ``e_i right_j^T``, ordered by ``j``, then ``i``."""
    return [np.outer(unit, column) for column in right.T for unit in np.eye(m)]


def _attained_alpha(form: _Form, X_star: Array, r: int, D: float, rng: np.random.Generator) -> float:
    """Return the smallest quotient over ``E = X - X*`` found from one random start.

    Near ``X*`` the admissible ``E`` tend to ``P C^T + R Q^T + W`` with ``W`` of rank ``<= r - r*``; away from it they
    are ``A B^T - X*`` within the ball.
    """
    A, B = _random_factors(X_star, r, D, rng)
    in_ball = math.inf
    if _nearest(X_star, D) < D:
        in_ball = _least_quotient_in_ball(form, X_star, *_alternating_in_ball(form, X_star, A, B, D), D)
    P, Q = _spaces_of_minimizer(X_star)
    return in_ball if P.shape[1] > r else min(in_ball, _attained_alpha_near(form, P, Q, r - P.shape[1], rng))


def _singular_spaces(X: Array, tol: float = RANK_TOL) -> tuple[Array, Array]:
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    k = numerical_rank(s, tol)
    return P[:, :k], Qt[:k].T


def _spaces_of_minimizer(X_star: Array) -> tuple[Array, Array]:
    """Return its singular spaces, small singular values included: they may be more than the radius."""
    return _singular_spaces(X_star, max(X_star.shape) * float(np.finfo(np.float64).eps))


def _attained_alpha_near(form: _Form, P: Array, Q: Array, extra: int, rng: np.random.Generator) -> float:
    """Minimise over ``P C^T + R Q^T + W`` by alternating between the column and the row space of ``W``."""
    m, n = form.objective.shape
    tangent = _left_products(P, n) + _right_products(Q, m)
    if extra == 0:
        return form.quotient(form.extreme(tangent, False)[0])
    left = np.linalg.qr(rng.standard_normal((m, extra)))[0]
    best = math.inf
    for _ in range(30):
        coefficients = form.extreme([*tangent, *_left_products(left, n)], False)[1][len(tangent) :]
        right = np.linalg.qr(coefficients.reshape(extra, n).T)[0]
        E, coefficients = form.extreme([*tangent, *_right_products(right, m)], False)
        left = np.linalg.qr(coefficients[len(tangent) :].reshape(extra, m).T)[0]
        value = form.quotient(E)
        if value > best - 1e-9 * abs(best):
            return min(best, value)
        best = value
    return best


def _alternating_in_ball(form: _Form, X_star: Array, A: Array, B: Array, D: float) -> tuple[Array, Array]:
    """Return factors of a small quotient over ``A B^T - X*``, found from these on.

    By alternating over ``(A, tau)`` and ``(B, tau)`` in ``A B^T - tau X*``.
    """
    m, n = form.objective.shape
    r = A.shape[1]
    X = A @ B.T
    best = form.quotient(X - X_star)
    length = float(np.linalg.norm(X_star)) or 1.0
    for turn in range(30):
        span = _left_products(np.linalg.qr(A)[0], n) if turn % 2 else _right_products(np.linalg.qr(B)[0], m)
        E, coefficients = form.extreme([*span, X_star / length], False)
        tau = -float(coefficients[-1])
        if abs(tau) < 1e-12:
            break
        # Walk towards the optimum of this half step only as far as the ball allows; the segment keeps its rank.
        X = _clip_to_ball(X, X_star + length / tau * E, X_star, D)
        value = form.quotient(X - X_star)
        if value >= best - 1e-9 * abs(best) or float(np.linalg.norm(X - X_star)) < _nearest(X_star, D):
            break
        best = value
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        A, B = U[:, :r] * np.sqrt(s[:r]), Vt[:r].T * np.sqrt(s[:r])
    return A, B


def _least_quotient_in_ball(form: _Form, X_star: Array, A: Array, B: Array, D: float) -> float:
    """Return the least quotient over ``A B^T - X*`` that is found from factors on.

    By the augmented Lagrangian of ``||A B^T - X*||_F <= D``: one factor alone cannot follow the edge of the ball.
    """
    from scipy.optimize import minimize  # its import takes 0.1 s

    m, r = A.shape
    radius, nearest = D * (1.0 - INSIDE), _nearest(X_star, D)
    start = A @ B.T - X_star
    value = form.quotient(start)
    best = value if nearest <= float(np.linalg.norm(start)) <= D * (1.0 + ROUNDING) else math.inf
    # L-BFGS is given numbers without units.
    theta = np.concatenate([A.ravel(), B.ravel()])
    scale, unit = abs(value) or 1.0, float(np.linalg.norm(theta)) or 1.0
    weight, multiplier = 1.0, 0.0

    def difference(theta: Array) -> tuple[Array, Array, Array, float]:
        A, B = unit * theta[: m * r].reshape(m, r), unit * theta[m * r :].reshape(-1, r)
        E = A @ B.T - X_star
        return A, B, E, float(np.linalg.norm(E))

    def augmented(theta: Array) -> tuple[float, Array]:
        nonlocal best
        A, B, E, distance = difference(theta)
        value, slope = form.quotient_and_slope(E)
        if nearest <= distance <= D and value < best:
            best = value
        force = max(0.0, multiplier + weight * ((distance / radius) ** 2 - 1.0))
        slope = unit * (slope / scale + 2.0 * force * (E / radius) / radius)
        return value / scale + 0.5 * force**2 / weight, np.concatenate([(slope @ B).ravel(), (slope.T @ A).ravel()])

    theta /= unit
    with np.errstate(all="ignore"):  # at X* itself
        for _ in range(ROUNDS):
            theta = minimize(augmented, theta, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
            excess = (difference(theta)[3] / radius) ** 2 - 1.0
            moved = max(0.0, multiplier + weight * excess)
            if abs(moved - multiplier) <= INSIDE * max(1.0, moved):
                break
            multiplier, weight = moved, 4.0 * weight
    return best


def _nearest(X_star: Array, D: float) -> float:
    """Return the distance from ``X*`` within which the difference of two matrices is too much of rounding."""
    length = float(np.linalg.norm(X_star))
    return max(NEAR * min(D, length), ROUNDED * length)


def _clip_to_ball(start: Array, end: Array, centre: Array, D: float) -> Array:
    """Return the last point of the segment from ``start`` (inside) to ``end`` within distance ``D``."""
    if float(np.linalg.norm(end - centre)) <= D:
        return end
    d, e = end - start, start - centre
    a, b, c = float(np.vdot(d, d)), float(np.vdot(d, e)), float(np.vdot(e, e)) - D * D
    return start + max(0.0, (-b + math.sqrt(max(b * b - a * c, 0.0))) / a) * (1.0 - 1e-12) * d


def _attained_beta(form: _Form, X_star: Array, r: int, D: float, rng: np.random.Generator) -> float:
    """Return the largest quotient over ``u a^T + b z^T`` found from one random start, alternating.

    Where every such matrix is admissible (see :func:`restricted_constants`) these are all of rank <= 2; otherwise
    ``X`` is kept at the admissible matrix nearest to ``X*``, with ``a`` in its row space and ``b`` in its column space.
    """
    m, n = form.objective.shape
    P, Q = (space[:, :r] for space in _spaces_of_minimizer(X_star))
    free = r > P.shape[1] or float(np.linalg.norm(X_star)) <= D
    rows, columns = (np.eye(n), np.eye(m)) if free else (Q, P)
    a, b = rows @ rng.standard_normal(rows.shape[1]), columns @ rng.standard_normal(columns.shape[1])
    best = -math.inf
    for _ in range(60):
        _, c = form.extreme([*_right_products(a[:, None], m), *_left_products(b[:, None], n)], True)
        u, z = c[:m], c[m:]
        outer = [np.outer(u, row) for row in rows.T] + [np.outer(column, z) for column in columns.T]
        E, c = form.extreme(outer, True)
        a, b = rows @ c[: rows.shape[1]], columns @ c[rows.shape[1] :]
        value = form.quotient(E)
        if value <= best + 1e-10 * abs(best):
            break
        best = value
    return max(best, value)


def _reach(X_star: Array, D: float) -> float:
    """Return how far from ``X*`` matrices are drawn."""
    # Nothing gives a length where X* = 0 and the radius is infinite.
    return D if math.isfinite(D) else 10.0 * (float(np.linalg.norm(X_star)) or 1.0)


def _random_factors(X_star: Array, r: int, D: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return factors of a random matrix of rank <= ``r`` at a uniform random distance of at most ``D`` from ``X*``.

    The best rank-``r`` factors of ``X*`` plus a Gaussian perturbation, whose length is found by bisection.
    """
    m, n = X_star.shape
    P, s, Qt = np.linalg.svd(X_star, full_matrices=False)
    A0, B0 = P[:, :r] * np.sqrt(s[:r]), Qt[:r].T * np.sqrt(s[:r])
    reach = _reach(X_star, D)
    floor = float(np.linalg.norm(A0 @ B0.T - X_star))
    if floor > reach:
        raise ValueError(f"D: no matrix of rank <= {r} lies within {D:g} of X_star; the nearest is at {floor:.3g}")
    target = rng.uniform(max(floor, NEAR * reach), reach)
    U, V = rng.standard_normal((m, r)), rng.standard_normal((n, r))

    def distance(t: float) -> float:
        return float(np.linalg.norm((A0 + t * U) @ (B0 + t * V).T - X_star))

    low, high = 0.0, math.sqrt(target)
    while distance(high) < target:
        high *= 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if distance(middle) <= target else (low, middle)
    return A0 + low * U, B0 + low * V


def _sampled(
    objective: Objective, X_star: Array, r: int, D: float, samples: int, rng: np.random.Generator
) -> Constants:
    how: dict[str, Provenance] = {
        "rsc_high": Provenance(Known.SAMPLED, f"minimum over {samples} random matrices; alpha is at most this"),
        "rsm_low": Provenance(
            Known.SAMPLED, f"maximum over {samples} random matrices and directions; beta is at least this"
        ),
    }
    rsc_low, rsm_high = _stated_ends(objective, how)
    secant = _Secant(objective, X_star)
    m, n = objective.shape
    rsc, rsm = math.inf, -math.inf
    for _ in range(samples):
        A, B = _random_factors(X_star, r, D, rng)
        X = A @ B.T
        if np.vdot(X - X_star, X - X_star) > 0.0:
            rsc = min(rsc, secant(X)[0])
        direction = unit_rank_one(m, rng) @ X + X @ unit_rank_one(n, rng)
        square = float(np.vdot(direction, direction))
        if square > 0.0:  # U X and X V may cancel, and do so in every other draw of 1 x 1 matrices
            rsm = max(rsm, float(np.vdot(direction, objective.hessian_product(X, direction))) / square)
    return Constants(
        rsc_low=min(rsc_low, rsc),
        rsc_high=rsc,
        rsm_low=rsm,
        rsm_high=max(rsm_high, rsm),
        how=how,
        r=r,
        radius=D,
        whole_space=False,
    )


def unit_rank_one(size: int, rng: np.random.Generator) -> Array:
    """Return a random ``u w^T`` with ``||u w^T||_F = 1``."""
    u, w = rng.standard_normal(size), rng.standard_normal(size)
    return np.outer(u, w) / (np.linalg.norm(u) * np.linalg.norm(w))


def _searched(
    objective: Objective, X_star: Array, sampled: Constants, starts: int, rng: np.random.Generator
) -> Constants:
    """Improve the two attained ends by optimisation from random starts."""
    r, D = sampled.r, sampled.radius
    rsc, rsm = sampled.rsc_high, sampled.rsm_low
    for _ in range(starts):
        A, B = _random_factors(X_star, r, D, rng)
        rsc = min(rsc, _descend_quotient(objective, X_star, A, B, D))
        rsm = max(rsm, _ascend_curvature(objective, A @ B.T, rng))
    how = sampled.how | {
        "rsc_high": Provenance(Known.ATTAINED, "descent on the quotient from random starts; alpha is at most this"),
        "rsm_low": Provenance(
            Known.ATTAINED, "power iteration over the directions at random matrices; beta is at least this"
        ),
    }
    return replace(
        sampled,
        rsc_low=min(sampled.rsc_low, rsc),
        rsc_high=rsc,
        rsm_low=rsm,
        rsm_high=max(sampled.rsm_high, rsm),
        how=how,
    )


class _Secant:
    """The quotient ``<G(X) - G(X*), E>/||E||^2``, ``E = X - X*``, and what rounding may hide of it.

    A gradient is taken to be that of a matrix which is off by rounding, up to what its loss states beside that.
    """

    def __init__(self, objective: Objective, X_star: Array) -> None:
        self.objective, self.X_star = objective, X_star
        with np.errstate(over="ignore"):  # in the value, which is not asked for
            self.G_star = objective.value_and_grad(X_star)[1]
        self.unit = allowance(objective.precision)
        self.moved = self.unit * frobenius_norm(X_star)
        stated = objective.rounding_noise(X_star, np.eye(X_star.shape[1])).gradient
        self.noise = 2.0 * (self.unit * frobenius_norm(self.G_star) + stated)

    def __call__(self, X: Array) -> tuple[float, Array, Array, float]:
        """Return the quotient from above, ``E``, the change of the gradient and ``||E||^2``."""
        E = X - self.X_star
        change = self.objective.value_and_grad(X)[1] - self.G_star
        size = float(np.vdot(E, E))
        value = float(np.vdot(change, E)) / size
        return value + (self.noise + self.moved * abs(value)) / math.sqrt(size), E, change, size


def _descend_quotient(objective: Objective, X_star: Array, A: Array, B: Array, D: float) -> float:
    """Return the smallest ``<G(X) - G(X*), E>/||E||^2``, ``E = X - X*``, along a descent within the ball."""
    quotient = _Secant(objective, X_star)
    best, E, change, size = quotient(A @ B.T)
    # Much nearer to X* the change of the gradient is rounding.
    step, nearest = 1.0, 1e-3 * math.sqrt(size)
    for _ in range(60):
        slope = (objective.hessian_product(E + X_star, E) + change - 2.0 * best * E) / size
        dA, dB = slope @ B, slope.T @ A
        scale = math.sqrt(float(np.vdot(A, A) + np.vdot(B, B)) / (float(np.vdot(dA, dA) + np.vdot(dB, dB)) + 1e-300))
        for _ in range(12):
            A_new, B_new = A - step * scale * dA, B - step * scale * dB
            X = A_new @ B_new.T
            distance = float(np.linalg.norm(X - X_star))
            if nearest < distance <= D:
                value, E_new, change_new, size_new = quotient(X)
                if value < best:
                    break
            step *= 0.5
        else:
            return best
        A, B, best, E, change, size = A_new, B_new, value, E_new, change_new, size_new
        step = min(2.0 * step, 1.0)
    return best


def _ascend_curvature(objective: Objective, X: Array, rng: np.random.Generator) -> float:
    """Return the largest curvature at ``X`` over ``u a^T + b z^T``, ``a`` in its row, ``b`` in its column space."""
    P, Q = _singular_spaces(X)
    M = rng.standard_normal(X.shape)
    best = -math.inf
    for _ in range(30):
        a = Q @ np.linalg.svd(M @ Q, full_matrices=False)[2][0]
        rest = M - np.outer(M @ a, a)
        b = P @ np.linalg.svd(P.T @ rest, full_matrices=False)[0][:, 0]
        direction = np.outer(M @ a, a) + np.outer(b, rest.T @ b)
        length = float(np.linalg.norm(direction))
        if length == 0.0:  # the Hessian product before was zero: there is no curvature to follow
            break
        direction /= length
        M = objective.hessian_product(X, direction)
        value = float(np.vdot(direction, M))
        if value <= best + 1e-8 * abs(best):
            break
        best = value
    return best
