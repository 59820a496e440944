"""The verdict on several matrices at once: Theorem 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from .._known import Known
from .._validate import Array, as_float_array, as_number, as_shape
from ..certificate import Certificate, certify
from ..linear_map import numerical_rank
from ..multi import MultiProblem
from ..result import Result
from ._canonical import Point
from .constants import Constants
from .curvature import SecondOrder, curvature, symmetry_basis
from .judge import Premise
from .theorems import Finding, Spectra, theorem_1


@dataclass(frozen=True)
class MultiVerdict:
    """What a point of a :class:`~lorasolve.MultiProblem` is, and why.

    Attributes
    ----------
    kind, reason, basis, premises, contradictions, certificate, tol
        As in :class:`~lorasolve.landscape.Verdict`.
    grad_norm : float
        ``||grad L||`` over all factors.
    second_order : SecondOrder or None
        Of the joint Hessian, couplings between the matrices included; ``direction`` holds flat vectors.
    blocks : tuple of Finding
        Per matrix, whether it can be the one that Theorem 2 demands of a spurious point: ``"global"`` says it cannot.
    conclusion : str
        Theorem 2's answer: ``"global"``, ``"not excluded"``, or ``"not evaluated"``.
    """

    kind: str
    reason: str
    basis: str
    premises: tuple[Premise, ...]
    blocks: tuple[Finding, ...]
    conclusion: str
    contradictions: tuple[str, ...]
    grad_norm: float
    second_order: SecondOrder | None = field(repr=False)
    certificate: Certificate = field(repr=False)
    tol: float

    def __str__(self) -> str:
        lines = [f"verdict: {self.kind} ({self.reason})", f"  Theorem 2: {self.conclusion}"]
        for premise in self.premises:
            mark = {True: "holds", False: "FAILS", None: "unknown"}[premise.holds]
            lines.append(f"  premise {premise.name}: {mark} ({premise.detail})")
        lines += [f"  matrix {k + 1} [{f.known}]: {f.conclusion}: {f.text}" for k, f in enumerate(self.blocks)]
        return "\n".join([*lines, *(f"  CONTRADICTION: {text}" for text in self.contradictions)])


def verdict_multi(
    problem: MultiProblem,
    result: Result | Sequence[tuple[ArrayLike, ArrayLike]],
    X_star: Sequence[ArrayLike] | None = None,
    constants: Sequence[Constants] | None = None,
    tol: float = 1e-6,
) -> MultiVerdict:
    """Say what a point of a problem with several matrices is, by Theorem 2 where its premises hold.

    Parameters
    ----------
    problem : MultiProblem
        The problem.
    result : Result or sequence of (A, B)
        The end of a run on ``problem``, or the factors of each matrix.
    X_star : sequence of array_like, optional
        A global minimizer of ``F(X) = f(X) + lam sum_l ||X_l||_*``.
    constants : sequence of Constants, optional
        For each matrix. They must satisfy the joint inequality that the proof uses,
        ``<grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l ||X_l - X*_l||^2``; constants of each diagonal block
        alone do where the matrices are not coupled.
    tol : float
        Relative accuracy of objective values and gradient.

    Returns
    -------
    MultiVerdict

    Notes
    -----
    Source: main paper, Theorem 2, with strict inequality in the special regime (proofs/theorem2): a spurious point has
    a matrix of rank exactly ``r_l`` with ``sigma_r >= (2 alpha_l/beta_l) sigma_{r*}`` at Theorem 1's distance.
    """
    if not isinstance(problem, MultiProblem):
        raise TypeError(f"problem: expected a MultiProblem, got {type(problem).__name__}")
    tol = as_number(tol, "tol", 0.0, open_low=True)
    pairs = problem.split(result.A, result.B) if isinstance(result, Result) else list(result)
    factors = problem.split(*problem.join(pairs))
    L = len(problem.shapes)
    stars = None if X_star is None else _matrices(X_star, problem)
    if constants is not None and len(constants) != L:
        raise ValueError(f"constants: expected {L}, got {len(constants)}")

    A, B = problem.join(factors)
    certificate = certify(problem.joint, (A, B), tol=tol)
    value = certificate.value
    at_zero = problem.objective.value_and_grad([np.zeros(shape) for shape in problem.shapes])[0]
    scale = max(abs(value), abs(at_zero)) or 1.0
    grad_norm = math.hypot(*(float(np.linalg.norm(part)) for pair in problem.grad(factors) for part in pair))
    stationary = grad_norm <= tol * (1.0 + abs(problem.value(factors)))
    second = _second_order(problem, factors, 0.1 * tol) if stationary else None
    kind, reason, basis = _kind(problem, certificate, second, grad_norm, stars, scale, tol)
    premises, blocks, conclusion = _theorem_2(problem, factors, second, stars, constants)
    contradictions: tuple[str, ...] = ()
    if kind == "spurious" and conclusion == "global":
        contradictions = ("Theorem 2 says global",)
    elif kind == "inconclusive" and conclusion == "global":
        kind, basis = "global", "Theorem 2"
        reason = "second-order stationary, and Theorem 2 excludes spurious points here"
    return MultiVerdict(
        kind, reason, basis, premises, blocks, conclusion, contradictions, grad_norm, second, certificate, tol
    )


def _matrices(X_star: Sequence[ArrayLike], problem: MultiProblem) -> list[Array]:
    if len(X_star) != len(problem.shapes):
        raise ValueError(f"X_star: expected {len(problem.shapes)} matrices, got {len(X_star)}")
    return [
        as_shape(as_float_array(X, f"X_star[{k}]", 2, np.float64), f"X_star[{k}]", shape)
        for k, (X, shape) in enumerate(zip(X_star, problem.shapes))
    ]


def _flat(pairs: Sequence[tuple[Array, Array]]) -> Array:
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def _second_order(problem: MultiProblem, factors: Sequence[tuple[Array, Array]], tol: float) -> SecondOrder:
    """Return the curvature of the joint loss, the symmetry directions of every matrix projected out."""
    sizes = [part.size for pair in factors for part in pair]
    cuts = np.cumsum(sizes)[:-1]

    def pairs(vector: Array) -> list[tuple[Array, Array]]:
        parts = np.split(vector, cuts)
        return [
            (parts[2 * k].reshape(A.shape), parts[2 * k + 1].reshape(B.shape)) for k, (A, B) in enumerate(factors)
        ]

    bases = [symmetry_basis(A, B, problem.lam) for A, B in factors]
    symmetry = np.zeros((sum(sizes), sum(basis.shape[1] for basis in bases)))
    row = column = 0
    for basis in bases:
        symmetry[row : row + basis.shape[0], column : column + basis.shape[1]] = basis
        row, column = row + basis.shape[0], column + basis.shape[1]
    vector, found = curvature(lambda z: _flat(problem.hvp(factors, pairs(z))), symmetry, tol)
    A, B = problem.join(pairs(vector))
    return SecondOrder(direction=(A, B), **found)


def _kind(
    problem: MultiProblem,
    certificate: Certificate,
    second: SecondOrder | None,
    grad_norm: float,
    stars: list[Array] | None,
    scale: float,
    tol: float,
) -> tuple[str, str, str]:
    gap = certificate.gap + max(certificate.factor_gap, 0.0)
    if gap <= tol * scale:
        return "global", f"CERTIFIED: within {gap:.2e} of the optimum of F", "certificate"
    if second is None:
        return "not_converged", f"||grad L|| = {grad_norm:.2e}; continue the run", "gradient"
    if not second.is_sosp:
        noise = math.sqrt(grad_norm * max(1.0, second.largest))
        if second.smallest > -noise:
            return "not_converged", f"curvature {second.smallest:.2e} may be due to the remaining gradient", "curvature"
        return "saddle", f"strict saddle: curvature {second.smallest:.3g} along second_order.direction", "curvature"
    if stars is None:
        return "inconclusive", "second-order stationary; no certificate applies and X* is not known", "nothing"
    nuclear = sum(float(np.linalg.svd(X, compute_uv=False).sum()) for X in stars)
    best = problem.objective.value_and_grad(stars)[0] + problem.lam * nuclear
    difference = certificate.value - best
    if difference < -tol * scale:
        return "inconclusive", f"X_star is not a minimizer: this point is better by {-difference:.3g}", "nothing"
    if difference <= tol * scale:
        return "global", f"F(X) - F(X*) = {difference:.2e}, X* given", "comparison"
    ranks = [numerical_rank(np.linalg.svd(X, compute_uv=False)) for X in stars]
    if any(rank > r for rank, r in zip(ranks, problem.ranks)):
        return "inconclusive", f"above F(X*) by {difference:.3g}, but X* has ranks {ranks} beyond r", "nothing"
    return "spurious", f"second-order stationary, and F(X) - F(X*) = {difference:.6g}", "comparison"


def _theorem_2(
    problem: MultiProblem,
    factors: Sequence[tuple[Array, Array]],
    second: SecondOrder | None,
    stars: list[Array] | None,
    constants: Sequence[Constants] | None,
) -> tuple[tuple[Premise, ...], tuple[Finding, ...], str]:
    """Return the premises, one finding per matrix and the conclusion."""
    text = f"smallest curvature {second.smallest:.2e}" if second else "not stationary"
    premises = [Premise("second-order stationary", second is not None and second.is_sosp, text)]
    if stars is None or constants is None:
        premises.append(Premise("X* and constants", None, "not given"))
        return tuple(premises), (), "not evaluated"
    X = [A @ B.T for A, B in factors]
    blocks = []
    for k, (A, B) in enumerate(factors):
        c, r = constants[k], problem.ranks[k]
        r_star = numerical_rank(np.linalg.svd(stars[k], compute_uv=False))
        premises.append(Premise(f"matrix {k + 1}: r* <= r", r_star <= r, f"r* = {r_star}, r = {r}"))
        certified = c.alpha_low > 0.0 and c.beta_high < math.inf
        premises.append(Premise(f"matrix {k + 1}: alpha > 0, beta < inf", certified or None, str(c)))
        if r_star <= r and certified:
            spectra = Spectra.of(Point(problem.block_problem(k, X), A, B), stars[k], r_star)
            inside = c.whole_space or spectra.distance <= c.radius
            premises.append(Premise(f"matrix {k + 1}: within D", inside, f"distance {spectra.distance:.4g}"))
            blocks.append(theorem_1(spectra, c.alpha_low, c.beta_high, Known.CERTIFIED))
    if not all(p.holds for p in premises):
        return tuple(premises), tuple(blocks), "not evaluated"
    everywhere = all(f.conclusion == "global" for f in blocks)
    return tuple(premises), tuple(blocks), "global" if everywhere else "not excluded"
