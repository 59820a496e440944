"""What each theorem says about one second-order stationary point, with numbers, premises taken for granted.

Every function here takes a lower bound ``rsc`` on the RSC constant, the alpha of the papers, and an upper bound ``rsm``
on the RSM constant, their beta: all conclusions only get weaker when ``rsc`` falls or ``rsm`` rises, so they hold for
the true constants. Each conclusion "global" comes from the contraposition: a spurious point would violate the stated
inequality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from .._known import Known
from .._support.text import at_least, at_most, for_json
from .._support.validate import Array
from ..low_rank import RANK_TOL, numerical_rank, truncated_svd
from .regimes import THEOREM_1, THEOREM_A, regime, two_constant_threshold

# An inequality counts as violated only beyond this relative margin, so that rounding never produces a conclusion.
MARGIN = 1e-7
# A nearly stationary point is as near to its minimizer as this share of their lengths, where curvatures are of one
# size: values that agree to the default tolerance, 1e-6, mean its root.
NEAR = 1e-3


@dataclass(frozen=True, eq=False)
class Spectra:
    """The numbers of a point ``X`` and a reference ``X*`` that the theorems need.

    Attributes
    ----------
    r, r_star : int
        LoRA rank and the rank attributed to the minimizer.
    values : ndarray of shape (r,)
        Singular values of ``X``.
    distance : float
        ``||X - X*||_F``.
    norm, norm_star : float
        ``||X||_F`` and ``||X*||_F``.
    outside : ndarray
        Non-zero singular values of ``(I - P P^T) X* (I - Q Q^T)``, ``P, Q`` the singular vectors of ``X``.
    delta, nu : float
        Distance of ``X*`` from its best approximation of rank ``r_star``, in the Frobenius and in the nuclear norm
        (0 if it has that rank).
    """

    r: int
    r_star: int
    values: Array
    distance: float
    norm: float
    norm_star: float
    outside: Array
    delta: float
    nu: float

    @classmethod
    def of(cls, A: Array, B: Array, X_star: Array, r_star: int) -> Spectra:
        """Return the numbers of ``X = A B^T`` and a reference."""
        P, s, Q = truncated_svd(A, B)
        X = (P * s) @ Q.T
        r = A.shape[1]
        values = np.zeros(r)
        values[: s.size] = s
        star_values = np.linalg.svd(X_star, compute_uv=False)
        star_values = star_values[: numerical_rank(star_values)]
        off = X_star - P @ (P.T @ X_star)
        outside = np.linalg.svd(off - (off @ Q) @ Q.T, compute_uv=False)
        outside = outside[outside > RANK_TOL * star_values.max(initial=0.0)][:r_star]
        return cls(
            r=r,
            r_star=r_star,
            values=values,
            distance=float(np.linalg.norm(X - X_star)),
            norm=float(np.linalg.norm(X)),
            norm_star=float(np.linalg.norm(X_star)),
            outside=outside,
            delta=float(np.linalg.norm(star_values[r_star:])),
            nu=float(star_values[r_star:].sum()),
        )

    @property
    def rank(self) -> int:
        """Numerical rank of ``X``."""
        return numerical_rank(self.values)

    @property
    def sigma_r(self) -> float:
        """``sigma_r(X)``."""
        return float(self.values[self.r - 1])

    @property
    def sigma_r_star(self) -> float:
        """``sigma_{r*}(X)`` (infinite for ``r* = 0``, where every condition on it is empty)."""
        return float(self.values[self.r_star - 1]) if self.r_star else math.inf

    @property
    def ratio(self) -> float:
        """``sqrt(r/r*)`` (infinite for ``r* = 0``)."""
        return math.sqrt(self.r / self.r_star) if self.r_star else math.inf

    @property
    def is_apart(self) -> bool:
        """Whether ``X`` is another matrix than ``X*``, not nearly the same one."""
        return self.distance > NEAR * max(self.norm, self.norm_star)

    @property
    def tail(self) -> float:
        """``||X - Pi_{r*}(X)||_F``."""
        return float(np.linalg.norm(self.values[self.r_star :]))


Conclusion = Literal["global", "eps-global", "bounded", "excluded", "not excluded", "inconclusive"]


@dataclass(frozen=True)
class TheoremFinding:
    """What one theorem says about one point.

    Attributes
    ----------
    theorem : str
        Its name.
    known : Known
        CERTIFIED if the constants used are certified bounds; SAMPLED if they are sampled or attained values: then it
        is an illustration and no verdict rests on it.
    conclusion : Conclusion
        ``"global"`` or ``"not excluded"`` (a spurious point like this one contradicts nothing), ``"inconclusive"``
        where the premises contradict each other; for Theorem 3 also ``"eps-global"``; for the gap at approximate
        points ``"bounded"``; for one matrix of several ``"excluded"``: it is not the one that Theorem 2 demands of a
        spurious point.
    text : str
        The inequality that decided, with numbers.
    numbers : dict
        All quantities by name.
    vacuous : tuple of str
        The bounds of this theorem that say nothing here.
    block : int or None
        The matrix that this is about (from 0), None for the whole.
    """

    theorem: str
    known: Known
    conclusion: Conclusion
    text: str
    numbers: dict[str, float] = field(repr=False)
    vacuous: tuple[str, ...] = ()
    block: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values (infinite numbers as None)."""
        return dict(for_json(asdict(self) | {"known": str(self.known)}))


