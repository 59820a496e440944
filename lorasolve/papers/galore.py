"""GaLore and GoLore: the published example on which GaLore does not converge, and what repairs it.

Source: Y. He et al., arXiv:2410.11289 (ICML 2025), of which the abstract was at hand, and its released experiment,
whose example this is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array
from ..engine import solve
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.base import Objective
from ..optimizers.sgd import SGD
from ..problem import Problem
from ..schedules.galore import GaLore
from ..schedules.golore import GoLore
from .base import COLOURS, Claim, PaperClaims, largest, least, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE, _RANK = 10, 4


class GaLoreExample(Objective):
    """``f(X) = ||D (X - X*)||_F^2/2`` over (10, 10), seen through two samples ``f +- sigma <C, X>``.

    ``D`` keeps the first 6 rows, ``X*`` is random there, and ``C`` is the identity of the last 4 rows and columns: the
    noise lives where the gradient is zero. Near the optimum its four singular values are the largest of a sample's
    gradient, and they span exactly what a projector of rank 4 keeps.
    """

    shape = (_SIZE, _SIZE)
    convex = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, sigma: float = 1.0, seed: int = 0, samples: Array | None = None) -> None:
        self.sigma, self.seed = sigma, seed
        rng = np.random.default_rng(seed)
        kept = _SIZE - _RANK
        self.X_star = np.zeros(self.shape)
        self.X_star[:kept, :kept] = sigma * rng.standard_normal((kept, kept))
        # The sum of the samples' signs over their number.
        self.sign = 0.0 if samples is None else float(np.mean(np.where(samples == 0, 1.0, -1.0)))
        self.n_samples = 2 if samples is None else len(samples)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return the loss of the samples in use, and its gradient."""
        kept = _SIZE - _RANK
        G = np.zeros(self.shape)
        G[:kept] = X[:kept] - self.X_star[:kept]
        value = 0.5 * float(np.sum(G * G)) + self.sign * self.sigma * float(np.trace(X[kept:, kept:]))
        G[kept:, kept:] += self.sign * self.sigma * np.eye(_RANK)
        return value, G

    def sample_batch(self, index: Array) -> GaLoreExample:
        """Return the loss of one sample or of both."""
        return GaLoreExample(self.sigma, self.seed, np.asarray(index))


def courses(seeds: int, max_iter: int) -> dict[str, list[list[float]]]:
    """Return by method and seed ``f`` after every 100th step of stochastic gradient descent with one sample a step."""
    methods = {
        "GaLore": GaLore(period=50, batch_size=1),
        "GaLore, projector from both samples": GaLore(period=50),
        "GoLore": GoLore(period=50),
    }
    return {name: [_course(schedule, seed, max_iter) for seed in range(seeds)] for name, schedule in methods.items()}


def _course(schedule: GaLore, seed: int, max_iter: int) -> list[float]:
    example = GaLoreExample(seed=seed)
    gaps: list[float] = []

    def watch(now: Intermediate) -> None:
        if now.nit % 100 == 0 and now.nit > 0:
            # Of both samples, in which the noise cancels; the merged blocks are part of the objective.
            gaps.append(now.problem.objective.value_and_grad(now.problem.update(now.theta))[0])

    stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
    method = Method(SGD(0.05, batch_size=1), schedule)
    solve(Problem(example, _RANK), method, seed=seed, stop=stop, callback=watch)
    return gaps


class GaLoreClaims(PaperClaims):
    """The example on which GaLore stalls, and two ways out."""

    name = "galore"
    paper = "GaLore and GoLore (arXiv 2410.11289)"
    summary = "the published example on which GaLore does not converge, and what repairs it"
    seeds = "0-9 (quick: 0-2)"
    size = (6.0, 3.8)
    parts = {"courses": courses}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds for a quick run."""
        return {"courses": {"seeds": 3 if quick else 10, "max_iter": 2000 if quick else 3000}}

    def report(self, found: dict[str, Any]) -> str:
        """Return where the methods end."""
        lines = ["f after 1000 steps and at the end (start: half of ||X*||^2, least: 0), one sample a step"]
        for name, runs in found["courses"].items():
            middle, end = ([run[k] for run in runs] for k in (9, -1))
            lines.append(f"  {name:<36} {mean_and_error(middle)}   {mean_and_error(end)}, smallest {least(end):.1e}")
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw all courses."""
        ax = figure.subplots()
        for k, (name, runs) in enumerate(found["courses"].items()):
            for seed, run in enumerate(runs):
                label = name if seed == 0 else None
                steps = 100 * np.arange(1, len(run) + 1)
                ax.semilogy(steps, np.maximum(run, 1e-20), color=COLOURS[k], lw=1, alpha=0.7, label=label)
        ax.set(xlabel="step", ylabel="objective f", title="One sample a step, rank 4 of 10")
        ax.grid(alpha=0.25)
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        end = {name: [run[-1] for run in runs] for name, runs in found["courses"].items()}
        stalled = end["GaLore"]
        drift = largest([abs(run[-1] / run[9] - 1.0) for run in found["courses"]["GaLore"]])
        start = [GaLoreExample(seed=seed).value_and_grad(np.zeros((_SIZE, _SIZE)))[0] for seed in range(len(stalled))]
        approach = largest(np.divide(stalled, start))
        return [
            Claim(
                "GaLore does not always converge to the optimum: near it the noise decides the projector",
                "confirmed",
                f"f at the end {mean_and_error(stalled)}, smallest of {len(stalled)} runs {least(stalled):.3f}, at "
                f"most {approach:.1%} of that at the start; it changes by at most {drift:.1%} after step 1000",
                # Runs that never came near it would show nothing of what happens there.
                least(stalled) > 1e4 * largest(end["GoLore"]) and drift < 0.1 and approach < 0.1,
            ),
            Claim(
                "GoLore converges with the same samples",
                "confirmed",
                f"largest f at the end {largest(end['GoLore']):.1e}",
                largest(end["GoLore"]) < 1e-6,
            ),
            Claim(
                "GaLore converges with large batches (here: the projector from both samples)",
                "confirmed",
                f"largest f at the end {largest(end['GaLore, projector from both samples']):.1e}",
                largest(end["GaLore, projector from both samples"]) < 1e-6,
            ),
            Claim("pre-training and fine-tuning of language models", "not at matrix scale", "-", True),
        ]
