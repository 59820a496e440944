"""LoRA-RITE: what its transformation invariance is worth, and which step its core is.

Source: J.-N. Yen et al., arXiv:2410.20625 (ICLR 2025); that the core is a spectral step: F. L. Cesista et al.,
arXiv:2606.12921, of which the abstract was at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array
from ..dense import polar
from ..engine import solve
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.linear import LinearFineTuning
from ..optimizers.lora_rite import LoRARITE
from ..problem import Problem
from .base import COLOURS, Claim, PaperClaims, largest, least

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK = 3
# Steps of the paths, and those that are tried for the descents.
_PATH_STEPS, _STEPS = [0.01, 0.003, 0.001, 0.0003], [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
# Relative excess of a good end.
_GOOD = 1e-3
# Excesses of the loss below this are rounding.
_ROUNDING = 1e-12


def _problem(seed: int) -> tuple[Problem, Array, Array]:
    rng = np.random.default_rng(seed)
    objective = LinearFineTuning(*(rng.standard_normal(size) for size in ((10, 8), (8, 60), (10, 60))))
    return Problem(objective, _RANK), rng.standard_normal((10, _RANK)), rng.standard_normal((8, _RANK))


def deviations(steps: Sequence[float], length: float) -> dict[str, list[float]]:
    """Return by method how far the updates of a path of a given length are apart from two factorings of one start.

    The factors ``(A C, B C^-T)`` have the same product; for each step size, relative to the distance moved. ``C`` has
    the singular values 10, 1 and 0.1 and is not diagonal: a method that only undoes the lengths of columns, or keeps
    its moments in the basis of another factor, depends on it.
    """
    problem, A, B = _problem(0)
    rng = np.random.default_rng(2)
    Q, R = (np.linalg.qr(rng.standard_normal((_RANK, _RANK)))[0] for _ in range(2))
    C = Q * [10.0, 1.0, 0.1] @ R
    starts = ((A, B), (A @ C, B @ np.linalg.inv(C).T))
    found: dict[str, list[float]] = {}
    for name in ("lora_rite", "adam"):
        found[name] = []
        for step in steps:
            method = Method.parse(name).with_step(step)
            stop = StoppingRule(max_iter=round(length / step), grad_tol=0.0)
            ends = [solve(problem, method, start, stop=stop).X - A @ B.T for start in starts]
            found[name].append(float(np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[0])))
    return found


def core(seed: int = 0) -> float:
    """Return how far a step without memory is from ``sqrt(m) polar(G Q) R^-T``, the spectral step, relative to it.

    The larger of both factors' distances.
    """
    problem, A, B = _problem(seed)
    step = 1e-3
    optimizer = LoRARITE(step, beta1=0.0, beta2=0.0, eps=1e-12)
    end = solve(problem, optimizer, (A, B), stop=StoppingRule(max_iter=1, grad_tol=0.0))
    G = problem.objective.value_and_grad(A @ B.T)[1]
    apart = []
    for factor, other, moved, gradient in ((A, B, A - end.A, G), (B, A, B - end.B, G.T)):
        Q, R = np.linalg.qr(other)
        expected = np.sqrt(factor.shape[0]) * polar(gradient @ Q) @ np.linalg.inv(R).T
        apart.append(np.linalg.norm(moved / step - expected) / np.linalg.norm(expected))
    return largest(apart)


def descents(max_iter: int) -> dict[str, dict[str, list[float]]]:
    """Return the losses along tuned runs from balanced and from unbalanced factors of one start, over the least one."""
    problem, A, B = _problem(1)
    lowest = solve(problem, "lbfgs", (A, B)).fun
    courses: dict[str, dict[str, list[float]]] = {}
    for name in ("lora_rite", "adam"):
        courses[name] = {}
        for start, size in (("balanced", 1.0), ("unbalanced", 30.0)):
            best: list[float] = []
            for step in _STEPS:
                values: list[float] = []

                def watch(now: Intermediate, values: list[float] = values) -> None:
                    values.append(now.value / lowest - 1.0)

                method = Method.parse(f"{name}+cosine").with_step(step)
                stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
                solve(problem, method, (size * A, B / size), stop=stop, callback=watch)
                if not best or _merit(values) < _merit(best):
                    best = values
            courses[name][start] = best
    return courses


def _merit(values: Sequence[float]) -> tuple[float, int]:
    """Return what a run is chosen by: its end and, of ends that are rounding, how soon it is there to stay."""
    excess = np.nan_to_num(values, nan=np.inf)
    return max(float(excess[-1]), _ROUNDING), int(np.count_nonzero(excess > _ROUNDING))


class LoRARITEClaims(PaperClaims):
    """Invariance, the core, and runs from unbalanced factors."""

    name = "lora_rite"
    paper = "LoRA-RITE (arXiv 2410.20625)"
    summary = "transformation invariance, the step at its core, and runs from unbalanced factors"
    seeds = "0, 1, 2"
    size = (9.0, 3.8)
    parts = {"deviations": deviations, "core": core, "descents": descents}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return the same settings for every run but the length of the descents."""
        return {"deviations": {"steps": _PATH_STEPS, "length": 0.1}, "descents": {"max_iter": 200 if quick else 1000}}

    def report(self, found: dict[str, Any]) -> str:
        """Return the deviations by step size, and where the runs end."""
        lines = ["Paths of length 0.1 from two factorings of one start: distance over distance moved, by step"]
        lines += [
            f"  {name:<10}" + "".join(f"  {value:.1e}" for value in values)
            for name, values in found["deviations"].items()
        ]
        lines.append(
            f"Relative excess of the loss at the end, best of {len(_STEPS)} steps, from (A, B) and from (30 A, B/30)"
        )
        for name, course in found["descents"].items():
            lines.append(f"  {name:<10}" + "".join(f"  {start} {run[-1]:.1e}" for start, run in course.items()))
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the deviations against the step, and the descents."""
        left, right = figure.subplots(1, 2)
        for k, (name, values) in enumerate(found["deviations"].items()):
            left.loglog(_PATH_STEPS, values, "osd"[k] + "-", color=COLOURS[k], label=name)
        left.set(title="Two factorings of one start", xlabel="step", ylabel="distance of the ends")
        for k, (name, course) in enumerate(found["descents"].items()):
            for style, (start, run) in zip("-:", course.items()):
                right.semilogy(np.maximum(run, 1e-16), style, color=COLOURS[k], label=f"{name}, {start}")
        right.set(title="Tuned runs", xlabel="iteration", ylabel="relative excess of the loss")
        for ax in (left, right):
            ax.grid(alpha=0.25)
            ax.legend(fontsize=8)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        apart, runs = found["deviations"], {k: [run[-1] for run in v.values()] for k, v in found["descents"].items()}
        return [
            Claim(
                "its update does not depend on how the weight is factored (without weight decay in the loss)",
                "confirmed",
                "largest distance of the ends from two factorings, over the distance moved: "
                + ", ".join(f"{name} {largest(values):.1e}" for name, values in apart.items()),
                largest(apart["lora_rite"]) < 1e-10 and least(apart["adam"]) > 0.1,
            ),
            Claim(
                "its core is the spectral step of LoRA-Muon: without memory it is sqrt(m) polar(G Q) R^-T",
                "confirmed",
                f"relative distance {found['core']:.1e}",
                found["core"] < 1e-9,
            ),
            Claim(
                "it is robust to unbalanced factors where Adam, as good from balanced ones, is not",
                "confirmed",
                "relative excess at the end from balanced and from unbalanced factors: "
                + "; ".join(f"{name} {a:.1e}, {b:.1e}" for name, (a, b) in runs.items()),
                largest(np.abs(runs["lora_rite"])) < _GOOD and abs(runs["adam"][0]) < _GOOD < 0.1 * runs["adam"][1],
            ),
            Claim("better fine-tuning of Gemma and mT5 models than Adam", "not at matrix scale", "-", True),
        ]