def _less(left: float, right: float) -> bool:
    """Whether ``left < right`` beyond rounding."""
    return left < right - (MARGIN * max(abs(left), abs(right)) if math.isfinite(right) else 0.0)


def _distance_bound(s: Spectra, q: float) -> float:
    """Return the lower bound on ``||X - X*||_F`` of Theorem 1 for a spurious point, ``q = 2 alpha/beta``."""
    if s.r == s.r_star:  # then X is its own best approximation, also at 2 alpha = beta, where the quotient is 0/0
        return 0.0
    ratio = q * s.sigma_r_star / s.sigma_r
    return s.tail / math.sqrt(1.0 - ratio) if ratio < 1.0 else math.inf


def _concluded(found: TheoremFinding, *points: Spectra) -> TheoremFinding:
    """Return what a theorem says, which is nothing about a point that is none of those it speaks of.

    Every "global" says ``X = X*``, because ``alpha > 0``. Where ``X`` has rank ``r`` and ``X*`` less, or is far from
    it, no second-order point satisfies the inequality that decided: the point is nearly stationary only, a constant is
    no bound, or ``X*`` no minimizer.
    """
    full = [s for s in points if s.rank == s.r > s.r_star]
    distant = [s for s in points if s.is_apart]
    if found.conclusion != "global" or not (full or distant):
        return found
    if full:
        apart = f"a second-order point is X*, of rank {full[0].r_star}, and this one has rank {full[0].r}"
    else:
        apart = f"a second-order point is X*, and this one is {distant[0].distance:.6g} from it"
    return replace(found, conclusion="inconclusive", text=f"{found.text}: {apart}, so the premises cannot all hold")


def theorem_1(s: Spectra, rsc: float, rsm: float, known: Known) -> TheoremFinding:
    """Theorem 1 (main paper; proofs/theorem1): special regime, rank, ratio of singular values, distance."""
    return _concluded(_one_matrix(s, rsc, rsm, known), s)


def _one_matrix(s: Spectra, rsc: float, rsm: float, known: Known) -> TheoremFinding:
    """Return "global" where a matrix is not like one that Theorem 1 demands of a spurious point."""
    q = 2.0 * rsc / rsm
    numbers = {"2 alpha/beta": q, "sigma_r": s.sigma_r, "sigma_r*": s.sigma_r_star, "distance": s.distance}

    def finding(conclusion: Conclusion, text: str, *vacuous: str) -> TheoremFinding:
        return TheoremFinding("Theorem 1", known, conclusion, text, numbers, vacuous)

    if regime(rsc, rsm, s.r, s.r_star).rule == THEOREM_1:
        return finding("global", f"special regime: 2 alpha/beta = {q:.6g} > 1")
    if s.rank < s.r:
        return finding("global", f"rank X = {s.rank} < r = {s.r}: a spurious point has rank exactly r")
    numbers["sigma_r/sigma_r*"] = s.sigma_r / s.sigma_r_star
    if _less(s.sigma_r, q * s.sigma_r_star):
        return finding("global", f"sigma_r/sigma_r* = {s.sigma_r / s.sigma_r_star:.6g} < 2 alpha/beta = {q:.6g}")
    bound = _distance_bound(s, q)
    numbers["distance bound"] = bound
    if _less(s.distance, bound):
        return finding("global", f"distance {s.distance:.6g} < {bound:.6g}, the least distance of a spurious point")
    text = (
        f"generic regime: rank X = r = {s.r}, sigma_r/sigma_r* = {s.sigma_r / s.sigma_r_star:.6g} >= {q:.6g}, "
        f"distance {s.distance:.6g} >= {bound:.6g}"
    )
    return finding("not excluded", text, *(["distance bound"] if bound == 0.0 else []))


