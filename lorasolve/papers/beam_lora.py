"""BeamLoRA as numbers: importance and its gauge, the mass lost by averaging logits, the decay of gated factors; claims.

Source: arXiv 2502.13604, its claims worked out for matrix objectives (derived). Proof module: proofs/beam_lora.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validate import Array, as_integer
from ..adapters.softmax_gates import SoftmaxGates
from ..engine import solve
from ..linear_map import balanced, factor_svd
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.denoising import Denoising
from ..optimizers.adam import Adam
from ..problem import Problem
from ..schedules.beam import Beam, beyond_top_p, importance, prune_and_expand
from .base import Claim, PaperClaims
from .sora import compact_svd


def term_norms(A: Array, B: Array) -> Array:
    """Return ``||a_k b_k^T||_F = ||a_k|| ||b_k||`` (r,), the paper's importance, at cost O(r (m + n))."""
    return np.linalg.norm(A, axis=0) * np.linalg.norm(B, axis=0)


def dispersion(importances: Array) -> float:
    """Return the coefficient of variation: standard deviation over mean."""
    return float(np.std(importances) / np.mean(importances))


def in_gauge(X: Array, Q: Array) -> tuple[Array, Array]:
    """Return the balanced factors ``U S^(1/2) Q``, ``V S^(1/2) Q`` of ``X`` for an orthogonal ``Q`` (r, r).

    Their importances are ``diag(Q^T S Q)``: majorised by the singular values, with the sum ``||X||_*``. ``Q = I``
    has the largest dispersion; a normalised Hadamard matrix makes all importances equal. So the dispersion of
    ranks measures the gauge that the optimizer ended in, not the update.
    """
    r = Q.shape[0]
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    A, B = balanced(U[:, :r], s[:r], Vt[:r].T)
    return A @ Q, B @ Q


def hadamard(r: int) -> Array:
    """Return the orthogonal matrix (r, r) with entries ``+-1/sqrt(r)``, for ``r`` a power of two."""
    as_integer(r, "r", 1)
    if r & (r - 1):
        raise ValueError(f"r: expected a power of two, got {r}")
    H = np.ones((1, 1))
    while H.shape[0] < r:
        H = np.block([[H, H], [H, -H]])
    return H / np.sqrt(r)


def pruning_error(A: Array, B: Array, removed: int, highest_first: bool = False) -> float:
    """Return ``||X - X_pruned||_F / ||X||_F`` when the ``removed`` terms of least (or most) importance go."""
    order = np.argsort(term_norms(A, B))
    gone = order[len(order) - removed :] if highest_first else order[:removed]
    return float(np.linalg.norm(A[:, gone] @ B[:, gone].T) / np.linalg.norm(A @ B.T))


def marginal_importance(A: Array, B: Array, G: Array, smoothness: float = 1.0) -> Array:
    """Return ``f(X - a_k b_k^T) - f(X)`` (r,), exactly for ``f = (smoothness/2)||X - T||_F^2``.

    ``-a_k^T G b_k + (smoothness/2) ||a_k||^2 ||b_k||^2`` with ``G`` the gradient at ``X``: what the loss really
    rises by when a term is removed.
    """
    return -np.einsum("ik,ij,jk->k", A, G, B) + 0.5 * smoothness * term_norms(A, B) ** 2


def averaged_mass(z_i: float, z_j: float, tau: float) -> float:
    """Return the pair's unnormalised weight after averaging the logits over that before: ``1/cosh((z_i-z_j)/2tau)``.

    The mean of logits is the geometric mean of weights: at most 1, and the smaller the more the two differ.
    """
    return float(1.0 / np.cosh((z_i - z_j) / (2.0 * tau)))


def gated_decay(X: Array, lam: float, gates: int) -> float:
    """Return ``(lam/r)(sum sqrt(sigma_i(X)))^2``: the weight decay that softmax-gated factors of ``X`` need.

    The least of ``(lam/2)(||A||_F^2 + ||B||_F^2)`` over ``A diag(w) B^T = X``, ``w > 0`` with sum ``r`` (a limit
    where ``rank X < r``). By Cauchy-Schwarz over the weights and the bound on ``sum sqrt(||a_k|| ||b_k||)``.
    """
    return lam / gates * float(np.sum(np.sqrt(compact_svd(X)[1]))) ** 2


