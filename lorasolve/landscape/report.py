"""What a verdict says: the kind of a point, the reasons as data, and the text that is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .._support.text import for_json
from ..certificates import Certificate
from .constants import Constants
from .curvature import SecondOrder
from .first_order import Stationarity
from .theorems import Spectra, TheoremFinding
from .witness import Witness

Kind = Literal["global", "spurious", "saddle", "not_converged", "inconclusive"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PremiseId = Literal[
    "first_order", "second_order", "star_known", "constants", "joint_inequality", "radius", "rank_of_constants"
]
# How the premises are shown; code goes by their identifiers.
PREMISES: dict[PremiseId, str] = {
    "first_order": "first-order stationary",
    "second_order": "second-order stationary",
    "star_known": "F has a known minimizer of rank r* <= r",
    "constants": "alpha > 0 and beta < inf",
    "joint_inequality": "joint inequality of the alpha_l",
    "radius": "within the radius D",
    "rank_of_constants": "constants hold at rank r",
}


@dataclass(frozen=True)
class Premise:
    """An assumption of a theorem: whether it holds here (None: unknown), and how that is known.

    ``block`` is the matrix that it is about (from 0), None for the whole.
    """

    id: PremiseId
    holds: bool | None
    detail: str
    block: int | None = None

    @property
    def name(self) -> str:
        """The assumption in words."""
        return PREMISES[self.id]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        found = {"id": self.id, "name": self.name, "holds": self.holds, "detail": self.detail, "block": self.block}
        return dict(for_json(found))


@dataclass(frozen=True, repr=False, eq=False)
class Verdict:
    """What a point is, and why.

    Attributes
    ----------
    kind : Kind
        ``"global"``: a global minimum of ``L`` (of ``F``, where ``r >= r*``) up to ``tol``. ``"spurious"``:
        second-order stationary and not global. ``"saddle"``: stationary with a direction of negative curvature.
        ``"not_converged"``: not stationary. ``"inconclusive"``: second-order stationary, and nothing decides.
    reason : str
        One sentence.
    basis : str
        What the verdict rests on: ``"certificate"``, ``"comparison"`` (with ``X*``), ``"witness"``,
        ``"curvature"``, ``"gradient"``, a theorem's name, or ``"nothing"``.
    premises : tuple of Premise
        The assumptions of the theorems, checked first.
    findings : tuple of TheoremFinding
        What each theorem says about the point; empty if a premise fails, is unknown or the constants are. For several
        matrices that is Theorem 2: the whole, then each matrix, then Theorems A and B with joint constants. Where
        ``f`` is not known to be convex the last one is the gap from restricted constants, which needs no stationary
        point.
    contradictions : tuple of str
        Theorems with CERTIFIED constants that the outcome contradicts: always empty unless code or theory is wrong.
    stationarity, second_order, certificate
        The measurements (``second_order`` is None where the point is not stationary).
    constants : tuple of Constants or None
        Those used, for each matrix.
    spectra : tuple of Spectra or None
        The numbers of the point against ``X*``, for each matrix.
    tol : float
        Relative accuracy of ``kind``.
    witness : Witness or None
        The better point of rank at most ``r`` that a search found, with its value.
    """

    kind: Kind
    reason: str
    basis: str
    premises: tuple[Premise, ...]
    findings: tuple[TheoremFinding, ...]
    contradictions: tuple[str, ...]
    stationarity: Stationarity = field(repr=False)
    second_order: SecondOrder | None = field(repr=False)
    certificate: Certificate = field(repr=False)
    constants: tuple[Constants, ...] | None = field(repr=False)
    spectra: tuple[Spectra, ...] | None = field(repr=False)
    tol: float
    witness: Witness | None = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON-ready values."""
        found = {
            "kind": self.kind,
            "reason": self.reason,
            "basis": self.basis,
            "premises": [p.to_dict() for p in self.premises],
            "findings": [f.to_dict() for f in self.findings],
            "contradictions": list(self.contradictions),
            "stationarity": self.stationarity.to_dict(),
            "second_order": self.second_order.to_dict() if self.second_order else None,
            "certificate": self.certificate.to_dict(),
            "constants": [c.to_dict() for c in self.constants] if self.constants else None,
            "tol": self.tol,
            "witness": self.witness.to_dict() if self.witness else None,
        }
        return dict(for_json(found))

    def __repr__(self) -> str:
        return f"Verdict({self.kind}: {self.reason})"

    def __str__(self) -> str:
        lines = [f"verdict: {self.kind} ({self.reason})"]
        first = self.stationarity
        lines.append(
            f"  first order: ||grad L|| = {first.grad_norm:.2e}, balance {first.balance:.2e}, rank {first.rank} "
            f"(above {first.rank_tol:.0e} of the largest)"
        )
        if self.second_order:
            second = self.second_order
            lines.append(
                f"  second order: smallest curvature {second.smallest:.3e} off {second.symmetry_dimension} symmetry "
                f"directions ({second.evidence})"
            )
        for premise in self.premises:
            mark = {True: "holds", False: "FAILS", None: "unknown"}[premise.holds]
            lines.append(f"  premise {premise.name}{_matrix(premise.block)}: {mark} ({premise.detail})")
        for found in self.findings:
            empty = f"; vacuous: {', '.join(found.vacuous)}" if found.vacuous else ""
            where = f"{found.theorem}{_matrix(found.block)}"
            lines.append(f"  {where} [{found.known}]: {found.conclusion}: {found.text}{empty}")
        lines.extend(f"  CONTRADICTION: {text}" for text in self.contradictions)
        return "\n".join(lines)


def _matrix(block: int | None) -> str:
    return "" if block is None else f", matrix {block + 1}"
