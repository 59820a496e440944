"""PeriodicLoRA: what stages of full unloading reach, what a partial unload keeps, and what decay then means.

Source: Meng et al., "PeriodicLoRA", arXiv 2402.16141; the corrections are derived. Proof module:
proofs/periodic_merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..convex import solve_convex
from ..engine import solve
from ..monitor import StoppingRule
from ..objectives.denoising import Denoising
from ..objectives.linear import LinearFineTuning
from ..problem import Problem
from ..schedules.base import Stage
from ..schedules.periodic import Periodic
from .base import COLOURS, Claim, PaperClaims, largest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHAPE, _RANK = (12, 10), 2


def stages(count: int) -> list[tuple[int, float, float]]:
    """Return rank, residual and Eckart-Young tail at the rank reached, after each of ``count`` converged stages."""
    T = np.random.default_rng(0).standard_normal(_SHAPE)
    tails = np.append(np.sqrt(np.cumsum(np.linalg.svd(T, compute_uv=False)[::-1] ** 2))[::-1], 0.0)
    X, rows = np.zeros(_SHAPE), []
    for stage in range(count):
        # A stage is plain LoRA on what is left.
        end = solve(Problem(Denoising(T - X), _RANK), "lbfgs", seed=stage, stop=StoppingRule(2000, grad_tol=1e-10))
        X = X + end.X
        rank = int(np.linalg.matrix_rank(X, tol=1e-6))
        rows.append((rank, float(np.linalg.norm(T - X)), float(tails[min(_RANK * (stage + 1), min(_SHAPE))])))
    return rows


def against_lora(max_iter: int) -> dict[str, float]:
    """Return the final loss of LoRA and of LoRA merged every 100 steps, on a target of full rank, and LoRA's floor."""
    T = np.random.default_rng(0).standard_normal(_SHAPE)
    problem, stop = Problem(Denoising(T), _RANK), StoppingRule(max_iter, grad_tol=0.0)
    return {
        "LoRA": solve(problem, "nesterov", stop=stop).fun,
        "PeriodicLoRA": solve(problem, "nesterov+periodic:period=100", stop=stop).fun,
        "floor": 0.5 * float(np.sum(np.linalg.svd(T, compute_uv=False)[_RANK:] ** 2)),
    }


def unload_jumps(fraction: float) -> dict[str, float]:
    """Return the relative change of the update by a partial unload, by how the factors are scaled.

    They are scaled by the root of the fraction that stays, as the schedule does, or by that fraction. Beside the
    changes the share of the update that the schedule has moved into the frozen weight.
    """
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((_SHAPE[0], _RANK)), rng.standard_normal((_SHAPE[1], _RANK))
    X, size = A @ B.T, float(np.linalg.norm(A @ B.T))
    problem = Problem(Denoising(rng.standard_normal(_SHAPE)), _RANK)
    unloaded = Periodic(unload_fraction=fraction).transition(Stage(problem, problem.join(A, B)), rng)
    left = unloaded.problem.update(unloaded.theta)
    merged = np.zeros(_SHAPE) if unloaded.merged is None else unloaded.merged
    scale = 1.0 - fraction
    return {
        "root": float(np.linalg.norm(merged + left - X)) / size,
        "linear": float(np.linalg.norm(fraction * X + (scale * A) @ (scale * B).T - X)) / size,
        "unloaded": float(np.linalg.norm(merged)) / size,
    }


def decayed_limits(lam: float, count: int) -> dict[str, list[float]]:
    """Return by Hessian and rank of the stages the excess of ``f + lam ||.||_*`` after stages with decay.

    It is relative to the minimum; the ranks are 1 and, for the Hessian that is not the identity, the optimum's. Beside
    it how far the largest singular value of the gradient is above ``lam``, relative: where it is not, the next stage
    has nothing to gain, and the excess is that of the limit.
    """
    target = np.random.default_rng(1).standard_normal(_SHAPE)
    scales = {"isotropic": np.ones(_SHAPE[1]), "anisotropic": np.geomspace(1.0, 0.05, _SHAPE[1])}
    found = {}
    for name, scale in scales.items():
        Z = np.sqrt(_SHAPE[1]) * np.diag(scale)
        objective = LinearFineTuning(np.zeros(_SHAPE), Z, target @ Z)
        best = solve_convex(Problem(objective, min(_SHAPE), lam))
        optimal = int(np.linalg.matrix_rank(best.X, tol=1e-6))
        for rank in (1, optimal) if name == "anisotropic" else (1,):
            X = np.zeros(_SHAPE)
            for stage in range(count):
                left = LinearFineTuning(X, Z, target @ Z)
                X = X + solve(Problem(left, rank, lam), "lbfgs", seed=stage, stop=StoppingRule(2000, grad_tol=1e-10)).X
            reached = objective.value_and_grad(X)[0] + lam * float(np.linalg.svd(X, compute_uv=False).sum())
            above = float(np.linalg.norm(objective.value_and_grad(X)[1], 2)) / lam - 1.0
            found[f"{name}, rank {rank} of {optimal}"] = [reached / best.fun - 1.0, above]
    return found