def svd_gauge(A: Array, B: Array) -> tuple[Array, Array]:
    """Return the balanced factors of the same ``X`` whose importances are its singular values."""
    return balanced(*factor_svd(A, B))

# ---------------------------------------------------------------------- claims
_SHAPE, _RANK = (40, 32), 8
_TIMES = (5, 50, 200, 1000)


def _target(rank: int, seed: int) -> np.ndarray:
    """Return a random 40 x 32 matrix of the given rank with Frobenius norm 10."""
    rng = np.random.default_rng(seed)
    T = rng.standard_normal((_SHAPE[0], rank)) @ rng.standard_normal((rank, _SHAPE[1]))
    return 10.0 * T / np.linalg.norm(T)


def importance_over_time(optimizer: str, seed: int = 0) -> dict[int, tuple[float, float]]:
    """Return dispersion, and rank correlation with the final order, of the importances at some iterations."""
    history: dict[int, np.ndarray] = {}

    def watch(now: Intermediate) -> None:
        if now.nit in _TIMES:
            history[now.nit] = term_norms(now.A, now.B)

    stop = StoppingRule(max_iter=_TIMES[-1], grad_tol=0.0)
    solve(Problem(Denoising(_target(16, seed)), _RANK), optimizer, seed=seed, stop=stop, callback=watch)

    def ranks(values: np.ndarray) -> np.ndarray:
        return np.argsort(np.argsort(values))

    final = ranks(history[_TIMES[-1]])
    return {t: (dispersion(v), float(np.corrcoef(ranks(v), final)[0, 1])) for t, v in history.items()}


