"""Several adapted matrices: the ranks of all blocks against the weight decay, and the joint verdict of Theorem 2."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array, as_number
from ..low_rank import numerical_rank
from ._network import network_task
from .base import (
    COLOURS,
    Axes,
    Cell,
    Claim,
    Experiment,
    Record,
    distinct,
    is_above_zero,
    largest,
    least,
    mean_and_error,
    text_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANKS = (8, 8)
_RANK_TOL = 1e-3
_STARTS = {"zero": None, "small": 0.01, "large": 3.0}
_FLOOR = 1e-4  # a logarithmic axis has no zero


class ManyMatrices(Experiment):
    """Both layers of a network on the digits adapted at once, from zero, small and large starts."""

    name = "many_matrices"
    summary = "both layers adapted (Theorem 2): ranks of the blocks, ends and verdicts against lam and the start"
    seeds = "data 0; starts 0-4 (quick: 0, 1)"
    size = (9.0, 4.0)

    def axes(self, quick: bool) -> Axes:
        """Return weight decays, starts and seeds."""
        lams = [0.003, 0.03] if quick else [0.001, 0.003, 0.01, 0.03, 0.1]
        return {"lam": lams, "start": list(_STARTS), "seed": list(range(2 if quick else 5))}

    def run(self, cell: Cell) -> Record:
        """Run L-BFGS to a stationary point and describe each block there."""
        from ..engine import solve
        from ..inits.gaussian import Gaussian
        from ..landscape import second_order
        from ..monitor import StoppingRule

        scale = _STARTS[cell["start"]]
        init: Any = "lora" if scale is None else Gaussian(std=scale)
        # Of a decay of 0 the logarithmic axes of the figure show nothing.
        problem = _problem(as_number(cell["lam"], "lam", 0.0, open_low=True))
        stop = StoppingRule(max_iter=40_000, grad_tol=1e-7)
        end = solve(problem, "lbfgs", init, seed=cell["seed"], stop=stop)
        values = [np.linalg.svd(X, compute_uv=False) for X in end.X]
        return {
            "loss": end.fun,
            "ranks": [numerical_rank(s, _RANK_TOL) if s[0] > 1e-9 else 0 for s in values],
            "norms": [float(s.sum()) for s in values],
            "second_order": second_order(problem, end.A, end.B, tol=1e-5).is_sosp,
        }

    def table(self, records: list[Record]) -> str:
        """Return one row per ``lam`` and start."""
        rows = []
        for lam in distinct(records, "lam"):
            for start in distinct(records, "start"):
                mine = [r for r in records if r["lam"] == lam and r["start"] == start]
                ranks = Counter(tuple(r["ranks"]) for r in mine).most_common(1)[0][0]
                rows.append(
                    [
                        f"{lam:g}",
                        start,
                        f"{min(r['loss'] for r in mine):.5f}",
                        f"{max(r['loss'] for r in mine):.5f}",
                        ", ".join(map(str, ranks)),
                        ", ".join(f"{np.median([r['norms'][k] for r in mine]):.2f}" for k in range(2)),
                        f"{sum(r['second_order'] for r in mine)}/{len(mine)}",
                    ]
                )
        header = ["lam", "start", "least loss", "largest loss", "ranks", "||X_l||_*", "second order"]
        return f"ranks {_RANKS}, the commonest (above {_RANK_TOL:.0e})\n{text_table(header, rows)}"

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what Table 1 and the dichotomy say of several matrices, held against the ends."""
        # At larger decays, which the axis may hold too, all starts end at no update.
        records = self.own(records, "lam")
        lams = distinct(records, "lam")
        ranks = [_best(records, lam)["ranks"] for lam in lams]
        totals = [sum(each) for each in ranks]
        apart = {name: _apart(records, lams, of) for name, of in (("loss", _losses), ("norm", _norms))}
        shown = {
            name: "; ".join(f"lam = {lam:g}: {mean_and_error(100.0 * each, 1)} %" for lam, each in zip(lams, values))
            + f"; over all lam {mean_and_error(100.0 * values.mean(axis=0), 1)} %"
            for name, values in apart.items()
        }
        done = all(r["second_order"] for r in records)
        shortest = 1.0 + least(apart["norm"].mean(axis=1))
        stuck = [r for r in records if r["second_order"] and r["loss"] > 1.01 * _best(records, r["lam"])["loss"]]
        loud = sum(any(rank == full for rank, full in zip(r["ranks"], _RANKS)) for r in stuck)
        return [
            Claim(
                "with several matrices too the ranks of the minimizer fall as lam grows (Table 1)",
                "confirmed",
                "best of all ends: " + "; ".join(f"lam = {lam:g}: ranks {each}" for lam, each in zip(lams, ranks)),
                totals == sorted(totals, reverse=True) and totals[0] > totals[-1],
            ),
            Claim(
                "zero starts end at a lower loss than large ones (Figure 2); correction: after convergence on "
                "average over lam, and by less than a fifth",
                "holds with correction",
                f"loss of large starts above that of zero ones: {shown['loss']}",
                done and is_above_zero(apart["loss"].mean(axis=0)) and largest(apart["loss"].mean(axis=1)) < 0.2,
            ),
            Claim(
                "zero starts end at smaller updates than large ones (Figure 2); correction: after convergence on "
                "average over lam, and nowhere at updates larger by more than a tenth",
                "holds with correction",
                f"sum of the blocks' nuclear norms of large starts above that of zero ones: {shown['norm']}",
                # From runs that do not move it would be the starts that are apart.
                done and is_above_zero(apart["norm"].mean(axis=0)) and shortest > 1.0 / 1.1,
            ),
            Claim(
                "a second-order point that is not global has a block of full LoRA rank (Theorem 2); correction: given "
                "alpha_l > 0, which a network need not have (table2): here such ends have low ranks too",
                "holds with correction",
                f"{len(stuck)} second-order ends more than 1 % above the best one, {loud} with a full block",
                loud < len(stuck),
            ),
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw the ranks of both blocks at the best end, and the losses of all ends, against ``lam``."""
        left, right = figure.subplots(1, 2)
        lams = distinct(records, "lam")
        for k, layer in enumerate(("first layer", "second layer")):
            left.semilogx(
                lams, [_best(records, lam)["ranks"][k] for lam in lams], "os"[k] + "-", color=COLOURS[k], label=layer
            )
        left.set(title="Ranks of the blocks at the best end", xlabel="weight decay lam", ylabel="rank")
        left.legend()
        for k, start in enumerate(distinct(records, "start")):
            mine = [r for r in records if r["start"] == start]
            excess = [max(r["loss"] / _best(records, r["lam"])["loss"] - 1.0, _FLOOR) for r in mine]
            # Beside each other: the starts of one lam would hide each other.
            places = [r["lam"] * 1.12 ** (k - 1) for r in mine]
            right.loglog(places, excess, "osd"[k], color=COLOURS[k], alpha=0.7, label=start)
        right.set(title="Ends of all runs", xlabel="weight decay lam")
        right.set_ylabel(f"loss above that of the best end, relative\n(the best itself drawn as {_FLOOR:g})")
        # Ends of some start may lie anywhere on the panel.
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center", title="start")
        left.yaxis.get_major_locator().set_params(integer=True)
        for ax in (left, right):
            ax.set_xticks(lams, [f"{lam:g}" for lam in lams])
            ax.minorticks_off()
            ax.grid(alpha=0.25)


def _losses(records: list[Record], lam: float, start: str) -> list[float]:
    return [r["loss"] for r in records if r["lam"] == lam and r["start"] == start]


def _norms(records: list[Record], lam: float, start: str) -> list[float]:
    return [sum(r["norms"]) for r in records if r["lam"] == lam and r["start"] == start]


def _apart(records: list[Record], lams: list[float], of: Callable[[list[Record], float, str], list[float]]) -> Array:
    """Return by ``lam`` and seed what large starts have above zero ones, relative to these."""
    return np.array([np.divide(of(records, lam, "large"), of(records, lam, "zero")) - 1.0 for lam in lams])


def _best(records: list[Record], lam: float) -> Record:
    return min((r for r in records if r["lam"] == lam), key=lambda r: r["loss"])


@functools.lru_cache(maxsize=8)
def _problem(lam: float) -> Any:
    from ..multi import MultiProblem, TwoLayerPair

    f = network_task(100, 16).objective
    return MultiProblem(TwoLayerPair(f.W0, f.V, f.Z, f.targets), _RANKS, lam)
