"""BeamLoRA as numbers: importance and its gauge, the decay of gated factors; claims.

Source: arXiv 2502.13604, its claims worked out for matrix objectives (derived). Proof module: proofs/beam_lora.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array, as_float_array, as_integer, as_number, as_shape
from ..adapters.softmax_gates import SoftmaxGates
from ..engine import solve
from ..low_rank import balanced, factor_svd
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.denoising import Denoising
from ..objectives.linear import LinearFineTuning
from ..optimizers.adam import Adam
from ..problem import Problem
from ..schedules.beam import EXPANSIONS, Beam, beyond_top_p, importance, prune_and_expand
from .base import (
    COLOURS,
    Claim,
    PaperClaims,
    first_seeds,
    is_above_zero,
    largest,
    least,
    mean_and_error,
    standard_error,
)
from .sora import compact_svd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# By how much the products of the columns of an orthogonal matrix may differ from 0 and 1.
ORTHOGONAL = 1e-8


def term_norms(A: Array, B: Array) -> Array:
    """Return ``||a_k b_k^T||_F = ||a_k|| ||b_k||`` (r,), the paper's importance, at cost O(r (m + n))."""
    A, B = _as_factors(A, B)
    return np.linalg.norm(A, axis=0) * np.linalg.norm(B, axis=0)


def _as_factors(A: Array, B: Array) -> tuple[Array, Array]:
    A = as_float_array(A, "A", 2)
    B = as_float_array(B, "B", 2)
    return A, as_shape(B, "B", (len(B), A.shape[1]))


def dispersion(importances: Array) -> float:
    """Return the coefficient of variation: standard deviation over mean; 0 where all importances are 0."""
    importances = as_float_array(importances, "importances", 1)
    if not importances.any():
        return 0.0
    return float(np.std(importances) / np.mean(importances))


def in_gauge(X: Array, Q: Array) -> tuple[Array, Array]:
    """Return the balanced factors ``U S^(1/2) Q``, ``V S^(1/2) Q`` of ``X`` for an orthogonal ``Q`` (r, r).

    Their importances are ``diag(Q^T S Q)``: majorised by the singular values, with the sum ``||X||_*``. ``Q = I``
    has the largest dispersion; a normalised Hadamard matrix makes all importances equal. So the dispersion of
    ranks measures the gauge that the optimizer ended in, not the update.

    Raises
    ------
    ValueError, TypeError
        For another ``Q``, and one of fewer rows than the rank of ``X``.
    """
    X, Q = as_float_array(X, "X", 2), as_float_array(Q, "Q", 2)
    r = as_integer(len(Q), "Q: rows", max(len(compact_svd(X)[1]), 1), min(X.shape))
    as_shape(Q, "Q", (r, r))
    if np.abs(Q.T @ Q - np.eye(r)).max() > ORTHOGONAL:
        raise ValueError("Q: expected an orthogonal matrix, got one whose columns are not orthonormal")
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
    """Return ``||X - X_pruned||_F / ||X||_F`` when the ``removed`` least (or most) important terms go, 0 for X = 0."""
    A, B = _as_factors(A, B)
    removed = as_integer(removed, "removed", 0, A.shape[1])
    order = np.argsort(term_norms(A, B))
    gone = order[len(order) - removed :] if highest_first else order[:removed]
    length = float(np.linalg.norm(A @ B.T))
    return float(np.linalg.norm(A[:, gone] @ B[:, gone].T)) / length if length > 0.0 else 0.0


def gated_decay(X: Array, lam: float, gates: int) -> float:
    """Return ``(lam/r)(sum sqrt(sigma_i(X)))^2``: the weight decay that softmax-gated factors of ``X`` need.

    The least of ``(lam/2)(||A||_F^2 + ||B||_F^2)`` over ``A diag(w) B^T = X``, ``w > 0`` with sum ``r`` (a limit
    where ``rank X < r``; where it is larger there are none). By Cauchy-Schwarz over the weights and the bound on
    ``sum sqrt(||a_k|| ||b_k||)``.
    """
    lam, sigma = as_number(lam, "lam", 0.0), compact_svd(X)[1]
    gates = as_integer(gates, "gates", max(len(sigma), 1))
    return lam / gates * float(np.sum(np.sqrt(sigma))) ** 2


def svd_gauge(A: Array, B: Array) -> tuple[Array, Array]:
    """Return the balanced factors of the same ``X`` whose importances are its singular values."""
    return balanced(*factor_svd(*_as_factors(A, B)))


