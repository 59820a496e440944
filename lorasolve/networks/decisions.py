"""What the evidence about a point of a network decides, in words that can be quoted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._known import Known
from .._support.text import at_least, at_most
from ..certificates import Certificate
from ..landscape import SecondOrder
from ._evidence import Evidence
from ._remedies import LOUD_GAP, how_loud, what_next
from .tangent import TangentCertificate, ratio
from .token_ntk import TangentSolution

# Kind, reason and level of a verdict.
Decision = tuple[str, str, Known | None]
UNDECIDED: Decision = ("", "", None)

# A layer is loud where its rank is full (smallest singular value above this share of the largest) and its update larger
# than its weight, in a run that is not stationary and leaves a relative gap of ``LOUD_GAP``.
FULL = 1e-3
# Of lam ||theta||: a longer gradient in some layer means that steps remain.
STATIONARY = 1e-2
# ||G||_2/lam outside the spaces of X above 1 by more than this is a direction downhill.
OUTSIDE = 1e-3
# A better point refutes if it is better by more than this share of F, and than rounding explains.
REFUTES = {"float64": 1e-6, "float32": 1e-4}


def of_one_gradient(evidence: Evidence, relative_gap: float) -> Decision:
    """Return what the numbers of the point decide, and the gap in its tangent problem."""
    objective = evidence.objective
    stationary, loud = _is_stationary(evidence, relative_gap), _loud(evidence.found, evidence.norms)
    if loud and not (objective.has_penalty and stationary):
        known = objective.has_penalty and math.isfinite(relative_gap)
        gap = f" and a tangent gap of at most {_percent(relative_gap)} of F" if known else ""
        if not objective.has_penalty or relative_gap > LOUD_GAP:
            return "loud", how_loud(evidence, f"{loud}{gap}"), None
    if not objective.has_penalty:
        why = "lam = 0" if evidence.lam == 0.0 else f"the decay is {objective.lam_kind!r}, no penalty in the loss"
        return "no_premise", f"no statement about optimality: {why}; the facts follow", None
    if evidence.fault:
        return UNDECIDED
    if not stationary:
        return "not_converged", _how_far(evidence, relative_gap), None
    return _of_escapes(evidence, relative_gap, loud)


def _is_stationary(evidence: Evidence, relative_gap: float) -> bool:
    found, tol = evidence.found, evidence.tol
    unit = abs(found.F) or 1.0
    # What the certificate bounds is not taken back by a gradient: near X = 0 both sides of the ratio vanish. Where
    # nothing is bounded, factors as small as that have come to rest if no direction is worth its penalty.
    done = max(relative_gap, (found.L - found.F) / unit) <= tol
    vanished = 0.5 * evidence.lam * evidence.size**2 <= tol * unit and found.dual_norm <= 1.0
    return done or vanished or _worst(evidence)[1] <= STATIONARY


def _worst(evidence: Evidence) -> tuple[str, float]:
    """Return the layer with the longest gradient of the objective, and that as a share of ``lam ||theta||``."""
    worst = max(evidence.found.layers, key=lambda layer: layer.stationarity)
    return worst.name, ratio(worst.stationarity, evidence.lam * evidence.size)


def _how_far(evidence: Evidence, relative_gap: float) -> str:
    """Return what is left at a point that is not stationary, and what to do."""
    name, share = _worst(evidence)
    known = math.isfinite(relative_gap)
    gap = f"; the tangent gap is at most {at_most(relative_gap, '.2g')} of F" if known else ""
    return (
        f"not converged: in {name} the gradient of the objective is {share:.2g} of lam ||theta|| (at most "
        f"{STATIONARY:g}){gap}. {what_next(evidence)}"
    )


def _of_escapes(evidence: Evidence, relative_gap: float, loud: str) -> Decision:
    """Return what a rank-one direction outside the spaces of the updates decides, if one leads downhill."""
    out = max(evidence.found.layers, key=lambda layer: layer.outside)
    if out.outside <= 1.0 + OUTSIDE:
        return UNDECIDED
    kind, why = (
        ("rank_too_small", f"no column of its {out.max_rank} is left for it: the rank is too small")
        if out.rank == out.max_rank
        else ("saddle", f"its rank is {out.rank} of {out.max_rank}: a saddle with an empty column")
    )
    reason = (
        f"in {out.name} a rank-one direction outside the spaces of the update lowers F at the rate "
        f"||G|| - lam = {(out.outside - 1.0) * evidence.lam:.3g} to first order; {why}"
    )
    if math.isfinite(relative_gap):
        reason += f". In the network linearised here updates of every rank gain at most {_percent(relative_gap)} of F"
    return kind, reason + (f". Loud: {loud}" if loud else ""), evidence.found.level


def of_further_evidence(
    evidence: Evidence,
    solved: TangentSolution | None,
    searched: SecondOrder | None,
    best: float,
    certificate: Certificate | None,
) -> Decision:
    """Return what further evidence decides about a point that no number of its own decides about."""
    found = evidence.found
    if searched is not None and not searched.is_sosp:
        return _of_negative_curvature(evidence, searched)
    least = REFUTES[evidence.network.precision] * abs(found.F) + 2.0 * evidence.network.rounding
    if not evidence.rounded and found.F - best > least:
        reason = f"not global: another point has F = {best:.8g}, lower by {at_least(found.F - best, '.3g')}"
        gap = min(found.relative_gap, math.inf if solved is None else solved.relative_gap)
        if math.isfinite(gap):
            reason += (
                f". The tangent gap here is at most {at_most(gap, '.1e')} of F, which says nothing about points that "
                "far away"
            )
        return "refuted", reason, Known.CERTIFIED
    if certificate is not None and certificate.is_global is not None:
        kind = "global" if certificate.is_global else "refuted"
        return kind, f"the loss is convex in the updates: {certificate.reason}", certificate.level
    if certificate is not None and math.isinf(certificate.gap):
        return "inconclusive", f"the loss contradicts its own gradient: {certificate.reason}", None
    if evidence.fault:
        return "inconclusive", evidence.fault, None
    if evidence.unbounded:
        return "inconclusive", f"{evidence.unbounded}: no bound", None
    return _of_the_gap(evidence, solved)


def _of_negative_curvature(evidence: Evidence, searched: SecondOrder) -> Decision:
    """Return what a direction of negative curvature decides, held against values."""
    difference = evidence.second_difference(searched.direction)
    reason = (
        f"a direction of negative curvature {searched.smallest:.3g} was found (the second difference of three values "
        f"of L along it is {difference:.3g})"
    )
    if difference < 0.0:
        return "saddle", f"{reason}: a saddle", Known.CERTIFIED
    return "inconclusive", f"{reason}: the Hessian products contradict the values", None


def _of_the_gap(evidence: Evidence, solved: TangentSolution | None) -> Decision:
    """Return what the smaller bound of the gap decides, of one gradient's and of the solved tangent problem's."""
    found = evidence.found
    gap, how, level = found.relative_gap, "one gradient", found.level
    if solved is not None and solved.relative_gap <= gap:  # one that was interrupted may bound less
        gap, how, level = solved.relative_gap, "the solved tangent problem", Known(solved.level)
    if gap <= evidence.tol:
        return "tangent_optimal", _how_near(found, gap, how), level
    hint = "" if solved is not None else "; tangent_solve=True gives a sharper number"
    reason = (
        f"stationary, with a tangent gap of at most {at_most(gap, '.2g')} of F (by {how}), a bound above "
        f"{evidence.tol:g}{hint}"
    )
    return "inconclusive", reason, level


def _loud(found: TangentCertificate, norms: Sequence[float | None]) -> str:
    """Return which layer has full rank and an update larger than its weight; empty if none."""
    loud = [
        (layer, ratio(layer.spectral, norm))
        for layer, norm in zip(found.layers, norms)
        if norm is not None and layer.spread > FULL and layer.spectral > norm
    ]
    if not loud:
        return ""
    layer, times = max(loud, key=lambda each: each[1])
    rank = min(layer.max_rank, *layer.shape)
    return (
        f"{layer.name} has full rank {rank} and ||X||_2 = {times:.2g} ||W||_2 ({len(loud)} of "
        f"{len(found.layers)} layers)"
    )


def _how_near(found: TangentCertificate, gap: float, how: str) -> str:
    """Return what a small gap says of a stationary point, and what it does not say."""
    reason = (
        f"within {_percent(gap)} of the optimum of the network linearised at its own trained weights, over updates of "
        f"every rank (by {how}). To first order neither more rank nor more steps gain more; another start might. This "
        "bounds neither the network's global optimum nor its error on new data"
    )
    empty = not any(layer.rank for layer in found.layers)
    if empty and found.dual_norm == 0.0:
        return (
            f"{reason}. The updates are empty, and no gradient comes to any of these layers: to first order the "
            "loss does not depend on them here (units of a ReLU that are off, a head of zeros?)"
        )
    if empty:
        return (
            f"{reason}. The updates are empty: near this model nothing is worth its penalty for a lam above "
            f"{found.dual_norm * found.lam:.3g}"
        )
    if found.dual_norm < 1.0 - STATIONARY:
        return (
            f"{reason}. ||G||_2 is at most {at_most(found.dual_norm, '.2g')} of lam in every layer: the updates "
            "are not worth their penalty here, and F falls as they shrink"
        )
    return reason


def _percent(share: float) -> str:
    return f"{float(at_most(100.0 * share, '.2g')):.3g} %"  # 100 %, not 1e+02 %