def corollary_1(s: Spectra, rsc: float, rsm: float, known: Known) -> TheoremFinding:
    """Corollary 1 (main paper, ``r > r*``; proofs/corollary1): both directions, the lower bound on ``||X||_F``."""
    q = 2.0 * rsc / rsm
    numbers = {"2 alpha/beta": q, "sigma_r": s.sigma_r, "sigma_r*": s.sigma_r_star, "norm": s.norm}

    def finding(conclusion: Conclusion, text: str, *vacuous: str) -> TheoremFinding:
        return _concluded(TheoremFinding("Corollary 1", known, conclusion, text, numbers, vacuous), s)

    if s.rank < s.r or s.r_star == 0 or _less(s.sigma_r, q * s.sigma_r_star):
        return finding("global", f"(i) sigma_r = {s.sigma_r:.6g} <= (2 alpha/beta) sigma_r* = {q * s.sigma_r_star:.6g}")
    bound = _distance_bound(s, q) - s.norm_star
    numbers["norm bound"] = bound
    if _less(s.norm, bound):
        return finding("global", f"(ii) ||X||_F = {s.norm:.6g} < {bound:.6g}, the least norm of a spurious point")
    text = f"(ii) ||X||_F = {s.norm:.6g} >= {at_least(bound, '.6g')}, the least norm of a spurious point"
    return finding("not excluded", text, *(["norm bound"] if bound <= 0.0 else []))


def theorem_a(s: Spectra, rsc: float, rsm: float, known: Known) -> TheoremFinding:
    """Theorem A (proofs/theorem_a): ``beta/alpha < 2 sqrt(r/r*)``, and the annulus of a spurious point.

    A spurious point has ``tau = ||X*_perp||_* > 0`` and, with ``k = rank X*_perp``, ``t = tau/(k sigma_r)``,
    ``a = r - r*``, ``c = beta/alpha``: either ``t >= 1`` and ``k t^2 - c k t + a + k <= 0``, or ``t < 1`` and
    ``t >= a/((c - 2) k)``; and ``||X - X*||_F <= c sqrt(r*) sigma_r``.
    """
    c = rsm / rsc
    k, tau = s.outside.size, float(s.outside.sum())
    numbers = {"beta/alpha": c, "threshold": 2.0 * s.ratio}

    def finding(conclusion: Conclusion, text: str, *vacuous: str) -> TheoremFinding:
        return _concluded(TheoremFinding("Theorem A", known, conclusion, text, numbers, vacuous), s)

    if regime(rsc, rsm, s.r, s.r_star).rule in (THEOREM_1, THEOREM_A):
        return finding("global", f"beta/alpha = {c:.6g} < 2 sqrt(r/r*) = {numbers['threshold']:.6g}")
    if s.rank < s.r:
        return finding("global", f"rank X = {s.rank} < r = {s.r}: a spurious point has rank exactly r")
    numbers |= {"tau": tau, "k": float(k), "upper distance bound": c * math.sqrt(s.r_star) * s.sigma_r}
    if k == 0:
        return finding("global", "X* has no part outside the singular spaces of X")
    t, a = tau / (k * s.sigma_r), s.r - s.r_star
    numbers["t"] = t
    if t >= 1.0:
        worst = k * t * t + a + k
        if _less(c * k * t, worst):
            return finding("global", f"t = {t:.6g}: k t^2 - c k t + a + k = {worst - c * k * t:.6g} > 0")
    elif _less(c * k * t, 2.0 * k * t + a):
        return finding("global", f"t = {t:.6g} < a/((c - 2) k) = {a / ((c - 2.0) * k):.6g}")
    upper = numbers["upper distance bound"]
    if _less(upper, s.distance):
        return finding("global", f"distance {s.distance:.6g} > {upper:.6g}, the largest of a spurious point")
    return finding("not excluded", f"annulus: distance {s.distance:.6g} <= {upper:.6g}, t = {t:.6g}")


