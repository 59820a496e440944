"""Phase diagram of gradient descent on the sharp instance: initialization scale against condition number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .base import COLOURS, Cell, Experiment, Record, distinct, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..problem import Problem
    from ..result import Result


_TICKS = (2, 5, 10, 20, 50)


class Sharp(Experiment):
    """How often gradient descent from Gaussian factors ends at a spurious minimum, ``lam = 0``, ``r* = 1``."""

    name = "sharp"
    summary = "sharp instance: where gradient descent ends, over initialization scale, kappa and r/r*"
    seeds = "run k at a scale: default_rng(k)"
    size = (12.0, 4.6)

    def cells(self, quick: bool) -> list[Cell]:
        """Return one cell per rank and condition number."""
        kappas = [round(float(x), 3) for x in np.geomspace(1.6, 50.0, 7 if quick else 14)]
        scales = [float(x) for x in np.geomspace(0.01, 10.0, 5 if quick else 8)]
        seeds = 5 if quick else 20
        return [{"r": r, "kappa": kappa, "scales": scales, "runs": seeds} for r in (1, 2, 4) for kappa in kappas]

    def run(self, cell: Cell) -> Record:
        """Run gradient descent from every scale and seed, and judge every end."""
        from ..landscape import instances, verdict
        from ..problem import Problem

        r = cell["r"]
        instance = instances.sharp(r, 1, r + 1, r + 1, cell["kappa"])
        problem = Problem(instance, rank=r)
        shares, unfinished, contradictions = [], 0, 0
        for scale in cell["scales"]:
            kinds = []
            for seed in range(cell["runs"]):
                judged = verdict(problem, descend(problem, scale, seed), X_star=instance.X_star, tol=1e-5)
                kinds.append(judged.kind)
                contradictions += len(judged.contradictions)
            shares.append(kinds.count("spurious") / cell["runs"])
            unfinished += cell["runs"] - kinds.count("spurious") - kinds.count("global")
        norm = float(np.linalg.norm(instance.X_spurious))
        return {"spurious": shares, "unfinished": unfinished, "contradictions": contradictions, "norm": norm}

    def table(self, records: list[Record]) -> str:
        """Return one row per rank and condition number."""
        rows = [
            [
                str(r["r"]),
                f"{r['kappa']:.1f}",
                *(f"{share:.2f}" for share in r["spurious"]),
                str(r["unfinished"]),
                f"{r['norm']:.3f}",
                "yes" if r["kappa"] > 1.0 + 2.0 * math.sqrt(r["r"]) else "no",
            ]
            for r in records
        ]
        scales = [f"s={scale:.2g}" for scale in records[0]["scales"]]
        text = text_table(["r/r*", "kappa", *scales, "unfinished", "||X_s||", "minimum exists"], rows)
        wrong = sum(r["contradictions"] for r in records)
        return (
            f"share of runs ending spurious, by initialization scale s ({records[0]['runs']} runs each)\n{text}\n"
            f"||X*|| = 1: the closed-form spurious point is always shorter. Contradictions of a theorem: {wrong}."
        )

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw one map per rank with the three boundaries, and the norm of the spurious point."""
        ranks = distinct(records, "r")
        axes = figure.subplots(1, len(ranks) + 1)
        for ax, r in zip(axes, ranks):
            mine = [record for record in records if record["r"] == r]
            kappas, scales = [record["kappa"] for record in mine], mine[0]["scales"]
            shares = np.array([record["spurious"] for record in mine])
            image = ax.pcolormesh(scales, kappas, shares, vmin=0.0, vmax=1.0, cmap="Oranges", shading="nearest")
            ax.set(xscale="log", yscale="log")
            ax.set_yticks(_TICKS, [str(tick) for tick in _TICKS])
            ax.minorticks_off()
            # At r/r* = 1 the first two coincide: the wider line shows beside the other one.
            ax.axhline(2.0, color=COLOURS[0], lw=5.0, label="2 (paper)")
            ax.axhline(2.0 * math.sqrt(r), color="black", ls="--", lw=1.3, label="2 sqrt(r/r*)")
            ax.axhline(1.0 + 2.0 * math.sqrt(r), color="black", lw=1.3, label="1 + 2 sqrt(r/r*)")
            ax.set(title=f"r/r* = {r}", xlabel="initialization scale")
        axes[0].set_ylabel("condition number kappa")
        handles, labels = axes[0].get_legend_handles_labels()
        title = "no spurious minima below:"
        figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=9, title=title)
        figure.colorbar(image, ax=list(axes[: len(ranks)]), label="share of runs ending spurious", shrink=0.9)
        ax = axes[-1]
        mine = [record for record in records if record["r"] == ranks[0]]
        norms = [record["norm"] for record in mine]
        ax.plot([record["kappa"] for record in mine], norms, "o-", color=COLOURS[1], label="spurious minimum")
        ax.axhline(1.0, color="black", ls="--", lw=1.3, label="global minimum")
        ax.set(title=f"the two minima, r/r* = {ranks[0]}", xlabel="condition number kappa", ylabel="||X||_F")
        ax.set(xscale="log", ylim=(0.0, 1.15))
        ax.legend(loc="lower right", fontsize=9)
        ax.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
        ax.minorticks_off()
        ax.grid(alpha=0.25)


def descend(problem: Problem, scale: float, seed: int) -> Result:
    """Run gradient descent from Gaussian factors, then L-BFGS from its end to convergence.

    Gradient descent settles the basin; the continuation only spares its slow end, where the optimum is degenerate
    or the factors are badly balanced.
    """
    from ..engine import StoppingRule, solve
    from ..inits.gaussian import Gaussian

    end = solve(problem, "gd", init=Gaussian(std=scale), seed=seed, stop=StoppingRule(max_iter=1000, grad_tol=1e-6))
    return solve(problem, "lbfgs", init=(end.A, end.B), stop=StoppingRule(max_iter=5000, grad_tol=1e-8))
