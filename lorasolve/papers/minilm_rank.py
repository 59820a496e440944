"""Table 1 on a transformer: the rank that training ends at falls as the weight decay grows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import as_number
from ..low_rank import factor_singular_values
from . import _minilm
from .base import COLOURS, Axes, Cell, Claim, Record, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK = 8


class MiniLMRank(_minilm.OnMiniLM):
    """Full-batch L-BFGS from PEFT's start on query and value of every layer of MiniLM, for several weight decays.

    No route computes the minimizer of a transformer's loss: what is shown is where training ends, with its verdict.
    """

    name = "minilm_rank"
    summary = "MiniLM, query and value of its last layers: rank at the end of training against lam (Table 1)"
    seeds = "data 0; start 0"
    size = (9.0, 4.0)

    def axes(self, quick: bool) -> Axes:
        """Return weight decays, and the size of the task and the budget that they share."""
        if quick:
            return {"lam": [0.1, 0.01], "last": 1, "sentences": 32, "calls": 40}
        return {"lam": [0.1, 0.03, 0.01, 0.003, 0.001], "last": 6, "sentences": 64, "calls": 200}

    def run(self, cell: Cell) -> Record:
        """Train and judge."""
        from ..engine import solve
        from ..monitor import StoppingRule
        from ..multi import MultiProblem
        from ..networks.judge import judge

        task = _minilm.whole_task(cell["sentences"], cell["last"])
        network = task.network()
        # Without decay nothing keeps the rank low, and a logarithmic axis has no 0.
        problem = MultiProblem(network, _RANK, as_number(cell["lam"], "lam", 0.0, open_low=True))
        stop = StoppingRule(max_iter=cell["calls"], grad_tol=1e-6, max_calls=cell["calls"])
        began = time.process_time()
        end = solve(problem, "lbfgs", problem.unpaired(_minilm.peft_start(network, _RANK, 0)), stop=stop)
        pairs = list(zip(end.A, end.B))
        verdict = judge(
            network.model, network.loss_of_samples, task.train, cell["lam"], layers=("query", "value"), factors=pairs
        )
        found = verdict.certificate
        assert found is not None
        values = [factor_singular_values(A, B) for A, B in pairs]
        counted = _minilm.RANK_TOL * max(float(s[0]) for s in values)
        return {
            "ranks": [int(np.count_nonzero(s > counted)) for s in values],
            "nuclear_norm": sum(layer.nuclear for layer in found.layers),
            "F": found.F,
            "f": found.f,
            "gap": found.relative_gap,
            "dual_norm": found.dual_norm,
            "stationarity": found.stationarity,
            "kind": verdict.kind,
            "train": task.accuracy(network, pairs, task.train),
            "test": task.accuracy(network, pairs, task.test),
            "nfev": end.nfev,
            "cpu": time.process_time() - began,
        }

    def table(self, records: list[Record]) -> str:
        """Return one row a weight decay."""
        rows = [
            [
                f"{r['lam']:g}",
                ",".join(map(str, r["ranks"])),
                str(max(r["ranks"])),
                f"{r['nuclear_norm']:.3g}",
                f"{r['F']:.5f}",
                f"{r['dual_norm']:.4f}",
                f"{r['stationarity']:.0e}",
                f"{r['gap']:.0e}",
                f"{r['train']:.3f}",
                f"{r['test']:.3f}",
                f"{r['cpu']:.0f}",
                r["kind"],
            ]
            for r in records
        ]
        header = ["lam", f"ranks of {_RANK}", "largest", "||X||_*", "F", "||G||/lam", "grad", "gap", "train", "test"]
        return text_table([*header, "CPU s", "verdict"], rows) + (
            f"\nthe last {records[0]['last']} of six layers; ranks: singular values above {_minilm.RANK_TOL:g} of the"
            "\nlargest of all, in query and value of each layer; grad: over lam ||theta||; gap: from one gradient, of"
            "\nF. Where the verdict is 'not_converged' smaller ones have not vanished yet."
        )

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the paper's table says, held against all ends.

        Runs that stop early are of full rank: what a verdict calls not converged has ranks that may fall further.
        """
        ends = sorted(records, key=lambda r: -r["lam"])
        totals = [sum(r["ranks"]) for r in ends]
        return [
            Claim(
                "the rank at the end of training falls as the weight decay grows and is at most a usual LoRA rank",
                "confirmed",
                "; ".join(
                    f"lam {r['lam']:g}: sum {t}, largest {max(r['ranks'])} ({r['kind']})" for r, t in zip(ends, totals)
                ),
                totals == sorted(totals) and totals[0] < totals[-1] and max(max(r["ranks"]) for r in ends) < _RANK,
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw ranks and accuracies against the weight decay."""
        left, right = figure.subplots(1, 2)
        lams = [r["lam"] for r in records]
        left.semilogx(lams, [max(r["ranks"]) for r in records], "o-", color=COLOURS[0], label="largest of a layer")
        mean = [sum(r["ranks"]) / len(r["ranks"]) for r in records]
        left.semilogx(lams, mean, "s--", color=COLOURS[1], label="mean of the layers")
        left.axhline(_RANK, color="black", ls=":", lw=1, label=f"LoRA rank {_RANK}")
        left.set(xlabel="weight decay lam", ylabel="rank at the end of training")
        left.set_ylim(bottom=0)
        for key, marker, colour in (("train", "o-", COLOURS[0]), ("test", "s--", COLOURS[1])):
            right.semilogx(lams, [r[key] for r in records], marker, color=colour, label=key)
        right.set(xlabel="weight decay lam", ylabel="accuracy")
        for ax in (left, right):
            ax.grid(alpha=0.25)
            ax.legend(fontsize=8)