def theorem_b(s: Spectra, curvature: tuple[float, float], rsm: float, known: Known) -> TheoremFinding:
    """Theorem B (proofs/theorem_b): ``beta2 (beta - alpha) < 2 alpha beta sqrt(r/r*)``.

    ``curvature`` holds ``alpha`` and ``beta``, bounds on the curvature of ``f`` along matrices of rank up to
    ``r + r*`` between ``X*`` and the point; only ``rsm``, its beta2, is a constant of the paper.
    """
    low, high = curvature
    threshold = two_constant_threshold(low, high, s.ratio)
    numbers = {"alpha": low, "beta": high, "beta2": rsm, "threshold": threshold}
    special = _less(rsm, threshold) or s.rank < s.r
    if s.rank < s.r and not _less(rsm, threshold):
        text = f"rank X = {s.rank} < r = {s.r}: a spurious point has rank exactly r"
    else:
        compare = "<" if special else ">="
        text = f"beta2 = {rsm:.6g} {compare} 2 alpha beta sqrt(r/r*)/(beta - alpha) = {threshold:.6g}"
    return _concluded(TheoremFinding("Theorem B", known, "global" if special else "not excluded", text, numbers), s)


JOINT_A, JOINT_B = "Theorem A, joint", "Theorem B, joint"


def joint_theorem_a(blocks: Sequence[tuple[Spectra, float, float, Known]]) -> TheoremFinding:
    """Theorem A for several matrices (proofs/theorem2_joint, J1): ``beta_l < 2 alpha_l sqrt(r_l/r*_l)`` for all ``l``.

    The ``alpha_l`` have to satisfy the joint inequality; ``beta_l`` is the smoothness of the matrix alone.
    """
    parts = [(s.rank < s.r or _less(rsm, 2.0 * rsc * s.ratio), rsm / rsc, 2.0 * s.ratio) for s, rsc, rsm, _ in blocks]
    found = _for_every(JOINT_A, [known for *_, known in blocks], parts, "beta_l/alpha_l", "2 sqrt(r_l/r*_l)")
    return _concluded(found, *(block[0] for block in blocks))


def joint_theorem_b(
    blocks: Sequence[tuple[Spectra, float, float, Known]], curvature: tuple[float, float], known: Known
) -> TheoremFinding:
    """Theorem B for several matrices (proofs/theorem2_joint, J2); ``curvature`` bounds the joint Hessian.

    ``beta2_l (beta - alpha) < 2 alpha beta sqrt(r_l/r*_l)`` for every ``l``, with one ``alpha`` and ``beta`` for all
    matrices together, cross terms included.
    """
    parts = []
    for s, _, rsm, _ in blocks:
        threshold = two_constant_threshold(*curvature, s.ratio)
        parts.append((s.rank < s.r or _less(rsm, threshold), rsm, threshold))
    found = _for_every(JOINT_B, [known, *(b[3] for b in blocks)], parts, "beta2_l", "its threshold")
    return _concluded(found, *(block[0] for block in blocks))


def _for_every(
    theorem: str, levels: Sequence[Known], parts: Sequence[tuple[bool, float, float]], what: str, bound: str
) -> TheoremFinding:
    """Return what a condition on every matrix says about the whole."""
    known = Known.CERTIFIED if all(level is Known.CERTIFIED for level in levels) else Known.SAMPLED
    numbers = {f"matrix {k + 1}": value for k, (_, value, _) in enumerate(parts)}
    failing = [(k, value, limit) for k, (holds, value, limit) in enumerate(parts) if not holds]
    if not failing:
        return TheoremFinding(theorem, known, "global", f"{what} < {bound} for every matrix", numbers)
    k, value, limit = failing[0]
    text = f"{what} = {value:.6g} >= {bound} = {limit:.6g} for matrix {k + 1}"
    return TheoremFinding(theorem, known, "not excluded", text, numbers)