def shares_removed(seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return the error of pruning half of the terms, lowest and highest first, in three gauges of one update."""
    X = _target(_RANK, seed)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((_RANK, _RANK)))[0]
    gauges = {"SVD": np.eye(_RANK), "random": Q, "Hadamard": hadamard(_RANK)}
    factors = {name: in_gauge(X, gauge) for name, gauge in gauges.items()}
    half = _RANK // 2
    return {name: (pruning_error(*AB, half), pruning_error(*AB, half, True)) for name, AB in factors.items()}


def final_losses(seeds: int, max_iter: int) -> dict[str, dict[str, list[float]]]:
    """Return the losses relative to their start, over the seeds, for targets of rank 16 and 4."""
    return {str(rank): _losses_of_target(rank, seeds, max_iter) for rank in (16, 4)}


def _losses_of_target(rank: int, seeds: int, max_iter: int) -> dict[str, list[float]]:
    """Return the losses, over the seeds, of LoRA, gates alone and three expansions."""
    gates = SoftmaxGates(tau=0.5)
    methods = {
        "LoRA": Method(Adam(0.02), "cosine"),
        "gates": Method(Adam(0.02), "cosine", gates),
        "paper": Method(Adam(0.02), ["cosine", Beam()], gates),
        "preserving": Method(Adam(0.02), ["cosine", Beam(expand="preserving")], gates),
        "reseed": Method(Adam(0.02), ["cosine", Beam(expand="reseed")], gates),
    }
    stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
    losses: dict[str, list[float]] = {name: [] for name in methods}
    for seed in range(seeds):
        T = _target(rank, seed)
        for name, method in methods.items():
            end = solve(Problem(Denoising(T), _RANK), method, seed=seed, stop=stop)
            losses[name].append(end.fun / (0.5 * float(np.sum(T * T))))
    return losses


def event(seed: int = 0) -> dict[str, float]:
    """Return how far one event moves ``X`` from the pruned ``X``, relative to it, by expansion."""
    gates = SoftmaxGates(tau=0.5)
    problem = Problem(Denoising(_target(16, seed)), _RANK, adapter=gates)
    run = solve(problem, Adam(0.02), seed=seed, stop=StoppingRule(max_iter=200, grad_tol=0.0))
    worst = beyond_top_p(importance(problem, run.theta, "gate"), 0.8)[::-1][: _RANK // 2]
    A, B, z = problem.split(run.theta)
    weights = gates.weights(z)
    weights[worst] = 0.0
    pruned = (A * weights) @ B.T
    moved = {}
    for expand in ("paper", "preserving"):
        schedule = Beam(expand=expand)
        theta = prune_and_expand(problem, run.theta, run.theta, 0.8, schedule, np.random.default_rng(0))
        assert theta is not None
        moved[expand] = float(np.linalg.norm(problem.update(theta) - pruned) / np.linalg.norm(pruned))
    return moved


def least_losses(seeds: int) -> list[float]:
    """Return the least relative loss at rank 8 of each seed's target of rank 16 (zero for those of rank 4)."""
    values = [np.linalg.svd(_target(16, seed), compute_uv=False) for seed in range(seeds)]
    return [float(np.sum(v[_RANK:] ** 2) / np.sum(v**2)) for v in values]


def both_courses() -> dict[str, dict[int, tuple[float, float]]]:
    """Return the course of the importances under gradient descent and Adam."""
    return {name: importance_over_time(name) for name in ("gd", "adam")}


class BeamLoRAClaims(PaperClaims):
    """Importance over time, its gauge, and what pruning and expanding gains."""

    name = "beam_lora"
    paper = "BeamLoRA (arXiv 2502.13604)"
    summary = "importance over time, its gauge, and what pruning and expanding gains"
    seeds = "0-9 (quick: 0-2)"
    parts = {
        "over_time": both_courses,
        "pruning": shares_removed,
        "losses": final_losses,
        "floor": least_losses,
        "moved": event,
    }

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds and shorter runs for a quick run."""
        seeds, max_iter = (3, 1500) if quick else (10, 6000)
        return {"losses": {"seeds": seeds, "max_iter": max_iter}, "floor": {"seeds": seeds}}

    def report(self, found: dict[str, Any]) -> str:
        """Return the importances over time, the errors of pruning and the losses."""
        lines = ["Importance ||a_k|| ||b_k||: dispersion (rank correlation with the final order)"]
        for name, course in found["over_time"].items():
            lines.append(f"  {name:<5}" + "".join(f"  t={t}: {cv:.2f} ({rho:+.2f})" for t, (cv, rho) in course.items()))
        lines.append("Error of pruning half of the terms of one update: least important first (most important first)")
        pruning = found["pruning"].items()
        lines.append("  " + "   ".join(f"{gauge}: {low:.3f} ({high:.3f})" for gauge, (low, high) in pruning))
        seeds, floor = len(found["floor"]), np.mean(found["floor"])
        lines.append(
            f"Loss relative to the start, r = {_RANK}, mean of {seeds} seeds (best possible {floor:.4f} and 0):"
        )
        for rank, table in found["losses"].items():
            means = "  ".join(f"{k} {np.mean(v):.4f}" for k, v in table.items())
            lines.append(f"  target of rank {rank:>2}:  {means}")
        return "\n".join(lines)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        adam, pruning, moved = found["over_time"]["adam"], found["pruning"], found["moved"]
        means = [{name: float(np.mean(values)) for name, values in table.items()} for table in found["losses"].values()]
        gain = max(table["LoRA"] - min(table.values()) for table in means)
        return [
            Claim(
                "importances start alike, separate, then keep their order (temporal finding)",
                "confirmed",
                "Adam, correlation with the final order "
                + ", ".join(f"{adam[str(t)][1]:+.2f} at {t}" for t in _TIMES[:-1]),
                adam["200"][1] > 0.8 > adam["5"][1],
            ),
            Claim(
                "pruning the least important terms barely matters; correction: that holds in the gauge of the singular "
                "vectors, and importance depends on the gauge (Hadamard: all equal)",
                "holds with correction",
                ", ".join(f"{gauge} {low:.3f}" for gauge, (low, _) in pruning.items()),
                pruning["SVD"][0] < pruning["random"][0] < pruning["Hadamard"][0],
            ),
            Claim(
                "expanding promising terms helps; correction: the averaged logits lose mass and move the update, a "
                "split can be made exact",
                "holds with correction",
                f"update moved by {moved['paper']:.2f} (paper, relative), {moved['preserving']:.1e} (preserving)",
                moved["paper"] > 0.05 and moved["preserving"] < 1e-12,
            ),
            Claim(
                "consistent gains over LoRA at equal rank: none on one noiseless matrix, where LoRA reaches the "
                "optimum",
                "not at matrix scale",
                f"largest gain in relative loss {gain:.1e}",
                gain < 1e-3,
            ),
        ]
