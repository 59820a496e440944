"""The verdict on a point: global, spurious, saddle, not converged or inconclusive, with the reasons as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._known import Known
from .._validate import Array, as_float_array, as_integer, as_number, as_shape
from ..certificate import Certificate, certify
from ..linear_map import numerical_rank
from ..problem import Problem
from ..result import Result
from ._canonical import Point, canonical_result
from .constants import Constants, known_constants
from .curvature import SecondOrder, second_order_at
from .first_order import Stationarity, stationarity_at
from .theorems import Finding, Spectra, applicable, theorem_3

KINDS = ("global", "spurious", "saddle", "not_converged", "inconclusive")


@dataclass(frozen=True)
class Premise:
    """An assumption of a theorem: whether it holds here (None: unknown), and how that is known."""

    name: str
    holds: bool | None
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-ready values."""
        return {"name": self.name, "holds": self.holds, "detail": self.detail}


@dataclass(frozen=True)
class Verdict:
    """What a point is, and why.

    Attributes
    ----------
    kind : str
        ``"global"``: a global minimum of ``L`` (of ``F``, where ``r >= r*``) up to ``tol``. ``"spurious"``:
        second-order stationary and not global. ``"saddle"``: stationary with a direction of negative curvature.
        ``"not_converged"``: not stationary. ``"inconclusive"``: second-order stationary, and nothing decides.
    reason : str
        One sentence.
    basis : str
        What the verdict rests on: ``"certificate"``, ``"comparison"`` (with ``X*``),
        ``"curvature"``, ``"gradient"``, a theorem's name, or ``"nothing"``.
    premises : tuple of Premise
        The assumptions of the theorems, checked first.
    findings : tuple of Finding
        What each theorem says about the point; empty if a premise fails or the constants are unknown.
    contradictions : tuple of str
        Theorems with CERTIFIED constants that the outcome contradicts: always empty unless code or theory is wrong.
    stationarity, second_order, certificate
        The measurements (``second_order`` is None where the point is not stationary).
    constants : Constants or None
        Those used.
    spectra : Spectra or None
        The numbers of the point against ``X*``.
    tol : float
        Relative accuracy of ``kind``.
    """

    kind: str
    reason: str
    basis: str
    premises: tuple[Premise, ...]
    findings: tuple[Finding, ...]
    contradictions: tuple[str, ...]
    stationarity: Stationarity = field(repr=False)
    second_order: SecondOrder | None = field(repr=False)
    certificate: Certificate = field(repr=False)
    constants: Constants | None = field(repr=False)
    spectra: Spectra | None = field(repr=False)
    tol: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON-ready values."""
        return {
            "kind": self.kind,
            "reason": self.reason,
            "basis": self.basis,
            "premises": [p.to_dict() for p in self.premises],
            "findings": [f.to_dict() for f in self.findings],
            "contradictions": list(self.contradictions),
            "stationarity": self.stationarity.to_dict(),
            "second_order": self.second_order.to_dict() if self.second_order else None,
            "certificate": self.certificate.to_dict(),
            "constants": self.constants.to_dict() if self.constants else None,
            "tol": self.tol,
        }

    def __str__(self) -> str:
        lines = [f"verdict: {self.kind} ({self.reason})"]
        first = self.stationarity
        lines.append(
            f"  first order: ||grad L|| = {first.grad_norm:.2e}, balance {first.balance:.2e}, rank {first.rank}"
        )
        if self.second_order:
            second = self.second_order
            lines.append(
                f"  second order: smallest curvature {second.smallest:.3e} off {second.symmetry_dimension} symmetry "
                f"directions ({second.method})"
            )
        for premise in self.premises:
            mark = {True: "holds", False: "FAILS", None: "unknown"}[premise.holds]
            lines.append(f"  premise {premise.name}: {mark} ({premise.detail})")
        for found in self.findings:
            empty = f"; vacuous: {', '.join(found.vacuous)}" if found.vacuous else ""
            lines.append(f"  {found.theorem} [{found.known}]: {found.conclusion}: {found.text}{empty}")
        lines.extend(f"  CONTRADICTION: {text}" for text in self.contradictions)
        return "\n".join(lines)


def verdict(
    problem: Problem,
    result: Result | tuple[ArrayLike, ArrayLike] | Any,
    X_star: ArrayLike | None = None,
    constants: Constants | None = None,
    r_star: int | None = None,
    eps: float | None = None,
    tol: float = 1e-6,
) -> Verdict:
    """Say what a point is: global minimum, spurious minimum, saddle, not converged, or inconclusive.

    Parameters
    ----------
    problem : Problem
        The problem that was solved.
    result : Result or (A, B)
        The end of a run, or factors of shapes (m, r), (n, r).
    X_star : array_like of shape (m, n), optional
        A global minimizer of ``F``. Without one, it is computed where ``f`` is convex, ``lam > 0`` and the point is not
        certified anyway.
    constants : Constants, optional
        RSC and RSM constants about ``X_star`` (:func:`~lorasolve.landscape.restricted_constants`). Without them,
        whole-space constants are used where they cost nothing (small quadratics).
    r_star : int, optional
        Rank to attribute to ``X_star``; by default its numerical rank. A smaller one asks for Theorem 3 (approximately
        low-rank minimizers), with ``delta`` the distance of ``X_star`` from its best approximation of that rank.
    eps : float, optional
        The radius that Theorem 3 is asked about.
    tol : float
        Relative accuracy: of objective values (relative to the larger of ``|F(X)|`` and ``|f(0)|``) and of the gradient
        (relative to ``1 + |L|``).

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError, TypeError
        For adapters, shapes and numbers out of range, and results that merged updates into the frozen weight.

    Notes
    -----
    The order of decision: a certificate of optimality; stationarity; curvature; the comparison with ``X*``. The
    theorems are evaluated beside it with the certified ends of the constants, and a contradiction is reported as such.
    Source: main paper, Theorems 1 and 3, Corollary 1 (proofs/theorem1, proofs/theorem3, proofs/corollary1); Theorem A
    (proofs/theorem_a). For several matrices see :func:`~lorasolve.landscape.verdict_multi`.
    """
    tol = as_number(tol, "tol", 0.0, open_low=True)
    if eps is not None:
        eps = as_number(eps, "eps", 0.0, open_low=True)
    point = canonical_result(problem, result)
    # For lam = 0 only X matters: at unbalanced factors the same landscape is merely stretched.
    if point.lam == 0.0:
        point = point.balanced()
    if X_star is not None:
        X_star = as_shape(as_float_array(X_star, "X_star", 2, np.float64), "X_star", point.problem.shape)
    return _Judge(point, X_star, constants, r_star, eps, tol).judge()


class _Judge:
    """The steps of one verdict, on a point in the normal form."""

    def __init__(
        self,
        point: Point,
        X_star: Array | None,
        constants: Constants | None,
        r_star: int | None,
        eps: float | None,
        tol: float,
    ) -> None:
        self.point = point
        self.X_star = X_star
        self.X_star_known = "given" if X_star is not None else "not given"
        self.constants = constants or known_constants(point.problem.objective, point.problem.rank)
        self.r_star = r_star
        self.eps = eps
        self.tol = tol
        at_zero = float(point.problem.objective.value_and_grad(np.zeros(point.problem.shape))[0])
        self.first = stationarity_at(point, tol)
        self.certificate = certify(point.problem, (point.A, point.B), tol=tol)
        self.value = self.certificate.value
        self.scale = max(abs(self.value), abs(at_zero)) or 1.0
        self.second: SecondOrder | None = None

    def judge(self) -> Verdict:
        kind, reason, basis = self._kind()
        spectra = self._spectra()
        premises = self._premises(spectra)
        findings = self._findings(spectra, premises)
        global_by = [f for f in findings if f.known is Known.CERTIFIED and f.conclusion == "global"]
        contradictions: tuple[str, ...] = ()
        if kind == "spurious":
            contradictions = tuple(f"{f.theorem} says global ({f.text})" for f in global_by)
        elif kind == "inconclusive" and global_by:
            kind, basis = "global", global_by[0].theorem
            reason = f"second-order stationary, and {basis} applies: {global_by[0].text}"
        return Verdict(
            kind=kind,
            reason=reason,
            basis=basis,
            premises=premises,
            findings=findings,
            contradictions=contradictions,
            stationarity=self.first,
            second_order=self.second,
            certificate=self.certificate,
            constants=self.constants,
            spectra=spectra,
            tol=self.tol,
        )

    # ------------------------------------------------------------------ the decision
    def _kind(self) -> tuple[str, str, str]:
        gap = min(self.certificate.gap, self._gap_without_decay())
        excess = max(self.certificate.factor_gap, 0.0)
        if gap + excess <= self.tol * self.scale:
            return "global", f"{Known.CERTIFIED}: within {gap + excess:.2e} of the optimum of F", "certificate"
        if not self.first.is_fosp:
            limit = self.tol * (1.0 + abs(self.first.value))
            return (
                "not_converged",
                f"||grad L|| = {self.first.grad_norm:.2e} exceeds {limit:.2e}; continue the run",
                "gradient",
            )
        self.second = second_order_at(self.point, 0.1 * self.tol)
        if not self.second.is_sosp:
            return self._negative_curvature(self.second)
        return self._second_order_point()

    def _gap_without_decay(self) -> float:
        """Return a certified gap for ``lam = 0``, where ``F = f``: from the lower bound, or strong convexity."""
        problem = self.point.problem
        if problem.lam > 0.0 or not problem.objective.facts.convex:
            return math.inf
        low = problem.objective.facts.lower_bound
        gap = self.value - low if low is not None else math.inf
        constants = self.constants
        if constants is not None and constants.whole_space and constants.alpha_low > 0.0:
            G = self.point.gradient().to_dense()
            gap = min(gap, float(np.vdot(G, G)) / (2.0 * constants.alpha_low))
        return gap

    def _negative_curvature(self, second: SecondOrder) -> tuple[str, str, str]:
        # At distance d from a stationary point the curvature is off by O(d) and the gradient by O(d) or, where the
        # curvature vanishes, less: curvature within the root of the gradient may be an artefact of stopping early.
        noise = math.sqrt(self.first.grad_norm * max(1.0, second.largest))
        if second.smallest > -noise:
            return (
                "not_converged",
                f"the smallest curvature {second.smallest:.2e} is within what the remaining gradient "
                f"{self.first.grad_norm:.2e} explains; continue the run",
                "curvature",
            )
        return (
            "saddle",
            f"strict saddle: the curvature is {second.smallest:.3g} along second_order.direction; "
            "escape(problem, result) continues from here",
            "curvature",
        )

    def _second_order_point(self) -> tuple[str, str, str]:
        problem = self.point.problem
        if self.X_star is None and problem.objective.facts.convex and problem.lam > 0.0:
            self._compute_reference()
        if self.X_star is None:
            return "inconclusive", "second-order stationary; no certificate applies and X* is not known", "nothing"
        best = problem.convex_value(self.X_star)
        difference = self.value - best
        if difference <= self.tol * self.scale:
            if difference < -self.tol * self.scale:
                text = f"X_star is not a minimizer: this point is better by {-difference:.3g}"
                return "inconclusive", text, "nothing"
            return "global", f"F(X) - F(X*) = {difference:.2e}, X* {self.X_star_known}", "comparison"
        rank = self._rank_of_star()
        if rank > problem.rank:
            text = (
                f"above F(X*) by {difference:.3g}, but X* has rank {rank} > r = {problem.rank}: whether a better point "
                "of rank <= r exists is not decided"
            )
            return "inconclusive", text, "nothing"
        text = f"second-order stationary, and F(X) - F(X*) = {difference:.6g} (X* {self.X_star_known})"
        return "spurious", text, "comparison"

    def _compute_reference(self) -> None:
        from ..convex import solve_convex

        reference = solve_convex(self.point.problem, route="factored", tol=0.01 * self.tol)
        if reference.gap <= self.tol * self.scale:
            self.X_star = reference.X
            self.X_star_known = f"computed ({reference.route}), certified gap {reference.gap:.1e}"

    # ------------------------------------------------------------------ the theorems
    def _rank_of_star(self) -> int:
        assert self.X_star is not None
        return numerical_rank(np.linalg.svd(self.X_star, compute_uv=False))

    def _spectra(self) -> Spectra | None:
        if self.X_star is None:
            return None
        rank = self._rank_of_star()
        r_star = rank if self.r_star is None else as_integer(self.r_star, "r_star", 0, rank)
        if r_star > self.point.problem.rank:
            return None
        X_star = self.X_star
        if r_star == rank:
            P, s, Qt = np.linalg.svd(X_star, full_matrices=False)
            X_star = (P[:, :rank] * s[:rank]) @ Qt[:rank]
        return Spectra.of(self.point, X_star, r_star)

    def _premises(self, spectra: Spectra | None) -> tuple[Premise, ...]:
        second = self.second
        curvature = f"smallest curvature {second.smallest:.2e}" if second else "not computed"
        premises = [
            Premise("first-order stationary", self.first.is_fosp, f"||grad L|| = {self.first.grad_norm:.2e}"),
            Premise("second-order stationary", second.is_sosp if second else None, curvature),
        ]
        if self.X_star is None:
            premises.append(Premise("F has a known minimizer of rank r* <= r", None, f"X* {self.X_star_known}"))
        else:
            rank, r = self._rank_of_star(), self.point.problem.rank
            text = f"X* {self.X_star_known}, rank {rank}, r = {r}"
            if spectra is not None and spectra.delta > 0.0:
                text += f"; of rank {spectra.r_star} up to delta = {spectra.delta:.3g} (Theorem 3)"
            premises.append(Premise("F has a known minimizer of rank r* <= r", spectra is not None, text))
        constants = self.constants
        if constants is None:
            premises.append(Premise("alpha > 0 and beta < inf", None, "constants not given"))
            return tuple(premises)
        certified = constants.alpha_low > 0.0 and constants.beta_high < math.inf
        refuted = constants.alpha_high <= 0.0
        premises.append(
            Premise("alpha > 0 and beta < inf", True if certified else (False if refuted else None), str(constants))
        )
        if spectra is not None:
            inside = constants.whole_space or spectra.distance <= constants.radius
            text = f"||X - X*||_F = {spectra.distance:.6g}, D = {constants.radius:g}"
            premises.append(Premise("within the radius D", inside, text))
            enough = constants.whole_space or constants.r >= spectra.r
            premises.append(Premise("constants hold at rank r", enough, f"for rank <= {constants.r}, r = {spectra.r}"))
        return tuple(premises)

    def _findings(self, spectra: Spectra | None, premises: tuple[Premise, ...]) -> tuple[Finding, ...]:
        constants = self.constants
        if spectra is None or constants is None:
            return ()
        # The curvature of a point that its certificate already calls global is not computed; the theorems are
        # statements about second-order points, so they are not evaluated there.
        if any(not p.holds for p in premises if p.name != "alpha > 0 and beta < inf"):
            return ()
        if constants.alpha_low > 0.0 and constants.beta_high < math.inf:
            alpha, beta, known = constants.alpha_low, constants.beta_high, Known.CERTIFIED
        elif constants.alpha_high > 0.0:
            alpha, beta, known = constants.alpha_high, constants.beta_low, Known.SAMPLED
        else:
            return ()
        if spectra.delta > 0.0:
            return (theorem_3(spectra, alpha, beta, known, self.eps),)
        whole_space = constants.whole_space and known is Known.CERTIFIED
        return tuple(statement(spectra, alpha, beta, known) for statement in applicable(spectra, whole_space))
