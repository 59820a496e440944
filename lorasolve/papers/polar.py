"""PoLAR: the rate on the canonical factorization problem, and the stable rank of trained updates.

Source: K. Lion et al., arXiv:2506.03133, of which the abstract was at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array
from ..engine import solve
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.denoising import Denoising
from ..problem import Problem
from ..tasks import digits_task
from .base import COLOURS, Claim, PaperClaims, is_above_zero, largest, least, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK, _TRUE_RANK = 8, 4
# Shares of the loss at which stable ranks are compared.
_LEFT = (0.1, 0.01)
_METHODS = {"LoRA": "gd/lam=0", "PoLAR": "gd@polar~balanced/lam=0"}


def courses(seeds: int, max_iter: int) -> dict[str, list[list[float]]]:
    """Return by parametrization and seed the relative losses of gradient descent with tuned constant steps.

    A target of rank 4 with singular values from 1 to 0.1 (20 x 16), factors of rank 8, LoRA from a small random start.
    The best step is the one with the fewest iterations to a relative loss of 1e-8, or the least loss where none is:
    beyond, rounding errors decide which of several ends is lower.
    """
    return {name: [_course(name, seed, max_iter) for seed in range(seeds)] for name in _METHODS}


def _course(name: str, seed: int, max_iter: int) -> list[float]:
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((rows, _TRUE_RANK)))[0] for rows in (20, 16))
    T = U * np.geomspace(1.0, 0.1, _TRUE_RANK) @ V.T
    problem = Problem(Denoising(T), _RANK)
    best: list[float] = []
    for step in (0.25, 0.5, 1.0):
        values: list[float] = []

        def watch(now: Intermediate, values: list[float] = values) -> None:
            values.append(2.0 * now.value / float(np.vdot(T, T)))

        method = Method.parse(_METHODS[name]).with_step(step)
        init = "gaussian:std=0.1" if name == "LoRA" else None
        stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
        solve(problem, method, init, seed, stop=stop, callback=watch)
        if not best or _order(values) < _order(best):
            best = values
    return best


def _order(course: list[float]) -> tuple[float, float]:
    """Return iterations to 1e-8 and the last loss, infinite where there is none."""
    needed = iterations_to(course, 1e-8)
    if not np.isnan(needed):
        return needed, 0.0
    return np.inf, float(np.nan_to_num(course[-1], nan=np.inf))


def iterations_to(course: list[float], level: float) -> float:
    """Return the first iteration below a level, nan if there is none."""
    below = np.asarray(course) < level
    return float(np.argmax(below)) if below.any() else float("nan")


def stable_ranks(seeds: int, max_iter: int) -> dict[str, dict[str, list[float]]]:
    """Return by parametrization, share of the loss and seed ``||X||_F^2/||X||_2^2`` of Adam on the digits, r = 8.

    Each run is stopped where that share of the loss at no update is left, as the stable rank grows along a run and
    the two do not learn equally fast; nan where it is not reached.
    """
    objective = digits_task().objective
    untrained = objective.value_and_grad(np.zeros(objective.shape))[0]
    found: dict[str, dict[str, list[float]]] = {}
    for name, text in (("LoRA", "adam"), ("PoLAR", "adam@polar~balanced:scale=1.0")):
        found[name] = {}
        for left in _LEFT:
            target = left * untrained
            stop = StoppingRule(max_iter=max_iter, grad_tol=0.0, target=target)
            ends = [solve(Problem(objective, 8), text, seed=seed, stop=stop) for seed in range(seeds)]
            found[name][f"{left:g}"] = [_stable_rank(end.X) if end.fun <= target else np.nan for end in ends]
    return found


def _stable_rank(X: Array) -> float:
    s = np.linalg.svd(X, compute_uv=False)
    return float(np.sum(s**2) / s[0] ** 2)


class PoLARClaims(PaperClaims):
    """The rate with surplus rank, and the stable rank."""

    name = "polar"
    paper = "PoLAR (arXiv 2506.03133)"
    summary = "the rate on the canonical problem with surplus rank, and the stable rank of trained updates"
    seeds = "0-4 (quick: 0, 1); stable ranks 0-9"
    size = (6.0, 3.8)
    parts = {"courses": courses, "ranks": stable_ranks}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds for a quick run."""
        seeds = 2 if quick else 5
        return {"courses": {"seeds": seeds, "max_iter": 1500}, "ranks": {"seeds": 10, "max_iter": 5000}}

    def report(self, found: dict[str, Any]) -> str:
        """Return the iterations to some levels, and the stable ranks."""
        lines = [
            "Iterations to a relative loss of 1e-4, 1e-8, 1e-12 (means, nan: not all; r = 8 on a target of rank 4)"
        ]
        for name, runs in found["courses"].items():
            means = [np.mean([iterations_to(run, level) for run in runs]) for level in (1e-4, 1e-8, 1e-12)]
            lines.append(f"  {name:<6}" + "".join(f"  {value:8.1f}" for value in means))
        lines.append("Stable rank on the digits, r = 8, where a tenth and a hundredth of the loss are left")
        for name, table in found["ranks"].items():
            lines.append(f"  {name:<6}" + "".join(f"  {mean_and_error(values)}" for values in table.values()))
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the courses."""
        ax = figure.subplots()
        for k, (name, runs) in enumerate(found["courses"].items()):
            for seed, run in enumerate(runs):
                ax.semilogy(np.maximum(run, 1e-30), color=COLOURS[k], lw=1, label=name if seed == 0 else None)
        ax.set(xlabel="iteration", ylabel="relative loss", title="Rank 8 on a target of rank 4")
        ax.grid(alpha=0.25)
        ax.legend()

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        # Of a linear rate equal factors take equal numbers of iterations, of a power of them ever more.
        waits = [[iterations_to(run, level) for level in (1e-4, 1e-6, 1e-8)] for run in found["courses"]["LoRA"]]
        slowing = largest([(c - b) / (b - a) for a, b, c in waits])
        last = {name: [run[-1] for run in runs] for name, runs in found["courses"].items()}
        needed = {name: [iterations_to(run, 1e-8) for run in runs] for name, runs in found["courses"].items()}
        ranks = found["ranks"]
        higher = {left: np.subtract(ranks["PoLAR"][left], values) for left, values in ranks["LoRA"].items()}
        return [
            Claim(
                "an exponentially faster rate on the canonical low-rank adaptation problem; correction: with surplus "
                "rank (8 for a target of rank 4) LoRA's rate is linear too from random factors, and several times "
                "slower",
                "holds with correction",
                "iterations to a relative loss of 1e-8: "
                + ", ".join(f"{name} {mean_and_error(values, 1)}" for name, values in needed.items())
                + f"; LoRA's from 1e-6 on over those from 1e-4 to there: at most {slowing:.2f}; loss after 1500: "
                + ", ".join(f"{name} {least(values):.1e} to {largest(values):.1e}" for name, values in last.items()),
                bool(np.mean(needed["PoLAR"]) < 0.3 * np.mean(needed["LoRA"]) and slowing < 2.0),
            ),
            Claim(
                "LoRA's updates have a low stable rank, PoLAR's a higher one (at the same loss)",
                "confirmed",
                "stable rank on the digits (r = 8): "
                + "; ".join(
                    f"{float(left):.0%} of the loss left: "
                    + ", ".join(f"{name} {mean_and_error(table[left])}" for name, table in ranks.items())
                    + f", difference {mean_and_error(apart)}"
                    for left, apart in higher.items()
                ),
                largest([np.mean(values) for values in ranks["LoRA"].values()]) < 4.0
                and all(map(is_above_zero, higher.values())),
            ),
            Claim("gains on three benchmarks with models up to 27B", "not at matrix scale", "-", True),
        ]
