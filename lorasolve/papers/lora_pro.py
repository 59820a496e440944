"""LoRA-Pro: the step as a projection of the full gradient, what its free matrix changes, and when it pays.

Source: Wang et al., LoRA-Pro, arXiv 2407.18242 (ICLR 2025), theorems 2.1 to 2.3; the reading as a projection on the
tangent space is derived. Proof module: proofs/lora_pro_projection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from .._support.validate import Array, as_float_array, as_shape
from ..engine import solve
from ..low_rank import balanced
from ..method import Method
from ..monitor import StoppingRule
from ..objectives.denoising import Denoising
from ..optimizers.lora_pro import LoRAPro, Mode
from ..problem import Problem, full_fine_tuning
from .base import COLOURS, Claim, PaperClaims, first_seeds, is_above_zero, largest, mean_and_error
from .sora import compact_svd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHAPE, _RANK = (20, 16), 4
# Seeds of a full run and of a quick one.
_SEEDS = (10, 5)
_ADAPTIVE = ("adam", "lora_pro_adamw", "lora_pro_adamw_full")


def tangent_projection(G: Array, A: Array, B: Array) -> Array:
    """Return ``P_A G + G P_B - P_A G P_B`` (m, n): the part of ``G`` that is tangent to the rank-r matrices.

    ``P_A``, ``P_B`` project on the columns of ``A`` and ``B``, of whatever rank: at ``B = 0`` it is ``P_A G``.
    """
    G, A, B = (as_float_array(M, name, 2) for M, name in ((G, "G"), (A, "A"), (B, "B")))
    as_shape(A, "A", (G.shape[0], A.shape[1]))
    as_shape(B, "B", (G.shape[1], A.shape[1]))
    P, Q = compact_svd(A)[0], compact_svd(B)[0]
    left = P @ (P.T @ G)
    rest = G - left
    return left + (rest @ Q) @ Q.T


def effects(step: float) -> dict[str, Any]:
    """Return how far the change of the update by one short step, over the step, is from the projected gradient.

    By mode, relative: the product of the factors' steps, which depends on the free matrix and falls with the step.
    Beside it the share of the gradient that LoRA's own direction misses at its best scale, and the share that no
    direction of rank-r matrices reaches.
    """
    rng = np.random.default_rng(0)
    T = rng.standard_normal(_SHAPE)
    U, V = (np.linalg.qr(rng.standard_normal((rows, _RANK)))[0] for rows in _SHAPE)
    A, B = balanced(U, np.array([4.0, 2.0, 1.0, 0.25]), V)
    problem = Problem(Denoising(T), _RANK)
    X = A @ B.T
    G = X - T
    wanted = tangent_projection(G, A, B)
    modes: tuple[Mode, ...] = get_args(Mode)
    moved = {}
    for mode in modes:
        pro = LoRAPro(step_size=step, mode=mode, damping=0.0)
        end = solve(problem, pro, (A, B), stop=StoppingRule(1, grad_tol=0.0))
        moved[mode] = float(np.linalg.norm((X - end.X) / step - wanted) / np.linalg.norm(wanted))
    lora = G @ B @ B.T + A @ (A.T @ G)
    best = np.vdot(lora, G) / np.vdot(lora, lora)
    size = np.linalg.norm(G)
    return {
        "modes": moved,
        "missed by LoRA": float(np.linalg.norm(best * lora - G) / size),
        "missed": float(np.linalg.norm(wanted - G) / size),
    }


def iterations(condition: float, tol: float, max_iter: int) -> dict[str, float]:
    """Return the iterations to a relative loss ``tol`` on a target of rank 4 with condition number ``condition``.

    nan where a run ends above it.
    """
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((rows, _RANK)))[0] for rows in _SHAPE)
    T = (U * np.geomspace(1.0, 1.0 / condition, _RANK)) @ V.T
    start = 0.5 * float(np.vdot(T, T))
    stop = StoppingRule(max_iter, grad_tol=0.0, target=tol * start)
    ends = {name: solve(Problem(Denoising(T), _RANK), name, stop=stop) for name in ("gd", "lora_pro")}
    return {name: float(end.nit) if end.fun <= tol * start else float("nan") for name, end in ends.items()}


def adaptive_effects(seed: int = 0) -> dict[str, float]:
    """Return the cosine between the full gradient and what the first step of each method does to the weight."""
    rng = np.random.default_rng(seed)
    T = rng.standard_normal(_SHAPE)
    A, B = (rng.standard_normal((rows, _RANK)) for rows in _SHAPE)
    problem, X = Problem(Denoising(T), _RANK), A @ B.T
    stop = StoppingRule(1, grad_tol=0.0)
    moves = {"projection": tangent_projection(X - T, A, B)}
    for name in _ADAPTIVE:
        method = Method.parse(name).with_step(1e-6)
        moves[name] = X - solve(problem, method, (A, B), stop=stop).X
    G = X - T
    return {k: float(np.vdot(move, G) / np.linalg.norm(move) / np.linalg.norm(G)) for k, move in moves.items()}


def adaptive_losses(seeds: int, max_iter: int) -> dict[str, list[tuple[float, bool]]]:
    """Return by method and seed the relative loss on a target of rank 4 with condition number 30, best of 13 steps.

    And whether the best step is between the least and the largest: else a better one may lie beyond. With the same
    budget and a cosine; ``full`` is Adam on the whole weight.
    """
    steps = np.geomspace(1e-2, 1.0, 13)
    found: dict[str, list[tuple[float, bool]]] = {name: [] for name in (*_ADAPTIVE, "full")}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        U, V = (np.linalg.qr(rng.standard_normal((rows, _RANK)))[0] for rows in _SHAPE)
        T = (U * np.geomspace(1.0, 1.0 / 30.0, _RANK)) @ V.T
        objective = Denoising(T)
        whole, zero = full_fine_tuning(objective)
        for name, losses in found.items():
            problem, start = (whole, zero) if name == "full" else (Problem(objective, _RANK), None)
            method = Method.parse(f"{'adam' if name == 'full' else name}+cosine")
            ends = [
                solve(problem, method.with_step(step), start, seed, stop=StoppingRule(max_iter, grad_tol=0.0)).fun
                for step in steps
            ]
            best = int(np.nanargmin(ends))
            losses.append((ends[best] / (0.5 * float(np.vdot(T, T))), 0 < best < len(steps) - 1))
    return found


class LoRAProClaims(PaperClaims):
    """The step as a projection, the free matrix, the cost of ill-conditioning, and what Adam makes of it."""

    name = "lora_pro"
    paper = "LoRA-Pro (arXiv 2407.18242)"
    summary = "the step as a projection of the full gradient, and what it is worth"
    seeds = f"0, 1; losses {first_seeds(*_SEEDS)}"
    size = (8.0, 3.8)
    parts = {
        "effects": effects,
        "iterations": iterations,
        "adaptive": adaptive_effects,
        "losses": adaptive_losses,
    }

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds for a quick run."""
        return {
            "effects": {"step": 1e-6},
            "iterations": {"condition": 10.0, "tol": 1e-10, "max_iter": 50_000},
            "losses": {"seeds": _SEEDS[quick], "max_iter": 60},
        }

    def report(self, found: dict[str, Any]) -> str:
        """Return the shares of the gradient that are missed, and the iterations."""
        shown, counts = found["effects"], found["iterations"]
        return (
            f"Share of the gradient missed: LoRA's direction {shown['missed by LoRA']:.3f}, the projection "
            f"{shown['missed']:.3f}\nIterations to 1e-10, condition number 10: "
            + ", ".join(f"{name} {count:.0f}" for name, count in counts.items())
            + "\nCosine between the full gradient and the first step's effect: "
            + ", ".join(f"{name} {value:.3f}" for name, value in found["adaptive"].items())
            + "\nRelative loss after 60 steps, condition number 30, best of 13 step sizes (median):\n  "
            + "  ".join(f"{name} {value:.1e}" for name, value in _medians(found).items())
        )

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the cosines and the losses with Adam."""
        left, right = figure.subplots(1, 2)
        left.bar(list(found["adaptive"]), list(found["adaptive"].values()), color=COLOURS[0])
        left.set(ylabel="cosine with the full gradient", title="Effect of the first step")
        for k, ends in enumerate(found["losses"].values()):
            right.semilogy([k] * len(ends), [loss for loss, _ in ends], "o", color=COLOURS[k])
        right.set_xticks(range(len(found["losses"])), list(found["losses"]))
        right.set(ylabel="relative loss", title="After 60 tuned steps")
        for ax in (left, right):
            ax.grid(alpha=0.25)
            ax.tick_params(axis="x", rotation=25)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        shown, counts = found["effects"], found["iterations"]
        modes, cosines = shown["modes"], found["adaptive"]
        medians, distances = _medians(found), np.sort(list(modes.values()))
        losses = {name: np.array([loss for loss, _ in ends]) for name, ends in found["losses"].items()}
        # Of the logarithms: a loss is so many times smaller.
        gains = {name: np.log(losses["adam"] / losses[name]) for name in _ADAPTIVE[1:]}
        tuned = all(inside for name in _ADAPTIVE for _, inside in found["losses"][name])
        return [
            Claim(
                "the step's effect on the weight is nearest to the full gradient (theorem 2.1): it is the projection "
                "on the tangent space of the rank-r matrices",
                "confirmed",
                f"distance to the projection {modes['sylvester']:.1e} at a step of 1e-6; share of the gradient missed "
                f"{shown['missed']:.3f}, by LoRA's direction {shown['missed by LoRA']:.3f}",
                modes["sylvester"] < 1e-4 and shown["missed"] < shown["missed by LoRA"],
            ),
            Claim(
                "the free matrix X matters; correction: to first order the weight moves the same way for every X",
                "holds with correction",
                "distance to the projection at a step of 1e-6: "
                + ", ".join(f"{mode} {value:.1e}" for mode, value in modes.items()),
                # What is left is of second order, and another one for every X.
                largest(distances) < 1e-4 and bool(np.all(distances[1:] > 1.01 * distances[:-1])),
            ),
            Claim(
                "it closes the gap to full fine-tuning (language models); correction, at matrix scale: on an "
                "ill-conditioned target of matching rank it needs far fewer steps than LoRA's gradient descent",
                "holds with correction",
                f"iterations {counts['lora_pro']:.0f} against {counts['gd']:.0f}",
                10 * counts["lora_pro"] < counts["gd"],
            ),
            Claim(
                "with Adam the step stays close to the full gradient; correction: Adam's entrywise scaling loses part "
                "of the projection, of the factor steps (efficient mode) as of LoRA's own gradients, and of the "
                "gradient that is projected (full mode)",
                "holds with correction",
                "cosine with the full gradient: " + ", ".join(f"{name} {value:.3f}" for name, value in cosines.items()),
                largest([cosines[name] for name in _ADAPTIVE]) < 0.95 * cosines["projection"],
            ),
            Claim(
                "both AdamW modes learn more than LoRA with AdamW in the same steps (ill-conditioned target of "
                "matching rank, no decay)",
                "confirmed",
                "median relative loss: "
                + ", ".join(f"{name} {value:.1e}" for name, value in medians.items())
                + "; logarithm of LoRA's over theirs: "
                + ", ".join(f"{name} {mean_and_error(values, 2)}" for name, values in gains.items())
                + ("" if tuned else "; a best step is at an end of those tried"),
                tuned and all(map(is_above_zero, gains.values())),
            ),
            Claim("GLUE and Llama 2 7B scores above LoRA's", "not at matrix scale", "-", True),
        ]


def _medians(found: dict[str, Any]) -> dict[str, float]:
    return {name: float(np.median([loss for loss, _ in ends])) for name, ends in found["losses"].items()}
