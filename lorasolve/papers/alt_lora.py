"""AltLoRA: the nearest gradient one factor at a time, and what alternation is worth on ill-conditioned targets.

Source: X. Yu et al., arXiv:2505.12455, of which the abstract was at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import as_number
from ..comparison.tuning import choose_step
from ..engine import solve
from ..inits.gaussian import Gaussian
from ..method import Method
from ..monitor import StoppingRule
from ..objectives.denoising import Denoising
from ..optimizers.alt_lora import AltLoRA
from ..optimizers.lora_pro_adamw import equivalent_step
from ..problem import Problem
from ..status import Status
from .base import COLOURS, Claim, PaperClaims, largest, least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHAPE, _RANK = (20, 16), 4
_MAX_ITER = 1500
_WITH_MOMENTUM, _PLAIN = (f"alt_lora:momentum={momentum},damping=1e-06" for momentum in (0.5, 0.0))


def uniqueness(seed: int = 0) -> dict[str, list[float]]:
    """Return the lengths of LoRA-Pro's factor steps by its free matrix, and the spread of AltLoRA's single one.

    The joint steps all have the same effect on the weight; the spread is the smallest singular value of the map from
    one factor's step to its effect, above 0 where the nearest step is unique.
    """
    rng = np.random.default_rng(seed)
    A, B = (rng.standard_normal((rows, _RANK)) for rows in _SHAPE)
    G = rng.standard_normal(_SHAPE)
    steps = [equivalent_step(A, B, G @ B, G.T @ A, mode, 0.0) for mode in ("sylvester", "symmetric", "zero")]
    effects = [dA @ B.T + A @ dB.T for dA, dB in steps]
    return {
        "lengths": [float(np.sqrt(np.sum(dA**2) + np.sum(dB**2))) for dA, dB in steps],
        "effects": [float(np.linalg.norm(effect - effects[0])) for effect in effects],
        "unique": [float(np.linalg.svd(F, compute_uv=False)[-1]) for F in (A, B)],
    }


def first_step(seed: int = 0) -> float:
    """Return how far the effect of AltLoRA's first step is from the nearest to the gradient by one factor, relative.

    That is the gradient times the projector on the columns of the factor at rest.
    """
    rng = np.random.default_rng(seed)
    T = rng.standard_normal(_SHAPE)
    A, B = (rng.standard_normal((rows, _RANK)) for rows in _SHAPE)
    optimizer = AltLoRA(step_size=1.0, momentum=0.0, damping=0.0)
    end = solve(Problem(Denoising(T), _RANK), optimizer, (A, B), stop=StoppingRule(1, grad_tol=0.0))
    Q = np.linalg.qr(B)[0]
    nearest = (A @ B.T - T) @ Q @ Q.T
    return float(np.linalg.norm(A @ B.T - end.X - nearest) / np.linalg.norm(nearest))


def iterations(conditions: Sequence[float], max_iter: int) -> dict[str, Any]:
    """Return the condition numbers, and by method the iterations to a relative loss of 1e-10 at each.

    Targets of rank 4 with singular values from 1 down, random factors of rank 4, tuned steps. nan where a run ends
    above that loss.

    Raises
    ------
    ValueError
        For condition numbers below 1, and where a method diverges: it has taken no number of iterations.
    """
    conditions = [as_number(condition, "conditions", 1.0) for condition in conditions]
    counts: dict[str, list[float]] = {}
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((rows, _RANK)))[0] for rows in _SHAPE)
    for condition in conditions:
        T = U * np.geomspace(1.0, 1.0 / condition, _RANK) @ V.T
        problem = Problem(Denoising(T), _RANK)
        stop = StoppingRule(max_iter, grad_tol=0.0, target=0.5e-10 * float(np.vdot(T, T)))

        def run(method: Method, problem: Problem = problem, stop: StoppingRule = stop) -> Any:
            return solve(problem, method, Gaussian(0.3), stop=stop)

        for text in ("gd", "lora_pro", _WITH_MOMENTUM, _PLAIN):
            method = Method.parse(text)
            best = min(
                (run(each) for each in (method, choose_step(method, problem, run, np.random.default_rng(0)).method)),
                # A run without a value has not come there.
                key=lambda end: (not end.fun <= stop.target, end.status is Status.DIVERGED, end.nit),
            )
            if best.status is Status.DIVERGED:
                raise ValueError(f"conditions: {text} diverges at {condition:g}, with its own and with a tuned step")
            counts.setdefault(text, []).append(float(best.nit) if best.fun <= stop.target else float("nan"))
    return {"conditions": conditions, "counts": counts}


class AltLoRAClaims(PaperClaims):
    """The unique nearest step, and iterations against the condition number."""

    name = "alt_lora"
    paper = "AltLoRA (arXiv 2505.12455)"
    summary = "the nearest gradient one factor at a time, and iterations against the condition number"
    seeds = "0, 1"
    size = (6.0, 3.8)
    axis_meanings = {"conditions": "condition numbers of the target, at least 1"}
    parts = {"uniqueness": uniqueness, "first_step": first_step, "iterations": iterations}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer condition numbers for a quick run."""
        return {"iterations": {"conditions": [1.0, 30.0] if quick else [1.0, 3.0, 10.0, 30.0], "max_iter": _MAX_ITER}}

    def report(self, found: dict[str, Any]) -> str:
        """Return the iterations."""
        numbers = ", ".join(f"{condition:g}" for condition in found["iterations"]["conditions"])
        lines = [
            f"Iterations to 1e-10 at condition number {numbers} (at most {_MAX_ITER}); AltLoRA moves one factor in each"
        ]
        for name, counts in found["iterations"]["counts"].items():
            lines.append(f"  {name:<36}" + "".join(f"  {_shown(count):>6}" for count in counts))
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the iterations."""
        ax = figure.subplots()
        conditions = found["iterations"]["conditions"]
        order = np.argsort(conditions)
        for k, (name, counts) in enumerate(found["iterations"]["counts"].items()):
            # Runs that end above the level are drawn where they were stopped.
            heights = np.nan_to_num(np.array(counts)[order], nan=_MAX_ITER)
            ax.semilogy(heights, "osd^"[k] + "-", color=COLOURS[k], label=name)
        ax.set_xticks(range(len(order)), [f"{conditions[at]:g}" for at in order])
        ax.set(xlabel="condition number of the target", ylabel=f"iterations to 1e-10 (at most {_MAX_ITER})")
        ax.grid(alpha=0.25)
        ax.legend(fontsize=8)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        unique, conditions = found["uniqueness"], found["iterations"]["conditions"]
        low, high = conditions.index(1.0), conditions.index(30.0)  # the axis may have others, in any order
        counts = {name: (values[low], values[high]) for name, values in found["iterations"]["counts"].items()}
        return [
            Claim(
                "LoRA-Pro's joint step is not unique, AltLoRA's is: the nearest to the gradient by one factor",
                "confirmed",
                f"joint steps of one effect (differences up to {largest(unique['effects']):.0e}) have lengths "
                + ", ".join(f"{length:.3f}" for length in unique["lengths"])
                + f"; one factor: smallest singular value of the map {least(unique['unique']):.2f}, distance of the "
                f"effect from the nearest {found['first_step']:.0e}",
                largest(unique["effects"]) < 1e-10
                and largest(unique["lengths"]) > 1.01 * least(unique["lengths"])
                and least(unique["unique"]) > 0.1
                and found["first_step"] < 1e-10,
            ),
            Claim(
                "it narrows the gap to full fine-tuning; correction, at matrix scale: it takes less than four times as "
                "many iterations at condition number 30 as at 1, LoRA's gradient descent more than ten times as many",
                "holds with correction",
                "iterations at condition 1 and 30: "
                + ", ".join(f"{name} {_shown(first)}, {_shown(last)}" for name, (first, last) in counts.items()),
                all(counts[name][1] < 4 * counts[name][0] for name in (_WITH_MOMENTUM, _PLAIN))
                and float(np.nan_to_num(counts["gd"][1], nan=_MAX_ITER)) > 10 * counts["gd"][0],
            ),
            Claim("tables with Llama 3.1 8B", "not at matrix scale", "-", True),
        ]


def _shown(count: float) -> str:
    return f"> {_MAX_ITER}" if np.isnan(count) else f"{count:.0f}"