# ---------------------------------------------------------------------- claims
_SHAPE, _RANK = (40, 32), 8
_TIMES = (5, 50, 200)
_TARGETS = (16, 8, 4, 2)
# Seeds of a full run and of a quick one.
_SEEDS, _PRUNING_SEEDS = (10, 4), (20, 8)
# samples, rank of the change, noise, iterations
_JOBS = {"few noisy samples": (60, 4, 1.0, 1000), "many samples, short run": (200, 12, 0.5, 150)}


def _target(rank: int, seed: int) -> Array:
    """Return a random 40 x 32 matrix of the given rank with Frobenius norm 10."""
    rng = np.random.default_rng(seed)
    T = rng.standard_normal((_SHAPE[0], rank)) @ rng.standard_normal((rank, _SHAPE[1]))
    return 10.0 * T / np.linalg.norm(T)


def importance_over_time(optimizer: str, seed: int) -> list[tuple[float, float]]:
    """Return dispersion, and rank correlation with the final order, after 5, 50 and 200 iterations and at the end."""
    history: list[Array] = []

    def watch(now: Intermediate) -> None:
        if now.nit in _TIMES:
            history.append(term_norms(now.A, now.B))

    stop = StoppingRule(max_iter=1000, grad_tol=0.0)
    end = solve(Problem(Denoising(_target(16, seed)), _RANK), optimizer, seed=seed, stop=stop, callback=watch)
    history.append(term_norms(end.A, end.B))
    final = _ranks(history[-1])
    return [(dispersion(values), float(np.corrcoef(_ranks(values), final)[0, 1])) for values in history]


def _ranks(values: Array) -> Array:
    return np.argsort(np.argsort(values))


def courses(seeds: int) -> dict[str, list[list[tuple[float, float]]]]:
    """Return, by seed, the course of the importances under gradient descent and Adam."""
    return {name: [importance_over_time(name, seed) for seed in range(seeds)] for name in ("gd", "adam")}


def pruned_in_gauges(seed: int = 0) -> dict[str, float]:
    """Return the error of pruning the least important half of the terms of one update, in three gauges."""
    X = _target(_RANK, seed)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((_RANK, _RANK)))[0]
    gauges = {"SVD": np.eye(_RANK), "random": Q, "Hadamard": hadamard(_RANK)}
    return {name: pruning_error(*in_gauge(X, gauge), _RANK // 2) for name, gauge in gauges.items()}


def pruned_after_training(seeds: int) -> dict[str, dict[str, list[list[float]]]]:
    """Return by optimizer and rank of the target, over the seeds, the error of pruning half of a trained adapter.

    Least important terms first, most important first, and in the gauge of the singular vectors.
    """
    return {
        optimizer: {str(rank): [_pruned(optimizer, rank, seed) for seed in range(seeds)] for rank in _TARGETS}
        for optimizer in ("gd", "adam")
    }


def _pruned(optimizer: str, rank: int, seed: int) -> list[float]:
    stop = StoppingRule(max_iter=1000, grad_tol=0.0)
    end = solve(Problem(Denoising(_target(rank, seed)), _RANK), optimizer, seed=seed, stop=stop)
    half = _RANK // 2
    return [
        pruning_error(end.A, end.B, half),
        pruning_error(end.A, end.B, half, highest_first=True),
        pruning_error(*svd_gauge(end.A, end.B), half),
    ]


def gains(seeds: int) -> dict[str, dict[str, list[float]]]:
    """Return by job and method, over the seeds, ``||X - C||_F^2/2`` at the end, ``C`` the change to be learnt."""
    return {name: _risks(*job, seeds) for name, job in _JOBS.items()}


def _risks(samples: int, rank: int, noise: float, max_iter: int, seeds: int) -> dict[str, list[float]]:
    """Return the risks of LoRA, gates alone, and four expansions that prune a fifth of the importance at first."""
    gates, step = SoftmaxGates(tau=0.5), Adam(0.02)
    methods = {"LoRA": Method(step, "cosine"), "gates": Method(step, "cosine", gates)} | {
        expand: Method(step, ["cosine", Beam(kept=0.8, expand=expand)], gates) for expand in EXPANSIONS
    }
    stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
    risks: dict[str, list[float]] = {name: [] for name in methods}
    for seed in range(seeds):
        C, objective = noisy_change(samples, rank, noise, seed)
        for name, method in methods.items():
            end = solve(Problem(objective, _RANK), method, seed=seed, stop=stop)
            risks[name].append(0.5 * float(np.sum((end.X - C) ** 2)))
    return risks


def noisy_change(samples: int, rank: int, noise: float, seed: int) -> tuple[Array, LinearFineTuning]:
    """Return a change (16, 24) of a given rank, and the loss of noisy samples of the changed weight."""
    rng = np.random.default_rng(seed)
    m, n = 16, 24
    W0 = rng.standard_normal((m, n))
    C = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n)) / np.sqrt(n)
    Z = rng.standard_normal((n, samples))
    return C, LinearFineTuning(W0, Z, (W0 + C) @ Z + noise * rng.standard_normal((m, samples)))


