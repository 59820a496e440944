"""Table 1: the rank of the minimizer of ``f + lam ||.||_*`` falls as ``lam`` grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..low_rank import numerical_rank
from ._network import network_task
from .base import COLOURS, Axes, Cell, Claim, Experiment, Record, distinct, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LORA_RANK = 8
# From here on the rank is said to be at most a typical LoRA rank.
_SAID_FROM = 1e-3
# Runs on the network may end at their iteration limit, before small singular values have vanished.
_RANK_TOL = 1e-4
_SOFTMAX, _NETWORK = "softmax head", "two-layer network"


class Table1(Experiment):
    """Rank against weight decay, for a convex loss (certified) and a non-convex one (best of several starts)."""

    name = "table1"
    summary = "rank of the nuclear-norm minimizer against lam, digits: softmax head and two-layer network"
    seeds = "data 0; starts of the network 0, 1, 2 (quick: 0)"
    size = (9.0, 4.0)

    def axes(self, quick: bool) -> Axes:
        """Return objectives, weight decays and the number of starts on the network."""
        return {
            "objective": [_SOFTMAX, _NETWORK],
            "lam": [float(x) for x in np.geomspace(1e-4, 0.3, 8 if quick else 14)],
            "starts": 1 if quick else 3,
        }

    def run(self, cell: Cell) -> Record:
        """Solve one problem."""
        return self._softmax(cell["lam"]) if cell["objective"] == _SOFTMAX else self._network(cell)

    def _softmax(self, lam: float) -> Record:
        from ..convex import solve_convex
        from ..problem import Problem
        from ..tasks import digits_task

        task = digits_task()
        found = solve_convex(Problem(task.objective, rank=LORA_RANK, lam=lam), route="factored", tol=1e-7)
        values = np.linalg.svd(found.X, compute_uv=False)
        known = f"{found.certificate.level}, relative gap {found.relative_gap:.0e}"
        return _record(values, task.metrics(found.X)["accuracy"], known)

    def _network(self, cell: Cell) -> Record:
        from ..engine import solve
        from ..monitor import StoppingRule
        from ..problem import Problem

        task = network_task(200, 32)
        problem = Problem(task.objective, rank=32, lam=cell["lam"])
        stop = StoppingRule(max_iter=4000, grad_tol=1e-6)
        runs = [solve(problem, "lbfgs", init="lora", seed=k, stop=stop) for k in range(cell["starts"])]
        best = min(runs, key=lambda run: run.fun)
        values = np.linalg.svd(best.X, compute_uv=False)
        return _record(values, task.test_accuracy(best.X), f"best of {len(runs)} starts, {best.status.label}")

    def table(self, records: list[Record]) -> str:
        """Return one row per objective and ``lam``."""
        rows = [
            [
                r["objective"],
                f"{r['lam']:.2e}",
                str(r["rank"]),
                f"{r['nuclear_norm']:.3g}",
                f"{r['test_accuracy']:.3f}",
                r["known"],
            ]
            for r in records
        ]
        rank = f"rank (above {_RANK_TOL:.0e})"
        return text_table(["objective", "lam", rank, "||X||_*", "test accuracy", "how known"], rows)

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the paper's table says held against both objectives."""
        columns = {
            name: [(r["lam"], r["rank"]) for r in self.own(records, "lam") if r["objective"] == name]
            for name in (_SOFTMAX, _NETWORK)
        }
        first = {name: _low_from(column) for name, column in columns.items()}
        proved = all(r["known"].startswith(("RIGOROUS", "CERTIFIED")) for r in records if r["objective"] == _SOFTMAX)
        return [
            Claim(
                f"the rank of the minimizer falls as lam grows, from lam = {_SAID_FROM:g} on to at most a typical LoRA "
                f"rank, {LORA_RANK} (Table 1); correction: it falls, and is as low from a larger lam on",
                "holds with correction",
                "; ".join(
                    f"{name}: rank {column[0][1]} at lam = {column[0][0]:.2g}, {column[-1][1]} at {column[-1][0]:.2g}, "
                    f"at most {LORA_RANK} from {first[name]:.2g} on"
                    for name, column in columns.items()
                ),
                proved
                and all(_falls([rank for _, rank in column]) for column in columns.values())
                and all(_SAID_FROM < lam < np.inf for lam in first.values()),
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw rank and test accuracy against ``lam``."""
        left, right = figure.subplots(1, 2)
        for k, name in enumerate(distinct(records, "objective")):
            mine = [r for r in records if r["objective"] == name]
            lams = [r["lam"] for r in mine]
            left.semilogx(lams, [r["rank"] for r in mine], "os"[k] + "-", color=COLOURS[k], label=name)
            right.semilogx(lams, [r["test_accuracy"] for r in mine], "os"[k] + "-", color=COLOURS[k], label=name)
        left.axhline(LORA_RANK, color="black", ls="--", lw=1, label=f"a LoRA rank of {LORA_RANK}")
        left.set(title="Weight decay lowers the rank", xlabel="weight decay lam", ylabel="rank of the minimizer")
        left.set_ylim(bottom=0)
        right.set(title="and its price in accuracy", xlabel="weight decay lam", ylabel="accuracy on held-out digits")
        left.legend()
        for ax in (left, right):
            ax.grid(alpha=0.25)


def _record(values: np.ndarray, accuracy: float, known: str) -> Record:
    return {
        "rank": numerical_rank(values, _RANK_TOL) if values[0] > 1e-9 else 0,
        "nuclear_norm": float(values.sum()),
        "test_accuracy": accuracy,
        "known": known,
    }


def _falls(ranks: list[int]) -> bool:
    return ranks == sorted(ranks, reverse=True) and ranks[0] > ranks[-1]


def _low_from(column: list[tuple[float, int]]) -> float:
    """Return the least ``lam`` from which on no rank exceeds a typical LoRA rank; infinite if the last one does."""
    found = np.inf
    for lam, rank in reversed(column):
        if rank > LORA_RANK:
            break
        found = lam
    return float(found)
