"""Lemma 1: SGD with weight decay keeps the effective rank low; the bound and where it is vacuous."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import as_number
from .base import COLOURS, Axes, Cell, Claim, Experiment, Record, distinct, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_M, _N, _SAMPLES, _RANK, _EPS = 60, 50, 80, 40, 0.1
# Below, ten times over takes more than ten million steps.
_LEAST_RATE = 1e-6


class Lemma1(Experiment):
    """Linear fine-tuning (60 x 50, factors of rank 40, a target of full rank) by SGD at a constant step."""

    name = "lemma1"
    summary = "effective rank of the end of SGD against batch size, step and lam, beside the bound of Lemma 1"
    seeds = "data 0; runs 0, 1, 2 (quick: 0)"
    size = (10.0, 4.0)
    axis_meanings = {"batch": "batch sizes", "step": "step sizes"}

    def axes(self, quick: bool) -> Axes:
        """Return batch sizes, steps, weight decays and the number of runs of each cell."""
        return {
            "batch": [1, 2, 4, 8],
            "step": [0.05, 0.15],
            "lam": [0.3, 0.6, 1.0] if quick else [0.1, 0.2, 0.3, 0.6, 0.8, 1.0],
            "runs": 1 if quick else 3,
        }

    def run(self, cell: Cell) -> Record:
        """Run SGD until the start has decayed ten times over, and measure the rank of the end."""
        from ..engine import solve
        from ..inits.gaussian import Gaussian
        from ..landscape import effective_rank, sgd_rank_bound
        from ..monitor import StoppingRule
        from ..optimizers.sgd import SGD
        from ..problem import Problem

        rate = as_number(cell["step"], "step", 0.0, open_low=True) * as_number(cell["lam"], "lam", 0.0, open_low=True)
        steps = max(2000, int(10.0 / as_number(rate, "step times lam", _LEAST_RATE)))
        problem = Problem(_objective(), rank=_RANK, lam=cell["lam"])
        sgd = SGD(step_size=cell["step"], batch_size=cell["batch"])
        ranks, status = [], "ended"
        for seed in range(cell["runs"]):
            end = solve(problem, sgd, init=Gaussian(std=0.1), seed=seed, stop=StoppingRule(max_iter=steps))
            if end.status.label == "diverged":
                status = "diverged"
            values = np.linalg.svd(end.X, compute_uv=False)
            ranks.append(effective_rank(values, _EPS) if values[0] > 1e-9 else 0)
        bound = sgd_rank_bound(_EPS, cell["batch"], cell["step"], cell["lam"])
        return {"ranks": ranks, "bound": bound, "steps": steps, "vacuous": bound >= min(_M, _N), "status": status}

    def table(self, records: list[Record]) -> str:
        """Return one row per cell."""
        rows = [
            [
                str(r["batch"]),
                f"{r['step']:g}",
                f"{r['lam']:g}",
                "-" if r["status"] == "diverged" else "/".join(map(str, r["ranks"])),
                f"{r['bound']:.1f}",
                "vacuous" if r["vacuous"] else "",
                r["status"],
            ]
            for r in records
        ]
        header = ["batch", "step", "lam", f"rank within {_EPS:g}", "bound", "", "run"]
        said, kept = _bounded(records)
        return text_table(header, rows) + (
            f"\nThe bound says something (is below {min(_M, _N)}) in {said} of {len(records)} settings, and held "
            f"in {kept} of those. It is about convergent\nruns; at a constant step SGD only hovers, so this is a "
            "check, not a proof."
        )

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return the lemma held against the ends, and what it is worth."""
        records = self.own(records, "batch", "step", "lam")
        said, kept = _bounded(records)
        courses = [
            [max(r["ranks"]) for r in records if r["batch"] == batch and r["step"] == step]
            for batch in distinct(records, "batch")
            for step in distinct(records, "step")
        ]
        falling = sum(course == sorted(course, reverse=True) and course[0] > course[-1] for course in courses)
        return [
            Claim(
                f"the end of SGD with weight decay is within {_EPS:g} of rank b log(eps/4)/log(1 - mu lam) (Lemma 1); "
                "correction: here the bound is mostly above the full rank, where it says nothing, and the rank falls "
                "with lam all the same",
                "holds with correction",
                f"below {min(_M, _N)} in {said} of {len(records)} settings, held in {kept} of them; rank falls at "
                f"{falling} of {len(courses)} batch sizes and steps",
                0 < said == kept
                and 2 * said < len(records)
                and falling == len(courses)
                # The ranks of a run that diverged are none of an end.
                and all(r["status"] == "ended" for r in records),
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw rank and bound against the step times ``lam``, one panel per batch size."""
        batches = distinct(records, "batch")
        axes = figure.subplots(1, len(batches), sharey=True, squeeze=False)[0]
        for ax, batch in zip(axes, batches):
            mine = [r for r in records if r["batch"] == batch and r["status"] == "ended"]
            mine.sort(key=lambda r: r["step"] * r["lam"])
            rate = [r["step"] * r["lam"] for r in mine]
            ends = [max(*r["ranks"], 0.6) for r in mine]
            ax.semilogx(rate, ends, "o", color=COLOURS[0], label="end of SGD (largest of the seeds)")
            ax.semilogx(rate, [r["bound"] for r in mine], "-", color=COLOURS[1], label="Lemma 1's bound")
            ax.axhspan(min(_M, _N), 2e4, color="0.88", lw=0, zorder=0, label="above full rank: says nothing")
            ax.set(title=f"batch size {batch}", xlabel="step size x lam", yscale="log", ylim=(0.5, 2e4))
            ax.set_xticks([0.01, 0.03, 0.1], ["0.01", "0.03", "0.1"])
            ax.minorticks_off()
            ax.grid(alpha=0.25)
        axes[0].set_ylabel(f"rank of X to a relative distance of {_EPS:g}\n(rank 0 is drawn at the lower edge)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def _bounded(records: list[Record]) -> tuple[int, int]:
    """Return in how many settings the bound says something of a run that ended, and in how many it held."""
    said = [r for r in records if not r["vacuous"] and r["status"] == "ended"]
    return len(said), sum(max(r["ranks"]) <= r["bound"] for r in said)


def _objective() -> object:
    from ..objectives import LinearFineTuning

    rng = np.random.default_rng(0)
    Z = rng.standard_normal((_N, _SAMPLES))
    Z[:3] *= 3.0
    Z /= np.linalg.norm(Z, axis=0)
    target = rng.standard_normal((_M, _N)) * (8.0 / np.sqrt(_N))
    return LinearFineTuning(np.zeros((_M, _N)), Z, target @ Z)