def hadamard_dispersion(seed: int = 0) -> float:
    """Return the dispersion of the importances of one update in the Hadamard gauge, over that in the SVD gauge."""
    flat, widest = (
        dispersion(term_norms(*in_gauge(_target(_RANK, seed), Q))) for Q in (hadamard(_RANK), np.eye(_RANK))
    )
    return flat / widest


def event(seed: int = 0) -> dict[str, float]:
    """Return how far one event moves ``X`` from the pruned ``X``, relative to it, by expansion.

    Beside it the share of the unnormalised weight of the terms taking part that the averaged logits leave, and the
    least number of terms left open; pruning alone would close some.
    """
    gates = SoftmaxGates(tau=0.5)
    problem = Problem(Denoising(_target(16, seed)), _RANK, adapter=gates)
    run = solve(problem, Adam(0.02), seed=seed, stop=StoppingRule(max_iter=200, grad_tol=0.0))
    worst = beyond_top_p(importance(problem, run.theta, "gate"), 0.8)[::-1][: _RANK // 2]
    A, B, z = problem.split(run.theta)
    weights = gates.weights(z)
    weights[worst] = 0.0
    pruned = (A * weights) @ B.T
    moved, after = {}, {}
    for expand in ("paper", "preserving"):
        schedule = Beam(expand=expand)
        theta = prune_and_expand(problem, run.theta, run.theta, 0.8, schedule, np.random.default_rng(0))
        assert theta is not None
        after[expand] = theta
        moved[expand] = float(np.linalg.norm(problem.update(theta) - pruned) / np.linalg.norm(pruned))
    averaged = problem.split(after["paper"])[2]
    taking_part = averaged != z
    masses = [float(np.exp(logits[taking_part] / gates.tau).sum()) for logits in (averaged, z)]
    open_terms = min(np.count_nonzero(importance(problem, theta, "norm")) for theta in after.values())
    return moved | {"mass": masses[0] / masses[1], "open": int(open_terms)}


def decayed(seeds: int) -> list[tuple[float, float]]:
    """Return by seed the weight decay at the end of a run with gates over :func:`gated_decay`, less 1, and over LoRA's.

    The latter is ``lam ||X||_*``. Ends of L-BFGS on targets of rank 4, with four gates and ``lam = 0.5``.
    """
    rank, lam = 4, 0.5
    stop = StoppingRule(max_iter=5000, grad_tol=1e-8)
    found = []
    for seed in range(seeds):
        T = _target(rank, seed)
        problem = Problem(Denoising(T), rank, lam, adapter=SoftmaxGates(tau=0.5))
        end = solve(problem, "lbfgs", "gaussian:std=0.3", seed, stop=stop)
        paid = end.fun - 0.5 * float(np.sum((end.X - T) ** 2))
        found.append((paid / gated_decay(end.X, lam, rank) - 1.0, paid / (lam * float(np.linalg.norm(end.X, "nuc")))))
    return found


class BeamLoRAClaims(PaperClaims):
    """Importance over time, its gauge, and what pruning and expanding gains."""

    name = "beam_lora"
    paper = "BeamLoRA (arXiv 2502.13604)"
    summary = "importance over time, its gauge, and what pruning and expanding gains"
    seeds = f"{first_seeds(*_SEEDS)}, pruning {first_seeds(*_PRUNING_SEEDS)}"
    size = (11.0, 3.8)
    parts = {
        "over_time": courses,
        "gauges": pruned_in_gauges,
        "hadamard": hadamard_dispersion,
        "pruned": pruned_after_training,
        "risks": gains,
        "moved": event,
        "decayed": decayed,
    }

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds for a quick run."""
        seeds = {"seeds": _SEEDS[quick]}
        return {"over_time": seeds, "pruned": {"seeds": _PRUNING_SEEDS[quick]}, "risks": seeds, "decayed": seeds}

    def report(self, found: dict[str, Any]) -> str:
        """Return the importances over time, the errors of pruning and the risks."""
        lines = ["Importance ||a_k|| ||b_k|| at iteration 5, 50, 200 and the end: dispersion (order as at the end)"]
        for name, runs in found["over_time"].items():
            course = np.mean(runs, axis=0)
            lines.append(f"  {name:<5}" + "".join(f"  {cv:.3f} ({rho:+.2f})" for cv, rho in course))
        lines.append("Error of pruning half of the terms of a trained adapter: least, most important; singular vectors")
        for name, table in found["pruned"].items():
            for rank, runs in table.items():
                shown = "  ".join(mean_and_error(column) for column in zip(*runs))
                lines.append(f"  {name:<5} target of rank {rank:>2}:  {shown}")
        for name, table in found["risks"].items():
            samples, rank, noise, max_iter = _JOBS[name]
            lines.append(
                f"{name} ({samples} samples of a 16 x 24 change of rank {rank}, noise {noise:g}, r = {_RANK}, "
                f"{max_iter} iterations): ||X - C||^2/2, beside LoRA's"
            )
            for method, values in table.items():
                apart = np.subtract(values, table["LoRA"])
                lines.append(f"  {method:<11} {np.mean(values):8.3f}   {mean_and_error(apart)}")
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw dispersion over time, the errors of pruning, and the risks beside LoRA's."""
        left, middle, right = figure.subplots(1, 3)
        for k, (name, runs) in enumerate(found["over_time"].items()):
            values = np.asarray(runs)[:, :, 0]
            left.errorbar(
                range(4), values.mean(0), standard_error(values, 0), fmt="os"[k] + "-", color=COLOURS[k], label=name
            )
        left.set_xticks(range(4), [*map(str, _TIMES), "end"])
        left.set(title="Importances draw together", xlabel="iteration", ylabel="dispersion", ylim=(0.0, None))
        for k, label in enumerate(("least important first", "most important first", "singular vectors")):
            values = np.asarray([[run[k] for run in found["pruned"]["adam"][str(rank)]] for rank in _TARGETS])
            middle.errorbar(
                range(4), values.mean(1), standard_error(values, 1), fmt="osd"[k] + "-", color=COLOURS[k], label=label
            )
        middle.set_xticks(range(4), map(str, _TARGETS))
        middle.set(title="Pruning half after Adam", xlabel="rank of the target", ylabel="relative error")
        for k, (name, table) in enumerate(found["risks"].items()):
            methods = [method for method in table if method != "LoRA"]
            shares = [np.divide(table[method], table["LoRA"]) for method in methods]
            positions = np.arange(len(methods)) + 0.15 * (2 * k - 1)
            means, errors = np.mean(shares, axis=1), standard_error(shares, 1)
            right.errorbar(positions, means, errors, fmt="os"[k], color=COLOURS[k], label=name)
        right.set_xticks(range(len(methods)), methods, rotation=30)
        right.axhline(1.0, color="black", lw=1)
        right.set(title="Risk over LoRA's", yscale="log")
        figure.supxlabel("bars: standard errors of the means over the seeds", fontsize=9)
        for ax in (left, middle, right):
            ax.grid(alpha=0.25)
            ax.legend(fontsize=8)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        courses = {name: np.asarray(runs) for name, runs in found["over_time"].items()}
        pruned = {
            name: {rank: np.asarray(runs) for rank, runs in table.items()} for name, table in found["pruned"].items()
        }
        return [
            _keep_their_order(courses),
            _barely_matter(pruned),
            _say_what_a_term_is_worth(found["gauges"], found["hadamard"], pruned),
            _expanding_helps(found["moved"]),
            _gain_over_lora(*found["risks"].values()),
            _gates_change_the_penalty(found["decayed"]),
            Claim("gains on twelve data sets with three language models", "not at matrix scale", "-", True),
        ]


def _keep_their_order(courses: dict[str, Array]) -> Claim:
    """Judge how importances go on, from (runs, times, 2) dispersions and correlations with the last order."""
    return Claim(
        "importances start alike, separate, then keep their order (temporal finding); correction: they keep "
        "their order, but from a LoRA start they draw together",
        "holds with correction",
        "; ".join(
            f"{name}: dispersion {mean_and_error(runs[:, 0, 0])} after 5 iterations, "
            f"{mean_and_error(runs[:, -1, 0])} at the end, order at 200 against the end "
            f"{np.mean(runs[:, 2, 1]):+.2f}"
            for name, runs in courses.items()
        ),
        all(
            np.mean(runs[:, 2, 1]) > 0.9 and is_above_zero(runs[:, 0, 0] - runs[:, -1, 0]) for runs in courses.values()
        ),
    )


def _each(pruned: dict[str, dict[str, Array]]) -> list[Array]:
    return [runs for table in pruned.values() for runs in table.values()]


def _barely_matter(pruned: dict[str, dict[str, Array]]) -> Claim:
    """Judge what pruning costs, from the errors (runs, 3) by optimizer and rank of the target."""
    after_adam = pruned["adam"]
    return Claim(
        "pruning the least important terms barely matters, pruning the most important ones is ruinous; "
        "correction: the direction holds in trained adapters, the sizes do not hold after Adam",
        "holds with correction",
        "relative error by half of the terms after Adam, least (most) important first: "
        + ", ".join(
            f"target of rank {rank}: {mean_and_error(runs[:, 0])} ({mean_and_error(runs[:, 1])})"
            for rank, runs in after_adam.items()
        ),
        all(is_above_zero(runs[:, 1] - runs[:, 0]) for runs in _each(pruned))
        # Neither barely matters nor is ruinous: more than a quarter is lost, and more than a quarter kept.
        and all(runs[:, 0].mean() > 0.25 and runs[:, 1].mean() < 0.8 for runs in after_adam.values()),
    )


def _say_what_a_term_is_worth(gauges: dict[str, float], hadamard: float, pruned: dict[str, dict[str, Array]]) -> Claim:
    """Judge importances in several gauges of one update, and in that of trained adapters."""
    against_own = largest([runs[:, 2] / runs[:, 0] for runs in _each(pruned)])
    return Claim(
        "importance says what a term is worth; correction: it depends on the gauge (Hadamard: all equal), and "
        "prunes best in that of the singular vectors",
        "holds with correction",
        "error by half of the terms: "
        + ", ".join(f"{gauge} {error:.3f}" for gauge, error in gauges.items())
        + f"; dispersion with Hadamard over that with SVD {hadamard:.0e}; trained adapters, largest "
        f"error with SVD over that of their own gauge {against_own:.2f}",
        gauges["SVD"] < least([gauges["random"], gauges["Hadamard"]]) and hadamard < 1e-10 and against_own < 1.0,
    )


def _expanding_helps(moved: dict[str, float]) -> Claim:
    """Judge what one event of pruning and expansion does to the update and to the gates."""
    return Claim(
        "expanding promising terms helps; correction: the averaged logits lose mass and move the update, a "
        "split can be made exact",
        "holds with correction",
        f"update moved by {moved['paper']:.2f} (paper, relative; {moved['mass']:.3f} of the mass is left), "
        f"{moved['preserving']:.1e} (preserving); {moved['open']} of {_RANK} terms are open after both",
        moved["paper"] > 0.05 and moved["mass"] < 0.99 and moved["preserving"] < 1e-12 and moved["open"] == _RANK,
    )


def _gain_over_lora(few: dict[str, list[float]], many: dict[str, list[float]]) -> Claim:
    """Judge the risks of the methods with few and with many samples, by the seeds."""
    # Of the logarithms: in one run of many pruning alone multiplies the risk, and would outweigh the others.
    gained, alone, lost = (
        np.log(np.divide(table[method], table["LoRA"]))
        for table, method in ((few, "paper"), (few, "none"), (many, "paper"))
    )
    return Claim(
        "consistent gains over LoRA at equal rank; correction: with few noisy samples the pruning regularises, "
        "and pruning alone gains more; with many samples and a short run it loses",
        "holds with correction",
        f"logarithm of the risk over LoRA's, few samples: {mean_and_error(gained)}, pruning alone "
        f"{mean_and_error(alone)}, LoRA's risk {np.mean(few['LoRA']):.2f}; many: {mean_and_error(lost)}, "
        f"LoRA's risk {np.mean(many['LoRA']):.2f}",
        is_above_zero(lost) and is_above_zero(-alone) and is_above_zero(gained - alone),
    )


def _gates_change_the_penalty(decayed: list[tuple[float, float]]) -> Claim:
    """Judge weight decay at the ends of runs, from its excess over the gated penalty and its share of the nuclear."""
    paid, share = zip(*decayed)
    return Claim(
        "the gates cost r parameters, which can be merged; correction: with weight decay they change the "
        "penalty too, from lam ||X||_* to (lam/r)(sum sqrt(sigma_i))^2, which is less and not convex",
        "holds with correction",
        f"weight decay at the end of {len(paid)} runs over the latter: 1 + {least(paid):.0e} to 1 + "
        f"{largest(paid):.0e}; over the former: {least(share):.3f} to {largest(share):.3f}",
        # No gated factors of an update cost less.
        -1e-12 < least(paid) <= largest(paid) < 1e-6 and largest(share) < 1.0 - 1e-3,
    )
