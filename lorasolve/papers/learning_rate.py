"""Vanilla LoRA beside its variants, each with its own tuned learning rate and the same budget.

Source: Y.-A. Lee et al., "Learning Rate Matters", arXiv:2602.04998, of which the abstract was at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array
from ..engine import solve
from ..method import Method
from ..monitor import StoppingRule
from ..problem import Problem
from ..status import Status
from ..tasks import digits_task
from .base import COLOURS, Claim, PaperClaims, first_seeds, is_above_zero, largest, least, mean_and_error
from .lora_ggpo import largest_curvature

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK = 4
# Seeds of a full run and of a quick one.
_SEEDS = (5, 3)
# The four of the paper are PiSSA, MiLoRA, Init[AB] (both factors random) and DoRA; the others are ours.
_VARIANTS = {
    "LoRA": "adam+cosine",
    "PiSSA": "adam+cosine~pissa",
    "MiLoRA": "adam+cosine~milora",
    "Init[AB]": "adam+cosine~gaussian:std=0.1",
    "DoRA": "adam+cosine@dora",
    "OLoRA": "adam+cosine~olora",
    "LoRA-GA": "adam+cosine~lora_ga",
    "LoRA+": "lora_plus_adam+cosine",
    "muon": "muon+cosine",
    "LoRA-RITE": "lora_rite+cosine",
}


def accuracies(names: Sequence[str], steps: Sequence[float], seeds: int, max_iter: int) -> dict[str, Any]:
    """Return the steps, and by variant the test accuracies (steps, seeds) after ``max_iter`` steps on the digits."""
    task = digits_task()
    assert task.test is not None
    stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
    problem = Problem(task.objective, _RANK)
    found: dict[str, list[list[float]]] = {}
    for name in names:
        found[name] = []
        for step in steps:
            method = Method.parse(_VARIANTS[name]).with_step(step)
            ends = [solve(problem, method, seed=seed, stop=stop) for seed in range(seeds)]
            found[name].append([0.0 if e.status is Status.DIVERGED else task.metrics(e.X)["accuracy"] for e in ends])
    return {"steps": list(steps), "tables": found, "images": task.test.facts.n_samples}


def sharpness(names: Sequence[str]) -> dict[str, float]:
    """Return the largest curvature of ``f`` in the factors at the start of each variant with LoRA's parameters."""
    found: dict[str, float] = {}
    problem = Problem(digits_task().objective, _RANK)
    for name in names:
        method = Method.parse(_VARIANTS[name])
        start = method.init.start(problem, np.random.default_rng(0))
        moved = problem if start.merged is None else problem.replace(objective=problem.objective.merged(start.merged))
        found[name] = largest_curvature(moved, start.A, start.B)
    return found


