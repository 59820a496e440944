"""The verdict on a network as data, and how it is printed: the premises, the reason, and a line a layer."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

from .._known import Known
from .._support.text import at_most, counted, for_json, number
from ..certificates import Certificate
from ..landscape import SecondOrder
from ..problem.pairs import Pairs
from .tangent import TangentCertificate, ratio
from .token_ntk import TangentSolution


@dataclass(frozen=True, eq=False)
class NetworkVerdict:
    """What is known about the trained updates of a network.

    Attributes
    ----------
    kind : str
        ``non_finite``, ``loud``, ``no_premise``, ``not_converged``, ``rank_too_small``, ``saddle``, ``refuted``,
        ``global`` (only where the loss is convex in the updates), ``tangent_optimal`` or ``inconclusive``.
    reason : str
        Why, in words that can be quoted.
    level : Known or None
        How the reason is known; None where it is a plain observation.
    premises : tuple of str
        What the verdict rests on.
    lam : float
        Weight decay.
    certificate : TangentCertificate or None
        The numbers, layer by layer; None for non-finite ones.
    base_norms : tuple of float or None
        ``||W_l||_2`` over the scaling, comparable with the updates' ``spectral``; None where PEFT's initialization
        changed ``W_l``, and for ``W_l = 0``.
    solved : TangentSolution or None
        With ``tangent_solve``.
    second : SecondOrder or None
        With ``second``; its direction is one of factors with at most ``min(m, n)`` columns.
    convex : Certificate or None
        Where the loss is convex in the updates.
    better : float or None
        The lowest value among ``others``, if it is lower.
    """

    kind: str
    reason: str
    level: Known | None
    premises: tuple[str, ...]
    lam: float
    certificate: TangentCertificate | None = field(repr=False)
    base_norms: tuple[float | None, ...] = ()
    solved: TangentSolution | None = field(default=None, repr=False)
    second: SecondOrder | None = field(default=None, repr=False)
    convex: Certificate | None = field(default=None, repr=False)
    better: float | None = None

    @property
    def F(self) -> float:
        """``f + lam sum_l ||X_l||_*`` at the point (NaN for non-finite updates)."""
        return math.nan if self.certificate is None else self.certificate.F

    @property
    def relative_gap(self) -> float:
        """The gap in the tangent problem: the smaller bound of those from one gradient and, where it was, solved."""
        if self.certificate is None:
            return math.inf
        return min(self.certificate.relative_gap, math.inf if self.solved is None else self.solved.relative_gap)

    @property
    def factors(self) -> Pairs:
        """The point: ``(A_l, B_l)`` of each layer, which :func:`judge` takes among its ``others``."""
        if self.certificate is None:
            raise ValueError("factors: the updates are not finite")
        return self.certificate.factors

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the point as plain JSON-ready values."""
        found = {
            "kind": self.kind,
            "reason": self.reason,
            "level": None if self.level is None else str(self.level),
            "premises": list(self.premises),
            "lam": self.lam,
            "relative_gap": self.relative_gap,
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "base_norms": list(self.base_norms),
            "solved": None if self.solved is None else self.solved.to_dict(),
            "second_order": None if self.second is None else self.second.to_dict(),
            "convex": None if self.convex is None else self.convex.to_dict(),
            "better": self.better,
        }
        return dict(for_json(found))

    def __repr__(self) -> str:
        layers = 0 if self.certificate is None else len(self.certificate.layers)
        return (
            f"NetworkVerdict({self.kind}: F = {number(self.F, '.10g')}, tangent gap <= "
            f"{at_most(self.relative_gap, '.2g')} of F, {counted(layers, 'layer')})"
        )

    def __str__(self) -> str:
        lines = [f"verdict: {self.kind}", "premises:", *(f"  {text}" for text in self.premises)]
        lines.append(textwrap.fill(self.reason, 118, break_on_hyphens=False))
        if self.certificate is not None:
            lines += self._numbers(self.certificate)
        return "\n".join(lines)

    def _numbers(self, found: TangentCertificate) -> list[str]:
        known = math.isfinite(found.relative_gap)
        bound = f"{at_most(found.relative_gap, '.2e')} of F, {found.level}: " if known else ""
        of_decay = f" ({found.stationarity:.1e} of lam ||theta||)" if found.lam > 0.0 else ""
        lines = [
            f"f = {found.f:.8g}, F = f + lam ||X||_* = {found.F:.10g}, L - F = {found.L - found.F:.2g}, ||grad L|| = "
            f"{found.grad_norm:.2e}{of_decay}",
            f"tangent gap from one gradient: {bound}{found.formula}",
        ]
        if self.solved is not None:
            solved = self.solved
            how = "interrupted" if solved.interrupted else "solved" if solved.success else "solved in part"
            lines.append(
                f"tangent problem {how}: gap {at_most(solved.relative_gap, '.2e')} of F, {solved.level}, ranks "
                f"{', '.join(map(str, solved.ranks))}, {solved.distance:.2e} away"
            )
        if self.second is not None:
            found_after = f"{self.second.products} Hessian products"
            lines.append(f"smallest curvature {self.second.smallest:.3e} after {found_after} ({self.second.evidence})")
        width = max(len(layer.name) for layer in found.layers)
        dual = "||G||_2/lam" if found.lam > 0.0 else "    ||G||_2"
        lines.append(f"{'layer'.ljust(width)}  rank     ||X||_2  of ||W||_2  {dual}  outside  inside   balance")
        for layer, norm in zip(found.layers, self.base_norms):
            balance = "-" if layer.balance is None else f"{layer.balance:.1e}"
            size = "-" if norm is None else f"{ratio(layer.spectral, norm):.2g}"
            lines.append(
                f"{layer.name.ljust(width)}  {layer.rank:2d}/{layer.max_rank:<3d} {layer.spectral:9.3g} "
                f"{size:>10} {layer.dual_norm:12.6g} {layer.outside:8.3g} "
                f"{layer.inside:8.1e} {balance:>8}"
            )
        return lines
