"""Probability of ending at the global minimum against the initialization scale, with and without weight decay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import Array, as_integer, as_number
from ._phase import descend
from .base import COLOURS, Axes, Cell, Claim, Experiment, Record, distinct, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class InitBias(Experiment):
    """The sharp instance at 3 times its boundary condition number, by gradient descent from Gaussian factors."""

    name = "init_bias"
    summary = "probability of ending at the global minimum against the initialization scale and lam"
    seeds = "run k at a scale: default_rng(k)"
    size = (9.0, 4.0)

    def axes(self, quick: bool) -> Axes:
        """Return ranks, weight decays, scales and the number of runs of each cell."""
        return {
            "r": [1, 2],
            "lam": [0.0, 0.3] if quick else [0.0, 0.1, 0.3],
            "scale": [float(x) for x in np.geomspace(0.01, 10.0, 6 if quick else 10)],
            "runs": 20 if quick else 100,
        }

    def run(self, cell: Cell) -> Record:
        """Count the kinds of ends."""
        from ..landscape import instances, verdict
        from ..problem import Problem

        r = cell["r"]
        kappa = 3.0 * (1.0 + 2.0 * math.sqrt(r))
        instance = instances.sharp(r, 1, r + 1, r + 1, kappa, cell["lam"])
        problem = Problem(instance, rank=r, lam=cell["lam"])
        kinds = [
            verdict(problem, descend(problem, cell["scale"], seed), X_star=instance.X_star, tol=1e-5).kind
            for seed in range(cell["runs"])
        ]
        known = {"global": kinds.count("global"), "spurious": kinds.count("spurious")}
        return known | {"unfinished": cell["runs"] - sum(known.values())}

    def table(self, records: list[Record]) -> str:
        """Return one row per cell."""
        rows = []
        for r in records:
            low, high = wilson(r["global"], r["runs"])
            rows.append(
                [
                    str(r["r"]),
                    f"{r['lam']:g}",
                    f"{r['scale']:.3g}",
                    f"{r['global'] / r['runs']:.2f}",
                    f"[{low:.2f}, {high:.2f}]",
                    str(r["spurious"]),
                    str(r["unfinished"]),
                ]
            )
        return text_table(["r/r*", "lam", "scale", "P(global)", "95 %", "spurious", "unfinished"], rows)

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the paper says of the start and of weight decay, held against the ends."""
        records = self.own(records, "r", "lam", "scale")
        scales, lams = sorted(distinct(records, "scale")), sorted(distinct(records, "lam"))
        small, big = (_shares(records, "global", scale=scale) for scale in (scales[0], scales[-1]))
        without, decayed = (_shares(records, "spurious", lam=lam) for lam in (lams[0], lams[-1]))
        unfinished = sum(r["unfinished"] for r in records)
        more, error = np.mean(small - big), _error(records, small, big)
        return [
            Claim(
                "small starts lead to the global minimum more often than large ones",
                "confirmed",
                f"share of global ends at scale {scales[0]:g} and {scales[-1]:g}: "
                + "; ".join(f"r/r* = {r}: {a:.2f}, {b:.2f}" for r, a, b in zip(distinct(records, "r"), small, big))
                + f"; mean difference {more:.2f} +- {error:.2f}; unfinished runs: {unfinished}",
                bool(more > 2.0 * error) and unfinished == 0,
            ),
            Claim(
                "weight decay leads to the global minimum; correction: not where the spurious point is a minimum at "
                "every lam, as on this instance, whose loss is shifted with lam: at least half as many runs end there",
                "holds with correction",
                f"share of spurious ends over all scales at lam = {lams[0]:g} and {lams[-1]:g}: "
                + "; ".join(
                    f"r/r* = {r}: {a:.2f}, {b:.2f}" for r, a, b in zip(distinct(records, "r"), without, decayed)
                )
                + f"; error of the means {_error(records, decayed):.2f}",
                bool(np.all(decayed >= 0.5 * without) and np.mean(decayed) > 2.0 * _error(records, decayed))
                and unfinished == 0,
            ),
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw the probability against the scale with its interval, one panel per rank.

        The series nearly coincide, so each is moved sideways a little.
        """
        ranks = distinct(records, "r")
        for ax, r in zip(figure.subplots(1, len(ranks), sharey=True, squeeze=False)[0], ranks):
            for k, lam in enumerate(distinct(records, "lam")):
                mine = [record for record in records if record["r"] == r and record["lam"] == lam]
                scales = np.array([record["scale"] for record in mine]) * 1.12 ** (k - 1)
                share = np.array([record["global"] / record["runs"] for record in mine])
                low, high = np.array([wilson(record["global"], record["runs"]) for record in mine]).T
                name = "no weight decay" if lam == 0.0 else f"lam = {lam:g}"
                ax.errorbar(scales, share, (share - low, high - share), fmt="os^"[k % 3] + ("-", "--", ":")[k % 3],
                            color=COLOURS[k % len(COLOURS)], lw=1.6, elinewidth=0.8, label=name)  # fmt: skip
            ax.set(xscale="log", ylim=(-0.03, 1.03))
            ax.set(title=f"r/r* = {r}", xlabel="standard deviation of the starting factors")
            ax.grid(alpha=0.25)
            ax.legend(loc="lower left", title="bars: 95 % intervals", fontsize=8)
        figure.axes[0].set_ylabel("share of runs ending at the global minimum")


def _shares(records: list[Record], kind: str, **where: float) -> Array:
    """Return by rank the mean share of ends of a kind in the cells of some settings."""
    mine = [r for r in records if all(r[key] == value for key, value in where.items())]
    return np.array([np.mean([r[kind] / r["runs"] for r in mine if r["r"] == rank]) for rank in distinct(records, "r")])


def _error(records: list[Record], *shares: Array) -> float:
    """Return the standard error of the mean over the ranks of shares, or of their difference.

    Cells of one rank have the same seeds: several are worth no more runs than one.
    """
    variances = [np.sum(share * (1.0 - share)) / records[0]["runs"] for share in shares]
    return float(np.sqrt(np.sum(variances))) / len(shares[0])


def wilson(hits: int, runs: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for a probability from ``hits`` of ``runs``."""
    runs = as_integer(runs, "runs", 1)
    hits, z = as_integer(hits, "hits", 0, runs), as_number(z, "z", 0.0)
    p = hits / runs
    centre = p + z * z / (2 * runs)
    half = z * math.sqrt(p * (1.0 - p) / runs + z * z / (4 * runs * runs))
    scale = 1.0 + z * z / runs
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