def theorem_2(blocks: Sequence[tuple[Spectra, float, float, Known]]) -> tuple[TheoremFinding, ...]:
    """Theorem 2 (main paper; proofs/theorem2): for several matrices, the whole first, then each.

    The constants have to satisfy the joint inequality. A spurious point has a matrix of rank exactly ``r_l`` with
    ``sigma_r >= (2 alpha_l/beta_l) sigma_{r*}`` at Theorem 1's distance: where no matrix is of this kind, the point is
    global, unless its ranks are not those of ``X*``.
    """
    single = []
    for k, block in enumerate(blocks):
        found = _one_matrix(*block)
        conclusion: Conclusion = "excluded" if found.conclusion == "global" else "not excluded"
        single.append(replace(found, theorem="Theorem 2", conclusion=conclusion, block=k))
    left = [k + 1 for k, found in enumerate(single) if found.conclusion == "not excluded"]
    known = Known.CERTIFIED if all(block[3] is Known.CERTIFIED for block in blocks) else Known.SAMPLED
    if not left:
        text = "no matrix can be the one that a spurious point has"
        whole = TheoremFinding("Theorem 2", known, "global", text, {})
        return _concluded(whole, *(block[0] for block in blocks)), *single
    text = f"a spurious point has a matrix like {', '.join(map(str, left))} of {len(single)}"
    return TheoremFinding("Theorem 2", known, "not excluded", text, {}), *single


def theorem_3(s: Spectra, rsc: float, rsm: float, known: Known, eps: float | None = None) -> TheoremFinding:
    """Theorem 3 with explicit constants (proofs/theorem3): a minimizer within ``delta`` of a matrix of rank ``r*``.

    ``X*`` is an exact minimizer of any rank, and the constants hold about it. With ``o = ||X - X*||_F`` and
    ``c = 2 alpha sigma_{r*}/(beta sigma_r)``, every second-order point of rank ``r`` satisfies

        ``(c - 1) o^2 - 2 delta o + ||X - Pi_{r*}(X)||^2 - delta^2 - 2 sigma_{r*} nu <= 0``.

    For ``c > 1`` this is an upper bound on ``o``, for ``c < 1`` a lower one; at rank below ``r``, ``o = 0``. For
    ``r* = 0``, ``o^2 <= (beta/alpha) sigma_r nu``. Global points of rank ``r`` are no exception: where the measured
    ``o`` violates this, the point is not what is taken for granted (nearly stationary, say, with constants that are
    not bounds or an ``X*`` that is not a minimizer), and nothing follows.
    """
    numbers = {"delta": s.delta, "nu": s.nu, "distance": s.distance}
    if eps is not None:
        numbers["eps"] = eps

    def finding(conclusion: Conclusion, text: str, *vacuous: str) -> TheoremFinding:
        return TheoremFinding("Theorem 3 (explicit constants)", known, conclusion, text, numbers, vacuous)

    def contradicted(why: str) -> TheoremFinding:
        apart = f"no second-order point with these singular values is {s.distance:.6g} from X*"
        return finding("inconclusive", f"{why}: {apart}, so the premises cannot all hold")

    def near(radius: float, why: str) -> TheoremFinding:
        numbers["radius"] = radius
        if _less(radius, s.distance):
            return contradicted(f"{why}, radius {radius:.6g}")
        within = f"{why}: within {at_most(radius, '.3g')} of an exact minimizer"
        if eps is None or radius <= eps:
            return finding("eps-global", within)
        return finding("not excluded", f"{within}, not within eps = {eps:.3g}", "radius")

    if s.rank < s.r:
        equal = f"rank X = {s.rank} < r = {s.r}: then X = X*"
        return contradicted(equal) if s.is_apart else finding("global", equal)
    if s.r_star == 0:
        return near(math.sqrt(rsm * s.sigma_r * s.nu / rsc), "r* = 0")
    c = 2.0 * rsc * s.sigma_r_star / (rsm * s.sigma_r)
    constant = s.tail**2 - s.delta**2 - 2.0 * s.sigma_r_star * s.nu
    root = s.delta**2 - (c - 1.0) * constant
    numbers["c"] = c
    slack = 2.0 * s.delta * s.distance + s.delta**2 + 2.0 * s.sigma_r_star * s.nu
    if _less(slack, (c - 1.0) * s.distance**2 + s.tail**2):
        return contradicted(f"c = {c:.6g}")
    if c > 1.0:
        return near((s.delta + math.sqrt(max(root, 0.0))) / (c - 1.0), f"c = {c:.6g} > 1")
    if c == 1.0 or constant <= 0.0:
        return finding("not excluded", f"c = {c:.6g} <= 1: the lower bound on the distance is empty", "distance bound")
    bound = constant / (s.delta + math.sqrt(root))
    numbers["distance bound"] = bound
    apart = f"a point that is not global is at least {at_least(bound, '.6g')} from X*"
    text = f"c = {c:.6g} < 1: {apart}, this one {s.distance:.6g}"
    return finding("not excluded", text)