class PeriodicLoRAClaims(PaperClaims):
    """Ranks that add up, the rule of a partial unload, and the limit with weight decay."""

    name = "periodic_lora"
    paper = "PeriodicLoRA (arXiv 2402.16141)"
    summary = "ranks that add up, what a partial unload keeps, and the limit with weight decay"
    seeds = "0, 1; stage k: k"
    size = (8.0, 3.8)
    axis_meanings = {"count": "stages, each with decay"}
    parts = {"stages": stages, "losses": against_lora, "jumps": unload_jumps, "limits": decayed_limits}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return the number of stages and steps, fewer for a quick run."""
        return {
            "stages": {"count": 6},
            "losses": {"max_iter": 1500 if quick else 5000},
            "jumps": {"fraction": 0.1},
            "limits": {"lam": 0.3, "count": 15 if quick else 30},
        }

    def report(self, found: dict[str, Any]) -> str:
        """Return the stages, and the excess of the decayed limits."""
        lines = ["Stages of rank 2 on a 12 x 10 target: rank so far, residual, best residual of that rank"]
        lines += [f"  {rank:2d}  {residual:.6f}  {tail:.6f}" for rank, residual, tail in found["stages"]]
        lines.append("Limit with weight decay, relative excess over the nuclear-norm optimum: " + _excesses(found))
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw rank and residual after each stage, and the excess of the decayed limits."""
        left, right = figure.subplots(1, 2)
        ranks, residuals, tails = zip(*found["stages"])
        numbers = range(1, len(ranks) + 1)
        left.plot(numbers, residuals, "o", color=COLOURS[0], label="residual")
        left.plot(numbers, tails, ":", color=COLOURS[0], label="best of that rank")
        left.plot(numbers, ranks, "s-", color=COLOURS[1], label="rank")
        left.set(title="Stages of rank 2, target 12 x 10", xlabel="stage", ylabel="rank, and residual")
        left.legend(fontsize=8)
        excesses = [excess for excess, _ in found["limits"].values()]
        right.semilogy(list(found["limits"]), np.maximum(excesses, 1e-17), "o", color=COLOURS[2])
        # Rounding may leave the optimum itself above a limit.
        below = "\n(0 and less drawn as 1e-17)" if min(excesses) <= 0.0 else ""
        right.set(title="Limit with weight decay", ylabel=f"excess over the nuclear-norm optimum{below}")
        right.set_xticks(range(len(found["limits"])), [name.replace(", ", "\n") for name in found["limits"]])
        right.margins(x=0.4)
        for ax in (left, right):
            ax.grid(alpha=0.25)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        ranks = [rank for rank, _, _ in found["stages"]]
        deviation = largest([abs(residual - tail) for _, residual, tail in found["stages"]])
        losses, jumps = found["losses"], found["jumps"]
        identity, below, reaching = (excess for excess, _ in found["limits"].values())
        above = largest([above for _, above in found["limits"].values()])
        return [
            Claim(
                "K stages of rank r give an update of rank K r: the low-rank bottleneck is broken",
                "confirmed",
                f"ranks {ranks}, largest deviation from the best approximation of that rank {deviation:.1e}",
                ranks == [2, 4, 6, 8, 10, 10] and deviation < 1e-7,
            ),
            Claim(
                "it learns what LoRA of the same rank cannot",
                "confirmed",
                f"loss {losses['PeriodicLoRA']:.1e} against {losses['LoRA']:.2f} (least at rank 2: "
                f"{losses['floor']:.2f})",
                losses["PeriodicLoRA"] < 1e-3 * losses["floor"] and abs(losses["LoRA"] / losses["floor"] - 1.0) < 1e-6,
            ),
            Claim(
                "a momentum unload of a fraction mu leaves the function alone; correction: only if both factors are "
                "scaled by sqrt(1 - mu), not by 1 - mu",
                "holds with correction",
                f"mu = 0.1, relative change: {jumps['root']:.0e} (root, {jumps['unloaded']:.3f} of the update "
                f"unloaded), {jumps['linear']:.3f} (linear)",
                jumps["root"] < 1e-14 and abs(jumps["unloaded"] - 0.1) < 1e-12 and abs(jumps["linear"] - 0.09) < 1e-12,
            ),
            Claim(
                "weight decay regularizes as in LoRA; correction: merging forgets the decay, and with stages of rank "
                "below the optimum's the limit is the nuclear-norm solution for an identity Hessian, not in general "
                "for another",
                "holds with correction",
                f"relative excess: {_excesses(found)}; gradient's largest singular value above lam by {above:.0e} at "
                "most (relative): no stage after these gains anything",
                abs(identity) < 1e-8 and below > 1e-4 and abs(reaching) < 1e-8 and above < 1e-6,
            ),
            Claim("up to 1.8 times the learning of LoRA (LLaMA 7B)", "not at matrix scale", "-", True),
        ]


def _excesses(found: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {excess:.1e}" for name, (excess, _) in found["limits"].items())
