"""The premises of the theorems at a point, and what the theorems say where all of them hold."""

from __future__ import annotations

import math

from .._known import Known
from ..problem import Problem
from .constants import Constants
from .curvature import SecondOrder
from .first_order import Stationarity
from .known_constants import joint_curvature
from .minimizer import Minimizer
from .report import Premise
from .strong_convexity import StrongConvexity
from .theorems import (
    Spectra,
    TheoremFinding,
    applicable,
    joint_theorem_a,
    joint_theorem_b,
    theorem_2,
    theorem_3,
    theorem_b,
)


def premises(
    first: Stationarity,
    second: SecondOrder | None,
    is_sosp: bool | None,
    star: Minimizer,
    spectra: tuple[Spectra, ...] | None,
    convexity: StrongConvexity,
) -> tuple[Premise, ...]:
    """Return the premises of Theorems 1, 2 and 3 at a point, and whether they hold there.

    ``is_sosp`` is whether the point is second-order stationary, None where that is not known.
    """
    curvature = f"smallest curvature {second.smallest:.2e}, {second.evidence}" if second else "not computed"
    found = [
        Premise("first_order", first.is_fosp, f"||grad L|| = {first.grad_norm:.2e}"),
        Premise("second_order", is_sosp, curvature),
        *_premises_on_star(star, spectra),
    ]
    if convexity.constants is None:
        return *found, Premise("constants", None, "constants not given")
    problem = star.problem
    for k, c in enumerate(convexity.constants):
        certified = c.rsc_low > 0.0 and c.rsm_high < math.inf
        holds = True if certified else (False if c.rsc_high <= 0.0 else None)
        found.append(Premise("constants", holds, str(c), _block(problem, k)))
    if convexity.joint is not None:
        found.append(convexity.joint)
    if spectra is None:
        return tuple(found)
    for k, (c, s) in enumerate(zip(convexity.constants, spectra)):
        text = f"||X - X*||_F = {s.distance:.6g}, D = {c.radius:g}"
        found.append(Premise("radius", c.whole_space or c.reaches(s.distance), text, _block(problem, k)))
        text = f"for rank <= {c.r}, r = {s.r}"
        found.append(Premise("rank_of_constants", c.whole_space or c.r >= s.r, text, _block(problem, k)))
    return tuple(found)


def _premises_on_star(star: Minimizer, spectra: tuple[Spectra, ...] | None) -> list[Premise]:
    if star.refutation is not None:
        return [Premise("star_known", False, star.refutation)]
    if star.X is None:
        return [Premise("star_known", None, f"X* {star.source}")]
    found = []
    for k, (rank, r) in enumerate(zip(star.ranks, star.problem.ranks)):
        text = f"X* {star.source}, rank {rank}, r = {r}"
        if spectra is not None and spectra[k].delta > 0.0:
            text += f"; of rank {spectra[k].r_star} up to delta = {spectra[k].delta:.3g} (Theorem 3)"
        found.append(Premise("star_known", spectra is not None or rank <= r, text, _block(star.problem, k)))
    return found


def _block(problem: Problem, k: int) -> int | None:
    return k if problem.several else None


def findings(
    problem: Problem,
    spectra: tuple[Spectra, ...] | None,
    constants: tuple[Constants, ...] | None,
    premises: tuple[Premise, ...],
    eps: float | None,
) -> tuple[TheoremFinding, ...]:
    """Return what the theorems say of a point; nothing where one of their premises does not hold.

    ``eps`` is the radius that Theorem 3 is asked about.
    """
    if spectra is None or constants is None:
        return ()
    # The curvature of a point that its certificate already calls global is not computed; the theorems are
    # statements about second-order points, so they are not evaluated there. Constants that are only sampled give
    # findings that are marked as such.
    if any(not premise.holds for premise in premises if premise.id != "constants"):
        return ()
    used = [_usable(c) for c in constants]
    blocks = [(s, *ends) for s, ends in zip(spectra, used) if ends is not None]
    if len(blocks) < len(spectra):
        return ()
    if problem.several:
        return *theorem_2(blocks), joint_theorem_a(blocks), *_joint_two_constants(problem, blocks)
    ((single, rsc, rsm, known),) = blocks
    if single.delta > 0.0:
        return (theorem_3(single, rsc, rsm, known, eps),)
    found = [statement(single, rsc, rsm, known) for statement in applicable(single)]
    curvature = constants[0].curvature
    if curvature is not None and known is Known.CERTIFIED:
        found.append(theorem_b(single, curvature, rsm, known))
    return tuple(found)


def _joint_two_constants(
    problem: Problem, blocks: list[tuple[Spectra, float, float, Known]]
) -> tuple[TheoremFinding, ...]:
    """Return what Theorem B says of several matrices, where bounds on the joint curvature are known."""
    curvature = joint_curvature(problem.loss)
    return () if curvature is None else (joint_theorem_b(blocks, curvature, Known.CERTIFIED),)


def _usable(constants: Constants) -> tuple[float, float, Known] | None:
    """Return the certified ends, or the sampled ones where those say nothing, or None."""
    if constants.rsc_low > 0.0 and constants.rsm_high < math.inf:
        return constants.rsc_low, constants.rsm_high, Known.CERTIFIED
    if constants.rsc_high > 0.0:
        # A few random matrices may show more of alpha than of beta, which is at least alpha.
        return constants.rsc_high, max(constants.rsm_low, constants.rsc_high), Known.SAMPLED
    return None