APPROXIMATE = "gap at approximate points"


def approximate_point(
    slope: float,
    excess: float,
    nuclear_star: float,
    rsc: float,
    curvature: float | None,
    known: Known,
    accepted: float,
) -> TheoremFinding:
    """How far a point of any kind is from the optimum, by restricted strong convexity alone; ``f`` need not be convex.

    Proved in proofs/approximate_points; conditional on ``alpha``, which no computation gives for a network.
    Let ``X*`` minimise ``F``, ``G* = grad f(X*)``, ``E = X - X*`` and ``D = <G*, E> + lam (||X||_* - ||X*||_*)``, which
    is not negative because ``-G*`` is a subgradient of ``lam ||.||_*`` at ``X*``. With ``theta = (A, B)``,
    ``2 <G, X> + lam ||theta||^2 = <grad L, theta>``, so that

        ``D + <G - G*, E> + lam (||theta||^2/2 - ||X||_*) <= <grad L, theta>/2 + (||G||_2 - lam)_+ ||X*||_* = T``.

    Hence ``alpha ||E||^2 <= T``, and with ``f(X) <= f(X*) + <G*, E> + (c/2) ||E||^2``,
    ``L(A, B) - F(X*) <= max(1, c/(2 alpha)) T``. At a second-order point ``T = 0`` where a column is to spare.

    Parameters
    ----------
    slope : float
        ``|<grad L, theta>|/2``.
    excess : float
        ``(||G||_2 - lam)_+``.
    nuclear_star : float
        An upper bound on ``||X*||_*``.
    rsc : float
        ``alpha > 0`` with ``<G - G*, E> >= alpha ||E||^2`` at this point.
    curvature : float or None
        ``c``: an upper bound on the curvature of ``f`` between ``X*`` and ``X``, in all directions.
    known : Known
        How the constants are known.
    accepted : float
        A gap up to this counts as global.
    """
    bound = slope + excess * nuclear_star
    distance = math.sqrt(bound / rsc)
    numbers = {"slope": slope, "excess": excess, "||X*||_*": nuclear_star, "T": bound, "distance": distance}
    text = f"||X - X*||_F <= {at_most(distance, '.6g')}"
    if curvature is None:
        return TheoremFinding(
            APPROXIMATE, known, "bounded", f"{text}; no bound on the curvature of f is known", numbers
        )
    gap = max(1.0, curvature / (2.0 * rsc)) * bound
    numbers["gap"] = gap
    conclusion: Conclusion = "global" if gap <= accepted else "bounded"
    return TheoremFinding(APPROXIMATE, known, conclusion, f"L - F* <= {at_most(gap, '.6g')}, {text}", numbers)


def contradicted_by_distance(found: TheoremFinding, apart: float) -> TheoremFinding:
    """Return a bound on the distance from ``X*`` as what it is where ``X*`` is known, and further away."""
    text = f"{found.text}: it is {apart:.6g} from X*, so the premises cannot all hold"
    return replace(found, conclusion="inconclusive", text=text)


Statement = Callable[[Spectra, float, float, Known], TheoremFinding]


def applicable(s: Spectra) -> list[Statement]:
    """Return the statements about minimizers of rank exactly ``r*`` whose premises on the ranks hold."""
    statements: list[Statement] = [theorem_1]
    if s.r > s.r_star:
        statements.append(corollary_1)
    statements.append(theorem_a)
    return statements
