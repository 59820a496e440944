"""Phase diagram of gradient descent on the sharp instance: initialization scale against condition number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import Array
from ._phase import claim_of_ends, ends, matching, ranks, ratio, table_of_ends
from .base import COLOURS, Axes, Cell, Claim, Experiment, Record, distinct

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_TICKS = (2, 5, 10, 20, 50)


class Sharp(Experiment):
    """How often gradient descent from Gaussian factors ends at a spurious minimum, ``lam = 0``."""

    name = "sharp"
    summary = "sharp instance: where gradient descent ends, over initialization scale, kappa and r/r*"
    seeds = "run k at a scale: default_rng(k)"
    size = (12.0, 4.6)
    axis_meanings = {"kappa": "condition numbers of the loss, above 1"}

    def axes(self, quick: bool) -> Axes:
        """Return ranks, condition numbers, scales and the number of runs of each cell."""
        return {
            "r": [1, 2, 4],
            "r_star": [1],
            "kappa": [round(float(x), 3) for x in np.geomspace(1.6, 50.0, 7 if quick else 14)],
            "scale": [float(x) for x in np.geomspace(0.01, 10.0, 5 if quick else 8)],
            "runs": 5 if quick else 20,
        }

    def fits(self, cell: Cell) -> bool:
        """Whether the minimizer can be reached."""
        return bool(cell["r_star"] <= cell["r"])

    def run(self, cell: Cell) -> Record:
        """Run gradient descent from every seed, and judge every end."""
        from ..landscape import instances

        r, r_star = cell["r"], cell["r_star"]
        return ends(instances.sharp(r, r_star, r + r_star, r + r_star, cell["kappa"]), cell)

    def table(self, records: list[Record]) -> str:
        """Return one row per rank and condition number."""
        exists = {"minimum exists": lambda row: "yes" if _traps(row["r"], row["r_star"], row["kappa"]) else "no"}
        note = "Norms in units of ||X*||: the closed-form spurious point is always shorter."
        return table_of_ends(records, "kappa", {"kappa": "{kappa:.1f}".format_map}, exists, note)

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return the special regime and the sharp boundary held against the ends."""
        statement = (
            "no spurious minima in the special regime, kappa < 2 (Theorem 1); on the sharp instance none up to "
            "1 + 2 sqrt(r/r*), and some beyond"
        )
        return [claim_of_ends(records, statement, lambda row: not _traps(row["r"], row["r_star"], row["kappa"]))]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw one map per rank with the three boundaries, and the norm of the spurious point."""
        pairs = ranks(records)
        axes = figure.subplots(1, len(pairs) + 1)
        kappas, scales = distinct(records, "kappa"), distinct(records, "scale")
        for ax, (r, r_star) in zip(axes, pairs):
            shares = np.array(
                [[each["spurious"] for each in matching(records, r=r, r_star=r_star, kappa=kappa)] for kappa in kappas]
            )
            image = ax.pcolormesh(_edges(scales), _edges(kappas), shares, vmin=0.0, vmax=1.0, cmap="Oranges")
            ax.set(xscale="log", yscale="log")
            ax.set_yticks(_TICKS, [str(tick) for tick in _TICKS])
            ax.minorticks_off()
            # At r/r* = 1 the first two coincide: the wider line shows beside the other one.
            root = math.sqrt(r / r_star)
            ax.axhline(2.0, color=COLOURS[0], lw=5.0, label="2 (paper)")
            ax.axhline(2.0 * root, color="black", ls="--", lw=1.3, label="2 sqrt(r/r*)")
            ax.axhline(1.0 + 2.0 * root, color="black", lw=1.3, label="1 + 2 sqrt(r/r*)")
            ax.set(title=f"r/r* = {ratio(r, r_star)}", xlabel="initialization scale")
        axes[0].set_ylabel("condition number kappa")
        handles, labels = axes[0].get_legend_handles_labels()
        title = "left panels, no spurious minima below:"
        figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=9, title=title)
        figure.colorbar(image, ax=list(axes[: len(pairs)]), label="share of runs ending spurious", shrink=0.9)
        ax = axes[-1]
        for traps, fill, label in ((True, "full", "spurious minimum"), (False, "none", "the same point, no minimum")):
            shown = [kappa for kappa in kappas if _traps(*pairs[0], kappa) is traps]
            norms = [matching(records, r=pairs[0][0], r_star=pairs[0][1], kappa=kappa)[0]["norm"] for kappa in shown]
            ax.plot(shown, norms, "o-" if traps else "o:", color=COLOURS[1], fillstyle=fill, label=label)
        ax.axhline(1.0, color="black", ls="--", lw=1.3, label="global minimum X*")
        ax.set(title=f"size of the minima, r/r* = {ratio(*pairs[0])}", xlabel="condition number kappa")
        ax.set_ylabel("||X||_F / ||X*||_F")
        ax.set(xscale="log", ylim=(0.0, 1.15))
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=3, fontsize=9, title="right panel:")
        ax.set_xticks(_TICKS, [str(tick) for tick in _TICKS])
        ax.minorticks_off()
        ax.grid(alpha=0.25)


def _edges(values: list[float]) -> Array:
    """Return the ends of cells that have ascending values in their middle on a logarithmic axis.

    With ends halfway between the values themselves the first cell would begin at 0 or below, and its value be off the
    picture.
    """
    logs = np.log(values)
    steps = np.diff(logs) if len(values) > 1 else np.ones(1)
    padded = np.concatenate([[logs[0] - steps[0]], logs, [logs[-1] + steps[-1]]])
    return np.exp((padded[:-1] + padded[1:]) / 2)


def _traps(r: int, r_star: int, kappa: float) -> bool:
    """Whether the closed-form point of the instance is a minimum."""
    return kappa > 1.0 + 2.0 * math.sqrt(r / r_star)