class LearningRateClaims(PaperClaims):
    """Tuned accuracies of LoRA and its variants, and their learning rates beside the curvature."""

    name = "learning_rate"
    paper = "Learning Rate Matters: Vanilla LoRA May Suffice (arXiv 2602.04998)"
    summary = "LoRA and its variants with tuned learning rates and the same budget"
    seeds = first_seeds(*_SEEDS)
    size = (7.0, 4.2)
    axis_meanings = {"names": "methods"}
    parts = {"accuracies": accuracies, "sharpness": sharpness}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer variants, steps and seeds for a quick run."""
        names = list(_VARIANTS)[:5] if quick else list(_VARIANTS)
        steps = (np.geomspace(1e-3, 1.0, 13)[::2] if quick else np.geomspace(1e-3, 1.0, 13)).round(5).tolist()
        return {
            "accuracies": {"names": names, "steps": steps, "seeds": _SEEDS[quick], "max_iter": 200},
            "sharpness": {"names": ["LoRA", "PiSSA", "MiLoRA", "Init[AB]"]},
        }

    def report(self, found: dict[str, Any]) -> str:
        """Return the best accuracy of each variant, with its step, and at LoRA's best step."""
        lines = ["Test accuracy on the digits, r = 4, 200 steps: at the best of the steps, and at LoRA's best step"]
        steps, tables = found["accuracies"]["steps"], found["accuracies"]["tables"]
        at = _best(tables["LoRA"])
        for name, table in tables.items():
            best = _best(table)
            tuned = f"{mean_and_error(table[best], 4)} (step {steps[best]:.3g})"
            lines.append(f"  {name:<10} {tuned}   {np.mean(table[at]):.4f}")
        curvatures = ", ".join(f"{name} {value:.2f}" for name, value in found["sharpness"].items())
        lines.append(f"Largest curvature at the start: {curvatures}")
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw accuracy against the learning rate."""
        ax = figure.subplots()
        steps = found["accuracies"]["steps"]
        order = np.argsort(steps)
        for k, (name, table) in enumerate(found["accuracies"]["tables"].items()):
            means = [np.mean(table[at]) for at in order]
            style = "o-" if k < 5 else "s:"
            ax.semilogx(np.array(steps)[order], means, style, color=COLOURS[k % len(COLOURS)], ms=4, label=name)
        ax.set(xlabel="learning rate", ylabel="test accuracy", title="Digits, r = 4, 200 steps")
        ax.grid(alpha=0.25)
        ax.legend(fontsize=8, ncols=2)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        steps, table = found["accuracies"]["steps"], found["accuracies"]["tables"]
        best = {name: np.array(rows[_best(rows)]) for name, rows in table.items()}
        paper = list(_VARIANTS)[:5]
        others = ("PiSSA", "MiLoRA", "Init[AB]")
        starts = [float(np.mean(best[name])) for name in ("LoRA", *others)]
        # By seed, and beside no run that diverged, whose accuracy is 0: next to it anything gains.
        ended = [k for k, row in enumerate(table["LoRA"]) if min(row) > 0.0]
        gains = {name: [np.subtract(table[name][k], table["LoRA"][k]) for k in ended] for name in paper[1:]}
        common = {name: max(values, key=np.mean) for name, values in gains.items()}
        tuned = {name: best[name] - best["LoRA"] for name in common}
        spread, images = largest(starts) - least(starts), found["accuracies"]["images"]
        gained = largest(starts) - starts[0]
        blurred = np.sqrt(starts[0] * (1.0 - starts[0]) / images)
        # A best step at an end of the grid is not tuned: a better one may lie beyond.
        inner = [name for name in paper if min(steps) < steps[_best(table[name])] < max(steps)]
        return [
            Claim(
                "once the learning rate is tuned, LoRA is within 1 to 2 % of PiSSA, MiLoRA, Init[AB] and DoRA; "
                "correction: of the other starts, which have its parameters; DoRA's magnitudes can be worth more",
                "holds with correction",
                "tuned accuracies "
                + ", ".join(f"{name} {np.mean(values):.4f}" for name, values in best.items())
                + f"; spread of LoRA and the paper's three starts {spread:.2%}, the best of them over LoRA "
                f"{gained:.2%}, DoRA over LoRA {_percent(tuned['DoRA'])}; best step between the least and the largest: "
                f"{len(inner)} of the paper's {len(paper)}",
                spread < 0.02 and is_above_zero(tuned["DoRA"] - gained) and len(inner) == len(paper),
            ),
            Claim(
                "gains shown at one learning rate need not be gains once both are tuned",
                "confirmed",
                "largest gain over LoRA at a common learning rate, and tuned: "
                + "; ".join(f"{name} {_percent(common[name])}, {_percent(tuned[name])}" for name in common)
                + f"; standard error of an accuracy on {images} images: {100.0 * blurred:.2f} %",
                # What is left of such a gain is less than what the images can tell.
                any(
                    is_above_zero(common[name] - 0.03)
                    and is_above_zero(blurred - tuned[name])
                    and {"LoRA", name} <= {*inner}
                    for name in others
                ),
            ),
        ]


def _percent(values: Array) -> str:
    return f"{mean_and_error(100.0 * values, 2)} %"


def _best(rows: list[list[float]]) -> int:
    """Return the place of the step with the largest mean accuracy."""
    return int(np.argmax([np.mean(row) for row in rows]))
