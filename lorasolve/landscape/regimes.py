"""Which theorem, if any, excludes spurious minima at given constants and ranks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .._validate import MOST_ROWS, as_flag, as_integer, as_number


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
        The condition number below which each rule makes the regime special; equality is not included.
    reason : str
        One sentence.
    """

    kind: str
    rule: str
    condition: float
    thresholds: dict[str, float]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        return asdict(self)


THEOREM_1 = "Theorem 1 (2 alpha > beta)"
THEOREM_A = "Theorem A (beta < 2 alpha sqrt(r/r*))"
SHARP = "sharp constant for fully conditioned f (beta < alpha (1 + 2 sqrt(r/r*)))"


def regime(rsc: float, rsm: float, r: int, r_star: int, fully_conditioned: bool = False) -> Regime:
    """Return the regime of the constants ``rsc`` and ``rsm`` (alpha and beta in the papers) at ranks ``r``, ``r_star``.

    Parameters
    ----------
    rsc, rsm : float
        RSC and RSM constants; for ``rsm`` infinity is accepted.
    r, r_star : int
        LoRA rank and rank of the minimizer.
    fully_conditioned : bool
        Whether the constants hold on the whole space of matrices. Only then does the sharp constant
        ``1 + 2 sqrt(r/r*)`` apply; it is cited (R. Y. Zhang 2021, 2024), while Theorem 1 and Theorem A are proved.

    Notes
    -----
    Source: main paper, Theorem 1 (proofs/theorem1); Theorem A is the sharpening for ``r > r*``
    (proofs/theorem_a). The weakest premise that suffices is the one reported.
    """
    r = as_integer(r, "r", 1, MOST_ROWS)
    r_star = as_integer(r_star, "r_star", 0, MOST_ROWS)
    rsc = -math.inf if isinstance(rsc, float) and rsc == -math.inf else as_number(rsc, "rsc")
    rsm = math.inf if isinstance(rsm, float) and rsm == math.inf else as_number(rsm, "rsm", 0.0)
    as_flag(fully_conditioned, "fully_conditioned")
    ratio = math.sqrt(r / r_star) if r_star else math.inf
    thresholds = {THEOREM_1: 2.0, THEOREM_A: 2.0 * ratio}
    if fully_conditioned:
        thresholds[SHARP] = 1.0 + 2.0 * ratio
    failed = _failed_premise(rsc, rsm, r, r_star)
    condition = rsm / rsc if rsc > 0.0 else math.inf
    if failed:
        return Regime("none", "premises of Theorem 1", condition, thresholds, failed)
    for rule, threshold in thresholds.items():
        if condition < threshold:
            return Regime(
                "special", rule, condition, thresholds, f"beta/alpha = {condition:.6g} < {threshold:.6g}: {rule}"
            )
    largest = max(thresholds.values())
    return Regime(
        "generic",
        "Theorem 1, generic regime",
        condition,
        thresholds,
        f"beta/alpha = {condition:.6g} is at least {largest:.6g}: spurious minima of rank exactly r are not excluded",
    )


def _failed_premise(rsc: float, rsm: float, r: int, r_star: int) -> str:
    """Name the premise of Theorem 1 that fails, or return the empty string."""
    if r_star > r:
        return f"r* = {r_star} exceeds the LoRA rank r = {r}: L cannot reach the minimum of F"
    if rsc <= 0.0:
        return f"alpha = {rsc:.3g} <= 0: restricted strong convexity fails"
    if rsm == math.inf:
        return "beta is infinite or unknown: restricted smoothness is not established"
    return ""
