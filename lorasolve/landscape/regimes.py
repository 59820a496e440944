"""Which theorem, if any, excludes spurious minima at given constants and ranks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .._support.text import for_json
from .._support.validate import MOST_ROWS, as_integer, as_number, shown


@dataclass(frozen=True)
class Regime:
    """What is known about second-order stationary points from the constants alone.

    Attributes
    ----------
    kind : str
        ``"special"``: every second-order stationary point in the ball is global. ``"generic"``: spurious ones are
        not excluded, but have rank exactly ``r`` (Theorem 1). ``"none"``: a premise of the theorems fails.
    rule : str
        The statement that applied.
    condition : float
        ``beta/alpha`` (infinite if ``alpha <= 0``).
    thresholds : dict
        The value of ``beta/alpha`` below which each rule makes the regime special; equality, up to rounding, is not
        included.
    reason : str
        One sentence.
    """

    kind: str
    rule: str
    condition: float
    thresholds: dict[str, float]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values (infinite numbers as None)."""
        return dict(for_json(asdict(self)))


# Quotients that differ by less, relative, are equal up to rounding.
ROUNDING = 1e-12
THEOREM_1 = "Theorem 1 (2 alpha > beta)"
THEOREM_A = "Theorem A (beta < 2 alpha sqrt(r/r*))"
THEOREM_B = "Theorem B (beta2 (beta - alpha) < 2 alpha beta sqrt(r/r*))"


def regime(rsc: float, rsm: float, r: int, r_star: int, curvature: tuple[float, float] | None = None) -> Regime:
    """Return the regime of the constants ``rsc`` and ``rsm`` (alpha and beta in the papers) at ranks ``r``, ``r_star``.

    Parameters
    ----------
    rsc, rsm : float
        RSC and RSM constants; for ``rsm`` infinity is accepted.
    r, r_star : int
        LoRA rank and rank of the minimizer.
    curvature : (float, float), optional
        Bounds ``0 < alpha <= beta`` on the curvature of ``f`` between ``X*`` and the point, along matrices of rank up
        to ``r + r*``: more than the restricted constants of the paper. Then ``rsm`` is the beta2 of Theorem B. With
        ``beta = beta2`` it reads ``beta/alpha < 1 + 2 sqrt(r/r*)``, which R. Y. Zhang (2021, 2024) has for ``f``
        conditioned on the whole space.

    Raises
    ------
    ValueError, TypeError
        For ranks, constants or curvature out of range.

    Notes
    -----
    Source: main paper, Theorem 1 (proofs/theorem1); Theorem A is the sharpening for ``r > r*`` (proofs/theorem_a), and
    sharp itself (proofs/theorem_c); Theorem B uses two constants (proofs/theorem_b) and is sharp in both
    (proofs/theorem_b_sharp). The weakest premise that suffices is the one reported.
    """
    r = as_integer(r, "r", 1, MOST_ROWS)
    r_star = as_integer(r_star, "r_star", 0, MOST_ROWS)
    rsc = -math.inf if isinstance(rsc, float) and rsc == -math.inf else as_number(rsc, "rsc")
    rsm = math.inf if isinstance(rsm, float) and rsm == math.inf else as_number(rsm, "rsm", 0.0)
    require_ordered(rsc, rsm)
    ratio = math.sqrt(r / r_star) if r_star else math.inf
    thresholds = {THEOREM_1: 2.0, THEOREM_A: 2.0 * ratio}
    if curvature is not None:
        thresholds[THEOREM_B] = (
            two_constant_threshold(*curvature_bounds(curvature), ratio) / rsc if rsc > 0.0 else math.inf
        )
    failed = _failed_premise(rsc, rsm, r, r_star)
    condition = rsm / rsc if rsc > 0.0 else math.inf
    if failed:
        return Regime("none", "premises of Theorem 1", condition, thresholds, failed)
    for rule, threshold in thresholds.items():
        if condition < threshold * (1.0 - ROUNDING):
            return Regime(
                "special", rule, condition, thresholds, f"beta/alpha = {condition:.6g} < {threshold:.6g}: {rule}"
            )
    largest = max(thresholds.values())
    return Regime(
        "generic",
        "Theorem 1, generic regime",
        condition,
        thresholds,
        f"beta/alpha = {condition:.6g} is at least {largest:.6g}: spurious points of rank exactly r are not excluded",
    )


def require_ordered(rsc: float, rsm: float) -> None:
    """Refuse constants that no loss has, such as those given the other way round.

    Near ``X*`` there are ``X`` with ``X - X*`` of the form ``U X + X V``, along which both bound one curvature.
    """
    if rsc > rsm:
        raise ValueError(f"rsc, rsm: expected rsc <= rsm (alpha <= beta), got {rsc:g} and {rsm:g}")


def two_constant_threshold(low: float, high: float, ratio: float) -> float:
    """Return the ``beta2`` below which Theorem B applies, ``2 alpha beta ratio/(beta - alpha)``."""
    return 2.0 * low * high * ratio / (high - low) if high > low else math.inf


def curvature_bounds(curvature: tuple[float, float]) -> tuple[float, float]:
    """Check the two constants of Theorem B."""
    if not isinstance(curvature, tuple) or len(curvature) != 2:
        raise ValueError(f"curvature: expected (alpha, beta) with 0 < alpha <= beta, got {shown(curvature)}")
    low, high = (as_number(bound, "curvature", 0.0, open_low=True) for bound in curvature)
    if low > high:
        raise ValueError(f"curvature: expected (alpha, beta) with 0 < alpha <= beta, got {shown(curvature)}")
    return low, high


def _failed_premise(rsc: float, rsm: float, r: int, r_star: int) -> str:
    """Name the premise of Theorem 1 that fails, or return the empty string."""
    if r_star > r:
        return f"r* = {r_star} exceeds the LoRA rank r = {r}: L cannot reach the minimum of F"
    if rsc <= 0.0:
        return f"alpha = {rsc:.3g} <= 0: restricted strong convexity fails"
    if rsm == math.inf:
        return "beta is infinite or unknown: restricted smoothness is not established"
    return ""
